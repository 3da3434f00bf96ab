#include "fault.h"
#include "option.h"

#include <string.h>

int fault_set(struct faults *faults, const char *text) {
  const char *names[FAULTS_MAX_KINDS];
  unsigned arg;
  for (unsigned i = 0; i < faults->count; i++)
    names[i] = faults->kinds[i].name;
  int fault = option_fault(text, names, faults->count, &arg);
  if (fault < 0)
    return fault;
  if (fault == 0) {
    memset(faults->on, 0, sizeof(faults->on));
    return 0;
  }
  faults->on[fault] = true;
  faults->arg[fault] = arg ? arg : faults->kinds[fault].standard;
  return fault;
}

bool fault_strikes(struct faults *faults, unsigned fault) {
  bool strikes = faults->on[fault];
  if (strikes && faults->arg[fault] > 0 && --faults->arg[fault] == 0)
    faults->on[fault] = false;
  return strikes;
}
