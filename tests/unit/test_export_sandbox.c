/* The walls around an export, each tried from inside. */
#include "../../daemon/export/sandbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs a check in a child behind the walls; its number of the first thing that was not as it must be, 0 for none. */
static int inside(int (*check)(void)) {
  int status;
  pid_t pid = fork();
  if (pid == 0)
    _exit(sandbox_enter() < 0 ? 254 : check());
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int scratch = -1;

#define REFUSED(number, call)                                      \
  do {                                                             \
    errno = 0;                                                     \
    if ((long)(call) != -1 || (errno != EPERM && errno != EACCES)) \
      return number;                                               \
  } while (0)
#define WORKS(number, condition) \
  do {                           \
    if (!(condition))            \
      return number;             \
  } while (0)

static int outside_is_shut(void) {
  char *const none[] = {NULL};
  REFUSED(1, open("/etc/passwd", O_RDONLY));
  REFUSED(2, open("/tmp/asaleed-export-test", O_RDWR | O_CREAT, 0600));
  REFUSED(3, socket(AF_INET, SOCK_STREAM, 0));
  REFUSED(4, socket(AF_UNIX, SOCK_STREAM, 0));
  REFUSED(5, fork());
  REFUSED(6, execve("/bin/true", none, none));
  REFUSED(7, kill(getppid(), 0));
  REFUSED(8, unlink("/tmp/asaleed-export-test"));
  REFUSED(9, (intptr_t)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  WORKS(10, page != MAP_FAILED);
  REFUSED(11, mprotect(page, 4096, PROT_READ | PROT_EXEC));
  REFUSED(12, dup(scratch));
  return 0;
}

static int what_it_needs_works(void) {
  char text[4] = "";
  WORKS(21, pwritev(scratch, &(struct iovec){"abc", 3}, 1, 0) == 3);
  void *back = mmap(NULL, 3, PROT_READ, MAP_SHARED, scratch, 0);
  WORKS(22, back != MAP_FAILED && *(const char *)back == 'a');
  WORKS(24, ftruncate(scratch, 0) == 0);
  WORKS(25, read(scratch, text, 3) == 0);
  return 0;
}

static int limits_are_low(void) {
  WORKS(31, pwritev(scratch, &(struct iovec){"abc", 3}, 1, 256 << 20) == -1 && errno == EFBIG);
  return 0;
}

static void shut(void **state) {
  (void)state;
  assert_int_equal(inside(outside_is_shut), 0);
}

static void open_enough(void **state) {
  (void)state;
  assert_int_equal(inside(what_it_needs_works), 0);
}

static void limited(void **state) {
  (void)state;
  assert_int_equal(inside(limits_are_low), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(shut), cmocka_unit_test(open_enough), cmocka_unit_test(limited)};
  scratch = memfd_create("scratch", MFD_CLOEXEC);
  return scratch < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
