#include "io.h"

#include "log.h"
#include "picture_judge.h"
#include <asalee/record.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void io_init(struct acq_io *io, struct transport *transport, struct capture_writer *capture, int control,
             uint32_t max_bytes) {
  *io = (struct acq_io){
      .transport = transport,
      .capture = capture,
      .control = control,
      .max_bytes = max_bytes,
      .opened_us = transport->ops->now_us ? 0 : transport_now_us(transport),
      .deadline_us = UINT64_MAX,
  };
  transport->interrupt = control;
}

uint64_t acq_elapsed_ms(struct acq_io *io) {
  return (transport_now_us(io->transport) - io->opened_us) / 1000;
}

static uint32_t io_ms(struct acq_io *io) {
  uint64_t ms = acq_elapsed_ms(io);
  return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

void io_note(struct acq_io *io, const char *text) {
  if (io->capture)
    capture_write_note(io->capture, io_ms(io), "%s", text);
}

int acq_fail(struct acq_io *io, int err, const char *format, ...) {
  if (!io->reason[0]) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(io->reason, sizeof io->reason, format, ap);
    va_end(ap);
  }
  return err;
}

/* A reason that holds until then. */
static int io_pass(struct acq_io *io, int err, const char *why) {
  io->passing |= !io->reason[0];
  return acq_fail(io, err, "%s", why);
}

/* Bytes move: a fault that the driver survived is not what it fails of later. */
static void io_went_on(struct acq_io *io) {
  if (io->passing)
    io->reason[0] = 0;
  io->passing = false;
}

/* ---- what stops a conversation ---- */

/* One message, if there is one: 1 when it is the expected one, 0 when there was none, -ECANCELED. */
static int io_hear(struct acq_io *io, enum wire_type expected) {
  struct wire_message message;
  if (io->cancelled)
    return -ECANCELED;
  int r = io->control < 0 ? -EAGAIN : wire_receive(io->control, &message);
  if (r == -EAGAIN)
    return 0;
  if (r == 0 && message.type == expected)
    return 1;
  if (r == 0 && message.type == WIRE_FINISH) {
    io->finish = true;
    return 0;
  }
  io->cancelled = true;
  io->peer_gone |= r == -ENODATA;
  io->transport->interrupt = -1;
  io_note(io, transport_note(-ECANCELED));
  if (r == 0 && message.type == WIRE_CANCEL)
    return acq_fail(io, -ECANCELED, "cancelled");
  return acq_fail(io, -ECANCELED, r == -ENODATA ? "the daemon is gone" : "the daemon said something out of turn");
}

int io_listen(struct acq_io *io) {
  return io_hear(io, 0);
}

int io_await(struct acq_io *io, enum wire_type expected) {
  struct pollfd fd = {.fd = io->control, .events = POLLIN};
  int r;
  while ((r = io_hear(io, expected)) == 0)
    poll(&fd, 1, -1);
  return r > 0 ? 0 : r;
}

/* An error of the transport, as the driver gets it. */
static int io_fault(struct acq_io *io, int err) {
  if (err == -EINTR) {
    err = io_listen(io);
    return err < 0 ? err : -EINTR; /* somebody else read the message: there was nothing to stop for */
  }
  if (transport_note(err))
    io_note(io, transport_note(err));
  if (err == -ENODEV)
    io->unplugged = true;
  if (err == -ECANCELED)
    io->cancelled = true;
  return io->transport->why[0] ? io_pass(io, err, io->transport->why) : err;
}

static int io_check(struct acq_io *io) {
  if (io->unplugged)
    return -ENODEV;
  if (io->cancelled)
    return -ECANCELED;
  if (io->capture && io->capture->err && !io->releasing)
    return acq_fail(io, io->capture->err, "the capture cannot be written");
  return 0;
}

static int io_record(struct acq_io *io, enum acq_event_kind kind, const void *bytes, size_t n) {
  io_went_on(io);
  int r = io->capture && n ? capture_write_event(io->capture, kind, io_ms(io), bytes, n) : 0;
  return r < 0 && !io->releasing ? acq_fail(io, r, "the capture cannot be written") : 0;
}

static uint64_t io_deadline(struct acq_io *io, unsigned ms) {
  uint64_t own = transport_now_us(io->transport) + (uint64_t)ms * 1000;
  return own < io->deadline_us ? own : io->deadline_us;
}

int io_begin(struct acq_io *io, const char *phase, uint64_t ms) {
  io->reason[0] = 0;
  io->passing = false;
  int r = phase ? transport_phase(io->transport, phase) : 0;
  if (r < 0)
    return io_fault(io, r);
  if (phase)
    io_note(io, phase);
  io->deadline_us = transport_now_us(io->transport) + ms * 1000;
  return io_check(io);
}

void io_release(struct acq_io *io) {
  io->releasing = true;
  io->cancelled = false;
  io->transport->interrupt = -1;
}

/* ---- bytes ---- */

/* Bytes that may still be received. */
static uint64_t io_room(const struct acq_io *io) {
  return io->received < io->max_bytes ? io->max_bytes - io->received : 0;
}

static int io_too_much(struct acq_io *io) {
  return acq_fail(io, -EFBIG, "more than %u bytes received", io->max_bytes);
}

/* Fills the empty buffer with what comes. */
static int io_fill(struct acq_io *io, size_t want, uint64_t deadline_us) {
  int r = io_check(io);
  if (r < 0)
    return r;
  io_flush(io);
  const uint64_t room = io_room(io);
  if (!room)
    return io_too_much(io);
  size_t max = room < sizeof io->buffer ? (size_t)room : sizeof io->buffer;
  do {
    r = transport_read(io->transport, io->buffer, max, want < max ? want : max, deadline_us);
    if (r < 0)
      r = io_fault(io, r);
  } while (r == -EINTR);
  if (r < 0)
    return r;
  io->at = 0;
  io->n = (size_t)r;
  io->overlaid = false;
  io->received += io->n;
  r = io_record(io, ACQ_RECEIVED, io->buffer, io->n);
  if (r < 0)
    io->n = 0; /* what is not recorded is not read */
  return r;
}

static size_t io_take(struct acq_io *io, void *bytes, size_t n) {
  n = n < io->n - io->at ? n : io->n - io->at;
  memcpy(bytes, io->buffer + io->at, n);
  io->at += n;
  return n;
}

/* Makes sure that a byte is there. A cancel or an unplug also stops who still has bytes to read. */
static int io_need(struct acq_io *io, size_t want, uint64_t deadline_us) {
  return io->at < io->n ? io_check(io) : io_fill(io, want, deadline_us);
}

int acq_read(struct acq_io *io, void *bytes, size_t n, unsigned ms) {
  uint64_t deadline = io_deadline(io, ms);
  for (size_t got = 0; got < n;) {
    int r = io_need(io, n - got, deadline);
    if (r < 0)
      return r;
    got += io_take(io, (uint8_t *)bytes + got, n - got);
  }
  return 0;
}

int acq_read_some(struct acq_io *io, void *bytes, size_t max, unsigned ms) {
  if (!max)
    return acq_fail(io, -EINVAL, "a read of no bytes");
  int r = io_need(io, 1, io_deadline(io, ms));
  return r < 0 ? r : (int)io_take(io, bytes, max < INT32_MAX ? max : INT32_MAX);
}

int acq_read_until(struct acq_io *io, uint8_t last, void *bytes, size_t max, unsigned ms) {
  uint64_t deadline = io_deadline(io, ms);
  for (size_t got = 0; got < max;) {
    int r = io_need(io, 1, deadline);
    if (r < 0)
      return r;
    size_t n = io->n - io->at < max - got ? io->n - io->at : max - got;
    const uint8_t *found = memchr(io->buffer + io->at, last, n);
    if (found)
      n = (size_t)(found - (io->buffer + io->at)) + 1;
    got += io_take(io, (uint8_t *)bytes + got, n);
    if (found)
      return (int)got;
  }
  return acq_fail(io, -EPROTO, "no byte %02x among %zu", last, max);
}

int acq_write(struct acq_io *io, const void *bytes, size_t n, unsigned ms) {
  uint64_t deadline = io_deadline(io, ms);
  for (size_t sent = 0; sent < n;) {
    int r = io_check(io);
    if (r < 0)
      return r;
    const uint8_t *at = (const uint8_t *)bytes + sent;
    r = transport_write(io->transport, at, n - sent, deadline);
    if (r < 0)
      r = io_fault(io, r);
    if (r == -EINTR)
      continue;
    if (r < 0)
      return r;
    sent += (size_t)r;
    r = io_record(io, ACQ_SENT, at, (size_t)r);
    if (r < 0)
      return r;
  }
  return 0;
}

int acq_usb_interrupt(struct acq_io *io, void *bytes, size_t max, unsigned ms) {
  uint64_t deadline = io_deadline(io, ms);
  int r;
  if (!io->transport->ops->interrupt_packet)
    return io_pass(io, -EOPNOTSUPP, "no interrupt endpoint here");
  if (!max)
    return acq_fail(io, -EINVAL, "a read of no bytes");
  if (max > io_room(io)) /* a packet cannot be taken in part */
    return io_too_much(io);
  do {
    r = io_check(io);
    if (r < 0)
      return r;
    io->transport->why[0] = 0;
    r = io->transport->ops->interrupt_packet(io->transport, bytes, max < IO_BUFFER ? max : IO_BUFFER, deadline);
    if (r < 0)
      r = io_fault(io, r);
  } while (r == -EINTR);
  if (r < 0)
    return r;
  io->received += (unsigned)r;
  int recorded = io_record(io, ACQ_INTERRUPT, bytes, (size_t)r);
  return recorded < 0 ? recorded : r;
}

bool acq_finishing(struct acq_io *io) {
  if (io->finishing)
    return true;
  if (io->transport->ops->finishing)
    io->finish |= io->transport->ops->finishing(io->transport);
  else
    io_listen(io); /* a cancel is told by the next read */
  if (io->finish)
    io_note(io, TRANSPORT_NOTE_FINISH);
  return io->finishing = io->finish;
}

/* ---- blobs ---- */

/* One acq_blob() under way. */
struct pouring {
  struct acq_io *io;
  uint64_t n, got;
  uint32_t done, share; /* of the progress */
};

static int io_take_part(void *arg, const void *bytes, size_t n) {
  struct pouring *p = arg;
  struct acq_io *io = p->io;
  io_went_on(io);
  int r = io->capture ? capture_add_to_blob(io->capture, bytes, n) : 0;
  if (r < 0)
    return acq_fail(io, r, "the blob cannot be written");
  p->got += n;
  if (io->progress.total)
    acq_progress(io, p->done + (uint32_t)(p->share * p->got / p->n), io->progress.total);
  return 0;
}

/* Where the transport cannot pour: reading. */
static int io_pour_by_reading(struct acq_io *io, uint64_t n, struct pouring *p, uint64_t idle_us) {
  while (n) {
    uint64_t deadline = transport_now_us(io->transport) + idle_us;
    size_t want = n < sizeof io->buffer ? (size_t)n : sizeof io->buffer;
    int r =
        transport_read(io->transport, io->buffer, want, want, deadline < io->deadline_us ? deadline : io->deadline_us);
    if (r < 0)
      return r;
    n -= (unsigned)r;
    r = io_take_part(p, io->buffer, (size_t)r);
    if (r < 0)
      return r;
  }
  return 0;
}

/* The line of what came since the last one; `held` of it came with what was read before. */
static int io_say_blob(struct acq_io *io, const struct pouring *p, uint64_t *said, size_t held) {
  uint64_t n = p->got - *said;
  int r = io->capture && n ? capture_write_blob(io->capture, io_ms(io), n, held, held ? io->n - io->at : 0) : 0;
  *said = p->got;
  return r < 0 ? acq_fail(io, r, "the capture cannot be written") : 0;
}

/* What is held already begins the blob. Its line comes at once: should nothing follow, no byte stands twice. */
static int io_take_held(struct acq_io *io, struct pouring *p, uint64_t *said) {
  const size_t n = p->n < io->n - io->at ? (size_t)p->n : io->n - io->at;
  if (!n)
    return 0;
  if (io->overlaid)
    return acq_fail(io, -EINVAL, "a control transfer between what was read and the blob that goes on from it");
  int r = io_take_part(p, io->buffer + io->at, n);
  if (r < 0)
    return r;
  io->at += n;
  return io_say_blob(io, p, said, n);
}

int acq_blob(struct acq_io *io, uint64_t n, uint32_t share, unsigned ms) {
  struct pouring p = {.io = io, .n = n, .done = io->progress.done, .share = share};
  const uint64_t idle_us = (uint64_t)ms * 1000;
  uint64_t said = 0;
  int r = io_check(io);
  if (r < 0)
    return r;
  if (n > io_room(io) + (io->n - io->at))
    return io_too_much(io);
  if (io->capture && n > capture_blob_room(io->capture))
    return acq_fail(io, -EFBIG, "more than blobs may hold");
  r = io_take_held(io, &p, &said);
  while (r == 0 && p.got < n) {
    uint64_t had = p.got;
    r = io->transport->ops->pour ? transport_pour(io->transport, n - had, io_take_part, &p, idle_us, io->deadline_us)
                                 : io_pour_by_reading(io, n - had, &p, idle_us);
    io->received += p.got - had;
    int written = io_say_blob(io, &p, &said, 0); /* what came stands before what stopped it */
    if (r < 0)
      r = io_fault(io, r);
    if (r == 0 || r == -EINTR)
      r = written;
  }
  return r;
}

static int io_end_blob(struct acq_io *io, enum acq_event_kind kind) {
  int r = io_check(io);
  if (r == 0 && io->capture)
    r = capture_write_blob_end(io->capture, kind, io_ms(io));
  return r < 0 ? acq_fail(io, r, "the capture cannot be written") : 0;
}

int acq_blob_end(struct acq_io *io) {
  return io_end_blob(io, ACQ_BLOB_WHOLE);
}

int acq_blob_drop(struct acq_io *io) {
  return io_end_blob(io, ACQ_BLOB_WASTE);
}

/* The request goes into the capture as its eight set-up bytes and its data; the answer of an IN request follows. */
int acq_usb_control(struct acq_io *io, uint8_t request_type, uint8_t request, uint16_t value, uint16_t index,
                    void *bytes, uint16_t n, unsigned ms) {
  const struct transport_setup setup = {request_type, request, value, index, n};
  uint64_t deadline = io_deadline(io, ms);
  uint8_t sent[TRANSPORT_SETUP_BYTES + IO_CONTROL_MAX];
  bool in = request_type & 0x80;
  int r = io_check(io);
  if (r < 0)
    return r;
  if (n > IO_CONTROL_MAX)
    return acq_fail(io, -EMSGSIZE, "a control transfer of %u bytes", n);
  if (in && n > io_room(io))
    return io_too_much(io);
  do {
    r = transport_control(io->transport, &setup, bytes, deadline);
    if (r == -EOPNOTSUPP)
      return acq_fail(io, r, "no control transfers here");
    if (r == -EINTR) {
      int said = io_listen(io);
      if (said < 0)
        return said;
    }
  } while (r == -EINTR);
  transport_setup_bytes(&setup, sent);
  size_t n_sent = TRANSPORT_SETUP_BYTES;
  if (!in && n) {
    memcpy(sent + n_sent, bytes, n);
    n_sent += n;
  }
  int recorded = io_record(io, ACQ_SENT, sent, n_sent);
  if (r < 0)
    return io_fault(io, r);
  if (in && r > 0) {
    io->overlaid = true;
    io->received += (unsigned)r;
    if (recorded == 0)
      recorded = io_record(io, ACQ_RECEIVED, bytes, (size_t)r);
  } else if (in && n) {
    io_note(io, TRANSPORT_NOTE_EMPTY);
  }
  return recorded < 0 ? recorded : r;
}

/* ---- messages ---- */

/* True when the message was said, or never can be. */
static bool io_say(struct acq_io *io, const struct wire_message *message) {
  if (io->control < 0 || io->peer_gone)
    return true;
  return wire_send(io->control, message) != -EAGAIN;
}

void io_flush(struct acq_io *io) {
  if (io->progress_due)
    io->progress_due = !io_say(io, &(struct wire_message){.type = WIRE_PROGRESS, .progress = io->progress});
  if (io->contacts_due)
    io->contacts_due = !io_say(io, &(struct wire_message){.type = WIRE_CONTACTS, .contacts = io->contacts});
}

void acq_progress(struct acq_io *io, uint32_t done, uint32_t total) {
  if (io->progress.done == done && io->progress.total == total)
    return;
  io->progress = (struct wire_progress){done, total};
  io->progress_due = true;
  io_flush(io);
}

void acq_contacts(struct acq_io *io, uint32_t known, uint32_t on) {
  if (io->contacts_said && io->contacts.known == known && io->contacts.on == on)
    return;
  io->contacts = (struct wire_contacts){known, on};
  io->contacts_said = io->contacts_due = true;
  io_flush(io);
}

void acq_preview_picture(struct acq_io *io, unsigned number, const void *jpeg, size_t n) {
  struct wire_message m = {.type = WIRE_PICTURE, .picture.number = number};
  size_t made;
  if (io->control < 0 || n > ACQ_THUMBNAIL_MAX ||
      picture_thumbnail(jpeg, n, m.picture.jpeg, sizeof m.picture.jpeg, &made, &m.picture.width, &m.picture.height) < 0)
    return;
  m.picture.n = (uint32_t)made;
  io_say(io, &m);
}

void acq_preview(struct acq_io *io, const struct acq_preview *preview) {
  struct wire_message m = {.type = WIRE_PREVIEW};
  struct wire_preview *p = &m.preview;
  bool valid = preview->channels >= 1 && preview->channels <= ACQ_PREVIEW_CHANNELS && preview->samples >= 1 &&
               preview->samples <= ACQ_PREVIEW_SAMPLES && preview->rate_hz;
  p->channels = preview->channels;
  p->samples = preview->samples;
  p->first = preview->first;
  p->rate_hz = preview->rate_hz;
  p->scale = preview->scale;
  for (unsigned c = 0; valid && c < preview->channels; c++) {
    const struct nomenclature *row = nomenclature_find(preview->code[c]);
    valid = row && nomenclature_index(row) <= UINT8_MAX;
    if (!valid)
      break;
    p->code[c] = (uint8_t)nomenclature_index(row);
    memcpy(p->values[c], preview->values[c], preview->samples * sizeof p->values[c][0]);
  }
  if (valid)
    io_say(io, &m); /* a full socket loses it: the next one comes soon */
  else if (!io->preview_refused)
    log_warning("the driver's preview breaks the limits of a preview: not shown");
  io->preview_refused |= !valid;
}
