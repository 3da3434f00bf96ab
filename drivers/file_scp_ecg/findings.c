#include "findings.h"

#include "rhythm.h"
#include <stdio.h>
#include <string.h>

#define NOT_COMPUTED 29999
#define LEAD_REJECTED 29998
#define NO_WAVE 19999
#define NO_AXIS 999
#define RATES_SINCE 13 /* version of the protocol */

static bool is_given(int v) {
  return v != NOT_COMPUTED && v != LEAD_REJECTED && v != NO_WAVE;
}

/* ---- section 7 ---------------------------------------------------------------------------------------------- */

struct beat {
  int p_on, p_off, qrs_on, qrs_off, t_off, axis[3];
};

static struct beat read_beat(struct acq_cur *c) {
  struct beat b;
  b.p_on = acq_u16le(c);
  b.p_off = acq_u16le(c);
  b.qrs_on = acq_u16le(c);
  b.qrs_off = acq_u16le(c);
  b.t_off = acq_u16le(c);
  for (int i = 0; i < 3; i++)
    b.axis[i] = (int16_t)acq_u16le(c);
  return b;
}

/* "label : v unit", in a row with commas where there are several. */
struct row {
  char text[1200];
  size_t n, begin;
};

static void row_add(struct row *r, const char *label, int v, const char *unit) {
  if (r->n + 64 < sizeof r->text)
    r->n += (size_t)snprintf(r->text + r->n, sizeof r->text - r->n, "%s%s : %d%s", r->n > r->begin ? ", " : "", label,
                             v, unit);
}

static void row_add_time(struct row *r, const char *label, int from, int to) {
  if (is_given(from) && is_given(to) && to > from)
    row_add(r, label, to - from, " ms");
}

static void row_of_beat(struct row *r, const struct beat *b) {
  static const char *const axes[] = {"axe de P", "axe de QRS", "axe de T"};
  row_add_time(r, "P", b->p_on, b->p_off);
  row_add_time(r, "PR", b->p_on, b->qrs_on);
  row_add_time(r, "QRS", b->qrs_on, b->qrs_off);
  row_add_time(r, "QT", b->qrs_on, b->t_off);
  for (int i = 0; i < 3; i++)
    if (is_given(b->axis[i]) && b->axis[i] != NO_AXIS)
      row_add(r, axes[i], b->axis[i], "°");
}

static bool is_timed(const struct beat *b) {
  return is_given(b->p_on) || is_given(b->qrs_on) || is_given(b->t_off);
}

/* The first of them is the whole recording's; of the others those that have times. */
static void tell_beats(struct acq_cur *c, unsigned n, struct acq_record *record) {
  for (unsigned i = 0; i < n && acq_left(c) >= 16; i++) {
    const struct beat b = read_beat(c);
    struct row r = {.n = 0};
    if (i > 0 && !is_timed(&b))
      continue;
    if (i > 0)
      r.begin = r.n = (size_t)snprintf(r.text, sizeof r.text, "Complexe %u : ", i);
    row_of_beat(&r, &b);
    if (r.n > r.begin)
      acq_rec_statement(record, "measurement", r.text);
  }
}

static void tell_spikes(struct acq_cur *c, unsigned n, struct acq_record *record) {
  for (unsigned i = 0; i < n; i++) {
    const unsigned ms = acq_u16le(c);
    const int uv = (int16_t)acq_u16le(c);
    char text[96];
    snprintf(text, sizeof text, "Impulsion de stimulateur %u : à %u ms, %d µV", i + 1, ms, uv);
    if (!c->err)
      acq_rec_statement(record, "measurement", text);
  }
  acq_bytes(c, (size_t)6 * n);
}

static void tell_given(struct acq_record *record, const char *label, int v, const char *unit) {
  if (v && is_given(v))
    scp_tell_number(record, "measurement", label, v, unit);
}

static void tell_rates(struct acq_cur *c, struct acq_record *record) {
  static const char *const formulas[] = {"QTc", "QTc (Bazett)", "QTc (Hodges)"};
  const unsigned types = acq_u16le(c);
  if (is_given((int)types))
    acq_bytes(c, types);
  const int ventricular = acq_u16le(c), atrial = acq_u16le(c), qtc = acq_u16le(c);
  const unsigned formula = acq_u8(c);
  if (c->err)
    return;
  tell_given(record, "Fréquence ventriculaire", ventricular, "/min");
  tell_given(record, "Fréquence auriculaire", atrial, "/min");
  tell_given(record, formulas[formula < 3 ? formula : 0], qtc, "ms");
}

static bool tell_measurements(const struct scp_section *s, unsigned quirks, struct acq_record *record) {
  struct acq_cur c = s->body;
  const unsigned beats = acq_u8(&c);
  unsigned spikes = acq_u8(&c);
  if (quirks & SCP_SPIKES_TWICE)
    spikes = acq_u8(&c);
  const int rr = acq_u16le(&c), pp = acq_u16le(&c);
  if (c.err)
    return false;
  tell_given(record, "Intervalle RR moyen", rr, "ms");
  tell_given(record, "Intervalle PP moyen", pp, "ms");
  const bool room = acq_left(&c) >= 16u * beats + 10u * spikes;
  tell_beats(&c, beats, record);
  if (!room)
    return false;
  tell_spikes(&c, spikes, record);
  const bool whole = !c.err;
  if (s->protocol >= RATES_SINCE) /* writers leave some of this out */
    tell_rates(&c, record);
  return whole;
}

/* ---- sections 8 and 11 -------------------------------------------------------------------------------------- */

static void tell_state(unsigned state, struct acq_cur when, struct acq_record *record) {
  static const char *const states[] = {"Interprétation de l'appareil, non confirmée", "Interprétation confirmée",
                                       "Interprétation relue"};
  struct acq_clock k = {.year = acq_u16le(&when)};
  int64_t us;
  char text[128];
  k.month = acq_u8(&when);
  k.day = acq_u8(&when);
  k.hour = acq_u8(&when);
  k.minute = acq_u8(&when);
  k.second = acq_u8(&when);
  const char *what = state < 3 ? states[state] : "Interprétation d'origine inconnue";
  if (acq_clock_to_us(&k, &us) == 0)
    snprintf(text, sizeof text, "%s (%04d-%02d-%02d %02d:%02d:%02d)", what, k.year, k.month, k.day, k.hour, k.minute,
             k.second);
  else
    snprintf(text, sizeof text, "%s", what);
  acq_rec_statement(record, "interpretation", text);
}

static bool tell_texts(const struct scp_section *s, bool typed, struct scp_about *a, struct acq_record *record) {
  struct acq_cur c = s->body;
  const unsigned state = acq_u8(&c);
  const struct acq_cur when = acq_sub(&c, 7);
  const unsigned n = acq_u8(&c);
  if (c.err)
    return false;
  if (n)
    tell_state(state, when, record);
  for (unsigned i = 0; i < n; i++) {
    acq_u8(&c);
    const size_t length = acq_u16le(&c), head = typed && length ? 1 : 0;
    const uint8_t *text = acq_bytes(&c, length);
    if (!text)
      return false;
    scp_tell_text(a, record, "interpretation", "", text + head, length - head);
  }
  return true;
}

/* ---- section 10 --------------------------------------------------------------------------------------------- */

/* The numbers of a lead in their order. Two words for the shapes of P and T and one for how good the recording was are
 * not told: their codes are not known well enough. */
static const struct {
  const char *label, *unit;
} lead_numbers[] = {
    {"P", " ms"},
    {"PR", " ms"},
    {"QRS", " ms"},
    {"QT", " ms"},
    {"durée de Q", " ms"},
    {"durée de R", " ms"},
    {"durée de S", " ms"},
    {"durée de R'", " ms"},
    {"durée de S'", " ms"},
    {"Q", " µV"},
    {"R", " µV"},
    {"S", " µV"},
    {"R'", " µV"},
    {"S'", " µV"},
    {"point J", " µV"},
    {"P+", " µV"},
    {"P-", " µV"},
    {"T+", " µV"},
    {"T-", " µV"},
    {"pente de ST", " µV/s"},
    {NULL, ""},
    {NULL, ""},
    {"segment I", " ms"},
    {"segment K", " ms"},
    {"déflexion intrinsécoïde", " ms"},
    {NULL, ""},
    {"J+20 ms", " µV"},
    {"J+60 ms", " µV"},
    {"J+80 ms", " µV"},
    {"J+RR/16", " µV"},
    {"J+RR/8", " µV"},
};

static const char *lead_name(unsigned id, char text[static 32]) {
  static const char *const chest[] = {"I", "II", "V1", "V2", "V3", "V4", "V5", "V6"};
  static const char *const limbs[] = {"III", "aVR", "aVL", "aVF"};
  if (id >= 1 && id <= 8)
    return chest[id - 1];
  if (id >= 61 && id <= 64)
    return limbs[id - 61];
  snprintf(text, 32, "Dérivation n° %u", id);
  return text;
}

static bool tell_leads(const struct scp_section *s, struct acq_record *record) {
  struct acq_cur c = s->body;
  const unsigned n = acq_u16le(&c);
  acq_u16le(&c);
  for (unsigned i = 0; i < n && !c.err; i++) {
    char name[32];
    const unsigned id = acq_u16le(&c);
    struct acq_cur numbers = acq_sub(&c, acq_u16le(&c));
    struct row r = {.n = 0};
    r.begin = r.n = (size_t)snprintf(r.text, sizeof r.text, "%s — ", lead_name(id, name));
    for (size_t k = 0; k < sizeof lead_numbers / sizeof *lead_numbers && acq_left(&numbers) > 1; k++) {
      const int v = (int16_t)acq_u16le(&numbers);
      if (lead_numbers[k].label && is_given(v))
        row_add(&r, lead_numbers[k].label, v, lead_numbers[k].unit);
    }
    if (!c.err && r.n > r.begin)
      acq_rec_statement(record, "measurement", r.text);
  }
  return !c.err;
}

void scp_findings_tell(const struct scp_file *f, struct scp_about *a, struct acq_record *record) {
  const struct scp_section *s = f->section;
  if (s[7].there && !tell_measurements(&s[7], a->quirks, record))
    scp_quality(record, "file_inconsistent", 7);
  if (s[8].there && !tell_texts(&s[8], false, a, record))
    scp_quality(record, "file_inconsistent", 8);
  if (s[10].there && !tell_leads(&s[10], record))
    scp_quality(record, "file_inconsistent", 10);
  if (s[11].there && !tell_texts(&s[11], true, a, record))
    scp_quality(record, "file_inconsistent", 11);
}
