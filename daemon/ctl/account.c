/* Accounts, and who is calling. */
#include "ctl.h"

/* "/v1/users/<name><rest>" */
static const char *user_target(struct buf *b, const char *name, const char *rest) {
  buf_text(b, "/v1/users/");
  http_encode(b, name);
  buf_text(b, rest);
  return buf_cstr(b);
}

static int post_user(struct ctl *c, json_t *body, const char *rest, struct api_answer *a) {
  _buf_cleanup_ struct buf b = BUF_INIT(1024);
  const char *target = user_target(&b, c->args[0], rest);
  return api_post(c, body, a, "%s", target ? target : "");
}

int cmd_user_add(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  json_t *body = json_pack("{s:s, s:s, s:s}", "name", c->args[0], "role", ctl_option(c, "role"), "display",
                           ctl_option(c, "display") ? ctl_option(c, "display") : c->args[0]);
  int r = api_post(c, body, &a, "/v1/users");
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Compte", json_text(a.json, "name"));
  print_field(c->out, "Rôle", say_role(json_text(a.json, "role")));
  print_field(c->out, "Nom affiché", json_text(a.json, "display"));
  print_field(c->out, "Jeton", json_text(a.json, "token"));
  fputs("Ce jeton n'est affiché qu'une fois : l'enregistrer dans un fichier lisible de ce seul utilisateur.\n", c->out);
  return CTL_OK;
}

int cmd_user_token(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = post_user(c, NULL, "/token", &a);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Compte", c->args[0]);
  print_field(c->out, "Jeton", json_text(a.json, "token"));
  fputs("Ce jeton n'est affiché qu'une fois ; les précédents ne valent plus rien.\n", c->out);
  return CTL_OK;
}

int cmd_user_disable(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = post_user(c, NULL, "/disable", &a);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Compte fermé", c->args[0]);
  return CTL_OK;
}

int cmd_user_password(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = post_user(c, NULL, "/password", &a);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Compte", c->args[0]);
  print_field(c->out, "Mot de passe", json_text(a.json, "password"));
  fputs("Ce mot de passe n'est affiché qu'une fois ; il est à changer à la première ouverture de session.\n", c->out);
  return CTL_OK;
}

int cmd_user_link(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = post_user(c, json_pack("{s:s}", "rpps", c->args[1]), "/professional", &a);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Compte", c->args[0]);
  print_field(c->out, "RPPS", json_text(a.json, "rpps"));
  return CTL_OK;
}

static int change_grant(struct ctl *c, const char *rest) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = post_user(c, json_pack("{s:s}", "person", c->args[1]), rest, &a);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Compte", c->args[0]);
  print_field(c->out, json_is_true(json_object_get(a.json, "may")) ? "Agit pour" : "N'agit plus pour",
              json_text(a.json, "person"));
  return CTL_OK;
}

int cmd_user_grant(struct ctl *c) {
  return change_grant(c, "/grant");
}

int cmd_user_revoke(struct ctl *c) {
  return change_grant(c, "/revoke");
}

int cmd_user_list(struct ctl *c) {
  static const char *const heads[] = {"Compte", "Rôle", "Nom", "RPPS", "État", "Créé le", NULL};
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/users");
  if (r != CTL_OK || api_json(c, &a))
    return r;
  struct table t;
  table_init(&t, heads);
  const json_t *items = json_object_get(a.json, "items");
  for (size_t i = 0; i < json_array_size(items); i++) {
    const json_t *u = json_array_get(items, i), *disabled = json_object_get(u, "disabled");
    table_add(&t, json_text(u, "name"));
    table_add(&t, say_role(json_text(u, "role")));
    table_add(&t, json_text(u, "display"));
    table_add(&t, json_text(u, "rpps"));
    table_add(&t, json_is_true(disabled) || json_is_string(disabled) ? "fermé" : "ouvert");
    table_add(&t, show_time(json_text(u, "created")));
  }
  table_print(&t, c->out, "Aucun compte.");
  table_finish(&t);
  return CTL_OK;
}

int cmd_me(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/me");
  if (r != CTL_OK || api_json(c, &a))
    return r;
  const char *person = json_text(a.json, "acting_for");
  print_field(c->out, "Compte", json_text(a.json, "name"));
  if (person)
    print_field(c->out, "Agit pour", person);
  print_field(c->out, "Rôle", say_role(json_text(a.json, "role")));
  print_field(c->out, "RPPS", json_text(a.json, "rpps"));
  if (json_is_true(json_object_get(a.json, "must_change")))
    print_field(c->out, "Mot de passe", "à changer à la prochaine ouverture de session");
  const json_t *delegations = json_object_get(a.json, "delegations");
  if (json_array_size(delegations)) {
    fputc('\n', c->out);
    print_delegations(c->out, delegations);
  }
  return CTL_OK;
}
