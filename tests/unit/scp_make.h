/* Small SCP-ECG files by hand, for the tests and the fuzz target of their driver: the bodies of the sections are put
 * together byte by byte, scp_make_file() adds headers, pointers and checksums. */
#ifndef SCP_MAKE_H
#define SCP_MAKE_H

#include "buf.h"
#include "crc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct scp_make {
  struct buf section[12]; /* bodies; empty: not there */
  bool there[12];         /* there although it is empty */
  uint8_t protocol;
  const char *name; /* 6 bytes */
};

static inline void scp_make_init(struct scp_make *m) {
  *m = (struct scp_make){.protocol = 20, .name = "SCPECG"};
  for (unsigned i = 0; i < 12; i++)
    m->section[i] = BUF_INIT(1 << 22);
}

static inline void scp_make_finish(struct scp_make *m) {
  for (unsigned i = 0; i < 12; i++)
    buf_finish(&m->section[i]);
}

static inline void scp_field(struct scp_make *m, uint8_t tag, const void *bytes, size_t n) {
  buf_u8(&m->section[1], tag);
  buf_u16le(&m->section[1], (uint16_t)n);
  buf_add(&m->section[1], bytes, n);
}

static inline void scp_text(struct scp_make *m, uint8_t tag, const char *text) {
  scp_field(m, tag, text, strlen(text) + 1);
}

/* Field 14: language, number of the make, model of 6 characters, and four texts. */
static inline void scp_instrument(struct scp_make *m, uint8_t language, uint8_t make, const char *model,
                                  const char *const texts[4]) {
  struct buf b = BUF_INIT(4096);
  const uint8_t head[36] = {[7] = make, [14] = 20, [15] = 0xc0, [16] = language, [35] = 4};
  buf_add(&b, head, sizeof head);
  memcpy(b.data + 8, model, strlen(model) < 6 ? strlen(model) : 6);
  buf_add(&b, "1.0", 4);
  for (unsigned i = 0; i < 4; i++)
    buf_add(&b, texts[i], strlen(texts[i]) + 1);
  scp_field(m, 14, b.data, b.len);
  buf_finish(&b);
}

static inline void scp_date(struct scp_make *m, uint8_t tag, unsigned year, uint8_t month, uint8_t day) {
  const uint8_t v[] = {(uint8_t)year, (uint8_t)(year >> 8), month, day};
  scp_field(m, tag, v, sizeof v);
}

static inline void scp_time(struct scp_make *m, uint8_t hour, uint8_t minute, uint8_t second) {
  const uint8_t v[] = {hour, minute, second};
  scp_field(m, 26, v, sizeof v);
}

/* The head of section 3; then scp_lead() as often. */
static inline void scp_leads(struct scp_make *m, uint8_t n, uint8_t flags) {
  buf_u8(&m->section[3], n);
  buf_u8(&m->section[3], flags);
}

static inline void scp_lead(struct scp_make *m, uint32_t first, uint32_t last, uint8_t id) {
  buf_u32le(&m->section[3], first);
  buf_u32le(&m->section[3], last);
  buf_u8(&m->section[3], id);
}

/* The head of section 5 or 6, and the lengths. */
static inline void scp_signal(struct scp_make *m, unsigned section, uint16_t step_nv, uint16_t interval_us,
                              uint8_t difference, uint8_t bimodal, const uint16_t *lengths, unsigned n) {
  struct buf *b = &m->section[section];
  buf_u16le(b, step_nv);
  buf_u16le(b, interval_us);
  buf_u8(b, difference);
  buf_u8(b, bimodal);
  for (unsigned i = 0; i < n; i++)
    buf_u16le(b, lengths[i]);
}

static inline void scp_numbers(struct scp_make *m, unsigned section, const int16_t *values, size_t n) {
  for (size_t i = 0; i < n; i++)
    buf_u16le(&m->section[section], (uint16_t)values[i]);
}

/* One code of a table of section 2. */
static inline void scp_code(struct scp_make *m, uint8_t prefix, uint8_t whole, uint8_t mode, int16_t base,
                            uint32_t bits) {
  buf_u8(&m->section[2], prefix);
  buf_u8(&m->section[2], whole);
  buf_u8(&m->section[2], mode);
  buf_u16le(&m->section[2], (uint16_t)base);
  buf_u32le(&m->section[2], bits);
}

static inline void scp_put_u16(uint8_t *p, unsigned v) {
  p[0] = (uint8_t)v;
  p[1] = (uint8_t)(v >> 8);
}

static inline void scp_put_u32(uint8_t *p, size_t v) {
  scp_put_u16(p, v & 0xffff);
  scp_put_u16(p + 2, (unsigned)(v >> 16));
}

static inline uint32_t scp_get_u32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Makes every checksum of a file right that its pointers lead to, and its length. */
static inline void scp_repair(uint8_t *file, size_t n) {
  if (n < 22)
    return;
  scp_put_u32(file + 2, n);
  size_t zero = scp_get_u32(file + 10);
  zero = zero > n - 6 ? n - 6 : zero;
  for (size_t at = 22; at + 10 <= 6 + zero; at += 10) {
    const size_t length = scp_get_u32(file + at + 2), index = scp_get_u32(file + at + 6);
    if (index > 6 && length >= 16 && index - 1 <= n && length <= n - (index - 1))
      scp_put_u16(file + index - 1, crc16_ccitt(CRC16_CCITT_FALSE_INIT, file + index + 1, length - 2));
  }
  if (zero >= 16)
    scp_put_u16(file + 6, crc16_ccitt(CRC16_CCITT_FALSE_INIT, file + 8, zero - 2));
  scp_put_u16(file, crc16_ccitt(CRC16_CCITT_FALSE_INIT, file + 2, n - 2));
}

/* The whole file, one section after the other; bodies of odd length get a zero behind. */
static inline void scp_make_file(struct scp_make *m, struct buf *ret) {
  size_t at = 6 + 16 + 120;
  const uint8_t head[22] = {0};
  buf_add(ret, head, sizeof head);
  scp_put_u32(ret->data + 10, 136);
  ret->data[14] = ret->data[15] = m->protocol;
  memcpy(ret->data + 16, m->name, 6);
  for (unsigned i = 0; i < 12; i++) {
    struct buf *b = &m->section[i];
    if (b->len & 1)
      buf_u8(b, 0);
    const bool there = i > 0 && (b->len || m->there[i]);
    buf_u16le(ret, (uint16_t)i);
    buf_u32le(ret, i == 0 ? 136 : there ? (uint32_t)b->len + 16 : 0);
    buf_u32le(ret, i == 0 ? 7 : there ? (uint32_t)at + 1 : 0);
    at += there ? b->len + 16 : 0;
  }
  for (unsigned i = 1; i < 12; i++) {
    const struct buf *b = &m->section[i];
    const uint8_t section[16] = {[2] = (uint8_t)i, [8] = m->protocol, m->protocol};
    if (!b->len && !m->there[i])
      continue;
    buf_add(ret, section, sizeof section);
    scp_put_u32(ret->data + ret->len - 12, b->len + 16);
    buf_add(ret, b->data, b->len);
  }
  scp_repair(ret->data, ret->len);
}

/* Bits, the first one highest in its byte. */
struct scp_bits {
  struct buf bytes;
  unsigned n;
};

static inline void scp_bits_put(struct scp_bits *b, uint64_t value, unsigned n) {
  while (n--) {
    if (b->n++ % 8 == 0)
      buf_u8(&b->bytes, 0);
    b->bytes.data[b->bytes.len - 1] |= (uint8_t)((value >> n & 1) << (7 - (b->n - 1) % 8));
  }
}

/* A value in the default table. */
static inline void scp_bits_value(struct scp_bits *b, int v) {
  const unsigned k = (unsigned)abs(v);
  if (k <= 8) {
    scp_bits_put(b, (1u << k) - 1, k);
    scp_bits_put(b, k ? v < 0 : 0, k ? 2 : 1);
  } else if (v == (int8_t)v) {
    scp_bits_put(b, 0x3fe, 10);
    scp_bits_put(b, (uint8_t)v, 8);
  } else {
    scp_bits_put(b, 0x3ff, 10);
    scp_bits_put(b, (uint16_t)v, 16);
  }
}

#endif
