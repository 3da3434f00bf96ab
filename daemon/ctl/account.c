/* Accounts and patients. */
#include "ctl.h"

#include <string.h>

/* "/v1/users/<name><rest>" */
static const char *user_target(struct buf *b, const char *name, const char *rest) {
  buf_text(b, "/v1/users/");
  http_encode(b, name);
  buf_text(b, rest);
  return buf_cstr(b);
}

static int post_user(struct ctl *c, const char *rest, struct api_answer *a) {
  _buf_cleanup_ struct buf b = BUF_INIT(1024);
  const char *target = user_target(&b, c->args[0], rest);
  return api_post(c, NULL, a, "%s", target ? target : "");
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
  int r = post_user(c, "/token", &a);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Compte", c->args[0]);
  print_field(c->out, "Jeton", json_text(a.json, "token"));
  fputs("Ce jeton n'est affiché qu'une fois ; les précédents ne valent plus rien.\n", c->out);
  return CTL_OK;
}

int cmd_user_disable(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = post_user(c, "/disable", &a);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Compte fermé", c->args[0]);
  return CTL_OK;
}

int cmd_user_list(struct ctl *c) {
  static const char *const heads[] = {"Compte", "Rôle", "Nom", "État", "Créé le", NULL};
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
    table_add(&t, json_is_true(disabled) || json_is_string(disabled) ? "fermé" : "ouvert");
    table_add(&t, show_time(json_text(u, "created")));
  }
  table_print(&t, c->out, "Aucun compte.");
  table_finish(&t);
  return CTL_OK;
}

int cmd_patient_put(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  char target[128], if_match[32];
  snprintf(target, sizeof target, "/v1/patients/%s", c->args[0]);
  const char *version = ctl_option(c, "if-match");
  if (version)
    snprintf(if_match, sizeof if_match, "\"%s\"", version);
  struct api_request request = {
      .method = "PUT",
      .target = target,
      .if_match = version ? if_match : NULL,
      .body = json_pack("{s:s, s:s, s:s, s:s}", "family", ctl_option(c, "family"), "given", ctl_option(c, "given"),
                        "birth_date", ctl_option(c, "birth-date"), "sex", ctl_option(c, "sex")),
  };
  int r = api_call(c, &request, &a);
  const char *code = json_text(a.json, "code");
  if (r == CTL_REFUSED && code && (!strcmp(code, "precondition_required") || !strcmp(code, "precondition_failed")))
    ctl_say(c, "lire la version par « asaleectl patient show %s », puis la donner par --if-match", c->args[0]);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, a.status == 201 ? "Patient créé" : "Patient modifié", c->args[0]);
  if (show_int(a.json, "version"))
    print_field(c->out, "Version", show_int(a.json, "version"));
  return CTL_OK;
}

int cmd_patient_show(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/patients/%s", c->args[0]);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Patient", json_text(a.json, "id"));
  print_field(c->out, "Nom", json_text(a.json, "family"));
  print_field(c->out, "Prénom", json_text(a.json, "given"));
  print_field(c->out, "Né(e) le", show_date(json_text(a.json, "birth_date")));
  print_field(c->out, "Sexe", say_sex(json_text(a.json, "sex")));
  print_field(c->out, "Version", show_int(a.json, "version"));
  print_field(c->out, "Modifié le", show_time(json_text(a.json, "updated")));
  return CTL_OK;
}
