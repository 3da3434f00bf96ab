/* The numbers of an HL7 aECG lead ("-2 -3 4 ..."), read as their text arrives in pieces. */
#ifndef FILE_HL7_AECG_DIGITS_H
#define FILE_HL7_AECG_DIGITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGITS_DECIMALS_MAX 4
#define DIGITS_VALUE_MAX 1000000000 /* of a value in units of its last decimal */

/* A row of numbers, in units of 10^-decimals: as soon as one has more decimals than those before, those are multiplied.
 * Begins as {.values = ..., .max = ...}. */
struct digits {
  int32_t *values; /* borrowed */
  size_t n, max;
  unsigned decimals;
  /* of a number that is not over yet: */
  bool open, negative, pointed, figured;
  unsigned after; /* figures behind its point */
  int64_t value;
};

/* More of the text: 0; -EPROTO for what is no number, -ERANGE for one that is too large or too fine, -EFBIG for more
 * than max. */
int digits_read(struct digits *d, const char *text, size_t n);
/* The text is over: the last number is, too. */
int digits_end(struct digits *d);

#endif
