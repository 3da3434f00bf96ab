/* Ctrl-C and SIGTERM as something to wait for, beside an answer. */
#include "ctl.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

int ctl_interrupt_open(struct ctl *c, struct ctl_interrupt *i) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, &i->old);
  i->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (i->fd >= 0)
    return CTL_OK;
  sigprocmask(SIG_SETMASK, &i->old, NULL);
  ctl_say(c, "mémoire insuffisante");
  return CTL_REFUSED;
}

void ctl_interrupt_close(struct ctl *c, struct ctl_interrupt *i) {
  c->client.wake_fd = -1;
  struct signalfd_siginfo info; /* what was heard is done with: it must not end the program now */
  while (read(i->fd, &info, sizeof info) == sizeof info)
    continue;
  close(i->fd);
  sigprocmask(SIG_SETMASK, &i->old, NULL);
}

bool ctl_pause(struct ctl *c, int ms) {
  struct pollfd wake = {.fd = c->client.wake_fd, .events = POLLIN};
  return poll(&wake, 1, ms) > 0;
}
