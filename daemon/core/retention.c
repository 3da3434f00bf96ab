#include "retention.h"

#include "blobs.h"
#include "buf.h"
#include "capture.h"
#include "log.h"
#include "reading.h"
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

/* The patient `p`: known, ordered for, acquired, read, in whose charge, spoken of; a draft that somebody went on with.
 */
#define ORDERED "orders o JOIN study y ON y.orders = o.id"
#define LAST_CONTACT                                                                                                  \
  "max((SELECT max(at) FROM patient_version WHERE patient = p.id), coalesce((SELECT max(max(o.at, y.updated)) FROM"   \
  " " ORDERED " WHERE o.patient = p.id), 0), coalesce((SELECT max(d.at) FROM " ORDERED " JOIN draft d ON d.study ="   \
  " y.id WHERE o.patient = p.id), 0), coalesce((SELECT max(max(t.at, coalesce(e.at, 0))) FROM followup f JOIN"        \
  " followup_team t ON t.followup = f.id LEFT JOIN followup_end e ON e.followup = f.id WHERE f.patient = p.id), 0),"  \
  " coalesce((SELECT max(m.at) FROM followup f JOIN meeting_followup x ON x.followup = f.id JOIN meeting m ON m.id =" \
  " x.meeting WHERE f.patient = p.id), 0))"
/* The erasure itself ends what was open, at its own time. */
#define IS_ERASED(last) "EXISTS(SELECT 1 FROM erasure x WHERE x.what = 'patient' AND x.ref = p.id AND x.at >= " last ")"

int retention_list(struct store *s, const struct conf *conf, int limit, json_t **ret) {
  _json_cleanup_ json_t *due = json_array(), *erased = json_array();
  int64_t now = wall_now().us;
  int err = due && erased ? 0 : -ENOMEM;
  struct rows r =
      store_query(s,
                  "SELECT * FROM (SELECT p.id, " LAST_CONTACT " AS last FROM patient p) p WHERE last < ? AND"
                  " NOT " IS_ERASED("last") " ORDER BY last, id LIMIT ?",
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
/* A file is decoded by acquisitions of its own, one each time. */
#define FILES                                                                                               \
  "(SELECT a.file FROM acquisition a JOIN record r ON r.acquisition = a.id WHERE a.file IS NOT NULL AND r." \
  "study IN " STUDIES ")"
#define ACQUISITIONS                                                                             \
  "(SELECT id FROM acquisition WHERE study IN " STUDIES " UNION SELECT acquisition FROM record " \
  "WHERE study IN " STUDIES " UNION SELECT id FROM acquisition WHERE file IN " FILES ")"
/* Rows of the tray that became the patient's readings, or that nobody's will come of any more. */
#define TRAY                                                                                                   \
  "(SELECT e.unmatched FROM unmatched_end e JOIN unmatched u ON u.id = e.unmatched WHERE e.record IN " RECORDS \
  " OR (e.record IS NULL AND u.acquisition IN " ACQUISITIONS "))"
#define FOLLOWUPS "(SELECT id FROM followup WHERE patient = ?1)"

/* Every table that has something of a patient, as the archive has them. */
static const char *const tables[][2] = {
    {"patient", "SELECT * FROM patient WHERE id = ?1"},
    {"patient_version", "SELECT * FROM patient_version WHERE patient = ?1 ORDER BY version"},
    {"followup", "SELECT * FROM followup WHERE patient = ?1 ORDER BY id"},
    {"followup_team", "SELECT * FROM followup_team WHERE followup IN " FOLLOWUPS " ORDER BY id"},
    {"followup_end", "SELECT * FROM followup_end WHERE followup IN " FOLLOWUPS " ORDER BY followup"},
    {"meeting", /* its minutes are others' too */
     "SELECT id, gp, nurse, held, at, by FROM meeting WHERE id IN (SELECT meeting FROM meeting_followup WHERE followup"
     " IN " FOLLOWUPS ") ORDER BY id"},
    {"meeting_followup", "SELECT * FROM meeting_followup WHERE followup IN " FOLLOWUPS " ORDER BY meeting, followup"},
    {"orders", "SELECT * FROM orders WHERE patient = ?1 ORDER BY id"},
    {"study", "SELECT * FROM study WHERE id IN " STUDIES " ORDER BY id"},
    {"acquisition", "SELECT * FROM acquisition WHERE id IN " ACQUISITIONS " ORDER BY id"},
    {"file", "SELECT * FROM file WHERE id IN " FILES " ORDER BY id"},
    {"record", "SELECT * FROM record WHERE study IN " STUDIES " ORDER BY id"},
    {"supersession", "SELECT * FROM supersession WHERE record IN " RECORDS " ORDER BY record"},
    {"reassignment", "SELECT * FROM reassignment WHERE record IN " RECORDS " OR became IN " RECORDS " ORDER BY id"},
    {"unmatched", "SELECT * FROM unmatched WHERE id IN " TRAY " ORDER BY id"},
    {"unmatched_end", "SELECT * FROM unmatched_end WHERE unmatched IN " TRAY " ORDER BY unmatched"},
    {"picture", "SELECT * FROM picture WHERE record IN " RECORDS " ORDER BY record, number"},
    {"picture_label", "SELECT * FROM picture_label WHERE record IN " RECORDS " ORDER BY id"},
    {"pupil", "SELECT * FROM pupil WHERE study IN " STUDIES " ORDER BY id"},
    {"assessment", "SELECT * FROM assessment WHERE study IN " STUDIES " ORDER BY id"},
    {"dicom", "SELECT * FROM dicom WHERE record IN " RECORDS " ORDER BY id"},
    {"cancellation", "SELECT * FROM cancellation WHERE study IN " STUDIES " ORDER BY study"},
    {"study_return", "SELECT * FROM study_return WHERE study IN " STUDIES " ORDER BY study"},
    {"referral", "SELECT * FROM referral WHERE study IN " STUDIES " ORDER BY id"},
    {"notice", "SELECT * FROM notice WHERE study IN " STUDIES " ORDER BY id"},
    {"notice_end",
     "SELECT * FROM notice_end WHERE notice IN (SELECT id FROM notice WHERE study IN " STUDIES ") ORDER BY notice"},
    {"draft", "SELECT * FROM draft WHERE study IN " STUDIES " ORDER BY study, by"},
    {"interpretation", "SELECT * FROM interpretation WHERE study IN " STUDIES " ORDER BY id"},
    {"withdrawal",
     "SELECT * FROM withdrawal WHERE interpretation IN (SELECT id FROM interpretation WHERE study IN " STUDIES
     ") ORDER BY interpretation"},
    {"signing_key",
     "SELECT public, rpps, at FROM signing_key WHERE public IN (SELECT key FROM interpretation WHERE study"
     " IN " STUDIES ") ORDER BY public"},
};
#define TABLES (sizeof tables / sizeof *tables)

/* What was done, which goes on while an archive is made: no change of the patient's data. */
static const char *const trail[][2] = {
    {"audit", "SELECT * FROM audit WHERE seq IN (SELECT seq FROM audit_patient WHERE patient = ?1) ORDER BY seq"},
};

/* The files that those rows name, */
static const char files_sql[] =
    "SELECT sha256, bytes FROM artefact WHERE sha256 IN (SELECT sha256 FROM record WHERE study IN " STUDIES
    " UNION SELECT samples FROM record WHERE study IN " STUDIES
    " UNION SELECT capture FROM acquisition WHERE id IN " ACQUISITIONS
    " UNION SELECT sha256 FROM unmatched WHERE id IN " TRAY " UNION SELECT samples FROM unmatched WHERE id IN " TRAY
    " UNION SELECT sha256 FROM picture WHERE record IN " RECORDS
    " UNION SELECT preview FROM picture WHERE record IN " RECORDS " UNION SELECT sha256 FROM dicom WHERE record"
    " IN " RECORDS " UNION SELECT sha256 FROM file WHERE id IN " FILES ") ORDER BY sha256";

/* and those that name more of them in their own text. */
static const char captures_sql[] =
    "SELECT capture FROM acquisition WHERE capture IS NOT NULL AND id IN " ACQUISITIONS " ORDER BY id";
#define NOBODYS                                                                                \
  "SELECT sha256 FROM unmatched WHERE sha256 IS NOT NULL AND id NOT IN (SELECT unmatched FROM" \
  " unmatched_end WHERE record IS NOT NULL) AND id IN "
static const char strays_sql[] = NOBODYS TRAY " ORDER BY id";

/* One more of them, unless it is gone: a recording that another patient's reading comes from too outlives this one. */
static int name_file(struct store *s, const char *sha256, json_t *files) {
  struct rows r = store_query(s, "SELECT bytes FROM artefact WHERE sha256 = ?", "t", sha256);
  int err = rows_next(&r) && json_object_set_new(files, sha256, json_integer(rows_int(&r, 0))) < 0 ? -ENOMEM : 0;
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

/* What an acquisition brought, also one that made no reading: pictures that no row names. */
static int named_by_capture(struct store *s, struct artefacts *a, const char *sha256, json_t *files) {
  uint8_t *capture = NULL;
  size_t n;
  struct blobs *blobs = NULL;
  int r = artefact_get(a, sha256, CAPTURE_TEXT_MAX, &capture, &n);
  if (r == 0)
    r = blobs_new(a, (const char *)capture, n, -1, &blobs);
  if (r == -EFBIG) /* it names more than there ever was; then nothing of it was stored (session.c) */
    r = 0;
  for (size_t i = 0; r == 0 && blobs && i < blobs_count(blobs); i++)
    r = name_file(s, blobs_sha256(blobs, i), files);
  blobs_free(blobs);
  free(capture);
  return r;
}

/* A reading that became nobody's: its pictures have no rows. */
static int named_by_reading(struct store *s, struct artefacts *a, const char *sha256, json_t *files) {
  _json_cleanup_ json_t *record = NULL;
  int r = reading_load(a, sha256, &record);
  size_t i;
  json_t *picture;
  json_array_foreach(json_object_get(json_object_get(record, "acquired"), "pictures"), i, picture) {
    const char *preview = json_text(json_object_get(picture, "preview"), "sha256");
    if (r == 0)
      r = name_file(s, json_text(picture, "sha256"), files);
    if (r == 0 && preview)
      r = name_file(s, preview, files);
  }
  return r;
}

/* Adds {SHA-256: bytes}, for each row of a query the files that its artefact names. `patient` NULL: it has no ?1. */
static int named_by(struct store *s, struct artefacts *a, const char *sql, const char *patient,
                    int (*named)(struct store *, struct artefacts *, const char *, json_t *), json_t *files) {
  struct rows r = store_query(s, sql, patient ? "t" : "", patient);
  int err = 0;
  while (err == 0 && rows_next(&r))
    err = named(s, a, rows_text(&r, 0), files);
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

/* ---- the archive ---- */

struct part {
  char name[100];         /* within the archive */
  char sha256[HASH_TEXT]; /* of an artefact; "" = the rows */
  uint64_t bytes;
};

struct retention_archive {
  struct artefacts *artefacts;
  char patient[PATIENT_ID_MAX + 1];
  char contents[HASH_TEXT]; /* the hash of the rows, less the trail's */
  struct buf rows;
  struct part *parts;
  size_t n_parts, cap_parts;
  uint64_t bytes;
  struct hash_stream hash;
  /* where it is being read */
  size_t part;
  uint64_t at; /* within the part: header, contents, padding */
  int fd;
  struct hash_stream artefact;
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

static int add_row(struct buf *b, const struct rows *r, const char *table) {
  _json_cleanup_ json_t *row = json_object(), *line = NULL;
  for (int c = 0; c < rows_columns(r); c++)
    if (json_object_set_new(row, rows_name(r, c), column_json(r, c)) < 0)
      return -ENOMEM;
  line = json_pack("{s:O, s:s}", "row", row, "table", table);
  _free_cleanup_ char *text = line ? json_canonical(line, NULL) : NULL;
  if (!text)
    return -ENOMEM;
  buf_text(b, text);
  return buf_u8(b, '\n');
}

static int add_rows(struct buf *b, struct store *s, const char *const (*from)[2], size_t n, const char *patient) {
  int err = 0;
  for (size_t i = 0; i < n && err == 0; i++) {
    struct rows r = store_query(s, from[i][1], "t", patient);
    while (err == 0 && rows_next(&r))
      err = add_row(b, &r, from[i][0]);
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

static int find_files(struct store *s, struct artefacts *a, const char *patient, json_t *files) {
  struct rows r = store_query(s, files_sql, "t", patient);
  int err = files ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r))
    err = json_object_set_new(files, rows_text(&r, 0), json_integer(rows_int(&r, 1))) < 0 ? -ENOMEM : 0;
  int query_err = rows_finish(&r);
  err = err < 0 ? err : query_err;
  if (err == 0)
    err = named_by(s, a, captures_sql, patient, named_by_capture, files);
  return err == 0 ? named_by(s, a, strays_sql, patient, named_by_reading, files) : err;
}

static int archive_make(struct retention_archive *x, struct store *s) {
  _json_cleanup_ json_t *files = json_object();
  int r = add_rows(&x->rows, s, tables, TABLES, x->patient);
  if (r == 0)
    hash_sha256_text(x->rows.data, x->rows.len, x->contents);
  if (r == 0)
    r = add_rows(&x->rows, s, trail, sizeof trail / sizeof *trail, x->patient);
  if (r == 0)
    r = find_files(s, x->artefacts, x->patient, files);
  if (r == 0)
    r = add_part(x, "patient.jsonl", "", x->rows.len);
  const char *sha256;
  json_t *bytes;
  json_object_foreach(files, sha256, bytes) {
    char name[100];
    snprintf(name, sizeof name, "artefacts/%s", sha256);
    if (r == 0)
      r = add_part(x, name, sha256, (uint64_t)json_integer_value(bytes));
  }
  return r;
}

enum problem retention_archive_start(struct store *s, struct artefacts *a, const char *patient,
                                     struct retention_archive **ret) {
  struct patient known;
  enum problem p = patient_find(s, patient, &known);
  if (p != P_OK)
    return p;
  struct retention_archive *x = calloc(1, sizeof *x);
  if (!x)
    return P_overloaded;
  *x = (struct retention_archive){.artefacts = a, .rows = BUF_INIT(ARCHIVE_ROWS_MAX), .bytes = TAR_END, .fd = -1};
  memcpy(x->patient, known.id, sizeof x->patient);
  hash_start(&x->hash);
  int r = archive_make(x, s);
  if (r < 0) {
    retention_archive_free(x);
    return problem_of_errno(r);
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
    hash_start(&x->artefact);
  }
  if (x->fd < 0)
    return x->fd;
  ssize_t got = pread(x->fd, bytes, n, (off_t)at);
  if (got <= 0)
    return got < 0 ? -errno : -EUCLEAN;
  hash_add(&x->artefact, bytes, (size_t)got);
  if (at + (uint64_t)got == p->bytes) {
    char sha256[HASH_TEXT];
    hash_text(&x->artefact, sha256);
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

enum problem retention_archived(struct store *s, const struct caller *c, const struct retention_archive *x) {
  struct actor by = caller_actor(c);
  char sha256[HASH_TEXT];
  if (x->part < x->n_parts || x->at < TAR_END)
    return P_archive_missing;
  retention_archive_sha256(x, sha256);
  int r = store_run(s, "INSERT INTO patient_archive(patient, sha256, contents, bytes, at, by) VALUES(?,?,?,?,?,?)",
                    "tttiit", x->patient, sha256, x->contents, (int64_t)x->bytes, wall_now().us, caller_person(c));
  if (r >= 0)
    r = audit_add(s, &by, "patient.archive", x->patient,
                  json_pack("{s:s, s:s}", "archive", sha256, "patient", x->patient));
  return problem_of_errno(r);
}

/* ---- erasing ---- */

#define OF(kind_) "(SELECT CAST(id AS INTEGER) FROM erasing WHERE kind = '" kind_ "')"
/* What is another patient's, or may still become so, comes from the acquisition `a` too: then it stays, with its
 * capture or file. */
#define OTHERS                                                                     \
  "(EXISTS(SELECT 1 FROM record r WHERE r.acquisition = a.id AND r.id NOT IN " OF( \
      "record") ") OR EXISTS(SELECT 1"                                             \
                " FROM unmatched u WHERE u.acquisition = a.id AND u.id NOT IN (SELECT unmatched FROM unmatched_end)))"

/* Found while the rows that say so are there. */
static const char *const find[] = {
    "INSERT INTO erasing VALUES('patient', ?1)",
    "INSERT INTO erasing SELECT 'study', id FROM study WHERE id IN " STUDIES,
    "INSERT INTO erasing SELECT 'record', id FROM record WHERE study IN " OF("study"),
    /* What was taken for another's, and became the patient's. */
    "INSERT OR IGNORE INTO erasing SELECT 'record', r.id FROM record r WHERE r.acquisition IN (SELECT acquisition FROM"
    " record WHERE id IN " OF("record") ") AND " RECORD_NOW("r.id") " IN " OF("record"),
    "INSERT INTO erasing SELECT 'acquisition', id FROM acquisition a WHERE file IS NULL AND (study IN " OF(
        "study") " OR id IN (SELECT acquisition FROM record WHERE id IN " OF("record") ")) AND NOT " OTHERS,
    "INSERT INTO erasing SELECT 'file', id FROM file f WHERE id IN " FILES
    " AND NOT EXISTS(SELECT 1 FROM acquisition a WHERE a.file = f.id AND " OTHERS ")",
    "INSERT INTO erasing SELECT 'acquisition', id FROM acquisition WHERE file IN " OF("file"),
    "INSERT INTO erasing SELECT 'unmatched', id FROM unmatched WHERE acquisition IN " OF(
        "acquisition") " OR id IN (SELECT unmatched FROM unmatched_end WHERE record IN " OF("record") ")",
    "INSERT OR IGNORE INTO erasing SELECT 'artefact', sha256 FROM artefact WHERE sha256 IN (SELECT sha256 "
    "FROM record"
    " WHERE id IN " OF("record") " UNION SELECT samples FROM record WHERE id IN " OF(
        "record") " UNION SELECT sha256 "
                  "FROM picture WHERE "
                  "record IN " OF("record") " UNION SELECT preview FROM picture WHERE record IN " OF(
                      "recor"
                      "d") " UNION SELECT sha256 FROM dicom WHERE record IN " OF("record") " UNION SELECT "
                                                                                           "sha256 FROM "
                                                                                           "unmatched "
                                                                                           "WHERE id "
                                                                                           "IN " OF(
                                                                                               "unmatc"
                                                                                               "hed") " UNION"
                                                                                                      " SELEC"
                                                                                                      "T "
                                                                                                      "sample"
                                                                                                      "s "
                                                                                                      "FROM "
                                                                                                      "unmatc"
                                                                                                      "hed "
                                                                                                      "WHERE "
                                                                                                      "id "
                                                                                                      "IN"
                                                                                                      " " OF(
                                                                                                          "unmatche"
                                                                                                          "d") " UNI"
                                                                                                               "ON "
                                                                                                               "SELE"
                                                                                                               "CT "
                                                                                                               "capt"
                                                                                                               "ure "
                                                                                                               "FROM"
                                                                                                               " acq"
                                                                                                               "uisi"
                                                                                                               "tion"
                                                                                                               " WHE"
                                                                                                               "RE "
                                                                                                               "id "
                                                                                                               "IN"
                                                                                                               " " OF(
                                                                                                                   "acq"
                                                                                                                   "uis"
                                                                                                                   "iti"
                                                                                                                   "on") " UNION SELECT sha256 FROM "
                                                                                                                         "file WHERE id IN " OF(
                                                                                                                             "file") ")",
};
static const char erased_captures_sql[] =
    "SELECT capture FROM acquisition WHERE capture IS NOT NULL AND id IN " OF("acquisition") " ORDER BY id";
static const char erased_strays_sql[] = NOBODYS OF("unmatched") " ORDER BY id";

/* Those that refer come first. */
static const char *const erase[] = {
    "DELETE FROM draft WHERE study IN " OF("study"),
    "DELETE FROM notice_end WHERE notice IN (SELECT id FROM notice WHERE study IN " OF("study") ")",
    "DELETE FROM notice WHERE study IN " OF("study"),
    "DELETE FROM cancellation WHERE study IN " OF("study"),
    "DELETE FROM study_return WHERE study IN " OF("study"),
    "DELETE FROM referral WHERE study IN " OF("study"),
    "DELETE FROM withdrawal WHERE interpretation IN (SELECT id FROM interpretation WHERE study IN " OF("study") ")",
    "DELETE FROM interpretation WHERE study IN " OF("study"),
    "DELETE FROM assessment WHERE study IN " OF("study"),
    "DELETE FROM pupil WHERE study IN " OF("study"),
    "DELETE FROM dicom WHERE record IN " OF("record"),
    "DELETE FROM picture_label WHERE record IN " OF("record"),
    "DELETE FROM picture WHERE record IN " OF("record"),
    /* What was the patient's only between two others stays whose it is. */
    "INSERT INTO reassignment(record, became, at, by, reason) SELECT x.record, " RECORD_NOW(
        "x.record") ", x.at, x.by, '' FROM reassignment x WHERE x.became IN " OF("record") " AND x.record NOT "
                                                                                           "IN " OF("record"),
    "DELETE FROM reassignment WHERE record IN " OF("record") " OR became IN " OF("record"),
    "DELETE FROM unmatched_end WHERE unmatched IN " OF("unmatched"),
    "DELETE FROM unmatched WHERE id IN " OF("unmatched"),
    "DELETE FROM supersession WHERE record IN " OF("record"),
    "DELETE FROM record WHERE id IN " OF("record"),
    "DELETE FROM acquisition WHERE file IN " OF("file"),
    "DELETE FROM file WHERE id IN " OF("file"),
    /* What is left of acquisitions with a study says when and by whom, not what. */
    "UPDATE acquisition SET capture = NULL WHERE capture IS NOT NULL AND id IN " OF("acquisition"),
    "UPDATE acquisition SET reason = NULL WHERE reason IS NOT NULL AND study IN " OF("study"),
    "UPDATE study SET comment = NULL, clean = NULL, height_mm = NULL, claim = NULL, claim_by = NULL, claim_expires "
    "="
    " NULL, version = version + 1, state = iif(state IN ('interpreted', 'returned'), state, 'cancelled') WHERE id "
    "IN"
    " " OF("study"),
    "INSERT INTO change(at, kind, ref, state) SELECT (SELECT at FROM erasure WHERE NOT done AND what = 'patient'), "
    "'study', 'S-' || id,"
    " state FROM study WHERE id IN " OF("study"),
    "DELETE FROM meeting_followup WHERE followup IN " FOLLOWUPS,
    "UPDATE followup_team SET reason = NULL WHERE reason IS NOT NULL AND followup IN " FOLLOWUPS,
    "UPDATE followup_end SET reason = '' WHERE followup IN " FOLLOWUPS,
    "INSERT INTO followup_end SELECT f.id, x.at, x.by, '' FROM followup f, erasure x WHERE NOT x.done AND x.what = "
    "'patient' AND f.patient ="
    " ?1 AND f.id NOT IN (SELECT followup FROM followup_end)",
    /* Not known any more; nobody has seen the patient at 0. */
    "INSERT INTO patient_version(patient, version, family, given, birth_date, sex, at) SELECT id, version + 1, '', "
    "'',"
    " '1850-01-01', 'U', 0 FROM patient WHERE id = ?1",
    "UPDATE patient SET version = version + 1 WHERE id = ?1",
    "DELETE FROM patient_version WHERE patient = ?1 AND version < (SELECT version FROM patient WHERE id = ?1)",
    /* Answers that are kept to be given again. An id has no character that JSON would write otherwise. */
    "DELETE FROM answered WHERE instr(body, '\"' || ?1 || '\"') OR instr(patients, '\"' || ?1 || '\"')",
    /* What others name too stays. */
    "DELETE FROM erasing WHERE kind = 'artefact' AND id IN (SELECT sha256 FROM record UNION SELECT samples FROM "
    "record"
    " UNION SELECT capture FROM acquisition UNION SELECT sha256 FROM picture UNION SELECT preview FROM picture "
    "UNION"
    " SELECT sha256 FROM dicom UNION SELECT sha256 FROM unmatched UNION SELECT samples FROM unmatched UNION SELECT"
    " sha256 FROM file)",
    "DELETE FROM artefact WHERE sha256 IN (SELECT id FROM erasing WHERE kind = 'artefact')",
    "DELETE FROM erasing WHERE kind NOT IN ('patient', 'artefact')",
};

static int run_all(struct store *s, const char *const *sql, size_t n, const char *patient) {
  int r = 0;
  for (size_t i = 0; i < n && r >= 0; i++)
    r = strstr(sql[i], "?1") ? store_run(s, sql[i], "t", patient) : store_run(s, sql[i], "");
  return r < 0 ? r : 0;
}

/* Pictures and previews that no row names. */
static int find_named(struct store *s, struct artefacts *a) {
  _json_cleanup_ json_t *files = json_object();
  int r = files ? named_by(s, a, erased_captures_sql, NULL, named_by_capture, files) : -ENOMEM;
  if (r == 0)
    r = named_by(s, a, erased_strays_sql, NULL, named_by_reading, files);
  const char *sha256;
  json_t *bytes;
  json_object_foreach(files, sha256, bytes) {
    if (r >= 0)
      r = store_run(s, "INSERT OR IGNORE INTO erasing VALUES('artefact', ?)", "t", sha256);
  }
  return r < 0 ? r : 0;
}

/* Whether it may be erased, but for the archive. */
static enum problem erase_check(struct store *s, const struct conf *conf, const char *patient) {
  struct rows r = store_query(
      s,
      "SELECT " LAST_CONTACT
      ", " IS_ERASED(LAST_CONTACT) ", EXISTS(SELECT 1 FROM study WHERE state = 'acquiring' AND"
                                   " id IN " STUDIES ") OR EXISTS(SELECT 1 FROM file WHERE pending AND id IN " FILES
                                   "), EXISTS(SELECT 1 FROM"
                                   " erasing WHERE kind = 'patient') FROM patient p WHERE p.id = ?1",
      "t", patient);
  enum problem p = P_not_found;
  if (rows_next(&r))
    p = rows_int(&r, 1) ? P_not_found
        : rows_int(&r, 2) || rows_int(&r, 0) >= wall_now().us - (int64_t)conf->active_months * WALL_MONTH
            ? P_retention_not_due
        : rows_int(&r, 3) ? P_overloaded
                          : P_OK;
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

/* The archive with this hash has all that there is now. */
static enum problem archive_check(struct store *s, const char *patient, const char *sha256) {
  _buf_cleanup_ struct buf now = BUF_INIT(ARCHIVE_ROWS_MAX);
  char contents[HASH_TEXT];
  int err = add_rows(&now, s, tables, TABLES, patient);
  if (err < 0)
    return problem_of_errno(err);
  hash_sha256_text(now.data, now.len, contents);
  struct rows r = store_query(s, "SELECT 1 FROM patient_archive WHERE patient = ? AND sha256 = ? AND contents = ?",
                              "ttt", patient, sha256, contents);
  enum problem p = rows_next(&r) ? P_OK : P_archive_missing;
  err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

static int count_files(struct store *s, int64_t *ret) {
  struct rows r = store_query(s, "SELECT count(*) FROM erasing WHERE kind = 'artefact'", "");
  *ret = rows_next(&r) ? rows_int(&r, 0) : 0;
  return rows_finish(&r);
}

enum problem retention_erase(struct store *s, struct artefacts *a, const struct conf *conf, const struct caller *c,
                             const char *patient, const char *sha256, int64_t *ret_files) {
  struct actor by = caller_actor(c);
  int64_t files = 0;
  enum problem p = erase_check(s, conf, patient);
  if (p == P_OK)
    p = archive_check(s, patient, sha256);
  if (p != P_OK)
    return p;
  int r = store_run(s, "INSERT INTO erasure(what, ref, archive, at, by) VALUES('patient',?,?,?,?)", "ttit", patient,
                    sha256, wall_now().us, caller_person(c));
  if (r >= 0)
    r = run_all(s, find, sizeof find / sizeof *find, patient);
  if (r >= 0)
    r = find_named(s, a);
  if (r >= 0)
    r = run_all(s, erase, sizeof erase / sizeof *erase, patient);
  if (r >= 0)
    r = count_files(s, &files);
  if (r >= 0)
    r = store_run(s, "UPDATE erasure SET done = 1 WHERE NOT done AND what = 'patient'", "");
  if (r >= 0)
    r = audit_add(s, &by, "patient.erase", patient, json_pack("{s:s, s:s}", "archive", sha256, "patient", patient));
  if (r >= 0)
    r = change_add(s, "patient", patient, NULL);
  if (r >= 0)
    *ret_files = files;
  return problem_of_errno(r);
}

/* Whose bytes came again since stays: its row is there. */
static int files_to_go(struct store *s, json_t *list) {
  struct rows r =
      store_query(s, "SELECT id, id IN (SELECT sha256 FROM artefact) FROM erasing WHERE kind = 'artefact'", "");
  int err = list ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r))
    err = json_array_append_new(list, json_pack("[s, b]", rows_text(&r, 0), (int)rows_int(&r, 1))) < 0 ? -ENOMEM : 0;
  int query_err = rows_finish(&r);
  return err < 0 ? err : query_err;
}

static bool is_erasing(struct store *s) {
  struct rows r = store_query(s, "SELECT 1 FROM erasing LIMIT 1", "");
  bool is = rows_next(&r);
  return rows_finish(&r) == 0 && is;
}

/* Nor is a trace of them left in the store's files. */
static void on_swept(void *arg, int result) {
  int r = result == 0 ? store_settle(arg) : 0;
  if (r < 0 && r != -EBUSY) /* which it does later */
    log_errno(LOG_WARNING, r, "retention: what was erased leaves traces in the store's log until it is next put away");
}

int retention_sweep(struct store *s, struct artefacts *a) {
  _json_cleanup_ json_t *list = json_array();
  size_t i;
  json_t *item;
  if (!is_erasing(s))
    return 0;
  int r = files_to_go(s, list), stays = 0;
  if (r == 0)
    r = store_begin(s);
  if (r < 0)
    return log_errno(LOG_ERROR, r, "retention: what was erased is still on the disk");
  json_array_foreach(list, i, item) {
    const char *sha256 = json_string_value(json_array_get(item, 0));
    int gone = json_is_true(json_array_get(item, 1)) ? 0 : artefact_erase(a, sha256);
    if (gone < 0)
      stays = log_errno(LOG_ERROR, gone, "retention: artefact %s is still on the disk", sha256);
    else if (r >= 0)
      r = store_run(s, "DELETE FROM erasing WHERE kind = 'artefact' AND id = ?", "t", sha256);
  }
  if (r >= 0)
    r = store_run(s, "DELETE FROM erasing WHERE kind = 'patient'", "");
  if (r >= 0)
    r = store_keep(s);
  if (r < 0) {
    store_undo(s);
    return log_errno(LOG_ERROR, r, "retention: the files that were erased stay listed");
  }
  store_on_commit(s, on_swept, s);
  return stays;
}
