#include "reading.h"

#include "record.h"
#include "str.h"
#include "wall.h"
#include <errno.h>

#define PROGRAM ASALEED_VERSION

/* What the nurse will say whose eye they are of. */
static int add_pictures(struct store *s, int64_t id, const json_t *record) {
  size_t i;
  json_t *picture;
  int r = 0;
  json_array_foreach(json_object_get(json_object_get(record, "acquired"), "pictures"), i, picture) {
    const json_t *preview = json_object_get(picture, "preview");
    if (r >= 0)
      r = store_run(s, "INSERT INTO picture(record, number, sha256, preview, laterality) VALUES(?,?,?,?,?)", "iittt",
                    id, (int64_t)json_integer_value(json_object_get(picture, "number")), json_text(picture, "sha256"),
                    json_is_object(preview) ? json_text(preview, "sha256") : NULL, json_text(picture, "laterality"));
  }
  return r < 0 ? r : 0;
}

int reading_clean(struct store *s, int64_t study) {
  /* One record with something to check is enough, however good the others are; and a blow into a spirometer that was
   * not verified is for the nurse to confirm. */
  int r = store_run(s,
                    "UPDATE study SET clean = (SELECT min(r.clean AND coalesce(a.calibration_state, '') NOT IN"
                    " ('missing','overdue','failed')) FROM record r JOIN acquisition a ON a.id = r.acquisition"
                    " WHERE r.study = ?1 AND r.id NOT IN (SELECT record FROM supersession)) WHERE id = ?1",
                    "i", study);
  return r < 0 ? r : 0;
}

int reading_add(struct store *s, const struct reading *x, const json_t *record, int64_t now, int64_t *ret_id) {
  char ref[STR_REF_MAX];
  bool complete = json_is_true(json_object_get(record, "complete")), clean = record_is_clean(record) && !x->doubtful;
  int r = store_run(s,
                    "INSERT INTO record(study, acquisition, sha256, samples, driver, driver_version, program, complete,"
                    " clean, at, patient_version, taken) VALUES(?,?,?,?,?,?,?,?,?,?,nullif(?, 0),nullif(?, 0))",
                    "iitttttiiiii", x->study, x->acquisition, x->sha256, x->samples, x->driver, x->driver_version,
                    PROGRAM, (int64_t)complete, (int64_t)clean, now, x->patient_version, x->taken);
  if (r < 0)
    return r;
  const int64_t id = store_last_id(s);
  r = add_pictures(s, id, record);
  if (r >= 0)
    r = reading_clean(s, x->study);
  str_ref('R', id, ref);
  if (r >= 0)
    r = change_add(s, "record", ref, NULL);
  if (r < 0)
    return r;
  *ret_id = id;
  return 0;
}

int reading_load(struct artefacts *a, const char *sha256, json_t **ret) {
  uint8_t *bytes;
  size_t n;
  char reason[256];
  int r = artefact_get(a, sha256, RECORD_JSON_MAX, &bytes, &n);
  if (r < 0)
    return r;
  r = json_read((const char *)bytes, n, ret, reason);
  free(bytes);
  return r == -EPROTO ? -EUCLEAN : r;
}

int64_t reading_taken(const json_t *record) {
  size_t i;
  json_t *trial;
  int64_t taken = 0;
  json_array_foreach(json_object_get(json_object_get(record, "acquired"), "trials"), i, trial) {
    const json_t *time = json_object_get(trial, "time");
    struct wall w;
    if (json_is_string(time) && wall_parse(json_string_value(time), &w) == 0 && (!taken || w.us < taken))
      taken = w.us;
  }
  return taken;
}

bool reading_stands(struct store *s, int64_t study) {
  struct rows r = store_query(
      s, "SELECT 1 FROM record WHERE study = ? AND id NOT IN (SELECT record FROM supersession) LIMIT 1", "i", study);
  bool has = rows_next(&r);
  rows_finish(&r);
  return has;
}
