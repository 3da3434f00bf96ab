/* The rows of include/asalee/nomenclature.def that only the model looks up. */
#ifndef ASALEED_NOMENCLATURE_H
#define ASALEED_NOMENCLATURE_H

#include <asalee/record.h>

struct quality {
  const char *code, *severity, *text; /* severity: info, check, unusable; text: French, at most one %s */
};

/* The value in the row's own unit when that is a power of ten away, exactly; else as it came. */
void measure_normalise(const struct nomenclature *row, struct dec *value, const struct unit **unit);
/* Against the row's hard range; and its flag against the soft one ("unusually_low", "unusually_high", NULL). */
bool measure_is_possible(const struct nomenclature *row, struct dec value, const struct unit *unit);
const char *measure_flag(const struct nomenclature *row, struct dec value, const struct unit *unit);
/* sample x scale against a limit, however many digits the scale has. */
int sample_cmp(struct dec scale, int32_t sample, struct dec limit);

/* What a quality item may be about, and its French sentence. */
bool quality_subject_ok(const char *subject);
void quality_sentence(const struct quality *q, const char *subject, char text[static 512]);

const struct quality *quality_find(const char *code);     /* NULL when there is none */
const struct electrode *electrode_find(const char *code); /* by "R", "C1", ...; NULL when there is none */

#endif
