/* HTTP/1.1 over a Unix socket, the client's half and no more: one request a connection, answers with a length or in
 * chunks, server-sent events. Strict: what is not in the small subset that the daemon speaks is refused.
 *
 * Errors: -EPROTO not HTTP as spoken here, -EFBIG larger than its bound, -ECONNRESET closed before the whole answer,
 * -ETIMEDOUT, -ECANCELED the wake fd became readable, -EINVAL an unfit request, -ENOMEM, else connect()'s. */
#ifndef ASALEED_CTL_CLIENT_H
#define ASALEED_CTL_CLIENT_H

#include "buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX 16384         /* status line, headers and trailers */
#define HTTP_JSON_MAX (8u << 20)    /* a record's JSON is at most 4 MiB */
#define HTTP_BYTES_MAX (256u << 20) /* a DICOM object; a picture is at most 64 MiB, samples 32 with a JSON header */
#define HTTP_TIMEOUT_MS 30000

/* ---- answers ------------------------------------------------------------------------------------------------ */

enum http_state {
  HTTP_STATUS,
  HTTP_HEADER,
  HTTP_BODY,       /* `remaining` bytes to come */
  HTTP_CHUNK_SIZE, /* a line */
  HTTP_CHUNK_DATA, /* `remaining` bytes to come */
  HTTP_CHUNK_END,  /* an empty line */
  HTTP_TRAILER,
  HTTP_UNTIL_CLOSE, /* an event stream without chunks; its events have ends of their own */
  HTTP_DONE,
};

struct http_parser {
  enum http_state state;
  int err;    /* sticky */
  int status; /* 200..599, once state is past HTTP_HEADER */
  bool chunked, has_length, replayed;
  uint64_t remaining;
  size_t head_bytes;
  char type[64]; /* media type without parameters, lower case */
  char etag[128];
  struct buf line;
  struct buf body; /* what sink did not take */
  /* Takes the body of a 200 instead of `body`, piece by piece and without a bound; an error ends the exchange. */
  int (*sink)(void *userdata, const uint8_t *bytes, size_t n);
  void *userdata;
};

void http_parser_init(struct http_parser *p, size_t body_max);
void http_parser_finish(struct http_parser *p);
int http_parser_feed(struct http_parser *p, const void *bytes, size_t n); /* bytes after the answer: -EPROTO */
int http_parser_end(struct http_parser *p);                               /* the peer closed */
static inline bool http_parser_has_head(const struct http_parser *p) {
  return p->state > HTTP_HEADER;
}

/* ---- the exchange ------------------------------------------------------------------------------------------- */

struct http_client {
  const char *path; /* the socket */
  int timeout_ms;   /* for connecting, and for a whole exchange; of a file, for each piece of it */
  int wake_fd;      /* readable: stop waiting (-ECANCELED); -1 for none */
};

struct http_header {
  const char *name, *value; /* an entry without a value is left out */
};

/* A file as a body: sent from its beginning, piece by piece. */
struct http_upload {
  int fd;
  uint64_t bytes;
  void (*sent)(void *userdata, uint64_t bytes); /* so many of them by now */
  void *userdata;
  int err; /* set when the file itself ended the exchange: it could not be read, or -ESTALE: it became shorter */
};

struct http_request {
  const char *method, *target;
  struct http_header headers[8]; /* up to the first entry without a name */
  const char *body;              /* JSON, or NULL */
  size_t body_bytes;
  struct http_upload *upload;                                  /* instead of body; or NULL */
  int (*sink)(void *userdata, const uint8_t *bytes, size_t n); /* the parser's; or NULL */
  void *userdata;
};

struct http_conn {
  int fd; /* -1 when closed */
  int wake_fd;
  struct http_parser parser;
};

/* Connects and sends. Afterwards http_disconnect() is due, whatever it returned. */
int http_connect(struct http_conn *c, const struct http_client *client, const struct http_request *request,
                 size_t body_max);
/* Reads what came within timeout_ms: 1 when something did or the answer is whole, 0 when nothing did. */
int http_step(struct http_conn *c, int timeout_ms);
void http_disconnect(struct http_conn *c);

/* One whole exchange; afterwards http_disconnect() is due, and c->parser has the answer when 0 was returned. */
int http_exchange(struct http_conn *c, const struct http_client *client, const struct http_request *request,
                  size_t body_max);

/* Appends text with everything but unreserved characters percent-encoded. */
int http_encode(struct buf *b, const char *text);

/* ---- server-sent events (WHATWG HTML, 9.2) ------------------------------------------------------------------ */

#define SSE_EVENT_MAX (512u << 10) /* a line, and an event's data */
#define SSE_ID_MAX 64

struct sse {
  int err; /* sticky: -EFBIG, -ENOMEM, or what event() returned */
  bool started, after_cr, name_too_long;
  struct buf line, data;
  char name[32];
  char pending_id[SSE_ID_MAX + 1];
  char last_id[SSE_ID_MAX + 1]; /* of the last whole event: what Last-Event-ID takes; "" for none */
  int (*event)(void *userdata, const char *name, const char *data, size_t n);
  void *userdata;
};

void sse_init(struct sse *s, int (*event)(void *userdata, const char *name, const char *data, size_t n),
              void *userdata);
void sse_finish(struct sse *s);
void sse_restart(struct sse *s);                         /* a new stream: forgets the half event, keeps last_id */
int sse_feed(void *sse, const uint8_t *bytes, size_t n); /* fits http_parser.sink */

#endif
