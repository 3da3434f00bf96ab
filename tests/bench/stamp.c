/* stamp: LD_PRELOAD library that writes down when things happen at the edges of asaleed's programs, without a change in
 * them. Each line of the file $STAMP is a moment of CLOCK_MONOTONIC in nanoseconds and what happened:
 *   asaleed         spawn          a worker is about to be started
 *   asaleed-driver  port           it begins to open its serial port
 *                   opened         the port is open, set and flushed
 *                   first          the first byte has been handed to the port
 *   sim             tx HEX         the instrument has put these bytes on the wire */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int out = -1;
static bool daemon_, worker, instrument, opened, wrote;
static ssize_t (*real_write)(int, const void *, size_t);

__attribute__((constructor)) static void stamp_open(void) {
  const char *path = getenv("STAMP"), *name = program_invocation_short_name;
  real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  daemon_ = !strcmp(name, "asaleed");
  worker = !strcmp(name, "asaleed-driver");
  instrument = !strcmp(name, "sim");
  if (path && (daemon_ || worker || instrument))
    out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void stamp(const char *what, const unsigned char *bytes, size_t n) {
  static char line[64 + 2 * 4096];
  struct timespec t;
  int kept = errno;
  clock_gettime(CLOCK_MONOTONIC, &t);
  int at = snprintf(line, sizeof line, "%lld%09ld %s ", (long long)t.tv_sec, t.tv_nsec, what);
  for (size_t i = 0; i < n && (size_t)at + 4 < sizeof line; i++)
    at += snprintf(line + at, 3, "%02x", bytes[i]);
  line[at++] = '\n';
  if (out >= 0 && real_write(out, line, (size_t)at) < 0)
    out = -1;
  errno = kept;
}

/* Asks the kernel itself: other libraries that are loaded first answer for the terminals they simulate. */
static bool is_terminal(int fd) {
  struct winsize size;
  return syscall(SYS_ioctl, fd, TIOCGWINSZ, &size) == 0;
}

ssize_t write(int fd, const void *bytes, size_t n) {
  if (!real_write)
    stamp_open();
  ssize_t done = real_write(fd, bytes, n);
  if (instrument && done > 0 && is_terminal(fd))
    stamp("tx", bytes, (size_t)done);
  return done;
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                char *const argv[], char *const env[]) {
  static int (*real)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                     char *const[], char *const[]);
  if (!real)
    real = (int (*)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[],
                    char *const[]))dlsym(RTLD_NEXT, "posix_spawn");
  if (daemon_)
    stamp("spawn", NULL, 0);
  return real(pid, path, actions, attr, argv, env);
}

/* Of libserialport: what opens the port begins with the first of these and ends with the second. */
int sp_get_port_by_name(const char *name, void **port) {
  int (*real)(const char *, void **) = (int (*)(const char *, void **))dlsym(RTLD_NEXT, "sp_get_port_by_name");
  if (worker)
    stamp("port", NULL, 0);
  return real(name, port);
}

int sp_flush(void *port, int buffers) {
  int (*real)(void *, int) = (int (*)(void *, int))dlsym(RTLD_NEXT, "sp_flush");
  int r = real(port, buffers);
  if (worker && !opened)
    stamp("opened", NULL, 0);
  opened = true;
  return r;
}

int sp_nonblocking_write(void *port, const void *bytes, size_t n) {
  static int (*real)(void *, const void *, size_t);
  if (!real)
    real = (int (*)(void *, const void *, size_t))dlsym(RTLD_NEXT, "sp_nonblocking_write");
  int r = real(port, bytes, n);
  if (worker && !wrote)
    stamp("first", NULL, 0);
  wrote = true;
  return r;
}
