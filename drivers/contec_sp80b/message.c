#include "message.h"

#include <asalee/driver.h>
#include <string.h>

#define CENTURY 2000
#define CURVE_HEAD 5

/* ---- messages ----------------------------------------------------------------------------------------------- */

void sp80b_reader_init(struct sp80b_reader *r) {
  r->state = SP80B_LOST;
  r->damage = "";
  r->n = 0;
}

/* Bytes in all, 0 for a message that is not known; of a curve its head. */
static size_t length_of(uint8_t first) {
  switch (first) {
  case SP80B_STARTED:
    return 2;
  case SP80B_TIME_SET:
  case SP80B_ENDED:
    return 3;
  case SP80B_CURVE_IS:
    return CURVE_HEAD;
  case SP80B_VERSION_IS:
    return 8;
  case SP80B_COUNT_IS:
    return 10;
  case SP80B_PREDICTED_ARE:
    return SP80B_PREDICTED_BYTES;
  case SP80B_RECORD_IS:
    return SP80B_RECORD_BYTES;
  default:
    return 0;
  }
}

static uint8_t checksum(const uint8_t *p, size_t n) {
  unsigned sum = 0;
  while (n--)
    sum += *p++;
  return sum & 0x7f;
}

static enum sp80b_status damaged(struct sp80b_reader *r, const char *damage) {
  r->damage = damage;
  return SP80B_DAMAGED;
}

/* The first byte of a message. */
static enum sp80b_status begin(struct sp80b_reader *r, uint8_t byte) {
  r->n = 0;
  if (!length_of(byte)) {
    r->state = SP80B_LOST;
    return damaged(r, "an unknown message");
  }
  r->state = SP80B_INSIDE;
  r->bytes[r->n++] = byte;
  return SP80B_MORE;
}

/* Whole, but for a curve's checksum? */
static enum sp80b_status finish(struct sp80b_reader *r) {
  size_t whole = length_of(r->bytes[0]);
  if (r->n < whole)
    return SP80B_MORE;
  if (r->bytes[0] == SP80B_CURVE_IS) {
    unsigned points = sp80b_number(r->bytes + 3);
    if (points > SP80B_POINTS_MAX) {
      r->state = SP80B_LOST;
      return damaged(r, "more points than a curve has");
    }
    if (r->n == CURVE_HEAD + (size_t)SP80B_POINT_BYTES * points)
      r->state = SP80B_TRAILING;
    return SP80B_MORE;
  }
  r->state = SP80B_BETWEEN;
  r->checked = true;
  return r->bytes[r->n - 1] == checksum(r->bytes, r->n - 1) ? SP80B_MESSAGE : damaged(r, "wrong checksum");
}

static enum sp80b_status take(struct sp80b_reader *r, uint8_t byte) {
  const bool first = byte & 0x80;
  switch (r->state) {
  case SP80B_LOST:
    return first ? begin(r, byte) : SP80B_MORE;
  case SP80B_INSIDE:
    if (first) {
      begin(r, byte);
      return damaged(r, "a message cut short");
    }
    r->bytes[r->n++] = byte;
    return finish(r);
  case SP80B_TRAILING:
    r->state = SP80B_BETWEEN;
    r->checked = true;
    return byte == checksum(r->bytes, r->n) ? SP80B_MESSAGE : damaged(r, "wrong checksum");
  default:
    if (first)
      return begin(r, byte);
    if (!byte) /* filler */
      return SP80B_MORE;
    r->state = SP80B_LOST;
    return damaged(r, "bytes between messages");
  }
}

/* The curve under way came without its checksum. */
static enum sp80b_status bare_curve(struct sp80b_reader *r) {
  r->state = SP80B_BETWEEN;
  r->checked = false;
  return SP80B_MESSAGE;
}

enum sp80b_status sp80b_read(struct sp80b_reader *r, struct acq_cur *in) {
  while (acq_left(in)) {
    if (r->state == SP80B_TRAILING && *in->at & 0x80)
      return bare_curve(r);
    enum sp80b_status status = take(r, acq_u8(in));
    if (status != SP80B_MORE)
      return status;
  }
  return SP80B_MORE;
}

enum sp80b_status sp80b_settle(struct sp80b_reader *r) {
  if (r->state == SP80B_TRAILING)
    return bare_curve(r);
  if (r->state != SP80B_INSIDE)
    return SP80B_MORE;
  r->state = SP80B_BETWEEN;
  return damaged(r, "a message cut short");
}

size_t sp80b_encode(const uint8_t *request, size_t n, uint8_t wire[static SP80B_REQUEST_MAX]) {
  memcpy(wire, request, n);
  wire[n] = checksum(wire, n);
  return n + 1;
}

/* ---- payloads ----------------------------------------------------------------------------------------------- */

void sp80b_record_read(const uint8_t bytes[static SP80B_RECORD_BYTES], struct sp80b_record *ret) {
  const uint8_t *p = bytes;
  const struct acq_clock clock = {CENTURY + p[5], p[6], p[7], p[8], p[9], p[10], 0};
  *ret = (struct sp80b_record){
      .kind = p[2],
      .number = sp80b_number(p + 3),
      .sex = p[11],
      .age = p[12],
      .height = sp80b_number(p + 13),
      .standard = p[15],
      .drug = p[16] != 0,
      .fvc = sp80b_number(p + 17),
      .fev05 = sp80b_number(p + 19),
      .fev1 = sp80b_number(p + 21),
      .ratio = sp80b_number(p + 23),
      .fev3 = sp80b_number(p + 25),
      .fev6 = sp80b_number(p + 27),
      .pef = sp80b_number(p + 29),
      .fef25 = sp80b_number(p + 31),
      .fef50 = sp80b_number(p + 33),
      .fef75 = sp80b_number(p + 35),
      .fef25_75 = sp80b_number(p + 37),
      .pef_time = sp80b_number(p + 39),
      .evol = sp80b_number(p + 41),
  };
  ret->dated = acq_clock_to_us(&clock, &ret->clock_us) == 0;
}

struct sp80b_point sp80b_point_read(const uint8_t bytes[static SP80B_POINT_BYTES]) {
  uint8_t b[SP80B_POINT_BYTES - 1];
  for (unsigned i = 0; i < sizeof b; i++)
    b[i] = (uint8_t)((bytes[i + 1] & 0x7f) | (bytes[0] >> i & 1) << 7);
  return (struct sp80b_point){
      .time = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16,
      .flow = (int16_t)(b[3] | b[4] << 8),
      .volume = (int16_t)(b[5] | b[6] << 8),
  };
}
