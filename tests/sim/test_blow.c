/*
 * The simulated blows, judged from their samples alone: the truth against plain sums, and the criteria of ATS/ERS 2019
 * one by one. What is judged here is unmistakable, so the judging is simple.
 */
#include "blow.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define RATE 1000u
#define SEEDS 20u

static const double scales[] = {0.6, 0.8, 1, 1.4, 2};

static struct blow make(enum blow_pattern p, enum blow_defect d, double scale, uint64_t seed) {
  struct blow b;
  assert_int_equal(blow_make(&(struct blow_options){p, d, RATE, scale, 0, seed}, &b), 0);
  return b;
}

/* Made once: the truth of each is some hundred thousand steps. */
static struct blow blows[BLOW_PATTERNS][BLOW_DEFECTS][SEEDS];

#define FOR_EVERY_BLOW(b, p, d, seed)               \
  for (unsigned p = 0; p < BLOW_PATTERNS; p++)      \
    for (unsigned d = 0; d < BLOW_DEFECTS; d++)     \
      for (unsigned seed = 0; seed < SEEDS; seed++) \
        for (const struct blow *b = &blows[p][d][seed]; b; b = NULL)

static int setup(void **state __attribute__((unused))) {
  for (unsigned p = 0; p < BLOW_PATTERNS; p++)
    for (unsigned d = 0; d < BLOW_DEFECTS; d++)
      for (unsigned seed = 0; seed < SEEDS; seed++)
        blows[p][d][seed] = make(p, d, scales[seed % 5], seed);
  return 0;
}

static int teardown(void **state __attribute__((unused))) {
  FOR_EVERY_BLOW(b, p, d, seed)
  blow_finish(&blows[p][d][seed]);
  return 0;
}

static void near(const char *what, const struct blow *b, double got, double expected, double limit) {
  if (!(fabs(got - expected) <= limit))
    fail_msg("%s: %g instead of %g (FVC %g, %zu samples)", what, expected, got, b->truth.fvc, b->n);
}

static size_t peak_of(const double *x, size_t n) {
  size_t best = 0;
  for (size_t i = 0; i < n; i++)
    best = x[i] > x[best] ? i : best;
  return best;
}

/* Last sample of the expiration: before an inspiration, or of the recording. */
static size_t last_of(const struct blow *b) {
  size_t top = peak_of(b->volume, b->n), i = b->n - 1;
  while (b->volume[i] < b->volume[top] - 0.001)
    i--;
  return i;
}

static size_t after(size_t from, double seconds) {
  return from + (size_t)(seconds * RATE);
}

/* ---- the truth ---- */

TEST(volume_is_the_sum_of_the_flow) {
  FOR_EVERY_BLOW(b, p, d, seed) {
    double sum = b->volume[0];
    for (size_t i = 1; i < b->n; i++) {
      sum += (b->flow[i - 1] + b->flow[i]) / 2 / RATE;
      near("volume", b, b->volume[i], sum, 0.001);
    }
  }
}

/* Between the two samples around a time: the curve is smooth enough at 1 kHz for half a millilitre. */
static double at(const struct blow *b, double t) {
  size_t i = (size_t)(t * RATE);
  return b->volume[i] + (b->volume[i + 1] - b->volume[i]) * (t * RATE - (double)i);
}

TEST(truth_is_that_of_the_samples) {
  FOR_EVERY_BLOW(b, p, d, seed) {
    if (d == BLOW_BAD_ZERO)
      continue;
    const struct blow_truth *t = &b->truth;
    size_t peak = peak_of(b->flow, b->n), top = peak_of(b->volume, b->n);
    double zero = (double)peak / RATE - b->volume[peak] / b->flow[peak];
    near("PEF", b, b->flow[peak], t->pef, 0.002 * t->pef);
    near("time zero", b, zero, t->time_zero, 0.0005);
    near("BEV", b, at(b, zero), t->bev, 0.002);
    near("FEV1", b, at(b, zero + 1), t->fev1, 0.001);
    near("FVC", b, b->volume[top], t->fvc, 0.001);
    near("FET", b, (double)top / RATE - zero, t->fet, 0.002);
    if ((double)last_of(b) > (zero + 6) * RATE)
      near("FEV6", b, at(b, zero + 6), t->fev6, 0.001);
    else
      assert_true(isnan(t->fev6));
    double least = b->volume[top];
    for (size_t i = top; i < b->n; i++)
      least = fmin(least, b->volume[i]);
    if (isnan(t->fivc))
      near("no inspiration", b, least, b->volume[top], 0);
    else
      near("FIVC", b, b->volume[top] - least, t->fivc, 0.001);
  }
}

TEST(middle_flow_and_rise_are_those_of_the_samples) {
  FOR_EVERY_BLOW(b, p, d, seed) {
    if (d == BLOW_BAD_ZERO)
      continue;
    unsigned middle = 0, rise = 0;
    size_t last = last_of(b), peak = peak_of(b->flow, b->n);
    for (size_t i = 0; i <= last; i++)
      middle += b->volume[i] >= 0.25 * b->truth.fvc && b->volume[i] < 0.75 * b->truth.fvc;
    for (size_t i = 0; i < peak; i++)
      rise += b->flow[i] >= 0.1 * b->truth.pef && b->flow[i] < 0.9 * b->truth.pef;
    near("middle half", b, middle / (double)RATE, 0.5 * b->truth.fvc / b->truth.fef25_75, 0.0011);
    near("rise", b, rise / (double)RATE, b->truth.rise, 0.0011);
  }
}

TEST(false_zero_has_no_truth) {
  struct blow b = make(BLOW_NORMAL, BLOW_BAD_ZERO, 1, 1);
  assert_true(isnan(b.truth.fvc) && isnan(b.truth.fev1) && isnan(b.truth.fev6) && isnan(b.truth.pef));
  assert_true(isnan(b.truth.bev) && isnan(b.truth.fef25_75) && isnan(b.truth.fet) && isnan(b.truth.rise));
  assert_true(isnan(b.truth.time_zero) && isnan(b.truth.fivc));
  blow_finish(&b);
}

/* ---- the criteria ---- */

/* Within the window a flow half as large as before is followed by one twice as large. */
static bool coughs(const struct blow *b, size_t from, size_t to) {
  double high = 0, low = INFINITY;
  for (size_t i = from; i < to; i++) {
    high = fmax(high, b->flow[i]);
    low = b->flow[i] < high / 2 ? fmin(low, fmax(0, b->flow[i])) : low;
    if (b->flow[i] > 2 * low + 0.05)
      return true;
  }
  return false;
}

/* A plain flow is gone 40 ms later, and the volume is flat for a second. */
static bool closes(const struct blow *b, size_t from, size_t to) {
  for (size_t i = from; i < to && after(i, 1.04) < b->n; i++) {
    size_t closed = after(i, 0.04);
    if (b->flow[i] > 0.1 && b->flow[closed] < 0.001 && fabs(b->volume[after(closed, 1)] - b->volume[closed]) < 0.001)
      return true;
  }
  return false;
}

#define VIOLATED(d) (1u << (d))

static unsigned violations(const struct blow *b) {
  if (fabs(b->volume[RATE / 2] - b->volume[0]) > 0.01)
    return VIOLATED(BLOW_BAD_ZERO); /* which leaves nothing else to be judged */
  double bev_limit = fmax(0.05 * b->truth.fvc, 0.1), inspiration_limit = fmax(0.05 * b->truth.fvc, 0.1);
  size_t peak = peak_of(b->flow, b->n), last = last_of(b), second = (size_t)((b->truth.time_zero + 1) * RATE);
  unsigned v = 0;
  v |= b->truth.bev > bev_limit ? VIOLATED(BLOW_SLOW_START) : 0;
  v |= b->truth.rise > 0.150 ? VIOLATED(BLOW_SLOW_RISE) : 0;
  v |= coughs(b, peak, second) ? VIOLATED(BLOW_COUGH) : 0;
  v |= coughs(b, second, last) ? VIOLATED(BLOW_LATE_COUGH) : 0;
  v |= closes(b, peak, second) ? VIOLATED(BLOW_GLOTTIC_CLOSURE) : 0;
  v |= closes(b, second, last) ? VIOLATED(BLOW_LATE_GLOTTIC_CLOSURE) : 0;
  v |= b->volume[last] - b->volume[last - RATE] > 0.025 ? VIOLATED(BLOW_EARLY_STOP) : 0;
  v |= b->truth.fivc - b->truth.fvc > inspiration_limit ? VIOLATED(BLOW_INCOMPLETE_INSPIRATION) : 0;
  return v;
}

TEST(each_defect_violates_its_own_criterion_only) {
  FOR_EVERY_BLOW(b, p, d, seed) {
    unsigned expected = d == BLOW_CLEAN ? 0 : VIOLATED(d), got = violations(b);
    if (got != expected)
      fail_msg("%s %s, seed %u: %#x instead of %#x", blow_pattern_name(p), blow_defect_name(d), seed, got, expected);
  }
}

/* What is planted is far from its limit, on both sides. */
TEST(defects_are_unmistakable) {
  FOR_EVERY_BLOW(b, p, d, seed) {
    const struct blow_truth *t = &b->truth;
    double limit = fmax(0.05 * t->fvc, 0.1);
    size_t last = last_of(b);
    if (d == BLOW_BAD_ZERO)
      assert_true(fabs(b->volume[RATE / 2] - b->volume[0]) > 0.025);
    else if (d == BLOW_SLOW_START)
      assert_true(t->bev > 1.25 * limit);
    else
      assert_true(t->bev < 0.95 * limit);
    if (d == BLOW_SLOW_RISE)
      assert_true(t->rise > 0.2);
    else if (d != BLOW_BAD_ZERO)
      assert_true(t->rise > 0.05 && t->rise < 0.12);
    if (d == BLOW_EARLY_STOP)
      assert_true(b->volume[last] - b->volume[last - RATE / 5] > 0.02 && t->fet < 15 && t->fet > 1.1);
    if (d == BLOW_GLOTTIC_CLOSURE || d == BLOW_LATE_GLOTTIC_CLOSURE) /* more is held back than blows may differ by */
      assert_true(blows[p][BLOW_CLEAN][seed].truth.fvc - t->fvc > 0.15);
    if (d == BLOW_INCOMPLETE_INSPIRATION)
      assert_true(t->fivc - t->fvc > 0.2 && t->fivc - t->fvc > 0.1 * t->fvc);
    else
      assert_false(t->fivc > t->fvc);
  }
}

TEST(clean_blows_are_long_and_end_on_a_plateau) {
  double longest = 0;
  FOR_EVERY_BLOW(b, p, d, seed) {
    if (d != BLOW_CLEAN)
      continue;
    size_t last = last_of(b);
    longest = fmax(longest, b->truth.fet);
    assert_true(b->truth.fet > 6);
    assert_true(b->volume[last] - b->volume[last - RATE] < 0.015);
  }
  assert_true(longest > 10 && longest < 15);
}

/* ---- the rest ---- */

TEST(patterns_are_what_they_are_called) {
  static const struct { double fvc, ratio; } adult[BLOW_PATTERNS] = {{4.5, 0.80}, {3.4, 0.50}, {2.3, 0.85}};
  FOR_EVERY_BLOW(b, p, d, seed) {
    if (d != BLOW_CLEAN)
      continue;
    near("FVC", b, b->truth.fvc / scales[seed % 5], adult[p].fvc, 0.05 * adult[p].fvc);
    near("FEV1/FVC", b, b->truth.fev1 / b->truth.fvc, adult[p].ratio, 0.04);
    near("PEF/FVC", b, b->truth.pef / b->truth.fvc, p == BLOW_OBSTRUCTIVE ? 1.3 : 2.3, 0.4);
  }
}

TEST(seeds_vary_the_chest_and_nothing_else_does) {
  double low = INFINITY, high = 0;
  for (uint64_t seed = 0; seed < SEEDS; seed++) {
    struct blow a = make(BLOW_NORMAL, BLOW_CLEAN, 1, seed), b = make(BLOW_NORMAL, BLOW_LATE_COUGH, 1, seed);
    low = fmin(low, a.truth.fvc);
    high = fmax(high, a.truth.fvc);
    near("FVC", &a, b.truth.fvc, a.truth.fvc, 0.002);
    blow_finish(&a);
    blow_finish(&b);
  }
  assert_true(high - low > 0.1 && high - low < 0.3);
}

TEST(same_parameters_same_samples) {
  const struct blow_options o = {BLOW_OBSTRUCTIVE, BLOW_COUGH, 200, 1.1, 0.02, 77};
  struct blow a, b;
  assert_int_equal(blow_make(&o, &a), 0);
  assert_int_equal(blow_make(&o, &b), 0);
  assert_int_equal(a.n, b.n);
  assert_memory_equal(a.volume, b.volume, a.n * sizeof *a.volume);
  assert_memory_equal(a.flow, b.flow, a.n * sizeof *a.flow);
  assert_memory_equal(&a.truth, &b.truth, sizeof a.truth);
  blow_finish(&a);
  blow_finish(&b);
}

TEST(rate_samples_the_same_blow) {
  struct blow fine = make(BLOW_NORMAL, BLOW_CLEAN, 1, 5), b;
  for (unsigned step = 2; step <= 10; step += step == 2 ? 3 : 5) {
    assert_int_equal(blow_make(&(struct blow_options){BLOW_NORMAL, BLOW_CLEAN, RATE / step, 1, 0, 5}, &b), 0);
    assert_memory_equal(&b.truth, &fine.truth, sizeof b.truth);
    assert_int_equal(b.n, (fine.n - 1) / step + 1);
    for (size_t i = 0; i < b.n; i++) {
      near("volume", &b, b.volume[i], fine.volume[i * step], 1e-9);
      near("flow", &b, b.flow[i], fine.flow[i * step], 1e-9);
    }
    blow_finish(&b);
  }
  blow_finish(&fine);
}

TEST(noise_has_its_deviation_and_no_drift) {
  struct blow plain = make(BLOW_NORMAL, BLOW_CLEAN, 1, 9), noisy;
  assert_int_equal(blow_make(&(struct blow_options){BLOW_NORMAL, BLOW_CLEAN, RATE, 1, 0.02, 9}, &noisy), 0);
  assert_memory_equal(&noisy.truth, &plain.truth, sizeof plain.truth);
  double square = 0;
  for (size_t i = 0; i < plain.n; i++) {
    double d = noisy.flow[i] - plain.flow[i];
    square += d * d;
    near("volume", &noisy, noisy.volume[i], plain.volume[i], 6 * 0.02 / RATE);
  }
  near("deviation", &noisy, sqrt(square / (double)plain.n), 0.02, 0.001);
  blow_finish(&plain);
  blow_finish(&noisy);
}

TEST(both_ways_to_end_occur) {
  unsigned inspired[BLOW_DEFECTS] = {0};
  for (unsigned d = 0; d < BLOW_DEFECTS; d++)
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
      struct blow b = make(BLOW_NORMAL, d, 1, seed);
      inspired[d] += b.flow[b.n - 1 - RATE / 2] < -0.2;
      blow_finish(&b);
    }
  for (unsigned d = 0; d < BLOW_DEFECTS; d++)
    if (d == BLOW_INCOMPLETE_INSPIRATION)
      assert_int_equal(inspired[d], SEEDS);
    else
      assert_in_range(inspired[d], SEEDS / 4, SEEDS * 3 / 4);
}

TEST(impossible_options_are_refused) {
  static const struct blow_options wrong[] = {
      {BLOW_PATTERNS, BLOW_CLEAN, 100, 1, 0, 0},  {BLOW_NORMAL, BLOW_DEFECTS, 100, 1, 0, 0},
      {BLOW_NORMAL, BLOW_CLEAN, 99, 1, 0, 0},     {BLOW_NORMAL, BLOW_CLEAN, 1001, 1, 0, 0},
      {BLOW_NORMAL, BLOW_CLEAN, 100, 0.59, 0, 0}, {BLOW_NORMAL, BLOW_CLEAN, 100, 2.01, 0, 0},
      {BLOW_NORMAL, BLOW_CLEAN, 100, NAN, 0, 0},  {BLOW_NORMAL, BLOW_CLEAN, 100, 1, -0.01, 0},
      {BLOW_NORMAL, BLOW_CLEAN, 100, 1, NAN, 0},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    struct blow b = {.n = 42};
    assert_int_equal(blow_make(&wrong[i], &b), -EINVAL);
    assert_int_equal(b.n, 42);
  }
}

TEST(names_differ) {
  for (unsigned i = 0; i < BLOW_DEFECTS; i++)
    for (unsigned j = 0; j < i; j++)
      assert_string_not_equal(blow_defect_name(i), blow_defect_name(j));
  for (unsigned i = 0; i < BLOW_PATTERNS; i++)
    for (unsigned j = 0; j < i; j++)
      assert_string_not_equal(blow_pattern_name(i), blow_pattern_name(j));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(volume_is_the_sum_of_the_flow),
      cmocka_unit_test(truth_is_that_of_the_samples),
      cmocka_unit_test(middle_flow_and_rise_are_those_of_the_samples),
      cmocka_unit_test(false_zero_has_no_truth),
      cmocka_unit_test(each_defect_violates_its_own_criterion_only),
      cmocka_unit_test(defects_are_unmistakable),
      cmocka_unit_test(clean_blows_are_long_and_end_on_a_plateau),
      cmocka_unit_test(patterns_are_what_they_are_called),
      cmocka_unit_test(seeds_vary_the_chest_and_nothing_else_does),
      cmocka_unit_test(same_parameters_same_samples),
      cmocka_unit_test(rate_samples_the_same_blow),
      cmocka_unit_test(noise_has_its_deviation_and_no_drift),
      cmocka_unit_test(both_ways_to_end_occur),
      cmocka_unit_test(impossible_options_are_refused),
      cmocka_unit_test(names_differ),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
