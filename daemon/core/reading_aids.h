/* Aids to the reader of a spirometry, and to nobody else: predicted values, limits of normal, z-scores, the response
 * to a bronchodilator. Switched by the configuration (reference-values), computed from the study's assessment and the
 * table that the site has installed; what the reader was shown when signing is kept with the signature. */
#ifndef ASALEED_READING_AIDS_H
#define ASALEED_READING_AIDS_H

#include "worklist.h"

struct reading_aids;

int reading_aids_open(bool enabled, struct reading_aids **ret);
void reading_aids_close(struct reading_aids *a);

/* The aids of a spirometry as aids.h describes them; NULL for another act, without an assessment, or switched off. The
 * caller shows them to whom the masking policy says. */
enum problem reading_aids_make(struct reading_aids *a, struct store *s, const struct study *study, json_t **ret);

/* Inside an act: the table that holds from now on. P_invalid_field when reference_parse() refuses the text. */
enum problem reading_aids_install(struct store *s, const struct caller *c, const char *name, const char *text);
/* {"installed","by","name","set","sha256"} or null. */
int reading_aids_installed(struct store *s, json_t **ret);

#endif
