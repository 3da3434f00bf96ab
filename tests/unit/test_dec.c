#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <asalee/dec.h>
#include <cmocka.h>
#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

__extension__ typedef __int128 wide;

static uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t rnd(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

/* What a failure must leave alone. */
static const struct dec mark = {-77, 77};

static void same(struct dec got, int32_t mantissa, int exponent) {
  if (got.mantissa != mantissa || got.exponent != exponent)
    fail_msg("{%d, %d} instead of {%d, %d}", got.mantissa, got.exponent, mantissa, exponent);
}

TEST(sfloat_named) {
  static const struct {
    uint16_t raw;
    int err, mantissa, exponent;
  } rows[] = {
      {0x0000, 0, 0, 0},        {0x0001, 0, 1, 0},        {0x0fff, 0, -1, 0},    {0x0072, 0, 114, 0},
      {0xf16c, 0, 364, -1},     {0xe168, 0, 360, -2},                           /* 3.60 stays 3.60 */
      {0xffff, 0, -1, -1},      {0x87fd, 0, 2045, -8},                          /* the exponent's low end */
      {0x7803, 0, -2045, 7},                                                    /* and its high end */
      {0x8000, 0, 0, -8},       {0x7000, 0, 0, 7},        {0x07fd, 0, 2045, 0}, /* the last values that are not reserved
                                                                                 */
      {0x0803, 0, -2045, 0},    {0x07ff, -ENODATA, 0, 0},                       /* NaN */
      {0x0800, -ENODATA, 0, 0},                                                 /* NRes */
      {0x0801, -ENODATA, 0, 0},                                                 /* reserved */
      {0x07fe, -ERANGE, 0, 0},                                                  /* +INF */
      {0x0802, -ERANGE, 0, 0},                                                  /* -INF */
      {0x17ff, 0, 2047, 1}, /* reserved mantissas are plain with another exponent */
      {0xf800, 0, -2048, -1},   {0xf7fe, 0, 2046, -1},    {0x1802, 0, -2046, 1}, {0x1801, 0, -2047, 1},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct dec d = mark;
    assert_int_equal(dec_from_sfloat(rows[i].raw, &d), rows[i].err);
    if (rows[i].err)
      same(d, mark.mantissa, mark.exponent);
    else
      same(d, rows[i].mantissa, rows[i].exponent);
  }
}

/* Every value, against the bits read another way: weights instead of masks and subtractions. */
TEST(sfloat_all) {
  unsigned none = 0, out = 0;
  for (unsigned raw = 0; raw <= 0xffff; raw++) {
    int mantissa = 0, exponent = 0;
    for (unsigned bit = 0; bit < 12; bit++)
      if (raw >> bit & 1)
        mantissa += (bit == 11 ? -1 : 1) * (1 << bit);
    for (unsigned bit = 0; bit < 4; bit++)
      if (raw >> (12 + bit) & 1)
        exponent += (bit == 3 ? -1 : 1) * (1 << bit);
    struct dec d = mark;
    int r = dec_from_sfloat((uint16_t)raw, &d);
    if (raw == 0x07ff || raw == 0x0800 || raw == 0x0801) {
      none += r == -ENODATA;
      same(d, mark.mantissa, mark.exponent);
    } else if (raw == 0x07fe || raw == 0x0802) {
      out += r == -ERANGE;
      same(d, mark.mantissa, mark.exponent);
    } else {
      if (r)
        fail_msg("%04x: %d", raw, r);
      same(d, mantissa, exponent);
    }
  }
  assert_int_equal(none, 3);
  assert_int_equal(out, 2);
}

static int32_t weights24(uint32_t raw) {
  int32_t v = 0;
  for (unsigned bit = 0; bit < 24; bit++)
    if (raw >> bit & 1)
      v += (bit == 23 ? -1 : 1) * (1 << bit);
  return v;
}

TEST(float_all_mantissas) {
  for (uint32_t raw = 0; raw <= 0xffffff; raw++) {
    struct dec d = mark;
    int r = dec_from_float(raw, &d);
    if (raw >= 0x7ffffe && raw <= 0x800002) {
      int want = raw == 0x7ffffe || raw == 0x800002 ? -ERANGE : -ENODATA;
      if (r != want)
        fail_msg("%06x: %d", raw, r);
      same(d, mark.mantissa, mark.exponent);
    } else {
      if (r)
        fail_msg("%06x: %d", raw, r);
      if ((raw & 0xff) == 0xa5 || raw > 0x7fff00)
        same(d, weights24(raw), 0);
      else if (d.mantissa != (raw < 0x800000 ? (int32_t)raw : (int32_t)raw - 0x1000000) || d.exponent)
        fail_msg("%06x gave {%d, %d}", raw, d.mantissa, d.exponent);
    }
  }
}

TEST(float_all_exponents) {
  static const uint32_t mantissas[] = {0,        1,        0xffffff, 0x7ffffd, 0x800003, 0x7fffff,
                                       0x7ffffe, 0x800000, 0x800001, 0x800002, 0x00016c};
  for (int exponent = -128; exponent <= 127; exponent++)
    for (size_t i = 0; i < COUNT(mantissas); i++) {
      struct dec d = mark;
      uint32_t raw = (uint32_t)(uint8_t)exponent << 24 | mantissas[i];
      int r = dec_from_float(raw, &d);
      int32_t m = weights24(mantissas[i]);
      bool fits = exponent >= -18 && exponent <= 18;
      if (exponent == 0 && (m >= 0x7ffffe || m <= -0x7ffffe)) {
        assert_int_equal(r, m == 0x7ffffe || m == -0x7ffffe ? -ERANGE : -ENODATA);
        same(d, mark.mantissa, mark.exponent);
      } else if (m == 0) { /* nothing is nothing whatever its exponent */
        assert_int_equal(r, 0);
        same(d, 0, exponent < -18 ? -18 : exponent > 18 ? 18 : exponent);
      } else if (fits) {
        assert_int_equal(r, 0);
        same(d, m, exponent);
      } else {
        assert_int_equal(r, -ERANGE);
        same(d, mark.mantissa, mark.exponent);
      }
    }
  struct dec d;
  assert_int_equal(dec_from_float(0xff00016c, &d), 0);
  same(d, 364, -1);
}

TEST(parse_table) {
  static const struct {
    const char *text;
    int err, mantissa, exponent;
  } rows[] = {
      {"0", 0, 0, 0},
      {"-0", 0, 0, 0},
      {"0.0", 0, 0, -1},
      {"-0.00", 0, 0, -2},
      {"1", 0, 1, 0},
      {"-1", 0, -1, 0},
      {"3.60", 0, 360, -2},
      {"3.6", 0, 36, -1},
      {"-0.05", 0, -5, -2},
      {"1200", 0, 1200, 0},
      {"1200.000", 0, 1200000, -3},
      {"007", 0, 7, 0},
      {"123456789", 0, 123456789, 0},
      {"0.123456789", 0, 123456789, -9},
      {"2147483647", 0, INT32_MAX, 0},
      {"-2147483648", 0, INT32_MIN, 0},
      {"-2.147483648", 0, INT32_MIN, -9},
      {"2147483648", -ERANGE, 0, 0},
      {"-2147483649", -ERANGE, 0, 0},
      {"9999999999", -ERANGE, 0, 0},
      {"18446744073709551617", -ERANGE, 0, 0}, /* 2^64 + 1 */
      {"99999999999999999999999999999999999999", -ERANGE, 0, 0},
      {"0.000000000000000001", 0, 1, -18},
      {"0.000000000000000000", 0, 0, -18},
      {"0.0000000000000000000", -ERANGE, 0, 0},
      {"0.0000000000000000001", -ERANGE, 0, 0},
      {"00000000000000000000000000000012", 0, 12, 0},
      {"", -EINVAL, 0, 0},
      {"-", -EINVAL, 0, 0},
      {"--1", -EINVAL, 0, 0},
      {"+1", -EINVAL, 0, 0},
      {".", -EINVAL, 0, 0},
      {".5", -EINVAL, 0, 0},
      {"-.5", -EINVAL, 0, 0},
      {"5.", -EINVAL, 0, 0},
      {"-5.", -EINVAL, 0, 0},
      {"1.2.3", -EINVAL, 0, 0},
      {"1..2", -EINVAL, 0, 0},
      {"1,5", -EINVAL, 0, 0},
      {" 1", -EINVAL, 0, 0},
      {"1 ", -EINVAL, 0, 0},
      {"1\n", -EINVAL, 0, 0},
      {"1e3", -EINVAL, 0, 0},
      {"1E3", -EINVAL, 0, 0},
      {"0x10", -EINVAL, 0, 0},
      {"1-", -EINVAL, 0, 0},
      {"nan", -EINVAL, 0, 0},
      {"inf", -EINVAL, 0, 0},
      {"\xd9\xa1", -EINVAL, 0, 0}, /* a digit, but not one of ours */
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct dec d = mark;
    int r = dec_parse(rows[i].text, &d);
    if (r != rows[i].err)
      fail_msg("\"%s\": %d", rows[i].text, r);
    if (r)
      same(d, mark.mantissa, mark.exponent);
    else
      same(d, rows[i].mantissa, rows[i].exponent);
  }
}

/* Every byte before, inside and after a number: only a digit, a point inside and a minus before make a number. */
TEST(parse_every_byte) {
  struct dec d;
  for (int c = 1; c < 256; c++) {
    bool digit = c >= '0' && c <= '9';
    char before[] = {(char)c, '1', '2', 0}, inside[] = {'1', (char)c, '2', 0}, after[] = {'1', '2', (char)c, 0};
    assert_int_equal(dec_parse(before, &d), digit || c == '-' ? 0 : -EINVAL);
    assert_int_equal(dec_parse(inside, &d), digit || c == '.' ? 0 : -EINVAL);
    assert_int_equal(dec_parse(after, &d), digit ? 0 : -EINVAL);
  }
}

/* The plain notation made by moving a point through a text. */
static void spell(struct dec d, char text[static 64]) {
  char digits[160];
  long long magnitude = d.mantissa < 0 ? -(long long)d.mantissa : d.mantissa;
  snprintf(digits, sizeof digits, "%0*lld", d.exponent < 0 ? 1 - d.exponent : 1, magnitude);
  for (int i = 0; i < d.exponent && magnitude; i++)
    strcat(digits, "0");
  size_t n = strlen(digits), tail = d.exponent < 0 ? (size_t)-d.exponent : 0;
  snprintf(text, 64, "%s%.*s%s%s", d.mantissa < 0 ? "-" : "", (int)(n - tail), digits, tail ? "." : "",
           digits + n - tail);
}

static void check_format(struct dec d) {
  char text[DEC_TEXT_MAX + 8], want[64];
  memset(text, 0x55, sizeof text);
  size_t n = dec_format(d, text);
  spell(d, want);
  if (strcmp(text, want) || n != strlen(want))
    fail_msg("{%d, %d} is written %s, %zu bytes", d.mantissa, d.exponent, text, n);
  for (size_t i = DEC_TEXT_MAX; i < sizeof text; i++)
    assert_int_equal(text[i], 0x55);
  struct dec again = mark;
  int r = dec_parse(text, &again);
  if (d.exponent <= 0) {
    assert_int_equal(r, 0);
    same(again, d.mantissa, d.exponent);
  } else if (r == 0) {
    assert_int_equal(again.exponent, 0);
    assert_int_equal(dec_cmp(again, d), 0);
  } else { /* only when it is too long for a mantissa */
    wide v = d.mantissa;
    for (int i = 0; i < d.exponent; i++)
      v *= 10;
    assert_int_equal(r, -ERANGE);
    assert_true(v > INT32_MAX || v < INT32_MIN);
  }
}

TEST(format_round_trip) {
  static const struct {
    struct dec d;
    const char *text;
  } rows[] = {
      {{0, 0}, "0"},
      {{0, 5}, "0"},
      {{0, -3}, "0.000"},
      {{-5, -2}, "-0.05"},
      {{360, -2}, "3.60"},
      {{12, 2}, "1200"},
      {{100, -2}, "1.00"},
      {{-100, -3}, "-0.100"},
      {{10, -1}, "1.0"},
      {{INT32_MIN, 0}, "-2147483648"},
      {{INT32_MIN, -10}, "-0.2147483648"},
      {{INT32_MIN, -9}, "-2.147483648"},
      {{INT32_MIN, -18}, "-0.000000002147483648"},
      {{INT32_MIN, 18}, "-2147483648000000000000000000"},
      {{INT32_MAX, 18}, "2147483647000000000000000000"},
      {{1, -18}, "0.000000000000000001"},
      {{1, 18}, "1000000000000000000"},
  };
  char text[DEC_TEXT_MAX];
  for (size_t i = 0; i < COUNT(rows); i++) {
    assert_int_equal(dec_format(rows[i].d, text), strlen(rows[i].text));
    assert_string_equal(text, rows[i].text);
    check_format(rows[i].d);
  }
  static const int32_t corners[] = {
      INT32_MIN, INT32_MIN + 1, -1000000000, -999999999, -10,        -9,       -1, 0, 1, 9, 10,
      99,        100,           101,         999999999,  1000000000, INT32_MAX};
  for (int e = DEC_EXP_MIN; e <= DEC_EXP_MAX; e++) {
    for (size_t i = 0; i < COUNT(corners); i++)
      check_format((struct dec){corners[i], (int8_t)e});
    for (int32_t m = -1100; m <= 1100; m++)
      check_format((struct dec){m, (int8_t)e});
    for (int i = 0; i < 2000; i++)
      check_format((struct dec){(int32_t)(uint32_t)rnd(), (int8_t)e});
  }
}

/* a x 10^ea against b x 10^eb in 128 bits; beyond 28 places apart, a number that is not 0 outweighs any mantissa. */
static int oracle(struct dec a, struct dec b) {
  wide x = a.mantissa, y = b.mantissa;
  int apart = a.exponent - b.exponent;
  if (apart > 28 && x)
    return x > 0 ? 1 : -1;
  if (apart < -28 && y)
    return y > 0 ? -1 : 1;
  for (int i = 0; i < apart && x; i++)
    x *= 10;
  for (int i = 0; i < -apart && y; i++)
    y *= 10;
  return (x > y) - (x < y);
}

static void check_cmp(struct dec a, struct dec b) {
  int want = oracle(a, b), got = dec_cmp(a, b), back = dec_cmp(b, a);
  if ((got > 0) - (got < 0) != want || (back > 0) - (back < 0) != -want)
    fail_msg("{%d, %d} and {%d, %d}: %d, back %d, not %d", a.mantissa, a.exponent, b.mantissa, b.exponent, got, back,
             want);
}

static struct dec any(int min, int max) {
  int32_t m = (int32_t)(uint32_t)rnd();
  m >>= rnd() % 32;
  return (struct dec){m, (int8_t)(min + (int)(rnd() % (uint64_t)(max - min + 1)))};
}

TEST(cmp_random) {
  for (int i = 0; i < 2000000; i++)
    check_cmp(any(DEC_EXP_MIN, DEC_EXP_MAX), any(DEC_EXP_MIN, DEC_EXP_MAX));
  for (int i = 0; i < 200000; i++) /* whatever an int8_t holds */
    check_cmp(any(-128, 127), any(-128, 127));
}

TEST(cmp_near) {
  for (int i = 0; i < 300000; i++) { /* the same value, and its neighbours, at another exponent */
    struct dec a = any(-9, 18), b = a;
    for (uint64_t k = rnd() % 10; k && b.mantissa < INT32_MAX / 10 && b.mantissa > INT32_MIN / 10; k--) {
      b.mantissa *= 10;
      b.exponent--;
    }
    check_cmp(a, b);
    assert_int_equal(dec_cmp(a, b), 0);
    if (b.mantissa < INT32_MAX)
      check_cmp(a, (struct dec){b.mantissa + 1, b.exponent});
    if (b.mantissa > INT32_MIN)
      check_cmp(a, (struct dec){b.mantissa - 1, b.exponent});
  }
  static const int32_t corners[] = {INT32_MIN, INT32_MIN + 1, -1, 0, 1, INT32_MAX - 1, INT32_MAX};
  for (size_t i = 0; i < COUNT(corners); i++)
    for (size_t j = 0; j < COUNT(corners); j++)
      for (int e = -128; e <= 127; e++) {
        check_cmp((struct dec){corners[i], (int8_t)e}, (struct dec){corners[j], 0});
        check_cmp((struct dec){corners[i], (int8_t)e}, (struct dec){corners[j], DEC_EXP_MIN});
        check_cmp((struct dec){corners[i], (int8_t)e}, (struct dec){corners[j], 127});
      }
}

/* a x 10^ea against b x 10^eb in 128 bits, a and b of at most 62; further apart than 18 places one outweighs any. */
static int oracle_scaled(struct dec a, int32_t factor, struct dec b, int32_t divisor) {
  wide x = (wide)a.mantissa * factor, y = (wide)b.mantissa * divisor;
  int apart = a.exponent - b.exponent;
  if (apart > 19 && x)
    return x > 0 ? 1 : -1;
  if (apart < -19 && y)
    return y > 0 ? -1 : 1;
  for (int i = 0; i < apart && x; i++)
    x *= 10;
  for (int i = 0; i < -apart && y; i++)
    y *= 10;
  return (x > y) - (x < y);
}

static void check_scaled(struct dec a, int32_t factor, struct dec b, int32_t divisor) {
  int want = oracle_scaled(a, factor, b, divisor), got = dec_cmp_scaled(a, factor, b, divisor),
      back = dec_cmp_scaled(b, divisor, a, factor);
  if ((got > 0) - (got < 0) != want || (back > 0) - (back < 0) != -want)
    fail_msg("{%d, %d} x %d and {%d, %d} x %d: %d, back %d, not %d", a.mantissa, a.exponent, factor, b.mantissa,
             b.exponent, divisor, got, back, want);
}

static int32_t positive(void) {
  int32_t v = (int32_t)((uint32_t)rnd() >> (1 + rnd() % 31));
  return v ? v : 1;
}

TEST(cmp_scaled) {
  for (int i = 0; i < 1000000; i++)
    check_scaled(any(DEC_EXP_MIN, DEC_EXP_MAX), positive(), any(DEC_EXP_MIN, DEC_EXP_MAX), positive());
  for (int i = 0; i < 100000; i++)
    check_scaled(any(-128, 127), positive(), any(-128, 127), positive());
  for (int i = 0; i < 300000; i++) { /* the same value in two units, and its neighbours */
    int32_t m = positive() % 1000, factor = positive() % 1000 + 1, divisor = positive() % 1000 + 1;
    struct dec a = {m * divisor, 3}, b = {m * factor * (m * factor < INT32_MAX / 1000 ? 1000 : 1), 0};
    b.exponent = m * factor < INT32_MAX / 1000 ? 0 : 3;
    assert_int_equal(dec_cmp_scaled(a, factor, b, divisor), 0);
    for (int by = -1; by <= 1; by++) {
      check_scaled((struct dec){a.mantissa + by, a.exponent}, factor, b, divisor);
      check_scaled(a, factor, (struct dec){b.mantissa + by, b.exponent}, divisor);
    }
  }
  static const int32_t corners[] = {INT32_MIN, -1, 0, 1, INT32_MAX}, scales[] = {1, 100000000, INT32_MAX};
  for (size_t i = 0; i < COUNT(corners) * COUNT(corners) * COUNT(scales) * COUNT(scales); i++)
    for (int e = -128; e <= 127; e++) {
      size_t k = i / COUNT(scales) / COUNT(scales);
      check_scaled((struct dec){corners[k / COUNT(corners)], (int8_t)e}, scales[i % COUNT(scales)],
                   (struct dec){corners[k % COUNT(corners)], -9}, scales[i / COUNT(scales) % COUNT(scales)]);
    }
  /* 1500 L/min is 25 L/s, 700 kg is 1543.2358... lb */
  assert_int_equal(dec_cmp_scaled((struct dec){1500, 0}, 1, (struct dec){25, 0}, 60), 0);
  assert_true(dec_cmp_scaled((struct dec){150001, -2}, 1, (struct dec){25, 0}, 60) > 0);
  assert_true(dec_cmp_scaled((struct dec){154323583, -5}, 45359237, (struct dec){700, 0}, 100000000) < 0);
  assert_true(dec_cmp_scaled((struct dec){154323584, -5}, 45359237, (struct dec){700, 0}, 100000000) > 0);
}

TEST(mul) {
  static const int32_t corners[] = {INT32_MIN, INT32_MIN + 1, -46341, -46340, -2,     -1,       0, 1,
                                    2,         46340,         46341,  65536,  -65536, INT32_MAX};
  for (int i = 0; i < 200000; i++) {
    struct dec d = any(DEC_EXP_MIN, DEC_EXP_MAX), got = mark;
    int32_t n = (int32_t)(uint32_t)rnd() >> rnd() % 32;
    if (i < (int)(COUNT(corners) * COUNT(corners))) {
      d.mantissa = corners[(size_t)i / COUNT(corners)];
      n = corners[(size_t)i % COUNT(corners)];
    }
    wide v = (wide)d.mantissa * n;
    int r = dec_mul(d, n, &got);
    if (v > INT32_MAX || v < INT32_MIN) {
      assert_int_equal(r, -ERANGE);
      same(got, mark.mantissa, mark.exponent);
    } else {
      assert_int_equal(r, 0);
      same(got, (int32_t)v, d.exponent);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sfloat_named),        cmocka_unit_test(sfloat_all),  cmocka_unit_test(float_all_mantissas),
      cmocka_unit_test(float_all_exponents), cmocka_unit_test(parse_table), cmocka_unit_test(parse_every_byte),
      cmocka_unit_test(format_round_trip),   cmocka_unit_test(cmp_random),  cmocka_unit_test(cmp_near),
      cmocka_unit_test(cmp_scaled),          cmocka_unit_test(mul),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
