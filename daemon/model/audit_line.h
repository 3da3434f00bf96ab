/* The audit trail as lines of canonical JSON: its rows as archives and exports hold them, and the heads that the site
 * signed. One implementation for the daemon and for whoever checks an export elsewhere, with nothing but the file.
 *
 * An export is one line each:
 *   {"asaleed_audit":1,"first":SEQ,"previous":HASH,"public_key":KEY}   the first; previous: of the row before, or zeros
 *   {"acting_for":...,"action":...,"actor":...,"at":...,"detail":{...},"hash":HASH,"seq":SEQ,"subject":...}   a row
 *   {"head":{"at":US,"hash":HASH,"key":KEY,"seq":SEQ,"signature":HEX}}   behind the row that it is about
 *   {"erased":{"hash":HASH,"seq":SEQ}}   rows up to SEQ, whose archive was erased when its time was over
 *   {"end":{"erased":N,"hash":HASH,"heads":N,"rows":N,"seq":SEQ}}   the last: the file is whole
 * Hashes, keys and signatures are lower-case hex digits; US are microseconds since 1970 (wall.h). */
#ifndef ASALEED_AUDIT_LINE_H
#define ASALEED_AUDIT_LINE_H

#include "hash.h"
#include "json.h"
#include "signature.h"
#include <sys/types.h>

#define AUDIT_LINE_MAX (4u << 20)

struct audit_row {
  int64_t seq, at;
  const char *actor, *acting_for, *action, *subject; /* acting_for may be NULL */
  const char *detail;                                /* canonical JSON */
};

/* How far the chain has been followed; {.next = 1} is its beginning. */
struct audit_chain {
  int64_t next;             /* the number of the next row */
  uint8_t hash[HASH_BYTES]; /* of the row before it, whose time is */
  int64_t at;               /* -1: not known */
};

/* SHA-256 over the previous row's hash and the row's columns. -ENOMEM; -EFBIG: longer than any row. */
int audit_row_hash(const struct audit_row *r, const uint8_t prev[static HASH_BYTES], uint8_t ret[static HASH_BYTES]);
/* The row as its line has it; a hash of another length than HASH_BYTES is "". NULL without memory. */
json_t *audit_row_json(const struct audit_row *r, const void *hash, size_t hash_n);
/* One row's line, without the line feed: -EUCLEAN, and the chain where it was, when it is anything else than the
 * chain's next row. */
int audit_line_follow(const char *line, size_t n, struct audit_chain *c);

/* A row's number, hash and time under the site's signature. */
struct audit_head {
  int64_t seq, at;
  uint8_t hash[HASH_BYTES], key[SIGNATURE_PUBLIC], signature[SIGNATURE_BYTES];
};
void audit_head_make(struct audit_head *h, const uint8_t secret[static SIGNATURE_SECRET]); /* fills in the signature */
/* It is about the last row that was followed, and signed with this key. */
bool audit_head_holds(const struct audit_head *h, const struct audit_chain *c,
                      const uint8_t public[static SIGNATURE_PUBLIC]);

/* The lines that are no rows, as JSON; NULL without memory. */
json_t *audit_first_json(const struct audit_chain *c, const uint8_t public[static SIGNATURE_PUBLIC]);
json_t *audit_head_json(const struct audit_head *h);
json_t *audit_erased_json(int64_t seq, const uint8_t hash[static HASH_BYTES]);

struct audit_lines_check {
  bool ok;
  int64_t broken_line;      /* the first line that does not fit, from 1; behind the last when the file is cut; 0: ok */
  int64_t first, last;      /* rows, erased ones too; last is first - 1 when there are none */
  int64_t rows, erased;     /* rows that fit; rows of which only the place is known */
  int64_t heads, signed_to; /* signatures that hold, and the row of the last; rows behind it nobody vouches for */
  char head[HASH_TEXT];     /* the last row's hash */
  char public_key[HASH_TEXT]; /* the file's: compare with what the site says its key is, or pass that */
};
json_t *audit_end_json(const struct audit_lines_check *c);

/* Follows an export from its first line to its last. read() gives up to n bytes, 0 at the end, or a negative errno,
 * which is returned; `public_key` is the site's as known from elsewhere, or NULL. -EPROTO: this is no such file;
 * -ENOMEM. */
int audit_lines_verify(ssize_t (*read)(void *arg, void *bytes, size_t n), void *arg, const uint8_t *public_key,
                       struct audit_lines_check *ret);

#endif
