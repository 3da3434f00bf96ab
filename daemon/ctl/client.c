#include "client.h"

#include "str.h"
#include "wall.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- answers ------------------------------------------------------------------------------------------------ */

void http_parser_init(struct http_parser *p, size_t body_max) {
  *p = (struct http_parser){.line = BUF_INIT(HTTP_HEAD_MAX), .body = BUF_INIT(body_max)};
}

void http_parser_finish(struct http_parser *p) {
  buf_finish(&p->line);
  if (p->body.data)
    explicit_bzero(p->body.data, p->body.len); /* it may be a token */
  buf_finish(&p->body);
}

static bool is_token(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void lower(char *text) {
  for (; *text; text++)
    if (*text >= 'A' && *text <= 'Z')
      *text = (char)(*text + ('a' - 'A'));
}

static int parse_status(struct http_parser *p, const char *line) {
  uint64_t status;
  char digits[4];
  if (strncmp(line, "HTTP/1.1 ", 9) || strnlen(line + 9, 3) < 3 || (line[12] && line[12] != ' '))
    return -EPROTO;
  memcpy(digits, line + 9, 3);
  digits[3] = 0;
  if (str_to_u64(digits, 100, 599, &status) < 0)
    return -EPROTO;
  p->status = (int)status;
  p->state = HTTP_HEADER;
  return 0;
}

static int parse_header(struct http_parser *p, char *line) {
  char *colon = line;
  while (is_token(*colon))
    colon++;
  if (colon == line || *colon != ':') /* a folded line begins with a space and stops here too */
    return -EPROTO;
  *colon = 0;
  lower(line);
  char *value = colon + 1 + strspn(colon + 1, " \t");
  size_t n = strlen(value);
  while (n && (value[n - 1] == ' ' || value[n - 1] == '\t'))
    value[--n] = 0;
  if (!strcmp(line, "content-length")) {
    if (p->has_length || p->chunked || str_to_u64(value, 0, INT64_MAX, &p->remaining) < 0)
      return -EPROTO;
    p->has_length = true;
  } else if (!strcmp(line, "transfer-encoding")) {
    lower(value);
    if (p->has_length || p->chunked || strcmp(value, "chunked"))
      return -EPROTO;
    p->chunked = true;
  } else if (!strcmp(line, "content-type")) {
    value[strcspn(value, "; \t")] = 0;
    lower(value);
    str_copy(p->type, sizeof p->type, value);
  } else if (!strcmp(line, "etag")) {
    str_copy(p->etag, sizeof p->etag, value);
  } else if (!strcmp(line, "idempotency-replayed")) {
    p->replayed = !strcmp(value, "true");
  }
  return 0;
}

static bool streams(const struct http_parser *p) {
  return p->sink && p->status == 200;
}

static int head_ends(struct http_parser *p) {
  if (p->status < 200) { /* an interim answer: the real one follows */
    if (p->status == 101 || p->has_length || p->chunked)
      return -EPROTO;
    p->state = HTTP_STATUS;
    return 0;
  }
  if (p->status == 204 || p->status == 304)
    p->state = HTTP_DONE;
  else if (p->chunked)
    p->state = HTTP_CHUNK_SIZE;
  else if (p->has_length) {
    if (!streams(p) && p->remaining > p->body.max)
      return -EFBIG;
    p->state = p->remaining ? HTTP_BODY : HTTP_DONE;
  } else if (streams(p) && !strcmp(p->type, "text/event-stream"))
    p->state = HTTP_UNTIL_CLOSE;
  else
    return -EPROTO; /* without a length a cut answer would look whole */
  return 0;
}

static int parse_chunk_size(struct http_parser *p, const char *line) {
  uint64_t size = 0;
  size_t n = strspn(line, "0123456789abcdefABCDEF");
  if (!n || n > 8 || line[n])
    return -EPROTO;
  for (size_t i = 0; i < n; i++) {
    char c = line[i];
    size = size << 4 | (uint64_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  if (!streams(p) && size > p->body.max - p->body.len)
    return -EFBIG;
  p->remaining = size;
  p->state = size ? HTTP_CHUNK_DATA : HTTP_TRAILER;
  return 0;
}

static int parse_line(struct http_parser *p, char *line) {
  switch (p->state) {
  case HTTP_STATUS:
    return parse_status(p, line);
  case HTTP_HEADER:
    return *line ? parse_header(p, line) : head_ends(p);
  case HTTP_CHUNK_SIZE:
    return parse_chunk_size(p, line);
  case HTTP_CHUNK_END:
    p->state = HTTP_CHUNK_SIZE;
    return *line ? -EPROTO : 0;
  default: /* HTTP_TRAILER: nothing that we need */
    if (!*line)
      p->state = HTTP_DONE;
    return 0;
  }
}

static int line_byte(struct http_parser *p, uint8_t byte) {
  bool head = p->state == HTTP_STATUS || p->state == HTTP_HEADER || p->state == HTTP_TRAILER;
  if (head ? ++p->head_bytes > HTTP_HEAD_MAX : p->line.len > 16)
    return head ? -EFBIG : -EPROTO;
  if (p->state == HTTP_CHUNK_END && byte != '\r' && byte != '\n')
    return -EPROTO; /* the chunk is longer than it said */
  bool after_cr = p->line.len && p->line.data[p->line.len - 1] == '\r';
  if (after_cr != (byte == '\n') || (byte < 0x20 && byte != '\t' && byte != '\r' && byte != '\n') || byte == 0x7f)
    return -EPROTO;
  if (byte != '\n')
    return buf_add(&p->line, &byte, 1);
  p->line.len--;
  const char *line = buf_cstr(&p->line);
  if (!line)
    return p->line.err;
  int r = parse_line(p, (char *)p->line.data);
  buf_reset(&p->line);
  return r;
}

static int deliver(struct http_parser *p, const uint8_t *bytes, size_t n) {
  return streams(p) ? p->sink(p->userdata, bytes, n) : buf_add(&p->body, bytes, n);
}

int http_parser_feed(struct http_parser *p, const void *bytes, size_t n) {
  const uint8_t *at = bytes, *end = at + n;
  while (at < end && !p->err) {
    size_t take = (size_t)(end - at);
    switch (p->state) {
    case HTTP_DONE:
      p->err = -EPROTO;
      break;
    case HTTP_UNTIL_CLOSE:
      p->err = deliver(p, at, take);
      at = end;
      break;
    case HTTP_BODY:
    case HTTP_CHUNK_DATA:
      if (take > p->remaining)
        take = (size_t)p->remaining;
      p->err = deliver(p, at, take);
      at += take;
      p->remaining -= take;
      if (!p->remaining)
        p->state = p->state == HTTP_BODY ? HTTP_DONE : HTTP_CHUNK_END;
      break;
    default:
      p->err = line_byte(p, *at++);
    }
  }
  return p->err;
}

int http_parser_end(struct http_parser *p) {
  if (!p->err && p->state == HTTP_UNTIL_CLOSE)
    p->state = HTTP_DONE;
  if (!p->err && p->state != HTTP_DONE)
    p->err = -ECONNRESET;
  return p->err;
}

/* ---- the exchange ------------------------------------------------------------------------------------------- */

/* 1 when fd is ready, 0 when the time is over, -ECANCELED when the wake fd is readable. */
static int wait_for(int fd, short events, int wake_fd, uint64_t deadline_us) {
  struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = wake_fd, .events = POLLIN}};
  for (;;) {
    uint64_t now = monotonic_us();
    uint64_t left = now < deadline_us ? (deadline_us - now + 999) / 1000 : 0;
    int r = poll(fds, 2, left > INT32_MAX ? INT32_MAX : (int)left);
    if (r < 0 && errno == EINTR)
      continue;
    if (r < 0)
      return -errno;
    if (fds[1].revents)
      return -ECANCELED;
    if (fds[0].revents || r == 0)
      return r > 0;
  }
}

static int connect_to(const struct http_client *client, uint64_t deadline, int *ret_fd) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (!str_copy(address.sun_path, sizeof address.sun_path, client->path))
    return -ENAMETOOLONG;
  _fd_cleanup_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return -errno;
  /* EAGAIN: the queue of connections is full, and nothing tells when it no longer is. */
  while (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
    if (errno != EAGAIN && errno != EINTR)
      return -errno;
    uint64_t now = monotonic_us();
    if (now >= deadline)
      return -ETIMEDOUT;
    int r = wait_for(-1, 0, client->wake_fd, now + 20000 < deadline ? now + 20000 : deadline);
    if (r < 0)
      return r;
  }
  *ret_fd = fd;
  fd = -1;
  return 0;
}

static bool is_line(const char *text, size_t most) {
  size_t n = strnlen(text, most + 1);
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
      return false;
  return n && n <= most;
}

static int build(const struct http_request *request, struct buf *b) {
  if (!is_line(request->target, 4096) || strpbrk(request->target, " #") || !is_line(request->method, 16))
    return -EINVAL;
  buf_extend(b, 8192 + request->body_bytes); /* once, so that no freed copy keeps the token */
  buf_reset(b);
  buf_format(b, "%s %s HTTP/1.1\r\nHost: localhost\r\n", request->method, request->target);
  for (size_t i = 0; i < sizeof request->headers / sizeof *request->headers && request->headers[i].name; i++) {
    const struct http_header *h = &request->headers[i];
    if (!h->value)
      continue;
    if (!is_line(h->value, 1024))
      return -EINVAL;
    buf_format(b, "%s: %s\r\n", h->name, h->value);
  }
  if (request->body)
    buf_format(b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", request->body_bytes);
  if (request->upload)
    buf_format(b, "Content-Type: application/octet-stream\r\nContent-Length: %llu\r\n",
               (unsigned long long)request->upload->bytes);
  buf_text(b, "\r\n");
  if (request->body)
    buf_add(b, request->body, request->body_bytes);
  return b->err;
}

/* 1 when all of it is sent, 0 when the peer takes no more: it may have answered before it closed, and reading tells. */
static int send_all(struct http_conn *c, const uint8_t *bytes, size_t n, uint64_t deadline) {
  for (size_t at = 0; at < n;) {
    ssize_t sent = send(c->fd, bytes + at, n - at, MSG_NOSIGNAL);
    if (sent > 0) {
      at += (size_t)sent;
      continue;
    }
    if (errno == EPIPE || errno == ECONNRESET)
      return 0;
    if (errno != EAGAIN && errno != EINTR)
      return -errno;
    int r = wait_for(c->fd, POLLOUT, c->wake_fd, deadline);
    if (r <= 0)
      return r < 0 ? r : -ETIMEDOUT;
  }
  return 1;
}

static int send_file(struct http_conn *c, struct http_upload *u, uint64_t timeout_us) {
  uint8_t bytes[65536];
  int r = wait_for(-1, 0, c->wake_fd, 0); /* who interrupts is heard also where nothing ever waits */
  for (uint64_t at = 0; at < u->bytes && r >= 0;) {
    size_t most = u->bytes - at < sizeof bytes ? (size_t)(u->bytes - at) : sizeof bytes;
    ssize_t n = pread(u->fd, bytes, most, (off_t)at);
    if (n <= 0)
      return u->err = n < 0 ? -errno : -ESTALE;
    r = send_all(c, bytes, (size_t)n, monotonic_us() + timeout_us);
    if (r <= 0)
      return r;
    at += (uint64_t)n;
    if (u->sent)
      u->sent(u->userdata, at);
    r = wait_for(-1, 0, c->wake_fd, 0);
  }
  return r;
}

int http_connect(struct http_conn *c, const struct http_client *client, const struct http_request *request,
                 size_t body_max) {
  *c = (struct http_conn){.fd = -1, .wake_fd = client->wake_fd};
  http_parser_init(&c->parser, body_max);
  c->parser.sink = request->sink;
  c->parser.userdata = request->userdata;
  uint64_t timeout = (uint64_t)client->timeout_ms * 1000, deadline = monotonic_us() + timeout;
  struct buf b = BUF_INIT(request->body_bytes + 16384);
  int r = build(request, &b);
  if (r == 0)
    r = connect_to(client, deadline, &c->fd);
  if (r == 0)
    r = send_all(c, b.data, b.len, deadline);
  if (b.data)
    explicit_bzero(b.data, b.len);
  buf_finish(&b);
  if (r > 0 && request->upload)
    r = send_file(c, request->upload, timeout);
  return r < 0 ? r : 0;
}

int http_step(struct http_conn *c, int timeout_ms) {
  if (c->parser.err || c->parser.state == HTTP_DONE)
    return c->parser.err ? c->parser.err : 1;
  int r = wait_for(c->fd, POLLIN, c->wake_fd, monotonic_us() + (uint64_t)timeout_ms * 1000);
  if (r <= 0)
    return r;
  uint8_t bytes[65536];
  ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return 0;
  r = n > 0 ? http_parser_feed(&c->parser, bytes, (size_t)n) : http_parser_end(&c->parser);
  explicit_bzero(bytes, n > 0 ? (size_t)n : 0);
  return r < 0 ? r : 1;
}

void http_disconnect(struct http_conn *c) {
  fd_finish(&c->fd);
  http_parser_finish(&c->parser);
}

int http_exchange(struct http_conn *c, const struct http_client *client, const struct http_request *request,
                  size_t body_max) {
  uint64_t deadline = monotonic_us() + (uint64_t)client->timeout_ms * 1000;
  int r = http_connect(c, client, request, body_max);
  if (request->upload)
    deadline = monotonic_us() + (uint64_t)client->timeout_ms * 1000;
  while (r >= 0 && c->parser.state != HTTP_DONE) {
    uint64_t now = monotonic_us();
    if (now >= deadline)
      return -ETIMEDOUT;
    r = http_step(c, (int)((deadline - now + 999) / 1000));
    if (r > 0 && request->sink)
      deadline = monotonic_us() + (uint64_t)client->timeout_ms * 1000;
  }
  return r < 0 ? r : 0;
}

int http_encode(struct buf *b, const char *text) {
  static const char digits[] = "0123456789ABCDEF";
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || strchr("-._~", c))
      buf_u8(b, c);
    else
      buf_add(b, (char[]){'%', digits[c >> 4], digits[c & 15]}, 3);
  }
  return b->err;
}

/* ---- server-sent events ------------------------------------------------------------------------------------- */

void sse_init(struct sse *s, int (*event)(void *userdata, const char *name, const char *data, size_t n),
              void *userdata) {
  *s = (struct sse){
      .line = BUF_INIT(SSE_EVENT_MAX), .data = BUF_INIT(SSE_EVENT_MAX), .event = event, .userdata = userdata};
}

void sse_finish(struct sse *s) {
  buf_finish(&s->line);
  buf_finish(&s->data);
}

void sse_restart(struct sse *s) {
  buf_reset(&s->line);
  buf_reset(&s->data);
  s->err = 0;
  s->started = s->after_cr = s->name_too_long = false;
  s->name[0] = 0;
  memcpy(s->pending_id, s->last_id, sizeof s->pending_id);
}

static int sse_dispatch(struct sse *s) {
  int r = 0;
  memcpy(s->last_id, s->pending_id, sizeof s->last_id);
  if (s->data.len && !s->name_too_long) {
    s->data.len--; /* the last line feed is not data */
    const char *data = buf_cstr(&s->data);
    r = data ? s->event(s->userdata, s->name[0] ? s->name : "message", data, s->data.len) : s->data.err;
  }
  buf_reset(&s->data);
  s->name[0] = 0;
  s->name_too_long = false;
  return r;
}

/* What Last-Event-ID may carry: other ids are not ours, and the stream then resumes from the one before. */
static void sse_id(struct sse *s, const char *value, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (value[i] <= 0x20 || value[i] > 0x7e)
      return;
  if (n <= SSE_ID_MAX) {
    memcpy(s->pending_id, value, n);
    s->pending_id[n] = 0;
  }
}

static int sse_line(struct sse *s) {
  size_t n = s->line.len;
  const char *line = buf_cstr(&s->line);
  if (!line)
    return s->line.err;
  if (!s->started) {
    s->started = true;
    if (n >= 3 && !memcmp(line, "\xef\xbb\xbf", 3))
      line += 3, n -= 3;
  }
  if (!n)
    return sse_dispatch(s);
  const char *colon = memchr(line, ':', n);
  size_t name = colon ? (size_t)(colon - line) : n;
  const char *value = colon ? colon + 1 : line + n;
  size_t value_n = colon ? n - name - 1 : 0;
  if (value_n && *value == ' ')
    value++, value_n--;
  if (name == 4 && !memcmp(line, "data", 4)) {
    buf_add(&s->data, value, value_n);
    return buf_u8(&s->data, '\n');
  }
  if (name == 5 && !memcmp(line, "event", 5)) {
    s->name_too_long = strnlen(value, value_n) != value_n || !str_copy(s->name, sizeof s->name, value);
  } else if (name == 2 && !memcmp(line, "id", 2)) {
    sse_id(s, value, value_n);
  }
  return 0;
}

int sse_feed(void *sse, const uint8_t *bytes, size_t n) {
  struct sse *s = sse;
  const uint8_t *end = bytes + n;
  while (bytes < end && !s->err) {
    if (s->after_cr && *bytes == '\n') { /* the second half of a line's end */
      s->after_cr = false;
      bytes++;
      continue;
    }
    s->after_cr = false;
    const uint8_t *stop = bytes;
    while (stop < end && *stop != '\n' && *stop != '\r')
      stop++;
    s->err = buf_add(&s->line, bytes, (size_t)(stop - bytes));
    bytes = stop;
    if (s->err || stop == end)
      continue;
    s->after_cr = *stop == '\r';
    bytes++;
    s->err = sse_line(s);
    buf_reset(&s->line);
  }
  return s->err;
}
