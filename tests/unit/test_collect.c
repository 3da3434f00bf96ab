/* The collector in a child as the daemon starts it, on real trees of files. */
#include "commands.h"
#include "hash.h"
#include "known.h"
#include "str.h"
#include "tree.h"
#include <asalee/wire.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define WAIT_MS 20000
#define NOBODY 65534
#define TOLD_MAX 20000

static char base[64], tree[80], incoming[80];

static struct {
  pid_t pid;
  int control;
  bool as_nobody, no_openat2;
  unsigned kept, batches; /* of the batches so many were answered */
  struct wire_file told[TOLD_MAX];
  unsigned n_told, in_batch;
} run;

/* ---- files ---- */

/* By descriptors: a path may be longer than the kernel takes. Never into another mount. */
static void empty_folder(int fd, dev_t device) {
  DIR *dir = fdopendir(fd);
  struct stat st;
  assert_non_null(dir);
  for (const struct dirent *e; (e = readdir(dir));) {
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
      continue;
    bool is_folder = fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
    if (is_folder && st.st_dev == device)
      empty_folder(openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW), device);
    unlinkat(fd, e->d_name, is_folder ? AT_REMOVEDIR : 0);
  }
  closedir(dir);
}

static void remove_all(const char *path) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (fd >= 0 && fstat(fd, &st) == 0)
    empty_folder(fd, st.st_dev);
  rmdir(path);
}

static void make_bed_in(const char *where) {
  snprintf(base, sizeof base, "%s/collect-XXXXXX", where);
  assert_non_null(mkdtemp(base));
  assert_int_equal(chmod(base, 0755), 0);
  snprintf(tree, sizeof tree, "%s/tree", base);
  snprintf(incoming, sizeof incoming, "%s/incoming", base);
  assert_int_equal(mkdir(tree, 0755), 0);
  assert_int_equal(mkdir(incoming, 0700), 0);
  memset(&run, 0, sizeof run);
  run.control = -1;
}

/* In memory where that can be: many files and a disk that others use take minutes. */
static int set_up(void **state) {
  (void)state;
  make_bed_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
  return 0;
}

static int set_up_on_disk(void **state) {
  (void)state;
  make_bed_in("/tmp");
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  if (run.pid > 0) {
    kill(run.pid, SIGKILL);
    waitpid(run.pid, NULL, 0);
  }
  if (run.control >= 0)
    close(run.control);
  remove_all(base);
  return 0;
}

/* The path of a file of the tree; two at a time are good. */
static const char *in_tree(const char *name) {
  static char paths[2][PATH_MAX];
  static unsigned next;
  char *path = paths[next++ % 2];
  snprintf(path, PATH_MAX, "%s/%s", tree, name);
  return path;
}

static void put_at(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, strlen(text)), strlen(text));
  close(fd);
}

static void put(const char *name, const char *text) {
  put_at(in_tree(name), text);
}

static void put_long(const char *name, off_t bytes) {
  put(name, "long");
  assert_int_equal(truncate(in_tree(name), bytes), 0);
}

static void folder(const char *name) {
  assert_int_equal(mkdir(in_tree(name), 0755), 0);
}

static void put_many(const char *form, unsigned n) {
  char name[64];
  for (unsigned i = 0; i < n; i++) {
    snprintf(name, sizeof name, form, i);
    put(name, name);
  }
}

static unsigned files_in(const char *path) {
  unsigned n = 0;
  DIR *dir = opendir(path);
  assert_non_null(dir);
  for (const struct dirent *e; (e = readdir(dir));)
    n += e->d_name[0] != '.';
  closedir(dir);
  return n;
}

static off_t bytes_in(const char *path) {
  off_t bytes = 0;
  struct stat st;
  DIR *dir = opendir(path);
  assert_non_null(dir);
  for (const struct dirent *e; (e = readdir(dir));)
    if (fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
      bytes += st.st_size;
  closedir(dir);
  return bytes;
}

/* ---- the collector ---- */

static struct wire_message order(void) {
  struct wire_message m = {.type = WIRE_COLLECT,
                           .collect = {.max_bytes = 1000, .n_patterns = 2, .pattern = {"*.scp", "*.xml"}}};
  str_copy(m.collect.path, sizeof m.collect.path, tree);
  return m;
}

static struct wire_message watch_order(void) {
  struct wire_message m = order();
  m.collect.watch = true;
  m.collect.poll_s = 3600;
  return m;
}

static void without_openat2(void) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  if (!filter || seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(openat2), 0) < 0 || seccomp_load(filter) < 0)
    _exit(99);
}

static void be_nobody(void) {
  if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
    _exit(98);
}

static void start_raw(void) {
  int pair[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  int folder_fd = open(incoming, O_RDONLY | O_DIRECTORY);
  assert_true(folder_fd >= 0);
  if (run.as_nobody)
    assert_int_equal(chown(incoming, NOBODY, NOBODY), 0);
  run.control = pair[0];
  run.pid = fork();
  assert_true(run.pid >= 0);
  if (run.pid == 0) {
    int control = fcntl(pair[1], F_DUPFD, 100), folder_high = fcntl(folder_fd, F_DUPFD, 100);
    dup2(control, WIRE_FD_CONTROL);
    dup2(folder_high, WIRE_FD_INCOMING);
    closefrom(WIRE_FD_INCOMING + 1);
    if (run.no_openat2)
      without_openat2();
    if (run.as_nobody)
      be_nobody();
    command_collect();
  }
  close(pair[1]);
  close(folder_fd);
}

static void start(const struct wire_message *m) {
  start_raw();
  assert_int_equal(wire_send(run.control, m), 0);
}

static void say(enum wire_type type) {
  assert_int_equal(wire_send(run.control, &(struct wire_message){.type = type}), 0);
}

static int ended(void) {
  int status;
  assert_int_equal(waitpid(run.pid, &status, 0), run.pid);
  run.pid = 0;
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

/* The copy is what the message says of it, and only its owner may read it. */
static void check_copy(const struct wire_file *f) {
  static uint8_t bytes[1 << 20];
  char path[128];
  struct stat st;
  uint8_t sha256[HASH_BYTES];
  struct hash_stream hash;
  snprintf(path, sizeof path, "%s/%u", incoming, f->number);
  int fd = open(path, O_RDONLY);
  assert_true(fd >= 0);
  assert_int_equal(fstat(fd, &st), 0);
  assert_int_equal(st.st_mode, S_IFREG | 0400);
  assert_int_equal(st.st_size, f->bytes);
  hash_start(&hash);
  for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;)
    hash_add(&hash, bytes, (size_t)n);
  hash_end(&hash, sha256);
  assert_memory_equal(sha256, f->sha256, HASH_BYTES);
  close(fd);
}

/* Takes one message in. */
static enum wire_type hear(struct wire_message *ret) {
  struct pollfd fd = {.fd = run.control, .events = POLLIN};
  assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
  assert_int_equal(wire_receive(run.control, ret), 0);
  if (ret->type == WIRE_FILE) {
    assert_true(run.n_told < TOLD_MAX);
    assert_true(!run.n_told || ret->file.number > run.told[run.n_told - 1].number);
    run.told[run.n_told++] = ret->file;
    run.in_batch++;
  } else if (ret->type == WIRE_BATCH) {
    assert_int_equal(ret->batch.files, run.in_batch);
    for (unsigned i = run.n_told - run.in_batch; i < run.n_told; i++)
      check_copy(&run.told[i]);
    run.in_batch = 0;
    run.batches++;
    assert_true(run.batches - run.kept <= WIRE_BATCHES);
  }
  return ret->type;
}

static void keep(void) {
  run.kept++;
  say(WIRE_KEPT);
}

/* Up to the next PASS, with an answer to each batch. */
static struct wire_pass hear_pass(void) {
  struct wire_message m;
  enum wire_type type;
  while ((type = hear(&m)) != WIRE_PASS) {
    if (type == WIRE_FAIL)
      fail_msg("the collector failed: %s (%d)", m.fail.text, m.fail.err);
    if (type == WIRE_BATCH)
      keep();
  }
  assert_int_equal(run.in_batch, 0);
  return m.pass;
}

static void expect_end(int status) {
  struct wire_message m;
  struct pollfd fd = {.fd = run.control, .events = POLLIN};
  assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
  assert_int_equal(wire_receive(run.control, &m), -ENODATA);
  assert_int_equal(ended(), status);
}

static void expect_fail(int err, enum wire_step step) {
  struct wire_message m;
  while (hear(&m) != WIRE_FAIL) {
    assert_int_not_equal(m.type, WIRE_PASS);
    if (m.type == WIRE_BATCH)
      keep();
  }
  assert_int_equal(m.fail.err, err);
  assert_int_equal(m.fail.step, step);
  assert_null(strchr(m.fail.text, '/')); /* no path in it */
  assert_int_equal(run.in_batch, 0);
  expect_end(1);
}

static struct wire_pass collect(const struct wire_message *m) {
  start(m);
  struct wire_pass p = hear_pass();
  expect_end(0);
  return p;
}

static void expect_told(const char *const *names, unsigned n) {
  assert_int_equal(run.n_told, n);
  for (unsigned i = 0; i < n; i++)
    assert_string_equal(run.told[i].name, names[i]);
}

#define TOLD(...)                                        \
  do {                                                   \
    const char *const names_[] = {__VA_ARGS__};          \
    expect_told(names_, sizeof names_ / sizeof *names_); \
  } while (0)

/* ---- what is taken ---- */

static void make_ordinary(void) {
  put("b.SCP", "second");
  put("a.xml", "first");
  put("notes.txt", "not ours");
  put(".hidden.scp", "x");
  folder("c");
  folder("c/d");
  put("c/d/e.scp", "third");
  put("c.scp", "fourth");
  folder(".Trash-1000");
  put(".Trash-1000/x.scp", "x");
  folder("System Volume Information");
  put("System Volume Information/x.scp", "x");
  folder("$RECYCLE.BIN");
  put("$RECYCLE.BIN/x.scp", "x");
}

static void check_ordinary(void) {
  struct wire_message m = order();
  struct wire_pass p = collect(&m);
  TOLD("a.xml", "b.SCP", "c/d/e.scp", "c.scp");
  assert_int_equal(run.told[0].pattern, 1);
  assert_int_equal(run.told[1].pattern, 0);
  assert_int_equal(run.batches, 1);
  assert_int_equal(p.matching, 4);
  assert_int_equal(p.taken, 4);
  assert_false(p.too_many);
  assert_int_equal(files_in(incoming), 4);
}

TEST(an_ordinary_tree) {
  make_ordinary();
  const struct timespec times[2] = {{.tv_sec = 1767323045, .tv_nsec = 123456789},
                                    {.tv_sec = 1767323045, .tv_nsec = 123456789}};
  assert_int_equal(utimensat(AT_FDCWD, in_tree("a.xml"), times, 0), 0);
  const struct timespec early[2] = {{.tv_sec = -5}, {.tv_sec = -5}};
  assert_int_equal(utimensat(AT_FDCWD, in_tree("b.SCP"), early, 0), 0);
  check_ordinary();
  assert_int_equal(run.told[0].modified_us, 1767323045123456);
  assert_int_equal(run.told[1].modified_us, 0); /* before 1970 */
}

TEST(a_kernel_without_openat2) {
  make_ordinary();
  run.no_openat2 = true;
  check_ordinary();
}

TEST(an_empty_tree) {
  struct wire_message m = order();
  struct wire_pass p = collect(&m);
  assert_int_equal(p.matching, 0);
  assert_int_equal(run.batches, 0);
}

TEST(empty_and_too_large) {
  put("a.scp", "");
  put_long("b.scp", 1001);
  put_long("c.scp", 1000);
  put_long("d.txt", 1001);
  struct wire_message m = order();
  struct wire_pass p = collect(&m);
  TOLD("c.scp");
  assert_int_equal(p.empty, 1);
  assert_int_equal(p.too_large, 1);
  assert_int_equal(p.matching, 3);
}

static void make_not_files(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  put("real.scp", "real");
  assert_int_equal(symlink("real.scp", in_tree("link.scp")), 0);
  assert_int_equal(symlink("/etc/passwd", in_tree("out.scp")), 0);
  assert_int_equal(symlink("nowhere", in_tree("dangling.scp")), 0);
  assert_int_equal(symlink("/etc", in_tree("etc.scp")), 0);
  assert_int_equal(symlink("..", in_tree("up")), 0);
  assert_int_equal(mkfifo(in_tree("fifo.scp"), 0644), 0); /* opened, it would wait for a writer */
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  str_copy(address.sun_path, sizeof address.sun_path, in_tree("socket.scp"));
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  close(fd);
  folder("folder.scp");
  put("folder.scp/x.scp", "inside");
}

static void check_not_files(uint32_t more) {
  struct wire_message m = order();
  struct wire_pass p = collect(&m);
  TOLD("folder.scp/x.scp", "real.scp");
  assert_int_equal(p.not_files, 6 + more);
  assert_int_equal(p.matching, 8 + more);
}

TEST(what_is_no_file) {
  make_not_files();
  /* 1:3, the null device; 1:8, which would read for ever */
  bool devices = mknod(in_tree("null.scp"), S_IFCHR | 0666, makedev(1, 3)) == 0 &&
                 mknod(in_tree("random.scp"), S_IFCHR | 0666, makedev(1, 8)) == 0;
  check_not_files(devices ? 2 : 0);
}

TEST(what_is_no_file_without_openat2) {
  make_not_files();
  run.no_openat2 = true;
  check_not_files(0);
}

TEST(its_own_folder_is_no_source) {
  struct wire_message m = order();
  str_copy(m.collect.path, sizeof m.collect.path, base);
  str_copy(m.collect.pattern[0], ACQ_TEXT_MAX, "*");
  put_at(in_tree("../incoming/77"), "left by another");
  put("a.scp", "x");
  collect(&m);
  TOLD("tree/a.scp");
}

TEST(names_that_nobody_should_have) {
  char name[NAME_MAX + 1], path[600];
  put("a\nb.scp", "x");
  put("bad\xff\xc3.scp", "x");
  put("caf\xc3\xa9.scp", "x");
  put("e\x1b[31m.scp", "x");
  memset(name, 'n', 200);
  name[200] = 0;
  folder(name);
  snprintf(path, sizeof path, "%s/%.120s\xc3\xa9%.131s", name, name, name);
  memcpy(path + strlen(path) - 4, ".scp", 4);
  put(path, "x"); /* 454 bytes, of which the last 255 begin within a character of two bytes when cut */
  struct wire_message m = order();
  collect(&m);
  assert_int_equal(run.n_told, 5);
  assert_string_equal(run.told[0].name, "a b.scp");
  assert_string_equal(run.told[1].name, "bad??.scp");
  assert_string_equal(run.told[2].name, "caf\xc3\xa9.scp");
  assert_string_equal(run.told[3].name, "e [31m.scp");
  size_t n = strlen(run.told[4].name);
  assert_in_range(n, WIRE_TEXT_MAX - 3, WIRE_TEXT_MAX - 1);
  assert_string_equal(run.told[4].name, path + strlen(path) - n);
}

static void add_euros(char *text, unsigned n) {
  for (text += strlen(text); n--; text += 3)
    str_copy(text, 4, "\xe2\x82\xac");
}

/* However the cut of a long name falls, no character is halved. */
TEST(long_names_are_cut_between_characters) {
  char path[600] = "";
  add_euros(path, 60);
  folder(path);
  for (int i = 0; i < 4; i++) {
    snprintf(path + 180, sizeof path - 180, "/%.*s", i, "abc");
    add_euros(path, 60);
    str_copy(path + strlen(path), 5, ".scp");
    put(path, "x");
  }
  struct wire_message m = order();
  collect(&m);
  assert_int_equal(run.n_told, 4);
  for (unsigned i = 0; i < 4; i++) {
    assert_memory_equal(run.told[i].name, "\xe2\x82\xac", 3);
    assert_in_range(strlen(run.told[i].name), WIRE_TEXT_MAX - 3, WIRE_TEXT_MAX - 1);
  }
}

TEST(folders_within_folders) {
  char path[256] = "d";
  folder(path);
  for (int depth = 1; depth <= TREE_DEPTH_MAX; depth++) {
    char file[300];
    snprintf(file, sizeof file, "%s/%d.scp", path, depth);
    put(file, "x");
    str_copy(path + strlen(path), 3, "/d");
    folder(path);
  }
  str_copy(path + strlen(path), 7, "/x.scp");
  put(path, "too deep");
  struct wire_message m = order();
  struct wire_pass p = collect(&m);
  assert_int_equal(p.taken, TREE_DEPTH_MAX);
  assert_true(p.too_many);
}

TEST(paths_longer_than_the_kernel_takes) {
  char name[NAME_MAX + 1];
  memset(name, 'd', NAME_MAX);
  name[NAME_MAX] = 0;
  int at = open(tree, O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < TREE_DEPTH_MAX; i++) {
    assert_int_equal(mkdirat(at, name, 0755), 0);
    int next = openat(at, name, O_RDONLY | O_DIRECTORY);
    assert_true(next >= 0);
    close(at);
    at = next;
  }
  memcpy(name + NAME_MAX - 4, ".scp", 4);
  close(openat(at, name, O_WRONLY | O_CREAT, 0644));
  assert_int_equal(write(at, "", 0), -1);
  int fd = openat(at, name, O_WRONLY);
  assert_int_equal(write(fd, "x", 1), 1);
  close(fd);
  close(at);
  put("a.scp", "x");
  struct wire_message m = order();
  struct wire_pass p = collect(&m);
  TOLD("a.scp");
  assert_true(p.too_many);
}

TEST(more_entries_than_a_tree_may_have) {
  int at = open(tree, O_RDONLY | O_DIRECTORY);
  char name[32];
  for (int i = 0; i < TREE_ENTRIES_MAX; i++) {
    snprintf(name, sizeof name, "%d", i);
    assert_int_equal(symlinkat("x", at, name), 0);
  }
  struct wire_message m = order();
  struct wire_pass p = collect(&m);
  assert_false(p.too_many);
  put("one-more", "x");
  run.n_told = 0;
  p = collect(&m);
  assert_true(p.too_many);
  close(at);
}

/* ---- batches ---- */

TEST(ten_thousand_files) {
  put_many("%05u.scp", 10000);
  struct wire_message m = order();
  struct wire_pass p = collect(&m);
  assert_int_equal(p.taken, 10000);
  assert_int_equal(run.batches, 10);
  assert_string_equal(run.told[0].name, "00000.scp");
  assert_string_equal(run.told[9999].name, "09999.scp");
}

TEST(at_most_so_many_batches_ahead) {
  put_many("%05u.scp", WIRE_BATCHES * WIRE_BATCH_FILES + 1);
  struct wire_message m = order();
  start(&m);
  while (run.batches < WIRE_BATCHES)
    hear(&m);
  struct pollfd fd = {.fd = run.control, .events = POLLIN};
  while (poll(&fd, 1, 300) == 1) {
    hear(&m);
    assert_int_equal(m.type, WIRE_PROGRESS);
  }
  assert_int_equal(files_in(incoming), WIRE_BATCHES * WIRE_BATCH_FILES);
  keep();
  struct wire_pass p = hear_pass();
  assert_int_equal(p.taken, WIRE_BATCHES * WIRE_BATCH_FILES + 1);
  assert_int_equal(run.batches, WIRE_BATCHES + 1);
  /* It waits for the answers that it has to come, or its end would take the last messages away. */
  assert_int_equal(poll(&fd, 1, 300), 0);
  keep();
  expect_end(0);
}

TEST(batches_of_bytes) {
  put_long("a.scp", 60 << 20);
  put_long("b.scp", 60 << 20);
  put_long("c.scp", 8 << 20);
  put_long("d.scp", 1);
  struct wire_message m = order();
  m.collect.max_bytes = ACQ_BLOB_MAX;
  start(&m);
  while (hear(&m) != WIRE_BATCH)
    continue;
  assert_int_equal(run.n_told, 3); /* 128 MiB */
  keep();
  hear_pass();
  assert_int_equal(run.n_told, 4);
  expect_end(0);
}

TEST(progress_is_told) {
  put_many("%05u.scp", 20);
  struct wire_message m = order();
  uint32_t last = 0, total = 0;
  start(&m);
  while (hear(&m) != WIRE_PASS) {
    if (m.type == WIRE_BATCH)
      keep();
    if (m.type == WIRE_PROGRESS) {
      last = m.progress.done;
      total = m.progress.total;
    }
  }
  assert_int_equal(last, 20);
  assert_int_equal(total, 20);
  expect_end(0);
}

TEST(an_answer_too_many) {
  put("a.scp", "x");
  struct wire_message m = watch_order();
  start(&m);
  hear_pass();
  say(WIRE_KEPT);
  expect_end(2);
}

/* ---- files that change ---- */

/* The collector looked at all files and stands still, as two batches are not answered; z* are still to come. */
static void stand_before_z(struct wire_message *m) {
  put_many("a%05u.scp", WIRE_BATCHES * WIRE_BATCH_FILES);
  start(m);
  while (run.batches < WIRE_BATCHES)
    hear(m);
}

static void change_z(void) {
  put("z1.scp", "longer than it was");
  struct stat st;
  assert_int_equal(stat(in_tree("z2.scp"), &st), 0);
  put("z2.scp", "BYTES"); /* as many, and the time put back */
  const struct timespec times[2] = {st.st_atim, st.st_mtim};
  assert_int_equal(utimensat(AT_FDCWD, in_tree("z2.scp"), times, 0), 0);
  unlink(in_tree("z3.scp"));
  unlink(in_tree("z4.scp"));
  assert_int_equal(symlink("/etc/passwd", in_tree("z4.scp")), 0);
  unlink(in_tree("z5.scp"));
  assert_int_equal(mkfifo(in_tree("z5.scp"), 0644), 0);
  put("new", "other");
  assert_int_equal(rename(in_tree("new"), in_tree("z6.scp")), 0);
  assert_int_equal(rename(in_tree("z"), in_tree("zz")), 0);
  assert_int_equal(symlink("zz", in_tree("z")), 0); /* now a link where a folder was, to the same: z/inside.scp */
}

static void make_z(void) {
  char name[] = "z1.scp";
  for (; name[1] <= '8'; name[1]++)
    put(name, "bytes");
  folder("z");
  put("z/inside.scp", "bytes");
}

TEST(files_that_change_between_two_looks) {
  make_z();
  struct wire_message m = watch_order();
  m.collect.settle_ms = 1;
  stand_before_z(&m);
  change_z();
  keep();
  keep();
  struct wire_pass p = hear_pass();
  assert_int_equal(run.n_told, 2002);
  assert_string_equal(run.told[2000].name, "z7.scp");
  assert_int_equal(p.unsettled, 3); /* z1, z2, z6 */
  assert_int_equal(p.not_files, 3); /* z4, z5, z/inside.scp */
  assert_int_equal(p.matching, 2008);
  p = hear_pass(); /* which comes soon, whatever the interval */
  while (run.n_told < 2006)
    p = hear_pass();
  assert_int_equal(p.not_files, 2);
  assert_int_equal(p.matching, 2008); /* zz/inside.scp among them */
  say(WIRE_CANCEL);
  expect_end(0);
  assert_string_equal(run.told[2002].name, "z1.scp");
  assert_int_equal(run.told[2002].bytes, 18);
}

/* A stick: nobody else is about to write, what is there now counts. */
TEST(files_that_change_without_two_looks) {
  make_z();
  struct wire_message m = order();
  stand_before_z(&m);
  change_z();
  keep();
  keep();
  struct wire_pass p = hear_pass();
  expect_end(0);
  assert_int_equal(p.unsettled, 1); /* z1, which may be too long for its batch now */
  assert_int_equal(p.not_files, 3);
  assert_int_equal(run.n_told, 2004);
}

/* Stops the collector in the middle of the copy of a long file; false when it was too fast. */
static bool stop_within_copy(struct wire_message *m, off_t bytes) {
  _Alignas(struct inotify_event) char events[4096];
  int in = inotify_init1(IN_CLOEXEC);
  assert_true(in >= 0 && inotify_add_watch(in, incoming, IN_MODIFY) >= 0);
  start(m);
  struct pollfd fd = {.fd = in, .events = POLLIN};
  assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
  kill(run.pid, SIGSTOP);
  int status;
  assert_int_equal(waitpid(run.pid, &status, WUNTRACED), run.pid);
  assert_true(read(in, events, sizeof events) > 0);
  close(in);
  return WIFSTOPPED(status) && files_in(incoming) == 1 && bytes_in(incoming) < bytes;
}

TEST(a_file_that_grows_while_it_is_copied) {
  const off_t bytes = 50 << 20;
  put_long("a.scp", bytes);
  put("b.scp", "x");
  struct wire_message m = order();
  m.collect.max_bytes = ACQ_BLOB_MAX;
  if (!stop_within_copy(&m, bytes))
    skip();
  int fd = open(in_tree("a.scp"), O_WRONLY | O_APPEND);
  assert_int_equal(write(fd, "x", 1), 1);
  close(fd);
  kill(run.pid, SIGCONT);
  struct wire_pass p = hear_pass();
  expect_end(0);
  TOLD("b.scp");
  assert_int_equal(p.unsettled, 1);
  assert_int_equal(files_in(incoming), 1);
}

TEST(a_file_that_is_rewritten_while_it_is_copied) {
  const off_t bytes = 50 << 20;
  put_long("a.scp", bytes);
  struct wire_message m = order();
  m.collect.max_bytes = ACQ_BLOB_MAX;
  if (!stop_within_copy(&m, bytes))
    skip();
  int fd = open(in_tree("a.scp"), O_WRONLY);
  assert_int_equal(pwrite(fd, "X", 1, 0), 1); /* as many bytes */
  close(fd);
  kill(run.pid, SIGCONT);
  struct wire_pass p = hear_pass();
  expect_end(0);
  assert_int_equal(p.unsettled, 1);
  assert_int_equal(files_in(incoming), 0);
}

TEST(what_may_not_be_read) {
  put("a.scp", "x");
  put("b.scp", "x");
  folder("c");
  put("c/d.scp", "x");
  assert_int_equal(chmod(in_tree("a.scp"), 0), 0);
  assert_int_equal(chmod(in_tree("c"), 0), 0);
  run.as_nobody = getuid() == 0;
  struct wire_message m = order();
  struct wire_pass p = collect(&m);
  assert_int_equal(chmod(in_tree("c"), 0755), 0);
  TOLD("b.scp");
  assert_int_equal(p.unreadable, 2);
  assert_int_equal(p.matching, 3);
}

/* ---- watching ---- */

/* Waits for the pass that has told so many files in all. */
static struct wire_pass pass_with(unsigned n_told) {
  struct wire_pass p;
  do
    p = hear_pass();
  while (run.n_told < n_told);
  assert_int_equal(run.n_told, n_told);
  return p;
}

static void check_watch(void) {
  put("a.scp", "x");
  struct wire_message m = watch_order();
  m.collect.settle_ms = 20;
  start(&m);
  assert_int_equal(pass_with(1).taken, 1);
  put("b.tmp", "renamed in");
  assert_int_equal(rename(in_tree("b.tmp"), in_tree("b.scp")), 0);
  assert_int_equal(pass_with(2).known, 1);
  folder("new");
  put("new/c.scp", "in a new folder");
  pass_with(3);
  put("new/d.scp", "in the same");
  pass_with(4);
  put("a.scp", "y"); /* as long as before */
  assert_int_equal(pass_with(5).known, 3);
  assert_string_equal(run.told[4].name, "a.scp");
  unlink(in_tree("b.scp"));
  put("b.scp", "another");
  assert_int_equal(pass_with(6).known, 3);
  say(WIRE_CANCEL);
  expect_end(0);
}

TEST(a_folder_that_is_watched) {
  check_watch();
}

TEST(a_folder_that_nobody_watches_for_root) {
  if (getuid())
    skip();
  run.as_nobody = true;
  check_watch();
}

TEST(a_folder_that_is_polled) {
  put("a.scp", "x");
  struct wire_message m = watch_order();
  m.collect.poll_s = 1;
  start(&m);
  pass_with(1);
  for (int i = 0; i < 2; i++) {
    struct wire_pass p = hear_pass();
    assert_int_equal(p.known, 1);
    assert_int_equal(p.matching, 1);
  }
  say(WIRE_CANCEL);
  expect_end(0);
}

TEST(more_events_than_the_kernel_keeps) {
  struct wire_message m = watch_order();
  start(&m);
  pass_with(0);
  kill(run.pid, SIGSTOP);
  put_many("%05u.txt", 9000); /* two events each, and 16384 are kept */
  put("z.scp", "x");
  kill(run.pid, SIGCONT);
  pass_with(1);
  say(WIRE_CANCEL);
  expect_end(0);
}

/* ---- the tree goes ---- */

static void check_goes(bool anew) {
  char aside[128];
  put("a.scp", "x");
  struct wire_message m = watch_order();
  start(&m);
  pass_with(1);
  snprintf(aside, sizeof aside, "%s/aside", base);
  put("b.scp", "not seen any more, or seen before it went");
  assert_int_equal(rename(tree, aside), 0);
  if (anew)
    assert_int_equal(mkdir(tree, 0755), 0);
  expect_fail(-ENODEV, WIRE_STEP_ACQUIRE);
}

TEST(a_tree_that_is_moved_away) {
  check_goes(false);
}

TEST(another_tree_in_its_place) {
  check_goes(true);
}

TEST(a_tree_that_is_removed) {
  struct wire_message m = watch_order();
  start(&m);
  pass_with(0);
  assert_int_equal(rmdir(tree), 0);
  expect_fail(-ENODEV, WIRE_STEP_ACQUIRE);
}

/* What was copied by then is announced. */
TEST(a_tree_that_goes_within_a_pass) {
  char aside[128];
  put_many("b%u.scp", 3);
  struct wire_message m = order();
  stand_before_z(&m);
  snprintf(aside, sizeof aside, "%s/aside", base);
  assert_int_equal(rename(tree, aside), 0);
  keep();
  keep();
  expect_fail(-ENODEV, WIRE_STEP_ACQUIRE);
  assert_int_equal(run.n_told, 2003);
  assert_int_equal(files_in(incoming), 2003);
}

TEST(a_tree_that_is_none) {
  struct wire_message m = order();
  assert_int_equal(rmdir(tree), 0);
  start(&m);
  expect_fail(-ENOENT, WIRE_STEP_OPEN);
  put_at(tree, "a file");
  start(&m);
  expect_fail(-ENOTDIR, WIRE_STEP_OPEN);
  unlink(tree);
  assert_int_equal(symlink("/tmp", tree), 0);
  start(&m);
  expect_fail(-ENOTDIR, WIRE_STEP_OPEN);
}

/* ---- the daemon's part ---- */

TEST(cancel_and_the_end_of_the_daemon_while_it_waits) {
  put("a.scp", "x");
  struct wire_message m = order();
  m.collect.settle_ms = WIRE_SETTLE_MAX;
  start(&m);
  say(WIRE_CANCEL);
  expect_end(0);
  start(&m);
  close(run.control);
  run.control = -1;
  assert_int_equal(ended(), 1);
  m.collect = watch_order().collect;
  start(&m);
  hear_pass();
  close(run.control);
  run.control = -1;
  assert_int_equal(ended(), 1);
}

static void check_end_within_copy(bool cancel) {
  const off_t bytes = 50 << 20;
  put_long("a.scp", bytes);
  struct wire_message m = order();
  m.collect.max_bytes = ACQ_BLOB_MAX;
  if (!stop_within_copy(&m, bytes))
    skip();
  if (cancel)
    say(WIRE_CANCEL);
  else
    close(run.control);
  kill(run.pid, SIGCONT);
  assert_int_equal(ended(), cancel ? 0 : 1);
  if (!cancel)
    run.control = -1;
  assert_int_equal(files_in(incoming), 0); /* nobody was told of it */
}

TEST(cancel_within_a_copy) {
  check_end_within_copy(true);
}

TEST(the_daemon_ends_within_a_copy) {
  check_end_within_copy(false);
}

/* So many files that what is said of them fills the socket, and nobody listens. */
TEST(a_daemon_that_does_not_listen) {
  put_many("%05u.scp", 3000);
  struct wire_message m = order();
  start(&m);
  int before = -1, now = -2;
  while (before != now) {
    before = now;
    usleep(300000);
    now = (int)files_in(incoming);
  }
  assert_in_range(now, 1, WIRE_BATCHES * WIRE_BATCH_FILES);
  assert_int_equal(hear_pass().taken, 3000);
  expect_end(0);
}

TEST(what_is_no_order) {
  start_raw();
  say(WIRE_KEPT);
  expect_end(2);
  start_raw();
  close(run.control);
  run.control = -1;
  assert_int_equal(ended(), 1);
}

/* Two at once, as for two folders: each has files of its own. */
TEST(an_incoming_folder_that_others_use) {
  char path[128];
  uint32_t first[3];
  snprintf(path, sizeof path, "%s/w1", incoming);
  put_at(path, "the daemon's");
  put_many("%u.scp", 3);
  struct wire_message m = order();
  collect(&m);
  for (unsigned i = 0; i < 3; i++)
    first[i] = run.told[i].number;
  run.n_told = 0;
  collect(&m);
  for (unsigned i = 0; i < 9; i++)
    assert_int_not_equal(first[i / 3], run.told[i % 3].number);
  assert_int_equal(files_in(incoming), 7);
}

/* Whatever the numbers: one that is taken stays as it is. */
TEST(numbers_that_are_taken) {
  char path[128];
  put_many("%u.scp", 5);
  struct wire_message m = watch_order();
  start(&m);
  hear_pass();
  uint32_t next = run.told[4].number + 1;
  snprintf(path, sizeof path, "%s/%u", incoming, next);
  put_at(path, "not the collector's");
  put("new.scp", "x");
  while (run.n_told < 6)
    hear_pass();
  assert_int_equal(run.told[5].number, next + 1);
  say(WIRE_CANCEL);
  expect_end(0);
  assert_int_equal(files_in(incoming), 7);
}

/* ---- what was taken ---- */

TEST(the_set_of_prints) {
  struct known k = {0};
  assert_false(known_has(&k, 0));
  known_add(&k, 0);
  known_add(&k, 0);
  assert_true(known_has(&k, 0));
  assert_int_equal(k.n, 1);
  const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15); /* multiples of it spread */
  for (uint64_t i = 2; i <= KNOWN_MAX; i++)
    known_add(&k, i * odd);
  assert_int_equal(k.n, KNOWN_MAX);
  for (uint64_t i = 2; i <= KNOWN_MAX; i++)
    assert_true(known_has(&k, i * odd));
  assert_false(known_has(&k, (KNOWN_MAX + 1) * odd));
  known_add(&k, (KNOWN_MAX + 1) * odd); /* full: it begins anew */
  assert_int_equal(k.n, 1);
  assert_true(known_has(&k, (KNOWN_MAX + 1) * odd));
  assert_false(known_has(&k, 2 * odd));
  known_finish(&k);
}

/* ---- with mounts of its own: these come last ---- */

static void write_map(const char *path, const char *text) {
  int fd = open(path, O_WRONLY);
  if (fd >= 0 && write(fd, text, strlen(text)) < 0)
    print_message("%s cannot be written\n", path);
  close(fd);
}

/* Root, or whoever may be root in a namespace of his own; false when nothing can be mounted. */
static bool may_mount(void) {
  static int may = -1;
  char map[32];
  if (may < 0) {
    unsigned group = getgid();
    snprintf(map, sizeof map, "0 %u 1", getuid());
    bool root = getuid() == 0;
    may = unshare(CLONE_NEWNS | (root ? 0 : CLONE_NEWUSER)) == 0;
    if (may && !root) {
      write_map("/proc/self/uid_map", map);
      snprintf(map, sizeof map, "0 %u 1", group);
      write_map("/proc/self/setgroups", "deny");
      write_map("/proc/self/gid_map", map);
    }
    may = may && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
  }
  return may;
}

static void mount_at(const char *path, unsigned long flags, const char *options) {
  assert_int_equal(mount("none", path, "tmpfs", flags, options), 0);
}

TEST(a_full_incoming_folder) {
  if (!may_mount())
    skip();
  mount_at(incoming, 0, "size=64k");
  for (char name[] = "a.scp"; name[0] <= 'z'; name[0]++)
    put_long(name, 5000);
  struct wire_message m = order();
  m.collect.max_bytes = 5000;
  start(&m);
  while (hear(&m) != WIRE_FAIL)
    assert_int_not_equal(m.type, WIRE_BATCH);
  assert_int_equal(m.fail.err, -ENOSPC);
  expect_end(1);
  assert_int_equal(files_in(incoming), 0);
  assert_int_equal(umount(incoming), 0);
}

TEST(a_read_only_incoming_folder) {
  if (!may_mount())
    skip();
  mount_at(incoming, MS_RDONLY, "");
  put("a.scp", "x");
  struct wire_message m = order();
  start(&m);
  expect_fail(-EROFS, WIRE_STEP_ACQUIRE);
  assert_int_equal(umount(incoming), 0);
}

static void check_other_mount(void) {
  folder("a");
  mount_at(in_tree("a"), 0, "");
  put("a/x.scp", "another file system");
  put("b.scp", "x");
  put("c.scp", "covered");
  put_at(in_tree("../other"), "over it");
  assert_int_equal(mount(in_tree("../other"), in_tree("c.scp"), NULL, MS_BIND, NULL), 0);
  struct wire_message m = order();
  struct wire_pass p = collect(&m);
  assert_int_equal(umount(in_tree("a")), 0);
  assert_int_equal(umount(in_tree("c.scp")), 0);
  if (run.no_openat2) /* one file over another on the same device: openat2() alone sees that */
    return;
  TOLD("b.scp");
  assert_int_equal(p.not_files, 1);
}

TEST(mounts_are_not_crossed) {
  if (!may_mount())
    skip();
  check_other_mount();
}

TEST(mounts_are_not_crossed_without_openat2) {
  if (!may_mount())
    skip();
  run.no_openat2 = true;
  check_other_mount();
  for (unsigned i = 0; i < run.n_told; i++)
    assert_null(strchr(run.told[i].name, '/'));
}

/* What becomes of a stick that is pulled out. */
TEST(a_tree_that_is_unmounted) {
  if (!may_mount())
    skip();
  mount_at(tree, 0, "");
  put("a.scp", "x");
  struct wire_message m = watch_order();
  m.collect.poll_s = 1;
  start(&m);
  pass_with(1);
  assert_int_equal(umount2(tree, MNT_DETACH), 0);
  expect_fail(-ENODEV, WIRE_STEP_ACQUIRE);
}

#define IN_BED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_BED(an_ordinary_tree),
      cmocka_unit_test_setup_teardown(an_ordinary_tree, set_up_on_disk, tear_down),
      cmocka_unit_test_setup_teardown(a_folder_that_is_watched, set_up_on_disk, tear_down),
      IN_BED(a_kernel_without_openat2),
      IN_BED(an_empty_tree),
      IN_BED(empty_and_too_large),
      IN_BED(what_is_no_file),
      IN_BED(what_is_no_file_without_openat2),
      IN_BED(its_own_folder_is_no_source),
      IN_BED(names_that_nobody_should_have),
      IN_BED(long_names_are_cut_between_characters),
      IN_BED(folders_within_folders),
      IN_BED(paths_longer_than_the_kernel_takes),
      IN_BED(more_entries_than_a_tree_may_have),
      IN_BED(ten_thousand_files),
      IN_BED(at_most_so_many_batches_ahead),
      IN_BED(batches_of_bytes),
      IN_BED(progress_is_told),
      IN_BED(an_answer_too_many),
      IN_BED(files_that_change_between_two_looks),
      IN_BED(files_that_change_without_two_looks),
      IN_BED(a_file_that_grows_while_it_is_copied),
      IN_BED(a_file_that_is_rewritten_while_it_is_copied),
      IN_BED(what_may_not_be_read),
      IN_BED(a_folder_that_is_watched),
      IN_BED(a_folder_that_nobody_watches_for_root),
      IN_BED(a_folder_that_is_polled),
      IN_BED(more_events_than_the_kernel_keeps),
      IN_BED(a_tree_that_is_moved_away),
      IN_BED(another_tree_in_its_place),
      IN_BED(a_tree_that_is_removed),
      IN_BED(a_tree_that_goes_within_a_pass),
      IN_BED(a_tree_that_is_none),
      IN_BED(cancel_and_the_end_of_the_daemon_while_it_waits),
      IN_BED(cancel_within_a_copy),
      IN_BED(the_daemon_ends_within_a_copy),
      IN_BED(a_daemon_that_does_not_listen),
      IN_BED(what_is_no_order),
      IN_BED(an_incoming_folder_that_others_use),
      IN_BED(numbers_that_are_taken),
      cmocka_unit_test(the_set_of_prints),
      IN_BED(a_full_incoming_folder),
      IN_BED(a_read_only_incoming_folder),
      IN_BED(mounts_are_not_crossed),
      IN_BED(mounts_are_not_crossed_without_openat2),
      IN_BED(a_tree_that_is_unmounted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
