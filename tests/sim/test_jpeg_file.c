/*
 * JPEG files with EXIF: the segment byte by byte, then through the daemon's reader of picture files.
 */
#include "jpeg_file.h"

#include "picture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define TEST(name) static void name(void **state __attribute__((unused)))

static struct buf file;
static struct jpeg_options o;

static void make(void) {
  buf_finish(&file);
  file = BUF_INIT(1u << 24);
  assert_int_equal(jpeg_file_make(&o, &file), 0);
}

static struct picture read_it(void) {
  struct picture p;
  picture_read(file.data, file.len, &p);
  return p;
}

static int setup(void **state __attribute__((unused))) {
  o = (struct jpeg_options){.width = 64, .height = 48, .make = "Canon", .model = "CR2", .taken = "2026:05:04 10:30:07"};
  return 0;
}

static int teardown(void **state __attribute__((unused))) {
  buf_finish(&file);
  return 0;
}

/* SOI and JFIF's segment take 20 bytes. */
TEST(little_endian) {
  static const uint8_t wanted[] = {
      0xFF, 0xE1, 0,    102,  'E', 'x', 'i', 'f', 0,   0,   'I', 'I', 42, 0, 8, 0, 0, 0, 3, 0, /* 10 */
      0x0F, 1,    2,    0,    6,   0,   0,   0,   50,  0,   0,   0,                       /* 20: the make, behind */
      0x10, 1,    2,    0,    4,   0,   0,   0,   'C', 'R', '2', 0,                       /* the model, in the entry */
      0x69, 0x87, 4,    0,    1,   0,   0,   0,   56,  0,   0,   0,                       /* EXIF's own fields */
      0,    0,    0,    0,    'C', 'a', 'n', 'o', 'n', 0,                                 /* 46: no more; 50 */
      1,    0,    0x03, 0x90, 2,   0,   20,  0,   0,   0,   74,  0,   0,  0, 0, 0, 0, 0}; /* 56 */
  make();
  assert_memory_equal(file.data + 20, wanted, sizeof(wanted));
  assert_memory_equal(file.data + 20 + sizeof(wanted), "2026:05:04 10:30:07", 20);
  assert_int_equal(sizeof(wanted) + 20, 2 + 102);
}

TEST(big_endian) {
  static const uint8_t wanted[] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 3, 1, 0x0F, 0, 2, 0, 0, 0, 6, 0, 0, 0, 50};
  o.big = true;
  make();
  assert_memory_equal(file.data + 30, wanted, sizeof(wanted));
}

TEST(as_the_daemon_reads_it) {
  for (int big = 0; big < 2; big++) {
    int64_t us;
    o.big = big;
    make();
    struct picture p = read_it();
    assert_int_equal(p.format, PICTURE_JPEG);
    assert_true(p.whole && p.timed);
    assert_int_equal(p.width, 64);
    assert_int_equal(p.height, 48);
    assert_string_equal(p.make, "Canon");
    assert_string_equal(p.model, "CR2");
    assert_int_equal(acq_clock_to_us(&(struct acq_clock){2026, 5, 4, 10, 30, 7, 0}, &us), 0);
    assert_int_equal(p.clock_us, us);
  }
}

TEST(what_is_not_said) {
  o.make = o.model = o.taken = NULL;
  o.description = "MARK";
  make();
  struct picture p = read_it();
  assert_true(p.whole && !p.timed && !p.make[0] && !p.model[0]);
  assert_non_null(memmem(file.data, 200, "MARK", 5));
  o.no_exif = true;
  make();
  assert_null(memmem(file.data, file.len, "Exif", 4));
  assert_true(read_it().whole);
}

TEST(damage) {
  o.damage = JPEG_CUT;
  make();
  assert_false(read_it().whole);
  for (o.damage = JPEG_EXIF_LOOP; o.damage < JPEG_DAMAGES; o.damage++) { /* the picture is whole all the same */
    make();
    struct picture p = read_it();
    assert_true(p.whole && !p.timed);
  }
}

TEST(no_such_picture) {
  o.width = 1;
  assert_int_equal(jpeg_file_make(&o, &file), -EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(little_endian, setup, teardown),
      cmocka_unit_test_setup_teardown(big_endian, setup, teardown),
      cmocka_unit_test_setup_teardown(as_the_daemon_reads_it, setup, teardown),
      cmocka_unit_test_setup_teardown(what_is_not_said, setup, teardown),
      cmocka_unit_test_setup_teardown(damage, setup, teardown),
      cmocka_unit_test_setup_teardown(no_such_picture, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
