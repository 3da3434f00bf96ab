/* Follow-ups: a patient under a protocol, with the GP who delegates and the nurse who acts. Each order belongs to one.
 * Rows are never changed; a new team or an end is a row of its own. Writing runs inside the caller's act. */
#ifndef ASALEED_FOLLOWUP_H
#define ASALEED_FOLLOWUP_H

#include "conf.h"
#include "patient.h"
#include "registry.h"
#include <asalee/record.h>

struct followup {
  int64_t id, opened;
  char patient[PATIENT_ID_MAX + 1], protocol[PROTOCOL_ID_MAX];
  char gp[RPPS_MAX], nurse[RPPS_MAX]; /* of the team as it is */
  bool closed;
};

enum problem followup_find(struct store *s, int64_t id, struct followup *ret);

/* The nurse must hold this GP's delegation for the protocol today (registry_may()); P_protocol_unknown;
 * P_already_exists when the patient has one under this protocol. A nurse opens her own. */
enum problem followup_open(struct store *s, const struct conf *conf, const struct caller *c, const char *patient,
                           const char *protocol, const char *gp, const char *nurse, int64_t *ret_id);
/* Another GP or nurse takes over, under the same condition. */
enum problem followup_transfer(struct store *s, const struct caller *c, const struct followup *f, const char *gp,
                               const char *nurse, const char *reason);
/* What is being acquired or read goes on; nothing new is ordered. P_followup_closed when it is already. */
enum problem followup_close(struct store *s, const struct caller *c, const struct followup *f, const char *reason);

/* The patient's open follow-up that opens this act: `wanted` (0 = the only one there is). P_followup_missing,
 * P_followup_ambiguous, P_followup_closed, P_act_not_open. */
enum problem followup_for(struct store *s, const struct conf *conf, const char *patient, enum acq_modality act,
                          int64_t wanted, struct followup *ret, const struct conf_act **ret_act);

/* Whether a nurse may do this of the act today: order it or acquire it, under which delegation (*ret; 0 for who needs
 * none). P_prescribe_gp, P_perform_gp, or what registry_may() says. */
enum followup_right { FOLLOWUP_PRESCRIBE, FOLLOWUP_PERFORM };
enum problem followup_may(struct store *s, const struct caller *c, const struct followup *f, const struct conf_act *act,
                          enum followup_right right, int64_t *ret);

#endif
