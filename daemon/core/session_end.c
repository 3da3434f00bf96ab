/* What the end of an acquisition or redecode leaves in the store: the worker's record looked at by eyes that do not
 * trust it, artefacts, rows, the study's next state. */
#include "session_own.h"

#include "fundus.h"
#include "log.h"
#include "record.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <string.h>

/* The pictures are blobs of this capture, the previews those that the record names. */
static enum problem pictures_check(const struct session *x, int part, const json_t *record) {
  char reason[256] = "a picture is not among what was captured";
  const json_t *pictures = json_object_get(json_object_get(record, "acquired"), "pictures");
  const struct worker_record *made = &x->end.records[part];
  size_t i;
  json_t *picture;
  int r = record_check_previews(record, made->previews, made->preview_bytes, reason);
  json_array_foreach(pictures, i, picture) {
    size_t n = (size_t)json_integer_value(json_object_get(picture, "bytes"));
    if (r == 0 && !blobs_have(x->blobs, json_text(picture, "sha256"), n))
      r = -EPROTO;
  }
  if (r < 0)
    log_error("acquisition A-%lld: record refused: %s", (long long)x->id, reason);
  return r < 0 ? P_record_refused : P_OK;
}

/* A record the worker made passes the strict reader, was made by the driver that was asked, and from this order. */
static enum problem record_check(const struct session *x, int part, json_t **ret) {
  char reason[256];
  json_t *record;
  const struct worker_record *made = &x->end.records[part];
  int r = record_read(made->json, made->json_bytes, made->data, made->data_bytes, &record, reason);
  if (r < 0) {
    log_error("acquisition A-%lld: record refused: %s", (long long)x->id, reason);
    return P_record_refused;
  }
  /* The daemon's own look at the capture decides whether the reading is whole, not the worker's word. */
  static const char whole[] = "\nend ok\n";
  const size_t n = sizeof whole - 1;
  const char *capture = x->redecode ? x->capture : x->end.capture;
  const size_t bytes = x->redecode ? x->capture_bytes : x->end.capture_bytes;
  if (json_is_true(json_object_get(record, "complete")) != (bytes > n && !memcmp(capture + bytes - n, whole, n))) {
    json_decref(record);
    log_error("acquisition A-%lld: record refused: it does not say what its capture says", (long long)x->id);
    return P_record_refused;
  }
  const json_t *driver = json_object_get(record, "driver"), *device = json_object_get(record, "device");
  char started[WALL_TEXT_MAX];
  wall_format((struct wall){x->order.order.started_us, x->order.order.offset_minutes}, started);
  if (strcmp(json_text(driver, "name"), x->driver.name) || strcmp(json_text(driver, "version"), x->driver.version) ||
      strcmp(json_text(record, "modality"), acq_modality_name(x->order.order.modality)) ||
      json_is_true(json_object_get(record, "stray")) != (part == WIRE_STRAY) ||
      strcmp(json_text(record, "integrity"), x->driver.integrity) ||
      !json_is_string(json_object_get(record, "started")) || strcmp(json_text(record, "started"), started) ||
      (!x->redecode &&
       (strcmp(json_text(device, "serial"), x->identity.serial) ||
        strcmp(json_text(device, "make"), x->identity.make) || strcmp(json_text(device, "model"), x->identity.model) ||
        strcmp(json_text(device, "firmware"), x->identity.firmware) ||
        strcmp(json_text(device, "sensor"), x->identity.sensor)))) {
    json_decref(record);
    log_error("acquisition A-%lld: record refused: of another driver, time or instrument", (long long)x->id);
    return P_record_refused;
  }
  enum problem p = pictures_check(x, part, record);
  if (p == P_OK)
    *ret = record;
  else
    json_decref(record);
  return p;
}

/* Checks what there is, each by itself; a reading that is all stray is no reading of this study. */
static enum problem records_check(const struct session *x, json_t *ret[static WIRE_RECORDS]) {
  enum problem p[WIRE_RECORDS];
  for (int i = 0; i < WIRE_RECORDS; i++)
    p[i] = x->end.records[i].json ? record_check(x, i, &ret[i]) : P_OK;
  return ret[WIRE_OWN] ? P_OK : p[WIRE_OWN] ? p[WIRE_OWN] : p[WIRE_STRAY] ? p[WIRE_STRAY] : P_reading_stray;
}

static void records_finish(json_t *records[static WIRE_RECORDS]) {
  for (int i = 0; i < WIRE_RECORDS; i++)
    json_decref(records[i]);
}

enum problem session_end_problem(const struct session *x) {
  switch (x->end.outcome) {
  case WORKER_CRASH:
    return P_worker_crashed;
  case WORKER_DEADLINE:
    return P_worker_deadline;
  case WORKER_FAIL:
    return problem_of_device(x->end.fail.err, x->end.fail.step);
  default: /* a cancel that was acknowledged wins over a reading that was whole by then; its capture is kept */
    return x->cancelled && !x->redecode ? P_acquisition_cancelled : P_OK;
  }
}

/* The artefacts of a record: its JSON, its samples and the previews of its pictures; the pictures are there as blobs.
 */
static int store_artefacts(struct session *x, int part, const json_t *record, int64_t now,
                           char ret_json[static HASH_TEXT], char ret_data[static HASH_TEXT]) {
  const struct worker_record *made = &x->end.records[part];
  struct artefacts *artefacts = x->all->parts.artefacts;
  size_t i;
  json_t *picture;
  const uint8_t *at = made->previews;
  char preview_sha[HASH_TEXT];
  int r = artefact_put(artefacts, x->all->parts.store, "record", made->json, made->json_bytes, now, ret_json);
  json_array_foreach(json_object_get(json_object_get(record, "acquired"), "pictures"), i, picture) {
    const json_t *preview = json_object_get(picture, "preview");
    size_t n = (size_t)json_integer_value(json_object_get(preview, "bytes"));
    if (r >= 0 && n)
      r = artefact_put(artefacts, x->all->parts.store, "preview", at, n, now, preview_sha);
    at += n;
  }
  if (r >= 0 && made->data_bytes)
    r = artefact_put(artefacts, x->all->parts.store, "samples", made->data, made->data_bytes, now, ret_data);
  return r;
}

/* What was made at another time waits for people, attached to nobody. */
static int store_stray(struct session *x, const json_t *record, int64_t now) {
  char json_sha[HASH_TEXT], data_sha[HASH_TEXT], ref[32];
  int r = store_artefacts(x, WIRE_STRAY, record, now, json_sha, data_sha);
  if (r >= 0)
    r = store_run(x->all->parts.store,
                  "INSERT INTO stray(acquisition, sha256, samples, driver, driver_version, program, at)"
                  " SELECT ?1,?2,?3,?4,?5,?6,?7 WHERE NOT EXISTS (SELECT 1 FROM stray WHERE acquisition = ?1"
                  " AND sha256 = ?2)",
                  "ittttti", x->id, json_sha, x->end.records[WIRE_STRAY].data_bytes ? data_sha : NULL, x->driver.name,
                  x->driver.version, PROGRAM, now);
  if (r <= 0) /* a redecode that came to the same */
    return r;
  str_ref('U', store_last_id(x->all->parts.store), ref);
  return change_add(x->all->parts.store, "unmatched", ref, NULL);
}

/* What the nurse will say whose eye they are of. */
static int store_pictures(struct store *store, int64_t id, const json_t *record) {
  size_t i;
  json_t *picture;
  int r = 0;
  json_array_foreach(json_object_get(json_object_get(record, "acquired"), "pictures"), i, picture) {
    const json_t *preview = json_object_get(picture, "preview");
    if (r >= 0)
      r = store_run(store, "INSERT INTO picture(record, number, sha256, preview) VALUES(?,?,?,?)", "iitt", id,
                    (int64_t)json_integer_value(json_object_get(picture, "number")), json_text(picture, "sha256"),
                    json_is_object(preview) ? json_text(preview, "sha256") : NULL);
  }
  return r < 0 ? r : 0;
}

static int store_record(struct session *x, const json_t *record, int64_t now) {
  struct store *store = x->all->parts.store;
  char json_sha[HASH_TEXT], data_sha[HASH_TEXT], ref[32];
  bool complete = json_is_true(json_object_get(record, "complete")), clean = record_is_clean(record);
  int r = store_artefacts(x, WIRE_OWN, record, now, json_sha, data_sha);
  if (r >= 0)
    r = store_run(store,
                  "INSERT INTO record(study, acquisition, sha256, samples, driver, driver_version, program, complete,"
                  " clean, at) VALUES(?,?,?,?,?,?,?,?,?,?)",
                  "iitttttiii", x->study, x->id, json_sha, x->end.records[WIRE_OWN].data_bytes ? data_sha : NULL,
                  x->driver.name, x->driver.version, PROGRAM, (int64_t)complete, (int64_t)clean, now);
  if (r < 0)
    return r;
  str_ref('R', store_last_id(store), ref);
  r = store_pictures(store, store_last_id(store), record);
  if (r < 0)
    return r;
  /* One record with something to check is enough, however good the others are. */
  r = store_run(store,
                "UPDATE study SET clean = NOT EXISTS (SELECT 1 FROM record WHERE study = ?1 AND NOT clean"
                " AND id NOT IN (SELECT record FROM supersession)) WHERE id = ?1",
                "i", x->study);
  if (r >= 0)
    r = change_add(store, "record", ref, NULL);
  return r;
}

/* A blow into a spirometer that was not verified is for the nurse to confirm. */
static int assess(struct session *x, int64_t now) {
  struct study study;
  int r = store_run(x->all->parts.store,
                    "UPDATE study SET clean = 0 WHERE id = ? AND EXISTS (SELECT 1 FROM acquisition WHERE id = ?"
                    " AND calibration_state IN ('missing','overdue','failed'))",
                    "ii", x->study, x->id);
  if (r < 0)
    return r;
  enum problem p = study_find(x->all->parts.store, x->study, &study);
  return p == P_OK ? assessment_make(x->all->parts.store, x->all->parts.artefacts, &study, now) : -EIO;
}

static int store_capture(struct session *x, int64_t now) {
  if (!x->end.capture_bytes)
    return 0;
  return artefact_put(x->all->parts.artefacts, x->all->parts.store, "capture", x->end.capture, x->end.capture_bytes,
                      now, x->capture_sha);
}

bool session_has_records(struct store *store, int64_t study) {
  struct rows r =
      store_query(store, "SELECT 1 FROM record WHERE study = ? AND id NOT IN (SELECT record FROM supersession) LIMIT 1",
                  "i", study);
  bool has = rows_next(&r);
  rows_finish(&r);
  return has;
}

/* The whole end of an acquisition, inside one act. */
enum problem session_end_store(struct session *x, struct study *study, enum problem *ret_failure) {
  struct store *store = x->all->parts.store;
  struct actor system = {.name = "asaleed"};
  int64_t now = wall_now().us;
  json_t *records[WIRE_RECORDS] = {NULL};
  enum problem failure = session_end_problem(x);
  if (failure == P_OK)
    failure = records_check(x, records);
  int r = store_capture(x, now);
  if (r >= 0)
    r = blobs_add_rows(x->blobs, store, now);
  if (r >= 0 && !failure)
    r = store_record(x, records[WIRE_OWN], now);
  if (r >= 0 && !failure)
    r = assess(x, now);
  if (r >= 0 && records[WIRE_STRAY])
    r = store_stray(x, records[WIRE_STRAY], now);
  records_finish(records);
  if (r >= 0)
    r = store_run(store,
                  "UPDATE acquisition SET ended = ?, outcome = ?, reason = ?, device_serial = ?, device_sensor = ?,"
                  " capture = ? WHERE id = ?",
                  "ittttti", now, problem_code(failure), x->end.outcome == WORKER_FAIL ? x->end.fail.text : NULL,
                  x->identity.serial, x->identity.sensor, x->capture_sha[0] ? x->capture_sha : NULL, x->id);
  if (r >= 0)
    r = store_run(store, "UPDATE study SET failure = ?, failed = ? WHERE id = ?", "tii",
                  failure ? problem_code(failure) : NULL, now, x->study);
  if (r < 0)
    return problem_of_errno(r);
  *ret_failure = failure;
  enum problem p = study_find(store, x->study, study);
  if (p != P_OK)
    return p;
  enum study_event event = !failure ? EV_RECORD : session_has_records(store, x->study) ? EV_FAIL_AGAIN : EV_FAIL;
  return study_move(store, &system, ROLE_SYSTEM, study, event,
                    json_pack("{s:I, s:s, s:s?}", "acquisition", (json_int_t)x->id, "outcome", problem_code(failure),
                              "capture", x->capture_sha[0] ? x->capture_sha : NULL));
}

/* A redecode adds its record beside the others and moves nothing; it supersedes the record of the same capture. */
enum problem session_end_redecode(struct session *x) {
  struct store *store = x->all->parts.store;
  struct actor by = {.name = x->by, .acting_for = x->acting_for[0] ? x->acting_for : NULL};
  int64_t now = wall_now().us;
  json_t *records[WIRE_RECORDS] = {NULL};
  enum problem failure = session_end_problem(x);
  if (failure == P_OK)
    failure = records_check(x, records);
  _json_cleanup_ json_t *record = failure ? NULL : json_incref(records[WIRE_OWN]),
                        *stray = json_incref(records[WIRE_STRAY]);
  records_finish(records);
  char ref[32];
  struct study study;
  enum problem p = study_find(store, x->study, &study);
  if (p != P_OK)
    return p;
  str_ref('S', x->study, ref);
  /* Meanwhile a reader may have taken the study, or the nurse set the record aside, or accepted it with other pictures:
   * then things stay as they are. */
  int r = study.state == ACQUIRED ? 1 : study.state != TO_INTERPRET ? 0 : fundus_keeps_labels(store, x->id, record);
  if (record && r > 0)
    r = store_run(store,
                  "INSERT INTO supersession SELECT id, ?, ?, 'redecode' FROM record WHERE study = ? AND acquisition = ?"
                  " AND id NOT IN (SELECT record FROM supersession)",
                  "itii", now, x->by, x->study, x->id);
  if (record && r == 0)
    failure = P_wrong_state;
  else if (record && r > 0) {
    r = store_record(x, record, now);
    if (r >= 0)
      r = assess(x, now);
    if (r >= 0)
      r = store_run(store, "UPDATE study SET version = version + 1, updated = ? WHERE id = ?", "ii", now, x->study);
    if (r >= 0)
      r = change_add(store, "study", ref, study_state_name(study.state));
  }
  if (r >= 0 && stray)
    r = store_stray(x, stray, now);
  if (r >= 0)
    r = audit_add(store, &by, "study.redecode", ref,
                  json_pack("{s:I, s:s}", "acquisition", (json_int_t)x->id, "outcome", problem_code(failure)));
  return problem_of_errno(r);
}
