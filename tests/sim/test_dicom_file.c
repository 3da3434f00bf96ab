/* The DICOM writer, judged by dcmdump (DCMTK) and dciodvfy (dicom3tools), which share nothing with it: the first gives
 * back every value, the second knows what an object of its kind must have. */
#include "dicom_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define ROWS 9
#define COLUMNS 15
#define SAID_MAX (8u << 20)

static struct ecg12 ecg;
static struct buf file;
static char said[SAID_MAX];
static char path[] = "/tmp/test_dicom_file.XXXXXX";
static uint8_t rgb[ROWS * COLUMNS * 3];
static uint8_t jpeg[777];

/* The exit status of a program, its words in said. */
static int run(const char *program) {
  char command[256];
  FILE *to = fopen(path, "wbe");
  assert_non_null(to);
  assert_int_equal(fwrite(file.data, 1, file.len, to), file.len);
  assert_int_equal(fclose(to), 0);
  snprintf(command, sizeof(command), "%s %s 2>&1", program, path);
  FILE *from = popen(command, "re");
  assert_non_null(from);
  size_t n = fread(said, 1, sizeof(said) - 1, from);
  said[n] = '\0';
  return pclose(from) >> 8;
}

static int dump(void) {
  return run("dcmdump -q +L +U8");
}

/* What stands after the VR of the n-th element of this tag, from 0, in what dcmdump said; to the end of its line. */
static const char *value(const char *tag, unsigned n) {
  char start[16];
  snprintf(start, sizeof(start), "(%s) ", tag);
  const char *at = said;
  do {
    at = strstr(at, start);
    if (!at)
      return NULL;
    at += strlen(start);
  } while (n-- > 0);
  return at + 3;
}

static void expect_nth(const char *tag, unsigned n, const char *want) {
  const char *got = value(tag, n);
  if (!got || strncmp(got, want, strlen(want)) != 0)
    fail_msg("%s: %.60s instead of %s", tag, got ? got : "nothing", want);
}

static void expect(const char *tag, const char *want) {
  expect_nth(tag, 0, want);
}

static void write_ecg(const struct dicom_ecg_file *options) {
  buf_reset(&file);
  file.max = 1u << 26;
  assert_int_equal(dicom_ecg_file_make(options, &ecg, &file), 0);
}

static void write_fundus(const struct dicom_fundus_file *options) {
  struct dicom_fundus_file f = *options;
  f.rows = ROWS;
  f.columns = COLUMNS;
  if (!f.jpeg)
    f.rgb = rgb;
  buf_reset(&file);
  file.max = 1u << 26;
  assert_int_equal(dicom_fundus_file_make(&f, &file), 0);
}

/* dciodvfy finds no error but, where one is named, that one. */
static void expect_valid(const char *error) {
  run("dciodvfy -new");
  const char *at = strstr(said, "Error");
  if (!error && at)
    fail_msg("dciodvfy: %.200s", at);
  if (error) {
    assert_non_null(at);
    assert_non_null(strstr(at, error));
    assert_null(strstr(at + 1, "Error"));
  }
}

static int setup(void **state) {
  (void)state;
  file = BUF_INIT(1u << 26);
  ecg12_make(&ecg, 500, 10, 5, 3, 1);
  for (size_t i = 0; i < sizeof(rgb); i++)
    rgb[i] = (uint8_t)(7 * i + i / 256);
  for (size_t i = 0; i < sizeof(jpeg); i++)
    jpeg[i] = (uint8_t)(11 * i + i / 256); /* none: the writer does not look */
  memcpy(jpeg, "\xFF\xD8", 2);
  memcpy(jpeg + sizeof(jpeg) - 2, "\xFF\xD9", 2);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  buf_finish(&file);
  return 0;
}

static struct dicom_form form(unsigned k) {
  return (struct dicom_form){
      .syntax = (enum dicom_syntax)(k % DICOM_SYNTAXES), .undefined = k / 3 % 2, .latin1 = k / 6 % 2, .private = k % 2};
}

/* ---- ECG ---- */

static void expect_samples(unsigned group, size_t first, size_t n) {
  const char *at = value("5400,1010", group);
  assert_non_null(at);
  for (size_t i = 0; i < n; i++) {
    for (unsigned lead = 0; lead < ECG12_LEADS; lead++) {
      char *end;
      int16_t v = (int16_t)strtoul(at, &end, 16);
      if (end != at + 4 || v != ecg.lead[lead][first + i])
        fail_msg("sample %zu of %s: %d", i, ecg12_lead_name((enum ecg12_lead)lead), v);
      at = end + 1;
    }
  }
  assert_int_equal(at[-1], ' ');
}

TEST(samples) {
  static const char *const syntaxes[] = {"=LittleEndianExplicit", "=LittleEndianImplicit", "=BigEndianExplicit"};
  size_t first, n;
  assert_true(ecg12_median(&ecg, &first, &n));
  for (unsigned k = 0; k < 12; k++) {
    write_ecg(&(struct dicom_ecg_file){.facts = ecg_facts_example, .form = form(k), .median = k % 2});
    assert_int_equal(dump(), 0);
    expect("0002,0010", syntaxes[k % 3]);
    expect("0008,0016", k % 2 ? "=GeneralECGWaveformStorage" : "=TwelveLeadECGWaveformStorage");
    assert_non_null(memmem(file.data, file.len, k / 6 % 2 ? "ISO_IR 100" : "ISO_IR 192", 10));
    assert_true((memmem(file.data, file.len, "Lef\xE8vre^Zo\xE9 ", 12) != NULL) == (k / 6 % 2));
    expect("0010,0010", "[Lefèvre^Zoé]"); /* in UTF-8 whatever the file has */
    expect("5400,0100", k / 3 % 2 ? "(Sequence with undefined length" : "(Sequence with explicit length");
    expect("003a,0005", "12 ");
    expect("003a,0010", "5000 ");
    expect("003a,001a", "[500]");
    expect_samples(0, 0, ecg.n);
    if (k % 2)
      expect_samples(1, first, n);
    else
      assert_null(value("5400,1010", 1));
  }
}

TEST(valid_ecg) {
  for (unsigned k = 0; k < 6; k++) {
    write_ecg(&(struct dicom_ecg_file){.facts = ecg_facts_example,
                                       .form = form(k),
                                       .scpecg = k % 2,
                                       .median = k % 3 == 1,
                                       .filters = true,
                                       .measurements = true});
    expect_valid(NULL);
  }
}

TEST(channels) {
  static const char *const codes[] = {"1", "2", "61", "62", "63", "64", "3", "4", "5", "6", "7", "8"};
  for (unsigned scheme = 0; scheme < 2; scheme++) {
    write_ecg(&(struct dicom_ecg_file){.scpecg = scheme, .filters = true});
    dump();
    for (unsigned lead = 0; lead < ECG12_LEADS; lead++) { /* of each channel: the source's code, then the unit's */
      char want[32];
      snprintf(want, sizeof(want), "[%s%s]", scheme ? "5.6.3-9-" : "2:", codes[lead]);
      expect_nth("0008,0100", 2 * lead, want);
      expect_nth("0008,0102", 2 * lead, scheme ? "[SCPECG]" : "[MDC]");
      expect_nth("0008,0100", 2 * lead + 1, "[uV]");
    }
    expect("003a,0220", "[0.05]");
    expect("003a,0221", "[150]");
    expect("003a,0222", "[50]");
  }
}

TEST(scales) {
  static const char *const steps[2][2] = {{"[5]", "[2.5]"}, {"[0.005]", "[0.0025]"}};
  for (unsigned k = 0; k < 4; k++) {
    write_ecg(&(struct dicom_ecg_file){.milli = k % 2, .correction = k / 2});
    dump();
    expect_nth("0008,0100", 1, k % 2 ? "[mV]" : "[uV]");
    expect_nth(k / 2 ? "003a,0212" : "003a,0210", ECG12_V6, steps[k % 2][0]);
    expect_nth(k / 2 ? "003a,0212" : "003a,0210", ECG12_AVF, steps[k % 2][1]);
    expect_nth(k / 2 ? "003a,0210" : "003a,0212", ECG12_AVF, "[1]");
    expect_nth("003a,0213", ECG12_V6, "[0]");
  }
}

static void expect_facts(void) {
  expect("0010,0020", "[P-2026/0042]");
  expect("0010,0030", "[19600229]");
  expect("0010,0040", "[F]");
  expect("0008,002a", "[20260301091530]");
  expect("0008,0070", "[Synthetic Instruments]");
  expect("0008,1090", "[Écho 12]");
  expect("0018,1000", "[SN-7731]");
  expect("0018,1020", "[4.2]");
}

TEST(what_it_says) {
  write_ecg(&(struct dicom_ecg_file){.facts = ecg_facts_example, .measurements = true});
  dump();
  expect_facts();
  expect("0008,0060", "[ECG]");
  expect("0070,0006", "[MARKER-STATEMENT sinus rhythm]");
  expect("0040,a0b0", "1\\0");
  expect("0040,a30a", "[85]");
  write_ecg(&(struct dicom_ecg_file){.scpecg = true});
  dump();
  assert_null(value("0070,0006", 0));
  assert_null(value("0008,002a", 0));
  expect("0010,0010", "(no value available)");
  expect("0010,0020", "(no value available)");
}

/* ---- fundus ---- */

/* Words as they stand in the file's bytes, or bytes. */
static void expect_bytes(const char *at, const uint8_t *bytes, size_t n, bool words, bool padded) {
  for (size_t i = 0; i < n + padded; i++) {
    unsigned want = i < n ? bytes[i] : 0;
    size_t place = words ? 5 * (i / 2) + (i % 2 ? 0 : 2) : 3 * i;
    const char two[3] = {at[place], at[place + 1], '\0'};
    if (strtoul(two, NULL, 16) != want)
      fail_msg("byte %zu: %s instead of %02x", i, two, want);
  }
}

TEST(native_pixels) {
  uint8_t planes[sizeof(rgb)];
  for (size_t i = 0; i < sizeof(rgb); i++)
    planes[i % 3 * ROWS * COLUMNS + i / 3] = rgb[i];
  for (unsigned k = 0; k < 12; k++) {
    write_fundus(&(struct dicom_fundus_file){
        .facts = ecg_facts_example, .form = form(k), .planar = k / 6, .laterality = k % 2 ? 'L' : 'R'});
    assert_int_equal(dump(), 0);
    expect_facts();
    expect("0008,0060", "[OP]");
    expect("0020,0062", k % 2 ? "[L]" : "[R]");
    expect("0028,0004", "[RGB]");
    expect("0028,0006", k / 6 ? "1" : "0");
    expect("0028,0010", "9 ");
    expect("0028,0011", "15 ");
    expect("0020,4000", "[MARKER-STATEMENT");
    expect_bytes(value("7fe0,0010", 0), k / 6 ? planes : rgb, sizeof(rgb), k % 3 == 1, true);
    expect_valid(k / 6 ? "PlanarConfiguration" : NULL); /* of these objects the standard wants 0 */
  }
}

TEST(encapsulated_jpeg) {
  for (unsigned fragments = 0; fragments <= 3; fragments++) {
    write_fundus(&(struct dicom_fundus_file){
        .jpeg = jpeg, .jpeg_len = sizeof(jpeg), .fragments = fragments, .laterality = 'R', .facts = ecg_facts_example});
    assert_int_equal(dump(), 0);
    expect("0002,0010", "=JPEGBaseline");
    expect("0028,0004", "[YBR_FULL_422]");
    expect("0028,2110", "[01]");
    const char *at = value("7fe0,0010", 0);
    unsigned n = fragments ? fragments : 1;
    size_t each = sizeof(jpeg) / n / 2 * 2, pos = 0;
    at = strstr(at, "(fffe,e000) pi ") + 15;
    assert_memory_equal(at, "(no value available)", 20);
    for (unsigned i = 1; i <= n; i++) {
      size_t len = i < n ? each : sizeof(jpeg) - pos;
      at = strstr(at, "(fffe,e000) pi ") + 15;
      expect_bytes(at, jpeg + pos, len, false, len % 2);
      pos += len;
    }
    assert_null(strstr(at, "(fffe,e000)"));
    expect_valid(NULL);
  }
}

TEST(lateralities) {
  write_fundus(&(struct dicom_fundus_file){.eye = DICOM_SERIES_LATERALITY, .laterality = 'L'});
  dump();
  expect("0020,0060", "[L]");
  assert_null(value("0020,0062", 0));
  write_fundus(&(struct dicom_fundus_file){.eye = DICOM_NO_LATERALITY, .laterality = 'L'});
  dump();
  assert_null(value("0020,0060", 0));
  assert_null(value("0020,0062", 0));
  write_fundus(&(struct dicom_fundus_file){.laterality = 'L', .damage = DICOM_TWO_LATERALITIES});
  dump();
  expect("0020,0060", "[R]");
  expect("0020,0062", "[L]");
  write_fundus(&(struct dicom_fundus_file){.laterality = 'L', .damage = DICOM_BAD_LATERALITY});
  dump();
  expect("0020,0062", "[X]");
}

/* ---- damage ---- */

static int damage_ecg(enum dicom_damage what) {
  write_ecg(&(struct dicom_ecg_file){.facts = ecg_facts_example, .damage = what});
  return dump();
}

static int damage_fundus(enum dicom_damage what) {
  write_fundus(&(struct dicom_fundus_file){.facts = ecg_facts_example, .laterality = 'R', .damage = what});
  return dump();
}

TEST(no_dicom) {
  static const enum dicom_damage all[] = {DICOM_TRUNCATED, DICOM_NO_MAGIC, DICOM_LENGTH_BEYOND_FILE, DICOM_GIGABYTE};
  for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
    assert_int_not_equal(damage_ecg(all[i]), 0);
    assert_int_not_equal(damage_fundus(all[i]), 0);
  }
}

/* dcmdump recurses until its stack is full: it is not asked. */
TEST(nested_without_end) {
  static const uint8_t level[] = {0x40, 0,   0x55, 5,   'S', 'Q', 0,   0,   255, 255,
                                  255,  255, 254,  255, 0,   224, 255, 255, 255, 255};
  for (unsigned i = 0; i < 2; i++) {
    if (i == 0)
      write_ecg(&(struct dicom_ecg_file){.damage = DICOM_NESTED_WITHOUT_END});
    else
      write_fundus(&(struct dicom_fundus_file){.laterality = 'R', .damage = DICOM_NESTED_WITHOUT_END});
    assert_true(file.len > 20000 * sizeof(level));
    for (size_t k = 1; k <= 20000; k++)
      assert_memory_equal(file.data + file.len - k * sizeof(level), level, sizeof(level));
    assert_memory_not_equal(file.data + file.len - 20001 * sizeof(level), level, sizeof(level));
  }
}

TEST(damaged_waveforms) {
  assert_int_equal(damage_ecg(DICOM_SHORT_DATA), 0);
  expect("003a,0010", "5000 ");
  expect_samples(0, 0, 2500);
  assert_int_equal(damage_ecg(DICOM_NO_DATA), 0);
  assert_null(value("5400,1010", 0));
  assert_int_equal(damage_ecg(DICOM_BITS), 0);
  expect("5400,1004", "8 ");
  expect("5400,1006", "[SB]");
  assert_int_equal(damage_ecg(DICOM_UNKNOWN_LEAD), 0);
  expect_nth("0008,0100", 2 * ECG12_V3, "[2:999]");
  assert_int_equal(damage_ecg(DICOM_LEAD_TWICE), 0);
  expect_nth("0008,0100", 2 * ECG12_V3, "[2:4]");
  assert_int_equal(damage_ecg(DICOM_UNKNOWN_UNIT), 0);
  expect_nth("0008,0100", 2 * ECG12_V3 + 1, "[mm[Hg]]");
  assert_int_equal(damage_ecg(DICOM_NO_SENSITIVITY), 0);
  assert_null(value("003a,0210", 11));
  assert_int_equal(damage_ecg(DICOM_BAD_SENSITIVITY), 0);
  expect_nth("003a,0210", ECG12_V3, "[five]");
  assert_int_equal(damage_ecg(DICOM_NO_FREQUENCY), 0);
  assert_null(value("003a,001a", 0));
  assert_int_equal(damage_ecg(DICOM_CHANNELS), 0);
  expect("003a,0005", "11 ");
  assert_int_equal(damage_ecg(DICOM_NO_GROUP), 0);
  assert_null(value("003a,0005", 0));
  assert_non_null(value("5400,0100", 0));
}

TEST(damaged_objects) {
  assert_int_equal(damage_ecg(DICOM_OTHER_CLASS), 0);
  expect("0002,0002", "=CTImageStorage");
  expect("0008,0016", "=CTImageStorage");
  assert_int_equal(damage_ecg(DICOM_UNKNOWN_SYNTAX), 0);
  expect("0002,0010", "[1.2.840.10008.1.2.99]");
  assert_int_equal(damage_fundus(DICOM_SHORT_DATA), 0);
  assert_non_null(strstr(value("7fe0,0010", 0), "# 202, 1 PixelData")); /* half of 405, made even */
  assert_int_equal(damage_fundus(DICOM_NO_DATA), 0);
  assert_null(value("7fe0,0010", 0));
  assert_int_equal(damage_fundus(DICOM_MORE_FRAMES), 0);
  expect("0028,0008", "[3]");
  assert_int_equal(damage_fundus(DICOM_BITS), 0);
  expect("0028,0100", "16 ");
}

TEST(impossible) {
  for (unsigned d = 0; d < DICOM_DAMAGES; d++)
    assert_int_equal(file_word(dicom_damage_names[d], dicom_damage_names, DICOM_DAMAGES), d);
  ecg12_make(&ecg, 1000, 17, 5, 3, 1);
  assert_int_equal(dicom_ecg_file_make(&(struct dicom_ecg_file){.median = true}, &ecg, &file), -EINVAL);
  assert_int_equal(dicom_fundus_file_make(&(struct dicom_fundus_file){.rows = 9, .columns = 15}, &file), -EINVAL);
  assert_int_equal(dicom_fundus_file_make(&(struct dicom_fundus_file){.rows = 9, .rgb = rgb}, &file), -EINVAL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(samples),
      T(valid_ecg),
      T(channels),
      T(scales),
      T(what_it_says),
      T(native_pixels),
      T(lateralities),
      T(no_dicom),
      T(nested_without_end),
      T(damaged_waveforms),
      T(damaged_objects),
      T(encapsulated_jpeg),
      T(impossible),
  };
  int fd = mkstemp(path);
  if (fd < 0)
    return 1;
  close(fd);
  int failed = cmocka_run_group_tests_name("dicom_file", tests, NULL, NULL);
  unlink(path);
  return failed;
}
