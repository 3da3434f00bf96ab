#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"
#include "proof_make.h"
#include "str.h"
#include <cmocka.h>
#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)
#define NO_HASH "0000000000000000000000000000000000000000000000000000000000000000"

static uint8_t site[SIGNATURE_SECRET];

static int verify(const json_t *proof, struct proof_check *c) {
  struct proof_check check = {.fault = (enum proof_fault)77};
  int r = proof_verify(proof, NULL, &check);
  assert_true(r == 0 || r == -EBADMSG);
  assert_int_equal(r == 0, check.fault == PROOF_HOLDS);
  assert_non_null(proof_fault_code(check.fault));
  if (c)
    *c = check;
  return r;
}

static json_t *interpretation(json_t *proof, size_t i) {
  return json_array_get(json_object_get(proof, "interpretations"), i);
}

static json_t *statement(json_t *proof, size_t i) {
  return json_object_get(interpretation(proof, i), "statement");
}

static json_t *row(json_t *proof, const char *list, size_t i) {
  return json_array_get(json_object_get(proof, list), i);
}

/* ---- what holds -------------------------------------------------------------------------------------------------- */

TEST(holds) {
  for (unsigned versions = 1; versions <= 3; versions++) {
    _json_cleanup_ json_t *proof = proof_make(versions);
    struct proof_check c;
    assert_int_equal(proof_verify(proof, NULL, &c), 0);
    assert_int_equal(c.fault, PROOF_HOLDS);
    assert_int_equal(c.version, 0);
    assert_int_equal(c.n, versions);
    for (size_t i = 0; i < versions; i++)
      assert_int_equal(c.faults[i], PROOF_HOLDS);
    assert_int_equal(proof_verify(proof, site + SIGNATURE_SEED, &c), 0);
    uint8_t other[SIGNATURE_PUBLIC];
    for (size_t bit = 0; bit < 8 * sizeof other; bit++) {
      memcpy(other, site + SIGNATURE_SEED, sizeof other);
      other[bit / 8] ^= (uint8_t)(1u << bit % 8);
      assert_int_equal(proof_verify(proof, other, &c), -EBADMSG);
      assert_int_equal(c.fault, PROOF_SITE);
      assert_int_equal(c.n, 0);
    }
  }
}

/* The statement's text is the contract: programs of others compute it too. */
TEST(statement_text) {
  _json_cleanup_ json_t *proof = proof_make(2);
  char *text = json_canonical(statement(proof, 1), NULL);
  assert_string_equal(
      text,
      "{\"act\":\"ecg\",\"aids\":\"23d90be5ca09506cd13a0985be087125b07b9b0f636086c79e56202535dc785f\",\"amends\":1,"
      "\"conclusion\":\"abnormal\",\"findings\":{\"rhythm\":\"sinus\",\"signs\":[\"rbbb\"]},\"fundus\":null,"
      "\"patient\":{\"id\":\"4711\","
      "\"sha256\":\"d690f4c8b3e218e2b3b79cf537df37e73b115460aa413ac7f1e9a12c4b2a701b\",\"version\":2},"
      "\"reason\":\"Précision\",\"records\":["
      "\"08f6a979569d2caf4de18e68b1fffc65a7abd421cb998d99b69e6846080bc884\","
      "\"d9c79d1e55873211c56fc35fc4bbc26074bcc140a23f0b17e2d0c1052dc10f77\"],\"schema\":1,"
      "\"signed\":\"2026-03-29T03:00:01.123456+02:00\",\"signer\":{\"account\":\"hugo\",\"family\":\"MARTIN\","
      "\"given\":\"Hugo\",\"role\":\"gp\",\"rpps\":\"10003456782\",\"through\":\"lgc\"},\"study\":\"S-12\","
      "\"text_sha256\":\"d11c04ec5b1608f6b464365d35928d31346f851ee3aeb51591c9eecfc5694ce0\",\"version\":2}");
  free(text);
}

static json_t *facts_statement(void (*change)(struct proof_facts *f, json_t *spare), json_t *spare) {
  _json_cleanup_ json_t *records = json_pack("[s]", NO_HASH), *traits = json_object();
  struct proof_facts f = {.study = 1,
                          .version = 1,
                          .act = "spirometry",
                          .conclusion = "normal",
                          .text = "",
                          .records = records,
                          .patient = "1",
                          .patient_version = 1,
                          .traits = traits,
                          .signed_us = PROOF_FIRST_US,
                          .signer = {"a", "10001234567", "F", "G", "gp", NULL}};
  change(&f, spare);
  return proof_statement(&f);
}

#define WITH(name, ...)                                                            \
  static void name(struct proof_facts *f, json_t *spare __attribute__((unused))) { \
    __VA_ARGS__;                                                                   \
  }
WITH(as_it_is, (void)f)
WITH(of_fundus, f->act = "fundus"; f->fundus = spare)
WITH(by_ophthalmologist, f->signer.role = "ophthalmologist")
WITH(without_study, f->study = 0)
WITH(without_version, f->version = 0)
WITH(too_many_versions, f->version = PROOF_VERSIONS_MAX + 1)
WITH(other_act, f->act = "radiography")
WITH(other_conclusion, f->conclusion = "fine")
WITH(unclean_name, f->signer.family = "a\nb")
WITH(empty_name, f->signer.family = "")
WITH(without_name, f->signer.given = NULL)
WITH(short_rpps, f->signer.rpps = "1000123456")
WITH(odd_rpps, f->signer.rpps = "1000123456x")
WITH(by_nurse, f->signer.role = "nurse")
WITH(reason_alone, f->reason = "x")
WITH(amends_alone, f->amends = 1)
WITH(empty_reason, f->amends = 1; f->reason = "")
WITH(fundus_of_spirometry, f->fundus = spare)
WITH(fundus_without, f->act = "fundus")
WITH(no_records, f->records = spare)
WITH(not_signed, f->signed_us = 0)
WITH(no_traits, f->traits = NULL)
WITH(no_patient, f->patient = "")

TEST(facts) {
  _json_cleanup_ json_t *object = json_object(), *array = json_array();
  void (*const good[])(struct proof_facts *, json_t *) = {as_it_is, of_fundus, by_ophthalmologist};
  for (size_t i = 0; i < COUNT(good); i++) {
    _json_cleanup_ json_t *s = facts_statement(good[i], object);
    assert_non_null(s);
  }
  void (*const bad[])(struct proof_facts *, json_t *) = {
      without_study,  without_version, too_many_versions, other_act,    other_conclusion,
      unclean_name,   empty_name,      without_name,      short_rpps,   odd_rpps,
      by_nurse,       reason_alone,    amends_alone,      empty_reason, fundus_of_spirometry,
      fundus_without, no_records,      not_signed,        no_traits,    no_patient};
  for (size_t i = 0; i < COUNT(bad); i++) {
    _json_cleanup_ json_t *s = facts_statement(bad[i], array);
    if (s)
      fail_msg("row %zu", i);
  }
}

/* ---- what does not, and what is said of it ------------------------------------------------------------------------
 */

/* The site itself makes it so: the seal holds. */
static void named(json_t *proof, enum proof_fault fault, int64_t version, const enum proof_fault *faults) {
  struct proof_check c;
  assert_int_equal(proof_seal(proof, site), 0);
  verify(proof, &c);
  if (c.fault != fault || c.version != version)
    fail_msg("%s of %d, not %s of %d", proof_fault_code(c.fault), (int)c.version, proof_fault_code(fault),
             (int)version);
  for (size_t i = 0; faults && i < c.n; i++)
    assert_int_equal(c.faults[i], faults[i]);
  json_decref(proof);
}

static json_t *changed(size_t i, const char *member, json_t *value) {
  json_t *proof = proof_make_open(3);
  json_object_set_new(interpretation(proof, i), member, value);
  return proof;
}

/* A statement that its signer did sign. */
static json_t *stated(size_t i, const char *member, json_t *value, unsigned who) {
  json_t *proof = proof_make_open(3);
  json_object_set_new(statement(proof, i), member, value);
  proof_make_sign(proof, i, who);
  return proof;
}

TEST(faults) {
  const enum proof_fault second[3] = {PROOF_HOLDS, PROOF_TEXT, PROOF_HOLDS};
  const enum proof_fault record[3] = {PROOF_HOLDS, PROOF_RECORD, PROOF_RECORD};
  const enum proof_fault key[3] = {PROOF_CERTIFICATE, PROOF_HOLDS, PROOF_CERTIFICATE};
  json_t *proof;
  named(changed(1, "text", json_string("Bloc de branche gauche.\nConnu.")), PROOF_TEXT, 2, second);
  named(changed(0, "text", json_string("")), PROOF_TEXT, 1, NULL);
  named(changed(0, "findings", json_pack("{s:s}", "rhythm", "sinus")), PROOF_FINDINGS, 1, NULL);
  named(changed(1, "aids", json_pack("{s:s}", "fev1", "2.99")), PROOF_AIDS, 2, NULL);
  named(changed(1, "aids", json_null()), PROOF_AIDS, 2, NULL);
  named(changed(0, "aids", json_object()), PROOF_AIDS, 1, NULL);
  named(changed(1, "version", json_integer(3)), PROOF_VERSION, 2, NULL);
  named(changed(1, "version", json_integer(0)), PROOF_FORM, 2, NULL);
  named(changed(1, "withdrawn", json_null()), PROOF_AMENDS, 3, NULL);
  named(changed(1, "withdrawn", json_string("2026")), PROOF_FORM, 2, NULL);
  named(changed(2, "statement", json_null()), PROOF_FORM, 3, NULL);
  named(changed(2, "more", json_null()), PROOF_FORM, 3, NULL);

  proof = proof_make_open(3); /* from before signatures */
  for (size_t i = 0; i < 4; i++)
    json_object_set_new(interpretation(proof, 0),
                        (const char *const[]){"statement", "signature", "public_key", "findings"}[i], json_null());
  named(proof, PROOF_UNSIGNED, 1, (const enum proof_fault[]){PROOF_UNSIGNED, PROOF_HOLDS, PROOF_HOLDS});

  proof = proof_make_open(3);
  json_object_set_new(statement(proof, 0), "conclusion", json_string("normal"));
  named(proof, PROOF_SIGNATURE, 1, NULL);
  proof = proof_make_open(3);
  json_object_set(interpretation(proof, 0), "signature", json_object_get(interpretation(proof, 2), "signature"));
  named(proof, PROOF_SIGNATURE, 1, NULL);

  named(stated(0, "study", json_string("S-13"), 1), PROOF_STUDY, 1, NULL);
  named(stated(0, "act", json_string("measurement"), 1), PROOF_STUDY, 1, NULL);
  named(stated(0, "version", json_integer(2), 1), PROOF_VERSION, 1, NULL);
  named(stated(1, "amends", json_integer(2), 2), PROOF_AMENDS, 2, NULL);
  named(stated(1, "records", json_pack("[s]", NO_HASH), 2), PROOF_MISSING, 2, NULL);
  named(stated(0, "schema", json_integer(2), 1), PROOF_FORM, 1, NULL);
  named(stated(0, "signed", json_string("2020-01-01T00:00:00.000000+01:00"), 1), PROOF_SINCE, 1, NULL);
  named(stated(0, "signed", json_string("2030-01-01T00:00:00+01:00"), 1), PROOF_FORM, 1, NULL);
  named(stated(0, "text_sha256", json_string(NO_HASH), 1), PROOF_TEXT, 1, NULL);
  named(stated(0, "version", json_integer(1), 2), PROOF_SIGNER, 1, NULL); /* signed by another */
  named(stated(0, "version", json_integer(1), 3), PROOF_KEY, 1, NULL);    /* by nobody here */

  proof = proof_make_open(3); /* the first amends itself */
  json_object_set_new(statement(proof, 0), "amends", json_integer(1));
  json_object_set_new(statement(proof, 0), "reason", json_string("x"));
  proof_make_sign(proof, 0, 1);
  named(proof, PROOF_AMENDS, 1, NULL);

  proof = proof_make_open(3);
  json_object_set_new(json_object_get(row(proof, "records", 1), "record"), "modality", json_string("fundus"));
  named(proof, PROOF_RECORD, 2, record);
  proof = proof_make_open(3);
  json_array_remove(json_object_get(proof, "records"), 1);
  named(proof, PROOF_MISSING, 2, NULL);
  proof = proof_make_open(1);
  json_t *two = proof_make_open(2);
  json_array_append(json_object_get(proof, "records"), row(two, "records", 1));
  named(proof, PROOF_STRANGER, 0, NULL);
  proof = proof_make_open(1);
  json_array_set(json_object_get(proof, "keys"), 0, row(two, "keys", 1));
  named(proof, PROOF_KEY, 1, NULL);
  proof = proof_make_open(2);
  json_array_append_new(json_object_get(proof, "keys"), proof_key(site, site + SIGNATURE_SEED, "10001234567", 1));
  named(proof, PROOF_FORM, 0, NULL); /* more keys than versions */
  proof = proof_make_open(3);
  json_array_append_new(json_object_get(proof, "keys"), proof_key(site, site + SIGNATURE_SEED, "10001234567", 1));
  named(proof, PROOF_STRANGER, 0, NULL);
  json_decref(two);

  static const char *const members[] = {"since", "rpps"};
  static const char *const values[] = {"2026-03-29T02:59:58.123457+02:00", "10001234568"};
  for (size_t i = 0; i < 2; i++) { /* not what the site certified */
    proof = proof_make_open(3);
    json_object_set_new(row(proof, "keys", 0), members[i], json_string(values[i]));
    if (i == 0)
      named(proof, PROOF_CERTIFICATE, 1, key);
    else
      named(proof, PROOF_SIGNER, 1, NULL);
  }
  proof = proof_make_open(3); /* certified by another site */
  uint8_t other[SIGNATURE_SECRET], secret[SIGNATURE_SECRET];
  proof_make_secret(9, other);
  proof_make_secret(1, secret);
  json_array_set_new(json_object_get(proof, "keys"), 0,
                     proof_key(other, secret + SIGNATURE_SEED, "10001234567", PROOF_FIRST_US));
  named(proof, PROOF_CERTIFICATE, 1, key);

  proof = proof_make(3); /* what nobody but the site signed */
  json_object_set_new(row(proof, "records", 0), "capture_sha256", json_string(NO_HASH));
  struct proof_check c;
  assert_int_equal(verify(proof, &c), -EBADMSG);
  assert_int_equal(c.fault, PROOF_SEAL);
  assert_int_equal(c.version, 0);
  assert_int_equal(c.n, 3);
  json_decref(proof);
}

/* Another hand makes all of it anew: only who knows the site's key sees that. */
TEST(forged) {
  uint8_t other[SIGNATURE_SECRET], secret[SIGNATURE_SECRET];
  _json_cleanup_ json_t *proof = proof_make_open(1);
  struct proof_check c;
  proof_make_secret(9, other);
  proof_make_secret(7, secret);
  json_object_set_new(statement(proof, 0), "conclusion", json_string("normal"));
  proof_make_sign(proof, 0, 7);
  json_array_set_new(json_object_get(proof, "keys"), 0,
                     proof_key(other, secret + SIGNATURE_SEED, "10001234567", PROOF_FIRST_US));
  assert_int_equal(proof_seal(proof, other), 0);
  assert_int_equal(proof_verify(proof, NULL, &c), 0);
  assert_int_equal(proof_verify(proof, site + SIGNATURE_SEED, &c), -EBADMSG);
  assert_int_equal(c.fault, PROOF_SITE);
}

TEST(forms) {
  static const char *const rows[] = {"{}", "{\"interpretations\":[]}",
                                     "{\"act\":1,\"interpretations\":1,\"keys\":1,\"records\":1,\"seal\":1,"
                                     "\"site_public_key\":1,\"study\":1}",
                                     "{\"act\":\"ecg\",\"interpretations\":[],\"keys\":[],\"records\":[],\"seal\":\"\","
                                     "\"site_public_key\":\"\",\"study\":\"S-1\"}"};
  struct proof_check c;
  for (size_t i = 0; i < COUNT(rows); i++) {
    _json_cleanup_ json_t *j = json_loads(rows[i], 0, NULL);
    assert_int_equal(verify(j, &c), -EBADMSG);
    assert_int_equal(c.fault, PROOF_FORM);
    assert_int_equal(c.version, 0);
    assert_int_equal(c.n, 0);
  }
  _json_cleanup_ json_t *list = json_array();
  assert_int_equal(verify(list, &c), -EBADMSG);
  assert_int_equal(verify(NULL, &c), -EBADMSG);
  json_t *proof = proof_make_open(1); /* more than there can be */
  for (size_t i = 0; i < PROOF_VERSIONS_MAX; i++)
    json_array_append(json_object_get(proof, "interpretations"), interpretation(proof, 0));
  named(proof, PROOF_FORM, 0, NULL);
  proof = proof_make_open(1);
  for (size_t i = 0; i < PROOF_RECORDS_MAX; i++)
    json_array_append(json_object_get(proof, "records"), row(proof, "records", 0));
  named(proof, PROOF_FORM, 0, NULL);
  proof = proof_make_open(1);
  json_object_set_new(proof, "study", json_string("S-012"));
  named(proof, PROOF_FORM, 0, NULL);
}

/* ---- mutations --------------------------------------------------------------------------------------------------- */

/* What only the site answers for becomes what it was. */
static void normalise(json_t *proof, const json_t *whole) {
  static const struct {
    const char *list, *member;
  } rows[] = {{"records", "id"}, {"records", "capture_sha256"}, {"interpretations", "withdrawn"}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    size_t k;
    json_t *item;
    json_array_foreach(json_object_get(proof, rows[i].list), k, item) {
      json_object_set(item, rows[i].member,
                      json_object_get(json_array_get(json_object_get(whole, rows[i].list), k), rows[i].member));
    }
  }
  if (json_equal(row(proof, "keys", 0), row((json_t *)whole, "keys", 1))) { /* their order says nothing */
    json_t *keys = json_object_get(proof, "keys");
    json_array_append(keys, json_array_get(keys, 0));
    json_array_remove(keys, 0);
  }
  json_t *xs = json_object_get(proof, "interpretations"); /* nor does anybody else say that nothing came after */
  if (json_array_size(xs) == 2)
    json_array_append(xs, row((json_t *)whole, "interpretations", 2));
  json_object_set(proof, "seal", json_object_get(whole, "seal"));
}

/* A proof that was changed: refused, or the same after all; also when the site seals it again, less what only the site
 * answers for. */
static void refused(json_t *proof, const json_t *whole, const char *what) {
  if (verify(proof, NULL) == 0 && !json_equal(proof, whole))
    fail_msg("accepted: %s", what);
  if (!json_is_object(proof))
    return;
  assert_int_equal(proof_seal(proof, site), 0);
  if (verify(proof, NULL) < 0)
    return;
  normalise(proof, whole);
  if (!json_equal(proof, whole))
    fail_msg("accepted when sealed again: %s", what);
}

TEST(bits) {
  _json_cleanup_ json_t *whole = proof_make(2);
  size_t n, read = 0;
  char *text = json_canonical(whole, &n), reason[256], what[64];
  for (size_t bit = 0; bit < 8 * n; bit++) {
    json_t *proof = NULL;
    text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
    if (json_read(text, n, &proof, reason) == 0) {
      snprintf(what, sizeof what, "%.20s", text + bit / 8);
      refused(proof, whole, what);
      read++;
    }
    json_decref(proof);
    text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
  }
  free(text);
  assert_true(read > n); /* else little was tried */
}

struct path {
  size_t at[JSON_DEPTH_MAX], depth;
};

/* The container at a path of places. */
static json_t *go(json_t *value, const struct path *p) {
  for (size_t d = 0; d < p->depth; d++) {
    size_t i = p->at[d];
    if (json_is_array(value)) {
      value = json_array_get(value, i);
      continue;
    }
    void *it = json_object_iter(value);
    while (i--)
      it = json_object_iter_next(value, it);
    value = json_object_iter_value(it);
  }
  return value;
}

static size_t size(const json_t *value) {
  return json_is_array(value) ? json_array_size(value) : json_object_size(value);
}

static json_t *get(json_t *container, size_t i) {
  return go(container, &(struct path){.at = {i}, .depth = 1});
}

static void put(json_t *container, size_t i, json_t *value) {
  if (json_is_array(container)) {
    json_array_set_new(container, i, value);
    return;
  }
  void *it = json_object_iter(container);
  while (i--)
    it = json_object_iter_next(container, it);
  json_object_iter_set_new(container, it, value);
}

static void drop(json_t *container, size_t i) {
  if (json_is_array(container)) {
    json_array_remove(container, i);
    return;
  }
  void *it = json_object_iter(container);
  while (i--)
    it = json_object_iter_next(container, it);
  json_object_del(container, json_object_iter_key(it));
}

/* One more of it, under another name where there are names. */
static void twice(json_t *container, size_t i) {
  if (json_is_array(container))
    json_array_insert(container, i, get(container, i));
  else
    json_object_set(container, "twice", get(container, i));
}

static json_t *other_value(unsigned kind) {
  switch (kind) {
  case 0:
    return json_null();
  case 1:
    return json_integer(2);
  case 2:
    return json_string("");
  case 3:
    return json_string("a\nb");
  case 4:
    return json_array();
  case 5:
    return json_object();
  default:
    return json_true();
  }
}

static size_t mutate(json_t *whole, struct path *p) {
  json_t *here = go(whole, p);
  size_t made = 0;
  const size_t n = json_is_array(here) || json_is_object(here) ? size(here) : 0;
  for (size_t i = 0; i < n; i++) {
    for (size_t kind = 0; kind < 2 + 7 + i; kind++) {
      char what[64];
      json_t *proof = json_deep_copy(whole), *c = go(proof, p);
      snprintf(what, sizeof what, "depth %zu, member %zu, kind %zu", p->depth, i, kind);
      if (kind == 0) {
        drop(c, i);
      } else if (kind == 1) {
        twice(c, i);
      } else if (kind < 9) {
        put(c, i, other_value((unsigned)kind - 2));
      } else {
        json_t *a = json_deep_copy(get(c, i)), *b = json_deep_copy(get(c, kind - 9));
        put(c, i, b);
        put(c, kind - 9, a);
      }
      refused(proof, whole, what);
      json_decref(proof);
      made++;
    }
    p->at[p->depth++] = i;
    made += mutate(whole, p);
    p->depth--;
  }
  return made;
}

TEST(members) {
  _json_cleanup_ json_t *whole = proof_make(3);
  struct path p = {0};
  assert_true(mutate(whole, &p) > 2000);
}

TEST(no_memory) {
  if (!fail_alloc_works())
    skip();
  _json_cleanup_ json_t *proof = proof_make(2), *open = proof_make_open(2);
  const struct proof_check before = {.fault = (enum proof_fault)77};
  for (size_t nth = 1;; nth++) {
    struct proof_check c = before;
    long live = fail_alloc_live();
    fail_alloc_set(nth, false);
    int r = proof_verify(proof, NULL, &c);
    bool hit = fail_alloc_hit();
    fail_alloc_set(0, false);
    assert_int_equal(r, hit ? -ENOMEM : 0);
    assert_int_equal(fail_alloc_live(), live);
    if (!hit)
      break;
    assert_memory_equal(&c, &before, sizeof c);
  }
  _json_cleanup_ json_t *whole = facts_statement(as_it_is, NULL);
  for (size_t nth = 1;; nth++) {
    long live = fail_alloc_live();
    fail_alloc_set(nth, false);
    json_t *s = facts_statement(as_it_is, NULL);
    bool hit = fail_alloc_hit();
    fail_alloc_set(0, false);
    assert_int_equal(s == NULL, hit);
    assert_true(!s || json_equal(s, whole));
    json_decref(s);
    assert_int_equal(fail_alloc_live(), live);
    if (!hit)
      break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(holds),  cmocka_unit_test(statement_text), cmocka_unit_test(facts),
      cmocka_unit_test(faults), cmocka_unit_test(forged),         cmocka_unit_test(forms),
      cmocka_unit_test(bits),   cmocka_unit_test(members),        cmocka_unit_test(no_memory),
  };
  setenv("TZ", "Europe/Paris", 1);
  if (hash_open())
    return 1;
  proof_make_secret(0, site);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
