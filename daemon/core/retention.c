#include "retention.h"

#include "buf.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ARCHIVE_ROWS_MAX (64u << 20)
#define TAR_BLOCK 512
#define TAR_END (2 * TAR_BLOCK)

/* ---- whose time is over ---- */

#define LAST_CONTACT                                                                                                  \
  "max((SELECT max(at) FROM patient_version WHERE patient = p.id), coalesce((SELECT max(max(o.at, y.updated)) FROM"   \
  " orders o JOIN study y ON y.orders = o.id WHERE o.patient = p.id), 0), coalesce((SELECT max(t.at) FROM followup f" \
  " JOIN followup_team t ON t.followup = f.id WHERE f.patient = p.id), 0))"

int retention_list(struct store *s, const struct conf *conf, int limit, json_t **ret) {
  _json_cleanup_ json_t *due = json_array(), *erased = json_array();
  int64_t now = wall_now().us;
  int err = due && erased ? 0 : -ENOMEM;
  struct rows r = store_query(s,
                              "SELECT * FROM (SELECT p.id, " LAST_CONTACT " AS last FROM patient p) WHERE last < ? AND"
                              " NOT EXISTS(SELECT 1 FROM erasure x WHERE x.what = 'patient' AND x.ref = id AND x.at >"
                              " last) ORDER BY last LIMIT ?",
                              "ii", now - (int64_t)conf->active_months * WALL_MONTH, (int64_t)limit);
  while (err == 0 && rows_next(&r))
    err = json_array_append_new(
              due, json_pack("{s:o, s:s}", "last_contact", json_time(rows_int(&r, 1)), "patient", rows_text(&r, 0))) < 0
              ? -ENOMEM
              : 0;
  int query_err = rows_finish(&r);
  err = err < 0 ? err : query_err;
  r = store_query(s, "SELECT ref, archive, at, by FROM erasure WHERE what = 'patient' ORDER BY id DESC LIMIT ?", "i",
                  (int64_t)limit);
  while (err == 0 && rows_next(&r)) {
    int64_t at = rows_int(&r, 2);
    err = json_array_append_new(erased,
                                json_pack("{s:s, s:o, s:s, s:o, s:s}", "archive", rows_text(&r, 1), "archive_until",
                                          json_time(at + (int64_t)conf->archive_months * WALL_MONTH), "by",
                                          rows_text(&r, 3), "erased", json_time(at), "patient", rows_text(&r, 0))) < 0
              ? -ENOMEM
              : 0;
  }
  query_err = rows_finish(&r);
  err = err < 0 ? err : query_err;
  if (err == 0 && !(*ret = json_pack("{s:O, s:O}", "due", due, "erased", erased)))
    err = -ENOMEM;
  return err;
}

/* ---- what belongs to a patient ---- */

#define STUDIES "(SELECT y.id FROM study y JOIN orders o ON o.id = y.orders WHERE o.patient = ?1)"
#define RECORDS "(SELECT id FROM record WHERE study IN " STUDIES ")"
#define ACQUISITIONS                                    \
  "(SELECT id FROM acquisition WHERE study IN " STUDIES \
  " UNION SELECT acquisition FROM record WHERE study IN " STUDIES ")"
#define FOLLOWUPS "(SELECT id FROM followup WHERE patient = ?1)"

/* Every table that has something of a patient, as the archive has them. */
static const char *const tables[][2] = {
    {"patient_version", "SELECT * FROM patient_version WHERE patient = ?1 ORDER BY version"},
    {"followup", "SELECT * FROM followup WHERE patient = ?1 ORDER BY id"},
    {"followup_team", "SELECT * FROM followup_team WHERE followup IN " FOLLOWUPS " ORDER BY id"},
    {"followup_end", "SELECT * FROM followup_end WHERE followup IN " FOLLOWUPS " ORDER BY followup"},
    {"meeting_followup", "SELECT * FROM meeting_followup WHERE followup IN " FOLLOWUPS " ORDER BY meeting, followup"},
    {"orders", "SELECT * FROM orders WHERE patient = ?1 ORDER BY id"},
    {"study", "SELECT * FROM study WHERE id IN " STUDIES " ORDER BY id"},
    {"acquisition", "SELECT * FROM acquisition WHERE id IN " ACQUISITIONS " ORDER BY id"},
    {"file", "SELECT * FROM file WHERE id IN (SELECT file FROM acquisition WHERE id IN " ACQUISITIONS ") ORDER BY id"},
    {"record", "SELECT * FROM record WHERE study IN " STUDIES " ORDER BY id"},
    {"supersession", "SELECT * FROM supersession WHERE record IN " RECORDS " ORDER BY record"},
    {"reassignment", "SELECT * FROM reassignment WHERE record IN " RECORDS " OR became IN " RECORDS " ORDER BY id"},
    {"unmatched_end", "SELECT * FROM unmatched_end WHERE record IN " RECORDS " ORDER BY unmatched"},
    {"picture", "SELECT * FROM picture WHERE record IN " RECORDS " ORDER BY record, number"},
    {"picture_label", "SELECT * FROM picture_label WHERE record IN " RECORDS " ORDER BY id"},
    {"pupil", "SELECT * FROM pupil WHERE study IN " STUDIES " ORDER BY id"},
    {"assessment", "SELECT * FROM assessment WHERE study IN " STUDIES " ORDER BY id"},
    {"dicom", "SELECT * FROM dicom WHERE record IN " RECORDS " ORDER BY id"},
    {"study_return", "SELECT * FROM study_return WHERE study IN " STUDIES " ORDER BY study"},
    {"referral", "SELECT * FROM referral WHERE study IN " STUDIES " ORDER BY id"},
    {"notice", "SELECT * FROM notice WHERE study IN " STUDIES " ORDER BY id"},
    {"draft", "SELECT * FROM draft WHERE study IN " STUDIES " ORDER BY study, by"},
    {"interpretation", "SELECT * FROM interpretation WHERE study IN " STUDIES " ORDER BY id"},
    {"withdrawal",
     "SELECT * FROM withdrawal WHERE interpretation IN (SELECT id FROM interpretation WHERE study IN " STUDIES
     ") ORDER BY interpretation"},
    {"signing_key",
     "SELECT public, rpps, at FROM signing_key WHERE public IN (SELECT key FROM interpretation WHERE study"
     " IN " STUDIES ") ORDER BY public"},
    {"audit", "SELECT * FROM audit WHERE seq IN (SELECT seq FROM audit_patient WHERE patient = ?1) ORDER BY seq"},
};
#define TABLES (sizeof tables / sizeof *tables)

/* The files that those rows name. */
static const char files_sql[] =
    "SELECT sha256, bytes FROM artefact WHERE sha256 IN (SELECT sha256 FROM record WHERE study IN " STUDIES
    " UNION SELECT samples FROM record WHERE study IN " STUDIES
    " UNION SELECT capture FROM acquisition WHERE id IN " ACQUISITIONS
    " UNION SELECT sha256 FROM picture WHERE record IN " RECORDS
    " UNION SELECT preview FROM picture WHERE record IN " RECORDS
    " UNION SELECT sha256 FROM dicom WHERE record IN " RECORDS
    " UNION SELECT f.sha256 FROM file f JOIN acquisition a ON a.file = f.id WHERE a.id IN " ACQUISITIONS
    ") ORDER BY sha256";

/* ---- the archive ---- */

struct part {
  char name[100];         /* within the archive */
  char sha256[HASH_TEXT]; /* of an artefact; "" = the rows */
  uint64_t bytes;
};

struct retention_archive {
  struct artefacts *artefacts;
  struct buf rows;
  struct part *parts;
  size_t n_parts, cap_parts;
  uint64_t bytes;
  struct hash_stream hash;
  /* where it is being read */
  size_t part;
  uint64_t at; /* within the part: header, contents, padding */
  int fd;
  struct hash_stream contents;
};

static json_t *column_json(const struct rows *r, int column) {
  size_t n;
  if (rows_is_null(r, column))
    return json_null();
  switch (rows_type(r, column)) {
  case ROWS_INT:
    return json_integer(rows_int(r, column));
  case ROWS_TEXT:
    return json_string(rows_text(r, column));
  default: {
    const void *bytes = rows_blob(r, column, &n);
    _free_cleanup_ char *hex = malloc(2 * n + 1);
    if (!hex)
      return NULL;
    str_hex(bytes, n, hex);
    return json_string(hex);
  }
  }
}

static int add_rows(struct buf *b, struct store *s, const char *patient) {
  int err = 0;
  for (size_t i = 0; i < TABLES && err == 0; i++) {
    struct rows r = store_query(s, tables[i][1], "t", patient);
    while (err == 0 && rows_next(&r)) {
      _json_cleanup_ json_t *row = json_object(), *line = NULL;
      for (int c = 0; c < rows_columns(&r); c++)
        err = json_object_set_new(row, rows_name(&r, c), column_json(&r, c)) < 0 ? -ENOMEM : err;
      line = json_pack("{s:O, s:s}", "row", row, "table", tables[i][0]);
      _free_cleanup_ char *text = line ? json_canonical(line, NULL) : NULL;
      if (!text)
        err = -ENOMEM;
      else
        buf_text(b, text), buf_u8(b, '\n');
      err = err < 0 ? err : b->err;
    }
    int query_err = rows_finish(&r);
    err = err < 0 ? err : query_err;
  }
  return err;
}

static int add_part(struct retention_archive *x, const char *name, const char *sha256, uint64_t bytes) {
  if (x->n_parts == x->cap_parts) {
    size_t cap = x->cap_parts ? 2 * x->cap_parts : 16;
    struct part *more = realloc(x->parts, cap * sizeof *more);
    if (!more)
      return -ENOMEM;
    x->parts = more;
    x->cap_parts = cap;
  }
  struct part *p = &x->parts[x->n_parts++];
  *p = (struct part){.bytes = bytes};
  str_copy(p->name, sizeof p->name, name);
  str_copy(p->sha256, sizeof p->sha256, sha256);
  x->bytes += TAR_BLOCK + (bytes + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
  return 0;
}

enum problem retention_archive_start(struct store *s, struct artefacts *a, const char *patient,
                                     struct retention_archive **ret) {
  struct retention_archive *x = calloc(1, sizeof *x);
  if (!x)
    return P_overloaded;
  *x = (struct retention_archive){.artefacts = a, .rows = BUF_INIT(ARCHIVE_ROWS_MAX), .bytes = TAR_END, .fd = -1};
  hash_start(&x->hash);
  int err = add_rows(&x->rows, s, patient);
  if (err == 0)
    err = add_part(x, "patient.jsonl", "", x->rows.len);
  struct rows r = store_query(s, files_sql, "t", patient);
  while (err == 0 && rows_next(&r)) {
    char name[100];
    snprintf(name, sizeof name, "artefacts/%s", rows_text(&r, 0));
    err = add_part(x, name, rows_text(&r, 0), (uint64_t)rows_int(&r, 1));
  }
  int query_err = rows_finish(&r);
  err = err < 0 ? err : query_err;
  if (err < 0) {
    retention_archive_free(x);
    return problem_of_errno(err);
  }
  *ret = x;
  return P_OK;
}

uint64_t retention_archive_bytes(const struct retention_archive *x) {
  return x->bytes;
}

void retention_archive_free(struct retention_archive *x) {
  if (!x)
    return;
  fd_finish(&x->fd);
  buf_finish(&x->rows);
  free(x->parts);
  free(x);
}

/* POSIX.1-1988 ustar: everything in octal, the checksum over the header with itself as spaces. The time is 0, so that
 * the same data makes the same archive. */
static void tar_header(const struct part *p, char h[static TAR_BLOCK]) {
  memset(h, 0, TAR_BLOCK);
  memcpy(h, p->name, strlen(p->name));
  memcpy(h + 100, "0000600", 8);
  memcpy(h + 108, "0000000", 8);
  memcpy(h + 116, "0000000", 8);
  snprintf(h + 124, 12, "%011llo", (unsigned long long)p->bytes);
  memcpy(h + 136, "00000000000", 12);
  memset(h + 148, ' ', 8);
  h[156] = '0';
  memcpy(h + 257, "ustar", 6);
  memcpy(h + 263, "00", 2);
  unsigned sum = 0;
  for (int i = 0; i < TAR_BLOCK; i++)
    sum += (unsigned char)h[i];
  snprintf(h + 148, 8, "%06o", sum & 0777777);
}

static ssize_t read_contents(struct retention_archive *x, const struct part *p, uint64_t at, char *bytes, size_t max) {
  size_t n = p->bytes - at < max ? (size_t)(p->bytes - at) : max;
  if (!p->sha256[0]) {
    memcpy(bytes, x->rows.data + at, n);
    return (ssize_t)n;
  }
  if (at == 0) {
    fd_finish(&x->fd);
    x->fd = artefact_open(x->artefacts, p->sha256);
    hash_start(&x->contents);
  }
  if (x->fd < 0)
    return x->fd;
  ssize_t got = pread(x->fd, bytes, n, (off_t)at);
  if (got <= 0)
    return got < 0 ? -errno : -EUCLEAN;
  hash_add(&x->contents, bytes, (size_t)got);
  if (at + (uint64_t)got == p->bytes) {
    char sha256[HASH_TEXT];
    hash_text(&x->contents, sha256);
    if (strcmp(sha256, p->sha256))
      return -EUCLEAN;
  }
  return got;
}

/* What one part has from x->at on: its header, its contents, zeros up to a whole block. */
static ssize_t read_part(struct retention_archive *x, char *bytes, size_t max) {
  const struct part *p = &x->parts[x->part];
  const uint64_t padded = TAR_BLOCK + (p->bytes + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
  ssize_t n;
  if (x->at < TAR_BLOCK) {
    char h[TAR_BLOCK];
    tar_header(p, h);
    n = (ssize_t)(TAR_BLOCK - x->at < max ? TAR_BLOCK - x->at : max);
    memcpy(bytes, h + x->at, (size_t)n);
  } else if (x->at < TAR_BLOCK + p->bytes) {
    n = read_contents(x, p, x->at - TAR_BLOCK, bytes, max);
  } else {
    n = (ssize_t)(padded - x->at < max ? padded - x->at : max);
    memset(bytes, 0, (size_t)n);
  }
  if (n > 0 && (x->at += (uint64_t)n) == padded) {
    x->at = 0;
    x->part++;
  }
  return n;
}

ssize_t retention_archive_read(struct retention_archive *x, char *bytes, size_t max) {
  ssize_t n;
  if (x->part < x->n_parts) {
    n = read_part(x, bytes, max);
  } else {
    n = (ssize_t)(TAR_END - x->at < max ? TAR_END - x->at : max);
    memset(bytes, 0, (size_t)n);
    x->at += (uint64_t)n;
  }
  if (n > 0)
    hash_add(&x->hash, bytes, (size_t)n);
  return n;
}

void retention_archive_sha256(const struct retention_archive *x, char ret[static HASH_TEXT]) {
  struct hash_stream h = x->hash;
  hash_text(&h, ret);
}

enum problem retention_archived(struct store *s, const struct caller *c, const char *patient, const char *sha256,
                                uint64_t bytes) {
  struct actor by = caller_actor(c);
  int r = store_run(s, "INSERT INTO patient_archive(patient, sha256, bytes, at, by) VALUES(?,?,?,?,?)", "ttiit",
                    patient, sha256, (int64_t)bytes, wall_now().us, caller_person(c));
  if (r >= 0)
    r = audit_add(s, &by, "patient.archive", patient, json_pack("{s:s, s:s}", "archive", sha256, "patient", patient));
  return problem_of_errno(r);
}

/* ---- erasing ---- */

/* Found while the rows that say so are there. An acquisition, and its capture or file, that others' readings come from
 * too is not the patient's alone; nor is an artefact that other rows name. */
#define OTHERS                                                                                                     \
  "(EXISTS(SELECT 1 FROM record r WHERE r.acquisition = a.id AND r.study NOT IN (SELECT CAST(id AS INTEGER) FROM"  \
  " erasing WHERE kind = 'study')) OR EXISTS(SELECT 1 FROM unmatched u WHERE u.acquisition = a.id AND u.id NOT IN" \
  " (SELECT unmatched FROM unmatched_end WHERE what <> 'attached' OR record IN (SELECT CAST(id AS INTEGER) FROM"   \
  " erasing WHERE kind = 'record'))))"
#define OF(kind_) "(SELECT CAST(id AS INTEGER) FROM erasing WHERE kind = '" kind_ "')"

static const char *const find[] = {
    "INSERT INTO erasing SELECT 'study', y.id FROM study y JOIN orders o ON o.id = y.orders WHERE o.patient = ?1",
    "INSERT INTO erasing SELECT 'record', id FROM record WHERE study IN " OF("study"),
    "INSERT INTO erasing SELECT 'acquisition', id FROM acquisition a WHERE (study IN " OF(
        "study") " OR id IN (SELECT acquisition FROM record WHERE id IN " OF("record") ")) AND NOT " OTHERS,
    "INSERT INTO erasing SELECT DISTINCT 'file', file FROM acquisition WHERE id IN " OF(
        "acquisition") " AND file IS NOT NULL",
    "INSERT OR IGNORE INTO erasing SELECT 'artefact', sha256 FROM record WHERE id IN " OF("record"),
    "INSERT OR IGNORE INTO erasing SELECT 'artefact', samples FROM record WHERE samples IS NOT NULL AND id IN " OF(
        "record"),
    "INSERT OR IGNORE INTO erasing SELECT 'artefact', sha256 FROM picture WHERE record IN " OF("record"),
    "INSERT OR IGNORE INTO erasing SELECT 'artefact', preview FROM picture WHERE preview IS NOT NULL AND record IN " OF(
        "record"),
    "INSERT OR IGNORE INTO erasing SELECT 'artefact', sha256 FROM dicom WHERE sha256 IS NOT NULL AND record IN " OF(
        "record"),
    "INSERT OR IGNORE INTO erasing SELECT 'artefact', capture FROM acquisition WHERE capture IS NOT NULL AND id IN " OF(
        "acquisition"),
    "INSERT OR IGNORE INTO erasing SELECT 'artefact', sha256 FROM file WHERE id IN " OF("file"),
};

/* Those that refer come first. What is left of acquisitions with a study says when and by whom, not what. */
static const char *const erase[] = {
    "DELETE FROM draft WHERE study IN " OF("study"),
    "DELETE FROM notice_end WHERE notice IN (SELECT id FROM notice WHERE study IN " OF("study") ")",
    "DELETE FROM notice WHERE study IN " OF("study"),
    "DELETE FROM study_return WHERE study IN " OF("study"),
    "DELETE FROM referral WHERE study IN " OF("study"),
    "DELETE FROM withdrawal WHERE interpretation IN (SELECT id FROM interpretation WHERE study IN " OF("study") ")",
    "DELETE FROM interpretation WHERE study IN " OF("study"),
    "DELETE FROM assessment WHERE study IN " OF("study"),
    "DELETE FROM pupil WHERE study IN " OF("study"),
    "DELETE FROM dicom WHERE record IN " OF("record"),
    "DELETE FROM picture_label WHERE record IN " OF("record"),
    "DELETE FROM picture WHERE record IN " OF("record"),
    "DELETE FROM reassignment WHERE record IN " OF("record") " OR became IN " OF("record"),
    "DELETE FROM unmatched_end WHERE record IN " OF(
        "record") " OR unmatched IN (SELECT id FROM unmatched WHERE acquisition IN " OF("acquisition") ")",
    "DELETE FROM unmatched WHERE acquisition IN " OF("acquisition"),
    "DELETE FROM supersession WHERE record IN " OF("record"),
    "DELETE FROM record WHERE id IN " OF("record"),
    "DELETE FROM acquisition WHERE file IS NOT NULL AND id IN " OF("acquisition"),
    "UPDATE acquisition SET capture = NULL, reason = NULL WHERE study IS NOT NULL AND id IN " OF("acquisition"),
    "DELETE FROM file WHERE id IN " OF("file"),
    "UPDATE study SET comment = NULL, clean = NULL, height_mm = NULL WHERE id IN " OF("study"),
    "DELETE FROM meeting_followup WHERE followup IN (SELECT id FROM followup WHERE patient = ?1)",
    "UPDATE study SET claim = NULL, claim_by = NULL, claim_expires = NULL, state = iif(state IN ('interpreted', "
    "'returned',"
    " 'cancelled'), state, 'cancelled') WHERE id IN " OF("study"),
    "INSERT INTO patient_version(patient, version, family, given, birth_date, sex, at) SELECT id, version + 1, '', '',"
    " '1850-01-01', 'U', 0 FROM patient WHERE id = ?1",
    "UPDATE patient SET version = version + 1 WHERE id = ?1",
    "DELETE FROM patient_version WHERE patient = ?1 AND version < (SELECT version FROM patient WHERE id = ?1)",
    /* What others name too stays. */
    "DELETE FROM erasing WHERE kind = 'artefact' AND (id IN (SELECT sha256 FROM record) OR id IN (SELECT samples FROM"
    " record) OR id IN (SELECT capture FROM acquisition) OR id IN (SELECT sha256 FROM picture) OR id IN (SELECT preview"
    " FROM picture) OR id IN (SELECT sha256 FROM dicom) OR id IN (SELECT sha256 FROM unmatched) OR id IN (SELECT "
    "samples"
    " FROM unmatched) OR id IN (SELECT sha256 FROM file))",
    "DELETE FROM artefact WHERE sha256 IN (SELECT id FROM erasing WHERE kind = 'artefact')",
};

static int run_all(struct store *s, const char *const *sql, size_t n, const char *patient) {
  int r = 0;
  for (size_t i = 0; i < n && r >= 0; i++)
    r = strstr(sql[i], "?1") ? store_run(s, sql[i], "t", patient) : store_run(s, sql[i], "");
  return r;
}

static enum problem erase_check(struct store *s, const struct conf *conf, const char *patient, const char *sha256) {
  struct rows r =
      store_query(s,
                  "SELECT " LAST_CONTACT ", coalesce((SELECT max(at) FROM patient_archive WHERE patient ="
                  " p.id AND sha256 = ?2), 0), NOT EXISTS(SELECT 1 FROM erasure x WHERE x.what = 'patient' AND"
                  " x.ref = p.id AND x.at > " LAST_CONTACT "), EXISTS(SELECT 1 FROM study y JOIN orders o ON"
                  " o.id = y.orders WHERE o.patient = p.id AND y.state = 'acquiring')"
                  " FROM patient p WHERE p.id = ?1",
                  "tt", patient, sha256);
  enum problem p = P_not_found;
  if (rows_next(&r))
    p = !rows_int(&r, 2) ? P_not_found
        : rows_int(&r, 3) || rows_int(&r, 0) >= wall_now().us - (int64_t)conf->active_months * WALL_MONTH
            ? P_retention_not_due
        : rows_int(&r, 1) <= rows_int(&r, 0) ? P_archive_missing
                                             : P_OK;
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

static int list_gone(struct store *s, json_t *list) {
  struct rows r = store_query(s, "SELECT id FROM erasing WHERE kind = 'artefact'", "");
  int err = list ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r))
    err = json_array_append_new(list, json_string(rows_text(&r, 0))) < 0 ? -ENOMEM : 0;
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

enum problem retention_erase(struct store *s, const struct conf *conf, const struct caller *c, const char *patient,
                             const char *sha256, json_t **ret_gone) {
  struct actor by = caller_actor(c);
  _json_cleanup_ json_t *gone = json_array();
  enum problem p = erase_check(s, conf, patient, sha256);
  if (p != P_OK)
    return p;
  int r = store_run(s, "INSERT INTO erasure(what, ref, archive, at, by) VALUES('patient',?,?,?,?)", "ttit", patient,
                    sha256, wall_now().us, caller_person(c));
  const int64_t id = r < 0 ? 0 : store_last_id(s);
  if (r >= 0)
    r = run_all(s, find, sizeof find / sizeof *find, patient);
  if (r >= 0)
    r = run_all(s, erase, sizeof erase / sizeof *erase, patient);
  if (r >= 0)
    r = list_gone(s, gone);
  if (r >= 0)
    r = store_run(s, "DELETE FROM erasing", "");
  if (r >= 0)
    r = store_run(s, "UPDATE erasure SET done = 1 WHERE id = ?", "i", id);
  if (r >= 0)
    r = audit_add(s, &by, "patient.erase", patient, json_pack("{s:s, s:s}", "archive", sha256, "patient", patient));
  if (r >= 0)
    r = change_add(s, "patient", patient, NULL);
  if (r >= 0)
    *ret_gone = json_incref(gone);
  return problem_of_errno(r);
}
