/* The manager's side of ISO/IEEE 11073-20601: its state table, its questions, its answers to reports. Everything is
 * driven by what the agent sends: phd_step() takes one APDU and does what the table says.
 *
 * All waits end after a silence or after a number of APDUs, both of which a replay repeats exactly. */
#ifndef IEEE11073_PHDC_MANAGER_H
#define IEEE11073_PHDC_MANAGER_H

#include "live.h"
#include "segment.h"

#define PHD_ASSOCIATION_MS 10000u /* silence until the agent asks for an association, */
#define PHD_CONFIG_MS 10000u      /* sends its configuration, */
#define PHD_ANSWER_MS 3000u       /* answers a question, */
#define PHD_ACTION_MS 10000u      /* answers an action, or sends the next part of a segment, */
#define PHD_INSIDE_MS 3000u       /* goes on with an APDU, */
#define PHD_RELEASE_MS 3000u      /* answers a release */
#define PHD_ASSOCIATIONS_MAX 6    /* in one session */
#define PHD_ABORTS_MAX 8
#define PHD_STRAYS_MAX 64   /* APDUs without an association */
#define PHD_UNASKED_MAX 256 /* reports between a question and its answer */

enum phd_state { PHD_UNASSOCIATED, PHD_CONFIGURING, PHD_OPERATING, PHD_RELEASING, PHD_STATES };

struct phd_session {
  struct acq_io *io;
  enum phd_state state;
  unsigned associations, aborts, strays;
  bool told;                        /* outside an association: it has been aborted since the last one */
  bool heard;                       /* an APDU came */
  bool prepared;                    /* since it operates: scanners are on, stores have been read */
  uint8_t system_id[PHD_SYSTEM_ID]; /* of the last association */
  uint16_t invoke_id;               /* of the last question */
  uint16_t expected;                /* the choice that answers it, 0: no question is open */
  struct phd_data answer;
  bool answered;
  struct phd_dim dim;
  struct phd_mds mds;
  struct phd_clocks clocks;
  struct phd_segments segments;
  struct phd_live live;
  struct phd_event event; /* being observed */
  uint32_t event_ms;
  struct phd_out out;
  struct phd_assembler in;
};

void phd_session_init(struct phd_session *s, struct acq_io *io);

/* Takes one APDU, or none when none begins within ms. An error ends the session: it has a reason, and the association
 * is aborted where that is still possible. */
#define PHD_SILENT 1
int phd_step(struct phd_session *s, unsigned ms);

/* Steps until the agent operates: waits for its request, accepts it, takes its configuration. PHD_SILENT when it asks
 * for no association, not even after an abort. */
int phd_associate(struct phd_session *s);
/* The last part of that: until the configuration has come, or the association ended. */
int phd_configure(struct phd_session *s);

/* The questions. 0 when answered, 1 when the association ended meanwhile. */
int phd_ask_mds(struct phd_session *s);        /* fills s->mds and s->clocks */
int phd_start_scanners(struct phd_session *s); /* switches on those that add something */
int phd_read_stores(struct phd_session *s);    /* has every fresh segment sent; s->clocks has an order */

/* Ends the association as it should be; whatever the agent does, it is over then. Only a lost port and a cancel are
 * errors. */
int phd_release(struct phd_session *s);

#endif
