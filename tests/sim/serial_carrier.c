/* The serial carrier: an adapter of serial_bed for each instrument. */
#include "carrier.h"
#include "serial_bed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DRAIN_MS 2000

struct place {
  struct serial_bed_port *port;
  uint8_t out[4096]; /* taken from the engine, not yet taken by the terminal */
  size_t out_pos, out_len;
};

enum { WATCH_NODE, WATCH_LINE, WATCH_COUNT };

static void *bus_create(UMockdevTestbed *machine) {
  return serial_bed_create(machine);
}

static void bus_destroy(void *bus) {
  serial_bed_destroy(bus);
}

static int add(void *bus, struct sim_instrument *in, const struct sim_place *where, unsigned number) {
  char serial[16], port[16];
  struct serial_bed_options options = {.serial = where->serial ? where->serial : serial,
                                       .port = where->port ? where->port : port};
  struct place *place = calloc(1, sizeof(*place));
  if (!place)
    return -ENOMEM;
  snprintf(serial, sizeof(serial), "SIM%05u", number + 1);
  snprintf(port, sizeof(port), "ttyUSB%u", number);
  int r = serial_bed_add(bus, &options, &place->port);
  if (r < 0) {
    free(place);
    return r;
  }
  in->place = place;
  return 0;
}

static void forget(struct sim_instrument *in) {
  struct place *place = in->place;
  place->out_pos = place->out_len = 0;
}

static void line_closed(struct sim_instrument *in) {
  forget(in);
  in->engine->line_closed(in->sim, sim_now_us());
}

static void line_opened(struct sim_instrument *in) {
  in->sent = 0;
  if (in->engine->line_opened)
    in->engine->line_opened(in->sim, sim_now_us());
}

static bool plugged(const struct sim_instrument *in) {
  const struct place *place = in->place;
  return serial_bed_fd(place->port) >= 0;
}

static int plug(struct sim_instrument *in) {
  struct place *place = in->place;
  int r = serial_bed_plug(place->port);
  if (r == 0) {
    in->open = false;
    in->sent = 0;
  }
  return r;
}

static int unplug(struct sim_instrument *in) {
  struct place *place = in->place;
  int r = serial_bed_unplug(place->port);
  if (r < 0)
    return r;
  in->open = false;
  in->unplug_at = CARRIER_NEVER;
  line_closed(in);
  in->engine->power_on(in->sim, sim_now_us()); /* the cable feeds it: it will start afresh, its faults stay */
  return 0;
}

static void remove_place(struct sim_instrument *in) {
  if (in->place)
    unplug(in);
  free(in->place);
  in->place = NULL;
}

static void read_port(struct sim_instrument *in) {
  struct place *place = in->place;
  uint8_t bytes[1024];
  ssize_t n;
  for (int round = 0; round < 16 && (n = read(serial_bed_fd(place->port), bytes, sizeof(bytes))) > 0; round++)
    in->engine->receive(in->sim, sim_now_us(), bytes, (size_t)n);
}

static void look_at_port(struct sim_instrument *in) {
  struct place *place = in->place;
  if (!plugged(in))
    return;
  unsigned state = serial_bed_look(place->port);
  bool open = state & SERIAL_BED_OPEN;
  if (state & SERIAL_BED_CLOSED || (in->open && !open))
    line_closed(in);
  if (open && (!in->open || state & SERIAL_BED_CLOSED))
    line_opened(in);
  /* What a user wrote before he closed still reaches the instrument; if nobody came after him, its answer reaches
   * nobody. */
  read_port(in);
  if (!open)
    line_closed(in);
  in->open = open;
}

static void write_port(struct sim_instrument *in) {
  struct place *place = in->place;
  for (int round = 0; in->open && round < 64; round++) {
    if (in->sent >= in->unplug_at) {
      /* The user gets to read them all, so that a test may cut at every byte; a hang-up would discard them. */
      serial_bed_drain(place->port, DRAIN_MS);
      unplug(in);
      return;
    }
    if (place->out_pos == place->out_len) {
      place->out_pos = 0;
      place->out_len = in->engine->transmit(in->sim, sim_now_us(), place->out, sizeof(place->out));
      if (place->out_len == 0)
        return;
    }
    size_t part = place->out_len - place->out_pos;
    if (part > in->unplug_at - in->sent)
      part = (size_t)(in->unplug_at - in->sent);
    ssize_t n = write(serial_bed_fd(place->port), place->out + place->out_pos, part);
    if (n <= 0)
      return;
    place->out_pos += (size_t)n;
    in->sent += (uint64_t)n;
    in->sent_total += (uint64_t)n;
    if (in->unpaced)
      return; /* there is always more: let requests in between */
  }
}

/* Nobody listens, and the instrument does not know. Unpaced it has no time in which to go on, so it waits. */
static void run_unheard(struct sim_instrument *in) {
  uint8_t lost[4096];
  if (in->open || !plugged(in) || in->unpaced)
    return;
  while (in->engine->transmit(in->sim, sim_now_us(), lost, sizeof(lost)) > 0)
    ;
}

static unsigned watch(struct sim_instrument *in, struct pollfd *fds) {
  struct place *place = in->place;
  fds[WATCH_NODE] = (struct pollfd){.fd = serial_bed_watch_fd(place->port), .events = POLLIN};
  fds[WATCH_LINE] = (struct pollfd){.fd = in->open ? serial_bed_fd(place->port) : -1, .events = POLLIN};
  if (place->out_pos < place->out_len)
    fds[WATCH_LINE].events |= POLLOUT;
  return WATCH_COUNT;
}

static uint64_t next_us(const struct sim_instrument *in) {
  const struct place *place = in->place;
  if (!plugged(in) || (!in->open && in->unpaced) || place->out_pos < place->out_len)
    return CARRIER_NEVER;
  return in->engine->next_us(in->sim);
}

static void hear(struct sim_instrument *in, const struct pollfd *fds) {
  if (fds[WATCH_NODE].revents || fds[WATCH_LINE].revents & (POLLHUP | POLLERR))
    look_at_port(in);
  if (in->open && fds[WATCH_LINE].revents & POLLIN)
    read_port(in);
}

static void speak(struct sim_instrument *in) {
  if (in->open)
    write_port(in);
  run_unheard(in);
}

const struct sim_carrier sim_serial_carrier = {
    .bus = SIM_SERIAL,
    .bus_create = bus_create,
    .bus_destroy = bus_destroy,
    .add = add,
    .remove = remove_place,
    .plug = plug,
    .unplug = unplug,
    .plugged = plugged,
    .forget = forget,
    .watch = watch,
    .next_us = next_us,
    .hear = hear,
    .speak = speak,
};
