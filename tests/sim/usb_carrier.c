/* The USB carrier: a device of usb_bed for each instrument. */
#include "carrier.h"
#include "engine_usb.h"
#include "usb_bed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <linux/usb/ch9.h>

#define TRANSFER_MAX 65540u
#define PIECE_MAX (4u << 20) /* a multiple of every packet size */

struct bus {
  UMockdevTestbed *machine;
  unsigned sockets; /* in use */
};

struct place {
  struct usb_bed *bed;
  const struct sim_usb *face;
  size_t packet, interrupt_packet; /* 0: no such endpoint */
  uint64_t told_unplug_at;         /* what the bed knows of in->unplug_at */
  uint8_t transfer[TRANSFER_MAX];
};

static void *bus_create(UMockdevTestbed *machine) {
  if (!usb_bed_available()) {
    errno = ENOTSUP;
    return NULL;
  }
  struct bus *bus = calloc(1, sizeof(*bus));
  if (bus)
    bus->machine = machine;
  return bus;
}

static void bus_destroy(void *bus) {
  free(bus);
}

static const struct sim_usb *face_of(const struct sim_engine *engine) {
  for (const struct sim_usb *const *u = sim_usbs; *u; u++)
    if ((*u)->engine == engine)
      return *u;
  return NULL;
}

/* wMaxPacketSize, from the endpoint's descriptor. */
static size_t packet_of(const uint8_t *configuration, uint8_t endpoint) {
  size_t total = (size_t)(configuration[2] | configuration[3] << 8);
  for (const uint8_t *at = configuration; at < configuration + total && at[0]; at += at[0])
    if (at[1] == USB_DT_ENDPOINT && at[2] == endpoint)
      return (size_t)(at[4] | at[5] << 8);
  return 0;
}

static int add(void *bus_pointer, struct sim_instrument *in, const struct sim_place *where, unsigned number) {
  struct bus *bus = bus_pointer;
  struct sim_usb_descriptors d;
  char serial[16];
  struct place *place = calloc(1, sizeof(*place));
  if (!place)
    return -ENOMEM;
  place->face = face_of(in->engine);
  place->told_unplug_at = CARRIER_NEVER;
  int r = place->face ? 0 : -ENOTSUP;
  if (r == 0) {
    snprintf(serial, sizeof(serial), "SIM%05u", number + 1);
    place->face->describe(in->sim, where->serial ? where->serial : serial, &d);
    place->packet = packet_of(d.configuration, place->face->in);
    place->interrupt_packet = packet_of(d.configuration, place->face->interrupt);
    r = usb_bed_create(bus->machine,
                       &(struct usb_bed_options){.device = d.device,
                                                 .configuration = d.configuration,
                                                 .manufacturer = d.manufacturer,
                                                 .product = d.product,
                                                 .serial = d.serial,
                                                 .socket = ++bus->sockets},
                       &place->bed);
  }
  if (r < 0) {
    free(place);
    return r;
  }
  in->place = place;
  return 0;
}

static bool plugged(const struct sim_instrument *in) {
  const struct place *place = in->place;
  struct usb_bed_state state;
  usb_bed_get_state(place->bed, &state);
  return state.plugged;
}

static int plug(struct sim_instrument *in) {
  struct place *place = in->place;
  int r = usb_bed_plug(place->bed);
  if (r == 0) {
    in->open = false;
    in->sent = 0;
  }
  return r;
}

/* The bed counts from each opening; the total is what it had counted before. */
static void count(struct sim_instrument *in) {
  struct place *place = in->place;
  struct usb_bed_state state;
  usb_bed_get_state(place->bed, &state);
  in->sent_total += state.sent >= in->sent ? state.sent - in->sent : state.sent;
  in->sent = state.sent;
  in->open = state.open > 0;
}

static int unplug(struct sim_instrument *in) {
  struct place *place = in->place;
  count(in);
  int r = usb_bed_unplug(place->bed);
  if (r < 0)
    return r;
  in->open = false;
  in->unplug_at = place->told_unplug_at = CARRIER_NEVER;
  in->engine->line_closed(in->sim, sim_now_us());
  in->engine->power_on(in->sim, sim_now_us()); /* the cable feeds it: it will start afresh, its faults stay */
  return 0;
}

static void remove_place(struct sim_instrument *in) {
  struct place *place = in->place;
  if (!place)
    return;
  usb_bed_destroy(place->bed);
  free(place);
  in->place = NULL;
}

static void forget(struct sim_instrument *in) {
  struct place *place = in->place;
  usb_bed_forget(place->bed, place->face->in);
  usb_bed_forget(place->bed, place->face->interrupt);
}

static unsigned watch(struct sim_instrument *in, struct pollfd *fds) {
  const struct place *place = in->place;
  fds[0] = (struct pollfd){.fd = usb_bed_fd(place->bed), .events = POLLIN};
  return 1;
}

static bool is_wanted(const struct sim_instrument *in) {
  const struct place *place = in->place;
  return usb_bed_wanted(place->bed, place->face->in) > 0;
}

/* What it has to say is no reason to wake before somebody asks for it; what it has to do is. */
static uint64_t next_us(const struct sim_instrument *in) {
  if (!plugged(in))
    return CARRIER_NEVER;
  uint64_t next = in->engine->next_us(in->sim);
  return next == 0 && !is_wanted(in) ? CARRIER_NEVER : next;
}

static void answer(struct sim_instrument *in, const struct usb_bed_event *e) {
  struct place *place = in->place;
  uint8_t bytes[256];
  int n = place->face->control(in->sim, sim_now_us(), e->setup, e->bytes, e->n, bytes, sizeof(bytes));
  if (n >= 0)
    usb_bed_answer(place->bed, bytes, (size_t)n);
  else if (n != -EAGAIN)
    usb_bed_refuse(place->bed);
}

static void hear(struct sim_instrument *in, const struct pollfd *fds) {
  struct place *place = in->place;
  struct usb_bed_event e;
  if (!fds[0].revents)
    return;
  while (usb_bed_next(place->bed, &e) > 0) {
    switch (e.kind) {
    case USB_BED_OUT:
      if (e.endpoint == place->face->out)
        in->engine->receive(in->sim, sim_now_us(), e.bytes, e.n);
      break;
    case USB_BED_CONTROL:
      answer(in, &e);
      break;
    case USB_BED_RESET:
      forget(in);
      in->engine->power_on(in->sim, sim_now_us());
      break;
    case USB_BED_CUT:
      unplug(in);
      return;
    }
  }
  count(in);
}

/* In pieces, without a copy here. */
static void say(struct sim_instrument *in, uint8_t endpoint, size_t packet) {
  struct place *place = in->place;
  struct sim_usb_piece piece;
  size_t wanted;
  while (packet && (wanted = usb_bed_wanted(place->bed, endpoint)) > 0) {
    size_t max = wanted < PIECE_MAX ? (wanted + packet - 1) / packet * packet : PIECE_MAX;
    if (!place->face->say(in->sim, sim_now_us(), endpoint, max, &piece))
      return;
    if (piece.stall)
      usb_bed_stall(place->bed, endpoint);
    else if (piece.n)
      usb_bed_send(place->bed, endpoint, piece.bytes, piece.n);
    else
      usb_bed_send_packet(place->bed, endpoint, NULL, 0);
  }
}

static void speak(struct sim_instrument *in) {
  struct place *place = in->place;
  size_t n;
  if (!plugged(in))
    return;
  if (in->unplug_at != place->told_unplug_at)
    usb_bed_unplug_after(place->bed, place->told_unplug_at = in->unplug_at);
  if (place->face->say) {
    place->face->say(in->sim, sim_now_us(), place->face->in, 0, &(struct sim_usb_piece){0});
    say(in, place->face->interrupt, place->interrupt_packet);
    say(in, place->face->in, place->packet);
    count(in);
    return;
  }
  in->engine->transmit(in->sim, sim_now_us(), place->transfer, 0);
  while (is_wanted(in) && (n = in->engine->transmit(in->sim, sim_now_us(), place->transfer, TRANSFER_MAX)) > 0) {
    usb_bed_send(place->bed, place->face->in, place->transfer, n);
    if (n % place->packet == 0)
      usb_bed_send_packet(place->bed, place->face->in, NULL, 0); /* the end of the transfer */
  }
  count(in);
}

const struct sim_carrier sim_usb_carrier = {
    .bus = SIM_USB,
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
