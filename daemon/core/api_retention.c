/* Patients whose time is over: who they are, their archive, their erasure. */
#include "api.h"

#include "access.h"
#include "log.h"
#include "retention.h"
#include "str.h"
#include <stdlib.h>
#include <string.h>

enum problem api_retention(struct api_call *call) {
  int limit;
  enum problem p = api_limit(call, &limit);
  if (p == P_OK)
    p = problem_of_errno(retention_list(call->api->store, call->api->conf, limit, &call->answer));
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(call->answer, "due"), i, item) {
    if (p == P_OK)
      p = api_saw(call, json_text(item, "patient"));
  }
  return p;
}

/* An archive on its way. That it was exported is written when its last byte is asked for, and nothing is sent of a
 * last part whose archive is damaged: whoever has it whole may erase by it. */
struct exporting {
  struct api *api;
  struct retention_archive *archive;
  struct caller caller;
  uint64_t left;
};

static enum problem exported(struct exporting *x) {
  struct store *s = x->api->store;
  int r = store_begin(s);
  if (r < 0)
    return problem_of_errno(r);
  enum problem p = retention_archived(s, &x->caller, x->archive);
  if (p == P_OK)
    p = problem_of_errno(store_keep(s));
  if (p != P_OK) {
    store_undo(s);
    log_error("retention: an archive was read, but not that it was can be written (%s)", problem_code(p));
  }
  return p;
}

static size_t exporting_read(void *arg, char *bytes, size_t max) {
  struct exporting *x = arg;
  ssize_t n = retention_archive_read(x->archive, bytes, max);
  if (n < 0) {
    log_errno(LOG_ERROR, (int)n, "retention: an archive cannot be read to its end");
    return 0;
  }
  x->left -= (uint64_t)n;
  return x->left || exported(x) == P_OK ? (size_t)n : 0;
}

static void exporting_finish(void *arg) {
  struct exporting *x = arg;
  retention_archive_free(x->archive);
  free(x);
}

enum problem api_patient_archive(struct api_call *call) {
  struct exporting *x = calloc(1, sizeof *x);
  if (!x)
    return P_overloaded;
  enum problem p = retention_archive_start(call->api->store, call->api->artefacts, call->id, &x->archive);
  if (p == P_OK)
    p = api_saw(call, call->id);
  if (p != P_OK) {
    exporting_finish(x);
    return p;
  }
  x->api = call->api;
  x->caller = call->caller;
  x->left = retention_archive_bytes(x->archive);
  str_copy(call->http->save_as, sizeof call->http->save_as, "patient.tar");
  call->http->status = 200;
  call->http->type = "application/x-tar";
  call->http->stream =
      (struct http_stream){.read = exporting_read, .finish = exporting_finish, .arg = x, .bytes = x->left};
  return P_OK;
}

/* Whether the act was kept or not: what is durable is in the store's own list. */
static void on_erased(void *arg, int result) {
  struct api *api = arg;
  (void)result;
  retention_sweep(api->store, api->artefacts);
}

enum problem api_patient_erase(struct api_call *call) {
  struct api *api = call->api;
  const char *archive;
  int64_t files;
  enum problem p = api_text(call, "archive", HASH_TEXT - 1, true, &archive);
  if (p != P_OK)
    return p;
  p = retention_erase(api->store, api->artefacts, api->conf, &call->caller, call->id, archive, &files);
  store_on_commit(api->store, on_erased, api);
  if (p == P_OK)
    call->answer = json_pack("{s:I, s:b, s:s}", "artefacts", (json_int_t)files, "erased", 1, "patient", call->id);
  return p == P_OK && !call->answer ? P_overloaded : p;
}
