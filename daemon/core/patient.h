/* Patients: identity by the practice software's id and traits, in versions that are never changed. */
#ifndef ASALEED_PATIENT_H
#define ASALEED_PATIENT_H

#include "people.h"

#define PATIENT_ID_MAX 64
#define PATIENT_NAME_MAX 128

struct patient {
  char id[PATIENT_ID_MAX + 1];
  char family[PATIENT_NAME_MAX], given[PATIENT_NAME_MAX];
  char birth_date[11]; /* YYYY-MM-DD */
  char sex[2];         /* M, F, U */
  char ins[16];        /* the national identity's matricule with its key, "" = none */
  char ins_oid[32];    /* of its authority */
  char ins_status[16]; /* provisional, retrieved, validated, qualified */
  int64_t version, updated;
};

bool patient_id_ok(const char *id);
enum problem patient_find(struct store *s, const char *id, struct patient *ret);
/* Creates the patient or makes a new version of it; the same data again changes nothing. if_match: the version the
 * caller knows, 0 = none (only a new patient or no change passes), -1 = any that is there. *ret_new says whether it was
 * created. */
enum problem patient_put(struct store *s, const struct actor *by, struct patient *p, int64_t if_match, bool *ret_new);

/* The patient with this INS matricule (newest versions only), of those whom the caller may know of: P_ins_ambiguous
 * when two have it. */
enum problem patient_by_ins(struct store *s, const struct caller *c, const char *ins,
                            char ret_id[static PATIENT_ID_MAX + 1]);

#endif
