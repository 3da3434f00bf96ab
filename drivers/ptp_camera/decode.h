/* What a capture of this driver holds: its pictures. And what acquire() and decode() must judge alike. */
#ifndef PTP_CAMERA_DECODE_H
#define PTP_CAMERA_DECODE_H

#include "ptp.h"

int ptp_decode(const struct acq_capture *capture, struct acq_record *ret);

/* A picture that is too large to be taken; `taken`: bytes of those before it. */
bool ptp_is_refused(const struct ptp_object_info *info, uint64_t taken);

/* How far the clock of a camera whose DateTime has that value was behind the host's, ms after the order's start. False
 * when it tells no time. */
bool ptp_clock_read(struct acq_cur value, const struct acq_order *order, uint64_t ms, int64_t *ret_slow_us);

#endif
