#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "str.h"
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

TEST(copy) {
  for (size_t n = 0; n < 8; n++)
    for (size_t size = 0; size < 8; size++) {
      char text[] = "abcdefgh", field[10];
      text[n] = 0;
      memset(field, '#', sizeof field);
      bool fits = str_copy(field + 1, size, text);
      assert_int_equal(fits, n < size);
      if (fits)
        assert_string_equal(field + 1, text);
      else if (size)
        assert_int_equal(field[1], 0);
      assert_int_equal(field[0], '#');
      for (size_t i = 1 + size; i < sizeof field; i++)
        assert_int_equal(field[i], '#');
    }
}

TEST(to_u64) {
  static const struct {
    const char *text;
    uint64_t min, max;
    int err;
    uint64_t v;
  } rows[] = {
      {"0", 0, UINT64_MAX, 0, 0},
      {"000", 0, 0, 0, 0},
      {"42", 42, 42, 0, 42},
      {"42", 43, 100, -ERANGE, 0},
      {"42", 0, 41, -ERANGE, 0},
      {"42", 100, 0, -ERANGE, 0},
      {"18446744073709551615", 0, UINT64_MAX, 0, UINT64_MAX},
      {"00000018446744073709551615", 0, UINT64_MAX, 0, UINT64_MAX},
      {"18446744073709551616", 0, UINT64_MAX, -ERANGE, 0},
      {"18446744073709551625", 0, UINT64_MAX, -ERANGE, 0},
      {"28446744073709551615", 0, UINT64_MAX, -ERANGE, 0},
      {"184467440737095516150", 0, UINT64_MAX, -ERANGE, 0},
      {"18446744073709551614", UINT64_MAX, UINT64_MAX, -ERANGE, 0},
      {"4294967296", 0, UINT32_MAX, -ERANGE, 0},
      {"4294967295", 0, UINT32_MAX, 0, UINT32_MAX},
      {"", 0, UINT64_MAX, -EINVAL, 0},
      {"-1", 0, UINT64_MAX, -EINVAL, 0},
      {"+1", 0, UINT64_MAX, -EINVAL, 0},
      {" 1", 0, UINT64_MAX, -EINVAL, 0},
      {"1 ", 0, UINT64_MAX, -EINVAL, 0},
      {"1\n", 0, UINT64_MAX, -EINVAL, 0},
      {"0x1", 0, UINT64_MAX, -EINVAL, 0},
      {"1.0", 0, UINT64_MAX, -EINVAL, 0},
      {"1e3", 0, UINT64_MAX, -EINVAL, 0},
      {"one", 0, UINT64_MAX, -EINVAL, 0},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    uint64_t v = 77;
    int r = str_to_u64(rows[i].text, rows[i].min, rows[i].max, &v);
    if (r != rows[i].err)
      fail_msg("\"%s\": %d", rows[i].text, r);
    assert_int_equal(v, r ? 77 : rows[i].v);
  }
  for (int c = 1; c < 256; c++) {
    char text[] = {'1', (char)c, 0};
    uint64_t v;
    assert_int_equal(str_to_u64(text, 0, 99, &v), c >= '0' && c <= '9' ? 0 : -EINVAL);
  }
}

static void pair(void **state) {
  (void)state;
  uint64_t a = 7, b = 7;
  assert_true(str_to_pair("0.12", &a, &b));
  assert_true(a == 0 && b == 12);
  assert_true(str_to_pair("9223372036854775807.9223372036854775807", &a, &b));
  assert_true(a == INT64_MAX && b == INT64_MAX);
  static const char *const bad[] = {"",
                                    ".",
                                    "1",
                                    "1.",
                                    ".1",
                                    "a.1",
                                    "1.a",
                                    "1.1.1",
                                    "-1.1",
                                    "1. 1",
                                    "1 .1",
                                    "9223372036854775808.1",
                                    "1.9223372036854775808",
                                    "000000000000000000000001.1"};
  for (size_t i = 0; i < COUNT(bad); i++)
    if (str_to_pair(bad[i], &a, &b))
      fail_msg("\"%s\"", bad[i]);
}

/* RFC 3629, section 4, row by row; ranges of the second byte are all that differs. Returns the length of the
 * character that starts here, 0 when there is none. */
static size_t rfc3629(const uint8_t *p, size_t n) {
  static const struct {
    uint8_t first, last, low, high;
    size_t n;
  } rows[] = {
      {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
      {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
      {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    if (!n || p[0] < rows[i].first || p[0] > rows[i].last)
      continue;
    if (n < rows[i].n || (rows[i].n > 1 && (p[1] < rows[i].low || p[1] > rows[i].high)))
      return 0;
    for (size_t k = 2; k < rows[i].n; k++)
      if (p[k] < 0x80 || p[k] > 0xbf)
        return 0;
    return rows[i].n;
  }
  return 0;
}

static bool clean(const uint8_t *p, size_t n) {
  while (n) {
    size_t k = rfc3629(p, n);
    if (!k || (k == 1 && (p[0] < 0x20 || p[0] == 0x7f)) || (p[0] == 0xc2 && p[1] < 0xa0))
      return false;
    p += k;
    n -= k;
  }
  return true;
}

static void check(const uint8_t *p, size_t n) {
  if (str_is_clean_utf8((const char *)p, n) != clean(p, n))
    fail_msg("%02x %02x %02x %02x, %zu bytes", p[0], n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, n > 3 ? p[3] : 0, n);
}

TEST(utf8_every_short_sequence) {
  uint8_t p[4];
  for (unsigned v = 0; v < 1u << 24; v++) {
    p[0] = (uint8_t)(v >> 16);
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)v;
    check(p, 3);
    if (!p[2])
      check(p, 2);
    if (!p[1] && !p[2])
      check(p, 1);
  }
  static const uint8_t tails[] = {0x00, 0x20, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xff};
  for (unsigned first = 0; first < 256; first++)
    for (unsigned second = 0; second < 256; second++)
      for (size_t i = 0; i < COUNT(tails); i++)
        for (size_t k = 0; k < COUNT(tails); k++)
          check((uint8_t[]){(uint8_t)first, (uint8_t)second, tails[i], tails[k]}, 4);
}

static size_t encode(uint32_t c, uint8_t *p) {
  if (c < 0x80)
    return p[0] = (uint8_t)c, 1;
  if (c < 0x800)
    return p[0] = (uint8_t)(0xc0 | c >> 6), p[1] = (uint8_t)(0x80 | (c & 63)), 2;
  if (c < 0x10000)
    return p[0] = (uint8_t)(0xe0 | c >> 12), p[1] = (uint8_t)(0x80 | (c >> 6 & 63)), p[2] = (uint8_t)(0x80 | (c & 63)),
           3;
  p[0] = (uint8_t)(0xf0 | c >> 18);
  p[1] = (uint8_t)(0x80 | (c >> 12 & 63));
  p[2] = (uint8_t)(0x80 | (c >> 6 & 63));
  p[3] = (uint8_t)(0x80 | (c & 63));
  return 4;
}

TEST(utf8_every_character) {
  for (uint32_t c = 0; c < 0x120000; c++) {
    uint8_t p[4];
    size_t n = encode(c, p);
    bool want = c >= 0x20 && c != 0x7f && !(c >= 0x80 && c < 0xa0) && !(c >= 0xd800 && c < 0xe000) && c <= 0x10ffff;
    if (str_is_clean_utf8((const char *)p, n) != want)
      fail_msg("U+%04X", c);
    for (size_t cut = 1; cut < n; cut++)
      if (str_is_clean_utf8((const char *)p, cut))
        fail_msg("U+%04X cut to %zu", c, cut);
  }
}

TEST(utf8_named) {
  static const struct {
    const char *text;
    size_t n;
    bool clean;
  } rows[] = {
      {"", 0, true},
      {"Électrode déplacée", 21, true},
      {"a\0b", 3, false},
      {"\0", 1, false},
      {"a\tb", 3, false},
      {"a\nb", 3, false},
      {"\x7f", 1, false},
      {"\xc2\x85", 2, false}, /* NEL */
      {"\xc2\x9b", 2, false}, /* CSI */
      {"\xc2\xa0", 2, true},
      {"\xc0\x80", 2, false}, /* NUL, overlong */
      {"\xc1\xbf", 2, false},
      {"\xe0\x9f\xbf", 3, false},
      {"\xe0\xa0\x80", 3, true},
      {"\xed\x9f\xbf", 3, true},
      {"\xed\xa0\x80", 3, false}, /* surrogates */
      {"\xed\xbf\xbf", 3, false},
      {"\xee\x80\x80", 3, true},
      {"\xf0\x8f\xbf\xbf", 4, false},
      {"\xf0\x90\x80\x80", 4, true},
      {"\xf4\x8f\xbf\xbf", 4, true},
      {"\xf4\x90\x80\x80", 4, false},
      {"\xf8\x88\x80\x80\x80", 5, false},
      {"\xff", 1, false},
      {"\x80", 1, false},
      {"ok\xc3", 3, false},
      {"ok\xe2\x82", 4, false},
      {"\xe2\x82 ok", 5, false},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    char *exact = malloc(rows[i].n + 1); /* no byte beyond may matter */
    assert_non_null(exact);
    memcpy(exact, rows[i].text, rows[i].n);
    exact[rows[i].n] = (char)0x80;
    if (str_is_clean_utf8(exact, rows[i].n) != rows[i].clean)
      fail_msg("row %zu", i);
    free(exact);
  }
}

TEST(hex) {
  uint8_t all[256], back[256];
  char text[2 * sizeof all + 1], want[2 * sizeof all + 1];
  for (unsigned i = 0; i < sizeof all; i++) {
    all[i] = (uint8_t)i;
    snprintf(want + (size_t)2 * i, 3, "%02x", i);
  }
  str_hex(all, sizeof all, text);
  assert_string_equal(text, want);
  assert_true(str_unhex(text, back, sizeof back));
  assert_memory_equal(all, back, sizeof all);
  str_hex(all, 0, text);
  assert_string_equal(text, "");
  assert_true(str_unhex("", back, 0));
  assert_true(str_unhex("zz", back, 0));
  assert_true(str_unhex("AbCdEF", back, 3));
  assert_memory_equal(back, "\xab\xcd\xef", 3);
  assert_true(str_unhex("12zz", back, 1)); /* it reads no further */
}

TEST(unhex_refuses) {
  uint8_t back[4];
  for (int c = 0; c < 256; c++) {
    bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    for (size_t at = 0; at < 4; at++) {
      char text[] = "0123";
      text[at] = (char)c;
      assert_int_equal(str_unhex(text, back, 2), digit);
    }
  }
  for (size_t n = 0; n < 4; n++) { /* a text that ends early */
    char *text = malloc(n + 1);
    assert_non_null(text);
    memset(text, 'a', n);
    text[n] = 0;
    assert_false(str_unhex(text, back, 2));
    free(text);
  }
}

TEST(base64) { /* RFC 4648, 10, and every remainder */
  static const char *const rows[][2] = {{"", ""},
                                        {"f", "Zg=="},
                                        {"fo", "Zm8="},
                                        {"foo", "Zm9v"},
                                        {"foob", "Zm9vYg=="},
                                        {"fooba", "Zm9vYmE="},
                                        {"foobar", "Zm9vYmFy"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    size_t n = strlen(rows[i][0]);
    char *text = malloc(STR_BASE64(n)), *bytes = malloc(n + !n); /* exactly as much as it needs */
    assert_non_null(text);
    assert_non_null(bytes);
    memcpy(bytes, rows[i][0], n);
    str_base64(bytes, n, text);
    assert_string_equal(text, rows[i][1]);
    assert_int_equal(strlen(text) + 1, STR_BASE64(n));
    free(text);
    free(bytes);
  }
  static const uint8_t all[] = {0x00, 0x10, 0x83, 0x10, 0x51, 0x87, 0x20, 0x92, 0x8b, 0x30, 0xd3, 0x8f,
                                0x41, 0x14, 0x93, 0x51, 0x55, 0x97, 0x61, 0x96, 0x9b, 0x71, 0xd7, 0x9f,
                                0x82, 0x18, 0xa3, 0x92, 0x59, 0xa7, 0xa2, 0x9a, 0xab, 0xb2, 0xdb, 0xaf,
                                0xc3, 0x1c, 0xb3, 0xd3, 0x5d, 0xb7, 0xe3, 0x9e, 0xbb, 0xf3, 0xdf, 0xbf};
  char text[STR_BASE64(sizeof all)];
  str_base64(all, sizeof all, text);
  assert_string_equal(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
}

TEST(fd) {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), was = fd;
  assert_true(fd >= 0);
  errno = EXDEV;
  fd_finish(&fd);
  assert_int_equal(fd, -1);
  assert_int_equal(errno, EXDEV);
  assert_int_equal(fcntl(was, F_GETFD), -1);
  errno = EXDEV;
  fd_finish(&fd); /* closes nothing */
  assert_int_equal(errno, EXDEV);
  int input = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3); /* 0 is a descriptor like another */
  fd = dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
  assert_int_equal(fd, 0);
  fd_finish(&fd);
  assert_int_equal(fd, -1);
  assert_int_equal(fcntl(STDIN_FILENO, F_GETFD), -1);
  if (input >= 0)
    dup2(input, STDIN_FILENO);
  errno = EXDEV;
  fd = 999999; /* not open: close() fails, errno stays */
  fd_finish(&fd);
  assert_int_equal(fd, -1);
  assert_int_equal(errno, EXDEV);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(copy),
      cmocka_unit_test(to_u64),
      cmocka_unit_test(pair),
      cmocka_unit_test(utf8_every_short_sequence),
      cmocka_unit_test(utf8_every_character),
      cmocka_unit_test(utf8_named),
      cmocka_unit_test(hex),
      cmocka_unit_test(unhex_refuses),
      cmocka_unit_test(base64),
      cmocka_unit_test(fd),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
