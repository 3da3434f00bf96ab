#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "nomenclature.h"
#include "record_bed.h"
#include <cmocka.h>
#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)
#define CLOCK_2013 INT64_C(1369737858000000) /* 2013-05-28T10:44:18 */

static const struct acq_trial live = {0}, past = {.timed = true, .clock_us = CLOCK_2013};

static const char *text_at(const json_t *record, const char *list, size_t i, const char *key) {
  return json_string_value(json_object_get(json_array_get(bed_part(record, list), i), key));
}

static json_int_t int_at(const json_t *record, const char *list, size_t i, const char *key) {
  return json_integer_value(json_object_get(json_array_get(bed_part(record, list), i), key));
}

static size_t size_of(const json_t *record, const char *list) {
  return json_array_size(bed_part(record, list));
}

/* ---- numbers and phases ------------------------------------------------------------------------------------- */

static void numbered(struct acq_record *r) {
  acq_rec_measure(r, "fvc", D(3, 0), NULL);
  acq_rec_trial(r, NULL); /* nothing has begun */
  acq_rec_measure(r, "fvc", D(4, 0), NULL);
  acq_rec_trial(r, &live);
  acq_rec_measure(r, "fev1", D(1, 0), NULL);
  acq_rec_trial(r, NULL);
  acq_rec_measure(r, "fvc", D(5, 0), NULL);
  acq_rec_trial(r, &live); /* nothing is measured in it */
  acq_rec_trial(r, &live);
  acq_rec_measure(r, "fev1", D(3, 0), NULL);
  acq_rec_measure(r, "pef", D(3, 0), NULL);
}

TEST(trials_are_numbered) {
  static const json_int_t want[] = {0, 0, 1, 0, 3, 3};
  CAPTURE(c, "10 spirometry", "end ok\n");
  RESULT(r);
  assert_int_equal(bed_decode(&bed_spirometer, &c, numbered, &r, NULL), 0);
  _json_cleanup_ json_t *j = bed_accepted(&r);
  assert_int_equal(size_of(j, "acquired.trials"), 3);
  for (size_t i = 0; i < 3; i++)
    assert_int_equal(int_at(j, "acquired.trials", i, "number"), i + 1);
  assert_int_equal(size_of(j, "acquired.measures"), COUNT(want));
  for (size_t i = 0; i < COUNT(want); i++)
    assert_int_equal(int_at(j, "acquired.measures", i, "trial"), want[i]);
  assert_false(json_is_true(bed_part(j, "stray")));
}

static enum acq_phase phases[4];

static void phased(struct acq_record *r) {
  for (size_t i = 0; i < COUNT(phases); i++) {
    acq_rec_trial(r, &(struct acq_trial){.phase = phases[i]});
    acq_rec_measure(r, "fev1", D(3, 0), NULL);
  }
}

/* What the instrument says, else what was ordered. */
TEST(phases_of_trials) {
  static const char *const orders[] = {"10", "10 spirometry", "10 spirometry baseline", "10 spirometry pre",
                                       "10 spirometry post"},
                           *const ordered[] = {NULL, NULL, "baseline", "pre", "post"};
  phases[1] = ACQ_BASELINE;
  phases[2] = ACQ_PRE;
  phases[3] = ACQ_POST;
  for (size_t i = 0; i < COUNT(orders); i++) {
    CAPTURE(c, orders[i], "end ok\n");
    RESULT(r);
    assert_int_equal(bed_decode(&bed_spirometer, &c, phased, &r, NULL), 0);
    _json_cleanup_ json_t *j = bed_accepted(&r);
    const char *const want[] = {ordered[i], "baseline", "pre", "post"};
    for (size_t k = 0; k < COUNT(want); k++) {
      const json_t *phase = json_object_get(json_array_get(bed_part(j, "acquired.trials"), k), "phase");
      assert_int_equal(json_is_null(phase), !want[k]);
      if (want[k])
        assert_string_equal(json_string_value(phase), want[k]);
    }
  }
}

static size_t count;

static void many_trials(struct acq_record *r) {
  for (size_t i = 0; i < count; i++)
    acq_rec_trial(r, &live);
  acq_rec_measure(r, "fev1", D(3, 0), NULL);
}

TEST(trials_are_bounded) {
  CAPTURE(c, "10", "end ok\n");
  RESULT(r);
  count = ACQ_TRIALS_MAX;
  assert_int_equal(bed_decode(&bed_spirometer, &c, many_trials, &r, NULL), 0);
  _json_cleanup_ json_t *j = bed_accepted(&r);
  assert_int_equal(int_at(j, "acquired.measures", 0, "trial"), ACQ_TRIALS_MAX);
  RESULT(none);
  count++;
  assert_int_equal(bed_decode(&bed_spirometer, &c, many_trials, &none, "more trials"), -EPROTO);
}

static struct acq_trial trial;

static void one_trial(struct acq_record *r) {
  acq_rec_trial(r, &trial);
  acq_rec_measure(r, "fev1", D(3, 0), NULL);
}

TEST(trials_that_cannot_be) {
  static const struct {
    struct acq_trial trial;
    bool fine;
  } rows[] = {
      {{ACQ_POST + 1, false, 0, 0, false}, false},
      {{(enum acq_phase) - 1, false, 0, 0, false}, false},
      {{ACQ_POST, false, INT64_MIN, INT64_MAX, false}, true}, /* without a time there is nothing to be wrong */
      {{ACQ_POST, true, -1, 0, false}, false},
      {{ACQ_POST, true, INT64_MIN, 0, false}, false},
      {{ACQ_POST, true, INT64_MAX, 0, false}, false},
      {{ACQ_POST, true, WALL_MAX + 1, 0, false}, false},
      {{ACQ_POST, true, WALL_MAX, WALL_MAX, false}, true},
      {{ACQ_POST, true, WALL_MAX, 0, false}, true},
      {{ACQ_POST, true, 0, 0, false}, true},
      {{ACQ_POST, true, 0, -WALL_MAX, false}, true},
      {{ACQ_POST, true, 0, WALL_MAX + 1, false}, false},
      {{ACQ_POST, true, 0, -WALL_MAX - 1, false}, false},
      {{ACQ_POST, true, 0, INT64_MIN, false}, false},
      {{ACQ_POST, true, 0, INT64_MAX, false}, false},
  };
  CAPTURE(c, "10", "end ok\n");
  for (size_t i = 0; i < COUNT(rows); i++) {
    RESULTS(r);
    trial = rows[i].trial;
    int got = bed_decode_both(&bed_spirometer, &c, one_trial, &r, rows[i].fine ? NULL : "a trial that cannot be");
    if (got != (rows[i].fine ? 0 : -EINVAL))
      fail_msg("row %zu: %d", i, got);
    if (rows[i].fine)
      json_decref(bed_accepted(&r.of[trial.timed ? WIRE_STRAY : WIRE_OWN]));
  }
}

static enum acq_modality told[2];

static void modality_and_measure(struct acq_record *r) {
  for (size_t i = 0; i < count; i++)
    acq_rec_modality(r, told[i]);
  acq_rec_measure(r, "spo2", D(97, 0), NULL);
}

TEST(modalities) {
  struct acq_driver both = bed_ecg;
  both.modalities = ACQ_MODALITY(ACQ_ECG) | ACQ_MODALITY(ACQ_MEASUREMENT);
  const struct {
    const struct acq_driver *driver;
    size_t n;
    enum acq_modality said[2];
    const char *want; /* NULL: refused */
  } rows[] = {
      {&bed_ecg, 0, {0}, "ecg"},
      {&bed_ecg, 1, {ACQ_ECG}, "ecg"},
      {&bed_ecg, 1, {ACQ_MEASUREMENT}, NULL},
      {&bed_ecg, 1, {0}, NULL},
      {&both, 0, {0}, NULL},
      {&both, 1, {ACQ_ECG}, "ecg"},
      {&both, 1, {ACQ_MEASUREMENT}, "measurement"},
      {&both, 2, {ACQ_ECG, ACQ_ECG}, "ecg"},
      {&both, 2, {ACQ_ECG, ACQ_MEASUREMENT}, NULL},
      {&both, 1, {ACQ_SPIROMETRY}, NULL},
      {&both, 1, {ACQ_MEASUREMENT + 1}, NULL},
  };
  CAPTURE(c, "10", "end ok\n");
  for (size_t i = 0; i < COUNT(rows); i++) {
    RESULT(r);
    count = rows[i].n;
    memcpy(told, rows[i].said, sizeof told);
    assert_int_equal(bed_decode(rows[i].driver, &c, modality_and_measure, &r, NULL), rows[i].want ? 0 : -EINVAL);
    if (!rows[i].want)
      continue;
    _json_cleanup_ json_t *j = bed_accepted(&r);
    assert_string_equal(json_text(j, "modality"), rows[i].want);
  }
}

/* ---- own or stray ------------------------------------------------------------------------------------------- */

#define GRACE (120 * WALL_SECOND)

/* A capture that started at this instant and whose last event came last_ms later; none without an event. */
static struct acq_capture started(int64_t us, int offset, const uint32_t *last_ms) {
  char text[512], start[WALL_TEXT_MAX], event[64] = "";
  wall_format((struct wall){us, (int16_t)offset}, start);
  if (last_ms)
    snprintf(event, sizeof event, "> 0 00\n! %u x\n", *last_ms);
  int n = snprintf(text, sizeof text, "asaleed-capture 1\ndriver unit 7\nbus usb\norder 10\nstart %s\n%send ok\n",
                   start, event);
  struct acq_capture c;
  assert_int_equal(capture_parse(text, (size_t)n, &c, NULL), 0);
  return c;
}

static bool compared;

static bool is_stray(const struct acq_capture *c, int64_t clock_us, int64_t slow_us) {
  RESULTS(r);
  trial = (struct acq_trial){.timed = true, .clock_us = clock_us, .slow_us = slow_us, .compared = compared};
  assert_int_equal(bed_decode_both(&bed_spirometer, c, one_trial, &r, NULL), 0);
  assert_int_not_equal(!r.of[WIRE_OWN].json, !r.of[WIRE_STRAY].json); /* one or the other */
  bool stray = r.of[WIRE_STRAY].json;
  _json_cleanup_ json_t *j = bed_accepted(&r.of[stray ? WIRE_STRAY : WIRE_OWN]);
  assert_int_equal(json_is_true(bed_part(j, "stray")), stray);
  /* It is all that came: no other beside it. Whose clock nobody compared, the nurse is asked about. */
  assert_int_equal(size_of(j, "quality"), !stray && !c->raw && !trial.compared ? 1 : 0);
  return stray;
}

/* From two minutes before the start to two minutes after the last event, in local time, by the host's clock. */
/* Clocks that were compared differ by seconds: a blow of the patient before is nobody's. */
TEST(compared_clocks) {
  const uint32_t last = 7000;
  _capture_cleanup_ struct acq_capture c = started(BED_START_US, 0, &last);
  compared = true;
  assert_false(is_stray(&c, BED_START_US - 5 * WALL_SECOND, 0));
  assert_true(is_stray(&c, BED_START_US - 5 * WALL_SECOND - 1000, 0));
  assert_true(is_stray(&c, CLOCK_2013, BED_START_US - CLOCK_2013 - 20 * WALL_SECOND));
  compared = false;
  assert_false(is_stray(&c, BED_START_US - 20 * WALL_SECOND, 0));
}

TEST(edges_of_the_window) {
  static const int offsets[] = {0, 60, 120, -210, 345, 1439, -1439};
  static const uint32_t lasts[] = {0, 1, 299999, UINT32_MAX};
  static const int64_t slows[] = {0,
                                  1,
                                  -1,
                                  7 * WALL_SECOND,
                                  -3600 * WALL_SECOND,
                                  INT64_C(13) * 366 * 86400 * WALL_SECOND, /* an instrument that lost its clock */
                                  -INT64_C(400) * 366 * 86400 * WALL_SECOND};
  const int64_t start = 1774745999123456;
  for (size_t o = 0; o < COUNT(offsets); o++)
    for (size_t l = 0; l <= COUNT(lasts); l++) {
      const uint32_t *last = l < COUNT(lasts) ? &lasts[l] : NULL;
      _capture_cleanup_ struct acq_capture c = started(start, offsets[o], last);
      int64_t local = start + offsets[o] * 60 * WALL_SECOND, from = local - GRACE,
              to = local + (last ? *last : 0) * INT64_C(1000) + GRACE;
      for (size_t s = 0; s < COUNT(slows); s++) {
        assert_true(is_stray(&c, from - 1 - slows[s], slows[s]));
        assert_false(is_stray(&c, from - slows[s], slows[s]));
        assert_false(is_stray(&c, local - slows[s], slows[s]));
        assert_false(is_stray(&c, to - slows[s], slows[s]));
        assert_true(is_stray(&c, to + 1 - slows[s], slows[s]));
      }
    }
}

/* A clock that nobody set and nobody compared says nothing about today; compared, it does. */
TEST(clocks_that_are_wrong) {
  CAPTURE(c, "10", "end ok\n");
  assert_true(is_stray(&c, CLOCK_2013, 0));
  assert_false(is_stray(&c, CLOCK_2013, BED_START_US - CLOCK_2013));
  assert_true(is_stray(&c, BED_START_US, BED_START_US - CLOCK_2013)); /* and one that says today was not today */
  assert_true(is_stray(&c, BED_START_US - 3600 * WALL_SECOND, 0));    /* the start in UTC is not on the wall's clock */
  assert_true(is_stray(&c, 0, 0));
  assert_true(is_stray(&c, WALL_MAX, 0));
  assert_true(is_stray(&c, WALL_MAX, WALL_MAX));
  assert_true(is_stray(&c, 0, -WALL_MAX));
  _capture_cleanup_ struct acq_capture first = started(0, -1439, NULL), last = started(WALL_MAX, 1439, NULL);
  assert_false(is_stray(&first, 0, -1439 * 60 * WALL_SECOND)); /* an evening in 1969 */
  assert_false(is_stray(&last, WALL_MAX, 0));
}

static void two_clocks(struct acq_record *r) {
  acq_rec_trial(r, &(struct acq_trial){ACQ_NO_PHASE, true, CLOCK_2013 + 999, BED_START_US - CLOCK_2013 - 999, false});
  acq_rec_measure(r, "fev1", D(3, 0), NULL);
  acq_rec_trial(r, &(struct acq_trial){ACQ_NO_PHASE, true, BED_START_US + 1000 * 1000, 0, false});
  acq_rec_measure(r, "fev1", D(3, 0), NULL);
  acq_rec_trial(r, &live);
  acq_rec_measure(r, "fev1", D(3, 0), NULL);
}

TEST(times_of_trials) {
  CAPTURE(c, "10", "end ok\n");
  RESULT(r);
  assert_int_equal(bed_decode(&bed_spirometer, &c, two_clocks, &r, NULL), 0);
  _json_cleanup_ json_t *j = bed_accepted(&r);
  assert_string_equal(text_at(j, "acquired.trials", 0, "device_time"), "2013-05-28T10:44:18.000");
  assert_string_equal(text_at(j, "acquired.trials", 0, "time"), BED_START);
  assert_string_equal(text_at(j, "acquired.trials", 1, "device_time"), "2026-03-29T02:00:00.123");
  assert_string_equal(text_at(j, "acquired.trials", 1, "time"), "2026-03-29T02:00:00.123456+01:00");
  assert_null(text_at(j, "acquired.trials", 2, "device_time"));
  assert_null(text_at(j, "acquired.trials", 2, "time"));
}

/* The host's time of an instant that has none is not said, and whatever is said can be read back. */
TEST(times_beyond_the_calendar) {
  static const int64_t clocks[] = {0, 1, 999, CLOCK_2013, WALL_MAX - 1, WALL_MAX},
                       slows[] = {
                           0, 1, -1, WALL_MAX, -WALL_MAX, -CLOCK_2013, 86400 * WALL_SECOND, -86400 * WALL_SECOND};
  static const int offsets[] = {0, 1439, -1439};
  for (size_t o = 0; o < COUNT(offsets); o++) {
    _capture_cleanup_ struct acq_capture c = started(1774745999123456, offsets[o], NULL);
    for (size_t i = 0; i < COUNT(clocks) * COUNT(slows); i++) {
      RESULTS(r);
      int64_t us = clocks[i % COUNT(clocks)], slow = slows[i / COUNT(clocks)],
              host = us + slow - offsets[o] * 60 * WALL_SECOND;
      trial = (struct acq_trial){.timed = true, .clock_us = us, .slow_us = slow};
      assert_int_equal(bed_decode_both(&bed_spirometer, &c, one_trial, &r, NULL), 0);
      _json_cleanup_ json_t *j = bed_accepted(&r.of[WIRE_STRAY]);
      const char *said = text_at(j, "acquired.trials", 0, "time");
      struct wall back;
      assert_int_equal(said != NULL, host >= WALL_MIN && host <= WALL_MAX);
      if (said) {
        assert_int_equal(wall_parse(said, &back), 0);
        assert_int_equal(back.us, host);
      }
    }
  }
}

TEST(bare_bytes_are_never_stray) {
  _capture_cleanup_ struct acq_capture c = {0};
  assert_int_equal(capture_from_raw("abc", 3, &c), 0);
  static const int64_t clocks[] = {0, CLOCK_2013, BED_START_US, WALL_MAX};
  for (size_t i = 0; i < COUNT(clocks); i++) {
    RESULT(r);
    trial = (struct acq_trial){.timed = true, .clock_us = clocks[i]};
    assert_int_equal(bed_decode(&bed_spirometer, &c, one_trial, &r, NULL), 0);
    _json_cleanup_ json_t *j = bed_accepted(&r);
    assert_false(json_is_true(bed_part(j, "stray")));
    assert_non_null(text_at(j, "acquired.trials", 0, "device_time"));
    assert_null(text_at(j, "acquired.trials", 0, "time")); /* there is no host's clock to say it by */
  }
}

/* ---- nothing is lost ---------------------------------------------------------------------------------------- */

#define MOST 6 /* trials */

static unsigned pattern, n_trials; /* bit i: trial i + 1 is stray */

/* One of everything in each trial and in the session; the trial's number is its mark. */
static void marked(struct acq_record *r, unsigned number) {
  char text[16];
  snprintf(text, sizeof text, "mark %u", number);
  acq_rec_measure(r, "fev1", D((int32_t)number + 1, -1), NULL);
  unsigned channel = acq_rec_channel(r, "flow", D(100, 0), D(1, -3), false);
  for (unsigned i = 0; i <= number; i++)
    acq_rec_samples(r, channel, (int16_t[]){(int16_t)(100 * number + i)}, 1);
  acq_rec_gap(r, channel, 1);
  acq_rec_quality(r, "lead_flat", "", number + 1);
  acq_rec_statement(r, "c", text);
  acq_rec_measure(r, "fvc_predicted", D((int32_t)number + 1, 0), NULL);
}

static void all_marked(struct acq_record *r) {
  marked(r, 0);
  for (unsigned i = 0; i < n_trials; i++) {
    acq_rec_trial(r, pattern >> i & 1 ? &past : &live);
    marked(r, i + 1);
  }
}

static bool goes(unsigned number, int part) {
  if (!number) /* what is of the session is this patient's, unless nothing else is */
    return (n_trials && pattern == (1u << n_trials) - 1) == (part == WIRE_STRAY);
  return (pattern >> (number - 1) & 1) == (part == WIRE_STRAY);
}

/* The part holds what it must, in order, and no more. */
static void check_part(const struct record_result *r, int part) {
  _json_cleanup_ json_t *j = bed_accepted(r);
  size_t i = 0, at = 0, trials = 0;
  assert_int_equal(json_is_true(bed_part(j, "stray")), part == WIRE_STRAY);
  for (unsigned number = 0; number <= n_trials; number++) {
    char mark[24];
    if (!goes(number, part))
      continue;
    snprintf(mark, sizeof mark, "%u.%u", (number + 1) / 10, (number + 1) % 10);
    assert_string_equal(text_at(j, "acquired.measures", i, "value"), mark);
    assert_int_equal(int_at(j, "acquired.measures", i, "trial"), number);
    assert_int_equal(int_at(j, "acquired.channels", i, "first"), at);
    assert_int_equal(int_at(j, "acquired.channels", i, "samples"), number + 2);
    assert_int_equal(int_at(j, "acquired.channels", i, "trial"), number);
    for (unsigned k = 0; k <= number; k++)
      assert_int_equal(r->data[at++], 100 * number + k);
    assert_int_equal(r->data[at++], ACQ_GAP);
    assert_int_equal(int_at(j, "quality", i, "count"), number + 1);
    assert_int_equal(int_at(j, "quality", i, "trial"), number);
    snprintf(mark, sizeof mark, "mark %u", number);
    assert_string_equal(text_at(j, "statements", 2 * i, "text"), mark);
    assert_int_equal(int_at(j, "statements", 2 * i, "trial"), number);
    assert_string_equal(text_at(j, "statements", 2 * i + 1, "code"), "fvc_predicted");
    assert_int_equal(int_at(j, "statements", 2 * i + 1, "trial"), number);
    if (number)
      assert_int_equal(int_at(j, "acquired.trials", trials++, "number"), number);
    i++;
  }
  unsigned n_stray = (unsigned)__builtin_popcount(pattern),
           announced = n_stray && n_stray < n_trials && part == WIRE_OWN;
  assert_int_equal(r->data_values, at);
  assert_int_equal(size_of(j, "acquired.measures"), i);
  assert_int_equal(size_of(j, "acquired.channels"), i);
  assert_int_equal(size_of(j, "acquired.trials"), trials);
  assert_int_equal(size_of(j, "statements"), 2 * i);
  assert_int_equal(size_of(j, "quality"), i + announced);
  if (announced) {
    assert_string_equal(text_at(j, "quality", i, "code"), "readings_stray");
    assert_int_equal(int_at(j, "quality", i, "count"), n_stray);
    assert_int_equal(int_at(j, "quality", i, "trial"), 0);
    assert_false(record_is_clean(j));
  }
}

TEST(every_item_goes_where_its_trial_goes) {
  CAPTURE(c, "10 spirometry", "end ok\n");
  for (n_trials = 0; n_trials <= MOST; n_trials++)
    for (pattern = 0; pattern < 1u << n_trials; pattern++) {
      RESULTS(r);
      assert_int_equal(bed_decode_both(&bed_spirometer, &c, all_marked, &r, NULL), 0);
      bool all_stray = pattern && pattern == (1u << n_trials) - 1;
      assert_int_equal(!r.of[WIRE_OWN].json, all_stray);
      assert_int_equal(!r.of[WIRE_STRAY].json, !pattern);
      for (int part = 0; part < WIRE_RECORDS; part++)
        if (r.of[part].json)
          check_part(&r.of[part], part);
    }
}

TEST(incomplete_in_both) {
  CAPTURE(c, "10 spirometry", "end crash\n");
  RESULTS(r);
  n_trials = 2;
  pattern = 1;
  assert_int_equal(bed_decode_both(&bed_spirometer, &c, all_marked, &r, NULL), 0);
  for (int part = 0; part < WIRE_RECORDS; part++) {
    _json_cleanup_ json_t *j = bed_accepted(&r.of[part]);
    assert_false(json_is_true(bed_part(j, "complete")));
    assert_int_equal(strstr(r.of[part].json, "\"incomplete\"") != NULL, part == WIRE_OWN);
  }
}

/* ---- parts without a reading -------------------------------------------------------------------------------- */

/* What each trial holds: 'm' a measure, 's' a statement, '-' nothing; capitals are stray. Before them, the session. */
static const char *plan;

static void planned(struct acq_record *r) {
  for (const char *p = plan; *p; p++) {
    if (p > plan)
      acq_rec_trial(r, strchr("MS_", *p) ? &past : &live);
    if (*p == 'm' || *p == 'M')
      acq_rec_measure(r, "fev1", D(3, 0), NULL);
    else if (*p == 's' || *p == 'S')
      acq_rec_statement(r, "c", "secret");
  }
}

TEST(parts_without_a_reading) {
  static const struct {
    const char *plan;
    bool own, stray, said;
  } rows[] = {
      {"m", true, false, false},   {"-m", true, false, false},  {"-M", false, true, false},
      {"mM", false, true, false}, /* the session alone is no reading: it goes with what was measured */
      {"-mM", true, true, true},   {"-sM", false, true, false}, {"--M", false, true, false},
      {"-mS", true, false, false}, /* nothing that could be set aside */
      {"-m_", true, false, false}, {"mS", true, false, false},  {"m_", true, false, false},
      {"m-", true, false, false},  {"m-_", true, false, false}, {"-sSm", true, false, false},
      {"-MMm", true, true, true},
  };
  CAPTURE(c, "10 spirometry", "end ok\n");
  for (size_t i = 0; i < COUNT(rows); i++) {
    RESULTS(r);
    plan = rows[i].plan;
    assert_int_equal(bed_decode_both(&bed_spirometer, &c, planned, &r, NULL), 0);
    const struct record_result *own = &r.of[WIRE_OWN];
    if (!own->json == rows[i].own || !r.of[WIRE_STRAY].json == rows[i].stray)
      fail_msg("%s: %s%s", plan, own->json ? "own " : "", r.of[WIRE_STRAY].json ? "stray" : "");
    if (own->json && !strstr(own->json, "readings_stray") == rows[i].said)
      fail_msg("%s: %s", plan, own->json);
    if (own->json && strchr(plan, 'S') && !strchr(plan, 's')) /* another patient's is not this one's */
      assert_null(strstr(own->json, "secret"));
    for (int part = 0; part < WIRE_RECORDS; part++)
      if (r.of[part].json)
        json_decref(bed_accepted(&r.of[part]));
  }
  static const char *const nothing[] = {"-", "s", "-s", "-S", "s-", "sS", "-_", "-sS", "---"};
  for (size_t i = 0; i < COUNT(nothing); i++) {
    RESULTS(r);
    plan = nothing[i];
    assert_int_equal(bed_decode_both(&bed_spirometer, &c, planned, &r, "no reading"), -ENODATA);
  }
}

/* ---- an ECG that was kept by the device -------------------------------------------------------------------- */

static void short_stray_ecg(struct acq_record *r) {
  acq_rec_trial(r, &live);
  acq_rec_gap(r, acq_rec_channel(r, "lead_i", D(5, 0), D(1, 0), false), 50);
  acq_rec_trial(r, &past);
  acq_rec_gap(r, acq_rec_channel(r, "lead_i", D(5, 0), D(1, 0), false), 49);
}

TEST(length_of_what_is_stray) {
  CAPTURE(c, "10 ecg", "end ok\n");
  RESULTS(r);
  assert_int_equal(bed_decode_both(&bed_ecg, &c, short_stray_ecg, &r, NULL), 0);
  for (int part = 0; part < WIRE_RECORDS; part++)
    assert_null(strstr(r.of[part].json, "shorter_than_ordered"));
  CAPTURE(longer, "11 ecg", "end ok\n");
  RESULTS(cut);
  assert_int_equal(bed_decode_both(&bed_ecg, &longer, short_stray_ecg, &cut, NULL), 0);
  assert_non_null(strstr(cut.of[WIRE_OWN].json, "shorter_than_ordered"));
}

/* ---- samples at instants of their own ----------------------------------------------------------------------- */

/* Channels as "code rate samples trial", one a word: F flow, V volume, T time_step; a capital has no rate. */
static void at_instants(struct acq_record *r) {
  for (const char *p = plan; *p; p++) {
    if (*p == '|') {
      acq_rec_trial(r, &live);
      continue;
    }
    bool rated = *p >= 'a';
    const char *channel = *p == 'F' || *p == 'f' ? "flow" : *p == 'V' || *p == 'v' ? "volume" : "time_step";
    unsigned at = acq_rec_channel(r, channel, D(rated ? 100 : 0, 0), D(1, -3), false);
    for (int n = p[1] - '0'; n > 0; n--)
      acq_rec_samples(r, at, (int16_t[]){1}, 1);
    p++;
  }
}

TEST(channels_without_a_rate) {
  static const struct {
    const char *plan;
    bool fine;
  } rows[] = {
      {"f2", true},        {"F2", false},        {"T2", true},    {"F2T2", true},       {"T2F2", true},
      {"F2V2T2", true},    {"F2T3", false},      {"F2t2", true},  {"F2T2T2", false},    {"F2T2v7", true},
      {"F2T2V3", false},   {"F2T2V3T3", true},   {"|F2T2", true}, {"|F2|T2", false},    {"F2|T2", false},
      {"|F2T2|F3", false}, {"|F2T2|F2T2", true}, {"F0T0", true},  {"|F2T2|V3T3", true}, {"|F2T2|T2", true},
      {"F2|F2T2", false},
  };
  CAPTURE(c, "10 spirometry", "end ok\n");
  for (size_t i = 0; i < COUNT(rows); i++) {
    RESULT(r);
    plan = rows[i].plan;
    int got = bed_decode(&bed_spirometer, &c, at_instants, &r, rows[i].fine ? NULL : "neither a rate nor instants");
    if (got != (rows[i].fine ? 0 : -EPROTO))
      fail_msg("%s: %d", plan, got);
    if (got == 0)
      json_decref(bed_accepted(&r));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(trials_are_numbered),
      cmocka_unit_test(phases_of_trials),
      cmocka_unit_test(trials_are_bounded),
      cmocka_unit_test(trials_that_cannot_be),
      cmocka_unit_test(modalities),
      cmocka_unit_test(edges_of_the_window),
      cmocka_unit_test(clocks_that_are_wrong),
      cmocka_unit_test(times_of_trials),
      cmocka_unit_test(times_beyond_the_calendar),
      cmocka_unit_test(bare_bytes_are_never_stray),
      cmocka_unit_test(compared_clocks),
      cmocka_unit_test(every_item_goes_where_its_trial_goes),
      cmocka_unit_test(incomplete_in_both),
      cmocka_unit_test(parts_without_a_reading),
      cmocka_unit_test(length_of_what_is_stray),
      cmocka_unit_test(channels_without_a_rate),
  };
  if (hash_open())
    return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
