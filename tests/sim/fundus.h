/*
 * fundus: a picture of the back of an eye that nobody has, as a camera's JPEG file: dark surround, a round orange field
 * of 45 degrees, vessels, optic disc and macula where they belong for the eye and the field.
 *
 * Baseline (or progressive) JPEG, 4:2:0, JFIF and Exif 2.3 with make, model, date and an embedded thumbnail. Same
 * options, same bytes.
 */
#ifndef ASALEED_SIM_FUNDUS_H
#define ASALEED_SIM_FUNDUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUNDUS_SIDE_MIN 16u
#define FUNDUS_WIDTH_MAX 6000u
#define FUNDUS_HEIGHT_MAX 4000u

enum fundus_quality { FUNDUS_GOOD, FUNDUS_DARK, FUNDUS_BRIGHT, FUNDUS_BLURRED };

struct fundus_options {
  unsigned width, height; /* pixels; height at most FUNDUS_HEIGHT_MAX */
  bool left;              /* eye; in a right eye the disc is right of the macula */
  bool disc;              /* the field's centre: optic disc, else macula */
  enum fundus_quality quality;
  bool progressive;
  uint64_t seed; /* the vessels and the grain */
  const char *make, *model;
  const char *date; /* "2026:05:04 10:30:00", 19 characters */
};

struct fundus {
  uint8_t *jpeg; /* free() */
  size_t n;
  size_t thumb, thumb_n; /* the thumbnail's JPEG within it */
  unsigned thumb_width, thumb_height;
};

/* 0, -ENOMEM, -EINVAL: no such size. */
int fundus_make(const struct fundus_options *options, struct fundus *ret);

#endif
