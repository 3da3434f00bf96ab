/* The site's key: 32 random bytes in <store>/site.key (mode 0600), made once and never changed. Every other key of the
 * site comes from it, one for each purpose; a backup of the store is worth nothing without it. */
#ifndef ASALEED_SITE_KEY_H
#define ASALEED_SITE_KEY_H

#include "hash.h"
#include "signature.h"
#include <stdbool.h>

struct site_key {
  uint8_t seal[HASH_BYTES];                                   /* of the tables' seal (store.h) */
  uint8_t wrap[HASH_BYTES];                                   /* under which secrets of persons are kept */
  uint8_t public[SIGNATURE_PUBLIC], secret[SIGNATURE_SECRET]; /* with which the site signs */
};

/* Reads the key, or makes it when there is none (`make`): it would survive a power cut before this returns. -ENOKEY:
 * there is none; -EUCLEAN: what is there is no key, and stays as it is. The caller ends it with site_key_close(). */
int site_key_open(const char *dir, bool make, struct site_key *ret);
void site_key_close(struct site_key *k); /* leaves nothing of it in memory */

#endif
