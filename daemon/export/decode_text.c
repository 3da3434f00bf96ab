#include "decode_text.h"

#include <stdbool.h>
#include <string.h>

#define UNREADABLE 0xfffdu
#define ESCAPE 0x1b

static bool is_term(const uint8_t *term, size_t n, const char *name) {
  while (n && (term[n - 1] == ' ' || !term[n - 1]))
    n--;
  for (; n && *term == ' '; n--)
    term++;
  return n == strlen(name) && !memcmp(term, name, n);
}

/* Several terms: what escape sequences may switch to. Those of Latin-1 are where ASCII is anyway. */
enum decode_alphabet decode_alphabet(const uint8_t *value, size_t n) {
  static const struct {
    const char *term;
    enum decode_alphabet alphabet;
  } terms[] = {{"", ALPHABET_ASCII},
               {"ISO_IR 6", ALPHABET_ASCII},
               {"ISO 2022 IR 6", ALPHABET_ASCII},
               {"ISO_IR 100", ALPHABET_LATIN_1},
               {"ISO 2022 IR 100", ALPHABET_LATIN_1},
               {"ISO_IR 203", ALPHABET_LATIN_9},
               {"ISO 2022 IR 203", ALPHABET_LATIN_9},
               {"ISO_IR 192", ALPHABET_UTF8}};
  enum decode_alphabet all = ALPHABET_ASCII;
  for (const uint8_t *end = value + n, *next; value <= end; value = next + 1) {
    const uint8_t *parted = memchr(value, '\\', (size_t)(end - value));
    next = parted ? parted : end;
    size_t i = 0;
    while (i < sizeof terms / sizeof *terms && !is_term(value, (size_t)(next - value), terms[i].term))
      i++;
    if (i == sizeof terms / sizeof *terms)
      return ALPHABET_ASCII;
    if (terms[i].alphabet == ALPHABET_ASCII || terms[i].alphabet == all)
      continue;
    if (all != ALPHABET_ASCII)
      return ALPHABET_ASCII;
    all = terms[i].alphabet;
  }
  return all;
}

struct source {
  enum decode_alphabet alphabet;
  const uint8_t *at, *end;
};

static uint32_t next_utf8(struct source *s) {
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  const uint8_t c = *s->at++;
  const unsigned more = c < 0x80                ? 0
                        : c >= 0xc2 && c < 0xe0 ? 1
                        : (c & 0xf0) == 0xe0    ? 2
                        : c >= 0xf0 && c < 0xf5 ? 3
                                                : 4;
  if (more == 4 || more > (size_t)(s->end - s->at))
    return UNREADABLE;
  uint32_t v = more ? c & (0x3fu >> more) : c;
  for (unsigned i = 0; i < more; i++) {
    if ((s->at[i] & 0xc0) != 0x80)
      return UNREADABLE;
    v = v << 6 | (s->at[i] & 0x3f);
  }
  if (v < least[more] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000) || (v & 0xfffe) == 0xfffe)
    return UNREADABLE;
  s->at += more;
  return v;
}

/* Where ISO-8859-15 is not ISO-8859-1. */
static uint32_t latin_9(uint8_t c) {
  static const uint16_t changed[][2] = {{0xa4, 0x20ac}, {0xa6, 0x160}, {0xa8, 0x161}, {0xb4, 0x17d},
                                        {0xb8, 0x17e},  {0xbc, 0x152}, {0xbd, 0x153}, {0xbe, 0x178}};
  for (size_t i = 0; i < sizeof changed / sizeof *changed; i++)
    if (changed[i][0] == c)
      return changed[i][1];
  return c;
}

/* To ASCII, or to the upper half of Latin-1 or Latin-9, which is where it is already. What follows another one is none
 * of our alphabets', though it may look like ASCII. */
static bool skip_escape(struct source *s) {
  static const char known[][4] = {"\x1b(B", "\x1b-A", "\x1b-b"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (s->end - s->at >= 3 && !memcmp(s->at, known[i], 3)) {
      s->at += 3;
      return true;
    }
  s->at = s->end;
  return false;
}

static uint32_t next(struct source *s) {
  if (s->alphabet == ALPHABET_UTF8)
    return next_utf8(s);
  const uint8_t c = *s->at++;
  if (c < 0x80 || s->alphabet == ALPHABET_LATIN_1)
    return c;
  return s->alphabet == ALPHABET_LATIN_9 ? latin_9(c) : UNREADABLE;
}

static size_t utf8(uint32_t c, uint8_t ret[static 4]) {
  if (c < 0x80) {
    ret[0] = (uint8_t)c;
    return 1;
  }
  const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = n; i-- > 1; c >>= 6)
    ret[i] = (uint8_t)(0x80 | (c & 0x3f));
  ret[0] = (uint8_t)((0xf00u >> n) | c);
  return n;
}

void decode_text(enum decode_alphabet alphabet, const uint8_t *text, size_t n, size_t max, struct buf *to) {
  struct source s = {alphabet, text, text + n};
  size_t blanks = 0, len = 0;
  while (s.at < s.end) {
    uint8_t bytes[4];
    uint32_t c = *s.at == ESCAPE ? skip_escape(&s) ? 0xfeffu : UNREADABLE : next(&s);
    if (c == 0xfeff) /* a mark of byte order, which is no character */
      continue;
    if (c <= ' ' || (c >= 0x7f && c < 0xa0)) {
      blanks += len > 0;
      continue;
    }
    const size_t one = utf8(c, bytes);
    if (len + blanks + one > max)
      return;
    len += blanks + one;
    for (; blanks; blanks--)
      buf_u8(to, ' ');
    buf_add(to, bytes, one);
  }
}
