/* Short texts: fixed fields, numbers, UTF-8, hexadecimal. Nothing here looks at the locale. */
#ifndef ASALEED_STR_H
#define ASALEED_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define _free_cleanup_ __attribute__((cleanup(str_free)))
static inline void str_free(void *p) {
  free(*(void **)p);
}

#define _fd_cleanup_ __attribute__((cleanup(fd_finish)))
void fd_finish(int *fd); /* closes when >= 0, sets -1; keeps errno */
/* All n bytes, at the descriptor's place; 0 or a negative errno. */
int fd_write_all(int fd, const void *bytes, size_t n);

/* Copies a whole text into a field of size bytes; false (and an empty field) when it does not fit. */
bool str_copy(char *field, size_t size, const char *text);

/* Decimal digits only, whole text, within [min, max]; -EINVAL or -ERANGE. */
int str_to_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
/* "12.34": two such numbers up to INT64_MAX, as the cursor of a list that two columns order. */
bool str_to_pair(const char *text, uint64_t *ret_first, uint64_t *ret_second);

/* Valid UTF-8 (RFC 3629: no surrogates, no overlong forms) without C0 or C1 controls, DEL or a NUL within n. */
bool str_is_clean_utf8(const char *text, size_t n);

/* How people and programs name a row: "S-12". */
#define STR_REF_MAX 32
void str_ref(char letter, int64_t id, char ret[static STR_REF_MAX]);

/* 2 n lower-case digits and a NUL into hex. */
void str_hex(const void *bytes, size_t n, char *hex);

/* Base64 (RFC 4648, with padding) and a NUL into text, which takes STR_BASE64(n) bytes. */
#define STR_BASE64(n) (((n) + 2) / 3 * 4 + 1)
void str_base64(const void *bytes, size_t n, char *text);

/* Exactly 2 n hexadecimal digits from text into bytes; false when they are not there. Reads no further. */
bool str_unhex(const char *text, void *bytes, size_t n);

#endif
