#include "code.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "streams and lookups are loaded as words");

#define DEFAULT_TABLE 19999
#define PREFIX_MAX 32

/* ---- tables ------------------------------------------------------------------------------------------------- */

/* Adds a code under the root; false when a code begins with another, or there are too many. */
static bool add_code(struct scp_codes *c, unsigned root, const struct scp_code *code, uint32_t prefix) {
  unsigned node = root;
  for (unsigned i = 0; i < code->prefix; i++, prefix >>= 1) {
    int32_t *next = &c->nodes[node][prefix & 1];
    const bool last = i + 1 == code->prefix;
    if (*next < 0 || (last && *next) || c->n_nodes == SCP_NODES_MAX || c->n_codes == SCP_CODES_MAX)
      return false;
    if (last) {
      *next = -1 - (int32_t)c->n_codes;
    } else if (!*next) {
      c->nodes[c->n_nodes][0] = c->nodes[c->n_nodes][1] = 0;
      *next = (int32_t)c->n_nodes++;
    }
    node = last ? node : (unsigned)*next;
  }
  c->codes[c->n_codes++] = *code;
  return true;
}

static void begin(struct scp_codes *c, unsigned tables) {
  c->n_tables = c->n_nodes = tables;
  c->n_codes = 0;
  memset(c->looked, 0, sizeof c->looked);
  memset(c->nodes, 0, tables * sizeof *c->nodes);
}

static void make_default(struct scp_codes *c) {
  begin(c, 1);
  add_code(c, 0, &(struct scp_code){.base = 0, .prefix = 1}, 0);
  for (unsigned k = 1; k <= 8; k++) {
    const uint32_t ones = (1u << k) - 1;
    add_code(c, 0, &(struct scp_code){.base = (int32_t)k, .prefix = (uint8_t)(k + 2)}, ones);
    add_code(c, 0, &(struct scp_code){.base = -(int32_t)k, .prefix = (uint8_t)(k + 2)}, ones | 2u << k);
  }
  add_code(c, 0, &(struct scp_code){.prefix = 10, .extra = 8}, 0x1ff);
  add_code(c, 0, &(struct scp_code){.prefix = 10, .extra = 16}, 0x3ff);
}

static int read_code(struct scp_codes *c, unsigned table, struct acq_cur *in, const char **ret_why) {
  struct scp_code code = {.prefix = acq_u8(in)};
  const unsigned whole = acq_u8(in);
  code.is_switch = acq_u8(in) == 0;
  code.base = (int16_t)acq_u16le(in);
  const uint32_t prefix = acq_u32le(in);
  *ret_why = "section 2 has a code that cannot be";
  if (in->err || !code.prefix || code.prefix > PREFIX_MAX || whole < code.prefix || whole - code.prefix > SCP_EXTRA_MAX)
    return -EPROTO;
  code.extra = (uint8_t)(whole - code.prefix);
  if (code.is_switch && (code.extra || code.base < 1 || (unsigned)code.base > c->n_tables))
    return -EPROTO;
  *ret_why = "section 2 has a code that begins with another one, or too many codes";
  return add_code(c, table, &code, prefix) ? 0 : -EPROTO;
}

int scp_codes_open(struct acq_cur body, struct scp_codes **ret, const char **ret_why) {
  static struct scp_codes standard, own;
  const unsigned tables = acq_left(&body) ? acq_u16le(&body) : 0;
  *ret = NULL;
  *ret_why = "section 2 is cut short";
  if (!tables)
    return body.err;
  if (tables == DEFAULT_TABLE) {
    if (!standard.n_tables)
      make_default(&standard);
    *ret = &standard;
    return 0;
  }
  *ret_why = "section 2 has more tables than can be";
  if (tables > SCP_TABLES_MAX)
    return -EPROTO;
  begin(&own, tables);
  for (unsigned t = 0; t < tables; t++) {
    const unsigned n = acq_u16le(&body);
    *ret_why = "section 2 has a table without a code";
    int r = n ? 0 : -EPROTO;
    for (unsigned i = 0; i < n && r == 0; i++)
      r = read_code(&own, t, &body, ret_why);
    if (r < 0)
      return r;
  }
  *ret = &own;
  return 0;
}

/* ---- lookups ------------------------------------------------------------------------------------------------ */

/* The code that the n bits highest in `bits` begin with, or -1. */
static int find_code(const struct scp_codes *c, unsigned table, uint64_t bits, unsigned n) {
  int32_t at = (int32_t)table;
  for (unsigned i = 0; i < n; i++, bits <<= 1) {
    at = c->nodes[at][bits >> 63];
    if (at < 0)
      return -1 - at;
    if (!at)
      return -1;
  }
  return -1;
}

static struct scp_look look_at(const struct scp_codes *c, unsigned table, uint64_t bits) {
  struct scp_look look = {.n = 0};
  for (unsigned left = SCP_LOOK_BITS; look.n < SCP_LOOK_VALUES;) {
    const int code = find_code(c, table, bits, left);
    if (code < 0)
      break;
    const struct scp_code *found = &c->codes[code];
    if (found->is_switch || found->extra || found->base != (int8_t)found->base) {
      if (!look.n)
        look = (struct scp_look){.code = (uint16_t)code, .bits = found->prefix};
      break;
    }
    look.value[look.n++] = (int8_t)found->base;
    look.bits = (uint8_t)(look.bits + found->prefix);
    left -= found->prefix;
    bits <<= found->prefix;
  }
  return look;
}

static const struct scp_look *looks(struct scp_codes *c, unsigned table) {
  if (!c->looked[table])
    for (uint32_t i = 0; i < 1u << SCP_LOOK_BITS; i++)
      c->look[table][i] = look_at(c, table, (uint64_t)i << (64 - SCP_LOOK_BITS));
  c->looked[table] = true;
  return c->look[table];
}

/* ---- streams ------------------------------------------------------------------------------------------------ */

/* The next bits are the highest of `hold`; `n` of them are there, those behind may be anything that is still to come,
 * or zeros. */
struct bits {
  const uint8_t *at, *end;
  uint64_t hold;
  unsigned n;
};

/* At least 56 bits, or all there are. */
static inline void refill(struct bits *b) {
  if (b->end - b->at >= 8) {
    uint64_t next;
    memcpy(&next, b->at, sizeof next);
    b->hold |= __builtin_bswap64(next) >> b->n;
    b->at += (63 - b->n) >> 3;
    b->n |= 56;
    return;
  }
  if (b->n < 64)
    b->hold &= ~(~UINT64_C(0) >> b->n);
  while (b->n <= 56 && b->at < b->end) {
    b->hold |= (uint64_t)*b->at++ << (56 - b->n);
    b->n += 8;
  }
}

static inline void drop(struct bits *b, unsigned n) {
  b->hold <<= n;
  b->n -= n;
}

/* The next code, whatever it is: 1 and its value, 0 for another table, or -1. */
static int read_one(struct scp_codes *c, unsigned *table, struct bits *b, int32_t *ret, enum scp_end *ret_end) {
  refill(b);
  const struct scp_look *look = &looks(c, *table)[b->hold >> (64 - SCP_LOOK_BITS)];
  const bool known = !look->n && look->bits && look->bits <= b->n;
  const int code = known ? look->code : find_code(c, *table, b->hold, b->n < PREFIX_MAX ? b->n : PREFIX_MAX);
  *ret_end = b->n >= PREFIX_MAX ? SCP_NO_CODE : SCP_SHORT;
  if (code < 0)
    return -1;
  const struct scp_code *found = &c->codes[code];
  *ret_end = SCP_SHORT;
  drop(b, found->prefix);
  refill(b);
  if (found->extra > b->n)
    return -1;
  *ret = found->base + (found->extra ? (int32_t)((int64_t)b->hold >> (64 - found->extra)) : 0);
  drop(b, found->extra);
  if (found->is_switch)
    *table = (unsigned)found->base - 1;
  return !found->is_switch;
}

typedef int8_t bytes_16 __attribute__((vector_size(16)));
typedef uint64_t doubles_2 __attribute__((vector_size(16)));
typedef int16_t halves_8 __attribute__((vector_size(16)));
typedef int32_t words_4 __attribute__((vector_size(16)));

/* All eight bytes of an entry as numbers, the last two of which are no values: quicker than to count them. Each byte
 * becomes the highest of a word, which is shifted down. */
static inline void put_values(const struct scp_look *e, int32_t *values) {
  const halves_8 zero = {0};
  uint64_t entry;
  memcpy(&entry, e, sizeof entry);
  const bytes_16 narrow = (bytes_16)(doubles_2){entry, 0};
  const halves_8 high =
      (halves_8)__builtin_shufflevector((bytes_16)zero, narrow, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const words_4 first = (words_4)__builtin_shufflevector(zero, high, 0, 8, 1, 9, 2, 10, 3, 11) >> 24,
                second = (words_4)__builtin_shufflevector(zero, high, 4, 12, 5, 13, 6, 14, 7, 15) >> 24;
  memcpy(values, &first, sizeof first);
  memcpy(values + 4, &second, sizeof second);
}

/* A code with a number behind it, found by a lookup. False, and nothing is taken, where it is another or is cut. */
static inline bool read_number(const struct scp_codes *c, const struct scp_look *e, struct bits *b, int32_t *ret) {
  const struct scp_code *code = &c->codes[e->code];
  const struct bits before = *b;
  if (!e->bits || code->is_switch)
    return false;
  drop(b, e->bits);
  refill(b);
  if (code->extra > b->n) {
    *b = before;
    return false;
  }
  *ret = code->base + (code->extra ? (int32_t)((int64_t)b->hold >> (64 - code->extra)) : 0);
  drop(b, code->extra);
  return true;
}

/* Values that lookups give, as long as there is room for them and eight bytes are left. */
static size_t read_fast(struct scp_codes *c, unsigned table, struct bits *b, int32_t *values, size_t max) {
  const struct scp_look *look = looks(c, table);
  const size_t round = 56 / SCP_LOOK_BITS * SCP_LOOK_VALUES;
  size_t n = 0;
  while (max - n >= round && b->end - b->at >= 8) {
    refill(b);
    for (unsigned i = 0; i < 56 / SCP_LOOK_BITS; i++) {
      const struct scp_look *e = &look[b->hold >> (64 - SCP_LOOK_BITS)];
      if (!e->n) {
        if (!read_number(c, e, b, &values[n]))
          return n;
        n++;
        break;
      }
      put_values(e, values + n);
      n += e->n;
      drop(b, e->bits);
    }
  }
  return n;
}

struct scp_stream scp_codes_read(struct scp_codes *c, const uint8_t *bytes, size_t n, int32_t *values, size_t max) {
  struct bits b = {.at = bytes, .end = bytes + n};
  struct scp_stream s = {.end = SCP_WHOLE};
  unsigned table = 0;
  while (s.n < max) {
    s.n += read_fast(c, table, &b, values + s.n, max - s.n);
    if (s.n == max)
      break;
    int r = read_one(c, &table, &b, &values[s.n], &s.end);
    if (r < 0)
      break;
    s.n += (size_t)r;
  }
  if (s.n == max)
    s.end = SCP_WHOLE;
  s.bits_left = (size_t)(b.end - b.at) * 8 + b.n;
  return s;
}
