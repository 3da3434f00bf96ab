#include "sp80b.h"
#include "calendar.h"
#include "fault.h"
#include "line.h"
#include "option.h"
#include "trial.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  ASK_START = 0x80,
  ASK_VERSION = 0x82,
  ASK_SET_TIME = 0x83,
  ASK_SET_USER = 0x8B,
  ASK_COUNT = 0x90,
  ASK_RECORD = 0x91,
  ASK_WAVE = 0x92,
  ASK_DELETE = 0x93,
  ASK_PREDICTED = 0x94,

  SAY_COUNT = 0xE0,
  SAY_RECORD = 0xE1,
  SAY_WAVE = 0xE2,
  SAY_DONE = 0xE3,
  SAY_PREDICTED = 0xE4,
  SAY_START = 0xF0,
  SAY_VERSION = 0xF2,
  SAY_SET = 0xF3,

  RECORD_FIRST = 0x00,
  RECORD_NEXT = 0x01,
  RECORD_KEEP = 0x7E,
  RECORD_DELETE = 0x7F,

  STATUS_GOOD = 0,
  STATUS_BAD = 1,
};

#define RECORD_LEN 44u
#define WAVE_HEAD 5u
#define SAMPLE_LEN 8u
#define MEMORY_MAX 2000u
#define RX_MAX 16u
#define LINE_BYTES_PER_S 11520u /* 115200 baud 8N1 */
#define RESEND_WAIT_US 500000u
#define RECORDS_APART_US 120000000
#define BABBLE_BYTES 64u
#define NO_RECORD UINT_MAX

enum fault {
  FAULT_NONE,
  FAULT_SILENCE,
  FAULT_BABBLE,
  FAULT_BAD_CHECKSUM,
  FAULT_TRUNCATED_FRAME,
  FAULT_SHORT_FRAME,
  FAULT_LONG_FRAME,
  FAULT_HIGH_BIT,
  FAULT_NOISE,
  FAULT_CLOCK_2013,
  FAULT_NO_CLOCK,
  FAULT_SAME_TIME,
  FAULT_NAK,
  FAULT_RESEND,
  FAULT_WRONG_DEVICE,
  FAULT_FRAME_COUNT,
  FAULT_NUMBER_BACK,
  FAULT_CUT_WAVE,
  FAULT_NO_RECORDS,
  FAULT_MANY_RECORDS,
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
    [FAULT_HIGH_BIT] = {"high-bit", 0},
    [FAULT_NOISE] = {"noise", 16},
    [FAULT_CLOCK_2013] = {"clock-2013", 0},
    [FAULT_NO_CLOCK] = {"no-clock", 0},
    [FAULT_SAME_TIME] = {"same-time", 0},
    [FAULT_NAK] = {"nak", 0},
    [FAULT_RESEND] = {"resend", 0},
    [FAULT_WRONG_DEVICE] = {"wrong-device", 0},
    [FAULT_FRAME_COUNT] = {"frame-count", 10},
    [FAULT_NUMBER_BACK] = {"number-back", 0},
    [FAULT_CUT_WAVE] = {"cut-wave", 0},
    [FAULT_NO_RECORDS] = {"no-records", 0},
    [FAULT_MANY_RECORDS] = {"many-records", 1000},
};

struct user {
  uint8_t sex;      /* 0 male */
  uint8_t age;      /* years */
  uint16_t height;  /* cm */
  uint8_t standard; /* of the predicted values: 1 ECCS, 2 Knudson, 3 USA */
};

struct record {
  struct blow_options blow;
  int64_t local_us;
  unsigned number;
  struct user user;
};

struct sp80b {
  uint64_t seed;
  unsigned speed; /* 0: no pace of the line */
  bool auto_blow;
  char manner[64];
  unsigned stored; /* records when it is first switched on */

  struct faults faults;
  struct line line;
  struct own_clock clock;
  uint64_t now_us; /* of the latest call */
  struct user user;

  struct record *memory; /* [MEMORY_MAX] */
  unsigned count, blow_count;
  unsigned at; /* record sent last, from 0, or NO_RECORD */

  uint8_t rx[RX_MAX];
  size_t rx_len, rx_want; /* 0: between messages */

  uint8_t *said; /* the latest answer, for whom sends it again and again */
  size_t said_len;
  uint64_t again_us;
  unsigned answers_left; /* until silence */
  uint64_t bytes_in, answers, requests, requests_bad;
};

/* ---- clock and blows ---- */

static int64_t clock_of(const struct sp80b *s) {
  return own_clock_read(&s->clock, s->now_us);
}

static int make_blow(struct sp80b *s, const char *words, int64_t local_us) {
  struct record *r = &s->memory[s->count];
  if (s->count == MEMORY_MAX)
    return -ENOSPC;
  if (!trial_choose(*words ? words : s->manner, s->seed, s->blow_count, &r->blow))
    return -EINVAL;
  bool same = s->faults.on[FAULT_SAME_TIME] && s->count > 0;
  r->local_us = same ? s->memory[s->count - 1].local_us : local_us;
  r->number = ++s->blow_count;
  r->user = s->user;
  s->count++;
  return 0;
}

static void make_blows(struct sp80b *s, unsigned n) {
  for (unsigned i = n; i > 0; i--)
    make_blow(s, "", clock_of(s) - (int64_t)i * RECORDS_APART_US);
}

bool sp80b_blow(const void *engine, unsigned i, struct blow_options *ret) {
  const struct sp80b *s = engine;
  if (i >= s->count)
    return false;
  *ret = s->memory[i].blow;
  return true;
}

/* ---- sending ---- */

static bool silent(const struct sp80b *s) {
  return s->faults.on[FAULT_SILENCE] && s->answers_left == 0;
}

static uint8_t sum7(const uint8_t *bytes, size_t n) {
  unsigned sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += bytes[i];
  return (uint8_t)(sum & 0x7F);
}

static void say_again(struct sp80b *s) {
  if (s->faults.on[FAULT_NOISE])
    line_put_noise(&s->line, s->now_us, s->faults.arg[FAULT_NOISE]);
  line_put(&s->line, s->now_us, s->said, s->said_len);
  uint64_t end = line_end_us(&s->line);
  s->again_us = (end > s->now_us ? end : s->now_us) + RESEND_WAIT_US / (s->speed ? s->speed : 1);
}

/* bytes: heap, becomes the engine's; with room for two more. sum: ends in a checksum. */
static void say(struct sp80b *s, uint8_t *bytes, size_t n, bool sum) {
  if (n > 1 && fault_strikes(&s->faults, FAULT_SHORT_FRAME))
    n--;
  if (fault_strikes(&s->faults, FAULT_LONG_FRAME))
    bytes[n++] = 0;
  if (n > 1 && fault_strikes(&s->faults, FAULT_HIGH_BIT))
    bytes[1 + (n - 1) / 2] |= 0x80;
  if (sum) {
    bytes[n] = sum7(bytes, n);
    if (fault_strikes(&s->faults, FAULT_BAD_CHECKSUM))
      bytes[n] ^= 1;
    n++;
  }
  if (fault_strikes(&s->faults, FAULT_TRUNCATED_FRAME))
    n /= 2;
  free(s->said);
  s->said = bytes;
  s->said_len = n;
  s->answers++;
  if (s->answers_left > 0)
    s->answers_left--;
  say_again(s);
}

static void say_short(struct sp80b *s, const uint8_t *body, size_t n) {
  uint8_t *bytes = malloc(n + 2);
  if (!bytes)
    return;
  memcpy(bytes, body, n);
  say(s, bytes, n, true);
}

static void say_status(struct sp80b *s, uint8_t what, uint8_t status) {
  say_short(s, (const uint8_t[]){what, status}, 2);
}

static void put14(uint8_t at[2], double value) {
  double rounded = floor(value + 0.5);
  unsigned n = rounded < 0 ? 0 : rounded > 16383 ? 16383 : (unsigned)rounded;
  at[0] = (uint8_t)(n & 0x7F);
  at[1] = (uint8_t)(n >> 7 & 0x7F);
}

static unsigned number_of(const struct sp80b *s, unsigned i) {
  return s->memory[s->faults.on[FAULT_NUMBER_BACK] ? s->count - 1 - i : i].number;
}

static void say_record(struct sp80b *s) {
  const struct record *r = &s->memory[s->at];
  struct tm t = calendar_show(r->local_us);
  struct trial_values v;
  uint8_t b[RECORD_LEN - 1] = {SAY_RECORD, 0, 0};
  if (trial_measure(&r->blow, &v) < 0)
    return;
  put14(b + 3, number_of(s, s->at));
  b[5] = (uint8_t)(t.tm_year % 100);
  b[6] = (uint8_t)(t.tm_mon + 1);
  b[7] = (uint8_t)t.tm_mday;
  b[8] = (uint8_t)t.tm_hour;
  b[9] = (uint8_t)t.tm_min;
  b[10] = (uint8_t)t.tm_sec;
  b[11] = r->user.sex;
  b[12] = r->user.age;
  put14(b + 13, r->user.height);
  b[15] = r->user.standard;
  put14(b + 17, 100 * v.fvc);
  put14(b + 19, 100 * v.fev05);
  put14(b + 21, 100 * v.fev1);
  put14(b + 23, 1000 * v.fev1 / v.fvc);
  put14(b + 25, 100 * v.fev3);
  put14(b + 27, 100 * v.fev6);
  put14(b + 29, 100 * v.pef);
  put14(b + 31, 100 * v.fef25);
  put14(b + 33, 100 * v.fef50);
  put14(b + 35, 100 * v.fef75);
  put14(b + 37, 100 * v.fef25_75);
  put14(b + 39, 1000 * v.peak_s);
  put14(b + 41, 1000 * v.bev);
  say_short(s, b, sizeof(b));
}

static unsigned wide(double value, unsigned bits) {
  double limit = ldexp(1, (int)bits - 1), rounded = floor(value + 0.5);
  rounded = rounded < -limit ? -limit : rounded >= limit ? limit - 1 : rounded;
  return (unsigned)(int)rounded & ((1u << bits) - 1);
}

static void put_sample(uint8_t at[SAMPLE_LEN], size_t i, const struct blow *blow) {
  unsigned time = (unsigned)(i * 10000u / blow->rate_hz);
  unsigned flow = wide(1000 * blow->flow[i], 16), volume = wide(1000 * blow->volume[i], 16);
  const uint8_t bytes[SAMPLE_LEN - 1] = {
      (uint8_t)(time & 0xFF), (uint8_t)(time >> 8 & 0xFF), (uint8_t)(time >> 16 & 0xFF), (uint8_t)(flow & 0xFF),
      (uint8_t)(flow >> 8),   (uint8_t)(volume & 0xFF),    (uint8_t)(volume >> 8)};
  at[0] = 0;
  for (unsigned j = 0; j < SAMPLE_LEN - 1; j++) {
    at[0] |= (uint8_t)((bytes[j] >> 7) << j);
    at[1 + j] = bytes[j] & 0x7F;
  }
}

static void say_wave(struct sp80b *s) {
  struct blow blow = {0};
  if (s->at < s->count && blow_make(&s->memory[s->at].blow, &blow) < 0)
    return;
  size_t n = WAVE_HEAD + SAMPLE_LEN * blow.n;
  uint8_t *bytes = malloc(n + 2);
  if (bytes) {
    size_t claimed = blow.n + (s->faults.on[FAULT_FRAME_COUNT] ? s->faults.arg[FAULT_FRAME_COUNT] : 0);
    bytes[0] = SAY_WAVE;
    put14(bytes + 1, s->at < s->count ? number_of(s, s->at) : 0);
    put14(bytes + 3, (double)claimed);
    for (size_t i = 0; i < blow.n; i++)
      put_sample(bytes + WAVE_HEAD + SAMPLE_LEN * i, i, &blow);
    if (fault_strikes(&s->faults, FAULT_CUT_WAVE))
      n = n / 2 + 2; /* never between two samples */
    say(s, bytes, n, false);
  }
  blow_finish(&blow);
}

/* The layout of its numbers is not known: ten of a healthy adult, in the order of a record's. */
static void say_predicted(struct sp80b *s) {
  static const unsigned predicted[] = {456, 290, 372, 816, 430, 450, 905, 780, 480, 190};
  uint8_t b[22] = {SAY_PREDICTED, s->user.standard};
  for (unsigned i = 0; i < sizeof(predicted) / sizeof(predicted[0]); i++)
    put14(b + 2 + 2 * i, predicted[i]);
  say_short(s, b, sizeof(b));
}

static void say_count(struct sp80b *s) {
  uint8_t b[9] = {SAY_COUNT};
  put14(b + 1, s->count);
  say_short(s, b, sizeof(b));
}

/* ---- hearing ---- */

static size_t request_len(uint8_t first) {
  switch (first) {
  case ASK_START:
  case ASK_VERSION:
  case ASK_COUNT:
  case ASK_DELETE:
  case ASK_PREDICTED:
    return 2;
  case ASK_WAVE:
    return 3;
  case ASK_RECORD:
    return 4;
  case ASK_SET_TIME:
  case ASK_SET_USER:
    return 10;
  default:
    return 0;
  }
}

static void hear_time(struct sp80b *s, const uint8_t *b) {
  int64_t us;
  unsigned ms = b[6] | (unsigned)b[7] << 7;
  bool good = ms < 1000 && calendar_set(2000 + b[0], b[1], b[2], b[3], b[4], b[5], &us);
  if (good)
    own_clock_adjust(&s->clock, s->now_us, us + (int64_t)ms * 1000);
  say_status(s, SAY_SET, good ? STATUS_GOOD : STATUS_BAD);
}

static void hear_user(struct sp80b *s, const uint8_t *b) {
  unsigned height = b[2] | (unsigned)b[3] << 7;
  bool good = b[0] <= 1 && height <= 300 && b[6] >= 1 && b[6] <= 3;
  if (good)
    s->user = (struct user){b[0], b[1], (uint16_t)height, b[6]};
  say_status(s, SAY_SET, good ? STATUS_GOOD : STATUS_BAD);
}

static void delete_all(struct sp80b *s) {
  s->count = 0;
  s->at = NO_RECORD;
}

static void hear_record(struct sp80b *s, uint8_t which) {
  if (which == RECORD_FIRST)
    s->at = 0;
  else if (which == RECORD_NEXT)
    s->at = s->at < s->count && s->at + 1 < s->count ? s->at + 1 : NO_RECORD;
  else if (which == RECORD_DELETE)
    delete_all(s);
  if (which > RECORD_NEXT)
    say_status(s, SAY_DONE, which == RECORD_KEEP || which == RECORD_DELETE ? STATUS_GOOD : STATUS_BAD);
  else if (s->at < s->count)
    say_record(s);
  else
    say_status(s, SAY_DONE, STATUS_BAD);
}

static void hear_request(struct sp80b *s, const uint8_t *b) {
  static const uint8_t version[7] = {SAY_VERSION, 1, 0, 0, 1, 0, 0};
  s->requests++;
  if (b[0] == ASK_START) {
    say_short(s, (const uint8_t[]){s->faults.on[FAULT_WRONG_DEVICE] ? 0xF1 : SAY_START}, 1);
    return;
  }
  if (s->faults.on[FAULT_NAK]) {
    say_status(s, SAY_DONE, STATUS_BAD);
    return;
  }
  switch (b[0]) {
  case ASK_VERSION:
    say_short(s, version, sizeof(version));
    break;
  case ASK_SET_TIME:
    if (!s->faults.on[FAULT_NO_CLOCK])
      hear_time(s, b + 1);
    break;
  case ASK_SET_USER:
    hear_user(s, b + 1);
    break;
  case ASK_COUNT:
    if (s->auto_blow)
      make_blow(s, "", clock_of(s));
    say_count(s);
    break;
  case ASK_RECORD:
    hear_record(s, b[1]);
    break;
  case ASK_WAVE:
    say_wave(s);
    break;
  case ASK_DELETE:
    delete_all(s);
    say_status(s, SAY_DONE, STATUS_GOOD);
    break;
  default: /* ASK_PREDICTED: request_len knows no other */
    say_predicted(s);
    break;
  }
}

static void hear_byte(struct sp80b *s, uint8_t byte) {
  if (byte & 0x80) {
    s->requests_bad += s->rx_want > 0; /* the one before was not whole */
    s->rx_want = request_len(byte);
    s->rx_len = 0;
  }
  if (s->rx_want == 0)
    return;
  s->rx[s->rx_len++] = byte;
  if (s->rx_len < s->rx_want)
    return;
  s->rx_want = 0;
  if (sum7(s->rx, s->rx_len - 1) == s->rx[s->rx_len - 1])
    hear_request(s, s->rx);
  else
    s->requests_bad++;
}

/* ---- the engine ---- */

/* Every call begins here: the first switches the instrument on. */
static void begin(struct sp80b *s, uint64_t now_us) {
  s->now_us = now_us;
  bool first = own_clock_tick(&s->clock, now_us);
  if (first)
    make_blows(s, s->stored);
}

static bool set_option(struct sp80b *s, const struct option *o) {
  uint64_t n;
  struct blow_options blow;
  if (strcmp(o->key, "clock") == 0)
    return own_clock_option(&s->clock, o->value);
  if (strcmp(o->key, "manner") == 0) {
    if (strlen(o->value) >= sizeof(s->manner) || !trial_choose(o->value, 0, 0, &blow))
      return false;
    strcpy(s->manner, o->value);
    return true;
  }
  if (strcmp(o->key, "auto") == 0) {
    s->auto_blow = strcmp(o->value, "yes") == 0;
    return s->auto_blow || strcmp(o->value, "no") == 0;
  }
  if (strcmp(o->key, "speed") == 0)
    return option_speed(o->value, &s->speed);
  if (strcmp(o->key, "seed") == 0)
    return option_number(o->value, UINT64_MAX, &s->seed);
  if (strcmp(o->key, "records") != 0 || !option_number(o->value, MEMORY_MAX, &n))
    return false;
  s->stored = (unsigned)n;
  return true;
}

static void destroy(void *engine) {
  struct sp80b *s = engine;
  if (!s)
    return;
  line_finish(&s->line);
  free(s->memory);
  free(s->said);
  free(s);
}

static void *create(const char *options, int64_t local_us, char why[static 256]) {
  struct option option;
  int r;
  struct sp80b *s = calloc(1, sizeof(*s));
  struct record *memory = calloc(MEMORY_MAX, sizeof(*memory));
  if (!s || !memory) {
    free(s);
    free(memory);
    snprintf(why, 256, "no memory");
    return NULL;
  }
  *s = (struct sp80b){.speed = 1,
                      .stored = 3,
                      .clock = {.start_us = local_us},
                      .memory = memory,
                      .at = NO_RECORD,
                      .user = {.age = 45, .height = 175, .standard = 1},
                      .faults = {.kinds = kinds, .count = FAULT_COUNT}};
  while ((r = option_next(&options, &option)) > 0 && set_option(s, &option))
    ;
  if (r > 0)
    snprintf(why, 256, "%s: unknown, or not with '%.100s'", option.key, option.value);
  else if (r < 0)
    snprintf(why, 256, "'%.100s' is not key=value", options);
  if (r != 0) {
    destroy(s);
    return NULL;
  }
  line_init(&s->line, LINE_BYTES_PER_S * s->speed, s->seed);
  return s;
}

static void line_closed(void *engine, uint64_t now_us) {
  struct sp80b *s = engine;
  begin(s, now_us);
  line_clear(&s->line);
  s->said_len = 0;
  s->rx_want = 0;
}

/* It has a battery: what it has in memory stays, and its clock goes on. */
static void power_on(void *engine, uint64_t now_us) {
  struct sp80b *s = engine;
  line_closed(s, now_us);
  s->at = NO_RECORD;
}

static int set_fault(void *engine, const char *text) {
  struct sp80b *s = engine;
  int fault = fault_set(&s->faults, text);
  if (fault < 0)
    return fault;
  if (fault == FAULT_SILENCE)
    s->answers_left = s->faults.arg[FAULT_SILENCE];
  if (fault == FAULT_CLOCK_2013)
    own_clock_lose(&s->clock);
  if (fault == FAULT_NO_RECORDS || fault == FAULT_MANY_RECORDS) {
    delete_all(s);
    s->stored = fault == FAULT_MANY_RECORDS ? s->faults.arg[FAULT_MANY_RECORDS] : 0;
    if (s->clock.runs)
      make_blows(s, s->stored);
  }
  return 0;
}

static int command(void *engine, uint64_t now_us, const char *text, char answer[static 256]) {
  struct sp80b *s = engine;
  int r = -EINVAL;
  begin(s, now_us);
  snprintf(answer, 256, "blow [PATTERN] [DEFECT], or clear");
  if (strncmp(text, "blow", 4) == 0 && (text[4] == ' ' || !text[4])) {
    r = make_blow(s, text + 4 + (text[4] == ' '), clock_of(s));
  } else if (strcmp(text, "clear") == 0) {
    delete_all(s);
    r = 0;
  }
  if (r == 0)
    answer[0] = '\0';
  return r;
}

static size_t stats(const void *engine, char *text, size_t size) {
  const struct sp80b *s = engine;
  int n = snprintf(text, size, "blows=%u stored=%u bytes_in=%llu answers=%llu requests=%llu requests_bad=%llu",
                   s->blow_count, s->count, (unsigned long long)s->bytes_in, (unsigned long long)s->answers,
                   (unsigned long long)s->requests, (unsigned long long)s->requests_bad);
  return n < 0 ? 0 : (size_t)n;
}

static bool repeats(const struct sp80b *s) {
  return s->faults.on[FAULT_RESEND] && s->said_len > 0 && !silent(s);
}

static void receive(void *engine, uint64_t now_us, const uint8_t *bytes, size_t n) {
  struct sp80b *s = engine;
  begin(s, now_us);
  s->bytes_in += n;
  for (size_t i = 0; i < n && !silent(s) && !s->faults.on[FAULT_BABBLE]; i++)
    hear_byte(s, bytes[i]);
}

static size_t transmit(void *engine, uint64_t now_us, uint8_t *bytes, size_t max) {
  struct sp80b *s = engine;
  begin(s, now_us);
  if (s->faults.on[FAULT_BABBLE] && s->line.len == 0)
    line_put_noise(&s->line, now_us, BABBLE_BYTES);
  else if (repeats(s) && s->again_us <= now_us)
    say_again(s);
  return line_take(&s->line, now_us, bytes, max);
}

static uint64_t next_us(const void *engine) {
  const struct sp80b *s = engine;
  uint64_t next = line_next_us(&s->line);
  if (s->faults.on[FAULT_BABBLE])
    return s->line.len ? next : 0;
  return repeats(s) && s->again_us < next ? s->again_us : next;
}

const struct sim_engine sim_sp80b = {
    .name = "sp80b",
    .bus = SIM_SERIAL,
    .help =
        "Contec SP80B, spirometer with a memory that the host reads; the wire is known from one implementation only\n"
        "  clock=TIME|host  its own clock at the start, as 2013-05-28T10:44:00 (host)\n"
        "  seed=N           the patient (0)\n"
        "  manner=WORDS     of blows: normal, obstructive or restrictive, and a defect of the manoeuvre\n"
        "  records=N        in its memory at the start, two minutes apart (3)\n"
        "  auto=yes|no      one more whenever the host asks how many there are (no)\n"
        "  commands: blow [PATTERN] [DEFECT], clear\n"
        "  faults: silence:ANSWERS babble bad-checksum:N truncated-frame:N short-frame:N long-frame:N high-bit:N\n"
        "    cut-wave:N (the next N answers, all without N) noise:BYTES clock-2013 no-clock same-time nak resend\n"
        "    wrong-device frame-count:MORE number-back no-records many-records:N\n",
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
