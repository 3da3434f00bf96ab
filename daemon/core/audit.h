/* The audit trail: who did what to which subject, when, as a hash chain. Each row's hash covers the hash before it
 * and its own contents in canonical JSON, so that a row changed, removed or slipped in is found by audit_verify().
 * Archived rows leave an anchor (the last archived row's number and hash, and the artefact that holds them), which is
 * believed only as far as that artefact's rows lead to it. An archive whose time is over is erased: its anchor stays,
 * and the chain goes on from there. Now and then the site signs the newest row (a head); a copy of a head that lies
 * elsewhere says what the trail was. The form of rows and heads is the model's (audit_line.h). */
#ifndef ASALEED_AUDIT_H
#define ASALEED_AUDIT_H

#include "artefact.h"
#include "audit_line.h"
#include "json.h"
#include "store.h"

struct actor {
  const char *name;       /* a user, or what no user is called (people_add()): the local administrator, the daemon */
  const char *acting_for; /* NULL, or the person the practice software acts for */
  const char *from;       /* from where: "unix:1000", "127.0.0.1"; NULL or "": not known */
};

/* Whom an act is written under. */
static inline const char *actor_person(const struct actor *a) {
  return a->acting_for ? a->acting_for : a->name;
}

/* Adds a row inside the caller's act. Steals detail (NULL = {}), which carries ids and codes, no free text about a
 * patient and no identity; where the actor came from is added as "origin" ("from" and "to" are states). Of the patients
 * that "patient" (a text) and "patients" (texts) name, audit_who_saw() finds the row; a row about a study names its
 * patient by itself. */
int audit_add(struct store *s, const struct actor *actor, const char *action, const char *subject, json_t *detail);

/* The number of the newest row, wherever it is; 0 without any. */
int audit_last(struct store *s, int64_t *ret_seq);
/* Whether each of these patients (an array of ids) is named by a row after that number. */
int audit_names(struct store *s, int64_t after, const json_t *patients, bool *ret);

struct audit_check {
  bool ok;             /* the chain, the heads, who saw whom, and the store's seal */
  int64_t archived;    /* rows that fit, in archives */
  int64_t erased;      /* rows whose archives were erased when their time was over: their anchors fit */
  int64_t rows;        /* rows looked at in the database */
  int64_t first, last; /* of all: first is 1 wherever the oldest row is now; 0 without rows */
  int64_t broken_at;   /* the first row that does not fit, or the first of an archive that does not, or the row that a
                          head or a patient's list tells otherwise; 0 when the trail is ok */
  int64_t heads;       /* signatures that hold */
  char head[HASH_TEXT];
  struct store_check seal;
};

/* Follows the chain from row 1: through every archive in the order of the anchors, each read whole, then through the
 * rows in the database; each head where its row is. An archive that is gone (and was not erased), damaged, of another
 * kind or holds other rows than the chain's next up to its anchor breaks it. Then store_verify(). Errors (no memory, a
 * database that cannot be read) leave the question open. */
int audit_verify(struct store *s, struct artefacts *a, struct audit_check *ret);

/* The newest rows first, numbers below `before` (0 = all), at most limit, as a JSON array of rows. */
int audit_list(struct store *s, int64_t before, int limit, json_t **ret);

/* The same of the rows that name a patient; of a row in an archive {"archived":true,"seq":N} is all that is told. */
int audit_who_saw(struct store *s, const char *patient, int64_t before, int limit, json_t **ret);

/* Signs the newest row inside the caller's act, when there is one since the last head: 1, else 0. */
int audit_head_sign(struct store *s);

/* Moves the oldest rows, of those older than `before` and numbered up to `last`, into an artefact (one canonical JSON
 * row a line) inside the caller's act: as many as take well less than a second, and each only if it follows from the
 * row before it. Returns how many, and whether there are more; -ENODATA when there are none, -EUCLEAN when one does not
 * follow: then all of them stay. */
int64_t audit_archive(struct store *s, struct artefacts *a, int64_t before, int64_t last,
                      char ret_sha256[static HASH_TEXT], bool *ret_more);

/* Erases the archives of which every row is older than `before`, from the oldest on, inside the caller's act: returns
 * how many rows, -ENODATA when there is no such archive, -EUCLEAN when one is not as it was. Their files go when the
 * act is durable, with audit_erase_finish(); what a run that was killed had not done, that does at the next start. */
int64_t audit_erase(struct store *s, struct artefacts *a, int64_t before, const char *by);
int audit_erase_finish(struct store *s,
                       struct artefacts *a); /* acts of its own, which the caller commits; -EBUSY: some are not yet */

/* Writes the rows from number `from` (1 = all) as an export (audit_line.h), piece by piece. What write() returns below
 * 0 ends it and is returned. -EUCLEAN, -ENOENT: an archive cannot be read. */
int audit_export(struct store *s, struct artefacts *a, int64_t from,
                 int (*write)(void *arg, const void *bytes, size_t n), void *arg);

#endif
