#include "proof_make.h"

#include "str.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)

void proof_make_secret(unsigned who, uint8_t ret[static SIGNATURE_SECRET]) {
  uint8_t public[SIGNATURE_PUBLIC];
  const uint8_t seed[SIGNATURE_SEED] = {(uint8_t)(who + 1)};
  signature_seed(seed, public, ret);
}

void proof_make_sign(json_t *proof, size_t i, unsigned who) {
  json_t *x = json_array_get(json_object_get(proof, "interpretations"), i);
  uint8_t secret[SIGNATURE_SECRET], signature[SIGNATURE_BYTES];
  char hex[2 * SIGNATURE_BYTES + 1];
  proof_make_secret(who, secret);
  assert_int_equal(proof_sign(json_object_get(x, "statement"), secret, signature), 0);
  str_hex(signature, sizeof signature, hex);
  json_object_set_new(x, "signature", json_string(hex));
  str_hex(secret + SIGNATURE_SEED, SIGNATURE_PUBLIC, hex);
  json_object_set_new(x, "public_key", json_string(hex));
}

static json_t *make_record(int64_t number) {
  char ref[STR_REF_MAX], hash[HASH_TEXT];
  json_t *record = json_pack("{s:[i,{s:I}], s:s, s:b, s:n}", "acquired", 7, "number", (json_int_t)number, "modality",
                             "ecg", "complete", 1, "started");
  str_ref('R', number, ref);
  assert_int_equal(proof_hash(record, hash), 0);
  return json_pack("{s:s, s:s, s:o, s:s}", "capture_sha256",
                   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "id", ref, "record", record,
                   "sha256", hash);
}

json_t *proof_make_open(unsigned versions) {
  uint8_t secret[SIGNATURE_SECRET], site[SIGNATURE_SECRET];
  json_t *xs = json_array(), *keys = json_array(), *records = json_array(), *hashes = json_array();
  json_t *traits = json_pack("{s:s, s:s}", "family", "DUPONT", "given", "Zoé"),
         *findings = json_pack("{s:s, s:[s]}", "rhythm", "sinus", "signs", "rbbb"),
         *aids = json_pack("{s:s}", "fev1", "2.98");
  proof_make_secret(0, site);
  for (unsigned v = 1; v <= versions; v++) {
    const bool martin = v == 2;
    if (v < 3) {
      json_t *record = make_record(v + 2);
      json_array_append(hashes, json_object_get(record, "sha256"));
      json_array_append_new(records, record);
      proof_make_secret(v, secret);
      json_array_append_new(keys, proof_key(site, secret + SIGNATURE_SEED, v == 2 ? "10003456782" : "10001234567",
                                            PROOF_FIRST_US - v * SECOND));
    }
    const struct proof_facts facts = {
        .study = 12,
        .version = v,
        .act = "ecg",
        .conclusion = "abnormal",
        .text = martin ? "Bloc de branche droit.\nConnu." : "Bloc.",
        .findings = findings,
        .amends = martin ? 1 : 0,
        .reason = martin ? "Précision" : NULL,
        .aids = martin ? aids : NULL,
        .records = hashes,
        .patient = "4711",
        .patient_version = 2,
        .traits = traits,
        .signed_us = PROOF_FIRST_US + v * SECOND,
        .signer = {martin ? "hugo" : "anne", martin ? "10003456782" : "10001234567", martin ? "MARTIN" : "DUPONT",
                   martin ? "Hugo" : "Anne", "gp", martin ? "lgc" : NULL},
    };
    json_t *statement = proof_statement(&facts);
    assert_non_null(statement);
    json_array_append_new(
        xs, json_pack("{s:O, s:O, s:o, s:s, s:i, s:o}", "aids", martin ? aids : json_null(), "findings", findings,
                      "statement", statement, "text", facts.text, "version", (int)v, "withdrawn",
                      martin && versions > 2 ? json_time(PROOF_FIRST_US + 60 * SECOND) : json_null()));
  }
  json_decref(hashes);
  json_decref(traits);
  json_decref(findings);
  json_decref(aids);
  json_t *proof = json_pack("{s:s, s:o, s:o, s:o, s:s}", "act", "ecg", "interpretations", xs, "keys", keys, "records",
                            records, "study", "S-12");
  assert_non_null(proof);
  for (unsigned v = 1; v <= versions; v++)
    proof_make_sign(proof, v - 1, v == 2 ? 2 : 1);
  return proof;
}

json_t *proof_make(unsigned versions) {
  uint8_t site[SIGNATURE_SECRET];
  json_t *proof = proof_make_open(versions);
  proof_make_secret(0, site);
  assert_int_equal(proof_seal(proof, site), 0);
  return proof;
}
