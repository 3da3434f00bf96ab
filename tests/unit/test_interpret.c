/* What readers do with a study: sign, amend, return, refer, keep drafts; and the proof that anybody can check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "practice_bed.h"

#include "attach.h"
#include "findings.h"
#include "notice.h"
#include "proof.h"

typedef char token[CLAIM_DIGITS + 1];

static enum problem claim(struct store_bed *b, const struct caller *c, int64_t id, token ret) {
  struct study y = study(b, id);
  return ACT(b, study_claim(b->store, c, &practice, &y, ret));
}

/* An ECG that martin has claimed. */
static int64_t claimed(struct store_bed *b, token ret) {
  int64_t id = practice_queued(b, "P1");
  assert_int_equal(claim(b, &martin, id, ret), P_OK);
  return id;
}

static enum problem sign(struct store_bed *b, const struct caller *c, int64_t id, const char *t) {
  struct study y = study(b, id);
  return ACT(b, practice_sign(b, c, &y, t, "normal"));
}

/* An ECG that martin has signed. */
static int64_t signed_one(struct store_bed *b) {
  token t;
  int64_t id = claimed(b, t);
  assert_int_equal(sign(b, &martin, id, t), P_OK);
  return id;
}

static enum problem amend(struct store_bed *b, const struct caller *c, int64_t id, int64_t version,
                          const char *rhythm) {
  struct study y = study(b, id);
  const char *field = NULL;
  _json_cleanup_ json_t *findings = json_pack("{s:s}", "rhythm", rhythm);
  const struct conclusion x = {.conclusion = "abnormal", .findings = findings, .text = "Relu."};
  return ACT(b, interpret_amend(b->store, c, &y, version, "relecture", practice_shown(b, &y, NULL), &x, NULL, &field));
}

/* What can change: a number for all rows of all that an interpretation touches. */
static int64_t rows(struct store_bed *b) {
  return bed_int(b, "SELECT (SELECT count(*) FROM interpretation) + 100 * (SELECT count(*) FROM signing_key) + 10000 *"
                    " (SELECT count(*) FROM audit) + 10000000 * (SELECT count(*) FROM change) + 10000000000 *"
                    " (SELECT count(*) + sum(version) FROM study) + 10000000000000 * (SELECT count(*) FROM draft) +"
                    " 100000000000000 * (SELECT count(*) FROM study_return) + 1000000000000000 *"
                    " (SELECT count(*) FROM notice)");
}

/* ---- the proof of a study ---- */

static json_t *proof_of(struct store_bed *b, int64_t id) {
  json_t *proof = NULL;
  char reason[256];
  const struct study y = study(b, id);
  assert_int_equal(interpret_proof(b->store, b->artefacts, &y, &proof), P_OK);
  /* As a file, which is read again. */
  size_t n;
  char *text = json_canonical(proof, &n);
  json_decref(proof);
  assert_int_equal(json_read(text, n, &proof, reason), 0);
  free(text);
  return proof;
}

/* What is wrong with it, and of which version: 0 of the whole. */
static enum proof_fault fault_of(struct store_bed *b, int64_t id, int64_t *ret_version) {
  struct proof_check check = {.fault = PROOF_FORM};
  _json_cleanup_ json_t *proof = proof_of(b, id);
  int r = proof_verify(proof, store_site_key(b->store)->public, &check);
  assert_int_equal(r, check.fault == PROOF_HOLDS ? 0 : -EBADMSG);
  if (ret_version)
    *ret_version = check.version;
  return check.fault;
}

static void holds(struct store_bed *b, int64_t id) {
  int64_t version;
  enum proof_fault fault = fault_of(b, id, &version);
  if (fault != PROOF_HOLDS)
    fail_msg("S-%lld: %s of version %lld", (long long)id, proof_fault_code(fault), (long long)version);
}

/* ---- signing ---- */

/* The signature names exactly the records that stood, oldest first, and all else that the reader saw and said. */
static void test_sign_binds(void **state) {
  struct store_bed *b = *state;
  token t;
  char hash[HASH_TEXT];
  const char *field;
  practice_admit(b, "P1");
  int64_t id = practice_order(b, "P1", "ecg");
  practice_acquire(b, id, true);
  struct study y = study(b, id);
  assert_int_equal(ACT(b, study_repeat(b->store, &ines, &y, "again")), P_OK);
  practice_acquire(b, id, true);
  practice_acquire(b, id, true);
  y = study(b, id);
  assert_int_equal(ACT(b, study_accept(b->store, &ines, &practice, &y, false, NULL)), P_OK);
  assert_int_equal(claim(b, &logiciel_martin, id, t), P_OK);
  y = study(b, id);
  _json_cleanup_ json_t *findings = json_pack("{s:s, s:[s]}", "rhythm", "sinus", "signs", "rbbb");
  _json_cleanup_ json_t *aids = json_pack("{s:s}", "z", "1");
  const struct conclusion x = {.conclusion = "abnormal", .findings = findings, .text = "Bloc droit.\nÀ suivre."};
  assert_int_equal(
      ACT(b, interpret_sign(b->store, &logiciel_martin, &y, t, practice_shown(b, &y, aids), &x, aids, &field)), P_OK);
  assert_int_equal(y.state, INTERPRETED);
  struct rows r =
      store_query(b->store,
                  "SELECT i.statement, i.covers, i.signature, i.key, i.by, i.conclusion, i.text, i.findings,"
                  " i.aids, i.patient_version, i.version, (SELECT sha256 FROM record WHERE id = 2),"
                  " (SELECT sha256 FROM record WHERE id = 3), k.rpps FROM interpretation i JOIN signing_key"
                  " k ON k.public = i.key",
                  "");
  assert_true(rows_next(&r));
  _json_cleanup_ json_t *statement = json_loads(rows_text(&r, 0), 0, NULL);
  const json_t *records = json_object_get(statement, "records"), *signer = json_object_get(statement, "signer");
  assert_int_equal(json_array_size(records), 2);
  assert_string_equal(json_string_value(json_array_get(records, 0)), rows_text(&r, 11));
  assert_string_equal(json_string_value(json_array_get(records, 1)), rows_text(&r, 12));
  hash_sha256_text(rows_text(&r, 0), strlen(rows_text(&r, 0)), hash);
  assert_string_equal(rows_text(&r, 1), hash);
  size_t n, m;
  const void *signature = rows_blob(&r, 2, &n), *key = rows_blob(&r, 3, &m);
  assert_int_equal(n, SIGNATURE_BYTES);
  assert_int_equal(m, SIGNATURE_PUBLIC);
  assert_true(signature_holds(key, rows_text(&r, 0), strlen(rows_text(&r, 0)), signature));
  assert_string_equal(rows_text(&r, 4), "martin");
  assert_string_equal(rows_text(&r, 5), "abnormal");
  assert_string_equal(rows_text(&r, 6), x.text);
  assert_string_equal(rows_text(&r, 7), "{\"rhythm\":\"sinus\",\"signs\":[\"rbbb\"]}");
  assert_string_equal(rows_text(&r, 8), "{\"z\":\"1\"}");
  assert_int_equal(rows_int(&r, 9), 1);
  assert_int_equal(rows_int(&r, 10), 1);
  assert_string_equal(rows_text(&r, 13), MARTIN);
  static const struct {
    const char *member, *text;
  } said[] = {{"account", "martin"}, {"family", "Martin"}, {"given", "Camille"},
              {"role", "gp"},        {"rpps", MARTIN},     {"through", "logiciel"}};
  for (size_t i = 0; i < COUNT(said); i++)
    assert_string_equal(json_text(signer, said[i].member), said[i].text);
  static const char traits[] = "{\"birth_date\":\"1950-01-01\",\"family\":\"Lefèvre\",\"given\":\"Zoé\",\"ins\":\"\","
                               "\"sex\":\"F\"}";
  hash_sha256_text(traits, sizeof traits - 1, hash);
  assert_string_equal(json_text(json_object_get(statement, "patient"), "sha256"), hash);
  assert_string_equal(json_text(statement, "conclusion"), "abnormal");
  assert_string_equal(json_text(statement, "study"), "S-1");
  assert_true(json_is_null(json_object_get(statement, "amends")));
  assert_false(rows_next(&r));
  assert_int_equal(rows_finish(&r), 0);
  holds(b, id);
}

/* Refused, and nothing is other than before: the claim holds, the draft is there, the right words are taken. */
static void test_sign_refused(void **state) {
  struct store_bed *b = *state;
  token t, other;
  int64_t version;
  practice_admit(b, "P1");
  int64_t id = claimed(b, t), id2 = claimed(b, other);
  struct study y = study(b, id);
  assert_int_equal(ACT(b, interpret_draft_save(b->store, &martin, &y, 0, "{\"text\":\"x\"}", &version)), P_OK);
  static const struct caller unregistered = {.name = "martin", .role = ROLE_GP},
                             unknown = {.name = "martin", .role = ROLE_GP, .rpps = NOBODY};
  const struct {
    const struct caller *who;
    const char *token, *conclusion, *findings;
    enum problem p;
    const char *field;
  } cases[] = {
      {&martin, other, "normal", "{\"rhythm\":\"sinus\"}", P_stale_token, NULL},
      {&martin, "", "normal", "{\"rhythm\":\"sinus\"}", P_stale_token, NULL},
      {&durand, t, "normal", "{\"rhythm\":\"sinus\"}", P_stale_token, NULL},
      {&olga, t, "normal", "{\"rhythm\":\"sinus\"}", P_wrong_reader, NULL},
      {&ines, t, "normal", "{\"rhythm\":\"sinus\"}", P_forbidden, NULL},
      {&adele, t, "normal", "{\"rhythm\":\"sinus\"}", P_forbidden, NULL},
      {&aude, t, "normal", "{\"rhythm\":\"sinus\"}", P_forbidden, NULL},
      {&logiciel, t, "normal", "{\"rhythm\":\"sinus\"}", P_forbidden, NULL},
      {&unregistered, t, "normal", "{\"rhythm\":\"sinus\"}", P_professional_unknown, NULL},
      {&unknown, t, "normal", "{\"rhythm\":\"sinus\"}", P_professional_unknown, NULL},
      {&martin, t, "perhaps", "{\"rhythm\":\"sinus\"}", P_invalid_field, "conclusion"},
      {&martin, t, "normal", NULL, P_invalid_field, "rhythm"},
      {&martin, t, "normal", "{}", P_invalid_field, "rhythm"},
      {&martin, t, "normal", "{\"rhythm\":\"waltz\"}", P_invalid_field, "rhythm"},
      {&martin, t, "normal", "{\"rhythm\":\"atrial_fibrillation\"}", P_invalid_field, "rhythm"},
      {&martin, t, "normal", "{\"rhythm\":\"sinus\",\"pattern\":\"normal\"}", P_invalid_field, "pattern"},
      {&martin, t, "abnormal", "{\"rhythm\":\"sinus\",\"signs\":[\"rbbb\",\"rbbb\"]}", P_invalid_field, "signs"},
  };
  const int64_t before = rows(b);
  for (size_t i = 0; i < COUNT(cases); i++) {
    const char *field = NULL;
    _json_cleanup_ json_t *findings = cases[i].findings ? json_loads(cases[i].findings, 0, NULL) : NULL;
    const struct conclusion x = {.conclusion = cases[i].conclusion, .findings = findings, .text = "t"};
    y = study(b, id);
    enum problem p = ACT(
        b, interpret_sign(b->store, cases[i].who, &y, cases[i].token, practice_shown(b, &y, NULL), &x, NULL, &field));
    if (p != cases[i].p)
      fail_msg("case %zu: %s", i, problem_code(p));
    if (cases[i].field)
      assert_string_equal(field, cases[i].field);
    assert_int_equal(rows(b), before);
  }
  /* Out of time, though nobody has looked yet. */
  clock_forward(31 * 60);
  assert_int_equal(sign(b, &martin, id, t), P_stale_token);
  assert_int_equal(rows(b), before);
  clock_forward(-31 * 60);
  assert_int_equal(sign(b, &martin, id, t), P_OK);
  assert_int_equal(sign(b, &martin, id, t), P_stale_token);
  assert_int_equal(sign(b, &martin, id2, other), P_OK);
  practice_is_whole(b);
}

/* What cannot be read takes no findings. */
static void test_uninterpretable(void **state) {
  struct store_bed *b = *state;
  token t;
  const char *field;
  practice_admit(b, "P1");
  int64_t id = claimed(b, t);
  struct study y = study(b, id);
  const struct conclusion x = {.conclusion = "uninterpretable", .text = ""};
  assert_int_equal(ACT(b, interpret_sign(b->store, &martin, &y, t, practice_shown(b, &y, NULL), &x, NULL, &field)),
                   P_OK);
  holds(b, id);
}

/* What changed between the reading and the signature is read again: who the patient is, the aids; not that somebody
 * called it urgent. */
static void test_stale(void **state) {
  struct store_bed *b = *state;
  token t;
  char read[HASH_TEXT];
  const char *field;
  practice_admit(b, "P1");
  int64_t id = claimed(b, t), notice;
  struct study y = study(b, id);
  _json_cleanup_ json_t *findings = json_pack("{s:s}", "rhythm", "sinus"), *aids = json_pack("{s:s}", "z", "-2.1");
  const struct conclusion x = {.conclusion = "normal", .findings = findings, .text = "t"};
  str_copy(read, sizeof read, practice_shown(b, &y, NULL));
  const int64_t before = rows(b);
  assert_int_equal(ACT(b, interpret_sign(b->store, &martin, &y, t, read, &x, aids, &field)), P_precondition_failed);
  y = study(b, id);
  assert_int_equal(ACT(b, interpret_sign(b->store, &martin, &y, t, "", &x, NULL, &field)), P_precondition_failed);
  assert_int_equal(rows(b), before);
  struct patient p;
  struct actor by = caller_actor(&ines);
  bool created;
  assert_int_equal(patient_find(b->store, "P1", &p), P_OK);
  str_copy(p.birth_date, sizeof p.birth_date, "1949-01-31");
  assert_int_equal(ACT(b, patient_put(b->store, &by, &p, 1, &created)), P_OK);
  y = study(b, id);
  assert_int_equal(ACT(b, interpret_sign(b->store, &martin, &y, t, read, &x, NULL, &field)), P_precondition_failed);
  assert_int_equal(study(b, id).state, INTERPRETING);
  str_copy(read, sizeof read, practice_shown(b, &y, NULL));
  y = study(b, id);
  assert_int_equal(ACT(b, notice_page(b->store, &ines, &y, NULL, &notice)), P_OK);
  assert_int_equal(ACT(b, interpret_sign(b->store, &martin, &y, t, read, &x, NULL, &field)), P_OK);
  /* A version that corrects covers what is there now, and so is read again. */
  assert_int_equal(ACT(b, interpret_amend(b->store, &martin, &y, 1, "relecture", "", &x, NULL, &field)),
                   P_precondition_failed);
  holds(b, id);
}

/* ---- keys ---- */

static void test_keys(void **state) {
  struct store_bed *b = *state;
  practice_admit(b, "P1");
  int64_t one = signed_one(b);
  holds(b, one); /* the first that a key signs, too */
  int64_t two = signed_one(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM signing_key"), 1); /* made once */
  assert_int_equal(amend(b, &durand, one, 1, "other"), P_OK);
  assert_int_equal(amend(b, &martin, one, 2, "other"), P_OK);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM signing_key"), 2);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'key.made'"), 2);
  assert_int_equal(bed_int(b, "SELECT count(DISTINCT key) FROM interpretation"), 2);
  holds(b, one);
  holds(b, two);
  _json_cleanup_ json_t *proof = proof_of(b, one);
  assert_int_equal(json_array_size(json_object_get(proof, "keys")), 2);
  assert_int_equal(json_array_size(json_object_get(proof, "interpretations")), 3);
  assert_int_equal(json_array_size(json_object_get(proof, "records")), 1);
}

/* The clock goes back behind the day on which a key was made: that key would have signed before it was there. */
static void test_keys_clock(void **state) {
  struct store_bed *b = *state;
  practice_admit(b, "P1");
  clock_set("2031-01-01T12:00:00Z");
  int64_t ahead = signed_one(b);
  clock_set("2026-03-10T12:00:00Z");
  int64_t then = signed_one(b), again = signed_one(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM signing_key WHERE rpps = '" MARTIN "'"), 2);
  clock_set("2026-03-09T12:00:00Z");
  int64_t back = signed_one(b);
  clock_set("2032-01-01T12:00:00Z");
  int64_t later = signed_one(b);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM signing_key"), 3);
  const int64_t all[] = {ahead, then, again, back, later};
  for (size_t i = 0; i < COUNT(all); i++)
    holds(b, all[i]);
}

/* A secret of martin's that cannot be his signs nothing. */
static void test_keys_refused(void **state) {
  struct store_bed *b = *state;
  token t;
  uint8_t public[4][SIGNATURE_PUBLIC], secret[4][SIGNATURE_SECRET], wrapped[SIGNATURE_WRAPPED];
  static const uint8_t other_key[SIGNATURE_WRAP_KEY] = {1};
  practice_admit(b, "P1");
  int64_t id = claimed(b, t);
  for (int i = 0; i < 4; i++) {
    size_t n = sizeof wrapped;
    signature_key(public[i], secret[i]);
    if (i == 0) /* under another key than the site's */
      signature_wrap(other_key, secret[i], wrapped);
    if (i == 1) { /* changed */
      signature_wrap(store_site_key(b->store)->wrap, secret[i], wrapped);
      wrapped[40] ^= 1;
    }
    if (i == 2) /* another's, beside this public key */
      signature_wrap(store_site_key(b->store)->wrap, secret[0], wrapped);
    if (i == 3) { /* cut short */
      signature_wrap(store_site_key(b->store)->wrap, secret[i], wrapped);
      n--;
    }
    bed_begin(b);
    assert_int_equal(store_run(b->store, "INSERT INTO signing_key VALUES(?,?,?,?)", "btbi", public[i], sizeof public[i],
                               MARTIN, wrapped, n, wall_now().us - 10 + i),
                     1);
    bed_keep(b);
    const int64_t before = rows(b);
    assert_int_equal(sign(b, &martin, id, t), P_artefact_corrupt);
    assert_int_equal(rows(b), before);
  }
}

/* ---- versions ---- */

static void test_amend(void **state) {
  struct store_bed *b = *state;
  token t;
  const char *field = NULL;
  practice_admit(b, "P1");
  int64_t id = claimed(b, t);
  assert_int_equal(amend(b, &martin, id, 1, "other"), P_wrong_state);
  assert_int_equal(sign(b, &martin, id, t), P_OK);
  int64_t before = rows(b);
  static const struct {
    const struct caller *who;
    int64_t version;
    enum problem p;
  } cases[] = {{&martin, 0, P_precondition_failed},
               {&martin, 2, P_precondition_failed},
               {&olga, 1, P_wrong_reader},
               {&ines, 1, P_forbidden},
               {&adele, 1, P_forbidden},
               {&logiciel, 1, P_forbidden}};
  for (size_t i = 0; i < COUNT(cases); i++)
    assert_int_equal(amend(b, cases[i].who, id, cases[i].version, "other"), cases[i].p);
  assert_int_equal(amend(b, &martin, id, 1, "waltz"), P_invalid_field);
  assert_int_equal(rows(b), before);
  assert_int_equal(amend(b, &martin, id, 1, "atrial_fibrillation"), P_OK);
  assert_int_equal(amend(b, &martin, id, 1, "other"), P_precondition_failed); /* no longer the newest */
  /* Two who amend the same version: the second reads again. */
  struct study one = study(b, id), two = one;
  _json_cleanup_ json_t *findings = json_pack("{s:s}", "rhythm", "paced");
  const struct conclusion x = {.conclusion = "abnormal", .findings = findings, .text = "t"};
  bed_begin(b);
  assert_int_equal(interpret_amend(b->store, &durand, &one, 2, "a", practice_shown(b, &one, NULL), &x, NULL, &field),
                   P_OK);
  assert_int_equal(store_keep(b->store), 0);
  assert_int_equal(
      ACT(b, interpret_amend(b->store, &martin, &two, 2, "b", practice_shown(b, &two, NULL), &x, NULL, &field)),
      P_precondition_failed);
  assert_int_equal(
      ACT(b, interpret_amend(b->store, &martin, &two, 3, "b", practice_shown(b, &two, NULL), &x, NULL, &field)),
      P_precondition_failed);
  assert_int_equal(study(b, id).state, INTERPRETED);
  holds(b, id);
  /* The newest is what stands; each says why it was made. */
  json_t *list, *now;
  struct view all = view_of(ROLE_GP);
  assert_int_equal(interpret_json(b->store, id, &all, &now), 0);
  assert_int_equal(json_integer_value(json_object_get(now, "version")), 3);
  assert_string_equal(json_text(now, "by"), "durand");
  assert_string_equal(json_text(json_object_get(now, "findings"), "rhythm"), "paced");
  json_decref(now);
  assert_int_equal(interpret_versions(b->store, id, &list), 0);
  static const struct {
    const char *by, *conclusion, *reason;
  } versions[] = {{"martin", "normal", NULL}, {"martin", "abnormal", "relecture"}, {"durand", "abnormal", "a"}};
  assert_int_equal(json_array_size(list), COUNT(versions));
  for (size_t i = 0; i < COUNT(versions); i++) {
    const json_t *v = json_array_get(list, i);
    assert_int_equal(json_integer_value(json_object_get(v, "version")), (json_int_t)i + 1);
    assert_string_equal(json_text(v, "by"), versions[i].by);
    assert_string_equal(json_text(v, "conclusion"), versions[i].conclusion);
    assert_int_equal(json_is_null(json_object_get(v, "reason")), !versions[i].reason);
    if (versions[i].reason)
      assert_string_equal(json_text(v, "reason"), versions[i].reason);
    assert_true(json_is_null(json_object_get(v, "withdrawn")));
  }
  json_decref(list);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'study.amend'"), 2);
}

/* The recording was another patient's: what was signed of it no longer counts, and what is signed next amends nothing.
 */
static void test_withdrawn(void **state) {
  struct store_bed *b = *state;
  token t;
  struct study to;
  json_t *now, *list;
  struct view all = view_of(ROLE_GP);
  practice_admit(b, "P1");
  practice_patient(b, "P2", "1960-02-02", "M");
  practice_follow(b, "P2", "tous");
  int64_t id = signed_one(b), record = 1;
  assert_int_equal(amend(b, &martin, id, 1, "other"), P_OK);
  int64_t target = practice_order(b, "P2", "ecg");
  struct study from = study(b, id);
  const struct attach at = {.conf = &practice,
                            .caller = &martin,
                            .order = study(b, target).order,
                            .birth_date = "1960-02-02",
                            .reason = "erreur"};
  assert_int_equal(ACT(b, attach_reassign(b->store, b->artefacts, &from, &record, 1, &at, &to)), P_OK);
  assert_int_equal(from.state, ORDERED);
  assert_int_equal(interpret_json(b->store, id, &all, &now), 0);
  assert_null(now);
  holds(b, id); /* what was signed was signed */
  assert_int_equal(amend(b, &martin, id, 2, "other"), P_wrong_state);
  practice_acquire(b, id, true);
  struct study y = study(b, id);
  assert_int_equal(ACT(b, study_accept(b->store, &ines, &practice, &y, false, NULL)), P_OK);
  assert_int_equal(claim(b, &martin, id, t), P_OK);
  assert_int_equal(sign(b, &martin, id, t), P_OK);
  holds(b, id);
  assert_int_equal(interpret_json(b->store, id, &all, &now), 0);
  assert_int_equal(json_integer_value(json_object_get(now, "version")), 3);
  json_decref(now);
  assert_int_equal(amend(b, &martin, id, 2, "other"), P_precondition_failed);
  assert_int_equal(amend(b, &martin, id, 3, "other"), P_OK);
  holds(b, id);
  assert_int_equal(interpret_versions(b->store, id, &list), 0);
  for (size_t i = 0; i < 4; i++) {
    const json_t *withdrawn = json_object_get(json_array_get(list, i), "withdrawn");
    if (i < 2)
      assert_string_equal(json_text(withdrawn, "reason"), "erreur");
    else
      assert_true(json_is_null(withdrawn));
  }
  json_decref(list);
  _json_cleanup_ json_t *proof = proof_of(b, id); /* with both recordings: each version is about its own */
  assert_int_equal(json_array_size(json_object_get(proof, "records")), 2);
}

/* What is shown of it, by what the view gets. */
static void test_shown(void **state) {
  struct store_bed *b = *state;
  practice_admit(b, "P1");
  int64_t id = signed_one(b);
  static const char conclusion[] = "conclusion id signed version",
                    report[] = "by conclusion covers_sha256 findings id patient_version reason signed text version";
  static const struct {
    struct view view;
    const char *members;
  } of[] = {{{ROLE_NURSE, CONF_SEES_ACQUIRED, CONF_SEES_NOTHING, true}, NULL},
            {{ROLE_NURSE, CONF_SEES_ACQUIRED, CONF_SEES_CONCLUSION, true}, conclusion},
            {{ROLE_NURSE, CONF_SEES_QUALITY, CONF_SEES_REPORT, true}, report},
            {{ROLE_NURSE, CONF_SEES_ACQUIRED, CONF_SEES_REPORT, false}, NULL}, /* to be read again */
            {{ROLE_GP, CONF_SEES_QUALITY, CONF_SEES_NOTHING, true}, report},
            {{ROLE_OPHTHALMOLOGIST, CONF_SEES_QUALITY, CONF_SEES_NOTHING, true}, report},
            {{ROLE_LGC, CONF_SEES_QUALITY, CONF_SEES_NOTHING, true}, report},
            {{ROLE_ADMIN, CONF_SEES_ACQUIRED, CONF_SEES_REPORT, true}, NULL},
            {{ROLE_AUDITOR, CONF_SEES_ACQUIRED, CONF_SEES_REPORT, true}, NULL}};
  for (size_t i = 0; i < COUNT(of); i++) {
    json_t *shown = (json_t *)state;
    assert_int_equal(interpret_json(b->store, id, &of[i].view, &shown), 0);
    assert_int_equal(shown == NULL, of[i].members == NULL);
    if (shown)
      assert_true(json_has_only(shown, of[i].members));
    json_decref(shown);
  }
}

/* ---- the report as it would stand ---- */

static void test_preview(void **state) {
  struct store_bed *b = *state;
  const char *field = NULL;
  json_t *shown = NULL;
  practice_admit(b, "P1");
  const struct study y = study(b, practice_queued(b, "P1"));
  const int64_t before = rows(b);
  _json_cleanup_ json_t *findings = json_pack("{s:s, s:[s]}", "rhythm", "sinus", "signs", "rbbb");
  struct conclusion x = {.conclusion = "abnormal", .findings = findings, .text = "À revoir."};
  assert_int_equal(interpret_preview(b->store, &y, &x, NULL, &field, &shown), P_OK);
  const char *body = json_text(shown, "body");
  assert_non_null(strstr(body, "sinusal"));
  assert_non_null(strstr(body, "bloc de branche droit"));
  assert_non_null(strstr(body, "À revoir."));
  const json_t *covers = json_object_get(shown, "covers");
  assert_string_equal(json_text(covers, "patient"), "P1");
  assert_int_equal(json_array_size(json_object_get(covers, "records")), 1);
  json_decref(shown);
  x.conclusion = "normal";
  shown = NULL;
  assert_int_equal(interpret_preview(b->store, &y, &x, NULL, &field, &shown), P_invalid_field);
  assert_string_equal(field, "signs");
  assert_null(shown);
  assert_int_equal(rows(b), before);
}

/* ---- drafts ---- */

static enum problem save(struct store_bed *b, const struct caller *c, int64_t id, int64_t if_match, const char *text,
                         int64_t version) {
  int64_t got = 0;
  char json[64];
  const struct study y = study(b, id);
  snprintf(json, sizeof json, "{\"text\":\"%s\"}", text);
  enum problem p = ACT(b, interpret_draft_save(b->store, c, &y, if_match, json, &got));
  if (p == P_OK)
    assert_int_equal(got, version);
  return p;
}

static const char *draft(struct store_bed *b, const struct caller *c, int64_t id) {
  static char text[64];
  json_t *found = NULL;
  int64_t version = 0;
  const struct study y = study(b, id);
  enum problem p = interpret_draft(b->store, c, &y, &found, &version);
  assert_true(p == P_OK || p == P_not_found);
  if (p == P_OK) {
    assert_non_null(json_text(found, "saved"));
    snprintf(text, sizeof text, "%s %lld", json_text(found, "text"), (long long)version);
  } else {
    assert_null(found);
    str_copy(text, sizeof text, "none");
  }
  json_decref(found);
  return text;
}

static void test_draft(void **state) {
  struct store_bed *b = *state;
  token t, mine;
  practice_admit(b, "P1");
  int64_t ordered = practice_order(b, "P1", "ecg");
  assert_int_equal(save(b, &martin, ordered, 0, "a", 1), P_wrong_state);
  practice_acquire(b, ordered, true);
  assert_int_equal(save(b, &martin, ordered, 0, "a", 1), P_wrong_state); /* it is not there to be read yet */
  int64_t id = claimed(b, t);
  assert_string_equal(draft(b, &martin, id), "none");
  assert_int_equal(save(b, &martin, id, -1, "a", 1), P_precondition_failed);
  assert_int_equal(save(b, &martin, id, 1, "a", 1), P_precondition_failed);
  assert_int_equal(save(b, &martin, id, 0, "a", 1), P_OK);
  assert_int_equal(save(b, &martin, id, 0, "b", 2), P_precondition_required);
  assert_int_equal(save(b, &martin, id, 2, "b", 2), P_precondition_failed);
  assert_int_equal(save(b, &martin, id, 1, "b", 2), P_OK);
  assert_int_equal(save(b, &martin, id, 1, "c", 2), P_precondition_failed); /* from another window */
  assert_int_equal(save(b, &logiciel_martin, id, -1, "c", 3), P_OK);
  assert_string_equal(draft(b, &martin, id), "c 3");
  assert_string_equal(draft(b, &logiciel_martin, id), "c 3");
  assert_string_equal(draft(b, &durand, id), "none"); /* each has his own */
  assert_int_equal(save(b, &durand, id, 0, "d", 1), P_OK);
  assert_int_equal(save(b, &durand, id, 3, "d", 1), P_precondition_failed);
  /* It outlives the claim, however that ends. */
  struct study y = study(b, id);
  assert_int_equal(ACT(b, study_release(b->store, &martin, &y, t)), P_OK);
  assert_string_equal(draft(b, &martin, id), "c 3");
  assert_int_equal(save(b, &martin, id, 3, "e", 4), P_OK);
  assert_int_equal(claim(b, &martin, id, t), P_OK);
  clock_forward(31 * 60);
  assert_true(worklist_expire(b->store, wall_now().us, NULL, NULL) >= 0);
  assert_int_equal(store_commit(b->store), 0);
  assert_string_equal(draft(b, &martin, id), "e 4");
  assert_int_equal(claim(b, &durand, id, t), P_OK);
  assert_int_equal(save(b, &martin, id, 4, "f", 5), P_OK); /* a colleague reads meanwhile */
  assert_int_equal(sign(b, &durand, id, t), P_OK);
  assert_string_equal(draft(b, &durand, id), "none"); /* it has become the interpretation */
  assert_string_equal(draft(b, &martin, id), "f 5");
  /* And of an amendment. */
  assert_int_equal(save(b, &martin, id, 5, "g", 6), P_OK);
  assert_int_equal(amend(b, &martin, id, 9, "other"), P_precondition_failed);
  assert_string_equal(draft(b, &martin, id), "g 6");
  assert_int_equal(amend(b, &martin, id, 1, "other"), P_OK);
  assert_string_equal(draft(b, &martin, id), "none");
  assert_int_equal(save(b, &martin, id, 0, "h", 1), P_OK);
  /* Of a study that is returned or referred it stays. */
  int64_t other = claimed(b, mine), repeat;
  assert_int_equal(save(b, &martin, other, 0, "i", 1), P_OK);
  y = study(b, other);
  assert_int_equal(ACT(b, interpret_refer(b->store, &martin, &y, mine, "ophthalmologist", "")), P_OK);
  assert_string_equal(draft(b, &martin, other), "i 1");
  assert_int_equal(save(b, &olga, other, 0, "j", 1), P_OK);
  assert_int_equal(claim(b, &olga, other, mine), P_OK);
  y = study(b, other);
  assert_int_equal(ACT(b, interpret_return(b->store, &olga, &y, mine, "110531", "", &repeat)), P_OK);
  assert_string_equal(draft(b, &martin, other), "i 1");
  assert_string_equal(draft(b, &olga, other), "j 1");
  assert_int_equal(save(b, &olga, other, 1, "k", 2), P_wrong_state);
  assert_string_equal(draft(b, &olga, repeat), "none");
  assert_int_equal(bed_int(b, "SELECT count(*) FROM draft"), 3);
  practice_is_whole(b);
}

/* ---- back to the nurse ---- */

static enum problem give_back(struct store_bed *b, const struct caller *c, int64_t id, const char *t, const char *code,
                              int64_t *repeat) {
  struct study y = study(b, id);
  return ACT(b, interpret_return(b->store, c, &y, t, code, "Dérivation V1 illisible.", repeat));
}

static void test_return(void **state) {
  struct store_bed *b = *state;
  token t;
  int64_t repeat = -1, d;
  practice_admit(b, "P1");
  int64_t id = claimed(b, t);
  const int64_t before = rows(b);
  static const char *const codes[] = {"", "110500", "110531 ", "11053", "X", "110526"};
  for (size_t i = 0; i < COUNT(codes); i++)
    assert_int_equal(give_back(b, &martin, id, t, codes[i], &repeat), P_invalid_field);
  assert_int_equal(give_back(b, &martin, id, "00", "110531", &repeat), P_stale_token);
  assert_int_equal(give_back(b, &durand, id, t, "110531", &repeat), P_stale_token);
  assert_int_equal(give_back(b, &olga, id, t, "110531", &repeat), P_wrong_reader);
  assert_int_equal(give_back(b, &ines, id, t, "110531", &repeat), P_forbidden);
  assert_int_equal(repeat, -1);
  assert_int_equal(rows(b), before);
  /* The nurse of the follow-up is told, whoever acquired it: ida, since yesterday. */
  bed_begin(b);
  assert_int_equal(
      store_run(b->store, "INSERT INTO user(name, role, display, created, rpps) VALUES('ida','nurse','',1,'" IDA "')",
                ""),
      1);
  bed_keep(b);
  assert_int_equal(practice_delegate(b, IDA, MARTIN, "tous", "2020-01-01", "2099-12-31", &d), P_OK);
  struct followup f;
  assert_int_equal(followup_find(b->store, 1, &f), P_OK);
  assert_int_equal(ACT(b, followup_transfer(b->store, &martin, &f, MARTIN, IDA, "relais")), P_OK);
  assert_int_equal(give_back(b, &martin, id, t, "110531", &repeat), P_OK);
  struct study y = study(b, id), again = study(b, repeat);
  assert_int_equal(y.state, RETURNED);
  assert_int_equal(y.claim_expires, 0);
  assert_int_equal(again.state, ORDERED);
  assert_int_equal(again.repeats, id);
  assert_int_equal(again.order, y.order);
  assert_int_equal(again.followup, y.followup);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM notice WHERE kind = 'returned' AND study = 1 AND recipient ="
                              " '" IDA "' AND by = 'martin' AND text LIKE 'Qualité insuffisante%'"),
                   1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE detail LIKE '%V1%'"), 0);
  /* It is over: nothing more happens to it. */
  assert_int_equal(claim(b, &martin, id, t), P_wrong_state);
  assert_int_equal(give_back(b, &martin, id, t, "110531", &d), P_stale_token);
  assert_int_equal(amend(b, &martin, id, 1, "other"), P_wrong_state);
  /* The nurse reads the reason's code, and not what the reader wrote. */
  json_t *course;
  const struct view nurse = {ROLE_NURSE, CONF_SEES_ACQUIRED, CONF_SEES_NOTHING, false}, gp = view_of(ROLE_GP);
  assert_int_equal(interpret_course(b->store, id, &nurse, &course), 0);
  const json_t *returned = json_object_get(course, "returned");
  assert_string_equal(json_text(returned, "code"), "110531");
  assert_non_null(strstr(json_text(returned, "label"), "Qualité"));
  assert_string_equal(json_text(returned, "repeat"), "S-2");
  assert_null(json_object_get(returned, "text"));
  json_decref(course);
  assert_int_equal(interpret_course(b->store, id, &gp, &course), 0);
  assert_string_equal(json_text(json_object_get(course, "returned"), "text"), "Dérivation V1 illisible.");
  json_decref(course);
  /* The repetition goes the same way, and may come back too. */
  practice_acquire(b, repeat, true);
  again = study(b, repeat);
  assert_int_equal(ACT(b, study_accept(b->store, &ines, &practice, &again, false, NULL)), P_OK);
  assert_int_equal(claim(b, &martin, repeat, t), P_OK);
  bed_begin(b); /* she has left: every GP is told */
  assert_int_equal(store_run(b->store, "UPDATE user SET disabled = 1 WHERE name = 'ida'", ""), 1);
  bed_keep(b);
  assert_int_equal(give_back(b, &martin, repeat, t, "110513", &d), P_OK);
  assert_int_equal(
      bed_int(b, "SELECT count(*) FROM notice WHERE kind = 'returned' AND study = 2 AND recipient IS NULL"), 1);
  assert_int_equal(study(b, d).repeats, repeat);
  /* Who takes over is told what nobody heard, once; what is for nobody who can hear it is for every GP. */
#define UNHEARD "SELECT count(*) FROM notice WHERE kind = 'returned' AND id NOT IN (SELECT notice FROM notice_end) AND "
  bed_begin(b);
  assert_int_equal(
      store_run(b->store, "INSERT INTO user(name, role, display, created, rpps) VALUES('ines','nurse','',1,'" INES "')",
                ""),
      1);
  bed_keep(b);
  for (int times = 0; times < 2; times++) {
    assert_int_equal(followup_find(b->store, 1, &f), P_OK);
    assert_int_equal(ACT(b, followup_transfer(b->store, &martin, &f, MARTIN, INES, "retour")), P_OK);
    assert_int_equal(bed_int(b, UNHEARD "recipient = '" INES "'"), 2);
    assert_int_equal(followup_find(b->store, 1, &f), P_OK);
    assert_int_equal(ACT(b, followup_transfer(b->store, &martin, &f, MARTIN, IDA, "relais")), P_OK);
    assert_int_equal(bed_int(b, UNHEARD "recipient IS NULL"), 2);
  }
  assert_int_equal(bed_int(b, "SELECT count(*) FROM study WHERE orders = 1"), 3);
  /* Each reason that there is. */
  for (const struct interpret_reason *k = interpret_reasons; k->code; k++) {
    int64_t one = claimed(b, t);
    assert_int_equal(give_back(b, &martin, one, t, k->code, &repeat), P_OK);
  }
  practice_is_whole(b);
}

/* A study from before there were follow-ups has no nurse to tell. */
static void test_return_without(void **state) {
  struct store_bed *b = *state;
  token t;
  int64_t repeat;
  practice_patient(b, "P1", "1950-01-01", "F");
  bed_begin(b);
  assert_int_equal(store_run(b->store, "INSERT INTO orders(patient, act, ordered_by, at) VALUES('P1','ecg','x',1)", ""),
                   1);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO study(orders, state, created, updated, accepted, due) VALUES"
                             "(?,'to_interpret',1,1,1,1)",
                             "i", store_last_id(b->store)),
                   1);
  bed_keep(b);
  assert_int_equal(claim(b, &durand, 1, t), P_OK);
  assert_int_equal(give_back(b, &durand, 1, t, "110523", &repeat), P_OK);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM notice"), 0);
}

/* ---- to another reader ---- */

static enum problem refer(struct store_bed *b, const struct caller *c, int64_t id, const char *t, const char *reader) {
  struct study y = study(b, id);
  return ACT(b, interpret_refer(b->store, c, &y, t, reader, "Votre avis ?"));
}

static void test_refer(void **state) {
  struct store_bed *b = *state;
  token t;
  practice_admit(b, "P1");
  int64_t id = practice_queued(b, "P1"), before = rows(b);
  static const char *const nobody[] = {"", "nurse", "admin", "system", "GP", "gp"};
  for (size_t i = 0; i < COUNT(nobody); i++)
    assert_int_equal(refer(b, &martin, id, NULL, nobody[i]), P_invalid_field);
  static const struct caller *const others[] = {&ines, &olga, &adele, &aude, &logiciel};
  for (size_t i = 0; i < COUNT(others); i++)
    assert_int_equal(refer(b, others[i], id, NULL, "ophthalmologist"), P_forbidden);
  assert_int_equal(refer(b, &martin, id, "00", "ophthalmologist"), P_stale_token);
  assert_int_equal(rows(b), before);
  /* From the queue; then it is hers alone to read, and any GP's to take back. */
  assert_int_equal(refer(b, &martin, id, NULL, "ophthalmologist"), P_OK);
  assert_int_equal(study(b, id).reader, ROLE_OPHTHALMOLOGIST);
  assert_int_equal(claim(b, &martin, id, t), P_wrong_reader);
  assert_int_equal(refer(b, &durand, id, NULL, "gp"), P_OK);
  assert_int_equal(claim(b, &olga, id, t), P_wrong_reader);
  /* With a claim, both ways; the claim ends. */
  assert_int_equal(claim(b, &martin, id, t), P_OK);
  assert_int_equal(refer(b, &durand, id, NULL, "ophthalmologist"), P_stale_token); /* somebody is reading it */
  assert_int_equal(refer(b, &martin, id, NULL, "ophthalmologist"), P_stale_token);
  assert_int_equal(refer(b, &martin, id, t, "ophthalmologist"), P_OK);
  assert_int_equal(study(b, id).state, TO_INTERPRET);
  assert_int_equal(sign(b, &martin, id, t), P_wrong_reader);
  assert_int_equal(claim(b, &olga, id, t), P_OK);
  assert_int_equal(refer(b, &olga, id, NULL, "gp"), P_stale_token);
  assert_int_equal(refer(b, &olga, id, t, "gp"), P_OK);
  assert_int_equal(refer(b, &olga, id, NULL, "gp"), P_invalid_field); /* theirs already */
  assert_int_equal(refer(b, &martin, id, NULL, "ophthalmologist"), P_OK);
  assert_int_equal(claim(b, &olga, id, t), P_OK);
  assert_int_equal(sign(b, &olga, id, t), P_OK);
  holds(b, id);
  assert_int_equal(amend(b, &martin, id, 1, "other"), P_wrong_reader);
  assert_int_equal(amend(b, &olga, id, 1, "other"), P_OK);
  assert_int_equal(refer(b, &martin, id, NULL, "gp"), P_wrong_reader);
  assert_int_equal(study(b, id).state, INTERPRETED);
  /* All of it stays to be read by who gets it. */
  static const char *const readers[] = {"ophthalmologist", "gp", "ophthalmologist", "gp", "ophthalmologist"},
                           *const by[] = {"martin", "durand", "martin", "olga", "martin"};
  json_t *course;
  for (int report = 0; report < 2; report++) {
    const struct view v = {ROLE_NURSE, CONF_SEES_ACQUIRED, report ? CONF_SEES_REPORT : CONF_SEES_CONCLUSION, true};
    assert_int_equal(interpret_course(b->store, id, &v, &course), 0);
    const json_t *list = json_object_get(course, "referrals");
    assert_int_equal(json_array_size(list), report ? COUNT(readers) : 0);
    for (size_t i = 0; i < json_array_size(list); i++) {
      assert_string_equal(json_text(json_array_get(list, i), "reader"), readers[i]);
      assert_string_equal(json_text(json_array_get(list, i), "by"), by[i]);
      assert_non_null(json_text(json_array_get(list, i), "text"));
    }
    assert_true(json_is_null(json_object_get(course, "returned")));
    json_decref(course);
  }
}

/* ---- the proof ---- */

static void test_proof_none(void **state) {
  struct store_bed *b = *state;
  json_t *proof = NULL;
  token t;
  practice_admit(b, "P1");
  const struct study y = study(b, claimed(b, t));
  assert_int_equal(interpret_proof(b->store, b->artefacts, &y, &proof), P_not_signed);
  assert_null(proof);
}

/* Whoever changes a row behind the daemon's back, and takes the rule away that forbids it, is told by the proof: which
 * the site seals as it finds it. */
static void test_proof_changed(void **state) {
  struct store_bed *b = *state;
  static const struct {
    const char *change, *back;
    enum proof_fault fault;
    int64_t version;
  } cases[] = {
      {"UPDATE interpretation SET text = 'Tout va bien.' WHERE version = 1 AND study = 1",
       "UPDATE interpretation SET text = 'Rien à signaler.' WHERE version = 1 AND study = 1", PROOF_TEXT, 1},
      {"UPDATE interpretation SET findings = '{\"rhythm\":\"paced\"}' WHERE version = 2",
       "UPDATE interpretation SET findings = '{\"rhythm\":\"other\"}' WHERE version = 2", PROOF_FINDINGS, 2},
      {"UPDATE interpretation SET aids = '{\"z\":\"2\"}' WHERE study = 1 AND version = 1",
       "UPDATE interpretation SET aids = NULL WHERE study = 1 AND version = 1", PROOF_AIDS, 1},
      {"UPDATE interpretation SET statement = replace(statement, '\"abnormal\"', '\"normal\"') WHERE version = 2",
       "UPDATE interpretation SET statement = replace(statement, '\"normal\"', '\"abnormal\"') WHERE version = 2",
       PROOF_SIGNATURE, 2},
      {"UPDATE interpretation SET statement = replace(statement, 'Martin', 'Durand') WHERE study = 1 AND version = 1",
       "UPDATE interpretation SET statement = replace(statement, 'Durand', 'Martin') WHERE study = 1 AND version = 1",
       PROOF_SIGNATURE, 1},
      {"UPDATE signing_key SET rpps = '" DURAND "' WHERE rpps = '" MARTIN "'",
       "UPDATE signing_key SET rpps = '" MARTIN "' WHERE rpps = '" DURAND "'", PROOF_SIGNER, 1},
      {"UPDATE signing_key SET at = at + 86400000000", "UPDATE signing_key SET at = at - 86400000000", PROOF_SINCE, 1},
      {"UPDATE interpretation SET version = version + 5 WHERE study = 1",
       "UPDATE interpretation SET version = version - 5 WHERE study = 1", PROOF_VERSION, 1},
      {"UPDATE interpretation SET study = 9 WHERE study = 1; UPDATE interpretation SET study = 1 WHERE study = 3",
       "UPDATE interpretation SET study = 3 WHERE study = 1; UPDATE interpretation SET study = 1 WHERE study = 9",
       PROOF_STUDY, 1},
      {"UPDATE record SET study = 2 WHERE id = 1", "UPDATE record SET study = 1 WHERE id = 1", PROOF_MISSING, 1},
  };
  practice_admit(b, "P1");
  int64_t id = signed_one(b);
  assert_int_equal(amend(b, &martin, id, 1, "other"), P_OK);
  assert_int_equal(practice_queued(b, "P1"), 2);
  assert_int_equal(signed_one(b), 3);
  holds(b, id);
  for (size_t i = 0; i < COUNT(cases); i++)
    for (int undo = 0; undo < 2; undo++) {
      int64_t version = -1;
      sqlite3 *db = bed_raw(b);
      raw_exec(db, "DROP TRIGGER IF EXISTS interpretation_keeps; DROP TRIGGER IF EXISTS signing_key_keeps;"
                   "DROP TRIGGER IF EXISTS record_keeps");
      raw_exec(db, undo ? cases[i].back : cases[i].change);
      sqlite3_close(db);
      bed_up(b);
      enum proof_fault fault = fault_of(b, id, &version);
      if (fault != (undo ? PROOF_HOLDS : cases[i].fault))
        fail_msg("case %zu, %d: %s of version %lld", i, undo, proof_fault_code(fault), (long long)version);
      assert_int_equal(version, undo ? 0 : cases[i].version);
    }
}

/* A recording that is damaged or gone is told, and not left out. */
static void test_proof_damaged(void **state) {
  struct store_bed *b = *state;
  char path[512];
  json_t *proof = NULL;
  practice_admit(b, "P1");
  const struct study y = study(b, signed_one(b));
  struct rows r = store_query(b->store, "SELECT sha256 FROM record", "");
  assert_true(rows_next(&r));
  assert_int_equal(artefact_path(b->artefacts, rows_text(&r, 0), path, sizeof path), 0);
  assert_int_equal(rows_finish(&r), 0);
  chmod(path, 0600);
  FILE *f = fopen(path, "re+");
  assert_non_null(f);
  fputc('[', f);
  fclose(f);
  assert_int_equal(interpret_proof(b->store, b->artefacts, &y, &proof), P_artefact_corrupt);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(interpret_proof(b->store, b->artefacts, &y, &proof), P_artefact_corrupt);
  assert_null(proof);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, practice_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(sign_binds), TEST(sign_refused),  TEST(uninterpretable), TEST(stale),          TEST(keys),
      TEST(keys_clock), TEST(keys_refused),  TEST(amend),           TEST(withdrawn),      TEST(shown),
      TEST(preview),    TEST(draft),         TEST(return ),         TEST(return_without), TEST(refer),
      TEST(proof_none), TEST(proof_changed), TEST(proof_damaged),
  };
  return cmocka_run_group_tests_name("interpret", tests, NULL, NULL);
}
