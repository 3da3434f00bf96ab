/* A reading of a study: the row of a record, with those of its pictures. It comes from the study's own acquisition,
 * from the tray, or from another study, whose patient it was not. Everything here runs inside the caller's act. */
#ifndef ASALEED_READING_H
#define ASALEED_READING_H

#include "artefact.h"
#include "worklist.h"

struct reading {
  int64_t study, acquisition;
  const char *sha256, *samples; /* its artefacts; samples NULL where it has none */
  const char *driver, *driver_version;
  int64_t patient_version; /* of the patient it was attached to; 0: its acquisition's row says */
  bool doubtful;           /* it says another patient: to be confirmed, however good it is */
  int64_t taken;           /* when it was made, if not while its acquisition ran; 0 */
};

/* Adds it, makes the study one to confirm when the reading has something to check, and tells of the change. `record` is
 * its JSON. */
int reading_add(struct store *s, const struct reading *reading, const json_t *record, int64_t now, int64_t *ret_id);

/* The JSON of a record that is an artefact: -EUCLEAN when it is damaged, -ENOENT when it is gone. */
int reading_load(struct artefacts *a, const char *sha256, json_t **ret);

/* When the earliest of its trials was made, as well as the host can tell; 0 when none says. */
int64_t reading_taken(const json_t *record);

/* SQL: what the record of this id became, by decoding it again and by moving it to whose it is: the newest, or itself.
 * Whose it is, and who may see it, is what holds for that one. */
#define RECORD_NOW(id_)                                                                                             \
  "(WITH RECURSIVE became(id, n) AS (SELECT " id_ ", 0 UNION ALL SELECT x.became, b.n + 1 FROM reassignment x JOIN" \
  " became b ON x.record = b.id WHERE b.n < 99 UNION ALL SELECT n.id, b.n + 1 FROM record o JOIN became b ON o.id"  \
  " = b.id JOIN supersession s ON s.record = o.id JOIN record n ON n.acquisition = o.acquisition AND n.study ="     \
  " o.study AND n.id > o.id AND n.at = s.at WHERE b.n < 99) SELECT id FROM became ORDER BY n DESC LIMIT 1)"

/* The study has a record that stands. */
bool reading_stands(struct store *s, int64_t study);

/* The study is one to confirm or not, by the records that stand now. */
int reading_clean(struct store *s, int64_t study);

#endif
