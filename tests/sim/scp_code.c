#include "scp_code.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BITS_MAX 24u
#define LOOK_AHEAD 12u /* values: what a switch must pay for itself in */
#define DIGITS_NEAR 8u
#define DIGITS_ALL 16u

/* ---- tables ---- */

void scp_table_default(struct scp_table *ret) {
  ret->n = 0;
  ret->entry[ret->n++] = (struct scp_entry){1, 1, false, 0, 0};
  for (unsigned k = 1; k <= 8; k++) {
    uint32_t ones = ((1u << k) - 1) << 2; /* then a zero, then the sign */
    ret->entry[ret->n++] = (struct scp_entry){(uint8_t)(k + 2), (uint8_t)(k + 2), false, (int16_t)k, ones};
    ret->entry[ret->n++] = (struct scp_entry){(uint8_t)(k + 2), (uint8_t)(k + 2), false, (int16_t) - (int)k, ones | 1};
  }
  ret->entry[ret->n++] = (struct scp_entry){10, 10 + DIGITS_NEAR, false, 0, 0x3FE};
  ret->entry[ret->n++] = (struct scp_entry){10, 10 + DIGITS_ALL, false, 0, 0x3FF};
}

static bool takes(const struct scp_entry *e, int32_t v) {
  int32_t more = v - e->base, half = e->total > e->prefix ? 1 << (e->total - e->prefix - 1) : 0;
  return !e->is_switch && (half ? more >= -half && more < half : more == 0);
}

/* The shortest entry that says it; NULL. */
static const struct scp_entry *entry_for(const struct scp_table *t, int32_t v) {
  const struct scp_entry *best = NULL;
  for (unsigned i = 0; i < t->n; i++)
    if (takes(&t->entry[i], v) && (!best || t->entry[i].total < best->total))
      best = &t->entry[i];
  return best;
}

static const struct scp_entry *switch_to(const struct scp_table *t, unsigned table) {
  for (unsigned i = 0; i < t->n; i++)
    if (t->entry[i].is_switch && t->entry[i].base == (int)table + 1)
      return &t->entry[i];
  return NULL;
}

struct node {
  uint64_t weight;
  int parent;
};

/* Joins the two lightest until one is left. */
static void join(struct node *node, unsigned n) {
  unsigned end = 2 * n - 1;
  for (unsigned next = n; next < end; next++) {
    int pair[2] = {-1, -1};
    for (unsigned i = 0; i < next; i++) {
      if (node[i].parent >= 0)
        continue;
      if (pair[0] < 0 || node[i].weight < node[pair[0]].weight) {
        pair[1] = pair[0];
        pair[0] = (int)i;
      } else if (pair[1] < 0 || node[i].weight < node[pair[1]].weight) {
        pair[1] = (int)i;
      }
    }
    node[pair[0]].parent = node[pair[1]].parent = (int)next;
    node[next] = (struct node){node[pair[0]].weight + node[pair[1]].weight, -1};
  }
}

/* Sets the prefix lengths; the longest of them. */
static unsigned measure(struct scp_table *t, const uint64_t *weight) {
  struct node node[2 * SCP_ENTRIES_MAX];
  unsigned longest = 0;
  for (unsigned i = 0; i < t->n; i++)
    node[i] = (struct node){weight[i], -1};
  join(node, t->n);
  for (unsigned i = 0; i < t->n; i++) {
    unsigned bits = 0;
    for (int at = node[i].parent; at >= 0; at = node[at].parent)
      bits++;
    t->entry[i].total = (uint8_t)(t->entry[i].total - t->entry[i].prefix + bits);
    t->entry[i].prefix = (uint8_t)bits;
    longest = bits > longest ? bits : longest;
  }
  return longest;
}

static int by_prefix(const void *a, const void *b) {
  const struct scp_entry *x = a, *y = b;
  return x->prefix != y->prefix ? (int)x->prefix - (int)y->prefix : x->base - y->base;
}

/* Lengths from weights, then codes from lengths: each is the one before it plus one. */
static void assign(struct scp_table *t, uint64_t *weight) {
  while (measure(t, weight) > BITS_MAX)
    for (unsigned i = 0; i < t->n; i++)
      weight[i] = weight[i] / 4 + 1;
  qsort(t->entry, t->n, sizeof(*t->entry), by_prefix);
  uint32_t code = 0;
  for (unsigned i = 0; i < t->n; i++) {
    if (i > 0)
      code = (code + 1) << (t->entry[i].prefix - t->entry[i - 1].prefix);
    t->entry[i].code = code;
  }
}

static void add(struct scp_table *t, int base, unsigned digits, bool is_switch) {
  t->entry[t->n++] = (struct scp_entry){0, (uint8_t)digits, is_switch, (int16_t)base, 0};
}

static bool has_value(const struct scp_table *t, int v) {
  for (unsigned i = 0; i < t->n; i++)
    if (!t->entry[i].is_switch && t->entry[i].base == v && t->entry[i].total == 0)
      return true;
  return false;
}

/* 0, 1, -1, 2, ... and what is most frequent among the rest. */
static void add_values(struct scp_table *t, const struct scp_count *count, unsigned values) {
  for (; values > 0; values--) {
    int best = 0;
    uint64_t most = 0;
    for (int v = -200; v < 200; v++) {
      uint64_t c = count->of[v + 32768] * UINT64_C(1000) + 1000u - 2u * (unsigned)abs(v) - (v < 0);
      if (c > most && !has_value(t, v)) {
        most = c;
        best = v;
      }
    }
    add(t, best, 0, false);
  }
}

void scp_table_make(struct scp_table *ret, const struct scp_count *count, unsigned values, bool ranges, unsigned self,
                    unsigned tables) {
  uint64_t weight[SCP_ENTRIES_MAX];
  ret->n = 0;
  for (int v = -5; ranges && v <= 4; v++)
    add(ret, v, 0, false);
  if (ranges) {
    add(ret, 13, 4, false);  /* 5..20 */
    add(ret, -14, 4, false); /* -22..-7: -6 is left to the 8 bits */
  } else {
    add_values(ret, count, values);
  }
  add(ret, 0, DIGITS_NEAR, false);
  add(ret, 0, DIGITS_ALL, false);
  for (unsigned i = 0; i < tables; i++)
    if (i != self)
      add(ret, (int)i + 1, 0, true);
  for (unsigned i = 0; i < ret->n; i++)
    weight[i] = 1;
  for (int v = -32768; v < 32768; v++) {
    if (count->of[v + 32768] == 0)
      continue;
    weight[entry_for(ret, v) - ret->entry] += count->of[v + 32768];
  }
  assign(ret, weight);
}

static uint32_t reversed(uint32_t code, unsigned bits) {
  uint32_t r = 0;
  for (unsigned i = 0; i < bits; i++)
    r |= (code >> i & 1) << (bits - 1 - i);
  return r;
}

void scp_tables_write(const struct scp_tables *t, struct buf *ret) {
  buf_u16le(ret, (uint16_t)t->n);
  for (unsigned i = 0; i < t->n; i++) {
    buf_u16le(ret, (uint16_t)t->table[i].n);
    for (unsigned k = 0; k < t->table[i].n; k++) {
      const struct scp_entry *e = &t->table[i].entry[k];
      buf_u8(ret, e->prefix);
      buf_u8(ret, e->total);
      buf_u8(ret, !e->is_switch);
      buf_u16le(ret, (uint16_t)e->base);
      buf_u32le(ret, reversed(e->code, e->prefix));
    }
  }
}

/* ---- streams ---- */

struct bits {
  struct buf *to;
  uint8_t byte;
  unsigned used;
  size_t bytes;
};

static void put(struct bits *b, uint32_t v, unsigned n) {
  while (n-- > 0) {
    b->byte = (uint8_t)((unsigned)b->byte << 1 | (v >> n & 1));
    if (++b->used == 8) {
      buf_u8(b->to, b->byte);
      b->bytes++;
      b->used = 0;
    }
  }
}

static void put_end(struct bits *b) {
  if (b->used > 0)
    put(b, 0, 8 - b->used);
  if (b->bytes % 2 != 0)
    put(b, 0, 8);
}

static unsigned cost(const struct scp_table *t, const int32_t *values, size_t n) {
  unsigned bits = 0;
  for (size_t i = 0; i < n; i++)
    bits += entry_for(t, values[i])->total;
  return bits;
}

/* The table for what comes next: another one only where it saves more than the way there costs. */
static unsigned choose(const struct scp_tables *t, unsigned now, const int32_t *values, size_t left) {
  unsigned best = now, least;
  if (left == 1)
    return 0;
  left = left - 1 < LOOK_AHEAD ? left - 1 : LOOK_AHEAD;
  least = cost(&t->table[now], values, left);
  for (unsigned i = 0; i < t->n; i++) {
    if (i == now)
      continue;
    unsigned bits = switch_to(&t->table[now], i)->total + cost(&t->table[i], values, left);
    if (bits < least) {
      least = bits;
      best = i;
    }
  }
  return best;
}

int scp_code_write(const struct scp_tables *t, const int32_t *values, size_t n, struct buf *ret) {
  struct bits b = {.to = ret};
  unsigned now = 0;
  for (size_t i = 0; i < n; i++)
    if (values[i] < INT16_MIN || values[i] > INT16_MAX)
      return -ERANGE;
  for (size_t i = 0; i < n; i++) {
    unsigned next = t->n > 1 ? choose(t, now, values + i, n - i) : 0;
    if (next != now) {
      const struct scp_entry *e = switch_to(&t->table[now], next);
      put(&b, e->code, e->prefix);
      now = next;
    }
    const struct scp_entry *e = entry_for(&t->table[now], values[i]);
    put(&b, e->code, e->prefix);
    put(&b, (uint32_t)(values[i] - e->base), e->total - e->prefix);
  }
  put_end(&b);
  return ret->err;
}
