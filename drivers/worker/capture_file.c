#include "capture_file.h"

#include "capture.h"
#include "str.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int file_read(const char *path, struct buf *ret) {
  _fd_cleanup_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0)
    return -errno;
  uint8_t part[65536];
  ssize_t n;
  while ((n = read(fd, part, sizeof part)) > 0)
    if (buf_add(ret, part, (size_t)n) < 0)
      return ret->err;
  return n < 0 ? -errno : 0;
}

int capture_file_read(const char *path, struct buf *text, struct buf *blobs, char why[static 512]) {
  *text = BUF_INIT(CAPTURE_TEXT_MAX);
  *blobs = BUF_INIT(ACQ_BLOBS_BYTES_MAX);
  snprintf(why, 512, "%s", path);
  int r = file_read(path, text);
  const char *slash = strrchr(path, '/');
  const char *at = (const char *)text->data, *end = at + text->len;
  while (r == 0 && at < end) {
    const char *nl = memchr(at, '\n', (size_t)(end - at));
    if (!nl)
      break;
    char sha[HASH_TEXT] = "";
    if ((*at == ACQ_BLOB_WHOLE || *at == ACQ_BLOB_WASTE) && nl - at > HASH_TEXT)
      memcpy(sha, nl - HASH_TEXT + 1, HASH_TEXT - 1);
    at = nl + 1;
    if (!hash_is_text(sha))
      continue;
    snprintf(why, 512, "%.*sblobs/%s", slash ? (int)(slash - path + 1) : 0, path, sha);
    r = file_read(why, blobs);
  }
  return r;
}
