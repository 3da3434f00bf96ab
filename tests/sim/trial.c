#include "trial.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define MEASURE_HZ 1000u
#define NOISE 0.01 /* L/s */

static bool choose_word(const char *word, size_t len, struct blow_options *o) {
  for (unsigned p = 0; p < BLOW_PATTERNS; p++) {
    const char *name = blow_pattern_name((enum blow_pattern)p);
    if (strlen(name) == len && memcmp(name, word, len) == 0) {
      o->pattern = (enum blow_pattern)p;
      return true;
    }
  }
  for (unsigned d = 0; d < BLOW_DEFECTS; d++) {
    const char *name = blow_defect_name((enum blow_defect)d);
    if (strlen(name) == len && memcmp(name, word, len) == 0) {
      o->defect = (enum blow_defect)d;
      return true;
    }
  }
  return false;
}

bool trial_choose(const char *words, uint64_t seed, unsigned number, struct blow_options *ret) {
  unsigned less = (number * 617u + (unsigned)(seed % 1999u)) % 1999u; /* the best is not always the first */
  struct blow_options o = {.rate_hz = TRIAL_RATE_HZ, .scale = 1 - less * 1e-5, .noise = NOISE, .seed = seed};
  while (*words) {
    size_t len = strcspn(words, " ");
    if (len > 0 && !choose_word(words, len, &o))
      return false;
    words += len + (words[len] == ' ');
  }
  *ret = o;
  return true;
}

static double volume_at(const struct blow *b, size_t end, double t) {
  double at = t * b->rate_hz;
  if (at >= (double)end)
    return b->volume[end];
  size_t i = at > 0 ? (size_t)at : 0;
  return b->volume[i] + (b->volume[i + 1] - b->volume[i]) * (at - (double)i);
}

/* First sample at which so much is expired. */
static size_t when_expired(const struct blow *b, size_t end, double volume) {
  size_t i = 0;
  while (i < end && b->volume[i] < volume)
    i++;
  return i;
}

static double mean_flow(const struct blow *b, size_t end, double fvc) {
  size_t from = when_expired(b, end, 0.25 * fvc), to = when_expired(b, end, 0.75 * fvc);
  return to > from ? (b->volume[to] - b->volume[from]) * b->rate_hz / (double)(to - from) : 0;
}

int trial_measure(const struct blow_options *blow, struct trial_values *ret) {
  struct blow_options options = *blow;
  struct blow b;
  options.rate_hz = MEASURE_HZ;
  options.noise = 0;
  int r = blow_make(&options, &b);
  if (r < 0)
    return r;
  size_t peak = 0, end = 0;
  for (size_t i = 0; i < b.n; i++) {
    if (b.flow[i] > b.flow[peak])
      peak = i;
    if (b.volume[i] > b.volume[end])
      end = i;
  }
  double zero = (double)peak / b.rate_hz - b.volume[peak] / b.flow[peak];
  double fvc = b.volume[end];
  *ret = (struct trial_values){
      .fvc = fvc,
      .fev05 = volume_at(&b, end, zero + 0.5),
      .fev075 = volume_at(&b, end, zero + 0.75),
      .fev1 = volume_at(&b, end, zero + 1),
      .fev3 = volume_at(&b, end, zero + 3),
      .fev6 = volume_at(&b, end, zero + 6),
      .bev = volume_at(&b, end, zero),
      .pef = b.flow[peak],
      .fef25 = b.flow[when_expired(&b, end, 0.25 * fvc)],
      .fef50 = b.flow[when_expired(&b, end, 0.50 * fvc)],
      .fef75 = b.flow[when_expired(&b, end, 0.75 * fvc)],
      .fef25_75 = mean_flow(&b, end, fvc),
      .peak_s = (double)peak / b.rate_hz - zero,
  };
  blow_finish(&b);
  return 0;
}
