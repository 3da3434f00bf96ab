/* What a USB device says of its personal healthcare function, in its configuration descriptor. Behind the interface
 * descriptor (class 0F) stand, each with its length and type in front:
 *
 *   20  function: data code (1 vendor, 2 ISO/IEEE 11073-20601), capabilities (bit 0: metadata preamble)
 *   30  11073: 0, count, so many specialisations u16 LE (codes of partition 8)
 *   05  endpoints, each followed by
 *   21  quality of service: encoding 1, bits of latency and reliability
 *   22  metadata
 *
 * Source: README.md beside this file. */
#ifndef IEEE11073_PHDC_DESCRIPTOR_H
#define IEEE11073_PHDC_DESCRIPTOR_H

#include <asalee/bytes.h>

#define PHDC_CLASS 0x0f
#define PHDC_SPECS_MAX 16

struct phdc_function {
  uint8_t interface;
  uint8_t data_code; /* 0: no function descriptor */
  bool preamble;     /* it can put metadata before each transfer */
  uint8_t in, out;   /* the first bulk endpoints, 0 for none: those that are used */
  uint16_t others;   /* bit n: another bulk IN endpoint, of number n */
  unsigned n_specs;
  uint16_t specs[PHDC_SPECS_MAX];
};

/* The first personal healthcare function of a whole configuration descriptor. -ENXIO when there is none, -EPROTO when
 * the descriptors do not fit into each other; *ret_why tells, in English. */
int phdc_function_read(struct acq_cur configuration, struct phdc_function *ret, const char **ret_why);

#endif
