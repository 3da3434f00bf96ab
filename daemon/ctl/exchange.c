/* The daemon's API: what every request carries, what every answer may be. */
#include "ctl.h"

#include "hash.h"
#include "str.h"
#include <errno.h>
#include <poll.h>
#include <string.h>

#define KEY_DIGITS 32
#define RETRY_MS 300 /* a daemon that was restarted is back after a few of these */
#define RETRY_TIMES 10
#define PAGE_MAX 200

void api_answer_finish(struct api_answer *a) {
  json_decref(a->json);
  if (a->body.data)
    explicit_bzero(a->body.data, a->body.len);
  buf_finish(&a->body);
}

int api_unreached(struct ctl *c, int err, bool changing) {
  const char *why =
      err == -ENOENT         ? "cette socket n'existe pas"
      : err == -ECONNREFUSED ? "personne n'y écoute"
      : err == -EACCES
          ? "ce compte du système n'est pas du groupe asaleed (usermod -aG asaleed NOM, puis rouvrir la session)"
      : err == -ETIMEDOUT  ? "pas de réponse à temps"
      : err == -ECONNRESET ? "la liaison a été coupée avant la réponse"
      : err == -EPROTO     ? "la réponse n'est pas celle d'asaleed"
      : err == -EFBIG      ? "la réponse est trop longue"
      : err == -ECANCELED  ? "interrompu"
                           : strerrordesc_np(-err);
  ctl_say(c, "asaleed n'est pas joignable par %s : %s", c->socket, why ? why : "erreur inconnue");
  if (changing && (err == -ETIMEDOUT || err == -ECONNRESET || err == -EPROTO || err == -EFBIG))
    ctl_say(c, "la demande a peut-être été exécutée : vérifier avant de la refaire");
  ctl_say(c, "voir : systemctl status asaleed ; une autre socket se donne par --socket CHEMIN");
  return CTL_UNREACHED;
}

int api_refused(struct ctl *c, const struct api_answer *a) {
  const char *detail = json_text(a->json, "detail"), *code = json_text(a->json, "code"),
             *field = json_text(a->json, "field");
  if (!detail || !code)
    ctl_say(c, "asaleed a refusé sans dire pourquoi (http_%d)", a->status);
  else if (field)
    ctl_say(c, "%s (%s, champ : %s)", detail, code, field);
  else
    ctl_say(c, "%s (%s)", detail, code);
  if (code && !strcmp(code, "forbidden") && !c->token[0])
    ctl_say(c, "sans --token-file, c'est l'administrateur de la machine qui agit : donner le jeton d'un compte");
  if (c->json && a->json)
    print_json(c->out, (const char *)a->body.data, a->body.len, c->tty);
  return CTL_REFUSED;
}

void api_headers(const struct ctl *c, struct http_request *r, char authorization[static 600]) {
  snprintf(authorization, 600, "Bearer %s", c->token);
  r->headers[0] = (struct http_header){"User-Agent", "asaleectl/" ASALEED_VERSION};
  r->headers[1] = (struct http_header){"Authorization", c->token[0] ? authorization : NULL};
  r->headers[2] = (struct http_header){"Asaleed-Acting-For", c->acting_for};
}

/* Whether a type is in a list "a/b, c/d". */
static bool is_type(const char *list, const char *type) {
  size_t n = strlen(type);
  for (const char *at = list; n && (at = strstr(at, type)); at += n)
    if ((at == list || at[-1] == ' ') && (!at[n] || at[n] == ','))
      return true;
  return false;
}

/* The answer's JSON, when it is one. A text of JSON may hold escaped controls: they are taken out where it is
 * printed, so that one odd serial number does not hide a list. */
static int read_answer(struct http_conn *conn, const char *bytes, struct api_answer *ret) {
  struct http_parser *p = &conn->parser;
  ret->status = p->status;
  ret->replayed = p->replayed;
  str_copy(ret->etag, sizeof ret->etag, p->etag);
  ret->body = p->body;
  p->body = BUF_INIT(0);
  bool ok = ret->status >= 200 && ret->status < 300;
  bool json = !strcmp(p->type, "application/json") || !strcmp(p->type, "application/problem+json");
  if (ok && bytes)
    return is_type(bytes, p->type) ? 0 : -EPROTO;
  if (json) {
    json_error_t error;
    ret->json = json_loadb((const char *)ret->body.data, ret->body.len, JSON_REJECT_DUPLICATES, &error);
  }
  return ok && !json_is_object(ret->json) ? -EPROTO : 0;
}

static int exchange(struct ctl *c, const struct http_request *r, const char *bytes, struct api_answer *ret) {
  struct http_conn conn;
  int err = http_exchange(&conn, &c->client, r, bytes ? HTTP_BYTES_MAX : HTTP_JSON_MAX);
  if (err == 0)
    err = read_answer(&conn, bytes, ret);
  http_disconnect(&conn);
  return err;
}

/* Once more with the same key when the connection broke before the answer; the daemon may be starting again. */
static int exchange_again(struct ctl *c, const struct http_request *r, const char *bytes, struct api_answer *ret) {
  int err = -ECONNRESET;
  for (int i = 0; i < RETRY_TIMES; i++) {
    struct pollfd wake = {.fd = c->client.wake_fd, .events = POLLIN};
    if (poll(&wake, 1, RETRY_MS) > 0)
      return -ECANCELED;
    api_answer_finish(ret);
    *ret = (struct api_answer){0};
    err = exchange(c, r, bytes, ret);
    if (err != -ECONNREFUSED && err != -ENOENT)
      break; /* it was sent: that was the one retry */
  }
  return err;
}

int api_call(struct ctl *c, const struct api_request *request, struct api_answer *ret) {
  _json_cleanup_ json_t *body = request->body;
  char *text = body ? json_canonical(body, NULL) : NULL;
  char authorization[600], key[KEY_DIGITS + 1];
  bool post = !strcmp(request->method, "POST"), get = !strcmp(request->method, "GET");
  struct http_request r = {.method = request->method,
                           .target = request->target,
                           .body = text,
                           .upload = request->upload,
                           .sink = request->sink,
                           .userdata = request->userdata};
  *ret = (struct api_answer){0};
  if (body && !text)
    return ctl_usage(c, "la demande ne peut pas être écrite en JSON");
  r.body_bytes = text ? strlen(text) : 0;
  api_headers(c, &r, authorization);
  r.headers[3] = (struct http_header){"Accept", request->bytes ? request->bytes : "application/json"};
  r.headers[4] = (struct http_header){"If-Match", request->if_match};
  random_text(key, KEY_DIGITS);
  r.headers[5] = (struct http_header){"Idempotency-Key", post ? key : NULL};
  int err = exchange(c, &r, request->bytes, ret);
  if (err == -ECONNRESET && (post || get) && !request->sink)
    err = exchange_again(c, &r, request->bytes, ret);
  explicit_bzero(authorization, sizeof authorization);
  if (text)
    explicit_bzero(text, r.body_bytes);
  free(text);
  ret->err = err;
  if (err < 0 && request->quiet)
    return CTL_UNREACHED;
  if (err == -EINVAL)
    return ctl_usage(c, "la demande ne peut pas être envoyée");
  if (err < 0)
    return api_unreached(c, err, !get);
  if (ret->status >= 200 && ret->status < 300)
    return CTL_OK;
  return request->quiet ? CTL_REFUSED : api_refused(c, ret);
}

static const char *target(struct buf *b, const char *format, va_list ap) {
  char text[2048];
  if ((size_t)vsnprintf(text, sizeof text, format, ap) < sizeof text)
    buf_text(b, text);
  return buf_cstr(b);
}

int api_get(struct ctl *c, struct api_answer *ret, const char *format, ...) {
  _buf_cleanup_ struct buf b = BUF_INIT(4096);
  va_list ap;
  va_start(ap, format);
  struct api_request r = {.method = "GET", .target = target(&b, format, ap)};
  va_end(ap);
  return api_call(c, &r, ret);
}

int api_post(struct ctl *c, json_t *body, struct api_answer *ret, const char *format, ...) {
  _buf_cleanup_ struct buf b = BUF_INIT(4096);
  va_list ap;
  va_start(ap, format);
  struct api_request r = {.method = "POST", .target = target(&b, format, ap), .body = body ? body : json_object()};
  va_end(ap);
  return api_call(c, &r, ret);
}

bool api_json(struct ctl *c, const struct api_answer *a) {
  if (c->json)
    print_json(c->out, (const char *)a->body.data, a->body.len, c->tty);
  return c->json;
}

void api_query(struct buf *b, const char *name, const char *value) {
  const char *before = buf_cstr(b);
  if (value) {
    buf_format(b, "%c%s=", before && strchr(before, '?') ? '&' : '?', name);
    http_encode(b, value);
  }
}

const char *api_tag(const char *version, char tag[static 32]) {
  snprintf(tag, 32, "\"%s\"", version ? version : "");
  return version ? tag : NULL;
}

/* One page; ret_next is malloc()ed, NULL after the last. */
static int list_page(struct ctl *c, const char *base, uint64_t want, const char *cursor, struct api_answer *a) {
  _buf_cleanup_ struct buf b = BUF_INIT(8192);
  buf_format(&b, "%s%climit=%llu", base, strchr(base, '?') ? '&' : '?', (unsigned long long)want);
  if (cursor) {
    buf_text(&b, "&cursor=");
    http_encode(&b, cursor);
  }
  const char *text = buf_cstr(&b);
  return text ? api_get(c, a, "%s", text) : api_unreached(c, -EPROTO, false);
}

int api_pages(struct ctl *c, const char *target_base, uint64_t limit, void (*add)(struct table *t, const json_t *item),
              struct table *t, bool *ret_more) {
  char cursor[1024] = "";
  if (!target_base)
    return api_unreached(c, -ENOMEM, false);
  uint64_t left = limit ? limit : UINT64_MAX;
  *ret_more = false;
  for (;;) {
    _answer_cleanup_ struct api_answer a = {0};
    int r = list_page(c, target_base, left < PAGE_MAX ? left : PAGE_MAX, cursor[0] ? cursor : NULL, &a);
    if (r != CTL_OK)
      return r;
    const json_t *items = json_object_get(a.json, "items");
    const char *next = json_text(a.json, "next");
    if (!json_is_array(items) || (next && (!strcmp(next, cursor) || !*next)))
      return api_unreached(c, -EPROTO, false);
    if (!api_json(c, &a))
      for (size_t i = 0; i < json_array_size(items); i++)
        add(t, json_array_get(items, i));
    size_t n = json_array_size(items);
    left -= n < left ? n : left;
    if (!next || !left) {
      *ret_more = next != NULL;
      return CTL_OK;
    }
    if (!str_copy(cursor, sizeof cursor, next))
      return api_unreached(c, -EPROTO, false);
  }
}
