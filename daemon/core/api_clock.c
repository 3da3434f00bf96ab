/* What happens by the clock: claims end, answers are forgotten, notices are made, the trail's head is signed, streams
 * are kept alive. */
#include "api.h"

#include "log.h"
#include "str.h"
#include "wall.h"
#include <stdlib.h>

#define RETRY_US (5 * WALL_SECOND)
#define ANSWERED_DAYS 7 /* how long an Idempotency-Key is remembered */

static void on_expired(void *arg, int64_t study) {
  api_moved(arg, study);
}

static void claims_at(struct api *a, int64_t us) {
  sd_event_source_set_time(a->claim_timer, (uint64_t)us);
  sd_event_source_set_enabled(a->claim_timer, SD_EVENT_ONESHOT);
}

static void on_expired_durable(void *arg, int result) {
  if (result < 0)
    claims_at(arg, wall_now().us + RETRY_US);
}

static int answered_forget(struct store *store, int64_t now) {
  int r = store_begin(store);
  if (r == 0)
    r = store_run(store, "DELETE FROM answered WHERE at < ?", "i", now - ANSWERED_DAYS * 86400 * WALL_SECOND);
  if (r >= 0)
    return store_keep(store);
  store_undo(store);
  return r;
}

/* Claims end on time, and the keys of old requests are forgotten. Runs when the next claim ends, and on each claim. */
static int on_claims(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  struct api *a = arg;
  int64_t now = wall_now().us, next = worklist_expire(a->store, now, on_expired, a);
  if (next < 0)
    log_errno(LOG_ERROR, (int)next, "claims: cannot give back those that ran out");
  else if (next > 0)
    claims_at(a, next);
  if (next < 0 || answered_forget(a->store, now) < 0)
    claims_at(a, now + RETRY_US);
  else
    store_on_commit(a->store, on_expired_durable, a);
  return 0;
}

struct notice_news {
  struct api *api;
  int64_t notice;
};

static void on_notice_durable(void *arg, int result) {
  struct notice_news *n = arg;
  char ref[STR_REF_MAX];
  str_ref('N', n->notice, ref);
  if (result == 0)
    hub_publish(n->api->hub, API_NOTICES, "notice", json_pack("{s:s}", "notice", ref));
  free(n);
}

void api_notice_made(struct api *a, int64_t notice) {
  struct notice_news *n = malloc(sizeof *n);
  if (n) { /* without memory nobody is told now; who asks is told */
    *n = (struct notice_news){a, notice};
    store_on_commit(a->store, on_notice_durable, n);
  }
  api_notices_at(a, 0);
}

/* By the clock that nobody sets. */
void api_notices_at(struct api *a, int64_t us) {
  const int64_t wait = us - wall_now().us;
  sd_event_source_set_time_relative(a->notice_timer, wait > 0 ? (uint64_t)wait : 0);
  sd_event_source_set_enabled(a->notice_timer, SD_EVENT_ONESHOT);
}

static void on_notices_durable(void *arg, int result) {
  if (result < 0)
    api_notices_at(arg, wall_now().us + RETRY_US);
}

static void on_made(void *arg, int64_t notice) {
  struct notice_news *n = malloc(sizeof *n);
  if (n) {
    *n = (struct notice_news){arg, notice};
    store_on_commit(n->api->store, on_notice_durable, n);
  }
}

/* Once a day the site signs the trail's head. */
static int head_daily(struct store *s, int64_t now) {
  struct rows rows = store_query(s, "SELECT coalesce(max(at), 0) FROM audit_head", "");
  int64_t last = rows_next(&rows) ? rows_int(&rows, 0) : 0;
  int r = rows_finish(&rows);
  if (r < 0 || (last <= now && now - last < 86400 * WALL_SECOND))
    return r;
  if ((r = store_begin(s)) < 0)
    return r;
  r = audit_head_sign(s);
  if (r >= 0)
    r = store_keep(s);
  if (r < 0)
    store_undo(s);
  return r;
}

static int on_notices(sd_event_source *source, uint64_t usec, void *arg) {
  (void)source;
  (void)usec;
  struct api *a = arg;
  int64_t now = wall_now().us, next = notice_due(a->store, a->conf, now, on_made, a);
  if (next < 0)
    log_errno(LOG_ERROR, (int)next, "notices: cannot be made now");
  int r = head_daily(a->store, now);
  if (r < 0)
    log_errno(LOG_ERROR, r, "audit: no head can be signed now");
  api_notices_at(a, next < 0 ? now + RETRY_US : next > now ? next : now + WALL_SECOND);
  store_on_commit(a->store, on_notices_durable, a);
  return 0;
}

static int on_alive(sd_event_source *source, uint64_t usec, void *arg) {
  (void)usec;
  struct api *a = arg;
  if (!hub_has_readers(a->hub))
    return 0;
  hub_keep_alive(a->hub);
  sd_event_source_set_time_relative(source, API_ALIVE_US);
  return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int api_open(struct api *a) {
  int r = sd_event_add_time(a->event, &a->claim_timer, CLOCK_REALTIME, 0, 1000000, on_claims, a);
  if (r >= 0)
    r = sd_event_add_time(a->event, &a->notice_timer, CLOCK_MONOTONIC, 0, 1000000, on_notices, a);
  if (r >= 0)
    r = sd_event_add_time_relative(a->event, &a->alive_timer, CLOCK_MONOTONIC, API_ALIVE_US, 1000000, on_alive, a);
  if (r >= 0)
    r = sd_event_source_set_enabled(a->alive_timer, SD_EVENT_OFF);
  return r < 0 ? r : 0;
}

void api_close(struct api *a) {
  sd_event_source_disable_unref(a->claim_timer);
  sd_event_source_disable_unref(a->alive_timer);
  sd_event_source_disable_unref(a->notice_timer);
}
