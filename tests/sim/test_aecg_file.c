/* The aECG writer, judged by libxml2: what goes in comes out, and each damage is what its name says. */
#include "aecg_file.h"
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
#define RHYTHM "/AnnotatedECG/component/series/component/sequenceSet/component"

static struct ecg12 ecg;
static struct buf file;
static struct xml_judge *judge;

static void write_file(const struct aecg_file *options) {
  xml_judge_close(judge);
  buf_reset(&file);
  file.max = XML_OUT_MAX;
  assert_int_equal(aecg_file_make(options, &ecg, &file), 0);
  judge = xml_judge_open(file.data, file.len);
}

static void expect(const char *path, const char *value) {
  assert_non_null(judge);
  const char *got = xml_judge_text(judge, path);
  if (strcmp(got, value) != 0)
    fail_msg("%s: '%.40s' instead of '%s'", path, got, value);
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

static const char *const codes[] = {"I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"};

/* The digits of a lead are its samples less the origin, in steps. set: the path of its components. */
static void expect_lead(const char *set, enum ecg12_lead lead, size_t first, size_t n, long less) {
  char path[256], code[64];
  unsigned at = 2, count = xml_judge_count(judge, set);
  snprintf(code, sizeof(code), "MDC_ECG_LEAD_%s", codes[lead]);
  for (; at <= count; at++) {
    snprintf(path, sizeof(path), "%s[%u]/sequence/code/@code", set, at);
    if (strcmp(xml_judge_text(judge, path), code) == 0)
      break;
  }
  snprintf(path, sizeof(path), "%s[%u]/sequence/value/digits", set, at);
  const char *text = xml_judge_text(judge, path);
  for (size_t i = 0; i < n; i++) {
    char *end;
    long v = strtol(text, &end, 10);
    if (text == end || v != ecg.lead[lead][first + i] - less)
      fail_msg("%s[%zu]: %ld", code, i, v);
    text = end;
  }
  assert_int_equal(text[strspn(text, " \t\r\n")], '\0');
}

TEST(samples) {
  write_file(&(struct aecg_file){.facts = ecg_facts_example, .increment_unit = AECG_WHOLE_UNIT});
  assert_int_equal(xml_judge_count(judge, RHYTHM), 13);
  for (enum ecg12_lead lead = 0; lead < ECG12_LEADS; lead++)
    expect_lead(RHYTHM, lead, 0, ecg.n, 0);
  expect("/AnnotatedECG/component/series/code/@code", "RHYTHM");
  expect("//sequenceSet/component[1]/sequence/code/@code", "TIME_ABSOLUTE");
  expect("//sequenceSet/component[1]/sequence/value/head/@value", "20260301091530.000");
  expect("//series/effectiveTime/high/@value", "20260301091540.000");
  expect("//increment/@value", "0.002");
  expect("//increment/@unit", "s");
  expect("//sequenceSet/component[2]/sequence/value/scale/@value", "5");
  expect("//sequenceSet/component[5]/sequence/value/scale/@value", "2.5");
  expect("//sequenceSet/component[5]/sequence/value/scale/@unit", "uV");
  expect("//sequenceSet/component[5]/sequence/value/origin/@value", "0");
}

TEST(units) {
  static const char *const scale[][3] = {{"uV", "5", "2.5"}, {"mV", "0.005", "0.0025"}, {"nV", "5000", "2500"}};
  static const char *const unit[] = {[AECG_MICRO] = "us", [AECG_MILLI] = "ms", [AECG_WHOLE_UNIT] = "s"};
  static const char *const step[] = {[AECG_MICRO] = "1250", [AECG_MILLI] = "1.25", [AECG_WHOLE_UNIT] = "0.00125"};
  static const enum aecg_unit increments[] = {AECG_MICRO, AECG_MILLI, AECG_WHOLE_UNIT};
  ecg12_make(&ecg, 800, 2, 5, 3, 1);
  for (unsigned s = AECG_MICRO; s <= AECG_NANO; s++) {
    write_file(&(struct aecg_file){
        .scale_unit = (enum aecg_unit)s, .increment_unit = increments[s], .relative = true, .origin_uv = -35});
    expect("//sequenceSet/component[2]/sequence/value/scale/@unit", scale[s][0]);
    expect("//sequenceSet/component[2]/sequence/value/scale/@value", scale[s][1]);
    expect("//sequenceSet/component[6]/sequence/value/scale/@value", scale[s][2]);
    expect("//sequenceSet/component[6]/sequence/value/origin/@value", s == AECG_MICRO   ? "-35"
                                                                      : s == AECG_MILLI ? "-0.035"
                                                                                        : "-35000");
    expect("//increment/@value", step[increments[s]]);
    expect("//increment/@unit", unit[increments[s]]);
    expect("//sequenceSet/component[1]/sequence/code/@code", "TIME_RELATIVE");
    expect_lead(RHYTHM, ECG12_II, 0, ecg.n, -7);
    expect_lead(RHYTHM, ECG12_AVF, 0, ecg.n, -14);
  }
}

TEST(alphabets) {
  for (unsigned e = 0; e < XML_ENCODINGS; e++) {
    struct ecg_facts facts = ecg_facts_example;
    facts.statement = "œuvre ≤ 5 & <€> 𝄞";
    write_file(&(struct aecg_file){.facts = facts, .encoding = (enum xml_encoding)e, .prefix = e % 2 ? "hl7" : NULL});
    expect("//subjectDemographicPerson/name/family", "Lefèvre");
    expect("//subjectDemographicPerson/name/given", "Zoé");
    expect("//manufacturerModelName", "Écho 12");
    expect("//annotation/component/annotation/value", facts.statement);
    expect_lead(RHYTHM, ECG12_V6, 0, ecg.n, 0);
  }
  write_file(&(struct aecg_file){.encoding = XML_UTF16LE});
  assert_memory_equal(file.data, "\xFF\xFE<\0?", 5);
  write_file(&(struct aecg_file){.encoding = XML_UTF16BE});
  assert_memory_equal(file.data, "\xFE\xFF\0<\0?", 6);
  write_file(&(struct aecg_file){.facts = ecg_facts_example, .encoding = XML_LATIN1, .prefix = "hl7"});
  assert_non_null(memmem(file.data, file.len, "Lef\xE8vre", 7));
  assert_non_null(memmem(file.data, file.len, "<hl7:AnnotatedECG xmlns:hl7=\"urn:hl7-org:v3\"", 44));
}

TEST(what_else_it_says) {
  write_file(&(struct aecg_file){.facts = ecg_facts_example,
                                 .between = "\r\n\t ",
                                 .zone = "+0100",
                                 .filters = true,
                                 .derived = true,
                                 .measurements = true});
  size_t first, n;
  assert_true(ecg12_median(&ecg, &first, &n));
  expect("//trialSubject/id/@extension", "P-2026/0042");
  expect("//administrativeGenderCode/@code", "F");
  expect("//birthTime/@value", "19600229");
  expect("//seriesAuthor/id/@extension", "SN-7731");
  expect("//seriesAuthor/manufacturerOrganization/name", "Synthetic Instruments");
  expect("//softwareName", "4.2");
  expect("//head/@value", "20260301091530.000+0100");
  expect("//series/controlVariable[2]/controlVariable/component/controlVariable/value/@value", "0.05");
  expect("//annotationSet/component[1]/annotation/value/@value", "75");
  expect("//annotationSet/component[5]/annotation/component/annotation/value", ecg_facts_example.statement);
  expect("//derivedSeries/code/@code", "REPRESENTATIVE_BEAT");
  expect_lead(RHYTHM, ECG12_AVR, 0, ecg.n, 0);
  expect_lead("//derivedSeries/component/sequenceSet/component", ECG12_AVR, first, n, 0);
}

TEST(says_nothing) {
  write_file(&(struct aecg_file){.eight = true});
  assert_int_equal(xml_judge_count(judge, RHYTHM), 9);
  expect_lead(RHYTHM, ECG12_V1, 0, ecg.n, 0);
  assert_int_equal(xml_judge_count(judge, "//effectiveTime"), 0);
  assert_int_equal(xml_judge_count(judge, "//name"), 0);
  assert_int_equal(xml_judge_count(judge, "//annotation"), 0);
  assert_int_equal(xml_judge_count(judge, "//derivedSeries"), 0);
  assert_int_equal(xml_judge_count(judge, "//trialSubject/id"), 0);
}

TEST(impossible) {
  ecg12_make(&ecg, 300, 2, 5, 3, 1);
  assert_int_equal(aecg_file_make(&(struct aecg_file){.encoding = XML_UTF8}, &ecg, &file), -EINVAL);
  ecg12_make(&ecg, 500, 2, 5, 3, 1);
  assert_int_equal(aecg_file_make(&(struct aecg_file){.origin_uv = 7}, &ecg, &file), -EINVAL);
  assert_int_equal(aecg_file_make(&(struct aecg_file){.scale_unit = AECG_WHOLE_UNIT}, &ecg, &file), -EINVAL);
  assert_int_equal(aecg_file_make(&(struct aecg_file){.increment_unit = AECG_NANO}, &ecg, &file), -EINVAL);
  struct buf small _buf_cleanup_ = BUF_INIT(1000);
  assert_int_equal(aecg_file_make(&(struct aecg_file){.encoding = XML_UTF8}, &ecg, &small), -EFBIG);
}

static void damage(enum aecg_damage what, enum xml_encoding encoding) {
  write_file(&(struct aecg_file){.facts = ecg_facts_example, .damage = what, .encoding = encoding});
}

#define V3 "//sequenceSet/component[10]/sequence"

TEST(not_well_formed) {
  for (unsigned e = 0; e < XML_ENCODINGS; e++) {
    damage(AECG_TRUNCATED, (enum xml_encoding)e);
    assert_null(judge);
    damage(AECG_WRONG_CLOSING_TAG, (enum xml_encoding)e);
    assert_null(judge);
  }
}

TEST(entities) {
  damage(AECG_ENTITY_BOMB, XML_UTF8);
  assert_non_null(memmem(file.data, file.len, "<!ENTITY j \"&i;&i;", 18));
  assert_non_null(memmem(file.data, file.len, "<name>&j;</name>", 16));
  damage(AECG_EXTERNAL_ENTITY, XML_UTF8);
  assert_non_null(memmem(file.data, file.len, "<!ENTITY j SYSTEM \"file:", 24));
}

TEST(damaged_digits) {
  damage(AECG_DIGIT_OUT_OF_RANGE, XML_UTF8);
  assert_non_null(strstr(xml_judge_text(judge, V3 "/value/digits"), " 40000 "));
  assert_null(strstr(xml_judge_text(judge, "//sequenceSet/component[9]/sequence/value/digits"), "40000"));
  damage(AECG_DIGIT_NOT_INTEGER, XML_UTF16LE);
  assert_non_null(strstr(xml_judge_text(judge, V3 "/value/digits"), " 12.5 "));
  damage(AECG_DIGIT_NO_NUMBER, XML_UTF16BE);
  assert_non_null(strstr(xml_judge_text(judge, V3 "/value/digits"), " none "));
  damage(AECG_SHORT_LEAD, XML_UTF8);
  expect_lead(RHYTHM, ECG12_V3, 0, ecg.n - 1, 0);
  expect_lead(RHYTHM, ECG12_V4, 0, ecg.n, 0);
}

TEST(damaged_elements) {
  damage(AECG_UNKNOWN_LEAD, XML_UTF8);
  expect(V3 "/code/@code", "MDC_ECG_LEAD_Q7");
  damage(AECG_LEAD_TWICE, XML_UTF8);
  expect(V3 "/code/@code", "MDC_ECG_LEAD_V2");
  damage(AECG_UNKNOWN_UNIT, XML_UTF8);
  expect(V3 "/value/scale/@unit", "mm[Hg]");
  damage(AECG_NO_SCALE, XML_UTF8);
  assert_int_equal(xml_judge_count(judge, "//scale"), 11);
  damage(AECG_NO_INCREMENT, XML_UTF8);
  assert_int_equal(xml_judge_count(judge, "//increment"), 0);
  assert_int_equal(xml_judge_count(judge, "//digits"), 12);
  damage(AECG_NO_DIGITS, XML_UTF8);
  assert_int_equal(xml_judge_count(judge, "//digits"), 0);
}

TEST(names) {
  for (unsigned d = 0; d < AECG_DAMAGES; d++) {
    assert_non_null(aecg_damage_names[d]);
    assert_int_equal(file_word(aecg_damage_names[d], aecg_damage_names, AECG_DAMAGES), d);
  }
  assert_int_equal(file_word("unheard-of", aecg_damage_names, AECG_DAMAGES), -1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(samples),         T(units),    T(alphabets),      T(what_else_it_says), T(says_nothing), T(impossible),
      T(not_well_formed), T(entities), T(damaged_digits), T(damaged_elements),  T(names),
  };
  return cmocka_run_group_tests_name("aecg_file", tests, NULL, NULL);
}
