/* Whose reading is it: what a file says of its patient beside what is known of the patient of an order. */
#ifndef ASALEED_IDENTITY_H
#define ASALEED_IDENTITY_H

#include "json.h"
#include "patient.h"

/* ABSENT: one of the two says nothing. */
enum agreement { ABSENT, AGREES, DIFFERS };
const char *agreement_name(enum agreement a); /* "absent", "agrees", "differs" */

struct identity_check {
  enum agreement name, birth_date, id, sex;
};

/* `subject` as in a record: an object, or null. Names are the same whatever their case, accents, hyphens and order of
 * words (a device may have one field for all of them); a file that has less of the given names still agrees. Numbers
 * are the same without the zeros in front. */
struct identity_check identity_check(const json_t *subject, const struct patient *patient);
bool identity_differs(const struct identity_check *c); /* in any */
json_t *identity_json(const struct identity_check *c);

#endif
