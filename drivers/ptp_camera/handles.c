#include "handles.h"

#include <errno.h>
#include <string.h>

/* Where it is, or would be. */
static size_t place(const struct ptp_handles *set, uint32_t handle) {
  size_t low = 0, high = set->n;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (set->at[middle] < handle)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

bool ptp_handles_has(const struct ptp_handles *set, uint32_t handle) {
  size_t i = place(set, handle);
  return i < set->n && set->at[i] == handle;
}

int ptp_handles_add(struct ptp_handles *set, uint32_t handle) {
  size_t i = place(set, handle);
  if (i < set->n && set->at[i] == handle)
    return 0;
  if (set->n == PTP_HANDLES_MAX)
    return -EFBIG;
  /* Cameras list what is oldest first: hardly anything moves. */
  memmove(set->at + i + 1, set->at + i, (set->n - i) * sizeof *set->at);
  set->at[i] = handle;
  set->n++;
  return 0;
}
