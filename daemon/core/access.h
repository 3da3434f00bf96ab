/* For which patient: whom a caller may know of at all. What lies outside is answered as if it were not there, so that
 * ids cannot be tried out.
 *
 * nurse            patients of a follow-up that is hers, or of a GP who delegates its protocol to her today; patients
 *                  without any follow-up, so that one can be opened
 * gp               every patient of the practice
 * ophthalmologist  studies that are, or were, referred to that role; their patients
 * lgc, admin       every patient (mask.h decides what of them)
 * auditor          nobody */
#ifndef ASALEED_ACCESS_H
#define ASALEED_ACCESS_H

#include "people.h"

/* P_OK, or P_not_found. A patient that does not exist passes: it has nothing to see. */
enum problem access_patient(struct store *s, const struct caller *c, const char *patient);
enum problem access_study(struct store *s, const struct caller *c, int64_t study, const char *patient);

/* The tables that say who may call, as whom, and know of whom: all that these functions and those of people.h read,
 * NULL at the end. While none changes (store_sum()) and the day is the same, the same callers get the same. */
extern const char *const access_tables[];

/* SQL: the rows of a list that the caller may see. Parameters: the nurse's RPPS ('' = no nurse: every row) and the day;
 * patient_ is a column of the list, whose tables are not called xf or xt here. */
#define ACCESS_NURSE(rpps, day, patient_)                                                                           \
  "(" rpps " = '' OR NOT EXISTS(SELECT 1 FROM followup xf WHERE xf.patient = " patient_                             \
  ") OR EXISTS(SELECT 1 FROM followup xf JOIN followup_team xt ON xt.id = (SELECT max(id) FROM followup_team WHERE" \
  " followup = xf.id) WHERE xf.patient = " patient_ " AND (xt.nurse = " rpps                                        \
  " OR " REGISTRY_IN_FORCE(day, rpps, "xt.gp", "xf.protocol") ")))"
/* What to bind for rpps. A nurse without a registered number sees nobody's follow-up. */
const char *access_rpps(const struct caller *c);

#endif
