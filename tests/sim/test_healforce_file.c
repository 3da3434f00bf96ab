/*
 * .SCP files of the Prince 180, from the format's description, and beside a real one where it is there.
 */
#include "healforce_file.h"

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
static struct healforce_options o;
static size_t samples;

static void make(void) {
  buf_finish(&file);
  file = BUF_INIT(1u << 20);
  assert_int_equal(healforce_file_make(&o, &ecg, &file, &samples), 0);
}

static unsigned u16(const uint8_t *at) {
  return at[0] | (unsigned)at[1] << 8;
}

static unsigned u32(const uint8_t *at) {
  return u16(at) | u16(at + 2) << 16;
}

/* CRC-16/XMODEM: bit by bit into a register that starts with 0. */
static unsigned crc(const uint8_t *bytes, size_t n) {
  unsigned r = 0;
  for (size_t i = 0; i < 8 * n + 16; i++) {
    unsigned in = i < 8 * n ? (unsigned)bytes[i / 8] >> (7 - i % 8) & 1 : 0, out = r >> 15;
    r = (r << 1 | in) & 0xFFFF;
    if (out)
      r ^= 0x1021;
  }
  return r;
}

/* Where section `id` begins; its own length. */
static const uint8_t *section(const uint8_t *bytes, unsigned id, size_t *ret_pointer_n) {
  for (unsigned i = 0; i < 6; i++) {
    const uint8_t *p = bytes + 22 + 10 * i;
    if (u16(p) != id)
      continue;
    *ret_pointer_n = u32(p + 2);
    return bytes + u32(p + 6);
  }
  return NULL;
}

/* The k-th sample of the stream, in steps of 10 uV; *ret_marks its bits 14 and 15. */
static int sample(const uint8_t *stream, size_t k, unsigned *ret_marks) {
  const uint8_t *group = stream + k / 4 * 6;
  unsigned fourth = 0;
  for (unsigned i = 0; i < 3; i++)
    fourth = fourth << 4 | (u16(group + 2 * i) >> 10 & 15);
  unsigned v = k % 4 == 3 ? fourth : u16(group + 2 * (k % 4));
  *ret_marks = k % 4 == 3 ? 0 : v >> 14;
  return (int)(v >> 8 & 3) * 256 - 512 + (int)(v & 255);
}

/* A real file has these right, and ours. */
static void expect_crcs(const uint8_t *bytes) {
  static const unsigned ids[] = {0, 1, 2, 3, 6};
  for (unsigned i = 0; i < 5; i++) {
    size_t n;
    const uint8_t *at = section(bytes, ids[i], &n);
    assert_non_null(at);
    assert_int_equal(u16(at + 2), ids[i]);
    assert_int_equal(ids[i] == 6 ? at[0] << 8 | at[1] : (int)u16(at), (int)crc(at + 2, n - 2));
  }
  assert_int_equal(bytes[0] << 8 | bytes[1], (int)crc(bytes + 2, u16(bytes + 4) - 2));
}

static int setup(void **state __attribute__((unused))) {
  ecg12_make(&ecg, 150, 10, 1, 2, 1);
  o = (struct healforce_options){
      .taken = {2019, 8, 8, 0, 4, 10}, .leads = {ECG12_I, ECG12_II, ECG12_III}, .n_leads = 1};
  return 0;
}

static int teardown(void **state __attribute__((unused))) {
  buf_finish(&file);
  return 0;
}

TEST(check_value) {
  assert_int_equal(crc((const uint8_t *)"123456789", 9), 0x31C3);
}

TEST(structure) {
  size_t n;
  make();
  expect_crcs(file.data);
  assert_int_equal(file.len, 32768);
  assert_int_equal(section(file.data, 0, &n) - file.data, 6);
  const uint8_t *patient = section(file.data, 1, &n) + 16;
  assert_int_equal(n, 66);
  assert_memory_equal(patient,
                      "\x02\x1E\0"
                      "00000",
                      8);
  assert_memory_equal(patient + 33, "\x19\x04\0\x07\xE3\x08\x08\x1A\x03\0\0\x04\x0A\0\0\0\0", 17);
  const uint8_t *rhythm = section(file.data, 6, &n);
  assert_int_equal(n, 27024);
  assert_int_equal(u32(rhythm + 4), 16 + 8 + 1500 / 4 * 6);
  assert_int_equal(u16(rhythm + 22), 1500 / 4 * 6);
}

TEST(four_samples_by_hand) { /* 0, 1, -1, 300 steps of 10 uV: 0x200, 0x201, 0x1FF, 0x32C = nibbles 3, 2, C */
  size_t n;
  memcpy(ecg.lead[ECG12_I], (const int16_t[]){0, 2, -2, 600}, 8);
  ecg.n_beats = 1;
  ecg.beat[0].fiducial = 1;
  o.irregular_every = 1;
  make();
  assert_memory_equal(section(file.data, 6, &n) + 24, "\x00\x0E\x01\xCA\xFF\x31", 6);
}

TEST(rounding) {
  memcpy(ecg.lead[ECG12_I], (const int16_t[]){3, -3, 4, -4}, 8);
  memcpy(ecg.lead[ECG12_AVL], (const int16_t[]){5, 6, -6, -5}, 8);
  for (unsigned i = 0; i < 4; i++) {
    assert_int_equal(healforce_step(&ecg, ECG12_I, i), ((const int[]){2, -2, 2, -2})[i]);
    assert_int_equal(healforce_step(&ecg, ECG12_AVL, i), ((const int[]){1, 2, -2, -1})[i]);
  }
}

TEST(streams) {
  for (o.n_leads = 1; o.n_leads <= 3; o.n_leads++) {
    size_t n, beats = 0;
    o.irregular_every = 2;
    make();
    const uint8_t *stream = section(file.data, 6, &n) + 24;
    assert_int_equal(samples, ecg.n);
    assert_int_equal(section(file.data, 3, &n)[16], o.n_leads);
    for (size_t k = 0; k < samples * o.n_leads; k++) {
      unsigned marks;
      size_t i = k / o.n_leads;
      assert_int_equal(sample(stream, k, &marks), healforce_step(&ecg, o.leads[k % o.n_leads], i));
      beats += beats < ecg.n_beats && i > ecg.beat[beats].fiducial;
      bool here = beats < ecg.n_beats && i == ecg.beat[beats].fiducial && k % 4 != 3;
      assert_int_equal(marks, here ? 2u + beats % 2 : 0);
    }
  }
}

TEST(no_more_than_fits) {
  ecg12_make(&ecg, 150, 200, 1, 2, 1);
  make();
  assert_int_equal(samples, 18000);
  assert_int_equal(file.len, 32768);
  expect_crcs(file.data);
  ecg.n = 7;
  make();
  assert_int_equal(samples, 4);
}

TEST(damage) {
  size_t n;
  make();
  uint8_t *sound = malloc(file.len);
  assert_non_null(sound);
  memcpy(sound, file.data, file.len);
  for (unsigned d = HEALFORCE_SOUND + 1; d < HEALFORCE_DAMAGES; d++) {
    o.damage = (enum healforce_damage)d;
    make();
    assert_true(file.len < 32768 || memcmp(file.data, sound, file.len) != 0);
    if (d != HEALFORCE_CUT && d != HEALFORCE_FILE_CRC)
      assert_int_equal(file.data[0] << 8 | file.data[1], (int)crc(file.data + 2, u16(file.data + 4) - 2));
  }
  free(sound);
  o.damage = HEALFORCE_NO_RHYTHM;
  make();
  assert_null(section(file.data, 6, &n));
  o.damage = HEALFORCE_POINTER_OUTSIDE;
  make();
  assert_int_equal(section(file.data, 6, &n) - file.data, file.len);
  o.damage = HEALFORCE_ODD_STREAM;
  make();
  assert_int_equal(u16(section(file.data, 6, &n) + 22) % 6, 4);
  o.damage = HEALFORCE_CUT;
  make();
  assert_true(file.len > 488 + 24 && file.len < 488 + 24 + 2250);
}

TEST(another_rate) {
  ecg12_make(&ecg, 500, 2, 1, 2, 1);
  assert_int_equal(healforce_file_make(&o, &ecg, &file, NULL), -EINVAL);
}

/* What of it is understood is as in the real file, and where. */
TEST(real_file) {
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[PATH_MAX];
  static uint8_t real[32768];
  size_t n;
  snprintf(path, sizeof(path), "%s/healforce/prince180d_62.SCP", folder ? folder : "../shared/samples");
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("no real recording at %s\n", path);
    skip();
  }
  n = fread(real, 1, sizeof(real), f);
  fclose(f);
  assert_int_equal(n, sizeof(real));
  expect_crcs(real);
  ecg12_make(&ecg, 150, 30, 1, 2, 1);
  o.n_leads = 3;
  make();
  assert_memory_equal(file.data + 2, real + 2, 488 - 2); /* lengths, pointers, sections 0 to 3 */
  assert_memory_equal(file.data + 490, real + 490, 22);  /* and of section 6 all but its data: 30 s of three leads */
  unsigned beats = 0;
  long jumps = 0;
  for (size_t k = 3; k < 13500; k++) { /* a curve: neighbours of the same lead are near each other */
    unsigned marks;
    int now = sample(real + 512, k, &marks), before;
    beats += marks >> 1;
    before = sample(real + 512, k - 3, &marks);
    jumps += abs(now - before);
  }
  assert_true(jumps / 13497 < 10);
  assert_in_range(beats, 30, 120);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(check_value, setup, teardown),
      cmocka_unit_test_setup_teardown(structure, setup, teardown),
      cmocka_unit_test_setup_teardown(four_samples_by_hand, setup, teardown),
      cmocka_unit_test_setup_teardown(rounding, setup, teardown),
      cmocka_unit_test_setup_teardown(streams, setup, teardown),
      cmocka_unit_test_setup_teardown(no_more_than_fits, setup, teardown),
      cmocka_unit_test_setup_teardown(damage, setup, teardown),
      cmocka_unit_test_setup_teardown(another_rate, setup, teardown),
      cmocka_unit_test_setup_teardown(real_file, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
