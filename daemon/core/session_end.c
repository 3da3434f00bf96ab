/* What the end of an acquisition or redecode leaves in the store: the worker's record looked at by eyes that do not
 * trust it, artefacts, rows, the study's next state. */
#include "session_own.h"

#include "fundus.h"
#include "log.h"
#include "record.h"
#include "str.h"
#include "unmatched.h"
#include "wall.h"
#include <errno.h>
#include <string.h>

#define WRITTEN_GRACE_US (120 * WALL_SECOND) /* that a file's time may be behind: another machine wrote it */

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
    log_error("%s: record refused: %s", x->name, reason);
  return r < 0 ? P_record_refused : P_OK;
}

/* A record the worker made passes the strict reader, was made by the driver that was asked, and from this order. */
static enum problem record_check(const struct session *x, int part, json_t **ret) {
  char reason[256];
  json_t *record;
  const struct worker_record *made = &x->end.records[part];
  int r = record_read(made->json, made->json_bytes, made->data, made->data_bytes, &record, reason);
  if (r < 0) {
    log_error("%s: record refused: %s", x->name, reason);
    return P_record_refused;
  }
  /* The daemon's own look at the capture decides whether the reading is whole, not the worker's word. */
  static const char whole[] = "\nend ok\n";
  const size_t n = sizeof whole - 1;
  const char *capture = x->redecode ? x->capture : x->end.capture;
  const size_t bytes = x->redecode ? x->capture_bytes : x->end.capture_bytes;
  if (json_is_true(json_object_get(record, "complete")) != (bytes > n && !memcmp(capture + bytes - n, whole, n))) {
    json_decref(record);
    log_error("%s: record refused: it does not say what its capture says", x->name);
    return P_record_refused;
  }
  const json_t *driver = json_object_get(record, "driver"), *device = json_object_get(record, "device");
  char started[WALL_TEXT_MAX];
  wall_format((struct wall){x->order.order.started_us, x->order.order.offset_minutes}, started);
  if (strcmp(json_text(driver, "name"), x->driver.name) || strcmp(json_text(driver, "version"), x->driver.version) ||
      (!x->file.file && strcmp(json_text(record, "modality"), acq_modality_name(x->order.order.modality))) ||
      json_is_true(json_object_get(record, "stray")) != (part == WIRE_STRAY) ||
      strcmp(json_text(record, "integrity"), x->driver.integrity) ||
      !json_is_string(json_object_get(record, "started")) || strcmp(json_text(record, "started"), started) ||
      (!x->redecode && !x->file.file &&
       (strcmp(json_text(device, "serial"), x->identity.serial) ||
        strcmp(json_text(device, "make"), x->identity.make) || strcmp(json_text(device, "model"), x->identity.model) ||
        strcmp(json_text(device, "firmware"), x->identity.firmware) ||
        strcmp(json_text(device, "sensor"), x->identity.sensor)))) {
    json_decref(record);
    log_error("%s: record refused: of another driver, time or instrument", x->name);
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

static enum problem problem_of_foreign(const struct session *x) {
  enum problem p = problem_of_file(x->end.fail.err, x->end.fail.step);
  return p == P_file_too_large && !x->file.alone ? P_file_format : p;
}

enum problem session_end_problem(const struct session *x) {
  switch (x->end.outcome) {
  case WORKER_CRASH:
    return P_worker_crashed;
  case WORKER_DEADLINE:
    return P_worker_deadline;
  case WORKER_FAIL:
    return x->file.file ? problem_of_foreign(x) : problem_of_device(x->end.fail.err, x->end.fail.step);
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
  ret_data[0] = 0;
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
  char json_sha[HASH_TEXT], data_sha[HASH_TEXT];
  int64_t id;
  int r = store_artefacts(x, WIRE_STRAY, record, now, json_sha, data_sha);
  return r < 0 ? r
               : unmatched_add(x->all->parts.store,
                               &(struct unmatched_row){.acquisition = x->id,
                                                       .why = WHY_TIME,
                                                       .sha256 = json_sha,
                                                       .samples = data_sha[0] ? data_sha : NULL,
                                                       .driver = x->driver.name,
                                                       .driver_version = x->driver.version,
                                                       .record = record},
                               now, &id);
}

static int store_record(struct session *x, const json_t *record, const struct reading *as, int64_t now) {
  char json_sha[HASH_TEXT], data_sha[HASH_TEXT];
  int64_t id;
  struct reading reading = *as;
  int r = store_artefacts(x, json_is_true(json_object_get(record, "stray")) ? WIRE_STRAY : WIRE_OWN, record, now,
                          json_sha, data_sha);
  reading.study = x->study;
  reading.acquisition = x->id;
  reading.sha256 = json_sha;
  reading.samples = data_sha[0] ? data_sha : NULL;
  reading.driver = x->driver.name;
  reading.driver_version = x->driver.version;
  return r < 0 ? r : reading_add(x->all->parts.store, &reading, record, now, &id);
}

static int assess(struct session *x, int64_t now) {
  struct study study;
  enum problem p = study_find(x->all->parts.store, x->study, &study);
  return p == P_OK ? assessment_make(x->all->parts.store, x->all->parts.artefacts, &study, now) : -EIO;
}

static int store_capture(struct session *x, int64_t now) {
  if (!x->end.capture_bytes)
    return 0;
  return artefact_put(x->all->parts.artefacts, x->all->parts.store, "capture", x->end.capture, x->end.capture_bytes,
                      now, x->capture_sha);
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
    r = store_record(x, records[WIRE_OWN], &(struct reading){0}, now);
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
  enum study_event event = !failure ? EV_RECORD : reading_stands(store, x->study) ? EV_FAIL_AGAIN : EV_FAIL;
  return study_move(store, &system, ROLE_SYSTEM, study, event,
                    json_pack("{s:I, s:s, s:s?}", "acquisition", (json_int_t)x->id, "outcome", problem_code(failure),
                              "capture", x->capture_sha[0] ? x->capture_sha : NULL));
}

/* What of the record that is replaced is not in its JSON; 0 when it stands no more, or has gone to another study. */
static int find_replaced(struct session *x, struct reading *ret) {
  struct rows r = store_query(x->all->parts.store,
                              "SELECT patient_version, taken, clean FROM record WHERE id = ? AND study = ?"
                              " AND id NOT IN (SELECT record FROM supersession)",
                              "ii", x->replaces, x->study);
  const bool stands = rows_next(&r);
  *ret = (struct reading){0};
  if (stands) {
    ret->patient_version = rows_int(&r, 0);
    ret->taken = rows_int(&r, 1);
    ret->doubtful =
        ret->patient_version && !rows_int(&r, 2); /* what was to be confirmed when it was attached still is */
  }
  int err = rows_finish(&r);
  return err < 0 ? err : stands;
}

/* Something of the acquisition was put aside before: it is in the tray, or people have dealt with it. */
static int was_aside(struct session *x, bool *ret) {
  struct rows r = store_query(x->all->parts.store, "SELECT 1 FROM unmatched WHERE acquisition = ? LIMIT 1", "i", x->id);
  *ret = rows_next(&r);
  return rows_finish(&r);
}

/* A redecode adds its record beside the others and moves nothing; it supersedes the one it is of, and no other of the
 * same capture: what was attached from the tray was stray in it, and is so again. */
enum problem session_end_redecode(struct session *x) {
  struct store *store = x->all->parts.store;
  struct actor by = {.name = x->by, .acting_for = x->acting_for[0] ? x->acting_for : NULL};
  int64_t now = wall_now().us;
  json_t *records[WIRE_RECORDS] = {NULL};
  enum problem failure = session_end_problem(x);
  if (failure == P_OK)
    failure = records_check(x, records);
  if (records[x->part])
    failure = P_OK;
  _json_cleanup_ json_t *record = failure ? NULL : json_incref(records[x->part]),
                        *stray = x->part == WIRE_OWN ? json_incref(records[WIRE_STRAY]) : NULL;
  if (!record && failure == P_OK)
    failure = P_device_no_result;
  records_finish(records);
  char ref[32];
  struct study study;
  struct reading replaced;
  enum problem p = study_find(store, x->study, &study);
  if (p != P_OK)
    return p;
  str_ref('S', x->study, ref);
  /* Meanwhile a reader may have taken the study, or the nurse set the record aside, or accepted it with other pictures:
   * then things stay as they are. */
  int r = study.state == ACQUIRED ? 1 : study.state != TO_INTERPRET ? 0 : fundus_keeps_labels(store, x->id, record);
  if (r > 0 && record) {
    r = find_replaced(x, &replaced);
    if (r > 0)
      r = store_run(store, "INSERT INTO supersession VALUES(?,?,?,'redecode')", "iit", x->replaces, now, x->by);
  }
  if (record && r == 0)
    failure = P_wrong_state;
  else if (record && r > 0) {
    r = store_record(x, record, &replaced, now);
    if (r >= 0)
      r = assess(x, now);
    if (r >= 0)
      r = store_run(store, "UPDATE study SET version = version + 1, updated = ? WHERE id = ?", "ii", now, x->study);
    if (r >= 0)
      r = change_add(store, "study", ref, study_state_name(study.state));
  }
  bool aside = false;
  if (r >= 0 && stray)
    r = was_aside(x, &aside);
  if (r >= 0 && stray && !aside) /* a newer driver's words of it would stand in the tray as another reading */
    r = store_stray(x, stray, now);
  if (r >= 0)
    r = audit_add(store, &by, "study.redecode", ref,
                  json_pack("{s:I, s:s}", "acquisition", (json_int_t)x->id, "outcome", problem_code(failure)));
  return problem_of_errno(r);
}

/* ---- files ---- */

/* The acquisition that decoded a file has no study, and begins and ends in one act. */
static int add_acquisition(struct session *x, enum problem failure, int64_t now) {
  const struct acq_order *o = &x->order.order;
  char node[STR_REF_MAX];
  str_ref('F', x->file.file, node);
  int r = store_run(x->all->parts.store,
                    "INSERT INTO acquisition(file, device, driver, driver_version, program, node, seconds, started,"
                    " offset_minutes, by, ended, outcome, reason, device_serial, capture, phase, pictures)"
                    " VALUES(?,nullif(?, ''),?,?,?,?,?,?,?,'asaleed',?,?,?,?,?,?,nullif(?, 0))",
                    "itttttiiiittttti", x->file.file, x->device_id, x->driver.name, x->driver.version, PROGRAM, node,
                    (int64_t)o->seconds, o->started_us, (int64_t)o->offset_minutes, now, problem_code(failure),
                    x->end.outcome == WORKER_FAIL ? x->end.fail.text : NULL, x->identity.serial,
                    x->capture_sha[0] ? x->capture_sha : NULL, acq_phase_name(o->phase), (int64_t)o->pictures);
  x->id = r < 0 ? 0 : store_last_id(x->all->parts.store);
  return r;
}

/* Every part of the reading says when it was made. */
static bool is_timed(const json_t *record) {
  const json_t *trials = json_object_get(json_object_get(record, "acquired"), "trials");
  size_t i;
  json_t *trial;
  json_array_foreach(trials, i, trial) {
    if (!json_is_string(json_object_get(trial, "time")))
      return false;
  }
  return json_array_size(trials) > 0;
}

/* Was it made while the order waited? The worker has compared the times that it tells. What tells none may be of any
 * day: then its file must not be older than the order, as far as that is known. */
static bool is_own(const struct session *x, int part, const json_t *record, const struct session *waiting) {
  const int64_t since = waiting->order.order.started_us - WRITTEN_GRACE_US;
  return part == WIRE_OWN && (is_timed(record) || !x->file.modified || x->file.modified >= since);
}

/* What whoever waits is told of a reading that is not hers. */
static enum problem problem_of_why(enum unmatched_why why) {
  return why == WHY_TIME       ? P_reading_stray
         : why == WHY_IDENTITY ? P_reading_other
         : why == WHY_ACT      ? P_wrong_act
                               : P_OK;
}

/* One of its readings: into the tray; and if the order that waits may have it, to that order. */
static int store_reading(struct session *x, int part, const json_t *record, struct session *waiting, int64_t now,
                         bool *ret_received) {
  char json_sha[HASH_TEXT], data_sha[HASH_TEXT];
  int64_t id;
  struct study study;
  struct patient patient;
  int r = store_artefacts(x, part, record, now, json_sha, data_sha);
  if (r < 0)
    return r;
  struct unmatched_row row = {.acquisition = x->id,
                              .sha256 = json_sha,
                              .samples = data_sha[0] ? data_sha : NULL,
                              .driver = x->driver.name,
                              .driver_version = x->driver.version,
                              .record = record};
  bool may = false;
  if (waiting) {
    if (study_find(x->all->parts.store, waiting->study, &study) != P_OK ||
        patient_find(x->all->parts.store, study.patient, &patient) != P_OK)
      return -EIO;
    row.why = unmatched_judge(record, is_own(x, part, record, waiting), &study, &patient);
    may = row.why == WHY_NO_ORDER;
    x->aside = problem_of_why(row.why);
  }
  r = unmatched_add(x->all->parts.store, &row, now, &id);
  if (r >= 0 && may && id) {
    r = unmatched_attach_waiting(x->all->parts.store, id, &row, &study, &patient, now);
    *ret_received = r >= 0;
  }
  return r;
}

static int store_unreadable(struct session *x, enum problem failure, int64_t now) {
  int64_t id;
  return unmatched_add(x->all->parts.store,
                       &(struct unmatched_row){.acquisition = x->id,
                                               .why = WHY_UNREADABLE,
                                               .failure = failure,
                                               .driver = x->driver.name,
                                               .driver_version = x->driver.version},
                       now, &id);
}

enum problem session_end_file(struct session *x, bool *ret_received) {
  struct store *store = x->all->parts.store;
  struct session *waiting = x->filled ? session_waiting_of(x->all, x->device_id) : NULL;
  int64_t now = wall_now().us;
  json_t *records[WIRE_RECORDS] = {NULL};
  enum problem failure = session_end_problem(x);
  if (waiting && (waiting->id != x->filled || waiting->ended)) /* another order by now, or none */
    waiting = NULL;
  if (failure == P_OK)
    failure = records_check(x, records);
  if (records[WIRE_OWN] || records[WIRE_STRAY])
    failure = P_OK;
  *ret_received = false;
  x->aside = failure;
  int r = store_capture(x, now);
  if (r >= 0)
    r = blobs_add_rows(x->blobs, store, now);
  if (r >= 0)
    r = add_acquisition(x, failure, now);
  for (int i = 0; i < WIRE_RECORDS && r >= 0; i++)
    if (records[i])
      r = store_reading(x, i, records[i], waiting, now, ret_received);
  records_finish(records);
  if (r >= 0 && failure)
    r = store_unreadable(x, failure, now);
  if (r >= 0)
    r = store_run(store, "UPDATE file SET pending = 0 WHERE id = ?", "i", x->file.file);
  return problem_of_errno(r);
}

enum problem session_end_waiting(struct session *x, enum problem outcome, struct study *study) {
  struct store *store = x->all->parts.store;
  struct actor system = {.name = "asaleed"};
  int64_t now = wall_now().us;
  int r = store_run(store, "UPDATE acquisition SET ended = ?, outcome = ? WHERE id = ?", "iti", now,
                    problem_code(outcome), x->id);
  if (r >= 0)
    r = store_run(store, "UPDATE study SET failure = ?, failed = ? WHERE id = ?", "tii",
                  outcome ? problem_code(outcome) : NULL, now, x->study);
  enum problem p = r < 0 ? problem_of_errno(r) : study_find(store, x->study, study);
  if (p != P_OK)
    return p;
  enum study_event event = !outcome ? EV_RECORD : reading_stands(store, x->study) ? EV_FAIL_AGAIN : EV_FAIL;
  p = study_move(store, &system, ROLE_SYSTEM, study, event,
                 json_pack("{s:I, s:s}", "acquisition", (json_int_t)x->id, "outcome", problem_code(outcome)));
  return p == P_OK ? problem_of_errno(assessment_make(store, x->all->parts.artefacts, study, now)) : p;
}
