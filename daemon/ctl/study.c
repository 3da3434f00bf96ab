/* Orders, studies and the queue. */
#include "ctl.h"

#include <string.h>

/* The study that an order's answer holds: an object, or only its id. */
static const char *order_study(const json_t *order, const char **ret_state) {
  const json_t *study = json_object_get(order, "study");
  *ret_state = json_text(study, "state");
  return json_is_string(study) ? json_string_value(study) : json_text(study, "id");
}

int cmd_order(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  const char *state;
  json_t *body =
      json_pack("{s:s, s:s, s:s*}", "patient", c->args[0], "act", c->args[1], "followup", ctl_option(c, "followup"));
  int r = api_post(c, body, &a, "/v1/orders");
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Prescription", json_text(a.json, "id"));
  print_field(c->out, "Patient", show_patient(json_object_get(a.json, "patient")));
  print_field(c->out, "Acte", say_modality(json_text(a.json, "act")));
  print_field(c->out, "Examen", order_study(a.json, &state));
  return CTL_OK;
}

static void add_order(struct table *t, const json_t *o) {
  const char *state, *study = order_study(o, &state);
  table_add(t, json_text(o, "id"));
  table_add(t, show_patient(json_object_get(o, "patient")));
  table_add(t, say_modality(json_text(o, "act")));
  table_add(t, show_time(json_text(o, "ordered")));
  table_add(t, json_text(o, "ordered_by"));
  table_add(t, study);
  table_add(t, say_state(state));
}

int print_list(struct ctl *c, struct table *t, int r, bool more, const char *empty) {
  if (r == CTL_OK && !c->json)
    table_print(t, c->out, empty);
  if (r == CTL_OK && more)
    ctl_say(c, "la liste continue : en voir plus avec --limit N");
  table_finish(t);
  return r;
}

int cmd_order_list(struct ctl *c) {
  static const char *const heads[] = {"Prescription", "Patient", "Acte", "Le", "Par", "Examen", "État", NULL};
  _buf_cleanup_ struct buf target = BUF_INIT(256);
  struct table t;
  bool more = false;
  buf_text(&target, "/v1/orders");
  api_query(&target, "patient", ctl_option(c, "patient"));
  table_init(&t, heads);
  int r = api_pages(c, buf_cstr(&target), ctl_number(c, "limit", 50), add_order, &t, &more);
  return print_list(c, &t, r, more, "Aucune prescription.");
}

static void add_queue(struct table *t, const json_t *q) {
  const json_t *patient = json_object_get(q, "patient"), *claim = json_object_get(q, "claim");
  int64_t age;
  table_add(t, json_text(q, "study"));
  table_add(t, show_patient(patient));
  table_add(t, show_date(json_text(patient, "birth_date")));
  table_add(t, say_modality(json_text(q, "act")));
  table_add(t, say_state(json_text(q, "state")));
  table_add(t, json_int(q, "age_seconds", 0, INT64_MAX, &age) == 0 ? show_age(age) : NULL);
  const char *due = show_time(json_text(q, "due"));
  if (json_is_true(json_object_get(q, "urgent")))
    table_add(t, "URGENT");
  else
    table_addf(t, "%s%s", due ? due : "—", json_is_true(json_object_get(q, "overdue")) ? " (en retard)" : "");
  table_add(t, json_is_true(json_object_get(q, "clean")) ? "propre" : "à vérifier");
  table_add(t, say_role(json_text(q, "reader")));
  table_add(t, json_text(claim, "by"));
}

int cmd_queue(struct ctl *c) {
  static const char *const heads[] = {"Examen",   "Patient", "Né(e) le", "Acte",     "État", "Attente",
                                      "Échéance", "Qualité", "Lecteur",  "Pris par", NULL};
  _buf_cleanup_ struct buf target = BUF_INIT(256);
  struct table t;
  bool more = false;
  buf_text(&target, "/v1/queue");
  api_query(&target, "state", ctl_option(c, "state"));
  api_query(&target, "act", ctl_option(c, "act"));
  api_query(&target, "mine", ctl_option(c, "mine") ? "1" : NULL);
  table_init(&t, heads);
  int r = api_pages(c, buf_cstr(&target), ctl_number(c, "limit", 0), add_queue, &t, &more);
  return print_list(c, &t, r, more, "Rien n'attend d'interprétation.");
}

int post_study(struct ctl *c, json_t *body, const char *verb, struct api_answer *a) {
  int r = api_post(c, body, a, "/v1/studies/%s/%s", c->args[0], verb);
  if (r != CTL_OK || api_json(c, a))
    return r;
  print_field(c->out, "Examen", c->args[0]);
  print_field(c->out, "État", say_state(json_text(a->json, "state")));
  return CTL_OK;
}

int cmd_cancel(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  return post_study(c, json_pack("{s:s*}", "reason", ctl_option(c, "reason")), "cancel", &a);
}

int cmd_repeat(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  return post_study(c, json_pack("{s:s*}", "reason", ctl_option(c, "reason")), "repeat", &a);
}

int cmd_accept(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  json_t *body = json_pack("{s:s*}", "comment", ctl_option(c, "comment"));
  if (ctl_option(c, "confirm"))
    json_object_set_new(body, "confirm", json_true());
  if (ctl_option(c, "height"))
    json_object_set_new(body, "height_cm", json_string(ctl_option(c, "height")));
  int r = post_study(c, body, "accept", &a);
  const char *code = json_text(a.json, "code");
  if (r == CTL_REFUSED && code && !strcmp(code, "confirmation_needed"))
    ctl_say(c, "après avoir vu l'enregistrement (asaleectl show %s) : asaleectl accept %s --confirm", c->args[0],
            c->args[0]);
  return r;
}

int cmd_finish(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  return post_study(c, NULL, "finish", &a);
}

int cmd_redecode(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  return c->args[0][0] == 'U' ? redecode_unmatched(c) : post_study(c, NULL, "redecode", &a);
}

/* ---- to another order --------------------------------------------------------------------------------------- */

/* The records that stand. */
static json_t *standing(const json_t *study) {
  const json_t *records = json_object_get(study, "records");
  json_t *ids = json_array();
  for (size_t i = 0; i < json_array_size(records); i++) {
    const json_t *record = json_array_get(records, i);
    if (!json_is_true(json_object_get(record, "superseded")))
      json_array_append(ids, json_object_get(record, "id"));
  }
  return ids;
}

/* "R-3,R-4", to a list. */
static json_t *records_list(const char *text) {
  json_t *ids = json_array();
  for (const char *p = text; *p; p += p[strcspn(p, ",")] ? strcspn(p, ",") + 1 : strcspn(p, ","))
    json_array_append_new(ids, json_stringn(p, strcspn(p, ",")));
  return ids;
}

static void print_side(FILE *f, const char *label, const json_t *study) {
  const char *id = json_text(study, "id"), *state = say_state(json_text(study, "state")),
             *patient = show_patient(json_object_get(study, "patient"));
  print_fieldf(f, label, "%s, %s, %s", id ? id : "?", patient ? patient : "?", state ? state : "?");
}

int cmd_reassign(struct ctl *c) {
  _answer_cleanup_ struct api_answer study = {0}, a = {0};
  const char *given = ctl_option(c, "record");
  int r = given ? CTL_OK : api_get(c, &study, "/v1/studies/%s", c->args[0]);
  if (r != CTL_OK)
    return r;
  json_t *records = given ? records_list(given) : standing(study.json);
  if (!json_array_size(records)) {
    json_decref(records);
    ctl_say(c, "l'examen %s n'a pas d'enregistrement en cours (not_found)", c->args[0]);
    return CTL_REFUSED;
  }
  json_t *body =
      json_pack("{s:s, s:s, s:s, s:b, s:o}", "order", ctl_option(c, "order"), "birth_date", ctl_option(c, "birth-date"),
                "reason", ctl_option(c, "reason"), "confirm", ctl_option(c, "confirm") != NULL, "records", records);
  r = api_post(c, body, &a, "/v1/studies/%s/reassign", c->args[0]);
  if (r == CTL_REFUSED)
    hint_confirm(c, &a);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_side(c->out, "Depuis", json_object_get(a.json, "from"));
  print_side(c->out, "Vers", json_object_get(a.json, "to"));
  return CTL_OK;
}
