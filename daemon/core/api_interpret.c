/* Claims, drafts, signatures, and what else a reader does. */
#include "api.h"

#include "findings.h"
#include "proof.h"
#include "reading.h"
#include "str.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum problem api_study_claim(struct api_call *call) {
  struct study y;
  char token[CLAIM_DIGITS + 1];
  json_t *study = NULL;
  enum problem p = api_study_find(call, &y);
  if (p == P_OK)
    p = study_claim(call->api->store, &call->caller, call->api->conf, &y, token);
  if (p == P_OK)
    p = api_study_moved(call, &y);
  if (p != P_OK)
    return p;
  study = call->answer;
  call->answer = json_pack("{s:o, s:o, s:s}", "expires", json_time(y.claim_expires), "study", study, "token", token);
  sd_event_source_set_time(call->api->claim_timer, 0); /* looks at once, and then when the next claim ends */
  sd_event_source_set_enabled(call->api->claim_timer, SD_EVENT_ONESHOT);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_study_release(struct api_call *call) {
  struct study y;
  const char *token;
  enum problem p = api_study_find(call, &y);
  if (p == P_OK)
    p = api_text(call, "token", CLAIM_DIGITS, true, &token);
  if (p == P_OK)
    p = study_release(call->api->store, &call->caller, &y, token);
  return p == P_OK ? api_study_moved(call, &y) : p;
}

/* ---- what a reader concludes ---- */

static bool text_is_clean(const char *text) {
  return json_is_clean(text, strlen(text));
}

/* Findings that are named with their field: "findings.rhythm" is told as "rhythm". */
static enum problem take_conclusion(struct api_call *call, bool whole, struct conclusion *ret) {
  enum problem p = api_text(call, "text", REPORT_MAX, whole, &ret->text);
  if (p == P_OK && ret->text && !text_is_clean(ret->text))
    p = P_invalid_field;
  if (p == P_OK)
    p = api_text(call, "conclusion", 32, whole, &ret->conclusion);
  if (p == P_OK && ret->conclusion && !findings_is_conclusion(ret->conclusion))
    p = P_invalid_field;
  ret->findings = json_object_get(call->body, "findings");
  if (p == P_OK && ret->findings && !json_is_object(ret->findings)) {
    call->field = "findings";
    p = P_invalid_field;
  }
  return p;
}

/* What the reader was shown, as the screen had it (a study's "shown"), and the aids as they are now. */
static enum problem take_shown(struct api_call *call, const struct study *y, const char **ret, json_t **ret_aids) {
  enum problem p = api_text(call, "shown", HASH_TEXT - 1, true, ret);
  if (p == P_OK && !hash_is_text(*ret))
    p = P_invalid_field;
  return p == P_OK ? reading_aids_make(call->api->aids, call->api->store, y, ret_aids) : p;
}

enum problem api_study_sign(struct api_call *call) {
  struct study y;
  struct conclusion x;
  const char *token, *shown;
  _json_cleanup_ json_t *aids = NULL;
  enum problem p = api_study_find(call, &y);
  if (p == P_OK)
    p = api_text(call, "token", CLAIM_DIGITS, true, &token);
  if (p == P_OK)
    p = take_conclusion(call, true, &x);
  if (p == P_OK)
    p = take_shown(call, &y, &shown, &aids);
  if (p == P_OK)
    p = interpret_sign(call->api->store, &call->caller, &y, token, shown, &x, aids, &call->field);
  return p == P_OK ? api_study_moved(call, &y) : p;
}

enum problem api_study_amend(struct api_call *call) {
  struct study y;
  struct conclusion x;
  const char *reason, *shown;
  int64_t version;
  _json_cleanup_ json_t *aids = NULL;
  enum problem p = api_study_find(call, &y);
  if (p == P_OK)
    p = api_number(call, "version", 1, INT32_MAX, 0, &version);
  if (p == P_OK && !version)
    p = P_missing_field;
  if (p == P_OK)
    p = api_text(call, "reason", INTERPRET_REASON_MAX, true, &reason);
  if (p == P_OK && !text_is_clean(reason))
    p = P_invalid_field;
  if (p == P_OK)
    p = take_conclusion(call, true, &x);
  if (p == P_OK)
    p = take_shown(call, &y, &shown, &aids);
  if (p == P_OK)
    p = interpret_amend(call->api->store, &call->caller, &y, version, reason, shown, &x, aids, &call->field);
  return p == P_OK ? api_study_answer(call, &y) : p; /* no event: the nurse watches, too */
}

enum problem api_study_report(struct api_call *call) {
  struct study y;
  struct conclusion x;
  _json_cleanup_ json_t *aids = NULL;
  enum problem p = api_study_find(call, &y);
  if (p == P_OK)
    p = take_conclusion(call, true, &x);
  if (p == P_OK)
    p = reading_aids_make(call->api->aids, call->api->store, &y, &aids);
  return p == P_OK ? interpret_preview(call->api->store, &y, &x, aids, &call->field, &call->answer) : p;
}

/* ---- drafts ---- */

static enum problem answer_draft(struct api_call *call, const struct study *y) {
  int64_t version = 0;
  enum problem p = interpret_draft(call->api->store, &call->caller, y, &call->answer, &version);
  if (p == P_OK)
    api_etag(call, version);
  return p;
}

enum problem api_draft_get(struct api_call *call) {
  struct study y;
  enum problem p = api_study_find(call, &y);
  return p == P_OK ? answer_draft(call, &y) : p;
}

enum problem api_draft_put(struct api_call *call) {
  struct study y;
  struct conclusion x;
  int64_t id, if_match, version;
  enum problem p = api_id(call->id, 'S', &id) ? study_find(call->api->store, id, &y) : P_not_found;
  if (p == P_OK)
    p = api_enter(call, &y);
  if (p == P_OK)
    p = take_conclusion(call, false, &x); /* what is wrong or missing is told when it is signed */
  if (p == P_OK)
    p = api_if_match(call, &if_match); /* of the draft, not of the study */
  if (p != P_OK)
    return p;
  _free_cleanup_ char *json = json_canonical(call->body, NULL);
  p = json ? interpret_draft_save(call->api->store, &call->caller, &y, if_match, json, &version) : P_overloaded;
  return p == P_OK ? answer_draft(call, &y) : p;
}

/* ---- back, on ---- */

enum problem api_study_return(struct api_call *call) {
  struct study y;
  const char *token, *code, *text;
  int64_t repeat;
  enum problem p = api_study_find(call, &y);
  if (p == P_OK)
    p = api_text(call, "token", CLAIM_DIGITS, true, &token);
  if (p == P_OK)
    p = api_text(call, "text", INTERPRET_REASON_MAX, false, &text);
  if (p == P_OK)
    p = api_text(call, "code", 16, true, &code);
  if (p == P_OK)
    p = interpret_return(call->api->store, &call->caller, &y, token, code, text ? text : "", &repeat);
  if (p != P_OK)
    return p;
  api_moved(call->api, repeat);
  return api_study_moved(call, &y);
}

enum problem api_study_refer(struct api_call *call) {
  struct study y;
  const char *token, *reader, *text;
  enum problem p = api_study_find(call, &y);
  if (p == P_OK)
    p = api_text(call, "token", CLAIM_DIGITS, false, &token);
  if (p == P_OK)
    p = api_text(call, "text", INTERPRET_REASON_MAX, false, &text);
  if (p == P_OK)
    p = api_text(call, "reader", 16, true, &reader);
  if (p == P_OK)
    p = interpret_refer(call->api->store, &call->caller, &y, token, reader, text ? text : "");
  return p == P_OK ? api_study_moved(call, &y) : p;
}

/* ---- what was signed ---- */

enum problem api_interpretations(struct api_call *call) {
  struct study y;
  json_t *items = NULL;
  enum problem p = api_study_find(call, &y);
  if (p == P_OK)
    p = problem_of_errno(interpret_versions(call->api->store, y.id, &items));
  if (p == P_OK && !(call->answer = api_list(items, NULL)))
    p = P_overloaded;
  return p;
}

enum problem api_study_proof(struct api_call *call) {
  struct study y;
  enum problem p = api_study_find(call, &y);
  return p == P_OK ? interpret_proof(call->api->store, call->api->artefacts, &y, &call->answer) : p;
}

enum problem api_forms(struct api_call *call) {
  json_t *acts = json_array(), *reasons = json_array();
  for (int m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++)
    json_array_append_new(acts, findings_form((enum acq_modality)m));
  for (const struct interpret_reason *k = interpret_reasons; k->code; k++)
    json_array_append_new(reasons, json_pack("{s:s, s:s}", "code", k->code, "label", k->label));
  call->answer = json_pack("{s:o, s:o}", "acts", acts, "return_reasons", reasons);
  return call->answer ? P_OK : P_overloaded;
}
