/*
 * calendar: the clocks of simulated instruments: microseconds since 1970-01-01 of the local time they show.
 */
#ifndef ASALEED_SIM_CALENDAR_H
#define ASALEED_SIM_CALENDAR_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* What a clock face shows; tm_year and tm_mon as usual in struct tm. */
struct tm calendar_show(int64_t local_us);
/* False for what is no date and time of 2000..2099. */
bool calendar_set(int year, int month, int day, int hour, int minute, int second, int64_t *ret_local_us);
/* "2013-05-28T10:44:00". */
bool calendar_parse(const char *text, int64_t *ret_local_us);

/* An instrument's own clock. */
struct own_clock {
  int64_t start_us; /* what it shows first if `given`, else when the caller's clock shows 0 */
  bool given, lost;
  bool runs;
  int64_t offset_us;
};

/* "host", or as calendar_parse(). */
bool own_clock_option(struct own_clock *clock, const char *text);
/* Once at least before it is read. True the first time. */
bool own_clock_tick(struct own_clock *clock, uint64_t now_us);
int64_t own_clock_read(const struct own_clock *clock, uint64_t now_us);
void own_clock_adjust(struct own_clock *clock, uint64_t now_us, int64_t local_us);
/* As with an empty battery: 2013-05-28T10:44:00 at the next tick. */
void own_clock_lose(struct own_clock *clock);

#endif
