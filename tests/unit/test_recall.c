/* Recalls: when an act is due again, who sees it, page by page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"

#include "../e2e/practice_bed.h"
#include "access.h"
#include "recall.h"
#include "registry.h"

static struct conf_protocol one = {.id = "one", .acts = {[ACQ_ECG] = {.line = 1, .open = 1, .recall_months = 12}}},
                            two = {.id = "two",
                                   .acts = {[ACQ_ECG] = {.line = 1, .open = 1, .recall_months = 6},
                                            [ACQ_SPIROMETRY] = {.line = 2, .open = 1, .recall_months = 1},
                                            [ACQ_FUNDUS] = {.line = 3, .open = 0, .recall_months = 12},
                                            [ACQ_MEASUREMENT] = {.line = 4, .open = 1}}};
static const struct conf conf = {.protocols = {&one, &two}, .n_protocols = 2};
static const struct caller gp = {.name = "martin", .role = ROLE_GP, .rpps = GP1},
                           lgc = {.name = "lgc", .role = ROLE_LGC},
                           nurse = {.name = "ines", .role = ROLE_NURSE, .rpps = NURSE1},
                           other = {.name = "nora", .role = ROLE_NURSE, .rpps = NURSE2},
                           nobody = {.name = "temp", .role = ROLE_NURSE};

static json_t *list(struct store_bed *b, const struct caller *c, const char *today, const char *until,
                    const char *cursor, int limit) {
  const struct recall_page page = {.today = today, .until = until, .cursor = cursor, .limit = limit};
  json_t *answer = NULL;
  assert_int_equal(recall_list(b->store, &conf, c, &page, &answer), P_OK);
  assert_non_null(answer);
  return answer;
}

/* "W-1 ecg 2026-11-03 overdue S-1 -" of each row, a line each. */
static const char *told(struct store_bed *b, const struct caller *c, const char *today, const char *until) {
  static char text[4096];
  size_t i, n = 0;
  json_t *x, *answer = list(b, c, today, until, "", 200);
  text[0] = 0;
  json_array_foreach(json_object_get(answer, "items"), i, x) {
    const char *last = json_text(x, "last"), *order = json_text(x, "order");
    n += (size_t)snprintf(text + n, sizeof text - n, "%s %s %s %s %s %s\n", json_text(x, "followup"),
                          json_text(x, "act"), json_text(x, "due"), json_text(x, "state"), last ? last : "-",
                          order ? order : "-");
    assert_int_equal(json_is_true(json_object_get(x, "overdue")), strcmp(json_text(x, "due"), today) < 0);
  }
  assert_true(json_is_null(json_object_get(answer, "next")));
  json_decref(answer);
  return text;
}

/* ---- months ---- */

static void test_months(void **state) {
  struct store_bed *b = *state;
  static const struct {
    const char *accepted;
    unsigned months;
    const char *due;
  } cases[] = {
      {"2025-11-03T10:00:00+01:00", 12, "2026-11-03"}, {"2024-02-29T10:00:00+01:00", 12, "2025-02-28"},
      {"2024-02-29T10:00:00+01:00", 48, "2028-02-29"}, {"2024-01-31T10:00:00+01:00", 1, "2024-02-29"},
      {"2023-01-31T10:00:00+01:00", 1, "2023-02-28"},  {"2023-01-30T10:00:00+01:00", 1, "2023-02-28"},
      {"2023-01-28T10:00:00+01:00", 1, "2023-02-28"},  {"2023-08-31T10:00:00+02:00", 6, "2024-02-29"},
      {"2024-03-31T10:00:00+02:00", 1, "2024-04-30"},  {"2024-12-31T10:00:00+01:00", 2, "2025-02-28"},
      {"2024-12-15T10:00:00+01:00", 1, "2025-01-15"},  {"2025-10-31T10:00:00+01:00", 120, "2035-10-31"},
      {"2024-02-28T23:30:00Z", 12, "2025-02-28"}, /* the 29th here */
      {"2025-12-31T22:59:59Z", 1, "2026-01-31"},       {"2025-12-31T23:00:00Z", 1, "2026-02-01"},
  };
  patient(b, "P1");
  int64_t w = followup(b, "P1", "one", GP1, NURSE1, at("2020-01-01T10:00:00+01:00"));
  const unsigned months = one.acts[ACQ_ECG].recall_months;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int64_t y = study(b, "P1", "ecg", w, "interpreted", at(cases[i].accepted), 1);
    one.acts[ACQ_ECG].recall_months = cases[i].months;
    json_t *answer = list(b, &gp, "2026-11-22", "2099-12-31", "", 10);
    const char *due = json_text(json_array_get(json_object_get(answer, "items"), 0), "due");
    if (!due || strcmp(due, cases[i].due))
      fail_msg("%s and %u months: %s", cases[i].accepted, cases[i].months, due);
    json_decref(answer);
    ROW(b, "UPDATE study SET state = 'cancelled' WHERE id = ?", "i", y);
  }
  one.acts[ACQ_ECG].recall_months = months;
  print_message("# %zu months added\n", sizeof cases / sizeof *cases);
}

/* ---- what counts ---- */

static void test_states(void **state) {
  struct store_bed *b = *state;
  patient(b, "P1");
  int64_t w = followup(b, "P1", "one", GP1, NURSE1, at("2026-11-22T23:30:00+01:00"));
  /* Nothing was ever made: due on the day on which it was opened, overdue the day after. */
  assert_string_equal(told(b, &gp, "2026-11-21", NULL), "W-1 ecg 2026-11-22 due - -\n");
  assert_string_equal(told(b, &gp, "2026-11-22", NULL), "W-1 ecg 2026-11-22 due - -\n");
  assert_string_equal(told(b, &gp, "2026-11-23", NULL), "W-1 ecg 2026-11-22 overdue - -\n");
  assert_string_equal(told(b, &gp, "2026-10-23", NULL), "W-1 ecg 2026-11-22 due - -\n"); /* 30 days before */
  assert_string_equal(told(b, &gp, "2026-10-22", NULL), "");
  assert_string_equal(told(b, &gp, "2026-11-23", "2026-11-21"), "");
  /* Ordered: still due, and said to be under way until it is accepted. */
  int64_t y = study(b, "P1", "ecg", w, "ordered", 0, 0);
  static const char *const pending[] = {"ordered", "acquiring", "acquired"};
  for (size_t i = 0; i < 3; i++) {
    ROW(b, "UPDATE study SET state = ? WHERE id = ?", "ti", pending[i], y);
    assert_string_equal(told(b, &gp, "2026-11-23", NULL), "W-1 ecg 2026-11-22 ordered - O-1\n");
  }
  static const char *const made[] = {"to_interpret", "interpreting", "interpreted"};
  for (size_t i = 0; i < 3; i++) {
    ROW(b, "UPDATE study SET state = ?, accepted = ? WHERE id = ?", "tii", made[i], at("2026-11-25T10:00:00+01:00"), y);
    assert_string_equal(told(b, &gp, "2026-11-26", NULL), "");
    assert_string_equal(told(b, &gp, "2027-11-20", NULL), "W-1 ecg 2027-11-25 due S-1 -\n");
  }
  /* One that came back, or was given up, is none: the one before counts. */
  int64_t again = study(b, "P1", "ecg", w, "returned", at("2027-10-01T10:00:00+01:00"), 1);
  assert_string_equal(told(b, &gp, "2027-11-20", NULL), "W-1 ecg 2027-11-25 due S-1 -\n");
  ROW(b, "UPDATE study SET state = 'cancelled' WHERE id = ?", "i", again);
  assert_string_equal(told(b, &gp, "2027-11-20", NULL), "W-1 ecg 2027-11-25 due S-1 -\n");
  /* Another act, another follow-up, an order of old: not this one's. */
  patient(b, "P2");
  int64_t w2 = followup(b, "P2", "two", GP1, NURSE1, at("2020-01-31T10:00:00+01:00"));
  study(b, "P1", "spirometry", w, "interpreted", at("2027-11-01T10:00:00+01:00"), 1);
  study(b, "P1", "ecg", 0, "interpreted", at("2027-11-02T10:00:00+01:00"), 1);
  study(b, "P2", "spirometry", w2, "interpreted", at("2027-11-15T10:00:00+01:00"), 1);
  assert_string_equal(told(b, &gp, "2027-11-20", NULL), "W-2 ecg 2020-01-31 overdue - -\n"
                                                        "W-1 ecg 2027-11-25 due S-1 -\n"
                                                        "W-2 spirometry 2027-12-15 due S-5 -\n");
  /* A closed follow-up, a protocol that is not there any more: no recall. */
  ROW(b, "INSERT INTO followup_end VALUES(?,1,'u','r')", "i", w2);
  assert_string_equal(told(b, &gp, "2027-11-20", NULL), "W-1 ecg 2027-11-25 due S-1 -\n");
  patient(b, "P3");
  followup(b, "P3", "gone", GP1, NURSE1, 1);
  assert_string_equal(told(b, &gp, "2027-11-20", NULL), "W-1 ecg 2027-11-25 due S-1 -\n");
}

static void test_item(void **state) {
  struct store_bed *b = *state;
  patient(b, "P1");
  followup(b, "P1", "one", GP1, NURSE1, at("2026-11-01T10:00:00+01:00"));
  json_t *answer = list(b, &lgc, "2026-11-22", NULL, "", 10);
  char *text = json_canonical(answer, NULL);
  assert_string_equal(text, "{\"items\":[{\"act\":\"ecg\",\"due\":\"2026-11-01\",\"followup\":\"W-1\",\"gp\":\"" GP1
                            "\",\"last\":null,\"nurse\":\"" NURSE1 "\",\"order\":null,\"overdue\":true,\"patient\":{"
                            "\"birth_date\":\"1950-01-01\",\"family\":\"FAMILY\",\"given\":\"Given\",\"id\":\"P1\","
                            "\"sex\":\"F\"},\"protocol\":\"one\",\"state\":\"overdue\"}],\"next\":null}");
  free(text);
  json_decref(answer);
}

/* ---- who sees them ---- */

static void test_access(void **state) {
  struct store_bed *b = *state;
  patient(b, "P1");
  patient(b, "P2");
  patient(b, "P3");
  followup(b, "P1", "one", GP1, NURSE1, at("2026-11-01T10:00:00+01:00"));
  followup(b, "P2", "one", GP1, NURSE2, at("2026-11-02T10:00:00+01:00"));
  followup(b, "P3", "one", GP2, NURSE2, at("2026-11-03T10:00:00+01:00"));
  static const char all[] = "W-1 ecg 2026-11-01 overdue - -\nW-2 ecg 2026-11-02 overdue - -\n"
                            "W-3 ecg 2026-11-03 overdue - -\n";
  assert_string_equal(told(b, &gp, "2026-11-22", NULL), all);
  assert_string_equal(told(b, &lgc, "2026-11-22", NULL), all);
  assert_string_equal(told(b, &nurse, "2026-11-22", NULL), "W-1 ecg 2026-11-01 overdue - -\n");
  assert_string_equal(told(b, &other, "2026-11-22", NULL),
                      "W-2 ecg 2026-11-02 overdue - -\nW-3 ecg 2026-11-03 overdue - -\n");
  assert_string_equal(told(b, &nobody, "2026-11-22", NULL), "");
  /* Those of a GP who delegates the protocol to her, on its days. */
  ROW(b,
      "INSERT INTO delegation(nurse, gp, protocol, authorisation, authorised, valid_from, valid_until, nurse_adhesion,"
      " gp_adhesion, at, by) VALUES(?,?,'one','a','2020-01-01','2026-11-10','2026-11-20','2020-01-01','2020-01-01',1,"
      "'u')",
      "tt", NURSE1, GP1);
  assert_string_equal(told(b, &nurse, "2026-11-20", NULL),
                      "W-1 ecg 2026-11-01 overdue - -\nW-2 ecg 2026-11-02 overdue - -\n");
  assert_string_equal(told(b, &nurse, "2026-11-21", NULL), "W-1 ecg 2026-11-01 overdue - -\n");
  /* Who took it over, and not who had it. */
  ROW(b, "INSERT INTO followup_team(followup, gp, nurse, at, by) VALUES(1,?,?,2,'u')", "tt", GP2, NURSE3);
  assert_string_equal(told(b, &nurse, "2026-11-22", NULL), "");
}

/* The same in a list whose own table is called as one within the rule might be. */
static void test_access_names(void **state) {
  struct store_bed *b = *state;
  patient(b, "P1");
  patient(b, "P2");
  followup(b, "P1", "one", GP1, NURSE1, 1);
  followup(b, "P2", "one", GP1, NURSE2, 1);
  struct rows r = store_query(b->store,
                              "SELECT f.id FROM followup f JOIN followup_team t ON t.followup = f.id WHERE"
                              " " ACCESS_NURSE("?1", "?2", "f.patient") " ORDER BY f.id",
                              "tt", access_rpps(&nurse), "2026-11-22");
  assert_true(rows_next(&r));
  assert_int_equal(rows_int(&r, 0), 1);
  assert_false(rows_next(&r));
  assert_int_equal(rows_finish(&r), 0);
}

/* ---- pages ---- */

static void test_pages(void **state) {
  struct store_bed *b = *state;
  char id[8], expected[4096], got[4096];
  for (int i = 0; i < 7; i++) { /* in twos on the same day, two acts each */
    snprintf(id, sizeof id, "P%d", i);
    patient(b, id);
    followup(b, id, "two", GP1, NURSE1, at("2026-11-09T10:00:00+01:00") - (i / 2) * 24 * HOUR);
  }
  str_copy(expected, sizeof expected, told(b, &nurse, "2026-11-22", NULL));
  assert_ptr_equal(strstr(expected, "W-7 ecg 2026-11-06 overdue - -\nW-7 spirometry"), expected);
  unsigned pages = 0;
  for (int limit = 1; limit <= 15; limit++) {
    char cursor[64] = "";
    size_t n = 0;
    got[0] = 0;
    for (bool more = true; more; pages++) {
      json_t *answer = list(b, &nurse, "2026-11-22", NULL, cursor, limit), *x;
      size_t i;
      json_array_foreach(json_object_get(answer, "items"), i, x) {
        n += (size_t)snprintf(got + n, sizeof got - n, "%s %s %s overdue - -\n", json_text(x, "followup"),
                              json_text(x, "act"), json_text(x, "due"));
      }
      more = json_text(answer, "next") != NULL;
      assert_true(json_array_size(json_object_get(answer, "items")) == (size_t)limit || !more);
      if (more)
        assert_true(str_copy(cursor, sizeof cursor, json_text(answer, "next")));
      json_decref(answer);
    }
    assert_string_equal(got, expected);
  }
  static const char *const bad[] = {"x",
                                    "2026-11-09",
                                    "2026-11-09.1",
                                    "2026-11-09..ecg",
                                    "2026-11-09.0.ecg",
                                    "2026-11-31.1.ecg",
                                    "2026-11-09.1.ECG",
                                    "2026-11-09.1.ecg.",
                                    "2026-11-09.1.ecg0123456789012345678901234567890123456789012345678901234567890"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const struct recall_page page = {.today = "2026-11-22", .cursor = bad[i], .limit = 5};
    json_t *answer = NULL;
    assert_int_equal(recall_list(b->store, &conf, &gp, &page, &answer), P_invalid_field);
    assert_null(answer);
  }
  print_message("# %u pages\n", pages);
}

static void test_overdue(void **state) {
  struct store_bed *b = *state;
  json_t *items;
  patient(b, "P1");
  int64_t w = followup(b, "P1", "two", GP1, NURSE1, at("2026-01-31T10:00:00+01:00"));
  study(b, "P1", "spirometry", w, "interpreted", at("2026-10-22T10:00:00+02:00"), 1);
  study(b, "P1", "ecg", w, "ordered", 0, 0);
  study(b, "P1", "spirometry", w, "interpreted", at("2026-09-01T10:00:00+02:00"), 1); /* a later order, done before */
  assert_int_equal(recall_overdue(b->store, &conf, w, "2026-11-22", &items), 0);      /* the spirometry is due today */
  char *text = json_canonical(items, NULL);
  assert_string_equal(text, "[{\"act\":\"ecg\",\"due\":\"2026-01-31\",\"last\":null,\"order\":\"O-2\"}]");
  free(text);
  json_decref(items);
  assert_int_equal(recall_overdue(b->store, &conf, w, "2026-11-23", &items), 0);
  assert_int_equal(json_array_size(items), 2);
  assert_string_equal(json_text(json_array_get(items, 1), "last"), "S-1");
  json_decref(items);
  assert_int_equal(recall_overdue(b->store, &conf, w + 1, "2026-11-23", &items), 0);
  assert_int_equal(json_array_size(items), 0);
  json_decref(items);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, practice_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(months), TEST(states), TEST(item), TEST(access), TEST(access_names), TEST(pages), TEST(overdue),
  };
  return cmocka_run_group_tests_name("recall", tests, NULL, NULL);
}
