/* A cursor over bytes that somebody else chose. A read past the end, or a refused count, sets err and returns
 * zeros from then on: a decoder reads a whole structure, then looks at err once.
 *
 * The cursor borrows its bytes; they must outlive it and every pointer taken from it.
 */
#ifndef ASALEE_BYTES_H
#define ASALEE_BYTES_H

#include <asalee/dec.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct acq_cur {
  const uint8_t *at, *end;
  int err; /* 0, or the first error as a negative errno */
};

static inline struct acq_cur acq_cur(const void *bytes, size_t n) {
  return (struct acq_cur){.at = bytes, .end = (const uint8_t *)bytes + n};
}

static inline size_t acq_left(const struct acq_cur *c) {
  return c->err ? 0 : (size_t)(c->end - c->at);
}

static inline void acq_refuse(struct acq_cur *c, int err) {
  if (!c->err)
    c->err = err;
}

/* The next n bytes, or NULL with err = -EPROTO when fewer are left. n = 0 gives a valid pointer. */
static inline const uint8_t *acq_bytes(struct acq_cur *c, size_t n) {
  if (c->err)
    return NULL;
  if (n > (size_t)(c->end - c->at)) {
    c->err = -EPROTO;
    return NULL;
  }
  const uint8_t *p = c->at;
  c->at += n;
  return p;
}

static inline uint8_t acq_u8(struct acq_cur *c) {
  const uint8_t *p = acq_bytes(c, 1);
  return p ? p[0] : 0;
}

static inline uint16_t acq_u16le(struct acq_cur *c) {
  const uint8_t *p = acq_bytes(c, 2);
  return (uint16_t)(p ? p[0] | p[1] << 8 : 0);
}

static inline uint16_t acq_u16be(struct acq_cur *c) {
  const uint8_t *p = acq_bytes(c, 2);
  return (uint16_t)(p ? p[0] << 8 | p[1] : 0);
}

static inline uint32_t acq_u24le(struct acq_cur *c) {
  const uint8_t *p = acq_bytes(c, 3);
  return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 : 0;
}

static inline uint32_t acq_u32le(struct acq_cur *c) {
  const uint8_t *p = acq_bytes(c, 4);
  return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : 0;
}

static inline uint32_t acq_u32be(struct acq_cur *c) {
  const uint8_t *p = acq_bytes(c, 4);
  return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3] : 0;
}

static inline uint64_t acq_u64le(struct acq_cur *c) {
  const uint8_t *p = acq_bytes(c, 8);
  uint64_t v = 0;
  for (int i = 7; p && i >= 0; i--)
    v = v << 8 | p[i];
  return v;
}

/* A cursor over the next n bytes, which leave this one. When they are not there both get -EPROTO. */
struct acq_cur acq_sub(struct acq_cur *c, size_t n);

/* IEEE 11073 numbers, big endian; a reserved value sets err as dec.h says. */
struct dec acq_sfloat(struct acq_cur *c);
struct dec acq_float(struct acq_cur *c);

/* Ends a structure: 0 when all was read and nothing is left over, else err or -EPROTO. */
int acq_end(struct acq_cur *c);

#endif
