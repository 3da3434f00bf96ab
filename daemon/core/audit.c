#include "audit.h"

#include "buf.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AUDIT_ARCHIVE_MAX (256u << 20) /* of any version */
#define ARCHIVE_ROWS 20000             /* of one that is made: one or the other is reached first */
#define ARCHIVE_BYTES (16u << 20)

int audit_names(struct store *s, int64_t after, const json_t *patients, bool *ret) {
  const json_t *one;
  size_t i;
  int err = 0;
  *ret = true;
  json_array_foreach(patients, i, one) {
    struct rows r = store_query(s, "SELECT 1 FROM audit_patient WHERE patient = ? AND seq > ? LIMIT 1", "ti",
                                json_string_value(one), after);
    *ret &= rows_next(&r);
    const int query_err = rows_finish(&r);
    err = err < 0 ? err : query_err;
  }
  return err;
}

/* The highest number that a row ever had, which SQLite keeps: rows taken from the new end leave a hole. */
int audit_last(struct store *s, int64_t *ret_seq) {
  struct rows r = store_query(s, "SELECT seq FROM sqlite_sequence WHERE name = 'audit'", "");
  *ret_seq = rows_next(&r) ? rows_int(&r, 0) : 0;
  return rows_finish(&r);
}

/* The hash of the newest row, or of the anchor when every row is archived; zeros at the very beginning. */
static int audit_tip(struct store *s, uint8_t ret_hash[static HASH_BYTES]) {
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

/* The patients that a row names, each once, as the keys of an object; NULL without memory. */
static json_t *patients_of(const json_t *detail) {
  json_t *named = json_object(), *one;
  const char *patient = json_text(detail, "patient");
  size_t i;
  int r = !named ? -1 : patient ? json_object_set_new(named, patient, json_null()) : 0;
  json_array_foreach(json_object_get(detail, "patients"), i, one) {
    if (r == 0 && json_is_string(one))
      r = json_object_set_new(named, json_string_value(one), json_null());
  }
  if (r == 0)
    return named;
  json_decref(named);
  return NULL;
}

static int patients_add(struct store *s, const json_t *detail, int64_t seq) {
  _json_cleanup_ json_t *named = patients_of(detail);
  int r = named ? 0 : -ENOMEM;
  const char *patient;
  json_t *ignored;
  json_object_foreach(named, patient, ignored) {
    if (r >= 0)
      r = store_run(s, "INSERT INTO audit_patient VALUES(?,?)", "ti", patient, seq);
  }
  return r < 0 ? r : 0;
}

/* A study's rows name its patient, whoever writes them. */
static int name_patient(struct store *s, const char *subject, json_t *detail) {
  uint64_t study;
  if (strncmp(subject, "S-", 2) || str_to_u64(subject + 2, 1, INT64_MAX, &study) < 0 ||
      json_object_get(detail, "patient"))
    return 0;
  struct rows r = store_query(s, "SELECT o.patient FROM study y JOIN orders o ON o.id = y.orders WHERE y.id = ?", "i",
                              (int64_t)study);
  int err = rows_next(&r) && json_object_set_new(detail, "patient", json_string(rows_text(&r, 0))) < 0 ? -ENOMEM : 0;
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

int audit_add(struct store *s, const struct actor *actor, const char *action, const char *subject, json_t *detail) {
  _json_cleanup_ json_t *owned = detail ? detail : json_object();
  int named = owned ? name_patient(s, subject, owned) : -ENOMEM;
  if (named < 0)
    return named;
  if (actor->from && actor->from[0] && json_object_set_new(owned, "origin", json_string(actor->from)) < 0)
    return -ENOMEM;
  _free_cleanup_ char *text = json_canonical(owned, NULL);
  if (!text)
    return -ENOMEM;
  uint8_t prev[HASH_BYTES], hash[HASH_BYTES];
  struct audit_row row = {.at = wall_now().us,
                          .actor = actor->name,
                          .acting_for = actor->acting_for,
                          .action = action,
                          .subject = subject,
                          .detail = text};
  int r = audit_tip(s, prev);
  if (r == 0)
    r = audit_last(s, &row.seq);
  row.seq++;
  if (r == 0)
    r = audit_row_hash(&row, prev, hash);
  if (r < 0)
    return r;
  r = store_run(s, "INSERT INTO audit VALUES(?,?,?,?,?,?,?,?)", "iitttttb", row.seq, row.at, row.actor, row.acting_for,
                row.action, row.subject, row.detail, hash, sizeof hash);
  return r < 0 ? r : patients_add(s, owned, row.seq);
}

#define AUDIT_COLUMNS "seq, at, actor, acting_for, action, subject, detail, hash"

static struct audit_row row_of(const struct rows *r) {
  return (struct audit_row){.seq = rows_int(r, 0),
                            .at = rows_int(r, 1),
                            .actor = rows_text(r, 2),
                            .acting_for = rows_text(r, 3),
                            .action = rows_text(r, 4),
                            .subject = rows_text(r, 5),
                            .detail = rows_text(r, 6)};
}

static json_t *json_of(const struct rows *r) {
  struct audit_row row = row_of(r);
  size_t n;
  const void *hash = rows_blob(r, 7, &n);
  return audit_row_json(&row, hash, n);
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

/* The chain goes on with this row. -EUCLEAN: it does not. */
static int row_follow(struct audit_chain *chain, const struct rows *rows) {
  const struct audit_row row = row_of(rows);
  uint8_t hash[HASH_BYTES] = {0};
  size_t n;
  const void *said = rows_blob(rows, 7, &n);
  int r = audit_row_hash(&row, chain->hash, hash);
  if (r < 0)
    return r == -EFBIG ? -EUCLEAN : r;
  if (row.seq != chain->next || !row_is_whole(rows) || n != HASH_BYTES || !equal_secret(said, hash, HASH_BYTES))
    return -EUCLEAN;
  memcpy(chain->hash, hash, HASH_BYTES);
  chain->at = row.at;
  chain->next++;
  return 0;
}

/* ---- heads ---- */

/* The heads from a row's number on, the next of which is `next`. */
struct heads {
  struct rows rows;
  bool more;
  struct audit_head next;
};

static void heads_next(struct heads *h) {
  static const struct {
    size_t at, size;
  } blobs[] = {{offsetof(struct audit_head, hash), sizeof h->next.hash},
               {offsetof(struct audit_head, key), sizeof h->next.key},
               {offsetof(struct audit_head, signature), sizeof h->next.signature}};
  h->more = rows_next(&h->rows);
  if (!h->more)
    return;
  h->next = (struct audit_head){.seq = rows_int(&h->rows, 0), .at = rows_int(&h->rows, 1)};
  for (int i = 0; i < 3; i++) {
    size_t n;
    const void *bytes = rows_blob(&h->rows, 2 + i, &n);
    if (n == blobs[i].size) /* another length leaves zeros, which sign nothing */
      memcpy((uint8_t *)&h->next + blobs[i].at, bytes, n);
  }
}

static struct heads heads_from(struct store *s, int64_t seq) {
  struct heads h = {.rows = store_query(s,
                                        "SELECT seq, at, hash, key, signature FROM audit_head WHERE seq >= ? ORDER BY "
                                        "seq",
                                        "i", seq)};
  heads_next(&h);
  return h;
}

int audit_head_sign(struct store *s) {
  const struct site_key *key = store_site_key(s);
  struct audit_head head = {0};
  struct rows r = store_query(s,
                              "SELECT seq, at, hash FROM audit WHERE seq > coalesce((SELECT max(seq) FROM audit_head), "
                              "0) ORDER BY seq DESC LIMIT 1",
                              "");
  bool found = rows_next(&r);
  if (found) {
    size_t n;
    const void *hash = rows_blob(&r, 2, &n);
    head.seq = rows_int(&r, 0);
    head.at = rows_int(&r, 1);
    if (n == sizeof head.hash)
      memcpy(head.hash, hash, n);
  }
  int err = rows_finish(&r);
  if (err < 0 || !found)
    return err;
  memcpy(head.key, key->public, sizeof head.key);
  audit_head_make(&head, key->secret);
  err =
      store_run(s, "INSERT INTO audit_head(seq, hash, at, key, signature) VALUES(?,?,?,?,?)", "ibibb", head.seq,
                head.hash, sizeof head.hash, head.at, head.key, sizeof head.key, head.signature, sizeof head.signature);
  return err < 0 ? err : 1;
}

/* ---- verifying ---- */

struct verify {
  struct store *store;
  struct artefacts *artefacts;
  struct audit_chain chain;
  struct heads heads;
  struct audit_check check;
  int64_t patients; /* named by the rows in the database */
};

/* The head of the row that was followed last, if there is one. Those of erased rows (`apart`) are signed, but their
 * rows are not there to say. */
static int head_check(struct verify *v, bool apart) {
  while (v->heads.more && v->heads.next.seq < v->chain.next) {
    struct audit_chain c = v->chain;
    if (apart && v->heads.next.seq < v->chain.next - 1) {
      c.next = v->heads.next.seq + 1;
      memcpy(c.hash, v->heads.next.hash, sizeof c.hash);
    }
    if (!audit_head_holds(&v->heads.next, &c, store_site_key(v->store)->public))
      return -EUCLEAN;
    v->check.heads++;
    heads_next(&v->heads);
  }
  return 0;
}

#define ANCHORS                                                                                                        \
  "SELECT n.seq, n.hash, n.artefact, f.kind, f.kind IS NULL AND EXISTS(SELECT 1 FROM erasure e WHERE e.what = 'audit'" \
  " AND e.ref = CAST(n.seq AS TEXT) AND e.archive = n.artefact) FROM audit_anchor n LEFT JOIN artefact f ON f.sha256 " \
  "="                                                                                                                  \
  " n.artefact "

/* The lines of an anchor's archive. -EUCLEAN: it is not what was put away; other errors say nothing of it. */
static int archive_get(struct artefacts *a, const struct rows *anchor, uint8_t **ret, size_t *ret_n) {
  const char *sha256 = rows_text(anchor, 2), *kind = rows_text(anchor, 3);
  if (!sha256 || !kind || strcmp(kind, "audit"))
    return -EUCLEAN;
  int r = artefact_get(a, sha256, AUDIT_ARCHIVE_MAX, ret, ret_n);
  return r < 0 && r != -ENOMEM && r != -EMFILE && r != -ENFILE ? -EUCLEAN : r;
}

/* The next line, without its line feed, of what is left; NULL when there is none, or it has no end. */
static const char *line_next(const char **at, const char *end, size_t *ret_n) {
  const char *line = *at, *feed = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;
  if (!feed)
    return NULL;
  *ret_n = (size_t)(feed - line);
  *at = feed + 1;
  return line;
}

/* The archive of an anchor, from where the chain stands to the anchor's row. -EUCLEAN when it does not fit; any other
 * error says nothing about the archive. */
static int archive_verify(struct verify *v, const struct rows *anchor) {
  const int64_t first = v->chain.next, last = rows_int(anchor, 0);
  size_t hash_n, n = 0, line_n;
  const void *hash = rows_blob(anchor, 1, &hash_n);
  if (hash_n != HASH_BYTES || last < first)
    return -EUCLEAN;
  if (rows_int(anchor, 4)) {
    v->chain.next = last + 1;
    v->chain.at = -1;
    memcpy(v->chain.hash, hash, HASH_BYTES);
    v->check.erased += last + 1 - first;
    return head_check(v, true);
  }
  uint8_t *bytes = NULL;
  int r = archive_get(v->artefacts, anchor, &bytes, &n);
  const char *at = (const char *)bytes, *end = at + n;
  for (const char *line; r == 0 && (line = line_next(&at, end, &line_n));) {
    r = audit_line_follow(line, line_n, &v->chain);
    if (r == 0)
      r = head_check(v, false);
  }
  if (r == 0 && (at != end || v->chain.next != last + 1 || !equal_secret(hash, v->chain.hash, HASH_BYTES)))
    r = -EUCLEAN;
  free(bytes);
  v->check.archived += r == 0 ? last + 1 - first : 0;
  return r;
}

static int archives_verify(struct verify *v) {
  int r = 0;
  struct rows anchor = store_query(v->store, ANCHORS "ORDER BY n.seq", "");
  while (r == 0 && rows_next(&anchor)) {
    const struct audit_chain before = v->chain;
    r = archive_verify(v, &anchor);
    if (r < 0) /* what fits of it does not count */
      v->chain = before;
  }
  int err = rows_finish(&anchor);
  v->check.last = v->chain.next - 1;
  v->check.first = v->check.last ? 1 : 0;
  return err < 0 ? err : r;
}

static int patient_is_listed(struct store *s, const char *patient, int64_t seq) {
  struct rows r = store_query(s, "SELECT 1 FROM audit_patient WHERE patient = ? AND seq = ?", "ti", patient, seq);
  bool found = rows_next(&r);
  int err = rows_finish(&r);
  return err < 0 ? err : found;
}

/* Each patient that the row names has it in the list. */
static int patients_verify(struct verify *v, const char *detail, int64_t seq) {
  if (!strstr(detail, "\"patient"))
    return 0;
  _json_cleanup_ json_t *parsed = json_loads(detail, 0, NULL), *named = patients_of(parsed);
  int r = named ? 0 : -ENOMEM;
  const char *patient;
  json_t *ignored;
  json_object_foreach(named, patient, ignored) {
    const int listed = r < 0 ? r : patient_is_listed(v->store, patient, seq);
    r = listed < 0 ? listed : listed ? 0 : -EUCLEAN;
    v->patients++;
  }
  return r;
}

static int rows_verify(struct verify *v) {
  int r = 0;
  struct rows rows = store_query(v->store, "SELECT " AUDIT_COLUMNS " FROM audit ORDER BY seq", "");
  while (r == 0 && rows_next(&rows)) {
    const int64_t seq = rows_int(&rows, 0);
    v->check.first = v->check.first ? v->check.first : seq;
    v->check.last = seq;
    v->check.rows++;
    r = row_follow(&v->chain, &rows);
    if (r < 0)
      break;
    r = head_check(v, false);
    if (r == 0)
      r = patients_verify(v, rows_text(&rows, 6), seq);
    v->check.broken_at = r < 0 ? seq : 0;
  }
  int err = rows_finish(&rows);
  int64_t last = 0;
  if (err == 0)
    err = audit_last(v->store, &last);
  if (err < 0)
    return err;
  return r == 0 && (last != v->chain.next - 1 || v->heads.more) ? -EUCLEAN : r; /* rows from the new end are gone */
}

/* Whether a row of the list is of a row that names the patient. */
static int patient_is_named(struct store *s, const char *patient, int64_t seq) {
  struct rows r = store_query(s, "SELECT detail FROM audit WHERE seq = ?", "i", seq);
  _json_cleanup_ json_t *detail = rows_next(&r) ? json_loads(rows_text(&r, 0), 0, NULL) : NULL;
  int err = rows_finish(&r);
  _json_cleanup_ json_t *named = patients_of(detail);
  return err < 0 ? err : !named ? -ENOMEM : json_object_get(named, patient) != NULL;
}

/* Nobody is listed who is not named: there are as many in the list, or it is looked at one by one. */
static int list_verify(struct verify *v, int64_t archived) {
  struct rows count = store_query(v->store, "SELECT count(*) FROM audit_patient WHERE seq > ?", "i", archived);
  const bool equal = rows_next(&count) && rows_int(&count, 0) == v->patients;
  int err = rows_finish(&count);
  if (err < 0 || equal)
    return err;
  int named = 1;
  struct rows r =
      store_query(v->store, "SELECT patient, seq FROM audit_patient WHERE seq > ? ORDER BY seq", "i", archived);
  while (named == 1 && rows_next(&r)) {
    v->check.broken_at = rows_int(&r, 1);
    named = patient_is_named(v->store, rows_text(&r, 0), rows_int(&r, 1));
  }
  err = rows_finish(&r);
  return err < 0 ? err : named < 0 ? named : -EUCLEAN;
}

int audit_verify(struct store *s, struct artefacts *a, struct audit_check *ret) {
  struct verify v = {.store = s, .artefacts = a, .chain = {.next = 1}, .heads = heads_from(s, INT64_MIN)};
  int r = archives_verify(&v);
  const int64_t archived = v.chain.next - 1;
  if (r == 0)
    r = rows_verify(&v);
  if (r == 0)
    r = list_verify(&v, archived);
  if (r == -EUCLEAN && !v.check.broken_at)
    v.check.broken_at = v.chain.next;
  int err = rows_finish(&v.heads.rows);
  r = r == 0 || r == -EUCLEAN ? err : r;
  if (r == 0)
    r = store_verify(s, &v.check.seal);
  if (r < 0)
    return r;
  v.check.ok = !v.check.broken_at && v.check.seal.ok;
  str_hex(v.chain.hash, HASH_BYTES, v.check.head);
  *ret = v.check;
  return 0;
}

/* ---- looking ---- */

int audit_list(struct store *s, int64_t before, int limit, json_t **ret) {
  _json_cleanup_ json_t *items = json_array();
  struct rows r = store_query(s, "SELECT " AUDIT_COLUMNS " FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?", "ii",
                              before > 0 ? before : INT64_MAX, (int64_t)limit);
  int err = items ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r))
    err = json_array_append_new(items, json_of(&r)) < 0 ? -ENOMEM : 0;
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(items);
  return err;
}

int audit_who_saw(struct store *s, const char *patient, int64_t before, int limit, json_t **ret) {
  _json_cleanup_ json_t *items = json_array();
  struct rows r =
      store_query(s,
                  "SELECT " AUDIT_COLUMNS ", p.seq FROM (SELECT seq FROM audit_patient WHERE patient = ? AND"
                  " seq < ? ORDER BY seq DESC LIMIT ?) p LEFT JOIN audit USING(seq) ORDER BY p.seq DESC",
                  "tii", patient, before > 0 ? before : INT64_MAX, (int64_t)limit);
  int err = items ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    json_t *item =
        rows_is_null(&r, 7) ? json_pack("{s:b, s:I}", "archived", 1, "seq", (json_int_t)rows_int(&r, 8)) : json_of(&r);
    err = json_array_append_new(items, item) < 0 ? -ENOMEM : 0;
  }
  int query_err = rows_finish(&r);
  if (err == 0 && (err = query_err) == 0)
    *ret = json_incref(items);
  return err;
}

/* ---- the archive ---- */

/* Where the chain stands before the oldest row in the database. */
static int chain_begin(struct store *s, struct audit_chain *ret) {
  struct rows r = store_query(s, "SELECT seq, hash FROM audit_anchor ORDER BY seq DESC LIMIT 1", "");
  int err = 0;
  *ret = (struct audit_chain){.next = 1};
  if (rows_next(&r)) {
    size_t n;
    const void *hash = rows_blob(&r, 1, &n);
    if (n == HASH_BYTES)
      memcpy(ret->hash, hash, HASH_BYTES);
    else
      err = -EUCLEAN;
    ret->next = rows_int(&r, 0) + 1;
  }
  const int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

/* The exact microseconds are in the row's hash; the text carries them too. */
static int line_add(struct buf *lines, const struct rows *row) {
  _json_cleanup_ json_t *item = json_of(row);
  _free_cleanup_ char *text = json_canonical(item, NULL);
  if (!text)
    return -ENOMEM;
  buf_text(lines, text);
  buf_u8(lines, '\n');
  return lines->err;
}

int64_t audit_archive(struct store *s, struct artefacts *a, int64_t before, int64_t last,
                      char ret_sha256[static HASH_TEXT], bool *ret_more) {
  _buf_cleanup_ struct buf lines = BUF_INIT(AUDIT_ARCHIVE_MAX);
  struct audit_chain chain;
  int64_t count = 0;
  bool more = false;
  int err = chain_begin(s, &chain);
  if (err < 0)
    return err;
  /* Rows leave from the old end and without holes, so a clock that stepped back keeps its rows here longer. */
  struct rows r = store_query(s, "SELECT " AUDIT_COLUMNS " FROM audit WHERE seq <= ? ORDER BY seq", "i", last);
  while (err == 0 && !more && rows_next(&r) && rows_int(&r, 1) < before) {
    more = count == ARCHIVE_ROWS || lines.len >= ARCHIVE_BYTES;
    err = more ? 0 : row_follow(&chain, &r);
    if (err == 0 && !more)
      err = line_add(&lines, &r);
    count += !more;
  }
  const int query_err = rows_finish(&r);
  const int64_t at = wall_now().us;
  err = err < 0 ? err : query_err;
  if (err == 0 && !count)
    err = -ENODATA;
  if (err == 0)
    err = artefact_put(a, s, "audit", lines.data, lines.len, at, ret_sha256);
  if (err == 0)
    err = store_run(s, "INSERT INTO audit_anchor VALUES(?,?,?,?)", "ibit", chain.next - 1, chain.hash,
                    sizeof chain.hash, at, ret_sha256);
  if (err >= 0)
    err = store_run(s, "DELETE FROM audit WHERE seq < ?", "i", chain.next);
  *ret_more = more;
  return err < 0 ? err : count;
}

/* The time of the newest of an archive's rows, wherever it is among them, as a clock may have stepped back. */
static int archive_newest(struct artefacts *a, const struct rows *anchor, int64_t *ret_at, int64_t *ret_rows) {
  uint8_t *bytes = NULL;
  size_t n = 0, line_n;
  int r = archive_get(a, anchor, &bytes, &n);
  const char *at = (const char *)bytes, *end = at + n;
  int64_t newest = 0, count = 0;
  for (const char *line; r == 0 && (line = line_next(&at, end, &line_n)); count++) {
    _json_cleanup_ json_t *row = NULL;
    char reason[256];
    struct wall wall;
    r = json_read(line, line_n, &row, reason);
    const char *text = json_text(row, "at");
    if (r == 0 && (!text || wall_parse(text, &wall) < 0))
      r = -EPROTO;
    if (r == 0 && wall.us > newest)
      newest = wall.us;
  }
  free(bytes);
  if (r < 0 || !count)
    return r == -EPROTO || r == 0 ? -EUCLEAN : r;
  *ret_at = newest;
  *ret_rows = count;
  return 0;
}

static int archive_erase(struct store *s, const struct rows *anchor, const char *by) {
  const char *sha256 = rows_text(anchor, 2);
  const int64_t seq = rows_int(anchor, 0);
  char ref[32];
  snprintf(ref, sizeof ref, "%lld", (long long)seq);
  int r = store_run(s, "INSERT INTO erasure(what, ref, archive, at, by) VALUES('audit',?,?,?,?)", "ttit", ref, sha256,
                    wall_now().us, by);
  if (r >= 0)
    r = artefact_forget(s, sha256);
  if (r >= 0)
    r = store_run(s, "DELETE FROM audit_patient WHERE seq <= ?", "i", seq);
  return r < 0 ? r : 0;
}

int64_t audit_erase(struct store *s, struct artefacts *a, int64_t before, const char *by) {
  int64_t newest = 0, rows = 0, total = 0;
  int r = 0;
  struct rows anchor = store_query(s, ANCHORS "WHERE f.kind IS NOT NULL ORDER BY n.seq", "");
  while (r == 0 && rows_next(&anchor)) {
    r = archive_newest(a, &anchor, &newest, &rows);
    if (r < 0 || newest >= before)
      break;
    r = archive_erase(s, &anchor, by);
    total += rows;
  }
  int err = rows_finish(&anchor);
  return r < 0 ? r : err < 0 ? err : total ? total : -ENODATA;
}

int audit_erase_finish(struct store *s, struct artefacts *a) {
  if (store_is_dirty(s)) /* the file of an act that is not durable may be needed yet */
    return -EBUSY;
  for (;;) {
    char sha256[HASH_TEXT] = "";
    int64_t id = 0;
    struct rows r =
        store_query(s, "SELECT id, archive FROM erasure WHERE what = 'audit' AND NOT done ORDER BY id LIMIT 1", "");
    if (rows_next(&r)) {
      id = rows_int(&r, 0);
      str_copy(sha256, sizeof sha256, rows_text(&r, 1));
    }
    int err = rows_finish(&r);
    if (err < 0 || !id)
      return err;
    err = artefact_erase(a, sha256);
    if (err < 0)
      return err;
    err = store_begin(s);
    if (err == 0)
      err = store_run(s, "UPDATE erasure SET done = 1 WHERE id = ?", "i", id);
    if (err >= 0)
      err = store_keep(s);
    if (err < 0) {
      store_undo(s);
      return err;
    }
  }
}

/* ---- the export ---- */

struct out {
  struct audit_chain chain; /* its hash is that of the row before the next */
  struct heads heads;
  struct audit_lines_check sums; /* for the last line */
  const struct site_key *key;
  int64_t from;
  bool begun;
  int (*write)(void *arg, const void *bytes, size_t n);
  void *arg;
};

static int out_line(struct out *o, const char *line, size_t n) {
  int r = o->write(o->arg, line, n);
  return r < 0 ? r : o->write(o->arg, "\n", 1);
}

/* Steals the item. */
static int out_json(struct out *o, json_t *item) {
  _json_cleanup_ json_t *owned = item;
  size_t n = 0;
  _free_cleanup_ char *text = json_canonical(owned, &n);
  return text ? out_line(o, text, n) : -ENOMEM;
}

static int out_begin(struct out *o) {
  if (o->begun)
    return 0;
  o->begun = true;
  o->sums.first = o->chain.next;
  return out_json(o, audit_first_json(&o->chain, o->key->public));
}

/* The head of the row that was written last; those of rows that are not in the export stay behind. */
static int out_heads(struct out *o) {
  int r = 0;
  for (; r == 0 && o->heads.more && o->heads.next.seq < o->chain.next; heads_next(&o->heads))
    if (o->heads.next.seq == o->chain.next - 1) {
      r = out_json(o, audit_head_json(&o->heads.next));
      o->sums.heads++;
    }
  return r;
}

/* A row's line: from `from` on it is written. */
static int out_row(struct out *o, const char *line, size_t n, const uint8_t hash[static HASH_BYTES]) {
  const bool wanted = o->chain.next >= o->from;
  int r = wanted ? out_begin(o) : 0;
  if (r == 0 && wanted)
    r = out_line(o, line, n);
  memcpy(o->chain.hash, hash, HASH_BYTES);
  o->chain.next++;
  o->sums.rows += wanted;
  return r == 0 && wanted ? out_heads(o) : r;
}

static int out_archive(struct out *o, struct artefacts *a, const struct rows *anchor) {
  uint8_t *bytes = NULL;
  size_t n = 0, line_n;
  int r = archive_get(a, anchor, &bytes, &n);
  const char *at = (const char *)bytes, *end = at + n;
  for (const char *line; r == 0 && (line = line_next(&at, end, &line_n));) {
    _json_cleanup_ json_t *row = NULL;
    char reason[256];
    uint8_t hash[HASH_BYTES];
    r = json_read(line, line_n, &row, reason);
    const char *text = json_text(row, "hash");
    if (r == -EPROTO || (r == 0 && (!text || !hash_is_text(text) || !str_unhex(text, hash, sizeof hash))))
      r = -EUCLEAN;
    if (r == 0)
      r = out_row(o, line, line_n, hash);
  }
  free(bytes);
  return r;
}

/* The anchor's archive, or that there is none any more; nothing of it when it is older than what is asked for. */
static int out_anchor(struct out *o, struct artefacts *a, const struct rows *anchor) {
  const int64_t last = rows_int(anchor, 0);
  size_t n;
  const void *hash = rows_blob(anchor, 1, &n);
  if (n != HASH_BYTES || last < o->chain.next)
    return -EUCLEAN;
  const bool wanted = last >= o->from, erased = rows_int(anchor, 4);
  if (wanted && !erased)
    return out_archive(o, a, anchor);
  int r = wanted ? out_begin(o) : 0;
  if (r == 0 && wanted) {
    r = out_json(o, audit_erased_json(last, hash));
    o->sums.erased += last + 1 - o->chain.next;
  }
  o->chain.next = last + 1;
  memcpy(o->chain.hash, hash, HASH_BYTES);
  return r == 0 && wanted ? out_heads(o) : r;
}

int audit_export(struct store *s, struct artefacts *a, int64_t from,
                 int (*write)(void *arg, const void *bytes, size_t n), void *arg) {
  struct out o = {.chain = {.next = 1},
                  .heads = heads_from(s, from),
                  .key = store_site_key(s),
                  .from = from,
                  .write = write,
                  .arg = arg};
  int r = 0;
  struct rows anchor = store_query(s, ANCHORS "ORDER BY n.seq", "");
  while (r == 0 && rows_next(&anchor))
    r = out_anchor(&o, a, &anchor);
  int err = rows_finish(&anchor);
  r = r < 0 ? r : err;
  struct rows rows = store_query(s, "SELECT " AUDIT_COLUMNS " FROM audit ORDER BY seq", "");
  while (r == 0 && rows_next(&rows)) {
    uint8_t hash[HASH_BYTES] = {0};
    size_t n, hash_n;
    const void *said = rows_blob(&rows, 7, &hash_n);
    if (hash_n == HASH_BYTES)
      memcpy(hash, said, HASH_BYTES);
    _json_cleanup_ json_t *item = json_of(&rows);
    _free_cleanup_ char *text = json_canonical(item, &n);
    r = text ? out_row(&o, text, n, hash) : -ENOMEM;
  }
  err = rows_finish(&rows);
  r = r < 0 ? r : err;
  if (r == 0)
    r = out_begin(&o); /* there was no row */
  if (r == 0) {
    o.sums.last = o.chain.next - 1;
    str_hex(o.chain.hash, HASH_BYTES, o.sums.head);
    r = out_json(&o, audit_end_json(&o.sums));
  }
  err = rows_finish(&o.heads.rows);
  return r < 0 ? r : err;
}
