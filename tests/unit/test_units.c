/* Measures in other units than their row's: what is converted, what is kept as it came, and the limits of both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "nomenclature.h"
#include "record_bed.h"
#include <cmocka.h>
#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

__extension__ typedef __int128 wide;

static uint64_t seed = UINT64_C(0x94d049bb133111eb);

static uint64_t rnd(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

#define ACQ_UNITS(mdc_, ucum_, base_, factor_, divisor_) {mdc_, ucum_, base_, factor_, divisor_},
static const struct unit units[] = {
#include <asalee/nomenclature.def>
};

static const char *code, *unit;
static struct dec value;

static void measure(struct acq_record *r) {
  acq_rec_measure(r, code, value, unit);
}

/* What is measured when an S row is not the only thing. */
static void measure_beside(struct acq_record *r) {
  acq_rec_measure(r, "fev1", D(3, 0), NULL);
  acq_rec_trial(r, &(struct acq_trial){0});
  acq_rec_measure(r, code, value, unit);
}

static int decode(void (*script)(struct acq_record *), struct record_result *ret, const char *reason_has) {
  CAPTURE(c, "10 spirometry", "end ok\n");
  return bed_decode(&bed_spirometer, &c, script, ret, reason_has);
}

/* The value, unit and flag ("" when there is none) of a record's only measure. */
static json_t *only_measure(const struct record_result *r, const char **ret_value, const char **ret_unit,
                            const char **ret_flag) {
  json_t *j = bed_accepted(r);
  const json_t *list = bed_part(j, "acquired.measures"), *m = json_array_get(list, 0), *flags;
  assert_int_equal(json_array_size(list), 1);
  flags = json_object_get(m, "flags");
  *ret_value = json_text(m, "value");
  *ret_unit = json_text(m, "unit");
  *ret_flag = json_array_size(flags) ? json_string_value(json_array_get(flags, 0)) : "";
  return j;
}

/* ---- by name ------------------------------------------------------------------------------------------------ */

TEST(conversions) {
  static const struct {
    const char *code, *value, *unit, *stored, *in, *flag;
  } rows[] = {
      {"fev1", "3.60", NULL, "3.60", "L", ""},
      {"fev1", "3.60", "L", "3.60", "L", ""},
      {"fev1", "3600", "mL", "3.600", "L", ""}, /* its digits stay: it was measured to the millilitre */
      {"fev1", "360", "cL", "3.60", "L", ""},
      {"fev1", "0", "mL", "0.000", "L", "unusually_low"},
      {"fev1", "299.9", "mL", "0.2999", "L", "unusually_low"},
      {"fev1", "300", "mL", "0.300", "L", ""},
      {"fev1", "12000", "mL", "12.000", "L", "unusually_high"},
      {"pef", "712", "cL/s", "7.12", "L/s", ""},
      {"pef", "420", "L/min", "420", "L/min", ""}, /* 7 L/s, but 421 would be no decimal */
      {"pef", "30", "L/min", "30", "L/min", ""},
      {"pef", "29.99", "L/min", "29.99", "L/min", "unusually_low"},
      {"pef", "1080", "L/min", "1080", "L/min", ""},
      {"pef", "1080.1", "L/min", "1080.1", "L/min", "unusually_high"},
      {"pef", "1500", "L/min", "1500", "L/min", "unusually_high"},
      {"fev1_fvc", "72", "%", "0.72", "1", ""},
      {"fev1_fvc", "100", "%", "1.00", "1", ""},
      {"fev1_fvc", "19.9", "%", "0.199", "1", "unusually_low"},
      {"spo2", "97", "%", "97", "%", ""},
      {"spo2", "0.97", "1", "97", "%", ""},
      {"spo2", "0.6999", "1", "69.99", "%", "unusually_low"},
      {"ambient_humidity", "0", "1", "0", "%", "unusually_low"},
      {"fet", "6100", "ms", "6.100", "s", ""},
      {"body_weight", "70.5", "kg", "70.5", "kg", ""},
      {"body_weight", "70500", "g", "70.500", "kg", ""},
      {"body_weight", "154.3", "[lb_av]", "154.3", "[lb_av]", ""},
      {"body_weight", "661.3", "[lb_av]", "661.3", "[lb_av]", ""},
      {"body_weight", "661.4", "[lb_av]", "661.4", "[lb_av]", "unusually_high"}, /* 300.006 kg */
      {"body_height", "172.5", "cm", "1.725", "m", ""},
      {"systolic_pressure", "16.0", "kPa", "16.0", "kPa", ""},
      {"systolic_pressure", "34.66", "kPa", "34.66", "kPa", ""},
      {"systolic_pressure", "34.67", "kPa", "34.67", "kPa", "unusually_high"}, /* 260.05 mmHg */
      {"glucose_capillary", "5.5", "mmol/L", "5.5", "mmol/L", ""},
      {"glucose_capillary", "2.2", "mmol/L", "2.2", "mmol/L", "unusually_low"}, /* 39.6 mg/dL */
      {"glucose_capillary", "99", "mg/dL", "99", "mg/dL", ""},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    RESULT(r);
    const char *stored, *in, *flag;
    code = rows[i].code;
    unit = rows[i].unit;
    assert_int_equal(dec_parse(rows[i].value, &value), 0);
    assert_int_equal(decode(measure, &r, NULL), 0);
    _json_cleanup_ json_t *j = only_measure(&r, &stored, &in, &flag);
    if (strcmp(stored, rows[i].stored) || strcmp(in, rows[i].in) || strcmp(flag, rows[i].flag))
      fail_msg("%s %s %s: %s %s %s", code, rows[i].value, unit, stored, in, flag);
  }
}

TEST(impossible_in_another_unit) {
  static const struct {
    const char *code, *value, *unit;
  } rows[] = {
      {"fev1", "12001", "mL"},
      {"fev1", "-1", "mL"},
      {"pef", "1500.1", "L/min"},
      {"pef", "-0.1", "L/min"},
      {"fev1_fvc", "200.1", "%"},
      {"spo2", "1.01", "1"},
      {"body_weight", "1544", "[lb_av]"},
      {"systolic_pressure", "53.4", "kPa"},
      {"glucose_capillary", "112", "mmol/L"},
      {"body_height", "172.5", "m"},
      {"fet", "60001", "ms"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    RESULT(r);
    code = rows[i].code;
    unit = rows[i].unit;
    assert_int_equal(dec_parse(rows[i].value, &value), 0);
    assert_int_equal(decode(measure, &r, code), -ERANGE);
  }
}

/* ---- every row in every unit -------------------------------------------------------------------------------- */

TEST(units_that_fit) {
  unsigned fit = 0, wrong = 0;
  for (unsigned i = 0; nomenclature_row(i); i++) {
    const struct nomenclature *row = nomenclature_row(i);
    for (size_t k = 0; k < COUNT(units); k++) {
      RESULT(r);
      code = row->code;
      unit = units[k].ucum;
      value = D(1, 0);
      bool fits = row->kind != 'C' && !strcmp(units[k].base, unit_find(row->unit)->base);
      int got = decode(measure_beside, &r, NULL);
      if (got != -EINVAL && got != -ERANGE && got != 0)
        fail_msg("%s in %s: %d", code, unit, got);
      if ((got != -EINVAL) != fits)
        fail_msg("%s in %s: %d", code, unit, got);
      fit += fits;
      wrong += !fits;
    }
  }
  assert_true(fit > 100 && wrong > 1000);
  static const char *const none[] = {"", "l", "ml", "litre", "L ", " L", "bpm"};
  code = "fev1";
  for (size_t i = 0; i < COUNT(none); i++) {
    RESULT(r);
    unit = none[i];
    assert_int_equal(decode(measure, &r, "nomenclature"), -EINVAL);
  }
}

/* The largest value of five decimals that is not beyond a limit, in units of 10^-5 of the other unit. */
static int64_t floor_of(struct dec limit, const struct unit *own, const struct unit *other) {
  wide n = (wide)limit.mantissa * own->factor * other->divisor * 100000, d = (wide)other->factor * own->divisor;
  for (int e = limit.exponent; e < 0; e++)
    d *= 10;
  for (int e = limit.exponent; e > 0; e--)
    n *= 10;
  wide q = n / d;
  return (int64_t)(q - (n % d < 0));
}

static void try_at(const struct nomenclature *row, int64_t at, bool possible, const char *flag) {
  RESULT(r);
  const char *stored, *in, *got;
  assert_true(at < INT32_MAX && at > INT32_MIN);
  value = D((int32_t)at, -5);
  int err = decode(measure, &r, possible ? NULL : row->code);
  if (err != (possible ? 0 : -ERANGE))
    fail_msg("%s: %lld e-5 %s: %d", row->code, (long long)at, unit, err);
  if (!possible)
    return;
  _json_cleanup_ json_t *j = only_measure(&r, &stored, &in, &got);
  if (flag && strcmp(got, flag))
    fail_msg("%s: %lld e-5 %s is \"%s\"", row->code, (long long)at, unit, got);
}

TEST(limits_in_every_unit) {
  unsigned pairs = 0;
  for (unsigned i = 0; nomenclature_row(i); i++) {
    const struct nomenclature *row = nomenclature_row(i);
    const struct unit *own = unit_find(row->unit);
    if (row->kind != 'M')
      continue;
    for (size_t k = 0; k < COUNT(units); k++) {
      const struct unit *other = &units[k];
      if (strcmp(own->base, other->base) || floor_of(row->hard_high, own, other) >= INT32_MAX)
        continue;
      int64_t hard_low = floor_of(row->hard_low, own, other), hard_high = floor_of(row->hard_high, own, other),
              soft_low = floor_of(row->soft_low, own, other), soft_high = floor_of(row->soft_high, own, other);
      /* whether the limits themselves have five decimals */
      bool hard_exact = dec_cmp_scaled(D((int32_t)hard_low, -5), other->factor * own->divisor, row->hard_low,
                                       other->divisor * own->factor) == 0,
           soft_exact = dec_cmp_scaled(D((int32_t)soft_low, -5), other->factor * own->divisor, row->soft_low,
                                       other->divisor * own->factor) == 0;
      code = row->code;
      unit = other->ucum;
      pairs++;
      try_at(row, hard_high + 1, false, NULL);
      try_at(row, hard_high, true, soft_high < hard_high ? "unusually_high" : NULL);
      try_at(row, hard_low - hard_exact, false, NULL);
      try_at(row, hard_low + !hard_exact, true, soft_low > hard_low ? "unusually_low" : NULL);
      try_at(row, soft_high, true, "");
      if (soft_high < hard_high)
        try_at(row, soft_high + 1, true, "unusually_high");
      try_at(row, soft_low + !soft_exact, true, "");
      if (soft_low > hard_low)
        try_at(row, soft_low - soft_exact, true, "unusually_low");
    }
  }
  assert_true(pairs > 70);
}

/* Whatever a driver says: refused, or a record that the reader takes and whose value is the one that was said. */
TEST(any_value_in_any_unit) {
  unsigned taken = 0;
  for (int i = 0; i < 60000; i++) {
    RESULT(r);
    const struct nomenclature *row = NULL;
    while (!row || row->kind != 'M')
      row = nomenclature_row((unsigned)(rnd() % 100));
    const struct unit *said = &units[rnd() % COUNT(units)];
    while (strcmp(said->base, unit_find(row->unit)->base))
      said = &units[rnd() % COUNT(units)];
    code = row->code;
    unit = said->ucum;
    value = D((int32_t)(rnd() % 4 ? (uint32_t)rnd() >> rnd() % 32 : 0), 0);
    value.exponent = (int8_t)(rnd() % 4 ? (int)(rnd() % 12) - 9 : (int)(rnd() % 256) - 128);
    int err = decode(measure, &r, NULL);
    if (err == -ERANGE)
      continue;
    assert_int_equal(err, 0);
    const char *stored, *in, *flag;
    _json_cleanup_ json_t *j = only_measure(&r, &stored, &in, &flag);
    const struct unit *as = unit_find(in);
    struct dec again;
    assert_int_equal(dec_parse(stored, &again), 0);
    int32_t factor = as == unit_find(unit) ? 1 : said->factor * as->divisor,
            divisor = as == unit_find(unit) ? 1 : said->divisor * as->factor;
    if (dec_cmp_scaled(value, factor, again, divisor))
      fail_msg("%s: {%d, %d} %s became %s %s", code, value.mantissa, value.exponent, unit, stored, in);
    taken++;
  }
  assert_true(taken > 5000);
}

/* ---- what becomes a statement ------------------------------------------------------------------------------- */

TEST(predicted_and_remembered) {
  static const struct {
    const char *code, *value, *unit, *text;
  } rows[] = {
      {"fev1_predicted", "3.10", NULL, "VEMS théorique : 3,10 L"},
      {"fev1_predicted", "3100", "mL", "VEMS théorique : 3,100 L"},
      {"fvc_predicted", "4", NULL, "CVF théorique : 4 L"},
      {"fev1_fvc_predicted", "0.79", NULL, "VEMS/CVF théorique : 0,79"},
      {"fev1_fvc_predicted", "79", "%", "VEMS/CVF théorique : 0,79"},
      {"pef_personal_best", "612", "L/min", "Meilleur DEP personnel : 612 L/min"},
      {"pef_of_personal_best", "78", NULL, "DEP en % du meilleur personnel : 78 %"},
      {"fev1_personal_best", "3.4", "L", "Meilleur VEMS personnel : 3,4 L"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    RESULT(r);
    code = rows[i].code;
    unit = rows[i].unit;
    assert_int_equal(dec_parse(rows[i].value, &value), 0);
    assert_int_equal(decode(measure_beside, &r, NULL), 0);
    _json_cleanup_ json_t *j = bed_accepted(&r);
    const json_t *statements = bed_part(j, "statements"), *s = json_array_get(statements, 0);
    assert_int_equal(json_array_size(statements), 1);
    assert_string_equal(json_text(s, "code"), code);
    assert_string_equal(json_text(s, "text"), rows[i].text);
    assert_int_equal(json_integer_value(json_object_get(s, "trial")), 1);
  }
}

/* None of these rows may reach the parts of a record that the nurse sees, nor make a record of its own. */
TEST(statements_are_no_measures) {
  unsigned tried = 0;
  for (unsigned i = 0; nomenclature_row(i); i++) {
    const struct nomenclature *row = nomenclature_row(i);
    RESULT(r);
    RESULT(alone);
    if (row->kind != 'S')
      continue;
    tried++;
    code = row->code;
    unit = NULL;
    value = row->hard_high;
    assert_int_equal(decode(measure_beside, &r, NULL), 0);
    _json_cleanup_ json_t *j = bed_accepted(&r);
    assert_int_equal(json_array_size(bed_part(j, "statements")), 1);
    assert_true(record_is_clean(j));
    json_object_del(j, "statements");
    size_t n;
    char *rest = json_canonical(j, &n);
    assert_null(strstr(rest, row->code));
    assert_null(strstr(rest, row->label));
    free(rest);
    assert_int_equal(decode(measure, &alone, "no reading"), -ENODATA);
    value = D(-1, 0);
    assert_int_equal(decode(measure_beside, &alone, row->code), -ERANGE);
    value = D(1000, 0);
    assert_int_equal(decode(measure_beside, &alone, row->code), -ERANGE);
  }
  assert_true(tried >= 7);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(conversions),
      cmocka_unit_test(impossible_in_another_unit),
      cmocka_unit_test(units_that_fit),
      cmocka_unit_test(limits_in_every_unit),
      cmocka_unit_test(any_value_in_any_unit),
      cmocka_unit_test(predicted_and_remembered),
      cmocka_unit_test(statements_are_no_measures),
  };
  if (hash_open())
    return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
