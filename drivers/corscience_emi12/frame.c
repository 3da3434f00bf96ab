#include "frame.h"
#include "crc.h"

#define BEGIN 0xfc
#define END 0xfd
#define ESCAPE 0xfe
#define FLIP 0x20

static bool is_special(uint8_t byte) {
  return byte == BEGIN || byte == END || byte == ESCAPE;
}

void emi12_reader_init(struct emi12_reader *r) {
  r->state = EMI12_LOST;
  r->n = 0;
  r->damage = "";
}

static enum emi12_status damaged(struct emi12_reader *r, const char *why) {
  r->damage = why;
  return EMI12_DAMAGED;
}

static enum emi12_status finish(struct emi12_reader *r, struct emi12_frame *ret) {
  r->state = EMI12_BETWEEN;
  if (r->n < EMI12_BODY_MIN)
    return damaged(r, "frame too short");
  struct acq_cur c = acq_cur(r->body, r->n);
  struct emi12_frame frame;
  frame.packet = acq_u8(&c);
  frame.command = acq_u16le(&c);
  frame.data = acq_sub(&c, r->n - EMI12_BODY_MIN);
  frame.crc = acq_u16le(&c);
  if (frame.crc != crc16_ccitt(CRC16_CCITT_FALSE_INIT, r->body, r->n - 2))
    return damaged(r, "wrong CRC");
  *ret = frame;
  return EMI12_FRAME;
}

static enum emi12_status take(struct emi12_reader *r, uint8_t byte, struct emi12_frame *ret) {
  switch (r->state) {
  case EMI12_LOST:
    if (byte == BEGIN) {
      r->state = EMI12_INSIDE;
      r->n = 0;
    }
    return EMI12_MORE;
  case EMI12_BETWEEN:
    if (byte != BEGIN) {
      r->state = EMI12_LOST;
      return damaged(r, "bytes between frames");
    }
    r->state = EMI12_INSIDE;
    r->n = 0;
    return EMI12_MORE;
  case EMI12_ESCAPED:
    /* Strict: nothing but the three special bytes is ever stuffed, so anything else is a damaged FE or a damaged
     * byte after it, and the CRC has one error less to find. */
    if (byte == BEGIN) {
      r->state = EMI12_INSIDE;
      r->n = 0;
      return damaged(r, "frame cut after an escape");
    }
    if (byte == END) {
      r->state = EMI12_BETWEEN;
      return damaged(r, "frame ends in an escape");
    }
    byte ^= FLIP;
    if (!is_special(byte)) {
      r->state = EMI12_LOST;
      return damaged(r, "impossible escape");
    }
    r->state = EMI12_INSIDE;
    break;
  case EMI12_INSIDE:
    if (byte == BEGIN) {
      bool empty = r->n == 0;
      r->n = 0;
      return empty ? EMI12_MORE : damaged(r, "frame without an end");
    }
    if (byte == END)
      return finish(r, ret);
    if (byte == ESCAPE) {
      r->state = EMI12_ESCAPED;
      return EMI12_MORE;
    }
    break;
  }
  if (r->n == sizeof r->body) {
    r->state = EMI12_LOST;
    return damaged(r, "frame too long");
  }
  r->body[r->n++] = byte;
  return EMI12_MORE;
}

enum emi12_status emi12_read(struct emi12_reader *r, struct acq_cur *in, struct emi12_frame *ret) {
  while (acq_left(in)) {
    enum emi12_status status = take(r, acq_u8(in), ret);
    if (status != EMI12_MORE)
      return status;
  }
  return EMI12_MORE;
}

int emi12_encode(uint8_t packet, uint16_t command, const void *data, size_t n, uint8_t *wire, size_t max) {
  if (n > EMI12_DATA_MAX)
    return -EMSGSIZE;
  const uint8_t head[3] = {packet, (uint8_t)command, (uint8_t)(command >> 8)};
  uint16_t crc = crc16_ccitt(crc16_ccitt(CRC16_CCITT_FALSE_INIT, head, sizeof head), data, n);
  const uint8_t tail[2] = {(uint8_t)crc, (uint8_t)(crc >> 8)};
  const struct {
    const uint8_t *at;
    size_t n;
  } parts[] = {{head, sizeof head}, {data, n}, {tail, sizeof tail}};
  size_t used = 0;
  if (max < 2)
    return -EMSGSIZE;
  wire[used++] = BEGIN;
  for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
    for (size_t i = 0; i < parts[p].n; i++) {
      uint8_t byte = parts[p].at[i];
      bool special = is_special(byte);
      if (max - used < (special ? 3u : 2u)) /* the END too */
        return -EMSGSIZE;
      if (special)
        wire[used++] = ESCAPE;
      wire[used++] = special ? byte ^ FLIP : byte;
    }
  wire[used++] = END;
  return (int)used;
}

static int16_t read_sample(struct acq_cur *c) {
  unsigned first = acq_u8(c);
  if (first & 1) {
    unsigned v = first >> 1 << 8 | acq_u8(c);
    return (int16_t)((int)v - (v & 0x4000 ? 0x8000 : 0));
  }
  unsigned v = first >> 1;
  return (int16_t)((int)v - (v & 0x40 ? 0x80 : 0));
}

int emi12_ecg_read(const struct emi12_frame *frame, struct emi12_ecg *ret) {
  struct acq_cur c = frame->data;
  ret->number = (uint32_t)acq_u16le(&c) << 8 | frame->packet;
  /* 00 in the one recording there is, and never said what for: not judged. Nor are the high bits beside the
   * contacts. */
  acq_u8(&c);
  uint8_t high = acq_u8(&c), low = acq_u8(&c);
  ret->contacts = emi12_contact_bits(high, low);
  if (acq_left(&c) < 4)
    return -EPROTO;
  struct acq_cur samples = acq_sub(&c, acq_left(&c) - 4);
  ret->sets = 0;
  while (acq_left(&samples)) {
    if (ret->sets == EMI12_SETS_MAX)
      return -EPROTO;
    for (unsigned i = 0; i < EMI12_MEASURED; i++)
      ret->values[ret->sets][i] = read_sample(&samples);
    ret->sets++;
  }
  if (samples.err) /* the last set has not all its leads, or half a sample */
    return samples.err;
  uint8_t zero = acq_u8(&c), c0 = acq_u8(&c), c1 = acq_u8(&c), c2 = acq_u8(&c);
  if (zero || (c0 | c1 | c2) & 0x80)
    return -EPROTO;
  ret->counter = (uint32_t)c0 | (uint32_t)c1 << 7 | (uint32_t)c2 << 14;
  return acq_end(&c);
}
