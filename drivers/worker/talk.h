/* The parts of a conversation, as every one goes: identify, acquire, release. Each is one call of the driver, bounded
 * in time, noted in the capture, and judged: a driver that swallows a cancel or an unplug does not turn it into a
 * reading. The reason of a failure is in io->reason, clean, never empty. */
#ifndef ASALEED_TALK_H
#define ASALEED_TALK_H

#include "io.h"

/* First contact of the transport. A failure counts as an unplug: there is nobody to talk to. */
int talk_start(struct acq_io *io);

int talk_identify(struct acq_io *io, const struct acq_driver *driver, struct acq_identity *ret);
/* Waits for START, as long as the daemon likes: people stick electrodes on meanwhile. */
int talk_await(struct acq_io *io);

int talk_acquire(struct acq_io *io, const struct acq_driver *driver, const struct acq_order *order);

/* Runs unless the instrument is unplugged, or is another one (`failed` is what identify said, else 0): strangers are
 * not sent anything more. Returns what the driver did, 0 when it was not asked. */
int talk_release(struct acq_io *io, const struct acq_driver *driver, int failed);

#endif
