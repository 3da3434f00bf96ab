/* Meetings of a GP and a nurse: what there is to talk about, the minutes. */
#include "ctl.h"

#include <string.h>

#define MINUTE_MAX 200000 /* the daemon's own limits are lower */

/* ---- the agenda ---- */

/* "S-1 ECG à interpréter (en retard)", "S-2 ECG interprété : normal" */
static void add_study(struct table *t, const json_t *y) {
  const char *conclusion = say_conclusion(json_text(json_object_get(y, "interpretation"), "conclusion")),
             *reason = json_text(json_object_get(y, "returned"), "label"), *state = say_state(json_text(y, "state")),
             *act = say_modality(json_text(y, "act"));
  table_add(t, json_text(y, "id"));
  table_addf(t, "%s %s%s%s%s", act ? act : "",
             reason  ? "renvoyé"
             : state ? state
                     : "",
             json_is_true(json_object_get(y, "overdue")) ? " (en retard)" : "", conclusion || reason ? " : " : "",
             conclusion ? conclusion
             : reason   ? reason
                        : "");
}

static void add_whose(struct table *t, const json_t *w) {
  table_add(t, json_text(w, "followup"));
  table_add(t, show_patient(json_object_get(w, "patient")));
}

static void add_followup(struct table *t, const json_t *w) {
  size_t i;
  const json_t *x;
  const size_t before = table_rows(t);
  json_array_foreach(json_object_get(w, "studies"), i, x) {
    add_whose(t, w);
    add_study(t, x);
  }
  json_array_foreach(json_object_get(w, "recalls"), i, x) {
    const char *act = say_modality(json_text(x, "act")), *due = show_date(json_text(x, "due"));
    add_whose(t, w);
    table_add(t, json_text(x, "order"));
    table_addf(t, "%s : rappel du %s%s", act ? act : "", due ? due : "?", json_text(x, "order") ? ", prescrit" : "");
  }
  json_array_foreach(json_object_get(w, "notices"), i, x) {
    add_whose(t, w);
    table_add(t, json_text(x, "study"));
    table_addf(t, "%s, pas encore entendu", say_notice(json_text(x, "kind")));
  }
  if (table_rows(t) > before)
    return;
  add_whose(t, w);
  table_add(t, NULL);
  table_add(t, "rien de nouveau");
}

int cmd_meeting_agenda(struct ctl *c) {
  static const char *const heads[] = {"Suivi", "Patient", "Examen", "À voir", NULL};
  static const char *const names[][2] = {{"gp", "gp"}, {"nurse", "nurse"}, {"from", "since"}};
  char target[256] = "/v1/meetings/agenda";
  struct table t;
  bool more = false;
  for (size_t i = 0, n = strlen(target), k = 0; i < sizeof names / sizeof *names; i++) {
    const char *value = ctl_option(c, names[i][0]);
    if (value)
      n += (size_t)snprintf(target + n, sizeof target - n, "%c%s=%s", k++ ? '&' : '?', names[i][1], value);
  }
  table_init(&t, heads);
  int r = api_pages(c, target, ctl_number(c, "limit", 0), add_followup, &t, &more);
  return print_list(c, &t, r, more, "Aucun suivi en commun.");
}

/* ---- the minutes ---- */

static void print_meeting(FILE *f, const json_t *m) {
  size_t i;
  const json_t *x;
  print_field(f, "Réunion", json_text(m, "id"));
  print_field(f, "Tenue le", show_date(json_text(m, "held")));
  print_field(f, "Médecin", json_text(m, "gp"));
  print_field(f, "Infirmier(ère)", json_text(m, "nurse"));
  print_fieldf(f, "Écrit par", "%s le %s", json_text(m, "by") ? json_text(m, "by") : "?",
               json_text(m, "at") ? show_time(json_text(m, "at")) : "?");
  print_field(f, "Compte rendu", json_text(m, "minute"));
  json_array_foreach(json_object_get(m, "followups"), i, x) {
    print_fieldf(f, json_text(x, "followup") ? json_text(x, "followup") : "?", "%s",
                 show_patient(json_object_get(x, "patient")));
    print_field(f, "", json_text(x, "minute"));
  }
}

int cmd_meeting_show(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/meetings/%s", c->args[0]);
  if (r == CTL_OK && !api_json(c, &a))
    print_meeting(c->out, a.json);
  return r;
}

/* Lines of "W-3 what was said", empty ones aside. */
static int read_followups(struct ctl *c, const char *path, json_t *list) {
  _buf_cleanup_ struct buf b = BUF_INIT(MINUTE_MAX);
  int r = ctl_read(c, path, &b), number = 0;
  const char *text = r == CTL_OK ? buf_cstr(&b) : "";
  for (const char *p = text; r == CTL_OK && p && *p; p += p[0] == '\n') {
    const size_t n = strcspn(p, "\n"), name = strcspn(p, " \n"), space = strspn(p + name, " ");
    number++;
    if (n && (p[0] != 'W' || name + space >= n))
      r = ctl_usage(c, "%s, ligne %d : « W-3 ce qui a été dit » est attendu", path, number);
    else if (n && json_array_append_new(list, json_pack("{s:s%, s:s%}", "followup", p, name, "minute", p + name + space,
                                                        n - name - space)) < 0)
      r = ctl_usage(c, "%s, ligne %d : le texte doit être en UTF-8", path, number);
    p += n;
  }
  return r;
}

int cmd_meeting_add(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  _buf_cleanup_ struct buf minute = BUF_INIT(MINUTE_MAX);
  const char *file = ctl_option(c, "minute-file"), *followups = ctl_option(c, "followups"),
             *text = ctl_option(c, "minute");
  _json_cleanup_ json_t *list = json_array();
  int r = file ? ctl_read(c, file, &minute) : CTL_OK;
  if (r == CTL_OK && file && !(text = buf_cstr(&minute)))
    r = ctl_usage(c, "%s : trop long", file);
  if (r == CTL_OK && followups)
    r = read_followups(c, followups, list);
  if (r != CTL_OK)
    return r;
  r = api_post(c,
               json_pack("{s:O, s:s*, s:s, s:s, s:s*}", "followups", list, "gp", ctl_option(c, "gp"), "held",
                         ctl_option(c, "held"), "minute", text, "nurse", ctl_option(c, "nurse")),
               &a, "/v1/meetings");
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Réunion", json_text(a.json, "id"));
  print_fieldf(c->out, "Suite", "asaleectl meeting show %s", json_text(a.json, "id") ? json_text(a.json, "id") : "M-…");
  return CTL_OK;
}

static void add_meeting(struct table *t, const json_t *m) {
  table_add(t, json_text(m, "id"));
  table_add(t, show_date(json_text(m, "held")));
  table_add(t, json_text(m, "gp"));
  table_add(t, json_text(m, "nurse"));
  table_add(t, show_int(m, "followups"));
  table_add(t, json_text(m, "by"));
}

int cmd_meeting_list(struct ctl *c) {
  static const char *const heads[] = {"Réunion", "Tenue le", "Médecin", "Infirmier(ère)", "Suivis", "Écrit par", NULL};
  struct table t;
  bool more = false;
  table_init(&t, heads);
  int r = api_pages(c, "/v1/meetings", ctl_number(c, "limit", 50), add_meeting, &t, &more);
  return print_list(c, &t, r, more, "Aucune réunion.");
}
