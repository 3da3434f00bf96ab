#include "reads.h"

#include "log.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define READS_WAITING_MAX 4096
#define READS_SAME_MAX 256
#define READS_RETRY_US (5 * 1000000ull)

struct read {
  struct read *next;
  struct caller caller;
  char *subject;
  json_t *detail;
};

struct reads {
  struct store *store;
  sd_event_source *again;
  struct read *waiting, **last;
  unsigned n_waiting, n_written; /* of those that wait the first n_written are in the transaction of this turn */
  bool is_noting;                /* what was noted in this turn waits for its commit */
  struct {
    uint8_t hash[HASH_BYTES];
    uint64_t at;
  } same[READS_SAME_MAX];
};

static void read_free(struct read *x) {
  if (!x)
    return;
  json_decref(x->detail);
  free(x->subject);
  free(x);
}

static int read_add(struct store *s, const struct caller *c, const char *subject, json_t *detail) {
  struct actor by = caller_actor(c);
  return audit_add(s, &by, "read", subject, json_incref(detail));
}

/* Ends the act that wrote them. */
static int reads_end(struct store *s, int r) {
  if (r >= 0)
    r = store_keep(s);
  if (r < 0)
    store_undo(s);
  return r < 0 ? r : 0;
}

static void reads_retry(struct reads *a) {
  sd_event_source_set_time_relative(a->again, READS_RETRY_US);
  sd_event_source_set_enabled(a->again, SD_EVENT_ONESHOT);
}

static int reads_keep(struct reads *a, const struct caller *c, const char *subject, json_t *detail) {
  if (a->n_waiting == READS_WAITING_MAX)
    return -ENOBUFS;
  struct read *x = calloc(1, sizeof *x);
  /* The row will have the time at which it is written. */
  if (!x || !(x->subject = strdup(subject)) || json_object_set_new(detail, "seen", json_time(wall_now().us)) < 0) {
    read_free(x);
    return -ENOMEM;
  }
  x->caller = *c;
  x->detail = json_incref(detail);
  *a->last = x;
  a->last = &x->next;
  a->n_waiting++;
  reads_retry(a);
  return 0;
}

/* The first n of those that wait. */
static void reads_forget(struct reads *a, unsigned n) {
  for (; n && a->waiting; n--, a->n_waiting--) {
    struct read *x = a->waiting;
    a->waiting = x->next;
    read_free(x);
  }
  if (!a->waiting)
    a->last = &a->waiting;
}

/* What had waited is written; others may have come since. If it could not be, all of it waits again. */
static void on_written(void *arg, int result) {
  struct reads *a = arg;
  if (result == 0) {
    log_notice("audit: %u reads written that had waited for the store", a->n_written);
    reads_forget(a, a->n_written);
  }
  a->n_written = 0;
  if (a->waiting)
    reads_retry(a);
}

/* All in one act: none is written twice. */
static void write_waiting(struct reads *a) {
  int r = store_begin(a->store);
  for (struct read *x = a->waiting; x && r >= 0; x = x->next)
    r = read_add(a->store, &x->caller, x->subject, x->detail);
  r = reads_end(a->store, r);
  if (r < 0) {
    reads_retry(a);
  } else {
    a->n_written = a->n_waiting;
    store_on_commit(a->store, on_written, a);
  }
}

static int on_again(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  write_waiting(arg);
  return 0;
}

int reads_open(sd_event *event, struct store *s, struct reads **ret) {
  struct reads *a = calloc(1, sizeof *a);
  if (!a)
    return -ENOMEM;
  a->store = s;
  a->last = &a->waiting;
  int r = sd_event_add_time_relative(event, &a->again, CLOCK_MONOTONIC, READS_RETRY_US, 0, on_again, a);
  if (r >= 0)
    r = sd_event_source_set_enabled(a->again, SD_EVENT_OFF);
  if (r < 0) {
    free(a);
    return r;
  }
  *ret = a;
  return 0;
}

void reads_close(struct reads *a) {
  if (!a)
    return;
  if (a->n_waiting) {
    write_waiting(a);
    store_commit(a->store);
  }
  if (a->n_waiting)
    log_error("audit: %u reads could not be written: the store cannot be", a->n_waiting);
  reads_forget(a, a->n_waiting);
  sd_event_source_disable_unref(a->again);
  free(a);
}

/* Whether the same was noted a moment ago; if not, it is from now on. */
static bool reads_same(struct reads *a, const struct caller *c, const char *subject, const json_t *detail) {
  uint8_t hash[HASH_BYTES];
  struct hash_stream h;
  _free_cleanup_ char *text = json_canonical(detail, NULL);
  uint64_t now = monotonic_us();
  size_t oldest = 0;
  if (!text)
    return false;
  hash_start(&h);
  hash_add(&h, c, sizeof *c); /* whole: every text is padded with zeros */
  hash_add(&h, subject, strlen(subject) + 1);
  hash_add(&h, text, strlen(text));
  hash_end(&h, hash);
  for (size_t i = 0; i < READS_SAME_MAX; i++) {
    if (!memcmp(a->same[i].hash, hash, sizeof hash) && now - a->same[i].at < READS_SAME_US)
      return true;
    if (a->same[i].at < a->same[oldest].at)
      oldest = i;
  }
  memcpy(a->same[oldest].hash, hash, sizeof hash);
  a->same[oldest].at = now;
  return false;
}

/* Nobody was shown what could not be written: whoever asks again is noted. */
static void forget_same(struct reads *a) {
  memset(a->same, 0, sizeof a->same);
}

static void on_noted(void *arg, int result) {
  struct reads *a = arg;
  a->is_noting = false;
  if (result < 0)
    forget_same(a);
}

static int reads_write(struct reads *a, const struct caller *c, const char *subject, json_t *detail) {
  int r = store_health(a->store);
  if (r == 0)
    r = store_begin(a->store);
  if (r < 0)
    return r;
  r = reads_end(a->store, read_add(a->store, c, subject, detail));
  if (r == 0 && !a->is_noting) {
    a->is_noting = true;
    store_on_commit(a->store, on_noted, a);
  }
  return r;
}

int reads_note(struct reads *a, const struct caller *c, const char *route, const char *subject,
               const json_t *patients) {
  _json_cleanup_ json_t *detail = json_pack("{s:O, s:s}", "patients", patients, "route", route);
  if (!detail)
    return -ENOMEM;
  if (reads_same(a, c, subject, detail) || reads_write(a, c, subject, detail) == 0)
    return 0;
  int r = reads_keep(a, c, subject, detail);
  if (r < 0)
    forget_same(a);
  return r;
}
