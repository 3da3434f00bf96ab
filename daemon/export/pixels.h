/* The pixels of a picture file, as an object may have them. Each returns 0, -EPROTO when the file is damaged or of a
 * kind that has no place in an 8-bit object (*ret_why says which, static), or -ENOMEM; *ret is then untouched. */
#ifndef ASALEED_PIXELS_H
#define ASALEED_PIXELS_H

#include <stddef.h>
#include <stdint.h>

/* Rows from the top, 8 bits a sample, samples (1 grey, 3 red, green, blue) of a pixel side by side. */
struct pixels {
  uint8_t *bytes; /* malloc()ed, the caller's: width x height x samples */
  uint32_t width, height, samples;
};

int pixels_png(const uint8_t *file, size_t n, struct pixels *ret, const char **ret_why);
int pixels_tiff(const uint8_t *file, size_t n, struct pixels *ret, const char **ret_why);

/* A PNG file of 8-bit pixels (1 or 3 samples), packed quickly rather than tightly. `row` gives the samples of row y.
 * malloc()ed, the caller's. -EFBIG past `max` bytes, -ENOMEM. */
typedef void (*pixels_row)(const void *arg, uint32_t y, uint8_t *row);
int pixels_png_write(uint32_t width, uint32_t height, uint32_t samples, pixels_row row, const void *arg, size_t max,
                     uint8_t **ret, size_t *ret_n);

/* The same picture as a baseline JPEG with the same coefficients: nothing is decoded to pixels, nothing lost. The file
 * made is malloc()ed, the caller's. */
int pixels_jpeg_baseline(const uint8_t *file, size_t n, uint8_t **ret, size_t *ret_n, const char **ret_why);

#endif
