/* Health, instruments, the change sequence, the audit trail, accounts. */
#include "api.h"

#include "mask.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum problem api_health(struct api_call *call) {
  unsigned present, bound = devices_count(call->api->devices, &present);
  int health = store_health(call->api->store);
  if (health == 0 && sessions_wait_for_store(call->api->sessions))
    health = -EIO;
  const char *store = health == 0 ? "ok" : health == -EROFS ? "read_only" : health == -ENOSPC ? "full" : "failing";
  call->answer =
      json_pack("{s:I, s:{s:I, s:I}, s:s, s:s, s:s}", "acquiring", (json_int_t)sessions_running(call->api->sessions),
                "devices", "bound", (json_int_t)bound, "present", (json_int_t)present, "status",
                health ? "degraded" : "ok", "store", store, "version", ASALEED_VERSION);
  return call->answer ? P_OK : P_overloaded;
}

static enum problem answer_items(struct api_call *call, int r, json_t *items, const char *next) {
  if (r < 0)
    return problem_of_errno(r);
  call->answer = api_list(items, next);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_drivers(struct api_call *call) {
  json_t *items = NULL;
  int r = devices_drivers_json(call->api->devices, &items);
  return answer_items(call, r, items, NULL);
}

enum problem api_devices(struct api_call *call) {
  json_t *items = NULL, *item;
  int r = devices_json(call->api->devices, &items);
  if (r >= 0 && !mask_shows(&call->view, PART_DEVICE)) {
    /* An adapter that nobody declared is the administrator's matter. */
    for (size_t i = json_array_size(items); i-- > 0;)
      if (!json_is_true(json_object_get(json_array_get(items, i), "bound")))
        json_array_remove(items, i);
    size_t i;
    json_array_foreach(items, i, item) {
      json_object_set_new(item, "serial", json_null());
    }
  }
  return answer_items(call, r, items, NULL);
}

enum problem api_changes(struct api_call *call) {
  const char *since_text = http_query(call->http, "since");
  uint64_t since = 0;
  int limit;
  enum problem p = api_limit(call, &limit);
  if (p != P_OK)
    return p;
  if (since_text && str_to_u64(since_text, 0, INT64_MAX, &since) < 0) {
    call->field = "since";
    return P_invalid_field;
  }
  json_t *items = json_array();
  struct rows r =
      store_query(call->api->store, "SELECT seq, at, kind, ref, state FROM change WHERE seq > ? ORDER BY seq LIMIT ?",
                  "ii", (int64_t)since, (int64_t)limit);
  int err = items ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    since = (uint64_t)rows_int(&r, 0);
    json_t *item = json_pack("{s:o, s:s, s:s, s:I, s:s?}", "at", json_time(rows_int(&r, 1)), "id", rows_text(&r, 3),
                             "kind", rows_text(&r, 2), "seq", (json_int_t)since, "state", rows_text(&r, 4));
    err = item && json_array_append_new(items, item) == 0 ? 0 : -ENOMEM;
  }
  int query_err = rows_finish(&r);
  call->answer = json_pack("{s:o, s:I}", "items", items, "next_since", (json_int_t)since);
  return err < 0 || query_err < 0 ? problem_of_errno(err < 0 ? err : query_err) : call->answer ? P_OK : P_overloaded;
}

/* ---- accounts ---- */

enum problem api_users(struct api_call *call) {
  json_t *items = NULL;
  int r = people_list(call->api->store, &items);
  return answer_items(call, r, items, NULL);
}

enum problem api_user_add(struct api_call *call) {
  const char *name, *role_text, *display;
  enum role role;
  char token[TOKEN_DIGITS + 1];
  enum problem p = api_text(call, "name", PERSON_NAME_MAX - 1, true, &name);
  if (p == P_OK)
    p = api_text(call, "display", 128, false, &display);
  if (p == P_OK)
    p = api_text(call, "role", 16, true, &role_text);
  if (p == P_OK && !role_find(role_text, &role))
    p = P_invalid_field;
  if (p != P_OK)
    return p;
  call->field = "name";
  struct actor by = caller_actor(&call->caller);
  p = people_add(call->api->store, &by, name, role, display ? display : name, token);
  if (p != P_OK)
    return p;
  call->status = 201;
  call->answer = json_pack("{s:s, s:s, s:s, s:s}", "display", display ? display : name, "name", name, "role", role_text,
                           "token", token);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_user_token(struct api_call *call) {
  char token[TOKEN_DIGITS + 1];
  struct actor by = caller_actor(&call->caller);
  enum problem p = people_new_token(call->api->store, &by, call->id, token);
  if (p != P_OK)
    return p;
  call->status = 201;
  call->answer = json_pack("{s:s}", "token", token);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_user_disable(struct api_call *call) {
  struct actor by = caller_actor(&call->caller);
  enum problem p = people_disable(call->api->store, &by, call->id);
  if (p != P_OK)
    return p;
  call->answer = json_pack("{s:b, s:s}", "disabled", 1, "name", call->id);
  return call->answer ? P_OK : P_overloaded;
}
