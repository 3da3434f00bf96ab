#include "buf.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_finish(struct buf *b) {
  if (!b)
    return;
  free(b->data);
  b->data = NULL;
  b->len = b->cap = 0;
}

void buf_reset(struct buf *b) {
  b->len = 0;
  b->err = 0;
}

static int buf_fail(struct buf *b, int err) {
  buf_finish(b);
  return b->err = err;
}

static bool buf_reserve(struct buf *b, size_t n) {
  if (b->err)
    return false;
  if (n > b->max - b->len) {
    buf_fail(b, -EFBIG);
    return false;
  }
  size_t need = b->len + n;
  if (need < b->cap) /* one byte is kept for buf_cstr() */
    return true;
  size_t cap = b->cap ? b->cap : 64;
  while (cap <= need)
    cap *= 2;
  uint8_t *data = realloc(b->data, cap);
  if (!data) {
    buf_fail(b, -ENOMEM);
    return false;
  }
  b->data = data;
  b->cap = cap;
  return true;
}

void *buf_extend(struct buf *b, size_t n) {
  if (!buf_reserve(b, n))
    return NULL;
  void *at = b->data + b->len;
  b->len += n;
  return at;
}

int buf_add(struct buf *b, const void *bytes, size_t n) {
  void *at = buf_extend(b, n);
  if (!at)
    return b->err;
  if (n)
    memcpy(at, bytes, n);
  return 0;
}

int buf_text(struct buf *b, const char *text) {
  return buf_add(b, text, strlen(text));
}

int buf_format(struct buf *b, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  int n = vsnprintf(NULL, 0, format, ap);
  va_end(ap);
  if (n < 0)
    return buf_fail(b, -EINVAL);
  if (!buf_reserve(b, (size_t)n)) /* the NUL goes to the byte kept for buf_cstr() */
    return b->err;
  va_start(ap, format);
  vsnprintf((char *)b->data + b->len, (size_t)n + 1, format, ap);
  va_end(ap);
  b->len += (size_t)n;
  return 0;
}

int buf_hex(struct buf *b, const void *bytes, size_t n) {
  static const char digits[] = "0123456789abcdef";
  const uint8_t *p = bytes;
  char *at = buf_extend(b, 2 * n);
  if (!at)
    return b->err;
  for (size_t i = 0; i < n; i++) {
    at[2 * i] = digits[p[i] >> 4];
    at[2 * i + 1] = digits[p[i] & 15];
  }
  return 0;
}

static int buf_little(struct buf *b, uint64_t v, size_t n) {
  uint8_t *at = buf_extend(b, n);
  if (!at)
    return b->err;
  for (size_t i = 0; i < n; i++)
    at[i] = (uint8_t)(v >> (8 * i));
  return 0;
}

int buf_u8(struct buf *b, uint8_t v) {
  return buf_little(b, v, 1);
}

int buf_u16le(struct buf *b, uint16_t v) {
  return buf_little(b, v, 2);
}

int buf_u32le(struct buf *b, uint32_t v) {
  return buf_little(b, v, 4);
}

int buf_u64le(struct buf *b, uint64_t v) {
  return buf_little(b, v, 8);
}

const char *buf_cstr(struct buf *b) {
  if (!buf_reserve(b, 0))
    return NULL;
  b->data[b->len] = 0;
  return (const char *)b->data;
}

uint8_t *buf_take(struct buf *b, size_t *ret_len) {
  if (b->err || !b->len) {
    buf_finish(b);
    return NULL;
  }
  uint8_t *data = b->data;
  *ret_len = b->len;
  b->data = NULL;
  b->len = b->cap = 0;
  return data;
}
