#include "fixture.h"

#include "capture_file.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FAILURES_SHOWN 20

unsigned fixture_failures;

void fixture_fail(const struct fixture *f, const char *format, ...) {
  va_list ap;
  if (++fixture_failures > FAILURES_SHOWN)
    return;
  va_start(ap, format);
  fprintf(stderr, "%s: ", f->path);
  vfprintf(stderr, format, ap);
  fputc('\n', stderr);
  va_end(ap);
}

static const struct acq_driver *find(const char *name) {
  for (size_t i = 0; acq_drivers[i]; i++)
    if (!strcmp(acq_drivers[i]->name, name))
      return acq_drivers[i];
  return NULL;
}

bool fixture_read(const char *path, struct fixture *ret) {
  _buf_cleanup_ struct buf text = {0};
  char why[512];
  unsigned line = 0;
  *ret = (struct fixture){.path = path};
  int r = capture_file_read(path, &text, &ret->blobs, why);
  if (r < 0) {
    fprintf(stderr, "%s: %s\n", why, strerror(-r));
    buf_finish(&ret->blobs);
    return false;
  }
  if (capture_parse_with((const char *)text.data, text.len, ret->blobs.data, ret->blobs.len, &ret->capture, &line) <
      0) {
    fprintf(stderr, "%s:%u: not a line of a capture\n", path, line);
    buf_finish(&ret->blobs);
    return false;
  }
  ret->driver = find(ret->capture.header.driver);
  if (!ret->driver) {
    fprintf(stderr, "%s:2: no driver %s\n", path, ret->capture.header.driver);
    fixture_finish(ret);
    return false;
  }
  return true;
}

void fixture_finish(struct fixture *f) {
  capture_finish(&f->capture);
  buf_finish(&f->blobs);
}
