#include "hash.h"

#include "str.h"
#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

int hash_open(void) {
  return sodium_init() < 0 ? -EIO : 0;
}

void hash_sha256(const void *bytes, size_t n, uint8_t ret[static HASH_BYTES]) {
  crypto_hash_sha256(ret, bytes, n);
}

void hash_sha256_text(const void *bytes, size_t n, char ret[static HASH_TEXT]) {
  uint8_t raw[HASH_BYTES];
  hash_sha256(bytes, n, raw);
  str_hex(raw, sizeof raw, ret);
}

static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(struct hash_stream), "the library's state fits");

void hash_start(struct hash_stream *h) {
  crypto_hash_sha256_init((crypto_hash_sha256_state *)(void *)h);
}

void hash_add(struct hash_stream *h, const void *bytes, size_t n) {
  crypto_hash_sha256_update((crypto_hash_sha256_state *)(void *)h, bytes, n);
}

void hash_text(struct hash_stream *h, char ret[static HASH_TEXT]) {
  uint8_t raw[HASH_BYTES];
  crypto_hash_sha256_final((crypto_hash_sha256_state *)(void *)h, raw);
  str_hex(raw, sizeof raw, ret);
}

bool hash_is_text(const char *text) {
  return strspn(text, "0123456789abcdef") == HASH_TEXT - 1 && !text[HASH_TEXT - 1];
}

void random_bytes(void *bytes, size_t n) {
  randombytes_buf(bytes, n);
}

void random_text(char *text, size_t hex_digits) {
  uint8_t raw[64];
  size_t n = 0;
  do {
    text += 2 * n;
    hex_digits -= 2 * n;
    n = hex_digits / 2 < sizeof raw ? hex_digits / 2 : sizeof raw;
    random_bytes(raw, n);
    str_hex(raw, n, text);
  } while (n == sizeof raw);
  sodium_memzero(raw, sizeof raw);
}

bool equal_secret(const void *a, const void *b, size_t n) {
  return sodium_memcmp(a, b, n) == 0;
}
