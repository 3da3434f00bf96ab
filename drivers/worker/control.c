#include "control.h"

#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

_Noreturn void control_refuse(const char *why) {
  log_error("%s", why);
  _exit(2);
}

void control_open(const char *why) {
  int type = 0;
  socklen_t n = sizeof type;
  if (getsockopt(WIRE_FD_CONTROL, SOL_SOCKET, SO_TYPE, &type, &n) < 0 || type != SOCK_SEQPACKET)
    control_refuse(why);
  if (fcntl(WIRE_FD_CONTROL, F_SETFL, O_NONBLOCK) < 0)
    control_refuse("the control socket cannot be made non-blocking");
}

void control_first(struct wire_message *ret, enum wire_type type, const char *why) {
  struct pollfd fd = {.fd = WIRE_FD_CONTROL, .events = POLLIN};
  int r;
  while ((r = wire_receive(WIRE_FD_CONTROL, ret)) == -EAGAIN)
    poll(&fd, 1, -1);
  if (r == -ENODATA)
    _exit(1); /* the daemon changed its mind */
  if (r < 0 || ret->type != type)
    control_refuse(why);
}
