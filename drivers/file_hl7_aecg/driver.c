/* HL7 annotated ECG (aECG, AnnotatedECG of urn:hl7-org:v3): what the FDA takes and many carts export. README.md says
 * what is known of it and how well.
 *
 *   AnnotatedECG
 *     effectiveTime
 *     componentOf/timepointEvent/componentOf/subjectAssignment/subject/trialSubject    whose it is
 *     component/series                code RHYTHM; author, effectiveTime, filters (controlVariable)
 *       component/sequenceSet         simultaneous sequences
 *         component/sequence          code TIME_ABSOLUTE, TIME_RELATIVE: head and increment
 *                                     code MDC_ECG_LEAD_*: value = origin + scale x digit
 *       subjectOf/annotationSet       what a program or a reader says of it
 *       derivation/derivedSeries      representative beats: only what is said of them is taken
 *
 * What is read is held in static memory until the document has ended well. */
#include "digits.h"
#include "xml_in.h"

#include <asalee/driver.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BYTES_MAX (32u << 20)
#define SAMPLES_MAX (2u << 20) /* of all sequences, and of a channel with its gaps */
#define SEQUENCES_MAX 512u
#define SETS_MAX 64u
#define ANNOTATIONS_DEEP 8u
#define CHUNK 4096u
#define RATE_EXPONENT_MIN (-6) /* a rate of more decimals is none */

enum {
  EVENT_OF = XML_ROOT + 1,
  EVENT,
  ASSIGNMENT_OF,
  ASSIGNMENT,
  SUBJECT,
  TRIAL_SUBJECT,
  SUBJECT_ID,
  PERSON,
  NAME,
  FAMILY,
  GIVEN,
  GENDER,
  BIRTH,
  TIME,
  TIME_CENTER,
  TIME_LOW,
  PERTAINS,
  FINDING,
  FINDING_TEXT,
  SERIES_OF,
  SERIES,
  SERIES_CODE,
  SERIES_TIME,
  SERIES_CENTER,
  SERIES_LOW,
  SERIES_HIGH,
  AUTHOR_OF,
  AUTHOR,
  DEVICE,
  DEVICE_ID,
  MODEL,
  SOFTWARE,
  MAKER,
  MAKER_NAME,
  CONTROL_OF,
  CONTROL,
  CONTROL_CODE,
  DETAIL_OF,
  DETAIL,
  DETAIL_CODE,
  DETAIL_VALUE,
  SET_OF,
  SET,
  SEQUENCE_OF,
  SEQUENCE,
  SEQUENCE_CODE,
  VALUE,
  HEAD,
  INCREMENT,
  ORIGIN,
  SCALE,
  DIGITS,
  ANNOTATED,
  ANNOTATIONS,
  ANNOTATION_OF,
  ANNOTATION,
  ANNOTATION_CODE,
  ANNOTATION_VALUE,
  SUPPORT,
  REGION,
  BOUNDARY_OF,
  BOUNDARY,
  BOUNDARY_CODE,
  DERIVATION,
  DERIVED
};

static const struct xml_node nodes[] = {
    {XML_ROOT, EVENT_OF, XML_NO_TEXT, "componentOf"},
    {XML_ROOT, TIME, XML_NO_TEXT, "effectiveTime"},
    {XML_ROOT, PERTAINS, XML_NO_TEXT, "pertainsTo"},
    {XML_ROOT, SERIES_OF, XML_NO_TEXT, "component"},
    {EVENT_OF, EVENT, XML_NO_TEXT, "timepointEvent"},
    {EVENT, ASSIGNMENT_OF, XML_NO_TEXT, "componentOf"},
    {ASSIGNMENT_OF, ASSIGNMENT, XML_NO_TEXT, "subjectAssignment"},
    {ASSIGNMENT, SUBJECT, XML_NO_TEXT, "subject"},
    {SUBJECT, TRIAL_SUBJECT, XML_NO_TEXT, "trialSubject"},
    {TRIAL_SUBJECT, SUBJECT_ID, XML_NO_TEXT, "id"},
    {TRIAL_SUBJECT, PERSON, XML_NO_TEXT, "subjectDemographicPerson"},
    {PERSON, NAME, XML_WHOLE, "name"},
    {PERSON, GENDER, XML_NO_TEXT, "administrativeGenderCode"},
    {PERSON, BIRTH, XML_NO_TEXT, "birthTime"},
    {NAME, FAMILY, XML_WHOLE, "family"},
    {NAME, GIVEN, XML_WHOLE, "given"},
    {TIME, TIME_CENTER, XML_NO_TEXT, "center"},
    {TIME, TIME_LOW, XML_NO_TEXT, "low"},
    {PERTAINS, FINDING, XML_NO_TEXT, "subjectFindingComment"},
    {FINDING, FINDING_TEXT, XML_WHOLE, "text"},
    {SERIES_OF, SERIES, XML_NO_TEXT, "series"},
    {SERIES, SERIES_CODE, XML_NO_TEXT, "code"},
    {SERIES, SERIES_TIME, XML_NO_TEXT, "effectiveTime"},
    {SERIES, AUTHOR_OF, XML_NO_TEXT, "author"},
    {SERIES, CONTROL_OF, XML_NO_TEXT, "controlVariable"},
    {SERIES, SET_OF, XML_NO_TEXT, "component"},
    {SERIES, ANNOTATED, XML_NO_TEXT, "subjectOf"},
    {SERIES, DERIVATION, XML_NO_TEXT, "derivation"},
    {SERIES_TIME, SERIES_CENTER, XML_NO_TEXT, "center"},
    {SERIES_TIME, SERIES_LOW, XML_NO_TEXT, "low"},
    {SERIES_TIME, SERIES_HIGH, XML_NO_TEXT, "high"},
    {AUTHOR_OF, AUTHOR, XML_NO_TEXT, "seriesAuthor"},
    {AUTHOR, DEVICE, XML_NO_TEXT, "manufacturedSeriesDevice"},
    {AUTHOR, MAKER, XML_NO_TEXT, "manufacturerOrganization"},
    {DEVICE, DEVICE_ID, XML_NO_TEXT, "id"},
    {DEVICE, MODEL, XML_WHOLE, "manufacturerModelName"},
    {DEVICE, SOFTWARE, XML_WHOLE, "softwareName"},
    {MAKER, MAKER_NAME, XML_WHOLE, "name"},
    {CONTROL_OF, CONTROL, XML_NO_TEXT, "controlVariable"},
    {CONTROL, CONTROL_CODE, XML_NO_TEXT, "code"},
    {CONTROL, DETAIL_OF, XML_NO_TEXT, "component"},
    {DETAIL_OF, DETAIL, XML_NO_TEXT, "controlVariable"},
    {DETAIL, DETAIL_CODE, XML_NO_TEXT, "code"},
    {DETAIL, DETAIL_VALUE, XML_NO_TEXT, "value"},
    {SET_OF, SET, XML_NO_TEXT, "sequenceSet"},
    {SET, SEQUENCE_OF, XML_NO_TEXT, "component"},
    {SEQUENCE_OF, SEQUENCE, XML_NO_TEXT, "sequence"},
    {SEQUENCE, SEQUENCE_CODE, XML_NO_TEXT, "code"},
    {SEQUENCE, VALUE, XML_NO_TEXT, "value"},
    {VALUE, HEAD, XML_NO_TEXT, "head"},
    {VALUE, INCREMENT, XML_NO_TEXT, "increment"},
    {VALUE, ORIGIN, XML_NO_TEXT, "origin"},
    {VALUE, SCALE, XML_NO_TEXT, "scale"},
    {VALUE, DIGITS, XML_PIECES, "digits"},
    {DERIVATION, DERIVED, XML_NO_TEXT, "derivedSeries"},
    {DERIVED, ANNOTATED, XML_NO_TEXT, "subjectOf"},
    {ANNOTATED, ANNOTATIONS, XML_NO_TEXT, "annotationSet"},
    {ANNOTATIONS, ANNOTATION_OF, XML_NO_TEXT, "component"},
    {ANNOTATION_OF, ANNOTATION, XML_NO_TEXT, "annotation"},
    {ANNOTATION, ANNOTATION_CODE, XML_NO_TEXT, "code"},
    {ANNOTATION, ANNOTATION_VALUE, XML_WHOLE, "value"},
    {ANNOTATION, ANNOTATION_OF, XML_NO_TEXT, "component"},
    {ANNOTATION, SUPPORT, XML_NO_TEXT, "support"},
    {SUPPORT, REGION, XML_NO_TEXT, "supportingROI"},
    {REGION, BOUNDARY_OF, XML_NO_TEXT, "component"},
    {BOUNDARY_OF, BOUNDARY, XML_NO_TEXT, "boundary"},
    {BOUNDARY, BOUNDARY_CODE, XML_NO_TEXT, "code"},
};

/* A point in time, as the file writes it. */
struct instant {
  bool known;
  int64_t us; /* absolute: since 1970, by the clock there; relative: since whatever */
  bool zoned;
  int zone_minutes; /* where zoned: of that clock, ahead of UTC */
};

struct sequence {
  const char *code; /* NULL: not one of the nomenclature's */
  unsigned set;
  size_t first, n; /* of the values */
  struct dec scale;
};

struct set {
  bool timed, absolute;
  struct instant head;
  struct dec rate;
  bool guessed; /* the rate: its increment was rounded */
};

struct annotation {
  char code[ACQ_TEXT_MAX], value[ACQ_TEXT_MAX], unit[32], lead[ACQ_TEXT_MAX], text[1024];
};

/* One document at a time; made anew by each decode(). */
static struct reading {
  struct acq_record *record;
  const struct acq_order *order;
  struct acq_subject subject;
  bool has_subject, named; /* named: by a name that is over */
  struct acq_identity device;
  struct instant time, low, high; /* the document's; the series' */
  bool broken_time;
  unsigned unreadable, unknown;
  /* the series that is being read */
  bool is_rhythm;
  unsigned rhythms, series;
  char control[ACQ_TEXT_MAX], detail[ACQ_TEXT_MAX], high_pass[ACQ_TEXT_MAX], low_pass[ACQ_TEXT_MAX],
      mains[ACQ_TEXT_MAX];
  struct set sets[SETS_MAX];
  unsigned n_sets;
  struct sequence sequences[SEQUENCES_MAX];
  unsigned n_sequences;
  size_t n_values;
  /* the sequence that is being read */
  char code[ACQ_TEXT_MAX];
  bool is_time, is_lead, has_origin, has_scale, has_increment;
  struct dec origin, scale, increment;
  struct instant head;
  struct digits digits;
  struct annotation annotations[ANNOTATIONS_DEEP];
  unsigned n_annotations; /* that are open, with those too deep to be kept */
  struct xml_notes notes;
} reading;
static int32_t values[SAMPLES_MAX];

/* ---- times -------------------------------------------------------------------------------------------------- */

/* YYYYMMDDhhmm[ss[.ffffff]][+hhmm]; a date alone is no instant. False when it is no time at all. */
static bool read_instant(const char *text, struct instant *ret) {
  struct acq_clock c = {0}, zone = {0};
  struct instant is = {.known = true};
  const char *at = xml_clock(text, "YMDhm", &c);
  if (!at)
    return !*text || strlen(text) <= 10;
  const char *seconds = xml_clock(at, "s", &c);
  if (acq_clock_to_us(&c, &is.us) < 0)
    return false;
  at = seconds ? seconds : at;
  if (*at == '.') {
    int64_t weight = 100000;
    for (at++; *at >= '0' && *at <= '9'; at++, weight /= 10)
      is.us += weight * (*at - '0');
  }
  is.zoned = *at == '+' || *at == '-';
  const bool west = *at == '-';
  if (is.zoned) {
    const char *rest = xml_clock(at + 1, "hm", &zone);
    if (!rest && (rest = xml_clock(at + 1, "h", &zone)))
      zone.minute = 0;
    if (!rest || zone.hour > 14 || zone.minute > 59)
      return false;
    is.zone_minutes = (zone.hour * 60 + zone.minute) * (west ? -1 : 1);
    at = rest;
  }
  if (*at)
    return false;
  *ret = is;
  return true;
}

/* By the clock on the wall where the record is taken in, as far as the file says. */
static int64_t on_the_wall(const struct reading *r, const struct instant *i) {
  const bool known = i->zoned && r->order->started_us;
  return known ? i->us + (int64_t)(r->order->offset_minutes - i->zone_minutes) * 60000000 : i->us;
}

static void keep_instant(struct reading *r, const struct xml_attributes *a, struct instant *to) {
  char text[ACQ_TEXT_MAX];
  if (!xml_attribute(a, "value", text, sizeof text) || to->known)
    return;
  r->broken_time |= !read_instant(text, to);
}

/* ---- numbers with units --------------------------------------------------------------------------------------- */

static bool shift(struct dec *d, int by) {
  int exponent = d->exponent + by;
  if (exponent < DEC_EXP_MIN || exponent > DEC_EXP_MAX)
    return false;
  d->exponent = (int8_t)exponent;
  return true;
}

struct unit_row {
  const char *name;
  int exponent;
};
static const struct unit_row volts[] = {{"uV", 0}, {"\u00b5V", 0}, {"\u03bcV", 0}, {"mV", 3}, {"V", 6}, {"nV", -3},
                                        {0}},
                             seconds[] = {{"s", 0}, {"ms", -3}, {"us", -6}, {"\u00b5s", -6}, {"ns", -9}, {0}};

/* The attributes value and unit, in uV or s. */
static int quantity(struct reading *r, const struct xml_attributes *a, const struct unit_row *units, struct dec *ret) {
  char value[ACQ_TEXT_MAX], unit[ACQ_TEXT_MAX];
  xml_attribute(a, "value", value, sizeof value);
  xml_attribute(a, "unit", unit, sizeof unit);
  while (units->name && strcmp(units->name, unit))
    units++;
  if (!units->name)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "a quantity in a unit that is not known");
  if (!xml_number(value, ret))
    return acq_rec_fail(r->record, -EPROTO, "a quantity that is no number");
  return shift(ret, units->exponent) ? 0 : acq_rec_fail(r->record, -ERANGE, "a quantity that cannot be");
}

/* 1 / interval, where that is a decimal number; else the whole number of hertz that the interval is rounded from. */
static int rate_of(struct reading *r, struct dec interval, struct set *ret) {
  int64_t m = interval.mantissa, power = 1;
  int exponent = -interval.exponent;
  if (m <= 0)
    return acq_rec_fail(r->record, -ERANGE, "an increment that cannot be");
  for (; m % 10 == 0; m /= 10)
    exponent--;
  for (int digits = 0; digits < 18; digits++, power *= 10) {
    if (power % m || power / m > INT32_MAX)
      continue;
    struct dec rate = {(int32_t)(power / m), 0};
    if (!shift(&rate, exponent - digits) || rate.exponent < RATE_EXPONENT_MIN)
      break;
    for (; rate.exponent > 0 && rate.mantissa < 1000000; rate.exponent--)
      rate.mantissa *= 10;
    ret->rate = rate;
    return 0;
  }
  /* 10^exponent / m, to the nearest; its error is half of the last figure that was written, or one where it was cut. */
  power = 1;
  for (int i = 0; i < exponent && power < INT64_C(100000000000000000); i++)
    power *= 10;
  const int64_t hertz = (power + m / 2) / m, error = llabs(hertz * m - power);
  if (exponent < 1 || exponent > 17 || m < 100 || hertz < 1 || hertz > 100000 || error > hertz)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "an increment of which no sampling rate follows");
  ret->rate = (struct dec){(int32_t)hertz, 0};
  ret->guessed = true;
  return 0;
}

/* ---- sequences ---------------------------------------------------------------------------------------------- */

static int begin_set(struct reading *r) {
  if (r->n_sets == SETS_MAX)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "more than %u sets of sequences", SETS_MAX);
  r->sets[r->n_sets++] = (struct set){0};
  return 0;
}

static void begin_sequence(struct reading *r) {
  *r->code = 0;
  r->is_time = r->is_lead = r->has_origin = r->has_scale = r->has_increment = false;
  r->head = (struct instant){0};
  r->digits = (struct digits){.values = values + r->n_values, .max = SAMPLES_MAX - r->n_values};
}

static void keep_code(struct reading *r, const struct xml_attributes *a) {
  xml_attribute(a, "code", r->code, sizeof r->code);
  r->is_time = !strcmp(r->code, "TIME_ABSOLUTE") || !strcmp(r->code, "TIME_RELATIVE");
  r->is_lead = !strncmp(r->code, "MDC_ECG_LEAD_", 13);
}

static int keep_head(struct reading *r, const struct xml_attributes *a) {
  struct dec d;
  if (!r->is_time)
    return 0;
  if (!strcmp(r->code, "TIME_ABSOLUTE")) {
    keep_instant(r, a, &r->head);
    return 0;
  }
  int err = quantity(r, a, seconds, &d);
  if (err < 0)
    return err;
  int64_t us = d.mantissa;
  for (int e = d.exponent + 6; e > 0 && us && llabs(us) < INT64_C(100000000000000); e--)
    us *= 10;
  for (int e = d.exponent + 6; e < 0; e++)
    us /= 10;
  r->head = (struct instant){.known = true, .us = us};
  return 0;
}

static int end_time(struct reading *r) {
  struct set *set = &r->sets[r->n_sets - 1];
  if (set->timed || !r->has_increment)
    return acq_rec_fail(r->record, -EPROTO, "a set of sequences with two times, or a time without an increment");
  set->timed = true;
  set->absolute = !strcmp(r->code, "TIME_ABSOLUTE");
  set->head = r->head;
  return rate_of(r, r->increment, set);
}

/* The origin in steps, where it is a whole number of them. */
static int add_origin(struct reading *r, const struct sequence *s) {
  int64_t origin = r->origin.mantissa, step = r->scale.mantissa;
  int apart = r->origin.exponent - r->scale.exponent;
  if (!origin)
    return 0;
  for (; apart > 0 && llabs(origin) < INT64_C(100000000000000000); apart--)
    origin *= 10;
  for (; apart < 0 && step < INT64_C(100000000000000000); apart++)
    step *= 10;
  if (apart || origin % step || llabs(origin / step) > 1000000)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "an origin that is no whole number of steps");
  for (size_t i = 0; i < s->n; i++)
    values[s->first + i] += (int32_t)(origin / step);
  return 0;
}

static int64_t common(int64_t a, int64_t b) {
  while (b) {
    int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a < 0 ? -a : a;
}

/* Brings values with decimals, or larger ones than 16 bits hold, into larger steps where that loses nothing. */
static int fit(struct reading *r, struct sequence *s) {
  int32_t *v = values + s->first;
  bool large = false;
  int64_t all = 0, unit = 1;
  for (size_t i = 0; i < s->n; i++)
    large |= v[i] <= INT16_MIN || v[i] > INT16_MAX;
  if (!large && !r->digits.decimals)
    return 0;
  for (size_t i = 0; i < s->n; i++)
    all = common(all, v[i]);
  all = all ? all : 1;
  for (unsigned i = 0; i < r->digits.decimals; i++, unit *= 10)
    s->scale.exponent--;
  const int64_t step = common(all, unit), by = large ? all : step;
  for (size_t i = 0; i < s->n; i++) {
    if (v[i] / by <= INT16_MIN || v[i] / by > INT16_MAX)
      return acq_rec_fail(r->record, -ERANGE, "samples of more than 16 bits");
    v[i] = (int32_t)(v[i] / by);
  }
  int64_t mantissa = s->scale.mantissa * by;
  for (; mantissa % 10 == 0 && s->scale.exponent < 0; mantissa /= 10)
    s->scale.exponent++;
  if (mantissa > INT32_MAX)
    return acq_rec_fail(r->record, -ERANGE, "samples of more than 16 bits");
  s->scale.mantissa = (int32_t)mantissa;
  return 0;
}

static int refuse_digits(struct reading *r, int err) {
  return acq_rec_fail(r->record, err == -EFBIG ? -EOPNOTSUPP : err, "%s",
                      err == -EFBIG    ? "more samples than are read"
                      : err == -ERANGE ? "a sample that cannot be"
                                       : "samples that are no numbers");
}

static int end_lead(struct reading *r) {
  int err = digits_end(&r->digits);
  if (err < 0)
    return refuse_digits(r, err);
  if (r->n_sequences == SEQUENCES_MAX)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "more than %u sequences", SEQUENCES_MAX);
  struct sequence *s = &r->sequences[r->n_sequences++];
  *s =
      (struct sequence){xml_lead(r->code + strlen("MDC_ECG_LEAD_")), r->n_sets - 1, r->n_values, r->digits.n, r->scale};
  r->n_values += s->n;
  r->unknown += !s->code;
  if (!s->n)
    return acq_rec_fail(r->record, -EPROTO, "a lead without samples");
  if (!r->has_scale || r->scale.mantissa <= 0 || r->scale.exponent < -12)
    return acq_rec_fail(r->record, -ERANGE, "a lead without a scale, or with one that cannot be");
  for (unsigned i = 0; i + 1 < r->n_sequences && s->code; i++)
    if (r->sequences[i].code == s->code && r->sequences[i].set == s->set)
      return acq_rec_fail(r->record, -EPROTO, "a lead is there twice");
  if (r->has_origin && r->origin.mantissa && r->digits.decimals)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "an origin, and samples with decimals");
  err = r->has_origin ? add_origin(r, s) : 0;
  return err < 0 ? err : fit(r, s);
}

static int end_sequence(struct reading *r) {
  if (r->is_time)
    return end_time(r);
  if (r->is_lead)
    return end_lead(r);
  r->unknown++;
  return 0;
}

static int on_text(void *arg, unsigned id, const char *text, size_t n) {
  struct reading *r = arg;
  (void)id;
  if (!r->is_rhythm || !r->is_lead)
    return 0;
  int err = digits_read(&r->digits, text, n);
  return err < 0 ? refuse_digits(r, err) : 0;
}

/* ---- filters ------------------------------------------------------------------------------------------------ */

static void keep_filter(struct reading *r, const struct xml_attributes *a) {
  static const char cutoff[] = "MDC_ECG_CTL_VBL_ATTR_FILTER_CUTOFF_FREQ",
                    notch[] = "MDC_ECG_CTL_VBL_ATTR_FILTER_NOTCH_FREQ";
  char unit[16];
  if (!xml_attribute(a, "unit", unit, sizeof unit) || strcmp(unit, "Hz"))
    return;
  if (!strcmp(r->detail, cutoff) && !strcmp(r->control, "MDC_ECG_CTL_VBL_ATTR_FILTER_LOW_PASS"))
    xml_attribute(a, "value", r->low_pass, sizeof r->low_pass);
  else if (!strcmp(r->detail, cutoff) && !strcmp(r->control, "MDC_ECG_CTL_VBL_ATTR_FILTER_HIGH_PASS"))
    xml_attribute(a, "value", r->high_pass, sizeof r->high_pass);
  else if (!strcmp(r->detail, notch))
    xml_attribute(a, "value", r->mains, sizeof r->mains);
}

/* ---- annotations -------------------------------------------------------------------------------------------- */

static struct annotation *annotation(struct reading *r) {
  return r->n_annotations && r->n_annotations <= ANNOTATIONS_DEEP ? &r->annotations[r->n_annotations - 1] : NULL;
}

static void begin_annotation(struct reading *r) {
  r->n_annotations++;
  if (annotation(r))
    *annotation(r) = (struct annotation){0};
}

static void keep_value(struct annotation *now, const struct xml_attributes *a) {
  xml_attribute(a, "value", now->value, sizeof now->value);
  xml_attribute(a, "unit", now->unit, sizeof now->unit);
  if (!xml_attribute(a, "displayName", now->text, sizeof now->text) &&
      xml_attribute(a, "code", now->text, sizeof now->text) && !strncmp(now->text, "MDC_ECG_", 8))
    memmove(now->text, now->text + 8, strlen(now->text + 8) + 1);
}

/* Marks on single waves and beats are not kept: there are hundreds of them. */
static void end_annotation(struct reading *r) {
  const struct annotation *now = annotation(r);
  r->n_annotations--;
  if (!now || !strncmp(now->code, "MDC_ECG_WAVC", 12) || !strncmp(now->code, "MDC_ECG_BEAT", 12))
    return;
  const bool words =
      !strncmp(now->code, "MDC_ECG_INTERPRETATION", 22) || !strncmp(now->code, "MDC_ECG_RHY", 11) || !*now->value;
  const char *name = now->code + (strncmp(now->code, "MDC_ECG_", 8) ? 0 : 8);
  if (words && *now->text)
    xml_note(&r->notes, strncmp(now->code, "MDC_ECG_", 8) ? "comment" : "interpretation", "%s", now->text);
  else if (!words)
    xml_note(&r->notes, "measurement", "%s%s%s%s : %s%s%s", name, *now->lead ? " (" : "", now->lead,
             *now->lead ? ")" : "", now->value, *now->unit ? " " : "", now->unit);
}

static void keep_boundary(struct annotation *now, const struct xml_attributes *a) {
  char code[ACQ_TEXT_MAX];
  if (xml_attribute(a, "code", code, sizeof code) && !strncmp(code, "MDC_ECG_LEAD_", 13))
    memcpy(now->lead, code + 13, strlen(code + 13) + 1);
}

/* ---- the document ------------------------------------------------------------------------------------------- */

static void keep_series_code(struct reading *r, const struct xml_attributes *a) {
  char code[ACQ_TEXT_MAX];
  xml_attribute(a, "code", code, sizeof code);
  const bool rhythm = !strcmp(code, "RHYTHM");
  r->rhythms += rhythm;
  r->is_rhythm = rhythm && r->rhythms == 1;
}

static void keep_birth(struct reading *r, const struct xml_attributes *a) {
  struct acq_clock born = {0};
  char text[ACQ_TEXT_MAX];
  if (xml_attribute(a, "value", text, sizeof text) && xml_clock(text, "YMD", &born))
    xml_birth_date(&born, r->subject.birth_date);
}

static void keep_gender(struct reading *r, const struct xml_attributes *a) {
  char code[16];
  if (xml_attribute(a, "code", code, sizeof code) && (!strcmp(code, "F") || !strcmp(code, "M")))
    r->subject.sex = *code;
}

/* An attribute of the id, cleaned like all texts. */
static void keep_id(const struct xml_attributes *a, char *to, size_t size) {
  char text[2 * ACQ_NAME_MAX];
  if (xml_attribute(a, "extension", text, sizeof text) && !*to)
    xml_field(&(struct xml_text){text, strlen(text), false}, to, size);
}

static int start_in_set(struct reading *r, unsigned id, const struct xml_attributes *a) {
  switch (id) {
  case SET:
    return begin_set(r);
  case SEQUENCE:
    begin_sequence(r);
    return 0;
  case SEQUENCE_CODE:
    keep_code(r, a);
    return 0;
  case HEAD:
    return keep_head(r, a);
  case INCREMENT:
    r->has_increment = r->is_time;
    return r->is_time ? quantity(r, a, seconds, &r->increment) : 0;
  case ORIGIN:
    r->has_origin = true;
    return r->is_lead ? quantity(r, a, volts, &r->origin) : 0;
  case SCALE:
    r->has_scale = true;
    return r->is_lead ? quantity(r, a, volts, &r->scale) : 0;
  default:
    return 0;
  }
}

static void start_in_annotation(struct reading *r, unsigned id, const struct xml_attributes *a) {
  if (id == ANNOTATION)
    begin_annotation(r);
  struct annotation *now = annotation(r);
  if (now && id == ANNOTATION_CODE)
    xml_attribute(a, "code", now->code, sizeof now->code);
  if (now && id == ANNOTATION_VALUE)
    keep_value(now, a);
  if (now && id == BOUNDARY_CODE)
    keep_boundary(now, a);
}

static int start_in_rhythm(struct reading *r, unsigned id, const struct xml_attributes *a) {
  switch (id) {
  case SERIES_CENTER:
  case SERIES_LOW:
    keep_instant(r, a, &r->low);
    return 0;
  case SERIES_HIGH:
    keep_instant(r, a, &r->high);
    return 0;
  case DEVICE_ID:
    keep_id(a, r->device.serial, sizeof r->device.serial);
    return 0;
  case CONTROL:
    *r->control = 0;
    return 0;
  case CONTROL_CODE:
    xml_attribute(a, "code", r->control, sizeof r->control);
    return 0;
  case DETAIL:
    *r->detail = 0;
    return 0;
  case DETAIL_CODE:
    xml_attribute(a, "code", r->detail, sizeof r->detail);
    return 0;
  case DETAIL_VALUE:
    keep_filter(r, a);
    return 0;
  default:
    if (id >= ANNOTATED)
      start_in_annotation(r, id, a);
    return id < ANNOTATED ? start_in_set(r, id, a) : 0;
  }
}

static int on_start(void *arg, unsigned id, const char *name, const struct xml_attributes *a) {
  struct reading *r = arg;
  (void)name;
  switch (id) {
  case TIME_CENTER:
  case TIME_LOW:
    keep_instant(r, a, &r->time);
    return 0;
  case SUBJECT_ID:
    r->has_subject = true;
    keep_id(a, r->subject.id, sizeof r->subject.id);
    return 0;
  case GENDER:
    keep_gender(r, a);
    return 0;
  case BIRTH:
    keep_birth(r, a);
    return 0;
  case SERIES:
    r->series++;
    r->is_rhythm = false;
    return 0;
  case SERIES_CODE:
    keep_series_code(r, a);
    return 0;
  default:
    return r->is_rhythm ? start_in_rhythm(r, id, a) : 0;
  }
}

static void keep_text(struct reading *r, const struct xml_text *text, char *to, size_t size) {
  char clean[1024];
  if (!xml_field(text, clean, sizeof clean))
    r->unreadable++;
  if (*clean)
    xml_field(&(struct xml_text){clean, strlen(clean), false}, to, size);
}

/* A family or given name may come in parts; only the first name that says something is taken. */
static void add_name(struct reading *r, const struct xml_text *text, char to[static ACQ_NAME_MAX]) {
  char part[ACQ_NAME_MAX] = "", both[2 * ACQ_NAME_MAX];
  if (r->named)
    return;
  keep_text(r, text, part, sizeof part);
  snprintf(both, sizeof both, "%s%s%s", to, *to && *part ? " " : "", part);
  xml_field(&(struct xml_text){both, strlen(both), false}, to, ACQ_NAME_MAX);
}

static int end_in_rhythm(struct reading *r, unsigned id, const struct xml_text *text) {
  switch (id) {
  case MODEL:
    keep_text(r, text, r->device.model, sizeof r->device.model);
    return 0;
  case SOFTWARE:
    keep_text(r, text, r->device.firmware, sizeof r->device.firmware);
    return 0;
  case MAKER_NAME:
    keep_text(r, text, r->device.make, sizeof r->device.make);
    return 0;
  case SEQUENCE:
    return end_sequence(r);
  case ANNOTATION_VALUE:
    if (annotation(r))
      keep_text(r, text, annotation(r)->text, sizeof annotation(r)->text);
    return 0;
  case ANNOTATION:
    end_annotation(r);
    return 0;
  default:
    return 0;
  }
}

static int on_end(void *arg, unsigned id, const char *name, const struct xml_text *text) {
  struct reading *r = arg;
  char words[1024] = "";
  (void)name;
  switch (id) {
  case NAME: /* its parts came before */
    r->has_subject = true;
    if (!*r->subject.family)
      add_name(r, text, r->subject.family);
    r->named |= *r->subject.family || *r->subject.given;
    return 0;
  case FAMILY:
    add_name(r, text, r->subject.family);
    return 0;
  case GIVEN:
    add_name(r, text, r->subject.given);
    return 0;
  case FINDING_TEXT:
    keep_text(r, text, words, sizeof words);
    if (*words)
      xml_note(&r->notes, "comment", "%s", words);
    return 0;
  default:
    return r->is_rhythm ? end_in_rhythm(r, id, text) : 0;
  }
}

/* ---- the record --------------------------------------------------------------------------------------------- */

__extension__ typedef __int128 wide;

/* Where a set begins in the recording, in samples; -1 for one that is not part of it. */
static int64_t begin_of(const struct reading *r, unsigned set) {
  const struct set *first = &r->sets[0], *s = &r->sets[set];
  int64_t us = s->head.us - s->head.zone_minutes * INT64_C(60000000) -
               (first->head.us - first->head.zone_minutes * INT64_C(60000000));
  if (us < 0 || us > INT64_C(86400000000))
    return -1;
  wide scaled = (wide)us * s->rate.mantissa, divisor = 1000000;
  for (int e = s->rate.exponent; e < 0; e++)
    divisor *= 10;
  for (int e = s->rate.exponent; e > 0; e--)
    scaled *= 10;
  const wide begin = (scaled + divisor / 2) / divisor;
  return begin > SAMPLES_MAX ? -1 : (int64_t)begin;
}

/* One set says all; several must be parts of one recording. */
static int check_sets(struct reading *r) {
  for (unsigned i = 0; i < r->n_sets; i++) {
    const struct set *s = &r->sets[i];
    if (!s->timed)
      return acq_rec_fail(r->record, -EPROTO, "sequences without a time");
    if (dec_cmp(s->rate, (struct dec){1, 0}) < 0 || dec_cmp(s->rate, (struct dec){1, 5}) > 0)
      return acq_rec_fail(r->record, -ERANGE, "a sampling rate that cannot be");
    if (i && (!s->head.known || !r->sets[0].head.known || s->absolute != r->sets[0].absolute ||
              s->head.zoned != r->sets[0].head.zoned || dec_cmp(s->rate, r->sets[0].rate) != 0 || begin_of(r, i) < 0))
      return acq_rec_fail(r->record, -EOPNOTSUPP, "sets of sequences that do not make one recording");
  }
  return 0;
}

static void add_samples(struct reading *r, unsigned channel, const struct sequence *s) {
  int16_t chunk[CHUNK];
  for (size_t at = 0; at < s->n;) {
    size_t n = s->n - at < CHUNK ? s->n - at : CHUNK;
    for (size_t i = 0; i < n; i++)
      chunk[i] = (int16_t)values[s->first + at + i];
    acq_rec_samples(r->record, channel, chunk, n);
    at += n;
  }
}

/* A lead, from all sets that have it; where none has it, it is missing. */
static int tell_lead(struct reading *r, unsigned first, size_t length) {
  const struct sequence *lead = &r->sequences[first];
  unsigned channel = acq_rec_channel(r->record, lead->code, r->sets[0].rate, lead->scale, false);
  size_t at = 0;
  for (unsigned i = first; i < r->n_sequences; i++) {
    const struct sequence *s = &r->sequences[i];
    if (s->code != lead->code)
      continue;
    const size_t begin = (size_t)begin_of(r, s->set);
    if (begin < at || dec_cmp(s->scale, lead->scale) != 0)
      return acq_rec_fail(r->record, -EOPNOTSUPP, "sets of sequences that do not make one recording");
    acq_rec_gap(r->record, channel, begin - at);
    add_samples(r, channel, s);
    at = begin + s->n;
  }
  if (r->n_sets > 1)
    acq_rec_gap(r->record, channel, length - at);
  return 0;
}

static bool came_before(const struct reading *r, unsigned i) {
  for (unsigned k = 0; k < i; k++)
    if (r->sequences[k].code == r->sequences[i].code)
      return true;
  return false;
}

static int tell_leads(struct reading *r, size_t length) {
  unsigned leads = 0;
  bool same = true;
  for (unsigned i = 0; i < r->n_sequences; i++) {
    same &= i == 0 || r->sequences[i].set != r->sequences[i - 1].set || r->sequences[i].n == r->sequences[i - 1].n;
    if (!r->sequences[i].code || came_before(r, i))
      continue;
    leads++;
    if (length * leads > 4 * (size_t)SAMPLES_MAX)
      return acq_rec_fail(r->record, -EOPNOTSUPP, "more samples than are read");
    int err = tell_lead(r, i, length);
    if (err < 0)
      return err;
  }
  if (!same)
    acq_rec_quality(r->record, "file_inconsistent", "longueurs", 1);
  acq_rec_limb_leads(r->record);
  return 0;
}

/* The series says how long it is: samples that end more than a second earlier are not all of it. */
static void check_length(struct reading *r, size_t length) {
  char subject[ACQ_TEXT_MAX];
  const struct dec rate = r->sets[0].rate;
  if (!r->low.known || !r->high.known || r->high.us <= r->low.us)
    return;
  int64_t ms = (int64_t)length * 1000;
  for (int e = rate.exponent; e < 0; e++)
    ms *= 10;
  ms /= rate.mantissa;
  if (rate.exponent > 0 || ms > INT32_MAX || ms * 1000 >= r->high.us - r->low.us - 1000000)
    return;
  snprintf(subject, sizeof subject, "%u,%03u s", (unsigned)ms / 1000, (unsigned)ms % 1000);
  acq_rec_quality(r->record, "file_shortened", subject, 1);
}

static struct acq_trial trial_of(struct reading *r) {
  const struct set *set = &r->sets[0];
  const struct instant *when = set->absolute && set->head.known ? &set->head : r->low.known ? &r->low : &r->time;
  const int64_t us = when->known ? on_the_wall(r, when) : 0;
  r->broken_time |= us < 0; /* here it was before 1970 */
  return (struct acq_trial){.timed = when->known && us >= 0, .clock_us = us < 0 ? 0 : us};
}

static int tell(struct reading *r) {
  size_t length = 0;
  unsigned known = 0;
  if (!r->series)
    return acq_rec_fail(r->record, -ENODATA, "no recording in it");
  if (!r->rhythms)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "no rhythm in it");
  for (unsigned i = 0; i < r->n_sequences; i++)
    known += r->sequences[i].code != NULL;
  if (!known)
    return acq_rec_fail(r->record, -ENODATA, "no lead in it that is known");
  int err = check_sets(r);
  if (err < 0)
    return err;
  for (unsigned i = 0; i < r->n_sequences; i++) {
    size_t end = (size_t)begin_of(r, r->sequences[i].set) + r->sequences[i].n;
    length = end > length ? end : length;
  }
  if (r->has_subject && (*r->subject.id || *r->subject.family || *r->subject.given))
    acq_rec_subject(r->record, &r->subject);
  if (*r->device.make || *r->device.model || *r->device.serial || *r->device.firmware)
    acq_rec_instrument(r->record, &r->device);
  const struct acq_trial trial = trial_of(r);
  acq_rec_trial(r->record, &trial);
  if (!trial.timed)
    acq_rec_quality(r->record, "reading_time_unverified", "", 1);
  err = tell_leads(r, length);
  if (err < 0)
    return err;
  acq_rec_quality(r->record, "file_unchecked", "", 1);
  check_length(r, length);
  if (r->broken_time)
    acq_rec_quality(r->record, "file_inconsistent", "date", 1);
  if (r->rhythms > 1)
    acq_rec_quality(r->record, "file_inconsistent", "", r->rhythms - 1);
  if (r->sets[0].guessed)
    acq_rec_quality(r->record, "sampling_rate_assumed", "", 1);
  if (r->unknown)
    acq_rec_quality(r->record, "unknown_value", "", r->unknown);
  if (r->unreadable)
    acq_rec_quality(r->record, "text_unreadable", "", r->unreadable);
  xml_filters(r->record, r->high_pass, r->low_pass, r->mains);
  xml_notes_tell(&r->notes, r->record);
  return acq_rec_done(r->record);
}

static int decode(const struct acq_capture *capture, struct acq_record *ret) {
  static const struct xml_form form = {.root = "AnnotatedECG",
                                       .space = "urn:hl7-org:v3",
                                       .nodes = nodes,
                                       .n_nodes = sizeof nodes / sizeof *nodes,
                                       .start = on_start,
                                       .text = on_text,
                                       .end = on_end};
  char reason[XML_REASON_MAX];
  struct acq_cur cur;
  int r = acq_capture_file(capture, &cur, NULL);
  if (r < 0)
    return acq_rec_fail(ret, r, "no file");
  memset(&reading, 0, sizeof reading);
  reading.record = ret;
  reading.order = acq_capture_order(capture);
  const size_t n = acq_left(&cur);
  r = xml_read(&form, acq_bytes(&cur, n), n, &reading, reason);
  return r < 0 ? acq_rec_fail(ret, r, "%s", reason) : tell(&reading);
}

/* ---- the driver --------------------------------------------------------------------------------------------- */

static const struct acq_match match[] = {
    {.bus = ACQ_FILE, .pattern = "*.xml"}, {.bus = ACQ_FILE, .pattern = "*.aecg"}, {.bus = 0}};

const struct acq_driver file_hl7_aecg = {
    .abi = ACQ_DRIVER_ABI,
    .name = "file_hl7_aecg",
    .version = "1",
    .label = "Fichier ECG HL7 aECG",
    .modalities = ACQ_MODALITY(ACQ_ECG),
    .maturity = ACQ_EXPERIMENTAL,
    .integrity = ACQ_NONE,
    .match = match,
    .limits =
        {
            .max_bytes = BYTES_MAX,
            .max_seconds = 3600,
            .default_seconds = 600,
            .idle_ms = 5000,
            .grace_ms = 30000,
        },
    .decode = decode,
};
