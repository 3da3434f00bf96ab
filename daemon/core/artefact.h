/* Artefacts: files named by the SHA-256 of their contents, never changed once there.
 *
 * artefact_put() returns when the bytes would survive a power cut: written under a temporary name, fsynced, renamed,
 * directory fsynced. The row that names the artefact is the caller's, in the same act as what refers to it; a file
 * without a row is harmless and found again by the next put of the same bytes.
 */
#ifndef ASALEED_ARTEFACT_H
#define ASALEED_ARTEFACT_H

#include "hash.h"
#include "store.h"

struct artefacts;

int artefacts_open(const char *dir, struct artefacts **ret); /* <dir>/artefacts, made when missing */
void artefacts_close(struct artefacts *a);

/* Stores the bytes and adds the artefact's row (inside the caller's act); kind as the schema lists. */
int artefact_put(struct artefacts *a, struct store *s, const char *kind, const void *bytes, size_t n, int64_t at,
                 char ret_sha256[static HASH_TEXT]);

/* The whole contents, malloc()ed, once their hash has been checked: -EUCLEAN when they are not what was stored,
 * among them anything that is no file or is larger than max; -ENOENT when it is gone. */
int artefact_get(struct artefacts *a, const char *sha256, size_t max, uint8_t **ret, size_t *ret_n);

#endif
