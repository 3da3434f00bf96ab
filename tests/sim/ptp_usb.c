/* The USB side of the simulated camera: one still image interface (class 06/01/01), and its class requests. */
#include "ptp_camera.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/usb/ch9.h>

#define IN 0x81
#define OUT 0x02
#define INTERRUPT 0x83

enum { CANCEL = 0x64, EXTENDED_EVENT, RESET, STATUS };
enum { CANCEL_CODE = 0x4001 };

static size_t put(uint8_t *at, const uint8_t *bytes, size_t n) {
  memcpy(at, bytes, n);
  return n;
}

static void describe(void *engine, const char *serial, struct sim_usb_descriptors *ret) {
  struct ptp_camera *c = engine;
  const uint8_t device[] = {18,
                            USB_DT_DEVICE,
                            0x00,
                            0x02,
                            0,
                            0,
                            0,
                            64,
                            (uint8_t)c->vendor,
                            (uint8_t)(c->vendor >> 8),
                            (uint8_t)c->product,
                            (uint8_t)(c->product >> 8),
                            0x00,
                            0x01,
                            1,
                            2,
                            3,
                            1};
  const uint8_t interface[] = {9, USB_DT_INTERFACE, 0, 0, c->interrupt ? 3 : 2, 6, 1, 1, 0};
  static const uint8_t in[] = {7, USB_DT_ENDPOINT, IN, USB_ENDPOINT_XFER_BULK, 0, PTP_PACKET >> 8, 0},
                       out[] = {7, USB_DT_ENDPOINT, OUT, USB_ENDPOINT_XFER_BULK, 0, PTP_PACKET >> 8, 0};
  const uint8_t events[] = {7, USB_DT_ENDPOINT, INTERRUPT, USB_ENDPOINT_XFER_INT, (uint8_t)c->interrupt, 0, 9};
  uint8_t *at = ret->configuration;
  size_t n = USB_DT_CONFIG_SIZE;
  memset(ret, 0, sizeof(*ret));
  snprintf(c->serial, sizeof(c->serial), "%s", serial);
  memcpy(ret->device, device, sizeof(device));
  n += put(at + n, interface, sizeof(interface));
  n += put(at + n, in, sizeof(in));
  n += put(at + n, out, sizeof(out));
  if (c->interrupt)
    n += put(at + n, events, sizeof(events));
  put(at, (const uint8_t[]){USB_DT_CONFIG_SIZE, USB_DT_CONFIG, (uint8_t)n, 0, 1, 1, 0, 0xC0, 1}, USB_DT_CONFIG_SIZE);
  snprintf(ret->manufacturer, SIM_USB_TEXT_MAX, "%s", PTP_MAKE);
  snprintf(ret->product, SIM_USB_TEXT_MAX, "%s", PTP_MODEL);
  snprintf(ret->serial, SIM_USB_TEXT_MAX, "%s", c->serial);
}

static int cancel(struct ptp_camera *c, const uint8_t *data, size_t n) {
  if (n != 6 || ptp_get(data, 2) != CANCEL_CODE)
    return -EPIPE;
  ptp_cancel(c, ptp_get(data + 2, 4));
  return 0;
}

static int answer(uint8_t *at, size_t max, struct ptp_out *out) {
  int n = out->n <= max ? (int)out->n : -EPIPE;
  if (n > 0)
    memcpy(at, out->bytes, out->n);
  free(out->bytes);
  return n;
}

static int give_status(const struct ptp_camera *c, uint8_t *at, size_t max) {
  struct ptp_out out = {0};
  bool busy = c->hung || c->now < c->busy_until;
  ptp_put16(&out, c->stalled ? 8 : 4);
  ptp_put16(&out, busy ? PTP_BUSY : c->stalled ? PTP_CANCELLED : PTP_OK);
  if (c->stalled)
    ptp_put32(&out, IN);
  return answer(at, max, &out);
}

static int give_event(const struct ptp_camera *c, uint8_t *at, size_t max) {
  struct ptp_out out = {0};
  if (!c->last_event.code)
    return -EPIPE;
  ptp_put16(&out, c->last_event.code);
  ptp_put32(&out, PTP_ANY);
  ptp_put16(&out, c->last_event.n);
  for (unsigned i = 0; i < c->last_event.n; i++) {
    ptp_put16(&out, 4);
    ptp_put32(&out, c->last_event.parameters[i]);
  }
  return answer(at, max, &out);
}

static int control(void *engine, uint64_t now_us, const uint8_t setup[static 8], const uint8_t *data, size_t n,
                   uint8_t *at, size_t max) {
  struct ptp_camera *c = engine;
  sim_ptp_usb.say(c, now_us, IN, 0, &(struct sim_usb_piece){0}); /* what it does by itself until now */
  switch (setup[0] << 8 | setup[1]) {
  case 0x2100 | CANCEL:
    return cancel(c, data, n);
  case 0xA100 | EXTENDED_EVENT:
    return give_event(c, at, max);
  case 0x2100 | RESET:
    ptp_reset(c);
    c->counts.resets++;
    return 0;
  case 0xA100 | STATUS:
    return give_status(c, at, max);
  default:
    return -EPIPE;
  }
}

const struct sim_usb sim_ptp_usb = {.engine = &sim_ptp,
                                    .in = IN,
                                    .out = OUT,
                                    .interrupt = INTERRUPT,
                                    .describe = describe,
                                    .control = control,
                                    .say = ptp_say};
