/* Who saw whom: each reading of patients' data becomes a row of the audit trail. A store that cannot be written (disk
 * full) does not keep a GP from the queue: what was seen meanwhile is kept in memory, and written when it can be, with
 * the time at which it was ("seen"). The same list seen again by the same person within READS_SAME_US is not written
 * again. */
#ifndef ASALEED_READS_H
#define ASALEED_READS_H

#include "people.h"
#include <systemd/sd-event.h>

#define READS_SAME_US (600 * 1000000ull)

struct reads;

int reads_open(sd_event *event, struct store *s, struct reads **ret);
void reads_close(struct reads *r); /* what cannot be written even then is logged as lost, by number */

/* `patients` (an array of ids, not stolen) were shown to the caller by this route ("GET /v1/queue"); subject is what
 * was asked for. Outside an act. -ENOMEM, -ENOBUFS: it could neither be written nor kept: the answer must not go out.
 */
int reads_note(struct reads *r, const struct caller *c, const char *route, const char *subject, const json_t *patients);

#endif
