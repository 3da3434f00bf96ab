/* HL7 aECG. The first byte says what the rest is: a document, or a lead's numbers, which are read whole, in two pieces
 * and as what stands in a document. */
#include "fuzz_file.h"

#include "../../drivers/file_hl7_aecg/digits.h"
#include <string.h>

extern const struct acq_driver file_hl7_aecg;

#define HEAD                                                                                                      \
  "<AnnotatedECG xmlns=\"urn:hl7-org:v3\"><effectiveTime><center value=\"20260102030405.678+0100\"/>"             \
  "</effectiveTime><componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject>"          \
  "<id extension=\"7\"/><subjectDemographicPerson><name><family>F</family><given>G</given></name>"                \
  "<administrativeGenderCode code=\"F\"/><birthTime value=\"19530508\"/></subjectDemographicPerson>"              \
  "</trialSubject></subject></subjectAssignment></componentOf></timepointEvent></componentOf><component>"         \
  "<series><code code=\"RHYTHM\"/><effectiveTime><low value=\"20260102030405\"/><high value=\"20260102030406\"/>" \
  "</effectiveTime><controlVariable><controlVariable><code code=\"MDC_ECG_CTL_VBL_ATTR_FILTER_LOW_PASS\"/>"       \
  "<component><controlVariable><code code=\"MDC_ECG_CTL_VBL_ATTR_FILTER_CUTOFF_FREQ\"/>"                          \
  "<value value=\"150\" unit=\"Hz\"/></controlVariable></component></controlVariable></controlVariable>"
#define TAIL                                                                                           \
  "<subjectOf><annotationSet><component><annotation><code code=\"MDC_ECG_TIME_PD_QT\"/>"               \
  "<value value=\"420\" unit=\"ms\"/><component><annotation><code code=\"MDC_ECG_INTERPRETATION\"/>"   \
  "<value>words</value></annotation></component></annotation></component></annotationSet></subjectOf>" \
  "</series></component></AnnotatedECG>"
#define TIME(head, increment, unit)                                                                                   \
  "<component><sequence><code code=\"TIME_ABSOLUTE\"/><value><head value=\"" head "\"/><increment value=\"" increment \
  "\" unit=\"" unit "\"/></value></sequence></component>"
#define LEAD(name, origin, scale, digits)                                                     \
  "<component><sequence><code code=\"MDC_ECG_LEAD_" name "\"/><value><origin value=\"" origin \
  "\" unit=\"uV\"/><scale value=\"" scale "\" unit=\"uV\"/><digits>" digits "</digits></value></sequence></component>"
#define SET(inside) "<component><sequenceSet>" inside "</sequenceSet></component>"

static void check_record(const struct record_result *result, const json_t *record) {
  const json_t *acquired = json_object_get(record, "acquired");
  FUZZ_CHECK(json_array_size(json_object_get(acquired, "trials")) == 1);
  FUZZ_CHECK(json_array_size(json_object_get(acquired, "channels")) >= 1);
  FUZZ_CHECK(strstr(result->json, "\"file_unchecked\""));
}

static int decode(const void *bytes, size_t n) {
  return fuzz_file(&file_hl7_aecg, bytes, n, check_record);
}

#define VALUES_MAX 4096

static int read_pieces(const char *text, size_t n, size_t cut, int32_t *values, struct digits *d) {
  *d = (struct digits){.values = values, .max = VALUES_MAX};
  int err = digits_read(d, text, cut);
  if (err == 0)
    err = digits_read(d, text + cut, n - cut);
  return err == 0 ? digits_end(d) : err;
}

static void check_digits(const char *text, size_t n, size_t cut) {
  static int32_t one[VALUES_MAX], other[VALUES_MAX];
  struct digits a, b;
  for (size_t i = 0; i < n; i++)
    if (!text[i] || ((uint8_t)text[i] < 33 && !strchr(" \t\r\n", text[i])))
      return; /* no XML parser lets it through */
  int err = read_pieces(text, n, n, one, &a), again = read_pieces(text, n, cut, other, &b);
  FUZZ_CHECK(err == again);
  FUZZ_CHECK(err < 0 || (a.n == b.n && a.decimals == b.decimals && !memcmp(one, other, a.n * sizeof *one)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n >= 2 && data[0] & 1)
    check_digits((const char *)data + 2, n - 2, data[1] % (n - 1));
  else if (n)
    decode(data + 1, n - 1);
  return 0;
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const char *const documents[] = {
      HEAD SET(TIME("20260102030405.000", "0.002", "s") LEAD("II", "0", "2.5", "1 -2 3")
                   LEAD("I", "5", "2.5", "-4\n 5 6")) TAIL,
      HEAD SET(TIME("20260102030405", "3.333", "ms") LEAD("V1", "0", "1", "1.5 2 1e3")) TAIL,
      HEAD SET(TIME("20260102030405", "2000", "us") LEAD("I", "0", "1", "1 2"))
          SET(TIME("20260102030405.008", "0.002", "s") LEAD("I", "0", "1", "70000 140000") LEAD("AVR", "0", "1", "9"))
              TAIL,
      "<?xml version='1.0' encoding='ISO-8859-1'?><!DOCTYPE AnnotatedECG [<!ENTITY a 'b'>]>" HEAD TAIL};
  static const char *const numbers[] = {
      "1 -2 333 4444 -55555 666666 7777777 88888888 -999999999 0 0 0 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 "
      "20",
      "12 -13 \n\t 14 1.5 +2 -0.25 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 "
      "35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50"};
  const unsigned n_documents = sizeof documents / sizeof *documents, n_numbers = sizeof numbers / sizeof *numbers;
  (void)n;
  if (file || i >= n_documents + n_numbers)
    return false;
  if (i < n_documents) {
    buf_u8(ret, 0);
    buf_text(ret, documents[i]);
  } else {
    buf_u8(ret, 1);
    buf_u8(ret, 70);
    buf_text(ret, numbers[i - n_documents]);
  }
  return ret->err == 0;
}
