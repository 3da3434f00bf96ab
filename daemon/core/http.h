/* HTTP/1.1 over a listening socket, inside the event loop (libmicrohttpd, one thread). This layer knows requests and
 * answers, not what they mean: one handler gets every request whole, and answers at once or later.
 *
 * Where a body goes is decided when the headers are there, by a second function:
 *
 *   enum http_body accept(struct http_request *q, void *arg) {
 *     if (!an_upload(q))
 *       return HTTP_BUFFER;
 *     if (!may_upload(q)) {
 *       q->status = 403, ...;  the whole answer, as a handler gives it
 *       http_answer(q);        before it returns where it can: then not even "100 Continue" invites the body
 *       return HTTP_REFUSED;   the handler is not called
 *     }
 *     q->file = scratch();     empty, written from its beginning
 *     q->file_max = LIMIT;
 *     return HTTP_FILE;        the handler is called when file_bytes of them are there, or with file_err
 *   }
 */
#ifndef ASALEED_HTTP_H
#define ASALEED_HTTP_H

#include "buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#define HTTP_CONNECTIONS_MAX 512 /* to one listening socket */
#define HTTP_BODY_MAX (256u << 10)
/* What nobody wants of a body is read to its end, so that a client that writes all before it reads hears the answer and
 * keeps its connection. Not more than this: then the connection ends, after the answer where the length was known. */
#define HTTP_DROP_MAX (128u << 20)

struct http;

#define HTTP_END SIZE_MAX

/* A stream that an answer goes on sending; owned by the answer once it is given. */
struct http_stream {
  /* 0 = nothing now: http_wake() when there is; where the length is known, nothing any more: the answer is broken off.
   * HTTP_END: it ends here. */
  size_t (*read)(void *arg, char *bytes, size_t max);
  void (*finish)(void *arg);
  void *arg;
  uint64_t bytes; /* its length, 0 = not known */
};

struct http_request {
  const char *method, *path; /* without the query */
  struct buf body;
  bool too_large; /* the body was longer than HTTP_BODY_MAX and is not here */
  /* A body that is a file, since accept() gave the descriptor: closed with the request unless the handler takes it
   * (and sets -1). -1: there is none, and the body is in `body`. */
  int file;
  uint64_t file_max;   /* set with it: the longest body that is taken */
  uint64_t file_bytes; /* what is in it */
  int file_err;        /* 0; -EFBIG: longer than file_max; else why it could not be written: it is not whole */
  uid_t peer;          /* of a Unix socket; (uid_t)-1 over TCP */
  struct http *http;
  void *connection;
  /* the answer, for http_answer() */
  int status;
  const char *type; /* a constant; NULL = no body */
  struct buf answer;
  char etag[32];          /* "" = none */
  const char *allow;      /* a constant; NULL = none */
  char set_cookie[160];   /* "" = none */
  char save_as[32];       /* what it is saved as, plain ASCII; "" = it is shown */
  char signature[136];    /* of the answer's bytes, in hexadecimal: Asaleed-Signature; "" = none */
  unsigned retry_after_s; /* 0 = nothing to come back for */
  bool replayed;
  bool answered, suspended, given, handled, at_headers, at_once; /* http.c's own */
  uint64_t dropped;
  struct http_request *next_suspended;
  struct http_stream stream;
};

const char *http_query(const struct http_request *q, const char *name); /* NULL when absent */
const char *http_header(const struct http_request *q, const char *name);

typedef void (*http_handler)(struct http_request *q, void *arg);

enum http_body {
  HTTP_BUFFER,  /* into `body` */
  HTTP_FILE,    /* into `file`, as it comes */
  HTTP_REFUSED, /* nowhere: accept() has answered, or will */
};
/* Sees method, path, query, headers and peer of every request, also of one without a body. */
typedef enum http_body (*http_accept)(struct http_request *q, void *arg);

struct http_calls {
  http_accept accept; /* NULL: every body is buffered */
  http_handler handler;
  void (*worked)(void *arg); /* runs after each round of requests that were ready together: the place to make what they
                                did durable, and so to answer them */
};

/* Serves the listening socket (owned by *ret from now on). */
int http_open(sd_event *event, int listen_fd, struct http_calls calls, void *arg, struct http **ret);
void http_close(struct http *h);

/* The answer in *q is ready; now or from a later turn of the loop. */
void http_answer(struct http_request *q);
/* The stream of this request has something to read. */
void http_wake(struct http_request *q);
/* Whoever asked has hung up. A stream that has nothing to send does not notice by itself. */
bool http_hung_up(const struct http_request *q);

#endif
