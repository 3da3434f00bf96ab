/* The seal and what comes after today's schema, with a schema of the test's own: a store that is as it was sealed is
 * sealed anew by a migration, and one that is not stays as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"

/* The array that store.c reads: the test takes migrations from it and puts them back. */
extern const char *schema_migrations[];
const char *schema_migrations[] = {
    "CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT) STRICT;"
    "CREATE TABLE b(key TEXT PRIMARY KEY, value BLOB) STRICT, WITHOUT ROWID;"
    "CREATE TABLE gone(x INTEGER) STRICT;",
    "CREATE TABLE seal(name TEXT PRIMARY KEY, sum BLOB NOT NULL) STRICT, WITHOUT ROWID;"
    "INSERT INTO a(text) VALUES('from a migration');",
    "ALTER TABLE b ADD COLUMN more TEXT; DROP TABLE gone; CREATE TABLE c(id INTEGER PRIMARY KEY, x TEXT) STRICT;"
    "INSERT INTO c SELECT id, text FROM a; DELETE FROM a WHERE id = 1; CREATE INDEX a_text ON a(text);",
    NULL,
};
static const char *third;

static int setup(void **state) {
  third = schema_migrations[2];
  schema_migrations[2] = NULL;
  return bed_setup(state);
}

static int teardown(void **state) {
  schema_migrations[2] = third;
  return bed_teardown(state);
}

static void check_ok(struct store_bed *b) {
  struct store_check c;
  assert_int_equal(store_verify(b->store, &c), 0);
  assert_true(c.ok);
}

static void write_some(struct store_bed *b) {
  bed_begin(b);
  assert_int_equal(store_run(b->store, "INSERT INTO a(text) VALUES('x')", ""), 1);
  assert_int_equal(store_run(b->store, "INSERT OR REPLACE INTO b(key, value) VALUES('k', randomblob(9))", ""), 1);
  bed_keep(b);
}

static void test_sealed_anew(void **state) {
  struct store_bed *b = *state;
  check_ok(b);
  write_some(b);
  bed_down(b);
  schema_migrations[2] = third;
  bed_up(b);
  assert_int_equal(bed_int(b, "PRAGMA user_version"), 3);
  check_ok(b);
  write_some(b);
  bed_begin(b);
  assert_int_equal(store_run(b->store, "UPDATE b SET more = 'a column that is new'", ""), 1);
  assert_int_equal(store_run(b->store, "UPDATE c SET id = id + 10", ""), 2);
  bed_keep(b);
  bed_down(b);
  bed_up(b);
  check_ok(b);
}

static void test_not_sealed_anew(void **state) {
  struct store_bed *b = *state;
  static const char *const changes[][2] = {
      {"UPDATE a SET text = 'y' WHERE id = 2", "UPDATE a SET text = 'x' WHERE id = 2"},
      {"CREATE INDEX other ON a(text)", "DROP INDEX other"},
  };
  struct store *s = NULL;
  write_some(b);
  for (size_t i = 0; i < 2; i++) {
    sqlite3 *db = bed_raw(b);
    raw_exec(db, changes[i][0]);
    sqlite3_close(db);
    schema_migrations[2] = third;
    assert_int_equal(store_open(b->dir, &s), -EUCLEAN);
    schema_migrations[2] = NULL;
    bed_up(b); /* the program that it is of opens it, as it was */
    struct store_check c;
    assert_int_equal(store_verify(b->store, &c), 0);
    assert_false(c.ok);
    assert_int_equal(bed_int(b, "PRAGMA user_version"), 2);
    db = bed_raw(b);
    raw_exec(db, changes[i][1]);
    sqlite3_close(db);
    bed_up(b);
  }
  bed_down(b);
  schema_migrations[2] = third;
  bed_up(b);
  check_ok(b);
}

/* A migration that fails half way leaves the older version sealed as it was. */
static void test_fails(void **state) {
  struct store_bed *b = *state;
  struct store *s = NULL;
  write_some(b);
  bed_down(b);
  schema_migrations[2] = "INSERT INTO a(text) VALUES('half'); INSERT INTO nowhere VALUES(1)";
  assert_true(store_open(b->dir, &s) < 0);
  schema_migrations[2] = NULL;
  bed_up(b);
  check_ok(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM a WHERE text = 'half'"), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
  const struct CMUnitTest tests[] = {TEST(sealed_anew), TEST(not_sealed_anew), TEST(fails)};
  return cmocka_run_group_tests_name("seal_migration", tests, NULL, NULL);
}
