/* A practice in a store: two nurses, three GPs and an ophthalmologist are registered, ines works for martin under each
 * protocol. Include after <cmocka.h>, in one file of a program: it takes the place of the clock and of the disk. */
#ifndef PRACTICE_BED_H
#define PRACTICE_BED_H

#include "../e2e/store_bed.h"
#include "followup.h"
#include "interpret.h"
#include "str.h"
#include "wall.h"
#include <sys/syscall.h>
#include <time.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Thousands of commits, of which none need survive a power cut. */
int fsync(int fd) {
  return fcntl(fd, F_GETFD) < 0 ? -1 : 0;
}
int fdatasync(int fd) {
  return fsync(fd);
}

/* ---- the clocks, moved by this much ---- */

static int64_t wall_ahead_us, monotonic_ahead_us;

int clock_gettime(clockid_t id, struct timespec *ret) {
  int r = (int)syscall(SYS_clock_gettime, id, ret);
  int64_t us = ret->tv_nsec / 1000 + (id == CLOCK_REALTIME    ? wall_ahead_us
                                      : id == CLOCK_MONOTONIC ? monotonic_ahead_us
                                                              : 0);
  ret->tv_sec += us / WALL_SECOND - (us % WALL_SECOND < 0);
  ret->tv_nsec = (us % WALL_SECOND + (us % WALL_SECOND < 0 ? WALL_SECOND : 0)) * 1000;
  return r;
}

/* It is that time now, and goes on from there; NULL: as it really is. */
static inline void clock_set(const char *time) {
  struct wall w = {0};
  wall_ahead_us = 0;
  if (time) {
    assert_int_equal(wall_parse(time, &w), 0);
    wall_ahead_us = w.us - wall_now().us;
  }
}

static inline void clock_forward(int64_t seconds) {
  wall_ahead_us += seconds * WALL_SECOND;
}

/* ---- people ---- */

#define INES "10100000016" /* nurses */
#define IDA "10100000024"
#define MARTIN "10100000032" /* GPs */
#define DURAND "10100000040"
#define PETIT "10100000057"
#define OLGA "10100000065" /* ophthalmologist */
#define NOBODY "10100000073"

static const struct actor machine = {.name = "asaleed"}, root = {.name = "root"};
static const struct caller ines = {.name = "ines", .role = ROLE_NURSE, .rpps = INES};
static const struct caller ida = {.name = "ida", .role = ROLE_NURSE, .rpps = IDA};
static const struct caller nora = {.name = "nora", .role = ROLE_NURSE}; /* not registered */
static const struct caller martin = {.name = "martin", .role = ROLE_GP, .rpps = MARTIN};
static const struct caller durand = {.name = "durand", .role = ROLE_GP, .rpps = DURAND};
static const struct caller petit = {.name = "petit", .role = ROLE_GP, .rpps = PETIT};
static const struct caller olga = {.name = "olga", .role = ROLE_OPHTHALMOLOGIST, .rpps = OLGA};
static const struct caller adele = {.name = "adele", .role = ROLE_ADMIN};
static const struct caller aude = {.name = "aude", .role = ROLE_AUDITOR};
static const struct caller logiciel = {.name = "logiciel", .role = ROLE_LGC};
static const struct caller logiciel_martin = {
    .name = "logiciel", .acting_for = "martin", .role = ROLE_GP, .rpps = MARTIN};

/* ---- protocols ---- */

/* "tous" opens every act to the nurse; "strict" an ECG that is the GP's to order and to acquire, and a retinography
 * that the ophthalmologist reads. */
static struct conf_protocol tous = {
    .id = "tous",
    .acts = {
        [ACQ_ECG] = {.open = 1, .prescribe = 1, .perform = 1, .delay_hours = 24, .sees_before = CONF_SEES_ACQUIRED},
        [ACQ_SPIROMETRY] = {.open = 1, .prescribe = 1, .perform = 1, .delay_hours = 72},
        [ACQ_FUNDUS] = {.open = 1,
                        .prescribe = 1,
                        .perform = 1,
                        .delay_hours = 36,
                        .views = {{{"R", "macula"}, {"R", "disc"}, {"L", "macula"}, {"L", "disc"}}, 4}},
        [ACQ_MEASUREMENT] = {.open = 1, .prescribe = 1, .perform = 1, .delay_hours = 48}}};
static struct conf_protocol strict = {.id = "strict",
                                      .acts = {[ACQ_ECG] = {.open = 1, .delay_hours = 8},
                                               [ACQ_SPIROMETRY] = {.open = 0, .prescribe = 1, .perform = 1},
                                               [ACQ_FUNDUS] = {.open = 1,
                                                               .prescribe = 1,
                                                               .reader = CONF_READER_OPHTHALMOLOGIST,
                                                               .delay_hours = 72,
                                                               .views = {{{"R", "macula"}}, 1}}}};
static const struct conf practice = {
    .claim_minutes = 30, .page_minutes = 10, .remind_hours = 4, .protocols = {&tous, &strict}, .n_protocols = 2};

/* ---- acts ---- */

/* Each step in an act, committed when it passes. */
#define ACT(b, call)                                 \
  ({                                                 \
    bed_begin(b);                                    \
    enum problem p_ = (call);                        \
    if (p_ == P_OK)                                  \
      bed_keep(b);                                   \
    else {                                           \
      store_undo((b)->store);                        \
      assert_int_equal(store_commit((b)->store), 0); \
    }                                                \
    p_;                                              \
  })

static inline void practice_register(struct store_bed *b, const char *rpps, const char *family, enum role role) {
  struct professional p = {.given = "Camille", .role = role, .finess = "750000013"};
  bool created;
  str_copy(p.rpps, sizeof p.rpps, rpps);
  str_copy(p.family, sizeof p.family, family);
  assert_int_equal(ACT(b, registry_professional_put(b->store, &root, &p, &created)), P_OK);
  if (role != ROLE_OPHTHALMOLOGIST) /* whom studies are referred to only where somebody has an account */
    return;
  bed_begin(b);
  assert_int_equal(
      store_run(b->store,
                "INSERT INTO user(name, role, display, created, rpps) VALUES('olga','ophthalmologist','',1,?)", "t",
                rpps),
      1);
  bed_keep(b);
}

static inline struct delegation practice_delegation(const char *nurse, const char *gp, const char *protocol,
                                                    const char *from, const char *until) {
  return (struct delegation){.nurse = nurse,
                             .gp = gp,
                             .protocol = protocol,
                             .authorisation = "Arrêté ARS 2012/000623",
                             .authorised = "2012-06-01",
                             .from = from,
                             .until = until,
                             .nurse_adhesion = "2012-07-01",
                             .gp_adhesion = "2012-07-01"};
}

static inline enum problem practice_delegate(struct store_bed *b, const char *nurse, const char *gp,
                                             const char *protocol, const char *from, const char *until,
                                             int64_t *ret_id) {
  const char *field;
  const struct delegation d = practice_delegation(nurse, gp, protocol, from, until);
  return ACT(b, registry_delegate(b->store, &root, &d, ret_id, &field));
}

static inline int64_t practice_away(struct store_bed *b, const char *gp, const char *deputy, const char *first,
                                    const char *last) {
  int64_t id = 0;
  const char *field;
  assert_int_equal(ACT(b, registry_absence(b->store, &root, gp, deputy, first, last, &id, &field)), P_OK);
  return id;
}

static inline int practice_setup(void **state) {
  int64_t id;
  clock_set(NULL);
  monotonic_ahead_us = 0;
  if (bed_setup(state) < 0)
    return -1;
  struct store_bed *b = *state;
  practice_register(b, INES, "Moreau", ROLE_NURSE);
  practice_register(b, IDA, "Roux", ROLE_NURSE);
  practice_register(b, MARTIN, "Martin", ROLE_GP);
  practice_register(b, DURAND, "Durand", ROLE_GP);
  practice_register(b, PETIT, "Petit", ROLE_GP);
  practice_register(b, OLGA, "Fabre", ROLE_OPHTHALMOLOGIST);
  for (unsigned i = 0; i < practice.n_protocols; i++)
    assert_int_equal(practice_delegate(b, INES, MARTIN, practice.protocols[i]->id, "2020-01-01", "2099-12-31", &id),
                     P_OK);
  return 0;
}

/* ---- patients and studies ---- */

static inline void practice_patient(struct store_bed *b, const char *id, const char *birth_date, const char *sex) {
  struct patient p = {.family = "Lefèvre", .given = "Zoé"};
  bool created;
  str_copy(p.id, sizeof p.id, id);
  str_copy(p.birth_date, sizeof p.birth_date, birth_date);
  str_copy(p.sex, sizeof p.sex, sex);
  assert_int_equal(ACT(b, patient_put(b->store, &machine, &p, 0, &created)), P_OK);
}

/* Of martin and ines. */
static inline int64_t practice_follow(struct store_bed *b, const char *patient, const char *protocol) {
  int64_t id = 0;
  assert_int_equal(ACT(b, followup_open(b->store, &practice, &martin, patient, protocol, MARTIN, INES, &id)), P_OK);
  return id;
}

/* A patient under "tous". */
static inline void practice_admit(struct store_bed *b, const char *patient) {
  practice_patient(b, patient, "1950-01-01", "F");
  practice_follow(b, patient, "tous");
}

static inline struct study study(struct store_bed *b, int64_t id) {
  struct study y;
  assert_int_equal(study_find(b->store, id, &y), P_OK);
  return y;
}

static inline int64_t practice_order(struct store_bed *b, const char *patient, const char *act) {
  int64_t order, id = 0;
  assert_int_equal(ACT(b, worklist_order(b->store, &practice, &martin, patient, act, 0, &order, &id)), P_OK);
  return id;
}

/* A record as a finished acquisition leaves it. */
static inline void practice_acquire(struct store_bed *b, int64_t id, bool clean) {
  char sha[HASH_TEXT], text[96];
  struct study y = study(b, id);
  struct actor by = caller_actor(&ines);
  static unsigned serial;
  int n = snprintf(text, sizeof text, "{\"complete\":true,\"modality\":\"%s\",\"schema\":\"%u\"}", y.act, ++serial);
  bed_begin(b);
  assert_int_equal(study_move(b->store, &by, ROLE_NURSE, &y, EV_START, NULL), P_OK);
  assert_int_equal(artefact_put(b->artefacts, b->store, "record", text, (size_t)n, 1, sha), 0);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO acquisition(study, device, driver, driver_version, program, node, seconds,"
                             " started, offset_minutes, by, capture, ended)"
                             " VALUES(?,'d','d','1','1','n',1,1,0,'ines',?,2)",
                             "it", id, sha),
                   1);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO record(study, acquisition, sha256, driver, driver_version, program, complete,"
                             " clean, at) VALUES(?,?,?,'d','1','1',1,?,1)",
                             "iiti", id, store_last_id(b->store), sha, (int64_t)clean),
                   1);
  assert_int_equal(store_run(b->store, "UPDATE study SET clean = ? WHERE id = ?", "ii", (int64_t)clean, id), 1);
  y = study(b, id);
  assert_int_equal(study_move(b->store, &machine, ROLE_SYSTEM, &y, EV_RECORD, NULL), P_OK);
  bed_keep(b);
}

/* An ECG of a patient who is followed, sent to be read. */
static inline int64_t practice_queued(struct store_bed *b, const char *patient) {
  int64_t id = practice_order(b, patient, "ecg");
  practice_acquire(b, id, true);
  struct study y = study(b, id);
  assert_int_equal(ACT(b, study_accept(b->store, &ines, &practice, &y, false, NULL)), P_OK);
  return id;
}

/* What the reader sees of it at this moment; until the next call. */
static inline const char *practice_shown(struct store_bed *b, const struct study *y, const json_t *aids) {
  static char shown[HASH_TEXT];
  assert_int_equal(interpret_shown(b->store, y, aids, shown), P_OK);
  return shown;
}

/* Inside an act: signs an ECG with a rhythm that goes with any conclusion. */
static inline enum problem practice_sign(struct store_bed *b, const struct caller *c, struct study *y,
                                         const char *token, const char *conclusion) {
  const char *field = NULL;
  _json_cleanup_ json_t *findings = json_pack("{s:s}", "rhythm", "sinus");
  const struct conclusion x = {.conclusion = conclusion, .findings = findings, .text = "Rien à signaler."};
  return interpret_sign(b->store, c, y, token, practice_shown(b, y, NULL), &x, NULL, &field);
}

/* Whether nothing of the store is other than it was sealed. */
static inline void practice_is_whole(struct store_bed *b) {
  struct audit_check trail;
  struct store_check store;
  assert_int_equal(audit_verify(b->store, b->artefacts, &trail), 0);
  assert_true(trail.ok);
  assert_int_equal(store_verify(b->store, &store), 0);
  assert_true(store.ok);
}

#endif
