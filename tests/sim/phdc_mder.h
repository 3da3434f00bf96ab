/*
 * phdc_mder: the encoding of IEEE 11073-20601 (MDER: big endian, lists as count and length in bytes), both ways, for
 * the simulated personal health devices. Pure.
 */
#ifndef ASALEED_SIM_PHDC_MDER_H
#define ASALEED_SIM_PHDC_MDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MDER_MAX 65539u /* an APDU's length is 16 bits, and does not count its first 4 bytes */

enum phdc_special { PHDC_FINITE, PHDC_NAN, PHDC_NRES, PHDC_PLUS_INF, PHDC_MINUS_INF, PHDC_RESERVED };

struct phdc_number {
  int32_t mantissa;
  int8_t exponent; /* of ten */
  enum phdc_special special;
};

/* "62.40" is 6240 E-2: the digits stay as they were written. False for what is no number, or too long for 32 bits. */
bool phdc_number_parse(const char *text, struct phdc_number *ret);
/* Rounded to so many digits behind the point; NAN is PHDC_NAN. */
struct phdc_number phdc_number_from(double value, unsigned digits);
/* "62.40", "NaN"; "?" when it does not fit. */
void phdc_number_print(struct phdc_number number, char *text, size_t size);

struct mder {
  uint8_t bytes[MDER_MAX];
  size_t n;
  bool over; /* it did not all fit: what is there is cut off */
};

void mder_u8(struct mder *m, unsigned v);
void mder_u16(struct mder *m, unsigned v);
void mder_u32(struct mder *m, uint32_t v);
void mder_bytes(struct mder *m, const void *bytes, size_t n);
void mder_text(struct mder *m, const char *text); /* octet string, its length u16 before it */
/* Numbers that do not fit are rounded, then infinite. */
void mder_sfloat(struct mder *m, struct phdc_number number);
void mder_float(struct mder *m, struct phdc_number number);
void mder_absolute_time(struct mder *m, int64_t local_us); /* BCD, 8 bytes, 1/100 s */

/* A length u16, or a count and a length, whose bytes follow until the close. */
size_t mder_open(struct mder *m);
void mder_close(struct mder *m, size_t at);
size_t mder_list_open(struct mder *m);
void mder_list_close(struct mder *m, size_t at, unsigned count);

/* Attributes: id, length, value. */
void mder_attribute_u16(struct mder *m, unsigned id, unsigned value);
void mder_attribute_u32(struct mder *m, unsigned id, uint32_t value);
size_t mder_attribute_open(struct mder *m, unsigned id); /* to be closed by mder_close() */

/* What was received; after a read behind the end all is 0 and bad. */
struct mder_in {
  const uint8_t *at, *end;
  bool bad;
};

unsigned mder_get_u16(struct mder_in *in);
uint32_t mder_get_u32(struct mder_in *in);
struct mder_in mder_get_sub(struct mder_in *in, size_t n);
bool mder_get_absolute_time(struct mder_in *in, int64_t *ret_local_us); /* false: no date of 2000..2099 */

#endif
