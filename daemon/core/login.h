/* Browser logins, and how often a password may be tried. In memory only: a restart ends all logins.
 *
 * `now` is CLOCK_BOOTTIME in microseconds: the wall clock may jump, a suspended machine grows older. */
#ifndef ASALEED_LOGIN_H
#define ASALEED_LOGIN_H

#include "buf.h"
#include "people.h"

#define LOGIN_MAX 256 /* beyond, the one that was idle longest ends */
#define LOGIN_NAMES_MAX 1024
#define LOGIN_TOKEN 65 /* 64 lower-case hex digits and a NUL; only its SHA-256 is kept */

struct login;

int login_open(uint32_t idle_minutes, uint32_t login_hours, struct login **ret);
void login_close(struct login *l);

/* ---- logins ---- */

enum login_state {
  LOGIN_UNKNOWN, /* never was, or has ended */
  LOGIN_LOCKED,  /* not used for more than idle_minutes: nothing but login_unlock(), and the end, gets it out of that */
  LOGIN_OK,
};

struct login_found {
  char account[PERSON_NAME_MAX];
  bool must_change; /* the password, before anything else */
};

/* A new login, beside the account's others. -EINVAL: no account has such a name. */
int login_begin(struct login *l, const char *account, bool must_change, uint64_t now,
                char ret_token[static LOGIN_TOKEN]);
/* *ret is set unless it is unknown; LOGIN_OK counts as a use. A login ends login_hours after its beginning. */
enum login_state login_find(struct login *l, const char *token, uint64_t now, struct login_found *ret);
/* The same, and no use of it: what goes on by itself keeps nobody's login from being locked. */
enum login_state login_look(struct login *l, const char *token, uint64_t now, struct login_found *ret);
/* The password was given again: the same login, until the same end, under a new token. -ENOENT when it has ended. */
int login_unlock(struct login *l, const char *token, uint64_t now, char ret_token[static LOGIN_TOKEN]);
/* The password was changed through this login: the account's others end, and this one goes on under a new token and
 * without must_change. -ENOENT when it has ended. */
int login_changed(struct login *l, const char *token, uint64_t now, char ret_token[static LOGIN_TOKEN]);
void login_end(struct login *l, const char *token);
/* All of them: it was disabled, or its password was changed by somebody else. */
void login_end_account(struct login *l, const char *account);

/* ---- the lock-out ----
 *
 * By name, whether there is such an account or not. After the 5th failure the next try has to wait 2 s, after each
 * further one twice as long, 15 min at most. Failures are forgotten after a success, or an hour without a try. With
 * LOGIN_NAMES_MAX names, the others share one try in 2 s.
 *
 * Each try that login_may_try() lets through ends in exactly one of the three below; until then it counts as a failure,
 * so that many at once are no way around. */

/* Seconds to wait, rounded up; 0 = the try may begin. Being told to wait makes it no longer. */
uint32_t login_may_try(struct login *l, const char *name, uint64_t now);
void login_failed(struct login *l, const char *name, uint64_t now);
void login_succeeded(struct login *l, const char *name, uint64_t now);
void login_untried(struct login *l, const char *name, uint64_t now); /* it could not be found out: as if never begun */

/* ---- headers ---- */

/* The token in a Cookie header (RFC 6265, 4.2; NULL = there is none) that may hold others' cookies. -ENOENT: none of
 * ours; -EINVAL: two of ours, or one that we never wrote. */
int login_cookie_read(const char *cookie_header, char ret_token[static LOGIN_TOKEN]);
/* The value of Set-Cookie; token NULL ends it. 0, or the buffer's error. */
int login_cookie_write(struct buf *b, const char *token, bool secure);
/* Whether a page of ours sends this request, which changes something and carries the cookie. NULL = no such header. At
 * least one of the first two is there, and each that is there must agree. */
bool login_origin_ok(const char *origin, const char *sec_fetch_site, const char *host);
/* A Host header, with or without port, that is this machine itself: then the cookie does without Secure. */
bool login_host_is_loopback(const char *host);
/* One that is this machine itself or one of these names, separated by spaces, in any case. Any other that leads here
 * may be somebody else's, whose pages are then of one origin with us. */
bool login_host_is_ours(const char *host, const char *names);

#endif
