#include "confine.h"

#include "log.h"
#include "str.h"
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int confine_limit(const struct confine_limits *l) {
  const struct {
    __rlimit_resource_t resource;
    rlim_t value;
  } limits[] = {
      {RLIMIT_CPU, l->cpu_seconds},
      {RLIMIT_FSIZE, l->file_max},
      {RLIMIT_NOFILE, l->descriptors},
      {RLIMIT_NPROC, 0},
      {RLIMIT_CORE, 0},
#ifndef __SANITIZE_ADDRESS__ /* its shadow memory is a reservation of terabytes */
      {RLIMIT_AS, l->memory_max},
      {RLIMIT_DATA, l->memory_max},
#endif
  };
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
    if (setrlimit(limits[i].resource, &(struct rlimit){limits[i].value, limits[i].value}) < 0)
      return -errno;
  signal(SIGXFSZ, SIG_IGN); /* a write past the limit fails with EFBIG, which is dealt with */
  signal(SIGPIPE, SIG_IGN);
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
    return -errno;
  return 0;
}

/* ---- Landlock: every right that is handled is denied everywhere but where a rule gives it ---- */

/* As in the kernel's linux/landlock.h, which on an older system lacks the later members and rights. */
struct landlock_attr {
  uint64_t fs, net, scoped;
};
#define LANDLOCK_VERSION 1u

struct landlock_rule {
  uint64_t fs;
  int32_t fd;
} __attribute__((packed));
#define LANDLOCK_BENEATH 1

#define LANDLOCK_FS_ABI1 ((1ull << 13) - 1)
#define LANDLOCK_FS_WRITE_FILE (1ull << 1)
#define LANDLOCK_FS_READ_FILE (1ull << 2)
#define LANDLOCK_FS_READ_DIR (1ull << 3)
#define LANDLOCK_FS_REMOVE_FILE (1ull << 5)
#define LANDLOCK_FS_MAKE_REG (1ull << 8)
#define LANDLOCK_FS_REFER (1ull << 13)
#define LANDLOCK_FS_TRUNCATE (1ull << 14)
#define LANDLOCK_FS_IOCTL_DEV (1ull << 15)
#define LANDLOCK_NET_TCP 3ull   /* bind, connect */
#define LANDLOCK_SCOPE_ALL 3ull /* abstract sockets and signals of others */

static int allow_beneath(int ruleset, const struct confine_folder *f) {
  static const uint64_t rights[] = {
      [CONFINE_READ] = LANDLOCK_FS_READ_FILE | LANDLOCK_FS_READ_DIR,
      [CONFINE_WRITE] = LANDLOCK_FS_WRITE_FILE | LANDLOCK_FS_MAKE_REG | LANDLOCK_FS_REMOVE_FILE,
  };
  struct landlock_rule rule = {rights[f->rights], f->fd};
  return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

int confine_files(void) {
  return confine_to(NULL, 0);
}

int confine_to(const struct confine_folder *folders, size_t n) {
  /* Landlock asks for this; asked for again, as a process without limits must not be one with privileges. */
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
    return -errno;
  long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);
  if (abi < 1) {
    log_warning("this kernel has no Landlock: seccomp alone confines this process");
    return 0;
  }
  struct landlock_attr attr = {
      .fs = LANDLOCK_FS_ABI1 | (abi >= 2 ? LANDLOCK_FS_REFER : 0) | (abi >= 3 ? LANDLOCK_FS_TRUNCATE : 0) |
            (abi >= 5 ? LANDLOCK_FS_IOCTL_DEV : 0),
      .net = abi >= 4 ? LANDLOCK_NET_TCP : 0,
      .scoped = abi >= 6 ? LANDLOCK_SCOPE_ALL : 0,
  };
  /* A longer structure than the kernel knows is fine as long as the rest is zero. */
  _fd_cleanup_ int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
  if (ruleset < 0)
    return -errno;
  for (size_t i = 0; i < n; i++) {
    int r = allow_beneath(ruleset, &folders[i]);
    if (r < 0)
      return r;
  }
  return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
}
