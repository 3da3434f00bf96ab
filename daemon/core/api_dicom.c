/* DICOM objects, in the variant that the caller's role gets. */
#include "api.h"

#include "mask.h"
#include "str.h"
#include <stdio.h>

/* Which picture: ?n=, which may be left out where there is but one. */
static enum problem take_picture(struct api_call *call, struct dicom_key *key) {
  const char *text = http_query(call->http, "n");
  uint64_t n = 0;
  call->field = "n";
  if (text && str_to_u64(text, 1, INT32_MAX, &n) < 0)
    return P_invalid_field;
  struct rows r = store_query(call->api->store,
                              "SELECT count(*), min(number) FROM picture WHERE record = ?1 AND (?2 = 0 OR number = ?2)",
                              "ii", key->record, (int64_t)n);
  int64_t pictures = rows_next(&r) ? rows_int(&r, 0) : 0;
  key->number = pictures ? rows_int(&r, 1) : 0;
  int err = rows_finish(&r);
  if (err < 0)
    return problem_of_errno(err);
  if (text && !pictures)
    return P_not_found;
  if (pictures > 1)
    return P_missing_field;
  call->field = NULL;
  return P_OK;
}

static bool gets_whole(const struct view *v) {
  return mask_shows(v, PART_STATEMENTS) && mask_shows(v, PART_DEVICE);
}

/* An object has whose it is and what was acquired. */
static bool gets_object(const struct view *v) {
  return mask_shows(v, PART_IDENTITY) && mask_shows(v, PART_ACQUIRED);
}

enum problem api_record_dicom(struct api_call *call) {
  struct dicom_key key = {0};
  char sha256[HASH_TEXT];
  enum problem p = api_id(call->id, 'R', &key.record) ? api_enter_record(call, key.record) : P_not_found;
  if (p == P_OK && !gets_object(&call->view))
    p = P_forbidden;
  key.whole = gets_whole(&call->view);
  if (p == P_OK)
    p = take_picture(call, &key);
  if (p == P_OK)
    p = dicom_find(call->api->dicom, &key, sha256);
  if (p == P_OK)
    p = api_send(call, sha256, "application/dicom");
  if (p != P_OK)
    return p;
  if (key.number)
    snprintf(call->http->save_as, sizeof call->http->save_as, "R-%lld-%lld.dcm", (long long)key.record,
             (long long)key.number);
  else
    snprintf(call->http->save_as, sizeof call->http->save_as, "R-%lld.dcm", (long long)key.record);
  return P_OK;
}

int api_dicom_list(struct api_call *call, int64_t study, json_t **ret) {
  if (!gets_object(&call->view)) {
    *ret = json_null();
    return 0;
  }
  return dicom_list(call->api->store, study, gets_whole(&call->view), ret);
}
