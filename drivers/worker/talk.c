#include "talk.h"

#include "str.h"
#include <stdio.h>
#include <string.h>

/* Reasons go to a log and into the capture: one clean line. */
static void talk_clean(char *text) {
  size_t n = strlen(text);
  if (str_is_clean_utf8(text, n))
    return;
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)text[i] < 0x20 || (unsigned char)text[i] > 0x7e)
      text[i] = '?';
}

static int talk_failed(struct acq_io *io, const char *what, int r) {
  if (!io->reason[0])
    acq_fail(io, r, "%s: %s", what, strerrordesc_np(-r) ? strerrordesc_np(-r) : "unknown error");
  talk_clean(io->reason);
  char note[IO_REASON_MAX + 8];
  snprintf(note, sizeof note, "fail %s", io->reason);
  io_note(io, note);
  return r;
}

static int talk_judge(struct acq_io *io, const char *what, int said) {
  int r = said;
  if (io->unplugged)
    r = -ENODEV;
  else if (io->cancelled)
    r = -ECANCELED;
  else if (r > 0)
    r = acq_fail(io, -EPROTO, "the driver's %s() returned %d", what, said);
  return r == 0 ? 0 : talk_failed(io, what, r);
}

int talk_start(struct acq_io *io) {
  int r = transport_start(io->transport);
  if (r == 0)
    return 0;
  io->unplugged = true;
  if (io->transport->why[0])
    acq_fail(io, r, "%s", io->transport->why);
  return talk_failed(io, "start", r);
}

/* The transport opens no longer file than max_bytes, and says where it ends. */
static int talk_take_file(struct acq_io *io, const struct acq_driver *driver) {
  int r = acq_blob(io, driver->limits.max_bytes, 0, driver->limits.idle_ms);
  return r == 0 || r == -ENODATA ? acq_blob_end(io) : r;
}

static bool is_identity_text(const char *text) {
  size_t n = strnlen(text, ACQ_TEXT_MAX);
  return n < ACQ_TEXT_MAX && str_is_clean_utf8(text, n);
}

int talk_identify(struct acq_io *io, const struct acq_driver *driver, struct acq_identity *ret) {
  struct acq_identity id = {0};
  int r = io_begin(io, NULL, driver->limits.grace_ms);
  if (r == 0 && driver->identify)
    r = driver->identify(io, &id);
  if (r == 0 && (!is_identity_text(id.make) || !is_identity_text(id.model) || !is_identity_text(id.serial) ||
                 !is_identity_text(id.firmware)))
    r = acq_fail(io, -EPROTO, "the instrument's name is not a clean text");
  r = talk_judge(io, "identify", r);
  if (r < 0)
    return r;
  if (io->capture)
    capture_write_identity(io->capture, (uint32_t)acq_elapsed_ms(io), &id);
  *ret = id;
  return 0;
}

int talk_await(struct acq_io *io) {
  return talk_judge(io, "wait", io_await(io, WIRE_START));
}

int talk_acquire(struct acq_io *io, const struct acq_driver *driver, const struct acq_order *order) {
  int r = io_begin(io, "acquire", (uint64_t)order->seconds * 1000 + driver->limits.grace_ms);
  if (r == 0)
    r = driver->acquire ? driver->acquire(io, order) : talk_take_file(io, driver);
  return talk_judge(io, "acquire", r);
}

int talk_release(struct acq_io *io, const struct acq_driver *driver, int failed) {
  if (io->unplugged || failed == -ENXIO)
    return 0;
  io_release(io);
  int r = io_begin(io, "release", driver->limits.grace_ms);
  if (r == 0 && driver->release)
    r = driver->release(io);
  return talk_judge(io, "release", r);
}
