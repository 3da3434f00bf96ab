/* import: gives files that instruments wrote to the daemon, one after the other, and tells what became of each. A file
 * is never whole in memory here, and one that is refused stops none of the others. */
#include "ctl.h"

#include "live.h"
#include "str.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX ((64u << 20) - 1)
#define POLL_MS 500

struct import {
  struct ctl *c;
  struct live live;
  size_t n;               /* files */
  uint64_t total, before; /* bytes of all of them, and of those that were sent */
  size_t known, refused;  /* by the daemon */
  size_t unsent;          /* cannot be read, is none, or was not reached any more */
  int stopped;            /* CTL_OK, or why no more is asked of the daemon */
  char doing[512];        /* about the file that is on its way */
};

/* A file that the daemon has. */
struct sent {
  const char *path;
  char id[STR_REF_MAX];
  bool known;
};

__attribute__((format(printf, 2, 3))) static void complain(struct import *im, const char *format, ...) {
  char text[2048];
  va_list ap;
  va_start(ap, format);
  vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  live_end(&im->live);
  ctl_say(im->c, "%s", text);
}

/* ---- sending ------------------------------------------------------------------------------------------------ */

/* What is wrong with a file before anything is asked of the daemon; NULL. */
static const char *unfit(const struct stat *st) {
  if (S_ISDIR(st->st_mode))
    return "c'est un dossier : nommer ses fichiers (asaleectl import DOSSIER/*)";
  if (!S_ISREG(st->st_mode))
    return "ce n'est pas un fichier";
  if (!st->st_size)
    return "le fichier est vide";
  return st->st_size > (off_t)FILE_BYTES_MAX ? "le fichier est trop grand (moins de 64 Mio)" : NULL;
}

static int open_file(struct import *im, const char *path, struct stat *st) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  const char *why = fd < 0 || fstat(fd, st) < 0 ? strerrordesc_np(errno) : NULL;
  if (why)
    complain(im, "%s : lecture impossible (%s)", path, why);
  else if ((why = unfit(st)))
    complain(im, "%s : %s", path, why);
  if (why) {
    im->unsent++;
    fd_finish(&fd);
  }
  return fd;
}

static void on_sent(void *userdata, uint64_t bytes) {
  struct import *im = userdata;
  if (im->live.tty)
    live_file(&im->live, (int64_t)(im->before + bytes), (int64_t)im->total, im->doing);
}

/* "/v1/files?name=...&device=...", with the file's own name and nothing of where it lies. */
static const char *files_target(struct ctl *c, const char *path, struct buf *b) {
  _buf_cleanup_ struct buf name = BUF_INIT(4096);
  const char *slash = strrchr(path, '/'), *device = ctl_option(c, "device");
  path = slash ? slash + 1 : path;
  clean_text(&name, path, strlen(path), false);
  buf_text(b, "/v1/files?name=");
  http_encode(b, buf_cstr(&name) ? buf_cstr(&name) : "");
  if (device) {
    buf_text(b, "&device=");
    http_encode(b, device);
  }
  return buf_cstr(b);
}

/* A refusal that is not about this file: the next one would get it too. */
static bool about_all(int status, const char *code) {
  return status == 401 || status == 403 || status == 503 || status == 507 || (code && !strcmp(code, "device_unknown"));
}

static void refuse(struct import *im, const char *path, const struct api_answer *a) {
  const char *detail = json_text(a->json, "detail"), *code = json_text(a->json, "code");
  im->refused++;
  live_end(&im->live);
  if (!detail || !code)
    ctl_say(im->c, "%s : asaleed a refusé sans dire pourquoi (http_%d)", path, a->status);
  else
    ctl_say(im->c, "%s : %s (%s)", path, detail, code);
  if (a->json)
    api_json(im->c, a);
  if (about_all(a->status, code))
    im->stopped = CTL_REFUSED;
}

/* No answer: because of the file, because of Ctrl-C, or because of the daemon. */
static void no_answer(struct import *im, const char *path, const struct http_upload *u, int err) {
  if (u->err || err == -EINVAL) {
    im->unsent++;
    complain(im, "%s : %s", path,
             u->err == -ESTALE ? "le fichier a été modifié pendant l'envoi"
             : u->err          ? strerrordesc_np(-u->err)
                               : "le nom est trop long");
    return;
  }
  live_end(&im->live);
  im->unsent++;
  im->stopped = err == -ECANCELED ? CTL_REFUSED : api_unreached(im->c, err, true);
  if (err == -ECANCELED)
    ctl_say(im->c, "interrompu : %s n'est peut-être pas reçu", path);
}

/* True when the daemon has it. */
static bool send_one(struct import *im, size_t i, const char *path, struct sent *ret) {
  _buf_cleanup_ struct buf b = BUF_INIT(16384);
  _answer_cleanup_ struct api_answer a = {0};
  struct stat st;
  _fd_cleanup_ int fd = open_file(im, path, &st);
  if (fd < 0)
    return false;
  struct http_upload upload = {.fd = fd, .bytes = (uint64_t)st.st_size, .sent = on_sent, .userdata = im};
  struct api_request request = {
      .method = "POST", .target = files_target(im->c, path, &b), .upload = &upload, .quiet = true};
  snprintf(im->doing, sizeof im->doing, "%zu/%zu : %s, %s", i + 1, im->n, path, show_bytes(upload.bytes));
  if (!im->live.tty && !im->c->json && im->n > 1)
    live_print(&im->live, "Envoi %s", im->doing);
  int r = request.target ? api_call(im->c, &request, &a) : CTL_UNREACHED;
  im->before += upload.bytes;
  const char *id = json_text(a.json, "id");
  if (r == CTL_REFUSED)
    refuse(im, path, &a);
  else if (r != CTL_OK)
    no_answer(im, path, &upload, request.target ? a.err : -EINVAL);
  else if (!id || !str_copy(ret->id, sizeof ret->id, id))
    no_answer(im, path, &upload, -EPROTO);
  if (r != CTL_OK || !ret->id[0])
    return false;
  ret->path = path;
  ret->known = json_is_true(json_object_get(a.json, "known"));
  im->known += ret->known;
  if (ctl_option(im->c, "no-wait") && !api_json(im->c, &a))
    live_print(&im->live, "%s : %s%s", path, ret->known ? "déjà connu, " : "", ret->id);
  return true;
}

/* ---- what became of them ------------------------------------------------------------------------------------ */

/* "U-12, ECG du 22/11/2025 09:05": with a look into the tray. */
static void tell_unmatched(struct import *im, const struct sent *s, const char *item) {
  _answer_cleanup_ struct api_answer a = {0};
  char target[128];
  snprintf(target, sizeof target, "/v1/unmatched/%s", item);
  struct api_request request = {.method = "GET", .target = target, .quiet = true};
  bool found = api_call(im->c, &request, &a) == CTL_OK;
  const char *act = found ? say_modality(json_text(a.json, "act")) : NULL,
             *taken = found ? show_time(json_text(a.json, "taken")) : NULL;
  live_print(&im->live, "%s : %s%s%s%s%s%s, à attribuer", s->path, s->known ? "déjà connu, " : "", item,
             act ? ", " : "", act ? act : "", taken ? " du " : "", taken ? taken : "");
}

/* Tells of a file that is no longer waiting. */
static void tell(struct import *im, const struct sent *s, const struct api_answer *a) {
  const char *state = json_text(a->json, "state"), *item = json_text(a->json, "unmatched"),
             *study = json_text(a->json, "study"), *known = s->known ? "déjà connu, " : "";
  const json_t *failure = json_object_get(a->json, "failure");
  bool refused = state && !strcmp(state, "refused");
  im->refused += refused;
  if (refused)
    complain(im, "%s : %s%s (%s)", s->path, known,
             json_text(failure, "detail") ? json_text(failure, "detail") : "le fichier est refusé",
             json_text(failure, "code") ? json_text(failure, "code") : s->id);
  if (api_json(im->c, a) || refused)
    return;
  if (state && !strcmp(state, "unmatched") && item)
    tell_unmatched(im, s, item);
  else if (study)
    live_print(&im->live, "%s : %sexamen %s", s->path, known, study);
  else
    live_print(&im->live, "%s : %s%s, %s", s->path, known, s->id, state ? say_file(state) : "?");
}

static bool is_waiting(const json_t *file) {
  const char *state = json_text(file, "state");
  return state && (!strcmp(state, "waiting") || !strcmp(state, "decoding"));
}

/* Until the file is read, or the daemon is to be asked no more. */
static void wait_for(struct import *im, const struct sent *s) {
  char target[128];
  snprintf(target, sizeof target, "/v1/files/%s", s->id);
  for (;;) {
    _answer_cleanup_ struct api_answer a = {0};
    struct api_request request = {.method = "GET", .target = target, .quiet = true};
    int r = api_call(im->c, &request, &a);
    if (r == CTL_REFUSED)
      refuse(im, s->path, &a);
    else if (r == CTL_OK && !is_waiting(a.json))
      tell(im, s, &a);
    else if (r == CTL_OK && !ctl_pause(im->c, POLL_MS))
      continue;
    else if (r == CTL_OK || a.err == -ECANCELED)
      im->stopped = CTL_REFUSED;
    else
      im->stopped = api_unreached(im->c, a.err, false);
    return;
  }
}

static void wait_for_all(struct import *im, const struct sent *sent, size_t n) {
  if (im->live.tty && n)
    live_file(&im->live, 1, 1, "lecture…");
  for (size_t i = 0; i < n && im->stopped == CTL_OK; i++)
    wait_for(im, &sent[i]);
  live_end(&im->live);
  if (im->stopped != CTL_OK && n)
    ctl_say(im->c, "les fichiers reçus sont gardés ; ce qu'ils deviennent : asaleectl files");
}

static int verdict(const struct import *im) {
  if (im->stopped != CTL_OK)
    return im->stopped;
  return im->refused ? CTL_REFUSED : im->unsent ? CTL_USAGE : CTL_OK;
}

static void add_up(struct import *im) {
  for (size_t i = 0; i < im->n; i++) {
    struct stat st;
    if (stat(im->c->args[i], &st) == 0 && !unfit(&st))
      im->total += (uint64_t)st.st_size;
  }
}

int cmd_import(struct ctl *c) {
  struct import im = {.c = c};
  struct ctl_interrupt interrupt;
  while (c->args[im.n])
    im.n++;
  _free_cleanup_ struct sent *sent = calloc(im.n, sizeof *sent);
  if (!sent || ctl_interrupt_open(c, &interrupt) != CTL_OK)
    return CTL_REFUSED;
  c->client.wake_fd = interrupt.fd;
  live_init(&im.live, c->out, c->tty && !c->json);
  add_up(&im);
  size_t n = 0;
  for (size_t i = 0; i < im.n; i++) {
    if (im.stopped == CTL_OK)
      n += send_one(&im, i, c->args[i], &sent[n]);
    else
      im.unsent++;
  }
  if (ctl_option(c, "no-wait"))
    live_end(&im.live);
  else
    wait_for_all(&im, sent, n);
  if (im.n > 1 && !c->json)
    live_print(&im.live, "Reçus : %zu (déjà connus : %zu) ; refusés : %zu ; pas envoyés : %zu", n, im.known, im.refused,
               im.unsent);
  ctl_interrupt_close(c, &interrupt);
  return verdict(&im);
}
