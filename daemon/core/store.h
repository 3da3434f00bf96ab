/* The store: one SQLite database, one writer (this process), and group commit.
 *
 * An act (an API call, a finished acquisition) runs between store_begin() and store_keep() or store_undo(): all of it
 * or nothing. Acts of one loop turn share one transaction; store_commit() makes them durable (WAL, synchronous=FULL)
 * and then calls back whoever waits with store_on_commit(). Nothing may be told to anyone before that callback.
 *
 * SQL is written where its noun lives; store.c alone talks to SQLite. A statement is prepared once, keyed by the
 * address of its text: pass string constants. Values are always bound, never printed into SQL.
 *
 * Every row of every table is under the seal: one sum a table, which each change of a row moves in the transaction that
 * changes the row, and one over all of them, the schema's version included; nobody makes them without the site's key.
 * A change that came another way stays visible as the difference between the rows and their sum, whatever is written
 * later; store_verify() looks.
 *
 * Errors: -ENOSPC full, -EROFS read only, -EIO, -EUCLEAN damaged, -EEXIST a unique row is there already, -EPERM an
 * append-only or check rule refuses or the write is outside an act, -ENOMEM, -EBUSY another process holds the store.
 */
#ifndef ASALEED_STORE_H
#define ASALEED_STORE_H

#include "site_key.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

/* Opens or creates <dir>/asaleed.db and the site's key, and brings the schema up to date. -ENOKEY, -EKEYREJECTED: the
 * key under which the tables are sealed is gone, or is another. -EUCLEAN too when a store of an older version is not as
 * it was sealed: it is kept as it is. */
int store_open(const char *dir, struct store **ret);
void store_close(struct store *s);
const struct site_key *store_site_key(const struct store *s);

/* `types` has one letter a parameter: i int64_t, t const char * (NULL = NULL), b const void * then size_t.
 * store_run() returns how many rows changed. */
int store_run(struct store *s, const char *sql, const char *types, ...);
int64_t store_last_id(const struct store *s);

/* A query's rows (it changes nothing): for (rows r = ...; rows_next(&r);) ...; then rows_finish(), which returns 0 or
 * the error met. Texts and blobs are valid until the next call on the same rows. */
struct rows {
  struct store *store;
  void *statement;
  int err;
};
struct rows store_query(struct store *s, const char *sql, const char *types, ...);
bool rows_next(struct rows *r);
int64_t rows_int(const struct rows *r, int column);
const char *rows_text(const struct rows *r, int column); /* NULL for NULL */
const void *rows_blob(const struct rows *r, int column, size_t *ret_n);
bool rows_is_null(const struct rows *r, int column);
/* For whoever does not know the columns. */
enum rows_type { ROWS_NULL, ROWS_INT, ROWS_TEXT, ROWS_BLOB };
int rows_columns(const struct rows *r);
const char *rows_name(const struct rows *r, int column);
enum rows_type rows_type(const struct rows *r, int column);
int rows_finish(struct rows *r);

int store_begin(struct store *s);
int store_keep(struct store *s);
void store_undo(struct store *s);

bool store_is_dirty(const struct store *s); /* something waits for store_commit() */
int store_commit(struct store *s);
/* Calls back with the result of the commit that covers everything kept so far; at once (0) when nothing waits. */
void store_on_commit(struct store *s, void (*done)(void *arg, int result), void *arg);

/* What was deleted leaves no trace in the files: the log goes into the database, whose free space is overwritten.
 * -EBUSY: while something waits for store_commit(), or the store is frozen, it cannot; it is done once that is over. */
int store_settle(struct store *s);

/* From here to store_thaw() the database's file stays as it is, and holds all that is committed now: what is committed
 * meanwhile goes into the log alone, which grows. strained() is called, once, by the store_commit() after which the log
 * must not grow any more, for its own size or for the room on the disk: then the store is to be thawed at once. -EBUSY
 * while something waits for store_commit(), or when it is frozen already; other errors: the log could not be put away
 * before. */
int store_freeze(struct store *s, void (*strained)(void *arg), void *arg);
void store_thaw(struct store *s); /* of a frozen store; the log becomes short again */

/* The store as it was when it was frozen, to be read: for a copy of this process (fork()) alone, made before anything
 * else was committed, which has no use of the store itself. Opens the database's file anew, without locks and without
 * the log, and writes nothing. Judges by the seal and the key that this process had in memory. It lives as long as the
 * copy: there is no store_close(). */
int store_snapshot(const struct store *s, struct store **ret);

/* 0, or why nothing can be written: set by the last failed commit, cleared by the next that works. */
int store_health(const struct store *s);

struct store_check {
  bool ok;
  int64_t rows; /* that were looked at */
  char
      table[64]; /* the first that is not as it was sealed, "sqlite_schema", "sqlite_sequence" or "seal"; "" for none */
  bool consistent; /* the database's pages and indexes are sound, and every row refers to rows that are there */
};

/* What the rows of these tables (NULL ends the list) add up to, what is not committed yet too: while it is the same,
 * none of them has changed. Reads no row. -ENOENT: there is no such table. */
int store_sum(const struct store *s, const char *const *tables, uint8_t ret[static HASH_BYTES]);

/* Reads every row of every table, what is not committed yet too, and compares. Reads the whole database twice: takes
 * long where there are millions of rows, and a running daemon does it over a snapshot (inspect.h). An error (no memory,
 * a disk that cannot be read) leaves the question open.
 */
int store_verify(struct store *s, struct store_check *ret);

#endif
