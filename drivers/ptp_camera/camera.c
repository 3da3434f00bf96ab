#include "camera.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WRITE_MS 3000u
#define CONTROL_MS 1000u
#define STATUS_TRIES 20u
#define STATUS_WAIT_MS 100u
#define STATUS_MAX 64u
#define DRAIN_PART (1u << 20) /* of what an interrupted device still sends: at most */
#define DRAIN_MAX 80u         /*   so many, which is more than a picture */
#define STORM_MAX 32u         /* events in one pause */

void ptp_camera_init(struct ptp_camera *camera, struct acq_io *io) {
  memset(camera, 0, sizeof *camera);
  camera->io = io;
}

static int why(struct ptp_camera *camera, int r, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int why(struct ptp_camera *camera, int r, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  vsnprintf(camera->why, sizeof camera->why, format, ap);
  va_end(ap);
  return r;
}

/* ---- events -------------------------------------------------------------------------------------------------- */

/* An event is a hint: one that cannot be read makes the driver look for itself. */
static void take_packet(struct ptp_camera *camera) {
  struct acq_cur c = acq_cur(camera->packet, camera->n_packet);
  struct ptp_container event;
  if (camera->n_packet < PTP_HEAD)
    return;
  bool valid = ptp_head_read(&c, &event) == 0 && event.type == PTP_EVENT && event.length <= PTP_SHORT_MAX;
  if (valid && camera->n_packet < event.length)
    return;
  valid = valid && ptp_parameters_read(&c, &event) == 0 && !acq_left(&c);
  camera->n_packet = 0;
  if (valid && camera->n_events < PTP_EVENTS_MAX)
    camera->events[camera->n_events++] = (struct ptp_event){event.code, event.n ? event.parameters[0] : 0};
  else
    camera->lost = true;
}

bool ptp_take_event(struct ptp_camera *camera, struct ptp_event *ret) {
  if (!camera->n_events)
    return false;
  *ret = camera->events[0];
  memmove(camera->events, camera->events + 1, --camera->n_events * sizeof *camera->events);
  return true;
}

/* Where no interrupt endpoint is, the silence of the other one is what time passes in. */
static int wait_deaf(struct ptp_camera *camera, unsigned ms) {
  uint8_t byte;
  int r = acq_read_some(camera->io, &byte, 1, ms);
  if (r == -ETIMEDOUT)
    return 0;
  if (r < 0)
    return why(camera, r, "the camera failed while it was waited for");
  camera->inside = true;
  return why(camera, -EPROTO, "the camera sends what it was not asked for");
}

int ptp_wait(struct ptp_camera *camera, unsigned ms) {
  if (camera->deaf)
    return wait_deaf(camera, ms);
  int r =
      acq_usb_interrupt(camera->io, camera->packet + camera->n_packet, sizeof camera->packet - camera->n_packet, ms);
  switch (r) {
  case -EOPNOTSUPP:
    camera->deaf = true;
    return wait_deaf(camera, ms);
  case -EPIPE:
  case -EPROTO:
    camera->lost = true;
    camera->n_packet = 0;
    return wait_deaf(camera, ms);
  case -ETIMEDOUT:
    camera->lost |= camera->n_packet > 0; /* half an event */
    camera->n_packet = 0;
    return 0;
  default:
    if (r < 0)
      return why(camera, r, "the camera failed while it was waited for");
    camera->n_packet += (size_t)r;
    take_packet(camera);
    return 1;
  }
}

/* A pause is a silence: events that come meanwhile do not end it, but a storm of them does. */
static int pause_for(struct ptp_camera *camera, unsigned ms) {
  int r = 1;
  for (unsigned i = 0; r > 0 && i < STORM_MAX; i++)
    r = ptp_wait(camera, ms);
  return r < 0 ? r : 0;
}

/* ---- transactions -------------------------------------------------------------------------------------------- */

struct question {
  uint16_t operation;
  const uint32_t *parameters;
  unsigned n, ms;
  bool to_blob;
  uint32_t size, share; /* of the blob's part */
};

static int broken(struct ptp_camera *camera, int r, uint16_t operation, const char *what) {
  return why(camera, r, "%s: %s", ptp_operation_name(operation), what);
}

static int send_command(struct ptp_camera *camera, const struct question *q) {
  uint8_t command[PTP_SHORT_MAX];
  camera->n_data = 0;
  camera->inside = true;
  if (q->operation == PTP_OPEN_SESSION)
    camera->transaction = 0;
  size_t length = ptp_command_write(command, q->operation, camera->transaction++, q->parameters, q->n);
  int r = acq_write(camera->io, command, length, WRITE_MS);
  return r < 0 ? broken(camera, r, q->operation, "the camera does not take the command") : 0;
}

/* The next container's head: 0 when data follow; 1 for a response, of which nothing is left then. */
static int receive_head(struct ptp_camera *camera, const struct question *q, bool had_data, struct ptp_container *ret) {
  uint8_t bytes[PTP_SHORT_MAX] = {0};
  int r = acq_read(camera->io, bytes, PTP_HEAD, q->ms);
  if (r < 0)
    return broken(camera, r, q->operation, r == -ETIMEDOUT ? "no answer" : "the answer cannot be received");
  struct acq_cur c = acq_cur(bytes, sizeof bytes);
  if (ptp_head_read(&c, ret) < 0)
    return broken(camera, -EPROTO, q->operation, "what comes is no container");
  const char *fault = ptp_head_fault(ret, q->operation, camera->transaction - 1, had_data);
  if (fault)
    return broken(camera, -EPROTO, q->operation, fault);
  if (ret->type == PTP_DATA)
    return 0;
  r = ret->length > PTP_HEAD ? acq_read(camera->io, bytes + PTP_HEAD, ret->length - PTP_HEAD, PTP_ANSWER_MS) : 0;
  if (r < 0)
    return broken(camera, r == -ETIMEDOUT ? -EPROTO : r, q->operation, "the response ends before its length");
  camera->inside = false;
  return 1;
}

static int receive_data(struct ptp_camera *camera, const struct question *q, uint32_t size) {
  if (size > sizeof camera->data && q->operation == PTP_GET_OBJECT_HANDLES)
    return broken(camera, -EFBIG, q->operation, "the card holds more objects than can be told apart: empty it");
  if (size > sizeof camera->data)
    return broken(camera, -EPROTO, q->operation, "more data than there can be");
  int r = size ? acq_read(camera->io, camera->data, size, q->ms) : 0;
  if (r < 0)
    return broken(camera, r == -ETIMEDOUT ? -EPROTO : r, q->operation, "the data end before the container's length");
  camera->n_data = size;
  return 0;
}

static int receive_blob(struct ptp_camera *camera, const struct question *q, uint32_t size) {
  if (size != q->size)
    return why(camera, -EPROTO, "%s: %u bytes come, %u were announced", ptp_operation_name(q->operation), size,
               q->size);
  int r = acq_blob(camera->io, size, q->share, q->ms);
  switch (r) {
  case 0:
    return 0;
  case -ETIMEDOUT:
    return broken(camera, r, q->operation, "the camera stops in the middle");
  case -EPROTO:
    return broken(camera, r, q->operation, "the data end before the container's length");
  default:
    return broken(camera, r, q->operation, "the data broke off");
  }
}

static int ask_once(struct ptp_camera *camera, const struct question *q) {
  struct ptp_container head;
  int r = send_command(camera, q);
  if (r == 0)
    r = receive_head(camera, q, false, &head);
  if (r == 0) {
    r = (q->to_blob ? receive_blob : receive_data)(camera, q, head.length - PTP_HEAD);
    if (r == 0)
      r = receive_head(camera, q, true, &head);
  }
  if (r < 0 || head.code == PTP_OK)
    return r < 0 ? r : 0;
  return why(camera, head.code, "%s: %04x, %s", ptp_operation_name(q->operation), head.code,
             ptp_response_name(head.code));
}

static int ask_patiently(struct ptp_camera *camera, const struct question *q) {
  int r = ask_once(camera, q);
  for (unsigned i = 0; r == PTP_DEVICE_BUSY && i < PTP_BUSY_MAX; i++) {
    r = pause_for(camera, PTP_BUSY_WAIT_MS);
    if (r == 0)
      r = ask_once(camera, q);
  }
  return r;
}

int ptp_ask(struct ptp_camera *camera, uint16_t operation, const uint32_t *parameters, unsigned n, unsigned ms) {
  const struct question q = {.operation = operation, .parameters = parameters, .n = n, .ms = ms};
  return ask_patiently(camera, &q);
}

int ptp_ask_blob(struct ptp_camera *camera, uint16_t operation, const uint32_t *parameters, unsigned n, uint32_t size,
                 uint32_t share) {
  const struct question q = {operation, parameters, n, PTP_OBJECT_MS, true, size, share};
  return ask_patiently(camera, &q);
}

/* ---- coming to rest ------------------------------------------------------------------------------------------ */

enum { /* class requests to the interface, which is the device's first */
       CANCEL = 0x64,
       RESET = 0x66,
       STATUS = 0x67,
       TO_INTERFACE = 0x21,
       FROM_INTERFACE = 0xa1,
};
#define CANCELLATION 0x4001u

/* Devices that stall a class request, or never answer it, have to be brought to rest without it. */
static bool is_lost(int r) {
  return r < 0 && r != -EPIPE && r != -EPROTO && r != -ETIMEDOUT && r != -EOPNOTSUPP;
}

/* 1 when it says that it is ready, 0 when it says something else, -EPIPE when it says nothing. "Cancelled" is what a
 * device says of a transaction that it ended itself by halting its endpoints: there is nothing to wait for. */
static int ask_status(struct ptp_camera *camera) {
  uint8_t bytes[STATUS_MAX];
  int r = acq_usb_control(camera->io, FROM_INTERFACE, STATUS, 0, 0, bytes, sizeof bytes, CONTROL_MS);
  if (r < 0)
    return is_lost(r) ? r : -EPIPE;
  struct acq_cur c = acq_cur(bytes, (size_t)r);
  acq_u16le(&c); /* its length */
  uint16_t code = acq_u16le(&c);
  return c.err ? -EPIPE : code == PTP_OK || code == PTP_TRANSACTION_CANCELLED;
}

/* Takes what the device still sends, until it is silent. */
static int drain(struct ptp_camera *camera) {
  uint8_t bytes[512];
  for (unsigned i = 0; i < DRAIN_MAX; i++) {
    int r = acq_read_some(camera->io, bytes, sizeof bytes, PTP_SILENCE_MS);
    if (r > 0) { /* perhaps the rest of a picture */
      r = acq_blob(camera->io, DRAIN_PART, 0, PTP_SILENCE_MS);
      int dropped = is_lost(r) ? r : acq_blob_drop(camera->io);
      r = dropped < 0 ? dropped : r;
    }
    if (r == -ETIMEDOUT || is_lost(r))
      return r == -ETIMEDOUT ? 0 : r;
  }
  return why(camera, -EPROTO, "the camera does not stop sending");
}

static int send_class_request(struct ptp_camera *camera, uint8_t request, uint8_t *bytes, uint16_t n) {
  int r = acq_usb_control(camera->io, TO_INTERFACE, request, 0, 0, bytes, n, CONTROL_MS);
  return is_lost(r) ? r : 0;
}

/* Behind a cancel or a reset. */
static int settle(struct ptp_camera *camera) {
  int ready = ask_status(camera);
  int r = is_lost(ready) ? ready : drain(camera);
  for (unsigned i = 0; r == 0 && ready == 0 && i < STATUS_TRIES; i++) {
    r = pause_for(camera, STATUS_WAIT_MS);
    if (r == 0)
      ready = ask_status(camera);
    if (is_lost(ready))
      r = ready;
  }
  camera->inside = false;
  return r;
}

int ptp_rest(struct ptp_camera *camera) {
  const uint32_t transaction = camera->transaction - 1;
  uint8_t bytes[6] = {CANCELLATION & 0xff, CANCELLATION >> 8};
  if (!camera->inside)
    return 0;
  for (unsigned i = 0; i < 4; i++)
    bytes[2 + i] = (uint8_t)(transaction >> 8 * i);
  int r = send_class_request(camera, CANCEL, bytes, sizeof bytes);
  return r < 0 ? r : settle(camera);
}

static int reset(struct ptp_camera *camera) {
  int r = send_class_request(camera, RESET, NULL, 0);
  return r < 0 ? r : settle(camera);
}

/* ---- the session --------------------------------------------------------------------------------------------- */

static int open_once(struct ptp_camera *camera) {
  static const uint32_t session = 1;
  int r = ptp_ask(camera, PTP_OPEN_SESSION, &session, 1, PTP_ANSWER_MS);
  if (r == PTP_ALREADY_OPEN) {
    r = ptp_ask(camera, PTP_CLOSE_SESSION, NULL, 0, PTP_ANSWER_MS);
    if (r >= 0)
      r = ptp_ask(camera, PTP_OPEN_SESSION, &session, 1, PTP_ANSWER_MS);
    if (r == PTP_ALREADY_OPEN) /* it does not close it: so be it */
      r = 0;
  }
  camera->open = r == 0;
  return r;
}

int ptp_open(struct ptp_camera *camera) {
  int r = ask_status(camera);
  if (is_lost(r))
    return r;
  if (r == 0)
    r = reset(camera);
  if (r < 0 && r != -EPIPE)
    return r;
  r = open_once(camera);
  if (r >= 0 || is_lost(r))
    return r;
  r = reset(camera); /* what came was the rest of an earlier session */
  return r < 0 ? r : open_once(camera);
}

int ptp_close(struct ptp_camera *camera) {
  int r = ptp_rest(camera);
  if (r == 0 && camera->open)
    r = ptp_ask(camera, PTP_CLOSE_SESSION, NULL, 0, PTP_ANSWER_MS);
  camera->open = false;
  return is_lost(r) ? r : 0;
}
