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
 * A collector (asaleed-driver collect) copies the files of a tree (a stick, a folder) for the daemon and looks at none:
 *   daemon -> collector   COLLECT (once, first), KEPT (one a BATCH: its files have their places)
 *   collector -> daemon   FILE for each new file, BATCH when those since the last one would survive a power cut,
 *                         PROGRESS (files), PASS when the whole tree was gone through, FAIL last where it cannot go on
 * It writes a file as the number of its FILE into the folder that WIRE_FD_INCOMING is, goes at most WIRE_BATCHES ahead
 * of KEPT, and ends after PASS unless it watches. Before it ends it waits for the KEPTs it still has to come: a socket
 * that is closed with packets in it takes those of the other direction away. After CANCEL, and when the daemon is gone,
 * it ends at once and says nothing more. A FILE without a BATCH after it never was.
 *
 * Both sides treat the other's bytes as hostile: wire_read() refuses what does not fit exactly.
 */
#ifndef ASALEE_WIRE_H
#define ASALEE_WIRE_H

#include <asalee/driver.h>

#define WIRE_MAX 8192
#define WIRE_TEXT_MAX 256
#define WIRE_NODE_MAX 640

/* Descriptors a worker is born with. */
enum { WIRE_FD_CONTROL = 3, WIRE_FD_CAPTURE, WIRE_FD_RECORD, WIRE_FD_BLOBS };

enum { WIRE_FD_INCOMING = WIRE_FD_CAPTURE }; /* a collector's second and last */

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
  WIRE_COLLECT,
  WIRE_KEPT,
  WIRE_FILE,
  WIRE_BATCH,
  WIRE_PASS,
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
  char node[WIRE_NODE_MAX]; /* device node or file, absolute; "" to decode the capture already in its memfd */
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

#define WIRE_PATTERNS_MAX 32
#define WIRE_BATCHES 2
#define WIRE_SETTLE_MAX 3600000u /* milliseconds */
#define WIRE_POLL_MAX 86400u     /* seconds */
#define WIRE_BATCH_FILES 1000
#define WIRE_BATCH_BYTES (128u << 20)

struct wire_collect {
  char path[WIRE_TEXT_MAX]; /* of the tree, absolute */
  bool watch;               /* goes on: after each change that the kernel tells of, and every poll_s seconds */
  uint32_t settle_ms;       /* a file is taken when it was the same that long; 0: it is what it is (a stick) */
  uint32_t poll_s;          /* 1..86400 where it watches, else of no account */
  uint32_t max_bytes;       /* of one file, 1..ACQ_BLOB_MAX */
  unsigned n_patterns;      /* 1..WIRE_PATTERNS_MAX */
  /* Of names, not of paths: no "/"; upper and lower case alike; the first that fits counts. */
  char pattern[WIRE_PATTERNS_MAX][ACQ_TEXT_MAX];
};

struct wire_file {
  uint32_t number;     /* its name in the incoming folder, decimal: one that nobody else had, growing from anywhere */
  uint32_t pattern;    /* index of the pattern that fitted */
  uint32_t bytes;      /* 1..max_bytes */
  int64_t modified_us; /* as the file system says, microseconds since 1970 UTC; 0 when that is no date of wall.h's */
  uint8_t sha256[32];  /* of what was copied */
  char name[WIRE_TEXT_MAX]; /* path within the tree, never ""; what is no clean UTF-8 is replaced, its end is kept when
                             * cut. It may name a patient. */
};

struct wire_batch {
  uint32_t files; /* FILEs since the last batch, 1..WIRE_BATCH_FILES */
};

/* What one pass met. A file that a pass before this one took, unchanged since, counts as known; one that was removed
 * before it could be opened does not count. Hidden names (".x") and the folders that systems keep for themselves are
 * not looked at. */
struct wire_pass {
  uint32_t matching; /* the sum of what follows */
  uint32_t taken, known;
  uint32_t unsettled; /* still changing: another pass will take them */
  uint32_t empty, too_large;
  uint32_t not_files;  /* links, device nodes and the like that have such a name: never opened */
  uint32_t unreadable; /* files, and folders that could not be listed */
  bool too_many;       /* more entries or deeper than a tree may be: the rest was left */
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
    struct wire_collect collect;
    struct wire_file file;
    struct wire_batch batch;
    struct wire_pass pass;
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
