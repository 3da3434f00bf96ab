/* What each role gets of a patient, a study and a record: every role, part, protocol and state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mask.h"
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* The policy, written down a second time, a column a part: identity, quality, acquired, device, statements, derived,
 * conclusion, report.
 *   -  never             a  if the protocol shows the nurse what was acquired, not its quality alone
 *   s  once it is signed
 *   +  always            c  once it is signed, if the protocol shows her the conclusion, or all of it
 *                        r  once it is signed, if the protocol shows her all of it */
static const struct {
  enum role role;
  const char *parts;
} policy[] = {
    {ROLE_NURSE, "++a---cr"},                       /* acquires, and concludes nothing */
    {ROLE_GP, "++++++++"},                          /* reads */
    {ROLE_OPHTHALMOLOGIST, "++++++++"},             /* reads */
    {ROLE_ADMIN, "-+++----"},                       /* looks after instruments, not after people */
    {ROLE_LGC, "+++---ss"},                         /* files what the practice signed, not what the instrument thinks */
    {ROLE_AUDITOR, "--------"},                     /* nothing of anybody's health */
    {ROLE_SYSTEM, "--------"},                      /* nobody looks */
    {(enum role)0, "--------"},                     /* none */
    {(enum role)(ROLE_NURSE | ROLE_GP), "--------"} /* several at once */
};

static bool expect(char when, const struct view *v) {
  switch (when) {
  case '+':
    return true;
  case 'a':
    return v->before == CONF_SEES_ACQUIRED;
  case 's':
    return v->is_signed;
  case 'c':
    return v->is_signed && (v->after == CONF_SEES_CONCLUSION || v->after == CONF_SEES_REPORT);
  case 'r':
    return v->is_signed && v->after == CONF_SEES_REPORT;
  default:
    return false;
  }
}

/* Every view there is: role, what the protocol shows the nurse before and after, signed or not. */
#define VIEWS (COUNT(policy) * 2 * 3 * 2)
static struct view nth_view(size_t n) {
  static const int before[] = {CONF_SEES_QUALITY, CONF_SEES_ACQUIRED},
                   after[] = {CONF_SEES_NOTHING, CONF_SEES_CONCLUSION, CONF_SEES_REPORT};
  return (struct view){
      .role = policy[n / 12].role, .before = before[n % 2], .after = after[n / 2 % 3], .is_signed = n / 6 % 2};
}

static void test_policy(void **state) {
  (void)state;
  unsigned shown = 0;
  for (size_t n = 0; n < VIEWS; n++) {
    const struct view v = nth_view(n);
    assert_int_equal(strlen(policy[n / 12].parts), PARTS);
    for (int p = 0; p < PARTS; p++) {
      const bool may = expect(policy[n / 12].parts[p], &v);
      if (mask_shows(&v, (enum part)p) != may)
        fail_msg("%s, part %d, before %d, after %d, %ssigned", role_name(v.role), p, v.before, v.after,
                 v.is_signed ? "" : "not ");
      shown += may;
    }
  }
  print_message("# %zu of role x part x before x after x signed, %u shown\n", VIEWS * PARTS, shown);
}

/* What no protocol can give the nurse. */
static void test_nurse_never(void **state) {
  (void)state;
  static const enum part never[] = {PART_DEVICE, PART_STATEMENTS, PART_DERIVED};
  for (size_t n = 0; n < 12; n++)
    for (size_t p = 0; p < COUNT(never); p++) {
      const struct view v = nth_view(n);
      assert_int_equal(v.role, ROLE_NURSE);
      assert_false(mask_shows(&v, never[p]));
    }
}

/* Of what nobody has ordered yet: as the nurse acquires it, and nothing is signed. */
static void test_view_of(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT(policy); i++) {
    const struct view v = view_of(policy[i].role);
    assert_int_equal(v.role, policy[i].role);
    assert_int_equal(v.before, CONF_SEES_ACQUIRED);
    assert_int_equal(v.after, CONF_SEES_NOTHING);
    assert_false(v.is_signed);
  }
}

static const struct {
  const char *member;
  int part; /* -1: what nobody has thought of is shown to nobody */
} members[] = {
    {"acquired", PART_ACQUIRED},
    {"complete", PART_QUALITY},
    {"device", PART_DEVICE},
    {"driver", PART_QUALITY},
    {"end", PART_QUALITY},
    {"integrity", PART_QUALITY},
    {"modality", PART_QUALITY},
    {"quality", PART_QUALITY},
    {"schema", PART_QUALITY},
    {"started", PART_QUALITY},
    {"statements", PART_STATEMENTS},
    {"derived", PART_DERIVED},
    {"stray", PART_QUALITY},
    {"subject", PART_IDENTITY},
    {"sources", PART_STATEMENTS},
    {"something_new", -1},
    {"Statements", -1},
    {"", -1},
};

static void test_members(void **state) {
  (void)state;
  unsigned n_members = 0;
  json_t *record = json_object();
  for (size_t m = 0; m < COUNT(members); m++)
    json_object_set_new(record, members[m].member, json_pack("[s]", "MARKER"));
  char *before = json_canonical(record, NULL);
  for (size_t n = 0; n < VIEWS; n++) {
    const struct view v = nth_view(n);
    json_t *shown = mask_record(record, &v);
    assert_non_null(shown);
    size_t expected = 0;
    for (size_t m = 0; m < COUNT(members); m++, n_members++) {
      bool may = members[m].part >= 0 && expect(policy[n / 12].parts[members[m].part], &v);
      expected += may;
      if ((json_object_get(shown, members[m].member) != NULL) != may)
        fail_msg("%s, %s", members[m].member, role_name(v.role));
    }
    assert_int_equal(json_object_size(shown), expected);
    json_decref(shown);
  }
  char *after = json_canonical(record, NULL); /* the original is whole */
  assert_string_equal(before, after);
  print_message("# %u members by view\n", n_members);
  free(before);
  free(after);
  json_decref(record);
}

/* A record with nothing in it, and one that is none. */
static void test_empty(void **state) {
  (void)state;
  json_t *empty = json_object();
  for (size_t n = 0; n < VIEWS; n++) {
    const struct view v = nth_view(n);
    json_t *shown = mask_record(empty, &v), *none = mask_record(NULL, &v);
    assert_int_equal(json_object_size(shown), 0);
    assert_int_equal(json_object_size(none), 0);
    json_decref(shown);
    json_decref(none);
  }
  json_decref(empty);
}

/* Nobody's reading: as the strictest protocol that opens such an act. */
static void test_view_of_any(void **state) {
  (void)state;
  static struct conf_protocol open = {.id = "a",
                                      .acts = {[ACQ_ECG] = {.open = 1, .sees_before = CONF_SEES_ACQUIRED},
                                               [ACQ_FUNDUS] = {.open = 1, .sees_before = CONF_SEES_ACQUIRED},
                                               [ACQ_MEASUREMENT] = {.sees_before = CONF_SEES_QUALITY}}},
                              strict = {.id = "b", .acts = {[ACQ_ECG] = {.open = 1, .sees_before = CONF_SEES_QUALITY}}};
  const struct conf conf = {.protocols = {&open, &strict}, .n_protocols = 2};
  const struct {
    enum acq_modality act;
    int before;
  } rows[] = {{ACQ_ECG, CONF_SEES_QUALITY},
              {ACQ_FUNDUS, CONF_SEES_ACQUIRED},
              {ACQ_MEASUREMENT, CONF_SEES_ACQUIRED}, /* which nobody opens */
              {ACQ_SPIROMETRY, CONF_SEES_ACQUIRED},
              {0, CONF_SEES_ACQUIRED}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    const struct view v = view_of_any(ROLE_NURSE, &conf, rows[i].act);
    assert_int_equal(v.before, rows[i].before);
    assert_int_equal(v.after, CONF_SEES_NOTHING);
    assert_false(v.is_signed);
    assert_int_equal(mask_shows(&v, PART_ACQUIRED), rows[i].before == CONF_SEES_ACQUIRED);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_policy),  cmocka_unit_test(test_nurse_never), cmocka_unit_test(test_view_of),
      cmocka_unit_test(test_members), cmocka_unit_test(test_empty),       cmocka_unit_test(test_view_of_any),
  };
  return cmocka_run_group_tests_name("mask", tests, NULL, NULL);
}
