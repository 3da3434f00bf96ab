/* GE MUSE XML: a resting ECG as MUSE and the carts that speak its language export it (RestingECG). README.md says what
 * is known of it and how well.
 *
 *   RestingECG
 *     PatientDemographics  PatientID, PatientLastName, PatientFirstName, DateofBirth (MM-DD-YYYY), Gender (MALE,
 * FEMALE) TestDemographics     AcquisitionDate (MM-DD-YYYY), AcquisitionTime (HH:MM:SS), AcquisitionDevice, CartNumber,
 * ... RestingECGMeasurements, Diagnosis, OriginalDiagnosis    the instrument's and the reader's own words Waveform
 * WaveformType (Median, Rhythm), SampleBase x 10^SampleExponent Hz, filters LeadData           LeadID,
 * LeadAmplitudeUnitsPerBit, LeadAmplitudeUnits, LeadSampleCountTotal, WaveFormData: base64 of 16-bit samples, little
 * endian
 *
 * What is read is held in static memory until the document has ended well. */
#include "xml_in.h"

#include <asalee/driver.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BYTES_MAX (16u << 20)
#define SAMPLES_MAX (2u << 20) /* of all leads */
#define LEADS_MAX 32u
#define CHUNK 4096u

/* Elements; those from PATIENT_ID on are fields, of which the text is kept. */
enum {
  PATIENT = XML_ROOT + 1,
  TEST,
  MEASUREMENTS,
  MEASUREMENT,
  DIAGNOSIS,
  ORIGINAL,
  STATEMENT,
  ORIGINAL_STATEMENT,
  WAVEFORM,
  LEAD,
  DATA,
  SENTENCE_TEXT,
  ORIGINAL_TEXT,
  SENTENCE_FLAG,
  PATIENT_ID,
  LAST_NAME,
  FIRST_NAME,
  BIRTH,
  GENDER,
  DATE,
  TIME,
  DEVICE,
  CART,
  SOFTWARE,
  REASON,
  TYPE,
  N_LEADS,
  SAMPLE_TYPE,
  BASE,
  EXPONENT,
  HIGH_PASS,
  LOW_PASS,
  MAINS,
  LEAD_ID,
  PER_BIT,
  UNITS,
  N_SAMPLES,
  SAMPLE_BYTES,
  BEGINS,
  OFFSET,
  LEAD_OFF,
  FIELDS_END
};
#define FIRST_FIELD PATIENT_ID
#define FIRST_OF_WAVEFORM TYPE
#define FIRST_OF_LEAD LEAD_ID

static const struct xml_node nodes[] = {
    {XML_ROOT, PATIENT, XML_NO_TEXT, "PatientDemographics"},
    {XML_ROOT, TEST, XML_NO_TEXT, "TestDemographics"},
    {XML_ROOT, MEASUREMENTS, XML_NO_TEXT, "RestingECGMeasurements"},
    {XML_ROOT, DIAGNOSIS, XML_NO_TEXT, "Diagnosis"},
    {XML_ROOT, ORIGINAL, XML_NO_TEXT, "OriginalDiagnosis"},
    {XML_ROOT, WAVEFORM, XML_NO_TEXT, "Waveform"},
    {PATIENT, PATIENT_ID, XML_WHOLE, "PatientID"},
    {PATIENT, LAST_NAME, XML_WHOLE, "PatientLastName"},
    {PATIENT, FIRST_NAME, XML_WHOLE, "PatientFirstName"},
    {PATIENT, BIRTH, XML_WHOLE, "DateofBirth"},
    {PATIENT, GENDER, XML_WHOLE, "Gender"},
    {TEST, DATE, XML_WHOLE, "AcquisitionDate"},
    {TEST, TIME, XML_WHOLE, "AcquisitionTime"},
    {TEST, DEVICE, XML_WHOLE, "AcquisitionDevice"},
    {TEST, CART, XML_WHOLE, "CartNumber"},
    {TEST, SOFTWARE, XML_WHOLE, "AcquisitionSoftwareVersion"},
    {TEST, REASON, XML_WHOLE, "TestReason"},
    {MEASUREMENTS, MEASUREMENT, XML_WHOLE, "*"},
    {DIAGNOSIS, STATEMENT, XML_NO_TEXT, "DiagnosisStatement"},
    {STATEMENT, SENTENCE_TEXT, XML_WHOLE, "StmtText"},
    {STATEMENT, SENTENCE_FLAG, XML_WHOLE, "StmtFlag"},
    {ORIGINAL, ORIGINAL_STATEMENT, XML_NO_TEXT, "DiagnosisStatement"},
    {ORIGINAL_STATEMENT, ORIGINAL_TEXT, XML_WHOLE, "StmtText"},
    {ORIGINAL_STATEMENT, SENTENCE_FLAG, XML_WHOLE, "StmtFlag"},
    {WAVEFORM, TYPE, XML_WHOLE, "WaveformType"},
    {WAVEFORM, N_LEADS, XML_WHOLE, "NumberofLeads"},
    {WAVEFORM, SAMPLE_TYPE, XML_WHOLE, "SampleType"},
    {WAVEFORM, BASE, XML_WHOLE, "SampleBase"},
    {WAVEFORM, EXPONENT, XML_WHOLE, "SampleExponent"},
    {WAVEFORM, HIGH_PASS, XML_WHOLE, "HighPassFilter"},
    {WAVEFORM, LOW_PASS, XML_WHOLE, "LowPassFilter"},
    {WAVEFORM, MAINS, XML_WHOLE, "ACFilter"},
    {WAVEFORM, LEAD, XML_NO_TEXT, "LeadData"},
    {LEAD, LEAD_ID, XML_WHOLE, "LeadID"},
    {LEAD, PER_BIT, XML_WHOLE, "LeadAmplitudeUnitsPerBit"},
    {LEAD, UNITS, XML_WHOLE, "LeadAmplitudeUnits"},
    {LEAD, N_SAMPLES, XML_WHOLE, "LeadSampleCountTotal"},
    {LEAD, SAMPLE_BYTES, XML_WHOLE, "LeadSampleSize"},
    {LEAD, BEGINS, XML_WHOLE, "LeadTimeOffset"},
    {LEAD, OFFSET, XML_WHOLE, "LeadOffsetFirstSample"},
    {LEAD, LEAD_OFF, XML_WHOLE, "LeadOff"},
    {LEAD, DATA, XML_PIECES, "WaveFormData"},
};

struct lead {
  const char *code; /* NULL: not one of the nomenclature's */
  struct dec scale; /* uV */
  size_t first, n;  /* of the samples */
  bool off;
};

/* One document at a time; made anew by each decode(). */
static struct reading {
  struct acq_record *record;
  char field[FIELDS_END - FIRST_FIELD][ACQ_NAME_MAX];
  bool is_rhythm, has_rhythm; /* the waveform that is being read; one was read */
  unsigned rhythms, unreadable;
  struct dec rate;
  char high_pass[ACQ_TEXT_MAX], low_pass[ACQ_TEXT_MAX], mains[ACQ_TEXT_MAX];
  char sentence[4096]; /* it goes on until a statement ends the line */
  bool line_ends;
  struct lead leads[LEADS_MAX];
  unsigned n_leads;
  bool counted_wrong;
  struct xml_base64 base64;
  bool half; /* of a sample: */
  uint8_t low;
  size_t n_samples;
  struct xml_notes notes;
} reading;
static int16_t samples[SAMPLES_MAX];

static char *field(struct reading *r, unsigned id) {
  return r->field[id - FIRST_FIELD];
}

static void forget(struct reading *r, unsigned from, unsigned to) {
  memset(field(r, from), 0, (to - from) * sizeof *r->field);
}

/* ---- leads -------------------------------------------------------------------------------------------------- */

static int begin_lead(struct reading *r) {
  forget(r, FIRST_OF_LEAD, FIELDS_END);
  if (!*field(r, TYPE))
    return acq_rec_fail(r->record, -EPROTO, "a lead comes before the kind of its waveform");
  r->is_rhythm = !strcasecmp(field(r, TYPE), "Rhythm") && !r->has_rhythm;
  if (!r->is_rhythm)
    return 0;
  if (r->n_leads == LEADS_MAX)
    return acq_rec_fail(r->record, -EPROTO, "more than %u leads", LEADS_MAX);
  r->leads[r->n_leads] = (struct lead){.first = r->n_samples};
  r->base64 = (struct xml_base64){0};
  r->half = false;
  return 0;
}

static int add_bytes(struct reading *r, const uint8_t *bytes, size_t n) {
  if ((n + 1) / 2 > SAMPLES_MAX - r->n_samples)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "more than %u samples", SAMPLES_MAX);
  for (size_t i = 0; i < n; i++) {
    if (r->half)
      samples[r->n_samples++] = (int16_t)(r->low | bytes[i] << 8);
    r->low = bytes[i];
    r->half = !r->half;
  }
  return 0;
}

static int on_text(void *arg, unsigned id, const char *text, size_t n) {
  struct reading *r = arg;
  (void)id;
  while (r->is_rhythm && n) {
    uint8_t bytes[XML_BASE64(CHUNK)];
    size_t piece = n < CHUNK ? n : CHUNK;
    int len = xml_base64(&r->base64, text, piece, bytes);
    if (len < 0)
      return acq_rec_fail(r->record, -EPROTO, "a lead's samples are not base64");
    len = add_bytes(r, bytes, (size_t)len);
    if (len < 0)
      return len;
    text += piece;
    n -= piece;
  }
  return 0;
}

static bool is_micro(const char *unit) {
  return !strcasecmp(unit, "MICROVOLTS") || !strcasecmp(unit, "uV");
}

static bool is_zero(const char *text) {
  struct dec d = {0};
  return !*text || (xml_number(text, &d) && !d.mantissa);
}

/* What the lead says of itself against what came. */
static int check_lead(struct reading *r, const struct lead *lead) {
  struct dec n;
  if (xml_base64_end(&r->base64) < 0 || r->half || !lead->n)
    return acq_rec_fail(r->record, -EPROTO, "a lead's samples are cut or missing");
  if (*field(r, N_SAMPLES) &&
      (!xml_number(field(r, N_SAMPLES), &n) || dec_cmp(n, (struct dec){(int32_t)lead->n, 0}) != 0))
    return acq_rec_fail(r->record, -EPROTO, "a lead has another number of samples than it says");
  if (*field(r, SAMPLE_BYTES) && (!xml_number(field(r, SAMPLE_BYTES), &n) || dec_cmp(n, (struct dec){2, 0}) != 0))
    return acq_rec_fail(r->record, -EOPNOTSUPP, "samples that are not 16 bits long");
  if (!is_zero(field(r, BEGINS)) || !is_zero(field(r, OFFSET)))
    return acq_rec_fail(r->record, -EOPNOTSUPP, "a lead that begins later than the others");
  return 0;
}

static int end_lead(struct reading *r) {
  if (!r->is_rhythm)
    return 0;
  struct lead *lead = &r->leads[r->n_leads++];
  lead->n = r->n_samples - lead->first;
  lead->code = xml_lead(field(r, LEAD_ID));
  lead->off = !strcasecmp(field(r, LEAD_OFF), "TRUE");
  int err = check_lead(r, lead);
  if (err < 0)
    return err;
  const char *unit = field(r, UNITS);
  if (!is_micro(unit) && strcasecmp(unit, "MILLIVOLTS") && strcasecmp(unit, "mV"))
    return acq_rec_fail(r->record, -EOPNOTSUPP, "an amplitude in a unit that is not known");
  if (!xml_number(field(r, PER_BIT), &lead->scale) || lead->scale.mantissa <= 0 || lead->scale.exponent < -9 ||
      lead->scale.exponent > 3)
    return acq_rec_fail(r->record, -ERANGE, "a lead's step is no number that can be");
  lead->scale.exponent = (int8_t)(lead->scale.exponent + (is_micro(unit) ? 0 : 3));
  for (unsigned i = 0; lead->code && i + 1 < r->n_leads; i++)
    if (r->leads[i].code == lead->code)
      return acq_rec_fail(r->record, -EPROTO, "a lead is there twice");
  return 0;
}

/* ---- waveforms ---------------------------------------------------------------------------------------------- */

/* The high-pass is told in hundredths of a hertz, in whole numbers; newer programs write hertz with a point. */
static void keep_filters(struct reading *r) {
  struct dec d;
  const char *text = field(r, HIGH_PASS);
  if (!strchr(text, '.') && xml_number(text, &d) && d.exponent == 0) {
    d.exponent = -2;
    dec_format(d, r->high_pass);
  } else {
    snprintf(r->high_pass, sizeof r->high_pass, "%.63s", text);
  }
  snprintf(r->low_pass, sizeof r->low_pass, "%.63s", field(r, LOW_PASS));
  snprintf(r->mains, sizeof r->mains, "%.63s", field(r, MAINS));
}

static int end_waveform(struct reading *r) {
  struct dec exponent = {0}, leads;
  if (strcasecmp(field(r, TYPE), "Rhythm"))
    return 0;
  r->rhythms++;
  if (r->has_rhythm)
    return 0;
  r->has_rhythm = true;
  keep_filters(r);
  const char *kind = field(r, SAMPLE_TYPE);
  if (*kind && strcasecmp(kind, "CONTINUOUS_SAMPLES"))
    return acq_rec_fail(r->record, -EOPNOTSUPP, "samples that are not continuous");
  if (*field(r, EXPONENT) && (!xml_number(field(r, EXPONENT), &exponent) || exponent.exponent ||
                              exponent.mantissa < -6 || exponent.mantissa > 6))
    return acq_rec_fail(r->record, -ERANGE, "a sampling rate that cannot be");
  if (!xml_number(field(r, BASE), &r->rate) || r->rate.mantissa <= 0 || r->rate.exponent > 6 || r->rate.exponent < -9)
    return acq_rec_fail(r->record, -ERANGE, "no sampling rate, or one that cannot be");
  r->rate.exponent = (int8_t)(r->rate.exponent + exponent.mantissa);
  if (dec_cmp(r->rate, (struct dec){1, 0}) < 0 || dec_cmp(r->rate, (struct dec){1, 5}) > 0)
    return acq_rec_fail(r->record, -ERANGE, "a sampling rate that cannot be");
  r->counted_wrong = *field(r, N_LEADS) && (!xml_number(field(r, N_LEADS), &leads) ||
                                            dec_cmp(leads, (struct dec){(int32_t)r->n_leads, 0}) != 0);
  return 0;
}

/* ---- words -------------------------------------------------------------------------------------------------- */

static void add_sentence(struct reading *r, const struct xml_text *text) {
  char words[1024];
  r->unreadable += !xml_field(text, words, sizeof words);
  size_t n = strlen(r->sentence), len = strlen(words);
  if (n + len + 2 > sizeof r->sentence)
    return;
  snprintf(r->sentence + n, sizeof r->sentence - n, "%s%s", n && len ? " " : "", words);
}

static void end_sentence(struct reading *r, bool original) {
  if (*r->sentence)
    xml_note(&r->notes, "interpretation", "%s%s", original ? "Avant relecture : " : "", r->sentence);
  *r->sentence = 0;
}

static void add_measurement(struct reading *r, const char *name, const struct xml_text *text) {
  char value[ACQ_NAME_MAX];
  r->unreadable += !xml_field(text, value, sizeof value);
  if (*value)
    xml_note(&r->notes, "measurement", "%.64s : %s", name, value);
}

static int on_start(void *arg, unsigned id, const char *name, const struct xml_attributes *attributes) {
  struct reading *r = arg;
  (void)name, (void)attributes;
  if (id == WAVEFORM)
    forget(r, FIRST_OF_WAVEFORM, FIELDS_END);
  return id == LEAD ? begin_lead(r) : 0;
}

static int on_end(void *arg, unsigned id, const char *name, const struct xml_text *text) {
  struct reading *r = arg;
  char flag[ACQ_TEXT_MAX];
  switch (id) {
  case WAVEFORM:
    return end_waveform(r);
  case LEAD:
    return end_lead(r);
  case MEASUREMENT:
    add_measurement(r, name, text);
    return 0;
  case SENTENCE_TEXT:
  case ORIGINAL_TEXT:
    add_sentence(r, text);
    return 0;
  case SENTENCE_FLAG:
    xml_field(text, flag, sizeof flag);
    r->line_ends = !strcasecmp(flag, "ENDSLINE");
    return 0;
  case STATEMENT:
  case ORIGINAL_STATEMENT:
    if (r->line_ends)
      end_sentence(r, id == ORIGINAL_STATEMENT);
    r->line_ends = false;
    return 0;
  case DIAGNOSIS:
  case ORIGINAL:
    end_sentence(r, id == ORIGINAL);
    return 0;
  default:
    if (id >= FIRST_FIELD)
      r->unreadable += !xml_field(text, field(r, id), ACQ_NAME_MAX);
    return 0;
  }
}

/* ---- the record --------------------------------------------------------------------------------------------- */

static struct acq_trial trial_of(struct reading *r) {
  struct acq_trial trial;
  if (!xml_trial(field(r, DATE), "M-D-Y", field(r, TIME), &trial))
    acq_rec_quality(r->record, "file_inconsistent", "date", 1);
  return trial;
}

static void tell_subject(struct reading *r) {
  struct acq_subject s;
  const struct xml_person person = {field(r, LAST_NAME), field(r, FIRST_NAME), field(r, PATIENT_ID), field(r, BIRTH),
                                    field(r, GENDER)};
  if (xml_subject(&person, "M-D-Y", &s))
    acq_rec_subject(r->record, &s);
}

static void tell_instrument(struct reading *r) {
  struct acq_identity id = {.make = "GE"};
  struct xml_text device = {field(r, DEVICE), strlen(field(r, DEVICE)), false},
                  cart = {field(r, CART), strlen(field(r, CART)), false},
                  software = {field(r, SOFTWARE), strlen(field(r, SOFTWARE)), false};
  xml_field(&device, id.model, sizeof id.model);
  xml_field(&cart, id.serial, sizeof id.serial);
  xml_field(&software, id.firmware, sizeof id.firmware);
  if (*id.model || *id.serial || *id.firmware)
    acq_rec_instrument(r->record, &id);
}

/* A lead that was off: the nurse knows the electrode of a chest lead. */
static void tell_off(struct acq_record *record, const char *code) {
  char electrode[3] = {'C', code[strlen(code) - 1], 0};
  if (!strncmp(code, "lead_v", 6))
    acq_rec_quality(record, "electrode_off", electrode, 1);
  else
    acq_rec_quality(record, "samples_missing", code, 1);
}

static void tell_leads(struct reading *r) {
  unsigned unknown = 0;
  size_t n = r->leads[0].n;
  bool same = true;
  for (unsigned i = 0; i < r->n_leads; i++) {
    const struct lead *lead = &r->leads[i];
    unknown += !lead->code;
    same &= lead->n == n;
    if (!lead->code)
      continue;
    acq_rec_samples(r->record, acq_rec_channel(r->record, lead->code, r->rate, lead->scale, false),
                    samples + lead->first, lead->n);
    if (lead->off)
      tell_off(r->record, lead->code);
  }
  if (unknown)
    acq_rec_quality(r->record, "unknown_value", "", unknown);
  if (!same)
    acq_rec_quality(r->record, "file_inconsistent", "longueurs", 1);
  acq_rec_limb_leads(r->record);
}

static int tell(struct reading *r) {
  unsigned known = 0;
  for (unsigned i = 0; i < r->n_leads; i++)
    known += r->leads[i].code != NULL;
  if (!known)
    return acq_rec_fail(r->record, r->rhythms || !r->n_leads ? -ENODATA : -EOPNOTSUPP, "no rhythm of a known lead");
  tell_subject(r);
  tell_instrument(r);
  struct acq_trial trial = trial_of(r);
  acq_rec_trial(r->record, &trial);
  if (!trial.timed)
    acq_rec_quality(r->record, "reading_time_unverified", "", 1);
  tell_leads(r);
  acq_rec_quality(r->record, "file_unchecked", "", 1);
  if (r->counted_wrong)
    acq_rec_quality(r->record, "file_inconsistent", "dérivations", 1);
  if (r->rhythms > 1)
    acq_rec_quality(r->record, "file_inconsistent", "", r->rhythms - 1);
  if (r->unreadable)
    acq_rec_quality(r->record, "text_unreadable", "", r->unreadable);
  xml_filters(r->record, r->high_pass, r->low_pass, r->mains);
  if (*field(r, REASON))
    xml_note(&r->notes, "indication", "%s", field(r, REASON));
  xml_notes_tell(&r->notes, r->record);
  return acq_rec_done(r->record);
}

static int decode(const struct acq_capture *capture, struct acq_record *ret) {
  static const struct xml_form form = {.root = "RestingECG",
                                       .doctype = true, /* real exports name restecg.dtd */
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
  const size_t n = acq_left(&cur);
  r = xml_read(&form, acq_bytes(&cur, n), n, &reading, reason);
  return r < 0 ? acq_rec_fail(ret, r, "%s", reason) : tell(&reading);
}

/* ---- the driver --------------------------------------------------------------------------------------------- */

static const struct acq_match match[] = {{.bus = ACQ_FILE, .pattern = "*.xml"}, {.bus = 0}};

const struct acq_driver file_ge_muse_xml = {
    .abi = ACQ_DRIVER_ABI,
    .name = "file_ge_muse_xml",
    .version = "1",
    .label = "Fichier ECG GE MUSE (XML)",
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
