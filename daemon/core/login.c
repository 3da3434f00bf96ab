#include "login.h"

#include "hash.h"
#include "str.h"
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#define SECOND_US UINT64_C(1000000)
#define FREE_FAILURES 5
#define DELAY_MIN_US (2 * SECOND_US)
#define DELAY_MAX_US (900 * SECOND_US)
#define DOUBLED_MAX 9 /* then it is more than DELAY_MAX_US */
#define FORGET_US (3600 * SECOND_US)

struct session {
  uint8_t key[HASH_BYTES];       /* SHA-256 of the token's bytes */
  char account[PERSON_NAME_MAX]; /* "" = a free place */
  bool must_change;
  uint64_t begun, used;
};

struct tries {
  uint8_t key[HASH_BYTES]; /* SHA-256 of the name: people type their password there, too */
  uint32_t failures, pending;
  uint64_t last; /* when one began, or failed */
};

struct login {
  uint64_t idle_us, life_us;
  struct session sessions[LOGIN_MAX];
  struct tries names[LOGIN_NAMES_MAX];
  uint64_t others_from; /* when the next of those may try that there is no place for */
};

int login_open(uint32_t idle_minutes, uint32_t login_hours, struct login **ret) {
  struct login *l = calloc(1, sizeof *l);
  if (!l)
    return -ENOMEM;
  l->idle_us = SECOND_US * 60 * idle_minutes;
  l->life_us = SECOND_US * 3600 * login_hours;
  *ret = l;
  return 0;
}

void login_close(struct login *l) {
  free(l);
}

/* ---- logins ---- */

static bool has_ended(const struct login *l, const struct session *s, uint64_t now) {
  return !s->account[0] || now - s->begun >= l->life_us;
}

static void token_new(struct session *s, char ret[static LOGIN_TOKEN]) {
  uint8_t raw[HASH_BYTES];
  random_bytes(raw, sizeof raw);
  hash_sha256(raw, sizeof raw, s->key);
  str_hex(raw, sizeof raw, ret);
  explicit_bzero(raw, sizeof raw);
}

/* Looks at all of them, however early it is found. */
static struct session *session_of(struct login *l, const char *token) {
  uint8_t raw[HASH_BYTES], key[HASH_BYTES];
  struct session *found = NULL;
  if (!hash_is_text(token) || !str_unhex(token, raw, sizeof raw))
    return NULL;
  hash_sha256(raw, sizeof raw, key);
  for (struct session *s = l->sessions; s < l->sessions + LOGIN_MAX; s++)
    if (s->account[0] && equal_secret(s->key, key, sizeof key))
      found = s;
  explicit_bzero(raw, sizeof raw);
  return found;
}

static struct session *session_now(struct login *l, const char *token, uint64_t now) {
  struct session *s = session_of(l, token);
  if (!s || !has_ended(l, s, now))
    return s;
  *s = (struct session){0};
  return NULL;
}

/* A place that is free, or that of the one that is idle longest. */
static struct session *session_place(struct login *l, uint64_t now) {
  struct session *place = l->sessions;
  for (struct session *s = l->sessions; s < l->sessions + LOGIN_MAX; s++) {
    if (has_ended(l, s, now))
      return s;
    if (s->used < place->used)
      place = s;
  }
  return place;
}

int login_begin(struct login *l, const char *account, bool must_change, uint64_t now,
                char ret_token[static LOGIN_TOKEN]) {
  struct session new = {.must_change = must_change, .begun = now, .used = now};
  if (!*account || !str_copy(new.account, sizeof new.account, account))
    return -EINVAL;
  token_new(&new, ret_token);
  *session_place(l, now) = new;
  return 0;
}

static enum login_state state_of(const struct login *l, const struct session *s, uint64_t now,
                                 struct login_found *ret) {
  if (!s)
    return LOGIN_UNKNOWN;
  str_copy(ret->account, sizeof ret->account, s->account);
  ret->must_change = s->must_change;
  return now - s->used > l->idle_us ? LOGIN_LOCKED : LOGIN_OK;
}

enum login_state login_look(struct login *l, const char *token, uint64_t now, struct login_found *ret) {
  return state_of(l, session_now(l, token, now), now, ret);
}

enum login_state login_find(struct login *l, const char *token, uint64_t now, struct login_found *ret) {
  struct session *s = session_now(l, token, now);
  enum login_state state = state_of(l, s, now, ret);
  if (state == LOGIN_OK)
    s->used = now;
  return state;
}

int login_unlock(struct login *l, const char *token, uint64_t now, char ret_token[static LOGIN_TOKEN]) {
  struct session *s = session_now(l, token, now);
  if (!s)
    return -ENOENT;
  token_new(s, ret_token);
  s->used = now;
  return 0;
}

int login_changed(struct login *l, const char *token, uint64_t now, char ret_token[static LOGIN_TOKEN]) {
  struct session *s = session_now(l, token, now);
  if (!s)
    return -ENOENT;
  struct session mine = *s;
  login_end_account(l, mine.account);
  *s = mine;
  s->must_change = false;
  return login_unlock(l, token, now, ret_token);
}

void login_end(struct login *l, const char *token) {
  struct session *s = session_of(l, token);
  if (s)
    *s = (struct session){0};
}

void login_end_account(struct login *l, const char *account) {
  for (struct session *s = l->sessions; s < l->sessions + LOGIN_MAX; s++)
    if (!strcmp(s->account, account))
      *s = (struct session){0};
}

/* ---- the lock-out ---- */

static bool is_free(const struct tries *t, uint64_t now) {
  return t->failures + t->pending == 0 || now - t->last >= FORGET_US;
}

/* The name's, or a free place that is the name's once something is counted there; NULL when there is none. */
static struct tries *tries_of(struct login *l, const char *name, uint64_t now) {
  uint8_t key[HASH_BYTES];
  struct tries *place = NULL;
  hash_sha256(name, strlen(name), key);
  for (struct tries *t = l->names; t < l->names + LOGIN_NAMES_MAX; t++) {
    if (is_free(t, now))
      place = t;
    else if (!memcmp(t->key, key, sizeof key))
      return t;
  }
  if (place) {
    *place = (struct tries){.last = now};
    memcpy(place->key, key, sizeof key);
  }
  return place;
}

static uint64_t delay_after(uint32_t failures) {
  if (failures < FREE_FAILURES)
    return 0;
  uint32_t doubled = failures - FREE_FAILURES;
  uint64_t delay = DELAY_MIN_US << (doubled < DOUBLED_MAX ? doubled : DOUBLED_MAX);
  return delay < DELAY_MAX_US ? delay : DELAY_MAX_US;
}

uint32_t login_may_try(struct login *l, const char *name, uint64_t now) {
  struct tries *t = tries_of(l, name, now);
  uint64_t from = t ? t->last + delay_after(t->failures + t->pending) : l->others_from;
  if (now < from)
    return (uint32_t)((from - now + SECOND_US - 1) / SECOND_US);
  if (t) {
    t->pending++;
    t->last = now;
  } else {
    l->others_from = now + DELAY_MIN_US;
  }
  return 0;
}

/* One that has begun is over. NULL: it was one of the others, and there is still no place. */
static struct tries *try_over(struct login *l, const char *name, uint64_t now) {
  struct tries *t = tries_of(l, name, now);
  if (t && t->pending)
    t->pending--;
  return t;
}

void login_failed(struct login *l, const char *name, uint64_t now) {
  struct tries *t = try_over(l, name, now);
  if (!t)
    return;
  t->failures++;
  t->last = now;
}

void login_succeeded(struct login *l, const char *name, uint64_t now) {
  struct tries *t = try_over(l, name, now);
  if (t)
    t->failures = 0;
}

void login_untried(struct login *l, const char *name, uint64_t now) {
  try_over(l, name, now);
}

/* ---- headers ---- */

#define COOKIE "asaleed"
#define HOST_MAX 256

int login_cookie_read(const char *cookie_header, char ret_token[static LOGIN_TOKEN]) {
  char token[LOGIN_TOKEN] = "";
  for (const char *at = cookie_header, *next; at; at = next) {
    at += strspn(at, " \t");
    size_t n = strcspn(at, ";"), name_n = strcspn(at, "=;");
    next = at[n] ? at + n + 1 : NULL;
    while (n && strchr(" \t", at[n - 1]))
      n--;
    name_n = name_n < n ? name_n : n;
    while (name_n && strchr(" \t", at[name_n - 1]))
      name_n--;
    if (name_n != strlen(COOKIE) || memcmp(at, COOKIE, name_n))
      continue;
    if (token[0] || n != strlen(COOKIE "=") + LOGIN_TOKEN - 1 || at[name_n] != '=')
      return -EINVAL;
    memcpy(token, at + strlen(COOKIE "="), LOGIN_TOKEN - 1);
    if (!hash_is_text(token))
      return -EINVAL;
  }
  if (!token[0])
    return -ENOENT;
  memcpy(ret_token, token, sizeof token);
  explicit_bzero(token, sizeof token);
  return 0;
}

int login_cookie_write(struct buf *b, const char *token, bool secure) {
  return buf_format(b, COOKIE "=%s; Path=/; HttpOnly; SameSite=Strict%s%s", token ? token : "",
                    secure ? "; Secure" : "", token ? "" : "; Max-Age=0");
}

bool login_origin_ok(const char *origin, const char *sec_fetch_site, const char *host) {
  if ((!origin && !sec_fetch_site) || !host || !*host || (sec_fetch_site && strcmp(sec_fetch_site, "same-origin")))
    return false;
  if (!origin)
    return true;
  size_t scheme_n = !strncmp(origin, "http://", 7) ? 7 : !strncmp(origin, "https://", 8) ? 8 : 0;
  return scheme_n && !strcasecmp(origin + scheme_n, host);
}

/* A Host header without its port. */
static bool host_name(const char *host, char ret[static HOST_MAX]) {
  uint64_t port;
  if (!host)
    return false;
  size_t n = strcspn(host, host[0] == '[' ? "]" : ":");
  n += host[n] == ']';
  if (n >= HOST_MAX || (host[n] && (host[n] != ':' || str_to_u64(host + n + 1, 1, 65535, &port) < 0)))
    return false;
  memcpy(ret, host, n);
  ret[n] = 0;
  return true;
}

bool login_host_is_loopback(const char *host) {
  char name[HOST_MAX];
  struct in_addr v4;
  if (!host_name(host, name))
    return false;
  if (inet_pton(AF_INET, name, &v4) == 1)
    return ntohl(v4.s_addr) >> 24 == 127;
  return !strcasecmp(name, "localhost") || !strcmp(name, "[::1]");
}

bool login_host_is_ours(const char *host, const char *names) {
  char name[HOST_MAX];
  if (login_host_is_loopback(host))
    return true;
  if (!host_name(host, name) || !name[0])
    return false;
  while (*names) {
    size_t n = strcspn(names, " ");
    if (n == strlen(name) && !strncasecmp(names, name, n))
      return true;
    names += n + (names[n] == ' ');
  }
  return false;
}
