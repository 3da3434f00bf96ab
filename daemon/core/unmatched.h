/* The tray: readings that belong to no patient until people say so, and files in which no reading was found. A row
 * never changes; it leaves the tray by one more row that says how: attached to an order, discarded with a reason, or
 * decoded again (its file then makes a new row). Everything that writes runs inside the caller's act. */
#ifndef ASALEED_UNMATCHED_H
#define ASALEED_UNMATCHED_H

#include "attach.h"

/* Why it is there. */
enum unmatched_why {
  WHY_NO_ORDER,   /* nobody waited for it */
  WHY_TIME,       /* it was made at another time than the acquisition that it came with, or may have been */
  WHY_IDENTITY,   /* the file says another patient than the order that waited */
  WHY_ACT,        /* the order that waited was for another act */
  WHY_UNREADABLE, /* no reading was found in it */
};

struct unmatched_row {
  int64_t acquisition;
  enum unmatched_why why;
  enum problem failure;         /* of WHY_UNREADABLE, else P_OK */
  const char *sha256, *samples; /* of its record; NULL where there is none */
  const char *driver, *driver_version;
  const json_t *record; /* its JSON; NULL likewise */
};
/* Adds it, unless the same acquisition has a row with the same record already (*ret_id is 0 then). */
int unmatched_add(struct store *s, const struct unmatched_row *row, int64_t now, int64_t *ret_id);

/* The open rows, newest first, those before the id `before`; at most limit. `subject`: with what the file says of its
 * patient. An array of
 *   {"act","created","device"|null,"driver","driver_version","failure":{"code","detail"}|null,"file":"F-1"|null,
 *    "id":"U-5","subject":{..}|null,"summary":{"channels","measures","pictures","seconds":"10.0"|null}|null,
 *    "taken":time|null,"why":"no_order|time|identity|act|unreadable"}
 * without "subject" unless it is asked for. *ret_last: the id of the last one when there may be more, else 0. */
int unmatched_list(struct store *s, int64_t before, int limit, bool subject, json_t **ret, int64_t *ret_last);

/* One row, open or not, as above; and "end":{"at","by","record"|null,"what"}|null. ret_sha256 is "" where it has no
 * record. P_not_found. */
enum problem unmatched_find(struct store *s, int64_t id, bool subject, json_t **ret, char ret_sha256[static HASH_TEXT]);

/* Attaches it to the order's study, which is moved; problems as attach_check(), and P_wrong_state: it has left the
 * tray, or holds no reading. */
enum problem unmatched_attach(struct store *s, struct artefacts *a, int64_t id, const struct attach *at,
                              struct study *ret_study);

/* May this reading be that which an order waits for? Why not, or WHY_NO_ORDER when it may. `own`: it was made
 * while the order waited. */
enum unmatched_why unmatched_judge(const json_t *record, bool own, const struct study *study,
                                   const struct patient *patient);

/* Attaches the row to the study that waits for it, by the daemon: once it was judged so. The study is not moved. */
int unmatched_attach_waiting(struct store *s, int64_t id, const struct unmatched_row *row, const struct study *study,
                             const struct patient *patient, int64_t now);

enum problem unmatched_discard(struct store *s, const struct caller *c, int64_t id, const char *reason);

/* A file's row leaves the tray, and its file is to be decoded again; so is that of a row that was discarded.
 * P_wrong_state: it has left the tray otherwise, or is of no file. */
enum problem unmatched_decode_again(struct store *s, const struct caller *c, int64_t id);

#endif
