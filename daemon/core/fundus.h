/* What a retinography has besides its records: which eye and field each picture shows, as the nurse says, which were
 * left out and why, whether the pupil was dilated, and which of the protocol's views there are. Labels and pupils are
 * never changed: a new row takes the old one's place.
 *
 * A label belongs to a picture's bytes within its acquisition: a redecode, which makes a new record of the same
 * capture, keeps it as long as the picture keeps its number. */
#ifndef ASALEED_FUNDUS_H
#define ASALEED_FUNDUS_H

#include "conf.h"
#include "worklist.h"

/* SQL: the id of the newest label of picture p of record r, NULL when it has none. */
#define FUNDUS_LABEL_ID                                                                \
  "(SELECT max(m.id) FROM record t"                                                    \
  " JOIN picture q ON q.record = t.id AND q.number = p.number AND q.sha256 = p.sha256" \
  " JOIN picture_label m ON m.record = q.record AND m.number = q.number"               \
  " WHERE t.study = r.study AND t.acquisition = r.acquisition)"

#define FUNDUS_REASON_MAX 500 /* bytes of why a picture is left out */

/* What is said of one picture: laterality and field ("L", "R"; "macula", "disc", "other"), or excluded. The texts are
 * the caller's. */
struct fundus_label {
  int64_t record, number;
  const char *laterality, *field, *excluded;
};

/* Inside an act, of a study that is acquired: each of the n pictures gets its label, or none does. P_invalid_field:
 * *ret_at says which of them, *ret_field what of it ("record": not one of this study that stands; "picture": the record
 * has none of that number, or it is named twice). The study is a new version then. */
enum problem fundus_label(struct store *s, const struct caller *c, struct study *study,
                          const struct fundus_label *labels, size_t n, size_t *ret_at, const char **ret_field);

#define FUNDUS_AGENTS_MAX 8
/* The same of the pupils. Agents are names of EXPORT_AGENTS (export.h), each once: one at least when they are dilated,
 * none otherwise. degree_mm: how wide a dilated pupil is, "1" to "12" with at most one decimal, or NULL.
 * P_missing_field, P_invalid_field: *ret_field says which. */
struct fundus_pupil {
  bool dilated;
  const char *agents[FUNDUS_AGENTS_MAX];
  size_t n_agents;
  const char *degree_mm;
};
enum problem fundus_pupil(struct store *s, const struct caller *c, struct study *study,
                          const struct fundus_pupil *pupil, const char **ret_field);

/* Inside an act that sets the pictures aside: the pupil of the next ones, dilated since perhaps, is to be said anew. */
int fundus_repeat(struct store *s, const struct caller *c, int64_t study);

/* {"missing":["Œil droit, macula"...],
 *  "pictures":[{"excluded":"<reason>"|null,"field","instrument":"L|R","label":"Œil droit, macula"|null,
 *               "laterality","picture":N,"record":"R-3"}...],
 *                          of the records that stand; null where nothing was said; "instrument", the eye that the
 *                          instrument says, is there only where it says one
 *  "pupil":{"agents":[..],"degree_mm":"6.5"|null,"dilated":bool}|null,
 *  "repeated":["Œil droit, macula : R-3/1, R-3/3"...],
 *  "views":[{"field","laterality","picture":"R-3/1"|null,"text"}...]}  the protocol's, in its order
 * The reason is free text: "" when `texts` is false. */
int fundus_json(struct store *s, int64_t study, const struct conf_views *views, bool texts, json_t **ret);

/* How many pictures the next acquisition is to make: those of the views that are missing, at least one. */
int fundus_wanted(struct store *s, int64_t study, const struct conf_views *views, uint16_t *ret);

/* Whether the study may go to the reader: P_pictures_none, P_pictures_unlabelled, P_pupil_missing; P_OK, and *ret_whole
 * says whether each view is there once and each eye is that which the instrument says, if it does. */
enum problem fundus_check(struct store *s, int64_t study, const struct conf_views *views, bool *ret_whole);

/* Whether each picture of this record, which an acquisition of a study was decoded into anew, keeps a label: once the
 * study is accepted nobody can give it one. 1, 0 or a negative errno. */
int fundus_keeps_labels(struct store *s, int64_t acquisition, const json_t *record);

/* What was said of the study, as a signature covers it: {"pictures":[{"excluded","field","laterality","picture",
 * "record","sha256"}...],"pupil":...}, all as above. */
int fundus_facts(struct store *s, int64_t study, json_t **ret);

#endif
