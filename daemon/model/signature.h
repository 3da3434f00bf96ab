/* Ed25519 signatures (RFC 8032) by libsodium, which refuses what is not in canonical form: of one key and text there is
 * one signature. hash_open() comes before signature_key() and signature_wrap(), which take random bytes. */
#ifndef ASALEED_SIGNATURE_H
#define ASALEED_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGNATURE_BYTES 64
#define SIGNATURE_PUBLIC 32
#define SIGNATURE_SECRET 64 /* the seed, then the public key */
#define SIGNATURE_SEED 32
#define SIGNATURE_WRAP_KEY 32
#define SIGNATURE_WRAPPED (24 + SIGNATURE_SECRET + 16) /* nonce, secret, tag */

/* The key of a seed; a new one. */
void signature_seed(const uint8_t seed[static SIGNATURE_SEED], uint8_t ret_public[static SIGNATURE_PUBLIC],
                    uint8_t ret_secret[static SIGNATURE_SECRET]);
void signature_key(uint8_t ret_public[static SIGNATURE_PUBLIC], uint8_t ret_secret[static SIGNATURE_SECRET]);

void signature_make(const uint8_t secret[static SIGNATURE_SECRET], const void *bytes, size_t n,
                    uint8_t ret[static SIGNATURE_BYTES]);
bool signature_holds(const uint8_t public[static SIGNATURE_PUBLIC], const void *bytes, size_t n,
                     const uint8_t signature[static SIGNATURE_BYTES]);

/* A secret as it is stored: XChaCha20-Poly1305 under a key that lies elsewhere, with a random nonce. Unwrapping gives
 * -EBADMSG for another key, a changed byte, or a secret whose public half is not that of `public`, which is stored
 * beside it: a row put in another's place signs nothing. The caller wipes the secret. */
void signature_wrap(const uint8_t key[static SIGNATURE_WRAP_KEY], const uint8_t secret[static SIGNATURE_SECRET],
                    uint8_t ret[static SIGNATURE_WRAPPED]);
int signature_unwrap(const uint8_t key[static SIGNATURE_WRAP_KEY], const uint8_t wrapped[static SIGNATURE_WRAPPED],
                     const uint8_t public[static SIGNATURE_PUBLIC], uint8_t ret_secret[static SIGNATURE_SECRET]);

#endif
