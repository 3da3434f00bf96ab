#include <asalee/dec.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Reserved mantissas lie from +INF - 1 up through the negative end: NaN, NRes, +INF, -INF and one value the
 * standard reserves without a meaning. They count only with exponent 0. */
static int dec_from_11073(int32_t mantissa, int exponent, int32_t nan, struct dec *ret) {
  if (exponent == 0) {
    if (mantissa == nan || mantissa == -nan - 1 || mantissa == -nan) /* NaN, NRes, reserved */
      return -ENODATA;
    if (mantissa == nan - 1 || mantissa == -nan + 1) /* +INF, -INF */
      return -ERANGE;
  }
  if (mantissa == 0)
    exponent = exponent < DEC_EXP_MIN ? DEC_EXP_MIN : exponent > DEC_EXP_MAX ? DEC_EXP_MAX : exponent;
  if (exponent < DEC_EXP_MIN || exponent > DEC_EXP_MAX)
    return -ERANGE;
  *ret = (struct dec){mantissa, (int8_t)exponent};
  return 0;
}

int dec_from_sfloat(uint16_t raw, struct dec *ret) {
  int32_t mantissa = raw & 0x0fff, exponent = raw >> 12;
  if (mantissa & 0x0800)
    mantissa -= 0x1000;
  if (exponent & 8)
    exponent -= 16;
  return dec_from_11073(mantissa, exponent, 0x07ff, ret);
}

int dec_from_float(uint32_t raw, struct dec *ret) {
  int32_t mantissa = (int32_t)(raw & 0x00ffffff);
  if (mantissa & 0x00800000)
    mantissa -= 0x01000000;
  return dec_from_11073(mantissa, (int8_t)(raw >> 24), 0x007fffff, ret);
}

int dec_parse(const char *text, struct dec *ret) {
  bool negative = *text == '-', point = false, any = false;
  int64_t mantissa = 0;
  int exponent = 0;
  for (const char *p = text + negative; *p; p++) {
    if (*p == '.' && !point && any && p[1]) {
      point = true;
      continue;
    }
    if (*p < '0' || *p > '9')
      return -EINVAL;
    any = true;
    mantissa = mantissa * 10 + (*p - '0');
    exponent -= point;
    if (mantissa > (int64_t)INT32_MAX + negative || exponent < DEC_EXP_MIN)
      return -ERANGE;
  }
  if (!any)
    return -EINVAL;
  *ret = (struct dec){(int32_t)(negative ? -mantissa : mantissa), (int8_t)exponent};
  return 0;
}

size_t dec_format(struct dec d, char text[static DEC_TEXT_MAX]) {
  char digits[16]; /* least significant first */
  int n = 0;
  uint32_t m = d.mantissa < 0 ? 0u - (uint32_t)d.mantissa : (uint32_t)d.mantissa;
  int exponent = d.exponent < DEC_EXP_MIN ? DEC_EXP_MIN : d.exponent > DEC_EXP_MAX ? DEC_EXP_MAX : d.exponent;
  do
    digits[n++] = (char)('0' + m % 10);
  while (m /= 10);
  size_t len = 0;
  if (d.mantissa < 0)
    text[len++] = '-';
  if (exponent >= 0) {
    while (n)
      text[len++] = digits[--n];
    for (int i = 0; i < exponent && d.mantissa; i++)
      text[len++] = '0';
  } else {
    int whole = n + exponent; /* digits before the point */
    if (whole <= 0)
      text[len++] = '0';
    for (; whole > 0; whole--)
      text[len++] = digits[--n];
    text[len++] = '.';
    for (int zeros = -exponent - n; zeros > 0; zeros--)
      text[len++] = '0';
    while (n)
      text[len++] = digits[--n];
  }
  text[len] = 0;
  return len;
}

__extension__ typedef __int128 wide;

int dec_cmp_scaled(struct dec a, int32_t factor, struct dec b, int32_t divisor) {
  static const wide most = ((wide)1 << 126) / 10;
  int sign_a = (a.mantissa > 0) - (a.mantissa < 0), sign_b = (b.mantissa > 0) - (b.mantissa < 0);
  if (sign_a != sign_b || !sign_a)
    return sign_a - sign_b;
  /* Bring the larger exponent down; once it cannot come down further its magnitude is the larger one, since the
   * other side has at most 62 bits. */
  wide x = (wide)a.mantissa * factor, y = (wide)b.mantissa * divisor;
  int ex = a.exponent, ey = b.exponent;
  while (ex > ey && x > -most && x < most)
    x *= 10, ex--;
  while (ey > ex && y > -most && y < most)
    y *= 10, ey--;
  if (ex > ey)
    return sign_a;
  if (ey > ex)
    return -sign_b;
  return (x > y) - (x < y);
}

int dec_cmp(struct dec a, struct dec b) {
  return dec_cmp_scaled(a, 1, b, 1);
}

int dec_mul(struct dec d, int32_t n, struct dec *ret) {
  int64_t m = (int64_t)d.mantissa * n;
  if (m > INT32_MAX || m < INT32_MIN)
    return -ERANGE;
  *ret = (struct dec){(int32_t)m, d.exponent};
  return 0;
}
