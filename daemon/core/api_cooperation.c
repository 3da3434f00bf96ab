/* What a practice that works under protocols looks at together: recalls, meetings, the month's figures. */
#include "api.h"

#include "meeting.h"
#include "recall.h"
#include "registry.h"
#include "report.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REPORT_CSV_MAX (1u << 20)

/* The patients of a list's items. */
static enum problem saw_items(struct api_call *call, const json_t *items) {
  size_t i;
  json_t *item;
  enum problem p = P_OK;
  json_array_foreach(items, i, item) {
    if (p == P_OK)
      p = api_saw(call, json_text(json_object_get(item, "patient"), "id"));
  }
  return p;
}

/* ---- recalls ---- */

enum problem api_recalls(struct api_call *call) {
  const char *until = http_query(call->http, "until"), *cursor = http_query(call->http, "cursor");
  char today[WALL_DATE_MAX];
  struct recall_page page = {.today = today, .until = until, .cursor = cursor ? cursor : ""};
  enum problem p = api_limit(call, &page.limit);
  if (p == P_OK && until && !wall_is_date(until)) {
    call->field = "until";
    p = P_invalid_field;
  }
  if (p != P_OK)
    return p;
  wall_date(wall_now().us, today);
  call->field = "cursor";
  p = recall_list(call->api->store, call->api->conf, &call->caller, &page, &call->answer);
  return p == P_OK ? saw_items(call, json_object_get(call->answer, "items")) : p;
}

/* ---- meetings ---- */

enum problem api_meeting_agenda(struct api_call *call) {
  const char *cursor = http_query(call->http, "cursor");
  struct agenda_page page = {.gp = http_query(call->http, "gp"),
                             .nurse = http_query(call->http, "nurse"),
                             .since = http_query(call->http, "since")};
  enum problem p = api_limit(call, &page.limit);
  if (p == P_OK && cursor && !api_id(cursor, 'W', &page.after)) {
    call->field = "cursor";
    p = P_invalid_field;
  }
  if (p == P_OK)
    p = meeting_agenda(call->api->store, call->api->conf, &call->caller, &page, &call->field, &call->answer);
  return p == P_OK ? saw_items(call, json_object_get(call->answer, "items")) : p;
}

static enum problem take_minute(struct api_call *call, size_t max, const char **ret) {
  enum problem p = api_text(call, "minute", max, true, ret);
  return p == P_OK && !json_is_clean(*ret, strlen(*ret)) ? P_invalid_field : p;
}

static enum problem take_item(struct api_call *call, size_t i, struct meeting_item *ret) {
  const char *followup;
  enum problem p = api_item(call, "followups", i, "followup minute");
  if (p == P_OK)
    p = take_minute(call, MEETING_ITEM_MAX, &ret->minute);
  if (p == P_OK)
    p = api_text(call, "followup", STR_REF_MAX, true, &followup);
  return p == P_OK && !api_id(followup, 'W', &ret->followup) ? P_invalid_field : p;
}

static enum problem answer_meeting(struct api_call *call, int64_t id) {
  enum problem p = meeting_get(call->api->store, &call->caller, id, &call->answer);
  return p == P_OK ? saw_items(call, json_object_get(call->answer, "followups")) : p;
}

enum problem api_meeting_add(struct api_call *call) {
  struct meeting_item items[MEETING_ITEMS_MAX];
  struct meeting m = {.items = items};
  size_t at = MEETING_ITEMS_MAX;
  int64_t id;
  enum problem p = api_text(call, "gp", RPPS_MAX, false, &m.gp);
  if (p == P_OK)
    p = api_text(call, "nurse", RPPS_MAX, false, &m.nurse);
  if (p == P_OK)
    p = api_text(call, "held", WALL_DATE_MAX, true, &m.held);
  if (p == P_OK)
    p = take_minute(call, MEETING_MINUTE_MAX, &m.minute);
  if (p == P_OK)
    p = api_items(call, "followups", 0, MEETING_ITEMS_MAX, &m.n);
  for (size_t i = 0; p == P_OK && i < m.n; i++)
    p = take_item(call, i, &items[i]);
  if (p != P_OK)
    return p;
  p = meeting_add(call->api->store, &call->caller, &m, &call->field, &at, &id);
  call->place = at;
  call->item = at < m.n ? json_array_get(json_object_get(call->body, "followups"), at) : NULL;
  if (p != P_OK)
    return p;
  call->status = 201;
  return answer_meeting(call, id);
}

enum problem api_meetings(struct api_call *call) {
  const char *cursor = http_query(call->http, "cursor");
  int64_t before = INT64_MAX;
  json_t *items = NULL;
  int limit;
  enum problem p = api_limit(call, &limit);
  if (p == P_OK && cursor && !api_id(cursor, 'M', &before)) {
    call->field = "cursor";
    p = P_invalid_field;
  }
  if (p == P_OK)
    p = problem_of_errno(meeting_list(call->api->store, &call->caller, before, limit, &items));
  if (p != P_OK)
    return p;
  const size_t n = json_array_size(items);
  call->answer = api_list(items, n == (size_t)limit ? json_text(json_array_get(items, n - 1), "id") : NULL);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_meeting_get(struct api_call *call) {
  int64_t id;
  return api_id(call->id, 'M', &id) ? answer_meeting(call, id) : P_not_found;
}

/* ---- the month's figures ---- */

/* Signed as it is sent, since nobody can make the report's JSON of it. */
static enum problem answer_csv(struct api_call *call, const json_t *report) {
  struct http_request *q = call->http;
  _buf_cleanup_ struct buf csv = BUF_INIT(REPORT_CSV_MAX);
  uint8_t signature[SIGNATURE_BYTES];
  if (report_csv(report, &csv) < 0 || buf_add(&q->answer, csv.data, csv.len) < 0)
    return P_overloaded;
  signature_make(store_site_key(call->api->store)->secret, csv.data, csv.len, signature);
  str_hex(signature, sizeof signature, q->signature);
  snprintf(q->save_as, sizeof q->save_as, "asaleed-%s.csv", json_text(report, "month"));
  q->status = 200;
  q->type = "text/csv; charset=utf-8";
  return P_OK;
}

enum problem api_report_monthly(struct api_call *call) {
  const char *month = http_query(call->http, "month"), *format = http_query(call->http, "format");
  const bool csv = format && !strcmp(format, "csv");
  _json_cleanup_ json_t *report = NULL;
  call->field = "format";
  if (format && !csv && strcmp(format, "json"))
    return P_invalid_field;
  call->field = "month";
  if (!month)
    return P_missing_field;
  int r = report_monthly(call->api->store, month, wall_now().us, &report);
  if (r < 0)
    return r == -EINVAL || r == -ERANGE ? P_invalid_field : problem_of_errno(r);
  if (csv)
    return answer_csv(call, report);
  call->answer = report_signed(store_site_key(call->api->store), report);
  return call->answer ? P_OK : P_overloaded;
}
