#include "registry.h"

#include "str.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void today(char ret[static WALL_DATE_MAX]) {
  wall_date(wall_now().us, ret);
}

/* ---- professionals ---- */

enum problem registry_professional(struct store *s, const char *rpps, struct professional *ret) {
  struct rows r = store_query(s,
                              "SELECT rpps, family, given, role, finess, version FROM professional WHERE rpps = ?"
                              " ORDER BY version DESC LIMIT 1",
                              "t", rpps);
  enum problem p = P_not_found;
  if (rows_next(&r)) {
    *ret = (struct professional){.version = rows_int(&r, 5)};
    p = str_copy(ret->rpps, sizeof ret->rpps, rows_text(&r, 0)) &&
                str_copy(ret->family, sizeof ret->family, rows_text(&r, 1)) &&
                str_copy(ret->given, sizeof ret->given, rows_text(&r, 2)) && role_find(rows_text(&r, 3), &ret->role) &&
                str_copy(ret->finess, sizeof ret->finess, rows_text(&r, 4))
            ? P_OK
            : P_internal;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem registry_professional_put(struct store *s, const struct actor *by, struct professional *p, bool *ret_new) {
  struct professional known;
  enum problem found = registry_professional(s, p->rpps, &known);
  if (found != P_OK && found != P_not_found)
    return found;
  *ret_new = found == P_not_found;
  if (!*ret_new && known.role != p->role)
    return P_invalid_field;
  if (!*ret_new && !strcmp(known.family, p->family) && !strcmp(known.given, p->given) &&
      !strcmp(known.finess, p->finess)) {
    *p = known;
    return P_OK;
  }
  p->version = *ret_new ? 1 : known.version + 1;
  int r = store_run(s, "INSERT INTO professional VALUES(?,?,?,?,?,?,?,?)", "tittttit", p->rpps, p->version, p->family,
                    p->given, role_name(p->role), p->finess, wall_now().us, actor_person(by));
  if (r >= 0)
    r = audit_add(s, by, *ret_new ? "professional.add" : "professional.change", p->rpps,
                  json_pack("{s:I}", "version", (json_int_t)p->version));
  return problem_of_errno(r);
}

int registry_professionals(struct store *s, json_t **ret) {
  _json_cleanup_ json_t *items = json_array();
  struct rows r = store_query(s,
                              "SELECT p.rpps, p.family, p.given, p.role, p.finess, u.name FROM professional p"
                              " LEFT JOIN user u ON u.rpps = p.rpps AND NOT u.disabled WHERE p.version ="
                              " (SELECT max(version) FROM professional WHERE rpps = p.rpps) ORDER BY p.family, p.rpps",
                              "");
  int err = items ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    json_t *item =
        json_pack("{s:s?, s:s, s:s, s:s, s:s, s:s}", "account", rows_text(&r, 5), "family", rows_text(&r, 1), "finess",
                  rows_text(&r, 4), "given", rows_text(&r, 2), "role", rows_text(&r, 3), "rpps", rows_text(&r, 0));
    err = json_array_append_new(items, item) < 0 ? -ENOMEM : 0;
  }
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(items);
  return err;
}

static enum problem is_a(struct store *s, const char *rpps, enum role role) {
  struct professional p;
  enum problem found = registry_professional(s, rpps, &p);
  return found == P_not_found || (found == P_OK && p.role != role) ? P_invalid_field : found;
}

/* ---- delegations ---- */

static enum problem delegation_check(struct store *s, const struct delegation *d, const char **ret_field) {
  const struct {
    const char *name, *date;
  } dates[] = {{"from", d->from},
               {"until", d->until},
               {"authorised", d->authorised},
               {"nurse_adhesion", d->nurse_adhesion},
               {"gp_adhesion", d->gp_adhesion}};
  *ret_field = "nurse";
  enum problem p = is_a(s, d->nurse, ROLE_NURSE);
  if (p == P_OK) {
    *ret_field = "gp";
    p = is_a(s, d->gp, ROLE_GP);
  }
  for (size_t i = 0; i < sizeof dates / sizeof *dates && p == P_OK; i++) {
    *ret_field = dates[i].name;
    /* Nothing is delegated before it was authorised and both had joined. */
    if (!wall_is_date(dates[i].date) || (i == 1 && strcmp(d->until, d->from) < 0) ||
        (i > 1 && strcmp(dates[i].date, d->from) > 0))
      p = P_invalid_field;
  }
  return p;
}

enum problem registry_delegate(struct store *s, const struct actor *by, const struct delegation *d, int64_t *ret_id,
                               const char **ret_field) {
  enum problem p = delegation_check(s, d, ret_field);
  if (p != P_OK)
    return p;
  struct rows rows =
      store_query(s,
                  "SELECT 1 FROM delegation WHERE nurse = ? AND gp = ? AND protocol = ? AND valid_from <="
                  " ? AND valid_until >= ? AND id NOT IN (SELECT delegation FROM delegation_end) LIMIT 1",
                  "ttttt", d->nurse, d->gp, d->protocol, d->until, d->from);
  bool overlaps = rows_next(&rows);
  int r = rows_finish(&rows);
  if (r == 0 && overlaps)
    return P_delegation_overlaps;
  if (r == 0)
    r = store_run(s,
                  "INSERT INTO delegation(nurse, gp, protocol, authorisation, authorised, valid_from, valid_until,"
                  " nurse_adhesion, gp_adhesion, at, by) VALUES(?,?,?,?,?,?,?,?,?,?,?)",
                  "tttttttttit", d->nurse, d->gp, d->protocol, d->authorisation, d->authorised, d->from, d->until,
                  d->nurse_adhesion, d->gp_adhesion, wall_now().us, actor_person(by));
  char ref[STR_REF_MAX];
  if (r >= 0) {
    *ret_id = store_last_id(s);
    str_ref('D', *ret_id, ref);
    r = audit_add(s, by, "delegation.add", ref,
                  json_pack("{s:s, s:s, s:s, s:s, s:s}", "from", d->from, "gp", d->gp, "nurse", d->nurse, "protocol",
                            d->protocol, "until", d->until));
  }
  return problem_of_errno(r);
}

enum problem registry_delegation_end(struct store *s, const struct actor *by, int64_t id, const char *reason) {
  char ref[STR_REF_MAX];
  int r = store_run(s, "INSERT INTO delegation_end SELECT id, ?, ?, ? FROM delegation WHERE id = ?", "itti",
                    wall_now().us, actor_person(by), reason, id);
  if (r == 0)
    return P_not_found;
  str_ref('D', id, ref);
  if (r > 0)
    r = audit_add(s, by, "delegation.end", ref, json_pack("{s:s}", "reason", reason));
  return problem_of_errno(r);
}

#define DELEGATION_STATE                                                                                          \
  "CASE WHEN e.delegation IS NOT NULL THEN 'ended' WHEN ?1 > d.valid_until THEN 'expired' WHEN ?1 < d.valid_from" \
  " THEN 'future' WHEN julianday(d.valid_until) - julianday(?1) <= ?2 THEN 'expiring' ELSE 'valid' END"

int registry_delegations(struct store *s, const char *rpps, json_t **ret) {
  _json_cleanup_ json_t *items = json_array();
  char day[WALL_DATE_MAX];
  today(day);
  struct rows r = store_query(s,
                              "SELECT d.id, d.nurse, d.gp, d.protocol, d.authorisation, d.authorised, d.valid_from,"
                              " d.valid_until, d.nurse_adhesion, d.gp_adhesion, " DELEGATION_STATE ", e.reason,"
                              " CAST(julianday(d.valid_until) - julianday(?1) AS INTEGER)"
                              " FROM delegation d LEFT JOIN delegation_end e ON e.delegation = d.id"
                              " WHERE ?3 IS NULL OR ?3 IN (d.nurse, d.gp) ORDER BY d.id DESC",
                              "tit", day, (int64_t)DELEGATION_WARN_DAYS, rpps);
  int err = items ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    char ref[STR_REF_MAX];
    str_ref('D', rows_int(&r, 0), ref);
    json_t *item = json_pack(
        "{s:s, s:s, s:I, s:s?, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "authorisation", rows_text(&r, 4),
        "authorised", rows_text(&r, 5), "days_left", (json_int_t)rows_int(&r, 12), "end_reason", rows_text(&r, 11),
        "from", rows_text(&r, 6), "gp", rows_text(&r, 2), "gp_adhesion", rows_text(&r, 9), "id", ref, "nurse",
        rows_text(&r, 1), "nurse_adhesion", rows_text(&r, 8), "protocol", rows_text(&r, 3), "state", rows_text(&r, 10));
    if (item)
      json_object_set_new(item, "until", json_string(rows_text(&r, 7)));
    err = json_array_append_new(items, item) < 0 ? -ENOMEM : 0;
  }
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(items);
  return err;
}

enum problem registry_may(struct store *s, const char *nurse, const char *gp, const char *protocol, int64_t *ret) {
  char day[WALL_DATE_MAX];
  if (!*nurse)
    return P_professional_unknown;
  today(day);
  /* The one that holds; else the one that says most about why none does. */
  struct rows r = store_query(s,
                              "SELECT d.id, " DELEGATION_STATE " AS state FROM delegation d LEFT JOIN delegation_end e"
                              " ON e.delegation = d.id WHERE d.nurse = ?3 AND d.gp = ?4 AND d.protocol = ?5"
                              " ORDER BY instr('valid expiring future expired ended', state), d.id DESC LIMIT 1",
                              "tittt", day, (int64_t)DELEGATION_WARN_DAYS, nurse, gp, protocol);
  enum problem p = P_delegation_missing;
  if (rows_next(&r)) {
    const char *state = rows_text(&r, 1);
    p = !strcmp(state, "valid") || !strcmp(state, "expiring") ? P_OK
        : !strcmp(state, "future")                            ? P_delegation_future
                                                              : P_delegation_expired;
    if (p == P_OK)
      *ret = rows_int(&r, 0);
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

/* ---- absences ---- */

#define ABSENCE_HOLDS "id NOT IN (SELECT absence FROM absence_end)"

enum problem registry_absence(struct store *s, const struct actor *by, const char *gp, const char *deputy,
                              const char *first, const char *last, int64_t *ret_id, const char **ret_field) {
  *ret_field = "gp";
  enum problem p = is_a(s, gp, ROLE_GP);
  if (p == P_OK) {
    *ret_field = "deputy";
    p = strcmp(gp, deputy) ? is_a(s, deputy, ROLE_GP) : P_invalid_field;
  }
  if (p == P_OK && (*ret_field = "first", !wall_is_date(first)))
    p = P_invalid_field;
  if (p == P_OK && (*ret_field = "last", !wall_is_date(last) || strcmp(last, first) < 0))
    p = P_invalid_field;
  if (p != P_OK)
    return p;
  struct rows rows = store_query(
      s, "SELECT 1 FROM absence WHERE gp = ? AND first_day <= ? AND last_day >= ? AND " ABSENCE_HOLDS " LIMIT 1", "ttt",
      gp, last, first);
  bool covered = rows_next(&rows);
  int r = rows_finish(&rows);
  if (r == 0 && covered)
    return P_already_exists;
  if (r == 0)
    r = store_run(s, "INSERT INTO absence(gp, deputy, first_day, last_day, at, by) VALUES(?,?,?,?,?,?)", "ttttit", gp,
                  deputy, first, last, wall_now().us, actor_person(by));
  char ref[STR_REF_MAX];
  if (r >= 0) {
    *ret_id = store_last_id(s);
    str_ref('A', *ret_id, ref);
    r = audit_add(s, by, "absence.add", ref,
                  json_pack("{s:s, s:s, s:s, s:s}", "deputy", deputy, "first", first, "gp", gp, "last", last));
  }
  return problem_of_errno(r);
}

enum problem registry_absence_end(struct store *s, const struct actor *by, int64_t id) {
  char ref[STR_REF_MAX];
  int r = store_run(s, "INSERT INTO absence_end SELECT id, ?, ? FROM absence WHERE id = ?", "iti", wall_now().us,
                    actor_person(by), id);
  if (r == 0)
    return P_not_found;
  str_ref('A', id, ref);
  if (r > 0)
    r = audit_add(s, by, "absence.end", ref, NULL);
  return problem_of_errno(r);
}

int registry_absences(struct store *s, json_t **ret) {
  _json_cleanup_ json_t *items = json_array();
  struct rows r =
      store_query(s,
                  "SELECT a.id, a.gp, a.deputy, a.first_day, a.last_day, e.absence IS NOT NULL FROM absence a"
                  " LEFT JOIN absence_end e ON e.absence = a.id ORDER BY a.id DESC",
                  "");
  int err = items ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    char ref[STR_REF_MAX];
    str_ref('A', rows_int(&r, 0), ref);
    json_t *item =
        json_pack("{s:s, s:b, s:s, s:s, s:s, s:s}", "deputy", rows_text(&r, 2), "ended", (int)rows_int(&r, 5), "first",
                  rows_text(&r, 3), "gp", rows_text(&r, 1), "id", ref, "last", rows_text(&r, 4));
    err = json_array_append_new(items, item) < 0 ? -ENOMEM : 0;
  }
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(items);
  return err;
}

int registry_stands_in(struct store *s, const char *gp, char ret[static RPPS_MAX]) {
  char day[WALL_DATE_MAX];
  today(day);
  struct rows r = store_query(s,
                              "SELECT a.deputy, EXISTS(SELECT 1 FROM absence b WHERE b.gp = a.deputy AND ?2 BETWEEN"
                              " b.first_day AND b.last_day AND b.id NOT IN (SELECT absence FROM absence_end))"
                              " FROM absence a WHERE a.gp = ?1 AND ?2 BETWEEN a.first_day AND a.last_day"
                              " AND a.id NOT IN (SELECT absence FROM absence_end) ORDER BY a.id DESC LIMIT 1",
                              "tt", gp, day);
  char reader[RPPS_MAX];
  bool away = rows_next(&r);
  str_copy(reader, sizeof reader, !away ? gp : rows_int(&r, 1) ? "" : rows_text(&r, 0));
  int err = rows_finish(&r);
  if (err == 0)
    memcpy(ret, reader, sizeof reader);
  return err;
}
