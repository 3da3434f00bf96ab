/* Texts of a DICOM file as UTF-8 (PS3.3 C.12.1.1.2, PS3.5 6.1). The C library's own conversion opens files, which the
 * sandbox refuses; the alphabets of French practices are few. */
#ifndef ASALEED_DECODE_TEXT_H
#define ASALEED_DECODE_TEXT_H

#include "buf.h"

enum decode_alphabet { ALPHABET_ASCII, ALPHABET_LATIN_1, ALPHABET_LATIN_9, ALPHABET_UTF8 };

/* What a Specific Character Set says: of what is not listed above, only ASCII can be read. */
enum decode_alphabet decode_alphabet(const uint8_t *value, size_t n);

/* Appends the text to `to`, at most `max` bytes of it: clean UTF-8, blanks for controls, none around it; U+FFFD for
 * what cannot be read. */
void decode_text(enum decode_alphabet alphabet, const uint8_t *text, size_t n, size_t max, struct buf *to);

#endif
