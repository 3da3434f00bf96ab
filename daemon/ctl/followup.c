/* Follow-ups, and what somebody is to be told. */
#include "ctl.h"

#include <string.h>

/* ---- follow-ups --------------------------------------------------------------------------------------------- */

static void print_followup(FILE *f, const json_t *w) {
  print_field(f, "Suivi", json_text(w, "id"));
  print_field(f, "Patient", json_text(w, "patient"));
  print_field(f, "Protocole", json_text(w, "protocol"));
  print_field(f, "Médecin", json_text(w, "gp"));
  print_field(f, "Infirmier(ère)", json_text(w, "nurse"));
  print_field(f, "Ouvert le", show_time(json_text(w, "opened")));
  if (json_text(w, "closed"))
    print_field(f, "Terminé le", show_time(json_text(w, "closed")));
}

static int print_changed(struct ctl *c, int r, const struct api_answer *a) {
  if (r == CTL_OK && !api_json(c, a))
    print_followup(c->out, a->json);
  return r;
}

int cmd_followup_open(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  json_t *body = json_pack("{s:s, s:s, s:s*, s:s*}", "patient", c->args[0], "protocol", c->args[1], "gp",
                           ctl_option(c, "gp"), "nurse", ctl_option(c, "nurse"));
  int r = api_post(c, body, &a, "/v1/followups");
  return print_changed(c, r, &a);
}

int cmd_followup_transfer(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  const char *gp = ctl_option(c, "gp"), *nurse = ctl_option(c, "nurse");
  if (!gp && !nurse)
    return ctl_usage(c, "il faut --gp RPPS, --nurse RPPS ou les deux");
  json_t *body = json_pack("{s:s*, s:s*, s:s}", "gp", gp, "nurse", nurse, "reason", ctl_option(c, "reason"));
  int r = api_post(c, body, &a, "/v1/followups/%s/transfer", c->args[0]);
  return print_changed(c, r, &a);
}

int cmd_followup_close(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_post(c, json_pack("{s:s}", "reason", ctl_option(c, "reason")), &a, "/v1/followups/%s/close", c->args[0]);
  return print_changed(c, r, &a);
}

static void add_followup(struct table *t, const json_t *w) {
  table_add(t, json_text(w, "id"));
  table_add(t, json_text(w, "patient"));
  table_add(t, json_text(w, "protocol"));
  table_add(t, json_text(w, "gp"));
  table_add(t, json_text(w, "nurse"));
  table_add(t, show_time(json_text(w, "opened")));
  table_add(t, show_time(json_text(w, "closed")));
}

int cmd_followup_list(struct ctl *c) {
  static const char *const heads[] = {"Suivi",          "Patient",   "Protocole",  "Médecin",
                                      "Infirmier(ère)", "Ouvert le", "Terminé le", NULL};
  _buf_cleanup_ struct buf target = BUF_INIT(256);
  struct table t;
  bool more = false;
  buf_text(&target, "/v1/followups");
  api_query(&target, "patient", ctl_option(c, "patient"));
  table_init(&t, heads);
  int r = api_pages(c, buf_cstr(&target), ctl_number(c, "limit", 50), add_followup, &t, &more);
  return print_list(c, &t, r, more, "Aucun suivi.");
}

static void print_teams(FILE *f, const json_t *teams) {
  static const char *const heads[] = {"Depuis le", "Médecin", "Infirmier(ère)", "Par", "Motif", NULL};
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(teams); i++) {
    const json_t *team = json_array_get(teams, i);
    table_add(&t, show_time(json_text(team, "at")));
    table_add(&t, json_text(team, "gp"));
    table_add(&t, json_text(team, "nurse"));
    table_add(&t, json_text(team, "by"));
    table_add(&t, json_text(team, "reason"));
  }
  fputc('\n', f);
  table_print(&t, f, "Aucune équipe.");
  table_finish(&t);
}

static void print_studies(FILE *f, const json_t *studies) {
  static const char *const heads[] = {"Examen",   "Acte",    "État",   "Créé le", "Transmis le",
                                      "Échéance", "Lecteur", "Refait", NULL};
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(studies); i++) {
    const json_t *study = json_array_get(studies, i);
    table_add(&t, json_text(study, "id"));
    table_add(&t, say_modality(json_text(study, "act")));
    table_add(&t, say_state(json_text(study, "state")));
    table_add(&t, show_time(json_text(study, "created")));
    table_add(&t, show_time(json_text(study, "accepted")));
    table_add(&t, show_time(json_text(study, "due")));
    table_add(&t, say_role(json_text(study, "reader")));
    table_add(&t, json_text(study, "repeats"));
  }
  fputc('\n', f);
  table_print(&t, f, "Aucun examen.");
  table_finish(&t);
}

int cmd_followup_show(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/followups/%s", c->args[0]);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_followup(c->out, a.json);
  print_teams(c->out, json_object_get(a.json, "teams"));
  print_studies(c->out, json_object_get(a.json, "studies"));
  return CTL_OK;
}

/* ---- notices ------------------------------------------------------------------------------------------------ */

int cmd_page(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = post_study(c, json_pack("{s:s*}", "text", ctl_option(c, "text")), "page", &a);
  if (r == CTL_OK && !c->json)
    print_field(c->out, "URGENT depuis", show_time(json_text(a.json, "urgent")));
  return r;
}

static void add_notice(struct table *t, const json_t *n) {
  const json_t *heard = json_object_get(n, "heard");
  const char *study = json_text(n, "study");
  table_add(t, json_text(n, "id"));
  table_add(t, show_time(json_text(n, "at")));
  table_add(t, say_notice(json_text(n, "kind")));
  table_add(t, study ? study : json_text(n, "delegation"));
  table_add(t, json_text(n, "by"));
  table_add(t, json_text(n, "text"));
  if (json_is_object(heard))
    table_addf(t, "le %s par %s", known(show_time(json_text(heard, "at"))), known(json_text(heard, "by")));
  else
    table_add(t, "NON");
}

int cmd_notices(struct ctl *c) {
  static const char *const heads[] = {"Avis", "Le", "Quoi", "Objet", "De", "Message", "Entendu", NULL};
  struct table t;
  bool more = false;
  table_init(&t, heads);
  int r = api_pages(c, "/v1/notices", ctl_number(c, "limit", 50), add_notice, &t, &more);
  return print_list(c, &t, r, more, "Aucun avis.");
}

int cmd_heard(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_post(c, NULL, &a, "/v1/notices/%s/acknowledge", c->args[0]);
  if (r == CTL_OK && !api_json(c, &a))
    print_fieldf(c->out, "Avis", "%s, entendu", c->args[0]);
  return r;
}
