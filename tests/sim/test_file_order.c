/* The XML and DICOM rows of file_maker: every damage can be asked for and is in the help; options do what they say. */
#include "aecg_file.h"
#include "dicom_file.h"
#include "dicom_order.h"
#include "muse_file.h"
#include "sierra_file.h"
#include "xml_judge.h"
#include "xml_order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define FILE_MAX (64u << 20)

static char why[256];

/* An order of "key=value key=value". */
static struct file_order order_of(const char *options) {
  struct file_order o = {.seconds = 10, .person = {.family = "Dupré", .id = "42"}, .taken = {2026, 5, 4, 10, 30, 0}};
  while (*options) {
    struct option *to = &o.options[o.n_options++];
    size_t key = strcspn(options, "="), len = strcspn(options, " ");
    snprintf(to->key, sizeof(to->key), "%.*s", (int)key, options);
    snprintf(to->value, sizeof(to->value), "%.*s", (int)(len - key - 1), options + key + 1);
    options += len + (options[len] == ' ');
  }
  return o;
}

static int make(const struct file_format *format, const char *options, struct buf *ret) {
  struct file_order o = order_of(options);
  why[0] = '\0';
  return format->make(&o, ret, why);
}

static void try_damages(const struct file_format *format, const char *base, const char *const names[], unsigned first,
                        unsigned last) {
  struct buf sound _buf_cleanup_ = BUF_INIT(FILE_MAX);
  assert_int_equal(make(format, base, &sound), 0);
  for (unsigned d = first; d <= last; d++) {
    struct buf file _buf_cleanup_ = BUF_INIT(FILE_MAX);
    char option[64];
    snprintf(option, sizeof(option), "%s damage=%s", base, names[d]);
    assert_non_null(strstr(format->help, names[d]));
    assert_int_equal(make(format, option, &file), 0);
    if (file.len == sound.len && memcmp(file.data, sound.data, file.len) == 0)
      fail_msg("%s: %s changes nothing", format->name, names[d]);
  }
}

TEST(damages) {
  try_damages(&aecg_format, "eight=0", aecg_damage_names, 1, AECG_DAMAGES - 1);
  try_damages(&sierra_format, "version=1.04", sierra_damage_names, 1, SIERRA_DAMAGES - 1);
  try_damages(&muse_format, "median=0", muse_damage_names, 1, MUSE_DAMAGES - 1);
  try_damages(&dicom_ecg_format, "median=0", dicom_damage_names, 1, DICOM_NO_GROUP);
  try_damages(&dicom_fundus_format, "pixels=native", dicom_damage_names, 1, DICOM_BITS);
  try_damages(&dicom_fundus_format, "pixels=native", dicom_damage_names, DICOM_BAD_LATERALITY, DICOM_MORE_FRAMES);
}

static void expect_xml(const struct file_format *format, const char *options, const char *path, const char *value) {
  struct buf file _buf_cleanup_ = BUF_INIT(FILE_MAX);
  assert_int_equal(make(format, options, &file), 0);
  struct xml_judge *judge = xml_judge_open(file.data, file.len);
  assert_non_null(judge);
  assert_string_equal(xml_judge_text(judge, path), value);
  xml_judge_close(judge);
}

TEST(options) {
  expect_xml(&aecg_format, "encoding=utf-16be prefix=x scale=nV", "//family", "Dupré");
  expect_xml(&aecg_format, "encoding=utf-16be prefix=x scale=nV", "//scale/@unit", "nV");
  expect_xml(&aecg_format, "increment=ms relative=1", "//increment/@value", "2");
  expect_xml(&aecg_format, "model=Q", "//manufacturerModelName", "Q");
  expect_xml(&sierra_format, "version=1.04", "//documentversion", "1.04");
  expect_xml(&sierra_format, "spare=4 coding=xli", "//numberchannelsallocated", "16");
  expect_xml(&muse_format, "units-per-bit=4.88", "//LeadData[3]/LeadAmplitudeUnitsPerBit", "4.88");
  expect_xml(&muse_format, "median=1", "/RestingECG/Waveform[1]/WaveformType", "Median");
}

/* Of the value that follows "tag VR length" in an explicit little endian file. */
static void expect_dicom(const struct file_format *format, const char *options, const char *element,
                         const char *value) {
  struct buf file _buf_cleanup_ = BUF_INIT(FILE_MAX);
  assert_int_equal(make(format, options, &file), 0);
  const uint8_t *at = memmem(file.data, file.len, element, 6);
  assert_non_null(at);
  assert_memory_equal(at + 8, value, strlen(value));
}

TEST(dicom_options) {
  expect_dicom(&dicom_ecg_format, "alphabet=latin1", "\x10\0\x10\0PN", "Dupr\xE9");
  expect_dicom(&dicom_ecg_format, "median=1", "\x08\0\x16\0UI", "1.2.840.10008.5.1.4.1.1.9.1.2");
  expect_dicom(&dicom_ecg_format, "unit=mV correction=1",
               "\x3a\0\x12\x02"
               "DS",
               "0.005");
  expect_dicom(&dicom_fundus_format, "eye=left", "\x20\0\x62\0CS", "L");
  expect_dicom(&dicom_fundus_format, "eye=left laterality=series", "\x20\0\x60\0CS", "L");
  expect_dicom(&dicom_fundus_format, "pixels=native", "\x28\0\x04\0CS", "RGB");
  expect_dicom(&dicom_fundus_format, "pixels=jpeg fragments=2", "\x02\0\x10\0UI", "1.2.840.10008.1.2.4.50");
}

TEST(refused) {
  static const struct {
    const struct file_format *format;
    const char *options, *why;
  } cases[] = {{&aecg_format, "nonsense=1", "nonsense"},      {&aecg_format, "relative=2", "relative"},
               {&aecg_format, "increment=ns", "interval"},    {&sierra_format, "version=1.05", "version"},
               {&muse_format, "damage=unheard-of", "damage"}, {&dicom_ecg_format, "syntax=deflated", "syntax"},
               {&dicom_fundus_format, "width=1", "size"},     {&dicom_fundus_format, "height=70000", "height"}};
  for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    struct buf file _buf_cleanup_ = BUF_INIT(FILE_MAX);
    assert_int_equal(make(cases[i].format, cases[i].options, &file), -EINVAL);
    if (!strstr(why, cases[i].why))
      fail_msg("%s: %s", cases[i].options, why);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(damages),
      cmocka_unit_test(options),
      cmocka_unit_test(dicom_options),
      cmocka_unit_test(refused),
  };
  return cmocka_run_group_tests_name("file_order", tests, NULL, NULL);
}
