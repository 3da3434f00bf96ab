/* The agent's clocks against the host's. They are compared once: when the agent tells its attributes, it tells what its
 * clocks show at that moment. */
#ifndef IEEE11073_PHDC_CLOCK_H
#define IEEE11073_PHDC_CLOCK_H

#include "stamp.h"

/* What clocks may differ by, and what an instrument takes to say what it has, as the record's own rule. */
#define PHD_GRACE_US INT64_C(120000000)

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

/* Was it made since shortly before the order? */
bool phd_clock_is_fresh(const struct phd_clocks *c, int64_t host_us);

#endif
