#include "assessment.h"

#include "log.h"
#include "reference.h"
#include "spirometry.h"
#include "str.h"
#include "wall.h"
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORDS_MAX 64 /* of one study, the newest; a session has a dozen blows */

struct reading {
  int64_t id;
  json_t *json;
  int16_t *samples;
  size_t n_samples;
};

struct readings {
  struct reading list[RECORDS_MAX];
  size_t n;
  char test_date[11]; /* of the newest */
};

static void readings_finish(struct readings *r) {
  for (size_t i = 0; i < r->n; i++) {
    json_decref(r->list[i].json);
    free(r->list[i].samples);
  }
}

static int load(struct artefacts *a, const char *sha256, const char *samples, struct reading *ret) {
  uint8_t *bytes = NULL;
  size_t n;
  char reason[256];
  int r = artefact_get(a, sha256, RECORD_JSON_MAX, &bytes, &n);
  if (r == 0)
    r = json_read((const char *)bytes, n, &ret->json, reason);
  free(bytes);
  bytes = NULL;
  if (r == 0 && samples) {
    r = artefact_get(a, samples, RECORD_DATA_MAX, &bytes, &n);
    ret->samples = (int16_t *)(void *)bytes; /* stored little endian, as this machine is */
    ret->n_samples = r == 0 ? n / sizeof(int16_t) : 0;
  }
  return r;
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "samples are stored little endian and used as they are");

/* The newest records that stand, oldest first. *ret_bad: what could not be read. */
static int readings_load(struct store *s, struct artefacts *a, int64_t study, struct readings *ret, int *ret_bad) {
  struct rows r =
      store_query(s,
                  "SELECT * FROM (SELECT r.id, r.sha256, r.samples, coalesce(r.taken, a.started), a.offset_minutes"
                  " FROM record r JOIN acquisition a ON a.id = r.acquisition"
                  " WHERE r.study = ? AND r.id NOT IN (SELECT record FROM supersession)"
                  " ORDER BY r.id DESC LIMIT ?) ORDER BY 1",
                  "ii", study, (int64_t)RECORDS_MAX);
  while (*ret_bad == 0 && rows_next(&r)) {
    struct reading *x = &ret->list[ret->n++];
    *x = (struct reading){.id = rows_int(&r, 0)};
    char started[WALL_TEXT_MAX];
    wall_format((struct wall){rows_int(&r, 3), (int16_t)rows_int(&r, 4)}, started);
    snprintf(ret->test_date, sizeof ret->test_date, "%.10s", started);
    *ret_bad = load(a, rows_text(&r, 1), rows_is_null(&r, 2) ? NULL : rows_text(&r, 2), x);
  }
  return rows_finish(&r);
}

/* "record" from the place in the list to the record's id. */
static int name_records(json_t *assessment, const struct readings *readings) {
  size_t p, t;
  json_t *phase, *trial;
  json_array_foreach(json_object_get(assessment, "phases"), p, phase) {
    json_array_foreach(json_object_get(phase, "trials"), t, trial) {
      char ref[32];
      int64_t at;
      if (json_int(trial, "record", 0, (int64_t)readings->n - 1, &at) < 0)
        return -EPROTO;
      str_ref('R', readings->list[at].id, ref);
      if (json_object_set_new(trial, "record", json_string(ref)) < 0)
        return -ENOMEM;
    }
  }
  return 0;
}

/* FEV1 or FVC of some phase is not repeatable enough to go on without a look. */
static bool is_poor(const json_t *assessment) {
  size_t p;
  json_t *phase;
  json_array_foreach(json_object_get(assessment, "phases"), p, phase) {
    static const char *const values[] = {"fev1", "fvc"};
    for (int i = 0; i < 2; i++) {
      const char *grade = json_text(json_object_get(phase, values[i]), "grade");
      if (grade && strlen(grade) == 1 && strchr("DEFU", grade[0]))
        return true;
    }
  }
  return false;
}

static int assess(struct store *s, const struct study *study, const struct readings *readings, json_t **ret) {
  struct spirometry_record records[RECORDS_MAX];
  struct patient patient;
  for (size_t i = 0; i < readings->n; i++)
    records[i] = (struct spirometry_record){
        .json = readings->list[i].json, .samples = readings->list[i].samples, .n_samples = readings->list[i].n_samples};
  if (patient_find(s, study->patient, &patient) != P_OK)
    return -EIO;
  double age = reference_age(patient.birth_date, readings->test_date);
  int r = spirometry_assess(records, readings->n, age < 0 ? (double)NAN : age, ret);
  return r < 0 ? r : name_records(*ret, readings);
}

int assessment_make(struct store *s, struct artefacts *a, const struct study *study, int64_t now) {
  if (act_modality(study->act) != ACQ_SPIROMETRY)
    return 0;
  struct readings readings = {0};
  _json_cleanup_ json_t *assessment = NULL;
  _free_cleanup_ char *text = NULL;
  int bad = 0, r = readings_load(s, a, study->id, &readings, &bad);
  if (r == 0 && bad == 0 && readings.n)
    bad = assess(s, study, &readings, &assessment);
  if (r == 0 && bad == 0 && assessment && !(text = json_canonical(assessment, NULL)))
    bad = -ENOMEM;
  if (bad < 0)
    log_errno(LOG_ERROR, bad, "study S-%lld: its blows cannot be judged", (long long)study->id);
  readings_finish(&readings);
  /* Without a text: what was shown before no longer holds. */
  if (r == 0)
    r = store_run(s, "INSERT INTO assessment(study, at, json) VALUES(?,?,?)", "iit", study->id, now, text);
  if (r >= 0 && (bad < 0 || (text && is_poor(assessment))))
    r = store_run(s, "UPDATE study SET clean = 0 WHERE id = ?", "i", study->id);
  return r < 0 ? r : 0;
}

int assessment_find(struct store *s, int64_t study, json_t **ret) {
  struct rows r = store_query(s, "SELECT json FROM assessment WHERE study = ? ORDER BY id DESC LIMIT 1", "i", study);
  char reason[256];
  int err = 0;
  *ret = NULL;
  if (rows_next(&r) && !rows_is_null(&r, 0)) {
    const char *text = rows_text(&r, 0);
    err = json_read(text, strlen(text), ret, reason);
  }
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}
