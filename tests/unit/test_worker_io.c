/* io and talk over a transport that follows a script, recording into a real memory file and speaking over a real
 * socket. */
#include "io.h"
#include "talk.h"
#include <asalee/record.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* What one call of the transport does: bytes to read, or how many it accepts, or an error. */
struct step {
  const char *bytes;
  int result; /* error, or bytes accepted of a write; with bytes 0 */
};

struct script {
  struct transport base;
  const struct step *steps;
  size_t at;
  uint64_t now_us, last_deadline_us, last_idle_us;
  size_t last_max, last_want;
  char written[256];
  size_t n_written;
};

static struct step next(struct script *s) {
  struct step step = s->steps[s->at];
  if (step.bytes || step.result)
    s->at++;
  else
    step.result = -ENODEV;
  s->now_us += 1000;
  return step;
}

static int script_read(struct transport *t, void *bytes, size_t max, size_t want, uint64_t deadline_us) {
  struct script *s = (struct script *)t;
  s->last_max = max;
  s->last_want = want;
  s->last_deadline_us = deadline_us;
  assert_in_range(want, 1, max);
  struct step step = next(s);
  if (!step.bytes)
    return step.result;
  size_t n = strlen(step.bytes);
  assert_in_range(n, 1, max);
  memcpy(bytes, step.bytes, n);
  return (int)n;
}

static int script_write(struct transport *t, const void *bytes, size_t n, uint64_t deadline_us) {
  struct script *s = (struct script *)t;
  s->last_deadline_us = deadline_us;
  struct step step = next(s);
  if (step.result < 0)
    return step.result;
  size_t part = n < (size_t)step.result ? n : (size_t)step.result;
  memcpy(s->written + s->n_written, bytes, part);
  s->n_written += part;
  return (int)part;
}

static uint64_t script_now(struct transport *t) {
  return ((struct script *)t)->now_us;
}

/* Parts of any size, until they are enough or something happens. */
static int script_pour(struct transport *t, uint64_t n, transport_take take, void *arg, uint64_t idle_us,
                       uint64_t deadline_us) {
  struct script *s = (struct script *)t;
  s->last_deadline_us = deadline_us;
  s->last_idle_us = idle_us;
  while (n) {
    struct step step = next(s);
    if (!step.bytes)
      return step.result;
    size_t part = strlen(step.bytes);
    assert_in_range(part, 1, n);
    int r = take(arg, step.bytes, part);
    if (r < 0)
      return r;
    n -= part;
  }
  return 0;
}

static int script_control(struct transport *t, const struct transport_setup *setup, void *bytes, uint64_t deadline_us) {
  assert_int_equal(setup->request_type, 0xc0);
  return script_read(t, bytes, setup->length, 1, deadline_us);
}

static int script_interrupt(struct transport *t, void *bytes, size_t max, uint64_t deadline_us) {
  return script_read(t, bytes, max, 1, deadline_us);
}

static const struct transport_ops script_ops = {.read = script_read, .write = script_write, .now_us = script_now};
static const struct transport_ops usb_ops = {.read = script_read,
                                             .write = script_write,
                                             .now_us = script_now,
                                             .pour = script_pour,
                                             .control = script_control,
                                             .interrupt_packet = script_interrupt};

struct fixture {
  struct script script;
  struct capture_writer writer;
  struct acq_io io;
  int fd, blobs, daemon, worker;
};

static void begin(struct fixture *f, const struct step *steps) {
  static const struct capture_header header = {
      .driver = "toy", .version = "1", .bus = ACQ_SERIAL, .order = {.seconds = 2}};
  int pair[2];
  *f =
      (struct fixture){.script = {.steps = steps}, .fd = memfd_create("capture", 0), .blobs = memfd_create("blobs", 0)};
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
  f->daemon = pair[0];
  f->worker = pair[1];
  transport_init(&f->script.base, &script_ops);
  capture_writer_init(&f->writer, f->fd, 1 << 20);
  f->writer.blobs = f->blobs;
  capture_write_header(&f->writer, &header);
  io_init(&f->io, &f->script.base, &f->writer, f->worker, 64);
  assert_int_equal(f->script.base.interrupt, f->worker);
}

/* Compares the capture's events with a text: one line each, "<bytes", ">bytes" or "!note". */
static void end(struct fixture *f, const char *expected) {
  char text[8192], blobs[1024], got[4096] = "";
  struct acq_capture c;
  struct acq_event e;
  ssize_t n = pread(f->fd, text, sizeof text, 0);
  ssize_t n_blobs = pread(f->blobs, blobs, sizeof blobs, 0);
  assert_int_equal(capture_parse_with(text, (size_t)n, blobs, (size_t)n_blobs, &c, NULL), 0);
  for (size_t i = 0; acq_capture_event(&c, i, &e); i++)
    snprintf(got + strlen(got), sizeof got - strlen(got), "%c%.*s|", (char)e.kind, (int)e.n, (const char *)e.bytes);
  assert_string_equal(got, expected);
  capture_finish(&c);
  close(f->fd);
  close(f->blobs);
  close(f->worker);
  if (f->daemon >= 0)
    close(f->daemon);
}

static void test_read(void **state) {
  (void)state;
  struct fixture f;
  char b[16] = "";
  begin(&f, (const struct step[]){{"AB", 0}, {"CDE", 0}, {"FG", 0}, {0}});
  assert_int_equal(acq_read(&f.io, b, 4, 100), 0);
  assert_string_equal(b, "ABCD");
  assert_int_equal(f.script.last_want, 2);
  assert_int_equal(f.script.last_max, 62); /* the bound, less what came */
  assert_int_equal(f.script.last_deadline_us, 100000);
  assert_int_equal(acq_read_some(&f.io, b, 16, 100), 1);
  assert_int_equal(b[0], 'E');
  assert_int_equal(acq_read_some(&f.io, b, 16, 50), 2);
  assert_int_equal(f.script.last_deadline_us, 52000);
  assert_int_equal(f.script.last_want, 1);
  assert_int_equal(acq_read(&f.io, b, 0, 0), 0);
  assert_int_equal(acq_read_some(&f.io, b, 0, 0), -EINVAL);
  end(&f, "<AB|<CDE|<FG|");
}

static void test_read_until(void **state) {
  (void)state;
  struct fixture f;
  char b[16];
  begin(&f, (const struct step[]){{"ab", 0}, {"c\nde\nfg", 0}, {"hijkl", 0}, {0}});
  assert_int_equal(acq_read_until(&f.io, '\n', b, sizeof b, 100), 4);
  assert_memory_equal(b, "abc\n", 4);
  assert_int_equal(acq_read_until(&f.io, '\n', b, sizeof b, 100), 3);
  assert_memory_equal(b, "de\n", 3);
  assert_int_equal(acq_read_until(&f.io, '\n', b, 5, 100), -EPROTO);
  assert_int_equal(acq_read_some(&f.io, b, sizeof b, 100), 2); /* "kl" */
  end(&f, "<ab|<c\nde\nfg|<hijkl|");
}

static void test_timeout(void **state) {
  (void)state;
  struct fixture f;
  char b[16];
  begin(&f, (const struct step[]){{"AB", 0}, {NULL, -ETIMEDOUT}, {"CD", 0}, {0}});
  assert_int_equal(acq_read(&f.io, b, 4, 100), -ETIMEDOUT);
  assert_int_equal(acq_read_some(&f.io, b, 4, 100), 2);
  assert_memory_equal(b, "CD", 2); /* what a failed read had got is in the capture only */
  end(&f, "<AB|!timeout|<CD|");
}

static void test_phase_deadline(void **state) {
  (void)state;
  struct fixture f;
  char b[4];
  begin(&f, (const struct step[]){{"AB", 0}, {"C", 0}, {NULL, 1}, {0}});
  assert_int_equal(io_begin(&f.io, "acquire", 30), 0);
  assert_int_equal(acq_read_some(&f.io, b, 4, 100), 2);
  assert_int_equal(f.script.last_deadline_us, 30000);
  assert_int_equal(acq_read_some(&f.io, b, 4, 5), 1);
  assert_int_equal(f.script.last_deadline_us, 6000);
  assert_int_equal(acq_write(&f.io, "x", 1, 100), 0);
  assert_int_equal(f.script.last_deadline_us, 30000);
  end(&f, "!acquire|<AB|<C|>x|");
}

static void test_write(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, (const struct step[]){{NULL, 3}, {NULL, 9}, {NULL, 2}, {NULL, -ETIMEDOUT}, {0}});
  assert_int_equal(acq_write(&f.io, "hello", 5, 100), 0);
  assert_memory_equal(f.script.written, "hello", 5);
  assert_int_equal(acq_write(&f.io, "world", 5, 100), -ETIMEDOUT);
  end(&f, ">hel|>lo|>wo|!timeout|");
}

static void test_bound(void **state) {
  (void)state;
  struct fixture f;
  char b[100];
  begin(&f,
        (const struct step[]){{"0123456789012345678901234567890123456789", 0}, {"012345678901234567890123", 0}, {0}});
  assert_int_equal(acq_read(&f.io, b, 64, 100), 0);
  assert_int_equal(f.script.last_max, 24);
  assert_int_equal(acq_read_some(&f.io, b, 1, 100), -EFBIG);
  assert_int_equal(acq_usb_control(&f.io, 0xc0, 1, 0, 0, b, 1, 10), -EFBIG);
  assert_string_equal(f.io.reason, "more than 64 bytes received");
  end(&f, "<0123456789012345678901234567890123456789|<012345678901234567890123|");
}

/* Where the recording ends, so does the conversation. */
static void test_full_capture(void **state) {
  (void)state;
  struct fixture f;
  char b[16];
  begin(&f, (const struct step[]){{"AB", 0}, {"CD", 0}, {NULL, 4}, {0}});
  f.writer.max = f.writer.written + 10;
  assert_int_equal(acq_read_some(&f.io, b, 16, 100), 2);
  assert_int_equal(acq_read_some(&f.io, b, 16, 100), -EFBIG);
  assert_int_equal(acq_write(&f.io, "x", 1, 100), -EFBIG);
  assert_string_equal(f.io.reason, "the capture cannot be written");
  io_release(&f.io); /* the instrument is stopped all the same */
  assert_int_equal(acq_write(&f.io, "stop", 4, 100), 0);
  assert_memory_equal(f.script.written, "stop", 4);
  end(&f, "<AB|");
}

static void test_unplug(void **state) {
  (void)state;
  struct fixture f;
  char b[16];
  begin(&f, (const struct step[]){{"AB", 0}, {NULL, -ENODEV}, {"CD", 0}, {0}});
  assert_int_equal(acq_read(&f.io, b, 4, 100), -ENODEV);
  assert_int_equal(acq_read(&f.io, b, 1, 100), -ENODEV);
  assert_int_equal(acq_write(&f.io, b, 1, 100), -ENODEV);
  assert_int_equal(acq_usb_control(&f.io, 0xc0, 1, 0, 0, b, 1, 10), -ENODEV);
  assert_true(f.io.unplugged);
  end(&f, "<AB|!unplugged|");
}

static void say(int fd, enum wire_type type) {
  assert_int_equal(wire_send(fd, &(struct wire_message){.type = type}), 0);
}

static void test_cancel(void **state) {
  (void)state;
  struct fixture f;
  char b[16];
  begin(&f, (const struct step[]){{"ABC", 0}, {NULL, -EINTR}, {NULL, 1}, {"D", 0}, {0}});
  assert_int_equal(acq_read_some(&f.io, b, 1, 100), 1);
  assert_int_equal(acq_read_some(&f.io, b, 2, 100), 2);
  say(f.daemon, WIRE_CANCEL);
  assert_int_equal(acq_read_some(&f.io, b, 1, 100), -ECANCELED);
  assert_int_equal(acq_read_some(&f.io, b, 1, 100), -ECANCELED);
  assert_int_equal(acq_write(&f.io, b, 1, 100), -ECANCELED);
  assert_string_equal(f.io.reason, "cancelled");
  assert_false(f.io.peer_gone);
  io_release(&f.io);
  assert_int_equal(f.script.base.interrupt, -1);
  assert_int_equal(acq_write(&f.io, "x", 1, 100), 0);
  assert_int_equal(acq_read_some(&f.io, b, 1, 100), 1);
  end(&f, "<ABC|!cancelled|>x|<D|");
}

static void test_spurious_interrupt(void **state) {
  (void)state;
  struct fixture f;
  char b[4];
  begin(&f, (const struct step[]){{NULL, -EINTR}, {"A", 0}, {NULL, -EINTR}, {NULL, 2}, {0}});
  assert_int_equal(acq_read(&f.io, b, 1, 100), 0);
  assert_int_equal(acq_write(&f.io, "xy", 2, 100), 0);
  end(&f, "<A|>xy|");
}

static void test_peer_gone(void **state) {
  (void)state;
  struct fixture f;
  char b[4];
  begin(&f, (const struct step[]){{NULL, -EINTR}, {0}});
  close(f.daemon);
  f.daemon = -1;
  assert_int_equal(acq_read(&f.io, b, 1, 100), -ECANCELED);
  assert_true(f.io.peer_gone);
  acq_progress(&f.io, 1, 2); /* to nobody */
  assert_false(f.io.progress_due);
  end(&f, "!cancelled|");
}

static void test_out_of_turn(void **state) {
  (void)state;
  struct fixture f;
  char b[4];
  begin(&f, (const struct step[]){{NULL, -EINTR}, {0}});
  say(f.daemon, WIRE_START);
  assert_int_equal(acq_read(&f.io, b, 1, 100), -ECANCELED);
  assert_string_equal(f.io.reason, "the daemon said something out of turn");
  end(&f, "!cancelled|");
}

static void test_await(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, (const struct step[]){{0}});
  say(f.daemon, WIRE_START);
  assert_int_equal(talk_await(&f.io), 0);
  say(f.daemon, WIRE_CANCEL);
  assert_int_equal(talk_await(&f.io), -ECANCELED);
  assert_int_equal(talk_await(&f.io), -ECANCELED);
  end(&f, "!cancelled|!fail cancelled|!fail cancelled|");
}

static void test_fail(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, (const struct step[]){{0}});
  assert_int_equal(acq_fail(&f.io, -EPROTO, "first %d", 1), -EPROTO);
  assert_int_equal(acq_fail(&f.io, -EIO, "second"), -EIO);
  assert_string_equal(f.io.reason, "first 1");
  assert_int_equal(io_begin(&f.io, NULL, 10), 0);
  assert_int_equal(acq_fail(&f.io, -EIO, "third"), -EIO);
  assert_string_equal(f.io.reason, "third");
  end(&f, "");
}

static void test_control_without_usb(void **state) {
  (void)state;
  struct fixture f;
  char b[4];
  begin(&f, (const struct step[]){{0}});
  assert_int_equal(acq_usb_control(&f.io, 0xc0, 1, 0, 0, b, 4, 10), -EOPNOTSUPP);
  end(&f, "");
}

static void hear(struct fixture *f, struct wire_message *ret) {
  assert_int_equal(wire_receive(f->daemon, ret), 0);
}

static void test_messages(void **state) {
  (void)state;
  struct fixture f;
  struct wire_message m;
  int16_t values[3] = {1, ACQ_GAP, -3};
  struct acq_preview preview = {.channels = 1,
                                .samples = 3,
                                .first = 7,
                                .rate_hz = 500,
                                .scale = {263, -2},
                                .code = {"lead_v2"},
                                .values = {values}};
  begin(&f, (const struct step[]){{0}});
  acq_progress(&f.io, 1, 9);
  acq_progress(&f.io, 1, 9);
  acq_contacts(&f.io, 0, 0);
  acq_contacts(&f.io, 0, 0);
  acq_preview(&f.io, &preview);
  hear(&f, &m);
  assert_int_equal(m.type, WIRE_PROGRESS);
  assert_int_equal(m.progress.done, 1);
  hear(&f, &m);
  assert_int_equal(m.type, WIRE_CONTACTS);
  hear(&f, &m);
  assert_int_equal(m.type, WIRE_PREVIEW);
  assert_string_equal(nomenclature_row(m.preview.code[0])->code, "lead_v2");
  assert_memory_equal(m.preview.values[0], values, sizeof values);
  assert_int_equal(wire_receive(f.daemon, &m), -EAGAIN);

  static const unsigned bad[][2] = {{0, 3}, {17, 3}, {1, 0}, {1, 65}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    preview.channels = bad[i][0];
    preview.samples = bad[i][1];
    acq_preview(&f.io, &preview);
    preview.channels = 1;
    preview.samples = 3;
  }
  preview.code[0] = "no_such_code";
  acq_preview(&f.io, &preview);
  assert_true(f.io.preview_refused);
  assert_int_equal(wire_receive(f.daemon, &m), -EAGAIN);
  end(&f, "");
}

/* A daemon that does not read costs previews, and nothing waits; the latest progress and contacts reach it later. */
static void test_full_socket(void **state) {
  (void)state;
  struct fixture f;
  struct wire_message m;
  static int16_t values[ACQ_PREVIEW_SAMPLES];
  struct acq_preview preview = {.channels = ACQ_PREVIEW_CHANNELS, .samples = ACQ_PREVIEW_SAMPLES, .rate_hz = 500};
  for (unsigned i = 0; i < ACQ_PREVIEW_CHANNELS; i++) {
    preview.code[i] = "lead_i";
    preview.values[i] = values;
  }
  begin(&f, (const struct step[]){{"A", 0}, {0}});
  for (unsigned i = 0; i < 5000; i++)
    acq_preview(&f.io, &preview);
  while (wire_send(f.worker, &(struct wire_message){.type = WIRE_OPENED}) == 0)
    ; /* not even a small one fits now */
  for (unsigned i = 0; i < 100; i++) {
    acq_progress(&f.io, i, 100);
    acq_contacts(&f.io, 0x3ff, i);
  }
  assert_true(f.io.progress_due && f.io.contacts_due);
  while (wire_receive(f.daemon, &m) == 0)
    assert_true(m.type == WIRE_PREVIEW || m.type == WIRE_OPENED);
  char b;
  assert_int_equal(acq_read(&f.io, &b, 1, 100), 0); /* any call flushes */
  hear(&f, &m);
  assert_int_equal(m.type, WIRE_PROGRESS);
  assert_int_equal(m.progress.done, 99);
  hear(&f, &m);
  assert_int_equal(m.type, WIRE_CONTACTS);
  assert_int_equal(m.contacts.on, 99);
  assert_int_equal(wire_receive(f.daemon, &m), -EAGAIN);
  assert_false(f.io.progress_due || f.io.contacts_due);
  end(&f, "<A|");
}

/* ---- the parts of a conversation ---- */

static int said; /* what the driver below answers */

static int answer_identify(struct acq_io *io, struct acq_identity *ret) {
  char b;
  memcpy(ret->make, said == 7 ? "caf\xe9" : "Caf\xc3\xa9", 5);
  return said == 7 ? 0 : said == 9 ? (acq_read_some(io, &b, 1, 10), 0) : said;
}

static int answer_acquire(struct acq_io *io, const struct acq_order *order) {
  char b;
  (void)order;
  if (said == 9)
    acq_read_some(io, &b, 1, 10); /* swallows what it gets */
  if (said == 8)
    return acq_fail(io, -EPROTO, "bad \x01\xff text");
  return said == 9 ? 0 : said;
}

static int answer_release(struct acq_io *io) {
  return acq_write(io, "S", 1, 10);
}

static const struct acq_driver answering = {.name = "answering",
                                            .limits = {.grace_ms = 50},
                                            .identify = answer_identify,
                                            .acquire = answer_acquire,
                                            .release = answer_release};

static void test_judgement(void **state) {
  (void)state;
  struct fixture f;
  struct acq_identity id = {.make = "before"};
  struct acq_order order = {.seconds = 3};
  begin(&f, (const struct step[]){{NULL, 1}, {0}});
  said = -ENXIO;
  assert_int_equal(talk_identify(&f.io, &answering, &id), -ENXIO);
  assert_string_equal(f.io.reason, "identify: No such device or address");
  assert_string_equal(id.make, "before");
  assert_int_equal(talk_release(&f.io, &answering, -ENXIO), 0); /* a stranger is left alone */
  assert_int_equal(f.script.n_written, 0);
  said = 7;
  assert_int_equal(talk_identify(&f.io, &answering, &id), -EPROTO);
  assert_string_equal(f.io.reason, "the instrument's name is not a clean text");
  said = 3;
  assert_int_equal(talk_acquire(&f.io, &answering, &order), -EPROTO);
  assert_string_equal(f.io.reason, "the driver's acquire() returned 3");
  said = 8;
  assert_int_equal(talk_acquire(&f.io, &answering, &order), -EPROTO);
  assert_string_equal(f.io.reason, "bad ?? text");
  said = 0;
  assert_int_equal(talk_identify(&f.io, &answering, &id), 0);
  assert_string_equal(id.make, "Caf\xc3\xa9");
  assert_int_equal(talk_acquire(&f.io, &answering, &order), 0);
  assert_int_equal(f.io.deadline_us, 3050000);
  assert_int_equal(talk_release(&f.io, &answering, 0), 0);
  assert_memory_equal(f.script.written, "S", 1);
  end(&f, "!fail identify: No such device or address|!fail the instrument's name is not a clean text|!acquire|"
          "!fail the driver's acquire() returned 3|!acquire|!fail bad ?? text|!identity|!make Caf\xc3\xa9|!model |"
          "!serial |!firmware |!acquire|!release|>S|");
}

static void test_swallowed(void **state) {
  (void)state;
  struct fixture f;
  struct acq_identity id;
  struct acq_order order = {.seconds = 3};
  said = 9;
  begin(&f, (const struct step[]){{NULL, -EINTR}, {NULL, 1}, {0}});
  say(f.daemon, WIRE_CANCEL);
  assert_int_equal(talk_acquire(&f.io, &answering, &order), -ECANCELED);
  assert_int_equal(talk_release(&f.io, &answering, 0), 0);
  end(&f, "!acquire|!cancelled|!fail cancelled|!release|>S|");

  begin(&f, (const struct step[]){{NULL, -ENODEV}, {NULL, 1}, {0}});
  assert_int_equal(talk_identify(&f.io, &answering, &id), -ENODEV);
  assert_int_equal(talk_release(&f.io, &answering, -ENODEV), 0);
  assert_int_equal(f.script.n_written, 0);
  end(&f, "!unplugged|!fail identify: No such device|");
}

/* ---- blobs, by reading and by pouring ---- */

static void begin_blobs(struct fixture *f, bool pours, const struct step *steps) {
  begin(f, steps);
  if (pours)
    f->script.base.ops = &usb_ops;
}

static void test_blob(void **state) {
  (void)state;
  for (int pours = 0; pours < 2; pours++) {
    struct fixture f;
    char b[4];
    begin_blobs(&f, pours,
                (const struct step[]){{"hd", 0}, {"abc", 0}, {"de", 0}, {NULL, 1}, {"fg", 0}, {"i", 0}, {0}});
    acq_progress(&f.io, 2, 100);
    assert_int_equal(acq_read(&f.io, b, 2, 100), 0);
    assert_int_equal(acq_blob(&f.io, 5, 50, 100), 0);
    if (pours)
      assert_int_equal(f.script.last_idle_us, 100000);
    else
      assert_int_equal(f.script.last_want, 2);
    assert_int_equal(f.io.progress.done, 52);
    assert_int_equal(acq_write(&f.io, "x", 1, 100), 0); /* it goes on in another part */
    assert_int_equal(acq_blob(&f.io, 2, 10, 100), 0);
    assert_int_equal(f.io.progress.done, 62);
    assert_int_equal(f.io.received, 9);
    assert_int_equal(acq_blob_end(&f.io), 0);
    assert_int_equal(acq_blob_end(&f.io), 0); /* there is none */
    assert_int_equal(acq_blob(&f.io, 0, 10, 100), 0);
    assert_int_equal(acq_blob(&f.io, 1, 0, 100), 0);
    assert_int_equal(acq_blob_drop(&f.io), 0);
    end(&f, "<hd|@abcde|>x|@fg|#abcdefg|@i|~i|");
  }
}

/* Bytes that came with what was read before. */
static void test_blob_held(void **state) {
  (void)state;
  for (int pours = 0; pours < 2; pours++) {
    struct fixture f;
    char b[4] = "";
    begin_blobs(&f, pours, (const struct step[]){{"hAB", 0}, {"CD", 0}, {"hEFtGz", 0}, {NULL, 1}, {"w", 0}, {0}});
    assert_int_equal(acq_read(&f.io, b, 1, 100), 0);
    assert_int_equal(acq_blob(&f.io, 4, 0, 100), 0);
    assert_int_equal(acq_blob_end(&f.io), 0);
    assert_int_equal(acq_read(&f.io, b, 1, 100), 0);
    assert_int_equal(acq_blob(&f.io, 2, 0, 100), 0);
    assert_int_equal(acq_blob_end(&f.io), 0);
    assert_int_equal(acq_write(&f.io, "x", 1, 100), 0); /* what is held is still there after it */
    assert_int_equal(acq_read(&f.io, b, 1, 100), 0);
    assert_string_equal(b, "t");
    assert_int_equal(acq_blob(&f.io, 1, 0, 100), 0);
    assert_int_equal(acq_read(&f.io, b, 2, 100), 0);
    assert_string_equal(b, "zw");
    assert_int_equal(acq_blob_end(&f.io), 0);
    end(&f, "<h|@AB|@CD|#ABCD|<h|@EF|<t|#EF|>x|@G|<z|<w|#G|");
  }
  struct fixture f; /* a control transfer in between: its answer is the last line now */
  char b[4];
  begin_blobs(&f, true, (const struct step[]){{"hAB", 0}, {"ok", 0}, {"hC", 0}, {0}});
  assert_int_equal(acq_read(&f.io, b, 1, 100), 0);
  assert_int_equal(acq_usb_control(&f.io, 0xc0, 1, 0, 0, b, 2, 10), 2);
  assert_int_equal(acq_blob(&f.io, 2, 0, 100), -EINVAL);
  assert_int_equal(acq_read(&f.io, b, 3, 100), 0);
  assert_int_equal(acq_blob(&f.io, 1, 0, 100), 0);
  assert_int_equal(acq_blob_end(&f.io), 0);
  end(&f, "<hAB|>\xc0\1|<ok|<h|@C|#C|");
}

/* Whatever stops a blob: what came stands before it, and stays. */
static void test_blob_stopped(void **state) {
  (void)state;
  static const struct {
    int err;
    const char *events;
  } rows[] = {{-ETIMEDOUT, "@ab|!timeout|@c|#abc|"},
              {-EPROTO, "@ab|!damaged|@c|#abc|"},
              {-EPIPE, "@ab|!stalled|@c|#abc|"},
              {-ENODATA, "@ab|!end of file|@c|#abc|"},
              {-ENODEV, "@ab|!unplugged|~ab|"}};
  for (int pours = 0; pours < 2; pours++)
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
      struct fixture f;
      const struct step steps[] = {{"ab", 0}, {NULL, rows[i].err}, {"c", 0}, {0}};
      begin_blobs(&f, pours, steps);
      acq_progress(&f.io, 0, 9);
      assert_int_equal(acq_blob(&f.io, 3, 9, 100), rows[i].err);
      assert_int_equal(f.io.progress.done, 6);
      assert_int_equal(f.io.received, 2);
      int gone = rows[i].err == -ENODEV ? -ENODEV : 0;
      assert_int_equal(acq_blob(&f.io, 1, 3, 100), gone); /* the rest, in another part */
      assert_int_equal(acq_blob_end(&f.io), gone);
      capture_write_blob_end(&f.writer, ACQ_BLOB_WASTE, 9); /* as the end of the capture does */
      end(&f, rows[i].events);
    }
}

static void test_blob_cancelled(void **state) {
  (void)state;
  for (int pours = 0; pours < 2; pours++) {
    struct fixture f;
    begin_blobs(&f, pours, (const struct step[]){{"ab", 0}, {NULL, -EINTR}, {NULL, -EINTR}, {"c", 0}, {"d", 0}, {0}});
    say(f.daemon, WIRE_FINISH); /* stops nothing; the driver hears it when it asks */
    assert_int_equal(acq_blob(&f.io, 3, 0, 100), 0);
    assert_true(acq_finishing(&f.io));
    assert_true(acq_finishing(&f.io)); /* noted once */
    assert_int_equal(acq_blob_end(&f.io), 0);
    end(&f, "@ab|@c|!finish|#abc|");

    begin_blobs(&f, pours, (const struct step[]){{"ab", 0}, {NULL, -EINTR}, {NULL, 1}, {"c", 0}, {0}});
    assert_false(acq_finishing(&f.io));
    say(f.daemon, WIRE_FINISH);
    say(f.daemon, WIRE_CANCEL);
    assert_int_equal(io_listen(&f.io), 0);
    assert_int_equal(acq_blob(&f.io, 3, 0, 100), -ECANCELED);
    assert_int_equal(acq_blob(&f.io, 1, 0, 100), -ECANCELED);
    assert_int_equal(acq_blob_end(&f.io), -ECANCELED);
    io_release(&f.io);
    assert_int_equal(acq_write(&f.io, "x", 1, 100), 0);
    capture_write_blob_end(&f.writer, ACQ_BLOB_WASTE, 9);
    end(&f, "@ab|!cancelled|>x|~ab|");
  }
}

static void test_blob_bounds(void **state) {
  (void)state;
  struct fixture f;
  char b[64];
  begin_blobs(&f, true, (const struct step[]){{"hab", 0}, {"c", 0}, {"i", 0}, {0}});
  assert_int_equal(acq_read(&f.io, b, 1, 100), 0);
  assert_int_equal(acq_blob(&f.io, 64, 0, 100), -EFBIG); /* with what was read, one too many */
  assert_string_equal(f.io.reason, "more than 64 bytes received");
  assert_int_equal(acq_blob(&f.io, UINT64_MAX, 0, 100), -EFBIG);
  f.io.max_bytes = UINT32_MAX;
  assert_int_equal(acq_blob(&f.io, ACQ_BLOB_MAX + 1, 0, 100), -EFBIG); /* before a byte of it is taken */
  f.writer.blobs_bytes = ACQ_BLOBS_BYTES_MAX - 2;
  assert_int_equal(acq_blob(&f.io, 3, 0, 100), -EFBIG);
  f.writer.blobs_bytes = 0;
  assert_int_equal(acq_blob(&f.io, 3, 0, 100), 0);
  assert_int_equal(acq_blob_end(&f.io), 0);
  f.io.max_bytes = 5; /* 4 are there */
  assert_int_equal(acq_usb_interrupt(&f.io, b, 2, 100), -EFBIG);
  assert_int_equal(acq_usb_interrupt(&f.io, b, 1, 100), 1);
  assert_int_equal(acq_usb_interrupt(&f.io, b, 1, 100), -EFBIG);
  f.io.max_bytes = 3; /* and less than was received is no room, not all there is */
  assert_int_equal(acq_blob(&f.io, 1, 0, 100), -EFBIG);
  assert_int_equal(acq_usb_control(&f.io, 0xc0, 1, 0, 0, b, 1, 10), -EFBIG);
  assert_int_equal(acq_read_some(&f.io, b, 1, 10), -EFBIG);
  end(&f, "<h|@ab|@c|#abc|^i|");
}

/* Where blobs cannot be written, the conversation ends, and what was written can be mended. */
static void test_blob_full(void **state) {
  (void)state;
  for (int pours = 0; pours < 2; pours++) {
    struct fixture f;
    begin_blobs(&f, pours, (const struct step[]){{"ab", 0}, {"cd", 0}, {NULL, 4}, {0}});
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    f.writer.blobs = full;
    assert_int_equal(acq_blob(&f.io, 4, 0, 100), -ENOSPC);
    assert_string_equal(f.io.reason, "the blob cannot be written");
    assert_int_equal(acq_blob(&f.io, 1, 0, 100), -ENOSPC);
    assert_int_equal(acq_blob_drop(&f.io), -ENOSPC);
    io_release(&f.io); /* the instrument is stopped all the same */
    assert_int_equal(acq_write(&f.io, "stop", 4, 100), 0);
    assert_int_equal(capture_mend(f.fd, f.blobs), 0);
    close(full);
    end(&f, "");
  }
}

static void test_interrupts(void **state) {
  (void)state;
  struct fixture f;
  char b[8];
  begin(&f, (const struct step[]){{0}});
  assert_int_equal(acq_usb_interrupt(&f.io, b, 8, 100), -EOPNOTSUPP);
  end(&f, "");
  begin_blobs(&f, true,
              (const struct step[]){{"ev", 0}, {NULL, -ETIMEDOUT}, {NULL, -EINTR}, {"w", 0}, {NULL, -EINTR}, {0}});
  assert_int_equal(acq_usb_interrupt(&f.io, b, 0, 100), -EINVAL);
  assert_int_equal(acq_usb_interrupt(&f.io, b, 8, 100), 2);
  assert_memory_equal(b, "ev", 2);
  assert_int_equal(acq_usb_interrupt(&f.io, b, 8, 100), -ETIMEDOUT);
  say(f.daemon, WIRE_FINISH);
  assert_int_equal(acq_usb_interrupt(&f.io, b, 8, 100), 1);
  assert_int_equal(f.io.received, 3);
  say(f.daemon, WIRE_CANCEL);
  assert_int_equal(acq_usb_interrupt(&f.io, b, 8, 100), -ECANCELED);
  assert_true(acq_finishing(&f.io));
  end(&f, "^ev|!timeout|^w|!cancelled|!finish|");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_read),
      cmocka_unit_test(test_read_until),
      cmocka_unit_test(test_timeout),
      cmocka_unit_test(test_phase_deadline),
      cmocka_unit_test(test_write),
      cmocka_unit_test(test_bound),
      cmocka_unit_test(test_full_capture),
      cmocka_unit_test(test_unplug),
      cmocka_unit_test(test_cancel),
      cmocka_unit_test(test_spurious_interrupt),
      cmocka_unit_test(test_peer_gone),
      cmocka_unit_test(test_out_of_turn),
      cmocka_unit_test(test_await),
      cmocka_unit_test(test_fail),
      cmocka_unit_test(test_control_without_usb),
      cmocka_unit_test(test_messages),
      cmocka_unit_test(test_full_socket),
      cmocka_unit_test(test_judgement),
      cmocka_unit_test(test_swallowed),
      cmocka_unit_test(test_blob),
      cmocka_unit_test(test_blob_held),
      cmocka_unit_test(test_blob_stopped),
      cmocka_unit_test(test_blob_cancelled),
      cmocka_unit_test(test_blob_bounds),
      cmocka_unit_test(test_blob_full),
      cmocka_unit_test(test_interrupts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
