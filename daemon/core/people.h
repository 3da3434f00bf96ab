/* Accounts and patients. */
#ifndef ASALEED_PEOPLE_H
#define ASALEED_PEOPLE_H

#include "audit.h"
#include "problem.h"

/* One bit each, so that a table can name several. */
enum role {
  ROLE_NURSE = 1,
  ROLE_GP = 2,
  ROLE_ADMIN = 4,
  ROLE_LGC = 8,     /* the practice software itself */
  ROLE_SYSTEM = 16, /* the daemon */
};
const char *role_name(enum role r);
bool role_find(const char *name, enum role *ret);

#define PERSON_NAME_MAX 64
#define TOKEN_DIGITS 64

/* Who is calling: an account, and for the practice software the person it acts for, whose role then counts. */
struct caller {
  char name[PERSON_NAME_MAX];
  char acting_for[PERSON_NAME_MAX]; /* "" */
  enum role role;
};
struct actor caller_actor(const struct caller *c);
const char *caller_person(const struct caller *c); /* whom the act is written under */

/* Finds the account of a token (64 hex digits). P_unauthenticated when there is none or it is disabled. */
enum problem people_by_token(struct store *s, const char *token, struct caller *ret);
/* Lets an lgc caller act for a nurse or GP; P_forbidden when it may not. */
enum problem people_act_for(struct store *s, struct caller *c, const char *person);

/* Inside an act; the token is shown once, only its hash is kept. */
enum problem people_add(struct store *s, const struct actor *by, const char *name, enum role role, const char *display,
                        char ret_token[static TOKEN_DIGITS + 1]);
enum problem people_new_token(struct store *s, const struct actor *by, const char *name,
                              char ret_token[static TOKEN_DIGITS + 1]);
enum problem people_disable(struct store *s, const struct actor *by, const char *name);
int people_list(struct store *s, json_t **ret);

#define PATIENT_ID_MAX 64
#define PATIENT_NAME_MAX 128

struct patient {
  char id[PATIENT_ID_MAX + 1];
  char family[PATIENT_NAME_MAX], given[PATIENT_NAME_MAX];
  char birth_date[11]; /* YYYY-MM-DD */
  char sex[2];         /* M, F, U */
  int64_t version, updated;
};

bool patient_id_ok(const char *id);
enum problem patient_find(struct store *s, const char *id, struct patient *ret);
/* Creates the patient or makes a new version of it; the same data again changes nothing. if_match: the version the
 * caller knows, 0 = none (only a new patient or no change passes), -1 = any that is there. *ret_new says whether it was
 * created. */
enum problem patient_put(struct store *s, const struct actor *by, struct patient *p, int64_t if_match, bool *ret_new);

/* One row of the change sequence, inside an act. */
int change_add(struct store *s, const char *kind, const char *ref, const char *state);

#endif
