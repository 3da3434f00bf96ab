/* The audit trail: who did what to which subject, when, as a hash chain. Each row's hash covers the hash before it
 * and its own contents in canonical JSON, so that a row changed, removed or slipped in is found by audit_verify().
 * Archived rows leave an anchor (the last archived row's number and hash, and the artefact that holds them), which is
 * believed only as far as that artefact's rows lead to it. */
#ifndef ASALEED_AUDIT_H
#define ASALEED_AUDIT_H

#include "artefact.h"
#include "json.h"
#include "store.h"

struct actor {
  const char *name;       /* a user, "root" for the local administrator, "asaleed" for the daemon itself */
  const char *acting_for; /* NULL, or the person the practice software acts for */
  const char *from;       /* NULL or "": the daemon's own; else where the call came from */
};

/* Whom an act is written under. */
static inline const char *actor_person(const struct actor *a) {
  return a->acting_for ? a->acting_for : a->name;
}

/* Adds a row inside the caller's act. Steals detail (NULL = {}), which carries ids and codes, no patient identity. */
int audit_add(struct store *s, const struct actor *actor, const char *action, const char *subject, json_t *detail);

struct audit_check {
  bool ok;
  int64_t archived;    /* rows that fit, in archives */
  int64_t rows;        /* rows looked at in the database */
  int64_t first, last; /* of both: first is 1 wherever the oldest row is now; 0 without rows */
  int64_t broken_at;   /* the first row that does not fit, or the first of an archive that does not; 0 when ok */
  char head[HASH_TEXT];
};

/* Follows the chain from row 1: through every archive in the order of the anchors, each read whole, then through the
 * rows in the database. An archive that is gone, damaged, of another kind or holds other rows than the chain's next
 * up to its anchor breaks it. Errors (no memory, a database that cannot be read) leave the question open. */
int audit_verify(struct store *s, struct artefacts *a, struct audit_check *ret);

/* The newest rows first, numbers below `before` (0 = all), at most limit, as a JSON array of rows. */
int audit_list(struct store *s, int64_t before, int limit, json_t **ret);

/* Moves the rows older than `before` into an artefact (one canonical JSON row a line) inside the caller's act.
 * Returns how many; -ENODATA when there are none. */
int64_t audit_archive(struct store *s, struct artefacts *a, int64_t before, char ret_sha256[static HASH_TEXT]);

#endif
