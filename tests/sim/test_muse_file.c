/* The MUSE writer, read back by libxml2 and a base64 decoder that are not its own. */
#include "muse_file.h"
#include "xml_judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))

static struct ecg12 ecg;
static struct buf file;
static struct xml_judge *judge;
static uint8_t data[1u << 18];

static void write_file(const struct muse_file *options) {
  xml_judge_close(judge);
  buf_reset(&file);
  file.max = XML_OUT_MAX;
  assert_int_equal(muse_file_make(options, &ecg, &file), 0);
  judge = xml_judge_open(file.data, file.len);
}

static void expect(const char *path, const char *value) {
  assert_non_null(judge);
  const char *got = xml_judge_text(judge, path);
  if (strcmp(got, value) != 0)
    fail_msg("%s: '%.40s' instead of '%s'", path, got, value);
}

static const enum ecg12_lead leads[] = {ECG12_I, ECG12_II, ECG12_V1, ECG12_V2, ECG12_V3, ECG12_V4, ECG12_V5, ECG12_V6};

/* Of the k-th lead, from 1, of the w-th waveform. */
static const char *of_lead(unsigned w, unsigned k, const char *element) {
  static char path[128];
  snprintf(path, sizeof(path), "/RestingECG/Waveform[%u]/LeadData[%u]/%s", w, k, element);
  return path;
}

static void expect_samples(unsigned w, size_t first, size_t n) {
  char number[16];
  for (unsigned k = 1; k <= 8; k++) {
    expect(of_lead(w, k, "LeadID"), ecg12_lead_name(leads[k - 1]));
    snprintf(number, sizeof(number), "%zu", n);
    expect(of_lead(w, k, "LeadSampleCountTotal"), number);
    snprintf(number, sizeof(number), "%zu", 2 * n);
    expect(of_lead(w, k, "LeadByteCountTotal"), number);
    assert_int_equal(xml_judge_base64(xml_judge_text(judge, of_lead(w, k, "WaveFormData")), data, sizeof(data)), 2 * n);
    for (size_t i = 0; i < n; i++)
      assert_int_equal((int16_t)(data[2 * i] | data[2 * i + 1] << 8), ecg.lead[leads[k - 1]][first + i]);
  }
  assert_int_equal(xml_judge_count(judge, of_lead(w, 9, "LeadID")), 0);
}

static int setup(void **state) {
  (void)state;
  file = BUF_INIT(XML_OUT_MAX);
  ecg12_make(&ecg, 500, 10, 5, 3, 1);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  xml_judge_close(judge);
  judge = NULL;
  buf_finish(&file);
  return 0;
}

TEST(samples) {
  size_t first, n;
  assert_true(ecg12_median(&ecg, &first, &n));
  write_file(&(struct muse_file){.encoding = XML_LATIN1});
  assert_int_equal(xml_judge_count(judge, "//Waveform"), 1);
  expect("//Waveform/WaveformType", "Rhythm");
  expect_samples(1, 0, ecg.n);
  write_file(&(struct muse_file){.median = true, .units_per_bit = "4.88", .encoding = XML_UTF16LE});
  expect("//Waveform[1]/WaveformType", "Median");
  expect("//Waveform[2]/WaveformType", "Rhythm");
  expect_samples(1, first, n);
  expect_samples(2, 0, ecg.n);
  expect(of_lead(2, 3, "LeadAmplitudeUnitsPerBit"), "4.88");
  expect(of_lead(2, 3, "LeadAmplitudeUnits"), "MICROVOLTS");
  expect("//Waveform[2]/SampleBase", "500");
  expect("//Waveform[2]/SampleExponent", "0");
  write_file(&(struct muse_file){.exponent = true});
  expect("//SampleBase", "50");
  expect("//SampleExponent", "1");
  expect(of_lead(1, 3, "LeadAmplitudeUnitsPerBit"), "5");
}

TEST(what_it_says) {
  static const char head[] = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n"
                             "<!DOCTYPE RestingECG SYSTEM \"restecg.dtd\">\n<RestingECG>\n";
  write_file(
      &(struct muse_file){.facts = ecg_facts_example, .encoding = XML_LATIN1, .filters = true, .measurements = true});
  assert_memory_equal(file.data, head, sizeof(head) - 1);
  assert_non_null(memmem(file.data, file.len, "Lef\xE8vre", 7));
  expect("//PatientLastName", "Lefèvre");
  expect("//PatientFirstName", "Zoé");
  expect("//PatientID", "P-2026/0042");
  expect("//DateofBirth", "02-29-1960");
  expect("//Gender", "FEMALE");
  expect("//AcquisitionDate", "03-01-2026");
  expect("//AcquisitionTime", "09:15:30");
  expect("//AcquisitionDevice", "Écho 12");
  expect("//CartNumber", "SN-7731");
  expect("//AcquisitionSoftwareVersion", "4.2");
  expect("/RestingECG/Diagnosis/DiagnosisStatement[1]/StmtText", ecg_facts_example.statement);
  expect("/RestingECG/OriginalDiagnosis/DiagnosisStatement[1]/StmtText", ecg_facts_example.statement);
  expect("/RestingECG/RestingECGMeasurements/QRSDuration", "85");
  expect("//HighPassFilter", "5");
  expect("//ACFilter", "50");
  write_file(&(struct muse_file){.median = true});
  assert_int_equal(xml_judge_count(judge, "//StmtText"), 0);
  assert_int_equal(xml_judge_count(judge, "//PatientID"), 0);
  assert_int_equal(xml_judge_count(judge, "//AcquisitionDate"), 0);
  assert_int_equal(xml_judge_count(judge, "//HighPassFilter"), 0);
}

/* A CRC that was calculated elsewhere, of samples whose bytes are the digits 1 to 8. */
TEST(checksum) {
  static const uint8_t digits[] = "12345678";
  ecg.n = 4;
  memcpy(ecg.lead[ECG12_I], digits, 8);
  write_file(&(struct muse_file){.crc = true});
  expect(of_lead(1, 1, "LeadDataCRC32"), "2598427311");
  write_file(&(struct muse_file){.crc = false});
  expect(of_lead(1, 1, "LeadDataCRC32"), "0");
}

static void damage(enum muse_damage what) {
  write_file(&(struct muse_file){.facts = ecg_facts_example, .damage = what, .crc = true});
}

static long data_of_v3(void) {
  return xml_judge_base64(xml_judge_text(judge, of_lead(1, 5, "WaveFormData")), data, sizeof(data));
}

TEST(damaged_data) {
  damage(MUSE_TRUNCATED);
  assert_null(judge);
  damage(MUSE_DATA_CUT);
  assert_in_range(data_of_v3(), 4990, 5000);
  damage(MUSE_BAD_BASE64);
  assert_int_equal(data_of_v3(), -1);
  damage(MUSE_SAMPLE_COUNT);
  expect(of_lead(1, 5, "LeadSampleCountTotal"), "5001");
  damage(MUSE_BYTE_COUNT);
  expect(of_lead(1, 5, "LeadByteCountTotal"), "10001");
  damage(MUSE_ODD_BYTES);
  expect(of_lead(1, 5, "LeadByteCountTotal"), "10001");
  assert_int_equal(data_of_v3(), 10001);
  damage(MUSE_SHORT_LEAD);
  expect(of_lead(1, 5, "LeadSampleCountTotal"), "4999");
  assert_int_equal(data_of_v3(), 9998);
  damage(MUSE_MARKED_GAP);
  assert_int_equal(data_of_v3(), 10000);
  assert_int_equal(data[5000] | data[5001] << 8, 0x8000);
  char right[16];
  damage(MUSE_WHOLE);
  snprintf(right, sizeof(right), "%lu", strtoul(xml_judge_text(judge, of_lead(1, 5, "LeadDataCRC32")), NULL, 10) ^ 1);
  damage(MUSE_WRONG_CRC);
  expect(of_lead(1, 5, "LeadDataCRC32"), right);
}

TEST(damaged_elements) {
  damage(MUSE_UNKNOWN_LEAD);
  expect(of_lead(1, 5, "LeadID"), "Q7");
  damage(MUSE_LEAD_TWICE);
  expect(of_lead(1, 5, "LeadID"), "V2");
  damage(MUSE_MISSING_LEAD);
  expect(of_lead(1, 5, "LeadID"), "V4");
  damage(MUSE_SAMPLE_SIZE);
  expect(of_lead(1, 5, "LeadSampleSize"), "4");
  damage(MUSE_UNKNOWN_UNIT);
  expect(of_lead(1, 5, "LeadAmplitudeUnits"), "MMHG");
  damage(MUSE_NO_UNITS_PER_BIT);
  assert_int_equal(xml_judge_count(judge, "//LeadAmplitudeUnitsPerBit"), 7);
  damage(MUSE_BAD_UNITS_PER_BIT);
  expect(of_lead(1, 5, "LeadAmplitudeUnitsPerBit"), "4,88 uV");
  damage(MUSE_NO_RATE);
  assert_int_equal(xml_judge_count(judge, "//SampleBase"), 0);
  damage(MUSE_NO_RHYTHM);
  expect("//WaveformType", "Median");
  assert_int_equal(xml_judge_count(judge, "//Waveform"), 1);
  damage(MUSE_ENTITY_BOMB);
  assert_non_null(memmem(file.data, file.len, "<PatientLastName>&j;<", 21));
  damage(MUSE_EXTERNAL_ENTITY);
  assert_non_null(memmem(file.data, file.len, "[<!ENTITY j SYSTEM \"file:", 25));
}

TEST(names) {
  for (unsigned d = 0; d < MUSE_DAMAGES; d++)
    assert_int_equal(file_word(muse_damage_names[d], muse_damage_names, MUSE_DAMAGES), d);
  ecg.rate_hz = 505;
  assert_int_equal(muse_file_make(&(struct muse_file){.exponent = true}, &ecg, &file), -EINVAL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(samples), T(what_it_says), T(checksum), T(damaged_data), T(damaged_elements), T(names),
  };
  return cmocka_run_group_tests_name("muse_file", tests, NULL, NULL);
}
