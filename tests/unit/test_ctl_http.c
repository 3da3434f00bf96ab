/* The client's half of HTTP and of server-sent events: whatever comes, in whatever pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the parser --------------------------------------------------------------------------------------------- */

struct result {
  int err, status;
  bool done, replayed;
  char type[64], etag[128], body[4096];
  size_t body_n;
};

/* Feeds the text in pieces that end at `a` and `b` (or byte by byte when step is 1). */
static struct result parse(const char *text, size_t n, size_t a, size_t b, size_t step, size_t max) {
  struct http_parser p;
  struct result r = {0};
  http_parser_init(&p, max);
  size_t cuts[] = {a, b, n}, at = 0;
  for (size_t i = 0; i < 3 && !step && !r.err; i++) {
    r.err = http_parser_feed(&p, text + at, cuts[i] - at);
    at = cuts[i];
  }
  for (; step && at < n && !r.err; at += step)
    r.err = http_parser_feed(&p, text + at, step < n - at ? step : n - at);
  r.done = p.state == HTTP_DONE;
  r.status = p.status;
  r.replayed = p.replayed;
  str_copy(r.type, sizeof r.type, p.type);
  str_copy(r.etag, sizeof r.etag, p.etag);
  r.body_n = p.body.len < sizeof r.body ? p.body.len : sizeof r.body;
  if (r.body_n)
    memcpy(r.body, p.body.data, r.body_n);
  http_parser_finish(&p);
  return r;
}

static void check_every_split(const char *text, const char *body) {
  size_t n = strlen(text);
  for (size_t a = 0; a <= n; a++) {
    for (size_t b = a; b <= n; b += 1 + (n - a) / 7) {
      struct result r = parse(text, n, a, b, 0, 4096);
      assert_int_equal(r.err, 0);
      assert_true(r.done);
      assert_int_equal(r.status, 200);
      assert_true(r.replayed);
      assert_string_equal(r.type, "application/json");
      assert_string_equal(r.etag, "\"7\"");
      assert_int_equal(r.body_n, strlen(body));
      assert_memory_equal(r.body, body, strlen(body));
    }
  }
  assert_true(parse(text, n, 0, 0, 1, 4096).done);
}

#define HEAD                                                                                                  \
  "HTTP/1.1 200 OK\r\nDate: Sat, 22 Nov 2025 01:02:03 GMT\r\nETag: \"7\"\r\nCONTENT-type: Application/JSON; " \
  "charset=utf-8\r\nIdempotency-Replayed:true\t \r\nX-Empty:\r\n"
static const char with_length[] = HEAD "Content-Length: 13\r\n\r\n{\"a\":\"b\\r\\n\"}";
static const char in_chunks[] =
    HEAD "Transfer-Encoding: Chunked\r\n\r\n5\r\n{\"a\":\r\n00000002\r\n\"b\r\nA\r\n\\r\\n\"}    \r\n0\r\nTrailer: "
         "x\r\n\r\n";

static void test_length(void **state) {
  (void)state;
  check_every_split(with_length, "{\"a\":\"b\\r\\n\"}");
}

static void test_chunks(void **state) {
  (void)state;
  check_every_split(in_chunks, "{\"a\":\"b\\r\\n\"}    ");
}

static void test_interim(void **state) {
  (void)state;
  char text[1024];
  snprintf(text, sizeof text, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103\r\nLink: x\r\n\r\n%s", with_length);
  check_every_split(text, "{\"a\":\"b\\r\\n\"}");
}

static void test_no_content(void **state) {
  (void)state;
  const char *texts[] = {"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304\r\n\r\n",
                         "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
  for (size_t i = 0; i < 3; i++)
    assert_true(parse(texts[i], strlen(texts[i]), 0, 0, 0, 0).done);
}

#define OK "HTTP/1.1 200 OK\r\n"
static void test_garbage(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int err;
  } bad[] = {
      {"SSH-2.0-OpenSSH_9.2\r\n", -EPROTO},
      {"HTTP/1.0 200 OK\r\n", -EPROTO},
      {"HTTP/2 200 OK\r\n", -EPROTO},
      {"http/1.1 200 OK\r\n", -EPROTO},
      {"HTTP/1.1 20 OK\r\n", -EPROTO},
      {"HTTP/1.1 2000 OK\r\n", -EPROTO},
      {"HTTP/1.1 099 OK\r\n", -EPROTO},
      {"HTTP/1.1 600 OK\r\n", -EPROTO},
      {"HTTP/1.1 +20 OK\r\n", -EPROTO},
      {"HTTP/1.1  200 OK\r\n", -EPROTO},
      {"\r\n", -EPROTO},
      {"\n", -EPROTO},
      {"HTTP/1.1 200 OK\n", -EPROTO},
      {"HTTP/1.1 200 OK\rX", -EPROTO},
      {"HTTP/1.1 200 \x01K\r\n", -EPROTO},
      {"HTTP/1.1 101 Switching Protocols\r\n\r\n", -EPROTO},
      {OK "\r\n", -EPROTO}, /* no length */
      {OK "Content-Length: 1\r\nContent-Length: 1\r\n", -EPROTO},
      {OK "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", -EPROTO},
      {OK "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", -EPROTO},
      {OK "Transfer-Encoding: gzip, chunked\r\n", -EPROTO},
      {OK "Content-Length: -1\r\n", -EPROTO},
      {OK "Content-Length: 1 1\r\n", -EPROTO},
      {OK "Content-Length: 0x10\r\n", -EPROTO},
      {OK "Content-Length:\r\n", -EPROTO},
      {OK "Content-Length: 99999999999999999999\r\n", -EPROTO},
      {OK "Content-Length: 65\r\n\r\n", -EFBIG},
      {OK "Content-Length : 1\r\n", -EPROTO},
      {OK " folded: 1\r\n", -EPROTO},
      {OK ": 1\r\n", -EPROTO},
      {OK "no colon\r\n", -EPROTO},
      {OK "Transfer-Encoding: chunked\r\n\r\n\r\n", -EPROTO},
      {OK "Transfer-Encoding: chunked\r\n\r\nx\r\n", -EPROTO},
      {OK "Transfer-Encoding: chunked\r\n\r\n1;ext=1\r\n", -EPROTO},
      {OK "Transfer-Encoding: chunked\r\n\r\n000000001\r\n", -EPROTO},
      {OK "Transfer-Encoding: chunked\r\n\r\n1111111111111111111", -EPROTO},
      {OK "Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", -EFBIG},
      {OK "Transfer-Encoding: chunked\r\n\r\n41\r\n", -EFBIG},
      {OK "Transfer-Encoding: chunked\r\n\r\n1\r\nxx", -EPROTO},
      {OK "Transfer-Encoding: chunked\r\n\r\n1\r\nx\n", -EPROTO},
      {OK "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nmore", -EPROTO},
      {OK "Content-Length: 1\r\n\r\nxy", -EPROTO},
      {OK "Content-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n", -EPROTO},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    size_t n = strlen(bad[i].text);
    for (size_t a = 0; a <= n; a++)
      if (parse(bad[i].text, n, a, a, 0, 64).err != bad[i].err)
        fail_msg("row %zu split at %zu: %s", i, a, bad[i].text);
    assert_int_equal(parse(bad[i].text, n, 0, 0, 1, 64).err, bad[i].err);
  }
}

static void test_oversize_head(void **state) {
  (void)state;
  struct http_parser p;
  char line[1000];
  memset(line, 'a', sizeof line);
  memcpy(line, "A: ", 3);
  memcpy(line + sizeof line - 2, "\r\n", 2);
  http_parser_init(&p, 64);
  int r = http_parser_feed(&p, OK, strlen(OK));
  for (int i = 0; i < 20 && r == 0; i++)
    r = http_parser_feed(&p, line, sizeof line);
  assert_int_equal(r, -EFBIG);
  assert_int_equal(http_parser_feed(&p, "x", 1), -EFBIG); /* sticky */
  assert_int_equal(http_parser_end(&p), -EFBIG);
  http_parser_finish(&p);
  http_parser_init(&p, 64);
  r = 0;
  for (int i = 0; i < 40000 && r == 0; i++)
    r = http_parser_feed(&p, "x", 1);
  assert_int_equal(r, -EFBIG);
  http_parser_finish(&p);
  http_parser_init(&p, 64); /* endless trailers */
  r = http_parser_feed(&p, OK "Transfer-Encoding: chunked\r\n\r\n0\r\n",
                       strlen(OK "Transfer-Encoding: chunked\r\n\r\n0\r\n"));
  for (int i = 0; i < 20 && r == 0; i++)
    r = http_parser_feed(&p, line, sizeof line);
  assert_int_equal(r, -EFBIG);
  http_parser_finish(&p);
}

static void test_early_close(void **state) {
  (void)state;
  const char *texts[] = {with_length, in_chunks};
  for (size_t i = 0; i < 2; i++) {
    for (size_t n = 0; n <= strlen(texts[i]); n++) {
      struct http_parser p;
      http_parser_init(&p, 4096);
      assert_int_equal(http_parser_feed(&p, texts[i], n), 0);
      assert_int_equal(http_parser_end(&p), n < strlen(texts[i]) ? -ECONNRESET : 0);
      http_parser_finish(&p);
    }
  }
}

static void test_every_bit(void **state) {
  (void)state;
  const char *texts[] = {with_length, in_chunks};
  for (size_t i = 0; i < 2; i++) {
    size_t n = strlen(texts[i]);
    char copy[512];
    for (size_t bit = 0; bit < 8 * n; bit++) {
      memcpy(copy, texts[i], n);
      copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
      struct result whole = parse(copy, n, n, n, 0, 64), bytes = parse(copy, n, 0, 0, 1, 64);
      assert_int_equal(whole.err, bytes.err); /* one meaning, however it is cut */
      assert_int_equal(whole.done, bytes.done);
      assert_int_equal(whole.body_n, bytes.body_n);
    }
  }
}

/* ---- server-sent events ------------------------------------------------------------------------------------- */

struct heard {
  char text[4096];
  size_t n;
  int answer;
};

static int hear(void *userdata, const char *name, const char *data, size_t n) {
  struct heard *h = userdata;
  assert_int_equal(strlen(data), n);
  h->n += (size_t)snprintf(h->text + h->n, sizeof h->text - h->n, "[%s|%s]", name, data);
  return h->answer;
}

static const char stream[] = "\xef\xbb\xbf: hello\n\n"
                             "event: state\nid: 4\ndata: {\"state\":\"acquiring\"}\n\n"
                             "data:a\r\ndata: b\r\ndata\r\nid:5\r\n\r\n"
                             ": keep alive\r\r"
                             "event: empty\n\n"
                             "event:progress\rdata: 1\rretry: 5\rother: x\r\r"
                             "event: this-name-is-longer-than-any-of-ours\ndata: x\n\n"
                             "id: with space\ndata: last\n\n"
                             "data: never finished\nid: 9\n";
static const char expected[] = "[state|{\"state\":\"acquiring\"}][message|a\nb\n][progress|1][message|last]";

static void test_sse_every_split(void **state) {
  (void)state;
  size_t n = sizeof stream - 1;
  for (size_t a = 0; a <= n; a++) {
    for (size_t b = a; b <= n; b += 1 + (n - a) / 11) {
      struct heard h = {0};
      struct sse s;
      const uint8_t *bytes = (const uint8_t *)stream;
      sse_init(&s, hear, &h);
      assert_int_equal(sse_feed(&s, bytes, a), 0);
      assert_int_equal(sse_feed(&s, bytes + a, b - a), 0);
      assert_int_equal(sse_feed(&s, bytes + b, n - b), 0);
      assert_string_equal(h.text, expected);
      assert_string_equal(s.last_id, "5");
      sse_finish(&s);
    }
  }
}

static void test_sse_restart(void **state) {
  (void)state;
  struct heard h = {0};
  struct sse s;
  sse_init(&s, hear, &h);
  sse_feed(&s, (const uint8_t *)"id: 7\ndata: a\n\nid: 8\ndata: half", 31);
  sse_restart(&s);
  assert_string_equal(s.last_id, "7");
  sse_feed(&s, (const uint8_t *)"data: b\n\n", 9);
  assert_string_equal(h.text, "[message|a][message|b]");
  assert_string_equal(s.last_id, "7");
  sse_finish(&s);
}

static void test_sse_bounds(void **state) {
  (void)state;
  struct heard h = {0};
  struct sse s;
  int r = 0;
  sse_init(&s, hear, &h);
  for (unsigned i = 0; i <= SSE_EVENT_MAX && r == 0; i++) /* a line without an end */
    r = sse_feed(&s, (const uint8_t *)"x", 1);
  assert_int_equal(r, -EFBIG);
  assert_int_equal(sse_feed(&s, (const uint8_t *)"\n\n", 2), -EFBIG);
  sse_finish(&s);
  sse_init(&s, hear, &h);
  r = 0;
  for (unsigned i = 0; i <= SSE_EVENT_MAX && r == 0; i++) /* an event without an end */
    r = sse_feed(&s, (const uint8_t *)"data: x\n", 8);
  assert_int_equal(r, -EFBIG);
  sse_finish(&s);
  sse_init(&s, hear, &h);
  h.answer = -ECANCELED;
  assert_int_equal(sse_feed(&s, (const uint8_t *)"data: x\n\ndata: y\n\n", 18), -ECANCELED);
  assert_string_equal(h.text, "[message|x]");
  sse_finish(&s);
}

/* Every flipped bit and every cut of the stream, through chunks: no crash, and at most what was sent. */
static void test_sse_in_chunks(void **state) {
  (void)state;
  for (size_t size = 1; size < sizeof stream; size += 1 + size / 3) {
    char text[8192];
    size_t n =
        (size_t)snprintf(text, sizeof text, OK "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < sizeof stream - 1; at += size) {
      size_t take = sizeof stream - 1 - at < size ? sizeof stream - 1 - at : size;
      n += (size_t)snprintf(text + n, sizeof text - n, "%zx\r\n%.*s\r\n", take, (int)take, stream + at);
    }
    for (size_t cut = 1; cut < n; cut += 13) {
      struct heard h = {0};
      struct sse s;
      struct http_parser p;
      sse_init(&s, hear, &h);
      http_parser_init(&p, 16); /* the bound is for bodies that are kept */
      p.sink = sse_feed;
      p.userdata = &s;
      assert_int_equal(http_parser_feed(&p, text, cut), 0);
      assert_int_equal(http_parser_feed(&p, text + cut, n - cut), 0);
      assert_string_equal(h.text, expected);
      assert_int_equal(http_parser_end(&p), -ECONNRESET);
      http_parser_finish(&p);
      sse_finish(&s);
    }
  }
}

static void test_sse_until_close(void **state) {
  (void)state;
  struct heard h = {0};
  struct sse s;
  struct http_parser p;
  const char text[] = OK "Content-Type: text/event-stream\r\n\r\ndata: x\n\n";
  sse_init(&s, hear, &h);
  http_parser_init(&p, 16);
  p.sink = sse_feed;
  p.userdata = &s;
  assert_int_equal(http_parser_feed(&p, text, sizeof text - 1), 0);
  assert_int_equal(http_parser_end(&p), 0);
  assert_string_equal(h.text, "[message|x]");
  http_parser_finish(&p);
  sse_finish(&s);
}

/* ---- the exchange, with a server in a child process --------------------------------------------------------- */

static char directory[64], path[96];

static int make_directory(void **state) {
  (void)state;
  snprintf(directory, sizeof directory, "/tmp/test_ctl_http.XXXXXX");
  if (!mkdtemp(directory))
    return -1;
  snprintf(path, sizeof path, "%s/s", directory);
  return 0;
}

static int remove_directory(void **state) {
  (void)state;
  unlink(path);
  return rmdir(directory);
}

static int listen_here(int backlog) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  unlink(path);
  str_copy(address.sun_path, sizeof address.sun_path, path);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(fd, backlog), 0);
  return fd;
}

struct server {
  const char *answer;
  size_t piece;      /* bytes a write; 0 for all at once */
  int pause_ms;      /* before each */
  bool deaf, silent; /* does not read the request; sends nothing for a while */
  bool stays;        /* after the last of them, and sends nothing more */
};

static pid_t serve(const struct server *s) {
  int fd = listen_here(8);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid) {
    close(fd);
    return pid;
  }
  signal(SIGPIPE, SIG_IGN);
  alarm(20);
  int c = accept(fd, NULL, NULL);
  char request[65536];
  if (!s->deaf && read(c, request, sizeof request) < 0)
    _exit(1);
  if (s->silent)
    poll(NULL, 0, 3000);
  size_t n = s->answer ? strlen(s->answer) : 0, piece = s->piece ? s->piece : n;
  for (size_t at = 0; at < n; at += piece)
    if (poll(NULL, 0, s->pause_ms) < 0 || write(c, s->answer + at, piece < n - at ? piece : n - at) < 0)
      _exit(1);
  if (s->stays)
    poll(NULL, 0, 3000);
  _exit(0); /* closes */
}

static void finish(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

static int exchange(const struct server *s, int timeout_ms, size_t body_n, int *ret_status) {
  struct http_client client = {.path = path, .timeout_ms = timeout_ms, .wake_fd = -1};
  char *body = calloc(1, body_n + 1);
  memset(body, ' ', body_n);
  struct http_request request = {.method = "POST", .target = "/v1/x", .body = body, .body_bytes = body_n};
  struct http_conn c;
  pid_t pid = serve(s);
  int r = http_exchange(&c, &client, &request, 4096);
  *ret_status = c.parser.status;
  http_disconnect(&c);
  finish(pid);
  free(body);
  return r;
}

static void test_exchange(void **state) {
  (void)state;
  int status;
  assert_int_equal(exchange(&(struct server){.answer = with_length}, 5000, 2, &status), 0);
  assert_int_equal(exchange(&(struct server){.answer = in_chunks, .piece = 1}, 5000, 2, &status), 0);
  assert_int_equal(status, 200);
  assert_int_equal(exchange(&(struct server){.answer = OK "Content-Length: 5\r\n\r\nab"}, 5000, 2, &status),
                   -ECONNRESET);
  assert_int_equal(exchange(&(struct server){0}, 5000, 2, &status), -ECONNRESET);
  assert_int_equal(exchange(&(struct server){.answer = "garbage\r\n"}, 5000, 2, &status), -EPROTO);
  assert_int_equal(exchange(&(struct server){.answer = OK "Content-Length: 5000\r\n\r\n"}, 5000, 2, &status), -EFBIG);
}

/* The daemon refuses a body before it has read it: its answer still counts. */
static void test_early_answer(void **state) {
  (void)state;
  int status;
  const char *answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\n{}";
  assert_int_equal(exchange(&(struct server){.answer = answer, .deaf = true}, 5000, 4u << 20, &status), 0);
  assert_int_equal(status, 413);
}

static void test_timeout(void **state) {
  (void)state;
  int status;
  uint64_t before = monotonic_us();
  assert_int_equal(exchange(&(struct server){.silent = true}, 200, 2, &status), -ETIMEDOUT);
  assert_true(monotonic_us() - before < 2000000);
  assert_int_equal(exchange(&(struct server){.silent = true, .deaf = true}, 200, 4u << 20, &status), -ETIMEDOUT);
}

/* ---- an answer that is taken piece by piece ---- */

struct taken {
  char bytes[64];
  size_t n, most; /* and then no more */
};

static int take(void *userdata, const uint8_t *bytes, size_t n) {
  struct taken *t = userdata;
  if (t->n + n > t->most)
    return -ENOSPC;
  memcpy(t->bytes + t->n, bytes, n);
  t->n += n;
  return 0;
}

static int exchange_taken(const struct server *s, struct taken *t, size_t *ret_body) {
  struct http_client client = {.path = path, .timeout_ms = 300, .wake_fd = -1};
  struct http_request request = {.method = "GET", .target = "/v1/x", .sink = take, .userdata = t};
  struct http_conn c;
  pid_t pid = serve(s);
  int r = http_exchange(&c, &client, &request, 2);
  *ret_body = c.parser.body.len;
  http_disconnect(&c);
  finish(pid);
  return r;
}

/* Longer than what fits into memory, slower than the time for an exchange: only for a piece it must not last. */
static void test_taken(void **state) {
  (void)state;
  static const char answer[] = OK "Content-Length: 40\r\n\r\n0123456789012345678901234567890123456789";
  struct taken t = {.most = 64};
  size_t body;
  uint64_t before = monotonic_us();
  assert_int_equal(exchange_taken(&(struct server){.answer = answer, .piece = 10, .pause_ms = 80}, &t, &body), 0);
  assert_true(monotonic_us() - before > 300000);
  assert_int_equal(t.n, 40);
  assert_memory_equal(t.bytes, strstr(answer, "\r\n\r\n") + 4, 40);
  assert_int_equal(body, 0);
  t = (struct taken){.most = 64};
  assert_int_equal(
      exchange_taken(&(struct server){.answer = OK "Content-Length: 40\r\n\r\n01", .stays = true}, &t, &body),
      -ETIMEDOUT);
  assert_int_equal(t.n, 2);
  t = (struct taken){.most = 30};
  assert_int_equal(exchange_taken(&(struct server){.answer = answer, .piece = 10}, &t, &body), -ENOSPC);
  /* What is no 200 is told, and goes to the body. */
  t = (struct taken){.most = 64};
  assert_int_equal(
      exchange_taken(&(struct server){.answer = "HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\n{}"}, &t, &body), 0);
  assert_int_equal(body, 2);
  assert_int_equal(t.n, 0);
}

static void test_full_queue(void **state) {
  (void)state;
  int fd = listen_here(0), others[4];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  str_copy(address.sun_path, sizeof address.sun_path, path);
  for (size_t i = 0; i < 4; i++) {
    others[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)!connect(others[i], (struct sockaddr *)&address, sizeof address);
  }
  struct http_client client = {.path = path, .timeout_ms = 200, .wake_fd = -1};
  struct http_conn c;
  assert_int_equal(http_exchange(&c, &client, &(struct http_request){.method = "GET", .target = "/"}, 10), -ETIMEDOUT);
  http_disconnect(&c);
  for (size_t i = 0; i < 4; i++)
    close(others[i]);
  close(fd);
}

static void test_wake(void **state) {
  (void)state;
  int pipe_fds[2];
  assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
  pid_t pid = serve(&(struct server){.silent = true});
  struct http_client client = {.path = path, .timeout_ms = 5000, .wake_fd = pipe_fds[0]};
  struct http_conn c;
  assert_int_equal(http_connect(&c, &client, &(struct http_request){.method = "GET", .target = "/"}, 10), 0);
  assert_int_equal(http_step(&c, 50), 0);
  assert_int_equal(write(pipe_fds[1], "x", 1), 1);
  assert_int_equal(http_step(&c, 5000), -ECANCELED);
  http_disconnect(&c);
  finish(pid);
  close(pipe_fds[0]);
  close(pipe_fds[1]);
}

static int try_path(const char *where) {
  struct http_client client = {.path = where, .timeout_ms = 200, .wake_fd = -1};
  struct http_conn c;
  int r = http_exchange(&c, &client, &(struct http_request){.method = "GET", .target = "/"}, 10);
  http_disconnect(&c);
  return r;
}

static void test_nobody(void **state) {
  (void)state;
  char longer[200];
  memset(longer, 'a', sizeof longer - 1);
  longer[sizeof longer - 1] = 0;
  close(listen_here(1));
  assert_int_equal(try_path(path), -ECONNREFUSED);
  unlink(path);
  assert_int_equal(try_path(path), -ENOENT);
  assert_int_equal(try_path(longer), -ENAMETOOLONG);
}

/* What is sent, byte for byte; and what is never sent. */
static void test_request(void **state) {
  (void)state;
  static const char expect[] = "PUT /v1/patients/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n"
                               "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
  struct http_client client = {.path = path, .timeout_ms = 1000, .wake_fd = -1};
  struct http_request request = {.method = "PUT", .target = "/v1/patients/a", .body = "{}", .body_bytes = 2};
  request.headers[0] = (struct http_header){"Left-Out", NULL};
  request.headers[1] = (struct http_header){"Authorization", "Bearer x"};
  struct http_conn c;
  char got[512];
  int fd = listen_here(1);
  assert_int_equal(http_connect(&c, &client, &request, 10), 0);
  int peer = accept(fd, NULL, NULL);
  ssize_t n = read(peer, got, sizeof got);
  assert_int_equal(n, sizeof expect - 1);
  assert_memory_equal(got, expect, sizeof expect - 1);
  http_disconnect(&c);
  close(peer);
  request.headers[1].value = "x\r\nAsaleed-Acting-For: admin";
  assert_int_equal(http_connect(&c, &client, &request, 10), -EINVAL);
  http_disconnect(&c);
  request.headers[1].value = "x";
  for (size_t i = 0; i < 4; i++) {
    request.target = (const char *[]){"", "/a b", "/a\r\nX: y", "/a#b"}[i];
    assert_int_equal(http_connect(&c, &client, &request, 10), -EINVAL);
    http_disconnect(&c);
  }
  close(fd);
}

static void on_sent(void *userdata, uint64_t bytes) {
  uint64_t *sent = userdata;
  assert_true(bytes > *sent);
  *sent = bytes;
}

/* A file goes as it is, wherever its descriptor stands; who takes it reads it to the end. */
static void test_upload(void **state) {
  (void)state;
  enum { SIZE = 300001 };
  static uint8_t bytes[SIZE], got[SIZE + 512];
  FILE *file = tmpfile();
  for (size_t i = 0; i < SIZE; i++)
    bytes[i] = (uint8_t)(i * 7 >> 2);
  assert_int_equal(fd_write_all(fileno(file), bytes, SIZE), 0);
  uint64_t sent = 0;
  struct http_upload upload = {.fd = fileno(file), .bytes = SIZE, .sent = on_sent, .userdata = &sent};
  struct http_request request = {.method = "POST", .target = "/v1/files?name=a", .upload = &upload};
  struct http_client client = {.path = path, .timeout_ms = 5000, .wake_fd = -1};
  struct http_conn c;
  int fd = listen_here(1);
  pid_t pid = fork();
  if (pid == 0) {
    int r = http_connect(&c, &client, &request, 10);
    _exit(r < 0 || sent != SIZE);
  }
  int peer = accept(fd, NULL, NULL), status;
  size_t n = 0;
  for (ssize_t r; n < sizeof got && (r = read(peer, got + n, sizeof got - n)) > 0; n += (size_t)r)
    continue;
  waitpid(pid, &status, 0);
  assert_int_equal(status, 0);
  static const char head[] = "POST /v1/files?name=a HTTP/1.1\r\nHost: localhost\r\n"
                             "Content-Type: application/octet-stream\r\nContent-Length: 300001\r\n\r\n";
  assert_int_equal(n, sizeof head - 1 + SIZE);
  assert_memory_equal(got, head, sizeof head - 1);
  assert_memory_equal(got + sizeof head - 1, bytes, SIZE);
  close(peer);
  /* It became shorter, it cannot be read, somebody interrupts, the peer is gone: each is told for what it is. */
  upload.bytes = SIZE + 1;
  for (int i = 0; i < 3; i++) {
    int woken[2];
    upload.err = 0;
    sent = 0;
    upload.fd = i == 1 ? fd : fileno(file);
    assert_int_equal(pipe2(woken, O_CLOEXEC), 0);
    assert_int_equal(write(woken[1], "x", i == 2), i == 2);
    client.wake_fd = woken[0];
    pid = fork();
    if (pid == 0) {
      for (peer = accept(fd, NULL, NULL); read(peer, got, sizeof got) > 0;)
        continue;
      _exit(0);
    }
    static const int wanted[] = {-ESTALE, -ESPIPE, -ECANCELED};
    assert_int_equal(http_connect(&c, &client, &request, 10), wanted[i]);
    assert_int_equal(upload.err, i < 2 ? wanted[i] : 0);
    http_disconnect(&c);
    waitpid(pid, NULL, 0);
    close(woken[0]);
    close(woken[1]);
  }
  client.wake_fd = -1;
  upload.fd = fileno(file);
  upload.bytes = SIZE;
  pid = fork();
  if (pid == 0)
    _exit(accept(fd, NULL, NULL) < 0); /* and closes */
  assert_int_equal(http_exchange(&c, &client, &request, 10), -ECONNRESET);
  http_disconnect(&c);
  waitpid(pid, NULL, 0);
  close(fd);
  fclose(file);
}

static void test_encode(void **state) {
  (void)state;
  struct buf b = BUF_INIT(64);
  http_encode(&b, "aZ9-._~/?%é");
  assert_string_equal(buf_cstr(&b), "aZ9-._~%2F%3F%25%C3%A9");
  buf_finish(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_length),
      cmocka_unit_test(test_chunks),
      cmocka_unit_test(test_interim),
      cmocka_unit_test(test_no_content),
      cmocka_unit_test(test_garbage),
      cmocka_unit_test(test_oversize_head),
      cmocka_unit_test(test_early_close),
      cmocka_unit_test(test_every_bit),
      cmocka_unit_test(test_sse_every_split),
      cmocka_unit_test(test_sse_restart),
      cmocka_unit_test(test_sse_bounds),
      cmocka_unit_test(test_sse_in_chunks),
      cmocka_unit_test(test_sse_until_close),
      cmocka_unit_test(test_exchange),
      cmocka_unit_test(test_early_answer),
      cmocka_unit_test(test_timeout),
      cmocka_unit_test(test_full_queue),
      cmocka_unit_test(test_taken),
      cmocka_unit_test(test_wake),
      cmocka_unit_test(test_nobody),
      cmocka_unit_test(test_request),
      cmocka_unit_test(test_encode),
      cmocka_unit_test(test_upload),
  };
  return cmocka_run_group_tests_name("ctl_http", tests, make_directory, remove_directory);
}
