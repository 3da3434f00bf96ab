/* A picture's pixels: how well it is lit and how sharp it is, and a smaller JPEG of it. What is decoded here is
 * hostile: it runs in the worker's sandbox, in bounded memory, and no library prints or ends the process.
 *
 * The figures are technical and exact: the same bytes give the same figures on every machine (integers alone). They are
 * taken over the illuminated disc of a fundus picture: the dark surround that the camera's aperture leaves is not "too
 * dark". A picture without a surround is judged whole. The focus is measured at a fixed size of the disc, so that it
 * means the same at every resolution; below about 600 pixels across, the blocks of a strongly compressed JPEG pass for
 * detail.
 *
 * JPEG (8 bits, grey or colour) by libjpeg, PNG (not interlaced, up to 8 bits a sample) by libpng. */
#ifndef ASALEED_PICTURE_JUDGE_H
#define ASALEED_PICTURE_JUDGE_H

#include "picture.h"

#define PICTURE_PREVIEW_EDGE 2048u        /* pixels of the longer edge, at most */
#define PICTURE_PIXELS_MAX 100000000u     /* of a picture that is decoded */
#define PICTURE_THUMBNAIL_EDGE 320u       /* of a thumbnail that is made anew */
#define PICTURE_THUMBNAIL_PIXELS 4000000u /* of one as it comes */

/* Shares of 1, three digits. */
struct picture_judgement {
  struct dec brightness; /* mean luminance (ITU-R BT.601) of the disc */
  struct dec dark;       /* share of the disc that shows next to nothing */
  struct dec bright;     /* share of the disc that is clipped, or nearly */
  struct dec focus;      /* how much of the detail is fine detail, less what is noise: 0 = blurred, or nothing to see */
  bool is_dark, is_bright, is_blurred; /* hints: so much that the picture should be repeated */
  unsigned warnings; /* faults in the data that the decoder went on after: what is shown is not all of it true */
};

struct picture_preview { /* owned; free() the bytes */
  uint8_t *bytes;        /* a baseline JPEG, made from the pixels: nothing of what the file says beside them */
  size_t n;
  uint32_t width, height;
};

/* 0; -ENOTSUP for a picture of a kind that is not decoded (CMYK, more than 8 bits, interlaced, more than
 * PICTURE_PIXELS_MAX, TIFF, more scans than its size is worth), -EBADMSG for one damaged beyond reading, -ENOMEM. A
 * picture whose data ends or goes wrong on the way is shown and judged as far as it can be, `warnings` counts. What is
 * returned is untouched on failure. */
int picture_judge(const uint8_t *bytes, size_t n, const struct picture *structure, struct picture_judgement *ret,
                  struct picture_preview *ret_preview);

/* A camera's thumbnail made anew: at most PICTURE_THUMBNAIL_EDGE and max bytes, by less quality and then less size.
 * Errors as above; -EFBIG when max is too small for any. */
int picture_thumbnail(const uint8_t *jpeg, size_t n, uint8_t *ret, size_t max, size_t *ret_n, uint32_t *ret_width,
                      uint32_t *ret_height);

#endif
