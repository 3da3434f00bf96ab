/* Artefacts: durable names, deduplication, and files that somebody damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"
#include "str.h"
#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define ROWS "SELECT count(*) FROM artefact"

static const char text[] = "asaleed-capture 1\nend ok\n";
#define TEXT_N (sizeof text - 1)

static const char *file_of(const struct store_bed *b, const char *sha) {
  static char path[512];
  snprintf(path, sizeof path, "%s/artefacts/%.2s/%s", b->dir, sha, sha);
  return path;
}

static void put(struct store_bed *b, const void *bytes, size_t n, char sha[static HASH_TEXT]) {
  bed_begin(b);
  assert_int_equal(artefact_put(b->artefacts, b->store, "capture", bytes, n, 1, sha), 0);
  bed_keep(b);
}

static void check(struct store_bed *b, const char *sha, const void *bytes, size_t n) {
  uint8_t *got;
  size_t got_n;
  assert_int_equal(artefact_get(b->artefacts, sha, n, &got, &got_n), 0);
  assert_int_equal(got_n, n);
  assert_memory_equal(got, bytes, n);
  free(got);
}

static int get(struct store_bed *b, const char *sha) {
  uint8_t *got = (uint8_t *)1;
  size_t n = 42;
  int r = artefact_get(b->artefacts, sha, 1 << 20, &got, &n);
  if (r == 0)
    free(got);
  else if (got != (uint8_t *)1 || n != 42)
    fail_msg("the results were touched on failure");
  return r;
}

/* Files in the artefact's folder. */
static unsigned files_beside(const struct store_bed *b, const char *sha) {
  char path[512];
  unsigned n = 0;
  snprintf(path, sizeof path, "%s/artefacts/%.2s", b->dir, sha);
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));)
    n += e->d_name[0] != '.';
  if (d)
    closedir(d);
  return n;
}

static void overwrite(const char *path, const void *bytes, size_t n) {
  unlink(path);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  fclose(f);
}

static void test_put_get(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT], said[HASH_TEXT];
  struct stat st;
  put(b, text, TEXT_N, sha);
  hash_sha256_text(text, TEXT_N, said);
  assert_string_equal(sha, said);
  assert_int_equal(stat(file_of(b, sha), &st), 0);
  assert_int_equal(st.st_mode & 0777, 0400);
  assert_int_equal(st.st_size, TEXT_N);
  assert_int_equal(files_beside(b, sha), 1); /* no temporary stays */
  check(b, sha, text, TEXT_N);
  assert_int_equal(bed_int(b, "SELECT bytes FROM artefact WHERE kind = 'capture' AND at = 1"), TEXT_N);
  bed_down(b);
  bed_up(b);
  check(b, sha, text, TEXT_N);
  put(b, "", 0, sha);
  check(b, sha, "", 0);
}

static void test_large(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  size_t n = 33u << 20;
  uint8_t *bytes = malloc(n);
  assert_non_null(bytes);
  for (size_t i = 0; i < n; i++)
    bytes[i] = (uint8_t)(i * 7 + i / 251);
  put(b, bytes, n, sha);
  check(b, sha, bytes, n);
  free(bytes);
}

static void test_every_shelf(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  bed_begin(b);
  for (int i = 0; i < 300; i++) {
    assert_int_equal(artefact_put(b->artefacts, b->store, "samples", &i, sizeof i, 1, sha), 0);
    check(b, sha, &i, sizeof i);
  }
  bed_keep(b);
  assert_int_equal(bed_int(b, ROWS), 300);
}

static void test_same_again(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT], again[HASH_TEXT];
  struct stat one, two;
  put(b, text, TEXT_N, sha);
  assert_int_equal(stat(file_of(b, sha), &one), 0);
  put(b, text, TEXT_N, again);
  assert_string_equal(sha, again);
  assert_int_equal(stat(file_of(b, sha), &two), 0);
  assert_int_equal(one.st_ino, two.st_ino);
  assert_int_equal(bed_int(b, ROWS), 1);
}

/* An act that is undone leaves a file without a row; the next put of the same bytes makes both whole. */
static void test_undone(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  bed_begin(b);
  assert_int_equal(artefact_put(b->artefacts, b->store, "capture", text, TEXT_N, 1, sha), 0);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  assert_int_equal(bed_int(b, ROWS), 0);
  put(b, text, TEXT_N, sha);
  assert_int_equal(bed_int(b, ROWS), 1);
  check(b, sha, text, TEXT_N);
  assert_int_equal(artefact_put(b->artefacts, b->store, "novel", "x", 1, 1, sha), -EPERM); /* no such kind */
}

/* Every way in which the file may have been changed: found when it is read, mended when it is put again. */
static void test_damaged(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT], bytes[TEXT_N + 1];
  unsigned n = 0;
  put(b, text, TEXT_N, sha);
  for (size_t i = 0; i < TEXT_N * 8; i++, n++) {
    memcpy(bytes, text, TEXT_N);
    bytes[i / 8] = (char)(bytes[i / 8] ^ (1 << i % 8));
    overwrite(file_of(b, sha), bytes, TEXT_N);
    assert_int_equal(get(b, sha), -EUCLEAN);
  }
  for (size_t cut = 0; cut < TEXT_N; cut++, n++) {
    overwrite(file_of(b, sha), text, cut);
    assert_int_equal(get(b, sha), -EUCLEAN);
  }
  memcpy(bytes, text, TEXT_N + 1);
  overwrite(file_of(b, sha), bytes, TEXT_N + 1);
  assert_int_equal(get(b, sha), -EUCLEAN);
  put(b, text, TEXT_N, sha);
  check(b, sha, text, TEXT_N);
  overwrite(file_of(b, sha), "x", 1);
  put(b, text, TEXT_N, sha);
  check(b, sha, text, TEXT_N);
  /* Larger than anything stored: refused without reading it. */
  overwrite(file_of(b, sha), "", 0);
  assert_int_equal(truncate(file_of(b, sha), 1ll << 40), 0);
  assert_int_equal(get(b, sha), -EUCLEAN);
  put(b, text, TEXT_N, sha);
  check(b, sha, text, TEXT_N);
  print_message("# %u damaged files found\n", n + 2);
}

static void test_missing(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT], shelf[512];
  put(b, text, TEXT_N, sha);
  assert_int_equal(unlink(file_of(b, sha)), 0);
  assert_int_equal(get(b, sha), -ENOENT);
  put(b, text, TEXT_N, sha);
  check(b, sha, text, TEXT_N);
  assert_int_equal(unlink(file_of(b, sha)), 0);
  snprintf(shelf, sizeof shelf, "%s/artefacts/%.2s", b->dir, sha);
  assert_int_equal(rmdir(shelf), 0);
  assert_int_equal(get(b, sha), -ENOENT);
  put(b, text, TEXT_N, sha);
  check(b, sha, text, TEXT_N);
  assert_int_equal(bed_int(b, ROWS), 1);
}

/* Nothing is read or written through a link, whatever it points to. */
static void test_links(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT], temporary[600];
  const char *victim = bed_path(b, "victim");
  char kept[64] = "";
  put(b, text, TEXT_N, sha);
  /* In the artefact's place: even a link to the very same bytes. */
  for (int same = 0; same < 2; same++) {
    overwrite(victim, same ? text : "precious", same ? TEXT_N : 8);
    unlink(file_of(b, sha));
    assert_int_equal(symlink(victim, file_of(b, sha)), 0);
    assert_int_equal(get(b, sha), -EUCLEAN);
  }
  overwrite(victim, "precious", 8);
  put(b, text, TEXT_N, sha);
  check(b, sha, text, TEXT_N);
  /* In the temporary's place: a symbolic link, a hard link. */
  snprintf(temporary, sizeof temporary, "%s.new", file_of(b, sha));
  for (int hard = 0; hard < 2; hard++) {
    unlink(file_of(b, sha));
    assert_int_equal(hard ? link(victim, temporary) : symlink(victim, temporary), 0);
    put(b, text, TEXT_N, sha);
    check(b, sha, text, TEXT_N);
    assert_int_equal(files_beside(b, sha), 1);
  }
  FILE *f = fopen(victim, "r");
  assert_non_null(f);
  assert_non_null(fgets(kept, sizeof kept, f));
  fclose(f);
  assert_string_equal(kept, "precious");
  /* A folder in the file's place is not the file, and says so. */
  unlink(file_of(b, sha));
  assert_int_equal(mkdir(file_of(b, sha), 0700), 0);
  assert_int_equal(get(b, sha), -EUCLEAN);
  bed_begin(b);
  assert_true(artefact_put(b->artefacts, b->store, "capture", text, TEXT_N, 1, sha) < 0);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  assert_int_equal(rmdir(file_of(b, sha)), 0);
  put(b, text, TEXT_N, sha);
}

/* A run that was killed between writing and renaming. */
static void test_left_over(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT], temporary[600];
  put(b, text, TEXT_N, sha);
  snprintf(temporary, sizeof temporary, "%s.new", file_of(b, sha));
  unlink(file_of(b, sha));
  overwrite(temporary, "half of it, and longer than the whole would have been", 50);
  assert_int_equal(chmod(temporary, 0400), 0);
  put(b, text, TEXT_N, sha);
  check(b, sha, text, TEXT_N);
  assert_int_equal(files_beside(b, sha), 1);
}

static void test_names(void **state) {
  struct store_bed *b = *state;
  static const char *const bad[] = {"",
                                    "aa",
                                    "../../../../etc/passwd",
                                    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                    "../aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(get(b, bad[i]), -EINVAL);
}

static void test_cannot_write(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  static char big[100000];
  struct rlimit before, small;
  put(b, text, TEXT_N, sha);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  small = before;
  small.rlim_cur = 65536;
  hash_sha256_text(big, sizeof big, sha);
  bed_begin(b);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  int r = artefact_put(b->artefacts, b->store, "capture", big, sizeof big, 1, sha);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(r, -EFBIG);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  assert_int_equal(bed_int(b, ROWS), 1);
  assert_int_equal(files_beside(b, sha), 0);
  put(b, big, sizeof big, sha);
  check(b, sha, big, sizeof big);
}

/* ---- in slices ---- */

static unsigned incoming(const struct store_bed *b) {
  unsigned n = 0;
  DIR *d = opendir(bed_path(b, "artefacts/incoming"));
  assert_non_null(d);
  for (const struct dirent *e; (e = readdir(d));)
    n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

static int source_of(const void *bytes, size_t n) {
  int fd = memfd_create("source", MFD_CLOEXEC);
  assert_int_equal(write(fd, bytes, n), n);
  return fd;
}

static void test_slices(void **state) {
  struct store_bed *b = *state;
  static const size_t sizes[] = {0, 1, 65536, 65537, (1u << 20) - 1, 1u << 20, (1u << 20) + 1, 3u << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t n = sizes[i];
    uint8_t *bytes = malloc(n + 7);
    for (size_t k = 0; k < n + 7; k++)
      bytes[k] = (uint8_t)(k * 5 + k / 253 + i);
    int source = source_of(bytes, n + 7);
    struct artefact_writer *w;
    char sha[HASH_TEXT];
    struct stat st;
    unsigned slices = 1;
    int r;
    hash_sha256_text(bytes + 4, n, sha);
    assert_int_equal(artefact_writer_start(b->artefacts, source, 4, n, &w), 0);
    while ((r = artefact_writer_step(w)) == 1) {
      slices++;
      assert_int_equal(incoming(b), 1);
      assert_int_equal(get(b, sha), -ENOENT); /* not there before it is whole */
    }
    assert_int_equal(r, 0);
    assert_int_equal(slices, n ? (n + (1u << 20) - 1) >> 20 : 1);
    assert_string_equal(artefact_writer_sha256(w), sha);
    artefact_writer_free(w);
    assert_int_equal(incoming(b), 0);
    check(b, sha, bytes + 4, n);
    assert_int_equal(stat(file_of(b, sha), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0400);
    close(source);
    free(bytes);
  }
  assert_int_equal(bed_int(b, ROWS), 0);
}

/* The same bytes are there already, as they were or damaged: afterwards they are whole. */
static void test_slices_again(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT];
  put(b, text, TEXT_N, sha);
  int source = source_of(text, TEXT_N);
  for (int damaged = 0; damaged < 2; damaged++) {
    struct artefact_writer *w;
    if (damaged)
      overwrite(file_of(b, sha), "x", 1);
    assert_int_equal(artefact_writer_start(b->artefacts, source, 0, TEXT_N, &w), 0);
    assert_int_equal(artefact_writer_step(w), 0);
    artefact_writer_free(w);
    check(b, sha, text, TEXT_N);
    assert_int_equal(files_beside(b, sha), 1);
  }
  close(source);
}

static void test_slices_fail(void **state) {
  struct store_bed *b = *state;
  struct artefact_writer *w;
  int source = source_of(text, TEXT_N), full = open("/dev/null", O_WRONLY | O_CLOEXEC);
  assert_int_equal(artefact_writer_start(b->artefacts, source, 0, TEXT_N + 1, &w), 0);
  assert_int_equal(artefact_writer_step(w), -EUCLEAN); /* the source is shorter */
  artefact_writer_free(w);
  assert_int_equal(artefact_writer_start(b->artefacts, full, 0, TEXT_N, &w), 0);
  assert_true(artefact_writer_step(w) < 0);
  artefact_writer_free(w);
  artefact_writer_free(NULL);
  assert_int_equal(incoming(b), 0);
  close(source);
  close(full);
}

/* Killed between two slices: at the next start nothing of it is left, and a scratch file never has a name. */
static void test_slices_killed(void **state) {
  struct store_bed *b = *state;
  size_t n = 3u << 20;
  uint8_t *bytes = calloc(1, n);
  int source = source_of(bytes, n);
  free(bytes);
  pid_t child = fork();
  if (child == 0) {
    struct artefact_writer *w;
    if (artefact_writer_start(b->artefacts, source, 0, n, &w) < 0 || artefact_writer_step(w) != 1 ||
        artefacts_scratch(b->artefacts) < 0)
      _exit(1);
    _exit(0);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_int_equal(incoming(b), 1);
  bed_down(b);
  /* A folder that somebody put there is not ours to empty, and stands in nobody's way. */
  assert_int_equal(mkdir(bed_path(b, "artefacts/incoming/folder"), 0700), 0);
  bed_up(b);
  assert_int_equal(incoming(b), 1);
  int scratch = artefacts_scratch(b->artefacts), other = artefacts_scratch(b->artefacts);
  assert_true(scratch >= 0 && other >= 0);
  assert_int_equal(incoming(b), 1);
  assert_int_equal(pwrite(scratch, "abc", 3, 0), 3);
  assert_int_equal(lseek(other, 0, SEEK_END), 0);
  close(scratch);
  close(other);
  close(source);
}

static void test_open(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT], read_back[TEXT_N];
  put(b, text, TEXT_N, sha);
  int fd = artefact_open(b->artefacts, sha);
  assert_true(fd >= 0);
  assert_int_equal(read(fd, read_back, TEXT_N), TEXT_N);
  assert_memory_equal(read_back, text, TEXT_N);
  close(fd);
  assert_int_equal(artefact_open(b->artefacts, "../../etc/passwd"), -EINVAL);
  unlink(file_of(b, sha));
  assert_int_equal(artefact_open(b->artefacts, sha), -ENOENT);
  assert_int_equal(symlink("/etc/passwd", file_of(b, sha)), 0);
  assert_true(artefact_open(b->artefacts, sha) < 0);
}

/* What a collector left becomes artefacts on few shelves and on many; a shelf that was made for that takes others. */
static void test_taken(void **state) {
  struct store_bed *b = *state;
  char sha[300][HASH_TEXT], name[ARTEFACT_NAME_MAX], bytes[16], folder[ARTEFACT_FOLDER_MAX];
  _fd_cleanup_ int into = artefacts_incoming(b->artefacts, folder);
  assert_true(into >= 0);
  for (unsigned i = 0; i < 300; i++) {
    const int n = snprintf(bytes, sizeof bytes, "file %u", i);
    snprintf(name, sizeof name, "%s/%u", folder, i);
    _fd_cleanup_ int fd = openat(into, strchr(name, '/') + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    assert_int_equal(write(fd, bytes, (size_t)n), n);
    hash_sha256_text(bytes, (size_t)n, sha[i]);
    assert_int_equal(artefact_take(b->artefacts, name, sha[i], (uint64_t)n), 0);
    assert_int_equal(artefact_take(b->artefacts, name, sha[i], (uint64_t)n), 0);
    if (i == 1 || i == 299)
      assert_int_equal(artefacts_settle(b->artefacts), 0);
    if (i == 109) { /* "text 63" and "file 109", the first there, are of one shelf */
      char other[HASH_TEXT];
      put(b, "text 63", 7, other);
      assert_memory_equal(other, sha[i], 2);
      check(b, other, "text 63", 7);
    }
  }
  assert_int_equal(artefacts_settle(b->artefacts), 0);
  for (unsigned i = 0; i < 300; i++)
    check(b, sha[i], bytes, (size_t)snprintf(bytes, sizeof bytes, "file %u", i));
  assert_int_equal(artefact_take(b->artefacts, "no such file", sha[0], 6), 0); /* it is there */
  assert_int_equal(artefact_take(b->artefacts, "no such file", "00", 6), -EINVAL);
}

/* What a collector hands over. */
static int hand_over(struct store_bed *b, const char *folder, const char *name, const char *bytes, const char *sha,
                     uint64_t n) {
  char path[512], within[64];
  snprintf(path, sizeof path, "%s/artefacts/incoming/%s/%s", b->dir, folder, name);
  int fd = bytes ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0400) : -1;
  if (fd >= 0) {
    assert_int_equal(write(fd, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
    close(fd);
  }
  snprintf(within, sizeof within, "%s/%s", folder, name);
  return artefact_take(b->artefacts, within, sha, n);
}

static void test_take(void **state) {
  struct store_bed *b = *state;
  char one[ARTEFACT_FOLDER_MAX], two[ARTEFACT_FOLDER_MAX], sha[HASH_TEXT], known[HASH_TEXT];
  int first = artefacts_incoming(b->artefacts, one), second = artefacts_incoming(b->artefacts, two);
  assert_true(first >= 0 && second >= 0);
  assert_string_not_equal(one, two);
  hash_sha256_text("abc", 3, sha);
  /* The same name from two. */
  assert_int_equal(hand_over(b, one, "1", "abc", sha, 3), 0);
  assert_int_equal(hand_over(b, one, "1", NULL, sha, 3), 0); /* again, after an act that was undone */
  check(b, sha, "abc", 3);
  assert_int_equal(hand_over(b, two, "1", "abc", sha, 3), 0);
  check(b, sha, "abc", 3);
  /* What is there stays, whatever a collector says of its bytes. */
  put(b, text, TEXT_N, known);
  char other[TEXT_N + 1];
  memset(other, 'z', TEXT_N);
  other[TEXT_N] = 0;
  assert_int_equal(hand_over(b, one, "2", other, known, TEXT_N), 0);
  check(b, known, text, TEXT_N);
  /* No file, another length, a link, a folder, no hash. */
  hash_sha256_text("none", 4, sha);
  assert_int_equal(hand_over(b, one, "3", NULL, sha, 4), -EPROTO);
  assert_int_equal(hand_over(b, one, "3", "none", sha, 5), -EPROTO);
  assert_int_equal(symlinkat("/etc/passwd", first, "4"), 0);
  assert_int_equal(hand_over(b, one, "4", NULL, sha, 11), -EPROTO);
  assert_int_equal(mkdirat(first, "5", 0700), 0);
  assert_int_equal(hand_over(b, one, "5", NULL, sha, 4096), -EPROTO);
  assert_int_equal(hand_over(b, one, "3", NULL, "../../x", 4), -EINVAL);
  assert_int_equal(artefacts_settle(b->artefacts), 0);
  assert_int_equal(artefacts_settle(b->artefacts), 0);
  /* All that is left of it goes with it, at its end or at the next start. */
  artefacts_incoming_remove(b->artefacts, one);
  assert_int_equal(incoming(b), 1);
  assert_int_equal(mkdirat(second, "6", 0700), 0);
  close(first);
  close(second);
  bed_down(b);
  bed_up(b);
  assert_int_equal(incoming(b), 0);
}

/* A row goes under an erasure and while nothing refers to it, the file when somebody says so; both as often as one
 * likes. */
static void test_erased(void **state) {
  struct store_bed *b = *state;
  char sha[HASH_TEXT], other[HASH_TEXT], shelf[512];
  put(b, text, TEXT_N, sha);
  put(b, "other", 5, other);
  bed_begin(b);
  assert_int_equal(artefact_forget(b->store, sha), -EPERM);
  assert_int_equal(
      store_run(b->store, "INSERT INTO erasure(what, ref, archive, at, by) VALUES('patient','P','a',1,'u')", ""), 1);
  assert_int_equal(
      store_run(b->store, "INSERT INTO file(sha256, name, source, by, at) VALUES(?,'n','upload','u',1)", "t", sha), 1);
  assert_int_equal(artefact_forget(b->store, sha), -EPERM);
  assert_int_equal(store_run(b->store, "DELETE FROM file", ""), 1);
  assert_int_equal(artefact_forget(b->store, sha), 0);
  assert_int_equal(artefact_forget(b->store, sha), 0);
  store_undo(b->store);
  bed_begin(b);
  assert_int_equal(
      store_run(b->store, "INSERT INTO erasure(what, ref, archive, at, by) VALUES('patient','P','a',1,'u')", ""), 1);
  assert_int_equal(artefact_forget(b->store, sha), 0);
  bed_keep(b);
  check(b, sha, text, TEXT_N);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(artefact_erase(b->artefacts, sha), 0);
    assert_int_equal(get(b, sha), -ENOENT);
  }
  check(b, other, "other", 5);
  snprintf(shelf, sizeof shelf, "%s/artefacts/%.2s", b->dir, sha);
  assert_int_equal(rmdir(shelf), 0);
  assert_int_equal(artefact_erase(b->artefacts, sha), 0);
  assert_int_equal(artefact_erase(b->artefacts, "../../asaleed.db"), -EINVAL);
  assert_int_equal(access(bed_path(b, "asaleed.db"), F_OK), 0);
  /* What lies there and is no file cannot be erased, and says so. */
  assert_int_equal(mkdir(shelf, 0700), 0);
  assert_int_equal(mkdir(file_of(b, sha), 0700), 0);
  assert_int_equal(artefact_erase(b->artefacts, sha), -EISDIR);
  assert_int_equal(rmdir(file_of(b, sha)), 0);
  /* The same bytes may come again. */
  put(b, text, TEXT_N, sha);
  check(b, sha, text, TEXT_N);
  assert_int_equal(bed_int(b, ROWS), 2);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, bed_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(put_get),      TEST(large),   TEST(every_shelf),  TEST(same_again),  TEST(undone),
      TEST(damaged),      TEST(missing), TEST(links),        TEST(left_over),   TEST(names),
      TEST(cannot_write), TEST(slices),  TEST(slices_again), TEST(slices_fail), TEST(slices_killed),
      TEST(open),         TEST(taken),   TEST(take),         TEST(erased),
  };
  return cmocka_run_group_tests_name("artefact", tests, NULL, NULL);
}
