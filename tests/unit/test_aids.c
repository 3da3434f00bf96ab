#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "aids.h"
#include "fail_alloc.h"
#include "gli_table.h"
#include "str.h"
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)
#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct reference_table *table;

static int make_table(void **state __attribute__((unused))) {
  _buf_cleanup_ struct buf text = BUF_INIT(REFERENCE_TEXT_MAX);
  char reason[256];
  gli_table(&text);
  return text.err ? text.err : reference_parse((const char *)text.data, text.len, &table, reason);
}

static int drop_table(void **state __attribute__((unused))) {
  reference_destroy(table);
  return 0;
}

/* A man of 45 years and 175 cm: FEV1 3.7132 (limit 2.8227), FVC 4.5879 (3.5115), ratio 0.8056 (0.6984). */
static struct aids_input man(void) {
  struct aids_input in = {.sex = "M",
                          .birth_date = "1980-05-17",
                          .test_date = "2025-05-17",
                          .height_mm = 1750,
                          .table = table,
                          .table_sha256 = SHA};
  for (int i = 0; i < AIDS_PHASES; i++)
    in.reported[i] = (struct aids_reported){AIDS_NONE, AIDS_NONE, 0, 0};
  return in;
}

static json_t *made(const struct aids_input *in) {
  json_t *j = NULL;
  int r = aids_make(in, &j);
  if (r)
    fail_msg("%d", r);
  return j;
}

static const json_t *result(const json_t *aids, size_t i) {
  return json_array_get(json_object_get(aids, "results"), i);
}

static void becomes(const struct aids_input *in, const char *want) {
  _json_cleanup_ json_t *j = made(in);
  char *got = json_canonical(j, NULL);
  assert_non_null(got);
  assert_string_equal(got, want);
  free(got);
}

#define EDITIONS "{\"editions\":{\"interpretation\":\"ERS/ATS 2021\",\"report\":\"ATS 2017\"},"
#define REFERENCE                                                                                  \
  "\"reference\":{\"age\":\"45.00\",\"height_cm\":\"175.0\",\"interpolation\":\"linear\",\"set\":" \
  "\"GLI-Global-2022\",\"sex\":\"M\",\"table_sha256\":\"" SHA "\"},"

TEST(whole_output) {
  struct aids_input in = man();
  in.reported[AIDS_PRE] = (struct aids_reported){2500, 4000, 'A', 'B'};
  in.reported[AIDS_POST] = (struct aids_reported){2900, 4100, 'C', 0};
  becomes(&in, EDITIONS REFERENCE
          "\"response\":{\"fev1\":{\"change_ml\":400,\"percent_predicted\":\"10.8\",\"significant\":true},"
          "\"fvc\":{\"change_ml\":100,\"percent_predicted\":\"2.2\",\"significant\":false}},\"response_why\":null,"
          "\"results\":["
          "{\"code\":\"fvc\",\"flag\":null,\"grade\":\"B\",\"lln\":\"3.5115\",\"percent_predicted\":\"87.2\","
          "\"phase\":\"pre\",\"predicted\":\"4.5879\",\"unit\":\"L\",\"value\":\"4.000\",\"z\":\"-0.8949\"},"
          "{\"code\":\"fev1\",\"flag\":\"below_lln\",\"grade\":\"A\",\"lln\":\"2.8227\",\"percent_predicted\":\"67.3\","
          "\"phase\":\"pre\",\"predicted\":\"3.7132\",\"unit\":\"L\",\"value\":\"2.500\",\"z\":\"-2.2142\"},"
          "{\"code\":\"fev1_fvc\",\"flag\":\"below_lln\",\"grade\":null,\"lln\":\"0.6984\",\"percent_predicted\":null,"
          "\"phase\":\"pre\",\"predicted\":\"0.8056\",\"unit\":\"1\",\"value\":\"0.6250\",\"z\":\"-2.5669\"},"
          "{\"code\":\"fvc\",\"flag\":null,\"grade\":null,\"lln\":\"3.5115\",\"percent_predicted\":\"89.4\","
          "\"phase\":\"post\",\"predicted\":\"4.5879\",\"unit\":\"L\",\"value\":\"4.100\",\"z\":\"-0.7421\"},"
          "{\"code\":\"fev1\",\"flag\":null,\"grade\":\"C\",\"lln\":\"2.8227\",\"percent_predicted\":\"78.1\","
          "\"phase\":\"post\",\"predicted\":\"3.7132\",\"unit\":\"L\",\"value\":\"2.900\",\"z\":\"-1.5064\"},"
          "{\"code\":\"fev1_fvc\",\"flag\":null,\"grade\":null,\"lln\":\"0.6984\",\"percent_predicted\":null,"
          "\"phase\":\"post\",\"predicted\":\"0.8056\",\"unit\":\"1\",\"value\":\"0.7073\",\"z\":\"-1.5217\"}],"
          "\"why\":null}");
}

#define WHY_TABLE                                                                                                      \
  "Aucune table de référence n'est installée : pas de valeurs théoriques. L'administrateur peut l'installer avec " \
  "« asaleectl reference import »."

TEST(without_table) {
  struct aids_input in = man();
  in.table = NULL;
  in.table_sha256 = NULL;
  in.reported[AIDS_BASELINE] = (struct aids_reported){3000, 4000, 'A', 'A'};
  becomes(&in, EDITIONS
          "\"reference\":null,\"response\":null,\"response_why\":\"Réponse au bronchodilatateur : il manque CVF avant, "
          "CVF après, CVF théorique, VEMS avant, VEMS après, VEMS théorique.\",\"results\":["
          "{\"code\":\"fvc\",\"flag\":null,\"grade\":\"A\",\"lln\":null,\"percent_predicted\":null,"
          "\"phase\":\"baseline\",\"predicted\":null,\"unit\":\"L\",\"value\":\"4.000\",\"z\":null},"
          "{\"code\":\"fev1\",\"flag\":null,\"grade\":\"A\",\"lln\":null,\"percent_predicted\":null,"
          "\"phase\":\"baseline\",\"predicted\":null,\"unit\":\"L\",\"value\":\"3.000\",\"z\":null},"
          "{\"code\":\"fev1_fvc\",\"flag\":null,\"grade\":null,\"lln\":null,\"percent_predicted\":null,"
          "\"phase\":\"baseline\",\"predicted\":null,\"unit\":\"1\",\"value\":\"0.7500\",\"z\":null}],"
          "\"why\":\"" WHY_TABLE "\"}");
}

TEST(without_values) {
  struct aids_input in = man();
  becomes(&in, EDITIONS REFERENCE
          "\"response\":null,\"response_why\":\"Réponse au bronchodilatateur : il manque CVF avant, CVF après, VEMS "
          "avant, VEMS après.\",\"results\":[],\"why\":null}");
}

/* Whatever was reported: those, in the order of a report. */
TEST(which_results) {
  static const char *const phases[] = {"baseline", "pre", "post"};
  for (unsigned set = 0; set < 64; set++) {
    struct aids_input in = man();
    size_t n = 0;
    for (unsigned phase = 0; phase < 3; phase++) {
      in.reported[phase].fev1_ml = set >> (2 * phase) & 1 ? 3000 : AIDS_NONE;
      in.reported[phase].fvc_ml = set >> (2 * phase) & 2 ? 4000 : AIDS_NONE;
    }
    _json_cleanup_ json_t *j = made(&in);
    for (unsigned phase = 0; phase < 3; phase++) {
      bool fev1 = set >> (2 * phase) & 1, fvc = set >> (2 * phase) & 2;
      const char *const codes[] = {fvc ? "fvc" : NULL, fev1 ? "fev1" : NULL, fev1 && fvc ? "fev1_fvc" : NULL};
      for (size_t i = 0; i < 3; i++)
        if (codes[i]) {
          assert_string_equal(json_text(result(j, n), "code"), codes[i]);
          assert_string_equal(json_text(result(j, n), "phase"), phases[phase]);
          assert_non_null(json_text(result(j, n), "z"));
          assert_int_equal(json_text(result(j, n), "percent_predicted") == NULL, i == 2);
          n++;
        }
    }
    assert_int_equal(json_array_size(json_object_get(j, "results")), n);
  }
}

TEST(why_there_is_no_reference) {
  static const struct {
    const char *sex, *birth;
    uint32_t height;
    bool table;
    const char *says; /* NULL: there is one */
  } rows[] = {
      {"M", "1980-05-17", 1750, true, NULL},
      {"F", "1980-05-17", 1750, true, NULL},
      {"M", "1980-05-17", 1750, false, "asaleectl reference import"},
      {"U", "1980-05-17", 1750, true, "Le sexe"},
      {"", "1980-05-17", 1750, true, "Le sexe"},
      {"m", "1980-05-17", 1750, true, "Le sexe"},
      {"MF", "1980-05-17", 1750, true, "Le sexe"},
      {"M", "1980-05-17", 0, true, "La taille n'est pas renseignée"},
      {"M", "1980-05-17", 499, true, "50 à 250 cm"},
      {"M", "1980-05-17", 500, true, NULL},
      {"M", "1980-05-17", 2500, true, NULL},
      {"M", "1980-05-17", 2501, true, "50 à 250 cm"},
      {"M", "1980-05-17", 175, true, "50 à 250 cm"},
      {"M", "1980-05-17", UINT32_MAX, true, "50 à 250 cm"},
      {"M", "2022-05-18", 1000, true, "3 à 95 ans"},
      {"M", "2022-05-17", 1000, true, NULL},
      {"M", "1930-05-17", 1600, true, NULL},
      {"M", "1930-05-16", 1600, true, "3 à 95 ans"},
      {"M", "2025-05-18", 1600, true, "3 à 95 ans"}, /* born after the test */
      {"U", "1850-01-01", 0, false, "asaleectl reference import"},
      {"U", "1850-01-01", 0, true, "Le sexe"},
      {"M", "1850-01-01", 0, true, "La taille n'est pas renseignée"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct aids_input in = man();
    in.sex = rows[i].sex;
    in.birth_date = rows[i].birth;
    in.height_mm = rows[i].height;
    in.table = rows[i].table ? table : NULL;
    in.reported[AIDS_PRE] = in.reported[AIDS_POST] = (struct aids_reported){1500, 2000, 'A', 'A'};
    _json_cleanup_ json_t *j = made(&in);
    const char *why = json_text(j, "why");
    if ((why == NULL) != (rows[i].says == NULL) || (why && !strstr(why, rows[i].says)))
      fail_msg("row %zu: %s", i, why ? why : "-");
    if (why)
      assert_true(str_is_clean_utf8(why, strlen(why)) && why[strlen(why) - 1] == '.');
    assert_int_equal(json_is_null(json_object_get(j, "reference")), why != NULL);
    assert_int_equal(json_is_null(json_object_get(j, "response")), why != NULL);
    assert_int_equal(json_array_size(json_object_get(j, "results")), 6); /* the values are there in any case */
    for (size_t k = 0; k < 6; k++) {
      static const char *const computed[] = {"predicted", "lln", "z"};
      assert_non_null(json_text(result(j, k), "value"));
      for (size_t c = 0; c < COUNT(computed); c++)
        assert_int_equal(json_is_null(json_object_get(result(j, k), computed[c])), why != NULL);
      if (why)
        assert_true(json_is_null(json_object_get(result(j, k), "flag")) &&
                    json_is_null(json_object_get(result(j, k), "percent_predicted")));
    }
    const char *missing = json_text(j, "response_why");
    if (why)
      assert_string_equal(missing, "Réponse au bronchodilatateur : il manque CVF théorique, VEMS théorique.");
    else
      assert_null(missing);
  }
}

TEST(age_and_height_as_text) {
  static const struct {
    const char *birth, *age;
    uint32_t mm;
    const char *cm;
  } rows[] = {
      {"1980-02-22", "45.23", 1755, "175.5"}, {"1980-05-18", "45.00", 1600, "160.0"}, /* a day short, to two decimals */
      {"1980-05-13", "45.01", 999, "99.9"},   {"1979-11-16", "45.50", 500, "50.0"},
      {"2022-05-17", "3.00", 1000, "100.0"},  {"1930-05-17", "95.00", 2500, "250.0"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct aids_input in = man();
    in.birth_date = rows[i].birth;
    in.height_mm = rows[i].mm;
    _json_cleanup_ json_t *j = made(&in);
    assert_string_equal(json_text(json_object_get(j, "reference"), "age"), rows[i].age);
    assert_string_equal(json_text(json_object_get(j, "reference"), "height_cm"), rows[i].cm);
  }
}

TEST(flags) {
  static const struct {
    int32_t fev1, fvc;
    bool fvc_low, fev1_low, ratio_low;
  } rows[] = {
      {2823, 4000, false, false, false},   {2822, 4000, false, true, false}, {2700, 3512, false, true, false},
      {2700, 3511, true, true, false},     {2793, 4000, false, true, true}, /* 0.69825 */
      {2794, 4000, false, true, false},                                     /* 0.69850: the limit is 0.6984 */
      {12000, 15000, false, false, false}, {1, 1, true, true, false},        {1, 15000, false, true, true},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct aids_input in = man();
    in.reported[AIDS_BASELINE] = (struct aids_reported){rows[i].fev1, rows[i].fvc, 0, 0};
    _json_cleanup_ json_t *j = made(&in);
    const bool low[] = {rows[i].fvc_low, rows[i].fev1_low, rows[i].ratio_low};
    for (size_t k = 0; k < 3; k++) {
      const char *flag = json_text(result(j, k), "flag");
      if ((flag != NULL) != low[k])
        fail_msg("row %zu, result %zu: %s", i, k, flag ? flag : "-");
      if (flag)
        assert_string_equal(flag, "below_lln");
    }
  }
}

/* z = -1.6450 is at the limit, not below it. */
TEST(flag_at_the_limit) {
  unsigned at = 0, below = 0;
  for (uint32_t mm = 1500; mm <= 2000; mm++)
    for (int32_t ml = -2; ml <= 2; ml++) {
      struct reference_values v;
      assert_int_equal(reference_compute(table, REFERENCE_FEV1, 'M', 45, mm / 10.0, 1, &v), 0);
      struct aids_input in = man();
      in.height_mm = mm;
      in.reported[AIDS_PRE].fev1_ml = v.lln.mantissa / 10 + ml;
      _json_cleanup_ json_t *j = made(&in);
      const char *z = json_text(result(j, 0), "z");
      if (!strcmp(z, "-1.6450")) {
        assert_null(json_text(result(j, 0), "flag"));
        at++;
      } else if (!strncmp(z, "-1.645", 6)) {
        assert_non_null(json_text(result(j, 0), "flag"));
        below++;
      }
    }
  assert_true(at > 3 && below > 3);
}

/* Values of different blows: a ratio above 1 says so and no more. */
TEST(ratio_above_one) {
  struct aids_input in = man();
  in.reported[AIDS_BASELINE] = (struct aids_reported){3001, 3000, 'A', 'E'};
  in.reported[AIDS_PRE] = (struct aids_reported){3000, 3000, 'A', 'A'};
  in.reported[AIDS_POST] = (struct aids_reported){12000, 1, 'A', 'E'};
  _json_cleanup_ json_t *j = made(&in);
  static const struct {
    size_t at;
    const char *value;
    bool computed;
  } rows[] = {{0, "3.000", true}, {1, "3.001", true},  {2, "1.0003", false},
              {3, "3.000", true}, {4, "3.000", true},  {5, "1.0000", true},
              {6, "0.001", true}, {7, "12.000", true}, {8, "12000.0000", false}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    const json_t *r = result(j, rows[i].at);
    assert_string_equal(json_text(r, "value"), rows[i].value);
    assert_int_equal(json_text(r, "predicted") != NULL, rows[i].computed);
    assert_int_equal(json_text(r, "z") != NULL, rows[i].computed);
    assert_int_equal(json_text(r, "lln") != NULL, rows[i].computed);
  }
}

/* Ratios in steps of 0.0001, halves up. */
TEST(ratio_text) {
  for (int32_t fev1 = 1; fev1 <= 12000; fev1 += 397)
    for (int32_t fvc = 1; fvc <= 15000; fvc += 503) {
      struct aids_input in = man();
      in.reported[AIDS_PRE] = (struct aids_reported){fev1, fvc, 0, 0};
      _json_cleanup_ json_t *j = made(&in);
      struct dec d;
      assert_int_equal(dec_parse(json_text(result(j, 2), "value"), &d), 0);
      assert_int_equal(d.exponent, -4);
      assert_int_equal(d.mantissa, (int32_t)floorl(10000.0L * fev1 / fvc + 0.5L));
    }
}

/* ---- response ------------------------------------------------------------------------------------------------- */

static void responds(const struct aids_input *in, const char *code, int64_t change, const char *percent,
                     bool significant) {
  _json_cleanup_ json_t *j = made(in);
  const json_t *r = json_object_get(json_object_get(j, "response"), code);
  int64_t got;
  assert_int_equal(json_int(r, "change_ml", INT32_MIN, INT32_MAX, &got), 0);
  assert_int_equal(got, change);
  assert_string_equal(json_text(r, "percent_predicted"), percent);
  assert_int_equal(json_is_true(json_object_get(r, "significant")), significant);
  assert_true(json_is_boolean(json_object_get(r, "significant")));
}

TEST(response_limits) {
  static const struct {
    int32_t fev1_pre, fev1_post, fvc_pre, fvc_post;
    const char *fev1, *fvc;
    bool fev1_significant, fvc_significant;
  } rows[] = {
      {2000, 2371, 3000, 3458, "10.0", "10.0", false, false}, /* 10 % of 3713.2 is 371.32, of 4587.9 is 458.79 */
      {2000, 2372, 3000, 3459, "10.0", "10.0", true, true},
      {1000, 1371, 1000, 1458, "10.0", "10.0", false, false}, /* 37 % of what it was, but not of the predicted value */
      {2000, 2000, 3000, 3000, "0.0", "0.0", false, false},
      {2000, 2001, 3000, 3002, "0.0", "0.0", false, false},
      {2001, 2000, 3002, 3000, "0.0", "0.0", false, false},
      {2002, 2000, 3003, 3000, "-0.1", "-0.1", false, false},
      {3000, 1000, 4000, 3000, "-53.9", "-21.8", false, false}, /* a fall is no response */
      {1, 12000, 1, 15000, "323.1", "326.9", true, true},
      {12000, 1, 15000, 1, "-323.1", "-326.9", false, false},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct aids_input in = man();
    in.reported[AIDS_BASELINE] = (struct aids_reported){100, 100, 'A', 'A'}; /* not looked at */
    in.reported[AIDS_PRE] = (struct aids_reported){rows[i].fev1_pre, rows[i].fvc_pre, 'A', 'A'};
    in.reported[AIDS_POST] = (struct aids_reported){rows[i].fev1_post, rows[i].fvc_post, 'A', 'A'};
    responds(&in, "fev1", rows[i].fev1_post - rows[i].fev1_pre, rows[i].fev1, rows[i].fev1_significant);
    responds(&in, "fvc", rows[i].fvc_post - rows[i].fvc_pre, rows[i].fvc, rows[i].fvc_significant);
  }
}

/* Exactly 10 % is not more than 10 %; one millilitre more is. */
TEST(response_of_exactly_ten_percent) {
  unsigned found = 0;
  for (uint32_t mm = 1000; mm <= 2200; mm++) {
    struct aids_input in = man();
    in.height_mm = mm;
    in.reported[AIDS_PRE] = (struct aids_reported){1000, AIDS_NONE, 0, 0};
    _json_cleanup_ json_t *j = made(&in);
    struct dec predicted;
    assert_int_equal(dec_parse(json_text(result(j, 0), "predicted"), &predicted), 0);
    if (predicted.mantissa % 100)
      continue;
    found++;
    int32_t tenth = predicted.mantissa / 100; /* mL */
    in.reported[AIDS_POST] = (struct aids_reported){1000 + tenth, AIDS_NONE, 0, 0};
    responds(&in, "fev1", tenth, "10.0", false);
    in.reported[AIDS_POST].fev1_ml++;
    responds(&in, "fev1", tenth + 1, tenth <= 200 ? "10.1" : "10.0", true);
  }
  assert_true(found > 3);
}

TEST(response_needs) {
  static const struct {
    struct aids_reported pre, post;
    bool table;
    const char *why; /* what is missing; NULL: nothing */
    bool fev1, fvc;
  } rows[] = {
      {{2000, 3000, 0, 0}, {2500, 3100, 0, 0}, true, NULL, true, true},
      {{2000, 3000, 0, 0}, {-1, -1, 0, 0}, true, "CVF après, VEMS après", false, false},
      {{-1, -1, 0, 0}, {2000, 3000, 0, 0}, true, "CVF avant, VEMS avant", false, false},
      {{2000, 3000, 0, 0}, {2500, -1, 0, 0}, true, "CVF après", true, false},
      {{2000, 3000, 0, 0}, {-1, 3100, 0, 0}, true, "VEMS après", false, true},
      {{-1, 3000, 0, 0}, {2000, 3100, 0, 0}, true, "VEMS avant", false, true},
      {{2000, -1, 0, 0}, {-1, 3100, 0, 0}, true, "CVF avant, VEMS après", false, false},
      {{2000, 3000, 0, 0}, {2500, 3100, 0, 0}, false, "CVF théorique, VEMS théorique", false, false},
      {{2000, 3000, 0, 0}, {2500, -1, 0, 0}, false, "CVF après, CVF théorique, VEMS théorique", false, false},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct aids_input in = man();
    in.reported[AIDS_PRE] = rows[i].pre;
    in.reported[AIDS_POST] = rows[i].post;
    in.table = rows[i].table ? table : NULL;
    _json_cleanup_ json_t *j = made(&in);
    const json_t *response = json_object_get(j, "response");
    const char *why = json_text(j, "response_why");
    char want[256];
    snprintf(want, sizeof want, "Réponse au bronchodilatateur : il manque %s.", rows[i].why ? rows[i].why : "");
    if (rows[i].why)
      assert_string_equal(why, want);
    else
      assert_null(why);
    if (!rows[i].fev1 && !rows[i].fvc) {
      assert_true(json_is_null(response));
      continue;
    }
    assert_int_equal(json_object_size(response), 2);
    assert_int_equal(json_is_object(json_object_get(response, "fev1")), rows[i].fev1);
    assert_int_equal(json_is_object(json_object_get(response, "fvc")), rows[i].fvc);
    assert_int_equal(json_is_null(json_object_get(response, "fev1")), !rows[i].fev1);
    assert_int_equal(json_is_null(json_object_get(response, "fvc")), !rows[i].fvc);
  }
}

/* ---- refusals ------------------------------------------------------------------------------------------------- */

static void refused(const struct aids_input *in, int err) {
  json_t *j = (json_t *)(uintptr_t)8;
  assert_int_equal(aids_make(in, &j), err);
  assert_true((uintptr_t)j == 8);
}

TEST(refusals) {
  static const char *const dates[] = {"",           "1980-02-30",           "1980-5-17",
                                      "17/05/1980", "1980-05-17T00:00:00Z", "1849-12-31"};
  for (size_t i = 0; i < COUNT(dates); i++) {
    struct aids_input in = man();
    in.birth_date = dates[i];
    refused(&in, -EINVAL);
    in = man();
    in.test_date = dates[i];
    refused(&in, -EINVAL);
  }
  static const char *const hashes[] = {"", "0123", SHA "0",
                                       "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"};
  for (size_t i = 0; i < COUNT(hashes); i++) {
    struct aids_input in = man();
    in.table_sha256 = hashes[i];
    refused(&in, -EINVAL);
    in.table = NULL; /* then it is not looked at */
    _json_cleanup_ json_t *j = made(&in);
  }
  for (int phase = 0; phase < AIDS_PHASES; phase++) {
    for (int c = 1; c < 256; c++) {
      bool fine = (c >= 'A' && c <= 'F') || c == 'U';
      for (int which = 0; which < 2; which++) {
        struct aids_input in = man();
        in.reported[phase] = (struct aids_reported){3000, 4000, which ? 'A' : (char)c, which ? (char)c : 'A'};
        if (fine) {
          _json_cleanup_ json_t *j = made(&in);
          char want[] = {(char)c, 0};
          assert_string_equal(json_text(result(j, which ? 0 : 1), "grade"), want);
        } else
          refused(&in, -EINVAL);
      }
    }
    static const struct {
      int32_t fev1, fvc;
      int err;
    } rows[] = {{1, 1, 0},
                {12000, 15000, 0},
                {12001, 15000, -ERANGE},
                {12000, 15001, -ERANGE},
                {0, 4000, -ERANGE},
                {3000, 0, -ERANGE},
                {-2, 4000, -ERANGE},
                {3000, -2, -ERANGE},
                {INT32_MIN, 4000, -ERANGE},
                {INT32_MAX, 4000, -ERANGE},
                {3000, INT32_MIN, -ERANGE},
                {3000, INT32_MAX, -ERANGE}};
    for (size_t i = 0; i < COUNT(rows); i++) {
      struct aids_input in = man();
      in.reported[phase] = (struct aids_reported){rows[i].fev1, rows[i].fvc, 0, 0};
      if (rows[i].err)
        refused(&in, rows[i].err);
      else {
        _json_cleanup_ json_t *j = made(&in);
      }
    }
  }
}

/* What the bounds allow is computed, whoever it is. */
TEST(every_corner) {
  static const char *const births[] = {"2022-05-17", "2010-01-01", "1980-02-29", "1930-05-17"};
  static const int32_t fev1s[] = {1, 3000, 12000}, fvcs[] = {1, 4000, 15000};
  for (size_t b = 0; b < COUNT(births); b++)
    for (uint32_t mm = 500; mm <= 2500; mm += 100)
      for (size_t i = 0; i < 9; i++)
        for (int sex = 0; sex < 2; sex++) {
          struct aids_input in = man();
          in.sex = sex ? "F" : "M";
          in.birth_date = births[b];
          in.height_mm = mm;
          in.reported[AIDS_PRE] = (struct aids_reported){fev1s[i / 3], fvcs[i % 3], 0, 0};
          in.reported[AIDS_POST] = (struct aids_reported){fev1s[2 - i / 3], fvcs[2 - i % 3], 0, 0};
          _json_cleanup_ json_t *j = made(&in);
          assert_null(json_text(j, "why"));
          assert_null(json_text(j, "response_why"));
          for (size_t k = 0; k < 6; k++)
            assert_int_equal(json_text(result(j, k), "z") != NULL,
                             k % 3 != 2 || json_text(result(j, k), "value")[0] == '0' ||
                                 !strcmp(json_text(result(j, k), "value"), "1.0000"));
          free(json_canonical(j, NULL));
        }
}

/* ---- the real table -------------------------------------------------------------------------------------------- */

TEST(real_table) {
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[512], reason[256];
  snprintf(path, sizeof path, "%s/gli/gli_global_2022_splines.csv", folder ? folder : "../shared/samples");
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("skipped: no %s\n", path);
    skip();
  }
  static char text[REFERENCE_TEXT_MAX];
  size_t n = fread(text, 1, sizeof text, f);
  fclose(f);
  struct reference_table *real;
  assert_int_equal(reference_parse(text, n, &real, reason), 0);
  static const struct {
    const char *sex, *birth, *test;
    uint32_t mm;
    const char *predicted[3], *lln[3]; /* FVC, FEV1, ratio */
  } rows[] = {
      {"M", "1980-05-17", "2025-05-17", 1750, {"4.5879", "3.7132", "0.8056"}, {"3.5115", "2.8227", "0.6984"}},
      {"F", "1960-02-29", "2020-02-29", 1600, {"2.8612", "2.2918", "0.8014"}, {"2.0799", "1.6456", "0.6800"}},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct aids_input in = man();
    in.table = real;
    in.sex = rows[i].sex;
    in.birth_date = rows[i].birth;
    in.test_date = rows[i].test;
    in.height_mm = rows[i].mm;
    in.reported[AIDS_BASELINE] = (struct aids_reported){2500, 3500, 'A', 'A'};
    _json_cleanup_ json_t *j = made(&in);
    for (size_t k = 0; k < 3; k++) {
      assert_string_equal(json_text(result(j, k), "predicted"), rows[i].predicted[k]);
      assert_string_equal(json_text(result(j, k), "lln"), rows[i].lln[k]);
    }
    if (i == 0)
      assert_string_equal(json_text(result(j, 1), "z"), "-2.2141");
  }
  reference_destroy(real);
}

/* ---- without memory --------------------------------------------------------------------------------------------- */

static void sweep(const struct aids_input *in, size_t least) {
  _json_cleanup_ json_t *want = made(in);
  for (int on = 0; on < 2; on++)
    for (size_t nth = 1;; nth++) {
      json_t *j = (json_t *)(uintptr_t)8;
      long live = fail_alloc_live();
      fail_alloc_set(nth, on);
      int r = aids_make(in, &j);
      bool hit = fail_alloc_hit();
      fail_alloc_set(0, false);
      if (r == 0) { /* all of it: not a null in the place of a number */
        assert_true(json_equal(j, want));
        json_decref(j);
      } else {
        if (r != -ENOMEM)
          fail_msg("without the allocation %zu: %d", nth, r);
        assert_true(hit);
        assert_true((uintptr_t)j == 8);
      }
      assert_int_equal(fail_alloc_live(), live);
      if (!hit) {
        assert_int_equal(r, 0);
        assert_true(nth > least);
        break;
      }
    }
}

TEST(without_memory) {
  if (!fail_alloc_works())
    skip();
  struct aids_input in = man();
  sweep(&in, 20);
  for (int i = 0; i < AIDS_PHASES; i++)
    in.reported[i] = (struct aids_reported){2500 + i, 4000, 'A', 'B'};
  sweep(&in, 150);
  in.reported[AIDS_POST].fvc_ml = AIDS_NONE; /* half a response */
  sweep(&in, 150);
  in.table = NULL;
  sweep(&in, 100);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_output),
      cmocka_unit_test(without_table),
      cmocka_unit_test(without_values),
      cmocka_unit_test(which_results),
      cmocka_unit_test(why_there_is_no_reference),
      cmocka_unit_test(age_and_height_as_text),
      cmocka_unit_test(flags),
      cmocka_unit_test(flag_at_the_limit),
      cmocka_unit_test(ratio_above_one),
      cmocka_unit_test(ratio_text),
      cmocka_unit_test(response_limits),
      cmocka_unit_test(response_of_exactly_ten_percent),
      cmocka_unit_test(response_needs),
      cmocka_unit_test(refusals),
      cmocka_unit_test(every_corner),
      cmocka_unit_test(real_table),
      cmocka_unit_test(without_memory),
  };
  return cmocka_run_group_tests(tests, make_table, drop_table);
}
