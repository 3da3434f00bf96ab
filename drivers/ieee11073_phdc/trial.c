#include "trial.h"
#include "mdc.h"

#include <limits.h>

#define REPEATED UINT_MAX
#define PEF_KNOWN (PEF_POST_MEDICATION | PEF_LONG_TIME_TO_PEAK | PEF_SHORT_EFFORT | PEF_COUGH)

static int refuse(struct phd_trials *t, const char *why) {
  t->why = why;
  return -EPROTO;
}

bool phd_same_moment(const struct phd_moment *a, const struct phd_moment *b) {
  return a->kind == b->kind && a->id == b->id && a->person == b->person;
}

static bool same_value(const struct phd_value *a, const struct phd_value *b) {
  return a->missing == b->missing && a->bits == b->bits && (a->missing || dec_cmp(a->value, b->value) == 0) &&
         (a->missing || a->unit == b->unit);
}

#define FOR_EACH_VALUE(t, trial, v) \
  for (const struct phd_trial_value *v = at((t), (t)->trials[trial].first); v; v = at((t), v->next))

static const struct phd_trial_value *at(const struct phd_trials *t, unsigned number) {
  return number ? &t->values[number - 1] : NULL;
}

/* The trial's value of that code, or NULL. */
static const struct phd_value *find(const struct phd_trials *t, unsigned trial, uint32_t mdc) {
  FOR_EACH_VALUE(t, trial, v)
  if (v->value.mdc == mdc)
    return &v->value;
  return NULL;
}

static int keep(struct phd_trials *t, unsigned trial, const struct phd_value *value) {
  struct phd_trial *of = &t->trials[trial];
  if (t->n_values == PHD_VALUES_MAX)
    return refuse(t, "more values than a session has");
  t->values[t->n_values++] = (struct phd_trial_value){.value = *value};
  if (of->last)
    t->values[of->last - 1].next = (uint16_t)t->n_values;
  else
    of->first = (uint16_t)t->n_values;
  of->last = (uint16_t)t->n_values;
  return 0;
}

/* ---- groups -------------------------------------------------------------------------------------------------- */

struct group {
  unsigned n;
  const struct phd_moment *moment;
  const struct phd_value *values[PHD_GROUP_MAX];
};

static bool has_code(const struct group *g, uint32_t mdc) {
  for (unsigned i = 0; i < g->n; i++)
    if (g->values[i]->mdc == mdc)
      return true;
  return false;
}

/* The next group of the report: of the moment of the first value left, the first one left of each code. */
static void next_group(struct phd_trials *t, struct group *ret) {
  ret->n = 0;
  for (unsigned i = 0; i < t->n_group; i++) {
    struct phd_group_value *v = &t->group[i];
    if (v->used || (ret->n && !phd_same_moment(&v->moment, ret->moment)) || has_code(ret, v->value.mdc))
      continue;
    v->used = true;
    ret->moment = &v->moment;
    ret->values[ret->n++] = &v->value;
  }
}

static unsigned left_of(const struct phd_trials *t, const struct group *g, uint32_t mdc) {
  unsigned n = 0;
  for (unsigned i = 0; i < t->n_group; i++)
    n += !t->group[i].used && t->group[i].value.mdc == mdc && phd_same_moment(&t->group[i].moment, g->moment);
  return n;
}

/* Several readings of one moment must have the same values each: only then is it clear which belong together. */
static bool is_clear(const struct phd_trials *t, const struct group *g) {
  for (unsigned i = 1; i < g->n; i++)
    if (left_of(t, g, g->values[i]->mdc) != left_of(t, g, g->values[0]->mdc))
      return false;
  return true;
}

enum relation { DIFFERS, FITS, HAS_ALL };

static enum relation relate(const struct phd_trials *t, unsigned trial, const struct group *g) {
  enum relation relation = HAS_ALL;
  for (unsigned i = 0; i < g->n; i++) {
    const struct phd_value *mine = find(t, trial, g->values[i]->mdc);
    if (mine && !same_value(mine, g->values[i]))
      return DIFFERS;
    if (!mine)
      relation = FITS;
  }
  return relation;
}

/* The trial that the group joins: the latest one of its moment, when it fits there; a new one, n_trials; REPEATED when
 * some trial has all of it. Without a time, only the reading right before can be the same one. */
static unsigned trial_for(const struct phd_trials *t, const struct group *g) {
  unsigned trial = t->n_trials;
  for (unsigned i = t->n_trials, seen = 0; i-- > 0;) {
    if (!phd_same_moment(&t->trials[i].moment, g->moment))
      continue;
    enum relation relation = relate(t, i, g);
    if (relation == HAS_ALL)
      return REPEATED;
    if (relation == FITS && !seen)
      trial = i;
    if (g->moment->kind == PHD_UNTIMED)
      break;
    seen++;
  }
  return trial;
}

int phd_trials_open(struct phd_trials *t, const struct phd_moment *moment) {
  if (t->n_trials == ACQ_TRIALS_MAX)
    return refuse(t, "more readings than a session has");
  t->trials[t->n_trials++] = (struct phd_trial){.moment = *moment};
  return 0;
}

static int place(struct phd_trials *t, const struct group *g) {
  unsigned trial = trial_for(t, g);
  if (trial == REPEATED) {
    t->repeated++;
    return 0;
  }
  if (trial == t->n_trials && phd_trials_open(t, g->moment) < 0)
    return -EPROTO;
  for (unsigned i = 0; i < g->n; i++) {
    int r = find(t, trial, g->values[i]->mdc) ? 0 : keep(t, trial, g->values[i]);
    if (r < 0)
      return r;
  }
  return 0;
}

/* What the instrument remembers or predicts belongs to no blow. */
static int keep_for_session(struct phd_trials *t, const struct phd_value *value) {
  FOR_EACH_VALUE(t, PHD_OF_SESSION, v)
  if (v->value.mdc == value->mdc && same_value(&v->value, value))
    return 0;
  return keep(t, PHD_OF_SESSION, value);
}

int phd_trials_add(struct phd_trials *t, const struct phd_moment *moment, const struct phd_value *value) {
  if (value->row && value->row->kind == 'S')
    return value->missing ? 0 : keep_for_session(t, value);
  if (t->n_group == PHD_GROUP_MAX)
    return refuse(t, "more values in one report than can be kept");
  t->group[t->n_group++] = (struct phd_group_value){.moment = *moment, .value = *value};
  return 0;
}

int phd_trials_end(struct phd_trials *t) {
  struct group g;
  int r = 0;
  for (next_group(t, &g); g.n && r == 0; next_group(t, &g))
    r = is_clear(t, &g) ? place(t, &g) : refuse(t, "readings with one time stamp that cannot be told apart");
  t->n_group = 0;
  return r;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static uint32_t bits_of(const struct phd_trials *t, unsigned trial) {
  const struct phd_value *status = find(t, trial, (uint32_t)MDC_PART_PHD_DM << 16 | MDC_PEF_READING_STATUS);
  return status ? status->bits : 0;
}

static void write_status(struct acq_record *record, uint32_t bits) {
  static const struct {
    uint32_t bit;
    const char *code;
  } rows[] = {{PEF_LONG_TIME_TO_PEAK, "blow_slow"}, {PEF_SHORT_EFFORT, "blow_short"}, {PEF_COUGH, "blow_cough"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (bits >> 16 & rows[i].bit)
      acq_rec_quality(record, rows[i].code, "", 1);
  if (bits & ~((uint32_t)PEF_KNOWN << 16))
    acq_rec_quality(record, "blow_rejected", "", 1);
}

static void write_values(const struct phd_trials *t, unsigned trial, struct acq_record *record) {
  FOR_EACH_VALUE(t, trial, v) {
    if (v->value.missing)
      acq_rec_quality(record, "value_missing", "", 1);
    else if (v->value.row)
      acq_rec_measure(record, v->value.row->code, v->value.value, v->value.unit->ucum);
  }
}

void phd_trial_write(const struct phd_trials *t, unsigned trial, const struct acq_order *order,
                     struct acq_record *record) {
  if (trial == PHD_OF_SESSION) {
    acq_rec_trial(record, NULL);
    write_values(t, trial, record);
    if (t->repeated)
      acq_rec_quality(record, "reading_repeated", "", t->repeated);
    return;
  }
  const struct phd_moment *m = &t->trials[trial].moment;
  const uint32_t bits = bits_of(t, trial);
  const bool post = order->phase == ACQ_NO_PHASE && bits >> 16 & PEF_POST_MEDICATION;
  acq_rec_trial(record, &(struct acq_trial){.phase = post ? ACQ_POST : ACQ_NO_PHASE,
                                            .timed = m->timed,
                                            .compared = m->compared,
                                            .clock_us = m->clock_us,
                                            .slow_us = m->slow_us});
  write_values(t, trial, record);
  write_status(record, bits);
}
