#include "crc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* As the definition says, bit by bit. */
static uint16_t slow(uint16_t crc, const uint8_t *bytes, size_t n) {
  for (size_t i = 0; i < n; i++)
    for (int bit = 7; bit >= 0; bit--) {
      unsigned top = ((unsigned)crc >> 15 ^ (unsigned)bytes[i] >> bit) & 1u;
      crc = (uint16_t)(crc << 1 ^ (top ? 0x1021 : 0));
    }
  return crc;
}

static void test_check_value(void **state) {
  (void)state;
  assert_int_equal(crc16_ccitt(CRC16_CCITT_FALSE_INIT, "123456789", 9), 0x29b1);
  assert_int_equal(crc16_ccitt(CRC16_CCITT_FALSE_INIT, "", 0), 0xffff);
  assert_int_equal(crc16_ccitt(crc16_ccitt(CRC16_CCITT_FALSE_INIT, "1234", 4), "56789", 5), 0x29b1);
}

static void test_every_row(void **state) {
  (void)state;
  for (unsigned byte = 0; byte < 256; byte++)
    for (unsigned crc = 0; crc < 0x10000; crc += 0x0f0d) {
      uint8_t b = (uint8_t)byte;
      assert_int_equal(crc16_ccitt((uint16_t)crc, &b, 1), slow((uint16_t)crc, &b, 1));
    }
}

/* Long runs take another way than single bytes. */
static void test_long_runs(void **state) {
  (void)state;
  uint8_t bytes[300];
  for (unsigned i = 0; i < sizeof bytes; i++)
    bytes[i] = (uint8_t)(i * 151 + (i >> 3));
  for (size_t n = 0; n <= sizeof bytes; n++)
    for (uint32_t crc = 0; crc < 0x10000; crc += 0x3337)
      assert_int_equal(crc16_ccitt((uint16_t)crc, bytes, n), slow((uint16_t)crc, bytes, n));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_check_value), cmocka_unit_test(test_every_row),
                                     cmocka_unit_test(test_long_runs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
