#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wall.h"
#include <asalee/driver.h>
#include <cmocka.h>
#include <errno.h>
#include <time.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

static uint64_t seed = UINT64_C(0x2545f4914f6cdd1d);

static uint64_t rnd(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static const struct wall mark = {-77, 77};

static void refused(const char *text) {
  struct wall w = mark;
  if (wall_parse(text, &w) != -EINVAL)
    fail_msg("\"%s\" is accepted", text);
  assert_int_equal(w.us, mark.us);
  assert_int_equal(w.offset_minutes, mark.offset_minutes);
}

/* The text of an instant as the C library spells it. */
static void spell(struct wall w, char text[static WALL_TEXT_MAX]) {
  time_t local = (time_t)(w.us / WALL_SECOND) + w.offset_minutes * 60;
  struct tm tm;
  assert_non_null(gmtime_r(&local, &tm));
  int offset = abs(w.offset_minutes);
  snprintf(text, WALL_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%06d%c%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1,
           tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(w.us % WALL_SECOND), w.offset_minutes < 0 ? '-' : '+',
           offset / 60, offset % 60);
}

static void check(struct wall w) {
  char text[WALL_TEXT_MAX], want[WALL_TEXT_MAX];
  struct wall back = mark;
  wall_format(w, text);
  spell(w, want);
  if (strcmp(text, want))
    fail_msg("%lld %+d is %s, not %s", (long long)w.us, w.offset_minutes, text, want);
  assert_int_equal(wall_parse(text, &back), 0);
  if (back.us != w.us || back.offset_minutes != w.offset_minutes)
    fail_msg("%s reads as %lld %+d", text, (long long)back.us, back.offset_minutes);
}

TEST(named) {
  static const struct {
    const char *text;
    int64_t seconds;
    int micro, offset;
    const char *canonical; /* NULL: as it is */
  } rows[] = {
      {"1970-01-01T00:00:00.000000+00:00", 0, 0, 0, NULL},
      {"1970-01-01T00:00:00Z", 0, 0, 0, "1970-01-01T00:00:00.000000+00:00"},
      {"1969-12-31T23:00:00.000001-01:00", 0, 1, -60, NULL}, /* a local year before 1970 */
      {"1969-12-31T00:01:00.000000-23:59", 0, 0, -1439, NULL},
      {"1970-01-01T23:59:00.000000+23:59", 0, 0, 1439, NULL},
      {"2000-02-29T12:00:00.500000+01:00", 951822000, 500000, 60, NULL},
      {"2024-02-29T23:59:59.999999+00:00", 1709251199, 999999, 0, NULL},
      {"2024-03-01T00:00:00.000000+00:00", 1709251200, 0, 0, NULL},
      {"2023-12-31T23:59:59.999999+01:00", 1704063599, 999999, 60, NULL},
      {"2024-01-01T00:00:00.000000+01:00", 1704063600, 0, 60, NULL},
      {"2026-03-29T01:59:59.123456+01:00", 1774745999, 123456, 60, NULL},
      {"2026-03-29T03:00:00.000000+02:00", 1774746000, 0, 120, NULL},
      {"2026-10-25T02:30:00.000000+02:00", 1792888200, 0, 120, NULL}, /* twice that day */
      {"2026-10-25T02:30:00.000000+01:00", 1792891800, 0, 60, NULL},
      {"2100-02-28T23:59:59.000000+00:00", 4107542399, 0, 0, NULL}, /* no leap year */
      {"2100-03-01T00:00:00.000000+00:00", 4107542400, 0, 0, NULL},
      {"9999-12-31T23:59:59.999999+00:00", 253402300799, 999999, 0, NULL},
      {"9999-12-31T00:00:59.999999-23:59", 253402300799, 999999, -1439, NULL},
      {"2024-02-29T23:59:59.9Z", 1709251199, 900000, 0, "2024-02-29T23:59:59.900000+00:00"},
      {"2024-02-29T23:59:59.09Z", 1709251199, 90000, 0, "2024-02-29T23:59:59.090000+00:00"},
      {"2024-02-29T23:59:59.123Z", 1709251199, 123000, 0, "2024-02-29T23:59:59.123000+00:00"},
      {"2024-02-29T23:59:59.1234Z", 1709251199, 123400, 0, "2024-02-29T23:59:59.123400+00:00"},
      {"2024-02-29T23:59:59.12345Z", 1709251199, 123450, 0, "2024-02-29T23:59:59.123450+00:00"},
      {"2024-02-29T23:59:59-00:00", 1709251199, 0, 0, "2024-02-29T23:59:59.000000+00:00"},
      {"2024-02-29T23:59:59-05:30", 1709271000 - 1, 0, -330, "2024-02-29T23:59:59.000000-05:30"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct wall w = mark;
    char text[WALL_TEXT_MAX];
    if (wall_parse(rows[i].text, &w))
      fail_msg("%s", rows[i].text);
    assert_int_equal(w.us, rows[i].seconds * WALL_SECOND + rows[i].micro);
    assert_int_equal(w.offset_minutes, rows[i].offset);
    wall_format(w, text);
    assert_string_equal(text, rows[i].canonical ? rows[i].canonical : rows[i].text);
  }
}

TEST(bad) {
  static const char *const rows[] = {
      "",
      "x",
      "2024",
      "2024-02-29",
      "2024-02-29T",
      "2024-02-29T12:00",
      "2024-02-29T12:00:00",
      "2024-02-29T12:00:00.",
      "2024-02-29T12:00:00.Z",
      "2024-02-29T12:00:00.1234567Z",
      "2024-02-29T12:00:00,5Z",
      "2024-02-29 12:00:00Z",
      "2024-02-29t12:00:00Z",
      "2024-02-29T12:00:00z",
      "2024-02-29T12:00:00Z ",
      " 2024-02-29T12:00:00Z",
      "2024-02-29T12:00:00ZZ",
      "2024-02-29T12:00:00Z+01:00",
      "2024-02-29T12:00:00+01",
      "2024-02-29T12:00:00+0100",
      "2024-02-29T12:00:00+1:00",
      "2024-02-29T12:00:00+24:00",
      "2024-02-29T12:00:00-24:00",
      "2024-02-29T12:00:00+01:60",
      "2024-02-29T12:00:00+01:000",
      "2024-02-29T12:00:00++1:00",
      "2024-02-29T12:00:00+-1:00",
      "2024-02-29T24:00:00Z",
      "2024-02-29T12:60:00Z",
      "2024-02-29T12:00:60Z",
      "2024-02-29T12:00:61Z",
      "2024-00-29T12:00:00Z",
      "2024-13-29T12:00:00Z",
      "2024-02-00T12:00:00Z",
      "2024-02-30T12:00:00Z",
      "2023-02-29T12:00:00Z",
      "2100-02-29T12:00:00Z",
      "2024-04-31T12:00:00Z",
      "2024-06-31T12:00:00Z",
      "2024-09-31T12:00:00Z",
      "2024-11-31T12:00:00Z",
      "2024-01-32T12:00:00Z",
      "24-02-29T12:00:00Z",
      "02024-02-29T12:00:00Z",
      "-2024-02-29T12:00:00Z",
      "+2024-02-29T12:00:00Z",
      "2024-2-29T12:00:00Z",
      "2024-02-9T12:00:00Z",
      "2024/02/29T12:00:00Z",
      "20240229T120000Z",
      "2024-02-29T2:00:00Z",
      "1969-12-31T23:59:59Z",
      "1969-12-31T23:59:59.999999Z",
      "1970-01-01T00:59:59+01:00",
      "0000-01-01T00:00:00Z",
      "0001-01-01T00:00:00+23:59",
      "9999-12-31T23:59:59-00:01",
      "9999-12-31T23:59:59.999999-23:59",
  };
  for (size_t i = 0; i < COUNT(rows); i++)
    refused(rows[i]);
}

/* Each byte of a text replaced by every other: accepted only when a digit took a digit's place, or a sign a sign's,
 * and then it says something else. */
TEST(every_byte) {
  static const char model[] = "2026-03-29T01:59:59.123456+01:00";
  struct wall base, w;
  assert_int_equal(wall_parse(model, &base), 0);
  for (size_t n = 0; n < sizeof model - 1; n++) {
    char text[sizeof model + 1];
    memcpy(text, model, sizeof model);
    text[n] = 0;
    refused(text);
    for (int c = 1; c < 256; c++) {
      memcpy(text, model, sizeof model);
      text[n] = (char)c;
      bool digit = model[n] >= '0' && model[n] <= '9';
      if (wall_parse(text, &w)) {
        if (text[n] == model[n])
          fail_msg("%s", text);
        continue;
      }
      if (digit ? c < '0' || c > '9' : model[n] == '+' ? c != '+' && c != '-' : (char)c != model[n])
        fail_msg("%s is accepted", text);
      assert_int_equal(w.us == base.us && w.offset_minutes == base.offset_minutes, (char)c == model[n]);
    }
    memmove(text + n + 1, model + n, sizeof model - n); /* and a byte too many */
    memcpy(text, model, n);
    for (const char *c = "0+-Z:.T "; *c; c++) {
      text[n] = *c;
      refused(text);
    }
  }
}

TEST(random_instants) {
  for (int i = 0; i < 300000; i++) {
    int64_t us = (int64_t)(rnd() % (uint64_t)(WALL_MAX - 86400 * WALL_SECOND));
    check((struct wall){us, (int16_t)((int)(rnd() % 2879) - 1439)});
  }
  for (int i = 0; i < 100000; i++) { /* text to instant, against timegm() */
    struct tm tm = {.tm_year = 70 + (int)(rnd() % 8029),
                    .tm_mon = (int)(rnd() % 12),
                    .tm_mday = 1 + (int)(rnd() % 28),
                    .tm_hour = (int)(rnd() % 24),
                    .tm_min = (int)(rnd() % 60),
                    .tm_sec = (int)(rnd() % 60)};
    if (tm.tm_year == 70 && !tm.tm_mon && tm.tm_mday < 3)
      continue;
    int oh = (int)(rnd() % 24), om = (int)(rnd() % 60), minus = (int)(rnd() % 2);
    char text[WALL_TEXT_MAX];
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d%c%02d:%02d", (tm.tm_year + 1900) % 10000,
             (tm.tm_mon + 1) % 100, tm.tm_mday % 100, tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100,
             minus ? '-' : '+', oh % 100, om % 100);
    int offset = (minus ? -1 : 1) * (60 * oh + om);
    struct wall w;
    assert_int_equal(wall_parse(text, &w), 0);
    assert_int_equal(w.us, ((int64_t)timegm(&tm) - offset * 60) * WALL_SECOND);
    assert_int_equal(w.offset_minutes, offset);
  }
}

TEST(every_offset_and_day) {
  for (int offset = -1439; offset <= 1439; offset++) {
    check((struct wall){0, (int16_t)offset});
    check((struct wall){1709251199999999, (int16_t)offset});
    check((struct wall){WALL_MAX - 86400 * WALL_SECOND, (int16_t)offset});
  }
  for (int64_t day = 0; day < 366 * 140; day++) { /* to 2110, past a century that is no leap year */
    check((struct wall){day * 86400 * WALL_SECOND, 0});
    check((struct wall){(day + 1) * 86400 * WALL_SECOND - 1, 0});
  }
}

/* What no text of four year digits can say in local time is said in UTC: the instant comes first. */
TEST(last_year) {
  for (int offset = -1439; offset <= 1439; offset++) {
    struct wall back;
    char text[WALL_TEXT_MAX];
    wall_format((struct wall){WALL_MAX, (int16_t)offset}, text);
    assert_int_equal(wall_parse(text, &back), 0);
    assert_int_equal(back.us, WALL_MAX);
    assert_int_equal(back.offset_minutes, offset > 0 ? 0 : offset);
    if (offset > 0) /* the last second that local time can say, and the one after it */
      for (int64_t s = 0; s < 2; s++) {
        int64_t us = WALL_MAX - (offset * 60 - s) * WALL_SECOND;
        wall_format((struct wall){us, (int16_t)offset}, text);
        assert_int_equal(wall_parse(text, &back), 0);
        assert_int_equal(back.us, us);
        assert_int_equal(back.offset_minutes, s ? 0 : offset);
      }
  }
}

TEST(out_of_range_is_the_epoch) {
  static const struct wall rows[] = {{-1, 0},        {WALL_MAX + 1, 0}, {0, 1440},      {0, -1440},
                                     {INT64_MIN, 0}, {INT64_MAX, 0},    {5, INT16_MIN}, {5, INT16_MAX}};
  char text[WALL_TEXT_MAX];
  for (size_t i = 0; i < COUNT(rows); i++) {
    wall_format(rows[i], text);
    assert_string_equal(text, "1970-01-01T00:00:00.000000+00:00");
  }
}

static void zone(const char *name) {
  assert_int_equal(setenv("TZ", name, 1), 0);
  tzset();
}

static void paris(void) {
  static const struct {
    int64_t seconds;
    int offset;
    const char *text;
  } rows[] = {
      {1774745999, 60, "2026-03-29T01:59:59.999999+01:00"}, /* spring: 02:00 becomes 03:00 */
      {1774746000, 120, "2026-03-29T03:00:00.999999+02:00"},
      {1792889999, 120, "2026-10-25T02:59:59.999999+02:00"}, /* autumn: 03:00 becomes 02:00 */
      {1792890000, 60, "2026-10-25T02:00:00.999999+01:00"},
      {1735685999, 60, "2024-12-31T23:59:59.999999+01:00"},
      {1735686000, 60, "2025-01-01T00:00:00.999999+01:00"},
      {1751328000, 120, "2025-07-01T02:00:00.999999+02:00"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct wall w = wall_local(rows[i].seconds * WALL_SECOND + 999999), back;
    char text[WALL_TEXT_MAX];
    assert_int_equal(w.us, rows[i].seconds * WALL_SECOND + 999999);
    assert_int_equal(w.offset_minutes, rows[i].offset);
    wall_format(w, text);
    assert_string_equal(text, rows[i].text);
    assert_int_equal(wall_parse(text, &back), 0);
    assert_int_equal(back.us, w.us);
    assert_int_equal(back.offset_minutes, w.offset_minutes);
  }
  for (int64_t s = 1774746000 - 7200; s < 1774746000 + 7200; s++) /* one change, at that second */
    assert_int_equal(wall_local(s * WALL_SECOND).offset_minutes, s < 1774746000 ? 60 : 120);
  for (int64_t s = 1792890000 - 7200; s < 1792890000 + 7200; s++)
    assert_int_equal(wall_local(s * WALL_SECOND).offset_minutes, s < 1792890000 ? 120 : 60);
}

TEST(local_time) {
  zone("CET-1CEST,M3.5.0,M10.5.0/3"); /* Europe/Paris, spelt out */
  paris();
  zone("Europe/Paris");
  if (wall_local(1751328000 * WALL_SECOND).offset_minutes == 120) /* where the zone's file is there */
    paris();
  zone("<+0545>-5:45");
  assert_int_equal(wall_local(1751328000 * WALL_SECOND).offset_minutes, 345);
  zone("<-0330>3:30");
  assert_int_equal(wall_local(1751328000 * WALL_SECOND).offset_minutes, -210);
  zone("UTC0");
  assert_int_equal(wall_local(1751328000 * WALL_SECOND).offset_minutes, 0);
}

TEST(now) {
  zone("<+0200>-2");
  struct timespec before, after;
  clock_gettime(CLOCK_REALTIME, &before);
  struct wall w = wall_now();
  clock_gettime(CLOCK_REALTIME, &after);
  assert_true(w.us >= before.tv_sec * WALL_SECOND + before.tv_nsec / 1000);
  assert_true(w.us <= after.tv_sec * WALL_SECOND + after.tv_nsec / 1000);
  assert_int_equal(w.offset_minutes, 120);
  uint64_t last = monotonic_us();
  clock_gettime(CLOCK_MONOTONIC, &before);
  assert_true(last <= (uint64_t)before.tv_sec * 1000000 + (uint64_t)before.tv_nsec / 1000);
  for (int i = 0; i < 100000; i++) {
    uint64_t next = monotonic_us();
    assert_true(next >= last);
    last = next;
  }
  struct timespec nap = {.tv_nsec = 20000000};
  nanosleep(&nap, NULL);
  assert_true(monotonic_us() - last >= 20000);
}

TEST(dates) {
  char text[16];
  for (int y = 1840; y <= 2110; y++)
    for (int m = 0; m <= 13; m++)
      for (int d = 0; d <= 32; d++) {
        struct tm tm = {.tm_year = y - 1900, .tm_mon = m - 1, .tm_mday = d};
        timegm(&tm); /* brings an impossible date to another one */
        bool real = tm.tm_year == y - 1900 && tm.tm_mon == m - 1 && tm.tm_mday == d;
        snprintf(text, sizeof text, "%04d-%02d-%02d", y, m, d);
        if (wall_is_date(text) != (real && y >= 1850))
          fail_msg("%s", text);
      }
  static const char *const bad[] = {
      "",           "2024",       "2024-02",    "2024-02-2", "2024-02-290", "2024-02-29 ", " 2024-02-29", "2024-02-29T",
      "24-02-29",   "2024/02/29", "2024-2-029", "20240229",  "29-02-2024",  "2024-02-2x",  "0000-01-01",  "1849-12-31",
      "-024-02-29", "2024--2-29"};
  for (size_t i = 0; i < COUNT(bad); i++)
    if (wall_is_date(bad[i]))
      fail_msg("\"%s\" is a date", bad[i]);
  assert_true(wall_is_date("1850-01-01"));
  assert_true(wall_is_date("9999-12-31"));
  assert_true(wall_is_date("2000-02-29"));
  assert_false(wall_is_date("1900-02-29"));
}

/* ---- instruments' clocks ------------------------------------------------------------------------------------ */

static int clock_us(struct acq_clock c, int64_t *ret) {
  int64_t us = 77;
  int r = acq_clock_to_us(&c, &us);
  assert_true(r == 0 || (r == -ERANGE && us == 77));
  *ret = us;
  return r;
}

/* Every day, as the C library counts them, at its first and last millisecond. */
TEST(clock_days) {
  int64_t us;
  for (time_t day = 0; day < 376200; day++) {
    time_t second = day * 86400;
    struct tm tm;
    assert_non_null(gmtime_r(&second, &tm));
    struct acq_clock first = {tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, 0, 0, 0, 0}, last = first;
    last.hour = 23;
    last.minute = last.second = 59;
    last.ms = 999;
    assert_int_equal(clock_us(first, &us), 0);
    assert_int_equal(us, second * WALL_SECOND);
    struct acq_clock back = acq_clock_from_us(us + 999); /* to the millisecond */
    assert_memory_equal(&back, &first, sizeof back);
    assert_int_equal(clock_us(last, &us), 0);
    assert_int_equal(us, (second + 86400) * WALL_SECOND - 1000);
    back = acq_clock_from_us(us);
    assert_memory_equal(&back, &last, sizeof back);
  }
  assert_int_equal(clock_us((struct acq_clock){2999, 12, 31, 23, 59, 59, 999}, &us), 0); /* that was the last of them */
  assert_int_equal(us, INT64_C(376200) * 86400 * WALL_SECOND - 1000);
}

TEST(clock_times) {
  for (int i = 0; i < 200000; i++) {
    struct acq_clock c = acq_clock_from_us((int64_t)(rnd() % (UINT64_C(376200) * 86400 * 1000)) * 1000);
    struct tm tm = {.tm_year = c.year - 1900,
                    .tm_mon = c.month - 1,
                    .tm_mday = c.day,
                    .tm_hour = c.hour,
                    .tm_min = c.minute,
                    .tm_sec = c.second};
    int64_t us;
    assert_int_equal(clock_us(c, &us), 0);
    assert_int_equal(us, (int64_t)timegm(&tm) * WALL_SECOND + c.ms * 1000);
  }
}

TEST(clocks_that_are_none) {
  static const struct {
    struct acq_clock clock;
    bool fine;
  } rows[] = {
      {{2024, 2, 29, 0, 0, 0, 0}, true},          {{2000, 2, 29, 0, 0, 0, 0}, true},
      {{2023, 2, 29, 0, 0, 0, 0}, false},         {{2100, 2, 29, 0, 0, 0, 0}, false},
      {{1970, 1, 1, 0, 0, 0, 0}, true},           {{1969, 12, 31, 23, 59, 59, 999}, false},
      {{3000, 1, 1, 0, 0, 0, 0}, false},          {{0, 1, 1, 0, 0, 0, 0}, false},
      {{13, 5, 28, 10, 44, 18, 0}, false}, /* two digits of a year */
      {{2013, 0, 28, 0, 0, 0, 0}, false},         {{2013, 13, 28, 0, 0, 0, 0}, false},
      {{2013, 5, 0, 0, 0, 0, 0}, false},          {{2013, 5, 32, 0, 0, 0, 0}, false},
      {{2013, 6, 31, 0, 0, 0, 0}, false},         {{2013, 5, 28, 24, 0, 0, 0}, false},
      {{2013, 5, 28, -1, 0, 0, 0}, false},        {{2013, 5, 28, 0, 60, 0, 0}, false},
      {{2013, 5, 28, 0, -1, 0, 0}, false},        {{2013, 5, 28, 0, 0, 60, 0}, false},
      {{2013, 5, 28, 0, 0, -1, 0}, false},        {{2013, 5, 28, 0, 0, 0, 1000}, false},
      {{2013, 5, 28, 0, 0, 0, -1}, false},        {{INT32_MAX, 5, 28, 0, 0, 0, 0}, false},
      {{INT32_MIN, 5, 28, 0, 0, 0, 0}, false},    {{2013, INT32_MAX, 28, 0, 0, 0, 0}, false},
      {{2013, INT32_MIN, 28, 0, 0, 0, 0}, false}, {{2013, 5, INT32_MIN, 0, 0, 0, 0}, false},
  };
  int64_t us;
  for (size_t i = 0; i < COUNT(rows); i++)
    if ((clock_us(rows[i].clock, &us) == 0) != rows[i].fine)
      fail_msg("row %zu", i);
}

/* What the clock on the wall of the practice shows while an order runs. */
TEST(order_clock) {
  static const struct {
    struct acq_order order;
    uint64_t ms;
    struct acq_clock want;
  } rows[] = {
      {{.started_us = 1774745999123456, .offset_minutes = 60}, 0, {2026, 3, 29, 1, 59, 59, 123}},
      {{.started_us = 1774745999123456, .offset_minutes = 60}, 877, {2026, 3, 29, 2, 0, 0, 0}},
      {{.started_us = 1774745999123456, .offset_minutes = -210}, 0, {2026, 3, 28, 21, 29, 59, 123}},
      {{.started_us = 1774745999123456, .offset_minutes = 1439}, 60000, {2026, 3, 30, 0, 59, 59, 123}},
      {{.started_us = 0, .offset_minutes = 0}, UINT32_MAX, {1970, 2, 19, 17, 2, 47, 295}},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct acq_clock c = acq_clock_from_us(acq_order_clock_us(&rows[i].order, rows[i].ms));
    assert_memory_equal(&c, &rows[i].want, sizeof c);
  }
  const struct acq_order order = {.started_us = 1774745999123456, .offset_minutes = 60};
  assert_int_equal(acq_order_clock_us(&order, 2), 1774745999123456 + 3600 * WALL_SECOND + 2000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(named),
      cmocka_unit_test(bad),
      cmocka_unit_test(every_byte),
      cmocka_unit_test(random_instants),
      cmocka_unit_test(every_offset_and_day),
      cmocka_unit_test(last_year),
      cmocka_unit_test(out_of_range_is_the_epoch),
      cmocka_unit_test(local_time),
      cmocka_unit_test(now),
      cmocka_unit_test(dates),
      cmocka_unit_test(clock_days),
      cmocka_unit_test(clock_times),
      cmocka_unit_test(clocks_that_are_none),
      cmocka_unit_test(order_clock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
