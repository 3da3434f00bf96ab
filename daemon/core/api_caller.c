/* Who calls: a program by its token, a browser by its session, the machine's own administrator by the kernel's word. */
#include "api.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t boot_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_BOOTTIME, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Over TCP a browser gets here by whatever name leads to this machine, somebody else's too (DNS rebinding). */
static bool host_is_ours(const struct api_call *call) {
  const struct http_request *q = call->http;
  return q->peer != (uid_t)-1 || login_host_is_ours(http_header(q, "Host"), call->api->conf->hosts);
}

bool api_of_our_page(const struct api_call *call) {
  const struct http_request *q = call->http;
  return host_is_ours(call) &&
         login_origin_ok(http_header(q, "Origin"), http_header(q, "Sec-Fetch-Site"), http_header(q, "Host"));
}

/* A browser's session. What it writes must come from our own pages. may_be_locked: what is asked for is its end. */
static enum problem authenticate_session(struct api_call *call, bool may_be_locked) {
  struct login_found found;
  if (!host_is_ours(call) || (strcmp(call->http->method, "GET") && !api_of_our_page(call)))
    return P_origin_refused;
  /* What a page asks for by itself, while nobody is there, must not keep the session from being locked. */
  const bool is_used = !call->again && !http_header(call->http, "Asaleed-Background");
  enum login_state state = (is_used ? login_find : login_look)(call->api->logins, call->session, boot_us(), &found);
  if (state == LOGIN_UNKNOWN)
    return P_unauthenticated;
  if (state == LOGIN_LOCKED && !may_be_locked)
    return P_session_locked;
  call->must_change = found.must_change;
  return people_by_name(call->api->store, found.account, &call->caller);
}

void api_from(struct api_call *call) {
  struct caller *c = &call->caller;
  const char *session = call->session[0] ? ", session" : "";
  if (call->http->peer == (uid_t)-1)
    snprintf(c->from, sizeof c->from, "loopback%s", session);
  else
    snprintf(c->from, sizeof c->from, "uid %u%s", (unsigned)call->http->peer, session);
}

enum problem api_authenticate(struct api_call *call, bool may_be_locked) {
  struct http_request *q = call->http;
  const char *header = http_header(q, "Authorization");
  enum problem p = P_unauthenticated;
  int cookie = header ? -ENOENT : login_cookie_read(http_header(q, "Cookie"), call->session);
  if (header) {
    if (!strncmp(header, "Bearer ", 7))
      p = people_by_token(call->api->store, header + 7, &call->caller);
  } else if (cookie != -ENOENT) {
    p = cookie == 0 ? authenticate_session(call, may_be_locked) : P_unauthenticated;
  } else if (q->peer == 0 || q->peer == geteuid()) {
    /* The machine's own administrator, by the kernel's word. */
    call->caller = (struct caller){.name = "root", .role = ROLE_ADMIN};
    if (q->peer != 0) /* the trail names who it was: the account the daemon runs under */
      snprintf(call->caller.name, sizeof call->caller.name, "uid-%u", (unsigned)q->peer);
    p = P_OK;
  }
  const char *person = http_header(q, "Asaleed-Acting-For");
  if (p == P_OK && person)
    p = people_act_for(call->api->store, &call->caller, person);
  api_from(call);
  call->view = view_of(call->caller.role);
  return p;
}
