#include "transport.h"

#include "str.h"
#include "wall.h"
#include <fcntl.h>
#include <libusb-1.0/libusb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include <linux/usbdevice_fs.h>

#define USB_BUFFER 4096       /* whole packets: any power of two up to 1024 divides it */
#define USB_PACKET_MAX 1024   /* bulk at SuperSpeed */
#define USB_POLLFDS 8         /* libusb has three: the device, its event, its timer */
#define USB_UNLINK_US 2000000 /* the kernel gives a cancelled transfer back at once; past this it never will */

struct usb {
  struct transport base;
  int fd; /* the node; libusb borrows it */
  const struct acq_match *table;
  libusb_context *context;
  libusb_device_handle *handle;
  int interface;   /* claimed, or -1 */
  uint8_t in, out; /* bulk endpoints, 0 for none */
  size_t packet;   /* of `in` */
  struct libusb_transfer *transfer;
  int done;    /* libusb's completion flag: the transfer is ours again */
  bool lost;   /* the kernel kept the transfer: never touch it again */
  int pending; /* an error that came behind bytes: told after them */
  struct pollfd fds[USB_POLLFDS + 1];
  nfds_t n_fds;
  size_t at, n; /* what `received` holds that nobody has read */
  uint8_t received[USB_BUFFER];
  uint8_t request[TRANSPORT_SETUP_BYTES + USB_BUFFER];
};

static int usb_error(int r) {
  switch (r) {
  case LIBUSB_ERROR_NO_DEVICE:
    return -ENODEV;
  case LIBUSB_ERROR_NO_MEM:
    return -ENOMEM;
  case LIBUSB_ERROR_BUSY:
    return -EBUSY;
  case LIBUSB_ERROR_ACCESS:
    return -EACCES;
  case LIBUSB_ERROR_PIPE:
    return -EPIPE;
  case LIBUSB_ERROR_TIMEOUT:
    return -ETIMEDOUT;
  case LIBUSB_ERROR_NOT_FOUND:
    return -ENXIO;
  case LIBUSB_ERROR_NOT_SUPPORTED:
    return -EOPNOTSUPP;
  default:
    return -EPROTO;
  }
}

static void LIBUSB_CALL usb_completed(struct libusb_transfer *transfer) {
  struct usb *u = transfer->user_data;
  u->done = 1;
}

static bool usb_interrupted(const struct usb *u) {
  struct pollfd fd = {.fd = u->base.interrupt, .events = POLLIN};
  return poll(&fd, 1, 0) > 0;
}

/* Runs the filled transfer (not when `lost`) to its end: 0 when it ended by itself, else what ended it, -ETIMEDOUT or
 * -EINTR; then too transfer->actual_length says what was moved before. Other errors: nothing was moved. */
static int usb_run(struct usb *u, uint64_t deadline_us) {
  u->done = 0;
  u->transfer->actual_length = 0; /* before any return: the caller counts on it */
  if (usb_interrupted(u))
    return -EINTR;
  int r = libusb_submit_transfer(u->transfer);
  if (r < 0)
    return transport_fail(&u->base, usb_error(r), "usb: %s on submit", libusb_error_name(r));
  int stopped = 0;
  while (!u->done) {
    u->fds[u->n_fds] = (struct pollfd){.fd = stopped ? -1 : u->base.interrupt, .events = POLLIN};
    struct timespec left = transport_left(deadline_us);
    bool late = !left.tv_sec && !left.tv_nsec;
    bool interrupted = ppoll(u->fds, u->n_fds + 1, &left, NULL) > 0 && u->fds[u->n_fds].revents;
    struct timeval now = {0};
    libusb_handle_events_timeout_completed(u->context, &now, &u->done);
    if (u->done || (!late && !interrupted))
      continue;
    if (stopped) {
      u->lost = true;
      return transport_fail(&u->base, -ENODEV, "usb: the kernel does not give a cancelled transfer back");
    }
    stopped = interrupted ? -EINTR : -ETIMEDOUT;
    deadline_us = monotonic_us() + USB_UNLINK_US;
    libusb_cancel_transfer(u->transfer); /* fails when the transfer is just ending: it ends all the same */
  }
  return u->transfer->status == LIBUSB_TRANSFER_CANCELLED ? stopped : 0;
}

/* A transfer error is what a pulled cable looks like until the hub has noticed it, some hundred milliseconds later.
 * Clearing the halt asks the device; it also brings both sides' data toggles back together. */
static int usb_damaged(struct usb *u, uint8_t endpoint) {
  for (int i = 0; i < 6; i++) {
    int r = libusb_clear_halt(u->handle, endpoint);
    if (r == 0)
      break;
    if (r == LIBUSB_ERROR_NO_DEVICE)
      return transport_fail(&u->base, -ENODEV, "usb: unplugged during a transfer");
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
  }
  return transport_fail(&u->base, -EPROTO, "usb: a transfer was damaged");
}

static int usb_status(struct usb *u) {
  uint8_t endpoint = u->transfer->endpoint;
  switch (u->transfer->status) {
  case LIBUSB_TRANSFER_COMPLETED:
  case LIBUSB_TRANSFER_CANCELLED:
    return 0;
  case LIBUSB_TRANSFER_STALL:
    if (endpoint & 0x7f)
      libusb_clear_halt(u->handle, endpoint);
    return transport_fail(&u->base, -EPIPE, "usb: endpoint %02x stalled", endpoint);
  case LIBUSB_TRANSFER_NO_DEVICE:
    return transport_fail(&u->base, -ENODEV, "usb: unplugged");
  case LIBUSB_TRANSFER_OVERFLOW:
    return transport_fail(&u->base, -EPROTO, "usb: the device sent more than was asked for");
  default:
    return endpoint & 0x7f ? usb_damaged(u, endpoint)
                           : transport_fail(&u->base, -EPROTO, "usb: a control transfer was damaged");
  }
}

static int usb_read(struct transport *t, void *bytes, size_t max, size_t want, uint64_t deadline_us) {
  struct usb *u = (struct usb *)t;
  if (!u->in)
    return transport_fail(t, -EOPNOTSUPP, "usb: the interface has no bulk IN endpoint");
  if (u->lost)
    return -ENODEV;
  while (u->at == u->n) {
    int r = u->pending;
    if (r < 0) {
      u->pending = r == -ENODEV ? r : 0;
      return transport_fail(t, r, "usb: the stream broke off");
    }
    /* Whole packets, or the kernel drops what does not fit; no more than is wanted, or a device whose last packet
     * is a full one leaves us waiting for bytes that it already sent. */
    size_t ask = (want + u->packet - 1) / u->packet * u->packet;
    libusb_fill_bulk_transfer(u->transfer, u->handle, u->in, u->received,
                              (int)(ask < sizeof u->received ? ask : sizeof u->received), usb_completed, u, 0);
    r = usb_run(u, deadline_us);
    if (r < 0 && r != -ETIMEDOUT && r != -EINTR)
      return r;
    int status = r < 0 ? 0 : usb_status(u);
    u->at = 0;
    u->n = (size_t)u->transfer->actual_length;
    if (u->n)
      u->pending = status; /* an interrupt is still there for the next call, and so is the deadline */
    else if (status < 0 || r < 0)
      return status < 0 ? status : r;
  }
  size_t n = u->n - u->at < max ? u->n - u->at : max;
  memcpy(bytes, u->received + u->at, n);
  u->at += n;
  return (int)n;
}

static int usb_write(struct transport *t, const void *bytes, size_t n, uint64_t deadline_us) {
  struct usb *u = (struct usb *)t;
  if (!u->out)
    return transport_fail(t, -EOPNOTSUPP, "usb: the interface has no bulk OUT endpoint");
  if (u->lost)
    return -ENODEV;
  if (monotonic_us() >= deadline_us)
    return -ETIMEDOUT;
  /* One write is one USB transfer: a last packet that is full is followed by an empty one. */
  libusb_fill_bulk_transfer(u->transfer, u->handle, u->out, (unsigned char *)(uintptr_t)bytes,
                            (int)(n < INT32_MAX ? n : INT32_MAX), usb_completed, u, 0);
  u->transfer->flags = LIBUSB_TRANSFER_ADD_ZERO_PACKET;
  int r = usb_run(u, deadline_us);
  u->transfer->flags = 0;
  if (r < 0 && r != -ETIMEDOUT && r != -EINTR)
    return r;
  if (u->transfer->actual_length > 0)
    return u->transfer->actual_length;
  int status = r < 0 ? r : usb_status(u);
  return status < 0 ? status : transport_fail(t, -EPROTO, "usb: a write moved nothing");
}

static int usb_control(struct transport *t, const struct transport_setup *setup, void *bytes, uint64_t deadline_us) {
  struct usb *u = (struct usb *)t;
  bool in = setup->request_type & LIBUSB_ENDPOINT_IN;
  if (setup->length > USB_BUFFER)
    return transport_fail(t, -EMSGSIZE, "usb: a control transfer moves at most %d bytes", USB_BUFFER);
  if (u->lost)
    return -ENODEV;
  transport_setup_bytes(setup, u->request);
  if (!in && setup->length)
    memcpy(u->request + TRANSPORT_SETUP_BYTES, bytes, setup->length);
  libusb_fill_control_transfer(u->transfer, u->handle, u->request, usb_completed, u, 0);
  int r = usb_run(u, deadline_us);
  if (r == 0)
    r = usb_status(u);
  if (r < 0)
    return r;
  int n = u->transfer->actual_length;
  if (in && n > 0)
    memcpy(bytes, u->request + TRANSPORT_SETUP_BYTES, (size_t)n);
  return n;
}

/* The interface that a row of the match table means, or NULL. */
static const struct libusb_interface_descriptor *usb_interface(const struct libusb_config_descriptor *config,
                                                               const struct acq_match *row) {
  for (int i = 0; i < config->bNumInterfaces; i++) {
    if (config->interface[i].num_altsetting < 1)
      continue;
    const struct libusb_interface_descriptor *d = &config->interface[i].altsetting[0];
    if (!row->usb_class || d->bInterfaceClass == row->usb_class)
      return d;
  }
  return NULL;
}

static const struct libusb_interface_descriptor *usb_match(const struct usb *u,
                                                           const struct libusb_device_descriptor *device,
                                                           const struct libusb_config_descriptor *config) {
  for (const struct acq_match *m = u->table; m->bus; m++) {
    if (m->bus != ACQ_USB || (m->vendor && m->vendor != device->idVendor) ||
        (m->product && m->product != device->idProduct))
      continue;
    const struct libusb_interface_descriptor *d = usb_interface(config, m);
    if (d)
      return d;
  }
  return NULL;
}

static int usb_claim(struct usb *u, const struct libusb_interface_descriptor *d) {
  for (int i = 0; i < d->bNumEndpoints; i++) {
    const struct libusb_endpoint_descriptor *e = &d->endpoint[i];
    if ((e->bmAttributes & LIBUSB_TRANSFER_TYPE_MASK) != LIBUSB_TRANSFER_TYPE_BULK)
      continue;
    if (!(e->bEndpointAddress & LIBUSB_ENDPOINT_IN)) {
      u->out = u->out ? u->out : e->bEndpointAddress;
    } else if (!u->in) {
      size_t packet = e->wMaxPacketSize & 0x7ff;
      if (packet == 0 || packet > USB_PACKET_MAX || USB_BUFFER % packet)
        return transport_fail(&u->base, -EPROTO, "usb: packets of %zu bytes cannot be", packet);
      u->in = e->bEndpointAddress;
      u->packet = packet;
    }
  }
  int r = libusb_claim_interface(u->handle, d->bInterfaceNumber);
  if (r < 0)
    return transport_fail(&u->base, usb_error(r), "usb: the interface cannot be claimed");
  u->interface = d->bInterfaceNumber;
  return 0;
}

/* libusb's descriptors do not change once the device is there: asked for once, polled many times. */
static int usb_pollfds(struct usb *u) {
  const struct libusb_pollfd **list = libusb_get_pollfds(u->context);
  if (!list)
    return -ENOMEM;
  for (size_t i = 0; list[i]; i++) {
    if (u->n_fds == USB_POLLFDS) {
      libusb_free_pollfds(list);
      return transport_fail(&u->base, -EMFILE, "usb: more descriptors to poll than expected");
    }
    u->fds[u->n_fds++] = (struct pollfd){.fd = list[i]->fd, .events = list[i]->events};
  }
  libusb_free_pollfds(list);
  return 0;
}

/* All that reads what the device says of itself is here, inside the sandbox. */
static int usb_start(struct transport *t) {
  struct usb *u = (struct usb *)t;
  struct libusb_device_descriptor device;
  struct libusb_config_descriptor *config;
  int r = libusb_wrap_sys_device(u->context, u->fd, &u->handle);
  if (r < 0)
    return transport_fail(t, usb_error(r), "usb: the device has no valid descriptors");
  libusb_set_auto_detach_kernel_driver(u->handle, 1);
  if ((r = libusb_get_device_descriptor(libusb_get_device(u->handle), &device)) < 0 ||
      (r = libusb_get_active_config_descriptor(libusb_get_device(u->handle), &config)) < 0)
    return transport_fail(t, usb_error(r), "usb: the device has no active configuration");
  const struct libusb_interface_descriptor *d = usb_match(u, &device, config);
  r = d ? usb_claim(u, d)
        : transport_fail(t, -ENXIO, "usb: %04x:%04x is not a device of this driver", device.idVendor, device.idProduct);
  libusb_free_config_descriptor(config);
  if (r < 0)
    return r;
  u->transfer = libusb_alloc_transfer(0);
  return u->transfer ? usb_pollfds(u) : -ENOMEM;
}

static void usb_destroy(struct transport *t) {
  struct usb *u = (struct usb *)t;
  if (u->lost)
    return; /* the kernel still writes into this memory; the process is about to end */
  if (u->transfer)
    libusb_free_transfer(u->transfer);
  if (u->interface >= 0)
    libusb_release_interface(u->handle, u->interface);
  if (u->handle)
    libusb_close(u->handle);
  if (u->context)
    libusb_exit(u->context);
  fd_finish(&u->fd);
  free(u);
}

static const struct transport_ops usb_ops = {
    .start = usb_start,
    .read = usb_read,
    .write = usb_write,
    .control = usb_control,
    .destroy = usb_destroy,
};

static int usb_open(struct usb *u, const char *node) {
  uint32_t capabilities;
  u->fd = open(node, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (u->fd < 0)
    return transport_fail(&u->base, -errno, "the USB device cannot be opened");
  /* Proves that this is a USB device; and a simulator under the kernel's interface makes its connection here. */
  if (ioctl(u->fd, USBDEVFS_GET_CAPABILITIES, &capabilities) < 0)
    return transport_fail(&u->base, -ENODEV, "not a USB device node");
  libusb_set_option(NULL, LIBUSB_OPTION_NO_DEVICE_DISCOVERY);
  int r = libusb_init(&u->context);
  return r < 0 ? transport_fail(&u->base, usb_error(r), "usb: the library does not start") : 0;
}

int transport_usb_open(const char *node, const struct acq_match *table, struct transport **ret,
                       char why[static TRANSPORT_WHY_MAX]) {
  struct usb *u = calloc(1, sizeof *u);
  if (!u)
    return -ENOMEM;
  transport_init(&u->base, &usb_ops);
  u->table = table;
  u->interface = -1;
  int r = usb_open(u, node);
  if (r < 0) {
    snprintf(why, TRANSPORT_WHY_MAX, "%s", u->base.why);
    usb_destroy(&u->base);
    return r;
  }
  *ret = &u->base;
  return 0;
}
