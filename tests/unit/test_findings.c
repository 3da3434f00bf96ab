#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"
#include "findings.h"
#include "str.h"
#include <asalee/record.h>
#include <cmocka.h>
#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

static json_t *parse(const char *text) {
  json_t *j = json_loads(text, JSON_DECODE_ANY, NULL);
  if (!j)
    fail_msg("%s", text);
  return j;
}

/* What is checked holds, or names the field. */
static void check(enum acq_modality act, const char *conclusion, const char *findings, const char *field) {
  _json_cleanup_ json_t *j = findings ? parse(findings) : NULL;
  static const char untouched[] = "untouched";
  const char *named = untouched;
  int r = findings_check(act, conclusion, j, &named);
  if (r != (field ? -EINVAL : 0) || strcmp(named, field ? field : untouched))
    fail_msg("%s %s: %d, %s", conclusion, findings ? findings : "NULL", r, named);
}

TEST(ecg) {
  check(ACQ_ECG, "normal", "{\"rhythm\":\"sinus\"}", NULL);
  check(ACQ_ECG, "normal", "{\"rhythm\":\"sinus\",\"signs\":[]}", NULL);
  check(ACQ_ECG, "normal", "{\"rhythm\":\"other\",\"signs\":[\"other\"]}", NULL);
  check(ACQ_ECG, "abnormal", "{\"rhythm\":\"sinus\"}", NULL);
  check(ACQ_ECG, "abnormal", "{\"signs\":[\"long_qt\",\"rbbb\"],\"rhythm\":\"atrial_fibrillation\"}", NULL);
  check(ACQ_ECG, "uninterpretable", NULL, NULL);
  check(ACQ_ECG, "uninterpretable", "null", NULL);
  check(ACQ_ECG, "uninterpretable", "{}", NULL);
  check(ACQ_ECG, "uninterpretable", "{\"signs\":[\"st_elevation\"]}", NULL);

  check(ACQ_ECG, "fine", "{\"rhythm\":\"sinus\"}", "conclusion");
  check(ACQ_ECG, "", "{\"rhythm\":\"sinus\"}", "conclusion");
  check(ACQ_ECG, "normal", "[]", "findings");
  check(ACQ_ECG, "normal", "\"sinus\"", "findings");
  check(ACQ_ECG, "uninterpretable", "0", "findings");
  check(ACQ_ECG, "normal", NULL, "rhythm"); /* missing */
  check(ACQ_ECG, "normal", "null", "rhythm");
  check(ACQ_ECG, "abnormal", "{\"signs\":[\"rbbb\"]}", "rhythm");
  check(ACQ_ECG, "normal", "{\"rhythm\":null}", "rhythm");
  check(ACQ_ECG, "normal", "{\"rhythm\":\"\"}", "rhythm");
  check(ACQ_ECG, "normal", "{\"rhythm\":\"Sinus\"}", "rhythm");
  check(ACQ_ECG, "normal", "{\"rhythm\":\"rbbb\"}", "rhythm"); /* another field's */
  check(ACQ_ECG, "normal", "{\"rhythm\":[\"sinus\"]}", "rhythm");
  check(ACQ_ECG, "normal", "{\"rhythm\":1}", "rhythm");
  check(ACQ_ECG, "uninterpretable", "{\"rhythm\":\"regular\"}", "rhythm");
  check(ACQ_ECG, "abnormal", "{\"rhythm\":\"sinus\",\"signs\":\"rbbb\"}", "signs");
  check(ACQ_ECG, "abnormal", "{\"rhythm\":\"sinus\",\"signs\":[\"rbbb\",\"rbbb\"]}", "signs");
  check(ACQ_ECG, "abnormal", "{\"rhythm\":\"sinus\",\"signs\":[\"rbbb\",\"lbbb\",\"rbbb\"]}", "signs");
  check(ACQ_ECG, "abnormal", "{\"rhythm\":\"sinus\",\"signs\":[\"rbbb\",null]}", "signs");
  check(ACQ_ECG, "abnormal", "{\"rhythm\":\"sinus\",\"signs\":{\"rbbb\":true}}", "signs");
  check(ACQ_ECG, "abnormal", "{\"rhythm\":\"sinus\",\"signs\":null}", "signs");
  check(ACQ_ECG, "abnormal", "{\"rhythm\":\"sinus\",\"axis\":\"left\"}", "axis");
  check(ACQ_ECG, "abnormal", "{\"rhythm\":\"sinus\",\"pattern\":\"normal\"}", "pattern"); /* another act's */
  check(ACQ_ECG, "abnormal", "{\"rhythm\":\"sinus\",\"\":\"x\"}", "");
  check(ACQ_ECG, "normal", "{\"rhythm\":\"atrial_fibrillation\"}", "rhythm"); /* contradictions */
  check(ACQ_ECG, "normal", "{\"rhythm\":\"sinus\",\"signs\":[\"other\",\"q_waves\"]}", "signs");
}

TEST(other_acts) {
  check(ACQ_SPIROMETRY, "normal", "{\"pattern\":\"normal\",\"reversibility\":\"not_tested\"}", NULL);
  check(ACQ_SPIROMETRY, "abnormal", "{\"pattern\":\"obstruction\",\"reversibility\":\"present\"}", NULL);
  check(ACQ_SPIROMETRY, "abnormal", "{\"pattern\":\"preserved_ratio_impaired\"}", NULL);
  check(ACQ_SPIROMETRY, "normal", "{\"pattern\":\"normal\",\"reversibility\":\"present\"}", "reversibility");
  check(ACQ_SPIROMETRY, "normal", "{\"pattern\":\"mixed_suspected\"}", "pattern");
  check(ACQ_SPIROMETRY, "abnormal", "{\"reversibility\":\"absent\"}", "pattern");
  check(ACQ_FUNDUS, "normal", "{\"right_retinopathy\":\"none\",\"left_retinopathy\":\"not_examined\"}", NULL);
  check(ACQ_FUNDUS, "normal",
        "{\"right_retinopathy\":\"none\",\"left_retinopathy\":\"none\",\"left_maculopathy\":\"absent\","
        "\"recall_months\":\"24\"}",
        NULL);
  check(ACQ_FUNDUS, "abnormal",
        "{\"right_retinopathy\":\"pdr\",\"left_retinopathy\":\"ungradable\",\"right_maculopathy\":\"present\","
        "\"signs\":[\"media_opacity\",\"other\"],\"recall_months\":\"3\"}",
        NULL);
  check(ACQ_FUNDUS, "normal", "{\"right_retinopathy\":\"none\"}", "left_retinopathy");
  check(ACQ_FUNDUS, "abnormal", "{\"left_retinopathy\":\"pdr\"}", "right_retinopathy");
  check(ACQ_FUNDUS, "normal", "{\"right_retinopathy\":\"none\",\"left_retinopathy\":\"mild_npdr\"}",
        "left_retinopathy");
  check(ACQ_FUNDUS, "normal", "{\"right_retinopathy\":\"none\",\"left_retinopathy\":\"ungradable\"}",
        "left_retinopathy"); /* an eye that nobody could judge is not normal */
  check(ACQ_FUNDUS, "normal", "{\"right_retinopathy\":\"none\",\"left_retinopathy\":\"none\",\"recall_months\":\"18\"}",
        "recall_months");
  check(ACQ_FUNDUS, "normal", "{\"right_retinopathy\":\"none\",\"left_retinopathy\":\"none\",\"recall_months\":24}",
        "recall_months");
  check(ACQ_MEASUREMENT, "normal", NULL, NULL);
  check(ACQ_MEASUREMENT, "abnormal", "{}", NULL);
  check(ACQ_MEASUREMENT, "abnormal", "{\"signs\":[]}", "signs");
}

/* ---- the form and the check say the same ------------------------------------------------------------------------- */

static json_t *with(const json_t *base, const char *field, bool many, const char *choice) {
  json_t *f = json_deep_copy(base);
  json_t *one = json_string(choice);
  json_object_set_new(f, field, many ? json_pack("[o]", one) : one);
  return f;
}

/* Every choice of every field: accepted, and refused beside "normal" as the form says; each code and label once. */
static size_t walk(enum acq_modality act) {
  _json_cleanup_ json_t *form = findings_form(act), *base = json_object();
  size_t i, k, n = 0;
  json_t *field, *choice;
  const char *ignored;
  assert_string_equal(json_text(form, "act"), acq_modality_name(act));
  assert_int_equal(json_array_size(json_object_get(form, "conclusions")), 3);
  json_array_foreach(json_object_get(form, "fields"), i, field) {
    if (!json_is_true(json_object_get(field, "required")))
      continue;
    assert_false(json_is_true(json_object_get(field, "many")));
    json_array_foreach(json_object_get(field, "choices"), k, choice) { /* one that goes with any conclusion */
      if (!json_is_true(json_object_get(choice, "excludes_normal")))
        json_object_set(base, json_text(field, "code"), json_object_get(choice, "code"));
    }
  }
  assert_int_equal(findings_check(act, "normal", base, &ignored), 0);
  json_array_foreach(json_object_get(form, "fields"), i, field) {
    const char *code = json_text(field, "code");
    const bool many = json_is_true(json_object_get(field, "many"));
    _json_cleanup_ json_t *labels = json_object(), *codes = json_object();
    assert_true(json_has_only(field, "choices code label many required"));
    assert_true(*json_text(field, "label"));
    json_array_foreach(json_object_get(field, "choices"), k, choice) {
      const json_t *snomed = json_object_get(choice, "snomed");
      assert_true(json_has_only(choice, "code excludes_normal label snomed"));
      assert_int_equal(json_object_set_new(labels, json_text(choice, "label"), json_true()), 0);
      assert_int_equal(json_object_set_new(codes, json_text(choice, "code"), json_true()), 0);
      assert_true(json_is_null(snomed) ||
                  strspn(json_string_value(snomed), "0123456789") == json_string_length(snomed));
      _json_cleanup_ json_t *f = with(base, code, many, json_text(choice, "code"));
      const bool excludes = json_is_true(json_object_get(choice, "excludes_normal"));
      assert_int_equal(findings_check(act, "abnormal", f, &ignored), 0);
      assert_int_equal(findings_check(act, "uninterpretable", f, &ignored), 0);
      assert_int_equal(findings_check(act, "normal", f, &ignored), excludes ? -EINVAL : 0);
      _buf_cleanup_ struct buf b = BUF_INIT(4096);
      assert_int_equal(findings_report(act, "abnormal", f, "", &b), 0);
      char line[512];
      snprintf(line, sizeof line, "\n%s : %s\n", json_text(field, "label"), json_text(choice, "label"));
      if (!strstr(buf_cstr(&b), line))
        fail_msg("%s is not in: %s", line, buf_cstr(&b));
      n++;
    }
    assert_int_equal(json_object_size(labels), k);
    assert_int_equal(json_object_size(codes), k);
    if (json_is_true(json_object_get(field, "required"))) {
      _json_cleanup_ json_t *f = json_copy(base);
      json_object_del(f, code);
      assert_int_equal(findings_check(act, "abnormal", f, &ignored), -EINVAL);
      assert_string_equal(ignored, code);
      assert_int_equal(findings_check(act, "uninterpretable", f, &ignored), 0);
    }
  }
  return n;
}

TEST(form) {
  assert_int_equal(walk(ACQ_ECG), 22);
  assert_int_equal(walk(ACQ_SPIROMETRY), 8);
  assert_int_equal(walk(ACQ_FUNDUS), 33);
  assert_int_equal(walk(ACQ_MEASUREMENT), 0);
}

/* A verhoeff digit ends each SNOMED CT identifier: one that was mistyped shows. */
TEST(snomed) {
  static const char d[] =
      "0123456789123406789523401789563401289567401239567859876043216598710432765982104387659321049876543210";
  static const char p[] = "01234567891576283094580379614289160435279453126870428657390127938064157046913258";
  size_t n = 0;
  for (enum acq_modality act = ACQ_ECG; act <= ACQ_MEASUREMENT; act++) {
    _json_cleanup_ json_t *form = findings_form(act);
    size_t i, k;
    json_t *field, *choice;
    json_array_foreach(json_object_get(form, "fields"), i, field) {
      json_array_foreach(json_object_get(field, "choices"), k, choice) {
        const char *id = json_text(choice, "snomed");
        int c = 0;
        for (size_t at = 0, len = id ? strlen(id) : 0; at < len; at++)
          c = d[10 * c + p[10 * (at % 8) + (size_t)(id[len - 1 - at] - '0')] - '0'] - '0';
        if (c)
          fail_msg("%s", id);
        n += id != NULL;
      }
    }
  }
  assert_int_equal(n, 18 + 8);
}

/* ---- the report -------------------------------------------------------------------------------------------------- */

static void reports(enum acq_modality act, const char *conclusion, const char *findings, const char *text,
                    const char *want) {
  _json_cleanup_ json_t *j = parse(findings);
  _buf_cleanup_ struct buf b = BUF_INIT(4096);
  assert_int_equal(findings_report(act, conclusion, j, text, &b), 0);
  assert_string_equal(buf_cstr(&b), want);
}

TEST(report) {
  reports(ACQ_ECG, "normal", "{\"rhythm\":\"sinus\"}", "Rien à signaler.",
          "Conclusion : normal\nRythme : sinusal\n\nRien à signaler.\n");
  reports(ACQ_ECG, "abnormal", "{\"signs\":[\"long_qt\",\"rbbb\"],\"rhythm\":\"atrial_fibrillation\"}",
          "Avis :\n\tcardiologue\n",
          "Conclusion : anormal\nRythme : fibrillation atriale\n"
          "Signes : bloc de branche droit, allongement de l'intervalle QT\n\nAvis :\n\tcardiologue\n");
  reports(ACQ_ECG, "abnormal", "{\"rhythm\":\"atrial_fibrillation\",\"signs\":[\"rbbb\",\"long_qt\"]}", "",
          "Conclusion : anormal\nRythme : fibrillation atriale\n"
          "Signes : bloc de branche droit, allongement de l'intervalle QT\n");
  reports(ACQ_ECG, "uninterpretable", "null", "À refaire.", "Conclusion : ininterprétable\n\nÀ refaire.\n");
  reports(ACQ_ECG, "uninterpretable", "{\"signs\":[]}", "", "Conclusion : ininterprétable\n");
  reports(ACQ_FUNDUS, "abnormal",
          "{\"recall_months\":\"6\",\"left_retinopathy\":\"none\",\"right_maculopathy\":\"present\","
          "\"right_retinopathy\":\"severe_npdr\"}",
          "100 %s",
          "Conclusion : anormal\nRétinopathie diabétique, œil droit : non proliférante sévère\n"
          "Maculopathie diabétique, œil droit : présente\nRétinopathie diabétique, œil gauche : absente\n"
          "Prochain dépistage : dans 6 mois\n\n100 %s\n");
  reports(ACQ_MEASUREMENT, "normal", "{}", "x", "Conclusion : normal\n\nx\n");
}

TEST(report_refuses) {
  static const struct {
    const char *conclusion, *findings, *text;
  } rows[] = {{"normal", "{}", "x"},
              {"fine", "{\"rhythm\":\"sinus\"}", "x"},
              {"normal", "{\"rhythm\":\"paced\"}", "x"},
              {"normal", "{\"rhythm\":\"sinus\"}", "a\rb"},
              {"normal", "{\"rhythm\":\"sinus\"}", "\xff"},
              {"normal", "{\"rhythm\":\"sinus\"}", "\x1b[2J"}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    _json_cleanup_ json_t *j = parse(rows[i].findings);
    _buf_cleanup_ struct buf b = BUF_INIT(4096);
    buf_text(&b, "before");
    assert_int_equal(findings_report(ACQ_ECG, rows[i].conclusion, j, rows[i].text, &b), -EINVAL);
    assert_string_equal(buf_cstr(&b), "before");
  }
  _json_cleanup_ json_t *sinus = parse("{\"rhythm\":\"sinus\"}");
  for (size_t bound = 0; bound < 40; bound++) {
    _buf_cleanup_ struct buf b = BUF_INIT(bound);
    const size_t whole = strlen("Conclusion : normal\nRythme : sinusal\n\nx\n");
    assert_int_equal(findings_report(ACQ_ECG, "normal", sinus, "x", &b), bound < whole ? -EFBIG : 0);
  }
}

TEST(no_memory) {
  if (!fail_alloc_works())
    skip();
  _json_cleanup_ json_t *whole = findings_form(ACQ_FUNDUS);
  for (size_t nth = 1;; nth++) {
    long before = fail_alloc_live();
    fail_alloc_set(nth, false);
    json_t *form = findings_form(ACQ_FUNDUS);
    bool hit = fail_alloc_hit();
    fail_alloc_set(0, false);
    assert_true(form || hit);
    assert_true(!form || json_equal(form, whole));
    json_decref(form);
    assert_int_equal(fail_alloc_live(), before);
    if (!hit)
      break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ecg),    cmocka_unit_test(other_acts),     cmocka_unit_test(form),      cmocka_unit_test(snomed),
      cmocka_unit_test(report), cmocka_unit_test(report_refuses), cmocka_unit_test(no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
