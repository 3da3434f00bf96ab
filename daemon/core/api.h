/* API v1: the routes, who may use them, what they answer. api.c has the table and what every route shares
 * (authentication, idempotency, problem details); api_*.c have the handlers. */
#ifndef ASALEED_API_H
#define ASALEED_API_H

#include "collector.h"
#include "dicom.h"
#include "events.h"
#include "http.h"
#include "identifier.h"
#include "inspect.h"
#include "intake.h"
#include "interpret.h"
#include "login.h"
#include "mask.h"
#include "notice.h"
#include "password.h"
#include "reading_aids.h"
#include "reads.h"
#include "session.h"

struct api {
  sd_event *event;
  struct store *store;
  struct artefacts *artefacts;
  struct devices *devices;
  struct sessions *sessions;
  struct hub *hub;
  struct dicom *dicom;
  struct intake *intake;
  struct collectors *collectors;
  struct reading_aids *aids;
  struct login *logins;
  struct passwords *passwords;
  struct reads *reads;
  struct inspector *inspector;
  struct {
    int64_t last;   /* up to this row the trail was found whole, and that is believed */
    uint64_t until; /* by boot_us() */
  } vouched;
  const struct conf *conf;
  struct watch *watches; /* the open streams of events: api_events.c */
  sd_event_source *claim_timer, *alive_timer, *notice_timer;
};

int api_open(struct api *a); /* the parts above are set */
void api_close(struct api *a);
#define API_NOTICES 0                  /* the stream of events that is no study's */
#define API_ALIVE_US (15 * 1000000ull) /* between comments in event streams */
/* Streams of events that are open at once: of one account (a practice software has as many for each person it acts for,
 * none of which is that person's own), and in all, so that there are connections left for everything else. */
#define API_STREAMS_EACH 8
#define API_STREAMS_MAX (HTTP_CONNECTIONS_MAX / 2)

enum http_body api_accept(struct http_request *q, void *api); /* an http_accept */
void api_handle(struct http_request *q, void *api);           /* an http_handler */
void api_commit(void *api); /* what the requests of one round did becomes durable together */

/* The reference page of the routes, Markdown, on standard output. */
void api_print_reference(void);

/* ---- for api_*.c ---- */

struct api_call {
  struct api *api;
  struct http_request *http;
  struct caller caller;
  struct view view;            /* what the caller gets: of the study that was found last, if any */
  json_t *patients;            /* whose data the answer shows: ids, for the audit trail; NULL = nobody's */
  char session[LOGIN_TOKEN];   /* of a browser, "" = none */
  bool must_change;            /* its password */
  bool again;                  /* api_readmit(): nobody has done anything, so the session is not used */
  json_t *body;                /* of POST and PUT: an object */
  char id[PATIENT_ID_MAX + 1]; /* the {id} of the path */
  const char *field;           /* the member the problem is about, or NULL */
  json_t *item;                /* the object of a list that is being read (api_item), or NULL */
  const char *list;            /* the list's name */
  size_t place;                /* and its place there, from 0 */
  bool later;                  /* the handler answers by itself, with api_answer() or api_again(); its act is undone */
  int status;                  /* 200 unless a handler says otherwise */
  json_t *answer;              /* owned */
};

/* Every handler returns a problem; with P_OK its answer is in call->answer (or in call->http for other types). A
 * handler of a route that writes runs inside an act. */
typedef enum problem (*api_handler)(struct api_call *call);

/* api_request.c */
/* Every member of the object is one of these names, with spaces between them; P_unknown_field. */
enum problem api_members(struct api_call *call, const json_t *object, const char *names);
/* The members of the body: a text of at most max bytes, not empty when required; NULL when absent and not required. */
enum problem api_text(struct api_call *call, const char *name, size_t max, bool required, const char **ret);
enum problem api_number(struct api_call *call, const char *name, int64_t min, int64_t max, int64_t otherwise,
                        int64_t *ret);
enum problem api_bool(struct api_call *call, const char *name, bool *ret);
/* A member that is a list, absent when min is 0: how many there are. */
enum problem api_items(struct api_call *call, const char *name, size_t min, size_t max, size_t *ret);
/* From now on the three above read the i-th of that list, an object whose members are among `fields`; a problem then
 * names "list[i].member". */
enum problem api_item(struct api_call *call, const char *name, size_t i, const char *fields);
/* Query parameters of lists. */
enum problem api_limit(struct api_call *call, int *ret);
/* A member "datamatrix": the text of a patient's INS sheet, if there is one. P_ins_unreadable, P_ins_fictitious. */
enum problem api_sheet(struct api_call *call, struct ins_datamatrix *ret, bool *ret_there);
/* "S-12" with its letter checked. */
bool api_id(const char *text, char letter, int64_t *ret);
json_t *api_list(json_t *items, const char *next);
/* Inside an act: everyone who watches the study learns of its state once that act is durable. */
void api_moved(struct api *a, int64_t study);
/* Inside an act: whoever waits for notices learns of this one once it is durable, and the clock is set anew. */
void api_notice_made(struct api *a, int64_t notice);
void api_notices_at(struct api *a, int64_t us); /* when they are looked at again; 0 = now */
/* Who reads it, for whom is told what readers do with it; else whom the protocol says. */
const char *api_reader(const struct api_call *call, const char *protocol, const char *act, const char *reader);
void api_etag(struct api_call *call, int64_t version);
/* The answer is this artefact. Its end is kept back until its hash is right: a damaged one never arrives whole. */
enum problem api_send(struct api_call *call, const char *sha256, const char *type);
/* A record's samples, with a header of its own (GET /v1/records/{}/channels); and a picture, which never changes. */
enum problem api_send_channels(struct api_call *call, const json_t *record);
enum problem api_send_picture(struct api_call *call, const char *sha256, const char *type);
/* If-Match: 0 none given, -1 "*", else the version. */
enum problem api_if_match(struct api_call *call, int64_t *ret);

/* A request that was let in before, in a call that says `again`: whether it would be let in now, with call->caller,
 * view and id as the handler would get them. */
enum problem api_readmit(struct api_call *call);

/* Answers a request whose handler did not at once, when all that was kept so far is durable. Steals the answer. */
void api_answer(struct api *a, struct http_request *q, enum problem p, int status, json_t *answer);
/* Handles such a request once more, from its beginning: what its handler waited for is there. */
void api_again(struct api *a, struct http_request *q);

/* api_caller.c */
/* Sets caller, view and session. may_be_locked: also a session that waits for its password. */
enum problem api_authenticate(struct api_call *call, bool may_be_locked);
void api_from(struct api_call *call); /* where the call comes from, for the trail */
/* Its headers say that a page of ours sends it (login_origin_ok()), under a name of ours. */
bool api_of_our_page(const struct api_call *call);
uint64_t boot_us(void); /* CLOCK_BOOTTIME */
/* api_enter.c */
/* The answer shows something of this patient. */
enum problem api_saw(struct api_call *call, const char *patient);
/* The caller may know of this study: call->view is what it gets of it, and its patient is seen. */
enum problem api_enter(struct api_call *call, const struct study *study);
enum problem api_enter_record(struct api_call *call, int64_t record); /* its study, where it is now */
enum problem api_enter_file(struct api_call *call, int64_t file);     /* those of all records that were made of it */
/* The answer shows a reading that nobody has said yet whose it is: that it was seen is written all the same. */
enum problem api_saw_nobodys(struct api_call *call, enum acq_modality act);
/* api_system.c */
enum problem api_health(struct api_call *call);
enum problem api_drivers(struct api_call *call);
enum problem api_devices(struct api_call *call);
enum problem api_changes(struct api_call *call);
enum problem api_users(struct api_call *call);
enum problem api_user_add(struct api_call *call);
enum problem api_user_token(struct api_call *call);
enum problem api_user_disable(struct api_call *call);
/* api_study.c */
enum problem api_patient_put(struct api_call *call);
enum problem api_patient_get(struct api_call *call);
enum problem api_patient_history(struct api_call *call);
enum problem api_order_add(struct api_call *call);
enum problem api_orders(struct api_call *call);
enum problem api_order_get(struct api_call *call);
enum problem api_study_get(struct api_call *call);
enum problem api_study_acquire(struct api_call *call);
enum problem api_study_finish(struct api_call *call);
enum problem api_study_pictures(struct api_call *call);
enum problem api_study_pupil(struct api_call *call);
enum problem api_study_cancel(struct api_call *call);
enum problem api_study_repeat(struct api_call *call);
enum problem api_study_accept(struct api_call *call);
enum problem api_study_redecode(struct api_call *call);
enum problem api_queue(struct api_call *call);
/* Takes out of a row's detail in the trail what the caller does not get: free text about a patient, and the hash of a
 * capture, which covers what the instrument says. */
void api_trail_mask(const struct api_call *call, json_t *detail);
/* The study of the path, If-Match observed; and the answer after it was moved, of which those who watch learn. */
enum problem api_study_find(struct api_call *call, struct study *ret);
enum problem api_study_moved(struct api_call *call, const struct study *study);
/* The study as it is told to the caller: its version and its time, which a correction changes, too. */
enum problem api_study_seen(struct api_call *call, struct study *study);
enum problem api_study_answer(struct api_call *call, const struct study *study); /* the answer alone */
json_t *api_patient_json(const struct patient *p);
enum problem api_patient_lookup(struct api_call *call);
/* api_events.c */
enum problem api_study_events(struct api_call *call);
enum problem api_events(struct api_call *call);
/* After a commit, which may have changed who may what: the streams end whose callers could not open them now. */
void api_watches_look(struct api *a);
/* api_interpret.c */
enum problem api_study_claim(struct api_call *call);
enum problem api_study_release(struct api_call *call);
enum problem api_study_sign(struct api_call *call);
enum problem api_study_amend(struct api_call *call);
enum problem api_study_report(struct api_call *call);
enum problem api_study_return(struct api_call *call);
enum problem api_study_refer(struct api_call *call);
enum problem api_draft_get(struct api_call *call);
enum problem api_draft_put(struct api_call *call);
enum problem api_interpretations(struct api_call *call);
enum problem api_study_proof(struct api_call *call);
enum problem api_forms(struct api_call *call);
/* api_login.c: these answer by themselves */
enum problem api_login(struct api_call *call);
enum problem api_unlock(struct api_call *call);
enum problem api_password(struct api_call *call);
enum problem api_logout(struct api_call *call);
enum problem api_me(struct api_call *call);
enum problem api_user_password(struct api_call *call);
/* api_registry.c */
enum problem api_protocols(struct api_call *call);
enum problem api_professionals(struct api_call *call);
enum problem api_professional_get(struct api_call *call);
enum problem api_professional_put(struct api_call *call);
enum problem api_delegations(struct api_call *call);
enum problem api_delegation_add(struct api_call *call);
enum problem api_delegation_end(struct api_call *call);
enum problem api_absences(struct api_call *call);
enum problem api_absence_add(struct api_call *call);
enum problem api_absence_end(struct api_call *call);
enum problem api_user_link(struct api_call *call);
enum problem api_user_grant(struct api_call *call);
enum problem api_user_revoke(struct api_call *call);
/* api_followup.c */
enum problem api_followups(struct api_call *call);
enum problem api_followup_get(struct api_call *call);
enum problem api_followup_open(struct api_call *call);
enum problem api_followup_transfer(struct api_call *call);
enum problem api_followup_close(struct api_call *call);
enum problem api_notices(struct api_call *call);
enum problem api_notice_acknowledge(struct api_call *call);
enum problem api_study_page(struct api_call *call);
/* api_audit.c */
enum problem api_audit(struct api_call *call);
enum problem api_audit_who_saw(struct api_call *call);
enum problem api_audit_verify(struct api_call *call);
enum problem api_audit_archive(struct api_call *call);
enum problem api_audit_head(struct api_call *call);
enum problem api_audit_head_sign(struct api_call *call);
enum problem api_audit_export(struct api_call *call);
enum problem api_audit_erase(struct api_call *call);
/* api_retention.c */
enum problem api_retention(struct api_call *call);
enum problem api_patient_archive(struct api_call *call);
enum problem api_patient_erase(struct api_call *call);
/* api_cooperation.c */
enum problem api_recalls(struct api_call *call);
enum problem api_meeting_agenda(struct api_call *call);
enum problem api_meetings(struct api_call *call);
enum problem api_meeting_add(struct api_call *call);
enum problem api_meeting_get(struct api_call *call);
enum problem api_report_monthly(struct api_call *call);
/* api_record.c */
enum problem api_record_get(struct api_call *call);
enum problem api_record_channels(struct api_call *call);
enum problem api_record_preview(struct api_call *call);
enum problem api_record_picture(struct api_call *call);
/* api_tray.c */
enum problem api_unmatched(struct api_call *call);
enum problem api_unmatched_get(struct api_call *call);
enum problem api_unmatched_channels(struct api_call *call);
enum problem api_unmatched_preview(struct api_call *call);
enum problem api_unmatched_attach(struct api_call *call);
enum problem api_unmatched_discard(struct api_call *call);
enum problem api_unmatched_redecode(struct api_call *call);
enum problem api_study_reassign(struct api_call *call);
/* api_intake.c */
enum problem api_file_add(struct api_call *call);
enum problem api_files(struct api_call *call);
enum problem api_file_get(struct api_call *call);
enum problem api_file_content(struct api_call *call);
enum problem api_media_get(struct api_call *call);
enum problem api_media_add(struct api_call *call);
/* api_dicom.c */
enum problem api_record_dicom(struct api_call *call);
/* The objects of a study that the caller may have; null for who may have none. */
int api_dicom_list(struct api_call *call, int64_t study, json_t **ret);
/* api_spirometry.c */
enum problem api_calibrations(struct api_call *call);
enum problem api_calibration_add(struct api_call *call);
enum problem api_reference_get(struct api_call *call);
enum problem api_reference_put(struct api_call *call);

#endif
