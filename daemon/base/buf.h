/* A growable buffer with a bound. An append that would pass the bound, or that finds no memory, frees the
 * contents and sets err; further appends do nothing: check err once, at the end.
 * The caller initialises with BUF_INIT and buf_finish()es; buf_take() passes the bytes on. */
#ifndef ASALEED_BUF_H
#define ASALEED_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
  uint8_t *data;
  size_t len, cap, max;
  int err; /* 0, -ENOMEM, -EFBIG; -EINVAL when a caller or a format says so */
};

#define BUF_INIT(bound) ((struct buf){.max = (bound)})
#define _buf_cleanup_ __attribute__((cleanup(buf_finish)))

void buf_finish(struct buf *b);
void buf_reset(struct buf *b); /* empty again, memory kept, error cleared */

/* Room for n more bytes, already counted in len; NULL on error. */
void *buf_extend(struct buf *b, size_t n);
int buf_add(struct buf *b, const void *bytes, size_t n);
int buf_text(struct buf *b, const char *text);
int buf_format(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_hex(struct buf *b, const void *bytes, size_t n);

int buf_u8(struct buf *b, uint8_t v);
int buf_u16le(struct buf *b, uint16_t v);
int buf_u32le(struct buf *b, uint32_t v);
int buf_u64le(struct buf *b, uint64_t v);

/* The contents as a NUL-terminated text that stays owned by the buffer; NULL on error. */
const char *buf_cstr(struct buf *b);

/* The contents, malloc()ed, now the caller's; the buffer is empty. NULL, and *ret_len untouched, on error or when
 * there is not one byte. */
uint8_t *buf_take(struct buf *b, size_t *ret_len);

#endif
