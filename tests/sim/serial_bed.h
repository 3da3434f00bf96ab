/*
 * serial_bed: a mocked machine with USB serial adapters, for simulators of serial instruments.
 *
 * Under umockdev's preload, a plugged port is for its user an FTDI-like adapter: USB parent, interface and tty in /sys,
 * the node in /dev, udev properties and uevents, and a terminal whose other end is the simulator's descriptor. Together
 * with tty_shim.so it is good enough for libserialport and sd-device, in this process and in its children.
 *
 * A port is used from one thread. Functions return 0 or a negative errno unless they say otherwise.
 */
#ifndef ASALEED_SIM_SERIAL_BED_H
#define ASALEED_SIM_SERIAL_BED_H

#include <stdbool.h>
#include <stdint.h>
#include <umockdev.h>

struct serial_bed;
struct serial_bed_port;

/* Zeroed fields take the default in brackets. Strings are copied; printable ASCII, at most 63 characters. */
struct serial_bed_options {
  const char *port;         /* node name: ttyUSB or ttyACM and a number ["ttyUSB0"] */
  uint16_t vendor_id;       /* [0403] */
  uint16_t product_id;      /* [6001] */
  const char *serial;       /* USB serial number; "" for an adapter that has none ["SIM00001"] */
  const char *manufacturer; /* ["FTDI"] */
  const char *product;      /* ["FT232R USB UART"] */
};

enum {
  SERIAL_BED_PLUGGED = 1,
  SERIAL_BED_OPEN = 2,   /* somebody has the node open */
  SERIAL_BED_CLOSED = 4, /* since the last look the node was closed; bytes nobody had read are gone */
};

/* Is umockdev's library preloaded in this process? Without it there can be no bed. */
bool serial_bed_available(void);

/* The LD_PRELOAD for a process that uses the bed: first (may be NULL), a sanitizer's run-time if one was preloaded
 * here, tty_shim.so from the folder of this program, then the rest of this process's LD_PRELOAD. NULL when this
 * program's folder is not known. The caller frees it. */
char *serial_bed_preload(const char *first);

/* First thing in main. Umockdev and a preloaded address sanitizer lock each other up, so this process goes without: it
 * starts itself again, and remembers the run-time for serial_bed_preload() in SERIAL_BED_SANITIZER. Returns when there
 * is nothing to do. */
void serial_bed_without_sanitizer(char **argv);

/* On this machine, which other beds may share as long as they keep off its USB bus 1, or on one of its own (NULL). One
 * machine at a time: UMOCKDEV_DIR names it, so children inherit it. NULL with errno: ENOTSUP without the preload,
 * EINVAL when TMPDIR is below /dev. */
struct serial_bed *serial_bed_create(UMockdevTestbed *machine);
void serial_bed_destroy(struct serial_bed *bed); /* unplugs and frees its ports; NULL is fine */

/* The port belongs to the bed, and is not plugged in yet. Each port of a bed needs a name of its own. */
int serial_bed_add(struct serial_bed *bed, const struct serial_bed_options *options, struct serial_bed_port **ret);

/* Device, node, then uevents "add". A fresh terminal each time, in raw mode. -EALREADY when plugged. */
int serial_bed_plug(struct serial_bed_port *port);
/* Users see a hang-up (poll: POLLHUP, read: 0, write: EIO), the node is gone, uevents "remove". -ENODEV when not
 * plugged. */
int serial_bed_unplug(struct serial_bed_port *port);

/* The simulator's end, non-blocking, -1 when not plugged; valid until unplug. Poll it only while the port is open: when
 * nobody has the node open it reports POLLHUP without end, and what is written would wait for the next user. */
int serial_bed_fd(const struct serial_bed_port *port);
/* Readable when the node has been opened or closed. Valid as long as the port. */
int serial_bed_watch_fd(const struct serial_bed_port *port);
/* Looks, and forgets unread bytes of a user who has closed: call it on POLLHUP and when the watch is readable. */
unsigned serial_bed_look(struct serial_bed_port *port);
/* Waits until the user has read all that was written, at most timeout_ms. -ETIMEDOUT, -ENODEV. */
int serial_bed_drain(struct serial_bed_port *port, int timeout_ms);

#endif
