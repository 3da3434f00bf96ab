/* files, file: what the daemon has of the files that it was given. media: a memory stick that belongs to an instrument.
 */
#include "ctl.h"

#include "hash.h"
#include "live.h"
#include "str.h"
#include <errno.h>
#include <string.h>

#define POLL_MS 500
#define IDLE_POLLS 20 /* a copy that does not begin for so long will not */

static void add_file(struct table *t, const json_t *f) {
  int64_t bytes;
  const char *item = json_text(f, "unmatched"), *study = json_text(f, "study"),
             *failure = json_text(json_object_get(f, "failure"), "code");
  table_add(t, json_text(f, "id"));
  table_add(t, show_time(json_text(f, "at")));
  table_add(t, json_int(f, "bytes", 0, INT64_MAX, &bytes) == 0 ? show_bytes((uint64_t)bytes) : NULL);
  table_add(t, say_source(json_text(f, "source")));
  table_add(t, json_text(f, "by"));
  table_add(t, json_text(f, "device"));
  table_add(t, json_text(f, "name"));
  table_add(t, say_file(json_text(f, "state")));
  table_add(t, study ? study : failure ? failure : item);
}

int cmd_files(struct ctl *c) {
  static const char *const heads[] = {"Fichier",  "Reçu le", "Taille", "Origine", "Par",
                                      "Appareil", "Nom",     "État",   "Suite",   NULL};
  const char *state = ctl_option(c, "state");
  char target[128];
  struct table t;
  bool more = false;
  snprintf(target, sizeof target, "/v1/files%s%s", state ? "?state=" : "", state ? state : "");
  table_init(&t, heads);
  int r = api_pages(c, target, ctl_number(c, "limit", 50), add_file, &t, &more);
  return print_list(c, &t, r, more, "Aucun fichier.");
}

static void print_file(FILE *f, const json_t *file) {
  const json_t *failure = json_object_get(file, "failure");
  int64_t bytes;
  print_field(f, "Fichier", json_text(file, "id"));
  print_field(f, "Reçu le", show_time(json_text(file, "at")));
  print_field(f, "Origine", say_source(json_text(file, "source")));
  print_field(f, "Par", json_text(file, "by"));
  print_field(f, "Appareil", json_text(file, "device"));
  if (json_text(file, "name"))
    print_field(f, "Nom", json_text(file, "name"));
  print_field(f, "Taille", json_int(file, "bytes", 0, INT64_MAX, &bytes) == 0 ? show_bytes((uint64_t)bytes) : NULL);
  if (json_text(file, "sha256"))
    print_field(f, "Empreinte", json_text(file, "sha256"));
  print_field(f, "État", say_file(json_text(file, "state")));
  if (json_is_object(failure))
    print_fieldf(f, "Échec", "%s (%s)", json_text(failure, "detail") ? json_text(failure, "detail") : "?",
                 json_text(failure, "code") ? json_text(failure, "code") : "?");
  if (json_text(file, "unmatched"))
    print_field(f, "Mesure", json_text(file, "unmatched"));
  if (json_text(file, "study"))
    print_field(f, "Examen", json_text(file, "study"));
}

/* Written after comparing it with its hash. */
static int save_file(struct ctl *c, const char *expected, const char *path) {
  _answer_cleanup_ struct api_answer a = {0};
  char target[128], hash[HASH_TEXT];
  snprintf(target, sizeof target, "/v1/files/%s/content", c->args[0]);
  struct api_request request = {.method = "GET", .target = target, .bytes = "application/octet-stream"};
  int r = api_call(c, &request, &a);
  if (r != CTL_OK)
    return r;
  hash_sha256_text(a.body.data, a.body.len, hash);
  if (!expected || strcmp(expected, hash) != 0) {
    ctl_say(c, "ce qui est arrivé de %s n'est pas ce fichier : rien n'est écrit (artefact_corrupt)", c->args[0]);
    return CTL_REFUSED;
  }
  r = ctl_write(c, path, a.body.data, a.body.len);
  if (r == CTL_OK && strcmp(path, "-") && !c->json)
    print_field(c->out, "Copie dans", path);
  return r;
}

int cmd_file(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  const char *path = ctl_option(c, "save");
  bool standard = path && !strcmp(path, "-");
  int r = path ? ctl_may_write(c, path) : CTL_OK;
  if (r == CTL_OK)
    r = api_get(c, &a, "/v1/files/%s", c->args[0]);
  if (r != CTL_OK)
    return r;
  if (!standard && !api_json(c, &a))
    print_file(c->out, a.json);
  return path ? save_file(c, json_text(a.json, "sha256"), path) : CTL_OK;
}

/* ---- a memory stick ----------------------------------------------------------------------------------------- */

static int64_t count(const json_t *media, const char *key) {
  int64_t n;
  return json_int(media, key, 0, INT32_MAX, &n) == 0 ? n : 0;
}

/* "ecg1, holter2" */
static void join_devices(const json_t *media, struct buf *b) {
  const json_t *devices = json_object_get(media, "devices");
  for (size_t i = 0; i < json_array_size(devices); i++) {
    const char *device = json_string_value(json_array_get(devices, i));
    buf_format(b, "%s%s", i ? ", " : "", device ? device : "?");
  }
}

static int check_media(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  _buf_cleanup_ struct buf devices = BUF_INIT(4096);
  char target[128];
  snprintf(target, sizeof target, "/v1/media/%s", c->args[0]);
  struct api_request request = {.method = "GET", .target = target, .quiet = true};
  int r = api_call(c, &request, &a);
  if (r == CTL_REFUSED && a.status == 404)
    ctl_say(c, "%s n'est la clé d'aucun appareil déclaré (not_found)", c->args[0]);
  else if (r != CTL_OK)
    r = r == CTL_REFUSED ? api_refused(c, &a) : api_unreached(c, a.err, false);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  join_devices(a.json, &devices);
  print_field(c->out, "Clé", c->args[0]);
  print_field(c->out, "Appareils", buf_cstr(&devices));
  print_field(c->out, "État", say_media(json_text(a.json, "state")));
  return CTL_OK;
}

/* How far the copy is; told when it moved. */
static void tell_media(struct ctl *c, struct live *l, const json_t *media, char told[static 256]) {
  char text[256];
  int64_t matching = count(media, "matching"), taken = count(media, "taken"), known = count(media, "known");
  snprintf(text, sizeof text, "%lld sur la clé, %lld copiés, %lld déjà connus", (long long)matching, (long long)taken,
           (long long)known);
  if (l->tty)
    live_file(l, taken + known, matching, text);
  else if (!c->json && strcmp(text, told) != 0)
    live_print(l, "Fichiers : %s", text);
  memcpy(told, text, sizeof text);
}

static int end_media(struct ctl *c, struct live *l, const struct api_answer *a, const char *told) {
  const json_t *failure = json_object_get(a->json, "failure");
  const char *state = json_text(a->json, "state"), *detail = json_text(failure, "detail"),
             *code = json_text(failure, "code");
  bool done = state && !strcmp(state, "done");
  bool on_terminal = l->drawn > 0;
  live_end(l);
  if (on_terminal)
    live_print(l, "Fichiers : %s", told);
  if (done && !c->json)
    live_print(l, "La copie est finie, la clé peut être retirée.");
  if (!done && detail && code)
    ctl_say(c, "%s (%s)", detail, code);
  else if (!done)
    ctl_say(c, "la copie n'a pas commencé");
  api_json(c, a);
  return done ? CTL_OK : CTL_REFUSED;
}

/* Until the copy has ended; *a has the last answer. */
static int follow_media(struct ctl *c, struct live *l, struct api_answer *a, char told[static 256]) {
  char target[128];
  snprintf(target, sizeof target, "/v1/media/%s", c->args[0]);
  for (int idle = 0;;) {
    const char *state = json_text(a->json, "state");
    tell_media(c, l, a->json, told);
    idle = state && !strcmp(state, "idle") ? idle + 1 : 0;
    if (!state || !strcmp(state, "done") || !strcmp(state, "failed") || idle > IDLE_POLLS)
      return CTL_OK;
    if (ctl_pause(c, POLL_MS)) {
      live_end(l);
      ctl_say(c, "interrompu ; la copie continue tant que la clé est branchée");
      return CTL_REFUSED;
    }
    api_answer_finish(a);
    struct api_request request = {.method = "GET", .target = target, .quiet = true};
    int r = api_call(c, &request, a);
    if (r == CTL_OK)
      continue;
    live_end(l);
    if (r == CTL_REFUSED && a->status == 404)
      ctl_say(c, "la clé a été retirée avant la fin de la copie");
    return r == CTL_REFUSED ? api_refused(c, a) : api_unreached(c, a->err, false);
  }
}

int cmd_media(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  char told[256] = "";
  struct live live;
  struct ctl_interrupt interrupt;
  if (ctl_option(c, "check"))
    return check_media(c);
  if (ctl_interrupt_open(c, &interrupt) != CTL_OK)
    return CTL_REFUSED;
  int r = api_post(c, json_pack("{s:s}", "name", c->args[0]), &a, "/v1/media");
  c->client.wake_fd = interrupt.fd;
  live_init(&live, c->out, c->tty && !c->json);
  if (r == CTL_OK)
    r = follow_media(c, &live, &a, told);
  if (r == CTL_OK)
    r = end_media(c, &live, &a, told);
  ctl_interrupt_close(c, &interrupt);
  return r;
}
