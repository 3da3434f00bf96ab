#include "wall.h"

#include <asalee/driver.h>
#include <errno.h>
#include <string.h>
#include <time.h>

uint64_t monotonic_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

struct wall wall_local(int64_t us) {
  time_t seconds = (time_t)(us / WALL_SECOND);
  struct tm tm;
  struct wall w = {.us = us};
  if (localtime_r(&seconds, &tm))
    w.offset_minutes = (int16_t)(tm.tm_gmtoff / 60);
  return w;
}

struct wall wall_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return wall_local((int64_t)t.tv_sec * WALL_SECOND + t.tv_nsec / 1000);
}

/* Days since 1970-01-01 of a proleptic Gregorian date. */
static int64_t days_from_civil(int64_t y, int m, int d) {
  y -= m <= 2;
  int64_t era = y / 400;
  int64_t yoe = y - era * 400;
  int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
  return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

struct civil {
  int year, month, day;
};

/* The other way; days from -1 on. */
static struct civil civil_from_days(int64_t days) {
  int64_t z = days + 719468, era = z / 146097, doe = z - era * 146097;
  int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
  int month = (int)(mp < 10 ? mp + 3 : mp - 9);
  return (struct civil){(int)(yoe + era * 400 + (month <= 2)), month, (int)(doy - (153 * mp + 2) / 5 + 1)};
}

/* n digits, then a character: a page of the queue formats some 150 times. */
static char *put(char *p, int v, int n, char after) {
  for (int i = n - 1; i >= 0; i--, v /= 10)
    p[i] = (char)('0' + v % 10);
  p[n] = after;
  return p + n + 1;
}

void wall_format(struct wall w, char text[static WALL_TEXT_MAX]) {
  if (w.us < WALL_MIN || w.us > WALL_MAX || w.offset_minutes < -1439 || w.offset_minutes > 1439)
    w = (struct wall){0};
  if (w.us / WALL_SECOND + w.offset_minutes * 60 > WALL_MAX / WALL_SECOND)
    w.offset_minutes = 0; /* RFC 3339 has no year 10000 */
  int64_t local = w.us / WALL_SECOND + w.offset_minutes * 60;
  int64_t days = (local + 86400) / 86400 - 1; /* floors, as an early instant west of Greenwich is in 1969 */
  int second = (int)(local - days * 86400);
  struct civil date = civil_from_days(days);
  int offset = w.offset_minutes < 0 ? -w.offset_minutes : w.offset_minutes;
  char *p = put(text, date.year, 4, '-');
  p = put(p, date.month, 2, '-');
  p = put(p, date.day, 2, 'T');
  p = put(p, second / 3600, 2, ':');
  p = put(p, second / 60 % 60, 2, ':');
  p = put(p, second % 60, 2, '.');
  p = put(p, (int)(w.us % WALL_SECOND), 6, w.offset_minutes < 0 ? '-' : '+');
  p = put(p, offset / 60, 2, ':');
  put(p, offset % 60, 2, 0);
}

/* n digits at *p as a number within [min, max]; moves *p. */
static bool digits(const char **p, int n, int min, int max, int *ret) {
  int v = 0;
  for (int i = 0; i < n; i++, (*p)++) {
    if (**p < '0' || **p > '9')
      return false;
    v = v * 10 + (**p - '0');
  }
  *ret = v;
  return v >= min && v <= max;
}

static bool is_day(int y, int m, int d) {
  static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (y % 4 == 0 && y % 100) || y % 400 == 0;
  return m >= 1 && m <= 12 && d >= 1 && d <= days[m - 1] + (m == 2 && leap);
}

static bool date(const char **p, int *y, int *m, int *d) {
  return digits(p, 4, 0, 9999, y) && *(*p)++ == '-' && digits(p, 2, 1, 12, m) && *(*p)++ == '-' &&
         digits(p, 2, 1, 31, d) && is_day(*y, *m, *d);
}

int wall_parse(const char *text, struct wall *ret) {
  int y, mo, d, h, mi, s, fraction = 0, scale = 100000, oh = 0, om = 0;
  const char *p = text;
  if (!date(&p, &y, &mo, &d) || *p++ != 'T' || !digits(&p, 2, 0, 23, &h) || *p++ != ':' || !digits(&p, 2, 0, 59, &mi) ||
      *p++ != ':' || !digits(&p, 2, 0, 59, &s))
    return -EINVAL;
  if (*p == '.') {
    for (p++; *p >= '0' && *p <= '9' && scale; p++, scale /= 10)
      fraction += (*p - '0') * scale;
    if (p[-1] == '.')
      return -EINVAL;
  }
  int sign = *p == '-' ? -1 : 1;
  if (*p == 'Z')
    p++;
  else if ((*p != '+' && *p != '-') || (p++, !digits(&p, 2, 0, 23, &oh)) || *p++ != ':' || !digits(&p, 2, 0, 59, &om))
    return -EINVAL;
  if (*p)
    return -EINVAL;
  int64_t seconds = days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + s - sign * (oh * 3600 + om * 60);
  int64_t us = seconds * WALL_SECOND + fraction;
  if (us < WALL_MIN || us > WALL_MAX)
    return -EINVAL;
  *ret = (struct wall){us, (int16_t)(sign * (oh * 60 + om))};
  return 0;
}

bool wall_is_date(const char *text) {
  int y, m, d;
  size_t n = strnlen(text, 11);
  const char *p = text;
  return n == 10 && date(&p, &y, &m, &d) && y >= 1850;
}

/* ---- instruments' clocks (driver.h) ---- */

int acq_clock_to_us(const struct acq_clock *c, int64_t *ret) {
  if (c->year < 1970 || c->year > 2999 || !is_day(c->year, c->month, c->day) || c->hour < 0 || c->hour > 23 ||
      c->minute < 0 || c->minute > 59 || c->second < 0 || c->second > 59 || c->ms < 0 || c->ms > 999)
    return -ERANGE;
  *ret =
      (days_from_civil(c->year, c->month, c->day) * 86400 + c->hour * 3600 + c->minute * 60 + c->second) * WALL_SECOND +
      c->ms * 1000;
  return 0;
}

struct acq_clock acq_clock_from_us(int64_t us) {
  int64_t ms = us / 1000, days = ms / 86400000;
  struct civil date = civil_from_days(days);
  int rest = (int)(ms - days * 86400000);
  return (struct acq_clock){date.year,         date.month,       date.day,   rest / 3600000,
                            rest / 60000 % 60, rest / 1000 % 60, rest % 1000};
}

int64_t acq_order_clock_us(const struct acq_order *order, uint64_t ms) {
  return order->started_us + order->offset_minutes * 60 * WALL_SECOND + (int64_t)ms * 1000;
}

void wall_date(int64_t us, char ret[static WALL_DATE_MAX]) {
  char text[WALL_TEXT_MAX];
  wall_format(wall_local(us), text);
  memcpy(ret, text, WALL_DATE_MAX - 1);
  ret[WALL_DATE_MAX - 1] = 0;
}
