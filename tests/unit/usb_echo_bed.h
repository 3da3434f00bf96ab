/* A simulated USB device for the worker's seam test: interface 0 is of class 08, interface 1 of class FF with bulk OUT
 * 02 and bulk IN 82 (packets of 64 bytes) that gives back what it was sent, and interrupt IN 83 (packets of 8). Run
 * under umockdev-wrapper: the real libusb works on it, in this process and in its children.
 *
 * Vendor requests to the device: OUT 01 stores its data, IN 02 gives it back (at most wLength), IN 03 stalls, IN 04
 * answers nothing.
 */
#ifndef USB_ECHO_BED_H
#define USB_ECHO_BED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USB_ECHO_NODE "/dev/bus/usb/002/002"
#define USB_ECHO_VENDOR 0x1209
#define USB_ECHO_PRODUCT 0x0001

struct usb_echo_bed;

struct usb_echo_state {
  int claimed;            /* interface, or -1 */
  unsigned in_flight;     /* transfers that wait */
  unsigned empty_packets; /* zero-length packets that ended a full one */
  unsigned cleared;       /* halts */
  unsigned detached;      /* kernel driver taken off */
};

/* NULL when it cannot be made. */
struct usb_echo_bed *usb_echo_bed_create(void);
void usb_echo_bed_destroy(struct usb_echo_bed *bed);

/* Bytes that come from the device by themselves. */
void usb_echo_bed_send(struct usb_echo_bed *bed, const void *bytes, size_t n);
void usb_echo_bed_send_empty(struct usb_echo_bed *bed);                             /* a packet of no bytes */
void usb_echo_bed_interrupt(struct usb_echo_bed *bed, const void *bytes, size_t n); /* one packet, at most 8 */
void usb_echo_bed_unplug_after(struct usb_echo_bed *bed, uint64_t n); /* when the host has got n bytes in all */
void usb_echo_bed_stall(struct usb_echo_bed *bed);                    /* the IN endpoint, until its halt is cleared */
void usb_echo_bed_damage(struct usb_echo_bed *bed);                   /* the next IN transfer ends with EPROTO */
void usb_echo_bed_mute(struct usb_echo_bed *bed, bool mute);          /* answers nothing; transfers wait */
void usb_echo_bed_unplug(struct usb_echo_bed *bed);
struct usb_echo_state usb_echo_bed_state(struct usb_echo_bed *bed);

#endif
