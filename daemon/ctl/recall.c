/* What the protocols of open follow-ups make due again. */
#include "ctl.h"

#include <string.h>

static const char *say_recall(const char *state) {
  static const char *const words[][2] = {{"due", "à prévoir"}, {"overdue", "EN RETARD"}, {"ordered", "prescrit"}};
  for (size_t i = 0; state && i < sizeof words / sizeof *words; i++)
    if (!strcmp(state, words[i][0]))
      return words[i][1];
  return state;
}

static void add_recall(struct table *t, const json_t *x) {
  const json_t *patient = json_object_get(x, "patient");
  table_add(t, show_date(json_text(x, "due")));
  table_add(t, say_recall(json_text(x, "state")));
  table_add(t, say_modality(json_text(x, "act")));
  table_add(t, show_patient(patient));
  table_add(t, show_date(json_text(patient, "birth_date")));
  table_add(t, json_text(x, "followup"));
  table_add(t, json_text(x, "protocol"));
  table_add(t, json_text(x, "last"));
  table_add(t, json_text(x, "order"));
}

int cmd_recalls(struct ctl *c) {
  static const char *const heads[] = {"Pour le", "État",      "Acte",           "Patient",      "Né(e) le",
                                      "Suivi",   "Protocole", "Dernier examen", "Prescription", NULL};
  const char *until = ctl_option(c, "until");
  char target[64];
  struct table t;
  bool more = false;
  snprintf(target, sizeof target, "/v1/recalls%s%s", until ? "?until=" : "", until ? until : "");
  table_init(&t, heads);
  int r = api_pages(c, target, ctl_number(c, "limit", 0), add_recall, &t, &more);
  return print_list(c, &t, r, more, "Aucun rappel.");
}
