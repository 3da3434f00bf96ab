/*
 * line: what a simulated serial instrument is about to send, at the pace of its line.
 */
#ifndef ASALEED_SIM_LINE_H
#define ASALEED_SIM_LINE_H

#include <stddef.h>
#include <stdint.h>

#define LINE_NEVER UINT64_MAX

struct line {
  uint8_t *bytes; /* owned */
  size_t pos, len, room;
  unsigned rate;    /* bytes/s; 0: as fast as it is read */
  uint64_t busy_us; /* until then, with what has been taken */
  uint64_t random;
};

void line_init(struct line *line, unsigned bytes_per_s, uint64_t seed);
void line_finish(struct line *line);

/* What finds no memory is lost, as on a bad line. */
void line_put(struct line *line, uint64_t now_us, const void *bytes, size_t n);
void line_put_noise(struct line *line, uint64_t now_us, size_t n); /* random bytes, all values */
void line_clear(struct line *line);

/* What has left by now. Leaves in pieces of at most 64 bytes, as a USB adapter hands them on. */
size_t line_take(struct line *line, uint64_t now_us, uint8_t *bytes, size_t max);
uint64_t line_next_us(const struct line *line); /* of the next piece; LINE_NEVER when empty */
uint64_t line_end_us(const struct line *line);  /* when the last byte will have left */

#endif
