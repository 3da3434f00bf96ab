#include "transport_replay.h"

#include "capture.h"
#include "str.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLAY_SHOWN 24          /* bytes of a mismatch that are worth reading */
#define REPLAY_SPARE_CALLS 10000 /* above one call a byte: what retries and time-outs may cost */
#define REPLAY_LAST_CALLS 1000   /* after the unplug that ends a runaway driver */

static bool replay_event(const struct replay *r, size_t i, struct acq_event *ret) {
  return acq_capture_event(r->capture, i, ret);
}

static bool is_note(const struct acq_event *e, const char *text) {
  return e->kind == ACQ_NOTE && e->n == strlen(text) && !memcmp(e->bytes, text, e->n);
}

static bool is_phase(const struct acq_event *e) {
  return is_note(e, "acquire") || is_note(e, "release");
}

/* Notes that stand for something the reader of a replay sees. */
static bool is_felt(const struct replay *r, const struct acq_event *e) {
  return transport_note_error(e->bytes, e->n) || is_note(e, TRANSPORT_NOTE_EMPTY) ||
         is_note(e, TRANSPORT_NOTE_FINISH) || (r->strict_phases && is_phase(e));
}

static bool is_cut(const struct replay *r) {
  return r->event > r->cut_event || (r->event == r->cut_event && r->offset >= r->cut_byte);
}

/* It means nothing to the reader of a replay. */
static bool is_passed(const struct replay *r, const struct acq_event *e) {
  return e->kind == ACQ_BLOB_WHOLE || e->kind == ACQ_BLOB_WASTE || (e->kind == ACQ_NOTE && !is_felt(r, e));
}

/* The event that comes next, notes that mean nothing here skipped; false at the end or at the cut. */
static bool replay_next(struct replay *r, struct acq_event *ret) {
  for (; !is_cut(r) && replay_event(r, r->event, ret); r->event++)
    if (!is_passed(r, ret))
      return true;
  return false;
}

/* The live transport had given what is left of this event: it was begun, or stood with what a blob took. */
static bool is_at_hand(const struct replay *r) {
  struct acq_event e;
  return !is_cut(r) && replay_event(r, r->event, &e) && e.kind == ACQ_RECEIVED &&
         (r->offset || r->capture->events[r->event].held);
}

static void replay_advance(struct replay *r, const struct acq_event *e, size_t n) {
  uint64_t us = (uint64_t)e->ms * 1000;
  r->now_us = us > r->now_us ? us : r->now_us;
  r->offset += n;
  if (r->offset >= e->n) {
    r->event++;
    r->offset = 0;
  }
}

/* Where the capture cannot answer any more. */
static int replay_fate(struct replay *r, bool reading, uint64_t deadline_us) {
  if (!is_cut(r) || r->fate == REPLAY_END)
    return transport_fail(&r->base, -ENODEV, "the capture ends here");
  if (r->fate == REPLAY_UNPLUG)
    return -ENODEV;
  if (r->fate == REPLAY_CANCEL && !r->cancelled) {
    r->cancelled = true;
    return -ECANCELED;
  }
  if (!reading)
    return 0;
  r->now_us = deadline_us > r->now_us ? deadline_us : r->now_us;
  return -ETIMEDOUT;
}

/* Ends a driver that asks for ever: first by an unplug, which it has to obey, then by ending the program. */
static bool replay_ran_away(struct replay *r) {
  if (r->patience) {
    r->patience--;
    return r->runaway;
  }
  if (r->runaway)
    abort();
  r->patience = REPLAY_LAST_CALLS;
  return r->runaway = true;
}

static int mismatch(struct replay *r, const struct acq_event *e, const char *got) {
  char hex[2 * REPLAY_SHOWN + 1];
  size_t n = e->n - r->offset < REPLAY_SHOWN ? e->n - r->offset : REPLAY_SHOWN;
  if (e->kind == ACQ_NOTE)
    snprintf(hex, sizeof hex, "%.*s", (int)n, (const char *)e->bytes);
  else
    str_hex(e->bytes + r->offset, n, hex);
  transport_fail(&r->base, -EILSEQ, "event %zu, byte %zu: expected %c %s%s, got %s", r->event + 1, r->offset,
                 (char)e->kind, hex, e->n - r->offset > n ? "..." : "", got);
  if (!r->departed[0])
    str_copy(r->departed, sizeof r->departed, r->base.why);
  return -EILSEQ;
}

static int replay_read(struct transport *t, void *bytes, size_t max, size_t want, uint64_t deadline_us) {
  struct replay *r = (struct replay *)t;
  struct acq_event e;
  (void)want;
  if (replay_ran_away(r))
    return -ENODEV;
  max = max < r->chunk ? max : r->chunk;
  if (r->n_rest) {
    size_t n = r->n_rest < max ? r->n_rest : max;
    memcpy(bytes, r->rest, n);
    r->rest += n;
    r->n_rest -= n;
    return (int)n;
  }
  if (!replay_next(r, &e))
    return replay_fate(r, true, deadline_us);
  if (e.kind == ACQ_NOTE) {
    int err = transport_note_error(e.bytes, e.n);
    if (!err)
      return mismatch(r, &e, "a read");
    replay_advance(r, &e, e.n);
    return err;
  }
  if (e.kind == ACQ_SENT || e.kind == ACQ_INTERRUPT)
    return mismatch(r, &e, "a read");
  size_t n = e.n - r->offset < max ? e.n - r->offset : max;
  if (r->event == r->cut_event && n > r->cut_byte - r->offset)
    n = r->cut_byte - r->offset;
  memcpy(bytes, e.bytes + r->offset, n);
  replay_advance(r, &e, n);
  return (int)n;
}

static int replay_interrupt(struct transport *t, void *bytes, size_t max, uint64_t deadline_us) {
  struct replay *r = (struct replay *)t;
  struct acq_event e;
  if (replay_ran_away(r))
    return -ENODEV;
  if (!replay_next(r, &e))
    return replay_fate(r, true, deadline_us);
  int err = e.kind == ACQ_NOTE ? transport_note_error(e.bytes, e.n) : 0;
  if (!err && (e.kind != ACQ_INTERRUPT || r->offset || e.n > max))
    return mismatch(r, &e, "a wait for an interrupt");
  size_t n = e.n;
  if (!err && r->event == r->cut_event && n > r->cut_byte)
    n = r->cut_byte; /* a short packet */
  if (!err)
    memcpy(bytes, e.bytes, n);
  replay_advance(r, &e, n);
  return err ? err : (int)n;
}

/* Bytes that one read of the live transport took together stay readable while the host writes. */
static void replay_set_aside(struct replay *r) {
  struct acq_event e;
  if (!is_at_hand(r) || !replay_event(r, r->event, &e))
    return;
  r->rest = e.bytes + r->offset;
  r->n_rest = e.n - r->offset;
  if (r->event == r->cut_event)
    r->n_rest = r->cut_byte - r->offset;
  r->event++;
  r->offset = 0;
}

static bool replay_finishing(struct transport *t) {
  struct replay *r = (struct replay *)t;
  struct acq_event e;
  size_t i = r->event + is_at_hand(r);
  while (replay_event(r, i, &e) && is_passed(r, &e))
    i++;
  if ((r->offset && !is_at_hand(r)) || !replay_event(r, i, &e) || !is_note(&e, TRANSPORT_NOTE_FINISH))
    return false;
  replay_set_aside(r);
  bool yes = replay_next(r, &e); /* unless the cut comes before */
  if (yes)
    replay_advance(r, &e, e.n);
  return yes;
}

static int replay_write(struct transport *t, const void *bytes, size_t n, uint64_t deadline_us) {
  struct replay *r = (struct replay *)t;
  struct acq_event e;
  char got[2 * REPLAY_SHOWN + 24];
  if (replay_ran_away(r))
    return -ENODEV;
  replay_set_aside(r);
  if (!replay_next(r, &e)) {
    int err = replay_fate(r, false, deadline_us);
    return err < 0 ? err : (int)n;
  }
  int err = e.kind == ACQ_NOTE ? transport_note_error(e.bytes, e.n) : 0;
  if (err) {
    replay_advance(r, &e, e.n);
    return err;
  }
  size_t part = n < e.n - r->offset ? n : e.n - r->offset, same = 0;
  while (e.kind == ACQ_SENT && same < part && e.bytes[r->offset + same] == ((const uint8_t *)bytes)[same])
    same++;
  if (e.kind == ACQ_SENT && same == part) {
    replay_advance(r, &e, part);
    return (int)part;
  }
  if (e.kind == ACQ_SENT)
    r->offset += same;
  size_t left = n - same, shown = left < REPLAY_SHOWN ? left : REPLAY_SHOWN;
  int at = snprintf(got, sizeof got, "> ");
  str_hex((const uint8_t *)bytes + same, shown, got + at);
  return mismatch(r, &e, got);
}

static int replay_control(struct transport *t, const struct transport_setup *setup, void *bytes, uint64_t deadline_us) {
  struct replay *r = (struct replay *)t;
  uint8_t head[TRANSPORT_SETUP_BYTES];
  bool in = setup->request_type & 0x80;
  struct acq_event e;
  transport_setup_bytes(setup, head);
  for (size_t part = 0; part < 2; part++) {
    const uint8_t *p = part ? bytes : head;
    size_t n = part ? (in ? 0 : setup->length) : sizeof head;
    while (n) {
      int sent = replay_write(t, p, n, deadline_us);
      if (sent < 0)
        return sent;
      p += sent;
      n -= (size_t)sent;
    }
  }
  bool more = replay_next(r, &e);
  if (more && e.kind == ACQ_NOTE) {
    int err = transport_note_error(e.bytes, e.n);
    if (err || (in && is_note(&e, TRANSPORT_NOTE_EMPTY))) {
      replay_advance(r, &e, e.n);
      return err;
    }
  }
  if (!more && is_cut(r) && r->fate != REPLAY_END)
    return replay_fate(r, true, deadline_us);
  if (!in)
    return setup->length;
  /* The answer is one transfer: its lines follow each other. */
  size_t got = 0;
  while (got < setup->length && replay_next(r, &e) && e.kind == ACQ_RECEIVED) {
    size_t n = e.n < setup->length - got ? e.n : setup->length - got;
    memcpy((uint8_t *)bytes + got, e.bytes, n);
    got += n;
    replay_advance(r, &e, e.n);
    if (e.n < CAPTURE_LINE_BYTES)
      break;
  }
  return (int)got;
}

/* A driver that looks at the clock sees the time of what came last; when it is the host's turn, that of what the host
 * did next, as it looked at the clock before it did that. */
static uint64_t replay_now_us(struct transport *t) {
  struct replay *r = (struct replay *)t;
  struct acq_event e;
  for (size_t i = r->event; !r->offset && i < r->cut_event && replay_event(r, i, &e); i++) {
    uint64_t us = (uint64_t)e.ms * 1000;
    if (e.kind == ACQ_RECEIVED || e.kind == ACQ_INTERRUPT || e.kind == ACQ_BLOB ||
        (e.kind == ACQ_NOTE && transport_note_error(e.bytes, e.n)))
      break;
    if (e.kind == ACQ_SENT || is_phase(&e))
      return us > r->now_us ? us : r->now_us;
  }
  return r->now_us;
}

static int replay_phase(struct transport *t, const char *name) {
  struct replay *r = (struct replay *)t;
  struct acq_event e;
  if (!r->strict_phases)
    return 0;
  replay_set_aside(r);
  if (!replay_next(r, &e)) /* the cut or the end comes with the first byte of the new phase */
    return 0;
  int err = e.kind == ACQ_NOTE ? transport_note_error(e.bytes, e.n) : 0;
  if (err) {
    replay_advance(r, &e, e.n);
    return err;
  }
  if (!is_note(&e, name)) {
    char got[64];
    snprintf(got, sizeof got, "! %s", name);
    return mismatch(r, &e, got);
  }
  replay_advance(r, &e, e.n);
  return 0;
}

static void replay_destroy(struct transport *t) {
  (void)t; /* the caller's */
}

static const struct transport_ops replay_ops = {
    .read = replay_read,
    .write = replay_write,
    .control = replay_control,
    .interrupt_packet = replay_interrupt,
    .finishing = replay_finishing,
    .now_us = replay_now_us,
    .phase = replay_phase,
    .destroy = replay_destroy,
};

void replay_init(struct replay *r, const struct acq_capture *capture) {
  struct acq_event e;
  size_t bytes = 0;
  *r = (struct replay){.capture = capture, .cut_event = SIZE_MAX, .cut_byte = SIZE_MAX, .chunk = SIZE_MAX};
  transport_init(&r->base, &replay_ops);
  for (size_t i = 0; replay_event(r, i, &e); i++) {
    bytes += e.n + 1;
    r->strict_phases |= is_phase(&e);
  }
  r->patience = bytes + REPLAY_SPARE_CALLS;
}

int replay_done(struct replay *r) {
  struct acq_event e;
  replay_set_aside(r);
  return replay_next(r, &e) ? mismatch(r, &e, "the end of the conversation") : 0;
}
