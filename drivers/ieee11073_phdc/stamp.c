#include "stamp.h"

#define EPOCH_1900 INT64_C(2208988800) /* seconds from 1900 to 1970 */
#define SECOND INT64_C(1000000)

/* Two decimal digits; 100 or more when they are none. */
static int bcd(struct acq_cur *c) {
  unsigned byte = acq_u8(c), tens = byte >> 4, ones = byte & 15;
  return tens > 9 || ones > 9 ? 1000 : (int)(tens * 10 + ones);
}

static int read_absolute(struct acq_cur *c, int64_t *ret_us) {
  int century = bcd(c), year = bcd(c), month = bcd(c), day = bcd(c), hour = bcd(c), minute = bcd(c), second = bcd(c),
      hundredth = bcd(c);
  if (century > 99 || year > 99 || hundredth > 99)
    return -ERANGE;
  return acq_clock_to_us(&(struct acq_clock){century * 100 + year, month, day, hour, minute, second, hundredth * 10},
                         ret_us);
}

static int read_base_offset(struct acq_cur *c, int64_t *ret_us) {
  int64_t seconds = acq_u32be(c), fraction = acq_u16be(c);
  int16_t minutes = (int16_t)acq_u16be(c);
  int64_t us = (seconds - EPOCH_1900 + minutes * 60) * SECOND + fraction * SECOND / 65536;
  if (minutes < -1439 || minutes > 1439 || us < 0)
    return -ERANGE;
  *ret_us = us;
  return 0;
}

int phd_stamp_read(struct acq_cur value, enum phd_stamp_kind kind, struct phd_stamp *ret) {
  struct phd_stamp stamp = {.kind = kind};
  if (acq_left(&value) != (kind == PHD_RELATIVE ? 4 : PHD_STAMP_BYTES))
    return -EPROTO;
  int r = 0;
  if (kind == PHD_ABSOLUTE)
    r = read_absolute(&value, &stamp.us);
  else if (kind == PHD_BASE_OFFSET)
    r = read_base_offset(&value, &stamp.us);
  else
    stamp.ticks = acq_u32be(&value);
  if (r == 0)
    *ret = stamp;
  return r;
}
