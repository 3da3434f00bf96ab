/*
 * usb_bed: a USB device on a mocked machine, for simulators of USB instruments.
 *
 * The kernel's usbfs is played by umockdev (run under umockdev-wrapper): the real libusb works on the node, in this
 * process and in its children, and sd-device sees the plug come and go. One bed is one device; several, and a
 * serial_bed, may share a testbed. It is bus 2 of the machine, so that serial adapters (bus 1) never stand in its way.
 *
 * Threads: requests come in on umockdev's thread, where the bed answers what needs no simulator: standard requests,
 * transfers that wait, stalls. All else is an event for the owner, who polls usb_bed_fd() in his own loop. Every
 * function may be called from any thread, but usb_bed_next(), usb_bed_answer(), usb_bed_refuse(), plug and unplug from
 * one only.
 *
 * Functions return 0 or a negative errno unless they say otherwise.
 */
#ifndef ASALEED_SIM_USB_BED_H
#define ASALEED_SIM_USB_BED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct usb_bed;
typedef struct _UMockdevTestbed UMockdevTestbed;

#define USB_BED_NEVER UINT64_MAX
#define USB_BED_SOCKETS 31u

/* All is copied. */
struct usb_bed_options {
  const uint8_t *device;        /* device descriptor, 18 bytes */
  const uint8_t *configuration; /* the one configuration, with all that follows it; wTotalLength bytes */
  /* Texts of the device descriptor's string indexes; printable ASCII, at most 63 characters; NULL: none. */
  const char *manufacturer, *product, *serial;
  unsigned socket; /* of the hub, 1 to 31, one for each bed of a testbed [1] */
};

enum usb_bed_kind {
  USB_BED_OUT = 1, /* one transfer of bytes to `endpoint` */
  USB_BED_CONTROL, /* a class or vendor request: `setup`, and its data when it has any; wants an answer */
  USB_BED_RESET,   /* the host resets the device */
  USB_BED_CUT,     /* the bytes of usb_bed_unplug_after() are out and the host is cut off: time for usb_bed_unplug() */
};

struct usb_bed_event {
  enum usb_bed_kind kind;
  uint8_t endpoint;     /* OUT */
  uint8_t setup[8];     /* CONTROL */
  const uint8_t *bytes; /* until the next usb_bed_next() */
  size_t n;
};

struct usb_bed_state {
  bool plugged;
  unsigned open;              /* descriptors of the node */
  uint32_t claimed;           /* interfaces, a bit each */
  unsigned in_flight;         /* transfers of bulk and interrupt endpoints that wait */
  unsigned empty_packets;     /* zero-length packets by which the host ended a full one */
  unsigned cleared, detached; /* halts; kernel drivers taken off */
  uint64_t received, sent;    /* bytes through bulk and interrupt endpoints since the node was opened */
};

bool usb_bed_available(void); /* umockdev's preload is there */

/* Not plugged in yet. The testbed must outlive the bed. -EINVAL: descriptors, socket or texts cannot be. */
int usb_bed_create(UMockdevTestbed *testbed, const struct usb_bed_options *options, struct usb_bed **ret);
void usb_bed_destroy(struct usb_bed *bed); /* unplugs; NULL is fine */

/* Node, device and interfaces, then uevents "add". A new device number, and so a new node, each time. -EALREADY. */
int usb_bed_plug(struct usb_bed *bed);
/* Transfers end with ESHUTDOWN, all else with ENODEV; uevents "remove", the node is gone. What was not read is
 * forgotten, and so are stalls, damage and a pending unplug_after. -ENODEV. */
int usb_bed_unplug(struct usb_bed *bed);
/* Once: the host gets exactly n bytes of bulk and interrupt endpoints, counted from the opening of the node, then
 * nothing works any more, as if the plug had been pulled. 0: as soon as it asks for some. USB_BED_NEVER: not. */
void usb_bed_unplug_after(struct usb_bed *bed, uint64_t n);
const char *usb_bed_node(const struct usb_bed *bed); /* "/dev/bus/usb/002/002"; of the last plug */

/* Readable when there may be an event, when the host asks for bytes, and when it opened or closed the node. */
int usb_bed_fd(const struct usb_bed *bed);
/* 1 and the oldest event, or 0. Called until it says 0, or the descriptor stays readable. */
int usb_bed_next(struct usb_bed *bed, struct usb_bed_event *ret);
/* The answer to the CONTROL event taken last, before the next is taken; bytes above wLength are cut off. A request that
 * gets neither waits until the host gives up. */
void usb_bed_answer(struct usb_bed *bed, const void *bytes, size_t n);
void usb_bed_refuse(struct usb_bed *bed); /* STALL */

/* Bytes that the host's waiting transfers can take beyond those already sent. 0: nobody asks. */
size_t usb_bed_wanted(struct usb_bed *bed, uint8_t endpoint);
/* Bytes in packets of the endpoint's size, the last as short as it comes, no empty one after a full one. They wait for
 * the host to ask, across openings of the node. What is asked for already goes into the host's memory at once, so that
 * large pieces cost one copy. */
void usb_bed_send(struct usb_bed *bed, uint8_t endpoint, const void *bytes, size_t n);
/* One packet; 0 bytes is the empty one. -EINVAL: longer than the endpoint's packets, or no such endpoint. */
int usb_bed_send_packet(struct usb_bed *bed, uint8_t endpoint, const void *bytes, size_t n);
void usb_bed_forget(struct usb_bed *bed, uint8_t endpoint); /* what was sent and not read */

void usb_bed_stall(struct usb_bed *bed, uint8_t endpoint);  /* until the host clears the halt */
void usb_bed_damage(struct usb_bed *bed, uint8_t endpoint); /* its next transfer ends with EPROTO */
void usb_bed_mute(struct usb_bed *bed, bool mute);          /* NAKs everything: all transfers wait */
void usb_bed_get_state(struct usb_bed *bed, struct usb_bed_state *ret);

#endif
