/* A practice in a store, its rows written as they would be at any time: people, follow-ups, studies and what became of
 * them. Include after store_bed.h. */
#ifndef ASALEED_PRACTICE_BED_H
#define ASALEED_PRACTICE_BED_H

#include "conf.h"
#include "people.h"
#include "str.h"
#include "wall.h"
#include <time.h>

#define GP1 "10000000001"
#define GP2 "10000000002"
#define NURSE1 "10000000011"
#define NURSE2 "10000000012"
#define NURSE3 "10000000013"

static inline int practice_setup(void **state) {
  setenv("TZ", "Europe/Paris", 1);
  tzset();
  return bed_setup(state);
}

static inline int64_t at(const char *rfc3339) {
  struct wall w;
  assert_int_equal(wall_parse(rfc3339, &w), 0);
  return w.us;
}

#define HOUR (3600 * WALL_SECOND)

/* One row, or the change of one, in an act of its own; its id. */
#define ROW(b, ...)                                          \
  ({                                                         \
    bed_begin(b);                                            \
    assert_int_equal(store_run((b)->store, __VA_ARGS__), 1); \
    int64_t row_id_ = store_last_id((b)->store);             \
    bed_keep(b);                                             \
    row_id_;                                                 \
  })

static inline void professional(struct store_bed *b, const char *rpps, const char *role, const char *finess,
                                int64_t version, int64_t when) {
  ROW(b, "INSERT INTO professional VALUES(?,?,'F','G',?,?,?,'root')", "titti", rpps, version, role, finess, when);
}

static inline void patient(struct store_bed *b, const char *id) {
  bed_begin(b);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO patient_version VALUES(?,1,'FAMILY','Given','1950-01-01','F',1,NULL,NULL,"
                             "NULL)",
                             "t", id),
                   1);
  assert_int_equal(store_run(b->store, "INSERT INTO patient VALUES(?,1)", "t", id), 1);
  bed_keep(b);
}

static inline int64_t followup(struct store_bed *b, const char *patient_id, const char *protocol, const char *gp,
                               const char *nurse, int64_t when) {
  int64_t id =
      ROW(b, "INSERT INTO followup(patient, protocol, at, by) VALUES(?,?,?,'u')", "tti", patient_id, protocol, when);
  ROW(b, "INSERT INTO followup_team(followup, gp, nurse, at, by) VALUES(?,?,?,?,'u')", "itti", id, gp, nurse, when);
  return id;
}

/* An order and its study as it stands; followup 0: of old. */
static inline int64_t study(struct store_bed *b, const char *patient_id, const char *act, int64_t followup_id,
                            const char *study_state, int64_t accepted, int64_t due) {
  int64_t order = ROW(b, "INSERT INTO orders(patient, act, ordered_by, at, followup) VALUES(?,?,'u',1,nullif(?, 0))",
                      "tti", patient_id, act, followup_id);
  return ROW(b,
             "INSERT INTO study(orders, state, created, updated, accepted, due)"
             " VALUES(?,?,1,1,nullif(?, 0),nullif(?, 0))",
             "itii", order, study_state, accepted, due);
}

static inline void acceptance(struct store_bed *b, int64_t study_id, int64_t when, int64_t due) {
  ROW(b, "INSERT INTO acceptance(study, at, due) VALUES(?,?,?)", "iii", study_id, when, due);
}

/* A version; reason NULL: signed, else an amendment. */
static inline int64_t interpretation(struct store_bed *b, int64_t study_id, int64_t version, int64_t when,
                                     const char *conclusion, const char *reason) {
  return ROW(b,
             "INSERT INTO interpretation(study, version, by, at, conclusion, text, covers, patient_version, findings,"
             " reason) VALUES(?,?,'martin',?,?,'TEXTE SIGNÉ','c',1,'{\"rhythm\":\"sinus\"}',?)",
             "iiitt", study_id, version, when, conclusion, reason);
}

/* A record of the study, of a new acquisition or (not 0) of one that is there; *ret_acquisition may be NULL. */
static inline int64_t record(struct store_bed *b, int64_t study_id, int64_t acquisition, int64_t when,
                             int64_t *ret_acquisition) {
  bed_begin(b);
  assert_true(store_run(b->store, "INSERT INTO artefact VALUES('aa','record',1,1) ON CONFLICT DO NOTHING", "") >= 0);
  bed_keep(b);
  if (!acquisition)
    acquisition = ROW(b,
                      "INSERT INTO acquisition(study, device, driver, driver_version, program, node, seconds, started,"
                      " offset_minutes, by, ended) VALUES(?,'d','d','1','1','n',1,1,0,'u',2)",
                      "i", study_id);
  if (ret_acquisition)
    *ret_acquisition = acquisition;
  return ROW(b,
             "INSERT INTO record(study, acquisition, sha256, driver, driver_version, program, complete, clean, at)"
             " VALUES(?,?,'aa','d','1','1',1,1,?)",
             "iii", study_id, acquisition, when);
}

static inline void supersede(struct store_bed *b, int64_t record_id, int64_t when, const char *reason) {
  ROW(b, "INSERT INTO supersession VALUES(?,?,'u',?)", "iit", record_id, when, reason);
}

#endif
