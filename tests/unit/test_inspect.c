/* Looking at the whole store from another process while this one goes on writing: what is seen, what becomes of the
 * store, whoever is killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"
#include "buf.h"
#include "inspect.h"
#include "wall.h"
#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#define PATIENCE_US (60 * WALL_SECOND)
#define FAST_US 300000

static struct {
  sd_event *event;
  struct inspector *inspector;
  bool no_fork, fast;
  pid_t pid;     /* of the process that was forked last */
  uint64_t room; /* what the disk has, 0 = what it has */
} bed;

static const struct actor nurse = {.name = "ines"};

/* ---- the stand-ins ---- */

pid_t fork(void) {
  pid_t (*real)(void);
  *(void **)(void *)&real = dlsym(RTLD_NEXT, "fork");
  if (bed.no_fork) {
    errno = EAGAIN;
    return -1;
  }
  return bed.pid = real();
}

int sd_event_add_time_relative(sd_event *e, sd_event_source **ret, clockid_t clock, uint64_t usec, uint64_t accuracy,
                               sd_event_time_handler_t callback, void *arg) {
  assert_int_equal(usec, INSPECT_S * WALL_SECOND);
  return sd_event_add_time(e, ret, clock, monotonic_us() + (bed.fast ? FAST_US : usec), bed.fast ? 1 : accuracy,
                           callback, arg);
}

int statvfs(const char *path, struct statvfs *ret) {
  int (*real)(const char *, struct statvfs *);
  *(void **)(void *)&real = dlsym(RTLD_NEXT, "statvfs");
  int r = real(path, ret);
  if (r == 0 && bed.room)
    ret->f_bavail = bed.room / ret->f_frsize;
  return r;
}

/* ---- the bed ---- */

static int on_turn(sd_event_source *source, void *arg) {
  (void)source;
  struct store_bed *b = arg;
  return store_is_dirty(b->store) ? store_commit(b->store) : 0;
}

static void up(struct store_bed *b) {
  bed_up(b);
  assert_true(sd_event_new(&bed.event) >= 0);
  assert_true(sd_event_add_post(bed.event, NULL, on_turn, b) >= 0);
  assert_int_equal(inspector_open(bed.event, b->store, b->artefacts, &bed.inspector), 0);
}

static void down(struct store_bed *b) {
  inspector_close(bed.inspector);
  bed.event = sd_event_unref(bed.event);
  bed_down(b);
}

static int setup(void **state) {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  if (sigprocmask(SIG_BLOCK, &child, NULL) < 0 || bed_setup(state) < 0)
    return -1;
  bed_down(*state);
  up(*state);
  return 0;
}

static int teardown(void **state) {
  struct store_bed *b = *state;
  bed.no_fork = bed.fast = false;
  bed.room = 0;
  down(b);
  bed_up(b);
  return bed_teardown(state);
}

static void add(struct store_bed *b, unsigned commits) {
  for (unsigned i = 0; i < commits; i++) {
    bed_begin(b);
    assert_int_equal(audit_add(b->store, &nurse, "study.accept", "R-1", json_pack("{s:s}", "patient", "P-1")), 0);
    bed_keep(b);
  }
}

static void fill(struct store_bed *b, unsigned rows) {
  bed_begin(b);
  for (unsigned i = 0; i < rows; i++)
    assert_int_equal(audit_add(b->store, &nurse, "read", "R-1", json_pack("{s:s}", "patient", "P-1")), 0);
  bed_keep(b);
}

static int64_t rows_of(struct store_bed *b) {
  return bed_int(b, "SELECT count(*) FROM audit");
}

static int64_t size_of(struct store_bed *b, const char *name) {
  struct stat st;
  assert_int_equal(stat(bed_path(b, name), &st), 0);
  return st.st_size;
}

static void hash_of(struct store_bed *b, const char *name, char ret[static HASH_TEXT]) {
  FILE *f = fopen(bed_path(b, name), "re");
  struct hash_stream h;
  uint8_t bytes[65536];
  size_t n;
  assert_non_null(f);
  hash_start(&h);
  while ((n = fread(bytes, 1, sizeof bytes, f)))
    hash_add(&h, bytes, n);
  fclose(f);
  hash_text(&h, ret);
}

/* ---- the snapshot ---- */

static int add_to_hash(void *arg, const void *bytes, size_t n) {
  hash_add(arg, bytes, n);
  return 0;
}

static bool export_hash(struct store *s, struct artefacts *a, char ret[static HASH_TEXT]) {
  struct hash_stream h;
  hash_start(&h);
  int r = audit_export(s, a, 1, add_to_hash, &h);
  hash_text(&h, ret);
  return r == 0;
}

static bool is_as(struct store *s, struct artefacts *a, const struct audit_check *check, const char *lines) {
  struct audit_check now = {0};
  char hash[HASH_TEXT];
  return audit_verify(s, a, &now) == 0 && now.ok && now.rows == check->rows && !strcmp(now.head, check->head) &&
         now.seal.rows == check->seal.rows && export_hash(s, a, hash) && !strcmp(hash, lines);
}

static void add_until_checkpoint(struct store_bed *b) {
  struct stat before, now;
  assert_int_equal(stat(bed_path(b, "asaleed.db"), &before), 0);
  do {
    add(b, 1);
    assert_int_equal(stat(bed_path(b, "asaleed.db"), &now), 0);
  } while (!memcmp(&before.st_mtim, &now.st_mtim, sizeof now.st_mtim));
}

/* The copy: looks, from when it is told on, before and after what the other commits meanwhile, and tries to write. */
static _Noreturn void look(const struct store_bed *b, const struct audit_check *check, const char *lines, int go,
                           int done) {
  struct store *s;
  struct artefacts *a;
  int status = 1;
  char c;
  if (read(go, &c, 1) != 1)
    status = 4;
  if (store_snapshot(b->store, &s) == 0 && artefacts_look(b->dir, &a) == 0)
    status = is_as(s, a, check, lines) ? 0 : 2;
  if (status == 0 && store_begin(s) == 0)
    status = 3;
  if (write(done, "1", 1) != 1 || read(go, &c, 1) != 1)
    status = 4;
  if (status == 0 && !is_as(s, a, check, lines))
    status = 5;
  _exit(status);
}

/* Whatever the log held when it was frozen: nothing, little, or all of it in the database already, when the next commit
 * begins it anew. */
static void test_snapshot(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  int64_t longest = 0;
  srand(7);
  for (int round = 0; round < 16; round++) {
    char lines[HASH_TEXT], before[HASH_TEXT], after[HASH_TEXT];
    struct audit_check check;
    int go[2], done[2], status;
    char c;
    if (round == 8) { /* archives too */
      bed_begin(b);
      assert_true(audit_archive(b->store, b->artefacts, INT64_MAX, INT64_MAX, sha, &(bool){0}) > 0);
      bed_keep(b);
    }
    add(b, round % 4 ? (unsigned)rand() % 150 : 0);
    if (round % 4 == 1) /* all of the log is in the database: the next commit begins it anew */
      add_until_checkpoint(b);
    assert_int_equal(audit_verify(b->store, b->artefacts, &check), 0);
    assert_true(export_hash(b->store, b->artefacts, lines));
    assert_int_equal(store_freeze(b->store, NULL, NULL), 0);
    assert_int_equal(store_freeze(b->store, NULL, NULL), -EBUSY);
    hash_of(b, "asaleed.db", before);
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(done), 0);
    const pid_t pid = fork();
    if (pid == 0)
      look(b, &check, lines, go[0], done[1]);
    if (round % 2) /* committed before it looks */
      add(b, 20);
    assert_int_equal(write(go[1], "1", 1), 1);
    assert_int_equal(read(done[0], &c, 1), 1);
    bed_begin(b);
    assert_int_equal(audit_add(b->store, &nurse, "not.kept", "", NULL), 0);
    store_undo(b->store);
    add(b, round == 15 ? 1500 : 100);
    longest = size_of(b, "asaleed.db-wal") > longest ? size_of(b, "asaleed.db-wal") : longest;
    hash_of(b, "asaleed.db", after);
    assert_string_equal(before, after);
    assert_int_equal(write(go[1], "1", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status)
      fail_msg("round %d: %#x", round, status);
    store_thaw(b->store);
    assert_int_equal(size_of(b, "asaleed.db-wal"), 0);
    for (int i = 0; i < 2; i++)
      close(go[i]), close(done[i]);
    assert_int_equal(audit_verify(b->store, b->artefacts, &check), 0);
    assert_true(check.ok);
  }
  assert_true(longest > 4 << 20); /* the log was kept whole, */
  add(b, 1500);
  assert_true(size_of(b, "asaleed.db-wal") < 8 << 20); /* and is put away by itself again */
  struct store *s;
  assert_int_equal(store_snapshot(b->store, &s), -EINVAL);
}

/* A path with what a URI has for itself. */
static void test_snapshot_path(void **state) {
  struct store_bed *b = *state;
  char dir[128];
  struct store *s, *x;
  snprintf(dir, sizeof dir, "%s/a?b#c%%64 é", b->dir);
  assert_int_equal(mkdir(dir, 0700), 0);
  assert_int_equal(store_open(dir, &s), 0);
  assert_int_equal(store_freeze(s, NULL, NULL), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    struct store_check check;
    _exit(!(store_snapshot(s, &x) == 0 && store_verify(x, &check) == 0 && check.ok));
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  store_close(s); /* a frozen store ends as any other */
  assert_int_equal(store_open(dir, &s), 0);
  store_close(s);
}

#define MARK "Zv8-mark-of-what-was-erased-Zv8"

static void forget_mark(struct store *s) {
  assert_int_equal(store_begin(s), 0);
  assert_int_equal(
      store_run(
          s,
          "INSERT INTO answered(actor, key, request, status, body, at) VALUES('a', 'key-key-1', x'00', 200, '" MARK
          "', 1)",
          ""),
      1);
  assert_int_equal(store_keep(s), 0);
  assert_int_equal(store_commit(s), 0);
  assert_int_equal(store_settle(s), 0);
}

static void delete_mark(struct store *s) {
  assert_int_equal(store_begin(s), 0);
  assert_int_equal(store_run(s, "DELETE FROM answered WHERE key = 'key-key-1'", ""), 1);
  assert_int_equal(store_keep(s), 0);
}

static bool mark_is_there(struct store_bed *b) {
  return bed_holds(b, MARK, strlen(MARK));
}

/* What cannot be put away now is put away later, by itself. */
static void test_settle(void **state) {
  struct store_bed *b = *state;
  forget_mark(b->store);
  assert_true(mark_is_there(b));
  assert_int_equal(store_freeze(b->store, NULL, NULL), 0);
  delete_mark(b->store);
  assert_int_equal(store_commit(b->store), 0);
  assert_int_equal(store_settle(b->store), -EBUSY);
  assert_true(mark_is_there(b));
  store_thaw(b->store);
  assert_false(mark_is_there(b));
  /* In an act; and thawed in one. */
  forget_mark(b->store);
  delete_mark(b->store);
  assert_int_equal(store_settle(b->store), -EBUSY);
  assert_true(mark_is_there(b));
  assert_int_equal(store_commit(b->store), 0);
  assert_false(mark_is_there(b));
  forget_mark(b->store);
  assert_int_equal(store_freeze(b->store, NULL, NULL), 0);
  delete_mark(b->store);
  assert_int_equal(store_settle(b->store), -EBUSY);
  store_thaw(b->store);
  assert_true(mark_is_there(b));
  assert_int_equal(store_commit(b->store), 0);
  assert_false(mark_is_there(b));
  /* Of a run that was killed before. */
  forget_mark(b->store);
  down(b);
  const pid_t pid = fork();
  if (pid == 0) {
    struct store *s;
    if (store_open(b->dir, &s) == 0 && store_freeze(s, NULL, NULL) == 0) {
      delete_mark(s);
      if (store_commit(s) == 0 && store_settle(s) == -EBUSY)
        raise(SIGKILL);
    }
    _exit(1);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status));
  assert_true(mark_is_there(b));
  up(b);
  assert_false(mark_is_there(b));
}

/* ---- the inspector ---- */

struct answer {
  int calls, err;
  struct audit_check check;
  uint64_t bytes;
};

static void on_verified(void *arg, int err, const struct audit_check *check) {
  struct answer *a = arg;
  a->calls++;
  a->err = err;
  assert_int_equal(check == NULL, err != 0);
  if (check)
    a->check = *check;
}

static void on_exported(void *arg, int err, uint64_t bytes) {
  struct answer *a = arg;
  a->calls++;
  a->err = err;
  a->bytes = bytes;
}

static void wait_for(const struct answer *a) {
  const uint64_t until = monotonic_us() + PATIENCE_US;
  assert_int_equal(a->calls, 0);
  assert_true(inspector_is_busy(bed.inspector));
  while (!a->calls && monotonic_us() < until)
    assert_true(sd_event_run(bed.event, WALL_SECOND) >= 0);
  assert_int_equal(a->calls, 1);
}

static struct answer verify(void) {
  struct answer a = {0};
  assert_int_equal(inspect_verify(bed.inspector, on_verified, &a), 0);
  wait_for(&a);
  return a;
}

/* Every file of an archive keeps whoever opens it waiting, until this is undone. */
static char kept[512], kept_apart[520];

static void hold(struct store_bed *b) {
  char sha[HASH_TEXT], name[128];
  bed_begin(b);
  assert_true(audit_archive(b->store, b->artefacts, INT64_MAX, INT64_MAX, sha, &(bool){0}) > 0);
  bed_keep(b);
  snprintf(name, sizeof name, "artefacts/%.2s/%s", sha, sha);
  snprintf(kept, sizeof kept, "%s", bed_path(b, name));
  snprintf(kept_apart, sizeof kept_apart, "%s.apart", kept);
  assert_int_equal(rename(kept, kept_apart), 0);
  assert_int_equal(mkfifo(kept, 0600), 0);
}

static void let_go(void) {
  assert_int_equal(rename(kept_apart, kept), 0);
}

/* The loop turns until the process of the job runs, and waits for nothing but that file. */
static void wait_until_held(void) {
  char path[64], line[512];
  bed.pid = 0;
  while (!bed.pid)
    assert_true(sd_event_run(bed.event, 0) >= 0);
  snprintf(path, sizeof path, "/proc/%d/stat", (int)bed.pid);
  for (int asleep = 0; asleep < 10; usleep(500)) {
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    asleep = strstr(line, ") S ") ? asleep + 1 : 0;
  }
}

static void check_store(struct store_bed *b) {
  struct audit_check check;
  assert_int_equal(audit_verify(b->store, b->artefacts, &check), 0);
  assert_true(check.ok);
  assert_int_equal(size_of(b, "asaleed.db-wal"), 0);
}

static int on_write(sd_event_source *source, uint64_t usec, void *arg) {
  (void)usec;
  add(arg, 5);
  sd_event_source_set_time(source, monotonic_us() + 3000);
  return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void test_verify(void **state) {
  struct store_bed *b = *state;
  sd_event_source *writer;
  struct answer a;
  a = verify();
  assert_int_equal(a.err, 0);
  assert_true(a.check.ok);
  assert_int_equal(a.check.rows, 0);
  fill(b, 500);
  /* What was kept in the same turn is in it, what comes after is not. */
  a = (struct answer){0};
  bed_begin(b);
  assert_int_equal(audit_add(b->store, &nurse, "in.time", "", NULL), 0);
  assert_int_equal(store_keep(b->store), 0);
  assert_int_equal(inspect_verify(bed.inspector, on_verified, &a), 0);
  wait_for(&a);
  assert_int_equal(a.check.rows, 501);
  assert_true(sd_event_add_time(bed.event, &writer, CLOCK_MONOTONIC, 0, 1, on_write, b) >= 0);
  for (int i = 0; i < 25; i++) {
    const int64_t before = rows_of(b);
    a = verify();
    assert_int_equal(a.err, 0);
    assert_true(a.check.ok);
    if (a.check.rows < before || a.check.rows > rows_of(b))
      fail_msg("%lld rows, %lld before", (long long)a.check.rows, (long long)before);
    assert_false(inspector_is_busy(bed.inspector));
  }
  sd_event_source_disable_unref(writer);
  a = verify();
  assert_int_equal(a.check.rows, rows_of(b));
  check_store(b);
  /* Whoever looked took nothing of what keeps others out. */
  const pid_t pid = fork();
  if (pid == 0) {
    struct store *s;
    _exit(store_open(b->dir, &s) != -EBUSY);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

/* The copy judges as this process does. */
static void check_same(struct store_bed *b, bool ok, const char *table) {
  struct audit_check here;
  struct answer there = verify();
  assert_int_equal(there.err, 0);
  memset(&here, 0, sizeof here);
  assert_int_equal(audit_verify(b->store, b->artefacts, &here), 0);
  assert_int_equal(there.check.ok, ok);
  assert_string_equal(there.check.seal.table, table);
  assert_int_equal(there.check.ok, here.ok);
  assert_int_equal(there.check.rows, here.rows);
  assert_int_equal(there.check.broken_at, here.broken_at);
  assert_int_equal(there.check.heads, here.heads);
  assert_int_equal(there.check.seal.rows, here.seal.rows);
  assert_int_equal(there.check.seal.consistent, here.seal.consistent);
  assert_string_equal(there.check.seal.table, here.seal.table);
  assert_string_equal(there.check.head, here.head);
}

static void raw(struct store_bed *b, const char *sql) {
  inspector_close(bed.inspector);
  bed.event = sd_event_unref(bed.event);
  sqlite3 *db = bed_raw(b);
  raw_exec(db, sql);
  sqlite3_close(db);
  up(b);
}

static void test_verdict(void **state) {
  struct store_bed *b = *state;
  add(b, 40);
  bed_begin(b);
  assert_int_equal(audit_head_sign(b->store), 1);
  bed_keep(b);
  check_same(b, true, "");
  raw(b, "INSERT INTO user(name, role, display, created) VALUES('x', 'gp', 'x', 1)");
  check_same(b, false, "user");
  raw(b, "DELETE FROM user");
  check_same(b, true, "");
  raw(b, "DROP TRIGGER audit_keeps; UPDATE audit SET actor = 'other' WHERE seq = 17");
  check_same(b, false, "audit");
  assert_int_equal(verify().check.broken_at, 17);
  raw(b, "UPDATE seal SET sum = zeroblob(32) WHERE name = 'audit'");
  check_same(b, false, "seal");
}

/* Somebody who changes the file while this process has it open: the sums that it has in memory tell. */
static void test_changed_beneath(void **state) {
  struct store_bed *b = *state;
  char page[4096] = {0};
  fill(b, 300);
  assert_int_equal(store_settle(b->store), 0);
  const int fd = open(bed_path(b, "asaleed.db"), O_RDWR | O_CLOEXEC);
  for (off_t at = 0; pread(fd, page, sizeof page, at) == sizeof page; at += (off_t)sizeof page) {
    char *actor = memmem(page, sizeof page, "inesreadR-1", 11);
    if (at && actor && page[0] == 0x0d) { /* a leaf of a table */
      actor[0] = 'I';
      assert_int_equal(pwrite(fd, page, sizeof page, at), sizeof page);
      break;
    }
  }
  struct answer a = verify();
  assert_int_equal(a.err, 0);
  assert_false(a.check.ok);
  assert_true(a.check.broken_at > 0);
  close(fd);
}

static void test_export(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT], lines[HASH_TEXT], got[HASH_TEXT];
  fill(b, 700);
  bed_begin(b);
  assert_int_equal(audit_archive(b->store, b->artefacts, INT64_MAX, INT64_MAX, sha, &(bool){0}), 700);
  assert_int_equal(audit_head_sign(b->store), 0);
  bed_keep(b);
  fill(b, 300);
  for (int from = 1; from < 1200; from += 650) {
    const int fd = open(bed_path(b, "lines"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct answer a = {0};
    struct hash_stream h;
    hash_start(&h);
    assert_int_equal(audit_export(b->store, b->artefacts, from, add_to_hash, &h), 0);
    hash_text(&h, lines);
    assert_int_equal(inspect_export(bed.inspector, from, fd, on_exported, &a), 0);
    wait_for(&a);
    assert_int_equal(a.err, 0);
    assert_int_equal(a.bytes, size_of(b, "lines"));
    hash_of(b, "lines", got);
    assert_string_equal(got, lines);
    close(fd);
  }
  /* A file that takes nothing; an archive that is gone. */
  struct answer a = {0};
  int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
  assert_int_equal(inspect_export(bed.inspector, 1, fd, on_exported, &a), 0);
  wait_for(&a);
  assert_int_equal(a.err, -ENOSPC);
  close(fd);
  a = (struct answer){0};
  fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  hold(b);
  assert_int_equal(unlink(kept), 0);
  assert_int_equal(inspect_export(bed.inspector, 1, fd, on_exported, &a), 0);
  wait_for(&a);
  assert_int_equal(a.err, -EUCLEAN);
  close(fd);
  let_go();
  check_store(b);
}

/* One at a time; meanwhile this process writes. */
static void test_busy(void **state) {
  struct store_bed *b = *state;
  struct answer a = {0}, other = {0};
  add(b, 50);
  hold(b);
  assert_int_equal(inspect_verify(bed.inspector, on_verified, &a), 0);
  assert_int_equal(inspect_verify(bed.inspector, on_verified, &other), -EBUSY);
  wait_until_held();
  assert_int_equal(inspect_export(bed.inspector, 1, 2, on_exported, &other), -EBUSY);
  add(b, 400);
  assert_true(size_of(b, "asaleed.db-wal") > 4 << 20);
  assert_int_equal(a.calls, 0);
  /* Its walls: nothing but reading. */
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd", (int)bed.pid);
  DIR *d = opendir(path);
  unsigned n = 0;
  for (const struct dirent *e; d && (e = readdir(d));) {
    char link[512], to[512] = "";
    struct stat st;
    snprintf(link, sizeof link, "%s/%.16s", path, e->d_name);
    if (e->d_name[0] == '.' || readlink(link, to, sizeof to - 1) < 0)
      continue;
    assert_int_equal(lstat(link, &st), 0);
    if (!strncmp(to, b->dir, strlen(b->dir)))
      assert_int_equal(st.st_mode & S_IWUSR, 0);
    n++;
  }
  if (d) {
    closedir(d);
    assert_in_range(n, 5, 10);
  }
  assert_int_equal(kill(bed.pid, SIGKILL), 0);
  wait_for(&a);
  assert_int_equal(a.err, -EIO);
  let_go();
  assert_true(verify().check.ok);
  check_store(b);
  assert_int_equal(other.calls, 0);
}

static void test_killed(void **state) {
  struct store_bed *b = *state;
  fill(b, 5000);
  for (int i = 0; i < 30; i++) {
    struct answer a = {0};
    assert_int_equal(inspect_verify(bed.inspector, on_verified, &a), 0);
    bed.pid = 0;
    while (!bed.pid)
      assert_true(sd_event_run(bed.event, 0) >= 0);
    add(b, 10);
    usleep((useconds_t)(i * 700));
    kill(bed.pid, SIGKILL);
    wait_for(&a);
    assert_true(a.err == -EIO || (a.err == 0 && a.check.ok));
    assert_int_equal(size_of(b, "asaleed.db-wal"), 0);
  }
  assert_true(verify().check.ok);
  check_store(b);
}

static void test_late(void **state) {
  struct store_bed *b = *state;
  add(b, 50);
  hold(b);
  bed.fast = true;
  assert_int_equal(verify().err, -EIO);
  let_go();
  check_store(b);
}

/* What is written while it looks leaves room for what ends it. */
static void test_strained(void **state) {
  struct store_bed *b = *state;
  struct answer a = {0};
  add(b, 50);
  hold(b);
  bed.room = 64 << 20;
  assert_int_equal(inspect_verify(bed.inspector, on_verified, &a), 0);
  wait_until_held();
  add(b, 20);
  assert_true(size_of(b, "asaleed.db-wal") > 0);
  assert_int_equal(waitpid(bed.pid, NULL, WNOHANG), 0);
  bed.room = (uint64_t)size_of(b, "asaleed.db-wal") + (8 << 20) - 65536; /* less than it wants beside the log */
  add(b, 1);
  wait_for(&a);
  assert_int_equal(a.err, -ENOSPC);
  assert_int_equal(size_of(b, "asaleed.db-wal"), 0);
  assert_int_equal(inspect_verify(bed.inspector, on_verified, &a), 0); /* at the first commit, again */
  bed.room = 1 << 20;
  wait_until_held();
  add(b, 1);
  a = (struct answer){0};
  wait_for(&a);
  assert_int_equal(a.err, -ENOSPC);
  bed.room = 0;
  let_go();
  assert_int_equal(verify().err, 0);
  check_store(b);
}

static void test_no_process(void **state) {
  struct store_bed *b = *state;
  add(b, 50);
  bed.no_fork = true;
  assert_int_equal(verify().err, -EAGAIN);
  bed.no_fork = false;
  assert_int_equal(verify().err, 0);
  check_store(b);
}

/* Ended while it waits for its process, or for the end of it. */
static void test_close(void **state) {
  struct store_bed *b = *state;
  add(b, 50);
  hold(b);
  for (int i = 0; i < 2; i++) {
    struct answer a = {0};
    assert_int_equal(inspect_verify(bed.inspector, on_verified, &a), 0);
    if (i)
      wait_until_held();
    inspector_close(bed.inspector);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.err, -ECANCELED);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(inspector_open(bed.event, b->store, b->artefacts, &bed.inspector), 0);
  }
  let_go();
  check_store(b);
}

/* A daemon with a job under way, that goes on writing and tells how many rows are committed. */
static _Noreturn void be_daemon(struct store_bed *b, int out) {
  struct answer a = {0};
  up(b);
  int64_t told[2] = {0, rows_of(b)};
  if (inspect_verify(bed.inspector, on_verified, &a) < 0)
    _exit(1);
  wait_until_held();
  told[0] = bed.pid;
  for (;;) {
    if (write(out, told, sizeof told) != sizeof told)
      _exit(1);
    add(b, 1);
    told[1]++;
  }
}

static void test_parent_killed(void **state) {
  struct store_bed *b = *state;
  assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  add(b, 100);
  hold(b);
  for (int i = 0; i < 10; i++) {
    int ends[2], status;
    int64_t told[2] = {0}, next[2];
    down(b);
    assert_int_equal(pipe(ends), 0);
    const pid_t pid = fork();
    if (pid == 0)
      be_daemon(b, ends[1]);
    close(ends[1]);
    for (int k = 0; k <= 20 * i; k++)
      assert_int_equal(read(ends[0], told, sizeof told), sizeof told);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    while (read(ends[0], next, sizeof next) == sizeof next) /* until the copy is gone too, which has this end as well */
      memcpy(told, next, sizeof told);
    close(ends[0]);
    assert_int_equal(waitpid((pid_t)told[0], &status, 0), told[0]);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    let_go();
    up(b);
    add(b, 1); /* for the next round's archive */
    assert_in_range(rows_of(b), told[1] + 1, told[1] + 2);
    struct answer a = verify();
    assert_int_equal(a.err, 0);
    assert_true(a.check.ok);
    check_store(b);
    hold(b);
  }
  let_go();
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
      T(test_snapshot),        T(test_snapshot_path), T(test_settle), T(test_verify),        T(test_verdict),
      T(test_changed_beneath), T(test_export),        T(test_busy),   T(test_killed),        T(test_late),
      T(test_strained),        T(test_no_process),    T(test_close),  T(test_parent_killed),
  };
  cmocka_set_message_output(CM_OUTPUT_TAP);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
