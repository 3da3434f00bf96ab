/* A DICOM file as a driver reads it (asalee/flat.h). */
#ifndef ASALEED_DECODE_H
#define ASALEED_DECODE_H

#include <stddef.h>
#include <stdint.h>

/* Writes the flat form of the file at fd's offset. 0; -EPROTO with the reason why nothing is taken of it: English,
 * without a word of the file's own; or another negative errno. What was written before an error is no flat form. */
int decode(const uint8_t *file, size_t n, int fd, char reason[static 256]);

#endif
