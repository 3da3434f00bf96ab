#include "meeting.h"

#include "access.h"
#include "interpret.h"
#include "recall.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- who meets ---- */

/* Both are who they are said to be, and the caller is one of them. */
static enum problem pair_check(struct store *s, const struct caller *c, const char **gp, const char **nurse,
                               const char **ret_field) {
  const struct {
    const char **rpps;
    enum role role;
    const char *field;
  } two[] = {{gp, ROLE_GP, "gp"}, {nurse, ROLE_NURSE, "nurse"}};
  if (!c->rpps[0])
    return P_professional_unknown;
  for (size_t i = 0; i < 2; i++) {
    struct professional x;
    if (!*two[i].rpps && c->role == two[i].role)
      *two[i].rpps = c->rpps;
    *ret_field = two[i].field;
    if (!*two[i].rpps)
      return P_missing_field;
    if (c->role == two[i].role && strcmp(*two[i].rpps, c->rpps))
      return P_forbidden;
    enum problem p = registry_professional(s, *two[i].rpps, &x);
    if (p == P_not_found || (p == P_OK && x.role != two[i].role))
      return P_invalid_field;
    if (p != P_OK)
      return p;
  }
  return c->role & (ROLE_GP | ROLE_NURSE) ? P_OK : P_forbidden;
}

static json_t *patient_json(const struct rows *r, int column) {
  return json_pack("{s:s, s:s, s:s, s:s, s:s}", "birth_date", rows_text(r, column + 3), "family",
                   rows_text(r, column + 1), "given", rows_text(r, column + 2), "id", rows_text(r, column), "sex",
                   rows_text(r, column + 4));
}
#define PATIENT_COLUMNS "p.id, v.family, v.given, v.birth_date, v.sex"
#define PATIENT_JOIN                    \
  " JOIN patient p ON p.id = w.patient" \
  " JOIN patient_version v ON v.patient = p.id AND v.version = p.version"

/* ---- the agenda ---- */

struct agenda {
  struct store *store;
  const struct conf *conf;
  const struct caller *caller;
  const char *since; /* "" = from the beginning */
  char today[WALL_DATE_MAX];
  int64_t now;
};

/* A study under the caller's view of it. */
static int study_json(const struct agenda *a, int64_t id, int64_t signed_at, json_t **ret) {
  struct study y;
  json_t *interpretation = NULL, *course = NULL;
  char ref[STR_REF_MAX];
  if (study_find(a->store, id, &y) != P_OK)
    return -EIO;
  const struct conf_act *act = study_act(a->conf, &y);
  const struct view view = {.role = a->caller->role,
                            .before = act->sees_before,
                            .after = act->sees_after,
                            .is_signed = y.state == INTERPRETED};
  int r = interpret_json(a->store, id, &view, &interpretation);
  if (r >= 0)
    r = interpret_course(a->store, id, &view, &course);
  str_ref('S', id, ref);
  json_t *x = json_pack("{s:o, s:s, s:o, s:s, s:b, s:O?, s:o, s:s, s:b}", "accepted", json_time(y.accepted), "act",
                        y.act, "due", json_time(y.due), "id", ref, "overdue",
                        (y.state == TO_INTERPRET || y.state == INTERPRETING) && y.due < a->now, "returned",
                        json_object_get(course, "returned"), "signed", json_time(signed_at), "state",
                        study_state_name(y.state), "urgent", y.urgent != 0);
  if (x && interpretation)
    json_object_set(x, "interpretation", interpretation);
  json_decref(interpretation);
  json_decref(course);
  *ret = x;
  return r < 0 ? r : x ? 0 : -ENOMEM;
}

/* ?1 the patient, ?2 the follow-up, ?3 since when. Signed: the newest version that stands, or unless ?4 the one that
 * was no correction, which not everybody is told of. */
#define AGENDA_STUDIES                                                                                               \
  "SELECT y.id, i.at FROM orders o JOIN study y ON y.orders = o.id LEFT JOIN interpretation i ON i.id = (SELECT"     \
  " max(id) FROM interpretation WHERE study = y.id AND (?4 OR reason IS NULL) AND id NOT IN (SELECT interpretation " \
  "FROM withdrawal))"                                                                                                \
  " WHERE o.patient = ?1 AND o.followup = ?2 AND (y.state IN ('to_interpret', 'interpreting') OR (y.state ="         \
  " 'interpreted' AND date(i.at / 1000000, 'unixepoch', 'localtime') >= ?3) OR EXISTS(SELECT 1 FROM study_return"    \
  " x WHERE x.study = y.id AND date(x.at / 1000000, 'unixepoch', 'localtime') >= ?3)) ORDER BY y.id"

static int studies_json(const struct agenda *a, const char *patient, int64_t followup, json_t *list) {
  struct rows r =
      store_query(a->store, AGENDA_STUDIES, "titi", patient, followup, a->since, (int64_t)(a->caller->role == ROLE_GP));
  int err = list ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    json_t *x = NULL;
    err = study_json(a, rows_int(&r, 0), rows_int(&r, 1), &x);
    if (err == 0 && json_array_append(list, x) < 0)
      err = -ENOMEM;
    json_decref(x);
  }
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

static int notices_json(const struct agenda *a, const char *patient, int64_t followup, json_t *list) {
  struct rows r = store_query(a->store,
                              "SELECT n.id, n.kind, n.at, n.study FROM orders o JOIN study y ON y.orders = o.id JOIN"
                              " notice n ON n.study = y.id WHERE o.patient = ? AND o.followup = ? AND n.id NOT IN"
                              " (SELECT notice FROM notice_end) ORDER BY n.id",
                              "ti", patient, followup);
  int err = list ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    char ref[STR_REF_MAX], study[STR_REF_MAX];
    str_ref('N', rows_int(&r, 0), ref);
    str_ref('S', rows_int(&r, 3), study);
    err = json_array_append_new(list, json_pack("{s:o, s:s, s:s, s:s}", "at", json_time(rows_int(&r, 2)), "id", ref,
                                                "kind", rows_text(&r, 1), "study", study)) < 0
              ? -ENOMEM
              : 0;
  }
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

static int followup_json(const struct agenda *a, const struct rows *w, json_t **ret) {
  char ref[STR_REF_MAX];
  const int64_t id = rows_int(w, 0);
  const char *patient = rows_text(w, 2);
  json_t *recalls = NULL, *studies = json_array(), *notices = json_array();
  int r = studies_json(a, patient, id, studies);
  if (r >= 0)
    r = notices_json(a, patient, id, notices);
  if (r >= 0)
    r = recall_overdue(a->store, a->conf, id, a->today, &recalls);
  str_ref('W', id, ref);
  *ret = json_pack("{s:s, s:o, s:o, s:s, s:o, s:o}", "followup", ref, "notices", notices, "patient", patient_json(w, 2),
                   "protocol", rows_text(w, 1), "recalls", recalls ? recalls : json_null(), "studies", studies);
  return r < 0 ? r : *ret ? 0 : -ENOMEM;
}

/* Their last meeting; *ret_id 0 when they have not met. */
static int last_meeting(struct store *s, const char *gp, const char *nurse, int64_t *ret_id,
                        char ret_held[static WALL_DATE_MAX]) {
  struct rows r =
      store_query(s, "SELECT id, held FROM meeting WHERE gp = ? AND nurse = ? ORDER BY held DESC, id DESC LIMIT 1",
                  "tt", gp, nurse);
  *ret_id = 0;
  ret_held[0] = 0;
  if (rows_next(&r) && str_copy(ret_held, WALL_DATE_MAX, rows_text(&r, 1)))
    *ret_id = rows_int(&r, 0);
  return rows_finish(&r);
}

enum problem meeting_agenda(struct store *s, const struct conf *conf, const struct caller *c,
                            const struct agenda_page *page, const char **ret_field, json_t **ret) {
  const char *gp = page->gp, *nurse = page->nurse;
  struct agenda a = {.store = s, .conf = conf, .caller = c, .since = page->since, .now = wall_now().us};
  char held[WALL_DATE_MAX], next[STR_REF_MAX] = "", last[STR_REF_MAX];
  int64_t last_id;
  enum problem p = pair_check(s, c, &gp, &nurse, ret_field);
  if (p != P_OK)
    return p;
  *ret_field = "since";
  if (page->since && !wall_is_date(page->since))
    return P_invalid_field;
  wall_date(a.now, a.today);
  int err = last_meeting(s, gp, nurse, &last_id, held);
  if (err < 0)
    return problem_of_errno(err);
  if (!a.since)
    a.since = held;
  _json_cleanup_ json_t *items = json_array();
  struct rows r = store_query(s,
                              "SELECT w.id, w.protocol, " PATIENT_COLUMNS " FROM followup w JOIN followup_team t ON"
                              " t.id = (SELECT max(id) FROM followup_team WHERE followup = w.id)" PATIENT_JOIN
                              " WHERE w.id > ? AND t.gp = ? AND t.nurse = ? AND w.id NOT IN (SELECT followup FROM"
                              " followup_end) ORDER BY w.id LIMIT ?",
                              "itti", page->after, gp, nurse, (int64_t)page->limit + 1);
  int n = 0;
  while (err == 0 && n < page->limit && rows_next(&r)) {
    json_t *x = NULL;
    str_ref('W', rows_int(&r, 0), next);
    err = followup_json(&a, &r, &x);
    if (err == 0 && json_array_append(items, x) < 0)
      err = -ENOMEM;
    json_decref(x);
    n++;
  }
  const bool more = err == 0 && n == page->limit && rows_next(&r);
  int query_err = rows_finish(&r);
  if (err == 0)
    err = query_err;
  str_ref('M', last_id, last);
  if (err == 0 && !(*ret = json_pack("{s:s, s:O, s:o, s:s?, s:s, s:s?}", "gp", gp, "items", items, "last",
                                     last_id ? json_pack("{s:s, s:s}", "held", held, "id", last) : json_null(), "next",
                                     more ? next : NULL, "nurse", nurse, "since", a.since[0] ? a.since : NULL)))
    err = -ENOMEM;
  return problem_of_errno(err);
}

/* ---- the minutes ---- */

/* The patient of a follow-up that is the two's, or was, and whom the caller may still know of. */
static enum problem theirs(struct store *s, const struct caller *c, const struct meeting *m, const char *gp,
                           const char *nurse, size_t i, json_t *patients) {
  char day[WALL_DATE_MAX];
  wall_date(wall_now().us, day);
  struct rows r =
      store_query(s,
                  "SELECT w.patient FROM followup w WHERE w.id = ?1 AND EXISTS(SELECT 1 FROM followup_team"
                  " WHERE followup = w.id AND gp = ?2 AND nurse = ?3) AND " ACCESS_NURSE("?4", "?5", "w.patient"),
                  "itttt", m->items[i].followup, gp, nurse, access_rpps(c), day);
  enum problem p = P_not_found;
  if (rows_next(&r))
    p = json_array_append_new(patients, json_string(rows_text(&r, 0))) < 0 ? P_overloaded : P_OK;
  int err = rows_finish(&r);
  for (size_t k = 0; k < i && p == P_OK; k++)
    if (m->items[k].followup == m->items[i].followup)
      p = P_invalid_field;
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem meeting_add(struct store *s, const struct caller *c, const struct meeting *m, const char **ret_field,
                         size_t *ret_at, int64_t *ret_id) {
  const char *gp = m->gp, *nurse = m->nurse;
  const int64_t now = wall_now().us;
  char today[WALL_DATE_MAX], ref[STR_REF_MAX];
  enum problem p = pair_check(s, c, &gp, &nurse, ret_field);
  wall_date(now, today);
  if (p == P_OK && (*ret_field = "held", !wall_is_date(m->held) || strcmp(m->held, today) > 0))
    p = P_invalid_field;
  _json_cleanup_ json_t *patients = json_array();
  for (size_t i = 0; i < m->n && p == P_OK; i++) {
    *ret_field = "followup";
    *ret_at = i;
    p = theirs(s, c, m, gp, nurse, i, patients);
  }
  if (p != P_OK)
    return p;
  int r = store_run(s, "INSERT INTO meeting(gp, nurse, held, minute, at, by) VALUES(?,?,?,?,?,?)", "ttttit", gp, nurse,
                    m->held, m->minute, now, caller_person(c));
  if (r < 0)
    return problem_of_errno(r);
  const int64_t id = store_last_id(s);
  for (size_t i = 0; i < m->n && r >= 0; i++)
    r = store_run(s, "INSERT INTO meeting_followup VALUES(?,?,?)", "iit", id, m->items[i].followup, m->items[i].minute);
  if (r >= 0) {
    struct actor by = caller_actor(c);
    str_ref('M', id, ref);
    r = audit_add(s, &by, "meeting.add", ref,
                  json_pack("{s:s, s:s, s:s, s:O}", "gp", gp, "held", m->held, "nurse", nurse, "patients", patients));
  }
  if (r >= 0)
    *ret_id = id;
  return problem_of_errno(r);
}

#define MEETING_COLUMNS                                                                                           \
  "SELECT m.id, m.gp, m.nurse, m.held, m.at, m.by, (SELECT count(*) FROM meeting_followup WHERE meeting = m.id)," \
  " m.minute FROM meeting m WHERE "
/* ?1 the caller's role, ?2 its number. */
#define MEETING_MINE "((?1 = 'gp' AND m.gp = ?2) OR (?1 = 'nurse' AND m.nurse = ?2))"

static json_t *meeting_json(const struct rows *r) {
  char ref[STR_REF_MAX];
  str_ref('M', rows_int(r, 0), ref);
  return json_pack("{s:o, s:s, s:I, s:s, s:s, s:s, s:s}", "at", json_time(rows_int(r, 4)), "by", rows_text(r, 5),
                   "followups", (json_int_t)rows_int(r, 6), "gp", rows_text(r, 1), "held", rows_text(r, 3), "id", ref,
                   "nurse", rows_text(r, 2));
}

int meeting_list(struct store *s, const struct caller *c, int64_t before, int limit, json_t **ret) {
  _json_cleanup_ json_t *items = json_array();
  struct rows r =
      store_query(s, MEETING_COLUMNS "(?1 = 'admin' OR " MEETING_MINE ") AND m.id < ?3 ORDER BY m.id DESC LIMIT ?4",
                  "ttii", role_name(c->role), c->rpps, before, (int64_t)limit);
  int err = items ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r))
    err = json_array_append_new(items, meeting_json(&r)) < 0 ? -ENOMEM : 0;
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(items);
  return err;
}

static int minutes_json(struct store *s, const struct caller *c, int64_t id, json_t *list) {
  char day[WALL_DATE_MAX];
  wall_date(wall_now().us, day);
  struct rows r = store_query(s,
                              "SELECT w.id, x.minute, " PATIENT_COLUMNS " FROM meeting_followup x JOIN followup w ON"
                              " w.id = x.followup" PATIENT_JOIN
                              " WHERE x.meeting = ?1 AND " ACCESS_NURSE("?2", "?3", "w.patient") " ORDER BY w.id",
                              "itt", id, access_rpps(c), day);
  int err = list ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    char ref[STR_REF_MAX];
    str_ref('W', rows_int(&r, 0), ref);
    err = json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "followup", ref, "minute", rows_text(&r, 1),
                                                "patient", patient_json(&r, 2))) < 0
              ? -ENOMEM
              : 0;
  }
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

enum problem meeting_get(struct store *s, const struct caller *c, int64_t id, json_t **ret) {
  struct rows r = store_query(s, MEETING_COLUMNS MEETING_MINE " AND m.id = ?3", "tti", role_name(c->role), c->rpps, id);
  _json_cleanup_ json_t *followups = json_array(), *found = NULL;
  enum problem p = P_not_found;
  if (rows_next(&r)) {
    found = meeting_json(&r);
    p = found && json_object_set_new(found, "minute", json_string(rows_text(&r, 7))) == 0 ? P_OK : P_overloaded;
  }
  int err = rows_finish(&r);
  if (p == P_OK && err == 0)
    err = minutes_json(s, c, id, followups);
  if (p == P_OK && err == 0 && json_object_set(found, "followups", followups) < 0)
    err = -ENOMEM;
  if (err < 0 || p != P_OK)
    return err < 0 ? problem_of_errno(err) : p;
  *ret = json_incref(found);
  return P_OK;
}
