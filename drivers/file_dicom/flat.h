/* Reading the flat form of a DICOM file (asalee/flat.h). What made it looked at a stranger's bytes, so nothing in it is
 * believed: flat_open() walks all attributes once, and then they hold together. */
#ifndef FILE_DICOM_FLAT_H
#define FILE_DICOM_FLAT_H

#include <asalee/bytes.h>
#include <asalee/flat.h>

#define FLAT_MAGIC_BYTES (sizeof FLAT_MAGIC - 1)
#define FLAT_HEAD 9 /* bytes of an entry before its value */

struct flat_entry {
  uint32_t tag, n;
  char kind;
  const uint8_t *bytes; /* NULL of a picture: a blob has them */
};

/* An entry's head as it comes. -EPROTO for one that cannot be. */
int flat_head(struct acq_cur *c, struct flat_entry *ret);

/* All attributes (`ret`), and what follows them: pictures and the end. -ENXIO when it is no such stream, -EPROTO when
 * it is damaged. */
int flat_open(struct acq_cur stream, struct acq_cur *ret, struct acq_cur *ret_rest);

/* Of the attributes, or of one item: the first text (kind 't') or samples ('w') of that tag. */
bool flat_find(struct acq_cur item, uint32_t tag, char kind, struct flat_entry *ret);
/* The next item of the sequence of that tag; *c moves behind it. Begin with a copy of what has the sequence. */
bool flat_item(struct acq_cur *c, uint32_t tag, struct acq_cur *ret);

#endif
