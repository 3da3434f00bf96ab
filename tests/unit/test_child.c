/* How the daemon starts a program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "child.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define FDS 4

static int status_of(pid_t pid) {
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A file of one letter, as that descriptor. */
static int file(char letter, int as) {
  int low = memfd_create("letter", MFD_CLOEXEC), fd = fcntl(low, F_DUPFD_CLOEXEC, 300);
  close(low);
  assert_int_equal(write(fd, &letter, 1), 1);
  assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
  assert_int_equal(dup3(fd, as, O_CLOEXEC), as);
  close(fd);
  return as;
}

/* Wherever ours lie, above all where the child's are to be and where they pass. */
static void test_each_in_its_place(void **state) {
  (void)state;
  static const int ours[][FDS] = {{20, 21, 22, 23},     {6, 5, 4, 3},         {4, 3, 6, 5},     {24, 7, 8, 9},
                                  {103, 102, 101, 100}, {101, 100, 103, 102}, {7, 100, 5, 104}, {200, 100, 101, 102}};
  static const char *const args[] = {"-c", "cat /dev/fd/3 /dev/fd/4 /dev/fd/5 /dev/fd/6 && ls /dev/fd | wc -l", NULL};
  for (size_t k = 0; k < sizeof ours / sizeof *ours; k++) {
    int pipe_fd[2], keep[FDS];
    pid_t pid;
    char text[32] = "";
    for (int i = 0; i < FDS; i++)
      keep[i] = file((char)('a' + i), ours[k][i]);
    assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);
    assert_int_equal(child_spawn("/bin/sh", args, pipe_fd[1], keep, FDS, &pid), 0);
    close(pipe_fd[1]);
    assert_int_equal(status_of(pid), 0);
    assert_true(read(pipe_fd[0], text, sizeof text - 1) > 0);
    assert_memory_equal(text, "abcd", FDS);
    assert_int_equal(strtol(text + FDS, NULL, 10), 3 + FDS + 1); /* and the folder that ls reads */
    close(pipe_fd[0]);
    for (int i = 0; i < FDS; i++)
      close(keep[i]);
  }
}

static void test_alone(void **state) {
  (void)state;
  static const char *const args[] = {"-c", "[ -z \"$(cat)\" ] && echo said && exit 7", NULL};
  static const char *const many[] = {"1", "2", "3", "4", "5", NULL};
  pid_t pid = 0;
  assert_int_equal(child_spawn("/bin/sh", args, -1, NULL, 0, &pid), 0);
  assert_int_equal(status_of(pid), 7);
  pid = 0;
  assert_int_equal(child_spawn("/nonexistent/program", args, -1, NULL, 0, &pid), -ENOENT);
  assert_int_equal(child_spawn("/bin/sh", many, -1, NULL, 0, &pid), -E2BIG);
  assert_int_equal(pid, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_in_its_place),
      cmocka_unit_test(test_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
