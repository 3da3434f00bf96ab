/* The physical limit of durable writes: a loop that does what one POST /v1/orders leaves in the store, the same rows
 * of the same sizes under the same PRAGMAs, one commit (one fsync) for every GROUP of them, and nothing else: no HTTP,
 * no JSON, no authentication, no hash, no checks.
 *
 *   bare_store DIR SECONDS GROUP [FILES | ask]
 *
 * DIR holds a store that asaleed has made (so the schema, its indexes and triggers are asaleed's) with one patient and
 * one order of its own: what was written for that order is what is written again. With FILES ("kind=bytes,...") each
 * commit also stores such artefacts: written under a temporary name, fsynced, renamed, folder fsynced, a row.
 * With "ask" another process asks for each commit and waits for its answer, over a Unix socket: the limit for one
 * client. Prints: writes seconds. */
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 8

static sqlite3 *db;

__attribute__((noreturn)) static void die(const char *what) {
  fprintf(stderr, "bare_store: %s: %s\n", what, db ? sqlite3_errmsg(db) : "");
  exit(1);
}

static sqlite3_stmt *prepare(const char *sql) {
  sqlite3_stmt *s;
  if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL) != SQLITE_OK)
    die(sql);
  return s;
}

static void step(sqlite3_stmt *s) {
  int code = sqlite3_step(s);
  if (code != SQLITE_DONE && code != SQLITE_ROW)
    die(sqlite3_sql(s));
  sqlite3_reset(s);
}

static void run(const char *sql) {
  if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
    die(sql);
}

/* INSERT of a row of the table that is there once more, with other values in the columns a and b (b may be "");
 * whatever columns the schema has. */
static sqlite3_stmt *again2(const char *table, const char *a, const char *a_value, const char *b, const char *b_value,
                            const char *where) {
  char sql[2048] = "", values[1024] = "";
  sqlite3_stmt *columns = prepare("SELECT name FROM pragma_table_info(?1)");
  sqlite3_bind_text(columns, 1, table, -1, SQLITE_STATIC);
  snprintf(sql, sizeof sql, "INSERT INTO %s(", table);
  for (bool first = true; sqlite3_step(columns) == SQLITE_ROW; first = false) {
    const char *name = (const char *)sqlite3_column_text(columns, 0);
    const char *value = !strcmp(name, a) ? a_value : !strcmp(name, b) ? b_value : name;
    snprintf(sql + strlen(sql), sizeof sql - strlen(sql), "%s%s", first ? "" : ", ", name);
    snprintf(values + strlen(values), sizeof values - strlen(values), "%s%s", first ? "" : ", ", value);
  }
  sqlite3_finalize(columns);
  snprintf(sql + strlen(sql), sizeof sql - strlen(sql), ") SELECT %s FROM %s WHERE %s", values, table, where);
  return prepare(sql);
}

static sqlite3_stmt *again(const char *table, const char *column, const char *value, const char *where) {
  return again2(table, column, value, "", "", where);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct {
  char kind[16];
  size_t bytes;
} files[FILES_MAX];
static unsigned n_files;

static void read_files(char *text) {
  for (char *one = strtok(text, ","); one && n_files < FILES_MAX; one = strtok(NULL, ","), n_files++)
    if (sscanf(one, "%15[a-z]=%zu", files[n_files].kind, &files[n_files].bytes) != 2)
      die("FILES");
}

/* The name is what the hash would be; the bytes differ, as no two readings are alike. */
static void put_file(int root, uint64_t n, unsigned i, char name[65]) {
  static char bytes[16 << 20];
  char shelf[3], temporary[80];
  snprintf(name, 65, "%02x%046llx%016llx", (unsigned)(n * 7 + i) & 0xff, 0xbe9c4ull << 20 | i, (unsigned long long)n);
  memcpy(bytes, name, 64);
  snprintf(shelf, sizeof shelf, "%.2s", name);
  snprintf(temporary, sizeof temporary, "%.64s.new", name);
  mkdirat(root, shelf, 0700);
  int folder = openat(root, shelf, O_RDONLY | O_DIRECTORY), fd;
  if (folder < 0 || (fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL, 0400)) < 0 ||
      write(fd, bytes, files[i].bytes) != (ssize_t)files[i].bytes || fsync(fd) < 0 || close(fd) < 0 ||
      renameat(folder, temporary, folder, name) < 0 || fsync(folder) < 0 || close(folder) < 0)
    die(name);
}

#define QUESTION 250 /* bytes of an order's request and of its answer */
#define ANSWER 1000

/* Starts the process that asks; its end of the line. */
static int start_asking(pid_t *ret) {
  static char bytes[ANSWER];
  int line[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, line) < 0 || (*ret = fork()) < 0)
    die("fork");
  if (*ret == 0) {
    while (write(line[1], bytes, QUESTION) == QUESTION && read(line[1], bytes, ANSWER) == ANSWER)
      ;
    _exit(0);
  }
  close(line[1]);
  return line[0];
}

int main(int argc, char **argv) {
  if (argc < 4)
    return 2;
  char path[4096];
  double seconds = strtod(argv[2], NULL);
  int group = atoi(argv[3]);
  char bytes[ANSWER] = "";
  pid_t asker = 0;
  int line = -1;
  if (argc > 4 && !strcmp(argv[4], "ask"))
    line = start_asking(&asker);
  else if (argc > 4)
    read_files(argv[4]);
  snprintf(path, sizeof path, "%s/asaleed.db", argv[1]);
  if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
    die(path);
  run("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
      "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA cache_size = -2048;"
      "PRAGMA temp_store = MEMORY");
  snprintf(path, sizeof path, "%s/artefacts", argv[1]);
  mkdir(path, 0700);
  int root = open(path, O_RDONLY | O_DIRECTORY);
  sqlite3_stmt *begin = prepare("BEGIN IMMEDIATE"), *commit = prepare("COMMIT"),
               *order = again("orders", "id", "NULL", "id = 1"),
               *study = again2("study", "id", "NULL", "orders", "last_insert_rowid()", "id = 1"),
               *audit = again("audit", "seq", "(SELECT max(seq) + 1 FROM audit)", "action = 'order' LIMIT 1"),
               *change = again("change", "seq", "NULL", "kind = 'study' LIMIT 1"),
               *answered = again("answered", "key", "?1", "status = 201 AND body LIKE '%\"study\"%' LIMIT 1"),
               *artefact = prepare("INSERT INTO artefact(sha256, kind, bytes, at) VALUES(?1, ?2, ?3, 1)");
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  uint64_t n = (uint64_t)t.tv_sec << 30 | (uint64_t)t.tv_nsec; /* of no earlier run */
  uint64_t done = 0;
  double start = now(), end = start + seconds;
  while (now() < end) {
    char names[FILES_MAX][65];
    if (line >= 0 && read(line, bytes, QUESTION) != QUESTION)
      die("read");
    for (unsigned i = 0; i < n_files; i++)
      put_file(root, n, i, names[i]);
    step(begin);
    for (int g = 0; g < group; g++) {
      char key[40];
      snprintf(key, sizeof key, "bare-%016llx", (unsigned long long)n++);
      step(order);
      step(study);
      step(audit);
      step(change);
      sqlite3_bind_text(answered, 1, key, -1, SQLITE_STATIC);
      step(answered);
      if (sqlite3_changes(db) != 1)
        die("the store has no order to write again");
      done++;
    }
    for (unsigned i = 0; i < n_files; i++) {
      sqlite3_bind_text(artefact, 1, names[i], -1, SQLITE_STATIC);
      sqlite3_bind_text(artefact, 2, files[i].kind, -1, SQLITE_STATIC);
      sqlite3_bind_int64(artefact, 3, (sqlite3_int64)files[i].bytes);
      step(artefact);
    }
    step(commit);
    if (line >= 0 && write(line, bytes, ANSWER) != ANSWER)
      die("write");
  }
  if (asker > 0)
    kill(asker, SIGKILL);
  printf("%llu %.6f\n", (unsigned long long)done, now() - start);
  return 0;
}
