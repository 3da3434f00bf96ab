#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "nomenclature.h"
#include "str.h"
#include <cmocka.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

static unsigned rows(void) {
  unsigned n = 0;
  while (nomenclature_row(n))
    n++;
  return n;
}

static bool is_code(const char *text) {
  return *text && strlen(text) < ACQ_TEXT_MAX && text[0] >= 'a' && text[0] <= 'z' &&
         strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(text);
}

static bool is_label(const char *text) {
  return *text && strlen(text) < ACQ_TEXT_MAX && str_is_clean_utf8(text, strlen(text)) && text[0] != ' ' &&
         text[strlen(text) - 1] != ' ';
}

/* "12345-6", the last digit being the check digit (mod 10, every second digit doubled from the right). */
static bool is_loinc(const char *text) {
  size_t n = strspn(text, "0123456789");
  if (!n || text[n] != '-' || strspn(text + n + 1, "0123456789") != 1 || text[n + 2])
    return false;
  int sum = 0;
  for (size_t i = 0; i < n; i++) {
    int v = text[n - 1 - i] - '0';
    sum += i % 2 ? v : 2 * v > 9 ? 2 * v - 9 : 2 * v;
  }
  return (sum + text[n + 1] - '0') % 10 == 0;
}

#define HEART_RATE "8867-4" /* one code however it was counted; the MDC codes tell how */

TEST(every_row) {
  static const struct dec zero = {0, 0};
  unsigned n = rows();
  assert_true(n >= 16);
  assert_true(n <= 256); /* a preview names a row in one byte */
  for (unsigned i = 0; i < n; i++) {
    const struct nomenclature *r = nomenclature_row(i);
    if (!is_code(r->code) || !is_label(r->label) || !is_label(r->unit))
      fail_msg("row %u", i);
    assert_ptr_equal(nomenclature_find(r->code), r); /* so that codes are unique */
    assert_int_equal(nomenclature_index(r), i);
    assert_true(r->kind == 'M' || r->kind == 'C' || r->kind == 'S');
    if (dec_cmp(r->hard_low, r->soft_low) > 0 || dec_cmp(r->soft_low, r->soft_high) >= 0 ||
        dec_cmp(r->soft_high, r->hard_high) > 0)
      fail_msg("%s: limits out of order", r->code);
    if (r->kind != 'M') {
      assert_int_equal(dec_cmp(r->hard_low, r->soft_low), 0);
      assert_int_equal(dec_cmp(r->hard_high, r->soft_high), 0);
      /* 0 is what a builder takes for "no sample yet" */
      assert_true(dec_cmp(r->hard_low, zero) <= 0 && dec_cmp(r->hard_high, zero) >= 0);
    }
    /* partition 2, or 514 for what 11073-10101 calls the same with "predicted" */
    if (r->mdc && ((r->mdc >> 16 != 2 && (r->mdc >> 16 != 514 || r->kind != 'S')) || !(r->mdc & 0xffff)))
      fail_msg("%s: %u is not in its partition", r->code, r->mdc);
    assert_true(r->mdc <= INT32_MAX); /* a record says it as an int */
    assert_ptr_equal(nomenclature_find_mdc(r->mdc), r->mdc ? r : NULL);
    if (*r->loinc && !is_loinc(r->loinc))
      fail_msg("%s: %s is no LOINC code", r->code, r->loinc);
    for (unsigned k = 0; k < i; k++) {
      const struct nomenclature *other = nomenclature_row(k);
      if (!strcmp(other->label, r->label) || (r->mdc && other->mdc == r->mdc) ||
          (*r->loinc && !strcmp(other->loinc, r->loinc) && strcmp(r->loinc, HEART_RATE)))
        fail_msg("%s and %s are not told apart", r->code, other->code);
    }
  }
  assert_null(nomenclature_row(n));
  assert_null(nomenclature_row(n + 1));
  assert_null(nomenclature_row(UINT32_MAX));
}

TEST(what_the_standards_say) {
  static const struct {
    const char *code, *label, *unit, *loinc;
    char kind;
    uint32_t term; /* in partition 2 */
  } want[] = {
      {"lead_i", "I", "uV", "", 'C', 1},
      {"lead_ii", "II", "uV", "", 'C', 2},
      {"lead_v1", "V1", "uV", "", 'C', 3},
      {"lead_v2", "V2", "uV", "", 'C', 4},
      {"lead_v3", "V3", "uV", "", 'C', 5},
      {"lead_v4", "V4", "uV", "", 'C', 6},
      {"lead_v5", "V5", "uV", "", 'C', 7},
      {"lead_v6", "V6", "uV", "", 'C', 8},
      {"lead_iii", "III", "uV", "", 'C', 61},
      {"lead_avr", "aVR", "uV", "", 'C', 62},
      {"lead_avl", "aVL", "uV", "", 'C', 63},
      {"lead_avf", "aVF", "uV", "", 'C', 64},
      {"fev1", "VEMS", "L", "20150-9", 'M', 21514},
      {"fvc", "CVF", "L", "19870-5", 'M', 57856},
      {"pef", "DEP", "L/s", "19935-6", 'M', 21512},
      {"fev6", "VEM6", "L", "", 'M', 21515},
      {"pef_personal_best", "Meilleur DEP personnel", "L/s", "", 'S', 21513},
      {"fev1_fvc", "VEMS/CVF", "1", "19926-5", 'M', 57876},
      {"fet", "Temps expiratoire", "s", "65819-5", 'M', 57944},
      {"lead_unspecified", "ECG", "uV", "", 'C', 256},
      {"body_weight", "Poids", "kg", "29463-7", 'M', 57664},
      {"body_height", "Taille", "m", "8302-2", 'M', 57668},
      {"body_temperature", "Température", "Cel", "8310-5", 'M', 19292},
      {"systolic_pressure", "PA systolique", "mm[Hg]", "8480-6", 'M', 18949},
      {"diastolic_pressure", "PA diastolique", "mm[Hg]", "8462-4", 'M', 18950},
      {"heart_rate", "Fréquence cardiaque", "/min", "8867-4", 'M', 16770},
      {"spo2", "SpO2", "%", "59408-5", 'M', 19384},
      {"glucose_capillary", "Glycémie capillaire", "mg/dL", "", 'M', 29112},
  };
  for (size_t i = 0; i < COUNT(want); i++) {
    const struct nomenclature *r = nomenclature_find(want[i].code);
    assert_non_null(r);
    assert_string_equal(r->label, want[i].label);
    assert_string_equal(r->unit, want[i].unit);
    assert_string_equal(r->loinc, want[i].loinc);
    assert_int_equal(r->kind, want[i].kind);
    assert_int_equal(r->mdc, 2 * 65536 + want[i].term);
  }
}

/* An ECG agent of 11073-10406 says 2:256+n for the potential of lead n, others 2:n. */
TEST(leads_by_either_code) {
  unsigned leads = 0;
  for (uint32_t term = 0; term < 65536; term++) {
    const struct nomenclature *plain = nomenclature_find_mdc(2u << 16 | term);
    if (term < 256) {
      const struct nomenclature *potential = nomenclature_find_mdc(2u << 16 | (256 + term));
      assert_ptr_equal(potential, term ? plain : nomenclature_find("lead_unspecified"));
      leads += potential && potential->kind == 'C';
    }
    for (uint32_t partition = 0; partition < 1024; partition = partition == 1 ? 3 : partition + 1)
      if (term % 4096 == 0 && partition != 514)
        assert_null(nomenclature_find_mdc(partition << 16 | term));
    assert_null(nomenclature_find_mdc(1u << 16 | term));
    assert_null(nomenclature_find_mdc(term));
  }
  assert_int_equal(leads, 13); /* twelve, and one that is not named */
  assert_null(nomenclature_find_mdc(UINT32_MAX));
}

/* ---- units -------------------------------------------------------------------------------------------------- */

#define ACQ_UNITS(mdc_, ucum_, base_, factor_, divisor_) {mdc_, ucum_, base_, factor_, divisor_},
static const struct unit units[] = {
#include <asalee/nomenclature.def>
#undef ACQ_UNITS
};

static bool is_power_of_ten(int64_t n) {
  while (n % 10 == 0)
    n /= 10;
  return n == 1;
}

TEST(every_unit) {
  for (size_t i = 0; i < COUNT(units); i++) {
    const struct unit *u = unit_find(units[i].ucum);
    assert_non_null(u);
    assert_int_equal(u->mdc, units[i].mdc); /* the first of its text is itself */
    assert_ptr_equal(unit_find_mdc(u->mdc), u->mdc ? u : NULL);
    assert_true(u->factor > 0 && u->divisor > 0);
    const struct unit *base = unit_find(u->base);
    assert_non_null(base);
    assert_string_equal(base->base, base->ucum);
    assert_true(base->factor == 1 && base->divisor == 1);
    assert_true(unit_fits(u, base) && unit_fits(base, u) && unit_fits(u, u));
    for (size_t k = 0; k < COUNT(units); k++)
      assert_int_equal(unit_fits(u, &units[k]), !strcmp(u->base, units[k].base));
  }
  static const char *const none[] = {"",     "l",   "ml", "ML", "L ",    "mm", "Hg",
                                     "mmHg", "bpm", "lb", "C",  "l/min", "%%", "uv"};
  for (size_t i = 0; i < COUNT(none); i++)
    assert_null(unit_find(none[i]));
  assert_null(unit_find_mdc(0));
  assert_null(unit_find_mdc(UINT16_MAX));
}

/* A row's own unit is a base or a power of ten away from it, and nothing that is measured in it overflows. */
TEST(units_of_rows) {
  for (unsigned i = 0; nomenclature_row(i); i++) {
    const struct nomenclature *r = nomenclature_row(i);
    const struct unit *own = unit_find(r->unit);
    if (!own)
      fail_msg("%s is in no unit that is listed", r->code);
    assert_true(own->factor == 1 && is_power_of_ten(own->divisor));
    for (size_t k = 0; k < COUNT(units); k++)
      if (unit_fits(&units[k], own))
        assert_true((int64_t)units[k].factor * own->divisor <= INT32_MAX);
  }
}

TEST(what_units_are) {
  static const struct {
    const char *ucum, *base;
    uint16_t mdc;
    int32_t factor, divisor;
  } want[] = {
      {"mL", "L", 1618, 1, 1000},
      {"cL", "L", 1617, 1, 100},
      {"L/min", "L/s", 3072, 1, 60},
      {"%", "1", 544, 1, 100},
      {"mV", "uV", 4274, 1000, 1},
      {"g", "kg", 1728, 1, 1000},
      {"[lb_av]", "kg", 1760, 45359237, 100000000},  /* 0.45359237 kg by definition */
      {"kPa", "mm[Hg]", 3843, 750061683, 100000000}, /* 133.322387415 Pa a millimetre */
      {"mmol/L", "mg/dL", 4722, 180156, 10000},      /* glucose, 180.156 g/mol */
      {"Cel", "Cel", 6048, 1, 1},
      {"/min", "/min", 2720, 1, 1},
  };
  for (size_t i = 0; i < COUNT(want); i++) {
    const struct unit *u = unit_find(want[i].ucum);
    assert_non_null(u);
    assert_string_equal(u->base, want[i].base);
    assert_int_equal(u->mdc, want[i].mdc);
    assert_int_equal(u->factor, want[i].factor);
    assert_int_equal(u->divisor, want[i].divisor);
  }
}

TEST(specialisations) {
  static const struct {
    uint16_t code;
    enum acq_modality modality;
  } want[] = {{4100, ACQ_MEASUREMENT}, {4102, ACQ_ECG},         {4103, ACQ_MEASUREMENT}, {4104, ACQ_MEASUREMENT},
              {4111, ACQ_MEASUREMENT}, {4113, ACQ_MEASUREMENT}, {4117, ACQ_SPIROMETRY},  {4125, ACQ_SPIROMETRY},
              {4236, ACQ_ECG},         {4237, ACQ_ECG}};
  size_t known = 0;
  for (uint32_t code = 0; code <= UINT16_MAX; code++)
    known += specialisation_modality((uint16_t)code) != 0;
  assert_int_equal(known, COUNT(want));
  for (size_t i = 0; i < COUNT(want); i++)
    assert_int_equal(specialisation_modality(want[i].code), want[i].modality);
}

TEST(find_is_exact) {
  static const char *const none[] = {"", "lead", "lead_", "lead_i ", " lead_i", "LEAD_I", "lead_vi", "fev", "fev10"};
  for (size_t i = 0; i < COUNT(none); i++)
    assert_null(nomenclature_find(none[i]));
  assert_null(quality_find(""));
  assert_null(quality_find("Incomplete"));
  assert_null(quality_find("incomplete "));
  assert_null(electrode_find(""));
  assert_null(electrode_find("r"));
  assert_null(electrode_find("C7"));
  assert_null(electrode_find("C"));
}

#define ACQ_QUALITY(code_, severity_, text_) {#code_, #severity_, text_},
static const struct quality listed[] = {
#include <asalee/nomenclature.def>
#undef ACQ_QUALITY
};

TEST(every_quality) {
  assert_true(COUNT(listed) >= 9);
  for (size_t i = 0; i < COUNT(listed); i++) {
    const struct quality *q = quality_find(listed[i].code);
    assert_non_null(q);
    assert_true(is_code(q->code));
    assert_string_equal(q->text, listed[i].text); /* the first of its code is itself: codes are unique */
    assert_string_equal(q->severity, listed[i].severity);
    assert_true(!strcmp(q->severity, "info") || !strcmp(q->severity, "check") || !strcmp(q->severity, "unusable"));
    size_t n = strlen(q->text);
    assert_true(n > 10 && n < 300);
    assert_true(str_is_clean_utf8(q->text, n));
    if (q->text[n - 1] != '.' || q->text[n - 2] == '.')
      fail_msg("%s: not a sentence", q->code);
    unsigned holes = 0;
    for (const char *p = strchr(q->text, '%'); p; p = strchr(p + 1, '%')) {
      assert_int_equal(p[1], 's');
      holes++;
    }
    assert_true(holes <= 1);
    for (const char *p = strchr(q->text, ':'); p; p = strchr(p + 1, ':')) /* French spacing, then what to do */
      assert_true(p > q->text && p[-1] == ' ' && p[1] == ' ' && p[2]);
  }
  assert_string_equal(quality_find("incomplete")->severity, "unusable");
  assert_string_equal(quality_find("shorter_than_ordered")->severity, "check");
  assert_null(strstr(quality_find("incomplete")->text, "%"));
  assert_null(strstr(quality_find("shorter_than_ordered")->text, "%"));
}

TEST(ten_electrodes) {
  static const struct electrode iec[] = {
      {"R", "rouge", "bras droit"},        {"L", "jaune", "bras gauche"},     {"F", "verte", "jambe gauche"},
      {"N", "noire", "jambe droite"},      {"C1", "blanche et rouge", "V1"},  {"C2", "blanche et jaune", "V2"},
      {"C3", "blanche et verte", "V3"},    {"C4", "blanche et marron", "V4"}, {"C5", "blanche et noire", "V5"},
      {"C6", "blanche et violette", "V6"},
  };
  for (unsigned i = 0; i < 10; i++) {
    const struct electrode *e = electrode_row(i);
    assert_non_null(e);
    assert_string_equal(e->code, iec[i].code);
    assert_string_equal(e->colour, iec[i].colour);
    assert_string_equal(e->place, iec[i].place);
    assert_ptr_equal(electrode_find(e->code), e);
    assert_null(nomenclature_find(e->code)); /* a subject is one or the other */
    for (unsigned k = 0; k < i; k++)
      assert_true(strcmp(electrode_row(k)->colour, e->colour) && strcmp(electrode_row(k)->place, e->place));
  }
  assert_null(electrode_row(10));
  assert_null(electrode_row(UINT32_MAX));
}

TEST(names) {
  assert_null(acq_modality_name(0));
  assert_string_equal(acq_modality_name(ACQ_ECG), "ecg");
  assert_string_equal(acq_modality_name(ACQ_SPIROMETRY), "spirometry");
  assert_string_equal(acq_modality_name(ACQ_FUNDUS), "fundus");
  assert_string_equal(acq_modality_name(ACQ_MEASUREMENT), "measurement");
  assert_null(acq_modality_name(ACQ_MEASUREMENT + 1));
  assert_null(acq_maturity_name(0));
  assert_string_equal(acq_maturity_name(ACQ_SIMULATED), "simulated");
  assert_string_equal(acq_maturity_name(ACQ_EXPERIMENTAL), "experimental");
  assert_string_equal(acq_maturity_name(ACQ_VERIFIED), "verified");
  assert_null(acq_maturity_name(ACQ_VERIFIED + 1));
  assert_null(acq_integrity_name(0));
  assert_string_equal(acq_integrity_name(ACQ_NONE), "none");
  assert_string_equal(acq_integrity_name(ACQ_SUM8), "sum8");
  assert_string_equal(acq_integrity_name(ACQ_CRC16), "crc16");
  assert_string_equal(acq_integrity_name(ACQ_CRC32), "crc32");
  assert_null(acq_integrity_name(ACQ_CRC32 + 1));
  assert_null(acq_bus_name(0));
  assert_string_equal(acq_bus_name(ACQ_SERIAL), "serial");
  assert_string_equal(acq_bus_name(ACQ_USB), "usb");
  assert_string_equal(acq_bus_name(ACQ_FILE), "file");
  assert_null(acq_bus_name(ACQ_FILE + 1));
  assert_null(acq_bus_name((enum acq_bus)UINT32_MAX));
  assert_null(acq_phase_name(ACQ_NO_PHASE));
  assert_string_equal(acq_phase_name(ACQ_BASELINE), "baseline");
  assert_string_equal(acq_phase_name(ACQ_PRE), "pre");
  assert_string_equal(acq_phase_name(ACQ_POST), "post");
  assert_null(acq_phase_name(ACQ_POST + 1));
  for (enum acq_phase p = ACQ_BASELINE; p <= ACQ_POST; p++)
    assert_int_equal(acq_phase_find(acq_phase_name(p)), p);
  for (enum acq_modality m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++)
    assert_int_equal(acq_modality_find(acq_modality_name(m)), m);
  static const char *const none[] = {"", "ECG", "ecg ", "Pre", "pr", "posts", "(null)", "none"};
  for (size_t i = 0; i < COUNT(none); i++) {
    assert_int_equal(acq_phase_find(none[i]), ACQ_NO_PHASE);
    assert_int_equal(acq_modality_find(none[i]), 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_row),      cmocka_unit_test(what_the_standards_say),
      cmocka_unit_test(find_is_exact),  cmocka_unit_test(leads_by_either_code),
      cmocka_unit_test(every_unit),     cmocka_unit_test(units_of_rows),
      cmocka_unit_test(what_units_are), cmocka_unit_test(specialisations),
      cmocka_unit_test(every_quality),  cmocka_unit_test(ten_electrodes),
      cmocka_unit_test(names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
