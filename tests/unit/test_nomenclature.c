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
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_row),     cmocka_unit_test(what_the_standards_say), cmocka_unit_test(find_is_exact),
      cmocka_unit_test(every_quality), cmocka_unit_test(ten_electrodes),         cmocka_unit_test(names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
