/* A reading becomes one of an order's study by somebody's decision: from the tray, or from a study whose patient it was
 * not. Everything here runs inside the caller's act. */
#ifndef ASALEED_ATTACH_H
#define ASALEED_ATTACH_H

#include "identity.h"
#include "reading.h"

#define ATTACH_REASON_MAX 500 /* bytes */

struct attach {
  const struct conf *conf;
  const struct caller *caller;
  int64_t order;
  const char *birth_date; /* of the order's patient, as whoever attaches knows it: the second factor */
  const char *ins;        /* the matricule that was scanned with it, or NULL */
  const char *reason;     /* NULL where none was given */
  bool confirm;
};

struct attached {
  struct study study; /* the order's newest */
  int64_t delegation; /* under which, 0 = none */
  struct patient patient;
  struct identity_check check; /* of the reading that was looked at last */
};

/* May the order's study take this reading (a record's JSON)? As who acquires it, a nurse attaches only what the
 * protocol and a delegation let her (study_may_acquire()). P_identity_mismatch: not the patient's birth date.
 * P_wrong_act, P_wrong_state, P_not_found. P_subject_differs: the file says another patient, which takes a confirmation
 * and a reason. */
enum problem attach_check(struct store *s, const struct attach *at, const json_t *record, struct attached *ret);

/* For the audit trail. */
json_t *attach_detail(const struct attach *at, const struct attached *attached, int64_t record);

/* Once readings came to a study or left it: whether it is one to confirm, and what the daemon makes of its readings.
 * Refreshes *study. */
enum problem attach_settle(struct store *s, struct artefacts *a, struct study *study, int64_t now);

/* Of a record that stands in its study's list: whether its file names somebody else than the patient, true only where
 * that was so when it was attached; null when the file cannot be read any more. For `reasons` also who said that it is
 * the patient's nevertheless, {"at","by","reason"} or null: free text about a patient. */
int attach_doubt(struct store *s, struct artefacts *a, int64_t record, const struct patient *patient, bool reasons,
                 json_t **ret_differs, json_t **ret_confirmed);

/* Moves these records from their study to the order's: they were another patient's. What was interpreted of them is
 * withdrawn. Both studies are new versions then, *from among them. P_invalid_field: not all are records of the study
 * that stand, or the order is its own. */
enum problem attach_reassign(struct store *s, struct artefacts *a, struct study *from, const int64_t *records, size_t n,
                             const struct attach *at, struct study *ret_to);

/* [{"at","became":"R-9","by","from":"S-3","reason","record":"R-5","to":"S-8"}...] of a study, either way; a reason is
 * free text about a patient: absent unless `reasons`. */
int attach_reassignments(struct store *s, int64_t study, bool reasons, json_t **ret);

#endif
