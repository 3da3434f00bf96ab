/* Whom an answer shows: whether the caller may know of them, what of it, and that it was seen. */
#include "api.h"

#include "access.h"
#include "reading.h"
#include <string.h>

enum problem api_saw(struct api_call *call, const char *patient) {
  size_t i;
  json_t *known;
  if (!call->patients)
    call->patients = json_array();
  json_array_foreach(call->patients, i, known) {
    if (!strcmp(json_string_value(known), patient))
      return P_OK;
  }
  return json_array_append_new(call->patients, json_string(patient)) < 0 ? P_overloaded : P_OK;
}

enum problem api_enter(struct api_call *call, const struct study *y) {
  const struct conf_act *act = study_act(call->api->conf, y);
  enum problem p = access_study(call->api->store, &call->caller, y->id, y->patient);
  if (p != P_OK)
    return p;
  call->view.before = act->sees_before;
  call->view.after = act->sees_after;
  call->view.is_signed = y->state == INTERPRETED;
  return mask_shows(&call->view, PART_IDENTITY) || mask_shows(&call->view, PART_ACQUIRED) ? api_saw(call, y->patient)
                                                                                          : P_OK;
}

/* What was moved to another patient's study is seen as that one, wherever it was before. */
enum problem api_enter_record(struct api_call *call, int64_t record) {
  struct study y;
  int64_t study = 0;
  struct rows r = store_query(call->api->store, "SELECT study FROM record WHERE id = " RECORD_NOW("?1"), "i", record);
  if (rows_next(&r))
    study = rows_int(&r, 0);
  int err = rows_finish(&r);
  enum problem p = err < 0 ? problem_of_errno(err) : study ? study_find(call->api->store, study, &y) : P_not_found;
  return p == P_OK ? api_enter(call, &y) : p;
}

enum problem api_saw_nobodys(struct api_call *call, enum acq_modality act) {
  call->view = view_of_any(call->caller.role, call->api->conf, act);
  if (!call->patients)
    call->patients = json_array();
  return call->patients ? P_OK : P_overloaded;
}

#define FILE_RECORDS_MAX 64 /* of one file; one that holds more is nobody's to see whole */

enum problem api_enter_file(struct api_call *call, int64_t file) {
  int64_t records[FILE_RECORDS_MAX + 1];
  size_t n = 0;
  struct rows r = store_query(call->api->store,
                              "SELECT r.id FROM record r JOIN acquisition a ON a.id = r.acquisition WHERE a.file = ?"
                              " ORDER BY r.id DESC",
                              "i", file);
  while (n <= FILE_RECORDS_MAX && rows_next(&r))
    records[n++] = rows_int(&r, 0);
  int err = rows_finish(&r);
  enum problem p = err < 0 ? problem_of_errno(err) : n > FILE_RECORDS_MAX ? P_overloaded : P_OK;
  for (size_t i = 0; i < n && p == P_OK; i++)
    p = api_enter_record(call, records[i]);
  return p;
}
