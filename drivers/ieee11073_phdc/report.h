/* Scan reports: what the objects of a configuration measured. Fixed reports give values in the order of the objects'
 * value maps, variable ones name each attribute, grouped ones follow a scanner's map; each of these for one person or
 * for several.
 *
 *   report       data request id u16, report number u16; count u16, length u16 of observations (or of persons)
 *   person       person id u16; count u16, length u16 of observations. Grouped: person id u16, octet string
 *   observation  fixed: handle u16, octet string. Variable: handle u16; count u16, length u16 of attributes.
 *                Grouped: octet string
 *
 * Source: README.md beside this file. */
#ifndef IEEE11073_PHDC_REPORT_H
#define IEEE11073_PHDC_REPORT_H

#include "dim.h"

struct phd_number {
  uint32_t mdc;  /* partition * 65536 + code */
  uint16_t unit; /* partition 4, 0 unknown */
  int err;       /* 0; -ENODATA for NaN, NRes and the reserved one; -ERANGE for an infinity */
  struct dec value;
};

/* What one object observed once. */
struct phd_observation {
  const struct phd_object *object;
  uint16_t person; /* PERSON_UNKNOWN: none was named */
  uint16_t status; /* MSMT_... */
  struct phd_stamp stamp;
  unsigned n_numbers;
  struct phd_number numbers[PHD_PHYSIO_MAX];
  bool has_bits, has_samples, has_time_unread;
  uint32_t bits; /* the first one of the standard is the highest, whether there were 16 or 32 */
  struct acq_cur samples;
};

struct phd_report {
  uint16_t request, number; /* data request id, report number */
};

/* Called for each observation, in order; a negative answer ends the report with it. */
typedef int phd_observe(void *context, const struct phd_report *report, const struct phd_observation *observation);

bool phd_is_report(uint16_t type);

/* Reads the information of the report that the object `handle` (0: the device) sent. -EPROTO or -ERANGE with d->why.
 * Attributes that describe an object (its unit, ...) are taken into the model. */
int phd_report_read(struct phd_dim *d, uint16_t handle, uint16_t type, struct acq_cur info, phd_observe *observe,
                    void *context);

/* An observation whose attributes are given by a map, one after the other: of a fixed report, and of a segment. */
int phd_observation_mapped(struct phd_dim *d, struct phd_object *o, const struct phd_map *map, struct acq_cur *values,
                           struct phd_observation *ret);

#endif
