/* Accounts, their tokens, whom a practice software may act for; patients and their versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"
#include "patient.h"
#include "registry.h"
#include "str.h"

static const struct actor root = {.name = "root"};

static void add(struct store_bed *b, const char *name, enum role role, char token[static TOKEN_DIGITS + 1]) {
  bed_begin(b);
  assert_int_equal(people_add(b->store, &root, name, role, "Dr", token), P_OK);
  bed_keep(b);
}

static void test_roles(void **state) {
  (void)state;
  static const struct {
    const char *name;
    enum role role;
  } known[] = {{"nurse", ROLE_NURSE}, {"gp", ROLE_GP},           {"admin", ROLE_ADMIN},
               {"lgc", ROLE_LGC},     {"auditor", ROLE_AUDITOR}, {"ophthalmologist", ROLE_OPHTHALMOLOGIST}};
  enum role role;
  unsigned all = ROLE_SYSTEM;
  for (int i = 0; i < 6; i++) {
    assert_true(role_find(known[i].name, &role));
    assert_int_equal(role, known[i].role);
    assert_string_equal(role_name(role), known[i].name);
    assert_int_equal(all & role, 0); /* a bit of its own */
    all |= role;
  }
  assert_string_equal(role_name(ROLE_SYSTEM), "system");
  static const char *const none[] = {"", "system", "GP", "gp ", "root", "nurse,gp"};
  for (int i = 0; i < 6; i++)
    assert_false(role_find(none[i], &role));
}

static void test_tokens(void **state) {
  struct store_bed *b = *state;
  char token[TOKEN_DIGITS + 1], other[TOKEN_DIGITS + 1], wrong[TOKEN_DIGITS + 2];
  struct caller c;
  add(b, "ines", ROLE_NURSE, token);
  add(b, "martin", ROLE_GP, other);
  assert_int_equal(strlen(token), TOKEN_DIGITS);
  assert_string_not_equal(token, other);
  assert_int_equal(people_by_token(b->store, token, &c), P_OK);
  assert_string_equal(c.name, "ines");
  assert_string_equal(c.acting_for, "");
  assert_int_equal(c.role, ROLE_NURSE);
  assert_string_equal(caller_person(&c), "ines");
  assert_null(caller_actor(&c).acting_for);
  /* Every wrong digit, every wrong length. */
  for (size_t i = 0; i < TOKEN_DIGITS; i++) {
    str_copy(wrong, sizeof wrong, token);
    wrong[i] = wrong[i] == '0' ? '1' : '0';
    assert_int_equal(people_by_token(b->store, wrong, &c), P_unauthenticated);
    wrong[i] = 0;
    assert_int_equal(people_by_token(b->store, wrong, &c), P_unauthenticated);
  }
  snprintf(wrong, sizeof wrong, "%s0", token);
  assert_int_equal(people_by_token(b->store, wrong, &c), P_unauthenticated);
  assert_int_equal(people_by_token(b->store, "", &c), P_unauthenticated);
  /* A new token ends the old one; a disabled account has none. */
  bed_begin(b);
  assert_int_equal(people_new_token(b->store, &root, "ines", other), P_OK);
  assert_int_equal(people_new_token(b->store, &root, "nobody", wrong), P_not_found);
  bed_keep(b);
  assert_int_equal(people_by_token(b->store, token, &c), P_unauthenticated);
  assert_int_equal(people_by_token(b->store, other, &c), P_OK);
  bed_begin(b);
  assert_int_equal(people_disable(b->store, &root, "ines"), P_OK);
  assert_int_equal(people_disable(b->store, &root, "nobody"), P_not_found);
  bed_keep(b);
  assert_int_equal(people_by_token(b->store, other, &c), P_unauthenticated);
  bed_begin(b);
  enum problem again = people_new_token(b->store, &root, "ines", token);
  assert_true(again == P_not_found || people_by_token(b->store, token, &c) == P_unauthenticated);
  bed_keep(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action LIKE 'user.%'"), 4);
}

/* What a thief of the disk would look for: the token is in no file, during, after, and once the WAL is folded in. */
static void test_only_hashes(void **state) {
  struct store_bed *b = *state;
  char token[2][TOKEN_DIGITS + 1];
  uint8_t raw[TOKEN_DIGITS / 2], hash[HASH_BYTES];
  struct caller c;
  add(b, "ines", ROLE_NURSE, token[0]);
  bed_begin(b);
  assert_int_equal(people_new_token(b->store, &root, "ines", token[1]), P_OK);
  bed_keep(b);
  assert_int_equal(people_by_token(b->store, token[1], &c), P_OK);
  for (int closed = 0; closed < 2; closed++) {
    for (int i = 0; i < 2; i++) {
      assert_false(bed_holds(b, token[i], TOKEN_DIGITS));
      assert_true(str_unhex(token[i], raw, sizeof raw));
      assert_false(bed_holds(b, raw, sizeof raw));
      assert_false(bed_holds(b, raw, sizeof raw / 2));
    }
    hash_sha256(raw, sizeof raw, hash);
    assert_true(bed_holds(b, hash, sizeof hash)); /* the search itself works */
    bed_down(b);
  }
  bed_up(b);
}

static enum problem grant(struct store_bed *b, const char *lgc, const char *person, bool may) {
  bed_begin(b);
  enum problem p = people_grant(b->store, &root, lgc, person, may);
  if (p == P_OK)
    bed_keep(b);
  else
    store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  return p;
}

static void test_acting_for(void **state) {
  struct store_bed *b = *state;
  char token[TOKEN_DIGITS + 1];
  static const struct {
    const char *name;
    enum role role;
  } people[] = {{"ines", ROLE_NURSE},  {"martin", ROLE_GP},    {"olga", ROLE_OPHTHALMOLOGIST},
                {"adele", ROLE_ADMIN}, {"aude", ROLE_AUDITOR}, {"lgc1", ROLE_LGC},
                {"lgc2", ROLE_LGC}};
  enum { PEOPLE = sizeof people / sizeof *people };
  for (size_t i = 0; i < PEOPLE; i++)
    add(b, people[i].name, people[i].role, token);
  /* To whom it is granted, and for whom: the practice software for a carer, and nobody else for anybody. */
  for (size_t who = 0; who < PEOPLE; who++)
    for (size_t whom = 0; whom < PEOPLE; whom++) {
      struct caller c = {.role = people[who].role};
      str_copy(c.name, sizeof c.name, people[who].name);
      const bool may = people[who].role == ROLE_LGC && (people[whom].role & ROLE_CARERS);
      assert_int_equal(people_act_for(b->store, &c, people[whom].name), P_forbidden);
      assert_int_equal(grant(b, people[who].name, people[whom].name, true), may ? P_OK : P_not_found);
      assert_int_equal(people_act_for(b->store, &c, people[whom].name), may ? P_OK : P_forbidden);
      assert_int_equal(c.role, may ? people[whom].role : people[who].role);
      assert_string_equal(c.acting_for, may ? people[whom].name : "");
      assert_string_equal(caller_person(&c), may ? people[whom].name : people[who].name);
      assert_string_equal(caller_actor(&c).name, people[who].name);
      if (may)
        assert_string_equal(caller_actor(&c).acting_for, people[whom].name);
      if (may) /* once is enough: acting for a GP it is no practice software any more */
        assert_int_equal(people_act_for(b->store, &c, "ines"), P_forbidden);
    }
  static const char *const nobody[] = {"", "root", "asaleed", "INES", "ines ", "ines' OR '1'='1", "\xff"};
  for (size_t i = 0; i < sizeof nobody / sizeof *nobody; i++) {
    struct caller c = {.name = "lgc1", .role = ROLE_LGC};
    assert_int_equal(people_act_for(b->store, &c, nobody[i]), P_forbidden);
    assert_int_equal(c.role, ROLE_LGC);
    assert_int_equal(grant(b, "lgc1", nobody[i], true), P_not_found);
  }
  /* Given twice is given once; taken away from one it stays with the other. */
  struct caller one = {.name = "lgc1", .role = ROLE_LGC}, two = {.name = "lgc2", .role = ROLE_LGC};
  assert_int_equal(grant(b, "lgc1", "ines", true), P_OK);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'user.grant'"), 6);
  assert_int_equal(grant(b, "lgc1", "ines", false), P_OK);
  assert_int_equal(grant(b, "lgc1", "ines", false), P_OK);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'user.revoke'"), 1);
  assert_int_equal(people_act_for(b->store, &one, "ines"), P_forbidden);
  assert_int_equal(people_act_for(b->store, &two, "ines"), P_OK);
  bed_begin(b);
  assert_int_equal(people_disable(b->store, &root, "martin"), P_OK);
  bed_keep(b);
  assert_int_equal(people_act_for(b->store, &one, "martin"), P_forbidden);
}

/* An account is that of a registered professional of its role; the number goes with the caller, and with whom the
 * practice software acts for. */
static void test_link(void **state) {
  struct store_bed *b = *state;
  char token[TOKEN_DIGITS + 1], unused[TOKEN_DIGITS + 1];
  struct professional p = {.rpps = "10100000032", .family = "Martin", .given = "A", .role = ROLE_GP, .finess = ""};
  struct caller c, lgc = {.name = "lgc1", .role = ROLE_LGC};
  bool created;
  add(b, "martin", ROLE_GP, token);
  add(b, "martin2", ROLE_GP, unused);
  add(b, "ines", ROLE_NURSE, unused);
  add(b, "lgc1", ROLE_LGC, unused);
  bed_begin(b);
  assert_int_equal(registry_professional_put(b->store, &root, &p, &created), P_OK);
  assert_int_equal(people_link(b->store, &root, "martin", "10100000099"), P_professional_unknown);
  assert_int_equal(people_link(b->store, &root, "ines", p.rpps), P_professional_unknown); /* a nurse is no GP */
  assert_int_equal(people_link(b->store, &root, "lgc1", p.rpps), P_professional_unknown);
  assert_int_equal(people_link(b->store, &root, "nobody", p.rpps), P_professional_unknown);
  assert_int_equal(people_by_name(b->store, "martin", &c), P_OK);
  assert_string_equal(c.rpps, "");
  assert_int_equal(people_link(b->store, &root, "martin", p.rpps), P_OK);
  bed_keep(b);
  assert_int_equal(people_by_name(b->store, "martin", &c), P_OK);
  assert_string_equal(c.rpps, p.rpps);
  assert_int_equal(people_by_token(b->store, token, &c), P_OK);
  assert_string_equal(c.rpps, p.rpps);
  assert_int_equal(grant(b, "lgc1", "martin", true), P_OK);
  assert_int_equal(people_act_for(b->store, &lgc, "martin"), P_OK);
  assert_string_equal(lgc.rpps, p.rpps);
  /* One open account a person. */
  bed_begin(b);
  assert_int_equal(people_link(b->store, &root, "martin2", p.rpps), P_already_exists);
  store_undo(b->store);
  bed_begin(b);
  assert_int_equal(people_disable(b->store, &root, "martin"), P_OK);
  assert_int_equal(people_link(b->store, &root, "martin2", p.rpps), P_OK);
  assert_int_equal(people_link(b->store, &root, "martin", p.rpps), P_professional_unknown); /* closed */
  bed_keep(b);
  assert_int_equal(people_by_name(b->store, "martin", &c), P_unauthenticated);
}

static enum problem set_password(struct store_bed *b, const char *name, const char *old, const char *encoded,
                                 bool must_change) {
  bed_begin(b);
  enum problem p = people_set_password(b->store, &root, name, old, encoded, must_change);
  if (p == P_OK)
    bed_keep(b);
  else
    store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  return p;
}

static void has_password(struct store_bed *b, const char *name, const char *encoded, bool must_change) {
  char kept[ACCOUNT_PASSWORD_MAX];
  bool must = !must_change;
  assert_int_equal(people_password(b->store, name, kept, &must), P_OK);
  assert_string_equal(kept, encoded);
  assert_int_equal(must, must_change);
}

/* An administrator's goes over whatever there is, a person's own only over the one that was compared. */
static void test_passwords(void **state) {
  struct store_bed *b = *state;
  char token[TOKEN_DIGITS + 1], kept[ACCOUNT_PASSWORD_MAX];
  bool must;
  add(b, "ines", ROLE_NURSE, token);
  add(b, "lgc1", ROLE_LGC, token);
  has_password(b, "ines", "", false);
  assert_int_equal(set_password(b, "ines", "", "$1", false), P_login_refused); /* who has none has no old one */
  assert_int_equal(set_password(b, "ines", NULL, "$1", true), P_OK);
  has_password(b, "ines", "$1", true);
  assert_int_equal(set_password(b, "ines", "$1", "$2", false), P_OK);
  has_password(b, "ines", "$2", false);
  static const char *const wrong[] = {"$1", "", "$", "$2 ", "NULL"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_int_equal(set_password(b, "ines", wrong[i], "$3", true), P_login_refused);
  has_password(b, "ines", "$2", false);
  assert_int_equal(set_password(b, "ines", NULL, "$3", true), P_OK);
  has_password(b, "ines", "$3", true);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'user.password'"), 3);
  assert_int_equal(set_password(b, "lgc1", NULL, "$1", true), P_not_found);
  assert_int_equal(set_password(b, "nobody", NULL, "$1", true), P_not_found);
  assert_int_equal(people_password(b->store, "lgc1", kept, &must), P_unauthenticated);
  bed_begin(b);
  assert_int_equal(people_disable(b->store, &root, "ines"), P_OK);
  bed_keep(b);
  assert_int_equal(set_password(b, "ines", "$3", "$4", false), P_login_refused);
  assert_int_equal(set_password(b, "ines", NULL, "$4", true), P_not_found);
  assert_int_equal(people_password(b->store, "ines", kept, &must), P_unauthenticated);
}

static void test_accounts(void **state) {
  struct store_bed *b = *state;
  char token[TOKEN_DIGITS + 1], longest[PERSON_NAME_MAX + 1];
  static const char *const bad[] = {"",         "root", "asaleed", "unknown", "uid-", "uid-0",
                                    "uid-1000", "a b",  "é",       "a/b",     "a\nb", "../x"};
  bed_begin(b);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(people_add(b->store, &root, bad[i], ROLE_GP, "", token), P_invalid_field);
  memset(longest, 'x', sizeof longest);
  longest[PERSON_NAME_MAX] = 0;
  assert_int_equal(people_add(b->store, &root, longest, ROLE_GP, "", token), P_invalid_field);
  longest[PERSON_NAME_MAX - 1] = 0;
  assert_int_equal(people_add(b->store, &root, longest, ROLE_GP, "Dr É", token), P_OK);
  assert_int_equal(people_add(b->store, &root, "a.b_c-9", ROLE_LGC, "", token), P_OK);
  bed_keep(b);
  bed_begin(b);
  assert_int_equal(people_add(b->store, &root, "a.b_c-9", ROLE_GP, "", token), P_already_exists);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  json_t *list;
  assert_int_equal(people_list(b->store, &list), 0);
  assert_int_equal(json_array_size(list), 2);
  const char *key;
  json_t *value;
  json_object_foreach(json_array_get(list, 0), key, value) {
    assert_true(!strcmp(key, "created") || !strcmp(key, "disabled") || !strcmp(key, "display") ||
                !strcmp(key, "name") || !strcmp(key, "role") || !strcmp(key, "rpps")); /* no token, no hash */
  }
  assert_string_equal(json_text(json_array_get(list, 0), "name"), "a.b_c-9");
  assert_string_equal(json_text(json_array_get(list, 1), "display"), "Dr É");
  json_decref(list);
}

/* ---- patients ---- */

static enum problem put(struct store_bed *b, const char *id, const char *family, int64_t if_match, bool *created,
                        int64_t *version) {
  struct patient p = {.given = "Given", .birth_date = "1950-02-28", .sex = "F"};
  str_copy(p.id, sizeof p.id, id);
  str_copy(p.family, sizeof p.family, family);
  bed_begin(b);
  enum problem r = patient_put(b->store, &root, &p, if_match, created);
  if (r == P_OK)
    assert_int_equal(store_keep(b->store), 0);
  else
    store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  *version = p.version;
  return r;
}

static void test_patients(void **state) {
  struct store_bed *b = *state;
  bool created;
  int64_t v;
  struct patient p;
  assert_int_equal(patient_find(b->store, "P1", &p), P_not_found);
  /* Whoever names a version means a patient that is there. */
  assert_int_equal(put(b, "P1", "A", 1, &created, &v), P_precondition_failed);
  assert_int_equal(put(b, "P1", "A", -1, &created, &v), P_precondition_failed);
  assert_int_equal(put(b, "P1", "A", 0, &created, &v), P_OK);
  assert_true(created);
  assert_int_equal(v, 1);
  /* The same again changes nothing, with or without a version, but not with a wrong one. */
  for (int64_t m = -1; m <= 1; m++) {
    assert_int_equal(put(b, "P1", "A", m, &created, &v), P_OK);
    assert_false(created);
    assert_int_equal(v, 1);
  }
  assert_int_equal(put(b, "P1", "A", 2, &created, &v), P_precondition_failed);
  /* A change needs the version that is there. */
  assert_int_equal(put(b, "P1", "B", 0, &created, &v), P_precondition_required);
  assert_int_equal(put(b, "P1", "B", 2, &created, &v), P_precondition_failed);
  assert_int_equal(put(b, "P1", "B", 1, &created, &v), P_OK);
  assert_false(created);
  assert_int_equal(v, 2);
  assert_int_equal(put(b, "P1", "C", 1, &created, &v),
                   P_precondition_failed); /* the second of two who read version 1 */
  assert_int_equal(put(b, "P1", "C", -1, &created, &v), P_OK);
  assert_int_equal(v, 3);
  assert_int_equal(patient_find(b->store, "P1", &p), P_OK);
  assert_string_equal(p.family, "C");
  assert_int_equal(p.version, 3);
  /* Every version stays, each change is in the trail and in the change sequence. */
  assert_int_equal(bed_int(b, "SELECT count(*) FROM patient_version WHERE patient = 'P1'"), 3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE subject = 'P1'"), 3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM change WHERE kind = 'patient' AND ref = 'P1'"), 3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE detail LIKE '%Given%' OR detail LIKE '%1950%'"), 0);
}

static void set_ins(struct store_bed *b, const char *id, const char *ins, const char *status) {
  struct patient p;
  bool created;
  assert_int_equal(patient_find(b->store, id, &p), P_OK);
  str_copy(p.ins, sizeof p.ins, ins);
  str_copy(p.ins_oid, sizeof p.ins_oid, *ins ? "1.2.250.1.213.1.4.8" : "");
  str_copy(p.ins_status, sizeof p.ins_status, status);
  bed_begin(b);
  assert_int_equal(patient_put(b->store, &root, &p, -1, &created), P_OK);
  bed_keep(b);
}

/* The national identity is a trait like the others: a new version each, and it finds one patient or says that it
 * cannot. */
static void test_ins(void **state) {
  struct store_bed *b = *state;
  bool created;
  int64_t v;
  char id[PATIENT_ID_MAX + 1] = "unset";
  struct patient p;
  assert_int_equal(put(b, "P1", "A", 0, &created, &v), P_OK);
  assert_int_equal(put(b, "P2", "B", 0, &created, &v), P_OK);
  assert_int_equal(patient_by_ins(b->store, &(struct caller){.role = ROLE_GP}, "150022A00301234", id), P_not_found);
  assert_string_equal(id, "unset");
  set_ins(b, "P1", "150022A00301234", "retrieved");
  set_ins(b, "P1", "150022A00301234", "retrieved"); /* the same again */
  set_ins(b, "P1", "150022A00301234", "qualified");
  assert_int_equal(patient_find(b->store, "P1", &p), P_OK);
  assert_int_equal(p.version, 3);
  assert_string_equal(p.ins, "150022A00301234");
  assert_string_equal(p.ins_oid, "1.2.250.1.213.1.4.8");
  assert_string_equal(p.ins_status, "qualified");
  assert_int_equal(patient_by_ins(b->store, &(struct caller){.role = ROLE_GP}, "150022A00301234", id), P_OK);
  assert_string_equal(id, "P1");
  set_ins(b, "P2", "150022A00301234", "provisional");
  assert_int_equal(patient_by_ins(b->store, &(struct caller){.role = ROLE_GP}, "150022A00301234", id), P_ins_ambiguous);
  set_ins(b, "P1", "", ""); /* what an older version had does not count */
  assert_int_equal(patient_by_ins(b->store, &(struct caller){.role = ROLE_GP}, "150022A00301234", id), P_OK);
  assert_string_equal(id, "P2");
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE detail LIKE '%150022A00301234%'"), 0);
}

static void test_patient_ids(void **state) {
  (void)state;
  static const char *const good[] = {"1", "a.b_c-9", "..", "AZaz09"};
  static const char *const bad[] = {"", " ", "a b", "é", "a/b", "a\n", "a%", "'"};
  char longest[PATIENT_ID_MAX + 2];
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    assert_true(patient_id_ok(good[i]));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_false(patient_id_ok(bad[i]));
  memset(longest, 'x', sizeof longest);
  longest[PATIENT_ID_MAX + 1] = 0;
  assert_false(patient_id_ok(longest));
  longest[PATIENT_ID_MAX] = 0;
  assert_true(patient_id_ok(longest));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, bed_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(roles),     TEST(tokens),   TEST(only_hashes), TEST(acting_for), TEST(link),
      TEST(passwords), TEST(accounts), TEST(patients),    TEST(ins),        TEST(patient_ids),
  };
  return cmocka_run_group_tests_name("people", tests, NULL, NULL);
}
