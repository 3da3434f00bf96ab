/* Sessions of browsers, and passwords. What takes a password answers by itself, once the password is computed. */
#include "api.h"

#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One request that waits for its password. */
struct attempt {
  struct api *api;
  struct http_request *http;
  struct caller caller;          /* whose password it is; from is where the call came from */
  char name[PERSON_NAME_MAX];    /* as it was given: of an account or not */
  char session[LOGIN_TOKEN];     /* that goes on, "" = none */
  char chosen[PASSWORD_MAX + 1]; /* the new password */
  /* The account's when the attempt began: what was found out holds for these alone. */
  char encoded[ACCOUNT_PASSWORD_MAX];
  bool known, must_change;
  void (*then)(struct attempt *x); /* after the password was right */
};

static void attempt_free(struct attempt *x) {
  explicit_bzero(x, sizeof *x);
  free(x);
}

static void attempt_end(struct attempt *x, enum problem p, json_t *answer) {
  struct api *a = x->api;
  struct http_request *q = x->http;
  attempt_free(x);
  api_answer(a, q, p, 200, answer);
}

static void set_cookie(struct http_request *q, const char *token) {
  struct buf b = BUF_INIT(sizeof q->set_cookie);
  const char *host = http_header(q, "Host");
  login_cookie_write(&b, token, !host || !login_host_is_loopback(host));
  const char *text = buf_cstr(&b);
  str_copy(q->set_cookie, sizeof q->set_cookie, text ? text : "");
  buf_finish(&b);
}

/* An act of its own: the trail has every login that worked and every one that did not. */
static enum problem tell(struct attempt *x, const char *action) {
  struct store *s = x->api->store;
  const char *name = x->known ? x->name : PERSON_UNKNOWN;
  struct actor by = {.name = name, .from = x->caller.from};
  int r = store_begin(s);
  if (r < 0)
    return problem_of_errno(r);
  r = audit_add(s, &by, action, name, NULL);
  if (r >= 0)
    r = store_keep(s);
  if (r < 0)
    store_undo(s);
  return problem_of_errno(r);
}

static json_t *login_json(const struct attempt *x) {
  return json_pack("{s:b, s:s, s:s}", "must_change", x->must_change, "name", x->name, "role",
                   role_name(x->caller.role));
}

static void refuse(struct attempt *x) {
  enum problem p = tell(x, "login.refused");
  attempt_end(x, p == P_OK ? P_login_refused : p, NULL);
}

/* Whether the account is as it was when the attempt began. The computation waited its turn: since then the password may
 * have been set anew, just to keep out who knows the one that was right, or the account closed. */
static enum problem still_stands(const struct attempt *x) {
  char encoded[ACCOUNT_PASSWORD_MAX] = "";
  bool must_change = false;
  enum problem p = people_password(x->api->store, x->name, encoded, &must_change);
  if (p == P_unauthenticated || (p == P_OK && (strcmp(encoded, x->encoded) || must_change != x->must_change)))
    p = P_login_refused;
  explicit_bzero(encoded, sizeof encoded);
  return p;
}

static void on_checked(void *arg, int err, bool needs_rehash) {
  struct attempt *x = arg;
  (void)needs_rehash;
  uint64_t now = boot_us();
  enum problem p = err == 0 && x->known                                ? still_stands(x)
                   : err == 0 || err == -EACCES                        ? P_login_refused
                   : err == -EBUSY || err == -ENOMEM || err == -EAGAIN ? P_overloaded
                                                                       : P_internal;
  if (p == P_OK) {
    login_succeeded(x->api->logins, x->name, now);
    x->then(x);
  } else if (p == P_login_refused) {
    login_failed(x->api->logins, x->name, now);
    refuse(x);
  } else {
    login_untried(x->api->logins, x->name, now);
    attempt_end(x, p, NULL);
  }
}

/* Compares, later, the password of x->name; then() follows when it is right. An account that is not there takes as
 * long. */
static enum problem attempt_start(struct api_call *call, struct attempt *x, const char *password) {
  enum problem p = people_password(call->api->store, x->name, x->encoded, &x->must_change);
  if (p == P_OK)
    p = people_by_name(call->api->store, x->name, &x->caller);
  if (p != P_OK && p != P_unauthenticated) {
    attempt_free(x);
    return p;
  }
  x->known = p == P_OK && x->encoded[0];
  memcpy(x->caller.from, call->caller.from, sizeof x->caller.from);
  uint32_t wait = login_may_try(call->api->logins, x->name, boot_us());
  if (wait) {
    attempt_free(x);
    call->http->retry_after_s = wait;
    return P_login_wait;
  }
  int r = password_check(call->api->passwords, password, x->known ? x->encoded : NULL, on_checked, x);
  if (r < 0) {
    login_untried(call->api->logins, x->name, boot_us());
    attempt_free(x);
    return P_overloaded;
  }
  call->later = true;
  return P_OK;
}

static enum problem attempt_new(struct api_call *call, const char *name, struct attempt **ret) {
  struct attempt *x = calloc(1, sizeof *x);
  if (!x)
    return P_overloaded;
  x->api = call->api;
  x->http = call->http;
  if (!str_copy(x->name, sizeof x->name, name)) {
    attempt_free(x);
    return P_login_refused;
  }
  *ret = x;
  return P_OK;
}

/* Without a session of its own, or with one that this ends: nobody is handed a session that somebody else began. */
static void begin(struct attempt *x) {
  char token[LOGIN_TOKEN];
  enum problem p = tell(x, "login");
  if (p == P_OK && login_begin(x->api->logins, x->name, x->must_change, boot_us(), token) < 0)
    p = P_overloaded;
  if (p == P_OK) {
    if (x->session[0])
      login_end(x->api->logins, x->session);
    set_cookie(x->http, token);
  }
  explicit_bzero(token, sizeof token);
  attempt_end(x, p, p == P_OK ? login_json(x) : NULL);
}

enum problem api_login(struct api_call *call) {
  const char *name, *password, *cookie = http_header(call->http, "Cookie");
  struct attempt *x;
  enum problem p = api_text(call, "name", PERSON_NAME_MAX - 1, true, &name);
  if (p == P_OK)
    p = api_text(call, "password", PASSWORD_MAX, true, &password);
  if (p == P_OK)
    p = attempt_new(call, name, &x);
  if (p != P_OK)
    return p;
  api_from(call);
  login_cookie_read(cookie, x->session);
  x->then = begin;
  return attempt_start(call, x, password);
}

static void unlock(struct attempt *x) {
  char token[LOGIN_TOKEN];
  struct login_found found;
  bool ended = login_find(x->api->logins, x->session, boot_us(), &found) == LOGIN_UNKNOWN;
  enum problem p = ended ? P_unauthenticated : tell(x, "login.unlock");
  if (p == P_OK && login_unlock(x->api->logins, x->session, boot_us(), token) < 0)
    p = P_unauthenticated;
  if (p == P_OK)
    set_cookie(x->http, token);
  explicit_bzero(token, sizeof token);
  attempt_end(x, p, p == P_OK ? login_json(x) : NULL);
}

/* Carries the cookie of a session that may be locked, which nothing else takes but what ends it. */
enum problem api_unlock(struct api_call *call) {
  const char *password;
  struct login_found found;
  struct attempt *x;
  char session[LOGIN_TOKEN];
  struct http_request *q = call->http;
  enum problem p = api_text(call, "password", PASSWORD_MAX, true, &password);
  if (p != P_OK)
    return p;
  if (login_cookie_read(http_header(q, "Cookie"), session) < 0 ||
      login_find(call->api->logins, session, boot_us(), &found) == LOGIN_UNKNOWN)
    return P_unauthenticated;
  if (!api_of_our_page(call))
    return P_origin_refused;
  p = attempt_new(call, found.account, &x);
  if (p != P_OK)
    return p;
  api_from(call);
  memcpy(x->session, session, sizeof x->session);
  x->then = unlock;
  return attempt_start(call, x, password);
}

/* ---- changing ---- */

static enum problem keep_password(struct attempt *x, const char *old, const char *encoded, bool must_change,
                                  const struct actor *by) {
  struct store *s = x->api->store;
  int r = store_begin(s);
  if (r < 0)
    return problem_of_errno(r);
  enum problem p = people_set_password(s, by, x->name, old, encoded, must_change);
  if (p == P_OK)
    p = problem_of_errno(store_keep(s));
  if (p != P_OK)
    store_undo(s);
  return p;
}

static void on_hashed(void *arg, int err, const char *encoded) {
  struct attempt *x = arg;
  char token[LOGIN_TOKEN];
  struct actor by = {.name = x->name, .from = x->caller.from};
  enum problem p = err < 0 ? P_overloaded : keep_password(x, x->encoded, encoded, false, &by);
  if (p == P_login_refused) {
    refuse(x);
    return;
  }
  if (p == P_OK && x->session[0] && login_changed(x->api->logins, x->session, boot_us(), token) == 0)
    set_cookie(x->http, token);
  else if (p == P_OK)
    login_end_account(x->api->logins, x->name);
  x->must_change = false;
  attempt_end(x, p, p == P_OK ? login_json(x) : NULL);
}

static void change(struct attempt *x) {
  if (password_hash(x->api->passwords, x->chosen, on_hashed, x) < 0)
    attempt_end(x, P_overloaded, NULL);
}

enum problem api_password(struct api_call *call) {
  const char *old, *chosen;
  struct attempt *x;
  enum problem p = api_text(call, "old", PASSWORD_MAX, true, &old);
  if (p == P_OK)
    p = api_text(call, "new", PASSWORD_MAX, true, &chosen);
  if (p == P_OK && (password_judge(chosen, call->caller.name) != PASSWORD_GOOD || !strcmp(old, chosen)))
    p = P_password_weak;
  if (p == P_OK)
    p = call->caller.acting_for[0] ? P_forbidden : attempt_new(call, call->caller.name, &x);
  if (p != P_OK)
    return p;
  str_copy(x->chosen, sizeof x->chosen, chosen);
  memcpy(x->session, call->session, sizeof x->session);
  x->then = change;
  return attempt_start(call, x, old);
}

static void on_made(void *arg, int err, const char *encoded) {
  struct attempt *x = arg;
  struct actor by = caller_actor(&x->caller);
  enum problem p = err < 0 ? P_overloaded : keep_password(x, NULL, encoded, true, &by);
  json_t *answer = NULL;
  if (p == P_OK) {
    login_end_account(x->api->logins, x->name);
    answer = json_pack("{s:s, s:s}", "name", x->name, "password", x->chosen);
  }
  attempt_end(x, p, answer);
}

enum problem api_user_password(struct api_call *call) {
  struct attempt *x;
  enum problem p = attempt_new(call, call->id, &x);
  if (p != P_OK)
    return p;
  x->caller = call->caller;
  password_make(x->chosen);
  if (password_hash(call->api->passwords, x->chosen, on_made, x) < 0) {
    attempt_free(x);
    return P_overloaded;
  }
  call->later = true;
  return P_OK;
}

/* ---- who calls ---- */

enum problem api_logout(struct api_call *call) {
  struct actor by = caller_actor(&call->caller);
  if (call->session[0]) {
    login_end(call->api->logins, call->session);
    set_cookie(call->http, NULL);
  }
  int r = audit_add(call->api->store, &by, "logout", call->caller.name, NULL);
  call->answer = json_pack("{s:b}", "ended", 1);
  return r < 0 ? problem_of_errno(r) : call->answer ? P_OK : P_overloaded;
}

enum problem api_me(struct api_call *call) {
  json_t *delegations = NULL, *mine = json_array(), *d;
  const struct caller *c = &call->caller;
  size_t i;
  int r = registry_delegations(call->api->store, c->rpps[0] ? c->rpps : "-", &delegations);
  json_array_foreach(delegations, i, d) {
    const char *state = json_text(d, "state");
    if (strcmp(state, "ended") && strcmp(state, "expired"))
      json_array_append(mine, d);
  }
  json_decref(delegations);
  call->answer = json_pack("{s:s?, s:o, s:b, s:s, s:s, s:s?}", "acting_for", c->acting_for[0] ? c->acting_for : NULL,
                           "delegations", mine, "must_change", call->must_change, "name", c->name, "role",
                           role_name(c->role), "rpps", c->rpps[0] ? c->rpps : NULL);
  return r < 0 ? problem_of_errno(r) : call->answer ? P_OK : P_overloaded;
}
