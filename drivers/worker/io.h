/* The acquire side of a driver over a transport: deadlines, cancel, the byte bound, the recording of every byte, and
 * the messages to the daemon.
 *
 * What is received is recorded as it was received, one event a transport read, before the driver sees it; what is
 * sent is recorded when the transport has taken it. A read that fails consumes what it had got: those bytes are in
 * the capture, the driver does not get them again.
 */
#ifndef ASALEED_IO_H
#define ASALEED_IO_H

#include "capture.h"
#include "transport.h"
#include <asalee/wire.h>

#define IO_BUFFER CAPTURE_LINE_BYTES /* one read of the transport is one line of the capture */
#define IO_REASON_MAX WIRE_TEXT_MAX
#define IO_CONTROL_MAX 4096 /* bytes of one control transfer, as usbfs limits them */

struct acq_io {
  struct transport *transport;    /* borrowed */
  struct capture_writer *capture; /* borrowed; NULL records nothing (replay) */
  int control;                    /* borrowed, non-blocking; -1 for nobody */
  uint32_t max_bytes;
  uint64_t opened_us, deadline_us; /* the transport's clock; the deadline of the part that runs */
  uint64_t received;               /* bytes, all in all, blobs too */
  bool cancelled, unplugged;       /* from then on every call fails */
  bool peer_gone;                  /* nobody listens any more */
  bool releasing;                  /* nothing interrupts, and a full capture no longer matters */
  size_t at, n;
  uint8_t buffer[IO_BUFFER]; /* [at, n) was received and not read */
  bool overlaid;             /* since then a control transfer was answered: the last line is no longer that of these */
  char reason[IO_REASON_MAX];
  bool passing; /* the reason is a fault of the transport, which is over once bytes move again */
  struct wire_progress progress;
  struct wire_contacts contacts;
  bool progress_due, contacts_due, contacts_said, preview_refused;
  bool finish, finishing; /* the nurse has finished; the driver was told */
};

/* Time starts here: right after the transport was opened. */
void io_init(struct acq_io *io, struct transport *transport, struct capture_writer *capture, int control,
             uint32_t max_bytes);

/* A new part of the conversation, at most ms long; `phase` becomes a note unless NULL. Forgets the last reason. */
int io_begin(struct acq_io *io, const char *phase, uint64_t ms);

/* What the daemon has said since: -ECANCELED (from now on sticky) after CANCEL, anything unexpected or its end. */
int io_listen(struct acq_io *io);
/* Waits until it says `expected`: 0, or -ECANCELED likewise. */
int io_await(struct acq_io *io, enum wire_type expected);

/* The last part: the cancel is over, and nothing interrupts any more. */
void io_release(struct acq_io *io);

/* Says again the progress and the contacts that a full socket refused. Never blocks. */
void io_flush(struct acq_io *io);

void io_note(struct acq_io *io, const char *text);

#endif
