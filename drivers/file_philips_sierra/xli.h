/* XLI, the compression of Philips Sierra ECG files: one lead in one chunk.
 *
 *   u32 n; i16 1; i16 first; n bytes of LZW      little endian
 *   LZW: codes of ten bits, the most significant bit first; 0..255 are bytes, 256..1022 strings in the order in which
 *   they arise, then no more; 1023 ends it
 *   what comes out, 2 N bytes: the high bytes of N words, then their low bytes
 *   words: x0, x1, then second differences: x[i] = 2 x[i-1] - x[i-2] - d[i], d[2] = first, d[i] = word[i-1] - 64
 *
 * Sources: the public description of the sierra-ecg-tools project; that chunk's end, the end code and the filling of
 * the table as a real recording (1.03) has them. */
#ifndef FILE_PHILIPS_SIERRA_XLI_H
#define FILE_PHILIPS_SIERRA_XLI_H

#include <asalee/bytes.h>

/* The next chunk, of at most max samples; how many there are, or -EPROTO (damaged, or more than max), -EOPNOTSUPP (a
 * kind of chunk that is not known), -ERANGE (a sample that 16 bits do not hold), with the reason in *why. `work` has
 * room for 2 max bytes. */
int xli_read(struct acq_cur *in, int16_t *ret, size_t max, uint8_t *work, const char **why);

#endif
