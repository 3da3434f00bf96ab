/* Allocations that fail on demand, and a count of the blocks in use, for whole programs: linking fail_alloc.c is
 * enough. It defines malloc(), calloc(), realloc() and free() over those of glibc, or over those of AddressSanitizer;
 * with another C library or sanitizer nothing is defined and fail_alloc_works() is false. */
#ifndef ASALEED_FAIL_ALLOC_H
#define ASALEED_FAIL_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

bool fail_alloc_works(void);

/* From now on the nth allocation (1 = the next one) fails, and with `on` every one after it. 0 stops. */
void fail_alloc_set(size_t nth, bool on);

/* Whether one has failed since fail_alloc_set(). */
bool fail_alloc_hit(void);

/* Blocks allocated and not freed. */
long fail_alloc_live(void);

#endif
