#include "worklist.h"

#include "access.h"
#include "followup.h"
#include "fundus.h"
#include "notice.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const state_names[STATES] = {"ordered",      "acquiring",   "acquired", "to_interpret",
                                                "interpreting", "interpreted", "returned", "cancelled"};
static const char *const event_names[EVENTS] = {"start",    "record",        "fail",   "fail_again", "repeat", "accept",
                                                "claim",    "release",       "expire", "sign",       "cancel", "attach",
                                                "reassign", "reassign_part", "return", "refer",      "amend"};

/* What may happen to a study, and to whom it is left. Nothing else may. */
static const struct {
  enum study_state from;
  enum study_event event;
  unsigned roles;
  enum study_state to;
} table[] = {
    {ORDERED, EV_START, ROLE_NURSE | ROLE_GP, ACQUIRING},
    {ORDERED, EV_CANCEL, ROLE_NURSE | ROLE_GP, CANCELLED},
    {ACQUIRING, EV_RECORD, ROLE_SYSTEM, ACQUIRED},
    {ACQUIRING, EV_FAIL, ROLE_SYSTEM, ORDERED},
    {ACQUIRING, EV_FAIL_AGAIN, ROLE_SYSTEM, ACQUIRED},
    {ACQUIRED, EV_START, ROLE_NURSE | ROLE_GP, ACQUIRING},
    {ACQUIRED, EV_REPEAT, ROLE_NURSE | ROLE_GP, ORDERED},
    {ACQUIRED, EV_ACCEPT, ROLE_NURSE | ROLE_GP, TO_INTERPRET},
    {ACQUIRED, EV_CANCEL, ROLE_NURSE | ROLE_GP, CANCELLED},
    {TO_INTERPRET, EV_CLAIM, ROLE_READERS, INTERPRETING},
    {TO_INTERPRET, EV_REFER, ROLE_GP, TO_INTERPRET},
    {TO_INTERPRET, EV_CANCEL, ROLE_GP, CANCELLED},
    {INTERPRETING, EV_RELEASE, ROLE_READERS, TO_INTERPRET},
    {INTERPRETING, EV_RETURN, ROLE_READERS, RETURNED},
    {INTERPRETING, EV_REFER, ROLE_READERS, TO_INTERPRET},
    {ORDERED, EV_ATTACH, ROLE_NURSE | ROLE_GP | ROLE_ADMIN, ACQUIRED},
    {ACQUIRED, EV_ATTACH, ROLE_NURSE | ROLE_GP | ROLE_ADMIN, ACQUIRED},
    {ACQUIRED, EV_REASSIGN, ROLE_GP | ROLE_ADMIN, ORDERED},
    {ACQUIRED, EV_REASSIGN_PART, ROLE_GP | ROLE_ADMIN, ACQUIRED},
    {TO_INTERPRET, EV_REASSIGN, ROLE_GP | ROLE_ADMIN, ORDERED},
    {TO_INTERPRET, EV_REASSIGN_PART, ROLE_GP | ROLE_ADMIN, ACQUIRED},
    {INTERPRETING, EV_REASSIGN, ROLE_GP | ROLE_ADMIN, ORDERED},
    {INTERPRETING, EV_REASSIGN_PART, ROLE_GP | ROLE_ADMIN, ACQUIRED},
    {INTERPRETED, EV_REASSIGN, ROLE_GP | ROLE_ADMIN, ORDERED},
    {INTERPRETED, EV_REASSIGN_PART, ROLE_GP | ROLE_ADMIN, ACQUIRED},
    {RETURNED, EV_REASSIGN, ROLE_GP | ROLE_ADMIN, RETURNED},
    {RETURNED, EV_REASSIGN_PART, ROLE_GP | ROLE_ADMIN, RETURNED},
    {INTERPRETING, EV_EXPIRE, ROLE_SYSTEM, TO_INTERPRET},
    {INTERPRETING, EV_SIGN, ROLE_READERS, INTERPRETED},
    {INTERPRETED, EV_AMEND, ROLE_READERS, INTERPRETED},
};

const char *study_state_name(enum study_state s) {
  return state_names[s];
}

bool study_state_find(const char *name, enum study_state *ret) {
  for (int i = 0; i < STATES; i++)
    if (!strcmp(state_names[i], name)) {
      *ret = (enum study_state)i;
      return true;
    }
  return false;
}

const char *study_event_name(enum study_event e) {
  return event_names[e];
}

enum problem study_next(enum study_state from, enum study_event event, enum role role, enum study_state *ret) {
  bool ever = false;
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    if (table[i].event != event)
      continue;
    ever |= (table[i].roles & role) != 0;
    if (table[i].from != from)
      continue;
    if (!(table[i].roles & role))
      return P_forbidden;
    *ret = table[i].to;
    return P_OK;
  }
  return ever ? P_wrong_state : P_forbidden;
}

json_t *study_event_json(const struct study *study) {
  char ref[STR_REF_MAX];
  str_ref('S', study->id, ref);
  return json_pack("{s:s, s:s, s:I}", "state", state_names[study->state], "study", ref, "version",
                   (json_int_t)study->version);
}

enum acq_modality act_modality(const char *act) {
  return acq_modality_find(act); /* an act is called like its modality */
}

const struct conf_act *study_act(const struct conf *conf, const struct study *study) {
  static struct conf_act strictest = {
      .sees_before = CONF_SEES_QUALITY, .sees_after = CONF_SEES_NOTHING, .delay_hours = 24};
  const struct conf_protocol *protocol = conf_protocol(conf, study->protocol);
  const struct conf_act *act = protocol ? conf_act(protocol, act_modality(study->act)) : NULL;
  strictest.views = conf_views_default;
  return act ? act : &strictest;
}

enum problem worklist_order(struct store *s, const struct conf *conf, const struct caller *c, const char *patient,
                            const char *act, int64_t wanted, int64_t *ret_order, int64_t *ret_study) {
  struct patient known;
  struct followup followup;
  const struct conf_act *rules;
  int64_t delegation = 0, now = wall_now().us;
  enum problem p = patient_find(s, patient, &known);
  if (p == P_OK)
    p = access_patient(s, c, patient);
  if (p == P_OK)
    p = followup_for(s, conf, patient, act_modality(act), wanted, &followup, &rules);
  if (p == P_OK)
    p = followup_may(s, c, &followup, rules, FOLLOWUP_PRESCRIBE, &delegation);
  if (p != P_OK)
    return p;
  struct actor by = caller_actor(c);
  char ref[STR_REF_MAX], followup_ref[STR_REF_MAX], delegation_ref[STR_REF_MAX];
  str_ref('W', followup.id, followup_ref);
  str_ref('D', delegation, delegation_ref);
  int r = store_run(s,
                    "INSERT INTO orders(patient, act, ordered_by, at, followup, delegation)"
                    " VALUES(?,?,?,?,?,nullif(?, 0))",
                    "tttiii", patient, act, caller_person(c), now, followup.id, delegation);
  if (r >= 0) {
    *ret_order = store_last_id(s);
    r = store_run(s, "INSERT INTO study(orders, state, created, updated, reader) VALUES(?,'ordered',?,?,?)", "iiit",
                  *ret_order, now, now, rules->reader == CONF_READER_OPHTHALMOLOGIST ? "ophthalmologist" : "gp");
  }
  if (r >= 0) {
    *ret_study = store_last_id(s);
    str_ref('S', *ret_study, ref);
    r = audit_add(s, &by, "order", ref,
                  json_pack("{s:s, s:s?, s:s, s:I, s:s}", "act", act, "delegation", delegation ? delegation_ref : NULL,
                            "followup", followup_ref, "order", (json_int_t)*ret_order, "patient", patient));
  }
  if (r >= 0)
    r = change_add(s, "study", ref, "ordered");
  if (r >= 0) {
    str_ref('O', *ret_order, ref);
    r = change_add(s, "order", ref, NULL);
  }
  return problem_of_errno(r);
}

enum problem study_may_acquire(struct store *s, const struct conf *conf, const struct caller *c,
                               const struct study *study, int64_t *ret_delegation) {
  struct followup followup;
  *ret_delegation = 0;
  if (!study->followup) /* ordered before there were any: the GP's alone */
    return c->role == ROLE_NURSE ? P_followup_missing : P_OK;
  enum problem p = followup_find(s, study->followup, &followup);
  if (p == P_OK && followup.closed && c->role == ROLE_NURSE)
    p = P_followup_closed;
  return p == P_OK ? followup_may(s, c, &followup, study_act(conf, study), FOLLOWUP_PERFORM, ret_delegation) : p;
}

enum problem study_may_tend(struct store *s, const struct caller *c, const struct study *study) {
  struct followup f;
  int64_t delegation;
  if (c->role != ROLE_NURSE || !study->followup)
    return P_OK;
  enum problem p = followup_find(s, study->followup, &f);
  return p == P_OK && strcmp(f.nurse, c->rpps) ? registry_may(s, c->rpps, f.gp, f.protocol, &delegation) : p;
}

enum problem study_find(struct store *s, int64_t id, struct study *ret) {
  struct rows r = store_query(s,
                              "SELECT y.id, y.orders, y.version, y.attempts, y.created, y.updated, y.accepted, y.due,"
                              " y.failed, y.claim_expires, y.state, o.patient, o.act, y.clean, y.failure, y.claim_by,"
                              " y.height_mm, o.followup, f.protocol, t.gp, y.reader, y.urgent, y.repeats"
                              " FROM study y JOIN orders o ON o.id = y.orders LEFT JOIN followup f ON f.id = o.followup"
                              " LEFT JOIN followup_team t ON t.id = (SELECT max(id) FROM followup_team WHERE followup ="
                              " o.followup) WHERE y.id = ?",
                              "i", id);
  enum problem p = P_not_found;
  if (rows_next(&r)) {
    struct study y = {.id = rows_int(&r, 0),
                      .order = rows_int(&r, 1),
                      .version = rows_int(&r, 2),
                      .attempts = rows_int(&r, 3),
                      .created = rows_int(&r, 4),
                      .updated = rows_int(&r, 5),
                      .accepted = rows_int(&r, 6),
                      .due = rows_int(&r, 7),
                      .failed = rows_int(&r, 8),
                      .claim_expires = rows_int(&r, 9),
                      .clean = rows_is_null(&r, 13) ? -1 : (int)rows_int(&r, 13),
                      .height_mm = rows_int(&r, 16),
                      .followup = rows_int(&r, 17),
                      .urgent = rows_int(&r, 21),
                      .repeats = rows_int(&r, 22),
                      .failure = rows_is_null(&r, 14) ? P_OK : problem_find(rows_text(&r, 14))};
    p = study_state_find(rows_text(&r, 10), &y.state) && str_copy(y.patient, sizeof y.patient, rows_text(&r, 11)) &&
                str_copy(y.act, sizeof y.act, rows_text(&r, 12)) &&
                str_copy(y.claim_by, sizeof y.claim_by, rows_is_null(&r, 15) ? "" : rows_text(&r, 15)) &&
                str_copy(y.protocol, sizeof y.protocol, rows_is_null(&r, 18) ? "" : rows_text(&r, 18)) &&
                str_copy(y.gp, sizeof y.gp, rows_is_null(&r, 19) ? "" : rows_text(&r, 19)) &&
                role_find(rows_text(&r, 20), &y.reader)
            ? P_OK
            : P_internal;
    if (p == P_OK)
      *ret = y;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem study_move(struct store *s, const struct actor *by, enum role role, struct study *study,
                        enum study_event event, json_t *detail) {
  _json_cleanup_ json_t *owned = detail ? detail : json_object();
  enum study_state to;
  enum problem p = study_next(study->state, event, role, &to);
  if (p != P_OK)
    return p;
  char ref[32], action[32];
  str_ref('S', study->id, ref);
  snprintf(action, sizeof action, "study.%s", event_names[event]);
  /* Leaving interpreting ends the claim, whichever way. */
  int r = store_run(s,
                    "UPDATE study SET state = ?1, version = version + 1, updated = ?2,"
                    " attempts = attempts + (?1 = 'acquiring'),"
                    " claim = iif(?1 = 'interpreting', claim, NULL),"
                    " claim_by = iif(?1 = 'interpreting', claim_by, NULL),"
                    " claim_expires = iif(?1 = 'interpreting', claim_expires, NULL)"
                    " WHERE id = ?3 AND version = ?4",
                    "tiii", state_names[to], wall_now().us, study->id, study->version);
  if (r == 0)
    return P_precondition_failed;
  if (r > 0 && (!owned || json_object_set_new(owned, "from", json_string(state_names[study->state])) < 0 ||
                json_object_set_new(owned, "to", json_string(state_names[to])) < 0))
    r = -ENOMEM;
  if (r > 0)
    r = audit_add(s, by, action, ref, json_incref(owned));
  if (r >= 0)
    r = change_add(s, "study", ref, state_names[to]);
  return r < 0 ? problem_of_errno(r) : study_find(s, study->id, study);
}

enum problem study_accept(struct store *s, const struct caller *c, const struct conf *conf, struct study *study,
                          bool confirmed, const char *comment) {
  enum study_state to;
  const struct conf_act *act = study_act(conf, study);
  enum problem p = study_next(study->state, EV_ACCEPT, c->role, &to);
  bool whole = true;
  if (p == P_OK && act_modality(study->act) == ACQ_FUNDUS)
    p = fundus_check(s, study->id, &act->views, &whole);
  if (p == P_OK && (study->clean == 0 || !whole) && !confirmed)
    p = P_confirmation_needed;
  if (p != P_OK)
    return p;
  int64_t now = wall_now().us, due = now + (int64_t)act->delay_hours * 3600 * WALL_SECOND;
  int r =
      store_run(s, "UPDATE study SET accepted = ?, due = ?, comment = ?, failure = NULL, failed = NULL WHERE id = ?",
                "iiti", now, study->urgent ? study->urgent : due, comment, study->id);
  if (r >= 0)
    r = store_run(s, "INSERT INTO acceptance(study, at, due) VALUES(?,?,?)", "iii", study->id, now, due);
  struct actor by = caller_actor(c);
  p = r < 0 ? problem_of_errno(r)
            : study_move(s, &by, c->role, study, EV_ACCEPT,
                         json_pack("{s:b, s:b}", "clean", study->clean == 1, "confirmed", confirmed));
  return p == P_OK && study->urgent ? notice_urgent(s, c, study) : p;
}

enum problem study_repeat(struct store *s, const struct caller *c, struct study *study, const char *reason) {
  struct actor by = caller_actor(c);
  enum problem p = study_move(s, &by, c->role, study, EV_REPEAT, NULL);
  if (p != P_OK)
    return p;
  int r = store_run(s,
                    "INSERT INTO supersession SELECT id, ?, ?, ? FROM record"
                    " WHERE study = ? AND id NOT IN (SELECT record FROM supersession)",
                    "itti", wall_now().us, caller_person(c), reason, study->id);
  if (r >= 0)
    r = store_run(s, "UPDATE study SET clean = NULL WHERE id = ?", "i", study->id);
  if (r >= 0 && act_modality(study->act) == ACQ_FUNDUS)
    r = fundus_repeat(s, c, study->id);
  study->clean = -1;
  return problem_of_errno(r);
}

enum problem study_cancel(struct store *s, const struct caller *c, struct study *study, const char *reason) {
  struct actor by = caller_actor(c);
  enum problem p = study_move(s, &by, c->role, study, EV_CANCEL, NULL);
  return p == P_OK ? problem_of_errno(store_run(s, "INSERT INTO cancellation VALUES(?,?,?,?)", "itit", study->id,
                                                reason, wall_now().us, caller_person(c)))
                   : p;
}

enum problem study_height(struct store *s, const struct caller *c, const struct study *study, const char *cm) {
  struct dec height, mm;
  struct actor by = caller_actor(c);
  char ref[32];
  if (dec_parse(cm, &height) < 0 || height.exponent < -1 || dec_cmp(height, (struct dec){50, 0}) < 0 ||
      dec_cmp(height, (struct dec){250, 0}) > 0 || dec_mul(height, height.exponent ? 1 : 10, &mm) < 0)
    return P_invalid_field;
  str_ref('S', study->id, ref);
  int r = store_run(s, "UPDATE study SET height_mm = ? WHERE id = ?", "ii", (int64_t)mm.mantissa, study->id);
  if (r >= 0)
    r = audit_add(s, &by, "study.height", ref, json_object());
  return problem_of_errno(r);
}

/* ---- the queue ---- */

enum problem study_claim(struct store *s, const struct caller *c, const struct conf *conf, struct study *study,
                         char ret_token[static CLAIM_DIGITS + 1]) {
  uint8_t raw[CLAIM_DIGITS / 2], hash[HASH_BYTES];
  int64_t now = wall_now().us;
  enum problem mine = study_is_mine(c, study);
  if (mine == P_OK && !c->rpps[0]) /* whoever could not sign keeps nobody from it */
    mine = P_professional_unknown;
  if (mine != P_OK)
    return mine;
  if (study->state == INTERPRETING) {
    /* Whoever holds the claim may take it anew: the new token ends the old one (a page that was closed, an answer
     * that never arrived). */
    bool own = !strcmp(study->claim_by, caller_person(c));
    if (!own && study->claim_expires > now)
      return P_already_claimed;
    struct actor system = {.name = "asaleed"}, self = caller_actor(c);
    enum problem p = own ? study_move(s, &self, c->role, study, EV_RELEASE, NULL)
                         : study_move(s, &system, ROLE_SYSTEM, study, EV_EXPIRE, NULL);
    if (p != P_OK)
      return p;
  }
  random_bytes(raw, sizeof raw);
  hash_sha256(raw, sizeof raw, hash);
  struct actor by = caller_actor(c);
  enum problem p = study_move(s, &by, c->role, study, EV_CLAIM, NULL);
  if (p != P_OK)
    return p;
  int r = store_run(s, "UPDATE study SET claim = ?, claim_by = ?, claim_expires = ? WHERE id = ?", "btii", hash,
                    sizeof hash, caller_person(c), now + (int64_t)conf->claim_minutes * 60 * WALL_SECOND, study->id);
  if (r < 0)
    return problem_of_errno(r);
  str_hex(raw, sizeof raw, ret_token);
  return study_find(s, study->id, study);
}

enum problem study_is_mine(const struct caller *c, const struct study *study) {
  return !(c->role & ROLE_READERS) ? P_forbidden : c->role == study->reader ? P_OK : P_wrong_reader;
}

/* The caller holds the claim: its token, its name, its time. */
static enum problem claim_check(struct store *s, const struct caller *c, const struct study *study, const char *token) {
  uint8_t raw[CLAIM_DIGITS / 2], hash[HASH_BYTES];
  if (strlen(token) != CLAIM_DIGITS || !str_unhex(token, raw, sizeof raw))
    return P_stale_token;
  hash_sha256(raw, sizeof raw, hash);
  enum problem p = P_stale_token;
  struct rows r = store_query(s, "SELECT claim FROM study WHERE id = ? AND claim IS NOT NULL", "i", study->id);
  if (rows_next(&r)) {
    size_t n;
    const void *kept = rows_blob(&r, 0, &n);
    if (n == sizeof hash && equal_secret(kept, hash, n) && !strcmp(study->claim_by, caller_person(c)) &&
        study->claim_expires > wall_now().us)
      p = P_OK;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem study_claim_end(struct store *s, const struct caller *c, struct study *study, const char *token,
                             enum study_event event, json_t *detail) {
  enum problem p = study_is_mine(c, study);
  if (p == P_OK && study->state != INTERPRETING) /* the claim this token was for has ended, whatever came after */
    p = study->state == CANCELLED ? P_wrong_state : P_stale_token;
  if (p == P_OK)
    p = claim_check(s, c, study, token);
  if (p != P_OK) {
    json_decref(detail);
    return p;
  }
  struct actor by = caller_actor(c);
  return study_move(s, &by, c->role, study, event, detail);
}

enum problem study_release(struct store *s, const struct caller *c, struct study *study, const char *token) {
  return study_claim_end(s, c, study, token, EV_RELEASE, NULL);
}

int64_t worklist_expire(struct store *s, int64_t now, void (*expired)(void *, int64_t), void *arg) {
  struct actor system = {.name = "asaleed"};
  for (;;) {
    struct rows r = store_query(
        s, "SELECT id, claim_expires FROM study WHERE claim_expires IS NOT NULL ORDER BY claim_expires LIMIT 1", "");
    int64_t id = 0, expires = 0;
    if (rows_next(&r)) {
      id = rows_int(&r, 0);
      expires = rows_int(&r, 1);
    }
    int err = rows_finish(&r);
    if (err < 0 || !id || expires > now)
      return err < 0 ? err : expires;
    struct study study;
    err = store_begin(s);
    if (err < 0)
      return err;
    if (study_find(s, id, &study) != P_OK || study_move(s, &system, ROLE_SYSTEM, &study, EV_EXPIRE, NULL) != P_OK) {
      store_undo(s);
      return -EIO;
    }
    if ((err = store_keep(s)) < 0)
      return err;
    if (expired)
      expired(arg, id);
  }
}

/* What is urgent is due since the nurse called, and stands before all that is not, however long that is overdue. */
/* A cursor is "<rank>.<id>" of the last row seen: a page is one seek in the index study_queue (state, rank, id) however
 * long the queue is. (Of an expression SQLite seeks to one value, not to a pair: the first is said on its own.) */
#define QUEUE_MINE                                                                                                  \
  "(?6 = '' OR (y.reader = ?8 AND (y.reader <> 'gp' OR t.gp IS NULL OR t.gp = ?6 OR EXISTS(SELECT 1 FROM absence a" \
  " WHERE a.gp = t.gp AND a.deputy = ?6 AND ?7 BETWEEN a.first_day AND a.last_day AND a.id NOT IN (SELECT absence"  \
  " FROM absence_end)))))"

enum problem worklist_queue(struct store *s, const struct caller *c, const struct queue_page *page, json_t **ret) {
  static const char all[] = "SELECT y.id, y.due, y.accepted, y.clean, y.claim_by, y.claim_expires, o.act, o.patient,"
                            " v.family, v.given, v.birth_date, v.sex, y.urgent, y.reader, o.followup, f.protocol, t.gp,"
                            " " QUEUE_RANK " FROM study y JOIN orders o ON o.id = y.orders"
                            " JOIN patient p ON p.id = o.patient"
                            " JOIN patient_version v ON v.patient = p.id AND v.version = p.version"
                            " LEFT JOIN followup f ON f.id = o.followup"
                            " LEFT JOIN followup_team t ON t.id = (SELECT max(id) FROM followup_team WHERE followup ="
                            " o.followup)"
                            " WHERE y.state = ?1 AND " QUEUE_RANK " >= ?2 AND (" QUEUE_RANK ", y.id) > (?2, ?3)"
                            " AND (?5 IS NULL OR o.act = ?5)"
                            " AND " QUEUE_MINE " AND (?8 <> 'ophthalmologist' OR y.reader = ?8)"
                            " AND " ACCESS_NURSE("?9", "?7", "o.patient") " ORDER BY " QUEUE_RANK ", y.id LIMIT ?4";
  uint64_t rank = 0, id = 0;
  if (*page->cursor && !str_to_pair(page->cursor, &rank, &id))
    return P_invalid_field;
  _json_cleanup_ json_t *items = json_array();
  int64_t now = wall_now().us, due, last_rank = 0, last_id = 0;
  char day[WALL_DATE_MAX];
  wall_date(now, day);
  int n = 0, err = items ? 0 : -ENOMEM;
  struct rows r =
      store_query(s, all, "tiiittttt", state_names[page->state], (int64_t)rank, (int64_t)id, (int64_t)page->limit + 1,
                  page->act, page->mine ? c->rpps : "", day, role_name(c->role), access_rpps(c));
  while (err == 0 && n < page->limit && rows_next(&r)) {
    char due_text[WALL_TEXT_MAX], accepted[WALL_TEXT_MAX], expires[WALL_TEXT_MAX], ref[STR_REF_MAX],
        followup[STR_REF_MAX];
    last_id = rows_int(&r, 0);
    last_rank = rows_int(&r, 17);
    due = rows_int(&r, 1);
    wall_format(wall_local(due), due_text);
    wall_format(wall_local(rows_int(&r, 2)), accepted);
    str_ref('S', last_id, ref);
    str_ref('W', rows_int(&r, 14), followup);
    json_t *claim = json_null();
    if (!rows_is_null(&r, 5)) {
      wall_format(wall_local(rows_int(&r, 5)), expires);
      claim = json_pack("{s:s, s:s}", "by", rows_text(&r, 4), "expires", expires);
    }
    int64_t age = (now - rows_int(&r, 2)) / WALL_SECOND;
    json_t *item = json_pack(
        "{s:s, s:s, s:I, s:o, s:b, s:s, s:s?, s:s?, s:b, s:{s:s, s:s, s:s, s:s, s:s}, s:s?, s:s, s:s, s:s, s:b}",
        "accepted", accepted, "act", rows_text(&r, 6), "age_seconds", (json_int_t)(age < 0 ? 0 : age), "claim", claim,
        "clean", (int)rows_int(&r, 3), "due", due_text, "followup", rows_is_null(&r, 14) ? NULL : followup, "gp",
        rows_text(&r, 16), "overdue", due < now, "patient", "birth_date", rows_text(&r, 10), "family", rows_text(&r, 8),
        "given", rows_text(&r, 9), "id", rows_text(&r, 7), "sex", rows_text(&r, 11), "protocol", rows_text(&r, 15),
        "reader", rows_text(&r, 13), "state", state_names[page->state], "study", ref, "urgent", !rows_is_null(&r, 12));
    err = item && json_array_append_new(items, item) == 0 ? 0 : -ENOMEM;
    n++;
  }
  bool more = err == 0 && n == page->limit && rows_next(&r);
  int query_err = rows_finish(&r);
  if (err == 0)
    err = query_err;
  char next[64];
  snprintf(next, sizeof next, "%lld.%lld", (long long)last_rank, (long long)last_id);
  if (err == 0 && !(*ret = json_pack("{s:O, s:s?}", "items", items, "next", more ? next : NULL)))
    err = -ENOMEM;
  return problem_of_errno(err);
}
