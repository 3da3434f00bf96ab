#include "usb_bed.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <umockdev.h>
#include <unistd.h>

#include <linux/usb/ch9.h>
#include <linux/usbdevice_fs.h>

#define TEXT_MAX 64u
#define BUS_PATH "/devices/pci0000:00/0000:00:14.0/usb2"
#define BUS 2u
#define ENDPOINTS 32u /* 16 OUT, then 16 IN */
#define INTERFACES 32u
#define STRINGS 3u
#define SETUP 8u
#define REAP_PAUSE_US 1000 /* the node always looks ready to libusb, which then asks without a pause */

struct chunk { /* packets for the host, all full but the last */
  const uint8_t *at;
  size_t n;    /* 0: an empty packet */
  void *owned; /* NULL: at is the caller's, while he is in usb_bed_send() */
};

struct endpoint {
  size_t packet; /* 0: no such endpoint */
  GQueue chunks;
  bool halted, damaged;
  uint8_t interface;
};

struct client { /* an open descriptor of the node */
  UMockdevIoctlClient *id;
  GQueue waiting, done; /* struct urb */
  bool gone;            /* unplugged under it */
  bool idle;            /* found nothing to reap last time */
};

struct urb {
  UMockdevIoctlData *data, *buffer; /* the host's struct usbdevfs_urb and what it points to; buffer NULL when empty */
  struct client *client;
  bool asked; /* a control request that is the owner's now */
};

struct event {
  struct usb_bed_event what;
  GBytes *bytes;
  struct urb *urb; /* CONTROL; NULL when the host gave up */
};

struct usb_bed {
  gint references; /* the owner's and umockdev's closures */
  GMutex lock;     /* all below */
  GCond changed;
  UMockdevTestbed *testbed;
  UMockdevIoctlBase *handler;
  gulong signals[2];
  int event_fd;

  uint8_t device[USB_DT_DEVICE_SIZE];
  GByteArray *configuration;
  char strings[STRINGS][TEXT_MAX]; /* manufacturer, product, serial */
  struct usb_interface_descriptor interfaces[INTERFACES];
  unsigned n_interfaces;
  struct endpoint endpoints[ENDPOINTS];
  unsigned socket, number; /* number: of the device on its bus, a new one at each plug, as the kernel does */
  char node[32];

  GPtrArray *clients;
  struct client *owners[INTERFACES]; /* who claimed them */
  GQueue events;
  GBytes *taken;      /* of the last event */
  struct urb *asking; /* the request whose answer is awaited */
  bool mute, cut;     /* cut: by unplug_after, the plug itself still to be pulled */
  uint64_t cut_at;
  struct usb_bed_state state;
};

bool usb_bed_available(void) {
  const char *preload = getenv("LD_PRELOAD");
  return preload && strstr(preload, "umockdev-preload");
}

static struct endpoint *endpoint_of(struct usb_bed *b, uint8_t address) {
  struct endpoint *e = &b->endpoints[(address & 0x0f) + (address & USB_DIR_IN ? 16 : 0)];
  return e->packet ? e : NULL;
}

static struct usbdevfs_urb *urb_of(const struct urb *u) {
  return (struct usbdevfs_urb *)(void *)u->data->data;
}

/* ---- events for the owner ---- */

static void wake(struct usb_bed *b) {
  uint64_t one = 1;
  if (b->event_fd >= 0 && write(b->event_fd, &one, sizeof one) < 0)
    return; /* it is full, so it is readable */
}

static struct event *push_event(struct usb_bed *b, enum usb_bed_kind kind, const void *bytes, size_t n) {
  struct event *e = calloc(1, sizeof *e);
  if (!e)
    abort();
  e->what.kind = kind;
  e->bytes = g_bytes_new(bytes, n);
  g_queue_push_tail(&b->events, e);
  wake(b);
  return e;
}

static void free_event(gpointer data) {
  struct event *e = data;
  g_bytes_unref(e->bytes);
  free(e);
}

int usb_bed_fd(const struct usb_bed *b) {
  return b->event_fd;
}

int usb_bed_next(struct usb_bed *b, struct usb_bed_event *ret) {
  g_mutex_lock(&b->lock);
  struct event *e = g_queue_pop_head(&b->events);
  g_clear_pointer(&b->taken, g_bytes_unref);
  b->asking = NULL;
  if (e) {
    b->asking = e->urb;
    b->taken = e->bytes;
    *ret = e->what;
    ret->bytes = g_bytes_get_data(e->bytes, &ret->n);
    free(e);
  } else {
    uint64_t count;
    if (read(b->event_fd, &count, sizeof count) < 0)
      count = 0; /* nothing had been announced */
  }
  g_mutex_unlock(&b->lock);
  return e ? 1 : 0;
}

/* ---- transfers ---- */

static void free_urb(struct usb_bed *b, struct urb *u) {
  if (b->asking == u)
    b->asking = NULL;
  for (GList *l = b->events.head; l; l = l->next)
    if (((struct event *)l->data)->urb == u)
      ((struct event *)l->data)->urb = NULL;
  g_clear_object(&u->buffer);
  g_object_unref(u->data);
  free(u);
}

/* The transfer goes from `waiting`, where it is, to `done`. */
static void finish(struct usb_bed *b, struct urb *u, int status) {
  if (b->asking == u)
    b->asking = NULL;
  urb_of(u)->status = status;
  g_queue_remove(&u->client->waiting, u);
  g_queue_push_tail(&u->client->done, u);
  g_cond_broadcast(&b->changed);
}

static void pull(struct usb_bed *b) {
  for (guint i = 0; i < b->clients->len; i++) {
    struct client *c = b->clients->pdata[i];
    c->gone = true;
    while (c->waiting.head)
      finish(b, c->waiting.head->data, -ESHUTDOWN);
  }
}

static void free_chunk(gpointer data) {
  struct chunk *k = data;
  g_free(k->owned);
  free(k);
}

/* How much of the chunk goes while there is room for so much: all, whole packets, or one packet too many. */
static size_t fitting(const struct chunk *k, size_t room, size_t packet) {
  if (k->n <= room || (room > 0 && room % packet == 0))
    return MIN(k->n, room);
  return MIN(k->n, room - room % packet + packet);
}

/* Moves what it can from the endpoint's chunks. Afterwards the transfer may have ended. */
static void fill(struct usb_bed *b, struct urb *u, struct endpoint *e) {
  struct usbdevfs_urb *raw = urb_of(u);
  bool cut = b->state.sent >= b->cut_at, ended = false;
  struct chunk *k;
  while (!cut && !ended && (k = g_queue_peek_head(&e->chunks))) {
    size_t room = (size_t)(raw->buffer_length - raw->actual_length), used = fitting(k, room, e->packet);
    size_t part = MIN(used, room);
    if (part >= b->cut_at - b->state.sent) {
      part = (size_t)(b->cut_at - b->state.sent);
      cut = true;
    }
    if (part)
      memcpy(u->buffer->data + raw->actual_length, k->at, part);
    raw->actual_length += (int)part;
    b->state.sent += part;
    ended = used == 0 || used % e->packet != 0 || used > room || raw->actual_length == raw->buffer_length;
    k->at += used;
    k->n -= used;
    if (k->n == 0)
      free_chunk(g_queue_pop_head(&e->chunks));
    if (ended && (!cut || part == used))
      finish(b, u, used > room ? -EOVERFLOW : 0);
  }
  if (cut) {
    b->cut_at = USB_BED_NEVER;
    b->cut = true;
    pull(b);
    push_event(b, USB_BED_CUT, NULL, 0);
  }
}

static void take_out(struct usb_bed *b, struct urb *u, struct endpoint *e) {
  struct usbdevfs_urb *raw = urb_of(u);
  size_t n = (size_t)raw->buffer_length;
  if (raw->flags & USBDEVFS_URB_ZERO_PACKET && n % e->packet == 0)
    b->state.empty_packets++;
  struct event *event = push_event(b, USB_BED_OUT, n ? u->buffer->data : NULL, n);
  event->what.endpoint = raw->endpoint;
  raw->actual_length = raw->buffer_length;
  b->state.received += n;
  finish(b, u, 0);
}

static void give(struct usb_bed *b, struct urb *u, const void *bytes, size_t n) {
  const uint8_t *setup = u->buffer->data;
  size_t length = (size_t)(setup[6] | setup[7] << 8);
  if (setup[0] & USB_DIR_IN) {
    n = MIN(n, length);
    if (n)
      memcpy(u->buffer->data + SETUP, bytes, n);
  } else {
    n = length;
  }
  urb_of(u)->actual_length = (int)n;
  finish(b, u, 0);
}

static void give_string(struct usb_bed *b, struct urb *u, unsigned index) {
  uint8_t answer[2 + 2 * TEXT_MAX] = {4, USB_DT_STRING, 0x09, 0x04};
  if (index == 0)
    return give(b, u, answer, 4);
  for (unsigned i = 0; i < STRINGS; i++) {
    if (b->device[14 + i] != index || !b->strings[i][0])
      continue;
    size_t len = strlen(b->strings[i]);
    answer[0] = (uint8_t)(2 + 2 * len);
    for (size_t k = 0; k < len; k++) {
      answer[2 + 2 * k] = (uint8_t)b->strings[i][k];
      answer[3 + 2 * k] = 0;
    }
    return give(b, u, answer, answer[0]);
  }
  finish(b, u, -EPIPE);
}

/* What every device answers, after USB 2.0, chapter 9. */
static void control_standard(struct usb_bed *b, struct urb *u) {
  const uint8_t *setup = u->buffer->data;
  struct endpoint *e = (setup[0] & USB_RECIP_MASK) == USB_RECIP_ENDPOINT ? endpoint_of(b, setup[4]) : NULL;
  uint8_t status[2] = {e && e->halted, 0}, zero = 0;
  switch (setup[1]) {
  case USB_REQ_GET_DESCRIPTOR:
    if (setup[3] == USB_DT_DEVICE)
      return give(b, u, b->device, sizeof b->device);
    if (setup[3] == USB_DT_CONFIG && setup[2] == 0)
      return give(b, u, b->configuration->data, b->configuration->len);
    if (setup[3] == USB_DT_STRING)
      return give_string(b, u, setup[2]);
    break;
  case USB_REQ_GET_STATUS:
    return give(b, u, status, sizeof status);
  case USB_REQ_GET_CONFIGURATION:
    return give(b, u, &b->configuration->data[5], 1);
  case USB_REQ_GET_INTERFACE:
    return give(b, u, &zero, 1);
  case USB_REQ_SET_CONFIGURATION:
  case USB_REQ_SET_INTERFACE:
    return give(b, u, NULL, 0);
  }
  finish(b, u, -EPIPE);
}

static void control(struct usb_bed *b, struct urb *u) {
  const uint8_t *setup = u->buffer->data;
  if ((setup[0] & USB_TYPE_MASK) == USB_TYPE_STANDARD)
    return control_standard(b, u);
  size_t n = setup[0] & USB_DIR_IN ? 0 : (size_t)(setup[6] | setup[7] << 8);
  struct event *e = push_event(b, USB_BED_CONTROL, setup + SETUP, n);
  memcpy(e->what.setup, setup, SETUP);
  e->urb = u;
  u->asked = true;
}

static void serve_urb(struct usb_bed *b, struct urb *u) {
  struct usbdevfs_urb *raw = urb_of(u);
  if (raw->type == USBDEVFS_URB_TYPE_CONTROL) {
    if (!u->asked)
      control(b, u);
    return;
  }
  struct endpoint *e = endpoint_of(b, raw->endpoint);
  if (e->halted) {
    finish(b, u, -EPIPE);
  } else if (e->damaged) {
    e->damaged = false;
    finish(b, u, -EPROTO);
  } else if (raw->endpoint & USB_DIR_IN) {
    fill(b, u, e);
  } else {
    take_out(b, u, e);
  }
}

/* After every change: whatever can go on now, does. */
static void serve(struct usb_bed *b) {
  if (b->mute)
    return;
  for (guint i = 0; i < b->clients->len; i++) {
    struct client *c = b->clients->pdata[i];
    for (GList *l = c->waiting.head, *next; l && !c->gone; l = next) {
      next = l->next;
      serve_urb(b, l->data);
    }
  }
}

/* ---- what the host asks ---- */

struct outcome {
  glong result;
  int error;
};

#define OK ((struct outcome){0, 0})
#define FAILED(e) ((struct outcome){-1, e})

static struct outcome submit(struct usb_bed *b, struct client *c, UMockdevIoctlData *arg) {
  UMockdevIoctlData *data = umockdev_ioctl_data_resolve(arg, 0, sizeof(struct usbdevfs_urb), NULL);
  if (!data)
    return FAILED(EFAULT);
  struct urb *u = calloc(1, sizeof *u);
  if (!u)
    abort();
  *u = (struct urb){.data = data, .client = c};
  struct usbdevfs_urb *raw = urb_of(u);
  struct endpoint *e = raw->type == USBDEVFS_URB_TYPE_CONTROL ? NULL : endpoint_of(b, raw->endpoint);
  bool is_control = raw->type == USBDEVFS_URB_TYPE_CONTROL;
  raw->actual_length = 0;
  if (raw->buffer_length > 0)
    u->buffer =
        umockdev_ioctl_data_resolve(data, offsetof(struct usbdevfs_urb, buffer), (gsize)raw->buffer_length, NULL);
  int error = 0;
  if (raw->buffer_length < 0 || raw->type == USBDEVFS_URB_TYPE_ISO ||
      (is_control && (raw->buffer_length < (int)SETUP || !u->buffer)))
    error = EINVAL;
  else if (!is_control && !e)
    error = ENOENT;
  else if (is_control && SETUP + (size_t)(u->buffer->data[6] | u->buffer->data[7] << 8) > (size_t)raw->buffer_length)
    error = EINVAL;
  else if (e && b->owners[e->interface] && b->owners[e->interface] != c)
    error = EBUSY;
  if (error) {
    free_urb(b, u);
    return FAILED(error);
  }
  g_queue_push_tail(&c->waiting, u);
  serve(b);
  wake(b); /* the owner may have bytes for it */
  return OK;
}

static struct outcome discard(struct usb_bed *b, struct client *c, gulong address) {
  for (GList *l = c->waiting.head; l; l = l->next) {
    struct urb *u = l->data;
    if (u->data->client_addr == address) {
      finish(b, u, -ENOENT);
      return OK;
    }
  }
  return FAILED(EINVAL);
}

static struct outcome reap(struct usb_bed *b, struct client *c, UMockdevIoctlData *arg) {
  /* libusb asks once more after each transfer that it got: only who asks again for nothing has to wait. */
  if (!c->done.head && !c->gone && c->idle)
    g_cond_wait_until(&b->changed, &b->lock, g_get_monotonic_time() + REAP_PAUSE_US);
  struct urb *u = g_queue_pop_head(&c->done);
  c->idle = !u;
  if (!u)
    return FAILED(c->gone ? ENODEV : EAGAIN);
  UMockdevIoctlData *pointer = umockdev_ioctl_data_resolve(arg, 0, sizeof(void *), NULL);
  umockdev_ioctl_data_set_ptr(pointer, 0, u->data);
  g_object_unref(pointer);
  free_urb(b, u);
  return OK;
}

/* Answers with what the argument is to point to. */
static struct outcome put(UMockdevIoctlData *arg, const void *bytes, size_t n) {
  UMockdevIoctlData *value = umockdev_ioctl_data_resolve(arg, 0, n, NULL);
  if (!value)
    return FAILED(EFAULT);
  memcpy(value->data, bytes, n);
  g_object_unref(value);
  return OK;
}

/* The first number of what the argument points to. */
static unsigned number_of(UMockdevIoctlData *arg) {
  unsigned v = UINT_MAX;
  UMockdevIoctlData *value = umockdev_ioctl_data_resolve(arg, 0, sizeof v, NULL);
  if (value)
    memcpy(&v, value->data, sizeof v);
  g_clear_object(&value);
  return v;
}

static struct outcome claim(struct usb_bed *b, struct client *c, unsigned interface) {
  if (interface >= INTERFACES)
    return FAILED(EINVAL);
  bool exists = false;
  for (unsigned i = 0; i < b->n_interfaces; i++)
    exists = exists || b->interfaces[i].bInterfaceNumber == interface;
  if (!exists)
    return FAILED(ENOENT);
  if (b->owners[interface] && b->owners[interface] != c)
    return FAILED(EBUSY);
  b->owners[interface] = c;
  return OK;
}

static struct outcome release(struct usb_bed *b, const struct client *c, unsigned interface) {
  if (interface >= INTERFACES || b->owners[interface] != c)
    return FAILED(EINVAL);
  b->owners[interface] = NULL;
  return OK;
}

static struct outcome clear_halt(struct usb_bed *b, unsigned address) {
  struct endpoint *e = endpoint_of(b, (uint8_t)address);
  if (!e)
    return FAILED(ENOENT);
  e->halted = false;
  b->state.cleared++;
  serve(b);
  return OK;
}

static struct outcome reset(struct usb_bed *b) {
  for (unsigned i = 0; i < ENDPOINTS; i++)
    b->endpoints[i].halted = false;
  push_event(b, USB_BED_RESET, NULL, 0);
  return OK;
}

static struct outcome answer(struct usb_bed *b, struct client *c, gulong request, UMockdevIoctlData *arg) {
  static const guint32 capabilities = USBDEVFS_CAP_ZERO_PACKET | USBDEVFS_CAP_BULK_CONTINUATION |
                                      USBDEVFS_CAP_NO_PACKET_SIZE_LIM | USBDEVFS_CAP_BULK_SCATTER_GATHER |
                                      USBDEVFS_CAP_REAP_AFTER_DISCONNECT;
  if (request == USBDEVFS_REAPURB || request == USBDEVFS_REAPURBNDELAY)
    return reap(b, c, arg);
  if (c->gone)
    return FAILED(ENODEV);
  const struct usbdevfs_connectinfo where = {.devnum = b->number};
  switch (request) {
  case USBDEVFS_GET_CAPABILITIES:
    return put(arg, &capabilities, sizeof capabilities);
  case USBDEVFS_CONNECTINFO:
    return put(arg, &where, sizeof where);
  case USBDEVFS_SUBMITURB:
    return submit(b, c, arg);
  case USBDEVFS_DISCARDURB:
    return discard(b, c, *(gulong *)(void *)arg->data);
  case USBDEVFS_DISCONNECT_CLAIM:
    b->state.detached++;
    return claim(b, c, number_of(arg));
  case USBDEVFS_CLAIMINTERFACE:
    return claim(b, c, number_of(arg));
  case USBDEVFS_RELEASEINTERFACE:
    return release(b, c, number_of(arg));
  case USBDEVFS_CLEAR_HALT:
    return clear_halt(b, number_of(arg));
  case USBDEVFS_RESET:
    return reset(b);
  case USBDEVFS_SETCONFIGURATION:
  case USBDEVFS_SETINTERFACE:
    return OK;
  case USBDEVFS_GETDRIVER:
  case USBDEVFS_IOCTL:
    return FAILED(ENODATA); /* no kernel driver has the interface */
  default:
    return FAILED(ENOTTY);
  }
}

/* ---- umockdev's thread ---- */

static struct client *find_client(const struct usb_bed *b, const UMockdevIoctlClient *id) {
  for (guint i = 0; i < b->clients->len; i++) {
    struct client *c = b->clients->pdata[i];
    if (c->id == id)
      return c;
  }
  return NULL;
}

static gboolean on_ioctl(UMockdevIoctlBase *handler, UMockdevIoctlClient *id, gpointer arg) {
  (void)handler;
  struct usb_bed *b = arg;
  g_mutex_lock(&b->lock);
  struct client *c = find_client(b, id);
  struct outcome o =
      c ? answer(b, c, umockdev_ioctl_client_get_request(id), umockdev_ioctl_client_get_arg(id)) : FAILED(ENODEV);
  g_mutex_unlock(&b->lock);
  umockdev_ioctl_client_complete(id, o.result, o.error);
  return TRUE;
}

static void bed_unref(gpointer data, GClosure *closure) {
  (void)closure;
  struct usb_bed *b = data;
  if (!g_atomic_int_dec_and_test(&b->references))
    return;
  for (unsigned i = 0; i < ENDPOINTS; i++)
    g_queue_clear_full(&b->endpoints[i].chunks, free_chunk);
  g_queue_clear_full(&b->events, free_event);
  g_clear_pointer(&b->taken, g_bytes_unref);
  g_ptr_array_unref(b->clients);
  g_byte_array_unref(b->configuration);
  g_mutex_clear(&b->lock);
  g_cond_clear(&b->changed);
  free(b);
}

static struct usb_bed *bed_ref(struct usb_bed *b) {
  g_atomic_int_inc(&b->references);
  return b;
}

/* umockdev drops a client when its descriptor is closed or its process ends; it says so in no other way. */
static void on_closed(gpointer arg, GObject *id) {
  struct usb_bed *b = arg;
  struct urb *u;
  g_mutex_lock(&b->lock);
  struct client *c = find_client(b, (UMockdevIoctlClient *)id);
  if (c) {
    while ((u = g_queue_pop_head(&c->waiting)) || (u = g_queue_pop_head(&c->done)))
      free_urb(b, u);
    for (unsigned i = 0; i < INTERFACES; i++)
      if (b->owners[i] == c)
        b->owners[i] = NULL;
    g_ptr_array_remove(b->clients, c);
    free(c);
    wake(b);
  }
  g_mutex_unlock(&b->lock);
  bed_unref(b, NULL);
}

static void on_opened(UMockdevIoctlBase *handler, UMockdevIoctlClient *id, gpointer arg) {
  (void)handler;
  struct usb_bed *b = arg;
  struct client *c = calloc(1, sizeof *c);
  if (!c)
    abort();
  g_mutex_lock(&b->lock);
  c->id = id;
  c->gone = !b->state.plugged || b->cut;
  if (b->clients->len == 0)
    b->state.received = b->state.sent = 0;
  g_ptr_array_add(b->clients, c);
  wake(b);
  g_mutex_unlock(&b->lock);
  g_object_weak_ref(G_OBJECT(id), on_closed, bed_ref(b));
}

/* ---- what the owner does ---- */

void usb_bed_answer(struct usb_bed *b, const void *bytes, size_t n) {
  g_mutex_lock(&b->lock);
  if (b->asking)
    give(b, b->asking, bytes, n);
  g_mutex_unlock(&b->lock);
}

void usb_bed_refuse(struct usb_bed *b) {
  g_mutex_lock(&b->lock);
  if (b->asking)
    finish(b, b->asking, -EPIPE);
  g_mutex_unlock(&b->lock);
}

size_t usb_bed_wanted(struct usb_bed *b, uint8_t address) {
  size_t wanted = 0, queued = 0;
  g_mutex_lock(&b->lock);
  struct endpoint *e = endpoint_of(b, address);
  for (guint i = 0; e && !b->mute && i < b->clients->len; i++) {
    struct client *c = b->clients->pdata[i];
    for (GList *l = c->waiting.head; l; l = l->next) {
      const struct usbdevfs_urb *raw = urb_of(l->data);
      if (raw->type != USBDEVFS_URB_TYPE_CONTROL && raw->endpoint == address)
        wanted += (size_t)(raw->buffer_length - raw->actual_length);
    }
  }
  for (GList *l = e ? e->chunks.head : NULL; l; l = l->next)
    queued += ((struct chunk *)l->data)->n;
  g_mutex_unlock(&b->lock);
  return wanted > queued ? wanted - queued : 0;
}

/* What the waiting transfers take goes there without a copy between. */
static void push_chunk(struct usb_bed *b, struct endpoint *e, const void *bytes, size_t n) {
  struct chunk *k = calloc(1, sizeof *k);
  if (!k)
    abort();
  *k = (struct chunk){.at = bytes, .n = n};
  g_queue_push_tail(&e->chunks, k);
  serve(b);
  k = g_queue_peek_tail(&e->chunks);
  if (k && !k->owned && k->n > 0) {
    k->owned = g_memdup2(k->at, k->n);
    k->at = k->owned;
  }
}

void usb_bed_send(struct usb_bed *b, uint8_t address, const void *bytes, size_t n) {
  g_mutex_lock(&b->lock);
  struct endpoint *e = endpoint_of(b, address);
  if (e && n)
    push_chunk(b, e, bytes, n);
  g_mutex_unlock(&b->lock);
}

int usb_bed_send_packet(struct usb_bed *b, uint8_t address, const void *bytes, size_t n) {
  g_mutex_lock(&b->lock);
  struct endpoint *e = endpoint_of(b, address);
  bool fits = e && n <= e->packet;
  if (fits)
    push_chunk(b, e, bytes, n);
  g_mutex_unlock(&b->lock);
  return fits ? 0 : -EINVAL;
}

void usb_bed_forget(struct usb_bed *b, uint8_t address) {
  g_mutex_lock(&b->lock);
  struct endpoint *e = endpoint_of(b, address);
  if (e)
    g_queue_clear_full(&e->chunks, free_chunk);
  g_mutex_unlock(&b->lock);
}

void usb_bed_stall(struct usb_bed *b, uint8_t address) {
  g_mutex_lock(&b->lock);
  struct endpoint *e = endpoint_of(b, address);
  if (e)
    e->halted = true;
  serve(b);
  g_mutex_unlock(&b->lock);
}

void usb_bed_damage(struct usb_bed *b, uint8_t address) {
  g_mutex_lock(&b->lock);
  struct endpoint *e = endpoint_of(b, address);
  if (e)
    e->damaged = true;
  serve(b);
  g_mutex_unlock(&b->lock);
}

void usb_bed_mute(struct usb_bed *b, bool mute) {
  g_mutex_lock(&b->lock);
  b->mute = mute;
  serve(b);
  wake(b);
  g_mutex_unlock(&b->lock);
}

void usb_bed_unplug_after(struct usb_bed *b, uint64_t n) {
  g_mutex_lock(&b->lock);
  b->cut_at = n;
  serve(b);
  g_mutex_unlock(&b->lock);
}

void usb_bed_get_state(struct usb_bed *b, struct usb_bed_state *ret) {
  g_mutex_lock(&b->lock);
  *ret = b->state;
  ret->open = b->clients->len;
  for (unsigned i = 0; i < INTERFACES; i++)
    ret->claimed |= b->owners[i] ? 1u << i : 0;
  for (guint i = 0; i < b->clients->len; i++) {
    struct client *c = b->clients->pdata[i];
    for (GList *l = c->waiting.head; l; l = l->next)
      ret->in_flight += urb_of(l->data)->type != USBDEVFS_URB_TYPE_CONTROL;
  }
  g_mutex_unlock(&b->lock);
}

/* ---- plugging ---- */

static void root_path(const struct usb_bed *b, char path[PATH_MAX], const char *rest) {
  char *root = umockdev_testbed_get_root_dir(b->testbed);
  if (snprintf(path, PATH_MAX, "%s%s", root, rest) >= PATH_MAX)
    path[0] = 0;
  g_free(root);
}

static void remove_file(const struct usb_bed *b, const char *rest) {
  char path[PATH_MAX];
  root_path(b, path, rest);
  unlink(path);
}

/* What udevd keeps about a device it has dealt with; without it sd-device takes the device for uninitialized. A program
 * under test is led here by tty_shim.so. */
static int write_database(const struct usb_bed *b, const char *id, const char *properties) {
  char path[PATH_MAX], rest[64];
  root_path(b, path, "/run/udev/data");
  if (g_mkdir_with_parents(path, 0755) < 0)
    return -errno;
  snprintf(rest, sizeof rest, "/run/udev/data/%s", id);
  root_path(b, path, rest);
  FILE *file = fopen(path, "we");
  if (!file)
    return -errno;
  fprintf(file, "I:1000000\n");
  for (const char *line = properties; *line;) {
    size_t len = strcspn(line, "\n");
    fprintf(file, "E:%.*s\n", (int)len, line);
    line += len + (line[len] == '\n');
  }
  fprintf(file, "G:systemd\nQ:systemd\nV:1\n");
  return fclose(file) == 0 ? 0 : -errno;
}

static unsigned minor_of(const struct usb_bed *b) {
  return (BUS - 1) * 128 + b->number - 1;
}

static void append_hex(GString *text, const uint8_t *bytes, size_t n) {
  for (size_t i = 0; i < n; i++)
    g_string_append_printf(text, "%02X", bytes[i]); /* upper case, as umockdev wants it */
}

/* udev's spelling of a USB string in a property. */
static void append_property(GString *text, const char *name, const char *value) {
  g_string_append_printf(text, "%s=", name);
  for (; *value; value++)
    g_string_append_c(text, *value == ' ' || *value == '/' ? '_' : *value);
  g_string_append_c(text, '\n');
}

/* What udev's rules and usb_id would say, a line each. */
static void append_properties(const struct usb_bed *b, GString *text) {
  char full[3 * TEXT_MAX + 3];
  const char *manufacturer = b->strings[0], *product = b->strings[1], *serial = b->strings[2];
  g_string_append(text, "ID_BUS=usb\n");
  append_property(text, "ID_VENDOR", manufacturer);
  g_string_append_printf(text, "ID_VENDOR_ID=%02x%02x\n", b->device[9], b->device[8]);
  append_property(text, "ID_MODEL", product);
  g_string_append_printf(text, "ID_MODEL_ID=%02x%02x\n", b->device[11], b->device[10]);
  snprintf(full, sizeof full, "%s_%s%s%s", manufacturer, product, *serial ? "_" : "", serial);
  append_property(text, "ID_SERIAL", full);
  if (*serial)
    append_property(text, "ID_SERIAL_SHORT", serial);
  g_string_append(text, "ID_USB_INTERFACES=:");
  for (unsigned i = 0; i < b->n_interfaces; i++)
    g_string_append_printf(text, "%02x%02x%02x:", b->interfaces[i].bInterfaceClass, b->interfaces[i].bInterfaceSubClass,
                           b->interfaces[i].bInterfaceProtocol);
  g_string_append_printf(text, "\nID_PATH=pci-0000:00:14.0-usb-0:%u\n", b->socket);
}

static void interface_path(const struct usb_bed *b, unsigned i, char path[128]) {
  snprintf(path, 128, BUS_PATH "/%u-%u/%u-%u:%u.%u", BUS, b->socket, BUS, b->socket, b->configuration->data[5],
           b->interfaces[i].bInterfaceNumber);
}

static void describe_interface(const struct usb_bed *b, unsigned i, GString *text) {
  const struct usb_interface_descriptor *d = &b->interfaces[i];
  char path[128];
  interface_path(b, i, path);
  g_string_append_printf(text,
                         "\nP: %s\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_interface\nE: INTERFACE=%u/%u/%u\n"
                         "A: bInterfaceNumber=%02x\\n\nA: bAlternateSetting= 0\\n\nA: bNumEndpoints=%02x\\n\n"
                         "A: bInterfaceClass=%02x\\n\nA: bInterfaceSubClass=%02x\\n\nA: bInterfaceProtocol=%02x\\n\n",
                         path, d->bInterfaceClass, d->bInterfaceSubClass, d->bInterfaceProtocol, d->bInterfaceNumber,
                         d->bNumEndpoints, d->bInterfaceClass, d->bInterfaceSubClass, d->bInterfaceProtocol);
}

/* Packets of 512 bytes are high speed's alone. */
static bool is_high_speed(const struct usb_bed *b) {
  bool high = false;
  for (unsigned i = 0; i < ENDPOINTS; i++)
    high = high || b->endpoints[i].packet == 512;
  return high;
}

static void describe(const struct usb_bed *b, const char *properties, GString *text) {
  static const char *const attributes[STRINGS] = {"manufacturer", "product", "serial"};
  g_string_append_printf(text, "P: " BUS_PATH "/%u-%u\nN: %s=", BUS, b->socket, b->node + strlen("/dev/"));
  append_hex(text, b->device, sizeof b->device);
  append_hex(text, b->configuration->data, b->configuration->len);
  g_string_append_printf(text,
                         "\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\nE: DRIVER=usb\nE: DEVNAME=%s\nE: MAJOR=189\n"
                         "E: MINOR=%u\nE: BUSNUM=%03u\nE: DEVNUM=%03u\nE: PRODUCT=%x/%x/%x\n",
                         b->node, minor_of(b), BUS, b->number, b->device[8] | b->device[9] << 8,
                         b->device[10] | b->device[11] << 8, b->device[12] | b->device[13] << 8);
  for (const char *line = properties; *line; line += strcspn(line, "\n") + 1)
    g_string_append_printf(text, "E: %.*s\n", (int)strcspn(line, "\n"), line);
  g_string_append_printf(text,
                         "A: dev=189:%u\\n\nA: busnum=%u\\n\nA: devnum=%u\\n\nA: devpath=%u\\n\nA: speed=%s\\n\n"
                         "A: bConfigurationValue=%u\\n\nA: bNumConfigurations=1\\n\nA: bDeviceClass=%02x\\n\n"
                         "A: idVendor=%02x%02x\\n\nA: idProduct=%02x%02x\\n\nH: descriptors=",
                         minor_of(b), BUS, b->number, b->socket, is_high_speed(b) ? "480" : "12",
                         b->configuration->data[5], b->device[4], b->device[9], b->device[8], b->device[11],
                         b->device[10]);
  append_hex(text, b->device, sizeof b->device);
  append_hex(text, b->configuration->data, b->configuration->len);
  g_string_append_c(text, '\n');
  for (unsigned i = 0; i < STRINGS; i++)
    if (b->strings[i][0])
      g_string_append_printf(text, "A: %s=%s\\n\n", attributes[i], b->strings[i]);
  for (unsigned i = 0; i < b->n_interfaces; i++)
    describe_interface(b, i, text);
}

int usb_bed_plug(struct usb_bed *b) {
  char id[32];
  if (b->state.plugged)
    return -EALREADY;
  b->number = b->number == 0 || b->number + USB_BED_SOCKETS > 127 ? 1 + b->socket : b->number + USB_BED_SOCKETS;
  snprintf(b->node, sizeof b->node, "/dev/bus/usb/%03u/%03u", BUS, b->number);
  GString *properties = g_string_new(NULL), *text = g_string_new(NULL);
  append_properties(b, properties);
  describe(b, properties->str, text);
  snprintf(id, sizeof id, "c189:%u", minor_of(b));
  int r = write_database(b, id, properties->str);
  g_mutex_lock(&b->lock);
  b->state.plugged = true; /* somebody may open the node before the uevents are out */
  g_mutex_unlock(&b->lock);
  /* The handler first: the node must not be there without it. */
  if (r == 0 && !umockdev_testbed_attach_ioctl(b->testbed, b->node, b->handler, NULL))
    r = -EIO;
  else if (r == 0 && !umockdev_testbed_add_from_string(b->testbed, text->str, NULL)) {
    umockdev_testbed_detach_ioctl(b->testbed, b->node, NULL);
    r = -EIO;
  }
  g_string_free(properties, TRUE);
  g_string_free(text, TRUE);
  if (r < 0) {
    g_mutex_lock(&b->lock);
    b->state.plugged = false;
    g_mutex_unlock(&b->lock);
  }
  return r;
}

static void remove_device(struct usb_bed *b, const char *place) {
  char path[256];
  snprintf(path, sizeof path, "/sys%s", place);
  umockdev_testbed_uevent(b->testbed, path, "remove");
  umockdev_testbed_remove_device(b->testbed, path);
}

static void power_off(struct usb_bed *b) {
  g_mutex_lock(&b->lock);
  b->state.plugged = false;
  pull(b);
  for (unsigned i = 0; i < ENDPOINTS; i++) {
    g_queue_clear_full(&b->endpoints[i].chunks, free_chunk);
    b->endpoints[i].halted = b->endpoints[i].damaged = false;
  }
  memset(b->owners, 0, sizeof b->owners);
  g_queue_clear_full(&b->events, free_event);
  b->asking = NULL;
  b->mute = b->cut = false;
  b->cut_at = USB_BED_NEVER;
  wake(b);
  g_mutex_unlock(&b->lock);
}

int usb_bed_unplug(struct usb_bed *b) {
  char path[128], rest[64];
  if (!b->state.plugged)
    return -ENODEV;
  power_off(b);
  remove_file(b, b->node);
  umockdev_testbed_detach_ioctl(b->testbed, b->node, NULL);
  for (unsigned i = b->n_interfaces; i-- > 0;) {
    interface_path(b, i, path);
    remove_device(b, path);
  }
  snprintf(path, sizeof path, BUS_PATH "/%u-%u", BUS, b->socket);
  /* umockdev leaves this link behind, and stops the process when it finds it at a later plug */
  snprintf(rest, sizeof rest, "/sys/dev/char/189:%u", minor_of(b));
  remove_device(b, path);
  remove_file(b, rest);
  snprintf(rest, sizeof rest, "/run/udev/data/c189:%u", minor_of(b));
  remove_file(b, rest);
  return 0;
}

const char *usb_bed_node(const struct usb_bed *b) {
  return b->node;
}

/* ---- life ---- */

static int parse_configuration(struct usb_bed *b) {
  const uint8_t *at = b->configuration->data, *end = at + b->configuration->len;
  const struct usb_interface_descriptor *interface = NULL;
  for (; at < end; at += at[0]) {
    if (end - at < 2 || at[0] < 2 || at[0] > end - at)
      return -EINVAL;
    if (at[1] == USB_DT_INTERFACE && at[0] >= USB_DT_INTERFACE_SIZE) {
      interface = NULL;
      if (at[3] != 0)
        continue; /* alternate settings are not simulated */
      if (b->n_interfaces == INTERFACES || at[2] >= INTERFACES)
        return -EINVAL;
      memcpy(&b->interfaces[b->n_interfaces], at, USB_DT_INTERFACE_SIZE);
      interface = &b->interfaces[b->n_interfaces++];
    } else if (at[1] == USB_DT_ENDPOINT && at[0] >= USB_DT_ENDPOINT_SIZE && interface) {
      struct endpoint *e = &b->endpoints[(at[2] & 0x0f) + (at[2] & USB_DIR_IN ? 16 : 0)];
      e->packet = (size_t)(at[4] | at[5] << 8) & 0x7ff;
      e->interface = interface->bInterfaceNumber;
    }
  }
  return b->n_interfaces ? 0 : -EINVAL;
}

/* Line ends and backslashes would change the meaning of umockdev's description. */
static int copy_text(char out[TEXT_MAX], const char *text) {
  size_t len = text ? strlen(text) : 0;
  if (len >= TEXT_MAX)
    return -EINVAL;
  for (size_t i = 0; i < len; i++)
    if (text[i] < 0x20 || text[i] > 0x7E || text[i] == '\\')
      return -EINVAL;
  if (len)
    memcpy(out, text, len);
  return 0;
}

static int take_options(struct usb_bed *b, const struct usb_bed_options *o) {
  if (o->device[0] != USB_DT_DEVICE_SIZE || o->device[1] != USB_DT_DEVICE || o->configuration[0] < USB_DT_CONFIG_SIZE ||
      o->configuration[1] != USB_DT_CONFIG || o->socket > USB_BED_SOCKETS)
    return -EINVAL;
  memcpy(b->device, o->device, sizeof b->device);
  g_byte_array_append(b->configuration, o->configuration, (guint)(o->configuration[2] | o->configuration[3] << 8));
  b->socket = o->socket ? o->socket : 1;
  const char *const texts[STRINGS] = {o->manufacturer, o->product, o->serial};
  for (unsigned i = 0; i < STRINGS; i++)
    if (copy_text(b->strings[i], texts[i]) < 0)
      return -EINVAL;
  return parse_configuration(b);
}

int usb_bed_create(UMockdevTestbed *testbed, const struct usb_bed_options *options, struct usb_bed **ret) {
  struct usb_bed *b = calloc(1, sizeof *b);
  if (!b)
    return -ENOMEM;
  b->references = 1;
  g_mutex_init(&b->lock);
  g_cond_init(&b->changed);
  b->testbed = testbed;
  b->cut_at = USB_BED_NEVER;
  b->configuration = g_byte_array_new();
  b->clients = g_ptr_array_new();
  b->handler = umockdev_ioctl_base_new();
  b->signals[0] =
      g_signal_connect_data(b->handler, "handle-ioctl", G_CALLBACK(on_ioctl), bed_ref(b), bed_unref, G_CONNECT_AFTER);
  b->signals[1] =
      g_signal_connect_data(b->handler, "client-connected", G_CALLBACK(on_opened), bed_ref(b), bed_unref, 0);
  b->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  int r = b->event_fd < 0 ? -errno : take_options(b, options);
  if (r < 0) {
    usb_bed_destroy(b);
    return r;
  }
  *ret = b;
  return 0;
}

void usb_bed_destroy(struct usb_bed *b) {
  if (!b)
    return;
  usb_bed_unplug(b);
  for (unsigned i = 0; i < 2; i++)
    g_signal_handler_disconnect(b->handler, b->signals[i]);
  g_object_unref(b->handler);
  g_mutex_lock(&b->lock);
  if (b->event_fd >= 0)
    close(b->event_fd);
  b->event_fd = -1;
  g_mutex_unlock(&b->lock);
  bed_unref(b, NULL);
}
