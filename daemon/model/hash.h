/* SHA-256 (Nettle), keyed BLAKE2b, random bytes and constant-time comparison (libsodium). */
#ifndef ASALEED_HASH_H
#define ASALEED_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_BYTES 32
#define HASH_TEXT 65 /* 64 lower-case hex digits and a NUL */

int hash_open(void); /* once per process, before the others; -EIO */
void hash_sha256(const void *bytes, size_t n, uint8_t ret[static HASH_BYTES]);
void hash_sha256_text(const void *bytes, size_t n, char ret[static HASH_TEXT]);
/* The SHA-256 of what comes in parts. */
struct hash_stream {
  uint64_t state[16]; /* the library's */
};
void hash_start(struct hash_stream *h);
void hash_add(struct hash_stream *h, const void *bytes, size_t n);
void hash_end(struct hash_stream *h, uint8_t ret[static HASH_BYTES]); /* h is spent */
void hash_text(struct hash_stream *h, char ret[static HASH_TEXT]);    /* the same */
bool hash_is_text(const char *text);                                  /* 64 lower-case hex digits */

/* BLAKE2b with a key of HASH_BYTES: nobody makes one without the key. */
struct hash_keyed {
  _Alignas(64) uint8_t state[384]; /* the library's */
};
void hash_keyed_start(struct hash_keyed *h, const uint8_t key[static HASH_BYTES]);
void hash_keyed_add(struct hash_keyed *h, const void *bytes, size_t n);
void hash_keyed_end(struct hash_keyed *h, uint8_t ret[static HASH_BYTES]); /* h is spent */
void hash_keyed(const uint8_t key[static HASH_BYTES], const void *bytes, size_t n, uint8_t ret[static HASH_BYTES]);
/* A key made of another, one for each purpose; neither tells anything of the others. */
void hash_derive(const uint8_t key[static HASH_BYTES], const char *context, uint8_t ret[static HASH_BYTES]);

void random_bytes(void *bytes, size_t n);
void random_text(char *text, size_t hex_digits); /* hex_digits (even) digits and a NUL */
bool equal_secret(const void *a, const void *b, size_t n);

#endif
