/* Vitalograph Lung Monitor: a hand-held spirometer that sends the numbers of each blow, over Bluetooth (a tty of
 * rfcomm) or a serial adapter. README.md says what is known and how well; frame.h has the wire.
 *
 * Waiting is counted in silences, which a replay repeats exactly; behind that stands the worker's own deadline. */
#include "frame.h"

#include <asalee/driver.h>
#include <stdio.h>
#include <string.h>

#define SECONDS_MAX 300u
#define TRIES 2u
#define WRITE_MS 500u
#define ANSWER_MS 1500u
#define RELEASE_ANSWER_MS 500u
#define TICK_MS 1000u /* a silence while a blow is waited for */
#define REPEAT_S 4u   /* silences after a refused frame, then it is not repeated */
#define QUIET_MS 1000u
#define NAKS_MAX 3u /* in one part of the conversation */
#define LATE_MAX 32u
#define HEARD_MAX 16384u /* bytes in one part of the conversation: some 200 frames */

#define CLOCKS_DIFFER_US (120 * INT64_C(1000000)) /* more is a clock that is wrong; the record's own grace */

#define FRESH_US (5 * INT64_C(1000000)) /* before the order; clocks tell whole seconds */

#define GET_TIME "GVGT"
#define SET_TIME "GVST"
#define EXIT_REMOTE "GVXR"

/* ---- talking ------------------------------------------------------------------------------------------------ */

struct link {
  struct acq_io *io;
  bool identifying;
  bool first; /* no byte was read yet */
  uint32_t heard;
  unsigned naks, blows;
  bool met;  /* a good frame came */
  bool torn; /* a damaged one came that looked like this monitor's */
  bool echo; /* our own frame came back */
  bool awaits_repeat;
  bool acked, refused, timed;    /* since the last command */
  const struct acq_order *order; /* acquire() only */
  int64_t newest_us;             /* date of the newest blow that came */
  struct vlm_reader reader;
};

/* What the monitor's clock showed when it was first asked, in identify() or acquire(), and when that was. */
static struct {
  bool told;
  int64_t us;
  uint64_t ms;
} its_clock;

enum { BLOW_BEGINS = VLM_NAK + 1 }; /* beside enum vlm_status */

static void link_init(struct link *l, struct acq_io *io) {
  memset(l, 0, sizeof *l);
  l->io = io;
  l->first = true;
  vlm_reader_init(&l->reader);
}

/* What comes next, an enum vlm_status; -ETIMEDOUT after `ms` of silence, -EMSGSIZE past HEARD_MAX. Takes single bytes
 * so that those behind it stay where they are: identify() leaves a blow to acquire(). */
static int listen(struct link *l, unsigned ms) {
  for (;;) {
    uint8_t byte;
    if (l->heard == HEARD_MAX)
      return -EMSGSIZE;
    int n = acq_read_some(l->io, &byte, 1, ms);
    if (n == -ETIMEDOUT && vlm_settle(&l->reader))
      return VLM_DAMAGED;
    if (n < 0)
      return n;
    l->heard++;
    /* Text at the very beginning is the rest of a blow whose head identify() took. */
    if (l->first && !l->identifying && byte >= 0x20 && byte <= 0x7e)
      vlm_resume(&l->reader);
    l->first = false;
    enum vlm_status status = vlm_take(&l->reader, byte);
    if (status != VLM_MORE)
      return (int)status;
    if (l->identifying && vlm_is_head(&l->reader))
      return BLOW_BEGINS;
  }
}

static int say(struct link *l, uint8_t byte) {
  return acq_write(l->io, &byte, 1, WRITE_MS);
}

/* Blows that it kept come first, and are not what the nurse waits for. Without a clock to go by every blow may be the
 * one. Its date may be the old clock's or, once the host has set it, ours. */
static bool is_fresh(const struct link *l) {
  const int64_t clock_us = l->newest_us;
  if (!l->blows || !its_clock.told)
    return l->blows;
  const int64_t since = acq_order_clock_us(l->order, 0) - FRESH_US;
  return clock_us >= since || clock_us + acq_order_clock_us(l->order, its_clock.ms) - its_clock.us >= since;
}

static int meet_frame(struct link *l) {
  const char *payload = l->reader.payload, *reason;
  struct vlm_blow blow;
  int64_t us;
  l->awaits_repeat = false;
  if (!strcmp(payload, GET_TIME)) { /* the monitor's answer holds the time */
    l->echo = true;
    return 0;
  }
  l->met = true;
  int r = say(l, VLM_ACK_BYTE);
  if (r < 0)
    return r;
  if (vlm_is_blow(payload)) {
    r = vlm_blow_read(payload, &blow, &reason);
    if (r < 0)
      return acq_fail(l->io, r, "%s", reason);
    l->blows++;
    l->newest_us = blow.clock_us > l->newest_us ? blow.clock_us : l->newest_us;
  } else if ((r = vlm_time_read(payload, &us)) != -EPROTO) {
    l->timed = true;
    if (r == 0 && !its_clock.told) {
      its_clock.told = true;
      its_clock.us = us;
      its_clock.ms = acq_elapsed_ms(l->io);
    }
  }
  return 0;
}

static int meet(struct link *l, int status) {
  switch (status) {
  case VLM_FRAME:
    return meet_frame(l);
  case VLM_DAMAGED:
    l->torn |= l->reader.framed;
    if (l->naks == NAKS_MAX)
      return -EBADMSG;
    l->naks++;
    l->awaits_repeat = true;
    return say(l, VLM_NAK_BYTE);
  case VLM_ACK:
    l->acked = true;
    return 0;
  default:
    l->refused = true;
    return 0;
  }
}

/* Sends a command until it is answered, at most `tries` times: 0, or BLOW_BEGINS, or -ETIMEDOUT when it is not. The
 * answer is the acknowledgement, for the time what follows it. A blow instead says enough: nobody asks again then. */
static int ask(struct link *l, const char *command, unsigned tries, unsigned ms) {
  uint8_t wire[VLM_WIRE_MAX];
  size_t n = vlm_encode(command, wire);
  bool wants_time = !strcmp(command, GET_TIME);
  for (unsigned i = 0; i < tries && !(i && l->blows); i++) {
    l->acked = l->refused = l->timed = false;
    int r = acq_write(l->io, wire, n, WRITE_MS);
    while (r == 0 && !(wants_time ? l->timed : l->acked) && !l->refused) {
      r = listen(l, ms);
      if (r == BLOW_BEGINS)
        return r;
      if (r > 0)
        r = meet(l, r);
    }
    if (r != -ETIMEDOUT && !(r == 0 && l->refused))
      return r;
  }
  return -ETIMEDOUT;
}

/* Gives the errors that driver.h lists to what ended a part of the conversation. */
static int failed(struct link *l, int r) {
  if (r == -EBADMSG)
    return acq_fail(l->io, r, "a frame was damaged in every repeat (%s)", l->reader.damage);
  if (r == -EMSGSIZE)
    return acq_fail(l->io, -EPROTO, "%u bytes and no end", l->heard);
  return r;
}

/* ---- identify ----------------------------------------------------------------------------------------------- */

/* Nothing can be asked that every monitor answers: one that is switched on for a blow speaks only after it, and then at
 * once. So the question for the time, to which one in remote mode answers, is there to find out whether something else
 * is on the line; silence is let be. The head of a blow is an answer too; the blow is left for acquire(). */
static int identify(struct acq_io *io, struct acq_identity *ret) {
  struct link link, *l = &link;
  link_init(l, io);
  its_clock.told = false;
  l->identifying = true;
  int r = ask(l, GET_TIME, TRIES, ANSWER_MS);
  if (r == -ETIMEDOUT && l->naks && !l->met)
    r = -EBADMSG;
  if (l->echo || r == -EMSGSIZE || (r == -EBADMSG && !l->torn))
    return acq_fail(io, -ENXIO, "%u bytes came, and no frame of this monitor", l->heard);
  if (r < 0 && r != -ETIMEDOUT)
    return failed(l, r);
  *ret = (struct acq_identity){.make = "Vitalograph", .model = "Lung Monitor"};
  return 0;
}

/* ---- acquire ------------------------------------------------------------------------------------------------ */

/* The host's time, for each try anew. */
static int tell_time(struct link *l, const struct acq_order *order) {
  int r = -ETIMEDOUT;
  for (unsigned i = 0; i < TRIES && r == -ETIMEDOUT; i++) {
    char command[VLM_PAYLOAD_MAX];
    struct acq_clock c = acq_clock_from_us(acq_order_clock_us(order, acq_elapsed_ms(l->io)));
    snprintf(command, sizeof command, SET_TIME "%02d%02d%02d%02d%02d%02d", c.year % 100, c.month, c.day, c.hour,
             c.minute, c.second);
    r = ask(l, command, 1, ANSWER_MS);
  }
  return r;
}

/* A monitor that answers is in remote mode: its clock is read, set, and it is sent back to where blows are made. */
static int set_clock(struct link *l, const struct acq_order *order) {
  int r = ask(l, GET_TIME, TRIES, ANSWER_MS);
  if (r < 0)
    return r == -ETIMEDOUT ? 0 : r;
  r = tell_time(l, order);
  if (r == 0 || r == -ETIMEDOUT)
    r = ask(l, EXIT_REMOTE, TRIES, ANSWER_MS);
  return r == -ETIMEDOUT ? 0 : r;
}

static int wait_for_blow(struct link *l, uint32_t seconds) {
  unsigned quiet = 0;
  for (uint32_t waited = 0; !is_fresh(l);) {
    int r = listen(l, TICK_MS);
    if (r == -ETIMEDOUT) {
      waited++;
      quiet = l->awaits_repeat ? quiet + 1 : 0;
      acq_progress(l->io, waited, seconds);
      if (quiet == REPEAT_S)
        return -EBADMSG;
      if (waited >= seconds && l->blows) /* old ones are readings too, though nobody's here */
        return 0;
      if (waited >= seconds)
        return acq_fail(l->io, l->met ? -ENODATA : -ETIMEDOUT, "no blow in %u s", seconds);
      continue;
    }
    if (r > 0)
      r = meet(l, r);
    if (r < 0)
      return r;
  }
  return 0;
}

/* The reading is there by now: what still comes is its repeat, or another blow that the monitor kept. */
static int hear_out(struct link *l) {
  for (unsigned i = 0; i < LATE_MAX; i++) {
    int r = listen(l, QUIET_MS);
    if (r > 0)
      r = meet(l, r);
    if (r < 0)
      return r == -ETIMEDOUT || r == -EBADMSG ? 0 : r;
  }
  return 0;
}

static int acquire(struct acq_io *io, const struct acq_order *order) {
  struct link link, *l = &link;
  link_init(l, io);
  l->order = order;
  acq_progress(io, 0, order->seconds);
  int r = set_clock(l, order);
  if (r == 0)
    r = wait_for_blow(l, order->seconds);
  if (r == 0)
    r = hear_out(l);
  return failed(l, r);
}

/* ---- release ------------------------------------------------------------------------------------------------ */

/* Out of remote mode, whether or not it was entered: who is not in it does not listen. Whatever the monitor says, the
 * reading is what it is. */
static int release(struct acq_io *io) {
  struct link link, *l = &link;
  link_init(l, io);
  int r = ask(l, EXIT_REMOTE, 1, RELEASE_ANSWER_MS);
  return r == -ENODEV || r == -ECANCELED ? r : 0;
}

/* ---- decode ------------------------------------------------------------------------------------------------- */

#define BLOWS_MAX 512u /* different ones in a capture: more than a monitor remembers */

struct heard_blow {
  uint32_t ms;
  bool after_setting; /* of the clock by the host */
  char payload[VLM_PAYLOAD_MAX + 1];
  struct vlm_blow blow;
};

struct decoding {
  struct acq_record *record;
  const struct acq_order *order;
  struct vlm_reader monitor, host;
  bool hosted;                            /* the capture has the host's side */
  bool asked, compared, set, set_pending; /* the monitor's clock: set is acknowledged, or not yet */
  bool wrong_clock;
  int64_t slow_us; /* how far it was behind */
  uint32_t set_ms; /* when the host sent its own; UINT32_MAX: never */
  unsigned naks, damaged, repeated, unknown;
  unsigned n;
  struct heard_blow blows[BLOWS_MAX];
};

static int add_blow(struct decoding *d, uint32_t ms) {
  const char *payload = d->monitor.payload, *reason;
  for (unsigned i = 0; i < d->n; i++)
    if (!strcmp(d->blows[i].payload, payload)) {
      d->repeated++;
      return 0;
    }
  if (d->n == BLOWS_MAX)
    return acq_rec_fail(d->record, -EPROTO, "more than %u blows", BLOWS_MAX);
  struct heard_blow *b = &d->blows[d->n];
  int r = vlm_blow_read(payload, &b->blow, &reason);
  if (r < 0)
    return acq_rec_fail(d->record, r, "%s", reason);
  if (strcmp(b->blow.id, d->blows[0].blow.id))
    return acq_rec_fail(d->record, -EPROTO, "blows of two monitors");
  memcpy(b->payload, payload, sizeof b->payload);
  b->ms = ms;
  b->after_setting = d->set_ms != UINT32_MAX;
  d->n++;
  return 0;
}

/* The first answer to the question for the time counts, if it came before the host set the clock. */
static int add_frame(struct decoding *d, uint32_t ms) {
  int64_t us;
  if (vlm_is_blow(d->monitor.payload))
    return add_blow(d, ms);
  int r = vlm_time_read(d->monitor.payload, &us);
  if (r == -EPROTO) {
    d->unknown++;
  } else if (d->asked && !d->compared && d->set_ms == UINT32_MAX) {
    d->compared = r == 0;
    d->slow_us = r == 0 ? acq_order_clock_us(d->order, ms) - us : 0;
    d->wrong_clock = r < 0 || d->slow_us > CLOCKS_DIFFER_US || d->slow_us < -CLOCKS_DIFFER_US;
  }
  return 0;
}

static int add_received(struct decoding *d, const struct acq_event *e) {
  for (size_t i = 0; i < e->n; i++) {
    int r = 0;
    switch (vlm_take(&d->monitor, e->bytes[i])) {
    case VLM_FRAME:
      r = add_frame(d, e->ms);
      break;
    case VLM_DAMAGED:
      d->damaged++;
      break;
    case VLM_ACK:
      d->set |= d->set_pending;
      break;
    default:
      break;
    }
    if (r < 0)
      return r;
  }
  return 0;
}

static void add_sent(struct decoding *d, const struct acq_event *e) {
  d->hosted = true;
  for (size_t i = 0; i < e->n; i++) {
    switch (vlm_take(&d->host, e->bytes[i])) {
    case VLM_FRAME:
      d->asked |= !strcmp(d->host.payload, GET_TIME);
      d->set_pending = !strncmp(d->host.payload, SET_TIME, strlen(SET_TIME));
      if (d->set_pending && d->set_ms == UINT32_MAX)
        d->set_ms = e->ms;
      break;
    case VLM_NAK:
      /* The host refuses each damaged frame once. One that it met earlier than we do ended in a silence. */
      if (++d->naks > d->damaged && vlm_settle(&d->monitor))
        d->damaged++;
      break;
    default:
      break;
    }
  }
}

/* How far the clock was behind by which this blow was dated: the clock that was compared, or, once the host has set it,
 * its own. A blow that comes after the setting may be an old one that the monitor kept. Only a date between the setting
 * and its arrival is the new clock's. */
static int64_t slow_of(const struct decoding *d, const struct heard_blow *b, bool *ret_compared) {
  const int64_t set = acq_order_clock_us(d->order, d->set_ms), came = acq_order_clock_us(d->order, b->ms);
  if (b->after_setting && b->blow.clock_us >= set - CLOCKS_DIFFER_US && b->blow.clock_us <= came + CLOCKS_DIFFER_US) {
    *ret_compared = d->set;
    return 0;
  }
  *ret_compared = d->compared;
  return d->slow_us;
}

static void add_measures(struct acq_record *record, const struct vlm_blow *b) {
  if (b->model_b) {
    acq_rec_measure(record, "pef", (struct dec){b->pef, 0}, "L/min");
    acq_rec_measure(record, "fev075", (struct dec){b->fev075, -2}, NULL);
  }
  acq_rec_measure(record, "fev1", (struct dec){b->fev1, -2}, NULL);
  acq_rec_measure(record, "fev6", (struct dec){b->fev6, -2}, NULL);
  acq_rec_measure(record, "fev1_fev6", (struct dec){b->ratio, -2}, NULL);
  acq_rec_measure(record, "fef25_75", (struct dec){b->fef25_75, -2}, NULL);
}

static void add_zone(struct acq_record *record, const char *code, const char *name, uint16_t percent) {
  char text[ACQ_TEXT_MAX];
  snprintf(text, sizeof text, "%s : %u %%", name, percent);
  if (percent)
    acq_rec_statement(record, code, text);
}

/* What the monitor was set to, and what it concludes: 000 is no value. */
static void add_statements(struct acq_record *record, const struct vlm_blow *b) {
  const struct {
    const char *code, *unit;
    struct dec value;
  } rows[] = {
      {"fev1_personal_best", NULL, {b->fev1_best, -2}},
      {"pef_personal_best", "L/min", {b->pef_best, 0}},
      {"fev1_of_personal_best", NULL, {b->fev1_percent, 0}},
      {"pef_of_personal_best", NULL, {b->pef_percent, 0}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i].value.mantissa)
      acq_rec_measure(record, rows[i].code, rows[i].value, rows[i].unit);
  add_zone(record, "zone_green", "Zone verte", b->green);
  add_zone(record, "zone_yellow", "Zone jaune", b->yellow);
  add_zone(record, "zone_orange", "Zone orange", b->orange);
}

static void add_session(struct decoding *d) {
  char text[ACQ_TEXT_MAX];
  const struct vlm_blow *b = &d->blows[0].blow;
  snprintf(text, sizeof text, "Numéro de l'appareil : %s", b->id);
  acq_rec_statement(d->record, "device_serial", text);
  snprintf(text, sizeof text, "Version du logiciel de l'appareil : %s", b->software);
  acq_rec_statement(d->record, "device_software", text);
  if (d->damaged)
    acq_rec_quality(d->record, "frame_damaged", "", d->damaged);
  if (d->repeated)
    acq_rec_quality(d->record, "reading_repeated", "", d->repeated);
  if (d->unknown)
    acq_rec_quality(d->record, "unknown_value", "", d->unknown);
  if (d->wrong_clock)
    acq_rec_quality(d->record, "device_clock_wrong", "", 1);
  if (d->hosted && !d->set)
    acq_rec_quality(d->record, "device_clock_unset", "", 1);
}

static int emit(struct decoding *d) {
  add_session(d);
  for (unsigned i = 0; i < d->n; i++) {
    const struct heard_blow *b = &d->blows[i];
    struct acq_trial trial = {.timed = true, .clock_us = b->blow.clock_us};
    trial.slow_us = slow_of(d, b, &trial.compared);
    acq_rec_trial(d->record, &trial);
    add_measures(d->record, &b->blow);
    add_statements(d->record, &b->blow);
    if (b->blow.rejected)
      acq_rec_quality(d->record, "blow_rejected", "", 1);
  }
  return acq_rec_done(d->record);
}

static int decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct decoding decoding, *d = &decoding;
  struct acq_event event;
  int r = 0;
  memset(d, 0, sizeof *d);
  d->record = ret;
  d->order = acq_capture_order(capture);
  d->set_ms = UINT32_MAX;
  vlm_reader_init(&d->monitor);
  vlm_reader_init(&d->host);
  for (size_t i = 0; r == 0 && acq_capture_event(capture, i, &event); i++) {
    if (event.kind == ACQ_SENT)
      add_sent(d, &event);
    else if (event.kind == ACQ_RECEIVED)
      r = add_received(d, &event);
  }
  if (r < 0)
    return r;
  d->damaged += vlm_settle(&d->monitor);
  if (d->naks > d->damaged)
    return acq_rec_fail(ret, -EBADMSG, "the host refused a frame that looks whole here");
  if (!d->n && d->damaged)
    return acq_rec_fail(ret, -EBADMSG, "%u damaged frames and no good one", d->damaged);
  if (!d->n)
    return acq_rec_fail(ret, -ENODATA, "the capture holds no blow");
  const char *serial = acq_capture_identity(capture)->serial;
  if (serial[0] && strcmp(serial, d->blows[0].blow.id))
    return acq_rec_fail(ret, -ENXIO, "a blow of another monitor than the one that answered");
  return emit(d);
}

/* ---- the driver --------------------------------------------------------------------------------------------- */

static const struct acq_match match[] = {
    /* A tty of rfcomm, which ignores the speed, or an adapter that devices.d binds: nothing that could be named. */
    {.bus = ACQ_SERIAL, .baud = 115200, .parity = ACQ_PARITY_NONE},
    {.bus = 0},
};

const struct acq_driver vitalograph_lungmonitor = {
    .abi = ACQ_DRIVER_ABI,
    .name = "vitalograph_lungmonitor",
    .version = "1",
    .label = "Spiromètre de poche Vitalograph Lung Monitor",
    .modalities = ACQ_MODALITY(ACQ_SPIROMETRY),
    .maturity = ACQ_EXPERIMENTAL,
    .integrity = ACQ_SUM8,
    .match = match,
    .limits =
        {
            .max_bytes = 4 * HEARD_MAX,
            .max_seconds = SECONDS_MAX,
            .default_seconds = 120,
            .idle_ms = TICK_MS,
            .grace_ms = 30000,
        },
    .identify = identify,
    .acquire = acquire,
    .release = release,
    .decode = decode,
};
