/* What a process takes: runs it with this program's descriptors, and prints the microseconds until it has ended and its
 * peak resident kilobytes. (A large program that starts another lends it its own peak.)
 *
 *   measure FD PROGRAM ARGUMENT...      FD is synced within the time; -1: none */
#include "wall.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc < 3)
    return 2;
  const int synced = atoi(argv[1]);
  uint64_t start = monotonic_us();
  pid_t pid = fork();
  if (pid == 0) {
    int null = open("/dev/null", O_WRONLY);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    close(null);
    execvp(argv[2], argv + 2);
    _exit(127);
  }
  struct rusage usage;
  int status;
  if (pid < 0 || wait4(pid, &status, 0, &usage) < 0 || status || (synced >= 0 && fsync(synced) < 0)) {
    fprintf(stderr, "measure: %s failed\n", argv[2]);
    return 1;
  }
  printf("%llu %ld\n", (unsigned long long)(monotonic_us() - start), usage.ru_maxrss);
  return 0;
}
