#include "curve.h"

#include <stdlib.h>
#include <string.h>

#define GAP_MAX_US INT64_C(5000000) /* a longer pause is another curve */
#define SLACK_US INT64_C(20000)     /* time stamps have hundredths of a second */
#define BESIDE_US INT64_C(5000000)  /* a reading may be stamped so much before or after its curve */
#define TICK_US 125

static int refuse(struct phd_curves *c, int err, const char *why) {
  c->why = why;
  return err;
}

void phd_curves_begin(struct phd_curves *c, bool first_pass) {
  c->first_pass = first_pass;
  c->n_seen = 0;
  c->repeated_apdu = c->gap_apdu = 0;
  memset(c->running, 0, sizeof c->running);
}

void phd_curves_break(struct phd_curves *c) {
  for (unsigned i = 0; i < PHD_OBJECTS_MAX; i++)
    c->running[i].on = false;
}

static uint32_t hash_of(struct acq_cur c) {
  uint32_t hash = 2166136261u; /* FNV-1a */
  while (acq_left(&c))
    hash = (hash ^ acq_u8(&c)) * 16777619u;
  return hash;
}

/* ---- following a curve ----------------------------------------------------------------------------------------- */

/* From one stamp to another of the same kind; a counter wraps. */
static int64_t later_us(const struct phd_moment *m, int64_t from, int64_t to) {
  return m->kind == PHD_RELATIVE ? (int64_t)(int32_t)(uint32_t)(to - from) * TICK_US : to - from;
}

static int64_t add_us(const struct phd_moment *m, int64_t stamp, int64_t us) {
  return stamp + (m->kind == PHD_RELATIVE ? us / TICK_US : us);
}

enum step { GOES_ON, REPEATED, ANOTHER };

/* By time stamps. An agent may give all arrays of a curve the stamp of its beginning. */
static enum step step_by_time(const struct phd_curve *curve, const struct phd_running *r,
                              const struct phd_array_context *x, const struct phd_report *report, uint32_t hash,
                              uint64_t *ret_missing) {
  const int64_t period_us = curve->period_us;
  int64_t slack = period_us > SLACK_US ? period_us : SLACK_US, late = later_us(&x->moment, r->next_us, x->moment.id);
  if (late >= -slack && late <= slack)
    return GOES_ON;
  if (x->moment.id == r->stamp_us && hash == r->hash && x->apdu != r->apdu &&
      (report->number == r->report || x->association != r->association))
    return REPEATED;
  if (x->moment.id == curve->moment.id && x->association == r->association)
    return GOES_ON;
  if (late < 0 || late > GAP_MAX_US)
    return ANOTHER;
  *ret_missing = (uint64_t)((late + period_us / 2) / period_us);
  return GOES_ON;
}

/* By report numbers: reports that never came took as many samples with them as the one before had. */
static int step_by_number(struct phd_curves *c, const struct phd_running *r, const struct phd_array_context *x,
                          const struct phd_report *report, uint32_t hash, enum step *ret, uint64_t *ret_missing) {
  const uint16_t step = (uint16_t)(report->number - r->report);
  *ret = GOES_ON;
  if (x->association != r->association)
    return refuse(c, -EPROTO, "a signal goes on in another association");
  if (x->stored || x->apdu == r->apdu || step == 1)
    return 0;
  if (step == 0 && hash == r->hash)
    *ret = REPEATED;
  else if (step & 0x8000)
    return refuse(c, -EPROTO, "the reports of a signal are numbered backwards");
  else if (step)
    *ret_missing = (step - 1u) * (uint64_t)r->samples;
  return 0;
}

/* ---- beginning one --------------------------------------------------------------------------------------------- */

/* A curve that was sent before, in this association or another. */
static bool came_before(const struct phd_curves *c, const struct phd_curve *curve) {
  for (unsigned i = 0; i < c->n && curve->moment.kind != PHD_UNTIMED; i++)
    if (!c->at[i].again && c->at[i].wave.row == curve->wave.row && phd_same_moment(&c->at[i].moment, &curve->moment))
      return true;
  return false;
}

static int begin(struct phd_curves *c, struct phd_running *r, const struct phd_array_context *x,
                 const struct phd_observation *ob) {
  const char *why;
  struct phd_curve curve = {.handle = ob->object->handle,
                            .stored = x->stored,
                            .period_us = ob->object->array.period * (int64_t)TICK_US,
                            .moment = x->moment};
  int err = phd_wave_init(&curve.wave, ob->object, &why);
  if (err == -ENODATA) {
    c->unknown += c->first_pass;
    r->unknown = true;
    return 0;
  }
  if (err < 0)
    return refuse(c, err, why);
  *r = (struct phd_running){.on = true, .curve = c->n_seen++};
  if (!c->first_pass)
    return 0;
  if (c->n == PHD_CURVES_MAX)
    return refuse(c, -EPROTO, "more curves than a session has");
  curve.again = came_before(c, &curve);
  c->at[c->n++] = curve;
  return 0;
}

/* ---- placing --------------------------------------------------------------------------------------------------- */

static uint32_t in_ms(const struct phd_curve *curve, uint64_t samples) {
  return (uint32_t)(samples * (uint64_t)curve->period_us / 1000);
}

/* Channels lose what they lose together: it is counted once a report. */
static void count_gap(struct phd_curves *c, const struct phd_curve *curve, uint64_t missing, uint32_t apdu) {
  if (!c->first_pass || c->gap_apdu == apdu)
    return;
  if (!c->gaps++)
    c->gap_ms = in_ms(curve, curve->samples);
  c->missing_ms += in_ms(curve, missing);
  c->gap_apdu = apdu;
}

static void count_repeated(struct phd_curves *c, uint32_t apdu) {
  c->repeated += c->first_pass && c->repeated_apdu != apdu;
  c->repeated_apdu = apdu;
}

static int check_array(struct phd_curves *c, const struct phd_curve *curve, const struct phd_observation *ob) {
  int16_t part[256];
  struct acq_cur samples = ob->samples;
  int n;
  if (acq_left(&samples) != (size_t)ob->object->array.samples * curve->wave.bytes)
    return refuse(c, -EPROTO, "a sample array of another length than it was described with");
  while ((n = phd_wave_read(&curve->wave, &samples, part, sizeof part / sizeof *part)) > 0)
    ;
  return n < 0 ? refuse(c, n, "a sample does not fit 16 bits") : 0;
}

/* The curve that the array goes on with, or begins. */
static int find_curve(struct phd_curves *c, struct phd_running *r, const struct phd_array_context *x,
                      const struct phd_report *report, const struct phd_observation *ob, uint32_t hash, enum step *ret,
                      uint64_t *ret_missing) {
  *ret = ANOTHER;
  if (r->on) {
    const struct phd_curve *curve = &c->at[r->curve];
    int err = 0;
    if (curve->handle != ob->object->handle || curve->moment.kind != x->moment.kind)
      *ret = ANOTHER;
    else if (x->moment.kind == PHD_UNTIMED)
      err = step_by_number(c, r, x, report, hash, ret, ret_missing);
    else
      *ret = step_by_time(curve, r, x, report, hash, ret_missing);
    if (err < 0)
      return err;
  }
  return *ret == ANOTHER ? begin(c, r, x, ob) : 0;
}

int phd_curves_place(struct phd_curves *c, const struct phd_array_context *x, const struct phd_report *report,
                     const struct phd_observation *ob, struct phd_place *ret) {
  struct phd_running *r = &c->running[x->object];
  const uint32_t hash = hash_of(ob->samples);
  enum step step;
  *ret = (struct phd_place){0};
  if (r->unknown)
    return 0;
  int err = find_curve(c, r, x, report, ob, hash, &step, &ret->missing);
  if (err < 0 || r->unknown)
    return err;
  struct phd_curve *curve = &c->at[r->curve];
  if (step == REPEATED || curve->again)
    count_repeated(c, x->apdu);
  if (step == REPEATED)
    return 0;
  if (c->first_pass && (err = check_array(c, curve, ob)) < 0)
    return err;
  if (ret->missing)
    count_gap(c, curve, ret->missing, x->apdu);
  const uint32_t n = ob->object->array.samples;
  curve->samples += c->first_pass ? ret->missing + n : 0;
  r->samples = r->apdu == x->apdu ? r->samples + n : n;
  r->apdu = x->apdu;
  r->association = x->association;
  r->report = report->number;
  r->hash = hash;
  r->stamp_us = x->moment.id;
  /* Arrays with the stamp of the beginning go on from where the last one ended. */
  const bool from_start = x->moment.id == curve->moment.id && step == GOES_ON;
  r->next_us = add_us(&x->moment, from_start ? r->next_us : x->moment.id, n * curve->period_us);
  ret->curve = curve->again ? NULL : curve;
  return 0;
}

/* ---- whose they are ---------------------------------------------------------------------------------------------- */

static bool has_curve(const struct phd_curves *c, unsigned trial, const struct nomenclature *row) {
  for (unsigned i = 0; i < c->n; i++)
    if (!c->at[i].again && c->at[i].trial == trial && c->at[i].wave.row == row)
      return true;
  return false;
}

/* The reading that was made while the curve was drawn, the nearest to its beginning; trials.n_trials when there is
 * none. */
static unsigned reading_of(const struct phd_curves *c, const struct phd_curve *curve, const struct phd_trials *t) {
  const int64_t begin = curve->moment.clock_us + curve->moment.slow_us,
                end = begin + (int64_t)(curve->samples * (uint64_t)curve->period_us);
  unsigned best = t->n_trials;
  int64_t best_us = INT64_MAX;
  for (unsigned i = 0; i < t->n_trials; i++) {
    const struct phd_moment *m = &t->trials[i].moment;
    int64_t at = m->clock_us + m->slow_us,
            apart = llabs(at - begin) < llabs(at - end) ? llabs(at - begin) : llabs(at - end);
    if (!m->timed || at < begin - BESIDE_US || at > end + BESIDE_US || apart >= best_us ||
        has_curve(c, i, curve->wave.row))
      continue;
    best = i;
    best_us = apart;
  }
  return best;
}

int phd_curves_settle(struct phd_curves *c, struct phd_trials *trials) {
  for (unsigned i = 0; i < c->n; i++)
    c->at[i].trial = PHD_OF_SESSION;
  for (unsigned i = 0; i < c->n; i++) {
    struct phd_curve *curve = &c->at[i];
    if (curve->again || (!curve->moment.timed && !curve->stored))
      continue;
    unsigned trial = curve->moment.timed ? reading_of(c, curve, trials) : trials->n_trials;
    if (trial == trials->n_trials && phd_trials_open(trials, &curve->moment) < 0)
      return refuse(c, -EPROTO, trials->why);
    curve->trial = trial;
  }
  return 0;
}
