/* The Corscience EMI12 driver: its frame layer, its conversation against a module that this file plays, and its
 * decoding. The stream builder and the module below were written from the protocol's description, not from the
 * driver; in place of the worker this program has its own acq_io. */
#include "buf.h"
#include "capture.h"
#include "frame.h"
#include "hash.h"
#include "record_build.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

extern const struct acq_driver corscience_emi12;
#define DRIVER (&corscience_emi12)

/* ---- a stream builder --------------------------------------------------------------------------------------- */

struct bytes {
  uint8_t at[1 << 21];
  size_t n;
};

static void put(struct bytes *b, unsigned byte) {
  assert_true(b->n < sizeof b->at);
  b->at[b->n++] = (uint8_t)byte;
}

static uint16_t bitwise_crc(const uint8_t *p, size_t n) {
  unsigned crc = 0xffff;
  while (n--)
    for (unsigned bit = 8, byte = *p++; bit--;) {
      unsigned carry = (crc >> 15 ^ byte >> bit) & 1;
      crc = (crc << 1 & 0xffff) ^ (carry ? 0x1021 : 0);
    }
  return (uint16_t)crc;
}

/* Stuffs and frames a body whose CRC is xor-ed with `spoil`. */
static void put_body(struct bytes *b, const uint8_t *body, size_t n, unsigned spoil) {
  uint8_t whole[8192];
  assert_true(n + 2 <= sizeof whole);
  memcpy(whole, body, n);
  unsigned crc = bitwise_crc(body, n) ^ spoil;
  whole[n] = (uint8_t)(crc & 0xff);
  whole[n + 1] = (uint8_t)(crc >> 8);
  put(b, 0xfc);
  for (size_t i = 0; i < n + 2; i++)
    switch (whole[i]) {
    case 0xfc:
      put(b, 0xfe), put(b, 0xdc);
      break;
    case 0xfd:
      put(b, 0xfe), put(b, 0xdd);
      break;
    case 0xfe:
      put(b, 0xfe), put(b, 0xde);
      break;
    default:
      put(b, whole[i]);
    }
  put(b, 0xfd);
}

static void put_frame(struct bytes *b, unsigned packet, unsigned command, const uint8_t *data, size_t n) {
  uint8_t body[4096] = {(uint8_t)packet, (uint8_t)(command & 0xff), (uint8_t)(command >> 8)};
  memcpy(body + 3, data, n);
  put_body(b, body, n + 3, 0);
}

/* The signal: deterministic, with both sample codings in every frame. */
static int wave(uint32_t k, unsigned lead) {
  uint32_t x = (k * 8 + lead) * 2654435761u;
  x ^= x >> 15;
  return lead % 3 == 1 ? (int)(x % 128) - 64 : (int)(x % 20001) - 10000;
}

static size_t put_sample(uint8_t *p, int v) {
  if (v >= -64 && v <= 63) {
    p[0] = (uint8_t)((v & 0x7f) << 1);
    return 1;
  }
  p[0] = (uint8_t)((v >> 8 & 0x7f) << 1 | 1);
  p[1] = (uint8_t)(v & 0xff);
  return 2;
}

struct source {
  uint32_t number;   /* block counter and packet number of the next frame */
  uint32_t counter;  /* sets so far */
  uint16_t contacts; /* 0..0x3ff */
  int (*wave)(uint32_t k, unsigned lead);
};

static struct source source(uint32_t number, uint32_t counter) {
  return (struct source){number, counter, 0, wave};
}

/* The body of the next ECG frame. */
static size_t make_ecg(struct source *s, unsigned sets, uint8_t body[static 4096]) {
  uint8_t *p = body;
  *p++ = (uint8_t)s->number;
  *p++ = 0x24;
  *p++ = 0x07;
  *p++ = (uint8_t)(s->number >> 8);
  *p++ = (uint8_t)(s->number >> 16);
  *p++ = 0x00;
  *p++ = (uint8_t)(0x60 | s->contacts >> 7);
  *p++ = s->contacts & 0x7f;
  for (unsigned i = 0; i < sets; i++)
    for (unsigned lead = 0; lead < 8; lead++)
      p += put_sample(p, s->wave(s->counter + i, lead));
  s->counter += sets;
  s->number = (s->number + 1) & 0xffffff;
  *p++ = 0x00;
  *p++ = s->counter & 0x7f;
  *p++ = s->counter >> 7 & 0x7f;
  *p++ = s->counter >> 14 & 0x7f;
  return (size_t)(p - body);
}

static void put_ecg(struct bytes *b, struct source *s, unsigned sets) {
  uint8_t body[4096];
  size_t n = make_ecg(s, sets, body);
  put_body(b, body, n, 0);
}

/* A frame that the module sent and nobody received. */
static void lose_ecg(struct source *s, unsigned sets) {
  s->number = (s->number + 1) & 0xffffff;
  s->counter += sets;
}

static struct bytes *new_bytes(void) {
  struct bytes *b = calloc(1, sizeof *b);
  assert_non_null(b);
  return b;
}

/* ---- what a record says ------------------------------------------------------------------------------------- */

struct reading {
  int err;
  char reason[256];
  struct record_result result;
  json_t *json;
};

static struct reading read_capture(const struct acq_capture *capture) {
  struct reading r = {0};
  struct record_result results[WIRE_RECORDS] = {0};
  r.err = record_decode(DRIVER, capture, results, r.reason);
  if (r.err == 0) {
    r.result = results[WIRE_OWN];
    assert_null(results[WIRE_STRAY].json);
    char why[256] = "";
    size_t data_bytes = r.result.data_values * sizeof(int16_t);
    if (record_read(r.result.json, r.result.json_bytes, r.result.data, data_bytes, &r.json, why) < 0)
      fail_msg("the record is not accepted: %s", why);
  }
  return r;
}

static struct reading read_raw(const void *bytes, size_t n) {
  struct acq_capture capture;
  assert_int_equal(capture_from_raw(bytes, n, &capture), 0);
  struct reading r = read_capture(&capture);
  capture_finish(&capture);
  return r;
}

static void reading_finish(struct reading *r) {
  record_result_finish(&r->result);
  json_decref(r->json);
}

static const json_t *find_by_code(const json_t *array, const char *code, const char *subject) {
  size_t i;
  json_t *item;
  json_array_foreach(array, i, item) {
    if (!strcmp(json_text(item, "code"), code) && (!subject || !strcmp(json_text(item, "subject"), subject)))
      return item;
  }
  return NULL;
}

static const json_t *channel_json(const struct reading *r, const char *code) {
  const json_t *c = find_by_code(json_object_get(json_object_get(r->json, "acquired"), "channels"), code, NULL);
  assert_non_null(c);
  return c;
}

static const int16_t *channel(const struct reading *r, const char *code, size_t *ret_n) {
  const json_t *c = channel_json(r, code);
  *ret_n = (size_t)json_integer_value(json_object_get(c, "samples"));
  return r->result.data + json_integer_value(json_object_get(c, "first"));
}

static size_t samples_of(const struct reading *r) {
  size_t n;
  channel(r, "lead_ii", &n);
  return n;
}

/* How often a quality item was noted; 0 when it was not. */
static unsigned noted(const struct reading *r, const char *code, const char *subject) {
  const json_t *item = find_by_code(json_object_get(r->json, "quality"), code, subject);
  return item ? (unsigned)json_integer_value(json_object_get(item, "count")) : 0;
}

static size_t items(const struct reading *r) {
  return json_array_size(json_object_get(r->json, "quality"));
}

static const char *const codes[12] = {"lead_i",  "lead_ii", "lead_iii", "lead_avr", "lead_avl", "lead_avf",
                                      "lead_v1", "lead_v2", "lead_v3",  "lead_v4",  "lead_v5",  "lead_v6"};

static void expected_leads(int (*wave_)(uint32_t, unsigned), uint32_t k, long ret[12]) {
  double ii = wave_(k, 0), iii = wave_(k, 1), i = ii - iii;
  ret[0] = lround(i);
  ret[1] = lround(ii);
  ret[2] = lround(iii);
  ret[3] = lround(-(i + ii) / 2); /* lround: half away from zero */
  ret[4] = lround((i - iii) / 2);
  ret[5] = lround((ii + iii) / 2);
  for (unsigned v = 0; v < 6; v++)
    ret[6 + v] = wave_(k, 2 + v);
}

/* Sample `at` of every channel is the source's set k. */
static void assert_set(const struct reading *r, size_t at, int (*wave_)(uint32_t, unsigned), uint32_t k) {
  long want[12];
  expected_leads(wave_, k, want);
  for (unsigned c = 0; c < 12; c++) {
    size_t n;
    const int16_t *v = channel(r, codes[c], &n);
    assert_true(at < n);
    assert_int_equal(v[at], want[c]);
  }
}

static void assert_gap(const struct reading *r, size_t first, size_t count) {
  for (unsigned c = 0; c < 12; c++) {
    size_t n, i;
    const int16_t *v = channel(r, codes[c], &n);
    for (i = first; i < first + count; i++)
      assert_int_equal(v[i], ACQ_GAP);
    json_t *gap;
    bool listed = false;
    json_array_foreach(json_object_get(channel_json(r, codes[c]), "gaps"), i, gap) {
      listed |= json_integer_value(json_array_get(gap, 0)) == (json_int_t)first &&
                json_integer_value(json_array_get(gap, 1)) == (json_int_t)count;
    }
    assert_true(listed);
  }
}

/* ---- the frame layer ---------------------------------------------------------------------------------------- */

static size_t unhex(const char *hex, uint8_t *ret) {
  size_t n = strlen(hex) / 2;
  for (size_t i = 0; i < n; i++) {
    unsigned v;
    assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
    ret[i] = (uint8_t)v;
  }
  return n;
}

static void test_ready_made_frames(void **state) {
  (void)state;
  static const struct {
    unsigned command;
    uint8_t data[3], n;
    const char *hex;
  } v[] = {
      {0x0800, {0x00, 0x01}, 2, "FC00000800018CA8FD"},
      {0x0800, {0x00, 0x05}, 2, "FC000008000508E8FD"},
      {0x0800, {0x00, 0x06}, 2, "FC00000800066BD8FD"},
      {0x0800, {0x50, 0x01}, 2, "FC000008500133A6FD"},
      {0x0901, {0x02, 0x05}, 2, "FC0001090205EECFFD"},
      {0x0901, {0x02, 0x0a}, 2, "FC000109020A013EFD"},
      {0x0905, {0x01}, 1, "FC0005090189C5FD"},
      {0x0905, {0x00}, 1, "FC00050900A8D5FD"},
      {0x0918, {0x00, 0x9f, 0x24}, 3, "FC001809009F242397FD"},
      {0x0926, {0x01}, 1, "FC002609011F1AFD"},
      {0x0926, {0x00}, 1, "FC002609003E0AFD"},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    uint8_t want[64], got[64];
    size_t n = unhex(v[i].hex, want);
    assert_int_equal(emi12_encode(0, (uint16_t)v[i].command, v[i].data, v[i].n, got, sizeof got), n);
    assert_memory_equal(got, want, n);
    struct emi12_reader r;
    struct emi12_frame f;
    struct acq_cur in = acq_cur(want, n);
    emi12_reader_init(&r);
    assert_int_equal(emi12_read(&r, &in, &f), EMI12_FRAME);
    assert_int_equal(f.packet, 0);
    assert_int_equal(f.command, v[i].command);
    assert_int_equal(acq_left(&f.data), v[i].n);
    assert_memory_equal(f.data.at, v[i].data, v[i].n);
  }
}

static void test_encode_bounds(void **state) {
  (void)state;
  static uint8_t data[EMI12_DATA_MAX + 1], wire[EMI12_WIRE_MAX];
  memset(data, 0xfd, sizeof data);
  int n = emi12_encode(0xfc, 0xfefd, data, EMI12_DATA_MAX, wire, sizeof wire);
  assert_true(n > 0 && (size_t)n <= sizeof wire);
  assert_int_equal(emi12_encode(0, 0, data, EMI12_DATA_MAX + 1, wire, sizeof wire), -EMSGSIZE);
  for (int max = 0; max < n; max++)
    assert_int_equal(emi12_encode(0xfc, 0xfefd, data, EMI12_DATA_MAX, wire, (size_t)max), -EMSGSIZE);
  assert_int_equal(emi12_encode(0xfc, 0xfefd, data, EMI12_DATA_MAX, wire, (size_t)n), n);
}

static void assert_next(struct emi12_reader *r, struct acq_cur *in, unsigned packet, unsigned command,
                        const uint8_t *data, size_t n) {
  struct emi12_frame f;
  assert_int_equal(emi12_read(r, in, &f), EMI12_FRAME);
  assert_int_equal(f.packet, packet);
  assert_int_equal(f.command, command);
  assert_int_equal(acq_left(&f.data), n);
  assert_memory_equal(f.data.at, data, n);
}

static void test_stuffing_everywhere(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  static const uint8_t specials[] = {0xfc, 0xfd, 0xfe, 0xdc, 0xdd, 0xde};
  unsigned stuffed_crc = 0;
  for (size_t s = 0; s < sizeof specials; s++)
    for (unsigned at = 0; at < 11; at++)
      for (unsigned salt = 0; salt < 256; salt++) {
        uint8_t body[11] = {1, 2, 3, (uint8_t)salt, 5, 6, 7, 8, 9, 10, 11}, wire[64];
        body[at] = specials[s];
        b->n = 0;
        put_body(b, body, sizeof body, 0);
        int n = emi12_encode(body[0], (uint16_t)(body[1] | body[2] << 8), body + 3, sizeof body - 3, wire, sizeof wire);
        assert_int_equal(n, b->n);
        assert_memory_equal(wire, b->at, b->n);
        uint16_t crc = bitwise_crc(body, sizeof body);
        stuffed_crc += (crc >> 8) >= 0xfc && (crc >> 8) <= 0xfe;
        struct emi12_reader r;
        struct acq_cur in = acq_cur(wire, (size_t)n);
        emi12_reader_init(&r);
        assert_next(&r, &in, body[0], (unsigned)(body[1] | body[2] << 8), body + 3, sizeof body - 3);
        assert_int_equal(acq_left(&in), 0);
      }
  assert_true(stuffed_crc > 0); /* the CRC is stuffed too */
  free(b);
}

static void test_splits(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  static const uint8_t data[] = {0xfc, 0x00, 0xfe, 0xfd, 0xdc, 0xfe};
  for (unsigned i = 0; i < 3; i++)
    put_frame(b, 0xfb + i, 0x0724, data, sizeof data);
  for (size_t cut = 0; cut <= b->n; cut++) {
    struct emi12_reader r;
    struct emi12_frame f;
    unsigned frames = 0;
    emi12_reader_init(&r);
    for (unsigned half = 0; half < 2; half++) {
      struct acq_cur in = half ? acq_cur(b->at + cut, b->n - cut) : acq_cur(b->at, cut);
      enum emi12_status status;
      while ((status = emi12_read(&r, &in, &f)) != EMI12_MORE) {
        assert_int_equal(status, EMI12_FRAME);
        assert_int_equal(f.packet, 0xfb + frames++);
        assert_int_equal(acq_left(&f.data), sizeof data);
        assert_memory_equal(f.data.at, data, sizeof data);
      }
    }
    assert_int_equal(frames, 3);
  }
  struct emi12_reader r;
  struct emi12_frame f;
  unsigned frames = 0;
  emi12_reader_init(&r);
  for (size_t i = 0; i < b->n; i++) {
    struct acq_cur in = acq_cur(b->at + i, 1);
    frames += emi12_read(&r, &in, &f) == EMI12_FRAME;
  }
  assert_int_equal(frames, 3);
  free(b);
}

static void test_resync(void **state) {
  (void)state;
  static const struct {
    const char *hex, *reason; /* between two good frames; NULL: nothing to report */
    unsigned reports;
  } v[] = {
      {"", NULL, 0},
      {"00", "bytes between frames", 1},
      {"fd", "bytes between frames", 1},
      {"0102fd0405", "bytes between frames", 1}, /* a frame whose FC is gone */
      {"fcfd", "frame too short", 1},
      {"fc01020304fd", "frame too short", 1},
      {"fc0000080001", "frame without an end", 1},
      {"fc00000800018ca9fd", "wrong CRC", 1},
      {"fc0000080002018ca8fd", "wrong CRC", 1},
      {"fc00000800fefd", "frame ends in an escape", 1},
      {"fc00000800fe", "frame cut after an escape", 1},
      {"fc00000800fe018ca8fd", "impossible escape", 1},
      {"fc00000800fefe8ca8fd", "impossible escape", 1},
      {"fcfcfc", NULL, 0}, /* a start inside an empty frame takes nothing away */
      {"fc00fc00fc0000", "frame without an end", 3},
      {"fc00fe01fd02fd03", "impossible escape", 1},
  };
  static const uint8_t data[] = {7, 8};
  struct bytes *b = new_bytes();
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    uint8_t middle[64];
    size_t n = unhex(v[i].hex, middle);
    b->n = 0;
    put_frame(b, 1, 0x0200, data, 2);
    for (size_t k = 0; k < n; k++)
      put(b, middle[k]);
    put_frame(b, 2, 0x0200, data, 2);
    struct emi12_reader r;
    struct emi12_frame f;
    struct acq_cur in = acq_cur(b->at, b->n);
    emi12_reader_init(&r);
    assert_next(&r, &in, 1, 0x0200, data, 2);
    for (unsigned k = 0; k < v[i].reports; k++) {
      assert_int_equal(emi12_read(&r, &in, &f), EMI12_DAMAGED);
      assert_string_equal(r.damage, v[i].reason);
    }
    assert_next(&r, &in, 2, 0x0200, data, 2);
    assert_int_equal(emi12_read(&r, &in, &f), EMI12_MORE);
  }
  /* Bytes before the first frame are not damage; frames have a bound. */
  b->n = 0;
  for (unsigned i = 0; i < 5000; i++)
    put(b, i % 0xfc);
  put(b, 0xfd);
  put_frame(b, 1, 0x0200, data, 2);
  put(b, 0xfc);
  for (unsigned i = 0; i < 5000; i++)
    put(b, i % 0xfc);
  put(b, 0xfd);
  put_frame(b, 2, 0x0200, data, 2);
  struct emi12_reader r;
  struct emi12_frame f;
  struct acq_cur in = acq_cur(b->at, b->n);
  emi12_reader_init(&r);
  assert_next(&r, &in, 1, 0x0200, data, 2);
  assert_int_equal(emi12_read(&r, &in, &f), EMI12_DAMAGED);
  assert_string_equal(r.damage, "frame too long");
  assert_next(&r, &in, 2, 0x0200, data, 2);
  free(b);
}

static void test_longest_frame(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  static uint8_t body[EMI12_BODY_MAX];
  memset(body, 0xfe, sizeof body);
  struct emi12_reader r;
  struct emi12_frame f;
  for (unsigned over = 0; over < 2; over++) {
    b->n = 0;
    put_body(b, body, EMI12_BODY_MAX - 2 + over, 0);
    struct acq_cur in = acq_cur(b->at, b->n);
    emi12_reader_init(&r);
    assert_int_equal(emi12_read(&r, &in, &f), over ? EMI12_DAMAGED : EMI12_FRAME);
  }
  free(b);
}

static int ecg_of(const uint8_t *data, size_t n, struct emi12_ecg *ret) {
  struct emi12_frame f = {.packet = 0x7d, .command = EMI12_ECG, .data = acq_cur(data, n)};
  return emi12_ecg_read(&f, ret);
}

static void test_samples(void **state) {
  (void)state;
  struct emi12_ecg e;
  for (int v = -16384; v <= 16383; v++) {
    uint8_t data[64] = {0x18, 0x01, 0, 0x67, 0x7f}, *p = data + 5;
    for (unsigned lead = 0; lead < 8; lead++) { /* always the long form, as a module might send a small value */
      *p++ = (uint8_t)((v >> 8 & 0x7f) << 1 | 1);
      *p++ = (uint8_t)(v & 0xff);
    }
    *p++ = 0, *p++ = 0x31, *p++ = 0x52, *p++ = 0x01;
    assert_int_equal(ecg_of(data, (size_t)(p - data), &e), 0);
    assert_int_equal(e.sets, 1);
    assert_int_equal(e.number, 0x01187d);
    assert_int_equal(e.contacts, 0x3ff);
    assert_int_equal(e.counter, 0x31 + 0x52 * 128 + 16384);
    for (unsigned lead = 0; lead < 8; lead++)
      assert_int_equal(e.values[0][lead], v);
  }
  for (unsigned byte = 0; byte < 256; byte += 2) {
    uint8_t data[] = {0, 0, 0, 0x60, 0, 0xfe, 0, 2, 0x7e, 0x80, 4, 6, (uint8_t)byte, 0, 1, 0, 0};
    assert_int_equal(ecg_of(data, sizeof data, &e), 0);
    static const int want[7] = {-1, 0, 1, 63, -64, 2, 3};
    for (unsigned lead = 0; lead < 7; lead++)
      assert_int_equal(e.values[0][lead], want[lead]);
    assert_int_equal(e.values[0][7], (int)byte / 2 - (byte & 0x80 ? 128 : 0));
  }
}

static void test_ecg_layout(void **state) {
  (void)state;
  static const uint8_t good[] = {0, 0, 0, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0};
  struct emi12_ecg e;
  assert_int_equal(ecg_of(good, sizeof good, &e), 0);
  assert_int_equal(ecg_of(good, 9, &e), 0);
  assert_int_equal(e.sets, 0);
  for (size_t n = 0; n < sizeof good; n++)
    if (n != 9)
      assert_int_equal(ecg_of(good, n, &e), -EPROTO);
  for (size_t i = 13; i < sizeof good; i++) { /* the trailer's high bits */
    uint8_t bad[sizeof good];
    memcpy(bad, good, sizeof bad);
    bad[i] |= 0x80;
    assert_int_equal(ecg_of(bad, sizeof bad, &e), -EPROTO);
  }
  uint8_t half[sizeof good];
  memcpy(half, good, sizeof half);
  half[12] = 1; /* the last sample wants a second byte */
  assert_int_equal(ecg_of(half, sizeof half, &e), -EPROTO);
  static uint8_t big[EMI12_DATA_MAX + 8];
  assert_int_equal(ecg_of(big, 9 + 8 * EMI12_SETS_MAX, &e), 0);
  assert_int_equal(e.sets, EMI12_SETS_MAX);
  assert_int_equal(ecg_of(big, 9 + 8 * (EMI12_SETS_MAX + 1), &e), -EPROTO);
}

/* ---- decoding built streams --------------------------------------------------------------------------------- */

static void test_decode_plain(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  struct source s = source(0x187d, 1000); /* bare bytes may begin anywhere */
  for (unsigned i = 0; i < 100; i++)
    put_ecg(b, &s, i % 3 ? 11 : 10);
  struct reading r = read_raw(b->at, b->n);
  assert_int_equal(r.err, 0);
  size_t n = samples_of(&r);
  assert_int_equal(n, s.counter - 1000);
  for (size_t i = 0; i < n; i++)
    assert_set(&r, i, wave, (uint32_t)(1000 + i));
  for (unsigned c = 0; c < 12; c++) {
    const json_t *ch = channel_json(&r, codes[c]);
    assert_string_equal(json_text(ch, "rate"), "500");
    assert_string_equal(json_text(ch, "scale"), "2.63");
    assert_string_equal(json_text(ch, "unit"), "uV");
    assert_int_equal(json_is_true(json_object_get(ch, "derived")), c == 0 || (c >= 3 && c <= 5));
    assert_int_equal(json_array_size(json_object_get(ch, "gaps")), 0);
    json_t *in_order = json_array_get(json_object_get(json_object_get(r.json, "acquired"), "channels"), c);
    assert_string_equal(json_text(in_order, "code"), codes[c]);
  }
  assert_string_equal(json_text(r.json, "integrity"), "crc16");
  assert_int_equal(items(&r), 2);
  assert_int_equal(noted(&r, "sampling_rate_assumed", ""), 1);
  assert_int_equal(noted(&r, "electrode_contact_unknown", ""), 1);
  reading_finish(&r);
  free(b);
}

static void test_decode_wraps(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  struct source s = source(0xffff80, (1u << 21) - 600); /* packet number, block counter and counter all wrap */
  for (unsigned i = 0; i < 200; i++)
    put_ecg(b, &s, 11);
  struct reading r = read_raw(b->at, b->n);
  assert_int_equal(r.err, 0);
  assert_int_equal(samples_of(&r), 2200);
  for (size_t i = 0; i < 2200; i++)
    assert_set(&r, i, wave, (uint32_t)((1u << 21) - 600 + i));
  assert_int_equal(items(&r), 2);
  reading_finish(&r);
  /* The wrap lies in a gap. */
  b->n = 0;
  s = source(0xffffff, (1u << 21) - 15);
  put_ecg(b, &s, 10);
  lose_ecg(&s, 10);
  put_ecg(b, &s, 10);
  r = read_raw(b->at, b->n);
  assert_int_equal(r.err, 0);
  assert_int_equal(samples_of(&r), 30);
  assert_gap(&r, 10, 10);
  assert_set(&r, 20, wave, (1u << 21) + 5);
  reading_finish(&r);
  free(b);
}

static void test_decode_lost_frames(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  struct source s = source(0, 0);
  put_ecg(b, &s, 11);
  lose_ecg(&s, 10);
  put_ecg(b, &s, 11);
  struct reading r = read_raw(b->at, b->n);
  assert_int_equal(r.err, 0);
  assert_int_equal(samples_of(&r), 32);
  assert_set(&r, 10, wave, 10);
  assert_gap(&r, 11, 10);
  assert_set(&r, 21, wave, 21);
  assert_int_equal(noted(&r, "samples_missing", "0,020 s à partir de 0,022 s"), 1);
  assert_int_equal(noted(&r, "frame_damaged", ""), 0);
  reading_finish(&r);
  for (unsigned i = 0; i < 30; i++)
    lose_ecg(&s, 10);
  put_ecg(b, &s, 10);
  r = read_raw(b->at, b->n);
  assert_int_equal(r.err, 0);
  assert_gap(&r, 11, 10);
  assert_gap(&r, 32, 300);
  assert_set(&r, 332, wave, 332);
  assert_int_equal(noted(&r, "samples_missing", "0,620 s en 2 fois"), 2);
  reading_finish(&r);
  free(b);
}

static void test_decode_damaged_frames(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  struct source s = source(0, 0);
  uint8_t body[4096];
  put_ecg(b, &s, 11);
  size_t n = make_ecg(&s, 11, body);
  put_body(b, body, n, 0x0100); /* bad CRC */
  put_ecg(b, &s, 11);
  n = make_ecg(&s, 11, body);
  put_body(b, body, n - 5, 0); /* its layout is wrong under a good CRC */
  put_ecg(b, &s, 11);
  n = make_ecg(&s, 11, body);
  body[n - 3]++; /* counts a set that is not there, and no frame is missing */
  put_body(b, body, n, 0);
  put_ecg(b, &s, 11);
  struct reading r = read_raw(b->at, b->n);
  assert_int_equal(r.err, 0);
  assert_int_equal(samples_of(&r), 77);
  for (unsigned i = 0; i < 7; i++)
    if (i % 2)
      assert_gap(&r, i * 11, 11);
    else
      assert_set(&r, i * 11, wave, i * 11);
  assert_int_equal(noted(&r, "frame_damaged", ""), 3);
  assert_int_equal(noted(&r, "samples_missing", "0,066 s en 3 fois"), 3);
  reading_finish(&r);
  /* Fewer counted than held: the frame is refused even after a lost one. */
  b->n = 0;
  s = source(0, 0);
  put_ecg(b, &s, 11);
  s.number++;
  n = make_ecg(&s, 11, body);
  body[n - 3] = 20;
  put_body(b, body, n, 0);
  put_ecg(b, &s, 10);
  r = read_raw(b->at, b->n);
  assert_int_equal(r.err, 0);
  assert_int_equal(samples_of(&r), 32);
  assert_gap(&r, 11, 11);
  assert_int_equal(noted(&r, "frame_damaged", ""), 1);
  reading_finish(&r);
  free(b);
}

static void test_decode_repeated(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  struct source s = source(0, 0);
  put_ecg(b, &s, 11);
  size_t at = b->n;
  put_ecg(b, &s, 10);
  size_t n = b->n - at;
  for (unsigned i = 0; i < 3; i++) {
    memcpy(b->at + b->n, b->at + at, n);
    b->n += n;
  }
  put_ecg(b, &s, 11);
  struct reading r = read_raw(b->at, b->n);
  assert_int_equal(r.err, 0);
  assert_int_equal(samples_of(&r), 32);
  for (unsigned i = 0; i < 32; i++)
    assert_set(&r, i, wave, i);
  assert_int_equal(noted(&r, "frame_repeated", ""), 3);
  assert_int_equal(noted(&r, "frame_damaged", ""), 0);
  reading_finish(&r);
  /* The same numbers with other samples are no repeat. */
  b->n = 0;
  s = source(0, 0);
  put_ecg(b, &s, 11);
  struct source again = source(0, 0);
  uint8_t body[4096];
  size_t m = make_ecg(&again, 11, body);
  body[8] ^= 0x02;
  put_body(b, body, m, 0);
  put_ecg(b, &s, 11);
  r = read_raw(b->at, b->n);
  assert_int_equal(r.err, 0);
  assert_int_equal(samples_of(&r), 22);
  assert_int_equal(noted(&r, "frame_repeated", ""), 0);
  assert_int_equal(noted(&r, "frame_damaged", ""), 1);
  reading_finish(&r);
  free(b);
}

static void test_decode_impossible_counters(void **state) {
  (void)state;
  static const struct {
    uint32_t first, second, number;
    int err;
  } v[] = {
      {1000, 990, 1, -EPROTO},                 /* backwards */
      {1000, 990, 5, -EPROTO},                 /* backwards after lost frames */
      {1000, 1000 + 360 * 500, 9999, -EPROTO}, /* six minutes that nobody orders */
      {1000, 1000 + 100 * 500, 9999, 0},
      {11, (1u << 21) - 1, 1, -EPROTO},
  };
  struct bytes *b = new_bytes();
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    b->n = 0;
    struct source s = source(0, v[i].first - 11);
    put_ecg(b, &s, 11);
    s = source(v[i].number, v[i].second - 11);
    put_ecg(b, &s, 11);
    struct reading r = read_raw(b->at, b->n);
    assert_int_equal(r.err, v[i].err);
    if (r.err) {
      assert_non_null(strstr(r.reason, "data set counter"));
    } else {
      assert_int_equal(samples_of(&r), v[i].second - v[i].first + 11);
      reading_finish(&r);
    }
  }
  free(b);
}

static int rails(uint32_t k, unsigned lead) {
  switch (lead) {
  case 0: /* II at one rail, III at the other: the widest derived leads */
    return k % 2 ? -16384 : 16383;
  case 1:
    return k % 2 ? 16383 : -16384;
  case 2: /* nine samples: not yet 20 ms */
    return k < 9 ? 16383 : (int)k % 50;
  case 3: /* ten */
    return k < 10 ? -16384 : (int)k % 50;
  case 4: /* one below the rail */
    return k < 100 ? 16382 : -5;
  case 5: /* flat */
    return 77;
  case 6: /* flat at the rail */
    return -16384;
  default:
    return (int)k % 128 - 64;
  }
}

static void test_decode_rails_and_flat(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  struct source s = source(0, 0);
  s.wave = rails;
  for (unsigned i = 0; i < 50; i++)
    put_ecg(b, &s, 10);
  struct reading r = read_raw(b->at, b->n);
  assert_int_equal(r.err, 0);
  assert_int_equal(samples_of(&r), 500);
  for (unsigned i = 0; i < 500; i++)
    assert_set(&r, i, rails, i);
  assert_int_equal(noted(&r, "lead_saturated", "lead_ii"), 500);
  assert_int_equal(noted(&r, "lead_saturated", "lead_iii"), 500);
  assert_int_equal(noted(&r, "lead_saturated", "lead_v1"), 0);
  assert_int_equal(noted(&r, "lead_saturated", "lead_v2"), 10);
  assert_int_equal(noted(&r, "lead_saturated", "lead_v3"), 0);
  assert_int_equal(noted(&r, "lead_saturated", "lead_v5"), 500);
  assert_int_equal(noted(&r, "lead_flat", "lead_v4"), 1);
  assert_int_equal(noted(&r, "lead_flat", "lead_v5"), 1);
  assert_int_equal(noted(&r, "lead_flat", "lead_v6"), 0);
  assert_int_equal(noted(&r, "lead_flat", "lead_avf"), 1); /* (II + III) / 2 = -1/2 all along */
  assert_int_equal(items(&r), 9);
  reading_finish(&r);
  /* Less than a second says nothing about flatness. */
  r = read_raw(b->at, b->n / 2);
  assert_int_equal(r.err, 0);
  assert_int_equal(noted(&r, "lead_flat", NULL), 0);
  reading_finish(&r);
  free(b);
}

static void test_decode_contacts(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  struct source s = source(0, 0);
  s.contacts = 0x3ff;
  for (unsigned i = 0; i < 5; i++)
    put_ecg(b, &s, 10);
  struct reading r = read_raw(b->at, b->n);
  assert_int_equal(items(&r), 1); /* the assumed rate */
  reading_finish(&r);
  static const char *const order[10] = {"C1", "C2", "C3", "C4", "C5", "C6", "N", "F", "R", "L"};
  for (unsigned bit = 0; bit < 10; bit++) {
    b->n = 0;
    s = source(0, 0);
    for (unsigned i = 0; i < 5; i++) {
      s.contacts = (uint16_t)(i < 3 ? 0x3ff & ~(1u << bit) : 0x3ff);
      put_ecg(b, &s, 10);
    }
    r = read_raw(b->at, b->n);
    assert_int_equal(r.err, 0);
    assert_int_equal(items(&r), 2);
    assert_int_equal(noted(&r, "electrode_off", order[bit]), 3);
    reading_finish(&r);
  }
  free(b);
}

static void test_decode_configuration(void **state) {
  (void)state;
  static const struct {
    uint8_t data[3], n;
    int err;
    const char *rate, *gap;
  } v[] = {
      {{2, 5}, 2, 0, "500", "0,020 s à partir de 0,020 s"},
      {{2, 10}, 2, 0, "1000", "0,010 s à partir de 0,010 s"},
      {{2, 2}, 2, 0, "200", "0,050 s à partir de 0,050 s"},
      {{2, 1}, 2, 0, "100", "0,100 s à partir de 0,100 s"},
      {{1, 5}, 2, -EPROTO, NULL, NULL},
      {{2, 0}, 2, -EPROTO, NULL, NULL},
      {{2, 3}, 2, -EPROTO, NULL, NULL},
      {{2}, 1, -EPROTO, NULL, NULL},
      {{2, 5, 0}, 3, -EPROTO, NULL, NULL},
  };
  struct bytes *b = new_bytes();
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    b->n = 0;
    put_frame(b, 9, 0x0701, v[i].data, v[i].n);
    struct source s = source(10, 0);
    put_ecg(b, &s, 10);
    lose_ecg(&s, 10);
    put_ecg(b, &s, 10);
    struct reading r = read_raw(b->at, b->n);
    assert_int_equal(r.err, v[i].err);
    if (r.err == 0) {
      assert_string_equal(json_text(channel_json(&r, "lead_v6"), "rate"), v[i].rate);
      assert_int_equal(noted(&r, "sampling_rate_assumed", ""), 0);
      assert_int_equal(noted(&r, "samples_missing", v[i].gap), 1);
      reading_finish(&r);
    }
  }
  /* The same confirmation within the recording is let be, another is not. */
  static const uint8_t same[] = {2, 5}, other[] = {2, 10};
  for (unsigned i = 0; i < 2; i++) {
    b->n = 0;
    struct source s = source(10, 0);
    put_ecg(b, &s, 10);
    put_frame(b, 9, 0x0701, i ? other : same, 2);
    struct reading r = read_raw(b->at, b->n);
    assert_int_equal(r.err, i ? -EPROTO : 0);
    if (!i)
      reading_finish(&r);
  }
  free(b);
}

static void test_decode_nothing(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  struct reading r = read_raw("", 0);
  assert_int_equal(r.err, -ENODATA);
  static const uint8_t ack[] = {0};
  put_frame(b, 0, 0x0200, ack, 1);
  r = read_raw(b->at, b->n);
  assert_int_equal(r.err, -ENODATA);
  struct source s = source(0, 0);
  uint8_t body[4096];
  put_body(b, body, make_ecg(&s, 10, body), 1);
  put_body(b, body, make_ecg(&s, 10, body), 1);
  r = read_raw(b->at, b->n);
  assert_int_equal(r.err, -EBADMSG);
  b->n = 0;
  s = source(0, 0);
  put_ecg(b, &s, 0); /* a frame may hold no set */
  r = read_raw(b->at, b->n);
  assert_int_equal(r.err, -ENODATA);
  free(b);
}

static void test_decode_cut_anywhere(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  struct source s = source(250, 0);
  size_t ends[8];
  for (unsigned i = 0; i < 8; i++) {
    put_ecg(b, &s, 10);
    ends[i] = b->n;
  }
  for (size_t cut = 0; cut <= b->n; cut++) {
    unsigned whole = 0;
    while (whole < 8 && ends[whole] <= cut)
      whole++;
    struct reading r = read_raw(b->at, cut); /* the tail is gone */
    assert_int_equal(r.err, whole ? 0 : -ENODATA);
    if (whole) {
      assert_int_equal(samples_of(&r), whole * 10);
      assert_int_equal(items(&r), 2);
    }
    reading_finish(&r);
    r = read_raw(b->at + cut, b->n - cut); /* the head is gone */
    unsigned left = 0;
    while (left < 8 && (left == 7 ? 0 : ends[6 - left]) >= cut)
      left++;
    assert_int_equal(r.err, left ? 0 : -ENODATA);
    if (left) {
      assert_int_equal(samples_of(&r), left * 10);
      assert_set(&r, 0, wave, (8 - left) * 10);
    }
    reading_finish(&r);
  }
  free(b);
}

/* ---- a module to talk to ------------------------------------------------------------------------------------ */

enum { MUTE_NONE, MUTE_ALL = 0x10000 };

struct acq_io {
  /* how it behaves */
  unsigned mute;        /* the request command, or for a GET the wanted reply, that it never answers */
  int damage_reply;     /* the n-th reply (from 0) has a wrong CRC; -1 none */
  int lose_reply;       /* the n-th reply is lost; -1 none */
  int damage_from;      /* so do all from this one on; -1 none */
  unsigned other_reply; /* this reply holds other_data */
  uint8_t other_data[12], other_n;
  unsigned ignore_starts;                 /* so many starts go unheard */
  unsigned start_delay;                   /* the first start is acted upon after so many ms, its acknowledgement lost */
  unsigned late_frames;                   /* ECG frames on their way when the stop is acknowledged */
  int repeat_at, malform_at, miscount_at; /* this ECG frame comes twice, has not its layout, counts a set too many */
  unsigned slow;                          /* ms a set takes, instead of 2 */
  unsigned self_test_bad;                 /* so many self-tests fail */
  uint8_t self_test_as;
  uint8_t identification, leads_as, rate_as;
  bool reply_without_ack, no_contact_report, babbles, echoes, never_stops, start_without_ack;
  int silent_after;                /* frames of ECG; -1 goes on */
  int damaged_after;               /* from here on every ECG frame has a wrong CRC */
  unsigned lose_first, lose_count; /* ECG frames lost on the line */
  int jump_at;                     /* this ECG frame's counter runs off; -1 none */
  uint16_t contacts;
  size_t chunk;
  int fail_read; /* the n-th call of read or write fails with fail_err; -1 none */
  int fail_err;

  /* how it is */
  struct bytes *out;
  size_t taken;
  struct source ecg;
  bool streaming, measuring;
  uint64_t stream_from; /* ms */
  unsigned replies, self_tests, frames, calls, starts, stops;
  uint64_t ms;
  struct buf capture;

  /* what the host showed */
  char reason[256];
  uint32_t contacts_known, contacts_on, contacts_calls;
  uint32_t done, total;
  uint32_t preview_next;
  unsigned preview_gaps;
};

static void io_init(struct acq_io *io) {
  *io = (struct acq_io){.damage_reply = -1,
                        .lose_reply = -1,
                        .damage_from = -1,
                        .repeat_at = -1,
                        .malform_at = -1,
                        .miscount_at = -1,
                        .slow = 2,
                        .self_test_as = 0xe4,
                        .identification = 0x1e,
                        .leads_as = 2,
                        .rate_as = 5,
                        .silent_after = -1,
                        .damaged_after = -1,
                        .jump_at = -1,
                        .contacts = 0x3ff,
                        .chunk = 61,
                        .fail_read = -1};
  io->out = new_bytes();
  io->ecg = source(0x3f0, 0);
  io->capture = BUF_INIT(64 << 20);
}

static void io_finish(struct acq_io *io) {
  free(io->out);
  buf_finish(&io->capture);
}

static void io_event(struct acq_io *io, char kind, const void *bytes, size_t n) {
  buf_format(&io->capture, "%c %u ", kind, (unsigned)io->ms);
  if (kind == '!')
    buf_add(&io->capture, bytes, n);
  else
    buf_hex(&io->capture, bytes, n);
  buf_text(&io->capture, "\n");
}

static void io_note(struct acq_io *io, const char *text) {
  io_event(io, '!', text, strlen(text));
}

static void module_send(struct acq_io *io, unsigned command, const uint8_t *data, size_t n) {
  uint8_t body[64] = {(uint8_t)io->ecg.number, (uint8_t)(command & 0xff), (uint8_t)(command >> 8)};
  memcpy(body + 3, data, n);
  io->ecg.number = (io->ecg.number + 1) & 0xffffff;
  int index = (int)io->replies++;
  bool spoil = index == io->damage_reply || (io->damage_from >= 0 && index >= io->damage_from);
  if (index != io->lose_reply)
    put_body(io->out, body, n + 3, spoil ? 0x8001 : 0);
}

static void module_reply(struct acq_io *io, unsigned packet, unsigned command, const uint8_t *data, size_t n) {
  uint8_t ack = (uint8_t)packet;
  if (!io->reply_without_ack)
    module_send(io, 0x0200, &ack, 1);
  if (command == io->other_reply)
    module_send(io, command, io->other_data, io->other_n);
  else
    module_send(io, command, data, n);
}

static void module_get(struct acq_io *io, unsigned packet, unsigned wanted) {
  static const uint8_t version[] = {2};
  const uint8_t who[] = {0x01, io->identification};
  uint8_t test[] = {0xe4, 0x20};
  if (io->mute == wanted)
    return;
  switch (wanted) {
  case 0x0100:
    return module_reply(io, packet, wanted, version, 1);
  case 0x0150:
    return module_reply(io, packet, wanted, (const uint8_t *)"EMI12 1.07\0", 11);
  case 0x0500:
    return module_reply(io, packet, wanted, who, 2);
  case 0x0600:
    test[0] = io->self_tests++ < io->self_test_bad ? io->self_test_as : 0xe4;
    return module_reply(io, packet, wanted, test, 2);
  default:
    fail_msg("the driver asks for %04x", wanted);
  }
}

static void module_contacts(struct acq_io *io) {
  uint8_t data[32] = {(uint8_t)(io->contacts >> 7), io->contacts & 0x7f};
  for (unsigned i = 2; i < sizeof data; i++)
    data[i] = (uint8_t)(0xf0 + i);
  module_send(io, 0x0726, data, sizeof data);
}

static void module_ecg(struct acq_io *io);

static void module_obey(struct acq_io *io, const uint8_t *body, size_t n) {
  unsigned command = body[1] | (unsigned)body[2] << 8;
  uint8_t ack = body[0];
  bool was_streaming = io->streaming;
  if (io->mute == MUTE_ALL || io->mute == command)
    return;
  const uint8_t configured[] = {io->leads_as, io->rate_as};
  switch (command) {
  case 0x0800:
    assert_int_equal(n, 5);
    return module_get(io, body[0], body[3] | (unsigned)body[4] << 8);
  case 0x0901:
    assert_int_equal(n, 5);
    assert_int_equal(body[3], 2);
    assert_int_equal(body[4], 5);
    return module_reply(io, body[0], 0x0701, configured, 2);
  case 0x0918:
    assert_int_equal(n, 6);
    return module_reply(io, body[0], 0x0718, body + 3, 3);
  case 0x0926:
    assert_int_equal(n, 4);
    io->measuring = body[3];
    module_send(io, 0x0200, &ack, 1);
    if (io->measuring && !io->no_contact_report)
      module_contacts(io);
    return;
  case 0x0905:
    assert_int_equal(n, 4);
    if (body[3]) {
      assert_false(io->measuring);
      if (io->starts++ < io->ignore_starts)
        return;
      io->ecg.counter = 0;
      io->streaming = true;
      io->stream_from = io->ms;
      if (io->start_delay && io->starts == 1) {
        io->stream_from += io->start_delay;
        return;
      }
    } else {
      io->stops++;
      if (io->never_stops)
        return;
      io->streaming = false;
    }
    if (!body[3] || !io->start_without_ack)
      module_send(io, 0x0200, &ack, 1);
    for (unsigned i = 0; was_streaming && !body[3] && i < io->late_frames; i++)
      module_ecg(io);
    return;
  default:
    fail_msg("the driver sends command %04x", command);
  }
}

static void module_ecg(struct acq_io *io) {
  unsigned index = io->frames++, sets = index % 3 ? 11 : 10;
  uint8_t body[4096];
  io->ms += io->slow * sets;
  if (io->silent_after >= 0 && index >= (unsigned)io->silent_after)
    return;
  if (index - io->lose_first < io->lose_count) {
    lose_ecg(&io->ecg, sets);
    return;
  }
  io->ecg.contacts = io->contacts;
  if ((int)index == io->jump_at)
    io->ecg.counter += 100000;
  size_t n = make_ecg(&io->ecg, sets, body);
  if ((int)index == io->miscount_at)
    body[n - 3] ^= 1;
  if ((int)index == io->repeat_at)
    put_body(io->out, body, n, 0);
  if ((int)index == io->malform_at)
    n--;
  put_body(io->out, body, n, io->damaged_after >= 0 && index >= (unsigned)io->damaged_after ? 0x10 : 0);
}

static int io_call(struct acq_io *io) {
  int index = (int)io->calls++;
  assert_true(io->calls < 100000);
  if (io->fail_read < 0 || index < io->fail_read)
    return 0;
  if (io->fail_err == -ECANCELED) { /* once: release() may talk again */
    io->fail_read = -1;
    io_note(io, "cancelled");
  } else if (index == io->fail_read) {
    io_note(io, "unplugged");
  }
  return io->fail_err;
}

int acq_write(struct acq_io *io, const void *bytes, size_t n, unsigned ms) {
  assert_true(ms > 0);
  int err = io_call(io);
  if (err)
    return err;
  io_event(io, '>', bytes, n);
  const uint8_t *p = bytes;
  uint8_t body[64];
  size_t len = 0;
  assert_int_equal(p[0], 0xfc);
  assert_int_equal(p[n - 1], 0xfd);
  for (size_t i = 1; i + 1 < n; i++)
    body[len++] = p[i] == 0xfe ? p[++i] ^ 0x20 : p[i];
  assert_true(len >= 5);
  assert_int_equal(bitwise_crc(body, len - 2), body[len - 2] | body[len - 1] << 8);
  if (io->echoes)
    for (size_t i = 0; i < n; i++)
      put(io->out, p[i]);
  else if (!io->babbles)
    module_obey(io, body, len - 2);
  return 0;
}

int acq_read_some(struct acq_io *io, void *bytes, size_t max, unsigned ms) {
  assert_true(ms > 0);
  int err = io_call(io);
  if (err)
    return err;
  const uint64_t deadline = io->ms + ms;
  while (io->taken == io->out->n && io->streaming && io->ms < deadline && io->stream_from < deadline) {
    if (io->ms < io->stream_from)
      io->ms = io->stream_from;
    module_ecg(io);
  }
  if (io->babbles) {
    io->ms += 3;
    for (unsigned i = 0; i < 50; i++)
      put(io->out, (unsigned)((io->ms * 31 + i * 7) % 0xfb));
  }
  size_t n = io->out->n - io->taken;
  if (!n) {
    io->ms = deadline > io->ms ? deadline : io->ms;
    io_note(io, "timeout");
    return -ETIMEDOUT;
  }
  n = n < max ? n : max;
  n = n < io->chunk ? n : io->chunk;
  memcpy(bytes, io->out->at + io->taken, n);
  io->taken += n;
  io_event(io, '<', bytes, n);
  if (io->taken == io->out->n)
    io->taken = io->out->n = 0;
  return (int)n;
}

uint64_t acq_elapsed_ms(struct acq_io *io) {
  return io->ms;
}

void acq_progress(struct acq_io *io, uint32_t done, uint32_t total) {
  assert_true(done <= total && done >= io->done);
  io->done = done;
  io->total = total;
}

void acq_preview(struct acq_io *io, const struct acq_preview *p) {
  assert_int_equal(p->channels, 12);
  assert_true(p->samples >= 1 && p->samples <= ACQ_PREVIEW_SAMPLES);
  assert_int_equal(p->rate_hz, 500);
  assert_true(p->first >= io->preview_next);
  io->preview_gaps += p->first - io->preview_next;
  for (unsigned i = 0; i < p->samples; i++) {
    long want[12];
    bool gap = p->values[0][i] == ACQ_GAP;
    io->preview_gaps += gap;
    expected_leads(wave, p->first + i, want);
    for (unsigned c = 0; c < 12; c++) {
      assert_string_equal(p->code[c], codes[c]);
      assert_int_equal(p->values[c][i], gap ? ACQ_GAP : want[c]);
    }
  }
  io->preview_next = p->first + p->samples;
}

void acq_contacts(struct acq_io *io, uint32_t known, uint32_t on) {
  assert_true(!io->contacts_calls || on != io->contacts_on);
  io->contacts_known = known;
  io->contacts_on = on;
  io->contacts_calls++;
}

int acq_fail(struct acq_io *io, int err, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  vsnprintf(io->reason, sizeof io->reason, format, ap);
  va_end(ap);
  assert_true(err < 0);
  io_note(io, io->reason);
  return err;
}

/* The worker's life. Returns what acquire() returned, or identify()'s error. */
static int run(struct acq_io *io, unsigned seconds, struct acq_identity *ret) {
  struct acq_order order = {.seconds = seconds};
  memset(ret, 0, sizeof *ret);
  buf_format(&io->capture,
             "asaleed-capture 1\ndriver corscience_emi12 1\nbus serial\norder %u\n"
             "start 2026-03-02T09:00:00.000000+01:00\n",
             seconds);
  int r = DRIVER->identify(io, ret);
  if (r == 0) {
    io_note(io, "acquire");
    r = DRIVER->acquire(io, &order);
  }
  if (r != -ENODEV && r != -ENXIO) {
    io_note(io, "release");
    int released = DRIVER->release(io);
    assert_true(released == 0 || released == io->fail_err);
    assert_true(released || io->mute || !io->streaming);
  }
  buf_text(&io->capture, r == 0 ? "end ok\n" : r == -ECANCELED ? "end cancel\n" : "end error\n");
  return r;
}

static struct reading read_io(struct acq_io *io) {
  struct acq_capture capture;
  unsigned line = 0;
  assert_int_equal(capture_parse((const char *)io->capture.data, io->capture.len, &capture, &line), 0);
  struct reading r = read_capture(&capture);
  capture_finish(&capture);
  return r;
}

static void test_conversation(void **state) {
  (void)state;
  for (unsigned variant = 0; variant < 4; variant++) {
    struct acq_io io;
    struct acq_identity id;
    io_init(&io);
    io.reply_without_ack = variant == 1;
    io.start_without_ack = variant == 2;
    io.chunk = variant == 3 ? 1 : 61;
    assert_int_equal(run(&io, 2, &id), 0);
    assert_string_equal(id.make, "Corscience");
    assert_string_equal(id.model, "EMI12");
    assert_string_equal(id.serial, "");
    assert_string_equal(id.firmware, "EMI12 1.07");
    assert_int_equal(io.starts, 1);
    assert_int_equal(io.total, 1000);
    assert_int_equal(io.done, 1000);
    assert_int_equal(io.preview_gaps, 0);
    assert_int_equal(io.contacts_known, 0x3ff);
    assert_int_equal(io.contacts_on, 0x3ff);
    assert_int_equal(io.contacts_calls, 1);
    struct reading r = read_io(&io);
    assert_int_equal(r.err, 0);
    assert_true(samples_of(&r) >= 1000 && samples_of(&r) < 1100);
    assert_int_equal(io.preview_next, samples_of(&r));
    for (size_t i = 0; i < samples_of(&r); i++)
      assert_set(&r, i, wave, (uint32_t)i);
    assert_int_equal(items(&r), 0);
    assert_true(record_is_clean(r.json));
    reading_finish(&r);
    io_finish(&io);
  }
}

static void test_conversation_orders(void **state) {
  (void)state;
  static const uint32_t bad[] = {0, 301, UINT32_MAX};
  for (unsigned i = 0; i < 3; i++) {
    struct acq_io io;
    io_init(&io);
    assert_int_equal(DRIVER->acquire(&io, &(struct acq_order){.seconds = bad[i]}), -EINVAL);
    assert_int_equal(io.calls, 0);
    io_finish(&io);
  }
  struct acq_io io;
  struct acq_identity id;
  io_init(&io);
  assert_int_equal(run(&io, 300, &id), 0); /* the longest */
  struct reading r = read_io(&io);
  assert_int_equal(r.err, 0);
  assert_true(samples_of(&r) >= 150000);
  assert_int_equal(items(&r), 0);
  reading_finish(&r);
  io_finish(&io);
}

/* Every lost and every damaged reply is asked for again, and the record is none the worse. */
static void test_conversation_replies_lost(void **state) {
  (void)state;
  for (unsigned damage = 0; damage < 2; damage++)
    for (int reply = 0;; reply++) {
      struct acq_io io;
      struct acq_identity id;
      io_init(&io);
      *(damage ? &io.damage_reply : &io.lose_reply) = reply;
      assert_int_equal(run(&io, 1, &id), 0);
      bool over = io.replies <= (unsigned)reply;
      struct reading r = read_io(&io);
      assert_int_equal(r.err, 0);
      for (size_t i = 0; i < samples_of(&r); i++)
        assert_set(&r, i, wave, (uint32_t)i);
      assert_true(samples_of(&r) >= 500);
      assert_int_equal(noted(&r, "samples_missing", NULL), 0);
      reading_finish(&r);
      io_finish(&io);
      if (over)
        break;
    }
}

static void assert_run(struct acq_io *io, int want, const char *reason) {
  struct acq_identity id;
  int r = run(io, 2, &id);
  if (r != want || !strstr(io->reason, reason))
    fail_msg("%d \"%s\" instead of %d \"%s\"", r, io->reason, want, reason);
  io_finish(io);
}

static void test_conversation_faults(void **state) {
  (void)state;
  struct acq_io io;
  static const struct {
    unsigned mute;
    const char *reason;
  } mutes[] = {
      {MUTE_ALL, "stop of the ECG"}, {0x0905, "stop of the ECG"}, {0x0926, "stop of the contact measurement"},
      {0x0500, "identification"},    {0x0150, "firmware"},        {0x0100, "protocol version"},
      {0x0600, "self-test"},         {0x0918, "threshold"},       {0x0901, "configuration"},
  };
  for (size_t i = 0; i < sizeof mutes / sizeof *mutes; i++) {
    io_init(&io);
    io.mute = mutes[i].mute;
    assert_run(&io, -ETIMEDOUT, mutes[i].reason);
  }
  io_init(&io);
  io.babbles = true;
  assert_run(&io, -ENXIO, "no frame of this module");
  io_init(&io);
  io.echoes = true;
  assert_run(&io, -ENXIO, "no frame of this module");
  io_init(&io);
  io.identification = 0x1f;
  assert_run(&io, -ENXIO, "not that of an EMI12");
  static const struct {
    uint8_t as;
    const char *reason;
  } tests[] = {{0x64, ": RAM"}, {0xa4, ": flash"}, {0xc4, ": PLD/ADC"}, {0x04, ": RAM flash PLD/ADC"}};
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    io_init(&io);
    io.self_test_bad = 1000;
    io.self_test_as = tests[i].as;
    assert_run(&io, -EIO, tests[i].reason);
  }
  io_init(&io);
  io.rate_as = 10;
  assert_run(&io, -EPROTO, "1000 Hz instead of");
  io_init(&io);
  io.leads_as = 1;
  assert_run(&io, -EPROTO, "lead code 1");
  io_init(&io);
  io.silent_after = 20;
  assert_run(&io, -ETIMEDOUT, "the ECG stopped after 213 of 1000 sets");
  io_init(&io);
  io.damaged_after = 20;
  assert_run(&io, -EBADMSG, "nothing but damaged frames after 213 sets");
  io_init(&io);
  io.jump_at = 20;
  assert_run(&io, -EPROTO, "data set counter went from");
}

static void test_conversation_other_replies(void **state) {
  (void)state;
  static const struct {
    unsigned reply;
    uint8_t data[12], n;
    int err;
    const char *reason;
  } v[] = {
      {0x0500, {0x01}, 1, -ENXIO, "identification"},
      {0x0500, {0x02, 0x1e}, 2, -ENXIO, "identification"},
      {0x0500, {0x01, 0x1e, 0}, 3, -ENXIO, "identification"},
      {0x0150, "EMI12 1.07", 10, -EPROTO, "not 11 characters"},
      {0x0150, "EMI12 1.07 x", 12, -EPROTO, "not 11 characters"},
      {0x0150, "EMI12\t1.07 ", 11, -EPROTO, "not ASCII"},
      {0x0150, "EMI12 1.07\xe9", 11, -EPROTO, "not ASCII"},
      {0x0100, {0}, 0, -EPROTO, "protocol version"},
      {0x0600, {0xe4}, 1, -EPROTO, "self-test is not two bytes"},
      {0x0718, {0x00, 0x9f, 0x25}, 3, -EPROTO, "another contact threshold"},
      {0x0718, {0x00}, 1, 0, ""},
      {0x0701, {0x02}, 1, -EPROTO, "configuration is not two bytes"},
      {0x0701, {0x02, 0x05, 0x00}, 3, -EPROTO, "configuration is not two bytes"},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct acq_io io;
    io_init(&io);
    io.other_reply = v[i].reply;
    io.other_n = v[i].n;
    memcpy(io.other_data, v[i].data, sizeof io.other_data);
    assert_run(&io, v[i].err, v[i].reason);
  }
  /* A firmware version of blanks is none. */
  struct acq_io io;
  struct acq_identity id;
  io_init(&io);
  io.other_reply = 0x0150;
  io.other_n = 11;
  memcpy(io.other_data, "           ", 11);
  assert_int_equal(DRIVER->identify(&io, memset(&id, 0, sizeof id)), 0);
  assert_string_equal(id.firmware, "");
  io_finish(&io);
}

static void test_conversation_start(void **state) {
  (void)state;
  struct acq_io io;
  struct acq_identity id;
  io_init(&io);
  io.ignore_starts = 3;
  assert_run(&io, -ETIMEDOUT, "no answer to the start of the ECG in 3 tries");
  io_init(&io);
  io.damage_from = 17; /* the start's acknowledgement, and nothing but damaged ECG after it */
  io.damaged_after = 0;
  assert_run(&io, -EBADMSG, "stop of the ECG was damaged");
  for (unsigned delay = 0; delay < 2; delay++) {
    io_init(&io);
    io.ignore_starts = delay ? 0 : 2;
    io.start_delay = delay ? 505 : 0; /* data come after all, while the module is being stopped again */
    assert_int_equal(run(&io, 1, &id), 0);
    assert_int_equal(io.starts, delay ? 2 : 3);
    struct reading r = read_io(&io);
    assert_int_equal(r.err, 0);
    for (size_t i = 0; i < samples_of(&r); i++)
      assert_set(&r, i, wave, (uint32_t)i);
    assert_int_equal(items(&r), 0);
    reading_finish(&r);
    io_finish(&io);
  }
}

/* Faults amid the ECG that do not end it. */
static void test_conversation_odd_frames(void **state) {
  (void)state;
  struct acq_io io;
  struct acq_identity id;
  for (unsigned kind = 0; kind < 4; kind++) {
    io_init(&io);
    *(int *[]){&io.repeat_at, &io.malform_at, &io.miscount_at, &io.lose_reply}[kind] = 30;
    io.late_frames = 3;
    io.damaged_after = -1;
    assert_int_equal(run(&io, 2, &id), 0);
    struct reading r = read_io(&io);
    assert_int_equal(r.err, 0);
    size_t n = samples_of(&r);
    assert_int_equal(n, io.preview_next); /* the late frames are in both */
    assert_set(&r, n - 1, wave, (uint32_t)n - 1);
    assert_int_equal(noted(&r, "frame_repeated", ""), kind == 0);
    assert_int_equal(noted(&r, "frame_damaged", ""), kind == 1 || kind == 2);
    assert_int_equal(noted(&r, "samples_missing", NULL), kind == 1 || kind == 2);
    assert_int_equal(io.preview_gaps, kind == 1 || kind == 2 ? 10 : 0);
    reading_finish(&r);
    io_finish(&io);
  }
  io_init(&io);
  io.slow = 15;
  assert_run(&io, -ETIMEDOUT, "the ECG is too slow");
}

static void test_conversation_recovers(void **state) {
  (void)state;
  struct acq_io io;
  struct acq_identity id;
  io_init(&io); /* a module that is still starting */
  io.self_test_bad = 3;
  io.self_test_as = 0x04;
  assert_int_equal(run(&io, 1, &id), 0);
  assert_int_equal(io.self_tests, 4);
  io_finish(&io);
  io_init(&io); /* a module that never reports contacts, before or during */
  io.no_contact_report = true;
  io.contacts = 0;
  assert_int_equal(run(&io, 1, &id), 0);
  assert_int_equal(io.contacts_calls, 0);
  struct reading r = read_io(&io);
  assert_int_equal(noted(&r, "electrode_contact_unknown", ""), 1);
  assert_int_equal(items(&r), 1);
  reading_finish(&r);
  io_finish(&io);
  io_init(&io); /* one electrode off: bit 9 is L */
  io.contacts = 0x1ff;
  assert_int_equal(run(&io, 1, &id), 0);
  assert_int_equal(io.contacts_on, 0x3ff & ~(1u << 1));
  r = read_io(&io);
  assert_true(noted(&r, "electrode_off", "L") > 40);
  reading_finish(&r);
  io_finish(&io);
  io_init(&io); /* a module that goes on for ever */
  io.never_stops = true;
  io.streaming = false;
  assert_int_equal(DRIVER->acquire(&io, &(struct acq_order){.seconds = 1}), 0);
  assert_int_equal(DRIVER->release(&io), 0);
  assert_true(io.ms < 30000);
  io_finish(&io);
}

/* A module that was left recording the patient before. */
static void test_conversation_left_streaming(void **state) {
  (void)state;
  struct acq_io io;
  struct acq_identity id;
  io_init(&io);
  io.streaming = true;
  io.ecg.counter = 123456;
  for (unsigned i = 0; i < 40; i++)
    module_ecg(&io);
  io.taken = 57; /* opened amid a frame */
  assert_int_equal(run(&io, 2, &id), 0);
  struct reading r = read_io(&io);
  assert_int_equal(r.err, 0);
  assert_set(&r, 0, wave, 0);
  assert_int_equal(items(&r), 0);
  reading_finish(&r);
  io_finish(&io);
  /* Cancelled before the start: what was streamed is not this patient's. */
  io_init(&io);
  io.streaming = true;
  for (unsigned i = 0; i < 40; i++)
    module_ecg(&io);
  io.fail_read = 30;
  io.fail_err = -ECANCELED;
  assert_int_equal(run(&io, 2, &id), -ECANCELED);
  r = read_io(&io);
  assert_int_equal(r.err, -ENODATA);
  io_finish(&io);
}

static void test_conversation_lost_data(void **state) {
  (void)state;
  static const struct { unsigned first, count; } v[] = {{20, 1}, {20, 3}, {20, 5}, {20, 6}, {20, 9}, {0, 1}, {0, 2}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct acq_io io;
    struct acq_identity id;
    io_init(&io);
    io.lose_first = v[i].first;
    io.lose_count = v[i].count;
    /* frames of 10, 11, 11 sets */
    unsigned sets = 0, at = 0;
    for (unsigned f = 0; f < v[i].first + v[i].count; f++) {
      sets += f >= v[i].first ? (f % 3 ? 11 : 10) : 0;
      at += f < v[i].first ? (f % 3 ? 11 : 10) : 0;
    }
    assert_int_equal(run(&io, 2, &id), 0);
    assert_int_equal(io.preview_gaps, sets);
    struct reading r = read_io(&io);
    assert_int_equal(r.err, 0);
    assert_gap(&r, at, sets);
    assert_set(&r, at + sets, wave, at + sets);
    assert_int_equal(noted(&r, "samples_missing", NULL), 1);
    assert_int_equal(items(&r), 1);
    reading_finish(&r);
    io_finish(&io);
  }
}

/* Unplugged or cancelled at every call: the error comes back as it is, the conversation ends, release() stops the
 * module, and what had come decodes or is refused. */
static void test_conversation_sweep(void **state) {
  (void)state;
  static const int errors[] = {-ENODEV, -ECANCELED};
  for (unsigned e = 0; e < 2; e++)
    for (int at = 0;; at++) {
      struct acq_io io;
      struct acq_identity id;
      io_init(&io);
      io.fail_read = at;
      io.fail_err = errors[e];
      int r = run(&io, 1, &id);
      bool over = io.calls <= (unsigned)at;
      if (r == 0) /* the reading was whole by then */
        assert_true(over || io.stops > 1);
      else
        assert_int_equal(r, errors[e]);
      struct reading reading = read_io(&io);
      if (reading.err == 0) {
        assert_int_equal(noted(&reading, "incomplete", ""), r != 0);
        for (size_t i = 0; i < samples_of(&reading); i += 7)
          assert_set(&reading, i, wave, (uint32_t)i);
      } else {
        assert_int_equal(reading.err, -ENODATA);
      }
      reading_finish(&reading);
      io_finish(&io);
      if (over)
        break;
    }
}

/* ---- whole captures ----------------------------------------------------------------------------------------- */

static void test_capture_cut_at_every_line(void **state) {
  (void)state;
  struct acq_io io;
  struct acq_identity id;
  io_init(&io);
  assert_int_equal(run(&io, 1, &id), 0);
  const char *text = (const char *)io.capture.data;
  size_t last = 0;
  for (size_t n = 0; n < io.capture.len; n++) {
    if (n && text[n - 1] != '\n' && n % 97)
      continue;
    struct acq_capture capture;
    if (capture_parse(text, n, &capture, NULL) < 0)
      continue; /* in the header */
    struct reading r = read_capture(&capture);
    if (r.err == 0) {
      assert_int_equal(noted(&r, "incomplete", ""), 1);
      assert_true(samples_of(&r) >= last);
      last = samples_of(&r);
      assert_set(&r, last - 1, wave, (uint32_t)last - 1);
    } else {
      assert_int_equal(r.err, -ENODATA);
    }
    reading_finish(&r);
    capture_finish(&capture);
  }
  assert_true(last > 500);
  io_finish(&io);
}

/* Every bit of everything that crossed the wire, flipped: refused, flagged, or the same samples. */
static void test_capture_bit_flips(void **state) {
  (void)state;
  struct acq_io io;
  struct acq_identity id;
  struct acq_capture capture;
  io_init(&io);
  io.silent_after = 12; /* a short one */
  assert_int_equal(run(&io, 1, &id), -ETIMEDOUT);
  buf_extend(&io.capture, 0);
  io.capture.len -= strlen("end error\n"); /* as if it had ended well, so that nothing else is flagged */
  buf_text(&io.capture, "end ok\n");
  assert_int_equal(capture_parse((const char *)io.capture.data, io.capture.len, &capture, NULL), 0);
  capture.header.order.seconds = 0;
  struct reading base = read_capture(&capture);
  assert_int_equal(base.err, 0);
  assert_int_equal(items(&base), 0);
  unsigned refused = 0, flagged = 0, same = 0;
  for (size_t e = 0; e < capture.n_events; e++) {
    struct capture_event *event = &capture.events[e];
    uint8_t *arena = event->kind == ACQ_RECEIVED ? capture.received : capture.other;
    for (size_t bit = 0; event->kind != ACQ_NOTE && bit < 8 * event->n; bit++) {
      arena[event->at + bit / 8] ^= (uint8_t)(1u << bit % 8);
      struct reading r = read_capture(&capture);
      if (r.err < 0)
        refused++;
      else if (items(&r))
        flagged++;
      else if (r.result.data_values == base.result.data_values &&
               !memcmp(r.result.data, base.result.data, base.result.data_values * 2))
        same++;
      else
        fail_msg("event %zu, bit %zu: other samples, and nothing says so", e, bit);
      reading_finish(&r);
      arena[event->at + bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
  }
  print_message("bit flips: %u refused, %u flagged, %u harmless\n", refused, flagged, same);
  assert_true(refused && flagged && same);
  reading_finish(&base);
  capture_finish(&capture);
  io_finish(&io);
}

/* Of several starts the last one counts, from its own first set. */
static void test_capture_last_start(void **state) {
  (void)state;
  struct bytes *b = new_bytes(), *host = new_bytes();
  static const uint8_t on[] = {1}, ack[] = {5}, config[] = {2, 5};
  for (unsigned lead_in = 0; lead_in < 2; lead_in++) {
    _buf_cleanup_ struct buf text = BUF_INIT(1 << 20);
    buf_text(&text, "asaleed-capture 1\ndriver corscience_emi12 1\nbus serial\norder 0\n"
                    "start 2026-03-02T09:00:00.000000+01:00\n");
    struct source old = source(100, 777), s = source(200, 0);
    b->n = host->n = 0;
    put_frame(host, 5, 0x0905, on, 1);
    buf_text(&text, "> 0 ");
    buf_hex(&text, host->at, host->n);
    put_frame(b, 90, 0x0701, config, 2);
    put_ecg(b, &old, 11);
    put_ecg(b, &old, 11);
    buf_text(&text, "\n< 1 ");
    buf_hex(&text, b->at, b->n - 40); /* its last frame is cut, and does not spill into what follows */
    buf_text(&text, "\n> 2 ");
    buf_hex(&text, host->at, host->n);
    b->n = 0;
    put_frame(b, 199, 0x0200, ack, 1);
    if (lead_in) /* lost after the start: a gap at the beginning */
      lose_ecg(&s, 10);
    put_ecg(b, &s, 11);
    buf_text(&text, "\n< 3 ");
    buf_hex(&text, b->at, b->n);
    buf_text(&text, "\nend ok\n");
    struct acq_capture capture;
    assert_int_equal(capture_parse((const char *)text.data, text.len, &capture, NULL), 0);
    struct reading r = read_capture(&capture);
    assert_int_equal(r.err, 0);
    assert_int_equal(samples_of(&r), lead_in ? 21 : 11);
    if (lead_in)
      assert_gap(&r, 0, 10);
    assert_set(&r, lead_in ? 10 : 0, wave, lead_in ? 10 : 0);
    assert_int_equal(noted(&r, "samples_missing", "0,020 s à partir de 0,000 s"), lead_in);
    assert_int_equal(noted(&r, "sampling_rate_assumed", ""), 0);
    reading_finish(&r);
    capture_finish(&capture);
  }
  free(b);
  free(host);
}

/* ---- the real recording ------------------------------------------------------------------------------------- */

static void test_real_recording(void **state) {
  (void)state;
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[512];
  snprintf(path, sizeof path, "%s/corscience_emi12/emi12_12lead_500Hz_serial_capture.bin",
           folder ? folder : "../shared/samples");
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("skipped: no %s\n", path);
    skip();
    return;
  }
  struct bytes *b = new_bytes();
  b->n = fread(b->at, 1, sizeof b->at, f);
  fclose(f);
  assert_int_equal(b->n, 190909);
  struct emi12_reader reader;
  struct emi12_frame frame;
  struct emi12_ecg ecg;
  struct acq_cur in = acq_cur(b->at, b->n);
  enum emi12_status status;
  unsigned frames = 0, sets = 0;
  emi12_reader_init(&reader);
  while ((status = emi12_read(&reader, &in, &frame)) != EMI12_MORE) {
    assert_int_equal(status, EMI12_FRAME);
    assert_int_equal(frame.command, 0x0724);
    assert_int_equal(emi12_ecg_read(&frame, &ecg), 0);
    assert_int_equal(ecg.contacts, 0);
    assert_int_equal(ecg.number, 0x187d + frames);
    frames++;
    sets += ecg.sets;
    assert_int_equal(ecg.counter, sets);
  }
  assert_int_equal(frames, 997);
  assert_int_equal(sets, 10545);

  struct reading r = read_raw(b->at, b->n);
  assert_int_equal(r.err, 0);
  const int16_t *lead[12];
  for (unsigned c = 0; c < 12; c++) {
    size_t n;
    lead[c] = channel(&r, codes[c], &n);
    assert_int_equal(n, 10545);
    assert_string_equal(json_text(channel_json(&r, codes[c]), "rate"), "500");
    assert_string_equal(json_text(channel_json(&r, codes[c]), "scale"), "2.63");
    assert_int_equal(json_array_size(json_object_get(channel_json(&r, codes[c]), "gaps")), 0);
  }
  static const int ii[] = {-1790, -3661, -5158, -5555, -5856, -5956, -5777, -5496};
  static const int iii[] = {-2462, -7401, -11881, -12633, -12424, -11960, -11231, -10447};
  for (unsigned i = 0; i < 8; i++) {
    assert_int_equal(lead[1][i], ii[i]);
    assert_int_equal(lead[2][i], iii[i]);
  }
  int low = 0, high = 0;
  for (unsigned i = 0; i < 10545; i++) {
    assert_int_equal(lead[1][i], lead[0][i] + lead[2][i]);
    assert_true(abs(lead[3][i] + lead[4][i] + lead[5][i]) <= 2);
    for (unsigned c = 6; c < 12; c++)
      assert_int_equal(lead[c][i], -1);
    low = lead[1][i] < low ? lead[1][i] : low;
    high = lead[1][i] > high ? lead[1][i] : high;
  }
  assert_int_equal(low, -5956);
  assert_int_equal(high, 1397);
  for (unsigned c = 0; c < 12; c++)
    assert_int_equal(noted(&r, "lead_flat", codes[c]), c >= 6);
  assert_int_equal(noted(&r, "sampling_rate_assumed", ""), 1);
  assert_int_equal(noted(&r, "electrode_contact_unknown", ""), 1);
  assert_int_equal(items(&r), 8);
  reading_finish(&r);

  /* Every tenth frame gone: as many gaps, and every other sample in its place. */
  size_t kept = 0;
  unsigned index = 0;
  uint8_t *less = malloc(b->n);
  assert_non_null(less);
  for (size_t i = 0; i < b->n; i++) {
    if (index % 10 != 9)
      less[kept++] = b->at[i];
    index += b->at[i] == 0xfd;
  }
  struct reading whole = read_raw(b->at, b->n);
  r = read_raw(less, kept);
  assert_int_equal(r.err, 0);
  assert_int_equal(samples_of(&r), 10545);
  assert_int_equal(json_array_size(json_object_get(channel_json(&r, "lead_avf"), "gaps")), 99);
  size_t missing = 0;
  for (size_t i = 0; i < r.result.data_values; i++)
    if (r.result.data[i] == ACQ_GAP)
      missing++;
    else
      assert_int_equal(r.result.data[i], whole.result.data[i]);
  assert_true(missing > 99 * 10 * 12 - 1 && missing < 99 * 11 * 12 + 1);
  reading_finish(&r);
  reading_finish(&whole);
  free(less);
  free(b);
}

static void test_table(void **state) {
  (void)state;
  assert_int_equal(DRIVER->abi, ACQ_DRIVER_ABI);
  assert_string_equal(DRIVER->name, "corscience_emi12");
  assert_int_equal(DRIVER->match[0].bus, ACQ_SERIAL);
  assert_int_equal(DRIVER->match[0].baud, 230400);
  assert_true(DRIVER->match[0].generic);
  assert_int_equal(DRIVER->match[1].bus, 0);
  assert_int_equal(DRIVER->limits.max_seconds, 300);
  assert_true(DRIVER->limits.default_seconds <= DRIVER->limits.max_seconds);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),
      cmocka_unit_test(test_ready_made_frames),
      cmocka_unit_test(test_encode_bounds),
      cmocka_unit_test(test_stuffing_everywhere),
      cmocka_unit_test(test_splits),
      cmocka_unit_test(test_resync),
      cmocka_unit_test(test_longest_frame),
      cmocka_unit_test(test_samples),
      cmocka_unit_test(test_ecg_layout),
      cmocka_unit_test(test_decode_plain),
      cmocka_unit_test(test_decode_wraps),
      cmocka_unit_test(test_decode_lost_frames),
      cmocka_unit_test(test_decode_damaged_frames),
      cmocka_unit_test(test_decode_repeated),
      cmocka_unit_test(test_decode_impossible_counters),
      cmocka_unit_test(test_decode_rails_and_flat),
      cmocka_unit_test(test_decode_contacts),
      cmocka_unit_test(test_decode_configuration),
      cmocka_unit_test(test_decode_nothing),
      cmocka_unit_test(test_decode_cut_anywhere),
      cmocka_unit_test(test_conversation),
      cmocka_unit_test(test_conversation_orders),
      cmocka_unit_test(test_conversation_replies_lost),
      cmocka_unit_test(test_conversation_faults),
      cmocka_unit_test(test_conversation_other_replies),
      cmocka_unit_test(test_conversation_start),
      cmocka_unit_test(test_conversation_odd_frames),
      cmocka_unit_test(test_conversation_recovers),
      cmocka_unit_test(test_conversation_left_streaming),
      cmocka_unit_test(test_conversation_lost_data),
      cmocka_unit_test(test_conversation_sweep),
      cmocka_unit_test(test_capture_cut_at_every_line),
      cmocka_unit_test(test_capture_bit_flips),
      cmocka_unit_test(test_capture_last_start),
      cmocka_unit_test(test_real_recording),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
