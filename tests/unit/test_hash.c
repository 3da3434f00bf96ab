#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "str.h"
#include <cmocka.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

/* FIPS 180-4 examples. */
TEST(sha256) {
  static char million[1000000];
  memset(million, 'a', sizeof million);
  const struct {
    const char *text;
    size_t n;
    const char *sha;
  } rows[] = {
      {NULL, 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {million, sizeof million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    char text[HASH_TEXT + 1];
    uint8_t raw[HASH_BYTES], want[HASH_BYTES];
    text[HASH_TEXT] = '#';
    hash_sha256_text(rows[i].text, rows[i].n, text);
    assert_string_equal(text, rows[i].sha);
    assert_int_equal(text[HASH_TEXT], '#');
    assert_true(hash_is_text(text));
    hash_sha256(rows[i].text, rows[i].n, raw);
    assert_true(str_unhex(rows[i].sha, want, sizeof want));
    assert_memory_equal(raw, want, sizeof want);
  }
}

TEST(is_text) {
  char sha[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  assert_true(hash_is_text(sha));
  for (size_t at = 0; at < 64; at++)
    for (int c = 0; c < 256; c++) {
      char was = sha[at];
      sha[at] = (char)c;
      assert_int_equal(hash_is_text(sha), (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
      sha[at] = was;
    }
  for (size_t n = 0; n < 70; n++) {
    char *text = malloc(n + 1);
    assert_non_null(text);
    memset(text, 'a', n);
    text[n] = 0;
    assert_int_equal(hash_is_text(text), n == 64);
    free(text);
  }
}

TEST(random_texts) {
  for (size_t n = 0; n <= 600; n += 2) {
    char *text = malloc(n + 1), *other = malloc(n + 1); /* exactly as large as promised */
    assert_non_null(text);
    assert_non_null(other);
    memset(text, '#', n + 1);
    random_text(text, n);
    random_text(other, n);
    assert_int_equal(strspn(text, "0123456789abcdef"), n);
    assert_int_equal(text[n], 0);
    if (n >= 16)
      assert_string_not_equal(text, other);
    if (n >= 300)
      assert_memory_not_equal(text, text + 128, 128);
    free(text);
    free(other);
  }
}

/* Every bit of every byte is sometimes set and sometimes not. */
TEST(random_bits) {
  uint8_t ones[32] = {0}, zeros[32] = {0}, b[34];
  for (int i = 0; i < 200; i++) {
    b[0] = b[33] = 0x5a;
    random_bytes(b + 1, 32);
    for (size_t k = 0; k < 32; k++) {
      ones[k] |= b[k + 1];
      zeros[k] |= (uint8_t)~b[k + 1];
    }
    assert_int_equal(b[0], 0x5a);
    assert_int_equal(b[33], 0x5a);
  }
  for (size_t k = 0; k < 32; k++)
    assert_true(ones[k] == 0xff && zeros[k] == 0xff);
}

TEST(secrets) {
  uint8_t a[32], b[32];
  random_bytes(a, sizeof a);
  memcpy(b, a, sizeof a);
  assert_true(equal_secret(a, b, sizeof a));
  for (size_t i = 0; i < 8 * sizeof a; i++) {
    b[i / 8] ^= (uint8_t)(1u << i % 8);
    assert_false(equal_secret(a, b, sizeof a));
    assert_true(equal_secret(a, b, i / 8)); /* not the bytes beyond */
    b[i / 8] ^= (uint8_t)(1u << i % 8);
  }
  assert_true(equal_secret(a, b, 0));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sha256),      cmocka_unit_test(is_text), cmocka_unit_test(random_texts),
      cmocka_unit_test(random_bits), cmocka_unit_test(secrets),
  };
  if (hash_open() || hash_open()) /* twice is once */
    return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
