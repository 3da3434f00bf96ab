/* Files, the tray, readings attached and reassigned, where the store fails at each of their statements; and migration
 * of a tray that is older than files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "practice_bed.h"

#include "access.h"
#include "buf.h"
#include "file.h"
#include "followup.h"
#include "retention.h"
#include "unmatched.h"

/* ---- pieces ---- */

static int64_t order(struct store_bed *b, const char *patient, const char *birth_date, const char *act) {
  practice_patient(b, patient, birth_date, "F");
  practice_follow(b, patient, "tous");
  return study(b, practice_order(b, patient, act)).order;
}

static struct study study_of(struct store_bed *b, int64_t order_id) {
  struct study y;
  struct rows r = store_query(b->store, "SELECT max(id) FROM study WHERE orders = ?", "i", order_id);
  assert_true(rows_next(&r));
  int64_t id = rows_int(&r, 0);
  assert_int_equal(rows_finish(&r), 0);
  assert_int_equal(study_find(b->store, id, &y), P_OK);
  return y;
}

/* A record with one trial and nothing in it; another for each n. */
static json_t *make_record(const char *modality, int n) {
  char time[64];
  snprintf(time, sizeof time, "2026-03-02T09:00:%02d.000Z", n);
  return json_pack("{s:{s:[], s:[], s:[], s:[{s:s, s:i}]}, s:b, s:s, s:[], s:n}", "acquired", "channels", "measures",
                   "pictures", "trials", "time", time, "number", 1, "complete", 1, "modality", modality, "quality",
                   "subject");
}

static void put_file(struct store_bed *b, int n, int64_t *ret_id) {
  bool known;
  struct file f = {.at = 1, .bytes = sizeof n, .source = FILE_UPLOAD, .by = "ines", .name = "a.ecg"};
  assert_int_equal(artefact_put(b->artefacts, b->store, "blob", &n, sizeof n, 1, f.sha256), 0);
  assert_int_equal(file_add(b->store, &f, ret_id, &known), 0);
  assert_false(known);
}

/* A file's reading in the tray; calibration: of a spirometer's acquisition instead, which belongs to a study. */
static int64_t tray(struct store_bed *b, const char *modality, int n, const char *calibration, int64_t study) {
  char sha[HASH_TEXT];
  int64_t file = 0, id;
  _json_cleanup_ json_t *record = make_record(modality, n);
  _free_cleanup_ char *text = json_canonical(record, NULL);
  assert_non_null(text);
  bed_begin(b);
  if (!study)
    put_file(b, n, &file);
  assert_int_equal(artefact_put(b->artefacts, b->store, "record", text, strlen(text), 1, sha), 0);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO acquisition(study, file, driver, driver_version, program, node, seconds,"
                             " started, offset_minutes, by, ended, calibration_state)"
                             " VALUES(nullif(?, 0),nullif(?, 0),'d','1','1','n',1,1,0,'u',2,?)",
                             "iit", study, file, calibration),
                   1);
  struct unmatched_row row = {
      .acquisition = store_last_id(b->store), .sha256 = sha, .driver = "d", .driver_version = "1", .record = record};
  assert_int_equal(unmatched_add(b->store, &row, 1, &id), 0);
  if (file)
    assert_int_equal(store_run(b->store, "UPDATE file SET pending = 0 WHERE id = ?", "i", file), 1);
  bed_keep(b);
  return id;
}

static struct attach attach_to(const struct caller *c, int64_t order_id, const char *birth_date) {
  return (struct attach){
      .conf = &practice, .caller = c, .order = order_id, .birth_date = birth_date, .reason = "essai"};
}

/* ---- a store that fails ---- */

static const char *const tables[] = {"artefact",   "audit",         "change",     "file",         "picture",
                                     "record",     "reassignment",  "study",      "supersession", "unmatched",
                                     "withdrawal", "unmatched_end", "audit_state"};

static bool is_table(struct store_bed *b, const char *name) {
  struct rows r = store_query(b->store, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", "t", name);
  bool is = rows_next(&r);
  assert_int_equal(rows_finish(&r), 0);
  return is;
}

/* All rows of all tables, as a text. */
static char *dump(struct store_bed *b) {
  _buf_cleanup_ struct buf all = BUF_INIT(8 << 20);
  for (size_t i = 0; i < COUNT(tables); i++) {
    static char sql[COUNT(tables)][80];
    if (!is_table(b, tables[i]))
      continue;
    snprintf(sql[i], sizeof sql[i], "SELECT * FROM %s ORDER BY 1", tables[i]);
    struct rows r = store_query(b->store, sql[i], "");
    while (rows_next(&r)) {
      buf_format(&all, "\n%s", tables[i]);
      for (int c = 0; c < 8; c++) {
        const char *text = rows_text(&r, c);
        buf_format(&all, "|%s", text ? text : "");
      }
    }
    assert_int_equal(rows_finish(&r), 0);
  }
  assert_int_equal(all.err, 0);
  char *text = strndup((const char *)all.data, all.len);
  assert_non_null(text);
  return text;
}

/* The act, with a store that refuses each kind of change to each table in turn: whenever it does, the act says so and
 * nothing is changed. Then without: P_OK. At least `least` of them were met. */
static void fails_whole(struct store_bed *b, unsigned least, enum problem (*act)(struct store_bed *b, void *arg),
                        void *arg) {
  static const char *const kinds[] = {"INSERT", "UPDATE"};
  static char refuse[COUNT(tables)][2][160];
  unsigned met = 0;
  for (size_t t = 0; t < COUNT(tables); t++)
    for (int k = 0; k < 2; k++) {
      if (!is_table(b, tables[t]))
        continue;
      snprintf(refuse[t][k], sizeof refuse[t][k],
               "CREATE TEMP TRIGGER refuse_%s_%d BEFORE %s ON main.\"%s\" BEGIN SELECT RAISE(ABORT, 'refused'); END",
               tables[t], k, kinds[k], tables[t]);
      _free_cleanup_ char *before = dump(b);
      bed_begin(b); /* which the trigger ends with */
      assert_true(store_run(b->store, refuse[t][k], "") >= 0);
      enum problem p = act(b, arg);
      store_undo(b->store);
      assert_int_equal(store_commit(b->store), 0);
      _free_cleanup_ char *after = dump(b);
      assert_string_equal(before, after);
      met += p != P_OK;
    }
  if (met < least)
    fail_msg("only %u refusals were told", met);
  bed_begin(b);
  assert_int_equal(act(b, arg), P_OK);
  bed_keep(b);
}

struct job {
  int64_t id, order;
  const char *birth_date;
};

static enum problem act_attach(struct store_bed *b, void *arg) {
  const struct job *j = arg;
  struct study y;
  const struct attach at = attach_to(&ines, j->order, j->birth_date);
  return unmatched_attach(b->store, b->artefacts, j->id, &at, &y);
}

static enum problem act_discard(struct store_bed *b, void *arg) {
  return unmatched_discard(b->store, &ines, ((struct job *)arg)->id, "essai");
}

static enum problem act_again(struct store_bed *b, void *arg) {
  return unmatched_decode_again(b->store, &martin, ((struct job *)arg)->id);
}

static enum problem act_reassign(struct store_bed *b, void *arg) {
  const struct job *j = arg;
  struct study from, to;
  const struct attach at = attach_to(&martin, j->order, j->birth_date);
  int64_t record = bed_int(b, "SELECT max(id) FROM record WHERE id NOT IN (SELECT record FROM supersession)");
  assert_int_equal(study_find(b->store, j->id, &from), P_OK);
  return attach_reassign(b->store, b->artefacts, &from, &record, 1, &at, &to);
}

static void test_store_fails(void **state) {
  struct store_bed *b = *state;
  int64_t first = order(b, "P1", "1950-01-01", "ecg"), second = order(b, "P2", "1960-02-02", "ecg");
  struct job j = {.id = tray(b, "ecg", 1, NULL, 0), .order = first, .birth_date = "1950-01-01"};
  fails_whole(b, 5, act_attach, &j);
  assert_int_equal(study_of(b, first).state, ACQUIRED);
  j = (struct job){.id = study_of(b, first).id, .order = second, .birth_date = "1960-02-02"};
  fails_whole(b, 6, act_reassign, &j);
  assert_int_equal(study_of(b, first).state, ORDERED);
  assert_int_equal(study_of(b, second).state, ACQUIRED);
  j.id = tray(b, "ecg", 2, NULL, 0);
  fails_whole(b, 3, act_discard, &j);
  j.id = tray(b, "ecg", 3, NULL, 0);
  fails_whole(b, 4, act_again, &j);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM file WHERE pending"), 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM unmatched u LEFT JOIN unmatched_end e ON e.unmatched = u.id"
                              " WHERE e.unmatched IS NULL"),
                   0);
}

/* ---- what there is to confirm ---- */

/* What an instrument measured that was not verified is for the nurse to confirm, whichever way it comes to a study, and
 * whatever comes after it. Of measurements, as blows without curves are to be confirmed anyway. */
static void test_calibration_goes_along(void **state) {
  struct store_bed *b = *state;
  int64_t first = order(b, "P1", "1950-01-01", "measurement"), second = order(b, "P2", "1960-02-02", "measurement");
  struct job j = {.order = first, .birth_date = "1950-01-01"};
  const int64_t owner = study_of(b, first).id;
  static const struct {
    const char *state;
    int clean;
  } steps[] = {{"valid", 1}, {"missing", 0}, {"valid", 0}};
  for (int i = 0; i < (int)COUNT(steps); i++) {
    j.id = tray(b, "measurement", i, steps[i].state, owner);
    bed_begin(b);
    assert_int_equal(act_attach(b, &j), P_OK);
    bed_keep(b);
    assert_int_equal(study_of(b, first).clean, steps[i].clean);
  }
  struct study from = study_of(b, first), to;
  const struct attach at = attach_to(&martin, second, "1960-02-02");
  const int64_t unverified = 2;
  bed_begin(b);
  assert_int_equal(attach_reassign(b->store, b->artefacts, &from, &unverified, 1, &at, &to), P_OK);
  bed_keep(b);
  assert_int_equal(study_of(b, first).clean, 1);
  assert_int_equal(study_of(b, second).clean, 0);
}

/* As who acquires it, a nurse attaches what the protocol and a delegation let her; and goes on with what is hers. */
static void test_who_may(void **state) {
  struct store_bed *b = *state;
  int64_t d, w, order;
  practice_admit(b, "P1");
  assert_int_equal(practice_delegate(b, IDA, MARTIN, "strict", "2020-01-01", "2099-12-31", &d), P_OK);
  assert_int_equal(ACT(b, followup_open(b->store, &practice, &martin, "P1", "strict", MARTIN, IDA, &w)), P_OK);
  assert_int_equal(access_patient(b->store, &ida, "P1"), P_OK);
  int64_t hers = 0, other = 0; /* ida's own, that the GP acquires; and ines's under the other protocol */
  assert_int_equal(ACT(b, worklist_order(b->store, &practice, &martin, "P1", "ecg", w, &order, &hers)), P_OK);
  assert_int_equal(ACT(b, worklist_order(b->store, &practice, &martin, "P1", "ecg", 1, &order, &other)), P_OK);
  const struct {
    const struct caller *who;
    int64_t study;
    enum problem attach, tend;
  } rows[] = {{&ida, hers, P_perform_gp, P_OK},
              {&ida, other, P_delegation_missing, P_delegation_missing},
              {&ines, hers, P_perform_gp, P_OK}, /* whose GP delegates it to her, too */
              {&martin, hers, P_OK, P_OK},
              {&ines, other, P_OK, P_OK}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct study y = study(b, rows[i].study);
    const struct attach at = attach_to(rows[i].who, y.order, "1950-01-01");
    const int64_t id = tray(b, "ecg", 700 + (int)i, NULL, 0);
    assert_int_equal(ACT(b, unmatched_attach(b->store, b->artefacts, id, &at, &y)), rows[i].attach);
    assert_int_equal(study_may_tend(b->store, rows[i].who, &y), rows[i].tend);
  }
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'study.attach' AND detail LIKE "
                              "'%\"delegation\":\"D-%'"),
                   1);
}

/* ---- whose it was when somebody is erased ---- */

static int64_t moved(struct store_bed *b, int64_t record, int64_t from_order, int64_t to_order, const char *birth) {
  struct study from = study_of(b, from_order), to;
  const struct attach at = attach_to(&martin, to_order, birth);
  assert_int_equal(ACT(b, attach_reassign(b->store, b->artefacts, &from, &record, 1, &at, &to)), P_OK);
  return bed_int(b, "SELECT max(id) FROM record");
}

static int64_t now_of(struct store_bed *b, int64_t record) {
  struct rows r = store_query(b->store, "SELECT " RECORD_NOW("?1"), "i", record);
  assert_true(rows_next(&r));
  const int64_t now = rows_int(&r, 0);
  assert_int_equal(rows_finish(&r), 0);
  return now;
}

static void erase(struct store_bed *b, const char *patient) {
  static const struct conf conf = {.active_months = 60, .archive_months = 180};
  struct retention_archive *x = NULL;
  char sha256[HASH_TEXT], part[65536];
  int64_t files;
  assert_int_equal(retention_archive_start(b->store, b->artefacts, patient, &x), P_OK);
  ssize_t n;
  while ((n = retention_archive_read(x, part, sizeof part)) > 0)
    ;
  assert_int_equal(n, 0);
  assert_int_equal(ACT(b, retention_archived(b->store, &martin, x)), P_OK);
  retention_archive_sha256(x, sha256);
  retention_archive_free(x);
  assert_int_equal(ACT(b, retention_erase(b->store, b->artefacts, &conf, &martin, patient, sha256, &files)), P_OK);
  assert_int_equal(retention_sweep(b->store, b->artefacts), 0);
  assert_int_equal(store_commit(b->store), 0);
}

/* What was taken for P1's and became P2's goes with P2, wherever it lay; what P2 had only for a while stays P3's. */
static void test_erased_between(void **state) {
  struct store_bed *b = *state;
  const int64_t first = order(b, "P1", "1950-01-01", "ecg"), second = order(b, "P2", "1960-02-02", "ecg"),
                third = order(b, "P3", "1970-03-03", "ecg");
  struct job j = {.order = first, .birth_date = "1950-01-01"};
  int64_t record[2][3];
  for (int k = 0; k < 2; k++) {
    j.id = tray(b, "ecg", 800 + k, NULL, 0);
    bed_begin(b);
    assert_int_equal(act_attach(b, &j), P_OK);
    bed_keep(b);
    record[k][0] = bed_int(b, "SELECT max(id) FROM record");
    record[k][1] = moved(b, record[k][0], first, second, "1960-02-02");
    record[k][2] = k ? moved(b, record[k][1], second, third, "1970-03-03") : record[k][1];
    for (int i = 0; i < 3; i++)
      assert_int_equal(now_of(b, record[k][i]), record[k][2]);
  }
  clock_forward((int64_t)62 * 31 * 86400);
  erase(b, "P2");
  assert_int_equal(bed_int(b, "SELECT count(*) FROM record"), 2);
  assert_int_equal(now_of(b, record[1][0]), record[1][2]);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM reassignment"), 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM artefact"), 2); /* P3's reading, and its file */
  assert_int_equal(bed_int(b, "SELECT count(*) FROM unmatched"), 1);
  practice_is_whole(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, practice_setup, bed_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {TEST(store_fails), TEST(calibration_goes_along), TEST(who_may),
                                     TEST(erased_between)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
