/* Professionals, delegations and absences, day by day, on a clock that goes where it likes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "practice_bed.h"

/* ---- professionals ---- */

static enum problem put(struct store_bed *b, const char *rpps, const char *family, const char *given, enum role role,
                        const char *finess, bool *created, int64_t *version) {
  struct professional p = {.role = role};
  str_copy(p.rpps, sizeof p.rpps, rpps);
  str_copy(p.family, sizeof p.family, family);
  str_copy(p.given, sizeof p.given, given);
  str_copy(p.finess, sizeof p.finess, finess);
  enum problem r = ACT(b, registry_professional_put(b->store, &root, &p, created));
  *version = p.version;
  return r;
}

static void test_professionals(void **state) {
  struct store_bed *b = *state;
  struct professional p = {.version = 99};
  bool created;
  int64_t version;
  assert_int_equal(registry_professional(b->store, NOBODY, &p), P_not_found);
  assert_int_equal(p.version, 99);
  assert_int_equal(put(b, NOBODY, "Été", "Noël", ROLE_NURSE, "750000013", &created, &version), P_OK);
  assert_true(created);
  assert_int_equal(version, 1);
  /* The same again changes nothing; each correction is a version, and none is lost. */
  assert_int_equal(put(b, NOBODY, "Été", "Noël", ROLE_NURSE, "750000013", &created, &version), P_OK);
  assert_false(created);
  assert_int_equal(version, 1);
  assert_int_equal(put(b, NOBODY, "Etey", "Noël", ROLE_NURSE, "750000013", &created, &version), P_OK);
  assert_int_equal(put(b, NOBODY, "Etey", "Noëlle", ROLE_NURSE, "750000013", &created, &version), P_OK);
  assert_int_equal(put(b, NOBODY, "Etey", "Noëlle", ROLE_NURSE, "", &created, &version), P_OK);
  assert_int_equal(version, 4);
  /* Nobody becomes something else under the same number. */
  static const enum role others[] = {ROLE_GP, ROLE_OPHTHALMOLOGIST};
  for (size_t i = 0; i < COUNT(others); i++)
    assert_int_equal(put(b, NOBODY, "Etey", "Noëlle", others[i], "", &created, &version), P_invalid_field);
  assert_int_equal(registry_professional(b->store, NOBODY, &p), P_OK);
  assert_int_equal(p.version, 4);
  assert_int_equal(p.role, ROLE_NURSE);
  assert_string_equal(p.family, "Etey");
  assert_string_equal(p.given, "Noëlle");
  assert_string_equal(p.finess, "");
  assert_int_equal(bed_int(b, "SELECT count(*) FROM professional WHERE rpps = '" NOBODY "'"), 4);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'professional.add'"), 7);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'professional.change'"), 3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE detail LIKE '%Etey%'"), 0);
  /* Each once in the list, as it is now, by name, with the open account. */
  char token[TOKEN_DIGITS + 1];
  assert_int_equal(ACT(b, people_add(b->store, &root, "noelle", ROLE_NURSE, "", token)), P_OK);
  assert_int_equal(ACT(b, people_link(b->store, &root, "noelle", NOBODY)), P_OK);
  static const char *const families[] = {"Durand", "Etey", "Fabre", "Martin", "Moreau", "Petit", "Roux"};
  for (int closed = 0; closed < 2; closed++) {
    json_t *list;
    assert_int_equal(registry_professionals(b->store, &list), 0);
    assert_int_equal(json_array_size(list), COUNT(families));
    for (size_t i = 0; i < COUNT(families); i++) {
      const json_t *item = json_array_get(list, i);
      assert_string_equal(json_text(item, "family"), families[i]);
      if (i == 1 && !closed)
        assert_string_equal(json_text(item, "account"), "noelle");
      else if (!strcmp(families[i], "Fabre"))
        assert_string_equal(json_text(item, "account"), "olga");
      else
        assert_true(json_is_null(json_object_get(item, "account")));
    }
    json_decref(list);
    assert_int_equal(ACT(b, people_disable(b->store, &root, "noelle")), P_OK);
  }
}

/* ---- delegations ---- */

static enum problem delegate(struct store_bed *b, const char *from, const char *until) {
  int64_t id;
  return practice_delegate(b, IDA, DURAND, "tous", from, until, &id);
}

static enum problem may(struct store_bed *b) {
  int64_t id = -1;
  enum problem p = registry_may(b->store, IDA, DURAND, "tous", &id);
  assert_int_equal(p == P_OK, id > 0); /* untouched when she may not */
  return p;
}

static enum problem end(struct store_bed *b, int64_t id) {
  return ACT(b, registry_delegation_end(b->store, &root, id, "arrêt"));
}

/* "D-3 expiring 60 / D-4 ..." of durand: newest first, with the days that are left. */
static const char *states(struct store_bed *b, const char *rpps) {
  static char text[512];
  size_t i, n = 0;
  json_t *list, *item;
  assert_int_equal(registry_delegations(b->store, rpps, &list), 0);
  text[0] = 0;
  json_array_foreach(list, i, item) n +=
      (size_t)snprintf(text + n, sizeof text - n, "%s%s %s %lld", i ? " / " : "", json_text(item, "id"),
                       json_text(item, "state"), (long long)json_integer_value(json_object_get(item, "days_left")));
  json_decref(list);
  return text;
}

static void test_delegation_refused(void **state) {
  struct store_bed *b = *state;
  const struct delegation good = practice_delegation(IDA, DURAND, "tous", "2026-01-01", "2026-12-31");
  struct {
    const char *field;
    struct delegation d;
  } wrong[] = {{"nurse", good},
               {"nurse", good},
               {"nurse", good},
               {"gp", good},
               {"gp", good},
               {"gp", good},
               {"authorised", good},
               {"from", good},
               {"from", good},
               {"until", good},
               {"until", good},
               {"until", good},
               {"until", good},
               {"authorised", good},
               {"nurse_adhesion", good},
               {"gp_adhesion", good},
               {"nurse_adhesion", good},
               {"gp_adhesion", good},
               {"from", good}};
  wrong[0].d.nurse = MARTIN; /* a GP's number, an ophthalmologist's, nobody's */
  wrong[1].d.nurse = OLGA;
  wrong[2].d.nurse = NOBODY;
  wrong[3].d.gp = IDA;
  wrong[4].d.gp = OLGA;
  wrong[5].d.gp = NOBODY;
  wrong[6].d.authorised = "2026-13-01";
  wrong[7].d.from = "2026-02-29";
  wrong[8].d.from = "1er janvier";
  wrong[9].d.until = "2026-12-32";
  wrong[10].d.until = "";
  wrong[11].d.until = "2025-12-31"; /* before it begins */
  wrong[12].d.until = "31/12/2026";
  wrong[13].d.authorised = "2026-01-02"; /* delegated before it was authorised, before one had joined */
  wrong[14].d.nurse_adhesion = "2026-01-02";
  wrong[15].d.gp_adhesion = "2026-01-02";
  wrong[16].d.nurse_adhesion = "2026-1-1";
  wrong[17].d.gp_adhesion = "hier";
  wrong[18].d.from = "";
  for (size_t i = 0; i < COUNT(wrong); i++) {
    int64_t id = -1;
    const char *field = NULL;
    assert_int_equal(ACT(b, registry_delegate(b->store, &root, &wrong[i].d, &id, &field)), P_invalid_field);
    if (strcmp(field, wrong[i].field))
      fail_msg("case %zu: %s", i, field);
    assert_int_equal(id, -1);
  }
  assert_int_equal(bed_int(b, "SELECT count(*) FROM delegation"), practice.n_protocols);
  assert_int_equal(may(b), P_delegation_missing);
  assert_int_equal(delegate(b, "2012-07-01", "2012-07-01"), P_OK); /* all on the first day that there can be */
}

/* Two hold on no day together: not the shortest common part, and not around each other. */
static void test_overlap(void **state) {
  struct store_bed *b = *state;
  int64_t id;
  assert_int_equal(delegate(b, "2026-03-10", "2026-03-20"), P_OK);
  static const struct {
    const char *from, *until;
    enum problem p;
  } other[] = {{"2026-03-01", "2026-03-10", P_delegation_overlaps},
               {"2026-03-20", "2026-03-31", P_delegation_overlaps},
               {"2026-03-10", "2026-03-20", P_delegation_overlaps},
               {"2026-03-15", "2026-03-15", P_delegation_overlaps},
               {"2026-03-01", "2026-03-31", P_delegation_overlaps},
               {"2026-03-01", "2026-03-09", P_OK},
               {"2026-03-21", "2026-03-21", P_OK},
               {"2026-03-21", "2026-03-31", P_delegation_overlaps}};
  for (size_t i = 0; i < COUNT(other); i++)
    assert_int_equal(delegate(b, other[i].from, other[i].until), other[i].p);
  /* Of another nurse, GP or protocol it is another matter; where one was ended there is room. */
  assert_int_equal(practice_delegate(b, INES, DURAND, "tous", "2026-03-10", "2026-03-20", &id), P_OK);
  assert_int_equal(practice_delegate(b, IDA, MARTIN, "tous", "2026-03-10", "2026-03-20", &id), P_OK);
  assert_int_equal(practice_delegate(b, IDA, DURAND, "strict", "2026-03-10", "2026-03-20", &id), P_OK);
  int64_t first = bed_int(b, "SELECT id FROM delegation WHERE valid_from = '2026-03-10' ORDER BY id LIMIT 1");
  assert_int_equal(end(b, first), P_OK);
  assert_int_equal(delegate(b, "2026-03-15", "2026-03-16"), P_OK);
  assert_int_equal(delegate(b, "2026-03-10", "2026-03-20"), P_delegation_overlaps);
}

/* The days of validity are the practice's own: both of them whole, as its clock says, back and forth. */
static void test_days(void **state) {
  struct store_bed *b = *state;
  setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
  tzset();
  assert_int_equal(may(b), P_delegation_missing);
  assert_int_equal(delegate(b, "2026-03-10", "2026-07-31"), P_OK);
  static const struct {
    const char *now;
    enum problem p;
    const char *state;
  } at[] = {
      {"2026-03-09T22:59:59Z", P_delegation_future, "future 144"}, /* 23:59:59 of the day before */
      {"2026-03-09T23:00:01Z", P_OK, "valid 143"},
      {"2026-05-31T21:59:58Z", P_OK, "valid 61"},
      {"2026-05-31T22:00:01Z", P_OK, "expiring 60"}, /* summer time: the first of June */
      {"2026-07-31T21:59:58Z", P_OK, "expiring 0"},
      {"2026-07-31T22:00:01Z", P_delegation_expired, "expired -1"},
      {"2099-01-01T12:00:00Z", P_delegation_expired, "expired -26452"},
      {"2026-07-31T12:00:00Z", P_OK, "expiring 0"}, /* the clock goes back */
      {"2026-01-01T12:00:00Z", P_delegation_future, "future 211"},
      {"1999-12-31T12:00:00Z", P_delegation_future, "future 9709"},
      {"2026-06-15T12:00:00Z", P_OK, "expiring 46"},
  };
  for (size_t i = 0; i < COUNT(at); i++) {
    char expected[64];
    clock_set(at[i].now);
    if (may(b) != at[i].p)
      fail_msg("%s: %s", at[i].now, problem_code(may(b)));
    snprintf(expected, sizeof expected, "D-3 %s", at[i].state);
    assert_string_equal(states(b, DURAND), expected);
  }
  unsetenv("TZ");
  tzset();
}

/* Of several the one that holds counts, whenever it was written down; of none the one that says most. */
static void test_best(void **state) {
  struct store_bed *b = *state;
  clock_set("2026-06-15T12:00:00Z");
  int64_t id;
  assert_int_equal(registry_may(b->store, "", DURAND, "tous", &id), P_professional_unknown);
  assert_int_equal(registry_may(b->store, IDA, "", "tous", &id), P_delegation_missing);
  assert_int_equal(delegate(b, "2024-01-01", "2024-12-31"), P_OK); /* D-3: ended, of the past */
  assert_int_equal(end(b, 3), P_OK);
  assert_int_equal(may(b), P_delegation_expired);
  assert_int_equal(delegate(b, "2025-01-01", "2025-12-31"), P_OK); /* D-4: expired */
  assert_int_equal(may(b), P_delegation_expired);
  assert_int_equal(delegate(b, "2027-01-01", "2027-12-31"), P_OK); /* D-5: future */
  assert_int_equal(may(b), P_delegation_future);
  assert_int_equal(delegate(b, "2026-01-01", "2026-12-31"), P_OK); /* D-6: holds */
  assert_int_equal(delegate(b, "2023-01-01", "2023-12-31"), P_OK); /* D-7: newer, and expired */
  assert_string_equal(states(b, IDA), "D-7 expired -897 / D-6 valid 199 / D-5 future 564 / D-4 expired -166 / D-3 "
                                      "ended -531");
  assert_int_equal(registry_may(b->store, IDA, DURAND, "tous", &id), P_OK);
  assert_int_equal(id, 6);
  assert_int_equal(registry_may(b->store, IDA, DURAND, "strict", &id), P_delegation_missing);
  assert_int_equal(registry_may(b->store, IDA, MARTIN, "tous", &id), P_delegation_missing);
  assert_int_equal(registry_may(b->store, INES, DURAND, "tous", &id), P_delegation_missing);
  assert_int_equal(registry_may(b->store, DURAND, IDA, "tous", &id), P_delegation_missing);
  /* Ended is ended, the same day; what was ended never holds again, and is ended once. */
  assert_int_equal(end(b, 6), P_OK);
  assert_int_equal(may(b), P_delegation_future);
  assert_int_equal(end(b, 6), P_already_exists);
  assert_int_equal(end(b, 99), P_not_found);
  assert_int_equal(delegate(b, "2026-06-15", "2026-06-15"), P_OK); /* D-8: its last day */
  assert_int_equal(registry_may(b->store, IDA, DURAND, "tous", &id), P_OK);
  assert_int_equal(id, 8);
  assert_int_equal(end(b, 5), P_OK);
  clock_forward(86400);
  assert_int_equal(may(b), P_delegation_expired);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'delegation.end'"), 3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'delegation.add'"), 8);
}

/* Everything that was said is in the list; nobody else's. */
static void test_delegation_list(void **state) {
  struct store_bed *b = *state;
  json_t *list;
  clock_set("2026-06-15T12:00:00Z");
  assert_int_equal(delegate(b, "2026-01-01", "2026-12-31"), P_OK);
  assert_int_equal(end(b, 3), P_OK);
  assert_int_equal(registry_delegations(b->store, IDA, &list), 0);
  assert_int_equal(json_array_size(list), 1);
  char *text = json_dumps(json_array_get(list, 0), JSON_COMPACT | JSON_SORT_KEYS);
  assert_string_equal(text,
                      "{\"authorisation\":\"Arrêté ARS 2012/000623\",\"authorised\":\"2012-06-01\",\"days_left\":199,"
                      "\"end_reason\":\"arrêt\",\"from\":\"2026-01-01\",\"gp\":\"" DURAND "\",\"gp_adhesion\":"
                      "\"2012-07-01\",\"id\":\"D-3\",\"nurse\":\"" IDA "\",\"nurse_adhesion\":\"2012-07-01\","
                      "\"protocol\":\"tous\",\"state\":\"ended\",\"until\":\"2026-12-31\"}");
  free(text);
  json_decref(list);
  static const struct {
    const char *rpps;
    size_t n;
  } of[] = {{NULL, 3}, {IDA, 1}, {DURAND, 1}, {INES, 2}, {MARTIN, 2}, {PETIT, 0}, {"", 0}};
  for (size_t i = 0; i < COUNT(of); i++) {
    assert_int_equal(registry_delegations(b->store, of[i].rpps, &list), 0);
    assert_int_equal(json_array_size(list), of[i].n);
    json_decref(list);
  }
}

/* ---- absences ---- */

static const char *reads_for(struct store_bed *b, const char *gp) {
  static char rpps[RPPS_MAX];
  assert_int_equal(registry_stands_in(b->store, gp, rpps), 0);
  return rpps;
}

static void test_absence_refused(void **state) {
  struct store_bed *b = *state;
  static const struct {
    const char *gp, *deputy, *first, *last, *field;
  } wrong[] = {{INES, DURAND, "2026-03-10", "2026-03-12", "gp"},
               {OLGA, DURAND, "2026-03-10", "2026-03-12", "gp"},
               {NOBODY, DURAND, "2026-03-10", "2026-03-12", "gp"},
               {MARTIN, INES, "2026-03-10", "2026-03-12", "deputy"},
               {MARTIN, OLGA, "2026-03-10", "2026-03-12", "deputy"},
               {MARTIN, NOBODY, "2026-03-10", "2026-03-12", "deputy"},
               {MARTIN, MARTIN, "2026-03-10", "2026-03-12", "deputy"},
               {MARTIN, DURAND, "2026-03-1", "2026-03-12", "first"},
               {MARTIN, DURAND, "", "2026-03-12", "first"},
               {MARTIN, DURAND, "2026-03-10", "2026-02-30", "last"},
               {MARTIN, DURAND, "2026-03-10", "2026-03-09", "last"}};
  for (size_t i = 0; i < COUNT(wrong); i++) {
    int64_t id = -1;
    const char *field = NULL;
    assert_int_equal(ACT(b, registry_absence(b->store, &root, wrong[i].gp, wrong[i].deputy, wrong[i].first,
                                             wrong[i].last, &id, &field)),
                     P_invalid_field);
    if (strcmp(field, wrong[i].field))
      fail_msg("case %zu: %s", i, field);
    assert_int_equal(id, -1);
  }
  assert_int_equal(bed_int(b, "SELECT count(*) FROM absence"), 0);
}

static void test_stands_in(void **state) {
  struct store_bed *b = *state;
  clock_set("2026-03-09T12:00:00Z");
  practice_away(b, MARTIN, DURAND, "2026-03-10", "2026-03-12");
  assert_string_equal(reads_for(b, MARTIN), MARTIN);
  assert_string_equal(reads_for(b, ""), ""); /* a study without a GP is everybody's */
  clock_set("2026-03-10T00:00:30Z");         /* both days whole */
  assert_string_equal(reads_for(b, MARTIN), DURAND);
  assert_string_equal(reads_for(b, DURAND), DURAND);
  clock_set("2026-03-12T23:59:00Z");
  assert_string_equal(reads_for(b, MARTIN), DURAND);
  clock_set("2026-03-13T00:00:30Z");
  assert_string_equal(reads_for(b, MARTIN), MARTIN);
  /* The deputy away as well: every GP. Nobody follows the chain to somebody who was never asked. */
  practice_away(b, DURAND, PETIT, "2026-03-12", "2026-03-14");
  clock_set("2026-03-11T12:00:00Z");
  assert_string_equal(reads_for(b, MARTIN), DURAND);
  clock_set("2026-03-12T12:00:00Z");
  assert_string_equal(reads_for(b, MARTIN), "");
  assert_string_equal(reads_for(b, DURAND), PETIT);
  practice_away(b, PETIT, MARTIN, "2026-03-12", "2026-03-12"); /* each for the other */
  assert_string_equal(reads_for(b, DURAND), "");
  assert_string_equal(reads_for(b, PETIT), "");
  /* Back early. */
  assert_int_equal(ACT(b, registry_absence_end(b->store, &root, 2)), P_OK);
  assert_string_equal(reads_for(b, MARTIN), DURAND);
  assert_int_equal(ACT(b, registry_absence_end(b->store, &root, 1)), P_OK);
  assert_string_equal(reads_for(b, MARTIN), MARTIN);
  assert_string_equal(reads_for(b, PETIT), MARTIN);
  assert_int_equal(ACT(b, registry_absence_end(b->store, &root, 1)), P_already_exists);
  assert_int_equal(ACT(b, registry_absence_end(b->store, &root, 99)), P_not_found);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'absence.end'"), 2);
}

/* A day has one deputy. */
static void test_absence_overlap(void **state) {
  struct store_bed *b = *state;
  static const struct {
    const char *first, *last;
    enum problem p;
  } other[] = {{"2026-03-01", "2026-03-10", P_already_exists},
               {"2026-03-12", "2026-03-20", P_already_exists},
               {"2026-03-11", "2026-03-11", P_already_exists},
               {"2026-03-01", "2026-03-31", P_already_exists},
               {"2026-03-01", "2026-03-09", P_OK},
               {"2026-03-13", "2026-03-13", P_OK}};
  practice_away(b, MARTIN, DURAND, "2026-03-10", "2026-03-12");
  for (size_t i = 0; i < COUNT(other); i++) {
    int64_t id;
    const char *field;
    assert_int_equal(
        ACT(b, registry_absence(b->store, &root, MARTIN, PETIT, other[i].first, other[i].last, &id, &field)),
        other[i].p);
  }
  assert_int_equal(ACT(b, registry_absence_end(b->store, &root, 1)), P_OK);
  practice_away(b, MARTIN, PETIT, "2026-03-10", "2026-03-12");
  json_t *list;
  assert_int_equal(registry_absences(b->store, &list), 0);
  assert_int_equal(json_array_size(list), 4);
  const json_t *newest = json_array_get(list, 0), *oldest = json_array_get(list, 3);
  assert_string_equal(json_text(newest, "id"), "A-4");
  assert_string_equal(json_text(newest, "deputy"), PETIT);
  assert_string_equal(json_text(newest, "first"), "2026-03-10");
  assert_string_equal(json_text(newest, "last"), "2026-03-12");
  assert_true(json_is_false(json_object_get(newest, "ended")));
  assert_string_equal(json_text(oldest, "deputy"), DURAND);
  assert_true(json_is_true(json_object_get(oldest, "ended")));
  json_decref(list);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, practice_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(professionals),   TEST(delegation_refused), TEST(overlap),         TEST(days),      TEST(best),
      TEST(delegation_list), TEST(absence_refused),    TEST(absence_overlap), TEST(stands_in),
  };
  return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
