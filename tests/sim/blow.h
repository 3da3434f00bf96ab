/*
 * blow: a parametric model of forced expiration, with its exact truth, for simulated spirometers.
 *
 * Pure and deterministic: same parameters, same samples. Volumes in litres BTPS, expired positive; flows in L/s,
 * expired positive; times in seconds since the recording began.
 */
#ifndef ASALEED_SIM_BLOW_H
#define ASALEED_SIM_BLOW_H

#include <stddef.h>
#include <stdint.h>

enum blow_pattern { BLOW_NORMAL, BLOW_OBSTRUCTIVE, BLOW_RESTRICTIVE, BLOW_PATTERNS };

/* One defect of the manoeuvre at most. */
enum blow_defect {
  BLOW_CLEAN,
  BLOW_SLOW_START,      /* hesitation: large back-extrapolated volume */
  BLOW_SLOW_RISE,       /* no blast: long rise to the peak flow, back-extrapolated volume still within limits */
  BLOW_COUGH,           /* within the first second */
  BLOW_LATE_COUGH,      /* after the first second */
  BLOW_GLOTTIC_CLOSURE, /* flow stops abruptly within the first second and does not come back */
  BLOW_LATE_GLOTTIC_CLOSURE,
  BLOW_EARLY_STOP,             /* the patient stops before a plateau */
  BLOW_BAD_ZERO,               /* flow offset: the volume drifts while nobody blows */
  BLOW_INCOMPLETE_INSPIRATION, /* the inspiration after the blow is much larger than the FVC */
  BLOW_DEFECTS
};

struct blow_options {
  enum blow_pattern pattern;
  enum blow_defect defect;
  unsigned rate_hz; /* 100..1000 */
  double scale;     /* of the lungs: 1.0 = the pattern's adult */
  double noise;     /* standard deviation of the flow noise, L/s; 0 for none */
  uint64_t seed;
};

/* Computed from the model in continuous time (fine steps of its own), not from the samples. NAN where it has no
 * meaning for this blow. */
struct blow_truth {
  double fvc, fev1, fev6, pef, bev; /* L, L, L, L/s, L */
  double fef25_75;                  /* L/s */
  double fet, rise;                 /* s: forced expiratory time from time zero; 10 % to 90 % of peak flow */
  double time_zero;                 /* s since the recording began, by back extrapolation */
  double fivc;                      /* L, of the inspiration after the blow; NAN without one */
};

struct blow {
  size_t n;
  unsigned rate_hz;
  double *volume, *flow; /* [n] at i / rate_hz; owned */
  struct blow_truth truth;
};

/* 0, -EINVAL, -ENOMEM. */
int blow_make(const struct blow_options *options, struct blow *ret);
void blow_finish(struct blow *blow);

const char *blow_pattern_name(enum blow_pattern p); /* "normal", "obstructive", "restrictive" */
const char *blow_defect_name(enum blow_defect d);   /* "clean", "slow-start", "late-glottic-closure", ... */

#endif
