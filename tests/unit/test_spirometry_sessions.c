/*
 * The quality of spirometry against 200 simulated sessions whose truth is known: what is measured, which defects are
 * named, and the grades. The expectations are made here from the truth and the text of ATS/ERS 2019 alone.
 */
#include "blow.h"
#include "spirometry.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

enum { SESSIONS = 200, BLOWS_MIN = 3, BLOWS_MAX = 8 };

/* What a device sends: its int16 steps. */
enum signal { VOLUME, FLOW, BOTH, SIGNALS };

static const char *const signal_names[SIGNALS] = {"volume 1 mL", "flow 10 mL/s", "both"};
static const unsigned rates[] = {100, 125, 200, 500};

struct made {
  enum blow_defect defect;
  double scale;
  uint64_t seed;
  struct blow_truth truth;
};

struct session {
  unsigned number, rate_index;
  enum blow_pattern pattern;
  enum signal signal;
  double scale, noise;
  double effort_varies; /* how much smaller than the lungs a blow may be, as a part */
  unsigned n;
  struct made blows[BLOWS_MAX];
  bool one_record; /* for all blows, or one each */
  json_t *json[BLOWS_MAX];
  int16_t *samples[BLOWS_MAX];
  size_t n_samples[BLOWS_MAX];
  json_t *assessed;
};

static struct session sessions[SESSIONS];

/* ---- sessions ---- */

static uint64_t chance = 20190815;

static uint64_t draw(uint64_t below) {
  chance ^= chance << 13;
  chance ^= chance >> 7;
  chance ^= chance << 17;
  return (chance >> 11) % below;
}

static int16_t steps(double value, double step) {
  double v = nearbyint(value / step);
  assert_true(v > INT16_MIN && v <= INT16_MAX);
  return (int16_t)v;
}

/* A channel of one record; its samples behind those that are there. */
static json_t *channel(struct session *s, unsigned record, unsigned trial, const char *code, const double *values,
                       size_t n, double step) {
  size_t first = s->n_samples[record];
  s->samples[record] = realloc(s->samples[record], (first + n) * sizeof **s->samples);
  assert_non_null(s->samples[record]);
  for (size_t i = 0; i < n; i++)
    s->samples[record][first + i] = steps(values[i], step);
  s->n_samples[record] += n;
  char rate[16];
  snprintf(rate, sizeof rate, "%u", rates[s->rate_index]);
  return json_pack("{ss sb sI s[] ss si ss sI ss si ss}", "code", code, "derived", false, "first", (json_int_t)first,
                   "gaps", "label", "", "mdc", 0, "rate", rate, "samples", (json_int_t)n, "scale",
                   step < 0.005 ? "0.001" : "0.01", "trial", (int)trial, "unit", step < 0.005 ? "L" : "L/s");
}

static json_t *empty_record(void) {
  return json_pack("{s{s[] s[] s[] s{ss si ss sI}} sb s[] s{ss ss ss ss ss} s{ss ss} ss ss ss s[] ss ss s[] sb}",
                   "acquired", "channels", "measures", "trials", "data", "encoding", "int16-le", "gap", INT16_MIN,
                   "sha256", "", "values", (json_int_t)0, "complete", true, "derived", "device", "firmware", "", "make",
                   "", "model", "", "sensor", "", "serial", "", "driver", "name", "simulated", "version", "1", "end",
                   "ok", "integrity", "crc16", "modality", "spirometry", "quality", "schema", "asaleed-record-3",
                   "started", "2026-03-02T09:00:00.000Z", "statements", "stray", false);
}

static void add_trial(struct session *s, unsigned index, const struct blow *b) {
  unsigned record = s->one_record ? 0 : index, trial = s->one_record ? index + 1 : 1;
  if (!s->json[record])
    s->json[record] = empty_record();
  assert_non_null(s->json[record]);
  char time[64];
  snprintf(time, sizeof time, "2026-03-02T09:%02u:00.000Z", index);
  json_t *acquired = json_object_get(s->json[record], "acquired");
  json_array_append_new(json_object_get(acquired, "trials"),
                        json_pack("{sn si ss ss}", "device_time", "number", (int)trial, "phase", "pre", "time", time));
  json_t *channels = json_object_get(acquired, "channels");
  if (s->signal != FLOW)
    json_array_append_new(channels, channel(s, record, trial, "volume", b->volume, b->n, 0.001));
  if (s->signal != VOLUME)
    json_array_append_new(channels, channel(s, record, trial, "flow", b->flow, b->n, 0.01));
  json_object_set_new(json_object_get(acquired, "data"), "values", json_integer((json_int_t)s->n_samples[record]));
}

static void make_session(struct session *s, unsigned number) {
  *s = (struct session){.number = number,
                        .rate_index = number / 3 % (unsigned)COUNT(rates),
                        .pattern = number % BLOW_PATTERNS,
                        .signal = number / 12 % SIGNALS,
                        .scale = 0.75 + 0.01 * (double)draw(76),
                        .noise = 0.001 * (double)draw(21),
                        .effort_varies = 0.05 * (double)draw(4),
                        .n = BLOWS_MIN + (unsigned)draw(BLOWS_MAX - BLOWS_MIN + 1),
                        .one_record = draw(2)};
  for (unsigned i = 0; i < s->n; i++) {
    struct made *m = &s->blows[i];
    m->defect = draw(2) ? BLOW_CLEAN : (enum blow_defect)(1 + draw(BLOW_DEFECTS - 1));
    m->seed = number * 100 + i;
    struct blow b;
    m->scale = s->scale * (1 - s->effort_varies * 0.01 * (double)draw(101));
    const struct blow_options o = {s->pattern, m->defect, rates[s->rate_index], m->scale, s->noise, m->seed};
    assert_int_equal(blow_make(&o, &b), 0);
    m->truth = b.truth;
    add_trial(s, i, &b);
    blow_finish(&b);
  }
}

static int setup(void **state __attribute__((unused))) {
  for (unsigned i = 0; i < SESSIONS; i++) {
    struct session *s = &sessions[i];
    make_session(s, i);
    struct spirometry_record records[BLOWS_MAX];
    unsigned n = s->one_record ? 1 : s->n;
    for (unsigned k = 0; k < n; k++)
      records[k] = (struct spirometry_record){s->json[k], s->samples[k], s->n_samples[k]};
    assert_int_equal(spirometry_assess(records, n, 50, &s->assessed), 0);
  }
  return 0;
}

static int teardown(void **state __attribute__((unused))) {
  for (struct session *s = sessions; s < sessions + SESSIONS; s++) {
    for (unsigned k = 0; k < BLOWS_MAX; k++) {
      json_decref(s->json[k]);
      free(s->samples[k]);
    }
    json_decref(s->assessed);
  }
  return 0;
}

static json_t *phase_of(const struct session *s) {
  json_t *phases = json_object_get(s->assessed, "phases");
  assert_int_equal(json_array_size(phases), 1);
  return json_array_get(phases, 0);
}

static json_t *trial_of(const struct session *s, unsigned index) {
  unsigned record = s->one_record ? 0 : index, trial = s->one_record ? index + 1 : 1;
  json_t *trials = json_object_get(phase_of(s), "trials"), *t;
  assert_int_equal(json_array_size(trials), s->n);
  size_t i;
  json_array_foreach(trials, i, t) if (json_integer_value(json_object_get(t, "record")) == record &&
                                       json_integer_value(json_object_get(t, "trial")) == trial) return t;
  fail_msg("session %u: blow %u is missing", s->number, index);
  return NULL;
}

#define FOR_EVERY_BLOW(s, i)                                             \
  for (const struct session *s = sessions; s < sessions + SESSIONS; s++) \
    for (unsigned i = 0; i < s->n; i++)

static const char *describe(const struct session *s, unsigned i) {
  static char text[160];
  snprintf(text, sizeof text, "%s %s, %s at %u Hz, scale %.2f, noise %.3f, seed %u", blow_pattern_name(s->pattern),
           blow_defect_name(s->blows[i].defect), signal_names[s->signal], rates[s->rate_index], s->blows[i].scale,
           s->noise, (unsigned)s->blows[i].seed);
  return text;
}

/* ---- values ---- */

/* In thousandths; limit 0: told only. */
static const struct quantity {
  const char *member;
  size_t truth;
  double limit;
} quantities[] = {
    {"fvc_ml", offsetof(struct blow_truth, fvc), 10},
    {"fev1_ml", offsetof(struct blow_truth, fev1), 10},
    {"fev6_ml", offsetof(struct blow_truth, fev6), 10},
    {"bev_ml", offsetof(struct blow_truth, bev), 10},
    {"fivc_ml", offsetof(struct blow_truth, fivc), 10},
    {"pef_ml_s", offsetof(struct blow_truth, pef), 50},
    {"fef25_75_ml_s", offsetof(struct blow_truth, fef25_75), 0},
    {"time_zero_ms", offsetof(struct blow_truth, time_zero), 0},
    {"pef_rise_ms", offsetof(struct blow_truth, rise), 0},
    {"fet_ms", offsetof(struct blow_truth, fet), 0},
};

static double truth_of(const struct made *m, const struct quantity *q) {
  double value;
  memcpy(&value, (const char *)&m->truth + q->truth, sizeof value);
  return value * 1000;
}

/* NAN when the truth has none; infinite when only the assessment has none. FEV1 of a blow that a closed glottis ends
 * before 1 s may well be called none, as nothing may use it. */
static double error_of(const struct session *s, unsigned i, const struct quantity *q) {
  json_t *got = json_object_get(trial_of(s, i), q->member);
  double truth = truth_of(&s->blows[i], q);
  if (isnan(truth) || (json_is_null(got) && s->blows[i].defect == BLOW_GLOTTIC_CLOSURE &&
                       q->truth == offsetof(struct blow_truth, fev1)))
    return NAN;
  return json_is_integer(got) ? (double)json_integer_value(got) - truth : INFINITY;
}

static void values_within(const struct quantity *q) {
  double worst[SIGNALS][COUNT(rates)] = {0}, largest = 0;
  unsigned compared = 0, beyond = 0;
  char where[160] = "";
  FOR_EVERY_BLOW(s, i) {
    double e = fabs(error_of(s, i, q));
    if (isnan(e))
      continue;
    compared++;
    beyond += e > q->limit;
    worst[s->signal][s->rate_index] = fmax(worst[s->signal][s->rate_index], e);
    if (e > largest) {
      largest = e;
      snprintf(where, sizeof where, "%s", describe(s, i));
    }
  }
  printf("# %s: largest error %.1f of %u (%s)\n", q->member, largest, compared, where);
  for (unsigned k = 0; k < SIGNALS; k++)
    printf("#   %-12s 100 Hz %7.1f  125 Hz %7.1f  200 Hz %7.1f  500 Hz %7.1f\n", signal_names[k], worst[k][0],
           worst[k][1], worst[k][2], worst[k][3]);
  if (q->limit > 0 && beyond)
    fail_msg("%s: %u of %u beyond %g", q->member, beyond, compared, q->limit);
}

TEST(fvc) {
  values_within(&quantities[0]);
}
TEST(fev1) {
  values_within(&quantities[1]);
}
TEST(fev6) {
  values_within(&quantities[2]);
}
TEST(bev) {
  values_within(&quantities[3]);
}
TEST(fivc) {
  values_within(&quantities[4]);
}
TEST(pef) {
  values_within(&quantities[5]);
}
TEST(others) {
  for (size_t i = 6; i < COUNT(quantities); i++)
    values_within(&quantities[i]);
}

/* ---- defects ---- */

static const char *const criteria[SPIROMETRY_CRITERIA] = {
#define X(name, member, ...) [SPIROMETRY_##name] = member,
#include "spirometry.def"
#undef X
};

static const enum spirometry_criterion own[BLOW_DEFECTS] = {
    [BLOW_CLEAN] = SPIROMETRY_CRITERIA,
    [BLOW_SLOW_START] = SPIROMETRY_BEV,
    [BLOW_SLOW_RISE] = SPIROMETRY_PEF_RISE,
    [BLOW_COUGH] = SPIROMETRY_COUGH_FIRST_SECOND,
    [BLOW_LATE_COUGH] = SPIROMETRY_COUGH_LATER,
    [BLOW_GLOTTIC_CLOSURE] = SPIROMETRY_GLOTTIS_FIRST_SECOND,
    [BLOW_LATE_GLOTTIC_CLOSURE] = SPIROMETRY_GLOTTIS_LATER,
    [BLOW_EARLY_STOP] = SPIROMETRY_EARLY_STOP,
    [BLOW_BAD_ZERO] = SPIROMETRY_ZERO_FLOW,
    [BLOW_INCOMPLETE_INSPIRATION] = SPIROMETRY_FIVC,
};

static bool failed(const struct session *s, unsigned i, enum spirometry_criterion c) {
  const char *state = json_string_value(json_object_get(json_object_get(trial_of(s, i), "criteria"), criteria[c]));
  assert_non_null(state);
  return strcmp(state, "failed") == 0;
}

/* What else a defect may well fail: the way to the end of a closed glottis is no plateau, and a blow that stops early
 * has neither. A false zero falsifies everything else. */
static bool may_fail(enum blow_defect d, enum spirometry_criterion c) {
  bool end = c == SPIROMETRY_EOFE || c == SPIROMETRY_EARLY_STOP;
  return c == own[d] || d == BLOW_BAD_ZERO ||
         (end && (d == BLOW_EARLY_STOP || d == BLOW_GLOTTIC_CLOSURE || d == BLOW_LATE_GLOTTIC_CLOSURE));
}

TEST(planted_is_found_and_nothing_else) {
  unsigned found[BLOW_DEFECTS][SPIROMETRY_CRITERIA] = {0}, planted[BLOW_DEFECTS] = {0}, missed = 0, blamed = 0;
  FOR_EVERY_BLOW(s, i) {
    enum blow_defect d = s->blows[i].defect;
    planted[d]++;
    for (unsigned c = 0; c < SPIROMETRY_CRITERIA; c++) {
      bool f = failed(s, i, c), is_missed = c == own[d] && !f, is_blamed = f && !may_fail(d, c);
      found[d][c] += f;
      missed += is_missed;
      blamed += is_blamed;
      if (is_missed || is_blamed)
        printf("# %s: %s %s\n", describe(s, i), criteria[c], f ? "blamed" : "missed");
    }
  }
  printf("# %-22s planted |", "");
  for (unsigned c = 0; c < SPIROMETRY_CRITERIA; c++)
    printf(" %.12s", criteria[c]);
  printf("\n");
  for (unsigned d = 0; d < BLOW_DEFECTS; d++) {
    printf("# %-22s %7u |", blow_defect_name(d), planted[d]);
    for (unsigned c = 0; c < SPIROMETRY_CRITERIA; c++)
      printf(" %*u", (int)strnlen(criteria[c], 12), found[d][c]);
    printf("\n");
    assert_true(planted[d] > 30);
  }
  if (missed || blamed)
    fail_msg("%u missed, %u blamed", missed, blamed);
}

/* Whether an inspiration follows or the recording ends does not change what was blown. */
TEST(closures_are_judged_alike_whatever_follows) {
  static const enum blow_defect closures[] = {BLOW_GLOTTIC_CLOSURE, BLOW_LATE_GLOTTIC_CLOSURE};
  for (size_t k = 0; k < COUNT(closures); k++) {
    unsigned n = 0, early = 0, none = 0;
    FOR_EVERY_BLOW(s, i) {
      if (s->blows[i].defect != closures[k])
        continue;
      n++;
      early += failed(s, i, SPIROMETRY_EARLY_STOP);
      none += json_is_null(json_object_get(trial_of(s, i), "fev1_ml"));
    }
    printf("# %s: %u, early stop %u, FEV1 none %u\n", blow_defect_name(closures[k]), n, early, none);
    assert_true(early == 0 || early == n);
    assert_true(none == 0 || (none == n && closures[k] == BLOW_GLOTTIC_CLOSURE));
  }
}

/* ---- verdicts and grades ---- */

enum verdict { NO, USABLE, ACCEPTABLE };
static const char *const verdict_names[] = {"no", "usable", "acceptable"};

/* FEV1 and FVC by the standard's table of acceptability, for a blow with this one defect. */
static const enum verdict verdicts[BLOW_DEFECTS][2] = {
    [BLOW_CLEAN] = {ACCEPTABLE, ACCEPTABLE},
    [BLOW_SLOW_START] = {NO, NO},
    [BLOW_SLOW_RISE] = {ACCEPTABLE, ACCEPTABLE},
    [BLOW_COUGH] = {USABLE, ACCEPTABLE},
    [BLOW_LATE_COUGH] = {ACCEPTABLE, ACCEPTABLE},
    [BLOW_GLOTTIC_CLOSURE] = {NO, NO},
    [BLOW_LATE_GLOTTIC_CLOSURE] = {ACCEPTABLE, USABLE},
    [BLOW_EARLY_STOP] = {ACCEPTABLE, USABLE}, /* FVC: unless it comes near to the largest before */
    [BLOW_BAD_ZERO] = {NO, NO},
    [BLOW_INCOMPLETE_INSPIRATION] = {USABLE, USABLE},
};

/* L that two truths may be from a limit without the measured ones being sure to fall on the same side. */
#define DOUBT 0.02

/* Both verdicts of a blow; false when it depends on less than DOUBT. The largest FVC before is that of the blows whose
 * FVC may be used: a closed glottis or a false zero sets no mark. */
static bool expect(const struct session *s, unsigned i, enum verdict ret[2]) {
  memcpy(ret, verdicts[s->blows[i].defect], sizeof verdicts[0]);
  if (s->blows[i].defect != BLOW_EARLY_STOP)
    return true;
  double before = -INFINITY;
  for (unsigned k = 0; k < i; k++)
    if (verdicts[s->blows[k].defect][1] >= USABLE)
      before = fmax(before, s->blows[k].truth.fvc);
  double lacks = before - s->blows[i].truth.fvc - 0.150;
  ret[1] = lacks <= 0 && !isinf(before) ? ACCEPTABLE : USABLE;
  return fabs(lacks) > DOUBT;
}

TEST(verdicts_are_those_of_the_table) {
  unsigned wrong = 0, doubtful = 0, near_prior = 0;
  FOR_EVERY_BLOW(s, i) {
    enum verdict v[2];
    if (!expect(s, i, v)) {
      doubtful++;
      continue;
    }
    near_prior += s->blows[i].defect == BLOW_EARLY_STOP && v[1] == ACCEPTABLE;
    for (unsigned q = 0; q < 2; q++) {
      const char *got = json_string_value(json_object_get(trial_of(s, i), q ? "fvc" : "fev1"));
      assert_non_null(got);
      if (strcmp(got, verdict_names[v[q]]) != 0) {
        wrong++;
        printf("# %s: %s %s instead of %s\n", describe(s, i), q ? "FVC" : "FEV1", got, verdict_names[v[q]]);
      }
    }
  }
  printf("# stopped early, FVC near the largest before: %u, too near to the limit to tell: %u\n", near_prior, doubtful);
  assert_true(near_prior > 0 && doubtful < 20);
  if (wrong)
    fail_msg("%u wrong verdicts", wrong);
}

static char grade_of(unsigned acceptable, unsigned usable, double difference) {
  if (acceptable == 0)
    return usable ? 'U' : 'F';
  if (acceptable == 1 || difference > 0.250)
    return 'E';
  if (difference > 0.150)
    return difference > 0.200 ? 'D' : 'C';
  return acceptable >= 3 ? 'A' : 'B';
}

struct phase {
  unsigned n[3]; /* by verdict */
  double largest[3], second[3];
};

/* Of FEV1 (q 0) or FVC (q 1); false when a verdict is in doubt. */
static bool expect_phase(const struct session *s, unsigned q, struct phase *ret) {
  *ret = (struct phase){.largest = {-INFINITY, -INFINITY, -INFINITY}, .second = {-INFINITY, -INFINITY, -INFINITY}};
  bool sure = true;
  for (unsigned i = 0; i < s->n; i++) {
    enum verdict v[2];
    sure &= expect(s, i, v);
    double value = q ? s->blows[i].truth.fvc : s->blows[i].truth.fev1;
    ret->n[v[q]]++;
    ret->second[v[q]] = fmax(ret->second[v[q]], fmin(ret->largest[v[q]], value));
    ret->largest[v[q]] = fmax(ret->largest[v[q]], value);
  }
  return sure;
}

TEST(grades_and_best_values_are_those_of_the_truth) {
  unsigned wrong = 0, doubtful = 0, grades[128] = {0};
  for (const struct session *s = sessions; s < sessions + SESSIONS; s++)
    for (unsigned q = 0; q < 2; q++) {
      struct phase p;
      if (!expect_phase(s, q, &p)) {
        doubtful++;
        continue;
      }
      json_t *got = json_object_get(phase_of(s), q ? "fvc" : "fev1");
      const char *grade = json_string_value(json_object_get(got, "grade"));
      assert_non_null(grade);
      double difference = p.largest[ACCEPTABLE] - p.second[ACCEPTABLE];
      char low = grade_of(p.n[ACCEPTABLE], p.n[USABLE], difference - DOUBT),
           high = grade_of(p.n[ACCEPTABLE], p.n[USABLE], difference + DOUBT);
      double best = p.largest[p.n[ACCEPTABLE] ? ACCEPTABLE : USABLE] * 1000;
      json_t *ml = json_object_get(got, "ml");
      bool ml_right = isinf(best) ? json_is_null(ml) : fabs((double)json_integer_value(ml) - best) <= 10;
      grades[low & 127]++;
      if (strlen(grade) != 1 || (*grade != low && *grade != high) || !ml_right) {
        wrong++;
        printf("# session %u %s: grade %s instead of %c, %d instead of %.0f mL\n", s->number, q ? "FVC" : "FEV1", grade,
               low, (int)json_integer_value(ml), best);
      }
    }
  printf("# grades: A %u B %u C %u D %u E %u U %u F %u, in doubt %u\n", grades['A'], grades['B'], grades['C'],
         grades['D'], grades['E'], grades['U'], grades['F'], doubtful);
  assert_true(doubtful < 20);
  if (wrong)
    fail_msg("%u wrong", wrong);
}

/* ---- what the patient hears ---- */

TEST(coaching_names_the_defect) {
  unsigned wrong = 0;
  FOR_EVERY_BLOW(s, i) {
    enum blow_defect d = s->blows[i].defect;
    const char *expected = d == BLOW_CLEAN ? "good" : criteria[own[d]];
    if (d == BLOW_EARLY_STOP && failed(s, i, SPIROMETRY_EOFE))
      expected = criteria[SPIROMETRY_EOFE];
    const char *code = json_string_value(json_object_get(json_object_get(trial_of(s, i), "coaching"), "code"));
    assert_non_null(code);
    if (strcmp(code, expected) != 0) {
      wrong++;
      printf("# %s: told %s\n", describe(s, i), code);
    }
  }
  if (wrong)
    fail_msg("%u told wrongly", wrong);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fvc),
      cmocka_unit_test(fev1),
      cmocka_unit_test(fev6),
      cmocka_unit_test(bev),
      cmocka_unit_test(fivc),
      cmocka_unit_test(pef),
      cmocka_unit_test(others),
      cmocka_unit_test(planted_is_found_and_nothing_else),
      cmocka_unit_test(closures_are_judged_alike_whatever_follows),
      cmocka_unit_test(verdicts_are_those_of_the_table),
      cmocka_unit_test(grades_and_best_values_are_those_of_the_truth),
      cmocka_unit_test(coaching_names_the_defect),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
