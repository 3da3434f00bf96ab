#include "signature.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

#define NONCE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES

static_assert(SIGNATURE_BYTES == crypto_sign_BYTES && SIGNATURE_PUBLIC == crypto_sign_PUBLICKEYBYTES &&
                  SIGNATURE_SECRET == crypto_sign_SECRETKEYBYTES && SIGNATURE_SEED == crypto_sign_SEEDBYTES &&
                  SIGNATURE_WRAP_KEY == crypto_aead_xchacha20poly1305_ietf_KEYBYTES &&
                  SIGNATURE_WRAPPED == NONCE + SIGNATURE_SECRET + crypto_aead_xchacha20poly1305_ietf_ABYTES,
              "the library's sizes");

void signature_seed(const uint8_t seed[static SIGNATURE_SEED], uint8_t ret_public[static SIGNATURE_PUBLIC],
                    uint8_t ret_secret[static SIGNATURE_SECRET]) {
  crypto_sign_seed_keypair(ret_public, ret_secret, seed);
}

void signature_key(uint8_t ret_public[static SIGNATURE_PUBLIC], uint8_t ret_secret[static SIGNATURE_SECRET]) {
  crypto_sign_keypair(ret_public, ret_secret);
}

void signature_make(const uint8_t secret[static SIGNATURE_SECRET], const void *bytes, size_t n,
                    uint8_t ret[static SIGNATURE_BYTES]) {
  crypto_sign_detached(ret, NULL, bytes, n, secret);
}

bool signature_holds(const uint8_t public[static SIGNATURE_PUBLIC], const void *bytes, size_t n,
                     const uint8_t signature[static SIGNATURE_BYTES]) {
  return crypto_sign_verify_detached(signature, bytes, n, public) == 0;
}

void signature_wrap(const uint8_t key[static SIGNATURE_WRAP_KEY], const uint8_t secret[static SIGNATURE_SECRET],
                    uint8_t ret[static SIGNATURE_WRAPPED]) {
  randombytes_buf(ret, NONCE);
  crypto_aead_xchacha20poly1305_ietf_encrypt(ret + NONCE, NULL, secret, SIGNATURE_SECRET, NULL, 0, NULL, ret, key);
}

int signature_unwrap(const uint8_t key[static SIGNATURE_WRAP_KEY], const uint8_t wrapped[static SIGNATURE_WRAPPED],
                     const uint8_t public[static SIGNATURE_PUBLIC], uint8_t ret_secret[static SIGNATURE_SECRET]) {
  uint8_t secret[SIGNATURE_SECRET];
  int r = crypto_aead_xchacha20poly1305_ietf_decrypt(secret, NULL, NULL, wrapped + NONCE, SIGNATURE_WRAPPED - NONCE,
                                                     NULL, 0, wrapped, key) == 0 &&
                  sodium_memcmp(secret + SIGNATURE_SEED, public, SIGNATURE_PUBLIC) == 0
              ? 0
              : -EBADMSG;
  if (r == 0)
    memcpy(ret_secret, secret, sizeof secret);
  sodium_memzero(secret, sizeof secret);
  return r;
}
