/* The frames of an object's Pixel Data as picture files: JPEGs as they stand, native pixels as PNG. Errors are 0,
 * -EPROTO with *ret_why (static), or -ENOMEM. */
#ifndef ASALEED_DECODE_PIXELS_H
#define ASALEED_DECODE_PIXELS_H

#include "dicom.h"
#include <asalee/flat.h>
#include <stdbool.h>

struct decode_frames {
  size_t n; /* 1..FLAT_PICTURES_MAX */
  bool jpeg;
  struct dicom_pixels pixels;              /* borrowed of the object */
  size_t first[FLAT_PICTURES_MAX + 1];     /* jpeg: frame i has the pieces first[i] to first[i + 1] */
  uint32_t width, height, samples, planar; /* native: */
  bool ycc;
};

struct decode_picture {
  const uint8_t *bytes;
  size_t n;
  uint8_t *memory; /* what bytes point into where that is not the object's */
};

int decode_frames(struct dicom *object, struct decode_frames *ret, const char **ret_why);
int decode_frame(const struct decode_frames *frames, size_t i, struct decode_picture *ret, const char **ret_why);
void decode_picture_finish(struct decode_picture *picture);

/* ---- what decode.c shares ---- */

/* The first value of an attribute that is a whole number not below 0; false where there is none. */
bool decode_number(struct dicom_item at, dicom_tag tag, uint32_t *ret);
/* The first value of an attribute that is a short word of ASCII, without the blanks around it. */
bool decode_word(struct dicom_item at, dicom_tag tag, char *ret, size_t size);

#endif
