/*
 * crash_point: LD_PRELOAD library that ends asaleed, or makes a call fail, at a chosen durable call.
 *
 * Counted are the calls by which files under the store come to be or change, in the order in which they happen:
 * opening with O_CREAT, write, pwrite, ftruncate, fsync, fdatasync, rename, mkdir, unlink. It acts in the program
 * "asaleed" and, for ASALEED_WORKER_CRASH_AT, in "asaleed-driver run"; elsewhere it changes nothing.
 *
 *   ASALEED_CRASH_STORE=DIR             the store (a real path); without it nothing is counted
 *   ASALEED_CRASH_AT=N[:before|after]   SIGKILL at the Nth call, before it is made (the default) or after
 *   ASALEED_FAIL_AT=N[:ENOSPC|EIO|EROFS]  the Nth call fails (ENOSPC)
 *   ASALEED_FAIL_WHILE=FILE             ... and every one after it, while FILE exists
 *   ASALEED_CRASH_LOG=FILE              each call gets a line "N call path"
 *   ASALEED_WORKER_CRASH_AT=N           SIGKILL of the worker at its Nth write to any file
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *store, *fail_while;
static unsigned long count, crash_at, fail_at, worker_at, worker_count;
static bool crash_after;
static int fail_errno = ENOSPC, log_fd = -1;

/* "12:word" */
static unsigned long number(const char *name, const char **ret_word) {
  const char *text = getenv(name);
  char *end = NULL;
  unsigned long n = text ? strtoul(text, &end, 10) : 0;
  *ret_word = end && *end == ':' ? end + 1 : "";
  return n;
}

__attribute__((constructor)) static void begin(int argc, char **argv) {
  const char *name = argc ? strrchr(argv[0], '/') : NULL, *word;
  name = name ? name + 1 : argc ? argv[0] : "";
  if (!strcmp(name, "asaleed-driver") && argc > 1 && !strcmp(argv[1], "run"))
    worker_at = number("ASALEED_WORKER_CRASH_AT", &word);
  if (strcmp(name, "asaleed"))
    return;
  store = getenv("ASALEED_CRASH_STORE");
  crash_at = number("ASALEED_CRASH_AT", &word);
  crash_after = !strcmp(word, "after");
  fail_at = number("ASALEED_FAIL_AT", &word);
  fail_errno = !strcmp(word, "EIO") ? EIO : !strcmp(word, "EROFS") ? EROFS : ENOSPC;
  fail_while = getenv("ASALEED_FAIL_WHILE");
  const char *log = getenv("ASALEED_CRASH_LOG");
  if (log)
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static bool fd_path(int fd, char path[static PATH_MAX]) {
  char link[48];
  if (fd == AT_FDCWD)
    return getcwd(path, PATH_MAX) != NULL;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
  if (n <= 0)
    return false;
  path[n] = 0;
  return true;
}

static bool under_store(const char *path) {
  size_t n = store ? strlen(store) : 0;
  return n && !strncmp(path, store, n) && (path[n] == '/' || !path[n]);
}

static void die(void) {
  syscall(SYS_kill, (int)syscall(SYS_getpid), SIGKILL);
  __builtin_trap(); /* a sandbox that forbids kill */
}

struct point {
  bool counted, fails;
};

/* Before the call: the path is a descriptor's, with a name below it when `name` is given. */
static struct point enter(const char *what, int fd, const char *name) {
  char path[2 * PATH_MAX + 2], dir[PATH_MAX];
  struct point c = {0};
  int keep = errno;
  if (!store)
    return c;
  if (name && *name == '/')
    snprintf(path, sizeof path, "%s", name);
  else if (fd_path(fd, dir))
    snprintf(path, sizeof path, name ? "%s/%s" : "%s", dir, name);
  else
    return c;
  errno = keep;
  if (!under_store(path))
    return c;
  struct stat st;
  if ((!strcmp(what, "create") || !strcmp(what, "mkdir")) && lstat(path, &st) == 0) /* there already: nothing new */
    return c;
  errno = keep;
  c.counted = true;
  count++;
  if (log_fd >= 0) {
    char line[2 * PATH_MAX + 64];
    int n = snprintf(line, sizeof line, "%lu %s %s\n", count, what, path + strlen(store));
    syscall(SYS_write, log_fd, line, n);
  }
  if (crash_at == count && !crash_after)
    die();
  c.fails = fail_at && (count == fail_at || (fail_while && count > fail_at)) && strcmp(what, "unlink") != 0 &&
            (!fail_while || syscall(SYS_faccessat, AT_FDCWD, fail_while, F_OK) == 0);
  errno = c.fails ? fail_errno : keep;
  return c;
}

static void leave(struct point c) {
  if (c.counted && crash_at == count && crash_after)
    die();
}

#define NEXT(name)               \
  static __typeof__(name) *next; \
  if (!next)                     \
  next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define AROUND(type, what, fd, path, call)   \
  do {                                       \
    struct point c_ = enter(what, fd, path); \
    if (c_.fails)                            \
      return -1;                             \
    type r_ = (call);                        \
    leave(c_);                               \
    return r_;                               \
  } while (0)

static void worker_write(void) {
  if (worker_at && ++worker_count == worker_at)
    die();
}

static mode_t mode_of(int flags, va_list ap) {
  return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(ap, int) : 0;
}

#define OPEN(name)                                                  \
  int name(const char *path, int flags, ...) {                      \
    NEXT(name);                                                     \
    va_list ap;                                                     \
    va_start(ap, flags);                                            \
    mode_t mode = mode_of(flags, ap);                               \
    va_end(ap);                                                     \
    if (!(flags & O_CREAT))                                         \
      return next(path, flags, mode);                               \
    AROUND(int, "create", AT_FDCWD, path, next(path, flags, mode)); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                \
  int name(int dir, const char *path, int flags, ...) {             \
    NEXT(name);                                                     \
    va_list ap;                                                     \
    va_start(ap, flags);                                            \
    mode_t mode = mode_of(flags, ap);                               \
    va_end(ap);                                                     \
    if (!(flags & O_CREAT))                                         \
      return next(dir, path, flags, mode);                          \
    AROUND(int, "create", dir, path, next(dir, path, flags, mode)); \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *bytes, size_t n) {
  NEXT(write);
  worker_write();
  AROUND(ssize_t, "write", fd, NULL, next(fd, bytes, n));
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at) {
  NEXT(pwrite);
  AROUND(ssize_t, "pwrite", fd, NULL, next(fd, bytes, n, at));
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at) {
  NEXT(pwrite64);
  AROUND(ssize_t, "pwrite", fd, NULL, next(fd, bytes, n, at));
}

int fsync(int fd) {
  NEXT(fsync);
  AROUND(int, "fsync", fd, NULL, next(fd));
}

int fdatasync(int fd) {
  NEXT(fdatasync);
  AROUND(int, "fdatasync", fd, NULL, next(fd));
}

int ftruncate(int fd, off_t n) {
  NEXT(ftruncate);
  AROUND(int, "ftruncate", fd, NULL, next(fd, n));
}

int ftruncate64(int fd, off64_t n) {
  NEXT(ftruncate64);
  AROUND(int, "ftruncate", fd, NULL, next(fd, n));
}

int rename(const char *from, const char *to) {
  NEXT(rename);
  AROUND(int, "rename", AT_FDCWD, to, next(from, to));
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
  NEXT(renameat);
  AROUND(int, "rename", to_dir, to, next(from_dir, from, to_dir, to));
}

int mkdirat(int dir, const char *path, mode_t mode) {
  NEXT(mkdirat);
  AROUND(int, "mkdir", dir, path, next(dir, path, mode));
}

int unlink(const char *path) {
  NEXT(unlink);
  AROUND(int, "unlink", AT_FDCWD, path, next(path));
}

int unlinkat(int dir, const char *path, int flags) {
  NEXT(unlinkat);
  AROUND(int, "unlink", dir, path, next(dir, path, flags));
}
