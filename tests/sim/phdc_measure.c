#include "phdc_measure.h"

#include "calendar.h"
#include "option.h"
#include "trial.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_US (3600 * (int64_t)1000000)
#define SCALED_MAX 64000.0
#define HEART_RATE 72.0

/* Reading status of a peak flow meter. */
enum { STATUS_LONG_TO_PEAK = 0x4000, STATUS_SHORT = 0x2000, STATUS_COUGH = 0x1000 };

struct reading {
  bool has[PHDC_OBJECTS_MAX];
  struct phdc_number values[PHDC_OBJECTS_MAX][PHDC_PARTS_MAX]; /* of bits: the mantissa */
  int64_t local_us;
  uint16_t person;
};

void phdc_measure_init(struct phdc_measure *ms, const struct phdc_device *device, struct phdc_store *store,
                       uint64_t seed) {
  *ms = (struct phdc_measure){.device = device, .store = store, .seed = seed};
}

void phdc_measure_finish(struct phdc_measure *ms) {
  phdc_measure_drop(ms, ms->n);
  free(ms->waiting);
}

void phdc_measure_drop(struct phdc_measure *ms, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    free(ms->waiting[i]->bytes);
    free(ms->waiting[i]);
  }
  ms->n -= n;
  if (ms->n)
    memmove(ms->waiting, ms->waiting + n, ms->n * sizeof(struct phdc_observation *));
}

/* What is in the scratch is the value; the stamp follows. Without memory the observation is lost. */
static void push(struct phdc_measure *ms, const struct phdc_object *o, uint16_t person) {
  if (ms->n == ms->max) {
    unsigned max = ms->max ? 2 * ms->max : 64;
    struct phdc_observation **list = realloc(ms->waiting, max * sizeof(struct phdc_observation *));
    if (!list)
      return;
    ms->waiting = list;
    ms->max = max;
  }
  struct phdc_observation *obs = malloc(sizeof *obs);
  uint8_t *bytes = malloc(ms->scratch.n);
  if (!obs || !bytes) {
    free(obs);
    free(bytes);
    return;
  }
  memcpy(bytes, ms->scratch.bytes, ms->scratch.n);
  *obs = (struct phdc_observation){.object = o, .person = person, .n = ms->scratch.n, .bytes = bytes};
  ms->waiting[ms->n++] = obs;
}

/* ---- readings ---- */

static enum phdc_special special_of(const struct phdc_device *d, const struct phdc_object *o) {
  static const enum phdc_special specials[] = {
      [PHDC_FAULT_NAN] = PHDC_NAN,           [PHDC_FAULT_NRES] = PHDC_NRES,
      [PHDC_FAULT_PLUS_INF] = PHDC_PLUS_INF, [PHDC_FAULT_MINUS_INF] = PHDC_MINUS_INF,
      [PHDC_FAULT_RESERVED] = PHDC_RESERVED,
  };
  for (unsigned f = PHDC_FAULT_NAN; f <= PHDC_FAULT_RESERVED; f++)
    if (d->faults.on[f] && (d->faults.arg[f] == 0 || d->faults.arg[f] == o->handle))
      return specials[f];
  return PHDC_FINITE;
}

static unsigned parts_of(const struct phdc_object *o) {
  return o->form == PHDC_COMPOUND ? (unsigned)(phdc_value_bytes(o) - 4) / 2 : 1;
}

static void put_value(struct phdc_measure *ms, const struct phdc_object *o,
                      const struct phdc_number numbers[PHDC_PARTS_MAX]) {
  struct mder *m = &ms->scratch;
  if (o->form == PHDC_BITS) {
    mder_u16(m, (unsigned)numbers[0].mantissa);
    return;
  }
  size_t list = o->form == PHDC_COMPOUND ? mder_list_open(m) : 0;
  for (unsigned i = 0; i < parts_of(o); i++) {
    struct phdc_number number = numbers[i];
    enum phdc_special special = special_of(ms->device, o);
    number.special = special ? special : number.special;
    if (o->form == PHDC_SIMPLE)
      mder_float(m, number);
    else
      mder_sfloat(m, number);
  }
  if (o->form == PHDC_COMPOUND)
    mder_list_close(m, list, parts_of(o));
}

static void keep(struct phdc_measure *ms, const struct reading *r) {
  const struct phdc_device *d = ms->device;
  ms->scratch.n = 0;
  if (ms->store) {
    for (unsigned i = 0; i < d->n_objects; i++)
      put_value(ms, &d->objects[i], r->values[i]);
    phdc_store_add(ms->store, r->local_us, ms->scratch.bytes, ms->scratch.n);
    return;
  }
  for (unsigned i = 0; i < d->n_objects; i++) {
    if (!r->has[i])
      continue;
    ms->scratch.n = 0;
    put_value(ms, &d->objects[i], r->values[i]);
    mder_absolute_time(&ms->scratch, r->local_us);
    push(ms, &d->objects[i], r->person);
  }
}

static void keep_all(struct phdc_measure *ms, struct reading *r) {
  keep(ms, r);
  if (!ms->device->faults.on[PHDC_FAULT_TWINS])
    return;
  for (unsigned i = 0; i < ms->device->n_objects; i++)
    for (unsigned k = 0; k < PHDC_PARTS_MAX && ms->device->objects[i].form != PHDC_BITS; k++)
      r->values[i][k].mantissa++;
  keep(ms, r);
}

static void print_reading(const struct phdc_device *d, const struct reading *r, char answer[static 256]) {
  size_t at = 0;
  answer[0] = 0;
  for (unsigned i = 0; i < d->n_objects; i++) {
    if (!r->has[i])
      continue;
    char text[3][24];
    for (unsigned k = 0; k < parts_of(&d->objects[i]); k++)
      phdc_number_print(r->values[i][k], text[k], sizeof text[k]);
    int n = snprintf(answer + at, 256 - at, parts_of(&d->objects[i]) == 3 ? "%s%s=%s/%s/%s" : "%s%s=%s", at ? " " : "",
                     d->objects[i].key, text[0], text[1], text[2]);
    if (n < 0 || (size_t)n >= 256 - at)
      return;
    at += (size_t)n;
  }
}

static void set(const struct phdc_measure *ms, struct reading *r, const char *key, double value) {
  const struct phdc_object *o = phdc_device_object(ms->device, key);
  if (!o || isnan(value))
    return;
  size_t i = (size_t)(o - ms->device->objects);
  r->has[i] = true;
  r->values[i][0] = phdc_device_number(ms->device, o, value);
}

/* What a meter says whatever was measured: the patient's best. */
static struct reading fresh(const struct phdc_measure *ms, int64_t local_us) {
  struct reading r = {.local_us = local_us, .person = 1};
  const struct phdc_object *best = phdc_device_object(ms->device, "best");
  if (best)
    set(ms, &r, "best", best->typical[0]);
  return r;
}

static struct reading typical(const struct phdc_measure *ms, int64_t local_us, double factor) {
  struct reading r = fresh(ms, local_us);
  for (unsigned i = 0; i < ms->device->n_objects; i++) {
    const struct phdc_object *o = &ms->device->objects[i];
    for (unsigned k = 0; k < parts_of(o) && !isnan(o->typical[0]); k++) {
      r.has[i] = true;
      r.values[i][k] = phdc_device_number(ms->device, o, o->typical[k] * factor);
    }
  }
  return r;
}

static bool take_value(const struct phdc_object *o, const char *text, struct phdc_number numbers[PHDC_PARTS_MAX]) {
  char part[24];
  for (unsigned k = 0; k < parts_of(o); k++) {
    size_t len = strcspn(text, "/");
    if (len >= sizeof part)
      return false;
    memcpy(part, text, len);
    part[len] = 0;
    if (!phdc_number_parse(part, &numbers[k]))
      return false;
    text += len + (text[len] == '/');
  }
  return *text == 0;
}

/* "key=value", or the first object's value alone. */
static bool take_word(const struct phdc_measure *ms, char *word, struct reading *r) {
  uint64_t n;
  char *equals = strchr(word, '=');
  const char *value = equals ? equals + 1 : word;
  if (equals)
    *equals = 0;
  if (equals && strcmp(word, "at") == 0)
    return calendar_parse(value, &r->local_us);
  if (equals && strcmp(word, "person") == 0) {
    bool good = option_number(value, UINT16_MAX, &n);
    r->person = good ? (uint16_t)n : 0;
    return good;
  }
  const struct phdc_object *o = equals ? phdc_device_object(ms->device, word) : ms->device->objects;
  if (!o || o->form == PHDC_SAMPLES)
    return false;
  size_t i = (size_t)(o - ms->device->objects);
  r->has[i] = true;
  return take_value(o, value, r->values[i]);
}

static bool has_any(const struct reading *r) {
  for (unsigned i = 0; i < PHDC_OBJECTS_MAX; i++)
    if (r->has[i])
      return true;
  return false;
}

int phdc_measure_take(struct phdc_measure *ms, const char *words, struct phdc_moment now, char answer[static 256]) {
  struct reading r = fresh(ms, now.local_us);
  bool any = false;
  while (*words) {
    char word[64];
    size_t len = strcspn(words, " ");
    if (len >= sizeof word) {
      snprintf(answer, 256, "too long a word");
      return -EINVAL;
    }
    memcpy(word, words, len);
    word[len] = 0;
    words += len + (words[len] == ' ');
    if (len == 0)
      continue;
    any = any || (strncmp(word, "at=", 3) != 0 && strncmp(word, "person=", 7) != 0);
    if (!take_word(ms, word, &r)) {
      snprintf(answer, 256, "cannot measure '%s'", word);
      return -EINVAL;
    }
  }
  if (!any) {
    struct reading said = r;
    r = typical(ms, said.local_us, 1);
    r.person = said.person;
  }
  if (!has_any(&r)) {
    snprintf(answer, 256, "nothing to measure");
    return -EINVAL;
  }
  print_reading(ms->device, &r, answer);
  keep_all(ms, &r);
  return 0;
}

void phdc_measure_older(struct phdc_measure *ms, unsigned n, struct phdc_moment now) {
  for (unsigned i = 0; i < n; i++) {
    uint64_t mix = (ms->seed + i + 1) * 0x9E3779B97F4A7C15u;
    struct reading r = typical(ms, now.local_us - (n - i) * HOUR_US, 0.93 + (double)(mix >> 48) / 1000000);
    keep(ms, &r);
  }
}

/* ---- waveforms ---- */

static double in_range(double v, double low, double high) {
  return v < low ? low : v > high ? high : v;
}

static void push_samples(struct phdc_measure *ms, const struct phdc_object *o, const double *values, uint32_t ticks) {
  struct mder *m = &ms->scratch;
  const struct faults *f = &ms->device->faults;
  m->n = 0;
  mder_u16(m, f->on[PHDC_FAULT_COUNT_SAMPLES] ? 0x7FFF : 2u * o->array);
  for (unsigned i = 0; i < o->array; i++) {
    double part = (in_range(values[i], o->lower, o->upper) - o->lower) / (o->upper - o->lower);
    long scaled = lround(part * SCALED_MAX) - (f->on[PHDC_FAULT_SIGNED] ? (long)SCALED_MAX / 2 : 0);
    mder_u16(m, (uint16_t)scaled);
  }
  mder_u32(m, ticks);
  push(ms, o, 1);
}

/* Arrays are always full: the last one stays where the curve ended. */
static void push_curve(struct phdc_measure *ms, const char *key, const double *values, size_t n, uint32_t ticks) {
  const struct phdc_object *o = phdc_device_object(ms->device, key);
  if (!o || o->form != PHDC_SAMPLES)
    return;
  double array[256];
  for (size_t at = 0; at < n; at += o->array) {
    for (unsigned i = 0; i < o->array; i++)
      array[i] = values[at + i < n ? at + i : n - 1];
    push_samples(ms, o, array, ticks + (uint32_t)at * o->period);
  }
}

static uint16_t status_of(enum blow_defect defect) {
  switch (defect) {
  case BLOW_SLOW_START:
  case BLOW_SLOW_RISE:
    return STATUS_LONG_TO_PEAK;
  case BLOW_GLOTTIC_CLOSURE:
  case BLOW_LATE_GLOTTIC_CLOSURE:
  case BLOW_EARLY_STOP:
    return STATUS_SHORT;
  case BLOW_COUGH:
  case BLOW_LATE_COUGH:
    return STATUS_COUGH;
  default:
    return 0;
  }
}

static struct reading reading_of(const struct phdc_measure *ms, const struct blow_options *options,
                                 const struct blow *blow, const struct trial_values *v, int64_t local_us) {
  struct reading r = fresh(ms, local_us);
  const struct phdc_object *status = phdc_device_object(ms->device, "status");
  set(ms, &r, "fvc", v->fvc);
  set(ms, &r, "fev1", v->fev1);
  set(ms, &r, "fev6", v->fev6);
  set(ms, &r, "ratio", v->fev1 / v->fvc);
  set(ms, &r, "pef", v->pef);
  set(ms, &r, "fef2575", v->fef25_75);
  set(ms, &r, "bev", v->bev);
  set(ms, &r, "fet", blow->truth.fet);
  set(ms, &r, "peak", v->peak_s * 1000);
  set(ms, &r, "fivc", blow->truth.fivc);
  if (status) {
    size_t i = (size_t)(status - ms->device->objects);
    r.has[i] = true;
    r.values[i][0].mantissa = status_of(options->defect);
  }
  return r;
}

int phdc_measure_blow(struct phdc_measure *ms, const char *words, struct phdc_moment now, char answer[static 256]) {
  struct blow_options options;
  struct trial_values values;
  struct blow blow;
  if (!phdc_device_object(ms->device, "fev1") || !trial_choose(words, ms->seed, ms->blows, &options)) {
    snprintf(answer, 256, "nobody blows like that");
    return -EINVAL;
  }
  int r = trial_measure(&options, &values);
  if (r == 0)
    r = blow_make(&options, &blow);
  if (r < 0) {
    snprintf(answer, 256, "%s", strerror(-r));
    return r;
  }
  ms->blows++;
  struct reading reading = reading_of(ms, &options, &blow, &values, now.local_us);
  print_reading(ms->device, &reading, answer);
  keep_all(ms, &reading);
  uint32_t began = now.ticks - (uint32_t)(blow.n * 8000 / blow.rate_hz);
  push_curve(ms, "flow", blow.flow, blow.n, began);
  push_curve(ms, "volume", blow.volume, blow.n, began);
  blow_finish(&blow);
  return 0;
}

/* A beat of lead II in mV, t seconds after its R wave. */
static double beat(double t) {
  static const struct {
    double at, width, height;
  } waves[] = {{-0.18, 0.025, 0.12}, {-0.025, 0.008, -0.1}, {0, 0.011, 1.1}, {0.03, 0.010, -0.22}, {0.26, 0.045, 0.3}};
  double v = 0;
  for (size_t i = 0; i < sizeof waves / sizeof *waves; i++) {
    double x = (t - waves[i].at) / waves[i].width;
    v += waves[i].height * exp(-x * x / 2);
  }
  return v;
}

void phdc_measure_record(struct phdc_measure *ms, unsigned arrays, struct phdc_moment now) {
  ms->recording.done = 0;
  ms->recording.total = arrays;
  ms->recording.ticks = now.ticks;
}

bool phdc_measure_recording(const struct phdc_measure *ms) {
  return ms->recording.done < ms->recording.total;
}

void phdc_measure_step(struct phdc_measure *ms, struct phdc_moment now) {
  double array[256];
  unsigned done = ms->recording.done++;
  for (unsigned i = 0; i < ms->device->n_objects; i++) {
    const struct phdc_object *o = &ms->device->objects[i];
    if (o->form != PHDC_SAMPLES)
      continue;
    double gain = o->code == 257 ? 0.6 : 1; /* lead I is the smaller one */
    for (unsigned k = 0; k < o->array; k++) {
      double t = (double)(done * o->array + k) * o->period / 8000, rr = 60 / HEART_RATE;
      array[k] = gain * beat(t - rr * floor(t / rr) - rr / 2);
    }
    push_samples(ms, o, array, ms->recording.ticks + done * o->array * o->period);
  }
  if (!phdc_measure_recording(ms)) {
    struct reading r = fresh(ms, now.local_us);
    set(ms, &r, "rate", HEART_RATE);
    keep_all(ms, &r);
  }
}
