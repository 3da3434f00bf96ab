/* Files that are taken in: uploads, lists, sticks. */
#include "api.h"

#include "access.h"
#include "log.h"
#include "mask.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- uploads ---- */

/* A body that became a file, on its way to being an artefact: a slice a turn of the loop, then one act. */
struct upload {
  struct api *api;
  struct http_request *http;
  struct caller caller;
  struct file file;
  struct artefact_writer *writer;
  sd_event_source *work;
  char idempotency[80];
};

static void upload_end(struct upload *u, enum problem p, json_t *answer, int status) {
  struct http_request *q = u->http;
  struct api *a = u->api;
  sd_event_source_disable_unref(u->work);
  artefact_writer_free(u->writer);
  free(u);
  api_answer(a, q, p, status, answer);
}

static void on_added(void *arg, int result) {
  if (result == 0)
    intake_wake(arg);
}

/* Whose study it became is told to whoever may know of that. */
static enum problem hide_study(struct store *s, const struct caller *c, json_t *file) {
  const char *study = json_text(file, "study");
  struct study y;
  int64_t id;
  enum problem p = study && api_id(study, 'S', &id) ? study_find(s, id, &y) : P_OK;
  if (p == P_OK && study)
    p = access_study(s, c, y.id, y.patient);
  if (p == P_not_found)
    p = json_object_set_new(file, "study", json_null()) < 0 ? P_overloaded : P_OK;
  return p;
}

static enum problem upload_add(struct upload *u, json_t **ret, bool *ret_known) {
  struct store *s = u->api->store;
  struct actor by = caller_actor(&u->caller);
  char ref[STR_REF_MAX];
  int64_t id;
  int r = store_begin(s);
  if (r < 0)
    return problem_of_errno(r);
  str_copy(u->file.sha256, sizeof u->file.sha256, artefact_writer_sha256(u->writer));
  r = file_add(s, &u->file, &id, ret_known);
  if (r >= 0)
    r = file_json(s, id, false, ret);
  if (r >= 0 && json_object_set_new(*ret, "known", json_boolean(*ret_known)) < 0)
    r = -ENOMEM;
  if (r >= 0) {
    str_ref('F', id, ref);
    r = audit_add(s, &by, "file.add", ref, json_pack("{s:b}", "known", (int)*ret_known));
  }
  enum problem p = r < 0 ? problem_of_errno(r) : hide_study(s, &u->caller, *ret);
  if (p == P_OK)
    p = problem_of_errno(store_keep(s));
  if (p != P_OK) {
    json_decref(*ret);
    *ret = NULL;
    store_undo(s);
    return p;
  }
  store_on_commit(s, on_added, u->api->intake);
  return P_OK;
}

static int on_upload(sd_event_source *source, void *arg) {
  (void)source;
  struct upload *u = arg;
  json_t *answer = NULL;
  bool known = false;
  int r = artefact_writer_step(u->writer);
  if (r > 0)
    return 0;
  enum problem p = r < 0 ? problem_of_errno(r) : upload_add(u, &answer, &known);
  upload_end(u, p, answer, known ? 200 : 201);
  return 0;
}

/* The last part of a path, as somebody named it. */
static bool take_name(const char *name, char ret[static FILE_NAME_MAX]) {
  const char *base = name ? strrchr(name, '/') : NULL;
  base = base ? base + 1 : name ? name : "";
  return str_is_clean_utf8(base, strlen(base)) && str_copy(ret, FILE_NAME_MAX, base);
}

static enum problem take_device(struct api_call *call, const char *id, char ret[static FILE_DEVICE_MAX]) {
  const struct device *d = id ? devices_find(call->api->devices, id) : NULL;
  const struct driver_info *driver = d ? devices_driver(call->api->devices, d->conf.driver) : NULL;
  call->field = "device";
  if (id && !d)
    return P_device_unknown;
  if (id && (!driver || !driver_of_files(driver)))
    return P_invalid_field;
  str_copy(ret, FILE_DEVICE_MAX, id ? id : "");
  return P_OK;
}

enum problem api_file_add(struct api_call *call) {
  struct http_request *q = call->http;
  struct upload *u = calloc(1, sizeof *u);
  if (!u)
    return P_overloaded;
  *u = (struct upload){.api = call->api,
                       .http = q,
                       .caller = call->caller,
                       .file = {.at = wall_now().us, .source = FILE_UPLOAD, .bytes = q->file_bytes}};
  str_copy(u->file.by, sizeof u->file.by, caller_person(&call->caller));
  enum problem p = q->file_err == -EFBIG ? P_file_too_large
                   : q->file_err         ? problem_of_errno(q->file_err)
                   : !q->file_bytes      ? P_file_no_reading
                                         : P_OK;
  if (p == P_OK && !take_name(http_query(q, "name"), u->file.name)) {
    call->field = "name";
    p = P_invalid_field;
  }
  if (p == P_OK)
    p = take_device(call, http_query(q, "device"), u->file.device);
  int r = p == P_OK ? artefact_writer_start(call->api->artefacts, q->file, 0, (size_t)q->file_bytes, &u->writer) : 0;
  if (p == P_OK && r == 0)
    r = sd_event_add_defer(call->api->event, &u->work, on_upload, u);
  if (p == P_OK && r >= 0) /* a slice a turn, after everybody else */
    r = sd_event_source_set_priority(u->work, SD_EVENT_PRIORITY_IDLE);
  if (p == P_OK && r >= 0)
    r = sd_event_source_set_enabled(u->work, SD_EVENT_ON);
  if (p == P_OK && r < 0)
    p = problem_of_errno(r);
  if (p != P_OK) {
    sd_event_source_disable_unref(u->work);
    artefact_writer_free(u->writer);
    free(u);
    return p;
  }
  call->later = true;
  return P_OK;
}

/* ---- files ---- */

enum problem api_files(struct api_call *call) {
  static const char *const states[] = {"waiting", "unmatched", "attached", "discarded", "refused"};
  const char *cursor = http_query(call->http, "cursor"), *state = http_query(call->http, "state");
  int64_t before = INT64_MAX, last;
  int limit;
  char next[STR_REF_MAX];
  json_t *items = NULL;
  bool known = !state;
  enum problem p = api_limit(call, &limit);
  for (size_t i = 0; !known && i < sizeof states / sizeof *states; i++)
    known = !strcmp(states[i], state);
  if (p == P_OK && !known) {
    call->field = "state";
    p = P_invalid_field;
  }
  if (p == P_OK && cursor && !api_id(cursor, 'F', &before)) {
    call->field = "cursor";
    p = P_invalid_field;
  }
  if (p == P_OK)
    p = problem_of_errno(
        file_list(call->api->store, before, state, limit, mask_shows(&call->view, PART_STATEMENTS), &items, &last));
  if (p != P_OK)
    return p;
  size_t i;
  json_t *item;
  json_array_foreach(items, i, item) {
    if (p == P_OK)
      p = hide_study(call->api->store, &call->caller, item);
  }
  if (p != P_OK) {
    json_decref(items);
    return p;
  }
  str_ref('F', last, next);
  call->answer = api_list(items, last ? next : NULL);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_file_get(struct api_call *call) {
  int64_t id;
  if (!api_id(call->id, 'F', &id))
    return P_not_found;
  int r = file_json(call->api->store, id, mask_shows(&call->view, PART_STATEMENTS), &call->answer);
  if (r == 0 && intake_is_busy(call->api->intake, id))
    json_object_set_new(call->answer, "state", json_string("decoding"));
  return r == -ENOENT ? P_not_found
         : r < 0      ? problem_of_errno(r)
                      : hide_study(call->api->store, &call->caller, call->answer);
}

enum problem api_file_content(struct api_call *call) {
  struct file file;
  int64_t id;
  if (!api_id(call->id, 'F', &id))
    return P_not_found;
  enum problem p = file_find(call->api->store, id, &file);
  if (p == P_OK)
    p = api_saw_nobodys(call, 0);
  if (p == P_OK)
    p = api_enter_file(call, id);
  if (p == P_OK)
    p = api_send(call, file.sha256, "application/octet-stream");
  if (p == P_OK)
    snprintf(call->http->save_as, sizeof call->http->save_as, "F-%lld", (long long)id);
  return p;
}

/* ---- sticks ---- */

enum problem api_media_get(struct api_call *call) {
  return collectors_media_json(call->api->collectors, call->id, &call->answer);
}

enum problem api_media_add(struct api_call *call) {
  const char *name;
  enum problem p = api_text(call, "name", MEDIA_NAME_MAX, true, &name);
  if (p == P_OK)
    p = collectors_media(call->api->collectors, name);
  call->status = 202;
  return p == P_OK ? collectors_media_json(call->api->collectors, name, &call->answer) : p;
}
