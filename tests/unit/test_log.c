#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define TEST(name) static void name(void **state __attribute__((unused)))

static int sink = -1, real = -1;
static char said[8192];

static void listen_in(void) {
  sink = memfd_create("log", MFD_CLOEXEC);
  real = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  assert_true(sink >= 0 && real >= 0);
  assert_true(dup2(sink, STDERR_FILENO) >= 0);
}

static const char *heard(void) {
  assert_true(dup2(real, STDERR_FILENO) >= 0);
  ssize_t n = pread(sink, said, sizeof said - 1, 0);
  close(sink);
  close(real);
  assert_true(n >= 0);
  said[n] = 0;
  assert_int_equal(strlen(said), n);
  return said;
}

TEST(plain) {
  unsetenv("JOURNAL_STREAM");
  log_open("unit", LOG_DEBUG);
  listen_in();
  log_error("a %d", 1);
  log_warning("b %s", "two");
  log_notice("c");
  log_info("d");
  log_debug("e %%");
  assert_string_equal(heard(), "unit: a 1\nunit: b two\nunit: c\nunit: d\nunit: e %\n");
}

TEST(journal) {
  setenv("JOURNAL_STREAM", "8:1", 1);
  log_open("unit", LOG_DEBUG);
  unsetenv("JOURNAL_STREAM");
  listen_in();
  log_error("a");
  log_warning("b");
  log_notice("c");
  log_info("d");
  log_debug("e");
  assert_int_equal(log_errno(LOG_ERROR, -ENOENT, "f"), -ENOENT);
  assert_string_equal(heard(), "<3>a\n<4>b\n<5>c\n<6>d\n<7>e\n<3>f: No such file or directory\n");
}

TEST(levels) {
  static const enum log_level all[] = {LOG_ERROR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG};
  for (size_t most = 0; most < 5; most++) {
    log_open("u", all[most]);
    listen_in();
    for (size_t i = 0; i < 5; i++)
      log_line(all[i], "%zu", i);
    char want[64] = "";
    for (size_t i = 0; i <= most; i++)
      strcat(strcat(strcat(want, "u: "), (char[]){(char)('0' + i), 0}), "\n");
    assert_string_equal(heard(), want);
  }
  log_open("u", LOG_ERROR);
  listen_in();
  assert_int_equal(log_errno(LOG_WARNING, -EIO, "x"), -EIO); /* dropped, and still passed on */
  assert_string_equal(heard(), "");
}

TEST(errors) {
  log_open("u", LOG_DEBUG);
  listen_in();
  assert_int_equal(log_errno(LOG_WARNING, -EPROTO, "%s %d", "device", 3), -EPROTO);
  assert_int_equal(log_errno(LOG_ERROR, -99999, "odd"), -99999);
  assert_string_equal(heard(), "u: device 3: Protocol error\nu: odd: unknown error\n");
}

TEST(errno_is_kept) {
  log_open("u", LOG_DEBUG);
  listen_in();
  errno = EXDEV;
  log_info("x");
  int after_line = errno;
  errno = EXDEV;
  log_errno(LOG_INFO, -EIO, "x");
  int after_errno = errno;
  heard();
  assert_int_equal(after_line, EXDEV);
  assert_int_equal(after_errno, EXDEV);
  listen_in();
  close(STDERR_FILENO); /* nobody left to tell */
  errno = EXDEV;
  log_info("x");
  after_line = errno;
  heard();
  assert_int_equal(after_line, EXDEV);
}

TEST(one_event_one_line) {
  log_open("u", LOG_DEBUG);
  listen_in();
  log_info("a\nb\rc\td\x1b[31m\x01"
           "e");
  log_info("forged\nu: <0>line");
  log_info("%s", "é");
  assert_string_equal(heard(), "u: a b c d [31m e\nu: forged u: <0>line\nu: é\n");
}

TEST(long_lines) {
  log_open("u", LOG_DEBUG);
  for (size_t n = 900; n < 1200; n++) {
    char text[1201];
    memset(text, 'a', n);
    text[n] = 0;
    listen_in();
    log_info("%s", text);
    log_errno(LOG_INFO, -EIO, "%s", text);
    log_info("next");
    const char *got = heard(), *second = strchr(got, '\n'), *third = second ? strchr(second + 1, '\n') : NULL;
    assert_non_null(third);
    assert_string_equal(third + 1, "u: next\n");
    assert_true(second - got <= 1023 && third - second <= 1024);
    assert_memory_equal(got, "u: aaaa", 7);
    size_t kept = strspn(got + 3, "a");
    assert_int_equal(kept, second - got - 3);
    assert_true(kept == n || kept >= 1000);
  }
  char program[3000];
  memset(program, 'p', sizeof program);
  program[sizeof program - 1] = 0;
  log_open(program, LOG_DEBUG);
  listen_in();
  log_info("x");
  const char *got = heard();
  assert_true(strlen(got) < 1024);
  assert_int_equal(got[strlen(got) - 1], '\n');
  assert_string_equal(got + strspn(got, "p"), ": x\n");
  log_open("u", LOG_DEBUG);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain),      cmocka_unit_test(journal),       cmocka_unit_test(levels),
      cmocka_unit_test(errors),     cmocka_unit_test(errno_is_kept), cmocka_unit_test(one_event_one_line),
      cmocka_unit_test(long_lines),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
