/* Pictures to test with: scenes like a fundus camera's, and the files that hold them. */
#ifndef ASALEED_TESTS_PICTURE_MAKE_H
#define ASALEED_TESTS_PICTURE_MAKE_H

#include "buf.h"
#include <stdbool.h>

/* 8-bit RGB, owned. */
struct pixels {
  uint32_t w, h;
  uint8_t *at;
};
void pixels_finish(struct pixels *p);

/* A disc on a dark surround: orange, vignetted, with vessels that branch, an optic disc and a macula. `across` is the
 * disc's diameter in permille of the shorter edge; 1500 and more covers the frame. The same seed, the same picture. */
struct pixels pixels_fundus(uint32_t w, uint32_t h, unsigned across, unsigned seed);
struct pixels pixels_decode(const uint8_t *jpeg, size_t n); /* ends the test when it is none */

/* Three box means of that radius, nearly a Gaussian with that standard deviation. */
void pixels_blur(struct pixels *p, unsigned radius);
/* value * percent / 100 + add, clipped. */
void pixels_light(struct pixels *p, unsigned percent, int add);
/* Uniform noise within +-amplitude. */
void pixels_noise(struct pixels *p, int amplitude, unsigned seed);

struct jpeg_form {
  int quality; /* 0 = 90 */
  bool progressive, grey, cmyk, full_colour /* 4:4:4 */, optimised;
  unsigned restart_rows; /* 0 = no restart markers */
};
/* Files, appended to ret. */
void jpeg_make(const struct pixels *p, const struct jpeg_form *form, struct buf *ret);
struct png_form {
  bool grey, sixteen, alpha, palette, interlaced;
};
void png_make(const struct pixels *p, const struct png_form *form, struct buf *ret);

#endif
