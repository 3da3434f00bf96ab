/* What replay and mutate share: a capture file in memory, and whose it is. */
#ifndef REPLAY_FIXTURE_H
#define REPLAY_FIXTURE_H

#include "buf.h"
#include "capture.h"
#include <asalee/driver.h>

struct fixture {
  const char *path;
  const struct acq_driver *driver;
  struct acq_capture capture;
  struct buf blobs; /* their bytes */
};

/* False after saying why on standard error. */
bool fixture_read(const char *path, struct fixture *ret);
void fixture_finish(struct fixture *f);

/* The positions of a row of n bytes that are tried: all when there are at most 4 * edge, else all near its two ends and
 * between them about FIXTURE_MIDDLE at even distances, odd so that they fall on every place of a frame. */
#define FIXTURE_MIDDLE 500
static inline bool fixture_tries_all(size_t i, size_t n, size_t edge) {
  return n <= 4 * edge || i < edge || n - i <= edge;
}
static inline bool fixture_tries(size_t i, size_t n, size_t edge) {
  return fixture_tries_all(i, n, edge) || i % (n / FIXTURE_MIDDLE | 1) == 0;
}

/* Prints "path: " and the text; counts the failures and stays silent after the twentieth. */
extern unsigned fixture_failures;
void fixture_fail(const struct fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
