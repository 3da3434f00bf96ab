#include "calendar.h"

#include <stdio.h>
#include <string.h>

#define SECOND_US 1000000

struct tm calendar_show(int64_t local_us) {
  struct tm tm;
  int64_t rest = local_us % SECOND_US;
  time_t seconds = local_us / SECOND_US - (rest < 0);
  gmtime_r(&seconds, &tm);
  return tm;
}

bool calendar_set(int year, int month, int day, int hour, int minute, int second, int64_t *ret_local_us) {
  struct tm tm = {
      .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute, .tm_sec = second};
  struct tm normal = tm;
  time_t seconds = timegm(&normal);
  /* timegm makes 2 March of 30 February */
  if (year < 2000 || year > 2099 || normal.tm_mon != tm.tm_mon || normal.tm_mday != day || normal.tm_hour != hour ||
      normal.tm_min != minute || normal.tm_sec != second)
    return false;
  *ret_local_us = (int64_t)seconds * SECOND_US;
  return true;
}

bool calendar_parse(const char *text, int64_t *ret_local_us) {
  static const char form[] = "0000-00-00T00:00:00";
  if (strlen(text) != sizeof(form) - 1)
    return false;
  for (size_t i = 0; i < sizeof(form) - 1; i++)
    if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
      return false;
  int year, month, day, hour, minute, second;
  sscanf(text, "%d-%d-%dT%d:%d:%d", &year, &month, &day, &hour, &minute, &second);
  return calendar_set(year, month, day, hour, minute, second, ret_local_us);
}

bool own_clock_option(struct own_clock *clock, const char *text) {
  clock->given = strcmp(text, "host") != 0;
  return !clock->given || calendar_parse(text, &clock->start_us);
}

bool own_clock_tick(struct own_clock *clock, uint64_t now_us) {
  bool first = !clock->runs;
  if (first)
    clock->offset_us = clock->given ? clock->start_us - (int64_t)now_us : clock->start_us;
  clock->runs = true;
  if (clock->lost && calendar_parse("2013-05-28T10:44:00", &clock->offset_us))
    clock->offset_us -= (int64_t)now_us;
  clock->lost = false;
  return first;
}

int64_t own_clock_read(const struct own_clock *clock, uint64_t now_us) {
  return clock->offset_us + (int64_t)now_us;
}

void own_clock_adjust(struct own_clock *clock, uint64_t now_us, int64_t local_us) {
  clock->offset_us = local_us - (int64_t)now_us;
}

void own_clock_lose(struct own_clock *clock) {
  clock->lost = true;
}
