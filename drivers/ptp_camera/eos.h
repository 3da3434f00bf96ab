/* What a Canon EOS body reports when it is polled (GetEvent, 9116): records of length u32 (of all of it), type u32 and
 * their own data, until one of length 8 and type 0, or the end. Source: README.md beside this file. */
#ifndef PTP_CAMERA_EOS_H
#define PTP_CAMERA_EOS_H

#include <asalee/bytes.h>
#include <stdbool.h>

enum eos_kind {
  EOS_OTHER,
  EOS_ADDED,     /* C181, C1A7: an object is on the card */
  EOS_CHANGED,   /* C187: what is known of an object changed: written to its end, for instance */
  EOS_REQUESTED, /* C186: an object waits to be fetched, and for TransferComplete behind that */
  EOS_STORAGE,   /* C192, C193: a card came or went */
};

struct eos_event {
  enum eos_kind kind;
  uint32_t handle; /* of ADDED, CHANGED, REQUESTED */
};

/* The next report; false at the end, or where the records do not fit into each other (c->err = -EPROTO). */
bool eos_next(struct acq_cur *c, struct eos_event *ret);

#endif
