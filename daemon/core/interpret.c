#include "interpret.h"

#include "findings.h"
#include "fundus.h"
#include "notice.h"
#include "proof.h"
#include "reading.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* DICOM PS3.16, CID 9303, less what does not come from a reader. */
const struct interpret_reason interpret_reasons[] = {
    {"110531", "Qualité insuffisante pour l'interprétation"},
    {"110523", "Examen incomplet"},
    {"110502", "Acte qui n'était pas le bon"},
    {"110510", "Examen en double"},
    {"110513", "Autre raison"},
    {NULL, NULL},
};

/* ---- the signer's key ---- */

struct signer {
  struct professional who;
  uint8_t public[SIGNATURE_PUBLIC], secret[SIGNATURE_SECRET];
};

static void signer_finish(struct signer *x) {
  explicit_bzero(x->secret, sizeof x->secret);
}
#define _signer_cleanup_ __attribute__((cleanup(signer_finish)))

/* Each professional has a key of its own, made at the first signature; and another where the clock was set back before
 * that: no key signs before it was there (proof.h). */
static enum problem signer_find(struct store *s, const struct caller *c, int64_t now, struct signer *ret) {
  if (!c->rpps[0])
    return P_professional_unknown;
  enum problem p = registry_professional(s, c->rpps, &ret->who);
  if (p != P_OK)
    return p == P_not_found ? P_professional_unknown : p;
  struct rows r =
      store_query(s, "SELECT public, secret FROM signing_key WHERE rpps = ? AND at <= ? ORDER BY at DESC LIMIT 1", "ti",
                  c->rpps, now);
  bool found = rows_next(&r);
  int err = 0;
  if (found) {
    size_t n, m;
    const void *public = rows_blob(&r, 0, &n), *wrapped = rows_blob(&r, 1, &m);
    if (n == sizeof ret->public && m == SIGNATURE_WRAPPED) {
      memcpy(ret->public, public, n);
      err = signature_unwrap(store_site_key(s)->wrap, wrapped, ret->public, ret->secret);
    } else {
      err = -EUCLEAN;
    }
  }
  int query_err = rows_finish(&r);
  if (query_err < 0 || err < 0)
    return problem_of_errno(query_err < 0 ? query_err : -EUCLEAN);
  if (found)
    return P_OK;
  uint8_t wrapped[SIGNATURE_WRAPPED];
  struct actor by = caller_actor(c);
  signature_key(ret->public, ret->secret);
  signature_wrap(store_site_key(s)->wrap, ret->secret, wrapped);
  err = store_run(s, "INSERT INTO signing_key VALUES(?,?,?,?)", "btbi", ret->public, sizeof ret->public, c->rpps,
                  wrapped, sizeof wrapped, now);
  if (err >= 0)
    err = audit_add(s, &by, "key.made", c->rpps, NULL);
  return problem_of_errno(err);
}

/* ---- what a signature covers ---- */

struct covered {
  struct patient patient;
  json_t *traits, *records, *fundus, *aids;
  char shown[HASH_TEXT];
};

static void covered_finish(struct covered *x) {
  json_decref(x->traits);
  json_decref(x->records);
  json_decref(x->fundus);
  json_decref(x->aids);
}
#define _covered_cleanup_ __attribute__((cleanup(covered_finish)))

/* The patient's identity as it is now, the records that stand, oldest first, what the reader was shown beside them, and
 * of a retinography which eye and field its pictures are and what is known of the pupil. */
static enum problem covered_find(struct store *s, const struct study *study, const json_t *aids, struct covered *x) {
  enum problem p = patient_find(s, study->patient, &x->patient);
  if (p != P_OK)
    return p;
  x->traits = json_pack("{s:s, s:s, s:s, s:s, s:s}", "birth_date", x->patient.birth_date, "family", x->patient.family,
                        "given", x->patient.given, "ins", x->patient.ins, "sex", x->patient.sex);
  x->records = json_array();
  x->aids = json_incref((json_t *)aids);
  bool whole = x->traits && x->records;
  struct rows r = store_query(s,
                              "SELECT sha256 FROM record WHERE study = ? AND id NOT IN"
                              " (SELECT record FROM supersession) ORDER BY id",
                              "i", study->id);
  while (rows_next(&r))
    whole &= json_array_append_new(x->records, json_string(rows_text(&r, 0))) == 0;
  int err = rows_finish(&r);
  if (err == 0 && act_modality(study->act) == ACQ_FUNDUS)
    err = fundus_facts(s, study->id, &x->fundus);
  if (err < 0)
    return problem_of_errno(err);
  _json_cleanup_ json_t *all = json_pack("{s:O?, s:O?, s:s, s:O, s:O}", "aids", x->aids, "fundus", x->fundus, "patient",
                                         study->patient, "records", x->records, "traits", x->traits);
  _free_cleanup_ char *text = whole && all ? json_canonical(all, NULL) : NULL;
  if (!text)
    return P_overloaded;
  hash_sha256_text(text, strlen(text), x->shown);
  return P_OK;
}

enum problem interpret_shown(struct store *s, const struct study *study, const json_t *aids,
                             char ret[static HASH_TEXT]) {
  _covered_cleanup_ struct covered covered = {0};
  enum problem p = covered_find(s, study, aids, &covered);
  if (p == P_OK)
    memcpy(ret, covered.shown, HASH_TEXT);
  return p;
}

static enum problem findings_ok(const struct study *study, const struct conclusion *x, const char **ret_field) {
  return findings_check(act_modality(study->act), x->conclusion, x->findings, ret_field) < 0 ? P_invalid_field : P_OK;
}

static int64_t newest_version(struct store *s, int64_t study, bool standing, int *ret_err) {
  struct rows r =
      store_query(s,
                  "SELECT coalesce(max(version), 0) FROM interpretation WHERE study = ? AND (NOT ? OR id NOT"
                  " IN (SELECT interpretation FROM withdrawal))",
                  "ii", study, (int64_t)standing);
  int64_t version = rows_next(&r) ? rows_int(&r, 0) : 0;
  *ret_err = rows_finish(&r);
  return version;
}

/* The next version's row; the reader's draft has become it. */
static enum problem version_add(struct store *s, const struct caller *c, const struct study *study, int64_t amends,
                                const char *reason, const char *shown, const struct conclusion *x, const json_t *aids) {
  _signer_cleanup_ struct signer signer = {0};
  _covered_cleanup_ struct covered covered = {0};
  int err;
  const int64_t version = 1 + newest_version(s, study->id, false, &err), now = wall_now().us;
  enum problem p = err < 0 ? problem_of_errno(err) : signer_find(s, c, now, &signer);
  if (p == P_OK)
    p = covered_find(s, study, aids, &covered);
  if (p == P_OK && strcmp(shown, covered.shown))
    p = P_precondition_failed;
  if (p != P_OK)
    return p;
  struct proof_facts facts = {.study = study->id,
                              .version = version,
                              .act = study->act,
                              .conclusion = x->conclusion,
                              .text = x->text,
                              .findings = x->findings,
                              .amends = amends,
                              .reason = reason,
                              .aids = covered.aids,
                              .fundus = covered.fundus,
                              .records = covered.records,
                              .patient = study->patient,
                              .patient_version = covered.patient.version,
                              .traits = covered.traits,
                              .signed_us = now,
                              .signer = {.account = caller_person(c),
                                         .rpps = signer.who.rpps,
                                         .family = signer.who.family,
                                         .given = signer.who.given,
                                         .role = role_name(signer.who.role),
                                         .through = c->acting_for[0] ? c->name : NULL}};
  uint8_t signature[SIGNATURE_BYTES];
  char covers[HASH_TEXT], ref[STR_REF_MAX];
  _json_cleanup_ json_t *statement = proof_statement(&facts);
  _free_cleanup_ char *said = statement ? json_canonical(statement, NULL) : NULL;
  _free_cleanup_ char *findings = x->findings ? json_canonical(x->findings, NULL) : NULL;
  _free_cleanup_ char *aids_text = aids ? json_canonical(aids, NULL) : NULL;
  if (!said || (x->findings && !findings) || (aids && !aids_text))
    return P_overloaded;
  err = proof_sign(statement, signer.secret, signature);
  hash_sha256_text(said, strlen(said), covers);
  if (err >= 0)
    err = store_run(
        s,
        "INSERT INTO interpretation(study, version, by, at, conclusion, text, covers, patient_version, aids,"
        " findings, reason, statement, signature, key) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        "iititttitttt"
        "bb",
        study->id, version, caller_person(c), now, x->conclusion, x->text, covers, covered.patient.version, aids_text,
        findings ? findings : "{}", reason, said, signature, sizeof signature, signer.public, sizeof signer.public);
  if (err >= 0) {
    str_ref('I', store_last_id(s), ref);
    err = change_add(s, "interpretation", ref, NULL);
  }
  if (err >= 0)
    err = store_run(s, "DELETE FROM draft WHERE study = ? AND by = ?", "it", study->id, caller_person(c));
  return problem_of_errno(err);
}

enum problem interpret_sign(struct store *s, const struct caller *c, struct study *study, const char *token,
                            const char *shown, const struct conclusion *x, const json_t *aids, const char **ret_field) {
  enum problem p = study_claim_end(s, c, study, token, EV_SIGN, json_pack("{s:s}", "by", caller_person(c)));
  if (p == P_OK)
    p = findings_ok(study, x, ret_field);
  return p == P_OK ? version_add(s, c, study, 0, NULL, shown, x, aids) : p;
}

enum problem interpret_amend(struct store *s, const struct caller *c, struct study *study, int64_t version,
                             const char *reason, const char *shown, const struct conclusion *x, const json_t *aids,
                             const char **ret_field) {
  struct actor by = caller_actor(c);
  enum study_state to;
  int err = 0;
  enum problem p = study_next(study->state, EV_AMEND, c->role, &to);
  if (p == P_OK)
    p = study_is_mine(c, study);
  if (p == P_OK)
    p = findings_ok(study, x, ret_field);
  if (p == P_OK && newest_version(s, study->id, true, &err) != version)
    p = err < 0 ? problem_of_errno(err) : P_precondition_failed;
  if (p == P_OK)
    p = study_move(s, &by, c->role, study, EV_AMEND, json_pack("{s:I}", "amends", (json_int_t)version));
  return p == P_OK ? version_add(s, c, study, version, reason, shown, x, aids) : p;
}

enum problem interpret_preview(struct store *s, const struct study *study, const struct conclusion *x,
                               const json_t *aids, const char **ret_field, json_t **ret) {
  _covered_cleanup_ struct covered covered = {0};
  struct buf body = BUF_INIT(2 * REPORT_MAX + 8192);
  enum problem p = findings_ok(study, x, ret_field);
  if (p == P_OK)
    p = covered_find(s, study, aids, &covered);
  if (p == P_OK && findings_report(act_modality(study->act), x->conclusion, x->findings, x->text, &body) < 0)
    p = P_invalid_field;
  const char *text = p == P_OK ? buf_cstr(&body) : NULL;
  if (p == P_OK)
    *ret = json_pack("{s:s?, s:{s:s, s:I, s:O}}", "body", text, "covers", "patient", study->patient, "patient_version",
                     (json_int_t)covered.patient.version, "records", covered.records);
  buf_finish(&body);
  return p == P_OK && !*ret ? P_overloaded : p;
}

/* ---- back to the nurse, on to another reader ---- */

static enum problem repeat_add(struct store *s, const struct study *study, int64_t *ret) {
  char ref[STR_REF_MAX];
  int64_t now = wall_now().us;
  int r = store_run(s,
                    "INSERT INTO study(orders, state, created, updated, reader, height_mm, urgent, repeats)"
                    " SELECT orders, 'ordered', ?2, ?2, reader, height_mm, urgent, id FROM study WHERE id = ?1",
                    "ii", study->id, now);
  if (r >= 0) {
    *ret = store_last_id(s);
    str_ref('S', *ret, ref);
    r = change_add(s, "study", ref, "ordered");
  }
  return problem_of_errno(r);
}

enum problem interpret_return(struct store *s, const struct caller *c, struct study *study, const char *token,
                              const char *code, const char *text, int64_t *ret_repeat) {
  char nurse[RPPS_MAX] = "";
  const struct interpret_reason *known = interpret_reasons;
  while (known->code && strcmp(known->code, code))
    known++;
  if (!known->code)
    return P_invalid_field;
  enum problem p = study_claim_end(s, c, study, token, EV_RETURN, json_pack("{s:s}", "code", code));
  if (p == P_OK)
    p = problem_of_errno(store_run(s, "INSERT INTO study_return VALUES(?,?,?,?,?)", "ittit", study->id, code, text,
                                   wall_now().us, caller_person(c)));
  if (p == P_OK)
    p = repeat_add(s, study, ret_repeat);
  struct rows r =
      store_query(s,
                  "SELECT iif(EXISTS(SELECT 1 FROM user WHERE rpps = t.nurse AND NOT disabled), t.nurse, '') FROM"
                  " followup_team t JOIN orders o ON o.followup = t.followup WHERE o.id = ? ORDER BY t.id DESC LIMIT 1",
                  "i", study->order);
  const bool followed = rows_next(&r);
  if (followed)
    str_copy(nurse, sizeof nurse, rows_text(&r, 0));
  int err = rows_finish(&r);
  if (p == P_OK && err == 0 && followed)
    p = notice_returned(s, c, study, nurse, known->label);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem interpret_refer(struct store *s, const struct caller *c, struct study *study, const char *token,
                             const char *reader, const char *text) {
  enum role to;
  struct actor by = caller_actor(c);
  if (!role_find(reader, &to) || !(to & ROLE_READERS) || to == study->reader)
    return P_invalid_field;
  struct rows there = store_query(s, "SELECT 1 FROM user WHERE role = ? AND NOT disabled LIMIT 1", "t", reader);
  bool somebody = rows_next(&there) || to == ROLE_GP; /* a practice has GPs */
  int err = rows_finish(&there);
  if (err < 0 || !somebody)
    return err < 0 ? problem_of_errno(err) : P_reader_missing;
  json_t *detail = json_pack("{s:s}", "reader", reader);
  enum problem p;
  if (token || study->state != TO_INTERPRET)
    p = study_claim_end(s, c, study, token ? token : "", EV_REFER, detail);
  else
    p = study_move(s, &by, c->role, study, EV_REFER, detail);
  if (p == P_OK)
    p = problem_of_errno(store_run(s, "INSERT INTO referral(study, reader, text, at, by) VALUES(?,?,?,?,?)", "ittit",
                                   study->id, reader, text, wall_now().us, caller_person(c)));
  if (p == P_OK)
    p = problem_of_errno(store_run(s, "UPDATE study SET reader = ? WHERE id = ?", "ti", reader, study->id));
  return p == P_OK ? study_find(s, study->id, study) : p;
}

/* ---- drafts ---- */

enum problem interpret_draft(struct store *s, const struct caller *c, const struct study *study, json_t **ret,
                             int64_t *ret_version) {
  struct rows r = store_query(s, "SELECT json, version, at FROM draft WHERE study = ? AND by = ?", "it", study->id,
                              caller_person(c));
  enum problem p = P_not_found;
  if (rows_next(&r)) {
    json_t *draft = json_loads(rows_text(&r, 0), 0, NULL);
    *ret_version = rows_int(&r, 1);
    p = draft && json_object_set_new(draft, "saved", json_time(rows_int(&r, 2))) == 0 &&
                json_object_set_new(draft, "version", json_integer(*ret_version)) == 0
            ? P_OK
            : P_internal;
    *ret = draft;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem interpret_draft_save(struct store *s, const struct caller *c, const struct study *study, int64_t if_match,
                                  const char *json, int64_t *ret_version) {
  int64_t known = 0;
  _json_cleanup_ json_t *old = NULL;
  enum problem p = interpret_draft(s, c, study, &old, &known);
  if (p != P_OK && p != P_not_found)
    return p;
  /* What somebody wrote is kept also when the claim has run out; not of what is not there to be read. */
  if (study->state < TO_INTERPRET || study->state > INTERPRETED)
    return P_wrong_state;
  if (p == P_OK && if_match == 0)
    return P_precondition_required;
  if (if_match > 0 ? if_match != known : if_match < 0 && !known)
    return P_precondition_failed;
  int r =
      store_run(s,
                "INSERT INTO draft VALUES(?1,?2,1,?3,?4) ON CONFLICT(study, by) DO UPDATE SET version = version + 1,"
                " json = ?3, at = ?4",
                "itti", study->id, caller_person(c), json, wall_now().us);
  *ret_version = known + 1;
  return problem_of_errno(r);
}

/* ---- as JSON ---- */

static json_t *version_json(const struct rows *r, const struct view *v) {
  char ref[STR_REF_MAX];
  str_ref('I', rows_int(r, 0), ref);
  const bool all = mask_shows(v, PART_REPORT);
  json_t *x = json_pack("{s:s, s:s, s:o, s:I}", "conclusion", rows_text(r, 4), "id", ref, "signed",
                        json_time(rows_int(r, 3)), "version", (json_int_t)rows_int(r, 1));
  if (x && all) {
    const char *findings = rows_text(r, 8);
    json_object_set_new(x, "by", json_string(rows_text(r, 2)));
    json_object_set_new(x, "covers_sha256", json_string(rows_text(r, 6)));
    json_object_set_new(x, "findings", findings ? json_loads(findings, 0, NULL) : json_object());
    json_object_set_new(x, "patient_version", json_integer(rows_int(r, 7)));
    json_object_set_new(x, "reason", rows_is_null(r, 9) ? json_null() : json_string(rows_text(r, 9)));
    json_object_set_new(x, "text", json_string(rows_text(r, 5)));
  }
  return x;
}

#define VERSION_COLUMNS                                                                                           \
  "SELECT i.id, i.version, i.by, i.at, i.conclusion, i.text, i.covers, i.patient_version, i.findings, i.reason, " \
  "w.at, "                                                                                                        \
  "w.reason FROM interpretation i LEFT JOIN withdrawal w ON w.interpretation = i.id WHERE i.study = ?"

int interpret_json(struct store *s, int64_t study, const struct view *v, json_t **ret) {
  json_t *found = NULL;
  if (!mask_shows(v, PART_CONCLUSION)) {
    *ret = NULL;
    return 0;
  }
  struct rows r = store_query(s, VERSION_COLUMNS " AND w.at IS NULL ORDER BY i.version DESC LIMIT 1", "i", study);
  int err = rows_next(&r) && !(found = version_json(&r, v)) ? -ENOMEM : 0;
  int query_err = rows_finish(&r);
  *ret = found;
  return err < 0 ? err : query_err;
}

int interpret_versions(struct store *s, int64_t study, json_t **ret) {
  _json_cleanup_ json_t *list = json_array();
  struct view all = view_of(ROLE_GP);
  struct rows r = store_query(s, VERSION_COLUMNS " ORDER BY i.version", "i", study);
  int err = list ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    json_t *x = version_json(&r, &all);
    json_object_set_new(x, "withdrawn",
                        rows_is_null(&r, 10)
                            ? json_null()
                            : json_pack("{s:o, s:s}", "at", json_time(rows_int(&r, 10)), "reason", rows_text(&r, 11)));
    err = json_array_append_new(list, x) < 0 ? -ENOMEM : 0;
  }
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(list);
  return err;
}

int interpret_course(struct store *s, int64_t study, const struct view *v, json_t **ret) {
  const bool texts = mask_shows(v, PART_REPORT);
  json_t *referrals = json_array(), *returned = json_null();
  int err = referrals ? 0 : -ENOMEM;
  struct rows r = store_query(s, "SELECT reader, text, at, by FROM referral WHERE study = ? ORDER BY id", "i", study);
  /* That another was asked says something of what was seen. */
  while (err == 0 && texts && rows_next(&r))
    err = json_array_append_new(referrals,
                                json_pack("{s:o, s:s, s:s, s:s}", "at", json_time(rows_int(&r, 2)), "by",
                                          rows_text(&r, 3), "reader", rows_text(&r, 0), "text", rows_text(&r, 1))) < 0
              ? -ENOMEM
              : 0;
  int query_err = rows_finish(&r);
  err = err < 0 ? err : query_err;
  /* The nurse reads what to do better: the code, which is not about the patient, and not what the reader wrote. */
  r = store_query(s,
                  "SELECT x.code, x.text, x.at, x.by, y.id FROM study_return x LEFT JOIN study y ON y.repeats = x.study"
                  " WHERE x.study = ?",
                  "i", study);
  if (rows_next(&r)) {
    char repeat[STR_REF_MAX];
    const char *label = "";
    for (const struct interpret_reason *k = interpret_reasons; k->code; k++)
      label = strcmp(k->code, rows_text(&r, 0)) ? label : k->label;
    str_ref('S', rows_int(&r, 4), repeat);
    returned = json_pack("{s:o, s:s, s:s, s:s}", "at", json_time(rows_int(&r, 2)), "code", rows_text(&r, 0), "label",
                         label, "repeat", repeat);
    if (returned && texts) {
      json_object_set_new(returned, "by", json_string(rows_text(&r, 3)));
      json_object_set_new(returned, "text", json_string(rows_text(&r, 1)));
    }
  }
  query_err = rows_finish(&r);
  err = err < 0 ? err : query_err;
  *ret = json_pack("{s:o, s:o}", "referrals", referrals, "returned", returned);
  return err < 0 ? err : *ret ? 0 : -ENOMEM;
}

/* ---- the proof ---- */

static json_t *parsed(const struct rows *r, int column) {
  const char *text = rows_text(r, column);
  return text ? json_loads(text, JSON_DECODE_ANY, NULL) : json_null();
}

static json_t *hex(const struct rows *r, int column) {
  char text[2 * SIGNATURE_BYTES + 1];
  size_t n;
  const void *bytes = rows_blob(r, column, &n);
  if (!bytes || n > SIGNATURE_BYTES)
    return json_null();
  str_hex(bytes, n, text);
  return json_string(text);
}

static int proof_versions(struct store *s, int64_t study, json_t *list) {
  struct rows r = store_query(s,
                              "SELECT i.version, i.text, i.findings, i.aids, i.statement, i.signature, i.key, w.at FROM"
                              " interpretation i LEFT JOIN withdrawal w ON w.interpretation = i.id WHERE i.study = ?"
                              " ORDER BY i.version",
                              "i", study);
  int err = 0;
  while (err == 0 && rows_next(&r)) {
    json_t *x =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:s, s:I, s:o}", "aids", parsed(&r, 3), "findings", parsed(&r, 2),
                  "public_key", hex(&r, 6), "signature", hex(&r, 5), "statement", parsed(&r, 4), "text",
                  rows_text(&r, 1), "version", (json_int_t)rows_int(&r, 0), "withdrawn", json_time(rows_int(&r, 7)));
    err = json_array_append_new(list, x) < 0 ? -ENOMEM : 0;
  }
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

static int proof_keys(struct store *s, int64_t study, json_t *list) {
  struct rows r = store_query(s,
                              "SELECT public, rpps, at FROM signing_key WHERE public IN (SELECT key FROM interpretation"
                              " WHERE study = ?) ORDER BY public",
                              "i", study);
  int err = 0;
  while (err == 0 && rows_next(&r)) {
    size_t n;
    const void *public = rows_blob(&r, 0, &n);
    json_t *x =
        n == SIGNATURE_PUBLIC ? proof_key(store_site_key(s)->secret, public, rows_text(&r, 1), rows_int(&r, 2)) : NULL;
    err = json_array_append_new(list, x) < 0 ? -ENOMEM : 0;
  }
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

/* The records that the statements name, whatever became of them since. */
static int proof_records(struct store *s, struct artefacts *a, int64_t study, json_t *list) {
  struct rows r =
      store_query(s,
                  "SELECT r.id, r.sha256, q.capture FROM record r JOIN acquisition q ON q.id = r.acquisition"
                  " WHERE r.study = ?1 AND EXISTS(SELECT 1 FROM interpretation i, json_each(i.statement,"
                  " '$.records') e WHERE i.study = ?1 AND e.value = r.sha256) ORDER BY r.id",
                  "i", study);
  int err = 0;
  while (err == 0 && rows_next(&r)) {
    char ref[STR_REF_MAX];
    json_t *record = NULL;
    str_ref('R', rows_int(&r, 0), ref);
    err = reading_load(a, rows_text(&r, 1), &record);
    if (err == 0)
      err = json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:s}", "capture_sha256", rows_text(&r, 2), "id", ref,
                                                  "record", record, "sha256", rows_text(&r, 1))) < 0
                ? -ENOMEM
                : 0;
  }
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

enum problem interpret_proof(struct store *s, struct artefacts *a, const struct study *study, json_t **ret) {
  char ref[STR_REF_MAX];
  json_t *versions = json_array(), *keys = json_array(), *records = json_array();
  int err = proof_versions(s, study->id, versions);
  if (err >= 0)
    err = proof_keys(s, study->id, keys);
  if (err >= 0)
    err = proof_records(s, a, study->id, records);
  str_ref('S', study->id, ref);
  json_t *proof = json_pack("{s:s, s:o, s:o, s:o, s:s}", "act", study->act, "interpretations", versions, "keys", keys,
                            "records", records, "study", ref);
  if (err >= 0)
    err = proof ? proof_seal(proof, store_site_key(s)->secret) : -ENOMEM;
  if (err < 0) {
    json_decref(proof);
    return problem_of_errno(err);
  }
  if (!json_array_size(json_object_get(proof, "interpretations"))) {
    json_decref(proof);
    return P_not_signed;
  }
  *ret = proof;
  return P_OK;
}
