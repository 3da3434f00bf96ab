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

/* The number that eight figures make, the first in the lowest byte. */
static uint32_t eight(uint64_t t) {
  t = t * 10 + (t >> 8);
  return (uint32_t)(((t & 0xff000000ff) * 0xf424000000064 + ((t >> 16 & 0xff000000ff) * 0x271000000001)) >> 32);
}

/* Which of 64 bytes are blanks, the first lowest. What is below 33 and no blank never leaves an XML parser. */
static uint64_t blanks(const char *at) {
  uint64_t mask = 0;
  for (unsigned i = 0; i < 64; i += 8) {
    uint64_t w;
    memcpy(&w, at + i, 8);
    const uint64_t blank = ~(((w & 0x7f7f7f7f7f7f7f7f) + 0x5f5f5f5f5f5f5f5f) | w) & 0x8080808080808080;
    mask |= ((blank >> 7) * 0x0102040810204080 >> 56) << i;
  }
  return mask;
}

/* A whole number of at most seven figures between two blanks; *odd is set for anything else. Eight bytes from its first
 * figure are there to be read. The lowest byte of a word is its first, as on all machines this is built for. */
static int32_t plain_number(const char *at, size_t n, uint64_t *odd) {
  const uint32_t negative = *at == '-';
  const uint64_t figures = n - negative;
  uint64_t w;
  memcpy(&w, at + negative, 8);
  w = (w ^ 0x3030303030303030) << ((8 - figures) * 8 & 63);
  *odd |= (((w + 0x7676767676767676) | w) & 0x8080808080808080) | (figures - 1 > 6);
  return (int32_t)((eight(w) ^ -negative) + negative);
}

/* As many plain numbers as there are at the beginning, 64 bytes at a time; returns where they end. */
static const char *read_plain(struct digits *d, const char *at, const char *end) {
  const char *start = at; /* of what is not read yet */
  uint64_t before = 1;    /* was the byte before the block a blank? */
  for (const char *block = at; end - block > 64 + 9 && d->max - d->n > 64; block += 64) {
    const uint64_t blank = blanks(block), after = blank << 1 | before;
    uint64_t starts = ~blank & after, ends = blank & ~after, odd = 0;
    int32_t *to = d->values + d->n;
    if (!before && ends) { /* one began in a block before */
      *to++ = plain_number(start, (size_t)(block + __builtin_ctzll(ends) - start), &odd);
      ends &= ends - 1;
    }
    for (; ends; ends &= ends - 1, starts &= starts - 1) {
      const unsigned first = (unsigned)__builtin_ctzll(starts);
      *to++ = plain_number(block + first, (unsigned)__builtin_ctzll(ends) - first, &odd);
    }
    if (odd)
      return start;
    d->n = (size_t)(to - d->values);
    before = blank >> 63;
    start = starts ? block + __builtin_ctzll(starts) : before ? block + 64 : start;
  }
  return start;
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
