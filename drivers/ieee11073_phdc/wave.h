/* Sample arrays (RT-SA) as the record wants them: 16-bit numbers times a decimal scale.
 *
 * The agent codes a sample x as a number whose meaning is linear: scaled_lower stands for `lower`, scaled_upper for
 * `upper`. So value = (x + offset) * step, and the record gets (x * times + add) with a scale of step / times, where
 * times is 1 to 8, chosen so that add is whole. Where no such number exists, add is rounded, and the whole channel
 * stands off by at most half a step. The scale is exact whenever it has nine digits or fewer, else rounded to nine: at
 * most 5 parts in a thousand million. A sample whose number does not fit 16 bits is refused, never clipped. */
#ifndef IEEE11073_PHDC_WAVE_H
#define IEEE11073_PHDC_WAVE_H

#include "dim.h"
#include <asalee/record.h>

struct phd_wave {
  const struct nomenclature *row;
  struct dec rate, scale; /* Hz; the row's unit per number */
  int32_t times;          /* negative: the scale runs downwards */
  int64_t add;
  uint8_t bytes; /* of a sample */
  bool is_signed;
  uint32_t mask;
};

/* What the object's arrays are; -EPROTO with *ret_why when they cannot be told, -ENODATA when the nomenclature lists no
 * such channel. */
int phd_wave_init(struct phd_wave *w, const struct phd_object *o, const char **ret_why);

/* Reads at most max samples; how many, or -ERANGE for one that does not fit. Half a sample is -EPROTO. */
int phd_wave_read(const struct phd_wave *w, struct acq_cur *samples, int16_t *values, size_t max);

#endif
