/* mutate CAPTURE...
 *
 * Flips every bit that was received, and cuts what was received at every byte, and decodes: each time the decode must
 * fail, or flag the record, or give the same reading. A record that is silently different is a failure. Only where the
 * messages carry no check at all (a driver that says ACQ_NONE) a flipped value cannot be told from another: those are
 * counted and printed, not failed; on USB the bus checks every packet by itself (CRC-16, repeated by the controller).
 *
 * Of a driver that takes files whole it is the file that is flipped and cut, and nothing checks it on its way: whatever
 * such a driver declares, a record that a flip changed must say itself that its file is unchecked.
 *
 * A long capture is tried at every bit and every length of its first and last EDGE bytes, where its frames of set-up,
 * start and stop are, and between them at about 500 lengths and one bit (another each time) of about 500 bytes. A cut
 * keeps the capture's end line: bytes lost without anybody's noticing are the harder case. */
#include "drivers.h"
#include "fixture.h"
#include "hash.h"
#include "record_build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EDGE 256
#define FILE_EDGE 64 /* a file is read anew as a whole each time */

/* UNCHECKED: different, and it says that its file is not checked. */
enum verdict { SAME, REFUSED, FLAGGED, UNCHECKED, DIFFERENT, VERDICTS };

struct counts {
  size_t of[VERDICTS];
};

/* Both records of a capture; NULL where there is none. */
struct reading {
  json_t *records[WIRE_RECORDS];
};

static void reading_finish(struct reading *r) {
  for (int i = 0; i < WIRE_RECORDS; i++)
    json_decref(r->records[i]);
}
#define _reading_cleanup_ __attribute__((cleanup(reading_finish)))

/* The reading itself: what was measured and what the instrument said. */
static bool same_reading(const json_t *a, const json_t *b) {
  return json_equal(json_object_get(a, "acquired"), json_object_get(b, "acquired")) &&
         json_equal(json_object_get(a, "statements"), json_object_get(b, "statements"));
}

static const json_t *find_item(const json_t *quality, const json_t *like) {
  size_t i;
  json_t *item;
  json_array_foreach(quality, i, item) {
    if (!strcmp(json_text(item, "code"), json_text(like, "code")) &&
        !strcmp(json_text(item, "subject"), json_text(like, "subject")) &&
        json_equal(json_object_get(item, "trial"), json_object_get(like, "trial")))
      return item;
  }
  return NULL;
}

static json_int_t count_of(const json_t *item) {
  return json_integer_value(json_object_get(item, "count"));
}

static size_t flags_of(const json_t *record) {
  size_t i, n = 0;
  json_t *measure;
  json_array_foreach(json_object_get(json_object_get(record, "acquired"), "measures"), i, measure) {
    n += json_array_size(json_object_get(measure, "flags"));
  }
  return n;
}

/* The record is incomplete, or says something against itself that the original does not. */
static bool is_flagged(const json_t *record, const json_t *original) {
  size_t i;
  json_t *item;
  if (!json_is_true(json_object_get(record, "complete")))
    return true;
  json_array_foreach(json_object_get(record, "quality"), i, item) {
    const json_t *before = find_item(json_object_get(original, "quality"), item);
    if (strcmp(json_text(item, "severity"), "info") && (!before || count_of(item) > count_of(before)))
      return true;
  }
  return flags_of(record) > flags_of(original);
}

static int decode(const struct fixture *f, struct reading *ret, char reason[static 256]) {
  struct record_result results[WIRE_RECORDS];
  int r = record_decode(f->driver, &f->capture, results, reason);
  if (r < 0)
    return r;
  for (int i = 0; i < WIRE_RECORDS; i++) {
    if (results[i].json && r == 0)
      r = json_read(results[i].json, results[i].json_bytes, &ret->records[i], reason);
    record_result_finish(&results[i]);
  }
  return r;
}

static enum verdict compare(const json_t *record, const json_t *original) {
  if (!record == !original && (!record || same_reading(record, original)))
    return SAME;
  return record && is_flagged(record, original) ? FLAGGED : DIFFERENT;
}

/* What goes to the patient decides; a record all of which was set aside goes to nobody, and the nurse is told. */
static enum verdict judge(const struct reading *r, const struct reading *original) {
  enum verdict own = compare(r->records[WIRE_OWN], original->records[WIRE_OWN]),
               stray = compare(r->records[WIRE_STRAY], original->records[WIRE_STRAY]);
  if (own == DIFFERENT && !r->records[WIRE_OWN])
    return FLAGGED;
  /* What is of the session, as damage on the line, is told in the patient's own record. */
  if (stray == DIFFERENT && r->records[WIRE_OWN] && original->records[WIRE_OWN] &&
      is_flagged(r->records[WIRE_OWN], original->records[WIRE_OWN]))
    stray = FLAGGED;
  return own == SAME ? stray : own;
}

/* The bytes that are tried: the file, or what was received. */
struct row {
  uint8_t *bytes;
  size_t n, edge;
  bool is_file;
};

static bool says(const json_t *record, const char *code) {
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(record, "quality"), i, item) {
    if (!strcmp(json_text(item, "code"), code))
      return true;
  }
  return false;
}

/* A flipped file's record may be another if it says that nobody checked the file. */
static bool says_unchecked(const struct reading *r) {
  for (int i = 0; i < WIRE_RECORDS; i++)
    if (r->records[i] && !says(r->records[i], "file_unchecked"))
      return false;
  return true;
}

/* Decodes what stands in the capture now; true unless it is silently different. flipped: the file of which bits were.
 */
static bool try(const struct fixture *f, const struct row *flipped, const struct reading *original,
                struct counts *counts) {
  _reading_cleanup_ struct reading reading = {0};
  char reason[256];
  int r = decode(f, &reading, reason);
  if (r == -ENOMEM || r == -EINVAL)
    fixture_fail(f, "decode says %d: %s", r, reason);
  enum verdict verdict = r < 0 ? REFUSED : judge(&reading, original);
  if (verdict == DIFFERENT && flipped && flipped->is_file && says_unchecked(&reading))
    verdict = UNCHECKED;
  counts->of[verdict]++;
  return verdict != DIFFERENT;
}

static struct row row_of(struct fixture *f) {
  struct acq_capture *c = &f->capture;
  if (!drivers_takes_whole_file(f->driver))
    return (struct row){c->received, c->n_received, EDGE, false};
  return c->n_blobs ? (struct row){f->blobs.data + c->blobs->at, c->blobs->n, FILE_EDGE, true} : (struct row){0};
}

/* A blob's name is what its bytes say. */
static void rename_file(struct fixture *f, const struct row *row) {
  if (row->is_file)
    hash_sha256_text(row->bytes, f->capture.blobs->n, f->capture.blobs->sha256);
}

static void flip(struct fixture *f, const struct row *row, const struct reading *original, struct counts *counts) {
  bool unchecked = !row->is_file && f->driver->integrity == ACQ_NONE;
  for (size_t i = 0, tried = 0; i < row->n; i++) {
    if (!fixture_tries(i, row->n, row->edge))
      continue;
    bool edge = fixture_tries_all(i, row->n, row->edge);
    for (unsigned bit = edge ? 0 : (unsigned)(tried % 8); bit < 8; bit = edge ? bit + 1 : 8) {
      row->bytes[i] ^= (uint8_t)(1u << bit);
      rename_file(f, row);
      if (!try(f, row, original, counts) && !unchecked)
        fixture_fail(f, "byte %zu, bit %u flipped: a different record, and nothing says so", i, bit);
      row->bytes[i] ^= (uint8_t)(1u << bit);
    }
    tried++;
  }
  rename_file(f, row);
}

/* The file ended earlier, as after a stick that was pulled out too soon. */
static void truncate_file(struct fixture *f, const struct row *row, const struct reading *original,
                          struct counts *counts) {
  for (size_t n = 0; n < row->n; n++) {
    if (!fixture_tries(n, row->n, row->edge))
      continue;
    f->capture.blobs->n = n;
    rename_file(f, row);
    if (!try(f, NULL, original, counts))
      fixture_fail(f, "only %zu bytes of the file: a different record, and nothing says so", n);
  }
  f->capture.blobs->n = row->n;
}

static void truncate_received(struct fixture *f, const struct reading *original, struct counts *counts) {
  struct acq_capture *c = &f->capture;
  const size_t n_received = c->n_received, n_events = c->n_events;
  for (size_t n = 0; n < n_received; n++) {
    if (!fixture_tries(n, n_received, EDGE))
      continue;
    size_t e = 0, at = 0;
    while (e < n_events && (c->events[e].kind != ACQ_RECEIVED || at + c->events[e].n <= n)) {
      at += c->events[e].kind == ACQ_RECEIVED ? c->events[e].n : 0;
      e++;
    }
    const size_t whole = c->events[e].n; /* event e holds byte n */
    c->events[e].n = n - at;
    c->n_events = e + (n > at);
    c->n_received = n;
    if (!try(f, NULL, original, counts))
      fixture_fail(f, "only %zu bytes received: a different record, and nothing says so", n);
    c->events[e].n = whole;
    c->n_events = n_events;
    c->n_received = n_received;
  }
}

static void print_counts(const struct counts *c, const char *what) {
  size_t tried = 0;
  for (int v = 0; v < VERDICTS; v++)
    tried += c->of[v];
  printf("%zu %s: %zu refused, %zu flagged, %zu the same, ", tried, what, c->of[REFUSED], c->of[FLAGGED], c->of[SAME]);
  if (c->of[UNCHECKED])
    printf("%zu different and said to be unchecked, ", c->of[UNCHECKED]);
  printf("%zu SILENTLY DIFFERENT", c->of[DIFFERENT]);
}

static void mutate(struct fixture *f) {
  _reading_cleanup_ struct reading original = {0};
  char reason[256];
  struct counts flips = {0}, cuts = {0};
  int r = decode(f, &original, reason);
  if (r < 0) /* nothing to be silently different from; it must stay refused or be flagged */
    printf("%s: holds no reading (%s)\n", f->path, reason);
  struct row row = row_of(f);
  flip(f, &row, &original, &flips);
  if (row.is_file)
    truncate_file(f, &row, &original, &cuts);
  else
    truncate_received(f, &original, &cuts);
  printf("%s: ", f->path);
  print_counts(&flips, "flips");
  printf("; ");
  print_counts(&cuts, "cuts");
  printf("\n");
  fflush(stdout);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: mutate CAPTURE...\n");
    return 2;
  }
  if (hash_open() < 0)
    return 1;
  for (int i = 1; i < argc; i++) {
    struct fixture f;
    if (!fixture_read(argv[i], &f)) {
      fixture_failures++;
      continue;
    }
    mutate(&f);
    fixture_finish(&f);
  }
  printf("mutate: %d captures, %u failures\n", argc - 1, fixture_failures);
  return fixture_failures ? 1 : 0;
}
