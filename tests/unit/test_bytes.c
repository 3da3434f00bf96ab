#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <asalee/bytes.h>
#include <cmocka.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

/* Every reader as a number, so that one table drives them all. */
static uint64_t u8(struct acq_cur *c) {
  return acq_u8(c);
}
static uint64_t u16le(struct acq_cur *c) {
  return acq_u16le(c);
}
static uint64_t u16be(struct acq_cur *c) {
  return acq_u16be(c);
}
static uint64_t u24le(struct acq_cur *c) {
  return acq_u24le(c);
}
static uint64_t u32le(struct acq_cur *c) {
  return acq_u32le(c);
}
static uint64_t u32be(struct acq_cur *c) {
  return acq_u32be(c);
}
static uint64_t u64le(struct acq_cur *c) {
  return acq_u64le(c);
}
static uint64_t of_dec(struct dec d) {
  return (uint64_t)(uint32_t)d.mantissa << 8 | (uint8_t)d.exponent;
}
static uint64_t sfloat(struct acq_cur *c) {
  return of_dec(acq_sfloat(c));
}
static uint64_t dfloat(struct acq_cur *c) {
  return of_dec(acq_float(c));
}

static const struct {
  const char *name;
  uint64_t (*read)(struct acq_cur *c);
  size_t n;
  uint64_t value; /* of f1 f2 f3 f4 .. */
  uint64_t ones;  /* of 01 02 03 04 .. */
} readers[] = {
    {"u8", u8, 1, 0xf1, 0x01},
    {"u16le", u16le, 2, 0xf2f1, 0x0201},
    {"u16be", u16be, 2, 0xf1f2, 0x0102},
    {"u24le", u24le, 3, 0xf3f2f1, 0x030201},
    {"u32le", u32le, 4, 0xf4f3f2f1, 0x04030201},
    {"u32be", u32be, 4, 0xf1f2f3f4, 0x01020304},
    {"u64le", u64le, 8, UINT64_C(0xf8f7f6f5f4f3f2f1), UINT64_C(0x0807060504030201)},
    {"sfloat", sfloat, 2, 0x1f2ff, 0x10200}, /* {498, -1}, {258, 0} */
    {"float", dfloat, 4, UINT64_C(0xfff2f3f4f1), 0x02030401},
};

/* A copy whose end is the end of its block, so that a read past it is seen. */
static uint8_t *bytes_from(uint8_t first, size_t n) {
  uint8_t *p = malloc(n ? n : 1);
  assert_non_null(p);
  for (size_t i = 0; i < n; i++)
    p[i] = (uint8_t)(first + i);
  return p;
}

TEST(values) {
  for (size_t i = 0; i < COUNT(readers); i++)
    for (int low = 0; low < 2; low++)
      for (size_t extra = 0; extra < 3; extra++) {
        uint8_t *p = bytes_from(low ? 1 : 0xf1, readers[i].n + extra);
        struct acq_cur c = acq_cur(p, readers[i].n + extra);
        uint64_t v = readers[i].read(&c);
        assert_int_equal(c.err, 0);
        assert_int_equal(v, low ? readers[i].ones : readers[i].value);
        assert_ptr_equal(c.at, p + readers[i].n);
        assert_int_equal(acq_left(&c), extra);
        assert_int_equal(acq_end(&c), extra ? -EPROTO : 0);
        free(p);
      }
}

/* Cut before its end a number is 0, the error stays, and nothing can be read any more. */
TEST(cut) {
  for (size_t i = 0; i < COUNT(readers); i++) {
    for (size_t n = 0; n < readers[i].n; n++) {
      uint8_t *p = bytes_from(0xf1, n);
      struct acq_cur c = acq_cur(p, n);
      assert_int_equal(readers[i].read(&c), 0);
      assert_int_equal(c.err, -EPROTO);
      assert_ptr_equal(c.at, p);
      assert_int_equal(acq_left(&c), 0);
      for (size_t j = 0; j < COUNT(readers); j++)
        assert_int_equal(readers[j].read(&c), 0);
      assert_null(acq_bytes(&c, 0));
      assert_null(acq_bytes(&c, 1));
      assert_int_equal(acq_end(&c), -EPROTO);
      acq_refuse(&c, -ERANGE);
      assert_int_equal(c.err, -EPROTO);
      free(p);
    }
  }
}

/* A structure of every kind of field, cut at every byte: whole only when it is whole, and the fields before the cut
 * are right. */
TEST(structure_cut_everywhere) {
  size_t whole = 0;
  for (size_t i = 0; i < COUNT(readers); i++)
    whole += readers[i].n;
  for (size_t n = 0; n <= whole + 2; n++) {
    uint8_t *p = bytes_from(0xe0, n); /* exponents in range where the numbers lie */
    struct acq_cur c = acq_cur(p, n);
    size_t at = 0;
    for (size_t i = 0; i < COUNT(readers); i++) {
      struct acq_cur alone = acq_cur(p + (at <= n ? at : n), at + readers[i].n <= n ? readers[i].n : 0);
      uint64_t want = at + readers[i].n <= n ? readers[i].read(&alone) : 0, got = readers[i].read(&c);
      assert_int_equal(got, want);
      at += readers[i].n;
      assert_int_equal(c.err, at <= n ? 0 : -EPROTO);
    }
    assert_int_equal(acq_end(&c), n == whole ? 0 : -EPROTO);
    free(p);
  }
}

TEST(bytes_and_lengths) {
  static const uint8_t three[] = {7, 8, 9};
  for (size_t n = 0; n <= sizeof three; n++)
    for (size_t ask = 0; ask <= sizeof three + 1; ask++) {
      struct acq_cur c = acq_cur(three, n);
      const uint8_t *p = acq_bytes(&c, ask);
      if (ask <= n) {
        assert_ptr_equal(p, three);
        assert_int_equal(c.err, 0);
        assert_int_equal(acq_left(&c), n - ask);
      } else {
        assert_null(p);
        assert_int_equal(c.err, -EPROTO);
        assert_int_equal(acq_left(&c), 0);
      }
    }
  static const size_t huge[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 2, SIZE_MAX / 2, SIZE_MAX / 2 + 1, (size_t)1 << 32};
  for (size_t i = 0; i < COUNT(huge); i++) { /* at + n must not wrap round */
    struct acq_cur c = acq_cur(three, sizeof three);
    assert_int_equal(acq_u8(&c), 7);
    assert_null(acq_bytes(&c, huge[i]));
    assert_int_equal(c.err, -EPROTO);
    struct acq_cur d = acq_cur(three, sizeof three), s = acq_sub(&d, huge[i]);
    assert_int_equal(d.err, -EPROTO);
    assert_int_equal(s.err, -EPROTO);
  }
  struct acq_cur c = acq_cur(three, 0);
  assert_ptr_equal(acq_bytes(&c, 0), three);
  assert_int_equal(acq_end(&c), 0);
}

TEST(refuse) {
  static const uint8_t one[] = {0xaa};
  struct acq_cur c = acq_cur(one, 1);
  acq_refuse(&c, 0);
  assert_int_equal(c.err, 0);
  acq_refuse(&c, -EBADMSG);
  acq_refuse(&c, -ERANGE);
  assert_int_equal(c.err, -EBADMSG);
  assert_int_equal(acq_u8(&c), 0);
  assert_int_equal(acq_left(&c), 0);
  assert_int_equal(acq_end(&c), -EBADMSG);
}

TEST(sub) {
  for (size_t n = 0; n <= 6; n++) { /* of six bytes, n go below */
    uint8_t *p = bytes_from(1, 6);
    struct acq_cur c = acq_cur(p, 6), s = acq_sub(&c, n);
    assert_int_equal(s.err, 0);
    assert_ptr_equal(s.at, p);
    assert_int_equal(acq_left(&s), n);
    assert_int_equal(acq_left(&c), 6 - n);
    for (size_t i = 0; i < n; i++)
      assert_int_equal(acq_u8(&s), i + 1);
    assert_int_equal(acq_end(&s), 0);
    assert_int_equal(acq_u8(&s), 0); /* it cannot see what is left above */
    assert_int_equal(s.err, -EPROTO);
    assert_int_equal(c.err, 0); /* and its error is its own */
    for (size_t i = n; i < 6; i++)
      assert_int_equal(acq_u8(&c), i + 1);
    assert_int_equal(acq_end(&c), 0);
    free(p);
  }
  uint8_t *p = bytes_from(1, 3);
  struct acq_cur c = acq_cur(p, 3), s = acq_sub(&c, 4);
  assert_int_equal(c.err, -EPROTO);
  assert_int_equal(s.err, -EPROTO);
  assert_int_equal(acq_left(&s), 0);
  assert_int_equal(acq_u8(&s), 0);
  assert_null(acq_bytes(&s, 0));
  assert_int_equal(acq_end(&s), -EPROTO);
  c = acq_cur(p, 3);
  acq_refuse(&c, -ERANGE);
  s = acq_sub(&c, 0);
  assert_int_equal(s.err, -ERANGE); /* the error that was there */
  c = acq_cur(p, 3);                /* one within the other */
  s = acq_sub(&c, 3);
  struct acq_cur t = acq_sub(&s, 2);
  assert_int_equal(acq_u16be(&t), 0x0102);
  assert_int_equal(acq_end(&t), 0);
  assert_int_equal(acq_u8(&s), 3);
  assert_int_equal(acq_end(&s), 0);
  assert_int_equal(acq_end(&c), 0);
  free(p);
}

TEST(numbers_11073) {
  static const struct {
    uint8_t bytes[4];
    size_t n;
    int err;
    struct dec d;
  } rows[] = {
      {{0xf1, 0x6c}, 2, 0, {364, -1}},
      {{0x07, 0xff}, 2, -ENODATA, {0, 0}},
      {{0x08, 0x00}, 2, -ENODATA, {0, 0}},
      {{0x07, 0xfe}, 2, -ERANGE, {0, 0}},
      {{0x08, 0x02}, 2, -ERANGE, {0, 0}},
      {{0xff, 0x00, 0x01, 0x6c}, 4, 0, {364, -1}},
      {{0xff, 0xff, 0xff, 0xff}, 4, 0, {-1, -1}},
      {{0x00, 0x7f, 0xff, 0xff}, 4, -ENODATA, {0, 0}},
      {{0x00, 0x80, 0x00, 0x02}, 4, -ERANGE, {0, 0}},
      {{0x13, 0x00, 0x00, 0x01}, 4, -ERANGE, {0, 0}}, /* exponent 19 */
      {{0xed, 0x00, 0x00, 0x01}, 4, -ERANGE, {0, 0}}, /* exponent -19 */
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct acq_cur c = acq_cur(rows[i].bytes, rows[i].n);
    struct dec d = rows[i].n == 2 ? acq_sfloat(&c) : acq_float(&c);
    assert_int_equal(c.err, rows[i].err);
    assert_int_equal(d.mantissa, rows[i].d.mantissa);
    assert_int_equal(d.exponent, rows[i].d.exponent);
    assert_int_equal(acq_end(&c), rows[i].err);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values),
      cmocka_unit_test(cut),
      cmocka_unit_test(structure_cut_everywhere),
      cmocka_unit_test(bytes_and_lengths),
      cmocka_unit_test(refuse),
      cmocka_unit_test(sub),
      cmocka_unit_test(numbers_11073),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
