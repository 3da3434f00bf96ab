#include "sandbox.h"

#include "confine.h"
#include <fcntl.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/usbdevice_fs.h>

#define SANDBOX_DESCRIPTORS 64

int sandbox_limit(uint32_t cpu_seconds) {
  return confine_limit(&(struct confine_limits){.cpu_seconds = cpu_seconds,
                                                .descriptors = SANDBOX_DESCRIPTORS,
                                                .file_max = SANDBOX_FILE_MAX,
                                                .memory_max = SANDBOX_MEMORY_MAX});
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

static const unsigned no_bits[] = {0};

static int allow_bus(scmp_filter_ctx filter, enum acq_bus bus) {
  if (bus == ACQ_SERIAL)
    return allow_if(filter, SCMP_SYS(ioctl), 1, UINT32_MAX, serial_ioctls, COUNT(serial_ioctls));
  if (bus == ACQ_USB)
    return allow_if(filter, SCMP_SYS(ioctl), 1, UINT32_MAX, usb_ioctls, COUNT(usb_ioctls));
  return 0;
}

/* openat2() has its flags in memory, where a filter does not look: what it may open is Landlock's to say. */
static int allow_collect(scmp_filter_ctx filter, int incoming) {
  static const int calls[] = {SCMP_SYS(openat2), SCMP_SYS(newfstatat), SCMP_SYS(getdents64), SCMP_SYS(fadvise64),
                              SCMP_SYS(inotify_add_watch)};
  const unsigned folder[] = {(unsigned)incoming};
  int r = allow(filter, calls, COUNT(calls));
  if (r == 0)
    r = allow_if(filter, SCMP_SYS(openat), 2, O_ACCMODE | O_CREAT | O_TRUNC, no_bits, 1);
  if (r == 0)
    r = allow_if(filter, SCMP_SYS(openat), 0, UINT32_MAX, folder, 1);
  if (r == 0)
    r = allow_if(filter, SCMP_SYS(unlinkat), 0, UINT32_MAX, folder, 1);
  if (r == 0)
    r = allow_if(filter, SCMP_SYS(syncfs), 0, UINT32_MAX, folder, 1);
  return r;
}

/* incoming is -1 for what is no collector. */
static int sandbox_seccomp(enum acq_bus bus, int incoming) {
  static const unsigned flags[] = {F_GETFL, F_SETFL, F_GETFD, F_SETFD};
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
  if (r == 0)
    r = incoming < 0 ? allow_bus(filter, bus) : allow_collect(filter, incoming);
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
  int r = confine_files();
  return r < 0 ? r : sandbox_seccomp(bus, -1);
}

int sandbox_enter_collect(int tree, int incoming) {
  const struct confine_folder folders[] = {{tree, CONFINE_READ}, {incoming, CONFINE_WRITE}};
  int r = confine_to(folders, COUNT(folders));
  return r < 0 ? r : sandbox_seccomp(0, incoming);
}
