/* The registry: professionals by their RPPS number, who delegates what to whom under which authorisation, who is away
 * and who stands in. Days are the practice's local calendar days. Rows are never changed: what ends gets a row that
 * says so. Writing runs inside the caller's act. */
#ifndef ASALEED_REGISTRY_H
#define ASALEED_REGISTRY_H

#include "people.h"
#include "wall.h"

#define PROFESSIONAL_NAME_MAX 128
#define FINESS_MAX 10
#define PROTOCOL_ID_MAX 32
#define REGISTRY_TEXT_MAX 500

struct professional {
  char rpps[RPPS_MAX];
  char family[PROFESSIONAL_NAME_MAX], given[PROFESSIONAL_NAME_MAX];
  enum role role;          /* nurse, gp or ophthalmologist */
  char finess[FINESS_MAX]; /* of the structure */
  int64_t version;
};

enum problem registry_professional(struct store *s, const char *rpps, struct professional *ret);
/* Adds one or corrects it; a role never changes (P_invalid_field). */
enum problem registry_professional_put(struct store *s, const struct actor *by, struct professional *p, bool *ret_new);
int registry_professionals(struct store *s, json_t **ret);

/* Texts are the caller's; dates "YYYY-MM-DD", the first and the last day of validity included. */
struct delegation {
  const char *nurse, *gp, *protocol;
  const char *authorisation, *authorised; /* reference and date of what authorises it */
  const char *from, *until;
  const char *nurse_adhesion, *gp_adhesion; /* when each joined the protocol */
};

/* P_delegation_overlaps when another of the same nurse, GP and protocol holds on one of its days; P_invalid_field and
 * *ret_field. */
enum problem registry_delegate(struct store *s, const struct actor *by, const struct delegation *d, int64_t *ret_id,
                               const char **ret_field);
enum problem registry_delegation_end(struct store *s, const struct actor *by, int64_t id, const char *reason);
/* Those of a professional (NULL: all), newest first, each with "state": future, valid, expiring (60 days or less),
 * expired or ended. */
#define DELEGATION_WARN_DAYS 60
int registry_delegations(struct store *s, const char *rpps, json_t **ret);

/* Whether the nurse may act under the protocol for this GP's patients today: P_OK and which delegation says so, else
 * why not: P_professional_unknown, P_delegation_missing, P_delegation_future, P_delegation_expired. */
enum problem registry_may(struct store *s, const char *nurse, const char *gp, const char *protocol, int64_t *ret);

/* SQL: there is a delegation in force. Parameters by the caller: day, nurse; columns of its own for gp and protocol. */
#define REGISTRY_IN_FORCE(day, nurse_, gp_, protocol_)                                                          \
  "EXISTS(SELECT 1 FROM delegation d WHERE d.nurse = " nurse_ " AND d.gp = " gp_ " AND d.protocol = " protocol_ \
  " AND " day " BETWEEN d.valid_from AND d.valid_until AND d.id NOT IN (SELECT delegation FROM delegation_end))"

/* P_invalid_field and *ret_field; P_already_exists when one of his days is covered already. */
enum problem registry_absence(struct store *s, const struct actor *by, const char *gp, const char *deputy,
                              const char *first, const char *last, int64_t *ret_id, const char **ret_field);
enum problem registry_absence_end(struct store *s, const struct actor *by, int64_t id);
int registry_absences(struct store *s, json_t **ret);
/* Who reads for this GP today: the GP, or the deputy, or "" (every GP) when the deputy is away too. */
int registry_stands_in(struct store *s, const char *gp, char ret[static RPPS_MAX]);

#endif
