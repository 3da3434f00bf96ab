/* ISO/IEEE 11073-20601 over USB's personal healthcare class: the manager of any agent that describes itself.
 * README.md says what is known and how well; apdu.h, dim.h, report.h and segment.h have the wire. */
#include "decode.h"
#include "descriptor.h"
#include "manager.h"

#include <stdio.h>
#include <string.h>

#define SECONDS_MAX 300u
#define SLICE_MS 1000u     /* of waiting, between two looks at the progress */
#define QUIET_S 10u        /* after a reading: nothing more is coming */
#define QUIET_BLOWS_S 6u   /* the same of a spirometer: the nurse sees how good the blow was before the next */
#define STORE_S 10u        /* of silence, until a store is asked again for what it got meanwhile */
#define SIGNAL_SILENT_S 5u /* after a signal: the agent has ended its recording */
#define SIGNAL_OVER_MS 10000u
#define CONTROL_MS 1000u
#define CONFIGURATION_MAX 2048 /* bytes of descriptors */

/* What identify() learns and acquire() and release() go on with: the association lasts from one to the other, and
 * acq_io has no room for a driver's own. One process makes one acquisition; identify() begins it anew. */
static struct phd_session session;

/* ---- USB ----------------------------------------------------------------------------------------------------- */

enum {
  GET_STATUS = 0,
  CLEAR_FEATURE = 1,
  GET_DESCRIPTOR = 6,
  TO_INTERFACE = 0x21, /* class requests */
  FROM_INTERFACE = 0xa1,
  FROM_DEVICE = 0x80, /* standard request */
};
#define CONFIGURATION_DESCRIPTOR 0x0200 /* the first one */
#define CONFIGURATION_HEAD 9
#define FEATURE_PREAMBLE 1

static int get_descriptor(struct acq_io *io, uint8_t *bytes, uint16_t n) {
  int r = acq_usb_control(io, FROM_DEVICE, GET_DESCRIPTOR, CONFIGURATION_DESCRIPTOR, 0, bytes, n, CONTROL_MS);
  if (r == -EPIPE || (r >= 0 && r != n))
    return acq_fail(io, -EPROTO, "the device does not give its configuration descriptor");
  return r;
}

static int find_function(struct acq_io *io, struct phdc_function *ret) {
  uint8_t bytes[CONFIGURATION_MAX];
  const char *why;
  int r = get_descriptor(io, bytes, CONFIGURATION_HEAD);
  if (r < 0)
    return r;
  uint16_t total = (uint16_t)(bytes[2] | bytes[3] << 8);
  if (total < CONFIGURATION_HEAD || total > sizeof bytes)
    return acq_fail(io, -EPROTO, "a configuration descriptor of %u bytes", total);
  r = get_descriptor(io, bytes, total);
  if (r < 0)
    return r;
  r = phdc_function_read(acq_cur(bytes, total), ret, &why);
  return r < 0 ? acq_fail(io, r, "%s", why) : 0;
}

/* The preamble is off unless somebody asked for it; a program before us may have. A device that does not know the
 * request stalls it. */
static int clear_preamble(struct acq_io *io, const struct phdc_function *f) {
  if (!f->preamble)
    return 0;
  int r = acq_usb_control(io, TO_INTERFACE, CLEAR_FEATURE, FEATURE_PREAMBLE, f->interface, NULL, 0, CONTROL_MS);
  return r < 0 && r != -EPIPE ? r : 0;
}

/* When nothing came: is there something where we do not look? */
static int explain_silence(struct acq_io *io, const struct phdc_function *f, int err) {
  uint8_t status[2];
  int r = acq_usb_control(io, FROM_INTERFACE, GET_STATUS, 0, f->interface, status, sizeof status, CONTROL_MS);
  if (r == -ENODEV || r == -ECANCELED)
    return r;
  if (r == sizeof status && (status[0] | status[1] << 8) & f->others)
    return acq_fail(io, -EPROTO, "the instrument sends on an endpoint that is not its first one");
  return acq_fail(io, err, "the instrument does not ask for an association");
}

/* ---- identify ------------------------------------------------------------------------------------------------ */

static void put_system_id(const uint8_t id[static PHD_SYSTEM_ID], char text[static ACQ_TEXT_MAX]) {
  for (unsigned i = 0; i < PHD_SYSTEM_ID; i++)
    snprintf(text + 2 * i, 3, "%02X", id[i]);
}

static bool has_any_reading(const struct phd_live *l) {
  return l->untimed || l->timed[PHD_ABSOLUTE] || l->timed[PHD_BASE_OFFSET] || l->timed[PHD_RELATIVE];
}

static int identify(struct acq_io *io, struct acq_identity *ret) {
  struct phd_session *s = &session;
  struct phdc_function function;
  phd_session_init(s, io);
  int r = find_function(io, &function);
  if (r == 0)
    r = clear_preamble(io, &function);
  /* An agent may end the association before it has told who it is. If it has given a reading, that is that. */
  while (r == 0 && !s->mds.known && !(s->associations && has_any_reading(&s->live))) {
    r = phd_associate(s);
    if (r == PHD_SILENT)
      return explain_silence(io, &function, -ETIMEDOUT);
    if (r == 0)
      r = phd_ask_mds(s);
    r = r < 0 ? r : 0;
  }
  if (r < 0)
    return r;
  *ret = s->mds.identity;
  if (!ret->serial[0])
    put_system_id(s->system_id, ret->serial);
  return 0;
}

/* ---- acquire ------------------------------------------------------------------------------------------------- */

static int check_modality(const struct phd_session *s, const struct acq_order *order) {
  char what[64] = "";
  unsigned set = phd_modalities(&s->dim, &s->mds);
  if (set & ACQ_MODALITY(order->modality))
    return 0;
  for (enum acq_modality m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++)
    if (set & ACQ_MODALITY(m))
      snprintf(what + strlen(what), sizeof what - strlen(what), " %s", acq_modality_name(m));
  return acq_fail(s->io, -ENXIO, "the order is for %s, the instrument does:%s", acq_modality_name(order->modality),
                  what[0] ? what : " nothing that is known");
}

/* Once for each association, as soon as it operates. */
static int prepare(struct phd_session *s, const struct acq_order *order) {
  int r = s->mds.known ? 0 : phd_ask_mds(s);
  if (r == 0)
    r = check_modality(s, order);
  if (r == 0)
    r = phd_start_scanners(s);
  if (r == 0)
    r = phd_read_stores(s);
  s->prepared = true; /* the next association, if this one is over, begins anew */
  return r < 0 ? r : 0;
}

struct wait {
  const struct acq_order *order;
  uint64_t began, signal_began; /* acq_elapsed_ms(); 0: no signal yet */
  unsigned silent_s;
};

static void show_progress(const struct phd_session *s, const struct wait *w) {
  const uint32_t total = w->order->seconds * 1000;
  const bool signal = w->order->modality == ACQ_ECG && s->live.signal;
  uint64_t done = signal ? phd_live_ticks(&s->live) / 8 : acq_elapsed_ms(s->io) - w->began;
  acq_progress(s->io, done < total ? (uint32_t)done : total, total);
}

/* 1 when the signal is whole, 0 while it goes on. An agent may end its recording earlier: the record says how long it
 * is. */
static int judge_signal(const struct phd_session *s, struct wait *w) {
  const uint64_t now = acq_elapsed_ms(s->io);
  if (!w->signal_began)
    w->signal_began = now;
  if (phd_live_ticks(&s->live) >= w->order->seconds * UINT64_C(8000) || s->state == PHD_UNASSOCIATED ||
      w->silent_s >= SIGNAL_SILENT_S)
    return 1;
  if (now - w->signal_began > w->order->seconds * UINT64_C(1000) + SIGNAL_OVER_MS)
    return acq_fail(s->io, -ETIMEDOUT, "the signal is too slow");
  return 0;
}

static bool is_over(const struct phd_session *s, const struct wait *w) {
  return (acq_elapsed_ms(s->io) - w->began + SLICE_MS / 2) / 1000 >= w->order->seconds;
}

/* What an agent stores, it does not send by itself. */
static int ask_stores(struct phd_session *s, struct wait *w) {
  const uint32_t before = s->live.values;
  if (s->state != PHD_OPERATING || (w->silent_s % STORE_S && !is_over(s, w)))
    return 0;
  int r = w->silent_s ? phd_read_stores(s) : 0;
  if (s->live.values != before)
    w->silent_s = 0;
  return r < 0 ? r : 0;
}

/* The same of a reading. It is whole when the agent ends the association, or says nothing more for a while. */
static int judge_reading(struct phd_session *s, struct wait *w) {
  const unsigned quiet = w->order->modality == ACQ_SPIROMETRY ? QUIET_BLOWS_S : QUIET_S;
  int r = ask_stores(s, w);
  if (r < 0)
    return r;
  bool has = phd_live_has_reading(&s->live, &s->clocks);
  if (has && (s->state == PHD_UNASSOCIATED || w->silent_s >= quiet || is_over(s, w)))
    return 1;
  return is_over(s, w) ? acq_fail(s->io, -ENODATA, "no reading came in %u s", w->order->seconds) : 0;
}

static int acquire(struct acq_io *io, const struct acq_order *order) {
  struct phd_session *s = &session;
  struct wait w = {.order = order, .began = acq_elapsed_ms(io)};
  if (!order->seconds || order->seconds > SECONDS_MAX)
    return acq_fail(io, -EINVAL, "%u seconds cannot be ordered", order->seconds);
  s->io = io;
  s->clocks.order = order;
  for (;;) {
    int r = s->state == PHD_CONFIGURING ? phd_configure(s) : 0;
    if (r == 0 && s->state == PHD_OPERATING && !s->prepared)
      r = prepare(s, order);
    if (r == 0 && s->live.infinite) /* confirmed by now, so that it does not come back */
      r = acq_fail(io, -ERANGE, "%s is infinite", s->live.infinite);
    if (r == 0)
      r = order->modality == ACQ_ECG && s->live.signal ? judge_signal(s, &w) : judge_reading(s, &w);
    if (r)
      return r < 0 ? r : 0;
    show_progress(s, &w);
    r = phd_step(s, SLICE_MS);
    if (r < 0)
      return r;
    w.silent_s = r == PHD_SILENT ? w.silent_s + 1 : 0;
  }
}

/* ---- release ------------------------------------------------------------------------------------------------- */

static int release(struct acq_io *io) {
  session.io = io;
  return phd_release(&session);
}

/* ---- the driver ---------------------------------------------------------------------------------------------- */

static const struct acq_match match[] = {
    {.bus = ACQ_USB, .usb_class = PHDC_CLASS},
    {.bus = 0},
};

const struct acq_driver ieee11073_phdc = {
    .abi = ACQ_DRIVER_ABI,
    .name = "ieee11073_phdc",
    .version = "1",
    .label = "Appareil ISO/IEEE 11073 sur USB",
    .modalities = ACQ_MODALITY(ACQ_SPIROMETRY) | ACQ_MODALITY(ACQ_ECG) | ACQ_MODALITY(ACQ_MEASUREMENT),
    .maturity = ACQ_EXPERIMENTAL,
    .integrity = ACQ_NONE,
    .match = match,
    .limits =
        {
            .max_bytes = 16u << 20, /* twelve leads of 32 bits at 1 kHz for the longest order */
            .max_seconds = SECONDS_MAX,
            .default_seconds = 120,
            .idle_ms = PHD_ASSOCIATION_MS,
            .grace_ms = 60000,
        },
    .identify = identify,
    .acquire = acquire,
    .release = release,
    .decode = phd_decode,
};
