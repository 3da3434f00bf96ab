/* Follow-ups and notices. */
#include "api.h"

#include "access.h"
#include "followup.h"
#include "str.h"
#include <errno.h>
#include <string.h>

#define REASON_MAX 500

/* ---- follow-ups ---- */

static json_t *followup_json(const struct rows *r) {
  char ref[STR_REF_MAX];
  str_ref('W', rows_int(r, 0), ref);
  return json_pack("{s:o, s:s, s:s, s:s, s:o, s:s, s:s}", "closed", json_time(rows_int(r, 6)), "gp", rows_text(r, 4),
                   "id", ref, "nurse", rows_text(r, 5), "opened", json_time(rows_int(r, 1)), "patient", rows_text(r, 2),
                   "protocol", rows_text(r, 3));
}

#define FOLLOWUP_LIST                                                                                            \
  "SELECT f.id, f.at, f.patient, f.protocol, t.gp, t.nurse, e.at FROM followup f JOIN followup_team t ON t.id =" \
  " (SELECT max(id) FROM followup_team WHERE followup = f.id) LEFT JOIN followup_end e ON e.followup = f.id"

enum problem api_followups(struct api_call *call) {
  const char *patient = http_query(call->http, "patient"), *cursor = http_query(call->http, "cursor");
  int64_t before = INT64_MAX, last = 0;
  int limit, n = 0;
  char next[STR_REF_MAX], day[WALL_DATE_MAX];
  enum problem p = api_limit(call, &limit);
  if (p == P_OK && cursor && !api_id(cursor, 'W', &before)) {
    call->field = "cursor";
    p = P_invalid_field;
  }
  if (p != P_OK)
    return p;
  wall_date(wall_now().us, day);
  json_t *items = json_array();
  struct rows r = store_query(call->api->store,
                              FOLLOWUP_LIST " WHERE f.id < ?1 AND (?2 IS NULL OR f.patient = ?2) AND"
                                            " " ACCESS_NURSE("?3", "?4", "f.patient") " ORDER BY f.id DESC LIMIT ?5",
                              "ittti", before, patient, access_rpps(&call->caller), day, (int64_t)limit);
  while (p == P_OK && rows_next(&r)) {
    p = json_array_append_new(items, followup_json(&r)) < 0 ? P_overloaded : api_saw(call, rows_text(&r, 2));
    last = ++n == limit ? rows_int(&r, 0) : 0;
  }
  int err = rows_finish(&r);
  str_ref('W', last, next);
  call->answer = api_list(items, last ? next : NULL);
  return p != P_OK ? p : err < 0 ? problem_of_errno(err) : call->answer ? P_OK : P_overloaded;
}

static enum problem find(struct api_call *call, struct followup *ret) {
  int64_t id;
  enum problem p = api_id(call->id, 'W', &id) ? followup_find(call->api->store, id, ret) : P_not_found;
  if (p == P_OK)
    p = access_patient(call->api->store, &call->caller, ret->patient);
  return p == P_OK ? api_saw(call, ret->patient) : p;
}

static int teams_json(struct store *s, int64_t id, json_t *list) {
  struct rows r =
      store_query(s, "SELECT at, by, gp, nurse, reason FROM followup_team WHERE followup = ? ORDER BY id", "i", id);
  int err = list ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r))
    err = json_array_append_new(list, json_pack("{s:o, s:s, s:s, s:s, s:s?}", "at", json_time(rows_int(&r, 0)), "by",
                                                rows_text(&r, 1), "gp", rows_text(&r, 2), "nurse", rows_text(&r, 3),
                                                "reason", rows_text(&r, 4)));
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

static int studies_json(const struct api_call *call, int64_t id, const char *protocol, json_t *list) {
  struct rows r =
      store_query(call->api->store,
                  "SELECT y.id, o.act, y.state, y.created, y.accepted, y.due, y.repeats, y.reader FROM study"
                  " y JOIN orders o ON o.id = y.orders WHERE o.followup = ? ORDER BY y.id DESC",
                  "i", id);
  int err = list ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    char ref[STR_REF_MAX], repeats[STR_REF_MAX];
    str_ref('S', rows_int(&r, 0), ref);
    str_ref('S', rows_int(&r, 6), repeats);
    err = json_array_append_new(
        list, json_pack("{s:o, s:s, s:o, s:o, s:s, s:s, s:s?, s:s}", "accepted", json_time(rows_int(&r, 4)), "act",
                        rows_text(&r, 1), "created", json_time(rows_int(&r, 3)), "due", json_time(rows_int(&r, 5)),
                        "id", ref, "reader", api_reader(call, protocol, rows_text(&r, 1), rows_text(&r, 7)), "repeats",
                        rows_is_null(&r, 6) ? NULL : repeats, "state", rows_text(&r, 2)));
  }
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

/* The follow-up and its history: who was in charge, what was made. */
static enum problem answer(struct api_call *call, int64_t id) {
  json_t *teams = json_array(), *studies = json_array();
  struct rows r = store_query(call->api->store, FOLLOWUP_LIST " WHERE f.id = ?", "i", id);
  if (rows_next(&r))
    call->answer = followup_json(&r);
  int err = rows_finish(&r);
  if (err >= 0)
    err = teams_json(call->api->store, id, teams);
  if (err >= 0)
    err = studies_json(call, id, json_text(call->answer, "protocol"), studies);
  json_object_set_new(call->answer, "teams", teams);
  json_object_set_new(call->answer, "studies", studies);
  return err < 0 ? problem_of_errno(err) : call->answer ? P_OK : P_overloaded;
}

enum problem api_followup_get(struct api_call *call) {
  struct followup f;
  enum problem p = find(call, &f);
  return p == P_OK ? answer(call, f.id) : p;
}

/* "gp" and "nurse": whoever calls may be left out. */
static enum problem take_team(struct api_call *call, const char **gp, const char **nurse) {
  const enum role role = call->caller.role;
  enum problem p = api_text(call, "gp", RPPS_MAX, role != ROLE_GP, gp);
  if (p == P_OK)
    p = api_text(call, "nurse", RPPS_MAX, role != ROLE_NURSE, nurse);
  *gp = *gp ? *gp : call->caller.rpps;
  *nurse = *nurse ? *nurse : call->caller.rpps;
  return p;
}

enum problem api_followup_open(struct api_call *call) {
  const char *patient, *protocol, *gp, *nurse;
  int64_t id;
  enum problem p = api_text(call, "patient", PATIENT_ID_MAX, true, &patient);
  if (p == P_OK)
    p = api_text(call, "protocol", PROTOCOL_ID_MAX, true, &protocol);
  if (p == P_OK)
    p = take_team(call, &gp, &nurse);
  call->field = p == P_OK ? "patient" : call->field;
  if (p == P_OK)
    p = access_patient(call->api->store, &call->caller, patient);
  if (p == P_OK)
    p = followup_open(call->api->store, call->api->conf, &call->caller, patient, protocol, gp, nurse, &id);
  if (p != P_OK)
    return p;
  call->status = 201;
  return answer(call, id);
}

enum problem api_followup_transfer(struct api_call *call) {
  struct followup f;
  const char *gp, *nurse, *reason;
  enum problem p = find(call, &f);
  if (p == P_OK)
    p = api_text(call, "gp", RPPS_MAX, false, &gp);
  if (p == P_OK)
    p = api_text(call, "nurse", RPPS_MAX, false, &nurse);
  if (p == P_OK)
    p = api_text(call, "reason", REASON_MAX, true, &reason);
  if (p == P_OK)
    p = followup_transfer(call->api->store, &call->caller, &f, gp ? gp : f.gp, nurse ? nurse : f.nurse, reason);
  return p == P_OK ? answer(call, f.id) : p;
}

enum problem api_followup_close(struct api_call *call) {
  struct followup f;
  const char *reason;
  enum problem p = find(call, &f);
  if (p == P_OK)
    p = api_text(call, "reason", REASON_MAX, true, &reason);
  if (p == P_OK)
    p = followup_close(call->api->store, &call->caller, &f, reason);
  return p == P_OK ? answer(call, f.id) : p;
}

/* ---- notices ---- */

/* What a nurse wrote of a patient is read with the notice. */
static enum problem saw_noticed(struct api_call *call, const json_t *items) {
  enum problem p = P_OK;
  size_t i;
  json_t *item;
  json_array_foreach(items, i, item) {
    struct study y;
    int64_t id;
    const json_t *study = json_object_get(item, "study");
    if (p == P_OK && json_is_string(study) && api_id(json_string_value(study), 'S', &id) &&
        (p = study_find(call->api->store, id, &y)) == P_OK)
      p = api_saw(call, y.patient);
  }
  return p;
}

enum problem api_notices(struct api_call *call) {
  const char *cursor = http_query(call->http, "cursor");
  char next[NOTICE_CURSOR_MAX];
  json_t *items = NULL;
  int limit;
  enum problem p = api_limit(call, &limit);
  call->field = p == P_OK ? "cursor" : call->field;
  if (p == P_OK)
    p = notice_list(call->api->store, &call->caller, cursor ? cursor : "", limit, &items, next);
  if (p == P_OK)
    p = saw_noticed(call, items);
  if (p != P_OK) {
    json_decref(items);
    return p;
  }
  call->answer = api_list(items, next[0] ? next : NULL);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_notice_acknowledge(struct api_call *call) {
  int64_t id, study = 0;
  enum problem p =
      api_id(call->id, 'N', &id) ? notice_acknowledge(call->api->store, &call->caller, id, &study) : P_not_found;
  if (p == P_OK && study) /* the nurse who called sees that she was heard */
    api_moved(call->api, study);
  if (p == P_OK)
    call->answer = json_pack("{s:b, s:s}", "heard", 1, "id", call->id);
  return p == P_OK && !call->answer ? P_overloaded : p;
}

enum problem api_study_page(struct api_call *call) {
  struct study y;
  const char *text;
  int64_t id;
  enum problem p = api_study_find(call, &y);
  if (p == P_OK)
    p = api_text(call, "text", REASON_MAX, false, &text);
  if (p == P_OK)
    p = notice_page(call->api->store, &call->caller, &y, text, &id);
  if (p != P_OK)
    return p;
  api_notice_made(call->api, id);
  return api_study_moved(call, &y);
}
