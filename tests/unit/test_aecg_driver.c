/* HL7 aECG: numbers in pieces, rates, sets of sequences, what is refused, and the two real files. */
#include "../../drivers/file_hl7_aecg/digits.h"
#include "buf.h"
#include "capture.h"
#include "hash.h"
#include "record_build.h"
#include "record_form.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

extern const struct acq_driver file_hl7_aecg;

/* ---- documents ---------------------------------------------------------------------------------------------- */

#define XML "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define ROOT "<AnnotatedECG xmlns=\"urn:hl7-org:v3\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">"
#define DATED "<effectiveTime><center value=\"20260102030400\"/></effectiveTime>"
#define WHOSE(inside)                                                                                             \
  "<componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject>" inside "</trialSubject>" \
  "</subject></subjectAssignment></componentOf></timepointEvent></componentOf>"
#define SUBJECT                                                                                           \
  WHOSE("<id root=\"1.2\" extension=\"P-7\"/><subjectDemographicPerson><name><family>Évrard</family>"    \
        "<given>Zoé</given></name><administrativeGenderCode code=\"F\"/><birthTime value=\"19530508\"/>" \
        "</subjectDemographicPerson>")
#define SERIES(inside) "<component><series><code code=\"RHYTHM\"/>" inside "</series></component>"
#define SET(inside) "<component><sequenceSet>" inside "</sequenceSet></component>"
#define SEQUENCE(code, value) \
  "<component><sequence><code code=\"" code "\"/><value>" value "</value></sequence></component>"
#define TIME(head, increment, unit) \
  SEQUENCE("TIME_ABSOLUTE", "<head value=\"" head "\"/><increment value=\"" increment "\" unit=\"" unit "\"/>")
#define LEAD_AS(name, origin, scale, unit, digits)                                                       \
  SEQUENCE("MDC_ECG_LEAD_" name, "<origin value=\"" origin "\" unit=\"" unit "\"/><scale value=\"" scale \
                                 "\" unit=\"" unit "\"/><digits>" digits "</digits>")
#define LEAD(name, digits) LEAD_AS(name, "0", "2.5", "uV", digits)
#define PLAIN_TIME TIME("20260102030405.250", "0.002", "s")
#define END "</AnnotatedECG>\n"
#define ONE_SET(inside) XML ROOT DATED SUBJECT SERIES(SET(inside)) END

struct reading {
  int err;
  char reason[256];
  json_t *record;
  int16_t samples[4096];
  size_t n_samples;
  char *json;
};

static struct reading read_capture(const struct acq_capture *capture) {
  struct reading r = {0};
  struct record_result result[WIRE_RECORDS] = {0};
  char why[256] = "";
  r.err = record_decode(&file_hl7_aecg, capture, result, r.reason);
  const struct record_result *own = &result[result[WIRE_OWN].json ? WIRE_OWN : WIRE_STRAY];
  if (r.err == 0) {
    if (record_read(own->json, own->json_bytes, own->data, own->data_values * sizeof(int16_t), &r.record, why) < 0)
      fail_msg("the record is not accepted: %s", why);
    r.n_samples = own->data_values;
    size_t kept = r.n_samples < 4096 ? r.n_samples : 4096;
    memcpy(r.samples, own->data, kept * sizeof(int16_t));
    r.json = strdup(own->json);
    assert_non_null(strstr(r.json, "\"file_unchecked\""));
  }
  for (int i = 0; i < WIRE_RECORDS && r.err == 0; i++)
    record_result_finish(&result[i]);
  return r;
}

static struct reading read_bytes(const void *bytes, size_t n) {
  struct acq_capture capture;
  uint8_t *exact = malloc(n ? n : 1);
  assert_non_null(exact);
  memcpy(exact, bytes, n);
  assert_int_equal(capture_from_file(exact, n, &capture), 0);
  struct reading r = read_capture(&capture);
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

static void assert_refused(const char *text, int err, const char *reason) {
  struct reading r = read_text(text);
  if (r.err != err || !strstr(r.reason, reason))
    fail_msg("%d \"%s\" instead of %d \"%s\"", r.err, r.reason, err, reason);
  reading_finish(&r);
}

static const json_t *channel(const struct reading *r, const char *code) {
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(json_object_get(r->record, "acquired"), "channels"), i, item) {
    if (!strcmp(json_text(item, "code"), code))
      return item;
  }
  fail_msg("no channel %s", code);
  return NULL;
}

static void assert_channel(const struct reading *r, const char *code, const char *rate, const char *scale, size_t n,
                           const int16_t *want) {
  const json_t *c = channel(r, code);
  size_t first = (size_t)json_integer_value(json_object_get(c, "first"));
  assert_string_equal(json_text(c, "rate"), rate);
  assert_string_equal(json_text(c, "scale"), scale);
  assert_int_equal(json_integer_value(json_object_get(c, "samples")), n);
  assert_memory_equal(r->samples + first, want, n * sizeof *want);
}
#define CHANNEL(r, code, rate, scale, ...)                                        \
  do {                                                                            \
    const int16_t want_[] = {__VA_ARGS__};                                        \
    assert_channel(&(r), code, rate, scale, sizeof want_ / sizeof *want_, want_); \
  } while (0)

static bool says(const struct reading *r, const char *text) {
  return strstr(r->json, text) != NULL;
}
#define SAYS(r, text) assert_true(says(&(r), text))

/* ---- numbers ------------------------------------------------------------------------------------------------ */

static int read_numbers(const char *text, size_t n, size_t cut, struct digits *d) {
  int r = digits_read(d, text, cut);
  if (r == 0)
    r = digits_read(d, text + cut, n - cut);
  return r == 0 ? digits_end(d) : r;
}

/* The same numbers wherever their text is cut, and those that were written. */
static void test_numbers_in_pieces(void **state) {
  (void)state;
  static const int32_t want[] = {0,        1,       -1,       22,       -333,      4444, -55555, 666666,
                                 -7777777, 8888888, 99999999, 12345678, -87654321, 7,    32767,  -32768,
                                 1,        2,       3,        0,        0,         -5,   6,      1000000};
  static const char text[] = " 0 1 -1 22\n   -333\t4444 \r\n-55555 666666 -7777777 8888888 99999999 12345678 -87654321"
                             "                                                                                     "
                             "0007 +32767 -32768 1\n2\n3 00 -0 -5 6 1000000";
  const size_t n = strlen(text);
  for (size_t cut = 0; cut <= n; cut++) {
    int32_t values[64];
    struct digits d = {.values = values, .max = 64};
    assert_int_equal(read_numbers(text, n, cut, &d), 0);
    assert_int_equal(d.n, sizeof want / sizeof *want);
    assert_int_equal(d.decimals, 0);
    assert_memory_equal(values, want, sizeof want);
  }
}

/* Many, of all lengths, against what printf wrote. */
static void test_numbers_in_plenty(void **state) {
  (void)state;
  static int32_t want[20000], values[20100];
  _buf_cleanup_ struct buf b = BUF_INIT(1 << 20);
  uint32_t dice = 12345;
  for (size_t i = 0; i < 20000; i++) {
    static const int32_t moduli[] = {10, 100, 1000, 10000, 100000, 1000000, 10000000, 900000000};
    dice = dice * 1664525 + 1013904223;
    want[i] = (int32_t)(dice >> 4) % moduli[dice >> 16 & 7] * (dice & 1 << 20 ? -1 : 1);
    buf_format(&b, "%s%d", i % 17 ? " " : "\n                                    ", want[i]);
  }
  struct digits d = {.values = values, .max = 20100};
  assert_int_equal(digits_read(&d, (const char *)b.data, b.len), 0);
  assert_int_equal(digits_end(&d), 0);
  assert_int_equal(d.n, 20000);
  assert_memory_equal(values, want, sizeof want);
  d = (struct digits){.values = values, .max = 19999};
  assert_int_equal(read_numbers((const char *)b.data, b.len, 1, &d), -EFBIG);
}

static void test_numbers_refused(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int err;
  } rows[] = {{"1 x 2", -EPROTO},
              {"--1", -EPROTO},
              {"1-2", -EPROTO},
              {"-", -EPROTO},
              {".", -EPROTO},
              {"1.", -EPROTO},
              {"1.2.3", -EPROTO},
              {"1,5", -EPROTO},
              {"1e3", -EPROTO},
              {"NaN", -EPROTO},
              {"1000000001", -ERANGE},
              {"99999999999999999999", -ERANGE},
              {"0.00001", -ERANGE},
              {"", 0},
              {" \n", 0}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (unsigned pad = 0; pad < 2; pad++) {
      char text[256];
      int32_t values[128];
      int n =
          snprintf(text, sizeof text, "%s%s%s",
                   pad ? "1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9 0 " : "",
                   rows[i].text, pad ? " 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 " : "");
      for (size_t cut = 0; cut <= (size_t)n; cut++) {
        struct digits d = {.values = values, .max = 128};
        assert_int_equal(read_numbers(text, (size_t)n, cut, &d), rows[i].err);
      }
    }
}

/* ---- documents that are read -------------------------------------------------------------------------------- */

static void test_small_document(void **state) {
  (void)state;
  struct reading r = read_text(ONE_SET(PLAIN_TIME LEAD("II", "1 -2 3") LEAD("I", "\n4 5\n6 ")));
  assert_int_equal(r.err, 0);
  CHANNEL(r, "lead_ii", "500", "2.5", 1, -2, 3);
  CHANNEL(r, "lead_i", "500", "2.5", 4, 5, 6);
  CHANNEL(r, "lead_iii", "500", "2.5", -3, -7, -3);
  SAYS(r, "\"device_time\":\"2026-01-02T03:04:05.250\"");
  SAYS(r, "\"subject\":{\"birth_date\":\"1953-05-08\",\"family\":\"Évrard\",\"given\":\"Zoé\",\"id\":\"P-7\","
          "\"sex\":\"F\"}");
  reading_finish(&r);
}

/* The time may come after the leads; what is of another name space is not looked at. */
static void test_other_order(void **state) {
  (void)state;
  struct reading r =
      read_text(ONE_SET(LEAD("V6", "1 2") "<x:component xmlns:x='urn:x'><x:sequence/></x:component>" PLAIN_TIME
                                          "<component><sequence><code code=\"MDC_ECG_LEAD_ZZ\"/><value>"
                                          "<scale value=\"1\" unit=\"uV\"/><digits>1 2</digits></value></sequence>"
                                          "</component>"));
  assert_int_equal(r.err, 0);
  CHANNEL(r, "lead_v6", "500", "2.5", 1, 2);
  SAYS(r, "unknown_value");
  reading_finish(&r);
}

static void test_units(void **state) {
  (void)state;
  static const struct {
    const char *lead, *scale;
    int16_t want[3];
  } rows[] = {
      {LEAD_AS("II", "0", "0.005", "mV", "1 2 3"), "5", {1, 2, 3}},
      {LEAD_AS("II", "0", "4880", "nV", "1 2 3"), "4.880", {1, 2, 3}},
      {LEAD_AS("II", "0", "1e-6", "V", "1 2 3"), "1", {1, 2, 3}},
      {LEAD_AS("II", "5", "2.5", "uV", "1 2 3"), "2.5", {3, 4, 5}},
      {LEAD_AS("II", "-0.01", "0.005", "mV", "1 2 3"), "5", {-1, 0, 1}},
      {LEAD_AS("II", "0", "1", "uV", "1.5 2 -3.5"), "0.5", {3, 4, -7}},
      {LEAD_AS("II", "0", "2.5", "uV", "1.0 2.00 3"), "2.5", {1, 2, 3}},
      {LEAD_AS("II", "0", "1", "nV", "1000000 -2000000 500000"), "500", {2, -4, 1}},
      {LEAD_AS("II", "0", "1", "uV", "32767 -32767 0"), "1", {32767, -32767, 0}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char text[4096];
    snprintf(text, sizeof text, "%s%s%s",
             XML ROOT "<component><series><code code=\"RHYTHM\"/><component><sequenceSet>" PLAIN_TIME, rows[i].lead,
             "</sequenceSet></component></series></component>" END);
    struct reading r = read_text(text);
    if (r.err)
      fail_msg("%zu: %s", i, r.reason);
    assert_channel(&r, "lead_ii", "500", rows[i].scale, 3, rows[i].want);
    SAYS(r, "\"subject\":null");
    reading_finish(&r);
  }
}

static void test_rates(void **state) {
  (void)state;
  static const struct {
    const char *increment, *unit, *rate; /* rate NULL: refused */
    bool assumed;
  } rows[] = {{"0.002", "s", "500", false},
              {"2", "ms", "500", false},
              {"1000", "us", "1000", false},
              {"0.0010", "s", "1000", false},
              {"1.953125", "ms", "512", false},
              {"0.008", "s", "125", false},
              {"0.0009765625", "s", "1024", false},
              {"3.2", "ms", "312.5", false},
              {"0.05", "s", "20", false},
              {"0.003333", "s", "300", true},
              {"3.33333", "ms", "300", true},
              {"0.0041666667", "s", "240", true},
              {"0", "s", NULL, false},
              {"-0.002", "s", NULL, false},
              {"0.002", "min", NULL, false},
              {"x", "s", NULL, false},
              {"0.7", "s", NULL, false},
              {"2", "s", NULL, false},
              {"1", "us", NULL, false},
              {"0.000256", "s", "3906.25", false},
              {"", "s", NULL, false}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char text[4096];
    snprintf(
        text, sizeof text, "%s<head value=\"20260102030405\"/><increment value=\"%s\" unit=\"%s\"/>%s",
        XML ROOT "<component><series><code code=\"RHYTHM\"/><component><sequenceSet><component><sequence>"
                 "<code code=\"TIME_ABSOLUTE\"/><value>",
        rows[i].increment, rows[i].unit,
        "</value></sequence></component>" LEAD("II", "1 2 3") "</sequenceSet></component></series></component>" END);
    struct reading r = read_text(text);
    if ((r.err == 0) != (rows[i].rate != NULL))
      fail_msg("%s %s: %d %s", rows[i].increment, rows[i].unit, r.err, r.reason);
    if (r.err == 0) {
      assert_string_equal(json_text(channel(&r, "lead_ii"), "rate"), rows[i].rate);
      assert_int_equal(says(&r, "sampling_rate_assumed"), rows[i].assumed);
    }
    reading_finish(&r);
  }
}

static void test_times(void **state) {
  (void)state;
  static const struct {
    const char *head, *time; /* time NULL: not timed */
    bool odd;
  } rows[] = {{"20260102030405", "2026-01-02T03:04:05.000", false},
              {"20260102030405.5", "2026-01-02T03:04:05.500", false},
              {"20260102030405.123456789", "2026-01-02T03:04:05.123", false},
              {"202601020304", "2026-01-02T03:04:00.000", false},
              {"20260102030405+0100", "2026-01-02T03:04:05.000", false},
              {"20260102030405.1-05", "2026-01-02T03:04:05.100", false},
              {"20260102", NULL, false},
              {"", NULL, false},
              {"20261302030405", NULL, true},
              {"20260102030465", NULL, true},
              {"20260102030405+2500", NULL, true},
              {"yesterday evening", NULL, true}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char text[4096];
    snprintf(
        text, sizeof text, "%s<head value=\"%s\"/><increment value=\"2\" unit=\"ms\"/>%s",
        XML ROOT "<component><series><code code=\"RHYTHM\"/><component><sequenceSet><component><sequence>"
                 "<code code=\"TIME_ABSOLUTE\"/><value>",
        rows[i].head,
        "</value></sequence></component>" LEAD("II", "1 2 3") "</sequenceSet></component></series></component>" END);
    struct reading r = read_text(text);
    char want[64];
    assert_int_equal(r.err, 0);
    snprintf(want, sizeof want, "\"device_time\":%s%s%s", rows[i].time ? "\"" : "",
             rows[i].time ? rows[i].time : "null", rows[i].time ? "\"" : "");
    if (!says(&r, want) || says(&r, "\"subject\":\"date\"") != rows[i].odd ||
        says(&r, "\"reading_time_unverified\"") != !rows[i].time)
      fail_msg("%s: %s", rows[i].head, r.json);
    reading_finish(&r);
  }
}

static struct reading read_ordered(const char *text) {
  _buf_cleanup_ struct buf capture_text = BUF_INIT(4096);
  char sha[HASH_TEXT];
  struct acq_capture capture;
  hash_sha256_text(text, strlen(text), sha);
  buf_format(&capture_text,
             "asaleed-capture 1\ndriver file_hl7_aecg 1\nbus file\norder 60 ecg\n"
             "start 2026-01-01T23:04:00.000000+01:00\n@ 0 %zu 0\n# 1 %zu %s\nend ok\n",
             strlen(text), strlen(text), sha);
  assert_int_equal(
      capture_parse_with((const char *)capture_text.data, capture_text.len, text, strlen(text), &capture, NULL), 0);
  struct reading r = read_capture(&capture);
  capture_finish(&capture);
  return r;
}

/* With an order the host's own offset is known: a time with a zone is told by the clock on the wall there. */
static void test_zones(void **state) {
  (void)state;
#define ZONED(head) XML ROOT SERIES(SET(TIME(head, "2", "ms") LEAD("II", "1 2 3"))) END
  struct reading r = read_ordered(ZONED("20260102030405+0500"));
  assert_int_equal(r.err, 0);
  SAYS(r, "\"device_time\":\"2026-01-01T23:04:05.000\"");
  SAYS(r, "\"subject_unknown\"");
  reading_finish(&r);
  /* A clock that was never set, before any time there is here. */
  r = read_ordered(ZONED("19700101003000+0500"));
  assert_int_equal(r.err, 0);
  SAYS(r, "\"device_time\":null");
  SAYS(r, "\"subject\":\"date\"");
  SAYS(r, "\"reading_time_unverified\"");
  reading_finish(&r);
}

/* ---- sets of sequences -------------------------------------------------------------------------------------- */

/* The first name is whose it is; all given names are one. */
static void test_names(void **state) {
  (void)state;
  static const struct {
    const char *name, *family, *given;
  } cases[] = {
      {"<name><family>Martin</family><given>Jean</given><given>Paul</given></name>", "Martin", "Jean Paul"},
      {"<name><given>Jean</given><family>Martin</family><family>Durand</family></name>", "Martin Durand", "Jean"},
      {"<name><family>Martin</family><given>Jo</given></name><name><family>X</family><given>Y</given></name>", "Martin",
       "Jo"},
      {"<name>Martin Jean</name><name><family>X</family><given>Y</given></name>", "Martin Jean", ""},
      {"<name/><name><family>X</family><given>Y</given></name>", "X", "Y"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[4096];
    snprintf(text, sizeof text, "%s%s", XML ROOT DATED WHOSE("<subjectDemographicPerson>%s</subjectDemographicPerson>"),
             SERIES(SET(PLAIN_TIME LEAD("I", "1 2"))) END);
    char *hole = strstr(text, "%s"), rest[4096];
    assert_non_null(hole);
    snprintf(rest, sizeof rest, "%s", hole + 2);
    snprintf(hole, sizeof text - (size_t)(hole - text), "%s%s", cases[i].name, rest);
    struct reading r = read_text(text);
    assert_int_equal(r.err, 0);
    const json_t *subject = json_object_get(r.record, "subject");
    assert_string_equal(json_text(subject, "family"), cases[i].family);
    assert_string_equal(json_text(subject, "given"), cases[i].given);
    reading_finish(&r);
  }
}

/* Somebody born before records begin costs nobody the recording. */
static void test_births(void **state) {
  (void)state;
  static const char *const births[][2] = {
      {"18010101", ""}, {"18491231", ""}, {"18500101", "1850-01-01"}, {"00010101", ""}, {"19610229", ""}};
  for (size_t i = 0; i < sizeof births / sizeof *births; i++) {
    char text[4096] = ONE_SET(PLAIN_TIME LEAD("I", "1 2"));
    char *at = strstr(text, "19530508");
    assert_non_null(at);
    memcpy(at, births[i][0], 8);
    struct reading r = read_text(text);
    assert_int_equal(r.err, 0);
    assert_string_equal(json_text(json_object_get(r.record, "subject"), "birth_date"), births[i][1]);
    reading_finish(&r);
  }
}

static void test_sets_follow(void **state) {
  (void)state;
  struct reading r = read_text(
      XML ROOT DATED SERIES(SET(TIME("20260102030405.000", "2", "ms") LEAD("II", "1 2 3") LEAD("V1", "7 8 9"))
                                SET(TIME("20260102030405.006", "2", "ms") LEAD("II", "4 5"))
                                    SET(TIME("20260102030405.014", "2", "ms") LEAD("II", "6") LEAD("V2", "1"))) END);
  assert_int_equal(r.err, 0);
  CHANNEL(r, "lead_ii", "500", "2.5", 1, 2, 3, 4, 5, ACQ_GAP, ACQ_GAP, 6);
  CHANNEL(r, "lead_v1", "500", "2.5", 7, 8, 9, ACQ_GAP, ACQ_GAP, ACQ_GAP, ACQ_GAP, ACQ_GAP);
  CHANNEL(r, "lead_v2", "500", "2.5", ACQ_GAP, ACQ_GAP, ACQ_GAP, ACQ_GAP, ACQ_GAP, ACQ_GAP, ACQ_GAP, 1);
  reading_finish(&r);
}

/* How far apart they are is not known. */
static void test_sets_zones(void **state) {
  (void)state;
#define LATER(first, second) \
  XML ROOT SERIES(SET(TIME(first, "2", "ms") LEAD("I", "1 2")) SET(TIME(second, "2", "ms") LEAD("I", "3 4"))) END
  assert_refused(LATER("20260102030400+0100", "20260102030400.004"), -EOPNOTSUPP, "one recording");
  assert_refused(LATER("20260102020400", "20260102030400.004+0000"), -EOPNOTSUPP, "one recording");
  struct reading r = read_text(LATER("20261025025959.996+0200", "20261025020000+0100"));
  assert_int_equal(r.err, 0);
  assert_int_equal(r.n_samples, 4);
  reading_finish(&r);
}

static void test_sets_refused(void **state) {
  (void)state;
#define TWO(a, b) XML ROOT DATED SERIES(SET(TIME("20260102030405.000", "2", "ms") a) SET(b)) END
  static const char *const rows[] = {
      TWO(LEAD("II", "1 2 3"), TIME("20260102030405.002", "2", "ms") LEAD("II", "4")), /* overlap */
      TWO(LEAD("II", "1 2 3"), TIME("20260102030404.000", "2", "ms") LEAD("II", "4")), /* before */
      TWO(LEAD("II", "1 2 3"), TIME("20260102030405.006", "1", "ms") LEAD("II", "4")), /* another rate */
      TWO(LEAD("II", "1 2 3"), TIME("20260104030405.006", "2", "ms") LEAD("II", "4")), /* days later */
      TWO(LEAD("II", "1 2 3"), TIME("", "2", "ms") LEAD("II", "4")),
      TWO(LEAD("II", "1 2 3"), TIME("20260102030405.006", "2", "ms") LEAD_AS("II", "0", "1", "uV", "4")),
      TWO(LEAD("II", "1 2 3"), SEQUENCE("TIME_RELATIVE", "<head value=\"6\" unit=\"ms\"/><increment value=\"2\" "
                                                         "unit=\"ms\"/>") LEAD("II", "4"))};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_refused(rows[i], -EOPNOTSUPP, "one recording");
}

static void test_relative_time(void **state) {
  (void)state;
  struct reading r = read_text(XML ROOT DATED SERIES(
      "<effectiveTime><low value=\"20260102030406\"/><high value=\"20260102030406.004\"/></effectiveTime>" SET(SEQUENCE(
          "TIME_RELATIVE", "<head value=\"0\" unit=\"ms\"/><increment value=\"2\" unit=\"ms\"/>") LEAD("II", "1 2")))
                                   END);
  assert_int_equal(r.err, 0);
  SAYS(r, "\"device_time\":\"2026-01-02T03:04:06.000\"");
  assert_false(says(&r, "file_shortened"));
  reading_finish(&r);
}

/* ---- series ------------------------------------------------------------------------------------------------- */

#define OTHER_SERIES(code, inside) "<component><series><code code=\"" code "\"/>" inside "</series></component>"

static void test_series(void **state) {
  (void)state;
  struct reading r =
      read_text(XML ROOT DATED OTHER_SERIES("REPRESENTATIVE_BEAT", SET(PLAIN_TIME LEAD("I", "9 9")))
                    SERIES(SET(PLAIN_TIME LEAD("II", "1 2"))) SERIES(SET(PLAIN_TIME LEAD("II", "3 4"))) END);
  assert_int_equal(r.err, 0);
  CHANNEL(r, "lead_ii", "500", "2.5", 1, 2);
  assert_int_equal(r.n_samples, 2);
  SAYS(r, "\"file_inconsistent\"");
  reading_finish(&r);
  assert_refused(XML ROOT DATED END, -ENODATA, "no recording");
  assert_refused(XML ROOT DATED SERIES("") END, -ENODATA, "no lead");
  assert_refused(XML ROOT OTHER_SERIES("REPRESENTATIVE_BEAT", SET(PLAIN_TIME LEAD("I", "9 9"))) END, -EOPNOTSUPP,
                 "no rhythm");
  assert_refused(XML ROOT SERIES(SET(PLAIN_TIME LEAD("ZZ", "9 9"))) END, -ENODATA, "no lead");
}

static void test_words(void **state) {
  (void)state;
#define ANNOTATION(code, value, inside) \
  "<component><annotation><code code=\"" code "\"/>" value inside "</annotation></component>"
  struct reading r = read_text(
      XML ROOT DATED
      "<pertainsTo><subjectFindingComment><text>dizzy</text></subjectFindingComment></pertainsTo>" SERIES(
          "<author><seriesAuthor><manufacturedSeriesDevice><id extension=\"S1\"/><manufacturerModelName>M&lt;1"
          "</manufacturerModelName><softwareName>5.3</softwareName></manufacturedSeriesDevice>"
          "<manufacturerOrganization><name>Maker</name></manufacturerOrganization></seriesAuthor></author>" SET(
              PLAIN_TIME LEAD(
                  "II",
                  "1 2")) "<subjectOf><annotationSet>" ANNOTATION("MDC_ECG_RHY",
                                                                  "<value code=\"X\" displayName=\"Marker A\"/>",
                                                                  "") ANNOTATION("MDC_ECG_INTERPRETATION", "",
                                                                                 ANNOTATION(
                                                                                     "MDC_ECG_INTERPRETATION_STATEMENT",
                                                                                     "<value>Marker B</value>", ""))
              ANNOTATION("MDC_ECG_TIME_PD_QT", "<value value=\"420\" unit=\"ms\"/>", "") ANNOTATION(
                  "MDC_ECG_AMPL_ST", "<value value=\"12&#x85;\" unit=\"uV\"/>",
                  "<support><supportingROI><component><boundary><code code=\"MDC_ECG_LEAD_V2\"/></boundary></component>"
                  "</supportingROI></support>") ANNOTATION("MDC_ECG_WAVC", "<value code=\"MDC_ECG_WAVC_PWAVE\"/>", "")
                  ANNOTATION("MDC_ECG_BEAT", "<value code=\"MDC_ECG_BEAT_NORMAL\"/>",
                             ANNOTATION("MDC_ECG_TIME_PD_QT", "<value value=\"420\" unit=\"ms\"/>",
                                        "")) "</annotationSet></subjectOf>") END);
  assert_int_equal(r.err, 0);
  SAYS(r, "\"statements\":[{\"code\":\"comment\",\"text\":\"dizzy\",\"trial\":1},"
          "{\"code\":\"interpretation\",\"text\":\"Marker A\",\"trial\":1},"
          "{\"code\":\"interpretation\",\"text\":\"Marker B\",\"trial\":1},"
          "{\"code\":\"measurement\",\"text\":\"TIME_PD_QT : 420 ms\",\"trial\":1},"
          "{\"code\":\"measurement\",\"text\":\"AMPL_ST (V2) : 12  uV\",\"trial\":1}]");
  SAYS(r, "\"device\":{\"firmware\":\"5.3\",\"make\":\"Maker\",\"model\":\"M<1\",\"sensor\":\"\",\"serial\":\"S1\"}");
  reading_finish(&r);
}

/* ---- documents that are refused ----------------------------------------------------------------------------- */

static void test_refused(void **state) {
  (void)state;
  assert_refused("", -ENODATA, "");
  assert_refused("not xml", -ENXIO, "not XML");
  assert_refused("<RestingECG/>", -ENXIO, "another one");
  assert_refused("<AnnotatedECG xmlns='urn:other'/>", -ENXIO, "name space");
  assert_refused("<!DOCTYPE AnnotatedECG SYSTEM 'x.dtd'><AnnotatedECG/>", -EPROTO, "document type");
  assert_refused("<?xml version='1.0' encoding='GB18030'?><AnnotatedECG/>", -EOPNOTSUPP, "alphabet");
  assert_refused(ONE_SET(PLAIN_TIME LEAD("II", "1 x 3")), -EPROTO, "no numbers");
  assert_refused(ONE_SET(PLAIN_TIME LEAD("II", "1 1e9 3")), -EPROTO, "no numbers");
  assert_refused(ONE_SET(PLAIN_TIME LEAD("II", "40000 1")), -ERANGE, "16 bits");
  assert_refused(ONE_SET(PLAIN_TIME LEAD("II", "-32768 1")), -ERANGE, "16 bits");
  assert_refused(ONE_SET(PLAIN_TIME LEAD("II", "4000000000 1")), -ERANGE, "cannot be");
  assert_refused(ONE_SET(PLAIN_TIME LEAD("II", " ")), -EPROTO, "without samples");
  assert_refused(ONE_SET(PLAIN_TIME LEAD("II", "1") LEAD("II", "1")), -EPROTO, "twice");
  assert_refused(ONE_SET(LEAD("II", "1")), -EPROTO, "without a time");
  assert_refused(ONE_SET(PLAIN_TIME PLAIN_TIME LEAD("II", "1")), -EPROTO, "two times");
  assert_refused(ONE_SET(PLAIN_TIME LEAD_AS("II", "0", "0", "uV", "1")), -ERANGE, "scale");
  assert_refused(ONE_SET(PLAIN_TIME LEAD_AS("II", "0", "-1", "uV", "1")), -ERANGE, "scale");
  assert_refused(ONE_SET(PLAIN_TIME LEAD_AS("II", "1", "2.5", "uV", "1")), -EOPNOTSUPP, "origin");
  assert_refused(ONE_SET(PLAIN_TIME LEAD_AS("II", "0", "1", "mmHg", "1")), -EOPNOTSUPP, "unit");
  assert_refused(ONE_SET(PLAIN_TIME LEAD_AS("II", "0", "1000000", "uV", "1")), -ERANGE, "outside");
}

static void test_too_many_samples(void **state) {
  (void)state;
  _buf_cleanup_ struct buf text = BUF_INIT(16 << 20);
  buf_text(&text, XML ROOT "<component><series><code code=\"RHYTHM\"/><component><sequenceSet>" PLAIN_TIME
                           "<component><sequence><code code=\"MDC_ECG_LEAD_I\"/><value><scale value=\"1\" unit=\"uV\"/>"
                           "<digits>");
  for (unsigned i = 0; i < (2u << 20) + 1; i++)
    buf_text(&text, "1 ");
  buf_text(&text, "</digits></value></sequence></component></sequenceSet></component></series></component>" END);
  buf_u8(&text, 0);
  assert_false(text.err);
  assert_refused((const char *)text.data, -EOPNOTSUPP, "more samples");
}

static const char whole[] = ONE_SET(PLAIN_TIME LEAD("II", "1 -2 3") LEAD("I", "4 5 6"));

static void test_truncated(void **state) {
  (void)state;
  for (size_t n = 1; n < strlen(whole) - 1; n++) {
    struct reading r = read_bytes(whole, n);
    if (r.err != -ENXIO && r.err != -EPROTO)
      fail_msg("%zu: %d %s", n, r.err, r.reason);
    reading_finish(&r);
  }
}

/* read_capture() looks for file_unchecked in what is not refused. */
static void test_bit_flips(void **state) {
  (void)state;
  unsigned refused = 0;
  for (size_t bit = 0; bit < 8 * strlen(whole); bit++) {
    char text[sizeof whole];
    memcpy(text, whole, sizeof whole);
    text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
    struct reading r = read_bytes(text, strlen(whole));
    refused += r.err != 0;
    reading_finish(&r);
  }
  assert_true(refused > 4 * strlen(whole));
}

static void test_utf_16(void **state) {
  (void)state;
  for (unsigned big = 0; big < 2; big++) {
    _buf_cleanup_ struct buf b = BUF_INIT(1 << 16);
    static const char text[] =
        "<?xml version='1.0' encoding='UTF-16'?>" ROOT SERIES(SET(PLAIN_TIME LEAD("II", "1 -2"))) END;
    buf_u8(&b, big ? 0xfe : 0xff);
    buf_u8(&b, big ? 0xff : 0xfe);
    for (size_t i = 0; i < strlen(text); i++) {
      buf_u8(&b, big ? 0 : (uint8_t)text[i]);
      buf_u8(&b, big ? (uint8_t)text[i] : 0);
    }
    struct reading r = read_bytes(b.data, b.len);
    assert_int_equal(r.err, 0);
    CHANNEL(r, "lead_ii", "500", "2.5", 1, -2);
    reading_finish(&r);
  }
}

/* ---- real files --------------------------------------------------------------------------------------------- */

static bool sample(const char *name, struct buf *ret) {
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[512];
  *ret = BUF_INIT(1 << 20);
  snprintf(path, sizeof path, "%s/hl7_aecg/%s", folder ? folder : "../shared/samples", name);
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("skipped: no %s\n", path);
    return false;
  }
  uint8_t *at = buf_extend(ret, 1 << 20);
  assert_non_null(at);
  ret->len = fread(at, 1, 1 << 20, f);
  fclose(f);
  return true;
}

/* The same ECG as SCP-ECG's Example.scp, whose samples, in this order of the leads and as 16 bits little endian, have
 * this SHA-256. */
#define SAME_AS_SCP "edc4700a00dbcf7d021d38dd316c28414bbe7ae086ab7961be45cfe28eccd404"

static void test_example(void **state) {
  (void)state;
  struct buf b;
  if (!sample("ECGToolkit_Example.xml", &b))
    skip();
  for (unsigned twice = 0; twice < 2; twice++) {
    struct reading r = read_bytes(b.data, b.len);
    assert_int_equal(r.err, 0);
    assert_int_equal(r.n_samples, 60000);
    SAYS(r, SAME_AS_SCP);
    SAYS(r, "\"device_time\":\"2002-11-22T09:10:00.000\"");
    SAYS(r, "\"make\":\"Mortara Instrument, Inc.\",\"model\":\"ELI250\"");
    SAYS(r, "\"family\":\"Clark\",\"given\":\"\",\"id\":\"SBJ-123\",\"sex\":\"M\"");
    SAYS(r, "à 150 Hz");
    SAYS(r, "secteur 60 Hz");
    SAYS(r, "\"text\":\"TIME_PD_QT : 420 ms\"");
    assert_false(says(&r, "file_inconsistent"));
    assert_string_equal(json_text(channel(&r, "lead_avf"), "scale"), "2.5");
    reading_finish(&r);
  }
  buf_finish(&b);
}

static void test_fda_minimum(void **state) {
  (void)state;
  struct buf b;
  if (!sample("fda_minimum_aecg.xml", &b))
    skip();
  struct reading r = read_bytes(b.data, b.len);
  assert_int_equal(r.err, 0);
  CHANNEL(r, "lead_ii", "500", "2.5", -2, -2, -2, -2, -3, -4, -3, -5, -5, -4, -6, -9, -9);
  SAYS(r, "\"file_shortened\""); /* it says ten seconds */
  reading_finish(&r);
  buf_finish(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_numbers_in_pieces),
      cmocka_unit_test(test_numbers_in_plenty),
      cmocka_unit_test(test_numbers_refused),
      cmocka_unit_test(test_small_document),
      cmocka_unit_test(test_other_order),
      cmocka_unit_test(test_units),
      cmocka_unit_test(test_rates),
      cmocka_unit_test(test_times),
      cmocka_unit_test(test_zones),
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_births),
      cmocka_unit_test(test_sets_follow),
      cmocka_unit_test(test_sets_zones),
      cmocka_unit_test(test_sets_refused),
      cmocka_unit_test(test_relative_time),
      cmocka_unit_test(test_series),
      cmocka_unit_test(test_words),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_too_many_samples),
      cmocka_unit_test(test_truncated),
      cmocka_unit_test(test_bit_flips),
      cmocka_unit_test(test_utf_16),
      cmocka_unit_test(test_example),
      cmocka_unit_test(test_fda_minimum),
  };
  return hash_open() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
