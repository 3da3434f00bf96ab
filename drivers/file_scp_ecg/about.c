#include "about.h"

#include "rhythm.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
  FAMILY = 0,
  GIVEN = 1,
  ID = 2,
  SECOND_FAMILY = 3,
  AGE = 4,
  BIRTH = 5,
  HEIGHT = 6,
  WEIGHT = 7,
  SEX = 8,
  DRUG = 10,
  SYSTOLIC = 11,
  DIASTOLIC = 12,
  INDICATION = 13,
  INSTRUMENT = 14,
  URGENCY = 24,
  DATE = 25,
  TIME = 26,
  HIGH_PASS = 27,
  LOW_PASS = 28,
  FILTERS = 29,
  FREE_TEXT = 30,
  CODED_HISTORY = 32,
  HISTORY = 35,
  FIELDS_END = 255
};

#define BY_NAME 255
#define FIELDS_MAX 4096 /* each is compared with others */

struct field {
  uint8_t tag;
  const uint8_t *value;
  uint16_t n;
};

/* The next field; false at the end, or (fields->err) where one does not fit. */
static bool next_field(struct acq_cur *fields, struct field *ret) {
  if (acq_left(fields) < 3)
    return false;
  ret->tag = acq_u8(fields);
  ret->n = acq_u16le(fields);
  if (ret->tag == FIELDS_END)
    return false;
  ret->value = acq_bytes(fields, ret->n);
  return ret->value != NULL;
}

/* The first field with this tag that says something. */
static bool find(const struct scp_about *a, uint8_t tag, struct field *ret) {
  struct acq_cur c = a->fields;
  while (next_field(&c, ret))
    if (ret->tag == tag && ret->n)
      return true;
  return false;
}

/* Fields that a file has once, and that must not say two things. */
static bool says_twice(const struct scp_about *a) {
  static const uint8_t once[] = {FAMILY, GIVEN, ID, SECOND_FAMILY, BIRTH, SEX, INSTRUMENT, DATE, TIME};
  struct acq_cur c = a->fields;
  struct field f, first;
  while (next_field(&c, &f))
    if (f.n && memchr(once, f.tag, sizeof once) && find(a, f.tag, &first) &&
        (first.n != f.n || memcmp(first.value, f.value, f.n)))
      return true;
  return false;
}

/* ---- the instrument ----------------------------------------------------------------------------------------- */

static enum text_alphabet alphabet_of(uint8_t language) {
  if (!(language & 1))
    return TEXT_ASCII;
  if ((language & 3) == 1)
    return TEXT_LATIN_1;
  return language == 0x3b ? TEXT_LATIN_9 : language == 0x07 ? TEXT_UTF16LE : TEXT_ASCII;
}

static const char *make_of(uint8_t number) {
  static const char *const makes[] = {"",
                                      "Burdick",
                                      "Cambridge",
                                      "Compumed",
                                      "Datamed",
                                      "Fukuda",
                                      "Hewlett-Packard",
                                      "Marquette Electronics",
                                      "Mortara Instrument",
                                      "Nihon Kohden",
                                      "Okin",
                                      "Quinton",
                                      "Siemens",
                                      "Spacelabs",
                                      "Telemed",
                                      "Hellige",
                                      "Esaote",
                                      "Schiller",
                                      "Picker Schwarzer",
                                      "Elettronica Trentina",
                                      "Zwönitz"};
  return number < sizeof makes / sizeof *makes ? makes[number] : "";
}

/* A name that is too long is cut, not unreadable. */
static void read_text(struct scp_about *a, enum text_alphabet alphabet, const uint8_t *bytes, size_t n, char *ret,
                      size_t size) {
  char whole[2048];
  if (!text_read(alphabet, bytes, n, whole, sizeof whole))
    a->unreadable = true;
  text_read(TEXT_UTF8, whole, strlen(whole), ret, size);
}

/* The next text that ends with a NUL character, or with the field. */
static void next_text(struct scp_about *a, enum text_alphabet alphabet, struct acq_cur *c, char *ret, size_t size) {
  const size_t unit = alphabet == TEXT_UTF16LE ? 2 : 1, left = acq_left(c);
  const uint8_t *p = c->at;
  size_t n = 0;
  while (n + unit <= left && (p[n] || p[n + unit - 1]))
    n += unit;
  read_text(a, alphabet, p, n, ret, size);
  acq_bytes(c, n + unit <= left ? n + unit : left);
}

/* What files of this make, or of one that names it so, do otherwise. */
static unsigned quirks_of(const struct acq_identity *i, uint8_t protocol) {
  static const struct {
    const char *name;
    uint8_t protocol; /* 0: any */
    unsigned quirks;
  } known[] = {{"corpuls", 0, SCP_NO_LENGTHS}, {"esaote", 11, SCP_SPIKES_TWICE}};
  unsigned quirks = 0;
  for (size_t k = 0; k < sizeof known / sizeof *known; k++)
    if ((!known[k].protocol || known[k].protocol == protocol) &&
        (strcasestr(i->make, known[k].name) || strcasestr(i->model, known[k].name)))
      quirks |= known[k].quirks;
  return quirks;
}

/* In files whose texts are UTF-16 those of the instrument may be ASCII: then two bytes in a row are not zero. */
static enum text_alphabet alphabet_here(const struct scp_about *a, struct acq_cur c) {
  bool pair = false;
  for (uint8_t before = 0, b; acq_left(&c); before = b) {
    b = acq_u8(&c);
    pair |= before && b;
  }
  return a->alphabet == TEXT_UTF16LE && pair ? TEXT_ASCII : a->alphabet;
}

static void read_instrument(struct scp_about *a, const struct field *f, uint8_t protocol) {
  struct acq_cur c = acq_cur(f->value, f->n);
  struct acq_identity *i = &a->instrument;
  char software[ACQ_TEXT_MAX], make[ACQ_TEXT_MAX];
  acq_bytes(&c, 7);
  const uint8_t number = acq_u8(&c);
  const uint8_t *model = acq_bytes(&c, 6);
  acq_bytes(&c, 2);
  const uint8_t language = acq_u8(&c);
  if (!c.err)
    a->alphabet = alphabet_of(language);
  if (model && !text_read(a->alphabet == TEXT_UTF16LE ? TEXT_ASCII : a->alphabet, model, 6, i->model, sizeof i->model))
    a->unreadable = true;
  acq_bytes(&c, 18);
  acq_bytes(&c, acq_u8(&c));
  if (!c.err) {
    const enum text_alphabet here = alphabet_here(a, c);
    next_text(a, here, &c, i->serial, sizeof i->serial);
    next_text(a, here, &c, i->firmware, sizeof i->firmware);
    next_text(a, here, &c, software, sizeof software);
    next_text(a, here, &c, make, sizeof make);
    memcpy(i->make, make, sizeof make);
  }
  if (!i->make[0] && number != BY_NAME)
    snprintf(i->make, sizeof i->make, "%s", make_of(number));
  a->has_instrument = i->make[0] || i->model[0] || i->serial[0] || i->firmware[0];
  a->quirks = quirks_of(i, protocol);
}

/* ---- the subject -------------------------------------------------------------------------------------------- */

static bool is_date(unsigned year, unsigned month, unsigned day) {
  static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100) || year % 400 == 0;
  return year >= 1850 && year <= 2999 && month >= 1 && month <= 12 && day >= 1 &&
         day <= days[month - 1] + (unsigned)(month == 2 && leap);
}

static void read_name(struct scp_about *a, uint8_t tag, char *ret, size_t size) {
  struct field f;
  if (find(a, tag, &f))
    read_text(a, a->alphabet, f.value, f.n, ret, size);
}

static void read_birth(struct scp_about *a) {
  struct field f;
  if (!find(a, BIRTH, &f))
    return;
  struct acq_cur c = acq_cur(f.value, f.n);
  const unsigned year = acq_u16le(&c), month = acq_u8(&c), day = acq_u8(&c);
  if (!year && !month && !day)
    return;
  if (!c.err && is_date(year, month, day))
    snprintf(a->subject.birth_date, sizeof a->subject.birth_date, "%04u-%02u-%02u", year % 10000, month % 100,
             day % 100);
  else
    a->contradicts = true;
}

static void read_subject(struct scp_about *a) {
  struct acq_subject *s = &a->subject;
  char second[ACQ_NAME_MAX] = "", both[2 * ACQ_NAME_MAX];
  struct field f;
  read_name(a, FAMILY, s->family, sizeof s->family);
  read_name(a, SECOND_FAMILY, second, sizeof second);
  read_name(a, GIVEN, s->given, sizeof s->given);
  read_name(a, ID, s->id, sizeof s->id);
  snprintf(both, sizeof both, "%s%s%s", s->family, s->family[0] && second[0] ? " " : "", second);
  text_read(TEXT_UTF8, both, strlen(both), s->family, sizeof s->family);
  read_birth(a);
  if (find(a, SEX, &f))
    s->sex = f.value[0] == 1 ? 'M' : f.value[0] == 2 ? 'F' : 0;
  a->has_subject = s->family[0] || s->given[0] || s->id[0] || s->birth_date[0] || s->sex;
}

static void read_clock(struct scp_about *a) {
  struct field date, time;
  if (!find(a, DATE, &date) || !find(a, TIME, &time))
    return;
  struct acq_cur d = acq_cur(date.value, date.n), t = acq_cur(time.value, time.n);
  struct acq_clock clock = {.year = acq_u16le(&d)};
  clock.month = acq_u8(&d);
  clock.day = acq_u8(&d);
  clock.hour = acq_u8(&t);
  clock.minute = acq_u8(&t);
  clock.second = acq_u8(&t);
  a->timed = !d.err && !t.err && acq_clock_to_us(&clock, &a->clock_us) == 0;
  a->contradicts |= !a->timed && (clock.year || clock.month || clock.day);
}

int scp_about_read(const struct scp_section *s, struct scp_about *ret, struct acq_record *record) {
  struct acq_cur c = s->body;
  struct field f;
  *ret = (struct scp_about){.alphabet = TEXT_ASCII, .fields = s->body, .contradicts = !s->there};
  unsigned n = 0;
  while (n <= FIELDS_MAX && next_field(&c, &f))
    n++;
  if (c.err)
    return acq_rec_fail(record, -EPROTO, "a field of section 1 is longer than the section");
  if (n > FIELDS_MAX)
    return acq_rec_fail(record, -EPROTO, "section 1 has more fields than can be");
  if (find(ret, INSTRUMENT, &f))
    read_instrument(ret, &f, s->protocol);
  read_subject(ret);
  read_clock(ret);
  ret->contradicts |= says_twice(ret);
  return 0;
}

/* ---- statements --------------------------------------------------------------------------------------------- */

void scp_tell_text(struct scp_about *a, struct acq_record *record, const char *code, const char *label,
                   const uint8_t *bytes, size_t n) {
  static char text[SCP_TEXT_MAX + 128];
  const size_t unit = a->alphabet == TEXT_UTF16LE ? 2 : 1;
  size_t len = (size_t)snprintf(text, sizeof text, "%s", label);
  const size_t begin = len;
  while (n >= unit && len < SCP_TEXT_MAX) {
    size_t part = 0;
    while (part + unit <= n && (bytes[part] || bytes[part + unit - 1]))
      part += unit;
    if (len > begin)
      text[len++] = ' ';
    if (!text_read(a->alphabet, bytes, part, text + len, SCP_TEXT_MAX + 64 - len))
      a->unreadable = true;
    const size_t came = strlen(text + len);
    len = came ? len + came : len - (len > begin);
    text[len] = 0;
    part = part + unit <= n ? part + unit : n;
    bytes += part;
    n -= part;
  }
  if (len > begin)
    acq_rec_statement(record, code, text);
}

void scp_tell_number(struct acq_record *record, const char *code, const char *label, int v, const char *unit) {
  char text[160];
  snprintf(text, sizeof text, "%s : %d%s%s", label, v, *unit ? " " : "", unit);
  acq_rec_statement(record, code, text);
}

/* A number with one of the units that its field may have. */
static void tell_amount(struct acq_record *record, const struct field *f, const char *label, const char *const *units,
                        size_t n_units) {
  struct acq_cur c = acq_cur(f->value, f->n);
  const unsigned v = acq_u16le(&c), unit = acq_u8(&c);
  if (!c.err && v && unit >= 1 && unit <= n_units)
    scp_tell_number(record, "measurement", label, (int)v, units[unit - 1]);
}

static void tell_pressure(struct acq_record *record, const struct field *f, const char *label) {
  struct acq_cur c = acq_cur(f->value, f->n);
  const unsigned v = acq_u16le(&c);
  if (!c.err && v)
    scp_tell_number(record, "measurement", label, (int)v, "mmHg");
}

/* Three bytes of codes (table, class, drug) come before the text; a writer that leaves them out begins with a letter.
 */
static void tell_drug(struct scp_about *a, struct acq_record *record, const struct field *f) {
  char text[96];
  if (f->value[0] >= ' ' || a->alphabet == TEXT_UTF16LE)
    return scp_tell_text(a, record, "comment", "Traitement : ", f->value, f->n);
  if (f->n >= 3 && (f->value[1] || f->value[2])) {
    snprintf(text, sizeof text, "Traitement codé : table %u, classe %u, code %u", f->value[0], f->value[1],
             f->value[2]);
    acq_rec_statement(record, "comment", text);
  }
  if (f->n > 3)
    scp_tell_text(a, record, "comment", "Traitement : ", f->value + 3, f->n - 3u);
}

static void tell_field(struct scp_about *a, struct acq_record *record, const struct field *f) {
  static const char *const ages[] = {"ans", "mois", "semaines", "jours", "heures"},
                           *const heights[] = {"cm", "in", "mm"}, *const weights[] = {"kg", "g", "lb", "oz"};
  char text[96];
  switch (f->tag) {
  case AGE:
    return tell_amount(record, f, "Âge", ages, 5);
  case HEIGHT:
    return tell_amount(record, f, "Taille", heights, 3);
  case WEIGHT:
    return tell_amount(record, f, "Poids", weights, 4);
  case DRUG:
    return tell_drug(a, record, f);
  case SYSTOLIC:
    return tell_pressure(record, f, "PA systolique");
  case DIASTOLIC:
    return tell_pressure(record, f, "PA diastolique");
  case INDICATION:
    return scp_tell_text(a, record, "indication", "", f->value, f->n);
  case URGENCY:
    if (f->value[0])
      scp_tell_number(record, "comment", "Degré d'urgence (0 à 10)", f->value[0], "");
    return;
  case FREE_TEXT:
    return scp_tell_text(a, record, "comment", "", f->value, f->n);
  case CODED_HISTORY:
    snprintf(text, sizeof text, "Antécédent codé : table %u, code %u", f->value[0], f->n > 1 ? f->value[1] : 0);
    return acq_rec_statement(record, "comment", text);
  case HISTORY:
    return scp_tell_text(a, record, "comment", "Antécédents : ", f->value, f->n);
  default:
    return;
  }
}

static unsigned number_of(const struct scp_about *a, uint8_t tag, unsigned low, unsigned high) {
  struct field f;
  if (!find(a, tag, &f))
    return 0;
  const unsigned v = f.n > 1 ? f.value[0] | (unsigned)f.value[1] << 8 : f.value[0];
  return v >= low && v <= high ? v : 0;
}

#define HIGH_PASS_MAX 2000 /* 1/100 Hz; beyond these the numbers are not in the units they should be in */
#define LOW_PASS_MIN 10
#define LOW_PASS_MAX 2000

static void tell_filters(const struct scp_about *a, struct acq_record *record) {
  const unsigned high = number_of(a, HIGH_PASS, 1, HIGH_PASS_MAX),
                 low = number_of(a, LOW_PASS, LOW_PASS_MIN, LOW_PASS_MAX);
  char from[24], text[ACQ_TEXT_MAX] = "";
  struct field f;
  snprintf(from, sizeof from, "%u,%02u", high / 100, high % 100);
  if (high && low)
    snprintf(text, sizeof text, "%s à %u Hz", from, low);
  else if (high)
    snprintf(text, sizeof text, "à partir de %s Hz", from);
  else if (low)
    snprintf(text, sizeof text, "0 à %u Hz", low);
  if (text[0])
    acq_rec_quality(record, "signal_filtered", text, 1);
  const unsigned bits = find(a, FILTERS, &f) ? f.value[0] : 0;
  if (bits & 1)
    acq_rec_quality(record, "signal_filtered", "secteur 60 Hz", 1);
  if (bits & 2)
    acq_rec_quality(record, "signal_filtered", "secteur 50 Hz", 1);
  if (bits & 12 && !text[0] && !(bits & 3))
    acq_rec_quality(record, "signal_filtered", "", 1);
}

void scp_about_tell(struct scp_about *a, struct acq_record *record) {
  struct acq_cur c = a->fields;
  struct field f;
  tell_filters(a, record);
  while (next_field(&c, &f))
    if (f.n)
      tell_field(a, record, &f);
}
