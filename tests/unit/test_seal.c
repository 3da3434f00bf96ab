/* The seal: whatever is changed in the database by another than the store is found, and nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "buf.h"
#include "fail_alloc.h"
#include "log.h"
#include "store_tables.h"
#include "str.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

/* The daemon's own log is silent while hundreds of changes are made that it tells of. */
static void quiet(bool on) {
  log_open("test", on ? LOG_ERROR - 1 : LOG_ERROR);
}

#define CHANGE_ADD "INSERT INTO change(at, kind, ref, state) VALUES(1,'study',?,NULL)"

static struct store_check verify(struct store_bed *b) {
  struct store_check c;
  memset(&c, 0xff, sizeof c);
  assert_int_equal(store_verify(b->store, &c), 0);
  assert_int_equal(c.ok, !c.table[0] && c.consistent);
  return c;
}

static void check_ok(struct store_bed *b) {
  struct store_check c = verify(b);
  if (!c.ok)
    fail_msg("table \"%s\", %sconsistent", c.table, c.consistent ? "" : "not ");
}

static void check_found(struct store_bed *b, const char *table, const char *what) {
  struct store_check c = verify(b);
  if (c.ok || strcmp(c.table, table))
    fail_msg("%s: %s%s, expected %s", what, c.ok ? "not found" : "found in ", c.table, table);
}

static int change(struct store_bed *b, const char *ref) {
  return store_run(b->store, CHANGE_ADD, "t", ref);
}

static void add(struct store_bed *b, const char *ref) {
  bed_begin(b);
  assert_int_equal(change(b, ref), 1);
  bed_keep(b);
}

/* ---- what the store itself does ---- */

static void test_own(void **state) {
  struct store_bed *b = *state;
  check_ok(b);
  tables_fill(b);
  check_ok(b);
  assert_int_equal(verify(b).rows, bed_int(b, "SELECT count(*) FROM sqlite_schema") +
                                       bed_int(b, "SELECT count(*) FROM sqlite_sequence") + (int64_t)TABLES);
  bed_begin(b);
  assert_int_equal(change(b, "open"), 1);
  check_ok(b); /* what is not committed counts as well */
  store_undo(b->store);
  check_ok(b);
  assert_int_equal(store_commit(b->store), 0);
  for (int i = 0; i < 3; i++) {
    bed_down(b);
    bed_up(b);
    check_ok(b);
    add(b, "again");
  }
  /* Nothing is written past the seal. */
  assert_int_equal(store_run(b->store, "INSERT INTO change(at, kind, ref) VALUES(1,'x','outside')", ""), -EPERM);
  struct rows r = store_query(b->store, "DELETE FROM answered RETURNING 1", "");
  assert_false(rows_next(&r));
  assert_int_equal(rows_finish(&r), -EPERM);
  check_ok(b);
}

/* Statements of every kind, some of which fail half way, in acts that are kept, undone or lost. */
static void test_statements(void **state) {
  struct store_bed *b = *state;
  static const char *const sql[] = {
      "INSERT INTO answered(actor, key, request, status, body, at) VALUES('a','k' || ?1,x'0011',200,'{}',?1)",
      "INSERT INTO answered(actor, key, request, status, body, at) SELECT 'a', 'k' || value, zeroblob(?1), 201, "
      "hex(?1), ?1 FROM json_each('[1,2,3,4,5]')",
      "INSERT OR REPLACE INTO answered(actor, key, request, status, body, at) VALUES('a','k' || (?1 % "
      "5),x'',202,'replaced',?1)",
      "INSERT OR IGNORE INTO answered(actor, key, request, status, body, at) VALUES('a','k' || (?1 % "
      "5),x'',203,'ignored',?1)",
      "INSERT INTO answered(actor, key, request, status, body, at) VALUES('a','k1',x'',204,'upsert',?1) ON CONFLICT DO "
      "UPDATE SET body = body || ?1",
      "UPDATE answered SET key = key || 'x' WHERE at % 3 = ?1 % 3",
      "UPDATE answered SET actor = 'b', key = CAST(random() AS TEXT) WHERE at % 7 = ?1 % 7",
      "UPDATE answered SET status = status + 1",
      "UPDATE answered SET key = 'same'",
      "DELETE FROM answered WHERE at % 4 = ?1 % 4",
      "DELETE FROM answered",
      "INSERT INTO user(name, role, display, created) VALUES('u' || ?1,'gp','Dr',?1)",
      "INSERT INTO user(id, name, role, display, created) SELECT value, 'v' || value, 'gp', '', ?1 FROM "
      "json_each('[101,102,103]')",
      "INSERT OR REPLACE INTO user(id, name, role, display, token, created) VALUES(101 + ?1 % 3,'u' || (?1 % "
      "9),'gp','r',"
      "CAST(?1 % 2 AS BLOB),?1)",
      "UPDATE user SET id = id + 1000 WHERE id % 5 = ?1 % 5",
      "UPDATE user SET id = id + 1 WHERE id > ?1",
      "UPDATE OR REPLACE user SET id = id / 2",
      "UPDATE OR REPLACE user SET name = 'u' || (id % 3)",
      "UPDATE user SET display = '5', created = '7', rpps = CAST(id AS TEXT)",
      "UPDATE user SET role = iif(id % 2, 'gp', 'king')",
      "DELETE FROM user WHERE id % 3 = ?1 % 3",
      "REPLACE INTO user(id, name, role, display, created) VALUES(1,'x','gp','',1)",
      "INSERT INTO audit_patient VALUES('P' || (?1 % 4), ?1)",
      "UPDATE audit_patient SET seq = seq + 1",
      "UPDATE OR REPLACE audit_patient SET patient = 'P'",
      "DELETE FROM audit_patient",
      "INSERT INTO change(at, kind, ref, state) SELECT value, 'a', 'b', NULL FROM json_each('[1,2,3]')",
      "INSERT INTO change(at, kind, ref, state) SELECT value, 'a', 'b', 'c' FROM json_each('[1,2,\"x\"]')",
      "INSERT INTO orders(patient, act, ordered_by, at) VALUES('nobody','ecg','u',1)",
      "DELETE FROM change",
      "INSERT OR REPLACE INTO change VALUES(1,1,'a','b','c')",
      "INSERT INTO patient_version(patient, version, family, given, birth_date, sex, at) VALUES('P' || "
      "?1,1,'F','G','','F',"
      "1)",
      "INSERT INTO patient VALUES('P' || ?1,1) ON CONFLICT(id) DO UPDATE SET version = excluded.version",
  };
  uint32_t random = 1;
  unsigned n[2] = {0}, acts = 0;
  for (int64_t i = 0; i < 3000; i++) {
    bed_begin(b);
    for (int k = 0; k < 3; k++) {
      random = random * 1664525u + 1013904223u;
      n[store_run(b->store, sql[(random >> 8) % (sizeof sql / sizeof *sql)], "i", (int64_t)(random >> 20)) < 0]++;
    }
    if (random >> 30)
      assert_int_equal(store_keep(b->store), 0);
    else
      store_undo(b->store);
    if (i % 5 == 0)
      assert_int_equal(store_commit(b->store), 0);
    if (i % 25 == 0)
      check_ok(b);
    acts++;
  }
  assert_int_equal(store_commit(b->store), 0);
  bed_down(b);
  bed_up(b);
  check_ok(b);
  assert_true(n[0] > 1000 && n[1] > 500);
  print_message("# %u acts of %u statements and %u that were refused: the sums are the rows'\n", acts, n[0], n[1]);
}

/* A number that was used up by a row that went again at once: all tables are as they were, but for what SQLite counts.
 */
static void test_numbers(void **state) {
  struct store_bed *b = *state;
  static const char sha[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
  bed_begin(b);
  assert_int_equal(store_run(b->store, "INSERT INTO artefact(sha256, kind, bytes, at) VALUES(?,'blob',1,1)", "t", sha),
                   1);
  assert_int_equal(
      store_run(b->store, "INSERT INTO erasure(what, ref, archive, at, by) VALUES('patient','P','',1,'u')", ""), 1);
  bed_keep(b);
  bed_begin(b);
  assert_int_equal(
      store_run(b->store, "INSERT INTO file(sha256, name, source, by, at) VALUES(?,'n','upload','u',1)", "t", sha), 1);
  assert_int_equal(store_run(b->store, "DELETE FROM file", ""), 1);
  bed_keep(b);
  assert_int_equal(bed_int(b, "SELECT seq FROM sqlite_sequence WHERE name = 'file'"), 1);
  check_ok(b);
  store_close(b->store);
  assert_int_equal(store_open(b->dir, &b->store), 0);
  check_ok(b);
  add(b, "a");
  check_ok(b);
}

/* ---- commits that fail ---- */

static void test_commit_fails(void **state) {
  struct store_bed *b = *state;
  struct rlimit before, small;
  struct stat st;
  add(b, "before");
  assert_int_equal(stat(bed_path(b, "asaleed.db-wal"), &st), 0);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  small = before;
  small.rlim_cur = (rlim_t)st.st_size;
  for (int i = 0; i < 3; i++) {
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bed_begin(b);
    assert_int_equal(change(b, "lost"), 1);
    assert_int_equal(store_keep(b->store), 0);
    int r = store_commit(b->store);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(r, -EIO);
    check_ok(b);
  }
  add(b, "after");
  check_ok(b);
  bed_down(b);
  bed_up(b);
  check_ok(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM change"), 2);
}

static void test_full(void **state) {
  struct store_bed *b = *state;
  static char big[200000];
  char set[64];
  memset(big, 'x', sizeof big - 1);
  snprintf(set, sizeof set, "PRAGMA max_page_count = %d", (int)bed_int(b, "PRAGMA page_count") + 2);
  bed_int(b, set);
  bed_begin(b);
  assert_int_equal(change(b, "first"), 1);
  assert_int_equal(store_keep(b->store), 0);
  bed_begin(b);
  assert_int_equal(change(b, big), -ENOSPC);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), -ENOSPC);
  bed_int(b, "PRAGMA max_page_count = 100000");
  check_ok(b);
  add(b, big);
  check_ok(b);
  bed_down(b);
  bed_up(b);
  check_ok(b);
}

/* Each allocation of an act fails in its turn: refused, undone or done, the sums are the rows'. */
static void test_no_memory(void **state) {
  struct store_bed *b = *state;
  static const char upsert[] = "INSERT INTO answered(actor, key, request, status, body, at) "
                               "VALUES('a','k',x'00',200,printf('%.*c', ?1, 'x'),1) ON CONFLICT DO "
                               "UPDATE SET body = excluded.body || 'y', at = at + 1";
  unsigned failed = 0;
  if (!fail_alloc_works())
    skip();
  tables_fill(b);
  bool hit = true;
  quiet(true);
  for (size_t nth = 1; hit; nth++) {
    bed_begin(b);
    assert_int_equal(change(b, "the same turn"), 1);
    assert_int_equal(store_keep(b->store), 0);
    bed_begin(b);
    fail_alloc_set(nth, false);
    int r = store_run(b->store, upsert, "i", (int64_t)(nth * 37 % 9000));
    if (r == 1)
      r = store_run(b->store, "UPDATE user SET display = display || 'é', id = id + 1", "");
    if (r == 1)
      r = store_keep(b->store) < 0 ? -1 : 1;
    if (r < 0)
      store_undo(b->store);
    const int committed = store_commit(b->store);
    hit = fail_alloc_hit();
    fail_alloc_set(0, false);
    failed += r < 0 || committed < 0;
    check_ok(b);
  }
  quiet(false);
  assert_true(failed > 10);
  bed_down(b);
  bed_up(b);
  check_ok(b);
  print_message("# %u acts and commits without memory\n", failed);
}

/* A statement that said it failed, and an act that was kept all the same: nothing of that turn is committed. */
static void test_kept_all_the_same(void **state) {
  struct store_bed *b = *state;
  unsigned refused = 0;
  if (!fail_alloc_works())
    skip();
  tables_fill(b);
  bool hit = true;
  quiet(true);
  for (size_t nth = 1; hit; nth++) {
    bed_begin(b);
    fail_alloc_set(nth, false);
    int r = store_run(b->store, "UPDATE answered SET body = body || 'z', at = at + 1", "");
    hit = fail_alloc_hit();
    fail_alloc_set(0, false);
    if (r < 0 && store_keep(b->store) == 0)
      refused += store_commit(b->store) < 0;
    else if (r == 1)
      assert_int_equal(store_keep(b->store), 0);
    store_commit(b->store);
    check_ok(b);
  }
  quiet(false);
  assert_true(refused > 0);
}

/* Killed anywhere. */
static void test_killed(void **state) {
  struct store_bed *b = *state;
  int64_t last = 0;
  bed_down(b);
  for (int i = 0; i < 20; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      struct store *s;
      if (store_open(b->dir, &s) < 0)
        _exit(1);
      for (;;)
        if (store_begin(s) < 0 || store_run(s, CHANGE_ADD, "t", "x") != 1 ||
            store_run(s,
                      "INSERT OR REPLACE INTO answered(actor, key, request, status, body, at) "
                      "VALUES('a','k',x'',1,'',random())",
                      "") != 1 ||
            store_keep(s) < 0 || store_commit(s) < 0)
          _exit(1);
    }
    nanosleep(&(struct timespec){.tv_nsec = 20000000 + i * 1700000}, NULL);
    int status;
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    bed_up(b);
    check_ok(b);
    last = bed_int(b, "SELECT count(*) FROM change");
    bed_down(b);
  }
  bed_up(b);
  assert_true(last > 20);
}

/* ---- what another does ---- */

/* A copy of the database as it lies there, put back after each change. */
struct copy {
  uint8_t *bytes;
  size_t n;
};

static struct copy copy_take(struct store_bed *b) {
  struct copy c = {0};
  FILE *f = fopen(bed_path(b, "asaleed.db"), "re");
  assert_non_null(f);
  assert_int_equal(fseek(f, 0, SEEK_END), 0);
  c.n = (size_t)ftell(f);
  rewind(f);
  c.bytes = malloc(c.n);
  assert_non_null(c.bytes);
  assert_int_equal(fread(c.bytes, 1, c.n, f), c.n);
  fclose(f);
  return c;
}

static void copy_put(struct store_bed *b, const struct copy *c) {
  int fd = open(bed_path(b, "asaleed.db"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(fd_write_all(fd, c->bytes, c->n), 0);
  close(fd);
  unlink(bed_path(b, "asaleed.db-wal"));
  unlink(bed_path(b, "asaleed.db-shm"));
}

/* As somebody who has the file and knows how: no trigger, no constraint that can be switched off is in his way. */
static sqlite3 *raw_open(struct store_bed *b) {
  sqlite3 *db;
  assert_int_equal(sqlite3_open(bed_path(b, "asaleed.db"), &db), SQLITE_OK);
  sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
  raw_exec(db, "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF");
  return db;
}

/* Makes a change in a store that is down, and looks. */
static void spoil(struct store_bed *b, const struct copy *whole, const char *sql, const char *table) {
  sqlite3 *db = raw_open(b);
  raw_exec(db, sql);
  if (sqlite3_total_changes(db) == 0 && (!strncmp(sql, "UPDATE", 6) || !strncmp(sql, "DELETE", 6)))
    fail_msg("%s: changes nothing", sql);
  sqlite3_close(db);
  bed_up(b);
  check_found(b, table, sql);
  bed_down(b);
  copy_put(b, whole);
}

/* Each value of each table, each row away, a row slipped in. */
static void test_every_value(void **state) {
  struct store_bed *b = *state;
  unsigned values = 0, rows = 0;
  tables_fill(b);
  bed_down(b);
  struct copy whole = copy_take(b);
  quiet(true);
  for (size_t i = 0; i < TABLES; i++) {
    char sql[2048];
    sqlite3_stmt *st;
    struct buf sets = BUF_INIT(4096), list = BUF_INIT(4096);
    sqlite3 *db = raw_open(b);
    snprintf(sql, sizeof sql, "SELECT name, type FROM pragma_table_info('%s')", tables[i].table);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    while (sqlite3_step(st) == SQLITE_ROW) {
      const char *name = (const char *)sqlite3_column_text(st, 0), *type = (const char *)sqlite3_column_text(st, 1);
      const char *other = !strcmp(type, "INTEGER") ? "\"%s\" + 1"
                          : !strcmp(type, "TEXT")  ? "\"%s\" || char(0)"
                                                   : "CAST(\"%s\" || x'00' AS BLOB)";
      char expression[128];
      snprintf(expression, sizeof expression, other, name);
      buf_format(&sets, "UPDATE %s SET \"%s\" = ifnull(%s, %s);", tables[i].table, name, expression,
                 !strcmp(type, "INTEGER") ? "0"
                 : !strcmp(type, "TEXT")  ? "''"
                                          : "x''");
      buf_format(&list, "%s%s", list.len ? ", " : "", expression);
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    assert_non_null(buf_cstr(&sets));
    for (char *set = (char *)sets.data, *end; (end = strchr(set, ';')); set = end + 1, values++) {
      *end = 0;
      spoil(b, &whole, set, tables[i].table);
    }
    snprintf(sql, sizeof sql, "DELETE FROM %s", tables[i].table);
    spoil(b, &whole, sql, tables[i].table);
    snprintf(sql, sizeof sql, "INSERT INTO %s SELECT %s FROM %s", tables[i].table, buf_cstr(&list), tables[i].table);
    spoil(b, &whole, sql, tables[i].table);
    rows += 2;
    buf_finish(&sets);
    buf_finish(&list);
  }
  quiet(false);
  free(whole.bytes);
  bed_up(b);
  check_ok(b);
  print_message("# %u values of %zu tables changed, %u rows removed or slipped in: found\n", values, TABLES, rows);
}

static void test_beside(void **state) {
  struct store_bed *b = *state;
  static const struct {
    const char *sql, *table;
  } rows[] = {
      {"DROP TRIGGER audit_stays", "sqlite_schema"},
      {"DROP INDEX study_queue", "sqlite_schema"},
      {"CREATE INDEX other ON study(id)", "sqlite_schema"},
      {"CREATE TRIGGER other AFTER INSERT ON study BEGIN DELETE FROM notice; END", "sqlite_schema"},
      {"PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'append only', 'append  only') WHERE "
       "name "
       "= 'study_keeps_order'",
       "sqlite_schema"},
      {"ALTER TABLE notice ADD COLUMN more TEXT", "notice"},
      {"UPDATE sqlite_sequence SET seq = seq - 1 WHERE name = 'audit'", "sqlite_sequence"},
      {"UPDATE sqlite_sequence SET name = 'audit2' WHERE name = 'audit'", "sqlite_sequence"},
      {"DELETE FROM sqlite_sequence", "sqlite_sequence"},
      {"INSERT INTO sqlite_sequence VALUES('user', 7)", "sqlite_sequence"},
      {"DELETE FROM seal WHERE name = ''", "seal"},
      {"DELETE FROM seal WHERE name = 'site.key'", "seal"},
      {"DELETE FROM seal WHERE name = 'draft'", "seal"},
      {"DELETE FROM seal", "seal"},
      {"UPDATE seal SET sum = zeroblob(32) WHERE name = ''", "seal"},
      {"UPDATE seal SET sum = (SELECT sum FROM seal WHERE name = 'user') WHERE name = 'notice'", "seal"},
      {"UPDATE seal SET sum = CAST(sum || x'00' AS BLOB) WHERE name = 'user'", "seal"},
      {"UPDATE seal SET name = 'user' || char(0) WHERE name = 'user'", "seal"},
      {"UPDATE seal SET name = 'other' WHERE name = 'user'", "seal"},
      {"INSERT INTO seal VALUES('other', zeroblob(32))", "seal"},
      {"CREATE TABLE other(x)", "seal"},
      {"DROP TABLE notice_end", "seal"},
      {"ANALYZE", "seal"},
      /* A row goes, and its sum with it. */
      {"DELETE FROM draft; UPDATE seal SET sum = zeroblob(32) WHERE name = 'draft'", "seal"},
  };
  tables_fill(b);
  bed_down(b);
  struct copy whole = copy_take(b);
  quiet(true);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    spoil(b, &whole, rows[i].sql, rows[i].table);
  quiet(false);
  /* A version that it is not. */
  sqlite3 *db = raw_open(b);
  raw_exec(db, "PRAGMA user_version = 4");
  sqlite3_close(db);
  struct store *s = NULL;
  assert_int_equal(store_open(b->dir, &s), -EUCLEAN);
  copy_put(b, &whole);
  /* Without its seal it is no store. */
  db = raw_open(b);
  raw_exec(db, "DROP TABLE seal");
  sqlite3_close(db);
  assert_true(store_open(b->dir, &s) < 0);
  copy_put(b, &whole);
  free(whole.bytes);
  bed_up(b);
  check_ok(b);
}

/* Whatever is written later, and however often the store is opened: what was changed stays to be seen, until it is as
 * it was. */
static void test_stays_found(void **state) {
  struct store_bed *b = *state;
  static const struct {
    const char *change, *back, *table;
  } rows[] = {
      {"UPDATE user SET display = 'other' WHERE name = 'u'", "UPDATE user SET display = '' WHERE name = 'u'", "user"},
      {"DELETE FROM answered WHERE key = 'k'",
       "INSERT INTO answered(actor, key, request, status, body, at) VALUES('u','k',x'00',200,'{}',1)", "answered"},
      {"DROP INDEX study_of_order", "CREATE INDEX study_of_order ON study(orders)", "sqlite_schema"},
      {"UPDATE sqlite_sequence SET seq = seq + 10 WHERE name = 'audit'",
       "UPDATE sqlite_sequence SET seq = seq - 10 WHERE name = 'audit'", "sqlite_sequence"},
      {"DELETE FROM seal WHERE name = 'site.key'", NULL, "seal"},
      {"DELETE FROM seal WHERE name = 'acting'", NULL, "seal"},
  };
  tables_fill(b);
  bed_begin(b);
  assert_int_equal(store_run(b->store, "INSERT INTO user(name, role, display, created) VALUES('w','gp','',1)", ""), 1);
  bed_keep(b);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    bed_down(b);
    sqlite3 *db = raw_open(b);
    raw_exec(db, rows[i].change);
    sqlite3_close(db);
    for (int k = 0; k < 3; k++) {
      bed_up(b);
      check_found(b, rows[i].table, rows[i].change);
      add(b, "later");
      bed_begin(b);
      assert_int_equal(store_run(b->store, "UPDATE user SET token = randomblob(8) WHERE name = 'w'", ""), 1);
      assert_true(store_run(b->store,
                            "INSERT OR REPLACE INTO answered(actor, key, request, status, body, at) "
                            "VALUES('u','other',x'00',200,'{}',1)",
                            "") == 1);
      bed_keep(b);
      check_found(b, rows[i].table, rows[i].change);
      bed_down(b);
    }
    if (rows[i].back) {
      db = raw_open(b);
      raw_exec(db, rows[i].back);
      sqlite3_close(db);
      bed_up(b);
      check_ok(b);
    } else
      bed_up(b);
  }
}

static void test_key(void **state) {
  struct store_bed *b = *state;
  struct store *s = NULL;
  uint8_t other[32];
  add(b, "x");
  bed_down(b);
  assert_int_equal(rename(bed_path(b, "site.key"), bed_path(b, "kept")), 0);
  assert_int_equal(store_open(b->dir, &s), -ENOKEY);
  assert_int_equal(access(bed_path(b, "site.key"), F_OK), -1); /* none is made in its place */
  for (size_t n = 0; n <= 40; n += n == 30 ? 1 : 10) {
    memset(other, 7, sizeof other);
    FILE *f = fopen(bed_path(b, "site.key"), "we");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++)
      fputc(7, f);
    fclose(f);
    assert_int_equal(store_open(b->dir, &s), -EUCLEAN);
  }
  unlink(bed_path(b, "site.key"));
  FILE *f = fopen(bed_path(b, "site.key"), "we");
  assert_non_null(f);
  assert_int_equal(fwrite(other, 1, 32, f), 32);
  fclose(f);
  assert_int_equal(store_open(b->dir, &s), -EKEYREJECTED);
  assert_null(s);
  assert_int_equal(rename(bed_path(b, "kept"), bed_path(b, "site.key")), 0);
  bed_up(b);
  check_ok(b);
}

/* ---- bytes of the file ---- */

/* All that the database says: its version, its schema, every row of every table. "" when it cannot be read. */
static char *dump(struct store_bed *b) {
  struct buf out = BUF_INIT(16u << 20);
  sqlite3 *db = NULL;
  sqlite3_stmt *names = NULL;
  size_t n;
  int code = sqlite3_open_v2(bed_path(b, "asaleed.db"), &db, SQLITE_OPEN_READONLY, NULL);
  if (code == SQLITE_OK)
    code = sqlite3_prepare_v2(db,
                              "SELECT 'SELECT * FROM \"' || name || '\" NOT INDEXED' FROM sqlite_schema WHERE type = "
                              "'table' UNION ALL SELECT 'PRAGMA user_version' UNION ALL SELECT 'SELECT type, name, "
                              "tbl_name, sql FROM sqlite_schema'",
                              -1, &names, NULL);
  while (code == SQLITE_OK && (code = sqlite3_step(names)) == SQLITE_ROW) {
    sqlite3_stmt *st = NULL;
    code = sqlite3_prepare_v2(db, (const char *)sqlite3_column_text(names, 0), -1, &st, NULL);
    buf_format(&out, "%s\n", sqlite3_column_text(names, 0));
    while (code == SQLITE_OK && (code = sqlite3_step(st)) == SQLITE_ROW) {
      for (int i = 0; i < sqlite3_column_count(st); i++) {
        const void *bytes = sqlite3_column_blob(st, i);
        buf_format(&out, "%d:%d:", sqlite3_column_type(st, i), sqlite3_column_bytes(st, i));
        if (bytes)
          buf_hex(&out, bytes, (size_t)sqlite3_column_bytes(st, i));
        buf_u8(&out, '|');
      }
      code = SQLITE_OK;
    }
    sqlite3_finalize(st);
    code = code == SQLITE_DONE ? SQLITE_OK : code;
  }
  sqlite3_finalize(names);
  sqlite3_close(db);
  if (code != SQLITE_DONE)
    buf_reset(&out);
  buf_u8(&out, 0);
  char *text = (char *)buf_take(&out, &n);
  assert_non_null(text);
  return text;
}

static bool notices(struct store_bed *b) {
  struct store_check c = {.ok = true};
  if (store_open(b->dir, &b->store) < 0)
    return true;
  bool found = store_verify(b->store, &c) < 0 || !c.ok;
  store_close(b->store);
  b->store = NULL;
  return found;
}

/* Bytes all over the file, closer where there is something. */
static void test_every_byte(void **state) {
  struct store_bed *b = *state;
  static char big[6000]; /* over several pages */
  unsigned flips = 0, same = 0, found = 0;
  tables_fill(b);
  memset(big, 'y', sizeof big - 1);
  add(b, big);
  bed_down(b);
  struct copy whole = copy_take(b);
  char *said = dump(b);
  assert_true(strlen(said) > 20000);
  assert_false(notices(b));
  int file = open(bed_path(b, "asaleed.db"), O_WRONLY | O_CLOEXEC);
  assert_true(file >= 0);
  quiet(true);
  static const uint8_t nothing[64];
  for (size_t at = 0; at < whole.n;) {
    const uint8_t was = whole.bytes[at], is = (uint8_t)(was ^ (1u << (at / 7 % 8)));
    assert_int_equal(pwrite(file, &is, 1, (off_t)at), 1);
    char *says = dump(b);
    flips++;
    if (!strcmp(says, said))
      same++; /* free space, or an index: sqlite's own check may say so */
    else if (notices(b))
      found++;
    else
      fail_msg("byte %zu of the file, page %zu, is not noticed", at, at / 4096 + 1);
    if (strcmp(says, said))
      copy_put(b, &whole);
    else
      assert_int_equal(pwrite(file, &was, 1, (off_t)at), 1);
    free(says);
    at += at < 100 ? 1 : at + 64 < whole.n && !memcmp(whole.bytes + at, nothing, 64) ? 211 : 37;
  }
  close(file);
  quiet(false);
  copy_put(b, &whole);
  bed_up(b);
  check_ok(b);
  free(said);
  free(whole.bytes);
  print_message(
      "# %u bytes of the file changed: %u changed what it says, all found; %u were in free space or indexes\n", flips,
      found, same);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, bed_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(own),         TEST(statements), TEST(numbers),           TEST(commit_fails),
      TEST(full),        TEST(no_memory),  TEST(kept_all_the_same), TEST(killed),
      TEST(every_value), TEST(beside),     TEST(stays_found),       TEST(key),
      TEST(every_byte),
  };
  return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
