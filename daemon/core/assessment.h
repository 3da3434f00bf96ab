/* What the daemon makes of a study's readings: the technical quality of a spirometry's blows, for the nurse. Made anew
 * whenever a reading comes or is set aside, kept each time: what she was shown can be told later. */
#ifndef ASALEED_ASSESSMENT_H
#define ASALEED_ASSESSMENT_H

#include "artefact.h"
#include "worklist.h"

/* Inside an act, once the study's records are as they stand. Nothing for acts other than spirometry. A session whose
 * grades are poor must be confirmed by the nurse (study.clean). What stands in the way of judging (a damaged artefact)
 * is logged: only errors of the store come back. */
int assessment_make(struct store *s, struct artefacts *a, const struct study *study, int64_t now);

/* The newest, as spirometry.h describes it with "record" as "R-<id>"; NULL when there is none. */
int assessment_find(struct store *s, int64_t study, json_t **ret);

#endif
