/* The synthetic ECG keeps what its header promises. */
#include "ecg12.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEST(name) static void name(void **state __attribute__((unused)))

static struct ecg12 e, other;

static void expect_bounds(void) {
  for (size_t i = 0; i < e.n; i++) {
    int one = e.lead[ECG12_I][i], two = e.lead[ECG12_II][i];
    assert_int_equal(e.lead[ECG12_III][i], two - one);
    assert_int_equal(e.lead[ECG12_AVR][i], -(one + two));
    assert_int_equal(e.lead[ECG12_AVL][i], 2 * one - two);
    assert_int_equal(e.lead[ECG12_AVF][i], 2 * two - one);
    for (unsigned l = 0; l < ECG12_LEADS; l++) {
      if (l < ECG12_AVR || l > ECG12_AVF)
        assert_in_range(e.lead[l][i] + 400, 0, 800);
    }
  }
}

static void expect_beats(void) {
  size_t apart = e.rate_hz * 8 / 10;
  for (size_t b = 0; b < e.n_beats; b++) {
    assert_true(e.beat[b].onset < e.beat[b].fiducial && e.beat[b].fiducial < e.beat[b].offset);
    assert_true(e.beat[b].offset < e.n);
    if (b > 0)
      assert_in_range(e.beat[b].fiducial - e.beat[b - 1].fiducial, apart * 9 / 10, apart * 11 / 10);
  }
}

TEST(promises) {
  static const unsigned rates[] = {100, 250, 300, 500, 800, 1000};
  for (unsigned r = 0; r < sizeof(rates) / sizeof(rates[0]); r++) {
    for (unsigned seed = 0; seed < 20; seed++) {
      ecg12_make(&e, rates[r], 10, seed, seed * 3, seed & 1);
      assert_int_equal(e.rate_hz, rates[r]);
      assert_int_equal(e.n, rates[r] * 10);
      assert_in_range(e.n_beats, 10, 14);
      expect_bounds();
      expect_beats();
    }
  }
}

/* As much noise as one can ask for, and as many samples; at a low rate the list of beats ends before the samples. */
TEST(extremes) {
  ecg12_make(&e, 1000, 60, 7, 100000, 1);
  assert_int_equal(e.n, ECG12_SAMPLES_MAX);
  expect_bounds();
  expect_beats();
  ecg12_make(&e, 100, 600, 7, 0, 1);
  assert_int_equal(e.n, ECG12_SAMPLES_MAX);
  assert_int_equal(e.n_beats, 256);
  expect_beats();
  ecg12_make(&e, 500, 0, 7, 1, 1);
  assert_int_equal(e.n, 0);
  assert_int_equal(e.n_beats, 0);
}

/* Without noise and drift every beat is the same, sample by sample, and there is nothing between them. */
TEST(still_beats) {
  ecg12_make(&e, 500, 20, 3, 0, 0);
  const size_t before = 98, after = 180; /* P begins 195 ms before the fiducial point, T ends 360 ms after it */
  assert_true(e.n_beats > 20);
  for (unsigned l = 0; l < ECG12_LEADS; l++) {
    const int16_t *first = e.lead[l] + e.beat[0].fiducial;
    for (size_t b = 1; b + 1 < e.n_beats; b++) {
      const int16_t *v = e.lead[l] + e.beat[b].fiducial;
      assert_memory_equal(v - before, first - before, (before + after) * sizeof(*v));
      for (const int16_t *p = v + after; p < e.lead[l] + e.beat[b + 1].fiducial - before; p++)
        assert_int_equal(*p, 0);
    }
  }
}

/* The QRS is where the list says: flat at both its ends, its greatest steps within. */
TEST(beats_are_the_qrs) {
  ecg12_make(&e, 1000, 10, 11, 0, 0);
  for (size_t b = 0; b < e.n_beats; b++) {
    const struct ecg12_beat *t = &e.beat[b];
    const int16_t *v4 = e.lead[ECG12_V4], *two = e.lead[ECG12_II];
    assert_int_equal(v4[t->onset], 0);
    assert_int_equal(v4[t->offset], 0);
    for (size_t i = t->onset; i <= t->offset; i++)
      assert_true(v4[i] <= v4[t->fiducial] && two[i] <= two[t->fiducial]);
    assert_true(v4[t->onset + 15] < 0 && v4[t->offset - 15] < 0); /* Q and S */
    assert_true(v4[t->fiducial] > 180);
  }
}

static uint32_t sum_of(const struct ecg12 *from) {
  uint32_t sum = 2166136261u;
  for (unsigned l = 0; l < ECG12_LEADS; l++) {
    for (size_t i = 0; i < from->n; i++)
      sum = (sum ^ (uint16_t)from->lead[l][i]) * 16777619u;
  }
  return sum;
}

/* The same on every machine: these sums were written down once. */
TEST(reproducible) {
  ecg12_make(&e, 500, 10, 42, 4, 1);
  memset(&other, 0xA5, sizeof(other));
  ecg12_make(&other, 500, 10, 42, 4, 1);
  assert_int_equal(e.n_beats, other.n_beats);
  assert_memory_equal(e.beat, other.beat, e.n_beats * sizeof(e.beat[0]));
  for (unsigned l = 0; l < ECG12_LEADS; l++)
    assert_memory_equal(e.lead[l], other.lead[l], e.n * sizeof(e.lead[l][0]));
  assert_int_equal(sum_of(&e), 0x2943d093u);
  ecg12_make(&other, 500, 10, 43, 4, 1);
  assert_int_not_equal(sum_of(&e), sum_of(&other));
  ecg12_make(&other, 500, 10, 42, 0, 0);
  assert_int_equal(sum_of(&other), 0xd7f4c876u);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(promises),          cmocka_unit_test(extremes),     cmocka_unit_test(still_beats),
      cmocka_unit_test(beats_are_the_qrs), cmocka_unit_test(reproducible),
  };
  return cmocka_run_group_tests_name("ecg12", tests, NULL, NULL);
}
