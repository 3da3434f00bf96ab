#include "followup.h"

#include "notice.h"
#include "str.h"
#include <stdio.h>
#include <string.h>

#define FOLLOWUP_COLUMNS                                                                            \
  "SELECT f.id, f.at, f.patient, f.protocol, t.gp, t.nurse, e.followup IS NOT NULL FROM followup f" \
  " JOIN followup_team t ON t.id = (SELECT max(id) FROM followup_team WHERE followup = f.id)"       \
  " LEFT JOIN followup_end e ON e.followup = f.id"

static bool followup_of(const struct rows *r, struct followup *ret) {
  *ret = (struct followup){.id = rows_int(r, 0), .opened = rows_int(r, 1), .closed = rows_int(r, 6)};
  return str_copy(ret->patient, sizeof ret->patient, rows_text(r, 2)) &&
         str_copy(ret->protocol, sizeof ret->protocol, rows_text(r, 3)) &&
         str_copy(ret->gp, sizeof ret->gp, rows_text(r, 4)) && str_copy(ret->nurse, sizeof ret->nurse, rows_text(r, 5));
}

enum problem followup_find(struct store *s, int64_t id, struct followup *ret) {
  struct rows r = store_query(s, FOLLOWUP_COLUMNS " WHERE f.id = ?", "i", id);
  enum problem p = !rows_next(&r) ? P_not_found : followup_of(&r, ret) ? P_OK : P_internal;
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

/* Both are who they are said to be, and work together under the protocol today. */
static enum problem team_check(struct store *s, const struct caller *c, const char *protocol, const char *gp,
                               const char *nurse) {
  int64_t delegation;
  if (c->role == ROLE_NURSE && strcmp(nurse, c->rpps))
    return P_forbidden;
  return registry_may(s, nurse, gp, protocol, &delegation);
}

static enum problem team_add(struct store *s, const struct caller *c, int64_t id, const char *gp, const char *nurse,
                             const char *reason) {
  return problem_of_errno(
      store_run(s, "INSERT INTO followup_team(followup, gp, nurse, at, by, reason) VALUES(?,?,?,?,?,?)", "ittitt", id,
                gp, nurse, wall_now().us, caller_person(c), reason));
}

static enum problem tell(struct store *s, const struct caller *c, const char *action, const struct followup *f,
                         json_t *detail) {
  struct actor by = caller_actor(c);
  char ref[STR_REF_MAX];
  str_ref('W', f->id, ref);
  if (!detail)
    return P_overloaded;
  json_object_set_new(detail, "patient", json_string(f->patient));
  int r = audit_add(s, &by, action, ref, detail);
  return problem_of_errno(r < 0 ? r : change_add(s, "followup", ref, NULL));
}

enum problem followup_open(struct store *s, const struct conf *conf, const struct caller *c, const char *patient,
                           const char *protocol, const char *gp, const char *nurse, int64_t *ret_id) {
  struct patient known;
  enum problem p = patient_find(s, patient, &known);
  if (p == P_OK && !conf_protocol(conf, protocol))
    p = P_protocol_unknown;
  if (p == P_OK)
    p = team_check(s, c, protocol, gp, nurse);
  if (p != P_OK)
    return p;
  struct rows rows =
      store_query(s,
                  "SELECT 1 FROM followup WHERE patient = ? AND protocol = ? AND id NOT IN (SELECT followup"
                  " FROM followup_end) LIMIT 1",
                  "tt", patient, protocol);
  bool there = rows_next(&rows);
  int r = rows_finish(&rows);
  if (r == 0 && there)
    return P_already_exists;
  if (r == 0)
    r = store_run(s, "INSERT INTO followup(patient, protocol, at, by) VALUES(?,?,?,?)", "ttit", patient, protocol,
                  wall_now().us, caller_person(c));
  if (r < 0)
    return problem_of_errno(r);
  struct followup f = {.id = store_last_id(s)};
  memcpy(f.patient, known.id, sizeof f.patient);
  *ret_id = f.id;
  p = team_add(s, c, f.id, gp, nurse, NULL);
  return p != P_OK ? p
                   : tell(s, c, "followup.open", &f,
                          json_pack("{s:s, s:s, s:s}", "gp", gp, "nurse", nurse, "protocol", protocol));
}

enum problem followup_transfer(struct store *s, const struct caller *c, const struct followup *f, const char *gp,
                               const char *nurse, const char *reason) {
  int64_t delegation;
  enum problem p = f->closed ? P_followup_closed : registry_may(s, nurse, gp, f->protocol, &delegation);
  if (p == P_OK)
    p = team_add(s, c, f->id, gp, nurse, reason);
  if (p == P_OK && strcmp(f->nurse, nurse))
    p = problem_of_errno(notice_pass_on(s, f->id, f->nurse, nurse));
  return p != P_OK ? p : tell(s, c, "followup.transfer", f, json_pack("{s:s, s:s}", "gp", gp, "nurse", nurse));
}

enum problem followup_close(struct store *s, const struct caller *c, const struct followup *f, const char *reason) {
  if (f->closed)
    return P_followup_closed;
  int r =
      store_run(s, "INSERT INTO followup_end VALUES(?,?,?,?)", "iitt", f->id, wall_now().us, caller_person(c), reason);
  return r < 0 ? problem_of_errno(r) : tell(s, c, "followup.close", f, json_object());
}

enum problem followup_for(struct store *s, const struct conf *conf, const char *patient, enum acq_modality act,
                          int64_t wanted, struct followup *ret, const struct conf_act **ret_act) {
  const struct conf_act *found_act = NULL;
  struct followup one, found;
  unsigned opening = 0, open = 0, closed = 0;
  enum problem p = P_OK;
  struct rows r =
      store_query(s, FOLLOWUP_COLUMNS " WHERE f.patient = ?1 AND (?2 = 0 OR f.id = ?2)", "ti", patient, wanted);
  while (p == P_OK && rows_next(&r)) {
    if (!followup_of(&r, &one)) {
      p = P_internal;
      break;
    }
    const struct conf_protocol *protocol = conf_protocol(conf, one.protocol);
    const struct conf_act *a = protocol ? conf_act(protocol, act) : NULL;
    closed += one.closed;
    open += !one.closed;
    if (!one.closed && a && a->open) {
      opening++;
      found = one;
      found_act = a;
    }
  }
  int err = rows_finish(&r);
  if (err < 0 || p != P_OK)
    return err < 0 ? problem_of_errno(err) : p;
  if (opening > 1)
    return P_followup_ambiguous;
  if (opening == 0)
    return open ? P_act_not_open : closed && wanted ? P_followup_closed : P_followup_missing;
  *ret = found;
  *ret_act = found_act;
  return P_OK;
}

enum problem followup_may(struct store *s, const struct caller *c, const struct followup *f, const struct conf_act *act,
                          enum followup_right right, int64_t *ret) {
  *ret = 0;
  if (c->role != ROLE_NURSE) /* the GP does so in his own right */
    return P_OK;
  if (right == FOLLOWUP_PRESCRIBE ? !act->prescribe : !act->perform)
    return right == FOLLOWUP_PRESCRIBE ? P_prescribe_gp : P_perform_gp;
  return registry_may(s, c->rpps, f->gp, f->protocol, ret);
}
