/* Corscience EMI12, a 12-lead ECG module on a serial line at 230400 8N1. README.md says what is known and how well;
 * frame.h has the wire.
 *
 * Time here is the module's data set counter, never the host's clock: a set's place in the recording is its number
 * since the start. Waiting ends after a silence or after too many bytes without the answer, both of which a replay
 * repeats exactly; the host's clock only backs that up against a device that trickles. */
#include "frame.h"

#include <asalee/driver.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

#define RATE_HZ 500u
#define RATE_CODE 5
#define LEADS_CODE_12 2
#define SECONDS_MAX 300u
#define OVER_SECONDS 10u        /* of signal, on top of the order, until the module has stopped */
#define OVER_SECONDS_DECODE 60u /* the same with all that release() waits for: limits.grace_ms */

#define TRIES 3u
#define SELF_TESTS 8u
#define WRITE_MS 500u
#define ANSWER_MS 500u         /* silence that ends the wait for an answer */
#define RELEASE_ANSWER_MS 300u /* the same in release() */
#define SELF_TEST_PAUSE_MS 500u
#define CONTACT_MS 2000u /* for the first contact report */
#define QUIET_MS 100u    /* silence after which nothing more is on its way */
#define IDLE_MS 2000u
#define WAIT_MS 3000u    /* the longest wait for one answer among other bytes, */
#define WAIT_BYTES 16384 /* 1.8 s of a module that was left streaming */
#define STREAM_OVER_MS 10000u

#define LEADS 12u
static const char *const lead_codes[LEADS] = {"lead_i",  "lead_ii", "lead_iii", "lead_avr", "lead_avl", "lead_avf",
                                              "lead_v1", "lead_v2", "lead_v3",  "lead_v4",  "lead_v5",  "lead_v6"};
enum { I, II, III, AVR, AVL, AVF, V1 };
static const bool lead_derived[LEADS] = {[I] = true, [AVR] = true, [AVL] = true, [AVF] = true};

static const struct dec scale = {263, -2}; /* uV per step, of every lead */

/* ---- the leads ---------------------------------------------------------------------------------------------- */

/* Half of v, rounded half away from zero. */
static int16_t half(int v) {
  return (int16_t)((v + (v > 0) - (v < 0)) / 2);
}

/* The twelve leads of one set. With -16384 <= II, III <= 16383 (15 bits):
 *   I = II - III                         -32767 .. 32767
 *   aVR = -(I + II) / 2 = (III - 2 II) / 2, aVL = (I - III) / 2 = (II - 2 III) / 2
 *                        sum between -49150 and 49151, so -24575 .. 24576 after rounding
 *   aVF = (II + III) / 2                 -16384 .. 16383
 * so nothing overflows 16 bits and nothing equals ACQ_GAP (-32768). */
static void set_leads(const int16_t set[EMI12_MEASURED], int16_t ret[LEADS]) {
  int ii = set[EMI12_II], iii = set[EMI12_III], i = ii - iii;
  ret[I] = (int16_t)i;
  ret[II] = (int16_t)ii;
  ret[III] = (int16_t)iii;
  ret[AVR] = half(-(i + ii));
  ret[AVL] = half(i - iii);
  ret[AVF] = half(ii + iii);
  for (unsigned v = 0; v < 6; v++)
    ret[V1 + v] = set[EMI12_V1 + v];
}

static_assert(-(EMI12_SAMPLE_MIN - EMI12_SAMPLE_MAX) <= INT16_MAX, "lead I fits");
static_assert(-INT16_MAX > ACQ_GAP, "no sample looks like a gap");

/* ---- the electrodes ----------------------------------------------------------------------------------------- */

#define ACQ_ELECTRODES(code, colour, place) ELECTRODE_##code,
enum {
#include <asalee/nomenclature.def>
  ELECTRODES
};
#undef ACQ_ELECTRODES
#define ACQ_ELECTRODES(code, colour, place) #code,
static const char *const electrode_codes[ELECTRODES] = {
#include <asalee/nomenclature.def>
};
#undef ACQ_ELECTRODES

#define WIRE_CONTACTS_N 10u
static const uint8_t electrode_of_bit[WIRE_CONTACTS_N] = {ELECTRODE_C1, ELECTRODE_C2, ELECTRODE_C3, ELECTRODE_C4,
                                                          ELECTRODE_C5, ELECTRODE_C6, ELECTRODE_N,  ELECTRODE_F,
                                                          ELECTRODE_R,  ELECTRODE_L};

/* The wire's contact bits in the order of acq_contacts(). */
static uint32_t electrode_bits(uint16_t wire) {
  uint32_t bits = 0;
  for (unsigned i = 0; i < WIRE_CONTACTS_N; i++)
    bits |= (uint32_t)(wire >> i & 1) << electrode_of_bit[i];
  return bits;
}

#define ALL_ELECTRODES ((1u << WIRE_CONTACTS_N) - 1)

/* ---- where a frame belongs ---------------------------------------------------------------------------------- */

struct timeline {
  bool from_start; /* the start itself was seen: the counter began at 0 */
  bool begun;
  uint32_t number, counter; /* of the last frame kept */
  uint16_t crc;
  uint32_t sets, max_sets; /* so far, missing ones included; the most that can be */
};

enum placing {
  PLACED,
  PLACE_REPEATED,   /* the frame before, once more */
  PLACE_DAMAGED,    /* its counter does not agree with its samples */
  PLACE_IMPOSSIBLE, /* its counter ran backwards or into what cannot have been recorded */
};

/* Where the frame's sets go: after `missing` sets that never came. Only PLACED moves the timeline. */
static enum placing timeline_place(struct timeline *t, const struct emi12_ecg *e, uint16_t crc, uint32_t *ret_missing) {
  uint32_t delta = e->sets;
  if (t->begun && e->number == t->number && e->counter == t->counter)
    return crc == t->crc ? PLACE_REPEATED : PLACE_DAMAGED;
  if (t->begun)
    delta = (e->counter - t->counter) & EMI12_COUNTER_MASK;
  else if (t->from_start)
    delta = e->counter;
  if (delta > t->max_sets - t->sets)
    return PLACE_IMPOSSIBLE;
  if (delta < e->sets)
    return PLACE_DAMAGED;
  if (t->begun && e->number == ((t->number + 1) & 0xffffff) && delta != e->sets)
    return PLACE_DAMAGED; /* no frame was lost in between, so the counter must have counted these samples */
  *ret_missing = delta - e->sets;
  t->begun = true;
  t->number = e->number;
  t->counter = e->counter;
  t->crc = crc;
  t->sets += delta;
  return PLACED;
}

/* ---- talking ------------------------------------------------------------------------------------------------ */

/* What the host shows while it records. */
struct live {
  struct timeline line;
  uint32_t wanted; /* sets */
  uint32_t first;  /* of the preview */
  unsigned filled;
  int16_t preview[LEADS][ACQ_PREVIEW_SAMPLES];
};

struct link {
  struct acq_io *io;
  uint8_t packet;      /* of the next request */
  bool identifying;    /* so far anything may be at the other end */
  bool met;            /* a module's frame came */
  uint32_t heard;      /* bytes, since wait_begin() */
  uint32_t damaged;    /* frames, since the request began */
  const char *damage;  /* the last one's reason */
  uint64_t until;      /* acq_elapsed_ms() */
  bool contacts_known; /* a contact bit was ever set */
  uint32_t contacts;   /* as last sent */
  bool measuring;      /* contacts: before, a report is a left-over too */
  bool contact_reported;
  struct live *live; /* NULL: ECG frames are a left-over and are skipped */
  struct emi12_ecg ecg;
  struct emi12_reader reader;
  struct acq_cur in;
  uint8_t bytes[1024];
};

static void link_init(struct link *l, struct acq_io *io) {
  memset(l, 0, sizeof *l);
  l->io = io;
  l->damage = "";
  l->in = acq_cur(l->bytes, 0);
  emi12_reader_init(&l->reader);
}

static void wait_begin(struct link *l) {
  l->heard = 0;
  l->until = acq_elapsed_ms(l->io) + WAIT_MS;
}

/* The next valid frame; -ETIMEDOUT after `ms` of silence, or when there was too much since wait_begin(). */
static int receive(struct link *l, unsigned ms, struct emi12_frame *ret) {
  for (;;) {
    switch (emi12_read(&l->reader, &l->in, ret)) {
    case EMI12_FRAME:
      l->met |= ret->command < EMI12_GET; /* else it is our own request, from a line that echoes */
      return 0;
    case EMI12_DAMAGED:
      l->damaged++;
      l->damage = l->reader.damage;
      continue;
    case EMI12_MORE:
      break;
    }
    if (l->heard > WAIT_BYTES || (l->heard && acq_elapsed_ms(l->io) > l->until))
      return -ETIMEDOUT;
    /* Never past the bound, so that it falls on the same byte however the bytes are split. */
    size_t most = WAIT_BYTES + 1 - l->heard;
    int n = acq_read_some(l->io, l->bytes, most < sizeof l->bytes ? most : sizeof l->bytes, ms);
    if (n < 0)
      return n;
    l->heard += (uint32_t)n;
    l->in = acq_cur(l->bytes, (size_t)n);
  }
}

static void show_contacts(struct link *l, uint16_t wire) {
  uint32_t on = electrode_bits(wire);
  /* A module that has never set a bit may not be measuring contacts at all: then nothing is known. */
  if (l->contacts_known ? on == l->contacts : !on)
    return;
  l->contacts_known = true;
  l->contacts = on;
  acq_contacts(l->io, ALL_ELECTRODES, on);
}

static void show_preview(struct link *l) {
  struct live *v = l->live;
  if (!v->filled)
    return;
  struct acq_preview preview = {
      .channels = LEADS, .samples = v->filled, .first = v->first, .rate_hz = RATE_HZ, .scale = scale};
  for (unsigned i = 0; i < LEADS; i++) {
    preview.code[i] = lead_codes[i];
    preview.values[i] = v->preview[i];
  }
  acq_preview(l->io, &preview);
  uint32_t done = v->first + v->filled;
  acq_progress(l->io, done < v->wanted ? done : v->wanted, v->wanted);
  v->first = done;
  v->filled = 0;
}

/* One more column; set = NULL is a missing one. */
static void preview_set(struct link *l, const int16_t set[EMI12_MEASURED]) {
  struct live *v = l->live;
  int16_t leads[LEADS];
  if (set)
    set_leads(set, leads);
  for (unsigned i = 0; i < LEADS; i++)
    v->preview[i][v->filled] = set ? leads[i] : ACQ_GAP;
  if (++v->filled == ACQ_PREVIEW_SAMPLES)
    show_preview(l);
}

static int meet_ecg(struct link *l, const struct emi12_frame *frame) {
  struct live *v = l->live;
  uint32_t missing, before = v->line.counter;
  if (emi12_ecg_read(frame, &l->ecg) < 0) {
    l->damaged++;
    l->damage = "ECG data without their layout";
    return 0;
  }
  switch (timeline_place(&v->line, &l->ecg, frame->crc, &missing)) {
  case PLACE_REPEATED:
    return 0;
  case PLACE_DAMAGED:
    l->damaged++;
    l->damage = "data set counter against samples";
    return 0;
  case PLACE_IMPOSSIBLE:
    return acq_fail(l->io, -EPROTO, "the data set counter went from %u to %u", before, l->ecg.counter);
  case PLACED:
    break;
  }
  show_contacts(l, l->ecg.contacts);
  if (missing > ACQ_PREVIEW_SAMPLES) { /* a long gap is left out: `first` tells */
    show_preview(l);
    v->first += missing;
  } else {
    while (missing--)
      preview_set(l, NULL);
  }
  for (unsigned i = 0; i < l->ecg.sets; i++)
    preview_set(l, l->ecg.values[i]);
  /* Ten pictures a second are enough for the eye. */
  if (v->filled >= RATE_HZ / 10)
    show_preview(l);
  return 0;
}

/* What to do with a frame that is not the answer waited for. */
static int meet(struct link *l, const struct emi12_frame *frame) {
  if (frame->command == EMI12_ECG && l->live)
    return meet_ecg(l, frame);
  if (frame->command == EMI12_CONTACTS && l->measuring) {
    struct acq_cur c = frame->data;
    uint8_t high = acq_u8(&c), low = acq_u8(&c);
    if (!c.err) {
      l->contact_reported = true;
      show_contacts(l, emi12_contact_bits(high, low));
    }
  }
  return 0;
}

struct request {
  const char *what;
  uint16_t command;
  uint8_t data[4];
  uint8_t n;
  uint16_t reply; /* 0: the acknowledgement is all there is */
};

/* The module's own answer counts, whether or not its acknowledgement came too: the text has no example of a request
 * with both. For a start, data are the answer. */
static bool is_answer(const struct request *q, uint8_t packet, const struct emi12_frame *frame) {
  if (q->reply)
    return frame->command == q->reply;
  struct acq_cur c = frame->data;
  return frame->command == EMI12_ACK && acq_u8(&c) == packet && !c.err;
}

static int ask_once(struct link *l, const struct request *q, unsigned ms, struct emi12_frame *ret) {
  uint8_t wire[64], packet = l->packet++;
  int n = emi12_encode(packet, q->command, q->data, q->n, wire, sizeof wire);
  if (n < 0)
    return n;
  int r = acq_write(l->io, wire, (size_t)n, WRITE_MS);
  if (r < 0)
    return r;
  wait_begin(l);
  while ((r = receive(l, ms, ret)) == 0) {
    if (is_answer(q, packet, ret))
      return 0;
    r = meet(l, ret);
    if (r < 0)
      return r;
    if (q->command == EMI12_STREAM && q->data[0] && l->live->line.begun)
      return 0;
  }
  return r;
}

/* After the last try. `heard` is of all tries. */
static int ask_failed(struct link *l, const struct request *q, uint32_t heard) {
  if (l->identifying && !l->met && heard)
    return acq_fail(l->io, -ENXIO, "%u bytes came in answer to the %s, and no frame of this module", heard, q->what);
  if (l->damaged)
    return acq_fail(l->io, -EBADMSG, "the answer to the %s was damaged in %u tries (%s)", q->what, TRIES, l->damage);
  return acq_fail(l->io, -ETIMEDOUT, "no answer to the %s in %u tries", q->what, TRIES);
}

/* Asks until the answer comes, at most TRIES times, each with a packet number of its own, so that a late
 * acknowledgement is never taken for another. */
static int ask(struct link *l, const struct request *q, struct emi12_frame *ret) {
  uint32_t heard = 0;
  l->damaged = 0;
  for (unsigned i = 0; i < TRIES; i++) {
    int r = ask_once(l, q, ANSWER_MS, ret);
    if (r != -ETIMEDOUT)
      return r;
    heard += l->heard;
  }
  return ask_failed(l, q, heard);
}

/* Takes what is still on its way until `ms` of silence; bounded. */
static int drain(struct link *l, unsigned ms) {
  struct emi12_frame frame;
  int r;
  wait_begin(l);
  while ((r = receive(l, ms, &frame)) == 0) {
    r = meet(l, &frame);
    if (r < 0)
      return r;
  }
  return r == -ETIMEDOUT ? 0 : r;
}

static const struct request stop_ecg = {"stop of the ECG", EMI12_STREAM, {0}, 1, 0};
static const struct request stop_contact = {"stop of the contact measurement", EMI12_CONTACT, {0}, 1, 0};

static struct request get(const char *what, uint16_t reply) {
  return (struct request){what, EMI12_GET, {(uint8_t)reply, (uint8_t)(reply >> 8)}, 2, reply};
}

/* ---- identify ----------------------------------------------------------------------------------------------- */

#define FIRMWARE_TEXT 11

static int read_firmware(struct link *l, struct acq_identity *ret) {
  const struct request q = get("question for the firmware version", EMI12_FIRMWARE);
  struct emi12_frame frame;
  int r = ask(l, &q, &frame);
  if (r < 0)
    return r;
  const uint8_t *text = acq_bytes(&frame.data, FIRMWARE_TEXT);
  if (!text || acq_end(&frame.data) < 0)
    return acq_fail(l->io, -EPROTO, "the firmware version is not %d characters", FIRMWARE_TEXT);
  size_t n = FIRMWARE_TEXT;
  while (n && (text[n - 1] == 0 || text[n - 1] == ' '))
    n--;
  for (size_t i = 0; i < n; i++)
    if (text[i] < 0x20 || text[i] > 0x7e)
      return acq_fail(l->io, -EPROTO, "the firmware version is not ASCII");
  memcpy(ret->firmware, text, n);
  return 0;
}

static int identify(struct acq_io *io, struct acq_identity *ret) {
  struct link link, *l = &link;
  struct emi12_frame frame;
  struct acq_identity id = {.make = "Corscience", .model = "EMI12"};
  link_init(l, io);
  l->identifying = true;
  /* A module that was left streaming answers behind its data: quieten it first. */
  int r = ask(l, &stop_ecg, &frame);
  if (r == 0)
    r = ask(l, &stop_contact, &frame);
  const struct request who = get("question for the identification", EMI12_IDENTIFICATION);
  if (r == 0)
    r = ask(l, &who, &frame);
  if (r < 0)
    return r;
  uint8_t a = acq_u8(&frame.data), b = acq_u8(&frame.data);
  if (acq_end(&frame.data) < 0 || a != 0x01 || b != 0x1e)
    return acq_fail(io, -ENXIO, "the identification is not that of an EMI12");
  r = read_firmware(l, &id);
  const struct request version = get("question for the protocol version", EMI12_VERSION);
  if (r == 0)
    r = ask(l, &version, &frame);
  if (r < 0)
    return r;
  if (!acq_left(&frame.data))
    return acq_fail(io, -EPROTO, "the protocol version is missing");
  *ret = id;
  return 0;
}

/* ---- acquire ------------------------------------------------------------------------------------------------ */

#define TEST_RAM 0x80
#define TEST_FLASH 0x40
#define TEST_PLD 0x20
#define TEST_ALL (TEST_RAM | TEST_FLASH | TEST_PLD)

/* The module may still be starting: it is asked again, after a pause, until it passes. */
static int self_test(struct link *l) {
  const struct request q = get("self-test", EMI12_SELF_TEST);
  uint8_t result = 0;
  for (unsigned i = 0; i < SELF_TESTS; i++) {
    struct emi12_frame frame;
    int r = i ? drain(l, SELF_TEST_PAUSE_MS) : 0;
    if (r == 0)
      r = ask(l, &q, &frame);
    if (r < 0)
      return r;
    result = acq_u8(&frame.data);
    acq_u8(&frame.data); /* 20 in the one known answer, E4 20 */
    if (acq_end(&frame.data) < 0)
      return acq_fail(l->io, -EPROTO, "the answer to the self-test is not two bytes");
    if ((result & TEST_ALL) == TEST_ALL)
      return 0;
  }
  return acq_fail(l->io, -EIO, "the self-test failed %u times:%s%s%s", SELF_TESTS, result & TEST_RAM ? "" : " RAM",
                  result & TEST_FLASH ? "" : " flash", result & TEST_PLD ? "" : " PLD/ADC");
}

static int set_threshold(struct link *l) {
  static const struct request q = {"contact threshold", EMI12_THRESHOLD, {0x00, 0x9f, 0x24}, 3, EMI12_THRESHOLD_SET};
  struct emi12_frame frame;
  int r = ask(l, &q, &frame);
  /* What the confirmation holds is not written anywhere. If it is the threshold, it must be ours. */
  if (r == 0 && acq_left(&frame.data) == 3 && memcmp(frame.data.at, q.data, 3))
    return acq_fail(l->io, -EPROTO, "the module confirms another contact threshold");
  return r;
}

/* The electrodes before the recording, for the nurse. A module that acknowledges and then reports nothing is let be:
 * nowhere is it written when the reports come. */
static int measure_contacts(struct link *l) {
  static const struct request start = {"start of the contact measurement", EMI12_CONTACT, {1}, 1, 0};
  struct emi12_frame frame;
  l->measuring = true;
  int r = ask(l, &start, &frame);
  if (r < 0)
    return r;
  wait_begin(l);
  while (!l->contact_reported && (r = receive(l, CONTACT_MS, &frame)) == 0)
    meet(l, &frame);
  l->measuring = false;
  if (r < 0 && r != -ETIMEDOUT)
    return r;
  return ask(l, &stop_contact, &frame);
}

static int configure(struct link *l) {
  static const struct request q = {"configuration", EMI12_CONFIGURE, {LEADS_CODE_12, RATE_CODE}, 2, EMI12_CONFIGURED};
  struct emi12_frame frame;
  int r = ask(l, &q, &frame);
  if (r < 0)
    return r;
  uint8_t leads = acq_u8(&frame.data), rate = acq_u8(&frame.data);
  if (acq_end(&frame.data) < 0)
    return acq_fail(l->io, -EPROTO, "the confirmation of the configuration is not two bytes");
  if (leads != LEADS_CODE_12 || rate != RATE_CODE)
    return acq_fail(l->io, -EPROTO, "the module confirms lead code %u and %u Hz instead of %u and %u Hz", leads,
                    rate * 100u, LEADS_CODE_12, RATE_HZ);
  return 0;
}

/* Before another try the module is stopped: a start that did arrive, and whose answer was lost, must not leave sets
 * of an earlier count in the recording. */
static int start_ecg(struct link *l, struct live *v) {
  static const struct request q = {"start of the ECG", EMI12_STREAM, {1}, 1, 0};
  const uint32_t wanted = v->wanted, max_sets = v->line.max_sets;
  struct emi12_frame frame;
  uint32_t heard = 0, damaged = 0;
  for (unsigned i = 0; i < TRIES; i++) {
    *v = (struct live){.wanted = wanted, .line = {.from_start = true, .max_sets = max_sets}};
    if (i) {
      l->live = NULL;
      int r = ask(l, &stop_ecg, &frame);
      if (r == 0)
        r = drain(l, QUIET_MS);
      if (r < 0)
        return r;
    }
    l->live = v;
    l->damaged = 0;
    int r = ask_once(l, &q, ANSWER_MS, &frame);
    if (r != -ETIMEDOUT)
      return r;
    heard += l->heard;
    damaged += l->damaged;
  }
  l->damaged = damaged;
  return ask_failed(l, &q, heard);
}

static int record(struct link *l, struct live *v, uint32_t seconds) {
  const uint64_t deadline = acq_elapsed_ms(l->io) + seconds * UINT64_C(1000) + STREAM_OVER_MS;
  uint32_t sets = v->line.sets;
  l->damaged = 0;
  wait_begin(l);
  while (v->line.sets < v->wanted) {
    struct emi12_frame frame;
    int r = receive(l, IDLE_MS, &frame);
    if (r == -ETIMEDOUT && l->damaged)
      return acq_fail(l->io, -EBADMSG, "nothing but damaged frames after %u sets (%u, the last: %s)", v->line.sets,
                      l->damaged, l->damage);
    if (r == -ETIMEDOUT)
      return acq_fail(l->io, -ETIMEDOUT, "the ECG stopped after %u of %u sets", v->line.sets, v->wanted);
    if (r == 0)
      r = meet(l, &frame);
    if (r < 0)
      return r;
    if (acq_elapsed_ms(l->io) > deadline)
      return acq_fail(l->io, -ETIMEDOUT, "the ECG is too slow: %u of %u sets in %u s", v->line.sets, v->wanted,
                      seconds + STREAM_OVER_MS / 1000);
    if (v->line.sets != sets) {
      sets = v->line.sets;
      l->damaged = 0;
      wait_begin(l);
    }
  }
  return 0;
}

/* The reading is whole by now. If the stop is not acknowledged the samples are still right: release() tries again,
 * and the next identify() does. Frames that still arrive belong to the reading. */
static int stop(struct link *l) {
  struct emi12_frame frame;
  int r = -ETIMEDOUT;
  for (unsigned i = 0; i < TRIES && r == -ETIMEDOUT; i++)
    r = ask_once(l, &stop_ecg, ANSWER_MS, &frame);
  if (r == 0)
    r = drain(l, QUIET_MS);
  return r == -ETIMEDOUT ? 0 : r;
}

static int acquire(struct acq_io *io, const struct acq_order *order) {
  struct link link, *l = &link;
  struct live live = {.wanted = order->seconds * RATE_HZ,
                      .line = {.max_sets = (order->seconds + OVER_SECONDS) * RATE_HZ}};
  if (!order->seconds || order->seconds > SECONDS_MAX)
    return acq_fail(io, -EINVAL, "%u seconds cannot be ordered", order->seconds);
  link_init(l, io);
  acq_progress(io, 0, live.wanted);
  int r = self_test(l);
  if (r == 0)
    r = set_threshold(l);
  if (r == 0)
    r = measure_contacts(l);
  if (r == 0)
    r = configure(l);
  if (r == 0)
    r = start_ecg(l, &live);
  if (r == 0)
    r = record(l, &live, order->seconds);
  if (r == 0)
    r = stop(l);
  if (r == 0)
    show_preview(l);
  return r;
}

/* ---- release ------------------------------------------------------------------------------------------------ */

/* Whatever the module says or does not say, the reading is what it is: only a lost port or a cancel is passed on. */
static int release(struct acq_io *io) {
  struct link link, *l = &link;
  struct emi12_frame frame;
  const struct request *const stops[] = {&stop_ecg, &stop_contact};
  link_init(l, io);
  for (unsigned s = 0; s < 2; s++) {
    int r = -ETIMEDOUT;
    for (unsigned i = 0; i < 2 && r == -ETIMEDOUT; i++)
      r = ask_once(l, stops[s], RELEASE_ANSWER_MS, &frame);
    if (r < 0 && r != -ETIMEDOUT)
      return r;
  }
  return 0;
}

/* ---- decode ------------------------------------------------------------------------------------------------- */

struct lead_state {
  unsigned channel;
  int16_t first;
  bool moves; /* two samples differ */
  uint32_t at_rail;
};

struct decoding {
  struct acq_record *record;
  struct timeline line;
  bool hosted; /* the capture has the host's side */
  uint32_t rate_hz;
  bool rate_confirmed, open;
  uint32_t samples, damaged, repeated;
  uint32_t gaps, missing, gap_first; /* of all gaps; of the first one */
  uint32_t frames, off[WIRE_CONTACTS_N];
  bool contacts_known;
  struct lead_state leads[LEADS];
  struct emi12_ecg ecg;
  struct emi12_reader reader;
};

static int read_configuration(struct decoding *d, const struct emi12_frame *frame) {
  struct acq_cur c = frame->data;
  uint8_t leads = acq_u8(&c), rate = acq_u8(&c);
  if (acq_end(&c) < 0 || leads != LEADS_CODE_12 || (rate != 1 && rate != 2 && rate != 5 && rate != 10))
    return acq_rec_fail(d->record, -EPROTO, "the module confirms a configuration that is none for 12 leads");
  if (d->open && rate * 100u != d->rate_hz)
    return acq_rec_fail(d->record, -EPROTO, "the sampling rate changes within the recording");
  d->rate_hz = rate * 100u;
  d->rate_confirmed = true;
  return 0;
}

static void open_channels(struct decoding *d) {
  for (unsigned i = 0; i < LEADS; i++)
    d->leads[i].channel =
        acq_rec_channel(d->record, lead_codes[i], (struct dec){(int32_t)d->rate_hz, 0}, scale, lead_derived[i]);
  d->open = true;
}

static void add_gap(struct decoding *d, uint32_t at, uint32_t missing) {
  for (unsigned i = 0; i < LEADS; i++)
    acq_rec_gap(d->record, d->leads[i].channel, missing);
  if (!d->gaps++)
    d->gap_first = at;
  d->missing += missing;
}

static void add_sets(struct decoding *d) {
  int16_t values[LEADS][EMI12_SETS_MAX], leads[LEADS];
  const struct emi12_ecg *e = &d->ecg;
  for (unsigned s = 0; s < e->sets; s++) {
    set_leads(e->values[s], leads);
    for (unsigned i = 0; i < LEADS; i++) {
      struct lead_state *lead = &d->leads[i];
      values[i][s] = leads[i];
      if (!d->samples)
        lead->first = leads[i];
      lead->moves |= leads[i] != lead->first;
      lead->at_rail += leads[i] == EMI12_SAMPLE_MIN || leads[i] == EMI12_SAMPLE_MAX;
    }
    d->samples++;
  }
  for (unsigned i = 0; i < LEADS; i++)
    acq_rec_samples(d->record, d->leads[i].channel, values[i], e->sets);
}

static void count_contacts(struct decoding *d) {
  d->frames++;
  d->contacts_known |= d->ecg.contacts != 0;
  for (unsigned i = 0; i < WIRE_CONTACTS_N; i++)
    d->off[i] += !(d->ecg.contacts >> i & 1);
}

static int add_ecg(struct decoding *d, const struct emi12_frame *frame) {
  uint32_t missing, before = d->line.counter, at = d->line.sets;
  if (emi12_ecg_read(frame, &d->ecg) < 0) {
    d->damaged++;
    return 0;
  }
  d->line.max_sets = (SECONDS_MAX + OVER_SECONDS_DECODE) * d->rate_hz;
  switch (timeline_place(&d->line, &d->ecg, frame->crc, &missing)) {
  case PLACE_REPEATED:
    d->repeated++;
    return 0;
  case PLACE_DAMAGED:
    d->damaged++;
    return 0;
  case PLACE_IMPOSSIBLE:
    return acq_rec_fail(d->record, -EPROTO, "the data set counter went from %u to %u", before, d->ecg.counter);
  case PLACED:
    break;
  }
  if (!d->open)
    open_channels(d);
  if (missing)
    add_gap(d, at, missing);
  add_sets(d);
  count_contacts(d);
  return 0;
}

/* Everything received in one event. */
static int add_bytes(struct decoding *d, const uint8_t *bytes, size_t n, bool recording) {
  struct acq_cur in = acq_cur(bytes, n);
  struct emi12_frame frame;
  enum emi12_status status;
  while ((status = emi12_read(&d->reader, &in, &frame)) != EMI12_MORE) {
    int r = 0;
    if (status == EMI12_DAMAGED)
      d->damaged += recording;
    else if (frame.command == EMI12_CONFIGURED)
      r = read_configuration(d, &frame);
    else if (frame.command == EMI12_ECG && recording)
      r = add_ecg(d, &frame);
    if (r < 0)
      return r;
  }
  return 0;
}

/* The index of the event with which the last start was sent; -1 when there is none. Sets received before it belong
 * to no recording or, worse, to that of the patient before. */
static ptrdiff_t find_start(const struct acq_capture *capture, bool *ret_hosted) {
  struct emi12_reader host;
  struct acq_event event;
  ptrdiff_t start = -1;
  emi12_reader_init(&host);
  for (size_t i = 0; acq_capture_event(capture, i, &event); i++) {
    if (event.kind != ACQ_SENT)
      continue;
    *ret_hosted = true;
    struct acq_cur in = acq_cur(event.bytes, event.n);
    struct emi12_frame frame;
    enum emi12_status status;
    while ((status = emi12_read(&host, &in, &frame)) != EMI12_MORE)
      if (status == EMI12_FRAME && frame.command == EMI12_STREAM && acq_u8(&frame.data) == 1)
        start = (ptrdiff_t)i;
  }
  return start;
}

/* "0,022 s" */
static void put_seconds(char text[static 24], uint32_t sets, uint32_t rate_hz) {
  uint32_t ms = sets * (1000 / rate_hz);
  snprintf(text, 24, "%u,%03u s", ms / 1000, ms % 1000);
}

static void judge_gaps(struct decoding *d) {
  char subject[ACQ_TEXT_MAX], length[24], first[24];
  if (!d->gaps)
    return;
  put_seconds(length, d->missing, d->rate_hz);
  put_seconds(first, d->gap_first, d->rate_hz);
  if (d->gaps == 1)
    snprintf(subject, sizeof subject, "%s à partir de %s", length, first);
  else
    snprintf(subject, sizeof subject, "%s en %u fois", length, d->gaps);
  acq_rec_quality(d->record, "samples_missing", subject, d->gaps);
}

static void judge_leads(struct decoding *d) {
  /* A second is needed to call a line flat, 20 ms at the end of the converter's range to call it saturated. */
  for (unsigned i = 0; i < LEADS && d->samples >= d->rate_hz; i++)
    if (!d->leads[i].moves)
      acq_rec_quality(d->record, "lead_flat", lead_codes[i], 1);
  for (unsigned i = 0; i < LEADS; i++)
    if (!lead_derived[i] && d->leads[i].at_rail * 1000u >= 20u * d->rate_hz)
      acq_rec_quality(d->record, "lead_saturated", lead_codes[i], d->leads[i].at_rail);
}

static void judge(struct decoding *d) {
  if (!d->rate_confirmed)
    acq_rec_quality(d->record, "sampling_rate_assumed", "", 1);
  if (d->damaged)
    acq_rec_quality(d->record, "frame_damaged", "", d->damaged);
  if (d->repeated)
    acq_rec_quality(d->record, "frame_repeated", "", d->repeated);
  judge_gaps(d);
  if (!d->contacts_known)
    acq_rec_quality(d->record, "electrode_contact_unknown", "", 1);
  for (unsigned i = 0; i < WIRE_CONTACTS_N && d->contacts_known; i++)
    if (d->off[i])
      acq_rec_quality(d->record, "electrode_off", electrode_codes[electrode_of_bit[i]], d->off[i]);
  judge_leads(d);
}

static int decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct decoding decoding, *d = &decoding;
  struct acq_event event;
  memset(d, 0, sizeof *d);
  d->record = ret;
  d->rate_hz = RATE_HZ;
  emi12_reader_init(&d->reader);
  const ptrdiff_t start = find_start(capture, &d->hosted);
  d->line.from_start = start >= 0;
  for (size_t i = 0; acq_capture_event(capture, i, &event); i++) {
    if ((ptrdiff_t)i == start)
      emi12_reader_init(&d->reader); /* a frame under way is a left-over */
    if (event.kind != ACQ_RECEIVED)
      continue;
    int r = add_bytes(d, event.bytes, event.n, d->hosted ? start >= 0 && (ptrdiff_t)i > start : true);
    if (r < 0)
      return r;
  }
  if (!d->samples && d->damaged)
    return acq_rec_fail(ret, -EBADMSG, "%u damaged frames and no good one", d->damaged);
  if (!d->samples)
    return acq_rec_fail(ret, -ENODATA, "the capture holds no ECG");
  judge(d);
  return acq_rec_done(ret);
}

/* ---- the driver --------------------------------------------------------------------------------------------- */

static const struct acq_match match[] = {
    /* The module's adapter is FTDI's standard chip: devices.d binds it. */
    {.bus = ACQ_SERIAL,
     .vendor = 0x0403,
     .product = 0x6001,
     .generic = true,
     .baud = 230400,
     .parity = ACQ_PARITY_NONE},
    {.bus = 0},
};

const struct acq_driver corscience_emi12 = {
    .abi = ACQ_DRIVER_ABI,
    .name = "corscience_emi12",
    .version = "1",
    .label = "ECG 12 dérivations Corscience EMI12",
    .modalities = ACQ_MODALITY(ACQ_ECG),
    .maturity = ACQ_EXPERIMENTAL,
    .integrity = ACQ_CRC16,
    .match = match,
    .limits =
        {
            .max_bytes = 23040 * (SECONDS_MAX + OVER_SECONDS_DECODE), /* the line at its full rate */
            .max_seconds = SECONDS_MAX,
            .default_seconds = 10,
            .idle_ms = IDLE_MS,
            .grace_ms = OVER_SECONDS_DECODE * 1000,
        },
    .identify = identify,
    .acquire = acquire,
    .release = release,
    .decode = decode,
};
