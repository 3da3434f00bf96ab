/* Texts of files, in whatever alphabet, as UTF-8. A driver's folder may include this. */
#ifndef ASALEED_TEXT_H
#define ASALEED_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* TEXT_ASCII: what is not ASCII cannot be read. TEXT_LATIN_9 is ISO-8859-15. TEXT_CP1252 gives the same as
 * ISO-8859-1 where that has characters. */
enum text_alphabet { TEXT_ASCII, TEXT_UTF8, TEXT_LATIN_1, TEXT_LATIN_9, TEXT_CP1252, TEXT_UTF16LE, TEXT_UTF16BE };

/* The n bytes up to the first NUL character, without blanks around them, as clean UTF-8 (no controls) that fits `size`
 * with its NUL: controls become blanks, a character that cannot be read becomes '?', what does not fit is cut between
 * characters. False when something could not be read or was cut. */
bool text_read(enum text_alphabet alphabet, const void *bytes, size_t n, char *ret, size_t size);

#endif
