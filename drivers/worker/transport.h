/* What carries the bytes: a serial port, a USB device, a file, or a capture being played again. Drivers never see
 * this; io.c stands between.
 *
 * Opening (the transport_*_open functions) happens before the sandbox and reads nothing that the instrument chose;
 * start() and everything after it runs inside. Times are microseconds of the transport's own clock: the monotonic
 * clock, or the capture's when replaying. A transport is created by its open function and destroyed by
 * transport_destroy(), which also gives the instrument back to the kernel.
 */
#ifndef ASALEED_TRANSPORT_H
#define ASALEED_TRANSPORT_H

#include <asalee/driver.h>

#define TRANSPORT_WHY_MAX 256

struct transport;
typedef int (*transport_take)(void *arg, const void *bytes, size_t n);

/* The fields of a USB control transfer (USB 2.0, 9.3). */
struct transport_setup {
  uint8_t request_type, request;
  uint16_t value, index, length;
};
#define TRANSPORT_SETUP_BYTES 8
void transport_setup_bytes(const struct transport_setup *setup, uint8_t bytes[static TRANSPORT_SETUP_BYTES]);

/* The errors of read, write and control:
 *   -ETIMEDOUT  nothing by the deadline         -EINTR   the interrupt descriptor is readable
 *   -ENODEV     unplugged                       -EPIPE   the endpoint or the request stalled
 *   -EPROTO     a damaged transfer              -ENODATA the file ends here
 * A replayed capture also gives -ECANCELED where it was cancelled and -EILSEQ where the driver departs from it. */
struct transport_ops {
  /* First contact, inside the sandbox. NULL when there is nothing to do. */
  int (*start)(struct transport *t);
  /* 1..max bytes as soon as there are some. The caller cannot go on without `want` (1..max) of them: a transport that
   * has to say beforehand how much it takes, asks for that much. What has come by the deadline is returned. */
  int (*read)(struct transport *t, void *bytes, size_t max, size_t want, uint64_t deadline_us);
  /* 1..n bytes accepted. NULL where nothing can be written. */
  int (*write)(struct transport *t, const void *bytes, size_t n, uint64_t deadline_us);
  /* The next n bytes (at least 1) as they come, in parts, to `take`, which may fail; the transport receives the next
   * part meanwhile. 0 when all came; else an error above, and the parts before it were taken: -EPROTO when the
   * instrument ended its transfer early; -ETIMEDOUT when nothing came for idle_us, or at the deadline. NULL: the caller
   * reads. */
  int (*pour)(struct transport *t, uint64_t n, transport_take take, void *arg, uint64_t idle_us, uint64_t deadline_us);
  /* One packet of 1..max bytes from the interrupt endpoint. NULL where there is none. */
  int (*interrupt_packet)(struct transport *t, void *bytes, size_t max, uint64_t deadline_us);
  /* Replay: was the driver told here that the nurse has finished? NULL where the daemon tells. */
  bool (*finishing)(struct transport *t);
  /* The number of bytes moved. NULL where there are no control transfers. */
  int (*control)(struct transport *t, const struct transport_setup *setup, void *bytes, uint64_t deadline_us);
  uint64_t (*now_us)(struct transport *t); /* a clock of its own, 0 at the opening; NULL: the monotonic clock */
  /* A new part of the conversation begins ("acquire", "release"). NULL where nobody minds. */
  int (*phase)(struct transport *t, const char *name);
  void (*destroy)(struct transport *t);
};

struct transport {
  const struct transport_ops *ops;
  int interrupt;               /* borrowed; readable when the conversation should stop; -1 for none */
  char why[TRANSPORT_WHY_MAX]; /* English reason of the last error, or "": never bytes of the instrument, except in
                                  a replay, which is for developers */
};

void transport_init(struct transport *t, const struct transport_ops *ops);
int transport_start(struct transport *t);
int transport_read(struct transport *t, void *bytes, size_t max, size_t want, uint64_t deadline_us);
int transport_write(struct transport *t, const void *bytes, size_t n, uint64_t deadline_us);
int transport_pour(struct transport *t, uint64_t n, transport_take take, void *arg, uint64_t idle_us,
                   uint64_t deadline_us);
int transport_control(struct transport *t, const struct transport_setup *setup, void *bytes, uint64_t deadline_us);
uint64_t transport_now_us(struct transport *t);
int transport_phase(struct transport *t, const char *name);
void transport_destroy(struct transport *t); /* takes NULL */

/* Writes the reason into t->why and returns err. */
int transport_fail(struct transport *t, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The note that a capture holds for an error above, or NULL; and back: the error of a note's text, or 0. */
const char *transport_note(int err);
int transport_note_error(const void *text, size_t n);
#define TRANSPORT_NOTE_EMPTY "empty"   /* an IN control transfer that brought no bytes */
#define TRANSPORT_NOTE_FINISH "finish" /* acq_finishing() said yes here for the first time */

/* What is left until a deadline of the monotonic clock, at least 0; for ppoll(). */
struct timespec transport_left(uint64_t deadline_us);

/* The opening of each bus. They return 0 and a transport, or: -ENOENT no such node, -EACCES, -EBUSY held by another
 * program, -ENODEV not such a device, -EFBIG a file longer than max_bytes, -ENOMEM; with the reason in `why`. */
int transport_serial_open(const char *node, const struct acq_match *table, struct transport **ret,
                          char why[static TRANSPORT_WHY_MAX]);
int transport_usb_open(const char *node, const struct acq_match *table, struct transport **ret,
                       char why[static TRANSPORT_WHY_MAX]);
int transport_file_open(const char *path, uint32_t max_bytes, struct transport **ret,
                        char why[static TRANSPORT_WHY_MAX]);

#endif
