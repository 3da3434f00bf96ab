/* A set of 64-bit fingerprints: which files were taken. */
#ifndef ASALEED_KNOWN_H
#define ASALEED_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KNOWN_MAX 1000000

struct known {
  uint64_t *slots; /* 0: free */
  size_t n, size;  /* size is 0 or a power of two */
};

void known_finish(struct known *k);
void known_clear(struct known *k); /* empty again, memory kept */
bool known_has(const struct known *k, uint64_t print);
/* A set that is full forgets all that it had, and without memory a print is not added: what is not known is only copied
 * once more. */
void known_add(struct known *k, uint64_t print);

#endif
