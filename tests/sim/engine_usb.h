/*
 * engine_usb: what a simulated USB instrument offers beside struct sim_engine.
 *
 * Its transmit() gives one transfer on the IN endpoint at a call, and is called when the host asks for one; with no
 * room for any (max 0) it lets time pass. Its receive() takes what came on the OUT endpoint. A USB device does not see
 * who opens or closes it.
 */
#ifndef ASALEED_SIM_ENGINE_USB_H
#define ASALEED_SIM_ENGINE_USB_H

#include "engine.h"

#include <stdbool.h>

#define SIM_USB_TEXT_MAX 64u

struct sim_usb_descriptors {
  uint8_t device[18];
  uint8_t configuration[256]; /* wTotalLength bytes of it */
  char manufacturer[SIM_USB_TEXT_MAX], product[SIM_USB_TEXT_MAX], serial[SIM_USB_TEXT_MAX];
};

/* What an IN endpoint says next: whole packets, but for the last piece of a transfer. */
struct sim_usb_piece {
  const uint8_t *bytes; /* the engine's, until it is called again */
  size_t n;             /* 0: an empty packet, as ends a transfer whose last one was full */
  bool stall;           /* the endpoint halts instead, until the host clears it */
};

struct sim_usb {
  const struct sim_engine *engine;
  uint8_t in, out;   /* bulk endpoints */
  uint8_t interrupt; /* IN; 0: none. One that describe() leaves out is never asked for */

  /* serial: the number it shall have, in its own protocol too. */
  void (*describe)(void *engine, const char *serial, struct sim_usb_descriptors *ret);
  /* A class or vendor request, with its n bytes of data. How many bytes it answers, at most max; -EPIPE: it stalls,
   * -EAGAIN: it says nothing. */
  int (*control)(void *engine, uint64_t now_us, const uint8_t setup[static 8], const uint8_t *data, size_t n,
                 uint8_t *answer, size_t max);
  /* For engines with long transfers or an interrupt endpoint, which are asked here in place of transmit(): the next
   * piece for that endpoint, at most max bytes (whole packets); it counts as said. False: nothing yet; with max 0 it
   * lets time pass. Its next_us() is then of what it does by itself, never 0: who is asked is asked again anyway. NULL:
   * transmit() will do. */
  bool (*say)(void *engine, uint64_t now_us, uint8_t endpoint, size_t max, struct sim_usb_piece *ret);
};

extern const struct sim_usb *const sim_usbs[]; /* table.c; NULL ends it */

#endif
