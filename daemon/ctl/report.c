/* The month's figures, and whether a copy of them is as the site signed it. */
#include "ctl.h"

#include "signature.h"
#include "str.h"
#include "wall.h"
#include <string.h>

#define REPORT_FILE_MAX (8u << 20)

static const struct {
  const char *member, *head;
} figures[] = {{"done", "Réalisés"},
               {"repeated", "Refaits"},
               {"returned", "Renvoyés"},
               {"interpreted", "Interprétés"},
               {"unreadable", "Ininterpr."},
               {"overdue", "En retard"},
               {"hours_median", "Médiane (h)"},
               {"hours_p90", "90 % (h)"}};
#define FIGURES (sizeof figures / sizeof *figures)

/* A count, hours with a comma, "s" for what is kept back, nothing for the hours of nothing. */
static void add_figure(struct table *t, const json_t *group, const char *member) {
  char number[DEC_TEXT_MAX];
  const json_t *figure = json_object_get(group, member);
  const bool of_few = json_is_null(json_object_get(group, strncmp(member, "hours", 5) ? member : "interpreted"));
  if (json_is_string(figure))
    table_add(t, french_number(json_string_value(figure), number));
  else
    table_add(t, of_few ? "s" : show_int(group, member));
}

static void add_group(struct table *t, const json_t *group, const char *structure) {
  table_add(t, say_modality(json_text(group, "act")));
  table_add(t, json_text(group, "protocol"));
  table_add(t, structure);
  for (size_t i = 0; i < FIGURES; i++)
    add_figure(t, group, figures[i].member);
}

static void print_report(FILE *f, const json_t *report) {
  const char *heads[3 + FIGURES + 1] = {"Acte", "Protocole", "Structure"};
  struct table t;
  size_t i;
  const json_t *group;
  for (i = 0; i < FIGURES; i++)
    heads[3 + i] = figures[i].head;
  table_init(&t, heads);
  json_array_foreach(json_object_get(report, "groups"), i, group) {
    add_group(&t, group, json_text(group, "finess"));
  }
  json_array_foreach(json_object_get(report, "totals"), i, group) {
    add_group(&t, group, "ensemble");
  }
  print_fieldf(f, "Mois", "%s%s", json_text(report, "month") ? json_text(report, "month") : "?",
               json_is_true(json_object_get(report, "ended")) ? "" : " (en cours)");
  table_print(&t, f, "Aucun examen.");
  if (table_rows(&t))
    fputs("s : chiffre de 1 à 4, ou qui permettrait d'en calculer un (secret statistique)\n", f);
  table_finish(&t);
}

int cmd_report(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  const char *month = ctl_option(c, "month"), *path = ctl_option(c, "out");
  const bool csv = ctl_option(c, "csv") != NULL;
  char day[WALL_DATE_MAX], target[64];
  if (strlen(month) != 7 || snprintf(day, sizeof day, "%s-01", month) != 10 || !wall_is_date(day))
    return ctl_usage(c, "--month : un mois s'écrit AAAA-MM");
  int r = path ? ctl_may_write(c, path) : CTL_OK;
  if (r != CTL_OK)
    return r;
  snprintf(target, sizeof target, "/v1/reports/monthly?month=%s%s", month, csv ? "&format=csv" : "");
  struct api_request request = {.method = "GET", .target = target, .bytes = csv ? "text/csv" : NULL};
  r = api_call(c, &request, &a);
  if (r != CTL_OK)
    return r;
  if (path || csv) {
    r = ctl_write(c, path ? path : "-", a.body.data, a.body.len);
    if (r == CTL_OK && path && strcmp(path, "-") && !c->json)
      print_field(c->out, "Chiffres dans", path);
    return r;
  }
  if (!api_json(c, &a))
    print_report(c->out, json_object_get(a.json, "report"));
  return CTL_OK;
}

/* ---- verifying ---- */

static bool unhex(const char *text, void *bytes, size_t n) {
  return text && strlen(text) == 2 * n && str_unhex(text, bytes, n);
}

int cmd_report_verify(struct ctl *c) {
  _buf_cleanup_ struct buf b = BUF_INIT(REPORT_FILE_MAX);
  _json_cleanup_ json_t *answer = NULL;
  char reason[256];
  uint8_t public[SIGNATURE_PUBLIC], signature[SIGNATURE_BYTES];
  size_t n = 0;
  int r = ctl_read(c, c->args[0], &b);
  if (r != CTL_OK)
    return r;
  if (json_read((const char *)b.data, b.len, &answer, reason) < 0)
    return ctl_usage(c, "%s : ce n'est pas un rapport (%s)", c->args[0], reason);
  const char *key = json_text(answer, "public_key");
  const json_t *report = json_object_get(answer, "report");
  if (!json_is_object(report) || !unhex(key, public, sizeof public) ||
      !unhex(json_text(answer, "signature"), signature, sizeof signature))
    return ctl_usage(c, "%s : ce n'est pas un rapport signé", c->args[0]);
  _free_cleanup_ char *text = json_canonical(report, &n);
  if (!text || !signature_holds(public, text, n, signature)) {
    ctl_say(c, "%s n'est pas ce que le site a signé : ne pas s'y fier (signature)", c->args[0]);
    return CTL_REFUSED;
  }
  print_field(c->out, "Mois", json_text(report, "month"));
  print_field(c->out, "Signature", "valable, si la clé est bien celle du site");
  print_field(c->out, "Clé du site", key);
  return CTL_OK;
}
