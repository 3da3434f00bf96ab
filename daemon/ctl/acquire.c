/* acquire: starts an acquisition and follows its events to the end. The daemon, not this program, runs it: a stream
 * that breaks is taken up again, and what ends the command is the study's state as GET tells it. */
#include "ctl.h"

#include "live.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define IDLE_US (UINT64_C(45) * 1000000) /* three of the comments that keep a stream alive were missed */
#define LOST_US (UINT64_C(90) * 1000000) /* without any answer for so long, the command gives up */
#define STEP_MS 100
#define PAUSE_MIN_MS 200
#define PAUSE_MAX_MS 5000

struct follow {
  struct ctl *c;
  struct live live;
  struct sse sse;
  json_t *before; /* the records there were, an array or NULL */
  char acquisition[64];
  char failure[512]; /* the last failure event's sentence, with its code */
  bool look;         /* an event says that it may have ended */
  bool cancelled;    /* the nurse asked for it, and the daemon agreed */
  bool interrupted;  /* the first Ctrl-C came */
  int signal_fd;
  bool ended;
  int result; /* enum ctl_exit, once ended */
};

/* ---- events ------------------------------------------------------------------------------------------------- */

static void on_identity(struct follow *f, const json_t *data) {
  const char *label = json_text(data, "label");
  live_print(&f->live, "Appareil : %s", label ? label : "reconnu");
}

/* The camera's thumbnail has come; the picture itself follows. */
static void on_picture(struct follow *f, const json_t *data) {
  int64_t number;
  if (json_int(data, "number", 1, UINT16_MAX, &number) == 0)
    live_print(&f->live, "Image %lld : prise, elle arrive.", (long long)number);
}

static void on_failure(struct follow *f, const json_t *data) {
  const char *detail = json_text(data, "detail"), *code = json_text(data, "code");
  if (detail && code)
    snprintf(f->failure, sizeof f->failure, "%s (%s)", detail, code);
  f->look = true;
}

static void print_event(struct follow *f, const char *name, const json_t *data) {
  _json_cleanup_ json_t *line = json_pack("{s:s, s:O}", "event", name, "data", data);
  char *text = json_dumps(line, JSON_COMPACT);
  if (text)
    print_json(f->c->out, text, strlen(text), f->c->tty);
  free(text);
  fflush(f->c->out);
}

static int on_event(void *userdata, const char *name, const char *text, size_t n) {
  struct follow *f = userdata;
  _json_cleanup_ json_t *data = json_loadb(text, n, JSON_REJECT_DUPLICATES, &(json_error_t){0});
  if (!json_is_object(data))
    return 0; /* the next one, and GET at the end, tell the same */
  const char *state = json_text(data, "state");
  bool ends = !strcmp(name, "state") && state && strcmp(state, "acquiring") != 0;
  f->look = f->look || ends;
  if (!strcmp(name, "failure"))
    on_failure(f, data);
  if (f->c->json)
    print_event(f, name, data);
  else if (!strcmp(name, "identity"))
    on_identity(f, data);
  else if (!strcmp(name, "progress"))
    live_progress(&f->live, data);
  else if (!strcmp(name, "picture"))
    on_picture(f, data);
  else if (!strcmp(name, "contacts"))
    live_contacts(&f->live, data);
  else if (!strcmp(name, "preview"))
    live_preview(&f->live, data);
  return 0;
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

static bool was_there(const struct follow *f, const char *id) {
  for (size_t i = 0; i < json_array_size(f->before); i++) {
    const char *other = json_text(json_array_get(f->before, i), "id");
    if (other && !strcmp(other, id))
      return true;
  }
  return false;
}

/* The record that this acquisition made; NULL. */
static const json_t *new_record(const struct follow *f, const json_t *study) {
  const json_t *records = json_object_get(study, "records");
  for (size_t i = 0; i < json_array_size(records); i++) {
    const json_t *record = json_array_get(records, i);
    const char *id = json_text(record, "id");
    if (id && !was_there(f, id))
      return record;
  }
  return NULL;
}

static void tell_acquired(struct follow *f, const json_t *study_json, const json_t *record) {
  const char *act = json_text(study_json, "act");
  bool clean = json_is_true(json_object_get(record, "clean"));
  const char *study = f->c->args[0];
  live_print(&f->live, "Enregistrement %s reçu%s.", json_text(record, "id"),
             clean ? "" : ", mais à vérifier avant de l'accepter");
  if (f->cancelled)
    live_print(&f->live, "Il était fini avant l'annulation.");
  if (act && !strcmp(act, "fundus"))
    live_print(&f->live, "Suite : asaleectl show %s, puis asaleectl label %s %s/1 ŒIL CHAMP", study, study,
               json_text(record, "id"));
  else
    live_print(&f->live, "Suite : asaleectl %s %s", clean ? "accept" : "show", study);
}

static void tell_failed(struct follow *f, const json_t *study) {
  const json_t *last = json_object_get(study, "last_failure");
  const char *detail = json_text(last, "detail"), *code = json_text(last, "code");
  if (detail && code)
    ctl_say(f->c, "%s (%s)", detail, code);
  else if (f->failure[0])
    ctl_say(f->c, "%s", f->failure);
  else
    ctl_say(f->c, "%s",
            f->cancelled ? "l'acquisition est annulée (acquisition_cancelled)"
                         : "l'acquisition s'est terminée sans enregistrement");
}

static void end(struct follow *f, int result) {
  live_end(&f->live);
  f->ended = true;
  f->result = result;
}

/* Asks for the study, and ends when the acquisition did. False when there was no answer. */
static bool look(struct follow *f) {
  _answer_cleanup_ struct api_answer a = {0};
  char target[128];
  snprintf(target, sizeof target, "/v1/studies/%s", f->c->args[0]);
  struct api_request request = {.method = "GET", .target = target, .quiet = true};
  int r = api_call(f->c, &request, &a);
  if (r == CTL_REFUSED && a.status < 500) {
    end(f, api_refused(f->c, &a));
    return true;
  }
  if (r != CTL_OK)
    return false;
  f->look = false;
  const char *state = json_text(a.json, "state"), *id = json_text(json_object_get(a.json, "acquisition"), "id");
  if (state && !strcmp(state, "acquiring") && (!id || !strcmp(id, f->acquisition)))
    return true;
  const json_t *record = new_record(f, a.json);
  bool acquired = record && state && strcmp(state, "ordered") != 0 && strcmp(state, "acquiring") != 0 &&
                  strcmp(state, "cancelled") != 0;
  end(f, acquired ? CTL_OK : CTL_REFUSED);
  if (!acquired)
    tell_failed(f, a.json);
  if (f->c->json)
    print_json(f->c->out, (const char *)a.body.data, a.body.len, f->c->tty);
  else if (acquired)
    tell_acquired(f, a.json, record);
  return true;
}

/* ---- Ctrl-C ------------------------------------------------------------------------------------------------- */

/* Without a reason the daemon cancels an acquisition and never a study: one that just ended stays as it is. */
static void cancel(struct follow *f) {
  _answer_cleanup_ struct api_answer a = {0};
  char target[128];
  snprintf(target, sizeof target, "/v1/studies/%s/cancel", f->c->args[0]);
  live_note(&f->live, "annulation en cours, l'appareil se libère");
  if (!f->c->json)
    live_print(&f->live, "Annulation demandée…");
  f->c->client.wake_fd = -1; /* this one answer is waited for */
  struct api_request request = {.method = "POST", .target = target, .body = json_object(), .quiet = true};
  int r = api_call(f->c, &request, &a);
  f->c->client.wake_fd = f->signal_fd;
  f->look = true;
  const char *code = json_text(a.json, "code");
  if (r == CTL_OK) {
    f->cancelled = true;
    return;
  }
  live_note(&f->live, NULL);
  if (r == CTL_REFUSED && !(code && (!strcmp(code, "wrong_state") || !strcmp(code, "missing_field")))) {
    live_end(&f->live);
    api_refused(f->c, &a);
    ctl_say(f->c, "l'acquisition continue ; Ctrl-C encore une fois arrête le suivi");
  } else if (r != CTL_REFUSED) {
    live_end(&f->live);
    ctl_say(f->c, "asaleed n'a pas répondu, l'annulation n'est pas sûre ; Ctrl-C encore une fois arrête le suivi");
  }
}

static void on_signal(struct follow *f) {
  struct signalfd_siginfo info;
  while (read(f->signal_fd, &info, sizeof info) == sizeof info)
    continue;
  if (!f->interrupted) {
    f->interrupted = true;
    cancel(f);
    return;
  }
  end(f, CTL_REFUSED);
  ctl_say(f->c, "l'acquisition n'est plus suivie%s ; son état : asaleectl show %s",
          f->cancelled ? ", son annulation continue" : "", f->c->args[0]);
}

/* Sleeps; a signal ends it. */
static void pause_for(struct follow *f, int ms) {
  struct pollfd wake = {.fd = f->signal_fd, .events = POLLIN};
  if (poll(&wake, 1, ms) > 0)
    on_signal(f);
}

/* ---- the stream --------------------------------------------------------------------------------------------- */

/* One connection, until it breaks or the acquisition ends. 0, or the error that broke it. */
static int follow_once(struct follow *f, uint64_t *heard_us) {
  struct http_conn conn;
  char authorization[600], target[128];
  snprintf(target, sizeof target, "/v1/studies/%s/events", f->c->args[0]);
  struct http_request r = {.method = "GET", .target = target};
  api_headers(f->c, &r, authorization);
  r.headers[3] = (struct http_header){"Accept", "text/event-stream"};
  r.headers[4] = (struct http_header){"Last-Event-ID", f->sse.last_id[0] ? f->sse.last_id : NULL};
  sse_restart(&f->sse);
  int err = http_connect(&conn, &f->c->client, &r, HTTP_JSON_MAX);
  explicit_bzero(authorization, sizeof authorization);
  conn.parser.sink = sse_feed;
  conn.parser.userdata = &f->sse;
  uint64_t since = monotonic_us();
  while (err >= 0 && !f->ended && conn.parser.state != HTTP_DONE) {
    err = http_step(&conn, STEP_MS);
    if (err == 1)
      since = *heard_us = monotonic_us();
    if (err == -ECANCELED) {
      on_signal(f);
      err = 0;
    }
    if (f->look && !f->ended)
      look(f);
    if (!f->ended && !f->c->json)
      live_draw(&f->live);
    if (monotonic_us() - since > IDLE_US)
      err = -ETIMEDOUT;
  }
  if (err == -ECANCELED)
    on_signal(f), err = 0;
  if (err >= 0 && !f->ended && conn.parser.state == HTTP_DONE && conn.parser.status != 200)
    err = -EPROTO; /* GET tells why */
  http_disconnect(&conn);
  return err < 0 ? err : 0;
}

static void follow(struct follow *f) {
  uint64_t heard = monotonic_us();
  int pause = PAUSE_MIN_MS;
  for (;;) {
    uint64_t before = heard;
    int err = follow_once(f, &heard);
    if (f->ended)
      return;
    if (look(f))
      heard = monotonic_us();
    if (f->ended)
      return;
    if (monotonic_us() - heard > LOST_US) {
      end(f, api_unreached(f->c, err ? err : -ECONNRESET, false));
      ctl_say(f->c, "l'acquisition continue peut-être sans être suivie ; son état : asaleectl show %s", f->c->args[0]);
      return;
    }
    pause = heard != before && !err ? PAUSE_MIN_MS : pause;
    pause_for(f, pause);
    if (f->ended)
      return;
    pause = pause * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause * 2;
  }
}

static int start(struct ctl *c, struct follow *f) {
  _answer_cleanup_ struct api_answer a = {0};
  json_t *body = json_pack("{s:s}", "device", ctl_option(c, "device"));
  if (ctl_option(c, "seconds"))
    json_object_set_new(body, "seconds", json_integer((json_int_t)ctl_number(c, "seconds", 0)));
  if (ctl_option(c, "phase"))
    json_object_set_new(body, "phase", json_string(ctl_option(c, "phase")));
  if (ctl_option(c, "pictures"))
    json_object_set_new(body, "pictures", json_integer((json_int_t)ctl_number(c, "pictures", 0)));
  if (ctl_option(c, "height"))
    json_object_set_new(body, "height_cm", json_string(ctl_option(c, "height")));
  int r = api_post(c, body, &a, "/v1/studies/%s/acquire", c->args[0]);
  if (r != CTL_OK)
    return r;
  const char *id = json_text(json_object_get(a.json, "acquisition"), "id");
  str_copy(f->acquisition, sizeof f->acquisition, id ? id : "");
  f->before = json_incref(json_object_get(a.json, "records"));
  if (!api_json(c, &a)) {
    live_print(&f->live, "Acquisition %s pour %s sur %s ; Ctrl-C annule.", id ? id : "", c->args[0],
               ctl_option(c, "device"));
    const char *act = json_text(a.json, "act");
    if (act && !strcmp(act, "fundus"))
      live_print(&f->live, "Prendre les images ; s'il n'en vient plus : asaleectl finish %s", c->args[0]);
    f->live.stale = true;
  }
  fflush(c->out);
  return CTL_OK;
}

int cmd_acquire(struct ctl *c) {
  struct follow *f = calloc(1, sizeof *f);
  struct ctl_interrupt interrupt; /* one that comes before the answer is kept for after it */
  if (!f || ctl_interrupt_open(c, &interrupt) != CTL_OK) {
    free(f);
    return CTL_REFUSED;
  }
  f->c = c;
  f->signal_fd = interrupt.fd;
  live_init(&f->live, c->out, c->tty && !c->json);
  sse_init(&f->sse, on_event, f);
  int r = start(c, f);
  if (r == CTL_OK) {
    c->client.wake_fd = interrupt.fd;
    follow(f);
    r = f->result;
  }
  json_decref(f->before);
  sse_finish(&f->sse);
  free(f);
  ctl_interrupt_close(c, &interrupt);
  return r;
}
