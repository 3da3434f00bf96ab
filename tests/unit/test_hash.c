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

/* By another implementation (Python's hashlib): the bytes 7 i + n, the key 0, 1, 2, and so on. */
TEST(keyed) {
  static const struct {
    size_t n;
    const char *hash;
  } rows[] = {
      {0, "4e51e7a913fc80137da52880fecca175bf81e117d5c68126dc2774033517ea0d"},
      {1, "dace1c2bbe1660f898884720cb73d4dad6e7d360260c749cee92d58f4aa0f23a"},
      {127, "87e99f233b1f93ed73d3af91ddf19ec2ad193314e5e38079f854426547131cd9"},
      {128, "6d0cb999bc6fba3546a19e2246ea3cf1944066d9d5179e18c0a485d9c73f05ac"},
      {129, "a5f9bbc60ee5cc0c727d5547c31712e8b5f547a2fc44652ce357126a5aeb4680"},
      {255, "687ca7613d2027f7e04c46e2754d36e545859e1c5ca7dd49950fcf8f5f1e8c86"},
      {256, "d5cac66043954f7785946e87338cbc7b43d2aa0c2070deb906df66cf99d5a3fa"},
      {257, "4cb052fb54d4e1b6370c682687f7b99cb102c6b95ff34b3975a1aab271d6ddec"},
      {1000, "4632effb15757daefae83e96daabb0644ffb4cfeb60deefec7a77b46bea86680"},
  };
  uint8_t key[HASH_BYTES], other[HASH_BYTES], bytes[1000], got[HASH_BYTES], want[HASH_BYTES];
  for (size_t i = 0; i < sizeof key; i++)
    key[i] = (uint8_t)i;
  for (size_t i = 0; i < COUNT(rows); i++) {
    for (size_t k = 0; k < rows[i].n; k++)
      bytes[k] = (uint8_t)(k * 7 + rows[i].n);
    assert_true(str_unhex(rows[i].hash, want, sizeof want));
    hash_keyed(key, bytes, rows[i].n, got);
    assert_memory_equal(got, want, sizeof want);
    for (size_t part = 1; part < 300; part += 61) { /* in parts */
      struct hash_keyed h;
      hash_keyed_start(&h, key);
      for (size_t at = 0; at < rows[i].n; at += part)
        hash_keyed_add(&h, bytes + at, rows[i].n - at < part ? rows[i].n - at : part);
      hash_keyed_end(&h, got);
      assert_memory_equal(got, want, sizeof want);
    }
    for (size_t bit = 0; bit < 8 * sizeof key; bit++) {
      memcpy(other, key, sizeof key);
      other[bit / 8] ^= (uint8_t)(1u << bit % 8);
      hash_keyed(other, bytes, rows[i].n, got);
      assert_memory_not_equal(got, want, sizeof want);
    }
  }
  hash_derive(key, "one purpose", got);
  hash_keyed(key, "one purpose", 11, want);
  assert_memory_equal(got, want, sizeof want);
  hash_derive(key, "one purposf", want);
  assert_memory_not_equal(got, want, sizeof want);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sha256),      cmocka_unit_test(is_text), cmocka_unit_test(random_texts),
      cmocka_unit_test(random_bits), cmocka_unit_test(secrets), cmocka_unit_test(keyed),
  };
  if (hash_open() || hash_open()) /* twice is once */
    return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
