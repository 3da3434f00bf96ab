/* DICOM objects of accepted studies: their UIDs, which are to be made, what the process is told, what happens when it
 * refuses, fails, or the daemon ends meanwhile. The process is a script that hands back what it was given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"
#include "dicom.h"
#include "json.h"
#include "patient.h"
#include "str.h"
#include "wall.h"
#include <asalee/export.h>
#include <signal.h>
#include <sys/wait.h>

#define TEST_DAY INT64_C(1767607200000000) /* 2026-01-05 10:00 UTC */
#define SAMPLES "\1\0\2\0\3\0"

/* ---- UIDs ---- */

static void uid_of(const char *hex, char ret[static DICOM_UID_MAX]) {
  uint8_t uuid[DICOM_UUID_BYTES];
  assert_true(str_unhex(hex, uuid, sizeof uuid));
  dicom_uid_of_uuid(uuid, ret);
}

static void test_uid_of_uuid(void **state) {
  (void)state;
  static const struct {
    const char *uuid, *uid;
  } known[] = {
      /* DICOM PS3.5, B.2; ITU-T X.667, 8; RFC 9562, A.6 */
      {"f81d4fae7dec11d0a76500a0c91e6bf6", "2.25.329800735698586629295641978511506172918"},
      {"00000000000000000000000000000000", "2.25.0"},
      {"00000000000000000000000000000001", "2.25.1"},
      {"0000000000000000000000000000000a", "2.25.10"},
      {"00000000000000010000000000000000", "2.25.18446744073709551616"},
      {"80000000000000000000000000000000", "2.25.170141183460469231731687303715884105728"},
      {"ffffffffffffffffffffffffffffffff", "2.25.340282366920938463463374607431768211455"},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    char uid[DICOM_UID_MAX];
    uid_of(known[i].uuid, uid);
    assert_string_equal(uid, known[i].uid);
  }
}

static void test_uid_of_name(void **state) {
  (void)state;
  static const uint8_t one[DICOM_UUID_BYTES] = {1}, two[DICOM_UUID_BYTES] = {2};
  char a[DICOM_UID_MAX], b[DICOM_UID_MAX], hex[33];
  assert_int_equal(hash_open(), 0);
  dicom_uid(one, "study S-1", a);
  dicom_uid(one, "study S-1", b);
  assert_string_equal(a, b);
  dicom_uid(two, "study S-1", b);
  assert_string_not_equal(a, b);
  dicom_uid(one, "study S-11", b);
  assert_string_not_equal(a, b);
  for (int i = 0; i < 64; i++) { /* back to bits: version 8, variant 10 */
    char name[32];
    unsigned __int128 v = 0;
    snprintf(name, sizeof name, "record R-%d", i);
    dicom_uid(one, name, a);
    assert_memory_equal(a, "2.25.", 5);
    assert_true(strlen(a) <= 64 && strspn(a + 5, "0123456789") == strlen(a + 5) && a[5] != '0');
    for (const char *p = a + 5; *p; p++)
      v = v * 10 + (unsigned)(*p - '0');
    snprintf(hex, sizeof hex, "%016llx%016llx", (unsigned long long)(v >> 64), (unsigned long long)v);
    assert_int_equal(hex[12], '8');
    assert_non_null(strchr("89ab", hex[16]));
    uid_of(hex, b);
    assert_string_equal(a, b);
  }
}

/* ---- a site with a process that hands back what it gets ---- */

struct site {
  struct store_bed *bed;
  sd_event *event;
  struct conf conf;
  struct devices *devices;
  struct dicom *dicom;
  char program[512], trace[96];
};

static const char script[] = "#!/bin/sh\n"
                             "[ $# = 1 ] && [ \"$1\" = encode ] || exit 2\n"
                             "job=$(cat <&3)\n"
                             "echo run >>\"$EXPORT_TRACE\"\n"
                             "case \"$job\" in *\"$EXPORT_BAD\"*) eval \"$EXPORT_DOES\";; esac\n"
                             "printf '%s\\n' \"$job\" >&6\n"
                             "cat <&4 >&6\n"
                             "cat <&5 >&6\n";

static void site_up(struct site *x) {
  struct dicom_parts parts = {.event = x->event,
                              .store = x->bed->store,
                              .artefacts = x->bed->artefacts,
                              .devices = x->devices,
                              .program = x->program};
  assert_int_equal(dicom_open(&parts, &x->dicom), 0);
}

static int site_setup(void **state) {
  struct site *x = calloc(1, sizeof *x);
  void *bed;
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, NULL);
  if (!x || bed_setup(&bed) < 0 || sd_event_new(&x->event) < 0)
    return -1;
  x->bed = bed;
  x->conf.n_devices = 1;
  str_copy(x->conf.devices[0].id, sizeof x->conf.devices[0].id, "ecg1");
  str_copy(x->conf.devices[0].label, sizeof x->conf.devices[0].label, "ECG de la salle 2");
  if (devices_open(NULL, &x->conf, &x->devices) < 0)
    return -1;
  snprintf(x->program, sizeof x->program, "%s/export", x->bed->dir);
  snprintf(x->trace, sizeof x->trace, "%s/trace", x->bed->dir);
  FILE *f = fopen(x->program, "we");
  if (!f || fputs(script, f) < 0 || fclose(f) < 0 || chmod(x->program, 0700) < 0)
    return -1;
  setenv("EXPORT_TRACE", x->trace, 1);
  setenv("EXPORT_BAD", "nobody is called like this", 1);
  setenv("EXPORT_DOES", "", 1);
  site_up(x);
  *state = x;
  return 0;
}

static int site_teardown(void **state) {
  struct site *x = *state;
  void *bed = x->bed;
  dicom_close(x->dicom);
  devices_close(x->devices);
  sd_event_unref(x->event);
  free(x);
  return bed_teardown(&bed);
}

/* What the program does with a job that holds these words. */
static void bad(const char *words, const char *does) {
  setenv("EXPORT_BAD", words, 1);
  setenv("EXPORT_DOES", does, 1);
}

static unsigned runs(struct site *x) {
  FILE *f = fopen(x->trace, "re");
  unsigned n = 0;
  char line[16];
  while (f && fgets(line, sizeof line, f))
    n++;
  if (f)
    fclose(f);
  return n;
}

static void turn(struct site *x, uint64_t us) {
  assert_true(sd_event_run(x->event, us) >= 0);
  store_commit(x->bed->store);
}

#define OBJECTS "SELECT count(*) FROM dicom WHERE sha256 IS NOT NULL"
#define REFUSALS "SELECT count(*) FROM dicom WHERE failure = 'dicom_refused'"

static void until(struct site *x, const char *sql, int64_t n) {
  uint64_t end = monotonic_us() + 20000000;
  while (bed_int(x->bed, sql) < n) {
    if (monotonic_us() > end)
      fail_msg("%s: %lld, not %lld", sql, (long long)bed_int(x->bed, sql), (long long)n);
    turn(x, 20000);
  }
  assert_int_equal(bed_int(x->bed, sql), n);
}

/* Nothing more happens. */
static void rests(struct site *x) {
  unsigned n = runs(x);
  for (uint64_t end = monotonic_us() + 150000; monotonic_us() < end;)
    turn(x, 20000);
  assert_int_equal(runs(x), n);
}

static int64_t study(struct site *x, const char *act, const char *study_state) {
  struct store *s = x->bed->store;
  struct patient p = {.id = "P1", .family = "Lefèvre", .given = "Zoé", .birth_date = "1981-01-05", .sex = "F"};
  struct actor machine = {.name = "asaleed"};
  bool created;
  bed_begin(x->bed);
  assert_int_equal(patient_put(s, &machine, &p, 0, &created), P_OK);
  assert_int_equal(
      store_run(s, "INSERT INTO orders(patient, act, ordered_by, at) VALUES('P1',?,'ines',?)", "ti", act, TEST_DAY), 1);
  assert_int_equal(store_run(s,
                             "INSERT INTO study(orders, state, created, updated, accepted, height_mm)"
                             " VALUES(?1,?2,?3,?3,?3,1685)",
                             "iti", store_last_id(s), study_state, TEST_DAY + WALL_SECOND),
                   1);
  int64_t id = store_last_id(s);
  bed_keep(x->bed);
  return id;
}

static int64_t record(struct site *x, int64_t of, const char *contents, bool samples) {
  struct store *s = x->bed->store;
  char sha[HASH_TEXT], data[HASH_TEXT];
  bed_begin(x->bed);
  assert_int_equal(artefact_put(x->bed->artefacts, s, "record", contents, strlen(contents), 1, sha), 0);
  if (samples)
    assert_int_equal(artefact_put(x->bed->artefacts, s, "samples", SAMPLES, sizeof SAMPLES - 1, 1, data), 0);
  assert_int_equal(store_run(s,
                             "INSERT INTO acquisition(study, device, driver, driver_version, program, node, seconds,"
                             " started, offset_minutes, by, ended) VALUES(?,'ecg1','d','1','1','n',1,?,60,'u',2)",
                             "ii", of, TEST_DAY),
                   1);
  assert_int_equal(store_run(s,
                             "INSERT INTO record(study, acquisition, sha256, samples, driver, driver_version, program,"
                             " complete, clean, at) VALUES(?,?,?,?,'d','1','1',1,1,1)",
                             "iitt", of, store_last_id(s), sha, samples ? data : NULL),
                   1);
  int64_t id = store_last_id(s);
  bed_keep(x->bed);
  return id;
}

static void run_sql(struct site *x, const char *sql) {
  bed_begin(x->bed);
  assert_int_equal(store_run(x->bed->store, sql, ""), 1);
  bed_keep(x->bed);
}

/* The object as the script made it: the job, and after its line end what else it was given. */
static json_t *object(struct site *x, int64_t of, int64_t number, bool whole, const char *ends) {
  struct dicom_key key = {of, number, whole};
  char found[HASH_TEXT];
  uint8_t *bytes;
  size_t n;
  char reason[256];
  json_t *json = NULL;
  assert_int_equal(dicom_find(x->dicom, &key, found), P_OK);
  assert_int_equal(artefact_get(x->bed->artefacts, found, 1u << 20, &bytes, &n), 0);
  char *line = memchr(bytes, '\n', n);
  assert_non_null(line);
  size_t job = (size_t)(line - (char *)bytes);
  assert_int_equal(json_read((char *)bytes, job, &json, reason), 0);
  assert_int_equal(n - job - 1, strlen(ends) + (number ? 0 : sizeof SAMPLES - 1));
  assert_memory_equal(line + 1, ends, strlen(ends));
  free(bytes);
  return json;
}

static enum problem find(struct site *x, int64_t of, int64_t number, bool whole) {
  char found[HASH_TEXT];
  return dicom_find(x->dicom, &(struct dicom_key){of, number, whole}, found);
}

static const char *at(const json_t *json, const char *part, const char *name) {
  const char *text = json_text(json_object_get(json, part), name);
  assert_non_null(text);
  return text;
}

/* ---- tests ---- */

static void test_job(void **state) {
  struct site *x = *state;
  int64_t y = study(x, "ecg", "to_interpret"), r = record(x, y, "RECORD", true);
  until(x, OBJECTS, 2);
  rests(x);
  assert_int_equal(runs(x), 2);
  json_t *whole = object(x, r, 0, true, "RECORD");
  json_t *part = object(x, r, 0, false, "RECORD");
  assert_string_equal(json_text(whole, "schema"), EXPORT_SCHEMA);
  assert_string_equal(json_text(whole, "act"), "ecg");
  assert_string_equal(json_text(whole, "order"), "O-1");
  assert_string_equal(json_text(whole, "height_cm"), "168.5");
  assert_string_equal(json_text(whole, "station"), "ECG de la salle 2");
  assert_true(json_is_null(json_object_get(whole, "fundus")));
  assert_string_equal(at(whole, "study", "id"), "S-1");
  assert_string_equal(at(whole, "patient", "id"), "P1");
  assert_string_equal(at(whole, "patient", "family"), "Lefèvre");
  assert_string_equal(at(whole, "patient", "given"), "Zoé");
  assert_string_equal(at(whole, "patient", "birth_date"), "1981-01-05");
  assert_string_equal(at(whole, "patient", "sex"), "F");
  struct wall ordered, accepted;
  assert_int_equal(wall_parse(at(whole, "study", "ordered"), &ordered), 0);
  assert_int_equal(wall_parse(json_text(whole, "accepted"), &accepted), 0);
  assert_true(ordered.us == TEST_DAY && accepted.us == TEST_DAY + WALL_SECOND);
  assert_int_equal(json_integer_value(json_object_get(json_object_get(whole, "instance"), "number")), 1);
  /* The two variants are told apart by what they may show and by their own UID, and by nothing else. */
  assert_true(json_is_true(json_object_get(json_object_get(whole, "parts"), "statements")));
  assert_true(json_is_true(json_object_get(json_object_get(whole, "parts"), "device")));
  assert_true(json_is_false(json_object_get(json_object_get(part, "parts"), "statements")));
  assert_true(json_is_false(json_object_get(json_object_get(part, "parts"), "device")));
  assert_string_equal(at(whole, "study", "uid"), at(part, "study", "uid"));
  assert_string_equal(at(whole, "series", "uid"), at(part, "series", "uid"));
  assert_string_not_equal(at(whole, "instance", "uid"), at(part, "instance", "uid"));
  assert_string_not_equal(at(whole, "study", "uid"), at(whole, "series", "uid"));
  json_object_del(whole, "parts");
  json_object_del(part, "parts");
  json_object_del(whole, "instance");
  json_object_del(part, "instance");
  assert_true(json_equal(whole, part));
  json_decref(whole);
  json_decref(part);
  /* The list has one variant. */
  json_t *list;
  assert_int_equal(dicom_list(x->bed->store, y, true, &list), 0);
  assert_int_equal(json_array_size(list), 1);
  assert_string_equal(json_text(json_array_get(list, 0), "record"), "R-1");
  assert_true(json_is_null(json_object_get(json_array_get(list, 0), "picture")));
  json_decref(list);
}

static void test_which(void **state) {
  struct site *x = *state;
  static const char *const others[] = {"ordered", "acquiring", "acquired", "cancelled"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    record(x, study(x, "ecg", others[i]), "no", true);
  record(x, study(x, "measurement", "interpreted"), "no data", false);
  int64_t y = study(x, "spirometry", "interpreting");
  int64_t old = record(x, y, "old", true), standing = record(x, y, "standing", true);
  run_sql(x, "INSERT INTO supersession VALUES(6, 1, 'u', 'x')");
  assert_int_equal(old, 6);
  until(x, OBJECTS, 4);
  rests(x);
  json_decref(object(x, standing, 0, false, "standing"));
  assert_int_equal(find(x, old, 0, true), P_wrong_state);
  assert_int_equal(find(x, 1, 0, true), P_wrong_state);
  assert_int_equal(find(x, 3, 0, true), P_not_accepted);
  assert_int_equal(find(x, 4, 0, true), P_wrong_state);
  assert_int_equal(find(x, 99, 0, true), P_not_found);
  assert_int_equal(find(x, standing, 1, true), P_wrong_state);
  /* Accepted now, below all that was looked at: nothing happens until it is woken. */
  run_sql(x, "UPDATE study SET state = 'to_interpret' WHERE id = 3");
  rests(x);
  assert_int_equal(bed_int(x->bed, OBJECTS), 4);
  bed_begin(x->bed);
  dicom_wake(x->dicom, 3); /* inside an act: not before it is durable */
  bed_keep(x->bed);
  until(x, OBJECTS, 6);
  rests(x);
  assert_int_equal(runs(x), 6);
}

static void test_asked(void **state) {
  struct site *x = *state;
  turn(x, 0); /* looked at nothing */
  turn(x, 0);
  int64_t r = record(x, study(x, "ecg", "acquired"), "x", true);
  assert_int_equal(find(x, r, 0, false), P_not_accepted);
  rests(x);
  run_sql(x, "UPDATE study SET state = 'to_interpret'");
  assert_int_equal(find(x, r, 0, false), P_dicom_pending); /* and woken */
  until(x, OBJECTS, 2);
  assert_int_equal(find(x, r, 0, false), P_OK);
}

static void picture(struct site *x, int64_t of, int64_t number, const char *contents, const char *laterality,
                    const char *field, const char *excluded) {
  struct store *s = x->bed->store;
  char sha[HASH_TEXT];
  bed_begin(x->bed);
  assert_int_equal(artefact_put(x->bed->artefacts, s, "blob", contents, strlen(contents), 1, sha), 0);
  assert_int_equal(store_run(s, "INSERT INTO picture(record, number, sha256) VALUES(?,?,?)", "iit", of, number, sha),
                   1);
  if (field || excluded)
    assert_int_equal(store_run(s,
                               "INSERT INTO picture_label(record, number, laterality, field, excluded, at, by)"
                               " VALUES(?,?,?,?,?,1,'u')",
                               "iittt", of, number, laterality, field, excluded),
                     1);
  bed_keep(x->bed);
}

static void test_pictures(void **state) {
  struct site *x = *state;
  int64_t y = study(x, "fundus", "to_interpret"), r = record(x, y, "R", false), r2;
  picture(x, r, 1, "ONE", "R", "disc", NULL);
  picture(x, r, 2, "TWO", NULL, NULL, "blurred");
  picture(x, r, 3, "THREE", NULL, NULL, NULL);
  picture(x, r, 4, "FOUR", "L", "other", NULL);
  run_sql(x,
          "INSERT INTO picture_label(record, number, laterality, field, at, by) VALUES(1, 4, 'R', 'macula', 1, 'u')");
  r2 = record(x, y, "R2", false);
  picture(x, r2, 1, "FIVE", "L", "macula", NULL);
  run_sql(x, "INSERT INTO pupil(study, dilated, agents, degree_mm, at, by) VALUES(1, 0, '[]', NULL, 1, 'u')");
  run_sql(x, "INSERT INTO pupil(study, dilated, agents, degree_mm, at, by)"
             " VALUES(1, 1, '[\"tropicamide\",\"phenylephrine\"]', '6.5', 1, 'u')");
  dicom_wake(x->dicom, y);
  until(x, OBJECTS, 6);
  rests(x);
  assert_int_equal(find(x, r, 2, true), P_wrong_state);
  assert_int_equal(find(x, r, 3, true), P_wrong_state);
  assert_int_equal(find(x, r, 0, true), P_wrong_state);
  json_t *one = object(x, r, 1, true, "RONE"), *four = object(x, r, 4, true, "RFOUR"),
         *five = object(x, r2, 1, false, "R2FIVE");
  const json_t *fundus = json_object_get(four, "fundus");
  assert_string_equal(json_text(fundus, "laterality"), "R"); /* the newest label */
  assert_string_equal(json_text(fundus, "field"), "macula");
  assert_int_equal(json_integer_value(json_object_get(fundus, "picture")), 4);
  _free_cleanup_ char *dilation = json_canonical(json_object_get(fundus, "dilation"), NULL);
  assert_string_equal(dilation,
                      "{\"agents\":[\"tropicamide\",\"phenylephrine\"],\"degree_mm\":\"6.5\",\"dilated\":true}");
  assert_int_equal(json_integer_value(json_object_get(json_object_get(one, "instance"), "number")), 1);
  assert_int_equal(json_integer_value(json_object_get(json_object_get(four, "instance"), "number")), 4);
  assert_int_equal(json_integer_value(json_object_get(json_object_get(five, "instance"), "number")), 5);
  assert_string_equal(at(one, "series", "uid"), at(five, "series", "uid"));
  assert_string_not_equal(at(one, "instance", "uid"), at(four, "instance", "uid"));
  /* Decoded again: the label goes with the picture's bytes. */
  bed_begin(x->bed);
  assert_int_equal(store_run(x->bed->store,
                             "INSERT INTO record(study, acquisition, sha256, driver, driver_version, program, complete,"
                             " clean, at) SELECT study, acquisition, sha256, 'd', '2', '1', 1, 1, 2 FROM record"
                             " WHERE id = ?",
                             "i", r2),
                   1);
  int64_t again = store_last_id(x->bed->store);
  assert_int_equal(store_run(x->bed->store, "INSERT INTO supersession VALUES(?, 1, 'u', 'redecode')", "i", r2), 1);
  bed_keep(x->bed);
  picture(x, again, 1, "FIVE", NULL, NULL, NULL);
  dicom_wake(x->dicom, y);
  until(x, OBJECTS, 8);
  json_t *six = object(x, again, 1, true, "R2FIVE");
  assert_string_equal(at(six, "fundus", "laterality"), "L");
  json_decref(six);
  json_decref(one);
  json_decref(four);
  json_decref(five);
}

/* The rows of a day that a backup does not have get their numbers again, for other patients: never their UIDs. */
static void test_restored(void **state) {
  struct site *x = *state;
  static const char *const levels[] = {"study", "series", "instance"};
  json_t *jobs[2];
  record(x, study(x, "ecg", "to_interpret"), "RECORD", true);
  for (int i = 0; i < 2; i++) {
    struct dicom_job job;
    char reason[256];
    assert_int_equal(dicom_job_make(x->bed->store, x->devices, &(struct dicom_key){1, 0, true}, &job), 0);
    assert_int_equal(json_read(job.json, job.json_bytes, &jobs[i], reason), 0);
    dicom_job_finish(&job);
    if (i)
      break;
    sqlite3 *db = bed_raw(x->bed);
    raw_exec(db, "DROP TRIGGER record_keeps; UPDATE record SET at = at + 1; UPDATE study SET created = created + 1;");
    sqlite3_close(db);
    bed_up(x->bed);
  }
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
    assert_string_not_equal(at(jobs[0], levels[i], "uid"), at(jobs[1], levels[i], "uid"));
  json_decref(jobs[0]);
  json_decref(jobs[1]);
}

/* A name that was wrong is in no object that anybody gets, however far the making was. */
static void test_identity(void **state) {
  struct site *x = *state;
  struct patient p = {.id = "P1", .family = "Lefebvre", .given = "Zoé", .birth_date = "1981-01-05", .sex = "F"};
  struct actor machine = {.name = "asaleed"};
  bool created;
  int64_t y = study(x, "ecg", "to_interpret"), r = record(x, y, "RECORD", true);
  study(x, "ecg", "ordered"); /* all that comes after is looked at anew */
  until(x, OBJECTS, 2);
  rests(x);
  json_t *old = object(x, r, 0, false, "RECORD"), *list;
  bed_begin(x->bed);
  assert_int_equal(patient_put(x->bed->store, &machine, &p, -1, &created), P_OK);
  dicom_wake_patient(x->dicom, "P1");
  bed_keep(x->bed);
  assert_int_equal(find(x, r, 0, false), P_dicom_pending);
  assert_int_equal(dicom_list(x->bed->store, y, false, &list), 0);
  assert_int_equal(json_array_size(list), 0);
  json_decref(list);
  until(x, OBJECTS, 4);
  rests(x);
  json_t *new = object(x, r, 0, false, "RECORD");
  assert_string_equal(at(old, "patient", "family"), "Lefèvre");
  assert_string_equal(at(new, "patient", "family"), "Lefebvre");
  assert_string_equal(at(old, "instance", "uid"), at(new, "instance", "uid"));
  assert_int_equal(dicom_list(x->bed->store, y, false, &list), 0);
  assert_int_equal(json_array_size(list), 1);
  json_decref(list);
  json_decref(old);
  json_decref(new);
  /* Changed while the process runs: what it makes is not the last. */
  bad("\"schema\"", "sleep 0.3");
  str_copy(p.given, sizeof p.given, "Zoë");
  bed_begin(x->bed);
  assert_int_equal(patient_put(x->bed->store, &machine, &p, -1, &created), P_OK);
  dicom_wake_patient(x->dicom, "P1");
  bed_keep(x->bed);
  for (unsigned n = runs(x); runs(x) == n;)
    turn(x, 20000);
  str_copy(p.given, sizeof p.given, "Zoée");
  bed_begin(x->bed);
  assert_int_equal(patient_put(x->bed->store, &machine, &p, -1, &created), P_OK);
  dicom_wake_patient(x->dicom, "P1");
  bed_keep(x->bed);
  bad("nothing", "");
  until(x, OBJECTS " AND patient_version = (SELECT version FROM patient)", 2);
  rests(x);
  json_t *newest = object(x, r, 0, true, "RECORD");
  assert_string_equal(at(newest, "patient", "given"), "Zoée");
  json_decref(newest);
}

static void restart(struct site *x) {
  dicom_close(x->dicom);
  bed_down(x->bed);
  bed_up(x->bed);
  site_up(x);
}

static void test_refused(void **state) {
  struct site *x = *state;
  int64_t r = record(x, study(x, "ecg", "to_interpret"), "x", true);
  bad("\"order\":\"O-1\"", "exit 3");
  int64_t good = record(x, study(x, "ecg", "to_interpret"), "y", true);
  until(x, REFUSALS, 2);
  until(x, OBJECTS, 2);
  assert_int_equal(find(x, r, 0, true), P_dicom_refused);
  assert_int_equal(find(x, good, 0, true), P_OK);
  /* Not once more by this program, whoever asks and however often it starts. */
  dicom_wake(x->dicom, 1);
  rests(x);
  restart(x);
  rests(x);
  assert_int_equal(runs(x), 4);
  assert_int_equal(bed_int(x->bed, "SELECT count(*) FROM dicom"), 4);
}

/* What an older program refused is tried again by this one. */
static void test_refused_before(void **state) {
  struct site *x = *state;
  int64_t r = record(x, study(x, "ecg", "to_interpret"), "x", true);
  run_sql(x, "INSERT INTO dicom(record, number, whole, failure, program, patient_version, at)"
             " VALUES(1,0,1,'dicom_refused','0.0.1',1,1)");
  assert_int_equal(find(x, r, 0, true), P_dicom_pending);
  until(x, OBJECTS, 2);
  assert_int_equal(find(x, r, 0, true), P_OK);
}

static void test_failed(void **state) {
  struct site *x = *state;
  for (int i = 0; i < 3; i++)
    record(x, study(x, "ecg", "to_interpret"), "x", true);
  bad("\"order\":\"O-1\"", "exit 1");
  until(x, OBJECTS, 4); /* the others are made meanwhile */
  assert_int_equal(find(x, 1, 0, true), P_dicom_pending);
  bad("nothing", "");
  until(x, OBJECTS, 6); /* and it, after a pause */
}

/* Whatever way it ends without an object, it is tried again, and not at once. */
static void test_failed_ways(void **state) {
  struct site *x = *state;
  static const char *const ends[] = {"exit 1", "exit 2", "exit 77", "kill -9 $$", "exit 0"};
  unsigned made = 0;
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    unsigned before = runs(x);
    int64_t y = study(x, "ecg", "to_interpret");
    record(x, y, "x", true);
    bad("\"schema\"", ends[i]);
    dicom_wake(x->dicom, y);
    while (runs(x) < before + 2)
      turn(x, 20000);
    rests(x);
    assert_int_equal(bed_int(x->bed, OBJECTS), made);
    assert_int_equal(bed_int(x->bed, "SELECT count(*) FROM dicom WHERE failure IS NOT NULL"), 0);
    bad("nothing", "");
    until(x, OBJECTS, made += 2);
  }
}

/* A record that crashes the program each time takes no time from the others for ever. */
static void test_crashes(void **state) {
  struct site *x = *state;
  int64_t r = record(x, study(x, "ecg", "to_interpret"), "x", true);
  bad("\"order\":\"O-1\"", "case \"$job\" in *'\"statements\":true'*) kill -SEGV $$;; esac");
  until(x, REFUSALS, 1);
  until(x, OBJECTS, 1);
  assert_int_equal(find(x, r, 0, true), P_dicom_refused);
  assert_int_equal(find(x, r, 0, false), P_OK);
  assert_int_equal(runs(x), 3 + 1);
}

static int64_t files(struct site *x) {
  char command[256], text[32] = "";
  snprintf(command, sizeof command, "find '%s' -path '*/artefacts/*' -type f | wc -l", x->bed->dir);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  assert_non_null(fgets(text, sizeof text, f));
  pclose(f);
  return atoll(text);
}

/* A patient who is erased while an object is made leaves no file behind. */
static void test_erased_meanwhile(void **state) {
  struct site *x = *state;
  record(x, study(x, "ecg", "to_interpret"), "x", true);
  bad("\"schema\"", "sleep 0.3");
  while (runs(x) < 1)
    turn(x, 20000);
  bed_begin(x->bed);
  assert_int_equal(
      store_run(x->bed->store, "INSERT INTO erasure(what, ref, archive, at, by) VALUES('patient','P1','',1,'u')", ""),
      1);
  assert_int_equal(store_run(x->bed->store, "DELETE FROM record", ""), 1);
  bed_keep(x->bed);
  for (uint64_t end = monotonic_us() + 1000000; monotonic_us() < end;)
    turn(x, 20000);
  assert_int_equal(bed_int(x->bed, OBJECTS), 0);
  assert_int_equal(files(x), bed_int(x->bed, "SELECT count(*) FROM artefact"));
}

/* A program that is not there is not looked for in a busy loop. */
static void test_no_program(void **state) {
  struct site *x = *state;
  for (int i = 0; i < 12; i++)
    record(x, study(x, "ecg", "to_interpret"), "x", true);
  assert_int_equal(rename(x->program, bed_path(x->bed, "away")), 0);
  unsigned turns = 0;
  for (uint64_t end = monotonic_us() + 500000; monotonic_us() < end; turns++)
    turn(x, 100000);
  assert_true(turns < 200);
  assert_int_equal(bed_int(x->bed, "SELECT count(*) FROM dicom"), 0);
  assert_int_equal(rename(bed_path(x->bed, "away"), x->program), 0);
  until(x, OBJECTS, 24);
}

static void test_restart(void **state) {
  struct site *x = *state;
  int64_t r = record(x, study(x, "ecg", "to_interpret"), "x", true);
  bad("\"schema\"", "exec sleep 30");
  while (!runs(x))
    turn(x, 20000);
  bad("nothing", "");
  restart(x); /* kills the job; nothing of it is left */
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
  assert_int_equal(bed_int(x->bed, "SELECT count(*) FROM dicom"), 0);
  until(x, OBJECTS, 2);
  assert_int_equal(find(x, r, 0, true), P_OK);
  /* The file of an object whose row was lost is found again. */
  json_t *whole = object(x, r, 0, true, "x");
  json_decref(whole);
  restart(x);
  rests(x);
  assert_int_equal(bed_int(x->bed, "SELECT count(*) FROM dicom"), 2);
  assert_int_equal(runs(x), 3);
}

static void test_damaged(void **state) {
  struct site *x = *state;
  int64_t r = record(x, study(x, "ecg", "to_interpret"), "x", true);
  char sha[HASH_TEXT], name[160];
  hash_sha256_text(SAMPLES, sizeof SAMPLES - 1, sha);
  snprintf(name, sizeof name, "artefacts/%.2s/%s", sha, sha);
  assert_int_equal(chmod(bed_path(x->bed, name), 0600), 0);
  FILE *f = fopen(bed_path(x->bed, name), "r+e");
  assert_non_null(f);
  fputc(99, f);
  fclose(f);
  for (int i = 0; i < 100 && find(x, r, 0, true) != P_artefact_corrupt; i++)
    turn(x, 20000);
  assert_int_equal(find(x, r, 0, true), P_artefact_corrupt);
  assert_int_equal(runs(x), 0);
  f = fopen(bed_path(x->bed, name), "r+e"); /* from the backup */
  assert_non_null(f);
  fputc(SAMPLES[0], f);
  fclose(f);
  until(x, OBJECTS, 2);
}

/* ---- the program itself ---- */

#define CAPTURES "tests/captures/ptp_camera/"
static char real_program[512];

static char *file_text(const char *path, size_t *ret_n) {
  struct stat st;
  FILE *f = fopen(path, "re");
  assert_true(f && fstat(fileno(f), &st) == 0);
  char *text = calloc(1, (size_t)st.st_size + 1);
  assert_int_equal(fread(text, 1, (size_t)st.st_size, f), st.st_size);
  fclose(f);
  *ret_n = (size_t)st.st_size;
  return text;
}

/* What asaleed-export makes of the pictures of a capture: it takes the job as it is told, and shows what it may. */
static void test_program(void **state) {
  struct site *x = *state;
  char reason[256], path[160];
  size_t n;
  json_t *golden, *item;
  if (access(real_program, X_OK) < 0 || access(CAPTURES "normal.json", R_OK) < 0) {
    print_message("asaleed-export or its captures are not there\n");
    skip();
  }
  snprintf(x->program, sizeof x->program, "%s", real_program);
  char *text = file_text(CAPTURES "normal.json", &n);
  text[strcspn(text, "\n")] = 0;
  assert_int_equal(json_read(text, strlen(text), &golden, reason), 0);
  int64_t y = study(x, "fundus", "acquired"), r = record(x, y, text, false);
  run_sql(x, "INSERT INTO pupil(study, dilated, agents, degree_mm, at, by)"
             " VALUES(1, 1, '[\"tropicamide\",\"phenylephrine\"]', '6.5', 1, 'u')");
  size_t i, pictures = json_array_size(json_object_get(json_object_get(golden, "acquired"), "pictures"));
  assert_true(pictures > 1);
  json_array_foreach(json_object_get(json_object_get(golden, "acquired"), "pictures"), i, item) {
    char sha[HASH_TEXT];
    snprintf(path, sizeof path, CAPTURES "blobs/%s", json_text(item, "sha256"));
    char *bytes = file_text(path, &n);
    bed_begin(x->bed);
    assert_int_equal(artefact_put(x->bed->artefacts, x->bed->store, "blob", bytes, n, 1, sha), 0);
    assert_string_equal(sha, json_text(item, "sha256"));
    assert_int_equal(store_run(x->bed->store, "INSERT INTO picture(record, number, sha256) VALUES(?,?,?)", "iit", r,
                               (int64_t)i + 1, sha),
                     1);
    assert_int_equal(store_run(x->bed->store,
                               "INSERT INTO picture_label(record, number, laterality, field, at, by)"
                               " VALUES(?,?,?,'macula',1,'u')",
                               "iit", r, (int64_t)i + 1, i % 2 ? "L" : "R"),
                     1);
    bed_keep(x->bed);
    free(bytes);
  }
  const char *serial = json_text(json_object_get(golden, "device"), "serial");
  run_sql(x, "UPDATE study SET state = 'to_interpret'");
  dicom_wake(x->dicom, y);
  until(x, OBJECTS, 2 * (int64_t)pictures);
  for (i = 0; i < 2 * pictures; i++) {
    struct dicom_key key = {r, (int64_t)i / 2 + 1, i % 2};
    char sha[HASH_TEXT];
    uint8_t *bytes;
    assert_int_equal(dicom_find(x->dicom, &key, sha), P_OK);
    assert_int_equal(artefact_get(x->bed->artefacts, sha, EXPORT_OBJECT_MAX, &bytes, &n), 0);
    assert_true(n > 132 && !memcmp(bytes + 128, "DICM", 4));
    assert_int_equal(memmem(bytes, n, serial, strlen(serial)) != NULL, key.whole);
    assert_non_null(memmem(bytes, n, "Lefèvre", strlen("Lefèvre")));
    free(bytes);
  }
  json_decref(golden);
  free(text);
}

int main(int argc, char **argv) {
  const char *slash = strrchr(argv[0], '/');
  snprintf(real_program, sizeof real_program, "%.*s/../asaleed-export", argc && slash ? (int)(slash - argv[0]) : 1,
           slash ? argv[0] : ".");
#define WITH_SITE(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_uid_of_uuid),
      cmocka_unit_test(test_uid_of_name),
      WITH_SITE(test_job),
      WITH_SITE(test_which),
      WITH_SITE(test_asked),
      WITH_SITE(test_pictures),
      WITH_SITE(test_restored),
      WITH_SITE(test_identity),
      WITH_SITE(test_refused),
      WITH_SITE(test_refused_before),
      WITH_SITE(test_failed),
      WITH_SITE(test_failed_ways),
      WITH_SITE(test_crashes),
      WITH_SITE(test_erased_meanwhile),
      WITH_SITE(test_no_program),
      WITH_SITE(test_restart),
      WITH_SITE(test_damaged),
      WITH_SITE(test_program),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
