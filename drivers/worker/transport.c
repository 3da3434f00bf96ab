#include "transport.h"

#include "wall.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void transport_setup_bytes(const struct transport_setup *setup, uint8_t bytes[static TRANSPORT_SETUP_BYTES]) {
  bytes[0] = setup->request_type;
  bytes[1] = setup->request;
  bytes[2] = (uint8_t)setup->value;
  bytes[3] = (uint8_t)(setup->value >> 8);
  bytes[4] = (uint8_t)setup->index;
  bytes[5] = (uint8_t)(setup->index >> 8);
  bytes[6] = (uint8_t)setup->length;
  bytes[7] = (uint8_t)(setup->length >> 8);
}

void transport_init(struct transport *t, const struct transport_ops *ops) {
  t->ops = ops;
  t->interrupt = -1;
  t->why[0] = 0;
}

int transport_start(struct transport *t) {
  t->why[0] = 0;
  return t->ops->start ? t->ops->start(t) : 0;
}

int transport_read(struct transport *t, void *bytes, size_t max, size_t want, uint64_t deadline_us) {
  t->why[0] = 0;
  return t->ops->read(t, bytes, max, want, deadline_us);
}

int transport_write(struct transport *t, const void *bytes, size_t n, uint64_t deadline_us) {
  t->why[0] = 0;
  return t->ops->write ? t->ops->write(t, bytes, n, deadline_us) : -EOPNOTSUPP;
}

int transport_pour(struct transport *t, uint64_t n, transport_take take, void *arg, uint64_t idle_us,
                   uint64_t deadline_us) {
  t->why[0] = 0;
  return t->ops->pour(t, n, take, arg, idle_us, deadline_us);
}

int transport_control(struct transport *t, const struct transport_setup *setup, void *bytes, uint64_t deadline_us) {
  t->why[0] = 0;
  return t->ops->control ? t->ops->control(t, setup, bytes, deadline_us) : -EOPNOTSUPP;
}

uint64_t transport_now_us(struct transport *t) {
  return t->ops->now_us ? t->ops->now_us(t) : monotonic_us();
}

int transport_phase(struct transport *t, const char *name) {
  t->why[0] = 0;
  return t->ops->phase ? t->ops->phase(t, name) : 0;
}

void transport_destroy(struct transport *t) {
  if (t)
    t->ops->destroy(t);
}

int transport_fail(struct transport *t, int err, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  vsnprintf(t->why, sizeof t->why, format, ap);
  va_end(ap);
  return err;
}

static const struct {
  int err;
  const char *text;
} notes[] = {
    {-ETIMEDOUT, "timeout"}, {-ENODEV, "unplugged"},    {-ECANCELED, "cancelled"},    {-EPIPE, "stalled"},
    {-EPROTO, "damaged"},    {-ENODATA, "end of file"}, {-EOPNOTSUPP, "no endpoint"},
};

const char *transport_note(int err) {
  for (size_t i = 0; i < sizeof notes / sizeof *notes; i++)
    if (notes[i].err == err)
      return notes[i].text;
  return NULL;
}

int transport_note_error(const void *text, size_t n) {
  for (size_t i = 0; i < sizeof notes / sizeof *notes; i++)
    if (strlen(notes[i].text) == n && !memcmp(notes[i].text, text, n))
      return notes[i].err;
  return 0;
}

struct timespec transport_left(uint64_t deadline_us) {
  uint64_t now = monotonic_us(), left = deadline_us > now ? deadline_us - now : 0;
  return (struct timespec){.tv_sec = (time_t)(left / 1000000), .tv_nsec = (long)(left % 1000000 * 1000)};
}
