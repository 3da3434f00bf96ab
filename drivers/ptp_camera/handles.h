/* A set of object handles: which pictures are known. */
#ifndef PTP_CAMERA_HANDLES_H
#define PTP_CAMERA_HANDLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PTP_HANDLES_MAX 65536u

struct ptp_handles {
  size_t n;
  uint32_t at[PTP_HANDLES_MAX]; /* ascending */
};

bool ptp_handles_has(const struct ptp_handles *set, uint32_t handle);
/* 0, also when it is there already; -EFBIG when the set is full. */
int ptp_handles_add(struct ptp_handles *set, uint32_t handle);

#endif
