#include "line.h"

#include <stdlib.h>
#include <string.h>

#define PIECE 64u

/* splitmix64 */
static uint64_t next_random(struct line *line) {
  uint64_t x = line->random += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

void line_init(struct line *line, unsigned bytes_per_s, uint64_t seed) {
  *line = (struct line){.rate = bytes_per_s, .random = seed};
}

void line_finish(struct line *line) {
  free(line->bytes);
  line->bytes = NULL;
}

void line_put(struct line *line, uint64_t now_us, const void *bytes, size_t n) {
  if (line->len == 0 && line->busy_us < now_us)
    line->busy_us = now_us;
  if (line->pos > 0 && line->pos + line->len + n > line->room) {
    memmove(line->bytes, line->bytes + line->pos, line->len);
    line->pos = 0;
  }
  if (line->len + n > line->room) {
    size_t room = 2 * (line->len + n);
    uint8_t *more = realloc(line->bytes, room);
    if (!more)
      return;
    line->bytes = more;
    line->room = room;
  }
  memcpy(line->bytes + line->pos + line->len, bytes, n);
  line->len += n;
}

void line_put_noise(struct line *line, uint64_t now_us, size_t n) {
  for (size_t i = 0; i < n; i++) {
    uint8_t byte = (uint8_t)(next_random(line) >> 24);
    line_put(line, now_us, &byte, 1);
  }
}

void line_clear(struct line *line) {
  line->pos = line->len = 0;
}

static uint64_t leaves_us(const struct line *line, size_t n) {
  return line->rate ? line->busy_us + (uint64_t)n * 1000000u / line->rate : 0;
}

size_t line_take(struct line *line, uint64_t now_us, uint8_t *bytes, size_t max) {
  size_t n = 0;
  while (line->len > 0 && n < max) {
    size_t part = line->len < PIECE ? line->len : PIECE;
    if (part > max - n)
      part = max - n;
    uint64_t leaves = leaves_us(line, part);
    if (leaves > now_us)
      break;
    memcpy(bytes + n, line->bytes + line->pos, part);
    line->busy_us = leaves;
    line->pos += part;
    line->len -= part;
    n += part;
  }
  if (line->len == 0)
    line->pos = 0;
  return n;
}

uint64_t line_next_us(const struct line *line) {
  return line->len ? leaves_us(line, line->len < PIECE ? line->len : PIECE) : LINE_NEVER;
}

uint64_t line_end_us(const struct line *line) {
  return leaves_us(line, line->len);
}
