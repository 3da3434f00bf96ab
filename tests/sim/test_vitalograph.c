/*
 * The Vitalograph engine, through a host of its own that was written from the protocol's text: it shares no code with
 * the engine, and none with the driver.
 */
#include "vitalograph.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define MS 1000u
#define S 1000000u

/* ---- a small host ---- */

struct host {
  void *sim;
  uint64_t now; /* us */
  uint8_t in[1 << 16];
  size_t n, pos;
};

static struct host h;

static void begin(const char *options, int64_t local_us) {
  char why[256] = "";
  memset(&h, 0, sizeof(h));
  h.sim = sim_vitalograph.create(options, local_us, why);
  if (!h.sim)
    fail_msg("%s: %s", options, why);
}

static void end(void) {
  sim_vitalograph.destroy(h.sim);
}

/* As the simulator program does it: sleeps until the engine has something to do. */
static void run(uint64_t us) {
  uint64_t until = h.now + us;
  for (unsigned round = 0; round < 100000; round++) {
    size_t got = sim_vitalograph.transmit(h.sim, h.now, h.in + h.n, sizeof(h.in) - h.n);
    h.n += got;
    if (got > 0)
      continue;
    uint64_t next = sim_vitalograph.next_us(h.sim);
    if (next > until)
      break;
    h.now = next > h.now ? next : h.now;
  }
  h.now = until;
}

static void open_port(void) {
  sim_vitalograph.line_opened(h.sim, h.now);
}

static void close_port(void) {
  sim_vitalograph.line_closed(h.sim, h.now);
}

static void say(const void *bytes, size_t n) {
  sim_vitalograph.receive(h.sim, h.now, bytes, n);
}

static void say_byte(uint8_t byte) {
  say(&byte, 1);
}

static void say_frame(const char *payload) {
  uint8_t frame[128] = {2}, x = 2 ^ 3;
  size_t len = strlen(payload);
  memcpy(frame + 1, payload, len);
  for (size_t i = 0; i < len; i++)
    x ^= (uint8_t)payload[i];
  frame[1 + len] = 3;
  frame[2 + len] = x;
  say(frame, len + 3);
}

static void tell(const char *command) {
  char answer[256];
  assert_int_equal(sim_vitalograph.command(h.sim, h.now, command, answer), 0);
  assert_string_equal(answer, "");
}

static void break_it(const char *fault) {
  assert_int_equal(sim_vitalograph.fault(h.sim, fault), 0);
}

static unsigned long stat(const char *name) {
  char text[512], *at;
  sim_vitalograph.stats(h.sim, text, sizeof(text));
  at = strstr(text, name);
  assert_non_null(at);
  return strtoul(at + strlen(name) + 1, NULL, 10);
}

static size_t waiting(void) {
  return h.n - h.pos;
}

static void expect_byte(uint8_t byte) {
  assert_true(waiting() > 0);
  assert_int_equal(h.in[h.pos++], byte);
}

/* The next frame must begin right here. True when its BCC is right. */
static bool next_frame(char payload[512]) {
  size_t len = 0;
  uint8_t x = 0;
  assert_true(waiting() >= 3);
  assert_int_equal(h.in[h.pos], 2);
  for (;;) {
    assert_true(h.pos < h.n);
    uint8_t c = h.in[h.pos++];
    x ^= c;
    if (c == 3)
      break;
    if (c != 2)
      payload[len++] = (char)c;
  }
  payload[len] = '\0';
  assert_true(h.pos < h.n);
  return h.in[h.pos++] == x;
}

static void expect_frame(char payload[512]) {
  assert_true(next_frame(payload));
}

static unsigned field(const char *payload, size_t at, size_t len) {
  char digits[16] = "";
  memcpy(digits, payload + at, len);
  for (size_t i = 0; i < len; i++)
    assert_in_range(digits[i], '0', '9');
  return (unsigned)strtoul(digits, NULL, 10);
}

/* Sends, is acknowledged, and is done. */
static void expect_result(char payload[512]) {
  run(S);
  expect_frame(payload);
  say_byte(6);
  run(10 * S);
  assert_int_equal(waiting(), 0);
}

/* ---- results ---- */

#define REAL                                             \
  "FTD0000129406363399091404000000095090000130528104418" \
  "0923"

static const char standing[] = "id=0000129406,clock=2013-05-28T10:44:18";

static size_t send_real(void) {
  begin(standing, 0);
  open_port();
  tell("result fev1=363 fev6=399 fef=404");
  run(S);
  end();
  return h.n;
}

/* As the protocol's text gives it. */
TEST(published_frame) {
  uint8_t expected[59] = {2};
  memcpy(expected + 1, REAL, 56);
  expected[57] = 3;
  expected[58] = 0x6A;
  assert_int_equal(send_real(), sizeof(expected));
  assert_memory_equal(h.in, expected, sizeof(expected));
}

TEST(real_frame) {
  uint8_t real[128];
  char path[PATH_MAX];
  const char *folder = getenv("ASALEED_SAMPLES");
  snprintf(path, sizeof(path), "%s/vitalograph/lung_monitor_bt_spp_real_frame.bin",
           folder ? folder : "../shared/samples");
  FILE *file = fopen(path, "rb");
  if (!file) {
    print_message("no real frame at %s\n", path);
    skip();
  }
  size_t n = fread(real, 1, sizeof(real), file);
  fclose(file);
  assert_int_equal(send_real(), n);
  assert_memory_equal(h.in, real, n);
}

TEST(given_numbers) {
  char p[512];
  begin("model=b,id=9876543210,clock=2031-12-31T23:59:59", 0);
  open_port();
  tell("result pef=042 fev075=007 fev1=123 fev6=456 ratio=078 fef=009 fev1-best=321 pef-best=654 fev1%=012 pef%=034 "
       "green=080 yellow=060 orange=050 bad=1 sw=111");
  expect_result(p);
  assert_string_equal(p, "FTD9876543210042007123456078009321654012034080060050"
                         "3112312359591111");
  tell("result pef=999 fev1=250 fev6=500");
  expect_result(p);
  assert_int_equal(strlen(p), 68);
  assert_int_equal(field(p, 25, 3), 50);
  assert_int_equal(field(p, 13, 3), 999);
  assert_int_equal(field(p, 16, 3), 0);
  end();
}

/* What is sent is what the lungs did, to the last digit, give or take the instrument's millisecond. */
static void check_numbers(const char *p, bool is_b, const struct blow_options *o) {
  struct blow b;
  assert_int_equal(blow_make(o, &b), 0);
  const struct blow_truth *t = &b.truth;
  unsigned fev1 = field(p, is_b ? 19 : 13, 3), fev6 = field(p, is_b ? 22 : 16, 3), ratio = field(p, is_b ? 25 : 19, 3);
  if (o->defect != BLOW_BAD_ZERO) {
    if (!isnan(t->fev1))
      assert_true(fabs(fev1 - 100 * t->fev1) <= 0.7);
    assert_true(fabs(fev6 - 100 * (isnan(t->fev6) ? t->fvc : t->fev6)) <= 0.7);
    assert_true(fabs(field(p, is_b ? 28 : 22, 3) - 100 * t->fef25_75) <= 0.7 + t->fef25_75);
    if (is_b)
      assert_true(fabs(field(p, 13, 3) - 60 * t->pef) <= 1.0);
    if (is_b && !isnan(t->fev1)) {
      size_t i = (size_t)((t->time_zero + 0.75) * b.rate_hz);
      assert_in_range(field(p, 16, 3), 100 * b.volume[i] - 2, 100 * b.volume[i + 1] + 2);
    }
  }
  assert_true(fabs(ratio - 100.0 * fev1 / fev6) <= 0.5);
  bool unseen = o->defect == BLOW_CLEAN || o->defect == BLOW_BAD_ZERO || o->defect == BLOW_INCOMPLETE_INSPIRATION;
  assert_int_equal(p[is_b ? 64 : 52], unseen ? '0' : '1');
  blow_finish(&b);
}

TEST(blows_are_true) {
  for (unsigned is_b = 0; is_b < 2; is_b++) {
    begin(is_b ? "model=b,seed=11,speed=max" : "seed=11,speed=max", 0);
    open_port();
    for (unsigned p = 0; p < BLOW_PATTERNS; p++) {
      for (unsigned d = 0; d < BLOW_DEFECTS; d++) {
        char command[64], payload[512];
        struct blow_options blow;
        snprintf(command, sizeof(command), "blow %s %s", blow_pattern_name((enum blow_pattern)p),
                 blow_defect_name((enum blow_defect)d));
        tell(command);
        expect_result(payload);
        assert_int_equal(strlen(payload), is_b ? 68 : 56);
        assert_true(vitalograph_blow(h.sim, &blow));
        assert_int_equal(blow.pattern, p);
        assert_int_equal(blow.defect, d);
        check_numbers(payload, is_b, &blow);
      }
    }
    end();
  }
}

TEST(one_patient) {
  char p[512];
  unsigned least = 999, most = 0, differ = 0, last = 0;
  begin("seed=5,manner=obstructive", 0);
  open_port();
  for (unsigned i = 0; i < 8; i++) {
    tell("blow");
    expect_result(p);
    unsigned fev6 = field(p, 16, 3);
    least = fev6 < least ? fev6 : least;
    most = fev6 > most ? fev6 : most;
    differ += fev6 != last;
    last = fev6;
    assert_true(field(p, 19, 3) < 70);
  }
  assert_true(most - least <= 15); /* repeatable within 150 ml */
  assert_true(differ >= 4);
  end();
}

TEST(personal_bests) {
  char p[512];
  begin("model=b,fev1-best=400,pef-best=600", 0);
  open_port();
  tell("result pef=450 fev1=300 fev6=400");
  expect_result(p);
  assert_int_equal(field(p, 31, 3), 400);
  assert_int_equal(field(p, 34, 3), 600);
  assert_int_equal(field(p, 37, 3), 75);
  assert_int_equal(field(p, 40, 3), 75);
  say_frame("GVRD");
  run(S);
  expect_byte(6);
  tell("result pef=450 fev1=300 fev6=400");
  expect_result(p);
  assert_int_equal(field(p, 31, 12), 0);
  end();
}

/* ---- the link ---- */

TEST(stored_blows) {
  char a[512], b[512], c[512];
  begin("clock=2026-03-01T08:00:00,records=1", 0);
  run(30 * S);
  tell("blow");
  run(60 * S);
  assert_int_equal(waiting(), 0); /* nobody listens */
  open_port();
  run(S);
  expect_frame(a);
  run(S);
  assert_int_equal(waiting(), 0); /* waits for its answer */
  say_byte(6);
  run(S);
  expect_frame(b);
  close_port();
  run(60 * S);
  assert_int_equal(waiting(), 0);
  open_port();
  run(S);
  expect_frame(c); /* unanswered, so it comes again */
  assert_string_equal(b, c);
  assert_memory_equal(a + 40, "260301075900", 12);
  assert_memory_equal(b + 40, "260301080030", 12);
  say_byte(6);
  run(S);
  close_port();
  open_port();
  run(60 * S);
  assert_int_equal(waiting(), 0);
  end();
}

TEST(memory_is_bounded) {
  char p[512];
  begin("speed=max", 0);
  for (unsigned i = 0; i < 40; i++) {
    char command[32];
    snprintf(command, sizeof(command), "result fev1=%03u", i);
    tell(command);
  }
  open_port();
  for (unsigned i = 8; i < 40; i++) {
    run(S);
    expect_frame(p);
    assert_int_equal(field(p, 13, 3), i);
    say_byte(6);
  }
  run(60 * S);
  assert_int_equal(waiting(), 0);
  end();
}

TEST(repeats) {
  char p[512];
  begin(standing, 0);
  open_port();
  tell("result fev1=363 fev6=399 fef=404");
  for (unsigned i = 0; i < 4; i++) { /* once, and three times more */
    run(100 * MS);
    expect_frame(p);
    assert_string_equal(p, REAL);
    say_byte(0x15);
  }
  run(60 * S);
  assert_int_equal(waiting(), 0);
  assert_int_equal(stat("stored"), 1);
  tell("result fev1=001"); /* something new: it tries again, the oldest first */
  run(S);
  expect_frame(p);
  assert_string_equal(p, REAL);
  say_byte(6);
  expect_result(p);
  assert_int_equal(field(p, 13, 3), 1);
  end();
}

TEST(no_answer) {
  char p[512];
  begin(standing, 0);
  open_port();
  tell("result fev1=363 fev6=399 fef=404");
  run(3 * S);
  expect_frame(p);
  assert_int_equal(waiting(), 0);
  run(200 * MS); /* 3 s after the last byte, which took 61 ms */
  expect_frame(p);
  say_byte(6);
  run(60 * S);
  assert_int_equal(waiting(), 0);
  assert_int_equal(stat("frames_repeated"), 1);
  end();
}

TEST(pace) {
  static const struct {
    const char *options;
    uint64_t us;
  } cases[] = {{"speed=1", 61458}, {"speed=8", 7682}, {"speed=max", 0}};
  for (unsigned i = 0; i < 3; i++) {
    begin(cases[i].options, 0);
    open_port();
    tell("blow");
    run(cases[i].us ? cases[i].us - 1 : 0);
    if (cases[i].us) {
      assert_int_equal(waiting(), 0);
      run(1);
    }
    assert_int_equal(waiting(), 59);
    end();
  }
}

TEST(auto_blows) {
  char p[512];
  begin("auto=1500,clock=2026-03-01T08:00:00", 0);
  run(60 * S);
  open_port();
  run(1499 * MS);
  assert_int_equal(waiting(), 0);
  run(100 * MS);
  expect_frame(p);
  assert_memory_equal(p + 40, "260301080101", 12);
  say_byte(6);
  run(1400 * MS);
  say_byte(0); /* whatever is written puts it off */
  run(1400 * MS);
  assert_int_equal(waiting(), 0);
  run(200 * MS);
  expect_frame(p);
  close_port();
  run(60 * S);
  assert_int_equal(waiting(), 0);
  assert_int_equal(stat("blows"), 2);
  end();
}

TEST(power) {
  char p[512];
  begin("clock=2026-03-01T08:00:00", 0);
  tell("blow");
  run(10 * S);
  sim_vitalograph.power_on(h.sim, h.now);
  open_port();
  expect_result(p);
  tell("blow");
  expect_result(p);
  assert_memory_equal(p + 40, "260301080021", 12); /* its clock went on */
  end();
}

/* ---- commands ---- */

TEST(commands) {
  static const uint8_t get_time[] = {2, 'G', 'V', 'G', 'T', 3, 3}; /* as the protocol's text gives it */
  char p[512];
  begin("model=b,clock=2013-05-28T10:44:00", 0);
  open_port();
  run(65 * S);
  say(get_time, sizeof(get_time));
  run(S);
  expect_byte(6);
  expect_frame(p);
  assert_string_equal(p, "GVST130528104505");
  say_byte(0x15); /* as if it had come damaged */
  run(S);
  expect_frame(p);
  assert_string_equal(p, "GVST130528104505");
  say_byte(6);

  say_frame("GVST260228235950");
  run(20 * S);
  expect_byte(6);
  tell("blow");
  expect_result(p);
  assert_memory_equal(p + 52, "260301000010", 12);

  static const char *const refused[] = {"GVST",
                                        "GVST260230000000",
                                        "GVST261301000000",
                                        "GVST26022823595",
                                        "GVST26022823595x",
                                        "GVCM2602282359",
                                        "GVXX",
                                        "",
                                        "gvgt",
                                        "GVGT0"};
  for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
    say_frame(refused[i]);
    run(S);
    expect_byte(0x15);
    assert_int_equal(waiting(), 0);
  }
  say_frame("GVXR");
  run(S);
  expect_byte(6);
  assert_int_equal(stat("requests_bad"), 0);

  say(get_time, 6); /* a wrong BCC */
  say_byte(4);
  run(S);
  expect_byte(0x15);
  assert_int_equal(waiting(), 0);
  assert_int_equal(stat("requests_bad"), 1);

  say_byte(2); /* a frame that begins anew, after noise, byte by byte */
  say("GVG\x7F", 4);
  for (size_t i = 0; i < sizeof(get_time); i++)
    say_byte(get_time[i]);
  run(S);
  expect_byte(6);
  expect_frame(p);
  end();
}

TEST(clear_memory) {
  begin("model=b", 0);
  tell("blow");
  tell("blow");
  open_port();
  run(10 * MS);
  say_frame("GVCM");
  run(S);
  size_t n = waiting();
  assert_int_equal(n, 71 + 1); /* what was under way, and the acknowledgement */
  assert_int_equal(h.in[h.n - 1], 6);
  run(60 * S);
  assert_int_equal(waiting(), n);
  end();
}

/* A result is under way when the host asks for the time: first things first. */
TEST(command_amid_result) {
  char p[512];
  begin("model=b", 0);
  open_port();
  tell("blow");
  say_frame("GVGT");
  run(S);
  expect_frame(p);
  assert_int_equal(p[0], 'F');
  expect_byte(6);
  assert_int_equal(waiting(), 0);
  say_byte(6);
  run(S);
  expect_frame(p);
  assert_memory_equal(p, "GVST", 4);
  say_byte(6);
  run(60 * S);
  assert_int_equal(waiting(), 0);
  end();
}

TEST(model_a_hears_no_commands) {
  begin("", 0);
  open_port();
  say_frame("GVGT");
  say_frame("GVCM");
  run(10 * S);
  assert_int_equal(waiting(), 0);
  assert_int_equal(stat("requests"), 2);
  end();
}

TEST(clock_of_the_practice) {
  char p[512];
  /* 2026-03-01T08:00:00 when the caller's clock shows 0 */
  begin("clock=host", 1772352000ll * 1000000);
  run(3600ull * S);
  open_port();
  tell("blow");
  expect_result(p);
  assert_memory_equal(p + 40, "260301090000", 12);
  end();
}

/* ---- faults ---- */

TEST(bad_checksum) {
  char p[512];
  begin(standing, 0);
  break_it("bad-checksum:1");
  open_port();
  tell("result fev1=363 fev6=399 fef=404");
  run(S);
  assert_false(next_frame(p));
  say_byte(0x15);
  run(S);
  assert_true(next_frame(p));
  assert_string_equal(p, REAL);
  say_byte(6);
  break_it("bad-checksum");
  tell("blow");
  for (unsigned i = 0; i < 4; i++) {
    run(S);
    assert_false(next_frame(p));
    say_byte(0x15);
  }
  run(60 * S);
  assert_int_equal(waiting(), 0);
  end();
}

TEST(wrong_lengths) {
  char p[512];
  begin(standing, 0);
  open_port();
  break_it("short-frame:1");
  tell("result fev1=363 fev6=399 fef=404");
  expect_result(p);
  assert_int_equal(strlen(p), 55);
  assert_memory_equal(p, REAL, 55);
  break_it("long-frame:1");
  tell("blow");
  expect_result(p);
  assert_int_equal(strlen(p), 300);
  break_it("truncated-frame:1");
  tell("blow");
  run(S);
  assert_int_equal(waiting(), 29);
  h.pos = h.n;
  run(10 * S);
  expect_frame(p); /* unanswered, so it comes again, whole */
  assert_int_equal(strlen(p), 56);
  end();
}

TEST(noise) {
  begin("seed=3", 0);
  break_it("noise:20");
  open_port();
  tell("result fev1=363");
  run(S);
  assert_int_equal(waiting(), 20 + 59);
  h.pos += 20;
  char p[512];
  expect_frame(p);
  end();
}

TEST(silence) {
  char p[512];
  begin("model=b", 0);
  open_port();
  break_it("silence:1");
  tell("blow");
  run(S);
  expect_frame(p);
  say_byte(0x15);
  say_frame("GVGT");
  run(60 * S);
  assert_int_equal(waiting(), 0);
  break_it("none");
  say_frame("GVXR");
  run(S);
  assert_true(waiting() > 0);
  break_it("silence");
  h.pos = h.n;
  say_frame("GVXR");
  run(60 * S);
  assert_int_equal(waiting(), 0);
  end();
}

TEST(babble) {
  begin("model=b", 0);
  break_it("babble");
  open_port();
  tell("blow");
  run(10 * S);
  assert_in_range(waiting(), 9500, 9600);
  unsigned seen = 0;
  for (unsigned v = 0; v < 256; v++)
    seen += memchr(h.in, (int)v, h.n) != NULL;
  assert_int_equal(seen, 256);
  end();
}

TEST(clock_faults) {
  char p[512];
  begin("model=b,clock=2026-03-01T08:00:00", 0);
  open_port();
  run(100 * S);
  break_it("clock-2013");
  run(5 * S);
  tell("blow");
  expect_result(p);
  assert_memory_equal(p + 52, "130528104405", 12);
  break_it("none");
  say_frame("GVST260301080500");
  run(S);
  expect_byte(6);
  tell("blow");
  expect_result(p);
  assert_memory_equal(p + 52, "260301080501", 12);

  break_it("no-clock");
  say_frame("GVGT");
  say_frame("GVST260301080500");
  run(60 * S);
  assert_int_equal(waiting(), 0);
  say_frame("GVXR");
  run(S);
  expect_byte(6);

  break_it("same-time");
  run(100 * S);
  tell("result fev1=123");
  expect_result(p);
  assert_memory_equal(p + 52, "260301080501", 12);
  assert_int_equal(field(p, 19, 3), 123);
  end();
}

TEST(garbage) {
  static const struct {
    const char *fault;
    size_t at, len;
    const char *text;
  } cases[] = {
      {"garbage-letters", 13, 3, "AAA"},   {"garbage-spaces", 13, 3, "   "},
      {"garbage-sign", 13, 3, "-63"},      {"garbage-sign:2", 16, 3, "-99"},
      {"garbage-letters:9", 37, 3, "AAA"}, {"garbage-spaces:10", 40, 12, "            "},
      {"garbage-letters:11", 52, 1, "A"},  {"garbage-sign:12", 53, 3, "-23"},
      {"garbage-sign:99", 53, 3, "-23"},
  };
  for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    char p[512], expected[] = REAL;
    begin(standing, 0);
    break_it(cases[i].fault);
    open_port();
    tell("result fev1=363 fev6=399 fef=404");
    expect_result(p);
    memcpy(expected + cases[i].at, cases[i].text, cases[i].len);
    assert_string_equal(p, expected);
    end();
  }
}

TEST(refusals) {
  char p[512];
  begin("model=b", 0);
  open_port();
  break_it("nak");
  say_frame("GVGT");
  run(S);
  expect_byte(0x15);
  assert_int_equal(waiting(), 0);
  break_it("none");
  break_it("wrong-device");
  say_frame("GVGT");
  run(S);
  expect_byte(0x15);
  tell("blow");
  expect_result(p);
  assert_memory_equal(p, "FXX", 3);
  end();
}

TEST(never_stops) {
  char first[512], p[512];
  begin("", 0);
  break_it("resend");
  open_port();
  tell("blow");
  run(S);
  expect_frame(first);
  for (unsigned i = 0; i < 20; i++) {
    say_byte(6);
    run(1100 * MS);
    expect_frame(p);
    assert_string_equal(p, first);
  }
  end();
}

/* ---- texts, and what no instrument is told ---- */

TEST(texts) {
  static const char *const faults[] = {"silence",      "babble",     "bad-checksum",    "truncated-frame",
                                       "short-frame",  "long-frame", "noise",           "clock-2013",
                                       "no-clock",     "same-time",  "garbage-letters", "garbage-spaces",
                                       "garbage-sign", "nak",        "resend",          "wrong-device"};
  static const char *const bad_options[] = {
      "model=c",    "id=12",  "id=12345678901", "id=12345x7890", "clock=now",      "clock=2026-02-30T00:00:00",
      "records=33", "auto=x", "speed=0",        "manner=sneeze", "fev1-best=1000", "colour=red",
      "seed",       "=1"};
  static const char *const bad_commands[] = {"",
                                             "blows",
                                             "blow sneeze",
                                             "result fev1",
                                             "result fev1=",
                                             "result fev1=1000",
                                             "result bad=10",
                                             "result fvc=1",
                                             "result fev1=-1",
                                             "start"};
  char why[256], answer[256];
  begin("", 0);
  for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
    break_it(faults[i]);
    assert_non_null(strstr(sim_vitalograph.help, faults[i]));
  }
  break_it("none");
  assert_int_equal(sim_vitalograph.fault(h.sim, "lost-frame"), -EINVAL);
  assert_int_equal(sim_vitalograph.fault(h.sim, "noise:x"), -EINVAL);
  for (unsigned i = 0; i < sizeof(bad_commands) / sizeof(bad_commands[0]); i++) {
    assert_int_equal(sim_vitalograph.command(h.sim, 0, bad_commands[i], answer), -EINVAL);
    assert_true(answer[0] != '\0');
  }
  assert_int_equal(stat("stored"), 0);
  end();
  for (unsigned i = 0; i < sizeof(bad_options) / sizeof(bad_options[0]); i++) {
    why[0] = '\0';
    assert_null(sim_vitalograph.create(bad_options[i], 0, why));
    assert_true(why[0] != '\0');
  }
}

/* Same options, same calls, same bytes; and no bytes from the host do it harm. */
TEST(any_bytes) {
  static uint8_t first[sizeof(h.in)];
  size_t first_n = 0;
  for (unsigned round = 0; round < 2; round++) {
    uint32_t x = 12345;
    begin("model=b,records=5,auto=100", 0);
    open_port();
    for (unsigned i = 0; i < 20000; i++) {
      static const uint8_t likely[] = {2, 3, 6, 0x15, 'G', 'V', 'S', 'T', 'M', 'C', '0', '1'};
      x = x * 1664525u + 1013904223u;
      uint8_t byte = x >> 31 ? (uint8_t)(x >> 20) : likely[(x >> 16) % sizeof(likely)];
      say_byte(byte);
      if (i % 16 == 0)
        run(20 * MS);
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
      cmocka_unit_test(published_frame),
      cmocka_unit_test(real_frame),
      cmocka_unit_test(given_numbers),
      cmocka_unit_test(blows_are_true),
      cmocka_unit_test(one_patient),
      cmocka_unit_test(personal_bests),
      cmocka_unit_test(stored_blows),
      cmocka_unit_test(memory_is_bounded),
      cmocka_unit_test(repeats),
      cmocka_unit_test(no_answer),
      cmocka_unit_test(pace),
      cmocka_unit_test(auto_blows),
      cmocka_unit_test(power),
      cmocka_unit_test(commands),
      cmocka_unit_test(clear_memory),
      cmocka_unit_test(command_amid_result),
      cmocka_unit_test(model_a_hears_no_commands),
      cmocka_unit_test(clock_of_the_practice),
      cmocka_unit_test(bad_checksum),
      cmocka_unit_test(wrong_lengths),
      cmocka_unit_test(noise),
      cmocka_unit_test(silence),
      cmocka_unit_test(babble),
      cmocka_unit_test(clock_faults),
      cmocka_unit_test(garbage),
      cmocka_unit_test(refusals),
      cmocka_unit_test(never_stops),
      cmocka_unit_test(texts),
      cmocka_unit_test(any_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
