/* A capture: every byte that crossed the wire in one acquisition, as text, one event a line. The original of a
 * reading, and the test fixture.
 *
 *   asaleed-capture 1
 *   driver <name> <version>
 *   bus <serial|usb|file>
 *   order <seconds>[ <modality>[ <phase>|<pictures>]]
 *   start <RFC 3339>
 *   > <ms> <hex>            host to instrument
 *   < <ms> <hex>            instrument to host
 *                           (a USB control transfer: its 8 set-up bytes and what it sends with >, its answer with <)
 *   ^ <ms> <hex>            a packet of a USB interrupt endpoint
 *   @ <ms> <n> <before>[ <after>]
 *                           n more bytes of a blob; the first `before` of them came with what the driver had read and
 *                           stand in the last < line too: at its end, or with `after` (then n is `before`) before the
 *                           last `after` bytes of it, which the driver has still to read. In the events that the
 *                           reader makes of this, each byte stands once
 *   # <ms> <n> <sha256>     the blob ends, n bytes in all
 *   ~ <ms> <n> <sha256>     likewise, dropped or never ended by the driver
 *   ! <ms> timeout          a read that gave up: replayed as such
 *   ! <ms> unplugged | cancelled | stalled | damaged | end of file | no endpoint
 *                           how else a transfer ended
 *   ! <ms> empty            a USB control transfer that answered without a byte
 *   ! <ms> identity         the next notes hold what identify() returned
 *   ! <ms> make <text> | model <text> | serial <text> | firmware <text> | sensor <text>
 *   ! <ms> finish           the nurse said that she has made all there will be, and the driver learns it
 *   ! <ms> acquire          identify() is over, acquire() begins; then release likewise
 *   ! <ms> fail <text>
 *   end <ok|error|cancel|crash>
 *
 * The blobs' bytes are a file of their own beside the text, one blob after the other. Wherever captures are kept, each
 * blob is a file of its own named by its SHA-256.
 *
 * ms counts from the start, never decreases. A capture without its end line was cut (reads as CAPTURE_CUT); a last
 * line without its newline was cut in the middle and is dropped. "end crash" is added by the daemon.
 */
#ifndef ASALEED_CAPTURE_H
#define ASALEED_CAPTURE_H

#include "hash.h"
#include "wall.h"
#include <asalee/driver.h>
#include <asalee/record.h>

#define CAPTURE_LINE_BYTES 2048 /* the most bytes in one event; longer transfers make several lines */
#define CAPTURE_TEXT_MAX (64u << 20)
#define CAPTURE_MEND_MAX 256    /* bytes of text that capture_mend() may add: a writer leaves them free */
#define CAPTURE_BLOBS_MAX 1024u /* blobs of one capture */

enum capture_end { CAPTURE_CUT, CAPTURE_OK, CAPTURE_ERROR, CAPTURE_CANCEL, CAPTURE_CRASH };
const char *capture_end_name(enum capture_end end); /* "none" for CAPTURE_CUT */

struct capture_header {
  char driver[ACQ_TEXT_MAX], version[ACQ_TEXT_MAX];
  enum acq_bus bus;
  struct acq_order order; /* started_us and offset_minutes are the start line */
};

/* ---- writing: each call is one write(2) of whole lines, so that what was said before a crash is there after it -- */

struct capture_writer {
  int fd; /* borrowed */
  uint32_t last_ms;
  size_t written, max;
  int err;
  int blobs;                        /* borrowed, -1 for none: takes the blobs' bytes */
  uint64_t blob_bytes, blobs_bytes; /* of the blob that is being made; of all */
  unsigned n_blobs;                 /* with that which is being made */
  struct hash_stream blob_hash;
};

void capture_writer_init(struct capture_writer *w, int fd, size_t max_text_bytes);
int capture_write_header(struct capture_writer *w, const struct capture_header *header);
/* An event of any length; -EFBIG past the bound (sticky). */
int capture_write_event(struct capture_writer *w, enum acq_event_kind kind, uint32_t ms, const void *bytes, size_t n);
/* More bytes of the blob that is being made; a line of the text comes with capture_write_blob(), which says that all of
 * the n bytes since the last one are there, the first `before` of them from the last event (where `after` more bytes
 * follow them). -EFBIG past capture_blob_room() (not sticky). */
int capture_add_to_blob(struct capture_writer *w, const void *bytes, size_t n);
uint64_t capture_blob_room(const struct capture_writer *w); /* bytes that the blob may still grow */
int capture_write_blob(struct capture_writer *w, uint32_t ms, uint64_t n, uint64_t before, uint64_t after);
/* Ends it, if there is one: ACQ_BLOB_WHOLE or ACQ_BLOB_WASTE. */
int capture_write_blob_end(struct capture_writer *w, enum acq_event_kind kind, uint32_t ms);
/* What a text must not hold (str.h) is replaced: a blank for a control, '?' for a byte that is not UTF-8. Cut to 500
 * bytes or so. */
int capture_write_note(struct capture_writer *w, uint32_t ms, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int capture_write_identity(struct capture_writer *w, uint32_t ms, const struct acq_identity *identity);
int capture_write_end(struct capture_writer *w, enum capture_end end);

/* What a writer that was killed left behind, in its text and its blobs (-1: none): a line that was cut is dropped,
 * bytes that no line names become a blob that is waste (at most ACQ_BLOB_MAX of them: no writer leaves more), "end
 * crash" is added. A text that has its end stays as it is. */
int capture_mend(int fd, int blobs);

/* ---- reading ------------------------------------------------------------------------------------------------ */

struct capture_event {
  enum acq_event_kind kind;
  uint32_t ms;
  size_t at, n; /* into the arena */
  bool held;    /* received together with what stands before a blob, and there to be read ever since */
};

/* A blob that ended: whole or waste. */
struct capture_blob {
  size_t event, at, n; /* its ending event; its bytes in the blobs */
  char sha256[HASH_TEXT];
};

struct acq_capture {
  struct capture_header header;
  struct acq_identity identity;
  enum capture_end end;
  struct capture_event *events;
  size_t n_events;
  uint8_t *received, *other; /* the '<' bytes as one stream; what is neither that nor a blob */
  size_t n_received;
  const uint8_t *blob_bytes; /* borrowed */
  struct capture_blob *blobs;
  size_t n_blobs;
  bool raw; /* bare bytes: no header, no host side */
};

/* Parses a whole capture text with its blobs' bytes, which must outlive *ret; the caller owns *ret (capture_finish).
 * 0, -ENOMEM, -EFBIG for a text or a count of events that no acquisition makes, -EPROTO with the line number in
 * *ret_line (when not NULL), -EBADMSG for blobs that are not those that the text names. *ret is untouched on failure.
 */
int capture_parse_with(const char *text, size_t n, const void *blobs, size_t n_blobs, struct acq_capture *ret,
                       unsigned *ret_line);
/* The same of a capture without blobs. */
int capture_parse(const char *text, size_t n, struct acq_capture *ret, unsigned *ret_line);

/* Bare received bytes as a capture of one event that ends ok. */
int capture_from_raw(const void *bytes, size_t n, struct acq_capture *ret);

/* Bare bytes as the one file of a driver that takes files whole; they must outlive *ret. */
int capture_from_file(const void *bytes, size_t n, struct acq_capture *ret);

void capture_finish(struct acq_capture *capture);

#define _capture_cleanup_ __attribute__((cleanup(capture_finish)))

#endif
