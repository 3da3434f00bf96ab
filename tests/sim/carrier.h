/*
 * carrier: how a simulated instrument's bytes reach the program under test, over one kind of bus of a mocked machine.
 *
 * sim_main.c has the loop: it polls what the carriers watch, and gives each instrument its turn. All calls come from
 * its one thread.
 */
#ifndef ASALEED_SIM_CARRIER_H
#define ASALEED_SIM_CARRIER_H

#include "engine.h"

#include <poll.h>
#include <stdbool.h>
#include <umockdev.h>

#define CARRIER_FDS 4
#define CARRIER_NEVER UINT64_MAX

struct sim_carrier;

struct sim_instrument {
  const struct sim_engine *engine;
  void *sim; /* the engine's */
  const struct sim_carrier *carrier;
  void *place;  /* the carrier's */
  bool unpaced; /* sends as fast as it is read, and waits while nobody listens */

  /* Kept by the carrier. */
  bool open;           /* somebody listens */
  uint64_t sent;       /* bytes since then */
  uint64_t sent_total; /* of all times */
  uint64_t unplug_at;  /* of sent: the cable goes when these have been read; CARRIER_NEVER */
};

/* What every instrument may be told; NULL takes the default. */
struct sim_place {
  const char *serial; /* USB serial number */
  const char *port;   /* "ttyUSB0", "ttyACM1"; of no meaning to other buses than the serial one */
};

struct sim_carrier {
  enum sim_bus bus;

  /* The bus, with nothing on it. NULL with errno. */
  void *(*bus_create)(UMockdevTestbed *machine);
  void (*bus_destroy)(void *bus); /* after its instruments are removed; NULL is fine */

  /* Sets in->place; not plugged in yet. number: of the instrument in the machine, from 0. 0 or a negative errno. */
  int (*add)(void *bus, struct sim_instrument *in, const struct sim_place *place, unsigned number);
  void (*remove)(struct sim_instrument *in); /* unplugs it; NULL place is fine */

  int (*plug)(struct sim_instrument *in);   /* -EALREADY */
  int (*unplug)(struct sim_instrument *in); /* powers the instrument off and on; -ENODEV */
  bool (*plugged)(const struct sim_instrument *in);
  void (*forget)(struct sim_instrument *in); /* what it has said and nobody has read yet */

  /* What to wait for: fills at most CARRIER_FDS, returns how many. */
  unsigned (*watch)(struct sim_instrument *in, struct pollfd *fds);
  uint64_t (*next_us)(const struct sim_instrument *in);              /* when to be called although nothing happened */
  void (*hear)(struct sim_instrument *in, const struct pollfd *fds); /* fds: as watch() filled them, polled */
  void (*speak)(struct sim_instrument *in);
};

extern const struct sim_carrier *const sim_carriers[]; /* table.c; NULL ends it */

uint64_t sim_now_us(void); /* the clock of all engines */

#endif
