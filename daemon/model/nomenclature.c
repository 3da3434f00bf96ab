#include "nomenclature.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { M = 'M', C = 'C', S = 'S' };

struct row_text {
  const char *code, *unit, *hard_low, *hard_high, *soft_low, *soft_high, *loinc, *label;
  char kind;
  uint32_t mdc;
};

static const struct row_text texts[] = {
#define ACQ_NOMENCLATURE(code_, kind_, unit_, hard_low_, hard_high_, soft_low_, soft_high_, mdc_, loinc_, label_) \
  {.code = #code_,                                                                                                \
   .kind = kind_,                                                                                                 \
   .unit = unit_,                                                                                                 \
   .hard_low = hard_low_,                                                                                         \
   .hard_high = hard_high_,                                                                                       \
   .soft_low = soft_low_,                                                                                         \
   .soft_high = soft_high_,                                                                                       \
   .mdc = mdc_,                                                                                                   \
   .loinc = loinc_,                                                                                               \
   .label = label_},
#include <asalee/nomenclature.def>
#undef ACQ_NOMENCLATURE
};
#define ROWS (sizeof texts / sizeof *texts)

static struct nomenclature rows[ROWS];

static const struct quality qualities[] = {
#define ACQ_QUALITY(code_, severity_, text_) {.code = #code_, .severity = #severity_, .text = text_},
#include <asalee/nomenclature.def>
#undef ACQ_QUALITY
};

static const struct electrode electrodes[] = {
#define ACQ_ELECTRODES(code_, colour_, place_) {.code = #code_, .colour = colour_, .place = place_},
#include <asalee/nomenclature.def>
#undef ACQ_ELECTRODES
};

static const struct unit units[] = {
#define ACQ_UNITS(mdc_, ucum_, base_, factor_, divisor_) {mdc_, ucum_, base_, factor_, divisor_},
#include <asalee/nomenclature.def>
#undef ACQ_UNITS
};

static const struct {
  uint16_t code;
  enum acq_modality modality;
} specialisations[] = {
#define ACQ_SPECIALISATIONS(code_, modality_) {code_, ACQ_##modality_},
#include <asalee/nomenclature.def>
#undef ACQ_SPECIALISATIONS
};

static struct dec limit(const char *text) {
  struct dec d = {0};
  if (dec_parse(text, &d) < 0)
    abort(); /* the table itself is wrong: caught by every test that touches it */
  return d;
}

__attribute__((constructor)) static void fill(void) {
  for (size_t i = 0; i < ROWS; i++)
    rows[i] = (struct nomenclature){
        .code = texts[i].code,
        .label = texts[i].label,
        .unit = texts[i].unit,
        .loinc = texts[i].loinc,
        .kind = texts[i].kind,
        .mdc = texts[i].mdc,
        .hard_low = limit(texts[i].hard_low),
        .hard_high = limit(texts[i].hard_high),
        .soft_low = limit(texts[i].soft_low),
        .soft_high = limit(texts[i].soft_high),
    };
}

const struct nomenclature *nomenclature_find(const char *code) {
  for (size_t i = 0; i < ROWS; i++)
    if (!strcmp(rows[i].code, code))
      return &rows[i];
  return NULL;
}

const struct nomenclature *nomenclature_row(unsigned index) {
  return index < ROWS ? &rows[index] : NULL;
}

unsigned nomenclature_index(const struct nomenclature *row) {
  return (unsigned)(row - rows);
}

const struct nomenclature *nomenclature_find_mdc(uint32_t mdc) {
  if (mdc >> 16 == 2 && (mdc & 0xffff) > 256 && (mdc & 0xffff) < 512)
    mdc -= 256;
  for (size_t i = 0; i < ROWS && mdc; i++)
    if (rows[i].mdc == mdc)
      return &rows[i];
  return NULL;
}

const struct unit *unit_find(const char *ucum) {
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if (!strcmp(units[i].ucum, ucum))
      return &units[i];
  return NULL;
}

const struct unit *unit_find_mdc(uint16_t mdc) {
  for (size_t i = 0; i < sizeof units / sizeof *units && mdc; i++)
    if (units[i].mdc == mdc)
      return &units[i];
  return NULL;
}

bool unit_fits(const struct unit *a, const struct unit *b) {
  return !strcmp(a->base, b->base);
}

enum acq_modality specialisation_modality(uint16_t code) {
  for (size_t i = 0; i < sizeof specialisations / sizeof *specialisations; i++)
    if (specialisations[i].code == code)
      return specialisations[i].modality;
  return 0;
}

const struct quality *quality_find(const char *code) {
  for (size_t i = 0; i < sizeof qualities / sizeof *qualities; i++)
    if (!strcmp(qualities[i].code, code))
      return &qualities[i];
  return NULL;
}

const struct electrode *electrode_row(unsigned index) {
  return index < sizeof electrodes / sizeof *electrodes ? &electrodes[index] : NULL;
}

const struct electrode *electrode_find(const char *code) {
  for (size_t i = 0; i < sizeof electrodes / sizeof *electrodes; i++)
    if (!strcmp(electrodes[i].code, code))
      return &electrodes[i];
  return NULL;
}

/* Brings a value into the row's own unit when that is a power of ten away, exactly; else leaves it as it came. */
void measure_normalise(const struct nomenclature *row, struct dec *value, const struct unit **unit) {
  const struct unit *own = unit_find(row->unit);
  int64_t up = (int64_t)(*unit)->factor * own->divisor, down = (int64_t)(*unit)->divisor * own->factor;
  int exponent = value->exponent;
  for (; up > down && up % 10 == 0 && up / 10 >= down; up /= 10)
    exponent++;
  for (; down > up && down % 10 == 0 && down / 10 >= up; down /= 10)
    exponent--;
  if (value->mantissa == 0) /* has no magnitude that its exponent could say wrong */
    exponent = exponent < DEC_EXP_MIN ? DEC_EXP_MIN : exponent > DEC_EXP_MAX ? DEC_EXP_MAX : exponent;
  if (up == down && exponent >= DEC_EXP_MIN && exponent <= DEC_EXP_MAX) {
    value->exponent = (int8_t)exponent;
    *unit = own;
  }
}

/* The value in its unit against a limit of the row, in the row's unit. */
static int compare(const struct nomenclature *row, struct dec value, const struct unit *unit, struct dec limit) {
  const struct unit *own = unit_find(row->unit);
  if (unit == own)
    return dec_cmp(value, limit);
  /* Both in the base; a row's own unit is that or a power of ten of it, so that the products are small. */
  return dec_cmp_scaled(value, unit->factor * own->divisor, limit, unit->divisor * own->factor);
}

const char *measure_flag(const struct nomenclature *row, struct dec value, const struct unit *unit) {
  return compare(row, value, unit, row->soft_low) < 0    ? "unusually_low"
         : compare(row, value, unit, row->soft_high) > 0 ? "unusually_high"
                                                         : NULL;
}

bool measure_is_possible(const struct nomenclature *row, struct dec value, const struct unit *unit) {
  return compare(row, value, unit, row->hard_low) >= 0 && compare(row, value, unit, row->hard_high) <= 0;
}

/* What a quality item may be about: nothing, an electrode, a channel, a measure, or times and counts ("0,020 s à partir
 * de 1,4 s", "0,6 s en 2 fois"). Nothing else passes, as the nurse reads it; what becomes a statement is not named. */
bool quality_subject_ok(const char *subject) {
  static const char *const words[] = {"s",     "à",       "partir",  "de",          "en",        "fois",
                                      "Hz",    "secteur", "section", "dérivations", "longueurs", "complexe",
                                      "moyen", "bimodal", "somme",   "date"};
  const struct nomenclature *row = nomenclature_find(subject);
  if (!*subject || electrode_find(subject) || (row && row->kind != 'S'))
    return true;
  for (const char *p = subject; *p;) {
    size_t n = strcspn(p, " "), digits = strspn(p, "0123456789,");
    bool word = digits == n && n > 0 && p[0] != ',';
    for (size_t i = 0; i < sizeof words / sizeof *words && !word; i++)
      word = strlen(words[i]) == n && !memcmp(words[i], p, n);
    if (!word)
      return false;
    p += n + (p[n] == ' ');
  }
  return true;
}

/* The French sentence of a quality item: an electrode is named by its colour and place, a channel by its label. */
void quality_sentence(const struct quality *q, const char *subject, char text[static 512]) {
  const struct electrode *e = electrode_find(subject);
  const struct nomenclature *row = nomenclature_find(subject);
  char name[160];
  if (e)
    snprintf(name, sizeof name, "%s (%s, %s)", e->colour, e->code, e->place);
  else
    snprintf(name, sizeof name, "%s", row ? row->label : subject);
  const char *hole = strstr(q->text, "%s"), *brackets = *subject ? NULL : strstr(q->text, " (%s)");
  if (brackets) /* about nothing in particular */
    snprintf(text, 512, "%.*s%s", (int)(brackets - q->text), q->text, brackets + strlen(" (%s)"));
  else if (hole)
    snprintf(text, 512, "%.*s%s%s", (int)(hole - q->text), q->text, name, hole + 2);
  else
    snprintf(text, 512, "%s", q->text);
}

/* sample x scale against a limit, however many digits the scale has. */
int sample_cmp(struct dec scale, int32_t sample, struct dec limit) {
  if (sample == 0)
    return dec_cmp((struct dec){0}, limit);
  if (sample < 0)
    scale.mantissa = -scale.mantissa;
  return dec_cmp_scaled(scale, sample < 0 ? -sample : sample, limit, 1);
}

#define NAME(array, i) ((size_t)(i) < sizeof array / sizeof *array ? array[i] : NULL)

const char *acq_modality_name(enum acq_modality m) {
  static const char *const names[] = {NULL, "ecg", "spirometry", "fundus", "measurement"};
  return NAME(names, m);
}

const char *acq_maturity_name(enum acq_maturity m) {
  static const char *const names[] = {NULL, "simulated", "experimental", "verified"};
  return NAME(names, m);
}

const char *acq_integrity_name(enum acq_integrity i) {
  static const char *const names[] = {NULL, "none", "sum8", "crc16", "crc32"};
  return NAME(names, i);
}

const char *acq_bus_name(enum acq_bus b) {
  static const char *const names[] = {NULL, "serial", "usb", "file"};
  return NAME(names, b);
}

const char *acq_phase_name(enum acq_phase p) {
  static const char *const names[] = {NULL, "baseline", "pre", "post"};
  return NAME(names, p);
}

enum acq_phase acq_phase_find(const char *name) {
  enum acq_phase p = ACQ_POST;
  while (p != ACQ_NO_PHASE && strcmp(acq_phase_name(p), name))
    p--;
  return p;
}

enum acq_modality acq_modality_find(const char *name) {
  enum acq_modality m = ACQ_MEASUREMENT;
  while (m && strcmp(acq_modality_name(m), name))
    m--;
  return m;
}
