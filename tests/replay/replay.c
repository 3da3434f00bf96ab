/* replay [--sweep] CAPTURE...
 *
 * Plays each capture to its driver: what the driver writes must be what was written then, and it must come to the same
 * end; once as fast as it reads, once a byte at a time. With --sweep the capture is also cut before every byte and
 * every event, and goes on with silence, an unplug, a cancel, or nothing: the driver must end with an error that
 * driver.h lists, and release() must have been asked unless the instrument was gone; and what was captured up to the
 * cut must decode, or be refused properly. README.md tells how to read a failure. */
#include "drivers.h"
#include "fixture.h"
#include "hash.h"
#include "record_build.h"
#include "talk.h"
#include "transport_replay.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HANG_SECONDS 60
#define EDGE 1024 /* of a long capture: fixture.h */

static const char *const fates[] = {"end", "timeout", "unplugged", "cancelled"};

static struct { char text[256]; } now_playing; /* for the signal that ends a hang */

static void on_alarm(int signal) {
  static const char head[] = "hang: ", tail[] = "\n";
  (void)signal;
  ssize_t n = write(STDERR_FILENO, head, sizeof head - 1);
  n += write(STDERR_FILENO, now_playing.text, strlen(now_playing.text));
  n += write(STDERR_FILENO, tail, sizeof tail - 1);
  _exit(n >= 0 ? 1 : 2);
}

/* ---- one conversation ---- */

static const struct acq_driver *playing;
static unsigned releases;

static int counted_release(struct acq_io *io) {
  releases++;
  return playing->release(io);
}

struct outcome {
  const char *step; /* that failed, or "release" */
  int r;            /* of identify and acquire */
  int released;     /* what release said */
  bool asked, unplugged, runaway;
  struct acq_identity identity;
  char departed[TRANSPORT_WHY_MAX], reason[IO_REASON_MAX];
};

struct cut {
  size_t event, byte;
  enum replay_fate fate;
};

static struct outcome play(const struct fixture *f, const struct cut *cut, size_t chunk) {
  static struct acq_io io;
  struct acq_driver driver = *f->driver;
  struct replay replay;
  struct outcome o = {.step = "identify"};
  const struct acq_order *order = acq_capture_order(&f->capture);
  playing = f->driver;
  releases = 0;
  driver.release = driver.release ? counted_release : NULL; /* a file is taken whole and needs none */
  replay_init(&replay, &f->capture);
  replay.chunk = chunk;
  if (cut) {
    replay.cut_event = cut->event;
    replay.cut_byte = cut->byte;
    replay.fate = cut->fate;
  }
  alarm(HANG_SECONDS);
  io_init(&io, &replay.base, NULL, -1, driver.limits.max_bytes);
  o.r = talk_identify(&io, &driver, &o.identity);
  int identified = o.r;
  if (o.r == 0) {
    o.step = "acquire";
    o.r = talk_acquire(&io, &driver, order);
  }
  memcpy(o.reason, io.reason, sizeof o.reason);
  o.unplugged = io.unplugged;
  o.released = talk_release(&io, &driver, identified);
  o.asked = releases > 0;
  o.runaway = replay.runaway;
  if (!cut && o.r >= 0)
    replay_done(&replay);
  else if (!cut && f->capture.end != CAPTURE_OK)
    replay_done(&replay);
  memcpy(o.departed, replay.departed, sizeof o.departed);
  return o;
}

/* ---- as it was ---- */

static bool same_identity(const struct acq_identity *a, const struct acq_identity *b) {
  return !strcmp(a->make, b->make) && !strcmp(a->model, b->model) && !strcmp(a->serial, b->serial) &&
         !strcmp(a->firmware, b->firmware);
}

static void check_whole(const struct fixture *f, size_t chunk) {
  const enum capture_end end = f->capture.end;
  struct outcome o;
  snprintf(now_playing.text, sizeof now_playing.text, "%.200s as it was", f->path);
  o = play(f, NULL, chunk);
  const char *how = chunk == 1 ? " (byte by byte)" : "";
  if (o.departed[0])
    fixture_fail(f, "the driver departs from the capture%s: %s", how, o.departed);
  else if (end == CAPTURE_OK && o.r < 0)
    fixture_fail(f, "ended ok, now %s() says %d%s: %s", o.step, o.r, how, o.reason);
  else if (end == CAPTURE_CANCEL && o.r != -ECANCELED)
    fixture_fail(f, "was cancelled, now %s() says %d%s: %s", o.step, o.r, how, o.reason);
  else if (end != CAPTURE_OK && o.r == 0)
    fixture_fail(f, "ended %s, now all is well%s", capture_end_name(end), how);
  else if (o.r == 0 && !same_identity(&o.identity, &f->capture.identity))
    fixture_fail(f, "another identity than then%s", how);
}

/* ---- cut everywhere ---- */

static bool is_defined(int r) {
  static const int errors[] = {0,    -EPROTO, -EBADMSG,   -ERANGE, -ENODATA,  -ENXIO,
                               -EIO, -EPIPE,  -ETIMEDOUT, -ENODEV, -ECANCELED};
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
    if (errors[i] == r)
      return true;
  return false;
}

static void check_cut(const struct fixture *f, const struct cut *cut, size_t chunk) {
  const char *fate = fates[cut->fate], *wrong = NULL;
  snprintf(now_playing.text, sizeof now_playing.text, "%.150s, cut before event %zu byte %zu, then %s", f->path,
           cut->event + 1, cut->byte, fate);
  struct outcome o = play(f, cut, chunk);
  if (o.departed[0])
    wrong = o.departed;
  else if (o.runaway)
    wrong = "the driver never stops asking";
  else if (!is_defined(o.r) || !is_defined(o.released))
    wrong = "an error that driver.h does not list";
  else if (o.unplugged && o.r != -ENODEV)
    wrong = "unplugged, and the driver did not stop";
  else if (f->driver->release && o.asked == (o.unplugged || o.r == -ENXIO))
    wrong = o.asked ? "release() was asked of an instrument that is not there" : "release() was not asked";
  if (wrong)
    fixture_fail(f, "cut before event %zu byte %zu, then %s: %s() says %d, release %d: %s", cut->event + 1, cut->byte,
                 fate, o.step, o.r, o.released, wrong);
}

/* The capture as a crash at the cut would have left it. Borrows the whole one's bytes. */
static void check_decode(const struct fixture *f, const struct cut *cut) {
  struct acq_capture c = f->capture;
  struct record_result results[WIRE_RECORDS];
  char reason[256];
  struct capture_event saved = {0};
  c.end = CAPTURE_CRASH;
  c.n_events = cut->event + (cut->byte ? 1 : 0);
  c.n_received = 0;
  while (c.n_blobs && c.blobs[c.n_blobs - 1].event >= c.n_events)
    c.n_blobs--;
  if (cut->byte) {
    saved = c.events[cut->event];
    c.events[cut->event].n = cut->byte;
  }
  for (size_t i = 0; i < c.n_events; i++)
    if (c.events[i].kind == ACQ_RECEIVED)
      c.n_received += c.events[i].n;
  int r = record_decode(f->driver, &c, results, reason);
  if (cut->byte)
    c.events[cut->event] = saved;
  for (int i = 0; i < WIRE_RECORDS && r == 0; i++) {
    if (results[i].json && !strstr(results[i].json, "\"complete\":false"))
      fixture_fail(f, "cut before event %zu byte %zu: decodes as complete", cut->event + 1, cut->byte);
    record_result_finish(&results[i]);
  }
  if (r < 0 && !is_defined(r))
    fixture_fail(f, "cut before event %zu byte %zu: decode says %d: %s", cut->event + 1, cut->byte, r, reason);
}

/* It is cut before each of its bytes: what was received, and the file of a driver that takes files whole. */
static bool is_swept(const struct fixture *f, size_t event) {
  enum acq_event_kind kind = f->capture.events[event].kind;
  return kind == ACQ_RECEIVED || (kind == ACQ_BLOB && drivers_takes_whole_file(f->driver));
}

static void sweep(const struct fixture *f) {
  const struct acq_capture *c = &f->capture;
  size_t at = 0, n = 0, points = 0, runs = 0;
  for (size_t e = 0; e < c->n_events; e++)
    n += is_swept(f, e) ? c->events[e].n : 0;
  for (size_t e = 0; e < c->n_events; e++) {
    size_t positions = is_swept(f, e) ? c->events[e].n : 1;
    for (size_t b = 0; b < positions; b++) {
      struct cut cut = {.event = e, .byte = b};
      if (positions > 1 && !fixture_tries(at + b, n, EDGE))
        continue;
      points++;
      for (cut.fate = REPLAY_END; cut.fate <= REPLAY_CANCEL; cut.fate++, runs++)
        check_cut(f, &cut, n <= 4 * EDGE && points % 2 ? 1 : SIZE_MAX);
      check_decode(f, &cut);
    }
    if (is_swept(f, e))
      at += c->events[e].n;
  }
  printf("%s: %zu points, %zu conversations\n", f->path, points, runs);
  fflush(stdout);
}

int main(int argc, char **argv) {
  char why[DRIVERS_WHY_MAX];
  bool sweeping = argc > 1 && !strcmp(argv[1], "--sweep");
  if (argc < 2 + sweeping) {
    fprintf(stderr, "usage: replay [--sweep] CAPTURE...\n");
    return 2;
  }
  if (drivers_check(acq_drivers, why) < 0 || hash_open() < 0) {
    fprintf(stderr, "%s\n", why);
    return 1;
  }
  signal(SIGALRM, on_alarm);
  for (int i = 1 + sweeping; i < argc; i++) {
    struct fixture f;
    if (!fixture_read(argv[i], &f)) {
      fixture_failures++;
      continue;
    }
    check_whole(&f, SIZE_MAX);
    check_whole(&f, 1);
    if (sweeping)
      sweep(&f);
    fixture_finish(&f);
  }
  printf("replay: %d captures, %u failures\n", argc - 1 - sweeping, fixture_failures);
  return fixture_failures ? 1 : 0;
}
