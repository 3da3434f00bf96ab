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
  return p == P_OK ? problem_of_errno(retention_list(call->api->store, call->api->conf, limit, &call->answer)) : p;
}

/* An archive on its way. That it was exported is written when its last byte is asked for, and nothing is sent of a
 * last part whose archive is damaged: whoever has it whole may erase by it. */
struct exporting {
  struct api *api;
  struct retention_archive *archive;
  struct caller caller;
  char patient[PATIENT_ID_MAX + 1];
  uint64_t left;
};

static enum problem exported(struct exporting *x) {
  char sha256[HASH_TEXT];
  struct store *s = x->api->store;
  retention_archive_sha256(x->archive, sha256);
  int r = store_begin(s);
  if (r < 0)
    return problem_of_errno(r);
  enum problem p = retention_archived(s, &x->caller, x->patient, sha256, retention_archive_bytes(x->archive));
  if (p == P_OK)
    p = problem_of_errno(store_keep(s));
  if (p != P_OK)
    store_undo(s);
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
  struct patient patient;
  struct exporting *x = calloc(1, sizeof *x);
  if (!x)
    return P_overloaded;
  enum problem p = patient_find(call->api->store, call->id, &patient);
  if (p == P_OK)
    p = api_saw(call, patient.id);
  if (p == P_OK)
    p = retention_archive_start(call->api->store, call->api->artefacts, patient.id, &x->archive);
  if (p != P_OK) {
    free(x);
    return p;
  }
  x->api = call->api;
  x->caller = call->caller;
  memcpy(x->patient, patient.id, sizeof x->patient);
  x->left = retention_archive_bytes(x->archive);
  str_copy(call->http->save_as, sizeof call->http->save_as, "patient.tar");
  call->http->status = 200;
  call->http->type = "application/x-tar";
  call->http->stream =
      (struct http_stream){.read = exporting_read, .finish = exporting_finish, .arg = x, .bytes = x->left};
  return P_OK;
}

struct erased {
  struct artefacts *artefacts;
  json_t *gone;
};

static void on_erased(void *arg, int result) {
  struct erased *e = arg;
  size_t i;
  json_t *sha256;
  if (result == 0) {
    json_array_foreach(e->gone, i, sha256) {
      int r = artefact_erase(e->artefacts, json_string_value(sha256));
      if (r < 0)
        log_errno(LOG_ERROR, r, "retention: artefact %s stays on the disk", json_string_value(sha256));
    }
  }
  json_decref(e->gone);
  free(e);
}

enum problem api_patient_erase(struct api_call *call) {
  const char *archive;
  struct erased *e = calloc(1, sizeof *e);
  if (!e)
    return P_overloaded;
  e->artefacts = call->api->artefacts;
  enum problem p = api_text(call, "archive", HASH_TEXT - 1, true, &archive);
  if (p == P_OK)
    p = retention_erase(call->api->store, call->api->conf, &call->caller, call->id, archive, &e->gone);
  if (p != P_OK) {
    free(e);
    return p;
  }
  call->answer =
      json_pack("{s:I, s:b, s:s}", "artefacts", (json_int_t)json_array_size(e->gone), "erased", 1, "patient", call->id);
  store_on_commit(call->api->store, on_erased, e);
  return call->answer ? P_OK : P_overloaded;
}
