/*
 * The USB side of the simulated personal health device: USB Personal Healthcare Device Class, one interface of class 0F
 * with a bulk endpoint each way.
 */
#include "engine_usb.h"
#include "phdc_agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <linux/usb/ch9.h>

#define IN 0x81
#define OUT 0x02
#define MAX_PACKET 64

enum { CLASS_HEALTH = 0x0F, DATA_11073 = 2 };
enum { DT_FUNCTION = 0x20, DT_QOS = 0x21, DT_11073 = 0x30 };
enum { QOS_MEDIUM_BEST = 0x08, QOS_ENCODING_1 = 0x01 };
enum { FEATURE_PREAMBLE = 1 };

static size_t put(uint8_t *at, const uint8_t *bytes, size_t n) {
  memcpy(at, bytes, n);
  return n;
}

static size_t put_endpoint(uint8_t *at, uint8_t address) {
  const uint8_t endpoint[] = {7, USB_DT_ENDPOINT, address, USB_ENDPOINT_XFER_BULK, MAX_PACKET, 0, 0};
  static const uint8_t qos[] = {4, DT_QOS, QOS_ENCODING_1, QOS_MEDIUM_BEST};
  size_t n = put(at, endpoint, sizeof endpoint);
  return n + put(at + n, qos, sizeof qos);
}

/* The specialisations, little endian. */
static size_t put_specs(uint8_t *at, const struct phdc_device *d) {
  size_t n = 4;
  for (size_t i = 0; i < sizeof d->profile->specs / sizeof *d->profile->specs && d->profile->specs[i]; i++) {
    at[n++] = (uint8_t)d->profile->specs[i];
    at[n++] = (uint8_t)(d->profile->specs[i] >> 8);
  }
  return put(at, (const uint8_t[]){(uint8_t)n, DT_11073, 0, (uint8_t)((n - 4) / 2)}, 4) - 4 + n;
}

static void put_configuration(uint8_t *at, const struct phdc_device *d, bool preamble) {
  static const uint8_t interface[] = {9, USB_DT_INTERFACE, 0, 0, 2, CLASS_HEALTH, 0, 0, 0};
  const uint8_t function[] = {4, DT_FUNCTION, DATA_11073, preamble};
  size_t n = USB_DT_CONFIG_SIZE;
  n += put(at + n, interface, sizeof interface);
  n += put(at + n, function, sizeof function);
  n += put_specs(at + n, d);
  n += put_endpoint(at + n, IN);
  n += put_endpoint(at + n, OUT);
  put(at, (const uint8_t[]){USB_DT_CONFIG_SIZE, USB_DT_CONFIG, (uint8_t)n, (uint8_t)(n >> 8), 1, 1, 0, 0x80, 50},
      USB_DT_CONFIG_SIZE);
}

static void describe(void *engine, const char *serial, struct sim_usb_descriptors *ret) {
  /* 1209:0002, for tests: a host goes by the class. */
  static const uint8_t device[] = {18,   USB_DT_DEVICE, 0x00, 0x02, 0,    0, 0, 64, 0x09,
                                   0x12, 0x02,          0x00, 0x00, 0x01, 1, 2, 3,  1};
  struct phdc_device *d = phdc_agent_device(engine);
  memset(ret, 0, sizeof *ret);
  snprintf(d->serial, sizeof d->serial, "%s", serial);
  memcpy(ret->device, device, sizeof device);
  put_configuration(ret->configuration, d, phdc_agent_has_preamble(engine));
  snprintf(ret->manufacturer, SIM_USB_TEXT_MAX, "%s", d->profile->maker);
  snprintf(ret->product, SIM_USB_TEXT_MAX, "%s", d->profile->model);
  snprintf(ret->serial, SIM_USB_TEXT_MAX, "%s", d->serial);
}

static int set_preamble(void *engine, uint8_t feature, bool on) {
  if (feature != FEATURE_PREAMBLE || !phdc_agent_has_preamble(engine))
    return -EPIPE;
  phdc_agent_preamble(engine, on);
  return 0;
}

static int control(void *engine, uint64_t now_us, const uint8_t setup[static 8], const uint8_t *data, size_t n,
                   uint8_t *answer, size_t max) {
  (void)data;
  (void)n;
  sim_phdc.transmit(engine, now_us, answer, 0); /* what it has to say by now counts */
  switch (setup[0] << 8 | setup[1]) {
  case 0x2100 | USB_REQ_SET_FEATURE:
    return set_preamble(engine, setup[2], true);
  case 0x2100 | USB_REQ_CLEAR_FEATURE:
    return set_preamble(engine, setup[2], false);
  case 0xA100 | USB_REQ_GET_STATUS:
    if (max < 2)
      return -EPIPE;
    answer[0] = phdc_agent_pending(engine) ? 1 << (IN & USB_ENDPOINT_NUMBER_MASK) : 0; /* a bit for each endpoint */
    answer[1] = 0;
    return 2;
  default:
    return -EPIPE;
  }
}

const struct sim_usb sim_phdc_usb = {
    .engine = &sim_phdc, .in = IN, .out = OUT, .describe = describe, .control = control};
