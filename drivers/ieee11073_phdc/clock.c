#include "clock.h"

#define TICKS_UNKNOWN 0xffffffffu
#define TICK_US 125

int64_t phd_clock_slow_us(const struct phd_clocks *c, enum phd_stamp_kind kind) {
  const struct phd_stamp *agent = &c->agent[kind];
  return agent->kind == PHD_UNTIMED ? 0 : acq_order_clock_us(c->order, c->ms) - agent->us;
}

bool phd_clock_place(const struct phd_clocks *c, const struct phd_stamp *stamp, uint32_t event_ticks, uint32_t event_ms,
                     int64_t *ret_us) {
  const struct phd_stamp *counter = &c->agent[PHD_RELATIVE];
  uint32_t ms = event_ms;
  switch (stamp->kind) {
  case PHD_ABSOLUTE:
  case PHD_BASE_OFFSET:
    *ret_us = stamp->us + phd_clock_slow_us(c, stamp->kind);
    return true;
  case PHD_RELATIVE:
    if (event_ticks == TICKS_UNKNOWN) {
      if (counter->kind == PHD_UNTIMED)
        return false;
      event_ticks = counter->ticks;
      ms = c->ms;
    }
    /* The counter wraps: the shorter way round. */
    *ret_us = acq_order_clock_us(c->order, ms) - (int64_t)(int32_t)(event_ticks - stamp->ticks) * TICK_US;
    return true;
  default:
    return false;
  }
}

bool phd_clock_is_compared(const struct phd_clocks *c, enum phd_stamp_kind kind) {
  return kind == PHD_RELATIVE || c->agent[kind].kind != PHD_UNTIMED;
}

bool phd_clock_is_fresh(const struct phd_clocks *c, int64_t host_us) {
  const bool compared = phd_clock_is_compared(c, PHD_ABSOLUTE) || phd_clock_is_compared(c, PHD_BASE_OFFSET);
  return host_us >= acq_order_clock_us(c->order, 0) - (compared ? PHD_GRACE_COMPARED_US : PHD_GRACE_US);
}
