#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "buf.h"
#include "fail_alloc.h"
#include <cmocka.h>
#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

static int add8(struct buf *b) {
  return buf_add(b, "12345678", 8);
}
static int text8(struct buf *b) {
  return buf_text(b, "12345678");
}
static int format8(struct buf *b) {
  return buf_format(b, "%s%d", "12345", 678);
}
static int hex8(struct buf *b) {
  return buf_hex(b, "\x12\x34\x56\x78", 4);
}
static int extend8(struct buf *b) {
  void *at = buf_extend(b, 8);
  if (at)
    memcpy(at, "12345678", 8);
  return b->err;
}
static int bits8(struct buf *b) {
  buf_u32le(b, 0x34333231);
  buf_u16le(b, 0x3635);
  buf_u8(b, 0x37);
  return buf_u8(b, 0x38);
}
static int long8(struct buf *b) {
  return buf_u64le(b, UINT64_C(0x3837363534333231));
}

static const struct {
  const char *name;
  int (*append)(struct buf *b); /* "12345678" */
} appends[] = {{"add", add8},       {"text", text8}, {"format", format8}, {"hex", hex8},
               {"extend", extend8}, {"bits", bits8}, {"long", long8}};

/* A full buffer takes no byte more, and everything up to the last one. */
TEST(bound) {
  for (size_t i = 0; i < COUNT(appends); i++)
    for (size_t max = 0; max < 40; max++) {
      _buf_cleanup_ struct buf b = BUF_INIT(max);
      for (size_t k = 1; k <= 5; k++) {
        int r = appends[i].append(&b);
        if (8 * k <= max) {
          if (r)
            fail_msg("%s: %d at %zu of %zu", appends[i].name, r, 8 * k, max);
          assert_int_equal(b.len, 8 * k);
          assert_memory_equal(b.data + 8 * (k - 1), "12345678", 8);
        } else {
          assert_int_equal(r, -EFBIG);
          assert_int_equal(b.err, -EFBIG);
          assert_null(b.data);
          assert_int_equal(b.len, 0);
        }
      }
      const char *text = buf_cstr(&b);
      if (max >= 40)
        assert_int_equal(strlen(text), 40);
      else
        assert_null(text);
    }
  _buf_cleanup_ struct buf full = BUF_INIT(16);
  assert_int_equal(add8(&full), 0);
  assert_int_equal(format8(&full), 0);
  assert_string_equal(buf_cstr(&full), "1234567812345678"); /* the NUL is not counted */
  assert_int_equal(full.len, 16);
  assert_int_equal(buf_add(&full, NULL, 0), 0);
  assert_int_equal(buf_text(&full, ""), 0);
  assert_int_equal(buf_format(&full, "%s", ""), 0);
  assert_int_equal(buf_u8(&full, 0), -EFBIG);
}

TEST(bound_huge) {
  static const size_t huge[] = {SIZE_MAX, SIZE_MAX - 7, SIZE_MAX / 2, 101 - 8 + 1};
  for (size_t i = 0; i < COUNT(huge); i++) { /* len + n must not wrap round */
    _buf_cleanup_ struct buf b = BUF_INIT(101);
    assert_int_equal(add8(&b), 0);
    assert_null(buf_extend(&b, huge[i]));
    assert_int_equal(b.err, -EFBIG);
  }
  _buf_cleanup_ struct buf zero = {0};
  assert_int_equal(buf_u8(&zero, 1), -EFBIG);
}

TEST(error_sticks) {
  _buf_cleanup_ struct buf b = BUF_INIT(4);
  size_t len = 77;
  assert_int_equal(add8(&b), -EFBIG);
  for (size_t i = 0; i < COUNT(appends); i++)
    assert_int_equal(appends[i].append(&b), -EFBIG);
  assert_int_equal(buf_u8(&b, 1), -EFBIG);
  assert_int_equal(buf_add(&b, "", 0), -EFBIG);
  assert_null(buf_extend(&b, 0));
  assert_null(buf_cstr(&b));
  assert_null(buf_take(&b, &len));
  assert_int_equal(len, 77);
  assert_int_equal(b.err, -EFBIG);
  buf_reset(&b);
  assert_int_equal(b.err, 0);
  assert_int_equal(buf_text(&b, "abcd"), 0);
  assert_string_equal(buf_cstr(&b), "abcd");
}

/* A character that the C locale cannot write makes printf fail. */
TEST(format_that_fails) {
  _buf_cleanup_ struct buf b = BUF_INIT(100);
  assert_int_equal(add8(&b), 0);
  assert_int_equal(buf_format(&b, "%lc", (wint_t)0x20ac), -EINVAL);
  assert_int_equal(b.err, -EINVAL);
  assert_null(b.data);
  assert_int_equal(add8(&b), -EINVAL);
}

TEST(reset_keeps_memory) {
  _buf_cleanup_ struct buf b = BUF_INIT(1000);
  for (int i = 0; i < 100; i++)
    assert_int_equal(add8(&b), 0);
  const uint8_t *data = b.data;
  buf_reset(&b);
  assert_int_equal(b.len, 0);
  assert_string_equal(buf_cstr(&b), "");
  assert_int_equal(add8(&b), 0);
  assert_ptr_equal(b.data, data);
}

/* Byte by byte through every doubling: nothing is lost when the block moves, and the NUL always has room. */
TEST(growth) {
  _buf_cleanup_ struct buf b = BUF_INIT(100000);
  for (size_t n = 0; n < 70000; n++) {
    assert_int_equal(buf_u8(&b, (uint8_t)(n % 251)), 0);
    assert_true(b.cap > b.len);
    if (n < 300)
      assert_int_equal(buf_cstr(&b)[n + 1], 0);
  }
  for (size_t n = 0; n < 70000; n++)
    if (b.data[n] != n % 251)
      fail_msg("byte %zu", n);
  for (size_t n = 0; n < 300; n++) { /* every first size */
    _buf_cleanup_ struct buf c = BUF_INIT(n);
    void *at = buf_extend(&c, n);
    assert_non_null(at);
    memset(at, 'a', n);
    assert_int_equal(strlen(buf_cstr(&c)), n);
    _buf_cleanup_ struct buf d = BUF_INIT(n);
    assert_int_equal(buf_format(&d, "%*s", (int)n, ""), 0);
    assert_int_equal(d.len, n);
    assert_int_equal(strlen(buf_cstr(&d)), n);
  }
}

TEST(numbers) {
  _buf_cleanup_ struct buf b = BUF_INIT(100);
  static const uint8_t want[] = {0xfe, 0x02, 0xff, 0x04, 0x03, 0x02, 0xf1, 0x08,
                                 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x81};
  assert_int_equal(buf_u8(&b, 0xfe), 0);
  assert_int_equal(buf_u16le(&b, 0xff02), 0);
  assert_int_equal(buf_u32le(&b, 0xf1020304), 0);
  assert_int_equal(buf_u64le(&b, UINT64_C(0x8102030405060708)), 0);
  assert_int_equal(b.len, sizeof want);
  assert_memory_equal(b.data, want, sizeof want);
  buf_reset(&b);
  assert_int_equal(buf_hex(&b, "\x00\x0f\xf0\xff\xa5", 5), 0);
  assert_string_equal(buf_cstr(&b), "000ff0ffa5");
  assert_int_equal(buf_hex(&b, NULL, 0), 0);
  assert_int_equal(b.len, 10);
}

TEST(take) {
  struct buf b = BUF_INIT(100);
  size_t len = 77;
  assert_null(buf_take(&b, &len)); /* nothing was added */
  assert_int_equal(len, 77);
  assert_int_equal(add8(&b), 0);
  uint8_t *data = buf_take(&b, &len);
  assert_int_equal(len, 8);
  assert_memory_equal(data, "12345678", 8);
  assert_null(b.data);
  assert_int_equal(b.len, 0);
  assert_int_equal(text8(&b), 0); /* and it serves again */
  assert_memory_equal(data, "12345678", 8);
  free(data);
  buf_finish(&b);
  buf_finish(&b); /* twice is once */
  buf_finish(NULL);
  len = 77;
  assert_string_equal(buf_cstr(&b), ""); /* an empty text is not a byte */
  assert_null(buf_take(&b, &len));
  assert_int_equal(len, 77);
  assert_int_equal(buf_add(&b, "", 0), 0);
  assert_null(buf_take(&b, &len));
  assert_int_equal(len, 77);
}

TEST(no_memory) {
  if (!fail_alloc_works())
    skip();
  for (size_t i = 0; i < COUNT(appends); i++)
    for (int later = 0; later < 2; later++) {
      long before = fail_alloc_live();
      struct buf b = BUF_INIT(1000);
      if (later)
        for (int k = 0; k < 7; k++) /* 56 of the first 64 bytes: the next 8 need more */
          assert_int_equal(add8(&b), 0);
      fail_alloc_set(1, false);
      int r = appends[i].append(&b);
      fail_alloc_set(0, false);
      assert_int_equal(r, -ENOMEM);
      assert_int_equal(b.err, -ENOMEM);
      assert_null(b.data);
      assert_int_equal(add8(&b), -ENOMEM);
      assert_null(buf_cstr(&b));
      assert_int_equal(fail_alloc_live(), before);
      buf_finish(&b);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bound),
      cmocka_unit_test(bound_huge),
      cmocka_unit_test(error_sticks),
      cmocka_unit_test(format_that_fails),
      cmocka_unit_test(reset_keeps_memory),
      cmocka_unit_test(growth),
      cmocka_unit_test(numbers),
      cmocka_unit_test(take),
      cmocka_unit_test(no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
