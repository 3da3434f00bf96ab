#include "people.h"

#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
  enum role role;
  const char *name;
} roles[] = {{ROLE_NURSE, "nurse"}, {ROLE_GP, "gp"}, {ROLE_ADMIN, "admin"}, {ROLE_LGC, "lgc"}};

const char *role_name(enum role r) {
  for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
    if (roles[i].role == r)
      return roles[i].name;
  return "system";
}

bool role_find(const char *name, enum role *ret) {
  for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
    if (!strcmp(roles[i].name, name)) {
      *ret = roles[i].role;
      return true;
    }
  return false;
}

struct actor caller_actor(const struct caller *c) {
  return (struct actor){.name = c->name, .acting_for = c->acting_for[0] ? c->acting_for : NULL};
}

const char *caller_person(const struct caller *c) {
  return c->acting_for[0] ? c->acting_for : c->name;
}

enum problem people_by_token(struct store *s, const char *token, struct caller *ret) {
  uint8_t raw[TOKEN_DIGITS / 2], hash[HASH_BYTES];
  if (strlen(token) != TOKEN_DIGITS || !str_unhex(token, raw, sizeof raw))
    return P_unauthenticated;
  hash_sha256(raw, sizeof raw, hash);
  enum problem p = P_unauthenticated;
  struct rows r =
      store_query(s, "SELECT name, role, token FROM user WHERE token = ? AND NOT disabled", "b", hash, sizeof hash);
  if (rows_next(&r)) {
    size_t n;
    const void *kept = rows_blob(&r, 2, &n);
    *ret = (struct caller){0};
    if (n == sizeof hash && equal_secret(kept, hash, n) && str_copy(ret->name, sizeof ret->name, rows_text(&r, 0)) &&
        role_find(rows_text(&r, 1), &ret->role))
      p = P_OK;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem people_act_for(struct store *s, struct caller *c, const char *person) {
  if (c->role != ROLE_LGC)
    return P_forbidden;
  enum problem p = P_forbidden;
  struct rows r = store_query(
      s, "SELECT name, role FROM user WHERE name = ? AND NOT disabled AND role IN ('nurse', 'gp')", "t", person);
  enum role role;
  if (rows_next(&r) && role_find(rows_text(&r, 1), &role) &&
      str_copy(c->acting_for, sizeof c->acting_for, rows_text(&r, 0))) {
    c->role = role;
    p = P_OK;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

static bool user_name_ok(const char *name) {
  size_t n = strlen(name);
  return n >= 1 && n < PERSON_NAME_MAX &&
         strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n &&
         strcmp(name, "root") && strcmp(name, "asaleed") && strncmp(name, "uid-", 4);
}

static void token_make(char token[static TOKEN_DIGITS + 1], uint8_t hash[static HASH_BYTES]) {
  uint8_t raw[TOKEN_DIGITS / 2];
  random_bytes(raw, sizeof raw);
  str_hex(raw, sizeof raw, token);
  hash_sha256(raw, sizeof raw, hash);
}

static enum problem user_act(struct store *s, const struct actor *by, const char *action, const char *name, int r) {
  if (r == 0)
    return P_not_found;
  if (r > 0)
    r = audit_add(s, by, action, name, NULL);
  return problem_of_errno(r);
}

enum problem people_add(struct store *s, const struct actor *by, const char *name, enum role role, const char *display,
                        char ret_token[static TOKEN_DIGITS + 1]) {
  uint8_t hash[HASH_BYTES];
  if (!user_name_ok(name))
    return P_invalid_field;
  token_make(ret_token, hash);
  int r = store_run(s, "INSERT INTO user(name, role, display, token, created) VALUES(?,?,?,?,?)", "tttbi", name,
                    role_name(role), display, hash, sizeof hash, wall_now().us);
  return user_act(s, by, "user.add", name, r);
}

enum problem people_new_token(struct store *s, const struct actor *by, const char *name,
                              char ret_token[static TOKEN_DIGITS + 1]) {
  uint8_t hash[HASH_BYTES];
  token_make(ret_token, hash);
  int r = store_run(s, "UPDATE user SET token = ? WHERE name = ? AND NOT disabled", "bt", hash, sizeof hash, name);
  return user_act(s, by, "user.token", name, r);
}

enum problem people_disable(struct store *s, const struct actor *by, const char *name) {
  int r = store_run(s, "UPDATE user SET disabled = 1 WHERE name = ?", "t", name);
  return user_act(s, by, "user.disable", name, r);
}

int people_list(struct store *s, json_t **ret) {
  _json_cleanup_ json_t *items = json_array();
  struct rows r = store_query(s, "SELECT name, role, display, disabled, created FROM user ORDER BY name", "");
  int err = items ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    char created[WALL_TEXT_MAX];
    wall_format(wall_local(rows_int(&r, 4)), created);
    json_t *item = json_pack("{s:s, s:b, s:s, s:s, s:s}", "created", created, "disabled", (int)rows_int(&r, 3),
                             "display", rows_text(&r, 2), "name", rows_text(&r, 0), "role", rows_text(&r, 1));
    err = item && json_array_append_new(items, item) == 0 ? 0 : -ENOMEM;
  }
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(items);
  return err;
}

/* ---- patients ---- */

bool patient_id_ok(const char *id) {
  size_t n = strlen(id);
  return n >= 1 && n <= PATIENT_ID_MAX &&
         strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

enum problem patient_find(struct store *s, const char *id, struct patient *ret) {
  struct rows r = store_query(s,
                              "SELECT p.id, v.family, v.given, v.birth_date, v.sex, v.version, v.at FROM patient p"
                              " JOIN patient_version v ON v.patient = p.id AND v.version = p.version WHERE p.id = ?",
                              "t", id);
  enum problem p = P_not_found;
  if (rows_next(&r)) {
    *ret = (struct patient){.version = rows_int(&r, 5), .updated = rows_int(&r, 6)};
    p = str_copy(ret->id, sizeof ret->id, rows_text(&r, 0)) &&
                str_copy(ret->family, sizeof ret->family, rows_text(&r, 1)) &&
                str_copy(ret->given, sizeof ret->given, rows_text(&r, 2)) &&
                str_copy(ret->birth_date, sizeof ret->birth_date, rows_text(&r, 3)) &&
                str_copy(ret->sex, sizeof ret->sex, rows_text(&r, 4))
            ? P_OK
            : P_internal;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem patient_put(struct store *s, const struct actor *by, struct patient *p, int64_t if_match, bool *ret_new) {
  struct patient known;
  enum problem found = patient_find(s, p->id, &known);
  if (found != P_OK && found != P_not_found)
    return found;
  *ret_new = found == P_not_found;
  if (*ret_new && if_match != 0) /* "*" too asks for one that is there (RFC 9110, 13.1.1) */
    return P_precondition_failed;
  if (!*ret_new) {
    if (if_match > 0 && if_match != known.version)
      return P_precondition_failed;
    if (!strcmp(known.family, p->family) && !strcmp(known.given, p->given) &&
        !strcmp(known.birth_date, p->birth_date) && !strcmp(known.sex, p->sex)) {
      *p = known;
      return P_OK;
    }
    if (if_match == 0)
      return P_precondition_required;
  }
  p->version = *ret_new ? 1 : known.version + 1;
  p->updated = wall_now().us;
  int r = store_run(s, "INSERT INTO patient_version(patient, version, family, given, birth_date, sex, at) VALUES(?,?,?,?,?,?,?)",
                    "tittt"
                    "ti",
                    p->id, p->version, p->family, p->given, p->birth_date, p->sex, p->updated);
  if (r >= 0)
    r = store_run(s, "INSERT INTO patient VALUES(?,?) ON CONFLICT(id) DO UPDATE SET version = excluded.version", "ti",
                  p->id, p->version);
  if (r >= 0)
    r = audit_add(s, by, *ret_new ? "patient.add" : "patient.change", p->id,
                  json_pack("{s:I}", "version", (json_int_t)p->version));
  if (r >= 0)
    r = change_add(s, "patient", p->id, NULL);
  return problem_of_errno(r);
}

int change_add(struct store *s, const char *kind, const char *ref, const char *state) {
  int r =
      store_run(s, "INSERT INTO change(at, kind, ref, state) VALUES(?,?,?,?)", "ittt", wall_now().us, kind, ref, state);
  return r < 0 ? r : 0;
}
