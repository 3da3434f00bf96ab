/*
 * scp_plan: what an SCP-ECG file says of an ECG: reference beat, subtraction and protected zones, and each lead's
 * samples as they are stored (scp_file.h, layers 1 and 2), and what a reader makes of them again.
 */
#ifndef ASALEED_SIM_SCP_PLAN_H
#define ASALEED_SIM_SCP_PLAN_H

#include "scp_file.h"

/* Sample numbers from 1, inclusive. */
struct scp_zone {
  unsigned type, first, fiducial, last;     /* SB, fc, SE */
  unsigned protected_first, protected_last; /* QB, QE */
};

struct scp_line {
  enum ecg12_lead lead;
  unsigned first, last;
  int32_t *beat;   /* beat_n, in steps of the reference beat */
  int32_t *stored; /* stored_n, in steps of the rhythm */
  size_t stored_n;
};

struct scp_plan {
  unsigned interval_us; /* between the recording's samples */
  unsigned decimation, avm_nv, beat_avm_nv;
  bool subtract, has_beat;    /* the reference beat is written wherever something needs it */
  unsigned beat_ms, fiducial; /* fcM, from 1 */
  size_t beat_n;
  unsigned n_zones;
  struct scp_zone zone[256];
  unsigned n_lines;
  struct scp_line line[SCP_LEADS_MAX];
};

/* 0, -EINVAL, -ERANGE, -ENOMEM. *ret is to be finished only after 0. */
int scp_plan_make(struct scp_plan *ret, const struct scp_options *o, const struct ecg12 *ecg);
void scp_plan_finish(struct scp_plan *p);

#endif
