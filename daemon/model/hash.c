#include "hash.h"

#include "str.h"
#include <assert.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <sodium.h>
#include <string.h>

int hash_open(void) {
  return sodium_init() < 0 ? -EIO : 0;
}

/* Nettle's SHA-256: several times libsodium's where the processor helps, and pictures are large. */
static_assert(sizeof(struct sha256_ctx) <= sizeof(struct hash_stream), "the library's state fits");

void hash_start(struct hash_stream *h) {
  sha256_init((struct sha256_ctx *)(void *)h);
}

void hash_add(struct hash_stream *h, const void *bytes, size_t n) {
  sha256_update((struct sha256_ctx *)(void *)h, n, bytes);
}

void hash_end(struct hash_stream *h, uint8_t ret[static HASH_BYTES]) {
  sha256_digest((struct sha256_ctx *)(void *)h, HASH_BYTES, ret);
}

void hash_text(struct hash_stream *h, char ret[static HASH_TEXT]) {
  uint8_t raw[HASH_BYTES];
  hash_end(h, raw);
  str_hex(raw, sizeof raw, ret);
}

void hash_sha256(const void *bytes, size_t n, uint8_t ret[static HASH_BYTES]) {
  struct hash_stream h;
  hash_start(&h);
  hash_add(&h, bytes, n);
  hash_end(&h, ret);
}

void hash_sha256_text(const void *bytes, size_t n, char ret[static HASH_TEXT]) {
  uint8_t raw[HASH_BYTES];
  hash_sha256(bytes, n, raw);
  str_hex(raw, sizeof raw, ret);
}

bool hash_is_text(const char *text) {
  return strspn(text, "0123456789abcdef") == HASH_TEXT - 1 && !text[HASH_TEXT - 1];
}

static_assert(sizeof(crypto_generichash_state) <= sizeof(struct hash_keyed) &&
                  _Alignof(struct hash_keyed) % _Alignof(crypto_generichash_state) == 0,
              "the library's state fits");

void hash_keyed_start(struct hash_keyed *h, const uint8_t key[static HASH_BYTES]) {
  crypto_generichash_init((crypto_generichash_state *)(void *)h, key, HASH_BYTES, HASH_BYTES);
}

void hash_keyed_add(struct hash_keyed *h, const void *bytes, size_t n) {
  crypto_generichash_update((crypto_generichash_state *)(void *)h, bytes, n);
}

void hash_keyed_end(struct hash_keyed *h, uint8_t ret[static HASH_BYTES]) {
  crypto_generichash_final((crypto_generichash_state *)(void *)h, ret, HASH_BYTES);
}

void hash_keyed(const uint8_t key[static HASH_BYTES], const void *bytes, size_t n, uint8_t ret[static HASH_BYTES]) {
  crypto_generichash(ret, HASH_BYTES, bytes, n, key, HASH_BYTES);
}

void hash_derive(const uint8_t key[static HASH_BYTES], const char *context, uint8_t ret[static HASH_BYTES]) {
  hash_keyed(key, context, strlen(context), ret);
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
