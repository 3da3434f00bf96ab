/* The site's key: made once, whole or not at all, and never replaced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "site_key.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct bed {
  char dir[64];
};

static int setup(void **state) {
  struct bed *b = calloc(1, sizeof *b);
  const char *tmp = getenv("TMPDIR");
  if (!b || hash_open() < 0)
    return -1;
  snprintf(b->dir, sizeof b->dir, "%.32s/asaleed-unit-XXXXXX", tmp ? tmp : "/tmp");
  *state = b;
  return mkdtemp(b->dir) ? 0 : -1;
}

static const char *path(const struct bed *b, const char *name) {
  static char paths[2][128];
  static unsigned next;
  char *p = paths[next++ % 2];
  snprintf(p, sizeof paths[0], "%s/%s", b->dir, name);
  return p;
}

static int teardown(void **state) {
  struct bed *b = *state;
  unlink(path(b, "site.key"));
  unlink(path(b, "site.key.new"));
  rmdir(path(b, "site.key"));
  rmdir(b->dir);
  free(b);
  return 0;
}

static void write_key(const struct bed *b, const char *name, int c, size_t n, mode_t mode) {
  char bytes[64];
  memset(bytes, c, sizeof bytes);
  unlink(path(b, name));
  int fd = open(path(b, name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, bytes, n), n);
  close(fd);
}

static void test_made_once(void **state) {
  struct bed *b = *state;
  struct site_key k, again;
  struct stat st;
  memset(&k, 0x5a, sizeof k);
  memcpy(&again, &k, sizeof k);
  assert_int_equal(site_key_open(b->dir, false, &k), -ENOKEY);
  assert_memory_equal(&k, &again, sizeof k);
  assert_int_equal(site_key_open("/nonexistent/folder", true, &k), -ENOENT);
  mode_t mask = umask(0);
  assert_int_equal(site_key_open(b->dir, true, &k), 0);
  umask(mask);
  assert_int_equal(stat(path(b, "site.key"), &st), 0);
  assert_int_equal(st.st_mode, S_IFREG | 0600);
  assert_int_equal(st.st_size, 32);
  assert_int_equal(st.st_nlink, 1);
  assert_int_equal(access(path(b, "site.key.new"), F_OK), -1);
  for (int make = 0; make < 2; make++) {
    assert_int_equal(site_key_open(b->dir, make, &again), 0);
    assert_memory_equal(&again, &k, sizeof k);
  }
  /* One for each purpose, and none is the file's bytes. */
  uint8_t root[32];
  FILE *f = fopen(path(b, "site.key"), "re");
  assert_non_null(f);
  assert_int_equal(fread(root, 1, 32, f), 32);
  fclose(f);
  const uint8_t *keys[] = {root, k.seal, k.wrap, k.public, k.secret};
  for (size_t i = 0; i < 5; i++)
    for (size_t j = i + 1; j < 5; j++)
      assert_memory_not_equal(keys[i], keys[j], 32);
  uint8_t signature[SIGNATURE_BYTES];
  signature_make(k.secret, "abc", 3, signature);
  assert_true(signature_holds(again.public, "abc", 3, signature));
  assert_false(signature_holds(again.public, "abd", 3, signature));
  site_key_close(&k);
  for (size_t i = 0; i < sizeof k; i++)
    assert_int_equal(((uint8_t *)&k)[i], 0);
}

/* Another key, another everything; the same key, the same for ever: what is sealed today must be so in ten years. */
static void test_derived(void **state) {
  struct bed *b = *state;
  struct site_key one, other;
  /* By another BLAKE2b (Python's hashlib) and the arithmetic of RFC 8032. */
  static const uint8_t seal[4] = {0x76, 0x42, 0x15, 0xef}, wrap[4] = {0x13, 0x28, 0x32, 0x4d},
                       public[4] = {0x0f, 0x31, 0x28, 0x6a};
  write_key(b, "site.key", 1, 32, 0600);
  assert_int_equal(site_key_open(b->dir, false, &one), 0);
  assert_memory_equal(one.seal, seal, 4);
  assert_memory_equal(one.wrap, wrap, 4);
  assert_memory_equal(one.public, public, 4);
  write_key(b, "site.key", 2, 32, 0600);
  assert_int_equal(site_key_open(b->dir, false, &other), 0);
  assert_memory_not_equal(one.seal, other.seal, 32);
  assert_memory_not_equal(one.wrap, other.wrap, 32);
  assert_memory_not_equal(one.public, other.public, 32);
}

/* What is no key stays as it is, whether one may be made or not. */
static void test_damaged(void **state) {
  struct bed *b = *state;
  struct site_key k;
  struct stat st;
  for (size_t n = 0; n <= 40; n++) {
    if (n == 32)
      continue;
    write_key(b, "site.key", 3, n, 0600);
    assert_int_equal(site_key_open(b->dir, n % 2, &k), -EUCLEAN);
    assert_int_equal(stat(path(b, "site.key"), &st), 0);
    assert_int_equal(st.st_size, n);
  }
  unlink(path(b, "site.key"));
  write_key(b, "site.key.new", 3, 32, 0600);
  assert_int_equal(symlink(path(b, "site.key.new"), path(b, "site.key")), 0);
  assert_int_equal(site_key_open(b->dir, true, &k), -EUCLEAN);
  unlink(path(b, "site.key"));
  assert_int_equal(mkfifo(path(b, "site.key"), 0600), 0);
  assert_int_equal(site_key_open(b->dir, true, &k), -EUCLEAN); /* and does not wait */
  unlink(path(b, "site.key"));
  assert_int_equal(mkdir(path(b, "site.key"), 0700), 0);
  assert_int_equal(site_key_open(b->dir, true, &k), -EUCLEAN);
}

/* Put back from a backup with everybody's rights: used, and closed to the others. */
static void test_rights(void **state) {
  struct bed *b = *state;
  struct site_key k;
  struct stat st;
  mode_t mask = umask(0);
  write_key(b, "site.key", 4, 32, 0644);
  umask(mask);
  assert_int_equal(site_key_open(b->dir, false, &k), 0);
  assert_int_equal(stat(path(b, "site.key"), &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
}

/* Left by a run that was killed: before the name was there, and after. */
static void test_left_over(void **state) {
  struct bed *b = *state;
  struct site_key k, again;
  write_key(b, "site.key.new", 5, 7, 0600);
  assert_int_equal(site_key_open(b->dir, true, &k), 0);
  assert_int_equal(access(path(b, "site.key.new"), F_OK), -1);
  assert_int_equal(link(path(b, "site.key"), path(b, "site.key.new")), 0);
  assert_int_equal(site_key_open(b->dir, true, &again), 0);
  assert_memory_equal(&k, &again, sizeof k);
  assert_int_equal(access(path(b, "site.key.new"), F_OK), -1);
}

static void test_cannot_write(void **state) {
  struct bed *b = *state;
  struct site_key k;
  struct rlimit before, none;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  none = before;
  none.rlim_cur = 10;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
  int r = site_key_open(b->dir, true, &k);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(r, -EFBIG);
  assert_int_equal(access(path(b, "site.key"), F_OK), -1);
  assert_int_equal(site_key_open(b->dir, true, &k), 0);
}

/* Of many that make it at once each has the one that stays, or none. */
static void test_race(void **state) {
  struct bed *b = *state;
  int pipes[2];
  struct site_key k, one;
  unsigned n = 0;
  assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
  for (int i = 0; i < 16; i++)
    if (fork() == 0) {
      if (site_key_open(b->dir, true, &k) == 0 && write(pipes[1], &k, sizeof k) != sizeof k)
        _exit(1);
      _exit(0);
    }
  close(pipes[1]);
  for (int status; wait(&status) > 0;)
    assert_int_equal(status, 0);
  assert_int_equal(site_key_open(b->dir, false, &one), 0);
  for (; read(pipes[0], &k, sizeof k) == sizeof k; n++)
    assert_memory_equal(&k, &one, sizeof k);
  close(pipes[0]);
  assert_true(n > 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(made_once), TEST(derived), TEST(damaged), TEST(rights), TEST(left_over), TEST(cannot_write), TEST(race),
  };
  return cmocka_run_group_tests_name("site_key", tests, NULL, NULL);
}
