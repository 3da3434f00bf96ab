/* What each role gets of a record: every member against every role. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mask.h"
#include <string.h>

static const enum role roles[] = {ROLE_NURSE, ROLE_GP, ROLE_ADMIN, ROLE_LGC, ROLE_SYSTEM};
#define NURSE 1u
#define GP 2u
#define ADMIN 4u
#define LGC 8u

/* The policy, written down a second time. */
static const struct {
  enum part part;
  unsigned roles;
} policy[] = {{PART_IDENTITY, NURSE | GP | LGC},
              {PART_ACQUIRED, NURSE | GP | ADMIN | LGC},
              {PART_DEVICE, GP | ADMIN},
              {PART_STATEMENTS, GP},
              {PART_DERIVED, GP},
              {PART_INTERPRETATION, GP | LGC}};

static const struct {
  const char *member;
  unsigned roles;
} members[] = {
    {"acquired", NURSE | GP | ADMIN | LGC},
    {"complete", NURSE | GP | ADMIN | LGC},
    {"device", GP | ADMIN},
    {"driver", NURSE | GP | ADMIN | LGC},
    {"end", NURSE | GP | ADMIN | LGC},
    {"integrity", NURSE | GP | ADMIN | LGC},
    {"modality", NURSE | GP | ADMIN | LGC},
    {"quality", NURSE | GP | ADMIN | LGC},
    {"schema", NURSE | GP | ADMIN | LGC},
    {"started", NURSE | GP | ADMIN | LGC},
    {"statements", GP},
    {"derived", GP},
    {"stray", NURSE | GP | ADMIN | LGC},
    {"subject", NURSE | GP | LGC},
    {"sources", GP},
    {"something_new", 0}, /* what nobody has thought of is shown to nobody */
    {"Statements", 0},
    {"", 0},
};
#define MEMBERS (sizeof members / sizeof *members)

static void test_policy(void **state) {
  (void)state;
  assert_int_equal(sizeof policy / sizeof *policy, PARTS);
  for (size_t r = 0; r < 5; r++)
    for (size_t p = 0; p < PARTS; p++)
      assert_int_equal(mask_shows(roles[r], policy[p].part), (policy[p].roles & roles[r]) != 0);
  /* A role that is none, or several at once, sees nothing. */
  for (size_t p = 0; p < PARTS; p++) {
    assert_false(mask_shows((enum role)0, policy[p].part));
    assert_false(mask_shows((enum role)(ROLE_NURSE | ROLE_GP), policy[p].part));
  }
}

static void test_members(void **state) {
  (void)state;
  unsigned n = 0;
  json_t *record = json_object();
  for (size_t m = 0; m < MEMBERS; m++)
    json_object_set_new(record, members[m].member, json_pack("[s]", "MARKER"));
  char *before = json_canonical(record, NULL);
  for (size_t r = 0; r < 5; r++) {
    json_t *shown = mask_record(record, roles[r]);
    assert_non_null(shown);
    size_t expected = 0;
    for (size_t m = 0; m < MEMBERS; m++, n++) {
      bool may = (members[m].roles & roles[r]) != 0;
      expected += may;
      if ((json_object_get(shown, members[m].member) != NULL) != may)
        fail_msg("%s, %s", members[m].member, role_name(roles[r]));
    }
    assert_int_equal(json_object_size(shown), expected);
    json_decref(shown);
  }
  char *after = json_canonical(record, NULL); /* the original is whole */
  assert_string_equal(before, after);
  print_message("# %u members by role\n", n);
  free(before);
  free(after);
  json_decref(record);
}

/* A record with nothing in it, and one that is none. */
static void test_empty(void **state) {
  (void)state;
  json_t *empty = json_object();
  for (size_t r = 0; r < 5; r++) {
    json_t *shown = mask_record(empty, roles[r]), *none = mask_record(NULL, roles[r]);
    assert_int_equal(json_object_size(shown), 0);
    assert_int_equal(json_object_size(none), 0);
    json_decref(shown);
    json_decref(none);
  }
  json_decref(empty);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_policy),
      cmocka_unit_test(test_members),
      cmocka_unit_test(test_empty),
  };
  return cmocka_run_group_tests_name("mask", tests, NULL, NULL);
}
