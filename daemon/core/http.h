/* HTTP/1.1 over a listening socket, inside the event loop (libmicrohttpd, one thread). This layer knows requests and
 * answers, not what they mean: one handler gets every request whole, and answers at once or later. */
#ifndef ASALEED_HTTP_H
#define ASALEED_HTTP_H

#include "buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#define HTTP_BODY_MAX (256u << 10)

struct http;

/* A stream that an answer goes on sending; owned by the answer once it is given. */
struct http_stream {
  /* 0 = nothing now: http_wake() when there is; where the length is known, nothing any more: the answer is broken off
   */
  size_t (*read)(void *arg, char *bytes, size_t max);
  void (*finish)(void *arg);
  void *arg;
  uint64_t bytes; /* its length, 0 = not known */
};

struct http_request {
  const char *method, *path; /* without the query */
  struct buf body;
  bool too_large; /* the body was longer than HTTP_BODY_MAX and is not here */
  uid_t peer;     /* of a Unix socket; (uid_t)-1 over TCP */
  struct http *http;
  void *connection;
  /* the answer, for http_answer() */
  int status;
  const char *type; /* a constant; NULL = no body */
  struct buf answer;
  char etag[32];          /* "" = none */
  const char *allow;      /* a constant; NULL = none */
  char save_as[32];       /* what it is saved as, plain ASCII; "" = it is shown */
  unsigned retry_after_s; /* 0 = nothing to come back for */
  bool replayed;
  bool answered, suspended, given; /* http.c's own */
  struct http_request *next_suspended;
  struct http_stream stream;
};

const char *http_query(const struct http_request *q, const char *name); /* NULL when absent */
const char *http_header(const struct http_request *q, const char *name);

typedef void (*http_handler)(struct http_request *q, void *arg);

/* Serves the listening socket (owned by *ret from now on). `worked` runs after each round of requests that were ready
 * together: the place to make what they did durable, and so to answer them. */
int http_open(sd_event *event, int listen_fd, http_handler handler, void (*worked)(void *arg), void *arg,
              struct http **ret);
void http_close(struct http *h);

/* The answer in *q is ready; now or from a later turn of the loop. */
void http_answer(struct http_request *q);
/* The stream of this request has something to read. */
void http_wake(struct http_request *q);

#endif
