#include "blow.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/*
 * The lungs are two compartments that empty in parallel: remaining = v0 exp(-A / tau0) + v1 exp(-A / tau1). Beyond the
 * peak flow it is the airways, not the muscles, that limit the flow, hence exponentials; two of them make the scooped
 * curve of obstruction. Instead of time stands A, the integral of the effort a(t), 0 (at rest) to 1 (flow-limited),
 * more in a cough: flow = a (v0 / tau0 exp(-A / tau0) + ...). A blast, a hesitation, a cough, a closed glottis are
 * shapes of a(t). a(t) goes from knot to knot along 6x^5 - 15x^4 + 10x^3: A, and with it flow and volume, are known in
 * closed form at any time, and the curvature of the flow has no jumps, as no muscle's has.
 */

#define FINE_HZ 20000u
#define SCALE_MIN 0.6
#define SCALE_MAX 2.0
#define NOISE_MAX 1.0
#define RATE_MIN 100u
#define RATE_MAX 1000u

enum { COMPARTMENTS = 2, KNOTS_MAX = 24 };

struct lungs {
  double v[COMPARTMENTS], tau[COMPARTMENTS]; /* L, s */
};

struct knot {
  double t, level; /* s since the onset, effort */
  double area;     /* A at t */
};

struct model {
  struct lungs lungs;
  struct knot knots[KNOTS_MAX];
  unsigned knot_count;
  double onset;                   /* s since the recording began */
  double end;                     /* of the recording, s */
  double out;                     /* expired in all, L */
  bool inspires;                  /* after the expiration */
  double inspiration, breath, in; /* its start, s; its duration, s; its volume, L */
  double offset;                  /* of the zero, L/s */
};

/* ---- chance ---- */

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static double between(uint64_t *state, double low, double high) {
  return low + (high - low) * (double)(next_random(state) >> 11) * 0x1p-53;
}

/* Standard normal, cut at 6: the sum of twelve. */
static double normal(uint64_t *state) {
  double sum = -6;
  for (unsigned i = 0; i < 12; i++)
    sum += between(state, 0, 1);
  return sum;
}

/* ---- the lungs ---- */

static double lungs_remaining(const struct lungs *l, double area, double *ret_flow) {
  double a = l->v[0] * exp(-area / l->tau[0]), b = l->v[1] * exp(-area / l->tau[1]);
  *ret_flow = a / l->tau[0] + b / l->tau[1];
  return a + b;
}

/* Flow is what it would be at full effort. */
static double lungs_expired(const struct lungs *l, double area, double *ret_flow) {
  return l->v[0] + l->v[1] - lungs_remaining(l, area, ret_flow);
}

static const struct lungs adults[BLOW_PATTERNS] = {
    [BLOW_NORMAL] = {{2.15, 2.35}, {0.26, 0.95}},
    [BLOW_OBSTRUCTIVE] = {{0.80, 2.60}, {0.20, 2.20}},
    [BLOW_RESTRICTIVE] = {{1.00, 1.30}, {0.20, 0.75}},
};

static struct lungs lungs_of(const struct blow_options *o, uint64_t *chance) {
  struct lungs l = adults[o->pattern];
  for (unsigned i = 0; i < COMPARTMENTS; i++) {
    l.v[i] *= o->scale * between(chance, 0.97, 1.03);
    l.tau[i] *= between(chance, 0.97, 1.03);
  }
  return l;
}

/* ---- the effort ---- */

static void effort_to(struct model *m, double duration, double level) {
  const struct knot *last = &m->knots[m->knot_count - 1];
  m->knots[m->knot_count++] =
      (struct knot){last->t + duration, level, last->area + duration * (last->level + level) / 2};
}

static void effort_hold(struct model *m, double duration) {
  effort_to(m, duration, m->knots[m->knot_count - 1].level);
}

/* Until A is area; the effort is full and nothing else is to come before. */
static void effort_hold_until(struct model *m, double area) {
  effort_hold(m, area - m->knots[m->knot_count - 1].area);
}

static double effort_at(const struct model *m, double t, double *ret_area) {
  const struct knot *k = m->knots, *end = m->knots + m->knot_count - 1;
  while (k < end && t >= k[1].t)
    k++;
  if (k == end || t < k->t) {
    *ret_area = k->area;
    return k == end ? k->level : 0;
  }
  double d = k[1].t - k->t, x = (t - k->t) / d, step = k[1].level - k->level;
  *ret_area = k->area + d * (k->level * x + step * x * x * x * x * (2.5 - 3 * x + x * x));
  return k->level + step * x * x * x * (10 - 15 * x + 6 * x * x);
}

/* The glottis shuts and bursts open; what the airways give up then is beyond the flow of steady effort. */
static void effort_cough(struct model *m, double burst) {
  effort_to(m, 0.03, 0.02);
  effort_hold(m, 0.03);
  effort_to(m, 0.04, burst);
  effort_to(m, 0.06, 1);
}

static void effort_start(struct model *m, enum blow_defect defect, double rise) {
  m->knots[m->knot_count++] = (struct knot){0};
  if (defect == BLOW_SLOW_START) { /* a leak below 10 % of the peak flow, then the blast */
    effort_to(m, 0.20, 0.05);
    effort_hold(m, 1.20);
  }
  if (defect == BLOW_SLOW_RISE) {
    effort_to(m, 4 * rise, 0.5);
    effort_to(m, 2.0, 1);
  } else {
    effort_to(m, rise, 1);
  }
}

/* Effort time at which the last second gave little, but no less than makes a long blow. */
static double plateau_area(const struct lungs *l) {
  double area = 6.3, flow;
  while (lungs_expired(l, area, &flow) - lungs_expired(l, area - 1, &flow) > 0.010)
    area += 0.05;
  return area;
}

/* Effort time at which the flow is still plain, beyond the first second. */
static double early_area(const struct lungs *l) {
  double area = 1.3, flow;
  while (lungs_expired(l, area, &flow), flow > 0.22)
    area += 0.01;
  return area;
}

/* From the blast to the end of the expiration. */
static void effort_go_on(struct model *m, enum blow_defect defect, double when) {
  switch (defect) {
  case BLOW_GLOTTIC_CLOSURE:
  case BLOW_LATE_GLOTTIC_CLOSURE:
    effort_hold_until(m, (defect == BLOW_GLOTTIC_CLOSURE ? 0.35 : 1.04) + 0.12 * when);
    effort_to(m, 0.03, 0);
    effort_hold(m, 2.5);
    return;
  case BLOW_EARLY_STOP:
    effort_hold_until(m, early_area(&m->lungs));
    if (m->inspires)
      effort_to(m, 0.05, 0);
    return;
  case BLOW_COUGH:
  case BLOW_LATE_COUGH:
    effort_hold(m, (defect == BLOW_COUGH ? 0.20 : 1.15) + 0.15 * when);
    effort_cough(m, defect == BLOW_COUGH ? 1.4 : 3);
    effort_hold(m, 0.08);
    effort_cough(m, defect == BLOW_COUGH ? 1.4 : 3);
    break;
  default:
    break;
  }
  effort_hold_until(m, plateau_area(&m->lungs));
  effort_to(m, 0.15, 0);
}

/* ---- the whole recording ---- */

/* Volume that the chest lacked at the start when the inspiration before was incomplete. */
static double take_deficit(struct lungs *l) {
  double total = l->v[0] + l->v[1];
  double deficit = fmax(0.30, 0.12 * total);
  for (unsigned i = 0; i < COMPARTMENTS; i++)
    l->v[i] *= 1 - deficit / total;
  return deficit;
}

static void model_at(const struct model *m, double t, double *ret_volume, double *ret_flow) {
  if (m->inspires && t >= m->inspiration) {
    double x = fmin(1, (t - m->inspiration) / m->breath);
    *ret_volume = m->out - m->in * x * x * (3 - 2 * x);
    *ret_flow = -m->in / m->breath * 6 * x * (1 - x);
    return;
  }
  double area, flow, effort = effort_at(m, t - m->onset, &area);
  *ret_volume = lungs_expired(&m->lungs, area, &flow);
  *ret_flow = effort * flow;
}

/* All chance is taken in the same order whatever the defect: the same seed is the same chest. */
static void model_make(const struct blow_options *o, uint64_t *chance, struct model *ret) {
  *ret = (struct model){.lungs = lungs_of(o, chance)};
  double rise = between(chance, 0.135, 0.170), when = between(chance, 0, 1);
  ret->onset = between(chance, 0.6, 1.0);
  ret->breath = between(chance, 1.2, 2.0);
  double inspired = between(chance, 0.92, 0.99), zero = between(chance, 0.06, 0.10);
  uint64_t sides = next_random(chance);
  ret->inspires = (sides >> 32 & 1) || o->defect == BLOW_INCOMPLETE_INSPIRATION;
  if (o->defect == BLOW_BAD_ZERO)
    ret->offset = sides >> 33 & 1 ? zero : -zero;

  double deficit = o->defect == BLOW_INCOMPLETE_INSPIRATION ? take_deficit(&ret->lungs) : 0;
  effort_start(ret, o->defect, rise);
  effort_go_on(ret, o->defect, when);
  const struct knot *last = &ret->knots[ret->knot_count - 1];
  double flow;
  ret->out = lungs_expired(&ret->lungs, last->area, &flow);
  ret->in = deficit > 0 ? ret->out + deficit : ret->out * inspired;
  ret->inspiration = ret->onset + last->t;
  /* Who stops early takes the mouthpiece away, or breathes in at once; nothing is recorded after the former. */
  double rest = o->defect == BLOW_EARLY_STOP && !ret->inspires ? 0 : 0.3;
  ret->end = ret->inspiration + (ret->inspires ? ret->breath : 0) + rest;
}

/* ---- the truth ---- */

struct fine {
  double *volume, *flow;
  size_t n, expired; /* samples; of which before the inspiration */
};

/* Seconds at which x[i - 1..i] crosses level. */
static double crossing(const double *x, size_t i, double level) {
  return ((double)i - (x[i] - level) / (x[i] - x[i - 1])) / FINE_HZ;
}

/* Last upward crossing before peak. */
static double crossing_before(const double *x, size_t peak, double level) {
  size_t i = peak;
  while (i > 1 && x[i - 1] >= level)
    i--;
  return crossing(x, i, level);
}

/* First upward crossing. */
static double crossing_after(const double *x, size_t n, double level) {
  size_t i = 1;
  while (i < n - 1 && x[i] < level)
    i++;
  return crossing(x, i, level);
}

/* NAN when the expiration was over by then. */
static double volume_at(const struct fine *f, double t) {
  double at = t * FINE_HZ;
  if (at < 0 || at >= (double)(f->expired - 1))
    return NAN;
  size_t i = (size_t)at;
  return f->volume[i] + (f->volume[i + 1] - f->volume[i]) * (at - (double)i);
}

static size_t largest(const double *x, size_t n) {
  size_t best = 0;
  for (size_t i = 1; i < n; i++)
    if (x[i] > x[best])
      best = i;
  return best;
}

static double inspired(const struct fine *f, double from) {
  double least = from;
  for (size_t i = f->expired; i < f->n; i++)
    least = fmin(least, f->volume[i]);
  return from - least;
}

static void truth_of(const struct fine *f, bool inspires, struct blow_truth *ret) {
  size_t peak = largest(f->flow, f->expired), last = largest(f->volume, f->expired);
  struct blow_truth t = {.fvc = f->volume[last], .pef = f->flow[peak]};
  t.time_zero = (double)peak / FINE_HZ - f->volume[peak] / t.pef;
  t.bev = volume_at(f, t.time_zero);
  t.fev1 = volume_at(f, t.time_zero + 1);
  t.fev6 = volume_at(f, t.time_zero + 6);
  t.fet = (double)last / FINE_HZ - t.time_zero;
  t.rise = crossing_before(f->flow, peak, 0.9 * t.pef) - crossing_before(f->flow, peak, 0.1 * t.pef);
  t.fef25_75 =
      0.5 * t.fvc /
      (crossing_after(f->volume, f->expired, 0.75 * t.fvc) - crossing_after(f->volume, f->expired, 0.25 * t.fvc));
  t.fivc = inspires ? inspired(f, t.fvc) : NAN;
  *ret = t;
}

static int make_truth(const struct model *m, struct blow_truth *ret) {
  /* With a false zero the volumes depend on when one looks: there is no truth of the recording. */
  if (m->offset != 0) {
    *ret = (struct blow_truth){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    return 0;
  }
  struct fine f = {.n = (size_t)(m->end * FINE_HZ) + 1};
  f.expired = m->inspires ? (size_t)(m->inspiration * FINE_HZ) + 1 : f.n;
  double *both = calloc(2 * f.n, sizeof *both);
  if (!both)
    return -ENOMEM;
  f.volume = both;
  f.flow = both + f.n;
  for (size_t i = 0; i < f.n; i++)
    model_at(m, (double)i / FINE_HZ, &f.volume[i], &f.flow[i]);
  truth_of(&f, m->inspires, ret);
  free(both);
  return 0;
}

/* ---- the samples ---- */

/* The noise is white in the volume and its differences are in the flow: no drift. */
static void sample(const struct model *m, double noise, uint64_t *chance, struct blow *b) {
  double jitter = 0;
  for (size_t i = 0; i < b->n; i++) {
    double t = (double)i / b->rate_hz;
    double before = jitter;
    jitter = noise > 0 ? normal(chance) * noise / (M_SQRT2 * b->rate_hz) : 0;
    model_at(m, t, &b->volume[i], &b->flow[i]);
    b->volume[i] += m->offset * t + jitter;
    b->flow[i] += m->offset + (jitter - before) * b->rate_hz;
  }
}

static bool options_ok(const struct blow_options *o) {
  return (unsigned)o->pattern < BLOW_PATTERNS && (unsigned)o->defect < BLOW_DEFECTS && o->rate_hz >= RATE_MIN &&
         o->rate_hz <= RATE_MAX && o->scale >= SCALE_MIN && o->scale <= SCALE_MAX && o->noise >= 0 &&
         o->noise <= NOISE_MAX;
}

int blow_make(const struct blow_options *options, struct blow *ret) {
  if (!options_ok(options))
    return -EINVAL;
  uint64_t chance = options->seed;
  struct model m;
  model_make(options, &chance, &m);
  struct blow b = {.n = (size_t)(m.end * options->rate_hz) + 1, .rate_hz = options->rate_hz};
  b.volume = calloc(b.n, sizeof *b.volume);
  b.flow = calloc(b.n, sizeof *b.flow);
  int r = b.volume && b.flow ? make_truth(&m, &b.truth) : -ENOMEM;
  if (r < 0) {
    blow_finish(&b);
    return r;
  }
  sample(&m, options->noise, &chance, &b);
  *ret = b;
  return 0;
}

void blow_finish(struct blow *blow) {
  free(blow->volume);
  free(blow->flow);
  *blow = (struct blow){0};
}

const char *blow_pattern_name(enum blow_pattern p) {
  static const char *const names[BLOW_PATTERNS] = {
      [BLOW_NORMAL] = "normal", [BLOW_OBSTRUCTIVE] = "obstructive", [BLOW_RESTRICTIVE] = "restrictive"};
  return names[p];
}

const char *blow_defect_name(enum blow_defect d) {
  static const char *const names[BLOW_DEFECTS] = {
      [BLOW_CLEAN] = "clean",
      [BLOW_SLOW_START] = "slow-start",
      [BLOW_SLOW_RISE] = "slow-rise",
      [BLOW_COUGH] = "cough",
      [BLOW_LATE_COUGH] = "late-cough",
      [BLOW_GLOTTIC_CLOSURE] = "glottic-closure",
      [BLOW_LATE_GLOTTIC_CLOSURE] = "late-glottic-closure",
      [BLOW_EARLY_STOP] = "early-stop",
      [BLOW_BAD_ZERO] = "bad-zero",
      [BLOW_INCOMPLETE_INSPIRATION] = "incomplete-inspiration",
  };
  return names[d];
}
