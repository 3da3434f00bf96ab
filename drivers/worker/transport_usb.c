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
#define USB_POUR 524288       /* one transfer of a blob: long enough that the time between two does not count */
#define USB_PACKET_MAX 1024   /* bulk at SuperSpeed */
#define USB_POLLFDS 8         /* libusb has three: the device, its event, its timer */
#define USB_UNLINK_US 2000000 /* the kernel gives a cancelled transfer back at once; past this it never will */

struct usb_slot {
  struct libusb_transfer *transfer;
  int done; /* libusb's completion flag: the transfer is ours again */
};

struct usb {
  struct transport base;
  int fd; /* the node; libusb borrows it */
  const struct acq_match *table;
  libusb_context *context;
  libusb_device_handle *handle;
  int interface;              /* claimed, or -1 */
  uint8_t in, out, interrupt; /* bulk endpoints and the interrupt IN endpoint, 0 for none */
  size_t packet;              /* of `in` */
  size_t interrupt_packet;    /* of `interrupt` */
  struct usb_slot slots[2];   /* the second is for blobs: one runs while what the other brought is taken */
  bool lost;                  /* the kernel kept a transfer: never touch it again */
  int pending;                /* an error that came behind bytes: told after them */
  struct pollfd fds[USB_POLLFDS + 1];
  nfds_t n_fds;
  size_t at, n; /* what `received` holds that nobody has read */
  uint8_t received[USB_BUFFER];
  uint8_t request[TRANSPORT_SETUP_BYTES + USB_BUFFER];
  uint8_t poured[2][USB_POUR];
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
  struct usb_slot *slot = transfer->user_data;
  slot->done = 1;
}

static bool usb_interrupted(const struct usb *u) {
  struct pollfd fd = {.fd = u->base.interrupt, .events = POLLIN};
  return poll(&fd, 1, 0) > 0;
}

/* Hands the filled transfer to the kernel; not when `lost`. */
static int usb_submit(struct usb *u, struct usb_slot *slot) {
  slot->done = 0;
  slot->transfer->actual_length = 0; /* before any return: the caller counts on it */
  if (usb_interrupted(u))
    return -EINTR;
  int r = libusb_submit_transfer(slot->transfer);
  return r < 0 ? transport_fail(&u->base, usb_error(r), "usb: %s on submit", libusb_error_name(r)) : 0;
}

/* Waits for the end of a submitted transfer: 0 when it ended by itself, else what ended it, -ETIMEDOUT or -EINTR; then
 * too transfer->actual_length says what was moved before. */
static int usb_wait(struct usb *u, struct usb_slot *slot, uint64_t deadline_us) {
  int stopped = 0;
  while (!slot->done) {
    u->fds[u->n_fds] = (struct pollfd){.fd = stopped ? -1 : u->base.interrupt, .events = POLLIN};
    struct timespec left = transport_left(deadline_us);
    bool late = !left.tv_sec && !left.tv_nsec;
    bool interrupted = ppoll(u->fds, u->n_fds + 1, &left, NULL) > 0 && u->fds[u->n_fds].revents;
    struct timeval now = {0};
    libusb_handle_events_timeout_completed(u->context, &now, &slot->done);
    if (slot->done || (!late && !interrupted))
      continue;
    if (stopped) {
      u->lost = true;
      return transport_fail(&u->base, -ENODEV, "usb: the kernel does not give a cancelled transfer back");
    }
    stopped = interrupted ? -EINTR : -ETIMEDOUT;
    deadline_us = monotonic_us() + USB_UNLINK_US;
    libusb_cancel_transfer(slot->transfer); /* fails when the transfer is just ending: it ends all the same */
  }
  return slot->transfer->status == LIBUSB_TRANSFER_CANCELLED ? stopped : 0;
}

/* Both. Errors other than -ETIMEDOUT and -EINTR: nothing was moved. */
static int usb_run(struct usb *u, uint64_t deadline_us) {
  int r = usb_submit(u, &u->slots[0]);
  return r < 0 ? r : usb_wait(u, &u->slots[0], deadline_us);
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

static int usb_status(struct usb *u, const struct usb_slot *slot) {
  uint8_t endpoint = slot->transfer->endpoint;
  switch (slot->transfer->status) {
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
    libusb_fill_bulk_transfer(u->slots[0].transfer, u->handle, u->in, u->received,
                              (int)(ask < sizeof u->received ? ask : sizeof u->received), usb_completed, &u->slots[0],
                              0);
    r = usb_run(u, deadline_us);
    if (r < 0 && r != -ETIMEDOUT && r != -EINTR)
      return r;
    int status = r < 0 ? 0 : usb_status(u, &u->slots[0]);
    u->at = 0;
    u->n = (size_t)u->slots[0].transfer->actual_length;
    if (u->n)
      u->pending = status; /* an interrupt is still there for the next call, and so is the deadline */
    else if (status < 0 || r < 0)
      return status < 0 ? status : r;
    else if (monotonic_us() >= deadline_us) /* a device that sends nothing but empty packets */
      return -ETIMEDOUT;
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
  libusb_fill_bulk_transfer(u->slots[0].transfer, u->handle, u->out, (unsigned char *)(uintptr_t)bytes,
                            (int)(n < INT32_MAX ? n : INT32_MAX), usb_completed, &u->slots[0], 0);
  u->slots[0].transfer->flags = LIBUSB_TRANSFER_ADD_ZERO_PACKET;
  int r = usb_run(u, deadline_us);
  u->slots[0].transfer->flags = 0;
  if (r < 0 && r != -ETIMEDOUT && r != -EINTR)
    return r;
  if (u->slots[0].transfer->actual_length > 0)
    return u->slots[0].transfer->actual_length;
  int status = r < 0 ? r : usb_status(u, &u->slots[0]);
  return status < 0 ? status : transport_fail(t, -EPROTO, "usb: a write moved nothing");
}

/* Hands `slot` to the kernel for as much of n bytes as one transfer takes; whole packets, no more than are wanted. */
static int usb_pour_submit(struct usb *u, unsigned slot, uint64_t n) {
  uint64_t ask = (n + u->packet - 1) / u->packet * u->packet;
  libusb_fill_bulk_transfer(u->slots[slot].transfer, u->handle, u->in, u->poured[slot],
                            (int)(ask < USB_POUR ? ask : USB_POUR), usb_completed, &u->slots[slot], 0);
  return usb_submit(u, &u->slots[slot]);
}

/* What the device sent beyond what was wanted, in its last packet, is the next read's. */
static void usb_keep(struct usb *u, const uint8_t *bytes, size_t n) {
  memcpy(u->received, bytes, n);
  u->at = 0;
  u->n = n;
}

static int usb_pour(struct transport *t, uint64_t n, transport_take take, void *arg, uint64_t idle_us,
                    uint64_t deadline_us) {
  struct usb *u = (struct usb *)t;
  unsigned slot = 0;
  bool first = true;
  int r = u->lost ? -ENODEV : u->in ? 0 : transport_fail(t, -EOPNOTSUPP, "usb: the interface has no bulk IN endpoint");
  if (r == 0 && u->at < u->n) {
    size_t held = u->n - u->at < n ? u->n - u->at : (size_t)n;
    r = take(arg, u->received + u->at, held);
    u->at += held;
    n -= held;
  }
  if (r == 0 && n && u->pending < 0) {
    r = transport_fail(t, u->pending, "usb: the stream broke off");
    u->pending = r == -ENODEV ? r : 0;
  }
  if (r == 0 && n)
    r = usb_pour_submit(u, slot, n);
  while (r == 0 && n) {
    const struct usb_slot *now = &u->slots[slot];
    uint64_t idle = monotonic_us() + idle_us;
    int waited = usb_wait(u, &u->slots[slot], idle < deadline_us ? idle : deadline_us);
    if (u->lost)
      return waited;
    const int status = waited < 0 ? 0 : usb_status(u, now);
    const size_t moved = (size_t)now->transfer->actual_length, asked = (size_t)now->transfer->length;
    const size_t taken = moved < n ? moved : (size_t)n;
    const uint8_t *bytes = u->poured[slot];
    n -= taken;
    const bool is_slow = waited == -ETIMEDOUT && moved && monotonic_us() < deadline_us; /* not silent */
    r = status ? status : is_slow ? 0 : waited;
    /* A short packet ends the device's transfer; an empty one at the beginning ended the one before. */
    if (r == 0 && waited == 0 && n && moved < asked && (moved || !first))
      r = transport_fail(t, -EPROTO, "usb: the device ended its transfer early");
    first = false;
    slot ^= 1;
    if (r == 0 && n)
      r = usb_pour_submit(u, slot, n); /* runs while these are taken */
    int took = taken ? take(arg, bytes, taken) : 0;
    if (moved > taken)
      usb_keep(u, bytes + taken, moved - taken);
    if (took < 0 && r == 0 && n) { /* nobody wants the rest */
      libusb_cancel_transfer(u->slots[slot].transfer);
      usb_wait(u, &u->slots[slot], monotonic_us() + USB_UNLINK_US);
    }
    if (took < 0)
      r = took;
  }
  return r;
}

static int usb_interrupt_packet(struct transport *t, void *bytes, size_t max, uint64_t deadline_us) {
  struct usb *u = (struct usb *)t;
  if (!u->interrupt)
    return transport_fail(t, -EOPNOTSUPP, "usb: the interface has no interrupt IN endpoint");
  if (u->lost)
    return -ENODEV;
  for (;;) {
    libusb_fill_interrupt_transfer(u->slots[0].transfer, u->handle, u->interrupt, u->poured[0],
                                   (int)u->interrupt_packet, usb_completed, &u->slots[0], 0);
    int r = usb_run(u, deadline_us);
    if (r < 0 && r != -ETIMEDOUT && r != -EINTR)
      return r;
    size_t n = (size_t)u->slots[0].transfer->actual_length;
    int status = r < 0 ? r : usb_status(u, &u->slots[0]);
    if (n > max)
      return transport_fail(t, -EPROTO, "usb: an interrupt packet of %zu bytes, at most %zu were expected", n, max);
    if (n)
      memcpy(bytes, u->poured[0], n);
    if (n || status < 0)
      return n ? (int)n : status;
    if (monotonic_us() >= deadline_us)
      return -ETIMEDOUT;
  }
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
  libusb_fill_control_transfer(u->slots[0].transfer, u->handle, u->request, usb_completed, &u->slots[0], 0);
  int r = usb_run(u, deadline_us);
  if (r == 0)
    r = usb_status(u, &u->slots[0]);
  if (r < 0)
    return r;
  int n = u->slots[0].transfer->actual_length;
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
    const int type = e->bmAttributes & LIBUSB_TRANSFER_TYPE_MASK;
    if (type == LIBUSB_TRANSFER_TYPE_INTERRUPT && (e->bEndpointAddress & LIBUSB_ENDPOINT_IN) && !u->interrupt) {
      u->interrupt = e->bEndpointAddress;
      u->interrupt_packet = e->wMaxPacketSize & 0x7ff ? e->wMaxPacketSize & 0x7ff : 8;
    }
    if (type != LIBUSB_TRANSFER_TYPE_BULK)
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
  for (int i = 0; i < 2; i++)
    if (!(u->slots[i].transfer = libusb_alloc_transfer(0)))
      return -ENOMEM;
  return usb_pollfds(u);
}

static void usb_destroy(struct transport *t) {
  struct usb *u = (struct usb *)t;
  if (u->lost)
    return; /* the kernel still writes into this memory; the process is about to end */
  for (int i = 0; i < 2; i++)
    libusb_free_transfer(u->slots[i].transfer); /* takes NULL */
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
    .pour = usb_pour,
    .interrupt_packet = usb_interrupt_packet,
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
