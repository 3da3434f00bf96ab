#include "job.h"

#include "check.h"
#include "str.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NUMBER_MAX INT32_MAX

static int no(char reason[static 256], const char *why) {
  snprintf(reason, 256, "the job: %s", why);
  return -EPROTO;
}

static bool is_text(const json_t *object, const char *key, size_t min, size_t max_bytes, const char **ret) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_string(value) || json_string_length(value) < min || json_string_length(value) > max_bytes ||
      !str_is_clean_utf8(json_string_value(value), json_string_length(value)))
    return false;
  *ret = json_string_value(value);
  return true;
}

static bool is_one_of(const json_t *object, const char *key, const char *const *names, const char **ret) {
  const char *text = json_text(object, key);
  for (; text && *names; names++)
    if (!strcmp(text, *names)) {
      *ret = *names;
      return true;
    }
  return false;
}

static bool is_flag(const json_t *object, const char *key, bool *ret) {
  const json_t *value = json_object_get(object, key);
  *ret = json_is_true(value);
  return json_is_boolean(value);
}

static bool is_uid(const json_t *object, const char **ret) {
  return is_text(object, "uid", 1, JOB_UID_MAX, ret) && check_uid(*ret, strlen(*ret));
}

static bool is_time(const json_t *object, const char *key, struct wall *ret) {
  const char *text = json_text(object, key);
  return text && wall_parse(text, ret) == 0;
}

/* A decimal within [low, high], or null. */
static bool is_dec_or_null(const json_t *object, const char *key, struct dec low, struct dec high, bool *ret_has,
                           struct dec *ret) {
  const json_t *value = json_object_get(object, key);
  *ret_has = !json_is_null(value);
  return json_is_null(value) || (json_is_string(value) && dec_parse(json_string_value(value), ret) == 0 &&
                                 dec_cmp(*ret, low) >= 0 && dec_cmp(*ret, high) <= 0);
}

/* What the identity of an object hangs on is never cut to what DICOM allows: longer than that is refused. */
#define ID_MAX 64
#define SHORT_MAX 16

static bool is_id(const json_t *object, const char *key, size_t max, const char **ret) {
  return is_text(object, key, 1, max, ret) && !strchr(*ret, '\\');
}

static int read_patient(struct job *job, const json_t *patient, char reason[static 256]) {
  static const char *const sexes[] = {"F", "M", "U", NULL};
  if (!json_has_only(patient, "birth_date family given id sex") || !is_id(patient, "id", ID_MAX, &job->patient_id) ||
      !is_text(patient, "family", 0, 1024, &job->family) || !is_text(patient, "given", 0, 1024, &job->given) ||
      !is_text(patient, "birth_date", 10, 10, &job->birth_date) || !wall_is_date(job->birth_date) ||
      !is_one_of(patient, "sex", sexes, &job->sex))
    return no(reason, "the patient is not in the form of a patient");
  return 0;
}

static const struct agent agents[] = {
#define X(name, code, meaning, label) {name, code, meaning},
    EXPORT_AGENTS(X)
#undef X
};

static bool read_agents(struct job *job, const json_t *list) {
  size_t i;
  json_t *item;
  if (!json_is_array(list) || json_array_size(list) > JOB_AGENTS_MAX)
    return false;
  json_array_foreach(list, i, item) {
    const struct agent *found = NULL;
    for (size_t k = 0; k < sizeof agents / sizeof *agents && json_is_string(item); k++)
      if (!strcmp(agents[k].name, json_string_value(item)))
        found = &agents[k];
    for (size_t k = 0; k < job->fundus.n_agents; k++)
      if (found && job->fundus.agents[k].name == found->name)
        return false;
    if (!found)
      return false;
    job->fundus.agents[job->fundus.n_agents++] = *found;
  }
  return true;
}

static int read_fundus(struct job *job, const json_t *fundus, char reason[static 256]) {
  static const char *const sides[] = {"L", "R", NULL}, *const fields[] = {"macula", "disc", "other", NULL};
  const struct dec degree_low = {1, 0}, degree_high = {15, 0};
  const char *side;
  if (job->act != ACQ_FUNDUS)
    return json_is_null(fundus) ? 0 : no(reason, "only a fundus has pictures");
  const json_t *dilation = json_object_get(fundus, "dilation");
  if (!json_has_only(fundus, "dilation field laterality picture") ||
      json_int(fundus, "picture", 1, NUMBER_MAX, &job->fundus.picture) < 0 ||
      !is_one_of(fundus, "laterality", sides, &side) || !is_one_of(fundus, "field", fields, &job->fundus.field))
    return no(reason, "the picture is not in its form");
  job->fundus.laterality = *side;
  if (!json_has_only(dilation, "agents degree_mm dilated") || !is_flag(dilation, "dilated", &job->fundus.dilated) ||
      !is_dec_or_null(dilation, "degree_mm", degree_low, degree_high, &job->fundus.has_degree,
                      &job->fundus.degree_mm) ||
      !read_agents(job, json_object_get(dilation, "agents")) ||
      (!job->fundus.dilated && (job->fundus.has_degree || job->fundus.n_agents)))
    return no(reason, "the dilation is not in its form");
  return 0;
}

static int read_members(struct job *job, char reason[static 256]) {
  const json_t *j = job->json, *study = json_object_get(j, "study"), *series = json_object_get(j, "series"),
               *instance = json_object_get(j, "instance"), *parts = json_object_get(j, "parts");
  const struct dec height_low = {20, 0}, height_high = {300, 0};
  const char *schema, *act;
  if (!json_has_only(j, "accepted act fundus height_cm instance order parts patient schema series station study") ||
      !is_text(j, "schema", 1, 64, &schema) || strcmp(schema, EXPORT_SCHEMA))
    return no(reason, "not in the form of " EXPORT_SCHEMA);
  if (!is_text(j, "act", 1, 64, &act) || !(job->act = acq_modality_find(act)))
    return no(reason, "no such act");
  if (!is_time(j, "accepted", &job->accepted) || !is_id(j, "order", SHORT_MAX, &job->order) ||
      !is_text(j, "station", 0, 256, &job->station) ||
      !is_dec_or_null(j, "height_cm", height_low, height_high, &job->has_height, &job->height_cm))
    return no(reason, "a member is not in its form");
  if (!json_has_only(study, "id ordered uid") || !is_id(study, "id", SHORT_MAX, &job->study_id) ||
      !is_time(study, "ordered", &job->ordered) || !is_uid(study, &job->study_uid))
    return no(reason, "the study is not in its form");
  if (!json_has_only(series, "number uid") || !is_uid(series, &job->series_uid) ||
      json_int(series, "number", 0, NUMBER_MAX, &job->series_number) < 0)
    return no(reason, "the series is not in its form");
  if (!json_has_only(instance, "number uid") || !is_uid(instance, &job->instance_uid) ||
      json_int(instance, "number", 0, NUMBER_MAX, &job->instance_number) < 0)
    return no(reason, "the instance is not in its form");
  if (!strcmp(job->study_uid, job->series_uid) || !strcmp(job->study_uid, job->instance_uid) ||
      !strcmp(job->series_uid, job->instance_uid))
    return no(reason, "study, series and instance share a UID");
  if (!json_has_only(parts, "device statements") || !is_flag(parts, "device", &job->device) ||
      !is_flag(parts, "statements", &job->statements))
    return no(reason, "the parts are not in their form");
  int r = read_patient(job, json_object_get(j, "patient"), reason);
  return r < 0 ? r : read_fundus(job, json_object_get(j, "fundus"), reason);
}

int job_read(const char *text, size_t n, struct job *ret, char reason[static 256]) {
  struct job job = {0};
  char why[256];
  if (n > EXPORT_JOB_MAX)
    return no(reason, "longer than a job");
  int r = json_read(text, n, &job.json, why);
  if (r < 0) /* its own reason quotes the text */
    return r == -EPROTO ? no(reason, "not JSON") : (snprintf(reason, 256, "no memory"), r);
  if (r == 0)
    r = read_members(&job, reason);
  if (r < 0) {
    job_finish(&job);
    return r;
  }
  *ret = job;
  return 0;
}

void job_finish(struct job *job) {
  json_decref(job->json);
  job->json = NULL;
}
