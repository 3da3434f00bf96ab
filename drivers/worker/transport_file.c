#include "transport.h"

#include "str.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
  struct transport base;
  int fd;
};

static int file_read(struct transport *t, void *bytes, size_t max, size_t want, uint64_t deadline_us) {
  struct file *f = (struct file *)t;
  (void)want;
  (void)deadline_us; /* a regular file never makes anybody wait */
  struct pollfd stop = {.fd = t->interrupt, .events = POLLIN};
  if (poll(&stop, 1, 0) > 0)
    return -EINTR;
  ssize_t n;
  do
    n = read(f->fd, bytes, max);
  while (n < 0 && errno == EINTR);
  if (n < 0) /* the stick that holds the file was pulled out */
    return transport_fail(t, -ENODEV, "the file can no longer be read");
  return n ? (int)n : -ENODATA;
}

static void file_destroy(struct transport *t) {
  struct file *f = (struct file *)t;
  fd_finish(&f->fd);
  free(f);
}

static const struct transport_ops file_ops = {.read = file_read, .destroy = file_destroy};

int transport_file_open(const char *path, uint32_t max_bytes, struct transport **ret,
                        char why[static TRANSPORT_WHY_MAX]) {
  struct file *f = calloc(1, sizeof *f);
  if (!f)
    return -ENOMEM;
  transport_init(&f->base, &file_ops);
  struct stat st;
  int err = 0;
  /* O_NONBLOCK: a FIFO put in the place of a file must not hold us before it is looked at. */
  f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (f->fd < 0) {
    err = -errno;
    snprintf(why, TRANSPORT_WHY_MAX, "the file cannot be opened");
  } else if (fstat(f->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
    err = -ENODEV;
    snprintf(why, TRANSPORT_WHY_MAX, "not a regular file");
  } else if (st.st_size > (off_t)max_bytes) {
    err = -EFBIG;
    snprintf(why, TRANSPORT_WHY_MAX, "the file is longer than %u bytes", max_bytes);
  }
  if (err) {
    file_destroy(&f->base);
    return err;
  }
  *ret = &f->base;
  return 0;
}
