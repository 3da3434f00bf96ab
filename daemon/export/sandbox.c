#include "sandbox.h"

#include "confine.h"
#include <asalee/export.h>
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

/* A picture of 24 million points, decoded to its coefficients, takes 150 MB; the largest object is there once. */
#define SANDBOX_MEMORY_MAX (1ull << 30)
#define SANDBOX_CPU_SECONDS 60
#define SANDBOX_DESCRIPTORS 16

#if defined __x86_64__
#define THIS_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define THIS_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "which system calls this processor has is not known here"
#endif

#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define REFUSE RETURN(SECCOMP_RET_ERRNO | EPERM)
/* The call whose number is loaded may pass; else on to the next line. */
#define MAY(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##call, 0, 1), RETURN(SECCOMP_RET_ALLOW)
/* The same unless its third argument, a protection, has PROT_EXEC in it. */
#define MAY_UNLESS_EXECUTABLE(call)                                      \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##call, 0, 4), LOAD(args[2]), \
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1), REFUSE, RETURN(SECCOMP_RET_ALLOW)

/* Written out, as building it with libseccomp takes as long as an ECG takes to encode. */
static const struct sock_filter filter[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCHITECTURE, 1, 0),
    RETURN(SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
    MAY(read),
    MAY(write),
    MAY(writev),
    MAY(pwritev),
    MAY(fstat),
#ifdef __NR_newfstatat /* fstat() of some C libraries; Landlock leaves it no file to open */
    MAY(newfstatat),
#endif
    MAY(ftruncate),
    MAY(close),
    MAY(brk),
    MAY(munmap),
    MAY(mremap),
    MAY(madvise),
    MAY(futex),
    MAY(rt_sigprocmask),
    MAY(rt_sigaction),
    MAY(rt_sigreturn),
    MAY(gettid),
    MAY(getpid),
    MAY(exit),
    MAY(exit_group),
#ifdef __SANITIZE_ADDRESS__ /* what the sanitizers read when they report */
    MAY(sigaltstack),
    MAY(getrandom),
    MAY(prlimit64),
    MAY(sched_yield),
    MAY(getuid),
    MAY(ioctl),
    MAY(clock_gettime),
#endif
    MAY_UNLESS_EXECUTABLE(mmap),
    MAY_UNLESS_EXECUTABLE(mprotect),
    REFUSE,
};

int sandbox_enter(void) {
  int r = confine_limit(&(struct confine_limits){.cpu_seconds = SANDBOX_CPU_SECONDS,
                                                 .descriptors = SANDBOX_DESCRIPTORS,
                                                 .file_max = EXPORT_OBJECT_MAX,
                                                 .memory_max = SANDBOX_MEMORY_MAX});
  if (r == 0)
    r = confine_files();
  const struct sock_fprog program = {sizeof filter / sizeof *filter, (struct sock_filter *)filter};
  if (r == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
    r = -errno;
  return r;
}
