#include "artefact.h"

#include "log.h"
#include "str.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* 256 folders by the first two digits, so that none grows beyond what a file system lists quickly. */
struct artefacts {
  int dir;
  int incoming; /* what is being written in slices; empty when nobody writes */
  unsigned next;
  char *path;          /* of the store, absolute */
  bool unsettled[256]; /* shelves to which names came that are not on the disk yet, */
  bool made;           /* and whether one of them is new */
};

#define SLICE (1u << 20)
#define SETTLE_EACH 4u /* folders that are synced one by one */

static int folder_make(int at, const char *name) {
  if (mkdirat(at, name, 0700) < 0)
    return errno == EEXIST ? 0 : -errno;
  if (fsync(at) == 0) /* a new name must survive as well as what it names */
    return 0;
  int r = -errno;
  unlinkat(at, name, AT_REMOVEDIR); /* the next put tries again */
  return r;
}

/* The name of a shelf that was made for a settle to come survives as well. */
static int shelf_make(struct artefacts *a, const char *shelf) {
  if (a->made && fsync(a->dir) < 0)
    return -errno;
  a->made = false;
  return folder_make(a->dir, shelf);
}

static int folder_open(int at, const char *name) {
  int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  return fd < 0 ? -errno : fd;
}

static bool is_of_collector(const char *name) {
  return name[0] == 'c' && name[1] && name[1 + strspn(name + 1, "0123456789")] == 0;
}

/* Files that a run left when it was killed, and collectors' folders; others (`deep`: no others) are not ours to empty.
 */
static void folder_empty(int folder, bool deep) {
  int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *d = fd < 0 ? NULL : fdopendir(fd);
  if (!d) {
    if (fd >= 0)
      close(fd);
    return;
  }
  const struct dirent *entry;
  while ((entry = readdir(d))) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || unlinkat(folder, entry->d_name, 0) == 0 ||
        (!deep && !is_of_collector(entry->d_name)))
      continue;
    _fd_cleanup_ int within = folder_open(folder, entry->d_name);
    if (within >= 0)
      folder_empty(within, true);
    unlinkat(folder, entry->d_name, AT_REMOVEDIR);
  }
  closedir(d);
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
  struct artefacts *a = calloc(1, sizeof *a);
  r = folder_make(fd, "incoming");
  int incoming = r < 0 ? r : folder_open(fd, "incoming");
  if (!a || incoming < 0) {
    fd_finish(&incoming);
    close(fd);
    free(a);
    return a ? incoming : -ENOMEM;
  }
  folder_empty(incoming, false);
  a->dir = fd;
  a->incoming = incoming;
  a->path = realpath(dir, NULL);
  if (!a->path) {
    r = -errno;
    artefacts_close(a);
    return r;
  }
  *ret = a;
  return 0;
}

int artefacts_look(const char *dir, struct artefacts **ret) {
  _fd_cleanup_ int top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (top < 0)
    return -errno;
  struct artefacts *a = calloc(1, sizeof *a);
  if (!a)
    return -ENOMEM;
  a->incoming = -1;
  a->dir = folder_open(top, "artefacts");
  a->path = a->dir < 0 ? NULL : realpath(dir, NULL);
  if (!a->path) {
    int r = a->dir < 0 ? a->dir : -errno;
    artefacts_close(a);
    return r;
  }
  *ret = a;
  return 0;
}

const char *artefacts_store(const struct artefacts *a) {
  return a->path;
}

void artefacts_close(struct artefacts *a) {
  if (!a)
    return;
  fd_finish(&a->incoming);
  fd_finish(&a->dir);
  free(a->path);
  free(a);
}

static int file_put(int folder, const char *name, const void *bytes, size_t n) {
  char temporary[HASH_TEXT + 8];
  snprintf(temporary, sizeof temporary, "%s.new", name);
  unlinkat(folder, temporary, 0); /* left by a run that was killed, or a link that somebody planted */
  _fd_cleanup_ int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
  if (fd < 0)
    return -errno;
  int r = fd_write_all(fd, bytes, n);
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
  r = shelf_make(a, shelf);
  _fd_cleanup_ int folder = r < 0 ? r : folder_open(a->dir, shelf);
  r = folder < 0 ? folder : file_put(folder, sha256, bytes, n);
  if (r < 0)
    return log_errno(LOG_ERROR, r, "artefact: cannot store a %s of %zu bytes", kind, n);
  r = artefact_add(s, sha256, kind, n, at);
  if (r < 0)
    return r;
  str_copy(ret_sha256, HASH_TEXT, sha256);
  return 0;
}

int artefact_add(struct store *s, const char *sha256, const char *kind, size_t n, int64_t at) {
  int r =
      store_run(s, "INSERT INTO artefact VALUES(?,?,?,?) ON CONFLICT DO NOTHING", "ttii", sha256, kind, (int64_t)n, at);
  return r < 0 ? r : 0;
}

/* ---- in slices ---- */

struct artefact_writer {
  struct artefacts *artefacts;
  int source, fd;
  int64_t offset;
  size_t n, done;
  char name[32]; /* in incoming, "" once it is gone from there */
  struct hash_stream hash;
  char sha256[HASH_TEXT];
};

int artefact_writer_start(struct artefacts *a, int source, int64_t offset, size_t n, struct artefact_writer **ret) {
  struct artefact_writer *w = calloc(1, sizeof *w);
  if (!w)
    return -ENOMEM;
  *w = (struct artefact_writer){.artefacts = a, .source = source, .offset = offset, .n = n};
  snprintf(w->name, sizeof w->name, "w%u", a->next++);
  unlinkat(a->incoming, w->name, 0);
  w->fd = openat(a->incoming, w->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
  if (w->fd < 0) {
    int r = -errno;
    free(w);
    return r;
  }
  hash_start(&w->hash);
  *ret = w;
  return 0;
}

void artefact_writer_free(struct artefact_writer *w) {
  if (!w)
    return;
  if (w->name[0])
    unlinkat(w->artefacts->incoming, w->name, 0);
  fd_finish(&w->fd);
  free(w);
}

const char *artefact_writer_sha256(const struct artefact_writer *w) {
  return w->sha256;
}

static int writer_slice(struct artefact_writer *w) {
  uint8_t part[65536];
  const size_t from = w->done, until = w->n - from < SLICE ? w->n : from + SLICE;
  while (w->done < until) {
    size_t want = until - w->done < sizeof part ? until - w->done : sizeof part;
    ssize_t got = pread(w->source, part, want, w->offset + (int64_t)w->done);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return got < 0 ? -errno : -EUCLEAN;
    int r = fd_write_all(w->fd, part, (size_t)got);
    if (r < 0)
      return r;
    hash_add(&w->hash, part, (size_t)got);
    w->done += (size_t)got;
  }
  /* The disk begins now: the fsync at the end finds little left to do. */
  sync_file_range(w->fd, (off_t)from, (off_t)(until - from), SYNC_FILE_RANGE_WRITE);
  return 0;
}

/* The same bytes are there, undamaged: a file that was taken in, and is the blob of its capture. Looking costs less
 * than the disk does, up to a size. */
static bool is_there(const struct artefact_writer *w) {
  uint8_t *bytes;
  size_t n;
  if (w->n > SLICE || artefact_get(w->artefacts, w->sha256, w->n, &bytes, &n) < 0)
    return false;
  free(bytes);
  return true;
}

static int writer_finish(struct artefact_writer *w) {
  hash_text(&w->hash, w->sha256);
  const char shelf[] = {w->sha256[0], w->sha256[1], 0};
  const bool there = is_there(w);
  int r = !there && fsync(w->fd) < 0 ? -errno : shelf_make(w->artefacts, shelf);
  _fd_cleanup_ int folder = r < 0 ? r : folder_open(w->artefacts->dir, shelf);
  if (folder < 0)
    return folder;
  if (there)
    return fsync(folder) < 0 ? -errno : 0; /* it may have come there without that */
  if (renameat(w->artefacts->incoming, w->name, folder, w->sha256) < 0)
    return -errno;
  w->name[0] = 0;
  return fsync(folder) < 0 ? -errno : 0;
}

int artefact_writer_step(struct artefact_writer *w) {
  int r = w->done < w->n ? writer_slice(w) : 0;
  if (r == 0 && w->done < w->n)
    return 1;
  if (r == 0)
    r = writer_finish(w);
  return r < 0 ? log_errno(LOG_ERROR, r, "artefact: cannot store %zu bytes", w->n) : 0;
}

int artefacts_scratch(struct artefacts *a) {
  char name[32];
  snprintf(name, sizeof name, "w%u", a->next++);
  int fd = openat(a->incoming, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) /* a full disk: what comes waits in memory until it can be stored */
    return (fd = memfd_create("scratch", MFD_CLOEXEC)) < 0 ? -errno : fd;
  unlinkat(a->incoming, name, 0);
  return fd;
}

int artefacts_incoming(struct artefacts *a, char ret_name[static ARTEFACT_FOLDER_MAX]) {
  snprintf(ret_name, ARTEFACT_FOLDER_MAX, "c%u", a->next++);
  int fd = mkdirat(a->incoming, ret_name, 0700) < 0 ? -errno : folder_open(a->incoming, ret_name);
  if (fd < 0)
    ret_name[0] = 0;
  return fd;
}

void artefacts_incoming_remove(struct artefacts *a, const char *name) {
  _fd_cleanup_ int folder = folder_open(a->incoming, name);
  if (folder >= 0)
    folder_empty(folder, true);
  unlinkat(a->incoming, name, AT_REMOVEDIR);
}

static bool is_file_of(int folder, const char *name, uint64_t n) {
  struct stat st;
  return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == n;
}

int artefact_take(struct artefacts *a, const char *name, const char *sha256, uint64_t n) {
  const char shelf[] = {sha256[0], sha256[1], 0};
  if (!hash_is_text(sha256))
    return -EINVAL;
  if (mkdirat(a->dir, shelf, 0700) == 0)
    a->made = true;
  else if (errno != EEXIST)
    return -errno;
  _fd_cleanup_ int folder = folder_open(a->dir, shelf);
  if (folder < 0)
    return folder;
  if (is_file_of(folder, sha256, n)) /* whose bytes are known better than by a collector's word; or taken before */
    unlinkat(a->incoming, name, 0);
  else if (!is_file_of(a->incoming, name, n))
    return -EPROTO;
  else if (renameat(a->incoming, name, folder, sha256) < 0)
    return -errno;
  uint8_t number = 0;
  str_unhex(shelf, &number, 1);
  a->unsettled[number] = true;
  return 0;
}

/* Each folder that is synced costs the disk a flush: beyond a few, one sync of the whole file system costs less, where
 * a collector has just synced what is large. */
static int settle_many(struct artefacts *a) {
  if (syncfs(a->dir) < 0)
    return -errno;
  a->made = false;
  memset(a->unsettled, 0, sizeof a->unsettled);
  return 0;
}

int artefacts_settle(struct artefacts *a) {
  unsigned n = a->made;
  for (unsigned i = 0; i < sizeof a->unsettled; i++)
    n += a->unsettled[i];
  if (n > SETTLE_EACH)
    return settle_many(a);
  if (a->made && fsync(a->dir) < 0)
    return -errno;
  a->made = false;
  for (unsigned i = 0; i < sizeof a->unsettled; i++) {
    char shelf[3];
    if (!a->unsettled[i])
      continue;
    str_hex(&(uint8_t){(uint8_t)i}, 1, shelf);
    _fd_cleanup_ int folder = folder_open(a->dir, shelf);
    if (folder < 0)
      return folder;
    if (fsync(folder) < 0)
      return -errno;
    a->unsettled[i] = false;
  }
  return 0;
}

int artefacts_temporary(struct artefacts *a, char ret_name[static ARTEFACT_NAME_MAX]) {
  snprintf(ret_name, ARTEFACT_NAME_MAX, "w%u", a->next++);
  int fd = openat(a->incoming, ret_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  return fd < 0 ? -errno : fd;
}

int artefacts_temporary_path(const struct artefacts *a, const char *name, char *ret, size_t size) {
  int n = snprintf(ret, size, "%s/artefacts/incoming/%s", a->path, name);
  return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

void artefact_discard(struct artefacts *a, const char *name) {
  unlinkat(a->incoming, name, 0);
}

int artefact_path(const struct artefacts *a, const char *sha256, char *ret, size_t size) {
  int n = hash_is_text(sha256) ? snprintf(ret, size, "%s/artefacts/%.2s/%s", a->path, sha256, sha256) : -1;
  return n < 0 ? -EINVAL : (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int artefact_open(struct artefacts *a, const char *sha256) {
  if (!hash_is_text(sha256))
    return -EINVAL;
  const char shelf[] = {sha256[0], sha256[1], 0};
  _fd_cleanup_ int folder = folder_open(a->dir, shelf);
  int fd = folder < 0 ? folder : openat(folder, sha256, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  return folder < 0 ? folder : fd < 0 ? -errno : fd;
}

int artefact_forget(struct store *s, const char *sha256) {
  int r = store_run(s, "DELETE FROM artefact WHERE sha256 = ?", "t", sha256);
  return r < 0 ? r : 0;
}

int artefact_erase(struct artefacts *a, const char *sha256) {
  if (!hash_is_text(sha256))
    return -EINVAL;
  const char shelf[] = {sha256[0], sha256[1], 0};
  _fd_cleanup_ int folder = folder_open(a->dir, shelf);
  if (folder < 0)
    return folder == -ENOENT ? 0 : folder;
  if (unlinkat(folder, sha256, 0) < 0 && errno != ENOENT)
    return -errno;
  return fsync(folder) < 0 ? -errno : 0;
}
