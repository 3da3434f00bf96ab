#include "pixels.h"

#include "buf.h"
#include <asalee/export.h>
#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

struct source {
  const uint8_t *at;
  size_t left;
};

static void source_read(png_structp png, png_bytep to, size_t n) {
  struct source *s = png_get_io_ptr(png);
  if (n > s->left)
    png_error(png, "cut short");
  memcpy(to, s->at, n);
  s->at += n;
  s->left -= n;
}

static void quiet(png_structp png, png_const_charp text) {
  (void)png;
  (void)text;
}

static void leap(png_structp png, png_const_charp text) {
  (void)text;
  png_longjmp(png, 1);
}

struct job {
  png_structp png;
  png_infop info;
  uint8_t *volatile bytes;
  const char *volatile why;
};

static const char *unfit(png_structp png, png_infop info) {
  if (png_get_bit_depth(png, info) != 8)
    return "a PNG picture that has not 8 bits a sample";
  if (png_get_color_type(png, info) & PNG_COLOR_MASK_ALPHA || png_get_valid(png, info, PNG_INFO_tRNS))
    return "a PNG picture with transparency";
  return NULL;
}

/* What png_error() leaps out of. */
static int decode(struct job *job, struct source *source, struct pixels *ret) {
  if (setjmp(png_jmpbuf(job->png)))
    return -EPROTO;
  job->why = "a damaged PNG picture";
  png_set_read_fn(job->png, source, source_read);
  png_set_user_limits(job->png, UINT16_MAX, UINT16_MAX);
  png_set_chunk_malloc_max(job->png, 1 << 20);
  png_read_info(job->png, job->info);
  const char *why = unfit(job->png, job->info);
  if (why) {
    job->why = why;
    return -EPROTO;
  }
  if (png_get_color_type(job->png, job->info) == PNG_COLOR_TYPE_PALETTE)
    png_set_palette_to_rgb(job->png);
  int passes = png_set_interlace_handling(job->png);
  png_read_update_info(job->png, job->info);
  struct pixels p = {.width = png_get_image_width(job->png, job->info),
                     .height = png_get_image_height(job->png, job->info),
                     .samples = png_get_channels(job->png, job->info)};
  size_t row = (size_t)p.width * p.samples;
  if (png_get_rowbytes(job->png, job->info) != row || (uint64_t)row * p.height > EXPORT_OBJECT_MAX) {
    job->why = "a PNG picture larger than an object may be";
    return -EPROTO;
  }
  job->bytes = malloc(row * p.height);
  if (!job->bytes)
    return -ENOMEM;
  for (int pass = 0; pass < passes; pass++)
    for (size_t y = 0; y < p.height; y++)
      png_read_row(job->png, job->bytes + y * row, NULL);
  png_read_end(job->png, NULL);
  p.bytes = job->bytes;
  *ret = p;
  return 0;
}

int pixels_png(const uint8_t *file, size_t n, struct pixels *ret, const char **ret_why) {
  struct source source = {file, n};
  struct job job = {.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, leap, quiet)};
  job.info = job.png ? png_create_info_struct(job.png) : NULL;
  int r = job.info ? decode(&job, &source, ret) : -ENOMEM;
  if (r < 0) {
    free(job.bytes);
    *ret_why = job.why;
  }
  png_destroy_read_struct(&job.png, &job.info, NULL);
  return r;
}

/* ---- writing ---- */

static void sink_write(png_structp png, png_bytep bytes, size_t n) {
  struct buf *to = png_get_io_ptr(png);
  if (buf_add(to, bytes, n) < 0)
    png_error(png, "no room");
}

static void sink_flush(png_structp png) {
  (void)png;
}

/* What png_error() leaps out of. */
static int encode(png_structp png, png_infop info, uint32_t width, uint32_t height, uint32_t samples, pixels_row row,
                  const void *arg, uint8_t *line) {
  if (setjmp(png_jmpbuf(png)))
    return -ENOMEM;
  png_set_compression_level(png, 1);
  png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB);
  png_set_IHDR(png, info, width, height, 8, samples == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  for (uint32_t y = 0; y < height; y++) {
    row(arg, y, line);
    png_write_row(png, line);
  }
  png_write_end(png, NULL);
  return 0;
}

int pixels_png_write(uint32_t width, uint32_t height, uint32_t samples, pixels_row row, const void *arg, size_t max,
                     uint8_t **ret, size_t *ret_n) {
  struct buf out = BUF_INIT(max);
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, leap, quiet);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  uint8_t *line = malloc((size_t)width * samples);
  int r = -ENOMEM;
  if (info && line) {
    png_set_write_fn(png, &out, sink_write, sink_flush);
    r = encode(png, info, width, height, samples, row, arg, line);
  }
  if (out.err == -EFBIG)
    r = -EFBIG;
  png_destroy_write_struct(&png, &info);
  free(line);
  if (r == 0)
    *ret = buf_take(&out, ret_n);
  buf_finish(&out);
  return r;
}
