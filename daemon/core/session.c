#include "session_own.h"

#include "log.h"
#include "reading.h"
#include "record.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PICTURE_US 20000ull
#define STORE_RETRY_US (5 * 1000000ull)
#define DEADLINE_MARGIN_S 5 /* for decoding, on top of the order and the driver's grace */
#define REDECODE_S 60
#define FILE_S 60
#define CANCEL_MS 10000u /* the most a nurse waits for a cancelled instrument to come to rest */

static void session_free(struct session *x) {
  struct session **at = &x->all->list;
  while (*at != x)
    at = &(*at)->next;
  *at = x->next;
  if (x->device)
    x->device->acquisition = 0;
  sd_event_source_disable_unref(x->retry);
  sd_event_source_disable_unref(x->until);
  blobs_free(x->blobs);
  fd_finish(&x->filling);
  worker_free(x->worker);
  free(x->capture);
  free(x);
}

static struct session *session_new(struct sessions *s, int64_t study) {
  struct session *x = calloc(1, sizeof *x);
  if (!x)
    return NULL;
  x->all = s;
  x->study = study;
  x->filling = -1;
  x->next = s->list;
  s->list = x;
  return x;
}

/* The study's acquisition, not a redecode of it. */
static struct session *session_of(const struct sessions *s, int64_t study) {
  struct session *x = s->list;
  while (x && (x->study != study || x->redecode))
    x = x->next;
  return x;
}

struct session *session_waiting_of(const struct sessions *s, const char *device) {
  struct session *x = s->list;
  while (x && (!x->waiting || x->ended || strcmp(x->device_id, device)))
    x = x->next;
  return x;
}

static void session_name(struct session *x) {
  char ref[STR_REF_MAX];
  str_ref(x->file.file ? 'F' : 'A', x->file.file ? x->file.file : x->id, ref);
  snprintf(x->name, sizeof x->name, "%s %s", x->file.file ? "file" : "acquisition", ref);
}

/* ---- what people see while it runs ---- */

static void publish_state(struct sessions *s, const struct study *study) {
  hub_publish(s->parts.hub, study->id, "state", study_event_json(study));
}

static void publish_contacts(struct session *x, const struct wire_contacts *c) {
  json_t *known = json_array(), *off = json_array(), *text = json_array();
  const struct electrode *e;
  for (unsigned i = 0; (e = electrode_row(i)); i++) {
    if (!(c->known >> i & 1))
      continue;
    json_array_append_new(known, json_string(e->code));
    if (c->on >> i & 1)
      continue;
    char sentence[256];
    snprintf(sentence, sizeof sentence, "L'électrode %s (%s, %s) ne touche pas la peau.", e->colour, e->code, e->place);
    json_array_append_new(off, json_string(e->code));
    json_array_append_new(text, json_string(sentence));
  }
  hub_publish(x->all->parts.hub, x->study, "contacts",
              json_pack("{s:o, s:o, s:o}", "known", known, "off", off, "text", text));
}

static void publish_preview(struct session *x, const struct wire_preview *p) {
  json_t *channels = json_array();
  char scale[DEC_TEXT_MAX];
  dec_format(p->scale, scale);
  const char *unit = "";
  for (unsigned c = 0; c < p->channels; c++) {
    const struct nomenclature *row = nomenclature_row(p->code[c]);
    json_t *values = json_array();
    unit = row->unit;
    for (unsigned i = 0; i < p->samples; i++)
      json_array_append_new(values, p->values[c][i] == ACQ_GAP ? json_null() : json_integer(p->values[c][i]));
    json_array_append_new(channels,
                          json_pack("{s:s, s:s, s:o}", "code", row->code, "label", row->label, "values", values));
  }
  hub_publish(x->all->parts.hub, x->study, "preview",
              json_pack("{s:o, s:I, s:I, s:s, s:s}", "channels", channels, "first", (json_int_t)p->first, "rate",
                        (json_int_t)p->rate_hz, "scale", scale, "unit", unit));
}

/* The page shows it as it is: a JPEG that the worker made, less than WIRE_PICTURE_MAX bytes. */
static void publish_picture(struct session *x, const struct wire_picture *p) {
  char text[STR_BASE64(WIRE_PICTURE_MAX)];
  str_base64(p->jpeg, p->n, text);
  hub_publish(x->all->parts.hub, x->study, "picture",
              json_pack("{s:I, s:s, s:I, s:I}", "height", (json_int_t)p->height, "jpeg", text, "number",
                        (json_int_t)p->number, "width", (json_int_t)p->width));
}

/* A driver shows ten pictures a second; a worker that floods the daemon with them gets no more than fifty through. */
static bool is_time(uint64_t *next) {
  uint64_t now = monotonic_us();
  if (now < *next)
    return false;
  *next = now + PICTURE_US;
  return true;
}

static void on_said(void *arg, const struct wire_message *m) {
  struct session *x = arg;
  if (!x->study && m->type != WIRE_IDENTITY) /* nobody watches a file */
    return;
  switch (m->type) {
  case WIRE_IDENTITY:
    if (x->identified)
      break;
    x->identified = true;
    x->identity = m->identity;
    if (!x->study) {
      worker_begin(x->worker);
      break;
    }
    /* What the instrument says of itself stays out of the events: the nurse reads them, and a hostile instrument
     * could say anything there. She gets the name that the site gave it. */
    hub_publish(x->all->parts.hub, x->study, "identity",
                json_pack("{s:s, s:s}", "device", x->device_id, "label", x->label));
    worker_begin(x->worker);
    if (x->finishing)
      worker_finish(x->worker);
    break;
  case WIRE_PROGRESS:
    x->progress = m->progress;
    if (!is_time(&x->next_progress))
      break;
    hub_publish(x->all->parts.hub, x->study, "progress",
                json_pack("{s:I, s:I}", "done", (json_int_t)m->progress.done, "total", (json_int_t)m->progress.total));
    break;
  case WIRE_CONTACTS:
    publish_contacts(x, &m->contacts);
    break;
  case WIRE_PREVIEW:
    if (is_time(&x->next_preview))
      publish_preview(x, &m->preview);
    break;
  case WIRE_PICTURE:
    if (is_time(&x->next_preview))
      publish_picture(x, &m->picture);
    break;
  default:
    break;
  }
}

/* ---- the end ---- */

static void session_store(struct session *x);

static int on_retry(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  session_store(arg);
  return 0;
}

static void session_retry(struct session *x, const char *code) {
  int r = 0;
  if (!x->retry) {
    log_error("%s: cannot be stored (%s): kept in memory, tried again every %llu s", x->name, code,
              STORE_RETRY_US / 1000000);
    r = sd_event_add_time_relative(x->all->parts.event, &x->retry, CLOCK_MONOTONIC, STORE_RETRY_US, 0, on_retry, x);
  } else {
    sd_event_source_set_time_relative(x->retry, STORE_RETRY_US);
    r = sd_event_source_set_enabled(x->retry, SD_EVENT_ONESHOT);
  }
  if (r < 0)
    log_errno(LOG_ERROR, r, "%s: no timer", x->name);
}

/* Those who watch learn how the study's acquisition ended. */
static void publish_end(struct session *x) {
  struct sessions *s = x->all;
  struct study study;
  if (study_find(s->parts.store, x->study, &study) != P_OK)
    return;
  if (!x->redecode && study.failure && study.state != ACQUIRING)
    hub_publish(s->parts.hub, x->study, "failure",
                json_pack("{s:s, s:s}", "code", problem_code(study.failure), "detail", problem_detail(study.failure)));
  publish_state(s, &study);
  dicom_wake(s->parts.dicom, x->study);
  if (!x->redecode)
    log_info("%s: ended, %s", x->name, problem_code(study.failure));
}

static void session_end(struct session *x) {
  struct sessions *s = x->all;
  int64_t study = x->study;
  session_free(x);
  if (study && !session_of(s, study))
    hub_rest(s->parts.hub, study);
}

/* The file's reading went to the order that waited: that has what it waited for, or waits for more. */
static void on_received(struct session *x) {
  struct session *waiting = session_waiting_of(x->all, x->device_id);
  if (!waiting || waiting->id != x->filled)
    return;
  waiting->received++;
  publish_end(waiting);
  if (x->fills)
    session_end(waiting);
}

/* A file came that is not what the order waits for: it goes on waiting, and she knows. */
static void on_aside(const struct session *x) {
  struct session *waiting = session_waiting_of(x->all, x->device_id);
  if (!waiting || waiting->id != x->filled)
    return;
  waiting->aside = x->aside;
  hub_publish(x->all->parts.hub, waiting->study, "failure",
              json_pack("{s:s, s:s}", "code", problem_code(x->aside), "detail", problem_detail(x->aside)));
}

static void file_ended(struct session *x, enum session_file_end end) {
  const struct session_file file = x->file;
  session_free(x);
  file.ended(file.arg, file.file, end);
}

static void on_file_stored(void *arg, int result) {
  struct session *x = arg;
  if (result < 0)
    return session_retry(x, problem_code(problem_of_errno(result)));
  log_info("%s: %s", x->name, problem_code(session_end_problem(x)));
  if (x->has_received)
    on_received(x);
  else if (x->aside)
    on_aside(x);
  file_ended(x, SESSION_FILE_STORED);
}

/* Called when the commit that holds the session's end is durable, or failed. */
static void on_stored(void *arg, int result) {
  struct session *x = arg;
  if (result < 0)
    return session_retry(x, problem_code(problem_of_errno(result)));
  publish_end(x);
  session_end(x);
}

static void on_blobs(void *arg, int result) {
  struct session *x = arg;
  if (result < 0)
    session_retry(x, problem_code(problem_of_errno(result)));
  else
    session_store(x);
}

/* The blobs become artefacts first, a slice a turn of the loop. */
static int session_blobs(struct session *x) {
  int r = 0;
  if (!x->blobs)
    r = blobs_new(x->all->parts.artefacts, x->redecode ? x->capture : x->end.capture,
                  x->redecode ? x->capture_bytes : x->end.capture_bytes, x->redecode ? -1 : x->end.blobs, &x->blobs);
  if (r == -EUCLEAN || r == -EFBIG) { /* it cannot be what it says: the text is kept, and that is all there is */
    log_error("%s: its capture names blobs that are not there", x->name);
    r = blobs_new(x->all->parts.artefacts, NULL, 0, -1, &x->blobs);
  }
  return r == 0 && !blobs_stored(x->blobs) ? blobs_store(x->blobs, x->all->parts.event, on_blobs, x) : r;
}

/* With the file's reading the order that waited may have what it waited for: all in one act. */
static enum problem store_file(struct session *x) {
  struct study study;
  enum problem p = session_end_file(x, &x->has_received);
  struct session *waiting = x->has_received ? session_waiting_of(x->all, x->device_id) : NULL;
  x->fills = false;
  if (p != P_OK || !waiting)
    return p;
  const struct acq_order *order = &waiting->order.order;
  x->fills = order->modality != ACQ_FUNDUS || (order->pictures && waiting->received + 1 >= order->pictures);
  return x->fills ? session_end_waiting(waiting, P_OK, &study) : P_OK;
}

static enum problem store_end(struct session *x) {
  struct study study;
  enum problem failure;
  if (x->file.file)
    return store_file(x);
  if (x->waiting)
    return session_end_waiting(x, x->waited, &study);
  return x->redecode ? session_end_redecode(x) : session_end_store(x, &study, &failure);
}

static void session_store(struct session *x) {
  enum problem p;
  int r = session_blobs(x);
  if (r == 0 && !blobs_stored(x->blobs))
    return; /* on_blobs() comes back here */
  if (r == 0)
    r = store_begin(x->all->parts.store);
  if (r < 0)
    return session_retry(x, problem_code(problem_of_errno(r)));
  p = store_end(x);
  if (p == P_OK)
    p = problem_of_errno(store_keep(x->all->parts.store));
  if (p != P_OK) {
    store_undo(x->all->parts.store);
    return session_retry(x, problem_code(p));
  }
  store_on_commit(x->all->parts.store, x->file.file ? on_file_stored : on_stored, x);
}

static void on_ended(void *arg, const struct worker_end *end) {
  struct session *x = arg;
  x->end = *end;
  x->ended = true;
  if (x->device) { /* free for the next order, whatever the store says */
    x->device->acquisition = 0;
    x->device = NULL;
  }
  const enum problem problem = session_end_problem(x);
  if (x->file.file && problem == P_file_format && !x->file.last)
    return file_ended(x, SESSION_FILE_FOREIGN);
  if (x->file.file && problem == P_acquisition_cancelled) /* the daemon stops: the next one looks at it */
    return file_ended(x, SESSION_FILE_STOPPED);
  if (end->outcome == WORKER_FAIL)
    log_notice("%s: %s: %s", x->name, problem_code(problem), end->fail.text);
  session_store(x);
}

static const struct worker_calls calls = {.said = on_said, .ended = on_ended};

/* A worker that cannot even start ends like one that crashed. */
static void session_not_started(struct session *x, int err) {
  log_errno(LOG_ERROR, err, "%s: its worker cannot be started", x->name);
  on_ended(x, &(struct worker_end){.outcome = WORKER_CRASH, .blobs = -1});
}

/* With a file for its blobs, which becomes the worker's. */
static void session_spawn(struct session *x, int blobs, uint32_t seconds) {
  int r = blobs;
  if (r >= 0)
    r = worker_start(x->all->parts.event, x->all->parts.driver_program, &x->order, x->capture, x->capture_bytes, blobs,
                     seconds, &calls, x, &x->worker);
  if (r < 0)
    session_not_started(x, r);
}

static void on_filled(void *arg, int result) {
  struct session *x = arg;
  int blobs = x->filling;
  x->filling = -1;
  if (result == 0)
    return session_spawn(x, blobs, REDECODE_S);
  close(blobs);
  session_not_started(x, result);
}

static uint32_t cancel_ms(const struct session *x) {
  return x->driver.grace_ms < CANCEL_MS ? x->driver.grace_ms : CANCEL_MS;
}

/* ---- waiting for files ---- */

static int on_until(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  struct session *x = arg;
  if (!x->waited)
    x->waited = x->received ? P_OK : x->aside ? x->aside : P_device_silent;
  x->ended = true;
  if (x->device) {
    x->device->acquisition = 0;
    x->device = NULL;
  }
  session_store(x);
  return 0;
}

/* Not at once: the caller may be inside an act. */
static void waiting_stop(struct session *x, enum problem why) {
  if (x->ended)
    return;
  x->waited = why;
  sd_event_source_set_time_relative(x->until, 0);
}

static void waiting_start(struct session *x) {
  x->waiting = true;
  x->end.blobs = -1;
  int r = sd_event_add_time_relative(x->all->parts.event, &x->until, CLOCK_MONOTONIC,
                                     x->order.order.seconds * 1000000ull, 0, on_until, x);
  if (r < 0) {
    log_errno(LOG_ERROR, r, "%s: no timer", x->name);
    x->waited = P_worker_crashed;
    x->ended = true;
    session_store(x);
  } else if (x->cancelled) {
    waiting_stop(x, P_acquisition_cancelled);
  }
}

static void on_start_durable(void *arg, int result) {
  struct session *x = arg;
  struct sessions *s = x->all;
  if (result < 0) { /* nothing was acknowledged, nothing began */
    session_free(x);
    return;
  }
  struct study study;
  /* The act may have been undone after session_start(): then the row is not there and nothing begins. */
  struct rows r = store_query(s->parts.store, "SELECT 1 FROM acquisition WHERE id = ? AND study = ? AND ended IS NULL",
                              "ii", x->id, x->study);
  bool stands = rows_next(&r);
  if (rows_finish(&r) < 0 || !stands || study_find(s->parts.store, x->study, &study) != P_OK) {
    session_free(x);
    return;
  }
  publish_state(s, &study);
  if (x->order.bus == ACQ_FILE)
    return waiting_start(x);
  session_spawn(x, artefacts_scratch(s->parts.artefacts),
                x->order.order.seconds + x->driver.grace_ms / 1000 + DEADLINE_MARGIN_S);
  if (x->cancelled && x->worker && !x->ended)
    worker_cancel(x->worker, cancel_ms(x));
}

static void on_redecode_durable(void *arg, int result) {
  struct session *x = arg;
  if (result < 0)
    return session_free(x);
  int r = x->filling = artefacts_scratch(x->all->parts.artefacts);
  if (r >= 0)
    r = session_blobs(x);
  if (r >= 0)
    r = blobs_fill(x->blobs, x->filling, x->all->parts.event, on_filled, x);
  if (r < 0)
    session_not_started(x, r);
}

/* ---- the beginning ---- */

enum problem session_start(struct sessions *s, const struct caller *c, struct study *study, const char *device_id,
                           uint32_t seconds, enum acq_phase phase, uint16_t pictures) {
  struct device *device = devices_find(s->parts.devices, device_id);
  const struct driver_info *driver = device ? devices_driver(s->parts.devices, device->conf.driver) : NULL;
  enum study_state to;
  enum problem p = study_next(study->state, EV_START, c->role, &to);
  if (p == P_OK && s->recover) /* nothing new is open while it is sought what an earlier run left open */
    p = P_overloaded;
  if (p == P_OK && !device)
    p = P_device_unknown;
  if (p == P_OK && device->ambiguous)
    p = P_device_ambiguous;
  const bool by_files = driver && device_bus(s->parts.devices, device) == ACQ_FILE;
  /* A stick may be put in while it is waited for; a folder that cannot be gone through brings nothing. */
  if (p == P_OK && (!driver || (by_files ? device->gone : !device->node[0])))
    p = P_device_absent;
  const enum acq_modality modality = act_modality(study->act);
  if (p == P_OK && (!(driver->modalities & ACQ_MODALITY(modality)) || seconds > driver->max_seconds))
    p = P_invalid_field;
  if (p == P_OK && device_is_busy(s->parts.devices, device))
    p = P_device_busy;
  struct wall now = wall_now();
  int64_t delegation = 0;
  if (p == P_OK)
    p = study_may_acquire(s->parts.store, s->parts.conf, c, study, &delegation);
  struct calibration calibration = {.state = CALIBRATION_UNUSED};
  if (p == P_OK && modality == ACQ_SPIROMETRY)
    p = problem_of_errno(calibration_find(s->parts.store, &device->conf, now.us, &calibration));
  if (p == P_OK && device->conf.calibration == CALIBRATION_REFUSE && calibration.state > CALIBRATION_VALID)
    p = P_calibration_due;
  if (p != P_OK)
    return p;
  struct session *x = session_new(s, study->id);
  if (!x)
    return P_overloaded;
  x->driver = *driver;
  x->order = (struct wire_order){.bus = device_bus(s->parts.devices, device),
                                 .order = {.seconds = seconds ? seconds : driver->default_seconds,
                                           .started_us = now.us,
                                           .offset_minutes = now.offset_minutes,
                                           .modality = modality,
                                           .phase = modality == ACQ_SPIROMETRY && !phase ? ACQ_BASELINE : phase,
                                           .pictures = pictures}};
  str_copy(x->order.driver, sizeof x->order.driver, driver->name);
  str_copy(x->order.node, sizeof x->order.node, device->node);
  str_copy(x->device_id, sizeof x->device_id, device_id);
  str_copy(x->label, sizeof x->label, device->conf.label);
  struct actor by = caller_actor(c);
  int r = store_run(s->parts.store,
                    "INSERT INTO acquisition(study, device, driver, driver_version, program, node, seconds, started,"
                    " offset_minutes, phase, pictures, calibration, calibration_state, by, delegation,"
                    " patient_version) SELECT ?,?,?,?,?,?,?,?,?,?,nullif(?, 0),nullif(?, 0),?,?,nullif(?, 0), version"
                    " FROM patient WHERE id = ?",
                    "itttttiiitiittit", study->id, device_id, driver->name, driver->version, PROGRAM, device->node,
                    (int64_t)x->order.order.seconds, now.us, (int64_t)now.offset_minutes,
                    acq_phase_name(x->order.order.phase), (int64_t)pictures, calibration.id,
                    modality == ACQ_SPIROMETRY ? calibration_state_name(calibration.state) : NULL, caller_person(c),
                    delegation, study->patient);
  x->id = r < 0 ? 0 : store_last_id(s->parts.store);
  p = r < 0 ? problem_of_errno(r)
            : study_move(s->parts.store, &by, c->role, study, EV_START,
                         json_pack("{s:I, s:s}", "acquisition", (json_int_t)x->id, "device", device_id));
  if (p != P_OK) {
    session_free(x);
    return p;
  }
  session_name(x);
  x->device = device;
  device->acquisition = x->id;
  store_on_commit(s->parts.store, on_start_durable, x);
  return P_OK;
}

enum problem session_cancel(struct sessions *s, const struct caller *c, struct study *study) {
  struct session *x = session_of(s, study->id);
  char ref[32];
  if (!(c->role & (ROLE_NURSE | ROLE_GP)))
    return P_forbidden;
  if (study->state != ACQUIRING || !x || x->ended)
    return P_wrong_state;
  struct actor by = caller_actor(c);
  str_ref('S', study->id, ref);
  int r =
      audit_add(s->parts.store, &by, "acquisition.cancel", ref, json_pack("{s:I}", "acquisition", (json_int_t)x->id));
  x->cancelled = true; /* a worker that is not there yet learns it when it begins */
  if (r >= 0 && x->worker && !x->ended)
    worker_cancel(x->worker, cancel_ms(x));
  if (r >= 0 && x->waiting)
    waiting_stop(x, P_acquisition_cancelled);
  return problem_of_errno(r);
}

enum problem session_finish(struct sessions *s, const struct caller *c, const struct study *study) {
  struct session *x = session_of(s, study->id);
  char ref[32];
  if (!(c->role & (ROLE_NURSE | ROLE_GP)))
    return P_forbidden;
  if (study->state != ACQUIRING || !x || x->ended || x->order.order.modality != ACQ_FUNDUS)
    return P_wrong_state;
  /* A worker that has not been told to begin learns it right after that. */
  if (x->identified && worker_finish(x->worker) == -EAGAIN)
    return P_overloaded;
  x->finishing = true;
  if (x->waiting)
    waiting_stop(x, x->received ? P_OK : P_device_no_result);
  struct actor by = caller_actor(c);
  str_ref('S', study->id, ref);
  return problem_of_errno(
      audit_add(s->parts.store, &by, "acquisition.finish", ref, json_pack("{s:I}", "acquisition", (json_int_t)x->id)));
}

/* A reading that was attached from the tray is again what is stray in its capture. */
static int redecode_part(struct sessions *s, const char *sha256, int *ret) {
  _json_cleanup_ json_t *record = NULL;
  int r = reading_load(s->parts.artefacts, sha256, &record);
  *ret = json_is_true(json_object_get(record, "stray")) ? WIRE_STRAY : WIRE_OWN;
  return r;
}

enum problem session_redecode(struct sessions *s, const struct caller *c, const struct study *study) {
  if (!(c->role & (ROLE_ADMIN | ROLE_GP)))
    return P_forbidden;
  if (study->state != ACQUIRED && study->state != TO_INTERPRET)
    return P_wrong_state;
  for (const struct session *other = s->list; other; other = other->next)
    if (other->redecode && other->study == study->id)
      return P_wrong_state; /* one at a time */
  struct session *x = session_new(s, study->id);
  if (!x)
    return P_overloaded;
  x->redecode = true;
  char record[HASH_TEXT] = "";
  enum problem p = P_not_found;
  struct rows r =
      store_query(s->parts.store,
                  "SELECT a.id, a.driver, a.seconds, a.started, a.offset_minutes, a.capture, a.phase, a.pictures,"
                  " r.sha256, r.id"
                  " FROM acquisition a"
                  " JOIN record r ON r.acquisition = a.id AND r.id NOT IN (SELECT record FROM supersession)"
                  " WHERE r.study = ? AND a.capture IS NOT NULL ORDER BY a.id DESC, r.id LIMIT 1",
                  "i", study->id);
  if (rows_next(&r)) {
    const struct driver_info *driver = devices_driver(s->parts.devices, rows_text(&r, 1));
    x->id = rows_int(&r, 0);
    x->replaces = rows_int(&r, 9);
    x->order.order = (struct acq_order){.seconds = (uint32_t)rows_int(&r, 2),
                                        .started_us = rows_int(&r, 3),
                                        .offset_minutes = (int16_t)rows_int(&r, 4),
                                        .modality = act_modality(study->act),
                                        .phase = rows_is_null(&r, 6) ? ACQ_NO_PHASE : acq_phase_find(rows_text(&r, 6)),
                                        .pictures = (uint16_t)rows_int(&r, 7)};
    p = driver && str_copy(x->capture_sha, sizeof x->capture_sha, rows_text(&r, 5)) &&
                str_copy(record, sizeof record, rows_text(&r, 8))
            ? P_OK
            : P_device_absent;
    if (driver)
      x->driver = *driver;
  }
  int err = rows_finish(&r);
  if (err < 0)
    p = problem_of_errno(err);
  if (p == P_OK)
    p = problem_of_errno(redecode_part(s, record, &x->part));
  if (p == P_OK) {
    uint8_t *capture;
    err = artefact_get(s->parts.artefacts, x->capture_sha, CAPTURE_TEXT_MAX, &capture, &x->capture_bytes);
    x->capture = err < 0 ? NULL : (char *)capture;
    p = problem_of_errno(err);
  }
  if (p != P_OK) {
    session_free(x);
    return p;
  }
  session_name(x);
  str_copy(x->order.driver, sizeof x->order.driver, x->driver.name);
  str_copy(x->by, sizeof x->by, c->name);
  str_copy(x->acting_for, sizeof x->acting_for, c->acting_for);
  store_on_commit(s->parts.store, on_redecode_durable, x);
  return P_OK;
}

int session_file(struct sessions *s, const struct session_file *f) {
  struct session *x = session_new(s, 0);
  if (!x)
    return -ENOMEM;
  const struct session *waiting = f->device[0] ? session_waiting_of(s, f->device) : NULL;
  struct wall now = wall_now();
  if (waiting && f->at < waiting->order.order.started_us) /* it was there before: what it holds is older still */
    waiting = NULL;
  x->file = *f;
  x->driver = *f->driver;
  x->order = (struct wire_order){.bus = ACQ_FILE,
                                 .order = {.seconds = 1, .started_us = now.us, .offset_minutes = now.offset_minutes}};
  if (waiting) { /* the seconds that it has waited: what was made in them is its */
    const struct acq_order *order = &waiting->order.order;
    int64_t waited = (now.us - order->started_us) / WALL_SECOND + 1;
    x->order.order = *order;
    x->order.order.seconds = waited < 1                        ? 1
                             : waited > f->driver->max_seconds ? f->driver->max_seconds
                                                               : (uint32_t)waited;
    x->filled = waiting->id;
  }
  str_copy(x->order.driver, sizeof x->order.driver, f->driver->name);
  if (!str_copy(x->order.node, sizeof x->order.node, f->node) ||
      !str_copy(x->device_id, sizeof x->device_id, f->device)) {
    session_free(x);
    return -ENAMETOOLONG;
  }
  session_name(x);
  int r = artefacts_scratch(s->parts.artefacts);
  if (r >= 0)
    r = worker_start(s->parts.event, s->parts.driver_program, &x->order, NULL, 0, r, FILE_S, &calls, x, &x->worker);
  if (r < 0) /* says nothing of the file */
    session_free(x);
  return r < 0 ? r : 0;
}

/* ---- all of them ---- */

int sessions_open(const struct sessions_parts *parts, struct sessions **ret) {
  struct sessions *s = calloc(1, sizeof *s);
  if (!s)
    return -ENOMEM;
  s->parts = *parts;
  *ret = s;
  return 0;
}

void sessions_stop(struct sessions *s) {
  for (struct session *x = s->list; x; x = x->next)
    if (x->worker && !x->ended)
      worker_cancel(x->worker, cancel_ms(x));
    else if (x->waiting)
      waiting_stop(x, P_acquisition_interrupted);
}

void sessions_close(struct sessions *s) {
  if (!s)
    return;
  while (s->list) {
    if (s->list->ended)
      log_error("%s: could not be stored and is lost with this process%s", s->list->name,
                s->list->file.file ? ": it is looked at again" : "");
    session_free(s->list);
  }
  sd_event_source_disable_unref(s->recover);
  free(s);
}

static int recover(struct sessions *s) {
  struct store *store = s->parts.store;
  struct actor system = {.name = "asaleed"};
  for (;;) {
    int64_t id = 0, study_id = 0;
    struct rows r = store_query(store, "SELECT id, study FROM acquisition WHERE ended IS NULL ORDER BY id LIMIT 1", "");
    if (rows_next(&r)) {
      id = rows_int(&r, 0);
      study_id = rows_int(&r, 1);
    }
    int err = rows_finish(&r);
    if (err < 0 || !id)
      return err;
    struct study study;
    int64_t now = wall_now().us;
    const char *code = problem_code(P_acquisition_interrupted);
    err = store_begin(store);
    if (err >= 0)
      err = store_run(store, "UPDATE acquisition SET ended = ?, outcome = ? WHERE id = ?", "iti", now, code, id);
    if (err >= 0)
      err = store_run(store, "UPDATE study SET failure = ?, failed = ? WHERE id = ?", "tii", code, now, study_id);
    if (err < 0 || study_find(store, study_id, &study) != P_OK ||
        study_move(store, &system, ROLE_SYSTEM, &study, reading_stands(store, study_id) ? EV_FAIL_AGAIN : EV_FAIL,
                   json_pack("{s:I, s:s}", "acquisition", (json_int_t)id, "outcome", code)) != P_OK) {
      store_undo(store);
      return err < 0 ? err : -EIO;
    }
    if ((err = store_keep(store)) < 0 || (err = store_commit(store)) < 0)
      return err;
    log_notice("acquisition A-%lld: interrupted by the end of the last run", (long long)id);
  }
}

static int on_recover(sd_event_source *source, uint64_t usec, void *arg) {
  (void)usec;
  struct sessions *s = arg;
  if (recover(s) == 0) {
    s->recover = sd_event_source_disable_unref(source);
    return 0;
  }
  sd_event_source_set_time_relative(source, STORE_RETRY_US);
  return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

void sessions_recover(struct sessions *s) {
  int r = recover(s);
  if (r < 0) {
    log_errno(LOG_ERROR, r, "cannot end what the last run left open, tried again every %llu s",
              STORE_RETRY_US / 1000000);
    sd_event_add_time_relative(s->parts.event, &s->recover, CLOCK_MONOTONIC, STORE_RETRY_US, 0, on_recover, s);
  }
}

bool sessions_wait_for_store(const struct sessions *s) {
  for (const struct session *x = s->list; x; x = x->next)
    if (x->retry)
      return true;
  return false;
}

unsigned sessions_running(const struct sessions *s) {
  unsigned n = 0;
  for (const struct session *x = s->list; x; x = x->next)
    n++;
  return n;
}

json_t *session_json(const struct sessions *s, int64_t study) {
  const struct session *x = session_of(s, study);
  if (!x)
    return NULL;
  char id[32], started[WALL_TEXT_MAX];
  str_ref('A', x->id, id);
  wall_format((struct wall){x->order.order.started_us, x->order.order.offset_minutes}, started);
  return json_pack("{s:s, s:I, s:s, s:I, s:s, s:s}", "device", x->device_id, "done", (json_int_t)x->progress.done, "id",
                   id, "seconds", (json_int_t)x->order.order.seconds, "started", started, "state",
                   x->ended ? "storing" : "running");
}
