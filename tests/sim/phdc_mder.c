#include "phdc_mder.h"

#include "calendar.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SFLOAT_MAX 2045   /* the last before the reserved ones */
#define FLOAT_MAX 8388605 /* the same of 24 bits */

bool phdc_number_parse(const char *text, struct phdc_number *ret) {
  bool minus = *text == '-', point = false;
  int64_t mantissa = 0;
  int exponent = 0, digits = 0;
  for (text += minus; *text; text++) {
    if (*text == '.' && !point) {
      point = true;
      continue;
    }
    if (*text < '0' || *text > '9' || ++digits > 9)
      return false;
    mantissa = mantissa * 10 + (*text - '0');
    exponent -= point;
  }
  if (!digits)
    return false;
  *ret = (struct phdc_number){.mantissa = (int32_t)(minus ? -mantissa : mantissa), .exponent = (int8_t)exponent};
  return true;
}

struct phdc_number phdc_number_from(double value, unsigned digits) {
  double mantissa = value * pow(10, digits);
  if (!(fabs(mantissa) < 2e9))
    return (struct phdc_number){.special = PHDC_NAN};
  return (struct phdc_number){.mantissa = (int32_t)lround(mantissa), .exponent = (int8_t) - (int)digits};
}

void phdc_number_print(struct phdc_number number, char *text, size_t size) {
  static const char *const special[] = {"", "NaN", "NRes", "+INF", "-INF", "reserved"};
  double value = number.mantissa * pow(10, number.exponent);
  int digits = number.exponent < 0 ? -number.exponent : 0;
  int n = number.special ? snprintf(text, size, "%s", special[number.special])
                         : snprintf(text, size, "%.*f", digits, value);
  if (n < 0 || (size_t)n >= size)
    snprintf(text, size, "?");
}

/* ---- writing ---- */

void mder_bytes(struct mder *m, const void *bytes, size_t n) {
  if (m->over || n > MDER_MAX - m->n) {
    m->over = true;
    return;
  }
  if (n)
    memcpy(m->bytes + m->n, bytes, n);
  m->n += n;
}

void mder_u8(struct mder *m, unsigned v) {
  mder_bytes(m, &(uint8_t){(uint8_t)v}, 1);
}

void mder_u16(struct mder *m, unsigned v) {
  mder_bytes(m, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

void mder_u32(struct mder *m, uint32_t v) {
  mder_u16(m, v >> 16);
  mder_u16(m, v & 0xFFFF);
}

void mder_text(struct mder *m, const char *text) {
  mder_u16(m, (unsigned)strlen(text));
  mder_bytes(m, text, strlen(text));
}

/* Into the range by dropping digits, rounded; false when no exponent will do. */
static bool squeeze(struct phdc_number *number, int32_t max, int exponent_min, int exponent_max) {
  int64_t mantissa = number->mantissa;
  int exponent = number->exponent;
  while (mantissa > max || mantissa < -max || exponent < exponent_min) {
    mantissa = (mantissa + (mantissa < 0 ? -5 : 5)) / 10;
    exponent++;
  }
  number->mantissa = (int32_t)mantissa;
  number->exponent = (int8_t)exponent;
  return exponent <= exponent_max;
}

/* Mantissas of the special values of n bits, in the order of enum phdc_special. */
static uint32_t special_mantissa(enum phdc_special special, unsigned bits) {
  uint32_t max = (1u << (bits - 1)) - 1;
  const uint32_t values[] = {0, max, max + 1, max - 1, max + 3, max + 2};
  return values[special];
}

static enum phdc_special infinity_of(struct phdc_number number) {
  return number.mantissa < 0 ? PHDC_MINUS_INF : PHDC_PLUS_INF;
}

void mder_sfloat(struct mder *m, struct phdc_number number) {
  if (!number.special && !squeeze(&number, SFLOAT_MAX, -8, 7))
    number.special = infinity_of(number);
  if (number.special)
    mder_u16(m, special_mantissa(number.special, 12));
  else
    mder_u16(m, ((unsigned)number.exponent & 0xF) << 12 | ((unsigned)number.mantissa & 0xFFF));
}

void mder_float(struct mder *m, struct phdc_number number) {
  if (!number.special && !squeeze(&number, FLOAT_MAX, -128, 127))
    number.special = infinity_of(number);
  if (number.special)
    mder_u32(m, special_mantissa(number.special, 24));
  else
    mder_u32(m, ((uint32_t)number.exponent & 0xFF) << 24 | ((uint32_t)number.mantissa & 0xFFFFFF));
}

static unsigned bcd(int v) {
  return (unsigned)(v / 10 % 10 << 4 | v % 10);
}

void mder_absolute_time(struct mder *m, int64_t local_us) {
  struct tm t = calendar_show(local_us);
  int64_t rest = local_us % 1000000;
  const int fields[] = {(t.tm_year + 1900) / 100,
                        t.tm_year % 100,
                        t.tm_mon + 1,
                        t.tm_mday,
                        t.tm_hour,
                        t.tm_min,
                        t.tm_sec,
                        (int)((rest + 1000000) % 1000000 / 10000)};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    mder_u8(m, bcd(fields[i]));
}

size_t mder_open(struct mder *m) {
  size_t at = m->n;
  mder_u16(m, 0);
  return at;
}

static void set_u16(struct mder *m, size_t at, size_t v) {
  if (at + 2 > m->n)
    return; /* it did not fit, nor did its place */
  m->bytes[at] = (uint8_t)(v >> 8);
  m->bytes[at + 1] = (uint8_t)v;
}

void mder_close(struct mder *m, size_t at) {
  set_u16(m, at, m->n - at - 2);
}

size_t mder_list_open(struct mder *m) {
  size_t at = m->n;
  mder_u32(m, 0);
  return at;
}

void mder_list_close(struct mder *m, size_t at, unsigned count) {
  set_u16(m, at, count);
  set_u16(m, at + 2, m->n - at - 4);
}

void mder_attribute_u16(struct mder *m, unsigned id, unsigned value) {
  mder_u16(m, id);
  mder_u16(m, 2);
  mder_u16(m, value);
}

void mder_attribute_u32(struct mder *m, unsigned id, uint32_t value) {
  mder_u16(m, id);
  mder_u16(m, 4);
  mder_u32(m, value);
}

size_t mder_attribute_open(struct mder *m, unsigned id) {
  mder_u16(m, id);
  return mder_open(m);
}

/* ---- reading ---- */

struct mder_in mder_get_sub(struct mder_in *in, size_t n) {
  struct mder_in sub = {.at = in->at, .end = in->at};
  if (n > (size_t)(in->end - in->at)) {
    in->bad = true;
    in->at = in->end;
    sub.bad = true;
    return sub;
  }
  in->at += n;
  sub.end = in->at;
  return sub;
}

unsigned mder_get_u16(struct mder_in *in) {
  struct mder_in two = mder_get_sub(in, 2);
  return two.bad ? 0 : (unsigned)(two.at[0] << 8 | two.at[1]);
}

uint32_t mder_get_u32(struct mder_in *in) {
  unsigned high = mder_get_u16(in);
  return (uint32_t)high << 16 | mder_get_u16(in);
}

bool mder_get_absolute_time(struct mder_in *in, int64_t *ret_local_us) {
  struct mder_in bytes = mder_get_sub(in, 8);
  int v[8];
  if (bytes.bad)
    return false;
  for (int i = 0; i < 8; i++) {
    if (bytes.at[i] >> 4 > 9 || (bytes.at[i] & 0xF) > 9)
      return false;
    v[i] = (bytes.at[i] >> 4) * 10 + (bytes.at[i] & 0xF);
  }
  if (!calendar_set(v[0] * 100 + v[1], v[2], v[3], v[4], v[5], v[6], ret_local_us))
    return false;
  *ret_local_us += v[7] * 10000;
  return true;
}
