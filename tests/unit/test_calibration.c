/* The calibration log: what passes, what holds, for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"
#include "calibration.h"
#include "wall.h"

static const struct caller nurse = {.name = "ines", .role = ROLE_NURSE};
static const struct conf_device device = {.id = "spiro1", .calibration = CALIBRATION_WARN, .calibration_hours = 24};

static enum problem add(struct store_bed *b, const char *id, int32_t syringe, const int32_t *ml, unsigned n,
                        bool *ret_passed) {
  bed_begin(b);
  enum problem p = calibration_add(b->store, &nurse, id, syringe, ml, n, NULL, ret_passed);
  if (p == P_OK)
    bed_keep(b);
  else
    store_undo(b->store);
  return p;
}

static struct calibration found(struct store_bed *b, const struct conf_device *d, int64_t now) {
  struct calibration c;
  assert_int_equal(calibration_find(b->store, d, now, &c), 0);
  return c;
}

static void test_tolerance(void **state) {
  struct store_bed *b = *state;
  bool passed;
  /* 3 % of 3 L is 90 mL, to the millilitre. */
  assert_int_equal(add(b, "spiro1", 3000, (int32_t[]){2910, 3090, 3000}, 3, &passed), P_OK);
  assert_true(passed);
  assert_int_equal(add(b, "spiro1", 3000, (int32_t[]){2909, 3000, 3000}, 3, &passed), P_OK);
  assert_false(passed);
  assert_int_equal(add(b, "spiro1", 3000, (int32_t[]){3000, 3000, 3091}, 3, &passed), P_OK);
  assert_false(passed);
  assert_int_equal(add(b, "spiro1", 1000, (int32_t[]){970, 1030, 1000, 1001}, 4, &passed), P_OK);
  assert_true(passed);
  assert_int_equal(add(b, "spiro1", 3000, (int32_t[]){3000, 3000}, 2, &passed), P_invalid_field);
  assert_int_equal(add(b, "spiro1", 3000, (int32_t[]){3000, 3000, -1}, 3, &passed), P_invalid_field);
  assert_int_equal(add(b, "spiro1", 3000, (int32_t[]){3000, 3000, INT32_MAX}, 3, &passed), P_invalid_field);
  assert_int_equal(add(b, "spiro1", 0, (int32_t[]){0, 0, 0}, 3, &passed), P_invalid_field);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM calibration"), 4);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'calibration'"), 4);
}

static void test_state(void **state) {
  struct store_bed *b = *state;
  struct conf_device off = device;
  int64_t now = wall_now().us, day = 24 * 3600 * WALL_SECOND;
  bool passed;
  off.calibration = CALIBRATION_OFF;
  assert_int_equal(found(b, &device, now).state, CALIBRATION_MISSING);
  assert_int_equal(found(b, &off, now).state, CALIBRATION_UNUSED);
  assert_int_equal(add(b, "other", 3000, (int32_t[]){3000, 3000, 3000}, 3, &passed), P_OK);
  assert_int_equal(found(b, &device, now).state, CALIBRATION_MISSING); /* another instrument's does not count */
  assert_int_equal(add(b, "spiro1", 3000, (int32_t[]){3000, 3000, 3000}, 3, &passed), P_OK);
  struct calibration c = found(b, &device, now);
  assert_int_equal(c.state, CALIBRATION_VALID);
  assert_int_equal(c.due, c.at + day);
  assert_int_equal(found(b, &device, c.due).state, CALIBRATION_VALID);
  assert_int_equal(found(b, &device, c.due + 1).state, CALIBRATION_OVERDUE);
  /* The newest counts: one that failed is not mended by an older one that passed. */
  assert_int_equal(add(b, "spiro1", 3000, (int32_t[]){2000, 3000, 3000}, 3, &passed), P_OK);
  assert_int_equal(found(b, &device, now).state, CALIBRATION_FAILED);
}

static void test_list(void **state) {
  struct store_bed *b = *state;
  json_t *list;
  bool passed;
  assert_int_equal(add(b, "spiro1", 3000, (int32_t[]){2990, 3000, 3010}, 3, &passed), P_OK);
  assert_int_equal(add(b, "spiro1", 3000, (int32_t[]){2000, 3000, 3010}, 3, &passed), P_OK);
  assert_int_equal(calibration_list(b->store, "spiro1", 10, &list), 0);
  assert_int_equal(json_array_size(list), 2);
  const json_t *newest = json_array_get(list, 0);
  assert_string_equal(json_text(newest, "id"), "C-2");
  assert_true(json_is_false(json_object_get(newest, "passed")));
  assert_int_equal(json_integer_value(json_array_get(json_object_get(newest, "measured_ml"), 0)), 2000);
  assert_string_equal(json_text(newest, "by"), "ines");
  json_decref(list);
  assert_int_equal(calibration_list(b->store, "spiro1", 1, &list), 0);
  assert_int_equal(json_array_size(list), 1);
  json_decref(list);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, bed_setup, bed_teardown)
  const struct CMUnitTest tests[] = {TEST(tolerance), TEST(state), TEST(list)};
  return cmocka_run_group_tests_name("calibration", tests, NULL, NULL);
}
