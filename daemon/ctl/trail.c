/* The audit trail, and the sequence of changes. */
#include "ctl.h"

#include "wall.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void add_row(struct table *t, const json_t *row) {
  char *detail = json_canonical(json_object_get(row, "detail"), NULL);
  table_add(t, show_int(row, "seq"));
  table_add(t, show_time(json_text(row, "at")));
  table_add(t, json_text(row, "actor"));
  table_add(t, json_text(row, "acting_for"));
  table_add(t, json_text(row, "action"));
  table_add(t, json_text(row, "subject"));
  table_add(t, detail && strcmp(detail, "{}") ? detail : NULL);
  free(detail);
}

int cmd_audit_list(struct ctl *c) {
  static const char *const heads[] = {"N°", "Le", "Qui", "Pour", "Action", "Objet", "Détail", NULL};
  struct table t;
  bool more = false;
  table_init(&t, heads);
  int r = api_pages(c, "/v1/audit", ctl_number(c, "limit", 50), add_row, &t, &more);
  if (r == CTL_OK && !c->json)
    table_print(&t, c->out, "Le journal est vide.");
  if (r == CTL_OK && more)
    ctl_say(c, "la liste continue : en voir plus avec --limit N");
  table_finish(&t);
  return r;
}

int cmd_audit_verify(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/audit/verify");
  if (r != CTL_OK)
    return r;
  bool ok = json_is_true(json_object_get(a.json, "ok"));
  if (!api_json(c, &a)) {
    const char *first = show_int(a.json, "first"), *last = show_int(a.json, "last");
    print_field(c->out, "Journal", ok ? "intact" : "ROMPU");
    const char *rows = show_int(a.json, "rows"), *archived = show_int(a.json, "archived");
    print_fieldf(c->out, "Lignes", "%s (de %s à %s), archivées en plus : %s", rows ? rows : "?", first ? first : "—",
                 last ? last : "—", archived ? archived : "0");
    print_field(c->out, "Empreinte", json_text(a.json, "head"));
  }
  if (!ok) {
    const char *at = show_int(a.json, "broken_at");
    ctl_say(c, "le journal est rompu à la ligne %s : garder la base en l'état et prévenir l'éditeur (audit_broken)",
            at ? at : "?");
  }
  return ok ? CTL_OK : CTL_REFUSED;
}

int cmd_audit_archive(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  const char *before = ctl_option(c, "before");
  char text[WALL_TEXT_MAX];
  if (wall_is_date(before)) { /* the first instant of that day, here */
    struct tm tm = {.tm_mday = (int)strtol(before + 8, NULL, 10),
                    .tm_mon = (int)strtol(before + 5, NULL, 10) - 1,
                    .tm_year = (int)strtol(before, NULL, 10) - 1900,
                    .tm_isdst = -1};
    time_t at = mktime(&tm);
    if (at < 0)
      return ctl_usage(c, "--before : une date depuis 1970 est attendue");
    wall_format(wall_local((int64_t)at * WALL_SECOND), text);
    before = text;
  }
  int r = api_post(c, json_pack("{s:s}", "before", before), &a, "/v1/audit/archive");
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Lignes", show_int(a.json, "rows"));
  print_field(c->out, "Archive", json_text(a.json, "artefact"));
  return CTL_OK;
}

/* The sequence has no cursor: each answer says where the next begins. */
int cmd_changes(struct ctl *c) {
  static const char *const heads[] = {"N°", "Le", "Objet", "Id", "État", NULL};
  uint64_t since = ctl_number(c, "since", 0), left = ctl_number(c, "limit", UINT64_MAX);
  struct table t;
  table_init(&t, heads);
  int r = CTL_OK;
  size_t n = 0;
  bool first = true;
  do {
    _answer_cleanup_ struct api_answer a = {0};
    int64_t next;
    r = api_get(c, &a, "/v1/changes?since=%llu&limit=%d", (unsigned long long)since, left < 200 ? (int)left : 200);
    if (r != CTL_OK)
      break;
    const json_t *items = json_object_get(a.json, "items");
    if (!json_is_array(items) || json_int(a.json, "next_since", 0, INT64_MAX, &next) < 0 ||
        (json_array_size(items) && (uint64_t)next <= since)) {
      r = api_unreached(c, -EPROTO, false);
      break;
    }
    n = json_array_size(items);
    if (n || first)
      api_json(c, &a);
    first = false;
    for (size_t i = 0; i < n && !c->json; i++) {
      const json_t *item = json_array_get(items, i);
      table_add(&t, show_int(item, "seq"));
      table_add(&t, show_time(json_text(item, "at")));
      table_add(&t, say_kind(json_text(item, "kind")));
      table_add(&t, json_text(item, "id"));
      table_add(&t, say_state(json_text(item, "state")));
    }
    left -= n < left ? n : left;
    since = (uint64_t)next;
  } while (n && left);
  if (r == CTL_OK && !c->json) {
    table_print(&t, c->out, "Aucun changement.");
    fprintf(c->out, "Suite : --since %llu\n", (unsigned long long)since);
  }
  table_finish(&t);
  return r;
}
