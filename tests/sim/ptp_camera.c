#include "ptp_camera.h"

#include "calendar.h"
#include "hash.h"
#include "option.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX
#define CANCEL_US 20000u    /* how long a cancelled transaction takes to be over */
#define SLOW_PIECE_US 5000u /* slowed down, it speaks so often */
#define SLOW_IDLE_US 100000u
#define EVENT_ADDED 0x4002u
#define EVENT_COMPLETE 0x400Du
#define INTERRUPT_PACKET 64u
#define STORED_DEFAULT 4u
#define STORED_MAX 2000u

static const struct fault_kind kinds[PTP_FAULT_COUNT] = {
    [PTP_FAULT_NONE] = {"none", 0},
    [PTP_FAULT_BUSY] = {"busy", 1},
    [PTP_FAULT_SLOW] = {"slow", 500},
    [PTP_FAULT_EVENT_STORM] = {"event-storm", 300},
    [PTP_FAULT_LOST_EVENT] = {"lost-event", 0},
    [PTP_FAULT_VANISH] = {"vanish", 0},
    [PTP_FAULT_SHORT_OBJECT] = {"short-object", 0},
    [PTP_FAULT_LONG_OBJECT] = {"long-object", 1000},
    [PTP_FAULT_WRONG_LENGTH] = {"wrong-length", 0},
    [PTP_FAULT_WRONG_DATA_LENGTH] = {"wrong-data-length", 0},
    [PTP_FAULT_HUGE] = {"huge", 0},
    [PTP_FAULT_WRONG_TRANSACTION] = {"wrong-transaction", 0},
    [PTP_FAULT_STALL] = {"stall", 1},
    [PTP_FAULT_NO_ZLP] = {"no-zlp", 0},
    [PTP_FAULT_SPLIT_HEADER] = {"split-header", 0},
    [PTP_FAULT_NO_RESPONSE] = {"no-response", 0},
    [PTP_FAULT_HANG] = {"hang", 0},
};

/* ---- bytes ---- */

void ptp_put(struct ptp_out *out, const void *bytes, size_t n) {
  if (n == 0)
    return;
  if (out->n + n > out->room) {
    size_t room = 2 * (out->n + n);
    uint8_t *more = realloc(out->bytes, room);
    if (!more)
      abort();
    out->bytes = more;
    out->room = room;
  }
  memcpy(out->bytes + out->n, bytes, n);
  out->n += n;
}

static void put_number(struct ptp_out *out, uint64_t v, unsigned n) {
  uint8_t bytes[8];
  for (unsigned i = 0; i < n; i++)
    bytes[i] = (uint8_t)(v >> 8 * i);
  ptp_put(out, bytes, n);
}

void ptp_put8(struct ptp_out *out, unsigned v) {
  put_number(out, v, 1);
}

void ptp_put16(struct ptp_out *out, unsigned v) {
  put_number(out, v, 2);
}

void ptp_put32(struct ptp_out *out, uint32_t v) {
  put_number(out, v, 4);
}

void ptp_put64(struct ptp_out *out, uint64_t v) {
  put_number(out, v, 8);
}

/* A code point of at most three bytes; what is none comes as it is. */
static unsigned take_character(const char **text) {
  const uint8_t *p = (const uint8_t *)*text;
  unsigned more = p[0] >= 0xE0 && p[0] < 0xF0 ? 2 : p[0] >= 0xC0 && p[0] < 0xE0 ? 1 : 0, v = p[0];
  for (unsigned i = 1; i <= more; i++)
    if ((p[i] & 0xC0) != 0x80)
      more = 0;
  if (more)
    v &= more == 2 ? 0x0F : 0x1F;
  for (unsigned i = 1; i <= more; i++)
    v = v << 6 | (p[i] & 0x3F);
  *text += more + 1;
  return v;
}

void ptp_put_string(struct ptp_out *out, const char *utf8) {
  unsigned n = 0;
  for (const char *p = utf8; *p; n++)
    take_character(&p);
  ptp_put8(out, n ? n + 1 : 0);
  for (const char *p = utf8; *p;)
    ptp_put16(out, take_character(&p));
  if (n)
    ptp_put16(out, 0);
}

void ptp_put_date(struct ptp_out *out, int64_t local_us) {
  char text[20];
  struct tm t = calendar_show(local_us);
  strftime(text, sizeof(text), "%Y%m%dT%H%M%S", &t);
  ptp_put_string(out, text);
}

uint32_t ptp_get(const uint8_t *bytes, unsigned n) {
  uint32_t v = 0;
  for (unsigned i = n; i-- > 0;)
    v = v << 8 | bytes[i];
  return v;
}

static void header(uint8_t at[PTP_HEADER], uint32_t length, enum ptp_container type, uint16_t code,
                   uint32_t transaction) {
  const uint32_t low = (uint32_t)type | (uint32_t)code << 16, words[] = {length, low, transaction};
  for (unsigned i = 0; i < PTP_HEADER; i++)
    at[i] = (uint8_t)(words[i / 4] >> 8 * (i % 4));
}

/* ---- the answer ---- */

void ptp_respond(struct ptp_camera *c, uint16_t code, unsigned n, const uint32_t *parameters) {
  struct ptp_answer *a = &c->answer;
  uint32_t transaction = a->transaction;
  if (fault_strikes(&c->faults, PTP_FAULT_WRONG_TRANSACTION))
    transaction++;
  a->response_n = PTP_HEADER + 4 * n;
  header(a->response, (uint32_t)a->response_n, PTP_RESPONSE, code, transaction);
  for (unsigned i = 0; i < 4 * n; i++)
    a->response[PTP_HEADER + i] = (uint8_t)(parameters[i / 4] >> 8 * (i % 4));
  c->last_response = code;
}

struct ptp_out *ptp_data(struct ptp_camera *c) {
  c->answer.has_data = true;
  return &c->answer.own;
}

void ptp_send_object(struct ptp_camera *c, const struct ptp_object *o, size_t from, size_t n) {
  struct ptp_answer *a = &c->answer;
  a->has_data = a->is_object = true;
  a->data = o->bytes + from;
  a->n = n;
  c->counts.objects++;
}

/* What a fault makes of an object on its way. */
static void damage_object(struct ptp_camera *c) {
  struct ptp_answer *a = &c->answer;
  if (fault_strikes(&c->faults, PTP_FAULT_SHORT_OBJECT)) {
    a->n = a->n * 3 / 4;
    a->n -= a->n > 0 && (a->n + PTP_HEADER) % PTP_PACKET == 0; /* it ends there for everybody to see */
  }
  if (c->faults.on[PTP_FAULT_LONG_OBJECT]) {
    const uint8_t more = 0xAA;
    ptp_put(&a->own, a->data, a->n);
    for (unsigned i = 0; i < c->faults.arg[PTP_FAULT_LONG_OBJECT]; i++)
      ptp_put(&a->own, &more, 1);
    a->data = a->own.bytes;
    a->n = a->own.n;
  }
  if (fault_strikes(&c->faults, PTP_FAULT_STALL))
    a->stall_at = (a->n + PTP_HEADER) / 2 / PTP_PACKET * PTP_PACKET;
  if (c->faults.on[PTP_FAULT_WRONG_LENGTH])
    a->announced = c->faults.arg[PTP_FAULT_WRONG_LENGTH];
}

static void begin_answer(struct ptp_camera *c, const struct ptp_command *k) {
  struct ptp_answer *a = &c->answer;
  struct ptp_out own = {.bytes = a->own.bytes, .room = a->own.room};
  *a = (struct ptp_answer){.transaction = k->transaction, .own = own, .stall_at = SIZE_MAX};
}

static void end_answer(struct ptp_camera *c, const struct ptp_command *k) {
  struct ptp_answer *a = &c->answer;
  if (!a->is_object) {
    a->data = a->own.bytes;
    a->n = a->own.n;
  }
  a->announced = (uint32_t)(a->n + PTP_HEADER);
  if (a->is_object)
    damage_object(c);
  else if (c->faults.on[PTP_FAULT_WRONG_DATA_LENGTH])
    a->announced = c->faults.arg[PTP_FAULT_WRONG_DATA_LENGTH];
  header(c->packet, a->announced, PTP_DATA, k->operation, k->transaction);
  a->stage = a->has_data ? PTP_SAYS_DATA : PTP_SAYS_RESPONSE;
}

static void execute(struct ptp_camera *c, const struct ptp_command *k) {
  c->counts.commands++;
  c->stalled = false;
  begin_answer(c, k);
  if (c->now < c->busy_until || fault_strikes(&c->faults, PTP_FAULT_BUSY)) {
    if (c->session && k->transaction == c->next_transaction)
      c->next_transaction++;
    ptp_respond(c, PTP_BUSY, 0, NULL);
  } else if (c->recording) {
    ptp_recording_answer(c, k);
  } else {
    ptp_operate(c, k);
  }
  end_answer(c, k);
}

static void next_stage(struct ptp_camera *c, bool full) {
  struct ptp_answer *a = &c->answer;
  if (a->stage == PTP_SAYS_DATA && full && !c->faults.on[PTP_FAULT_NO_ZLP])
    a->stage = PTP_SAYS_EMPTY;
  else if (a->stage != PTP_SAYS_RESPONSE && !fault_strikes(&c->faults, PTP_FAULT_NO_RESPONSE))
    a->stage = PTP_SAYS_RESPONSE;
  else
    a->stage = PTP_SILENT;
}

/* The container's first packet is put together; all after it lies in the object already. */
static void say_data(struct ptp_camera *c, size_t max, struct sim_usb_piece *ret) {
  struct ptp_answer *a = &c->answer;
  size_t total = a->n + PTP_HEADER;
  if (a->sent >= a->stall_at) {
    *ret = (struct sim_usb_piece){.stall = true};
    a->stage = PTP_SILENT;
    c->stalled = true;
    return;
  }
  if (a->sent == 0) {
    size_t part = c->faults.on[PTP_FAULT_SPLIT_HEADER] ? 0 : PTP_PACKET - PTP_HEADER;
    part = part < a->n ? part : a->n;
    if (part)
      memcpy(c->packet + PTP_HEADER, a->data, part);
    *ret = (struct sim_usb_piece){.bytes = c->packet, .n = PTP_HEADER + part};
  } else {
    size_t n = total - a->sent;
    n = n < max ? n : max;
    if (a->stall_at - a->sent < n)
      n = a->stall_at - a->sent;
    *ret = (struct sim_usb_piece){.bytes = a->data + (a->sent - PTP_HEADER), .n = n};
  }
  a->sent += ret->n;
  if (a->sent == total)
    next_stage(c, ret->n % PTP_PACKET == 0);
}

/* How many of max bytes its pace allows by now, whole packets; 0: none yet. */
static size_t pace(struct ptp_camera *c, size_t max) {
  if (!c->faults.on[PTP_FAULT_SLOW])
    return max;
  uint64_t rate = c->faults.arg[PTP_FAULT_SLOW] * UINT64_C(1000), piece = rate * SLOW_PIECE_US / 1000000u;
  if (c->now > c->slow_since + c->slow_said * 1000000u / rate + SLOW_IDLE_US) { /* what it could have said is lost */
    c->slow_since = c->now;
    c->slow_said = 0;
  }
  piece = piece < PTP_PACKET ? PTP_PACKET : piece < max ? piece : max;
  uint64_t allowed = (c->now - c->slow_since) * rate / 1000000u + PTP_PACKET; /* the first packet at once */
  if (c->slow_said > 0 && allowed < c->slow_said + piece) {
    c->starved_until = c->slow_since + (c->slow_said + piece - PTP_PACKET) * 1000000u / rate + 1;
    return 0;
  }
  allowed = (allowed - c->slow_said) / PTP_PACKET * PTP_PACKET;
  return allowed < max ? (size_t)allowed : max;
}

static bool say_bulk(struct ptp_camera *c, size_t max, struct sim_usb_piece *ret) {
  if (c->answer.stage == PTP_SILENT && c->n_waiting) {
    struct ptp_command k = c->waiting[0];
    memmove(c->waiting, c->waiting + 1, --c->n_waiting * sizeof(*c->waiting));
    execute(c, &k);
  }
  if (c->hung || c->answer.stage == PTP_SILENT || max == 0 || (max = pace(c, max)) == 0)
    return false;
  if (c->faults.on[PTP_FAULT_HANG] && max > c->hang_left)
    max = (size_t)(c->hang_left + PTP_PACKET - 1) / PTP_PACKET * PTP_PACKET;
  if (max == 0) {
    c->hung = true;
    return false;
  }
  switch (c->answer.stage) {
  case PTP_SILENT:
    return false;
  case PTP_SAYS_DATA:
    say_data(c, max, ret);
    break;
  case PTP_SAYS_EMPTY:
    *ret = (struct sim_usb_piece){0};
    next_stage(c, false);
    break;
  case PTP_SAYS_RESPONSE:
    *ret = (struct sim_usb_piece){.bytes = c->answer.response, .n = c->answer.response_n};
    next_stage(c, false);
    break;
  }
  c->counts.bytes += ret->n;
  c->slow_said += c->faults.on[PTP_FAULT_SLOW] ? ret->n : 0;
  c->hang_left -= ret->n < c->hang_left ? ret->n : c->hang_left;
  return true;
}

/* ---- events ---- */

void ptp_push_event(struct ptp_camera *c, const struct ptp_event *event) {
  if (!c->session || c->n_events == PTP_EVENTS)
    return;
  c->last_event = *event;
  c->counts.events++;
  if (c->interrupt)
    c->events[c->n_events++] = *event;
}

static void begin_event(struct ptp_camera *c) {
  const struct ptp_event e = c->events[0];
  memmove(c->events, c->events + 1, --c->n_events * sizeof(*c->events));
  c->event_n = PTP_HEADER + 4 * e.n;
  c->event_said = 0;
  header(c->event_bytes, c->event_n, PTP_EVENT, e.code, PTP_ANY);
  for (unsigned i = 0; i < 4 * e.n; i++)
    c->event_bytes[PTP_HEADER + i] = (uint8_t)(e.parameters[i / 4] >> 8 * (i % 4));
}

static bool say_event(struct ptp_camera *c, size_t max, struct sim_usb_piece *ret) {
  if (c->hung || max == 0)
    return false;
  if (c->event_ends) {
    c->event_ends = false;
    *ret = (struct sim_usb_piece){0};
    return true;
  }
  if (c->event_said == c->event_n && c->n_events == 0)
    return false;
  if (c->event_said == c->event_n)
    begin_event(c);
  size_t n = c->event_n - c->event_said;
  n = n < max ? n : max;
  *ret = (struct sim_usb_piece){.bytes = c->event_bytes + c->event_said, .n = n};
  c->event_said += (unsigned)n;
  c->event_ends = c->event_said == c->event_n && n % c->interrupt == 0 && !c->faults.on[PTP_FAULT_NO_ZLP];
  return true;
}

static void storm(struct ptp_camera *c, unsigned from, unsigned to) {
  const struct ptp_event kinds_of_it[] = {{0x4006, {0x5001}, 1},
                                          {0x4006, {0x5011}, 1},
                                          {0x400C, {ptp_store_id(0)}, 1},
                                          {0x4007, {c->store.objects[0]->handle}, 1},
                                          {0x4008, {0}, 0}};
  for (unsigned i = from; i < to; i++) {
    if (c->eos)
      ptp_eos_property_changed(c, i);
    else
      ptp_push_event(c, &kinds_of_it[i % (sizeof(kinds_of_it) / sizeof(*kinds_of_it))]);
  }
}

static void announce(struct ptp_camera *c, struct ptp_object *const made[2]) {
  unsigned others = c->faults.on[PTP_FAULT_EVENT_STORM] ? c->faults.arg[PTP_FAULT_EVENT_STORM] : 0;
  storm(c, 0, others / 2);
  if (!fault_strikes(&c->faults, PTP_FAULT_LOST_EVENT)) {
    for (unsigned i = 0; i < 2 && made[i]; i++) {
      if (c->eos)
        ptp_eos_object_added(c, made[i]);
      else
        ptp_push_event(c, &(struct ptp_event){EVENT_ADDED, {made[i]->handle}, 1});
    }
  }
  storm(c, others / 2, others);
  if (!c->eos)
    ptp_push_event(c, &(struct ptp_event){EVENT_COMPLETE, {PTP_ANY}, 1});
}

/* ---- session ---- */

void ptp_open_session(struct ptp_camera *c, uint32_t id) {
  c->session = id;
  c->next_transaction = 1;
  c->counts.sessions++;
  if (c->auto_us && c->auto_shots)
    c->auto_at = c->now + c->auto_us;
}

void ptp_close_session(struct ptp_camera *c) {
  c->session = 0;
  c->n_events = c->event_n = c->event_said = 0;
  c->event_ends = false;
  c->eos_events.n = 0;
  c->eos_remote = c->eos_event_mode = false;
  c->auto_at = NEVER;
}

void ptp_cancel(struct ptp_camera *c, uint32_t transaction) {
  c->counts.cancels++;
  if (c->hung || c->answer.stage == PTP_SILENT || c->answer.transaction != transaction)
    return;
  c->answer.stage = PTP_SILENT;
  c->busy_until = c->now + CANCEL_US;
}

void ptp_reset(struct ptp_camera *c) {
  ptp_close_session(c);
  c->answer.stage = PTP_SILENT;
  c->n_waiting = 0;
  c->busy_until = 0;
  c->stalled = false;
  c->last_event.code = 0;
  if (c->hung)
    c->faults.on[PTP_FAULT_HANG] = c->hung = false;
}

int64_t ptp_clock(const struct ptp_camera *c) {
  return c->local_us + (int64_t)c->now;
}

/* ---- shots ---- */

/* The protocol's views, again and again. */
static void choose_view(const struct ptp_camera *c, struct fundus_options *o) {
  o->left = c->store.shots & 2;
  o->disc = c->store.shots & 1;
}

static int shoot(struct ptp_camera *c, struct ptp_shot *shot, struct ptp_object *made[2]) {
  shot->unlisted = c->eos == PTP_EOS_HOST && c->session && c->eos_event_mode;
  int r = ptp_store_shoot(&c->store, shot, ptp_clock(c), made);
  if (r == 0)
    announce(c, made);
  return r;
}

static void let_time_pass(struct ptp_camera *c, uint64_t now_us) {
  c->now = now_us;
  c->starved_until = 0;
  while (c->auto_at <= c->now && c->auto_shots > 0) {
    struct ptp_shot shot = {.picture = {.width = c->width, .height = c->height}};
    struct ptp_object *made[2];
    choose_view(c, &shot.picture);
    shoot(c, &shot, made);
    c->auto_at = --c->auto_shots ? c->auto_at + c->auto_us : NEVER;
  }
}

static bool is_size(unsigned width, unsigned height) {
  return width >= FUNDUS_SIDE_MIN && width <= FUNDUS_WIDTH_MAX && height >= FUNDUS_SIDE_MIN &&
         height <= FUNDUS_HEIGHT_MAX;
}

/* A word of the command; false: unknown. */
static bool choose_word(struct ptp_shot *shot, const char *word, bool *view) {
  struct fundus_options *o = &shot->picture;
  bool is_view = true;
  uint64_t ago_us;
  if (strcmp(word, "right") == 0 || strcmp(word, "left") == 0)
    o->left = *word == 'l';
  else if (strcmp(word, "macula") == 0 || strcmp(word, "disc") == 0)
    o->disc = *word == 'd';
  else
    is_view = false;
  *view = *view || is_view;
  if (is_view)
    return true;
  if (strcmp(word, "dark") == 0)
    o->quality = FUNDUS_DARK;
  else if (strcmp(word, "bright") == 0)
    o->quality = FUNDUS_BRIGHT;
  else if (strcmp(word, "blurred") == 0)
    o->quality = FUNDUS_BLURRED;
  else if (strcmp(word, "progressive") == 0)
    o->progressive = true;
  else if (strcmp(word, "raw+jpeg") == 0)
    shot->raw = true;
  else if (strcmp(word, "card2") == 0)
    shot->card = 1;
  else if (strncmp(word, "ago=", 4) == 0 && option_seconds(word + 4, &ago_us))
    shot->ago_us = (int64_t)ago_us;
  else
    return false;
  return true;
}

static bool choose(struct ptp_camera *c, const char *text, struct ptp_shot *shot) {
  char words[512], *rest = words, *word;
  unsigned numbers = 0;
  uint64_t size[2] = {c->width, c->height};
  bool view = false;
  snprintf(words, sizeof(words), "%s", text);
  while ((word = strsep(&rest, " "))) {
    bool good = *word == '\0' || choose_word(shot, word, &view);
    if (!good && (numbers == 2 || !option_number(word, FUNDUS_WIDTH_MAX, &size[numbers++])))
      return false;
  }
  shot->picture.width = (unsigned)size[0];
  shot->picture.height = (unsigned)size[1];
  if (!view)
    choose_view(c, &shot->picture);
  return numbers != 1 && is_size(shot->picture.width, shot->picture.height) && shot->card < c->store.storages;
}

static void describe_object(const struct ptp_object *o, char answer[static 256]) {
  char hash[HASH_TEXT];
  hash_sha256_text(o->bytes, o->n, hash);
  snprintf(answer, 256, "name=%.60s handle=0x%08X size=%zu sha=%s", o->name, o->handle, o->n, hash);
}

static int command_shoot(struct ptp_camera *c, const char *text, char answer[static 256]) {
  struct ptp_shot shot = {0};
  struct ptp_object *made[2];
  if (strncmp(text, "file ", 5) == 0)
    shot.path = text + 5;
  else if (!choose(c, text, &shot)) {
    snprintf(
        answer, 256,
        "shoot [W H] [right|left] [macula|disc] [dark|bright|blurred] [progressive] [raw+jpeg] [card2] [ago=SECONDS]");
    return -EINVAL;
  }
  int r = c->recording ? -EINVAL : shoot(c, &shot, made);
  if (r < 0) {
    snprintf(answer, 256, "%s", c->recording ? "a recording shoots nothing" : strerror(-r));
    return -EINVAL;
  }
  describe_object(made[0], answer);
  if (made[1]) {
    char hash[HASH_TEXT];
    size_t n = strlen(answer);
    hash_sha256_text(made[1]->bytes, made[1]->n, hash);
    snprintf(answer + n, 256 - n, " raw=%s", hash);
  }
  return 0;
}

static int command_sha(struct ptp_camera *c, const char *text, char answer[static 256]) {
  uint64_t n = 0;
  const struct ptp_object *o =
      option_number(text, PTP_PICTURES_MAX, &n) ? ptp_store_shot(&c->store, (unsigned)n) : NULL;
  if (!o) {
    snprintf(answer, 256, "no such shot");
    return -EINVAL;
  }
  describe_object(o, answer);
  return 0;
}

static int command(void *camera, uint64_t now_us, const char *text, char answer[static 256]) {
  struct ptp_camera *c = camera;
  let_time_pass(c, now_us);
  *answer = '\0';
  if (strcmp(text, "shoot") == 0 || strncmp(text, "shoot ", 6) == 0)
    return command_shoot(c, text + 5 + (text[5] == ' '), answer);
  if (strncmp(text, "sha ", 4) == 0)
    return command_sha(c, text + 4, answer);
  snprintf(answer, 256, "unknown command");
  return -EINVAL;
}

/* ---- what the host says ---- */

static void receive(void *camera, uint64_t now_us, const uint8_t *bytes, size_t n) {
  struct ptp_camera *c = camera;
  let_time_pass(c, now_us);
  bool whole = n >= PTP_HEADER && ptp_get(bytes, 4) == n && n % 4 == 0 && n <= PTP_HEADER + 4 * PTP_PARAMETERS;
  if (!whole || ptp_get(bytes + 4, 2) != PTP_COMMAND || c->n_waiting == sizeof(c->waiting) / sizeof(*c->waiting)) {
    c->counts.bad++;
    return;
  }
  struct ptp_command k = {.operation = (uint16_t)ptp_get(bytes + 6, 2), .transaction = ptp_get(bytes + 8, 4)};
  for (size_t at = PTP_HEADER; at < n; at += 4)
    k.parameters[k.n++] = ptp_get(bytes + at, 4);
  if (!c->hung)
    c->waiting[c->n_waiting++] = k;
}

bool ptp_say(void *camera, uint64_t now_us, uint8_t endpoint, size_t max, struct sim_usb_piece *ret) {
  struct ptp_camera *c = camera;
  let_time_pass(c, now_us);
  return endpoint == sim_ptp_usb.in ? say_bulk(c, max, ret) : say_event(c, max, ret);
}

static size_t transmit(void *camera, uint64_t now_us, uint8_t *bytes, size_t max) {
  struct sim_usb_piece piece;
  if (!ptp_say(camera, now_us, sim_ptp_usb.in, max / PTP_PACKET * PTP_PACKET, &piece) || piece.stall)
    return 0;
  if (piece.n)
    memcpy(bytes, piece.bytes, piece.n);
  return piece.n;
}

static uint64_t next_us(const void *camera) {
  const struct ptp_camera *c = camera;
  uint64_t next = c->auto_shots ? c->auto_at : NEVER;
  return c->starved_until && c->starved_until < next ? c->starved_until : next;
}

static void line_closed(void *camera, uint64_t now_us) {
  (void)camera; /* a device does not see it */
  (void)now_us;
}

static void power_on(void *camera, uint64_t now_us) {
  struct ptp_camera *c = camera;
  let_time_pass(c, now_us);
  ptp_reset(c);
}

/* ---- life ---- */

static int set_fault(void *camera, const char *text) {
  struct ptp_camera *c = camera;
  int fault = fault_set(&c->faults, text);
  if (fault == PTP_FAULT_HANG)
    c->hang_left = c->faults.arg[PTP_FAULT_HANG];
  return fault < 0 ? fault : 0;
}

static size_t stats(const void *camera, char *text, size_t size) {
  const struct ptp_camera *c = camera;
  int n = snprintf(
      text, size,
      "sessions=%llu commands=%llu bad=%llu objects=%llu bytes=%llu deletes=%llu cancels=%llu resets=%llu "
      "events=%llu waiting=%u shots=%u session=%u remote=%d response=%04x",
      (unsigned long long)c->counts.sessions, (unsigned long long)c->counts.commands, (unsigned long long)c->counts.bad,
      (unsigned long long)c->counts.objects, (unsigned long long)c->counts.bytes, (unsigned long long)c->counts.deletes,
      (unsigned long long)c->counts.cancels, (unsigned long long)c->counts.resets, (unsigned long long)c->counts.events,
      c->n_events, c->store.shots, c->session, c->eos_remote, c->last_response);
  return n < 0 ? 0 : (size_t)n;
}

struct settings {
  uint64_t stored, storages, slow_us, speed;
  const char *recording;
};

static bool option_pair(const char *text, char between, bool hexadecimal, unsigned long max, unsigned long ret[2]) {
  char *end;
  ret[0] = strtoul(text, &end, hexadecimal ? 16 : 10);
  if (end == text || *end != between)
    return false;
  const char *second = end + 1;
  ret[1] = strtoul(second, &end, hexadecimal ? 16 : 10);
  return end != second && !*end && ret[0] <= max && ret[1] <= max;
}

static bool take_eos(struct ptp_camera *c, const char *value) {
  static const char *const names[] = {"no", "yes", "64", "host"};
  for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
    if (strcmp(value, names[i]) == 0) {
      c->eos = (enum ptp_eos)i;
      return true;
    }
  }
  return false;
}

static bool take_option(struct ptp_camera *c, struct settings *s, const struct option *o) {
  const char *v = o->value;
  unsigned long pair[2];
  uint64_t n = 0;
  unsigned speed;
  if (strcmp(o->key, "seed") == 0)
    return option_number(v, UINT64_MAX, &c->seed);
  if (strcmp(o->key, "stored") == 0)
    return option_number(v, STORED_MAX, &s->stored);
  if (strcmp(o->key, "storages") == 0)
    return option_number(v, PTP_STORAGES_MAX, &s->storages) && s->storages > 0;
  if (strcmp(o->key, "auto") == 0 && option_number(v, 1000000000, &n)) {
    c->auto_us = n * 1000;
    return true;
  }
  if (strcmp(o->key, "shots") == 0 && option_number(v, PTP_PICTURES_MAX, &n)) {
    c->auto_shots = (unsigned)n;
    return true;
  }
  if (strcmp(o->key, "slow") == 0)
    return option_seconds(v, &s->slow_us);
  if (strcmp(o->key, "speed") == 0 && option_speed(v, &speed)) {
    s->speed = speed ? speed : 10000;
    return true;
  }
  if (strcmp(o->key, "eos") == 0)
    return take_eos(c, v);
  if (strcmp(o->key, "interrupt") == 0) {
    c->interrupt = strcmp(v, "8") == 0 ? 8 : strcmp(v, "no") == 0 ? 0 : INTERRUPT_PACKET;
    return c->interrupt < INTERRUPT_PACKET || strcmp(v, "yes") == 0;
  }
  if (strcmp(o->key, "size") == 0 && option_pair(v, 'x', false, FUNDUS_WIDTH_MAX, pair)) {
    c->width = (unsigned)pair[0];
    c->height = (unsigned)pair[1];
    return is_size(c->width, c->height);
  }
  if (strcmp(o->key, "ids") == 0 && option_pair(v, ':', true, 0xFFFF, pair)) {
    c->vendor = (uint16_t)pair[0];
    c->product = (uint16_t)pair[1];
    return true;
  }
  return false;
}

static bool take_options(struct ptp_camera *c, struct settings *s, const char *options, char why[static 256]) {
  struct option o;
  int r;
  while ((r = option_next(&options, &o)) > 0) {
    if (strcmp(o.key, "recording") == 0) {
      ptp_recording_close(c->recording);
      c->recording = ptp_recording_open(o.value, why);
      if (!c->recording)
        return false;
    } else if (!take_option(c, s, &o)) {
      snprintf(why, 256, "bad option %.30s=%.100s", o.key, o.value);
      return false;
    }
  }
  if (r < 0)
    snprintf(why, 256, "'%.100s' is not key=value", options);
  return r == 0;
}

static void destroy(void *camera) {
  struct ptp_camera *c = camera;
  if (!c)
    return;
  ptp_store_finish(&c->store);
  ptp_recording_close(c->recording);
  free(c->answer.own.bytes);
  free(c->eos_events.bytes);
  free(c->events);
  free(c);
}

static void *create(const char *options, int64_t local_us, char why[static 256]) {
  struct settings s = {.stored = STORED_DEFAULT, .storages = 1, .speed = 1};
  struct ptp_camera *c = calloc(1, sizeof(*c));
  if (!c || hash_open() < 0 || !(c->events = calloc(PTP_EVENTS, sizeof(*c->events)))) {
    snprintf(why, 256, "no memory");
    destroy(c);
    return NULL;
  }
  c->seed = 1;
  c->width = 3000;
  c->height = 2000;
  c->auto_shots = 4;
  c->auto_at = NEVER;
  c->interrupt = INTERRUPT_PACKET;
  c->vendor = 0x1209;
  c->product = 0x0003;
  c->faults = (struct faults){.kinds = kinds, .count = PTP_FAULT_COUNT};
  snprintf(c->serial, sizeof(c->serial), "SIM00001");
  if (!take_options(c, &s, options, why)) {
    destroy(c);
    return NULL;
  }
  c->auto_us = c->auto_us ? c->auto_us / s.speed + 1 : 0;
  c->local_us = local_us - (int64_t)s.slow_us;
  int r = ptp_store_init(&c->store, (unsigned)s.storages, (unsigned)s.stored, c->seed, c->local_us);
  if (r < 0) {
    snprintf(why, 256, "%s", strerror(-r));
    destroy(c);
    return NULL;
  }
  return c;
}

const struct sim_engine sim_ptp = {
    .name = "ptp",
    .bus = SIM_USB,
    .help =
        "retinograph on a camera body, PTP (ISO 15740)\n"
        "  seed=N           of the pictures (1)\n"
        "  stored=N         old pictures on the cards (4)\n"
        "  storages=1|2     cards (1)\n"
        "  size=WxH         of what it shoots, up to 6000x4000 (3000x2000)\n"
        "  auto=MS          shoots by itself, MS after a session was opened and each MS from then on: right macula,\n"
        "                   right disc, left macula, left disc, again\n"
        "  shots=N          so many by itself (4)\n"
        "  slow=SECONDS     its clock is slow by so much\n"
        "  eos=no|yes|64|host  Canon EOS body: ObjectAddedEx, ObjectAddedEx64, RequestObjectTransfer\n"
        "  interrupt=yes|no|8  has the endpoint; its packets have 64 bytes, or 8\n"
        "  ids=VVVV:PPPP    (1209:0003)\n"
        "  recording=FILE   answers as the camera of a umockdev ioctl recording\n"
        "  commands: shoot [W H] [right|left] [macula|disc] [dark|bright|blurred] [progressive] [raw+jpeg] [card2]\n"
        "            [ago=SECONDS], shoot file PATH, sha N\n"
        "  faults: busy:N slow:KBPS event-storm:N lost-event[:N] vanish[:N] short-object[:N] long-object:BYTES\n"
        "          wrong-length:V wrong-data-length:V huge wrong-transaction[:N] stall:N no-zlp split-header\n"
        "          no-response[:N] hang[:BYTES]\n",
    .create = create,
    .destroy = destroy,
    .power_on = power_on,
    .fault = set_fault,
    .command = command,
    .stats = stats,
    .receive = receive,
    .transmit = transmit,
    .next_us = next_us,
    .line_closed = line_closed,
};
