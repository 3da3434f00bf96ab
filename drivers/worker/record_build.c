#include "record_build.h"

#include "hash.h"
#include "nomenclature.h"
#include "picture_judge.h"
#include "record_form.h"
#include "str.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define QUALITY_OURS 4            /* of them: incomplete, shorter_than_ordered, readings_stray, subject_unknown */
#define CHANNEL_LEFT_OUT UINT_MAX /* the index of a channel that is not kept */

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

struct picture_item {
  const struct capture_blob *blob;
  unsigned trial, number; /* in its record, from 1 */
  char name[SOURCE_BYTES_MAX];
  char laterality;   /* 'L', 'R', 0 */
  bool contradicted; /* both were said */
  struct picture structure;
  bool judged;
  struct picture_judgement judgement;
  struct picture_preview preview; /* owned; bytes NULL when there is none */
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
  bool unordered; /* a file that came without an order: nothing of it is anybody's yet */
  struct acq_identity instrument;
  struct acq_subject subject;
  bool has_instrument, has_subject;
  struct trial *trials;     /* owned; number i + 1 */
  bool has_own;             /* in the end: something is this patient's */
  unsigned n_trials, trial; /* trial: what is being added to, 0 = the session */
  struct channel channels[WIRE_RECORDS * RECORD_CHANNELS_MAX];
  unsigned n_channels;
  struct picture_item pictures[WIRE_RECORDS * ACQ_PICTURES_MAX];
  unsigned n_pictures;
  struct picture_item *shown; /* that which the last acq_rec_picture() was about; NULL: none, or it is not kept */
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
 * stays in the capture. Where there is no patient yet there is nothing to spare. */
static bool is_spared(const struct acq_record *r, unsigned trial) {
  return !r->unordered && trial && r->trials[trial - 1].stray;
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
  if (r->unordered)
    return true;
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

/* Bare bytes are a developer's: they may be those of a file. */
static bool is_file(const struct acq_record *r) {
  return r->capture->header.bus == ACQ_FILE || r->capture->raw;
}

static bool is_text(const char *text, size_t size) {
  size_t n = strnlen(text, size);
  return n < size && json_is_clean(text, n) && str_is_clean_utf8(text, n);
}

void acq_rec_instrument(struct acq_record *r, const struct acq_identity *i) {
  if (r->err)
    return;
  if (r->has_instrument || !is_file(r) || !is_text(i->make, sizeof i->make) || !is_text(i->model, sizeof i->model) ||
      !is_text(i->serial, sizeof i->serial) || !is_text(i->firmware, sizeof i->firmware) ||
      !is_text(i->sensor, sizeof i->sensor))
    return refuse(r, -EINVAL, "an instrument that cannot be");
  r->instrument = *i;
  r->has_instrument = true;
}

void acq_rec_subject(struct acq_record *r, const struct acq_subject *s) {
  if (r->err)
    return;
  if (r->has_subject || !is_text(s->family, sizeof s->family) || !is_text(s->given, sizeof s->given) ||
      !is_text(s->id, sizeof s->id) || !is_text(s->birth_date, sizeof s->birth_date) ||
      (s->birth_date[0] && !wall_is_date(s->birth_date)) || (s->sex && s->sex != 'F' && s->sex != 'M'))
    return refuse(r, -EINVAL, "a subject that cannot be");
  r->subject = *s;
  r->has_subject = true;
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

#define BLOCK 64u /* samples; a count known beforehand lets the compiler look at many at once */

static bool has_gap(const int16_t *v, size_t n) {
  bool has = false;
  size_t i = 0;
  for (; n - i >= BLOCK && !has; i += BLOCK) {
    uint16_t any = 0;
    for (size_t k = 0; k < BLOCK; k++)
      any = (uint16_t)(any | (uint16_t) - (v[i + k] == ACQ_GAP));
    has = any;
  }
  for (; i < n && !has; i++)
    has = v[i] == ACQ_GAP;
  return has;
}

void acq_rec_samples(struct acq_record *r, unsigned channel, const int16_t *values, size_t n) {
  struct channel *c = channel_at(r, channel);
  if (c && has_gap(values, n))
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

/* ---- limb leads ---- */

/* The channel of this lead in the trial that is being added to, measured; NULL when there is none. */
static const struct channel *measured_lead(const struct acq_record *r, const char *code) {
  for (unsigned i = 0; i < r->n_channels; i++)
    if (r->channels[i].trial == r->trial && !r->channels[i].derived && !strcmp(r->channels[i].row->code, code))
      return &r->channels[i];
  return NULL;
}

/* Is it there, measured or computed by the instrument? */
static bool has_lead(const struct acq_record *r, const char *code) {
  for (unsigned i = 0; i < r->n_channels; i++)
    if (r->channels[i].trial == r->trial && !strcmp(r->channels[i].row->code, code))
      return true;
  return false;
}

static bool goes_with(const struct channel *a, const struct channel *b) {
  return a && b && dec_cmp(a->rate, b->rate) == 0 && dec_cmp(a->scale, b->scale) == 0 &&
         a->samples.len == b->samples.len;
}

#define DERIVED_RUN 256u /* samples that are added at a time */

/* a x A + b x B, in steps of `scale`; none of it where one value does not fit. */
static void derive(struct acq_record *r, const char *code, struct dec scale, unsigned first, int a, unsigned second,
                   int b) {
  const size_t n = r->channels[first].samples.len / sizeof(int16_t);
  const int16_t *x = (const int16_t *)(const void *)r->channels[first].samples.data;
  const int16_t *y = (const int16_t *)(const void *)r->channels[second].samples.data;
  for (size_t i = 0; i < n; i++) {
    int32_t v = a * x[i] + b * y[i];
    if (x[i] != ACQ_GAP && y[i] != ACQ_GAP && (v <= INT16_MIN || v > INT16_MAX))
      return;
  }
  unsigned channel = acq_rec_channel(r, code, r->channels[first].rate, scale, true);
  for (size_t i = 0, run; i < n && !r->err; i += run) {
    const bool gap = x[i] == ACQ_GAP || y[i] == ACQ_GAP;
    int16_t values[DERIVED_RUN];
    for (run = 0; run < DERIVED_RUN && i + run < n; run++) {
      const int16_t xi = x[i + run], yi = y[i + run];
      if ((xi == ACQ_GAP || yi == ACQ_GAP) != gap)
        break;
      values[run] = (int16_t)(a * xi + b * yi);
    }
    if (gap)
      acq_rec_gap(r, channel, run);
    else
      acq_rec_samples(r, channel, values, run);
  }
}

/* Half of it, exactly; false where that has more digits than a decimal holds. */
static bool halve(struct dec d, struct dec *ret) {
  for (; d.mantissa > INT32_MAX / 5 && d.mantissa % 10 == 0; d.mantissa /= 10)
    d.exponent++;
  if (d.exponent <= DEC_EXP_MIN || dec_mul(d, 5, ret) < 0)
    return false;
  ret->exponent--;
  return dec_is_exact(*ret);
}

void acq_rec_limb_leads(struct acq_record *r) {
  static const struct {
    const char *code;
    int first[2], second[2]; /* factors of I and II; of II and III */
    bool half;
  } leads[] = {{"lead_i", {1, 0}, {1, -1}, false},
               {"lead_iii", {-1, 1}, {0, 1}, false},
               {"lead_avr", {-1, -1}, {-2, 1}, true},
               {"lead_avl", {2, -1}, {1, -2}, true},
               {"lead_avf", {-1, 2}, {1, 1}, true}};
  if (r->err)
    return;
  const struct channel *one = measured_lead(r, "lead_i"), *two = measured_lead(r, "lead_ii"),
                       *three = measured_lead(r, "lead_iii");
  const bool from_one = goes_with(one, two);
  if (!from_one && !goes_with(two, three))
    return;
  struct dec half;
  const bool halves = halve(from_one ? one->scale : two->scale, &half);
  const unsigned a = (unsigned)((from_one ? one : two) - r->channels),
                 b = (unsigned)((from_one ? two : three) - r->channels);
  for (size_t i = 0; i < sizeof leads / sizeof *leads; i++) {
    const int *f = from_one ? leads[i].first : leads[i].second;
    if (!has_lead(r, leads[i].code) && (halves || !leads[i].half))
      derive(r, leads[i].code, leads[i].half ? half : r->channels[a].scale, a, f[0], b, f[1]);
  }
}

static void add_quality(struct acq_record *r, const char *code, const char *subject, uint32_t count, size_t most);

/* What can be said of a picture without being a reader. */
static void judge_picture(struct acq_record *r, struct picture_item *p, const uint8_t *bytes) {
  const struct picture *s = &p->structure;
  char subject[16];
  snprintf(subject, sizeof subject, "%u", p->number);
  picture_read(bytes, p->blob->n, &p->structure);
  int err = picture_judge(bytes, p->blob->n, s, &p->judgement, &p->preview);
  p->judged = err == 0;
  if (err == -ENOMEM)
    return refuse(r, err, "no memory");
  if (p->judged && p->preview.n > RECORD_PREVIEW_MAX) {
    free(p->preview.bytes);
    p->preview = (struct picture_preview){0};
  }
  if (!s->whole || err == -EBADMSG || (p->judged && p->judgement.warnings))
    acq_rec_quality(r, "picture_damaged", subject, 1);
  else if (s->format == PICTURE_UNKNOWN || s->bits != 8 || (s->components != 1 && s->components != 3))
    acq_rec_quality(r, "picture_format", subject, 1);
  if (!p->judged)
    return acq_rec_quality(r, "picture_not_judged", subject, 1);
  if (p->judgement.is_dark)
    acq_rec_quality(r, "picture_dark", subject, 1);
  if (p->judgement.is_bright)
    acq_rec_quality(r, "picture_bright", subject, 1);
  if (p->judgement.is_blurred && !p->judgement.is_dark && !p->judgement.is_bright) /* of those nothing is sharp */
    acq_rec_quality(r, "picture_blurred", subject, 1);
}

/* However often, it is one item beside the picture that was kept: no camera fills a record by repeating itself. */
static void repeat_picture(struct acq_record *r, struct picture_item *kept) {
  const unsigned trial = r->trial;
  char subject[16];
  r->shown = kept;
  snprintf(subject, sizeof subject, "%u", kept->number);
  r->trial = kept->trial;
  acq_rec_quality(r, "picture_repeated", subject, 1);
  r->trial = trial;
}

void acq_rec_picture(struct acq_record *r, size_t i, const char *name) {
  const struct acq_capture *c = r->capture;
  const struct capture_blob *blob = NULL;
  if (r->err)
    return;
  for (size_t b = 0; b < c->n_blobs && !blob; b++)
    if (c->blobs[b].event == i && c->events[i].kind == ACQ_BLOB_WHOLE)
      blob = &c->blobs[b];
  if (!blob)
    return refuse(r, -EINVAL, "a picture that is no blob of the capture");
  const bool spared = is_spared(r, r->trial);
  unsigned number = 1;
  r->shown = NULL;
  for (unsigned k = 0; k < r->n_pictures; k++) {
    struct picture_item *other = &r->pictures[k];
    if (is_spared(r, other->trial) != spared)
      continue;
    if (!strcmp(other->blob->sha256, blob->sha256))
      return repeat_picture(r, other);
    number++;
  }
  if (number > ACQ_PICTURES_MAX) {
    if (!spared)
      refuse(r, -EPROTO, "more pictures than a record holds");
    return;
  }
  struct picture_item *p = r->shown = &r->pictures[r->n_pictures++];
  *p = (struct picture_item){.blob = blob, .trial = r->trial, .number = number};
  size_t n = strlen(name);
  if (n < sizeof p->name && json_is_clean(name, n) && str_is_clean_utf8(name, n))
    memcpy(p->name, name, n + 1);
  judge_picture(r, p, c->blob_bytes + blob->at);
}

void acq_rec_laterality(struct acq_record *r, char laterality) {
  if (r->err)
    return;
  if (!r->n_pictures || (laterality != 'L' && laterality != 'R'))
    return refuse(r, -EINVAL, "a laterality of no picture, or none");
  if (r->shown && r->shown->laterality && r->shown->laterality != laterality)
    r->shown->contradicted = true; /* the same picture came as one of the other eye */
  if (r->shown)
    r->shown->laterality = r->shown->contradicted ? 0 : laterality;
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
                           .unordered = capture->header.bus == ACQ_FILE && !capture->header.order.modality,
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
  for (unsigned i = 0; i < r->n_pictures; i++)
    free(r->pictures[i].preview.bytes);
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
  const size_t n = c->samples.len / sizeof *v;
  int16_t low = 0, high = 0;
  size_t i = 0;
  for (; n - i >= BLOCK; i += BLOCK)
    for (size_t k = 0; k < BLOCK; k++) {
      const int16_t x = v[i + k], known = x == ACQ_GAP ? 0 : x;
      low = known < low ? known : low;
      high = x > high ? x : high;
    }
  for (; i < n; i++) {
    low = v[i] < low && v[i] != ACQ_GAP ? v[i] : low;
    high = v[i] > high ? v[i] : high;
  }
  if (sample_cmp(c->scale, low, c->row->hard_low) < 0 || sample_cmp(c->scale, high, c->row->hard_high) > 0)
    unfit(r, c, -ERANGE, "a sample is outside what can be");
}

#define RAIL_SAMPLES 16u /* at the end of what 16 bits say, to call a lead saturated */

/* A lead of a file that was cut off; what reads an instrument knows where its converter ends. */
static void tell_saturated(struct acq_record *r, const struct channel *c) {
  const int16_t *v = (const int16_t *)(const void *)c->samples.data;
  uint32_t at_rail = 0;
  if (r->capture->header.bus != ACQ_FILE || r->modality != ACQ_ECG || c->derived || c->left_out)
    return;
  for (size_t i = 0; i < c->samples.len / sizeof *v; i++)
    at_rail += v[i] == INT16_MAX || v[i] == -INT16_MAX;
  r->trial = c->trial;
  if (at_rail >= RAIL_SAMPLES)
    acq_rec_quality(r, "lead_saturated", c->row->code, at_rail);
  r->trial = 0;
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
  for (i = 0; i < r->n_pictures; i++)
    if (r->pictures[i].trial)
      r->trials[r->pictures[i].trial - 1].measured = true;
    else
      n[WIRE_OWN] = 1; /* it has its number among this patient's */
  for (i = 0; i < r->n_trials; i++)
    n[r->trials[i].stray ? WIRE_STRAY : WIRE_OWN] += r->trials[i].measured;
  r->has_own = !r->unordered && (n[WIRE_OWN] || !n[WIRE_STRAY]);
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
  if (is_file(r) && !r->has_subject && !capture->raw)
    add_quality(r, "subject_unknown", "", 1, QUALITY_MAX);
  /* An order's seconds are how long it waits for a file. */
  for (unsigned i = 0; i < r->n_channels && r->modality == ACQ_ECG && capture->header.bus != ACQ_FILE; i++) {
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

static json_t *picture_json(const struct picture_item *p) {
  char sha[HASH_TEXT];
  json_t *preview = json_null(), *quality = json_null();
  if (p->preview.bytes) {
    hash_sha256_text(p->preview.bytes, p->preview.n, sha);
    preview = json_pack("{s:I, s:I, s:s, s:I}", "bytes", (json_int_t)p->preview.n, "height",
                        (json_int_t)p->preview.height, "sha256", sha, "width", (json_int_t)p->preview.width);
  }
  if (p->judged)
    quality = json_pack("{s:o, s:o, s:o, s:o}", "bright", dec_json(p->judgement.bright), "brightness",
                        dec_json(p->judgement.brightness), "dark", dec_json(p->judgement.dark), "focus",
                        dec_json(p->judgement.focus));
  const char laterality[] = {p->laterality, 0};
  return json_pack("{s:i, s:I, s:i, s:s, s:I, s:s?, s:I, s:o, s:o, s:s, s:i, s:I}", "bits", p->structure.bits, "bytes",
                   (json_int_t)p->blob->n, "components", p->structure.components, "format",
                   picture_format_name(p->structure.format), "height", (json_int_t)p->structure.height, "laterality",
                   p->laterality ? laterality : NULL, "number", (json_int_t)p->number, "preview", preview, "quality",
                   quality, "sha256", p->blob->sha256, "trial", (int)p->trial, "width", (json_int_t)p->structure.width);
}

/* To the millisecond, without an offset: it is not known where that clock thinks it is. */
static void clock_text(int64_t clock_us, char text[static WALL_TEXT_MAX]) {
  wall_format((struct wall){clock_us, 0}, text);
  text[RECORD_CLOCK_TEXT] = 0;
}

static json_t *source_json(const struct picture_item *p) {
  char taken[WALL_TEXT_MAX];
  clock_text(p->structure.clock_us, taken);
  return json_pack("{s:s, s:s, s:s, s:I, s:s?}", "make", p->structure.make, "model", p->structure.model, "name",
                   p->name, "picture", (json_int_t)p->number, "taken", p->structure.timed ? taken : NULL);
}

/* The pictures of the part, what is said of them, and their previews. */
static int pictures_of(const struct acq_record *r, int part, json_t *pictures, json_t *sources, struct buf *previews) {
  for (unsigned i = 0; i < r->n_pictures; i++) {
    const struct picture_item *p = &r->pictures[i];
    if (!belongs(r, p->trial, part))
      continue;
    if (json_array_append_new(pictures, picture_json(p)) < 0 || json_array_append_new(sources, source_json(p)) < 0)
      return -ENOMEM;
    if (p->preview.bytes && buf_add(previews, p->preview.bytes, p->preview.n) < 0)
      return previews->err;
  }
  return 0;
}

static json_t *trial_json(const struct acq_record *r, unsigned number) {
  const struct acq_trial *t = &r->trials[number - 1].said;
  char device[WALL_TEXT_MAX], host[WALL_TEXT_MAX];
  const struct acq_order *order = &r->capture->header.order;
  int64_t host_us = t->clock_us + t->slow_us - order->offset_minutes * 60 * WALL_SECOND;
  bool hosted = t->timed && !r->capture->raw && host_us >= WALL_MIN && host_us <= WALL_MAX;
  clock_text(t->clock_us, device);
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

static json_t *subject_json(const struct acq_record *r) {
  const struct acq_subject *s = &r->subject;
  const char sex[] = {s->sex, 0};
  return r->has_subject ? json_pack("{s:s, s:s, s:s, s:s, s:s}", "birth_date", s->birth_date, "family", s->family,
                                    "given", s->given, "id", s->id, "sex", sex)
                        : json_null();
}

static int encode(struct acq_record *r, int part, struct record_result *ret) {
  _buf_cleanup_ struct buf data = BUF_INIT(RECORD_DATA_MAX), previews = BUF_INIT(RECORD_PREVIEWS_MAX);
  _json_cleanup_ json_t *channels = json_array(), *trials = json_array(), *pictures = json_array(),
                        *sources = json_array(), *measures = items_of(r, r->measures, part),
                        *quality = items_of(r, r->quality, part), *statements = items_of(r, r->statements, part);
  const struct acq_capture *capture = r->capture;
  for (unsigned n = 1; n <= r->n_trials; n++)
    if (belongs(r, n, part) && json_array_append_new(trials, trial_json(r, n)) < 0)
      return -ENOMEM;
  if (!measures || !quality || !statements)
    return -ENOMEM;
  int err = channels_of(r, part, channels, &data);
  if (err == 0)
    err = pictures_of(r, part, pictures, sources, &previews);
  if (err < 0)
    return err;
  if (!json_array_size(channels) && !json_array_size(measures) && !json_array_size(pictures))
    return 0;
  char sha[HASH_TEXT], start[WALL_TEXT_MAX];
  hash_sha256_text(data.data, data.len, sha);
  wall_format((struct wall){capture->header.order.started_us, capture->header.order.offset_minutes}, start);
  const struct acq_identity *id = r->has_instrument ? &r->instrument : &capture->identity;
  _json_cleanup_ json_t *record = json_pack(
      "{s:{s:O, s:{s:s, s:i, s:s, s:I}, s:O, s:O, s:O}, s:b, s:[], s:{s:s, s:s, s:s, s:s, s:s}, s:{s:s, s:s}, s:s, "
      "s:s, s:s,"
      " s:O, s:s, s:O, s:o, s:O, s:b, s:o}",
      "acquired", "channels", channels, "data", "encoding", "int16-le", "gap", ACQ_GAP, "sha256", sha, "values",
      (json_int_t)(data.len / sizeof(int16_t)), "measures", measures, "pictures", pictures, "trials", trials,
      "complete", capture->end == CAPTURE_OK, "derived", "device", "firmware", id->firmware, "make", id->make, "model",
      id->model, "sensor", id->sensor, "serial", id->serial, "driver", "name", r->driver->name, "version",
      r->driver->version, "end", capture->raw ? "none" : capture_end_name(capture->end), "integrity",
      acq_integrity_name(r->driver->integrity), "modality", acq_modality_name(r->modality), "quality", quality,
      "schema", RECORD_SCHEMA, "sources", sources, "started", capture->raw ? json_null() : json_string(start),
      "statements", statements, "stray", part == WIRE_STRAY, "subject", subject_json(r));
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
  ret->previews = buf_take(&previews, &ret->preview_bytes);
  return 0;
}

/* Both records; that of the session says so when the instrument sent something else besides. A trial without a
 * reading makes no record; nor does the session when all that was measured in trials is stray. */
static int encode_all(struct acq_record *r, struct record_result ret[static WIRE_RECORDS]) {
  unsigned n_own = divide(r, WIRE_OWN), n_stray = divide(r, WIRE_STRAY);
  if (r->has_own && n_own && n_stray)
    add_quality(r, "readings_stray", "", n_stray, QUALITY_MAX);
  int err = r->err;
  if (err == 0 && r->has_own)
    err = encode(r, WIRE_OWN, &ret[WIRE_OWN]);
  if (err == 0 && (n_stray || r->unordered))
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
    for (unsigned i = 0; i < r->n_channels && !r->err; i++)
      tell_saturated(r, &r->channels[i]);
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
  free(r->previews);
  *r = (struct record_result){0};
}
