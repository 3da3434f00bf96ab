/* The tray: readings that belong to no patient, until somebody says whose they are. */
#include "ctl.h"

#include "str.h"
#include <string.h>

/* "DUPONT Marie, 02/03/1957": whom the instrument names, or NULL. */
static const char *show_subject(const json_t *subject, char text[static 512]) {
  const char *family = json_text(subject, "family"), *given = json_text(subject, "given"),
             *said = json_text(subject, "birth_date"), *birth = said && *said ? show_date(said) : "";
  family = family ? family : "";
  given = given ? given : "";
  snprintf(text, 512, "%s%s%s%s%s", family, *family && *given ? " " : "", given,
           (*family || *given) && *birth ? ", " : "", birth);
  return *text ? text : NULL;
}

/* "12 voies, 10,0 s" */
static void show_summary(const json_t *summary, char text[static 256]) {
  static const struct {
    const char *key, *one, *many;
  } parts[] = {{"channels", "voie", "voies"}, {"measures", "mesure", "mesures"}, {"pictures", "image", "images"}};
  char number[DEC_TEXT_MAX];
  size_t n = 0;
  text[0] = 0;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    int64_t count;
    if (json_int(summary, parts[i].key, 1, INT32_MAX, &count) == 0)
      n += (size_t)snprintf(text + n, 256 - n, "%s%d %s", n ? ", " : "", (int)count,
                            count == 1 ? parts[i].one : parts[i].many);
  }
  const char *seconds = json_text(summary, "seconds");
  if (seconds)
    snprintf(text + n, 256 - n, "%s%s s", n ? ", " : "", french_number(seconds, number));
}

static void add_unmatched(struct table *t, const json_t *u) {
  char subject[512], summary[256];
  const char *failure = json_text(json_object_get(u, "failure"), "code");
  show_summary(json_object_get(u, "summary"), summary);
  table_add(t, json_text(u, "id"));
  table_add(t, show_time(json_text(u, "created")));
  table_add(t, say_modality(json_text(u, "act")));
  table_add(t, show_time(json_text(u, "taken")));
  table_add(t, json_text(u, "device"));
  table_add(t, show_subject(json_object_get(u, "subject"), subject));
  table_add(t, summary);
  table_add(t, say_why(json_text(u, "why")));
  table_add(t, failure);
}

int cmd_unmatched_list(struct ctl *c) {
  static const char *const heads[] = {"Mesure",          "Reçue le", "Acte",     "Faite le", "Appareil",
                                      "Patient indiqué", "Contenu",  "Pourquoi", "Échec",    NULL};
  struct table t;
  bool more = false;
  table_init(&t, heads);
  int r = api_pages(c, "/v1/unmatched", ctl_number(c, "limit", 50), add_unmatched, &t, &more);
  return print_list(c, &t, r, more, "Aucune mesure sans patient.");
}

static void print_unmatched(FILE *f, const json_t *u) {
  char subject[512], summary[256];
  const json_t *failure = json_object_get(u, "failure"), *named = json_object_get(u, "subject"),
               *end = json_object_get(u, "end");
  show_summary(json_object_get(u, "summary"), summary);
  print_field(f, "Mesure", json_text(u, "id"));
  print_field(f, "Reçue le", show_time(json_text(u, "created")));
  print_field(f, "Acte", say_modality(json_text(u, "act")));
  print_field(f, "Faite le", show_time(json_text(u, "taken")));
  print_field(f, "Appareil", json_text(u, "device"));
  print_field(f, "Fichier", json_text(u, "file"));
  print_field(f, "Patient indiqué", show_subject(named, subject));
  if (json_text(named, "id"))
    print_field(f, "Son identifiant", json_text(named, "id"));
  if (json_text(named, "sex"))
    print_field(f, "Son sexe", say_sex(json_text(named, "sex")));
  print_field(f, "Contenu", summary);
  print_field(f, "Pourquoi ici", say_why(json_text(u, "why")));
  if (json_is_object(failure))
    print_fieldf(f, "Échec", "%s (%s)", json_text(failure, "detail") ? json_text(failure, "detail") : "?",
                 json_text(failure, "code") ? json_text(failure, "code") : "?");
  if (json_is_object(end))
    print_fieldf(f, "Devenir", "%s le %s par %s", say_out(json_text(end, "what")), show_time(json_text(end, "at")),
                 json_text(end, "by") ? json_text(end, "by") : "?");
}

int cmd_unmatched_show(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/unmatched/%s", c->args[0]);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_unmatched(c->out, a.json);
  if (json_is_object(json_object_get(a.json, "record")))
    print_record(c->out, json_object_get(a.json, "record"));
  return CTL_OK;
}

int redecode_unmatched(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_post(c, NULL, &a, "/v1/unmatched/%s/redecode", c->args[0]);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  const char *file = json_text(a.json, "file");
  print_fieldf(c->out, "Mesure", "%s, relecture demandée", c->args[0]);
  print_fieldf(c->out, "Suite", "asaleectl file %s", file ? file : "F-…");
  return CTL_OK;
}

void hint_confirm(struct ctl *c, const struct api_answer *a) {
  const char *code = json_text(a->json, "code");
  if (code && (!strcmp(code, "subject_differs") || !strcmp(code, "confirmation_needed")))
    ctl_say(c, "après vérification, et seulement si c'est bien le bon patient : la même commande avec --confirm et "
               "--reason TEXTE");
}

int cmd_attach(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  const char *reason = ctl_option(c, "reason");
  const bool confirm = ctl_option(c, "confirm") != NULL;
  if (confirm != (reason != NULL))
    return ctl_usage(c, "--confirm et --reason TEXTE vont ensemble");
  json_t *body = json_pack("{s:s, s:s, s:s*}", "order", ctl_option(c, "order"), "birth_date",
                           ctl_option(c, "birth-date"), "reason", reason);
  if (confirm)
    json_object_set_new(body, "confirm", json_true());
  int r = api_post(c, body, &a, "/v1/unmatched/%s/attach", c->args[0]);
  if (r == CTL_REFUSED)
    hint_confirm(c, &a);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  const char *study = json_text(a.json, "id");
  print_field(c->out, "Examen", study);
  print_field(c->out, "Patient", show_patient(json_object_get(a.json, "patient")));
  print_field(c->out, "État", say_state(json_text(a.json, "state")));
  if (study)
    print_fieldf(c->out, "Suite", "asaleectl show %s, puis asaleectl accept %s", study, study);
  return CTL_OK;
}

int cmd_discard(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r =
      api_post(c, json_pack("{s:s}", "reason", ctl_option(c, "reason")), &a, "/v1/unmatched/%s/discard", c->args[0]);
  if (r == CTL_OK && !api_json(c, &a))
    print_fieldf(c->out, "Mesure", "%s, écartée ; rien n'est effacé", c->args[0]);
  return r;
}
