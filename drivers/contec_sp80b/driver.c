/* Contec SP80B: a hand-held spirometer that keeps its blows with their curves, on a serial line or over Bluetooth.
 * README.md says what is known and how well; message.h has the wire.
 *
 * The instrument holds the blows of whoever used it. A record is this patient's only if it was not there when the
 * acquisition began: the instrument counts its records, and the first of them, looked at before and after the blow,
 * tells at which end the new ones are. The curves of the others are never asked for, nothing is ever deleted.
 *
 * Waiting is counted in silences and questions, which a replay repeats exactly; behind that stands the worker's own
 * deadline. */
#include "message.h"

#include <asalee/driver.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

#define SECONDS_MAX 600u
#define TRIES 3u
#define OPTIONAL_TRIES 2u /* of what is not needed for a reading */
#define CURVE_TRIES 4u    /* a curve without a checksum is asked for until it comes twice the same */
#define WALKS 3u          /* through the records */
#define RECORDS_MAX 1000u /* looked at in one walk */
#define WRITE_MS 500u
#define ANSWER_MS 1000u
#define RELEASE_ANSWER_MS 500u
#define QUIET_MS 200u    /* after damage, until nothing more is on its way */
#define CHECKSUM_MS 300u /* for the checksum of a curve, if there is one */
#define PAUSE_MS 1000u   /* between two questions for the count */
#define SILENT_MAX 15u   /* of them in a row, without an answer */
#define DAMAGED_MAX 5u   /* likewise, with a damaged one */
#define HEARD_MAX (3u << 20)
#define IDENTIFY_HEARD_MAX 16384u

static const uint8_t start[] = {SP80B_START}, version[] = {SP80B_VERSION}, predicted[] = {SP80B_PREDICTED},
                     count[] = {SP80B_COUNT}, first_record[] = {SP80B_RECORD, 0, 1},
                     next_record[] = {SP80B_RECORD, 1, 1}, curve[] = {SP80B_CURVE, 0},
                     end_keeping[] = {SP80B_RECORD, 0x7e, 1};

/* The same blow? Its number may change when others are added, the byte before its kind with the question. */
static bool is_same_record(const uint8_t *a, const uint8_t *b) {
  return a[2] == b[2] && !memcmp(a + 5, b + 5, SP80B_RECORD_BYTES - 1 - 5);
}

/* The answer to the end may come as a record without one. */
static bool is_end(const uint8_t *message) {
  return message[0] == SP80B_RECORD_IS && (message[1] & 0x7e) == 0x7e;
}

/* A curve that came without its checksum: it counts once it has come twice the same. */
struct bare_curve {
  size_t n;
  uint8_t bytes[SP80B_MESSAGE_MAX];
};

/* Was it the same the time before? */
static bool came_twice(struct bare_curve *c, const struct sp80b_reader *r) {
  if (c->n == r->n && !memcmp(c->bytes, r->bytes, r->n))
    return true;
  c->n = r->n;
  memcpy(c->bytes, r->bytes, r->n);
  return false;
}

/* ---- talking ------------------------------------------------------------------------------------------------ */

struct link {
  struct acq_io *io;
  uint32_t heard, heard_max;
  bool met; /* a message came */
  struct acq_cur in;
  struct sp80b_reader reader;
  uint8_t bytes[256];
  struct bare_curve bare;
};

static void link_init(struct link *l, struct acq_io *io, uint32_t heard_max) {
  memset(l, 0, sizeof *l);
  l->io = io;
  l->heard_max = heard_max;
  l->in = acq_cur(l->bytes, 0);
  sp80b_reader_init(&l->reader);
}

/* What comes next, an enum sp80b_status; -ETIMEDOUT after `ms` of silence, -EMSGSIZE when there was too much. */
static int listen(struct link *l, unsigned ms) {
  for (;;) {
    enum sp80b_status status = sp80b_read(&l->reader, &l->in);
    if (status == SP80B_MORE && l->heard >= l->heard_max)
      return -EMSGSIZE;
    if (status == SP80B_MORE) {
      int n = acq_read_some(l->io, l->bytes, sizeof l->bytes, l->reader.state == SP80B_TRAILING ? CHECKSUM_MS : ms);
      if (n == -ETIMEDOUT)
        status = sp80b_settle(&l->reader);
      if (n < 0 && status == SP80B_MORE)
        return n;
      if (n > 0) {
        l->heard += (uint32_t)n;
        l->in = acq_cur(l->bytes, (size_t)n);
      }
    }
    l->met |= status == SP80B_MESSAGE;
    if (status != SP80B_MORE)
      return (int)status;
  }
}

/* Asks once: 0 when the answer is there, in l->reader; -EBADMSG when something damaged came instead, -ETIMEDOUT when
 * nothing did. */
static int ask_once(struct link *l, const uint8_t *request, size_t n, uint8_t answer, unsigned ms) {
  uint8_t wire[SP80B_REQUEST_MAX];
  bool damaged = false;
  size_t len = sp80b_encode(request, n, wire);
  int r = acq_write(l->io, wire, len, WRITE_MS);
  while (r >= 0) {
    r = listen(l, damaged ? QUIET_MS : ms);
    damaged |= r == SP80B_DAMAGED;
    if (r == SP80B_MESSAGE && l->reader.bytes[0] == answer)
      return 0;
  }
  return r == -ETIMEDOUT && damaged ? -EBADMSG : r;
}

static bool is_worth_another_try(int r) {
  return r == -ETIMEDOUT || r == -EBADMSG;
}

static int ask(struct link *l, const uint8_t *request, size_t n, uint8_t answer, unsigned tries) {
  int r = -ETIMEDOUT;
  for (unsigned i = 0; i < tries && is_worth_another_try(r); i++)
    r = ask_once(l, request, n, answer, ANSWER_MS);
  return r;
}

/* The same, for an answer that can be done without. */
static int ask_in_passing(struct link *l, const uint8_t *request, size_t n, uint8_t answer) {
  int r = ask(l, request, n, answer, OPTIONAL_TRIES);
  return is_worth_another_try(r) ? 0 : r;
}

/* Takes what is on its way until `ms` of silence. */
static int drain(struct link *l, unsigned ms) {
  int r;
  while ((r = listen(l, ms)) >= 0)
    ;
  return r == -ETIMEDOUT ? 0 : r;
}

/* Gives the errors that driver.h lists to what ended a part of the conversation. */
static int failed(struct link *l, int r, const char *what) {
  if (r == -EMSGSIZE)
    return acq_fail(l->io, -EPROTO, "%u bytes and no end", l->heard);
  if (r == -EBADMSG)
    return acq_fail(l->io, r, "the %s was damaged every time (%s)", what, l->reader.damage);
  if (r == -ETIMEDOUT)
    return acq_fail(l->io, r, "the %s was not given", what);
  return r;
}

/* ---- identify ----------------------------------------------------------------------------------------------- */

/* What the version's six bytes are is not known: text when they are text, else numbers. */
static void put_version(const uint8_t *p, char text[static ACQ_TEXT_MAX]) {
  bool printable = true;
  for (unsigned i = 0; i < 6; i++)
    printable &= p[i] >= 0x20 && p[i] <= 0x7e;
  if (printable)
    snprintf(text, ACQ_TEXT_MAX, "%.6s", (const char *)p);
  else
    snprintf(text, ACQ_TEXT_MAX, "%u.%u.%u.%u.%u.%u", p[0], p[1], p[2], p[3], p[4], p[5]);
}

static int identify(struct acq_io *io, struct acq_identity *ret) {
  struct link link, *l = &link;
  struct acq_identity id = {.make = "Contec", .model = "SP80B"};
  link_init(l, io, IDENTIFY_HEARD_MAX);
  int r = ask(l, start, sizeof start, SP80B_STARTED, TRIES);
  if (r < 0 && l->heard && !l->met && (is_worth_another_try(r) || r == -EMSGSIZE))
    return acq_fail(io, -ENXIO, "%u bytes came in answer to the start, and no message of this instrument", l->heard);
  if (r < 0)
    return failed(l, r, "answer to the start");
  r = ask(l, version, sizeof version, SP80B_VERSION_IS, OPTIONAL_TRIES);
  if (r == 0)
    put_version(l->reader.bytes + 1, id.firmware);
  else if (!is_worth_another_try(r))
    return failed(l, r, "version");
  *ret = id;
  return 0;
}

/* ---- acquire ------------------------------------------------------------------------------------------------ */

struct session {
  const struct acq_order *order;
  unsigned before, now;              /* records: before the blow, and now */
  uint8_t first[SP80B_RECORD_BYTES]; /* of those before */
};

/* It cannot be asked what time it thinks it is, so there is nothing to compare. An instrument that does not let its
 * clock be set goes on with the one it has. */
static int set_clock(struct link *l, const struct acq_order *order) {
  int r = -ETIMEDOUT;
  for (unsigned i = 0; i < TRIES && is_worth_another_try(r); i++) {
    const struct acq_clock c = acq_clock_from_us(acq_order_clock_us(order, acq_elapsed_ms(l->io)));
    const uint8_t request[] = {SP80B_SET_TIME,    (uint8_t)(c.year % 100), (uint8_t)c.month,
                               (uint8_t)c.day,    (uint8_t)c.hour,         (uint8_t)c.minute,
                               (uint8_t)c.second, (uint8_t)(c.ms & 0x7f),  (uint8_t)(c.ms >> 7)};
    r = ask_once(l, request, sizeof request, SP80B_TIME_SET, ANSWER_MS);
  }
  return is_worth_another_try(r) ? 0 : r;
}

/* So many records were there before the blow, and this is the first of them. */
static int remember(struct link *l, struct session *s, unsigned records) {
  s->before = s->now = records;
  if (!records)
    return 0;
  int r = ask(l, first_record, sizeof first_record, SP80B_RECORD_IS, TRIES);
  if (r < 0)
    return failed(l, r, "first record");
  memcpy(s->first, l->reader.bytes, sizeof s->first);
  return 0;
}

static int open_session(struct link *l, struct session *s) {
  int r = ask(l, start, sizeof start, SP80B_STARTED, TRIES);
  if (r < 0)
    return failed(l, r, "answer to the start");
  r = set_clock(l, s->order);
  if (r == 0)
    r = ask_in_passing(l, version, sizeof version, SP80B_VERSION_IS);
  if (r == 0)
    r = ask_in_passing(l, predicted, sizeof predicted, SP80B_PREDICTED_ARE);
  if (r == 0)
    r = ask(l, count, sizeof count, SP80B_COUNT_IS, TRIES);
  return r < 0 ? failed(l, r, "number of records") : remember(l, s, sp80b_number(l->reader.bytes + 1));
}

/* What a count says: 1 when there is a new record. Somebody may delete some on the instrument. */
static int look(struct link *l, struct session *s) {
  s->now = sp80b_number(l->reader.bytes + 1);
  if (s->now > s->before)
    return 1;
  int r = s->now < s->before ? remember(l, s, s->now) : 0;
  return r < 0 ? r : failed(l, drain(l, PAUSE_MS), "number of records");
}

/* Asks for the count until it rises. An instrument that is being blown into may not answer for a while. */
static int wait_for_blow(struct link *l, struct session *s, uint32_t seconds) {
  unsigned silent = 0, damaged = 0;
  for (uint32_t waited = 0; waited < seconds;) {
    int r = ask_once(l, count, sizeof count, SP80B_COUNT_IS, ANSWER_MS);
    silent = r == -ETIMEDOUT ? silent + 1 : 0;
    damaged = r == -EBADMSG ? damaged + 1 : 0;
    if (silent == SILENT_MAX || damaged == DAMAGED_MAX || (r < 0 && !is_worth_another_try(r)))
      return failed(l, r, "number of records");
    r = r < 0 ? 0 : look(l, s);
    if (r)
      return r < 0 ? r : 0;
    waited++;
    acq_progress(l->io, waited, seconds);
  }
  return acq_fail(l->io, -ENODATA, "no new record in %u s", seconds);
}

/* A curve that never came twice the same is left to decode(), which keeps the blow's numbers only. */
static int fetch_curve(struct link *l) {
  int r = -ETIMEDOUT;
  l->bare.n = 0;
  for (unsigned i = 0; i < CURVE_TRIES; i++) {
    r = ask_once(l, curve, sizeof curve, SP80B_CURVE_IS, ANSWER_MS);
    if (r == 0 ? l->reader.checked || came_twice(&l->bare, &l->reader) : !is_worth_another_try(r))
      return r;
  }
  return l->bare.n ? 0 : r;
}

/* One walk through the records, to the new ones and their curves. They come first when another record than before does,
 * and the one that was first then follows them; else they come last. -ETIMEDOUT and -EBADMSG: something was missed. */
static int walk(struct link *l, const struct session *s) {
  const unsigned fresh = s->now - s->before;
  bool last = true; /* that is where they are */
  for (unsigned i = 0; i < s->now; i++) {
    int r = ask_once(l, i ? next_record : first_record, sizeof first_record, SP80B_RECORD_IS, ANSWER_MS);
    if (r < 0)
      return r;
    if (is_end(l->reader.bytes))
      return acq_fail(l->io, -EPROTO, "%u records instead of %u", i, s->now);
    const bool was_first = s->before && is_same_record(l->reader.bytes, s->first);
    if (i == 0)
      last = was_first || !s->before;
    if (last && s->now > RECORDS_MAX)
      return acq_fail(l->io, -ENODATA, "%u records, the new ones behind", s->now);
    if (last ? i >= s->before : i < fresh)
      r = fetch_curve(l);
    else if (!last)
      return was_first ? 0 : acq_fail(l->io, -EPROTO, "the records changed while they were read");
    if (r < 0)
      return r;
  }
  return 0;
}

/* A record that was missed is not asked for again, as that might ask for the one behind it: another walk begins. */
static int fetch(struct link *l, const struct session *s) {
  int r = -ETIMEDOUT;
  for (unsigned i = 0; i < WALKS && is_worth_another_try(r); i++) {
    r = i ? drain(l, QUIET_MS) : 0;
    if (r == 0)
      r = walk(l, s);
  }
  return failed(l, r, "row of records");
}

static int acquire(struct acq_io *io, const struct acq_order *order) {
  struct link link, *l = &link;
  struct session s = {.order = order};
  link_init(l, io, HEARD_MAX);
  acq_progress(io, 0, order->seconds);
  int r = open_session(l, &s);
  if (r == 0)
    r = wait_for_blow(l, &s, order->seconds);
  return r < 0 ? r : fetch(l, &s);
}

/* ---- release ------------------------------------------------------------------------------------------------ */

/* Ends the reading of records, all of which are kept. Whatever the instrument says, the reading is what it is. */
static int release(struct acq_io *io) {
  struct link link, *l = &link;
  link_init(l, io, IDENTIFY_HEARD_MAX);
  int r = ask_once(l, end_keeping, sizeof end_keeping, SP80B_ENDED, RELEASE_ANSWER_MS);
  return r == -ENODEV || r == -ECANCELED ? r : 0;
}

/* ---- decode: the messages in order -------------------------------------------------------------------------- */

/* A way through the capture. What was sent ends what was being received: the host speaks after an answer or a silence.
 * Where it says nothing more the capture was cut, and a curve without a checksum perhaps just before it. */
struct way {
  const struct acq_capture *capture;
  size_t event;
  unsigned number; /* of messages so far */
  bool hosted;     /* something was sent so far */
  struct acq_cur in;
  struct acq_event sent;
  struct sp80b_reader reader;
};

enum { WAY_END, WAY_MESSAGE, WAY_DAMAGED, WAY_SENT };
static_assert((int)WAY_MESSAGE == (int)SP80B_MESSAGE && (int)WAY_DAMAGED == (int)SP80B_DAMAGED,
              "a reader's status is a step of the way");

static void way_init(struct way *w, const struct acq_capture *capture) {
  memset(w, 0, sizeof *w);
  w->capture = capture;
  sp80b_reader_init(&w->reader);
}

static int way_next(struct way *w) {
  enum sp80b_status status;
  while ((status = sp80b_read(&w->reader, &w->in)) == SP80B_MORE) {
    struct acq_event e;
    const bool more = acq_capture_event(w->capture, w->event, &e);
    if (!more || e.kind == ACQ_SENT)
      status = sp80b_settle(&w->reader);
    if (status != SP80B_MORE) {
      if (!more && w->hosted)
        status = SP80B_DAMAGED;
      break;
    }
    if (!more)
      return WAY_END;
    w->event++;
    if (e.kind == ACQ_SENT) {
      w->hosted = true;
      w->sent = e;
      return WAY_SENT;
    }
    if (e.kind == ACQ_RECEIVED)
      w->in = acq_cur(e.bytes, e.n);
  }
  w->number += status == SP80B_MESSAGE;
  return (int)status;
}

/* ---- decode: which of them are the reading ------------------------------------------------------------------ */

#define TRIALS_MAX 64u

struct trial {
  uint8_t bytes[SP80B_RECORD_BYTES];
  struct sp80b_record record;
  unsigned record_at, curve_at; /* numbers of their messages; 0: none */
};

struct decoding {
  struct acq_record *record;
  bool hosted;
  bool set_sent, set; /* its clock */
  uint8_t host[SP80B_REQUEST_MAX];
  size_t n_host;
  bool counted;
  unsigned before, now; /* records: before the blow, and now */
  bool remembers;
  uint8_t first[SP80B_RECORD_BYTES]; /* of those before */
  bool asked;                        /* for a record that did not come yet */
  unsigned index;                    /* of it, in this walk */
  bool ordered, last, confirmed;     /* where the new ones are: known, behind, or before the one that was first then */
  unsigned damaged, repeated;
  uint8_t predicted[SP80B_PREDICTED_BYTES]; /* [0] = 0: none */
  struct trial *latest;                     /* whose curve would come next, */
  bool curve_came;                          /* or has come */
  struct bare_curve bare;
  unsigned n, curves; /* curves: in the record */
  struct trial trials[TRIALS_MAX];
};

/* A curve that the host asked for again it refused, however whole it looks here. */
static void ask_curve(struct decoding *d) {
  if (d->curve_came && d->latest) {
    d->latest->curve_at = 0;
    d->damaged++;
  }
  d->curve_came = false;
}

static void ask_record(struct decoding *d, uint8_t which) {
  d->asked = true;
  d->index++;
  if (which == 0) {
    d->index = 0;
    d->ordered = d->confirmed = false;
  }
}

static void add_sent(struct decoding *d, const struct acq_event *e) {
  d->hosted = true;
  for (size_t i = 0; i < e->n; i++) {
    if (e->bytes[i] & 0x80)
      d->n_host = 0;
    if (d->n_host < sizeof d->host)
      d->host[d->n_host++] = e->bytes[i];
    d->set_sent |= d->host[0] == SP80B_SET_TIME;
    if (d->n_host == 2 && d->host[0] == SP80B_CURVE)
      ask_curve(d);
    if (d->n_host == 2 && d->host[0] == SP80B_RECORD)
      ask_record(d, d->host[1]);
  }
}

static void add_count(struct decoding *d, unsigned records) {
  if (!d->counted || records < d->before)
    d->before = records;
  d->now = records;
  d->counted = true;
}

/* What walk() sees: 1 when the record is a new one. */
static int is_new(struct decoding *d, const uint8_t *bytes) {
  const unsigned fresh = d->now - d->before;
  if (!d->asked)
    return 0;
  d->asked = false;
  if (!fresh) {
    d->remembers |= d->index == 0;
    if (d->index == 0)
      memcpy(d->first, bytes, sizeof d->first);
    return 0;
  }
  const bool was_first = d->remembers && is_same_record(bytes, d->first);
  if (d->index == 0) {
    d->ordered = d->remembers || !d->before;
    d->last = was_first || !d->before;
  }
  if (!d->ordered)
    return 0;
  if (!d->last && d->index == fresh) {
    d->confirmed = was_first;
    return was_first ? 0 : acq_rec_fail(d->record, -EPROTO, "the records changed while they were read");
  }
  return d->last ? d->index >= d->before : d->index < fresh;
}

static int add_record(struct decoding *d, const struct way *w) {
  const uint8_t *bytes = w->reader.bytes;
  struct sp80b_record record;
  d->latest = NULL;
  d->curve_came = false;
  d->bare.n = 0;
  if (is_end(bytes))
    return 0;
  int r = d->hosted ? is_new(d, bytes) : 1;
  if (r <= 0)
    return r;
  sp80b_record_read(bytes, &record);
  if (!record.dated)
    return acq_rec_fail(d->record, -ERANGE, "a record with a date or time that is none");
  for (unsigned i = 0; i < d->n; i++)
    if (is_same_record(d->trials[i].bytes, bytes)) {
      d->latest = &d->trials[i];
      d->repeated++;
      return 0;
    }
  if (d->n == TRIALS_MAX)
    return acq_rec_fail(d->record, -EPROTO, "more than %u new records", TRIALS_MAX);
  d->latest = &d->trials[d->n++];
  memcpy(d->latest->bytes, bytes, SP80B_RECORD_BYTES);
  d->latest->record = record;
  d->latest->record_at = w->number;
  return 0;
}

static void add_curve_message(struct decoding *d, const struct way *w) {
  const bool other = d->bare.n;
  if (!d->latest || d->latest->curve_at)
    return;
  if (w->reader.checked || came_twice(&d->bare, &w->reader)) {
    d->latest->curve_at = w->number;
    d->curve_came = true;
  } else {
    d->damaged += other;
  }
}

static int add_message(struct decoding *d, const struct way *w) {
  const uint8_t *bytes = w->reader.bytes;
  switch (bytes[0]) {
  case SP80B_TIME_SET:
    d->set |= d->set_sent;
    return 0;
  case SP80B_PREDICTED_ARE:
    memcpy(d->predicted, bytes, sizeof d->predicted);
    return 0;
  case SP80B_COUNT_IS:
    add_count(d, sp80b_number(bytes + 1));
    return 0;
  case SP80B_RECORD_IS:
    return add_record(d, w);
  case SP80B_CURVE_IS:
    add_curve_message(d, w);
    return 0;
  default:
    return 0;
  }
}

static int find_trials(struct decoding *d, const struct acq_capture *capture) {
  struct way way, *w = &way;
  int r = 0, step;
  way_init(w, capture);
  while (r == 0 && (step = way_next(w)) != WAY_END) {
    if (step == WAY_SENT)
      add_sent(d, &w->sent);
    else if (step == WAY_DAMAGED)
      d->damaged++;
    else
      r = add_message(d, w);
  }
  return r;
}

/* ---- decode: the record ------------------------------------------------------------------------------------- */

#define CURVES_MAX 10u /* RECORD_CHANNELS_MAX (record.h) is 32, and a curve is three */
#define CHUNK 256u

static const struct dec none = {0}, time_scale = {1, -4}, per_mille = {1, -3};

static void add_forced(struct acq_record *record, const struct sp80b_record *b) {
  const struct {
    const char *code;
    uint16_t value;
    int8_t exponent;
    const char *unit;
  } rows[] = {
      {"fvc", b->fvc, -2, NULL},     {"fev05", b->fev05, -2, NULL},       {"fev1", b->fev1, -2, NULL},
      {"fev3", b->fev3, -2, NULL},   {"fev6", b->fev6, -2, NULL},         {"fev1_fvc", b->ratio, -1, "%"},
      {"pef", b->pef, -2, NULL},     {"fef25", b->fef25, -2, NULL},       {"fef50", b->fef50, -2, NULL},
      {"fef75", b->fef75, -2, NULL}, {"fef25_75", b->fef25_75, -2, NULL},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i].value)
      acq_rec_measure(record, rows[i].code, (struct dec){rows[i].value, rows[i].exponent}, rows[i].unit);
  if (!b->fvc || !b->fev1)
    acq_rec_quality(record, "value_missing", "volume", 1);
  if (!b->pef)
    acq_rec_quality(record, "value_missing", "flow", 1);
}

/* What the instrument was set to when it drew its own conclusions, and numbers whose units are not known. */
static void add_statements(struct acq_record *record, const struct sp80b_record *b) {
  static const char *const standards[] = {"?", "ECCS", "Knudson", "USA"};
  char text[2 * ACQ_TEXT_MAX];
  snprintf(text, sizeof text, "Profil réglé dans l'appareil : %s, %u ans, %u cm, norme %s", b->sex ? "femme" : "homme",
           b->age, b->height, standards[b->standard < 4 ? b->standard : 0]);
  acq_rec_statement(record, "device_profile", text);
  snprintf(text, sizeof text, "Temps jusqu'au DEP, valeur brute : %u", b->pef_time);
  if (b->pef_time)
    acq_rec_statement(record, "time_to_pef_raw", text);
  snprintf(text, sizeof text, "Volume extrapolé, valeur brute : %u", b->evol);
  if (b->evol)
    acq_rec_statement(record, "bev_raw", text);
}

/* The points of a curve. Time is told from the first of them. */
static int add_points(struct acq_record *record, const uint8_t *p, unsigned points) {
  unsigned steps = acq_rec_channel(record, "time_step", none, time_scale, false),
           flow = acq_rec_channel(record, "flow", none, per_mille, false),
           volume = acq_rec_channel(record, "volume", none, per_mille, false);
  int16_t chunk[3][CHUNK];
  uint32_t before = sp80b_point_read(p).time;
  unsigned n = 0;
  for (unsigned i = 0; i < points; i++, p += SP80B_POINT_BYTES) {
    struct sp80b_point point = sp80b_point_read(p);
    if (point.time < before)
      return acq_rec_fail(record, -ERANGE, "the curve's time runs backwards");
    if (point.time - before > INT16_MAX)
      return acq_rec_fail(record, -ERANGE, "more than 3.2767 s between two points of the curve");
    chunk[0][n] = (int16_t)(point.time - before);
    chunk[1][n] = point.flow;
    chunk[2][n] = point.volume;
    before = point.time;
    if (++n == CHUNK || i + 1 == points) {
      acq_rec_samples(record, steps, chunk[0], n);
      acq_rec_samples(record, flow, chunk[1], n);
      acq_rec_samples(record, volume, chunk[2], n);
      n = 0;
    }
  }
  return 0;
}

static int add_curve(struct decoding *d, const uint8_t *message) {
  unsigned points = message ? sp80b_number(message + 3) : 0;
  if (!points || d->curves == CURVES_MAX) {
    acq_rec_quality(d->record, "samples_missing", "flow", 1);
    return 0;
  }
  d->curves++;
  return add_points(d->record, message + 5, points);
}

/* `curve`: the message with its curve, or NULL. */
static int add_trial(struct decoding *d, const struct trial *t, const uint8_t *curve_is) {
  const struct sp80b_record *b = &t->record;
  const bool forced =
      b->kind == SP80B_FVC || b->kind == SP80B_ALL; /* "all" of the kinds has the forced one's numbers */
  if (!forced && b->kind != SP80B_VC && b->kind != SP80B_MVV) {
    acq_rec_trial(d->record, NULL);
    acq_rec_quality(d->record, "unknown_value", "", 1);
    return 0;
  }
  acq_rec_trial(d->record, &(struct acq_trial){.phase = b->drug ? ACQ_POST : ACQ_NO_PHASE,
                                               .timed = true,
                                               .clock_us = b->clock_us,
                                               .compared = d->set});
  if (forced)
    add_forced(d->record, b);
  else if (b->kind == SP80B_VC)
    acq_rec_measure(d->record, "svc", (struct dec){b->fvc, -2}, NULL);
  else
    acq_rec_measure(d->record, "mvv", (struct dec){b->fvc, -2}, "L/min");
  add_statements(d->record, b);
  return add_curve(d, curve_is);
}

static void add_session(struct decoding *d) {
  const unsigned fvc = sp80b_number(d->predicted + 2), fev1 = sp80b_number(d->predicted + 4);
  if (d->predicted[0] && fvc && fvc <= 1500)
    acq_rec_measure(d->record, "fvc_predicted", (struct dec){(int32_t)fvc, -2}, NULL);
  if (d->predicted[0] && fev1 && fev1 <= 1200)
    acq_rec_measure(d->record, "fev1_predicted", (struct dec){(int32_t)fev1, -2}, NULL);
  if (d->damaged)
    acq_rec_quality(d->record, "frame_damaged", "", d->damaged);
  if (d->repeated)
    acq_rec_quality(d->record, "reading_repeated", "", d->repeated);
  if (d->hosted && !d->set)
    acq_rec_quality(d->record, "device_clock_unset", "", 1);
  if (d->hosted && (d->n < d->now - d->before || !(d->last || d->confirmed)))
    acq_rec_quality(d->record, "incomplete", "", 1);
  if (d->hosted && d->now > d->n)
    acq_rec_quality(d->record, "readings_kept_by_device", "", d->now - d->n);
}

/* Each trial where its curve comes, or its record when there is no curve. */
static int add_trials(struct decoding *d, const struct acq_capture *capture) {
  struct way way, *w = &way;
  int r = 0, step;
  way_init(w, capture);
  while (r == 0 && (step = way_next(w)) != WAY_END) {
    for (unsigned i = 0; r == 0 && step == WAY_MESSAGE && i < d->n; i++) {
      const struct trial *t = &d->trials[i];
      if (w->number == (t->curve_at ? t->curve_at : t->record_at))
        r = add_trial(d, t, t->curve_at ? w->reader.bytes : NULL);
    }
  }
  return r;
}

static int decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct decoding decoding, *d = &decoding;
  memset(d, 0, sizeof *d);
  d->record = ret;
  int r = find_trials(d, capture);
  if (r < 0)
    return r;
  if (!d->n && d->damaged)
    return acq_rec_fail(ret, -EBADMSG, "%u damaged messages and no new record", d->damaged);
  if (!d->n)
    return acq_rec_fail(ret, -ENODATA, "the capture holds no new record");
  if (d->hosted && d->n > d->now - d->before)
    return acq_rec_fail(ret, -EPROTO, "%u different new records, and %u were counted", d->n, d->now - d->before);
  add_session(d);
  r = add_trials(d, capture);
  return r < 0 ? r : acq_rec_done(ret);
}

/* ---- the driver --------------------------------------------------------------------------------------------- */

static const struct acq_match match[] = {
    /* A tty of rfcomm, which ignores the speed, or an adapter that devices.d binds: nothing that could be named. */
    {.bus = ACQ_SERIAL, .baud = 115200, .parity = ACQ_PARITY_NONE},
    {.bus = 0},
};

const struct acq_driver contec_sp80b = {
    .abi = ACQ_DRIVER_ABI,
    .name = "contec_sp80b",
    .version = "1",
    .label = "Spiromètre Contec SP80B",
    .modalities = ACQ_MODALITY(ACQ_SPIROMETRY),
    .maturity = ACQ_EXPERIMENTAL,
    .integrity = ACQ_SUM8, /* what came without a sum was read twice */
    .match = match,
    .limits =
        {
            .max_bytes = HEARD_MAX + 2 * IDENTIFY_HEARD_MAX + 4096,
            .max_seconds = SECONDS_MAX,
            .default_seconds = 180,
            .idle_ms = ANSWER_MS,
            .grace_ms = 180000,
        },
    .identify = identify,
    .acquire = acquire,
    .release = release,
    .decode = decode,
};
