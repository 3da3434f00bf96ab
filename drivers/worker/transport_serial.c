#include "transport.h"

#include <libserialport.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>

struct serial {
  struct transport base;
  struct sp_port *port;
  int fd; /* the port's own, borrowed */
};

static int serial_error(enum sp_return r) {
  switch (r) {
  case SP_ERR_MEM:
    return -ENOMEM;
  case SP_ERR_FAIL:
    return sp_last_error_code() > 0 ? -sp_last_error_code() : -EIO;
  case SP_ERR_SUPP:
    return -EOPNOTSUPP;
  default:
    return -EINVAL;
  }
}

/* Waits for the port or the interrupt: the port's revents, -EINTR or -ETIMEDOUT. */
static int serial_wait(struct serial *s, short events, uint64_t deadline_us) {
  for (;;) {
    struct pollfd fds[2] = {{.fd = s->fd, .events = events}, {.fd = s->base.interrupt, .events = POLLIN}};
    struct timespec left = transport_left(deadline_us);
    int r = ppoll(fds, 2, &left, NULL);
    if (r < 0 && errno == EINTR)
      continue;
    if (r < 0)
      return transport_fail(&s->base, -ENODEV, "poll on the port failed");
    if (fds[1].revents)
      return -EINTR;
    if (fds[0].revents)
      return fds[0].revents;
    if (!left.tv_sec && !left.tv_nsec)
      return -ETIMEDOUT;
  }
}

static int serial_read(struct transport *t, void *bytes, size_t max, size_t want, uint64_t deadline_us) {
  struct serial *s = (struct serial *)t;
  (void)want;
  for (bool again = false;; again = true) {
    int r = serial_wait(s, POLLIN, deadline_us);
    if (r < 0)
      return r;
    enum sp_return n = sp_nonblocking_read(s->port, bytes, max);
    if (n > 0)
      return n;
    /* Nothing to read although poll() woke us. The library reports a port that is gone as an empty read; a port
     * that is there may do so once, when something else emptied its queue. */
    if (n < 0)
      return transport_fail(t, -ENODEV, "read from the port failed");
    if (r & (POLLHUP | POLLERR | POLLNVAL))
      return transport_fail(t, -ENODEV, "the port hung up");
    if (again || sp_input_waiting(s->port) < 0)
      return transport_fail(t, -ENODEV, "the port is ready to read and empty");
  }
}

static int serial_write(struct transport *t, const void *bytes, size_t n, uint64_t deadline_us) {
  struct serial *s = (struct serial *)t;
  for (;;) {
    int r = serial_wait(s, POLLOUT, deadline_us);
    if (r < 0)
      return r;
    if (r & (POLLHUP | POLLERR | POLLNVAL))
      return transport_fail(t, -ENODEV, "the port hung up");
    enum sp_return sent = sp_nonblocking_write(s->port, bytes, n);
    if (sent > 0)
      return sent;
    if (sent < 0)
      return transport_fail(t, -ENODEV, "write to the port failed");
  }
}

static void serial_destroy(struct transport *t) {
  struct serial *s = (struct serial *)t;
  if (s->port) {
    if (s->fd >= 0)
      (void)ioctl(s->fd, TIOCNXCL); /* a virtual port remembers */
    sp_close(s->port);
    sp_free_port(s->port);
  }
  free(s);
}

static const struct transport_ops serial_ops = {
    .read = serial_read,
    .write = serial_write,
    .destroy = serial_destroy,
};

/* The line settings: those of the row with the adapter's ids, else those of the first serial row. */
static const struct acq_match *serial_row(const struct acq_match *table, struct sp_port *port) {
  int vendor = 0, product = 0;
  const struct acq_match *first = NULL;
  bool known =
      sp_get_port_transport(port) == SP_TRANSPORT_USB && sp_get_port_usb_vid_pid(port, &vendor, &product) == SP_OK;
  for (const struct acq_match *m = table; m->bus; m++) {
    if (m->bus != ACQ_SERIAL)
      continue;
    if (known && m->vendor && m->vendor == vendor && (!m->product || m->product == product))
      return m;
    if (!first)
      first = m;
  }
  return first;
}

static int serial_configure(struct sp_port *port, const struct acq_match *row) {
  struct sp_port_config *config;
  enum sp_return r = sp_new_config(&config);
  if (r < 0)
    return serial_error(r);
  /* One call for all of it: every change of settings is a round trip to a USB adapter. */
  (void)(((r = sp_set_config_baudrate(config, (int)row->baud)) < 0) || ((r = sp_set_config_bits(config, 8)) < 0) ||
         ((r = sp_set_config_parity(config, row->parity == ACQ_PARITY_EVEN  ? SP_PARITY_EVEN
                                            : row->parity == ACQ_PARITY_ODD ? SP_PARITY_ODD
                                                                            : SP_PARITY_NONE)) < 0) ||
         ((r = sp_set_config_stopbits(config, 1)) < 0) ||
         ((r = sp_set_config_flowcontrol(config, SP_FLOWCONTROL_NONE)) < 0) ||
         ((r = sp_set_config_rts(config, SP_RTS_ON)) < 0) || ((r = sp_set_config_dtr(config, SP_DTR_ON)) < 0) ||
         ((r = sp_set_config(port, config)) < 0));
  int err = r < 0 ? serial_error(r) : 0;
  sp_free_config(config);
  return err;
}

static int serial_open(struct serial *s, const char *node, const struct acq_match *table) {
  enum sp_return r = sp_get_port_by_name(node, &s->port);
  if (r < 0)
    return transport_fail(&s->base, r == SP_ERR_MEM ? -ENOMEM : -ENOENT, "no such serial port");
  const struct acq_match *row = serial_row(table, s->port);
  if (!row)
    return transport_fail(&s->base, -EINVAL, "the driver has no serial settings");
  if ((r = sp_open(s->port, SP_MODE_READ_WRITE)) < 0) {
    int err = serial_error(r);
    return transport_fail(&s->base, err,
                          err == -EBUSY ? "another program holds the serial port" : "the serial port cannot be opened");
  }
  if ((r = sp_get_port_handle(s->port, &s->fd)) < 0)
    return transport_fail(&s->base, serial_error(r), "the serial port has no descriptor");
  /* TIOCEXCL keeps other users' programs out, flock() those that run as the same user or as root. The first is
   * refused by some virtual ports, where the second is all there is. */
  if (flock(s->fd, LOCK_EX | LOCK_NB) < 0) {
    s->fd = -1; /* not ours to release */
    return transport_fail(&s->base, -EBUSY, "another program holds the serial port");
  }
  (void)ioctl(s->fd, TIOCEXCL);
  int err = serial_configure(s->port, row);
  if (err)
    return transport_fail(&s->base, err, "the serial port refuses %u bit/s", row->baud);
  if ((r = sp_flush(s->port, SP_BUF_INPUT)) < 0) /* what came before the order belongs to no one */
    return transport_fail(&s->base, serial_error(r), "the serial port cannot be flushed");
  return 0;
}

int transport_serial_open(const char *node, const struct acq_match *table, struct transport **ret,
                          char why[static TRANSPORT_WHY_MAX]) {
  struct serial *s = calloc(1, sizeof *s);
  if (!s)
    return -ENOMEM;
  transport_init(&s->base, &serial_ops);
  s->fd = -1;
  int r = serial_open(s, node, table);
  if (r < 0) {
    snprintf(why, TRANSPORT_WHY_MAX, "%s", s->base.why);
    serial_destroy(&s->base);
    return r;
  }
  *ret = &s->base;
  return 0;
}
