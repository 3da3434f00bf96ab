/* The audit trail: whatever is done to a row is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"
#include "buf.h"
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
  assert_int_equal(c.ok, c.broken_at == 0 && c.seal.ok);
  return c;
}

/* Rows 1 to archived are in archives, the others up to last in the database. The tables may be others than were sealed:
 * most tests change them past the store. */
static void check_chain(struct store_bed *b, int64_t archived, int64_t last) {
  struct audit_check c = verify(b);
  assert_int_equal(c.broken_at, 0);
  assert_int_equal(c.archived, archived);
  assert_int_equal(c.rows, last - archived);
  assert_int_equal(c.first, last ? 1 : 0);
  assert_int_equal(c.last, last);
  assert_true(hash_is_text(c.head));
}

static void check_ok(struct store_bed *b, int64_t archived, int64_t last) {
  check_chain(b, archived, last);
  assert_true(verify(b).ok);
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
  bed_begin(b);
  assert_true(store_run(b->store, "DROP TRIGGER audit_keeps", "") >= 0);
  assert_true(store_run(b->store, "DROP TRIGGER audit_stays", "") >= 0);
  bed_keep(b);
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
  check_chain(b, 0, ROWS);
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
  check_chain(b, 0, ROWS);
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
  bool more;
  bed_begin(b);
  int64_t n = audit_archive(b->store, b->artefacts, before, INT64_MAX, sha, &more);
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
  assert_int_equal(audit_archive(b->store, b->artefacts, INT64_MAX, INT64_MAX, sha, &(bool){0}), ROWS);
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
  check_chain(b, ROWS, ROWS);
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

/* ---- where from, and whom it is about ---- */

static void test_origin(void **state) {
  struct store_bed *b = *state;
  json_t *list;
  static const struct actor local = {.name = "root", .from = "unix:1000"}, none = {.name = "root", .from = ""};
  add(b, &local, "a", "S-1", json_pack("{s:s, s:s}", "from", "ordered", "to", "acquiring"));
  add(b, &local, "a", "S-1", NULL);
  add(b, &none, "a", "S-1", NULL);
  check_ok(b, 0, 3);
  assert_int_equal(audit_list(b->store, 0, 3, &list), 0);
  static const char *const want[] = {"{}", "{\"origin\":\"unix:1000\"}",
                                     "{\"from\":\"ordered\",\"origin\":\"unix:1000\",\"to\":\"acquiring\"}"};
  for (size_t i = 0; i < 3; i++) {
    _free_cleanup_ char *text = json_canonical(json_object_get(json_array_get(list, i), "detail"), NULL);
    assert_string_equal(text, want[i]);
  }
  json_decref(list);
}

/* The numbers of the rows that name a patient, newest first, those in archives in brackets. */
static void check_saw(struct store_bed *b, const char *patient, int64_t before, int limit, const char *want) {
  json_t *list, *row;
  size_t i;
  char got[256] = "";
  assert_int_equal(audit_who_saw(b->store, patient, before, limit, &list), 0);
  json_array_foreach(list, i, row) {
    const bool archived = json_is_true(json_object_get(row, "archived"));
    const long long seq = json_integer_value(json_object_get(row, "seq"));
    assert_int_equal(json_object_size(row), archived ? 2 : 8);
    snprintf(got + strlen(got), sizeof got - strlen(got), archived ? "%s(%lld)" : "%s%lld", i ? " " : "", seq);
  }
  json_decref(list);
  assert_string_equal(got, want);
}

static void fill_patients(struct store_bed *b) {
  add(b, &nurse, "order", "S-1", json_pack("{s:s}", "patient", "P1"));
  add(b, &nurse, "see", "", json_pack("{s:[s,s,s]}", "patients", "P2", "P1", "P2"));
  add(b, &lgc, "see", "", json_pack("{s:s, s:[s,s]}", "patient", "P1", "patients", "P1", "P3"));
  add(b, &lgc, "see", "", json_pack("{s:i, s:[i,n]}", "patient", 1, "patients", 2));
  add(b, &nurse, "see", "P1", json_pack("{s:[]}", "patients"));
  add(b, &nurse, "see", "", json_pack("{s:s}", "patient", "P2"));
}

static void test_who_saw(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  fill_patients(b);
  check_ok(b, 0, 6);
  check_saw(b, "P1", 0, 100, "3 2 1");
  check_saw(b, "P2", 0, 100, "6 2");
  check_saw(b, "P3", 0, 100, "3");
  check_saw(b, "P4", 0, 100, "");
  check_saw(b, "P1", 0, 2, "3 2");
  check_saw(b, "P1", 2, 2, "1");
  /* What an act that is undone would have shown was shown to nobody. */
  bed_begin(b);
  assert_int_equal(audit_add(b->store, &nurse, "see", "", json_pack("{s:s}", "patient", "P1")), 0);
  check_saw(b, "P1", 0, 1, "7");
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  check_saw(b, "P1", 0, 1, "3");
  assert_int_equal(archive(b, INT64_MAX, sha), 6);
  add(b, &nurse, "see", "", json_pack("{s:s}", "patient", "P1"));
  check_saw(b, "P1", 0, 100, "7 (3) (2) (1)");
  check_ok(b, 6, 7);
}

/* The list tells what the rows do not, or less: found at the row, whoever wrote it. */
static void test_list_forged(void **state) {
  struct store_bed *b = *state;
  static const struct {
    const char *sql;
    int64_t at;
  } rows[] = {
      {"DELETE FROM audit_patient WHERE patient = 'P1' AND seq = 2", 2},
      {"DELETE FROM audit_patient WHERE patient = 'P3'", 3},
      {"UPDATE audit_patient SET patient = 'P9' WHERE seq = 1", 1},
      {"UPDATE audit_patient SET seq = 5 WHERE seq = 6", 6},
      {"INSERT INTO audit_patient VALUES('P1', 4)", 4},
      {"INSERT INTO audit_patient VALUES('P1', 7)", 7},
      {"INSERT INTO audit_patient VALUES('P2', 1)", 1},
  };
  fill_patients(b);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    spoil(b, rows[i].at, rows[i].sql, NULL, 0);
  assert_int_equal(store_commit(b->store), 0);
  check_ok(b, 0, 6);
}

/* ---- heads ---- */

static int sign(struct store_bed *b) {
  bed_begin(b);
  int r = audit_head_sign(b->store);
  bed_keep(b);
  return r;
}

static void test_heads(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  assert_int_equal(sign(b), 0);
  fill(b);
  assert_int_equal(sign(b), 1);
  assert_int_equal(sign(b), 0);
  add(b, &nurse, "more", "S-1", NULL);
  add(b, &nurse, "more", "S-1", NULL);
  assert_int_equal(sign(b), 1);
  check_ok(b, 0, ROWS + 2);
  assert_int_equal(verify(b).heads, 2);
  assert_int_equal(bed_int(b, "SELECT seq FROM audit_head ORDER BY seq DESC LIMIT 1"), ROWS + 2);
  /* In an archive, at its end and in its middle. */
  assert_int_equal(archive(b, INT64_MAX, sha), ROWS + 2);
  assert_int_equal(sign(b), 0);
  check_ok(b, ROWS + 2, ROWS + 2);
  assert_int_equal(verify(b).heads, 2);
  add(b, &nurse, "more", "S-1", NULL);
  assert_int_equal(sign(b), 1);
  bed_down(b);
  bed_up(b);
  check_ok(b, ROWS + 2, ROWS + 3);
  assert_int_equal(verify(b).heads, 3);
}

static void test_head_forged(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  static const struct {
    const char *sql;
    int64_t at;
  } rows[] = {
      {"UPDATE audit_head SET at = at + 1 WHERE seq = 7", 7},
      {"UPDATE audit_head SET hash = (SELECT hash FROM audit_head WHERE seq = 9) WHERE seq = 7", 7},
      {"UPDATE audit_head SET key = zeroblob(32) WHERE seq = 7", 7},
      {"UPDATE audit_head SET signature = zeroblob(64) WHERE seq = 7", 7},
      {"UPDATE audit_head SET signature = CAST(signature || x'00' AS BLOB) WHERE seq = 7", 7},
      {"UPDATE audit_head SET signature = (SELECT signature FROM audit_head WHERE seq = 9) WHERE seq = 7", 7},
      {"UPDATE audit_head SET seq = 8 WHERE seq = 9", 8},
      {"UPDATE audit_head SET seq = 10 WHERE seq = 9", 10},
      {"UPDATE audit_head SET seq = 0 WHERE seq = 9", 1},
      {"INSERT INTO audit_head SELECT 8, hash, at, key, signature FROM audit_head WHERE seq = 9", 8},
  };
  fill(b);
  assert_int_equal(sign(b), 1);
  add(b, &nurse, "more", "S-1", NULL);
  add(b, &nurse, "more", "S-1", NULL);
  assert_int_equal(sign(b), 1);
  drop_triggers(b);
  bed_begin(b);
  assert_true(store_run(b->store, "DROP TRIGGER audit_head_keeps", "") >= 0);
  bed_keep(b);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    spoil(b, rows[i].at, rows[i].sql, NULL, 0);
  assert_int_equal(store_commit(b->store), 0);
  /* Who writes the rows' hashes anew cannot write the heads: not from the end on, */
  static const char last[] = "DELETE FROM audit WHERE seq = 9", sequence[] = "UPDATE sqlite_sequence SET seq = 8 WHERE "
                                                                             "name = 'audit'";
  bed_begin(b);
  assert_int_equal(store_run(b->store, last, ""), 1);
  assert_int_equal(store_run(b->store, sequence, ""), 1);
  assert_int_equal(verify(b).broken_at, 9);
  assert_int_equal(audit_add(b->store, &nurse, "another", "S-1", NULL), 0);
  assert_int_equal(verify(b).broken_at, 9);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  check_chain(b, 0, ROWS + 2);
  /* and not in an archive, whose first row is where that is told. */
  assert_int_equal(archive(b, INT64_MAX, sha), ROWS + 2);
  spoil(b, 1, "UPDATE audit_head SET signature = zeroblob(64) WHERE seq = 9", NULL, 0);
  assert_int_equal(store_commit(b->store), 0);
}

/* As many rows as one takes, of those up to a number. */
static void test_archive_pieces(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT], long_text[4096];
  bool more;
  int64_t n;
  memset(long_text, 'x', sizeof long_text - 1);
  long_text[sizeof long_text - 1] = 0;
  bed_begin(b);
  for (int i = 0; i < 20003; i++)
    assert_int_equal(audit_add(b->store, &nurse, "a", "", NULL), 0);
  for (int i = 0; i < 5000; i++)
    assert_int_equal(audit_add(b->store, &nurse, "b", "", json_pack("{s:s}", "x", long_text)), 0);
  bed_keep(b);
  static const struct {
    int64_t last, rows;
    bool more;
  } calls[] = {{0, -ENODATA, false}, {2, 2, false}, {20002, 20000, false}, {20003, 1, false}};
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    bed_begin(b);
    assert_int_equal(audit_archive(b->store, b->artefacts, INT64_MAX, calls[i].last, sha, &more), calls[i].rows);
    assert_int_equal(more, calls[i].more);
    bed_keep(b);
  }
  /* By their bytes. */
  bed_begin(b);
  n = audit_archive(b->store, b->artefacts, INT64_MAX, INT64_MAX, sha, &more);
  assert_in_range(n, 3800, 4200);
  assert_true(more);
  bed_keep(b);
  bed_begin(b);
  assert_int_equal(audit_archive(b->store, b->artefacts, INT64_MAX, INT64_MAX, sha, &more), 5000 - n);
  assert_false(more);
  bed_keep(b);
  check_ok(b, 25003, 25003);
  bed_begin(b);
  for (int i = 0; i < 20001; i++)
    assert_int_equal(audit_add(b->store, &nurse, "a", "", NULL), 0);
  bed_keep(b);
  bed_begin(b);
  assert_int_equal(audit_archive(b->store, b->artefacts, INT64_MAX, INT64_MAX, sha, &more), 20000);
  assert_true(more);
  bed_keep(b);
  check_ok(b, 45003, 45004);
}

/* What does not follow is not put away, whoever vouched for it. */
static void test_archive_damaged(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  fill(b);
  raw(b, "DROP TRIGGER audit_keeps; UPDATE audit SET actor = 'other' WHERE seq = 5", 5);
  assert_int_equal(archive(b, INT64_MAX, sha), -EUCLEAN);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit"), ROWS);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM artefact"), 0);
  raw(b, "UPDATE audit SET actor = 'ines' WHERE seq = 5", 5);
}

/* ---- archives whose time is over ---- */

static int64_t erase(struct store_bed *b, int64_t before) {
  bed_begin(b);
  int64_t n = audit_erase(b->store, b->artefacts, before, "root");
  if (n < 0)
    store_undo(b->store);
  else
    assert_int_equal(store_keep(b->store), 0);
  assert_int_equal(store_commit(b->store), 0);
  return n;
}

static void finish(struct store_bed *b) {
  assert_int_equal(audit_erase_finish(b->store, b->artefacts), 0);
  assert_int_equal(store_commit(b->store), 0);
}

static void check_erased(struct store_bed *b, int64_t erased, int64_t archived, int64_t last) {
  struct audit_check c = verify(b);
  assert_true(c.ok);
  assert_int_equal(c.erased, erased);
  assert_int_equal(c.archived, archived);
  assert_int_equal(c.rows, last - archived - erased);
  assert_int_equal(c.first, 1);
  assert_int_equal(c.last, last);
}

static void test_erase(void **state) {
  struct store_bed *b = *state;
  char one[HASH_TEXT], two[HASH_TEXT], head[HASH_TEXT];
  assert_int_equal(erase(b, INT64_MAX), -ENODATA);
  clock_step_s = -200000;
  fill(b);
  assert_int_equal(sign(b), 1);
  add(b, &nurse, "see", "", json_pack("{s:s}", "patient", "P1"));
  clock_step_s = 0;
  const int64_t now = wall_now().us;
  assert_int_equal(archive(b, now - WALL_SECOND, one), ROWS + 1);
  clock_step_s = -100000;
  add(b, &nurse, "see", "", json_pack("{s:s}", "patient", "P1"));
  assert_int_equal(sign(b), 1);
  clock_step_s = 0;
  assert_int_equal(archive(b, now - WALL_SECOND, two), 1);
  add(b, &nurse, "see", "", json_pack("{s:s}", "patient", "P1"));
  str_copy(head, sizeof head, verify(b).head);
  /* Rows count, not when they were put away. */
  assert_int_equal(erase(b, now - 210000 * WALL_SECOND), -ENODATA);
  assert_int_equal(erase(b, now - 150000 * WALL_SECOND), ROWS + 1);
  check_erased(b, ROWS + 1, 1, ROWS + 3);
  assert_int_equal(access(file_of(b, one), F_OK), 0); /* until the act is durable, and somebody says so */
  finish(b);
  assert_int_equal(access(file_of(b, one), F_OK), -1);
  assert_int_equal(access(file_of(b, two), F_OK), 0);
  check_erased(b, ROWS + 1, 1, ROWS + 3);
  assert_int_equal(verify(b).heads, 2);
  assert_string_equal(verify(b).head, head);
  check_saw(b, "P1", 0, 9, "10 (9)");
  assert_int_equal(bed_int(b, "SELECT count(*) FROM artefact"), 1);
  assert_int_equal(
      bed_int(b, "SELECT count(*) FROM erasure WHERE what = 'audit' AND ref = '8' AND done AND by = 'root'"), 1);
  finish(b); /* nothing is left to do */
  assert_int_equal(erase(b, now - 150000 * WALL_SECOND), -ENODATA);
  bed_down(b);
  bed_up(b);
  check_erased(b, ROWS + 1, 1, ROWS + 3);
  /* All of it, and on from there. */
  assert_int_equal(archive(b, INT64_MAX, one), 1);
  assert_int_equal(erase(b, INT64_MAX), 2);
  finish(b);
  add(b, &nurse, "new", "S-1", NULL);
  check_erased(b, ROWS + 3, 0, ROWS + 4);
}

/* Undone, killed before the files are gone, killed after. */
static void test_erase_interrupted(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  fill(b);
  assert_int_equal(archive(b, INT64_MAX, sha), ROWS);
  add(b, &nurse, "new", "S-1", NULL);
  bed_begin(b);
  assert_int_equal(audit_erase(b->store, b->artefacts, INT64_MAX, "root"), ROWS);
  assert_int_equal(audit_erase_finish(b->store, b->artefacts), -EBUSY); /* it may be undone yet */
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  finish(b);
  check_ok(b, ROWS, ROWS + 1);
  assert_int_equal(erase(b, INT64_MAX), ROWS);
  bed_down(b);
  bed_up(b);
  check_erased(b, ROWS, 0, ROWS + 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM erasure WHERE NOT done"), 1);
  assert_int_equal(unlink(file_of(b, sha)), 0);
  finish(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM erasure WHERE NOT done"), 0);
  check_erased(b, ROWS, 0, ROWS + 1);
}

/* An archive that is not as it was put away is kept. */
static void test_erase_damaged(void **state) {
  struct store_bed *b = *state;
  char one[HASH_TEXT], two[HASH_TEXT];
  uint8_t *bytes;
  size_t n;
  fill_archives(b, one, two);
  assert_int_equal(artefact_get(b->artefacts, two, 1 << 20, &bytes, &n), 0);
  bytes[n / 2] ^= 1;
  write_file(file_of(b, two), bytes, n);
  bytes[n / 2] ^= 1;
  assert_int_equal(erase(b, INT64_MAX), -EUCLEAN);
  assert_int_equal(verify(b).archived, ROWS);
  write_file(file_of(b, two), bytes, n);
  free(bytes);
  check_ok(b, ROWS + 2, ROWS + 3);
}

/* Gone without an erasure, or with one that is of another. */
static void test_erase_forged(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  fill(b);
  assert_int_equal(archive(b, INT64_MAX, sha), ROWS);
  raw(b, "DROP TRIGGER artefact_stays; DELETE FROM artefact", 1);
  raw(b, "INSERT INTO erasure(what, ref, archive, at, by, done) VALUES('audit','7','another',1,'u',1)", 1);
  raw(b,
      "INSERT INTO erasure(what, ref, archive, at, by, done) SELECT 'patient','7',artefact,1,'u',1 FROM audit_anchor",
      1);
  raw(b, "INSERT INTO erasure(what, ref, archive, at, by, done) SELECT 'audit','6',artefact,1,'u',1 FROM audit_anchor",
      1);
  raw(b, "INSERT INTO erasure(what, ref, archive, at, by, done) SELECT 'audit','7',artefact,1,'u',1 FROM audit_anchor",
      0);
  assert_int_equal(verify(b).erased, ROWS);
  assert_false(verify(b).ok); /* the seal tells */
}

/* ---- exports ---- */

static int collect(void *arg, const void *bytes, size_t n) {
  return buf_add(arg, bytes, n);
}

static struct buf export(struct store_bed *b, int64_t from) {
  struct buf out = BUF_INIT(16u << 20);
  assert_int_equal(audit_export(b->store, b->artefacts, from, collect, &out), 0);
  return out;
}

struct source {
  const uint8_t *bytes;
  size_t n, piece;
};

static ssize_t source_read(void *arg, void *bytes, size_t n) {
  struct source *s = arg;
  size_t got = s->n < s->piece ? s->n : s->piece;
  got = got < n ? got : n;
  memcpy(bytes, s->bytes, got);
  s->bytes += got;
  s->n -= got;
  return (ssize_t)got;
}

static int lines(const void *bytes, size_t n, const uint8_t *key, struct audit_lines_check *ret) {
  struct source s = {bytes, n, 70000};
  return audit_lines_verify(source_read, &s, key, ret);
}

/* Two archives, the first of which is erased, and heads in each and behind. */
static void fill_all(struct store_bed *b, char one[static HASH_TEXT], char two[static HASH_TEXT]) {
  fill(b);
  assert_int_equal(sign(b), 1);
  assert_int_equal(archive(b, INT64_MAX, one), ROWS);
  add(b, &lgc, "second", "S-2", json_pack("{s:{s:[s,n,b]}}", "a", "b", "é\t\"\\", 1));
  assert_int_equal(sign(b), 1);
  add(b, &nurse, "second", "S-2", NULL);
  assert_int_equal(archive(b, INT64_MAX, two), 2);
  add(b, &nurse, "third", "S-3", NULL);
  assert_int_equal(sign(b), 1);
  add(b, &nurse, "third", "S-3", NULL);
}

static void test_export(void **state) {
  struct store_bed *b = *state;
  struct audit_lines_check c;
  char sha[2][HASH_TEXT], head[HASH_TEXT];
  const uint8_t *key = store_site_key(b->store)->public;
  struct buf empty = export(b, 1);
  assert_int_equal(lines(empty.data, empty.len, key, &c), 0);
  assert_true(c.ok && c.first == 1 && c.last == 0 && c.rows == 0);
  buf_finish(&empty);
  fill_all(b, sha[0], sha[1]);
  str_copy(head, sizeof head, verify(b).head);
  /* From each row, first with all archives there, then with the first, then with both erased. */
  for (int erased = 0; erased < 3; erased++) {
    const int64_t gone = erased == 0 ? 0 : erased == 1 ? ROWS : ROWS + 2;
    if (erased == 1) {
      bed_begin(b);
      uint8_t *bytes;
      size_t n;
      assert_int_equal(artefact_get(b->artefacts, sha[1], 1 << 20, &bytes, &n), 0);
      write_file(file_of(b, sha[1]), "", 0); /* so that only the first can be read */
      assert_int_equal(audit_erase(b->store, b->artefacts, INT64_MAX, "root"), -EUCLEAN);
      store_undo(b->store);
      write_file(file_of(b, sha[1]), bytes, n);
      free(bytes);
      bed_begin(b);
      assert_int_equal(
          store_run(b->store,
                    "INSERT INTO erasure(what, ref, archive, at, by) SELECT 'audit', seq, artefact, 1, 'u' "
                    "FROM audit_anchor WHERE seq = 7",
                    ""),
          1);
      assert_int_equal(artefact_forget(b->store, sha[0]), 0);
      bed_keep(b);
      finish(b);
    } else if (erased == 2) {
      assert_int_equal(erase(b, INT64_MAX), 2);
      finish(b);
    }
    for (int64_t from = 0; from <= ROWS + 6; from++) {
      struct buf out = export(b, from);
      struct audit_lines_check again;
      assert_int_equal(lines(out.data, out.len, key, &c), 0);
      if (!c.ok)
        fail_msg("from %lld, %d erased: line %lld", (long long)from, erased, (long long)c.broken_line);
      const int64_t asked = from < 1 ? 1 : from > ROWS + 5 ? ROWS + 5 : from;
      const int64_t first = asked > gone    ? asked
                            : asked <= ROWS ? 1
                                            : ROWS + 1; /* a whole archive, where it is erased */
      assert_int_equal(c.first, first);
      assert_int_equal(c.last, ROWS + 4);
      assert_int_equal(c.erased, gone >= first ? gone + 1 - first : 0);
      assert_int_equal(c.rows, ROWS + 5 - first - c.erased);
      assert_string_equal(c.head, head);
      assert_int_equal(c.signed_to, asked <= ROWS + 3 ? ROWS + 3 : 0);
      assert_int_equal(c.heads, (first <= ROWS) + (asked <= ROWS + 1 && erased < 2) + (asked <= ROWS + 3));
      /* In pieces of every size, and under a key that is read from the file. */
      for (size_t piece = 1; piece < 400; piece += 57) {
        struct source s = {out.data, out.len, piece};
        assert_int_equal(audit_lines_verify(source_read, &s, NULL, &again), 0);
        assert_memory_equal(&again, &c, sizeof c);
      }
      buf_finish(&out);
    }
  }
}

/* Whatever is done to an export: each byte, each line. */
static void test_export_changed(void **state) {
  struct store_bed *b = *state;
  struct audit_lines_check c;
  char one[HASH_TEXT], two[HASH_TEXT];
  unsigned n = 0;
  fill_all(b, one, two);
  for (int erased = 0; erased < 2; erased++) {
    if (erased)
      assert_int_equal(erase(b, INT64_MAX), ROWS + 2);
    struct buf out = export(b, 1);
    for (size_t at = 0; at < out.len; at++)
      for (size_t bit = at % 4; bit < 8; bit += 4, n++) {
        out.data[at] ^= (uint8_t)(1u << bit);
        const int r = lines(out.data, out.len, NULL, &c);
        if (r == 0 ? c.ok || !c.broken_line : r != -EPROTO)
          fail_msg("bit %zu of byte %zu: %d", bit, at, r);
        out.data[at] ^= (uint8_t)(1u << bit);
      }
    for (size_t cut = 0; cut < out.len; cut++, n++) {
      const int r = lines(out.data, cut, NULL, &c);
      if (r == 0 ? c.ok || !c.broken_line : r != -EPROTO)
        fail_msg("cut at %zu: %d", cut, r);
    }
    /* Each line away, twice, and in the next one's place. */
    const uint8_t *end = out.data + out.len;
    int64_t number = 1;
    for (const uint8_t *line = out.data, *next; line < end; line = next, number++) {
      uint8_t *now = malloc(2 * out.len);
      assert_non_null(now);
      next = (const uint8_t *)memchr(line, '\n', (size_t)(end - line)) + 1;
      const uint8_t *after = next < end ? (const uint8_t *)memchr(next, '\n', (size_t)(end - next)) + 1 : NULL;
      const size_t before_n = (size_t)(line - out.data), line_n = (size_t)(next - line), left = (size_t)(end - next);
      memcpy(now, out.data, before_n);
      memcpy(now + before_n, next, left);
      int r = lines(now, before_n + left, NULL, &c);
      assert_true(number == 1 ? r == -EPROTO : r == 0 && !c.ok);
      memcpy(now, out.data, before_n + line_n);
      memcpy(now + before_n + line_n, line, line_n + left);
      assert_int_equal(lines(now, out.len + line_n, NULL, &c), 0);
      assert_int_equal(c.broken_line, number + 1);
      if (after) {
        const size_t after_n = (size_t)(after - next);
        memcpy(now, out.data, before_n);
        memcpy(now + before_n, next, after_n);
        memcpy(now + before_n + after_n, line, line_n);
        memcpy(now + before_n + after_n + line_n, after, (size_t)(end - after));
        r = lines(now, out.len, NULL, &c);
        assert_true(number == 1 ? r == -EPROTO : r == 0 && !c.ok);
      }
      n += 3;
      free(now);
    }
    buf_finish(&out);
  }
  print_message("# %u changes of an export found\n", n);
}

/* Another site's key, other formats, what ends in the middle of reading, lines without end. */
static ssize_t read_fails(void *arg, void *bytes, size_t n) {
  (void)arg;
  (void)bytes;
  (void)n;
  return -EISDIR;
}

static int write_fails(void *arg, const void *bytes, size_t n) {
  (void)bytes;
  unsigned *left = arg;
  return n && (*left)-- ? 0 : -EPIPE;
}

static void test_export_other(void **state) {
  struct store_bed *b = *state;
  struct audit_lines_check c = {.rows = 42};
  uint8_t other[SIGNATURE_PUBLIC] = {1};
  char one[HASH_TEXT], two[HASH_TEXT];
  fill_all(b, one, two);
  struct buf out = export(b, 1);
  assert_int_equal(lines(out.data, out.len, other, &c), 0);
  assert_int_equal(c.broken_line, 1);
  c.rows = 42;
  static const char *const none[] = {
      "", "\n", "x", "{}\n", "[]\n", "{\"asaleed_audit\":2}\n", "{\"a\":1}\n{\"b\":2}\n"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    assert_int_equal(lines(none[i], strlen(none[i]), NULL, &c), -EPROTO);
  assert_int_equal(audit_lines_verify(read_fails, NULL, NULL, &c), -EISDIR);
  assert_int_equal(c.rows, 42);
  /* A row of many megabytes is none. */
  size_t n = AUDIT_LINE_MAX + 10;
  char *large = malloc(n + 1);
  assert_non_null(large);
  memset(large, 'x', n);
  assert_int_equal(lines(large, n, NULL, &c), -EPROTO);
  const size_t header = (size_t)((uint8_t *)memchr(out.data, '\n', out.len) + 1 - out.data);
  memcpy(large, out.data, header);
  assert_int_equal(lines(large, n, NULL, &c), 0);
  assert_int_equal(c.broken_line, 2);
  free(large);
  buf_finish(&out);
  /* Who reads the export goes away, at each line of it; an archive is gone. */
  unsigned lines_n = 0;
  for (;; lines_n++) {
    unsigned left = lines_n;
    const int r = audit_export(b->store, b->artefacts, 1, write_fails, &left);
    if (r == 0)
      break;
    assert_int_equal(r, -EPIPE);
  }
  assert_int_equal(lines_n, 2 * (1 + ROWS + 4 + 3 + 1));
  assert_int_equal(unlink(file_of(b, one)), 0);
  unsigned many = 1000;
  assert_int_equal(audit_export(b->store, b->artefacts, 1, write_fails, &many), -EUCLEAN);
  assert_int_equal(audit_export(b->store, b->artefacts, ROWS + 1, write_fails, &many), 0);
}

/* More than is read at once. */
static void test_export_large(void **state) {
  struct store_bed *b = *state;
  struct audit_lines_check c;
  char sha[HASH_TEXT];
  static char text[3000];
  memset(text, 'x', sizeof text - 1);
  bed_begin(b);
  for (int i = 0; i < 300; i++)
    assert_int_equal(audit_add(b->store, &nurse, "a", "S-1", json_pack("{s:s}", "text", text + i % 2 * 2900)), 0);
  assert_int_equal(audit_head_sign(b->store), 1);
  bed_keep(b);
  for (int archived = 0; archived < 2; archived++) {
    struct buf out = export(b, 1);
    assert_true(out.len > 5 * 65536);
    assert_int_equal(lines(out.data, out.len, NULL, &c), 0);
    assert_true(c.ok && c.rows == 300 && c.heads == 1 && c.signed_to == 300);
    out.data[out.len / 2] ^= 1;
    assert_int_equal(lines(out.data, out.len, NULL, &c), 0);
    assert_false(c.ok);
    buf_finish(&out);
    if (!archived)
      assert_int_equal(archive(b, INT64_MAX, sha), 300);
  }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, bed_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(chain),
      TEST(list),
      TEST(every_byte),
      TEST(rows),
      TEST(raw),
      TEST(archive),
      TEST(archive_undone),
      TEST(clock_back),
      TEST(archive_pieces),
      TEST(archive_damaged),
      TEST(archives),
      TEST(archive_file),
      TEST(anchor_forged),
      TEST(archive_rewritten),
      TEST(origin),
      TEST(who_saw),
      TEST(list_forged),
      TEST(heads),
      TEST(head_forged),
      TEST(erase),
      TEST(erase_interrupted),
      TEST(erase_damaged),
      TEST(erase_forged),
      TEST(export),
      TEST(export_changed),
      TEST(export_other),
      TEST(export_large),
  };
  return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
