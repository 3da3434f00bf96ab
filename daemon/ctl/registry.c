/* The site's protocols, professionals, delegations and absences. */
#include "ctl.h"

#include "wall.h"
#include <string.h>

/* A list that comes whole. */
static int get_list(struct ctl *c, const char *target, void (*print)(FILE *f, const json_t *items)) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "%s", known(target));
  if (r == CTL_OK && !api_json(c, &a))
    print(c->out, json_object_get(a.json, "items"));
  return r;
}

/* The answer to what made or ended one: its id. */
static int print_made(struct ctl *c, int r, const struct api_answer *a, const char *label, const char *what) {
  if (r == CTL_OK && !api_json(c, a))
    print_fieldf(c->out, label, "%s, %s", known(json_text(a->json, "id")), what);
  return r;
}

/* ---- protocols ---------------------------------------------------------------------------------------------- */

static void add_act(struct table *t, const char *name, const json_t *act) {
  const char *delay = show_int(act, "delay_hours");
  int64_t recall;
  table_add(t, say_modality(name));
  table_add(t, json_is_true(json_object_get(act, "prescribe")) ? "infirmier(ère)" : "médecin");
  table_add(t, json_is_true(json_object_get(act, "perform")) ? "infirmier(ère)" : "médecin");
  table_add(t, say_role(json_text(act, "reader")));
  table_addf(t, "%s h", known(delay));
  if (json_int(act, "recall_months", 1, INT32_MAX, &recall) == 0)
    table_addf(t, "%d mois", (int)recall);
  else
    table_add(t, NULL);
  table_addf(t, "%s, puis %s", known(say_sees(json_text(act, "nurse_sees_before"))),
             known(say_sees(json_text(act, "nurse_sees_after"))));
  table_add(t, json_text(act, "authorisation"));
}

static void print_protocols(FILE *f, const json_t *items) {
  static const char *const heads[] = {
      "Acte", "Prescrit par", "Fait par", "Lu par", "Délai", "Rappel", "L'infirmier(ère) en voit", "Autorisation",
      NULL};
  if (!json_array_size(items))
    fputs("Aucun protocole.\n", f);
  for (size_t i = 0; i < json_array_size(items); i++) {
    const json_t *protocol = json_array_get(items, i);
    const char *name;
    json_t *act;
    struct table t;
    table_init(&t, heads);
    json_object_foreach(json_object_get(protocol, "acts"), name, act) {
      add_act(&t, name, act);
    }
    if (i)
      fputc('\n', f);
    print_field(f, "Protocole", json_text(protocol, "id"));
    print_field(f, "Libellé", json_text(protocol, "label"));
    print_field(f, "Autorisation", json_text(protocol, "authorisation"));
    table_print(&t, f, "N'ouvre aucun acte.");
    table_finish(&t);
  }
}

int cmd_protocol_list(struct ctl *c) {
  return get_list(c, "/v1/protocols", print_protocols);
}

/* ---- professionals ------------------------------------------------------------------------------------------ */

int cmd_professional_put(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  char target[64];
  snprintf(target, sizeof target, "/v1/professionals/%s", c->args[0]);
  struct api_request request = {.method = "PUT",
                                .target = target,
                                .body = json_pack("{s:s, s:s, s:s, s:s}", "family", ctl_option(c, "family"), "given",
                                                  ctl_option(c, "given"), "role", ctl_option(c, "role"), "finess",
                                                  ctl_option(c, "finess"))};
  int r = api_call(c, &request, &a);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, a.status == 201 ? "Enregistré(e)" : "Corrigé(e)", json_text(a.json, "rpps"));
  print_field(c->out, "Nom", show_patient(a.json));
  print_field(c->out, "Rôle", say_role(json_text(a.json, "role")));
  print_field(c->out, "FINESS", json_text(a.json, "finess"));
  return CTL_OK;
}

static void print_professionals(FILE *f, const json_t *items) {
  static const char *const heads[] = {"RPPS", "Nom", "Prénom", "Rôle", "FINESS", "Compte", NULL};
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(items); i++) {
    const json_t *p = json_array_get(items, i);
    table_add(&t, json_text(p, "rpps"));
    table_add(&t, json_text(p, "family"));
    table_add(&t, json_text(p, "given"));
    table_add(&t, say_role(json_text(p, "role")));
    table_add(&t, json_text(p, "finess"));
    table_add(&t, json_text(p, "account"));
  }
  table_print(&t, f, "Aucun professionnel.");
  table_finish(&t);
}

int cmd_professional_list(struct ctl *c) {
  return get_list(c, "/v1/professionals", print_professionals);
}

/* ---- delegations -------------------------------------------------------------------------------------------- */

int cmd_delegation_add(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "nurse", ctl_option(c, "nurse"), "gp",
                           ctl_option(c, "gp"), "protocol", ctl_option(c, "protocol"), "authorisation",
                           ctl_option(c, "authorisation"), "authorised", ctl_option(c, "authorised"), "from",
                           ctl_option(c, "from"), "until", ctl_option(c, "until"), "nurse_adhesion",
                           ctl_option(c, "nurse-adhesion"), "gp_adhesion", ctl_option(c, "gp-adhesion"));
  int r = api_post(c, body, &a, "/v1/delegations");
  return print_made(c, r, &a, "Délégation", "enregistrée");
}

/* What ends within the 60 days that the daemon warns of stands out. */
static void add_delegation_state(struct table *t, const json_t *d) {
  const char *state = known(json_text(d, "state")), *reason = json_text(d, "end_reason");
  if (!strcmp(state, "expiring") && show_int(d, "days_left"))
    table_addf(t, "FINIT DANS %s j", show_int(d, "days_left"));
  else if (!strcmp(state, "ended") && reason)
    table_addf(t, "arrêtée (%s)", reason);
  else
    table_add(t, !strcmp(state, "valid")      ? "en cours"
                 : !strcmp(state, "expiring") ? "FINIT BIENTÔT"
                 : !strcmp(state, "future")   ? "à venir"
                 : !strcmp(state, "expired")  ? "échue"
                 : !strcmp(state, "ended")    ? "arrêtée"
                                              : state);
}

void print_delegations(FILE *f, const json_t *items) {
  static const char *const heads[] = {"Délégation", "Infirmier(ère)", "Médecin",       "Protocole", "Du",
                                      "Au",         "État",           "Autorisée par", NULL};
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(items); i++) {
    const json_t *d = json_array_get(items, i);
    table_add(&t, json_text(d, "id"));
    table_add(&t, json_text(d, "nurse"));
    table_add(&t, json_text(d, "gp"));
    table_add(&t, json_text(d, "protocol"));
    table_add(&t, show_date(json_text(d, "from")));
    table_add(&t, show_date(json_text(d, "until")));
    add_delegation_state(&t, d);
    table_addf(&t, "%s, le %s", known(json_text(d, "authorisation")), known(show_date(json_text(d, "authorised"))));
  }
  table_print(&t, f, "Aucune délégation.");
  table_finish(&t);
}

int cmd_delegation_list(struct ctl *c) {
  _buf_cleanup_ struct buf target = BUF_INIT(128);
  buf_text(&target, "/v1/delegations");
  api_query(&target, "rpps", ctl_option(c, "rpps"));
  return get_list(c, buf_cstr(&target), print_delegations);
}

int cmd_delegation_end(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_post(c, json_pack("{s:s}", "reason", ctl_option(c, "reason")), &a, "/v1/delegations/%s/end", c->args[0]);
  return print_made(c, r, &a, "Délégation", "arrêtée");
}

/* ---- absences ----------------------------------------------------------------------------------------------- */

int cmd_absence_add(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  json_t *body = json_pack("{s:s, s:s, s:s, s:s*}", "deputy", ctl_option(c, "deputy"), "first", ctl_option(c, "first"),
                           "last", ctl_option(c, "last"), "gp", ctl_option(c, "gp"));
  int r = api_post(c, body, &a, "/v1/absences");
  return print_made(c, r, &a, "Absence", "enregistrée");
}

static const char *absence_state(const json_t *absence, const char *day) {
  const char *first = json_text(absence, "first"), *last = json_text(absence, "last");
  return json_is_true(json_object_get(absence, "ended")) ? "écourtée"
         : first && strcmp(day, first) < 0               ? "à venir"
         : last && strcmp(day, last) > 0                 ? "passée"
                                                         : "EN COURS";
}

static void print_absences(FILE *f, const json_t *items) {
  static const char *const heads[] = {"Absence", "Médecin", "Remplacé par", "Du", "Au", "État", NULL};
  char day[WALL_DATE_MAX];
  struct table t;
  wall_date(wall_now().us, day);
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(items); i++) {
    const json_t *absence = json_array_get(items, i);
    table_add(&t, json_text(absence, "id"));
    table_add(&t, json_text(absence, "gp"));
    table_add(&t, json_text(absence, "deputy"));
    table_add(&t, show_date(json_text(absence, "first")));
    table_add(&t, show_date(json_text(absence, "last")));
    table_add(&t, absence_state(absence, day));
  }
  table_print(&t, f, "Aucune absence.");
  table_finish(&t);
}

int cmd_absence_list(struct ctl *c) {
  return get_list(c, "/v1/absences", print_absences);
}

int cmd_absence_end(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_post(c, NULL, &a, "/v1/absences/%s/end", c->args[0]);
  return print_made(c, r, &a, "Absence", "terminée : le médecin est de retour");
}
