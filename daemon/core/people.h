/* Accounts: who calls, in which role, under whose name. */
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
  ROLE_OPHTHALMOLOGIST = 32,
  ROLE_AUDITOR = 64, /* looks at the trail and the figures, at nobody's health */
};
#define ROLE_READERS (ROLE_GP | ROLE_OPHTHALMOLOGIST)
#define ROLE_CARERS (ROLE_NURSE | ROLE_READERS) /* professionals: what they do is written under a person */
const char *role_name(enum role r);
bool role_find(const char *name, enum role *ret);

#define PERSON_NAME_MAX 64
#define RPPS_MAX 12
#define FROM_MAX 64
#define TOKEN_DIGITS 64

/* Who is calling: an account, and for the practice software the person it acts for, whose role then counts. */
struct caller {
  char name[PERSON_NAME_MAX];
  char acting_for[PERSON_NAME_MAX]; /* "" */
  enum role role;
  char rpps[RPPS_MAX]; /* of the person, as registered (registry.h); "" = none */
  char from[FROM_MAX]; /* where the call came from, for the trail */
};
struct actor caller_actor(const struct caller *c);
const char *caller_person(const struct caller *c); /* whom the act is written under */

/* Finds the account of a token (64 hex digits). P_unauthenticated when there is none or it is disabled. */
enum problem people_by_token(struct store *s, const char *token, struct caller *ret);
/* The account of a session; the same problems. */
enum problem people_by_name(struct store *s, const char *name, struct caller *ret);
/* Lets an lgc caller act for a carer who is granted to it; P_forbidden when it may not. */
enum problem people_act_for(struct store *s, struct caller *c, const char *person);

/* The name in the trail of whoever gave one that is no account's when logging in. */
#define PERSON_UNKNOWN "unknown"

/* Inside an act; the token is shown once, only its hash is kept. P_invalid_field: the name has other characters than
 * letters without accents, digits, . _ and -, or is one that the trail has for something else: root, uid-N, asaleed,
 * PERSON_UNKNOWN. */
enum problem people_add(struct store *s, const struct actor *by, const char *name, enum role role, const char *display,
                        char ret_token[static TOKEN_DIGITS + 1]);
enum problem people_new_token(struct store *s, const struct actor *by, const char *name,
                              char ret_token[static TOKEN_DIGITS + 1]);
enum problem people_disable(struct store *s, const struct actor *by, const char *name);
/* Inside an act. The account is this registered professional's, of the same role; one open account a person. */
enum problem people_link(struct store *s, const struct actor *by, const char *name, const char *rpps);
/* Inside an act: whether a practice software may act for a person. */
enum problem people_grant(struct store *s, const struct actor *by, const char *lgc, const char *person, bool may);
/* The encoded password (password.h) that is kept, "" = none; and whether it is to be changed first. */
#define ACCOUNT_PASSWORD_MAX 129
enum problem people_password(struct store *s, const char *name, char ret[static ACCOUNT_PASSWORD_MAX],
                             bool *ret_must_change);
/* Inside an act. `old` is the encoded one that this replaces, NULL = whatever is kept. P_login_refused when another is
 * kept by now, or the account was closed; without `old`, P_not_found for who has none to be set: a practice software,
 * a closed account. */
enum problem people_set_password(struct store *s, const struct actor *by, const char *name, const char *old,
                                 const char *encoded, bool must_change);
int people_list(struct store *s, json_t **ret);

/* One row of the change sequence, inside an act. */
int change_add(struct store *s, const char *kind, const char *ref, const char *state);

#endif
