#include "record.h"

#include "hash.h"
#include "nomenclature.h"
#include "str.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define QUALITY_MAX 256 /* items in one record */
#define QUALITY_OURS 3  /* of them: incomplete, shorter_than_ordered, readings_stray */
#define MEASURES_MAX 4096
#define STATEMENTS_MAX 2048
#define STATEMENT_BYTES_MAX 16384
#define CHANNEL_LEFT_OUT UINT_MAX /* the index of a channel that is not kept */
#define RECORD_SCHEMA "asaleed-record-2"
#define RECORD_CLOCK_TEXT 23 /* YYYY-MM-DDThh:mm:ss.mmm */

/* ---- building ----------------------------------------------------------------------------------------------- */

struct channel {
  const struct nomenclature *row;
  struct dec rate, scale;
  bool derived, left_out; /* left_out: of somebody else's record, and not fit for one */
  unsigned trial;
  struct buf samples; /* int16_t, host order */
  struct buf gaps;    /* struct gap */
};

struct gap {
  uint32_t first, count;
};

struct trial {
  struct acq_trial said; /* with the phase it has */
  bool stray, measured;  /* measured: it holds a measure or a channel, known in the end */
};

struct acq_record {
  int err;
  char reason[256];
  const struct acq_driver *driver;
  const struct acq_capture *capture;
  enum acq_modality modality;
  struct trial *trials;     /* owned; number i + 1 */
  bool has_own;             /* in the end: something is this patient's */
  unsigned n_trials, trial; /* trial: what is being added to, 0 = the session */
  struct channel channels[WIRE_RECORDS * RECORD_CHANNELS_MAX];
  unsigned n_channels;
  json_t *measures, *quality, *statements; /* each item with its "trial" */
};

static void refuse(struct acq_record *r, int err, const char *reason) {
  if (r->err)
    return;
  r->err = err;
  if (!r->reason[0])
    snprintf(r->reason, sizeof r->reason, "%s", reason);
}

/* Appends a new object to an array of the record; takes the reference. */
static void append(struct acq_record *r, json_t *array, json_t *object) {
  if (!object || json_array_append_new(array, object) < 0)
    refuse(r, -ENOMEM, "no memory");
}

/* Its text reads back as the same number; not so for 10 digits with a positive exponent. */
static bool dec_is_exact(struct dec d) {
  char text[DEC_TEXT_MAX];
  struct dec again;
  dec_format(d, text);
  return dec_parse(text, &again) == 0 && dec_cmp(d, again) == 0;
}

static json_t *dec_json(struct dec d) {
  char text[DEC_TEXT_MAX];
  dec_format(d, text);
  return json_string(text);
}

/* What goes into somebody else's record must never cost this patient's: what of it does not fit is left out there, and
 * stays in the capture. */
static bool is_spared(const struct acq_record *r, unsigned trial) {
  return trial && r->trials[trial - 1].stray;
}

/* How many items of the list are of the part that is being added to. */
static size_t items_beside(const struct acq_record *r, const json_t *list) {
  size_t i, n = 0;
  json_t *item;
  json_array_foreach(list, i, item) {
    n += is_spared(r, (unsigned)json_integer_value(json_object_get(item, "trial"))) == is_spared(r, r->trial);
  }
  return n;
}

/* The list has no room for one more of this part: fails the record, unless it is somebody else's. Lists are short
 * unless somebody means harm. */
static bool is_full(struct acq_record *r, const json_t *list, size_t most, const char *why) {
  if (json_array_size(list) < most || items_beside(r, list) < most)
    return false;
  if (!is_spared(r, r->trial))
    refuse(r, -EPROTO, why);
  return true;
}

void acq_rec_measure(struct acq_record *r, const char *code, struct dec value, const char *unit_text) {
  const struct nomenclature *row = nomenclature_find(code);
  if (r->err)
    return;
  const struct unit *unit = row ? unit_find(unit_text ? unit_text : row->unit) : NULL;
  if (!row || row->kind == 'C' || !unit || !unit_fits(unit, unit_find(row->unit)))
    return refuse(r, -EINVAL, "a measure that the nomenclature does not list");
  measure_normalise(row, &value, &unit);
  if (!measure_is_possible(row, value, unit) || !dec_is_exact(value)) {
    if (is_spared(r, r->trial))
      acq_rec_quality(r, "value_missing", row->kind == 'M' ? code : "", 1);
    else
      acq_rec_fail(r, -ERANGE, "%s is outside what can be", code);
    return;
  }
  if (row->kind == 'S') {
    char text[DEC_TEXT_MAX], sentence[256];
    dec_format(value, text);
    char *point = strchr(text, '.');
    if (point)
      *point = ','; /* a French sentence */
    snprintf(sentence, sizeof sentence, "%s : %s %s", row->label, text, strcmp(unit->ucum, "1") ? unit->ucum : "");
    size_t n = strlen(sentence);
    sentence[n - (sentence[n - 1] == ' ')] = 0;
    return acq_rec_statement(r, code, sentence);
  }
  if (is_full(r, r->measures, MEASURES_MAX, "too many measures"))
    return;
  const char *flag = measure_flag(row, value, unit);
  append(r, r->measures,
         json_pack("{s:s, s:o, s:s, s:s, s:i, s:i, s:s, s:o}", "code", row->code, "flags",
                   flag ? json_pack("[s]", flag) : json_array(), "label", row->label, "loinc", row->loinc, "mdc",
                   (int)row->mdc, "trial", (int)r->trial, "unit", unit->ucum, "value", dec_json(value)));
}

void acq_rec_modality(struct acq_record *r, enum acq_modality modality) {
  if (r->err)
    return;
  if (!acq_modality_name(modality) || !(r->driver->modalities & ACQ_MODALITY(modality)) ||
      (r->modality && r->modality != modality))
    return refuse(r, -EINVAL, "a modality that is not the driver's, or two of them");
  r->modality = modality;
}

/* What clocks that were compared may still differ by: instruments tell whole seconds. */
#define GRACE_US (5 * WALL_SECOND)
/* What those that were not may: then the nurse is asked. */
#define GRACE_UNCOMPARED_US (120 * WALL_SECOND)

/* Was it made while the acquisition ran? What has no time came live; bare bytes tell no time to compare with. */
static bool is_stray(const struct acq_record *r, const struct acq_trial *t) {
  const struct acq_capture *c = r->capture;
  if (!t->timed || c->raw)
    return false;
  uint32_t last = c->n_events ? c->events[c->n_events - 1].ms : 0;
  int64_t at = t->clock_us + t->slow_us, grace = t->compared ? GRACE_US : GRACE_UNCOMPARED_US;
  return at < acq_order_clock_us(&c->header.order, 0) - grace ||
         at > acq_order_clock_us(&c->header.order, last) + GRACE_UNCOMPARED_US; /* nobody has blown yet */
}

unsigned acq_rec_trial(struct acq_record *r, const struct acq_trial *trial) {
  if (r->err)
    return 0;
  r->trial = 0;
  if (!trial)
    return 0;
  if (r->n_trials == ACQ_TRIALS_MAX)
    refuse(r, -EPROTO, "more trials than a session has");
  else if ((unsigned)trial->phase > ACQ_POST ||
           (trial->timed && (trial->clock_us < 0 || trial->clock_us > WALL_MAX || trial->slow_us < -WALL_MAX ||
                             trial->slow_us > WALL_MAX)))
    refuse(r, -EINVAL, "a trial that cannot be");
  if (r->err)
    return 0;
  struct trial *t = &r->trials[r->n_trials];
  *t = (struct trial){.said = *trial, .stray = is_stray(r, trial)};
  if (trial->phase == ACQ_NO_PHASE)
    t->said.phase = r->capture->header.order.phase;
  r->trial = ++r->n_trials;
  if (trial->timed && !trial->compared && !t->stray && !r->capture->raw)
    acq_rec_quality(r, "reading_time_unverified", "", 1);
  return r->err ? 0 : r->trial;
}

static size_t channels_beside(const struct acq_record *r) {
  size_t n = 0;
  for (unsigned i = 0; i < r->n_channels; i++)
    n += is_spared(r, r->channels[i].trial) == is_spared(r, r->trial);
  return n;
}

unsigned acq_rec_channel(struct acq_record *r, const char *code, struct dec rate_hz, struct dec scale, bool derived) {
  const struct nomenclature *row = nomenclature_find(code);
  if (r->err)
    return 0;
  if (!row || row->kind != 'C') {
    refuse(r, -EINVAL, "a channel that the nomenclature does not list");
    return 0;
  }
  if (channels_beside(r) == RECORD_CHANNELS_MAX && is_spared(r, r->trial))
    return CHANNEL_LEFT_OUT;
  if (channels_beside(r) == RECORD_CHANNELS_MAX || rate_hz.mantissa < 0 || scale.mantissa <= 0 ||
      !dec_is_exact(rate_hz) || !dec_is_exact(scale)) {
    refuse(r, -EPROTO, "too many channels, or one without a rate or scale");
    return 0;
  }
  r->channels[r->n_channels] = (struct channel){
      .row = row,
      .rate = rate_hz,
      .scale = scale,
      .derived = derived,
      .trial = r->trial,
      .samples = BUF_INIT(RECORD_DATA_MAX),
      .gaps = BUF_INIT(RECORD_GAPS_MAX * sizeof(struct gap)),
  };
  return r->n_channels++;
}

static struct channel *channel_at(struct acq_record *r, unsigned channel) {
  if (channel == CHANNEL_LEFT_OUT)
    return NULL;
  if (!r->err && channel >= r->n_channels)
    refuse(r, -EINVAL, "no such channel");
  return r->err ? NULL : &r->channels[channel];
}

void acq_rec_samples(struct acq_record *r, unsigned channel, const int16_t *values, size_t n) {
  struct channel *c = channel_at(r, channel);
  for (size_t i = 0; c && i < n; i++)
    if (values[i] == ACQ_GAP)
      return refuse(r, -ERANGE, "a sample has the value of a missing one");
  if (c && buf_add(&c->samples, values, n * sizeof *values) < 0)
    refuse(r, c->samples.err, "more samples than a record holds");
}

void acq_rec_gap(struct acq_record *r, unsigned channel, size_t n) {
  struct channel *c = channel_at(r, channel);
  if (!c || !n)
    return;
  uint32_t first = (uint32_t)(c->samples.len / sizeof(int16_t));
  int16_t *at = n > RECORD_DATA_MAX / sizeof *at ? NULL : buf_extend(&c->samples, n * sizeof *at);
  if (!at)
    return refuse(r, c->samples.err ? c->samples.err : -EFBIG, "more samples than a record holds");
  for (size_t i = 0; i < n; i++)
    at[i] = ACQ_GAP;
  size_t n_gaps = c->gaps.len / sizeof(struct gap);
  struct gap *last = n_gaps ? (struct gap *)(void *)c->gaps.data + n_gaps - 1 : NULL;
  if (last && last->first + last->count == first)
    last->count += (uint32_t)n;
  else if (buf_add(&c->gaps, &(struct gap){first, (uint32_t)n}, sizeof(struct gap)) < 0)
    refuse(r, c->gaps.err == -EFBIG ? -EPROTO : c->gaps.err, "too many gaps to be a recording");
}

static void add_quality(struct acq_record *r, const char *code, const char *subject, uint32_t count, size_t most) {
  const struct quality *q = quality_find(code);
  if (r->err)
    return;
  if (!q || strlen(subject) >= ACQ_TEXT_MAX || !quality_subject_ok(subject) || count > INT32_MAX)
    return refuse(r, -EINVAL, "a quality item that the nomenclature does not list");
  size_t i;
  json_t *item;
  json_array_foreach(r->quality, i, item) {
    if (strcmp(json_text(item, "code"), code) || strcmp(json_text(item, "subject"), subject) ||
        json_integer_value(json_object_get(item, "trial")) != r->trial)
      continue;
    json_int_t sum = json_integer_value(json_object_get(item, "count")) + count;
    if (json_object_set_new(item, "count", json_integer(sum > INT32_MAX ? INT32_MAX : sum)) < 0)
      refuse(r, -ENOMEM, "no memory");
    return;
  }
  if (is_full(r, r->quality, most, "too many quality items to be a recording"))
    return;
  char text[512];
  quality_sentence(q, subject, text);
  append(r, r->quality,
         json_pack("{s:s, s:I, s:s, s:s, s:s, s:i}", "code", q->code, "count", (json_int_t)count, "severity",
                   q->severity, "subject", subject, "text", text, "trial", (int)r->trial));
}

void acq_rec_quality(struct acq_record *r, const char *code, const char *subject, uint32_t count) {
  add_quality(r, code, subject, count, QUALITY_MAX - QUALITY_OURS);
}

void acq_rec_statement(struct acq_record *r, const char *code, const char *text) {
  if (r->err)
    return;
  if (strlen(text) > STATEMENT_BYTES_MAX)
    return refuse(r, -EPROTO, "a longer statement than a record holds");
  if (is_full(r, r->statements, STATEMENTS_MAX, "more statements than a record holds"))
    return;
  if (strlen(code) >= ACQ_TEXT_MAX || !str_is_clean_utf8(code, strlen(code)) || !json_is_clean(text, strlen(text)))
    return refuse(r, -EINVAL, "a statement that is not clean UTF-8");
  append(r, r->statements, json_pack("{s:s, s:s, s:i}", "code", code, "text", text, "trial", (int)r->trial));
}

int acq_rec_done(struct acq_record *r) {
  return r->err;
}

int acq_rec_fail(struct acq_record *r, int err, const char *format, ...) {
  if (r->err)
    return r->err;
  va_list ap;
  va_start(ap, format);
  vsnprintf(r->reason, sizeof r->reason, format, ap);
  va_end(ap);
  return r->err = err;
}

static int builder_init(struct acq_record *r, const struct acq_driver *driver, const struct acq_capture *capture) {
  *r = (struct acq_record){.driver = driver,
                           .capture = capture,
                           .trials = calloc(ACQ_TRIALS_MAX, sizeof *r->trials),
                           .measures = json_array(),
                           .quality = json_array(),
                           .statements = json_array()};
  for (enum acq_modality m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++)
    if (driver->modalities == ACQ_MODALITY(m))
      r->modality = m;
  return r->trials && r->measures && r->quality && r->statements ? 0 : -ENOMEM;
}

static void builder_finish(struct acq_record *r) {
  for (unsigned i = 0; i < r->n_channels; i++) {
    buf_finish(&r->channels[i].samples);
    buf_finish(&r->channels[i].gaps);
  }
  free(r->trials);
  json_decref(r->measures);
  json_decref(r->quality);
  json_decref(r->statements);
}

/* A channel that cannot be: fails the record, unless it is somebody else's. */
static void unfit(struct acq_record *r, struct channel *c, int err, const char *why) {
  if (is_spared(r, c->trial))
    c->left_out = true;
  else
    refuse(r, err, why);
}

/* Every sample of a channel lies in its hard range. */
static void check_range(struct acq_record *r, struct channel *c) {
  const int16_t *v = (const int16_t *)(const void *)c->samples.data;
  int32_t low = 0, high = 0;
  for (size_t i = 0; i < c->samples.len / sizeof *v; i++) {
    low = v[i] < low && v[i] != ACQ_GAP ? v[i] : low;
    high = v[i] > high ? v[i] : high;
  }
  if (sample_cmp(c->scale, low, c->row->hard_low) < 0 || sample_cmp(c->scale, high, c->row->hard_high) > 0)
    unfit(r, c, -ERANGE, "a sample is outside what can be");
}

/* Which trials hold a measure or a channel, and whether any of that is this patient's. Returns how many trials of the
 * part do. */
static unsigned divide(struct acq_record *r, int part) {
  size_t i;
  json_t *item;
  for (i = 0; i < r->n_trials; i++)
    r->trials[i].measured = false;
  json_array_foreach(r->measures, i, item) {
    unsigned trial = (unsigned)json_integer_value(json_object_get(item, "trial"));
    if (trial)
      r->trials[trial - 1].measured = true;
  }
  for (i = 0; i < r->n_channels; i++)
    if (r->channels[i].trial && !r->channels[i].left_out)
      r->trials[r->channels[i].trial - 1].measured = true;
  unsigned n[WIRE_RECORDS] = {0};
  for (i = 0; i < r->n_trials; i++)
    n[r->trials[i].stray ? WIRE_STRAY : WIRE_OWN] += r->trials[i].measured;
  r->has_own = n[WIRE_OWN] || !n[WIRE_STRAY];
  return n[part];
}

/* Does what was made in this trial (0: in the session as a whole) go into that record? What is of the session is this
 * patient's, and goes aside only with all the rest. */
static bool belongs(const struct acq_record *r, unsigned trial, int part) {
  return (trial ? r->trials[trial - 1].stray : !r->has_own) == (part == WIRE_STRAY);
}

/* A conversation that went on to acquire() and not to release() was cut, whatever its last line says. */
static bool lacks_release(const struct acq_capture *capture) {
  struct acq_event e;
  bool acquiring = false;
  for (size_t i = 0; acq_capture_event(capture, i, &e); i++) {
    if (e.kind != ACQ_NOTE)
      continue;
    acquiring |= e.n == strlen("acquire") && !memcmp(e.bytes, "acquire", e.n);
    if (e.n == strlen("release") && !memcmp(e.bytes, "release", e.n))
      return false;
  }
  return acquiring;
}

/* What the capture itself says, which no driver may forget. */
static void check_capture(struct acq_record *r) {
  const struct acq_capture *capture = r->capture;
  r->trial = 0;
  if (capture->end != CAPTURE_OK || lacks_release(capture))
    add_quality(r, "incomplete", "", 1, QUALITY_MAX);
  for (unsigned i = 0; i < r->n_channels && r->modality == ACQ_ECG; i++) {
    if (!belongs(r, r->channels[i].trial, WIRE_OWN))
      continue; /* not what was ordered */
    struct dec got = {(int32_t)(r->channels[i].samples.len / sizeof(int16_t)), 0};
    if (sample_cmp(r->channels[i].rate, (int32_t)capture->header.order.seconds, got) > 0) {
      add_quality(r, "shorter_than_ordered", "", 1, QUALITY_MAX);
      break;
    }
  }
}

static size_t samples_of(const struct channel *c) {
  return c->samples.len / sizeof(int16_t);
}

/* A channel without a rate has one channel beside it that gives its instants. */
static void check_instants(struct acq_record *r) {
  for (unsigned i = 0; i < r->n_channels; i++) {
    struct channel *c = &r->channels[i];
    unsigned steps = 0;
    for (unsigned k = 0; k < r->n_channels; k++)
      steps += r->channels[k].trial == c->trial && !strcmp(r->channels[k].row->code, "time_step") &&
               samples_of(&r->channels[k]) == samples_of(c);
    if (c->rate.mantissa == 0 && steps != 1)
      unfit(r, c, -EPROTO, "a channel has neither a rate nor instants");
  }
}

static json_t *channel_json(const struct channel *c, size_t first) {
  json_t *gaps = json_array();
  const struct gap *g = (const struct gap *)(const void *)c->gaps.data;
  for (size_t i = 0; i < c->gaps.len / sizeof *g; i++)
    if (json_array_append_new(gaps, json_pack("[I, I]", (json_int_t)g[i].first, (json_int_t)g[i].count)) < 0) {
      json_decref(gaps);
      return NULL;
    }
  return json_pack("{s:s, s:b, s:I, s:o, s:s, s:i, s:o, s:I, s:o, s:i, s:s}", "code", c->row->code, "derived",
                   c->derived, "first", (json_int_t)first, "gaps", gaps, "label", c->row->label, "mdc",
                   (int)c->row->mdc, "rate", dec_json(c->rate), "samples", (json_int_t)samples_of(c), "scale",
                   dec_json(c->scale), "trial", (int)c->trial, "unit", c->row->unit);
}

static json_t *trial_json(const struct acq_record *r, unsigned number) {
  const struct acq_trial *t = &r->trials[number - 1].said;
  char device[WALL_TEXT_MAX], host[WALL_TEXT_MAX];
  const struct acq_order *order = &r->capture->header.order;
  int64_t host_us = t->clock_us + t->slow_us - order->offset_minutes * 60 * WALL_SECOND;
  bool hosted = t->timed && !r->capture->raw && host_us >= WALL_MIN && host_us <= WALL_MAX;
  wall_format((struct wall){t->clock_us, 0}, device);
  device[RECORD_CLOCK_TEXT] =
      0; /* to the millisecond, without an offset: it is not known where that clock thinks it is */
  if (hosted)
    wall_format((struct wall){host_us, order->offset_minutes}, host);
  return json_pack("{s:s?, s:i, s:s?, s:s?}", "device_time", t->timed ? device : NULL, "number", (int)number, "phase",
                   acq_phase_name(t->phase), "time", hosted ? host : NULL);
}

/* The items of the list that belong to the part. */
static json_t *items_of(const struct acq_record *r, const json_t *list, int part) {
  json_t *own = json_array();
  size_t i;
  json_t *item;
  json_array_foreach(list, i, item) {
    if (belongs(r, (unsigned)json_integer_value(json_object_get(item, "trial")), part) &&
        json_array_append(own, item) < 0) {
      json_decref(own);
      return NULL;
    }
  }
  return own;
}

/* The channels and samples of the part. */
static int channels_of(const struct acq_record *r, int part, json_t *channels, struct buf *data) {
  for (unsigned i = 0; i < r->n_channels; i++) {
    const struct channel *c = &r->channels[i];
    if (c->left_out || !belongs(r, c->trial, part) || json_array_size(channels) == RECORD_CHANNELS_MAX)
      continue;
    if (json_array_append_new(channels, channel_json(c, data->len / sizeof(int16_t))) < 0)
      return -ENOMEM;
    if (buf_add(data, c->samples.data, c->samples.len) < 0)
      return data->err;
  }
  return 0;
}

/* The daemon judges all blows of a study at once, between two requests: they are bounded. */
static size_t json_max(enum acq_modality m) {
  return m == ACQ_SPIROMETRY ? RECORD_JSON_MAX / 8 : RECORD_JSON_MAX;
}

static size_t data_max(enum acq_modality m) {
  return m == ACQ_SPIROMETRY ? RECORD_DATA_MAX / 8 : RECORD_DATA_MAX;
}

static int encode(struct acq_record *r, int part, struct record_result *ret) {
  _buf_cleanup_ struct buf data = BUF_INIT(RECORD_DATA_MAX);
  _json_cleanup_ json_t *channels = json_array(), *trials = json_array(), *measures = items_of(r, r->measures, part),
                        *quality = items_of(r, r->quality, part), *statements = items_of(r, r->statements, part);
  const struct acq_capture *capture = r->capture;
  for (unsigned n = 1; n <= r->n_trials; n++)
    if (belongs(r, n, part) && json_array_append_new(trials, trial_json(r, n)) < 0)
      return -ENOMEM;
  if (!measures || !quality || !statements)
    return -ENOMEM;
  int err = channels_of(r, part, channels, &data);
  if (err < 0)
    return err;
  if (!json_array_size(channels) && !json_array_size(measures))
    return 0;
  char sha[HASH_TEXT], start[WALL_TEXT_MAX];
  hash_sha256_text(data.data, data.len, sha);
  wall_format((struct wall){capture->header.order.started_us, capture->header.order.offset_minutes}, start);
  const struct acq_identity *id = &capture->identity;
  _json_cleanup_ json_t *record = json_pack(
      "{s:{s:O, s:{s:s, s:i, s:s, s:I}, s:O, s:O}, s:b, s:[], s:{s:s, s:s, s:s, s:s, s:s}, s:{s:s, s:s}, s:s, s:s, s:s,"
      " s:O, s:s, s:o, s:O, s:b}",
      "acquired", "channels", channels, "data", "encoding", "int16-le", "gap", ACQ_GAP, "sha256", sha, "values",
      (json_int_t)(data.len / sizeof(int16_t)), "measures", measures, "trials", trials, "complete",
      capture->end == CAPTURE_OK, "derived", "device", "firmware", id->firmware, "make", id->make, "model", id->model,
      "sensor", id->sensor, "serial", id->serial, "driver", "name", r->driver->name, "version", r->driver->version,
      "end", capture->raw ? "none" : capture_end_name(capture->end), "integrity",
      acq_integrity_name(r->driver->integrity), "modality", acq_modality_name(r->modality), "quality", quality,
      "schema", RECORD_SCHEMA, "started", capture->raw ? json_null() : json_string(start), "statements", statements,
      "stray", part == WIRE_STRAY);
  size_t bytes;
  char *json = record ? json_canonical(record, &bytes) : NULL;
  if (!json)
    return -ENOMEM;
  if (bytes > json_max(r->modality) || data.len > data_max(r->modality)) {
    free(json);
    return -EFBIG;
  }
  *ret = (struct record_result){.json = json, .json_bytes = bytes, .data_values = data.len / sizeof(int16_t)};
  size_t ignored;
  ret->data = (int16_t *)(void *)buf_take(&data, &ignored);
  return 0;
}

/* Both records; that of the session says so when the instrument sent something else besides. A trial without a
 * reading makes no record; nor does the session when all that was measured in trials is stray. */
static int encode_all(struct acq_record *r, struct record_result ret[static WIRE_RECORDS]) {
  unsigned n_own = divide(r, WIRE_OWN), n_stray = divide(r, WIRE_STRAY);
  if (n_own && n_stray)
    add_quality(r, "readings_stray", "", n_stray, QUALITY_MAX);
  int err = r->err;
  if (err == 0 && r->has_own)
    err = encode(r, WIRE_OWN, &ret[WIRE_OWN]);
  if (err == 0 && n_stray)
    err = encode(r, WIRE_STRAY, &ret[WIRE_STRAY]);
  if (err == -EFBIG && ret[WIRE_OWN].json) /* what others left behind is too much for a record: the capture keeps it */
    err = 0;
  if (err < 0)
    refuse(r, err, err == -EFBIG ? "more than a record holds" : "no memory");
  else if (!ret[WIRE_OWN].json && !ret[WIRE_STRAY].json)
    refuse(r, -ENODATA, "the capture holds no reading");
  return r->err;
}

int record_decode(const struct acq_driver *driver, const struct acq_capture *capture,
                  struct record_result ret[static WIRE_RECORDS], char reason[static 256]) {
  struct record_result made[WIRE_RECORDS] = {0};
  struct acq_record *r = malloc(sizeof *r);
  int err = r ? builder_init(r, driver, capture) : -ENOMEM;
  snprintf(reason, 256, "%s", err < 0 ? "no memory" : "");
  if (err == 0) {
    int said = driver->decode(capture, r);
    if (said < 0)
      refuse(r, said, "the driver refuses the capture");
    if (!r->err && !r->modality)
      refuse(r, -EINVAL, "the driver does not say what the reading is");
    divide(r, WIRE_OWN);
    if (!r->err)
      check_capture(r);
    if (!r->err)
      check_instants(r);
    for (unsigned i = 0; i < r->n_channels && !r->err; i++)
      check_range(r, &r->channels[i]);
    err = r->err ? r->err : encode_all(r, made);
    snprintf(reason, 256, "%s", r->reason);
  }
  if (r)
    builder_finish(r);
  free(r);
  for (int i = 0; i < WIRE_RECORDS; i++)
    if (err < 0)
      record_result_finish(&made[i]);
    else
      ret[i] = made[i];
  return err;
}

void record_result_finish(struct record_result *r) {
  free(r->json);
  free(r->data);
  *r = (struct record_result){0};
}

/* ---- reading back: the worker that wrote this may have been taken over by a hostile device ----------------------- */

static int no(char reason[static 256], const char *why) {
  snprintf(reason, 256, "%s", why);
  return -EPROTO;
}

/* The object has exactly these members ("a b c"). */
static bool has_only(const json_t *object, const char *keys) {
  if (!json_is_object(object))
    return false;
  size_t n = 0;
  for (const char *p = keys; *p;) {
    char key[32];
    size_t width = strcspn(p, " ");
    if (width >= sizeof key)
      return false;
    memcpy(key, p, width);
    key[width] = 0;
    if (!json_object_get(object, key))
      return false;
    n++;
    p += width + (p[width] == ' ');
  }
  return json_object_size(object) == n;
}

static bool same_text(const json_t *object, const char *key, const char *text) {
  const char *value = json_text(object, key);
  return value && !strcmp(value, text);
}

static bool short_text(const json_t *object, const char *key, size_t max) {
  const json_t *value = json_object_get(object, key);
  return json_is_string(value) && json_string_length(value) < max &&
         str_is_clean_utf8(json_string_value(value), json_string_length(value));
}

static bool is_dec(const json_t *object, const char *key, struct dec *ret) {
  const char *text = json_text(object, key);
  char again[DEC_TEXT_MAX];
  if (!text || dec_parse(text, ret) < 0)
    return false;
  dec_format(*ret, again);
  return !strcmp(text, again);
}

static bool same_row(const json_t *object, const struct nomenclature *row) {
  int64_t mdc;
  return same_text(object, "label", row->label) && json_int(object, "mdc", 0, INT32_MAX, &mdc) == 0 && mdc == row->mdc;
}

/* Its trial is one of the list, or 0. */
static bool has_trial(const json_t *object, const json_t *trials) {
  int64_t number;
  size_t i;
  json_t *trial;
  if (json_int(object, "trial", 0, ACQ_TRIALS_MAX, &number) < 0)
    return false;
  if (number == 0)
    return true;
  json_array_foreach(trials, i, trial) {
    if (json_integer_value(json_object_get(trial, "number")) == number)
      return true;
  }
  return false;
}

/* "2013-05-28T10:44:18.000" */
static bool is_clock(const char *text) {
  char whole[WALL_TEXT_MAX], again[WALL_TEXT_MAX];
  struct wall w;
  if (strlen(text) != RECORD_CLOCK_TEXT)
    return false;
  snprintf(whole, sizeof whole, "%s000+00:00", text);
  if (wall_parse(whole, &w) < 0)
    return false;
  wall_format(w, again);
  return !strcmp(whole, again);
}

/* A time in its canonical form. */
static bool is_time(const char *text) {
  struct wall w;
  char again[WALL_TEXT_MAX];
  if (wall_parse(text, &w) < 0)
    return false;
  wall_format(w, again);
  return !strcmp(again, text);
}

static int read_trials(const json_t *trials, char reason[static 256]) {
  int64_t number, last = 0;
  size_t i;
  json_t *t;
  if (!json_is_array(trials) || json_array_size(trials) > ACQ_TRIALS_MAX)
    return no(reason, "the trials are not a list");
  json_array_foreach(trials, i, t) {
    const json_t *phase = json_object_get(t, "phase"), *clock = json_object_get(t, "device_time"),
                 *time = json_object_get(t, "time");
    if (!has_only(t, "device_time number phase time") || json_int(t, "number", last + 1, ACQ_TRIALS_MAX, &number) < 0 ||
        !(json_is_null(phase) || (json_is_string(phase) && acq_phase_find(json_string_value(phase)))) ||
        !(json_is_null(clock) || (json_is_string(clock) && is_clock(json_string_value(clock)))) ||
        !(json_is_null(time) || (json_is_string(time) && json_is_string(clock) && is_time(json_string_value(time)))))
      return no(reason, "a trial is not in the form of a trial");
    last = number;
  }
  return 0;
}

static int read_measure(const json_t *m, const json_t *trials, char reason[static 256]) {
  const char *code = json_text(m, "code"), *unit_text = json_text(m, "unit");
  const struct nomenclature *row = code ? nomenclature_find(code) : NULL;
  const struct unit *unit = unit_text ? unit_find(unit_text) : NULL, *as = unit;
  struct dec value, again;
  if (!has_only(m, "code flags label loinc mdc trial unit value") || !row || row->kind != 'M' || !same_row(m, row) ||
      !has_trial(m, trials) || !same_text(m, "loinc", row->loinc) || !unit || !unit_fits(unit, unit_find(row->unit)) ||
      !is_dec(m, "value", &value) || (again = value, measure_normalise(row, &again, &as), as != unit) ||
      !measure_is_possible(row, value, unit))
    return no(reason, "a measure is not in the form of a measure");
  const char *flag = measure_flag(row, value, unit);
  const json_t *flags = json_object_get(m, "flags");
  const char *said = json_string_value(json_array_get(flags, 0));
  if (!json_is_array(flags) || json_array_size(flags) != (flag ? 1 : 0) || (flag && (!said || strcmp(said, flag))))
    return no(reason, "a measure's flags do not follow from its value");
  return 0;
}

/* A channel without a rate has one channel beside it that gives its instants. */
static bool has_instants(const json_t *c, const json_t *channels) {
  size_t i, steps = 0;
  json_t *other;
  json_array_foreach(channels, i, other) {
    steps += same_text(other, "code", "time_step") &&
             json_equal(json_object_get(c, "trial"), json_object_get(other, "trial")) &&
             json_equal(json_object_get(c, "samples"), json_object_get(other, "samples"));
  }
  return steps == 1;
}

static int read_channel(const json_t *c, const json_t *acquired, const int16_t *data, int64_t *next,
                        char reason[static 256]) {
  int64_t first, samples;
  struct dec rate, scale;
  const char *code = json_text(c, "code");
  const struct nomenclature *row = code ? nomenclature_find(code) : NULL;
  if (!has_only(c, "code derived first gaps label mdc rate samples scale trial unit") || !row || row->kind != 'C' ||
      !same_row(c, row) || !same_text(c, "unit", row->unit) || !has_trial(c, json_object_get(acquired, "trials")) ||
      !json_is_boolean(json_object_get(c, "derived")) || !is_dec(c, "rate", &rate) || !is_dec(c, "scale", &scale) ||
      rate.mantissa < 0 || scale.mantissa <= 0 ||
      (rate.mantissa == 0 && !has_instants(c, json_object_get(acquired, "channels"))) ||
      json_int(c, "first", *next, *next, &first) < 0 ||
      json_int(c, "samples", 0, RECORD_DATA_MAX / sizeof(int16_t), &samples) < 0)
    return no(reason, "a channel is not in the form of a channel");
  *next += samples;
  if (!data) /* the caller checks the totals before it looks at samples */
    return 0;
  int64_t at = 0, gap_end = 0;
  size_t i;
  json_t *gap;
  const json_t *gaps = json_object_get(c, "gaps");
  int32_t low = 0, high = 0;
  if (!json_is_array(gaps) || json_array_size(gaps) > RECORD_GAPS_MAX)
    return no(reason, "a channel's gaps are not a list");
  json_array_foreach(gaps, i, gap) {
    const json_t *a = json_array_get(gap, 0), *b = json_array_get(gap, 1);
    if (json_array_size(gap) != 2 || !json_is_integer(a) || !json_is_integer(b) ||
        json_integer_value(a) < gap_end + (i > 0) || json_integer_value(b) < 1 || json_integer_value(b) > samples ||
        json_integer_value(a) > samples - json_integer_value(b))
      return no(reason, "a gap lies outside its channel");
    for (; at < json_integer_value(a); at++) {
      low = data[first + at] < low ? data[first + at] : low;
      high = data[first + at] > high ? data[first + at] : high;
    }
    gap_end = json_integer_value(a) + json_integer_value(b);
    for (; at < gap_end; at++)
      if (data[first + at] != ACQ_GAP)
        return no(reason, "a gap holds samples");
  }
  for (; at < samples; at++) {
    low = data[first + at] < low ? data[first + at] : low;
    high = data[first + at] > high ? data[first + at] : high;
  }
  if (low == ACQ_GAP)
    return no(reason, "a missing sample is not listed as a gap");
  if (sample_cmp(scale, low, row->hard_low) < 0 || sample_cmp(scale, high, row->hard_high) > 0)
    return no(reason, "a sample is outside what can be");
  return 0;
}

static int read_acquired(const json_t *acquired, const void *data, size_t data_bytes, char reason[static 256]) {
  const json_t *channels = json_object_get(acquired, "channels"), *measures = json_object_get(acquired, "measures"),
               *about = json_object_get(acquired, "data"), *trials = json_object_get(acquired, "trials");
  char sha[HASH_TEXT];
  int64_t values, total = 0, gap;
  size_t i;
  json_t *item;
  if (!has_only(acquired, "channels data measures trials") || !json_is_array(channels) || !json_is_array(measures) ||
      json_array_size(channels) > RECORD_CHANNELS_MAX || json_array_size(measures) > MEASURES_MAX ||
      !has_only(about, "encoding gap sha256 values") || !same_text(about, "encoding", "int16-le") ||
      json_int(about, "gap", ACQ_GAP, ACQ_GAP, &gap) < 0 ||
      json_int(about, "values", 0, RECORD_DATA_MAX / sizeof(int16_t), &values) < 0)
    return no(reason, "the acquired part is not in the form of a record");
  if (read_trials(trials, reason) < 0)
    return -EPROTO;
  hash_sha256_text(data, data_bytes, sha);
  if ((size_t)values * sizeof(int16_t) != data_bytes || !same_text(about, "sha256", sha))
    return no(reason, "the samples are not those that the record names");
  json_array_foreach(channels, i, item) {
    int r = read_channel(item, acquired, NULL, &total, reason);
    if (r < 0)
      return r;
  }
  if (total != values)
    return no(reason, "the channels do not fill the samples");
  static const int16_t none;
  total = 0;
  json_array_foreach(channels, i, item) {
    int r = read_channel(item, acquired, data_bytes ? data : &none, &total, reason);
    if (r < 0)
      return r;
  }
  json_array_foreach(measures, i, item) {
    int r = read_measure(item, trials, reason);
    if (r < 0)
      return r;
  }
  return json_array_size(channels) + json_array_size(measures) ? 0 : no(reason, "the record holds no reading");
}

/* The nurse reads these: only sentences of the nomenclature pass. */
static int read_quality(const json_t *quality, const json_t *trials, char reason[static 256]) {
  size_t i;
  json_t *item;
  int64_t count;
  char text[512];
  if (!json_is_array(quality) || json_array_size(quality) > QUALITY_MAX)
    return no(reason, "quality is not a list");
  json_array_foreach(quality, i, item) {
    const char *code = json_text(item, "code");
    const struct quality *q = code ? quality_find(code) : NULL;
    if (!q || !has_only(item, "code count severity subject text trial") || !has_trial(item, trials) ||
        !short_text(item, "subject", ACQ_TEXT_MAX) || !quality_subject_ok(json_text(item, "subject")) ||
        json_int(item, "count", 0, INT32_MAX, &count) < 0 || !same_text(item, "severity", q->severity))
      return no(reason, "a quality item is not in its form");
    quality_sentence(q, json_text(item, "subject"), text);
    if (!same_text(item, "text", text))
      return no(reason, "a quality item's sentence is not the nomenclature's");
  }
  return 0;
}

static int read_statements(const json_t *statements, const json_t *trials, char reason[static 256]) {
  size_t i;
  json_t *item;
  if (!json_is_array(statements) || json_array_size(statements) > STATEMENTS_MAX)
    return no(reason, "statements are not a list");
  json_array_foreach(statements, i, item) {
    if (!has_only(item, "code text trial") || !has_trial(item, trials) || !short_text(item, "code", ACQ_TEXT_MAX) ||
        !json_is_string(json_object_get(item, "text")) ||
        json_string_length(json_object_get(item, "text")) > STATEMENT_BYTES_MAX)
      return no(reason, "a statement is not in its form");
  }
  return 0;
}

static bool is_one_of(const json_t *object, const char *key, const char *(*name)(int), int last) {
  for (int i = 1; i <= last; i++)
    if (same_text(object, key, name(i)))
      return true;
  return false;
}

static const char *modality_at(int i) {
  return acq_modality_name((enum acq_modality)i);
}

static const char *integrity_at(int i) {
  return acq_integrity_name((enum acq_integrity)i);
}

static const char *end_at(int i) {
  return capture_end_name((enum capture_end)(i - 1));
}

static int read_form(const json_t *r, char reason[static 256]) {
  const json_t *device = json_object_get(r, "device"), *driver = json_object_get(r, "driver"),
               *started = json_object_get(r, "started"), *complete = json_object_get(r, "complete");
  if (!has_only(r, "acquired complete derived device driver end integrity modality quality schema started statements"
                   " stray") ||
      !same_text(r, "schema", RECORD_SCHEMA) || !json_is_boolean(json_object_get(r, "stray")) ||
      !json_is_array(json_object_get(r, "derived")) || json_array_size(json_object_get(r, "derived")) ||
      !is_one_of(r, "modality", modality_at, ACQ_MEASUREMENT) || !is_one_of(r, "integrity", integrity_at, ACQ_CRC32) ||
      !is_one_of(r, "end", end_at, CAPTURE_CRASH + 1) || !json_is_boolean(complete) ||
      !has_only(device, "firmware make model sensor serial") || !short_text(device, "sensor", ACQ_TEXT_MAX) ||
      !short_text(device, "firmware", ACQ_TEXT_MAX) || !short_text(device, "make", ACQ_TEXT_MAX) ||
      !short_text(device, "model", ACQ_TEXT_MAX) || !short_text(device, "serial", ACQ_TEXT_MAX) ||
      !has_only(driver, "name version") || !short_text(driver, "name", ACQ_TEXT_MAX) ||
      !short_text(driver, "version", ACQ_TEXT_MAX))
    return no(reason, "not in the form of a record");
  if (json_is_null(started))
    return same_text(r, "end", "none") && json_is_true(complete) ? 0 : no(reason, "a record has no start");
  if (!json_is_string(started) || !is_time(json_string_value(started)))
    return no(reason, "the start is not a time in its canonical form");
  return json_is_true(complete) == same_text(r, "end", "ok") ? 0 : no(reason, "complete contradicts the end");
}

int record_read(const char *json, size_t json_bytes, const void *data, size_t data_bytes, json_t **ret,
                char reason[static 256]) {
  if (json_bytes > RECORD_JSON_MAX || data_bytes > RECORD_DATA_MAX || data_bytes % sizeof(int16_t))
    return no(reason, "larger than a record");
  if ((uintptr_t)data % sizeof(int16_t))
    return no(reason, "the samples are not aligned");
  _json_cleanup_ json_t *r = NULL;
  int err = json_read(json, json_bytes, &r, reason);
  if (err == 0)
    err = read_form(r, reason);
  if (err == 0) {
    enum acq_modality m = acq_modality_find(json_text(r, "modality"));
    if (json_bytes > json_max(m) || data_bytes > data_max(m))
      err = no(reason, "larger than a record of its kind");
  }
  if (err == 0)
    err = read_acquired(json_object_get(r, "acquired"), data, data_bytes, reason);
  if (err == 0)
    err =
        read_quality(json_object_get(r, "quality"), json_object_get(json_object_get(r, "acquired"), "trials"), reason);
  if (err == 0)
    err = read_statements(json_object_get(r, "statements"), json_object_get(json_object_get(r, "acquired"), "trials"),
                          reason);
  if (err < 0)
    return err;
  size_t again_bytes;
  char *again = json_canonical(r, &again_bytes);
  bool same = again && again_bytes == json_bytes && !memcmp(again, json, json_bytes);
  if (!again)
    snprintf(reason, 256, "no memory");
  err = !again ? -ENOMEM : same ? 0 : no(reason, "not in canonical form");
  free(again);
  if (err < 0)
    return err;
  *ret = json_incref(r);
  return 0;
}

bool record_is_clean(const json_t *record) {
  size_t i;
  json_t *item;
  if (!json_is_true(json_object_get(record, "complete")))
    return false;
  json_array_foreach(json_object_get(record, "quality"), i, item) {
    if (!same_text(item, "severity", "info"))
      return false;
  }
  json_array_foreach(json_object_get(json_object_get(record, "acquired"), "measures"), i, item) {
    if (json_array_size(json_object_get(item, "flags")))
      return false;
  }
  return true;
}
