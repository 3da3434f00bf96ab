#include "muse_file.h"

#include <errno.h>

#define DAMAGED_LEAD ECG12_V3
#define BASE64_WIDTH 76

const char *const muse_damage_names[MUSE_DAMAGES] = {
    [MUSE_WHOLE] = "none",
    [MUSE_TRUNCATED] = "truncated",
    [MUSE_DATA_CUT] = "data-cut",
    [MUSE_BAD_BASE64] = "bad-base64",
    [MUSE_SAMPLE_COUNT] = "sample-count",
    [MUSE_BYTE_COUNT] = "byte-count",
    [MUSE_ODD_BYTES] = "odd-bytes",
    [MUSE_SHORT_LEAD] = "short-lead",
    [MUSE_WRONG_CRC] = "wrong-crc",
    [MUSE_UNKNOWN_LEAD] = "unknown-lead",
    [MUSE_LEAD_TWICE] = "lead-twice",
    [MUSE_MISSING_LEAD] = "missing-lead",
    [MUSE_MARKED_GAP] = "marked-gap",
    [MUSE_SAMPLE_SIZE] = "sample-size",
    [MUSE_UNKNOWN_UNIT] = "unknown-unit",
    [MUSE_NO_UNITS_PER_BIT] = "no-units-per-bit",
    [MUSE_BAD_UNITS_PER_BIT] = "bad-units-per-bit",
    [MUSE_NO_RATE] = "no-rate",
    [MUSE_NO_RHYTHM] = "no-rhythm",
    [MUSE_ENTITY_BOMB] = "entity-bomb",
    [MUSE_EXTERNAL_ENTITY] = "external-entity",
};

static uint32_t crc32_of(const uint8_t *bytes, size_t n) {
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < n; i++) {
    crc ^= bytes[i];
    for (unsigned bit = 0; bit < 8; bit++)
      crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

static void put_number(struct buf *b, const char *element, unsigned value) {
  buf_format(b, "<%s>%u</%s>\n", element, value, element);
}

/* ---- who, when, what ---- */

static void put_demographics(struct buf *b, const struct muse_file *f) {
  const struct ecg_facts *s = &f->facts;
  buf_text(b, "<MuseInfo>\n<MuseVersion>9.0.10.18530</MuseVersion>\n</MuseInfo>\n<PatientDemographics>\n");
  xml_out_element(b, "PatientID", s->id);
  if (s->birth.year > 0)
    buf_format(b, "<DateofBirth>%02u-%02u-%04u</DateofBirth>\n", s->birth.month, s->birth.day, s->birth.year);
  if (s->sex)
    xml_out_element(b, "Gender", s->sex == 'M' ? "MALE" : "FEMALE");
  if (f->damage == MUSE_ENTITY_BOMB || f->damage == MUSE_EXTERNAL_ENTITY)
    buf_text(b, "<PatientLastName>&j;</PatientLastName>\n");
  else
    xml_out_element(b, "PatientLastName", s->last);
  xml_out_element(b, "PatientFirstName", s->first);
  buf_text(b, "</PatientDemographics>\n<TestDemographics>\n<DataType>RESTING</DataType>\n");
  xml_out_element(b, "AcquisitionDevice", s->model);
  xml_out_element(b, "CartNumber", s->serial);
  if (s->at.year > 0)
    buf_format(b,
               "<AcquisitionTime>%02u:%02u:%02u</AcquisitionTime>\n<AcquisitionDate>%02u-%02u-%04u</AcquisitionDate>\n",
               s->at.hour, s->at.minute, s->at.second, s->at.month, s->at.day, s->at.year);
  xml_out_element(b, "AcquisitionSoftwareVersion", s->software);
  buf_text(b, "</TestDemographics>\n");
}

static void put_measurements(struct buf *b) {
  static const char *const sets[] = {"RestingECGMeasurements", "OriginalRestingECGMeasurements"};
  for (unsigned i = 0; i < 2; i++) {
    buf_format(b, "<%s>\n", sets[i]);
    put_number(b, "VentricularRate", 75);
    put_number(b, "PRInterval", 155);
    put_number(b, "QRSDuration", 85);
    put_number(b, "QTInterval", 400);
    buf_format(b, "</%s>\n", sets[i]);
  }
}

static void put_diagnoses(struct buf *b, const char *statement) {
  static const char *const sets[] = {"Diagnosis", "OriginalDiagnosis"};
  for (unsigned i = 0; i < 2; i++) {
    buf_format(b, "<%s>\n<Modality>RESTING</Modality>\n<DiagnosisStatement>\n<StmtFlag>ENDSLINE</StmtFlag>\n", sets[i]);
    xml_out_element(b, "StmtText", statement);
    buf_format(b,
               "</DiagnosisStatement>\n<DiagnosisStatement>\n<StmtFlag>USERINSERT</StmtFlag>\n"
               "<StmtText>Unconfirmed report</StmtText>\n</DiagnosisStatement>\n</%s>\n",
               sets[i]);
  }
}

/* ---- waveforms ---- */

static void put_data(struct buf *b, const struct buf *bytes, enum muse_damage damage) {
  buf_text(b, "<WaveFormData>\n");
  if (damage == MUSE_BAD_BASE64)
    buf_text(b, "????");
  xml_out_base64(b, bytes->data, damage == MUSE_DATA_CUT ? bytes->len / 6 * 3 : bytes->len, BASE64_WIDTH);
  buf_text(b, "\n</WaveFormData>\n");
}

static void put_scale(struct buf *b, const struct muse_file *f, enum muse_damage damage) {
  const char *scale = f->units_per_bit ? f->units_per_bit : "5";
  if (damage != MUSE_NO_UNITS_PER_BIT)
    xml_out_element(b, "LeadAmplitudeUnitsPerBit", damage == MUSE_BAD_UNITS_PER_BIT ? "4,88 uV" : scale);
  xml_out_element(b, "LeadAmplitudeUnits", damage == MUSE_UNKNOWN_UNIT ? "MMHG" : "MICROVOLTS");
  buf_text(b, "<LeadHighLimit>32767</LeadHighLimit>\n<LeadLowLimit>-32768</LeadLowLimit>\n");
}

static const char *lead_id(enum ecg12_lead lead, enum muse_damage damage) {
  if (damage == MUSE_UNKNOWN_LEAD)
    return "Q7";
  return ecg12_lead_name(damage == MUSE_LEAD_TWICE ? ECG12_V2 : lead);
}

static void put_lead(struct buf *b, const struct muse_file *f, enum ecg12_lead lead, const int16_t *v, size_t n,
                     enum muse_damage damage) {
  struct buf bytes _buf_cleanup_ = BUF_INIT(XML_OUT_MAX);
  n -= damage == MUSE_SHORT_LEAD;
  for (size_t i = 0; i < n; i++)
    buf_u16le(&bytes, (uint16_t)(damage == MUSE_MARKED_GAP && i == n / 2 ? INT16_MIN : v[i]));
  if (damage == MUSE_ODD_BYTES)
    buf_u8(&bytes, 0);
  uint32_t crc = f->crc ? crc32_of(bytes.data, bytes.len) : 0;
  buf_text(b, "<LeadData>\n");
  put_number(b, "LeadByteCountTotal", (unsigned)bytes.len + (damage == MUSE_BYTE_COUNT));
  put_number(b, "LeadTimeOffset", 0);
  put_number(b, "LeadSampleCountTotal", (unsigned)n + (damage == MUSE_SAMPLE_COUNT));
  put_scale(b, f, damage);
  xml_out_element(b, "LeadID", lead_id(lead, damage));
  put_number(b, "LeadOffsetFirstSample", 0);
  put_number(b, "FirstSampleBaseline", 0);
  put_number(b, "LeadSampleSize", damage == MUSE_SAMPLE_SIZE ? 4 : 2);
  buf_text(b, "<LeadOff>FALSE</LeadOff>\n<BaselineSway>FALSE</BaselineSway>\n");
  put_number(b, "LeadDataCRC32", damage == MUSE_WRONG_CRC ? crc ^ 1 : crc);
  put_data(b, &bytes, damage);
  buf_text(b, "</LeadData>\n");
}

static void put_waveform_head(struct buf *b, const struct muse_file *f, const char *type, unsigned rate_hz) {
  buf_format(b, "<Waveform>\n<WaveformType>%s</WaveformType>\n<WaveformStartTime>0</WaveformStartTime>\n", type);
  put_number(b, "NumberofLeads", 8);
  buf_text(b, "<SampleType>CONTINUOUS_SAMPLES</SampleType>\n");
  if (f->damage != MUSE_NO_RATE) {
    put_number(b, "SampleBase", f->exponent ? rate_hz / 10 : rate_hz);
    put_number(b, "SampleExponent", f->exponent);
  }
  if (f->filters) {
    put_number(b, "HighPassFilter", 5);
    put_number(b, "LowPassFilter", 150);
    put_number(b, "ACFilter", 50);
  }
}

static void put_waveform(struct buf *b, const struct muse_file *f, const struct ecg12 *e, bool rhythm) {
  size_t first = 0, n = e->n;
  if (!rhythm && !ecg12_median(e, &first, &n))
    return;
  put_waveform_head(b, f, rhythm ? "Rhythm" : "Median", e->rate_hz);
  for (enum ecg12_lead lead = 0; lead < ECG12_LEADS; lead++) {
    enum muse_damage damage = rhythm && lead == DAMAGED_LEAD ? f->damage : MUSE_WHOLE;
    if (lead <= ECG12_II || (lead >= ECG12_V1 && damage != MUSE_MISSING_LEAD))
      put_lead(b, f, lead, e->lead[lead] + first, n, damage);
  }
  buf_text(b, "</Waveform>\n");
}

/* ---- the document ---- */

static void put_document(struct buf *b, const struct muse_file *f, const struct ecg12 *e) {
  if (f->damage == MUSE_ENTITY_BOMB)
    xml_out_entity_bomb(b, "RestingECG");
  else if (f->damage == MUSE_EXTERNAL_ENTITY)
    buf_text(b, "<!DOCTYPE RestingECG SYSTEM \"restecg.dtd\" [<!ENTITY j SYSTEM \"file:///etc/hostname\">]>\n");
  else
    buf_text(b, "<!DOCTYPE RestingECG SYSTEM \"restecg.dtd\">\n");
  buf_text(b, "<RestingECG>\n");
  put_demographics(b, f);
  if (f->measurements)
    put_measurements(b);
  if (f->facts.statement)
    put_diagnoses(b, f->facts.statement);
  if (f->median || f->damage == MUSE_NO_RHYTHM)
    put_waveform(b, f, e, false);
  if (f->damage != MUSE_NO_RHYTHM)
    put_waveform(b, f, e, true);
  buf_text(b, "</RestingECG>\n");
}

int muse_file_make(const struct muse_file *options, const struct ecg12 *ecg, struct buf *ret) {
  struct buf plain _buf_cleanup_ = BUF_INIT(XML_OUT_MAX);
  size_t before = ret->len;
  if (ecg->n < 2 || (options->exponent && ecg->rate_hz % 10 != 0))
    return -EINVAL;
  put_document(&plain, options, ecg);
  const char *body = buf_cstr(&plain);
  if (!body)
    return plain.err ? plain.err : -ENOMEM;
  xml_out_encode(ret, body, options->encoding);
  if (options->damage == MUSE_TRUNCATED && ret->err == 0)
    ret->len = before + (ret->len - before) / 4 * 2;
  return ret->err;
}
