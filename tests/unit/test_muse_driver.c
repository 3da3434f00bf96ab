/* GE MUSE XML: documents, what is refused. No real export is at hand. */
#include "buf.h"
#include "capture.h"
#include "hash.h"
#include "record_build.h"
#include "record_form.h"
#include "str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

extern const struct acq_driver file_ge_muse_xml;

#define XML "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n<!DOCTYPE RestingECG SYSTEM \"restecg.dtd\">\n"
#define PEOPLE                                                                                               \
  "<MuseInfo><MuseVersion>8.0</MuseVersion></MuseInfo><PatientDemographics><PatientID>P-7</PatientID>"       \
  "<PatientAge>72</PatientAge><DateofBirth>05-08-1953</DateofBirth><Gender>FEMALE</Gender><PatientLastName>" \
  "\xc9vrard</PatientLastName><PatientFirstName>Zo\xe9</PatientFirstName></PatientDemographics>"
#define TEST(date, time)                                                                                      \
  "<TestDemographics><AcquisitionDevice>MAC55</AcquisitionDevice><AcquisitionTime>" time "</AcquisitionTime>" \
  "<AcquisitionDate>" date "</AcquisitionDate><CartNumber>56</CartNumber><AcquisitionSoftwareVersion>010B"    \
  "</AcquisitionSoftwareVersion><TestReason>Marker R</TestReason></TestDemographics>"
#define WORDS                                                                                                      \
  "<RestingECGMeasurements><VentricularRate>68</VentricularRate><QTInterval>400</QTInterval>"                      \
  "</RestingECGMeasurements><Diagnosis><Modality>RESTING</Modality><DiagnosisStatement><StmtText>Marker A"         \
  "</StmtText></DiagnosisStatement><DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>Marker B</StmtText>" \
  "</DiagnosisStatement><DiagnosisStatement><StmtText>Marker C</StmtText></DiagnosisStatement></Diagnosis>"        \
  "<OriginalDiagnosis><DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>Marker D</StmtText>"              \
  "</DiagnosisStatement></OriginalDiagnosis>"
#define LEAD_AS(name, count, step, unit, more, base64)                                                              \
  "<LeadData><LeadByteCountTotal>6</LeadByteCountTotal><LeadTimeOffset>0</LeadTimeOffset>"                          \
  "<LeadSampleCountTotal>" count "</LeadSampleCountTotal><LeadAmplitudeUnitsPerBit>" step                           \
  "</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>" unit "</LeadAmplitudeUnits><LeadID>" name "</LeadID>"           \
  "<LeadOffsetFirstSample>0</LeadOffsetFirstSample><LeadSampleSize>2</LeadSampleSize>" more "<WaveFormData>" base64 \
  "</WaveFormData></LeadData>"
#define LEAD(name, base64) LEAD_AS(name, "3", "4.88", "MICROVOLTS", "", base64)
#define RATE(base, exponent) "<SampleBase>" base "</SampleBase><SampleExponent>" exponent "</SampleExponent>"
#define WAVEFORM_AS(type, head, leads) "<Waveform><WaveformType>" type "</WaveformType>" head leads "</Waveform>"
#define FILTERS "<HighPassFilter>16</HighPassFilter><LowPassFilter>150</LowPassFilter><ACFilter>50</ACFilter>"
#define RHYTHM(leads)                                                                                                 \
  WAVEFORM_AS("Rhythm",                                                                                               \
              "<NumberofLeads>2</NumberofLeads><SampleType>CONTINUOUS_SAMPLES</SampleType>" RATE("500", "0") FILTERS, \
              leads)
#define ONE_TWO_THREE "AQACAAMA"
#define MINUS "//8AAAz+" /* -1 0 -500 */
#define DOCUMENT(inside) XML "<RestingECG>" PEOPLE TEST("01-02-2026", "03:04:05") inside "</RestingECG>\n"
#define LEADS LEAD("I", ONE_TWO_THREE) LEAD("II", "\n  AQAC\r\n\tAAMA ")

struct reading {
  int err;
  char reason[256], *json;
  json_t *record;
  int16_t samples[64];
  size_t n_samples;
};

static struct reading read_bytes(const void *bytes, size_t n) {
  struct acq_capture capture;
  struct reading r = {0};
  struct record_result result[WIRE_RECORDS] = {0};
  char why[256] = "";
  uint8_t *exact = malloc(n ? n : 1);
  assert_non_null(exact);
  memcpy(exact, bytes, n);
  assert_int_equal(capture_from_file(exact, n, &capture), 0);
  r.err = record_decode(&file_ge_muse_xml, &capture, result, r.reason);
  const struct record_result *own = &result[result[WIRE_OWN].json ? WIRE_OWN : WIRE_STRAY];
  if (r.err == 0) {
    if (record_read(own->json, own->json_bytes, own->data, own->data_values * sizeof(int16_t), &r.record, why) < 0)
      fail_msg("the record is not accepted: %s", why);
    r.json = strdup(own->json);
    r.n_samples = own->data_values;
    memcpy(r.samples, own->data, (r.n_samples < 64 ? r.n_samples : 64) * sizeof(int16_t));
    assert_non_null(strstr(r.json, "\"file_unchecked\""));
  }
  for (int i = 0; i < WIRE_RECORDS && r.err == 0; i++)
    record_result_finish(&result[i]);
  capture_finish(&capture);
  free(exact);
  return r;
}

static struct reading read_text(const char *text) {
  return read_bytes(text, strlen(text));
}

static void reading_finish(struct reading *r) {
  json_decref(r->record);
  free(r->json);
}

static bool says(const struct reading *r, const char *text) {
  return strstr(r->json, text) != NULL;
}
#define SAYS(r, text)                          \
  do {                                         \
    if (!says(&(r), text))                     \
      fail_msg("no %s in %s", text, (r).json); \
  } while (0)

static void assert_refused(const char *text, int err, const char *reason) {
  struct reading r = read_text(text);
  if (r.err != err || !strstr(r.reason, reason))
    fail_msg("%d \"%s\" instead of %d \"%s\"", r.err, r.reason, err, reason);
  reading_finish(&r);
}

static void test_document(void **state) {
  (void)state;
  static const int16_t want[] = {1, 2, 3, -1, 0, -500};
  struct reading r = read_text(DOCUMENT(WORDS WAVEFORM_AS("Median", RATE("500", "0"), LEAD("I", "BwAHAAcA"))
                                            RHYTHM(LEAD("I", ONE_TWO_THREE) LEAD("V1", MINUS))));
  if (r.err)
    fail_msg("%s", r.reason);
  assert_int_equal(r.n_samples, 6);
  assert_memory_equal(r.samples, want, sizeof want);
  SAYS(r,
       "\"code\":\"lead_i\",\"derived\":false,\"first\":0,\"gaps\":[],\"label\":\"I\",\"mdc\":131073,\"rate\":\"500\","
       "\"samples\":3,\"scale\":\"4.88\"");
  SAYS(r, "\"code\":\"lead_v1\"");
  SAYS(r, "\"device_time\":\"2026-01-02T03:04:05.000\"");
  SAYS(r, "\"birth_date\":\"1953-05-08\",\"family\":\"Évrard\",\"given\":\"Zoé\",\"id\":\"P-7\",\"sex\":\"F\"");
  SAYS(r, "\"firmware\":\"010B\",\"make\":\"GE\",\"model\":\"MAC55\",\"sensor\":\"\",\"serial\":\"56\"");
  SAYS(r, "(0,16 à 150 Hz)");
  SAYS(r, "(secteur 50 Hz)");
  SAYS(r, "\"statements\":[{\"code\":\"measurement\",\"text\":\"VentricularRate : 68\",\"trial\":1},"
          "{\"code\":\"measurement\",\"text\":\"QTInterval : 400\",\"trial\":1},"
          "{\"code\":\"interpretation\",\"text\":\"Marker A Marker B\",\"trial\":1},"
          "{\"code\":\"interpretation\",\"text\":\"Marker C\",\"trial\":1},"
          "{\"code\":\"interpretation\",\"text\":\"Avant relecture : Marker D\",\"trial\":1},"
          "{\"code\":\"indication\",\"text\":\"Marker R\",\"trial\":1}]");
  assert_false(says(&r, "file_inconsistent"));
  reading_finish(&r);
}

static void test_limb_leads(void **state) {
  (void)state;
  struct reading r = read_text(DOCUMENT(RHYTHM(LEADS)));
  assert_int_equal(r.err, 0);
  SAYS(r, "\"code\":\"lead_avf\",\"derived\":true");
  assert_int_equal(r.n_samples, 6 * 3);
  reading_finish(&r);
}

static void test_variants(void **state) {
  (void)state;
  static const struct {
    const char *text, *says;
  } rows[] = {
      {DOCUMENT(WAVEFORM_AS("Rhythm", RATE("25", "1"), LEADS)), "\"rate\":\"250\""},
      {DOCUMENT(WAVEFORM_AS("Rhythm", RATE("1000000", "-3"), LEADS)), "\"rate\":\"1000.000\""},
      {DOCUMENT(WAVEFORM_AS("RHYTHM", "<SampleBase>500</SampleBase>", LEADS)), "\"rate\":\"500\""},
      {DOCUMENT(WAVEFORM_AS("Rhythm", RATE("500", "0") "<HighPassFilter>0.05</HighPassFilter>", LEADS)),
       "(de 0,05 Hz)"},
      {DOCUMENT(RHYTHM(LEAD_AS("I", "3", "0.00488", "MILLIVOLTS", "", ONE_TWO_THREE) LEAD("V7", ONE_TWO_THREE))),
       "\"scale\":\"4.88\""},
      {DOCUMENT(RHYTHM(LEAD_AS("V3", "3", "5", "uV", "<LeadOff>TRUE</LeadOff>", ONE_TWO_THREE))),
       "\"electrode_off\",\"count\":1,\"severity\":\"check\",\"subject\":\"C3\""},
      {DOCUMENT(RHYTHM(LEAD_AS("II", "3", "5", "uV", "<LeadOff>TRUE</LeadOff>", ONE_TWO_THREE))),
       "\"samples_missing\""},
      {DOCUMENT(RHYTHM(LEAD("V1", ONE_TWO_THREE) LEAD("V7", ONE_TWO_THREE))), "\"unknown_value\""},
      {DOCUMENT(RHYTHM(LEAD("V1", ONE_TWO_THREE))), "\"subject\":\"dérivations\""},
      {DOCUMENT(RHYTHM(LEADS) RHYTHM(LEADS)), "\"file_inconsistent\""},
      {DOCUMENT(RHYTHM(LEAD("V1", ONE_TWO_THREE) LEAD_AS("V2", "2", "1", "uV", "", "AQACAA=="))),
       "\"subject\":\"longueurs\""},
      {"<RestingECG>" RHYTHM(LEADS) "</RestingECG>", "\"subject\":null"},
      {"<RestingECG>" RHYTHM(LEADS) "</RestingECG>", "\"device_time\":null"},
      {"<RestingECG>" RHYTHM(LEADS) "</RestingECG>", "\"reading_time_unverified\""},
      {"<RestingECG>" TEST("13-02-2026", "03:04:05") RHYTHM(LEADS) "</RestingECG>", "\"subject\":\"date\""},
      {"<RestingECG>" TEST("02-30-2026", "03:04:05") RHYTHM(LEADS) "</RestingECG>", "\"device_time\":null"},
      {"<RestingECG>" TEST("XXXX", "XXXX") RHYTHM(LEADS) "</RestingECG>", "\"device_time\":null"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct reading r = read_text(rows[i].text);
    if (r.err)
      fail_msg("%zu: %s", i, r.reason);
    SAYS(r, rows[i].says);
    reading_finish(&r);
  }
}

static void test_refused(void **state) {
  (void)state;
  assert_refused("MThd", -ENXIO, "not XML");
  assert_refused("<AnnotatedECG/>", -ENXIO, "another one");
  assert_refused("<!DOCTYPE other SYSTEM 'x'><RestingECG/>", -ENXIO, "document type");
  assert_refused("<!DOCTYPE RestingECG SYSTEM 'x' [<!ENTITY a 'b'>]><RestingECG/>", -EPROTO, "definitions");
  assert_refused("<!DOCTYPE RestingECG SYSTEM 'x'><RestingECG>&a;</RestingECG>", -EPROTO, "damaged");
  assert_refused("<?xml version='1.0' encoding='Shift_JIS'?><RestingECG/>", -EOPNOTSUPP, "alphabet");
  assert_refused(DOCUMENT(""), -ENODATA, "no rhythm");
  assert_refused(DOCUMENT(WAVEFORM_AS("Median", RATE("500", "0"), LEADS)), -ENODATA, "no rhythm");
  assert_refused(DOCUMENT(RHYTHM(LEAD("V7", ONE_TWO_THREE))), -ENODATA, "known lead");
  assert_refused(DOCUMENT("<Waveform>" LEADS "</Waveform>"), -EPROTO, "kind");
  assert_refused(DOCUMENT(RHYTHM(LEAD("I", "AQAC"))), -EPROTO, "cut");
  assert_refused(DOCUMENT(RHYTHM(LEAD("I", "AQACAA"))), -EPROTO, "cut");
  assert_refused(DOCUMENT(RHYTHM(LEAD("I", ""))), -EPROTO, "missing");
  assert_refused(DOCUMENT(RHYTHM(LEAD("I", "AQACAAM*"))), -EPROTO, "base64");
  assert_refused(DOCUMENT(RHYTHM(LEAD("I", "AQ=CAAMA"))), -EPROTO, "base64");
  assert_refused(DOCUMENT(RHYTHM(LEAD("I", "AQACAAMAAQAA"))), -EPROTO, "cut");
  assert_refused(DOCUMENT(RHYTHM(LEAD_AS("I", "4", "1", "uV", "", ONE_TWO_THREE))), -EPROTO, "another number");
  assert_refused(DOCUMENT(RHYTHM(LEAD_AS("I", "3", "0", "uV", "", ONE_TWO_THREE))), -ERANGE, "step");
  assert_refused(DOCUMENT(RHYTHM(LEAD_AS("I", "3", "-1", "uV", "", ONE_TWO_THREE))), -ERANGE, "step");
  assert_refused(DOCUMENT(RHYTHM(LEAD_AS("I", "3", "", "uV", "", ONE_TWO_THREE))), -ERANGE, "step");
  assert_refused(DOCUMENT(RHYTHM(LEAD_AS("I", "3", "1", "", "", ONE_TWO_THREE))), -EOPNOTSUPP, "unit");
  assert_refused(DOCUMENT(RHYTHM(LEAD_AS("I", "3", "1", "FURLONGS", "", ONE_TWO_THREE))), -EOPNOTSUPP, "unit");
  assert_refused(DOCUMENT(RHYTHM(LEAD_AS("I", "3", "500000", "uV", "", ONE_TWO_THREE))), -ERANGE, "outside");
  assert_refused(DOCUMENT(RHYTHM(LEAD("I", "AIACAAMA"))), -ERANGE, "missing one");
  assert_refused(DOCUMENT(RHYTHM(LEAD_AS("I", "3", "1", "uV", "<LeadTimeOffset>5</LeadTimeOffset>", ONE_TWO_THREE))),
                 -EOPNOTSUPP, "later");
  assert_refused(DOCUMENT(RHYTHM(LEAD_AS("I", "3", "1", "uV", "<LeadSampleSize>4</LeadSampleSize>", ONE_TWO_THREE))),
                 -EOPNOTSUPP, "16 bits");
  assert_refused(DOCUMENT(RHYTHM(LEAD("I", ONE_TWO_THREE) LEAD("I", ONE_TWO_THREE))), -EPROTO, "twice");
  assert_refused(DOCUMENT(WAVEFORM_AS("Rhythm", "", LEADS)), -ERANGE, "sampling rate");
  assert_refused(DOCUMENT(WAVEFORM_AS("Rhythm", RATE("0", "0"), LEADS)), -ERANGE, "sampling rate");
  assert_refused(DOCUMENT(WAVEFORM_AS("Rhythm", RATE("500", "99"), LEADS)), -ERANGE, "sampling rate");
  assert_refused(DOCUMENT(WAVEFORM_AS("Rhythm", RATE("500", "6"), LEADS)), -ERANGE, "sampling rate");
  assert_refused(DOCUMENT(WAVEFORM_AS("Rhythm", "<SampleType>PEAKS</SampleType>" RATE("500", "0"), LEADS)), -EOPNOTSUPP,
                 "continuous");
}

static void test_many_leads_and_samples(void **state) {
  (void)state;
  _buf_cleanup_ struct buf b = BUF_INIT(16 << 20);
  buf_text(&b, "<RestingECG><Waveform><WaveformType>Rhythm</WaveformType>");
  for (unsigned i = 0; i < 33; i++)
    buf_text(&b, LEAD("X", ONE_TWO_THREE));
  buf_text(&b, RATE("500", "0") "</Waveform></RestingECG>");
  buf_u8(&b, 0);
  assert_refused((const char *)b.data, -EPROTO, "leads");
  b.len = 0;
  buf_text(&b, "<RestingECG><Waveform><WaveformType>Rhythm</WaveformType><LeadData><WaveFormData>");
  for (unsigned i = 0; i < (2u << 20) / 3 + 1; i++)
    buf_text(&b, ONE_TWO_THREE);
  buf_text(&b, "</WaveFormData></LeadData></Waveform></RestingECG>");
  buf_u8(&b, 0);
  assert_false(b.err);
  assert_refused((const char *)b.data, -EOPNOTSUPP, "samples");
}

static const char whole[] = DOCUMENT(WORDS RHYTHM(LEADS));

static void test_truncated_and_flipped(void **state) {
  (void)state;
  for (size_t n = 1; n < strlen(whole) - 1; n++) {
    struct reading r = read_bytes(whole, n);
    assert_true(r.err == -ENXIO || r.err == -EPROTO);
    reading_finish(&r);
  }
  unsigned refused = 0;
  for (size_t bit = 0; bit < 8 * strlen(whole); bit++) {
    char text[sizeof whole];
    memcpy(text, whole, sizeof whole);
    text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
    struct reading r = read_bytes(text, strlen(whole)); /* looks for file_unchecked */
    refused += r.err != 0;
    reading_finish(&r);
  }
  assert_true(refused > 2 * strlen(whole));
}

static void test_utf_16(void **state) {
  (void)state;
  static const char text[] = "<RestingECG>" RHYTHM(LEADS) "</RestingECG>";
  for (unsigned big = 0; big < 2; big++) {
    _buf_cleanup_ struct buf b = BUF_INIT(1 << 16);
    buf_u8(&b, big ? 0xfe : 0xff);
    buf_u8(&b, big ? 0xff : 0xfe);
    for (size_t i = 0; i < strlen(text); i++) {
      buf_u8(&b, big ? 0 : (uint8_t)text[i]);
      buf_u8(&b, big ? (uint8_t)text[i] : 0);
    }
    struct reading r = read_bytes(b.data, b.len);
    assert_int_equal(r.err, 0);
    assert_int_equal(r.n_samples, 18);
    reading_finish(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_document),
      cmocka_unit_test(test_limb_leads),
      cmocka_unit_test(test_variants),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_many_leads_and_samples),
      cmocka_unit_test(test_truncated_and_flipped),
      cmocka_unit_test(test_utf_16),
  };
  return hash_open() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
