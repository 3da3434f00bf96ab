#include "dicom_job.h"

#include "fundus.h"
#include "str.h"
#include "wall.h"
#include <asalee/export.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INSTANCE_NAME_MAX 96

/* ---- UIDs ---- */

void dicom_uid_of_uuid(const uint8_t uuid[static DICOM_UUID_BYTES], char ret[static DICOM_UID_MAX]) {
  uint8_t left[DICOM_UUID_BYTES];
  char digits[40], *at = digits + sizeof digits; /* 2^128 has 39 */
  bool zero;
  memcpy(left, uuid, sizeof left);
  *--at = 0;
  do { /* long division: the remainder is the next digit from the right */
    unsigned remainder = 0;
    zero = true;
    for (size_t i = 0; i < sizeof left; i++) {
      unsigned part = remainder << 8 | left[i];
      left[i] = (uint8_t)(part / 10);
      remainder = part % 10;
      zero &= !left[i];
    }
    *--at = (char)('0' + remainder);
  } while (!zero);
  snprintf(ret, DICOM_UID_MAX, "2.25.%s", at);
}

void dicom_uid(const uint8_t site[static DICOM_UUID_BYTES], const char *name, char ret[static DICOM_UID_MAX]) {
  uint8_t text[DICOM_UUID_BYTES + INSTANCE_NAME_MAX], hash[HASH_BYTES];
  size_t n = strnlen(name, INSTANCE_NAME_MAX);
  memcpy(text, site, DICOM_UUID_BYTES);
  memcpy(text + DICOM_UUID_BYTES, name, n);
  hash_sha256(text, DICOM_UUID_BYTES + n, hash);
  hash[6] = (uint8_t)((hash[6] & 0x0f) | 0x80); /* version 8 */
  hash[8] = (uint8_t)((hash[8] & 0x3f) | 0x80); /* its variant */
  dicom_uid_of_uuid(hash, ret);
}

/* ---- the job ---- */

void dicom_key_text(const struct dicom_key *key, char ret[static DICOM_KEY_MAX]) {
  char record[STR_REF_MAX];
  str_ref('R', key->record, record);
  if (key->number)
    snprintf(ret, DICOM_KEY_MAX, "%s/%lld", record, (long long)key->number);
  else
    snprintf(ret, DICOM_KEY_MAX, "%s", record);
}

void dicom_job_finish(struct dicom_job *job) {
  free(job->json);
  *job = (struct dicom_job){0};
}

/* What people said of the picture and of the pupil, as it stands now. */
static int picture_json(struct store *s, const struct dicom_key *key, json_t **ret) {
  struct rows r =
      store_query(s,
                  "SELECT l.laterality, l.field, u.dilated, u.agents, u.degree_mm FROM record r"
                  " JOIN picture p ON p.record = r.id AND p.number = ?2"
                  " JOIN picture_label l ON l.id = " FUNDUS_LABEL_ID
                  " JOIN pupil u ON u.id = (SELECT max(id) FROM pupil WHERE study = r.study) AND u.dilated IS NOT NULL"
                  " WHERE r.id = ?1 AND l.laterality IS NOT NULL",
                  "ii", key->record, key->number);
  json_t *fundus = NULL;
  bool there = rows_next(&r);
  if (there)
    fundus =
        json_pack("{s:{s:o, s:s?, s:b}, s:s, s:s, s:I}", "dilation", "agents", json_loads(rows_text(&r, 3), 0, NULL),
                  "degree_mm", rows_text(&r, 4), "dilated", (int)rows_int(&r, 2), "field", rows_text(&r, 1),
                  "laterality", rows_text(&r, 0), "picture", (json_int_t)key->number);
  int err = rows_finish(&r);
  if (err == 0 && !fundus)
    err = there ? -ENOMEM : -ENOENT;
  if (err < 0) {
    json_decref(fundus);
    return err;
  }
  *ret = fundus;
  return 0;
}

#define DESCRIBE                                                                                               \
  "SELECT o.act, o.id, o.at, y.id, y.accepted, y.height_mm, r.sha256, coalesce(p.sha256, r.samples), "         \
  "coalesce(a.device, ''),"                                                                                    \
  " q.id, v.birth_date, v.family, v.given, v.sex, s.uid, (SELECT count(*) FROM record r2 LEFT JOIN picture p2" \
  " ON p2.record = r2.id WHERE r2.study = y.id AND (r2.id, coalesce(p2.number, 0)) <= (?1, ?2)), v.version,"   \
  " y.created, r.at"                                                                                           \
  " FROM record r JOIN study y ON y.id = r.study JOIN orders o ON o.id = y.orders"                             \
  " JOIN acquisition a ON a.id = r.acquisition JOIN patient q ON q.id = o.patient"                             \
  " JOIN patient_version v ON v.patient = q.id AND v.version = q.version JOIN site s"                          \
  " LEFT JOIN picture p ON p.record = r.id AND p.number = ?2 WHERE r.id = ?1 AND (?2 = 0) = (p.number IS NULL)"

/* A row of DESCRIBE as a job. */
static json_t *job_json(const struct rows *r, struct devices *devices, const struct dicom_key *key, json_t *fundus) {
  char study[STR_REF_MAX], order[STR_REF_MAX], item[DICOM_KEY_MAX], name[INSTANCE_NAME_MAX], height[DEC_TEXT_MAX];
  char study_uid[DICOM_UID_MAX], series_uid[DICOM_UID_MAX], instance_uid[DICOM_UID_MAX];
  const char *act = rows_text(r, 0);
  size_t site_bytes;
  const uint8_t *site = rows_blob(r, 14, &site_bytes); /* 16: the table's own rule */
  str_ref('S', rows_int(r, 3), study);
  str_ref('O', rows_int(r, 1), order);
  dicom_key_text(key, item);
  /* With the moment they were written: after a backup was put back, the same numbers are given again, to others. */
  snprintf(name, sizeof name, "study %s %lld", study, (long long)rows_int(r, 17));
  dicom_uid(site, name, study_uid);
  snprintf(name, sizeof name, "series %s %lld %s", study, (long long)rows_int(r, 17), act);
  dicom_uid(site, name, series_uid);
  snprintf(name, sizeof name, "record %s %lld%s", item, (long long)rows_int(r, 18), key->whole ? " whole" : "");
  dicom_uid(site, name, instance_uid);
  dec_format((struct dec){(int32_t)rows_int(r, 5), -1}, height);
  const struct device *device = devices_find(devices, rows_text(r, 8));
  return json_pack("{s:o, s:s, s:O, s:s?, s:{s:I, s:s}, s:s, s:{s:b, s:b}, s:{s:s, s:s, s:s, s:s, s:s}, s:s,"
                   " s:{s:i, s:s}, s:s, s:{s:s, s:o, s:s}}",
                   "accepted", json_time(rows_int(r, 4)), "act", act, "fundus", fundus, "height_cm",
                   rows_is_null(r, 5) ? NULL : height, "instance", "number", (json_int_t)rows_int(r, 15), "uid",
                   instance_uid, "order", order, "parts", "device", (int)key->whole, "statements", (int)key->whole,
                   "patient", "birth_date", rows_text(r, 10), "family", rows_text(r, 11), "given", rows_text(r, 12),
                   "id", rows_text(r, 9), "sex", rows_text(r, 13), "schema", EXPORT_SCHEMA, "series", "number", 1,
                   "uid", series_uid, "station", device ? device->conf.label : rows_text(r, 8), "study", "id", study,
                   "ordered", json_time(rows_int(r, 2)), "uid", study_uid);
}

int dicom_job_make(struct store *s, struct devices *devices, const struct dicom_key *key, struct dicom_job *ret) {
  _json_cleanup_ json_t *fundus = NULL, *json = NULL;
  struct dicom_job job = {0};
  int err = key->number ? picture_json(s, key, &fundus) : 0;
  if (err == 0 && !fundus)
    fundus = json_null();
  if (err < 0)
    return err;
  struct rows r = store_query(s, DESCRIBE, "ii", key->record, key->number);
  bool there = rows_next(&r);
  if (there) {
    json = job_json(&r, devices, key, fundus);
    job.patient_version = rows_int(&r, 16);
    str_copy(job.record, sizeof job.record, rows_text(&r, 6));
    str_copy(job.data, sizeof job.data, rows_is_null(&r, 7) ? "" : rows_text(&r, 7));
  }
  err = rows_finish(&r);
  if (err == 0 && !there)
    err = -ENOENT;
  if (err == 0 && (!json || !(job.json = json_canonical(json, &job.json_bytes))))
    err = -ENOMEM;
  if (err == 0 && job.json_bytes > EXPORT_JOB_MAX)
    err = -EFBIG;
  if (err < 0) {
    dicom_job_finish(&job);
    return err;
  }
  *ret = job;
  return 0;
}
