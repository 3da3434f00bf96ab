/* The record of a capture: what the host and the agent said to each other, gone through once more. */
#ifndef IEEE11073_PHDC_DECODE_H
#define IEEE11073_PHDC_DECODE_H

#include <asalee/driver.h>

int phd_decode(const struct acq_capture *capture, struct acq_record *ret);

#endif
