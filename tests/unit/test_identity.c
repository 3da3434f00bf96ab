/* Whose reading it is: names as instruments and people write them, numbers, birth dates and sexes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "identity.h"
#include "str.h"
#include <string.h>

#define COUNT(a) (sizeof a / sizeof *a)

static struct patient patient(const char *family, const char *given) {
  struct patient p = {.id = "1042", .birth_date = "1950-04-12", .sex = "F"};
  assert_true(str_copy(p.family, sizeof p.family, family) && str_copy(p.given, sizeof p.given, given));
  return p;
}

static struct identity_check check(const struct patient *p, const char *family, const char *given, const char *id,
                                   const char *birth_date, const char *sex) {
  _json_cleanup_ json_t *subject = json_pack("{s:s, s:s, s:s, s:s, s:s}", "birth_date", birth_date, "family", family,
                                             "given", given, "id", id, "sex", sex);
  assert_non_null(subject);
  return identity_check(subject, p);
}

static const struct {
  const char *family, *given, *of_family, *of_given;
  enum agreement name;
} names[] = {
    {"DUPONT", "MARIE", "Dupont", "Marie", AGREES},
    {"dupont", "", "DUPONT", "Marie", AGREES},
    {"Dupont Marie", "", "DUPONT", "Marie", AGREES},
    {"MARIE DUPONT", "", "DUPONT", "Marie", AGREES},
    {"DUPONT", "Marie", "Dupont", "Marie Claire Jeanne", AGREES},
    {"DUPONT", "Claire", "Dupont", "Marie-Claire", AGREES},
    {"DUPONT", "Marie Claire", "Dupont", "Marie-Claire", AGREES},
    {"DUPONT  ", "  Marie", "Dupont", "Marie", AGREES},
    {"LEFEVRE", "HELENE", "Lefèvre", "Hélène", AGREES},
    {"LEFE\xcc\x80VRE", "HE\xcc\x81LE\xcc\x80NE", "Lefèvre", "Hélène", AGREES}, /* accents of their own */
    {"LEFÈVRE", "HÉLÈNE", "lefèvre", "hélène", AGREES},
    {"GARCON", "NOEL", "Garçon", "Noël", AGREES},
    {"LECOEUR", "", "Lecœur", "", AGREES},
    {"LECŒUR", "", "LECOEUR", "", AGREES},
    {"STRAUSS", "", "Strauß", "", AGREES},
    {"LUKASIEWICZ", "", "Łukasiewicz", "", AGREES},
    {"O'BRIEN", "",
     "O\xe2\x80\x99"
     "Brien",
     "", AGREES},
    {"D ALMEIDA", "", "d'Almeida", "", AGREES},
    {"LE GALL", "Anne", "Le-Gall", "Anne", AGREES},
    {"GALL LE", "", "Le Gall", "Anne", AGREES},
    {"LE\xc2\xa0GALL", "Anne", "Le Gall", "Anne", AGREES},
    {"MARTIN DURAND", "Anne", "Martin-Durand", "Anne", AGREES},
    {"Иванов", "", "Иванов", "", AGREES},
    /* nobody said anything */
    {"", "", "Dupont", "Marie", ABSENT},
    {"   ", " ", "Dupont", "Marie", ABSENT},
    {"---", "???", "Dupont", "Marie", ABSENT},
    /* somebody else, or maybe: people look at it */
    {"DUPOND", "MARIE", "Dupont", "Marie", DIFFERS},
    {"DUPONT", "JEAN", "Dupont", "Marie", DIFFERS},
    {"DUPONT JEAN", "", "Dupont", "Marie", DIFFERS},
    {"MARIE", "", "Dupont", "Marie", DIFFERS},
    {"", "MARIE", "Dupont", "Marie", DIFFERS},
    {"", "DUPONT", "Dupont", "Marie", DIFFERS},
    {"MARIE", "DUPONT", "Dupont", "Marie", DIFFERS},
    {"DUPONT", "M", "Dupont", "Marie", DIFFERS},
    {"MME DUPONT", "MARIE", "Dupont", "Marie", DIFFERS},
    {"DR DUPONT", "", "Dupont", "Marie", DIFFERS},
    {"DUPONT-MARTIN", "MARIE", "Dupont", "Marie", DIFFERS},
    {"MARTIN", "ANNE", "Martin-Durand", "Anne", DIFFERS},
    {"MARTINEZ", "", "Martinez-Lopez", "Ana", DIFFERS}, /* cut by a short field */
    {"DELATOUR", "", "De La Tour", "", DIFFERS},
    {"00000001", "", "Dupont", "Marie", DIFFERS},
    {"PATIENT", "", "Dupont", "Marie", DIFFERS},
    {"Иванова", "", "Иванов", "", DIFFERS},
    /* more words than are looked at: not compared is not the same */
    {"a b c d e f g h i j k l m n o p q r", "", "a b c d e f g h i j k l m n o p q", "", DIFFERS},
    {"a", "", "a", "b c d e f g h i j k l m n o p q r s t", DIFFERS},
};

static void test_names(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT(names); i++) {
    struct patient p = patient(names[i].of_family, names[i].of_given);
    struct identity_check c = check(&p, names[i].family, names[i].given, "", "", "");
    if (c.name != names[i].name)
      fail_msg("\"%s\" \"%s\" beside \"%s\" \"%s\": %s", names[i].family, names[i].given, names[i].of_family,
               names[i].of_given, agreement_name(c.name));
    assert_int_equal(identity_differs(&c), names[i].name == DIFFERS);
    assert_true(c.birth_date == ABSENT && c.id == ABSENT && c.sex == ABSENT);
  }
}

/* Each letter with an accent folds to what is left without it, and nothing else does. */
static void test_letters(void **state) {
  (void)state;
  static const char *const same[][2] = {{"àáâãäåāăą", "aaaaaaaaa"},
                                        {"çćĉċč", "ccccc"},
                                        {"èéêëēĕėęě", "eeeeeeeee"},
                                        {"ìíîïĩīĭįı", "iiiiiiiii"},
                                        {"ñńņň", "nnnn"},
                                        {"òóôõöøōŏő", "ooooooooo"},
                                        {"ùúûüũūŭůűų", "uuuuuuuuuu"},
                                        {"ýÿŷ", "yyy"},
                                        {"śŝşš", "ssss"},
                                        {"ťţŧ", "ttt"},
                                        {"źżž", "zzz"},
                                        {"ğĝġģ", "gggg"},
                                        {"łĺļľ", "llll"},
                                        {"ðďđ", "ddd"},
                                        {"ŕŗř", "rrr"}};
  for (size_t i = 0; i < COUNT(same); i++) {
    struct patient p = patient(same[i][0], "");
    assert_int_equal(check(&p, same[i][1], "", "", "", "").name, AGREES);
    p.family[strlen(p.family) - 1] = 0; /* within its last letter */
    p.family[strlen(p.family) - 1] = 0;
    assert_int_equal(check(&p, same[i][1], "", "", "", "").name, DIFFERS);
  }
}

static void test_rest(void **state) {
  (void)state;
  static const struct {
    const char *id, *birth_date, *sex;
    enum agreement id_is, birth_date_is, sex_is;
  } cases[] = {{"1042", "1950-04-12", "F", AGREES, AGREES, AGREES}, {"0001042", "", "", AGREES, ABSENT, ABSENT},
               {"10420", "", "", DIFFERS, ABSENT, ABSENT},          {"1042 ", "", "", DIFFERS, ABSENT, ABSENT},
               {"0x1042", "", "", DIFFERS, ABSENT, ABSENT},         {"0000", "", "", ABSENT, ABSENT, ABSENT},
               {"", "1950-04-13", "M", ABSENT, DIFFERS, DIFFERS},   {"", "1950-12-04", "", ABSENT, DIFFERS, ABSENT}};
  struct patient p = patient("Dupont", "Marie");
  for (size_t i = 0; i < COUNT(cases); i++) {
    struct identity_check c = check(&p, "", "", cases[i].id, cases[i].birth_date, cases[i].sex);
    if (c.id != cases[i].id_is || c.birth_date != cases[i].birth_date_is || c.sex != cases[i].sex_is)
      fail_msg("case %zu: %s %s %s", i, agreement_name(c.id), agreement_name(c.birth_date), agreement_name(c.sex));
  }
  str_copy(p.sex, sizeof p.sex, "U");
  assert_int_equal(check(&p, "", "", "", "", "M").sex, ABSENT);
  str_copy(p.id, sizeof p.id, "A007");
  assert_int_equal(check(&p, "", "", "A007", "", "").id, AGREES);
  assert_int_equal(check(&p, "", "", "A7", "", "").id, DIFFERS); /* no number */
  str_copy(p.id, sizeof p.id, "007");
  assert_int_equal(check(&p, "", "", "7", "", "").id, AGREES);
  struct identity_check c = identity_check(NULL, &p);
  assert_false(identity_differs(&c));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_letters),
      cmocka_unit_test(test_rest),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
