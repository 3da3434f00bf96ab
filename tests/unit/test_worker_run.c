/* The worker's commands, each in a child as the daemon starts them, on the toy drivers. */
#include "capture.h"
#include "commands.h"
#include "drivers.h"
#include "hash.h"
#include "record.h"
#include "str.h"
#include "worker_toy.h"
#include <asalee/wire.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 5000
#define START_US INT64_C(1767323045000000)

struct run {
  pid_t pid;
  int control, capture, record, blobs;
};

static void start_with(struct run *r, const struct wire_order *order, const char *capture, const void *blobs,
                       size_t n_blobs) {
  int pair[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
  r->control = pair[0];
  r->capture = memfd_create("capture", 0);
  r->record = memfd_create("record", 0);
  r->blobs = memfd_create("blobs", 0);
  if (capture)
    assert_int_equal(write(r->capture, capture, strlen(capture)), strlen(capture));
  assert_int_equal(write(r->blobs, blobs, n_blobs), n_blobs);
  r->pid = fork();
  if (r->pid == 0) {
    int fds[4] = {dup(pair[1]), dup(r->capture), dup(r->record), dup(r->blobs)};
    close(pair[0]);
    for (int i = 0; i < 4; i++)
      fds[i] = fcntl(fds[i], F_DUPFD, 100);
    for (int i = 0; i < 4; i++)
      dup2(fds[i], WIRE_FD_CONTROL + i);
    closefrom(WIRE_FD_BLOBS + 1);
    command_run(toy_table);
  }
  close(pair[1]);
  if (order)
    assert_int_equal(wire_send(r->control, &(struct wire_message){.type = WIRE_ORDER, .order = *order}), 0);
}

static void start(struct run *r, const struct wire_order *order, const char *capture) {
  start_with(r, order, capture, "", 0);
}

static void hear(struct run *r, enum wire_type expected, struct wire_message *ret) {
  struct pollfd fd = {.fd = r->control, .events = POLLIN};
  assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
  assert_int_equal(wire_receive(r->control, ret), 0);
  if (ret->type == WIRE_FAIL && expected != WIRE_FAIL)
    fail_msg("the worker failed: %s", ret->fail.text);
  assert_int_equal(ret->type, expected);
}

static void say(struct run *r, enum wire_type type) {
  assert_int_equal(wire_send(r->control, &(struct wire_message){.type = type}), 0);
}

static int ended(struct run *r) {
  int status;
  assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void finish(struct run *r) {
  close(r->control);
  close(r->capture);
  close(r->record);
  close(r->blobs);
}

/* The file's contents with a NUL; malloc()ed. */
static char *contents(int fd) {
  off_t n = lseek(fd, 0, SEEK_END);
  char *text = calloc(1, (size_t)n + 1);
  assert_int_equal(pread(fd, text, (size_t)n, 0), n);
  return text;
}

/* The lines' ends stand in the text one after the other, nothing between them but a note's mark and time. */
static bool in_order(const char *text, const char *const *ends) {
  const char *at = strstr(text, *ends);
  for (; at && *ends; ends++) {
    at = *ends[0] == ' ' && strncmp(at, *ends, strlen(*ends)) ? strpbrk(at + 2, " ") : at;
    if (!at || strncmp(at, *ends, strlen(*ends)))
      return false;
    at += strlen(*ends);
  }
  return at;
}

static char path[64];

/* The frames first.. of as many seconds. */
static void make_file_from(unsigned first, unsigned seconds) {
  uint8_t frame[TOY_FRAME];
  str_copy(path, sizeof path, "/tmp/worker-run-XXXXXX");
  int fd = mkstemp(path);
  assert_int_equal(write(fd, "TOY 42\n", 7), 7);
  for (unsigned i = first; i < first + seconds; i++) {
    toy_frame(i, frame);
    assert_int_equal(write(fd, frame, sizeof frame), sizeof frame);
  }
  close(fd);
}

static void make_file(unsigned seconds) {
  make_file_from(0, seconds);
}

static struct wire_order file_order(unsigned seconds) {
  struct wire_order o = {
      .driver = "toy_file",
      .bus = ACQ_FILE,
      .order = {.seconds = seconds, .started_us = START_US, .offset_minutes = 60, .modality = ACQ_ECG}};
  str_copy(o.node, sizeof o.node, path);
  return o;
}

/* OPENED, IDENTITY, START. */
static void up_to_start(struct run *r) {
  struct wire_message m;
  hear(r, WIRE_OPENED, &m);
  hear(r, WIRE_IDENTITY, &m);
  assert_string_equal(m.identity.serial, "42");
  assert_string_equal(m.identity.make, "Toys");
  say(r, WIRE_START);
}

static void expect_fail(struct run *r, int err, enum wire_step step, const char *text) {
  struct wire_message m;
  do
    assert_int_equal(wire_receive(r->control, &m), 0);
  while (m.type == WIRE_PROGRESS || m.type == WIRE_CONTACTS);
  assert_int_equal(m.type, WIRE_FAIL);
  assert_string_equal(m.fail.text, text);
  assert_int_equal(m.fail.err, err);
  assert_int_equal(m.fail.step, step);
  assert_int_equal(wire_receive(r->control, &m), -ENODATA);
  assert_int_equal(ended(r), 1);
}

static void test_whole(void **state) {
  (void)state;
  struct run r;
  struct wire_message m;
  make_file(2);
  struct wire_order order = file_order(2);
  start(&r, &order, NULL);
  up_to_start(&r);
  for (unsigned i = 0; i < 2; i++) {
    hear(&r, WIRE_PROGRESS, &m);
    assert_int_equal(m.progress.done, i + 1);
    hear(&r, WIRE_CONTACTS, &m);
  }
  hear(&r, WIRE_RECORD, &m);
  assert_int_equal(ended(&r), 0);

  char *text = contents(r.capture), *all = contents(r.record), reason[256];
  assert_memory_equal(
      text, "asaleed-capture 1\ndriver toy_file 1\nbus file\norder 2 ecg\nstart 2026-01-02T04:04:05.000000+01:00\n< ",
      96);
  assert_non_null(strstr(text, "\nend ok\n"));
  assert_int_equal(m.record.data_bytes[WIRE_OWN], 40);
  assert_int_equal(m.record.json_bytes[WIRE_STRAY] + m.record.data_bytes[WIRE_STRAY], 0);
  size_t json_bytes = m.record.json_bytes[WIRE_OWN];
  assert_int_equal(lseek(r.record, 0, SEEK_END), json_bytes + 40);
  int16_t samples[20];
  const char *json = all + sizeof samples;
  memcpy(samples, all, sizeof samples);
  for (int i = 0; i < 20; i++)
    assert_int_equal(samples[i], 100 * (i / 10) + i % 10);
  json_t *record;
  assert_int_equal(record_read(json, json_bytes, samples, sizeof samples, &record, reason), 0);
  assert_true(record_is_clean(record));
  json_decref(record);

  /* The same capture once more, without an instrument: the same record, byte for byte. */
  struct run again;
  struct wire_order redecode = {.driver = "toy_file"};
  start(&again, &redecode, text);
  hear(&again, WIRE_RECORD, &m);
  assert_int_equal(ended(&again), 0);
  char *all_again = contents(again.record);
  assert_int_equal(m.record.json_bytes[WIRE_OWN], json_bytes);
  assert_memory_equal(all_again, all, json_bytes + 40);
  finish(&again);
  free(all_again);
  free(all);
  free(text);
  finish(&r);
  unlink(path);
}

/* ---- a device that remembers: two records of one acquisition ---- */

static void write_text(const char *text);
static void expect_lines(struct decode_options options, const char *expected);

static struct wire_order memory_order(unsigned seconds) {
  struct wire_order o = file_order(seconds);
  str_copy(o.driver, sizeof o.driver, "toy_memory");
  o.order.modality = ACQ_SPIROMETRY;
  o.order.phase = ACQ_PRE;
  return o;
}

/* Plays the whole acquisition; what it made, after its samples. */
static struct wire_record acquire_memory(struct run *r, unsigned seconds) {
  struct wire_message m;
  struct wire_order order = memory_order(seconds);
  start(r, &order, NULL);
  up_to_start(r);
  do
    assert_int_equal(wire_receive(r->control, &m), 0);
  while (m.type == WIRE_PROGRESS || m.type == WIRE_CONTACTS);
  assert_int_equal(m.type, WIRE_RECORD);
  assert_int_equal(ended(r), 0);
  return m.record;
}

/* The record of frames first.. in the memory file: their samples at `data`, its JSON at `json`. */
static void check_memory(const char *json, size_t json_bytes, const char *data, unsigned first, unsigned seconds,
                         unsigned number, bool stray) {
  int16_t samples[4 * TOY_SAMPLES];
  char reason[256];
  json_t *record;
  size_t data_bytes = seconds * TOY_SAMPLES * sizeof *samples;
  memcpy(samples, data, data_bytes);
  for (unsigned i = 0; i < seconds * TOY_SAMPLES; i++)
    assert_int_equal(samples[i], 100 * (first + i / TOY_SAMPLES) + i % TOY_SAMPLES);
  if (record_read(json, json_bytes, samples, data_bytes, &record, reason) < 0)
    fail_msg("%s", reason);
  const json_t *acquired = json_object_get(record, "acquired"), *trials = json_object_get(acquired, "trials"),
               *measures = json_object_get(acquired, "measures");
  assert_int_equal(json_is_true(json_object_get(record, "stray")), stray);
  assert_string_equal(json_text(record, "modality"), "spirometry");
  assert_int_equal(json_array_size(trials), seconds);
  assert_int_equal(json_array_size(measures), seconds);
  for (unsigned i = 0; i < seconds; i++) {
    char value[16];
    snprintf(value, sizeof value, "1.%u00", first + i);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(trials, i), "number")), number + i);
    assert_string_equal(json_text(json_array_get(trials, i), "phase"), "pre");
    assert_string_equal(json_text(json_array_get(measures, i), "value"), value);
  }
  json_decref(record);
}

static void test_two_records(void **state) {
  (void)state;
  struct run r, again;
  struct wire_message m;
  make_file(4); /* 0, 100, 200 and 300 s after the start, and it takes no time: two of them are another's */
  struct wire_record made = acquire_memory(&r, 4);
  unlink(path);
  char *all = contents(r.record), *text = contents(r.capture), *own = all + 80,
       *stray = own + made.json_bytes[WIRE_OWN];
  assert_non_null(strstr(text, "\norder 4 spirometry pre\n"));
  assert_int_equal(made.data_bytes[WIRE_OWN], 40);
  assert_int_equal(made.data_bytes[WIRE_STRAY], 40);
  assert_int_equal(lseek(r.record, 0, SEEK_END), 80 + made.json_bytes[WIRE_OWN] + made.json_bytes[WIRE_STRAY]);
  check_memory(own, made.json_bytes[WIRE_OWN], all, 0, 2, 1, false);
  check_memory(stray, made.json_bytes[WIRE_STRAY], all + 40, 2, 2, 3, true);
  char *told = strstr(own, "\"readings_stray\",\"count\":2,");
  assert_true(told && told < stray);

  struct wire_order redecode = {.driver = "toy_memory"}; /* its capture says what was ordered */
  start(&again, &redecode, text);
  hear(&again, WIRE_RECORD, &m);
  assert_int_equal(ended(&again), 0);
  assert_memory_equal(&m.record, &made, sizeof made);
  char *all_again = contents(again.record);
  assert_memory_equal(all_again, all, 80 + made.json_bytes[WIRE_OWN] + made.json_bytes[WIRE_STRAY]);
  finish(&again);
  free(all_again);

  /* decode prints a line a record; samples are the session's */
  char lines[8192];
  snprintf(lines, sizeof lines, "%.*s\n%s\n", (int)made.json_bytes[WIRE_OWN], own, stray);
  write_text(text);
  expect_lines((struct decode_options){.driver = "toy_memory"}, lines);
  expect_lines((struct decode_options){.driver = "toy_memory", .samples = true},
               "flow,flow\n0,100\n1,101\n2,102\n3,103\n4,104\n5,105\n6,106\n7,107\n8,108\n9,109\n");
  unlink(path);
  free(all);
  free(text);
  finish(&r);
}

static void test_one_record(void **state) {
  (void)state;
  struct run r;
  make_file(2);
  struct wire_record made = acquire_memory(&r, 2);
  unlink(path);
  char *all = contents(r.record);
  assert_int_equal(made.json_bytes[WIRE_STRAY] + made.data_bytes[WIRE_STRAY], 0);
  check_memory(all + 40, made.json_bytes[WIRE_OWN], all, 0, 2, 1, false);
  assert_null(strstr(all + 40, "readings_stray"));
  free(all);
  finish(&r);

  make_file_from(2, 2); /* nothing of this session */
  made = acquire_memory(&r, 2);
  unlink(path);
  all = contents(r.record);
  char *text = contents(r.capture);
  assert_int_equal(made.json_bytes[WIRE_OWN] + made.data_bytes[WIRE_OWN], 0);
  assert_int_equal(lseek(r.record, 0, SEEK_END), 40 + made.json_bytes[WIRE_STRAY]);
  check_memory(all + 40, made.json_bytes[WIRE_STRAY], all, 2, 2, 1, true);
  char lines[4096];
  snprintf(lines, sizeof lines, "%s\n", all + 40);
  write_text(text);
  expect_lines((struct decode_options){.driver = "toy_memory"}, lines);
  expect_lines((struct decode_options){.driver = "toy_memory", .samples = true},
               "flow,flow\n200,300\n201,301\n202,302\n203,303\n204,304\n205,305\n206,306\n207,307\n208,308\n"
               "209,309\n");
  unlink(path);
  free(text);
  free(all);
  finish(&r);
}

static void test_too_short(void **state) {
  (void)state;
  struct run r;
  make_file(1);
  struct wire_order order = file_order(2);
  start(&r, &order, NULL);
  up_to_start(&r);
  expect_fail(&r, -ENODATA, WIRE_STEP_ACQUIRE, "acquire: No data available");
  char *text = contents(r.capture);
  assert_true(in_order(text, (const char *const[]){" acquire\n", " end of file\n", " fail acquire: No data available\n",
                                                   " release\n", "end error\n", NULL}));
  free(text);
  finish(&r);
  unlink(path);
}

static void test_cancel(void **state) {
  (void)state;
  struct run r;
  struct wire_message m;
  make_file(2);
  struct wire_order order = file_order(2);
  start(&r, &order, NULL);
  hear(&r, WIRE_OPENED, &m);
  hear(&r, WIRE_IDENTITY, &m);
  say(&r, WIRE_CANCEL);
  expect_fail(&r, -ECANCELED, WIRE_STEP_ACQUIRE, "cancelled");
  char *text = contents(r.capture);
  assert_true(in_order(text, (const char *const[]){" firmware \n", " cancelled\n", " fail cancelled\n", " release\n",
                                                   "end cancel\n", NULL}));
  free(text);
  finish(&r);
  unlink(path);
}

static void test_daemon_gone(void **state) {
  (void)state;
  struct run r;
  struct wire_message m;
  make_file(2);
  struct wire_order order = file_order(2);
  start(&r, &order, NULL);
  hear(&r, WIRE_OPENED, &m);
  hear(&r, WIRE_IDENTITY, &m);
  close(r.control);
  assert_int_equal(ended(&r), 1);
  char *text = contents(r.capture);
  assert_true(in_order(text, (const char *const[]){" fail the daemon is gone\n", " release\n", "end cancel\n", NULL}));
  free(text);
  r.control = -1;
  finish(&r);
  unlink(path);
}

static void test_bad_orders(void **state) {
  (void)state;
  static const struct {
    struct wire_order order;
    int err;
    enum wire_step step;
    const char *capture, *text;
  } cases[] = {
      {{.driver = "nobody", .node = "/dev/x", .bus = ACQ_FILE, .order = {.seconds = 1, .modality = ACQ_ECG}},
       -EINVAL,
       WIRE_STEP_OPEN,
       NULL,
       "no driver has this name"},
      {{.driver = "toy_file", .node = "/dev/x", .bus = ACQ_USB, .order = {.seconds = 1, .modality = ACQ_ECG}},
       -EINVAL,
       WIRE_STEP_OPEN,
       NULL,
       "the driver does not work on such a node"},
      {{.driver = "toy_file", .node = "x", .bus = ACQ_FILE, .order = {.seconds = 1, .modality = ACQ_ECG}},
       -EINVAL,
       WIRE_STEP_OPEN,
       NULL,
       "the driver does not work on such a node"},
      {{.driver = "toy_file", .node = "/dev/x", .bus = ACQ_FILE, .order = {.seconds = 61, .modality = ACQ_ECG}},
       -EINVAL,
       WIRE_STEP_OPEN,
       NULL,
       "an order of so many seconds is beyond the driver's limits"},
      {{.driver = "toy_file", .node = "/dev/x", .bus = ACQ_FILE, .order = {.seconds = 0, .modality = ACQ_ECG}},
       -EINVAL,
       WIRE_STEP_OPEN,
       NULL,
       "an order of so many seconds is beyond the driver's limits"},
      {{.driver = "toy_file", .node = "/dev/x", .bus = ACQ_FILE, .order = {.seconds = 1, .modality = ACQ_SPIROMETRY}},
       -EINVAL,
       WIRE_STEP_OPEN,
       NULL,
       "an order for what the driver does not do"},
      {{.driver = "toy", .node = "/dev/x", .bus = ACQ_SERIAL, .order = {.seconds = 1}},
       -EINVAL,
       WIRE_STEP_OPEN,
       NULL,
       "an order for what the driver does not do"},
      {{.driver = "toy_file", .node = "/nowhere", .bus = ACQ_FILE, .order = {.seconds = 1, .modality = ACQ_ECG}},
       -ENOENT,
       WIRE_STEP_OPEN,
       NULL,
       "the file cannot be opened"},
      {{.driver = "toy_file", .node = "/dev/null", .bus = ACQ_FILE, .order = {.seconds = 1, .modality = ACQ_ECG}},
       -ENODEV,
       WIRE_STEP_OPEN,
       NULL,
       "not a regular file"},
      {{.driver = "toy", .node = "/dev/null", .bus = ACQ_USB, .order = {.seconds = 1, .modality = ACQ_ECG}},
       -ENODEV,
       WIRE_STEP_OPEN,
       NULL,
       "not a USB device node"},
      {{.driver = "toy", .node = "/dev/nowhere", .bus = ACQ_SERIAL, .order = {.seconds = 1, .modality = ACQ_ECG}},
       -ENOENT,
       WIRE_STEP_OPEN,
       NULL,
       "no such serial port"},
      {{.driver = "toy_file", .node = "/dev/null", .bus = ACQ_FILE, .order = {.seconds = 1, .modality = ACQ_ECG}},
       -EEXIST,
       WIRE_STEP_OPEN,
       "something",
       "the capture is not empty"},
      {{.driver = "toy"}, -EPROTO, WIRE_STEP_DECODE, NULL, "the capture is empty"},
      {{.driver = "toy"},
       -EPROTO,
       WIRE_STEP_DECODE,
       "asaleed-capture 1\nnonsense\n",
       "line 2 of the capture is not one"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct run r;
    start(&r, &cases[i].order, cases[i].capture);
    expect_fail(&r, cases[i].err, cases[i].step, cases[i].text);
    finish(&r);
  }
}

static void test_redecode(void **state) {
  (void)state;
  struct run r;
  struct wire_message m;
  struct wire_order order = {.driver = "toy_file"};
  char *whole = toy_capture(2, "end ok"), *crashed = toy_capture(2, "end crash"), *cut = toy_capture(2, NULL);
  start(&r, &order, whole);
  expect_fail(&r, -EINVAL, WIRE_STEP_DECODE, "the capture is another driver's");
  finish(&r);
  str_copy(order.driver, sizeof order.driver, "toy");
  const char *const texts[] = {whole, crashed, cut};
  for (size_t i = 0; i < 3; i++) {
    start(&r, &order, texts[i]);
    hear(&r, WIRE_RECORD, &m);
    assert_int_equal(ended(&r), 0);
    char *all = contents(r.record), *json = all + m.record.data_bytes[WIRE_OWN];
    assert_int_equal(!!strstr(json, "\"complete\":true"), i == 0);
    assert_int_equal(!!strstr(json, "\"incomplete\""), i != 0);
    free(all);
    finish(&r);
  }
  free(whole);
  free(crashed);
  free(cut);
}

static void test_first_message(void **state) {
  (void)state;
  struct run r;
  start(&r, NULL, NULL);
  say(&r, WIRE_START);
  assert_int_equal(ended(&r), 2);
  finish(&r);
  start(&r, NULL, NULL);
  close(r.control);
  assert_int_equal(ended(&r), 1);
  r.control = -1;
  finish(&r);
}

/* ---- the other commands ---- */

/* Runs one with its output in *ret (both streams); its exit status. */
static int command(int (*run)(void *), void *arg, char **ret) {
  int out = memfd_create("out", 0), status;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    int r = run(arg);
    fflush(stdout);
    _exit(r);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  *ret = contents(out);
  close(out);
  return WEXITSTATUS(status);
}

static int run_decode(void *arg) {
  return command_decode(toy_table, arg);
}

static int run_list(void *arg) {
  return command_list(toy_table, *(bool *)arg);
}

static int run_udev(void *arg) {
  return command_udev(arg ? arg : toy_table);
}

static void write_text(const char *text) {
  str_copy(path, sizeof path, "/tmp/worker-run-XXXXXX");
  int fd = mkstemp(path);
  assert_int_equal(write(fd, text, strlen(text)), strlen(text));
  close(fd);
}

static void expect_decode(struct decode_options options, int status, const char *expected) {
  char *out, text[512];
  options.file = path;
  assert_int_equal(command(run_decode, &options, &out), status);
  snprintf(text, sizeof text, expected, path);
  if (status)
    assert_string_equal(out, text);
  else
    assert_memory_equal(out, text, strlen(text));
  free(out);
}

/* All of what it prints. */
static void expect_lines(struct decode_options options, const char *expected) {
  char *out;
  options.file = path;
  assert_int_equal(command(run_decode, &options, &out), 0);
  assert_string_equal(out, expected);
  free(out);
}

static void test_decode(void **state) {
  (void)state;
  char *capture = toy_capture(2, "end ok");
  write_text(capture);
  expect_decode((struct decode_options){.driver = "toy"}, 0,
                "{\"acquired\":{\"channels\":[{\"code\":\"lead_ii\",\"derived\":false,\"first\":0,\"gaps\":[]");
  expect_decode((struct decode_options){.driver = "toy", .samples = true}, 0,
                "lead_ii\n0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n100\n101\n102\n103\n104\n105\n106\n107\n108\n109\n");
  expect_decode((struct decode_options){.driver = "toy_file"}, 1, "%s:2: a capture of toy, not of toy_file\n");
  expect_decode((struct decode_options){.driver = "nobody"}, 1,
                "nobody: no driver has this name (asaleed-driver list)\n");
  unlink(path);
  expect_decode((struct decode_options){.driver = "toy"}, 1, "%s: No such file or directory\n");

  char *bad = strstr(capture, "> 10 474f0a");
  bad[5] = 'x';
  write_text(capture);
  expect_decode((struct decode_options){.driver = "toy"}, 1, "%s:15: not a line of a capture\n");
  unlink(path);
  free(capture);
}

static void test_decode_raw(void **state) {
  (void)state;
  char *out;
  make_file(1);
  int fd = open(path, O_RDWR);
  assert_int_equal(pwrite(fd, "\xff", 1, 15), 1);
  close(fd);
  struct decode_options options = {.driver = "toy", .file = path, .raw = true, .samples = true};
  assert_int_equal(command(run_decode, &options, &out), 0);
  assert_string_equal(out, "lead_ii\n\n\n\n\n\n\n\n\n\n\n"); /* a damaged frame is a gap */
  free(out);
  fd = open(path, O_RDWR);
  assert_int_equal(ftruncate(fd, 5000), 0); /* beyond max_bytes */
  close(fd);
  expect_decode(options, 1, "%s: File too large\n");
  unlink(path);
}

static void test_list(void **state) {
  (void)state;
  char *out;
  bool json = false;
  assert_int_equal(command(run_list, &json, &out), 0);
  assert_non_null(strstr(out, "\ntoy                    ecg                        simulated     crc16      "
                              "serial 0403:* 115200 8N1, bound in devices.d Jouet\n"));
  assert_non_null(strstr(out, "\ntoy_memory             spirometry,measurement     simulated     crc16 "));
  free(out);
  json = true;
  assert_int_equal(command(run_list, &json, &out), 0);
  json_error_t error;
  json_t *list = json_loads(out, JSON_REJECT_DUPLICATES, &error);
  assert_int_equal(json_array_size(list), 5);
  const json_t *row = json_array_get(list, 0);
  assert_string_equal(json_text(row, "name"), "toy");
  assert_int_equal(json_array_size(json_object_get(row, "modalities")), 1);
  assert_string_equal(json_string_value(json_array_get(json_object_get(row, "modalities"), 0)), "ecg");
  assert_int_equal(json_integer_value(json_object_get(json_object_get(row, "limits"), "grace_ms")), 2000);
  const json_t *several = json_object_get(json_array_get(list, 2), "modalities");
  assert_int_equal(json_array_size(several), 2);
  assert_string_equal(json_string_value(json_array_get(several, 0)), "spirometry");
  assert_string_equal(json_string_value(json_array_get(several, 1)), "measurement");
  const json_t *usb = json_array_get(json_object_get(row, "match"), 1);
  assert_string_equal(json_text(usb, "bus"), "usb");
  assert_int_equal(json_integer_value(json_object_get(usb, "vendor")), 0x1209);
  json_decref(list);
  free(out);
}

static void test_udev(void **state) {
  (void)state;
  char *out;
  assert_int_equal(command(run_udev, NULL, &out), 0);
  assert_non_null(strstr(out, "\nSUBSYSTEM==\"tty\", ATTRS{idVendor}==\"0403\", MODE=\"0660\", GROUP=\"asaleed\", "
                              "TAG+=\"asaleed\"\n"));
  assert_non_null(strstr(out, "\nSUBSYSTEM==\"usb\", ENV{DEVTYPE}==\"usb_device\", ATTR{idVendor}==\"1209\", "
                              "ATTR{idProduct}==\"0001\", MODE=\"0660\", GROUP=\"asaleed\", TAG+=\"asaleed\"\n"));
  assert_non_null(strstr(out, "\n# files *.toy: no device\n"));
  const char *sticks = strstr(out, "\nACTION!=\"remove\", SUBSYSTEM==\"block\", ENV{ID_BUS}==\"usb\", "
                                   "ENV{ID_FS_USAGE}==\"filesystem\", ");
  assert_non_null(sticks);
  assert_non_null(strstr(sticks, ", TAG+=\"systemd\", ENV{SYSTEMD_WANTS}+=\"asaleed-media@%k.service\"\n"));
  assert_null(strstr(sticks + 1, "\nACTION")); /* once */
  free(out);
  static const struct acq_driver *const without[] = {&toy, NULL};
  assert_int_equal(command(run_udev, (void *)(uintptr_t)without, &out), 0);
  assert_null(strstr(out, "block"));
  free(out);
}

static void test_table(void **state) {
  (void)state;
  char why[DRIVERS_WHY_MAX];
  assert_int_equal(drivers_check(toy_table, why), 0);
  assert_ptr_equal(drivers_find(toy_table, "toy_file"), &toy_file);
  assert_null(drivers_find(toy_table, "toys"));
  assert_true(drivers_has_bus(&toy, ACQ_USB));
  assert_false(drivers_has_bus(&toy, ACQ_FILE));

  struct acq_driver bad;
  const struct acq_driver *table[] = {&toy_file, &bad, NULL};
  static struct acq_match endless[100];
  for (size_t i = 0; i < 100; i++)
    endless[i] = (struct acq_match){.bus = ACQ_FILE, .pattern = "*"};
#define BAD(change, text)                                 \
  do {                                                    \
    bad = toy;                                            \
    change;                                               \
    assert_int_equal(drivers_check(table, why), -EINVAL); \
    assert_string_equal(why, text);                       \
  } while (0)
#define MATCH(...) ((const struct acq_match[]){{__VA_ARGS__}, {0}})
  BAD(bad.abi = ACQ_DRIVER_ABI - 1, "driver 2 (toy): it was built for another ABI");
  BAD(bad.name = NULL, "driver 2 (?): its name is not a word");
  BAD(bad.name = "a b", "driver 2 (a b): its name is not a word");
  BAD(bad.name = "toy_file", "driver 2 (toy_file): two drivers have this name");
  BAD(bad.version = "", "driver 2 (toy): its version is not a word");
  BAD(bad.label = "a\n", "driver 2 (toy): its label is not a short clean text");
  BAD(bad.modalities = 0, "driver 2 (toy): no such modality");
  BAD(bad.modalities = ACQ_MODALITY(ACQ_MEASUREMENT + 1) | ACQ_MODALITY(ACQ_ECG), "driver 2 (toy): no such modality");
  BAD(bad.modalities = 1, "driver 2 (toy): no such modality");
  BAD(bad.maturity = 9, "driver 2 (toy): no such maturity");
  BAD(bad.integrity = 0, "driver 2 (toy): no such integrity");
  BAD(bad.release = NULL, "driver 2 (toy): a function is missing");
  BAD(bad.limits.max_bytes = 0, "driver 2 (toy): max_bytes does not fit into a capture");
  BAD(bad.limits.default_seconds = 61, "driver 2 (toy): its seconds are not 1 <= default <= max <= 86400");
  BAD(bad.limits.grace_ms = 0, "driver 2 (toy): idle_ms or grace_ms is not within 1..600000");
  BAD(bad.match = NULL, "driver 2 (toy): it has no match table");
  BAD(bad.match = MATCH(0), "driver 2 (toy): its match table is empty");
  BAD(bad.match = endless, "driver 2 (toy): its match table has no end");
  BAD(bad.match = MATCH(.bus = ACQ_SERIAL), "driver 2 (toy): a serial match has no sane speed");
  BAD(bad.match = MATCH(.bus = ACQ_SERIAL, .baud = 9600, .generic = true),
      "driver 2 (toy): a serial match calls a bridge generic that it does not name");
  BAD(bad.match = MATCH(.bus = ACQ_USB), "driver 2 (toy): a USB match names every device");
  BAD(bad.match = MATCH(.bus = ACQ_USB, .usb_class = 3, .product = 3),
      "driver 2 (toy): a match has a product without a vendor");
  BAD(bad.match = MATCH(.bus = ACQ_FILE), "driver 2 (toy): a file match has no pattern");
  BAD(bad.match = MATCH(.bus = 7), "driver 2 (toy): a match has no such bus");
}

/* ---- a camera: blobs ---- */

static const char png[] =
    "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x10\x00\x00\x00\x10"
    "\x08\x00\x00\x00\x00\x3a\x98\xa0\xbd\x00\x00\x00\x84\x49\x44\x41\x54\x78\xda\x6d\x8f\xb1\x0a\xc4"
    "\x20\x10\x44\xf3\x39\x31\x28\x44\x41\xd0\x60\xb3\x82\x10\x44\x41\x0b\x0b\x25\x36\xfe\xff\x47\xc4"
    "\x70\xc7\xc1\xb1\xd9\x6e\xd8\xe1\xcd\xcc\xb2\xbc\xde\xe8\xad\xb6\x3e\x7e\xfa\x2a\x29\x86\x98\xca"
    "\xf5\xd5\x2d\x7b\x67\xc1\x3a\x9f\xdb\xe7\x9f\x4f\x30\x5a\x69\x03\x67\x7e\x3c\xa3\x78\x38\xa4\xe0"
    "\x42\x1e\xe0\xcb\xe4\xf4\xe4\x8c\xdc\x19\x65\xbb\x34\x2e\xf5\x49\x88\x56\x0b\xb6\x91\x8d\x09\x6d"
    "\xe3\xa4\xd4\x00\x8a\x53\xb2\x12\xca\x15\x84\xfa\xe2\x40\x0c\x94\x82\x7a\xe0\xa6\x78\xcb\xdf\xda"
    "\x1b\xe4\x50\x32\x29\xc0\xc6\x84\xf0\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82";
#define PNG_BYTES (sizeof png - 1)
#define JUNK_BYTES 2500 /* more than one line of the capture */

static void put_picture(FILE *f, char kind, const void *bytes, size_t n) {
  const uint8_t head[4] = {(uint8_t)kind, (uint8_t)n, (uint8_t)(n >> 8), 0};
  assert_int_equal(fwrite(head, 1, sizeof head, f), sizeof head);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
}

/* A picture, one that is dropped, the first again, and what is none. */
static struct wire_order make_camera_file(uint16_t pictures) {
  static uint8_t junk[JUNK_BYTES];
  memset(junk, 0x5a, sizeof junk);
  str_copy(path, sizeof path, "/tmp/worker-run-XXXXXX");
  FILE *f = fdopen(mkstemp(path), "w");
  assert_non_null(f);
  fputs("TOY 42\n", f);
  put_picture(f, 'W', png, PNG_BYTES);
  put_picture(f, 'D', "waste", 5);
  put_picture(f, 'W', png, PNG_BYTES);
  put_picture(f, 'W', junk, sizeof junk);
  assert_int_equal(fclose(f), 0);
  struct wire_order o = file_order(5);
  str_copy(o.driver, sizeof o.driver, "toy_camera");
  o.order.modality = ACQ_FUNDUS;
  o.order.pictures = pictures;
  return o;
}

static struct wire_record hear_record(struct run *r) {
  struct wire_message m;
  do
    assert_int_equal(wire_receive(r->control, &m), 0);
  while (m.type == WIRE_PROGRESS || m.type == WIRE_CONTACTS);
  if (m.type == WIRE_FAIL)
    fail_msg("the worker failed: %s", m.fail.text);
  assert_int_equal(m.type, WIRE_RECORD);
  assert_int_equal(ended(r), 0);
  return m.record;
}

static void test_pictures(void **state) {
  (void)state;
  struct run r, again;
  char reason[256];
  json_t *record;
  struct wire_order order = make_camera_file(0);
  start(&r, &order, NULL);
  up_to_start(&r);
  struct wire_record made = hear_record(&r);
  char *text = contents(r.capture), *all = contents(r.record), *blobs = contents(r.blobs);
  size_t n = strlen(text), n_blobs = (size_t)lseek(r.blobs, 0, SEEK_END);
  assert_int_equal(n_blobs, 2 * PNG_BYTES + 5 + JUNK_BYTES);
  assert_memory_equal(blobs, png, PNG_BYTES);
  assert_memory_equal(blobs + PNG_BYTES, "waste", 5);

  /* Samples, previews, JSON: one after the other. */
  const size_t previews = made.preview_bytes[WIRE_OWN], json_bytes = made.json_bytes[WIRE_OWN];
  assert_int_equal(made.data_bytes[WIRE_OWN] + made.json_bytes[WIRE_STRAY] + made.preview_bytes[WIRE_STRAY], 0);
  assert_true(previews > 0);
  assert_int_equal(lseek(r.record, 0, SEEK_END), previews + json_bytes);
  assert_int_equal(record_read(all + previews, json_bytes, NULL, 0, &record, reason), 0);
  assert_int_equal(record_check_previews(record, all, previews, reason), 0);
  const json_t *pictures = json_object_get(json_object_get(record, "acquired"), "pictures");
  assert_int_equal(json_array_size(pictures), 2); /* the repeated one is there once */
  char sha[HASH_TEXT];
  hash_sha256_text(png, PNG_BYTES, sha);
  assert_string_equal(json_text(json_array_get(pictures, 0), "sha256"), sha);
  assert_string_equal(json_text(json_array_get(pictures, 0), "format"), "png");
  assert_int_equal(json_integer_value(json_object_get(json_array_get(pictures, 1), "bytes")), JUNK_BYTES);
  assert_true(json_is_null(json_object_get(json_array_get(pictures, 1), "preview")));
  assert_non_null(strstr(all + previews, "\"picture_repeated\""));
  assert_non_null(strstr(all + previews, "\"name\":\"IMG_1.PNG\""));
  json_decref(record);

  /* The same blobs again: the same record. */
  struct wire_order redecode = {.driver = "toy_camera"};
  start_with(&again, &redecode, text, blobs, n_blobs);
  struct wire_record same = hear_record(&again);
  assert_memory_equal(&same, &made, sizeof made);
  char *all_again = contents(again.record);
  assert_memory_equal(all_again, all, previews + json_bytes);
  free(all_again);
  finish(&again);

  /* Others, fewer, more: no record. */
  unsigned end_line = 0;
  for (size_t i = 0; i < n; i++)
    end_line += text[i] == '\n';
  for (int kind = 0; kind < 4; kind++) {
    char why[128];
    size_t bytes = kind == 0 ? n_blobs : kind == 1 ? n_blobs - 1 : kind == 2 ? 0 : n_blobs + 1;
    blobs[n_blobs - 1] ^= kind == 0;
    start_with(&again, &redecode, text, blobs, bytes);
    struct wire_message m;
    hear(&again, WIRE_FAIL, &m);
    assert_int_equal(m.fail.step, WIRE_STEP_DECODE);
    assert_int_equal(m.fail.err, kind == 0 || kind == 3 ? -EBADMSG : -EPROTO);
    snprintf(why, sizeof why, "line %u of the capture names other blobs than there are", end_line);
    if (kind == 3)
      assert_string_equal(m.fail.text, why);
    assert_int_equal(ended(&again), 1);
    finish(&again);
    blobs[n_blobs - 1] ^= kind == 0;
  }
  free(text);
  free(all);
  free(blobs);
  finish(&r);
  unlink(path);

  order = make_camera_file(1); /* no more than were ordered */
  start(&r, &order, NULL);
  up_to_start(&r);
  made = hear_record(&r);
  assert_int_equal(lseek(r.blobs, 0, SEEK_END), PNG_BYTES);
  finish(&r);
  unlink(path);
}

/* What stops the worker in a blob: its bytes and what was said of them stay. */
static void test_pictures_cut(void **state) {
  (void)state;
  struct run r;
  struct wire_message m;
  struct wire_order order = make_camera_file(0);
  assert_int_equal(truncate(path, (off_t)(7 + 4 + PNG_BYTES + 4 + 5 + 4 + 20)), 0);
  start(&r, &order, NULL);
  up_to_start(&r);
  do
    assert_int_equal(wire_receive(r.control, &m), 0);
  while (m.type == WIRE_PROGRESS || m.type == WIRE_CONTACTS);
  assert_int_equal(m.type, WIRE_FAIL);
  assert_int_equal(m.fail.err, -ENODATA);
  assert_int_equal(ended(&r), 1);
  char *text = contents(r.capture), *blobs = contents(r.blobs);
  struct acq_capture c;
  assert_int_equal(capture_parse_with(text, strlen(text), blobs, PNG_BYTES + 5 + 20, &c, NULL), 0);
  assert_int_equal(c.end, CAPTURE_ERROR);
  assert_int_equal(c.n_blobs, 3);
  assert_int_equal(c.events[c.blobs[2].event].kind, ACQ_BLOB_WASTE);
  assert_int_equal(c.blobs[2].n, 20);
  capture_finish(&c);
  free(text);
  free(blobs);
  finish(&r);
  unlink(path);
}

/* Killed anywhere: mended, its capture can be read and names every byte that came. */
static void test_pictures_killed(void **state) {
  (void)state;
  unsigned crashed = 0;
  for (unsigned i = 0; i < 60; i++) {
    struct run r;
    struct acq_capture c;
    int status;
    struct wire_order order = make_camera_file(0);
    start(&r, &order, NULL);
    up_to_start(&r);
    if (i)
      usleep(i * 20);
    kill(r.pid, SIGKILL);
    assert_int_equal(waitpid(r.pid, &status, 0), r.pid);
    assert_int_equal(capture_mend(r.capture, r.blobs), 0);
    char *text = contents(r.capture), *blobs = contents(r.blobs);
    size_t n_blobs = (size_t)lseek(r.blobs, 0, SEEK_END), named = 0;
    unsigned line = 0;
    if (capture_parse_with(text, strlen(text), blobs, n_blobs, &c, &line) < 0)
      fail_msg("line %u of\n%s", line, text);
    for (size_t k = 0; k < c.n_blobs; k++)
      named += c.blobs[k].n;
    assert_int_equal(named, n_blobs);
    assert_true(n_blobs < PNG_BYTES || !memcmp(blobs, png, PNG_BYTES));
    crashed += c.end == CAPTURE_CRASH;
    capture_finish(&c);
    free(text);
    free(blobs);
    finish(&r);
    unlink(path);
  }
  assert_true(crashed > 0);
}

/* ---- a file that is taken whole ---- */

static uint8_t whole_byte(size_t i) {
  return i < 5 ? (uint8_t) "WHOLE"[i] : (uint8_t)((i - 5) % 200);
}

/* "WHOLE" and as many samples 0, 1, .. as make n bytes. */
static void make_whole(size_t n) {
  str_copy(path, sizeof path, "/tmp/worker-run-XXXXXX");
  int fd = mkstemp(path);
  for (size_t i = 0; i < n; i++) {
    const uint8_t byte = whole_byte(i);
    assert_int_equal(write(fd, &byte, 1), 1);
  }
  close(fd);
}

static struct wire_order whole_order(const char *node, enum acq_modality modality) {
  struct wire_order o = file_order(2);
  str_copy(o.driver, sizeof o.driver, "toy_whole");
  str_copy(o.node, sizeof o.node, node);
  o.order.modality = modality;
  return o;
}

/* Nobody can be asked who it is; the daemon is told all the same. */
static void up_to_start_whole(struct run *r) {
  struct wire_message m;
  hear(r, WIRE_OPENED, &m);
  hear(r, WIRE_IDENTITY, &m);
  assert_string_equal(m.identity.make, "");
  assert_string_equal(m.identity.serial, "");
  say(r, WIRE_START);
}

/* The record in that part has these samples, is alone, and says what the file said. */
static void check_whole(const struct wire_record *made, const char *all, int part, size_t samples) {
  char reason[256];
  json_t *record;
  int16_t *values = malloc(samples * sizeof *values);
  assert_non_null(values);
  memcpy(values, all, samples * sizeof *values);
  assert_int_equal(made->data_bytes[part], samples * sizeof *values);
  assert_int_equal(made->json_bytes[1 - part] + made->data_bytes[1 - part], 0);
  for (size_t i = 0; i < samples; i++)
    assert_int_equal(values[i], i % 200);
  if (record_read(all + samples * sizeof *values, made->json_bytes[part], values, samples * sizeof *values, &record,
                  reason) < 0)
    fail_msg("%s", reason);
  assert_int_equal(json_is_true(json_object_get(record, "stray")), part == WIRE_STRAY);
  assert_string_equal(json_text(json_object_get(record, "device"), "make"), "Toys");
  assert_true(json_is_null(json_object_get(record, "subject")));
  json_decref(record);
  free(values);
}

static void test_whole_file(void **state) {
  (void)state;
  static const size_t sizes[] = {6, 1000, 4096}; /* 4096 is all that the driver takes */
  static const enum acq_modality modalities[] = {ACQ_ECG, 0};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (int part = WIRE_OWN; part <= WIRE_STRAY; part++) { /* what nobody ordered is nobody's */
      struct run r, again;
      struct wire_message m;
      make_whole(sizes[i]);
      struct wire_order order = whole_order(path, modalities[part]);
      start(&r, &order, NULL);
      up_to_start_whole(&r);
      struct wire_record made = hear_record(&r);
      char *text = contents(r.capture), *all = contents(r.record), *blobs = contents(r.blobs);
      check_whole(&made, all, part, sizes[i] - 5);
      assert_non_null(strstr(text, part == WIRE_OWN ? "\norder 2 ecg\n" : "\norder 2\n"));
      assert_true(in_order(text, (const char *const[]){" identity\n", " make \n", NULL}));
      const char *acquire = strstr(text, " acquire\n@ "), *blob = strstr(text, "\n# "),
                 *release = strstr(text, " release\n"), *end = strstr(text, "\nend ok\n");
      assert_true(acquire && blob && release && end && acquire < blob && blob < release && release < end);
      assert_int_equal(lseek(r.blobs, 0, SEEK_END), sizes[i]); /* every byte of the file, and no other */
      for (size_t k = 0; k < sizes[i]; k++)
        assert_int_equal((uint8_t)blobs[k], whole_byte(k));

      /* Again from its capture: the same. Again from the bare file: it says the same. */
      struct wire_order redecode = {.driver = "toy_whole"};
      start_with(&again, &redecode, text, blobs, sizes[i]);
      hear(&again, WIRE_RECORD, &m);
      assert_int_equal(ended(&again), 0);
      assert_memory_equal(&m.record, &made, sizeof made);
      char *all_again = contents(again.record);
      assert_memory_equal(all_again, all, made.data_bytes[part] + made.json_bytes[part]);
      finish(&again);
      free(all_again);
      if (sizes[i] == 6)
        expect_lines((struct decode_options){.driver = "toy_whole", .raw = true, .samples = true}, "lead_ii\n0\n");
      free(text);
      free(all);
      free(blobs);
      finish(&r);
      unlink(path);
    }
}

/* Files that give no record: how far the worker comes, and what it leaves in the capture. */
static void test_whole_file_refused(void **state) {
  (void)state;
  static const struct {
    size_t n;
    int err;
    const char *text;
  } v[] = {{0, -ENODATA, "no whole file"}, {4, -ENXIO, "not a toy's file"}};
  struct run r;
  struct wire_order order;
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    make_whole(v[i].n);
    order = whole_order(path, ACQ_ECG);
    start(&r, &order, NULL);
    up_to_start_whole(&r);
    expect_fail(&r, v[i].err, WIRE_STEP_DECODE, v[i].text);
    char *text = contents(r.capture);
    assert_non_null(strstr(text, "\nend ok\n")); /* it was taken, all of it */
    assert_int_equal(strstr(text, "\n# ") != NULL, v[i].n > 0);
    assert_int_equal(lseek(r.blobs, 0, SEEK_END), v[i].n);
    free(text);
    finish(&r);
    unlink(path);
  }
  make_whole(4097);
  order = whole_order(path, ACQ_ECG);
  start(&r, &order, NULL);
  expect_fail(&r, -EFBIG, WIRE_STEP_OPEN, "the file is longer than 4096 bytes");
  finish(&r);
  unlink(path);

  make_whole(10); /* cancelled before it starts */
  order = whole_order(path, ACQ_ECG);
  struct wire_message m;
  start(&r, &order, NULL);
  hear(&r, WIRE_OPENED, &m);
  hear(&r, WIRE_IDENTITY, &m);
  say(&r, WIRE_CANCEL);
  expect_fail(&r, -ECANCELED, WIRE_STEP_ACQUIRE, "cancelled");
  char *text = contents(r.capture);
  assert_non_null(strstr(text, "\nend cancel\n"));
  assert_int_equal(lseek(r.blobs, 0, SEEK_END), 0);
  free(text);
  finish(&r);
  unlink(path);
}

/* What stands in a file's place: nothing of it is followed, waited for or read. */
static void test_no_file(void **state) {
  (void)state;
  struct run r;
  struct wire_order order;
  char other[80];
  make_whole(10);
  snprintf(other, sizeof other, "%s.other", path);
  for (int kind = 0; kind < 5; kind++) {
    assert_int_equal(kind == 0   ? symlink(path, other)
                     : kind == 1 ? mkfifo(other, 0600)
                     : kind == 2 ? mkdir(other, 0700)
                     : kind == 3 ? chmod(path, 0)
                                 : 0,
                     0);
    if (kind == 3 && access(path, R_OK) == 0) { /* root reads everything */
      print_message("skipped: a file that may not be read (as root there is none)\n");
      continue;
    }
    order = whole_order(kind == 3 ? path : other, ACQ_ECG);
    start(&r, &order, NULL);
    if (kind == 1 || kind == 2)
      expect_fail(&r, -ENODEV, WIRE_STEP_OPEN, "not a regular file");
    else
      expect_fail(&r, kind == 0 ? -ELOOP : kind == 3 ? -EACCES : -ENOENT, WIRE_STEP_OPEN, "the file cannot be opened");
    assert_int_equal(lseek(r.capture, 0, SEEK_END) + lseek(r.blobs, 0, SEEK_END), 0);
    finish(&r);
    remove(other);
  }
  unlink(path);

  /* One that can be opened and not read, as that of a stick that was pulled out; root has one. */
  if (geteuid() != 0) {
    print_message("skipped: a file that can be opened and not read\n");
    return;
  }
  order = whole_order("/proc/self/mem", ACQ_ECG);
  start(&r, &order, NULL);
  up_to_start_whole(&r);
  expect_fail(&r, -ENODEV, WIRE_STEP_ACQUIRE, "the file can no longer be read");
  char *text = contents(r.capture);
  assert_non_null(strstr(text, "\nend error\n"));
  free(text);
  finish(&r);
}

static int set_up(void **state) {
  (void)state;
  return hash_open();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_whole),         cmocka_unit_test(test_two_records),
      cmocka_unit_test(test_one_record),    cmocka_unit_test(test_too_short),
      cmocka_unit_test(test_cancel),        cmocka_unit_test(test_daemon_gone),
      cmocka_unit_test(test_bad_orders),    cmocka_unit_test(test_redecode),
      cmocka_unit_test(test_first_message), cmocka_unit_test(test_decode),
      cmocka_unit_test(test_decode_raw),    cmocka_unit_test(test_list),
      cmocka_unit_test(test_udev),          cmocka_unit_test(test_pictures),
      cmocka_unit_test(test_pictures_cut),  cmocka_unit_test(test_pictures_killed),
      cmocka_unit_test(test_whole_file),    cmocka_unit_test(test_whole_file_refused),
      cmocka_unit_test(test_no_file),       cmocka_unit_test(test_table),
  };
  return cmocka_run_group_tests(tests, set_up, NULL);
}
