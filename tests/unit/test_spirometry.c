#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"
#include "spirometry.h"
#include <asalee/driver.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)
#define NONE SPIROMETRY_NONE

static uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t rnd(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static double uniform(void) {
  return (double)(rnd() >> 11) / 9007199254740992.0;
}

static void near(const char *what, double got, double want, double within) {
  if (!(fabs(got - want) <= within))
    fail_msg("%s is %.2f, not %.2f", what, got, want);
}

/* ---- curves by hand --------------------------------------------------------------------------------------------- */

#define SAMPLES 60000

/* Flow written piece by piece at a rate. */
struct hand {
  double rate, flow[SAMPLES], volume[SAMPLES], time[SAMPLES];
  size_t n;
};

static struct hand *hand_new(double rate) {
  struct hand *h = calloc(1, sizeof *h);
  assert_non_null(h);
  h->rate = rate;
  return h;
}

#define HAND(name, rate) struct hand *name __attribute__((cleanup(hand_free))) = hand_new(rate)
static void hand_free(struct hand **h) {
  free(*h);
}

static void add(struct hand *h, double flow) {
  assert_true(h->n < SAMPLES);
  h->flow[h->n++] = flow;
}

static void steady(struct hand *h, double seconds, double flow) {
  for (size_t n = (size_t)(seconds * h->rate + 0.5); n; n--)
    add(h, flow);
}

/* Half a sine of this volume in L, negative when inspired. */
static void breath(struct hand *h, double seconds, double litres) {
  size_t n = (size_t)(seconds * h->rate + 0.5);
  for (size_t i = 0; i < n; i++)
    add(h, litres * M_PI / (2 * seconds) * sin(M_PI * ((double)i + 0.5) / (double)n));
}

/* A forced expiration whose every answer is known: k (e^(-t/slow) - e^(-t/fast)). */
struct blow {
  double k, slow, fast;
};

static double blow_flow(struct blow b, double t) {
  return t < 0 ? 0 : b.k * (exp(-t / b.slow) - exp(-t / b.fast));
}

static double blow_volume(struct blow b, double t) {
  return t < 0 ? 0 : b.k * (b.slow * (1 - exp(-t / b.slow)) - b.fast * (1 - exp(-t / b.fast)));
}

static double blow_fvc(struct blow b) {
  return b.k * (b.slow - b.fast);
}

static double blow_peak_at(struct blow b) {
  return log(b.slow / b.fast) * b.slow * b.fast / (b.slow - b.fast);
}

static double blow_zero(struct blow b) {
  double t = blow_peak_at(b);
  return t - blow_volume(b, t) / blow_flow(b, t);
}

/* Where a rising function of a blow passes a level. */
static double crossing(double (*f)(struct blow, double), struct blow b, double level, double low, double high) {
  for (int i = 0; i < 60; i++) {
    double middle = (low + high) / 2;
    if (f(b, middle) < level)
      low = middle;
    else
      high = middle;
  }
  return low;
}

/* An FVC of 4.95 L. */
static const struct blow adult = {11, 0.5, 0.05};

/* The part of a blow between two times; the first sample is at `from`. */
static void blow_part(struct hand *h, struct blow b, double from, double to) {
  size_t n = (size_t)((to - from) * h->rate + 0.5);
  for (size_t i = 0; i < n; i++)
    add(h, blow_flow(b, from + (double)i / h->rate));
}

static struct spirometry_curve curve_of(const struct hand *h) {
  return (struct spirometry_curve){.n = h->n, .rate = h->rate, .flow = h->flow};
}

static struct spirometry_blow measure(const struct hand *h) {
  struct spirometry_curve c = curve_of(h);
  struct spirometry_blow b;
  assert_int_equal(spirometry_curve(&c, &b), 0);
  return b;
}

static const char *const names[] = {
#define X(name, member, ...) member,
#include "spirometry.def"
#undef X
};

/* The criteria that failed, as one text. */
static const char *failed(const struct spirometry_blow *b) {
  static char text[512];
  text[0] = 0;
  for (size_t i = 0; i < COUNT(names); i++)
    if (b->criteria[i] == SPIROMETRY_FAILED)
      snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", *text ? " " : "", names[i]);
  return text;
}

/* ---- what is measured ------------------------------------------------------------------------------------------- */

enum source { FLOW, VOLUME, BOTH, TIMED_FLOW, TIMED_VOLUME, SOURCES };

/* A blow after a rest that ends between two samples, quantised to 1 mL and 1 mL/s, and what it must measure. */
static void check_blow(struct blow b, double rate, enum source source, double noise) {
  HAND(h, rate);
  double rest = 1 + uniform() / rate, at = 0;
  for (; at < rest + 8; at += source >= TIMED_FLOW ? (0.5 + uniform()) / rate : 1 / rate) {
    h->time[h->n] = at;
    h->volume[h->n] = round(1000 * blow_volume(b, at - rest)) / 1000 - 2.5;
    add(h, round(1000 * (blow_flow(b, at - rest) + noise * (2 * uniform() - 1))) / 1000);
  }
  struct spirometry_curve c = {
      .n = h->n,
      .rate = rate,
      .time = source >= TIMED_FLOW ? h->time : NULL,
      .flow = source == VOLUME || source == TIMED_VOLUME ? NULL : h->flow,
      .volume = source == FLOW || source == TIMED_FLOW ? NULL : h->volume,
      .volume_step = 0.001,
  };
  struct spirometry_blow got;
  assert_int_equal(spirometry_curve(&c, &got), 0);
  double peak = blow_peak_at(b), pef = blow_flow(b, peak), zero = blow_zero(b), fvc = blow_volume(b, 8);
  double coarse = source >= TIMED_FLOW ? 2 : 1;
  double summed = c.volume ? 10 : 15; /* mL: noise sums up over 8 s */
  near("FVC", got.fvc_ml, 1000 * fvc, summed);
  near("FEV1", got.fev1_ml, 1000 * blow_volume(b, zero + 1), 10);
  near("FEV6", got.fev6_ml, 1000 * blow_volume(b, zero + 6), summed);
  near("BEV", got.bev_ml, 1000 * blow_volume(b, zero), 10);
  near("PEF", got.pef_ml_s, 1000 * pef, 60 * coarse);
  near("time zero", got.time_zero_ms, 1000 * (rest + zero), 4 * coarse);
  double rise = crossing(blow_flow, b, 0.9 * pef, 0, peak) - crossing(blow_flow, b, 0.1 * pef, 0, peak);
  near("rise", got.pef_rise_ms, 1000 * rise, 15 * coarse);
  double middle = fvc / 2 / (crossing(blow_volume, b, 0.75 * fvc, 0, 8) - crossing(blow_volume, b, 0.25 * fvc, 0, 8));
  near("FEF25-75", got.fef25_75_ml_s, 1000 * middle, 1000 * middle * 0.02);
  assert_int_equal(got.fivc_ml, NONE);
  assert_int_equal(got.hesitation_ms, NONE);
  assert_string_equal(failed(&got), "");
  assert_int_equal(got.criteria[SPIROMETRY_ZERO_FLOW], SPIROMETRY_MET);
  assert_int_equal(spirometry_fev1_verdict(&got), SPIROMETRY_ACCEPTABLE);
  assert_int_equal(spirometry_fvc_verdict(&got), SPIROMETRY_ACCEPTABLE);
}

TEST(known_answers) {
  static const struct blow blows[] = {{11, 0.5, 0.05}, {16, 0.42, 0.04}, {5, 0.8, 0.06},
                                      {3, 1.1, 0.05},  {7, 0.3, 0.04},   {2, 0.5, 0.03}};
  static const double rates[] = {100, 125, 200, 250, 500};
  for (size_t i = 0; i < COUNT(blows); i++)
    for (size_t k = 0; k < COUNT(rates); k++)
      for (enum source s = 0; s < SOURCES; s++)
        for (int again = 0; again < 10; again++)
          check_blow(blows[i], rates[k], s, 0.02);
}

TEST(other_rates) {
  for (int again = 0; again < 20; again++) {
    check_blow(adult, 1000, FLOW, 0.02);
    check_blow(adult, 60, BOTH, 0);
  }
}

/* Pulses of 10 mL and the time between them: no sample at all while nothing moves. */
TEST(pulses) {
  HAND(h, 1);
  h->time[h->n] = 0;
  add(h, 0);
  for (double litres = 0.01; litres < blow_volume(adult, 7); litres += 0.01) {
    h->time[h->n] = 0.5 + round(1e4 * crossing(blow_volume, adult, litres, 0, 9)) / 1e4;
    h->volume[h->n] = litres;
    add(h, 0);
  }
  h->time[h->n] = 8;
  h->volume[h->n] = h->volume[h->n - 1];
  add(h, 0);
  struct spirometry_curve c = {.n = h->n, .time = h->time, .volume = h->volume};
  struct spirometry_blow b;
  assert_int_equal(spirometry_curve(&c, &b), 0);
  near("FVC", b.fvc_ml, 4950, 10);
  near("FEV1", b.fev1_ml, 1000 * blow_volume(adult, blow_zero(adult) + 1), 15);
  near("PEF", b.pef_ml_s, 1000 * blow_flow(adult, blow_peak_at(adult)), 100);
  assert_string_equal(failed(&b), "");
}

/* Two samples a pulse fewer than a blow needs. */
TEST(steps_that_hide) {
  HAND(h, 1);
  for (double at = 0; at < 8; at += 0.05) {
    h->time[h->n] = at + (h->n % 2 ? 0.01 : 0);
    h->volume[h->n] = blow_volume(adult, at - 1);
    add(h, blow_flow(adult, at - 1));
  }
  struct spirometry_blow b;
  struct spirometry_curve c = {.n = h->n, .time = h->time, .volume = h->volume};
  assert_int_equal(spirometry_curve(&c, &b), -EDOM);
  c.volume = NULL;
  c.flow = h->flow;
  assert_int_equal(spirometry_curve(&c, &b), -EDOM);
}

/* Volume alone in steps of 10 or 20 mL: right within a step, and no step is a cough or a closed glottis. */
TEST(coarse_volume) {
  for (int again = 0; again < 3000; again++) {
    static const double rates[] = {50, 100, 200};
    double rate = rates[again % 3];
    HAND(h, rate);
    double rest = 1 + uniform() / rate, step = again % 2 ? 0.01 : 0.02;
    struct blow b = {2 + 4 * uniform(), 0.2 + 0.5 * uniform(), 0.04 + 0.02 * uniform()}, slow = b;
    slow.k *= 0.5 * uniform(); /* of lungs that empty at two speeds */
    slow.slow = 1 + 1.3 * uniform();
    for (double at = 0; at < rest + 10; at += 1 / rate) {
      double t = at < rest + 8 ? at - rest : 8; /* then 0.1 L/s at most are cut off */
      h->volume[h->n] = round((blow_volume(b, t) + blow_volume(slow, t)) / step) * step;
      add(h, 0);
    }
    struct spirometry_curve c = {.n = h->n, .rate = rate, .volume = h->volume, .volume_step = step};
    struct spirometry_blow got;
    assert_int_equal(spirometry_curve(&c, &got), 0);
    near("FVC", got.fvc_ml, 1000 * (blow_volume(b, 8) + blow_volume(slow, 8)), 1000 * step);
    assert_null(strstr(failed(&got), "cough"));
    assert_null(strstr(failed(&got), "glottis"));
  }
}

/* With both, a coarse volume gives way to the flow, a fine one does not. */
TEST(better_source) {
  HAND(h, 100);
  steady(h, 1, 0);
  blow_part(h, adult, 0, 7);
  for (size_t i = 0; i < h->n; i++)
    h->volume[i] = 1.01 * round(20 * blow_volume(adult, (double)i / 100 - 1)) / 20;
  struct spirometry_curve c = curve_of(h);
  struct spirometry_blow b;
  c.volume = h->volume;
  c.volume_step = 0.05;
  assert_int_equal(spirometry_curve(&c, &b), 0);
  near("FVC", b.fvc_ml, 4950, 6);
  c.volume_step = 0.001;
  assert_int_equal(spirometry_curve(&c, &b), 0);
  near("FVC", b.fvc_ml, 4999, 1);
  for (size_t i = 0; i < h->n; i++)
    h->volume[i] *= 1.2;
  assert_int_equal(spirometry_curve(&c, &b), -EBADMSG);
}

/* ---- which expiration ------------------------------------------------------------------------------------------- */

/* Tidal breathing, a cough, a slow full expiration, the full inspiration, the blow, an inspiration, breathing again. */
static void whole_manoeuvre(struct hand *h, double held, double inspired) {
  for (int i = 0; i < 3; i++) {
    breath(h, 1.5, -0.5);
    breath(h, 2, 0.5);
  }
  breath(h, 0.15, 0.6);
  breath(h, 1, -0.6);
  breath(h, 1.5, -2.5);
  breath(h, 8, 4.9);
  steady(h, 0.3, 0);
  breath(h, 1.4, -4.95);
  steady(h, held, 0);
  blow_part(h, adult, 0, 7);
  breath(h, 1, -inspired);
  for (int i = 0; i < 2; i++) {
    breath(h, 1.5, 0.5);
    breath(h, 1.5, -0.5);
  }
}

TEST(the_forced_one) {
  HAND(h, 100);
  whole_manoeuvre(h, 0.5, 4.9);
  struct spirometry_blow b = measure(h);
  near("FVC", b.fvc_ml, 4950, 6);
  near("FEV1", b.fev1_ml, 1000 * blow_volume(adult, blow_zero(adult) + 1), 5);
  near("hesitation", b.hesitation_ms, 500 + 1000 * blow_zero(adult), 110);
  near("FIVC", b.fivc_ml, 4900, 6);
  near("FET", b.fet_ms, 7000 - 1000 * blow_zero(adult), 60);
  assert_int_equal(b.criteria[SPIROMETRY_HESITATION], SPIROMETRY_MET);
  assert_int_equal(b.criteria[SPIROMETRY_FIVC], SPIROMETRY_MET);
  assert_string_equal(failed(&b), "");
  double sum = 12;
  for (size_t i = 0; i < h->n; i++)
    h->volume[i] = sum += h->flow[i] / 100;
  struct spirometry_curve c = {.n = h->n, .rate = 100, .volume = h->volume};
  assert_int_equal(spirometry_curve(&c, &b), 0);
  near("FVC of volume", b.fvc_ml, 4950, 6);
  near("FIVC of volume", b.fivc_ml, 4900, 6);
  assert_string_equal(failed(&b), "");
}

/* Noise and the place of the samples cost single blows little, and on the average next to nothing. */
TEST(no_bias) {
  static const struct {
    struct blow b;
    double noise, pef, fvc;
  } rows[] = {{{5, 0.5, 0.05}, 0.035, 10, 2.5}, {{20, 0.3, 0.012}, 0, 12, 1}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    double pef = 0, fvc = 0;
    for (int again = 0; again < 400; again++) {
      HAND(h, 100);
      double rest = 2 + uniform() / 100;
      for (double at = 0; at < rest + 9; at += 0.01)
        add(h, blow_flow(rows[i].b, at - rest) + rows[i].noise * (2 * uniform() - 1));
      struct spirometry_blow b = measure(h);
      pef += b.pef_ml_s / 400.0;
      fvc += b.fvc_ml / 400.0;
    }
    near("mean PEF", pef, 1000 * blow_flow(rows[i].b, blow_peak_at(rows[i].b)), rows[i].pef);
    near("mean FVC", fvc, 1000 * blow_fvc(rows[i].b), rows[i].fvc);
  }
}

TEST(hesitation_and_fivc) {
  static const struct {
    double held, inspired;
    const char *failed;
  } rows[] = {{1.7, 4.9, ""}, {2.3, 4.9, "hesitation"}, {0.2, 5.17, ""}, {0.2, 5.22, "fivc"}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    HAND(h, 100);
    whole_manoeuvre(h, rows[i].held, rows[i].inspired);
    struct spirometry_blow b = measure(h);
    near("FIVC", b.fivc_ml, 1000 * rows[i].inspired, 8);
    assert_string_equal(failed(&b), rows[i].failed);
    assert_int_equal(spirometry_fev1_verdict(&b), i == 3 ? SPIROMETRY_USABLE : SPIROMETRY_ACCEPTABLE);
    assert_int_equal(spirometry_fvc_verdict(&b), i == 3 ? SPIROMETRY_USABLE : SPIROMETRY_ACCEPTABLE);
  }
}

/* ---- each criterion --------------------------------------------------------------------------------------------- */

TEST(hesitant_start) {
  for (int slow = 0; slow < 2; slow++) {
    HAND(h, 100);
    steady(h, 1, 0);
    steady(h, 1, slow ? 0.4 : 0.15);
    blow_part(h, adult, 0, 7);
    struct spirometry_blow b = measure(h);
    near("FVC", b.fvc_ml, slow ? 5350 : 5100, 10);
    double before = slow ? 0.4 : 0.15, peak = blow_peak_at(adult);
    double zero = peak - (before + blow_volume(adult, peak)) / blow_flow(adult, peak);
    near("BEV", b.bev_ml, 1000 * (before * (zero < 0 ? 1 + zero : 1) + blow_volume(adult, zero)), 10);
    assert_string_equal(failed(&b), slow ? "bev" : "");
    assert_int_equal(spirometry_fev1_verdict(&b), slow ? SPIROMETRY_NO : SPIROMETRY_ACCEPTABLE);
    assert_int_equal(spirometry_fvc_verdict(&b), slow ? SPIROMETRY_NO : SPIROMETRY_ACCEPTABLE);
  }
}

TEST(slow_rise) {
  HAND(h, 100);
  steady(h, 1, 0);
  for (int i = 0; i < 32; i++) /* a ramp of 0.32 s */
    add(h, 0.1 * i);
  for (int i = 0; i < 700; i++)
    add(h, 3.2 * exp(-i / 90.0));
  struct spirometry_blow b = measure(h);
  near("rise", b.pef_rise_ms, 256, 6);
  near("BEV", b.bev_ml, 128, 5); /* an eighth of 3.2 L/s x 0.32 s */
  near("time zero", b.time_zero_ms, 1160, 3);
  near("FVC", b.fvc_ml, 1000 * (0.512 + 3.2 * 0.9), 16);
  assert_string_equal(failed(&b), "pef_rise");
}

/* A cough: the glottis closes for a moment and opens with a burst. */
static void cough(struct hand *h, size_t at, double closed, double burst) {
  size_t n = (size_t)(closed * h->rate), m = (size_t)(0.08 * h->rate);
  for (size_t i = 0; i < n; i++)
    h->flow[at + i] *= 0.05;
  for (size_t i = 0; i < m; i++)
    h->flow[at + n + i] += burst * sin(M_PI * (double)i / (double)m);
}

TEST(coughs) {
  static const struct {
    double at, closed, burst;
    const char *failed;
    enum spirometry_verdict fev1, fvc;
  } rows[] = {
      {0.3, 0.1, 2, "cough_first_second", SPIROMETRY_USABLE, SPIROMETRY_ACCEPTABLE},
      {0.6, 0.15, 1, "cough_first_second", SPIROMETRY_USABLE, SPIROMETRY_ACCEPTABLE},
      {0.92, 0.05, 1, "cough_first_second", SPIROMETRY_USABLE, SPIROMETRY_ACCEPTABLE},
      {1.2, 0.1, 1, "cough_later", SPIROMETRY_ACCEPTABLE, SPIROMETRY_ACCEPTABLE},
      {3, 0.1, 0.8, "cough_later", SPIROMETRY_ACCEPTABLE, SPIROMETRY_ACCEPTABLE},
  };
  for (size_t i = 0; i < COUNT(rows); i++)
    for (int rate = 100; rate <= 400; rate *= 2) {
      HAND(h, rate);
      steady(h, 1, 0);
      blow_part(h, adult, 0, 8);
      cough(h, (size_t)((1 + rows[i].at) * rate), rows[i].closed, rows[i].burst);
      struct spirometry_blow b = measure(h);
      assert_string_equal(failed(&b), rows[i].failed);
      assert_int_equal(spirometry_fev1_verdict(&b), rows[i].fev1);
      assert_int_equal(spirometry_fvc_verdict(&b), rows[i].fvc);
    }
}

/* A cough may burst faster than the blast: PEF and time zero stay the blast's. */
TEST(cough_above_pef) {
  HAND(h, 100);
  steady(h, 1, 0);
  blow_part(h, adult, 0, 8);
  cough(h, 130, 0.1, 7);
  struct spirometry_blow b = measure(h);
  near("PEF", b.pef_ml_s, 1000 * blow_flow(adult, blow_peak_at(adult)), 30);
  near("BEV", b.bev_ml, 1000 * blow_volume(adult, blow_zero(adult)), 5);
  assert_string_equal(failed(&b), "cough_first_second");
}

/* A puff, a pause, then the blow: the puff was lost. */
TEST(started_twice) {
  HAND(h, 100);
  steady(h, 1, 0);
  breath(h, 0.2, 0.4);
  steady(h, 0.4, 0);
  blow_part(h, adult, 0, 8);
  struct spirometry_blow b = measure(h);
  assert_true(b.bev_ml > 380);
  assert_string_equal(failed(&b), "bev");
}

/* The glottis closes within 50 ms, for good or for a while. */
TEST(glottis) {
  static const struct {
    double at, closed; /* 0: for good */
    const char *failed;
    enum spirometry_verdict fev1, fvc;
  } rows[] = {
      {0.4, 0, "glottis_first_second eofe early_stop", SPIROMETRY_NO, SPIROMETRY_NO},
      {0.8, 0.5, "glottis_first_second", SPIROMETRY_NO, SPIROMETRY_NO},
      {1.5, 0, "glottis_later eofe early_stop", SPIROMETRY_ACCEPTABLE, SPIROMETRY_USABLE},
      {1.3, 0.6, "glottis_later", SPIROMETRY_ACCEPTABLE, SPIROMETRY_USABLE},
      {2.0, 0, "glottis_later eofe early_stop", SPIROMETRY_ACCEPTABLE, SPIROMETRY_USABLE},
  };
  for (size_t i = 0; i < COUNT(rows); i++)
    for (int noise = 0; noise < 2; noise++) {
      HAND(h, 100);
      steady(h, 1, 0);
      blow_part(h, (struct blow){7, 0.7, 0.05}, 0, rows[i].at);
      double last = h->flow[h->n - 1];
      for (int k = 4; k > 0; k--)
        add(h, last * k / 5);
      steady(h, rows[i].closed > 0 ? rows[i].closed : 4, 0);
      if (rows[i].closed > 0)
        blow_part(h, (struct blow){7, 0.7, 0.05}, rows[i].at, 8);
      for (size_t k = 0; noise && k < h->n; k++)
        h->flow[k] += 0.02 * (2 * uniform() - 1);
      struct spirometry_blow b = measure(h);
      assert_string_equal(failed(&b), rows[i].failed);
      assert_int_equal(spirometry_fev1_verdict(&b), rows[i].fev1);
      assert_int_equal(spirometry_fvc_verdict(&b), rows[i].fvc);
      if (rows[i].closed <= 0)
        near("FET", b.fet_ms, 1000 * (rows[i].at - blow_zero((struct blow){7, 0.7, 0.05})), 70);
    }
}

/* Lungs that empty at a knee are no closed glottis: the flow ran out as it had promised. */
TEST(knee) {
  for (int round_knee = 0; round_knee < 2; round_knee++)
    for (int n = 40; n <= 120; n += 5) {
      HAND(h, 100);
      steady(h, 1, 0);
      blow_part(h, (struct blow){9, 0.5, 0.04}, 0, 0.1);
      double from = h->flow[h->n - 1];
      for (int i = 0; i < n; i++)
        add(h, from * (1 - (double)(round_knee ? i * i : i * n) / (n * n)));
      steady(h, 3, 0);
      struct spirometry_blow b = measure(h);
      assert_string_equal(failed(&b), "");
    }
}

TEST(early_stop) {
  for (int inspired = 0; inspired < 2; inspired++) {
    HAND(h, 100);
    steady(h, 1, 0);
    blow_part(h, (struct blow){4, 1.2, 0.05}, 0, 3);
    if (inspired)
      breath(h, 1, -2);
    struct spirometry_blow b = measure(h);
    assert_string_equal(failed(&b), "eofe early_stop");
    near("FET", b.fet_ms, 3000 - 1000 * blow_zero((struct blow){4, 1.2, 0.05}), 30);
    near("FVC", b.fvc_ml, 1000 * blow_volume((struct blow){4, 1.2, 0.05}, 3), 5);
    near("the last second", b.plateau_ml,
         1000 * (blow_volume((struct blow){4, 1.2, 0.05}, 3) - blow_volume((struct blow){4, 1.2, 0.05}, 2)), 30);
    assert_int_equal(b.fev6_ml, NONE);
    assert_int_equal(spirometry_fev1_verdict(&b), SPIROMETRY_ACCEPTABLE);
    assert_int_equal(spirometry_fvc_verdict(&b), SPIROMETRY_USABLE);
  }
}

TEST(before_one_second) {
  HAND(h, 100);
  breath(h, 1, -4);
  blow_part(h, adult, 0, 0.8);
  breath(h, 1, -3);
  struct spirometry_blow b = measure(h);
  assert_int_equal(b.fev1_ml, NONE);
  assert_int_equal(b.plateau_ml, b.fvc_ml);
  assert_string_equal(failed(&b), "eofe early_stop");
  assert_int_equal(spirometry_fev1_verdict(&b), SPIROMETRY_NO);
  assert_int_equal(spirometry_fvc_verdict(&b), SPIROMETRY_USABLE);
}

/* Still 70 mL/s after 15 s: long enough, whatever flows; 14 s are not. */
TEST(fifteen_seconds) {
  for (int seconds = 14; seconds <= 16; seconds += 2) {
    HAND(h, 100);
    steady(h, 1, 0);
    for (int i = 0; i < seconds * 100; i++)
      add(h, blow_flow((struct blow){3, 0.7, 0.05}, i / 100.0) + (i < 5 ? 0 : 0.5 * exp(-i / 800.0)));
    breath(h, 1, -2);
    struct spirometry_blow b = measure(h);
    assert_true(b.plateau_ml > 50);
    assert_string_equal(failed(&b), seconds < 15 ? "eofe early_stop" : "");
  }
}

/* The plateau's limit, by a volume that rises evenly to its end. */
TEST(plateau_limit) {
  for (int ml = 24; ml <= 27; ml++) {
    HAND(h, 100);
    for (int i = 0; i < 900; i++) {
      double t = i / 100.0 - 1, tail = t > 0 ? ml / 1000.0 * (t < 7 ? t : 7) : 0;
      h->volume[i] = round(1000 * (blow_volume((struct blow){11, 0.3, 0.05}, t) + tail)) / 1000;
      add(h, 0);
    }
    h->n = 800;
    struct spirometry_curve c = {.n = h->n, .rate = 100, .volume = h->volume, .volume_step = 0.001};
    struct spirometry_blow b;
    assert_int_equal(spirometry_curve(&c, &b), 0);
    near("the last second", b.plateau_ml, ml, 1);
    assert_int_equal(b.criteria[SPIROMETRY_EOFE], b.plateau_ml <= 25 ? SPIROMETRY_MET : SPIROMETRY_FAILED);
  }
}

TEST(zero_flow) {
  static const struct {
    double before, offset, after;
    enum spirometry_state state;
  } rows[] = {
      {1.5, 0, 0, SPIROMETRY_MET},        {1.5, 0.02, 0, SPIROMETRY_MET},    {1.5, 0.04, 0, SPIROMETRY_FAILED},
      {1.5, -0.04, 0, SPIROMETRY_FAILED}, {1.5, 0.15, 4, SPIROMETRY_FAILED}, {0.1, 0.06, 4, SPIROMETRY_FAILED},
      {0.1, -0.06, 4, SPIROMETRY_FAILED}, {0.1, 0, 4, SPIROMETRY_MET},
  };
  for (size_t i = 0; i < COUNT(rows); i++)
    for (int noise = 0; noise < 2; noise++) {
      HAND(h, 100);
      steady(h, rows[i].before, 0);
      blow_part(h, (struct blow){11, 0.4, 0.05}, 0, 5);
      steady(h, rows[i].after, 0);
      for (size_t k = 0; k < h->n; k++)
        h->flow[k] += rows[i].offset + (noise ? 0.02 * (2 * uniform() - 1) : 0);
      struct spirometry_blow b = measure(h);
      if (b.criteria[SPIROMETRY_ZERO_FLOW] != rows[i].state)
        fail_msg("row %zu: %d", i, b.criteria[SPIROMETRY_ZERO_FLOW]);
      assert_int_equal(spirometry_fev1_verdict(&b) == SPIROMETRY_NO, rows[i].state == SPIROMETRY_FAILED);
      assert_int_equal(b.fivc_ml, NONE); /* a drift is no inspiration */
    }
}

/* Slow lungs are no faulty zero, and where nobody rests nothing is said. */
TEST(zero_flow_not_seen) {
  HAND(h, 100);
  steady(h, 0.2, 0);
  blow_part(h, (struct blow){2, 4, 0.05}, 0, 12);
  breath(h, 1, -3);
  struct spirometry_blow b = measure(h);
  assert_int_equal(b.criteria[SPIROMETRY_ZERO_FLOW], SPIROMETRY_NOT_JUDGED);
  assert_int_equal(spirometry_fev1_verdict(&b), SPIROMETRY_ACCEPTABLE);
}

/* A record that begins in the middle of a blow has no BEV, so nothing may be said. */
TEST(late_start) {
  HAND(h, 100);
  blow_part(h, adult, 0.08, 7);
  struct spirometry_blow b = measure(h);
  assert_int_equal(b.bev_ml, NONE);
  assert_int_equal(b.pef_rise_ms, NONE);
  assert_int_equal(b.criteria[SPIROMETRY_BEV], SPIROMETRY_NOT_JUDGED);
  assert_int_equal(spirometry_fev1_verdict(&b), SPIROMETRY_UNKNOWN);
  assert_int_equal(spirometry_fvc_verdict(&b), SPIROMETRY_UNKNOWN);
}

TEST(limits) {
  static const struct {
    int32_t ml, fvc;
    bool within;
  } rows[] = {{100, 0, true},       {101, 2019, false}, {101, 2020, true},
              {200, 4000, true},    {201, 4000, false}, {INT32_MAX, INT32_MAX, false},
              {INT32_MIN, 0, true}, {-5, 1000, true}};
  for (size_t i = 0; i < COUNT(rows); i++)
    assert_int_equal(spirometry_is_within(rows[i].ml, rows[i].fvc), rows[i].within);
}

/* The standard's table: what each criterion costs when it fails, and when it is not judged. */
TEST(verdicts) {
  static const char *const fev1_when_failed[] = {[SPIROMETRY_BEV] = "no",
                                                 [SPIROMETRY_ZERO_FLOW] = "no",
                                                 [SPIROMETRY_COUGH_FIRST_SECOND] = "usable",
                                                 [SPIROMETRY_GLOTTIS_FIRST_SECOND] = "no",
                                                 [SPIROMETRY_MOUTHPIECE] = "usable",
                                                 [SPIROMETRY_LEAK] = "usable",
                                                 [SPIROMETRY_FIVC] = "usable",
                                                 [SPIROMETRY_CRITERIA] = NULL};
  static const char *const fvc_when_failed[] = {[SPIROMETRY_BEV] = "no",
                                                [SPIROMETRY_ZERO_FLOW] = "no",
                                                [SPIROMETRY_GLOTTIS_FIRST_SECOND] = "no",
                                                [SPIROMETRY_GLOTTIS_LATER] = "usable",
                                                [SPIROMETRY_EOFE] = "usable",
                                                [SPIROMETRY_MOUTHPIECE] = "usable",
                                                [SPIROMETRY_LEAK] = "usable",
                                                [SPIROMETRY_FIVC] = "usable",
                                                [SPIROMETRY_CRITERIA] = NULL};
  static const char *const verdicts[] = {"not_judged", "no", "usable", "acceptable"};
  for (size_t i = 0; i < SPIROMETRY_CRITERIA; i++)
    for (int judged = 0; judged < 2; judged++) {
      struct spirometry_blow b = {.fvc_ml = 4000, .fev1_ml = 3000};
      for (size_t k = 0; k < SPIROMETRY_CRITERIA; k++)
        b.criteria[k] = SPIROMETRY_MET;
      b.criteria[i] = judged ? SPIROMETRY_FAILED : SPIROMETRY_NOT_JUDGED;
      const char *fev1 = fev1_when_failed[i] ? fev1_when_failed[i] : "acceptable";
      const char *fvc = fvc_when_failed[i] ? fvc_when_failed[i] : "acceptable";
      bool seen =
          i == SPIROMETRY_ZERO_FLOW || i == SPIROMETRY_MOUTHPIECE || i == SPIROMETRY_LEAK || i == SPIROMETRY_FIVC;
      if (!judged) {
        fev1 = seen || !strcmp(fev1, "acceptable") ? "acceptable" : "not_judged";
        fvc = seen || !strcmp(fvc, "acceptable") ? "acceptable" : "not_judged";
      }
      assert_string_equal(verdicts[spirometry_fev1_verdict(&b)], fev1);
      assert_string_equal(verdicts[spirometry_fvc_verdict(&b)], fvc);
    }
}

/* ---- hostile ---------------------------------------------------------------------------------------------------- */

static void bounded(const char *what, int32_t value, int32_t low, int32_t high) {
  if (value != NONE && (value < low || value > high))
    fail_msg("%s is %d", what, value);
}

/* Whatever the samples: a refusal that leaves *ret alone, or numbers that a lung may have. */
static void check_any(const struct spirometry_curve *c) {
  struct spirometry_blow b, untouched;
  memset(&b, 0x5a, sizeof b);
  memset(&untouched, 0x5a, sizeof untouched);
  int r = spirometry_curve(c, &b);
  if (r < 0) {
    assert_true(r == -EINVAL || r == -ENODATA || r == -EDOM || r == -ERANGE || r == -EBADMSG);
    assert_memory_equal(&b, &untouched, sizeof b);
    return;
  }
  assert_int_equal(r, 0);
  bounded("FVC", b.fvc_ml, 1, 15000);
  bounded("FEV1", b.fev1_ml, -15000, 30000);
  bounded("FEV6", b.fev6_ml, -15000, 30000);
  bounded("BEV", b.bev_ml, -15000, 30000);
  bounded("PEF", b.pef_ml_s, 100, 25000);
  bounded("FEF25-75", b.fef25_75_ml_s, 0, 25000);
  bounded("FIVC", b.fivc_ml, 100, 2000000);
  bounded("time zero", b.time_zero_ms, -600000, 600000);
  bounded("rise", b.pef_rise_ms, 0, 600000);
  bounded("hesitation", b.hesitation_ms, 0, 1200000);
  bounded("FET", b.fet_ms, -600000, 1200000);
  bounded("the last second", b.plateau_ml, -15000, 30000);
  for (size_t i = 0; i < SPIROMETRY_CRITERIA; i++)
    assert_in_range(b.criteria[i], SPIROMETRY_NOT_JUDGED, SPIROMETRY_FAILED);
}

/* One of several unkind patterns of int16. */
static int16_t pattern(int kind, size_t i, size_t n) {
  switch (kind) {
  case 0:
    return (int16_t)(rnd() % 65535 - 32767);
  case 1:
    return i % 2 ? INT16_MAX : -INT16_MAX;
  case 2:
    return i < n / 2 ? -INT16_MAX : INT16_MAX;
  case 3:
    return 0;
  case 4:
    return INT16_MAX;
  case 5:
    return i == n / 2 ? INT16_MAX : 0;
  case 6:
    return (int16_t)(rnd() % 41 - 20);
  case 7:
    return (int16_t)(i * 65534 / n - 32767);
  case 8:
    return (int16_t)(i % 97 < 3 ? rnd() % 8000 : 0);
  default:
    return (int16_t)(3000 * sin((double)i / 37) * sin((double)i / 1009));
  }
}

TEST(any_samples) {
  static const double rates[] = {25, 33, 100, 250, 251, 1000}, scales[] = {1e-6, 0.001, 0.01, 1, 0.0305};
  static const size_t lengths[] = {2, 3, 4, 5, 8, 20, 100, 1000, 6000};
  HAND(h, 1);
  for (int kind = 0; kind < 10; kind++)
    for (int other = 0; other < 10; other++)
      for (size_t i = 0; i < COUNT(rates) * COUNT(scales) * COUNT(lengths); i++) {
        size_t n = lengths[i % COUNT(lengths)];
        double scale = scales[i / COUNT(lengths) % COUNT(scales)], rate = rates[i / COUNT(lengths) / COUNT(scales)];
        for (size_t k = 0; k < n; k++) {
          h->flow[k] = pattern(kind, k, n) * scale;
          h->volume[k] = pattern(other, k, n) * scale;
          h->time[k] = (k ? h->time[k - 1] : 0) + (double)(rnd() % 5) * (kind == 3 ? 0 : 0.5) / rate;
        }
        struct spirometry_curve c = {.n = n, .rate = rate, .volume_step = scale < 1 ? scale : 1};
        c.flow = i % 3 == 1 && other != kind ? NULL : h->flow;
        c.volume = i % 3 == 2 && other != kind ? NULL : h->volume;
        c.time = i % 5 == 4 ? h->time : NULL;
        check_any(&c);
      }
}

/* Blows that are one sample away from a plausible one. */
TEST(any_damage) {
  HAND(h, 100);
  for (int again = 0; again < 3000; again++) {
    h->n = 0;
    whole_manoeuvre(h, 0.5, 4.9);
    double sum = 0;
    for (size_t i = 0; i < h->n; i++)
      h->volume[i] = sum += h->flow[i] / 100;
    for (uint64_t k = 1 + rnd() % 5; k; k--) {
      h->flow[rnd() % h->n] = pattern(0, 0, 1) * 0.001;
      h->volume[rnd() % h->n] = pattern(0, 0, 1) * 0.001;
    }
    struct spirometry_curve c = curve_of(h);
    c.volume = again % 3 == 1 ? NULL : h->volume;
    c.flow = again % 3 == 2 ? NULL : h->flow;
    c.volume_step = again % 2 ? 0.02 : 0.001;
    c.n = again % 7 ? h->n : 2 + rnd() % (h->n - 2);
    check_any(&c);
  }
}

TEST(refused) {
  static double flow[4] = {0, 1, 1, 0}, time[4] = {0, 0.01, 0.02, 0.03};
  struct spirometry_curve good = {.n = 4, .rate = 100, .flow = flow}, c = good;
  struct spirometry_blow b;
  assert_int_equal(spirometry_curve(&c, &b), -ENODATA);
  c.n = 1;
  assert_int_equal(spirometry_curve(&c, &b), -EINVAL);
  c = good, c.flow = NULL;
  assert_int_equal(spirometry_curve(&c, &b), -EINVAL);
  c = good, c.n = SIZE_MAX;
  assert_int_equal(spirometry_curve(&c, &b), -EDOM);
  static const double rates[] = {0, -1, 24.9, 1001, 1e300, NAN, INFINITY};
  for (size_t i = 0; i < COUNT(rates); i++) {
    c = good, c.rate = rates[i];
    assert_int_equal(spirometry_curve(&c, &b), -EDOM);
  }
  static const double bad[] = {NAN, INFINITY, -INFINITY, 1e300, 1001, -1001};
  for (size_t i = 0; i < COUNT(bad); i++)
    for (size_t k = 0; k < 4; k++) {
      double kept = flow[k];
      flow[k] = bad[i];
      assert_int_equal(spirometry_curve(&good, &b), -ERANGE);
      flow[k] = kept;
      kept = time[k];
      time[k] = bad[i];
      c = good, c.time = time;
      int r = spirometry_curve(&c, &b);
      assert_true(r == -ERANGE || r == -EDOM || (fabs(bad[i]) < 2000 && r == -ENODATA));
      time[k] = kept;
      c = good, c.volume_step = bad[i];
      assert_int_equal(spirometry_curve(&c, &b), -ERANGE);
    }
  time[2] = 0.005;
  c = good, c.time = time;
  assert_int_equal(spirometry_curve(&c, &b), -ERANGE);
  time[2] = 0.01;
  assert_int_equal(spirometry_curve(&c, &b), -ENODATA);
  HAND(h, 100);
  steady(h, 599, 0);
  c = curve_of(h);
  c.rate = 99;
  assert_int_equal(spirometry_curve(&c, &b), -EDOM);
  c.rate = 100;
  assert_int_equal(spirometry_curve(&c, &b), -ENODATA);
  h->n = 0;
  blow_part(h, (struct blow){60, 0.5, 0.1}, 0, 7); /* 24 L */
  c = curve_of(h);
  assert_int_equal(spirometry_curve(&c, &b), -ERANGE);
  h->n = 0;
  breath(h, 5, 0.25); /* 0.08 L/s at most: nobody's forced expiration */
  c = curve_of(h);
  assert_int_equal(spirometry_curve(&c, &b), -ENODATA);
}

/* ---- one study -------------------------------------------------------------------------------------------------- */

#define RECORDS 4
#define RECORD_SAMPLES 40000

/* A study in the form that records have. */
struct study {
  struct spirometry_record records[RECORDS];
  int16_t samples[RECORDS][RECORD_SAMPLES];
  size_t n;
};

static struct study study; /* of the running test */

static void study_clear(void) {
  for (size_t i = 0; i < study.n; i++)
    json_decref((json_t *)study.records[i].json);
  memset(&study, 0, sizeof study);
}

static json_t *part(const char *name) {
  return json_object_get(json_object_get(study.records[study.n - 1].json, "acquired"), name);
}

static void add_record(void) {
  assert_true(study.n < RECORDS);
  json_t *json = json_pack("{s:{s:[], s:[], s:[]}, s:s}", "acquired", "channels", "measures", "trials", "schema",
                           "asaleed-record-3");
  assert_non_null(json);
  study.records[study.n] = (struct spirometry_record){.json = json, .samples = study.samples[study.n]};
  study.n++;
}

static void add_trial(int number, const char *phase) {
  json_t *trial = json_pack("{s:n, s:i, s:s?, s:n}", "device_time", "number", number, "phase", phase, "time");
  assert_int_equal(json_array_append_new(part("trials"), trial), 0);
}

static void add_measure(int trial, const char *code, const char *unit, const char *value) {
  json_t *m =
      json_pack("{s:s, s:[], s:i, s:s, s:s}", "code", code, "flags", "trial", trial, "unit", unit, "value", value);
  assert_int_equal(json_array_append_new(part("measures"), m), 0);
}

static json_t *add_channel(int trial, const char *code, const char *rate, const char *scale, const double *values,
                           size_t n) {
  struct spirometry_record *r = &study.records[study.n - 1];
  size_t first = r->n_samples;
  assert_true(first + n <= RECORD_SAMPLES);
  for (size_t i = 0; i < n; i++)
    study.samples[study.n - 1][first + i] = (int16_t)lround(values[i] / strtod(scale, NULL));
  r->n_samples += n;
  const char *unit = !strcmp(code, "flow") ? "L/s" : !strcmp(code, "volume") ? "L" : "s";
  json_t *c =
      json_pack("{s:s, s:b, s:i, s:[], s:s, s:i, s:s, s:i, s:s}", "code", code, "derived", 0, "first", (int)first,
                "gaps", "rate", rate, "samples", (int)n, "scale", scale, "trial", trial, "unit", unit);
  assert_int_equal(json_array_append_new(part("channels"), c), 0);
  return c;
}

enum fault { GOOD, COUGH = 1, SLOW = 2, SHORT = 4 };

/* A blow of exactly these mL, as a volume: fev1 is out after 0.9 s, the rest follows from 1.5 s on to 3.5 s. It may
 * cough within the first second, start after 0.4 L were lost, or end by an inspiration at 3.5 s. */
static void exact_blow(struct hand *h, int fev1, int fvc, enum fault fault) {
  h->n = 0;
  for (int i = 0; i < (fault & SHORT ? 450 : 650); i++) {
    double t = i / 100.0 - 1, at = fault & COUGH && t > 0.2 && t < 0.3 ? 0.2 : t,
           later = t < 1.5   ? 0
                   : t > 3.5 ? 2
                             : t - 1.5;
    double v = at > 0 ? fev1 * (1 - 1.25 * exp(-at / 0.1) + 0.25 * exp(-at / 0.02)) : 0;
    v += (fvc - fev1) * (1 - cos(M_PI * later / 2)) / 2;
    if (fault & SLOW)
      v += 400 * (t < -0.7 ? 0 : t > 0 ? 1 : (t + 0.7) / 0.7);
    h->volume[h->n++] = round(v) / 1000;
  }
  for (int i = 0; fault & SHORT && i < 100; i++)
    h->volume[h->n++] = fvc * (1 - i / 101.0) / 1000;
}

static void add_blow(int number, const char *phase, int fev1, int fvc, enum fault fault) {
  HAND(h, 100);
  exact_blow(h, fev1, fvc, fault);
  add_trial(number, phase);
  add_channel(number, "volume", "100", "0.001", h->volume, h->n);
}

static json_t *assess(double age) {
  json_t *ret = NULL;
  assert_int_equal(spirometry_assess(study.records, study.n, age, &ret), 0);
  assert_non_null(ret);
  return ret;
}

static const json_t *phase_of(const json_t *result, size_t i) {
  return json_array_get(json_object_get(result, "phases"), i);
}

static const json_t *trial_of(const json_t *result, size_t phase, size_t i) {
  return json_array_get(json_object_get(phase_of(result, phase), "trials"), i);
}

static const char *grade_of(const json_t *result, const char *of) {
  return json_text(json_object_get(phase_of(result, 0), of), "grade");
}

static const char *code_of(const json_t *object, const char *key) {
  return json_text(json_object_get(object, key), "code");
}

/* An integer member; NONE for null. */
static int32_t number(const json_t *object, const char *key) {
  const json_t *n = json_object_get(object, key);
  assert_true(json_is_integer(n) || json_is_null(n));
  return json_is_null(n) ? NONE : (int32_t)json_integer_value(n);
}

TEST(form) {
  study_clear();
  add_record();
  add_blow(1, NULL, 2500, 3000, GOOD);
  add_blow(2, "pre", 2500, 3000, GOOD);
  add_record();
  add_blow(1, "post", 2600, 3100, GOOD);
  add_blow(7, "baseline", 2480, 2990, GOOD);
  _json_cleanup_ json_t *j = assess(50);
  char *text = json_canonical(j, NULL);
  assert_non_null(text);
  assert_string_equal(json_text(j, "edition"), "ATS/ERS 2019");
  assert_string_equal(json_text(j, "limits"), "over_6");
  assert_int_equal(json_array_size(json_object_get(j, "phases")), 3);
  static const char *const phases[] = {"baseline", "pre", "post"};
  for (size_t i = 0; i < 3; i++)
    assert_string_equal(json_text(phase_of(j, i), "phase"), phases[i]);
  const json_t *p = phase_of(j, 0), *t = trial_of(j, 0, 1);
  assert_int_equal(number(t, "record"), 1);
  assert_int_equal(number(t, "trial"), 7);
  assert_string_equal(json_text(t, "source"), "curve");
  assert_true(json_is_null(json_object_get(t, "reason")));
  assert_int_equal(number(t, "fvc_ml"), 2990);
  assert_int_equal(number(t, "fev1_ml"), 2480);
  assert_int_equal(number(t, "fev6_ml"), NONE);
  assert_string_equal(json_text(t, "eofe_by"), "plateau");
  assert_string_equal(json_text(t, "fev1"), "acceptable");
  assert_string_equal(json_text(t, "fvc"), "acceptable");
  assert_string_equal(code_of(t, "coaching"), "good");
  assert_int_equal(json_object_size(json_object_get(t, "criteria")), SPIROMETRY_CRITERIA);
  assert_int_equal(number(json_object_get(p, "fev1"), "ml"), 2500);
  assert_int_equal(number(json_object_get(p, "fev1"), "repeatability_ml"), 20);
  assert_int_equal(number(json_object_get(p, "fvc"), "repeatability_ml"), 10);
  assert_int_equal(number(json_object_get(p, "reader"), "ratio_permille"), 833);
  /* The ratio is the reader's, and no word of this is a reading of it. */
  char *ratio = strstr(text, "ratio");
  assert_non_null(ratio);
  for (; ratio; ratio = strstr(ratio + 1, "ratio"))
    assert_memory_equal(ratio - strlen("\"reader\":{\""), "\"reader\":{\"", strlen("\"reader\":{\""));
  static const char *const words[] = {"obstruct", "restrict", "normal", "predicted", "lln", "score", "833.", "asthm"};
  for (size_t i = 0; i < COUNT(words); i++)
    assert_null(strstr(text, words[i]));
  free(text);
}

/* Grades by the difference of the two best, FEV1 and FVC apart; ages over 6, and up to 6 with 10 % of the largest. */
TEST(grades) {
  static const struct {
    double age;
    int n, fev1[3], fvc[3];
    const char *grades[2];
  } rows[] = {
      {40, 3, {2500, 2350, 2000}, {3000, 2850, 2700}, {"A", "A"}},
      {40, 3, {2500, 2349, 2000}, {3000, 2800, 2700}, {"C", "C"}},
      {40, 3, {2000, 2300, 2500}, {2700, 2799, 3000}, {"C", "D"}},
      {40, 3, {2500, 2299, 2000}, {3000, 2750, 2700}, {"D", "D"}},
      {40, 3, {2500, 2250, 2000}, {3000, 2749, 2700}, {"D", "E"}},
      {40, 2, {2500, 2350}, {3000, 2849}, {"B", "C"}},
      {NAN, 2, {2500, 2300}, {3000, 2850}, {"C", "B"}},
      {6.01, 2, {700, 580}, {900, 760}, {"B", "B"}},
      {6, 2, {700, 600}, {900, 800}, {"B", "B"}},
      {6, 2, {700, 599}, {900, 750}, {"C", "C"}},
      {6, 2, {700, 549}, {900, 700}, {"D", "D"}},
      {5, 3, {700, 499, 400}, {1300, 1170, 1000}, {"E", "A"}},
      {5, 2, {1300, 1169}, {2100, 1889}, {"C", "E"}},
      {40, 1, {2500}, {3000}, {"E", "E"}},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    study_clear();
    add_record();
    for (int k = 0; k < rows[i].n; k++)
      add_blow(k + 1, NULL, rows[i].fev1[k], rows[i].fvc[k], GOOD);
    _json_cleanup_ json_t *j = assess(rows[i].age);
    for (int k = 0; k < rows[i].n; k++) {
      assert_int_equal(number(trial_of(j, 0, (size_t)k), "fev1_ml"), rows[i].fev1[k]);
      assert_int_equal(number(trial_of(j, 0, (size_t)k), "fvc_ml"), rows[i].fvc[k]);
    }
    if (strcmp(grade_of(j, "fev1"), rows[i].grades[0]) || strcmp(grade_of(j, "fvc"), rows[i].grades[1]))
      fail_msg("row %zu: %s, %s", i, grade_of(j, "fev1"), grade_of(j, "fvc"));
    assert_string_equal(json_text(j, "limits"), rows[i].age <= 6 ? "up_to_6" : "over_6");
  }
}

/* A cough leaves FEV1 usable, a lost start nothing; the largest acceptable comes before a larger usable one. */
TEST(usable_and_refused) {
  study_clear();
  add_record();
  add_blow(1, NULL, 2600, 3100, COUGH);
  add_blow(2, NULL, 2550, 3050, COUGH);
  {
    _json_cleanup_ json_t *j = assess(40);
    const json_t *fev1 = json_object_get(phase_of(j, 0), "fev1");
    assert_string_equal(json_text(fev1, "grade"), "U");
    assert_string_equal(json_text(fev1, "basis"), "usable");
    assert_int_equal(number(fev1, "ml"), 2600);
    assert_int_equal(number(fev1, "repeatability_ml"), 50);
    assert_int_equal(number(fev1, "acceptable"), 0);
    assert_int_equal(number(fev1, "usable"), 2);
    assert_string_equal(grade_of(j, "fvc"), "B");
    assert_string_equal(code_of(trial_of(j, 0, 0), "coaching"), "cough_first_second");
  }
  add_blow(3, NULL, 2400, 3000, GOOD);
  {
    _json_cleanup_ json_t *j = assess(40);
    const json_t *fev1 = json_object_get(phase_of(j, 0), "fev1");
    assert_string_equal(json_text(fev1, "grade"), "E");
    assert_string_equal(json_text(fev1, "basis"), "acceptable");
    assert_int_equal(number(fev1, "ml"), 2400);
    assert_int_equal(number(fev1, "repeatability_ml"), NONE);
    assert_int_equal(number(fev1, "usable"), 3);
  }
  add_blow(4, NULL, 2700, 3000, COUGH);
  {
    _json_cleanup_ json_t *j = assess(40);
    assert_int_equal(number(json_object_get(phase_of(j, 0), "fev1"), "ml"), 2400);
  }
  study_clear();
  add_record();
  add_blow(1, NULL, 2500, 3000, SLOW | COUGH);
  _json_cleanup_ json_t *j = assess(40);
  assert_string_equal(grade_of(j, "fev1"), "F");
  assert_string_equal(grade_of(j, "fvc"), "F");
  assert_int_equal(number(json_object_get(phase_of(j, 0), "fvc"), "ml"), NONE);
  assert_int_equal(number(phase_of(j, 0), "pef_ml_s"), NONE);
  assert_int_equal(number(json_object_get(phase_of(j, 0), "reader"), "ratio_permille"), NONE);
  assert_string_equal(code_of(trial_of(j, 0, 0), "coaching"), "bev");
  assert_string_equal(json_text(trial_of(j, 0, 0), "fvc"), "no");
}

/* An expiration without a plateau ends well when its FVC repeats one before it, in the same phase. */
TEST(prior_fvc) {
  static const struct {
    double age;
    const char *first, *second;
    int prior, fvc;
    const char *by;
  } rows[] = {
      {40, NULL, "baseline", 3000, 2850, "prior_fvc"}, {40, "pre", "pre", 3000, 2849, NULL},
      {40, "pre", "post", 3000, 3000, NULL},           {40, "post", "post", 3000, 3200, "prior_fvc"},
      {5, NULL, NULL, 900, 800, "prior_fvc"},          {5, NULL, NULL, 900, 799, NULL},
      {5, NULL, NULL, 1500, 1350, "prior_fvc"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    study_clear();
    add_record();
    add_blow(1, rows[i].first, 600, rows[i].prior, GOOD);
    add_blow(2, rows[i].second, 600, rows[i].fvc, SHORT);
    _json_cleanup_ json_t *j = assess(rows[i].age);
    bool apart = json_array_size(json_object_get(j, "phases")) == 2;
    const json_t *t = trial_of(j, apart, !apart);
    near("FVC", number(t, "fvc_ml"), rows[i].fvc, 0);
    assert_true(number(t, "plateau_ml") > 25);
    if (rows[i].by) {
      assert_string_equal(json_text(t, "eofe_by"), rows[i].by);
      assert_string_equal(json_text(t, "fvc"), "acceptable");
    } else {
      assert_true(json_is_null(json_object_get(t, "eofe_by")));
      assert_string_equal(json_text(t, "fvc"), "usable");
      assert_string_equal(code_of(t, "coaching"), "eofe");
    }
  }
  study_clear();
  add_record();
  add_blow(1, NULL, 600, 2600, SLOW); /* of no use, so nothing to be compared with */
  add_blow(2, NULL, 600, 2900, SHORT);
  _json_cleanup_ json_t *j = assess(40);
  assert_true(json_is_null(json_object_get(trial_of(j, 0, 1), "eofe_by")));
}

TEST(advice) {
  static const struct {
    int n, fev1[9];
    enum fault fault;
    double age;
    const char *code;
  } rows[] = {
      {1, {2500}, GOOD, 40, "go_on"},
      {3, {2500, 2450, 2400}, GOOD, 40, "may_stop_a"},
      {3, {2500, 2200, 2100}, GOOD, 40, "go_on"},
      {4, {2500, 2200, 2100, 2000}, GOOD, 40, "go_on"},
      {4, {2500, 2490, 2480, 1999}, GOOD, 40, "may_stop_fall"},
      {3, {2500, 1900, 2300}, GOOD, 40, "go_on"},
      {7, {2500, 2400, 2400, 2400, 2400, 2400, 2400}, COUGH, 40, "go_on"},
      {8, {2500, 2400, 2400, 2400, 2400, 2400, 2400, 2400}, COUGH, 40, "may_stop_8"},
      {8, {900, 900, 900, 900, 900, 900, 900, 900}, COUGH, 5, "go_on"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    study_clear();
    add_record();
    for (int k = 0; k < rows[i].n; k++)
      add_blow(k + 1, NULL, rows[i].fev1[k], rows[i].fev1[k] + 300, rows[i].fault);
    _json_cleanup_ json_t *j = assess(rows[i].age);
    if (strcmp(code_of(phase_of(j, 0), "advice"), rows[i].code))
      fail_msg("row %zu: %s", i, code_of(phase_of(j, 0), "advice"));
  }
}

/* FEF25-75 is that of the blow with the largest FEV1 + FVC, PEF the largest of all that count. */
TEST(flows_of_a_phase) {
  study_clear();
  add_record();
  add_blow(1, NULL, 2500, 2600, GOOD);
  add_blow(2, NULL, 2400, 3100, GOOD);
  add_blow(3, NULL, 2900, 3300, SLOW);
  _json_cleanup_ json_t *j = assess(40);
  const json_t *p = phase_of(j, 0);
  assert_int_equal(number(p, "fef25_75_ml_s"), number(trial_of(j, 0, 1), "fef25_75_ml_s"));
  assert_int_equal(number(p, "pef_ml_s"), number(trial_of(j, 0, 0), "pef_ml_s"));
  assert_true(number(trial_of(j, 0, 0), "pef_ml_s") > number(trial_of(j, 0, 1), "pef_ml_s"));
}

/* Values without a curve are reported and not judged, but for what they say themselves. */
TEST(device_values) {
  study_clear();
  add_record();
  add_measure(0, "fev1", "L", "3.63");
  add_measure(0, "fev6", "L", "3.99");
  add_measure(0, "pef", "L/min", "500");
  add_measure(0, "fev1_fvc", "%", "91");
  add_record();
  add_trial(1, "baseline");
  add_trial(2, "baseline");
  add_measure(0, "fev1", "L", "9.99"); /* the instrument's choice among its trials is none of them */
  add_measure(1, "fev1", "L", "3.5");
  add_measure(1, "fvc", "L", "4.0004");
  add_measure(1, "bev", "L", "0.2");
  add_measure(1, "fet", "s", "15.0");
  add_measure(2, "fev1", "L", "3.41");
  add_measure(2, "fvc", "L", "4.0005");
  add_measure(2, "bev", "L", "0.201");
  add_measure(2, "pef", "L/s", "-1");
  add_measure(2, "fef25_75", "mL", "3");
  _json_cleanup_ json_t *j = assess(40);
  const json_t *p = phase_of(j, 0), *t = trial_of(j, 0, 0);
  assert_int_equal(number(t, "trial"), 0);
  assert_string_equal(json_text(t, "source"), "device");
  assert_string_equal(json_text(t, "reason"), "no_curve");
  assert_int_equal(number(t, "fev1_ml"), 3630);
  assert_int_equal(number(t, "fev6_ml"), 3990);
  assert_int_equal(number(t, "pef_ml_s"), 8333);
  assert_int_equal(number(t, "fvc_ml"), NONE);
  assert_string_equal(json_text(t, "fev1"), "not_judged");
  assert_string_equal(code_of(t, "coaching"), "no_curve");
  t = trial_of(j, 0, 1);
  assert_int_equal(number(t, "fvc_ml"), 4000);
  assert_int_equal(number(t, "fet_ms"), 15000);
  assert_string_equal(json_text(t, "eofe_by"), "time");
  assert_string_equal(json_text(json_object_get(t, "criteria"), "bev"), "met");
  assert_string_equal(json_text(t, "fvc"), "not_judged");
  t = trial_of(j, 0, 2);
  assert_int_equal(number(t, "fvc_ml"), 4001);
  assert_int_equal(number(t, "pef_ml_s"), NONE);
  assert_int_equal(number(t, "fef25_75_ml_s"), NONE);
  assert_string_equal(json_text(json_object_get(t, "criteria"), "bev"), "failed");
  assert_string_equal(json_text(t, "fev1"), "no");
  const json_t *fev1 = json_object_get(p, "fev1");
  assert_string_equal(json_text(fev1, "grade"), "not_judged");
  assert_string_equal(json_text(fev1, "basis"), "not_judged");
  assert_int_equal(number(fev1, "ml"), 3630);
  assert_int_equal(number(fev1, "repeatability_ml"), 130);
  assert_int_equal(number(fev1, "not_judged"), 2);
  assert_string_equal(code_of(p, "advice"), "go_on");
  study_clear();
  add_record();
  add_measure(0, "fev1", "L", "3.63");
  _json_cleanup_ json_t *alone = assess(40);
  assert_string_equal(code_of(phase_of(alone, 0), "advice"), "not_judged");
}

TEST(rounding) {
  static const struct {
    const char *unit, *value;
    int32_t ml;
  } rows[] = {{"L", "0", 0},
              {"L", "0.0005", 1},
              {"L", "0.0004999", 0},
              {"L", "2147483", 2147483000},
              {"L", "2147484", NONE},
              {"L", "-0.001", NONE},
              {"L", "0.000000000000000001", 0},
              {"L", "1e3", NONE},
              {"%", "3", NONE},
              {"L/s", "3", NONE},
              {"L", "3.4995", 3500}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    study_clear();
    add_record();
    add_trial(1, NULL);
    add_measure(1, "fvc", rows[i].unit, rows[i].value);
    _json_cleanup_ json_t *j = assess(40);
    assert_int_equal(number(trial_of(j, 0, 0), "fvc_ml"), rows[i].ml);
  }
}

/* Why a curve was not judged; then the instrument's own values stand. */
TEST(reasons) {
  HAND(h, 100);
  exact_blow(h, 2500, 3000, GOOD);
  for (size_t i = 0; i < h->n; i++)
    h->flow[i] = i + 1 < h->n ? (h->volume[i + 1] - h->volume[i]) * 50 : 0; /* half of what it should be */
  static const char *const reasons_want[] = {"gaps",     "gaps",        "no_blow",  "sampling", "sampling",
                                             "disagree", "implausible", "sampling", "no_curve"};
  for (size_t i = 0; i < COUNT(reasons_want); i++) {
    study_clear();
    add_record();
    add_trial(1, NULL);
    add_measure(1, "fev1", "L", "2.5");
    if (i == 0)
      json_array_append_new(json_object_get(add_channel(1, "volume", "100", "0.001", h->volume, h->n), "gaps"),
                            json_pack("[i,i]", 3, 4));
    if (i == 1) {
      add_channel(1, "volume", "100", "0.001", h->volume, h->n);
      study.samples[0][77] = ACQ_GAP;
    }
    if (i == 2)
      add_channel(1, "volume", "100", "0.001", h->volume, 60);
    if (i == 3)
      add_channel(1, "volume", "24.5", "0.001", h->volume, h->n);
    if (i == 4)
      add_channel(1, "volume", "0", "0.001", h->volume, h->n);
    if (i == 5) {
      add_channel(1, "flow", "100", "0.001", h->flow, h->n);
      add_channel(1, "volume", "100.0", "0.001", h->volume, h->n);
    }
    if (i == 6)
      json_object_set_new(add_channel(1, "volume", "100", "0.001", h->volume, h->n), "scale", json_string("0.1"));
    if (i == 7)
      add_channel(1, "volume", "2000000000", "0.001", h->volume, h->n);
    if (i == 8)
      add_channel(2, "volume", "100", "0.001", h->volume, h->n);
    _json_cleanup_ json_t *j = assess(40);
    const json_t *t = trial_of(j, 0, 0);
    if (!json_text(t, "reason") || strcmp(json_text(t, "reason"), reasons_want[i]))
      fail_msg("%s instead of %s", json_text(t, "reason"), reasons_want[i]);
    assert_string_equal(json_text(t, "source"), "device");
    assert_string_equal(json_text(t, "fev1"), "not_judged");
    assert_string_equal(code_of(t, "coaching"), reasons_want[i]);
    assert_int_equal(number(t, "fev1_ml"), 2500);
    assert_int_equal(number(t, "fvc_ml"), NONE);
  }
}

/* A gap in one channel leaves the other; samples at their own instants are those of the equal steps. */
TEST(channels) {
  HAND(h, 100);
  exact_blow(h, 2500, 3000, GOOD);
  for (size_t i = 0; i < h->n; i++) {
    h->flow[i] = 9;
    h->time[i] = i ? 0.01 : 5; /* the first one is since nothing */
  }
  for (int timed = 0; timed < 2; timed++) {
    study_clear();
    add_record();
    add_trial(3, NULL);
    json_t *flow = add_channel(3, "flow", "100", "0.001", h->flow, h->n);
    json_array_append_new(json_object_get(flow, "gaps"), json_pack("[i,i]", 0, 1));
    add_channel(3, "volume", timed ? "0" : "100", "0.001", h->volume, h->n);
    add_channel(3, "time_step", "0", "0.0005", h->time, h->n);
    _json_cleanup_ json_t *j = assess(40);
    const json_t *t = trial_of(j, 0, 0);
    assert_string_equal(json_text(t, "source"), "curve");
    assert_int_equal(number(t, "fev1_ml"), 2500);
    assert_int_equal(number(t, "fvc_ml"), 3000);
    assert_string_equal(json_text(t, "fvc"), "acceptable");
  }
}

/* Volume and flow at rates of their own: the faster one. */
TEST(other_instants) {
  HAND(h, 100);
  exact_blow(h, 2500, 3000, GOOD);
  for (size_t i = 0; i < h->n; i++)
    h->flow[i] = 9;
  for (int slower = 0; slower < 2; slower++) {
    study_clear();
    add_record();
    add_trial(1, NULL);
    add_channel(1, "volume", "100", "0.001", h->volume, h->n);
    add_channel(1, "flow", slower ? "50" : "200", "0.001", h->flow, h->n);
    _json_cleanup_ json_t *j = assess(40);
    const char *reason = json_text(trial_of(j, 0, 0), "reason");
    assert_string_equal(reason ? reason : "none", slower ? "none" : "implausible"); /* 9 L/s for 3 s */
  }
}

TEST(not_a_record) {
  for (int i = 0; i < 12; i++) {
    study_clear();
    add_record();
    add_blow(1, NULL, 2500, 3000, GOOD);
    json_t *channel = json_array_get(part("channels"), 0), *trial = json_array_get(part("trials"), 0);
    json_t *acquired = json_object_get(study.records[0].json, "acquired");
    if (i == 0)
      json_object_set_new(channel, "samples", json_integer((json_int_t)study.records[0].n_samples + 1));
    if (i == 1)
      json_object_set_new(channel, "first", json_integer(1));
    if (i == 2)
      json_object_set_new(channel, "first", json_integer(-1));
    if (i == 3)
      json_object_set_new(channel, "rate", json_string("-100"));
    if (i == 4)
      json_object_set_new(channel, "scale", json_string("0.000"));
    if (i == 5)
      json_object_set_new(channel, "unit", json_string("mL"));
    if (i == 6)
      json_object_set_new(channel, "trial", json_string("1"));
    if (i == 7)
      json_object_set_new(trial, "phase", json_string("during"));
    if (i == 8)
      json_object_set_new(trial, "number", json_integer(0));
    if (i == 9)
      add_trial(1, NULL);
    if (i == 10)
      json_object_del(acquired, "trials");
    if (i == 11)
      for (int k = 2; k <= SPIROMETRY_TRIALS_MAX + 1; k++)
        add_trial(k, NULL);
    json_t *ret = (json_t *)study.samples;
    assert_int_equal(spirometry_assess(study.records, 1, 40, &ret), -EPROTO);
    assert_ptr_equal(ret, study.samples);
  }
}

TEST(nothing) {
  study_clear();
  _json_cleanup_ json_t *none = assess(40);
  assert_int_equal(json_array_size(json_object_get(none, "phases")), 0);
  add_record();
  add_record();
  add_trial(1, "post");
  _json_cleanup_ json_t *empty = assess(40);
  assert_int_equal(json_array_size(json_object_get(empty, "phases")), 1);
  assert_string_equal(json_text(trial_of(empty, 0, 0), "source"), "none");
  assert_string_equal(grade_of(empty, "fvc"), "not_judged");
}

/* Every channel's samples at random, as a worker that was taken over may send them. */
TEST(any_record) {
  static const char *const rates[] = {"0", "25", "100", "1000", "0.000001", "2147483647"};
  static const char *const scales[] = {"0.001", "0.000000000000000001", "2147483647", "0.01"};
  for (int again = 0; again < 400; again++) {
    study_clear();
    add_record();
    add_trial(1, NULL);
    size_t n = rnd() % 3000;
    const char *rate = rates[rnd() % COUNT(rates)], *scale = scales[rnd() % COUNT(scales)];
    static double zero[3000];
    for (int k = 0; k < 3; k++)
      if (rnd() % 4)
        add_channel(1,
                    k == 0   ? "flow"
                    : k == 1 ? "volume"
                             : "time_step",
                    rnd() % 4 ? rate : "100", k == 2 ? "0.001" : scale, zero, rnd() % 4 ? n : n / 2);
    int kind = (int)(rnd() % 10);
    for (size_t i = 0; i < study.records[0].n_samples; i++)
      study.samples[0][i] = pattern(kind, i, n + 1);
    _json_cleanup_ json_t *j = assess(40);
    char *text = json_canonical(j, NULL);
    assert_non_null(text);
    free(text);
  }
}

TEST(no_memory) {
  if (!fail_alloc_works())
    skip();
  study_clear();
  add_record();
  add_blow(1, NULL, 2500, 3000, GOOD);
  add_blow(2, "post", 2600, 3000, SLOW);
  add_trial(3, NULL);
  add_measure(3, "fev1", "L", "2.5");
  for (int on = 0; on < 2; on++)
    for (size_t nth = 1;; nth++) {
      json_t *ret = NULL;
      long before = fail_alloc_live();
      fail_alloc_set(nth, on);
      int r = spirometry_assess(study.records, study.n, 40, &ret);
      bool hit = fail_alloc_hit();
      fail_alloc_set(0, false);
      assert_int_equal(r, hit ? -ENOMEM : 0);
      assert_int_equal(ret != NULL, !hit);
      json_decref(ret);
      assert_int_equal(fail_alloc_live(), before);
      if (!hit) {
        assert_true(nth > 100);
        break;
      }
    }
}

static int clear(void **state __attribute__((unused))) {
  study_clear();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_answers),
      cmocka_unit_test(other_rates),
      cmocka_unit_test(pulses),
      cmocka_unit_test(steps_that_hide),
      cmocka_unit_test(coarse_volume),
      cmocka_unit_test(better_source),
      cmocka_unit_test(the_forced_one),
      cmocka_unit_test(hesitation_and_fivc),
      cmocka_unit_test(hesitant_start),
      cmocka_unit_test(slow_rise),
      cmocka_unit_test(coughs),
      cmocka_unit_test(cough_above_pef),
      cmocka_unit_test(started_twice),
      cmocka_unit_test(glottis),
      cmocka_unit_test(knee),
      cmocka_unit_test(no_bias),
      cmocka_unit_test(other_instants),
      cmocka_unit_test(early_stop),
      cmocka_unit_test(before_one_second),
      cmocka_unit_test(fifteen_seconds),
      cmocka_unit_test(plateau_limit),
      cmocka_unit_test(zero_flow),
      cmocka_unit_test(zero_flow_not_seen),
      cmocka_unit_test(late_start),
      cmocka_unit_test(limits),
      cmocka_unit_test(verdicts),
      cmocka_unit_test(any_samples),
      cmocka_unit_test(any_damage),
      cmocka_unit_test(refused),
      cmocka_unit_test(form),
      cmocka_unit_test(grades),
      cmocka_unit_test(usable_and_refused),
      cmocka_unit_test(prior_fvc),
      cmocka_unit_test(advice),
      cmocka_unit_test(flows_of_a_phase),
      cmocka_unit_test(device_values),
      cmocka_unit_test(rounding),
      cmocka_unit_test(reasons),
      cmocka_unit_test(channels),
      cmocka_unit_test(not_a_record),
      cmocka_unit_test(nothing),
      cmocka_unit_test(any_record),
      cmocka_unit_test(no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, clear);
}
