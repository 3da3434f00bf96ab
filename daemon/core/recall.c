#include "recall.h"

#include "access.h"
#include "patient.h"
#include "registry.h"
#include "str.h"
#include "wall.h"
#include <asalee/record.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ?1 the protocols' rules, ?2 today, ?3 the last day or NULL, ?4 ?5 ?6 after which row, ?7 how many. SQLite takes
 * January 31st and a month for March 2nd or 3rd: the last day of February is the earlier of the two. */
#define RECALLS(which)                                                                                                \
  "WITH rule AS (SELECT json_extract(value, '$[0]') AS protocol, json_extract(value, '$[1]') AS act,"                 \
  " json_extract(value, '$[2]') AS months FROM json_each(?1)),"                                                       \
  " item AS MATERIALIZED (SELECT w.id AS followup, w.patient, w.protocol, w.at AS opened, t.gp, t.nurse, r.act, "     \
  "r.months,"                                                                                                         \
  " (SELECT y.id FROM orders o JOIN study y ON y.orders = o.id WHERE o.patient = w.patient AND o.followup = w.id AND" \
  " o.act = r.act AND y.state IN ('to_interpret', 'interpreting', 'interpreted') ORDER BY y.accepted DESC, y.id DESC" \
  " LIMIT 1) AS last,"                                                                                                \
  " (SELECT o.id FROM orders o JOIN study y ON y.orders = o.id WHERE o.patient = w.patient AND o.followup = w.id AND" \
  " o.act = r.act AND y.state IN ('ordered', 'acquiring', 'acquired') ORDER BY o.id DESC LIMIT 1) AS pending"         \
  " FROM followup w JOIN followup_team t ON t.id = (SELECT max(id) FROM followup_team WHERE followup = w.id)"         \
  " JOIN rule r ON r.protocol = w.protocol WHERE w.id NOT IN (SELECT followup FROM followup_end) AND " which "),"     \
  " since AS (SELECT *, date(coalesce((SELECT accepted FROM study WHERE id = item.last), opened) / 1000000,"          \
  " 'unixepoch', 'localtime') AS day FROM item),"                                                                     \
  " recall AS MATERIALIZED (SELECT *, iif(last IS NULL, day, min(date(day, '+' || months || ' months'),"              \
  " date(day, 'start of month', '+' || (months + 1) || ' months', '-1 day'))) AS due FROM since)"                     \
  " SELECT x.followup, x.patient, v.family, v.given, v.birth_date, v.sex, x.protocol, x.act, x.due, x.due < ?2,"      \
  " x.last, x.pending, x.gp, x.nurse FROM recall x JOIN patient p ON p.id = x.patient"                                \
  " JOIN patient_version v ON v.patient = p.id AND v.version = p.version"                                             \
  " WHERE x.due <= coalesce(?3, date(?2, '+30 days')) AND (x.due, x.followup, x.act) > (?4, ?5, ?6)"                  \
  " ORDER BY x.due, x.followup, x.act LIMIT ?7"
_Static_assert(RECALL_DAYS == 30, "as the query says");

/* [["diabete-type2","ecg",12]..] */
static char *rules_text(const struct conf *conf) {
  _json_cleanup_ json_t *rules = json_array();
  for (unsigned i = 0; i < conf->n_protocols; i++)
    for (int m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++) {
      const struct conf_act *act = conf_act(conf->protocols[i], (enum acq_modality)m);
      if (act && act->recall_months &&
          json_array_append_new(rules,
                                json_pack("[s, s, I]", conf->protocols[i]->id, acq_modality_name((enum acq_modality)m),
                                          (json_int_t)act->recall_months)) < 0)
        return NULL;
    }
  return json_canonical(rules, NULL);
}

static json_t *ref_json(const struct rows *r, int column, char letter) {
  char ref[STR_REF_MAX];
  if (rows_is_null(r, column))
    return json_null();
  str_ref(letter, rows_int(r, column), ref);
  return json_string(ref);
}

static json_t *item_json(const struct rows *r) {
  char followup[STR_REF_MAX];
  const bool overdue = rows_int(r, 9);
  str_ref('W', rows_int(r, 0), followup);
  return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:b, s:{s:s, s:s, s:s, s:s, s:s}, s:s, s:s}", "act",
                   rows_text(r, 7), "due", rows_text(r, 8), "followup", followup, "gp", rows_text(r, 12), "last",
                   ref_json(r, 10, 'S'), "nurse", rows_text(r, 13), "order", ref_json(r, 11, 'O'), "overdue", overdue,
                   "patient", "birth_date", rows_text(r, 4), "family", rows_text(r, 2), "given", rows_text(r, 3), "id",
                   rows_text(r, 1), "sex", rows_text(r, 5), "protocol", rows_text(r, 6), "state",
                   !rows_is_null(r, 11) ? "ordered"
                   : overdue            ? "overdue"
                                        : "due");
}

/* "<due>.<follow-up>.<act>" of the last row that was given. */
struct place {
  char due[WALL_DATE_MAX], act[16];
  int64_t followup;
};

static bool place_read(const char *cursor, struct place *ret) {
  char text[64], *followup, *act;
  uint64_t id;
  *ret = (struct place){0};
  if (!*cursor)
    return true;
  if (!str_copy(text, sizeof text, cursor) || !(followup = strchr(text, '.')) || !(act = strchr(followup + 1, '.')))
    return false;
  *followup++ = *act++ = 0;
  if (!wall_is_date(text) || str_to_u64(followup, 1, INT64_MAX, &id) < 0 || !acq_modality_find(act))
    return false;
  ret->followup = (int64_t)id;
  return str_copy(ret->due, sizeof ret->due, text) && str_copy(ret->act, sizeof ret->act, act);
}

enum problem recall_list(struct store *s, const struct conf *conf, const struct caller *c,
                         const struct recall_page *page, json_t **ret) {
  struct place at;
  if (!place_read(page->cursor, &at))
    return P_invalid_field;
  _free_cleanup_ char *rules = rules_text(conf);
  _json_cleanup_ json_t *items = json_array();
  char next[64] = "";
  int n = 0, err = rules && items ? 0 : -ENOMEM;
  if (err < 0)
    return problem_of_errno(err);
  struct rows r = store_query(s, RECALLS(ACCESS_NURSE("?8", "?2", "w.patient")), "ttttitit", rules, page->today,
                              page->until, at.due, at.followup, at.act, (int64_t)page->limit + 1, access_rpps(c));
  while (err == 0 && n < page->limit && rows_next(&r)) {
    snprintf(next, sizeof next, "%s.%lld.%s", rows_text(&r, 8), (long long)rows_int(&r, 0), rows_text(&r, 7));
    err = json_array_append_new(items, item_json(&r)) < 0 ? -ENOMEM : 0;
    n++;
  }
  const bool more = err == 0 && n == page->limit && rows_next(&r);
  int query_err = rows_finish(&r);
  if (err == 0)
    err = query_err;
  if (err == 0 && !(*ret = json_pack("{s:O, s:s?}", "items", items, "next", more ? next : NULL)))
    err = -ENOMEM;
  return problem_of_errno(err);
}

int recall_overdue(struct store *s, const struct conf *conf, int64_t followup, const char *today, json_t **ret) {
  _free_cleanup_ char *rules = rules_text(conf);
  _json_cleanup_ json_t *items = json_array();
  int err = rules && items ? 0 : -ENOMEM;
  if (err < 0)
    return err;
  struct rows r = store_query(s, RECALLS("w.id = ?8"), "ttttitii", rules, today, today, "", (int64_t)0, "",
                              (int64_t)ACQ_MEASUREMENT + 1, followup);
  while (err == 0 && rows_next(&r))
    if (rows_int(&r, 9))
      err = json_array_append_new(items,
                                  json_pack("{s:s, s:s, s:o, s:o}", "act", rows_text(&r, 7), "due", rows_text(&r, 8),
                                            "last", ref_json(&r, 10, 'S'), "order", ref_json(&r, 11, 'O'))) < 0
                ? -ENOMEM
                : 0;
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(items);
  return err;
}
