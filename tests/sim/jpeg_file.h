/*
 * jpeg_file: a fundus camera's JPEG file (fundus.h) with EXIF 2.3 in either byte order, saying what the options say.
 */
#ifndef ASALEED_SIM_JPEG_FILE_H
#define ASALEED_SIM_JPEG_FILE_H

#include "buf.h"
#include "file_maker.h"

#include <stdbool.h>

extern const struct file_format jpeg_format;

enum jpeg_damage {
  JPEG_SOUND,
  JPEG_CUT,        /* the last third of the file is not there */
  JPEG_EXIF_LOOP,  /* the directory of EXIF's own fields is the first one again */
  JPEG_EXIF_FAR,   /* the date's text lies behind the segment */
  JPEG_EXIF_SHORT, /* the segment ends within its first directory */
  JPEG_DAMAGES
};

struct jpeg_options {
  unsigned width, height, seed; /* as in fundus.h */
  bool left, disc;              /* likewise */
  bool big;                     /* EXIF is big endian */
  bool no_exif;
  const char *make, *model, *description; /* NULL: not said */
  const char *taken;                      /* DateTimeOriginal, as it stands there; NULL: not said */
  enum jpeg_damage damage;
};

/* 0, -EINVAL: no such size, or texts of more than 60000 bytes, -ENOMEM. Appends to ret. */
int jpeg_file_make(const struct jpeg_options *o, struct buf *ret);

#endif
