/*
 * fault: which faults a simulated instrument has.
 */
#ifndef ASALEED_SIM_FAULT_H
#define ASALEED_SIM_FAULT_H

#include <stdbool.h>

#define FAULTS_MAX_KINDS 32u

struct fault_kind {
  const char *name;  /* the first of a table is "none", which clears all */
  unsigned standard; /* argument when none is given */
};

struct faults {
  const struct fault_kind *kinds;
  unsigned count;
  bool on[FAULTS_MAX_KINDS];
  unsigned arg[FAULTS_MAX_KINDS];
};

/* "bad-checksum:1": adds it, or sets its argument anew. Its number in the table, or -EINVAL. */
int fault_set(struct faults *faults, const char *text);
/* For faults that strike the next ARG frames, or all when ARG is 0. */
bool fault_strikes(struct faults *faults, unsigned fault);

#endif
