/* Exact decimal numbers: mantissa x 10^exponent, from the wire to the JSON, never through a binary float.
 *
 * A decimal keeps the precision it arrived with: 3.60 stays 3.60 ({360, -2}). dec_cmp() compares values, so
 * 3.60 equals 3.6. Exponents are limited to DEC_EXP_MIN..DEC_EXP_MAX, which every unit in use fits with room.
 *
 * Sources: IEEE 11073-20601 FLOAT-Type (exponent i8, mantissa i24) and SFLOAT-Type (exponent i4, mantissa i12),
 * both two's complement, big endian on the wire, with reserved mantissas for NaN, NRes, +INF, -INF.
 */
#ifndef ASALEE_DEC_H
#define ASALEE_DEC_H

#include <stddef.h>
#include <stdint.h>

#define DEC_EXP_MIN (-18)
#define DEC_EXP_MAX 18
#define DEC_TEXT_MAX 48 /* longest text with its NUL */

struct dec {
  int32_t mantissa;
  int8_t exponent;
};

/* -ENODATA for NaN and NRes (the instrument has no value), -ERANGE for an infinity (the value left the
 * instrument's range); *ret is untouched on failure. */
int dec_from_sfloat(uint16_t raw, struct dec *ret);
int dec_from_float(uint32_t raw, struct dec *ret);

/* Reads [-]digits[.digits], point only, nothing around it; at most nine significant digits.
 * -EINVAL when the text is no such number, -ERANGE when it does not fit. */
int dec_parse(const char *text, struct dec *ret);

/* Writes the plain decimal notation (no exponent, "-0.05", "3.60", "1200") and returns its length. */
size_t dec_format(struct dec d, char text[static DEC_TEXT_MAX]);

/* <0, 0, >0 as a is less than, equal to, greater than b. Never overflows. */
int dec_cmp(struct dec a, struct dec b);

/* The same of a x factor and b x divisor (both positive). */
int dec_cmp_scaled(struct dec a, int32_t factor, struct dec b, int32_t divisor);

/* d x n; -ERANGE when the mantissa no longer fits. */
int dec_mul(struct dec d, int32_t n, struct dec *ret);

#endif
