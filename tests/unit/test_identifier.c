#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "identifier.h"
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

static uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);

static unsigned below(unsigned n) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (unsigned)(seed % n);
}

/* ---- Luhn ---- */

/* Luhn's sum from the right, by a table; the text has digits only. */
static unsigned luhn_rest(const char *digits) {
  static const unsigned doubled[] = {0, 2, 4, 6, 8, 1, 3, 5, 7, 9};
  unsigned sum = 0, rank = 0;
  for (size_t i = strlen(digits); i-- > 0; rank++)
    sum += rank & 1 ? doubled[digits[i] - '0'] : (unsigned)(digits[i] - '0');
  return sum % 10;
}

/* A number of n digits whose last makes Luhn's sum right. */
static void make_luhn(char *text, size_t n) {
  for (size_t i = 0; i + 1 < n; i++)
    text[i] = (char)('0' + (i ? below(10) : 1 + below(9)));
  text[n] = 0;
  for (text[n - 1] = '0'; luhn_rest(text); text[n - 1]++)
    assert_true(text[n - 1] < '9');
}

TEST(rpps) {
  unsigned refused = 0;
  assert_true(rpps_is_valid("99700218896")); /* of the Agence du Numérique en Santé's test cards */
  for (int i = 0; i < 500; i++) {
    char text[12], right;
    make_luhn(text, 11);
    right = text[10];
    for (text[10] = '0'; text[10] <= '9'; text[10]++) {
      assert_int_equal(rpps_is_valid(text), text[10] == right);
      refused += text[10] != right;
    }
  }
  assert_int_equal(refused, 4500);
}

TEST(rpps_one_wrong_character) {
  unsigned refused = 0;
  for (int i = 0; i < 20; i++) {
    char text[12];
    make_luhn(text, 11);
    for (size_t at = 0; at < 11; at++)
      for (int c = 0; c < 256; c++) {
        char was = text[at];
        text[at] = (char)c;
        assert_int_equal(rpps_is_valid(text), text[at] == was);
        refused += text[at] != was;
        text[at] = was;
      }
  }
  assert_int_equal(refused, 20 * 11 * 255);
}

/* Two digits side by side the wrong way round: Luhn finds all but 09 and 90. */
TEST(rpps_transpositions) {
  unsigned found = 0, same = 0, blind = 0;
  for (int i = 0; i < 2000; i++) {
    char text[12];
    make_luhn(text, 11);
    for (size_t at = 0; at < 10; at++) {
      char a = text[at], b = text[at + 1];
      text[at] = b;
      text[at + 1] = a;
      bool nothing = a == b, unseen = (a == '0' && b == '9') || (a == '9' && b == '0');
      assert_int_equal(rpps_is_valid(text), nothing || unseen);
      same += nothing;
      blind += unseen;
      found += !nothing && !unseen;
      text[at] = a;
      text[at + 1] = b;
    }
  }
  assert_int_equal(found + same + blind, 20000);
  assert_true(found > 17000 && blind > 100);
  print_message("transpositions: %u found, %u of 09 and 90 cannot be, %u change nothing\n", found, blind, same);
}

TEST(rpps_shapes) {
  static const char *const wrong[] = {"",
                                      "9970021889",
                                      "997002188960",
                                      "099700218896",
                                      " 99700218896",
                                      "99700218896 ",
                                      "9970021889\xd9\xa6",
                                      "99 700 218 896",
                                      "899700218896",
                                      "00000000000",
                                      "99700218896\n"};
  for (size_t i = 0; i < COUNT(wrong); i++)
    assert_false(rpps_is_valid(wrong[i]));
}

/* ---- FINESS ---- */

/* Numbers of hospitals and homes, from the collections of acts of the prefectures of Corse-du-Sud and Haute-Corse. */
static const char *const published[] = {"2A0000014", "2A0000170", "2A0000261", "2A0000386", "2A0002051", "2A0002606",
                                        "2B0000020", "2B0000442", "2B0000459", "2B0000939", "2B0001341", "2B0003057",
                                        "2B0003073", "2B0003107", "2B0003628", "2B0004238", "2B0004246", "2B0005342"};

TEST(finess_corsica) {
  unsigned refused = 0;
  for (size_t i = 0; i < COUNT(published); i++) {
    char text[10];
    memcpy(text, published[i], sizeof text);
    for (size_t at = 0; at < 9; at++)
      for (int c = 0; c < 256; c++) {
        char was = text[at];
        text[at] = (char)c;
        bool same_value = at == 1 && (was == 'A' ? c == '1' : c == '2'); /* 21 and 22: Côte-d'Or, Côtes-d'Armor */
        assert_int_equal(finess_is_valid(text), text[at] == was || same_value);
        refused += text[at] != was && !same_value;
        text[at] = was;
      }
    text[1] = text[1] == 'A' ? 'a' : 'b';
    assert_false(finess_is_valid(text));
  }
  assert_int_equal(refused, COUNT(published) * (9 * 255 - 1));
}

TEST(finess) {
  static const char *const register_has[] = {"750721334", "630781003", "060020443", "010783009",
                                             "440023620", "970302477", "010000016", "060780962"};
  for (size_t i = 0; i < COUNT(register_has); i++)
    assert_true(finess_is_valid(register_has[i]));
  for (int i = 0; i < 500; i++) {
    char text[10], right;
    make_luhn(text, 9);
    right = text[8];
    for (text[8] = '0'; text[8] <= '9'; text[8]++)
      assert_int_equal(finess_is_valid(text), text[8] == right);
  }
  /* A letter is Corsica's only. */
  for (int c = 'A'; c <= 'Z'; c++)
    for (char first = '0'; first <= '9'; first++) {
      unsigned valid = 0;
      for (char last = '0'; last <= '9'; last++)
        valid += finess_is_valid((char[]){first, (char)c, '0', '0', '0', '4', '2', '0', last, 0});
      assert_int_equal(valid, first == '2' && (c == 'A' || c == 'B'));
    }
  static const char *const wrong[] = {"", "75072133", "7507213340", "000000000", "75 072 133 4", "75072133A"};
  for (size_t i = 0; i < COUNT(wrong); i++)
    assert_false(finess_is_valid(wrong[i]));
}

/* ---- INS ---- */

/* The key as INSEE words it: of Corsica the letter is read 0, and 1 000 000 is taken off for A, 2 000 000 for B. */
static unsigned key_of(const char *thirteen) {
  char digits[14];
  long long off = 0;
  memcpy(digits, thirteen, 13);
  digits[13] = 0;
  if (digits[6] == 'A' || digits[6] == 'B') {
    off = digits[6] == 'A' ? 1000000 : 2000000;
    digits[6] = '0';
  }
  return (unsigned)(97 - (strtoll(digits, NULL, 10) - off) % 97);
}

/* What has these 13 characters, and its key. */
static const char *with_key(const char *thirteen) {
  static char text[16];
  assert_int_equal(strlen(thirteen), 13);
  snprintf(text, sizeof text, "%s%02u", thirteen, key_of(thirteen));
  return text;
}

TEST(matricule_known) {
  /* Printed in public documentation: of test patients, or invented. */
  static const char *const right[] = {"279035121518989", "255081416802538", "295109912611193", "110086322083060",
                                      "284052A32102552", "284052B32102579", "278062B04500358", "180127512345642"};
  static const char *const wrong[] = {"",
                                      "27903512151898",
                                      "2790351215189890",
                                      "279035121518988",
                                      " 79035121518989",
                                      "2 79 03 51 215 189 89",
                                      "284052a32102552",
                                      "284052B32102552",
                                      "284052A32102579",
                                      "284052C32102552"};
  for (size_t i = 0; i < COUNT(right); i++) {
    assert_true(ins_is_valid(right[i]));
    char body[14] = "";
    memcpy(body, right[i], 13);
    assert_string_equal(with_key(body), right[i]);
  }
  for (size_t i = 0; i < COUNT(wrong); i++)
    assert_false(ins_is_valid(wrong[i]));
}

TEST(matricule_every_key) {
  static const char *const bodies[] = {"2790351215189", "2840519321025", "2840518321025", "284052A321025",
                                       "284052B321025", "1550497105001", "8991299352999", "1000101001096"};
  unsigned refused = 0;
  for (size_t i = 0; i < COUNT(bodies); i++)
    for (unsigned key = 0; key < 100; key++) {
      char text[24];
      snprintf(text, sizeof text, "%s%02u", bodies[i], key);
      assert_int_equal(ins_is_valid(text), key == key_of(bodies[i]));
      refused += key != key_of(bodies[i]);
    }
  assert_int_equal(refused, COUNT(bodies) * 99);
  /* The two ends of the key. */
  unsigned least = 99, most = 0;
  for (unsigned order = 1; order < 200; order++) {
    char body[24];
    snprintf(body, sizeof body, "1700175056%03u", order);
    unsigned key = key_of(body);
    least = key < least ? key : least;
    most = key > most ? key : most;
    assert_true(ins_is_valid(with_key(body)));
  }
  assert_int_equal(least, 1);
  assert_int_equal(most, 97);
}

static bool in_list(unsigned v, const char *list) {
  char word[8];
  snprintf(word, sizeof word, " %02u", v);
  return strstr(list, word) != NULL;
}

TEST(matricule_form) {
  static const char months[] =
      " 01 02 03 04 05 06 07 08 09 10 11 12 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 "
      "37 38 39 40 41 42 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 "
      "73 74 75 76 77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95 96 97 98 99";
  char body[24];
  unsigned valid = 0;
  for (unsigned v = 0; v < 100; v++) {
    snprintf(body, sizeof body, "170%02u75056001", v);
    assert_int_equal(ins_is_valid(with_key(body)), in_list(v, months));
    valid += in_list(v, months);
    snprintf(body, sizeof body, "1%02u0175056001", v);
    assert_true(ins_is_valid(with_key(body)));
    snprintf(body, sizeof body, "17001%02u056001", v);
    assert_int_equal(ins_is_valid(with_key(body)), v > 0);
  }
  assert_int_equal(valid, 85);
  for (char sex = '0'; sex <= '9'; sex++) {
    snprintf(body, sizeof body, "%c700175056001", sex);
    assert_int_equal(ins_is_valid(with_key(body)), sex != '0' && sex != '5' && sex != '6' && sex != '9');
  }
  for (unsigned v = 0; v < 1000; v++) {
    static const char *const whole[] = {"75", "2A", "2B", "99", "20"}, *const overseas[] = {"97", "98"};
    for (size_t i = 0; i < COUNT(whole); i++) {
      snprintf(body, sizeof body, "17001%s%03u001", whole[i], v);
      assert_int_equal(ins_is_valid(with_key(body)), v >= 1 && v <= 990);
    }
    for (size_t i = 0; i < COUNT(overseas); i++) {
      snprintf(body, sizeof body, "17001%s%03u001", overseas[i], v);
      assert_int_equal(ins_is_valid(with_key(body)), v % 100 >= 1 && v % 100 <= 90);
    }
    snprintf(body, sizeof body, "1700175056%03u", v);
    assert_int_equal(ins_is_valid(with_key(body)), v >= 1);
  }
}

/* The key finds each wrong character, and each pair the wrong way round. */
TEST(matricule_errors) {
  static const char *const texts[] = {"279035121518989", "284052A32102552", "284052B32102579", "110086322083060"};
  unsigned refused = 0, turned = 0;
  for (size_t i = 0; i < COUNT(texts); i++) {
    char text[16];
    memcpy(text, texts[i], sizeof text);
    for (size_t at = 0; at < 15; at++) {
      char was = text[at], next = text[at + 1];
      for (int c = 0; c < 256; c++) {
        text[at] = (char)c;
        assert_int_equal(ins_is_valid(text), text[at] == was);
        refused += text[at] != was;
      }
      if (at < 14) {
        text[at] = next;
        text[at + 1] = was;
        assert_int_equal(ins_is_valid(text), was == next);
        turned += was != next;
        text[at + 1] = next;
      }
      text[at] = was;
    }
  }
  assert_int_equal(refused, COUNT(texts) * 15 * 255);
  assert_true(turned > 40);
}

/* What is no digit has no key at all, wherever it stands. */
TEST(matricule_letters) {
  static const char *const bodies[] = {"2790351215189", "1700197105001", "284052A321025"};
  for (size_t i = 0; i < COUNT(bodies); i++)
    for (size_t at = 0; at < 13; at++)
      for (int c = 1; c < 256; c++)
        for (unsigned key = 0; key < 100 && (c < '0' || c > '9') && c != bodies[i][at]; key++) {
          char text[24];
          snprintf(text, sizeof text, "%s%02u", bodies[i], key);
          text[at] = (char)c;
          bool corsican = text[5] == '2' && (text[6] == 'A' || text[6] == 'B');
          assert_int_equal(ins_is_valid(text), at == 6 && corsican && key == key_of(text));
        }
}

TEST(authorities) {
  static const struct {
    const char *oid;
    enum ins_authority authority;
    bool fictitious;
  } rows[] = {{"1.2.250.1.213.1.4.8", INS_NIR, false},
              {"1.2.250.1.213.1.4.9", INS_NIA, false},
              {"1.2.250.1.213.1.4.10", INS_TEST, true},
              {"1.2.250.1.213.1.4.11", INS_DEMO, true}};
  static const char *const wrong[] = {"",
                                      "1.2.250.1.213.1.4",
                                      "1.2.250.1.213.1.4.",
                                      "1.2.250.1.213.1.4.1",
                                      "1.2.250.1.213.1.4.2",
                                      "1.2.250.1.213.1.4.12",
                                      "1.2.250.1.213.1.4.80",
                                      " 1.2.250.1.213.1.4.8",
                                      "1.2.250.1.213.1.4.8 ",
                                      "urn:oid:1.2.250.1.213.1.4.8"};
  enum ins_authority a;
  assert_int_equal(COUNT(rows), INS_AUTHORITIES);
  for (size_t i = 0; i < COUNT(rows); i++) {
    a = INS_AUTHORITIES;
    assert_true(ins_authority_find(rows[i].oid, &a));
    assert_int_equal(a, rows[i].authority);
    assert_string_equal(ins_oid(a), rows[i].oid);
    assert_int_equal(ins_is_fictitious(a), rows[i].fictitious);
  }
  a = INS_AUTHORITIES;
  for (size_t i = 0; i < COUNT(wrong); i++)
    assert_false(ins_authority_find(wrong[i], &a));
  assert_int_equal(a, INS_AUTHORITIES);
}

TEST(statuses) {
  static const char *const names[] = {"provisional", "retrieved", "validated", "qualified"};
  enum ins_status s;
  assert_int_equal(COUNT(names), INS_STATUSES);
  for (size_t i = 0; i < COUNT(names); i++) {
    assert_true(ins_status_find(names[i], &s));
    assert_string_equal(ins_status_name(s), names[i]);
    assert_int_equal(ins_may_be_sent(s), !strcmp(names[i], "qualified"));
  }
  s = INS_STATUSES;
  assert_false(ins_status_find("", &s));
  assert_false(ins_status_find("Qualified", &s));
  assert_false(ins_status_find("qualifie", &s));
  assert_int_equal(s, INS_STATUSES);
}

/* ---- the DataMatrix ---- */

#define HEAD "IS010000000000000000000000"
#define S1 "S1284052A32102552"
#define S2 "S21.2.250.1.213.1.4.8\x1d"
#define S3 "S3MICHELINE JEANNE-MARIE\x1d"
#define S4 "S4D'ARC--VIDAL\x1d"
#define S5 "S5F"
#define S6 "S601-05-1984"
#define S7 "S72A004"
#define WHOLE HEAD S1 S2 S3 S4 S5 S6 S7
#define FIFTY "ABCDEFGHIJABCDEFGHIJABCDEFGHIJABCDEFGHIJABCDEFGHI'"

static bool same(const struct ins_datamatrix *a, const struct ins_datamatrix *b) {
  return !strcmp(a->ins.matricule, b->ins.matricule) && a->ins.authority == b->ins.authority &&
         !strcmp(a->given_names, b->given_names) && !strcmp(a->first_given_name, b->first_given_name) &&
         !strcmp(a->birth_family_name, b->birth_family_name) && a->sex == b->sex &&
         !strcmp(a->birth_date, b->birth_date) && !strcmp(a->birth_place, b->birth_place);
}

/* Reads exactly these bytes, from memory that ends with them. On failure nothing but the reason may be set. */
static int parse(const char *bytes, size_t n, struct ins_datamatrix *ret, const char **ret_what) {
  struct ins_datamatrix before;
  char *exact = malloc(n + 1);
  assert_non_null(exact);
  memcpy(exact + 1, bytes, n);
  memset(ret, 0x5a, sizeof *ret);
  memset(&before, 0x5a, sizeof before);
  *ret_what = NULL;
  int r = ins_datamatrix_parse(exact + 1, n, ret, ret_what);
  free(exact);
  if (r < 0) {
    assert_non_null(*ret_what);
    assert_memory_equal(ret, &before, sizeof before);
  } else
    assert_null(*ret_what);
  return r;
}

static struct ins_datamatrix read_ok(const char *text) {
  struct ins_datamatrix d;
  const char *what;
  int r = parse(text, strlen(text), &d, &what);
  if (r)
    fail_msg("%s: %d, %s", text, r, what);
  return d;
}

static void refused(const char *text, size_t n, int err, const char *want) {
  struct ins_datamatrix d;
  const char *what;
  int r = parse(text, n, &d, &what);
  if (r != err || strcmp(what, want))
    fail_msg("%s: %d, %s instead of %d, %s", text, r, r ? what : "taken", err, want);
}

TEST(datamatrix) {
  struct ins_datamatrix d = read_ok(WHOLE);
  assert_string_equal(d.ins.matricule, "284052A32102552");
  assert_int_equal(d.ins.authority, INS_NIR);
  assert_string_equal(d.given_names, "MICHELINE JEANNE-MARIE");
  assert_string_equal(d.first_given_name, "MICHELINE");
  assert_string_equal(d.birth_family_name, "D'ARC--VIDAL");
  assert_int_equal(d.sex, 'F');
  assert_string_equal(d.birth_date, "1984-05-01");
  assert_string_equal(d.birth_place, "2A004");

  d = read_ok(HEAD "S1279035121518989S21.2.250.1.213.1.4.11S3O\x1dS4X\x1dS5MS629-02-2000S799999");
  assert_int_equal(d.ins.authority, INS_DEMO); /* as long as can be: without GS */
  assert_string_equal(d.given_names, "O");
  assert_string_equal(d.first_given_name, "O");
  assert_int_equal(d.sex, 'M');
  assert_string_equal(d.birth_date, "2000-02-29");
  assert_string_equal(d.birth_place, "99999");
}

TEST(datamatrix_long_names) {
  struct ins_datamatrix d = read_ok(HEAD S1 S2 "S3" FIFTY FIFTY "S4" FIFTY FIFTY S5 S6 S7);
  assert_string_equal(d.given_names, FIFTY FIFTY);
  assert_string_equal(d.first_given_name, FIFTY FIFTY);
  assert_string_equal(d.birth_family_name, FIFTY FIFTY);
  for (int n = 1; n < 100; n++) {
    char text[512];
    snprintf(text, sizeof text, HEAD S1 S2 "S3%.*s\x1d" S4 S5 S6 S7, n, FIFTY FIFTY);
    assert_int_equal(strlen(read_ok(text).given_names), n);
  }
  const char *many = HEAD S1 S2 "S3" FIFTY FIFTY "A\x1d" S4 S5 S6 S7;
  refused(many, strlen(many), -EPROTO, "datamatrix");
  const char *closed = HEAD S1 S2 "S3" FIFTY FIFTY "\x1d" S4 S5 S6 S7;
  refused(closed, strlen(closed), -EPROTO, "datamatrix");
}

/* Every order of the seven fields says the same, and so it does without the place of birth but for that. */
TEST(datamatrix_any_order) {
  static const char *const fields[] = {S1, S2, S3, S4, S5, S6, S7};
  struct ins_datamatrix want = read_ok(WHOLE);
  unsigned orders = 0;
  for (unsigned code = 0; code < 5040; code++, orders++) { /* 7! */
    char text[512] = HEAD, without[512] = HEAD;
    unsigned left = code, used = 0;
    for (unsigned n = 7; n > 0; n--, left /= n + 1) {
      unsigned k = left % n, i = 0;
      for (;; i++)
        if (!(used >> i & 1) && k-- == 0)
          break;
      used |= 1u << i;
      strncat(text, fields[i], sizeof text - strlen(text) - 1);
      if (i < 6)
        strncat(without, fields[i], sizeof without - strlen(without) - 1);
    }
    assert_int_equal(used, 127);
    struct ins_datamatrix d = read_ok(text);
    assert_true(same(&d, &want));
    d = read_ok(without);
    assert_string_equal(d.birth_place, "");
    assert_false(same(&d, &want));
    memcpy(d.birth_place, want.birth_place, sizeof d.birth_place);
    assert_true(same(&d, &want));
  }
  assert_int_equal(orders, 5040);
}

TEST(datamatrix_line_end) {
  static const char *const ends[] = {"\r", "\n", "\r\n"};
  static const char *const not_ends[] = {"\r\r", "\n\n", "\n\r", "\r\n\n", "\t", " ", "\x1d", "\x1d\r", "\x04"};
  struct ins_datamatrix want = read_ok(WHOLE), d;
  char text[512];
  for (size_t i = 0; i < COUNT(ends); i++) {
    snprintf(text, sizeof text, "%s%s", WHOLE, ends[i]);
    d = read_ok(text);
    assert_true(same(&d, &want));
    /* The end of the line shows that the last name is whole. */
    snprintf(text, sizeof text, "%s%s", HEAD S1 S2 S3 S5 S6 S7 "S4D'ARC--VIDAL", ends[i]);
    d = read_ok(text);
    assert_true(same(&d, &want));
    refused(ends[i], strlen(ends[i]), -EPROTO, "datamatrix");
  }
  const char *open = HEAD S1 S2 S3 S5 S6 S7 "S4D'ARC--VIDAL";
  refused(open, strlen(open), -EPROTO, "birth_family_name");
  for (size_t i = 0; i < COUNT(not_ends); i++) {
    snprintf(text, sizeof text, "%s%s", WHOLE, not_ends[i]);
    refused(text, strlen(text), -EPROTO, "datamatrix");
  }
}

TEST(datamatrix_refusals) {
  static const struct {
    const char *text;
    int err;
    const char *what;
  } rows[] = {
      /* not this text */
      {"", -EPROTO, "datamatrix"},
      {"284052A32102552", -EPROTO, "datamatrix"},
      {"IS02" S1 S2 S3 S4 S5 S6 S7, -EPROTO, "datamatrix"},
      {"IS010000000000000000000001" S1 S2 S3 S4 S5 S6 S7, -EPROTO, "datamatrix"},
      {"IS01000000000000000000000" S1 S2 S3 S4 S5 S6 S7, -EPROTO, "datamatrix"},
      {"]d1" WHOLE, -EPROTO, "datamatrix"},
      {" " WHOLE, -EPROTO, "datamatrix"},
      {"DC04FR0000011E581E58B201FRF0JEAN\x1d", -EPROTO, "datamatrix"},
      {WHOLE "S", -EPROTO, "datamatrix"},
      {WHOLE "S8X", -EPROTO, "datamatrix"},
      {WHOLE "S0X", -EPROTO, "datamatrix"},
      {WHOLE WHOLE, -EPROTO, "datamatrix"},
      {HEAD S1 S2 S3 S4 S5 S6 "s72A004", -EPROTO, "datamatrix"},
      /* each missing, cut or twice */
      {HEAD, -EPROTO, "matricule"},
      {HEAD S2 S3 S4 S5 S6 S7, -EPROTO, "matricule"},
      {HEAD S1 S3 S4 S5 S6 S7, -EPROTO, "oid"},
      {HEAD S1 S2 S4 S5 S6 S7, -EPROTO, "given_names"},
      {HEAD S1 S2 S3 S5 S6 S7, -EPROTO, "birth_family_name"},
      {HEAD S1 S2 S3 S4 S6 S7, -EPROTO, "sex"},
      {HEAD S1 S2 S3 S4 S5 S7, -EPROTO, "birth_date"},
      {HEAD "S1284052A3210255", -EPROTO, "matricule"},
      {HEAD S1 "S21.2.250.1.213.1.4.8", -EPROTO, "oid"},
      {HEAD S1 S2 S3 S4 S6 "S5", -EPROTO, "sex"},
      {HEAD S1 S2 S3 S4 S5 "S601-05-198", -EPROTO, "birth_date"},
      {HEAD S1 S2 S3 S4 S5 S6 "S72A00", -EPROTO, "birth_place"},
      {HEAD S1 S1 S2 S3 S4 S5 S6 S7, -EPROTO, "datamatrix"},
      {HEAD S1 S2 S2 S3 S4 S5 S6 S7, -EPROTO, "datamatrix"},
      {HEAD S1 S2 S3 S3 S4 S5 S6 S7, -EPROTO, "datamatrix"},
      {HEAD S1 S2 S3 S4 S4 S5 S6 S7, -EPROTO, "datamatrix"},
      {HEAD S1 S2 S3 S4 S5 S5 S6 S7, -EPROTO, "datamatrix"},
      {HEAD S1 S2 S3 S4 S5 S6 S6 S7, -EPROTO, "datamatrix"},
      {HEAD S1 S2 S3 S4 S5 S6 S7 S7, -EPROTO, "datamatrix"},
      /* what keyboards make of GS */
      {HEAD S1 "S21.2.250.1.213.1.4.8<GS>" S3 S4 S5 S6 S7, -EPROTO, "datamatrix"},
      {HEAD S1 "S21.2.250.1.213.1.4.8" S3 S4 S5 S6 S7, -EPROTO, "datamatrix"},
      {HEAD S1 S2 "S3ANNE]S4MARTIN]" S5 S6 S7, -EPROTO, "given_names"},
      {HEAD S1 S2 "S3ANNES4MARTIN" S5 S6 S7 "\n", -EPROTO, "birth_family_name"},
      {HEAD S1 S2 "S3ANNE\x1e" S4 S5 S6 S7, -EPROTO, "birth_family_name"},
      /* the key */
      {HEAD "S1284052A32102553" S2 S3 S4 S5 S6 S7, -EBADMSG, "matricule"},
      {HEAD "S1284052B32102552" S2 S3 S4 S5 S6 S7, -EBADMSG, "matricule"},
      {HEAD "S1284052A32102500" S2 S3 S4 S5 S6 S7, -EBADMSG, "matricule"},
      /* what cannot be */
      {HEAD "S1584052A32102552" S2 S3 S4 S5 S6 S7, -ERANGE, "matricule"},
      {HEAD "S1284132A32102552" S2 S3 S4 S5 S6 S7, -ERANGE, "matricule"},
      {HEAD "S1284052A3210255X" S2 S3 S4 S5 S6 S7, -ERANGE, "matricule"},
      {HEAD S1 "S2\x1d" S3 S4 S5 S6 S7, -ERANGE, "oid"},
      {HEAD S1 "S21.2.250.1.213.1.4.12" S3 S4 S5 S6 S7, -ERANGE, "oid"},
      {HEAD S1 "S21.2.250.1.213.1.4.2\x1d" S3 S4 S5 S6 S7, -ERANGE, "oid"},
      {HEAD S1 S2 "S3\x1d" S4 S5 S6 S7, -ERANGE, "given_names"},
      {HEAD S1 S2 "S3-\x1d" S4 S5 S6 S7, -ERANGE, "given_names"},
      {HEAD S1 S2 "S3 ANNE\x1d" S4 S5 S6 S7, -ERANGE, "given_names"},
      {HEAD S1 S2 "S3ANNE \x1d" S4 S5 S6 S7, -ERANGE, "given_names"},
      {HEAD S1 S2 "S3ANNE  ZOE\x1d" S4 S5 S6 S7, -ERANGE, "given_names"},
      {HEAD S1 S2 "S3Anne\x1d" S4 S5 S6 S7, -ERANGE, "given_names"},
      {HEAD S1 S2 S3 "S4\x1d" S5 S6 S7, -ERANGE, "birth_family_name"},
      {HEAD S1 S2 S3 "S4LEVY2\x1d" S5 S6 S7, -ERANGE, "birth_family_name"},
      {HEAD S1 S2 S3 "S4L\xc3\x89VY\x1d" S5 S6 S7, -ERANGE, "birth_family_name"},
      {HEAD S1 S2 S3 S4 "S5I" S6 S7, -ERANGE, "sex"},
      {HEAD S1 S2 S3 S4 "S5f" S6 S7, -ERANGE, "sex"},
      {HEAD S1 S2 S3 S4 S5 "S630-02-1984" S7, -ERANGE, "birth_date"},
      {HEAD S1 S2 S3 S4 S5 "S629-02-1900" S7, -ERANGE, "birth_date"},
      {HEAD S1 S2 S3 S4 S5 "S600-05-1984" S7, -ERANGE, "birth_date"},
      {HEAD S1 S2 S3 S4 S5 "S601-13-1984" S7, -ERANGE, "birth_date"},
      {HEAD S1 S2 S3 S4 S5 "S601-05-1849" S7, -ERANGE, "birth_date"},
      {HEAD S1 S2 S3 S4 S5 "S601/05/1984" S7, -ERANGE, "birth_date"},
      {HEAD S1 S2 S3 S4 S5 "S601/05-1984" S7, -ERANGE, "birth_date"},
      {HEAD S1 S2 S3 S4 S5 "S601-05/1984" S7, -ERANGE, "birth_date"},
      {HEAD S1 S2 S3 S4 S5 "S61984-05-01" S7, -ERANGE, "birth_date"},
      {HEAD S1 S2 S3 S4 S5 S6 "S700123", -ERANGE, "birth_place"},
      {HEAD S1 S2 S3 S4 S5 S6 "S72C004", -ERANGE, "birth_place"},
      {HEAD S1 S2 S3 S4 S5 S6 "S775O56", -ERANGE, "birth_place"},
      {HEAD S1 S2 S3 S4 S5 S6 "S7     ", -ERANGE, "birth_place"},
  };
  for (size_t i = 0; i < COUNT(rows); i++)
    refused(rows[i].text, strlen(rows[i].text), rows[i].err, rows[i].what);
}

/* A NUL is a byte like any other that does not belong. */
TEST(datamatrix_nul) {
  static const char oid[] = HEAD S1 "S21.2.250.1.213.1.4.8\0" S3 S4 S5 S6 S7,
                    name[] = HEAD S1 S2 "S3ANNE\0\x1d" S4 S5 S6 S7, sex[] = HEAD S1 S2 S3 S4 "S5\0" S6 S7,
                    date[] = HEAD S1 S2 S3 S4 S5 "S601-05-198\0" S7, end[] = WHOLE "\0";
  refused(oid, sizeof oid - 1, -ERANGE, "oid");
  refused(name, sizeof name - 1, -ERANGE, "given_names");
  refused(sex, sizeof sex - 1, -ERANGE, "sex");
  refused(date, sizeof date - 1, -ERANGE, "birth_date");
  refused(end, sizeof end - 1, -EPROTO, "datamatrix");
}

TEST(datamatrix_floods) {
  static char text[1 << 20];
  static const char fills[] = {'S', '1', 0x1d, 'A', ' ', '\r', '\n', 0};
  for (size_t i = 0; i < sizeof fills; i++)
    for (size_t n = 27; n <= sizeof text; n *= 2) {
      memset(text, fills[i], sizeof text);
      refused(text, n, -EPROTO, "datamatrix");
      memcpy(text, HEAD, 26);
      struct ins_datamatrix d;
      const char *what;
      assert_int_equal(parse(text, n, &d, &what), -EPROTO);
    }
}

/* ---- damage ---- */

static const char *const layouts[] = {
    WHOLE,
    HEAD S1 S2 S3 S5 S6 S7 S4,
    HEAD S7 S6 S5 S4 S3 S2 S1,
    HEAD S1 S2 S3 S4 S5 S6,
    HEAD "S1279035121518989S21.2.250.1.213.1.4.10S3" FIFTY FIFTY "S4B\x1dS5MS610-10-1979S714118",
};

/* What is cut off is refused, unless all is there but the place of birth, which then is not. */
TEST(every_prefix) {
  unsigned gone = 0, shorter = 0;
  for (size_t i = 0; i < COUNT(layouts); i++) {
    struct ins_datamatrix whole = read_ok(layouts[i]), d;
    for (size_t n = 0; n < strlen(layouts[i]); n++) {
      const char *what;
      int r = parse(layouts[i], n, &d, &what);
      if (r < 0) {
        assert_int_equal(r, -EPROTO);
        gone++;
        continue;
      }
      assert_string_equal(layouts[i] + n, strstr(layouts[i], "S7"));
      assert_string_equal(d.birth_place, "");
      assert_string_not_equal(whole.birth_place, "");
      shorter++;
    }
  }
  assert_int_equal(shorter, 2); /* of the two that end with S7 */
  print_message("truncations: %u refused, %u without the place of birth\n", gone, shorter);
}

/* Any other byte in any place is refused or seen in what is read; in the header, in the matricule and in the separators
 * it is always refused. Only the last GS may become an end of line, which means the same. */
TEST(every_byte) {
  unsigned flips = 0, flips_seen = 0, bytes = 0, bytes_seen = 0, ends = 0;
  for (size_t i = 0; i < COUNT(layouts); i++) {
    struct ins_datamatrix whole = read_ok(layouts[i]), d;
    char text[512];
    size_t n = strlen(layouts[i]), matricule = (size_t)(strstr(layouts[i] + 26, "S1") - layouts[i]);
    memcpy(text, layouts[i], n + 1);
    for (size_t at = 0; at < n; at++)
      for (unsigned change = 1; change < 256; change++) {
        const char *what;
        bool flip = !(change & (change - 1));
        text[at] = (char)(layouts[i][at] ^ (char)change);
        if (at + 1 == n && layouts[i][at] == 0x1d && (text[at] == '\r' || text[at] == '\n')) {
          d = read_ok(text);
          assert_true(same(&d, &whole));
          ends++;
          text[at] = layouts[i][at];
          continue;
        }
        int r = parse(text, n, &d, &what);
        bytes++;
        flips += flip;
        if (r == 0) {
          if (same(&d, &whole))
            fail_msg("byte %zu as 0x%02x changes nothing: %s", at, text[at] & 0xff, layouts[i]);
          assert_true(at >= 26 && (at < matricule || at >= matricule + 17) && layouts[i][at] != 0x1d);
          bytes_seen++;
          flips_seen += flip;
        }
        text[at] = layouts[i][at];
      }
  }
  assert_int_equal(ends, 2); /* CR and LF of the one that ends with GS */
  assert_true(bytes_seen > 0 && bytes_seen < bytes / 10);
  print_message("bit flips: %u refused, %u seen; other bytes: %u refused, %u seen\n", flips - flips_seen, flips_seen,
                bytes - bytes_seen, bytes_seen);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rpps),
      cmocka_unit_test(rpps_one_wrong_character),
      cmocka_unit_test(rpps_transpositions),
      cmocka_unit_test(rpps_shapes),
      cmocka_unit_test(finess_corsica),
      cmocka_unit_test(finess),
      cmocka_unit_test(matricule_known),
      cmocka_unit_test(matricule_every_key),
      cmocka_unit_test(matricule_form),
      cmocka_unit_test(matricule_errors),
      cmocka_unit_test(matricule_letters),
      cmocka_unit_test(authorities),
      cmocka_unit_test(statuses),
      cmocka_unit_test(datamatrix),
      cmocka_unit_test(datamatrix_long_names),
      cmocka_unit_test(datamatrix_any_order),
      cmocka_unit_test(datamatrix_line_end),
      cmocka_unit_test(datamatrix_refusals),
      cmocka_unit_test(datamatrix_nul),
      cmocka_unit_test(datamatrix_floods),
      cmocka_unit_test(every_prefix),
      cmocka_unit_test(every_byte),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
