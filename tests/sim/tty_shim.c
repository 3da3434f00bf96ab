/*
 * tty_shim: LD_PRELOAD library that makes a serial_bed port, which is a pseudo-terminal, pass for a serial adapter in
 * the program under test. Four differences are covered up:
 *  - modem lines: the kernel answers ENOTTY to TIOCMGET and its kin on a pseudo-terminal, and libserialport then
 * refuses the port. DSR, CTS and carrier are reported on; DTR and RTS are what the program last set.
 *  - unread bytes: an adapter forgets them when it is closed, a pseudo-terminal keeps them for whoever opens it next.
 *  - exclusive use (TIOCEXCL): an adapter forgets it with its last close, also that of a program that was killed; a
 *    pseudo-terminal keeps it as long as its other end is open. It is not asked for.
 *  - udev's database: umockdev brings none, and sd-device then leaves the devices out of an enumeration.
 * Outside a bed (no UMOCKDEV_DIR) it changes nothing.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#define FD_MAX 4096
#define MODEM_INPUTS (TIOCM_DSR | TIOCM_CTS | TIOCM_CAR)
#define MODEM_OUTPUTS (TIOCM_DTR | TIOCM_RTS)

static int modem_outputs[FD_MAX]; /* per descriptor: a port has one user at a time */

/* The lines below ask the kernel itself: the interposed functions would come back here, or to umockdev, which answers
 * ENOTTY to terminal requests without asking. */
static int kernel_ioctl(int fd, unsigned long request, void *arg) {
  return (int)syscall(SYS_ioctl, fd, request, arg);
}

/* Is fd the user's end of a port of the bed? The bed lists its terminals in dev/.ptymap, slashes as underscores. */
static bool is_bed_tty(int fd) {
  const char *root = getenv("UMOCKDEV_DIR");
  char link[64], target[64], path[PATH_MAX], name[PATH_MAX + 80];
  struct winsize size;
  if (!root || fd < 0 || fd >= FD_MAX || kernel_ioctl(fd, TIOCGWINSZ, &size) < 0)
    return false;
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  long n = syscall(SYS_readlinkat, AT_FDCWD, link, target, sizeof(target) - 1);
  if (n <= 0 || n >= (long)sizeof(target) - 1)
    return false;
  target[n] = '\0';
  if (strncmp(target, "/dev/pts/", 9) != 0)
    return false;
  for (char *c = target; *c; c++)
    if (*c == '/')
      *c = '_';
  snprintf(name, sizeof(name), "%s/dev/.ptymap/%s", root, target);
  return syscall(SYS_readlinkat, AT_FDCWD, name, path, sizeof(path)) > 0;
}

static bool is_modem_request(unsigned long request) {
  return request == TIOCMGET || request == TIOCMSET || request == TIOCMBIS || request == TIOCMBIC;
}

static int modem_ioctl(int fd, unsigned long request, int *bits) {
  switch (request) {
  case TIOCMGET:
    *bits = modem_outputs[fd] | MODEM_INPUTS;
    return 0;
  case TIOCMSET:
    modem_outputs[fd] = *bits & MODEM_OUTPUTS;
    return 0;
  case TIOCMBIS:
    modem_outputs[fd] |= *bits & MODEM_OUTPUTS;
    return 0;
  default:
    modem_outputs[fd] &= ~*bits;
    return 0;
  }
}

int ioctl(int fd, unsigned long request, ...) {
  static int (*next)(int, unsigned long, ...);
  va_list args;
  va_start(args, request);
  void *arg = va_arg(args, void *);
  va_end(args);
  if (!next)
    next = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");

  if ((request & 0xFF00) == 0x5400) { /* terminal requests */
    int before = errno;
    if (request == TIOCEXCL && is_bed_tty(fd))
      return 0;
    int r = kernel_ioctl(fd, request, arg);
    if (r >= 0 || (errno != ENOTTY && errno != EINVAL))
      return r; /* EIO of a line hung up included */
    if (is_modem_request(request) && is_bed_tty(fd)) {
      errno = before;
      return modem_ioctl(fd, request, arg);
    }
    errno = before;
  }
  return next(fd, request, arg);
}

int close(int fd) {
  static int (*next)(int);
  if (!next)
    next = (int (*)(int))dlsym(RTLD_NEXT, "close");
  int before = errno;
  if (is_bed_tty(fd)) {
    /* The bed forgets them too once it sees the close, but the next open may come first. */
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    for (int round = 0; round < 64; round++) {
      kernel_ioctl(fd, TCFLSH, (void *)(long)TCIFLUSH);
      if (poll(&pfd, 1, 0) <= 0 || (pfd.revents & (POLLHUP | POLLERR)))
        break;
    }
    modem_outputs[fd] = 0;
  }
  errno = before;
  return next(fd);
}

/* The path in the bed, in buf, when it is there; else the path itself. */
static const char *database_path(const char *path, char buf[PATH_MAX]) {
  static const char folder[] = "/run/udev/data/";
  const char *root = getenv("UMOCKDEV_DIR");
  if (!root || !path || strncmp(path, folder, sizeof(folder) - 1) != 0)
    return path;
  if (snprintf(buf, PATH_MAX, "%s%s", root, path) >= PATH_MAX || syscall(SYS_faccessat, AT_FDCWD, buf, F_OK) < 0)
    return path;
  return buf;
}

FILE *fopen(const char *restrict path, const char *restrict mode) {
  static FILE *(*next)(const char *, const char *);
  char buf[PATH_MAX];
  if (!next)
    next = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
  return next(database_path(path, buf), mode);
}

FILE *fopen64(const char *restrict path, const char *restrict mode) {
  static FILE *(*next)(const char *, const char *);
  char buf[PATH_MAX];
  if (!next)
    next = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen64");
  return next(database_path(path, buf), mode);
}
