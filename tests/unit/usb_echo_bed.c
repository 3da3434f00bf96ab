#include "usb_echo_bed.h"

#include "usb_bed.h"

#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <umockdev.h>
#include <unistd.h>

#define IN 0x82
#define INTERRUPT 0x83

static const uint8_t device[] = {0x12, 0x01, 0x00, 0x02, 0xFF, 0x00, 0x00, 0x40, 0x09,
                                 0x12, 0x01, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01};
static const uint8_t configuration[] = {
    0x09, 0x02, 0x3E, 0x00, 0x02, 0x01, 0x00, 0xC0, 0x32, /* 2 interfaces */
    0x09, 0x04, 0x00, 0x00, 0x02, 0x08, 0x06, 0x50, 0x00, /* 0: class 08 */
    0x07, 0x05, 0x01, 0x02, 0x40, 0x00, 0x00,             /* bulk 01 and 81, packets of 64 */
    0x07, 0x05, 0x81, 0x02, 0x40, 0x00, 0x00,             /* */
    0x09, 0x04, 0x01, 0x00, 0x03, 0xFF, 0x00, 0x00, 0x00, /* 1: class ff */
    0x07, 0x05, 0x02, 0x02, 0x40, 0x00, 0x00,             /* bulk 02 and 82 */
    0x07, 0x05, 0x82, 0x02, 0x40, 0x00, 0x00,             /* */
    0x07, 0x05, 0x83, 0x03, 0x08, 0x00, 0x01,             /* interrupt 83, packets of 8 */
};

struct usb_echo_bed {
  UMockdevTestbed *testbed;
  struct usb_bed *bed;
  pthread_t thread; /* the device's own mind */
  bool running;
  int stop;
  uint8_t stored[64];
  size_t n_stored;
};

static void control(struct usb_echo_bed *b, const struct usb_bed_event *e) {
  if (e->setup[0] == 0x40 && e->setup[1] == 1 && e->n <= sizeof b->stored) {
    memcpy(b->stored, e->bytes, e->n);
    b->n_stored = e->n;
    usb_bed_answer(b->bed, NULL, 0);
  } else if (e->setup[0] == 0xC0 && e->setup[1] == 2) {
    usb_bed_answer(b->bed, b->stored, b->n_stored);
  } else if (e->setup[0] == 0xC0 && e->setup[1] == 4) {
    usb_bed_answer(b->bed, NULL, 0);
  } else {
    usb_bed_refuse(b->bed);
  }
}

static void *run(void *arg) {
  struct usb_echo_bed *b = arg;
  struct pollfd fds[] = {{.fd = b->stop, .events = POLLIN}, {.fd = usb_bed_fd(b->bed), .events = POLLIN}};
  struct usb_bed_event e;
  while (poll(fds, 2, -1) >= 0 && !fds[0].revents)
    while (usb_bed_next(b->bed, &e) > 0) {
      if (e.kind == USB_BED_CONTROL)
        control(b, &e);
      else if (e.kind == USB_BED_OUT)
        usb_bed_send(b->bed, IN, e.bytes, e.n);
    }
  return NULL;
}

struct usb_echo_bed *usb_echo_bed_create(void) {
  const struct usb_bed_options options = {.device = device, .configuration = configuration};
  struct usb_echo_bed *b = calloc(1, sizeof *b);
  if (!b)
    return NULL;
  b->testbed = umockdev_testbed_new();
  b->stop = eventfd(0, EFD_CLOEXEC);
  if (usb_bed_create(b->testbed, &options, &b->bed) == 0 && usb_bed_plug(b->bed) == 0)
    b->running = pthread_create(&b->thread, NULL, run, b) == 0;
  if (!b->running) {
    usb_echo_bed_destroy(b);
    return NULL;
  }
  return b;
}

void usb_echo_bed_destroy(struct usb_echo_bed *b) {
  if (!b)
    return;
  if (b->running) {
    eventfd_write(b->stop, 1);
    pthread_join(b->thread, NULL);
  }
  usb_bed_destroy(b->bed);
  g_object_unref(b->testbed);
  close(b->stop);
  free(b);
}

void usb_echo_bed_send(struct usb_echo_bed *b, const void *bytes, size_t n) {
  usb_bed_send(b->bed, IN, bytes, n);
}

void usb_echo_bed_send_empty(struct usb_echo_bed *b) {
  usb_bed_send_packet(b->bed, IN, NULL, 0);
}

void usb_echo_bed_interrupt(struct usb_echo_bed *b, const void *bytes, size_t n) {
  usb_bed_send_packet(b->bed, INTERRUPT, bytes, n);
}

void usb_echo_bed_unplug_after(struct usb_echo_bed *b, uint64_t n) {
  usb_bed_unplug_after(b->bed, n);
}

void usb_echo_bed_stall(struct usb_echo_bed *b) {
  usb_bed_stall(b->bed, IN);
}

void usb_echo_bed_damage(struct usb_echo_bed *b) {
  usb_bed_damage(b->bed, IN);
}

void usb_echo_bed_mute(struct usb_echo_bed *b, bool mute) {
  usb_bed_mute(b->bed, mute);
}

void usb_echo_bed_unplug(struct usb_echo_bed *b) {
  usb_bed_unplug(b->bed);
}

struct usb_echo_state usb_echo_bed_state(struct usb_echo_bed *b) {
  struct usb_bed_state s;
  usb_bed_get_state(b->bed, &s);
  return (struct usb_echo_state){.claimed = ffs((int)s.claimed) - 1,
                                 .in_flight = s.in_flight,
                                 .empty_packets = s.empty_packets,
                                 .cleared = s.cleared,
                                 .detached = s.detached};
}
