/* The few files that a command line names: secrets and texts that are read, answers that are written. */
#include "ctl.h"

#include "str.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int ctl_read_all(struct ctl *c, const char *path, struct buf *b) {
  bool standard = !strcmp(path, "-");
  _fd_cleanup_ int own = standard ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  int fd = standard ? STDIN_FILENO : own;
  if (fd < 0)
    return ctl_usage(c, "%s : lecture impossible (%s)", path, strerrordesc_np(errno));
  for (;;) {
    uint8_t bytes[4096];
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return ctl_usage(c, "%s : lecture impossible (%s)", path, strerrordesc_np(errno));
    if (n == 0)
      break;
    buf_add(b, bytes, (size_t)n);
    explicit_bzero(bytes, (size_t)n);
    if (b->err)
      return ctl_usage(c, "%s : trop long", path);
  }
  return CTL_OK;
}

int ctl_read(struct ctl *c, const char *path, struct buf *b) {
  int r = ctl_read_all(c, path, b);
  if (r != CTL_OK)
    return r;
  if (b->len && b->data[b->len - 1] == '\n')
    b->len--;
  if (b->len && b->data[b->len - 1] == '\r')
    b->len--;
  return CTL_OK;
}

int ctl_read_secret(struct ctl *c, const char *path, char *secret, size_t size) {
  struct stat st;
  if (strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077))
    ctl_say(c, "attention : %s est lisible par d'autres (chmod 600 %s)", path, path);
  struct buf b = BUF_INIT(4096);
  buf_extend(&b, 2048); /* once, so that no freed copy keeps the secret */
  buf_reset(&b);
  int r = ctl_read(c, path, &b);
  for (size_t i = 0; r == CTL_OK && i < b.len; i++)
    if (b.data[i] <= 0x20 || b.data[i] > 0x7e)
      r = ctl_usage(c, "%s : un jeton est attendu, seul sur une ligne", path);
  if (r == CTL_OK && (!b.len || b.len >= size))
    r = ctl_usage(c, "%s : un jeton est attendu, seul sur une ligne", path);
  if (r == CTL_OK) {
    memcpy(secret, b.data, b.len);
    secret[b.len] = 0;
  }
  if (b.data)
    explicit_bzero(b.data, b.len);
  buf_finish(&b);
  return r;
}

int ctl_file_open(struct ctl *c, struct ctl_file *f, const char *path) {
  *f = (struct ctl_file){.path = path, .fd = -1};
  int n = snprintf(f->temporary, sizeof f->temporary, "%s.XXXXXX", path);
  if (n > 0 && (size_t)n < sizeof f->temporary)
    f->fd = mkostemp(f->temporary, O_CLOEXEC);
  else
    errno = ENAMETOOLONG;
  return f->fd >= 0 ? CTL_OK : ctl_usage(c, "%s : écriture impossible (%s)", path, strerrordesc_np(errno));
}

void ctl_file_drop(struct ctl_file *f) {
  if (f->fd >= 0)
    unlink(f->temporary);
  fd_finish(&f->fd);
}

int ctl_file_commit(struct ctl *c, struct ctl_file *f, const void *bytes, size_t n) {
  int err = fd_write_all(f->fd, bytes, n);
  if (err == 0 && (fsync(f->fd) < 0 || rename(f->temporary, f->path) < 0))
    err = -errno;
  if (err == 0) {
    fd_finish(&f->fd);
    return CTL_OK;
  }
  int r = ctl_usage(c, "%s : écriture impossible (%s)", f->path, strerrordesc_np(-err));
  ctl_file_drop(f);
  return r;
}

int ctl_may_write(struct ctl *c, const char *path) {
  if (!strcmp(path, "-"))
    return c->tty ? ctl_usage(c, "- : la sortie doit être un fichier ou un tube") : CTL_OK;
  if (!ctl_option(c, "force") && access(path, F_OK) == 0)
    return ctl_usage(c, "%s existe déjà : choisir un autre fichier, ou --force", path);
  return CTL_OK;
}

int ctl_write(struct ctl *c, const char *path, const void *bytes, size_t n) {
  struct ctl_file file;
  if (!strcmp(path, "-")) {
    fwrite(bytes, 1, n, c->out);
    return CTL_OK;
  }
  int r = ctl_file_open(c, &file, path);
  return r == CTL_OK ? ctl_file_commit(c, &file, bytes, n) : r;
}
