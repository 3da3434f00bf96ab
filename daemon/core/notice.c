#include "notice.h"

#include "access.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NOTICE_LOOK_US (3600 * WALL_SECOND) /* at the latest: a day has begun, a clock was set */

static int notice_add(struct store *s, const char *kind, int64_t study, int64_t delegation, const char *recipient,
                      const char *text, const char *by, int64_t now) {
  return store_run(s,
                   "INSERT INTO notice(kind, study, delegation, recipient, text, at, by)"
                   " VALUES(?,nullif(?, 0),nullif(?, 0),nullif(?, ''),?,?,?)",
                   "tiittit", kind, study, delegation, recipient, text, now, by);
}

/* The GP of the follow-up or who stands in; "" = all who may read it, where that is another role or nobody is known. */
static int page_whom(struct store *s, const struct study *study, char ret[static RPPS_MAX]) {
  ret[0] = 0;
  return study->reader == ROLE_GP ? registry_stands_in(s, study->gp, ret) : 0;
}

enum problem notice_urgent(struct store *s, const struct caller *c, const struct study *study) {
  char reader[RPPS_MAX];
  struct rows rows = store_query(s, "SELECT 1 FROM notice WHERE study = ? AND kind = 'page' LIMIT 1", "i", study->id);
  bool paged = rows_next(&rows);
  int r = rows_finish(&rows);
  if (r == 0 && !paged)
    r = page_whom(s, study, reader);
  if (r == 0 && !paged)
    r = notice_add(s, "page", study->id, 0, reader, NULL, caller_person(c), wall_now().us);
  return problem_of_errno(r);
}

enum problem notice_page(struct store *s, const struct caller *c, struct study *study, const char *text,
                         int64_t *ret_id) {
  char reader[RPPS_MAX], ref[STR_REF_MAX];
  int64_t now = wall_now().us;
  if (!(c->role & (ROLE_NURSE | ROLE_GP)))
    return P_forbidden;
  if (study->state >= INTERPRETED)
    return P_wrong_state;
  int r = page_whom(s, study, reader);
  /* What is urgent is due since it was said. */
  if (r >= 0)
    r = store_run(s,
                  "UPDATE study SET urgent = coalesce(urgent, ?1), due = iif(due IS NULL, NULL, coalesce(urgent, ?1)),"
                  " version = version + 1, updated = ?1 WHERE id = ?2",
                  "ii", now, study->id);
  if (r >= 0)
    r = notice_add(s, "page", study->id, 0, reader, text, caller_person(c), now);
  if (r >= 0) {
    *ret_id = store_last_id(s);
    struct actor by = caller_actor(c);
    str_ref('S', study->id, ref);
    r = audit_add(s, &by, "study.page", ref, json_pack("{s:s}", "to", *reader ? reader : "all"));
  }
  if (r >= 0)
    r = change_add(s, "study", ref, study_state_name(study->state));
  return r < 0 ? problem_of_errno(r) : study_find(s, study->id, study);
}

enum problem notice_returned(struct store *s, const struct caller *c, const struct study *study, const char *nurse,
                             const char *text) {
  return problem_of_errno(notice_add(s, "returned", study->id, 0, nurse, text, caller_person(c), wall_now().us));
}

/* Of whom she may know of no more, a nurse is told nothing. Without a recipient it is for every GP, and of a study that
 * ophthalmologists read for each of them, too. */
#define NOTICE_MINE                                                                                              \
  "((n.recipient = ?1 AND ?1 <> '') OR (n.recipient IS NULL AND (?2 = 'gp' OR (?2 = 'ophthalmologist' AND"       \
  " EXISTS(SELECT 1 FROM study q WHERE q.id = n.study AND q.reader = ?2)))))"                                    \
  " AND (n.study IS NULL OR EXISTS(SELECT 1 FROM study q JOIN orders p ON p.id = q.orders WHERE q.id = n.study " \
  "AND " ACCESS_NURSE("?5", "?4", "p.patient") "))"

int notice_pass_on(struct store *s, int64_t followup, const char *from, const char *to) {
  int r =
      store_run(s,
                "INSERT INTO notice(kind, study, recipient, text, at, by) SELECT n.kind, n.study, u.rpps, n.text,"
                " ?4, n.by FROM notice n JOIN study y ON y.id = n.study JOIN orders o ON o.id = y.orders LEFT JOIN"
                " user u ON u.rpps = ?3 AND NOT u.disabled WHERE o.followup = ?1 AND n.kind = 'returned' AND"
                " (n.recipient = ?2 OR (n.recipient IS NULL AND u.rpps IS NOT NULL)) AND n.id NOT IN (SELECT notice"
                " FROM notice_end) AND NOT EXISTS(SELECT 1 FROM notice m WHERE m.study = n.study AND m.kind = n.kind"
                " AND m.recipient IS u.rpps AND m.id NOT IN (SELECT notice FROM notice_end))",
                "itti", followup, from, to, wall_now().us);
  return r < 0 ? r : 0;
}

/* Whoever hears the call that follows an unheard one has heard both. */
int notice_pages(struct store *s, int64_t study, bool texts, json_t **ret) {
  _json_cleanup_ json_t *list = json_array();
  struct rows r = store_query(
      s,
      "SELECT n.at, n.by, n.text, e.at, e.by FROM notice n LEFT JOIN notice_end e ON e.notice = (SELECT"
      " x.notice FROM notice m JOIN notice_end x ON x.notice = m.id WHERE m.study = n.study AND m.kind IN"
      " ('page', 'page_again') AND m.id >= n.id ORDER BY x.at LIMIT 1) WHERE n.study = ? AND n.kind = 'page'"
      " ORDER BY n.id",
      "i", study);
  int err = list ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    json_t *heard = rows_is_null(&r, 3)
                        ? json_null()
                        : json_pack("{s:o, s:s}", "at", json_time(rows_int(&r, 3)), "by", rows_text(&r, 4));
    err = json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:s*}", "at", json_time(rows_int(&r, 0)), "by",
                                                rows_text(&r, 1), "heard", heard, "text",
                                                texts ? rows_text(&r, 2) : NULL)) < 0
              ? -ENOMEM
              : 0;
  }
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(list);
  return err;
}

enum problem notice_acknowledge(struct store *s, const struct caller *c, int64_t id, int64_t *ret_study) {
  char ref[STR_REF_MAX], day[WALL_DATE_MAX];
  wall_date(wall_now().us, day);
  struct rows rows = store_query(s,
                                 "SELECT e.notice IS NOT NULL, n.study FROM notice n LEFT JOIN notice_end e ON e.notice"
                                 " = n.id WHERE n.id = ?3 AND " NOTICE_MINE,
                                 "ttitt", c->rpps, role_name(c->role), id, day, access_rpps(c));
  bool found = rows_next(&rows), heard = found && rows_int(&rows, 0);
  int64_t study = found ? rows_int(&rows, 1) : 0;
  int r = rows_finish(&rows);
  *ret_study = study;
  if (r < 0 || !found)
    return r < 0 ? problem_of_errno(r) : P_not_found;
  if (heard)
    return P_OK;
  r = store_run(s, "INSERT INTO notice_end VALUES(?,?,?)", "iit", id, wall_now().us, caller_person(c));
  if (r >= 0) {
    struct actor by = caller_actor(c);
    str_ref(study ? 'S' : 'N', study ? study : id, ref);
    r = audit_add(s, &by, "notice.heard", ref, json_pack("{s:I}", "notice", (json_int_t)id));
  }
  return problem_of_errno(r);
}

/* What is open first, and of that the calls. */
#define NOTICE_RANK "((e.notice IS NOT NULL) * 2 + (n.kind NOT IN ('page', 'page_again')))"

/* A cursor is "<rank>.<id>" of the last row seen. */
enum problem notice_list(struct store *s, const struct caller *c, const char *cursor, int limit, json_t **ret,
                         char ret_next[static NOTICE_CURSOR_MAX]) {
  char day[WALL_DATE_MAX];
  uint64_t rank = 0, id = INT64_MAX;
  int n = 0;
  if (*cursor && !str_to_pair(cursor, &rank, &id))
    return P_invalid_field;
  *ret_next = 0;
  wall_date(wall_now().us, day);
  _json_cleanup_ json_t *items = json_array();
  struct rows r = store_query(s,
                              "SELECT n.id, n.kind, n.study, n.delegation, n.text, n.at, n.by, e.at, e.by, " NOTICE_RANK
                              " FROM notice n LEFT JOIN notice_end e ON e.notice = n.id WHERE " NOTICE_MINE
                              " AND (" NOTICE_RANK ", -n.id) > (?6, -?7) ORDER BY " NOTICE_RANK ", n.id DESC LIMIT ?3",
                              "ttittii", c->rpps, role_name(c->role), (int64_t)limit, day, access_rpps(c),
                              (int64_t)rank, (int64_t)id);
  int err = items ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    char ref[STR_REF_MAX], study[STR_REF_MAX], delegation[STR_REF_MAX];
    str_ref('N', rows_int(&r, 0), ref);
    str_ref('S', rows_int(&r, 2), study);
    str_ref('D', rows_int(&r, 3), delegation);
    json_t *heard = rows_is_null(&r, 7)
                        ? json_null()
                        : json_pack("{s:o, s:s}", "at", json_time(rows_int(&r, 7)), "by", rows_text(&r, 8));
    json_t *item =
        json_pack("{s:o, s:s, s:s?, s:o, s:s, s:s, s:s?, s:s?}", "at", json_time(rows_int(&r, 5)), "by",
                  rows_text(&r, 6), "delegation", rows_is_null(&r, 3) ? NULL : delegation, "heard", heard, "id", ref,
                  "kind", rows_text(&r, 1), "study", rows_is_null(&r, 2) ? NULL : study, "text", rows_text(&r, 4));
    err = json_array_append_new(items, item) < 0 ? -ENOMEM : 0;
    if (++n == limit)
      snprintf(ret_next, NOTICE_CURSOR_MAX, "%lld.%lld", (long long)rows_int(&r, 9), (long long)rows_int(&r, 0));
  }
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(items);
  return problem_of_errno(err);
}

/* ---- by the clock ---- */

struct due {
  struct store *store;
  int64_t now, next, page_us; /* how long a call may go unheard */
  void (*made)(void *, int64_t);
  void *arg;
};

/* Whoever is to be told of something whose time is `at`, when that has come; else it is looked for then. */
static bool has_come(struct due *d, int64_t at) {
  if (at <= d->now)
    return true;
  d->next = at < d->next ? at : d->next;
  return false;
}

static int make(struct due *d, const char *kind, int64_t study, int64_t delegation, const char *recipient) {
  int r = store_begin(d->store);
  if (r < 0)
    return r;
  r = notice_add(d->store, kind, study, delegation, recipient, NULL, "asaleed", d->now);
  int64_t id = r < 0 ? 0 : store_last_id(d->store);
  if (r >= 0)
    r = store_keep(d->store);
  if (r < 0) {
    store_undo(d->store);
    return r;
  }
  d->made(d->arg, id);
  return 0;
}

/* What is made changes what is asked: so many rows, the earliest first, and the others when it is looked again. */
#define ROWS_MAX 64
struct wanted {
  int64_t id, at;
  char gp[RPPS_MAX];
};

static int gather(struct due *d, struct rows r, struct wanted list[static ROWS_MAX]) {
  int n = 0;
  while (n < ROWS_MAX && rows_next(&r)) {
    list[n] = (struct wanted){.id = rows_int(&r, 0), .at = rows_int(&r, 1)};
    str_copy(list[n].gp, sizeof list[n].gp, rows_is_null(&r, 2) ? "" : rows_text(&r, 2));
    n++;
  }
  int err = rows_finish(&r);
  if (n == ROWS_MAX && list[n - 1].at <= d->now)
    d->next = d->now;
  return err < 0 ? err : n;
}

/* A page that was written in what is the future now, as the clock was set back, has waited long enough. */
static int pages_due(struct due *d) {
  struct wanted list[ROWS_MAX];
  int n =
      gather(d,
             store_query(d->store,
                         "SELECT n.study, min(iif(n.at > ?1, ?1, n.at + ?2)), NULL FROM notice n WHERE n.kind ="
                         " 'page' AND n.id NOT IN (SELECT notice FROM notice_end) AND n.study NOT IN (SELECT id FROM"
                         " study WHERE state IN ('interpreted', 'returned', 'cancelled')) AND NOT EXISTS(SELECT 1 FROM "
                         "notice m WHERE m.kind = 'page_again' AND m.study = n.study AND"
                         " m.id > n.id) GROUP BY n.study ORDER BY 2 LIMIT 64",
                         "ii", d->now, d->page_us),
             list);
  int r = n < 0 ? n : 0;
  for (int i = 0; i < n && r == 0; i++)
    if (has_come(d, list[i].at))
      r = make(d, "page_again", list[i].id, 0, "");
  return r;
}

/* What is urgent is overdue when it was not read half an hour after it could be, as page-minutes goes (5): whoever
 * heard the call may have forgotten it. */
/* Each once for each time that the study was accepted. One state at a time: in the order of an index, however many
 * wait. */
static int studies_due_in(struct due *d, const char *state, const char *kind, int64_t ahead) {
  struct wanted list[ROWS_MAX];
  int n =
      gather(d,
             store_query(d->store,
                         "SELECT y.id, iif(y.urgent IS NULL, y.due - ?1, max(y.due, y.accepted) + 6 * ?4),"
                         " iif(y.reader = 'gp', t.gp, NULL) FROM study y JOIN orders o ON o.id = y.orders LEFT JOIN"
                         " followup_team t ON t.id = (SELECT max(id) FROM followup_team WHERE followup = o.followup)"
                         " WHERE y.state = ?3 AND (?1 = 0 OR (y.urgent IS NULL AND y.due > ?5)) AND NOT EXISTS("
                         "SELECT 1 FROM notice n WHERE n.study = y.id AND n.kind = ?2 AND n.at >= y.accepted)"
                         " ORDER BY " QUEUE_RANK " LIMIT 64",
                         "ittii", ahead, kind, state, d->page_us, d->now),
             list);
  int r = n < 0 ? n : 0;
  for (int i = 0; i < n && r == 0; i++)
    if (has_come(d, list[i].at)) {
      char reader[RPPS_MAX] = "";
      if (ahead && list[i].gp[0])
        r = registry_stands_in(d->store, list[i].gp, reader);
      if (r == 0)
        r = make(d, kind, list[i].id, 0, reader);
    }
  return r;
}

static int studies_due(struct due *d, const char *kind, int64_t ahead) {
  int r = studies_due_in(d, "to_interpret", kind, ahead);
  return r < 0 ? r : studies_due_in(d, "interpreting", kind, ahead);
}

static int delegations_due(struct due *d) {
  static const char *const sql[] = {
      "SELECT d.id, 0, d.nurse FROM delegation d WHERE ?1 BETWEEN d.valid_from AND d.valid_until AND"
      " julianday(d.valid_until) - julianday(?1) <= ?2 AND d.id NOT IN (SELECT delegation FROM delegation_end) AND NOT"
      " EXISTS(SELECT 1 FROM notice n WHERE n.delegation = d.id AND n.recipient = d.nurse) LIMIT 64",
      "SELECT d.id, 0, d.gp FROM delegation d WHERE ?1 BETWEEN d.valid_from AND d.valid_until AND"
      " julianday(d.valid_until) - julianday(?1) <= ?2 AND d.id NOT IN (SELECT delegation FROM delegation_end) AND NOT"
      " EXISTS(SELECT 1 FROM notice n WHERE n.delegation = d.id AND n.recipient = d.gp) LIMIT 64",
  };
  char day[WALL_DATE_MAX];
  int r = 0;
  wall_date(d->now, day);
  for (int k = 0; k < 2 && r == 0; k++) {
    struct wanted list[ROWS_MAX];
    int n = gather(d, store_query(d->store, sql[k], "ti", day, (int64_t)DELEGATION_WARN_DAYS), list);
    r = n < 0 ? n : 0;
    for (int i = 0; i < n && r == 0; i++)
      r = make(d, "delegation", 0, list[i].id, list[i].gp);
  }
  return r;
}

int64_t notice_due(struct store *s, const struct conf *conf, int64_t now, void (*made)(void *, int64_t), void *arg) {
  struct due d = {.store = s,
                  .now = now,
                  .next = now + NOTICE_LOOK_US,
                  .page_us = (int64_t)conf->page_minutes * 60 * WALL_SECOND,
                  .made = made,
                  .arg = arg};
  int r = pages_due(&d);
  if (r == 0)
    r = studies_due(&d, "reminder", (int64_t)conf->remind_hours * 3600 * WALL_SECOND);
  if (r == 0)
    r = studies_due(&d, "overdue", 0);
  if (r == 0)
    r = delegations_due(&d);
  return r < 0 ? r : d.next;
}
