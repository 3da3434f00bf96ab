/* Which values belong together. Values of one report with one time stamp are a group; where a code comes several times,
 * the second ones are a second group. A group joins the trial of that time stamp that it completes, is dropped when a
 * trial has all of it already, and else is a trial of its own: two blows with one time stamp and different values are
 * two trials. */
#ifndef IEEE11073_PHDC_TRIAL_H
#define IEEE11073_PHDC_TRIAL_H

#include "stamp.h"
#include <asalee/record.h>

#define PHD_OF_SESSION ACQ_TRIALS_MAX /* in place of a trial's number from 0 */
#define PHD_VALUES_MAX 1024
#define PHD_GROUP_MAX 256 /* values of one report */

struct phd_value {
  uint32_t mdc;
  const struct nomenclature *row; /* NULL: bits of a reading status */
  const struct unit *unit;
  bool missing; /* the instrument has no value, or none to rely on */
  struct dec value;
  uint32_t bits;
};

/* When, and of whom. What is not timed came live; so did what has a counter's time that nothing can place. */
struct phd_moment {
  enum phd_stamp_kind kind;
  int64_t id; /* tells one moment of that kind from another: microseconds, or the counter */
  uint16_t person;
  bool timed; /* as acq_trial has it, and so the next three; two moments differ by the members above alone */
  bool compared;
  int64_t clock_us, slow_us;
};

struct phd_trials {
  unsigned n_trials, n_values, n_group, repeated;
  const char *why; /* English, of the last refusal */
  struct phd_trial {
    struct phd_moment moment;
    uint16_t first, last;       /* of `values`, plus 1; 0: none */
  } trials[ACQ_TRIALS_MAX + 1]; /* the last one is the session as a whole */
  struct phd_trial_value {
    uint16_t next; /* of the same trial, plus 1; 0: none */
    struct phd_value value;
  } values[PHD_VALUES_MAX];
  struct phd_group_value {
    bool used;
    struct phd_moment moment;
    struct phd_value value;
  } group[PHD_GROUP_MAX];
};

/* Adds a value to the report under way; -EPROTO with t->why. */
int phd_trials_add(struct phd_trials *t, const struct phd_moment *moment, const struct phd_value *value);
/* The report is over; -EPROTO with t->why. */
int phd_trials_end(struct phd_trials *t);

/* A trial for what is no value; it is the last one then. -EPROTO with t->why. */
int phd_trials_open(struct phd_trials *t, const struct phd_moment *moment);

bool phd_same_moment(const struct phd_moment *a, const struct phd_moment *b);

/* Writes one, and leaves the record there; PHD_OF_SESSION: what belongs to none. `order` decides the phase where it
 * says one. */
void phd_trial_write(const struct phd_trials *t, unsigned trial, const struct acq_order *order,
                     struct acq_record *record);

#endif
