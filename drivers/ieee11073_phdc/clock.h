/* The agent's clocks against the host's. They are compared once: when the agent tells its attributes, it tells what its
 * clocks show at that moment. */
#ifndef IEEE11073_PHDC_CLOCK_H
#define IEEE11073_PHDC_CLOCK_H

#include "stamp.h"

/* What a clock may be off by before the nurse is told, and what one may be that nobody compared. */
#define PHD_GRACE_US INT64_C(120000000)
/* What is left when it was compared: instruments tell whole seconds. */
#define PHD_GRACE_COMPARED_US INT64_C(5000000)

struct phd_clocks {
  const struct acq_order *order;           /* borrowed */
  struct phd_stamp agent[PHD_STAMP_KINDS]; /* PHD_UNTIMED: that clock was never told */
  uint32_t ms;                             /* when it told, since the start */
};

/* How much the agent's clock of that kind (absolute, base offset) is behind the host's, 0 when it was never told. */
int64_t phd_clock_slow_us(const struct phd_clocks *c, enum phd_stamp_kind kind);

/* Host's local time of a stamp that came with an event at `event_ms`, whose own time was event_ticks (0xffffffff:
 * unknown). False when a relative stamp has nothing to count from, or for none. */
bool phd_clock_place(const struct phd_clocks *c, const struct phd_stamp *stamp, uint32_t event_ticks, uint32_t event_ms,
                     int64_t *ret_us);

/* Is it known how that clock stands to the host's? A counter's time is told by the event that it came with. */
bool phd_clock_is_compared(const struct phd_clocks *c, enum phd_stamp_kind kind);

/* Was it made since shortly before the order: seconds where clocks were compared, as the record's own rule? */
bool phd_clock_is_fresh(const struct phd_clocks *c, int64_t host_us);

#endif
