/* What each role gets of a patient, a study and a record: one table, read where the JSON is made, never in a page. */
#ifndef ASALEED_MASK_H
#define ASALEED_MASK_H

#include "conf.h"
#include "json.h"
#include "people.h"

enum part {
  PART_IDENTITY,   /* the patient's name, birth date, sex, national identity */
  PART_QUALITY,    /* of what kind a reading is, whether it is whole, how good it is technically */
  PART_ACQUIRED,   /* values, channels, previews of pictures */
  PART_DEVICE,     /* what the instrument and its adapter say of themselves: texts they choose freely */
  PART_STATEMENTS, /* the instrument's own interpretation, and hashes that cover it */
  PART_DERIVED,    /* predicted values, z-scores, limits of normal */
  PART_CONCLUSION, /* normal, abnormal, uninterpretable: as signed */
  PART_REPORT,     /* the findings and the text, as signed; who read it, and what readers wrote to each other */
  PARTS
};

/* Who looks at what. */
struct view {
  enum role role;
  int before, after; /* enum conf_sees_before, conf_sees_after: what the study's protocol shows a nurse */
  bool is_signed;
};
struct view view_of(enum role role); /* without a study */
/* Of a reading that nobody has said yet whose it is: no more than the strictest of the protocols shows of such an act.
 */
struct view view_of_any(enum role role, const struct conf *conf, enum acq_modality act);

bool mask_shows(const struct view *v, enum part part);

/* A copy of the record's JSON with only what the view gets; a part that is withheld is absent. */
json_t *mask_record(const json_t *record, const struct view *v);
/* The same of an assessment (assessment.h). */
json_t *mask_assessment(const json_t *assessment, const struct view *v);

#endif
