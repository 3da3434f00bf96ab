#include "digits.h"

#include <errno.h>
#include <string.h>

static bool is_blank(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* All values so far in units of 10^-decimals. */
static int refine(struct digits *d, unsigned decimals) {
  for (; d->decimals < decimals; d->decimals++)
    for (size_t i = 0; i < d->n; i++) {
      if (d->values[i] > DIGITS_VALUE_MAX / 10 || d->values[i] < -DIGITS_VALUE_MAX / 10)
        return -ERANGE;
      d->values[i] *= 10;
    }
  return 0;
}

static int close_number(struct digits *d) {
  if (!d->figured || (d->pointed && !d->after))
    return -EPROTO;
  int r = refine(d, d->after);
  if (r < 0)
    return r;
  for (unsigned i = d->after; i < d->decimals; i++)
    d->value *= 10;
  if (d->value > DIGITS_VALUE_MAX)
    return -ERANGE;
  if (d->n == d->max)
    return -EFBIG;
  d->values[d->n++] = (int32_t)(d->negative ? -d->value : d->value);
  d->open = d->negative = d->pointed = d->figured = false;
  d->after = 0;
  d->value = 0;
  return 0;
}

static int add_character(struct digits *d, char c) {
  if (is_blank(c))
    return d->open ? close_number(d) : 0;
  if ((c == '-' || c == '+') && !d->open) {
    d->negative = c == '-';
  } else if (c == '.' && !d->pointed) {
    d->pointed = true;
  } else if (c >= '0' && c <= '9') {
    d->figured = true;
    d->after += d->pointed;
    d->value = d->value * 10 + (c - '0');
    if (d->value > DIGITS_VALUE_MAX || d->after > DIGITS_DECIMALS_MAX)
      return -ERANGE;
  } else {
    return -EPROTO;
  }
  d->open = true;
  return 0;
}

/* Eight bytes at once: the value of the figures in the lower `n` of them, the first figure lowest. */
static uint32_t eight(uint64_t figures, unsigned n) {
  uint64_t t = figures << (8 - n) * 8;
  t = t * 10 + (t >> 8);
  return (uint32_t)(((t & 0xff000000ff) * 0xf424000000064 + ((t >> 16 & 0xff000000ff) * 0x271000000001)) >> 32);
}

/* As many whole numbers of at most seven figures, each ended by a blank, as there are at the beginning; returns where
 * they end. The bytes come as a processor with the lowest byte first has them. */
static const char *read_plain(struct digits *d, const char *at, const char *end) {
  size_t n = d->n;
  while (end - at > 9 && n < d->max) {
    uint64_t w;
    if (is_blank(*at)) {
      memcpy(&w, at, 8);
      at += w == 0x2020202020202020 ? 8 : 1;
      continue;
    }
    const unsigned negative = *at == '-';
    memcpy(&w, at + negative, 8);
    w ^= 0x3030303030303030;
    const uint64_t other = ((w + 0x7676767676767676) | w) & 0x8080808080808080;
    if (!(other & ~UINT64_C(0x80)))
      break;
    const unsigned figures = (unsigned)__builtin_ctzll(other) / 8;
    if (!figures || !is_blank(at[negative + figures]))
      break;
    const int32_t v = (int32_t)eight(w, figures);
    d->values[n++] = negative ? -v : v;
    at += negative + figures + 1;
  }
  d->n = n;
  return at;
}

int digits_read(struct digits *d, const char *text, size_t n) {
  const char *at = text, *end = text + n;
  int r = 0;
  while (r == 0 && at < end) {
    if (!d->open && !d->decimals)
      at = read_plain(d, at, end);
    do /* what that did not take, to the end of its number */
      r = at < end ? add_character(d, *at++) : 0;
    while (r == 0 && at < end && d->open);
  }
  return r;
}

int digits_end(struct digits *d) {
  return d->open ? close_number(d) : 0;
}
