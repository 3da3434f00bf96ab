#include "pixels.h"

#include <asalee/export.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>

struct source {
  const uint8_t *bytes;
  uint64_t n, at;
};

static tmsize_t source_read(thandle_t handle, void *to, tmsize_t wanted) {
  struct source *s = handle;
  uint64_t left = s->at < s->n ? s->n - s->at : 0, n = (uint64_t)wanted < left ? (uint64_t)wanted : left;
  memcpy(to, s->bytes + s->at, n);
  s->at += n;
  return (tmsize_t)n;
}

static tmsize_t source_write(thandle_t handle, void *from, tmsize_t n) {
  (void)handle, (void)from, (void)n;
  return -1;
}

static toff_t source_seek(thandle_t handle, toff_t to, int whence) {
  struct source *s = handle;
  uint64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? s->at : s->n;
  if (__builtin_add_overflow(base, to, &s->at) || s->at > s->n)
    s->at = s->n;
  return s->at;
}

static int source_close(thandle_t handle) {
  (void)handle;
  return 0;
}

static toff_t source_size(thandle_t handle) {
  return ((struct source *)handle)->n;
}

/* The file is in memory already: the library reads it there. */
static int source_map(thandle_t handle, void **ret, toff_t *ret_n) {
  struct source *s = handle;
  *ret = (void *)(uintptr_t)s->bytes;
  *ret_n = s->n;
  return 1;
}

static void source_unmap(thandle_t handle, void *base, toff_t n) {
  (void)handle, (void)base, (void)n;
}

static const char *unfit(TIFF *tiff, struct pixels *p) {
  uint16_t bits = 0, samples = 0, photometric = 0, planar = 0, compression = 0, format = 0;
  if (!TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &p->width) || !TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &p->height) ||
      !TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &photometric))
    return "a damaged TIFF picture";
  TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &bits);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &planar);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &compression);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &format);
  p->samples = samples;
  if (bits != 8 || format != SAMPLEFORMAT_UINT)
    return "a TIFF picture that has not 8 bits a sample";
  if (!(samples == 1 && photometric == PHOTOMETRIC_MINISBLACK) && !(samples == 3 && photometric == PHOTOMETRIC_RGB))
    return "a TIFF picture that is neither grey nor red, green and blue";
  if (compression != COMPRESSION_NONE && compression != COMPRESSION_LZW && compression != COMPRESSION_ADOBE_DEFLATE &&
      compression != COMPRESSION_DEFLATE && compression != COMPRESSION_PACKBITS)
    return "a TIFF picture in a compression that loses, or that is not known";
  if ((planar != PLANARCONFIG_CONTIG && samples > 1) || TIFFIsTiled(tiff))
    return "a TIFF picture in planes or tiles";
  if (!p->width || !p->height || p->width > UINT16_MAX || p->height > UINT16_MAX ||
      (uint64_t)p->width * p->height * samples > EXPORT_OBJECT_MAX)
    return "a TIFF picture larger than an object may be";
  return NULL;
}

static int decode(TIFF *tiff, struct pixels *ret, const char **ret_why) {
  struct pixels p = {0};
  *ret_why = unfit(tiff, &p);
  if (*ret_why)
    return -EPROTO;
  size_t row = (size_t)p.width * p.samples;
  if ((uint64_t)TIFFScanlineSize64(tiff) != row) {
    *ret_why = "a damaged TIFF picture";
    return -EPROTO;
  }
  p.bytes = malloc(row * p.height);
  if (!p.bytes)
    return -ENOMEM;
  for (uint32_t y = 0; y < p.height; y++)
    if (TIFFReadScanline(tiff, p.bytes + y * row, y, 0) < 0) {
      free(p.bytes);
      *ret_why = "a damaged TIFF picture";
      return -EPROTO;
    }
  *ret = p;
  return 0;
}

int pixels_tiff(const uint8_t *file, size_t n, struct pixels *ret, const char **ret_why) {
  struct source source = {file, n, 0};
  TIFFSetErrorHandler(NULL); /* it would quote the file */
  TIFFSetWarningHandler(NULL);
  TIFF *tiff = TIFFClientOpen("", "r", &source, source_read, source_write, source_seek, source_close, source_size,
                              source_map, source_unmap);
  *ret_why = "a damaged TIFF picture";
  if (!tiff)
    return -EPROTO;
  int r = decode(tiff, ret, ret_why);
  TIFFClose(tiff);
  return r;
}
