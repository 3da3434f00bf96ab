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

enum problem api_audit_verify(struct api_call *call) {
  struct audit_check c;
  int r = audit_verify(call->api->store, call->api->artefacts, &c);
  if (r < 0)
    return problem_of_errno(r);
  call->answer =
      json_pack("{s:I, s:o, s:b, s:I, s:I, s:s, s:I, s:I, s:b, s:I, s:b, s:s*}", "archived", (json_int_t)c.archived,
                "broken_at", c.broken_at ? json_integer(c.broken_at) : json_null(), "consistent", c.seal.consistent,
                "erased", (json_int_t)c.erased, "first", (json_int_t)c.first, "head", c.head, "heads",
                (json_int_t)c.heads, "last", (json_int_t)c.last, "ok", c.ok, "rows", (json_int_t)c.rows, "sealed",
                c.seal.table[0] == 0, "table", c.seal.table[0] ? c.seal.table : NULL);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_audit_archive(struct api_call *call) {
  const char *text;
  struct wall before;
  enum problem p = api_text(call, "before", 64, true, &text);
  if (p == P_OK && wall_parse(text, &before) < 0)
    p = P_invalid_field;
  if (p != P_OK)
    return p;
  /* A damaged chain is not put away: it is what an investigation needs. */
  struct audit_check c;
  int r = audit_verify(call->api->store, call->api->artefacts, &c);
  if (r < 0 || !c.ok)
    return r < 0 ? problem_of_errno(r) : P_artefact_corrupt;
  char sha[HASH_TEXT];
  struct actor by = caller_actor(&call->caller);
  int64_t n = audit_archive(call->api->store, call->api->artefacts, before.us, sha);
  if (n == -ENODATA) {
    call->answer = json_pack("{s:n, s:i}", "artefact", "rows", 0);
    return call->answer ? P_OK : P_overloaded;
  }
  if (n >= 0)
    n = (r = audit_add(call->api->store, &by, "audit.archive", sha, json_pack("{s:I}", "rows", (json_int_t)n))) < 0 ? r
                                                                                                                    : n;
  if (n < 0)
    return problem_of_errno((int)n);
  call->answer = json_pack("{s:s, s:I}", "artefact", sha, "rows", (json_int_t)n);
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

static int export_write(void *arg, const void *bytes, size_t n) {
  struct export *x = arg;
  x->left += n;
  return fd_write_all(x->fd, bytes, n);
}

enum problem api_audit_export(struct api_call *call) {
  const char *text = http_query(call->http, "from");
  uint64_t from = 1;
  call->field = "from";
  if (text && str_to_u64(text, 1, INT64_MAX, &from) < 0)
    return P_invalid_field;
  struct export *x = calloc(1, sizeof *x);
  if (!x)
    return P_overloaded;
  x->fd = artefacts_scratch(call->api->artefacts);
  int r = x->fd < 0 ? x->fd : audit_export(call->api->store, call->api->artefacts, (int64_t)from, export_write, x);
  if (r >= 0 && lseek(x->fd, 0, SEEK_SET) < 0)
    r = -errno;
  if (r < 0) {
    if (x->fd >= 0)
      close(x->fd);
    free(x);
    return problem_of_errno(r);
  }
  str_copy(call->http->save_as, sizeof call->http->save_as, "audit.jsonl");
  call->http->status = 200;
  call->http->type = "application/x-ndjson";
  call->http->stream = (struct http_stream){.read = export_read, .finish = export_finish, .arg = x, .bytes = x->left};
  return P_OK;
}

/* ---- archives whose time is over ---- */

static void on_erased(void *arg, int result) {
  struct api *a = arg;
  int r = result == 0 ? audit_erase_finish(a->store, a->artefacts) : 0;
  if (r < 0)
    log_errno(LOG_ERROR, r, "audit: the files of erased archives stay on the disk until the next start");
}

enum problem api_audit_erase(struct api_call *call) {
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
