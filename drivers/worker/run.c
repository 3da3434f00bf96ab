#include "commands.h"

#include "control.h"
#include "drivers.h"
#include "hash.h"
#include "log.h"
#include "record_build.h"
#include "sandbox.h"
#include "str.h"
#include "talk.h"
#include "wall.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RUN_CPU_SECONDS 60u     /* on top of the ordered ones: set-up, decoding */
#define RUN_GOODBYE_US 5000000u /* the last message is not lost to a daemon that is busy for a moment */

struct worker {
  struct wire_order order;
  const struct acq_driver *driver;
  struct capture_writer capture;
  struct acq_io io;
};

static _Noreturn void goodbye(struct worker *w, const struct wire_message *message) {
  uint64_t deadline = monotonic_us() + RUN_GOODBYE_US;
  struct pollfd fd = {.fd = WIRE_FD_CONTROL, .events = POLLOUT};
  int r = -EAGAIN;
  while (r == -EAGAIN && monotonic_us() < deadline) {
    if (w->io.transport) /* the latest progress and contacts come before the end */
      io_flush(&w->io);
    if (!w->io.progress_due && !w->io.contacts_due)
      r = wire_send(WIRE_FD_CONTROL, message);
    if (r == -EAGAIN)
      poll(&fd, 1, 100);
  }
  if (r < 0 && r != -EPIPE)
    log_errno(LOG_ERROR, r, "the last message could not be sent");
  _exit(r == 0 && message->type == WIRE_RECORD ? 0 : 1);
}

static _Noreturn void fail(struct worker *w, int err, enum wire_step step, const char *text) {
  struct wire_message m = {.type = WIRE_FAIL, .fail = {.err = err < -4095 ? -EIO : err, .step = step}};
  snprintf(m.fail.text, sizeof m.fail.text, "%s", text);
  if (!str_is_clean_utf8(m.fail.text, strlen(m.fail.text)))
    snprintf(m.fail.text, sizeof m.fail.text, "(the reason is not a clean text)");
  goodbye(w, &m);
}

/* ---- decoding ---- */

static int write_samples(const struct record_result *result) {
  int r = 0;
  uint8_t part[4096];
  for (size_t i = 0; i < result->data_values && r == 0;) {
    size_t n = 0;
    for (; n < sizeof part && i < result->data_values; i++) {
      part[n++] = (uint8_t)result->data[i];
      part[n++] = (uint8_t)((uint16_t)result->data[i] >> 8);
    }
    r = fd_write_all(WIRE_FD_RECORD, part, n);
  }
  return r;
}

/* Samples first, so that whoever maps the file finds them aligned; then the previews, then the JSON. */
static int write_records(const struct record_result results[static WIRE_RECORDS]) {
  int r = 0;
  for (int i = 0; i < WIRE_RECORDS && r == 0; i++)
    r = write_samples(&results[i]);
  for (int i = 0; i < WIRE_RECORDS && r == 0; i++)
    r = fd_write_all(WIRE_FD_RECORD, results[i].previews, results[i].preview_bytes);
  for (int i = 0; i < WIRE_RECORDS && r == 0; i++)
    r = fd_write_all(WIRE_FD_RECORD, results[i].json, results[i].json_bytes);
  return r;
}

/* A whole file, mapped; *ret is NULL when it is empty. */
static int map_file(int fd, size_t max, const void **ret, size_t *ret_n) {
  off_t n = lseek(fd, 0, SEEK_END);
  if (n < 0 || (uint64_t)n > max)
    return n < 0 ? -errno : -EFBIG;
  void *map = n ? mmap(NULL, (size_t)n, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
  if (map == MAP_FAILED)
    return -errno;
  *ret = map;
  *ret_n = (size_t)n;
  return 0;
}

/* The blobs stay mapped: the capture refers to them until the process ends. */
static int read_capture(struct acq_capture *ret, char reason[static 256]) {
  const void *text = NULL, *blobs = NULL;
  size_t n = 0, n_blobs = 0;
  unsigned line = 0;
  snprintf(reason, 256, "the capture cannot be read");
  int r = map_file(WIRE_FD_CAPTURE, CAPTURE_TEXT_MAX, &text, &n);
  if (r == 0 && !n) {
    snprintf(reason, 256, "the capture is empty");
    return -EPROTO;
  }
  if (r == 0)
    r = map_file(WIRE_FD_BLOBS, ACQ_BLOBS_BYTES_MAX, &blobs, &n_blobs);
  if (r < 0)
    return r;
  r = capture_parse_with(text, n, blobs, n_blobs, ret, &line);
  if (r < 0)
    snprintf(reason, 256,
             r == -EBADMSG ? "line %u of the capture names other blobs than there are"
                           : "line %u of the capture is not one",
             line);
  munmap((void *)(uintptr_t)text, n);
  return r;
}

/* From the capture as it was written, through its reader: what is decoded now is what can be decoded again later. */
static _Noreturn void decode(struct worker *w) {
  struct acq_capture capture;
  struct record_result results[WIRE_RECORDS];
  char reason[256] = "the capture cannot be decoded";
  int r = hash_open();
  if (r == 0)
    r = read_capture(&capture, reason);
  if (r == 0 && strcmp(capture.header.driver, w->driver->name)) {
    r = -EINVAL;
    snprintf(reason, sizeof reason, "the capture is another driver's");
  }
  if (r == 0)
    r = record_decode(w->driver, &capture, results, reason);
  if (r == 0) {
    snprintf(reason, sizeof reason, "the record cannot be written");
    r = write_records(results);
  }
  if (r < 0)
    fail(w, r, WIRE_STEP_DECODE, reason[0] ? reason : "the driver refuses the capture");
  struct wire_message m = {.type = WIRE_RECORD};
  for (int i = 0; i < WIRE_RECORDS; i++) {
    m.record.json_bytes[i] = (uint32_t)results[i].json_bytes;
    m.record.data_bytes[i] = (uint32_t)(results[i].data_values * sizeof(int16_t));
    m.record.preview_bytes[i] = (uint32_t)results[i].preview_bytes;
  }
  goodbye(w, &m);
}

/* ---- acquiring ---- */

static int open_node(struct worker *w, struct transport **ret, char why[static TRANSPORT_WHY_MAX]) {
  switch (w->order.bus) {
  case ACQ_SERIAL:
    return transport_serial_open(w->order.node, w->driver->match, ret, why);
  case ACQ_USB:
    return transport_usb_open(w->order.node, w->driver->match, ret, why);
  case ACQ_FILE:
    return transport_file_open(w->order.node, w->driver->limits.max_bytes, ret, why);
  default:
    return -EINVAL;
  }
}

/* Opens the node, begins the capture, shuts the sandbox. */
static void begin(struct worker *w) {
  struct capture_header header = {.bus = w->order.bus, .order = w->order.order};
  struct transport *transport;
  char why[TRANSPORT_WHY_MAX] = "the node cannot be opened";
  int r = open_node(w, &transport, why);
  if (r < 0)
    fail(w, r, WIRE_STEP_OPEN, why);
  io_init(&w->io, transport, &w->capture, WIRE_FD_CONTROL, w->driver->limits.max_bytes);
  capture_writer_init(&w->capture, WIRE_FD_CAPTURE, CAPTURE_TEXT_MAX - CAPTURE_MEND_MAX);
  w->capture.blobs = WIRE_FD_BLOBS;
  str_copy(header.driver, sizeof header.driver, w->driver->name);
  str_copy(header.version, sizeof header.version, w->driver->version);
  r = capture_write_header(&w->capture, &header);
  if (r < 0)
    fail(w, r, WIRE_STEP_OPEN, "the capture cannot be written");
  wire_send(WIRE_FD_CONTROL, &(struct wire_message){.type = WIRE_OPENED}); /* a daemon that is gone is noticed below */
  r = sandbox_enter(w->order.bus);
  if (r < 0)
    fail(w, r, WIRE_STEP_SANDBOX, "the sandbox cannot be set up");
}

/* The conversation up to the reading; 0, or what failed and where. */
static int converse(struct worker *w, enum wire_step *ret_step) {
  struct wire_message m = {.type = WIRE_IDENTITY};
  int r = talk_start(&w->io);
  *ret_step = WIRE_STEP_OPEN;
  if (r < 0)
    return r;
  *ret_step = WIRE_STEP_IDENTIFY;
  r = talk_identify(&w->io, w->driver, &m.identity);
  if (r < 0)
    return r;
  *ret_step = WIRE_STEP_ACQUIRE;
  wire_send(WIRE_FD_CONTROL, &m);
  r = talk_await(&w->io);
  return r < 0 ? r : talk_acquire(&w->io, w->driver, &w->order.order);
}

static _Noreturn void acquire(struct worker *w) {
  enum wire_step step;
  char reason[WIRE_TEXT_MAX];
  begin(w);
  int r = converse(w, &step);
  str_copy(reason, sizeof reason, w->io.reason); /* release has reasons of its own */
  int released = talk_release(&w->io, w->driver, step == WIRE_STEP_IDENTIFY ? r : 0);
  if (released < 0)
    log_errno(LOG_WARNING, released, "the instrument could not be put back at rest");
  int ended = capture_write_end(&w->capture, r == 0 ? CAPTURE_OK : r == -ECANCELED ? CAPTURE_CANCEL : CAPTURE_ERROR);
  transport_destroy(w->io.transport); /* the instrument is free while we decode */
  if (r < 0)
    fail(w, r, step, reason);
  if (ended < 0)
    fail(w, ended, WIRE_STEP_ACQUIRE, "the capture cannot be written");
  decode(w);
}

/* ---- the order ---- */

static void receive_order(struct wire_order *ret) {
  static const char by_hand[] = "run is for asaleed, which passes descriptors 3 to 6";
  struct wire_message m;
  control_open(by_hand);
  if (fcntl(WIRE_FD_CAPTURE, F_GETFD) < 0 || fcntl(WIRE_FD_RECORD, F_GETFD) < 0 || fcntl(WIRE_FD_BLOBS, F_GETFD) < 0)
    control_refuse(by_hand);
  control_first(&m, WIRE_ORDER, "the first message is not an order");
  *ret = m.order;
}

_Noreturn void command_run(const struct acq_driver *const *table) {
  static struct worker w;
  receive_order(&w.order);
  int r = sandbox_limit(RUN_CPU_SECONDS + w.order.order.seconds % 86400);
  if (r < 0)
    fail(&w, r, WIRE_STEP_SANDBOX, "the limits cannot be set");
  w.driver = drivers_find(table, w.order.driver);
  if (!w.driver)
    fail(&w, -EINVAL, WIRE_STEP_OPEN, "no driver has this name");
  if (!w.order.node[0]) {
    r = sandbox_enter(0);
    if (r < 0)
      fail(&w, r, WIRE_STEP_SANDBOX, "the sandbox cannot be set up");
    decode(&w);
  }
  /* A file may come without an order. */
  if (!(w.driver->modalities & ACQ_MODALITY(w.order.order.modality)) &&
      (w.order.bus != ACQ_FILE || w.order.order.modality))
    fail(&w, -EINVAL, WIRE_STEP_OPEN, "an order for what the driver does not do");
  if (w.order.order.seconds < 1 || w.order.order.seconds > w.driver->limits.max_seconds)
    fail(&w, -EINVAL, WIRE_STEP_OPEN, "an order of so many seconds is beyond the driver's limits");
  if (w.order.node[0] != '/' || !drivers_has_bus(w.driver, w.order.bus))
    fail(&w, -EINVAL, WIRE_STEP_OPEN, "the driver does not work on such a node");
  if (lseek(WIRE_FD_CAPTURE, 0, SEEK_END) != 0)
    fail(&w, -EEXIST, WIRE_STEP_OPEN, "the capture is not empty");
  acquire(&w);
}
