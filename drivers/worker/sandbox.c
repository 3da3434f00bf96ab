#include "sandbox.h"

#include "log.h"
#include "str.h"
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/usbdevice_fs.h>

#define SANDBOX_DESCRIPTORS 64

int sandbox_limit(uint32_t cpu_seconds) {
  const struct {
    __rlimit_resource_t resource;
    rlim_t value;
  } limits[] = {
      {RLIMIT_CPU, cpu_seconds},
      {RLIMIT_FSIZE, SANDBOX_FILE_MAX},
      {RLIMIT_NOFILE, SANDBOX_DESCRIPTORS},
      {RLIMIT_NPROC, 0},
      {RLIMIT_CORE, 0},
#ifndef __SANITIZE_ADDRESS__ /* its shadow memory is a reservation of terabytes */
      {RLIMIT_AS, SANDBOX_MEMORY_MAX},
      {RLIMIT_DATA, SANDBOX_MEMORY_MAX},
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

/* ---- Landlock: no rule is ever added, so every right that is handled is denied everywhere ---- */

/* As in the kernel's linux/landlock.h, which on an older system lacks the later members and rights. */
struct landlock_attr {
  uint64_t fs, net, scoped;
};
#define LANDLOCK_VERSION 1u

#define LANDLOCK_FS_ABI1 ((1ull << 13) - 1)
#define LANDLOCK_FS_REFER (1ull << 13)
#define LANDLOCK_FS_TRUNCATE (1ull << 14)
#define LANDLOCK_FS_IOCTL_DEV (1ull << 15)
#define LANDLOCK_NET_TCP 3ull   /* bind, connect */
#define LANDLOCK_SCOPE_ALL 3ull /* abstract sockets and signals of others */

static int sandbox_landlock(void) {
  long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);
  if (abi < 1) {
    log_warning("this kernel has no Landlock: the worker runs with seccomp alone");
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
  if (ruleset < 0 || syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
    return -errno;
  return 0;
}

/* ---- seccomp ---- */

static const int always[] = {
    /* the descriptors there are */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
    SCMP_SYS(lseek), SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(ftruncate), SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg),
    /* memory; mmap and mprotect are below */
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(getrandom),
    /* the clock */
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday),
    SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime), SCMP_SYS(timerfd_gettime),
    /* itself */
    SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall), SCMP_SYS(uname),
    SCMP_SYS(eventfd2), SCMP_SYS(exit), SCMP_SYS(exit_group)};

/* What the sanitizers read when they report, and on the way. */
#ifdef __SANITIZE_ADDRESS__
static const int sanitizer[] = {
    SCMP_SYS(sched_getaffinity), SCMP_SYS(prlimit64), SCMP_SYS(sysinfo), SCMP_SYS(getrlimit), SCMP_SYS(getuid),
    SCMP_SYS(newfstatat),        SCMP_SYS(pipe2)};
#endif

static const unsigned serial_ioctls[] = {FIONREAD, TIOCOUTQ, TCGETS,   TCSETS,   TCSETSW,  TCSETSF, TCFLSH,
                                         TCSBRK,   TIOCMGET, TIOCMSET, TIOCMBIS, TIOCMBIC, TIOCNXCL};

static const unsigned usb_ioctls[] = {
    (unsigned)USBDEVFS_GET_CAPABILITIES, (unsigned)USBDEVFS_CONNECTINFO,      (unsigned)USBDEVFS_CONTROL,
    (unsigned)USBDEVFS_CLAIMINTERFACE,   (unsigned)USBDEVFS_RELEASEINTERFACE, (unsigned)USBDEVFS_SETINTERFACE,
    (unsigned)USBDEVFS_GETDRIVER,        (unsigned)USBDEVFS_DISCONNECT_CLAIM, (unsigned)USBDEVFS_IOCTL,
    (unsigned)USBDEVFS_SUBMITURB,        (unsigned)USBDEVFS_REAPURB,          (unsigned)USBDEVFS_REAPURBNDELAY,
    (unsigned)USBDEVFS_DISCARDURB,       (unsigned)USBDEVFS_CLEAR_HALT,       (unsigned)USBDEVFS_GET_SPEED};

static int allow(scmp_filter_ctx filter, const int *calls, size_t n) {
  int r = 0;
  for (size_t i = 0; i < n && r == 0; i++)
    r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
  return r;
}

/* Allows a call when the low half of one argument, under a mask, has one of these values. */
static int allow_if(scmp_filter_ctx filter, int call, unsigned argument, uint32_t mask, const unsigned *values,
                    size_t n) {
  int r = 0;
  for (size_t i = 0; i < n && r == 0; i++)
    r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, mask, values[i]));
  return r;
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

static int sandbox_seccomp(enum acq_bus bus) {
  static const unsigned no_bits[] = {0}, flags[] = {F_GETFL, F_SETFL, F_GETFD, F_SETFD};
  const unsigned self[] = {(unsigned)getpid()};
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  if (!filter)
    return -ENOMEM;
  int r = allow(filter, always, COUNT(always));
  if (r == 0)
    r = allow_if(filter, SCMP_SYS(mmap), 2, PROT_EXEC, no_bits, 1);
  if (r == 0)
    r = allow_if(filter, SCMP_SYS(mprotect), 2, PROT_EXEC, no_bits, 1);
  if (r == 0)
    r = allow_if(filter, SCMP_SYS(fcntl), 1, UINT32_MAX, flags, COUNT(flags));
  if (r == 0)
    r = allow_if(filter, SCMP_SYS(tgkill), 0, UINT32_MAX, self, 1); /* abort() */
  if (r == 0 && bus == ACQ_SERIAL)
    r = allow_if(filter, SCMP_SYS(ioctl), 1, UINT32_MAX, serial_ioctls, COUNT(serial_ioctls));
  if (r == 0 && bus == ACQ_USB)
    r = allow_if(filter, SCMP_SYS(ioctl), 1, UINT32_MAX, usb_ioctls, COUNT(usb_ioctls));
#ifdef __SANITIZE_ADDRESS__
  if (r == 0)
    r = allow(filter, sanitizer, COUNT(sanitizer));
#endif
  if (r == 0)
    r = seccomp_load(filter);
  seccomp_release(filter);
  return r;
}

int sandbox_enter(enum acq_bus bus) {
  /* Landlock asks for this first; asked for again, as a worker without limits must not be one with privileges. */
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
    return -errno;
  int r = sandbox_landlock();
  return r < 0 ? r : sandbox_seccomp(bus);
}
