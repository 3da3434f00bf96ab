#include "people.h"

#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
  enum role role;
  const char *name;
} roles[] = {{ROLE_NURSE, "nurse"},
             {ROLE_GP, "gp"},
             {ROLE_ADMIN, "admin"},
             {ROLE_LGC, "lgc"},
             {ROLE_OPHTHALMOLOGIST, "ophthalmologist"},
             {ROLE_AUDITOR, "auditor"}};

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
  return (struct actor){.name = c->name, .acting_for = c->acting_for[0] ? c->acting_for : NULL, .from = c->from};
}

const char *caller_person(const struct caller *c) {
  return c->acting_for[0] ? c->acting_for : c->name;
}

/* name, role, rpps of one open account */
static bool caller_of(const struct rows *r, struct caller *ret) {
  *ret = (struct caller){0};
  return str_copy(ret->name, sizeof ret->name, rows_text(r, 0)) && role_find(rows_text(r, 1), &ret->role) &&
         str_copy(ret->rpps, sizeof ret->rpps, rows_is_null(r, 2) ? "" : rows_text(r, 2));
}

enum problem people_by_token(struct store *s, const char *token, struct caller *ret) {
  uint8_t raw[TOKEN_DIGITS / 2], hash[HASH_BYTES];
  if (strlen(token) != TOKEN_DIGITS || !str_unhex(token, raw, sizeof raw))
    return P_unauthenticated;
  hash_sha256(raw, sizeof raw, hash);
  enum problem p = P_unauthenticated;
  struct rows r = store_query(s, "SELECT name, role, rpps, token FROM user WHERE token = ? AND NOT disabled", "b", hash,
                              sizeof hash);
  if (rows_next(&r)) {
    size_t n;
    const void *kept = rows_blob(&r, 3, &n);
    if (n == sizeof hash && equal_secret(kept, hash, n) && caller_of(&r, ret))
      p = P_OK;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem people_by_name(struct store *s, const char *name, struct caller *ret) {
  struct rows r = store_query(s, "SELECT name, role, rpps FROM user WHERE name = ? AND NOT disabled", "t", name);
  enum problem p = rows_next(&r) && caller_of(&r, ret) ? P_OK : P_unauthenticated;
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem people_act_for(struct store *s, struct caller *c, const char *person) {
  if (c->role != ROLE_LGC)
    return P_forbidden;
  enum problem p = P_forbidden;
  struct caller whom;
  struct rows r = store_query(s,
                              "SELECT u.name, u.role, u.rpps FROM user u JOIN acting a ON a.person = u.name WHERE"
                              " a.lgc = ? AND u.name = ? AND NOT u.disabled AND u.role IN ('nurse', 'gp',"
                              " 'ophthalmologist')",
                              "tt", c->name, person);
  if (rows_next(&r) && caller_of(&r, &whom) && str_copy(c->acting_for, sizeof c->acting_for, whom.name)) {
    c->role = whom.role;
    memcpy(c->rpps, whom.rpps, sizeof c->rpps);
    p = P_OK;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

static bool user_name_ok(const char *name) {
  static const char *const taken[] = {"root", "asaleed", PERSON_UNKNOWN};
  size_t n = strlen(name);
  for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
    if (!strcmp(name, taken[i]))
      return false;
  return n >= 1 && n < PERSON_NAME_MAX &&
         strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n &&
         strncmp(name, "uid-", 4);
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

enum problem people_link(struct store *s, const struct actor *by, const char *name, const char *rpps) {
  int r = store_run(s,
                    "UPDATE user SET rpps = ?2 WHERE name = ?1 AND NOT disabled AND role = (SELECT role FROM"
                    " professional WHERE rpps = ?2 ORDER BY version DESC LIMIT 1)",
                    "tt", name, rpps);
  if (r > 0)
    r = audit_add(s, by, "user.link", name, json_pack("{s:s}", "rpps", rpps));
  else if (r == 0)
    return P_professional_unknown;
  return problem_of_errno(r);
}

enum problem people_grant(struct store *s, const struct actor *by, const char *lgc, const char *person, bool may) {
  int r =
      may ? store_run(s,
                      "INSERT OR IGNORE INTO acting SELECT l.name, p.name, ?3, ?4 FROM user l, user p WHERE l.name ="
                      " ?1 AND l.role = 'lgc' AND p.name = ?2 AND p.role IN ('nurse','gp','ophthalmologist')",
                      "ttit", lgc, person, wall_now().us, by->name)
          : store_run(s, "DELETE FROM acting WHERE lgc = ? AND person = ?", "tt", lgc, person);
  if (r > 0)
    r = audit_add(s, by, may ? "user.grant" : "user.revoke", lgc, json_pack("{s:s}", "person", person));
  else if (r == 0) { /* known already, or one of them is not */
    struct rows rows = store_query(s, "SELECT 1 FROM acting WHERE lgc = ? AND person = ?", "tt", lgc, person);
    bool there = rows_next(&rows);
    r = rows_finish(&rows);
    if (r == 0 && there != may)
      return P_not_found;
  }
  return problem_of_errno(r);
}

enum problem people_password(struct store *s, const char *name, char ret[static ACCOUNT_PASSWORD_MAX],
                             bool *ret_must_change) {
  enum problem p = P_unauthenticated;
  struct rows r = store_query(
      s, "SELECT password, must_change FROM user WHERE name = ? AND NOT disabled AND role <> 'lgc'", "t", name);
  if (rows_next(&r) && str_copy(ret, ACCOUNT_PASSWORD_MAX, rows_is_null(&r, 0) ? "" : rows_text(&r, 0))) {
    *ret_must_change = rows_int(&r, 1);
    p = P_OK;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem people_set_password(struct store *s, const struct actor *by, const char *name, const char *old,
                                 const char *encoded, bool must_change) {
  int r = store_run(s,
                    "UPDATE user SET password = ?3, must_change = ?4 WHERE name = ?1 AND NOT disabled AND role <> 'lgc'"
                    " AND (?2 IS NULL OR password IS ?2)",
                    "ttti", name, old, encoded, (int64_t)must_change);
  if (r == 0 && old)
    return P_login_refused;
  return user_act(s, by, "user.password", name, r);
}

int people_list(struct store *s, json_t **ret) {
  _json_cleanup_ json_t *items = json_array();
  struct rows r = store_query(s, "SELECT name, role, display, disabled, created, rpps FROM user ORDER BY name", "");
  int err = items ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    char created[WALL_TEXT_MAX];
    wall_format(wall_local(rows_int(&r, 4)), created);
    json_t *item =
        json_pack("{s:s, s:b, s:s, s:s, s:s, s:s?}", "created", created, "disabled", (int)rows_int(&r, 3), "display",
                  rows_text(&r, 2), "name", rows_text(&r, 0), "role", rows_text(&r, 1), "rpps", rows_text(&r, 5));
    err = item && json_array_append_new(items, item) == 0 ? 0 : -ENOMEM;
  }
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(items);
  return err;
}

int change_add(struct store *s, const char *kind, const char *ref, const char *state) {
  int r =
      store_run(s, "INSERT INTO change(at, kind, ref, state) VALUES(?,?,?,?)", "ittt", wall_now().us, kind, ref, state);
  return r < 0 ? r : 0;
}
