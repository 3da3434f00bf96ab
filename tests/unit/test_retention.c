/* Patients whose time is over: who they are; the archive, against the rows and files that there are; the erasure, of a
 * patient with everything that there can be, beside another with the same, where readings of each came to the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"
#include "buf.h"
#include "fail_alloc.h"
#include "json.h"
#include "log.h"
#include "patient.h"
#include "retention.h"
#include "str.h"
#include "wall.h"
#include <sys/syscall.h>
#include <time.h>

#define COUNT(a) (sizeof a / sizeof *a)
#define MONTH_US INT64_C(2629746000000)

/* The system's clock, moved by this much; or standing still. */
static int64_t clock_step_us, clock_at_us;
int clock_gettime(clockid_t id, struct timespec *ret) {
  int r = (int)syscall(SYS_clock_gettime, id, ret);
  if (id == CLOCK_REALTIME) {
    const int64_t us = clock_at_us ? clock_at_us : ret->tv_sec * WALL_SECOND + ret->tv_nsec / 1000 + clock_step_us;
    *ret = (struct timespec){.tv_sec = us / WALL_SECOND, .tv_nsec = us % WALL_SECOND * 1000};
  }
  return r;
}

static const struct caller gp = {.name = "martin", .role = ROLE_GP, .rpps = "2"};
static const struct actor lgc = {.name = "logiciel"};
static const struct conf conf = {.active_months = 60, .archive_months = 180};

/* ---- two patients with everything ---- */

struct who {
  const char *id, *mark, *reason;
  int64_t base; /* of the numbers of all of its rows */
};
static const struct who alpha = {"A1", "alpha-secret", "alpha-reason", 100};
static const struct who bravo = {"B1", "bravo-secret", "bravo-reason", 200};

/* ?1 the patient's numbers begin there (those of rows that are nobody's, 800 further), ?2 its id, ?3 its mark, ?4 where
 * the other's begin. */
#define SHA(name) "(SELECT sha FROM sha WHERE name = ?3 || ' " name "')"

static const char *const once[] = {
    "CREATE TEMP TABLE sha(name TEXT PRIMARY KEY, sha TEXT)",
    "INSERT INTO delegation VALUES(1,'1','2','p','a','2015-01-01','2015-01-01','2016-01-01','2015-01-01','2015-01-01',"
    "1,'u')",
    "INSERT INTO meeting VALUES(1,'2','1','2015-02-01','minutes of all',1,'u')",
    "INSERT INTO signing_key VALUES(zeroblob(32),'2',x'5ec7e7',1)",
    "INSERT INTO user(name, role, display, created) VALUES('martin','gp','Dr Martin',1)",
};

static const char *const own[] = {
    "INSERT INTO patient_version VALUES(?2,1,?3,?3,'1950-01-01','F',1,?3,?3,'qualified')",
    "INSERT INTO patient_version VALUES(?2,2,?3,?3,'1950-01-02','F',1,?3,?3,'qualified')",
    "INSERT INTO patient VALUES(?2,2)",
    "INSERT INTO followup VALUES(?1+1,?2,'p',1,'u'),(?1+2,?2,'p',1,'u')",
    "INSERT INTO followup_team VALUES(?1+1,?1+1,'2','1',1,'u',NULL),(?1+2,?1+1,'3','1',1,'u',?3),"
    "(?1+3,?1+2,'2','1',1,'u',NULL)",
    "INSERT INTO followup_end VALUES(?1+2,1,'u',?3)",
    "INSERT INTO meeting VALUES(?1+1,'2','1','2015-02-01','minutes of more',1,'u')",
    "INSERT INTO meeting_followup VALUES(?1+1,?1+1,?3),(1,?1+1,?3)",
    "INSERT INTO orders VALUES(?1+1,?2,'ecg','u',1,?1+1,1),(?1+2,?2,'spirometry','u',1,?1+1,NULL),"
    "(?1+3,?2,'fundus','u',1,?1+1,NULL),(?1+4,?2,'ecg','u',1,NULL,NULL)",
    /* 1 signed, amended; 3 returned, 4 repeats it; 5 spirometry; 6 retinography; 7 of a file; 8 ordered; 9 failed */
    "INSERT INTO study(id, orders, state, created, updated, comment, clean, height_mm) "
    "VALUES(?1+1,?1+1,'interpreted',1,"
    "1,?3,1,NULL),(?1+3,?1+1,'returned',1,1,?3,1,NULL),(?1+5,?1+2,'interpreted',1,1,?3,0,1685),"
    "(?1+6,?1+3,'acquired',1,1,?3,1,NULL),(?1+7,?1+4,'acquired',1,1,?3,1,NULL),(?1+8,?1+4,'ordered',1,1,NULL,NULL,NULL)"
    ","
    "(?1+9,?1+3,'cancelled',1,1,NULL,NULL,NULL)",
    "INSERT INTO study(id, orders, state, created, updated, comment, clean, claim, claim_by, claim_expires, repeats)"
    " VALUES(?1+4,?1+1,'interpreting',1,1,?3,1,x'c1','martin',1,?1+3)",
    "INSERT INTO acquisition(id, study, device, driver, driver_version, program, node, seconds, started, "
    "offset_minutes,"
    " by, ended, outcome, reason, device_serial, capture, patient_version) VALUES"
    "(?1+1,?1+1,'d','d','1','1','n',1,1,0,'u',2,'ok',NULL,'SN'," SHA(
        "capture1") ",1),"
                    "(?1+2,?1+5,'d','d','1','1','n',1,1,0,'u',2,'ok',NULL,'SN'," SHA(
                        "capture2") ",1),"
                                    "(?1+3,?1+5,'d','d','1','1','n',1,1,0,'u',2,'ok',?3,'SN'," SHA(
                                        "with a stray") ",1),"
                                                        "(?1+4,?1+5,'d','d','1','1','n',1,1,0,'u',2,'ok',NULL,'SN'"
                                                        "," SHA(
                                                            "with a reading of another") ",1),"
                                                                                         "(?1+5,?1+6,'d','d','1','1','"
                                                                                         "n',1,1,0,'u'"
                                                                                         ",2,'ok',NULL,'SN'," SHA(
                                                                                             "capture5") ",1),"
                                                                                                         "(?1+6,?1+9,'"
                                                                                                         "d','d','1','"
                                                                                                         "1','n',1,1,0,"
                                                                                                         "'u',2,'"
                                                                                                         "device_fault'"
                                                                                                         ",?3,'SN'"
                                                                                                         "," SHA(
                                                                                                             "captu"
                                                                                                             "re6") ",1"
                                                                                                                    "),"
                                                                                                                    "(?"
                                                                                                                    "1+"
                                                                                                                    "10"
                                                                                                                    ",?"
                                                                                                                    "1+"
                                                                                                                    "5,"
                                                                                                                    "'d"
                                                                                                                    "',"
                                                                                                                    "'d"
                                                                                                                    "',"
                                                                                                                    "'1"
                                                                                                                    "',"
                                                                                                                    "'1"
                                                                                                                    "',"
                                                                                                                    "'n"
                                                                                                                    "',"
                                                                                                                    "1,"
                                                                                                                    "1,"
                                                                                                                    "0,"
                                                                                                                    "'"
                                                                                                                    "u'"
                                                                                                                    ",2"
                                                                                                                    ",'"
                                                                                                                    "ok"
                                                                                                                    "',"
                                                                                                                    "NU"
                                                                                                                    "LL"
                                                                                                                    ",'"
                                                                                                                    "SN"
                                                                                                                    "'"
                                                                                                                    "," SHA(
                                                                                                                        "move"
                                                                                                                        "d "
                                                                                                                        "capt"
                                                                                                                        "ure") ",1),"
                                                                                                                               "(?1+11,?1+9,'d','d','1','1','n',1,1,0,'u',2,'interrupted',NULL,NULL,NULL,1)",
    /* a file decoded twice; another whose reading lies in the tray beside one of the patient's; one discarded */
    "INSERT INTO file VALUES(?1+1," SHA("file1") ",?3,'upload','d','u',1,1,0),(?1+2," SHA(
        "file of two") ",'two.dat','stick',NULL,'u',1,1,0)",
    "INSERT INTO acquisition(id, file, driver, driver_version, program, node, seconds, started, offset_minutes, by,"
    " ended, outcome, capture) VALUES(?1+7,?1+1,'d','1','1','n',1,1,0,'u',2,'ok'," SHA(
        "capture7") "),"
                    "(?1+8,?1+1,'d','1','1','n',1,1,0,'u',2,'ok'," SHA(
                        "capture8") "),"
                                    "(?1+9,?1+2,'d','1','1','n',1,1,0,'u',2,'ok'," SHA("capture of two") ")",
    "INSERT INTO record(id, study, acquisition, sha256, samples, driver, driver_version, program, complete, clean, at)"
    " VALUES(?1+1,?1+1,?1+1," SHA("record1") "," SHA(
        "samples1") ",'d','1','1',1,1,1),"
                    "(?1+2,?1+1,?1+1," SHA("record2") "," SHA(
                        "samples1") ",'d','2','1',1,1,1),"
                                    "(?1+3,?1+3,?1+1," SHA(
                                        "record3") ",NULL,'d','1','1',1,1,1),"
                                                   "(?1+4,?1+4,?1+1," SHA(
                                                       "record4") ",NULL,'d','1','1',1,1,1),"
                                                                  "(?1+5,?1+5,?1+2," SHA(
                                                                      "record5") ",NULL,'d','1','1',1,1,1),"
                                                                                 "(?1+6,?1+5,?1+3," SHA(
                                                                                     "record6") ",NULL,'d','1','1',1,1,"
                                                                                                "1),"
                                                                                                "(?1+7,?1+5,?1+4," SHA(
                                                                                                    "record7") ",NULL,'"
                                                                                                               "d','1',"
                                                                                                               "'1',1,"
                                                                                                               "1,1),"
                                                                                                               "(?1+8,?"
                                                                                                               "1+6,?1+"
                                                                                                               "5," SHA(
                                                                                                                   "rec"
                                                                                                                   "ord"
                                                                                                                   "8") ",NULL,'d','1','1',1,1,1),"
                                                                                                                        "(?1+9,?1+7,?1+8," SHA(
                                                                                                                            "record9") ",NULL,'d','1','1',1,1,1),"
                                                                                                                                       "(?1+13,?1+7,?1+9," SHA(
                                                                                                                                           "record13") ",NULL,'d','1','1',1,1,1)",
    "INSERT INTO supersession VALUES(?1+1,1,'u',?3)",
    "INSERT INTO unmatched VALUES"
    "(?1+1,?1+2," SHA("discarded") "," SHA(
        "discarded samples") ",'d','1','1',1,'fundus',1,'time',?3,NULL),"
                             "(?1+802,?1+3," SHA("stray") "," SHA(
                                 "stray samples") ",'d','1','1',1,'spirometry',1,'time','{}',NULL),"
                                                  "(?1+5,?1+7," SHA(
                                                      "tray5") ",NULL,'d','1','1',1,'ecg',1,'no_order',?3,NULL),"
                                                               "(?1+6,?1+8," SHA(
                                                                   "record9") ",NULL,'d','1','1',1,'ecg',1,'no_order',?"
                                                                              "3,NULL),"
                                                                              "(?1+7,?1+9," SHA(
                                                                                  "record13") ",NULL,'d','1','1',1,'"
                                                                                              "ecg',1,'no_order',?3,"
                                                                                              "NULL),"
                                                                                              "(?1+808,?1+9," SHA(
                                                                                                  "of nobody") ",NULL,'"
                                                                                                               "d','1',"
                                                                                                               "'1',1,'"
                                                                                                               "ecg',1,"
                                                                                                               "'no_"
                                                                                                               "order',"
                                                                                                               "'{}',"
                                                                                                               "NULL)",
    "INSERT INTO unmatched_end VALUES(?1+1,'discarded',NULL,1,'u',?3),(?1+5,'decoded_again',NULL,1,'u',NULL),"
    "(?1+6,'attached',?1+9,1,'u',?3),(?1+7,'attached',?1+13,1,'u',?3)",
    "INSERT INTO picture VALUES(?1+8,1," SHA("picture1") "," SHA("preview1") ",'L'),(?1+8,2," SHA(
        "picture2") ",NULL,NULL),(?1+13,1," SHA("picture13") "," SHA("preview13") ",NULL)",
    "INSERT INTO picture_label VALUES(?1+1,?1+8,1,'L','macula',NULL,1,'u'),(?1+2,?1+8,2,NULL,NULL,?3,1,'u')",
    "INSERT INTO pupil VALUES(?1+1,?1+6,1,'[\"' || ?3 || '\"]','6.5',1,'u')",
    "INSERT INTO assessment VALUES(?1+1,?1+5,1,?3),(?1+2,?1+5,1,NULL)",
    "INSERT INTO dicom VALUES(?1+1,?1+2,0,1," SHA("object1") ",NULL,'1',1,1),(?1+2,?1+2,0,0," SHA(
        "object2") ",NULL,'1',2,1),(?1+3,?1+4,0,1,NULL,?3,'1',1,1)",
    "INSERT INTO study_return VALUES(?1+3,'110531',?3,1,'u')",
    "INSERT INTO cancellation VALUES(?1+3,?3,1,'u')",
    "INSERT INTO referral VALUES(?1+1,?1+4,'ophthalmologist',?3,1,'u')",
    "INSERT INTO notice VALUES(?1+1,'page',?1+4,NULL,'2',?3,1,'u'),(?1+2,'returned',?1+3,NULL,'1',?3,1,'u')",
    "INSERT INTO notice_end VALUES(?1+1,1,'u')",
    "INSERT INTO draft VALUES(?1+4,'martin',3,?3,1),(?1+4,'durand',1,?3,1)",
    "INSERT INTO interpretation VALUES(?1+1,?1+1,1,'martin',1,'normal',?3,'c',1,?3,?3,NULL,?3,x'51',zeroblob(32)),"
    "(?1+2,?1+1,2,'martin',1,'abnormal',?3,'c',2,NULL,?3,?3,?3,x'52',zeroblob(32)),"
    "(?1+3,?1+5,1,'martin',1,'normal',?3,'c',1,NULL,NULL,NULL,NULL,NULL,NULL)",
    "INSERT INTO withdrawal VALUES(?1+3,1,'u',?3)",
    "INSERT INTO answered VALUES('martin',?3,x'00',200,'{\"patient\":\"' || ?2 || '\",\"family\":\"' || ?3 || '\"}',1,"
    "NULL),('durand',?3,x'00',200,'{\"family\":\"' || ?3 || '\"}',1,'[\"' || ?2 || '\"]')",
};

/* Of the other's spirometry a stray was this patient's; of this patient's a reading was the other's. */
static const char *const across[] = {
    "INSERT INTO record(id, study, acquisition, sha256, samples, driver, driver_version, program, complete, clean, at)"
    " VALUES(?1+10,?1+5,?4+4," SHA("record10") "," SHA("samples10") ",'d','1','1',1,1,1)",
    "INSERT INTO unmatched VALUES(?1+3,?4+4," SHA("record10") "," SHA(
        "samples10") ",'d','1','1',1,'spirometry',1,'time',?3,NULL)",
    "INSERT INTO unmatched_end VALUES(?1+3,'attached',?1+10,1,'u',?3)",
    "INSERT INTO record(id, study, acquisition, sha256, driver, driver_version, program, complete, clean, at)"
    " VALUES(?1+11,?1+5,?1+10," SHA("moved record") ",'d','1','1',1,1,1),"
                                                    "(?4+12,?4+5,?1+10," SHA("moved record") ",'d','1','1',1,1,1)",
    "INSERT INTO supersession VALUES(?1+11,1,'u','reassign')",
    "INSERT INTO reassignment VALUES(?1+1,?1+11,?4+12,1,'u','moved')",
};

static void run(struct store_bed *b, const char *sql, const struct who *w, int64_t other) {
  const char *types = strstr(sql, "?4") ? "itti" : strstr(sql, "?3") ? "itt" : strstr(sql, "?2") ? "it" : "i";
  int r =
      strchr(sql, '?') ? store_run(b->store, sql, types, w->base, w->id, w->mark, other) : store_run(b->store, sql, "");
  if (r < 0)
    fail_msg("%.60s: %d", sql, r);
}

/* An artefact, by its name "kind/name" known behind the mark; `text`: its contents, else mark and name. */
static void put(struct store_bed *b, const struct who *w, const char *name, const char *text) {
  char whole[128], kind[16], sha[HASH_TEXT];
  snprintf(kind, sizeof kind, "%.*s", (int)strcspn(name, "/"), name);
  snprintf(whole, sizeof whole, "%s %s", w->mark, strchr(name, '/') + 1);
  text = text ? text : whole;
  assert_int_equal(artefact_put(b->artefacts, b->store, kind, text, strlen(text), 1, sha), 0);
  assert_int_equal(store_run(b->store, "INSERT INTO sha VALUES(?,?)", "tt", whole, sha), 1);
}

static const char *sha_of(struct store_bed *b, const struct who *w, const char *name) {
  static char sha[4][HASH_TEXT];
  static unsigned next;
  char whole[128];
  snprintf(whole, sizeof whole, "%s %s", w->mark, name);
  struct rows r = store_query(b->store, "SELECT sha FROM sha WHERE name = ?", "t", whole);
  assert_true(rows_next(&r));
  assert_true(str_copy(sha[++next % 4], HASH_TEXT, rows_text(&r, 0)));
  assert_int_equal(rows_finish(&r), 0);
  return sha[next % 4];
}

/* kind/name */
static const char *const marked[] = {"record/record1",
                                     "record/record2",
                                     "record/record3",
                                     "record/record4",
                                     "record/record5",
                                     "record/record6",
                                     "record/record7",
                                     "record/record8",
                                     "record/record9",
                                     "record/record10",
                                     "record/record13",
                                     "samples/samples1",
                                     "samples/samples10",
                                     "capture/capture1",
                                     "capture/capture2",
                                     "capture/capture8",
                                     "blob/file1",
                                     "blob/picture1",
                                     "blob/picture2",
                                     "blob/picture13",
                                     "blob/waste",
                                     "blob/never read",
                                     "blob/stray eye",
                                     "preview/preview1",
                                     "preview/preview13",
                                     "preview/stray preview",
                                     "dicom/object1",
                                     "dicom/object2",
                                     "samples/discarded samples"};
#define MARKED (COUNT(marked) + 5) /* and those whose texts name others */
/* What stays: it is another's too, or may be. No mark in it. */
static const char *const hidden[] = {"capture/with a stray",  "capture/with a reading of another",
                                     "capture/moved capture", "record/stray",
                                     "samples/stray samples", "record/moved record",
                                     "blob/file of two",      "record/of nobody",
                                     "capture/capture of two"};

static void put_files(struct store_bed *b, const struct who *w) {
  char text[1024];
  for (size_t i = 0; i < COUNT(marked); i++)
    put(b, w, marked[i], NULL);
  for (size_t i = 0; i < COUNT(hidden); i++) {
    snprintf(text, sizeof text, "{\"%s\":%d}", hidden[i], (int)w->base);
    put(b, w, hidden[i], text);
  }
  snprintf(text, sizeof text, "%s\n# 1 9 %s\n> 00\n# 2 9 %s\n~ 3 9 %s\nend ok\n", w->mark, sha_of(b, w, "picture1"),
           sha_of(b, w, "picture2"), sha_of(b, w, "waste"));
  put(b, w, "capture/capture5", text);
  snprintf(text, sizeof text, "%s\n# 1 9 %s\nend -5\n", w->mark, sha_of(b, w, "never read"));
  put(b, w, "capture/capture6", text);
  snprintf(text, sizeof text, "%s\n# 1 9 %s\nend ok\n", w->mark, sha_of(b, w, "file1"));
  put(b, w, "capture/capture7", text);
  snprintf(text, sizeof text,
           "{\"acquired\":{\"pictures\":[{\"preview\":{\"sha256\":\"%s\"},\"sha256\":\"%s\"}]},\"m\":\"%s\"}",
           sha_of(b, w, "stray preview"), sha_of(b, w, "stray eye"), w->mark);
  put(b, w, "record/discarded", text);
  snprintf(text, sizeof text, "{\"acquired\":{\"pictures\":[]},\"m\":\"%s\"}", w->mark);
  put(b, w, "record/tray5", text);
}

/* The trail says of each study what people gave as a reason. */
static void put_trail(struct store_bed *b, const struct who *w) {
  for (int i = 0; i < 3; i++) {
    assert_int_equal(audit_add(b->store, &lgc, "study.cancel", "S-1",
                               json_pack("{s:s, s:s}", "patient", w->id, "reason", w->reason)),
                     0);
  }
}

static void people(struct store_bed *b) {
  const struct who *const both[] = {&alpha, &bravo};
  bed_begin(b);
  for (size_t i = 0; i < COUNT(once); i++)
    run(b, once[i], &alpha, 0);
  for (int k = 0; k < 2; k++) {
    put_files(b, both[k]);
    for (size_t i = 0; i < COUNT(own); i++)
      run(b, own[i], both[k], 0);
    put_trail(b, both[k]);
  }
  for (int k = 0; k < 2; k++)
    for (size_t i = 0; i < COUNT(across); i++)
      run(b, across[i], both[k], both[!k]->base);
  bed_keep(b);
}

/* ---- what there is, looked at from outside ---- */

/* The column that has a row's number, for each table: its first, but for these. */
static const char *key_of(const char *table, const char *first) {
  return !strcmp(table, "meeting_followup") ? "followup" : first;
}

/* Calls back with each row of a table whose number is the patient's; NULL: with each row. */
static unsigned each_row(sqlite3 *db, const char *table, const struct who *w,
                         void (*row)(const char *table, sqlite3_stmt *st, void *arg), void *arg) {
  char sql[512];
  sqlite3_stmt *st;
  unsigned n = 0;
  snprintf(sql, sizeof sql, "SELECT * FROM \"%s\"", table);
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
  const char *key = key_of(table, sqlite3_column_name(st, 0));
  if (w)
    snprintf(sql, sizeof sql,
             "SELECT * FROM \"%s\" WHERE (typeof(%s) = 'integer' AND %s BETWEEN %d AND %d) OR %s = '%s' ORDER BY 1, 2",
             table, key, key, (int)w->base, (int)w->base + 99, key, w->id);
  else
    snprintf(sql, sizeof sql, "SELECT * FROM \"%s\" ORDER BY 1, 2", table);
  sqlite3_finalize(st);
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
  for (; sqlite3_step(st) == SQLITE_ROW; n++)
    row(table, st, arg);
  sqlite3_finalize(st);
  return n;
}

static unsigned each_table(sqlite3 *db, const char *sql, void (*table)(sqlite3 *db, const char *name, void *arg),
                           void *arg) {
  sqlite3_stmt *st;
  unsigned n = 0;
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
  for (; sqlite3_step(st) == SQLITE_ROW; n++)
    table(db, (const char *)sqlite3_column_text(st, 0), arg);
  sqlite3_finalize(st);
  return n;
}
#define ALL_TABLES "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"

struct dump {
  struct buf text;
  const struct who *who;
};

static void dump_row(const char *table, sqlite3_stmt *st, void *arg) {
  struct dump *d = arg;
  buf_format(&d->text, "%s", table);
  for (int c = 0; c < sqlite3_column_count(st); c++) {
    buf_format(&d->text, "|%d:", sqlite3_column_type(st, c));
    buf_add(&d->text, sqlite3_column_blob(st, c), (size_t)sqlite3_column_bytes(st, c));
  }
  buf_u8(&d->text, '\n');
}

static void dump_table(sqlite3 *db, const char *name, void *arg) {
  struct dump *d = arg;
  /* What both readings of a move name goes when either does. */
  if (!d->who || strcmp(name, "reassignment"))
    each_row(db, name, d->who, dump_row, d);
}

static char *dump(struct store_bed *b, const struct who *w) {
  struct dump d = {.text = BUF_INIT(8 << 20), .who = w};
  size_t n;
  sqlite3 *db = bed_raw(b);
  each_table(db, ALL_TABLES, dump_table, &d);
  sqlite3_close(db);
  bed_up(b);
  buf_u8(&d.text, 0);
  char *text = (char *)buf_take(&d.text, &n);
  assert_non_null(text);
  return text;
}

static void is_sound(struct store_bed *b) {
  struct store_check store;
  struct audit_check audit;
  assert_int_equal(store_verify(b->store, &store), 0);
  if (!store.ok)
    fail_msg("%s is not as it was sealed", store.table);
  assert_true(store.consistent);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
  assert_int_equal(audit_verify(b->store, b->artefacts, &audit), 0);
  assert_true(audit.ok);
}

/* ---- archives ---- */

struct bytes {
  char *data;
  size_t n;
};

/* Reads it in parts of this size; negative: as it broke off. */
static ssize_t read_archive(struct retention_archive *x, size_t part, struct bytes *ret) {
  size_t n = 0, whole = (size_t)retention_archive_bytes(x);
  ssize_t got;
  char *data = malloc(whole + part);
  assert_non_null(data);
  while ((got = retention_archive_read(x, data + n, part)) > 0) {
    n += (size_t)got;
    assert_true((size_t)got <= part && n <= whole);
  }
  if (got < 0) {
    free(data);
    return got;
  }
  assert_int_equal(n, whole);
  *ret = (struct bytes){data, n};
  return 0;
}

static struct bytes archive_of(struct store_bed *b, const char *patient, size_t part) {
  struct retention_archive *x = NULL;
  struct bytes all = {0};
  assert_int_equal(retention_archive_start(b->store, b->artefacts, patient, &x), P_OK);
  assert_int_equal(read_archive(x, part, &all), 0);
  char said[HASH_TEXT], is[HASH_TEXT];
  retention_archive_sha256(x, said);
  hash_sha256_text(all.data, all.n, is);
  assert_string_equal(said, is);
  retention_archive_free(x);
  return all;
}

/* Exports it, and says with which hash. */
static const char *export(struct store_bed *b, const char *patient) {
  static char sha256[HASH_TEXT];
  struct retention_archive *x = NULL;
  struct bytes all = {0};
  assert_int_equal(retention_archive_start(b->store, b->artefacts, patient, &x), P_OK);
  assert_int_equal(read_archive(x, 1 << 16, &all), 0);
  free(all.data);
  bed_begin(b);
  assert_int_equal(retention_archived(b->store, &gp, x), P_OK);
  bed_keep(b);
  retention_archive_sha256(x, sha256);
  retention_archive_free(x);
  return sha256;
}

static enum problem erase(struct store_bed *b, const char *patient, const char *sha256, int64_t *ret_files) {
  int64_t files = -1;
  bed_begin(b);
  enum problem p = retention_erase(b->store, b->artefacts, &conf, &gp, patient, sha256, &files);
  if (p == P_OK) {
    bed_keep(b);
    assert_int_equal(retention_sweep(b->store, b->artefacts), 0);
  } else {
    assert_int_equal(files, -1);
    store_undo(b->store);
  }
  assert_int_equal(store_commit(b->store), 0);
  if (ret_files)
    *ret_files = files;
  return p;
}

/* The contents of an entry, by what the format says; NULL when there is none of that name. */
static const char *entry(const struct bytes *tar, const char *name, size_t *ret_n) {
  for (size_t at = 0; at + 1024 < tar->n;) {
    const char *h = tar->data + at;
    size_t n = strtoull(h + 124, NULL, 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++)
      sum += i >= 148 && i < 156 ? ' ' : (unsigned char)h[i];
    assert_int_equal(strtoul(h + 148, NULL, 8), sum);
    assert_memory_equal(h + 257, "ustar\00000", 8);
    if (!strcmp(h, name)) {
      *ret_n = n;
      return h + 512;
    }
    at += 512 + (n + 511) / 512 * 512;
  }
  return NULL;
}

/* The rows in it: {"table": [row..]}. */
static json_t *archive_rows(const struct bytes *tar) {
  json_t *all = json_object();
  size_t n = 0;
  const char *text = entry(tar, "patient.jsonl", &n), *end = text + n;
  assert_non_null(text);
  for (const char *line = text; line < end;) {
    const char *feed = memchr(line, '\n', (size_t)(end - line));
    assert_non_null(feed);
    json_t *item = json_loadb(line, (size_t)(feed - line), 0, NULL);
    const char *table = json_text(item, "table");
    assert_non_null(table);
    if (!json_object_get(all, table))
      json_object_set_new(all, table, json_array());
    json_array_append(json_object_get(all, table), json_object_get(item, "row"));
    char *again = json_canonical(item, NULL);
    assert_memory_equal(again, line, (size_t)(feed - line));
    free(again);
    json_decref(item);
    line = feed + 1;
  }
  return all;
}

static json_t *row_as_json(const char *table, sqlite3_stmt *st) {
  json_t *row = json_object();
  for (int c = 0; c < sqlite3_column_count(st); c++) {
    const char *name = sqlite3_column_name(st, c);
    char hex[256];
    json_t *v = json_null();
    if (sqlite3_column_type(st, c) == SQLITE_INTEGER)
      v = json_integer(sqlite3_column_int64(st, c));
    else if (sqlite3_column_type(st, c) == SQLITE_TEXT)
      v = json_string((const char *)sqlite3_column_text(st, c));
    else if (sqlite3_column_type(st, c) == SQLITE_BLOB) {
      str_hex(sqlite3_column_blob(st, c), (size_t)sqlite3_column_bytes(st, c), hex);
      v = json_string(hex);
    }
    if (strcmp(table, "meeting") || strcmp(name, "minute"))
      json_object_set_new(row, name, v);
    else
      json_decref(v);
  }
  return row;
}

/* Tables with a column that leads to a patient, and that are in no archive: why. */
static const char *const not_archived[][2] = {
    {"patient_archive", "says what was exported: an archive would change with each"},
    {"audit_patient", "which rows of the trail are the patient's: those themselves are there"},
};

static bool is_exception(const char *table) {
  for (size_t i = 0; i < COUNT(not_archived); i++)
    if (!strcmp(table, not_archived[i][0]))
      return true;
  return false;
}

struct walk {
  json_t *archive;
  unsigned tables, rows, missing;
};

static void row_is_there(const char *table, sqlite3_stmt *st, void *arg) {
  struct walk *w = arg;
  json_t *wanted = row_as_json(table, st), *list = json_object_get(w->archive, table), *row;
  bool found = false;
  size_t i;
  json_array_foreach(list, i, row) {
    found |= json_equal(row, wanted) == 1;
  }
  if (!found) {
    char *text = json_dumps(wanted, JSON_COMPACT);
    print_error("%s: not in the archive: %s\n", table, text);
    free(text);
    w->missing++;
  }
  json_decref(wanted);
  w->rows++;
}

static void table_is_there(sqlite3 *db, const char *name, void *arg) {
  struct walk *w = arg;
  const bool there = json_object_get(w->archive, name) != NULL;
  if (there == is_exception(name))
    fail_msg("%s is%s in the archive", name, there ? "" : " not");
  if (there && strcmp(name, "audit"))
    each_row(db, name, &alpha, row_is_there, w);
  w->tables++;
}

/* Every table from which foreign keys lead to a patient, or that has one in a column. */
#define TABLES_OF_PATIENTS                                                                                            \
  "WITH RECURSIVE names(name) AS (SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%')," \
  " leads(name) AS (SELECT 'patient' UNION SELECT n.name FROM names n, pragma_table_info(n.name) c WHERE c.name ="    \
  " 'patient' UNION SELECT n.name FROM leads l, names n, pragma_foreign_key_list(n.name) k WHERE k.\"table\" ="       \
  " l.name) SELECT name FROM leads ORDER BY 1"

/* Rows that are others' too, or that nobody's numbers tell: how many of each table. */
static const struct {
  const char *table;
  unsigned n;
} besides[] = {
    {"acquisition", 2}, /* the other's: one that a stray of this patient's came with, one whose reading moved here */
    {"meeting", 2},     /* no key leads from these to a patient */
    {"file", 2},        {"reassignment", 1}, {"signing_key", 1}, {"audit", 3},
};

static void test_archive_rows(void **state) {
  struct store_bed *b = *state;
  people(b);
  struct bytes tar = archive_of(b, alpha.id, 1 << 16);
  struct walk w = {.archive = archive_rows(&tar)};
  sqlite3 *db = bed_raw(b);
  unsigned archived = 0, extra = 0;
  each_table(db, TABLES_OF_PATIENTS, table_is_there, &w);
  sqlite3_close(db);
  bed_up(b);
  assert_int_equal(w.missing, 0);
  const char *table;
  json_t *list;
  json_object_foreach(w.archive, table, list) {
    archived += (unsigned)json_array_size(list);
  }
  for (size_t i = 0; i < COUNT(besides); i++)
    extra += besides[i].n;
  assert_int_equal(archived, w.rows + extra);
  json_object_foreach(w.archive, table, list) {
    size_t i;
    json_t *row;
    json_array_foreach(list, i, row) {
      char *text = json_dumps(row, JSON_COMPACT);
      assert_null(strstr(text, bravo.mark));
      assert_null(strstr(text, bravo.reason));
      assert_null(strstr(text, "5ec7e7")); /* nobody's secret key */
      assert_null(strstr(text, "minutes of"));
      free(text);
    }
  }
  assert_int_equal(json_array_size(json_object_get(w.archive, "audit")), 3);
  print_message("# %u rows of %u tables in the archive, %u of them others' too\n", archived, w.tables, extra);
  json_decref(w.archive);
  free(tar.data);
}

/* ---- its bytes ---- */

static int shell(const char *format, const char *path) {
  char command[1024];
  snprintf(command, sizeof command, format, path);
  return system(command);
}

static void test_archive_parts(void **state) {
  struct store_bed *b = *state;
  static const size_t parts[] = {1, 2, 511, 512, 513, 1000, 4096, 1 << 20};
  people(b);
  struct bytes tar = archive_of(b, alpha.id, 1 << 16);
  for (size_t i = 0; i < COUNT(parts); i++) {
    struct bytes again = archive_of(b, alpha.id, parts[i]);
    assert_int_equal(again.n, tar.n);
    assert_memory_equal(again.data, tar.data, tar.n);
    free(again.data);
  }
  bed_down(b);
  bed_up(b);
  struct bytes later = archive_of(b, alpha.id, 10240);
  assert_int_equal(later.n, tar.n);
  assert_memory_equal(later.data, tar.data, tar.n);
  free(later.data);
  assert_int_equal(tar.n % 512, 0);
  for (size_t i = tar.n - 1024; i < tar.n; i++)
    assert_int_equal(tar.data[i], 0);
  print_message("# %zu bytes, the same in parts of %zu sizes\n", tar.n, COUNT(parts));
  free(tar.data);
}

#define READER                                                                                                 \
  "python3 -c 'import hashlib, json, sys, tarfile\n"                                                           \
  "t = tarfile.open(sys.argv[1], \"r:\")\n"                                                                    \
  "assert t.getnames()[0] == \"patient.jsonl\" and len(set(t.getnames())) == len(t.getnames()) > 20\n"         \
  "for m in t.getmembers():\n"                                                                                 \
  "  data = t.extractfile(m).read()\n"                                                                         \
  "  assert m.isfile() and m.mode == 0o600 and m.mtime == 0 and len(data) == m.size\n"                         \
  "  if m.name == \"patient.jsonl\": assert all(json.loads(l)[\"row\"] for l in data.decode().splitlines())\n" \
  "  else: assert m.name == \"artefacts/\" + hashlib.sha256(data).hexdigest()\n'"

/* As tar and python read it: names, and each artefact's contents under its hash. */
static void test_archive_readers(void **state) {
  struct store_bed *b = *state;
  people(b);
  struct bytes tar = archive_of(b, alpha.id, 7777);
  const char *path = bed_path(b, "out.tar");
  FILE *f = fopen(path, "we");
  assert_non_null(f);
  assert_int_equal(fwrite(tar.data, 1, tar.n, f), tar.n);
  assert_int_equal(fclose(f), 0);
  assert_int_equal(
      shell("LC_ALL=C tar -tf '%s' | grep -cvE '^(patient.jsonl|artefacts/[0-9a-f]{64})$' | grep -qx 0", path), 0);
  assert_int_equal(shell("test -z \"$(LC_ALL=C tar -tf '%s' 2>&1 >/dev/null)\"", path), 0);
  assert_int_equal(shell(READER " '%s'", path), 0);
  free(tar.data);
}

struct files {
  struct bytes tar;
  unsigned named, marked;
};
static struct files seen;

/* Every file of the store in which the patient's mark is. */
static int file_seen(const char *path, const struct stat *st, int kind, struct FTW *at) {
  char bytes[4096], name[128];
  if (kind != FTW_F || !strstr(path, "/artefacts/"))
    return 0;
  FILE *f = fopen(path, "re");
  assert_non_null(f);
  size_t n = fread(bytes, 1, sizeof bytes, f), in_n = 0;
  fclose(f);
  assert_int_equal(n, st->st_size);
  snprintf(name, sizeof name, "artefacts/%s", path + at->base);
  const char *in = entry(&seen.tar, name, &in_n);
  if (memmem(bytes, n, alpha.mark, strlen(alpha.mark))) {
    if (!in)
      fail_msg("not in the archive: %.*s", (int)n, bytes);
    seen.marked++;
  }
  if (in) {
    assert_int_equal(in_n, n);
    assert_memory_equal(in, bytes, n);
    assert_null(memmem(bytes, n, bravo.mark, strlen(bravo.mark)));
    seen.named++;
  }
  return 0;
}

static void test_archive_files(void **state) {
  struct store_bed *b = *state;
  unsigned entries = 0;
  people(b);
  seen = (struct files){.tar = archive_of(b, alpha.id, 1 << 16)};
  nftw(b->dir, file_seen, 16, FTW_PHYS);
  for (size_t at = 0; seen.tar.data[at]; entries++)
    at += 512 + (strtoull(seen.tar.data + at + 124, NULL, 8) + 511) / 512 * 512;
  assert_int_equal(seen.marked, MARKED); /* put_files() has so many */
  /* and captures of which another's reading comes too (of two instruments, of the file, of what moved either way), the
   * readings that moved, and the file that lies in the tray as well */
  assert_int_equal(seen.named, seen.marked + 4 + 2 + 2 + 1 - 0);
  assert_int_equal(entries, seen.named + 1);
  print_message("# %u files in the archive, %u of them this patient's alone\n", seen.named, seen.marked);
  free(seen.tar.data);
}

/* Each file damaged in turn, then each gone. */
static void test_archive_broken(void **state) {
  struct store_bed *b = *state;
  unsigned at_start = 0, under_way = 0;
  people(b);
  struct bytes tar = archive_of(b, alpha.id, 1 << 16);
  for (size_t at = 0; tar.data[at]; at += 512 + (strtoull(tar.data + at + 124, NULL, 8) + 511) / 512 * 512) {
    const char *name = tar.data + at;
    char path[600], kept[600];
    if (strncmp(name, "artefacts/", 10) != 0)
      continue;
    snprintf(path, sizeof path, "%s/artefacts/%.2s/%s", b->dir, name + 10, name + 10);
    snprintf(kept, sizeof kept, "%s/kept", b->dir);
    for (int how = 0; how < 4; how++) {
      struct retention_archive *x = NULL;
      struct bytes all = {0};
      FILE *f;
      size_t n = strtoull(tar.data + at + 124, NULL, 8);
      assert_int_equal(rename(path, kept), 0);
      if (how < 3) { /* another byte, one too few, a folder */
        char bytes[4096];
        assert_non_null(f = fopen(kept, "re"));
        assert_int_equal(fread(bytes, 1, sizeof bytes, f), n);
        fclose(f);
        bytes[n / 2] ^= 1;
        if (how == 2)
          assert_int_equal(mkdir(path, 0700), 0);
        else {
          assert_non_null(f = fopen(path, "we"));
          assert_int_equal(fwrite(bytes, 1, n - (how == 1), f), n - (how == 1));
          fclose(f);
        }
      }
      enum problem p = retention_archive_start(b->store, b->artefacts, alpha.id, &x);
      if (p != P_OK) {
        assert_null(x);
        if (how != 2) /* which is no damage of the file, but of the disk */
          assert_int_equal(p, P_artefact_corrupt);
        at_start++;
      } else {
        char part[100];
        const ssize_t r = read_archive(x, how ? 100 : 1 << 16, &all);
        assert_true(r < 0);
        assert_int_equal(retention_archive_read(x, part, sizeof part), r); /* it does not go on behind the damage */
        bed_begin(b);
        assert_int_equal(retention_archived(b->store, &gp, x), P_archive_missing);
        store_undo(b->store);
        assert_int_equal(store_commit(b->store), 0);
        under_way++;
      }
      retention_archive_free(x);
      remove(path);
      assert_int_equal(rename(kept, path), 0);
    }
  }
  assert_int_equal(bed_int(b, "SELECT count(*) FROM patient_archive"), 0);
  assert_true(at_start >= 4 && under_way >= 4);
  print_message("# %u archives broken off, %u not begun\n", under_way, at_start);
  struct bytes again = archive_of(b, alpha.id, 512);
  assert_memory_equal(again.data, tar.data, tar.n);
  free(again.data);
  free(tar.data);
}

/* Not before its last byte was read. */
static void test_archive_unread(void **state) {
  struct store_bed *b = *state;
  struct retention_archive *x = NULL;
  char part[512];
  people(b);
  assert_int_equal(retention_archive_start(b->store, b->artefacts, "nobody", &x), P_not_found);
  assert_null(x);
  assert_int_equal(retention_archive_start(b->store, b->artefacts, alpha.id, &x), P_OK);
  ssize_t n;
  for (uint64_t left = retention_archive_bytes(x); left; left -= (uint64_t)n) {
    bed_begin(b);
    assert_int_equal(retention_archived(b->store, &gp, x), P_archive_missing);
    store_undo(b->store);
    assert_int_equal(store_commit(b->store), 0);
    n = retention_archive_read(x, part, sizeof part);
    assert_in_range(n, 1, sizeof part);
  }
  assert_int_equal(retention_archive_read(x, part, sizeof part), 0);
  bed_begin(b);
  assert_int_equal(retention_archived(b->store, &gp, x), P_OK);
  bed_keep(b);
  retention_archive_free(x);
  retention_archive_free(NULL);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM patient_archive"), 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'patient.archive' AND subject = 'A1'"), 1);
}

static enum problem refused(struct store_bed *b, const char *id, const char *sha256) {
  _free_cleanup_ char *before = dump(b, NULL);
  enum problem p = erase(b, id, sha256, NULL);
  _free_cleanup_ char *after = dump(b, NULL);
  assert_true(p != P_OK);
  assert_string_equal(before, after);
  return p;
}

/* ---- who is due ---- */

static int64_t due_at(struct store_bed *b, const char *id, int limit, size_t *ret_n) {
  _json_cleanup_ json_t *list = NULL;
  struct wall at = {0};
  size_t i;
  json_t *item;
  assert_int_equal(retention_list(b->store, &conf, limit, &list), 0);
  const json_t *due = json_object_get(list, "due");
  json_array_foreach(due, i, item) {
    if (!strcmp(json_text(item, "patient"), id))
      assert_int_equal(wall_parse(json_text(item, "last_contact"), &at), 0);
  }
  if (ret_n)
    *ret_n = json_array_size(due);
  return at.us;
}

/* Of a patient seen at ?2, one thing that was done at ?1. */
static const char *const contacts[] = {
    "INSERT INTO patient_version SELECT id, 2, 'F', 'G', '1950-01-01', 'F', ?1, NULL, NULL, NULL FROM patient;"
    "UPDATE patient SET version = 2",
    "INSERT INTO orders(id, patient, act, ordered_by, at) VALUES(2,'C1','ecg','u',?1);"
    "INSERT INTO study(id, orders, state, created, updated) VALUES(2,2,'ordered',?1,?1)",
    "UPDATE study SET updated = ?1",
    "INSERT INTO draft VALUES(1,'martin',1,'{}',?1)",
    "INSERT INTO followup_team VALUES(2,1,'2','1',?1,'u','r')",
    "INSERT INTO followup_end VALUES(1,?1,'u','r')",
    "INSERT INTO meeting VALUES(1,'2','1','2015-02-01','m',?1,'u');INSERT INTO meeting_followup VALUES(1,1,'m')",
};

static void seen_at(struct store_bed *b, int64_t at) {
  static const char *const sql[] = {
      "INSERT INTO patient_version VALUES('C1',1,'F','G','1950-01-01','F',?1,NULL,NULL,NULL)",
      "INSERT INTO patient VALUES('C1',1)",
      "INSERT INTO followup VALUES(1,'C1','p',?1,'u')",
      "INSERT INTO followup_team VALUES(1,1,'2','1',?1,'u',NULL)",
      "INSERT INTO orders(id, patient, act, ordered_by, at) VALUES(1,'C1','ecg','u',?1)",
      "INSERT INTO study(id, orders, state, created, updated) VALUES(1,1,'ordered',?1,?1)",
  };
  for (size_t i = 0; i < COUNT(sql); i++)
    assert_int_equal(store_run(b->store, sql[i], strstr(sql[i], "?1") ? "i" : "", at), 1);
}

static void test_contacts(void **state) {
  struct store_bed *b = *state;
  const int64_t at = 1000 * WALL_SECOND, later = 2000 * WALL_SECOND;
  static char sql[COUNT(contacts)][2][256];
  for (size_t i = 0; i < COUNT(contacts); i++) {
    bed_begin(b);
    seen_at(b, at);
    assert_int_equal(due_at(b, "C1", 9, NULL), at);
    const char *semicolon = strchr(contacts[i], ';');
    snprintf(sql[i][0], sizeof sql[i][0], "%.*s", (int)(semicolon ? semicolon - contacts[i] : 255), contacts[i]);
    assert_int_equal(store_run(b->store, sql[i][0], "i", later), 1);
    if (semicolon) {
      snprintf(sql[i][1], sizeof sql[i][1], "%s", semicolon + 1);
      assert_int_equal(store_run(b->store, sql[i][1], strstr(sql[i][1], "?1") ? "i" : "", later), 1);
    }
    if (due_at(b, "C1", 9, NULL) != later)
      fail_msg("no contact: %s", contacts[i]);
    store_undo(b->store);
    assert_int_equal(store_commit(b->store), 0);
  }
}

static void test_due(void **state) {
  struct store_bed *b = *state;
  size_t n;
  const int64_t at = wall_now().us, over = at + conf.active_months * MONTH_US;
  bed_begin(b);
  seen_at(b, at);
  bed_keep(b);
  clock_at_us = over; /* it lasts to the end of its last microsecond */
  assert_int_equal(due_at(b, "C1", 9, &n), 0);
  assert_int_equal(n, 0);
  assert_int_equal(refused(b, "C1", export(b, "C1")), P_retention_not_due);
  clock_at_us = over + 1;
  assert_int_equal(due_at(b, "C1", 9, &n), at);
  assert_int_equal(n, 1);
  assert_int_equal(erase(b, "C1", export(b, "C1"), NULL), P_OK);
  assert_int_equal(due_at(b, "C1", 9, &n), 0);
  clock_at_us = 0;
  people(b);
  /* The longest ago first, no more than were asked for. */
  assert_int_equal(due_at(b, "A1", 9, &n), 1);
  assert_int_equal(n, 2);
  assert_int_equal(due_at(b, "A1", 1, &n), 1);
  assert_int_equal(n, 1);
  assert_int_equal(due_at(b, "B1", 1, &n), 0);
}

/* ---- what is refused ---- */

static void act(struct store_bed *b, const char *sql) {
  bed_begin(b);
  assert_true(store_run(b->store, sql, "") > 0);
  bed_keep(b);
}

static void test_refused(void **state) {
  struct store_bed *b = *state;
  char sha256[HASH_TEXT], other[HASH_TEXT], wrong[HASH_TEXT];
  people(b);
  str_copy(sha256, sizeof sha256, export(b, alpha.id));
  str_copy(other, sizeof other, export(b, bravo.id));
  str_copy(wrong, sizeof wrong, sha256);
  wrong[5] = wrong[5] == '0' ? '1' : '0';
  assert_int_equal(refused(b, "nobody", sha256), P_not_found);
  assert_int_equal(refused(b, "", sha256), P_not_found);
  assert_int_equal(refused(b, alpha.id, wrong), P_archive_missing);
  assert_int_equal(refused(b, alpha.id, ""), P_archive_missing);
  assert_int_equal(refused(b, alpha.id, other), P_archive_missing);
  act(b, "UPDATE study SET state = 'acquiring' WHERE id = 108");
  assert_int_equal(refused(b, alpha.id, sha256), P_retention_not_due);
  act(b, "UPDATE study SET state = 'ordered' WHERE id = 108");
  act(b, "UPDATE file SET pending = 1 WHERE id = 101");
  assert_int_equal(refused(b, alpha.id, sha256), P_retention_not_due);
  act(b, "UPDATE file SET pending = 0 WHERE id = 101");
  act(b, "UPDATE study SET updated = unixepoch('now', '-59 months') * 1000000 WHERE id = 103");
  assert_int_equal(refused(b, alpha.id, export(b, alpha.id)), P_retention_not_due);
  act(b, "UPDATE study SET updated = 1 WHERE id = 103");
  /* Where nothing changed, an archive that is old does as well as one that is new. */
  act(b, "UPDATE study SET updated = 1 WHERE id = 203");
  bed_begin(b);
  assert_int_equal(retention_erase(b->store, b->artefacts, &conf, &gp, alpha.id, sha256, &(int64_t){0}), P_OK);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
}

/* A change of any of the patient's rows, also one that is no contact, makes the archive one of before. */
static void test_changed(void **state) {
  struct store_bed *b = *state;
  static const char *const changes[] = {
      "INSERT INTO dicom VALUES(150,104,0,0,NULL,'f','1',1,1)",
      "INSERT INTO notice_end VALUES(102,1,'u')",
      "DELETE FROM draft WHERE study = 104 AND by = 'durand'",
      "UPDATE draft SET json = 'x' WHERE study = 104",
      "INSERT INTO supersession VALUES(105,1,'u','r')",
      "INSERT INTO withdrawal VALUES(101,1,'u','r')",
      "INSERT INTO assessment VALUES(150,105,1,'{}')",
      "UPDATE study SET comment = 'x' WHERE id = 101",
      "UPDATE study SET failure = 'x' WHERE id = 108",
      "INSERT INTO meeting_followup VALUES(101,102,'x')",
      "INSERT INTO unmatched_end VALUES(902,'discarded',NULL,1,'u','r')",
      "INSERT INTO picture_label VALUES(150,108,1,'R','macula',NULL,1,'u')",
  };
  people(b);
  char sha256[HASH_TEXT];
  str_copy(sha256, sizeof sha256, export(b, alpha.id));
  for (size_t i = 0; i < COUNT(changes); i++) {
    bed_begin(b);
    assert_true(store_run(b->store, changes[i], "") > 0);
    enum problem p = retention_erase(b->store, b->artefacts, &conf, &gp, alpha.id, sha256, &(int64_t){0});
    if (p != P_archive_missing)
      fail_msg("%s: %s", changes[i], problem_code(p));
    store_undo(b->store);
    assert_int_equal(store_commit(b->store), 0);
  }
  /* What came while it was being read is not in it, though it was exported after that. */
  struct retention_archive *x = NULL;
  struct bytes all = {0};
  assert_int_equal(retention_archive_start(b->store, b->artefacts, alpha.id, &x), P_OK);
  act(b, changes[1]);
  assert_int_equal(read_archive(x, 512, &all), 0);
  bed_begin(b);
  assert_int_equal(retention_archived(b->store, &gp, x), P_OK);
  bed_keep(b);
  retention_archive_sha256(x, sha256);
  retention_archive_free(x);
  free(all.data);
  assert_int_equal(refused(b, alpha.id, sha256), P_archive_missing);
  /* What others do, and that the patient was looked at, changes nothing. */
  str_copy(sha256, sizeof sha256, export(b, alpha.id));
  act(b, "INSERT INTO notice_end VALUES(202,1,'u')");
  bed_begin(b);
  assert_int_equal(audit_add(b->store, &lgc, "read", alpha.id, NULL), 0);
  assert_int_equal(store_run(b->store, "INSERT INTO audit_patient SELECT 'A1', max(seq) FROM audit", ""), 1);
  bed_keep(b);
  assert_int_equal(erase(b, alpha.id, sha256, NULL), P_OK);
}

/* ---- what is left ---- */

struct left {
  const char *text;
  json_t *tables; /* {"table.column": how many} */
};

static void look_row(const char *table, sqlite3_stmt *st, void *arg) {
  struct left *l = arg;
  for (int c = 0; c < sqlite3_column_count(st); c++) {
    const char *name = sqlite3_column_name(st, c);
    const void *bytes = sqlite3_column_blob(st, c);
    size_t n = (size_t)sqlite3_column_bytes(st, c);
    char key[128];
    if (!bytes || !memmem(bytes, n, l->text, strlen(l->text)))
      continue;
    snprintf(key, sizeof key, "%s.%s", table, name);
    json_object_set_new(l->tables, key, json_integer(1 + json_integer_value(json_object_get(l->tables, key))));
  }
}

static void look_table(sqlite3 *db, const char *name, void *arg) {
  each_row(db, name, NULL, look_row, arg);
}

/* Where a text is, as JSON: "table.column" and in how many rows. */
static char *where(struct store_bed *b, const char *text) {
  struct left l = {.text = text, .tables = json_object()};
  sqlite3 *db = bed_raw(b);
  each_table(db, ALL_TABLES, look_table, &l);
  sqlite3_close(db);
  bed_up(b);
  char *all = json_canonical(l.tables, NULL);
  json_decref(l.tables);
  return all;
}

static void is_where(struct store_bed *b, const char *text, const char *expected) {
  _free_cleanup_ char *all = where(b, text);
  assert_string_equal(all, expected);
}

static unsigned files_n;
static int count_file(const char *path, const struct stat *st, int kind, struct FTW *at) {
  (void)st;
  (void)at;
  files_n += kind == FTW_F && strstr(path, "/artefacts/");
  return 0;
}
static unsigned count_files(struct store_bed *b) {
  files_n = 0;
  nftw(b->dir, count_file, 16, FTW_PHYS);
  return files_n;
}

/* The line of a dump that begins like this. */
static void leave_out(char *dump, const char *begins) {
  char *line = strstr(dump, begins);
  assert_non_null(line);
  const char *next = strchr(line, '\n');
  assert_non_null(next);
  memmove(line, next + 1, strlen(next + 1) + 1);
}

static void test_erased(void **state) {
  struct store_bed *b = *state;
  int64_t files;
  people(b);
  _free_cleanup_ char *texts = where(b, alpha.mark), *bravo_before = dump(b, &bravo);
  _json_cleanup_ json_t *columns = json_loads(texts, 0, NULL);
  const char *column;
  json_t *cells;
  unsigned n = 0;
  json_object_foreach(columns, column, cells) {
    n += (unsigned)json_integer_value(cells);
  }
  assert_int_equal(json_object_size(columns), 30); /* every free text of people() */
  const unsigned files_before = count_files(b);
  char sha256[HASH_TEXT];
  str_copy(sha256, sizeof sha256, export(b, alpha.id));
  assert_int_equal(erase(b, alpha.id, sha256, &files), P_OK);
  /* Nothing of what was written of the patient, in no table and, once the log is in it, in no byte of a file; in the
   * trail the reasons. */
  is_where(b, alpha.mark, "{}");
  is_where(b, alpha.reason, "{\"audit.detail\":3}");
  bed_down(b);
  assert_false(bed_holds(b, alpha.mark, strlen(alpha.mark)));
  assert_true(bed_holds(b, bravo.mark, strlen(bravo.mark)));
  bed_up(b);
  assert_int_equal(files, MARKED + 2); /* and the reading that was taken for the other's, with its capture */
  assert_int_equal(files_before - count_files(b), files);
  is_sound(b);
  /* The other: rows, files, and what an archive has. */
  _free_cleanup_ char *bravo_after = dump(b, &bravo);
  leave_out(bravo_before, "acquisition|1:210|"); /* whose reading went over: its capture goes too */
  leave_out(bravo_after, "acquisition|1:210|");
  assert_string_equal(bravo_before, bravo_after);
  assert_int_equal(bed_int(b, "SELECT capture IS NULL FROM acquisition WHERE id = 210"), 1);
  struct bytes tar = archive_of(b, bravo.id, 1 << 16);
  free(tar.data);
  /* Every artefact that there is is there, and no other. */
  assert_int_equal(bed_int(b, "SELECT count(*) FROM artefact"), count_files(b));
  /* The skeleton. */
  assert_int_equal(bed_int(b, "SELECT count(*) FROM orders WHERE patient = 'A1' AND ordered_by = 'u' AND at = 1"), 4);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM study WHERE id BETWEEN 101 AND 109 AND comment IS NULL AND clean IS"
                              " NULL AND height_mm IS NULL AND claim IS NULL AND claim_by IS NULL AND version = 2"),
                   8);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM study WHERE id BETWEEN 101 AND 109 AND state = 'cancelled'"), 5);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM study WHERE id IN (101, 105) AND state = 'interpreted'"), 2);
  assert_int_equal(bed_int(b, "SELECT repeats FROM study WHERE id = 104 AND updated = 1"), 103);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM acquisition WHERE id BETWEEN 101 AND 111 AND started = 1"), 9);
  assert_int_equal(bed_int(b,
                           "SELECT group_concat(id) = '103,104,109,110' FROM acquisition WHERE id BETWEEN 101 AND 111"
                           " AND capture IS NOT NULL"),
                   1); /* of others too, or perhaps */
  assert_int_equal(bed_int(b, "SELECT count(*) FROM followup WHERE patient = 'A1' AND id IN (SELECT followup FROM"
                              " followup_end WHERE reason = '')"),
                   2);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM followup_team WHERE followup IN (101, 102)"), 3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM change WHERE kind = 'study' AND ref IN ('S-101','S-109')"), 2);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM change WHERE kind = 'patient' AND ref = 'A1'"), 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'patient.erase' AND subject = 'A1'"), 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM erasure WHERE what = 'patient' AND ref = 'A1' AND done"), 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM erasing"), 0);
  struct patient p;
  assert_int_equal(patient_find(b->store, alpha.id, &p), P_OK);
  assert_true(!p.family[0] && !p.given[0] && !p.ins[0] && p.version == 3 && p.updated == 0);
  /* What lay in the tray lies there; the other's, and what was the patient's, do not come back into it. */
  assert_int_equal(bed_int(b,
                           "SELECT group_concat(id) = '902,908,1002,1008' FROM (SELECT id FROM unmatched WHERE id NOT"
                           " IN (SELECT unmatched FROM unmatched_end) ORDER BY id)"),
                   1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM reassignment"), 0);
  print_message("# %u marked texts gone from %zu columns, and %lld files\n", n, json_object_size(columns),
                (long long)files);
  /* No rule is open any more. */
  static const char *const closed[] = {
      "DELETE FROM record",
      "DELETE FROM artefact",
      "DELETE FROM patient_version",
      "DELETE FROM interpretation",
      "DELETE FROM unmatched",
      "DELETE FROM file",
      "UPDATE acquisition SET by = 'x'",
      "UPDATE followup_team SET reason = 'x'",
      "DELETE FROM meeting_followup",
      "DELETE FROM erasure",
      "UPDATE erasure SET done = 0",
      "DELETE FROM patient_archive",
  };
  for (size_t i = 0; i < COUNT(closed); i++) {
    bed_begin(b);
    assert_int_equal(store_run(b->store, closed[i], ""), -EPERM);
    store_undo(b->store);
    assert_int_equal(store_commit(b->store), 0);
  }
  /* Then the other; nothing but the tray's and the file in it is left. */
  str_copy(sha256, sizeof sha256, export(b, bravo.id));
  assert_int_equal(erase(b, bravo.id, sha256, &files), P_OK);
  is_where(b, bravo.mark, "{}");
  is_sound(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM artefact"), count_files(b));
  assert_int_equal(bed_int(b, "SELECT count(*) FROM record"), 0);
  /* For each a stray with its samples and capture, and the file of two with a reading and its capture. */
  assert_int_equal(count_files(b), 2 * (3 + 3));
}

/* A recording made for one patient of which every reading was another's: it goes with the other. */
static void test_for_another(void **state) {
  struct store_bed *b = *state;
  static const char *const sql[] = {
      "INSERT INTO acquisition(id, study, device, driver, driver_version, program, node, seconds, started,"
      " offset_minutes, by, ended, outcome, reason, capture) VALUES(?4+20,?4+9,'d','d','1','1','n',1,1,0,'u',2,"
      "'reading_stray','theirs'," SHA("alone") ")",
      "INSERT INTO record(id, study, acquisition, sha256, driver, driver_version, program, complete, clean, at)"
      " VALUES(?1+20,?1+5,?4+20," SHA("record20") ",'d','1','1',1,1,1)",
      "INSERT INTO unmatched VALUES(?1+20,?4+20," SHA("record20") ",NULL,'d','1','1',1,'spirometry',1,'time',?3,NULL)",
      "INSERT INTO unmatched_end VALUES(?1+20,'attached',?1+20,1,'u',?3)",
  };
  people(b);
  bed_begin(b);
  /* the temporary table is there until the store is opened again */
  put(b, &alpha, "capture/alone", NULL);
  put(b, &alpha, "record/record20", NULL);
  for (size_t i = 0; i < COUNT(sql); i++)
    run(b, sql[i], &alpha, bravo.base);
  bed_keep(b);
  assert_int_equal(erase(b, alpha.id, export(b, alpha.id), NULL), P_OK);
  is_where(b, alpha.mark, "{}");
  assert_int_equal(
      bed_int(b, "SELECT count(*) FROM acquisition WHERE id = 220 AND capture IS NULL AND reason = 'theirs'"), 1);
  bed_down(b);
  assert_false(bed_holds(b, alpha.mark, strlen(alpha.mark)));
  bed_up(b);
  is_sound(b);
}

/* ---- afterwards ---- */

static json_t *erased_list(struct store_bed *b) {
  _json_cleanup_ json_t *list = NULL;
  assert_int_equal(retention_list(b->store, &conf, 9, &list), 0);
  return json_incref(json_object_get(list, "erased"));
}

static void test_afterwards(void **state) {
  struct store_bed *b = *state;
  char sha256[HASH_TEXT], second[HASH_TEXT];
  size_t n;
  people(b);
  str_copy(sha256, sizeof sha256, export(b, alpha.id));
  const int64_t before = wall_now().us;
  assert_int_equal(erase(b, alpha.id, sha256, NULL), P_OK);
  /* Not listed again, nor erased again, not even with an archive of what is left. */
  assert_int_equal(due_at(b, alpha.id, 9, &n), 0);
  assert_int_equal(n, 1);
  assert_int_equal(refused(b, alpha.id, sha256), P_not_found);
  assert_int_equal(refused(b, alpha.id, export(b, alpha.id)), P_not_found);
  clock_step_us = 600 * MONTH_US;
  assert_int_equal(due_at(b, alpha.id, 9, NULL), 0);
  assert_int_equal(refused(b, alpha.id, export(b, alpha.id)), P_not_found);
  clock_step_us = 0;
  json_t *erased = erased_list(b);
  struct wall at, until;
  assert_int_equal(json_array_size(erased), 1);
  const json_t *item = json_array_get(erased, 0);
  assert_string_equal(json_text(item, "patient"), alpha.id);
  assert_string_equal(json_text(item, "archive"), sha256);
  assert_string_equal(json_text(item, "by"), "martin");
  assert_int_equal(wall_parse(json_text(item, "erased"), &at), 0);
  assert_int_equal(wall_parse(json_text(item, "archive_until"), &until), 0);
  assert_true(at.us >= before && at.us <= wall_now().us);
  assert_int_equal(until.us - at.us, conf.archive_months * MONTH_US);
  json_decref(erased);
  /* The practice software puts the patient again, by the version that it reads. */
  struct patient known, again = {.id = "A1", .family = "Again", .given = "G", .birth_date = "1950-01-01", .sex = "F"};
  bool created;
  assert_int_equal(patient_find(b->store, alpha.id, &known), P_OK);
  bed_begin(b);
  assert_int_equal(patient_put(b->store, &lgc, &again, 0, &created), P_precondition_required);
  assert_int_equal(patient_put(b->store, &lgc, &again, known.version, &created), P_OK);
  assert_false(created);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO orders(id, patient, act, ordered_by, at) VALUES(150,'A1','ecg','u',?)", "i",
                             wall_now().us),
                   1);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO study(id, orders, state, created, updated, comment) VALUES(150,150,"
                             "'ordered',1,?,'alpha-again')",
                             "i", wall_now().us),
                   1);
  bed_keep(b);
  /* Due once more when that is as long ago; what was erased before is erased no second time. */
  assert_int_equal(due_at(b, alpha.id, 9, NULL), 0);
  str_copy(second, sizeof second, export(b, alpha.id));
  assert_int_equal(refused(b, alpha.id, second), P_retention_not_due);
  clock_step_us = 61 * MONTH_US;
  assert_true(due_at(b, alpha.id, 9, NULL) >= before);
  assert_int_equal(refused(b, alpha.id, sha256), P_archive_missing);
  assert_int_equal(erase(b, alpha.id, second, NULL), P_OK);
  clock_step_us = 0;
  is_where(b, "Again", "{}");
  is_where(b, "alpha-again", "{}");
  is_sound(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM erasure WHERE done"), 2);
}

/* ---- what goes wrong on the way ---- */

static void test_two(void **state) {
  struct store_bed *b = *state;
  char first[HASH_TEXT], second[HASH_TEXT];
  int64_t files = -1;
  people(b);
  str_copy(first, sizeof first, export(b, alpha.id));
  bed_begin(b); /* what each names of the other's goes with the first: the second archive is made without */
  assert_int_equal(retention_erase(b->store, b->artefacts, &conf, &gp, alpha.id, first, &files), P_OK);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  str_copy(second, sizeof second, export(b, bravo.id));
  bed_begin(b);
  assert_int_equal(retention_erase(b->store, b->artefacts, &conf, &gp, alpha.id, first, &files), P_OK);
  assert_int_equal(retention_erase(b->store, b->artefacts, &conf, &gp, bravo.id, second, &files), P_overloaded);
  store_undo(b->store);
  /* nor in the next act of the same turn */
  bed_begin(b);
  assert_int_equal(retention_erase(b->store, b->artefacts, &conf, &gp, alpha.id, first, &files), P_OK);
  assert_int_equal(store_keep(b->store), 0);
  bed_begin(b);
  assert_int_equal(retention_erase(b->store, b->artefacts, &conf, &gp, bravo.id, second, &files), P_overloaded);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  assert_int_equal(retention_sweep(b->store, b->artefacts), 0);
  assert_int_equal(store_commit(b->store), 0);
  assert_int_equal(erase(b, bravo.id, export(b, bravo.id), &files), P_OK);
  is_sound(b);
}

/* The act that was undone leaves every file; the run that was killed behind the commit leaves none to the next. */
static void test_sweep(void **state) {
  struct store_bed *b = *state;
  char sha256[HASH_TEXT], path[600];
  int64_t files;
  people(b);
  char kept[HASH_TEXT], stuck[HASH_TEXT];
  str_copy(kept, sizeof kept, sha_of(b, &alpha, "record1"));
  str_copy(stuck, sizeof stuck, sha_of(b, &alpha, "record2"));
  str_copy(sha256, sizeof sha256, export(b, alpha.id));
  const unsigned before = count_files(b);
  bed_begin(b);
  assert_int_equal(retention_erase(b->store, b->artefacts, &conf, &gp, alpha.id, sha256, &files), P_OK);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  assert_int_equal(retention_sweep(b->store, b->artefacts), 0);
  assert_false(store_is_dirty(b->store));
  assert_int_equal(count_files(b), before);
  bed_begin(b);
  assert_int_equal(retention_erase(b->store, b->artefacts, &conf, &gp, alpha.id, sha256, &files), P_OK);
  bed_keep(b);
  bed_down(b); /* killed here */
  bed_up(b);
  assert_int_equal(count_files(b), before);
  /* The same bytes came again meanwhile: the file is theirs. Another cannot be removed. */
  bed_begin(b);
  assert_int_equal(artefact_put(b->artefacts, b->store, "record", "alpha-secret record1", 20, 1, sha256), 0);
  assert_string_equal(sha256, kept);
  bed_keep(b);
  snprintf(path, sizeof path, "%s/artefacts/%.2s/%s", b->dir, stuck, stuck);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(mkdir(path, 0700), 0);
  log_open("test", LOG_DEBUG); /* a level that says so */
  assert_int_equal(retention_sweep(b->store, b->artefacts), -EISDIR);
  assert_int_equal(store_commit(b->store), 0);
  assert_int_equal(count_files(b), before - files + 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM erasing"), 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM erasing WHERE kind = 'artefact'"), 1);
  assert_int_equal(rmdir(path), 0);
  assert_int_equal(erase(b, bravo.id, export(b, bravo.id), &files), P_OK); /* keeps nobody from being erased */
  assert_int_equal(bed_int(b, "SELECT count(*) FROM erasing"), 0);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM artefact"), count_files(b));
  is_sound(b);
}

struct sweep {
  struct store_bed *bed;
  const char *sha256, *before;
  unsigned tried, met;
};

static void refuse_table(struct store_bed *b, const char *table, struct sweep *x) {
  static const char *const kinds[] = {"INSERT", "UPDATE", "DELETE"};
  for (int k = 0; k < 3; k++) {
    char make[256];
    snprintf(make, sizeof make,
             "CREATE TEMP TRIGGER refuse BEFORE %s ON main.\"%s\" BEGIN SELECT RAISE(ABORT, 'refused'); END", kinds[k],
             table);
    bed_begin(b);
    assert_true(store_run(b->store, make, "") >= 0);
    enum problem p = retention_erase(b->store, b->artefacts, &conf, &gp, alpha.id, x->sha256, &(int64_t){0});
    store_undo(b->store);
    assert_int_equal(store_commit(b->store), 0);
    _free_cleanup_ char *after = dump(b, NULL);
    assert_string_equal(after, x->before);
    x->met += p != P_OK;
    x->tried++;
  }
}

/* A store that refuses each kind of change to each table in turn: the act says so, and leaves nothing. */
static void test_store_fails(void **state) {
  struct store_bed *b = *state;
  char sha256[HASH_TEXT], names[128][64];
  size_t n = 0;
  people(b);
  str_copy(sha256, sizeof sha256, export(b, alpha.id));
  _free_cleanup_ char *before = dump(b, NULL);
  struct sweep x = {.bed = b, .sha256 = sha256, .before = before};
  struct rows r = store_query(b->store,
                              "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                              " AND name <> 'seal'",
                              "");
  for (; rows_next(&r); n++)
    assert_true(n < COUNT(names) && str_copy(names[n], sizeof names[n], rows_text(&r, 0)));
  assert_int_equal(rows_finish(&r), 0);
  for (size_t i = 0; i < n; i++)
    refuse_table(b, names[i], &x);
  assert_int_equal(x.met, 38); /* of what erase() has, of the trail and who saw whom, and of the changes */
  is_sound(b);
  assert_int_equal(erase(b, alpha.id, sha256, NULL), P_OK);
  print_message("# %u kinds of change refused, %u of them met\n", x.tried, x.met);
}

/* No memory, at one allocation after the other; then at each the archive. */
static void test_memory_fails(void **state) {
  struct store_bed *b = *state;
  char sha256[HASH_TEXT];
  unsigned failed = 0;
  if (!fail_alloc_works())
    skip();
  people(b);
  str_copy(sha256, sizeof sha256, export(b, alpha.id));
  _free_cleanup_ char *before = dump(b, NULL);
  bool whole = false;
  for (size_t nth = 1; !whole; nth += 1 + nth / 16) {
    bed_begin(b);
    fail_alloc_set(nth, false);
    enum problem p = retention_erase(b->store, b->artefacts, &conf, &gp, alpha.id, sha256, &(int64_t){0});
    whole = !fail_alloc_hit();
    fail_alloc_set(0, false);
    if (whole)
      assert_int_equal(p, P_OK);
    store_undo(b->store);
    const int r = store_commit(b->store); /* SQLite itself may have taken everything back */
    assert_true(r == 0 || (r == -ENOMEM && p != P_OK));
    failed += p != P_OK;
  }
  _free_cleanup_ char *after = dump(b, NULL);
  assert_string_equal(after, before);
  is_sound(b);
  struct bytes tar = archive_of(b, alpha.id, 1 << 16);
  whole = false;
  for (size_t nth = 1; !whole; nth += 1 + nth / 16) {
    struct retention_archive *x = NULL;
    struct bytes all = {0};
    const long live = fail_alloc_live();
    fail_alloc_set(nth, false);
    enum problem p = retention_archive_start(b->store, b->artefacts, alpha.id, &x);
    whole = !fail_alloc_hit();
    fail_alloc_set(0, false);
    if (p == P_OK) { /* SQLite can do without some */
      assert_int_equal(read_archive(x, 1000, &all), 0);
      assert_int_equal(all.n, tar.n);
      assert_memory_equal(all.data, tar.data, tar.n);
      free(all.data);
    } else {
      assert_null(x);
    }
    retention_archive_free(x);
    (void)live;
    failed += p != P_OK;
  }
  free(tar.data);
  assert_int_equal(erase(b, alpha.id, sha256, NULL), P_OK);
  assert_true(failed > 50);
  print_message("# %u times without memory\n", failed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, bed_setup, bed_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(archive_rows),    TEST(archive_parts),
      TEST(archive_readers), TEST(archive_files),
      TEST(archive_broken),  TEST(archive_unread),
      TEST(contacts),        TEST(due),
      TEST(refused),         TEST(changed),
      TEST(erased),          TEST(for_another),
      TEST(afterwards),      TEST(two),
      TEST(sweep),           TEST(store_fails),
      TEST(memory_fails),
  };
  return cmocka_run_group_tests_name("retention", tests, NULL, NULL);
}
