/*
 * .ECG files of the ECG90A, byte by byte from the format's description, and beside a real one where it is there.
 */
#include "ecg90a_file.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEST(name) static void name(void **state __attribute__((unused)))

static struct ecg12 ecg;
static struct buf file;
static struct ecg90a_options o;

static void make(void) {
  buf_finish(&file);
  file = BUF_INIT(1u << 24);
  assert_int_equal(ecg90a_file_make(&o, &ecg, &file), 0);
}

static unsigned value(size_t row, unsigned lead) {
  size_t at = 43 + 16 * row + 2 * lead;
  assert_true(at + 2 <= file.len);
  return file.data[at] | (unsigned)file.data[at + 1] << 8;
}

static int setup(void **state __attribute__((unused))) {
  ecg12_make(&ecg, 800, 2, 1, 2, 1);
  o = (struct ecg90a_options){.taken = {2026, 5, 4, 10, 30, 7}};
  return 0;
}

static int teardown(void **state __attribute__((unused))) {
  buf_finish(&file);
  return 0;
}

TEST(header) {
  o.name = "Dupont-Durand";
  o.case_id = "12345";
  o.sex = 'F';
  o.age = 61;
  o.weight_kg = 70;
  make();
  assert_memory_equal(file.data,
                      "12345\0\0\0\0\0"
                      "2026-05-04 10:30:07\0\0\0Dupont-\0\0\x3D\x46",
                      43);
  o.sex = 'M';
  make();
  assert_int_equal(file.data[40], 1);
  o.sex = 0;
  o.taken.year = 0;
  o.name = NULL;
  make();
  assert_int_equal(file.data[40], 255);
  static const uint8_t none[30] = {0};
  assert_memory_equal(file.data + 10, none, 30);
}

TEST(impossible_date_stands_there) {
  o.taken = (struct file_clock){2026, 2, 31, 25, 61, 61};
  make();
  assert_memory_equal(file.data + 10, "2026-02-31 25:61:61", 20);
  o.damage = ECG90A_WORDS_DATE;
  make();
  assert_memory_equal(file.data + 10, "yesterday at noon\0\0", 20);
}

TEST(rows) {
  static const enum ecg12_lead order[8] = {ECG12_II, ECG12_III, ECG12_V1, ECG12_V2,
                                           ECG12_V3, ECG12_V4,  ECG12_V5, ECG12_V6};
  make();
  assert_int_equal(file.len, 80 + 16 * ecg.n);
  for (size_t i = 0; i < ecg.n; i++)
    for (unsigned k = 0; k < 8; k++)
      assert_int_equal((int)value(i, k) - 2048, ecg.lead[order[k]][i]);
  for (unsigned k = 0; k < 8; k++)
    assert_int_equal(value(ecg.n, k), 0);
}

TEST(electrodes_off) {
  o.off = 0x84; /* V1, V6 */
  o.off_some = 0x01;
  o.off_from = 100;
  o.off_end = 200;
  make();
  for (size_t i = 0; i < ecg.n; i++)
    for (unsigned k = 0; k < 8; k++)
      assert_int_equal(value(i, k) == 0x6800, k == 2 || k == 7 || (k == 0 && i >= 100 && i < 200));
}

TEST(damage) {
  size_t whole = 80 + 16 * ecg.n;
  o.damage = ECG90A_CUT_ROW;
  make();
  assert_int_equal((file.len - 43) % 16, 11);
  o.damage = ECG90A_NO_END;
  make();
  assert_int_equal(file.len, whole - 37);
  o.damage = ECG90A_SHORT;
  make();
  assert_true(file.len < 43);
  o.damage = ECG90A_NO_ROWS;
  make();
  assert_int_equal(file.len, 80);
  o.damage = ECG90A_EARLY_END;
  make();
  for (unsigned k = 0; k < 8; k++)
    assert_int_equal(value(ecg.n / 2, k), 0);
  assert_int_not_equal(value(ecg.n / 2 + 1, 0), 0);
  assert_int_equal(file.len, whole);
  o.damage = ECG90A_WILD_VALUE;
  make();
  assert_int_equal(value(ecg.n / 2, 2), 0x7FFF);
}

TEST(another_rate) {
  ecg12_make(&ecg, 500, 2, 1, 2, 1);
  assert_int_equal(ecg90a_file_make(&o, &ecg, &file), -EINVAL);
}

/* All that is not the recording itself is as in the real file. */
TEST(real_file) {
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[PATH_MAX];
  static uint8_t real[1 << 20];
  snprintf(path, sizeof(path), "%s/contec_ecg90a/0000050.ECG", folder ? folder : "../shared/samples");
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("no real recording at %s\n", path);
    skip();
  }
  size_t n = fread(real, 1, sizeof(real), f);
  fclose(f);
  assert_int_equal(n, 605760);
  o.taken = (struct file_clock){2020, 11, 16, 21, 44, 39};
  o.case_id = "0000050";
  o.off = 0xFC;
  make();
  assert_memory_equal(file.data, real, 43);
  assert_memory_equal(file.data + file.len - 37, real + n - 37, 37);
  for (size_t i = 0; i < (n - 80) / 16; i++) /* V1..V6 were not connected */
    for (unsigned k = 2; k < 8; k++)
      assert_int_equal(real[43 + 16 * i + 2 * k] | real[43 + 16 * i + 2 * k + 1] << 8, value(0, k));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(header, setup, teardown),
      cmocka_unit_test_setup_teardown(impossible_date_stands_there, setup, teardown),
      cmocka_unit_test_setup_teardown(rows, setup, teardown),
      cmocka_unit_test_setup_teardown(electrodes_off, setup, teardown),
      cmocka_unit_test_setup_teardown(damage, setup, teardown),
      cmocka_unit_test_setup_teardown(another_rate, setup, teardown),
      cmocka_unit_test_setup_teardown(real_file, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
