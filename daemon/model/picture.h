/* The structure of a picture file, read without decoding a pixel: JPEG (ISO/IEC 10918-1 baseline, extended and
 * progressive; JFIF; EXIF 2.3), PNG (ISO/IEC 15948), TIFF 6.0. Pure; bounded time (linear in n) and no memory. */
#ifndef ASALEED_PICTURE_H
#define ASALEED_PICTURE_H

#include <asalee/driver.h>

/* PICTURE_JPEG: SOF0 or SOF1, Huffman. What is lossless, hierarchical or arithmetic is PICTURE_UNKNOWN, as BigTIFF. */
enum picture_format { PICTURE_UNKNOWN, PICTURE_JPEG, PICTURE_JPEG_PROGRESSIVE, PICTURE_PNG, PICTURE_TIFF };
/* "unknown", "jpeg", "jpeg-progressive", "png", "tiff"; NULL past the last. */
const char *picture_format_name(enum picture_format format);

#define PICTURE_EDGE_MAX 65535u

struct picture {
  enum picture_format format;
  uint32_t width, height;   /* pixels, 0..PICTURE_EDGE_MAX; 0 when not known. TIFF: of the first page */
  uint8_t bits, components; /* of a sample; 1 (grey), 2 (grey, alpha), 3, 4 (CMYK; alpha) a pixel; 0 when not known.
                             * PNG with a palette: the 3 times 8 of its colours */
  bool whole;               /* the structure holds from the first byte to the last that it needs. What follows the end
                             * (a camera's further pictures, CIPA DC-007) belongs to it no more. TIFF: the strips or
                             * tiles of the first page, the directories of all */
  const char *why;          /* English, static: what is wrong when it is not whole; else NULL */
  /* What EXIF (JPEG, TIFF's own fields) says; "" and false where it says nothing or lies. Clean UTF-8. */
  char make[ACQ_TEXT_MAX], model[ACQ_TEXT_MAX];
  bool timed;
  int64_t clock_us; /* the camera's clock (acq_clock_to_us) when the picture was taken: DateTimeOriginal */
};

/* Never fails: what cannot be read is PICTURE_UNKNOWN, or not whole. */
void picture_read(const uint8_t *bytes, size_t n, struct picture *ret);

/* A JPEG's segments in turn, for who needs the file without some of them: the segment that starts at *at (its marker
 * bytes included), *ret_first >= *at (fill bytes before a marker belong to no segment), 0 < *ret_n; *at moves behind
 * it; start with 0. The entropy-coded data that follows a SOS belongs to its segment, to the marker that ends it; it
 * must be ended by one. False at the end, or where the structure breaks: it was the end when the last marker was 0xD9
 * (EOI), behind which *at is n, as what follows is not this picture's. `*ret_marker` is the marker's second byte (0xD8
 * SOI, 0xE1 APP1). */
bool picture_jpeg_segment(const uint8_t *bytes, size_t n, size_t *at, uint8_t *ret_marker, size_t *ret_first,
                          size_t *ret_n);

#endif
