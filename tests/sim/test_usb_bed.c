/*
 * The USB bed as its users see it: the real libusb and sd-device, in this process and in a child. Run under
 * umockdev-wrapper.
 */
#include "usb_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <libusb-1.0/libusb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <systemd/sd-device.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <umockdev.h>
#include <unistd.h>

#define VENDOR 0x1209
#define PRODUCT 0x0042
#define OUT 0x02
#define IN 0x81
#define INTERRUPT 0x83
#define PATIENCE_MS 2000
#define SHORT_MS 40

static const uint8_t device[] = {0x12, 0x01, 0x00, 0x02, 0x00, 0x00, 0x00, 0x40, 0x09,
                                 0x12, 0x42, 0x00, 0x00, 0x01, 0x01, 0x02, 0x03, 0x01};
static const uint8_t configuration[] = {
    0x09, 0x02, 0x32, 0x00, 0x01, 0x01, 0x00, 0xC0, 0x32, /* */
    0x09, 0x04, 0x00, 0x00, 0x03, 0x0F, 0x00, 0x00, 0x00, /* interface 0, class 0f */
    0x04, 0x20, 0x02, 0x00,                               /* a class descriptor */
    0x07, 0x05, 0x81, 0x02, 0x40, 0x00, 0x00,             /* bulk IN */
    0x07, 0x05, 0x02, 0x02, 0x40, 0x00, 0x00,             /* bulk OUT */
    0x07, 0x05, 0x83, 0x03, 0x08, 0x00, 0x01,             /* interrupt IN, packets of 8 */
    0x07, 0x24, 0x00, 0x00, 0x00, 0x00, 0x00,             /* something of another kind */
};
static const struct usb_bed_options options = {
    .device = device, .configuration = configuration, .manufacturer = "Acme", .product = "Blow 1", .serial = "PF-0042"};

struct fixture {
  UMockdevTestbed *testbed;
  struct usb_bed *bed;
  libusb_context *context;
  libusb_device_handle *handle;
};

static int set_up(void **state) {
  static struct fixture f;
  f.testbed = umockdev_testbed_new();
  if (usb_bed_create(f.testbed, &options, &f.bed) < 0 || usb_bed_plug(f.bed) < 0 || libusb_init(&f.context) < 0)
    return -1;
  f.handle = libusb_open_device_with_vid_pid(f.context, VENDOR, PRODUCT);
  if (!f.handle || libusb_claim_interface(f.handle, 0) < 0)
    return -1;
  *state = &f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  if (f->handle)
    libusb_close(f->handle);
  libusb_exit(f->context);
  usb_bed_destroy(f->bed);
  g_object_unref(f->testbed);
  return 0;
}

static struct usb_bed_state state_of(struct fixture *f) {
  struct usb_bed_state s;
  usb_bed_get_state(f->bed, &s);
  return s;
}

static void wait_event(struct fixture *f, struct usb_bed_event *ret) {
  struct pollfd pfd = {.fd = usb_bed_fd(f->bed), .events = POLLIN};
  while (usb_bed_next(f->bed, ret) == 0)
    assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
}

static int read_in(struct fixture *f, uint8_t endpoint, void *bytes, int n, unsigned ms, int *got) {
  *got = 0;
  if (endpoint == INTERRUPT)
    return libusb_interrupt_transfer(f->handle, endpoint, bytes, n, got, ms);
  return libusb_bulk_transfer(f->handle, endpoint, bytes, n, got, ms);
}

/* Something done to the bed while the test waits in libusb. */
struct later {
  pthread_t thread;
  struct fixture *f;
  void (*act)(struct fixture *f);
};

static void *later_run(void *arg) {
  struct later *l = arg;
  usleep(20000);
  l->act(l->f);
  return NULL;
}

static void later(struct later *l, struct fixture *f, void (*act)(struct fixture *f)) {
  *l = (struct later){.f = f, .act = act};
  assert_int_equal(pthread_create(&l->thread, NULL, later_run, l), 0);
}

static void test_descriptors(void **state) {
  struct fixture *f = *state;
  struct libusb_device_descriptor d;
  struct libusb_config_descriptor *c;
  unsigned char text[64];
  libusb_device *dev = libusb_get_device(f->handle);
  assert_int_equal(libusb_get_device_descriptor(dev, &d), 0);
  assert_int_equal(d.idProduct, PRODUCT);
  assert_int_equal(libusb_get_bus_number(dev), 2);
  assert_string_equal(usb_bed_node(f->bed), "/dev/bus/usb/002/002");
  assert_int_equal(libusb_get_active_config_descriptor(dev, &c), 0);
  assert_int_equal(c->bNumInterfaces, 1);
  const struct libusb_interface_descriptor *i = &c->interface[0].altsetting[0];
  assert_int_equal(i->bInterfaceClass, 0x0f);
  assert_int_equal(i->extra_length, 4);
  assert_memory_equal(i->extra, "\4\x20\2\0", 4);
  assert_int_equal(i->endpoint[2].wMaxPacketSize, 8);
  libusb_free_config_descriptor(c);
  assert_int_equal(libusb_get_string_descriptor_ascii(f->handle, d.iSerialNumber, text, sizeof text), 7);
  assert_string_equal((char *)text, "PF-0042");
  assert_int_equal(libusb_get_string_descriptor_ascii(f->handle, d.iManufacturer, text, sizeof text), 4);
  assert_int_equal(libusb_get_string_descriptor_ascii(f->handle, 9, text, sizeof text), LIBUSB_ERROR_PIPE);
}

static void test_out(void **state) {
  struct fixture *f = *state;
  struct usb_bed_event e;
  uint8_t bytes[300];
  int moved;
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = (uint8_t)(i * 5);
  assert_int_equal(libusb_bulk_transfer(f->handle, OUT, bytes, sizeof bytes, &moved, PATIENCE_MS), 0);
  assert_int_equal(moved, sizeof bytes);
  wait_event(f, &e);
  assert_int_equal(e.kind, USB_BED_OUT);
  assert_int_equal(e.endpoint, OUT);
  assert_int_equal(e.n, sizeof bytes);
  assert_memory_equal(e.bytes, bytes, sizeof bytes);
  assert_int_equal(state_of(f).received, sizeof bytes);
  assert_int_equal(usb_bed_next(f->bed, &e), 0);
  struct pollfd pfd = {.fd = usb_bed_fd(f->bed), .events = POLLIN};
  assert_int_equal(poll(&pfd, 1, 0), 0);
  assert_int_equal(libusb_bulk_transfer(f->handle, 0x05, bytes, 1, &moved, SHORT_MS), LIBUSB_ERROR_IO);
}

/* A transfer ends with a short packet, or when it is full; else it waits. */
static void test_packets(void **state) {
  struct fixture *f = *state;
  uint8_t sent[256], got[256];
  int n;
  for (size_t i = 0; i < sizeof sent; i++)
    sent[i] = (uint8_t)i;
  usb_bed_send(f->bed, IN, sent, 150);
  assert_int_equal(read_in(f, IN, got, sizeof got, PATIENCE_MS, &n), 0);
  assert_int_equal(n, 150);
  assert_memory_equal(got, sent, 150);

  assert_int_equal(usb_bed_send_packet(f->bed, IN, sent, 10), 0);
  assert_int_equal(usb_bed_send_packet(f->bed, IN, sent, 20), 0);
  assert_int_equal(usb_bed_send_packet(f->bed, IN, sent, 64), 0);
  assert_int_equal(usb_bed_send_packet(f->bed, IN, sent, 0), 0);
  assert_int_equal(usb_bed_send_packet(f->bed, IN, sent, 65), -EINVAL);
  static const int expected[] = {10, 20, 64};
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(read_in(f, IN, got, sizeof got, PATIENCE_MS, &n), 0);
    assert_int_equal(n, expected[i]);
  }
  /* A last packet that is full and no empty one: libusb gives what came when the time is up. */
  usb_bed_send(f->bed, IN, sent, 128);
  assert_int_equal(read_in(f, IN, got, sizeof got, SHORT_MS, &n), LIBUSB_ERROR_TIMEOUT);
  assert_int_equal(n, 128);
  assert_int_equal(state_of(f).in_flight, 0);
  usb_bed_send(f->bed, IN, sent, 128);
  assert_int_equal(read_in(f, IN, got, 128, PATIENCE_MS, &n), 0);
  /* A packet longer than the room for it. */
  usb_bed_send(f->bed, IN, sent, 64);
  assert_int_equal(read_in(f, IN, got, 10, PATIENCE_MS, &n), LIBUSB_ERROR_OVERFLOW);
  assert_int_equal(read_in(f, IN, got, 10, SHORT_MS, &n), LIBUSB_ERROR_TIMEOUT);
  /* What nobody reads waits for the next who opens, unless it is forgotten. */
  usb_bed_send(f->bed, IN, sent, 10);
  usb_bed_forget(f->bed, IN);
  assert_int_equal(read_in(f, IN, got, 64, SHORT_MS, &n), LIBUSB_ERROR_TIMEOUT);

  usb_bed_send(f->bed, INTERRUPT, sent, 12);
  assert_int_equal(read_in(f, INTERRUPT, got, 8, PATIENCE_MS, &n), 0);
  assert_int_equal(n, 8);
  assert_int_equal(read_in(f, INTERRUPT, got, 8, PATIENCE_MS, &n), 0);
  assert_int_equal(n, 4);
}

static void LIBUSB_CALL on_done(struct libusb_transfer *t) {
  t->user_data = NULL;
}

/* A large piece: straight into transfers that wait, the rest kept, and each packet whole or not at all. */
static void test_large(void **state) {
  struct fixture *f = *state;
  static uint8_t sent[300000], got[sizeof sent], first[100000];
  struct libusb_transfer *t = libusb_alloc_transfer(0);
  int n;
  assert_non_null(t);
  for (size_t i = 0; i < sizeof sent; i++)
    sent[i] = (uint8_t)(i * 7 + i / 251);
  libusb_fill_bulk_transfer(t, f->handle, IN, first, 640, on_done, f, 0);
  assert_int_equal(libusb_submit_transfer(t), 0);
  uint8_t *piece = g_memdup2(sent, sizeof sent);
  usb_bed_send(f->bed, IN, piece, sizeof sent);
  memset(piece, 0, sizeof sent); /* it is the caller's again */
  g_free(piece);
  while (t->user_data)
    assert_int_equal(libusb_handle_events(f->context), 0);
  assert_int_equal(t->actual_length, 640);
  assert_memory_equal(first, sent, 640);
  libusb_free_transfer(t);
  /* The second packet does not fit, and is lost. */
  assert_int_equal(read_in(f, IN, got, 100, PATIENCE_MS, &n), LIBUSB_ERROR_OVERFLOW);
  assert_memory_equal(got, sent + 640, 100);
  size_t at = 640 + 128, left = sizeof sent - at;
  assert_int_equal(read_in(f, IN, got, 64000, PATIENCE_MS, &n), 0);
  assert_int_equal(n, 64000);
  assert_memory_equal(got, sent + at, 64000);
  assert_int_equal(read_in(f, IN, got, sizeof got, PATIENCE_MS, &n), 0);
  assert_int_equal(n, left - 64000);
  assert_memory_equal(got, sent + at + 64000, left - 64000);
  assert_true(state_of(f).sent >= sizeof sent - 64);
}

static void act_wanted(struct fixture *f) {
  struct pollfd pfd = {.fd = usb_bed_fd(f->bed), .events = POLLIN};
  struct usb_bed_event e;
  while (usb_bed_wanted(f->bed, IN) == 0) {
    if (usb_bed_next(f->bed, &e) == 0 && poll(&pfd, 1, PATIENCE_MS) != 1)
      return;
  }
  usb_bed_send(f->bed, IN, "12345", 5);
}

static void test_wanted(void **state) {
  struct fixture *f = *state;
  struct later l;
  char got[64];
  int n;
  assert_int_equal(usb_bed_wanted(f->bed, IN), 0);
  later(&l, f, act_wanted);
  assert_int_equal(read_in(f, IN, got, sizeof got, PATIENCE_MS, &n), 0);
  assert_int_equal(n, 5);
  pthread_join(l.thread, NULL);
  assert_int_equal(usb_bed_wanted(f->bed, IN), 0);
}

static void act_control(struct fixture *f) {
  struct usb_bed_event e;
  wait_event(f, &e);
  if (e.setup[1] == 1)
    usb_bed_answer(f->bed, "\x0a\x0b\x0c", 3);
  else if (e.setup[1] == 2)
    usb_bed_refuse(f->bed);
  else if (e.setup[1] == 3 && e.n == 4 && memcmp(e.bytes, "data", 4) == 0)
    usb_bed_answer(f->bed, NULL, 0);
}

static int control(struct fixture *f, uint8_t type, uint8_t request, void *bytes, uint16_t n, unsigned ms) {
  struct later l;
  later(&l, f, act_control);
  int r = libusb_control_transfer(f->handle, type, request, 0, 0, bytes, n, ms);
  pthread_join(l.thread, NULL);
  return r;
}

static void test_control(void **state) {
  struct fixture *f = *state;
  struct usb_bed_event e;
  uint8_t b[8] = {0};
  assert_int_equal(control(f, 0xA1, 1, b, 8, PATIENCE_MS), 3);
  assert_memory_equal(b, "\x0a\x0b\x0c", 3);
  assert_int_equal(control(f, 0xA1, 1, b, 2, PATIENCE_MS), 2);
  assert_int_equal(control(f, 0x21, 2, NULL, 0, PATIENCE_MS), LIBUSB_ERROR_PIPE);
  memcpy(b, "data", 4);
  assert_int_equal(control(f, 0x41, 3, b, 4, PATIENCE_MS), 4);
  assert_int_equal(control(f, 0x21, 9, NULL, 0, SHORT_MS), LIBUSB_ERROR_TIMEOUT);
  usb_bed_answer(f->bed, NULL, 0); /* too late, and no harm */
  assert_int_equal(usb_bed_next(f->bed, &e), 0);
  /* Standard requests are the bed's. */
  assert_int_equal(libusb_control_transfer(f->handle, 0x80, LIBUSB_REQUEST_GET_STATUS, 0, 0, b, 2, PATIENCE_MS), 2);
  assert_int_equal(libusb_control_transfer(f->handle, 0x80, LIBUSB_REQUEST_GET_CONFIGURATION, 0, 0, b, 1, PATIENCE_MS),
                   1);
  assert_int_equal(b[0], 1);
  assert_int_equal(libusb_reset_device(f->handle), 0);
  wait_event(f, &e);
  assert_int_equal(e.kind, USB_BED_RESET);
}

static void test_trouble(void **state) {
  struct fixture *f = *state;
  uint8_t b[64];
  int n;
  usb_bed_stall(f->bed, IN);
  usb_bed_send(f->bed, IN, "ok", 2);
  assert_int_equal(read_in(f, IN, b, 64, PATIENCE_MS, &n), LIBUSB_ERROR_PIPE);
  assert_int_equal(read_in(f, IN, b, 64, PATIENCE_MS, &n), LIBUSB_ERROR_PIPE);
  assert_int_equal(libusb_clear_halt(f->handle, IN), 0);
  assert_int_equal(state_of(f).cleared, 1);
  assert_int_equal(read_in(f, IN, b, 64, PATIENCE_MS, &n), 0);
  assert_int_equal(n, 2);

  usb_bed_damage(f->bed, IN);
  assert_int_equal(read_in(f, IN, b, 64, PATIENCE_MS, &n), LIBUSB_ERROR_IO);
  assert_int_equal(read_in(f, IN, b, 64, SHORT_MS, &n), LIBUSB_ERROR_TIMEOUT);

  usb_bed_mute(f->bed, true);
  usb_bed_send(f->bed, IN, "late", 4);
  assert_int_equal(libusb_bulk_transfer(f->handle, OUT, b, 1, &n, SHORT_MS), LIBUSB_ERROR_TIMEOUT);
  assert_int_equal(read_in(f, IN, b, 64, SHORT_MS, &n), LIBUSB_ERROR_TIMEOUT);
  usb_bed_mute(f->bed, false);
  assert_int_equal(read_in(f, IN, b, 64, PATIENCE_MS, &n), 0);
  assert_int_equal(n, 4);
}

static void test_claims(void **state) {
  struct fixture *f = *state;
  assert_int_equal(state_of(f).claimed, 1);
  assert_int_equal(state_of(f).open, 1);
  libusb_device_handle *other = libusb_open_device_with_vid_pid(f->context, VENDOR, PRODUCT);
  assert_non_null(other);
  assert_int_equal(state_of(f).open, 2);
  assert_int_equal(libusb_claim_interface(other, 0), LIBUSB_ERROR_BUSY);
  assert_int_equal(libusb_claim_interface(other, 5), LIBUSB_ERROR_NOT_FOUND);
  libusb_release_interface(f->handle, 0);
  assert_int_equal(libusb_claim_interface(other, 0), 0);
  libusb_close(other);
}

static void act_unplug(struct fixture *f) {
  usb_bed_unplug(f->bed);
}

static void test_unplug(void **state) {
  struct fixture *f = *state;
  struct later l;
  uint8_t b[64] = {0};
  int n;
  usb_bed_send(f->bed, IN, b, 64);
  later(&l, f, act_unplug);
  assert_int_equal(read_in(f, IN, b, 64, PATIENCE_MS, &n), 0);
  assert_int_equal(read_in(f, IN, b, 64, PATIENCE_MS, &n), LIBUSB_ERROR_NO_DEVICE);
  pthread_join(l.thread, NULL);
  assert_int_equal(libusb_bulk_transfer(f->handle, OUT, b, 1, &n, SHORT_MS), LIBUSB_ERROR_NO_DEVICE);
  assert_int_equal(access(usb_bed_node(f->bed), F_OK), -1);
  assert_int_equal(usb_bed_unplug(f->bed), -ENODEV);
  assert_false(state_of(f).plugged);
}

static void expect_device(struct fixture *f, bool there) {
  libusb_context *context;
  assert_int_equal(libusb_init(&context), 0);
  libusb_device_handle *handle = libusb_open_device_with_vid_pid(context, VENDOR, PRODUCT);
  assert_int_equal(handle != NULL, there);
  if (handle) {
    char got[8];
    int n;
    usb_bed_send(f->bed, IN, "again", 5);
    assert_int_equal(libusb_claim_interface(handle, 0), 0);
    assert_int_equal(libusb_bulk_transfer(handle, IN, (unsigned char *)got, 64, &n, PATIENCE_MS), LIBUSB_SUCCESS);
    assert_int_equal(n, 5);
    libusb_close(handle);
  }
  libusb_exit(context);
}

/* More often than there are device numbers for one socket. */
static void test_replug(void **state) {
  struct fixture *f = *state;
  uint8_t b;
  int n;
  char node[32];
  for (int i = 0; i < 9; i++) {
    snprintf(node, sizeof node, "%s", usb_bed_node(f->bed));
    assert_int_equal(usb_bed_plug(f->bed), -EALREADY);
    assert_int_equal(usb_bed_unplug(f->bed), 0);
    expect_device(f, false);
    assert_int_equal(usb_bed_plug(f->bed), 0);
    assert_string_not_equal(usb_bed_node(f->bed), node);
    expect_device(f, true);
  }
  /* Who had it open before has nothing of the new one. */
  assert_int_equal(read_in(f, IN, &b, 1, SHORT_MS, &n), LIBUSB_ERROR_NO_DEVICE);
}

static libusb_device_handle *open_again(struct fixture *f) {
  libusb_close(f->handle);
  f->handle = NULL;
  if (state_of(f).plugged)
    usb_bed_unplug(f->bed);
  assert_int_equal(usb_bed_plug(f->bed), 0);
  libusb_exit(f->context);
  assert_int_equal(libusb_init(&f->context), 0);
  libusb_device_handle *handle = libusb_open_device_with_vid_pid(f->context, VENDOR, PRODUCT);
  assert_non_null(handle);
  assert_int_equal(libusb_claim_interface(handle, 0), 0);
  return handle;
}

/* Cut anywhere, the host gets each byte before the cut and none behind it. */
static void test_unplug_after(void **state) {
  struct fixture *f = *state;
  static const unsigned cuts[] = {0, 1, 10, 63, 64, 65, 100, 127, 128, 129, 149};
  uint8_t sent[150], got[256];
  for (size_t i = 0; i < sizeof sent; i++)
    sent[i] = (uint8_t)i;
  for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
    struct usb_bed_event e;
    int n = 0, total = 0, r = 0;
    f->handle = open_again(f);
    usb_bed_unplug_after(f->bed, cuts[i]);
    usb_bed_send(f->bed, IN, sent, sizeof sent);
    while (r == 0 && total <= 150) {
      n = 0;
      r = libusb_bulk_transfer(f->handle, IN, got + total, 64, &n, PATIENCE_MS);
      total += n;
    }
    assert_int_equal(r, LIBUSB_ERROR_NO_DEVICE);
    assert_int_equal(total, cuts[i]);
    assert_memory_equal(got, sent, cuts[i]);
    wait_event(f, &e);
    assert_int_equal(e.kind, USB_BED_CUT);
    assert_int_equal(usb_bed_unplug(f->bed), 0);
  }
  f->handle = open_again(f);
  usb_bed_unplug_after(f->bed, 150);
  usb_bed_unplug_after(f->bed, USB_BED_NEVER);
  usb_bed_send(f->bed, IN, sent, sizeof sent);
  int n;
  assert_int_equal(read_in(f, IN, got, 256, PATIENCE_MS, &n), 0);
  assert_int_equal(n, 150);
}

struct seen {
  sd_event *event;
  sd_device_action_t action;
  char node[64], serial[64], interfaces[64];
};

static int on_device(sd_device_monitor *monitor, sd_device *dev, void *arg) {
  (void)monitor;
  struct seen *s = arg;
  const char *text = "";
  sd_device_get_action(dev, &s->action);
  if (sd_device_get_devname(dev, &text) >= 0)
    snprintf(s->node, sizeof s->node, "%s", text);
  if (sd_device_get_sysattr_value(dev, "serial", &text) >= 0)
    snprintf(s->serial, sizeof s->serial, "%s", text);
  if (sd_device_get_property_value(dev, "ID_USB_INTERFACES", &text) >= 0)
    snprintf(s->interfaces, sizeof s->interfaces, "%s", text);
  return sd_event_exit(s->event, 0);
}

static void wait_seen(struct seen *s) {
  uint64_t deadline;
  sd_event_source *timer = NULL;
  sd_event *event = s->event;
  sd_event_now(event, CLOCK_MONOTONIC, &deadline);
  assert_true(sd_event_add_time_relative(event, &timer, CLOCK_MONOTONIC, PATIENCE_MS * 1000, 0, NULL,
                                         (void *)(intptr_t)-ETIMEDOUT) >= 0);
  assert_int_equal(sd_event_loop(event), 0);
  sd_event_source_unref(timer);
}

static sd_event *watch(struct seen *s, sd_device_monitor **monitor) {
  sd_event *event;
  *s = (struct seen){0};
  assert_true(sd_event_new(&event) >= 0);
  assert_true(sd_device_monitor_new(monitor) >= 0);
  assert_true(sd_device_monitor_filter_add_match_subsystem_devtype(*monitor, "usb", "usb_device") >= 0);
  assert_true(sd_device_monitor_attach_event(*monitor, event) >= 0);
  assert_true(sd_device_monitor_start(*monitor, on_device, s) >= 0);
  s->event = event;
  return event;
}

static void test_hotplug(void **state) {
  struct fixture *f = *state;
  struct seen s;
  sd_device_monitor *monitor;
  sd_event *event = watch(&s, &monitor);
  assert_int_equal(usb_bed_unplug(f->bed), 0);
  wait_seen(&s);
  assert_int_equal(s.action, SD_DEVICE_REMOVE);
  assert_string_equal(s.node, "/dev/bus/usb/002/002");
  sd_device_monitor_unref(monitor);
  sd_event_unref(event);

  event = watch(&s, &monitor);
  assert_int_equal(usb_bed_plug(f->bed), 0);
  wait_seen(&s);
  assert_int_equal(s.action, SD_DEVICE_ADD);
  assert_string_equal(s.node, usb_bed_node(f->bed));
  assert_string_equal(s.serial, "PF-0042");
  assert_string_equal(s.interfaces, ":0f0000:");
  sd_device_monitor_unref(monitor);
  sd_event_unref(event);
}

/* A user who is killed gives nothing back himself. */
static int inner(void) {
  libusb_context *context;
  unsigned char b[64];
  int n;
  if (libusb_init(&context) < 0)
    return 1;
  libusb_device_handle *handle = libusb_open_device_with_vid_pid(context, VENDOR, PRODUCT);
  if (!handle || libusb_claim_interface(handle, 0) < 0)
    return 2;
  libusb_bulk_transfer(handle, IN, b, 64, &n, 0);
  return 3;
}

static void test_killed_user(void **state) {
  struct fixture *f = *state;
  char *const argv[] = {(char[]){"inner"}, (char[]){"1"}, NULL};
  pid_t child;
  uint8_t b[64];
  int n, status;
  libusb_release_interface(f->handle, 0);
  assert_int_equal(posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ), 0);
  for (int i = 0; i < PATIENCE_MS && state_of(f).in_flight == 0; i++)
    usleep(1000);
  assert_int_equal(state_of(f).in_flight, 1);
  assert_int_equal(libusb_claim_interface(f->handle, 0), LIBUSB_ERROR_BUSY);
  kill(child, SIGKILL);
  assert_int_equal(waitpid(child, &status, 0), child);
  for (int i = 0; i < PATIENCE_MS && state_of(f).open > 1; i++)
    usleep(1000);
  assert_int_equal(state_of(f).in_flight, 0);
  assert_int_equal(libusb_claim_interface(f->handle, 0), 0);
  usb_bed_send(f->bed, IN, "mine", 4);
  assert_int_equal(read_in(f, IN, b, 64, PATIENCE_MS, &n), 0);
  assert_memory_equal(b, "mine", 4);
}

/* Two devices on one machine. */
static void test_two(void **state) {
  struct fixture *f = *state;
  uint8_t second_device[sizeof device], b[64];
  struct usb_bed_options second_options = options;
  struct usb_bed *second;
  libusb_device_handle *handle;
  int n;
  memcpy(second_device, device, sizeof device);
  second_device[10] = 0x43;
  second_options.device = second_device;
  second_options.socket = 2;
  assert_int_equal(usb_bed_create(f->testbed, &second_options, &second), 0);
  assert_int_equal(usb_bed_plug(second), 0);
  libusb_context *context;
  assert_int_equal(libusb_init(&context), 0);
  handle = libusb_open_device_with_vid_pid(context, VENDOR, 0x0043);
  assert_non_null(handle);
  usb_bed_send(second, IN, "second", 6);
  usb_bed_send(f->bed, IN, "first", 5);
  assert_int_equal(libusb_bulk_transfer(handle, IN, b, 64, &n, PATIENCE_MS), 0);
  assert_int_equal(n, 6);
  assert_int_equal(read_in(f, IN, b, 64, PATIENCE_MS, &n), 0);
  assert_int_equal(n, 5);
  libusb_close(handle);
  libusb_exit(context);
  usb_bed_destroy(second);
  usb_bed_send(f->bed, IN, "still", 5);
  assert_int_equal(read_in(f, IN, b, 64, PATIENCE_MS, &n), 0);
}

static void test_refused(void **state) {
  struct fixture *f = *state;
  struct usb_bed_options o = options;
  struct usb_bed *bed;
  uint8_t bad[sizeof configuration];
  memcpy(bad, configuration, sizeof bad);
  bad[18] = 0; /* a descriptor without length */
  o.configuration = bad;
  assert_int_equal(usb_bed_create(f->testbed, &o, &bed), -EINVAL);
  o = options;
  o.serial = "line\nend";
  assert_int_equal(usb_bed_create(f->testbed, &o, &bed), -EINVAL);
  o = options;
  o.socket = 32;
  assert_int_equal(usb_bed_create(f->testbed, &o, &bed), -EINVAL);
}

#define BED_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv) {
  (void)argv;
  if (argc == 2)
    _exit(inner());
  if (!usb_bed_available()) {
    fprintf(stderr, "run me under umockdev-wrapper\n");
    return 77;
  }
  const struct CMUnitTest tests[] = {
      BED_TEST(test_descriptors),  BED_TEST(test_out),         BED_TEST(test_packets), BED_TEST(test_wanted),
      BED_TEST(test_large),        BED_TEST(test_control),     BED_TEST(test_trouble), BED_TEST(test_claims),
      BED_TEST(test_unplug),       BED_TEST(test_replug),      BED_TEST(test_hotplug), BED_TEST(test_two),
      BED_TEST(test_unplug_after), BED_TEST(test_killed_user), BED_TEST(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
