/* Our own judge of a DICOM object, which shares no code with what writes one: a reader of explicit VR, little endian
 * files (native, or one JPEG fragment), and the limits of our IODs that validators do not look at (PS3.3 A.34.3.4,
 * A.34.4.4, C.8.17, PS3.5 9.1). */
#ifndef ASALEED_CHECK_H
#define ASALEED_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True when the object is whole and within its limits; else an English sentence that quotes no value. */
bool check_object(const uint8_t *file, size_t n, char reason[static 256]);

/* 1 to 64 characters, digits in components parted by dots, no empty one, no leading zero. */
bool check_uid(const char *text, size_t n);

#endif
