/*
 * The EMI12 engine, checked through a decoder of its own: it shares no code with the engine, and none with the driver.
 */
#include "emi12.h"
#include "engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>

/* ---- a small decoder ---- */

struct frame {
  uint8_t body[65536]; /* unstuffed, with its CRC */
  size_t len;
  bool crc_ok;
};

struct reader {
  const uint8_t *bytes;
  size_t len, pos;
  size_t stray;    /* bytes outside frames */
  unsigned broken; /* frames that began anew before they ended */
};

/* One bit at a time, as the definition has it, on purpose unlike any production code. */
static unsigned crc_of(const uint8_t *bytes, size_t len) {
  unsigned reg = 0xFFFF;
  for (size_t bit = 0; bit < len * 8; bit++) {
    unsigned in = (unsigned)(bytes[bit / 8] >> (7 - bit % 8)) & 1u;
    unsigned out = reg >> 15 & 1u;
    reg = (reg << 1 & 0xFFFF) ^ (in != out ? 0x1021u : 0u);
  }
  return reg;
}

static bool next_frame(struct reader *r, struct frame *f) {
  bool inside = false, escaped = false;
  f->len = 0;
  while (r->pos < r->len) {
    uint8_t c = r->bytes[r->pos++];
    if (c == 0xFC) {
      r->broken += inside;
      inside = true;
      escaped = false;
      f->len = 0;
    } else if (!inside) {
      r->stray++;
    } else if (c == 0xFD) {
      f->crc_ok =
          f->len >= 5 && crc_of(f->body, f->len - 2) == (f->body[f->len - 2] | (unsigned)f->body[f->len - 1] << 8);
      return true;
    } else if (c == 0xFE) {
      escaped = true;
    } else {
      assert_true(f->len < sizeof(f->body));
      f->body[f->len++] = escaped ? c ^ 0x20 : c;
      escaped = false;
    }
  }
  return false;
}

static unsigned command_of(const struct frame *f) {
  return f->body[1] | (unsigned)f->body[2] << 8;
}

static unsigned block_of(const struct frame *f) {
  return f->body[3] | (unsigned)f->body[4] << 8;
}

static unsigned counter_of(const struct frame *f) {
  const uint8_t *t = f->body + f->len - 5;
  return t[0] | (unsigned)t[1] << 7 | (unsigned)t[2] << 14;
}

/* Samples of an ECG frame; returns how many. */
static size_t samples_of(const struct frame *f, int *out, size_t max) {
  size_t n = 0, end = f->len - 6;
  for (size_t i = 8; i < end; n++) {
    int value;
    if (f->body[i] & 1) {
      assert_true(i + 1 < end);
      value = (f->body[i] >> 1) * 256 + f->body[i + 1];
      value -= value >= 16384 ? 32768 : 0;
      i += 2;
    } else {
      value = f->body[i] / 2;
      value -= value >= 64 ? 128 : 0;
      i++;
    }
    assert_true(n < max);
    out[n] = value;
  }
  return n;
}

/* ---- a session ---- */

#define SESSION_MAX (8u << 20)

struct session {
  struct emi12_sim *sim;
  uint8_t *bytes;
  size_t len;
  uint8_t next_number;
};

static struct session open_session(const struct emi12_sim_options *options) {
  static const struct emi12_sim_options standard;
  struct session s = {0};
  s.sim = emi12_sim_create(options ? options : &standard);
  s.bytes = malloc(SESSION_MAX);
  assert_non_null(s.sim);
  assert_non_null(s.bytes);
  return s;
}

static void close_session(struct session *s) {
  emi12_sim_destroy(s->sim);
  free(s->bytes);
}

static void run_until(struct session *s, uint64_t now) {
  size_t n;
  while ((n = emi12_sim_transmit(s->sim, now, s->bytes + s->len, SESSION_MAX - s->len)) > 0)
    s->len += n;
}

static uint8_t send_request(struct session *s, uint64_t now, const uint8_t *request, size_t len) {
  uint8_t body[64], wire[128];
  size_t n = 0;
  body[0] = s->next_number++;
  memcpy(body + 1, request, len++);
  unsigned crc = crc_of(body, len);
  body[len++] = (uint8_t)(crc & 0xFF);
  body[len++] = (uint8_t)(crc >> 8);
  wire[n++] = 0xFC;
  for (size_t i = 0; i < len; i++) {
    if (body[i] >= 0xFC && body[i] <= 0xFE) {
      wire[n++] = 0xFE;
      wire[n++] = body[i] ^ 0x20;
    } else {
      wire[n++] = body[i];
    }
  }
  wire[n++] = 0xFD;
  emi12_sim_receive(s->sim, now, wire, n);
  return body[0];
}

#define REQUEST(s, now, ...) \
  send_request((s), (now), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
#define GET(s, what_high, what_low) REQUEST(s, 0, 0x00, 0x08, what_low, what_high)
#define START(s, now) REQUEST(s, now, 0x05, 0x09, 1)
#define STOP(s, now) REQUEST(s, now, 0x05, 0x09, 0)

static struct reader reader_of(const struct session *s) {
  return (struct reader){.bytes = s->bytes, .len = s->len};
}

static void expect_frame(struct reader *r, struct frame *f, unsigned command) {
  assert_true(next_frame(r, f));
  assert_true(f->crc_ok);
  assert_int_equal(command_of(f), command);
}

static void expect_ack(struct reader *r, struct frame *f, uint8_t number) {
  expect_frame(r, f, 0x0200);
  assert_int_equal(f->len, 6);
  assert_int_equal(f->body[3], number);
}

/* All that can be told of a stream from outside. */
struct survey {
  unsigned frames, bad_crc, acks, others, number_jumps, number_repeats, counter_errors;
  size_t sets;
  unsigned shortest, longest, fewest, most;
};

static struct survey survey_of(struct reader r, unsigned leads) {
  static struct frame f;
  struct survey v = {.shortest = UINT_MAX, .fewest = UINT_MAX};
  static int samples[4096];
  int last = -1;
  unsigned counter = 0;
  while (next_frame(&r, &f)) {
    if (!f.crc_ok) {
      v.bad_crc++;
      continue;
    }
    if (last >= 0 && f.body[0] == last)
      v.number_repeats++;
    else if (last >= 0 && f.body[0] != ((last + 1) & 0xFF))
      v.number_jumps++;
    last = f.body[0];
    if (command_of(&f) != 0x0724) {
      v.acks += command_of(&f) == 0x0200;
      v.others += command_of(&f) != 0x0200;
      continue;
    }
    size_t n = samples_of(&f, samples, 4096);
    assert_int_equal(n % leads, 0);
    unsigned sets = (unsigned)(n / leads);
    if (((counter + sets) & 0x1FFFFF) != counter_of(&f))
      v.counter_errors++;
    counter = counter_of(&f);
    v.frames++;
    v.sets += sets;
    v.shortest = f.len < v.shortest ? (unsigned)f.len : v.shortest;
    v.longest = f.len > v.longest ? (unsigned)f.len : v.longest;
    v.fewest = sets < v.fewest ? sets : v.fewest;
    v.most = sets > v.most ? sets : v.most;
  }
  return v;
}

/* ---- requests ---- */

struct ready_made {
  const char *hex;
  unsigned reply; /* 0: acknowledged only */
};

static size_t from_hex(const char *hex, uint8_t *out) {
  size_t n = 0;
  for (; hex[2 * n]; n++) {
    char byte[3] = {hex[2 * n], hex[2 * n + 1], 0};
    out[n] = (uint8_t)strtoul(byte, NULL, 16);
  }
  return n;
}

/* The protocol text gives these frames whole: they prove our CRC and the engine's, byte by byte in any split. */
static void test_ready_made(void **state) {
  (void)state;
  static const struct ready_made frames[] = {
      {"FC00000800018CA8FD", 0x0100}, {"FC000008000508E8FD", 0x0500}, {"FC00000800066BD8FD", 0x0600},
      {"FC000008500133A6FD", 0x0150}, {"FC0001090205EECFFD", 0x0701}, {"FC000109020A013EFD", 0x0701},
      {"FC0005090189C5FD", 0},        {"FC00050900A8D5FD", 0},        {"FC001809009F242397FD", 0x0718},
      {"FC002609011F1AFD", 0x0726},   {"FC002609003E0AFD", 0},
  };
  for (unsigned i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
    uint8_t wire[64];
    static struct frame f;
    size_t len = from_hex(frames[i].hex, wire);
    struct reader own = {.bytes = wire, .len = len};
    assert_true(next_frame(&own, &f));
    assert_true(f.crc_ok);
    for (unsigned split = 0; split < 2; split++) {
      struct session s = open_session(NULL);
      for (size_t at = 0; split && at < len; at++)
        emi12_sim_receive(s.sim, 0, wire + at, 1);
      if (!split)
        emi12_sim_receive(s.sim, 0, wire, len);
      run_until(&s, 0);
      struct reader r = reader_of(&s);
      expect_ack(&r, &f, 0);
      if (frames[i].reply)
        expect_frame(&r, &f, frames[i].reply);
      assert_false(next_frame(&r, &f));
      assert_int_equal(r.stray, 0);
      close_session(&s);
    }
  }
}

static void test_replies(void **state) {
  (void)state;
  static struct frame f;
  struct session s = open_session(&(struct emi12_sim_options){.firmware = "1.2", .protocol_version = 3});
  GET(&s, 0x01, 0x00);
  GET(&s, 0x01, 0x50);
  GET(&s, 0x05, 0x00);
  GET(&s, 0x06, 0x00);
  REQUEST(&s, 0, 0x01, 0x09, 1, 10);
  REQUEST(&s, 0, 0x18, 0x09, 0x00, 0x9F, 0x24);
  GET(&s, 0x77, 0x77);
  REQUEST(&s, 0, 0x27, 0x09, 1);
  REQUEST(&s, 0, 0x01, 0x09, 7, 10); /* no such lead set */
  REQUEST(&s, 0, 0x01, 0x09, 2, 3);  /* no such rate */
  REQUEST(&s, 0, 0x01, 0x09);        /* too short */
  assert_int_equal(emi12_sim_rate_hz(s.sim), 1000);
  run_until(&s, 0);
  struct reader r = reader_of(&s);
  expect_ack(&r, &f, 0);
  expect_frame(&r, &f, 0x0100);
  assert_int_equal(f.body[3], 3);
  expect_ack(&r, &f, 1);
  expect_frame(&r, &f, 0x0150);
  assert_int_equal(f.len, 3 + 11 + 2);
  assert_memory_equal(f.body + 3, "1.2        ", 11);
  expect_ack(&r, &f, 2);
  expect_frame(&r, &f, 0x0500);
  assert_memory_equal(f.body + 3, "\x01\x1E", 2);
  expect_ack(&r, &f, 3);
  expect_frame(&r, &f, 0x0600);
  assert_memory_equal(f.body + 3, "\xE4\x20", 2);
  expect_ack(&r, &f, 4);
  expect_frame(&r, &f, 0x0701);
  assert_memory_equal(f.body + 3, "\x01\x0A", 2);
  expect_ack(&r, &f, 5);
  expect_frame(&r, &f, 0x0718);
  assert_memory_equal(f.body + 3, "\x00\x9F\x24", 3);
  for (uint8_t number = 6; number <= 10; number++)
    expect_ack(&r, &f, number);
  assert_false(next_frame(&r, &f));
  close_session(&s);
}

/* Packet numbers FC, FD and FE have to be stuffed, in both directions, and wrap. */
static void test_stuffing_and_numbers(void **state) {
  (void)state;
  static struct frame f;
  struct session s = open_session(&(struct emi12_sim_options){.packet_number = 200});
  for (unsigned i = 0; i < 600; i++)
    REQUEST(&s, 0, 0x27, 0x09, (uint8_t)i);
  run_until(&s, 0);
  struct reader r = reader_of(&s);
  for (unsigned i = 0; i < 600; i++) {
    expect_ack(&r, &f, (uint8_t)i);
    assert_int_equal(f.body[0], (uint8_t)(200 + i));
  }
  assert_int_equal(r.stray, 0);
  struct emi12_sim_stats stats;
  emi12_sim_get_stats(s.sim, &stats);
  assert_int_equal(stats.requests, 600);
  assert_int_equal(stats.bytes_out, s.len);
  close_session(&s);
}

static void test_damaged_requests(void **state) {
  (void)state;
  static const uint8_t start[] = {0xFC, 0x00, 0x05, 0x09, 0x01, 0x89, 0xC5, 0xFD};
  struct session s = open_session(NULL);
  for (size_t i = 0; i < sizeof(start); i++) {
    for (unsigned bit = 0; bit < 8; bit++) {
      uint8_t wire[sizeof(start)];
      memcpy(wire, start, sizeof(start));
      wire[i] ^= (uint8_t)(1u << bit);
      emi12_sim_receive(s.sim, 0, wire, sizeof(wire));
      emi12_sim_receive(s.sim, 0, (const uint8_t *)"\xFD", 1);
    }
  }
  for (size_t len = 0; len < sizeof(start) - 1; len++)
    emi12_sim_receive(s.sim, 0, start, len);
  static uint8_t noise[100000]; /* an endless frame of zeroes */
  emi12_sim_receive(s.sim, 0, noise, sizeof(noise));
  emi12_sim_receive(s.sim, 0, (const uint8_t *)"\xFD\xFC\xFD\xFC\x00\xFD", 6);
  run_until(&s, 1000000);
  assert_int_equal(s.len, 0);
  assert_true(emi12_sim_next_us(s.sim) == UINT64_MAX);
  emi12_sim_receive(s.sim, 0, start, sizeof(start));
  assert_true(emi12_sim_streaming(s.sim));
  close_session(&s);
}

static void test_contact(void **state) {
  (void)state;
  static struct frame f;
  struct session s = open_session(NULL);
  emi12_sim_fault(s.sim, EMI12_FAULT_LEAD_OFF, 2); /* C3 */
  emi12_sim_fault(s.sim, EMI12_FAULT_LEAD_OFF, 9); /* L */
  REQUEST(&s, 0, 0x26, 0x09, 1);
  run_until(&s, 1100000);
  REQUEST(&s, 1100000, 0x26, 0x09, 0);
  run_until(&s, 5000000);
  struct reader r = reader_of(&s);
  expect_ack(&r, &f, 0);
  for (unsigned i = 0; i < 3; i++) { /* at 0, 0.5 and 1 s */
    expect_frame(&r, &f, 0x0726);
    assert_int_equal(f.len, 3 + 2 + 30 + 2);
    assert_int_equal((f.body[3] & 7) << 7 | (f.body[4] & 0x7F), 0x3FF & ~(1 << 2 | 1 << 9));
    for (unsigned e = 0; e < 10; e++) { /* N, F, L, R, C6..C1 */
      const uint8_t *z = f.body + 5 + 3 * e;
      uint32_t ohms = z[0] | (uint32_t)z[1] << 8 | (uint32_t)z[2] << 16;
      assert_int_equal(ohms >= 2400000, e == 2 || e == 7);
    }
  }
  expect_ack(&r, &f, 1);
  assert_false(next_frame(&r, &f));
  close_session(&s);
}

/* ---- the stream ---- */

static void test_cadence(void **state) {
  (void)state;
  static struct frame f;
  struct session s = open_session(NULL);
  START(&s, 1000);
  run_until(&s, 1000 + 21090000 - 1);
  struct survey v = survey_of(reader_of(&s), 8);
  assert_int_equal(v.frames, 996);
  assert_int_equal(emi12_sim_next_us(s.sim), 1000 + 21090000);
  run_until(&s, 1000 + 21090000);
  v = survey_of(reader_of(&s), 8);
  assert_int_equal(v.frames, 997);
  assert_int_equal(v.sets, 10545);
  assert_int_equal(v.fewest, 10);
  assert_int_equal(v.most, 11);
  assert_int_equal(v.acks, 1);
  assert_int_equal(v.bad_crc + v.number_jumps + v.number_repeats + v.counter_errors + v.others, 0);

  STOP(&s, 1000 + 21090000);
  run_until(&s, 90000000);
  struct reader r = reader_of(&s);
  unsigned last = 0, frames = 0;
  while (next_frame(&r, &f)) {
    last = command_of(&f);
    frames++;
  }
  assert_int_equal(frames, 999);
  assert_int_equal(last, 0x0200);
  assert_int_equal(f.body[3], 1);
  close_session(&s);
}

/* Run by its own alarm clock, at several speeds, in small bites: the same bytes. */
static void test_clock_is_only_pace(void **state) {
  (void)state;
  struct session slow = open_session(NULL);
  START(&slow, 0);
  run_until(&slow, 10000000);
  static const unsigned speeds[] = {1, 3, 100, 0};
  for (unsigned i = 0; i < 4; i++) {
    struct emi12_sim_options options = {0};
    emi12_sim_options_speed(&options, speeds[i]);
    struct session fast = open_session(&options);
    START(&fast, 0);
    uint64_t now = 0;
    while (fast.len < slow.len) {
      uint64_t next = emi12_sim_next_us(fast.sim);
      assert_true(next != UINT64_MAX);
      now = next > now ? next : now;
      size_t room = slow.len - fast.len;
      size_t n = emi12_sim_transmit(fast.sim, now, fast.bytes + fast.len, room < 7 ? room : 7);
      assert_true(n > 0);
      fast.len += n;
    }
    assert_memory_equal(fast.bytes, slow.bytes, slow.len);
    if (speeds[i])
      assert_in_range(now, 9900000 / speeds[i], 10000000 / speeds[i] + 1);
    else
      assert_int_equal(now, 0);
    close_session(&fast);
  }
  close_session(&slow);
}

static void test_rates(void **state) {
  (void)state;
  static const unsigned rates[] = {100, 200, 500, 1000};
  for (unsigned i = 0; i < 4; i++) {
    for (unsigned leads = 1; leads <= 2; leads++) {
      struct session s = open_session(NULL);
      REQUEST(&s, 0, 0x01, 0x09, (uint8_t)leads, (uint8_t)(rates[i] / 100));
      START(&s, 0);
      run_until(&s, 30000000);
      struct survey v = survey_of(reader_of(&s), leads == 1 ? 2 : 8);
      assert_in_range(v.sets, 30 * rates[i] - rates[i] / 40, 30 * rates[i]);
      assert_in_range(v.frames, 1417, 1419);
      assert_int_equal(v.bad_crc + v.number_jumps + v.counter_errors, 0);
      close_session(&s);
    }
  }
}

static void test_counters_wrap(void **state) {
  (void)state;
  static struct frame f;
  struct emi12_sim_options options = {.packet_number = 125, .block_counter = 65534, .dataset_counter = 0x1FFFFF - 4000};
  struct session s = open_session(&options);
  START(&s, 0);
  run_until(&s, 20000000);
  struct reader r = reader_of(&s);
  expect_ack(&r, &f, 0);
  unsigned number = 126, block = 65534, counter = 0x1FFFFF - 4000, wraps = 0, counter_wraps = 0;
  int samples[512];
  while (next_frame(&r, &f)) {
    assert_int_equal(f.body[0], number);
    assert_int_equal(block_of(&f), block);
    unsigned sets = (unsigned)(samples_of(&f, samples, 512) / 8);
    counter_wraps += counter + sets > 0x1FFFFF;
    counter = (counter + sets) & 0x1FFFFF;
    assert_int_equal(counter_of(&f), counter);
    if (++number == 256) {
      number = 0;
      block = (block + 1) & 0xFFFF;
      wraps++;
    }
  }
  assert_int_equal(wraps, 4);
  assert_int_equal(counter_wraps, 1);

  /* A second start: the numbers go on, the dataset counter begins again. */
  STOP(&s, 20000000);
  START(&s, 20000000);
  size_t before = s.len;
  run_until(&s, 20100000);
  r = (struct reader){.bytes = s.bytes + before, .len = s.len - before};
  expect_ack(&r, &f, 1);
  assert_int_equal(f.body[0], number);
  expect_ack(&r, &f, 2);
  expect_frame(&r, &f, 0x0724);
  assert_int_equal(f.body[0], (number + 2) & 0xFF);
  assert_int_equal(counter_of(&f), 0x1FFFFF - 4000 + 11);
  close_session(&s);
}

static void check_truth(const struct session *s, unsigned leads) {
  static struct frame f;
  struct reader r = reader_of(s);
  int samples[512];
  uint32_t set = 0;
  while (next_frame(&r, &f)) {
    if (command_of(&f) != 0x0724)
      continue;
    assert_true(f.crc_ok);
    size_t n = samples_of(&f, samples, 512);
    for (size_t i = 0; i < n; i++)
      assert_int_equal(samples[i], emi12_sim_truth(s->sim, (unsigned)(i % leads), set + (uint32_t)(i / leads)));
    set += (uint32_t)(n / leads);
  }
  assert_true(set > 0);
}

static void test_truth(void **state) {
  (void)state;
  static const unsigned gains[] = {1, 100, 700, 10000};
  for (unsigned i = 0; i < 4; i++) {
    struct session s = open_session(&(struct emi12_sim_options){.seed = i, .gain_percent = gains[i]});
    START(&s, 0);
    run_until(&s, 20000000);
    check_truth(&s, 8);
    assert_int_equal(emi12_sim_truth(s.sim, 8, 0), INT_MIN);
    close_session(&s);
  }
  struct session s = open_session(&(struct emi12_sim_options){.leads = 3, .rate_hz = 200, .heart_rate = 300});
  START(&s, 0);
  run_until(&s, 20000000);
  check_truth(&s, 2);
  close_session(&s);
}

/* Figures a reader of ECGs would find odd if they were otherwise. */
static void test_looks_like_an_ecg(void **state) {
  (void)state;
  static const unsigned rates[] = {40, 72, 150};
  for (unsigned i = 0; i < 3; i++) {
    struct session s = open_session(&(struct emi12_sim_options){.heart_rate = rates[i]});
    int max[8] = {0}, min[8] = {0}, beats = 0, high = 0;
    for (uint32_t set = 0; set < 30000; set++) {
      for (unsigned lead = 0; lead < 8; lead++) {
        int value = emi12_sim_truth(s.sim, lead, set);
        max[lead] = value > max[lead] ? value : max[lead];
        min[lead] = value < min[lead] ? value : min[lead];
      }
      int ii = emi12_sim_truth(s.sim, 0, set);
      beats += ii > 250 && !high;
      high = ii > 250 || (high && ii > 150);
    }
    assert_int_equal(beats, rates[i]); /* one minute */
    assert_in_range(max[0], 380, 480); /* lead II: 1.0 to 1.3 mV */
    assert_true(max[0] > max[1]);
    assert_true(min[2] < -300 && max[2] < 150); /* V1: rS */
    assert_true(max[6] > 400 && min[6] > -200); /* V5: qRs */
    close_session(&s);
  }
}

/* ---- faults ---- */

static struct survey survey_with(enum emi12_fault fault, unsigned arg, size_t *stray, unsigned *broken) {
  struct session s = open_session(NULL);
  assert_int_equal(emi12_sim_fault(s.sim, fault, arg), 0);
  START(&s, 0);
  run_until(&s, 21090000);
  struct reader r = reader_of(&s);
  struct survey v = survey_of(r, 8);
  static struct frame f;
  while (next_frame(&r, &f))
    ;
  if (stray)
    *stray = r.stray;
  if (broken)
    *broken = r.broken;
  close_session(&s);
  return v;
}

static void test_stream_faults(void **state) {
  (void)state;
  size_t stray;
  unsigned broken;
  struct survey v = survey_with(EMI12_FAULT_LOST_FRAME, 100, NULL, NULL);
  assert_int_equal(v.frames, 988);
  assert_int_equal(v.number_jumps, 9);
  assert_int_equal(v.counter_errors, 9);
  v = survey_with(EMI12_FAULT_LOST_FRAME, 600, NULL, NULL);
  assert_int_equal(v.frames, 996);
  v = survey_with(EMI12_FAULT_LOST_FRAME, 1, NULL, NULL);
  assert_int_equal(v.frames, 0);
  v = survey_with(EMI12_FAULT_BAD_CRC, 0, NULL, NULL);
  assert_int_equal(v.bad_crc, 99);
  assert_int_equal(v.frames, 898);
  v = survey_with(EMI12_FAULT_TRUNCATED_FRAME, 0, &stray, &broken);
  assert_int_equal(broken, 99);
  assert_int_equal(v.frames, 898);
  v = survey_with(EMI12_FAULT_DUPLICATE_PN, 0, NULL, NULL);
  assert_int_equal(v.number_repeats, 99);
  assert_int_equal(v.counter_errors, 0);
  v = survey_with(EMI12_FAULT_DUPLICATE_FRAME, 0, NULL, NULL);
  assert_int_equal(v.frames, 997 + 99);
  assert_int_equal(v.number_repeats, 99);
  assert_int_equal(v.counter_errors, 99);
  v = survey_with(EMI12_FAULT_COUNTER_SKIP, 0, NULL, NULL);
  assert_int_equal(v.counter_errors, 99);
  assert_int_equal(v.number_jumps, 0);
  v = survey_with(EMI12_FAULT_LONG_FRAME, 40000, &stray, &broken);
  assert_int_equal(broken, 99);
  assert_int_equal(v.frames, 997);
  v = survey_with(EMI12_FAULT_NOISE, 0, &stray, NULL);
  assert_true(stray > 10000);
  assert_int_equal(v.frames, 997);
  v = survey_with(EMI12_FAULT_SILENCE, 47, NULL, NULL);
  assert_int_equal(v.frames, 47);
  v = survey_with(EMI12_FAULT_WRONG_RATE, 0, NULL, NULL);
  assert_int_equal(v.sets, 2109);
  v = survey_with(EMI12_FAULT_RATE_DRIFT, 50, NULL, NULL);
  assert_in_range(v.sets, 5262, 5272);
  v = survey_with(EMI12_FAULT_NO_START, 0, NULL, NULL);
  assert_int_equal(v.frames, 0);
  assert_int_equal(v.acks, 1);

  struct session s = open_session(NULL);
  emi12_sim_fault(s.sim, EMI12_FAULT_BABBLE, 0);
  START(&s, 0);
  for (uint64_t now = 0; now <= 10000000; now += 1000)
    run_until(&s, now);
  assert_in_range(s.len, 230000, 232000); /* a full line */
  v = survey_of(reader_of(&s), 8);
  assert_int_equal(v.frames + v.acks + v.others, 0);
  close_session(&s);
}

static void test_request_faults(void **state) {
  (void)state;
  static struct frame f;
  struct session s = open_session(NULL);
  struct reader r;

  emi12_sim_fault(s.sim, EMI12_FAULT_NO_STOP, 0);
  START(&s, 0);
  STOP(&s, 0);
  run_until(&s, 1000000);
  struct survey v = survey_of(reader_of(&s), 8);
  assert_int_equal(v.acks, 2);
  assert_int_equal(v.frames, 47);
  emi12_sim_fault(s.sim, EMI12_FAULT_NONE, 0);
  STOP(&s, 1000000);
  run_until(&s, 2000000);
  assert_false(emi12_sim_streaming(s.sim));

  static const struct {
    enum emi12_fault fault;
    unsigned arg;
    int ack;              /* packet number after the right one; -1: none */
    int reply_first_byte; /* of the self-test; -1: none */
  } cases[] = {
      {EMI12_FAULT_NO_ACK, 0, -1, 0xE4},
      {EMI12_FAULT_WRONG_ACK, 0, 1, 0xE4},
      {EMI12_FAULT_NO_REPLY, 0, 0, -1},
      {EMI12_FAULT_SELF_TEST_FAIL, 0, 0, 0xC4},
      {EMI12_FAULT_SELF_TEST_FAIL, 0x80, 0, 0x64},
      {EMI12_FAULT_SILENCE, 0, -1, -1},
  };
  for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    s.len = 0;
    emi12_sim_fault(s.sim, cases[i].fault, cases[i].arg);
    uint8_t number = GET(&s, 0x06, 0x00);
    run_until(&s, 2000000);
    r = reader_of(&s);
    if (cases[i].ack >= 0)
      expect_ack(&r, &f, (uint8_t)(number + cases[i].ack));
    if (cases[i].reply_first_byte >= 0) {
      expect_frame(&r, &f, 0x0600);
      assert_int_equal(f.body[3], cases[i].reply_first_byte);
    }
    assert_false(next_frame(&r, &f));
    emi12_sim_fault(s.sim, EMI12_FAULT_NONE, 0);
  }

  s.len = 0;
  emi12_sim_fault_text(s.sim, "wrong-device:0x1234");
  emi12_sim_fault_text(s.sim, "wrong-rate:200");
  uint8_t number = GET(&s, 0x05, 0x00);
  REQUEST(&s, 2000000, 0x01, 0x09, 2, 5);
  run_until(&s, 2000000);
  r = reader_of(&s);
  expect_ack(&r, &f, number);
  expect_frame(&r, &f, 0x0500);
  assert_memory_equal(f.body + 3, "\x34\x12", 2);
  expect_ack(&r, &f, (uint8_t)(number + 1));
  expect_frame(&r, &f, 0x0701);
  assert_memory_equal(f.body + 3, "\x02\x02", 2);
  close_session(&s);
}

/* C2 off between two moments of a stream: idle just there, and the contact bits say so. */
static void test_lead_off(void **state) {
  (void)state;
  static struct frame f;
  struct session s = open_session(NULL);
  START(&s, 0);
  run_until(&s, 4000000);
  emi12_sim_fault(s.sim, EMI12_FAULT_LEAD_OFF, 1);
  run_until(&s, 8000000);
  emi12_sim_fault(s.sim, EMI12_FAULT_LEAD_ON, 1);
  emi12_sim_fault(s.sim, EMI12_FAULT_LEAD_OFF, 8); /* R: lead II */
  run_until(&s, 12000000);
  check_truth(&s, 8);
  struct reader r = reader_of(&s);
  expect_ack(&r, &f, 0);
  int samples[512];
  unsigned c2_off = 0, r_off = 0;
  while (next_frame(&r, &f)) {
    size_t n = samples_of(&f, samples, 512);
    unsigned bits = (f.body[6] & 7u) << 7 | f.body[7];
    assert_int_equal(f.body[6] & ~7, 0x60);
    assert_int_equal(f.body[7] & 0x80, 0);
    for (size_t set = 0; set < n; set += 8) {
      c2_off += samples[set + 3] == -1 && !(bits & 2);
      r_off += samples[set] == -1 && !(bits & 1u << 8);
      if (!(bits & 2))
        assert_int_equal(samples[set + 3], -1);
      if (!(bits & 1u << 8))
        assert_int_equal(samples[set], -1);
    }
  }
  assert_in_range(c2_off, 1985, 2015);
  assert_in_range(r_off, 1985, 2015);
  close_session(&s);
}

extern const struct sim_engine sim_emi12;

static void test_fault_text(void **state) {
  (void)state;
  struct session s = open_session(NULL);
  for (unsigned i = 0; i < EMI12_FAULT_COUNT; i++) {
    assert_int_equal(emi12_sim_fault_text(s.sim, emi12_fault_name((enum emi12_fault)i)), 0);
    if (i != EMI12_FAULT_NONE)
      assert_non_null(strstr(sim_emi12.help, emi12_fault_name((enum emi12_fault)i)));
  }
  assert_null(emi12_fault_name(EMI12_FAULT_COUNT));
  static const char *const bad[] = {"",
                                    "lost",
                                    "lost-frame:",
                                    "lost-frame:x",
                                    "lost-frame:-1",
                                    "lead-off:10",
                                    "wrong-rate:300",
                                    "long-frame:60001",
                                    "noise:99999999999999999999"};
  for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
    assert_true(emi12_sim_fault_text(s.sim, bad[i]) < 0);
  close_session(&s);
  static const struct emi12_sim_options wrong[] = {
      {.rate_hz = 300}, {.leads = 6}, {.heart_rate = 10}, {.stream_len = 5}};
  for (unsigned i = 0; i < 4; i++)
    assert_null(emi12_sim_create(&wrong[i]));
}

static void test_power_on(void **state) {
  (void)state;
  static struct frame f;
  struct session s = open_session(&(struct emi12_sim_options){.packet_number = 9});
  REQUEST(&s, 0, 0x01, 0x09, 1, 10);
  START(&s, 0);
  run_until(&s, 1000000);
  emi12_sim_power_on(s.sim);
  s.len = 0;
  run_until(&s, 2000000);
  assert_int_equal(s.len, 0);
  assert_int_equal(emi12_sim_rate_hz(s.sim), 500);
  GET(&s, 0x01, 0x00);
  run_until(&s, 2000000);
  struct reader r = reader_of(&s);
  assert_true(next_frame(&r, &f));
  assert_int_equal(f.body[0], 9);
  close_session(&s);
}

/* The same module set up by texts, as the simulator program does it. */
static void test_engine(void **state) {
  (void)state;
  static uint8_t other[1 << 20];
  char why[256] = "", answer[256], said[512];
  struct session s = open_session(
      &(struct emi12_sim_options){.packet_number = 200, .block_counter = 65535, .seed = 3, .heart_rate = 90});
  START(&s, 0);
  run_until(&s, 5000000);
  void *sim = sim_emi12.create("packet=200,block=0xffff,seed=3,heart-rate=90", 0, why);
  assert_non_null(sim);
  assert_int_equal(sim_emi12.command(sim, 0, "start", answer), 0);
  size_t n = 0, part;
  while ((part = sim_emi12.transmit(sim, 5000000, other + n, sizeof(other) - n)) > 0)
    n += part;
  assert_int_equal(n, s.len);
  assert_memory_equal(other, s.bytes, n);
  assert_true(sim_emi12.stats(sim, said, sizeof(said)) < sizeof(said));
  assert_non_null(strstr(said, "streaming=1 bytes_in=8 requests=1 requests_bad=0"));
  assert_true(sim_emi12.replay(sim, other, n) < 0); /* not amid a stream */
  assert_int_equal(sim_emi12.command(sim, 0, "blow", answer), -EINVAL);
  assert_int_equal(sim_emi12.fault(sim, "lost-frame"), 0);
  assert_int_equal(sim_emi12.fault(sim, "found-frame"), -EINVAL);
  sim_emi12.destroy(sim);
  close_session(&s);
  static const char *const bad[] = {"seed", "seed=x", "speed=0", "packet=256", "clock=host", "seed=1,,", "rate=300"};
  for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    why[0] = '\0';
    assert_null(sim_emi12.create(bad[i], 0, why));
    assert_true(why[0] != '\0');
  }
}

/* ---- replay ---- */

/* A made-up recording, so that replay is tested where the real one is missing. */
static size_t make_recording(uint8_t *out, size_t max) {
  struct session s = open_session(&(struct emi12_sim_options){.packet_number = 249, .seed = 5});
  START(&s, 0);
  emi12_sim_transmit(s.sim, 0, out, max); /* the acknowledgement */
  run_until(&s, 21090000);
  assert_true(s.len < max);
  memcpy(out, s.bytes, s.len);
  size_t len = s.len;
  close_session(&s);
  return len;
}

static void check_replay(const uint8_t *recording, size_t len, uint64_t duration_us) {
  static const unsigned speeds[] = {1, 50, 0};
  for (unsigned i = 0; i < 3; i++) {
    struct emi12_sim_options options = {.stream = recording, .stream_len = len};
    emi12_sim_options_speed(&options, speeds[i]);
    struct session s = open_session(&options);
    static struct frame f;
    for (unsigned round = 0; round < 2; round++) { /* from the beginning at each start */
      uint64_t now = round * 100000000u, from = now;
      s.len = 0;
      uint8_t number = START(&s, now);
      if (!speeds[i])
        STOP(&s, now); /* answered after the whole recording */
      while (emi12_sim_next_us(s.sim) != UINT64_MAX) {
        uint64_t next = emi12_sim_next_us(s.sim);
        now = next > now ? next : now;
        run_until(&s, now);
      }
      if (speeds[i])
        assert_in_range(now - from, duration_us / speeds[i] - 25000, duration_us / speeds[i] + 25000);
      struct reader r = reader_of(&s);
      expect_ack(&r, &f, number);
      assert_true(s.len - r.pos >= len);
      assert_memory_equal(s.bytes + r.pos, recording, len);
      r.pos += len;
      if (!speeds[i])
        expect_ack(&r, &f, (uint8_t)(number + 1));
      else
        STOP(&s, now);
      assert_false(emi12_sim_streaming(s.sim));
      assert_false(next_frame(&r, &f));
      run_until(&s, now);
    }
    assert_int_equal(emi12_sim_truth(s.sim, 0, 0), INT_MIN);
    close_session(&s);
  }
}

static void test_replay(void **state) {
  (void)state;
  static uint8_t recording[1 << 20];
  size_t len = make_recording(recording, sizeof(recording));
  check_replay(recording, len, 21090000);

  /* Faults on the line strike a recording too. */
  struct session s = open_session(&(struct emi12_sim_options){.stream = recording, .stream_len = len});
  emi12_sim_fault(s.sim, EMI12_FAULT_BAD_CRC, 100);
  START(&s, 0);
  run_until(&s, 30000000);
  struct survey v = survey_of(reader_of(&s), 8);
  assert_int_equal(v.bad_crc, 9);
  close_session(&s);

  /* Closing the line lets a waiting stop take effect. */
  struct emi12_sim_options options = {.stream = recording, .stream_len = len};
  emi12_sim_options_speed(&options, 0);
  s = open_session(&options);
  START(&s, 0);
  uint8_t some[100];
  emi12_sim_transmit(s.sim, 0, some, sizeof(some));
  STOP(&s, 0);
  assert_true(emi12_sim_streaming(s.sim));
  emi12_sim_line_closed(s.sim);
  assert_false(emi12_sim_streaming(s.sim));
  close_session(&s);

  /* Bytes that are no frames at all are sent as they are, and end. */
  static uint8_t rubbish[10000];
  for (size_t i = 0; i < sizeof(rubbish); i++)
    rubbish[i] = (uint8_t)(i * i >> 3);
  s = open_session(&(struct emi12_sim_options){.stream = rubbish, .stream_len = sizeof(rubbish)});
  START(&s, 0);
  run_until(&s, 3600000000u);
  assert_memory_equal(s.bytes + s.len - sizeof(rubbish), rubbish, sizeof(rubbish));
  close_session(&s);
}

static void test_real_capture(void **state) {
  (void)state;
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[PATH_MAX];
  snprintf(path, sizeof(path), "%s/corscience_emi12/emi12_12lead_500Hz_serial_capture.bin",
           folder ? folder : "../shared/samples");
  FILE *file = fopen(path, "rb");
  if (!file) {
    print_message("no real capture at %s\n", path);
    skip();
  }
  static uint8_t capture[1 << 20];
  size_t len = fread(capture, 1, sizeof(capture), file);
  fclose(file);
  assert_int_equal(len, 190909);

  struct reader r = {.bytes = capture, .len = len};
  struct survey real = survey_of(r, 8);
  assert_int_equal(real.frames, 997);
  assert_int_equal(real.sets, 10545);
  assert_int_equal(real.bad_crc + real.number_jumps + real.number_repeats + real.counter_errors, 0);
  assert_int_equal(real.fewest, 10);
  assert_int_equal(real.most, 11);
  check_replay(capture, len, 21090000);

  /* The engine set up like that patient: V1 to V6 unconnected, the numbers where the capture's begin. */
  struct session s = open_session(
      &(struct emi12_sim_options){.packet_number = 124, .block_counter = 24, .heart_rate = 190, .gain_percent = 150});
  for (unsigned e = 0; e < 6; e++)
    emi12_sim_fault(s.sim, EMI12_FAULT_LEAD_OFF, e);
  START(&s, 0);
  run_until(&s, 21090000);
  struct survey own = survey_of(reader_of(&s), 8);
  assert_int_equal(own.frames, real.frames);
  assert_int_equal(own.sets, real.sets);
  assert_in_range(own.shortest, 14 + 10 * 8, real.longest); /* no frame is shorter than all one-byte samples */
  assert_in_range(own.longest, real.shortest, real.longest);

  static struct frame a, b;
  unsigned last = 0;
  struct reader own_reader = reader_of(&s);
  expect_ack(&own_reader, &a, 0);
  r = (struct reader){.bytes = capture, .len = len};
  while (next_frame(&r, &a)) {
    assert_true(next_frame(&own_reader, &b));
    assert_memory_equal(a.body, b.body, 6);                 /* number, command, block counter, 00 */
    assert_int_equal(a.body[6] & ~7, b.body[6] & ~7);       /* 60 and the contact bits */
    assert_int_equal(a.body[a.len - 6], b.body[b.len - 6]); /* 00 */
    last = counter_of(&b);
    assert_in_range(last, counter_of(&a) < 66 ? 0 : counter_of(&a) - 66, counter_of(&a) + 66);
  }
  assert_int_equal(last, 10545);
  close_session(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ready_made),
      cmocka_unit_test(test_replies),
      cmocka_unit_test(test_stuffing_and_numbers),
      cmocka_unit_test(test_damaged_requests),
      cmocka_unit_test(test_contact),
      cmocka_unit_test(test_cadence),
      cmocka_unit_test(test_clock_is_only_pace),
      cmocka_unit_test(test_rates),
      cmocka_unit_test(test_counters_wrap),
      cmocka_unit_test(test_truth),
      cmocka_unit_test(test_looks_like_an_ecg),
      cmocka_unit_test(test_stream_faults),
      cmocka_unit_test(test_request_faults),
      cmocka_unit_test(test_lead_off),
      cmocka_unit_test(test_fault_text),
      cmocka_unit_test(test_engine),
      cmocka_unit_test(test_power_on),
      cmocka_unit_test(test_replay),
      cmocka_unit_test(test_real_capture),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
