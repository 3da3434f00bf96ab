#include "store.h"

#include "log.h"
#include "schema.h"
#include "str.h"
#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE_SLOTS 256 /* prepared statements; a power of two, several times what the program has */

struct waiter {
  void (*done)(void *, int);
  void *arg;
};

struct store {
  sqlite3 *db;
  struct {
    const char *sql;
    sqlite3_stmt *statement;
  } cache[CACHE_SLOTS];
  bool in_transaction, in_act;
  int lost; /* why SQLite itself rolled the open transaction back; 0 when it has not */
  struct waiter *waiters;
  size_t n_waiters, cap_waiters;
  int health;
};

/* The system's error behind SQLITE_IOERR: the log's, where commits are written, else the database's. SQLite's own
 * sqlite3_system_errno() tells what was last after the roll-back, not what failed. */
static int store_system_errno(struct store *s) {
  sqlite3_file *log = NULL;
  int err = 0;
  if (sqlite3_file_control(s->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK && log && log->pMethods)
    log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &err);
  if (!err)
    sqlite3_file_control(s->db, "main", SQLITE_FCNTL_LAST_ERRNO, &err);
  return err;
}

static int store_errno_of(struct store *s, int code) {
  switch (code & 0xff) {
  case SQLITE_OK:
  case SQLITE_ROW:
  case SQLITE_DONE:
    return 0;
  case SQLITE_FULL:
    return -ENOSPC;
  case SQLITE_READONLY:
  case SQLITE_CANTOPEN:
    return -EROFS;
  case SQLITE_NOMEM:
    return -ENOMEM;
  case SQLITE_CORRUPT:
  case SQLITE_NOTADB:
    return -EUCLEAN;
  case SQLITE_BUSY:
  case SQLITE_LOCKED:
    return -EBUSY;
  case SQLITE_CONSTRAINT: {
    int extended = s->db ? sqlite3_extended_errcode(s->db) : code;
    return extended == SQLITE_CONSTRAINT_UNIQUE || extended == SQLITE_CONSTRAINT_PRIMARYKEY ? -EEXIST : -EPERM;
  }
  case SQLITE_IOERR: {
    int system = s->db ? store_system_errno(s) : 0;
    return system == ENOSPC || system == EDQUOT ? -ENOSPC : system == EROFS ? -EROFS : -EIO;
  }
  default:
    return -EIO;
  }
}

static int store_errno(struct store *s, int code) {
  int r = store_errno_of(s, code);
  if (r < 0 && s->in_transaction && !s->lost && sqlite3_get_autocommit(s->db))
    s->lost = r;
  return r;
}

static int store_exec(struct store *s, const char *sql) {
  int r = store_errno(s, sqlite3_exec(s->db, sql, NULL, NULL, NULL));
  if (r < 0)
    log_errno(LOG_DEBUG, r, "store: %s", sqlite3_errmsg(s->db));
  return r;
}

static sqlite3_stmt *store_statement(struct store *s, const char *sql, int *ret_err) {
  size_t slot = ((uintptr_t)sql >> 4) * 0x9e3779b1u % CACHE_SLOTS;
  for (size_t i = 0; i < CACHE_SLOTS; i++, slot = (slot + 1) % CACHE_SLOTS) {
    if (s->cache[slot].sql == sql)
      return s->cache[slot].statement;
    if (!s->cache[slot].sql)
      break;
  }
  if (s->cache[slot].sql) {
    *ret_err = -ENOMEM;
    return NULL;
  }
  int code = sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->cache[slot].statement, NULL);
  if (code != SQLITE_OK) {
    *ret_err = store_errno(s, code);
    log_errno(LOG_ERROR, *ret_err, "store: %s", sqlite3_errmsg(s->db));
    return NULL;
  }
  s->cache[slot].sql = sql;
  return s->cache[slot].statement;
}

static int store_bind(struct store *s, sqlite3_stmt *st, const char *types, va_list ap) {
  int code = SQLITE_OK, i = 1;
  for (const char *t = types; *t && code == SQLITE_OK; t++, i++) {
    if (*t == 'i')
      code = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
    else if (*t == 't')
      code = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
    else {
      const void *blob = va_arg(ap, const void *);
      code = sqlite3_bind_blob64(st, i, blob, va_arg(ap, size_t), SQLITE_STATIC);
    }
  }
  return store_errno(s, code);
}

/* The values are bound as static: they must live until the statement is reset, so it is reset before returning. */
static void store_reset(sqlite3_stmt *st) {
  sqlite3_reset(st);
  sqlite3_clear_bindings(st);
}

int store_run(struct store *s, const char *sql, const char *types, ...) {
  int err = s->lost; /* alone it would be a transaction of its own */
  sqlite3_stmt *st = err ? NULL : store_statement(s, sql, &err);
  if (!st)
    return err;
  va_list ap;
  va_start(ap, types);
  err = store_bind(s, st, types, ap);
  va_end(ap);
  if (err == 0)
    err = store_errno(s, sqlite3_step(st));
  store_reset(st);
  return err < 0 ? err : sqlite3_changes(s->db);
}

int64_t store_last_id(const struct store *s) {
  return sqlite3_last_insert_rowid(s->db);
}

struct rows store_query(struct store *s, const char *sql, const char *types, ...) {
  struct rows r = {.store = s};
  r.statement = store_statement(s, sql, &r.err);
  if (!r.statement)
    return r;
  va_list ap;
  va_start(ap, types);
  r.err = store_bind(s, r.statement, types, ap);
  va_end(ap);
  return r;
}

bool rows_next(struct rows *r) {
  if (r->err)
    return false;
  int code = sqlite3_step(r->statement);
  r->err = store_errno(r->store, code);
  return code == SQLITE_ROW;
}

int64_t rows_int(const struct rows *r, int column) {
  return sqlite3_column_int64(r->statement, column);
}

const char *rows_text(const struct rows *r, int column) {
  return (const char *)sqlite3_column_text(r->statement, column);
}

const void *rows_blob(const struct rows *r, int column, size_t *ret_n) {
  const void *blob = sqlite3_column_blob(r->statement, column);
  *ret_n = (size_t)sqlite3_column_bytes(r->statement, column);
  return blob;
}

bool rows_is_null(const struct rows *r, int column) {
  return sqlite3_column_type(r->statement, column) == SQLITE_NULL;
}

int rows_finish(struct rows *r) {
  if (r->statement)
    store_reset(r->statement);
  r->statement = NULL;
  return r->err;
}

/* ---- acts and commits ---- */

/* A statement of every act, prepared once. */
static int store_say(struct store *s, const char *sql) {
  int r = store_run(s, sql, "");
  return r < 0 ? r : 0;
}

int store_begin(struct store *s) {
  int r = s->lost;
  if (r == 0 && !s->in_transaction) {
    r = store_say(s, "BEGIN IMMEDIATE");
    s->in_transaction = r == 0;
  }
  if (r == 0)
    r = store_say(s, "SAVEPOINT act");
  s->in_act = r == 0;
  return r;
}

int store_keep(struct store *s) {
  s->in_act = false;
  return s->lost ? s->lost : store_say(s, "RELEASE act");
}

void store_undo(struct store *s) {
  /* SQLite itself rolls the whole transaction back on some errors (full disk, I/O); then the earlier acts of this
   * turn are gone too: no other begins until store_commit() has said so to everyone who waits. */
  if (s->in_act && !s->lost)
    store_exec(s, "ROLLBACK TO act; RELEASE act");
  s->in_act = false;
}

bool store_is_dirty(const struct store *s) {
  return s->in_transaction;
}

int store_commit(struct store *s) {
  int r = 0;
  if (s->in_transaction) {
    r = s->lost ? s->lost : store_say(s, "COMMIT");
    if (r < 0 && !sqlite3_get_autocommit(s->db))
      store_exec(s, "ROLLBACK");
    s->in_transaction = false;
    s->lost = 0;
    if (r < 0 && s->health != r)
      log_errno(LOG_ERROR, r, "store: cannot commit");
    s->health = r;
  }
  struct waiter *waiters = s->waiters;
  size_t n = s->n_waiters;
  s->waiters = NULL; /* a callback may begin the next act and wait again */
  s->n_waiters = s->cap_waiters = 0;
  for (size_t i = 0; i < n; i++)
    waiters[i].done(waiters[i].arg, r);
  free(waiters);
  return r;
}

void store_on_commit(struct store *s, void (*done)(void *, int), void *arg) {
  if (!s->in_transaction) {
    done(arg, 0);
    return;
  }
  if (s->n_waiters == s->cap_waiters) {
    size_t cap = s->cap_waiters ? 2 * s->cap_waiters : 16;
    struct waiter *more = realloc(s->waiters, cap * sizeof *more);
    if (!more) { /* no memory to remember whom to tell: commit now and tell at once */
      done(arg, store_commit(s));
      return;
    }
    s->waiters = more;
    s->cap_waiters = cap;
  }
  s->waiters[s->n_waiters++] = (struct waiter){done, arg};
}

int store_health(const struct store *s) {
  return s->health;
}

/* ---- opening ---- */

static int store_version(struct store *s) {
  struct rows r = store_query(s, "PRAGMA user_version", "");
  int v = rows_next(&r) ? (int)rows_int(&r, 0) : -1;
  int err = rows_finish(&r);
  return err < 0 ? err : v;
}

/* Every reference from one table to another names a row that is there. */
static bool store_refers_well(struct store *s) {
  struct rows r = store_query(s, "SELECT 1 FROM pragma_foreign_key_check LIMIT 1", "");
  bool broken = rows_next(&r);
  return rows_finish(&r) == 0 && !broken;
}

/* Foreign keys are off meanwhile: a table that is made anew is dropped while others refer to it. */
static int store_migrate(struct store *s) {
  int version = store_version(s), newest = 0;
  while (schema_migrations[newest])
    newest++;
  if (version > newest) {
    log_error("store: its schema is version %d, newer than this program's %d: install the newer program", version,
              newest);
    return -EINVAL;
  }
  for (; version >= 0 && version < newest; version++) {
    char set[64];
    snprintf(set, sizeof set, "PRAGMA user_version = %d", version + 1);
    int r = store_exec(s, "BEGIN IMMEDIATE");
    if (r == 0)
      r = store_exec(s, schema_migrations[version]);
    if (r == 0 && !store_refers_well(s)) {
      log_error("store: its version %d refers to what is not there: not brought to version %d", version, version + 1);
      r = -EUCLEAN;
    }
    if (r == 0)
      r = store_exec(s, set);
    if (r == 0)
      r = store_exec(s, "COMMIT");
    if (r < 0) {
      store_exec(s, "ROLLBACK");
      return r;
    }
  }
  return version < 0 ? version : 0;
}

int store_open(const char *dir, struct store **ret) {
  char path[4096];
  if ((size_t)snprintf(path, sizeof path, "%s/asaleed.db", dir) >= sizeof path)
    return -ENAMETOOLONG;
  if (access(dir, R_OK | W_OK | X_OK) < 0) /* SQLite would call all of these "cannot open" */
    return log_errno(LOG_ERROR, -errno, "store: %s must be a folder that this user may write (see --store)", dir);
  struct store *s = calloc(1, sizeof *s);
  if (!s)
    return -ENOMEM;
  mode_t mask = umask(0077);
  int r = store_errno(
      s, sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL));
  umask(mask);
  /* EXCLUSIVE: this process is the only one, which also keeps the WAL index out of shared memory. FULL: a commit
   * that was answered survives a power cut. Recursive triggers: a row that is replaced is a row removed, which the
   * append-only rules must see. The cache is small because the queue's index pages are what is read. */
  if (r == 0)
    r = store_exec(s, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                      "PRAGMA foreign_keys = OFF; PRAGMA recursive_triggers = ON; PRAGMA trusted_schema = OFF;"
                      "PRAGMA cell_size_check = ON; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY");
  if (r == 0)
    r = store_migrate(s);
  if (r == 0)
    r = store_exec(s, "PRAGMA foreign_keys = ON");
  if (r < 0) {
    if (r == -EBUSY)
      log_error("store: another asaleed uses %s: end it first", path);
    else
      log_errno(LOG_ERROR, r, "store: cannot open %s", path);
    store_close(s);
    return r;
  }
  sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  *ret = s;
  return 0;
}

void store_close(struct store *s) {
  if (!s)
    return;
  if (s->in_transaction)
    store_commit(s);
  for (size_t i = 0; i < CACHE_SLOTS; i++)
    sqlite3_finalize(s->cache[i].statement);
  sqlite3_close(s->db);
  free(s->waiters);
  free(s);
}
