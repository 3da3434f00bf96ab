/* The audit trail: whatever is done to a row is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"
#include "str.h"
#include "wall.h"
#include <sys/syscall.h>
#include <time.h>

#define ROWS 7

/* The system's clock, moved by this much. */
static int64_t clock_step_s;
int clock_gettime(clockid_t id, struct timespec *ret) {
  int r = (int)syscall(SYS_clock_gettime, id, ret);
  if (id == CLOCK_REALTIME)
    ret->tv_sec += clock_step_s;
  return r;
}

static const struct actor nurse = {.name = "ines"}, lgc = {.name = "lgc", .acting_for = "martin"};

static void add(struct store_bed *b, const struct actor *actor, const char *action, const char *subject,
                json_t *detail) {
  bed_begin(b);
  assert_int_equal(audit_add(b->store, actor, action, subject, detail), 0);
  bed_keep(b);
}

static void fill(struct store_bed *b) {
  add(b, &nurse, "order", "S-1", json_pack("{s:s, s:i}", "act", "ecg", "order", 1));
  add(b, &lgc, "patient.add", "P-é1", NULL);
  add(b, &nurse, "study.start", "S-1", json_pack("{s:s}", "from", "ordered"));
  add(b, &(struct actor){.name = "asaleed"}, "study.record", "S-1", json_pack("{s:[i,i]}", "x", 1, 2));
  add(b, &lgc, "study.claim", "S-1", NULL);
  add(b, &nurse, "", "", NULL); /* empty is not NULL */
  add(b, &nurse, "end", "S-1", json_pack("{s:s}", "reason", "first\nsecond"));
}

static struct audit_check verify(struct store_bed *b) {
  struct audit_check c;
  memset(&c, 0xff, sizeof c);
  assert_int_equal(audit_verify(b->store, b->artefacts, &c), 0);
  assert_int_equal(c.ok, c.broken_at == 0);
  return c;
}

/* Rows 1 to archived are in archives, the others up to last in the database. */
static void check_ok(struct store_bed *b, int64_t archived, int64_t last) {
  struct audit_check c = verify(b);
  assert_true(c.ok);
  assert_int_equal(c.archived, archived);
  assert_int_equal(c.rows, last - archived);
  assert_int_equal(c.first, last ? 1 : 0);
  assert_int_equal(c.last, last);
  assert_true(hash_is_text(c.head));
}

static void test_chain(void **state) {
  struct store_bed *b = *state;
  char head[HASH_TEXT];
  check_ok(b, 0, 0);
  fill(b);
  check_ok(b, 0, ROWS);
  str_copy(head, sizeof head, verify(b).head);
  bed_down(b);
  bed_up(b);
  check_ok(b, 0, ROWS);
  assert_string_equal(verify(b).head, head);
  add(b, &nurse, "again", "S-1", NULL);
  check_ok(b, 0, ROWS + 1);
  assert_string_not_equal(verify(b).head, head);
  /* What an act that is undone would have written is not in the chain. */
  bed_begin(b);
  assert_int_equal(audit_add(b->store, &nurse, "undone", "S-1", NULL), 0);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  check_ok(b, 0, ROWS + 1);
  add(b, &nurse, "after", "S-1", NULL);
  check_ok(b, 0, ROWS + 2);
}

static void test_list(void **state) {
  struct store_bed *b = *state;
  json_t *list;
  fill(b);
  assert_int_equal(audit_list(b->store, 0, 100, &list), 0);
  assert_int_equal(json_array_size(list), ROWS);
  for (size_t i = 0; i < ROWS; i++)
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, i), "seq")), ROWS - i);
  const json_t *second = json_array_get(list, ROWS - 2);
  assert_string_equal(json_text(second, "actor"), "lgc");
  assert_string_equal(json_text(second, "acting_for"), "martin");
  assert_string_equal(json_text(second, "subject"), "P-é1");
  assert_true(json_is_null(json_object_get(json_array_get(list, 0), "acting_for")));
  assert_true(json_is_object(json_object_get(second, "detail")));
  json_decref(list);
  assert_int_equal(audit_list(b->store, 4, 2, &list), 0);
  assert_int_equal(json_array_size(list), 2);
  assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "seq")), 3);
  json_decref(list);
}

/* ---- whatever is done to a row ---- */

/* Runs one change with the triggers gone, looks whether it is found at that row, and takes it back. */
static void spoil(struct store_bed *b, int64_t found_at, const char *sql, const void *value, size_t n) {
  bed_begin(b);
  int r = value ? store_run(b->store, sql, "b", value, n) : store_run(b->store, sql, "");
  if (r != 1)
    fail_msg("%s: %d rows", sql, r);
  struct audit_check c = verify(b);
  if (c.ok || c.broken_at != found_at)
    fail_msg("%s: %s at %lld, expected at %lld", sql, c.ok ? "not found" : "found", (long long)c.broken_at,
             (long long)found_at);
  store_undo(b->store);
}

static void drop_triggers(struct store_bed *b) {
  assert_true(store_run(b->store, "DROP TRIGGER audit_keeps", "") >= 0);
  assert_true(store_run(b->store, "DROP TRIGGER audit_stays", "") >= 0);
}

/* Statements are known by the address of their text: each has its own here. */
static void test_every_byte(void **state) {
  struct store_bed *b = *state;
  static const char *const columns[] = {"actor", "acting_for", "action", "subject", "detail"};
  unsigned n = 0;
  fill(b);
  drop_triggers(b);
  for (int row = 1; row <= ROWS; row++) {
    /* Texts: every bit of every byte; one byte less; one more, behind a NUL too. */
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
      static char get[ROWS + 1][8][96];
      char was[256] = "";
      bool null;
      snprintf(get[row][c], sizeof get[row][c], "SELECT %s FROM audit WHERE seq = %d", columns[c], row);
      struct rows r = store_query(b->store, get[row][c], "");
      assert_true(rows_next(&r));
      null = rows_is_null(&r, 0);
      if (!null)
        assert_true(str_copy(was, sizeof was, rows_text(&r, 0)));
      assert_int_equal(rows_finish(&r), 0);
      static char set[ROWS + 1][8][128];
      snprintf(set[row][c], sizeof set[row][c], "UPDATE audit SET %s = CAST(? AS TEXT) WHERE seq = %d", columns[c],
               row);
      size_t len = strlen(was);
      char now[300];
      for (size_t bit = 0; bit < len * 8; bit++, n++) {
        memcpy(now, was, len);
        now[bit / 8] = (char)(now[bit / 8] ^ (1 << bit % 8));
        spoil(b, row, set[row][c], now, len);
      }
      memcpy(now, was, len);
      memcpy(now + len, "\0more", 5);
      spoil(b, row, set[row][c], now, len + 5);
      spoil(b, row, set[row][c], "x", 1);
      n += 2;
      if (len || null) { /* NULL becomes empty, the last byte goes */
        spoil(b, row, set[row][c], now, len ? len - 1 : 0);
        n++;
      }
    }
    if (row == 2 || row == 5) {
      static char null[ROWS + 1][96];
      snprintf(null[row], sizeof null[row], "UPDATE audit SET acting_for = NULL WHERE seq = %d", row);
      spoil(b, row, null[row], NULL, 0);
      n++;
    }
    /* Numbers: every bit. */
    static char at[ROWS + 1][64][96], seq[ROWS + 1][96];
    for (int bit = 0; bit < 8; bit++, n++) {
      snprintf(at[row][bit], sizeof at[row][bit], "UPDATE audit SET at = at + (1 << %d) WHERE seq = %d", bit * 7, row);
      spoil(b, row, at[row][bit], NULL, 0);
    }
    snprintf(seq[row], sizeof seq[row], "UPDATE audit SET seq = seq + 100 WHERE seq = %d", row);
    spoil(b, row, seq[row], NULL, 0);
    /* The hash: every bit, and any other length. */
    static char hash_get[ROWS + 1][96], hash_set[ROWS + 1][96];
    uint8_t hash[HASH_BYTES];
    size_t hash_n;
    snprintf(hash_get[row], sizeof hash_get[row], "SELECT hash FROM audit WHERE seq = %d ", row);
    snprintf(hash_set[row], sizeof hash_set[row], "UPDATE audit SET hash = ? WHERE seq = %d", row);
    struct rows r = store_query(b->store, hash_get[row], "");
    assert_true(rows_next(&r));
    const void *blob = rows_blob(&r, 0, &hash_n);
    assert_int_equal(hash_n, HASH_BYTES);
    memcpy(hash, blob, HASH_BYTES);
    assert_int_equal(rows_finish(&r), 0);
    for (size_t bit = 0; bit < HASH_BYTES * 8; bit++, n++) {
      hash[bit / 8] = (uint8_t)(hash[bit / 8] ^ (1 << bit % 8));
      spoil(b, row, hash_set[row], hash, HASH_BYTES);
      hash[bit / 8] = (uint8_t)(hash[bit / 8] ^ (1 << bit % 8));
    }
    spoil(b, row, hash_set[row], hash, HASH_BYTES - 1);
    n += 2;
  }
  check_ok(b, 0, ROWS);
  assert_int_equal(store_commit(b->store), 0);
  print_message("# %u changes of one bit, byte or length in %d rows found\n", n, ROWS);
}

static void test_rows(void **state) {
  struct store_bed *b = *state;
  static char remove_[ROWS + 1][96], swap[ROWS + 1][ROWS + 1][256], copy[ROWS + 1][256];
  unsigned n = 0;
  fill(b);
  drop_triggers(b);
  for (int row = 1; row <= ROWS; row++, n++) {
    snprintf(remove_[row], sizeof remove_[row], "DELETE FROM audit WHERE seq = %d", row);
    spoil(b, row, remove_[row], NULL, 0);
  }
  /* Two rows that change places. */
  for (int one = 1; one <= ROWS; one++)
    for (int two = one + 1; two <= ROWS; two++, n++) {
      snprintf(swap[one][two], sizeof swap[one][two],
               "UPDATE audit SET (at, actor, acting_for, action, subject, detail, hash) = (SELECT at, actor,"
               " acting_for, action, subject, detail, hash FROM audit o WHERE o.seq = %d + %d - audit.seq)"
               " WHERE seq IN (%d, %d)",
               one, two, one, two);
      bed_begin(b);
      assert_int_equal(store_run(b->store, swap[one][two], ""), 2);
      assert_int_equal(verify(b).broken_at, one);
      store_undo(b->store);
    }
  /* A row too many, at the end or in front. */
  for (int row = 1; row <= ROWS; row++, n++) {
    snprintf(copy[row], sizeof copy[row],
             "INSERT INTO audit SELECT %d, at, actor, acting_for, action, subject, detail, hash FROM audit"
             " WHERE seq = %d",
             row % 2 ? ROWS + 1 : 0, row);
    spoil(b, row % 2 ? ROWS + 1 : 1, copy[row], NULL, 0);
  }
  assert_int_equal(store_commit(b->store), 0);
  check_ok(b, 0, ROWS);
  print_message("# %u rows removed, swapped or slipped in: found\n", n);
}

static void raw(struct store_bed *b, const char *sql, int64_t broken_at) {
  sqlite3 *db = bed_raw(b);
  raw_exec(db, sql);
  sqlite3_close(db);
  bed_up(b);
  assert_int_equal(verify(b).broken_at, broken_at);
}

/* The same by a raw handle, as somebody with sqlite3 and the file would. */
static void test_raw(void **state) {
  struct store_bed *b = *state;
  static const char drop[] = "DROP TRIGGER audit_keeps; DROP TRIGGER audit_stays";
  fill(b);
  raw(b, drop, 0);
  raw(b, "UPDATE audit SET detail = replace(detail, 'ecg', 'ECG') WHERE seq = 1", 1);
  raw(b, "UPDATE audit SET detail = replace(detail, 'ECG', 'ecg') WHERE seq = 1", 0);
  raw(b, "UPDATE audit SET actor = 'inès' WHERE seq = 6", 6);
  raw(b, "UPDATE audit SET actor = 'ines' WHERE seq = 6", 0);
  raw(b, "CREATE TABLE away AS SELECT * FROM audit WHERE seq = 4; DELETE FROM audit WHERE seq = 4", 4);
  raw(b, "INSERT INTO audit SELECT * FROM away; DROP TABLE away", 0);
  /* From the new end: the daemon's next row does not close the hole. */
  raw(b, "DELETE FROM audit WHERE seq >= 6", 6);
  add(b, &nurse, "later", "S-1", NULL);
  assert_int_equal(verify(b).broken_at, 6);
  raw(b, "DELETE FROM audit", 1);
}

/* ---- the archive ---- */

static int64_t archive(struct store_bed *b, int64_t before, char sha[static HASH_TEXT]) {
  bed_begin(b);
  int64_t n = audit_archive(b->store, b->artefacts, before, sha);
  if (n < 0)
    store_undo(b->store);
  else
    assert_int_equal(store_keep(b->store), 0);
  assert_int_equal(store_commit(b->store), 0);
  return n;
}

static unsigned lines_of(struct store_bed *b, const char *sha, int64_t first_seq) {
  uint8_t *bytes;
  size_t n, lines = 0;
  assert_int_equal(artefact_get(b->artefacts, sha, 1 << 20, &bytes, &n), 0);
  for (char *line = (char *)bytes, *end; (end = memchr(line, '\n', n - (size_t)(line - (char *)bytes)));
       line = end + 1) {
    json_t *row;
    char reason[256];
    assert_int_equal(json_read(line, (size_t)(end - line), &row, reason), 0);
    assert_int_equal(json_integer_value(json_object_get(row, "seq")), first_seq + (int64_t)lines);
    assert_true(hash_is_text(json_text(row, "hash")));
    assert_non_null(json_text(row, "at"));
    json_decref(row);
    lines++;
  }
  free(bytes);
  return (unsigned)lines;
}

static void test_archive(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT] = "", head[HASH_TEXT];
  assert_int_equal(archive(b, INT64_MAX, sha), -ENODATA);
  clock_step_s = -100000;
  fill(b);
  clock_step_s = 0;
  int64_t now = wall_now().us;
  assert_int_equal(archive(b, 0, sha), -ENODATA);
  add(b, &nurse, "today", "S-2", NULL);
  str_copy(head, sizeof head, verify(b).head);
  assert_int_equal(archive(b, now - WALL_SECOND, sha), ROWS);
  check_ok(b, ROWS, ROWS + 1);
  assert_string_equal(verify(b).head, head);
  assert_int_equal(lines_of(b, sha, 1), ROWS);
  assert_int_equal(archive(b, now - WALL_SECOND, sha), -ENODATA);
  bed_down(b);
  bed_up(b);
  check_ok(b, ROWS, ROWS + 1);
  add(b, &nurse, "more", "S-2", NULL);
  check_ok(b, ROWS, ROWS + 2);
  /* A second time, down to nothing, and on from there. */
  assert_int_equal(archive(b, INT64_MAX, sha), 2);
  assert_int_equal(lines_of(b, sha, ROWS + 1), 2);
  check_ok(b, ROWS + 2, ROWS + 2);
  add(b, &nurse, "new", "S-3", NULL);
  check_ok(b, ROWS + 2, ROWS + 3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit_anchor"), 2);
  /* What is not archived stays, what is comes not back. */
  bed_begin(b);
  assert_int_equal(store_run(b->store, "DELETE FROM audit", ""), -EPERM);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  raw(b, "DROP TRIGGER audit_anchor_keeps; UPDATE audit_anchor SET hash = zeroblob(32) WHERE seq = 9", ROWS + 1);
}

/* An archive that is undone moved nothing. */
static void test_archive_undone(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  fill(b);
  bed_begin(b);
  assert_int_equal(audit_archive(b->store, b->artefacts, INT64_MAX, sha), ROWS);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  check_ok(b, 0, ROWS);
}

/* The clock steps back in the middle: the rows keep their order, and none is archived before its elder. */
static void test_clock_back(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  int64_t now = wall_now().us;
  static const int64_t steps[] = {0, 10, -5000, -4000, 20, -9000};
  for (size_t i = 0; i < 6; i++) {
    clock_step_s = steps[i];
    add(b, &nurse, "step", "S-1", NULL);
  }
  clock_step_s = 0;
  check_ok(b, 0, 6);
  assert_int_equal(archive(b, now - 1000 * WALL_SECOND, sha), -ENODATA); /* rows 3, 4 and 6 stay behind row 1 */
  assert_int_equal(archive(b, now + 15 * WALL_SECOND, sha), 4);
  check_ok(b, 4, 6);
  assert_int_equal(lines_of(b, sha, 1), 4);
}

/* ---- whatever is done to an archive ---- */

/* Two archives, of rows 1 to ROWS and ROWS + 1 to ROWS + 2, and one row behind them. */
static void fill_archives(struct store_bed *b, char one[static HASH_TEXT], char two[static HASH_TEXT]) {
  fill(b);
  assert_int_equal(archive(b, INT64_MAX, one), ROWS);
  add(b, &lgc, "second", "S-2", json_pack("{s:{s:[s,n,b]}}", "a", "b", "é\t\"\\", 1));
  add(b, &nurse, "second", "S-2", NULL);
  assert_int_equal(archive(b, INT64_MAX, two), 2);
  add(b, &nurse, "third", "S-3", NULL);
}

static const char *file_of(struct store_bed *b, const char *sha) {
  char name[HASH_TEXT + 32];
  snprintf(name, sizeof name, "artefacts/%.2s/%s", sha, sha);
  return bed_path(b, name);
}

static void write_file(const char *path, const void *bytes, size_t n) {
  unlink(path);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, bytes, n), n);
  close(fd);
}

static void put(struct store_bed *b, const char *kind, const void *bytes, size_t n, char sha[static HASH_TEXT]) {
  bed_begin(b);
  assert_int_equal(artefact_put(b->artefacts, b->store, kind, bytes, n, wall_now().us, sha), 0);
  bed_keep(b);
}

static void test_archives(void **state) {
  struct store_bed *b = *state;
  char one[HASH_TEXT], two[HASH_TEXT], head[HASH_TEXT];
  fill_archives(b, one, two);
  assert_string_not_equal(one, two);
  check_ok(b, ROWS + 2, ROWS + 3);
  str_copy(head, sizeof head, verify(b).head);
  assert_int_equal(archive(b, INT64_MAX, one), 1);
  check_ok(b, ROWS + 3, ROWS + 3);
  assert_string_equal(verify(b).head, head);
  bed_down(b);
  bed_up(b);
  /* Another zone's text is the same instant. */
  setenv("TZ", "<-0930>9:30", 1);
  tzset();
  add(b, &nurse, "fourth", "S-3", NULL);
  assert_int_equal(archive(b, INT64_MAX, two), 1);
  unsetenv("TZ");
  tzset();
  check_ok(b, ROWS + 4, ROWS + 4);
}

/* A byte of an archive's file changed, here and there and at its end, the file cut, emptied, replaced, gone. */
static void test_archive_file(void **state) {
  struct store_bed *b = *state;
  char sha[2][HASH_TEXT];
  static const int64_t first[] = {1, ROWS + 1};
  fill_archives(b, sha[0], sha[1]);
  for (int i = 0; i < 2; i++) {
    uint8_t *bytes;
    size_t n;
    const char *path = file_of(b, sha[i]);
    assert_int_equal(artefact_get(b->artefacts, sha[i], 1 << 20, &bytes, &n), 0);
    for (size_t at = 0; at < n; at += at + 1 < n && at + 61 >= n ? n - 1 - at : 61) {
      bytes[at] ^= 1;
      write_file(path, bytes, n);
      bytes[at] ^= 1;
      struct audit_check c = verify(b);
      assert_int_equal(c.broken_at, first[i]);
      assert_int_equal(c.archived, first[i] - 1);
    }
    write_file(path, bytes, n - 1);
    assert_int_equal(verify(b).broken_at, first[i]);
    write_file(path, "", 0);
    assert_int_equal(verify(b).broken_at, first[i]);
    unlink(path);
    assert_int_equal(verify(b).broken_at, first[i]);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(verify(b).broken_at, first[i]);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink(file_of(b, sha[!i]), path), 0);
    assert_int_equal(verify(b).broken_at, first[i]);
    write_file(path, bytes, n);
    check_ok(b, ROWS + 2, ROWS + 3);
    free(bytes);
  }
}

/* Whoever has the file puts an anchor where rows were. */
static void test_anchor_forged(void **state) {
  struct store_bed *b = *state;
  char sql[512], sha[HASH_TEXT];
  static const char *const kinds[] = {"record", "audit"};
  fill(b);
  raw(b,
      "DROP TRIGGER audit_keeps; DROP TRIGGER audit_stays; DROP TRIGGER audit_anchor_keeps;"
      "CREATE TABLE away AS SELECT * FROM audit",
      0);
  for (size_t i = 0; i < 2; i++) {
    put(b, kinds[i], kinds[i], 5, sha);
    snprintf(sql, sizeof sql,
             "INSERT INTO audit_anchor SELECT seq, hash, at, '%s' FROM audit WHERE seq = 4;"
             "DELETE FROM audit WHERE seq <= 4",
             sha);
    raw(b, sql, 1);
    raw(b,
        "DROP TRIGGER IF EXISTS audit_anchor_stays; DELETE FROM audit_anchor;"
        "INSERT INTO audit SELECT * FROM away WHERE seq <= 4",
        0);
  }
  /* An empty archive, one that is nowhere, one whose rows are still there. */
  put(b, "audit", "", 0, sha);
  snprintf(sql, sizeof sql, "INSERT INTO audit_anchor VALUES(0, zeroblob(32), 0, '%s')", sha);
  raw(b, sql, 1);
  raw(b, "PRAGMA foreign_keys = OFF; UPDATE audit_anchor SET artefact = 'nowhere'", 1);
  raw(b, "DELETE FROM audit_anchor", 0);
  assert_int_equal(archive(b, INT64_MAX, sha), ROWS);
  check_ok(b, ROWS, ROWS);
  raw(b, "INSERT INTO audit SELECT * FROM away WHERE seq = 3", ROWS + 1);
  raw(b, "DELETE FROM audit", 0);
  /* The anchor moved, gone, or with another hash. */
  raw(b, "UPDATE audit_anchor SET seq = seq - 1", 1);
  raw(b, "UPDATE audit_anchor SET seq = seq + 2", 1);
  raw(b, "UPDATE audit_anchor SET seq = seq - 1, hash = CAST(hash || x'00' AS BLOB)", 1);
  raw(b, "UPDATE audit_anchor SET hash = (SELECT hash FROM away WHERE seq = 6)", 1);
  raw(b, "UPDATE audit_anchor SET hash = (SELECT hash FROM away WHERE seq = 7)", 0);
  raw(b, "DELETE FROM audit_anchor", 1);
}

/* An archive rewritten under its own new hash, so that only its rows can tell. */
static void test_archive_rewritten(void **state) {
  struct store_bed *b = *state;
  static const struct {
    const char *from, *to;
  } edits[] = {
      {"\"ines\"", "\"inez\""},
      {"\"martin\"", "null"},
      {"\"martin\"", "7"},
      {"\"acting_for\":null,", ""},
      {"\"acting_for\"", "\"aating_for\""},
      {"\"study.start\"", "\"study.stop\""},
      {"\"subject\":\"\"", "\"subject\":null"},
      {"\"P-é1\"", "\"P-e1\""},
      {"[1,2]", "[2,1]"},
      {"[1,2]", "[1, 2]"},
      {"[1,2]", "[1,2.0]"},
      {"\"detail\":{}", "\"detail\":null"},
      {"\"seq\":3", "\"seq\":4"},
      {"\"seq\":3", "\"seq\":\"3\""},
      {"\"seq\":3", "\"seq\":3,\"set\":1"},
      {"\"at\":\"2", "\"at\":\"3"},
      {"\"at\":\"2", "\"at\":\"x"},
      {"\"hash\":\"", "\"hash\":\"0"},
      {"\n", "\n\n"},
      {"\n", ""},
      {"\n{", "\n[],{"},
      {"first\\nsecond", "first\nsecond"},
      {"\"end\"", "\"end\\u0000\""},
  };
  char sha[HASH_TEXT], other[HASH_TEXT], sql[512];
  uint8_t *bytes;
  size_t n;
  fill(b);
  assert_int_equal(archive(b, INT64_MAX, sha), ROWS);
  raw(b, "DROP TRIGGER audit_anchor_keeps", 0);
  assert_int_equal(artefact_get(b->artefacts, sha, 1 << 20, &bytes, &n), 0);
  for (size_t i = 0; i <= sizeof edits / sizeof *edits + 2; i++) {
    char now[8192];
    size_t now_n;
    assert_true(n + 64 < sizeof now);
    if (i < sizeof edits / sizeof *edits) {
      const char *found = strstr((char *)bytes, edits[i].from);
      if (!found)
        fail_msg("no %s in the archive", edits[i].from);
      now_n = (size_t)snprintf(now, sizeof now, "%.*s%s%s", (int)(found - (char *)bytes), (char *)bytes, edits[i].to,
                               found + strlen(edits[i].from));
    } else { /* without the last line feed, the first row, the last row */
      size_t which = i - sizeof edits / sizeof *edits;
      size_t from = which == 1 ? (size_t)((uint8_t *)memchr(bytes, '\n', n) + 1 - bytes) : 0;
      size_t to = which == 0 ? n - 1 : which == 2 ? (size_t)((uint8_t *)memrchr(bytes, '\n', n - 1) + 1 - bytes) : n;
      now_n = to - from;
      memcpy(now, bytes + from, now_n);
    }
    put(b, "audit", now, now_n, other);
    snprintf(sql, sizeof sql, "UPDATE audit_anchor SET artefact = '%s'", other);
    sqlite3 *db = bed_raw(b);
    raw_exec(db, sql);
    sqlite3_close(db);
    bed_up(b);
    struct audit_check c = verify(b);
    if (c.ok || c.broken_at != 1 || c.archived)
      fail_msg("edit %zu is not found", i);
  }
  snprintf(sql, sizeof sql, "UPDATE audit_anchor SET artefact = '%s'", sha);
  raw(b, sql, 0);
  free(bytes);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, bed_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(chain),    TEST(list),         TEST(every_byte),     TEST(rows),
      TEST(raw),      TEST(archive),      TEST(archive_undone), TEST(clock_back),
      TEST(archives), TEST(archive_file), TEST(anchor_forged),  TEST(archive_rewritten),
  };
  return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
