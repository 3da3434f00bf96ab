/*
 * trial: a blow into a simulated spirometer, and the numbers that a spirometer makes of it.
 */
#ifndef ASALEED_SIM_TRIAL_H
#define ASALEED_SIM_TRIAL_H

#include "blow.h"

#include <stdbool.h>

#define TRIAL_RATE_HZ 100u

/* The patient's number-th blow of "PATTERN DEFECT" (each may be left out, in any order): always the same chest for a
 * seed, and 2 % at most between its blows. False for a word that is neither. */
bool trial_choose(const char *words, uint64_t seed, unsigned number, struct blow_options *ret);

/* Volumes L, flows L/s, time s. A volume by a time when the blow was over is all that was expired. */
struct trial_values {
  double fvc, fev05, fev075, fev1, fev3, fev6, bev;
  double pef, fef25, fef50, fef75, fef25_75;
  double peak_s; /* time zero to peak flow */
};

/* From the samples, as an instrument must: with a false zero it is as wrong as one. 0, -ENOMEM. */
int trial_measure(const struct blow_options *blow, struct trial_values *ret);

#endif
