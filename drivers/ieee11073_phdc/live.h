/* What comes while the agent is listened to: whether there is a reading, how much of a signal there is, and a picture
 * of it for the nurse. Nothing here is kept: decode() sees every byte again. */
#ifndef IEEE11073_PHDC_LIVE_H
#define IEEE11073_PHDC_LIVE_H

#include "clock.h"
#include "report.h"
#include "wave.h"

#define PHD_LIVE_SAMPLES 1024 /* of a channel, that wait for those of the others */

struct phd_live {
  uint32_t values;                 /* that came, whatever their time */
  bool untimed;                    /* one without a time */
  bool timed[PHD_STAMP_KINDS];     /* one with a time of that kind; the newest: */
  int64_t newest[PHD_STAMP_KINDS]; /* of the agent's clock; of a counter: microseconds since the start */
  uint64_t ticks[PHD_OBJECTS_MAX]; /* 1/8 ms of signal of each object */
  bool signal;                     /* samples of a known channel came */
  const char *infinite;            /* what came with a value beyond the instrument's range, or NULL */
  unsigned n_channels;
  uint32_t first; /* of the picture */
  struct phd_live_channel {
    uint16_t handle;
    struct phd_wave wave;
    size_t n;
    int16_t values[PHD_LIVE_SAMPLES];
  } channels[ACQ_PREVIEW_CHANNELS];
};

/* Forgets the signal; a new configuration may have other objects. */
void phd_live_reset(struct phd_live *l);

/* Takes an observation of the model's. `clocks` needs no order. */
void phd_live_observe(struct phd_live *l, const struct phd_dim *d, const struct phd_clocks *clocks,
                      const struct phd_observation *ob, uint32_t event_ticks, uint32_t event_ms);

/* The same of what a store gives: not a signal that goes on, however long. */
void phd_live_observe_stored(struct phd_live *l, const struct phd_clocks *clocks, const struct phd_observation *ob);

/* Shows what is new. */
void phd_live_show(struct phd_live *l, struct acq_io *io);

/* Did a reading come that was made since shortly before the order? */
bool phd_live_has_reading(const struct phd_live *l, const struct phd_clocks *clocks);

/* 1/8 ms of signal that every object which sent any has. */
uint64_t phd_live_ticks(const struct phd_live *l);

#endif
