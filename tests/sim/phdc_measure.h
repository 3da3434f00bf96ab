/*
 * phdc_measure: what a simulated personal health device measures, until it is reported. Pure.
 */
#ifndef ASALEED_SIM_PHDC_MEASURE_H
#define ASALEED_SIM_PHDC_MEASURE_H

#include "phdc_store.h"

/* Where the device's clocks stood. */
struct phdc_moment {
  int64_t local_us; /* the clock that it shows */
  uint32_t ticks;   /* relative time, 1/8 ms since power-on; wraps */
};

struct phdc_measure {
  const struct phdc_device *device;
  struct phdc_store *store; /* takes the readings in place of the list; NULL without one */
  uint64_t seed;
  unsigned blows; /* so far */
  struct phdc_observation **waiting;
  unsigned n, max;
  struct { /* of an ECG */
    unsigned done, total;
    uint32_t ticks; /* of the first sample */
  } recording;
  struct mder scratch;
};

void phdc_measure_init(struct phdc_measure *ms, const struct phdc_device *device, struct phdc_store *store,
                       uint64_t seed);
void phdc_measure_finish(struct phdc_measure *ms);

/* "72.5", "pef=432 fev1=3.63", "bp=120/80/93 at=2026-03-17T09:30:00 person=2", "": what is typical. The answer is what
 * was measured, in the same form. -EINVAL with the reason there. */
int phdc_measure_take(struct phdc_measure *ms, const char *words, struct phdc_moment now, char answer[static 256]);
/* "obstructive cough": see trial_choose(). Values, and the waveforms where there are objects for them, over at this
 * moment. */
int phdc_measure_blow(struct phdc_measure *ms, const char *words, struct phdc_moment now, char answer[static 256]);
/* An hour apart, the last an hour before now. */
void phdc_measure_older(struct phdc_measure *ms, unsigned n, struct phdc_moment now);

/* An ECG of so many arrays begins. */
void phdc_measure_record(struct phdc_measure *ms, unsigned arrays, struct phdc_moment now);
bool phdc_measure_recording(const struct phdc_measure *ms);
/* The next array of every lead, and after the last the heart rate. */
void phdc_measure_step(struct phdc_measure *ms, struct phdc_moment now);

void phdc_measure_drop(struct phdc_measure *ms, unsigned n); /* the first n were delivered */

#endif
