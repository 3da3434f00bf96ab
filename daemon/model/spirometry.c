#include "spirometry.h"

#include <asalee/dec.h>
#include <asalee/driver.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum need { FREE, SEEN, MUST };
enum column { FEV1_ACCEPTABLE, FVC_ACCEPTABLE, FEV1_USABLE, FVC_USABLE };

static const struct criterion {
  const char *code;
  enum need need[4];
  const char *coaching;
} criteria[] = {
#define X(name, member, a, b, c, d, text) [SPIROMETRY_##name] = {member, {a, b, c, d}, text},
#include "spirometry.def"
#undef X
};

enum reason { NO_REASON, NO_CURVE, GAPS, NO_BLOW, SAMPLING, IMPLAUSIBLE, DISAGREE };

/* Why a curve measures nothing, and what that means for the next blow. */
static const struct {
  const char *code, *coaching;
} reasons[] = {
    [NO_CURVE] = {"no_curve", "Pas de courbe sur cet appareil : la qualité de cet essai n'est pas jugée."},
    [GAPS] = {"gaps", "Courbe incomplète : vérifier le branchement du spiromètre, puis recommencer."},
    [NO_BLOW] = {"no_blow", "Aucun souffle reconnu : bien serrer les lèvres autour de l'embout et souffler fort."},
    [SAMPLING] = {"sampling", "Courbe inexploitable : recommencer l'essai."},
    [IMPLAUSIBLE] = {"implausible", "Courbe inexploitable : recommencer l'essai."},
    [DISAGREE] = {"disagree", "Courbe inexploitable : recommencer l'essai."},
};

static const char *const phase_names[] = {"baseline", "pre", "post"};
static const char *const state_names[] = {"not_judged", "met", "failed"};
static const char *const verdict_names[] = {"not_judged", "no", "usable", "acceptable"};
static const char *const source_names[] = {"none", "device", "curve"};

#define COUNT(a) (sizeof a / sizeof *a)

struct trial {
  size_t record;
  int64_t number;
  size_t phase;
  enum { NO_SOURCE, FROM_DEVICE, FROM_CURVE } source;
  enum reason reason;
  struct spirometry_blow blow;
  enum spirometry_verdict fev1, fvc;
  const char *eofe_by;
};

struct study {
  struct trial *trials;
  size_t n;
  bool child; /* the limits of those up to 6 */
};

/* ---- verdicts --------------------------------------------------------------------------------------------------- */

static enum spirometry_state column_state(const struct spirometry_blow *b, enum column column) {
  enum spirometry_state state = SPIROMETRY_MET;
  for (size_t i = 0; i < COUNT(criteria); i++) {
    enum need need = criteria[i].need[column];
    if (need != FREE && b->criteria[i] == SPIROMETRY_FAILED)
      return SPIROMETRY_FAILED;
    if (need == MUST && b->criteria[i] == SPIROMETRY_NOT_JUDGED)
      state = SPIROMETRY_NOT_JUDGED;
  }
  return state;
}

static enum spirometry_verdict verdict(const struct spirometry_blow *b, int32_t value, enum column acceptable,
                                       enum column usable) {
  enum spirometry_state a = column_state(b, acceptable), u = column_state(b, usable);
  if (u == SPIROMETRY_FAILED)
    return SPIROMETRY_NO;
  if (u == SPIROMETRY_NOT_JUDGED || a == SPIROMETRY_NOT_JUDGED)
    return SPIROMETRY_UNKNOWN;
  if (value == SPIROMETRY_NONE)
    return SPIROMETRY_NO;
  return a == SPIROMETRY_MET ? SPIROMETRY_ACCEPTABLE : SPIROMETRY_USABLE;
}

enum spirometry_verdict spirometry_fev1_verdict(const struct spirometry_blow *b) {
  return verdict(b, b->fev1_ml, FEV1_ACCEPTABLE, FEV1_USABLE);
}

enum spirometry_verdict spirometry_fvc_verdict(const struct spirometry_blow *b) {
  return verdict(b, b->fvc_ml, FVC_ACCEPTABLE, FVC_USABLE);
}

/* ---- reading a record ------------------------------------------------------------------------------------------- */

static double dec_double(struct dec d) {
  double x = d.mantissa, ten = 1;
  for (int e = d.exponent; e; e += e < 0 ? 1 : -1)
    ten *= 10;
  return d.exponent < 0 ? x / ten : x * ten;
}

static bool member_dec(const json_t *object, const char *key, struct dec *ret) {
  const char *text = json_text(object, key);
  return text && dec_parse(text, ret) == 0;
}

static bool member_is(const json_t *object, const char *key, const char *text) {
  const char *has = json_text(object, key);
  return has && !strcmp(has, text);
}

/* One channel of a trial; n is 0 where there is none. */
struct channel {
  const int16_t *samples;
  size_t n;
  double rate, scale;
  bool gaps;
};

static int read_channel(const struct spirometry_record *record, const json_t *json, const char *unit,
                        struct channel *ret) {
  int64_t first, n;
  struct dec rate, scale;
  if (json_int(json, "first", 0, INT64_MAX, &first) < 0 || json_int(json, "samples", 0, INT64_MAX, &n) < 0 ||
      !member_dec(json, "rate", &rate) || !member_dec(json, "scale", &scale) || !member_is(json, "unit", unit) ||
      rate.mantissa < 0 || scale.mantissa <= 0)
    return -EPROTO;
  if ((uint64_t)first > record->n_samples || (uint64_t)n > record->n_samples - (uint64_t)first)
    return -EPROTO;
  struct channel c = {.n = (size_t)n, .rate = dec_double(rate), .scale = dec_double(scale)};
  c.samples = n ? record->samples + first : NULL;
  c.gaps = json_array_size(json_object_get(json, "gaps")) > 0;
  for (size_t i = 0; i < c.n && !c.gaps; i++)
    c.gaps = c.samples[i] == ACQ_GAP;
  *ret = c;
  return 0;
}

struct channels {
  struct channel flow, volume, time_step;
};

static int read_channels(const struct spirometry_record *record, const json_t *acquired, int64_t number,
                         struct channels *ret) {
  const struct {
    const char *code, *unit;
    struct channel *channel;
  } kinds[] = {{"flow", "L/s", &ret->flow}, {"volume", "L", &ret->volume}, {"time_step", "s", &ret->time_step}};
  size_t i;
  json_t *json;
  json_array_foreach(json_object_get(acquired, "channels"), i, json) {
    int64_t trial;
    if (json_int(json, "trial", 0, INT64_MAX, &trial) < 0)
      return -EPROTO;
    for (size_t k = 0; k < COUNT(kinds); k++) {
      if (trial != number || kinds[k].channel->n || !member_is(json, "code", kinds[k].code))
        continue;
      int r = read_channel(record, json, kinds[k].unit, kinds[k].channel);
      if (r < 0)
        return r;
    }
  }
  return 0;
}

/* Both channels when they have the same instants, else the one that is sampled faster; none with gaps. */
static enum reason choose_channels(struct channels *c) {
  struct channel *flow = &c->flow, *volume = &c->volume;
  if (!flow->n && !volume->n)
    return NO_CURVE;
  flow->n = flow->gaps ? 0 : flow->n;
  volume->n = volume->gaps ? 0 : volume->n;
  if (!flow->n && !volume->n)
    return GAPS;
  if (flow->n && volume->n && (flow->n != volume->n || flow->rate < volume->rate || flow->rate > volume->rate)) {
    if (volume->rate > flow->rate)
      flow->n = 0;
    else
      volume->n = 0;
  }
  size_t n = flow->n ? flow->n : volume->n;
  bool timed = !((flow->n ? flow->rate : volume->rate) > 0);
  if (timed && c->time_step.gaps)
    return GAPS;
  if (n > SPIROMETRY_SAMPLES_MAX || (timed && c->time_step.n != n))
    return SAMPLING;
  return NO_REASON;
}

static double *scaled(const struct channel *c, double *at) {
  for (size_t i = 0; i < c->n; i++)
    at[i] = c->samples[i] * c->scale;
  return c->n ? at : NULL;
}

static int measure_curve(const struct channels *c, struct trial *t) {
  size_t n = c->flow.n ? c->flow.n : c->volume.n;
  double *values = calloc(n, 3 * sizeof *values), *time = NULL, at = 0;
  if (!values)
    return -ENOMEM;
  struct spirometry_curve curve = {
      .n = n,
      .rate = c->flow.n ? c->flow.rate : c->volume.rate,
      .flow = scaled(&c->flow, values),
      .volume = scaled(&c->volume, values + n),
      .volume_step = c->volume.n ? c->volume.scale : 0,
  };
  if (!(curve.rate > 0))
    curve.time = time = scaled(&c->time_step, values + 2 * n);
  for (size_t i = 0; time && i < n; i++)
    time[i] = at += time[i]; /* since the first sample's own instant */
  int r = spirometry_curve(&curve, &t->blow);
  free(values);
  if (r == -ENOMEM)
    return r;
  t->reason = r == -ENODATA || r == -EINVAL ? NO_BLOW
              : r == -EDOM                  ? SAMPLING
              : r == -ERANGE                ? IMPLAUSIBLE
              : r == -EBADMSG               ? DISAGREE
                                            : NO_REASON;
  t->source = r == 0 ? FROM_CURVE : NO_SOURCE;
  return 0;
}

/* A value in thousandths of L, L/s or s, halves up; none when negative or out of range. */
static int32_t thousandths(struct dec d, int64_t divisor) {
  int64_t n = (int64_t)d.mantissa * 1000;
  if (n < 0)
    return SPIROMETRY_NONE;
  for (int e = d.exponent; e > 0 && n <= INT64_MAX / 10; e--)
    n *= 10;
  for (int e = d.exponent; e < 0 && divisor <= INT64_MAX / 20; e++)
    divisor *= 10;
  n = n / divisor + (n % divisor >= divisor - divisor / 2);
  return n <= INT32_MAX ? (int32_t)n : SPIROMETRY_NONE;
}

static int32_t device_value(const json_t *measure, const char *unit) {
  struct dec value;
  bool per_minute = !strcmp(unit, "L/s") && member_is(measure, "unit", "L/min");
  if (!member_dec(measure, "value", &value) || (!per_minute && !member_is(measure, "unit", unit)))
    return SPIROMETRY_NONE;
  return thousandths(value, per_minute ? 60 : 1);
}

/* What the instrument says of a trial, and what can be judged of that. */
static void read_measures(const json_t *acquired, struct trial *t) {
  struct spirometry_blow *b = &t->blow;
  *b = (struct spirometry_blow){0};
  int32_t *const others[] = {&b->time_zero_ms, &b->pef_rise_ms, &b->hesitation_ms, &b->plateau_ml};
  const struct {
    const char *code, *unit;
    int32_t *value;
  } kinds[] = {{"fvc", "L", &b->fvc_ml},   {"fev1", "L", &b->fev1_ml},   {"fev6", "L", &b->fev6_ml},
               {"bev", "L", &b->bev_ml},   {"pef", "L/s", &b->pef_ml_s}, {"fef25_75", "L/s", &b->fef25_75_ml_s},
               {"fivc", "L", &b->fivc_ml}, {"fet", "s", &b->fet_ms}};
  for (size_t k = 0; k < COUNT(others); k++)
    *others[k] = SPIROMETRY_NONE;
  for (size_t k = 0; k < COUNT(kinds); k++)
    *kinds[k].value = SPIROMETRY_NONE;
  size_t i;
  json_t *measure;
  json_array_foreach(json_object_get(acquired, "measures"), i, measure) {
    int64_t trial;
    if (json_int(measure, "trial", t->number, t->number, &trial) < 0)
      continue;
    for (size_t k = 0; k < COUNT(kinds); k++)
      if (*kinds[k].value == SPIROMETRY_NONE && member_is(measure, "code", kinds[k].code))
        *kinds[k].value = device_value(measure, kinds[k].unit);
  }
  for (size_t k = 0; k < COUNT(kinds); k++)
    t->source = *kinds[k].value == SPIROMETRY_NONE ? t->source : FROM_DEVICE;
  if (b->fvc_ml != SPIROMETRY_NONE && b->bev_ml != SPIROMETRY_NONE)
    b->criteria[SPIROMETRY_BEV] = spirometry_is_within(b->bev_ml, b->fvc_ml) ? SPIROMETRY_MET : SPIROMETRY_FAILED;
  if (b->fet_ms >= SPIROMETRY_FET_LONG)
    b->criteria[SPIROMETRY_EOFE] = b->criteria[SPIROMETRY_EARLY_STOP] = SPIROMETRY_MET;
}

static int read_phase(const json_t *trial, size_t *ret) {
  const json_t *phase = json_object_get(trial, "phase");
  *ret = 0;
  if (json_is_null(phase))
    return 0;
  for (size_t i = 0; i < COUNT(phase_names); i++)
    if (member_is(trial, "phase", phase_names[i])) {
      *ret = i;
      return 0;
    }
  return -EPROTO;
}

static int read_trial(const struct spirometry_record *record, const json_t *acquired, struct trial *t) {
  struct channels c = {0};
  int r = read_channels(record, acquired, t->number, &c);
  if (r < 0)
    return r;
  t->reason = choose_channels(&c);
  if (t->reason == NO_REASON)
    r = measure_curve(&c, t);
  if (r == 0 && t->source != FROM_CURVE)
    read_measures(acquired, t);
  return r;
}

/* Trials of a record, in its order. One without trials that has values is a trial of its own, number 0. */
static int read_record(const struct spirometry_record *record, size_t index, struct study *s) {
  const json_t *acquired = json_object_get(record->json, "acquired"), *trials = json_object_get(acquired, "trials");
  size_t n = json_array_size(trials);
  if (!json_is_array(trials) || n > SPIROMETRY_TRIALS_MAX)
    return -EPROTO;
  if (n == 0) {
    struct trial *t = &s->trials[s->n];
    *t = (struct trial){.record = index, .reason = NO_CURVE};
    read_measures(acquired, t);
    s->n += t->source == FROM_DEVICE;
    return 0;
  }
  for (size_t i = 0; i < n; i++) {
    struct trial *t = &s->trials[s->n];
    *t = (struct trial){.record = index};
    const json_t *json = json_array_get(trials, i);
    if (json_int(json, "number", 1, INT32_MAX, &t->number) < 0 || read_phase(json, &t->phase) < 0)
      return -EPROTO;
    for (size_t k = s->n - i; k < s->n; k++)
      if (s->trials[k].number == t->number)
        return -EPROTO;
    int r = read_trial(record, acquired, t);
    if (r < 0)
      return r;
    s->n++;
  }
  return 0;
}

/* ---- one study -------------------------------------------------------------------------------------------------- */

/* Whether two values are as near as a limit in mL asks, or for children within 10 % of the larger. */
static bool is_repeated(const struct study *s, int32_t largest, int32_t other, int32_t limit) {
  int64_t difference = (int64_t)largest - other;
  return difference <= limit || (s->child && difference * 10 <= largest);
}

/* The third sign of the end of a forced expiration needs the blows before: FVC as large as theirs. */
static void judge_trials(struct study *s) {
  int32_t prior[COUNT(phase_names)] = {SPIROMETRY_NONE, SPIROMETRY_NONE, SPIROMETRY_NONE};
  for (size_t i = 0; i < s->n; i++) {
    struct trial *t = &s->trials[i];
    struct spirometry_blow *b = &t->blow;
    int32_t largest = prior[t->phase];
    if (b->criteria[SPIROMETRY_EOFE] == SPIROMETRY_MET)
      t->eofe_by = b->plateau_ml != SPIROMETRY_NONE && b->plateau_ml <= SPIROMETRY_PLATEAU ? "plateau" : "time";
    else if (largest != SPIROMETRY_NONE && b->fvc_ml != SPIROMETRY_NONE &&
             is_repeated(s, largest, b->fvc_ml, s->child ? 100 : 150)) {
      b->criteria[SPIROMETRY_EOFE] = SPIROMETRY_MET;
      t->eofe_by = "prior_fvc";
    }
    t->fev1 = spirometry_fev1_verdict(b);
    t->fvc = spirometry_fvc_verdict(b);
    if (t->fvc >= SPIROMETRY_USABLE && b->fvc_ml > largest)
      prior[t->phase] = b->fvc_ml;
  }
}

/* One of FEV1 and FVC over a phase. */
struct summary {
  int acceptable, usable, not_judged;
  int32_t largest, second; /* of the best verdict there is */
  enum spirometry_verdict basis;
};

static void summary_add(struct summary *s, enum spirometry_verdict v, int32_t value) {
  s->acceptable += v == SPIROMETRY_ACCEPTABLE;
  s->usable += v >= SPIROMETRY_USABLE;
  s->not_judged += v == SPIROMETRY_UNKNOWN;
  if (v == SPIROMETRY_NO || value == SPIROMETRY_NONE || v < s->basis)
    return;
  if (v > s->basis)
    s->largest = s->second = SPIROMETRY_NONE;
  s->basis = v;
  if (value > s->largest) {
    s->second = s->largest;
    s->largest = value;
  } else if (value > s->second)
    s->second = value;
}

static const char *grade(const struct study *study, const struct summary *s) {
  static const int32_t limits[2][3] = {{150, 200, 250}, {100, 150, 200}};
  if (s->acceptable == 0)
    return s->usable ? "U" : s->not_judged ? "not_judged" : "F";
  if (s->acceptable == 1)
    return "E";
  const int32_t *limit = limits[study->child];
  if (is_repeated(study, s->largest, s->second, limit[0]))
    return s->acceptable >= 3 ? "A" : "B";
  if (is_repeated(study, s->largest, s->second, limit[1]))
    return "C";
  return is_repeated(study, s->largest, s->second, limit[2]) ? "D" : "E";
}

struct phase {
  size_t trials;
  struct summary fev1, fvc;
  int32_t pef_ml_s, fef25_75_ml_s;
  int32_t fev1_first, fev1_last; /* of those that are not refused */
};

/* How far both values of a blow may be used: FEF25-75 is of the best blow of the highest rank. */
static int rank(const struct trial *t) {
  if (t->fev1 == SPIROMETRY_NO || t->fvc == SPIROMETRY_NO || t->blow.fev1_ml == SPIROMETRY_NONE ||
      t->blow.fvc_ml == SPIROMETRY_NONE)
    return -1;
  return t->fev1 < t->fvc ? (int)t->fev1 : (int)t->fvc;
}

static struct phase summarise(const struct study *s, size_t phase) {
  const struct summary none = {.largest = SPIROMETRY_NONE, .second = SPIROMETRY_NONE};
  struct phase p = {0, none, none, SPIROMETRY_NONE, SPIROMETRY_NONE, SPIROMETRY_NONE, SPIROMETRY_NONE};
  int best_rank = -1;
  int64_t best_sum = 0;
  for (size_t i = 0; i < s->n; i++) {
    const struct trial *t = &s->trials[i];
    const struct spirometry_blow *b = &t->blow;
    if (t->phase != phase)
      continue;
    p.trials++;
    summary_add(&p.fev1, t->fev1, b->fev1_ml);
    summary_add(&p.fvc, t->fvc, b->fvc_ml);
    if (t->fev1 != SPIROMETRY_NO && b->pef_ml_s > p.pef_ml_s)
      p.pef_ml_s = b->pef_ml_s;
    if (t->fev1 != SPIROMETRY_NO && b->fev1_ml != SPIROMETRY_NONE) {
      p.fev1_first = p.fev1_first == SPIROMETRY_NONE ? b->fev1_ml : p.fev1_first;
      p.fev1_last = b->fev1_ml;
    }
    int64_t sum = (int64_t)b->fev1_ml + b->fvc_ml;
    if (rank(t) > best_rank || (rank(t) >= 0 && rank(t) == best_rank && sum > best_sum)) {
      best_rank = rank(t);
      best_sum = sum;
      p.fef25_75_ml_s = b->fef25_75_ml_s;
    }
  }
  return p;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

/* Takes the reference; what fails is seen at the end. */
static void put(json_t *object, const char *key, json_t *value, bool *failed) {
  *failed |= json_object_set_new(object, key, value) < 0;
}

static void put_text(json_t *object, const char *key, const char *text, bool *failed) {
  put(object, key, text ? json_string(text) : json_null(), failed);
}

static void put_int(json_t *object, const char *key, int32_t value, bool *failed) {
  put(object, key, value == SPIROMETRY_NONE ? json_null() : json_integer(value), failed);
}

static json_t *sentence(const char *code, const char *text, bool *failed) {
  json_t *j = json_object();
  put_text(j, "code", code, failed);
  put_text(j, "text", text, failed);
  return j;
}

static json_t *coaching(const struct trial *t, bool *failed) {
  for (size_t i = 0; i < COUNT(criteria); i++)
    if (t->blow.criteria[i] == SPIROMETRY_FAILED)
      return sentence(criteria[i].code, criteria[i].coaching, failed);
  if (t->reason != NO_REASON)
    return sentence(reasons[t->reason].code, reasons[t->reason].coaching, failed);
  if (t->fev1 == SPIROMETRY_UNKNOWN)
    return sentence("late_start", "Début du souffle non enregistré : attendre le signal avant de souffler.", failed);
  return sentence("good", "Très bon essai : refaire le même.", failed);
}

static json_t *trial_json(const struct trial *t, bool *failed) {
  const struct spirometry_blow *b = &t->blow;
  json_t *j = json_object(), *states = json_object();
  put(j, "record", json_integer((json_int_t)t->record), failed);
  put(j, "trial", json_integer(t->number), failed);
  put_text(j, "source", source_names[t->source], failed);
  put_text(j, "reason", t->reason == NO_REASON ? NULL : reasons[t->reason].code, failed);
  put_int(j, "fvc_ml", b->fvc_ml, failed);
  put_int(j, "fev1_ml", b->fev1_ml, failed);
  put_int(j, "fev6_ml", b->fev6_ml, failed);
  put_int(j, "bev_ml", b->bev_ml, failed);
  put_int(j, "pef_ml_s", b->pef_ml_s, failed);
  put_int(j, "fef25_75_ml_s", b->fef25_75_ml_s, failed);
  put_int(j, "fivc_ml", b->fivc_ml, failed);
  put_int(j, "time_zero_ms", b->time_zero_ms, failed);
  put_int(j, "pef_rise_ms", b->pef_rise_ms, failed);
  put_int(j, "hesitation_ms", b->hesitation_ms, failed);
  put_int(j, "fet_ms", b->fet_ms, failed);
  put_int(j, "plateau_ml", b->plateau_ml, failed);
  for (size_t i = 0; i < COUNT(criteria); i++)
    put_text(states, criteria[i].code, state_names[b->criteria[i]], failed);
  put(j, "criteria", states, failed);
  put_text(j, "eofe_by", t->eofe_by, failed);
  put_text(j, "fev1", verdict_names[t->fev1], failed);
  put_text(j, "fvc", verdict_names[t->fvc], failed);
  put(j, "coaching", coaching(t, failed), failed);
  return j;
}

static json_t *summary_json(const struct study *study, const struct summary *s, bool *failed) {
  json_t *j = json_object();
  bool two = s->second != SPIROMETRY_NONE;
  put(j, "acceptable", json_integer(s->acceptable), failed);
  put(j, "usable", json_integer(s->usable), failed);
  put(j, "not_judged", json_integer(s->not_judged), failed);
  put_int(j, "ml", s->largest, failed);
  put_text(j, "basis", s->largest == SPIROMETRY_NONE ? NULL : verdict_names[s->basis], failed);
  put_int(j, "repeatability_ml", two ? s->largest - s->second : SPIROMETRY_NONE, failed);
  put_text(j, "grade", grade(study, s), failed);
  return j;
}

static json_t *advice(const struct study *study, const struct phase *p, bool *failed) {
  const struct summary *fewer = p->fev1.acceptable < p->fvc.acceptable ? &p->fev1 : &p->fvc;
  if (p->fev1_first != SPIROMETRY_NONE && (int64_t)p->fev1_last * 10 < (int64_t)p->fev1_first * 8)
    return sentence("may_stop_fall", "Les souffles faiblissent : on peut s'arrêter et laisser le patient se reposer.",
                    failed);
  if (!strcmp(grade(study, &p->fev1), "A") && !strcmp(grade(study, &p->fvc), "A"))
    return sentence("may_stop_a", "Série complète : trois essais réussis qui se répètent, on peut s'arrêter.", failed);
  if (p->trials >= 8 && !study->child)
    return sentence("may_stop_8", "Huit essais sont faits : on peut s'arrêter là pour aujourd'hui.", failed);
  if (p->fev1.not_judged == (int)p->trials)
    return sentence("not_judged", "Qualité non jugée avec cet appareil : faire au moins trois essais bien soufflés.",
                    failed);
  if (fewer->acceptable < 3)
    return sentence("go_on", "Continuer : il faut au moins trois essais réussis.", failed);
  return sentence("go_on", "Continuer : les deux meilleurs essais sont encore trop différents.", failed);
}

static json_t *phase_json(const struct study *s, size_t phase, const struct phase *p, bool *failed) {
  json_t *j = json_object(), *reader = json_object(), *trials = json_array();
  int32_t ratio = SPIROMETRY_NONE;
  if (p->fev1.largest != SPIROMETRY_NONE && p->fvc.largest > 0)
    ratio = (int32_t)(((int64_t)p->fev1.largest * 1000 + p->fvc.largest / 2) / p->fvc.largest);
  put_int(reader, "ratio_permille", ratio, failed);
  put_text(j, "phase", phase_names[phase], failed);
  put(j, "fev1", summary_json(s, &p->fev1, failed), failed);
  put(j, "fvc", summary_json(s, &p->fvc, failed), failed);
  put_int(j, "pef_ml_s", p->pef_ml_s, failed);
  put_int(j, "fef25_75_ml_s", p->fef25_75_ml_s, failed);
  put(j, "reader", reader, failed);
  put(j, "advice", advice(s, p, failed), failed);
  for (size_t i = 0; i < s->n; i++)
    if (s->trials[i].phase == phase)
      *failed |= json_array_append_new(trials, trial_json(&s->trials[i], failed)) < 0;
  put(j, "trials", trials, failed);
  return j;
}

static int study_json(const struct study *s, json_t **ret) {
  bool failed = false;
  json_t *j = json_object(), *phases = json_array();
  for (size_t i = 0; i < COUNT(phase_names); i++) {
    struct phase p = summarise(s, i);
    if (p.trials)
      failed |= json_array_append_new(phases, phase_json(s, i, &p, &failed)) < 0;
  }
  put_text(j, "edition", SPIROMETRY_EDITION, &failed);
  put_text(j, "limits", s->child ? "up_to_6" : "over_6", &failed);
  put(j, "phases", phases, &failed);
  if (failed) {
    json_decref(j);
    return -ENOMEM;
  }
  *ret = j;
  return 0;
}

int spirometry_assess(const struct spirometry_record *records, size_t n, double age_years, json_t **ret) {
  struct study s = {.child = age_years <= 6};
  size_t most = 0;
  for (size_t i = 0; i < n; i++)
    most += 1 + json_array_size(json_object_get(json_object_get(records[i].json, "acquired"), "trials"));
  s.trials = calloc(most + 1, sizeof *s.trials);
  if (!s.trials)
    return -ENOMEM;
  int r = 0;
  for (size_t i = 0; i < n && r == 0; i++)
    r = read_record(&records[i], i, &s);
  if (r == 0) {
    judge_trials(&s);
    r = study_json(&s, ret);
  }
  free(s.trials);
  return r;
}
