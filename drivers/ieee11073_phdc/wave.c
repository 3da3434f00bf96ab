#include "wave.h"

#define TICKS_A_SECOND 8000 /* of a sample period */
#define MASKED 0x1000       /* SaFlags: bits beyond the significant ones mean something else */
#define SIGNED 255
#define DIGITS_LOW 100000000 /* the least number of nine digits */
#define EXPONENTS_APART 12
#define TIMES_MAX 8

__extension__ typedef __int128 wide;

static wide gcd(wide a, wide b) {
  a = a < 0 ? -a : a;
  b = b < 0 ? -b : b;
  while (b) {
    wide rest = a % b;
    a = b;
    b = rest;
  }
  return a ? a : 1;
}

/* numerator / denominator x 10^exponent (both positive) to nine digits; without needless zeros. */
static int ratio(wide numerator, wide denominator, int exponent, struct dec *ret) {
  wide by = gcd(numerator, denominator);
  numerator /= by;
  denominator /= by;
  while (numerator < denominator * DIGITS_LOW) {
    numerator *= 10;
    exponent--;
  }
  while (numerator >= denominator * DIGITS_LOW * 10) {
    denominator *= 10;
    exponent++;
  }
  wide mantissa = (numerator + denominator / 2) / denominator;
  while (mantissa % 10 == 0) {
    mantissa /= 10;
    exponent++;
  }
  for (; exponent > 0 && mantissa < DIGITS_LOW; exponent--)
    mantissa *= 10;
  if (exponent < DEC_EXP_MIN || exponent > 0 || mantissa > INT32_MAX)
    return -EPROTO;
  *ret = (struct dec){(int32_t)mantissa, (int8_t)exponent};
  return 0;
}

static wide scaled_end(const struct phd_array *a, uint32_t raw) {
  if (a->significant != SIGNED)
    return raw;
  return a->scale_bits == 8 ? (int8_t)raw : a->scale_bits == 16 ? (int16_t)raw : (int32_t)raw;
}

static wide power(wide value, int exponent) {
  while (exponent-- > 0)
    value *= 10;
  return value;
}

static bool fits(wide value) {
  return value >= -INT16_MAX && value <= INT16_MAX;
}

/* times and add for an offset of numerator / denominator steps, where samples lie between `first` and `last`; what the
 * step shrinks by. */
static wide place_offset(struct phd_wave *w, wide numerator, wide denominator, wide first, wide last) {
  wide by = gcd(numerator, denominator) * (denominator < 0 ? -1 : 1);
  numerator /= by;
  denominator /= by;
  /* Finer only where that drives no sample out of 16 bits. */
  if (denominator > TIMES_MAX || !fits(first * denominator + numerator) || !fits(last * denominator + numerator)) {
    wide half = numerator < 0 ? -denominator / 2 : denominator / 2;
    numerator = (numerator + half) / denominator;
    denominator = 1;
  }
  /* What is that far off fits no sample: phd_wave_read() will say so. */
  const wide far = (wide)1 << 40;
  w->times = (int32_t)denominator;
  w->add = (int64_t)(numerator > far ? far : numerator < -far ? -far : numerator);
  return denominator;
}

/* step = (upper - lower) / (scaled_upper - scaled_lower), offset = lower / step - scaled_lower. */
static int place(struct phd_wave *w, const struct phd_array *a, const struct unit *unit) {
  const struct unit *own = unit_find(w->row->unit);
  wide first = scaled_end(a, a->scaled_lower), steps = scaled_end(a, a->scaled_upper) - first;
  int exponent = a->lower.exponent < a->upper.exponent ? a->lower.exponent : a->upper.exponent;
  if (a->lower.exponent - exponent > EXPONENTS_APART || a->upper.exponent - exponent > EXPONENTS_APART)
    return -EPROTO;
  wide lower = power(a->lower.mantissa, a->lower.exponent - exponent),
       span = power(a->upper.mantissa, a->upper.exponent - exponent) - lower;
  if (!steps || !span)
    return -EPROTO;
  wide divisor = place_offset(w, lower * steps - first * span, span, first, first + steps);
  bool down = (span < 0) != (steps < 0);
  wide numerator = (span < 0 ? -span : span) * unit->factor * own->divisor,
       denominator = (steps < 0 ? -steps : steps) * divisor * unit->divisor * own->factor;
  if (down) {
    w->times = -w->times;
    w->add = -w->add;
  }
  return ratio(numerator, denominator, exponent, &w->scale);
}

int phd_wave_init(struct phd_wave *w, const struct phd_object *o, const char **ret_why) {
  const struct phd_array *a = &o->array;
  const struct unit *unit = unit_find_mdc(o->unit);
  *w = (struct phd_wave){.row = nomenclature_find_mdc(phd_object_mdc(o))};
  *ret_why = "";
  if (!w->row || w->row->kind != 'C')
    return -ENODATA;
  *ret_why = !a->known                                            ? "a sample array that is not described"
             : !a->scaled                                         ? "a sample array without a scale"
             : !a->period                                         ? "a sample array without a period"
             : !unit || !unit_fits(unit, unit_find(w->row->unit)) ? "a sample array in a unit that it cannot have"
                                                                  : "";
  if (**ret_why)
    return -EPROTO;
  w->bytes = a->bits / 8;
  w->is_signed = a->significant == SIGNED;
  w->mask = UINT32_MAX;
  if (!w->is_signed && a->flags & MASKED)
    w->mask = UINT32_MAX >> (32 - a->significant);
  int r = place(w, a, unit);
  if (r == 0)
    r = ratio(TICKS_A_SECOND, a->period, 0, &w->rate);
  if (r < 0)
    *ret_why = "a sample array whose scale or period is no number";
  return r;
}

int phd_wave_read(const struct phd_wave *w, struct acq_cur *samples, int16_t *values, size_t max) {
  size_t n = 0;
  for (; n < max && acq_left(samples); n++) {
    uint32_t raw = w->bytes == 1 ? acq_u8(samples) : w->bytes == 2 ? acq_u16be(samples) : acq_u32be(samples);
    int64_t x = raw & w->mask;
    if (w->is_signed)
      x = w->bytes == 1 ? (int8_t)raw : w->bytes == 2 ? (int16_t)raw : (int32_t)raw;
    int64_t value = x * w->times + w->add;
    if (samples->err)
      return samples->err;
    if (value < -INT16_MAX || value > INT16_MAX)
      return -ERANGE;
    values[n] = (int16_t)value;
  }
  return (int)n;
}
