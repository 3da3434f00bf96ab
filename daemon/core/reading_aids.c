#include "reading_aids.h"

#include "aids.h"
#include "assessment.h"
#include "hash.h"
#include "log.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading_aids {
  bool enabled;
  int64_t row; /* of the table below; 0 = none read yet */
  struct reference_table *table;
  char sha256[HASH_TEXT];
};

int reading_aids_open(bool enabled, struct reading_aids **ret) {
  struct reading_aids *a = calloc(1, sizeof *a);
  if (!a)
    return -ENOMEM;
  a->enabled = enabled;
  *ret = a;
  return 0;
}

void reading_aids_close(struct reading_aids *a) {
  if (!a)
    return;
  reference_destroy(a->table);
  free(a);
}

/* Reads the newest table unless it is the one at hand. */
static int table_refresh(struct reading_aids *a, struct store *s) {
  struct rows r = store_query(s, "SELECT max(id) FROM reference", "");
  int64_t newest = rows_next(&r) && !rows_is_null(&r, 0) ? rows_int(&r, 0) : 0;
  int err = rows_finish(&r);
  if (err < 0 || newest == a->row)
    return err;
  r = store_query(s, "SELECT text, sha256 FROM reference WHERE id = ?", "i", newest);
  char reason[256];
  struct reference_table *table = NULL;
  char sha256[HASH_TEXT] = "";
  if (rows_next(&r)) {
    const char *text = rows_text(&r, 0);
    err = reference_parse(text, strlen(text), &table, reason);
    str_copy(sha256, sizeof sha256, rows_text(&r, 1));
  }
  int query_err = rows_finish(&r);
  if (err == -EPROTO) /* it was accepted by another version of this program */
    log_error("the installed reference table is refused: %s", reason);
  if (query_err < 0 || (err < 0 && err != -EPROTO))
    return query_err < 0 ? query_err : err;
  reference_destroy(a->table);
  a->table = table;
  a->row = newest;
  memcpy(a->sha256, sha256, sizeof sha256);
  return 0;
}

static int32_t reported(const json_t *value) {
  int64_t ml;
  return json_int(value, "ml", 1, 20000, &ml) < 0 ? AIDS_NONE : (int32_t)ml;
}

static char grade(const json_t *value) {
  const char *text = json_text(value, "grade");
  return text && strlen(text) == 1 ? text[0] : 0;
}

static void take_phases(const json_t *assessment, struct aids_reported ret[static AIDS_PHASES]) {
  size_t i;
  json_t *phase;
  for (int p = 0; p < AIDS_PHASES; p++)
    ret[p] = (struct aids_reported){.fev1_ml = AIDS_NONE, .fvc_ml = AIDS_NONE};
  json_array_foreach(json_object_get(assessment, "phases"), i, phase) {
    const char *name = json_text(phase, "phase");
    const json_t *fev1 = json_object_get(phase, "fev1"), *fvc = json_object_get(phase, "fvc");
    int p = !name || !strcmp(name, "baseline") ? AIDS_BASELINE : !strcmp(name, "pre") ? AIDS_PRE : AIDS_POST;
    ret[p] = (struct aids_reported){reported(fev1), reported(fvc), grade(fev1), grade(fvc)};
  }
}

/* When the newest reading that stands was made, as a date, and how tall the patient was. */
static int circumstances(struct store *s, int64_t study, char date[static 11], uint32_t *ret_height_mm) {
  struct rows r = store_query(s,
                              "SELECT coalesce(r.taken, a.started), a.offset_minutes, y.height_mm FROM study y"
                              " JOIN record r ON r.study = y.id AND r.id NOT IN (SELECT record FROM supersession)"
                              " JOIN acquisition a ON a.id = r.acquisition WHERE y.id = ? ORDER BY r.id DESC LIMIT 1",
                              "i", study);
  char text[WALL_TEXT_MAX];
  date[0] = 0;
  *ret_height_mm = 0;
  if (rows_next(&r)) {
    wall_format((struct wall){rows_int(&r, 0), (int16_t)rows_int(&r, 1)}, text);
    snprintf(date, 11, "%.10s", text);
    *ret_height_mm = rows_is_null(&r, 2) ? 0 : (uint32_t)rows_int(&r, 2);
  }
  return rows_finish(&r);
}

enum problem reading_aids_make(struct reading_aids *a, struct store *s, const struct study *study, json_t **ret) {
  _json_cleanup_ json_t *assessment = NULL;
  struct patient patient;
  char date[11];
  struct aids_input in = {0};
  *ret = NULL;
  if (!a->enabled || act_modality(study->act) != ACQ_SPIROMETRY)
    return P_OK;
  int r = assessment_find(s, study->id, &assessment);
  if (r < 0 || !assessment)
    return problem_of_errno(r);
  enum problem p = patient_find(s, study->patient, &patient);
  if (p != P_OK)
    return p;
  r = table_refresh(a, s);
  if (r == 0)
    r = circumstances(s, study->id, date, &in.height_mm);
  if (r < 0)
    return problem_of_errno(r);
  take_phases(assessment, in.reported);
  in.sex = patient.sex;
  in.birth_date = patient.birth_date;
  in.test_date = date;
  in.table = a->table;
  in.table_sha256 = a->sha256;
  r = aids_make(&in, ret);
  if (r == -EINVAL ||
      r == -ERANGE) { /* a value no table answers for: the values stand in the assessment all the same */
    log_errno(LOG_ERROR, r, "study S-%lld: no aids", (long long)study->id);
    r = 0;
  }
  return problem_of_errno(r);
}

enum problem reading_aids_install(struct store *s, const struct caller *c, const char *name, const char *text) {
  struct reference_table *table = NULL;
  char reason[256], sha256[HASH_TEXT], ref[32];
  struct actor by = caller_actor(c);
  int r = reference_parse(text, strlen(text), &table, reason);
  reference_destroy(table);
  if (r == -EPROTO || r == -EFBIG) {
    log_notice("reference table refused: %s", reason);
    return P_invalid_field;
  }
  hash_sha256_text(text, strlen(text), sha256);
  if (r == 0)
    r = store_run(s, "INSERT INTO reference(sha256, name, text, at, by) VALUES(?,?,?,?,?)", "tttit", sha256, name, text,
                  wall_now().us, caller_person(c));
  if (r >= 0) {
    str_ref('T', store_last_id(s), ref);
    r = audit_add(s, &by, "reference.install", ref, json_pack("{s:s, s:s}", "name", name, "sha256", sha256));
  }
  return problem_of_errno(r);
}

int reading_aids_installed(struct store *s, json_t **ret) {
  struct rows r = store_query(s, "SELECT sha256, name, at, by FROM reference ORDER BY id DESC LIMIT 1", "");
  *ret = rows_next(&r)
             ? json_pack("{s:s, s:o, s:s, s:s, s:s}", "by", rows_text(&r, 3), "installed", json_time(rows_int(&r, 2)),
                         "name", rows_text(&r, 1), "set", REFERENCE_SET, "sha256", rows_text(&r, 0))
             : json_null();
  int err = rows_finish(&r);
  return err < 0 ? err : *ret ? 0 : -ENOMEM;
}
