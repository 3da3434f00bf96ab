/* The tray, and readings that change patients. */
#include "api.h"

#include "mask.h"
#include "str.h"
#include "unmatched.h"
#include <errno.h>
#include <string.h>

#define RECORDS_MAX 64 /* named in one reassignment */

enum problem api_unmatched(struct api_call *call) {
  const char *cursor = http_query(call->http, "cursor");
  int64_t before = INT64_MAX, last;
  int limit;
  char next[STR_REF_MAX];
  json_t *items = NULL;
  enum problem p = api_limit(call, &limit);
  if (p == P_OK && cursor && !api_id(cursor, 'U', &before)) {
    call->field = "cursor";
    p = P_invalid_field;
  }
  if (p == P_OK)
    p = problem_of_errno(
        unmatched_list(call->api->store, before, limit, mask_shows(&call->view, PART_IDENTITY), &items, &last));
  if (p != P_OK)
    return p;
  str_ref('U', last, next);
  call->answer = api_list(items, last ? next : NULL);
  return call->answer ? api_saw_nobodys(call, 0) : P_overloaded;
}

/* What is a patient's now is seen as that study is: also by a row that left the tray before, of the same file. */
static enum problem enter_row(struct api_call *call, const json_t *item) {
  const json_t *end = json_object_get(item, "end");
  const char *record = json_text(end, "record"), *file = json_text(item, "file"), *act = json_text(item, "act");
  int64_t id;
  enum problem p = api_saw_nobodys(call, act ? acq_modality_find(act) : 0);
  if (p == P_OK && record && api_id(record, 'R', &id))
    p = api_enter_record(call, id);
  else if (p == P_OK && json_is_object(end) && file && api_id(file, 'F', &id))
    p = api_enter_file(call, id);
  return p;
}

/* The row of the path, and its record: NULL where it has none. */
static enum problem find_row(struct api_call *call, json_t **ret_item, json_t **ret_record) {
  char sha256[HASH_TEXT];
  int64_t id;
  if (!api_id(call->id, 'U', &id))
    return P_not_found;
  enum problem p = unmatched_find(call->api->store, id, mask_shows(&call->view, PART_IDENTITY), ret_item, sha256);
  if (p == P_OK)
    p = enter_row(call, *ret_item);
  return p == P_OK && sha256[0] ? problem_of_errno(reading_load(call->api->artefacts, sha256, ret_record)) : p;
}

/* Whose it is, people see by looking at it. */
enum problem api_unmatched_channels(struct api_call *call) {
  _json_cleanup_ json_t *item = NULL, *record = NULL;
  enum problem p = find_row(call, &item, &record);
  return p == P_OK ? api_send_channels(call, record) : p;
}

enum problem api_unmatched_preview(struct api_call *call) {
  _json_cleanup_ json_t *item = NULL, *record = NULL;
  const char *text = http_query(call->http, "n");
  uint64_t n = 1;
  if (text && str_to_u64(text, 1, ACQ_PICTURES_MAX, &n) < 0) {
    call->field = "n";
    return P_invalid_field;
  }
  enum problem p = find_row(call, &item, &record);
  if (p == P_OK && !mask_shows(&call->view, PART_ACQUIRED))
    p = P_forbidden;
  const json_t *pictures = json_object_get(json_object_get(record, "acquired"), "pictures");
  const json_t *preview = json_object_get(json_array_get(pictures, n - 1), "preview");
  if (p == P_OK && !json_is_object(preview))
    p = P_not_found;
  return p == P_OK ? api_send_picture(call, json_text(preview, "sha256"), "image/jpeg") : p;
}

enum problem api_unmatched_get(struct api_call *call) {
  _json_cleanup_ json_t *item = NULL, *record = NULL;
  enum problem p = find_row(call, &item, &record);
  if (p != P_OK)
    return p;
  if (json_object_set_new(item, "record", record ? mask_record(record, &call->view) : json_null()) < 0)
    return P_overloaded;
  call->answer = json_incref(item);
  return P_OK;
}

/* Who attaches what to which order, as the body says. */
static enum problem read_attach(struct api_call *call, bool reason, struct ins_datamatrix *sheet, struct attach *ret) {
  const char *order;
  struct attach at = {.conf = call->api->conf, .caller = &call->caller};
  bool scanned;
  enum problem p = api_text(call, "order", STR_REF_MAX, true, &order);
  if (p == P_OK && !api_id(order, 'O', &at.order))
    p = P_invalid_field;
  if (p == P_OK)
    p = api_sheet(call, sheet, &scanned);
  if (p == P_OK)
    p = api_text(call, "birth_date", 10, !scanned, &at.birth_date);
  if (p == P_OK && scanned) {
    if (at.birth_date && strcmp(at.birth_date, sheet->birth_date))
      p = P_identity_mismatch;
    at.birth_date = sheet->birth_date;
    at.ins = sheet->ins.matricule;
  }
  if (p == P_OK)
    p = api_text(call, "reason", ATTACH_REASON_MAX, reason, &at.reason);
  if (p == P_OK)
    p = api_bool(call, "confirm", &at.confirm);
  if (p == P_OK)
    *ret = at;
  return p;
}

static enum problem find_tray(struct api_call *call, int64_t *ret) {
  return api_id(call->id, 'U', ret) ? P_OK : P_not_found;
}

enum problem api_unmatched_attach(struct api_call *call) {
  struct attach at;
  struct ins_datamatrix sheet;
  struct study study;
  int64_t id;
  enum problem p = find_tray(call, &id);
  if (p == P_OK)
    p = read_attach(call, false, &sheet, &at);
  call->field = p == P_OK ? "order" : call->field;
  if (p == P_OK)
    p = unmatched_attach(call->api->store, call->api->artefacts, id, &at, &study);
  return p == P_OK ? api_study_moved(call, &study) : p;
}

enum problem api_unmatched_discard(struct api_call *call) {
  const char *reason;
  int64_t id;
  enum problem p = find_tray(call, &id);
  if (p == P_OK)
    p = api_text(call, "reason", ATTACH_REASON_MAX, true, &reason);
  if (p == P_OK)
    p = unmatched_discard(call->api->store, &call->caller, id, reason);
  return p == P_OK ? api_unmatched_get(call) : p;
}

static void on_again(void *arg, int result) {
  if (result == 0)
    intake_wake(arg);
}

enum problem api_unmatched_redecode(struct api_call *call) {
  int64_t id;
  enum problem p = find_tray(call, &id);
  if (p == P_OK)
    p = unmatched_decode_again(call->api->store, &call->caller, id);
  if (p != P_OK)
    return p;
  store_on_commit(call->api->store, on_again, call->api->intake);
  return api_unmatched_get(call);
}

static enum problem read_records(struct api_call *call, int64_t list[static RECORDS_MAX], size_t *ret) {
  enum problem p = api_items(call, "records", 1, RECORDS_MAX, ret);
  for (size_t i = 0; p == P_OK && i < *ret; i++) {
    const json_t *item = json_array_get(json_object_get(call->body, "records"), i);
    if (!json_is_string(item) || !api_id(json_string_value(item), 'R', &list[i]))
      p = P_invalid_field;
  }
  return p;
}

enum problem api_study_reassign(struct api_call *call) {
  int64_t records[RECORDS_MAX];
  size_t n;
  struct attach at;
  struct ins_datamatrix sheet;
  struct study from, to;
  enum problem p = api_study_find(call, &from);
  if (p == P_OK)
    p = read_attach(call, true, &sheet, &at);
  if (p == P_OK)
    p = read_records(call, records, &n);
  call->field = p == P_OK ? "records" : call->field;
  if (p == P_OK)
    p = attach_reassign(call->api->store, call->api->artefacts, &from, records, n, &at, &to);
  if (p != P_OK)
    return p;
  json_t *left = NULL, *arrived = NULL;
  p = api_study_moved(call, &from);
  if (p == P_OK) {
    left = call->answer;
    call->answer = NULL;
    p = api_study_moved(call, &to);
    arrived = call->answer;
  }
  call->http->etag[0] = 0;
  call->answer = p == P_OK ? json_pack("{s:o, s:o}", "from", left, "to", arrived) : NULL;
  return p != P_OK ? p : call->answer ? P_OK : P_overloaded;
}
