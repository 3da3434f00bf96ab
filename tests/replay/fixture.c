#include "fixture.h"

#include "buf.h"
#include "str.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
  _fd_cleanup_ int fd = open(path, O_RDONLY | O_CLOEXEC);
  _buf_cleanup_ struct buf text = BUF_INIT(CAPTURE_TEXT_MAX);
  char part[65536];
  ssize_t n;
  unsigned line = 0;
  while (fd >= 0 && (n = read(fd, part, sizeof part)) > 0)
    buf_add(&text, part, (size_t)n);
  if (fd < 0 || n < 0 || text.err) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return false;
  }
  *ret = (struct fixture){.path = path};
  if (capture_parse((const char *)text.data, text.len, &ret->capture, &line) < 0) {
    fprintf(stderr, "%s:%u: not a line of a capture\n", path, line);
    return false;
  }
  ret->driver = find(ret->capture.header.driver);
  if (!ret->driver) {
    fprintf(stderr, "%s:2: no driver %s\n", path, ret->capture.header.driver);
    capture_finish(&ret->capture);
    return false;
  }
  return true;
}

void fixture_finish(struct fixture *f) {
  capture_finish(&f->capture);
}
