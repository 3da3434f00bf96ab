/* The month's figures: made-up months whose figures were counted by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"

#include "../e2e/practice_bed.h"
#include "report.h"

#define NORTH "750000019"
#define SOUTH "130000021"
#define LATER "2027-06-01T00:00:00+02:00"

static json_t *monthly(struct store_bed *b, const char *month, const char *now) {
  json_t *report = NULL;
  int r = report_monthly(b->store, month, at(now), &report);
  if (r < 0 || !report)
    fail_msg("%s: %d", month, r);
  return report;
}

static char *monthly_text(struct store_bed *b, const char *month, const char *now) {
  json_t *report = monthly(b, month, now);
  char *text = json_canonical(report, NULL);
  json_decref(report);
  return text;
}

/* "done=6 ..." of the figures that are not 0, "x" for what is kept back, and the hours. */
static const char *told(const json_t *row) {
  static const char *const names[] = {"done", "interpreted", "overdue", "repeated", "returned", "unreadable"};
  static char text[256];
  size_t n = 0;
  text[0] = 0;
  for (size_t i = 0; i < 6; i++) {
    const json_t *figure = json_object_get(row, names[i]);
    assert_non_null(figure);
    if (json_is_null(figure))
      n += (size_t)snprintf(text + n, sizeof text - n, "%s=x ", names[i]);
    else if (json_integer_value(figure))
      n += (size_t)snprintf(text + n, sizeof text - n, "%s=%d ", names[i], (int)json_integer_value(figure));
  }
  const char *median = json_text(row, "hours_median"), *p90 = json_text(row, "hours_p90");
  snprintf(text + n, sizeof text - n, "%s/%s%s", median ? median : "-", p90 ? p90 : "-",
           json_is_true(json_object_get(row, "suppressed")) ? " suppressed" : "");
  return text;
}

static const json_t *row(const json_t *report, const char *list, size_t i) {
  return json_array_get(json_object_get(report, list), i);
}

/* Two structures: NURSE1 and NURSE2 of the north, NURSE3 of the south. */
static void people(struct store_bed *b) {
  professional(b, GP1, "gp", NORTH, 1, 1);
  professional(b, NURSE1, "nurse", NORTH, 1, 1);
  professional(b, NURSE2, "nurse", NORTH, 1, 1);
  professional(b, NURSE3, "nurse", SOUTH, 1, 1);
  patient(b, "P1");
}

/* Accepted then, read so many hours later (0: never) with this conclusion; its delay is a day. */
static int64_t read_study(struct store_bed *b, int64_t w, const char *act, int64_t accepted, int64_t wait,
                          const char *conclusion) {
  int64_t y = study(b, "P1", act, w, wait ? "interpreted" : "to_interpret", accepted, accepted + 24 * HOUR);
  acceptance(b, y, accepted, accepted + 24 * HOUR);
  if (wait)
    interpretation(b, y, 1, accepted + wait, conclusion, NULL);
  return y;
}

static int64_t open_followup(struct store_bed *b, const char *nurse) {
  return followup(b, "P1", "diabete", GP1, nurse, at("2026-01-01T00:00:00+01:00"));
}

/* ---- pieces ---- */

static void test_rank(void **state) {
  (void)state;
  static const int64_t values[] = {10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110};
  static const struct {
    size_t n;
    int64_t median, p90;
  } cases[] = {{1, 10, 10}, {2, 10, 20}, {3, 20, 30},  {4, 20, 40},  {5, 30, 50},
               {6, 30, 60}, {9, 50, 90}, {10, 50, 90}, {11, 60, 100}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(report_rank(values, cases[i].n, 50), cases[i].median);
    assert_int_equal(report_rank(values, cases[i].n, 90), cases[i].p90);
    assert_int_equal(report_rank(values, cases[i].n, 100), values[cases[i].n - 1]);
    assert_int_equal(report_rank(values, cases[i].n, 1), 10);
  }
}

static void test_month_names(void **state) {
  struct store_bed *b = *state;
  static const char *const bad[] = {"",        "2026",    "2026-13", "2026-00", "2026-1",     "26-11",   "2026/11",
                                    "1999-12", "2026-1a", "+026-11", "-026-11", "2026-11-01", "2026-11 "};
  json_t *report = NULL;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(report_monthly(b->store, bad[i], at(LATER), &report), -EINVAL);
  assert_int_equal(report_monthly(b->store, "2026-12", at("2026-12-01T00:00:00+01:00") - 1, &report), -ERANGE);
  assert_null(report);
  /* Each month begins and ends at midnight here, whichever side of a change of the clocks. */
  static const struct {
    const char *month, *from, *until;
  } months[] = {{"2026-03", "2026-03-01T00:00:00.000000+01:00", "2026-04-01T00:00:00.000000+02:00"},
                {"2026-10", "2026-10-01T00:00:00.000000+02:00", "2026-11-01T00:00:00.000000+01:00"},
                {"2026-12", "2026-12-01T00:00:00.000000+01:00", "2027-01-01T00:00:00.000000+01:00"},
                {"2028-02", "2028-02-01T00:00:00.000000+01:00", "2028-03-01T00:00:00.000000+01:00"}};
  for (size_t i = 0; i < sizeof months / sizeof *months; i++) {
    report = monthly(b, months[i].month, months[i].until);
    assert_string_equal(json_text(report, "from"), months[i].from);
    assert_string_equal(json_text(report, "until"), months[i].until);
    assert_true(json_is_true(json_object_get(report, "ended")));
    json_decref(report);
    report = monthly(b, months[i].month, months[i].from); /* just begun */
    assert_false(json_is_true(json_object_get(report, "ended")));
    json_decref(report);
  }
}

/* ---- a month ---- */

/* November: of the north 6 done, of which the first at midnight of the 1st and one a microsecond before December;
 * read 6 (one of October's), after 1, 2, 3, 4, 30 and 48 hours, two of them late; one that nobody could read.
 * Of the south 7 done, none read, 5 of them late. Of old 5 spirometries read in half an hour and less. */
static void november(struct store_bed *b) {
  people(b);
  int64_t north = open_followup(b, NURSE1), north2 = open_followup(b, NURSE2), south = open_followup(b, NURSE3);
  read_study(b, north, "ecg", at("2026-11-01T00:00:00+01:00"), 1 * HOUR, "normal");
  read_study(b, north, "ecg", at("2026-11-05T10:00:00+01:00"), 2 * HOUR, "normal");
  read_study(b, north2, "ecg", at("2026-11-10T10:00:00+01:00"), 3 * HOUR, "uninterpretable");
  read_study(b, north2, "ecg", at("2026-11-15T10:00:00+01:00"), 4 * HOUR, "abnormal");
  read_study(b, north, "ecg", at("2026-11-20T10:00:00+01:00"), 30 * HOUR, "normal");
  read_study(b, north, "ecg", at("2026-11-30T23:59:59.999999+01:00"), 2 * HOUR, "normal"); /* read in December */
  read_study(b, north, "ecg", at("2026-10-31T23:59:59.999999+01:00"), 48 * HOUR, "normal");
  read_study(b, north, "ecg", at("2026-12-01T00:00:00+01:00"), 0, NULL);
  for (int i = 0; i < 5; i++)
    read_study(b, south, "ecg", at("2026-11-29T20:00:00+01:00") + i * HOUR / 2, 0, NULL);
  read_study(b, south, "ecg", at("2026-11-30T00:00:00+01:00"), 0, NULL); /* due as the month ends: not in it */
  read_study(b, south, "ecg", at("2026-11-30T12:00:00+01:00"), 0, NULL);
  for (int i = 0; i < 5; i++)
    read_study(b, 0, "spirometry", at("2026-11-12T10:00:00+01:00"), (i + 1) * HOUR / 10, "normal");
}

static void test_month(void **state) {
  struct store_bed *b = *state;
  november(b);
  json_t *report = monthly(b, "2026-11", LATER);
  assert_int_equal(json_array_size(json_object_get(report, "groups")), 3);
  const json_t *g = row(report, "groups", 0);
  assert_string_equal(json_text(g, "act"), "ecg");
  assert_string_equal(json_text(g, "protocol"), "diabete");
  assert_string_equal(json_text(g, "finess"), SOUTH);
  assert_string_equal(told(g), "done=7 overdue=5 -/-");
  g = row(report, "groups", 1);
  assert_string_equal(json_text(g, "finess"), NORTH);
  assert_string_equal(told(g), "done=6 interpreted=6 overdue=x unreadable=x 3.0/48.0 suppressed");
  g = row(report, "groups", 2);
  assert_string_equal(json_text(g, "act"), "spirometry");
  assert_true(json_is_null(json_object_get(g, "protocol")));
  assert_true(json_is_null(json_object_get(g, "finess")));
  assert_string_equal(told(g), "done=5 interpreted=5 0.3/0.5");
  /* 7 are late in all: told, it would tell the 2 of the north. */
  assert_int_equal(json_array_size(json_object_get(report, "totals")), 2);
  assert_string_equal(told(row(report, "totals", 0)),
                      "done=13 interpreted=6 overdue=x unreadable=x 3.0/48.0 suppressed");
  assert_null(json_object_get(row(report, "totals", 0), "finess"));
  assert_string_equal(told(row(report, "totals", 1)), "done=5 interpreted=5 0.3/0.5");
  json_decref(report);
  report = monthly(b, "2026-12", LATER); /* 7 of the south are late now, the one of the north too; one was read */
  assert_string_equal(told(row(report, "groups", 0)), "overdue=7 -/-");
  assert_string_equal(told(row(report, "groups", 1)), "done=x interpreted=x overdue=x -/- suppressed");
  assert_string_equal(told(row(report, "totals", 0)), "done=x interpreted=x overdue=x -/- suppressed");
  json_decref(report);
  report = monthly(b, "2026-09", LATER);
  assert_int_equal(json_array_size(json_object_get(report, "groups")), 0);
  assert_int_equal(json_array_size(json_object_get(report, "totals")), 0);
  json_decref(report);
}

/* Whatever is done in December, November stays as it was, byte for byte. */
static void test_same_again(void **state) {
  struct store_bed *b = *state;
  november(b);
  char *before = monthly_text(b, "2026-11", "2026-12-01T00:00:00+01:00"), *after;
  assert_non_null(strstr(before, "\"ended\":true"));
  after = monthly_text(b, "2026-11", LATER);
  assert_string_equal(before, after);
  free(after);
  const int64_t december = at("2026-12-03T10:00:00+01:00");
  professional(b, NURSE1, "nurse", SOUTH, 2, december); /* she works elsewhere */
  ROW(b, "INSERT INTO followup_team(followup, gp, nurse, at, by, reason) VALUES(1,?,?,?,'u','r')", "tti", GP1, NURSE3,
      december);
  ROW(b, "INSERT INTO followup_end VALUES(2,?,'u','r')", "i", december);
  /* The first: amended, withdrawn, made anew and read again. */
  int64_t acquisition, old = record(b, 1, 0, at("2026-11-01T00:00:00+01:00"), &acquisition);
  interpretation(b, 1, 2, december, "abnormal", "why");
  ROW(b, "INSERT INTO withdrawal VALUES(1,?,'u','r')", "i", december);
  int64_t became = record(b, 2, acquisition, december, NULL);
  supersede(b, old, december, "reassign");
  ROW(b, "INSERT INTO reassignment(record, became, at, by, reason) VALUES(?,?,?,'u','r')", "iii", old, became,
      december);
  acceptance(b, 1, december + HOUR, december + 25 * HOUR);
  ROW(b, "UPDATE study SET accepted = ?, due = ?, urgent = ? WHERE id = 1", "iii", december + HOUR, december, december);
  interpretation(b, 1, 3, december + 2 * HOUR, "uninterpretable", NULL);
  /* Those that waited: called for, read, given back, given up, another patient's. */
  ROW(b, "UPDATE study SET urgent = ?, due = ? WHERE id = 9", "ii", december, december);
  acceptance(b, 9, december + HOUR, december + 25 * HOUR);
  interpretation(b, 10, 1, december, "normal", NULL);
  ROW(b, "INSERT INTO study_return VALUES(11,'110513','',?,'u')", "i", december);
  ROW(b, "UPDATE study SET state = 'cancelled', updated = ? WHERE id = 12", "i", december);
  old = record(b, 13, 0, 1, &acquisition);
  became = record(b, 14, acquisition, december, NULL);
  supersede(b, old, december, "reassign");
  ROW(b, "INSERT INTO reassignment(record, became, at, by, reason) VALUES(?,?,?,'u','r')", "iii", old, became,
      december);
  after = monthly_text(b, "2026-11", LATER);
  assert_string_equal(before, after);
  free(after);
  free(before);
}

/* ---- one figure after the other ---- */

/* The figures of November's only group. */
static const char *only(struct store_bed *b) {
  json_t *report = monthly(b, "2026-11", LATER);
  assert_int_equal(json_array_size(json_object_get(report, "groups")), 1);
  const char *text = told(row(report, "groups", 0));
  json_decref(report);
  return text;
}

/* What is set aside is a repeat once, however many records that is; decoded again or moved it is none, whatever was
 * written as the reason. */
static void test_repeated(void **state) {
  struct store_bed *b = *state;
  const int64_t day = at("2026-11-10T10:00:00+01:00");
  int64_t acquisition;
  people(b);
  int64_t w = open_followup(b, NURSE1), y[6];
  for (int i = 0; i < 6; i++) {
    y[i] = study(b, "P1", "ecg", w, "acquired", 0, 0);
    for (int k = 0; k < 2; k++)
      supersede(b, record(b, y[i], 0, day - HOUR, NULL), day + i, i ? "bougé" : "redecode");
  }
  assert_string_equal(only(b), "repeated=6 -/-");
  supersede(b, record(b, y[0], 0, day, NULL), day + HOUR, "encore"); /* and once more */
  supersede(b, record(b, y[0], 0, day, NULL), at("2026-12-01T00:00:00+01:00"), "encore");
  supersede(b, record(b, y[0], 0, day, NULL), at("2026-11-01T00:00:00+01:00") - 1, "encore");
  assert_string_equal(only(b), "repeated=7 -/-");
  int64_t old = record(b, y[1], 0, day, &acquisition);
  record(b, y[1], acquisition, day + 2 * HOUR, NULL);
  supersede(b, old, day + 2 * HOUR, "redecode");
  assert_string_equal(only(b), "repeated=7 -/-");
  /* What was decoded again can be set aside later. */
  old = record(b, y[1], 0, day, &acquisition);
  supersede(b, record(b, y[1], acquisition, day + HOUR, NULL), day + 5 * HOUR, "bougé");
  assert_string_equal(only(b), "repeated=8 -/-");
  /* And what was set aside, decoded again. */
  supersede(b, record(b, y[2], 0, day, &acquisition), day + 6 * HOUR, "bougé");
  record(b, y[2], acquisition, day + 7 * HOUR, NULL);
  assert_string_equal(only(b), "repeated=9 -/-");
}

static void test_returned_unreadable(void **state) {
  struct store_bed *b = *state;
  const int64_t day = at("2026-11-10T10:00:00+01:00");
  people(b);
  int64_t w = open_followup(b, NURSE1), y = 0;
  for (int i = 0; i < 8; i++) {
    y = read_study(b, w, "ecg", day, i < 5 ? HOUR : 0, "uninterpretable");
    if (i < 5) /* what an amendment concludes is no second reading */
      interpretation(b, y, 2, day + 3 * HOUR, i ? "uninterpretable" : "normal", "why");
  }
  assert_string_equal(only(b), "done=8 interpreted=5 overdue=x unreadable=5 1.0/1.0 suppressed");
  static const char *const days[] = {"2026-11-01T00:00:00+01:00", "2026-11-11T00:00:00+01:00",
                                     "2026-11-30T23:59:59.999999+01:00"};
  for (int i = 0; i < 3; i++)
    ROW(b, "INSERT INTO study_return VALUES(?,'110513','',?,'u')", "ii", y - i, at(days[i]));
  assert_string_equal(only(b), "done=8 interpreted=5 returned=x unreadable=5 1.0/1.0 suppressed");
  for (int i = 0; i < 2; i++) {
    int64_t x = study(b, "P1", "ecg", w, "returned", 0, 0);
    ROW(b, "INSERT INTO study_return VALUES(?,'110513','',?,'u')", "ii", x, day);
  }
  assert_string_equal(only(b), "done=8 interpreted=5 returned=5 unreadable=5 1.0/1.0");
}

/* The wait begins with the acceptance before the signature, the last one; a microsecond late is late. */
static void test_waits(void **state) {
  struct store_bed *b = *state;
  const int64_t day = at("2026-11-10T10:00:00+01:00");
  people(b);
  int64_t w = open_followup(b, NURSE1), y = 0;
  for (int i = 0; i < 5; i++)
    y = read_study(b, w, "ecg", day, 24 * HOUR, "normal");
  assert_string_equal(only(b), "done=5 interpreted=5 24.0/24.0");
  for (int i = 0; i < 5; i++)
    read_study(b, w, "ecg", day, 24 * HOUR + 1, "normal");
  assert_string_equal(only(b), "done=10 interpreted=10 overdue=5 24.0/24.0");
  acceptance(b, y, day + 30 * HOUR, day + 54 * HOUR); /* it started over, and was read again */
  interpretation(b, y, 2, day + 100 * HOUR, "normal", NULL);
  assert_string_equal(only(b), "done=11 interpreted=11 overdue=6 24.0/24.0"); /* the 11 waited 24 h but one, 70 h */
  /* A clock that was set back makes no wait below nothing; tenths are rounded half up. */
  for (int i = 0; i < 11; i++)
    interpretation(b, read_study(b, w, "ecg", day + HOUR, 0, NULL), 1, day, "normal", NULL);
  assert_string_equal(only(b), "done=22 interpreted=22 overdue=17 0.0/24.0");
}

static void test_rounding(void **state) {
  struct store_bed *b = *state;
  people(b);
  int64_t w = open_followup(b, NURSE1);
  for (int i = 0; i < 9; i++) /* 8 below half of a tenth, the 9th half of one */
    read_study(b, w, "ecg", at("2026-11-10T10:00:00+01:00"), 23 * HOUR + 180 * WALL_SECOND - (i < 8), "normal");
  assert_string_equal(only(b), "done=9 interpreted=9 23.0/23.1");
}

/* Over a change of the clocks a wait is as long as it was. */
static void test_clocks(void **state) {
  struct store_bed *b = *state;
  people(b);
  int64_t w = open_followup(b, NURSE1);
  for (int i = 0; i < 5; i++) {
    int64_t accepted = at("2026-03-28T20:00:00+01:00");
    read_study(b, w, "ecg", accepted, at("2026-03-29T20:00:00+02:00") - accepted, "normal");
    accepted = at("2026-10-24T20:00:00+02:00");
    read_study(b, w, "ecg", accepted, at("2026-10-25T20:00:00+01:00") - accepted, "normal");
    /* The hour that is October's by the sun and November's here, and the other way round in March. */
    read_study(b, w, "spirometry", at("2026-10-31T23:30:00Z"), 0, NULL);
    read_study(b, w, "spirometry", at("2026-03-31T22:30:00Z"), 0, NULL);
  }
  json_t *report = monthly(b, "2026-03", LATER);
  assert_int_equal(json_array_size(json_object_get(report, "groups")), 1);
  assert_string_equal(told(row(report, "groups", 0)), "done=5 interpreted=5 23.0/23.0");
  json_decref(report);
  report = monthly(b, "2026-10", LATER);
  assert_string_equal(told(row(report, "groups", 0)), "done=5 interpreted=5 overdue=5 25.0/25.0");
  assert_string_equal(told(row(report, "groups", 1)), "overdue=5 -/-"); /* of April, and of none since */
  json_decref(report);
  report = monthly(b, "2026-11", LATER);
  assert_string_equal(told(row(report, "groups", 0)), "done=5 overdue=10 -/-");
  json_decref(report);
}

/* Late and waiting: until it is read, given back, given up or started over; of the running month, by now. */
static void test_overdue(void **state) {
  struct store_bed *b = *state;
  const int64_t day = at("2026-11-10T10:00:00+01:00");
  int64_t acquisition;
  people(b);
  int64_t w = open_followup(b, NURSE1), y[9];
  for (int i = 0; i < 9; i++)
    y[i] = read_study(b, w, "ecg", day, 0, NULL);
  assert_string_equal(only(b), "done=9 overdue=9 -/-");
  json_t *report = monthly(b, "2026-11", "2026-11-11T10:00:00+01:00"); /* as the day is over, and a moment later */
  assert_string_equal(told(row(report, "groups", 0)), "done=9 unreadable=x -/- suppressed");
  json_decref(report);
  report = monthly(b, "2026-11", "2026-11-11T10:00:00.000001+01:00");
  assert_string_equal(told(row(report, "groups", 0)), "done=9 overdue=9 unreadable=x -/- suppressed");
  json_decref(report);
  interpretation(b, y[0], 1, day + HOUR, "normal", NULL);
  ROW(b, "INSERT INTO study_return VALUES(?,'110513','',?,'u')", "ii", y[1], day + 48 * HOUR);
  ROW(b, "UPDATE study SET state = 'cancelled', updated = ? WHERE id = ?", "ii", day + 48 * HOUR, y[2]);
  assert_string_equal(only(b), "done=9 interpreted=x overdue=6 returned=x -/- suppressed");
  int64_t old = record(b, y[3], 0, day, &acquisition), became = record(b, y[4], acquisition, day + HOUR, NULL);
  supersede(b, old, day + HOUR, "reassign");
  ROW(b, "INSERT INTO reassignment(record, became, at, by, reason) VALUES(?,?,?,'u','r')", "iii", old, became,
      day + HOUR);
  assert_string_equal(only(b), "done=9 interpreted=x overdue=5 returned=x -/- suppressed");
  /* Accepted again it waits again, and is late once. */
  acceptance(b, y[3], day + 2 * HOUR, day + 26 * HOUR);
  acceptance(b, y[4], day + 2 * HOUR, day + 26 * HOUR);
  assert_string_equal(only(b), "done=11 interpreted=x overdue=6 returned=x -/- suppressed");
  /* The delay that counts is that of the newest acceptance. */
  acceptance(b, y[5], at("2026-11-30T12:00:00+01:00"), at("2026-12-01T12:00:00+01:00"));
  assert_string_equal(only(b), "done=12 interpreted=x overdue=5 returned=x -/- suppressed");
}

/* ---- what is kept back ---- */

/* Of the running month one signature more is no figure more of what it says, however many there are. */
static void test_running(void **state) {
  struct store_bed *b = *state;
  const int64_t day = at("2026-11-10T10:00:00+01:00");
  people(b);
  int64_t w = open_followup(b, NURSE1);
  for (int i = 0; i < 7; i++)
    interpretation(b, read_study(b, w, "ecg", day, 0, NULL), 1, day + HOUR, i < 6 ? "uninterpretable" : "normal", NULL);
  json_t *report = monthly(b, "2026-11", "2026-11-30T23:59:59+01:00");
  assert_string_equal(told(row(report, "groups", 0)), "done=7 interpreted=7 unreadable=x -/- suppressed");
  assert_string_equal(told(row(report, "totals", 0)), "done=7 interpreted=7 unreadable=x -/- suppressed");
  json_decref(report);
  report = monthly(b, "2026-11", "2026-12-01T00:00:00+01:00");
  assert_string_equal(told(row(report, "groups", 0)), "done=7 interpreted=7 unreadable=6 1.0/1.0");
  json_decref(report);
}

/* Every figure from 0 to 6 of three structures: none of 1 to 4 is told, no other is kept back, and a total is told only
 * where all that it sums are, and is their sum. */
static void test_suppression(void **state) {
  struct store_bed *b = *state;
  static const char *const nurses[] = {NURSE1, NURSE2, NURSE3}, *const places[] = {NORTH, SOUTH, "590000022"};
  patient(b, "P1");
  int64_t w[3];
  for (int i = 0; i < 3; i++) {
    professional(b, nurses[i], "nurse", places[i], 1, 1);
    w[i] = followup(b, "P1", "diabete", GP1, nurses[i], 1);
  }
  unsigned cells = 0, kept_back = 0, totals = 0;
  for (int n = 0; n < 7 * 7; n++) { /* a month each */
    const int counts[] = {n % 7, n / 7, (n * 3 + 2) % 7};
    char name[16];
    snprintf(name, sizeof name, "%d-%02d", 2010 + n / 12, n % 12 + 1);
    char noon[32];
    snprintf(noon, sizeof noon, "%s-02T12:00:00Z", name);
    const int64_t day = at(noon);
    for (int i = 0; i < 3; i++)
      for (int k = 0; k < counts[i]; k++)
        read_study(b, w[i], "ecg", day, HOUR, "normal");
    json_t *report = monthly(b, name, LATER), *total = json_array_get(json_object_get(report, "totals"), 0);
    int64_t sum = 0;
    bool all = true;
    for (int i = 0; i < 3; i++) {
      size_t k;
      json_t *g, *found = NULL;
      json_array_foreach(json_object_get(report, "groups"), k, g) {
        found = strcmp(json_text(g, "finess"), places[i]) ? found : g;
      }
      assert_int_equal(found != NULL, counts[i] > 0);
      if (!found)
        continue;
      const bool few = counts[i] < 5;
      static const char *const figures[] = {"done", "interpreted"};
      for (int f = 0; f < 2; f++, cells++) {
        const json_t *figure = json_object_get(found, figures[f]);
        assert_int_equal(json_is_null(figure), few);
        assert_true(few || json_integer_value(figure) == counts[i]);
        kept_back += few;
      }
      assert_int_equal(json_text(found, "hours_median") == NULL, few);
      assert_int_equal(json_text(found, "hours_p90") == NULL, few);
      assert_int_equal(json_is_true(json_object_get(found, "suppressed")), few);
      assert_int_equal(json_integer_value(json_object_get(found, "overdue")), 0);
      assert_true(json_is_integer(json_object_get(found, "overdue"))); /* 0 stays 0 */
      all &= !few;
      sum += counts[i];
    }
    if (total) {
      assert_int_equal(json_is_integer(json_object_get(total, "done")), all);
      assert_int_equal(json_text(total, "hours_p90") != NULL, all);
      assert_true(!all || json_integer_value(json_object_get(total, "done")) == sum);
      totals += all;
    }
    json_decref(report);
  }
  assert_true(totals > 0);
  print_message("# %u figures, %u kept back; %u totals told\n", cells, kept_back, totals);
}

/* ---- as it is sent ---- */

static void test_signed(void **state) {
  struct store_bed *b = *state;
  november(b);
  json_t *report = monthly(b, "2026-11", LATER), *answer = report_signed(store_site_key(b->store), report);
  uint8_t public[SIGNATURE_PUBLIC], signature[SIGNATURE_BYTES];
  size_t n;
  char *text = json_canonical(json_object_get(answer, "report"), &n);
  assert_true(str_unhex(json_text(answer, "public_key"), public, sizeof public));
  assert_true(str_unhex(json_text(answer, "signature"), signature, sizeof signature));
  assert_memory_equal(public, store_site_key(b->store)->public, sizeof public);
  assert_true(signature_holds(public, text, n, signature));
  text[strcspn(text, "7")] = '8';
  assert_false(signature_holds(public, text, n, signature));
  /* Nobody's number, name or id is in it. */
  static const char *const secrets[] = {NURSE1, NURSE3, GP1, "P1", "FAMILY", "Given", "S-1", "W-1", "martin"};
  char *all = json_canonical(answer, NULL);
  for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
    if (strstr(all, secrets[i]))
      fail_msg("%s is in the report", secrets[i]);
  free(all);
  free(text);
  json_decref(answer);
  json_decref(report);
}

static void test_csv(void **state) {
  struct store_bed *b = *state;
  november(b);
  json_t *report = monthly(b, "2026-11", LATER);
  struct buf csv = BUF_INIT(1u << 20);
  assert_int_equal(report_csv(report, &csv), 0);
  assert_string_equal(buf_cstr(&csv),
                      "\xef\xbb\xbf"
                      "mois;acte;protocole;finess;réalisés;refaits;renvoyés;interprétés;ininterprétables;en retard;"
                      "délai médian (h);délai 90 % (h)\r\n"
                      "2026-11;ecg;diabete;130000021;7;0;0;0;0;5;;\r\n"
                      "2026-11;ecg;diabete;750000019;6;0;0;6;s;s;3,0;48,0\r\n"
                      "2026-11;spirometry;;;5;0;0;5;0;0;0,3;0,5\r\n");
  buf_finish(&csv);
  json_decref(report);
  report = monthly(b, "2026-12", LATER); /* hours of so few are kept back too */
  csv = BUF_INIT(1u << 20);
  assert_int_equal(report_csv(report, &csv), 0);
  assert_non_null(strstr(buf_cstr(&csv), "2026-12;ecg;diabete;750000019;s;0;0;s;0;s;s;s\r\n"));
  buf_finish(&csv);
  csv = BUF_INIT(64); /* a bound that is reached is told */
  assert_int_equal(report_csv(report, &csv), -EFBIG);
  buf_finish(&csv);
  json_decref(report);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, practice_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rank),
      TEST(month_names),
      TEST(month),
      TEST(same_again),
      TEST(repeated),
      TEST(returned_unreadable),
      TEST(waits),
      TEST(rounding),
      TEST(clocks),
      TEST(overdue),
      TEST(running),
      TEST(suppression),
      TEST(signed),
      TEST(csv),
  };
  return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
