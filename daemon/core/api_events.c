/* Streams of events. One is open for as long as its caller could open it: no event is handed over to anybody else. */
#include "api.h"

#include "access.h"
#include "log.h"
#include "str.h"
#include "wall.h"
#include <string.h>

/* What the right to a stream depends on, other than a session: while it is the same, so is the right. */
struct grounds {
  uint8_t rows[HASH_BYTES];
  char day[WALL_DATE_MAX];
};

struct watch {
  struct watch *next;
  struct api *api;
  struct http_request *http;
  struct hub_reader *reader;
  char account[PERSON_NAME_MAX], acting_for[PERSON_NAME_MAX];
  char session[LOGIN_TOKEN]; /* "" = it came with a token, or is root's */
  bool acquired;             /* it gets curves and pictures */
  bool over;                 /* it ends as soon as it is read */
  struct grounds grounds;    /* on which it was opened, or allowed last */
};

static int grounds_now(const struct api *a, struct grounds *ret) {
  *ret = (struct grounds){0};
  wall_date(wall_now().us, ret->day);
  return store_sum(a->store, access_tables, ret->rows);
}

/* ---- whether it may go on ---- */

/* The request itself is asked again, by what let it in. */
static enum problem ask_again(const struct watch *w) {
  struct api_call call = {.api = w->api, .http = w->http, .again = true};
  struct study y;
  enum problem p = api_readmit(&call);
  if (p == P_OK && call.id[0])
    p = api_study_find(&call, &y);
  if (p == P_OK && mask_shows(&call.view, PART_ACQUIRED) != w->acquired)
    p = P_forbidden; /* another stream than this one */
  json_decref(call.patients);
  return p;
}

/* Asks the store only when something has changed there: this runs for each event of each stream. */
static bool may_go_on(struct watch *w, const struct grounds *now) {
  struct login_found found;
  enum problem p = w->over ? P_forbidden : P_OK;
  if (p == P_OK && w->session[0] && login_look(w->api->logins, w->session, boot_us(), &found) != LOGIN_OK)
    p = P_unauthenticated;
  if (p == P_OK && memcmp(&w->grounds, now, sizeof *now)) {
    p = ask_again(w);
    w->grounds = *now;
  }
  if (p != P_OK && !w->over)
    log_debug("events: a stream ends: its caller could not open it now (%s)", problem_code(p));
  w->over = p != P_OK;
  return !w->over;
}

void api_watches_look(struct api *a) {
  struct grounds now;
  if (!a->watches)
    return;
  bool known = grounds_now(a, &now) == 0;
  for (struct watch *w = a->watches; w; w = w->next)
    if (!known || !may_go_on(w, &now))
      http_wake(w->http);
}

static size_t watch_read(void *arg, char *bytes, size_t max) {
  struct watch *w = arg;
  struct grounds now;
  return grounds_now(w->api, &now) == 0 && may_go_on(w, &now) ? hub_read(w->reader, bytes, max) : HTTP_END;
}

/* ---- how many ---- */

static bool is_whose(const struct watch *w, const struct caller *c) {
  return !strcmp(w->account, c->name) && !strcmp(w->acting_for, c->acting_for);
}

static bool has_room(const struct api *a, const struct caller *c) {
  unsigned all = 0, theirs = 0;
  for (const struct watch *w = a->watches; w; w = w->next)
    if (!w->over) {
      all++;
      theirs += is_whose(w, c);
    }
  return all < API_STREAMS_MAX && theirs < API_STREAMS_EACH;
}

/* A page that was closed or loaded again leaves its stream behind, which would only be noticed at the next event. */
static void end_those_left(struct api *a) {
  for (struct watch *w = a->watches; w; w = w->next)
    if (!w->over && http_hung_up(w->http)) {
      w->over = true;
      http_wake(w->http);
    }
}

/* ---- opening and ending ---- */

static void watch_wake(void *arg) {
  struct watch *w = arg;
  http_wake(w->http);
}

static void watch_finish(void *arg) {
  struct watch *w = arg, **at = &w->api->watches;
  while (*at != w)
    at = &(*at)->next;
  *at = w->next;
  hub_unsubscribe(w->reader);
  explicit_bzero(w->session, sizeof w->session);
  free(w);
}

/* Steals hello. */
static enum problem watch_open(struct api_call *call, int64_t stream, json_t *hello) {
  struct api *a = call->api;
  const char *last_text = http_header(call->http, "Last-Event-ID");
  uint64_t last = 0;
  if (last_text && str_to_u64(last_text, 0, UINT64_MAX - 1, &last) < 0)
    last = 0; /* not an id of ours: as if new */
  struct watch *w = calloc(1, sizeof *w);
  if (!w || grounds_now(a, &w->grounds) < 0) {
    free(w);
    json_decref(hello);
    return P_overloaded;
  }
  w->api = a;
  w->http = call->http;
  memcpy(w->account, call->caller.name, sizeof w->account);
  memcpy(w->acting_for, call->caller.acting_for, sizeof w->acting_for);
  memcpy(w->session, call->session, sizeof w->session);
  w->acquired = mask_shows(&call->view, PART_ACQUIRED);
  if (hub_subscribe(a->hub, stream, last, w->acquired, hello, watch_wake, w, &w->reader) < 0) {
    free(w);
    return P_overloaded;
  }
  w->next = a->watches;
  a->watches = w;
  call->http->status = 200;
  call->http->type = "text/event-stream";
  call->http->stream = (struct http_stream){.read = watch_read, .finish = watch_finish, .arg = w};
  return P_OK;
}

static enum problem watch(struct api_call *call, int64_t stream, json_t *hello) {
  struct api *a = call->api;
  if (!has_room(a, &call->caller))
    end_those_left(a);
  if (!has_room(a, &call->caller)) {
    log_debug("events: no more streams for this caller");
    json_decref(hello);
    return P_overloaded;
  }
  enum problem p = watch_open(call, stream, hello);
  if (p == P_OK && sd_event_source_get_enabled(a->alive_timer, NULL) == 0) {
    sd_event_source_set_time_relative(a->alive_timer, API_ALIVE_US);
    sd_event_source_set_enabled(a->alive_timer, SD_EVENT_ONESHOT);
  }
  return p;
}

enum problem api_study_events(struct api_call *call) {
  struct study y;
  enum problem p = api_study_find(call, &y);
  if (p == P_OK)
    p = api_study_seen(call, &y);
  return p == P_OK ? watch(call, y.id, study_event_json(&y)) : p;
}

enum problem api_events(struct api_call *call) {
  return watch(call, API_NOTICES, NULL);
}
