#include "store.h"

#include "log.h"
#include "schema.h"
#include "str.h"
#include "wall.h"
#include <endian.h>
#include <errno.h>
#define SQLITE_ENABLE_PREUPDATE_HOOK /* Debian's library has it */
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOG_PAGES 1000                      /* at which the log goes into the database by itself */
#define LOG_FROZEN_MAX ((uint64_t)2 << 30)  /* bytes that it may grow to while that must not be, */
#define LOG_FROZEN_ROOM ((uint64_t)8 << 20) /* and what the disk must have then beside what it takes to put it away */
#define LOG_RETRY_US 60000000ull
#define SNAPSHOT_CACHE "-16384"
#define CACHE_SLOTS 1024 /* prepared statements; a power of two, several times what the program has */

struct waiter {
  void (*done)(void *, int);
  void *arg;
};

/* A sum of keyed hashes modulo 2^256, the lowest limb first. */
struct sum {
  uint64_t limb[4];
};

/* The tables' sums, each array in the order of the names. */
struct seal {
  size_t n;
  char **names;       /* in one block with their texts */
  struct sum *now;    /* of the rows as they are */
  struct sum *before; /* the statement that is running, */
  struct sum *act;    /* the act, */
  struct sum *kept;   /* the transaction: what the table `seal` holds; one block with all four */
  size_t sequence;    /* the place of sqlite_sequence, which SQLite changes unseen, */
  struct sum counted; /* and what its rows added up to at the last commit, */
  struct sum counts;  /* and at the one that is being made */
  int err;            /* a change could not be added: `now` is wrong, nothing may be committed */
  bool broken;        /* the table `seal` is not as it was written: its own hash stays as it is, and wrong */
};

struct store {
  sqlite3 *db;
  struct site_key key;
  struct seal seal;
  struct {
    const char *sql;
    sqlite3_stmt *statement;
  } cache[CACHE_SLOTS];
  bool in_transaction, in_act;
  bool frozen, unsettled; /* the log must not go into the database now; it is to go there when it may, */
  uint64_t settle_from;   /* by monotonic_us(): not sooner, as it could not */
  int log_pages;          /* while it is frozen */
  void (*strained)(void *);
  void *strained_arg;
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

static size_t seal_bytes(const struct seal *seal) {
  return seal->n * sizeof *seal->now;
}

int store_run(struct store *s, const char *sql, const char *types, ...) {
  int err = s->lost ? s->lost : s->seal.err; /* alone it would be a transaction of its own */
  sqlite3_stmt *st = err ? NULL : store_statement(s, sql, &err);
  if (!st)
    return err;
  const bool writes = !sqlite3_stmt_readonly(st);
  if (writes && !s->in_transaction)
    return log_errno(LOG_ERROR, -EPERM, "store: a write outside an act");
  if (writes)
    memcpy(s->seal.before, s->seal.now, seal_bytes(&s->seal));
  va_list ap;
  va_start(ap, types);
  err = store_bind(s, st, types, ap);
  va_end(ap);
  if (err == 0)
    err = store_errno(s, sqlite3_step(st));
  store_reset(st);
  if (err < 0 && writes) /* SQLite took back what the statement had changed until then */
    memcpy(s->seal.now, s->seal.before, seal_bytes(&s->seal));
  if (err == 0)
    err = s->seal.err;
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
  if (!sqlite3_stmt_readonly(r.statement)) {
    r.statement = NULL;
    r.err = -EPERM;
    return r;
  }
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

int rows_columns(const struct rows *r) {
  return sqlite3_column_count(r->statement);
}

const char *rows_name(const struct rows *r, int column) {
  return sqlite3_column_name(r->statement, column);
}

enum rows_type rows_type(const struct rows *r, int column) {
  switch (sqlite3_column_type(r->statement, column)) {
  case SQLITE_INTEGER:
    return ROWS_INT;
  case SQLITE_TEXT:
    return ROWS_TEXT;
  case SQLITE_BLOB:
    return ROWS_BLOB;
  default:
    return ROWS_NULL;
  }
}

int rows_finish(struct rows *r) {
  if (r->statement)
    store_reset(r->statement);
  r->statement = NULL;
  return r->err;
}

/* ---- the seal ---- */

static void sum_add(struct sum *to, const struct sum *by) {
  bool carry = false;
  for (int i = 0; i < 4; i++) {
    uint64_t part;
    const bool over = __builtin_add_overflow(to->limb[i], by->limb[i], &part);
    carry = __builtin_add_overflow(part, (uint64_t)carry, &to->limb[i]) || over;
  }
}

static void sum_take(struct sum *from, const struct sum *by) {
  struct sum negative = {{~by->limb[0], ~by->limb[1], ~by->limb[2], ~by->limb[3]}};
  sum_add(&negative, &(struct sum){{1}});
  sum_add(from, &negative);
}

static void sum_bytes(const struct sum *sum, uint8_t ret[static HASH_BYTES]) {
  for (size_t i = 0; i < 4; i++)
    memcpy(ret + 8 * i, &(uint64_t){htole64(sum->limb[i])}, 8);
}

static struct sum sum_of(const uint8_t bytes[static HASH_BYTES]) {
  struct sum sum;
  for (size_t i = 0; i < 4; i++) {
    memcpy(&sum.limb[i], bytes + 8 * i, 8);
    sum.limb[i] = le64toh(sum.limb[i]);
  }
  return sum;
}

static void hash_number(struct hash_keyed *h, uint64_t v) {
  hash_keyed_add(h, &(uint64_t){htole64(v)}, 8);
}

static void hash_name(struct hash_keyed *h, const char *name) {
  const size_t n = strlen(name);
  hash_number(h, n);
  hash_keyed_add(h, name, n);
}

/* A row's hash covers its table, how many columns it has, and each value's type, length and bytes. */
static void row_start(const struct store *s, struct hash_keyed *h, const char *table, int columns) {
  hash_keyed_start(h, s->key.seal);
  hash_name(h, table);
  hash_number(h, (uint64_t)columns);
}

static void row_value(struct hash_keyed *h, int type, int64_t number, const void *bytes, size_t n) {
  uint8_t head[9] = {(uint8_t)type};
  memcpy(head + 1, &(uint64_t){htole64(type == SQLITE_INTEGER ? (uint64_t)number : n)}, 8);
  hash_keyed_add(h, head, type == SQLITE_NULL ? 1 : sizeof head);
  if (n)
    hash_keyed_add(h, bytes, n);
}

static struct sum row_end(struct hash_keyed *h) {
  uint8_t hash[HASH_BYTES];
  hash_keyed_end(h, hash);
  return sum_of(hash);
}

/* A row that is about to go, or that is coming. */
static int row_changing(const struct store *s, const char *table, int (*value)(sqlite3 *, int, sqlite3_value **),
                        struct sum *ret) {
  struct hash_keyed h;
  const int columns = sqlite3_preupdate_count(s->db);
  row_start(s, &h, table, columns);
  for (int i = 0; i < columns; i++) {
    sqlite3_value *v = NULL;
    const int code = value(s->db, i, &v);
    if (code != SQLITE_OK)
      return (code & 0xff) == SQLITE_NOMEM ? -ENOMEM : -EUCLEAN;
    const int type = sqlite3_value_type(v);
    const bool has_bytes = type != SQLITE_INTEGER && type != SQLITE_NULL;
    const size_t n = has_bytes ? (size_t)sqlite3_value_bytes(v) : 0;
    const void *bytes = n ? sqlite3_value_blob(v) : NULL;
    if (n && !bytes)
      return -ENOMEM;
    row_value(&h, type, type == SQLITE_INTEGER ? sqlite3_value_int64(v) : 0, bytes, n);
  }
  *ret = row_end(&h);
  return 0;
}

/* The place of a table, or n. */
static size_t seal_find(const struct seal *seal, const char *table) {
  size_t low = 0, high = seal->n;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    const int order = strcmp(seal->names[middle], table);
    if (order == 0)
      return middle;
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return seal->n;
}

static bool is_own(const char *table) {
  return !strncmp(table, "sqlite_", 7);
}

/* Called by SQLite before it changes a row of any table but its own, whatever the statement or trigger. */
static void on_row(void *arg, sqlite3 *db, int op, const char *schema, const char *table, sqlite3_int64 was,
                   sqlite3_int64 becomes) {
  (void)db;
  (void)was;
  (void)becomes;
  struct store *s = arg;
  struct seal *seal = &s->seal;
  struct sum row;
  if (seal->err || strcmp(schema, "main") || !strcmp(table, "seal") || is_own(table))
    return;
  const size_t at = seal_find(seal, table);
  int r = at < seal->n ? 0 : -EUCLEAN; /* a table that came since the store was opened */
  if (r == 0 && op != SQLITE_INSERT && (r = row_changing(s, table, sqlite3_preupdate_old, &row)) == 0)
    sum_take(&seal->now[at], &row);
  if (r == 0 && op != SQLITE_DELETE && (r = row_changing(s, table, sqlite3_preupdate_new, &row)) == 0)
    sum_add(&seal->now[at], &row);
  seal->err = r;
}

/* The sum of what a query gives. -EUCLEAN: rows that cannot be read. */
static int sum_rows(struct store *s, const char *table, sqlite3_stmt *st, struct sum *ret, int64_t *ret_rows) {
  struct sum sum = {0};
  int64_t rows = 0;
  int code;
  while ((code = sqlite3_step(st)) == SQLITE_ROW) {
    struct hash_keyed h;
    const int columns = sqlite3_column_count(st);
    row_start(s, &h, table, columns);
    for (int i = 0; i < columns; i++) {
      const int type = sqlite3_column_type(st, i);
      const bool has_bytes = type != SQLITE_INTEGER && type != SQLITE_NULL;
      const void *bytes = has_bytes ? sqlite3_column_blob(st, i) : NULL;
      const size_t n = has_bytes ? (size_t)sqlite3_column_bytes(st, i) : 0;
      if (n && !bytes)
        return -ENOMEM;
      row_value(&h, type, type == SQLITE_INTEGER ? sqlite3_column_int64(st, i) : 0, bytes, n);
    }
    const struct sum row = row_end(&h);
    sum_add(&sum, &row);
    rows++;
  }
  if (code != SQLITE_DONE)
    return store_errno(s, code);
  *ret = sum;
  *ret_rows = rows;
  return 0;
}

/* The sum of a table's rows: the table itself is read, not an index that has all its columns. Of the schema what it
 * says, not where its tables lie. */
static int sum_table(struct store *s, const char *table, struct sum *ret, int64_t *ret_rows) {
  char *sql = !strcmp(table, "sqlite_schema")
                  ? sqlite3_mprintf("SELECT type, name, tbl_name, sql FROM sqlite_schema NOT INDEXED")
                  : sqlite3_mprintf("SELECT * FROM \"%w\" NOT INDEXED", table);
  sqlite3_stmt *st = NULL;
  int r = sql ? store_errno(s, sqlite3_prepare_v2(s->db, sql, -1, &st, NULL)) : -ENOMEM;
  sqlite3_free(sql);
  if (r == 0)
    r = sum_rows(s, table, st, ret, ret_rows);
  sqlite3_finalize(st);
  return r;
}

/* sqlite_sequence changes with every row that gets a number: read at each commit, so by a statement that is kept. */
static int sum_sequence(struct store *s, struct sum *ret) {
  int err = 0;
  int64_t rows;
  sqlite3_stmt *st = store_statement(s, "SELECT * FROM sqlite_sequence NOT INDEXED", &err);
  if (!st)
    return err;
  err = sum_rows(s, "sqlite_sequence", st, ret, &rows);
  store_reset(st);
  return err;
}

static int store_version(struct store *s) {
  struct rows r = store_query(s, "PRAGMA user_version", "");
  int v = rows_next(&r) ? (int)rows_int(&r, 0) : -1;
  int err = rows_finish(&r);
  return err < 0 ? err : v;
}

/* The rows of the table `seal` that are no table's: whose key it is, and the hash over all the others. */
#define SEAL_KEY "site.key"
#define SEAL_ALL ""

static void all_start(const struct store *s, struct hash_keyed *h, int version) {
  hash_keyed_start(h, s->key.seal);
  hash_number(h, (uint64_t)version);
}

static void all_add(struct hash_keyed *h, const char *name, const void *sum, size_t n) {
  hash_name(h, name);
  hash_number(h, n);
  hash_keyed_add(h, sum, n);
}

static int seal_set(struct store *s, const char *name, const uint8_t sum[static HASH_BYTES]) {
  int r = store_run(s, "INSERT INTO seal VALUES(?,?) ON CONFLICT(name) DO UPDATE SET sum = excluded.sum", "tb", name,
                    sum, (size_t)HASH_BYTES);
  return r < 0 ? r : 0;
}

/* Writes what changed since `kept`, or everything; inside the transaction that changed it. */
static int seal_write(struct store *s, bool everything) {
  struct seal *seal = &s->seal;
  uint8_t bytes[HASH_BYTES];
  bool changed = everything;
  int r = 0;
  for (size_t i = 0; i < seal->n && r == 0; i++)
    if (everything || memcmp(&seal->now[i], &seal->kept[i], sizeof *seal->now)) {
      sum_bytes(&seal->now[i], bytes);
      r = seal_set(s, seal->names[i], bytes);
      changed = true;
    }
  if (r < 0 || !changed || seal->broken)
    return r;
  struct hash_keyed h;
  const int version = store_version(s);
  if (version < 0)
    return version;
  all_start(s, &h, version);
  for (size_t i = 0; i < seal->n; i++) {
    sum_bytes(&seal->now[i], bytes);
    all_add(&h, seal->names[i], bytes, sizeof bytes);
  }
  hash_keyed_end(&h, bytes);
  return seal_set(s, SEAL_ALL, bytes);
}

/* A number may be used up by a row that did not stay: looked at also when all the others are as they were. */
static int seal_commit(struct store *s) {
  struct seal *seal = &s->seal;
  int r = sum_sequence(s, &seal->counts);
  if (r < 0)
    return r;
  sum_take(&seal->now[seal->sequence], &seal->counted);
  sum_add(&seal->now[seal->sequence], &seal->counts);
  return seal_write(s, false);
}

/* What the commit wrote is what the table `seal` has; what it did not is forgotten. */
static void seal_settle(struct store *s, bool committed) {
  struct seal *seal = &s->seal;
  if (!seal->n) /* a version from before there was one */
    return;
  if (committed)
    seal->counted = seal->counts;
  memcpy(committed ? seal->kept : seal->now, committed ? seal->now : seal->kept, seal_bytes(seal));
  seal->err = 0;
}

static void seal_free(struct seal *seal) {
  free(seal->names);
  free(seal->now);
  *seal = (struct seal){0};
}

/* Room for the tables that there are, in the order of their names. */
static int seal_names(struct store *s, struct seal *ret) {
  struct seal seal = {0};
  size_t bytes = 0;
  int err = 0;
  for (int pass = 0; pass < 2 && err == 0; pass++) {
    char *text = (char *)(seal.names + seal.n);
    size_t n = 0;
    struct rows r = store_query(s,
                                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'seal' UNION SELECT "
                                "'sqlite_schema' ORDER BY 1",
                                "");
    for (; rows_next(&r); n++) {
      const char *name = rows_text(&r, 0);
      const size_t size = name ? strlen(name) + 1 : 0;
      if (!size) {
        err = -EUCLEAN;
        break;
      }
      if (pass == 1) {
        seal.names[n] = memcpy(text, name, size);
        text += size;
        if (!strcmp(name, "sqlite_sequence"))
          seal.sequence = n;
      }
      bytes += pass == 0 ? size : 0;
    }
    const int query_err = rows_finish(&r);
    err = err ? err : query_err;
    if (pass == 0 && err == 0) {
      seal.n = n;
      seal.names = malloc(n * sizeof *seal.names + bytes);
      seal.now = calloc(4 * n, sizeof *seal.now);
      err = seal.names && seal.now ? 0 : -ENOMEM;
    }
  }
  if (err < 0) {
    seal_free(&seal);
    return err;
  }
  seal.before = seal.now + seal.n;
  seal.act = seal.before + seal.n;
  seal.kept = seal.act + seal.n;
  *ret = seal;
  return 0;
}

/* Reads the table `seal`. Its own hash must be right, and it must have the sums of the tables that there are: sets
 * *ret_whole. -EKEYREJECTED: it was made with another key. */
static int seal_read(struct store *s, struct seal *seal, struct sum *ret_sums, bool *ret_whole) {
  const int version = store_version(s);
  if (version < 0)
    return version;
  struct hash_keyed h;
  uint8_t all[HASH_BYTES], said[HASH_BYTES] = {0};
  bool has_key = false, is_other = false, whole = true;
  size_t found = 0;
  all_start(s, &h, version);
  struct rows r = store_query(s, "SELECT name, sum FROM seal NOT INDEXED ORDER BY name", "");
  while (rows_next(&r)) {
    size_t n, name_n = 0;
    const char *name = rows_text(&r, 0);
    rows_blob(&r, 0, &name_n);
    const uint8_t *sum = rows_blob(&r, 1, &n);
    const size_t at = name ? seal_find(seal, name) : seal->n;
    if (!name || strlen(name) != name_n || n != HASH_BYTES)
      whole = false;
    else if (!strcmp(name, SEAL_ALL))
      memcpy(said, sum, sizeof said);
    else if (!strcmp(name, SEAL_KEY)) {
      has_key = true;
      is_other = memcmp(sum, s->key.public, n) != 0;
    } else if (at == seal->n)
      whole = false;
    else {
      ret_sums[at] = sum_of(sum);
      all_add(&h, name, sum, n);
      found++;
    }
  }
  const int err = rows_finish(&r);
  if (err < 0 || is_other)
    return err < 0 ? err : -EKEYREJECTED;
  hash_keyed_end(&h, all);
  *ret_whole = whole && has_key && found == seal->n && equal_secret(all, said, sizeof all);
  return 0;
}

/* The sums as the table `seal` has them, at the start. What is cheap to look at is looked at now. */
static int seal_load(struct store *s) {
  struct seal seal;
  bool whole;
  int64_t rows;
  int r = seal_names(s, &seal);
  if (r < 0)
    return r;
  r = seal_read(s, &seal, seal.kept, &whole);
  if (r == 0)
    r = sum_sequence(s, &seal.counted);
  struct sum schema = {0};
  if (r == 0)
    r = sum_table(s, "sqlite_schema", &schema, &rows);
  if (r < 0) {
    seal_free(&seal);
    return r;
  }
  memcpy(seal.now, seal.kept, seal_bytes(&seal));
  seal.broken = !whole;
  if (!whole || memcmp(&schema, &seal.kept[seal_find(&seal, "sqlite_schema")], sizeof schema) ||
      memcmp(&seal.counted, &seal.kept[seal.sequence], sizeof seal.counted))
    log_error("store: it was changed by another than asaleed: see what \"asaleectl audit verify\" says");
  seal_free(&s->seal);
  s->seal = seal;
  return 0;
}

/* Seals the tables as they are: inside the transaction that makes them. */
static int seal_make(struct store *s) {
  struct seal seal;
  int64_t rows;
  int r = seal_names(s, &seal);
  if (r < 0)
    return r;
  for (size_t i = 0; i < seal.n && r == 0; i++)
    r = sum_table(s, seal.names[i], &seal.now[i], &rows);
  seal.counts = seal.now[seal.sequence];
  seal_free(&s->seal);
  s->seal = seal;
  if (r == 0)
    r = store_exec(s, "DELETE FROM seal");
  if (r == 0)
    r = seal_set(s, SEAL_KEY, s->key.public);
  return r < 0 ? r : seal_write(s, true);
}

static bool seal_is_there(struct store *s) {
  struct rows r = store_query(s, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'seal'", "");
  const bool there = rows_next(&r);
  return rows_finish(&r) == 0 && there;
}

/* Every reference from one table to another names a row that is there. */
static bool store_refers_well(struct store *s) {
  struct rows r = store_query(s, "SELECT 1 FROM pragma_foreign_key_check LIMIT 1", "");
  bool broken = rows_next(&r);
  return rows_finish(&r) == 0 && !broken;
}

static int store_is_sound(struct store *s, bool *ret) {
  struct rows r = store_query(s, "PRAGMA integrity_check(1)", "");
  const char *said = rows_next(&r) ? rows_text(&r, 0) : NULL;
  const bool sound = said && !strcmp(said, "ok");
  const int err = rows_finish(&r);
  if (err == -ENOMEM)
    return err;
  *ret = err == 0 && sound && store_refers_well(s);
  return 0;
}

int store_verify(struct store *s, struct store_check *ret) {
  struct seal *seal = &s->seal;
  struct store_check c = {0};
  bool whole = false;
  struct sum counted;
  _free_cleanup_ struct sum *sums = calloc(seal->n, sizeof *sums);
  int r = sums ? seal_read(s, seal, sums, &whole) : -ENOMEM;
  if (r == 0 && (!whole || seal->broken || memcmp(sums, seal->kept, seal_bytes(seal))))
    str_copy(c.table, sizeof c.table, "seal");
  if (r == 0)
    r = sum_sequence(s, &counted);
  if (r < 0)
    return r;
  for (size_t i = 0; i < seal->n; i++) {
    struct sum sum = {0}, said = seal->now[i];
    int64_t rows = 0;
    if (i == seal->sequence) { /* as it will be written at the next commit */
      sum_take(&said, &seal->counted);
      sum_add(&said, &counted);
    }
    r = sum_table(s, seal->names[i], &sum, &rows);
    if (r == -ENOMEM)
      return r;
    c.rows += rows;
    /* SQLite's own tables after the others, whose changes they may follow. */
    const bool differs = r < 0 || memcmp(&sum, &said, sizeof sum);
    if (differs && (!c.table[0] || (is_own(c.table) && !is_own(seal->names[i]))))
      snprintf(c.table, sizeof c.table, "%s", seal->names[i]);
  }
  r = store_is_sound(s, &c.consistent);
  if (r < 0)
    return r;
  c.ok = !c.table[0] && c.consistent;
  *ret = c;
  return 0;
}

int store_sum(const struct store *s, const char *const *tables, uint8_t ret[static HASH_BYTES]) {
  struct sum sum = {0};
  for (; *tables; tables++) {
    const size_t at = seal_find(&s->seal, *tables);
    if (at == s->seal.n)
      return -ENOENT;
    sum_add(&sum, &s->seal.now[at]);
  }
  sum_bytes(&sum, ret);
  return 0;
}

const struct site_key *store_site_key(const struct store *s) {
  return &s->key;
}

/* ---- acts and commits ---- */

/* A statement of every act, prepared once. */
static int store_say(struct store *s, const char *sql) {
  int r = 0;
  sqlite3_stmt *st = store_statement(s, sql, &r);
  if (!st)
    return r;
  r = store_errno(s, sqlite3_step(st));
  store_reset(st);
  return r;
}

int store_begin(struct store *s) {
  int r = s->lost ? s->lost : s->seal.err;
  if (r == 0 && !s->in_transaction) {
    r = store_say(s, "BEGIN IMMEDIATE");
    s->in_transaction = r == 0;
  }
  if (r == 0)
    r = store_say(s, "SAVEPOINT act");
  s->in_act = r == 0;
  if (r == 0)
    memcpy(s->seal.act, s->seal.now, seal_bytes(&s->seal));
  return r;
}

int store_keep(struct store *s) {
  s->in_act = false;
  return s->lost ? s->lost : store_say(s, "RELEASE act");
}

void store_undo(struct store *s) {
  /* SQLite itself rolls the whole transaction back on some errors (full disk, I/O); then the earlier acts of this
   * turn are gone too: no other begins until store_commit() has said so to everyone who waits. */
  if (s->in_act && !s->lost) {
    s->seal.err = store_exec(s, "ROLLBACK TO act; RELEASE act");
    memcpy(s->seal.now, s->seal.act, seal_bytes(&s->seal));
  }
  s->in_act = false;
}

bool store_is_dirty(const struct store *s) {
  return s->in_transaction;
}

/* The whole log into the database, and its file cut to nothing. */
static int log_put_away(struct store *s) {
  return store_errno(s, sqlite3_wal_checkpoint_v2(s->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL));
}

static void log_put_away_late(struct store *s) {
  if (!s->unsettled || s->frozen || s->in_transaction || monotonic_us() < s->settle_from)
    return;
  int r = log_put_away(s);
  s->unsettled = r < 0;
  s->settle_from = r < 0 ? monotonic_us() + LOG_RETRY_US : 0;
  if (r < 0)
    log_errno(LOG_WARNING, r, "store: its log stays longer, with traces of what was erased");
}

static int on_log(void *arg, sqlite3 *db, const char *schema, int pages) {
  (void)db;
  (void)schema;
  ((struct store *)arg)->log_pages = pages;
  return SQLITE_OK;
}

/* Putting the log away may make the database as much larger as the log is: done too late there is no room for that, and
 * so never again any. */
static void log_watch(struct store *s) {
  struct statvfs disk;
  const uint64_t log = (uint64_t)s->log_pages * (4096 + 24);
  const bool known = statvfs(sqlite3_db_filename(s->db, "main"), &disk) == 0;
  if (!s->strained || (log <= LOG_FROZEN_MAX && known && disk.f_bavail * disk.f_frsize >= log + LOG_FROZEN_ROOM))
    return;
  void (*strained)(void *) = s->strained;
  s->strained = NULL;
  strained(s->strained_arg);
}

int store_commit(struct store *s) {
  int r = 0;
  if (s->in_transaction) {
    r = s->lost ? s->lost : s->seal.err ? s->seal.err : seal_commit(s);
    if (r == 0)
      r = store_say(s, "COMMIT");
    if (r < 0 && !sqlite3_get_autocommit(s->db))
      store_exec(s, "ROLLBACK");
    seal_settle(s, r == 0);
    s->in_transaction = false;
    s->lost = 0;
    if (r < 0 && s->health != r)
      log_errno(LOG_ERROR, r, "store: cannot commit");
    s->health = r;
    if (r == 0)
      log_put_away_late(s);
    if (s->frozen)
      log_watch(s);
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

int store_settle(struct store *s) {
  int r = s->in_transaction || s->frozen ? -EBUSY : log_put_away(s);
  s->unsettled = r < 0;
  return r;
}

/* In WAL mode nothing but a checkpoint writes into the database's file. It is not enough to make none: after one that
 * was complete the next commit begins the log anew, over the frames of before. So it is the file alone that is read,
 * with all of the log in it. */
int store_freeze(struct store *s, void (*strained)(void *arg), void *arg) {
  if (s->in_transaction || s->frozen)
    return -EBUSY;
  int r = log_put_away(s);
  if (r < 0)
    return r;
  sqlite3_wal_hook(s->db, on_log, s); /* in the place of SQLite's own, which puts the log away by itself */
  s->log_pages = 0;
  s->strained = strained;
  s->strained_arg = arg;
  s->frozen = true;
  return 0;
}

void store_thaw(struct store *s) {
  sqlite3_wal_autocheckpoint(s->db, LOG_PAGES);
  s->frozen = false;
  s->strained = NULL;
  s->unsettled = true;
  s->settle_from = 0;
  log_put_away_late(s);
}

int store_health(const struct store *s) {
  return s->health;
}

/* ---- opening ---- */

/* One version further. Foreign keys are off meanwhile: a table that is made anew is dropped while others refer to it.
 */
static int migrate_once(struct store *s, int version) {
  char set[64];
  snprintf(set, sizeof set, "PRAGMA user_version = %d", version + 1);
  int r = store_exec(s, schema_migrations[version]);
  if (r == 0 && !store_refers_well(s)) {
    log_error("store: its version %d refers to what is not there: not brought to version %d", version, version + 1);
    r = -EUCLEAN;
  }
  if (r == 0)
    r = store_exec(s, set);
  return r == 0 && seal_is_there(s) ? seal_make(s) : r;
}

static int store_migrate(struct store *s) {
  int version = store_version(s), newest = 0;
  while (schema_migrations[newest])
    newest++;
  if (version > newest) {
    log_error("store: its schema is version %d, newer than this program's %d: install the newer program", version,
              newest);
    return -EINVAL;
  }
  /* What somebody changed must not be sealed anew as if it had always been so. */
  struct store_check check = {.ok = true};
  int r = version >= 0 && version < newest && s->seal.n ? store_verify(s, &check) : 0;
  if (r == 0 && !check.ok) {
    log_error("store: %s is not as it was sealed: not brought from version %d to version %d",
              check.table[0] ? check.table : "the database", version, newest);
    r = -EUCLEAN;
  }
  for (; r == 0 && version >= 0 && version < newest; version++) {
    r = store_exec(s, "BEGIN IMMEDIATE");
    s->in_transaction = r == 0;
    if (r == 0)
      r = migrate_once(s, version);
    if (r == 0)
      r = store_exec(s, "COMMIT");
    if (r < 0)
      store_exec(s, "ROLLBACK");
    s->in_transaction = false;
    seal_settle(s, r == 0);
  }
  return version < 0 ? version : r;
}

/* The key with which the tables are sealed; a store that is not sealed yet gets one. */
static int store_unlock(struct store *s, const char *dir, bool sealed) {
  int r = site_key_open(dir, !sealed, &s->key);
  const char *what = r == -ENOKEY ? "is gone" : r == -EUCLEAN ? "is damaged" : NULL;
  if (r == 0 && sealed && (r = seal_load(s)) == -EKEYREJECTED)
    what = "is not the key of this store";
  if (what)
    log_error("store: %s/site.key %s: put site.key back from the backup of this store", dir, what);
  return r;
}

/* "file:" and the path, with what a URI does not have as it is in its place, and that the file does not change. */
static bool frozen_uri(const char *path, char *ret, size_t size) {
  static const char head[] = "file:", tail[] = "?immutable=1";
  size_t at = sizeof head - 1;
  memcpy(ret, head, at);
  for (; *path && at + 3 + sizeof tail <= size; path++) {
    const uint8_t byte = (uint8_t)*path;
    if (strchr("%?#", byte)) {
      ret[at++] = '%';
      str_hex(&byte, 1, ret + at);
      at += 2;
    } else {
      ret[at++] = *path;
    }
  }
  memcpy(ret + at, tail, sizeof tail);
  return !*path;
}

int store_snapshot(const struct store *s, struct store **ret) {
  char uri[4096];
  if (!s->frozen)
    return -EINVAL;
  if (!frozen_uri(sqlite3_db_filename(s->db, "main"), uri, sizeof uri))
    return -ENAMETOOLONG;
  struct store *x = calloc(1, sizeof *x);
  if (!x)
    return -ENOMEM;
  x->key = s->key;
  x->seal = s->seal; /* nothing is changed in either */
  /* "unix-none" knows nothing of the connection that this process has by inheritance, nor of its locks. */
  int r = store_errno(
      x, sqlite3_open_v2(uri, &x->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, "unix-none"));
  if (r == 0)
    r = store_exec(x, "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                      "PRAGMA cache_size = " SNAPSHOT_CACHE "; PRAGMA temp_store = MEMORY");
  if (r < 0) {
    sqlite3_close(x->db);
    free(x);
    return r;
  }
  *ret = x;
  return 0;
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
  int r = access(path, F_OK) < 0 && errno == ENOENT ? store_unlock(s, dir, false) : 0; /* before what it protects */
  mode_t mask = umask(0077);
  if (r == 0)
    r = store_errno(
        s, sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL));
  umask(mask);
  /* EXCLUSIVE: this process is the only one, which also keeps the WAL index out of shared memory. FULL: a commit
   * that was answered survives a power cut. Recursive triggers: a row that is replaced is a row removed, which the
   * append-only rules must see. The cache is small because the queue's index pages are what is read. */
  if (r == 0)
    r = store_exec(s, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                      "PRAGMA foreign_keys = OFF; PRAGMA recursive_triggers = ON; PRAGMA trusted_schema = OFF;"
                      "PRAGMA cell_size_check = ON; PRAGMA secure_delete = ON; PRAGMA cache_size = -2048; PRAGMA "
                      "temp_store = MEMORY");
  if (r == 0)
    r = store_unlock(s, dir, seal_is_there(s));
  if (r == 0)
    r = store_migrate(s);
  if (r == 0 && !s->seal.n) {
    log_error("store: its seal is gone");
    r = -EUCLEAN;
  }
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
  sqlite3_wal_autocheckpoint(s->db, LOG_PAGES);
  s->unsettled = true; /* of a run that was killed, with traces of what it had erased */
  log_put_away_late(s);
  sqlite3_preupdate_hook(s->db, on_row, s);
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
  seal_free(&s->seal);
  site_key_close(&s->key);
  free(s->waiters);
  free(s);
}
