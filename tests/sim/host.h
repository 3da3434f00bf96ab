/* For the programs that "sim" runs as hosts of its instruments: a check that ends the program with its line, and the
 * control socket. */
#ifndef ASALEED_SIM_HOST_H
#define ASALEED_SIM_HOST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NEED(condition)                                             \
  do {                                                              \
    if (!(condition)) {                                             \
      fprintf(stderr, "host: line %d: %s\n", __LINE__, #condition); \
      exit(1);                                                      \
    }                                                               \
  } while (0)

static inline FILE *host_control(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  NEED(strlen(path) < sizeof address.sun_path);
  memcpy(address.sun_path, path, strlen(path) + 1);
  NEED(connect(fd, (const struct sockaddr *)&address, sizeof address) == 0);
  FILE *control = fdopen(fd, "r+");
  NEED(control);
  return control;
}

static inline void host_tell(FILE *control, const char *command, char answer[static 512]) {
  fprintf(control, "%s\n", command);
  fflush(control);
  NEED(fgets(answer, 512, control));
}

static inline void host_order(FILE *control, const char *command) {
  char answer[512];
  host_tell(control, command, answer);
  NEED(strncmp(answer, "ok", 2) == 0);
}

#endif
