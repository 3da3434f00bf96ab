/* The serial transport over real libserialport on the simulated adapter of tests/sim. Run under umockdev-wrapper; the
 * shim is put in front by starting this program again. */
#include "io.h"
#include "sandbox.h"
#include "serial_bed.h"
#include "talk.h"
#include "transport.h"
#include "wall.h"
#include "worker_toy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define NODE "/dev/ttyUSB0"

/* A timer may be late on a busy machine, never early. */
#define LATE_MS 40

struct fixture {
  struct serial_bed *bed;
  struct serial_bed_port *port;
  struct transport *transport;
  struct acq_io io;
  int daemon, worker;
};

static int set_up(void **state) {
  static struct fixture f;
  char why[TRANSPORT_WHY_MAX];
  int pair[2];
  f.bed = serial_bed_create(NULL);
  if (!f.bed || serial_bed_add(f.bed, &(struct serial_bed_options){0}, &f.port) < 0 || serial_bed_plug(f.port) < 0 ||
      socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) < 0 ||
      transport_serial_open(NODE, toy.match, &f.transport, why) < 0)
    return -1;
  f.daemon = pair[0];
  f.worker = pair[1];
  io_init(&f.io, f.transport, NULL, f.worker, 1 << 20);
  *state = &f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  transport_destroy(f->transport);
  serial_bed_destroy(f->bed);
  close(f->daemon);
  close(f->worker);
  return 0;
}

static void send_bytes(struct fixture *f, const char *bytes) {
  assert_int_equal(write(serial_bed_fd(f->port), bytes, strlen(bytes)), strlen(bytes));
}

/* Does one thing to the fixture a moment later, in another thread. */
struct later {
  pthread_t thread;
  struct fixture *f;
  void (*act)(struct fixture *f);
  unsigned ms;
  uint64_t done_us;
};

static void *later_run(void *arg) {
  struct later *l = arg;
  usleep(l->ms * 1000);
  l->done_us = monotonic_us();
  l->act(l->f);
  return NULL;
}

static void later(struct later *l, struct fixture *f, unsigned ms, void (*act)(struct fixture *f)) {
  *l = (struct later){.f = f, .act = act, .ms = ms};
  assert_int_equal(pthread_create(&l->thread, NULL, later_run, l), 0);
}

/* Milliseconds between the act and now. */
static uint64_t joined(struct later *l) {
  uint64_t now = monotonic_us();
  pthread_join(l->thread, NULL);
  return (now - l->done_us) / 1000;
}

static void act_rest(struct fixture *f) {
  ssize_t n = write(serial_bed_fd(f->port), "CD", 2);
  (void)n;
}

static void act_cancel(struct fixture *f) {
  wire_send(f->daemon, &(struct wire_message){.type = WIRE_CANCEL});
}

static void act_unplug(struct fixture *f) {
  serial_bed_unplug(f->port);
}

static void test_settings(void **state) {
  struct fixture *f = *state;
  struct termios t;
  char why[TRANSPORT_WHY_MAX];
  struct transport *second;
  assert_int_equal(tcgetattr(serial_bed_fd(f->port), &t), 0); /* both ends of the line share them */
  assert_int_equal(cfgetospeed(&t), B115200);
  assert_int_equal(t.c_cflag & (CSIZE | PARENB | CSTOPB | CRTSCTS), CS8);
  assert_int_equal(t.c_iflag & (IXON | IXOFF | INLCR | ICRNL | ISTRIP), 0);
  assert_int_equal(t.c_lflag & (ICANON | ECHO | ISIG), 0);
  assert_int_equal(transport_serial_open(NODE, toy.match, &second, why), -EBUSY);
  assert_string_equal(why, "another program holds the serial port");
  assert_int_equal(transport_serial_open("/dev/ttyUSB7", toy.match, &second, why), -ENOENT);
  assert_int_equal(transport_serial_open(NODE, toy_file.match, &second, why), -EINVAL);
}

/* The row with the adapter's ids gives the settings, wherever it stands. */
static void test_settings_by_id(void **state) {
  struct fixture *f = *state;
  static const struct acq_match table[] = {{.bus = ACQ_SERIAL, .baud = 9600},
                                           {.bus = ACQ_SERIAL,
                                            .vendor = 0x0403,
                                            .product = 0x6001,
                                            .generic = true,
                                            .baud = 19200,
                                            .parity = ACQ_PARITY_EVEN},
                                           {0}};
  char why[TRANSPORT_WHY_MAX];
  struct termios t;
  transport_destroy(f->transport);
  assert_int_equal(transport_serial_open(NODE, table, &f->transport, why), 0);
  assert_int_equal(tcgetattr(serial_bed_fd(f->port), &t), 0);
  assert_int_equal(cfgetospeed(&t), B19200);
}

static void test_old_bytes_are_flushed(void **state) {
  struct fixture *f = *state;
  char why[TRANSPORT_WHY_MAX], b;
  transport_destroy(f->transport);
  f->transport = NULL;
  serial_bed_look(f->port);
  send_bytes(f, "stale");
  assert_int_equal(transport_serial_open(NODE, toy.match, &f->transport, why), 0);
  io_init(&f->io, f->transport, NULL, f->worker, 1 << 20);
  assert_int_equal(acq_read_some(&f->io, &b, 1, 50), -ETIMEDOUT);
}

static void test_exact(void **state) {
  struct fixture *f = *state;
  struct later l;
  char b[8] = "";
  send_bytes(f, "AB");
  later(&l, f, 30, act_rest);
  assert_int_equal(acq_read(&f->io, b, 4, 500), 0);
  assert_in_range(joined(&l), 0, LATE_MS);
  assert_string_equal(b, "ABCD");
  send_bytes(f, "line\nmore");
  assert_int_equal(acq_read_until(&f->io, '\n', b, sizeof b, 500), 5);
  assert_int_equal(acq_read(&f->io, b, 4, 0), 0); /* there already: no time is needed */
  assert_memory_equal(b, "more", 4);
}

static void test_deadlines(void **state) {
  struct fixture *f = *state;
  static const unsigned ms[] = {0, 1, 20, 150};
  char b[4];
  for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
    uint64_t before = monotonic_us();
    send_bytes(f, "x");
    assert_int_equal(acq_read(&f->io, b, 2, ms[i]), -ETIMEDOUT);
    uint64_t took = monotonic_us() - before;
    assert_in_range(took, ms[i] * 1000, (ms[i] + LATE_MS) * 1000);
    while (acq_read_some(&f->io, b, 4, 5) > 0)
      ;
  }
}

static void test_write(void **state) {
  struct fixture *f = *state;
  char b[8] = "";
  assert_int_equal(acq_write(&f->io, "hello", 5, 500), 0);
  struct pollfd fd = {.fd = serial_bed_fd(f->port), .events = POLLIN};
  assert_int_equal(poll(&fd, 1, 500), 1);
  assert_int_equal(read(fd.fd, b, sizeof b), 5);
  assert_string_equal(b, "hello");
  /* An instrument that takes nothing fills the line. */
  static char much[1 << 16];
  uint64_t before = monotonic_us();
  int r = 0;
  for (int i = 0; i < 100 && r == 0; i++)
    r = acq_write(&f->io, much, sizeof much, 100);
  assert_int_equal(r, -ETIMEDOUT);
  assert_in_range(monotonic_us() - before, 100000, 3000000);
}

static void test_cancel(void **state) {
  struct fixture *f = *state;
  struct later l;
  char b;
  later(&l, f, 30, act_cancel);
  assert_int_equal(acq_read(&f->io, &b, 1, 5000), -ECANCELED);
  assert_in_range(joined(&l), 0, 50);
  assert_int_equal(acq_write(&f->io, "x", 1, 10), -ECANCELED);
  io_release(&f->io);
  assert_int_equal(acq_write(&f->io, "x", 1, 10), 0);
  send_bytes(f, "!");
  assert_int_equal(acq_read(&f->io, &b, 1, 100), 0);
}

/* A stream without a pause does not hide a cancel. */
static void test_cancel_in_a_stream(void **state) {
  struct fixture *f = *state;
  char b[4];
  send_bytes(f, "0123456789");
  act_cancel(f);
  assert_int_equal(acq_read_some(&f->io, b, 4, 1000), -ECANCELED);
}

static void test_unplug(void **state) {
  struct fixture *f = *state;
  struct later l;
  char b;
  later(&l, f, 30, act_unplug);
  assert_int_equal(acq_read(&f->io, &b, 1, 5000), -ENODEV);
  assert_in_range(joined(&l), 0, 50);
  assert_true(f->io.unplugged);
  assert_int_equal(acq_write(&f->io, "x", 1, 10), -ENODEV);
  assert_int_equal(transport_write(f->transport, "x", 1, monotonic_us() + 1000), -ENODEV);
}

static void test_unplug_before_read(void **state) {
  struct fixture *f = *state;
  char b[8];
  assert_int_equal(serial_bed_unplug(f->port), 0);
  uint64_t before = monotonic_us();
  assert_int_equal(acq_read(&f->io, b, 8, 5000), -ENODEV);
  assert_in_range(monotonic_us() - before, 0, 50000);
}

/* The instrument's half of the toy's conversation, on the simulator's descriptor. */
static void *toy_module(void *arg) {
  struct fixture *f = arg;
  char line[64];
  size_t n = 0;
  while (n < sizeof line - 1) {
    struct pollfd fd = {.fd = serial_bed_fd(f->port), .events = POLLIN};
    if (poll(&fd, 1, 3000) <= 0 || read(fd.fd, line + n, 1) != 1)
      return NULL;
    if (line[n++] != '\n')
      continue;
    line[n] = 0;
    uint8_t frame[TOY_FRAME];
    if (!strcmp(line, "ID?\n"))
      send_bytes(f, "TOY 42\n");
    for (unsigned i = 0; i < 2 && !strcmp(line, "GO\n"); i++) {
      toy_frame(i, frame);
      for (size_t b = 0; b < TOY_FRAME; b++)
        if (write(fd.fd, frame + b, 1) != 1)
          return NULL;
    }
    if (!strcmp(line, "STOP\n")) {
      send_bytes(f, "OK\n");
      return NULL;
    }
    n = 0;
  }
  return NULL;
}

/* The inner half of a test, in this program started again: a fork alone would carry the locks of umockdev's threads. */
#define READY_FD 10

static pid_t start_inner(const char *name, int *ret_ready) {
  int ready[2];
  pid_t child;
  posix_spawn_file_actions_t actions;
  char *const argv[] = {(char[]){"inner"}, (char *)(uintptr_t)name, NULL};
  assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ready[1], READY_FD);
  assert_int_equal(posix_spawn(&child, "/proc/self/exe", &actions, NULL, argv, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(ready[1]);
  *ret_ready = ready[0];
  return child;
}

/* Waits until it says that it is ready; -1 when it ended before. */
static int wait_ready(int ready) {
  char b;
  ssize_t n = read(ready, &b, 1);
  close(ready);
  return n == 1 ? 0 : -1;
}

static void expect_well(pid_t child) {
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status))
    fail_msg("the inner half stopped at its step %d", WEXITSTATUS(status));
}

static int inner_open(struct transport **ret, struct acq_io *io) {
  char why[TRANSPORT_WHY_MAX];
  if (transport_serial_open(NODE, toy.match, ret, why) < 0)
    return 1;
  if (sandbox_limit(10) < 0 || sandbox_enter(ACQ_SERIAL) < 0)
    return 2;
  io_init(io, *ret, NULL, -1, 4096);
  if (transport_start(*ret) < 0)
    return 3;
  return write(READY_FD, "r", 1) == 1 ? 0 : 4;
}

static int inner_talk(void) {
  struct transport *t;
  struct acq_io io;
  struct acq_identity id;
  int r = inner_open(&t, &io);
  if (r)
    return r;
  if (talk_identify(&io, &toy, &id) < 0 || strcmp(id.serial, "42"))
    return 5;
  if (talk_acquire(&io, &toy, &(struct acq_order){.seconds = 2}) < 0)
    return 6;
  if (talk_release(&io, &toy, 0) < 0)
    return 7;
  transport_destroy(t);
  return 0;
}

static int inner_unplug(void) {
  struct transport *t;
  struct acq_io io;
  char b;
  int r = inner_open(&t, &io);
  if (r)
    return r;
  if (acq_read(&io, &b, 1, 5000) != -ENODEV)
    return 5;
  transport_destroy(t);
  return 0;
}

static int inner(const char *name) {
  return !strcmp(name, "talk") ? inner_talk() : !strcmp(name, "unplug") ? inner_unplug() : 99;
}

static void test_inside_the_sandbox(void **state) {
  struct fixture *f = *state;
  pthread_t module;
  int ready;
  transport_destroy(f->transport);
  f->transport = NULL;
  pid_t child = start_inner("talk", &ready);
  assert_int_equal(wait_ready(ready), 0);
  assert_int_equal(pthread_create(&module, NULL, toy_module, f), 0);
  expect_well(child);
  pthread_join(module, NULL);
}

static void test_unplug_inside_the_sandbox(void **state) {
  struct fixture *f = *state;
  int ready;
  transport_destroy(f->transport);
  f->transport = NULL;
  pid_t child = start_inner("unplug", &ready);
  assert_int_equal(wait_ready(ready), 0);
  usleep(30000); /* into its read */
  assert_int_equal(serial_bed_unplug(f->port), 0);
  expect_well(child);
}

#define BED_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv) {
  if (argc == 2)
    _exit(inner(argv[1]));
  if (!serial_bed_available()) {
    fprintf(stderr, "run me under umockdev-wrapper\n");
    return 77;
  }
  if (!strstr(getenv("LD_PRELOAD"), "tty_shim")) {
    char *preload = serial_bed_preload(NULL);
    if (!preload || setenv("LD_PRELOAD", preload, 1) < 0)
      return 1;
    free(preload);
    execv("/proc/self/exe", argv);
    return 1;
  }
  const struct CMUnitTest tests[] = {
      BED_TEST(test_settings),
      BED_TEST(test_settings_by_id),
      BED_TEST(test_old_bytes_are_flushed),
      BED_TEST(test_exact),
      BED_TEST(test_deadlines),
      BED_TEST(test_write),
      BED_TEST(test_cancel),
      BED_TEST(test_cancel_in_a_stream),
      BED_TEST(test_unplug),
      BED_TEST(test_unplug_before_read),
      BED_TEST(test_inside_the_sandbox),
      BED_TEST(test_unplug_inside_the_sandbox),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
