#include "capture.h"
#include "io.h"
#include "talk.h"
#include "transport_replay.h"
#include "worker_toy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

struct play {
  struct acq_capture capture;
  struct replay replay;
  struct acq_io io;
};

static void play_text(struct play *p, const char *text) {
  unsigned line = 0;
  assert_int_equal(capture_parse(text, strlen(text), &p->capture, &line), 0);
  replay_init(&p->replay, &p->capture);
  io_init(&p->io, &p->replay.base, NULL, -1, 4096);
}

#define HEAD "asaleed-capture 1\ndriver toy 1\nbus serial\norder 1\nstart 2026-01-02T03:04:05.000000+01:00\n"

static void play_body(struct play *p, const char *body) {
  char text[4096];
  snprintf(text, sizeof text, HEAD "%s", body);
  play_text(p, text);
}

/* The driver's whole conversation; the first failure. */
static int play_all(struct play *p) {
  struct acq_identity id;
  const struct acq_order *order = acq_capture_order(&p->capture);
  int r = talk_identify(&p->io, &toy, &id), identified = r;
  if (r == 0)
    r = talk_acquire(&p->io, &toy, order);
  int released = talk_release(&p->io, &toy, identified);
  return r < 0 ? r : released;
}

static void test_whole(void **state) {
  (void)state;
  char *text = toy_capture(3, "end ok");
  for (size_t chunk = 1; chunk < 40; chunk++) {
    struct play p;
    play_text(&p, text);
    p.replay.chunk = chunk;
    assert_int_equal(play_all(&p), 0);
    assert_int_equal(replay_done(&p.replay), 0);
    capture_finish(&p.capture);
  }
  free(text);
}

/* Replayed with a recorder below it, a capture gives itself again, event by event. */
static void test_same_again(void **state) {
  (void)state;
  char *text = toy_capture(3, "end ok"), again[4096];
  struct play p;
  struct capture_writer w;
  struct acq_capture c;
  int fd = memfd_create("again", 0);
  play_text(&p, text);
  capture_writer_init(&w, fd, 1 << 20);
  p.io.capture = &w;
  capture_write_header(&w, &p.capture.header);
  assert_int_equal(play_all(&p), 0);
  capture_write_end(&w, CAPTURE_OK);
  ssize_t n = pread(fd, again, sizeof again, 0);
  assert_int_equal(capture_parse(again, (size_t)n, &c, NULL), 0);
  assert_int_equal(c.n_events, p.capture.n_events);
  struct acq_event a, b;
  for (size_t i = 0; acq_capture_event(&c, i, &a); i++) {
    assert_true(acq_capture_event(&p.capture, i, &b));
    assert_int_equal(a.kind, b.kind);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.bytes, b.bytes, a.n);
  }
  free(text);
  close(fd);
  capture_finish(&c);
  capture_finish(&p.capture);
}

static void test_wrong_bytes(void **state) {
  (void)state;
  struct play p;
  play_body(&p, "> 1 49443f0a\n> 2 0102\nend ok\n");
  assert_int_equal(acq_write(&p.io, "ID?", 3, 10), 0);
  assert_int_equal(acq_write(&p.io, "\n\x01\x03", 3, 10), -EILSEQ);
  assert_string_equal(p.io.reason, "event 2, byte 1: expected > 02, got > 03");
  capture_finish(&p.capture);
}

static void test_write_before_read(void **state) {
  (void)state;
  struct play p;
  play_body(&p, "< 1 4142\n< 2 4344\n> 3 58\n< 4 45\nend ok\n");
  char c[8];
  assert_int_equal(acq_read(&p.io, c, 1, 10), 0);
  assert_int_equal(acq_write(&p.io, "X", 1, 10), -EILSEQ);
  assert_string_equal(p.io.reason, "event 2, byte 0: expected < 4344, got > 58");
  capture_finish(&p.capture);
}

/* Bytes that arrived in one read are still there after a write; the next ones only after it. */
static void test_rest_survives_write(void **state) {
  (void)state;
  struct play p;
  for (size_t chunk = 1; chunk < 4; chunk++) {
    play_body(&p, "< 1 4142\n< 2 434445\n> 3 58\n< 4 46\nend ok\n");
    p.replay.chunk = chunk;
    char c[8] = "";
    assert_int_equal(acq_read(&p.io, c, 3, 10), 0);
    assert_int_equal(acq_write(&p.io, "X", 1, 10), 0);
    assert_int_equal(acq_read(&p.io, c + 3, 3, 10), 0);
    assert_string_equal(c, "ABCDEF");
    assert_int_equal(replay_done(&p.replay), 0);
    capture_finish(&p.capture);
  }
}

static void test_read_where_it_writes(void **state) {
  (void)state;
  struct play p;
  play_body(&p, "< 1 41\n> 3 58\nend ok\n");
  char c[2];
  assert_int_equal(acq_read(&p.io, c, 2, 10), -EILSEQ);
  assert_string_equal(p.io.reason, "event 2, byte 0: expected > 58, got a read");
  capture_finish(&p.capture);
}

static void test_notes(void **state) {
  (void)state;
  struct play p;
  char c[8];
  play_body(&p, "< 1 41\n! 101 timeout\n> 102 58\n! 602 timeout\n< 700 42\n! 800 cancelled\n! 801 fail cancelled\n"
                "< 900 43\n! 950 damaged\n! 960 end of file\n! 1000 unplugged\nend error\n");
  assert_int_equal(acq_read(&p.io, c, 2, 100), -ETIMEDOUT);
  assert_int_equal(acq_elapsed_ms(&p.io), 102); /* the host's turn: the time of what it does next */
  assert_int_equal(acq_write(&p.io, "XY", 2, 500), -ETIMEDOUT);
  assert_int_equal(acq_elapsed_ms(&p.io), 602);
  assert_int_equal(acq_read_some(&p.io, c, 8, 100), 1);
  assert_int_equal(acq_read_some(&p.io, c, 8, 100), -ECANCELED);
  assert_int_equal(acq_read_some(&p.io, c, 8, 100), -ECANCELED); /* sticky */
  io_release(&p.io);
  assert_int_equal(acq_read_some(&p.io, c, 8, 100), 1);
  assert_int_equal(acq_read_some(&p.io, c, 8, 100), -EPROTO);
  assert_int_equal(acq_read_some(&p.io, c, 8, 100), -ENODATA);
  assert_int_equal(acq_read_some(&p.io, c, 8, 100), -ENODEV);
  assert_int_equal(acq_write(&p.io, "X", 1, 100), -ENODEV);
  assert_true(p.io.unplugged);
  capture_finish(&p.capture);
}

static void test_end(void **state) {
  (void)state;
  struct play p;
  char c[8];
  play_body(&p, "< 1 41\n");
  assert_int_equal(acq_read_some(&p.io, c, 8, 100), 1);
  assert_int_equal(replay_done(&p.replay), 0);
  assert_int_equal(acq_read_some(&p.io, c, 8, 100), -ENODEV);
  capture_finish(&p.capture);

  play_body(&p, "< 1 41\n< 2 42\n");
  assert_int_equal(acq_read_some(&p.io, c, 8, 100), 1);
  assert_int_equal(replay_done(&p.replay), -EILSEQ);
  assert_string_equal(p.replay.base.why, "event 2, byte 0: expected < 42, got the end of the conversation");
  capture_finish(&p.capture);
}

static void test_phases(void **state) {
  (void)state;
  struct play p;
  char c[8];
  play_body(&p, "< 1 41\n! 2 acquire\n< 3 42\n! 4 release\n< 5 43\nend ok\n");
  assert_int_equal(acq_read(&p.io, c, 2, 100), -EILSEQ);
  assert_string_equal(p.io.reason, "event 2, byte 0: expected ! acquire, got a read");
  capture_finish(&p.capture);

  play_body(&p, "< 1 41\n! 2 acquire\n< 3 42\n! 4 release\n< 5 43\nend ok\n");
  assert_int_equal(io_begin(&p.io, "acquire", 100), -EILSEQ);
  assert_string_equal(p.io.reason, "event 1, byte 0: expected < 41, got ! acquire");
  capture_finish(&p.capture);

  /* Cancelled while the nurse was getting ready. */
  play_body(&p, "< 1 41\n! 2 cancelled\n! 4 release\nend cancel\n");
  assert_int_equal(acq_read(&p.io, c, 1, 100), 0);
  assert_int_equal(io_begin(&p.io, "acquire", 100), -ECANCELED);
  io_release(&p.io);
  assert_int_equal(io_begin(&p.io, "release", 100), 0);
  assert_int_equal(replay_done(&p.replay), 0);
  capture_finish(&p.capture);
}

static void test_fates(void **state) {
  (void)state;
  static const struct {
    enum replay_fate fate;
    int read, again, write;
  } cases[] = {
      {REPLAY_END, -ENODEV, -ENODEV, -ENODEV},
      {REPLAY_UNPLUG, -ENODEV, -ENODEV, -ENODEV},
      {REPLAY_TIMEOUT, -ETIMEDOUT, -ETIMEDOUT, 1},
      {REPLAY_CANCEL, -ECANCELED, -ETIMEDOUT, 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct play p;
    char c[8];
    play_body(&p, "< 1 414243\n< 2 44\nend ok\n");
    p.replay.cut_event = 0;
    p.replay.cut_byte = 2;
    p.replay.fate = cases[i].fate;
    struct transport *t = &p.replay.base;
    assert_int_equal(transport_read(t, c, 8, 1, 1000), 2);
    assert_int_equal(transport_read(t, c, 8, 1, 500000), cases[i].read);
    assert_int_equal(transport_read(t, c, 8, 1, 900000), cases[i].again);
    assert_int_equal(transport_write(t, "x", 1, 1000), cases[i].write);
    if (cases[i].again == -ETIMEDOUT)
      assert_int_equal(transport_now_us(t), 900000);
    capture_finish(&p.capture);
  }
}

static void test_runaway(void **state) {
  (void)state;
  struct play p;
  char c;
  play_body(&p, "< 1 41\nend ok\n");
  p.replay.cut_event = 0;
  p.replay.cut_byte = 0;
  p.replay.fate = REPLAY_TIMEOUT;
  unsigned calls = 0;
  while (transport_read(&p.replay.base, &c, 1, 1, 0) == -ETIMEDOUT)
    assert_in_range(++calls, 1, 20000);
  assert_true(p.replay.runaway);
  capture_finish(&p.capture);
}

static void test_control(void **state) {
  (void)state;
  struct play p;
  uint8_t b[8] = {1, 2};
  play_body(&p, "> 1 4001341256000200"
                "0102\n"                                   /* OUT */
                "> 2 c002000000000400\n< 2 aabb\n< 3 cc\n" /* IN, then a bulk byte */
                "> 4 c003000000000400\n! 5 stalled\n"
                "> 6 c004000000000400\n! 6 empty\n< 7 dd\nend ok\n");
  assert_int_equal(acq_usb_control(&p.io, 0x40, 1, 0x1234, 0x56, b, 2, 100), 2);
  assert_int_equal(acq_usb_control(&p.io, 0xc0, 2, 0, 0, b, 4, 100), 2);
  assert_memory_equal(b, "\xaa\xbb", 2);
  assert_int_equal(acq_read(&p.io, b, 1, 100), 0);
  assert_int_equal(b[0], 0xcc);
  assert_int_equal(acq_usb_control(&p.io, 0xc0, 3, 0, 0, b, 4, 100), -EPIPE);
  assert_int_equal(acq_usb_control(&p.io, 0xc0, 4, 0, 0, b, 4, 100), 0);
  assert_int_equal(acq_read(&p.io, b, 1, 100), 0);
  assert_int_equal(b[0], 0xdd);
  assert_int_equal(replay_done(&p.replay), 0);
  assert_int_equal(acq_usb_control(&p.io, 0xc0, 4, 0, 0, b, 4, 100), -ENODEV);
  capture_finish(&p.capture);
}

/* ---- a driver with blobs, interrupts and an end that the nurse chooses ---- */

static int snap_identify(struct acq_io *io, struct acq_identity *ret) {
  char ok[2];
  int r = acq_write(io, "ID", 2, 100);
  if (r == 0)
    r = acq_read(io, ok, sizeof ok, 100);
  memcpy(ret->make, "Snap", 5);
  return r;
}

/* "GET": 'h' and a length, that many bytes, later an 's'. Silence in between: "MORE", how many are left, and they. */
static int snap_get(struct acq_io *io) {
  uint8_t head[2] = {0}, left;
  int r = acq_write(io, "GET", 3, 100);
  if (r == 0)
    r = acq_read(io, head, 2, 100);
  if (r == 0 && head[0] != 'h')
    return acq_fail(io, -EPROTO, "no head");
  if (r == 0)
    r = acq_blob(io, head[1], 1, 100);
  if (r == -ETIMEDOUT) {
    r = acq_write(io, "MORE", 4, 100);
    if (r == 0)
      r = acq_read(io, &left, 1, 100);
    if (r == 0)
      r = acq_blob(io, left, 1, 100);
  }
  return r == 0 ? acq_blob_end(io) : r;
}

static int snap_acquire(struct acq_io *io, const struct acq_order *order) {
  bool owed = false, last;
  char b[8];
  int r = 0;
  do {
    last = acq_finishing(io) || acq_elapsed_ms(io) > order->seconds * 1000u;
    if (owed)
      r = acq_read(io, b, 1, 100); /* the 's' */
    if (r < 0 || last)
      return r;
    r = acq_usb_interrupt(io, b, sizeof b, 1000);
    if (r > 0) {
      r = snap_get(io);
      owed = true;
    } else {
      owed = false;
      r = r == -ETIMEDOUT ? 0 : r; /* nothing happens: the nurse takes her time */
    }
  } while (r == 0);
  return r;
}

static int snap_release(struct acq_io *io) {
  return acq_write(io, "BYE", 3, 100);
}

static const struct acq_driver snap = {.name = "snap",
                                       .limits = {.max_bytes = 4096, .grace_ms = 5000},
                                       .identify = snap_identify,
                                       .acquire = snap_acquire,
                                       .release = snap_release};

/* A recording, in memory files. */
struct recording {
  struct capture_writer w;
  int text, blobs;
  char bytes[8192], blob_bytes[256];
  size_t n_blobs;
  struct acq_capture capture;
};

static void recording_begin(struct recording *r) {
  static const struct capture_header header = {
      .driver = "snap", .version = "1", .bus = ACQ_USB, .order = {.seconds = 60, .modality = ACQ_FUNDUS}};
  r->text = memfd_create("text", 0);
  r->blobs = memfd_create("blobs", 0);
  capture_writer_init(&r->w, r->text, sizeof r->bytes);
  r->w.blobs = r->blobs;
  capture_write_header(&r->w, &header);
}

static void recording_end(struct recording *r, enum capture_end end) {
  unsigned line = 0;
  assert_int_equal(capture_write_end(&r->w, end), 0);
  ssize_t n = pread(r->text, r->bytes, sizeof r->bytes, 0);
  r->n_blobs = (size_t)pread(r->blobs, r->blob_bytes, sizeof r->blob_bytes, 0);
  if (capture_parse_with(r->bytes, (size_t)n, r->blob_bytes, r->n_blobs, &r->capture, &line) < 0)
    fail_msg("line %u of\n%.*s", line, (int)n, r->bytes);
  close(r->text);
  close(r->blobs);
}

static void recording_blob(struct recording *r, uint32_t ms, const char *bytes, size_t before, size_t after) {
  capture_add_to_blob(&r->w, bytes, strlen(bytes));
  capture_write_blob(&r->w, ms, strlen(bytes), before, after);
}

static void recording_line(struct recording *r, enum acq_event_kind kind, uint32_t ms, const char *bytes) {
  capture_write_event(&r->w, kind, ms, bytes, strlen(bytes));
}

static void record_snap(struct recording *r) {
  recording_begin(r);
  recording_line(r, ACQ_SENT, 1, "ID");
  recording_line(r, ACQ_RECEIVED, 2, "OK");
  capture_write_identity(&r->w, 2, &(struct acq_identity){.make = "Snap"});
  capture_write_note(&r->w, 3, "acquire");
  capture_write_note(&r->w, 1003, "timeout");
  recording_line(r, ACQ_INTERRUPT, 1500, "E");
  recording_line(r, ACQ_SENT, 1500, "GET");
  recording_line(r, ACQ_RECEIVED, 1510, "h\5ab"); /* the blob begins in what was read */
  recording_blob(r, 1510, "ab", 2, 0);
  recording_blob(r, 1520, "cde", 0, 0);
  capture_write_blob_end(&r->w, ACQ_BLOB_WHOLE, 1520);
  recording_line(r, ACQ_RECEIVED, 1530, "s");
  recording_line(r, ACQ_INTERRUPT, 1600, "E");
  recording_line(r, ACQ_SENT, 1600, "GET");
  recording_line(r, ACQ_RECEIVED, 1610, "h\6");
  recording_blob(r, 1620, "pq", 0, 0);
  capture_write_note(&r->w, 1720, "timeout"); /* it breaks off, and goes on in another part */
  recording_line(r, ACQ_SENT, 1720, "MORE");
  recording_line(r, ACQ_RECEIVED, 1730, "\4rs");
  recording_blob(r, 1730, "rs", 2, 0);
  recording_blob(r, 1740, "tu", 0, 0);
  capture_write_blob_end(&r->w, ACQ_BLOB_WHOLE, 1740);
  recording_line(r, ACQ_RECEIVED, 1750, "s");
  recording_line(r, ACQ_INTERRUPT, 1800, "E");
  recording_line(r, ACQ_SENT, 1800, "GET");
  recording_line(r, ACQ_RECEIVED, 1810, "h\3xyzs"); /* it lies in what was read, and more follows there */
  recording_blob(r, 1810, "xyz", 3, 1);
  capture_write_blob_end(&r->w, ACQ_BLOB_WHOLE, 1810);
  capture_write_note(&r->w, 1811, "finish");
  capture_write_note(&r->w, 1812, "release");
  recording_line(r, ACQ_SENT, 1812, "BYE");
  recording_end(r, CAPTURE_OK);
}

struct played {
  int result;
  char stream[256], others[1024]; /* what was read; all else in order, but for what only says how it was cut */
};

static struct played describe(const struct acq_capture *c, int result) {
  struct played p = {.result = result};
  struct acq_cur stream = acq_capture_received(c);
  struct acq_event e;
  size_t at = 0, n = acq_left(&stream);
  memcpy(p.stream, acq_bytes(&stream, n), n);
  char last = 0;
  for (size_t i = 0; acq_capture_event(c, i, &e); i++) {
    if (e.kind == ACQ_RECEIVED)
      continue;
    if (e.kind != ACQ_BLOB || last != ACQ_BLOB)
      at += (size_t)snprintf(p.others + at, sizeof p.others - at, "\n%c", (char)e.kind);
    last = (char)e.kind;
    at += (size_t)snprintf(p.others + at, sizeof p.others - at, "%.*s", (int)e.n, (const char *)e.bytes);
  }
  return p;
}

/* Plays the capture with a recorder below. */
static struct played play_snap(const struct recording *from, struct replay *replay) {
  static struct acq_io io;
  struct recording r = {0};
  struct acq_identity id;
  recording_begin(&r);
  io_init(&io, &replay->base, &r.w, -1, 4096);
  int result = talk_identify(&io, &snap, &id), identified = result;
  if (result == 0)
    result = talk_acquire(&io, &snap, acq_capture_order(&from->capture));
  int released = talk_release(&io, &snap, identified);
  recording_end(&r, CAPTURE_OK);
  assert_true(r.n_blobs <= from->n_blobs);
  assert_memory_equal(r.blob_bytes, from->blob_bytes, r.n_blobs); /* never other bytes */
  size_t ended = 0;
  for (size_t i = 0; i < r.capture.n_blobs; i++)
    ended += r.capture.blobs[i].n;
  assert_int_equal(ended, r.n_blobs);
  struct played p = describe(&r.capture, result < 0 ? result : released);
  capture_finish(&r.capture);
  return p;
}

static void test_blobs(void **state) {
  (void)state;
  struct recording from = {0};
  record_snap(&from);
  const struct played original = describe(&from.capture, 0);
  assert_string_equal(original.stream, "OKh\5sh\6\4sh\3s");
  assert_non_null(strstr(original.others, "\n@pq\n!timeout\n>MORE\n@rstu\n#pqrstu\n^E\n>GET\n@xyz\n#xyz\n!finish"));
  for (size_t chunk = 1; chunk < 10; chunk++) {
    struct replay replay;
    replay_init(&replay, &from.capture);
    replay.chunk = chunk;
    struct played again = play_snap(&from, &replay);
    if (again.result < 0)
      fail_msg("%s", replay.departed);
    assert_int_equal(replay_done(&replay), 0);
    assert_string_equal(again.stream, original.stream);
    assert_string_equal(again.others, original.others);
  }
  capture_finish(&from.capture);
}

/* Every fault at every byte: an error, and a recording that can be read, whose blobs are bytes of the first. */
static void test_blobs_swept(void **state) {
  (void)state;
  struct recording from = {0};
  struct acq_event e;
  unsigned plays = 0, whole = 0;
  record_snap(&from);
  for (size_t i = 0; acq_capture_event(&from.capture, i, &e); i++)
    for (size_t byte = 0; byte < e.n; byte++)
      for (int fate = REPLAY_END; fate <= REPLAY_CANCEL; fate++)
        for (size_t chunk = 1; chunk < 12; chunk += 10, plays++) {
          struct replay replay;
          replay_init(&replay, &from.capture);
          replay.cut_event = i;
          replay.cut_byte = byte;
          replay.fate = (enum replay_fate)fate;
          replay.chunk = chunk;
          struct played cut = play_snap(&from, &replay);
          assert_false(replay.runaway);
          whole += cut.result == 0;
          if (cut.result == -EILSEQ && fate != REPLAY_TIMEOUT)
            fail_msg("event %zu byte %zu fate %d: %s", i, byte, fate, replay.departed);
        }
  assert_true(plays > 1000);
  print_message("# %u plays, %u ended well\n", plays, whole);
  capture_finish(&from.capture);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_whole),
      cmocka_unit_test(test_same_again),
      cmocka_unit_test(test_wrong_bytes),
      cmocka_unit_test(test_write_before_read),
      cmocka_unit_test(test_rest_survives_write),
      cmocka_unit_test(test_read_where_it_writes),
      cmocka_unit_test(test_notes),
      cmocka_unit_test(test_end),
      cmocka_unit_test(test_phases),
      cmocka_unit_test(test_fates),
      cmocka_unit_test(test_runaway),
      cmocka_unit_test(test_control),
      cmocka_unit_test(test_blobs),
      cmocka_unit_test(test_blobs_swept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
