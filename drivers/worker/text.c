#include "text.h"

#include <string.h>

#define UNREADABLE 0xfffdu

struct reader {
  enum text_alphabet alphabet;
  const uint8_t *at, *end;
};

/* 0x80 to 0x9f of code page 1252; 0 where it has no character. */
static const uint16_t cp1252[32] = {0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021,
                                    0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017d, 0,
                                    0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                    0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};

static uint32_t latin_9(uint8_t c) {
  switch (c) {
  case 0xa4:
    return 0x20ac;
  case 0xa6:
    return 0x160;
  case 0xa8:
    return 0x161;
  case 0xb4:
    return 0x17d;
  case 0xb8:
    return 0x17e;
  case 0xbc:
    return 0x152;
  case 0xbd:
    return 0x153;
  case 0xbe:
    return 0x178;
  default:
    return c;
  }
}

static uint32_t next_utf8(struct reader *r) {
  uint8_t c = *r->at++;
  unsigned more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : (c & 0xf0) == 0xe0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : 4;
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  if (more == 4 || more > (size_t)(r->end - r->at))
    return UNREADABLE;
  uint32_t v = more == 0 ? c : c & (0x3fu >> more);
  for (unsigned i = 0; i < more; i++) {
    if ((r->at[i] & 0xc0) != 0x80)
      return UNREADABLE;
    v = v << 6 | (r->at[i] & 0x3f);
  }
  if (v < least[more] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
    return UNREADABLE;
  r->at += more;
  return v;
}

static uint32_t next_unit(struct reader *r) {
  const unsigned low = r->alphabet == TEXT_UTF16LE ? 0 : 1;
  uint32_t v = (uint32_t)r->at[low] | (uint32_t)r->at[1 - low] << 8;
  r->at += 2;
  return v;
}

static uint32_t next_utf16(struct reader *r) {
  if (r->end - r->at < 2) {
    r->at = r->end;
    return UNREADABLE;
  }
  uint32_t v = next_unit(r);
  if (v < 0xd800 || v >= 0xe000)
    return v;
  if (v >= 0xdc00 || r->end - r->at < 2)
    return UNREADABLE;
  const struct reader before = *r;
  uint32_t low = next_unit(r);
  if (low >= 0xdc00 && low < 0xe000)
    return 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
  *r = before;
  return UNREADABLE;
}

static uint32_t next(struct reader *r) {
  uint8_t c = *r->at;
  switch (r->alphabet) {
  case TEXT_UTF8:
    return next_utf8(r);
  case TEXT_UTF16LE:
  case TEXT_UTF16BE:
    return next_utf16(r);
  default:
    r->at++;
  }
  if (c < 0x80)
    return c;
  switch (r->alphabet) {
  case TEXT_LATIN_1:
    return c;
  case TEXT_LATIN_9:
    return latin_9(c);
  case TEXT_CP1252:
    return c >= 0xa0 ? c : cp1252[c - 0x80] ? cp1252[c - 0x80] : UNREADABLE;
  default:
    return UNREADABLE;
  }
}

static size_t put(uint32_t c, char text[static 4]) {
  if (c < 0x80) {
    text[0] = (char)c;
    return 1;
  }
  size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = n; i-- > 1; c >>= 6)
    text[i] = (char)(0x80 | (c & 0x3f));
  text[0] = (char)((0xf00u >> n) | c);
  return n;
}

bool text_read(enum text_alphabet alphabet, const void *bytes, size_t n, char *ret, size_t size) {
  struct reader r = {alphabet, bytes, (const uint8_t *)bytes + n};
  bool whole = true;
  size_t len = 0, kept = 0; /* kept: without the blanks at its end */
  while (r.at < r.end) {
    char text[4];
    uint32_t c = next(&r);
    if (!c)
      break;
    if (c == 0xfeff && !len)
      continue;
    if (c == UNREADABLE || (c & 0xfffe) == 0xfffe) {
      whole = false;
      c = '?';
    }
    if (c < 0x20 || (c >= 0x7f && c < 0xa0))
      c = ' ';
    if (c == ' ' && !len)
      continue;
    size_t one = put(c, text);
    if (len + one >= size) {
      whole &= c == ' ';
      if (c == ' ')
        continue;
      break;
    }
    memcpy(ret + len, text, one);
    len += one;
    if (c != ' ')
      kept = len;
  }
  ret[kept] = 0;
  return whole;
}
