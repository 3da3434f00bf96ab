/* What each role gets of a record and of a study: decided here, where the JSON is made, never in a page. */
#ifndef ASALEED_MASK_H
#define ASALEED_MASK_H

#include "json.h"
#include "people.h"

enum part {
  PART_IDENTITY,       /* the patient's name, birth date, sex */
  PART_ACQUIRED,       /* values, channels, technical quality */
  PART_DEVICE,         /* what the instrument and its adapter say of themselves: texts they choose freely */
  PART_STATEMENTS,     /* the instrument's own interpretation, and hashes that cover it */
  PART_DERIVED,        /* predicted values, z-scores, limits of normal */
  PART_INTERPRETATION, /* the reader's signed text */
  PARTS
};

bool mask_shows(enum role role, enum part part);

/* A copy of the record's JSON with only what the role gets; a part that is withheld is absent. */
json_t *mask_record(const json_t *record, enum role role);
/* The same of an assessment (assessment.h). */
json_t *mask_assessment(const json_t *assessment, enum role role);

#endif
