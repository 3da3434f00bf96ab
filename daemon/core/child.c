#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <unistd.h>

#define ARGS_MAX 4

/* Each descriptor is moved twice: first behind all of them, so that none is overwritten before it has been moved. */
static int give(posix_spawn_file_actions_t *actions, int out, const int fds[], int n) {
  int behind = CHILD_FD_FIRST + n, r = 0;
  for (int i = 0; i < n; i++)
    behind = fds[i] >= behind ? fds[i] + 1 : behind;
  behind = out >= behind ? out + 1 : behind;
  for (int i = 0; i < n; i++)
    r |= posix_spawn_file_actions_adddup2(actions, fds[i], behind + i);
  if (out >= 0)
    r |= posix_spawn_file_actions_adddup2(actions, out, STDOUT_FILENO);
  else
    r |= posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  for (int i = 0; i < n; i++)
    r |= posix_spawn_file_actions_adddup2(actions, behind + i, CHILD_FD_FIRST + i);
  r |= posix_spawn_file_actions_addclosefrom_np(actions, CHILD_FD_FIRST + n);
  r |= posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  return r;
}

int child_spawn(const char *program, const char *const args[], int out, const int fds[], int n, pid_t *ret) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attr;
  sigset_t none, all;
  const char *argv[ARGS_MAX + 2] = {program};
  for (int i = 0; args[i]; i++) {
    if (i == ARGS_MAX)
      return -E2BIG;
    argv[i + 1] = args[i];
  }
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attr);
  posix_spawnattr_setsigmask(&attr, &none);
  posix_spawnattr_setsigdefault(&attr, &all);
  posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  int r = give(&actions, out, fds, n);
  if (r == 0)
    r = posix_spawn(&pid, program, &actions, &attr, (char *const *)argv, environ);
  posix_spawnattr_destroy(&attr);
  posix_spawn_file_actions_destroy(&actions);
  if (r == 0)
    *ret = pid;
  return -r;
}

int child_stay(pid_t parent, const int fds[], int n) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
    return -errno;
  if (getppid() != parent) /* it ended before that */
    return -ESRCH;
  unsigned from = 0;
  for (int i = 0; i < n; from = (unsigned)fds[i++] + 1)
    if ((unsigned)fds[i] > from && close_range(from, (unsigned)fds[i] - 1, 0) < 0)
      return -errno;
  return close_range(from, ~0u, 0) < 0 ? -errno : 0;
}
