/* Reading a job (include/asalee/export.h has its form): every member is there and right, no other is. */
#ifndef ASALEED_JOB_H
#define ASALEED_JOB_H

#include "json.h"
#include "wall.h"
#include <asalee/export.h>
#include <asalee/record.h>

/* The longest UID of a job: one arc fewer than DICOM's 64 characters, as a series' time frame hangs below it. */
#define JOB_UID_MAX 62
#define JOB_AGENTS_MAX 8

struct agent {
  const char *name, *code, *meaning; /* SNOMED CT, English */
};

struct job {
  json_t *json; /* holds the texts */
  enum acq_modality act;
  struct wall accepted, ordered;
  const char *order, *station, *study_id, *study_uid, *series_uid, *instance_uid;
  const char *patient_id, *family, *given, *birth_date, *sex; /* YYYY-MM-DD; F, M, U */
  int64_t series_number, instance_number;
  bool statements, device; /* what may be in the object */
  bool has_height;
  struct dec height_cm;
  struct {             /* of a fundus job */
    int64_t picture;   /* its number in the record */
    char laterality;   /* L, R */
    const char *field; /* macula, disc, other */
    bool dilated, has_degree;
    struct dec degree_mm;
    struct agent agents[JOB_AGENTS_MAX];
    size_t n_agents;
  } fundus;
};

/* 0; -EPROTO or -ENOMEM with a reason that holds nothing of the job. The caller owns *ret (job_finish). */
int job_read(const char *text, size_t n, struct job *ret, char reason[static 256]);
void job_finish(struct job *job);

#endif
