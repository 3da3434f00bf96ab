/* What the signature of an interpretation covers, and how anybody holds a signed study against it without the daemon.
 *
 * The statement is what is signed, as canonical JSON (json.h):
 *   {"act":"ecg", "aids":"<SHA-256 of their canonical JSON>"|null, "amends":N|null, "conclusion", "findings":{..},
 *    "fundus":{..}|null, "patient":{"id","sha256":"<of the identity traits' canonical JSON>","version":N},
 *    "reason":"<of the amendment>"|null, "records":["<SHA-256>"...], "schema":1, "signed":"<RFC 3339>",
 *    "signer":{"account","family","given","role":"gp|ophthalmologist","rpps","through":"<practice software>"|null},
 *    "study":"S-12", "text_sha256", "version":N}
 *
 * A proof holds everything that it takes, each number in lower-case hexadecimal, each time as wall_format() writes it:
 *   {"act", "study",
 *    "interpretations":[{"aids":{..}|null, "findings":{..}, "public_key", "signature", "statement":{..}, "text",
 *                        "version":N, "withdrawn":"<RFC 3339>"|null}...],     every version, from 1
 *    "keys":[{"certificate", "public_key", "rpps", "since":"<RFC 3339>"}...],  those that signed, each once
 *    "records":[{"capture_sha256", "id":"R-3", "record":{..}, "sha256"}...],   those that were signed, by their id
 *    "seal", "site_public_key"}
 *   A version from before signatures has null for findings, public_key, signature and statement: no proof holds then.
 *   The certificate is the site's signature over the key's other members; the seal is that over the proof's. What the
 *   signers do not cover (ids, captures, withdrawals, and that no version came after) stands on the seal alone. Who
 * does not have the site's key from elsewhere knows only that one hand made it all. */
#ifndef ASALEED_PROOF_H
#define ASALEED_PROOF_H

#include "hash.h"
#include "json.h"
#include "signature.h"

#define PROOF_BYTES_MAX (64u << 20) /* of a proof's text */
#define PROOF_VERSIONS_MAX 128
#define PROOF_RECORDS_MAX 256

/* The texts are the caller's, of one line but for `text` and `reason`. */
struct proof_facts {
  int64_t study, version;
  const char *act, *conclusion, *text;
  const json_t *findings; /* NULL: none */
  int64_t amends;         /* the version before, with a reason; 0 and NULL for none */
  const char *reason;
  const json_t *aids;    /* what the reader was shown; NULL: nothing */
  const json_t *fundus;  /* of a retinography, and of no other act */
  const json_t *records; /* the SHA-256 of each, as texts */
  const char *patient;
  int64_t patient_version;
  const json_t *traits; /* of the patient's identity: only their hash is signed */
  int64_t signed_us;
  struct {
    const char *account, *rpps, *family, *given, *role, *through; /* through: NULL for none */
  } signer;
};

/* SHA-256 of the canonical JSON; -ENOMEM, also where there is none. */
int proof_hash(const json_t *value, char ret[static HASH_TEXT]);

/* A new reference; NULL without memory, or for facts that are not those of a statement. */
json_t *proof_statement(const struct proof_facts *facts);
int proof_sign(const json_t *statement, const uint8_t secret[static SIGNATURE_SECRET],
               uint8_t ret[static SIGNATURE_BYTES]); /* -ENOMEM */

/* A row of "keys"; NULL without memory. */
json_t *proof_key(const uint8_t site_secret[static SIGNATURE_SECRET], const uint8_t public[static SIGNATURE_PUBLIC],
                  const char *rpps, int64_t since_us);
/* Gives a proof its last members, "site_public_key" and "seal", in place of any it has; -ENOMEM. */
int proof_seal(json_t *proof, const uint8_t site_secret[static SIGNATURE_SECRET]);

/* X(NAME, "code"): what can be wrong, of one version or (*) of the proof as a whole. */
#define PROOF_FAULTS(X)                                                                      \
  X(HOLDS, "holds")                                                                          \
  X(FORM, "form")               /* also * */                                                 \
  X(SITE, "site_key")           /* * made by another site than that which is trusted */      \
  X(UNSIGNED, "unsigned")       /* signed before there were signatures */                    \
  X(VERSION, "version")         /* not the next number */                                    \
  X(STUDY, "study")             /* signed for another study or act */                        \
  X(KEY, "key")                 /* its key is not in the proof */                            \
  X(SIGNER, "signer")           /* its key is another person's */                            \
  X(CERTIFICATE, "certificate") /* the site does not say whose its key is */                 \
  X(SINCE, "key_since")         /* signed before its key was there */                        \
  X(SIGNATURE, "signature")     /* not the statement that was signed */                      \
  X(TEXT, "text")               /* not the text that was signed; the same of what follows */ \
  X(FINDINGS, "findings")                                                                    \
  X(AIDS, "aids")                                                                            \
  X(RECORD, "record")                                                                        \
  X(MISSING, "record_missing") /* a record that was signed is not there */                   \
  X(AMENDS, "amends")          /* it does not name the version before */                     \
  X(STRANGER, "stranger")      /* * a record or key that no version names */                 \
  X(SEAL, "seal")              /* * not as the site gave it */

enum proof_fault {
#define X(name, code) PROOF_##name,
  PROOF_FAULTS(X)
#undef X
};
const char *proof_fault_code(enum proof_fault fault);

struct proof_check {
  enum proof_fault fault; /* the first, PROOF_HOLDS when there is none */
  int64_t version;        /* that it is of; 0: of the proof as a whole */
  size_t n;               /* versions that could be judged, each on its own: */
  enum proof_fault faults[PROOF_VERSIONS_MAX];
};

/* Whether all of it holds: 0; -EBADMSG when not; *ret says what in both cases. -ENOMEM: *ret is untouched. Of `proof`
 * only that json_read() took it is believed. site_public: the site's key as it is known from elsewhere; NULL: as the
 * proof says. */
int proof_verify(const json_t *proof, const uint8_t *site_public, struct proof_check *ret);

#endif
