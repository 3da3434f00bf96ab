/* The store: migrations, acts, group commit, statements, errors, and the tables that nobody may rewrite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"
#include "buf.h"
#include "schema.h"
#include "store_tables.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define USER_ADD "INSERT INTO user(name, role, display, token, created) VALUES(?,'gp','Dr',?,1)"
#define CHANGE_ADD "INSERT INTO change(at, kind, ref, state) VALUES(1,'study',?,NULL)"
#define CHANGES "SELECT count(*) FROM change"

static int64_t change(struct store_bed *b, const char *ref) {
  return store_run(b->store, CHANGE_ADD, "t", ref);
}

/* ---- opening ---- */

static void test_new(void **state) {
  struct store_bed *b = *state;
  struct stat st;
  assert_int_equal(stat(bed_path(b, "asaleed.db"), &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(stat(bed_path(b, "asaleed.db-wal"), &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(stat(bed_path(b, "asaleed.db-shm"), &st), -1); /* the WAL index is in this process's memory */
  assert_int_equal(bed_int(b, "PRAGMA foreign_keys"), 1);
  assert_int_equal(bed_int(b, "PRAGMA synchronous"), 2);
  assert_true(bed_int(b, "PRAGMA user_version") >= 1);
  assert_int_equal(store_health(b->store), 0);
  assert_false(store_is_dirty(b->store));
  /* Every table says its types. */
  assert_int_equal(bed_int(b, "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
                              " AND name NOT LIKE 'sqlite_%' AND NOT strict"),
                   0);
}

static void test_reopen(void **state) {
  struct store_bed *b = *state;
  int64_t version = bed_int(b, "PRAGMA user_version");
  bed_begin(b);
  assert_int_equal(change(b, "S-1"), 1);
  bed_keep(b);
  for (int i = 0; i < 3; i++) {
    bed_down(b);
    bed_up(b);
    assert_int_equal(bed_int(b, CHANGES), 1);
    assert_int_equal(bed_int(b, "PRAGMA user_version"), version);
  }
}

static void test_newer_schema(void **state) {
  struct store_bed *b = *state;
  int64_t version = bed_int(b, "PRAGMA user_version");
  char set[64];
  sqlite3 *db = bed_raw(b);
  snprintf(set, sizeof set, "PRAGMA user_version = %d", (int)version + 1);
  raw_exec(db, set);
  sqlite3_close(db);
  struct store *s = NULL;
  assert_int_equal(store_open(b->dir, &s), -EINVAL);
  assert_null(s);
  assert_int_equal(sqlite3_open(bed_path(b, "asaleed.db"), &db), SQLITE_OK);
  snprintf(set, sizeof set, "PRAGMA user_version = %d", (int)version);
  raw_exec(db, set);
  sqlite3_close(db);
  bed_up(b); /* refused means untouched */
}

/* A migration that fails half way leaves nothing of itself. */
static void test_migration_undone(void **state) {
  struct store_bed *b = *state;
  bed_down(b);
  unlink(bed_path(b, "asaleed.db"));
  unlink(bed_path(b, "asaleed.db-wal"));
  sqlite3 *db;
  assert_int_equal(sqlite3_open(bed_path(b, "asaleed.db"), &db), SQLITE_OK);
  raw_exec(db, "CREATE TABLE answered(x)"); /* the last table that the first migration makes */
  sqlite3_close(db);
  struct store *s = NULL;
  assert_true(store_open(b->dir, &s) < 0);
  assert_null(s);
  assert_int_equal(sqlite3_open(bed_path(b, "asaleed.db"), &db), SQLITE_OK);
  raw_exec(db, "CREATE TABLE user(x)"); /* not there: nothing of it stayed */
  raw_exec(db, "DROP TABLE user; DROP TABLE answered");
  sqlite3_close(db);
  bed_up(b);
}

static void test_second_process(void **state) {
  struct store_bed *b = *state;
  pid_t pid = fork();
  if (pid == 0) {
    struct store *s;
    _exit(store_open(b->dir, &s) == -EBUSY ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  struct store *s = NULL; /* and the same process a second time */
  assert_int_equal(store_open(b->dir, &s), -EBUSY);
  assert_null(s);
  /* A reader from outside is refused too: nobody sees half of something. */
  sqlite3 *db;
  assert_int_equal(sqlite3_open(bed_path(b, "asaleed.db"), &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, CHANGES, NULL, NULL, NULL), SQLITE_BUSY);
  sqlite3_close(db);
  bed_begin(b);
  assert_int_equal(change(b, "S-1"), 1);
  bed_keep(b);
}

static void test_bad_files(void **state) {
  struct store_bed *b = *state;
  struct store *s = NULL;
  assert_int_equal(store_open("/nonexistent/folder", &s), -ENOENT);
  char longest[5000];
  memset(longest, 'x', sizeof longest - 1);
  longest[sizeof longest - 1] = 0;
  assert_int_equal(store_open(longest, &s), -ENAMETOOLONG);
  bed_down(b);
  FILE *f = fopen(bed_path(b, "asaleed.db"), "w");
  for (int i = 0; i < 4096; i++)
    fputs("not a db", f);
  fclose(f);
  unlink(bed_path(b, "asaleed.db-wal"));
  assert_int_equal(store_open(b->dir, &s), -EUCLEAN);
  assert_null(s);
  unlink(bed_path(b, "asaleed.db"));
  bed_up(b);
}

/* ---- acts ---- */

static void test_keep_undo(void **state) {
  struct store_bed *b = *state;
  bed_begin(b);
  assert_true(store_is_dirty(b->store));
  assert_int_equal(change(b, "kept"), 1);
  assert_int_equal(store_keep(b->store), 0);
  bed_begin(b);
  assert_int_equal(change(b, "undone"), 1);
  assert_int_equal(bed_int(b, CHANGES), 2);
  store_undo(b->store);
  assert_int_equal(bed_int(b, CHANGES), 1);
  store_undo(b->store); /* outside an act: nothing */
  assert_int_equal(bed_int(b, CHANGES), 1);
  bed_begin(b);
  assert_int_equal(change(b, "kept too"), 1);
  bed_keep(b);
  assert_false(store_is_dirty(b->store));
  bed_down(b);
  bed_up(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM change WHERE ref LIKE 'kept%'"), 2);
  assert_int_equal(bed_int(b, CHANGES), 2);
  assert_int_equal(store_commit(b->store), 0); /* nothing to commit */
}

/* What was not committed is not there after the process dies; what was, is. */
static void test_dies(void **state) {
  struct store_bed *b = *state;
  bed_down(b);
  pid_t pid = fork();
  if (pid == 0) {
    struct store *s;
    int r = store_open(b->dir, &s) | store_begin(s);
    r |= store_run(s, CHANGE_ADD, "t", "committed") != 1;
    r |= store_keep(s) | store_commit(s) | store_begin(s);
    r |= store_run(s, CHANGE_ADD, "t", "kept") != 1;
    r |= store_keep(s) | store_begin(s);
    r |= store_run(s, CHANGE_ADD, "t", "open") != 1;
    _exit(r ? 1 : 0);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  bed_up(b);
  assert_int_equal(bed_int(b, CHANGES), 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM change WHERE ref = 'committed'"), 1);
}

struct told {
  struct store_bed *bed;
  int results[8];
  unsigned n;
};

static void tell(void *arg, int result) {
  struct told *t = arg;
  t->results[t->n++] = result;
}

static void tell_and_go_on(void *arg, int result) {
  struct told *t = arg;
  tell(arg, result);
  if (t->n < 3) {
    bed_begin(t->bed);
    assert_int_equal(change(t->bed, "next"), 1);
    assert_int_equal(store_keep(t->bed->store), 0);
    store_on_commit(t->bed->store, tell_and_go_on, t);
  }
}

static void test_callbacks(void **state) {
  struct store_bed *b = *state;
  struct told t = {.bed = b};
  store_on_commit(b->store, tell, &t); /* nothing waits: at once */
  assert_int_equal(t.n, 1);
  bed_begin(b);
  assert_int_equal(change(b, "a"), 1);
  store_on_commit(b->store, tell, &t);
  assert_int_equal(store_keep(b->store), 0);
  bed_begin(b);
  assert_int_equal(change(b, "b"), 1);
  store_undo(b->store);
  store_on_commit(b->store, tell, &t);
  assert_int_equal(t.n, 1); /* not before it is durable */
  assert_int_equal(store_commit(b->store), 0);
  assert_int_equal(t.n, 3);
  for (unsigned i = 0; i < t.n; i++)
    assert_int_equal(t.results[i], 0);
  /* A callback may begin the next act: that one waits for the next commit. */
  t.n = 0;
  bed_begin(b);
  assert_int_equal(change(b, "c"), 1);
  assert_int_equal(store_keep(b->store), 0);
  store_on_commit(b->store, tell_and_go_on, &t);
  assert_int_equal(store_commit(b->store), 0);
  assert_int_equal(t.n, 1);
  assert_true(store_is_dirty(b->store));
  assert_int_equal(store_commit(b->store), 0);
  assert_int_equal(store_commit(b->store), 0);
  assert_int_equal(t.n, 3);
  assert_false(store_is_dirty(b->store));
  /* Many wait for one commit. */
  static struct told many[100];
  bed_begin(b);
  assert_int_equal(change(b, "d"), 1);
  assert_int_equal(store_keep(b->store), 0);
  for (size_t i = 0; i < 100; i++)
    store_on_commit(b->store, tell, &many[i]);
  assert_int_equal(store_commit(b->store), 0);
  for (size_t i = 0; i < 100; i++)
    assert_int_equal(many[i].n, 1);
}

/* A commit that cannot be written tells everyone, leaves nothing, and the next one works again. */
static void test_commit_fails(void **state) {
  struct store_bed *b = *state;
  struct told t = {.bed = b};
  struct stat st;
  struct rlimit before, small;
  bed_begin(b);
  assert_int_equal(change(b, "before"), 1);
  bed_keep(b);
  assert_int_equal(stat(bed_path(b, "asaleed.db-wal"), &st), 0);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  small = before;
  small.rlim_cur = (rlim_t)st.st_size;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  bed_begin(b);
  assert_int_equal(change(b, "lost 1"), 1);
  assert_int_equal(store_keep(b->store), 0);
  store_on_commit(b->store, tell, &t);
  bed_begin(b);
  assert_int_equal(change(b, "lost 2"), 1);
  assert_int_equal(store_keep(b->store), 0);
  store_on_commit(b->store, tell, &t);
  int r = store_commit(b->store);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(r, -EIO);
  assert_int_equal(store_health(b->store), -EIO);
  assert_int_equal(t.n, 2);
  assert_int_equal(t.results[0], -EIO);
  assert_int_equal(t.results[1], -EIO);
  assert_false(store_is_dirty(b->store));
  assert_int_equal(bed_int(b, CHANGES), 1);
  bed_begin(b);
  assert_int_equal(change(b, "after"), 1);
  bed_keep(b);
  assert_int_equal(store_health(b->store), 0);
  bed_down(b);
  bed_up(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM change WHERE ref LIKE 'lost%'"), 0);
  assert_int_equal(bed_int(b, CHANGES), 2);
}

/* SQLite takes back the whole transaction when the disk is full in the middle of a statement. Then the acts of the
 * turn before it are gone, and none may begin until everyone has been told. */
static void test_full(void **state) {
  struct store_bed *b = *state;
  struct told t = {.bed = b};
  static char big[200000];
  memset(big, 'x', sizeof big - 1);
  char set[64];
  snprintf(set, sizeof set, "PRAGMA max_page_count = %d", (int)bed_int(b, "PRAGMA page_count") + 2);
  bed_int(b, set);
  bed_begin(b);
  assert_int_equal(change(b, "first"), 1);
  assert_int_equal(store_keep(b->store), 0);
  store_on_commit(b->store, tell, &t);
  bed_begin(b);
  assert_int_equal(change(b, big), -ENOSPC);
  store_undo(b->store);
  store_on_commit(b->store, tell, &t);
  int r = store_begin(b->store);
  if (r == 0) {
    change(b, "third");
    r = store_keep(b->store);
  }
  assert_true(r < 0);
  store_undo(b->store);
  store_on_commit(b->store, tell, &t);
  r = store_commit(b->store);
  assert_int_equal(r, -ENOSPC);
  assert_int_equal(store_health(b->store), -ENOSPC);
  assert_int_equal(t.n, 3);
  for (unsigned i = 0; i < t.n; i++)
    assert_int_equal(t.results[i], -ENOSPC);
  assert_int_equal(bed_int(b, CHANGES), 0); /* what was refused is not there, what was not acknowledged neither */
  bed_int(b, "PRAGMA max_page_count = 100000");
  bed_begin(b);
  assert_int_equal(change(b, big), 1);
  bed_keep(b);
  assert_int_equal(store_health(b->store), 0);
}

/* ---- statements ---- */

static void test_values(void **state) {
  struct store_bed *b = *state;
  static const char sql[] = "SELECT ?1, ?2, ?3, ?4, ?5, NULL";
  const uint8_t blob[] = {0, 1, 255};
  for (int i = 0; i < 3; i++) {
    struct rows r = store_query(b->store, sql, "iitbt", INT64_MIN, INT64_MAX, "it's \"é\"; DROP TABLE user--", blob,
                                sizeof blob, (const char *)NULL);
    assert_true(rows_next(&r));
    assert_int_equal(rows_int(&r, 0), INT64_MIN);
    assert_int_equal(rows_int(&r, 1), INT64_MAX);
    assert_string_equal(rows_text(&r, 2), "it's \"é\"; DROP TABLE user--");
    size_t n;
    assert_memory_equal(rows_blob(&r, 3, &n), blob, sizeof blob);
    assert_int_equal(n, sizeof blob);
    assert_true(rows_is_null(&r, 4));
    assert_null(rows_text(&r, 4));
    assert_true(rows_is_null(&r, 5));
    if (i < 2)
      assert_false(rows_next(&r));
    assert_int_equal(rows_finish(&r), 0); /* i == 2: before the end */
  }
  struct rows bad = store_query(b->store, "SELECT nothing FROM nowhere", "");
  assert_false(rows_next(&bad));
  assert_true(rows_finish(&bad) < 0);
  assert_true(store_run(b->store, "NOT SQL", "") < 0);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM user"), 0);
}

/* A program with more statements than the cache holds is told so; those it has go on working. */
static void test_too_many_statements(void **state) {
  struct store_bed *b = *state;
  static char sql[1400][32];
  int refused = 0;
  for (int round = 0; round < 2; round++) {
    refused = 0;
    for (int i = 0; i < 1400; i++) {
      snprintf(sql[i], sizeof sql[i], "SELECT %d", i);
      struct rows r = store_query(b->store, sql[i], "");
      if (rows_next(&r))
        assert_int_equal(rows_int(&r, 0), i);
      int err = rows_finish(&r);
      assert_true(err == 0 || err == -ENOMEM);
      refused += err != 0;
    }
  }
  assert_in_range(refused, 1400 - 1024, 1399 - 900);
}

static void test_errors(void **state) {
  struct store_bed *b = *state;
  bed_begin(b);
  assert_int_equal(store_run(b->store, USER_ADD, "tb", "a", "x", (size_t)1), 1);
  assert_int_equal(store_run(b->store, USER_ADD, "tb", "a", "y", (size_t)1), -EEXIST); /* name */
  assert_int_equal(store_run(b->store, USER_ADD, "tb", "b", "x", (size_t)1), -EEXIST); /* token */
  assert_int_equal(store_run(b->store, "INSERT INTO delegation_end VALUES(1,1,'u','none')", ""),
                   -EPERM); /* reference */
  assert_int_equal(store_run(b->store, "INSERT INTO user(name, role, display, created) VALUES('c','king','',1)", ""),
                   -EPERM);
  assert_int_equal(store_run(b->store, "INSERT INTO user(name, role, display, created) VALUES('c','gp',NULL,1)", ""),
                   -EPERM);
  assert_int_equal(store_run(b->store, "INSERT INTO user(name, role, display, created) VALUES('c','gp','','soon')", ""),
                   -EPERM); /* type */
  assert_int_equal(
      store_run(b->store, "INSERT INTO orders(patient, act, ordered_by, at) VALUES('nobody','ecg','a',1)", ""), -EPERM);
  assert_int_equal(store_run(b->store, "UPDATE user SET display = 'Z' WHERE name = 'nobody'", ""), 0);
  bed_keep(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM user"), 1);
}

/* ---- what nobody may rewrite ---- */

/* Rows as they are, committed or not: another sum for others, the same for the same. */
static void test_sum(void **state) {
  struct store_bed *b = *state;
  struct store *s = b->store;
  static const char *const two[] = {"user", "acting", NULL}, *const one[] = {"acting", NULL}, *const none[] = {NULL},
                           *const wrong[] = {"user", "nothing", NULL};
  static const char disable[] = "UPDATE user SET disabled = ? WHERE name = 'u'";
  uint8_t empty[HASH_BYTES], sum[HASH_BYTES], now[HASH_BYTES], nothing[HASH_BYTES] = {0};
  assert_int_equal(store_sum(s, wrong, now), -ENOENT);
  assert_int_equal(store_sum(s, none, now), 0);
  assert_memory_equal(now, nothing, sizeof now);
  assert_int_equal(store_sum(s, two, empty), 0);
  store_begin(s);
  assert_int_equal(store_run(s, "INSERT INTO user(name, role, display, created) VALUES('u','nurse','u',1)", ""), 1);
  assert_int_equal(store_sum(s, two, sum), 0);
  assert_memory_not_equal(sum, empty, sizeof sum);
  store_undo(s);
  assert_int_equal(store_sum(s, two, now), 0);
  assert_memory_equal(now, empty, sizeof now);
  store_begin(s);
  assert_int_equal(store_run(s, "INSERT INTO user(name, role, display, created) VALUES('u','nurse','u',1)", ""), 1);
  assert_int_equal(store_keep(s), 0);
  assert_int_equal(store_commit(s), 0);
  assert_int_equal(store_sum(s, two, sum), 0);
  assert_memory_not_equal(sum, empty, sizeof sum);
  for (int64_t disabled = 1; disabled >= 0; disabled--) {
    store_begin(s);
    assert_int_equal(store_run(s, disable, "i", disabled), 1);
    assert_int_equal(store_keep(s), 0);
    assert_int_equal(store_sum(s, two, now), 0);
    assert_int_equal(memcmp(now, sum, sizeof now) != 0, disabled);
    assert_int_equal(store_sum(s, one, now), 0); /* another table */
    assert_memory_equal(now, nothing, sizeof now);
    assert_int_equal(store_commit(s), 0);
  }
  assert_int_equal(store_sum(s, two, now), 0);
  assert_memory_equal(now, sum, sizeof now);
}

static void test_append_only(void **state) {
  struct store_bed *b = *state;
  unsigned refusals = 0;
  tables_fill(b);
  /* The list above is the schema's. */
  assert_int_equal(bed_int(b,
                           "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND "
                           "name <> 'seal'"),
                   TABLES);
  for (int raw = 0; raw < 2; raw++) {
    sqlite3 *db = raw ? bed_raw(b) : NULL;
    for (size_t i = 0; i < TABLES; i++)
      for (int what = 0; what < 3; what++) {
        static char sql[2][TABLES][3][320];
        char *text = sql[raw][i][what];
        bool refused = what == 0 ? tables[i].update_refused : tables[i].delete != FREE;
        const char *insert = tables[i].insert ? tables[i].insert : "INSERT INTO site VALUES(1, randomblob(16))";
        /* Replacing a row is removing it. */
        snprintf(text, sizeof sql[0][0][0],
                 what == 0   ? "%s"
                 : what == 1 ? "DELETE FROM %s"
                             : "INSERT OR REPLACE%s",
                 what == 0   ? tables[i].update
                 : what == 1 ? tables[i].table
                             : insert + strlen("INSERT"));
        if (what > 0 && !refused)
          continue; /* a row that others refer to */
        if (raw && what == 2)
          continue; /* a pragma of the connection decides, sqlite3 can be told anything */
        if (!raw) {
          bed_begin(b);
          int r = store_run(b->store, text, "");
          if (refused ? r != -EPERM && !(what == 2 && r == -EEXIST) : r != 1)
            fail_msg("%s: %d", text, r);
          store_undo(b->store);
        } else if ((sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_CONSTRAINT) != refused)
          fail_msg("%s: not what was expected of a raw handle", text);
        refusals += refused;
      }
    if (raw) {
      sqlite3_close(db);
      bed_up(b);
    } else
      assert_int_equal(store_commit(b->store), 0);
  }
  print_message("# %u attempts to rewrite or remove a row refused, %zu tables\n", refusals, TABLES);
  /* An acquisition may be written until it has ended. */
  bed_begin(b);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO acquisition(study, device, driver, driver_version, program, node, seconds,"
                             " started, offset_minutes, by) VALUES(1,'d','d','1','1','n',1,1,0,'u')",
                             ""),
                   1);
  assert_int_equal(store_run(b->store, "UPDATE acquisition SET ended = 3, outcome = 'ok' WHERE id = 2", ""), 1);
  assert_int_equal(store_run(b->store, "UPDATE acquisition SET outcome = 'other' WHERE id = 2", ""), -EPERM);
  bed_keep(b);
}

/* An erasure that is not done lets the rows go that may be erased, and no others; one that is done does not change. */
static void test_erasure(void **state) {
  struct store_bed *b = *state;
  static char sql[TABLES][64];
  unsigned erased = 0, kept = 0;
  tables_fill(b);
  bed_begin(b);
  assert_int_equal(store_run(b->store, "UPDATE erasure SET done = 0", ""), -EPERM);
  assert_int_equal(
      store_run(b->store, "INSERT INTO erasure(what, ref, archive, at, by) VALUES('patient','P','a',1,'u')", ""), 1);
  assert_int_equal(store_run(b->store, "UPDATE erasure SET archive = 'b' WHERE NOT done", ""), -EPERM);
  assert_int_equal(store_run(b->store, "PRAGMA defer_foreign_keys = ON", ""), 0); /* in any order */
  for (size_t i = 0; i < TABLES; i++) {
    if (!strcmp(tables[i].table, "erasure"))
      continue;
    snprintf(sql[i], sizeof sql[i], "DELETE FROM %s", tables[i].table);
    const int r = store_run(b->store, sql[i], "");
    if (r != (tables[i].delete == STAYS ? -EPERM : 1))
      fail_msg("%s: %d", sql[i], r);
    erased += r == 1;
    kept += r != 1;
  }
  /* The patient, who stays, goes on having an identity. */
  assert_int_equal(store_run(b->store,
                             "INSERT INTO patient_version(patient, version, family, given, birth_date, sex, at)"
                             " VALUES('P',1,'','','1850-01-01','U',0)",
                             ""),
                   1);
  /* Of who was in charge, why and until when, only the reason's text may go. */
  assert_int_equal(store_run(b->store, "UPDATE followup_team SET gp = '3'", ""), -EPERM);
  assert_int_equal(store_run(b->store, "UPDATE followup_team SET reason = NULL", ""), 1);
  assert_int_equal(store_run(b->store, "UPDATE followup_end SET at = 3, reason = ''", ""), -EPERM);
  assert_int_equal(store_run(b->store, "UPDATE followup_end SET reason = ''", ""), 1);
  assert_int_equal(store_run(b->store, "DELETE FROM erasure", ""), -EPERM);
  assert_int_equal(store_run(b->store, "UPDATE erasure SET done = 1 WHERE NOT done", ""), 1);
  bed_keep(b);
  bed_begin(b);
  assert_int_equal(store_run(b->store, "INSERT INTO artefact VALUES('bb','capture',1,1)", ""), 1);
  assert_int_equal(store_run(b->store, "DELETE FROM artefact", ""), -EPERM);
  assert_int_equal(store_run(b->store, "UPDATE followup_team SET reason = 'x'", ""), -EPERM);
  assert_int_equal(store_run(b->store, "UPDATE followup_end SET reason = 'x'", ""), -EPERM);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  print_message("# rows of %u tables erased, of %u kept\n", erased, kept);
}

/* ---- a store of an older version ---- */

/* Every row of a table in order, its first n columns quoted. */
static char *dump(sqlite3 *db, const char *table, int n) {
  char sql[128];
  sqlite3_stmt *st;
  _buf_cleanup_ struct buf b = BUF_INIT(1u << 20);
  size_t len;
  snprintf(sql, sizeof sql, "SELECT * FROM %s ORDER BY 1, 2", table);
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
  while (sqlite3_step(st) == SQLITE_ROW) {
    for (int i = 0; i < n; i++) {
      const void *bytes = sqlite3_column_blob(st, i);
      buf_format(&b, "%d:", sqlite3_column_type(st, i));
      if (bytes)
        buf_add(&b, bytes, (size_t)sqlite3_column_bytes(st, i));
      buf_u8(&b, '|');
    }
    buf_u8(&b, '\n');
  }
  buf_u8(&b, 0);
  sqlite3_finalize(st);
  char *text = (char *)buf_take(&b, &len);
  assert_non_null(text);
  return text;
}

static int columns(sqlite3 *db, const char *table) {
  char sql[64];
  sqlite3_stmt *st;
  snprintf(sql, sizeof sql, "SELECT * FROM %s", table);
  int n = sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK ? sqlite3_column_count(st) : 0;
  sqlite3_finalize(st);
  return n;
}

static void from_version(struct store_bed *b, int version, size_t missing) {
  char *before[TABLES] = {NULL};
  int n[TABLES] = {0};
  sqlite3 *db;
  bed_down(b);
  unlink(bed_path(b, "asaleed.db"));
  unlink(bed_path(b, "asaleed.db-wal"));
  assert_int_equal(sqlite3_open(bed_path(b, "asaleed.db"), &db), SQLITE_OK);
  char set[64];
  for (int i = 0; i < version; i++)
    raw_exec(db, schema_migrations[i]);
  snprintf(set, sizeof set, "PRAGMA user_version = %d; PRAGMA foreign_keys = ON", version);
  raw_exec(db, set);
  size_t filled = 0;
  for (size_t i = 0; i < TABLES; i++)
    if ((n[i] = columns(db, tables[i].table)) > 0) {
      if (tables[i].insert)
        raw_exec(db, tables[i].insert);
      filled++;
    }
  raw_exec(db, "INSERT INTO artefact VALUES('ab','samples',7,3); INSERT INTO artefact VALUES('ac','audit',8,4)");
  raw_exec(db, "INSERT INTO record(id, study, acquisition, sha256, samples, driver, driver_version, program, complete,"
               " clean, at) VALUES(2,1,1,'aa','ab','d','2','1',1,0,5)");
  const bool strays = columns(db, "stray") > 0;
  if (strays)
    raw_exec(db, "INSERT INTO stray VALUES(3,1,'aa','ab','d','2','1',6)");
  raw_exec(db,
           "INSERT INTO acquisition(id, study, device, driver, driver_version, program, node, seconds, started,"
           " offset_minutes, by, capture, phase, calibration) VALUES(2,1,'d','d','1','1','n',1,1,0,'u','ac','pre',1)");
  assert_int_equal(filled, TABLES - missing); /* those that later versions bring */
  for (size_t i = 0; i < TABLES; i++)
    if (n[i])
      before[i] = dump(db, tables[i].table, n[i]);
  sqlite3_close(db);
  bed_up(b);
  assert_true(bed_int(b, "PRAGMA user_version") >= 3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM site WHERE length(uid) = 16"), 1);
  /* No number is given twice. */
  assert_int_equal(bed_int(b, "SELECT seq FROM sqlite_sequence WHERE name = 'acquisition'"), 2);
  assert_int_equal(bed_int(b, "SELECT seq FROM sqlite_sequence WHERE name = 'unmatched'"), strays ? 3 : 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM sqlite_sequence WHERE name IN ('stray','acquisition_4')"), 0);
  bed_begin(b);
  assert_int_equal(store_run(b->store, "INSERT INTO artefact VALUES('ad','blob',1,1)", ""), 1);
  assert_int_equal(store_run(b->store, "INSERT INTO artefact VALUES('ae','nonsense',1,1)", ""), -EPERM);
  assert_int_equal(store_run(b->store, "DELETE FROM artefact WHERE sha256 = 'aa'", ""), -EPERM);
  assert_int_equal(store_run(b->store, "UPDATE artefact SET bytes = 9", ""), -EPERM);
  /* What refers to an artefact refers to the table that is there now. */
  static const char lost[] = "INSERT INTO unmatched VALUES(7,1,'zz',NULL,'d','1','1',1,NULL,NULL,'time',NULL,NULL)",
                    kept[] = "INSERT INTO unmatched VALUES(7,1,'ad',NULL,'d','1','1',1,NULL,NULL,'time',NULL,NULL)";
  assert_int_equal(store_run(b->store, lost, ""), -EPERM);
  assert_int_equal(store_run(b->store, kept, ""), 1);
  /* What was aside is in the tray. */
  assert_int_equal(bed_int(b, "SELECT count(*) FROM unmatched WHERE id = 3 AND sha256 = 'aa' AND samples = 'ab' AND act"
                              " = 'ecg' AND why = 'time' AND failure IS NULL AND at = 6"),
                   strays);
  /* An acquisition is of a study or of a file, never both or none. */
  assert_int_equal(store_run(b->store,
                             "INSERT INTO acquisition(driver, driver_version, program, node, seconds, started,"
                             " offset_minutes, by) VALUES('d','1','1','n',1,1,0,'u')",
                             ""),
                   -EPERM);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  db = bed_raw(b);
  for (size_t i = 0; i < TABLES; i++) {
    if (!n[i])
      continue;
    char *after = dump(db, tables[i].table, n[i]);
    assert_string_equal(after, before[i]);
    free(after);
    free(before[i]);
  }
  sqlite3_close(db);
  bed_up(b);
}

static void test_from_version_2(void **state) {
  from_version(*state, 2, 34);
}

static void test_from_version_3(void **state) {
  from_version(*state, 3, 29);
}

static void test_from_version_4(void **state) {
  from_version(*state, 4, 24);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, bed_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(new),       TEST(reopen),         TEST(newer_schema),   TEST(migration_undone),    TEST(second_process),
      TEST(bad_files), TEST(keep_undo),      TEST(dies),           TEST(callbacks),           TEST(commit_fails),
      TEST(full),      TEST(values),         TEST(errors),         TEST(too_many_statements), TEST(append_only),
      TEST(erasure),   TEST(from_version_2), TEST(from_version_3), TEST(from_version_4),      TEST(sum),
  };
  return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
