/* The rows of include/asalee/nomenclature.def that only the model looks up. */
#ifndef ASALEED_NOMENCLATURE_H
#define ASALEED_NOMENCLATURE_H

#include <asalee/record.h>

struct quality {
  const char *code, *severity, *text; /* severity: info, check, unusable; text: French, at most one %s */
};

const struct quality *quality_find(const char *code);     /* NULL when there is none */
const struct electrode *electrode_find(const char *code); /* by "R", "C1", ...; NULL when there is none */

#endif
