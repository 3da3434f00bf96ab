#include "vitalograph.h"
#include "calendar.h"
#include "fault.h"
#include "line.h"
#include "option.h"
#include "trial.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STX = 0x02, ETX = 0x03, ACK = 0x06, NAK = 0x15 };

#define ID_LEN 10u
#define PAYLOAD_MAX 72u
#define FRAME_MAX 512u
#define LONG_FRAME 300u /* payload of the fault */
#define RX_MAX 64u
#define MEMORY_MAX 32u /* blows; a full memory loses the oldest */
#define REPEATS_MAX 3u
#define LINE_BYTES_PER_S 960u /* 9600 baud 8N1 */
#define ANSWER_WAIT_US 3000000u
#define RESEND_WAIT_US 1000000u
#define STORED_APART_US 60000000

enum fault {
  FAULT_NONE,
  FAULT_SILENCE,
  FAULT_BABBLE,
  FAULT_BAD_CHECKSUM,
  FAULT_TRUNCATED_FRAME,
  FAULT_SHORT_FRAME,
  FAULT_LONG_FRAME,
  FAULT_NOISE,
  FAULT_CLOCK_2013,
  FAULT_NO_CLOCK,
  FAULT_SAME_TIME,
  FAULT_GARBAGE_LETTERS,
  FAULT_GARBAGE_SPACES,
  FAULT_GARBAGE_SIGN,
  FAULT_NAK,
  FAULT_RESEND,
  FAULT_WRONG_DEVICE,
  FAULT_COUNT
};

static const struct fault_kind kinds[FAULT_COUNT] = {
    [FAULT_NONE] = {"none", 0},
    [FAULT_SILENCE] = {"silence", 0},
    [FAULT_BABBLE] = {"babble", 0},
    [FAULT_BAD_CHECKSUM] = {"bad-checksum", 0},
    [FAULT_TRUNCATED_FRAME] = {"truncated-frame", 0},
    [FAULT_SHORT_FRAME] = {"short-frame", 0},
    [FAULT_LONG_FRAME] = {"long-frame", 0},
    [FAULT_NOISE] = {"noise", 16},
    [FAULT_CLOCK_2013] = {"clock-2013", 0},
    [FAULT_NO_CLOCK] = {"no-clock", 0},
    [FAULT_SAME_TIME] = {"same-time", 0},
    [FAULT_GARBAGE_LETTERS] = {"garbage-letters", 1},
    [FAULT_GARBAGE_SPACES] = {"garbage-spaces", 1},
    [FAULT_GARBAGE_SIGN] = {"garbage-sign", 1},
    [FAULT_NAK] = {"nak", 0},
    [FAULT_RESEND] = {"resend", 0},
    [FAULT_WRONG_DEVICE] = {"wrong-device", 0},
};

/* The numbers of a result, as they are sent. */
enum number {
  PEF,
  FEV075,
  FEV1,
  FEV6,
  RATIO,
  FEF,
  FEV1_BEST,
  PEF_BEST,
  FEV1_PERCENT,
  PEF_PERCENT,
  GREEN,
  YELLOW,
  ORANGE,
  BAD,
  SW,
  NUMBERS
};

static const char *const number_names[NUMBERS] = {"pef",   "fev075",    "fev1",     "fev6",  "ratio",
                                                  "fef",   "fev1-best", "pef-best", "fev1%", "pef%",
                                                  "green", "yellow",    "orange",   "bad",   "sw"};

static const enum number model_a[] = {FEV1, FEV6, RATIO, FEF, FEV1_BEST, FEV1_PERCENT, GREEN, YELLOW, ORANGE};
static const enum number model_b[] = {PEF,      FEV075,       FEV1,        FEV6,  RATIO,  FEF,   FEV1_BEST,
                                      PEF_BEST, FEV1_PERCENT, PEF_PERCENT, GREEN, YELLOW, ORANGE};

struct vitalograph {
  bool is_b;
  char id[ID_LEN + 1];
  uint64_t seed;
  unsigned speed; /* 0: no pace of the line */
  uint64_t auto_us;
  char manner[64]; /* of blows without a word of their own */
  unsigned stored; /* blows in memory when it is first switched on */

  struct faults faults;
  struct line line;
  struct own_clock clock;
  uint64_t now_us; /* of the latest call */

  unsigned bests[NUMBERS]; /* FEV1_BEST and PEF_BEST */
  char memory[MEMORY_MAX][PAYLOAD_MAX];
  unsigned memory_count;
  unsigned blow_count;
  struct blow_options blow;
  bool blown;
  int64_t last_time_us;

  bool open;
  uint64_t quiet_us;  /* opened, or last written to */
  bool waiting;       /* for the answer to the frame sent last */
  bool waiting_reply; /* that frame is the reply, not memory[0] */
  unsigned repeats;
  uint64_t answer_us; /* patience ends */
  bool given_up;
  char reply[PAYLOAD_MAX]; /* "" when there is none to send */
  unsigned frames_left;    /* until silence */

  char rx[RX_MAX];
  size_t rx_len;
  enum { RX_OUTSIDE, RX_PAYLOAD, RX_BCC } rx_state;
  uint8_t rx_bcc;

  uint64_t bytes_in, frames_out, frames_repeated, requests, requests_bad, acks, naks;
};

/* ---- clock ---- */

static int64_t clock_of(const struct vitalograph *v) {
  return own_clock_read(&v->clock, v->now_us);
}

static void write_time(char text[13], int64_t local_us) {
  struct tm t = calendar_show(local_us);
  snprintf(text, 13, "%02u%02u%02u%02u%02u%02u", (unsigned)t.tm_year % 100u, (unsigned)(t.tm_mon + 1) % 100u,
           (unsigned)t.tm_mday % 100u, (unsigned)t.tm_hour % 100u, (unsigned)t.tm_min % 100u,
           (unsigned)t.tm_sec % 100u);
}

static bool set_time(struct vitalograph *v, const char *digits) {
  int field[6];
  int64_t us;
  if (strlen(digits) != 12 || strspn(digits, "0123456789") != 12)
    return false;
  for (unsigned i = 0; i < 6; i++)
    field[i] = (digits[2 * i] - '0') * 10 + digits[2 * i + 1] - '0';
  if (!calendar_set(2000 + field[0], field[1], field[2], field[3], field[4], field[5], &us))
    return false;
  own_clock_adjust(&v->clock, v->now_us, us);
  return true;
}

/* ---- blows ---- */

static unsigned digits3(double value) {
  double rounded = floor(value + 0.5);
  return rounded > 999 ? 999 : rounded < 0 ? 0 : (unsigned)rounded;
}

static unsigned percent(unsigned value, unsigned of) {
  return of ? digits3(100.0 * value / of) : 0;
}

static void remember(struct vitalograph *v, const unsigned numbers[NUMBERS], int64_t local_us) {
  char time[13], payload[PAYLOAD_MAX];
  if (v->faults.on[FAULT_SAME_TIME] && v->last_time_us)
    local_us = v->last_time_us;
  v->last_time_us = local_us;
  write_time(time, local_us);
  int n = snprintf(payload, sizeof(payload), "FTD%s", v->id);
  const enum number *order = v->is_b ? model_b : model_a;
  unsigned count = v->is_b ? sizeof(model_b) / sizeof(model_b[0]) : sizeof(model_a) / sizeof(model_a[0]);
  for (unsigned i = 0; i < count; i++)
    n += snprintf(payload + n, sizeof(payload) - (size_t)n, "%03u", numbers[order[i]] % 1000u);
  snprintf(payload + n, sizeof(payload) - (size_t)n, "%s%u%03u", time, numbers[BAD] % 10u, numbers[SW] % 1000u);

  if (v->memory_count == MEMORY_MAX) {
    memmove(v->memory[0], v->memory[1], sizeof(v->memory) - sizeof(v->memory[0]));
    v->memory_count--;
    if (v->waiting && !v->waiting_reply)
      v->waiting = false; /* what was being sent is gone */
  }
  memcpy(v->memory[v->memory_count++], payload, sizeof(payload));
  v->given_up = false;
}

static void complete(const struct vitalograph *v, unsigned numbers[NUMBERS], const bool given[NUMBERS]) {
  const unsigned standard[NUMBERS] = {
      [RATIO] = percent(numbers[FEV1], numbers[FEV6]),
      [FEV1_BEST] = v->bests[FEV1_BEST],
      [PEF_BEST] = v->bests[PEF_BEST],
      [FEV1_PERCENT] = percent(numbers[FEV1], v->bests[FEV1_BEST]),
      [PEF_PERCENT] = percent(numbers[PEF], v->bests[PEF_BEST]),
      [GREEN] = 95,
      [YELLOW] = 90,
      [SW] = 923,
  };
  for (unsigned i = 0; i < NUMBERS; i++)
    if (!given[i])
      numbers[i] = standard[i];
}

/* What shows within the expiration; the rest no instrument of this kind can see. */
static bool seen_as_bad(enum blow_defect defect) {
  return defect != BLOW_CLEAN && defect != BLOW_BAD_ZERO && defect != BLOW_INCOMPLETE_INSPIRATION;
}

static int make_blow(struct vitalograph *v, const char *words, int64_t local_us) {
  unsigned numbers[NUMBERS] = {0};
  static const bool given[NUMBERS] = {
      [PEF] = true, [FEV075] = true, [FEV1] = true, [FEV6] = true, [FEF] = true, [BAD] = true};
  struct trial_values t;
  struct blow_options blow;
  if (!trial_choose(*words ? words : v->manner, v->seed, v->blow_count, &blow))
    return -EINVAL;
  int r = trial_measure(&blow, &t);
  if (r < 0)
    return r;
  v->blow = blow;
  v->blown = true;
  v->blow_count++;
  numbers[PEF] = digits3(60 * t.pef);
  numbers[FEV075] = digits3(100 * t.fev075);
  numbers[FEV1] = digits3(100 * t.fev1);
  numbers[FEV6] = digits3(100 * t.fev6);
  numbers[FEF] = digits3(100 * t.fef25_75);
  numbers[BAD] = seen_as_bad(blow.defect);
  complete(v, numbers, given);
  remember(v, numbers, local_us);
  return 0;
}

bool vitalograph_blow(const void *engine, struct blow_options *ret) {
  const struct vitalograph *v = engine;
  if (v->blown)
    *ret = v->blow;
  return v->blown;
}

/* "fev1=363 fev6=399": what the instrument has measured, as it sends it. */
static int make_result(struct vitalograph *v, const char *words) {
  unsigned numbers[NUMBERS] = {0};
  bool given[NUMBERS] = {0};
  while (*words) {
    size_t len = strcspn(words, " "), name = strcspn(words, "= ");
    char value[8] = "";
    uint64_t n;
    unsigned i = 0;
    while (i < NUMBERS && (strlen(number_names[i]) != name || memcmp(number_names[i], words, name) != 0))
      i++;
    if (i == NUMBERS || len < name + 2 || len - name > sizeof(value))
      return -EINVAL;
    memcpy(value, words + name + 1, len - name - 1);
    /* three digits with their zeroes, as on the wire: not octal */
    const char *digits = value + strspn(value, "0");
    if (!option_number(*digits ? digits : "0", i == BAD ? 9 : 999, &n))
      return -EINVAL;
    numbers[i] = (unsigned)n;
    given[i] = true;
    words += len + (words[len] == ' ');
  }
  complete(v, numbers, given);
  remember(v, numbers, clock_of(v));
  return 0;
}

/* ---- sending ---- */

static bool silent(const struct vitalograph *v) {
  return v->faults.on[FAULT_SILENCE] && v->frames_left == 0;
}

/* Where the field-th number after the identifier begins, and its length; the last for one too many. */
static size_t find_field(const struct vitalograph *v, unsigned field, size_t *ret_len) {
  unsigned numbers = v->is_b ? sizeof(model_b) / sizeof(model_b[0]) : sizeof(model_a) / sizeof(model_a[0]);
  size_t at = 3 + ID_LEN;
  for (unsigned i = 1;; i++) {
    *ret_len = i <= numbers ? 3 : i == numbers + 1 ? 12 : i == numbers + 2 ? 1 : 3;
    if (i >= field || i > numbers + 2)
      return at;
    at += *ret_len;
  }
}

static void spoil_field(const struct vitalograph *v, enum fault fault, char *payload) {
  size_t len, at;
  if (!v->faults.on[fault])
    return;
  at = find_field(v, v->faults.arg[fault], &len);
  if (fault == FAULT_GARBAGE_LETTERS)
    memset(payload + at, 'A', len);
  else if (fault == FAULT_GARBAGE_SPACES)
    memset(payload + at, ' ', len);
  else
    payload[at] = '-';
}

/* The payload as its faults have it. */
static size_t spoil_payload(struct vitalograph *v, const char *payload, char out[FRAME_MAX]) {
  size_t len = strlen(payload);
  memcpy(out, payload, len);
  if (payload[0] == 'F') {
    for (enum fault f = FAULT_GARBAGE_LETTERS; f <= FAULT_GARBAGE_SIGN; f++)
      spoil_field(v, f, out);
    if (v->faults.on[FAULT_WRONG_DEVICE])
      memcpy(out + 1, "XX", 2);
  }
  if (fault_strikes(&v->faults, FAULT_SHORT_FRAME))
    len--;
  if (fault_strikes(&v->faults, FAULT_LONG_FRAME)) {
    memset(out + len, '0', LONG_FRAME - len);
    len = LONG_FRAME;
  }
  return len;
}

static void send_frame(struct vitalograph *v, const char *payload) {
  char body[FRAME_MAX];
  uint8_t frame[FRAME_MAX + 3], bcc = 0;
  size_t len = spoil_payload(v, payload, body), n = 0;
  frame[n++] = STX;
  memcpy(frame + n, body, len);
  n += len;
  frame[n++] = ETX;
  for (size_t i = 0; i < n; i++)
    bcc ^= frame[i];
  frame[n++] = fault_strikes(&v->faults, FAULT_BAD_CHECKSUM) ? bcc ^ 0x20 : bcc;
  if (fault_strikes(&v->faults, FAULT_TRUNCATED_FRAME))
    n /= 2;
  if (v->faults.on[FAULT_NOISE])
    line_put_noise(&v->line, v->now_us, v->faults.arg[FAULT_NOISE]);
  line_put(&v->line, v->now_us, frame, n);
  v->frames_out++;
  if (v->frames_left > 0)
    v->frames_left--;
}

static void send_byte(struct vitalograph *v, uint8_t byte) {
  line_put(&v->line, v->now_us, &byte, 1);
}

static uint64_t scaled(const struct vitalograph *v, uint64_t us) {
  return us / (v->speed ? v->speed : 1);
}

static void wait_for_answer(struct vitalograph *v) {
  uint64_t end = line_end_us(&v->line);
  v->waiting = true;
  v->answer_us =
      (end > v->now_us ? end : v->now_us) + scaled(v, v->faults.on[FAULT_RESEND] ? RESEND_WAIT_US : ANSWER_WAIT_US);
}

static void give_up(struct vitalograph *v) {
  v->waiting = false;
  if (v->waiting_reply)
    v->reply[0] = '\0';
  else
    v->given_up = true;
}

static void repeat(struct vitalograph *v) {
  if (v->repeats == REPEATS_MAX && !v->faults.on[FAULT_RESEND]) {
    give_up(v);
    return;
  }
  v->repeats++;
  v->frames_repeated++;
  send_frame(v, v->waiting_reply ? v->reply : v->memory[0]);
  wait_for_answer(v);
}

static uint64_t auto_due_us(const struct vitalograph *v) {
  if (!v->auto_us || !v->open || v->waiting || v->memory_count > 0 || v->reply[0] || silent(v))
    return LINE_NEVER;
  return v->quiet_us + scaled(v, v->auto_us);
}

/* All that time brings. */
static void step(struct vitalograph *v) {
  if (!v->open || silent(v) || v->faults.on[FAULT_BABBLE])
    return;
  if (v->waiting && v->answer_us <= v->now_us)
    repeat(v);
  if (auto_due_us(v) <= v->now_us)
    make_blow(v, "", clock_of(v));
  if (v->waiting)
    return;
  v->waiting_reply = v->reply[0];
  if (v->waiting_reply || (v->memory_count > 0 && !v->given_up)) {
    v->repeats = 0;
    send_frame(v, v->waiting_reply ? v->reply : v->memory[0]);
    wait_for_answer(v);
  }
}

/* ---- hearing ---- */

static void hear_ack(struct vitalograph *v) {
  v->acks++;
  if (!v->waiting || v->faults.on[FAULT_RESEND])
    return;
  v->waiting = false;
  if (v->waiting_reply) {
    v->reply[0] = '\0';
  } else {
    v->memory_count--;
    memmove(v->memory[0], v->memory[1], v->memory_count * sizeof(v->memory[0]));
  }
}

static void hear_nak(struct vitalograph *v) {
  v->naks++;
  if (v->waiting)
    repeat(v);
}

/* False: not understood. */
static bool obey(struct vitalograph *v, const char *text) {
  if (strcmp(text, "GVGT") == 0) {
    char time[13];
    write_time(time, clock_of(v));
    snprintf(v->reply, sizeof(v->reply), "GVST%s", time);
  } else if (strncmp(text, "GVST", 4) == 0) {
    return set_time(v, text + 4);
  } else if (strcmp(text, "GVCM") == 0) {
    v->memory_count = 0;
    v->waiting = v->waiting && v->waiting_reply;
  } else if (strcmp(text, "GVRD") == 0) {
    memset(v->bests, 0, sizeof(v->bests));
  } else if (strcmp(text, "GVXR") != 0) {
    return false;
  }
  return true;
}

static void hear_request(struct vitalograph *v) {
  bool is_clock = strncmp(v->rx, "GVGT", 4) == 0 || strncmp(v->rx, "GVST", 4) == 0;
  v->requests++;
  if (!v->is_b || (is_clock && v->faults.on[FAULT_NO_CLOCK]))
    return;
  bool good = !v->faults.on[FAULT_NAK] && !v->faults.on[FAULT_WRONG_DEVICE] && obey(v, v->rx);
  send_byte(v, good ? ACK : NAK);
}

static void hear_byte(struct vitalograph *v, uint8_t byte) {
  if (v->rx_state == RX_BCC) {
    v->rx_state = RX_OUTSIDE;
    if ((v->rx_bcc ^ byte) == 0) {
      hear_request(v);
    } else {
      v->requests_bad++;
      if (v->is_b)
        send_byte(v, NAK);
    }
  } else if (byte == STX) {
    v->rx_state = RX_PAYLOAD;
    v->rx_len = 0;
    v->rx_bcc = STX;
  } else if (v->rx_state == RX_PAYLOAD) {
    v->rx_bcc ^= byte;
    if (byte == ETX) {
      v->rx[v->rx_len] = '\0';
      v->rx_state = RX_BCC;
    } else if (v->rx_len < RX_MAX - 1) {
      v->rx[v->rx_len++] = (char)byte;
    } else {
      v->rx_state = RX_OUTSIDE;
    }
  } else if (byte == ACK) {
    hear_ack(v);
  } else if (byte == NAK) {
    hear_nak(v);
  }
}

/* ---- the engine ---- */

/* Every call begins here: the first switches the instrument on. */
static void begin(struct vitalograph *v, uint64_t now_us) {
  v->now_us = now_us;
  bool first = own_clock_tick(&v->clock, now_us);
  for (unsigned i = first ? v->stored : 0; i > 0; i--)
    make_blow(v, "", clock_of(v) - (int64_t)i * STORED_APART_US);
}

static bool set_option(struct vitalograph *v, const struct option *o) {
  uint64_t n;
  struct blow_options blow;
  if (strcmp(o->key, "model") == 0) {
    v->is_b = strcmp(o->value, "b") == 0;
    return v->is_b || strcmp(o->value, "a") == 0;
  }
  if (strcmp(o->key, "id") == 0) {
    if (strlen(o->value) != ID_LEN || strspn(o->value, "0123456789") != ID_LEN)
      return false;
    memcpy(v->id, o->value, ID_LEN);
    return true;
  }
  if (strcmp(o->key, "clock") == 0)
    return own_clock_option(&v->clock, o->value);
  if (strcmp(o->key, "manner") == 0) {
    if (strlen(o->value) >= sizeof(v->manner) || !trial_choose(o->value, 0, 0, &blow))
      return false;
    strcpy(v->manner, o->value);
    return true;
  }
  if (strcmp(o->key, "speed") == 0)
    return option_speed(o->value, &v->speed);
  if (strcmp(o->key, "seed") == 0)
    return option_number(o->value, UINT64_MAX, &v->seed);
  if (strcmp(o->key, "auto") == 0) {
    if (!option_number(o->value, 3600000, &n))
      return false;
    v->auto_us = n * 1000;
    return true;
  }
  unsigned limit = strcmp(o->key, "records") == 0 ? MEMORY_MAX : 999;
  if (!option_number(o->value, limit, &n))
    return false;
  if (strcmp(o->key, "records") == 0)
    v->stored = (unsigned)n;
  else if (strcmp(o->key, "fev1-best") == 0)
    v->bests[FEV1_BEST] = (unsigned)n;
  else if (strcmp(o->key, "pef-best") == 0)
    v->bests[PEF_BEST] = (unsigned)n;
  else
    return false;
  return true;
}

static void destroy(void *engine) {
  struct vitalograph *v = engine;
  if (v)
    line_finish(&v->line);
  free(v);
}

static void *create(const char *options, int64_t local_us, char why[static 256]) {
  struct option option;
  int r;
  struct vitalograph *v = calloc(1, sizeof(*v));
  if (!v) {
    snprintf(why, 256, "no memory");
    return NULL;
  }
  *v = (struct vitalograph){.id = "0000129406",
                            .speed = 1,
                            .clock = {.start_us = local_us},
                            .faults = {.kinds = kinds, .count = FAULT_COUNT}};
  while ((r = option_next(&options, &option)) > 0 && set_option(v, &option))
    ;
  if (r > 0)
    snprintf(why, 256, "%s: unknown, or not with '%.100s'", option.key, option.value);
  else if (r < 0)
    snprintf(why, 256, "'%.100s' is not key=value", options);
  if (r != 0) {
    destroy(v);
    return NULL;
  }
  line_init(&v->line, LINE_BYTES_PER_S * v->speed, v->seed);
  return v;
}

static void line_closed(void *engine, uint64_t now_us) {
  struct vitalograph *v = engine;
  begin(v, now_us);
  v->open = v->waiting = v->given_up = false;
  v->reply[0] = '\0';
  v->rx_state = RX_OUTSIDE;
  line_clear(&v->line);
}

static void line_opened(void *engine, uint64_t now_us) {
  struct vitalograph *v = engine;
  begin(v, now_us);
  v->open = true;
  v->quiet_us = now_us;
  step(v);
}

/* It has a battery: what it has in memory stays, and its clock goes on. */
static void power_on(void *engine, uint64_t now_us) {
  struct vitalograph *v = engine;
  bool open = v->open;
  line_closed(v, now_us);
  if (open)
    line_opened(v, now_us);
}

static int set_fault(void *engine, const char *text) {
  struct vitalograph *v = engine;
  int fault = fault_set(&v->faults, text);
  if (fault < 0)
    return fault;
  if (fault == FAULT_SILENCE)
    v->frames_left = v->faults.arg[FAULT_SILENCE];
  if (fault == FAULT_CLOCK_2013)
    own_clock_lose(&v->clock);
  return 0;
}

static int command(void *engine, uint64_t now_us, const char *text, char answer[static 256]) {
  struct vitalograph *v = engine;
  int r = -EINVAL;
  begin(v, now_us);
  snprintf(answer, 256, "blow [PATTERN] [DEFECT], result NAME=DIGITS..., or clear");
  if (strncmp(text, "blow", 4) == 0 && (text[4] == ' ' || !text[4])) {
    r = make_blow(v, text + 4 + (text[4] == ' '), clock_of(v));
  } else if (strncmp(text, "result ", 7) == 0) {
    r = make_result(v, text + 7);
  } else if (strcmp(text, "clear") == 0) {
    r = obey(v, "GVCM") ? 0 : -EINVAL;
  }
  if (r == 0)
    answer[0] = '\0';
  step(v);
  return r;
}

static size_t stats(const void *engine, char *text, size_t size) {
  const struct vitalograph *v = engine;
  int n = snprintf(text, size,
                   "blows=%u stored=%u bytes_in=%llu frames_out=%llu frames_repeated=%llu requests=%llu "
                   "requests_bad=%llu acks=%llu naks=%llu",
                   v->blow_count, v->memory_count, (unsigned long long)v->bytes_in, (unsigned long long)v->frames_out,
                   (unsigned long long)v->frames_repeated, (unsigned long long)v->requests,
                   (unsigned long long)v->requests_bad, (unsigned long long)v->acks, (unsigned long long)v->naks);
  return n < 0 ? 0 : (size_t)n;
}

static void receive(void *engine, uint64_t now_us, const uint8_t *bytes, size_t n) {
  struct vitalograph *v = engine;
  begin(v, now_us);
  step(v);
  v->bytes_in += n;
  v->quiet_us = now_us;
  for (size_t i = 0; i < n && !silent(v) && !v->faults.on[FAULT_BABBLE]; i++)
    hear_byte(v, bytes[i]);
  step(v);
}

static size_t transmit(void *engine, uint64_t now_us, uint8_t *bytes, size_t max) {
  struct vitalograph *v = engine;
  begin(v, now_us);
  step(v);
  if (v->faults.on[FAULT_BABBLE] && v->line.len == 0)
    line_put_noise(&v->line, now_us, 64);
  return line_take(&v->line, now_us, bytes, max);
}

static uint64_t next_us(const void *engine) {
  const struct vitalograph *v = engine;
  uint64_t next = line_next_us(&v->line), due = auto_due_us(v);
  if (v->faults.on[FAULT_BABBLE])
    return v->line.len ? next : 0;
  if (silent(v) || !v->open)
    return next;
  if (v->waiting && v->answer_us < due)
    due = v->answer_us;
  return due < next ? due : next;
}

const struct sim_engine sim_vitalograph = {
    .name = "vitalograph",
    .bus = SIM_SERIAL,
    .help = "Vitalograph Lung Monitor, spirometer: sends each blow by itself, oldest first, when the port is open\n"
            "  model=a|b        56 or 68 characters a result (a); b also hears commands\n"
            "  id=DIGITS        ten (0000129406)\n"
            "  clock=TIME|host  its own clock at the start, as 2013-05-28T10:44:00 (host)\n"
            "  seed=N           the patient (0)\n"
            "  manner=WORDS     of blows: normal, obstructive or restrictive, and a defect of the manoeuvre\n"
            "  records=N        blows in its memory at the start, a minute apart, up to 32 (0)\n"
            "  auto=MS          a blow comes so long after the port was opened and last written to\n"
            "  fev1-best=N pef-best=N  personal bests, in 1/100 L and L/min (0: none)\n"
            "  commands: blow [PATTERN] [DEFECT], result NAME=DIGITS... (pef fev075 fev1 fev6 ratio fef fev1-best\n"
            "    pef-best fev1% pef% green yellow orange bad sw), clear\n"
            "  faults: silence:FRAMES babble bad-checksum:N truncated-frame:N short-frame:N long-frame:N (the next N\n"
            "    frames, all without N) noise:BYTES clock-2013 no-clock same-time garbage-letters:FIELD\n"
            "    garbage-spaces:FIELD garbage-sign:FIELD (1: the first number after the identifier) nak resend\n"
            "    wrong-device\n",
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
    .line_opened = line_opened,
};
