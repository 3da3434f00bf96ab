/* Which sample arrays belong together. The arrays of one object follow each other in a curve: by their time stamps
 * where they have any, else by the numbers of their reports. Curves are found in a first pass over a capture and copied
 * in later ones; each pass places the same arrays in the same curves. */
#ifndef IEEE11073_PHDC_CURVE_H
#define IEEE11073_PHDC_CURVE_H

#include "report.h"
#include "trial.h"
#include "wave.h"

#define PHD_CURVES_MAX 64

struct phd_curve {
  uint16_t handle;
  bool again;  /* the same curve came before: its samples are not used */
  bool stored; /* a store gave it */
  struct phd_wave wave;
  int64_t period_us;
  struct phd_moment moment; /* of its first sample */
  uint64_t samples;         /* and missing ones */
  unsigned trial;           /* PHD_OF_SESSION: of none */
  unsigned channel;         /* of the record */
};

/* What is to be done with an array: after `missing` samples that never came, it belongs to a curve; or nowhere. */
struct phd_place {
  struct phd_curve *curve; /* NULL: nowhere */
  uint64_t missing;
};

struct phd_curves {
  unsigned n;
  struct phd_curve at[PHD_CURVES_MAX];
  uint32_t unknown, repeated;        /* arrays of no known channel, objects counted once; arrays that came twice */
  uint32_t gaps, missing_ms, gap_ms; /* of all; where in its curve the first one is */
  const char *why;                   /* English, of the last refusal */
  /* One pass; begin with phd_curves_begin(). */
  bool first_pass;
  unsigned n_seen;
  uint32_t repeated_apdu, gap_apdu; /* that were counted last */
  struct phd_running {
    bool on, unknown;
    unsigned curve;
    uint32_t apdu, association; /* that brought the last array, */
    uint16_t report;            /* the number of its report, */
    int64_t next_us;            /* what the stamp after it should be, */
    int64_t stamp_us;           /* its own, */
    uint32_t samples, hash;     /* what it held; without a stamp: what the report held */
  } running[PHD_OBJECTS_MAX];
};

void phd_curves_begin(struct phd_curves *c, bool first_pass);
/* What follows continues no curve: another segment, or none any more. */
void phd_curves_break(struct phd_curves *c);

struct phd_array_context {
  unsigned object;            /* its index in the model */
  uint32_t apdu, association; /* numbers of these */
  bool stored;
  struct phd_moment moment;
};

/* Finds the place of an observation's samples. -EPROTO or -ERANGE with c->why. */
int phd_curves_place(struct phd_curves *c, const struct phd_array_context *context, const struct phd_report *report,
                     const struct phd_observation *ob, struct phd_place *ret);

/* After the first pass: which trial each curve belongs to. A curve joins the reading that was made while it was drawn,
 * and is a trial of its own where there is none; what has no time belongs to the session, or was stored by itself.
 * -EPROTO. */
int phd_curves_settle(struct phd_curves *c, struct phd_trials *trials);

#endif
