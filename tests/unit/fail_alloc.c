#include "fail_alloc.h"

#include <errno.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OVER_ASAN 1
#elif __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define OVER_OTHER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define OVER_ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define OVER_OTHER 1
#endif

/* volatile: a compiler knows malloc() and would not expect it to change these. */
static volatile size_t countdown; /* 0 = off, 1 = the next one fails */
static volatile bool for_good, hit;
static volatile long live;

void fail_alloc_set(size_t nth, bool on) {
  countdown = nth;
  for_good = on;
  hit = false;
}

bool fail_alloc_hit(void) {
  return hit;
}

long fail_alloc_live(void) {
  return live;
}

#if defined(__GLIBC__) && !defined(OVER_OTHER)

#ifdef OVER_ASAN
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif

void *REAL(malloc)(size_t n);
void *REAL(calloc)(size_t count, size_t n);
void *REAL(realloc)(void *p, size_t n);
void REAL(free)(void *p);

static bool fails(void) {
  if (!countdown)
    return false;
  countdown = countdown - 1;
  if (countdown)
    return false;
  if (for_good)
    countdown = 1;
  hit = true;
  errno = ENOMEM;
  return true;
}

static void *counted(void *p) {
  live = live + (p != NULL);
  return p;
}

void *malloc(size_t n) {
  return fails() ? NULL : counted(REAL(malloc)(n));
}

void *calloc(size_t count, size_t n) {
  return fails() ? NULL : counted(REAL(calloc)(count, n));
}

void *realloc(void *p, size_t n) {
  if (fails())
    return NULL;
  if (!p)
    return counted(REAL(malloc)(n));
  void *q = REAL(realloc)(p, n);
  live = live - (!q && !n); /* freed */
  return q;
}

void free(void *p) {
  live = live - (p != NULL);
  REAL(free)(p);
}

bool fail_alloc_works(void) {
  static void *volatile p; /* so that no allocation is optimised away */
  long before = live;
  fail_alloc_set(2, false);
  p = malloc(1);
  bool first = p != NULL && live == before + 1 && !hit;
  free(p);
  p = malloc(1);
  bool second = p == NULL && live == before && hit;
  free(p);
  fail_alloc_set(0, false);
  return first && second;
}

#else

bool fail_alloc_works(void) {
  return false;
}

#endif
