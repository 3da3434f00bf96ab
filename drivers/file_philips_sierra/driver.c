/* Philips Sierra ECG XML 1.03 and 1.04: a resting ECG as PageWriter carts, HeartStart monitors and TraceMaster export
 * it (restingecgdata). README.md says what is known of it and how well; xli.h has the compression of the samples.
 *
 *   restingecgdata
 *     documentinfo         documenttype (SierraECG, PhilipsECG), documentversion
 *     dataacquisition      date (YYYY-MM-DD), time (HH:MM:SS); machine; signalcharacteristics
 *     patient              generalpatientdata
 *     interpretations      the instrument's own words and figures
 *     waveforms            parsedwaveforms: base64; attributes of 1.04 repeat what signalcharacteristics says
 *
 * What is read is held in static memory until the document has ended well. */
#include "xli.h"
#include "xml_in.h"

#include <asalee/driver.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BYTES_MAX (16u << 20)
#define PACKED_MAX (8u << 20)    /* bytes of the samples as they stand in the file */
#define LEAD_SAMPLES_MAX 131072u /* two minutes at 1000 Hz */
#define LEADS_MAX 16u
#define CHUNK 4096u
#define LIMB_LEADS 6u

/* Elements; those from DOCUMENT_TYPE on are fields, of which the text is kept. Those from PAGE_DATE on are attributes.
 */
enum {
  DOCUMENT = XML_ROOT + 1,
  ACQUISITION,
  SIGNAL,
  PATIENT,
  GENERAL,
  NAME,
  AGE,
  INTERPRETATIONS,
  INTERPRETATION,
  MEASUREMENTS,
  MEASUREMENT,
  SIGNATURE,
  SEVERITY,
  STATEMENT,
  LEFT,
  RIGHT,
  WAVEFORMS,
  DATA,
  DOCUMENT_TYPE,
  VERSION,
  MACHINE,
  RATE,
  RESOLUTION,
  BAND,
  HIGH_PASS,
  LOW_PASS,
  MAINS,
  NOTCHED,
  NOTCH,
  KIND,
  LEAD_SET,
  BITS,
  OFFSET,
  SIGNED,
  PATIENT_ID,
  LAST_NAME,
  FIRST_NAME,
  BIRTH,
  SEX,
  DATE,
  TIME,
  SERIAL,
  ENCODING,
  PACKING,
  PACKING_OLD,
  PACKED,
  LABELS,
  N_LEADS,
  DURATION,
  DATA_RATE,
  DATA_RESOLUTION,
  DATA_BITS,
  DATA_OFFSET,
  DATA_SIGNED,
  FIELDS_END
};
#define FIRST_FIELD DOCUMENT_TYPE

static const struct xml_node nodes[] = {
    {XML_ROOT, DOCUMENT, XML_NO_TEXT, "documentinfo"},
    {XML_ROOT, ACQUISITION, XML_NO_TEXT, "dataacquisition"},
    {XML_ROOT, PATIENT, XML_NO_TEXT, "patient"},
    {XML_ROOT, INTERPRETATIONS, XML_NO_TEXT, "interpretations"},
    {XML_ROOT, WAVEFORMS, XML_NO_TEXT, "waveforms"},
    {DOCUMENT, DOCUMENT_TYPE, XML_WHOLE, "documenttype"},
    {DOCUMENT, VERSION, XML_WHOLE, "documentversion"},
    {ACQUISITION, MACHINE, XML_WHOLE, "machine"},
    {ACQUISITION, SIGNAL, XML_NO_TEXT, "signalcharacteristics"},
    {SIGNAL, RATE, XML_WHOLE, "samplingrate"},
    {SIGNAL, RESOLUTION, XML_WHOLE, "resolution"},
    {SIGNAL, RESOLUTION, XML_WHOLE, "signalresolution"},
    {SIGNAL, BAND, XML_WHOLE, "signalbandwidth"},
    {SIGNAL, HIGH_PASS, XML_WHOLE, "hipass"},
    {SIGNAL, LOW_PASS, XML_WHOLE, "lowpass"},
    {SIGNAL, MAINS, XML_WHOLE, "acsetting"},
    {SIGNAL, NOTCHED, XML_WHOLE, "notchfiltered"},
    {SIGNAL, NOTCH, XML_WHOLE, "notchfilterfreqs"},
    {SIGNAL, KIND, XML_WHOLE, "acquisitiontype"},
    {SIGNAL, LEAD_SET, XML_WHOLE, "leadset"},
    {SIGNAL, BITS, XML_WHOLE, "bitspersample"},
    {SIGNAL, OFFSET, XML_WHOLE, "signaloffset"},
    {SIGNAL, SIGNED, XML_WHOLE, "signalsigned"},
    {PATIENT, GENERAL, XML_NO_TEXT, "generalpatientdata"},
    {GENERAL, PATIENT_ID, XML_WHOLE, "patientid"},
    {GENERAL, NAME, XML_NO_TEXT, "name"},
    {GENERAL, AGE, XML_NO_TEXT, "age"},
    {GENERAL, SEX, XML_WHOLE, "sex"},
    {NAME, LAST_NAME, XML_WHOLE, "lastname"},
    {NAME, FIRST_NAME, XML_WHOLE, "firstname"},
    {AGE, BIRTH, XML_WHOLE, "dateofbirth"},
    {INTERPRETATIONS, INTERPRETATION, XML_NO_TEXT, "interpretation"},
    {INTERPRETATION, MEASUREMENTS, XML_NO_TEXT, "interpretationmeasurements"},
    {INTERPRETATION, MEASUREMENTS, XML_NO_TEXT, "globalmeasurements"},
    {INTERPRETATION, SIGNATURE, XML_WHOLE, "mdsignatureline"},
    {INTERPRETATION, SEVERITY, XML_WHOLE, "severity"},
    {INTERPRETATION, STATEMENT, XML_NO_TEXT, "statement"},
    {MEASUREMENTS, MEASUREMENT, XML_WHOLE, "*"},
    {STATEMENT, LEFT, XML_WHOLE, "leftstatement"},
    {STATEMENT, RIGHT, XML_WHOLE, "rightstatement"},
    {WAVEFORMS, DATA, XML_PIECES, "parsedwaveforms"},
};

static const struct {
  unsigned in, field;
  const char *name;
} attributes_kept[] = {
    {ACQUISITION, DATE, "date"},           {ACQUISITION, TIME, "time"},
    {MACHINE, SERIAL, "machineid"},        {DATA, ENCODING, "dataencoding"},
    {DATA, PACKING, "compression"},        {DATA, PACKING_OLD, "compressmethod"},
    {DATA, PACKED, "compressflag"},        {DATA, LABELS, "leadlabels"},
    {DATA, N_LEADS, "numberofleads"},      {DATA, DURATION, "durationperchannel"},
    {DATA, DATA_RATE, "samplespersecond"}, {DATA, DATA_RESOLUTION, "resolution"},
    {DATA, DATA_BITS, "bitspersample"},    {DATA, DATA_BITS, "nbitspersample"},
    {DATA, DATA_OFFSET, "signaloffset"},   {DATA, DATA_SIGNED, "signalsigned"},
};

/* One document at a time; made anew by each decode(). */
static struct reading {
  struct acq_record *record;
  char field[FIELDS_END - FIRST_FIELD][ACQ_NAME_MAX];
  char left[1024], right[1024]; /* of a statement */
  unsigned unreadable;
  bool has_data;
  struct xml_base64 base64;
  size_t n_packed;
  struct xml_notes notes;
  /* what the samples are */
  struct dec rate, scale;
  size_t expected; /* samples of a lead; 0: it is not said */
  const char *lead[LEADS_MAX];
  unsigned n_leads;
  size_t n; /* samples of each */
} reading;
static uint8_t packed[PACKED_MAX + XML_BASE64(CHUNK)], work[2 * LEAD_SAMPLES_MAX];
static int16_t samples[LEADS_MAX][LEAD_SAMPLES_MAX];

static char *field(struct reading *r, unsigned id) {
  return r->field[id - FIRST_FIELD];
}

/* ---- the document ------------------------------------------------------------------------------------------- */

static int on_start(void *arg, unsigned id, const char *name, const struct xml_attributes *attributes) {
  struct reading *r = arg;
  (void)name;
  if (id == DATA && r->has_data)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "more than one recording");
  r->has_data |= id == DATA;
  if (id == STATEMENT)
    *r->left = *r->right = 0;
  for (size_t i = 0; i < sizeof attributes_kept / sizeof *attributes_kept; i++) {
    char value[ACQ_NAME_MAX];
    if (attributes_kept[i].in != id || !xml_attribute(attributes, attributes_kept[i].name, value, sizeof value))
      continue;
    xml_field(&(struct xml_text){value, strlen(value), false}, field(r, attributes_kept[i].field), ACQ_NAME_MAX);
  }
  return 0;
}

static int on_text(void *arg, unsigned id, const char *text, size_t n) {
  struct reading *r = arg;
  (void)id;
  if (strcasecmp(field(r, ENCODING), "Base64"))
    return acq_rec_fail(r->record, -EOPNOTSUPP, "samples that are not written in base64");
  while (n) {
    size_t piece = n < CHUNK ? n : CHUNK;
    int len = xml_base64(&r->base64, text, piece, packed + r->n_packed);
    if (len < 0)
      return acq_rec_fail(r->record, -EPROTO, "the samples are not base64");
    r->n_packed += (size_t)len;
    if (r->n_packed > PACKED_MAX)
      return acq_rec_fail(r->record, -EOPNOTSUPP, "more than %u bytes of samples", PACKED_MAX);
    text += piece;
    n -= piece;
  }
  return 0;
}

static void note(struct reading *r, const char *code, const char *name, const struct xml_text *text) {
  char words[1024];
  r->unreadable += !xml_field(text, words, sizeof words);
  if (*words)
    xml_note(&r->notes, code, "%.64s%s%s", name ? name : "", name ? " : " : "", words);
}

static int on_end(void *arg, unsigned id, const char *name, const struct xml_text *text) {
  struct reading *r = arg;
  switch (id) {
  case MEASUREMENT:
    note(r, "measurement", name, text);
    break;
  case SIGNATURE:
  case SEVERITY:
    note(r, "interpretation", NULL, text);
    break;
  case LEFT:
    r->unreadable += !xml_field(text, r->left, sizeof r->left);
    break;
  case RIGHT:
    r->unreadable += !xml_field(text, r->right, sizeof r->right);
    break;
  case STATEMENT:
    if (*r->left || *r->right)
      xml_note(&r->notes, "interpretation", "%s%s%s", r->left, *r->left && *r->right ? " ; " : "", r->right);
    break;
  default:
    if (id >= FIRST_FIELD)
      r->unreadable += !xml_field(text, field(r, id), ACQ_NAME_MAX);
  }
  return 0;
}

/* ---- what the samples are ----------------------------------------------------------------------------------- */

static bool says(struct reading *r, unsigned id, const char *word) {
  return !strcasecmp(field(r, id), word);
}

/* The number that one of two fields says, or both the same. */
static int number(struct reading *r, unsigned one, unsigned other, const char *what, struct dec *ret) {
  struct dec d[2];
  const unsigned ids[] = {one, other};
  unsigned n = 0;
  for (unsigned i = 0; i < 2; i++) {
    if (!*field(r, ids[i]))
      continue;
    if (!xml_number(field(r, ids[i]), &d[n++]))
      return acq_rec_fail(r->record, -EPROTO, "the %s is no number", what);
  }
  if (n == 2 && dec_cmp(d[0], d[1]) != 0)
    return acq_rec_fail(r->record, -EPROTO, "the %s is said twice and differs", what);
  if (n)
    *ret = d[0];
  return (int)n;
}

static int check_form(struct reading *r) {
  struct dec bits = {16, 0}, offset = {0, 0};
  if (strncmp(field(r, VERSION), "1.03", 4) && strncmp(field(r, VERSION), "1.04", 4))
    return acq_rec_fail(r->record, -EOPNOTSUPP, "a version other than 1.03 and 1.04");
  if (!says(r, DOCUMENT_TYPE, "SierraECG") && !says(r, DOCUMENT_TYPE, "PhilipsECG"))
    return acq_rec_fail(r->record, -EOPNOTSUPP, "a document of another type");
  if (!r->has_data)
    return acq_rec_fail(r->record, -ENODATA, "no recording in it");
  int err = number(r, BITS, DATA_BITS, "sample size", &bits);
  if (err >= 0)
    err = number(r, OFFSET, DATA_OFFSET, "signal offset", &offset);
  if (err < 0)
    return err;
  if (dec_cmp(bits, (struct dec){16, 0}) != 0 || offset.mantissa || says(r, SIGNED, "False") ||
      says(r, DATA_SIGNED, "False"))
    return acq_rec_fail(r->record, -EOPNOTSUPP, "samples that are not 16 bits with a sign");
  return 0;
}

/* Whole numbers alone, as the length of the recording follows from it. */
static int read_rate(struct reading *r) {
  struct dec duration;
  int err = number(r, RATE, DATA_RATE, "sampling rate", &r->rate);
  if (err < 0)
    return err;
  if (!err || r->rate.exponent || r->rate.mantissa < 1 || r->rate.mantissa > 100000)
    return acq_rec_fail(r->record, -ERANGE, "no sampling rate, or one that cannot be");
  if (*field(r, DURATION)) {
    if (!xml_number(field(r, DURATION), &duration) || duration.exponent || duration.mantissa < 1)
      return acq_rec_fail(r->record, -ERANGE, "a duration that cannot be");
    r->expected = (size_t)((int64_t)duration.mantissa * r->rate.mantissa / 1000);
  }
  if (r->expected > LEAD_SAMPLES_MAX)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "a recording of more than %u samples", LEAD_SAMPLES_MAX);
  return 0;
}

static int read_scale(struct reading *r) {
  int err = number(r, RESOLUTION, DATA_RESOLUTION, "resolution", &r->scale);
  if (err < 0)
    return err;
  if (!err || r->scale.mantissa <= 0 || r->scale.exponent > 3 || r->scale.exponent < -9)
    return acq_rec_fail(r->record, -ERANGE, "no resolution, or one that cannot be");
  return 0;
}

static int read_labels(struct reading *r) {
  static const char standard[] = "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6";
  struct dec n;
  const char *at = field(r, LABELS);
  if (!*at && (says(r, KIND, "STD-12") || says(r, KIND, "10-WIRE") || says(r, LEAD_SET, "STD-12")))
    at = standard;
  for (; *at; at += strspn(at, " ,")) {
    char label[16] = "";
    size_t len = strcspn(at, " ,");
    if (r->n_leads == LEADS_MAX || len >= sizeof label)
      return acq_rec_fail(r->record, -EPROTO, "more leads than a recording has, or longer names");
    memcpy(label, at, len);
    at += len;
    const char *code = xml_lead(label);
    for (unsigned i = 0; code && i < r->n_leads; i++)
      if (r->lead[i] == code)
        return acq_rec_fail(r->record, -EPROTO, "a lead is there twice");
    r->lead[r->n_leads++] = code;
  }
  if (!r->n_leads)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "leads without names");
  if (*field(r, N_LEADS) && (!xml_number(field(r, N_LEADS), &n) || n.exponent || n.mantissa < 1))
    return acq_rec_fail(r->record, -EPROTO, "a number of leads that cannot be");
  if (*field(r, N_LEADS) && (uint32_t)n.mantissa > r->n_leads)
    return acq_rec_fail(r->record, -EPROTO, "more leads than names");
  if (*field(r, N_LEADS))
    r->n_leads = (unsigned)n.mantissa;
  return 0;
}

/* ---- the samples -------------------------------------------------------------------------------------------- */

static int read_plain(struct reading *r) {
  struct acq_cur in = acq_cur(packed, r->n_packed);
  const size_t n = r->n_packed / 2 / r->n_leads;
  if (!n || r->n_packed != n * 2 * r->n_leads)
    return acq_rec_fail(r->record, -EPROTO, "the samples are not the same number for each lead");
  if (n > LEAD_SAMPLES_MAX)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "a recording of more than %u samples", LEAD_SAMPLES_MAX);
  for (unsigned lead = 0; lead < r->n_leads; lead++)
    for (size_t i = 0; i < n; i++)
      samples[lead][i] = (int16_t)acq_u16le(&in);
  r->n = n;
  return 0;
}

/* More chunks than leads are those of channels that the recorder has and did not use. */
static int read_xli(struct reading *r) {
  struct acq_cur in = acq_cur(packed, r->n_packed);
  const char *why;
  for (unsigned lead = 0; lead < r->n_leads; lead++) {
    int n = xli_read(&in, samples[lead], r->expected ? r->expected : LEAD_SAMPLES_MAX, work, &why);
    if (n < 0)
      return acq_rec_fail(r->record, n, "%s", why);
    if (!n || (lead && (size_t)n != r->n))
      return acq_rec_fail(r->record, -EPROTO, "a lead is empty or shorter than another");
    r->n = (size_t)n;
  }
  while (acq_left(&in)) {
    uint32_t size = acq_u32le(&in);
    acq_u32le(&in);
    acq_bytes(&in, size);
  }
  return in.err ? acq_rec_fail(r->record, -EPROTO, "compressed samples are cut") : 0;
}

/* What was compressed of III, aVR, aVL and aVF is by how much each differs from what follows from I and II, with halves
 * cut towards zero, as a real recording shows: its remainders lie on one side of zero or the other with the sign of the
 * sum. */
static int restore_limb_leads(struct reading *r) {
  int16_t *const i = samples[0], *const ii = samples[1];
  for (size_t k = 0; k < r->n; k++) {
    const int iii = ii[k] - i[k] - samples[2][k], avr = -samples[3][k] - (i[k] + ii[k]) / 2,
              avl = (i[k] - iii) / 2 - samples[4][k], avf = (ii[k] + iii) / 2 - samples[5][k];
    const int values[] = {iii, avr, avl, avf};
    for (unsigned lead = 0; lead < 4; lead++) {
      if (values[lead] <= INT16_MIN || values[lead] > INT16_MAX)
        return acq_rec_fail(r->record, -ERANGE, "a sample outside of 16 bits");
      samples[2 + lead][k] = (int16_t)values[lead];
    }
  }
  return 0;
}

static int read_samples(struct reading *r) {
  static const char *const limb[LIMB_LEADS] = {"I", "II", "III", "aVR", "aVL", "aVF"};
  const char *packing = *field(r, PACKING) ? field(r, PACKING) : field(r, PACKING_OLD);
  if (xml_base64_end(&r->base64) < 0)
    return acq_rec_fail(r->record, -EPROTO, "the samples are cut");
  if (!*packing || !strcasecmp(packing, "Uncompressed") || !strcasecmp(packing, "None") || says(r, PACKED, "False"))
    return read_plain(r);
  if (strcasecmp(packing, "XLI"))
    return acq_rec_fail(r->record, -EOPNOTSUPP, "a compression that is not known");
  unsigned standard = 0, derived = 0;
  for (unsigned i = 0; i < r->n_leads; i++)
    for (unsigned k = 0; k < LIMB_LEADS && r->lead[i]; k++)
      if (r->lead[i] == xml_lead(limb[k])) {
        standard += i == k;
        derived += k > 1;
      }
  if (derived && standard != LIMB_LEADS)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "compressed limb leads in another order");
  int err = read_xli(r);
  return err < 0 || !derived ? err : restore_limb_leads(r);
}

/* ---- the record --------------------------------------------------------------------------------------------- */

static struct acq_trial trial_of(struct reading *r) {
  struct acq_trial trial;
  if (!xml_trial(field(r, DATE), "Y-M-D", field(r, TIME), &trial))
    acq_rec_quality(r->record, "file_inconsistent", "date", 1);
  return trial;
}

static void tell_subject(struct reading *r) {
  struct acq_subject s;
  const struct xml_person person = {field(r, LAST_NAME), field(r, FIRST_NAME), field(r, PATIENT_ID), field(r, BIRTH),
                                    field(r, SEX)};
  if (xml_subject(&person, "Y-M-D", &s))
    acq_rec_subject(r->record, &s);
}

static void tell_instrument(struct reading *r) {
  struct acq_identity id = {.make = "Philips"};
  const struct xml_text model = {field(r, MACHINE), strlen(field(r, MACHINE)), false},
                        serial = {field(r, SERIAL), strlen(field(r, SERIAL)), false};
  xml_field(&model, id.model, sizeof id.model);
  xml_field(&serial, id.serial, sizeof id.serial);
  if (*id.model || *id.serial)
    acq_rec_instrument(r->record, &id);
}

static void tell_filters(struct reading *r) {
  char band[ACQ_NAME_MAX];
  memcpy(band, field(r, BAND), sizeof band);
  char *dash = strchr(band, '-');
  if (dash)
    *dash = 0;
  const char *notch = *field(r, NOTCH) && strcmp(field(r, NOTCH), "0") ? field(r, NOTCH) : field(r, MAINS);
  xml_filters(r->record,
              *field(r, HIGH_PASS) ? field(r, HIGH_PASS)
              : dash               ? band
                                   : "",
              *field(r, LOW_PASS) ? field(r, LOW_PASS)
              : dash              ? dash + 1
                                  : "",
              says(r, NOTCHED, "True") ? notch : "");
}

static int tell(struct reading *r) {
  unsigned known = 0;
  for (unsigned i = 0; i < r->n_leads; i++)
    known += r->lead[i] != NULL;
  if (!known)
    return acq_rec_fail(r->record, -EOPNOTSUPP, "no lead that is known");
  tell_subject(r);
  tell_instrument(r);
  const struct acq_trial trial = trial_of(r);
  acq_rec_trial(r->record, &trial);
  if (!trial.timed)
    acq_rec_quality(r->record, "reading_time_unverified", "", 1);
  for (unsigned i = 0; i < r->n_leads; i++)
    if (r->lead[i])
      acq_rec_samples(r->record, acq_rec_channel(r->record, r->lead[i], r->rate, r->scale, false), samples[i], r->n);
  acq_rec_limb_leads(r->record);
  acq_rec_quality(r->record, "file_unchecked", "", 1);
  if (known < r->n_leads)
    acq_rec_quality(r->record, "unknown_value", "", r->n_leads - known);
  if (r->expected && r->n != r->expected)
    acq_rec_quality(r->record, "file_inconsistent", "longueurs", 1);
  if (r->unreadable)
    acq_rec_quality(r->record, "text_unreadable", "", r->unreadable);
  tell_filters(r);
  xml_notes_tell(&r->notes, r->record);
  return acq_rec_done(r->record);
}

static int decode(const struct acq_capture *capture, struct acq_record *ret) {
  static const struct xml_form form = {.root = "restingecgdata",
                                       .nodes = nodes,
                                       .n_nodes = sizeof nodes / sizeof *nodes,
                                       .start = on_start,
                                       .text = on_text,
                                       .end = on_end};
  char reason[XML_REASON_MAX];
  struct acq_cur cur;
  int err = acq_capture_file(capture, &cur, NULL);
  if (err < 0)
    return acq_rec_fail(ret, err, "no file");
  struct reading *r = &reading;
  memset(r, 0, sizeof *r);
  r->record = ret;
  const size_t n = acq_left(&cur);
  err = xml_read(&form, acq_bytes(&cur, n), n, r, reason);
  if (err < 0)
    return acq_rec_fail(ret, err, "%s", reason);
  err = check_form(r);
  if (err == 0)
    err = read_rate(r);
  if (err == 0)
    err = read_scale(r);
  if (err == 0)
    err = read_labels(r);
  if (err == 0)
    err = read_samples(r);
  return err < 0 ? err : tell(r);
}

/* ---- the driver --------------------------------------------------------------------------------------------- */

static const struct acq_match match[] = {{.bus = ACQ_FILE, .pattern = "*.xml"}, {.bus = 0}};

const struct acq_driver file_philips_sierra = {
    .abi = ACQ_DRIVER_ABI,
    .name = "file_philips_sierra",
    .version = "1",
    .label = "Fichier ECG Philips (Sierra XML)",
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
