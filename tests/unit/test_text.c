/* Texts of files in their alphabets. What is expected of the alphabets is asked of iconv(), which is not ours. */
#include "str.h"
#include "text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <iconv.h>

#define BYTES(text) (text), sizeof(text) - 1

static void expect_sized(enum text_alphabet alphabet, const void *bytes, size_t n, size_t size, const char *text,
                         bool whole) {
  char *ret = malloc(size), *exact = malloc(n ? n : 1); /* so that a sanitizer sees their ends */
  assert_true(ret && exact);
  memset(ret, 'x', size);
  memcpy(exact, bytes, n);
  assert_int_equal(text_read(alphabet, exact, n, ret, size), whole);
  assert_string_equal(ret, text);
  assert_true(str_is_clean_utf8(ret, strlen(ret)));
  free(ret);
  free(exact);
}

static void expect(enum text_alphabet alphabet, const void *bytes, size_t n, const char *text, bool whole) {
  expect_sized(alphabet, bytes, n, 64, text, whole);
}

static const struct {
  enum text_alphabet alphabet;
  const char *name;
} singles[] = {
    {TEXT_ASCII, "ASCII"}, {TEXT_LATIN_1, "ISO-8859-1"}, {TEXT_LATIN_9, "ISO-8859-15"}, {TEXT_CP1252, "CP1252"}};

/* The character as iconv() has it; false where it has none. */
static bool convert(const char *from, char *bytes, size_t n, char ret[static 8]) {
  iconv_t table = iconv_open("UTF-8", from);
  assert_true(table != (iconv_t)-1);
  size_t room = 7;
  char *at = ret;
  const size_t r = iconv(table, &bytes, &n, &at, &room);
  iconv_close(table);
  *at = 0;
  return r != (size_t)-1;
}

/* Every byte of the alphabets of one byte, between two letters. */
static void test_bytes(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof singles / sizeof *singles; i++)
    for (unsigned byte = 1; byte < 256; byte++) {
      char text[] = {'a', (char)byte, 'z'}, one[8], expected[16];
      const bool known = convert(singles[i].name, text + 1, 1, one);
      const bool control = byte < 32 || byte == 127 || (known && (uint8_t)one[0] == 0xc2 && (uint8_t)one[1] < 0xa0);
      snprintf(expected, sizeof expected, "a%sz", control ? " " : known ? one : "?");
      expect(singles[i].alphabet, text, sizeof text, expected, known);
    }
}

/* Every character of UTF-16, and those that only pairs have. */
static void test_utf16(void **state) {
  (void)state;
  for (uint32_t c = 1; c < 0x110000; c += c < 0x11000 ? 1 : 977) {
    uint8_t units[4];
    char one[8] = "", expected[16];
    const bool is_surrogate = c >= 0xd800 && c < 0xe000, is_none = c == 0xfffd || (c & 0xfffe) == 0xfffe,
               is_mark = c == 0xfeff;
    const uint32_t high = c < 0x10000 ? c : 0xd800 + ((c - 0x10000) >> 10), low = 0xdc00 + (c & 0x3ff);
    const size_t n = c < 0x10000 ? 2 : 4;
    units[0] = (uint8_t)(high >> 8), units[1] = (uint8_t)high, units[2] = (uint8_t)(low >> 8), units[3] = (uint8_t)low;
    const bool known = !is_surrogate && convert("UTF-16BE", (char *)units, n, one);
    assert_int_equal(known, !is_surrogate);
    const bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
    /* Blanks around a text are left out, as is a mark of the byte order before it. */
    snprintf(expected, sizeof expected, "%s", is_mark || control || c == ' ' ? "" : known && !is_none ? one : "?");
    expect(TEXT_UTF16BE, units, n, expected, known && !is_none);
    for (size_t k = 0; k < n; k += 2) {
      const uint8_t swapped = units[k];
      units[k] = units[k + 1], units[k + 1] = swapped;
    }
    expect(TEXT_UTF16LE, units, n, expected, known && !is_none);
    if (known && !is_none && !is_mark && !control && c != ' ')
      expect(TEXT_UTF8, one, strlen(one), one, true);
  }
}

static void test_broken(void **state) {
  (void)state;
  /* UTF-8: what lacks its rest, what has none, what is longer than it must be, what is no character */
  expect(TEXT_UTF8, BYTES("a\xc3"), "a?", false);
  expect(TEXT_UTF8, BYTES("a\xc3z"), "a?z", false);
  expect(TEXT_UTF8, BYTES("\xe2\x82"), "??", false);
  expect(TEXT_UTF8, BYTES("\xa9z"), "?z", false);
  expect(TEXT_UTF8, BYTES("\xc0\xafz"), "??z", false);
  expect(TEXT_UTF8, BYTES("\xc1\x81"), "??", false);
  expect(TEXT_UTF8, BYTES("\xe0\x9f\xbf"), "???", false);
  expect(TEXT_UTF8, BYTES("\xf0\x8f\xbf\xbf"), "????", false);
  expect(TEXT_UTF8, BYTES("\xed\xa0\x80"), "???", false);
  expect(TEXT_UTF8, BYTES("\xf4\x90\x80\x80"), "????", false);
  expect(TEXT_UTF8, BYTES("\xf5\x80\x80\x80"), "????", false);
  expect(TEXT_UTF8, BYTES("\xff"), "?", false);
  expect(TEXT_UTF8, BYTES("\xef\xbf\xbf"), "?", false); /* U+FFFF */
  expect(TEXT_UTF8, BYTES("\xef\xbf\xbd"), "?", false); /* U+FFFD: somebody could not read it before */
  expect(TEXT_UTF8, BYTES("\xc2\x85z"), "z", true);     /* a control of two bytes */
  /* UTF-16: halves of pairs, and half a unit */
  expect(TEXT_UTF16LE, BYTES("a\0\x3d\xd8"), "a?", false);
  expect(TEXT_UTF16LE, BYTES("\x3d\xd8z\0"), "?z", false);
  expect(TEXT_UTF16LE, BYTES("\0\xdcz\0"), "?z", false);
  expect(TEXT_UTF16LE, BYTES("\x3d\xd8\x3d\xd8\0\xdez\0"), "?\xf0\x9f\x98\x80z", false);
  expect(TEXT_UTF16LE, BYTES("a\0z"), "a?", false);
  expect(TEXT_UTF16BE, BYTES("\0a\0"), "a?", false);
}

static void test_ends(void **state) {
  (void)state;
  expect(TEXT_ASCII, "", 0, "", true);
  expect(TEXT_ASCII, BYTES("a\0z"), "a", true); /* up to the first NUL */
  expect(TEXT_ASCII, BYTES("\0z"), "", true);
  expect(TEXT_UTF16LE, BYTES("a\0\0\0z\0"), "a", true);
  expect(TEXT_UTF16LE, BYTES("\0\1\0\0"), "\xc4\x80", true); /* half a unit of zero is no end */
  expect(TEXT_ASCII, BYTES("  a  z \t\r\n"), "a  z", true);
  expect(TEXT_ASCII, BYTES("\t\n"), "", true);
  expect(TEXT_ASCII, BYTES("a\r\nz"), "a  z", true);
  expect(TEXT_UTF8, BYTES("\xef\xbb\xbfz"), "z", true); /* the mark of the byte order */
  expect(TEXT_UTF16LE, BYTES("\xff\xfez\0"), "z", true);
  expect(TEXT_UTF16BE, BYTES("\xfe\xff\0z"), "z", true);
  expect(TEXT_UTF16LE, BYTES("\xfe\xffz\0"), "?z", false); /* the other way round it is no character */
  expect(TEXT_LATIN_1, BYTES("\xa0\x61\xa0"), "\xc2\xa0\x61\xc2\xa0", true); /* that blank is not one of filling */
}

/* Cut between characters, never over the size. */
static void test_sizes(void **state) {
  (void)state;
  expect_sized(TEXT_ASCII, BYTES("abc"), 4, "abc", true);
  expect_sized(TEXT_ASCII, BYTES("abc"), 3, "ab", false);
  expect_sized(TEXT_ASCII, BYTES("abc"), 1, "", false);
  expect_sized(TEXT_ASCII, BYTES(""), 1, "", true);
  expect_sized(TEXT_ASCII, BYTES("ab   "), 3, "ab", true); /* only blanks were cut */
  expect_sized(TEXT_ASCII, BYTES("ab  c"), 3, "ab", false);
  expect_sized(TEXT_ASCII, BYTES("ab c"), 4, "ab", false); /* and none is left at the end */
  expect_sized(TEXT_ASCII, BYTES("ab  \0c"), 3, "ab", true);
  expect_sized(TEXT_LATIN_1, BYTES("a\xe9"), 4, "a\xc3\xa9", true);
  expect_sized(TEXT_LATIN_1, BYTES("a\xe9"), 3, "a", false);
  expect_sized(TEXT_LATIN_1, BYTES("a\xe9z"), 3, "a", false); /* nothing behind a hole */
  expect_sized(TEXT_UTF8, BYTES("\xf0\x9f\x98\x80"), 5, "\xf0\x9f\x98\x80", true);
  for (size_t size = 1; size < 5; size++)
    expect_sized(TEXT_UTF8, BYTES("\xf0\x9f\x98\x80"), size, "", false);
  expect_sized(TEXT_UTF8, BYTES("\xff\xff"), 2, "?", false);
}

/* Whatever the bytes: clean, and within its size. */
static void test_any(void **state) {
  (void)state;
  uint32_t dice = 2463534242u;
  for (unsigned round = 0; round < 20000; round++) {
    uint8_t bytes[24];
    char text[16];
    for (size_t i = 0; i < sizeof bytes; i++) {
      dice ^= dice << 13, dice ^= dice >> 17, dice ^= dice << 5;
      bytes[i] = dice & 0x100 ? (uint8_t)dice : (uint8_t)(0xd8 | (dice & 7));
    }
    for (enum text_alphabet a = TEXT_ASCII; a <= TEXT_UTF16BE; a++) {
      const size_t n = dice % (sizeof bytes + 1), size = 1 + dice % sizeof text;
      memset(text, 'x', sizeof text);
      text_read(a, bytes, n, text, size);
      const size_t len = strnlen(text, size);
      assert_true(len < size && str_is_clean_utf8(text, len));
      assert_true(!len || (text[0] != ' ' && text[len - 1] != ' '));
      for (size_t i = size; i < sizeof text; i++)
        assert_int_equal(text[i], 'x');
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bytes), cmocka_unit_test(test_utf16), cmocka_unit_test(test_broken),
      cmocka_unit_test(test_ends),  cmocka_unit_test(test_sizes), cmocka_unit_test(test_any),
  };
  cmocka_set_message_output(CM_OUTPUT_TAP);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
