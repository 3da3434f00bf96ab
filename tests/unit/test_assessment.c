/* What the daemon makes of a spirometry: the assessment that is kept, and the reader's aids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "practice_bed.h"

#include "assessment.h"
#include "mask.h"
#include "reading_aids.h"

#define TEST_DAY INT64_C(1767607200000000) /* 2026-01-05 10:00 UTC */

static struct study order(struct store_bed *b, const char *act, const char *sex) {
  practice_patient(b, "P1", "1981-01-05", sex);
  practice_follow(b, "P1", "tous");
  return study(b, practice_order(b, "P1", act));
}

/* A record of values as an instrument without curves sends them; returns its id. */
static int64_t record(struct store_bed *b, int64_t of, const char *phase, const char *fev1, const char *fvc) {
  char sha[HASH_TEXT];
  json_t *json =
      json_pack("{s:{s:[], s:[{s:s, s:[], s:i, s:s, s:s}, {s:s, s:[], s:i, s:s, s:s}], s:[{s:n, s:i, s:s, s:n}]}, s:s}",
                "acquired", "channels", "measures", "code", "fev1", "flags", "trial", 1, "unit", "L", "value", fev1,
                "code", "fvc", "flags", "trial", 1, "unit", "L", "value", fvc, "trials", "device_time", "number", 1,
                "phase", phase, "time", "schema", "asaleed-record-4");
  assert_non_null(json);
  char *text = json_canonical(json, NULL);
  json_decref(json);
  assert_int_equal(artefact_put(b->artefacts, b->store, "record", text, strlen(text), 1, sha), 0);
  free(text);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO acquisition(study, device, driver, driver_version, program, node, seconds,"
                             " started, offset_minutes, by, ended) VALUES(?,'d','d','1','1','n',1,?,60,'u',2)",
                             "ii", of, TEST_DAY),
                   1);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO record(study, acquisition, sha256, driver, driver_version, program, complete,"
                             " clean, at) VALUES(?,?,?,'d','1','1',1,1,1)",
                             "iit", of, store_last_id(b->store), sha),
                   1);
  return store_last_id(b->store);
}

static json_t *assessed(struct store_bed *b, const struct study *y) {
  json_t *json;
  assert_int_equal(assessment_make(b->store, b->artefacts, y, 1), 0);
  bed_keep(b);
  assert_int_equal(assessment_find(b->store, y->id, &json), 0);
  return json;
}

static void test_kept(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "spirometry", "M");
  bed_begin(b);
  record(b, y.id, "baseline", "3.50", "4.40");
  json_t *json = assessed(b, &y);
  assert_non_null(json);
  assert_string_equal(json_text(json, "edition"), "ATS/ERS 2019");
  const json_t *phase = json_array_get(json_object_get(json, "phases"), 0);
  assert_int_equal(json_integer_value(json_object_get(json_object_get(phase, "fev1"), "ml")), 3500);
  assert_string_equal(json_text(json_object_get(phase, "fev1"), "grade"), "not_judged");
  assert_string_equal(json_text(json_array_get(json_object_get(phase, "trials"), 0), "record"), "R-1");
  json_decref(json);
  /* Each stays; what was set aside no longer shows. */
  bed_begin(b);
  assert_int_equal(store_run(b->store, "INSERT INTO supersession VALUES(1, 1, 'u', 'x')", ""), 1);
  json = assessed(b, &y);
  assert_null(json);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM assessment"), 2);
}

static void test_others(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "ecg", "M");
  bed_begin(b);
  assert_int_equal(assessment_make(b->store, b->artefacts, &y, 1), 0);
  bed_keep(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM assessment"), 0);
}

/* A damaged artefact costs the judgement, never the reading. */
static void test_damaged(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "spirometry", "M");
  bed_begin(b);
  record(b, y.id, "baseline", "3.50", "4.40");
  assert_int_equal(store_run(b->store,
                             "INSERT INTO acquisition(study, device, driver, driver_version, program, node, seconds,"
                             " started, offset_minutes, by, ended) VALUES(?,'d','d','1','1','n',1,1,0,'u',2)",
                             "i", y.id),
                   1);
  char sha[HASH_TEXT];
  assert_int_equal(artefact_put(b->artefacts, b->store, "record", "nonsense", 8, 1, sha), 0);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO record(study, acquisition, sha256, driver, driver_version, program, complete,"
                             " clean, at) VALUES(?,?,?,'d','1','1',1,1,1)",
                             "iit", y.id, store_last_id(b->store), sha),
                   1);
  assert_null(assessed(b, &y));
}

/* What each gets of it: the values with what the instrument acquired, and what helps to read them is the readers'. */
static void test_mask(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "spirometry", "M");
  static const struct {
    struct view view;
    bool values, reader;
  } of[] = {
      {{ROLE_NURSE, CONF_SEES_QUALITY, CONF_SEES_REPORT, true}, false, false},
      {{ROLE_NURSE, CONF_SEES_ACQUIRED, CONF_SEES_REPORT, true}, true, false},
      {{ROLE_GP, CONF_SEES_QUALITY, CONF_SEES_NOTHING, false}, true, true},
      {{ROLE_OPHTHALMOLOGIST, CONF_SEES_QUALITY, CONF_SEES_NOTHING, false}, true, true},
      {{ROLE_ADMIN, CONF_SEES_ACQUIRED, CONF_SEES_REPORT, true}, true, false},
      {{ROLE_LGC, CONF_SEES_ACQUIRED, CONF_SEES_REPORT, true}, true, false},
      {{ROLE_AUDITOR, CONF_SEES_ACQUIRED, CONF_SEES_REPORT, true}, false, false},
      {{ROLE_SYSTEM, CONF_SEES_ACQUIRED, CONF_SEES_REPORT, true}, false, false},
  };
  bed_begin(b);
  record(b, y.id, "pre", "3.50", "4.40");
  _json_cleanup_ json_t *json = assessed(b, &y);
  for (size_t i = 0; i < COUNT(of); i++) {
    _json_cleanup_ json_t *shown = mask_assessment(json, &of[i].view);
    const json_t *phase = json_array_get(json_object_get(shown, "phases"), 0);
    assert_int_equal(json_is_null(shown), !of[i].values);
    assert_int_equal(json_object_get(phase, "fev1") != NULL, of[i].values);
    assert_int_equal(json_object_get(phase, "reader") != NULL, of[i].reader);
  }
  assert_non_null(json_object_get(json_array_get(json_object_get(json, "phases"), 0), "reader")); /* it is whole */
}

/* The sample table's text; NULL where there is none. */
static char *table_text(void) {
  char path[512];
  const char *samples = getenv("ASALEED_SAMPLES");
  snprintf(path, sizeof path, "%s/gli/gli_global_2022_splines.csv", samples ? samples : "../shared/samples");
  FILE *f = fopen(path, "re");
  if (!f)
    return NULL;
  char *text = calloc(1, 1u << 20);
  assert_non_null(text);
  assert_true(fread(text, 1, (1u << 20) - 1, f) > 0);
  fclose(f);
  return text;
}

static void test_aids(void **state) {
  struct store_bed *b = *state;
  struct reading_aids *aids, *off;
  struct study y = order(b, "spirometry", "M");
  json_t *json = NULL;
  assert_int_equal(reading_aids_open(true, &aids), 0);
  assert_int_equal(reading_aids_open(false, &off), 0);
  assert_int_equal(reading_aids_make(aids, b->store, &y, &json), P_OK);
  assert_null(json); /* nothing was acquired */
  bed_begin(b);
  record(b, y.id, "baseline", "2.50", "4.40");
  json_decref(assessed(b, &y));
  bed_begin(b);
  assert_int_equal(study_height(b->store, &ines, &y, "175"), P_OK);
  bed_keep(b);
  /* Without a table: the values, and a sentence. */
  assert_int_equal(reading_aids_make(aids, b->store, &y, &json), P_OK);
  assert_true(json_is_null(json_object_get(json, "reference")));
  assert_non_null(strstr(json_text(json, "why"), "table"));
  assert_int_equal(json_array_size(json_object_get(json, "results")), 3);
  assert_true(json_is_null(json_object_get(json_array_get(json_object_get(json, "results"), 0), "z")));
  json_decref(json);
  char *text = table_text();
  if (text) {
    bed_begin(b);
    assert_int_equal(reading_aids_install(b->store, &adele, "sample", text), P_OK);
    bed_keep(b);
    assert_int_equal(reading_aids_make(aids, b->store, &y, &json), P_OK);
    const json_t *fev1 = json_array_get(json_object_get(json, "results"), 1);
    assert_string_equal(json_text(fev1, "code"), "fev1");
    assert_string_equal(json_text(fev1, "z"), "-2.2141"); /* 45 years to the day, 175 cm */
    assert_string_equal(json_text(fev1, "flag"), "below_lln");
    json_decref(json);
  } else {
    print_message("# skipped: no sample table\n");
  }
  assert_int_equal(reading_aids_make(off, b->store, &y, &json), P_OK);
  assert_null(json); /* switched off */
  bed_begin(b);
  assert_int_equal(reading_aids_install(b->store, &adele, "x", "sex,index\n"), P_invalid_field);
  store_undo(b->store);
  free(text);
  reading_aids_close(aids);
  reading_aids_close(off);
}

static void test_height(void **state) {
  struct store_bed *b = *state;
  struct study y = order(b, "spirometry", "M");
  static const char *const good[] = {"50", "250", "168.5", "50.0"}, *const bad[] = {"49.9", "250.1", "1.75",   "168,5",
                                                                                    "-170", "",      "168.55", "1e2"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    bed_begin(b);
    assert_int_equal(study_height(b->store, &ines, &y, good[i]), P_OK);
    bed_keep(b);
  }
  assert_int_equal(bed_int(b, "SELECT height_mm FROM study"), 500);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    bed_begin(b);
    assert_int_equal(study_height(b->store, &ines, &y, bad[i]), P_invalid_field);
    store_undo(b->store);
  }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, practice_setup, bed_teardown)
  const struct CMUnitTest tests[] = {TEST(kept), TEST(others), TEST(damaged), TEST(mask), TEST(aids), TEST(height)};
  return cmocka_run_group_tests_name("assessment", tests, NULL, NULL);
}
