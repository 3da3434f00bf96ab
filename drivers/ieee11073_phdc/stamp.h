/* The times of ISO/IEEE 11073-20601, as microseconds of the clock on the instrument's wall (acq_clock_to_us).
 *
 *   absolute     8 bytes BCD: century, year, month, day, hour, minute, second, 1/100 s; local time
 *   base offset  seconds since 1900 UTC u32, 1/65536 s u16, local time minus UTC in minutes i16
 *   relative     u32, 1/8 ms of a counter that starts somewhere and wraps after six days
 *
 * Source: README.md beside this file; base offset as HL7's PHD implementation guide restates it. */
#ifndef IEEE11073_PHDC_STAMP_H
#define IEEE11073_PHDC_STAMP_H

#include <asalee/driver.h>

#define PHD_STAMP_BYTES 8

enum phd_stamp_kind { PHD_UNTIMED, PHD_ABSOLUTE, PHD_BASE_OFFSET, PHD_RELATIVE, PHD_STAMP_KINDS };

struct phd_stamp {
  enum phd_stamp_kind kind;
  int64_t us;     /* absolute, base offset */
  uint32_t ticks; /* relative */
};

/* Reads a stamp of that kind from the whole of `value`; -EPROTO when it has another length, -ERANGE when it is no time
 * that can be. */
int phd_stamp_read(struct acq_cur value, enum phd_stamp_kind kind, struct phd_stamp *ret);

#endif
