#include "usb_echo_bed.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <umockdev.h>

#include <linux/usbdevice_fs.h>

#define PACKET 64
#define SYSFS "/devices/pci0000:00/usb1/1-1"
/* Upper case, as umockdev wants them. */
#define DESCRIPTORS                                                                                 \
  "12010002FF000040091201000001"                                                                    \
  "00000001"                                       /* device 1209:0001 */                           \
  "09023700020100C032"                             /* configuration, 2 interfaces */                \
  "0904000002080650000705010240000007058102400000" /* 0: class 08, bulk 01 and 81, packets of 64 */ \
  "0904010002FF0000000705020240000007058202400000" /* 1: class ff, bulk 02 and 82 */

struct usb_echo_bed {
  UMockdevTestbed *testbed;
  UMockdevIoctlBase *handler;
  pthread_mutex_t lock;
  GQueue waiting; /* UMockdevIoctlData of struct usbdevfs_urb: IN transfers, and OUT ones while mute */
  GQueue done;
  GQueue packets; /* GBytes, from the device */
  GByteArray *stored;
  bool mute, gone;
  int trouble; /* status of the next IN transfer, or 0 */
  struct usb_echo_state state;
};

bool usb_echo_bed_available(void) {
  const char *preload = getenv("LD_PRELOAD");
  return preload && strstr(preload, "umockdev-preload");
}

static struct usbdevfs_urb *urb_of(UMockdevIoctlData *data) {
  return (struct usbdevfs_urb *)(void *)data->data;
}

static void finish(struct usb_echo_bed *b, UMockdevIoctlData *data, int status) {
  urb_of(data)->status = status;
  g_queue_push_tail(&b->done, data);
}

static UMockdevIoctlData *buffer_of(UMockdevIoctlData *data) {
  return umockdev_ioctl_data_resolve(data, offsetof(struct usbdevfs_urb, buffer), (gsize)urb_of(data)->buffer_length,
                                     NULL);
}

static UMockdevIoctlData *first_in(struct usb_echo_bed *b) {
  for (GList *l = b->waiting.head; l; l = l->next)
    if (urb_of(l->data)->endpoint & 0x80)
      return l->data;
  return NULL;
}

/* Packets go into the oldest IN transfer, which ends with a short one or when it is full. Only from on_ioctl(): this
 * reads and writes the client's memory over umockdev's connection, which has one user at a time. */
static void pump(struct usb_echo_bed *b) {
  UMockdevIoctlData *data;
  while ((data = first_in(b))) {
    struct usbdevfs_urb *urb = urb_of(data);
    if (b->trouble) {
      g_queue_remove(&b->waiting, data);
      finish(b, data, b->trouble);
      b->trouble = 0;
      continue;
    }
    GBytes *packet = g_queue_pop_head(&b->packets);
    if (!packet)
      return;
    gsize n;
    const void *bytes = g_bytes_get_data(packet, &n);
    UMockdevIoctlData *buffer = buffer_of(data);
    if (n)
      umockdev_ioctl_data_update(buffer, (gsize)urb->actual_length, (guint8 *)(uintptr_t)bytes, (gint)n);
    umockdev_ioctl_data_unref(buffer);
    urb->actual_length += (int)n;
    if (n < PACKET || urb->actual_length == urb->buffer_length) {
      g_queue_remove(&b->waiting, data);
      finish(b, data, 0);
    }
    g_bytes_unref(packet);
  }
}

static void queue_bytes(struct usb_echo_bed *b, const guint8 *bytes, size_t n) {
  while (n) {
    size_t part = n < PACKET ? n : PACKET;
    g_queue_push_tail(&b->packets, g_bytes_new(bytes, part));
    bytes += part;
    n -= part;
  }
}

static void control(struct usb_echo_bed *b, UMockdevIoctlData *data) {
  UMockdevIoctlData *buffer = buffer_of(data);
  const guint8 *setup = buffer->data;
  guint length = (guint)(setup[6] | setup[7] << 8);
  int status = 0;
  if (setup[0] == 0x40 && setup[1] == 1) {
    g_byte_array_set_size(b->stored, 0);
    g_byte_array_append(b->stored, setup + 8, length);
    urb_of(data)->actual_length = (int)length;
  } else if (setup[0] == 0xc0 && setup[1] == 2) {
    guint n = MIN(length, b->stored->len);
    if (n)
      umockdev_ioctl_data_update(buffer, 8, b->stored->data, (gint)n);
    urb_of(data)->actual_length = (int)n;
  } else if (setup[0] != 0xc0 || setup[1] != 4) {
    status = -EPIPE;
  }
  umockdev_ioctl_data_unref(buffer);
  finish(b, data, status);
}

static void submit(struct usb_echo_bed *b, UMockdevIoctlData *data) {
  struct usbdevfs_urb *urb = urb_of(data);
  urb->actual_length = 0;
  if (urb->type == USBDEVFS_URB_TYPE_CONTROL) {
    control(b, data);
  } else if (urb->endpoint & 0x80 || b->mute) {
    g_queue_push_tail(&b->waiting, data);
  } else {
    UMockdevIoctlData *buffer = buffer_of(data);
    queue_bytes(b, buffer->data, (size_t)urb->buffer_length);
    umockdev_ioctl_data_unref(buffer);
    b->state.empty_packets += urb->flags & USBDEVFS_URB_ZERO_PACKET && urb->buffer_length % PACKET == 0;
    urb->actual_length = urb->buffer_length;
    finish(b, data, 0);
  }
}

static void discard(struct usb_echo_bed *b, UMockdevIoctlClient *client, gulong address) {
  for (GList *l = b->waiting.head; l; l = l->next) {
    UMockdevIoctlData *data = l->data;
    if (data->client_addr != address)
      continue;
    g_queue_delete_link(&b->waiting, l);
    finish(b, data, -ENOENT);
    umockdev_ioctl_client_complete(client, 0, 0);
    return;
  }
  umockdev_ioctl_client_complete(client, -1, EINVAL);
}

static void reap(struct usb_echo_bed *b, UMockdevIoctlClient *client, UMockdevIoctlData *arg) {
  pump(b);
  UMockdevIoctlData *data = g_queue_pop_head(&b->done);
  if (!data) {
    int error = b->gone ? ENODEV : EAGAIN;
    pthread_mutex_unlock(&b->lock);
    g_usleep(1000); /* the node always looks ready to libusb, which then asks without a pause */
    pthread_mutex_lock(&b->lock);
    umockdev_ioctl_client_complete(client, -1, error);
    return;
  }
  UMockdevIoctlData *pointer = umockdev_ioctl_data_resolve(arg, 0, sizeof(void *), NULL);
  umockdev_ioctl_data_set_ptr(pointer, 0, data);
  umockdev_ioctl_client_complete(client, 0, 0);
  umockdev_ioctl_data_unref(pointer);
  umockdev_ioctl_data_unref(data);
}

/* Answers with what the argument is to point to. */
static void give(UMockdevIoctlClient *client, UMockdevIoctlData *arg, void *bytes, size_t n) {
  UMockdevIoctlData *value = umockdev_ioctl_data_resolve(arg, 0, n, NULL);
  umockdev_ioctl_data_update(value, 0, bytes, (gint)n);
  umockdev_ioctl_client_complete(client, 0, 0);
  umockdev_ioctl_data_unref(value);
}

/* The first number of what the argument points to. */
static int number(UMockdevIoctlData *arg) {
  int v = -1;
  UMockdevIoctlData *value = umockdev_ioctl_data_resolve(arg, 0, sizeof v, NULL);
  if (value)
    memcpy(&v, value->data, sizeof v);
  umockdev_ioctl_data_unref(value);
  return v;
}

static void answer(struct usb_echo_bed *b, UMockdevIoctlClient *client, gulong request, UMockdevIoctlData *arg) {
  if (request == USBDEVFS_REAPURB || request == USBDEVFS_REAPURBNDELAY)
    return reap(b, client, arg);
  if (b->gone) {
    umockdev_ioctl_client_complete(client, -1, ENODEV);
    return;
  }
  guint32 capabilities = USBDEVFS_CAP_ZERO_PACKET | USBDEVFS_CAP_BULK_CONTINUATION | USBDEVFS_CAP_NO_PACKET_SIZE_LIM |
                         USBDEVFS_CAP_BULK_SCATTER_GATHER | USBDEVFS_CAP_REAP_AFTER_DISCONNECT;
  struct usbdevfs_connectinfo where = {.devnum = 2};
  switch (request) {
  case USBDEVFS_GET_CAPABILITIES:
    return give(client, arg, &capabilities, sizeof capabilities);
  case USBDEVFS_CONNECTINFO:
    return give(client, arg, &where, sizeof where);
  case USBDEVFS_SUBMITURB:
    submit(b, umockdev_ioctl_data_resolve(arg, 0, sizeof(struct usbdevfs_urb), NULL));
    break;
  case USBDEVFS_DISCARDURB:
    return discard(b, client, *(gulong *)(void *)arg->data);
  case USBDEVFS_DISCONNECT_CLAIM:
    b->state.detached++;
    b->state.claimed = number(arg);
    break;
  case USBDEVFS_CLAIMINTERFACE:
    b->state.claimed = number(arg);
    break;
  case USBDEVFS_RELEASEINTERFACE:
    b->state.claimed = -1;
    break;
  case USBDEVFS_CLEAR_HALT:
    b->state.cleared++;
    break;
  case USBDEVFS_GETDRIVER:
  case USBDEVFS_IOCTL:
  case USBDEVFS_CONTROL:
    umockdev_ioctl_client_complete(client, -1, ENODATA);
    return;
  default:
    umockdev_ioctl_client_complete(client, -1, ENOTTY);
    return;
  }
  umockdev_ioctl_client_complete(client, 0, 0);
}

static gboolean on_ioctl(UMockdevIoctlBase *handler, UMockdevIoctlClient *client, gpointer arg) {
  struct usb_echo_bed *b = arg;
  (void)handler;
  pthread_mutex_lock(&b->lock);
  answer(b, client, umockdev_ioctl_client_get_request(client), umockdev_ioctl_client_get_arg(client));
  pthread_mutex_unlock(&b->lock);
  return TRUE;
}

struct usb_echo_bed *usb_echo_bed_create(void) {
  static const char device[] =
      "P: " SYSFS "\nN: bus/usb/001/002=" DESCRIPTORS
      "\nE: SUBSYSTEM=usb\nE: DRIVER=usb\nE: BUSNUM=001\nE: DEVNUM=002\n"
      "E: DEVNAME=" USB_ECHO_NODE "\nE: DEVTYPE=usb_device\nE: MAJOR=189\nE: MINOR=1\nA: busnum=1\\n\nA: devnum=2\\n\n"
      "A: bConfigurationValue=1\\n\nA: speed=12\\n\nA: idVendor=1209\\n\nA: idProduct=0001\\n\n";
  struct usb_echo_bed *b = calloc(1, sizeof *b);
  if (!b)
    return NULL;
  pthread_mutex_init(&b->lock, NULL);
  b->state.claimed = -1;
  b->stored = g_byte_array_new();
  b->testbed = umockdev_testbed_new();
  b->handler = umockdev_ioctl_base_new();
  g_signal_connect_after(b->handler, "handle-ioctl", G_CALLBACK(on_ioctl), b);
  if (!umockdev_testbed_attach_ioctl(b->testbed, USB_ECHO_NODE, b->handler, NULL) ||
      !umockdev_testbed_add_from_string(b->testbed, device, NULL)) {
    usb_echo_bed_destroy(b);
    return NULL;
  }
  return b;
}

static void forget(GQueue *queue) {
  gpointer data;
  while ((data = g_queue_pop_head(queue)))
    umockdev_ioctl_data_unref(data);
}

void usb_echo_bed_destroy(struct usb_echo_bed *b) {
  if (!b)
    return;
  umockdev_testbed_detach_ioctl(b->testbed, USB_ECHO_NODE, NULL);
  g_object_unref(b->handler);
  g_object_unref(b->testbed);
  forget(&b->waiting);
  forget(&b->done);
  gpointer packet;
  while ((packet = g_queue_pop_head(&b->packets)))
    g_bytes_unref(packet);
  g_byte_array_unref(b->stored);
  pthread_mutex_destroy(&b->lock);
  free(b);
}

void usb_echo_bed_send(struct usb_echo_bed *b, const void *bytes, size_t n) {
  pthread_mutex_lock(&b->lock);
  queue_bytes(b, bytes, n);
  pthread_mutex_unlock(&b->lock);
}

static void trouble(struct usb_echo_bed *b, int status) {
  pthread_mutex_lock(&b->lock);
  b->trouble = status;
  pthread_mutex_unlock(&b->lock);
}

void usb_echo_bed_stall(struct usb_echo_bed *b) {
  trouble(b, -EPIPE);
}

void usb_echo_bed_damage(struct usb_echo_bed *b) {
  trouble(b, -EPROTO);
}

void usb_echo_bed_mute(struct usb_echo_bed *b, bool mute) {
  pthread_mutex_lock(&b->lock);
  b->mute = mute;
  pthread_mutex_unlock(&b->lock);
}

void usb_echo_bed_unplug(struct usb_echo_bed *b) {
  UMockdevIoctlData *data;
  pthread_mutex_lock(&b->lock);
  b->gone = true;
  while ((data = g_queue_pop_head(&b->waiting)))
    finish(b, data, -ENODEV);
  pthread_mutex_unlock(&b->lock);
  umockdev_testbed_uevent(b->testbed, "/sys" SYSFS, "remove");
  umockdev_testbed_remove_device(b->testbed, "/sys" SYSFS);
}

struct usb_echo_state usb_echo_bed_state(struct usb_echo_bed *b) {
  pthread_mutex_lock(&b->lock);
  struct usb_echo_state state = b->state;
  for (GList *l = b->waiting.head; l; l = l->next)
    state.in_flight++;
  pthread_mutex_unlock(&b->lock);
  return state;
}
