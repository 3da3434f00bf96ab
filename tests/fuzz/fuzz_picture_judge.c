/* A picture's pixels: whatever the bytes are, the libraries below come back, and what is made of them is a picture. The
 * first byte says which way: a preview, or a thumbnail of at most so many bytes. */
#include "fuzz.h"

#include "picture_judge.h"
#include "picture_make.h"
#include <errno.h>

static void check_made(const uint8_t *bytes, size_t n, uint32_t width, uint32_t height, uint32_t edge) {
  struct picture made;
  picture_read(bytes, n, &made);
  FUZZ_CHECK(made.whole && made.format == PICTURE_JPEG && made.width == width && made.height == height);
  FUZZ_CHECK(width <= edge && height <= edge);
}

static void check_error(int r) {
  FUZZ_CHECK(r == -ENOTSUP || r == -EBADMSG || r == -ENOMEM);
}

static void judge(const uint8_t *data, size_t n) {
  struct picture structure;
  struct picture_judgement is;
  struct picture_preview preview;
  picture_read(data, n, &structure);
  int r = picture_judge(data, n, &structure, &is, &preview);
  if (r < 0) {
    check_error(r);
    return;
  }
  check_made(preview.bytes, preview.n, preview.width, preview.height, PICTURE_PREVIEW_EDGE);
  free(preview.bytes);
}

static void thumbnail(const uint8_t *data, size_t n, size_t max) {
  uint32_t width, height;
  uint8_t *made = malloc(max);
  FUZZ_CHECK(made);
  int r = picture_thumbnail(data, n, made, max, &n, &width, &height);
  if (r == 0)
    check_made(made, n, width, height, PICTURE_THUMBNAIL_EDGE);
  else if (r != -EFBIG)
    check_error(r);
  free(made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n && data[0] < 128)
    judge(data + 1, n - 1);
  else if (n)
    thumbnail(data + 1, n - 1, (data[0] - 127) * 64u);
  return 0;
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const struct jpeg_form forms[] = {{0},
                                           {.progressive = true},
                                           {.grey = true},
                                           {.cmyk = true},
                                           {.full_colour = true, .optimised = true},
                                           {.restart_rows = 1}};
  static const struct png_form png_forms[] = {{0}, {.grey = true, .alpha = true}, {.palette = true}, {.sixteen = true}};
  const unsigned jpegs = sizeof forms / sizeof *forms, pngs = sizeof png_forms / sizeof *png_forms;
  (void)n;
  if (file || i >= 2 * jpegs + pngs)
    return false;
  struct pixels p = i % 3 ? pixels_fundus(40, 24, 950, i) : pixels_fundus(5, 3, 950, i);
  buf_u8(ret, i < jpegs + pngs ? 0 : 200);
  if (i < jpegs)
    jpeg_make(&p, &forms[i], ret);
  else if (i < jpegs + pngs)
    png_make(&p, &png_forms[i - jpegs], ret);
  else
    jpeg_make(&p, &forms[i - jpegs - pngs], ret);
  pixels_finish(&p);
  return true;
}
