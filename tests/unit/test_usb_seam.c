/* The USB transport over the real libusb on a simulated usbfs. Run under umockdev-wrapper. */
#include "capture.h"
#include "io.h"
#include "sandbox.h"
#include "transport.h"
#include "usb_bed.h"
#include "usb_echo_bed.h"
#include "wall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LATE_MS 40

static const struct acq_match match[] = {
    {.bus = ACQ_SERIAL, .baud = 9600},
    {.bus = ACQ_USB, .vendor = 0x1111},
    {.bus = ACQ_USB, .vendor = USB_ECHO_VENDOR, .product = USB_ECHO_PRODUCT, .usb_class = 0xff},
    {0},
};

struct fixture {
  struct usb_echo_bed *bed;
  struct transport *transport;
  struct capture_writer writer;
  struct acq_io io;
  int daemon, worker, capture, blobs;
};

static int set_up(void **state) {
  static struct fixture f;
  static const struct capture_header header = {.driver = "echo", .version = "1", .bus = ACQ_USB};
  char why[TRANSPORT_WHY_MAX] = "";
  int pair[2];
  f.bed = usb_echo_bed_create();
  if (!f.bed || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) < 0)
    return -1;
  if (transport_usb_open(USB_ECHO_NODE, match, &f.transport, why) < 0 || transport_start(f.transport) < 0) {
    fprintf(stderr, "%s\n", why[0] ? why : f.transport->why);
    return -1;
  }
  f.daemon = pair[0];
  f.worker = pair[1];
  f.capture = memfd_create("capture", 0);
  f.blobs = memfd_create("blobs", 0);
  capture_writer_init(&f.writer, f.capture, 1 << 24);
  f.writer.blobs = f.blobs;
  capture_write_header(&f.writer, &header);
  io_init(&f.io, f.transport, &f.writer, f.worker, 1 << 24);
  *state = &f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  transport_destroy(f->transport);
  usb_echo_bed_destroy(f->bed);
  close(f->daemon);
  close(f->worker);
  close(f->capture);
  close(f->blobs);
  return 0;
}

struct later {
  pthread_t thread;
  struct fixture *f;
  void (*act)(struct fixture *f);
  uint64_t done_us;
};

static void *later_run(void *arg) {
  struct later *l = arg;
  usleep(30000);
  l->done_us = monotonic_us();
  l->act(l->f);
  return NULL;
}

static void later(struct later *l, struct fixture *f, void (*act)(struct fixture *f)) {
  *l = (struct later){.f = f, .act = act};
  assert_int_equal(pthread_create(&l->thread, NULL, later_run, l), 0);
}

static uint64_t joined(struct later *l) {
  uint64_t now = monotonic_us();
  pthread_join(l->thread, NULL);
  return now > l->done_us ? (now - l->done_us) / 1000 : 0;
}

static void act_cancel(struct fixture *f) {
  wire_send(f->daemon, &(struct wire_message){.type = WIRE_CANCEL});
}

static void act_unplug(struct fixture *f) {
  usb_echo_bed_unplug(f->bed);
}

static void act_send(struct fixture *f) {
  usb_echo_bed_send(f->bed, "late", 4);
}

static void test_open(void **state) {
  struct fixture *f = *state;
  char why[TRANSPORT_WHY_MAX];
  struct transport *other;
  static const struct acq_match stranger[] = {{.bus = ACQ_USB, .vendor = 0x1234}, {0}},
                                wrong_class[] = {{.bus = ACQ_USB, .usb_class = 0x0f}, {0}},
                                first[] = {{.bus = ACQ_USB, .vendor = USB_ECHO_VENDOR}, {0}};
  assert_int_equal(usb_echo_bed_state(f->bed).claimed, 1);
  assert_int_equal(usb_echo_bed_state(f->bed).detached, 1);
  assert_int_equal(transport_usb_open("/dev/bus/usb/001/009", match, &other, why), -ENOENT);
  assert_int_equal(transport_usb_open("/dev/null", match, &other, why), -ENODEV);
  assert_string_equal(why, "not a USB device node");
  transport_destroy(f->transport);
  assert_int_equal(usb_echo_bed_state(f->bed).claimed, -1);

  assert_int_equal(transport_usb_open(USB_ECHO_NODE, stranger, &f->transport, why), 0);
  assert_int_equal(transport_start(f->transport), -ENXIO);
  assert_string_equal(f->transport->why, "usb: 1209:0001 is not a device of this driver");
  transport_destroy(f->transport);
  assert_int_equal(transport_usb_open(USB_ECHO_NODE, wrong_class, &f->transport, why), 0);
  assert_int_equal(transport_start(f->transport), -ENXIO);
  transport_destroy(f->transport);
  assert_int_equal(transport_usb_open(USB_ECHO_NODE, first, &f->transport, why), 0);
  assert_int_equal(transport_start(f->transport), 0);
  assert_int_equal(usb_echo_bed_state(f->bed).claimed, 0);
}

static void test_echo(void **state) {
  struct fixture *f = *state;
  uint8_t out[1000], in[1000] = {0};
  for (size_t i = 0; i < sizeof out; i++)
    out[i] = (uint8_t)(i * 7);
  assert_int_equal(acq_write(&f->io, out, sizeof out, 500), 0);
  assert_int_equal(acq_read(&f->io, in, sizeof in, 500), 0);
  assert_memory_equal(in, out, sizeof out);
  assert_int_equal(usb_echo_bed_state(f->bed).empty_packets, 0);
  /* A write of whole packets is ended by an empty one. */
  assert_int_equal(acq_write(&f->io, out, 128, 500), 0);
  assert_int_equal(usb_echo_bed_state(f->bed).empty_packets, 1);
  assert_int_equal(acq_read(&f->io, in, 128, 500), 0);
}

/* A packet holds more than the driver asks for: nothing is lost, and the capture has it as it came. */
static void test_small_reads(void **state) {
  struct fixture *f = *state;
  char b[16] = "", text[4096];
  usb_echo_bed_send(f->bed, "abcdef\nghi", 10);
  for (int i = 0; i < 5; i++)
    assert_int_equal(acq_read(&f->io, b + i, 1, 200), 0);
  assert_string_equal(b, "abcde");
  assert_int_equal(acq_read_until(&f->io, '\n', b, sizeof b, 200), 2);
  assert_int_equal(acq_read_some(&f->io, b, sizeof b, 200), 3);
  ssize_t n = pread(f->capture, text, sizeof text, 0);
  struct acq_capture c;
  assert_int_equal(capture_parse(text, (size_t)n, &c, NULL), 0);
  assert_int_equal(c.n_events, 1);
  assert_int_equal(c.n_received, 10);
  capture_finish(&c);
}

/* The device's last packet is a full one, and no empty one follows: what came must not wait for more. */
static void test_full_last_packet(void **state) {
  struct fixture *f = *state;
  char out[128] = "x", in[128];
  usb_echo_bed_send(f->bed, out, 64);
  uint64_t before = monotonic_us();
  assert_int_equal(acq_read_some(&f->io, in, sizeof in, 2000), 64);
  assert_in_range(monotonic_us() - before, 0, 500000);
  usb_echo_bed_send(f->bed, out, 128);
  assert_int_equal(acq_read(&f->io, in, 128, 2000), 0);
  /* Asked for more than there is: what came before the deadline is in the capture, and the read fails. */
  usb_echo_bed_send(f->bed, out, 64);
  assert_int_equal(acq_read(&f->io, in, 128, 100), -ETIMEDOUT);
  assert_int_equal(f->io.received, 64 + 128 + 64);
  assert_int_equal(usb_echo_bed_state(f->bed).in_flight, 0);
}

static void test_deadline(void **state) {
  struct fixture *f = *state;
  struct later l;
  char b[8];
  static const unsigned ms[] = {0, 20, 150};
  for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
    uint64_t before = monotonic_us();
    assert_int_equal(acq_read(&f->io, b, 4, ms[i]), -ETIMEDOUT);
    assert_in_range(monotonic_us() - before, ms[i] * 1000, (ms[i] + LATE_MS) * 1000);
  }
  later(&l, f, act_send);
  assert_int_equal(acq_read(&f->io, b, 4, 2000), 0);
  assert_in_range(joined(&l), 0, LATE_MS);
  assert_memory_equal(b, "late", 4);
  usb_echo_bed_mute(f->bed, true);
  assert_int_equal(acq_write(&f->io, "x", 1, 50), -ETIMEDOUT);
  assert_int_equal(usb_echo_bed_state(f->bed).in_flight, 0);
}

static void test_control(void **state) {
  struct fixture *f = *state;
  uint8_t b[8] = {1, 2, 3}, text[4096];
  assert_int_equal(acq_usb_control(&f->io, 0x40, 1, 0, 0, b, 3, 500), 3);
  memset(b, 0, sizeof b);
  assert_int_equal(acq_usb_control(&f->io, 0xc0, 2, 0, 0, b, 8, 500), 3);
  assert_memory_equal(b, "\1\2\3", 3);
  assert_int_equal(acq_usb_control(&f->io, 0xc0, 3, 0, 0, b, 8, 500), -EPIPE);
  assert_int_equal(acq_usb_control(&f->io, 0xc0, 4, 0, 0, b, 8, 500), 0);
  assert_int_equal(acq_usb_control(&f->io, 0xc0, 4, 0, 0, b, 5000, 500), -EMSGSIZE);
  ssize_t n = pread(f->capture, text, sizeof text, 0);
  struct acq_capture c;
  struct acq_event e;
  static const struct {
    char kind;
    const char *bytes;
    size_t n;
  } expected[] = {{'>', "\x40\1\0\0\0\0\3\0\1\2\3", 11},
                  {'>', "\xc0\2\0\0\0\0\10\0", 8},
                  {'<', "\1\2\3", 3},
                  {'>', "\xc0\3\0\0\0\0\10\0", 8},
                  {'!', "stalled", 7},
                  {'>', "\xc0\4\0\0\0\0\10\0", 8},
                  {'!', "empty", 5}};
  assert_int_equal(capture_parse((char *)text, (size_t)n, &c, NULL), 0);
  assert_int_equal(c.n_events, sizeof expected / sizeof *expected);
  for (size_t i = 0; acq_capture_event(&c, i, &e); i++) {
    assert_int_equal(e.kind, expected[i].kind);
    assert_int_equal(e.n, expected[i].n);
    assert_memory_equal(e.bytes, expected[i].bytes, e.n);
  }
  capture_finish(&c);
}

static void test_stall(void **state) {
  struct fixture *f = *state;
  char b[8];
  usb_echo_bed_stall(f->bed);
  assert_int_equal(acq_read(&f->io, b, 1, 500), -EPIPE);
  assert_int_equal(usb_echo_bed_state(f->bed).cleared, 1);
  usb_echo_bed_send(f->bed, "ok", 2);
  assert_int_equal(acq_read(&f->io, b, 2, 500), 0);
}

static void act_stall(struct fixture *f) {
  usb_echo_bed_stall(f->bed);
}

/* Bytes that came before the trouble are received before it is told. */
static void test_bytes_before_trouble(void **state) {
  struct fixture *f = *state;
  static char packet[64];
  struct later l;
  char b[128];
  usb_echo_bed_send(f->bed, packet, sizeof packet);
  later(&l, f, act_stall);
  assert_int_equal(acq_read(&f->io, b, 128, 5000), -EPIPE);
  joined(&l);
  assert_int_equal(f->io.received, 64);
  assert_int_equal(usb_echo_bed_state(f->bed).cleared, 1);

  usb_echo_bed_send(f->bed, packet, sizeof packet);
  later(&l, f, act_cancel);
  assert_int_equal(acq_read(&f->io, b, 128, 5000), -ECANCELED);
  assert_in_range(joined(&l), 0, 50);
  assert_int_equal(f->io.received, 128);
}

static void test_damage(void **state) {
  struct fixture *f = *state;
  char b[8];
  usb_echo_bed_damage(f->bed);
  assert_int_equal(acq_read(&f->io, b, 1, 500), -EPROTO);
  assert_string_equal(f->io.reason, "usb: a transfer was damaged");
  usb_echo_bed_damage(f->bed);
  usb_echo_bed_send(f->bed, "ok", 2);
  assert_int_equal(acq_read(&f->io, b, 2, 500), -EPROTO);
  assert_int_equal(acq_read(&f->io, b, 2, 500), 0);
}

static void test_cancel(void **state) {
  struct fixture *f = *state;
  struct later l;
  char b[8];
  later(&l, f, act_cancel);
  assert_int_equal(acq_read(&f->io, b, 1, 5000), -ECANCELED);
  assert_in_range(joined(&l), 0, 50);
  assert_int_equal(usb_echo_bed_state(f->bed).in_flight, 0);
  io_release(&f->io);
  assert_int_equal(acq_write(&f->io, "stop", 4, 500), 0);
  assert_int_equal(acq_read(&f->io, b, 4, 500), 0);
}

static void test_unplug(void **state) {
  struct fixture *f = *state;
  struct later l;
  char b[8];
  later(&l, f, act_unplug);
  assert_int_equal(acq_read(&f->io, b, 1, 5000), -ENODEV);
  assert_in_range(joined(&l), 0, 50);
  assert_int_equal(acq_write(&f->io, "x", 1, 100), -ENODEV);
  assert_int_equal(transport_write(f->transport, "x", 1, monotonic_us() + 100000), -ENODEV);
}

/* ---- blobs and interrupts ---- */

#define POUR 524288 /* bytes of one transfer of a blob */
#define MOST (2 * POUR + 1000)

static uint8_t sent[MOST];

static void make_sent(void) {
  for (size_t i = 0; i < sizeof sent; i++)
    sent[i] = (uint8_t)(i * 7 + i / 251);
}

/* The blobs' file is what was sent, from there on. */
static void expect_blobs(struct fixture *f, size_t from, size_t n) {
  static uint8_t got[MOST];
  assert_int_equal(lseek(f->blobs, 0, SEEK_END), n);
  assert_int_equal(pread(f->blobs, got, n, 0), n);
  assert_memory_equal(got, sent + from, n);
  assert_int_equal(usb_echo_bed_state(f->bed).in_flight, 0);
}

/* Around every border of packets and transfers; the bytes before and after it are read. */
static void test_blob(void **state) {
  struct fixture *f = *state;
  static const size_t sizes[] = {1,    52,       53,        116,       117,      POUR - 1,
                                 POUR, POUR + 1, POUR + 51, POUR + 52, 2 * POUR, 2 * POUR + 1};
  uint8_t head[12], tail[3];
  make_sent();
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t n = sizes[i];
    assert_int_equal(ftruncate(f->blobs, 0), 0);
    assert_int_equal(lseek(f->blobs, 0, SEEK_SET), 0);
    f->io.received = 0;
    usb_echo_bed_send(f->bed, sent, n + sizeof head + sizeof tail);
    assert_int_equal(acq_read(&f->io, head, sizeof head, 1000), 0);
    assert_int_equal(acq_blob(&f->io, n, 0, 1000), 0);
    assert_int_equal(acq_read(&f->io, tail, sizeof tail, 1000), 0);
    assert_memory_equal(tail, sent + sizeof head + n, sizeof tail);
    expect_blobs(f, sizeof head, n);
    assert_int_equal(acq_blob_end(&f->io), 0);
    assert_int_equal(f->io.received, n + sizeof head + sizeof tail);
  }
}

/* The device ends its transfer early: by a short packet, or by an empty one after full ones. */
static void test_blob_ends_early(void **state) {
  struct fixture *f = *state;
  make_sent();
  usb_echo_bed_send(f->bed, sent, 1000);
  assert_int_equal(acq_blob(&f->io, 2000, 0, 1000), -EPROTO);
  expect_blobs(f, 0, 1000);
  usb_echo_bed_send(f->bed, sent + 1000, 128);
  usb_echo_bed_send_empty(f->bed);
  assert_int_equal(acq_blob(&f->io, 1000, 0, 1000), -EPROTO);
  expect_blobs(f, 0, 1128);
  usb_echo_bed_send_empty(f->bed); /* that of the transfer before: nothing has ended */
  usb_echo_bed_send(f->bed, sent + 1128, 872);
  assert_int_equal(acq_blob(&f->io, 872, 0, 1000), 0);
  expect_blobs(f, 0, 2000);
  assert_int_equal(acq_blob_end(&f->io), 0);
  /* A transfer of whole buffers that the device ends there. */
  assert_int_equal(ftruncate(f->blobs, 0), 0);
  assert_int_equal(lseek(f->blobs, 0, SEEK_SET), 0);
  usb_echo_bed_send(f->bed, sent, POUR);
  usb_echo_bed_send_empty(f->bed);
  assert_int_equal(acq_blob(&f->io, POUR + 100, 0, 1000), -EPROTO);
  expect_blobs(f, 0, POUR);
}

static void act_finish(struct fixture *f) {
  wire_send(f->daemon, &(struct wire_message){.type = WIRE_FINISH});
}

static void act_send_rest(struct fixture *f) {
  act_finish(f);
  usleep(20000);
  usb_echo_bed_send(f->bed, sent + 640, 100);
}

/* What stops it, in the middle: what came is there. A word of the nurse's is no such thing. */
static void test_blob_stopped(void **state) {
  struct fixture *f = *state;
  struct later l;
  make_sent();
  usb_echo_bed_send(f->bed, sent, 640);
  later(&l, f, act_send_rest);
  assert_int_equal(acq_blob(&f->io, 740, 0, 2000), 0);
  joined(&l);
  expect_blobs(f, 0, 740);
  assert_true(acq_finishing(&f->io));

  usb_echo_bed_send(f->bed, sent + 740, 64);
  uint64_t before = monotonic_us();
  assert_int_equal(acq_blob(&f->io, 100, 0, 50), -ETIMEDOUT);
  assert_in_range(monotonic_us() - before, 50000, (2 * 50 + LATE_MS) * 1000); /* from the last byte on */
  expect_blobs(f, 0, 804);

  usb_echo_bed_send(f->bed, sent + 804, 64);
  later(&l, f, act_stall);
  assert_int_equal(acq_blob(&f->io, 100, 0, 2000), -EPIPE);
  joined(&l);
  expect_blobs(f, 0, 868);

  usb_echo_bed_damage(f->bed);
  assert_int_equal(acq_blob(&f->io, 100, 0, 1000), -EPROTO);
  expect_blobs(f, 0, 868);

  usb_echo_bed_send(f->bed, sent + 868, 128);
  later(&l, f, act_cancel);
  assert_int_equal(acq_blob(&f->io, 1000, 0, 5000), -ECANCELED);
  assert_in_range(joined(&l), 0, 50);
  expect_blobs(f, 0, 996);
}

/* A deadline of the conversation is one, however willing the device is. */
static void test_blob_deadline(void **state) {
  struct fixture *f = *state;
  make_sent();
  assert_int_equal(io_begin(&f->io, NULL, 60), 0);
  usb_echo_bed_send(f->bed, sent, 6400);
  uint64_t before = monotonic_us();
  assert_int_equal(acq_blob(&f->io, 100000, 0, 10000), -ETIMEDOUT);
  assert_in_range(monotonic_us() - before, 60000, (60 + LATE_MS) * 1000);
  expect_blobs(f, 0, 6400);
}

/* Unplugged at every packet and in between. */
static void test_blob_unplugged(void **state) {
  make_sent();
  for (size_t n = 0; n <= 1024; n += 32) {
    struct fixture *f = *state;
    usb_echo_bed_unplug_after(f->bed, n);
    usb_echo_bed_send(f->bed, sent, 1024 + 64);
    assert_int_equal(acq_blob(&f->io, 1025, 0, 2000), -ENODEV);
    assert_true(f->io.unplugged);
    expect_blobs(f, 0, f->io.received);
    assert_true(f->io.received <= n);
    assert_int_equal(acq_blob(&f->io, 1, 0, 100), -ENODEV);
    assert_int_equal(tear_down(state), 0);
    assert_int_equal(set_up(state), 0);
  }
}

/* Nobody takes the bytes: the transfer that is under way is called back. */
static void test_blob_not_written(void **state) {
  struct fixture *f = *state;
  int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  make_sent();
  f->writer.blobs = full;
  usb_echo_bed_send(f->bed, sent, POUR);
  assert_int_equal(acq_blob(&f->io, 2 * POUR, 0, 5000), -ENOSPC);
  assert_int_equal(usb_echo_bed_state(f->bed).in_flight, 0);
  close(full);
}

static void act_interrupt(struct fixture *f) {
  usb_echo_bed_interrupt(f->bed, "late", 4);
}

static void test_interrupt_packets(void **state) {
  struct fixture *f = *state;
  struct later l;
  char b[16];
  usb_echo_bed_interrupt(f->bed, "one", 3);
  usb_echo_bed_interrupt(f->bed, NULL, 0);
  usb_echo_bed_interrupt(f->bed, "fullsize", 8);
  assert_int_equal(acq_usb_interrupt(&f->io, b, sizeof b, 500), 3);
  assert_memory_equal(b, "one", 3);
  assert_int_equal(acq_usb_interrupt(&f->io, b, sizeof b, 500), 8); /* an empty one says nothing */
  assert_memory_equal(b, "fullsize", 8);
  later(&l, f, act_interrupt);
  assert_int_equal(acq_usb_interrupt(&f->io, b, sizeof b, 2000), 4);
  assert_in_range(joined(&l), 0, LATE_MS);
  uint64_t before = monotonic_us();
  assert_int_equal(acq_usb_interrupt(&f->io, b, sizeof b, 50), -ETIMEDOUT);
  assert_in_range(monotonic_us() - before, 50000, (50 + LATE_MS) * 1000);
  usb_echo_bed_interrupt(f->bed, "long", 4);
  assert_int_equal(acq_usb_interrupt(&f->io, b, 3, 500), -EPROTO);
  /* The other endpoint has its own bytes. */
  usb_echo_bed_send(f->bed, "bulk", 4);
  usb_echo_bed_interrupt(f->bed, "int", 3);
  assert_int_equal(acq_usb_interrupt(&f->io, b, sizeof b, 500), 3);
  assert_int_equal(acq_read(&f->io, b, 4, 500), 0);
  assert_memory_equal(b, "bulk", 4);
  later(&l, f, act_cancel);
  assert_int_equal(acq_usb_interrupt(&f->io, b, sizeof b, 5000), -ECANCELED);
  assert_in_range(joined(&l), 0, 50);
  assert_int_equal(usb_echo_bed_state(f->bed).in_flight, 0);
  io_release(&f->io);
  later(&l, f, act_unplug);
  assert_int_equal(acq_usb_interrupt(&f->io, b, sizeof b, 5000), -ENODEV);
  assert_in_range(joined(&l), 0, 50);
}

/* A device that has only empty packets to give: they are no answer. */
static void test_empty_packets(void **state) {
  struct fixture *f = *state;
  char b[8];
  for (int kind = 0; kind < 2; kind++) {
    for (int i = 0; i < 2000; i++) {
      usb_echo_bed_send_empty(f->bed);
      usb_echo_bed_interrupt(f->bed, NULL, 0);
    }
    uint64_t before = monotonic_us();
    int r = kind ? acq_usb_interrupt(&f->io, b, sizeof b, 10) : acq_read_some(&f->io, b, sizeof b, 10);
    assert_int_equal(r, -ETIMEDOUT);
    assert_in_range(monotonic_us() - before, 10000, (10 + LATE_MS) * 1000);
  }
}

/* The inner half of a test, in this program started again: a fork alone would carry the locks of umockdev's threads. */
#define READY_FD 10

static pid_t start_inner(const char *name, int *ret_ready) {
  int ready[2];
  pid_t child;
  posix_spawn_file_actions_t actions;
  char *const argv[] = {(char[]){"inner"}, (char *)(uintptr_t)name, NULL};
  assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ready[1], READY_FD);
  assert_int_equal(posix_spawn(&child, "/proc/self/exe", &actions, NULL, argv, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(ready[1]);
  *ret_ready = ready[0];
  return child;
}

/* Waits until it says that it is ready; -1 when it ended before. */
static int wait_ready(int ready) {
  char b;
  ssize_t n = read(ready, &b, 1);
  close(ready);
  return n == 1 ? 0 : -1;
}

static void expect_well(pid_t child) {
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status))
    fail_msg("the inner half stopped at its step %d", WEXITSTATUS(status));
}

static int inner(void) {
  struct transport *t;
  struct acq_io io;
  char why[TRANSPORT_WHY_MAX], b[8];
  if (transport_usb_open(USB_ECHO_NODE, match, &t, why) < 0)
    return 1;
  if (sandbox_limit(10) < 0 || sandbox_enter(ACQ_USB) < 0)
    return 2;
  if (transport_start(t) < 0)
    return 3;
  io_init(&io, t, NULL, -1, 4096);
  if (acq_write(&io, "hello", 5, 500) < 0 || acq_read(&io, b, 5, 500) < 0 || memcmp(b, "hello", 5))
    return 4;
  if (acq_read(&io, b, 1, 20) != -ETIMEDOUT)
    return 5;
  if (acq_usb_control(&io, 0x40, 1, 0, 0, b, 3, 500) != 3 || acq_usb_control(&io, 0xc0, 3, 0, 0, b, 3, 500) != -EPIPE)
    return 6;
  if (write(READY_FD, "r", 1) != 1)
    return 7;
  if (acq_read(&io, b, 1, 5000) != -ENODEV)
    return 8;
  transport_destroy(t);
  return 0;
}

static void test_inside_the_sandbox(void **state) {
  struct fixture *f = *state;
  int ready;
  transport_destroy(f->transport);
  f->transport = NULL;
  pid_t child = start_inner("echo", &ready);
  if (wait_ready(ready) == 0)
    usb_echo_bed_unplug(f->bed);
  expect_well(child);
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
      BED_TEST(test_open),
      BED_TEST(test_echo),
      BED_TEST(test_small_reads),
      BED_TEST(test_full_last_packet),
      BED_TEST(test_deadline),
      BED_TEST(test_control),
      BED_TEST(test_stall),
      BED_TEST(test_bytes_before_trouble),
      BED_TEST(test_damage),
      BED_TEST(test_cancel),
      BED_TEST(test_unplug),
      BED_TEST(test_inside_the_sandbox),
      BED_TEST(test_blob),
      BED_TEST(test_blob_ends_early),
      BED_TEST(test_blob_stopped),
      BED_TEST(test_blob_deadline),
      BED_TEST(test_blob_unplugged),
      BED_TEST(test_blob_not_written),
      BED_TEST(test_interrupt_packets),
      BED_TEST(test_empty_packets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
