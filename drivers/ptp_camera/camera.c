#include "camera.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WRITE_MS 3000u
#define CONTROL_MS 1000u
#define STATUS_TRIES 20u
#define STATUS_WAIT_MS 100u
#define STATUS_MAX 64u
#define DRAIN_MAX 32u /* transfers that an interrupted device still sends */

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
    camera->events[camera->n_events++] =
        (struct ptp_event){event.code, event.n ? event.parameters[0] : 0};
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
  return r < 0 ? why(camera, r, "the camera failed while it was waited for")
               : why(camera, -EPROTO, "the camera sends what it was not asked for");
}

int ptp_wait(struct ptp_camera *camera, unsigned ms) {
  if (camera->deaf)
    return wait_deaf(camera, ms);
  int r = acq_usb_interrupt(camera->io, camera->packet + camera->n_packet, sizeof camera->packet - camera->n_packet, ms);
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
    return 0;
  }
}

/* ---- transactions -------------------------------------------------------------------------------------------- */

static int broken(struct ptp_camera *camera, int r, uint16_t operation, const char *what) {
  return why(camera, r, "%s: %s", ptp_operation_name(operation), what);
}

static int begin(struct ptp_camera *camera, uint16_t operation, const uint32_t *parameters, unsigned n) {
  uint8_t command[PTP_SHORT_MAX];
  camera->n_data = 0;
  camera->inside = true;
  if (operation == PTP_OPEN_SESSION)
    camera->transaction = 0;
  size_t length = ptp_command_write(command, operation, camera->transaction++, parameters, n);
  int r = acq_write(camera->io, command, length, WRITE_MS);
  return r < 0 ? broken(camera, r, operation, "the camera does not take the command") : 0;
}

/* The next container's head; a response is taken whole, and then this is 1. */
static int receive_head(struct ptp_camera *camera, uint16_t operation, bool had_data, unsigned ms,
                        struct ptp_container *ret) {
  uint8_t bytes[PTP_SHORT_MAX];
  int r = acq_read(camera->io, bytes, PTP_HEAD, ms);
  if (r < 0)
    return broken(camera, r, operation, r == -ETIMEDOUT ? "no answer" : "the answer cannot be received");
  struct acq_cur c = acq_cur(bytes, sizeof bytes);
  if (ptp_head_read(&c, ret) < 0)
    return broken(camera, -EPROTO, operation, "what comes is no container");
  const char *fault = ptp_head_fault(ret, operation, camera->transaction - 1, had_data);
  if (fault)
    return broken(camera, -EPROTO, operation, fault);
  if (ret->type == PTP_DATA)
    return 0;
  r = ret->length > PTP_HEAD ? acq_read(camera->io, bytes + PTP_HEAD, ret->length - PTP_HEAD, PTP_ANSWER_MS) : 0;
  if (r < 0)
    return broken(camera, r == -ETIMEDOUT ? -EPROTO : r, operation, "the response is shorter than it says");
  r = ptp_parameters_read(&c, ret);
  if (r < 0)
    return broken(camera, r, operation, "the response is not in its form");
  camera->inside = false;
  return 1;
}

static int refused(struct ptp_camera *camera, uint16_t operation, uint16_t code) {
  return code == PTP_OK ? 0
                        : why(camera, code, "%s: %04x, %s", ptp_operation_name(operation), code,
                              ptp_response_name(code));
}

static int receive_data(struct ptp_camera *camera, uint16_t operation, uint32_t size, unsigned ms) {
  if (size > sizeof camera->data) {
    const char *what = operation == PTP_GET_OBJECT_HANDLES ? "the card holds more objects than can be told apart"
                                                           : "more data than it can have";
    return broken(camera, operation == PTP_GET_OBJECT_HANDLES ? -EFBIG : -EPROTO, operation, what);
  }
  int r = size ? acq_read(camera->io, camera->data, size, ms) : 0;
  if (r < 0)
    return broken(camera, r == -ETIMEDOUT ? -EPROTO : r, operation, "the data end before the container says");
  camera->n_data = size;
  return 0;
}

static int ask_once(struct ptp_camera *camera, uint16_t operation, const uint32_t *parameters, unsigned n,
                    unsigned ms) {
  struct ptp_container head;
  int r = begin(camera, operation, parameters, n);
  if (r == 0)
    r = receive_head(camera, operation, false, ms, &head);
  if (r == 0)
    r = receive_data(camera, operation, head.length - PTP_HEAD, ms);
  if (r == 0)
    r = receive_head(camera, operation, true, ms, &head);
  return r < 0 ? r : refused(camera, operation, head.code);
}

static int ask_blob_once(struct ptp_camera *camera, uint16_t operation, const uint32_t *parameters, unsigned n,
                         uint32_t size, uint32_t share) {
  struct ptp_container head;
  int r = begin(camera, operation, parameters, n);
  if (r == 0)
    r = receive_head(camera, operation, false, PTP_OBJECT_MS, &head);
  if (r)
    return r < 0 ? r : refused(camera, operation, head.code);
  if (head.length - PTP_HEAD != size)
    return why(camera, -EPROTO, "%s: %u bytes come, %u were announced", ptp_operation_name(operation),
               head.length - PTP_HEAD, size);
  r = acq_blob(camera->io, size, share, PTP_OBJECT_MS);
  if (r == -ETIMEDOUT)
    return broken(camera, r, operation, "the camera stops in the middle");
  if (r < 0)
    return broken(camera, r, operation, r == -EPROTO ? "the data end before the container says" : "the data broke off");
  r = receive_head(camera, operation, true, PTP_OBJECT_MS, &head);
  return r < 0 ? r : refused(camera, operation, head.code);
}

/* Runs `once` until the camera is no longer busy. */
#define PATIENTLY(camera, once)                                           \
  ({                                                                      \
    int answer_ = (once);                                                 \
    for (unsigned i_ = 0; answer_ == PTP_DEVICE_BUSY && i_ < PTP_BUSY_MAX; i_++) { \
      answer_ = ptp_wait(camera, PTP_BUSY_WAIT_MS);                        \
      if (answer_ == 0)                                                   \
        answer_ = (once);                                                 \
    }                                                                     \
    answer_;                                                              \
  })

int ptp_ask(struct ptp_camera *camera, uint16_t operation, const uint32_t *parameters, unsigned n, unsigned ms) {
  return PATIENTLY(camera, ask_once(camera, operation, parameters, n, ms));
}
