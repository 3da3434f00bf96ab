/* How the daemon starts a program, or goes on as a copy of itself: with the descriptors that are meant for it and no
 * others. */
#ifndef ASALEED_CHILD_H
#define ASALEED_CHILD_H

#include <sys/types.h>

#define CHILD_FD_FIRST 3

/* `args` end with NULL, without the program's own name. The child's standard input is /dev/null, its standard output
 * `out`, or with -1 /dev/null too, its standard error ours (the journal, or the terminal); from CHILD_FD_FIRST on it
 * has these n (which may be any of ours), and nothing more; its signals are as a program expects
 * them. 0 and the child's id, or a negative errno. */
int child_spawn(const char *program, const char *const args[], int out, const int fds[], int n, pid_t *ret);

/* For a copy of this process (fork() and no program): it ends when its parent, `parent`, does, and has no descriptors
 * but these n, the lowest first. 0 or a negative errno: it must not go on. */
int child_stay(pid_t parent, const int fds[], int n);

#endif
