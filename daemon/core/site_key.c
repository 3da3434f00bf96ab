#include "site_key.h"

#include "log.h"
#include "str.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "site.key"
#define TEMPORARY "site.key.new"

static int key_read(int folder, uint8_t ret[static HASH_BYTES]) {
  _fd_cleanup_ int fd = openat(folder, NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  struct stat st;
  if (fd < 0)
    return errno == ENOENT ? -ENOKEY : errno == ELOOP ? -EUCLEAN : -errno;
  if (fstat(fd, &st) < 0)
    return -errno;
  if (!S_ISREG(st.st_mode) || st.st_size != HASH_BYTES)
    return -EUCLEAN;
  if (st.st_mode & 077) {
    log_warning("site key: others could read it: what it protects may be known to them");
    if (fchmod(fd, 0600) < 0)
      return -errno;
  }
  uint8_t bytes[HASH_BYTES];
  ssize_t n = read(fd, bytes, sizeof bytes);
  if (n == HASH_BYTES)
    memcpy(ret, bytes, sizeof bytes);
  int r = n < 0 ? -errno : n == HASH_BYTES ? 0 : -EUCLEAN;
  explicit_bzero(bytes, sizeof bytes);
  return r;
}

/* Whole or not there: it gets its name when its bytes are on the disk, and never in another's place. */
static int key_make(int folder) {
  uint8_t bytes[HASH_BYTES];
  unlinkat(folder, TEMPORARY, 0);
  _fd_cleanup_ int fd = openat(folder, TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return -errno;
  random_bytes(bytes, sizeof bytes);
  int r = fd_write_all(fd, bytes, sizeof bytes);
  explicit_bzero(bytes, sizeof bytes);
  if (r == 0 && (fchmod(fd, 0600) < 0 || fsync(fd) < 0 || linkat(folder, TEMPORARY, folder, NAME, 0) < 0))
    r = -errno;
  unlinkat(folder, TEMPORARY, 0);
  return r < 0 ? r : fsync(folder) < 0 ? -errno : 0;
}

int site_key_open(const char *dir, bool make, struct site_key *ret) {
  _fd_cleanup_ int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0)
    return -errno;
  uint8_t root[HASH_BYTES], seed[HASH_BYTES];
  int r = key_read(folder, root);
  if (r == -ENOKEY && make && flock(folder, LOCK_EX) < 0) /* two first starts at once: the second finds the first's */
    return -errno;
  if (r == -ENOKEY && make)
    r = key_read(folder, root);
  if (r == -ENOKEY && make) {
    r = key_make(folder);
    if (r == 0)
      r = key_read(folder, root);
  }
  if (r < 0)
    return r;
  unlinkat(folder, TEMPORARY, 0); /* left by a run that was killed */
  hash_derive(root, "asaleed seal of the tables", ret->seal);
  hash_derive(root, "asaleed secrets of persons", ret->wrap);
  hash_derive(root, "asaleed signatures of the site", seed);
  signature_seed(seed, ret->public, ret->secret);
  explicit_bzero(root, sizeof root);
  explicit_bzero(seed, sizeof seed);
  return 0;
}

void site_key_close(struct site_key *k) {
  explicit_bzero(k, sizeof *k);
}
