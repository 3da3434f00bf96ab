#include "proof.h"

#include "findings.h"
#include "str.h"
#include "wall.h"
#include <asalee/record.h>
#include <errno.h>
#include <string.h>

#define SCHEMA 1
#define RPPS_DIGITS 11

/* ---- parts ------------------------------------------------------------------------------------------------------ */

static bool is_line(const json_t *value) {
  return json_is_string(value) && json_string_length(value) &&
         str_is_clean_utf8(json_string_value(value), json_string_length(value));
}

static bool is_hash(const json_t *value) {
  return json_is_string(value) && hash_is_text(json_string_value(value));
}

/* 2 n lower-case digits; the bytes into ret unless it is NULL. */
static bool is_hex(const json_t *value, uint8_t *ret, size_t n) {
  const char *text = json_string_value(value);
  return text && strlen(text) == 2 * n && strspn(text, "0123456789abcdef") == 2 * n &&
         (!ret || str_unhex(text, ret, n));
}

static bool is_rpps(const json_t *value) {
  const char *text = json_string_value(value);
  return text && strlen(text) == RPPS_DIGITS && strspn(text, "0123456789") == RPPS_DIGITS;
}

/* A time in the one form that it has. */
static bool is_time(const json_t *value, int64_t *ret_us) {
  const char *text = json_string_value(value);
  char again[WALL_TEXT_MAX];
  struct wall w;
  if (!text || wall_parse(text, &w) < 0)
    return false;
  wall_format(w, again);
  *ret_us = w.us;
  return !strcmp(text, again);
}

/* "S-12" */
static bool is_ref(const json_t *value, char letter, uint64_t *ret) {
  const char *text = json_string_value(value);
  return text && text[0] == letter && text[1] == '-' && text[2] != '0' && str_to_u64(text + 2, 1, INT64_MAX, ret) == 0;
}

static bool is_act(const json_t *value) {
  const char *text = json_string_value(value);
  return text && acq_modality_find(text);
}

static bool is_version(const json_t *value) {
  return json_is_integer(value) && json_integer_value(value) >= 1 && json_integer_value(value) <= PROOF_VERSIONS_MAX;
}

static bool is_hash_list(const json_t *list) {
  size_t i;
  json_t *one;
  if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > PROOF_RECORDS_MAX)
    return false;
  json_array_foreach(list, i, one) {
    if (!is_hash(one))
      return false;
    for (size_t k = 0; k < i; k++)
      if (json_equal(json_array_get(list, k), one))
        return false;
  }
  return true;
}

int proof_hash(const json_t *value, char ret[static HASH_TEXT]) {
  size_t n;
  _free_cleanup_ char *text = json_canonical(value, &n);
  if (!text)
    return -ENOMEM;
  hash_sha256_text(text, n, ret);
  return 0;
}

static bool same_hash(const json_t *expected, const char *hash) {
  return json_is_string(expected) && !strcmp(json_string_value(expected), hash);
}

/* ---- the statement ---------------------------------------------------------------------------------------------- */

static bool is_patient(const json_t *p) {
  int64_t version;
  return json_has_only(p, "id sha256 version") && is_line(json_object_get(p, "id")) &&
         is_hash(json_object_get(p, "sha256")) && json_int(p, "version", 1, INT64_MAX, &version) == 0;
}

static bool is_signer(const json_t *s) {
  const json_t *through = json_object_get(s, "through");
  const char *role = json_text(s, "role");
  return json_has_only(s, "account family given role rpps through") && is_line(json_object_get(s, "account")) &&
         is_line(json_object_get(s, "family")) && is_line(json_object_get(s, "given")) && role &&
         (!strcmp(role, "gp") || !strcmp(role, "ophthalmologist")) && is_rpps(json_object_get(s, "rpps")) &&
         (json_is_null(through) || is_line(through));
}

static bool is_statement(const json_t *s) {
  const json_t *act = json_object_get(s, "act"), *aids = json_object_get(s, "aids"),
               *amends = json_object_get(s, "amends"), *reason = json_object_get(s, "reason");
  const char *conclusion = json_text(s, "conclusion");
  int64_t schema, at;
  uint64_t study;
  if (!json_has_only(s, "act aids amends conclusion findings fundus patient reason records schema signed signer study"
                        " text_sha256 version"))
    return false;
  const bool fundus = is_act(act) && acq_modality_find(json_string_value(act)) == ACQ_FUNDUS;
  return is_act(act) && (json_is_null(aids) || is_hash(aids)) && conclusion && findings_is_conclusion(conclusion) &&
         (json_is_null(amends) ? json_is_null(reason)
                               : is_version(amends) && json_is_string(reason) && json_string_length(reason)) &&
         json_is_object(json_object_get(s, "findings")) &&
         (fundus ? json_is_object(json_object_get(s, "fundus")) : json_is_null(json_object_get(s, "fundus"))) &&
         is_patient(json_object_get(s, "patient")) && is_hash_list(json_object_get(s, "records")) &&
         json_int(s, "schema", SCHEMA, SCHEMA, &schema) == 0 && is_time(json_object_get(s, "signed"), &at) &&
         is_signer(json_object_get(s, "signer")) && is_ref(json_object_get(s, "study"), 'S', &study) &&
         is_hash(json_object_get(s, "text_sha256")) && is_version(json_object_get(s, "version"));
}

/* The whole of it: without memory jansson 2.14 leaves members out of a copy (json_object_deep_copy() in its value.c).
 */
static json_t *copy_of(const json_t *value) {
  json_t *copy = json_deep_copy(value);
  if (copy && json_equal(copy, value))
    return copy;
  json_decref(copy);
  return NULL;
}

json_t *proof_statement(const struct proof_facts *f) {
  char study[STR_REF_MAX], traits[HASH_TEXT], aids[HASH_TEXT], text[HASH_TEXT];
  if (proof_hash(f->traits, traits) < 0 || (f->aids && proof_hash(f->aids, aids) < 0))
    return NULL;
  hash_sha256_text(f->text, strlen(f->text), text);
  str_ref('S', f->study, study);
  json_t *statement = json_pack(
      "{s:s, s:s?, s:o, s:s, s:o, s:o, s:{s:s, s:s, s:I}, s:s?, s:o, s:i, s:o, s:{s:s, s:s, s:s, s:s, s:s, s:s?}, s:s,"
      " s:s, s:I}",
      "act", f->act, "aids", f->aids ? aids : NULL, "amends", f->amends ? json_integer(f->amends) : json_null(),
      "conclusion", f->conclusion, "findings", f->findings ? copy_of(f->findings) : json_object(), "fundus",
      f->fundus ? copy_of(f->fundus) : json_null(), "patient", "id", f->patient, "sha256", traits, "version",
      (json_int_t)f->patient_version, "reason", f->reason, "records", copy_of(f->records), "schema", SCHEMA, "signed",
      json_time(f->signed_us), "signer", "account", f->signer.account, "family", f->signer.family, "given",
      f->signer.given, "role", f->signer.role, "rpps", f->signer.rpps, "through", f->signer.through, "study", study,
      "text_sha256", text, "version", (json_int_t)f->version);
  if (statement && is_statement(statement))
    return statement;
  json_decref(statement);
  return NULL;
}

/* ---- making ----------------------------------------------------------------------------------------------------- */

int proof_sign(const json_t *statement, const uint8_t secret[static SIGNATURE_SECRET],
               uint8_t ret[static SIGNATURE_BYTES]) {
  size_t n;
  _free_cleanup_ char *text = json_canonical(statement, &n);
  if (!text)
    return -ENOMEM;
  signature_make(secret, text, n, ret);
  return 0;
}

/* The site's signature over the object's other members becomes one of them. */
static int certify(json_t *object, const char *member, const uint8_t site_secret[static SIGNATURE_SECRET]) {
  uint8_t signature[SIGNATURE_BYTES];
  char hex[2 * SIGNATURE_BYTES + 1];
  json_object_del(object, member);
  if (proof_sign(object, site_secret, signature) < 0)
    return -ENOMEM;
  str_hex(signature, sizeof signature, hex);
  return json_object_set_new(object, member, json_string(hex)) < 0 ? -ENOMEM : 0;
}

json_t *proof_key(const uint8_t site_secret[static SIGNATURE_SECRET], const uint8_t public[static SIGNATURE_PUBLIC],
                  const char *rpps, int64_t since_us) {
  char hex[2 * SIGNATURE_PUBLIC + 1];
  str_hex(public, SIGNATURE_PUBLIC, hex);
  json_t *key = json_pack("{s:s, s:s, s:o}", "public_key", hex, "rpps", rpps, "since", json_time(since_us));
  if (key && certify(key, "certificate", site_secret) == 0)
    return key;
  json_decref(key);
  return NULL;
}

int proof_seal(json_t *proof, const uint8_t site_secret[static SIGNATURE_SECRET]) {
  char hex[2 * SIGNATURE_PUBLIC + 1];
  str_hex(site_secret + SIGNATURE_SEED, SIGNATURE_PUBLIC, hex);
  if (json_object_set_new(proof, "site_public_key", json_string(hex)) < 0)
    return -ENOMEM;
  return certify(proof, "seal", site_secret);
}

/* ---- verifying -------------------------------------------------------------------------------------------------- */

const char *proof_fault_code(enum proof_fault fault) {
  static const char *const codes[] = {
#define X(name, code) [PROOF_##name] = code,
      PROOF_FAULTS(X)
#undef X
  };
  return codes[fault];
}

struct key {
  uint8_t public[SIGNATURE_PUBLIC];
  const char *rpps;
  int64_t since;
  bool certified, named;
};

struct record {
  const char *sha256;
  bool whole, named; /* whole: it has that hash */
};

struct proof {
  const json_t *document, *interpretations;
  uint8_t site[SIGNATURE_PUBLIC];
  struct key *keys;
  struct record *records;
  size_t n_keys, n_records;
};

static void proof_finish(struct proof *p) {
  free(p->keys);
  free(p->records);
}

/* Whether it is a value's signature: 1, 0 or -ENOMEM. */
static int is_signed(const json_t *value, const uint8_t public[static SIGNATURE_PUBLIC],
                     const uint8_t signature[static SIGNATURE_BYTES]) {
  size_t n;
  _free_cleanup_ char *text = json_canonical(value, &n);
  return text ? signature_holds(public, text, n, signature) : -ENOMEM;
}

/* Whether a member is the site's signature over the object's others: 1, 0 or -ENOMEM. */
static int is_certified(const json_t *object, const char *member, const uint8_t site[static SIGNATURE_PUBLIC]) {
  uint8_t signature[SIGNATURE_BYTES];
  _json_cleanup_ json_t *others = json_copy((json_t *)object);
  if (!others || json_object_size(others) != json_object_size(object)) /* without memory members are left out */
    return -ENOMEM;
  if (!is_hex(json_object_get(object, member), signature, sizeof signature))
    return 0;
  json_object_del(others, member);
  return is_signed(others, site, signature);
}

static int read_key(struct proof *p, const json_t *row) {
  struct key *k = &p->keys[p->n_keys];
  if (!json_has_only(row, "certificate public_key rpps since") || !is_rpps(json_object_get(row, "rpps")) ||
      !is_hex(json_object_get(row, "public_key"), k->public, sizeof k->public) ||
      !is_time(json_object_get(row, "since"), &k->since) ||
      !is_hex(json_object_get(row, "certificate"), NULL, SIGNATURE_BYTES))
    return -EBADMSG;
  for (size_t i = 0; i < p->n_keys; i++)
    if (!memcmp(p->keys[i].public, k->public, sizeof k->public))
      return -EBADMSG;
  k->rpps = json_text(row, "rpps");
  int r = is_certified(row, "certificate", p->site);
  k->certified = r > 0;
  p->n_keys++;
  return r < 0 ? r : 0;
}

static int read_record(struct proof *p, const json_t *row, uint64_t *last) {
  struct record *k = &p->records[p->n_records];
  char hash[HASH_TEXT];
  uint64_t id;
  if (!json_has_only(row, "capture_sha256 id record sha256") || !is_hash(json_object_get(row, "capture_sha256")) ||
      !is_ref(json_object_get(row, "id"), 'R', &id) || id <= *last || !is_hash(json_object_get(row, "sha256")) ||
      !json_is_object(json_object_get(row, "record")))
    return -EBADMSG;
  *last = id;
  int r = proof_hash(json_object_get(row, "record"), hash);
  if (r < 0)
    return r;
  k->sha256 = json_text(row, "sha256");
  k->whole = !strcmp(k->sha256, hash);
  p->n_records++;
  return 0;
}

/* All but the interpretations: -EBADMSG when it is not in its form. */
static int read_proof(struct proof *p) {
  const json_t *keys = json_object_get(p->document, "keys"), *records = json_object_get(p->document, "records");
  size_t i;
  json_t *row;
  uint64_t study, last = 0;
  p->interpretations = json_object_get(p->document, "interpretations");
  const size_t n = json_array_size(p->interpretations);
  if (!json_has_only(p->document, "act interpretations keys records seal site_public_key study") ||
      !is_act(json_object_get(p->document, "act")) || !is_ref(json_object_get(p->document, "study"), 'S', &study) ||
      n < 1 || n > PROOF_VERSIONS_MAX || !json_is_array(keys) || json_array_size(keys) > n || !json_is_array(records) ||
      json_array_size(records) > PROOF_RECORDS_MAX ||
      !is_hex(json_object_get(p->document, "seal"), NULL, SIGNATURE_BYTES) ||
      !is_hex(json_object_get(p->document, "site_public_key"), p->site, sizeof p->site))
    return -EBADMSG;
  p->keys = calloc(json_array_size(keys) + 1, sizeof *p->keys);
  p->records = calloc(json_array_size(records) + 1, sizeof *p->records);
  if (!p->keys || !p->records)
    return -ENOMEM;
  json_array_foreach(keys, i, row) {
    int r = read_key(p, row);
    if (r < 0)
      return r;
  }
  json_array_foreach(records, i, row) {
    int r = read_record(p, row, &last);
    if (r < 0)
      return r;
  }
  return 0;
}

/* Who signed a statement: a fault, or -ENOMEM. */
static int judge_signature(struct proof *p, const json_t *x, const json_t *statement) {
  uint8_t public[SIGNATURE_PUBLIC], signature[SIGNATURE_BYTES];
  int64_t at;
  struct key *k = NULL;
  if (!is_hex(json_object_get(x, "public_key"), public, sizeof public) ||
      !is_hex(json_object_get(x, "signature"), signature, sizeof signature) ||
      !is_time(json_object_get(statement, "signed"), &at))
    return PROOF_FORM;
  for (size_t i = 0; i < p->n_keys && !k; i++)
    if (!memcmp(p->keys[i].public, public, sizeof public))
      k = &p->keys[i];
  if (!k)
    return PROOF_KEY;
  k->named = true;
  int r = is_signed(statement, public, signature);
  if (r < 0)
    return r;
  return !r                                                                                   ? PROOF_SIGNATURE
         : !same_hash(json_object_get(json_object_get(statement, "signer"), "rpps"), k->rpps) ? PROOF_SIGNER
         : !k->certified                                                                      ? PROOF_CERTIFICATE
         : at < k->since                                                                      ? PROOF_SINCE
                                                                                              : PROOF_HOLDS;
}

/* Whether the records are there that a statement names. */
static enum proof_fault judge_records(struct proof *p, const json_t *statement) {
  size_t i;
  json_t *hash;
  enum proof_fault fault = PROOF_HOLDS;
  json_array_foreach(json_object_get(statement, "records"), i, hash) {
    bool found = false, whole = true;
    for (size_t k = 0; k < p->n_records; k++) {
      if (!same_hash(hash, p->records[k].sha256))
        continue;
      p->records[k].named = found = true;
      whole &= p->records[k].whole;
    }
    if (fault == PROOF_HOLDS && (!found || !whole))
      fault = found ? PROOF_RECORD : PROOF_MISSING;
  }
  return fault;
}

/* Whether what is shown is what was signed: a fault, or -ENOMEM. */
static int judge_contents(struct proof *p, const json_t *x, const json_t *statement) {
  const json_t *text = json_object_get(x, "text"), *aids = json_object_get(x, "aids");
  char hash[HASH_TEXT];
  const enum proof_fault records = judge_records(p, statement);
  hash_sha256_text(json_string_value(text), json_string_length(text), hash);
  if (!same_hash(json_object_get(statement, "text_sha256"), hash))
    return PROOF_TEXT;
  if (!json_equal(json_object_get(x, "findings"), json_object_get(statement, "findings")))
    return PROOF_FINDINGS;
  if (json_is_null(aids) != json_is_null(json_object_get(statement, "aids")))
    return PROOF_AIDS;
  if (!json_is_null(aids)) {
    int r = proof_hash(aids, hash);
    if (r < 0)
      return r;
    if (!same_hash(json_object_get(statement, "aids"), hash))
      return PROOF_AIDS;
  }
  return records;
}

/* An amendment names the version before; one that is none comes first, or after one that was withdrawn. */
static bool amends_fits(const struct proof *p, const json_t *statement, size_t i) {
  const json_t *amends = json_object_get(statement, "amends");
  if (i == 0)
    return json_is_null(amends);
  const json_t *before = json_array_get(p->interpretations, i - 1);
  return json_is_null(amends) ? json_is_string(json_object_get(before, "withdrawn"))
                              : json_integer_value(amends) == (json_int_t)i;
}

/* The i-th interpretation: a fault, or -ENOMEM. */
static int judge(struct proof *p, size_t i) {
  const json_t *x = json_array_get(p->interpretations, i), *statement = json_object_get(x, "statement"),
               *withdrawn = json_object_get(x, "withdrawn"), *aids = json_object_get(x, "aids");
  int64_t at;
  if (!json_has_only(x, "aids findings public_key signature statement text version withdrawn") ||
      !json_is_string(json_object_get(x, "text")) || !is_version(json_object_get(x, "version")) ||
      !(json_is_null(aids) || json_is_object(aids)) || !(json_is_null(withdrawn) || is_time(withdrawn, &at)))
    return PROOF_FORM;
  if (json_integer_value(json_object_get(x, "version")) != (json_int_t)i + 1)
    return PROOF_VERSION;
  if (json_is_null(statement) && json_is_null(json_object_get(x, "signature")) &&
      json_is_null(json_object_get(x, "public_key")) && json_is_null(json_object_get(x, "findings")))
    return PROOF_UNSIGNED;
  if (!is_statement(statement))
    return PROOF_FORM;
  const int contents = judge_contents(p, x, statement), signature = judge_signature(p, x, statement);
  if (contents < 0 || signature != PROOF_HOLDS)
    return contents < 0 ? contents : signature;
  return !json_equal(json_object_get(statement, "version"), json_object_get(x, "version")) ? PROOF_VERSION
         : !json_equal(json_object_get(statement, "study"), json_object_get(p->document, "study")) ||
                 !json_equal(json_object_get(statement, "act"), json_object_get(p->document, "act"))
             ? PROOF_STUDY
         : contents != PROOF_HOLDS       ? contents
         : !amends_fits(p, statement, i) ? PROOF_AMENDS
                                         : PROOF_HOLDS;
}

/* What no version answers for: a fault, or -ENOMEM. */
static int judge_rest(const struct proof *p) {
  for (size_t i = 0; i < p->n_keys; i++)
    if (!p->keys[i].named)
      return PROOF_STRANGER;
  for (size_t i = 0; i < p->n_records; i++)
    if (!p->records[i].named)
      return PROOF_STRANGER;
  int r = is_certified(p->document, "seal", p->site);
  return r < 0 ? r : r ? PROOF_HOLDS : PROOF_SEAL;
}

int proof_verify(const json_t *proof, const uint8_t *site_public, struct proof_check *ret) {
  __attribute__((cleanup(proof_finish))) struct proof p = {.document = proof};
  struct proof_check c = {.fault = PROOF_HOLDS};
  int r = read_proof(&p);
  if (r == -ENOMEM)
    return r;
  if (r < 0 || (site_public && memcmp(site_public, p.site, sizeof p.site))) {
    *ret = (struct proof_check){.fault = r < 0 ? PROOF_FORM : PROOF_SITE};
    return -EBADMSG;
  }
  for (; c.n < json_array_size(p.interpretations); c.n++) {
    r = judge(&p, c.n);
    if (r < 0)
      return r;
    c.faults[c.n] = (enum proof_fault)r;
    if (c.fault == PROOF_HOLDS && r != PROOF_HOLDS) {
      c.fault = (enum proof_fault)r;
      c.version = (int64_t)c.n + 1;
    }
  }
  if (c.fault == PROOF_HOLDS) {
    r = judge_rest(&p);
    if (r < 0)
      return r;
    c.fault = (enum proof_fault)r;
  }
  *ret = c;
  return c.fault == PROOF_HOLDS ? 0 : -EBADMSG;
}
