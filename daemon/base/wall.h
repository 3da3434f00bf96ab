/* Wall-clock instants: microseconds since 1970-01-01T00:00:00Z, and RFC 3339 text with the local offset. */
#ifndef ASALEED_WALL_H
#define ASALEED_WALL_H

#include <stdbool.h>
#include <stdint.h>

#define WALL_TEXT_MAX 64
#define WALL_MIN INT64_C(0)
#define WALL_MAX INT64_C(253402300799999999) /* 9999-12-31T23:59:59.999999Z */
#define WALL_SECOND INT64_C(1000000)
#define WALL_MONTH INT64_C(2629746000000) /* a mean one, of periods that are counted in years */

struct wall {
  int64_t us;             /* WALL_MIN..WALL_MAX */
  int16_t offset_minutes; /* local time minus UTC, -1439..1439 */
};

struct wall wall_now(void); /* the system's clock and time zone */
struct wall wall_local(int64_t us);
uint64_t monotonic_us(void);

/* "2026-03-29T01:59:59.123456+01:00"; six digits always, so that a text sorts and hashes one way. */
void wall_format(struct wall w, char text[static WALL_TEXT_MAX]);

/* RFC 3339 date-time with T, Z or a numeric offset, one to six fraction digits or none; -EINVAL otherwise. */
int wall_parse(const char *text, struct wall *ret);

/* The local calendar date of an instant, "2026-03-29". */
#define WALL_DATE_MAX 11
void wall_date(int64_t us, char ret[static WALL_DATE_MAX]);
/* A real calendar date "YYYY-MM-DD" from 1850 on. */
bool wall_is_date(const char *text);

#endif
