/* A capture as an instrument: '<' bytes are served in whatever pieces the reader asks for, '>' bytes must be what the
 * driver writes, notes of errors are those errors again. Time is the capture's.
 *
 * A capture says in which order bytes were read and written, and the replay holds the driver to it: bytes of an event
 * that the driver has begun to read stay readable (one read of the live transport took them all), bytes of an event
 * after a '>' do not come before that '>' was written, and a driver may not write before it has read what it read when
 * the capture was made. It may not read past the note that begins the next part of the conversation either.
 */
#ifndef ASALEED_TRANSPORT_REPLAY_H
#define ASALEED_TRANSPORT_REPLAY_H

#include "transport.h"

enum replay_fate {
  REPLAY_END,     /* nothing follows: -ENODEV, as at the end of every capture */
  REPLAY_TIMEOUT, /* silence: reads time out, writes are taken */
  REPLAY_UNPLUG,
  REPLAY_CANCEL, /* once, then silence */
};

struct replay {
  struct transport base;
  const struct acq_capture *capture; /* borrowed */

  /* Set after replay_init() to leave the capture before byte cut_byte of event cut_event (from 0). */
  size_t cut_event, cut_byte;
  enum replay_fate fate;
  size_t chunk;    /* the most bytes one read gives */
  size_t patience; /* calls left before the driver is taken for one that never ends */

  size_t event, offset; /* the next byte */
  const uint8_t *rest;  /* of an event that was begun before the host wrote */
  size_t n_rest;
  uint64_t now_us;
  bool cancelled, runaway, strict_phases;
  char departed[TRANSPORT_WHY_MAX]; /* where the driver first departed from the capture, or "" */
};

void replay_init(struct replay *r, const struct acq_capture *capture);

/* After the conversation: 0 when the capture was played to its end, else -EILSEQ with the reason in base.why. */
int replay_done(struct replay *r);

#endif
