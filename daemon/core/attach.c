#include "attach.h"

#include "access.h"
#include "assessment.h"
#include "fundus.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <string.h>

static enum problem order_study(struct store *s, int64_t order, struct study *ret) {
  int64_t id = 0;
  struct rows r = store_query(s, "SELECT max(id) FROM study WHERE orders = ?", "i", order);
  if (rows_next(&r))
    id = rows_int(&r, 0);
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : id ? study_find(s, id, ret) : P_not_found;
}

enum problem attach_check(struct store *s, const struct attach *at, const json_t *record, struct attached *ret) {
  enum study_state to;
  enum problem p = order_study(s, at->order, &ret->study);
  if (p == P_OK)
    p = access_study(s, at->caller, ret->study.id, ret->study.patient);
  if (p == P_OK)
    p = study_next(ret->study.state, EV_ATTACH, at->caller->role, &to);
  if (p == P_OK)
    p = study_may_acquire(s, at->conf, at->caller, &ret->study, &ret->delegation);
  if (p == P_OK)
    p = patient_find(s, ret->study.patient, &ret->patient);
  if (p == P_OK && (strcmp(ret->patient.birth_date, at->birth_date) ||
                    (at->ins && ret->patient.ins[0] && strcmp(ret->patient.ins, at->ins))))
    p = P_identity_mismatch;
  if (p == P_OK && act_modality(ret->study.act) != acq_modality_find(json_text(record, "modality")))
    p = P_wrong_act;
  if (p != P_OK)
    return p;
  ret->check = identity_check(json_object_get(record, "subject"), &ret->patient);
  return identity_differs(&ret->check) && !(at->confirm && at->reason && *at->reason) ? P_subject_differs : P_OK;
}

json_t *attach_detail(const struct attach *at, const struct attached *attached, int64_t record) {
  char delegation[STR_REF_MAX];
  str_ref('D', attached->delegation, delegation);
  return json_pack("{s:b, s:s*, s:o, s:I}", "confirmed", at->confirm, "delegation",
                   attached->delegation ? delegation : NULL, "identity", identity_json(&attached->check), "record",
                   (json_int_t)record);
}

enum problem attach_settle(struct store *s, struct artefacts *a, struct study *study, int64_t now) {
  int r = reading_clean(s, study->id);
  enum problem p = r < 0 ? problem_of_errno(r) : study_find(s, study->id, study);
  if (p == P_OK)
    p = problem_of_errno(assessment_make(s, a, study, now));
  return p == P_OK ? study_find(s, study->id, study) : p;
}

/* Whoever took a reading of the same acquisition into the same study: a record that was decoded again has no row of its
 * own. */
static int confirmed_json(struct store *s, int64_t record, json_t **ret) {
  struct rows r = store_query(s,
                              "SELECT e.at, e.by, e.reason FROM (SELECT record, at, by, reason FROM unmatched_end UNION"
                              " ALL SELECT became, at, by, reason FROM reassignment) e JOIN record x ON x.id = e.record"
                              " JOIN record r ON r.id = ?1 WHERE x.study = r.study AND x.acquisition = r.acquisition"
                              " AND x.id <= r.id AND e.reason IS NOT NULL ORDER BY x.id DESC LIMIT 1",
                              "i", record);
  *ret = rows_next(&r) ? json_pack("{s:o, s:s, s:s}", "at", json_time(rows_int(&r, 0)), "by", rows_text(&r, 1),
                                   "reason", rows_text(&r, 2))
                       : json_null();
  int err = rows_finish(&r);
  return err == 0 && !*ret ? -ENOMEM : err;
}

int attach_doubt(struct store *s, struct artefacts *a, int64_t record, const struct patient *patient, bool reasons,
                 json_t **ret_differs, json_t **ret_confirmed) {
  char sha256[HASH_TEXT] = "";
  _json_cleanup_ json_t *json = NULL;
  *ret_differs = json_false();
  *ret_confirmed = json_null();
  /* What named another when it was attached is not clean, and stays so when it is decoded again. */
  struct rows r = store_query(s, "SELECT sha256 FROM record WHERE id = ? AND patient_version IS NOT NULL AND NOT clean",
                              "i", record);
  const bool attached = rows_next(&r) && str_copy(sha256, sizeof sha256, rows_text(&r, 0));
  int err = rows_finish(&r);
  if (err < 0 || !attached)
    return err;
  err = reading_load(a, sha256, &json);
  if (err == -ENOMEM)
    return err;
  const struct identity_check check = identity_check(json_object_get(json, "subject"), patient);
  *ret_differs = err < 0 ? json_null() : json_boolean(identity_differs(&check));
  return reasons && !json_is_false(*ret_differs) ? confirmed_json(s, record, ret_confirmed) : 0;
}

/* ---- from one study to another ---- */

struct moving {
  struct store *store;
  struct artefacts *artefacts;
  struct study *from;
  const struct attach *at;
  struct attached to;
  int64_t now;
  json_t *records; /* for the trail: [old, new] pairs */
};

/* The row of a record of the study that stands, as a reading; its texts are in `sha256` and so on of the caller. */
struct standing {
  char sha256[HASH_TEXT], samples[HASH_TEXT], driver[64], version[64];
  struct reading reading;
};

static enum problem find_standing(struct store *s, int64_t study, int64_t record, struct standing *ret) {
  struct rows r = store_query(s,
                              "SELECT acquisition, sha256, samples, driver, driver_version, taken FROM record"
                              " WHERE id = ? AND study = ? AND id NOT IN (SELECT record FROM supersession)",
                              "ii", record, study);
  enum problem p = P_invalid_field;
  if (rows_next(&r) && str_copy(ret->sha256, sizeof ret->sha256, rows_text(&r, 1)) &&
      str_copy(ret->samples, sizeof ret->samples, rows_is_null(&r, 2) ? "" : rows_text(&r, 2)) &&
      str_copy(ret->driver, sizeof ret->driver, rows_text(&r, 3)) &&
      str_copy(ret->version, sizeof ret->version, rows_text(&r, 4))) {
    p = P_OK;
    ret->reading = (struct reading){.acquisition = rows_int(&r, 0),
                                    .sha256 = ret->sha256,
                                    .samples = ret->samples[0] ? ret->samples : NULL,
                                    .driver = ret->driver,
                                    .driver_version = ret->version,
                                    .taken = rows_int(&r, 5)};
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

static enum problem move_one(struct moving *m, int64_t id) {
  struct standing old;
  int64_t became = 0;
  _json_cleanup_ json_t *record = NULL;
  enum problem p = find_standing(m->store, m->from->id, id, &old);
  if (p == P_OK)
    p = problem_of_errno(reading_load(m->artefacts, old.sha256, &record));
  if (p == P_OK)
    p = attach_check(m->store, m->at, record, &m->to);
  if (p != P_OK)
    return p;
  old.reading.study = m->to.study.id;
  old.reading.patient_version = m->to.patient.version;
  old.reading.doubtful = identity_differs(&m->to.check);
  const char *by = caller_person(m->at->caller);
  int r = reading_add(m->store, &old.reading, record, m->now, &became);
  if (r >= 0)
    r = store_run(m->store, "INSERT INTO supersession VALUES(?,?,?,'reassign')", "iit", id, m->now, by);
  if (r >= 0)
    r = store_run(m->store, "INSERT INTO reassignment(record, became, at, by, reason) VALUES(?,?,?,?,?)", "iiitt", id,
                  became, m->now, by, m->at->reason);
  if (r >= 0 && json_array_append_new(m->records, json_pack("[I, I]", (json_int_t)id, (json_int_t)became)) < 0)
    r = -ENOMEM;
  return problem_of_errno(r);
}

/* The study that they leave: it starts over, or keeps the others; what was signed no longer counts. */
static enum problem leave(struct moving *m) {
  struct actor by = caller_actor(m->at->caller);
  const bool part = reading_stands(m->store, m->from->id);
  int r = store_run(m->store,
                    "INSERT INTO withdrawal SELECT id, ?, ?, ? FROM interpretation WHERE study = ?"
                    " AND id NOT IN (SELECT interpretation FROM withdrawal)",
                    "itti", m->now, caller_person(m->at->caller), m->at->reason, m->from->id);
  if (r >= 0) /* what was being written was about another patient's reading */
    r = store_run(m->store, "DELETE FROM draft WHERE study = ?", "i", m->from->id);
  if (r >= 0 && !part && act_modality(m->from->act) == ACQ_FUNDUS)
    r = fundus_repeat(m->store, m->at->caller, m->from->id);
  if (r < 0)
    return problem_of_errno(r);
  enum problem p = study_move(m->store, &by, m->at->caller->role, m->from, part ? EV_REASSIGN_PART : EV_REASSIGN,
                              json_pack("{s:O, s:I}", "records", m->records, "target", (json_int_t)m->to.study.id));
  return p == P_OK ? attach_settle(m->store, m->artefacts, m->from, m->now) : p;
}

static enum problem arrive(struct moving *m) {
  struct actor by = caller_actor(m->at->caller);
  json_t *detail = attach_detail(m->at, &m->to, 0);
  if (detail) {
    json_object_del(detail, "record");
    json_object_set(detail, "records", m->records);
    json_object_set_new(detail, "source", json_integer((json_int_t)m->from->id));
  }
  enum problem p = study_move(m->store, &by, m->at->caller->role, &m->to.study, EV_ATTACH, detail);
  return p == P_OK ? attach_settle(m->store, m->artefacts, &m->to.study, m->now) : p;
}

enum problem attach_reassign(struct store *s, struct artefacts *a, struct study *from, const int64_t *records, size_t n,
                             const struct attach *at, struct study *ret_to) {
  enum study_state to;
  _json_cleanup_ json_t *list = json_array();
  struct moving m = {.store = s, .artefacts = a, .from = from, .at = at, .now = wall_now().us, .records = list};
  enum problem p = list ? study_next(from->state, EV_REASSIGN, at->caller->role, &to) : P_overloaded;
  if (p == P_OK && from->order == at->order)
    p = P_invalid_field;
  for (size_t i = 0; i < n && p == P_OK; i++)
    p = move_one(&m, records[i]);
  if (p == P_OK)
    p = leave(&m);
  if (p == P_OK)
    p = arrive(&m);
  if (p == P_OK)
    *ret_to = m.to.study;
  return p;
}

int attach_reassignments(struct store *s, int64_t study, bool reasons, json_t **ret) {
  _json_cleanup_ json_t *list = json_array();
  int err = list ? 0 : -ENOMEM;
  struct rows r = store_query(s,
                              "SELECT x.record, x.became, x.at, x.by, x.reason, o.study, n.study FROM reassignment x"
                              " JOIN record o ON o.id = x.record JOIN record n ON n.id = x.became"
                              " WHERE o.study = ?1 OR n.study = ?1 ORDER BY x.id",
                              "i", study);
  while (err == 0 && rows_next(&r)) {
    char record[STR_REF_MAX], became[STR_REF_MAX], from[STR_REF_MAX], to[STR_REF_MAX], at[WALL_TEXT_MAX];
    str_ref('R', rows_int(&r, 0), record);
    str_ref('R', rows_int(&r, 1), became);
    str_ref('S', rows_int(&r, 5), from);
    str_ref('S', rows_int(&r, 6), to);
    wall_format(wall_local(rows_int(&r, 2)), at);
    json_t *item = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "at", at, "became", became, "by", rows_text(&r, 3),
                             "from", from, "record", record, "to", to);
    if (item && reasons)
      json_object_set_new(item, "reason", json_string(rows_text(&r, 4)));
    err = json_array_append_new(list, item) < 0 ? -ENOMEM : 0;
  }
  int query_err = rows_finish(&r);
  if (err == 0)
    err = query_err;
  if (err == 0)
    *ret = json_incref(list);
  return err;
}
