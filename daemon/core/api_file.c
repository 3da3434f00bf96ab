/* Artefacts as answers: sent a part at a time, so that nobody waits while a large one is read and hashed. */
#include "api.h"

#include "log.h"
#include "str.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One on its way: hashed as it is read, and its end is kept back until the hash is right. */
struct sending {
  int fd;
  uint64_t left;
  struct hash_stream hash;
  char sha256[HASH_TEXT];
};

static size_t sending_read(void *arg, char *bytes, size_t max) {
  struct sending *s = arg;
  ssize_t n;
  do
    n = read(s->fd, bytes, max < s->left ? max : (size_t)s->left);
  while (n < 0 && errno == EINTR);
  if (n <= 0) {
    log_error("artefact %s: cannot be read to its end", s->sha256);
    return 0;
  }
  hash_add(&s->hash, bytes, (size_t)n);
  s->left -= (uint64_t)n;
  if (s->left)
    return (size_t)n;
  char again[HASH_TEXT];
  hash_text(&s->hash, again);
  if (!strcmp(again, s->sha256))
    return (size_t)n;
  log_error("artefact %s: its contents are damaged", s->sha256);
  return 0;
}

static void sending_finish(void *arg) {
  struct sending *s = arg;
  close(s->fd);
  free(s);
}

static int artefact_bytes(struct store *s, const char *sha256, int64_t *ret) {
  struct rows r = store_query(s, "SELECT bytes FROM artefact WHERE sha256 = ?", "t", sha256);
  *ret = rows_next(&r) ? rows_int(&r, 0) : 0;
  return rows_finish(&r);
}

enum problem api_send(struct api_call *call, const char *sha256, const char *type) {
  struct stat st;
  int64_t bytes;
  int r = artefact_bytes(call->api->store, sha256, &bytes);
  if (r < 0)
    return problem_of_errno(r);
  _fd_cleanup_ int fd = artefact_open(call->api->artefacts, sha256);
  if (fd < 0)
    return problem_of_errno(fd);
  if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size != bytes)
    return P_artefact_corrupt;
  struct sending *s = calloc(1, sizeof *s);
  if (!s)
    return P_overloaded;
  *s = (struct sending){.fd = fd, .left = (uint64_t)bytes};
  str_copy(s->sha256, sizeof s->sha256, sha256);
  hash_start(&s->hash);
  fd = -1; /* its own from now on */
  call->http->status = 200;
  call->http->type = type;
  call->http->stream = (struct http_stream){.read = sending_read, .finish = sending_finish, .arg = s, .bytes = s->left};
  return P_OK;
}
