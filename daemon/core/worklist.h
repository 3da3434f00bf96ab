/* Orders, studies and the reading queue. A study moves only along the rows of one table (worklist.c): state, event,
 * who may, next state. Everything here runs inside the caller's act (store.h). */
#ifndef ASALEED_WORKLIST_H
#define ASALEED_WORKLIST_H

#include "conf.h"
#include "patient.h"
#include "registry.h"
#include <asalee/record.h>

enum study_state {
  ORDERED,
  ACQUIRING,
  ACQUIRED,
  TO_INTERPRET,
  INTERPRETING,
  INTERPRETED,
  RETURNED, /* by its reader, for a coded reason: another study of the order repeats it */
  CANCELLED,
  STATES
};

enum study_event {
  EV_START,         /* an acquisition begins; from acquired: one more trial */
  EV_RECORD,        /* it made a record */
  EV_FAIL,          /* it made none and the study has none: back to ordered */
  EV_FAIL_AGAIN,    /* it made none, the study keeps those it has */
  EV_REPEAT,        /* the records are superseded, the study starts over */
  EV_ACCEPT,        /* goes to the queue */
  EV_CLAIM,         /* a reader takes it */
  EV_RELEASE,       /* gives it back */
  EV_EXPIRE,        /* the claim ran out */
  EV_SIGN,          /* the interpretation is signed */
  EV_CANCEL,        /* the study ends without one */
  EV_ATTACH,        /* a reading from the tray, or of another study, becomes one of this study */
  EV_REASSIGN,      /* all its readings were another patient's: it starts over */
  EV_REASSIGN_PART, /* some were, it keeps the others */
  EV_RETURN,        /* the reader cannot conclude from it: to be made again */
  EV_REFER,         /* another role is to read it */
  EV_AMEND,         /* the next version of its interpretation is signed */
  EVENTS
};

const char *study_state_name(enum study_state s);
bool study_state_find(const char *name, enum study_state *ret);
const char *study_event_name(enum study_event e);

struct study;
/* What those who watch a study are told of its state. */
json_t *study_event_json(const struct study *study);

/* The table: the next state; P_forbidden when the event is not for this role, in this state or in any;
 * P_wrong_state when it is, but not in this state. */
enum problem study_next(enum study_state from, enum study_event event, enum role role, enum study_state *ret);

struct study {
  int64_t id, order, version, attempts, created, updated;
  int64_t accepted, due, failed, claim_expires; /* 0 = none */
  enum study_state state;
  char patient[PATIENT_ID_MAX + 1], act[32];
  int clean; /* of the newest record: 1, 0, -1 = no record */
  enum problem failure;
  char claim_by[PERSON_NAME_MAX];
  int64_t height_mm; /* 0 = not measured */
  int64_t followup;  /* 0: ordered before there were follow-ups */
  char protocol[PROTOCOL_ID_MAX], gp[RPPS_MAX];
  enum role reader;        /* who is to read it: gp or ophthalmologist */
  int64_t urgent, repeats; /* when the nurse called the GP; the study that it repeats; 0 = none */
};

/* What the study's protocol says of its act; the strictest there is for a study without one, or whose protocol is no
 * longer configured. */
const struct conf_act *study_act(const struct conf *conf, const struct study *study);

/* What an act is made with: "ecg", "spirometry", "fundus", "measurement"; 0 for an act that is not known. */
enum acq_modality act_modality(const char *act);

/* Under the patient's follow-up that opens the act (followup.h: `followup` 0 = the only one), by who may prescribe it.
 */
enum problem worklist_order(struct store *s, const struct conf *conf, const struct caller *c, const char *patient,
                            const char *act, int64_t followup, int64_t *ret_order, int64_t *ret_study);
/* Whether the caller may go on with what was acquired: a nurse whose follow-up it is, or who holds this GP's delegation
 * for its protocol today; else what registry_may() says. */
enum problem study_may_tend(struct store *s, const struct caller *c, const struct study *study);
/* Whether the caller may acquire it today, under which delegation (0 for who needs none). */
enum problem study_may_acquire(struct store *s, const struct conf *conf, const struct caller *c,
                               const struct study *study, int64_t *ret_delegation);
enum problem study_find(struct store *s, int64_t id, struct study *ret);

/* Moves the study (checked against the table), writes audit and change rows, and refreshes *study. Steals detail. */
enum problem study_move(struct store *s, const struct actor *by, enum role role, struct study *study,
                        enum study_event event, json_t *detail);

enum problem study_accept(struct store *s, const struct caller *c, const struct conf *conf, struct study *study,
                          bool confirmed, const char *comment);
enum problem study_repeat(struct store *s, const struct caller *c, struct study *study, const char *reason);
enum problem study_cancel(struct store *s, const struct caller *c, struct study *study, const char *reason);

/* A claim is a lock: whoever holds its token, and nobody else, may sign or release until it expires. */
#define CLAIM_DIGITS 64
enum problem study_claim(struct store *s, const struct caller *c, const struct conf *conf, struct study *study,
                         char ret_token[static CLAIM_DIGITS + 1]);
enum problem study_release(struct store *s, const struct caller *c, struct study *study, const char *token);
/* Ends a claim by signing, returning or referring: the token, its owner and its time are right, else P_stale_token.
 * Steals detail. */
enum problem study_claim_end(struct store *s, const struct caller *c, struct study *study, const char *token,
                             enum study_event event, json_t *detail);
/* P_wrong_reader unless the study is for the caller's role to read. */
enum problem study_is_mine(const struct caller *c, const struct study *study);
/* How tall the patient is, as measured for this study; P_invalid_field unless "50" to "250" with at most one decimal.
 */
enum problem study_height(struct store *s, const struct caller *c, const struct study *study, const char *cm);

/* Gives back the claims that have run out, each in an act of its own, and says which; returns the time of the next that
 * will (0 = none) or a negative errno. */
int64_t worklist_expire(struct store *s, int64_t now, void (*expired)(void *arg, int64_t study), void *arg);

/* SQL: where study y stands in its state's queue, as the index study_queue has it: what is urgent first, then by due
 * time. */
#define QUEUE_RANK "(y.due + (y.urgent IS NULL) * 288230376151711744)" /* 2^58: later than any time (WALL_MAX) */

/* One page of the queue, what is urgent and then the oldest due time first; cursor "" or what the last page gave; mine:
 * only what the caller is to read, or who the caller stands in for. *ret = {"items","next"}. */
struct queue_page {
  enum study_state state;
  const char *act; /* NULL = any */
  bool mine;
  int limit;
  const char *cursor;
};
enum problem worklist_queue(struct store *s, const struct caller *c, const struct queue_page *page, json_t **ret);

#endif
