#include "scp_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BEAT_MS 600u
#define MARGIN_MS 10u /* of a protected zone around the QRS complex */
#define STEP_NV 5000u
#define STEP_AUGMENTED_NV 2500u

static int32_t divided(int64_t v, int64_t by) { /* to the nearest, halves away from 0 */
  return (int32_t)(v < 0 ? -((-2 * v + by) / (2 * by)) : (2 * v + by) / (2 * by));
}

static unsigned step_nv(enum ecg12_lead lead) {
  return lead == ECG12_AVR || lead == ECG12_AVL || lead == ECG12_AVF ? STEP_AUGMENTED_NV : STEP_NV;
}

static unsigned common_multiple(unsigned a, unsigned b) {
  unsigned x = a, y = b;
  while (y > 0) {
    unsigned rest = x % y;
    x = y;
    y = rest;
  }
  return a / x * b;
}

/* ---- zones ---- */

static unsigned clip(int64_t at, unsigned low, unsigned high) {
  return at < low ? low : at > high ? high : (unsigned)at;
}

static void plan_zones(struct scp_plan *p, const struct scp_options *o, const struct ecg12 *ecg) {
  unsigned n = (unsigned)ecg->n, margin = ecg->rate_hz * MARGIN_MS / 1000;
  p->n_zones = (unsigned)ecg->n_beats;
  for (unsigned i = 0; i < p->n_zones; i++) {
    const struct ecg12_beat *b = &ecg->beat[i];
    struct scp_zone *z = &p->zone[i];
    z->type = o->foreign_every && (i + 1) % o->foreign_every == 0;
    z->fiducial = (unsigned)b->fiducial + 1;
    z->first = clip((int64_t)z->fiducial - p->fiducial + 1, 1, n);
    z->last = clip((int64_t)z->fiducial - p->fiducial + (int64_t)p->beat_n, 1, n);
    z->protected_first = clip((int64_t)b->onset + 1 - margin, z->first, n);
    z->protected_last = clip((int64_t)b->offset + 1 + margin, 1, z->last);
    if (o->version == 10) {
      z->protected_first = z->first;
      z->protected_last = z->last;
    }
  }
}

/* As long as it may be without two of them touching, and a whole number of samples. */
static bool plan_beat(struct scp_plan *p, const struct ecg12 *ecg) {
  uint64_t least_us = BEAT_MS * 1000u;
  for (size_t i = 1; i < ecg->n_beats; i++) {
    uint64_t us = (uint64_t)(ecg->beat[i].fiducial - ecg->beat[i - 1].fiducial) * p->interval_us;
    least_us = us < least_us ? us : least_us;
  }
  p->beat_ms = (unsigned)(least_us / 1000);
  while (p->beat_ms > 0 && p->beat_ms * 1000 % p->interval_us != 0)
    p->beat_ms--;
  p->beat_n = p->beat_ms * 1000 / p->interval_us;
  p->fiducial = (unsigned)p->beat_n * 2 / 5 + 1;
  return p->beat_n > 0;
}

/* ---- a lead's layers ---- */

static int compare(const void *a, const void *b) {
  const int32_t *x = a, *y = b;
  return *x < *y ? -1 : *x > *y;
}

static int32_t sample_nv(const struct ecg12 *ecg, enum ecg12_lead lead, size_t i) {
  return ecg->lead[lead][i] * (int32_t)step_nv(lead);
}

/* The median of all whole beats of type 0. */
static void make_beat(const struct scp_plan *p, const struct ecg12 *ecg, struct scp_line *l) {
  int64_t step = common_multiple(p->avm_nv, p->beat_avm_nv);
  for (size_t k = 0; k < p->beat_n; k++) {
    int32_t value[256];
    unsigned n = 0;
    for (unsigned i = 0; i < p->n_zones; i++)
      if (p->zone[i].type == 0 && p->zone[i].last - p->zone[i].first + 1 == p->beat_n)
        value[n++] = sample_nv(ecg, l->lead, p->zone[i].first - 1 + k);
    qsort(value, n, sizeof(*value), compare);
    l->beat[k] = n > 0 ? (int32_t)(divided(value[n / 2], step) * step / p->beat_avm_nv) : 0;
  }
}

/* Adds the reference beat, in nanovolts, to samples that begin with the recording's `first`; times -1 takes it off. */
static void add_beat(const struct scp_plan *p, const struct scp_line *l, int32_t *nv, int sign) {
  for (unsigned i = 0; i < p->n_zones && p->subtract; i++) {
    const struct scp_zone *z = &p->zone[i];
    for (unsigned at = z->first; z->type == 0 && at <= z->last; at++)
      if (at >= l->first && at <= l->last)
        nv[at - l->first] += sign * l->beat[p->fiducial - 1 + at - z->fiducial] * (int32_t)p->beat_avm_nv;
  }
}

/* Calls `zone` for each protected zone within the lead and `gap` for each stretch between them, in order. */
struct walk {
  unsigned d;
  const int32_t *from;
  int32_t *to;
  size_t in, out; /* how far */
};

static void copy(struct walk *w, size_t n) {
  memcpy(w->to + w->out, w->from + w->in, n * sizeof(*w->to));
  w->in += n;
  w->out += n;
}

static void decimate(struct walk *w, size_t n) {
  for (size_t block = 0; block < n / w->d; block++) {
    int64_t sum = 0;
    for (unsigned k = 0; k < w->d; k++)
      sum += w->from[w->in++];
    w->to[w->out++] = divided(sum, w->d);
  }
  copy(w, n % w->d);
}

static void expand(struct walk *w, size_t n) {
  const int32_t *mean = w->from + w->in;
  size_t means = n / w->d;
  for (size_t i = 0; i < means * w->d; i++) {
    size_t left = i < w->d / 2 ? 0 : (i - w->d / 2) / w->d, right = left + 1 < means ? left + 1 : left;
    int64_t part = i < w->d / 2 ? 0 : (int64_t)((i - w->d / 2) % w->d);
    w->to[w->out++] = divided(mean[left] * ((int64_t)w->d - part) + mean[right] * part, w->d);
  }
  w->in += means;
  copy(w, n % w->d);
}

static void walk_gaps(const struct scp_plan *p, const struct scp_line *l, struct walk *w,
                      void (*gap)(struct walk *, size_t)) {
  unsigned at = l->first;
  for (unsigned i = 0; i < p->n_zones; i++) {
    unsigned first = clip(p->zone[i].protected_first, at, l->last + 1);
    unsigned end = clip((int64_t)p->zone[i].protected_last + 1, first, l->last + 1);
    gap(w, first - at);
    copy(w, end - first);
    at = end;
  }
  gap(w, l->last + 1 - at);
}

static int plan_line(struct scp_plan *p, const struct ecg12 *ecg, struct scp_line *l) {
  size_t n = l->last - l->first + 1;
  int32_t *samples = malloc(n * sizeof(*samples));
  l->beat = calloc(p->beat_n, sizeof(*l->beat));
  l->stored = malloc(n * sizeof(*l->stored));
  if (!samples || !l->beat || !l->stored) {
    free(samples);
    return -ENOMEM;
  }
  int r = 0;
  make_beat(p, ecg, l);
  for (size_t i = 0; i < n; i++) {
    samples[i] = sample_nv(ecg, l->lead, l->first - 1 + i);
    if (abs(samples[i]) / (int32_t)p->avm_nv > INT16_MAX)
      r = -ERANGE;
  }
  add_beat(p, l, samples, -1);
  for (size_t i = 0; i < n; i++)
    samples[i] /= (int32_t)p->avm_nv; /* both are multiples of it */
  struct walk w = {.d = p->decimation, .from = samples, .to = l->stored};
  walk_gaps(p, l, &w, decimate);
  l->stored_n = w.out;
  free(samples);
  return r;
}

/* ---- the plan ---- */

void scp_plan_finish(struct scp_plan *p) {
  for (unsigned i = 0; i < p->n_lines; i++) {
    free(p->line[i].beat);
    free(p->line[i].stored);
  }
  p->n_lines = 0;
}

static bool options_agree(const struct scp_options *o, const struct ecg12 *ecg) {
  unsigned beat_avm = o->beat_avm_nv ? o->beat_avm_nv : o->avm_nv;
  unsigned interval = ecg->rate_hz && 1000000 % ecg->rate_hz == 0 ? 1000000 / ecg->rate_hz : 0;
  if ((o->version != 10 && o->version != 13 && o->version != 20) || o->difference > 2 || o->code >= SCP_CODES)
    return false;
  if ((o->decimation != 1 && o->decimation != 2 && o->decimation != 4) || interval == 0 ||
      interval * o->decimation > UINT16_MAX)
    return false;
  if (o->avm_nv == 0 || o->avm_nv > UINT16_MAX || beat_avm > UINT16_MAX || o->n_leads == 0 ||
      o->n_leads > SCP_LEADS_MAX || ecg->n_beats == 0)
    return false;
  for (unsigned i = 0; i < o->n_leads; i++) {
    const struct scp_lead *l = &o->leads[i];
    unsigned last = l->last ? l->last : (unsigned)ecg->n;
    if (l->lead >= ECG12_LEADS || l->first == 0 || l->first > last || last > ecg->n || step_nv(l->lead) % o->avm_nv)
      return false;
  }
  return true;
}

int scp_plan_make(struct scp_plan *ret, const struct scp_options *o, const struct ecg12 *ecg) {
  if (!options_agree(o, ecg))
    return -EINVAL;
  *ret = (struct scp_plan){.interval_us = 1000000 / ecg->rate_hz,
                           .decimation = o->decimation,
                           .avm_nv = o->avm_nv,
                           .beat_avm_nv = o->beat_avm_nv ? o->beat_avm_nv : o->avm_nv,
                           .subtract = o->subtract,
                           .has_beat = o->subtract || o->with_beat || o->decimation > 1};
  if (!plan_beat(ret, ecg))
    return -EINVAL;
  plan_zones(ret, o, ecg);
  int r = 0;
  for (unsigned i = 0; r == 0 && i < o->n_leads; i++) {
    struct scp_line *l = &ret->line[ret->n_lines++];
    *l = (struct scp_line){o->leads[i].lead, o->leads[i].first, o->leads[i].last, NULL, NULL, 0};
    if (l->last == 0)
      l->last = (unsigned)ecg->n;
    r = plan_line(ret, ecg, l);
  }
  if (r < 0)
    scp_plan_finish(ret);
  return r;
}

/* ---- what a reader makes of it ---- */

enum { OPEN, PROTECTED = 1, BORDER = 2 };

static void mark(const struct scp_plan *p, const struct scp_line *l, uint8_t *place) {
  for (unsigned i = 0; i < p->n_zones; i++) {
    const struct scp_zone *z = &p->zone[i];
    for (unsigned at = z->protected_first; at <= z->protected_last; at++)
      if (at >= l->first && at <= l->last)
        place[at - l->first] |= PROTECTED;
    const unsigned border[4] = {z->first - 1, z->first, z->last, z->last + 1};
    for (unsigned k = 0; k < 4 && p->subtract && z->type == 0; k++)
      if (border[k] >= l->first && border[k] <= l->last)
        place[border[k] - l->first] |= BORDER;
  }
}

static void smooth(const int32_t *from, int32_t *to, const uint8_t *place, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (place[i] || i == 0 || i + 1 == n)
      to[i] = from[i];
    else
      to[i] = divided((int64_t)from[i - 1] + from[i] + from[i + 1], 3);
}

void scp_truth_finish(struct scp_truth *t) {
  free(t->nv);
  free(t->exact);
  *t = (struct scp_truth){0};
}

static int rebuild(const struct scp_plan *p, const struct scp_line *l, struct scp_truth *t) {
  t->n = l->last - l->first + 1;
  t->nv = malloc(t->n * sizeof(*t->nv));
  t->exact = malloc(t->n * sizeof(*t->exact));
  int32_t *rough = malloc(t->n * sizeof(*rough));
  uint8_t *place = calloc(t->n, 1);
  int r = t->nv && t->exact && rough && place ? 0 : -ENOMEM;
  if (r == 0) {
    struct walk w = {.d = p->decimation, .from = l->stored, .to = rough};
    walk_gaps(p, l, &w, expand);
    mark(p, l, place);
    if (p->decimation > 1)
      smooth(rough, t->nv, place, t->n);
    else
      memcpy(t->nv, rough, t->n * sizeof(*rough));
    for (size_t i = 0; i < t->n; i++) {
      t->nv[i] *= (int32_t)p->avm_nv;
      t->exact[i] = p->decimation == 1 || (place[i] & PROTECTED);
    }
    add_beat(p, l, t->nv, 1);
  }
  free(rough);
  free(place);
  return r;
}

int scp_file_truth(const struct scp_options *o, const struct ecg12 *ecg, unsigned i, struct scp_truth *ret) {
  struct scp_plan p;
  struct scp_truth t = {0};
  int r = i < o->n_leads ? scp_plan_make(&p, o, ecg) : -EINVAL;
  if (r < 0)
    return r;
  r = rebuild(&p, &p.line[i], &t);
  scp_plan_finish(&p);
  if (r < 0)
    scp_truth_finish(&t);
  else
    *ret = t;
  return r;
}
