/* Patients, orders, studies, the reading queue. */
#include "api.h"

#include "access.h"
#include "attach.h"
#include "fundus.h"
#include "identifier.h"
#include "identity.h"
#include "notice.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REASON_MAX 500
#define BIRTH_DATE_FIRST "1880-01-01"
#define LABELS_MAX 128 /* in one request */

/* ---- patients ---- */

/* Out of the practice only with a qualified identity. */
static bool ins_sendable(const struct patient *p) {
  enum ins_status status;
  return ins_status_find(p->ins_status, &status) && ins_may_be_sent(status);
}

json_t *api_patient_json(const struct patient *p) {
  json_t *ins = p->ins[0] ? json_pack("{s:b, s:s, s:s, s:s}", "may_be_sent", ins_sendable(p), "matricule", p->ins,
                                      "oid", p->ins_oid, "status", p->ins_status)
                          : json_null();
  return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:I}", "birth_date", p->birth_date, "family", p->family,
                   "given", p->given, "id", p->id, "ins", ins, "sex", p->sex, "updated", json_time(p->updated),
                   "version", (json_int_t)p->version);
}

static enum problem one_line(struct api_call *call, const char *name, size_t max, char *field) {
  const char *text;
  enum problem p = api_text(call, name, max, true, &text);
  if (p == P_OK && (!str_is_clean_utf8(text, strlen(text)) || !str_copy(field, max + 1, text)))
    p = P_invalid_field;
  return p;
}

/* "ins", "ins_oid", "ins_status": all three or none. Fictitious identities have no place among real patients. */
static enum problem take_ins(struct api_call *call, struct patient *patient) {
  const char *ins, *oid, *status;
  enum ins_authority authority;
  enum problem p = api_text(call, "ins", 15, false, &ins);
  if (p == P_OK)
    p = api_text(call, "ins_oid", sizeof patient->ins_oid - 1, ins != NULL, &oid);
  if (p == P_OK && oid && !ins)
    p = P_invalid_field;
  if (p == P_OK)
    p = api_text(call, "ins_status", sizeof patient->ins_status - 1, ins != NULL, &status);
  if (p == P_OK && status && !ins)
    p = P_invalid_field;
  if (p != P_OK || !ins)
    return p;
  enum ins_status known;
  if (!ins_status_find(status, &known))
    return P_invalid_field;
  call->field = "ins_oid";
  if (!ins_authority_find(oid, &authority))
    return P_invalid_field;
  if (call->api->conf->production && ins_is_fictitious(authority))
    return P_ins_fictitious;
  call->field = "ins";
  return ins_is_valid(ins) && str_copy(patient->ins, sizeof patient->ins, ins) &&
                 str_copy(patient->ins_oid, sizeof patient->ins_oid, oid) &&
                 str_copy(patient->ins_status, sizeof patient->ins_status, status)
             ? P_OK
             : P_invalid_field;
}

/* Of somebody who may be alive; days as texts are in the order of time. */
static bool is_birth_date(const char *text) {
  char today[WALL_DATE_MAX];
  wall_date(wall_now().us, today);
  return wall_is_date(text) && strcmp(text, BIRTH_DATE_FIRST) >= 0 && strcmp(text, today) <= 0;
}

enum problem api_patient_put(struct api_call *call) {
  struct patient patient = {0};
  int64_t if_match;
  bool created;
  enum problem p = one_line(call, "family", PATIENT_NAME_MAX - 1, patient.family);
  if (p == P_OK)
    p = one_line(call, "given", PATIENT_NAME_MAX - 1, patient.given);
  if (p == P_OK)
    p = one_line(call, "sex", 1, patient.sex);
  if (p == P_OK && !strchr("MFU", patient.sex[0]))
    p = P_invalid_field;
  if (p == P_OK)
    p = one_line(call, "birth_date", 10, patient.birth_date);
  if (p == P_OK && !is_birth_date(patient.birth_date))
    p = P_invalid_field;
  if (p == P_OK && (call->field = "id", !patient_id_ok(call->id) || !str_copy(patient.id, sizeof patient.id, call->id)))
    p = P_invalid_field;
  if (p == P_OK)
    p = take_ins(call, &patient);
  if (p == P_OK)
    p = api_if_match(call, &if_match);
  if (p == P_OK)
    p = access_patient(call->api->store, &call->caller, patient.id);
  if (p != P_OK)
    return p;
  /* A practice software that knows nothing of the INS takes none away; null does. */
  struct patient known;
  if (!json_object_get(call->body, "ins") && patient_find(call->api->store, patient.id, &known) == P_OK) {
    memcpy(patient.ins, known.ins, sizeof patient.ins);
    memcpy(patient.ins_oid, known.ins_oid, sizeof patient.ins_oid);
    memcpy(patient.ins_status, known.ins_status, sizeof patient.ins_status);
  }
  struct actor by = caller_actor(&call->caller);
  p = patient_put(call->api->store, &by, &patient, if_match, &created);
  if (p == P_OK)
    p = api_saw(call, patient.id);
  if (p != P_OK)
    return p;
  if (!created)
    dicom_wake_patient(call->api->dicom, patient.id);
  call->status = created ? 201 : 200;
  api_etag(call, patient.version);
  call->answer = api_patient_json(&patient);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_patient_get(struct api_call *call) {
  struct patient patient;
  enum problem p = access_patient(call->api->store, &call->caller, call->id);
  if (p == P_OK)
    p = patient_find(call->api->store, call->id, &patient);
  if (p == P_OK)
    p = api_saw(call, patient.id);
  if (p != P_OK)
    return p;
  api_etag(call, patient.version);
  call->answer = api_patient_json(&patient);
  return call->answer ? P_OK : P_overloaded;
}

#define SCANNED_MAX 400

/* As a scanner gave it: no text of a body has controls, so the separator GS comes as its symbol. */
static size_t scanned(const char *text, char ret[static SCANNED_MAX + 1]) {
  static const char symbol[] = "\u241d";
  size_t n = 0;
  for (const char *at = text; *at; n++) {
    const bool is_gs = !strncmp(at, symbol, sizeof symbol - 1);
    ret[n] = is_gs ? 0x1d : *at;
    at += is_gs ? sizeof symbol - 1 : 1;
  }
  ret[n] = 0;
  return n;
}

enum problem api_sheet(struct api_call *call, struct ins_datamatrix *ret, bool *ret_there) {
  const char *text, *what;
  char bytes[SCANNED_MAX + 1];
  enum problem p = api_text(call, "datamatrix", SCANNED_MAX, false, &text);
  *ret_there = p == P_OK && text;
  if (!*ret_there)
    return p;
  if (!*text)
    return P_invalid_field;
  if (ins_datamatrix_parse(bytes, scanned(text, bytes), ret, &what) < 0)
    return P_ins_unreadable;
  return call->api->conf->production && ins_is_fictitious(ret->ins.authority) ? P_ins_fictitious : P_OK;
}

/* The patient whose sheet was scanned: by the INS, and each trait beside what is known. */
enum problem api_patient_lookup(struct api_call *call) {
  struct ins_datamatrix sheet;
  struct patient patient;
  char id[PATIENT_ID_MAX + 1];
  bool there;
  enum problem p = api_sheet(call, &sheet, &there);
  if (p == P_OK && !there)
    p = P_missing_field;
  if (p == P_OK)
    p = patient_by_ins(call->api->store, &call->caller, sheet.ins.matricule, id);
  if (p == P_OK)
    p = patient_find(call->api->store, id, &patient);
  if (p != P_OK)
    return p;
  _json_cleanup_ json_t *subject =
      json_pack("{s:s, s:s, s:s, s:s}", "birth_date", sheet.birth_date, "family", sheet.birth_family_name, "given",
                sheet.given_names, "sex", (char[]){sheet.sex, 0});
  struct identity_check check = identity_check(subject, &patient);
  struct actor by = caller_actor(&call->caller);
  int r = audit_add(call->api->store, &by, "patient.lookup", id, json_pack("{s:s}", "patient", id));
  if (r < 0)
    return problem_of_errno(r);
  call->answer = json_pack("{s:o, s:b, s:o}", "agrees", identity_json(&check), "differs", identity_differs(&check),
                           "patient", api_patient_json(&patient));
  return call->answer ? P_OK : P_overloaded;
}

/* By ids: nobody's name, and what was written as a reason only for who reads interpretations. */
enum problem api_patient_history(struct api_call *call) {
  struct patient patient;
  int limit;
  enum problem p = api_limit(call, &limit);
  if (p == P_OK)
    p = patient_find(call->api->store, call->id, &patient);
  if (p == P_OK)
    p = api_saw(call, patient.id);
  if (p != P_OK)
    return p;
  _json_cleanup_ json_t *items = json_array();
  int err = items ? 0 : -ENOMEM;
  struct rows r = store_query(call->api->store,
                              "SELECT a.seq, a.at, a.actor, a.acting_for, a.action, a.subject, a.detail FROM audit a"
                              " WHERE a.subject IN (SELECT 'S-' || y.id FROM study y JOIN orders o ON o.id = y.orders"
                              " WHERE o.patient = ?) ORDER BY a.seq DESC LIMIT ?",
                              "ti", call->id, (int64_t)limit);
  while (err == 0 && rows_next(&r)) {
    json_t *detail = json_loads(rows_text(&r, 6), 0, NULL);
    api_trail_mask(call, detail);
    err = json_array_append_new(items, json_pack("{s:s, s:s?, s:s, s:o, s:o, s:I, s:s}", "actor", rows_text(&r, 2),
                                                 "acting_for", rows_text(&r, 3), "action", rows_text(&r, 4), "at",
                                                 json_time(rows_int(&r, 1)), "detail", detail, "seq",
                                                 (json_int_t)rows_int(&r, 0), "study", rows_text(&r, 5))) < 0
              ? -ENOMEM
              : 0;
  }
  int query_err = rows_finish(&r);
  if (err == 0)
    err = query_err;
  if (err == 0 && !(call->answer = api_list(json_incref(items), NULL)))
    err = -ENOMEM;
  return problem_of_errno(err);
}

/* ---- a study as JSON ---- */

/* Whose a file says it is: not the name, which the record has. */
static int doubt_json(struct api_call *call, int64_t record, const struct patient *patient, json_t *item) {
  const bool reasons = mask_shows(&call->view, PART_REPORT);
  json_t *differs, *confirmed;
  if (!mask_shows(&call->view, PART_IDENTITY))
    return 0;
  int r = attach_doubt(call->api->store, call->api->artefacts, record, patient, reasons, &differs, &confirmed);
  if (r < 0)
    return r;
  r = json_object_set_new(item, "subject_differs", differs);
  if (reasons && json_object_set_new(item, "confirmed", confirmed) < 0)
    r = -1;
  return r < 0 ? -ENOMEM : 0;
}

static int records_json(struct api_call *call, int64_t study, const struct patient *patient, json_t *list) {
  struct rows r = store_query(call->api->store,
                              "SELECT r.id, r.driver, r.driver_version, r.complete, r.clean, r.at, r.sha256,"
                              " s.record IS NOT NULL, r.taken FROM record r LEFT JOIN supersession s ON s.record = r.id"
                              " WHERE r.study = ? ORDER BY r.id",
                              "i", study);
  const bool whole = mask_shows(&call->view, PART_STATEMENTS);
  int err = list ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    char ref[32];
    str_ref('R', rows_int(&r, 0), ref);
    json_t *item =
        json_pack("{s:b, s:b, s:o, s:s, s:s, s:s, s:s?, s:b, s:o}", "clean", (int)rows_int(&r, 4), "complete",
                  (int)rows_int(&r, 3), "created", json_time(rows_int(&r, 5)), "driver", rows_text(&r, 1),
                  "driver_version", rows_text(&r, 2), "id", ref, "sha256", whole ? rows_text(&r, 6) : NULL,
                  "superseded", (int)rows_int(&r, 7), "taken", json_time(rows_int(&r, 8)));
    err = item ? doubt_json(call, rows_int(&r, 0), patient, item) : -ENOMEM;
    if (err < 0) {
      json_decref(item);
      break;
    }
    err = json_array_append_new(list, item) == 0 ? 0 : -ENOMEM;
  }
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

/* The patient's identity was changed after the newest reading, or after the signature. */
static int changed_json(struct api_call *call, int64_t study, int64_t version, bool *ret) {
  struct rows r = store_query(call->api->store,
                              "SELECT coalesce((SELECT coalesce(r.patient_version, a.patient_version) FROM record r"
                              " JOIN acquisition a ON a.id = r.acquisition WHERE r.study = ?1 AND r.id NOT IN (SELECT"
                              " record FROM supersession) ORDER BY r.id DESC LIMIT 1), (SELECT patient_version FROM"
                              " acquisition WHERE study = ?1 ORDER BY id DESC LIMIT 1), ?2) <> ?2 OR coalesce((SELECT"
                              " patient_version FROM interpretation WHERE study = ?1 AND id NOT IN (SELECT"
                              " interpretation FROM withdrawal) ORDER BY version DESC LIMIT 1), ?2) <> ?2",
                              "ii", study, version);
  *ret = rows_next(&r) && rows_int(&r, 0);
  return rows_finish(&r);
}

static int comment_json(struct api_call *call, int64_t study, json_t **ret) {
  struct rows r = store_query(call->api->store, "SELECT comment FROM study WHERE id = ?", "i", study);
  *ret = rows_next(&r) && !rows_is_null(&r, 0) ? json_string(rows_text(&r, 0)) : json_null();
  return rows_finish(&r);
}

/* Why it ended without an interpretation: free text about the patient. */
static int cancelled_json(struct api_call *call, int64_t study, json_t **ret) {
  struct rows r = store_query(call->api->store, "SELECT at, by, reason FROM cancellation WHERE study = ?", "i", study);
  *ret = rows_next(&r) ? json_pack("{s:o, s:s, s:s}", "at", json_time(rows_int(&r, 0)), "by", rows_text(&r, 1),
                                   "reason", rows_text(&r, 2))
                       : json_null();
  return rows_finish(&r);
}

/* What a spirometry has besides: how good its blows are, the spirometer's verification (the worst that a blow was made
 * under), and for the reader the aids. */
static enum problem spirometry_json(struct api_call *call, const struct study *y, json_t *study) {
  _json_cleanup_ json_t *assessment = NULL;
  json_t *aids = NULL;
  char height[DEC_TEXT_MAX];
  int r = assessment_find(call->api->store, y->id, &assessment);
  if (r < 0)
    return problem_of_errno(r);
  dec_format((struct dec){(int32_t)y->height_mm, -1}, height);
  struct rows rows =
      store_query(call->api->store,
                  "SELECT calibration_state FROM acquisition a WHERE id IN (SELECT acquisition FROM record"
                  " WHERE study = ?1 AND id NOT IN (SELECT record FROM supersession))"
                  " OR id = (SELECT max(id) FROM acquisition WHERE study = ?1) ORDER BY"
                  " instr('failed missing overdue valid unused', calibration_state) LIMIT 1",
                  "i", y->id);
  json_t *calibration = rows_next(&rows) && !rows_is_null(&rows, 0) ? json_string(rows_text(&rows, 0)) : json_null();
  r = rows_finish(&rows);
  json_object_set_new(study, "calibration", calibration);
  json_object_set_new(study, "height_cm", y->height_mm ? json_string(height) : json_null());
  json_object_set_new(study, "spirometry", assessment ? mask_assessment(assessment, &call->view) : json_null());
  enum problem p = problem_of_errno(r);
  if (p == P_OK && mask_shows(&call->view, PART_DERIVED))
    p = reading_aids_make(call->api->aids, call->api->store, y, &aids);
  if (aids)
    json_object_set_new(study, "aids", aids);
  return p;
}

static enum problem fundus_json_of(struct api_call *call, const struct study *y, json_t *study) {
  json_t *fundus;
  const bool texts = mask_shows(&call->view, PART_IDENTITY); /* free text about the patient */
  if (!mask_shows(&call->view, PART_ACQUIRED))
    return P_OK;
  int r = fundus_json(call->api->store, y->id, &study_act(call->api->conf, y)->views, texts, &fundus);
  if (r == 0 && json_object_set_new(study, "fundus", fundus) < 0)
    r = -ENOMEM;
  return problem_of_errno(r);
}

const char *api_reader(const struct api_call *call, const char *protocol, const char *act, const char *reader) {
  const struct conf_protocol *x = conf_protocol(call->api->conf, protocol);
  const struct conf_act *a = x ? conf_act(x, act_modality(act)) : NULL;
  return mask_shows(&call->view, PART_REPORT)
             ? reader
             : role_name(a && a->reader == CONF_READER_OPHTHALMOLOGIST ? ROLE_OPHTHALMOLOGIST : ROLE_GP);
}

/* Who is not told what was signed is not told that it was corrected: the study as it was when it was signed first. */
enum problem api_study_seen(struct api_call *call, struct study *y) {
  if (y->state != INTERPRETED || mask_shows(&call->view, PART_CONCLUSION))
    return P_OK;
  struct rows r = store_query(call->api->store,
                              "SELECT sum(reason IS NOT NULL), max(iif(reason IS NULL, at, 0)) FROM interpretation"
                              " WHERE study = ?",
                              "i", y->id);
  if (rows_next(&r)) {
    y->version -= rows_int(&r, 0);
    y->updated = rows_int(&r, 1);
  }
  return problem_of_errno(rows_finish(&r));
}

static enum problem study_json(struct api_call *call, const struct study *y, json_t **ret) {
  struct patient patient;
  char ref[32], order[32];
  struct study seen = *y;
  enum problem p = api_enter(call, y);
  if (p == P_OK)
    p = api_study_seen(call, &seen);
  if (p == P_OK)
    p = patient_find(call->api->store, y->patient, &patient);
  if (p != P_OK)
    return p;
  str_ref('S', y->id, ref);
  str_ref('O', y->order, order);
  json_t *records = json_array(), *interpretation = NULL, *comment = NULL, *dicom = NULL;
  int r = records_json(call, y->id, &patient, records);
  if (r >= 0)
    r = api_dicom_list(call, y->id, &dicom);
  bool changed = false;
  if (r >= 0)
    r = changed_json(call, y->id, patient.version, &changed);
  json_t *reassigned = NULL;
  if (r >= 0)
    r = attach_reassignments(call->api->store, y->id, mask_shows(&call->view, PART_REPORT), &reassigned);
  if (r >= 0 && mask_shows(&call->view, PART_IDENTITY)) /* free text about the patient */
    r = comment_json(call, y->id, &comment);
  json_t *cancelled = NULL;
  if (r >= 0 && mask_shows(&call->view, PART_IDENTITY))
    r = cancelled_json(call, y->id, &cancelled);
  if (r >= 0)
    r = interpret_json(call->api->store, y->id, &call->view, &interpretation);
  json_t *course = NULL, *calls = NULL;
  if (r >= 0)
    r = interpret_course(call->api->store, y->id, &call->view, &course);
  if (r >= 0)
    r = notice_pages(call->api->store, y->id, mask_shows(&call->view, PART_IDENTITY), &calls);
  json_t *failure = y->failure ? json_pack("{s:o, s:s, s:s}", "at", json_time(y->failed), "code",
                                           problem_code(y->failure), "detail", problem_detail(y->failure))
                               : json_null();
  /* Whose name it is tells who was asked. */
  const bool asked = !strcmp(api_reader(call, y->protocol, y->act, role_name(y->reader)), role_name(y->reader));
  json_t *claim = y->claim_by[0] ? json_pack("{s:s?, s:o}", "by", asked ? y->claim_by : NULL, "expires",
                                             json_time(y->claim_expires))
                                 : json_null();
  json_t *acquisition = session_json(call->api->sessions, y->id);
  json_t *who = mask_shows(&call->view, PART_IDENTITY)
                    ? json_pack("{s:s, s:s, s:s, s:s, s:s}", "birth_date", patient.birth_date, "family", patient.family,
                                "given", patient.given, "id", patient.id, "sex", patient.sex)
                    : json_pack("{s:s}", "id", patient.id);
  json_t *study = json_pack(
      "{s:o, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:s, s:b, s:o, s:s, s:o, s:o, s:o, s:s, s:o, s:I}", "acquisition",
      acquisition ? acquisition : json_null(), "act", y->act, "attempts", (json_int_t)y->attempts, "claim", claim,
      "comment", comment ? comment : json_null(), "created", json_time(y->created), "dicom",
      dicom ? dicom : json_null(), "due", json_time(y->due), "id", ref, "identity_changed", changed, "last_failure",
      failure, "order", order, "patient", who, "reassigned", reassigned ? reassigned : json_array(), "records", records,
      "state", study_state_name(y->state), "updated", json_time(seen.updated), "version", (json_int_t)seen.version);
  if (study && interpretation)
    json_object_set_new(study, "interpretation", interpretation);
  if (study) {
    char other[STR_REF_MAX];
    json_object_update_missing(study, course);
    json_object_set(study, "cancelled", cancelled ? cancelled : json_null());
    json_object_set_new(study, "protocol", y->protocol[0] ? json_string(y->protocol) : json_null());
    json_object_set_new(study, "reader", json_string(api_reader(call, y->protocol, y->act, role_name(y->reader))));
    json_object_set(study, "pages", calls ? calls : json_null());
    json_object_set_new(study, "urgent", json_time(y->urgent));
    str_ref('W', y->followup, other);
    json_object_set_new(study, "followup", y->followup ? json_string(other) : json_null());
    str_ref('S', y->repeats, other);
    json_object_set_new(study, "repeats", y->repeats ? json_string(other) : json_null());
  }
  json_decref(course);
  json_decref(calls);
  json_decref(cancelled);
  p = r < 0 ? problem_of_errno(r) : study ? P_OK : P_overloaded;
  if (p == P_OK && act_modality(y->act) == ACQ_SPIROMETRY)
    p = spirometry_json(call, y, study);
  if (p == P_OK && act_modality(y->act) == ACQ_FUNDUS)
    p = fundus_json_of(call, y, study);
  if (p == P_OK && y->state >= TO_INTERPRET && y->state <= INTERPRETED && mask_shows(&call->view, PART_REPORT)) {
    char shown[HASH_TEXT];
    p = interpret_shown(call->api->store, y, json_object_get(study, "aids"), shown);
    if (p == P_OK)
      json_object_set_new(study, "shown", json_string(shown));
  }
  if (p != P_OK) {
    json_decref(study);
    return p;
  }
  *ret = study;
  return P_OK;
}

enum problem api_study_find(struct api_call *call, struct study *y) {
  int64_t id, if_match;
  if (!api_id(call->id, 'S', &id))
    return P_not_found;
  enum problem p = study_find(call->api->store, id, y);
  if (p == P_OK)
    p = api_enter(call, y);
  if (p == P_OK)
    p = api_if_match(call, &if_match);
  struct study seen = *y;
  if (p == P_OK && if_match > 0 && strcmp(call->http->method, "GET"))
    p = api_study_seen(call, &seen);
  if (p == P_OK && if_match > 0 && if_match != seen.version && strcmp(call->http->method, "GET"))
    p = P_precondition_failed;
  return p;
}

/* One to go on with: not every nurse who knows the patient does so. */
static enum problem find_to_tend(struct api_call *call, struct study *y) {
  enum problem p = api_study_find(call, y);
  return p == P_OK ? study_may_tend(call->api->store, &call->caller, y) : p;
}

/* The study as it stands after the act. */
enum problem api_study_answer(struct api_call *call, const struct study *y) {
  enum problem p = study_json(call, y, &call->answer);
  if (p == P_OK)
    api_etag(call, json_integer_value(json_object_get(call->answer, "version")));
  return p;
}

struct state_news {
  struct api *api;
  int64_t study;
};

static void on_news(void *arg, int result) {
  struct state_news *n = arg;
  struct study y;
  if (result == 0 && study_find(n->api->store, n->study, &y) == P_OK) {
    hub_publish(n->api->hub, y.id, "state", study_event_json(&y));
    if (y.state != ACQUIRING)
      hub_rest(n->api->hub, y.id);
  }
  free(n);
}

void api_moved(struct api *a, int64_t study) {
  struct state_news *n = malloc(sizeof *n);
  if (n) {
    *n = (struct state_news){a, study};
    store_on_commit(a->store, on_news, n);
  }
}

enum problem api_study_moved(struct api_call *call, const struct study *y) {
  api_moved(call->api, y->id);
  return api_study_answer(call, y);
}

/* ---- orders ---- */

static enum problem order_json(const struct rows *r, json_t **ret) {
  char ref[32], study[32];
  str_ref('O', rows_int(r, 0), ref);
  str_ref('S', rows_int(r, 5), study);
  *ret = json_pack("{s:s, s:s, s:o, s:s, s:s, s:{s:s, s:s}}", "act", rows_text(r, 2), "id", ref, "ordered",
                   json_time(rows_int(r, 4)), "ordered_by", rows_text(r, 3), "patient", rows_text(r, 1), "study", "id",
                   study, "state", rows_text(r, 6));
  return *ret ? P_OK : P_overloaded;
}

#define ORDER_COLUMNS                                                              \
  "SELECT o.id, o.patient, o.act, o.ordered_by, o.at, y.id, y.state FROM orders o" \
  " JOIN study y ON y.id = (SELECT max(id) FROM study WHERE orders = o.id)"

static enum problem order_find(struct api_call *call, int64_t id) {
  struct rows r = store_query(call->api->store, ORDER_COLUMNS " WHERE o.id = ?", "i", id);
  char patient[PATIENT_ID_MAX + 1] = "";
  int64_t study = 0;
  enum problem p = rows_next(&r) ? order_json(&r, &call->answer) : P_not_found;
  if (p == P_OK) {
    str_copy(patient, sizeof patient, rows_text(&r, 1));
    study = rows_int(&r, 5);
  }
  int err = rows_finish(&r);
  if (p == P_OK && err == 0)
    p = access_study(call->api->store, &call->caller, study, patient);
  if (p == P_OK && err == 0)
    p = api_saw(call, patient);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem api_order_add(struct api_call *call) {
  const char *patient, *act, *followup_text;
  int64_t order, study, followup = 0;
  enum problem p = api_text(call, "act", 32, true, &act);
  if (p == P_OK && !act_modality(act))
    p = P_invalid_field;
  if (p == P_OK)
    p = api_text(call, "patient", PATIENT_ID_MAX, true, &patient);
  if (p == P_OK)
    p = api_text(call, "followup", STR_REF_MAX, false, &followup_text);
  if (p == P_OK && followup_text && !api_id(followup_text, 'W', &followup))
    p = P_invalid_field;
  call->field = p == P_OK ? "patient" : call->field;
  if (p == P_OK)
    p = worklist_order(call->api->store, call->api->conf, &call->caller, patient, act, followup, &order, &study);
  if (p != P_OK)
    return p;
  call->status = 201;
  return order_find(call, order);
}

enum problem api_order_get(struct api_call *call) {
  int64_t id;
  return api_id(call->id, 'O', &id) ? order_find(call, id) : P_not_found;
}

enum problem api_orders(struct api_call *call) {
  const char *patient = http_query(call->http, "patient"), *cursor = http_query(call->http, "cursor");
  int64_t before = INT64_MAX;
  int limit, n = 0;
  enum problem p = api_limit(call, &limit);
  if (p == P_OK && cursor && !api_id(cursor, 'O', &before)) {
    call->field = "cursor";
    p = P_invalid_field;
  }
  if (p != P_OK)
    return p;
  json_t *items = json_array();
  char next[32] = "";
  char day[WALL_DATE_MAX];
  wall_date(wall_now().us, day);
  struct rows r = patient ? store_query(call->api->store,
                                        ORDER_COLUMNS " WHERE o.patient = ?1 AND o.id < ?2 AND " ACCESS_NURSE(
                                            "?4", "?5", "o.patient") " ORDER BY o.id DESC LIMIT ?3",
                                        "tiitt", patient, before, (int64_t)limit, access_rpps(&call->caller), day)
                          : store_query(call->api->store,
                                        ORDER_COLUMNS " WHERE o.id < ?1 AND " ACCESS_NURSE(
                                            "?3", "?4", "o.patient") " ORDER BY o.id DESC LIMIT ?2",
                                        "iitt", before, (int64_t)limit, access_rpps(&call->caller), day);
  while (p == P_OK && rows_next(&r)) {
    json_t *item = NULL;
    p = order_json(&r, &item);
    if (p == P_OK)
      p = api_saw(call, rows_text(&r, 1));
    if (p == P_OK && json_array_append_new(items, item) < 0)
      p = P_overloaded;
    if (++n == limit)
      str_ref('O', rows_int(&r, 0), next);
  }
  int err = rows_finish(&r);
  call->answer = api_list(items, next[0] ? next : NULL);
  return p != P_OK ? p : err < 0 ? problem_of_errno(err) : call->answer ? P_OK : P_overloaded;
}

/* ---- studies ---- */

enum problem api_study_get(struct api_call *call) {
  struct study y;
  enum problem p = api_study_find(call, &y);
  return p == P_OK ? api_study_answer(call, &y) : p;
}

/* A member "height_cm", when the body has one. */
static enum problem take_height(struct api_call *call, struct study *y) {
  const char *cm;
  enum problem p = api_text(call, "height_cm", 8, false, &cm);
  if (p != P_OK || !cm)
    return p;
  p = act_modality(y->act) == ACQ_SPIROMETRY ? study_height(call->api->store, &call->caller, y, cm) : P_invalid_field;
  return p == P_OK ? study_find(call->api->store, y->id, y) : p;
}

/* A member "pictures", or as many as there are views missing. */
static enum problem take_pictures(struct api_call *call, const struct study *y, uint16_t *ret) {
  int64_t n;
  *ret = 0;
  enum problem p = api_number(call, "pictures", 1, ACQ_PICTURES_MAX, 0, &n);
  if (p != P_OK || act_modality(y->act) != ACQ_FUNDUS)
    return p != P_OK ? p : n ? P_invalid_field : P_OK;
  *ret = (uint16_t)n;
  return n ? P_OK
           : problem_of_errno(fundus_wanted(call->api->store, y->id, &study_act(call->api->conf, y)->views, ret));
}

/* A sheet that is scanned at the instrument must be this study's patient's. */
static enum problem take_sheet(struct api_call *call, const struct study *y) {
  struct ins_datamatrix sheet;
  struct patient patient;
  bool there;
  enum problem p = api_sheet(call, &sheet, &there);
  if (p != P_OK || !there)
    return p;
  p = patient_find(call->api->store, y->patient, &patient);
  if (p == P_OK &&
      (strcmp(patient.birth_date, sheet.birth_date) || (patient.ins[0] && strcmp(patient.ins, sheet.ins.matricule))))
    p = P_identity_mismatch;
  return p;
}

enum problem api_study_acquire(struct api_call *call) {
  struct study y;
  const char *device, *phase_text;
  enum acq_phase phase = ACQ_NO_PHASE;
  int64_t seconds;
  uint16_t pictures;
  enum problem p = api_study_find(call, &y);
  if (p == P_OK)
    p = api_text(call, "device", 63, true, &device);
  if (p == P_OK)
    p = api_number(call, "seconds", 1, 86400, 0, &seconds);
  if (p == P_OK)
    p = api_text(call, "phase", 16, false, &phase_text);
  if (p == P_OK && phase_text && (act_modality(y.act) != ACQ_SPIROMETRY || !(phase = acq_phase_find(phase_text))))
    p = P_invalid_field;
  if (p == P_OK)
    p = take_sheet(call, &y);
  if (p == P_OK)
    p = take_pictures(call, &y, &pictures);
  if (p == P_OK)
    p = take_height(call, &y);
  if (p == P_OK)
    p = session_start(call->api->sessions, &call->caller, &y, device, (uint32_t)seconds, phase, pictures);
  else
    return p;
  if (p == P_invalid_field) /* not for this act, or not for so long */
    call->field = "device";
  if (p != P_OK)
    return p;
  call->status = 202;
  return api_study_answer(call, &y);
}

enum problem api_study_finish(struct api_call *call) {
  struct study y;
  enum problem p = find_to_tend(call, &y);
  if (p == P_OK)
    p = session_finish(call->api->sessions, &call->caller, &y);
  return p == P_OK ? api_study_answer(call, &y) : p;
}

/* The i-th of "pictures": one picture, and what it is or why it is left out. */
static enum problem take_label(struct api_call *call, size_t i, struct fundus_label *ret) {
  const char *record;
  enum problem p = api_item(call, "pictures", i, "record picture laterality field exclude");
  if (p == P_OK)
    p = api_text(call, "record", STR_REF_MAX, true, &record);
  if (p == P_OK && !api_id(record, 'R', &ret->record))
    p = P_invalid_field;
  if (p == P_OK)
    p = api_number(call, "picture", 1, ACQ_PICTURES_MAX, 0, &ret->number);
  if (p == P_OK && !ret->number)
    p = P_missing_field;
  if (p == P_OK)
    p = api_text(call, "exclude", FUNDUS_REASON_MAX, false, &ret->excluded);
  if (p == P_OK && ret->excluded && !*ret->excluded)
    p = P_invalid_field;
  if (p == P_OK)
    p = api_text(call, "laterality", 1, !ret->excluded, &ret->laterality);
  if (p == P_OK && ret->laterality && (ret->excluded || !conf_is_laterality(ret->laterality)))
    p = P_invalid_field;
  if (p == P_OK)
    p = api_text(call, "field", 16, !ret->excluded, &ret->field);
  if (p == P_OK && ret->field && (ret->excluded || !conf_is_field(ret->field)))
    p = P_invalid_field;
  return p;
}

enum problem api_study_pictures(struct api_call *call) {
  struct study y;
  struct fundus_label labels[LABELS_MAX];
  size_t n, at = 0;
  const char *field = NULL;
  enum problem p = find_to_tend(call, &y);
  if (p == P_OK)
    p = api_items(call, "pictures", 1, LABELS_MAX, &n);
  for (size_t i = 0; p == P_OK && i < n; i++)
    p = take_label(call, i, &labels[i]);
  if (p == P_OK)
    p = fundus_label(call->api->store, &call->caller, &y, labels, n, &at, &field);
  if (field) {
    call->item = json_array_get(json_object_get(call->body, "pictures"), at);
    call->place = at;
    call->field = field;
  }
  return p == P_OK ? api_study_moved(call, &y) : p;
}

enum problem api_study_pupil(struct api_call *call) {
  struct study y;
  struct fundus_pupil pupil = {0};
  enum problem p = find_to_tend(call, &y);
  if (p == P_OK)
    p = api_bool(call, "dilated", &pupil.dilated);
  if (p == P_OK && !json_object_get(call->body, "dilated"))
    p = P_missing_field;
  if (p == P_OK)
    p = api_items(call, "agents", 0, FUNDUS_AGENTS_MAX, &pupil.n_agents);
  for (size_t i = 0; p == P_OK && i < pupil.n_agents; i++)
    if (!(pupil.agents[i] = json_string_value(json_array_get(json_object_get(call->body, "agents"), i))))
      p = P_invalid_field;
  if (p == P_OK)
    p = api_text(call, "degree_mm", 8, false, &pupil.degree_mm);
  if (p == P_OK)
    p = fundus_pupil(call->api->store, &call->caller, &y, &pupil, &call->field);
  return p == P_OK ? api_study_moved(call, &y) : p;
}

/* Two acts, told apart by the reason and not by how far the instrument happens to be: without one the acquisition is
 * cancelled and the study goes on, with one the study ends. */
enum problem api_study_cancel(struct api_call *call) {
  struct study y;
  const char *reason;
  enum problem p = find_to_tend(call, &y);
  if (p == P_OK)
    p = api_text(call, "reason", REASON_MAX, false, &reason);
  if (p != P_OK)
    return p;
  if (!reason) {
    p = session_cancel(call->api->sessions, &call->caller, &y);
    return p == P_OK ? api_study_answer(call, &y) : p;
  }
  if (!*reason)
    return P_invalid_field;
  p = study_cancel(call->api->store, &call->caller, &y, reason);
  return p == P_OK ? api_study_moved(call, &y) : p;
}

enum problem api_study_repeat(struct api_call *call) {
  struct study y;
  const char *reason;
  enum problem p = find_to_tend(call, &y);
  if (p == P_OK)
    p = api_text(call, "reason", REASON_MAX, true, &reason);
  if (p == P_OK)
    p = study_repeat(call->api->store, &call->caller, &y, reason);
  if (p == P_OK)
    p = problem_of_errno(assessment_make(call->api->store, call->api->artefacts, &y, wall_now().us));
  return p == P_OK ? api_study_moved(call, &y) : p;
}

enum problem api_study_accept(struct api_call *call) {
  struct study y;
  const char *comment;
  bool confirmed;
  enum problem p = find_to_tend(call, &y);
  if (p == P_OK)
    p = api_text(call, "comment", REASON_MAX, false, &comment);
  if (p == P_OK)
    p = api_bool(call, "confirm", &confirmed);
  if (p == P_OK)
    p = take_height(call, &y);
  if (p == P_OK)
    p = study_accept(call->api->store, &call->caller, call->api->conf, &y, confirmed, comment);
  if (p != P_OK)
    return p;
  dicom_wake(call->api->dicom, y.id);
  return api_study_moved(call, &y);
}

enum problem api_study_redecode(struct api_call *call) {
  struct study y;
  enum problem p = api_study_find(call, &y);
  if (p == P_OK)
    p = session_redecode(call->api->sessions, &call->caller, &y);
  if (p != P_OK)
    return p;
  call->status = 202;
  return api_study_answer(call, &y);
}

enum problem api_queue(struct api_call *call) {
  const char *state_text = http_query(call->http, "state"), *cursor = http_query(call->http, "cursor");
  enum study_state state = TO_INTERPRET;
  int limit;
  enum problem p = api_limit(call, &limit);
  if (p != P_OK)
    return p;
  if (state_text && (!study_state_find(state_text, &state) || (state != TO_INTERPRET && state != INTERPRETING))) {
    call->field = "state";
    return P_invalid_field;
  }
  const char *mine = http_query(call->http, "mine"), *act = http_query(call->http, "act");
  if (act && !act_modality(act)) {
    call->field = "act";
    return P_invalid_field;
  }
  struct queue_page page = {
      .state = state, .act = act, .mine = mine != NULL, .limit = limit, .cursor = cursor ? cursor : ""};
  if (mine && (strcmp(mine, "1") || !call->caller.rpps[0])) {
    call->field = "mine";
    return P_invalid_field;
  }
  call->field = "cursor";
  p = worklist_queue(call->api->store, &call->caller, &page, &call->answer);
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(call->answer, "items"), i, item) {
    const char *protocol = json_text(item, "protocol");
    if (p == P_OK)
      p = api_saw(call, json_text(json_object_get(item, "patient"), "id"));
    const char *reader = api_reader(call, protocol ? protocol : "", json_text(item, "act"), json_text(item, "reader"));
    if (json_is_object(json_object_get(item, "claim")) && strcmp(reader, json_text(item, "reader")))
      json_object_set_new(json_object_get(item, "claim"), "by", json_null());
    json_object_set_new(item, "reader", json_string(reader));
  }
  return p;
}
