/* The audit trail: who did what, who saw whom, that it is whole. */
#include "api.h"

#include "log.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum problem answer_items(struct api_call *call, int r, json_t *items, const char *next) {
  if (r < 0)
    return problem_of_errno(r);
  call->answer = api_list(items, next);
  return call->answer ? P_OK : P_overloaded;
}

/* A list's cursor is the number of the last row. */
static enum problem take_cursor(struct api_call *call, uint64_t *ret_before, int *ret_limit) {
  const char *cursor = http_query(call->http, "cursor");
  enum problem p = api_limit(call, ret_limit);
  *ret_before = 0;
  if (p == P_OK && cursor && str_to_u64(cursor, 1, INT64_MAX, ret_before) < 0) {
    call->field = "cursor";
    p = P_invalid_field;
  }
  return p;
}

void api_trail_mask(const struct api_call *call, json_t *detail) {
  if (!mask_shows(&call->view, PART_REPORT))
    json_object_del(detail, "reason");
  if (!mask_shows(&call->view, PART_STATEMENTS))
    json_object_del(detail, "capture");
}

static enum problem answer_rows(struct api_call *call, int r, json_t *items, int limit) {
  char next[32] = "";
  size_t i;
  json_t *item;
  json_array_foreach(items, i, item) {
    const char *action = json_text(item, "action");
    if (action && strncmp(action, "delegation.", 11)) /* why one was ended is about nobody's health */
      api_trail_mask(call, json_object_get(item, "detail"));
  }
  size_t n = json_array_size(items);
  if (n == (size_t)limit)
    snprintf(next, sizeof next, "%lld",
             (long long)json_integer_value(json_object_get(json_array_get(items, n - 1), "seq")));
  return answer_items(call, r, items, next[0] ? next : NULL);
}

enum problem api_audit(struct api_call *call) {
  uint64_t before;
  int limit;
  json_t *items = NULL;
  enum problem p = take_cursor(call, &before, &limit);
  if (p != P_OK)
    return p;
  int r = audit_list(call->api->store, (int64_t)before, limit, &items);
  return answer_rows(call, r, items, limit);
}

enum problem api_audit_who_saw(struct api_call *call) {
  uint64_t before;
  int limit;
  json_t *items = NULL;
  enum problem p = take_cursor(call, &before, &limit);
  if (p != P_OK)
    return p;
  int r = audit_who_saw(call->api->store, call->id, (int64_t)before, limit, &items);
  return answer_rows(call, r, items, limit);
}

/* ---- what takes long: the inspector's process looks, and the request waits ---- */

#define VOUCHED_US (10 * 60 * WALL_SECOND)

struct waiting {
  struct api *api;
  struct http_request *http;
  int fd; /* of an export */
};

static enum problem problem_of_inspector(int err) {
  return err == -EBUSY ? P_audit_busy : err == -ECANCELED || err == -EAGAIN ? P_overloaded : problem_of_errno(err);
}

static enum problem waiting_new(struct api_call *call, struct waiting **ret) {
  struct waiting *w = malloc(sizeof *w);
  if (!w)
    return P_overloaded;
  *w = (struct waiting){.api = call->api, .http = call->http, .fd = -1};
  *ret = w;
  return P_OK;
}

static void waiting_free(struct waiting *w) {
  fd_finish(&w->fd);
  free(w);
}

/* It waits, or what there was to start did not. */
static enum problem waits(struct api_call *call, struct waiting *w, int r) {
  call->later = r == 0;
  if (r < 0)
    waiting_free(w);
  return problem_of_inspector(r);
}

static void on_verified(void *arg, int err, const struct audit_check *c) {
  struct waiting w = *(struct waiting *)arg;
  json_t *answer = NULL;
  free(arg);
  if (err == 0)
    answer =
        json_pack("{s:I, s:o, s:b, s:I, s:I, s:s, s:I, s:I, s:b, s:I, s:b, s:s*}", "archived", (json_int_t)c->archived,
                  "broken_at", c->broken_at ? json_integer(c->broken_at) : json_null(), "consistent",
                  c->seal.consistent, "erased", (json_int_t)c->erased, "first", (json_int_t)c->first, "head", c->head,
                  "heads", (json_int_t)c->heads, "last", (json_int_t)c->last, "ok", c->ok, "rows", (json_int_t)c->rows,
                  "sealed", c->seal.table[0] == 0, "table", c->seal.table[0] ? c->seal.table : NULL);
  api_answer(w.api, w.http, err < 0 ? problem_of_inspector(err) : answer ? P_OK : P_overloaded, 200, answer);
}

enum problem api_audit_verify(struct api_call *call) {
  struct waiting *w;
  enum problem p = waiting_new(call, &w);
  return p == P_OK ? waits(call, w, inspect_verify(call->api->inspector, on_verified, w)) : p;
}

/* A damaged chain is not put away: it is what an investigation needs. */
static void on_vouched(void *arg, int err, const struct audit_check *c) {
  struct waiting w = *(struct waiting *)arg;
  free(arg);
  if (err < 0 || !c->ok) {
    api_answer(w.api, w.http, err < 0 ? problem_of_inspector(err) : P_artefact_corrupt, 0, NULL);
    return;
  }
  w.api->vouched.last = c->last;
  w.api->vouched.until = boot_us() + VOUCHED_US;
  api_again(w.api, w.http);
}

enum problem api_audit_archive(struct api_call *call) {
  struct api *a = call->api;
  struct waiting *w;
  const char *text;
  struct wall before;
  enum problem p = api_text(call, "before", 64, true, &text);
  if (p == P_OK && (wall_parse(text, &before) < 0 || before.us > wall_now().us))
    p = P_invalid_field;
  if (p != P_OK)
    return p;
  if (boot_us() >= a->vouched.until) {
    p = waiting_new(call, &w);
    return p == P_OK ? waits(call, w, inspect_verify(a->inspector, on_vouched, w)) : p;
  }
  char sha[HASH_TEXT] = "";
  bool more = false;
  struct actor by = caller_actor(&call->caller);
  int64_t n = audit_archive(a->store, a->artefacts, before.us, a->vouched.last, sha, &more);
  int r = n < 0 && n != -ENODATA ? (int)n : 0;
  if (n > 0)
    r = audit_add(a->store, &by, "audit.archive", sha, json_pack("{s:I}", "rows", (json_int_t)n));
  if (r == -EUCLEAN || (r >= 0 && !more)) /* the next one begins anew */
    a->vouched.until = 0;
  if (r < 0)
    return problem_of_errno(r);
  call->answer = json_pack("{s:s?, s:b, s:I}", "artefact", n > 0 ? sha : NULL, "more", (int)more, "rows",
                           (json_int_t)(n > 0 ? n : 0));
  return call->answer ? P_OK : P_overloaded;
}

/* The newest head: what an export or a copy of the store is held against later. */
enum problem api_audit_head(struct api_call *call) {
  struct rows r = store_query(call->api->store,
                              "SELECT seq, hash, at, key, signature FROM audit_head ORDER BY seq DESC LIMIT 1", "");
  enum problem p = P_not_found;
  if (rows_next(&r)) {
    struct audit_head h = {.seq = rows_int(&r, 0), .at = rows_int(&r, 2)};
    const struct {
      uint8_t *to;
      size_t n;
    } blobs[] = {[1] = {h.hash, sizeof h.hash}, [3] = {h.key, sizeof h.key}, [4] = {h.signature, sizeof h.signature}};
    p = P_OK;
    for (int k = 1; k <= 4; k++) {
      size_t n = 0;
      const void *bytes = k == 2 ? NULL : rows_blob(&r, k, &n);
      if (k != 2 && n == blobs[k].n)
        memcpy(blobs[k].to, bytes, n);
      else if (k != 2)
        p = P_artefact_corrupt;
    }
    if (p == P_OK && !(call->answer = audit_head_json(&h)))
      p = P_overloaded;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem api_audit_head_sign(struct api_call *call) {
  int r = audit_head_sign(call->api->store);
  return r < 0 ? problem_of_errno(r) : api_audit_head(call);
}

/* ---- the export ---- */

struct export {
  int fd;
  uint64_t left;
};

static size_t export_read(void *arg, char *bytes, size_t max) {
  struct export *x = arg;
  ssize_t n = read(x->fd, bytes, max < x->left ? max : (size_t)x->left);
  if (n <= 0) {
    log_error("audit: an export cannot be read back");
    return 0;
  }
  x->left -= (uint64_t)n;
  return (size_t)n;
}

static void export_finish(void *arg) {
  struct export *x = arg;
  close(x->fd);
  free(x);
}

static void on_exported(void *arg, int err, uint64_t bytes) {
  struct waiting *w = arg;
  struct http_request *q = w->http;
  struct export *x = err < 0 ? NULL : malloc(sizeof *x);
  if (!x || lseek(w->fd, 0, SEEK_SET) < 0) {
    free(x);
    api_answer(w->api, q, err < 0 ? problem_of_inspector(err) : P_overloaded, 0, NULL);
    waiting_free(w);
    return;
  }
  *x = (struct export){.fd = w->fd, .left = bytes};
  free(w);
  str_copy(q->save_as, sizeof q->save_as, "audit.jsonl");
  q->status = 200;
  q->type = "application/x-ndjson";
  q->stream = (struct http_stream){.read = export_read, .finish = export_finish, .arg = x, .bytes = bytes};
  http_answer(q);
}

enum problem api_audit_export(struct api_call *call) {
  const char *text = http_query(call->http, "from");
  uint64_t from = 1;
  struct waiting *w;
  call->field = "from";
  if (text && str_to_u64(text, 1, INT64_MAX, &from) < 0)
    return P_invalid_field;
  enum problem p = waiting_new(call, &w);
  if (p != P_OK)
    return p;
  w->fd = artefacts_scratch(call->api->artefacts);
  return waits(call, w, w->fd < 0 ? w->fd : inspect_export(call->api->inspector, (int64_t)from, w->fd, on_exported, w));
}

/* ---- archives whose time is over ---- */

static void on_erased(void *arg, int result) {
  struct api *a = arg;
  int r = result == 0 ? audit_erase_finish(a->store, a->artefacts) : 0;
  if (r < 0)
    log_errno(LOG_ERROR, r, "audit: the files of erased archives stay on the disk until the next start");
}

enum problem api_audit_erase(struct api_call *call) {
  if (inspector_is_busy(call->api->inspector)) /* it may be reading them */
    return P_audit_busy;
  struct actor by = caller_actor(&call->caller);
  const struct conf *c = call->api->conf;
  int64_t before = wall_now().us - (int64_t)(c->active_months + c->archive_months) * WALL_MONTH;
  int64_t n = audit_erase(call->api->store, call->api->artefacts, before, actor_person(&by));
  int r = n < 0 && n != -ENODATA ? (int)n : 0;
  if (n > 0)
    r = audit_add(call->api->store, &by, "audit.erase", "audit", json_pack("{s:I}", "rows", (json_int_t)n));
  if (r < 0)
    return problem_of_errno(r);
  if (n > 0)
    store_on_commit(call->api->store, on_erased, call->api);
  call->answer = json_pack("{s:I}", "rows", (json_int_t)(n > 0 ? n : 0));
  return call->answer ? P_OK : P_overloaded;
}
