/* Whose reading it is, what made it, and what it says of it (DICOM PS3.3 C.7.1, C.7.5, C.10.10, C.7.6.14). */
#include "dicom.h"

#include <stdio.h>
#include <string.h>

/* ---- the patient and the instrument ---- */

/* The first n bytes of a text, without blanks around them, as far as they fit: cut between characters. */
static void copy_part(const char *text, size_t n, char ret[static ACQ_NAME_MAX]) {
  for (; n && *text == ' '; n--)
    text++;
  size_t kept = n < ACQ_NAME_MAX ? n : ACQ_NAME_MAX - 1;
  while (kept && kept < n && (text[kept] & 0xc0) == 0x80)
    kept--;
  while (kept && text[kept - 1] == ' ')
    kept--;
  memcpy(ret, text, kept);
  ret[kept] = 0;
}

/* Family^Given^Middle^...; groups of other writings follow a "=". */
static void read_name(struct dicom_file *f, struct acq_subject *s) {
  char name[2 * ACQ_NAME_MAX];
  if (!dicom_text(f, f->root, PATIENT_NAME, name, sizeof name))
    return;
  name[strcspn(name, "=\\")] = 0;
  const size_t family = strcspn(name, "^");
  const char *given = name + family + (name[family] == '^');
  copy_part(name, family, s->family);
  copy_part(given, strcspn(given, "^"), s->given);
}

/* YYYYMMDD as YYYY-MM-DD; "" for what is no date. People were born before the clocks of driver.h begin. */
static void read_birth_date(struct dicom_file *f, char ret[static 11]) {
  static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  char text[16];
  int year, month, day;
  if (!dicom_text(f, f->root, PATIENT_BIRTH_DATE, text, sizeof text) || strlen(text) != 8 ||
      strspn(text, "0123456789") != 8)
    return;
  year = (text[0] - '0') * 1000 + (text[1] - '0') * 100 + (text[2] - '0') * 10 + text[3] - '0';
  month = (text[4] - '0') * 10 + text[5] - '0';
  day = (text[6] - '0') * 10 + text[7] - '0';
  const bool leap = year % 4 == 0 && (year % 100 || year % 400 == 0);
  if (year < 1850 || month < 1 || month > 12 || day < 1 || day > days[month - 1] + (month == 2 && leap))
    return;
  snprintf(ret, 11, "%.4s-%.2s-%.2s", text, text + 4, text + 6);
}

void dicom_subject(struct dicom_file *f) {
  struct acq_subject s = {0};
  char sex[8];
  read_name(f, &s);
  dicom_text(f, f->root, PATIENT_ID, s.id, sizeof s.id);
  read_birth_date(f, s.birth_date);
  if (dicom_text(f, f->root, PATIENT_SEX, sex, sizeof sex) && (!strcmp(sex, "F") || !strcmp(sex, "M")))
    s.sex = *sex;
  if (s.family[0] || s.given[0] || s.id[0] || s.birth_date[0] || s.sex)
    acq_rec_subject(f->record, &s);
}

void dicom_instrument(struct dicom_file *f) {
  struct acq_identity i = {0};
  dicom_text(f, f->root, MANUFACTURER, i.make, sizeof i.make);
  dicom_text(f, f->root, MODEL_NAME, i.model, sizeof i.model);
  dicom_text(f, f->root, DEVICE_SERIAL_NUMBER, i.serial, sizeof i.serial);
  dicom_text(f, f->root, SOFTWARE_VERSIONS, i.firmware, sizeof i.firmware);
  for (char *p = i.firmware; *p; p++)
    if (*p == '\\') /* several versions */
      *p = ' ';
  if (i.make[0] || i.model[0] || i.serial[0] || i.firmware[0])
    acq_rec_instrument(f->record, &i);
}

/* ---- statements ---- */

#define STATEMENTS_MAX 1024u          /* and so many bytes of them, which leave a record room for all else; */
#define STATEMENTS_BYTES_MAX 1048576u /*   beyond that it is no ECG's annotation */
#define POINTS_BYTES 2048u            /* of a statement that lists points of the trace */

struct saying {
  struct dicom_file *f;
  unsigned n;
  size_t bytes;
  unsigned lost;
  size_t n_points; /* bytes of: */
  char points[POINTS_BYTES];
};

static void say(struct saying *s, const char *code, const char *text) {
  const size_t n = strlen(text);
  if (!n)
    return;
  if (s->n == STATEMENTS_MAX || s->bytes + n > STATEMENTS_BYTES_MAX) {
    s->lost++;
    return;
  }
  s->n++;
  s->bytes += n;
  acq_rec_statement(s->f->record, code, text);
}

static void say_points(struct saying *s) {
  say(s, "measurement", s->points);
  s->n_points = 0;
  s->points[0] = 0;
}

/* Where a wave begins or ends: hundreds, of a few characters each. */
static void add_point(struct saying *s, const char *name, const char *positions) {
  char one[512];
  snprintf(one, sizeof one, "%s%.128s : %.256s", s->n_points ? "" : "Échantillons : ", name, positions);
  const size_t n = strlen(one);
  if (s->n_points + 3 + n >= sizeof s->points) {
    say_points(s);
    return add_point(s, name, positions);
  }
  memcpy(s->points + s->n_points, " ; ", 3);
  s->n_points += s->n_points ? 3 : 0;
  memcpy(s->points + s->n_points, one, n + 1);
  s->n_points += n;
}

/* An annotation, or an item of the acquisition context: `code` is what a coded one is. */
static void say_item(struct saying *s, struct acq_cur item, const char *code) {
  static char text[FLAT_TEXT_MAX + 1];
  char name[128], value[256], unit[64], line[512];
  struct dicom_file *f = s->f;
  if (dicom_text(f, item, UNFORMATTED_TEXT, text, sizeof text))
    say(s, "interpretation", text);
  if (!dicom_text_in(f, item, CONCEPT_NAME, CODE_MEANING, name, sizeof name))
    dicom_text_in(f, item, CONCEPT_NAME, CODE_VALUE, name, sizeof name);
  if (!*name)
    return;
  if (dicom_text(f, item, NUMERIC_VALUE, value, sizeof value)) {
    dicom_text_in(f, item, UNITS_CODE, CODE_VALUE, unit, sizeof unit);
    snprintf(line, sizeof line, "%s : %s%s%s", name, value, *unit && strcmp(unit, "1") ? " " : "",
             strcmp(unit, "1") ? unit : "");
    say(s, "measurement", line);
  } else if (dicom_text_in(f, item, CONCEPT_CODE, CODE_MEANING, value, sizeof value) ||
             dicom_text(f, item, TEXT_VALUE, value, sizeof value)) {
    snprintf(line, sizeof line, "%s : %s", name, value);
    say(s, code, line);
  } else if (dicom_text(f, item, SAMPLE_POSITIONS, value, sizeof value)) {
    add_point(s, name, value);
  } else {
    say(s, code, name);
  }
}

void dicom_statements(struct dicom_file *f) {
  static const struct {
    uint32_t tag;
    const char *code;
  } texts[] = {{REASON_FOR_PROCEDURE, "indication"}, {ADMITTING_DIAGNOSES, "indication"}, {PATIENT_HISTORY, "comment"},
               {PATIENT_COMMENTS, "comment"},        {VISIT_COMMENTS, "comment"},         {IMAGE_COMMENTS, "comment"}};
  static const struct {
    uint32_t tag;
    const char *code;
  } lists[] = {{ACQUISITION_CONTEXT, "comment"}, {WAVEFORM_ANNOTATION, "interpretation"}};
  static char text[FLAT_TEXT_MAX + 1];
  struct saying s = {.f = f};
  acq_rec_trial(f->record, NULL);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (dicom_text(f, f->root, texts[i].tag, text, sizeof text))
      say(&s, texts[i].code, text);
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    struct acq_cur at = f->root, item;
    while (flat_item(&at, lists[i].tag, &item))
      say_item(&s, item, lists[i].code);
  }
  if (s.n_points)
    say_points(&s);
  if (s.lost)
    acq_rec_quality(f->record, "unknown_value", "", s.lost);
}
