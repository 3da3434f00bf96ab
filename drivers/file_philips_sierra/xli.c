#include "xli.h"

#define BITS 10
#define END_CODE 1023u
#define PADDING_BITS 16 /* at most, behind the end code */

/* A string of the table is a piece of what came out before. */
struct string {
  uint32_t at, n;
};

struct lzw {
  struct string strings[END_CODE];
  unsigned n; /* of the strings */
  uint8_t *out;
  size_t len, max;
};

/* False for a code that cannot be there. A string that the code before leaves unfinished is one byte longer than that
 * one, and that byte is the first to come: copied byte by byte it is there in time. */
static int put(struct lzw *z, unsigned code, const char **why) {
  struct string s = {(uint32_t)z->len, 1};
  *why = "compressed samples are damaged";
  if (code >= 256 && code >= z->n)
    return -EPROTO;
  if (code >= 256)
    s = z->strings[code];
  if (s.n > z->max - z->len) {
    *why = "compressed samples are longer than the recording";
    return -EPROTO;
  }
  if (code < 256)
    z->out[z->len] = (uint8_t)code;
  for (uint32_t i = 0; code >= 256 && i < s.n; i++)
    z->out[z->len + i] = z->out[s.at + i];
  /* The next string: this one and the byte that follows it. */
  if (z->n < END_CODE)
    z->strings[z->n++] = (struct string){(uint32_t)z->len, s.n + 1};
  z->len += s.n;
  return 0;
}

static int unpack(struct acq_cur in, struct lzw *z, const char **why) {
  uint32_t bits = 0, code = 0;
  unsigned n = 0;
  int r = 0;
  z->n = 256;
  while (r == 0 && (acq_left(&in) || n >= BITS)) {
    for (; n < BITS && acq_left(&in); n += 8)
      bits = bits << 8 | acq_u8(&in);
    if (n < BITS)
      break; /* padding */
    n -= BITS;
    code = bits >> n & END_CODE;
    if (code == END_CODE)
      break;
    r = put(z, code, why);
  }
  if (r == 0 && acq_left(&in) * 8 + n > PADDING_BITS) {
    *why = "compressed samples go on behind their end";
    r = -EPROTO;
  }
  return r;
}

static int word(const uint8_t *bytes, size_t n, size_t i) {
  return (int16_t)(bytes[i] << 8 | bytes[n + i]);
}

int xli_read(struct acq_cur *in, int16_t *ret, size_t max, uint8_t *work, const char **why) {
  static struct lzw lzw;
  uint32_t size = acq_u32le(in);
  uint16_t kind = acq_u16le(in);
  int difference = (int16_t)acq_u16le(in);
  struct acq_cur chunk = acq_sub(in, size);
  *why = "compressed samples are cut";
  if (in->err)
    return -EPROTO;
  *why = "a kind of compression that is not known";
  if (kind != 1)
    return -EOPNOTSUPP;
  lzw = (struct lzw){.out = work, .max = 2 * max};
  int r = unpack(chunk, &lzw, why);
  if (r < 0)
    return r;
  const size_t n = lzw.len / 2;
  *why = "an odd number of compressed bytes";
  if (lzw.len % 2)
    return -EPROTO;
  int64_t before = 0, last = 0;
  *why = "a sample outside of 16 bits";
  for (size_t i = 0; i < n; i++) {
    int64_t v = i < 2 ? word(work, n, i) : 2 * last - before - difference;
    if (i >= 2)
      difference = word(work, n, i) - 64;
    if (v < INT16_MIN || v > INT16_MAX)
      return -ERANGE;
    before = last;
    last = v;
    ret[i] = (int16_t)v;
  }
  return (int)n;
}
