#include "report.h"

#include "registry.h"
#include "str.h"
#include <asalee/dec.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SCHEMA 1
#define TENTH_US (360 * WALL_SECOND) /* of an hour */

enum figure { DONE, INTERPRETED, OVERDUE, REPEATED, RETURNED, UNREADABLE, FIGURES };
static const char *const names[FIGURES] = {"done", "interpreted", "overdue", "repeated", "returned", "unreadable"};

/* ---- the month ---- */

static int64_t month_begins(int year, int month) {
  struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = 1, .tm_isdst = -1};
  return (int64_t)mktime(&tm) * WALL_SECOND;
}

static int month_read(const char *text, int64_t *ret_from, int64_t *ret_until) {
  char year[5], month[3];
  uint64_t y, m;
  if (strlen(text) != 7 || text[4] != '-')
    return -EINVAL;
  memcpy(year, text, 4);
  memcpy(month, text + 5, 2);
  year[4] = month[2] = 0;
  if (str_to_u64(year, 2000, 9999, &y) < 0 || str_to_u64(month, 1, 12, &m) < 0)
    return -EINVAL;
  *ret_from = month_begins((int)y, (int)m);
  *ret_until = month_begins((int)y, (int)m + 1);
  return 0;
}

/* ---- what happened in it ---- */

/* ?1 from, ?2 until, ?3 until or now. A record that is set aside because another was made of the same reading at that
 * moment was decoded again or moved, not repeated. What ends a wait: the signature, the reader who gives it back, the
 * GP who cancels, readings that were another patient's; or the next acceptance. */
#define EVENTS                                                                                                        \
  "SELECT 0 AS what, study, at, NULL AS value FROM acceptance WHERE at >= ?1 AND at < ?2"                             \
  " UNION ALL SELECT 1, study, at, at - (SELECT max(at) FROM acceptance a WHERE a.study = i.study AND a.at <= i.at)"  \
  " FROM interpretation i WHERE at >= ?1 AND at < ?2 AND reason IS NULL"                                              \
  " UNION ALL SELECT 2, study, at, NULL FROM interpretation i WHERE at >= ?1 AND at < ?2 AND reason IS NULL AND at >" \
  " (SELECT due FROM acceptance a WHERE a.study = i.study AND a.at <= i.at ORDER BY a.at DESC LIMIT 1)"               \
  " UNION ALL SELECT 2, study, a.at, NULL FROM acceptance a WHERE at < ?2 AND due < ?3"                               \
  " AND NOT EXISTS(SELECT 1 FROM interpretation i WHERE i.study = a.study AND i.at >= a.at AND i.at < ?2)"            \
  " AND NOT EXISTS(SELECT 1 FROM acceptance b WHERE b.study = a.study AND b.id > a.id AND b.at < ?2)"                 \
  " AND NOT EXISTS(SELECT 1 FROM study_return x WHERE x.study = a.study AND x.at < ?2)"                               \
  " AND NOT EXISTS(SELECT 1 FROM study y WHERE y.id = a.study AND y.state = 'cancelled' AND y.updated < ?2)"          \
  " AND NOT EXISTS(SELECT 1 FROM record r JOIN reassignment x ON x.record = r.id WHERE r.study = a.study AND x.at >=" \
  " a.at AND x.at < ?2)"                                                                                              \
  " UNION ALL SELECT DISTINCT 3, r.study, s.at, NULL FROM supersession s JOIN record r ON r.id = s.record WHERE s.at" \
  " >= ?1 AND s.at < ?2 AND NOT EXISTS(SELECT 1 FROM record n WHERE n.acquisition = r.acquisition AND n.id > r.id"    \
  " AND n.at = s.at)"                                                                                                 \
  " UNION ALL SELECT 4, study, at, NULL FROM study_return WHERE at >= ?1 AND at < ?2"                                 \
  " UNION ALL SELECT 5, study, at, NULL FROM interpretation WHERE at >= ?1 AND at < ?2 AND reason IS NULL AND"        \
  " conclusion = 'uninterpretable'"
_Static_assert(DONE == 0 && INTERPRETED == 1 && OVERDUE == 2 && REPEATED == 3 && RETURNED == 4 && UNREADABLE == 5,
               "as the query says");

/* The nurse's structure as it was then. */
static const char events_of_groups[] =
    "SELECT e.what, o.act, coalesce(f.protocol, ''), coalesce((SELECT p.finess FROM professional p WHERE p.rpps ="
    " (SELECT t.nurse FROM followup_team t WHERE t.followup = o.followup AND t.at <= e.at ORDER BY t.id DESC LIMIT 1)"
    " AND p.at <= e.at ORDER BY p.version DESC LIMIT 1), ''), max(coalesce(e.value, 0), 0) FROM (" EVENTS
    ") e JOIN study y ON y.id = e.study JOIN orders o ON o.id = y.orders LEFT JOIN followup f ON f.id = o.followup"
    " ORDER BY 2, 3, 4, 1, 5";

struct group {
  char act[32], protocol[PROTOCOL_ID_MAX], finess[FINESS_MAX];
  int64_t figures[FIGURES];
  bool told[FIGURES]; /* of a total: none of the groups' is kept back */
  int64_t *waits;     /* microseconds, one for each that was interpreted */
};

struct groups {
  struct group *list;
  size_t n;
};

static void groups_finish(struct groups *g) {
  for (size_t i = 0; i < g->n; i++)
    free(g->list[i].waits);
  free(g->list);
}
#define _groups_cleanup_ __attribute__((cleanup(groups_finish)))

/* The rows come in order: the group is the last, or a new one. NULL without memory. */
static struct group *group_of(struct groups *g, const char *act, const char *protocol, const char *finess) {
  struct group *last = g->n ? &g->list[g->n - 1] : NULL;
  if (last && !strcmp(last->act, act) && !strcmp(last->protocol, protocol) && !strcmp(last->finess, finess))
    return last;
  struct group *list = reallocarray(g->list, g->n + 1, sizeof *list);
  if (!list)
    return NULL;
  g->list = list;
  last = &list[g->n];
  *last = (struct group){0};
  for (int f = 0; f < FIGURES; f++)
    last->told[f] = true;
  if (!str_copy(last->act, sizeof last->act, act) || !str_copy(last->protocol, sizeof last->protocol, protocol) ||
      !str_copy(last->finess, sizeof last->finess, finess))
    return NULL;
  g->n++;
  return last;
}

static int group_add(struct group *g, enum figure what, int64_t wait) {
  if (what == INTERPRETED) {
    int64_t *waits = reallocarray(g->waits, (size_t)g->figures[what] + 1, sizeof *waits);
    if (!waits)
      return -ENOMEM;
    g->waits = waits;
    waits[g->figures[what]] = wait;
  }
  g->figures[what]++;
  return 0;
}

static int gather(struct store *s, int64_t from, int64_t until, int64_t now, struct groups *groups,
                  struct groups *totals) {
  struct rows r = store_query(s, events_of_groups, "iii", from, until, now < until ? now : until);
  int err = 0;
  while (err == 0 && rows_next(&r)) {
    const enum figure what = (enum figure)rows_int(&r, 0);
    struct group *g = group_of(groups, rows_text(&r, 1), rows_text(&r, 2), rows_text(&r, 3)),
                 *total = group_of(totals, rows_text(&r, 1), rows_text(&r, 2), "");
    err = g && total ? group_add(g, what, rows_int(&r, 4)) : -ENOMEM;
    if (err == 0)
      err = group_add(total, what, rows_int(&r, 4));
  }
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

/* ---- what is told of it ---- */

static bool is_few(int64_t figure) {
  return figure > 0 && figure < REPORT_FEWEST;
}

/* Both lists are in the same order. Of a month that goes on whoever asks before and after a signature would learn what
 * was signed. */
static void keep_back(struct groups *groups, struct groups *totals, bool ended) {
  struct group *total = totals->list;
  for (struct group *g = groups->list; g < groups->list + groups->n; g++) {
    while (strcmp(total->act, g->act) || strcmp(total->protocol, g->protocol))
      total++;
    for (int f = 0; f < FIGURES; f++) {
      g->told[f] = !is_few(g->figures[f]) && (ended || f != UNREADABLE);
      total->told[f] &= g->told[f];
    }
  }
}

static int compare(const void *a, const void *b) {
  const int64_t *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

int64_t report_rank(const int64_t *values, size_t n, unsigned percent) {
  return values[(n * percent + 99) / 100 - 1];
}

static json_t *hours_json(const struct group *g, unsigned percent, bool ended) {
  char text[DEC_TEXT_MAX];
  const size_t n = (size_t)g->figures[INTERPRETED];
  if (!n || !ended || !g->told[INTERPRETED])
    return json_null();
  qsort(g->waits, n, sizeof *g->waits, compare);
  const int64_t tenths = (report_rank(g->waits, n, percent) + TENTH_US / 2) / TENTH_US;
  dec_format((struct dec){(int32_t)(tenths < INT32_MAX ? tenths : INT32_MAX), -1}, text);
  return json_string(text);
}

static json_t *text_or_null(const char *text) {
  return *text ? json_string(text) : json_null();
}

static json_t *group_json(const struct group *g, bool is_total, bool ended) {
  bool suppressed = false;
  json_t *x = json_pack("{s:s, s:o, s:o, s:o}", "act", g->act, "hours_median", hours_json(g, 50, ended), "hours_p90",
                        hours_json(g, 90, ended), "protocol", text_or_null(g->protocol));
  if (x && !is_total)
    json_object_set_new(x, "finess", text_or_null(g->finess));
  for (int f = 0; x && f < FIGURES; f++) {
    suppressed |= !g->told[f];
    json_object_set_new(x, names[f], g->told[f] ? json_integer((json_int_t)g->figures[f]) : json_null());
  }
  if (x && json_object_set_new(x, "suppressed", json_boolean(suppressed)) == 0 &&
      json_object_size(x) == FIGURES + (is_total ? 5 : 6))
    return x;
  json_decref(x);
  return NULL;
}

static json_t *groups_json(const struct groups *groups, bool are_totals, bool ended) {
  json_t *list = json_array();
  for (size_t i = 0; list && i < groups->n; i++)
    if (json_array_append_new(list, group_json(&groups->list[i], are_totals, ended)) < 0) {
      json_decref(list);
      return NULL;
    }
  return list;
}

int report_monthly(struct store *s, const char *month, int64_t now, json_t **ret) {
  _groups_cleanup_ struct groups groups = {0}, totals = {0};
  int64_t from, until;
  int r = month_read(month, &from, &until);
  if (r == 0 && from > now)
    r = -ERANGE;
  if (r == 0)
    r = gather(s, from, until, now, &groups, &totals);
  if (r < 0)
    return r;
  const bool ended = until <= now;
  keep_back(&groups, &totals, ended);
  json_t *report = json_pack("{s:b, s:o, s:o, s:s, s:i, s:o, s:o}", "ended", ended, "from", json_time(from), "groups",
                             groups_json(&groups, false, ended), "month", month, "schema", SCHEMA, "totals",
                             groups_json(&totals, true, ended), "until", json_time(until));
  if (!report)
    return -ENOMEM;
  *ret = report;
  return 0;
}

json_t *report_signed(const struct site_key *key, json_t *report) {
  uint8_t signature[SIGNATURE_BYTES];
  char hex[2 * SIGNATURE_BYTES + 1], public[2 * SIGNATURE_PUBLIC + 1];
  size_t n;
  _free_cleanup_ char *text = json_canonical(report, &n);
  if (!text)
    return NULL;
  signature_make(key->secret, text, n, signature);
  str_hex(signature, sizeof signature, hex);
  str_hex(key->public, sizeof key->public, public);
  return json_pack("{s:s, s:O, s:s}", "public_key", public, "report", report, "signature", hex);
}

/* ---- as a table ---- */

/* Neither acts nor protocols, numbers and months hold what RFC 4180 would have quoted. */
static void cell(struct buf *b, const json_t *value, bool kept_back) {
  char text[64];
  if (json_is_integer(value)) {
    buf_format(b, ";%lld", (long long)json_integer_value(value));
  } else if (json_is_string(value) && str_copy(text, sizeof text, json_string_value(value))) {
    char *point = strchr(text, '.');
    if (point)
      *point = ',';
    buf_format(b, ";%s", text);
  } else {
    buf_text(b, kept_back ? ";s" : ";");
  }
}

int report_csv(const json_t *report, struct buf *b) {
  static const char *const columns[] = {"done", "repeated", "returned", "interpreted", "unreadable", "overdue"};
  size_t i;
  const json_t *g;
  buf_text(b, "\xef\xbb\xbf"
              "mois;acte;protocole;finess;réalisés;refaits;renvoyés;interprétés;ininterprétables;en retard;"
              "délai médian (h);délai 90 % (h)\r\n");
  json_array_foreach(json_object_get(report, "groups"), i, g) {
    const bool few = json_is_null(json_object_get(g, "interpreted"));
    buf_text(b, json_text(report, "month"));
    cell(b, json_object_get(g, "act"), false);
    cell(b, json_object_get(g, "protocol"), false);
    cell(b, json_object_get(g, "finess"), false);
    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
      cell(b, json_object_get(g, columns[k]), true);
    cell(b, json_object_get(g, "hours_median"), few);
    cell(b, json_object_get(g, "hours_p90"), few);
    buf_text(b, "\r\n");
  }
  return b->err;
}
