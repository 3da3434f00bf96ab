#include "events.h"

#include "buf.h"
#include "wall.h"
#include <errno.h>
#include <string.h>

struct event {
  uint64_t id;
  char *text;
  size_t n;
  bool acquired; /* a curve, a picture */
};

struct stream {
  int64_t study;
  struct event ring[EVENTS_KEPT];
  unsigned first, count;
  bool active; /* acquiring: kept without readers */
  struct hub_reader *readers;
  struct stream *next;
};

struct hub_reader {
  struct hub *hub;
  struct stream *stream;
  uint64_t next; /* the id wanted next */
  bool acquired; /* gets curves and pictures */
  char *part;    /* an event being sent: own copy, as the ring moves on */
  size_t part_n, part_at;
  void (*wake)(void *);
  void *arg;
  struct hub_reader *more;
};

struct hub {
  uint64_t next_id; /* starts at the clock's microseconds: ids of an earlier run are older than all of this one's */
  struct stream *streams;
};

int hub_open(struct hub **ret) {
  struct hub *h = calloc(1, sizeof *h);
  if (!h)
    return -ENOMEM;
  h->next_id = (uint64_t)wall_now().us;
  *ret = h;
  return 0;
}

static void stream_free(struct hub *h, struct stream *s) {
  struct stream **at = &h->streams;
  while (*at != s)
    at = &(*at)->next;
  *at = s->next;
  for (unsigned i = 0; i < s->count; i++)
    free(s->ring[(s->first + i) % EVENTS_KEPT].text);
  free(s);
}

void hub_close(struct hub *h) {
  if (!h)
    return;
  while (h->streams)
    stream_free(h, h->streams);
  free(h);
}

static struct stream *stream_of(struct hub *h, int64_t study, bool make) {
  struct stream *s = h->streams;
  while (s && s->study != study)
    s = s->next;
  if (!s && make && (s = calloc(1, sizeof *s))) {
    s->study = study;
    s->next = h->streams;
    h->streams = s;
  }
  return s;
}

/* Without an id (0) a reader's place in the stream stays where it is. */
static char *event_text(uint64_t id, const char *name, const json_t *data, size_t *ret_n) {
  char *json = json_canonical(data, NULL), *text = NULL;
  struct buf b = BUF_INIT(1u << 20);
  if (id)
    buf_format(&b, "id: %llu\n", (unsigned long long)id);
  if (json && buf_format(&b, "event: %s\ndata: %s\n\n", name, json) == 0)
    text = (char *)buf_take(&b, ret_n);
  buf_finish(&b);
  free(json);
  return text;
}

void hub_publish(struct hub *h, int64_t study, const char *name, json_t *data) {
  struct stream *s = stream_of(h, study, true);
  uint64_t id = h->next_id++;
  size_t n = 0;
  char *text = s && data ? event_text(id, name, data, &n) : NULL;
  json_decref(data);
  if (!text)
    return;
  s->active = true;
  if (s->count == EVENTS_KEPT) {
    free(s->ring[s->first].text);
    s->first = (s->first + 1) % EVENTS_KEPT;
    s->count--;
  }
  s->ring[(s->first + s->count++) % EVENTS_KEPT] =
      (struct event){id, text, n, !strcmp(name, "preview") || !strcmp(name, "picture")};
  for (struct hub_reader *r = s->readers; r; r = r->more)
    r->wake(r->arg);
}

void hub_rest(struct hub *h, int64_t study) {
  struct stream *s = stream_of(h, study, false);
  if (!s)
    return;
  s->active = false;
  if (!s->readers)
    stream_free(h, s);
}

bool hub_has_readers(const struct hub *h) {
  for (const struct stream *s = h->streams; s; s = s->next)
    if (s->readers)
      return true;
  return false;
}

void hub_keep_alive(struct hub *h) {
  for (struct stream *s = h->streams; s; s = s->next)
    for (struct hub_reader *r = s->readers; r; r = r->more) {
      if (!r->part && (r->part = strdup(":\n\n"))) {
        r->part_n = 3;
        r->part_at = 0;
      }
      r->wake(r->arg);
    }
}

int hub_subscribe(struct hub *h, int64_t study, uint64_t last, bool acquired, json_t *hello, void (*wake)(void *),
                  void *arg, struct hub_reader **ret) {
  struct stream *s = stream_of(h, study, true);
  struct hub_reader *r = s ? calloc(1, sizeof *r) : NULL;
  if (!r) {
    json_decref(hello);
    return -ENOMEM;
  }
  /* An id that was never given (the clock stepped back between two runs) is no place to go on from. */
  *r = (struct hub_reader){.hub = h,
                           .stream = s,
                           .next = last && last < h->next_id ? last + 1 : h->next_id,
                           .acquired = acquired,
                           .wake = wake,
                           .arg = arg};
  if (hello)
    r->part = event_text(0, "state", hello, &r->part_n);
  json_decref(hello);
  r->more = s->readers;
  s->readers = r;
  *ret = r;
  return 0;
}

void hub_unsubscribe(struct hub_reader *r) {
  if (!r)
    return;
  struct hub_reader **at = &r->stream->readers;
  while (*at != r)
    at = &(*at)->more;
  *at = r->more;
  if (!r->stream->readers && !r->stream->active)
    stream_free(r->hub, r->stream);
  free(r->part);
  free(r);
}

/* The oldest kept event that the reader has not had. */
static bool reader_advance(struct hub_reader *r) {
  const struct stream *s = r->stream;
  for (unsigned i = 0; i < s->count; i++) {
    const struct event *e = &s->ring[(s->first + i) % EVENTS_KEPT];
    if (e->id < r->next || (e->acquired && !r->acquired))
      continue;
    r->part = malloc(e->n);
    if (!r->part)
      return false;
    memcpy(r->part, e->text, e->n);
    r->part_n = e->n;
    r->part_at = 0;
    r->next = e->id + 1;
    return true;
  }
  return false;
}

size_t hub_read(struct hub_reader *r, char *bytes, size_t max) {
  size_t done = 0;
  while (done < max && (r->part || reader_advance(r))) {
    size_t n = r->part_n - r->part_at;
    if (n > max - done)
      n = max - done;
    memcpy(bytes + done, r->part + r->part_at, n);
    done += n;
    r->part_at += n;
    if (r->part_at == r->part_n) {
      free(r->part);
      r->part = NULL;
    }
  }
  return done;
}
