/* HTTP in the event loop: where bodies go, whatever comes of them. The server runs in a process of its own and answers
 * with what it saw; the clients write bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http.h"
#include "str.h"
#include "wall.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_MAX (64u << 20)
#define PATIENCE_MS 30000 /* for what comes at once, on the slowest machine */

/* ---- the server --------------------------------------------------------------------------------------------- */

struct server {
  sd_event *event;
  struct http *http;
  struct http_request *later, *streaming;
  sd_event_source *timer;
  int handled, late, turns;
  bool begun, over; /* the stream */
};

static uint32_t sum(uint32_t before, const uint8_t *bytes, size_t n) {
  for (size_t i = 0; i < n; i++)
    before = (before ^ bytes[i]) * 16777619u;
  return before;
}

static uint32_t file_sum(int fd) {
  uint8_t bytes[4096];
  uint32_t s = 0;
  ssize_t n;
  for (off_t at = 0; (n = pread(fd, bytes, sizeof bytes, at)) > 0; at += n)
    s = sum(s, bytes, (size_t)n);
  return s;
}

static int open_descriptors(void) {
  DIR *d = opendir("/proc/self/fd");
  int n = 0;
  while (d && readdir(d))
    n++;
  closedir(d);
  return n;
}

static long peak_kib(void) {
  char line[256];
  long kib = 0;
  FILE *f = fopen("/proc/self/status", "re");
  while (f && fgets(line, sizeof line, f))
    if (!strncmp(line, "VmHWM:", 6))
      kib = strtol(line + 6, NULL, 10);
  fclose(f);
  return kib;
}

static int on_later(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  struct server *s = arg;
  s->late++;
  http_answer(s->later);
  return 0;
}

static void answer_later(struct server *s, struct http_request *q) {
  s->later = q;
  sd_event_source_disable_unref(s->timer);
  s->timer = NULL;
  sd_event_add_time_relative(s->event, &s->timer, CLOCK_MONOTONIC, 20000, 1, on_later, s);
}

static enum http_body on_accept(struct http_request *q, void *arg) {
  const char *max = http_query(q, "max");
  if (!strncmp(q->path, "/refused", 8)) {
    q->status = 403;
    buf_text(&q->answer, "no");
    if (!strcmp(q->path, "/refused-later"))
      answer_later(arg, q);
    else
      http_answer(q);
    return HTTP_REFUSED;
  }
  if (strncmp(q->path, "/file", 5))
    return HTTP_BUFFER;
  q->file = http_header(q, "Disk-Full") ? open("/dev/full", O_RDWR | O_CLOEXEC) : memfd_create("body", MFD_CLOEXEC);
  q->file_max = max ? strtoul(max, NULL, 10) : FILE_MAX;
  return HTTP_FILE;
}

/* "abc", silence, and when it is said the end. */
static size_t stream_read(void *arg, char *bytes, size_t max) {
  struct server *s = arg;
  if (s->over)
    return HTTP_END;
  if (s->begun || max < 3)
    return 0;
  s->begun = true;
  memcpy(bytes, "abc", 3);
  return 3;
}

static void stream_finish(void *arg) {
  struct server *s = arg;
  s->streaming = NULL;
}

static void stream_start(struct server *s, struct http_request *q) {
  s->streaming = q;
  s->begun = s->over = false;
  q->stream = (struct http_stream){.read = stream_read, .finish = stream_finish, .arg = s};
}

static void stream_end(struct server *s) {
  s->over = true;
  http_wake(s->streaming);
}

static void on_handle(struct http_request *q, void *arg) {
  struct server *s = arg;
  q->status = 200;
  q->type = "text/plain";
  if (!strcmp(q->path, "/stream"))
    stream_start(s, q);
  else if (!strcmp(q->path, "/stream-is"))
    buf_text(&q->answer, !s->streaming ? "none" : http_hung_up(s->streaming) ? "left" : "open");
  else if (!strcmp(q->path, "/stream-ends"))
    stream_end(s);
  else if (!strcmp(q->path, "/state"))
    buf_format(&q->answer, "handled=%d late=%d open=%d peak=%ld", s->handled, s->late, open_descriptors(), peak_kib());
  else if (q->file >= 0)
    buf_format(&q->answer, "file=%llu err=%d sum=%08x body=%zu", (unsigned long long)q->file_bytes, -q->file_err,
               q->file_err ? 0 : file_sum(q->file), q->body.len);
  else
    buf_format(&q->answer, "body=%zu too_large=%d", q->body.len, q->too_large);
  s->handled += strcmp(q->path, "/state") != 0;
  if (!strcmp(q->path, "/file-later"))
    answer_later(s, q);
  else
    http_answer(q);
}

static void on_worked(void *arg) {
  ((struct server *)arg)->turns++;
}

static int on_term(sd_event_source *source, const struct signalfd_siginfo *info, void *arg) {
  (void)info;
  (void)arg;
  return sd_event_exit(sd_event_source_get_event(source), 0);
}

static void serve(int listener) {
  struct server s = {0};
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_BLOCK, &term, NULL);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct http_calls calls = {on_accept, on_handle, on_worked};
  int r = sd_event_new(&s.event);
  if (r >= 0)
    r = sd_event_add_signal(s.event, NULL, SIGTERM, on_term, NULL);
  if (r >= 0)
    r = http_open(s.event, listener, calls, &s, &s.http);
  if (r >= 0)
    r = sd_event_loop(s.event);
  http_close(s.http);
  sd_event_source_disable_unref(s.timer);
  sd_event_unref(s.event);
  exit(r < 0); /* not _exit(): what leaked is told there */
}

/* ---- the clients -------------------------------------------------------------------------------------------- */

static char directory[64];
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static pid_t server;

static int setup(void **state) {
  (void)state;
  signal(SIGPIPE, SIG_IGN);
  snprintf(directory, sizeof directory, "/tmp/test_http.XXXXXX");
  if (!mkdtemp(directory))
    return -1;
  snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 128) < 0)
    return -1;
  fflush(NULL);
  server = fork();
  if (server == 0)
    serve(fd);
  close(fd);
  return server > 0 ? 0 : -1;
}

static int dial(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  return fd;
}

static bool readable(int fd, int ms) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  return poll(&p, 1, ms) > 0;
}

static void say(int fd, const char *format, ...) {
  char text[1024];
  va_list ap;
  va_start(ap, format);
  int n = vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
}

/* One answer: its status, and its body in `body`; 0 when the connection ended. */
static int hear(int fd, char *body, size_t size) {
  char head[1024];
  size_t n = 0, length = 0;
  *body = 0;
  while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4)) {
    assert_true(n < sizeof head - 1);
    if (!readable(fd, PATIENCE_MS))
      fail_msg("no answer");
    if (recv(fd, head + n, 1, 0) <= 0)
      return 0;
    n++;
  }
  head[n] = 0;
  const char *at = strcasestr(head, "Content-Length: ");
  length = at ? strtoul(at + 16, NULL, 10) : 0;
  assert_true(length < size);
  for (n = 0; n < length;) {
    ssize_t r = recv(fd, body + n, length - n, 0);
    if (r <= 0)
      return 0;
    n += (size_t)r;
  }
  body[n] = 0;
  return (int)strtol(head + strlen("HTTP/1.1 "), NULL, 10);
}

static void expect(int fd, int status, const char *body) {
  char got[1024];
  int r = hear(fd, got, sizeof got);
  if (r != status || strcmp(got, body) != 0)
    fail_msg("%d « %s », not %d « %s »", r, got, status, body);
}

/* Nothing more comes, and nothing more is taken. */
static void expect_end(int fd) {
  char byte;
  assert_true(readable(fd, PATIENCE_MS));
  assert_true(recv(fd, &byte, 1, 0) <= 0);
}

static void expect_alive(int fd) {
  say(fd, "POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
  expect(fd, 200, "body=5 too_large=0");
}

struct seen {
  int handled, late, open;
  long peak;
};

static struct seen look(void) {
  char body[256], *at;
  struct seen s;
  int fd = dial();
  say(fd, "GET /state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  assert_int_equal(hear(fd, body, sizeof body), 200);
  close(fd);
  at = strstr(body, "handled=") + 8;
  s.handled = (int)strtol(at, NULL, 10);
  s.late = (int)strtol(strstr(body, "late=") + 5, NULL, 10);
  s.open = (int)strtol(strstr(body, "open=") + 5, NULL, 10);
  s.peak = strtol(strstr(body, "peak=") + 5, NULL, 10);
  return s;
}

/* The server has as many descriptors as before again: nothing of a request is left. */
static void expect_nothing_left(struct seen before) {
  uint64_t end = monotonic_us() + PATIENCE_MS * 1000ull;
  while (look().open != before.open)
    assert_true(monotonic_us() < end);
}

/* n bytes of a body as it is known to file_sum(), in chunks of `chunk` when that is not 0; what they sum up to. */
static uint32_t pour(int fd, size_t n, size_t chunk) {
  static uint8_t bytes[65536 + 2];
  uint32_t s = 0;
  size_t most = chunk ? chunk : sizeof bytes - 2;
  for (size_t at = 0; at < n;) {
    size_t take = n - at < most ? n - at : most;
    for (size_t i = 0; i < take; i++)
      bytes[i] = (uint8_t)((at + i) * 167 >> 3);
    s = sum(s, bytes, take);
    if (chunk)
      say(fd, "%zx\r\n", take);
    memcpy(bytes + take, "\r\n", 2);
    if (fd_write_all(fd, bytes, take + (chunk ? 2 : 0)) < 0)
      break; /* the connection ended: the answer tells */
    at += take;
  }
  return s;
}

static void upload(int fd, const char *target, size_t n, size_t chunk) {
  char wanted[128];
  if (chunk)
    say(fd, "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", target);
  else
    say(fd, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", target, n);
  uint32_t s = pour(fd, n, chunk);
  if (chunk)
    say(fd, "0\r\n\r\n");
  snprintf(wanted, sizeof wanted, "file=%zu err=0 sum=%08x body=0", n, s);
  expect(fd, 200, wanted);
}

/* ---- tests -------------------------------------------------------------------------------------------------- */

static void test_buffered(void **state) {
  (void)state;
  int fd = dial();
  say(fd, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n");
  expect(fd, 200, "body=0 too_large=0");
  expect_alive(fd);
  for (size_t n = HTTP_BODY_MAX - 1; n <= HTTP_BODY_MAX + 1; n++) {
    char wanted[64];
    bool fits = n <= HTTP_BODY_MAX;
    snprintf(wanted, sizeof wanted, "body=%zu too_large=%d", fits ? n : 0, !fits);
    say(fd, "POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", n);
    pour(fd, n, 0);
    expect(fd, 200, wanted);
    say(fd, "POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    pour(fd, n, 1000);
    say(fd, "0\r\n\r\n");
    expect(fd, 200, wanted);
  }
  expect_alive(fd);
  close(fd);
}

static void test_file(void **state) {
  (void)state;
  struct seen before = look();
  static const size_t sizes[] = {0, 1, 2, 1023, 24 << 10, HTTP_BODY_MAX + 1, 3000001};
  int fd = dial();
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    upload(fd, "/file", sizes[i], 0);
  upload(fd, "/file-later", 70000, 0);
  expect_alive(fd);
  close(fd);
  assert_int_equal(look().handled, before.handled + 9);
  expect_nothing_left(before);
}

static void test_file_in_chunks(void **state) {
  (void)state;
  int fd = dial();
  upload(fd, "/file", 0, 7);
  upload(fd, "/file", 1, 7);
  upload(fd, "/file", 5000, 1);
  upload(fd, "/file", 1000003, 4099);
  upload(fd, "/file-later", 300000, 65536);
  expect_alive(fd);
  close(fd);
}

/* As long as may be, and nothing of it stays in memory. */
static void test_largest_file(void **state) {
  (void)state;
  struct seen before = look();
  int fd = dial();
  upload(fd, "/file", FILE_MAX, 0);
  upload(fd, "/file", FILE_MAX, 60000);
  expect_alive(fd);
  close(fd);
  assert_true(look().peak < before.peak + (16 << 10));
}

/* One byte too many, told before, found out on the way, and so many that nobody waits for them. */
static void test_file_too_large(void **state) {
  (void)state;
  char wanted[128];
  int fd = dial();
  struct seen before = look();
  snprintf(wanted, sizeof wanted, "file=0 err=%d sum=00000000 body=0", EFBIG);
  say(fd, "POST /file?max=10 HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world");
  expect(fd, 200, wanted);
  upload(fd, "/file?max=10", 10, 0);
  say(fd, "POST /file HTTP/1.1\r\nHost: x\r\nContent-Length: %u\r\n\r\n", FILE_MAX + 1);
  pour(fd, FILE_MAX + 1, 0);
  expect(fd, 200, wanted);
  upload(fd, "/file?max=10", 10, 10);
  say(fd, "POST /file?max=10 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
          "5\r\nhello\r\n5\r\n worl\r\n1\r\nd\r\n1\r\n!\r\n0\r\n\r\n");
  snprintf(wanted, sizeof wanted, "file=10 err=%d sum=00000000 body=0", EFBIG);
  expect(fd, 200, wanted);
  expect_alive(fd);
  snprintf(wanted, sizeof wanted, "file=0 err=%d sum=00000000 body=0", EFBIG);
  say(fd, "POST /file HTTP/1.1\r\nHost: x\r\nContent-Length: %u\r\n\r\n", HTTP_DROP_MAX + 1);
  expect(fd, 200, wanted);
  expect_end(fd);
  close(fd);
  assert_int_equal(look().handled, before.handled + 7);
  fd = dial(); /* it does not say how long it is, and does not end: neither does anybody listen for ever */
  say(fd, "POST /file HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  static char chunk[10 + (1 << 20) + 2] = "00100000\r\n";
  memcpy(chunk + sizeof chunk - 2, "\r\n", 2);
  size_t n = 0;
  while (n < FILE_MAX + HTTP_DROP_MAX + (8u << 20) && fd_write_all(fd, chunk, sizeof chunk) == 0)
    n += 1 << 20;
  assert_in_range(n, FILE_MAX + HTTP_DROP_MAX - (8u << 20), FILE_MAX + HTTP_DROP_MAX + (7u << 20));
  expect_end(fd);
  close(fd);
  assert_int_equal(look().handled, before.handled + 7);
  fd = dial();
  expect_alive(fd);
  close(fd);
}

static void test_disk_full(void **state) {
  (void)state;
  char wanted[128];
  int fd = dial();
  snprintf(wanted, sizeof wanted, "file=0 err=%d sum=00000000 body=0", ENOSPC);
  for (size_t n = 1; n < 3000000; n *= 1000) {
    say(fd, "POST /file HTTP/1.1\r\nHost: x\r\nDisk-Full: yes\r\nContent-Length: %zu\r\n\r\n", n);
    pour(fd, n, 0);
    expect(fd, 200, wanted);
    say(fd, "POST /file HTTP/1.1\r\nHost: x\r\nDisk-Full: yes\r\nTransfer-Encoding: chunked\r\n\r\n");
    pour(fd, n, 999);
    say(fd, "0\r\n\r\n");
    expect(fd, 200, wanted);
  }
  expect_alive(fd);
  close(fd);
}

/* Cut in the head, before the body, in it, in a chunk, after it: half a file is never handled, and never kept. */
static void test_gone(void **state) {
  (void)state;
  struct seen before = look();
  static const struct {
    const char *text;
    size_t more;
  } cuts[] = {{"POST /file HTTP/1.1\r\nHost: x\r\nContent-Le", 0},
              {"POST /file HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 0},
              {"POST /file HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 1},
              {"POST /file HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 99999},
              {"POST /file HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", 65534},
              {"POST /file HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", 0},
              {"POST /file?max=5 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 50000},
              {"POST /file HTTP/1.1\r\nHost: x\r\nDisk-Full: yes\r\nContent-Length: 100000\r\n\r\n", 50000},
              {"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 50000},
              {"POST /refused-later HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 5000}};
  for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
    int fd = dial();
    say(fd, "%s", cuts[i].text);
    pour(fd, cuts[i].more, 0);
    look(); /* it has begun */
    close(fd);
    expect_nothing_left(before);
  }
  while (look().late == before.late) /* the answer that nobody waits for any more */
    poll(NULL, 0, 1);
  assert_int_equal(look().handled, before.handled);
}

static void test_pipelined(void **state) {
  (void)state;
  char wanted[128];
  int fd = dial();
  snprintf(wanted, sizeof wanted, "file=5 err=0 sum=%08x body=0", sum(0, (const uint8_t *)"hello", 5));
  say(fd, "POST /file HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
          "GET /small HTTP/1.1\r\nHost: x\r\n\r\n"
          "POST /file HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
          "POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
          "POST /file-later HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
          "POST /refused-later HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
          "POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
  expect(fd, 200, wanted);
  expect(fd, 200, "body=0 too_large=0");
  expect(fd, 200, wanted);
  expect(fd, 403, "no");
  expect(fd, 200, wanted);
  expect(fd, 403, "no");
  expect(fd, 200, "body=5 too_large=0");
  close(fd);
}

/* Uploads that are under way hold up nobody, and do not mix. */
static void test_together(void **state) {
  (void)state;
  int fds[8], other = dial();
  uint32_t sums[8] = {0};
  char wanted[128];
  for (size_t i = 0; i < 8; i++)
    say(fds[i] = dial(), "POST /file HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
  for (size_t at = 0; at < 1000000; at += 10000) {
    uint8_t bytes[10000];
    for (size_t i = 0; i < 8; i++) {
      memset(bytes, (int)(i * 31 + at / 10000), sizeof bytes);
      sums[i] = sum(sums[i], bytes, sizeof bytes);
      assert_int_equal(fd_write_all(fds[i], bytes, sizeof bytes), 0);
    }
    expect_alive(other);
  }
  for (size_t i = 0; i < 8; i++) {
    snprintf(wanted, sizeof wanted, "file=1000000 err=0 sum=%08x body=0", sums[i]);
    expect(fds[i], 200, wanted);
    close(fds[i]);
  }
  close(other);
}

static void test_refused(void **state) {
  (void)state;
  static const char *const paths[] = {"/refused", "/refused-later"};
  struct seen before = look();
  for (size_t i = 0; i < 2; i++) {
    int fd = dial();
    say(fd, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", paths[i]);
    expect(fd, 403, "no");
    say(fd, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n", paths[i]);
    pour(fd, 3000000, 0);
    expect(fd, 403, "no");
    say(fd, "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", paths[i]);
    pour(fd, 3000000, 5000);
    say(fd, "0\r\n\r\n");
    expect(fd, 403, "no");
    close(fd);
  }
  int fd = dial();
  say(fd, "POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551614\r\n\r\n");
  expect(fd, 403, "no");
  expect_end(fd);
  close(fd);
  struct seen after = look();
  assert_int_equal(after.handled, before.handled);
  assert_int_equal(after.open, before.open);
}

/* "100 Continue" comes for a body that is wanted, and only then. */
static void test_expect(void **state) {
  (void)state;
  char body[64], wanted[128];
  int fd = dial();
  say(fd, "POST /file HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  assert_int_equal(hear(fd, body, sizeof body), 100);
  say(fd, "hello");
  snprintf(wanted, sizeof wanted, "file=5 err=0 sum=%08x body=0", sum(0, (const uint8_t *)"hello", 5));
  expect(fd, 200, wanted);
  say(fd, "POST /refused HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  expect(fd, 403, "no");
  expect_end(fd);
  close(fd);
  fd = dial();
  say(fd, "POST /file?max=4 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  snprintf(wanted, sizeof wanted, "file=0 err=%d sum=00000000 body=0", EFBIG);
  expect(fd, 200, wanted);
  expect_end(fd);
  close(fd);
  fd = dial();
  say(fd, "POST /small HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %u\r\n\r\n", HTTP_BODY_MAX + 1);
  expect(fd, 200, "body=0 too_large=1");
  expect_end(fd);
  close(fd);
  fd = dial(); /* refused, and told so only later: the body is asked for, thrown away, and the answer comes */
  say(fd, "POST /refused-later HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  int status = hear(fd, body, sizeof body);
  if (status == 100) {
    say(fd, "hello");
    status = hear(fd, body, sizeof body);
  }
  assert_int_equal(status, 403);
  close(fd);
}

/* Until these bytes were the last ones. */
static void expect_last(int fd, const char *last) {
  char got[1024];
  size_t n = 0, want = strlen(last);
  while (n < want || memcmp(got + n - want, last, want) != 0) {
    assert_true(n < sizeof got && readable(fd, PATIENCE_MS));
    assert_int_equal(recv(fd, got + n, 1, 0), 1);
    n++;
  }
}

static void ask(const char *path, const char *answer) {
  int fd = dial();
  say(fd, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
  expect(fd, 200, answer);
  close(fd);
}

static int listen_to_stream(int fd) {
  say(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  expect_last(fd, "\r\n\r\n3\r\nabc\r\n");
  ask("/stream-is", "open");
  return fd;
}

/* A stream ends when it is said, and the connection goes on; whoever left a silent one is noticed when asked for. */
static void test_stream(void **state) {
  (void)state;
  int fd = listen_to_stream(dial());
  assert_false(readable(fd, 50));
  ask("/stream-ends", "");
  expect_last(fd, "0\r\n\r\n");
  ask("/stream-is", "none");
  expect_alive(fd);
  listen_to_stream(fd);
  shutdown(fd, SHUT_WR);
  ask("/stream-is", "left");
  ask("/stream-ends", "");
  expect_last(fd, "0\r\n\r\n");
  expect_end(fd);
  close(fd);
  close(listen_to_stream(dial()));
  ask("/stream-is", "left");
  ask("/stream-ends", "");
  ask("/stream-is", "none");
}

/* The server ends with an upload under way; it tells of what leaked. */
static void test_end(void **state) {
  (void)state;
  int status, half = dial(), late = dial();
  say(half, "POST /file HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nhello");
  say(late, "POST /refused-later HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nhello");
  look();
  kill(server, SIGTERM);
  assert_int_equal(waitpid(server, &status, 0), server);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  expect_end(half);
  close(half);
  close(late);
}

static int teardown(void **state) {
  (void)state;
  unlink(address.sun_path);
  return rmdir(directory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_buffered),     cmocka_unit_test(test_file),           cmocka_unit_test(test_file_in_chunks),
      cmocka_unit_test(test_largest_file), cmocka_unit_test(test_file_too_large), cmocka_unit_test(test_disk_full),
      cmocka_unit_test(test_gone),         cmocka_unit_test(test_pipelined),      cmocka_unit_test(test_together),
      cmocka_unit_test(test_refused),      cmocka_unit_test(test_expect),         cmocka_unit_test(test_stream),
      cmocka_unit_test(test_end),
  };
  return cmocka_run_group_tests_name("http", tests, setup, teardown);
}
