#include "unmatched.h"

#include "str.h"
#include "wall.h"
#include <errno.h>
#include <string.h>

#define PROGRAM ASALEED_VERSION

static const char *const why_names[] = {"no_order", "time", "identity", "act", "unreadable"};

/* ---- what is in it ---- */

/* What is shown of it in a list: how much there is, and whose the file says it is. */
static char *summary_text(const json_t *record) {
  const json_t *acquired = json_object_get(record, "acquired"), *channels = json_object_get(acquired, "channels"),
               *subject = json_object_get(record, "subject");
  const json_t *first = json_array_get(channels, 0);
  struct dec rate;
  json_t *seconds = json_null();
  int64_t n = json_integer_value(json_object_get(first, "samples"));
  const char *text = json_text(first, "rate");
  if (text && dec_parse(text, &rate) == 0 && rate.mantissa > 0 && n > 0) {
    /* Tenths are enough to tell readings apart. */
    int64_t tenths = n * 10;
    for (int e = rate.exponent; e < 0 && tenths < INT64_MAX / 10; e++)
      tenths *= 10;
    int64_t per = rate.mantissa;
    for (int e = rate.exponent; e > 0 && per < INT64_MAX / 10; e--)
      per *= 10;
    char shown[DEC_TEXT_MAX];
    dec_format((struct dec){(int32_t)(tenths / per > INT32_MAX ? INT32_MAX : tenths / per), -1}, shown);
    seconds = json_string(shown);
  }
  _json_cleanup_ json_t *summary =
      json_pack("{s:I, s:I, s:I, s:o, s:O}", "channels", (json_int_t)json_array_size(channels), "measures",
                (json_int_t)json_array_size(json_object_get(acquired, "measures")), "pictures",
                (json_int_t)json_array_size(json_object_get(acquired, "pictures")), "seconds", seconds, "subject",
                subject ? subject : json_null());
  return json_canonical(summary, NULL);
}

int unmatched_add(struct store *s, const struct unmatched_row *row, int64_t now, int64_t *ret_id) {
  char ref[STR_REF_MAX];
  _free_cleanup_ char *summary = row->record ? summary_text(row->record) : NULL;
  *ret_id = 0;
  if (row->record && !summary)
    return -ENOMEM;
  int r = store_run(s,
                    "INSERT INTO unmatched(acquisition, sha256, samples, driver, driver_version, program, at, act,"
                    " taken, why, summary, failure) SELECT ?1,?2,?3,?4,?5,?6,?7,?8,nullif(?9, 0),?10,?11,?12"
                    " WHERE ?2 IS NULL OR NOT EXISTS (SELECT 1 FROM unmatched WHERE acquisition = ?1 AND sha256 = ?2)",
                    "itttttitittt", row->acquisition, row->sha256, row->samples, row->driver, row->driver_version,
                    PROGRAM, now, row->record ? json_text(row->record, "modality") : NULL,
                    row->record ? reading_taken(row->record) : 0, why_names[row->why], summary,
                    row->failure ? problem_code(row->failure) : NULL);
  if (r <= 0)
    return r;
  *ret_id = store_last_id(s);
  str_ref('U', *ret_id, ref);
  return change_add(s, "unmatched", ref, NULL);
}

#define COLUMNS                                                                                                    \
  "SELECT u.id, u.at, a.device, u.driver, u.driver_version, u.act, u.taken, u.why, u.summary, u.failure, a.file,"  \
  " u.sha256, e.what, e.at, e.by, e.record, e.reason FROM unmatched u JOIN acquisition a ON a.id = u.acquisition " \
  "LEFT JOIN"                                                                                                      \
  " unmatched_end e ON e.unmatched = u.id"

static json_t *ref_json(const struct rows *r, int column, char letter) {
  char ref[STR_REF_MAX];
  str_ref(letter, rows_int(r, column), ref);
  return rows_is_null(r, column) ? json_null() : json_string(ref);
}

static json_t *time_json(const struct rows *r, int column) {
  char text[WALL_TEXT_MAX];
  wall_format(wall_local(rows_int(r, column)), text);
  return rows_is_null(r, column) ? json_null() : json_string(text);
}

static json_t *row_json(const struct rows *r, bool subject) {
  json_t *summary = rows_is_null(r, 8) ? json_null() : json_loads(rows_text(r, 8), 0, NULL);
  json_t *whose = json_incref(json_object_get(summary, "subject")), *failure = json_null();
  json_object_del(summary, "subject");
  if (!rows_is_null(r, 9)) {
    enum problem p = problem_find(rows_text(r, 9));
    failure = json_pack("{s:s, s:s}", "code", problem_code(p), "detail", problem_detail(p));
  }
  json_t *item = json_pack("{s:s?, s:o, s:s?, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:s}", "act", rows_text(r, 5),
                           "created", time_json(r, 1), "device", rows_text(r, 2), "driver", rows_text(r, 3),
                           "driver_version", rows_text(r, 4), "failure", failure, "file", ref_json(r, 10, 'F'), "id",
                           ref_json(r, 0, 'U'), "summary", summary, "taken", time_json(r, 6), "why", rows_text(r, 7));
  if (item && subject && json_object_set(item, "subject", whose ? whose : json_null()) < 0) {
    json_decref(item);
    item = NULL;
  }
  json_decref(whose);
  return item;
}

int unmatched_list(struct store *s, int64_t before, int limit, bool subject, json_t **ret, int64_t *ret_last) {
  _json_cleanup_ json_t *items = json_array();
  int err = items ? 0 : -ENOMEM, n = 0;
  struct rows r = store_query(s, COLUMNS " WHERE u.id < ? AND e.unmatched IS NULL ORDER BY u.id DESC LIMIT ?", "ii",
                              before, (int64_t)limit);
  *ret_last = 0;
  while (err == 0 && rows_next(&r)) {
    err = json_array_append_new(items, row_json(&r, subject)) < 0 ? -ENOMEM : 0;
    if (++n == limit)
      *ret_last = rows_int(&r, 0);
  }
  int query_err = rows_finish(&r);
  if (err == 0)
    err = query_err;
  if (err == 0)
    *ret = json_incref(items);
  return err;
}

enum problem unmatched_find(struct store *s, int64_t id, bool subject, json_t **ret,
                            char ret_sha256[static HASH_TEXT]) {
  struct rows r = store_query(s, COLUMNS " WHERE u.id = ?", "i", id);
  _json_cleanup_ json_t *item = NULL;
  enum problem p = P_not_found;
  if (rows_next(&r)) {
    json_t *end = rows_is_null(&r, 12)
                      ? json_null()
                      : json_pack("{s:o, s:s, s:o, s:s}", "at", time_json(&r, 13), "by", rows_text(&r, 14), "record",
                                  ref_json(&r, 15, 'R'), "what", rows_text(&r, 12));
    if (subject && json_is_object(end)) /* free text, which may name a patient */
      json_object_set_new(end, "reason", rows_is_null(&r, 16) ? json_null() : json_string(rows_text(&r, 16)));
    item = row_json(&r, subject);
    p = item && json_object_set_new(item, "end", end) == 0 ? P_OK : P_overloaded;
    str_copy(ret_sha256, HASH_TEXT, rows_is_null(&r, 11) ? "" : rows_text(&r, 11));
  }
  int err = rows_finish(&r);
  if (err < 0)
    return problem_of_errno(err);
  if (p == P_OK)
    *ret = json_incref(item);
  return p;
}

/* ---- out of it ---- */

struct tray_row {
  int64_t acquisition, file; /* file 0: of none */
  char sha256[HASH_TEXT], samples[HASH_TEXT], driver[64], driver_version[64];
};

/* P_wrong_state when somebody was faster. */
static enum problem open_row(struct store *s, int64_t id, struct tray_row *ret) {
  struct rows r = store_query(s,
                              "SELECT u.acquisition, a.file, u.sha256, u.samples, u.driver, u.driver_version,"
                              " e.unmatched IS NULL FROM unmatched u JOIN acquisition a ON a.id = u.acquisition"
                              " LEFT JOIN unmatched_end e ON e.unmatched = u.id WHERE u.id = ?",
                              "i", id);
  enum problem p = P_not_found;
  if (rows_next(&r)) {
    *ret = (struct tray_row){.acquisition = rows_int(&r, 0), .file = rows_int(&r, 1)};
    str_copy(ret->sha256, sizeof ret->sha256, rows_is_null(&r, 2) ? "" : rows_text(&r, 2));
    str_copy(ret->samples, sizeof ret->samples, rows_is_null(&r, 3) ? "" : rows_text(&r, 3));
    str_copy(ret->driver, sizeof ret->driver, rows_text(&r, 4));
    str_copy(ret->driver_version, sizeof ret->driver_version, rows_text(&r, 5));
    p = rows_int(&r, 6) ? P_OK : P_wrong_state;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

static int end_row(struct store *s, int64_t id, const char *what, int64_t record, int64_t now, const char *by,
                   const char *reason) {
  char ref[STR_REF_MAX];
  str_ref('U', id, ref);
  int r = store_run(s, "INSERT INTO unmatched_end VALUES(?,?,nullif(?, 0),?,?,?)", "itiitt", id, what, record, now, by,
                    reason);
  return r < 0 ? r : change_add(s, "unmatched", ref, what);
}

static struct reading row_reading(const struct tray_row *row, const json_t *record, const struct study *study,
                                  const struct patient *patient) {
  return (struct reading){.study = study->id,
                          .acquisition = row->acquisition,
                          .sha256 = row->sha256,
                          .samples = row->samples[0] ? row->samples : NULL,
                          .driver = row->driver,
                          .driver_version = row->driver_version,
                          .patient_version = patient->version,
                          .taken = reading_taken(record)};
}

enum problem unmatched_attach(struct store *s, struct artefacts *a, int64_t id, const struct attach *at,
                              struct study *ret_study) {
  struct tray_row row;
  struct attached to;
  _json_cleanup_ json_t *record = NULL;
  enum problem p = open_row(s, id, &row);
  if (p == P_OK && !row.sha256[0])
    p = P_wrong_state;
  if (p == P_OK)
    p = problem_of_errno(reading_load(a, row.sha256, &record));
  if (p == P_OK)
    p = attach_check(s, at, record, &to);
  if (p != P_OK)
    return p;
  struct reading reading = row_reading(&row, record, &to.study, &to.patient);
  reading.doubtful = identity_differs(&to.check);
  const int64_t now = wall_now().us;
  int64_t made = 0;
  struct actor by = caller_actor(at->caller);
  int r = reading_add(s, &reading, record, now, &made);
  if (r >= 0)
    r = end_row(s, id, "attached", made, now, caller_person(at->caller), at->reason);
  if (r >= 0)
    r = store_run(s, "UPDATE study SET failure = NULL, failed = NULL WHERE id = ?", "i", to.study.id);
  if (r < 0)
    return problem_of_errno(r);
  json_t *detail = attach_detail(at, &to, made);
  if (detail)
    json_object_set_new(detail, "unmatched", json_integer((json_int_t)id));
  p = study_move(s, &by, at->caller->role, &to.study, EV_ATTACH, detail);
  if (p == P_OK)
    p = attach_settle(s, a, &to.study, now);
  if (p == P_OK)
    *ret_study = to.study;
  return p;
}

int unmatched_attach_waiting(struct store *s, int64_t id, const struct unmatched_row *row, const struct study *study,
                             const struct patient *patient, int64_t now) {
  const struct actor by = {.name = "asaleed"};
  const struct identity_check check = identity_check(json_object_get(row->record, "subject"), patient);
  const struct reading reading = {.study = study->id,
                                  .acquisition = row->acquisition,
                                  .sha256 = row->sha256,
                                  .samples = row->samples,
                                  .driver = row->driver,
                                  .driver_version = row->driver_version,
                                  .patient_version = patient->version,
                                  .taken = reading_taken(row->record)};
  char ref[STR_REF_MAX];
  int64_t made = 0;
  int r = reading_add(s, &reading, row->record, now, &made);
  if (r >= 0)
    r = end_row(s, id, "attached", made, now, by.name, NULL);
  str_ref('S', study->id, ref);
  if (r >= 0)
    r = audit_add(s, &by, "study.receive", ref,
                  json_pack("{s:o, s:I, s:I}", "identity", identity_json(&check), "record", (json_int_t)made,
                            "unmatched", (json_int_t)id));
  return r < 0 ? r : 0;
}

enum unmatched_why unmatched_judge(const json_t *record, bool own, const struct study *study,
                                   const struct patient *patient) {
  struct identity_check check = identity_check(json_object_get(record, "subject"), patient);
  if (act_modality(study->act) != acq_modality_find(json_text(record, "modality")))
    return WHY_ACT;
  if (identity_differs(&check))
    return WHY_IDENTITY;
  return own ? WHY_NO_ORDER : WHY_TIME;
}

enum problem unmatched_discard(struct store *s, const struct caller *c, int64_t id, const char *reason) {
  struct tray_row row;
  struct actor by = caller_actor(c);
  char ref[STR_REF_MAX];
  enum problem p = open_row(s, id, &row);
  if (p != P_OK)
    return p;
  str_ref('U', id, ref);
  int r = end_row(s, id, "discarded", 0, wall_now().us, caller_person(c), reason);
  if (r >= 0)
    r = audit_add(s, &by, "unmatched.discard", ref, NULL);
  return problem_of_errno(r);
}

/* By mistake, perhaps: its file may be looked at once more. */
static bool is_discarded(struct store *s, int64_t id) {
  struct rows r = store_query(s, "SELECT 1 FROM unmatched_end WHERE unmatched = ? AND what = 'discarded'", "i", id);
  bool is = rows_next(&r);
  return rows_finish(&r) == 0 && is;
}

enum problem unmatched_decode_again(struct store *s, const struct caller *c, int64_t id) {
  struct tray_row row;
  struct actor by = caller_actor(c);
  char ref[STR_REF_MAX];
  enum problem p = open_row(s, id, &row);
  const bool discarded = p == P_wrong_state && is_discarded(s, id);
  if ((p == P_OK || discarded) && !row.file)
    p = P_wrong_state;
  if (p != P_OK && !discarded)
    return p;
  str_ref('U', id, ref);
  int r = discarded ? 0 : end_row(s, id, "decoded_again", 0, wall_now().us, caller_person(c), NULL);
  if (r >= 0)
    r = store_run(s, "UPDATE file SET pending = 1 WHERE id = ?", "i", row.file);
  if (r >= 0)
    r = audit_add(s, &by, "unmatched.decode_again", ref, json_object());
  return problem_of_errno(r);
}
