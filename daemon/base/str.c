#include "str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void fd_finish(int *fd) {
  int saved = errno;
  if (*fd >= 0)
    close(*fd);
  *fd = -1;
  errno = saved;
}

int fd_write_all(int fd, const void *bytes, size_t n) {
  for (const uint8_t *p = bytes; n;) {
    ssize_t done = write(fd, p, n);
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      return -errno;
    p += done;
    n -= (size_t)done;
  }
  return 0;
}

bool str_copy(char *field, size_t size, const char *text) {
  size_t n = strlen(text);
  if (n >= size) {
    if (size)
      field[0] = 0;
    return false;
  }
  memcpy(field, text, n + 1);
  return true;
}

int str_to_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret) {
  uint64_t v = 0;
  if (!*text)
    return -EINVAL;
  for (const char *p = text; *p; p++) {
    if (*p < '0' || *p > '9')
      return -EINVAL;
    if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
      return -ERANGE;
  }
  if (v < min || v > max)
    return -ERANGE;
  *ret = v;
  return 0;
}

bool str_to_pair(const char *text, uint64_t *ret_first, uint64_t *ret_second) {
  char first[24];
  const char *dot = strchr(text, '.');
  const size_t n = dot ? (size_t)(dot - text) : sizeof first;
  if (n >= sizeof first)
    return false;
  memcpy(first, text, n);
  first[n] = 0;
  return str_to_u64(first, 0, INT64_MAX, ret_first) == 0 && str_to_u64(dot + 1, 0, INT64_MAX, ret_second) == 0;
}

bool str_is_clean_utf8(const char *text, size_t n) {
  const uint8_t *p = (const uint8_t *)text, *end = p + n;
  while (p < end) {
    uint32_t c = *p++;
    if (c < 0x80) {
      if (c < 0x20 || c == 0x7f)
        return false;
      continue;
    }
    unsigned more = c >= 0xf0 && c < 0xf5 ? 3 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xc2 && c < 0xe0 ? 1 : 0;
    if (!more || (size_t)(end - p) < more)
      return false;
    c &= 0x3fu >> more;
    for (unsigned i = 0; i < more; i++, p++) {
      if ((*p & 0xc0) != 0x80)
        return false;
      c = c << 6 | (*p & 0x3f);
    }
    if ((more == 2 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) || (more == 3 && (c < 0x10000 || c > 0x10ffff)))
      return false;
    if (c < 0xa0) /* C1 controls */
      return false;
  }
  return true;
}

void str_hex(const void *bytes, size_t n, char *hex) {
  static const char digits[] = "0123456789abcdef";
  const uint8_t *p = bytes;
  for (size_t i = 0; i < n; i++) {
    hex[2 * i] = digits[p[i] >> 4];
    hex[2 * i + 1] = digits[p[i] & 15];
  }
  hex[2 * n] = 0;
}

static int str_nibble(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

void str_base64(const void *bytes, size_t n, char *text) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const uint8_t *p = bytes;
  for (size_t i = 0; i < n; i += 3) {
    uint32_t three = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
    for (size_t k = 0; k < 4; k++)
      *text++ = i + k <= n ? digits[three >> (18 - 6 * k) & 63] : '=';
  }
  *text = 0;
}

bool str_unhex(const char *text, void *bytes, size_t n) {
  uint8_t *out = bytes;
  for (size_t i = 0; i < n; i++) {
    int high = str_nibble(text[2 * i]);
    int low = high < 0 ? -1 : str_nibble(text[2 * i + 1]);
    if (low < 0)
      return false;
    out[i] = (uint8_t)(high << 4 | low);
  }
  return true;
}

void str_ref(char letter, int64_t id, char ret[static STR_REF_MAX]) {
  snprintf(ret, STR_REF_MAX, "%c-%lld", letter, (long long)id);
}
