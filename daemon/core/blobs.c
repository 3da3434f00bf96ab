#include "blobs.h"

#include "buf.h"
#include "capture.h"
#include "log.h"
#include "str.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILL_SLICE (1u << 20)

struct blob {
  int64_t at;
  size_t n;
  bool whole;             /* the instrument's whole file, as far as the driver knows */
  char sha256[HASH_TEXT]; /* as named; once stored, as it is */
};

struct blobs {
  struct artefacts *artefacts;
  int file;
  struct blob *list;
  size_t n, stored;
  struct artefact_writer *writer;
  int into, from; /* blobs_fill(): borrowed; the artefact that is being read, -1 between two */
  size_t filled;  /* of them; */
  size_t copied;  /* bytes of the next */
  sd_event_source *work;
  void (*done)(void *arg, int result);
  void *arg;
};

/* "# <ms> <n> <sha256>" or "~ ..."; a worker may have written anything there. */
static bool read_line(const char *line, size_t n, struct blob *ret) {
  char text[40 + HASH_TEXT], *bytes, *sha;
  uint64_t size;
  if ((line[0] != ACQ_BLOB_WHOLE && line[0] != ACQ_BLOB_WASTE) || n >= sizeof text)
    return false;
  memcpy(text, line, n);
  text[n] = 0;
  if (!(bytes = strchr(text + 1, ' ')) || !(bytes = strchr(bytes + 1, ' ')) || !(sha = strchr(bytes + 1, ' ')))
    return false;
  *bytes++ = *sha++ = 0;
  if (str_to_u64(bytes, 1, ACQ_BLOB_MAX, &size) < 0 || strlen(sha) != HASH_TEXT - 1 || !hash_is_text(sha))
    return false;
  ret->n = (size_t)size;
  ret->whole = line[0] == ACQ_BLOB_WHOLE;
  str_copy(ret->sha256, sizeof ret->sha256, sha);
  return true;
}

int blobs_new(struct artefacts *a, const char *capture, size_t n, int file, struct blobs **ret) {
  _buf_cleanup_ struct buf list = BUF_INIT(CAPTURE_BLOBS_MAX * sizeof(struct blob));
  int64_t total = 0;
  struct stat st;
  for (const char *at = capture, *end = capture + n, *nl; at < end; at = nl + 1) {
    struct blob blob = {.at = total};
    if (!(nl = memchr(at, '\n', (size_t)(end - at))))
      break;
    if (!read_line(at, (size_t)(nl - at), &blob))
      continue;
    total += (int64_t)blob.n;
    if (total > (int64_t)ACQ_BLOBS_BYTES_MAX)
      return -EFBIG; /* what a file with holes seems to hold would fill the disk */
    if (buf_add(&list, &blob, sizeof blob) < 0)
      return list.err;
  }
  if (file >= 0 && total && (fstat(file, &st) < 0 || st.st_size < total))
    return -EUCLEAN;
  struct blobs *b = calloc(1, sizeof *b);
  if (!b)
    return -ENOMEM;
  *b = (struct blobs){.artefacts = a, .file = file, .from = -1};
  size_t bytes = 0;
  b->list = (struct blob *)(void *)buf_take(&list, &bytes);
  b->n = bytes / sizeof *b->list;
  b->stored = file < 0 ? b->n : 0;
  *ret = b;
  return 0;
}

void blobs_free(struct blobs *b) {
  if (!b)
    return;
  sd_event_source_disable_unref(b->work);
  artefact_writer_free(b->writer);
  fd_finish(&b->from);
  free(b->list);
  free(b);
}

size_t blobs_count(const struct blobs *b) {
  return b->n;
}

const char *blobs_sha256(const struct blobs *b, size_t i) {
  return b->list[i].sha256;
}

bool blobs_stored(const struct blobs *b) {
  return b->stored == b->n;
}

static void blobs_done(struct blobs *b, int result) {
  b->work = sd_event_source_disable_unref(b->work);
  artefact_writer_free(b->writer);
  b->writer = NULL;
  fd_finish(&b->from);
  b->done(b->arg, result);
}

static int on_store(sd_event_source *source, void *arg) {
  (void)source;
  struct blobs *b = arg;
  struct blob *blob = &b->list[b->stored];
  int r = b->writer ? 0 : artefact_writer_start(b->artefacts, b->file, blob->at, blob->n, &b->writer);
  if (r == 0)
    r = artefact_writer_step(b->writer);
  if (r == 0) {
    const char *sha = artefact_writer_sha256(b->writer);
    if (strcmp(sha, blob->sha256))
      log_error("a blob is not what its capture says: kept as %s", sha);
    str_copy(blob->sha256, sizeof blob->sha256, sha);
    artefact_writer_free(b->writer);
    b->writer = NULL;
    b->stored++;
  }
  if (r < 0 || b->stored == b->n)
    blobs_done(b, r);
  return 0;
}

static int blobs_work(struct blobs *b, sd_event *event, sd_event_handler_t slice, void (*done)(void *arg, int result),
                      void *arg) {
  b->done = done;
  b->arg = arg;
  int r = sd_event_add_defer(event, &b->work, slice, b);
  if (r >= 0)
    r = sd_event_source_set_priority(b->work, SD_EVENT_PRIORITY_IDLE); /* people first */
  if (r >= 0)
    r = sd_event_source_set_enabled(b->work, SD_EVENT_ON);
  return r < 0 ? r : 0;
}

int blobs_store(struct blobs *b, sd_event *event, void (*done)(void *arg, int result), void *arg) {
  return blobs_work(b, event, on_store, done, arg);
}

int blobs_add_rows(const struct blobs *b, struct store *s, int64_t at) {
  int r = 0;
  for (size_t i = 0; i < b->n && r == 0; i++)
    r = artefact_add(s, b->list[i].sha256, "blob", b->list[i].n, at);
  return r;
}

bool blobs_have(const struct blobs *b, const char *sha256, size_t n) {
  for (size_t i = 0; i < b->n; i++)
    if (b->list[i].whole && b->list[i].n == n && !strcmp(b->list[i].sha256, sha256))
      return true;
  return false;
}

static int fill_slice(struct blobs *b) {
  const struct blob *blob = &b->list[b->filled];
  if (b->from < 0 && (b->from = artefact_open(b->artefacts, blob->sha256)) < 0)
    return b->from;
  size_t left = blob->n - b->copied;
  ssize_t n = sendfile(b->into, b->from, NULL, left < FILL_SLICE ? left : FILL_SLICE); /* between any two files */
  if (n <= 0)
    return n < 0 ? -errno : -EUCLEAN;
  b->copied += (size_t)n;
  if (b->copied == blob->n) {
    fd_finish(&b->from);
    b->copied = 0;
    b->filled++;
  }
  return 0;
}

static int on_fill(sd_event_source *source, void *arg) {
  (void)source;
  struct blobs *b = arg;
  int r = b->filled < b->n ? fill_slice(b) : 0;
  if (r < 0 || b->filled == b->n)
    blobs_done(b, r);
  return 0;
}

int blobs_fill(struct blobs *b, int file, sd_event *event, void (*done)(void *arg, int result), void *arg) {
  b->into = file;
  b->filled = b->copied = 0;
  return blobs_work(b, event, on_fill, done, arg);
}
