/* What one DICOM object is made of: the job that an export process gets (asalee/export.h), and the object's UIDs. */
#ifndef ASALEED_DICOM_JOB_H
#define ASALEED_DICOM_JOB_H

#include "device.h"
#include "hash.h"
#include "store.h"

/* Which object: of a record, or of one picture of it; whole = with the instrument's statements and what it says of
 * itself, for the roles that get them (mask.h). */
struct dicom_key {
  int64_t record, number; /* number: of the picture, 0 for a record without pictures */
  bool whole;
};

#define DICOM_KEY_MAX 64
/* "R-3" or "R-3/2": what log lines call it. */
void dicom_key_text(const struct dicom_key *key, char ret[static DICOM_KEY_MAX]);

struct dicom_job {
  char *json; /* canonical, owned */
  size_t json_bytes;
  char record[HASH_TEXT], data[HASH_TEXT]; /* artefacts; data "" when there is none */
  int64_t patient_version;                 /* of the identity in it */
};

/* Reads the database only. -ENOENT when there is no such record or picture, or a picture has no label or no word on
 * the pupil. */
int dicom_job_make(struct store *s, struct devices *devices, const struct dicom_key *key, struct dicom_job *ret);
void dicom_job_finish(struct dicom_job *job);

#define DICOM_UID_MAX 65 /* 64 characters (DICOM PS3.5, 9) and a NUL */
#define DICOM_UUID_BYTES 16

/* A UUID as a UID: "2.25." and its 128 bits as a decimal number (PS3.5, B.2). */
void dicom_uid_of_uuid(const uint8_t uuid[static DICOM_UUID_BYTES], char ret[static DICOM_UID_MAX]);
/* The UID of something of the site, always the same: a UUID of version 8 (RFC 9562) from the first 128 bits of the
 * SHA-256 over the site's own 128 bits and the name. */
void dicom_uid(const uint8_t site[static DICOM_UUID_BYTES], const char *name, char ret[static DICOM_UID_MAX]);

#endif
