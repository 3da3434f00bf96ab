#include "artefact.h"

#include "log.h"
#include "str.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 256 folders by the first two digits, so that none grows beyond what a file system lists quickly. */
struct artefacts {
  int dir;
};

static int folder_make(int at, const char *name) {
  if (mkdirat(at, name, 0700) < 0)
    return errno == EEXIST ? 0 : -errno;
  if (fsync(at) == 0) /* a new name must survive as well as what it names */
    return 0;
  int r = -errno;
  unlinkat(at, name, AT_REMOVEDIR); /* the next put tries again */
  return r;
}

static int folder_open(int at, const char *name) {
  int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  return fd < 0 ? -errno : fd;
}

int artefacts_open(const char *dir, struct artefacts **ret) {
  _fd_cleanup_ int top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (top < 0)
    return -errno;
  int r = folder_make(top, "artefacts");
  int fd = r < 0 ? r : folder_open(top, "artefacts");
  if (fd < 0)
    return fd;
  if (fsync(fd) < 0) /* for folders that a run made just before it was killed; what is there can be read all the same */
    log_errno(LOG_WARNING, -errno, "artefact: cannot sync %s/artefacts", dir);
  struct artefacts *a = malloc(sizeof *a);
  if (!a) {
    close(fd);
    return -ENOMEM;
  }
  a->dir = fd;
  *ret = a;
  return 0;
}

void artefacts_close(struct artefacts *a) {
  if (!a)
    return;
  close(a->dir);
  free(a);
}

static int write_all(int fd, const uint8_t *bytes, size_t n) {
  while (n) {
    ssize_t done = write(fd, bytes, n);
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      return -errno;
    bytes += done;
    n -= (size_t)done;
  }
  return 0;
}

static int file_put(int folder, const char *name, const void *bytes, size_t n) {
  char temporary[HASH_TEXT + 8];
  snprintf(temporary, sizeof temporary, "%s.new", name);
  unlinkat(folder, temporary, 0); /* left by a run that was killed, or a link that somebody planted */
  _fd_cleanup_ int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
  if (fd < 0)
    return -errno;
  int r = write_all(fd, bytes, n);
  if (r == 0 && fsync(fd) < 0)
    r = -errno;
  if (r == 0 && renameat(folder, temporary, folder, name) < 0)
    r = -errno;
  if (r < 0) {
    unlinkat(folder, temporary, 0);
    return r;
  }
  return fsync(folder) < 0 ? -errno : 0;
}

static int file_get(int folder, const char *name, size_t max, uint8_t **ret, size_t *ret_n) {
  _fd_cleanup_ int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0)
    return errno == ELOOP ? -EUCLEAN : -errno;
  struct stat st;
  if (fstat(fd, &st) < 0)
    return -errno;
  if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max)
    return -EUCLEAN; /* nothing that was stored */
  size_t n = (size_t)st.st_size, at = 0;
  uint8_t *bytes = malloc(n + 1);
  if (!bytes)
    return -ENOMEM;
  while (at < n) {
    ssize_t got = read(fd, bytes + at, n - at);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0) {
      int r = got < 0 ? -errno : -EUCLEAN;
      free(bytes);
      return r;
    }
    at += (size_t)got;
  }
  bytes[n] = 0;
  *ret = bytes;
  *ret_n = n;
  return 0;
}

int artefact_get(struct artefacts *a, const char *sha256, size_t max, uint8_t **ret, size_t *ret_n) {
  if (!hash_is_text(sha256))
    return -EINVAL;
  const char shelf[] = {sha256[0], sha256[1], 0};
  _fd_cleanup_ int folder = folder_open(a->dir, shelf);
  if (folder < 0)
    return folder;
  uint8_t *bytes = NULL;
  size_t n = 0;
  int r = file_get(folder, sha256, max, &bytes, &n);
  if (r < 0)
    return r;
  char again[HASH_TEXT];
  hash_sha256_text(bytes, n, again);
  if (strcmp(again, sha256)) {
    free(bytes);
    log_error("artefact %s: its contents are damaged", sha256);
    return -EUCLEAN;
  }
  *ret = bytes;
  *ret_n = n;
  return 0;
}

int artefact_put(struct artefacts *a, struct store *s, const char *kind, const void *bytes, size_t n, int64_t at,
                 char ret_sha256[static HASH_TEXT]) {
  char sha256[HASH_TEXT];
  hash_sha256_text(bytes, n, sha256);
  /* The same bytes again (a re-decode that changed nothing) are durable when their row is there too; a file that was
   * damaged or lost since is written anew. */
  struct rows row = store_query(s, "SELECT 1 FROM artefact WHERE sha256 = ?", "t", sha256);
  bool known = rows_next(&row);
  int r = rows_finish(&row);
  if (r < 0)
    return r;
  uint8_t *there;
  size_t n_there;
  if (known && artefact_get(a, sha256, n, &there, &n_there) == 0) {
    free(there);
    str_copy(ret_sha256, HASH_TEXT, sha256);
    return 0;
  }
  const char shelf[] = {sha256[0], sha256[1], 0};
  r = folder_make(a->dir, shelf);
  _fd_cleanup_ int folder = r < 0 ? r : folder_open(a->dir, shelf);
  r = folder < 0 ? folder : file_put(folder, sha256, bytes, n);
  if (r < 0)
    return log_errno(LOG_ERROR, r, "artefact: cannot store a %s of %zu bytes", kind, n);
  r = store_run(s, "INSERT INTO artefact VALUES(?,?,?,?) ON CONFLICT DO NOTHING", "ttii", sha256, kind, (int64_t)n, at);
  if (r < 0)
    return r;
  str_copy(ret_sha256, HASH_TEXT, sha256);
  return 0;
}
