/* DICOM objects: made in the background of every accepted study, one per record (per picture where it holds pictures)
 * and variant, by asaleed-export, one process a job and one job at a time.
 *
 * What is to be made is found in the database alone: a record in force of an accepted study, a picture that is labelled
 * and not left out, for which there is no object with the patient's identity as it is now, and which this version of
 * the program has not refused. So a restart goes on where the last run ended, and whoever corrects a name gets objects
 * with the new one, under the same UIDs; those with the old one stay in the store and are given to nobody. A job that
 * fails is tried again after a pause that grows to ten minutes, and the others go on meanwhile; one that crashes or
 * runs out of time is refused the third time.
 *
 * Nothing here blocks the loop: the artefact that a process gets is compared with its hash before, and the object is
 * stored after, a part a turn.
 */
#ifndef ASALEED_DICOM_H
#define ASALEED_DICOM_H

#include "artefact.h"
#include "dicom_job.h"
#include "problem.h"

struct dicom;

struct dicom_parts {
  sd_event *event;
  struct store *store;
  struct artefacts *artefacts;
  struct devices *devices;
  const char *program; /* asaleed-export */
};
/* Begins with all that is to be made, from the loop's first turn on. */
int dicom_open(const struct dicom_parts *parts, struct dicom **ret);
void dicom_close(struct dicom *d); /* ends the running job: the next run makes it again */

/* There may be something to make of this study, once the caller's act is durable: it was accepted, or a record or
 * label of it is new. Costs little when there is not. */
void dicom_wake(struct dicom *d, int64_t study);

/* The same when the identity of a patient was written; costs little when it is as it was. */
void dicom_wake_patient(struct dicom *d, const char *patient);

/* P_OK: there it is. P_dicom_pending: it will be there; P_not_accepted: not before the study is accepted;
 * P_dicom_refused or whatever else keeps it from being made; P_wrong_state: of a study that was cancelled, a record
 * that was replaced, a picture that was left out, and it was not made before. */
enum problem dicom_find(struct dicom *d, const struct dicom_key *key, char ret_sha256[static HASH_TEXT]);

/* The objects of a study's records in force, in one variant: [{"bytes","picture"|null,"record","sha256"}...]. */
int dicom_list(struct store *s, int64_t study, bool whole, json_t **ret);

#endif
