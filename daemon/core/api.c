#include "api.h"

#include "access.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define API_PENDING_S 2    /* after which something that is being made is asked for again, */
#define API_OVERLOADED_S 5 /* what there is no room for now, */
#define API_BUSY_S 10      /* or what takes minutes */

enum { ANYONE = ~0 };
#define NURSE ROLE_NURSE
#define OPH ROLE_OPHTHALMOLOGIST
#define AUDITOR ROLE_AUDITOR
#define EVERYBODY (NURSE | GP | OPH | ADMIN | LGC | AUDITOR)
#define GP ROLE_GP
#define ADMIN ROLE_ADMIN
#define LGC ROLE_LGC

/* How a route meets the store: reading, or writing inside an act; UPLOAD: its body is a file, it answers by itself, and
 * the same again is the same file: no key is needed; SECRET: it takes a password, answers by itself, and nothing of it
 * is remembered. */
enum mode { READ, WRITE, UPLOAD, SECRET };

static const struct route {
  const char *method, *path; /* {} stands for one segment */
  api_handler handler;
  unsigned roles;
  enum mode mode;
  const char *fields; /* the members a body may have */
  const char *what;
} routes[] = {
    {"GET", "/v1/health", api_health, (unsigned)ANYONE, READ, NULL, "Is the service able to work. No authentication."},
    {"GET", "/v1/drivers", api_drivers, EVERYBODY & ~AUDITOR, READ, NULL, "The installed drivers."},
    {"GET", "/v1/devices", api_devices, EVERYBODY & ~AUDITOR, READ, NULL,
     "The site's instruments, plugged in or not, and adapters that no device declares yet."},
    {"PUT", "/v1/patients/{}", api_patient_put, NURSE | GP | LGC, WRITE,
     "family given birth_date sex ins ins_oid ins_status",
     "Creates a patient under the practice software's id, or changes it (If-Match). ins is the national identity's"
     " matricule with its key, ins_oid its authority's, ins_status provisional, retrieved, validated or qualified."
     " Nobody is born before 1880 or after today."},
    {"POST", "/v1/patients/lookup", api_patient_lookup, NURSE | GP | LGC, WRITE, "datamatrix",
     "Whose INS DataMatrix this is, as a scanner gives it, with U+241D for each GS (0x1D): the patient, and whether"
     " each trait agrees."},
    {"GET", "/v1/patients/{}", api_patient_get, NURSE | GP | OPH | LGC, READ, NULL, "A patient."},
    {"GET", "/v1/patients/{}/history", api_patient_history, GP | ADMIN, READ, NULL,
     "What was done to a patient's studies, newest first: from the audit trail."},
    {"POST", "/v1/orders", api_order_add, NURSE | GP, WRITE, "patient act followup",
     "Orders an act for a patient, under the follow-up that opens it (\"W-3\"; may be left out where there is but"
     " one); makes its study. A nurse needs the GP's delegation in force."},
    {"GET", "/v1/orders", api_orders, NURSE | GP | LGC, READ, NULL, "Orders, newest first (?patient=)."},
    {"GET", "/v1/orders/{}", api_order_get, NURSE | GP | OPH | LGC, READ, NULL, "An order."},
    {"GET", "/v1/studies/{}", api_study_get, NURSE | GP | OPH | ADMIN | LGC, READ, NULL,
     "A study and where it stands. Of a record: taken, when it was made where that was not while its acquisition ran;"
     " subject_differs, whether its file names somebody else than the patient (null: the file cannot be read any"
     " more), and confirmed, by whom it was taken nevertheless, with the reason."},
    {"POST", "/v1/studies/{}/acquire", api_study_acquire, NURSE | GP, WRITE,
     "device seconds phase height_cm pictures datamatrix",
     "Starts an acquisition; follow it on the study's events. Of a spirometry: phase is baseline, pre or post, and"
     " height_cm a text as \"168.5\". Of a retinography: pictures is how many (1 to 32), else those of the views that"
     " are missing. datamatrix is the patient's INS sheet as scanned at the instrument: another patient's is refused."},
    {"POST", "/v1/studies/{}/finish", api_study_finish, NURSE | GP, WRITE, "",
     "Of a retinography that is acquiring: no more pictures will come, those there are make the record."},
    {"PUT", "/v1/studies/{}/pictures", api_study_pictures, NURSE | GP, WRITE, "pictures",
     "Of an acquired retinography: a list of what its pictures are. Each names record (\"R-3\") and picture (1), and"
     " either laterality (R or L) and field (macula, disc or other), or exclude: the reason to leave it out. The"
     " newest counts."},
    {"PUT", "/v1/studies/{}/pupil", api_study_pupil, NURSE | GP, WRITE, "dilated agents degree_mm",
     "Of an acquired retinography: whether the pupils are dilated (true or false), with which agents (a list of"
     " tropicamide, phenylephrine, cyclopentolate, atropine) and to what width, a text as \"6.5\"."},
    {"POST", "/v1/studies/{}/cancel", api_study_cancel, NURSE | GP, WRITE, "reason",
     "Without a reason: cancels the running acquisition. With one: cancels the study, unless it is acquiring."},
    {"POST", "/v1/studies/{}/repeat", api_study_repeat, NURSE | GP, WRITE, "reason",
     "Sets the records aside and starts over."},
    {"POST", "/v1/studies/{}/accept", api_study_accept, NURSE | GP, WRITE, "confirm comment height_cm",
     "Sends the study to the reading queue; a record with points to check needs confirm, and so does a retinography"
     " with a view missing or repeated. Its pictures are labelled first, and the pupil recorded."},
    {"POST", "/v1/studies/{}/claim", api_study_claim, GP | OPH, WRITE, "",
     "Takes the study for interpretation: a token, for a time."},
    {"POST", "/v1/studies/{}/release", api_study_release, GP | OPH, WRITE, "token",
     "Gives the study back to the queue."},
    {"POST", "/v1/studies/{}/sign", api_study_sign, GP | OPH, WRITE, "token shown conclusion findings text",
     "Signs the interpretation: conclusion, the act's findings (GET /v1/forms) and text. shown: as the study had it"
     " that the reader saw; it is refused when the identity, the records or the aids have changed since."},
    {"POST", "/v1/studies/{}/amend", api_study_amend, GP | OPH, WRITE, "version shown conclusion findings text reason",
     "Signs the version after this one, which is the newest, and why. shown: as for sign."},
    {"POST", "/v1/studies/{}/report", api_study_report, GP | OPH, WRITE, "conclusion findings text",
     "The report as it would stand, and what a signature would cover. Nothing is kept."},
    {"GET", "/v1/studies/{}/draft", api_draft_get, GP | OPH, READ, NULL, "The caller's own draft."},
    {"PUT", "/v1/studies/{}/draft", api_draft_put, GP | OPH, WRITE, "conclusion findings text",
     "Keeps the caller's draft (If-Match once there is one). It outlives the claim, and ends with the signature."},
    {"POST", "/v1/studies/{}/return", api_study_return, GP | OPH, WRITE, "token code text",
     "Gives it back to be made again, for a reason of DICOM CID 9303 (GET /v1/forms): a new study of the order"
     " repeats it."},
    {"POST", "/v1/studies/{}/refer", api_study_refer, GP | OPH, WRITE, "token reader text",
     "Has the other role read it: gp or ophthalmologist. A GP needs no token while nobody has claimed it."},
    {"GET", "/v1/studies/{}/interpretations", api_interpretations, GP | OPH | LGC, READ, NULL,
     "Every version, why it was made, and whether it was withdrawn."},
    {"GET", "/v1/studies/{}/proof", api_study_proof, GP | OPH, READ, NULL,
     "All that is needed to verify its signatures elsewhere (asaleectl verify)."},
    {"POST", "/v1/studies/{}/page", api_study_page, NURSE | GP, WRITE, "text",
     "Symptomatic: calls the GP now, and puts the study first in the queue."},
    {"GET", "/v1/forms", api_forms, NURSE | GP | OPH | LGC, READ, NULL,
     "What can be chosen: the findings of each act, the reasons to return a study."},
    {"GET", "/v1/notices", api_notices, NURSE | GP | OPH, READ, NULL,
     "What the caller is to be told: pages, reminders, overdue and returned studies, delegations that end."},
    {"POST", "/v1/notices/{}/acknowledge", api_notice_acknowledge, NURSE | GP | OPH, WRITE, "", "It was heard."},
    {"GET", "/v1/events", api_events, GP, READ, NULL, "Server-sent events: notices as they are made."},
    {"GET", "/v1/followups", api_followups, NURSE | GP | LGC, READ, NULL, "Follow-ups, newest first (?patient=)."},
    {"POST", "/v1/followups", api_followup_open, NURSE | GP, WRITE, "patient protocol gp nurse",
     "Opens a patient's follow-up under a protocol, with GP and nurse by their RPPS numbers; the caller's may be left"
     " out."},
    {"GET", "/v1/followups/{}", api_followup_get, NURSE | GP | LGC, READ, NULL,
     "A follow-up: who was in charge, what was made."},
    {"POST", "/v1/followups/{}/transfer", api_followup_transfer, GP | ADMIN, WRITE, "gp nurse reason",
     "Another GP or nurse takes over."},
    {"POST", "/v1/followups/{}/close", api_followup_close, NURSE | GP, WRITE, "reason",
     "Ends it: what is under way goes on, nothing new is ordered."},
    {"GET", "/v1/retention", api_retention, GP | ADMIN, READ, NULL,
     "Patients whose retention period is over, longest ago first, and those that were erased."},
    {"GET", "/v1/patients/{}/archive", api_patient_archive, GP, READ, NULL,
     "All that is kept of a patient, as a tar to be kept apart."},
    {"POST", "/v1/patients/{}/erase", api_patient_erase, GP, WRITE, "archive",
     "Erases a patient whose retention period is over, by the SHA-256 of the archive that was exported."},
    {"GET", "/v1/recalls", api_recalls, NURSE | GP | LGC, READ, NULL,
     "Acts that the protocols of open follow-ups make due again, the longest due first (?until=YYYY-MM-DD, in 30 days"
     " when left out): due, overdue, or ordered already."},
    {"GET", "/v1/meetings/agenda", api_meeting_agenda, NURSE | GP, READ, NULL,
     "What a GP and a nurse have to talk about (?gp=, ?nurse=: RPPS numbers, the caller's may be left out; ?since=,"
     " else their last meeting): of each open follow-up of theirs the studies that wait, are being read, were"
     " returned or signed, the overdue recalls, the notices that nobody heard. Conclusions only as far as the caller"
     " gets them."},
    {"POST", "/v1/meetings", api_meeting_add, NURSE | GP, WRITE, "gp nurse held minute followups",
     "Keeps the minutes of a meeting for ever: the day it was held, what was said, and in followups (a list) what was"
     " said of each: followup (\"W-3\") and minute. Both read these texts in full, whatever the protocol shows the"
     " nurse otherwise. What is about a patient belongs under its follow-up, with which it is erased."},
    {"GET", "/v1/meetings", api_meetings, NURSE | GP | ADMIN, READ, NULL,
     "Meetings without their texts, newest first: one's own, to the administrator all."},
    {"GET", "/v1/meetings/{}", api_meeting_get, NURSE | GP, READ, NULL, "The minutes, for who was there."},
    {"GET", "/v1/reports/monthly", api_report_monthly, GP | ADMIN | AUDITOR, READ, NULL,
     "A month's figures (?month=YYYY-MM): per act, protocol and structure what was done, repeated, returned, read,"
     " how long it took. Nobody is named, and figures of 1 to 4 are withheld. Signed with the site's key over the"
     " canonical JSON of report; with ?format=csv a table for a spreadsheet, signed as it is in the header"
     " Asaleed-Signature."},
    {"GET", "/v1/protocols", api_protocols, EVERYBODY, READ, NULL, "The protocols of the site and what each opens."},
    {"GET", "/v1/professionals", api_professionals, EVERYBODY, READ, NULL, "The registered professionals."},
    {"GET", "/v1/professionals/{}", api_professional_get, EVERYBODY, READ, NULL, "One, by RPPS number."},
    {"PUT", "/v1/professionals/{}", api_professional_put, ADMIN, WRITE, "family given role finess",
     "Registers a professional under the RPPS number, or corrects it: nurse, gp or ophthalmologist; FINESS number of"
     " the structure."},
    {"GET", "/v1/delegations", api_delegations, EVERYBODY & ~LGC, READ, NULL, "Delegations, newest first (?rpps=)."},
    {"POST", "/v1/delegations", api_delegation_add, ADMIN, WRITE,
     "nurse gp protocol authorisation authorised from until nurse_adhesion gp_adhesion",
     "Records that a GP delegates a protocol to a nurse: reference and date of the authorisation, first and last day,"
     " when each joined. Dates are YYYY-MM-DD."},
    {"POST", "/v1/delegations/{}/end", api_delegation_end, ADMIN, WRITE, "reason", "Ends one before its last day."},
    {"GET", "/v1/absences", api_absences, EVERYBODY & ~LGC, READ, NULL, "Who is away, and who stands in."},
    {"POST", "/v1/absences", api_absence_add, GP | ADMIN, WRITE, "gp deputy first last",
     "A GP is away from the first to the last day, and the deputy reads what was for that GP."},
    {"POST", "/v1/absences/{}/end", api_absence_end, GP | ADMIN, WRITE, "", "Back before the last day."},
    {"POST", "/v1/studies/{}/redecode", api_study_redecode, GP | ADMIN, WRITE, "",
     "Decodes the newest capture again with the installed driver, into a new record."},
    {"GET", "/v1/studies/{}/events", api_study_events, NURSE | GP | OPH | ADMIN | LGC, READ, NULL,
     "Server-sent events: state, identity, progress, contacts, preview, picture, failure. Resumes by Last-Event-ID."},
    {"GET", "/v1/queue", api_queue, NURSE | GP | OPH, READ, NULL,
     "The reading queue, oldest due first (?state=to_interpret|interpreting, ?act=ecg|spirometry|fundus|measurement)."},
    {"GET", "/v1/records/{}", api_record_get, NURSE | GP | OPH | ADMIN | LGC, READ, NULL,
     "A record, less what the caller's role does not get."},
    {"GET", "/v1/records/{}/channels", api_record_channels, NURSE | GP | OPH | ADMIN | LGC, READ, NULL,
     "Its samples: u32 length of a JSON header, the header, padding to 4, then int16; all little endian."},
    {"GET", "/v1/records/{}/preview", api_record_preview, NURSE | GP | OPH | ADMIN | LGC, READ, NULL,
     "Picture ?n= of a record (1), smaller and made anew from its pixels: JPEG."},
    {"GET", "/v1/records/{}/picture", api_record_picture, GP | OPH, READ, NULL,
     "Picture ?n= of a record (1), byte for byte as the camera gave it."},
    {"GET", "/v1/records/{}/dicom", api_record_dicom, NURSE | GP | OPH | LGC, READ, NULL,
     "Its DICOM object (?n= picture), with what the caller's role gets; made once the study is accepted."},
    {"GET", "/v1/unmatched", api_unmatched, NURSE | GP | ADMIN, READ, NULL,
     "The tray: readings that belong to no patient, and files in which none was found, newest first."},
    {"GET", "/v1/unmatched/{}", api_unmatched_get, NURSE | GP | ADMIN, READ, NULL,
     "One of them, less what the caller's role does not get, and how it left the tray."},
    {"GET", "/v1/unmatched/{}/channels", api_unmatched_channels, NURSE | GP | ADMIN, READ, NULL,
     "Its samples, as those of a record."},
    {"GET", "/v1/unmatched/{}/preview", api_unmatched_preview, NURSE | GP | ADMIN, READ, NULL,
     "Its picture ?n= (1), smaller and made anew from its pixels: JPEG."},
    {"POST", "/v1/unmatched/{}/attach", api_unmatched_attach, NURSE | GP, WRITE,
     "order birth_date datamatrix confirm reason",
     "Attaches it to an order's study. birth_date is that of the order's patient, as the caller knows it, or"
     " datamatrix the patient's INS sheet as scanned. Where the file says another patient it takes confirm and"
     " reason."},
    {"POST", "/v1/unmatched/{}/discard", api_unmatched_discard, NURSE | GP, WRITE, "reason",
     "Sets it aside for good; nothing is deleted."},
    {"POST", "/v1/unmatched/{}/redecode", api_unmatched_redecode, GP | ADMIN, WRITE, "",
     "Has its file decoded again by the installed drivers, into a new row of the tray."},
    {"POST", "/v1/studies/{}/reassign", api_study_reassign, GP | ADMIN, WRITE,
     "order birth_date datamatrix records confirm reason",
     "Moves records (a list, \"R-3\") that were another patient's to that patient's order. What was interpreted of"
     " them is withdrawn; both studies show it."},
    {"POST", "/v1/files", api_file_add, NURSE | GP | ADMIN | LGC, UPLOAD, NULL,
     "Takes a file in: the body as it is, at most 64 MiB (?name=, ?device= whose file it is). 201, or 200 when the"
     " same is there already."},
    {"GET", "/v1/files", api_files, NURSE | GP | ADMIN | LGC, READ, NULL,
     "Files that were taken in, newest first (?state=waiting|unmatched|attached|discarded|refused)."},
    {"GET", "/v1/files/{}", api_file_get, NURSE | GP | ADMIN | LGC, READ, NULL, "One of them, and what became of it."},
    {"GET", "/v1/files/{}/content", api_file_content, GP, READ, NULL, "Its bytes."},
    {"GET", "/v1/media/{}", api_media_get, ADMIN, READ, NULL,
     "A USB stick by the name of its block device: whose files are on it, how far they are copied."},
    {"POST", "/v1/media", api_media_add, ADMIN, WRITE, "name",
     "The stick with this block device was mounted: its instruments' files are copied."},
    {"GET", "/v1/devices/{}/calibrations", api_calibrations, NURSE | GP | ADMIN, READ, NULL,
     "A spirometer's verifications with a syringe, newest first, and whether the last one still holds."},
    {"POST", "/v1/devices/{}/calibrations", api_calibration_add, NURSE | GP | ADMIN, WRITE,
     "syringe_ml measured_ml comment",
     "Writes down a verification: what the spirometer measured of each stroke, in mL."},
    {"GET", "/v1/reference", api_reference_get, GP | ADMIN, READ, NULL,
     "The installed table of spirometry reference values."},
    {"PUT", "/v1/reference", api_reference_put, ADMIN, WRITE, "name table",
     "Installs a table of spirometry reference values: the text of its file."},
    {"GET", "/v1/changes", api_changes, GP | ADMIN | LGC, READ, NULL, "What changed after ?since=, in order."},
    {"GET", "/v1/audit", api_audit, ADMIN | AUDITOR, READ, NULL, "The audit trail, newest first."},
    {"GET", "/v1/audit/verify", api_audit_verify, ADMIN | AUDITOR, READ, NULL,
     "Recomputes the audit trail's hash chain and looks whether the store is as it was sealed, as of now: takes"
     " minutes where there are millions of rows, and one at a time."},
    {"POST", "/v1/audit/archive", api_audit_archive, ADMIN, WRITE, "before",
     "Moves the audit rows from before a time that is past to an archive artefact, so many as one takes: with more in"
     " the answer there are others, for another call. Verifies first, as GET /v1/audit/verify does; the chain goes on"
     " verifying."},
    {"GET", "/v1/audit/who-saw/{}", api_audit_who_saw, ADMIN | AUDITOR, READ, NULL,
     "What was seen and done of a patient, by id: newest first."},
    {"GET", "/v1/audit/head", api_audit_head, ADMIN | AUDITOR, READ, NULL,
     "The newest signed head of the trail, to be kept elsewhere."},
    {"POST", "/v1/audit/head", api_audit_head_sign, ADMIN | AUDITOR, WRITE, "", "Signs the trail as it is now."},
    {"GET", "/v1/audit/export", api_audit_export, AUDITOR, READ, NULL,
     "The trail from row ?from= on (1), archives included, with its signed heads: JSON lines that asaleectl audit"
     " verify --file checks elsewhere."},
    {"POST", "/v1/audit/erase", api_audit_erase, ADMIN, WRITE, "",
     "Erases the archives of the trail whose retention period is over; the chain goes on verifying."},
    {"GET", "/v1/users", api_users, ADMIN, READ, NULL, "The accounts."},
    {"POST", "/v1/users", api_user_add, ADMIN, WRITE, "name role display",
     "Makes an account; its token is shown once. The name has letters without accents, digits, . _ and -, and is none"
     " of those that the audit trail has for others: root, asaleed, unknown, or one that begins with uid-."},
    {"POST", "/v1/users/{}/password", api_user_password, ADMIN, SECRET, "",
     "An initial password, shown once, to be changed at the first login; ends the account's sessions."},
    {"POST", "/v1/users/{}/professional", api_user_link, ADMIN, WRITE, "rpps",
     "The account is this registered professional's."},
    {"POST", "/v1/users/{}/grant", api_user_grant, ADMIN, WRITE, "person",
     "This practice software may act for a person."},
    {"POST", "/v1/users/{}/revoke", api_user_revoke, ADMIN, WRITE, "person", "And no longer."},
    {"POST", "/v1/users/{}/token", api_user_token, ADMIN, WRITE, "", "A new token; the old one stops working."},
    {"POST", "/v1/users/{}/disable", api_user_disable, ADMIN, WRITE, "", "Ends an account."},
    {"POST", "/v1/login", api_login, (unsigned)ANYONE, SECRET, "name password",
     "Begins a session: a cookie. After several failures it takes longer and longer."},
    {"POST", "/v1/unlock", api_unlock, (unsigned)ANYONE, SECRET, "password",
     "Goes on with a session that was idle for too long."},
    {"POST", "/v1/password", api_password, EVERYBODY & ~LGC, SECRET, "old new", "Changes the caller's own password."},
    {"POST", "/v1/logout", api_logout, EVERYBODY, WRITE, "", "Ends the session, one that is locked too."},
    {"GET", "/v1/me", api_me, EVERYBODY, READ, NULL, "Who is calling, and what of that person runs out soon."},
};
#define ROUTES (sizeof routes / sizeof *routes)

/* ---- answering ---- */

json_t *api_list(json_t *items, const char *next) {
  return json_pack("{s:o, s:s?}", "items", items, "next", next);
}

void api_etag(struct api_call *call, int64_t version) {
  snprintf(call->http->etag, sizeof call->http->etag, "\"%lld\"", (long long)version);
}

static void answer_json(struct http_request *q, int status, const char *type, json_t *value) {
  size_t n;
  char *text = json_canonical(value, &n);
  buf_reset(&q->answer);
  q->status = text ? status : 500;
  q->type = text ? type : NULL;
  if (text)
    buf_add(&q->answer, text, n);
  free(text);
  json_decref(value);
}

/* The member that a problem is about: "name", "list[2].name", "list[2]", or NULL. */
static json_t *field_json(const struct api_call *call) {
  const char *name = call->field;
  if (!name || !call->item)
    return name ? json_string(name) : NULL;
  return json_sprintf("%s[%zu]%s%s", call->list, call->place, *name ? "." : "", name);
}

/* Takes field. What the handler would have sent (a reading that then could not be written down) does not go out. */
static void answer_problem(struct http_request *q, enum problem p, json_t *field) {
  char type[80];
  if (q->stream.finish)
    q->stream.finish(q->stream.arg);
  q->stream = (struct http_stream){0};
  snprintf(type, sizeof type, "urn:asaleed:problem:%s", problem_code(p));
  json_t *body = json_pack("{s:s, s:s, s:i, s:s, s:s}", "code", problem_code(p), "detail", problem_detail(p), "status",
                           problem_status(p), "title", problem_title(p), "type", type);
  /* not_found with a member: what it names does not exist; without one it is the path. */
  if (body && field && (p == P_unknown_field || p == P_missing_field || p == P_invalid_field || p == P_not_found))
    json_object_set(body, "field", field);
  json_decref(field);
  q->etag[0] = q->save_as[0] = q->set_cookie[0] = q->signature[0] = 0;
  if (p != P_login_wait) /* whoever says so knows how long */
    q->retry_after_s = p == P_dicom_pending ? API_PENDING_S
                       : p == P_overloaded  ? API_OVERLOADED_S
                       : p == P_audit_busy  ? API_BUSY_S
                                            : 0;
  answer_json(q, problem_status(p), "application/problem+json", body);
}

static void on_durable(void *arg, int result) {
  struct http_request *q = arg;
  if (result < 0) {
    q->replayed = false;
    answer_problem(q, problem_of_errno(result), NULL);
  }
  http_answer(q);
}

/* ---- who may call ---- */

/* A password can be guessed there, by whoever it is, and a wrong one makes its owner wait. */
static bool takes_password(const struct route *route) {
  return route->mode == SECRET && *route->fields;
}

/* Somebody else's page may send what asks its user's browser for nothing: that is told by these headers. */
static bool of_other_page(const struct api_call *call) {
  return (http_header(call->http, "Origin") || http_header(call->http, "Sec-Fetch-Site")) && !api_of_our_page(call);
}

/* Who calls, and may. A password that is to be changed first opens nothing else. */
static enum problem admit(struct api_call *call, const struct route *route) {
  if (takes_password(route) && of_other_page(call))
    return P_origin_refused;
  if (route->roles == (unsigned)ANYONE)
    return P_OK;
  enum problem p = api_authenticate(call, route->handler == api_logout);
  if (p == P_OK && !(route->roles & call->caller.role))
    p = P_forbidden;
  if (p == P_OK && call->must_change && route->handler != api_password && route->handler != api_logout &&
      route->handler != api_me)
    p = P_password_to_change;
  return p;
}

/* ---- the body ---- */

/* Which bodies must say that they are JSON, as no form of another page can: those that come with what a browser sends
 * by itself, and those with a password to try. An Authorization header says as much, and its sender may leave it out.
 */
static bool needs_type(const struct api_call *call, const struct route *route) {
  return call->session[0] || (takes_password(route) && !http_header(call->http, "Authorization"));
}

static enum problem read_body(struct api_call *call, const struct route *route) {
  struct http_request *q = call->http;
  char reason[256];
  const char *type = http_header(q, "Content-Type");
  if (q->too_large)
    return P_body_too_large;
  if (q->body.len && (type ? strncmp(type, "application/json", 16) != 0 : needs_type(call, route)))
    return P_bad_request;
  int r = q->body.len ? json_read((const char *)q->body.data, q->body.len, &call->body, reason) : 0;
  if (r < 0)
    return r == -ENOMEM ? P_overloaded : P_bad_request;
  if (!call->body && !(call->body = json_object()))
    return P_overloaded;
  return api_members(call, call->body, route->fields);
}

/* ---- idempotency ---- */

/* Who asked, what, with which body: an answer is given again only to exactly the same request. */
static int request_hash(struct api_call *call, uint8_t ret[static HASH_BYTES]) {
  struct buf b = BUF_INIT(HTTP_BODY_MAX + 4096);
  buf_format(&b, "%s %s\n%s\n%s\n", call->http->method, call->http->path, call->caller.name, call->caller.acting_for);
  buf_add(&b, call->http->body.data, call->http->body.len);
  int r = b.err;
  if (r == 0)
    hash_sha256(b.data, b.len, ret);
  buf_finish(&b);
  return r;
}

static const char *idempotency_key(struct api_call *call, enum problem *ret) {
  const char *key = http_header(call->http, "Idempotency-Key");
  size_t n = key ? strlen(key) : 0;
  for (size_t i = 0; i < n; i++)
    if (key[i] <= ' ' || key[i] > '~')
      n = 0;
  *ret = n >= 8 && n <= 64 ? P_OK : P_idempotency_key_missing;
  return key;
}

/* That the caller was shown what there is of these patients. */
static enum problem note(struct api_call *call, const struct route *route) {
  char name[64];
  snprintf(name, sizeof name, "%s %s", route->method, route->path);
  return problem_of_errno(
      reads_note(call->api->reads, &call->caller, name, call->id[0] ? call->id : "list", call->patients));
}

/* An answer that is given once more shows what it showed: not to whom the patients are no longer. */
static enum problem shown_again(struct api_call *call, const char *patients) {
  enum problem p = P_OK;
  size_t i;
  json_t *one;
  if (!patients)
    return P_OK;
  json_decref(call->patients);
  call->patients = json_loads(patients, 0, NULL);
  json_array_foreach(call->patients, i, one) {
    if (p == P_OK)
      p = access_patient(call->api->store, &call->caller, json_string_value(one));
  }
  return call->patients ? p : P_overloaded;
}

/* P_OK and *ret_done when the same request was answered before: its answer is in call->http. */
static enum problem answer_again(struct api_call *call, const char *key, const uint8_t hash[static HASH_BYTES],
                                 bool *ret_done) {
  struct http_request *q = call->http;
  enum problem p = P_OK;
  struct rows r =
      store_query(call->api->store, "SELECT request, status, body, patients FROM answered WHERE actor = ? AND key = ?",
                  "tt", call->caller.name, key);
  *ret_done = false;
  if (rows_next(&r)) {
    size_t n;
    const void *before = rows_blob(&r, 0, &n);
    if (n != HASH_BYTES || memcmp(before, hash, n))
      p = P_idempotency_key_reused;
    else if ((p = shown_again(call, rows_is_null(&r, 3) ? NULL : rows_text(&r, 3))) == P_OK) {
      q->status = (int)rows_int(&r, 1);
      q->type = "application/json";
      q->replayed = *ret_done = true;
      buf_reset(&q->answer);
      if (buf_text(&q->answer, rows_text(&r, 2)) < 0)
        p = P_overloaded;
    }
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

/* ---- one call ---- */

static bool path_fits(const char *pattern, const char *path, char id[static PATIENT_ID_MAX + 1]) {
  const char *hole = strstr(pattern, "{}");
  if (!hole)
    return !strcmp(pattern, path);
  size_t head = (size_t)(hole - pattern), tail = strlen(hole + 2);
  if (strncmp(pattern, path, head))
    return false;
  size_t n = strcspn(path + head, "/");
  if (n == 0 || n > PATIENT_ID_MAX || strcmp(path + head + n, hole + 2) || strlen(path + head + n) != tail)
    return false;
  memcpy(id, path + head, n);
  id[n] = 0;
  return true;
}

static enum problem find_route(struct api_call *call, const struct route **ret) {
  static const char *const allows[] = {"GET", "POST", "GET, POST", "PUT", "GET, PUT", "POST, PUT", "GET, POST, PUT"};
  unsigned methods = 0;
  for (size_t i = 0; i < ROUTES; i++) {
    char id[PATIENT_ID_MAX + 1] = "";
    if (!path_fits(routes[i].path, call->http->path, id))
      continue;
    if (!strcmp(routes[i].method, call->http->method)) {
      str_copy(call->id, sizeof call->id, id);
      *ret = &routes[i];
      return P_OK;
    }
    methods |= routes[i].method[0] == 'G' ? 1 : routes[i].method[1] == 'O' ? 2 : 4;
  }
  if (!methods)
    return P_not_found;
  call->http->allow = allows[methods - 1];
  return P_method_not_allowed;
}

/* The answer as it is kept for a repeated request. Secrets are shown once and kept nowhere: in a repeated answer the
 * token is null, and its owner asks for a new one (a GP claims again, an administrator makes a new token). */
static char *remembered(const json_t *answer) {
  _json_cleanup_ json_t *copy = json_copy((json_t *)answer);
  static const char *const secrets[] = {"token", "password"};
  for (size_t i = 0; copy && i < sizeof secrets / sizeof *secrets; i++)
    if (json_object_get(copy, secrets[i]))
      json_object_set_new(copy, secrets[i], json_null());
  return json_canonical(copy, NULL);
}

static int remember(struct api_call *call, const char *key, const uint8_t hash[static HASH_BYTES]) {
  _free_cleanup_ char *body = remembered(call->answer);
  _free_cleanup_ char *patients = call->patients ? json_canonical(call->patients, NULL) : NULL;
  return !body || (call->patients && !patients)
             ? -ENOMEM
             : store_run(call->api->store, "INSERT INTO answered VALUES(?,?,?,?,?,?,?)", "ttbitit", call->caller.name,
                         key, hash, (size_t)HASH_BYTES, (int64_t)call->status, body, wall_now().us, patients);
}

/* Runs a writing route inside an act, with its answer remembered in the same act. *ret_told: the trail says so. */
static enum problem run_act(struct api_call *call, const struct route *route, const char *key,
                            const uint8_t hash[static HASH_BYTES], bool *ret_told) {
  struct store *store = call->api->store;
  int64_t before = 0;
  int r = store_begin(store);
  if (r < 0)
    return problem_of_errno(r);
  enum problem p = problem_of_errno(audit_last(store, &before));
  if (p == P_OK)
    p = route->handler(call);
  if (p == P_OK && call->later) {
    store_undo(store);
    return P_OK;
  }
  if (p == P_OK && key && (r = remember(call, key, hash)) < 0)
    p = problem_of_errno(r);
  if (p == P_OK)
    p = problem_of_errno(audit_names(store, before, call->patients, ret_told));
  if (p == P_OK)
    p = problem_of_errno(store_keep(store));
  if (p != P_OK)
    store_undo(store);
  return p;
}

enum problem api_readmit(struct api_call *call) {
  const struct route *route;
  enum problem p = find_route(call, &route);
  return p == P_OK ? admit(call, route) : p;
}

static enum problem run(struct api_call *call) {
  const struct route *route;
  enum problem p = find_route(call, &route);
  if (p == P_OK)
    p = admit(call, route);
  if (p == P_OK && route->fields)
    p = read_body(call, route);
  const char *key = NULL;
  uint8_t hash[HASH_BYTES] = {0};
  bool done = false;
  if (p == P_OK && !strcmp(route->method, "POST") && route->mode < UPLOAD) {
    key = idempotency_key(call, &p);
    if (p == P_OK)
      p = problem_of_errno(request_hash(call, hash));
    if (p == P_OK)
      p = answer_again(call, key, hash, &done);
  }
  bool told = false;
  if (p == P_OK && !done)
    p = route->mode == WRITE ? run_act(call, route, key, hash, &told) : route->handler(call);
  return p == P_OK && call->patients && !told ? note(call, route) : p;
}

enum http_body api_accept(struct http_request *q, void *arg) {
  struct api_call call = {.api = arg, .http = q, .status = 200};
  const struct route *route;
  if (find_route(&call, &route) != P_OK || route->mode != UPLOAD)
    return HTTP_BUFFER;
  enum problem p = admit(&call, route);
  int fd = p == P_OK ? artefacts_scratch(call.api->artefacts) : -1;
  if (p == P_OK && fd < 0)
    p = problem_of_errno(fd);
  if (p != P_OK) {
    answer_problem(q, p, NULL);
    http_answer(q);
    return HTTP_REFUSED;
  }
  q->file = fd;
  q->file_max = ACQ_BLOB_MAX - 1;
  return HTTP_FILE;
}

void api_answer(struct api *a, struct http_request *q, enum problem p, int status, json_t *answer) {
  if (p != P_OK) {
    json_decref(answer);
    answer_problem(q, p, NULL);
  } else {
    answer_json(q, status, "application/json", answer);
  }
  store_on_commit(a->store, on_durable, q);
}

static void handle(struct api *a, struct http_request *q, bool once_more);

struct read_waits {
  struct api *api;
  struct http_request *http;
};

/* What a read saw may have been undone with the commit that failed: it is done once more, with what there is now. Its
 * row of the trail waits for the store then (reads.h). */
static void on_read_durable(void *arg, int result) {
  struct read_waits w = *(struct read_waits *)arg;
  struct http_request *q = w.http;
  free(arg);
  if (result == 0) {
    http_answer(q);
    return;
  }
  if (q->stream.finish)
    q->stream.finish(q->stream.arg);
  q->stream = (struct http_stream){0};
  q->etag[0] = q->save_as[0] = 0;
  buf_reset(&q->answer);
  handle(w.api, q, false);
}

static void answer_when_durable(struct api *a, struct http_request *q, bool once_more) {
  struct read_waits *w = once_more ? malloc(sizeof *w) : NULL;
  if (w)
    *w = (struct read_waits){a, q};
  store_on_commit(a->store, w ? on_read_durable : on_durable, w ? (void *)w : q);
}

static void handle(struct api *a, struct http_request *q, bool once_more) {
  struct api_call call = {.api = a, .http = q, .status = 200};
  enum problem p = run(&call);
  if (p != P_OK)
    answer_problem(q, p, field_json(&call));
  else if (call.answer)
    answer_json(q, call.status, "application/json", json_incref(call.answer));
  json_decref(call.body);
  json_decref(call.answer);
  json_decref(call.patients);
  if (p == P_OK && call.later)
    return;
  /* A read may have seen what the same turn wrote and has not committed yet: it waits for that commit too. */
  answer_when_durable(a, q, p == P_OK && once_more && !strcmp(q->method, "GET"));
}

void api_handle(struct http_request *q, void *arg) {
  handle(arg, q, true);
}

void api_again(struct api *a, struct http_request *q) {
  handle(a, q, false);
}

void api_commit(void *arg) {
  struct api *a = arg;
  if (!store_is_dirty(a->store))
    return;
  store_commit(a->store);
  api_watches_look(a);
}

/* ---- the reference page ---- */

void api_print_reference(void) {
  static const struct {
    enum role role;
    const char *name;
  } names[] = {{ROLE_NURSE, "nurse"}, {ROLE_GP, "gp"},   {ROLE_OPHTHALMOLOGIST, "ophthalmologist"},
               {ROLE_ADMIN, "admin"}, {ROLE_LGC, "lgc"}, {ROLE_AUDITOR, "auditor"}};
  printf("# asaleed API v1\n\n"
         "JSON over HTTP/1.1 on a Unix socket or a loopback port. `Authorization: Bearer TOKEN`, or the cookie\n"
         "that `POST /v1/login` gives to a browser; on the Unix socket root needs none. What carries that\n"
         "cookie, or a password without a token, says `Content-Type: application/json`, and over TCP comes to\n"
         "a loopback name or to one of `hosts` in asaleed.conf. A practice software (`lgc`) names the person\n"
         "it acts for in `Asaleed-Acting-For`. What a page asks for by itself, with nobody there, says\n"
         "`Asaleed-Background: 1`, and keeps no session from being locked. Every POST carries an\n"
         "`Idempotency-Key` of 8 to 64 characters: the same request gives the same answer again. Errors are\n"
         "RFC 9457 problem details with a stable `code` and a French `detail`. A stream of events ends when\n"
         "its caller could not open it any more; an account has %d of them at most (a practice software as\n"
         "many for each person it acts for), all together %d: one more is refused as `overloaded`.\n"
         "\n"
         "| method | path | roles | body | what |\n|---|---|---|---|---|\n",
         API_STREAMS_EACH, API_STREAMS_MAX);
  for (size_t i = 0; i < ROUTES; i++) {
    char path[64], roles[96] = "";
    const char *hole = strstr(routes[i].path, "{}");
    snprintf(path, sizeof path, "%.*s%s%s", hole ? (int)(hole - routes[i].path) : 64, routes[i].path,
             hole ? "{id}" : "", hole ? hole + 2 : "");
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
      if (routes[i].roles & names[k].role)
        snprintf(roles + strlen(roles), sizeof roles - strlen(roles), "%s%s", roles[0] ? " " : "", names[k].name);
    printf("| %s | `%s` | %s | %s | %s |\n", routes[i].method, path,
           routes[i].roles == (unsigned)ANYONE ? "anyone" : roles, routes[i].fields ? routes[i].fields : "",
           routes[i].what);
  }
  printf("\n## Problem codes\n\n| code | status | meaning |\n|---|---|---|\n");
  for (int p = 1; p < P_LAST; p++)
    printf("| `%s` | %d | %s |\n", problem_code((enum problem)p), problem_status((enum problem)p),
           problem_title((enum problem)p));
}
