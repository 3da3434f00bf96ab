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

/*
 * One defect of the manoeuvre at most, each plain by the criteria of ATS/ERS 2019; a clean blow fulfils them all: rise
 * below 150 ms, at least 6 s, at most 15 mL in the last second. Between 0.6 and 1 s of rest come first. About every
 * second blow (the seed's choice) is followed by an inspiration, of a little less than what was expired; the recording
 * ends 0.3 s after the last movement.
 */
enum blow_defect {
  BLOW_CLEAN,
  BLOW_SLOW_START,      /* hesitation: large back-extrapolated volume */
  BLOW_SLOW_RISE,       /* no blast: long rise to the peak flow, back-extrapolated volume still within limits */
  BLOW_COUGH,           /* within the first second */
  BLOW_LATE_COUGH,      /* after the first second */
  BLOW_GLOTTIC_CLOSURE, /* flow stops abruptly within the first second; the volume is flat for 2.5 s */
  BLOW_LATE_GLOTTIC_CLOSURE,
  BLOW_EARLY_STOP, /* before a plateau: the recording is cut at 0.1 to 0.22 L/s, or the patient breathes in */
  BLOW_BAD_ZERO,   /* flow offset of either sign, 0.06 to 0.10 L/s, through the whole recording */
  BLOW_INCOMPLETE_INSPIRATION, /* the inspiration after the blow exceeds the FVC by 0.3 L at least */
  BLOW_DEFECTS
};

struct blow_options {
  enum blow_pattern pattern;
  enum blow_defect defect;
  unsigned rate_hz; /* 100..1000 */
  double scale;     /* of the lungs: 0.6..2, 1.0 = the pattern's adult */
  double noise;     /* standard deviation of the flow noise, 0..1 L/s; without drift: white in the volume */
  uint64_t seed;    /* varies volumes and time constants by 3 %; the same chest whatever the defect */
};

/*
 * Computed from the model in continuous time (fine steps of its own), not from the samples: of the flawed blow, as a
 * perfect spirometer would, without noise. NAN where it has no meaning for this blow: FEV6 when it was over by then,
 * everything with BLOW_BAD_ZERO.
 */
struct blow_truth {
  double fvc, fev1, fev6, pef, bev; /* L, L, L, L/s, L */
  double fef25_75;                  /* L/s */
  double fet, rise;                 /* s: time zero to where the FVC is first reached; 10 % to 90 % of peak flow */
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
