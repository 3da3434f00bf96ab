#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "signature.h"
#include "str.h"
#include <cmocka.h>
#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

static void flip(uint8_t *bytes, size_t bit) {
  bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* RFC 8032, 7.1: TEST 1, 2, 3. */
TEST(rfc8032) {
  static const struct {
    const char *seed, *public, *message, *signature;
  } rows[] = {
      {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
       "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
       "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2"
       "4"
       "655141438e7a100b"},
      {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
       "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
       "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302ae"
       "e"
       "b00d291612bb0c00"},
      {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
       "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
       "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28"
       "d"
       "c027beceea1ec40a"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    uint8_t seed[SIGNATURE_SEED], want_public[SIGNATURE_PUBLIC], want[SIGNATURE_BYTES], message[2];
    uint8_t public[SIGNATURE_PUBLIC], secret[SIGNATURE_SECRET], signature[SIGNATURE_BYTES];
    const size_t n = strlen(rows[i].message) / 2;
    assert_true(str_unhex(rows[i].seed, seed, sizeof seed));
    assert_true(str_unhex(rows[i].public, want_public, sizeof want_public));
    assert_true(str_unhex(rows[i].message, message, n));
    assert_true(str_unhex(rows[i].signature, want, sizeof want));
    signature_seed(seed, public, secret);
    assert_memory_equal(public, want_public, sizeof public);
    assert_memory_equal(secret, seed, sizeof seed);
    assert_memory_equal(secret + SIGNATURE_SEED, public, sizeof public);
    signature_make(secret, message, n, signature);
    assert_memory_equal(signature, want, sizeof signature);
    assert_true(signature_holds(public, message, n, signature));
  }
}

/* One bit of the key, the text or the signature, or a byte more or less of the text. */
TEST(changed) {
  uint8_t public[SIGNATURE_PUBLIC], secret[SIGNATURE_SECRET], signature[SIGNATURE_BYTES];
  char text[] = "{\"conclusion\":\"normal\"}.";
  const size_t n = strlen(text) - 1;
  signature_key(public, secret);
  signature_make(secret, text, n, signature);
  for (size_t i = 0; i < 8 * n; i++) {
    flip((uint8_t *)text, i);
    assert_false(signature_holds(public, text, n, signature));
    flip((uint8_t *)text, i);
  }
  for (size_t i = 0; i < 8 * sizeof signature; i++) {
    flip(signature, i);
    assert_false(signature_holds(public, text, n, signature));
    flip(signature, i);
  }
  for (size_t i = 0; i < 8 * sizeof public; i++) {
    flip(public, i);
    assert_false(signature_holds(public, text, n, signature));
    flip(public, i);
  }
  assert_false(signature_holds(public, text, n - 1, signature));
  assert_false(signature_holds(public, text, n + 1, signature));
  assert_true(signature_holds(public, text, n, signature));
}

/* S + L signs the same to who does not look (RFC 8032, 8.4); a key of small order signs anything. */
TEST(forms) {
  static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,       0xd6,
                                    0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, [31] = 0x10};
  uint8_t public[SIGNATURE_PUBLIC], secret[SIGNATURE_SECRET], signature[SIGNATURE_BYTES];
  unsigned carry = 0;
  signature_key(public, secret);
  signature_make(secret, "a", 1, signature);
  for (size_t i = 0; i < sizeof order; i++) {
    carry += (unsigned)signature[32 + i] + order[i];
    signature[32 + i] = (uint8_t)carry;
    carry >>= 8;
  }
  assert_int_equal(carry, 0);
  assert_false(signature_holds(public, "a", 1, signature));
  const uint8_t neutral[SIGNATURE_PUBLIC] = {1}, nothing[SIGNATURE_BYTES] = {1};
  assert_false(signature_holds(neutral, "a", 1, nothing));
}

TEST(keys) {
  uint8_t public[2][SIGNATURE_PUBLIC], secret[2][SIGNATURE_SECRET], again[SIGNATURE_PUBLIC], same[SIGNATURE_SECRET];
  for (size_t i = 0; i < 2; i++) {
    signature_key(public[i], secret[i]);
    signature_seed(secret[i], again, same);
    assert_memory_equal(again, public[i], sizeof again);
    assert_memory_equal(same, secret[i], sizeof same);
  }
  assert_memory_not_equal(public[0], public[1], sizeof again);
}

TEST(wrap) {
  uint8_t key[SIGNATURE_WRAP_KEY], public[SIGNATURE_PUBLIC], secret[SIGNATURE_SECRET], got[SIGNATURE_SECRET];
  uint8_t wrapped[SIGNATURE_WRAPPED], again[SIGNATURE_WRAPPED], untouched[SIGNATURE_SECRET];
  random_bytes(key, sizeof key);
  signature_key(public, secret);
  signature_wrap(key, secret, wrapped);
  signature_wrap(key, secret, again);
  assert_memory_not_equal(wrapped, again, 24); /* never one nonce twice */
  assert_memory_not_equal(wrapped + 24, again + 24, SIGNATURE_SECRET);
  assert_int_equal(signature_unwrap(key, wrapped, public, got), 0);
  assert_memory_equal(got, secret, sizeof got);
  assert_int_equal(signature_unwrap(key, again, public, got), 0);
  assert_memory_equal(got, secret, sizeof got);

  memset(got, 0x5a, sizeof got);
  memcpy(untouched, got, sizeof got);
  for (size_t i = 0; i < 8 * sizeof wrapped; i++) {
    flip(wrapped, i);
    assert_int_equal(signature_unwrap(key, wrapped, public, got), -EBADMSG);
    flip(wrapped, i);
  }
  for (size_t i = 0; i < 8 * sizeof key; i++) {
    flip(key, i);
    assert_int_equal(signature_unwrap(key, wrapped, public, got), -EBADMSG);
    flip(key, i);
  }
  for (size_t i = 0; i < 8 * sizeof public; i++) {
    flip(public, i);
    assert_int_equal(signature_unwrap(key, wrapped, public, got), -EBADMSG);
    flip(public, i);
  }
  assert_memory_equal(got, untouched, sizeof got);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rfc8032), cmocka_unit_test(changed), cmocka_unit_test(forms),
      cmocka_unit_test(keys),    cmocka_unit_test(wrap),
  };
  if (hash_open())
    return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
