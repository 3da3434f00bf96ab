/* What a process inside the sandbox can still do, and what it cannot, each tried in a child of its own kind. */
#include "sandbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <linux/openat2.h>
#include <linux/usbdevice_fs.h>

static int pipes[2], control[2], memory, folders[2]; /* a collector's: the tree and the incoming one */

#define COLLECTOR ((enum acq_bus) - 1)

static int enter(enum acq_bus bus) {
  return bus == COLLECTOR ? sandbox_enter_collect(folders[0], folders[1]) : sandbox_enter(bus);
}

/* Runs the check inside and fails the test with the line that it gives; 0 = all well. */
static void inside(enum acq_bus bus, int (*check)(void)) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0)
    _exit(sandbox_limit(10) < 0 ? 254 : enter(bus) < 0 ? 253 : check());
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status))
    fail_msg("the check stopped at its step %d", WEXITSTATUS(status));
}

#define REFUSED(step, call)             \
  do {                                  \
    errno = 0;                          \
    if ((call) != -1 || errno != EPERM) \
      return step;                      \
  } while (0)

#define WORKS(step, condition) \
  do {                         \
    if (!(condition))          \
      return step;             \
  } while (0)

static int files(void) {
  REFUSED(1, open("/etc/passwd", O_RDONLY));
  REFUSED(2, open("/dev/null", O_RDWR));
  REFUSED(3, openat(AT_FDCWD, "/tmp/x", O_RDWR | O_CREAT, 0600));
  REFUSED(4, syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", NULL, 0));
  REFUSED(5, open("/proc/self/mem", O_RDWR));
  REFUSED(6, unlink("/tmp/x"));
  REFUSED(7, mkdir("/tmp/x", 0700));
  REFUSED(8, rename("/tmp/x", "/tmp/y"));
  REFUSED(9, chdir("/"));
  REFUSED(10, (int)readlink("/proc/self/exe", (char[64]){0}, 64));
  REFUSED(11, memfd_create("more", 0));
  REFUSED(12, fcntl(memory, F_DUPFD, 10));
  REFUSED(13, fcntl(memory, F_ADD_SEALS, F_SEAL_SEAL));
  REFUSED(14, chmod("/tmp", 0777));
  REFUSED(15, (int)syscall(SYS_io_uring_setup, 1, NULL));
  return 0;
}

/* Landlock's refusal, where the kernel has it: EACCES. */
#define DENIED(step, call)               \
  do {                                   \
    errno = 0;                           \
    if ((call) != -1 || errno != EACCES) \
      return step;                       \
  } while (0)

static int open2(int folder, const char *path, uint64_t flags) {
  const struct open_how how = {.flags = flags, .mode = flags & O_CREAT ? 0400 : 0};
  return (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
}

static int collecting(void) {
  struct stat st;
  int fd = open2(folders[0], "file", O_RDONLY);
  WORKS(1,
        fd >= 0 && read(fd, &st, 1) == 1 && fstat(fd, &st) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
  WORKS(2, openat(folders[0], "file", O_RDONLY) >= 0 && open2(folders[0], ".", O_RDONLY | O_DIRECTORY) >= 0);
  WORKS(3, fstatat(folders[0], "file", &st, 0) == 0);
  fd = openat(folders[1], "1", O_WRONLY | O_CREAT | O_EXCL, 0400);
  WORKS(4, fd >= 0 && write(fd, "x", 1) == 1 && syncfs(folders[1]) == 0 && unlinkat(folders[1], "1", 0) == 0);
  REFUSED(10, openat(folders[0], "more", O_WRONLY | O_CREAT, 0400));
  REFUSED(11, openat(folders[0], "file", O_WRONLY));
  REFUSED(12, openat(folders[0], "file", O_RDWR));
  REFUSED(13, openat(folders[0], "file", O_RDONLY | O_TRUNC));
  REFUSED(14, openat(AT_FDCWD, "/tmp/x", O_WRONLY | O_CREAT, 0400));
  REFUSED(15, unlinkat(folders[0], "file", 0));
  REFUSED(16, syncfs(folders[0]));
  REFUSED(17, unlink("/tmp/x"));
  REFUSED(18, renameat(folders[1], "1", folders[1], "2"));
  REFUSED(19, linkat(folders[0], "file", folders[1], "2", 0));
  REFUSED(20, symlinkat("/etc", folders[1], "2"));
  REFUSED(21, mkdirat(folders[1], "2", 0700));
  REFUSED(22, fchmod(fd, 0777));
  REFUSED(23, fchmodat(folders[1], "1", 0777, 0));
  REFUSED(24, chdir("/"));
  REFUSED(25, fchdir(folders[0]));
  REFUSED(26, (int)syscall(SYS_mknodat, folders[1], "2", 0, 0));
  return 0;
}

static int collecting_elsewhere(void) {
  DENIED(1, open("/etc/passwd", O_RDONLY));
  DENIED(2, open("/etc", O_RDONLY | O_DIRECTORY));
  DENIED(3, open2(AT_FDCWD, "/etc/passwd", O_RDONLY));
  DENIED(4, open2(folders[0], "file", O_WRONLY));
  DENIED(5, open2(folders[0], "more", O_WRONLY | O_CREAT));
  DENIED(6, open2(AT_FDCWD, "/dev/null", O_RDWR));
  DENIED(7, openat(folders[1], "kept", O_RDONLY)); /* what it wrote it reads no more */
  DENIED(8, openat(folders[1], ".", O_RDONLY | O_DIRECTORY));
  DENIED(9, openat(folders[1], "../out", O_WRONLY | O_CREAT, 0400));
  return 0;
}

static int processes(void) {
  char *const argv[] = {(char[]){"true"}, NULL};
  REFUSED(1, execve("/bin/true", argv, argv + 1));
  REFUSED(2, (int)syscall(SYS_execveat, memory, "", argv, argv + 1, AT_EMPTY_PATH));
  REFUSED(3, fork());
  REFUSED(4, (int)syscall(SYS_vfork));
  REFUSED(5, (int)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
  REFUSED(6, (int)syscall(SYS_clone3, NULL, 0));
  REFUSED(7, (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL));
  REFUSED(8, kill(getppid() > 1 ? 1 : 0, 0));
  REFUSED(9, kill(getpid(), 0));
  REFUSED(10, (int)syscall(SYS_tgkill, 1, 1, 0));
  REFUSED(11, (int)syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0));
  REFUSED(12, setuid(0));
  REFUSED(13, (int)syscall(SYS_seccomp, 0, 0, NULL));
  REFUSED(14, (int)syscall(SYS_bpf, 0, NULL, 0));
  REFUSED(15, (int)syscall(SYS_unshare, 0));
  REFUSED(16, mount("none", "/tmp", "tmpfs", 0, NULL));
  void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  WORKS(17, code == MAP_FAILED && errno == EPERM);
  void *data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  WORKS(18, data != MAP_FAILED);
  REFUSED(19, mprotect(data, 4096, PROT_READ | PROT_EXEC));
  return 0;
}

static int network(void) {
  static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET};
  for (int i = 0; i < 5; i++)
    REFUSED(1 + i, socket(families[i], SOCK_STREAM, 0));
  REFUSED(6, socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){0}));
  REFUSED(7, connect(control[0], NULL, 0));
  REFUSED(8, bind(control[0], NULL, 0));
  REFUSED(9, listen(control[0], 1));
  REFUSED(10, accept(control[0], NULL, NULL));
  return 0;
}

static int useful(void) {
  char b[8] = "";
  struct timespec t, nap = {.tv_nsec = 1000000};
  struct pollfd fds[2] = {{.fd = control[0], .events = POLLIN}, {.fd = pipes[0], .events = POLLIN}};
  WORKS(1, write(pipes[1], "abc", 3) == 3);
  WORKS(2, poll(fds, 2, 1000) == 1 && fds[1].revents == POLLIN);
  WORKS(3, ppoll(fds, 2, &nap, NULL) == 1);
  WORKS(4, read(pipes[0], b, sizeof b) == 3 && !memcmp(b, "abc", 3));
  WORKS(5, send(control[1], "x", 1, MSG_NOSIGNAL) == 1 && recv(control[0], b, 8, 0) == 1);
  WORKS(6, pwrite(memory, "hello", 5, 0) == 5 && pread(memory, b, 5, 0) == 5 && lseek(memory, 0, SEEK_END) == 5);
  WORKS(7, clock_gettime(CLOCK_MONOTONIC, &t) == 0 && nanosleep(&nap, NULL) == 0);
  char *m = mmap(NULL, 5, PROT_READ, MAP_PRIVATE, memory, 0);
  WORKS(8, m != MAP_FAILED && m[0] == 'h');
  char *big = malloc(8 << 20);
  WORKS(9, big != NULL);
  memset(big, 1, 8 << 20);
  big = realloc(big, 64 << 20);
  WORKS(10, big != NULL);
  free(big);
  WORKS(11, close(pipes[0]) == 0);
  return 0;
}

static int limits(void) {
  struct rlimit l;
  static const struct {
    __rlimit_resource_t resource;
    rlim_t most;
  } expected[] = {{RLIMIT_CPU, 10},
                  {RLIMIT_FSIZE, SANDBOX_FILE_MAX},
                  {RLIMIT_NPROC, 0},
                  {RLIMIT_CORE, 0},
                  {RLIMIT_NOFILE, 64},
#ifndef __SANITIZE_ADDRESS__
                  {RLIMIT_AS, SANDBOX_MEMORY_MAX}
#endif
  };
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
    WORKS(1 + (int)i, getrlimit(expected[i].resource, &l) == 0 && l.rlim_max == expected[i].most);
  WORKS(20, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
  WORKS(21, pwrite(memory, "x", 1, SANDBOX_FILE_MAX) == -1 && errno == EFBIG);
  return 0;
}

/* ENOTTY says that the filter let it through to a descriptor that is no device. */
static int ioctls(const unsigned long *allowed, size_t n) {
  char arg[256] = "";
  for (size_t i = 0; i < n; i++) {
    int r = ioctl(memory, allowed[i], arg);
    WORKS(1 + (int)i, r == -1 && errno == ENOTTY);
  }
  REFUSED(50, ioctl(memory, TIOCSTI, arg));
  REFUSED(51, ioctl(memory, TIOCSCTTY, arg));
  REFUSED(52, ioctl(memory, TIOCLINUX, arg));
  REFUSED(53, ioctl(memory, USBDEVFS_RESET, arg));
  REFUSED(54, ioctl(memory, USBDEVFS_DROP_PRIVILEGES, arg));
  REFUSED(55, ioctl(memory, 0x100000000ul | TIOCSTI, arg));
  return 0;
}

static const unsigned long serial[] = {FIONREAD, TCGETS, TCSETS, TIOCMGET},
                           usb[] = {USBDEVFS_SUBMITURB, USBDEVFS_REAPURBNDELAY, USBDEVFS_DISCARDURB,
                                    USBDEVFS_CLAIMINTERFACE};

static int serial_ioctls(void) {
  char arg[256];
  REFUSED(60, ioctl(memory, usb[0], arg));
  return ioctls(serial + 1, sizeof serial / sizeof *serial - 1);
}

static int usb_ioctls(void) {
  char arg[256];
  REFUSED(60, ioctl(memory, serial[1], arg));
  return ioctls(usb, sizeof usb / sizeof *usb);
}

static int no_ioctls(void) {
  char arg[256];
  REFUSED(60, ioctl(memory, serial[1], arg));
  REFUSED(61, ioctl(memory, usb[0], arg));
  return ioctls(NULL, 0);
}

static int aborts(void) {
  signal(SIGABRT, SIG_DFL);
  abort();
}

static void test_files(void **state) {
  (void)state;
  inside(0, files);
  inside(ACQ_USB, files);
}

static void test_processes(void **state) {
  (void)state;
  inside(0, processes);
}

static void test_network(void **state) {
  (void)state;
  inside(0, network);
}

static void test_useful(void **state) {
  (void)state;
  inside(ACQ_SERIAL, useful);
}

static void test_ioctls(void **state) {
  (void)state;
  inside(ACQ_SERIAL, serial_ioctls);
  inside(ACQ_USB, usb_ioctls);
  inside(ACQ_FILE, no_ioctls);
}

static char base[32];

static int make_folders(void **state) {
  (void)state;
  snprintf(base, sizeof base, "/tmp/worker-sandbox-XXXXXX");
  int at = mkdtemp(base) ? open(base, O_RDONLY | O_DIRECTORY) : -1;
  if (at < 0 || mkdirat(at, "tree", 0700) < 0 || mkdirat(at, "incoming", 0700) < 0)
    return -1;
  folders[0] = openat(at, "tree", O_RDONLY | O_DIRECTORY);
  folders[1] = openat(at, "incoming", O_RDONLY | O_DIRECTORY);
  close(at);
  int file = openat(folders[0], "file", O_WRONLY | O_CREAT, 0600);
  int kept = openat(folders[1], "kept", O_WRONLY | O_CREAT, 0600);
  return write(file, "x", 1) == 1 && close(file) == 0 && close(kept) == 0 ? 0 : -1;
}

static int remove_folders(void **state) {
  (void)state;
  unlinkat(folders[0], "file", 0);
  unlinkat(folders[1], "kept", 0);
  unlinkat(folders[0], "../tree", AT_REMOVEDIR);
  unlinkat(folders[1], "../incoming", AT_REMOVEDIR);
  close(folders[0]);
  close(folders[1]);
  return rmdir(base);
}

static void test_collector(void **state) {
  (void)state;
  inside(COLLECTOR, collecting);
  inside(COLLECTOR, processes);
  inside(COLLECTOR, network);
  inside(COLLECTOR, no_ioctls);
}

static void test_collector_elsewhere(void **state) {
  (void)state;
  if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1)
    skip();
  inside(COLLECTOR, collecting_elsewhere);
}

static void test_limits(void **state) {
  (void)state;
  pid_t child = fork();
  if (child == 0)
    _exit(sandbox_limit(10) < 0 ? 254 : limits());
  int status;
  waitpid(child, &status, 0);
  assert_int_equal(status, 0);
}

/* A worker that aborts still dies of it, so that the daemon sees a crash. */
static void test_abort(void **state) {
  (void)state;
  pid_t child = fork();
  if (child == 0)
    _exit(sandbox_limit(10) < 0 || sandbox_enter(0) < 0 ? 254 : aborts());
  int status;
  waitpid(child, &status, 0);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static int set_up(void **state) {
  (void)state;
  memory = memfd_create("test", MFD_ALLOW_SEALING);
  return pipe(pipes) | socketpair(AF_UNIX, SOCK_SEQPACKET, 0, control) | (memory < 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_files),
      cmocka_unit_test(test_processes),
      cmocka_unit_test(test_network),
      cmocka_unit_test(test_useful),
      cmocka_unit_test(test_ioctls),
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_abort),
      cmocka_unit_test_setup_teardown(test_collector, make_folders, remove_folders),
      cmocka_unit_test_setup_teardown(test_collector_elsewhere, make_folders, remove_folders),
  };
  return cmocka_run_group_tests(tests, set_up, NULL);
}
