/*
 * The SP80B engine, through a host of its own that was written from the protocol's text: it shares no code with the
 * engine, and none with the driver.
 */
#include "sp80b.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define MS 1000u
#define S 1000000u

/* ---- a small host ---- */

struct host {
  void *sim;
  uint64_t now; /* us */
  uint8_t in[1 << 18];
  size_t n, pos;
};

static struct host h;

static void begin_at(const char *options, int64_t local_us) {
  char why[256] = "";
  memset(&h, 0, sizeof(h));
  h.sim = sim_sp80b.create(options, local_us, why);
  if (!h.sim)
    fail_msg("%s: %s", options, why);
}

static void begin(const char *options) {
  begin_at(options, 0);
}

static void end(void) {
  sim_sp80b.destroy(h.sim);
}

/* As the simulator program does it: sleeps until the engine has something to do. */
static void run(uint64_t us) {
  uint64_t until = h.now + us;
  for (unsigned round = 0; round < 100000; round++) {
    size_t got = sim_sp80b.transmit(h.sim, h.now, h.in + h.n, sizeof(h.in) - h.n);
    h.n += got;
    if (got > 0)
      continue;
    uint64_t next = sim_sp80b.next_us(h.sim);
    if (next > until)
      break;
    h.now = next > h.now ? next : h.now;
  }
  h.now = until;
}

static void tell(const char *command) {
  char answer[256];
  assert_int_equal(sim_sp80b.command(h.sim, h.now, command, answer), 0);
}

static void break_it(const char *fault) {
  assert_int_equal(sim_sp80b.fault(h.sim, fault), 0);
}

static unsigned long stat(const char *name) {
  char text[512], *at;
  sim_sp80b.stats(h.sim, text, sizeof(text));
  at = strstr(text, name);
  assert_non_null(at);
  return strtoul(at + strlen(name) + 1, NULL, 10);
}

static uint8_t checksum(const uint8_t *bytes, size_t n) {
  uint8_t sum = 0;
  while (n-- > 0)
    sum = (uint8_t)(sum + *bytes++);
  return sum & 0x7F;
}

static void ask_bytes(const uint8_t *bytes, size_t n) {
  uint8_t request[32];
  memcpy(request, bytes, n);
  request[n] = checksum(bytes, n);
  h.pos = h.n; /* what came before is done with */
  sim_sp80b.receive(h.sim, h.now, request, n + 1);
}

#define ASK(...) ask_bytes((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static size_t waiting(void) {
  return h.n - h.pos;
}

/* A whole answer with its checksum, and nothing after it. */
static const uint8_t *expect(uint8_t first, size_t len) {
  const uint8_t *b = h.in + h.pos;
  run(20 * S);
  if (waiting() != len || b[0] != first)
    fail_msg("%zu bytes of %02x, not %zu of %02x", waiting(), b[0], len, first);
  for (size_t i = 1; i < len; i++)
    assert_int_equal(b[i] & 0x80, 0);
  if (first != 0xE2)
    assert_int_equal(b[len - 1], checksum(b, len - 1));
  return b;
}

static unsigned u14(const uint8_t *b) {
  return b[0] + 128u * b[1];
}

struct sample {
  double t, flow, volume; /* s, L/s, L */
};

static struct sample sample_of(const uint8_t b[8]) {
  unsigned v[7];
  for (unsigned i = 0; i < 7; i++)
    v[i] = b[i + 1] + ((b[0] >> i & 1) ? 128u : 0);
  return (struct sample){(v[0] + 256 * v[1] + 65536 * v[2]) / 1e4, (int16_t)(v[3] + 256 * v[4]) / 1e3,
                         (int16_t)(v[5] + 256 * v[6]) / 1e3};
}

/* Asks for the wave of the latest record. Its number of samples; they are at b + 5. */
static size_t expect_wave(unsigned number, const uint8_t **ret) {
  ASK(0x92, 0);
  run(20 * S);
  const uint8_t *b = h.in + h.pos;
  assert_true(waiting() > 5);
  assert_int_equal(b[0], 0xE2);
  assert_int_equal(u14(b + 1), number);
  size_t n = u14(b + 3);
  *ret = expect(0xE2, 5 + 8 * n);
  return n;
}

static void expect_record(unsigned number, const char *time) {
  const uint8_t *b = expect(0xE1, 44);
  char shown[32];
  snprintf(shown, sizeof(shown), "%02u%02u%02u%02u%02u%02u", b[5], b[6], b[7], b[8], b[9], b[10]);
  assert_int_equal(u14(b + 3), number);
  assert_string_equal(shown, time);
}

static void expect_status(uint8_t what, uint8_t status) {
  assert_int_equal(expect(what, 3)[1], status);
}

#define CLOCK "clock=2026-03-01T08:00:00"

/* ---- the dialogue ---- */

TEST(whole_dialogue) {
  const uint8_t *b;
  begin(CLOCK);
  ASK(0x80);
  expect(0xF0, 2);
  ASK(0x83, 26, 3, 2, 9, 30, 15, 500 & 0x7F, 500 >> 7);
  expect_status(0xF3, 0);
  ASK(0x82);
  expect(0xF2, 8);
  ASK(0x94);
  expect(0xE4, 23);
  ASK(0x90);
  b = expect(0xE0, 10);
  assert_int_equal(u14(b + 1), 3);
  ASK(0x91, 0, 1);
  expect_record(1, "260301075400");
  assert_true(expect_wave(1, &b) > 600);
  ASK(0x91, 1, 1);
  expect_record(2, "260301075600");
  assert_true(expect_wave(2, &b) > 600);
  assert_true(expect_wave(2, &b) > 600); /* as often as asked */
  ASK(0x91, 1, 1);
  expect_record(3, "260301075800");
  ASK(0x91, 1, 1);
  expect_status(0xE3, 1); /* no more */
  ASK(0x91, 1, 1);
  expect_status(0xE3, 1);
  ASK(0x91, 0x7E, 1);
  expect_status(0xE3, 0);
  ASK(0x91, 0, 1);
  expect_record(1, "260301075400"); /* kept */
  ASK(0x91, 0x7F, 1);
  expect_status(0xE3, 0);
  ASK(0x90);
  assert_int_equal(u14(expect(0xE0, 10) + 1), 0);
  ASK(0x91, 0, 1);
  expect_status(0xE3, 1);
  ASK(0x92, 0);
  assert_int_equal(u14(expect(0xE2, 5) + 3), 0);
  tell("blow");
  ASK(0x91, 0, 1);
  run(S);
  assert_int_equal(h.in[h.pos + 6], 3); /* its clock is what the host made it, and goes on */
  assert_int_equal(h.in[h.pos + 7], 2);
  assert_in_range(h.in[h.pos + 8] * 60 + h.in[h.pos + 9], 9 * 60 + 31, 9 * 60 + 40);
  assert_int_equal(u14(h.in + h.pos + 3), 4); /* numbers are not used again */
  ASK(0x93);
  expect_status(0xE3, 0);
  assert_int_equal(stat("stored"), 0);
  assert_int_equal(stat("requests_bad"), 0);
  end();
}

/* The requests whose bytes the protocol's text gives whole: ours are the same. */
TEST(ready_made) {
  begin("");
  static const struct {
    uint8_t bytes[2], answer;
    size_t len;
  } cases[] = {{{0x80, 0x00}, 0xF0, 2}, {{0x90, 0x10}, 0xE0, 10}};
  for (unsigned i = 0; i < 2; i++) {
    h.pos = h.n;
    sim_sp80b.receive(h.sim, h.now, cases[i].bytes, 2);
    expect(cases[i].answer, cases[i].len);
  }
  end();
}

TEST(user) {
  const uint8_t *b;
  begin("records=0");
  ASK(0x8B, 1, 67, 158 & 0x7F, 158 >> 7, 61, 0, 2, 1);
  expect_status(0xF3, 0);
  ASK(0x8B, 2, 67, 158 & 0x7F, 158 >> 7, 61, 0, 2, 1); /* no such sex */
  expect_status(0xF3, 1);
  tell("blow restrictive");
  ASK(0x91, 0, 1);
  b = expect(0xE1, 44);
  assert_int_equal(b[1] | b[2] | b[16], 0);
  assert_int_equal(b[11], 1);
  assert_int_equal(b[12], 67);
  assert_int_equal(u14(b + 13), 158);
  assert_int_equal(b[15], 2);
  end();
}

TEST(wrong_times) {
  static const uint8_t times[][8] = {
      {26, 2, 30, 0, 0, 0, 0, 0}, {26, 13, 1, 0, 0, 0, 0, 0}, {26, 0, 1, 0, 0, 0, 0, 0},  {26, 1, 1, 24, 0, 0, 0, 0},
      {26, 1, 1, 0, 60, 0, 0, 0}, {26, 1, 1, 0, 0, 60, 0, 0}, {100, 1, 1, 0, 0, 0, 0, 0}, {26, 1, 1, 0, 0, 0, 0x68, 7}};
  begin(CLOCK ",records=0");
  for (unsigned i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
    uint8_t request[9] = {0x83};
    memcpy(request + 1, times[i], 8);
    ask_bytes(request, sizeof(request));
    expect_status(0xF3, 1);
  }
  tell("blow");
  ASK(0x91, 0, 1);
  expect_record(1, "260301080240"); /* unchanged: eight waits of 20 s */
  end();
}

/* Damaged requests are not answered, and what follows them is. */
TEST(damaged_requests) {
  static const uint8_t start[] = {0x80, 0x00};
  static const uint8_t damaged[][4] = {{0x91, 0, 1, 0x13}, {0x80, 0x01}, {0x42, 0x42}, {0x85, 0x05}, {0x91, 0}};
  static const size_t lens[] = {4, 2, 2, 2, 2};
  begin("");
  for (unsigned i = 0; i < 5; i++) {
    h.pos = h.n;
    sim_sp80b.receive(h.sim, h.now, damaged[i], lens[i]);
    run(S);
    assert_int_equal(waiting(), 0);
    for (size_t at = 0; at < sizeof(start); at++)
      sim_sp80b.receive(h.sim, h.now, start + at, 1);
    expect(0xF0, 2);
  }
  assert_int_equal(stat("requests_bad"), 3);
  end();
}

/* ---- what it measures ---- */

static void near(double got, double truth, double limit) {
  if (!isnan(truth) && !(fabs(got - truth) <= limit))
    fail_msg("%g instead of %g", got, truth);
}

static void check_record(const uint8_t *b, const struct blow_truth *t) {
  near(u14(b + 17) / 100.0, t->fvc, 0.008);
  near(u14(b + 21) / 100.0, t->fev1, 0.008);
  near(u14(b + 27) / 100.0, isnan(t->fev6) ? t->fvc : t->fev6, 0.008);
  near(u14(b + 23) / 1000.0, t->fev1 / t->fvc, 0.002);
  near(u14(b + 29) / 100.0, t->pef, 0.02);
  near(u14(b + 37) / 100.0, t->fef25_75, 0.01 + 0.01 * t->fef25_75);
  near(u14(b + 41) / 1000.0, t->bev, 0.003);
  /* in the order of a forced expiration */
  assert_true(u14(b + 19) <= u14(b + 21) && u14(b + 21) <= u14(b + 25) && u14(b + 25) <= u14(b + 27) &&
              u14(b + 27) <= u14(b + 17));
  assert_true(u14(b + 31) <= u14(b + 29) && u14(b + 33) <= u14(b + 29) && u14(b + 35) <= u14(b + 29));
  assert_true(u14(b + 39) > 0 && u14(b + 39) < 3500);
}

/* The samples are those of the blow, rounded; the volume is what has flowed. */
static void check_wave(const uint8_t *b, size_t n, const struct blow *blow) {
  double sum = 0;
  assert_true(blow->rate_hz >= 100);
  assert_int_equal(n, blow->n);
  for (size_t i = 0; i < n; i++) {
    struct sample s = sample_of(b + 5 + 8 * i);
    near(s.t, (double)i / blow->rate_hz, 0.00005);
    near(s.volume, blow->volume[i], 0.000501);
    near(s.flow, blow->flow[i], 0.000501);
    near(s.volume, sum, 0.06);
    sum += s.flow / blow->rate_hz;
  }
}

/* What a record says against its own curve, on which the flows are coarse. */
static void check_against_wave(const uint8_t *record, const uint8_t *wave, size_t n, const struct blow_truth *t) {
  size_t at[3] = {0}, by[2] = {0}, end = 0;
  for (size_t i = 0; i < n; i++) {
    double volume = sample_of(wave + 5 + 8 * i).volume;
    end = volume > sample_of(wave + 5 + 8 * end).volume ? i : end;
  }
  for (size_t i = end; i > 0; i--) {
    struct sample s = sample_of(wave + 5 + 8 * i);
    for (unsigned k = 0; k < 3; k++)
      at[k] = s.volume >= 0.25 * (k + 1) * t->fvc ? i : at[k];
    by[0] = s.t >= t->time_zero + 0.5 ? i : by[0];
    by[1] = s.t >= t->time_zero + 3 ? i : by[1];
  }
  for (unsigned k = 0; k < 3; k++)
    near(u14(record + 31 + 2 * k) / 100.0, sample_of(wave + 5 + 8 * at[k]).flow, 0.15 + 0.02 * t->pef);
  for (unsigned k = 0; k < 2; k++)
    near(u14(record + (k ? 25 : 19)) / 100.0, sample_of(wave + 5 + 8 * (by[k] ? by[k] : end)).volume, 0.08);
}

TEST(blows_are_true) {
  for (unsigned p = 0; p < BLOW_PATTERNS; p++) {
    for (unsigned d = 0; d < BLOW_DEFECTS; d++) {
      char command[64];
      struct blow_options o;
      struct blow blow;
      const uint8_t *b;
      begin("records=0,seed=23,speed=max");
      snprintf(command, sizeof(command), "blow %s %s", blow_pattern_name((enum blow_pattern)p),
               blow_defect_name((enum blow_defect)d));
      tell(command);
      assert_true(sp80b_blow(h.sim, 0, &o));
      assert_int_equal(o.pattern, p);
      assert_int_equal(o.defect, d);
      assert_int_equal(blow_make(&o, &blow), 0);
      ASK(0x91, 0, 1);
      b = expect(0xE1, 44);
      check_record(b, &blow.truth);
      uint8_t record[44];
      memcpy(record, b, sizeof(record));
      size_t n = expect_wave(1, &b);
      check_wave(b, n, &blow);
      if (d == BLOW_CLEAN || d == BLOW_EARLY_STOP || d == BLOW_SLOW_RISE)
        check_against_wave(record, b, n, &blow.truth);
      if (d == BLOW_INCOMPLETE_INSPIRATION) { /* below where it began: volumes and flows have signs */
        assert_true(sample_of(b + 5 + 8 * (n - 1)).volume < -0.25);
        assert_true(sample_of(b + 5 + 8 * (n - 60)).flow < 0);
      }
      blow_finish(&blow);
      end();
    }
  }
}

TEST(pace) {
  begin("records=1");
  ASK(0x90);
  run(867); /* ten bytes at 11520 a second take 868 us */
  assert_int_equal(waiting(), 0);
  run(1);
  assert_int_equal(waiting(), 10);
  end();
  begin("records=1,speed=max");
  ASK(0x91, 0, 1);
  run(0);
  assert_int_equal(waiting(), 44);
  end();
}

TEST(auto_blows) {
  begin(CLOCK ",records=0,auto=yes,manner=obstructive");
  ASK(0x80);
  expect(0xF0, 2);
  run(100 * S);
  ASK(0x90);
  assert_int_equal(u14(expect(0xE0, 10) + 1), 1);
  ASK(0x91, 0, 1);
  expect_record(1, "260301080200");
  ASK(0x90);
  assert_int_equal(u14(expect(0xE0, 10) + 1), 2);
  end();
}

TEST(clock_of_the_practice) {
  begin_at("records=0", 1772352000ll * 1000000); /* 2026-03-01T08:00:00 when the caller's clock shows 0 */
  run(3600ull * S);
  tell("blow");
  ASK(0x91, 0, 1);
  expect_record(1, "260301090000");
  end();
}

TEST(power) {
  begin(CLOCK);
  ASK(0x91, 0, 1);
  run(1 * MS);
  sim_sp80b.power_on(h.sim, h.now);
  assert_true(waiting() < 44);
  h.pos = h.n;
  run(S);
  assert_int_equal(waiting(), 0);
  ASK(0x92, 0); /* of no record */
  assert_int_equal(u14(expect(0xE2, 5) + 3), 0);
  ASK(0x90);
  assert_int_equal(u14(expect(0xE0, 10) + 1), 3);
  end();
}

/* ---- faults ---- */

static void begin_broken(const char *fault) {
  begin(CLOCK ",speed=max");
  break_it(fault);
}

TEST(silence) {
  begin_broken("silence:2");
  ASK(0x80);
  expect(0xF0, 2);
  ASK(0x90);
  expect(0xE0, 10);
  ASK(0x90);
  run(60 * S);
  assert_int_equal(waiting(), 0);
  end();
}

TEST(babble) {
  begin(CLOCK);
  break_it("babble");
  ASK(0x80);
  run(S);
  assert_in_range(waiting(), 11400, 11600);
  end();
}

TEST(bad_checksum) {
  begin_broken("bad-checksum:1");
  ASK(0x90);
  run(S);
  assert_int_equal(waiting(), 10);
  assert_int_not_equal(h.in[h.pos + 9], checksum(h.in + h.pos, 9));
  ASK(0x90);
  expect(0xE0, 10);
  break_it("bad-checksum");
  for (unsigned i = 0; i < 5; i++) {
    ASK(0x91, 0, 1);
    run(S);
    assert_int_not_equal(h.in[h.pos + 43], checksum(h.in + h.pos, 43));
  }
  end();
}

TEST(wrong_lengths) {
  begin_broken("short-frame:1");
  ASK(0x91, 0, 1);
  expect(0xE1, 43);
  break_it("long-frame:1");
  ASK(0x91, 0, 1);
  expect(0xE1, 45);
  break_it("truncated-frame:1");
  ASK(0x91, 0, 1);
  run(S);
  assert_int_equal(waiting(), 22);
  ASK(0x91, 0, 1);
  expect(0xE1, 44);
  break_it("cut-wave:1");
  ASK(0x92, 0);
  run(S);
  size_t whole = 5 + 8 * u14(h.in + h.pos + 3), cut = waiting();
  assert_in_range(cut, whole / 2 - 8, whole / 2 + 8);
  assert_int_not_equal((cut - 5) % 8, 0);
  ASK(0x92, 0);
  run(S);
  assert_int_equal(waiting(), whole);
  end();
}

TEST(high_bit) {
  begin_broken("high-bit:2");
  for (unsigned round = 0; round < 3; round++) {
    unsigned high = 0;
    if (round == 1)
      ASK(0x92, 0);
    else
      ASK(0x91, 0, 1);
    run(S);
    for (size_t i = 1; i < waiting(); i++)
      high += h.in[h.pos + i] >> 7;
    assert_int_equal(high, round < 2);
  }
  end();
}

TEST(noise) {
  begin_broken("noise:7");
  ASK(0x80);
  run(S);
  assert_int_equal(waiting(), 9);
  assert_int_equal(h.in[h.pos + 7], 0xF0);
  end();
}

TEST(clock_faults) {
  begin(CLOCK ",records=0");
  run(100 * S);
  break_it("clock-2013");
  run(0);
  run(5 * S);
  tell("blow");
  ASK(0x91, 0, 1);
  expect_record(1, "130528104405");
  break_it("same-time");
  tell("blow");
  ASK(0x91, 1, 1);
  expect_record(2, "130528104405");
  break_it("none");
  break_it("no-clock");
  ASK(0x83, 26, 3, 2, 9, 30, 15, 0, 0);
  run(60 * S);
  assert_int_equal(waiting(), 0);
  ASK(0x90);
  expect(0xE0, 10);
  end();
}

TEST(refusals) {
  begin_broken("nak");
  ASK(0x80);
  expect(0xF0, 2);
  ASK(0x90);
  expect_status(0xE3, 1);
  ASK(0x91, 0, 1);
  expect_status(0xE3, 1);
  break_it("none");
  break_it("wrong-device");
  ASK(0x80);
  expect(0xF1, 2);
  end();
}

TEST(never_stops) {
  begin_broken("resend");
  ASK(0x90);
  run(2600 * MS);
  assert_int_equal(waiting(), 60); /* at once and five times more */
  sim_sp80b.line_closed(h.sim, h.now);
  h.pos = h.n;
  run(60 * S);
  assert_int_equal(waiting(), 0);
  end();
}

TEST(wrong_counts) {
  const uint8_t *b;
  begin_broken("frame-count:7");
  ASK(0x91, 0, 1);
  expect(0xE1, 44);
  ASK(0x92, 0);
  run(S);
  b = h.in + h.pos;
  assert_int_equal(5 + 8 * (u14(b + 3) - 7), waiting());
  break_it("none");
  break_it("number-back");
  for (unsigned i = 0; i < 3; i++) {
    ASK(0x91, i > 0, 1);
    b = expect(0xE1, 44);
    assert_int_equal(u14(b + 3), 3 - i);
    expect_wave(3 - i, &b);
  }
  end();
}

TEST(numbers_of_records) {
  begin_broken("no-records");
  ASK(0x90);
  assert_int_equal(u14(expect(0xE0, 10) + 1), 0);
  ASK(0x91, 0, 1);
  expect_status(0xE3, 1);
  break_it("many-records");
  ASK(0x90);
  assert_int_equal(u14(expect(0xE0, 10) + 1), 1000);
  ASK(0x91, 0, 1);
  for (unsigned i = 1; i < 100; i++) {
    assert_int_equal(u14(expect(0xE1, 44) + 3), i);
    ASK(0x91, 1, 1);
  }
  end();
  begin(CLOCK ",records=2000,speed=max");
  char answer[256];
  assert_true(sim_sp80b.command(h.sim, h.now, "blow", answer) < 0);
  assert_int_equal(stat("stored"), 2000);
  end();
}

/* ---- texts, and what no instrument is told ---- */

TEST(texts) {
  static const char *const faults[] = {"silence",     "babble",   "bad-checksum", "truncated-frame", "short-frame",
                                       "long-frame",  "high-bit", "noise",        "clock-2013",      "no-clock",
                                       "same-time",   "nak",      "resend",       "wrong-device",    "frame-count",
                                       "number-back", "cut-wave", "no-records",   "many-records"};
  static const char *const bad_options[] = {"records=2001",  "clock=now", "auto=1500", "speed=0",
                                            "manner=sneeze", "model=b",   "records",   "records=-1"};
  static const char *const bad_commands[] = {"", "blows", "blow sneeze", "result fev1=1", "start"};
  char why[256], answer[256];
  begin("");
  for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
    break_it(faults[i]);
    assert_non_null(strstr(sim_sp80b.help, faults[i]));
  }
  break_it("none");
  assert_int_equal(sim_sp80b.fault(h.sim, "lost-frame"), -EINVAL);
  for (unsigned i = 0; i < sizeof(bad_commands) / sizeof(bad_commands[0]); i++) {
    assert_int_equal(sim_sp80b.command(h.sim, 0, bad_commands[i], answer), -EINVAL);
    assert_true(answer[0] != '\0');
  }
  end();
  for (unsigned i = 0; i < sizeof(bad_options) / sizeof(bad_options[0]); i++) {
    why[0] = '\0';
    assert_null(sim_sp80b.create(bad_options[i], 0, why));
    assert_true(why[0] != '\0');
  }
}

/* Same options, same calls, same bytes; and no bytes from the host do it harm. */
TEST(any_bytes) {
  static uint8_t first[sizeof(h.in)];
  size_t first_n = 0;
  for (unsigned round = 0; round < 2; round++) {
    uint32_t x = 12345;
    begin("records=2");
    for (unsigned i = 0; i < 20000; i++) {
      x = x * 1664525u + 1013904223u;
      uint8_t byte = (uint8_t)(x >> 20);
      if (x >> 28)
        sim_sp80b.receive(h.sim, h.now, &byte, 1);
      else
        ask_bytes((const uint8_t[]){0x80 | (x >> 16 & 0x1F), x >> 21 & 0x7F, x >> 22 & 3}, 1 + (x >> 24 & 3) % 3);
      if (i % 16 == 0)
        run(2 * MS);
    }
    if (round == 0) {
      memcpy(first, h.in, h.n);
      first_n = h.n;
    }
    assert_int_equal(h.n, first_n);
    assert_memory_equal(h.in, first, first_n);
    assert_true(stat("requests_bad") > 0);
    end();
  }
  assert_true(first_n > 1000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_dialogue), cmocka_unit_test(ready_made),       cmocka_unit_test(user),
      cmocka_unit_test(wrong_times),    cmocka_unit_test(damaged_requests), cmocka_unit_test(blows_are_true),
      cmocka_unit_test(pace),           cmocka_unit_test(auto_blows),       cmocka_unit_test(clock_of_the_practice),
      cmocka_unit_test(power),          cmocka_unit_test(silence),          cmocka_unit_test(babble),
      cmocka_unit_test(bad_checksum),   cmocka_unit_test(wrong_lengths),    cmocka_unit_test(high_bit),
      cmocka_unit_test(noise),          cmocka_unit_test(clock_faults),     cmocka_unit_test(refusals),
      cmocka_unit_test(never_stops),    cmocka_unit_test(wrong_counts),     cmocka_unit_test(numbers_of_records),
      cmocka_unit_test(texts),          cmocka_unit_test(any_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
