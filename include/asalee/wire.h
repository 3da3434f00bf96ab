/* What the daemon and a worker say to each other: one message per packet on a SOCK_SEQPACKET pair, each at most
 * WIRE_MAX bytes, little endian. Bulk never goes this way: the capture and the record are memory files (memfd), the
 * blobs an unlinked file on the store's disk, which the daemon made and passed on, so that what a worker wrote survives
 * the worker.
 *
 *   daemon -> worker   ORDER (once, first), START (after IDENTITY), CANCEL (any time),
 *                      FINISH (the nurse has made all there will be)
 *   worker -> daemon   OPENED, IDENTITY, then PROGRESS, PREVIEW, PICTURE, CONTACTS as they come,
 *                      and last one of RECORD, FAIL
 *
 * Both sides treat the other's bytes as hostile: wire_read() refuses what does not fit exactly.
 */
#ifndef ASALEE_WIRE_H
#define ASALEE_WIRE_H

#include <asalee/driver.h>

#define WIRE_MAX 8192
#define WIRE_TEXT_MAX 256

/* Descriptors a worker is born with. */
enum { WIRE_FD_CONTROL = 3, WIRE_FD_CAPTURE, WIRE_FD_RECORD, WIRE_FD_BLOBS };

enum wire_type {
  WIRE_ORDER = 1,
  WIRE_START,
  WIRE_CANCEL,
  WIRE_FINISH,
  WIRE_OPENED,
  WIRE_IDENTITY,
  WIRE_PROGRESS,
  WIRE_PREVIEW,
  WIRE_PICTURE,
  WIRE_CONTACTS,
  WIRE_RECORD,
  WIRE_FAIL,
};

/* Where in its life a worker failed. */
enum wire_step {
  WIRE_STEP_OPEN = 1,
  WIRE_STEP_SANDBOX,
  WIRE_STEP_IDENTIFY,
  WIRE_STEP_ACQUIRE,
  WIRE_STEP_RELEASE,
  WIRE_STEP_DECODE,
};

struct wire_order {
  char driver[ACQ_TEXT_MAX];
  char node[WIRE_TEXT_MAX]; /* device node or file, absolute; "" to decode the capture already in its memfd */
  enum acq_bus bus;         /* 0 with node "" */
  struct acq_order order;
};

struct wire_progress {
  uint32_t done, total;
};

struct wire_preview {
  unsigned channels, samples;
  uint32_t first, rate_hz;
  struct dec scale;
  uint8_t code[ACQ_PREVIEW_CHANNELS]; /* row of nomenclature.def */
  int16_t values[ACQ_PREVIEW_CHANNELS][ACQ_PREVIEW_SAMPLES];
};

/* A picture in small, made anew from the camera's thumbnail: a JPEG without anything but its pixels. */
#define WIRE_PICTURE_MAX 6000
struct wire_picture {
  uint32_t number, width, height; /* number from 1 */
  uint32_t n;                     /* 1..WIRE_PICTURE_MAX */
  uint8_t jpeg[WIRE_PICTURE_MAX];
};

struct wire_contacts {
  uint32_t known, on;
};

/* What one acquisition makes at most: the record of what was made while it ran, and that of stray trials. */
enum { WIRE_OWN, WIRE_STRAY, WIRE_RECORDS };

/* The record memfd holds both records' samples (int16, little endian), then both records' previews of pictures in the
 * order that the records name them, then both records' JSON. A record that is not there has no JSON; one of them is. */
struct wire_record {
  uint32_t json_bytes[WIRE_RECORDS];
  uint32_t data_bytes[WIRE_RECORDS];
  uint32_t preview_bytes[WIRE_RECORDS];
};

struct wire_fail {
  int32_t err; /* negative errno, as driver.h lists */
  enum wire_step step;
  char text[WIRE_TEXT_MAX]; /* English, for the log: no device bytes, no patient */
};

struct wire_message {
  enum wire_type type;
  union {
    struct wire_order order;
    struct acq_identity identity;
    struct wire_progress progress;
    struct wire_preview preview;
    struct wire_picture picture;
    struct wire_contacts contacts;
    struct wire_record record;
    struct wire_fail fail;
  };
};

/* Encodes into bytes and returns the length; -EMSGSIZE, -EINVAL for a message that breaks its own limits. */
int wire_write(const struct wire_message *message, uint8_t bytes[static WIRE_MAX]);

/* Decodes one whole packet; -EPROTO for anything else. Texts come back NUL-terminated, clean UTF-8; counts in range. */
int wire_read(const void *bytes, size_t n, struct wire_message *ret);

/* One packet over the socket. wire_send() returns 0, -EPIPE when the peer is gone, -EAGAIN when a non-blocking
 * socket is full; wire_receive() 0, -ENODATA at the peer's end, -EAGAIN, -EPROTO. */
int wire_send(int fd, const struct wire_message *message);
int wire_receive(int fd, struct wire_message *ret);

#endif
