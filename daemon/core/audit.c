#include "audit.h"

#include "buf.h"

#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AUDIT_ARCHIVE_MAX (256u << 20)

struct row {
  int64_t seq, at;
  const char *actor, *acting_for, *action, *subject, *detail; /* detail is canonical JSON already */
};

static json_t *row_json(const struct row *r) {
  json_t *detail = json_loads(r->detail, 0, NULL);
  char at[WALL_TEXT_MAX];
  wall_format(wall_local(r->at), at);
  return json_pack("{s:s?, s:s, s:s, s:s, s:o, s:I, s:s}", "acting_for", r->acting_for, "action", r->action, "actor",
                   r->actor, "at", at, "detail", detail ? detail : json_null(), "seq", (json_int_t)r->seq, "subject",
                   r->subject);
}

/* SHA-256 over the previous hash and the row's columns, each as its length and its bytes: no two rows share one
 * encoding. NULL has the length that no text has. */
static int row_hash(const struct row *r, const uint8_t prev[static HASH_BYTES], uint8_t ret[static HASH_BYTES]) {
  struct buf b = BUF_INIT(1u << 20);
  const char *const texts[] = {r->actor, r->acting_for, r->action, r->subject, r->detail};
  buf_add(&b, prev, HASH_BYTES);
  buf_u64le(&b, (uint64_t)r->seq);
  buf_u64le(&b, (uint64_t)r->at);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    buf_u32le(&b, texts[i] ? (uint32_t)strlen(texts[i]) : UINT32_MAX);
    if (texts[i])
      buf_text(&b, texts[i]);
  }
  int err = b.err;
  if (err == 0)
    hash_sha256(b.data, b.len, ret);
  buf_finish(&b);
  return err;
}

/* The highest number that a row ever had, which SQLite keeps: rows taken from the new end leave a hole. */
static int audit_last(struct store *s, int64_t *ret_seq) {
  struct rows r = store_query(s, "SELECT seq FROM sqlite_sequence WHERE name = 'audit'", "");
  *ret_seq = rows_next(&r) ? rows_int(&r, 0) : 0;
  return rows_finish(&r);
}

/* The hash of the newest row, or of the anchor when every row is archived; zeros at the very beginning. */
static int audit_head(struct store *s, uint8_t ret_hash[static HASH_BYTES]) {
  static const char *const sql[] = {"SELECT hash FROM audit ORDER BY seq DESC LIMIT 1",
                                    "SELECT hash FROM audit_anchor ORDER BY seq DESC LIMIT 1"};
  bool found = false;
  memset(ret_hash, 0, HASH_BYTES);
  for (int i = 0; i < 2 && !found; i++) {
    struct rows r = store_query(s, sql[i], "");
    if ((found = rows_next(&r))) {
      size_t n;
      const void *hash = rows_blob(&r, 0, &n);
      if (n == HASH_BYTES)
        memcpy(ret_hash, hash, HASH_BYTES);
    }
    int err = rows_finish(&r);
    if (err < 0)
      return err;
  }
  return 0;
}

int audit_add(struct store *s, const struct actor *actor, const char *action, const char *subject, json_t *detail) {
  _json_cleanup_ json_t *owned = detail ? detail : json_object();
  _free_cleanup_ char *text = json_canonical(owned, NULL);
  if (!text)
    return -ENOMEM;
  uint8_t prev[HASH_BYTES], hash[HASH_BYTES];
  struct row row = {.at = wall_now().us,
                    .actor = actor->name,
                    .acting_for = actor->acting_for,
                    .action = action,
                    .subject = subject,
                    .detail = text};
  int r = audit_head(s, prev);
  if (r == 0)
    r = audit_last(s, &row.seq);
  row.seq++;
  if (r == 0)
    r = row_hash(&row, prev, hash);
  if (r < 0)
    return r;
  r = store_run(s, "INSERT INTO audit VALUES(?,?,?,?,?,?,?,?)", "iitttttb", row.seq, row.at, row.actor, row.acting_for,
                row.action, row.subject, row.detail, hash, sizeof hash);
  return r < 0 ? r : 0;
}

#define AUDIT_COLUMNS "seq, at, actor, acting_for, action, subject, detail, hash"

static struct row row_of(const struct rows *r) {
  return (struct row){.seq = rows_int(r, 0),
                      .at = rows_int(r, 1),
                      .actor = rows_text(r, 2),
                      .acting_for = rows_text(r, 3),
                      .action = rows_text(r, 4),
                      .subject = rows_text(r, 5),
                      .detail = rows_text(r, 6)};
}

/* A text that goes on behind a NUL shows less than it holds. */
static bool row_is_whole(const struct rows *r) {
  for (int column = 2; column <= 6; column++) {
    const char *text = rows_text(r, column);
    size_t n = 0;
    rows_blob(r, column, &n);
    if (n != (text ? strlen(text) : 0))
      return false;
  }
  return true;
}

/* How far the chain has been followed. */
struct chain {
  int64_t next; /* the number of the next row */
  uint8_t prev[HASH_BYTES];
};

/* One line of an archive, as audit_archive() writes it: -EUCLEAN when it is anything else than the chain's next row. */
static int line_verify(const char *line, size_t n, struct chain *c) {
  _json_cleanup_ json_t *item = NULL;
  char reason[256], hex[HASH_TEXT];
  int r = json_read(line, n, &item, reason);
  if (r < 0)
    return r == -ENOMEM ? r : -EUCLEAN;
  size_t again_n = 0;
  _free_cleanup_ char *again = json_canonical(item, &again_n);
  if (!again)
    return -ENOMEM;
  const char *at = json_text(item, "at"), *said = json_text(item, "hash");
  const json_t *detail = json_object_get(item, "detail"), *acting_for = json_object_get(item, "acting_for");
  struct row row = {.actor = json_text(item, "actor"),
                    .acting_for = json_string_value(acting_for),
                    .action = json_text(item, "action"),
                    .subject = json_text(item, "subject")};
  struct wall wall;
  if (again_n != n || memcmp(again, line, n) || json_object_size(item) != 8 || !at || wall_parse(at, &wall) < 0 ||
      !said || !detail || !(row.acting_for || json_is_null(acting_for)) || !row.actor || !row.action || !row.subject ||
      json_int(item, "seq", c->next, c->next, &row.seq) < 0)
    return -EUCLEAN;
  _free_cleanup_ char *text = json_canonical(detail, NULL);
  if (!text)
    return -ENOMEM;
  row.at = wall.us;
  row.detail = text;
  uint8_t hash[HASH_BYTES];
  r = row_hash(&row, c->prev, hash);
  if (r < 0)
    return r == -ENOMEM ? r : -EUCLEAN;
  str_hex(hash, sizeof hash, hex);
  if (strcmp(hex, said))
    return -EUCLEAN;
  memcpy(c->prev, hash, sizeof hash);
  c->next++;
  return 0;
}

/* The archive of an anchor, from where the chain stands to the anchor's row; the chain moves only when all of it fits.
 * -EUCLEAN when it does not; any other error says nothing about the archive. */
static int archive_verify(struct artefacts *a, const struct rows *anchor, struct chain *ret) {
  struct chain c = *ret;
  size_t hash_n, n = 0;
  const char *sha256 = rows_text(anchor, 2), *kind = rows_text(anchor, 3);
  const void *hash = rows_blob(anchor, 1, &hash_n);
  if (!sha256 || !kind || strcmp(kind, "audit") || hash_n != HASH_BYTES)
    return -EUCLEAN;
  uint8_t *bytes = NULL;
  int r = artefact_get(a, sha256, AUDIT_ARCHIVE_MAX, &bytes, &n);
  if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
    return r;
  if (r < 0)
    return -EUCLEAN;
  const char *line = (const char *)bytes, *end = line + n;
  while (r == 0 && line < end) {
    const char *feed = memchr(line, '\n', (size_t)(end - line));
    r = feed ? line_verify(line, (size_t)(feed - line), &c) : -EUCLEAN;
    line = feed ? feed + 1 : end;
  }
  free(bytes);
  if (r < 0)
    return r;
  if (c.next == ret->next || c.next != rows_int(anchor, 0) + 1 || !equal_secret(hash, c.prev, HASH_BYTES))
    return -EUCLEAN;
  *ret = c;
  return 0;
}

int audit_verify(struct store *s, struct artefacts *a, struct audit_check *ret) {
  struct audit_check c = {.ok = true};
  struct chain chain = {.next = 1};
  int err = 0;
  struct rows anchor = store_query(s,
                                   "SELECT n.seq, n.hash, n.artefact, f.kind FROM audit_anchor n LEFT JOIN artefact f "
                                   "ON f.sha256 = n.artefact ORDER BY n.seq",
                                   "");
  while (c.ok && err == 0 && rows_next(&anchor)) {
    err = archive_verify(a, &anchor, &chain);
    if (err == -EUCLEAN) {
      c.ok = false;
      c.broken_at = chain.next;
      err = 0;
    }
  }
  int query_err = rows_finish(&anchor);
  if (err < 0 || query_err < 0)
    return err < 0 ? err : query_err;
  c.archived = c.last = chain.next - 1;
  c.first = c.archived ? 1 : 0;
  struct rows r = store_query(s, "SELECT " AUDIT_COLUMNS " FROM audit ORDER BY seq", "");
  while (c.ok && rows_next(&r)) {
    struct row row = row_of(&r);
    uint8_t hash[HASH_BYTES] = {0};
    size_t n;
    const void *said = rows_blob(&r, 7, &n);
    err = row_hash(&row, chain.prev, hash);
    c.ok = err == 0 && row.seq == chain.next && row_is_whole(&r) && n == HASH_BYTES &&
           equal_secret(said, hash, HASH_BYTES);
    if (!c.ok)
      c.broken_at = chain.next;
    c.first = c.first ? c.first : row.seq;
    c.last = row.seq;
    c.rows++;
    memcpy(chain.prev, hash, HASH_BYTES);
    chain.next++;
  }
  query_err = rows_finish(&r);
  if (query_err < 0)
    return query_err;
  int64_t last;
  query_err = audit_last(s, &last);
  if (query_err < 0)
    return query_err;
  if (c.ok && last != chain.next - 1) {
    c.ok = false;
    c.broken_at = chain.next;
  }
  str_hex(chain.prev, HASH_BYTES, c.head);
  *ret = c;
  return err;
}

int audit_list(struct store *s, int64_t before, int limit, json_t **ret) {
  _json_cleanup_ json_t *items = json_array();
  struct rows r = store_query(s, "SELECT " AUDIT_COLUMNS " FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?", "ii",
                              before > 0 ? before : INT64_MAX, (int64_t)limit);
  int err = items ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    struct row row = row_of(&r);
    size_t n;
    const void *hash = rows_blob(&r, 7, &n);
    char hex[HASH_TEXT] = "";
    if (n == HASH_BYTES)
      str_hex(hash, n, hex);
    json_t *item = row_json(&row);
    if (!item || json_object_set_new(item, "hash", json_string(hex)) < 0 || json_array_append_new(items, item) < 0)
      err = -ENOMEM;
  }
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(items);
  return err;
}

int64_t audit_archive(struct store *s, struct artefacts *a, int64_t before, char ret_sha256[static HASH_TEXT]) {
  struct buf lines = BUF_INIT(AUDIT_ARCHIVE_MAX);
  uint8_t last_hash[HASH_BYTES];
  int64_t last = 0, count = 0;
  /* Rows leave from the old end and without holes, so a clock that stepped back keeps its rows here longer. */
  struct rows r = store_query(s, "SELECT " AUDIT_COLUMNS " FROM audit ORDER BY seq", "");
  while (!lines.err && rows_next(&r) && rows_int(&r, 1) < before) {
    struct row row = row_of(&r);
    size_t n;
    const void *hash = rows_blob(&r, 7, &n);
    char hex[HASH_TEXT] = "";
    if (n == HASH_BYTES) {
      str_hex(hash, n, hex);
      memcpy(last_hash, hash, HASH_BYTES);
    }
    _json_cleanup_ json_t *item = row_json(&row);
    if (item)
      json_object_set_new(item, "hash", json_string(hex));
    /* The exact microseconds are in the row's hash; the text carries them too. */
    _free_cleanup_ char *text = json_canonical(item, NULL);
    if (!text) {
      lines.err = -ENOMEM;
      break;
    }
    buf_text(&lines, text);
    buf_u8(&lines, '\n');
    last = row.seq;
    count++;
  }
  int err = rows_finish(&r);
  int64_t at = wall_now().us;
  err = lines.err ? lines.err : err;
  if (err == 0 && !count)
    err = -ENODATA;
  if (err == 0)
    err = artefact_put(a, s, "audit", lines.data, lines.len, at, ret_sha256);
  buf_finish(&lines);
  if (err == 0)
    err = store_run(s, "INSERT INTO audit_anchor VALUES(?,?,?,?)", "ibit", last, last_hash, sizeof last_hash, at,
                    ret_sha256);
  if (err >= 0)
    err = store_run(s, "DELETE FROM audit WHERE seq <= ?", "i", last);
  return err < 0 ? err : count;
}
