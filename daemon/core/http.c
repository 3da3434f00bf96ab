#include "http.h"

#include "log.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTION_IDLE_S 10
#define CONNECTION_MEMORY (24u << 10)
#define STREAM_BLOCK 8192
#define FILE_BLOCK (128u << 10)

struct http {
  struct MHD_Daemon *daemon;
  sd_event_source *io, *timer, *run;
  struct http_calls calls;
  void *arg;
  struct http_request *suspended;
  bool closing;
};

/* After anything that may have moved a connection: let the library work, then sleep as long as it allows. */
static void http_run(struct http *h) {
  MHD_UNSIGNED_LONG_LONG ms;
  MHD_run(h->daemon);
  h->calls.worked(h->arg);
  if (sd_event_source_get_enabled(h->run, NULL) > 0) { /* that answered: send now, not a turn later */
    sd_event_source_set_enabled(h->run, SD_EVENT_OFF);
    MHD_run(h->daemon);
  }
  if (MHD_get_timeout(h->daemon, &ms) == MHD_NO) {
    sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
    return;
  }
  if (!ms) { /* a body that goes on arriving: the next turn, where a timer would be a millisecond late at each piece */
    sd_event_source_set_enabled(h->run, SD_EVENT_ONESHOT);
    return;
  }
  /* A timer that is due earlier does as well: it looks again. So a busy connection does not move it each time. */
  uint64_t set, wanted = monotonic_us() + ms * 1000;
  if (sd_event_source_get_enabled(h->timer, NULL) > 0 && sd_event_source_get_time(h->timer, &set) >= 0 && set <= wanted)
    return;
  sd_event_source_set_time(h->timer, wanted);
  sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *arg) {
  (void)source;
  (void)fd;
  (void)revents;
  http_run(arg);
  return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  http_run(arg);
  return 0;
}

static int on_run(sd_event_source *source, void *arg) {
  (void)source;
  http_run(arg);
  return 0;
}

static void suspend(struct http_request *q) {
  q->suspended = true;
  q->next_suspended = q->http->suspended;
  q->http->suspended = q;
  MHD_suspend_connection(q->connection);
}

static void resume(struct http_request *q) {
  struct http_request **at = &q->http->suspended;
  while (*at != q)
    at = &(*at)->next_suspended;
  *at = q->next_suspended;
  q->suspended = false;
  MHD_resume_connection(q->connection);
  sd_event_source_set_enabled(q->http->run, SD_EVENT_ONESHOT);
}

void http_answer(struct http_request *q) {
  q->answered = true;
  if (q->suspended)
    resume(q);
}

void http_wake(struct http_request *q) {
  if (q->suspended && q->given)
    resume(q);
}

static int descriptor_of(const struct http_request *q) {
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(q->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  return info ? info->connect_fd : -1;
}

bool http_hung_up(const struct http_request *q) {
  struct pollfd p = {.fd = descriptor_of(q), .events = POLLRDHUP};
  return poll(&p, 1, 0) > 0 && p.revents;
}

static ssize_t stream_read(void *arg, uint64_t at, char *bytes, size_t max) {
  (void)at;
  struct http_request *q = arg;
  size_t n = q->stream.read(q->stream.arg, bytes, max);
  if (n && n != HTTP_END)
    return (ssize_t)n;
  if (q->stream.bytes)
    return MHD_CONTENT_READER_END_WITH_ERROR;
  if (n == HTTP_END || q->http->closing)
    return MHD_CONTENT_READER_END_OF_STREAM;
  suspend(q);
  return 0;
}

static struct MHD_Response *make_response(struct http_request *q) {
  struct MHD_Response *r;
  if (q->stream.read)
    r = MHD_create_response_from_callback(q->stream.bytes ? q->stream.bytes : MHD_SIZE_UNKNOWN,
                                          q->stream.bytes ? FILE_BLOCK : STREAM_BLOCK, stream_read, q, NULL);
  else {
    /* The bytes stay in the request, which lives until the connection has sent them. */
    r = MHD_create_response_from_buffer(q->answer.len, q->answer.data, MHD_RESPMEM_PERSISTENT);
  }
  if (!r)
    return NULL;
  MHD_add_response_header(r, "Cache-Control", "no-store");
  MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
  if (q->type)
    MHD_add_response_header(r, "Content-Type", q->type);
  if (q->etag[0])
    MHD_add_response_header(r, "ETag", q->etag);
  if (q->set_cookie[0])
    MHD_add_response_header(r, "Set-Cookie", q->set_cookie);
  if (q->save_as[0]) {
    char disposition[80];
    snprintf(disposition, sizeof disposition, "attachment; filename=\"%s\"", q->save_as);
    MHD_add_response_header(r, "Content-Disposition", disposition);
  }
  if (q->signature[0])
    MHD_add_response_header(r, "Asaleed-Signature", q->signature);
  if (q->retry_after_s) {
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%u", q->retry_after_s);
    MHD_add_response_header(r, "Retry-After", seconds);
  }
  if (q->allow)
    MHD_add_response_header(r, "Allow", q->allow);
  if (q->replayed)
    MHD_add_response_header(r, "Idempotency-Replayed", "true");
  if (q->status == 401)
    MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
  return r;
}

static enum MHD_Result give(struct http_request *q) {
  struct MHD_Response *r = make_response(q);
  if (!r)
    return MHD_NO;
  q->given = true;
  enum MHD_Result done = MHD_queue_response(q->connection, (unsigned)q->status, r);
  MHD_destroy_response(r);
  return done;
}

static struct http_request *request_new(struct http *h, struct MHD_Connection *connection, const char *method,
                                        const char *path) {
  struct http_request *q = calloc(1, sizeof *q);
  if (!q)
    return NULL;
  *q = (struct http_request){.method = method,
                             .path = path,
                             .http = h,
                             .connection = connection,
                             .peer = (uid_t)-1,
                             .file = -1,
                             .body = BUF_INIT(HTTP_BODY_MAX),
                             .answer = BUF_INIT(80u << 20),
                             .status = 500};
  const int fd = descriptor_of(q);
  struct ucred peer;
  socklen_t n = sizeof peer;
  int domain = 0;
  socklen_t dn = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &dn) == 0 && domain == AF_UNIX &&
      getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0)
    q->peer = peer.uid;
  return q;
}

/* How long the body says it is: 0 for none, UINT64_MAX in chunks. */
static uint64_t announced(const struct http_request *q) {
  const char *length = http_header(q, "Content-Length");
  uint64_t n = 0;
  if (http_header(q, "Transfer-Encoding"))
    return UINT64_MAX;
  return length && str_to_u64(length, 0, UINT64_MAX - 1, &n) < 0 ? UINT64_MAX - 1 : n;
}

static void handle(struct http_request *q) {
  q->handled = true;
  q->http->calls.handler(q, q->http->arg);
}

/* The headers are there. The library takes an answer now, which ends the connection, or after the body's end, and none
 * between. */
static enum MHD_Result on_headers(struct http_request *q) {
  struct http *h = q->http;
  enum http_body body = h->calls.accept ? h->calls.accept(q, h->arg) : HTTP_BUFFER;
  uint64_t n = announced(q), max = body == HTTP_FILE ? q->file_max : HTTP_BODY_MAX;
  bool known = n < UINT64_MAX, unwanted = body == HTTP_REFUSED || (known && n > max);
  q->handled = body == HTTP_REFUSED;
  q->at_once = unwanted && n && (http_header(q, "Expect") || (known && n > HTTP_DROP_MAX));
  if (unwanted && body == HTTP_FILE)
    q->file_err = -EFBIG;
  if (unwanted && body == HTTP_BUFFER)
    q->too_large = true;
  if (q->at_once && !q->handled)
    handle(q);
  q->at_headers = q->handled && !q->answered;
  if (q->at_headers)
    suspend(q); /* nothing may end a request that somebody is to answer; this call comes again */
  return q->at_once && q->answered ? give(q) : MHD_YES;
}

/* A piece of the body; false when there was enough of it. */
static bool on_body(struct http_request *q, const char *bytes, size_t n) {
  bool wanted = !q->handled && !q->too_large && !q->file_err;
  if (wanted && q->file < 0)
    q->too_large = buf_add(&q->body, bytes, n) < 0;
  else if (wanted && n > q->file_max - q->file_bytes)
    q->file_err = -EFBIG;
  else if (wanted && (q->file_err = fd_write_all(q->file, bytes, n)) == 0)
    q->file_bytes += n;
  if (!wanted)
    q->dropped += n;
  return q->dropped <= HTTP_DROP_MAX;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_n, void **context) {
  (void)version;
  struct http *h = arg;
  struct http_request *q = *context;
  if (h->closing && !(q && q->answered))
    return MHD_NO; /* nobody is left to answer what comes now */
  if (!q) {
    *context = q = request_new(h, connection, method, url);
    return q ? on_headers(q) : MHD_NO;
  }
  if (q->at_headers) {
    q->at_headers = false;
    if (!*upload_n)
      return q->at_once ? give(q) : MHD_YES;
  }
  if (*upload_n) {
    bool go_on = on_body(q, upload, *upload_n);
    *upload_n = 0;
    return go_on ? MHD_YES : MHD_NO;
  }
  if (!q->handled)
    handle(q);
  if (q->answered)
    return give(q);
  suspend(q);
  return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code) {
  (void)arg;
  (void)connection;
  (void)code;
  struct http_request *q = *context;
  if (!q)
    return;
  if (q->stream.finish)
    q->stream.finish(q->stream.arg);
  fd_finish(&q->file);
  buf_finish(&q->body);
  buf_finish(&q->answer);
  free(q);
  *context = NULL;
}

static void on_library_log(void *arg, const char *format, va_list ap) {
  (void)arg;
  (void)format;
  (void)
      ap; /* its lines may quote what a client sent, a patient's id in a path among it: they are not for the journal */
}

const char *http_query(const struct http_request *q, const char *name) {
  return MHD_lookup_connection_value(q->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *http_header(const struct http_request *q, const char *name) {
  return MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, name);
}

int http_open(sd_event *event, int listen_fd, struct http_calls calls, void *arg, struct http **ret) {
  struct http *h = calloc(1, sizeof *h);
  if (!h) {
    close(listen_fd);
    return -ENOMEM;
  }
  h->calls = calls;
  h->arg = arg;
  h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request,
                               h, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd,
                               MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_CONNECTION_LIMIT,
                               (unsigned)HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                               (unsigned)CONNECTION_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                               (size_t)CONNECTION_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
  if (!h->daemon) {
    close(listen_fd);
    free(h);
    return log_errno(LOG_ERROR, -EIO, "http: cannot serve the socket");
  }
  int fd = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
  int r = sd_event_add_io(event, &h->io, fd, EPOLLIN, on_io, h);
  if (r >= 0)
    r = sd_event_add_time(event, &h->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_timer, h);
  if (r >= 0)
    r = sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
  if (r >= 0)
    r = sd_event_add_defer(event, &h->run, on_run, h);
  if (r >= 0)
    r = sd_event_source_set_enabled(h->run, SD_EVENT_OFF);
  if (r < 0) {
    http_close(h);
    return r;
  }
  *ret = h;
  return 0;
}

void http_close(struct http *h) {
  if (!h)
    return;
  /* The library does not stop with a suspended connection: streams end, and whoever still waits gets the
   * answer that the caller's last commit has made true. */
  h->closing = true;
  while (h->suspended) {
    h->suspended->answered = true;
    resume(h->suspended);
  }
  MHD_run(h->daemon);
  sd_event_source_disable_unref(h->io);
  sd_event_source_disable_unref(h->timer);
  sd_event_source_disable_unref(h->run);
  MHD_stop_daemon(h->daemon);
  free(h);
}
