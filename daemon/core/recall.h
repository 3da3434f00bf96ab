/* Recalls: when the acts of a protocol are due again, of each open follow-up. For an act with recall-months: that many
 * months after the day on which its last study of the follow-up was accepted (one that waits to be read, is being read
 * or was; not one that came back); the day on which the follow-up was opened when there is none. Where the month has no
 * such day, its last. Days are the practice's local ones. Nothing is kept of them: they follow from studies and
 * configuration. */
#ifndef ASALEED_RECALL_H
#define ASALEED_RECALL_H

#include "conf.h"
#include "people.h"

struct recall_page {
  const char *today, *until; /* "YYYY-MM-DD"; until NULL: RECALL_DAYS after today */
  const char *cursor;        /* "" or what the last page gave */
  int limit;
};
#define RECALL_DAYS 30

/* Those due up to `until` of the patients whom the caller may know of, the longest due first: {"items":[{"act",
 * "due":"YYYY-MM-DD","followup":"W-1","gp","last":"S-1"|null,"nurse","order":"O-2"|null,"overdue":bool,"patient":{..},
 * "protocol","state":"due"|"overdue"|"ordered"}..],"next"}. overdue: its day is over; ordered: the act is ordered
 * already and not accepted yet, and "order" names the order. A page answers `limit` rows and looks once at each open
 * follow-up: 0.2 s for 5000 of them with 20 studies each. P_invalid_field: the cursor. */
enum problem recall_list(struct store *s, const struct conf *conf, const struct caller *c,
                         const struct recall_page *page, json_t **ret);

/* The overdue ones of one follow-up, without what is the follow-up's: [{"act","due","last","order"}..]. */
int recall_overdue(struct store *s, const struct conf *conf, int64_t followup, const char *today, json_t **ret);

#endif
