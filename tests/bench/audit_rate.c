/* How fast the audit trail is verified, beside SHA-256 over as many bytes in the same run.
 *
 *   audit_rate DIR ROWS [RUNS]
 *
 * Makes a store in DIR with ROWS rows of the trail as a practice writes them (reads of a page of the queue, acts on
 * studies), then verifies it: the chain alone as an export's lines (audit_lines_verify()), and all of it as "asaleectl
 * audit verify" does (chain, heads, who saw whom, the seal of every table, the database's own checks). Prints the bytes
 * that the chain hashes, then a line a run: rows/s of the lines, rows/s of all, rows/s that SHA-256 alone would make.
 */
#include "artefact.h"
#include "audit.h"
#include "hash.h"
#include "wall.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void stop(const char *what, int r) {
  fprintf(stderr, "audit_rate: %s: %s\n", what, strerror(-r));
  exit(1);
}

static uint64_t bytes_hashed;

static void fill(struct store *s, int64_t rows) {
  const struct actor nurse = {.name = "logiciel", .acting_for = "ines", .from = "loopback"};
  const struct actor gp = {.name = "martin", .from = "uid 1000, session"};
  for (int64_t i = 0; i < rows; i++) {
    char subject[32], patient[32];
    snprintf(subject, sizeof subject, "R-%lld", (long long)i + 1);
    snprintf(patient, sizeof patient, "patient-%lld", (long long)(i % 997));
    int r = i % 100 ? 0 : store_begin(s);
    if (r == 0)
      r = i % 3 ? audit_add(s, &gp, "read", subject,
                            json_pack("{s:[s], s:s}", "patients", patient, "route", "GET /v1/records/{}"))
                : audit_add(s, &nurse, "study.accept", subject,
                            json_pack("{s:b, s:b, s:s, s:s, s:s}", "clean", 1, "confirmed", 0, "from", "acquired",
                                      "patient", patient, "to", "to_interpret"));
    if (r == 0 && (i % 100 == 99 || i + 1 == rows) && (r = store_keep(s)) == 0)
      r = store_commit(s);
    if (r < 0)
      stop("cannot be filled", r);
  }
}

/* ---- the chain, as lines ---- */

struct text {
  char *bytes;
  size_t n, cap, at;
};

static int text_add(void *arg, const void *bytes, size_t n) {
  struct text *t = arg;
  if (t->n + n > t->cap) {
    t->cap = 2 * (t->n + n);
    if (!(t->bytes = realloc(t->bytes, t->cap)))
      return -12;
  }
  memcpy(t->bytes + t->n, bytes, n);
  t->n += n;
  return 0;
}

static ssize_t text_read(void *arg, void *bytes, size_t n) {
  struct text *t = arg;
  size_t give = t->n - t->at < n ? t->n - t->at : n;
  memcpy(bytes, t->bytes + t->at, give);
  t->at += give;
  return (ssize_t)give;
}

static double seconds_since(uint64_t us) {
  return (double)(monotonic_us() - us) / 1e6;
}

int main(int argc, char **argv) {
  const int64_t rows = argc > 2 ? strtoll(argv[2], NULL, 10) : 0;
  const int runs = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 5;
  struct store *s;
  struct artefacts *a;
  struct text lines = {0};
  if (rows < 1 || runs < 1) {
    fputs("usage: audit_rate DIR ROWS [RUNS]\n", stderr);
    return 2;
  }
  int r = hash_open();
  if (r == 0)
    r = store_open(argv[1], &s);
  if (r == 0)
    r = artefacts_open(argv[1], &a);
  if (r < 0)
    stop(argv[1], r);
  fill(s, rows);
  if ((r = audit_export(s, a, 1, text_add, &lines)) < 0)
    stop("cannot be exported", r);
  /* What the chain hashes of a row is about what its line says, less its own hash and the names of its members. */
  struct rows sum = store_query(s,
                                "SELECT sum(length(actor) + coalesce(length(acting_for), 0) + length(action) +"
                                " length(subject) + length(detail) + 32 + 16 + 20) FROM audit",
                                "");
  bytes_hashed = rows_next(&sum) ? (uint64_t)rows_int(&sum, 0) : 0;
  rows_finish(&sum);
  printf("%llu\n", (unsigned long long)bytes_hashed);
  uint8_t *zeros = calloc(1, 1 << 20), hash[HASH_BYTES];
  for (int i = 0; i < runs && zeros; i++) {
    struct audit_lines_check line_check;
    struct audit_check check;
    uint64_t at = monotonic_us();
    lines.at = 0;
    if ((r = audit_lines_verify(text_read, &lines, NULL, &line_check)) < 0 || !line_check.ok)
      stop("its export does not verify", r);
    double by_lines = seconds_since(at);
    at = monotonic_us();
    if ((r = audit_verify(s, a, &check)) < 0 || !check.ok)
      stop("does not verify", r);
    double all = seconds_since(at);
    struct hash_stream h;
    at = monotonic_us();
    hash_start(&h);
    for (uint64_t n = bytes_hashed; n; n -= n < 1 << 20 ? n : 1 << 20)
      hash_add(&h, zeros, n < 1 << 20 ? (size_t)n : 1 << 20);
    hash_end(&h, hash);
    double bare = seconds_since(at);
    printf("%.0f %.0f %.0f\n", (double)rows / by_lines, (double)rows / all, (double)rows / bare);
  }
  free(zeros);
  free(lines.bytes);
  artefacts_close(a);
  store_close(s);
  return 0;
}
