#include "file.h"

#include "people.h"
#include "reading.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <string.h>

static const char *const source_names[] = {"upload", "folder", "stick"};

const char *file_source_name(enum file_source s) {
  return source_names[s];
}

static int known_file(struct store *s, const char *sha256, int64_t *ret) {
  struct rows r = store_query(s, "SELECT id FROM file WHERE sha256 = ?", "t", sha256);
  *ret = rows_next(&r) ? rows_int(&r, 0) : 0;
  return rows_finish(&r);
}

int file_add(struct store *s, const struct file *f, int64_t *ret_id, bool *ret_known) {
  int64_t id;
  char ref[STR_REF_MAX];
  int r = known_file(s, f->sha256, &id);
  *ret_known = id != 0;
  if (r < 0 || id) {
    *ret_id = id;
    return r;
  }
  r = artefact_add(s, f->sha256, "blob", f->bytes, f->at);
  if (r >= 0)
    r = store_run(s,
                  "INSERT INTO file(sha256, name, source, device, by, modified, at)"
                  " VALUES(?,?,?,nullif(?, ''),?,nullif(?, 0),?)",
                  "tttttii", f->sha256, f->name, source_names[f->source], f->device, f->by, f->modified, f->at);
  if (r < 0)
    return r;
  *ret_id = store_last_id(s);
  str_ref('F', *ret_id, ref);
  return change_add(s, "file", ref, NULL);
}

#define FILE_COLUMNS                                                                                          \
  "SELECT f.id, f.at, f.modified, x.bytes, f.sha256, f.name, f.device, f.by, f.source, f.pending FROM file f" \
  " JOIN artefact x ON x.sha256 = f.sha256"

static enum problem read_file(struct rows *r, struct file *ret) {
  enum problem p = P_not_found;
  if (rows_next(r)) {
    struct file f = {.id = rows_int(r, 0),
                     .at = rows_int(r, 1),
                     .modified = rows_int(r, 2),
                     .bytes = (uint64_t)rows_int(r, 3),
                     .pending = rows_int(r, 9)};
    for (int i = FILE_UPLOAD; i <= FILE_STICK; i++)
      if (!strcmp(source_names[i], rows_text(r, 8)))
        f.source = (enum file_source)i;
    p = str_copy(f.sha256, sizeof f.sha256, rows_text(r, 4)) && str_copy(f.name, sizeof f.name, rows_text(r, 5)) &&
                str_copy(f.device, sizeof f.device, rows_is_null(r, 6) ? "" : rows_text(r, 6)) &&
                str_copy(f.by, sizeof f.by, rows_text(r, 7))
            ? P_OK
            : P_internal;
    if (p == P_OK)
      *ret = f;
  }
  int err = rows_finish(r);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem file_find(struct store *s, int64_t id, struct file *ret) {
  struct rows r = store_query(s, FILE_COLUMNS " WHERE f.id = ?", "i", id);
  return read_file(&r, ret);
}

enum problem file_next_pending(struct store *s, int64_t after, struct file *ret) {
  struct rows r = store_query(s, FILE_COLUMNS " WHERE f.pending AND f.id > ? ORDER BY f.id LIMIT 1", "i", after);
  return read_file(&r, ret);
}

/* ---- for people ---- */

/* Where the file's newest row of the tray is. A row that is to be decoded again makes it wait. */
#define STATE                                                                                                   \
  " CASE WHEN f.pending THEN 'waiting' WHEN e.what = 'attached' THEN 'attached' WHEN e.what = 'discarded' THEN" \
  " 'discarded' WHEN u.failure IS NOT NULL THEN 'refused' ELSE 'unmatched' END"
#define STATE_COLUMNS                                                                                               \
  "SELECT f.id, f.at, x.bytes, f.by, f.device, f.name, f.sha256, f.source," STATE ", u.id, u.failure, r.study"      \
  " FROM file f JOIN artefact x ON x.sha256 = f.sha256"                                                             \
  " LEFT JOIN unmatched u ON u.id = (SELECT max(v.id) FROM unmatched v JOIN acquisition a ON a.id = v.acquisition"  \
  " WHERE a.file = f.id) LEFT JOIN unmatched_end e ON e.unmatched = u.id LEFT JOIN record r ON r.id = " RECORD_NOW( \
      "e.record")

static json_t *row_json(const struct rows *r, bool texts) {
  char id[STR_REF_MAX], tray[STR_REF_MAX], study[STR_REF_MAX], at[WALL_TEXT_MAX];
  json_t *failure = json_null();
  str_ref('F', rows_int(r, 0), id);
  str_ref('U', rows_int(r, 9), tray);
  str_ref('S', rows_int(r, 11), study);
  wall_format(wall_local(rows_int(r, 1)), at);
  if (!rows_is_null(r, 10)) {
    enum problem p = problem_find(rows_text(r, 10));
    failure = json_pack("{s:s, s:s}", "code", problem_code(p), "detail", problem_detail(p));
  }
  json_t *item = json_pack("{s:s, s:I, s:s, s:s?, s:o, s:s, s:s, s:s, s:s?, s:s?}", "at", at, "bytes",
                           (json_int_t)rows_int(r, 2), "by", rows_text(r, 3), "device", rows_text(r, 4), "failure",
                           failure, "id", id, "source", rows_text(r, 7), "state", rows_text(r, 8), "study",
                           rows_is_null(r, 11) ? NULL : study, "unmatched", rows_is_null(r, 9) ? NULL : tray);
  if (item && texts &&
      (json_object_set_new(item, "name", json_string(rows_text(r, 5))) < 0 ||
       json_object_set_new(item, "sha256", json_string(rows_text(r, 6))) < 0)) {
    json_decref(item);
    return NULL;
  }
  return item;
}

int file_json(struct store *s, int64_t id, bool texts, json_t **ret) {
  struct rows r = store_query(s, STATE_COLUMNS " WHERE f.id = ?", "i", id);
  bool there = rows_next(&r);
  json_t *item = there ? row_json(&r, texts) : NULL;
  int err = rows_finish(&r);
  if (err == 0 && !item)
    err = there ? -ENOMEM : -ENOENT;
  if (err < 0)
    json_decref(item);
  else
    *ret = item;
  return err;
}

int file_list(struct store *s, int64_t before, const char *state, int limit, bool texts, json_t **ret,
              int64_t *ret_last) {
  _json_cleanup_ json_t *items = json_array();
  int err = items ? 0 : -ENOMEM, n = 0;
  struct rows r =
      store_query(s, STATE_COLUMNS " WHERE f.id < ?1 AND (?2 IS NULL OR" STATE " = ?2) ORDER BY f.id DESC LIMIT ?3",
                  "iti", before, state, (int64_t)limit);
  *ret_last = 0;
  while (err == 0 && rows_next(&r)) {
    err = json_array_append_new(items, row_json(&r, texts)) < 0 ? -ENOMEM : 0;
    if (++n == limit)
      *ret_last = rows_int(&r, 0);
  }
  int query_err = rows_finish(&r);
  if (err == 0)
    err = query_err;
  if (err == 0)
    *ret = json_incref(items);
  return err;
}
