/* A store in a folder of its own, for the tests of daemon/core. Include after <cmocka.h>. */
#ifndef ASALEED_STORE_BED_H
#define ASALEED_STORE_BED_H

#include "artefact.h"
#include "audit.h"
#include "hash.h"
#include "store.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct store_bed {
  char dir[64];
  struct store *store;
  struct artefacts *artefacts;
};

static inline void bed_up(struct store_bed *b) {
  assert_int_equal(store_open(b->dir, &b->store), 0);
  assert_int_equal(artefacts_open(b->dir, &b->artefacts), 0);
}

static inline void bed_down(struct store_bed *b) {
  artefacts_close(b->artefacts);
  store_close(b->store);
  b->artefacts = NULL;
  b->store = NULL;
}

static inline int bed_setup(void **state) {
  struct store_bed *b = calloc(1, sizeof *b);
  const char *tmp = getenv("TMPDIR");
  if (!b || hash_open() < 0)
    return -1;
  snprintf(b->dir, sizeof b->dir, "%.32s/asaleed-unit-XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(b->dir))
    return -1;
  bed_up(b);
  *state = b;
  return 0;
}

static inline int bed_remove(const char *path, const struct stat *st, int kind, struct FTW *at) {
  (void)st;
  (void)kind;
  (void)at;
  return remove(path);
}

static inline int bed_teardown(void **state) {
  struct store_bed *b = *state;
  bed_down(b);
  nftw(b->dir, bed_remove, 16, FTW_DEPTH | FTW_PHYS);
  free(b);
  return 0;
}

static inline const char *bed_path(const struct store_bed *b, const char *name) {
  static char paths[4][512];
  static unsigned next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", b->dir, name);
  return path;
}

/* The database as anybody else with sqlite3 opens it; the store is closed meanwhile: bed_up() afterwards. */
static inline sqlite3 *bed_raw(struct store_bed *b) {
  sqlite3 *db;
  bed_down(b);
  assert_int_equal(sqlite3_open(bed_path(b, "asaleed.db"), &db), SQLITE_OK);
  return db;
}

static inline void raw_exec(sqlite3 *db, const char *sql) {
  char *why = NULL;
  if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
    fail_msg("%s: %s", sql, why);
}

static inline void bed_begin(struct store_bed *b) {
  assert_int_equal(store_begin(b->store), 0);
}

static inline void bed_keep(struct store_bed *b) {
  assert_int_equal(store_keep(b->store), 0);
  assert_int_equal(store_commit(b->store), 0);
}

/* The one number that a query gives. */
static inline int64_t bed_int(struct store_bed *b, const char *sql) {
  struct rows r = store_query(b->store, sql, "");
  assert_true(rows_next(&r));
  int64_t v = rows_int(&r, 0);
  assert_int_equal(rows_finish(&r), 0);
  return v;
}

/* Whether any file under the folder holds these bytes. */
static const char *bed_scan_bytes;
static size_t bed_scan_n;
static inline int bed_scan_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
  (void)at;
  if (kind != FTW_F || st->st_size == 0)
    return 0;
  FILE *f = fopen(path, "re");
  char *bytes = malloc((size_t)st->st_size);
  size_t n = f && bytes ? fread(bytes, 1, (size_t)st->st_size, f) : 0;
  int found = n >= bed_scan_n && memmem(bytes, n, bed_scan_bytes, bed_scan_n) != NULL;
  free(bytes);
  if (f)
    fclose(f);
  return found;
}
static inline bool bed_holds(const struct store_bed *b, const void *bytes, size_t n) {
  bed_scan_bytes = bytes;
  bed_scan_n = n;
  return nftw(b->dir, bed_scan_one, 16, FTW_PHYS) == 1;
}

#endif
