/* Looks at all of the trail and of the store, which takes minutes where there are millions of rows, while the daemon
 * goes on: in a process of its own, one at a time, over a snapshot (store_freeze()). As long as it looks, the store's
 * log grows, and no archive of the trail may be erased: inspector_is_busy(). */
#ifndef ASALEED_INSPECT_H
#define ASALEED_INSPECT_H

#include "audit.h"
#include <systemd/sd-event.h>

#define INSPECT_S 1800 /* then it is ended, whatever it is doing */

struct inspector;

/* SIGCHLD is blocked (sd_event_add_child(3)); each turn of the loop ends with store_commit(), if anything waits for it.
 */
int inspector_open(sd_event *event, struct store *s, struct artefacts *a, struct inspector **ret);
void inspector_close(struct inspector *x); /* who waits is called back with -ECANCELED */
bool inspector_is_busy(const struct inspector *x);

/* Both look at what is committed at the end of this turn of the loop. They return 0 and call back once, from a later
 * turn, or return -EBUSY and never call back. Errors are the function's own, or why there is no process (-EAGAIN,
 * -ENOMEM) or no snapshot (store_freeze()), -ENOSPC: meanwhile so much was written that the store had to be thawed, or
 * -EIO: the process crashed, was killed, or took longer than INSPECT_S. */

/* audit_verify(). */
int inspect_verify(struct inspector *x, void (*done)(void *arg, int err, const struct audit_check *check), void *arg);

/* audit_export() into the file `fd`, at its place, which is the caller's and stays open until the callback; 0 and how
 * many bytes came. */
int inspect_export(struct inspector *x, int64_t from, int fd, void (*done)(void *arg, int err, uint64_t bytes),
                   void *arg);

#endif
