/* The SP80B driver: its messages, its conversation against an instrument that this file plays, and its decoding.
 * Messages are built here from the protocol's description, not by the driver; in place of the worker this program has
 * its own acq_io. */
#include "../../drivers/contec_sp80b/message.h"
#include "buf.h"
#include "capture.h"
#include "hash.h"
#include "record_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

extern const struct acq_driver contec_sp80b;
#define DRIVER (&contec_sp80b)

#define HEADER                                                                  \
  "asaleed-capture 1\ndriver contec_sp80b 1\nbus serial\norder 60 spirometry\n" \
  "start 2026-03-02T09:00:00.000000+01:00\n" /* so 09:00:00 on the wall */

/* ---- messages, from the text -------------------------------------------------------------------------------- */

struct bytes {
  uint8_t at[1 << 20];
  size_t n;
};

static struct bytes *new_bytes(void) {
  struct bytes *b = calloc(1, sizeof *b);
  assert_non_null(b);
  return b;
}

static void put(struct bytes *b, unsigned byte) {
  assert_true(b->n < sizeof b->at);
  b->at[b->n++] = (uint8_t)byte;
}

static void put_number(struct bytes *b, unsigned v) {
  put(b, v & 0x7f);
  put(b, v >> 7 & 0x7f);
}

/* The checksum of all that was put since `from`, xor-ed with `spoil`. */
static void put_sum(struct bytes *b, size_t from, unsigned spoil) {
  unsigned sum = 0;
  for (size_t i = from; i < b->n; i++)
    sum += b->at[i];
  put(b, (sum ^ spoil) & 0x7f);
}

struct blow {
  unsigned kind, number, sex, age, height, standard, drug;
  int64_t clock_us;
  unsigned value[13]; /* from FVC on */
  unsigned points;
  bool no_date;
};

static int64_t wall_us(int hour, int minute, int second) {
  const struct acq_clock c = {2026, 3, 2, hour, minute, second, 0};
  int64_t us;
  assert_int_equal(acq_clock_to_us(&c, &us), 0);
  return us;
}

static struct blow a_blow(unsigned fvc, int64_t clock_us) {
  return (struct blow){.kind = 1,
                       .number = 1,
                       .age = 39,
                       .height = 175,
                       .standard = 1,
                       .clock_us = clock_us,
                       .value = {fvc, 0, 495, 971, 0, 0, 933, 801, 652, 391, 614, 291, 79},
                       .points = 300};
}

static void put_record(struct bytes *b, const struct blow *v, unsigned asked, unsigned spoil) {
  size_t from = b->n;
  struct acq_clock c = acq_clock_from_us(v->clock_us);
  put(b, 0xe1);
  put(b, asked);
  put(b, v->kind);
  put_number(b, v->number);
  put(b, (unsigned)c.year % 100);
  put(b, v->no_date ? 0 : (unsigned)c.month);
  put(b, (unsigned)c.day);
  put(b, (unsigned)c.hour);
  put(b, (unsigned)c.minute);
  put(b, (unsigned)c.second);
  put(b, v->sex);
  put(b, v->age);
  put_number(b, v->height);
  put(b, v->standard);
  put(b, v->drug);
  for (unsigned i = 0; i < 13; i++)
    put_number(b, v->value[i]);
  put_sum(b, from, spoil);
  assert_int_equal(b->n - from, 44);
}

struct wave {
  uint32_t time;
  int flow, volume;
};

/* Points 10 ms apart, at first 7.5 ms; flow and volume go through every bit, and below zero. */
static struct wave wave_at(unsigned blow, unsigned i) {
  return (struct wave){i ? 75 + (i - 1) * 100 : 0, (int)(i * 83 + blow * 11) % 12000 - 900,
                       (int)(i * 37 + blow) % 9000 - 20};
}

static void put_point(struct bytes *b, struct wave w) {
  const unsigned raw[7] = {w.time & 0xff,
                           w.time >> 8 & 0xff,
                           w.time >> 16 & 0xff,
                           (unsigned)w.flow & 0xff,
                           (unsigned)w.flow >> 8 & 0xff,
                           (unsigned)w.volume & 0xff,
                           (unsigned)w.volume >> 8 & 0xff};
  unsigned high = 0;
  for (unsigned i = 0; i < 7; i++)
    high |= (raw[i] >> 7) << i;
  put(b, high);
  for (unsigned i = 0; i < 7; i++)
    put(b, raw[i] & 0x7f);
}

static void put_curve_head(struct bytes *b, unsigned record, unsigned points) {
  put(b, 0xe2);
  put_number(b, record);
  put_number(b, points);
}

static void put_curve(struct bytes *b, unsigned blow, unsigned points, bool checked, unsigned spoil) {
  size_t from = b->n;
  put_curve_head(b, blow, points);
  for (unsigned i = 0; i < points; i++)
    put_point(b, wave_at(blow, i));
  if (checked)
    put_sum(b, from, spoil);
}

/* ---- what a record says ------------------------------------------------------------------------------------- */

struct reading {
  int err;
  char reason[256];
  struct record_result result[WIRE_RECORDS];
  json_t *own, *stray;
};

static struct reading read_capture(const struct acq_capture *capture) {
  struct reading r = {0};
  char why[256] = "";
  r.err = record_decode(DRIVER, capture, r.result, r.reason);
  for (int i = 0; r.err == 0 && i < WIRE_RECORDS; i++) {
    const struct record_result *p = &r.result[i];
    if (p->json && record_read(p->json, p->json_bytes, p->data, p->data_values * sizeof(int16_t),
                               i == WIRE_OWN ? &r.own : &r.stray, why) < 0)
      fail_msg("the record is not accepted: %s", why);
  }
  return r;
}

static struct reading read_raw(const struct bytes *b) {
  struct acq_capture capture;
  assert_int_equal(capture_from_raw(b->at, b->n, &capture), 0);
  struct reading r = read_capture(&capture);
  capture_finish(&capture);
  return r;
}

static void reading_finish(struct reading *r) {
  json_decref(r->own);
  json_decref(r->stray);
  for (int i = 0; r->err == 0 && i < WIRE_RECORDS; i++)
    record_result_finish(&r->result[i]);
}

static const json_t *in(const json_t *record, const char *list) {
  const json_t *found = json_object_get(json_object_get(record, "acquired"), list);
  return found ? found : json_object_get(record, list);
}

static size_t count(const json_t *record, const char *list) {
  return json_array_size(in(record, list));
}

static const json_t *find(const json_t *record, const char *list, const char *code, int trial) {
  size_t i;
  json_t *item;
  json_array_foreach(in(record, list), i, item) {
    if (!strcmp(json_text(item, "code"), code) && json_integer_value(json_object_get(item, "trial")) == trial)
      return item;
  }
  return NULL;
}

static void assert_measure(const json_t *record, int trial, const char *code, const char *value, const char *unit) {
  const json_t *m = find(record, "measures", code, trial);
  if (!value) {
    assert_null(m);
    return;
  }
  assert_non_null(m);
  assert_string_equal(json_text(m, "value"), value);
  assert_string_equal(json_text(m, "unit"), unit);
}

static void assert_statement(const json_t *record, int trial, const char *code, const char *text) {
  const json_t *s = find(record, "statements", code, trial);
  if (!text) {
    assert_null(s);
    return;
  }
  assert_non_null(s);
  assert_string_equal(json_text(s, "text"), text);
}

static unsigned noted(const json_t *record, const char *code, int trial) {
  const json_t *item = find(record, "quality", code, trial);
  return item ? (unsigned)json_integer_value(json_object_get(item, "count")) : 0;
}

static const json_t *trial_of(const json_t *record, size_t i) {
  return json_array_get(in(record, "trials"), i);
}

/* The trial's three channels hold the points of that blow. */
static void assert_curve(const struct reading *r, int trial, unsigned blow, unsigned points) {
  static const char *const codes[] = {"time_step", "flow", "volume"}, *const scales[] = {"0.0001", "0.001", "0.001"};
  for (unsigned c = 0; c < 3; c++) {
    const json_t *ch = find(r->own, "channels", codes[c], trial);
    assert_non_null(ch);
    assert_string_equal(json_text(ch, "rate"), "0");
    assert_string_equal(json_text(ch, "scale"), scales[c]);
    assert_int_equal(json_integer_value(json_object_get(ch, "samples")), points);
    const int16_t *v = r->result[WIRE_OWN].data + json_integer_value(json_object_get(ch, "first"));
    for (unsigned i = 0; i < points; i++) {
      struct wave w = wave_at(blow, i), before = wave_at(blow, i ? i - 1 : 0);
      assert_int_equal(v[i], c == 0 ? (int)(w.time - before.time) : c == 1 ? w.flow : w.volume);
    }
  }
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

static void test_requests(void **state) {
  (void)state;
  static const struct {
    uint8_t request[9], n, wire[10];
  } v[] = {
      {{0x80}, 1, {0x80, 0x00}},
      {{0x82}, 1, {0x82, 0x02}},
      {{0x94}, 1, {0x94, 0x14}},
      {{0x90}, 1, {0x90, 0x10}},
      {{0x91, 0x00, 0x01}, 3, {0x91, 0x00, 0x01, 0x12}},
      {{0x91, 0x01, 0x01}, 3, {0x91, 0x01, 0x01, 0x13}},
      {{0x91, 0x7e, 0x01}, 3, {0x91, 0x7e, 0x01, 0x10}},
      {{0x92, 0x00}, 2, {0x92, 0x00, 0x12}},
      {{0x83, 26, 3, 2, 9, 0, 0, 0x67, 0x07}, 9, {0x83, 26, 3, 2, 9, 0, 0, 0x67, 0x07, 0x19}},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    uint8_t wire[SP80B_REQUEST_MAX];
    assert_int_equal(sp80b_encode(v[i].request, v[i].n, wire), v[i].n + 1);
    assert_memory_equal(wire, v[i].wire, v[i].n + 1u);
  }
}

/* Everything that the instrument says, in one stream. */
static void put_everything(struct bytes *b, bool checked) {
  static const uint8_t fixed[] = {0xf0, 0x70, 0xf3, 0x00, 0x73, 0xf2, 1, 2, 3, 4, 5, 6, 0x07};
  struct blow v = a_blow(510, wall_us(9, 0, 5));
  for (size_t i = 0; i < sizeof fixed; i++)
    put(b, fixed[i]);
  size_t from = b->n;
  put(b, 0xe0);
  put_number(b, 300);
  for (unsigned i = 0; i < 6; i++)
    put(b, i);
  put_sum(b, from, 0);
  put_record(b, &v, 0, 0);
  put_curve(b, 1, 40, checked, 0);
  put(b, 0xe3), put(b, 0), put(b, 0x63);
}

static void test_splits(void **state) {
  (void)state;
  static const uint8_t firsts[] = {0xf0, 0xf3, 0xf2, 0xe0, 0xe1, 0xe2, 0xe3};
  static const size_t lengths[] = {2, 3, 8, 10, 44, 5 + 8 * 40, 3};
  struct bytes *b = new_bytes();
  struct sp80b_reader *r = calloc(1, sizeof *r);
  assert_non_null(r);
  for (unsigned checked = 0; checked < 2; checked++) {
    b->n = 0;
    put_everything(b, checked);
    for (size_t cut = 0; cut <= b->n; cut++) {
      unsigned at = 0;
      sp80b_reader_init(r);
      for (unsigned half = 0; half < 2; half++) {
        struct acq_cur c = half ? acq_cur(b->at + cut, b->n - cut) : acq_cur(b->at, cut);
        enum sp80b_status status;
        while ((status = sp80b_read(r, &c)) != SP80B_MORE) {
          assert_int_equal(status, SP80B_MESSAGE);
          assert_int_equal(r->bytes[0], firsts[at]);
          assert_int_equal(r->n, lengths[at]);
          at++;
        }
      }
      assert_int_equal(at, 7);
      assert_int_equal(sp80b_settle(r), SP80B_MORE);
    }
  }
  free(r);
  free(b);
}

static void test_damage(void **state) {
  (void)state;
  static const struct {
    uint8_t bytes[16], n;
    const char *reason;
    unsigned reports, messages;
  } v[] = {
      {{0}, 0, "", 0, 2},
      {{0, 0, 0}, 3, "", 0, 2}, /* filler */
      {{0x70}, 1, "bytes between messages", 1, 2},
      {{1, 2, 3}, 3, "bytes between messages", 1, 2},
      {{0xf0, 0x71}, 2, "wrong checksum", 1, 2},
      {{0xf3, 0x00}, 2, "a message cut short", 1, 2},
      {{0xf3, 0x80, 0x73}, 3, "a message cut short", 1, 2}, /* the high bit on a payload byte */
      {{0xf1, 0x01}, 2, "an unknown message", 1, 2},
      {{0x80, 0x00}, 2, "an unknown message", 1, 2}, /* our own */
      {{0xe2, 1, 0, 2, 0, 1, 2, 3}, 8, "a message cut short", 1, 2},
      {{0xe2, 1, 0, 0x7f, 0x7f}, 5, "more points than a curve has", 1, 2},
      {{0xe2, 1, 0, 0, 0, 0x62}, 6, "wrong checksum", 1, 2},
      {{0xe2, 1, 0, 0, 0, 0x63}, 6, "", 0, 3},
      {{0xe2, 1, 0, 0, 0}, 5, "", 0, 3},
  };
  struct sp80b_reader *r = calloc(1, sizeof *r);
  assert_non_null(r);
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    uint8_t wire[32] = {0xf0, 0x70};
    unsigned reports = 0, messages = 0;
    enum sp80b_status status;
    memcpy(wire + 2, v[i].bytes, v[i].n);
    memcpy(wire + 2 + v[i].n, "\xf3\x01\x74", 3);
    struct acq_cur c = acq_cur(wire, v[i].n + 5u);
    sp80b_reader_init(r);
    while ((status = sp80b_read(r, &c)) != SP80B_MORE) {
      reports += status == SP80B_DAMAGED;
      messages += status == SP80B_MESSAGE;
    }
    assert_int_equal(reports, v[i].reports);
    assert_int_equal(messages, v[i].messages);
    if (v[i].reports)
      assert_string_equal(r->damage, v[i].reason);
  }
  /* A port that was opened amid a message. */
  uint8_t wire[] = {1, 2, 3, 0xf0, 0x70};
  struct acq_cur c = acq_cur(wire, sizeof wire);
  sp80b_reader_init(r);
  assert_int_equal(sp80b_read(r, &c), SP80B_MESSAGE);
  free(r);
}

static void test_fields(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  struct blow v = {.kind = 2,
                   .number = 0x1234,
                   .sex = 1,
                   .age = 101,
                   .height = 199,
                   .standard = 3,
                   .drug = 1,
                   .clock_us = wall_us(23, 59, 58),
                   .value = {1001, 2002, 3003, 4004, 5005, 6006, 7007, 8008, 9009, 10010, 11011, 12012, 13013}};
  struct sp80b_record got;
  put_record(b, &v, 0, 0);
  sp80b_record_read(b->at, &got);
  assert_int_equal(got.kind, 2);
  assert_int_equal(got.number, 0x1234);
  assert_int_equal(got.sex, 1);
  assert_int_equal(got.age, 101);
  assert_int_equal(got.height, 199);
  assert_int_equal(got.standard, 3);
  assert_true(got.drug && got.dated);
  assert_true(got.clock_us == v.clock_us);
  const unsigned values[] = {got.fvc,   got.fev05, got.fev1,  got.ratio,    got.fev3,     got.fev6, got.pef,
                             got.fef25, got.fef50, got.fef75, got.fef25_75, got.pef_time, got.evol};
  for (unsigned i = 0; i < 13; i++)
    assert_int_equal(values[i], v.value[i]);
  b->at[6] = 13;
  sp80b_record_read(b->at, &got);
  assert_false(got.dated);
  static const struct wave points[] = {{0, 0, 0},
                                       {1, 1, 1},
                                       {0x80, 0x80, 0x80},
                                       {0x8000, 0x4000, 0x4000},
                                       {0x800000, -1, -128},
                                       {0xffffff, 0x7fff, -0x7fff},
                                       {0x7f7f7f, -0x8000, 0x7fff}};
  for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
    b->n = 0;
    put_point(b, points[i]);
    struct sp80b_point p = sp80b_point_read(b->at);
    assert_int_equal(p.time, points[i].time);
    assert_int_equal(p.flow, points[i].flow);
    assert_int_equal(p.volume, points[i].volume);
  }
  free(b);
}

/* ---- decoding bytes ----------------------------------------------------------------------------------------- */

static void test_decode_fvc(void **state) {
  (void)state;
  for (unsigned checked = 0; checked < 2; checked++) {
    struct bytes *b = new_bytes();
    struct blow v = a_blow(510, wall_us(9, 0, 5));
    size_t from = b->n;
    put(b, 0xe4);
    put(b, 0);
    for (unsigned i = 0; i < 10; i++)
      put_number(b, 480 - 70 * i);
    put_sum(b, from, 0);
    assert_int_equal(b->n - from, 23);
    put_record(b, &v, 0, 0);
    put_curve(b, 1, 300, checked, 0);
    if (!checked) /* once more, as nothing says that it came right */
      put_curve(b, 1, 300, false, 0);
    struct reading r = read_raw(b);
    assert_int_equal(r.err, 0);
    assert_measure(r.own, 1, "fvc", "5.10", "L");
    assert_measure(r.own, 1, "fev1", "4.95", "L");
    assert_measure(r.own, 1, "fev1_fvc", "0.971", "1");
    assert_measure(r.own, 1, "pef", "9.33", "L/s");
    assert_measure(r.own, 1, "fef25", "8.01", "L/s");
    assert_measure(r.own, 1, "fef50", "6.52", "L/s");
    assert_measure(r.own, 1, "fef75", "3.91", "L/s");
    assert_measure(r.own, 1, "fef25_75", "6.14", "L/s");
    assert_int_equal(count(r.own, "measures"), 8); /* zeros are no values */
    assert_curve(&r, 1, 1, 300);
    assert_int_equal(count(r.own, "channels"), 3);
    assert_string_equal(json_text(trial_of(r.own, 0), "device_time"), "2026-03-02T09:00:05.000");
    assert_true(json_is_null(json_object_get(trial_of(r.own, 0), "phase")));
    assert_statement(r.own, 0, "fvc_predicted", "CVF théorique : 4,80 L");
    assert_statement(r.own, 0, "fev1_predicted", "VEMS théorique : 4,10 L");
    assert_statement(r.own, 1, "device_profile", "Profil réglé dans l'appareil : homme, 39 ans, 175 cm, norme ECCS");
    assert_statement(r.own, 1, "time_to_pef_raw", "Temps jusqu'au DEP, valeur brute : 291");
    assert_statement(r.own, 1, "bev_raw", "Volume extrapolé, valeur brute : 79");
    assert_int_equal(count(r.own, "statements"), 5);
    assert_int_equal(count(r.own, "quality"), 0);
    assert_string_equal(json_text(r.own, "integrity"), "sum8");
    reading_finish(&r);
    free(b);
  }
}

static void test_decode_kinds(void **state) {
  (void)state;
  for (unsigned kind = 0; kind < 8; kind++) {
    struct bytes *b = new_bytes();
    struct blow v = a_blow(480, wall_us(9, 0, 5));
    v.kind = kind;
    v.drug = kind == 2;
    v.sex = 1;
    v.standard = 9;
    put_record(b, &v, 0, 0);
    put_curve(b, 1, 20, true, 0);
    struct reading r = read_raw(b);
    if (kind > 3) {
      assert_int_equal(r.err, -ENODATA);
      put_record(b, &(struct blow){.kind = 1, .clock_us = wall_us(9, 0, 9), .value = {300, 0, 200}}, 1, 0);
      reading_finish(&r);
      r = read_raw(b);
      assert_int_equal(r.err, 0);
      assert_int_equal(noted(r.own, "unknown_value", 0), 1);
      assert_int_equal(count(r.own, "trials"), 1);
      assert_int_equal(count(r.own, "channels"), 0);
    } else {
      assert_int_equal(r.err, 0);
      assert_measure(r.own, 1, "fvc", kind < 2 ? "4.80" : NULL, "L");
      assert_measure(r.own, 1, "svc", kind == 2 ? "4.80" : NULL, "L");
      assert_measure(r.own, 1, "mvv", kind == 3 ? "4.80" : NULL, "L/min");
      assert_int_equal(count(r.own, "measures"), kind < 2 ? 8 : 1);
      assert_curve(&r, 1, 1, 20);
      const json_t *phase = json_object_get(trial_of(r.own, 0), "phase");
      assert_string_equal(kind == 2 ? json_string_value(phase) : "post", "post");
      assert_int_equal(json_is_null(phase), kind != 2);
      assert_statement(r.own, 1, "device_profile", "Profil réglé dans l'appareil : femme, 39 ans, 175 cm, norme ?");
    }
    reading_finish(&r);
    free(b);
  }
}

static void test_decode_missing_values(void **state) {
  (void)state;
  static const struct {
    unsigned at; /* of the values */
    bool volume, flow;
  } v[] = {{0, true, false}, {2, true, false}, {6, false, true}, {7, false, false}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct bytes *b = new_bytes();
    struct blow blow = a_blow(510, wall_us(9, 0, 5));
    blow.value[v[i].at] = 0;
    put_record(b, &blow, 0, 0); /* and without a curve */
    struct reading r = read_raw(b);
    assert_int_equal(r.err, 0);
    assert_int_equal(noted(r.own, "value_missing", 1), v[i].volume || v[i].flow);
    if (v[i].volume || v[i].flow)
      assert_string_equal(json_text(find(r.own, "quality", "value_missing", 1), "subject"),
                          v[i].flow ? "flow" : "volume");
    assert_int_equal(noted(r.own, "samples_missing", 1), 1);
    assert_int_equal(count(r.own, "measures"), 7);
    reading_finish(&r);
    free(b);
  }
}

static void test_decode_curves(void **state) {
  (void)state;
  static const struct {
    struct wave second; /* the first is {1000, 10, 10} */
    int err;
  } v[] = {
      {{1000, 20, 20}, 0},           {{1100, 25000, 15000}, 0},         {{1100, -25000, -15000}, 0},
      {{1000 + 32767, 20, 20}, 0},   {{1000 + 32768, 20, 20}, -ERANGE}, {{0xffffff, 20, 20}, -ERANGE},
      {{999, 20, 20}, -ERANGE},      {{1100, 25001, 20}, -ERANGE},      {{1100, 20, 15001}, -ERANGE},
      {{1100, -32768, 20}, -ERANGE},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct bytes *b = new_bytes();
    struct blow blow = a_blow(510, wall_us(9, 0, 5));
    put_record(b, &blow, 0, 0);
    size_t from = b->n;
    put_curve_head(b, 1, 2);
    put_point(b, (struct wave){1000, 10, 10});
    put_point(b, v[i].second);
    put_sum(b, from, 0);
    struct reading r = read_raw(b);
    if (r.err != v[i].err)
      fail_msg("case %zu: %d, %s", i, r.err, r.reason);
    if (r.err == 0) {
      const int16_t *steps = r.result[WIRE_OWN].data; /* from the first point on, whatever its time */
      assert_int_equal(steps[0], 0);
      assert_int_equal(steps[1], (int)v[i].second.time - 1000);
    }
    reading_finish(&r);
    free(b);
  }
  /* No points; the longest; a bad one and then a good one. */
  struct bytes *b = new_bytes();
  struct blow blow = a_blow(510, wall_us(9, 0, 5));
  put_record(b, &blow, 0, 0);
  put_curve(b, 1, 0, true, 0);
  struct reading r = read_raw(b);
  assert_int_equal(noted(r.own, "samples_missing", 1), 1);
  reading_finish(&r);
  b->n = 0;
  put_record(b, &blow, 0, 0);
  put_curve(b, 1, SP80B_POINTS_MAX, false, 0);
  put_curve(b, 1, SP80B_POINTS_MAX, false, 0);
  r = read_raw(b);
  assert_int_equal(r.err, 0);
  assert_curve(&r, 1, 1, SP80B_POINTS_MAX);
  reading_finish(&r);
  b->n = 0;
  put_record(b, &blow, 0, 0);
  put_curve(b, 2, 10, true, 0x20);
  put_curve(b, 1, 20, true, 0);
  put_curve(b, 3, 30, true, 0); /* once more: the first good one counts */
  r = read_raw(b);
  assert_int_equal(r.err, 0);
  assert_curve(&r, 1, 1, 20);
  assert_int_equal(noted(r.own, "frame_damaged", 0), 1);
  reading_finish(&r);
  /* Without a checksum: once, twice different, and then twice the same, or with one. */
  for (unsigned variant = 0; variant < 5; variant++) {
    b->n = 0;
    put_record(b, &blow, 0, 0);
    put_curve(b, 2, 20, false, 0);
    if (variant > 0)
      put_curve(b, 1, 20, false, 0);
    if (variant == 2)
      put_curve(b, 2, 20, false, 0); /* not one after the other */
    if (variant > 2)
      put_curve(b, 1, 20, variant == 4, 0);
    r = read_raw(b);
    assert_int_equal(r.err, 0);
    assert_int_equal(noted(r.own, "samples_missing", 1), variant < 3);
    assert_int_equal(noted(r.own, "frame_damaged", 0), variant == 2 ? 2 : variant > 0);
    if (variant > 2)
      assert_curve(&r, 1, 1, 20);
    reading_finish(&r);
  }
  free(b);
}

static void test_decode_several(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  struct blow v[12];
  for (unsigned i = 0; i < 12; i++) {
    v[i] = a_blow(400 + i, wall_us(9, 0, 5)); /* all in one second */
    put_record(b, &v[i], i > 0, 0);
    put_curve(b, i, 30, true, 0);
  }
  put_record(b, &v[3], 1, 0); /* again */
  put_curve(b, 3, 30, true, 0);
  struct reading r = read_raw(b);
  assert_int_equal(r.err, 0);
  assert_int_equal(count(r.own, "trials"), 12);
  assert_int_equal(count(r.own, "channels"), 30);
  assert_int_equal(noted(r.own, "reading_repeated", 0), 1);
  for (unsigned i = 0; i < 12; i++) {
    char text[8];
    snprintf(text, sizeof text, "4.%02u", i);
    assert_measure(r.own, (int)i + 1, "fvc", text, "L");
    assert_int_equal(noted(r.own, "samples_missing", (int)i + 1), i >= 10);
    if (i < 10)
      assert_curve(&r, (int)i + 1, i, 30);
  }
  reading_finish(&r);
  b->n = 0;
  for (unsigned i = 0; i < 65; i++) {
    struct blow blow = a_blow(400 + i, wall_us(9, 0, 5));
    put_record(b, &blow, 1, 0);
    r = read_raw(b);
    assert_int_equal(r.err, i < 64 ? 0 : -EPROTO);
    reading_finish(&r);
  }
  free(b);
}

static void test_decode_refused(void **state) {
  (void)state;
  struct bytes *b = new_bytes();
  struct blow blow = a_blow(510, wall_us(9, 0, 5));
  struct reading r = read_raw(b);
  assert_int_equal(r.err, -ENODATA);
  put_record(b, &blow, 0, 1);
  r = read_raw(b);
  assert_int_equal(r.err, -EBADMSG);
  b->n = 0;
  blow.no_date = true;
  put_record(b, &blow, 0, 0);
  r = read_raw(b);
  assert_int_equal(r.err, -ERANGE);
  b->n = 0;
  put_record(b, &blow, 0x7e, 0); /* the end, told as a record */
  r = read_raw(b);
  assert_int_equal(r.err, -ENODATA);
  /* More points announced than come. */
  blow.no_date = false;
  b->n = 0;
  put_record(b, &blow, 0, 0);
  size_t whole = b->n;
  put_curve(b, 1, 20, false, 0);
  for (size_t n = b->n - 1; n > whole; n--) {
    b->n = n;
    r = read_raw(b);
    assert_int_equal(r.err, 0);
    assert_int_equal(count(r.own, "channels"), 0);
    assert_int_equal(noted(r.own, "samples_missing", 1), 1);
    assert_int_equal(noted(r.own, "frame_damaged", 0), 1);
    reading_finish(&r);
  }
  for (size_t n = 1; n < whole; n++) {
    b->n = n;
    r = read_raw(b);
    assert_int_equal(r.err, -EBADMSG);
  }
  /* A volume that cannot be. */
  b->n = 0;
  blow.value[0] = 1501;
  put_record(b, &blow, 0, 0);
  r = read_raw(b);
  assert_int_equal(r.err, -ERANGE);
  free(b);
}

/* ---- an instrument to talk to ------------------------------------------------------------------------------- */

#define HELD_MAX 1100

struct acq_io {
  /* how it behaves */
  struct blow held[HELD_MAX]; /* oldest first */
  unsigned n_held;
  bool newest_first, bare_curves, end_as_record, no_setting, no_version;
  int64_t clock_us;    /* its clock is so much ahead of the host's, until it is set */
  uint64_t blow_ms[3]; /* when it is blown into; 0 never */
  unsigned blow_fvc[3], points;
  bool one_second;    /* all blows are dated alike */
  uint64_t delete_ms; /* when its user empties it; 0 never */
  bool edits;         /* its oldest and newest records change with a blow */
  uint64_t deaf_from, deaf_to;
  int spoil_reply; /* of this request: the reply's checksum is wrong, `spoils` times */
  unsigned spoils;
  int lose_reply;
  unsigned loses;
  bool babbles, echoes;
  size_t chunk;
  int fail_call, fail_err; /* the n-th call fails; -1 none */

  /* how it is */
  struct bytes *out;
  struct buf capture;
  uint8_t line[2048];
  size_t taken, n_line, at;
  unsigned made, cursor, calls, curves_asked, records_asked, ended, counts;
  uint64_t ms;

  /* what the host showed */
  char reason[256];
  uint32_t done, total;
};

static void io_init(struct acq_io *io) {
  *io = (struct acq_io){.chunk = 2048, .fail_call = -1, .spoil_reply = -1, .lose_reply = -1, .points = 300};
  io->out = new_bytes();
  io->capture = BUF_INIT(32 << 20);
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

static int64_t host_us(uint64_t ms) {
  return wall_us(9, 0, 0) + (int64_t)ms * 1000;
}

static void hold(struct acq_io *io, struct blow blow) {
  assert_true(io->n_held < HELD_MAX);
  blow.number = io->n_held + 1;
  io->held[io->n_held++] = blow;
}

/* What has happened to it by now. */
static void live(struct acq_io *io) {
  if (io->delete_ms && io->ms >= io->delete_ms)
    io->n_held = 0, io->delete_ms = 0;
  while (io->made < 3 && io->blow_ms[io->made] && io->blow_ms[io->made] <= io->ms) {
    struct blow blow =
        a_blow(io->blow_fvc[io->made], host_us(io->blow_ms[io->one_second ? 0 : io->made]) + io->clock_us);
    blow.clock_us -= blow.clock_us % 1000000;
    blow.points = io->points;
    if (io->edits && io->n_held)
      io->held[0].age++, io->held[io->n_held - 1].sex ^= 1;
    hold(io, blow);
    io->made++;
  }
}

static void reply_record(struct acq_io *io, unsigned asked, unsigned spoil) {
  unsigned i = io->newest_first ? io->n_held - 1 - io->cursor : io->cursor;
  if (io->cursor < io->n_held)
    put_record(io->out, &io->held[i], asked, spoil);
}

static void reply(struct acq_io *io, const uint8_t *p) {
  struct bytes *b = io->out;
  size_t from = b->n;
  bool lost = io->lose_reply == p[0] && io->loses && io->loses--;
  unsigned spoil = io->spoil_reply == p[0] && io->spoils && io->spoils-- ? 0x15 : 0;
  switch (p[0]) {
  case 0x80:
    put(b, 0xf0);
    put_sum(b, from, spoil);
    break;
  case 0x82:
    put(b, 0xf2);
    for (unsigned i = 0; i < 6; i++)
      put(b, (uint8_t) "V1.0.7"[i]);
    put_sum(b, from, spoil);
    if (io->no_version)
      b->n = from;
    break;
  case 0x83:
    put(b, 0xf3);
    put(b, 0);
    put_sum(b, from, spoil);
    if (io->no_setting)
      b->n = from;
    else
      io->clock_us = 0;
    break;
  case 0x94:
    put(b, 0xe4);
    for (unsigned i = 0; i < 21; i++)
      put(b, 0);
    put_sum(b, from, spoil);
    break;
  case 0x90:
    io->counts++;
    put(b, 0xe0);
    put_number(b, io->n_held);
    for (unsigned i = 0; i < 6; i++)
      put(b, 0);
    put_sum(b, from, spoil);
    break;
  case 0x91:
    if (p[1] == 0x7e) {
      io->ended++;
      put(b, io->end_as_record ? 0xe1 : 0xe3);
      for (unsigned i = 0; i < (io->end_as_record ? 42 : 1); i++)
        put(b, i ? 0 : io->end_as_record ? 0x7e : 0);
      put_sum(b, from, spoil);
      break;
    }
    io->records_asked++;
    io->cursor = p[1] ? io->cursor + 1 : 0;
    reply_record(io, p[1], spoil);
    break;
  case 0x92: {
    io->curves_asked++;
    unsigned i = io->newest_first ? io->n_held - 1 - io->cursor : io->cursor;
    put_curve(b, io->held[i].number, io->held[i].points, !io->bare_curves, spoil);
    if (io->bare_curves && spoil)
      b->at[from + 42] = (uint8_t)(b->at[from + 42] ^ 1u << io->curves_asked % 7);
    break;
  }
  default:
    fail_msg("the driver sends %02x", p[0]);
  }
  if (lost)
    b->n = from;
}

static void check_request(struct acq_io *io, const uint8_t *p, size_t n) {
  unsigned sum = 0;
  for (size_t i = 0; i + 1 < n; i++) {
    sum += p[i];
    assert_int_equal(p[i] >> 7, i == 0);
  }
  assert_int_equal(p[n - 1], sum & 0x7f);
  assert_true(p[0] != 0x8b && p[0] != 0x93); /* no user data, nothing deleted */
  if (p[0] == 0x91)
    assert_true(n == 4 && p[1] != 0x7f && p[2] == 1);
  if (p[0] == 0x83) {
    struct acq_clock c = acq_clock_from_us(host_us(io->ms));
    assert_int_equal(n, 10);
    assert_int_equal(p[1] + 2000, c.year);
    assert_int_equal(p[2], c.month);
    assert_int_equal(p[3], c.day);
    assert_int_equal(p[4], c.hour);
    assert_int_equal(p[5], c.minute);
    assert_int_equal(p[6], c.second);
    assert_int_equal(p[7] | p[8] << 7, c.ms);
  }
}

static int io_call(struct acq_io *io) {
  int index = (int)io->calls++;
  assert_true(io->calls < 100000);
  if (io->fail_call < 0 || index < io->fail_call)
    return 0;
  if (io->fail_err == -ECANCELED) { /* once: release() may talk again */
    io->fail_call = -1;
    io_note(io, "cancelled");
  } else if (index == io->fail_call) {
    io_note(io, "unplugged");
  }
  return io->fail_err;
}

int acq_write(struct acq_io *io, const void *bytes, size_t n, unsigned ms) {
  assert_true(ms > 0 && n > 1);
  int err = io_call(io);
  if (err)
    return err;
  io_event(io, '>', bytes, n);
  check_request(io, bytes, n);
  live(io);
  if (io->echoes)
    for (size_t i = 0; i < n; i++)
      put(io->out, ((const uint8_t *)bytes)[i]);
  else if (!io->babbles && !(io->ms >= io->deaf_from && io->ms < io->deaf_to))
    reply(io, bytes);
  return 0;
}

int acq_read_some(struct acq_io *io, void *bytes, size_t max, unsigned ms) {
  assert_true(ms > 0 && max > 0);
  int err = io_call(io);
  if (err)
    return err;
  if (io->babbles)
    for (unsigned i = 0; i < 30; i++)
      put(io->out, (io->calls * 37 + i * 11) % 0x60);
  if (io->at == io->n_line) {
    size_t n = io->out->n - io->taken;
    if (!n) {
      io->ms += ms;
      io_note(io, "timeout");
      return -ETIMEDOUT;
    }
    n = n < io->chunk ? n : io->chunk;
    memcpy(io->line, io->out->at + io->taken, n);
    io->taken += n;
    if (io->taken == io->out->n)
      io->taken = io->out->n = 0;
    io->n_line = n;
    io->at = 0;
    io->ms += 2;
    io_event(io, '<', io->line, n);
  }
  size_t n = io->n_line - io->at < max ? io->n_line - io->at : max;
  memcpy(bytes, io->line + io->at, n);
  io->at += n;
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

int acq_fail(struct acq_io *io, int err, const char *format, ...) {
  va_list ap;
  assert_true(err < 0);
  if (io->reason[0])
    return err;
  va_start(ap, format);
  vsnprintf(io->reason, sizeof io->reason, format, ap);
  va_end(ap);
  io_note(io, io->reason);
  return err;
}

/* The worker's life. Returns what acquire() returned, or identify()'s error. */
static int run(struct acq_io *io, struct acq_identity *ret) {
  struct acq_order order = {.seconds = 20, .started_us = wall_us(9, 0, 0) - INT64_C(3600000000), .offset_minutes = 60};
  memset(ret, 0, sizeof *ret);
  buf_text(&io->capture, HEADER);
  int r = DRIVER->identify(io, ret);
  if (r == 0) {
    io_note(io, "acquire");
    r = DRIVER->acquire(io, &order);
  }
  if (r != -ENODEV && r != -ENXIO) {
    io_note(io, "release");
    int released = DRIVER->release(io);
    assert_true(released == 0 || released == io->fail_err);
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

static void assert_run(struct acq_io *io, int want, const char *reason) {
  struct acq_identity id;
  int r = run(io, &id);
  if (r != want)
    fail_msg("%d instead of %d: %s\n%.3000s", r, want, io->reason, (const char *)io->capture.data);
  if (reason)
    assert_string_equal(io->reason, reason);
}

/* Blown into after seven seconds. */
static void io_blow(struct acq_io *io) {
  io_init(io);
  io->blow_ms[0] = 7000;
  io->blow_fvc[0] = 510;
}

/* ---- conversations ------------------------------------------------------------------------------------------ */

static void test_conversation(void **state) {
  (void)state;
  for (unsigned variant = 0; variant < 16; variant++) {
    struct acq_io io;
    struct acq_identity id;
    io_blow(&io);
    io.newest_first = variant & 1;
    io.bare_curves = variant & 2;
    io.end_as_record = variant & 4;
    io.no_version = variant & 8;
    io.chunk = variant % 3 ? 2048 : 7;
    for (unsigned i = 0; i < 9; i++) /* others', the day before */
      hold(&io, a_blow(300 + i, wall_us(9, 0, 0) - INT64_C(86400000000) + (int64_t)i * 1000000));
    assert_int_equal(run(&io, &id), 0);
    assert_string_equal(id.make, "Contec");
    assert_string_equal(id.model, "SP80B");
    assert_string_equal(id.firmware, io.no_version ? "" : "V1.0.7");
    assert_int_equal(io.curves_asked, io.bare_curves ? 2 : 1);
    assert_int_equal(io.records_asked, 1 + (io.newest_first ? 2 : 10)); /* the first one before the blow too */
    assert_int_equal(io.ended, 1);
    assert_int_equal(io.total, 20);
    assert_in_range(io.done, 1, 19);
    struct reading r = read_io(&io);
    assert_int_equal(r.err, 0);
    assert_null(r.stray);
    assert_int_equal(count(r.own, "trials"), 1);
    assert_measure(r.own, 1, "fvc", "5.10", "L");
    assert_curve(&r, 1, 10, 300);
    assert_string_equal(json_text(trial_of(r.own, 0), "time"), "2026-03-02T09:00:07.000000+01:00");
    assert_int_equal(noted(r.own, "readings_kept_by_device", 0), 9);
    assert_int_equal(count(r.own, "quality"), 1);
    reading_finish(&r);
    io_finish(&io);
  }
}

static void test_first_blow_ever(void **state) {
  (void)state;
  struct acq_io io;
  io_blow(&io);
  io.clock_us = -INT64_C(400000000000000); /* it thinks it is 2013, and is told */
  assert_run(&io, 0, "");
  struct reading r = read_io(&io);
  assert_int_equal(r.err, 0);
  assert_int_equal(count(r.own, "quality"), 0);
  assert_measure(r.own, 1, "fvc", "5.10", "L");
  reading_finish(&r);
  io_finish(&io);
}

static void test_two_blows_in_one_second(void **state) {
  (void)state;
  struct acq_io io;
  io_blow(&io);
  io.one_second = true;
  io.blow_ms[1] = io.blow_ms[0] + 1;
  io.blow_fvc[1] = 498;
  assert_run(&io, 0, "");
  assert_int_equal(io.curves_asked, 2);
  struct reading r = read_io(&io);
  assert_int_equal(r.err, 0);
  assert_int_equal(count(r.own, "trials"), 2);
  assert_measure(r.own, 1, "fvc", "5.10", "L");
  assert_measure(r.own, 2, "fvc", "4.98", "L");
  assert_curve(&r, 1, 1, 300);
  assert_curve(&r, 2, 2, 300);
  assert_int_equal(count(r.own, "quality"), 0);
  reading_finish(&r);
  io_finish(&io);
}

/* Whose is it? Not a clock decides, but what was there before. */
static void test_attribution(void **state) {
  (void)state;
  static const struct {
    int64_t held_us[3]; /* what it holds, as seconds after 09:00:00 */
    unsigned n_held;
  } v[] = {{{0}, 0},        {{-3600}, 1},    {{3}, 1}, /* its clock was fast: somebody else's blow is dated in this
                                                          session, */
           {{3600}, 1},                                /* or later still */
           {{3, -3000}, 2}, {{-3000, 3}, 2}, {{3, 7, 9}, 3}, {{7, 7, 7}, 3}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++)
    for (unsigned variant = 0; variant < 4; variant++) {
      struct acq_io io;
      io_blow(&io);
      io.newest_first = variant & 1;
      if (variant & 2)
        io.blow_ms[1] = io.blow_ms[0] + 1, io.blow_fvc[1] = 498;
      for (unsigned k = 0; k < v[i].n_held; k++)
        hold(&io, a_blow(300 + k, wall_us(9, 0, 0) + v[i].held_us[k] * 1000000));
      assert_run(&io, 0, "");
      assert_int_equal(io.curves_asked, variant & 2 ? 2 : 1);
      struct reading r = read_io(&io);
      assert_int_equal(r.err, 0);
      assert_null(r.stray);
      assert_int_equal(count(r.own, "trials"), variant & 2 ? 2 : 1);
      bool turned = variant == 3; /* newest first */
      assert_measure(r.own, turned ? 2 : 1, "fvc", "5.10", "L");
      assert_curve(&r, turned ? 2 : 1, v[i].n_held + 1, 300);
      if (variant & 2)
        assert_measure(r.own, turned ? 1 : 2, "fvc", "4.98", "L");
      assert_int_equal(noted(r.own, "readings_kept_by_device", 0), v[i].n_held);
      assert_int_equal(count(r.own, "quality"), v[i].n_held != 0);
      reading_finish(&r);
      io_finish(&io);
    }
}

/* A clock that cannot be set: what is dated at another time is set aside. */
static void test_clock_not_settable(void **state) {
  (void)state;
  for (unsigned wrong = 0; wrong < 2; wrong++) {
    struct acq_io io;
    io_blow(&io);
    io.no_setting = true;
    io.clock_us = wrong ? -INT64_C(400000000000000) : 0;
    hold(&io, a_blow(300, wall_us(9, 0, 3)));
    assert_run(&io, 0, "");
    struct reading r = read_io(&io);
    assert_int_equal(r.err, 0);
    assert_int_equal(!r.own, wrong);
    assert_int_equal(!r.stray, !wrong);
    const json_t *record = wrong ? r.stray : r.own;
    assert_int_equal(count(record, "trials"), 1);
    assert_measure(record, 1, "fvc", "5.10", "L");
    assert_int_equal(noted(record, "device_clock_unset", 0), 1);
    reading_finish(&r);
    io_finish(&io);
  }
}

static void test_not_of_this_acquisition(void **state) {
  (void)state;
  struct acq_io io;
  struct reading r;

  io_init(&io); /* blown into a minute before */
  hold(&io, a_blow(300, wall_us(8, 59, 0)));
  assert_run(&io, -ENODATA, "no new record in 20 s");
  assert_int_equal(io.records_asked, 1);
  assert_int_equal(io.curves_asked, 0);
  r = read_io(&io);
  assert_int_equal(r.err, -ENODATA);
  io_finish(&io);

  io_blow(&io); /* emptied on the instrument meanwhile */
  for (unsigned i = 0; i < 9; i++)
    hold(&io, a_blow(300 + i, wall_us(8, 0, 0)));
  io.delete_ms = 2500;
  assert_run(&io, 0, "");
  r = read_io(&io);
  assert_int_equal(count(r.own, "trials"), 1);
  assert_measure(r.own, 1, "fvc", "5.10", "L");
  assert_int_equal(noted(r.own, "readings_kept_by_device", 0), 0);
  reading_finish(&r);
  io_finish(&io);

  for (unsigned newest_first = 0; newest_first < 2; newest_first++) {
    io_blow(&io); /* more records than are looked through */
    io.newest_first = newest_first;
    for (unsigned i = 0; i < 1001; i++)
      hold(&io, a_blow(300, wall_us(8, 0, 0) + i * INT64_C(1000000)));
    assert_run(&io, newest_first ? 0 : -ENODATA, newest_first ? "" : "1002 records, the new ones behind");
    assert_int_equal(io.records_asked, newest_first ? 3 : 2);
    io_finish(&io);

    io_blow(&io); /* the first record is another one, and the one that was first is gone */
    io.newest_first = newest_first;
    io.edits = true;
    hold(&io, a_blow(300, wall_us(8, 0, 0)));
    hold(&io, a_blow(301, wall_us(8, 0, 0)));
    assert_run(&io, -EPROTO, "the records changed while they were read");
    r = read_io(&io);
    assert_int_equal(r.err, -EPROTO);
    io_finish(&io);
  }
}

/* Each answer, damaged or lost: once, and for ever. */
static void test_replies(void **state) {
  (void)state;
  static const struct {
    int request;
    int err; /* when it is so for ever */
  } v[] = {{0x80, 0}, {0x82, 0}, {0x83, 0}, {0x94, 0}, {0x90, 1}, {0x91, 1}, {0x92, 1}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++)
    for (unsigned variant = 0; variant < 4; variant++) {
      struct acq_io io;
      const bool lost = variant & 1, always = variant & 2;
      unsigned times = always ? 9999 : 1;
      io_blow(&io);
      hold(&io, a_blow(300, wall_us(8, 0, 0)));
      if (lost)
        io.lose_reply = v[i].request, io.loses = times;
      else
        io.spoil_reply = v[i].request, io.spoils = times;
      int want = !always || !v[i].err ? 0 : lost ? -ETIMEDOUT : -EBADMSG;
      if (always && v[i].request == 0x80) /* nothing of it was ever right */
        want = lost ? -ETIMEDOUT : -ENXIO;
      assert_run(&io, want, NULL);
      struct reading r = read_io(&io);
      if (want == 0) {
        assert_int_equal(r.err, 0);
        assert_int_equal(count(r.own, "trials"), 1);
        assert_measure(r.own, 1, "fvc", "5.10", "L");
        assert_curve(&r, 1, 2, 300);
        assert_int_equal(noted(r.own, "frame_damaged", 0) > 0, !lost);
        assert_int_equal(noted(r.own, "device_clock_unset", 0), always && v[i].request == 0x83);
      } else {
        assert_true(r.err == -ENODATA || r.err == -EBADMSG || r.err == 0);
        if (r.err == 0) { /* its curve never came */
          assert_int_equal(noted(r.own, "incomplete", 0) > 0, 1);
          assert_int_equal(noted(r.own, "samples_missing", 1), 1);
        }
      }
      reading_finish(&r);
      io_finish(&io);
    }
}

/* Curves without a checksum are read until they come twice the same. */
static void test_bare_curves(void **state) {
  (void)state;
  static const struct {
    unsigned spoils, asked;
    bool curve;
  } v[] = {{0, 2, true}, {1, 3, true}, {2, 4, true}, {3, 4, false}, {9, 4, false}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct acq_io io;
    io_blow(&io);
    io.bare_curves = true;
    io.spoil_reply = 0x92;
    io.spoils = v[i].spoils;
    assert_run(&io, 0, "");
    assert_int_equal(io.curves_asked, v[i].asked);
    struct reading r = read_io(&io);
    assert_int_equal(r.err, 0);
    assert_measure(r.own, 1, "fvc", "5.10", "L");
    if (v[i].curve)
      assert_curve(&r, 1, 1, 300);
    assert_int_equal(noted(r.own, "samples_missing", 1), !v[i].curve);
    assert_int_equal(noted(r.own, "frame_damaged", 0) > 0, v[i].spoils > 0);
    reading_finish(&r);
    io_finish(&io);
  }
}

/* It does not answer while it is blown into. */
static void test_deaf_for_a_while(void **state) {
  (void)state;
  struct acq_io io;
  io_blow(&io);
  io.deaf_from = 2000;
  io.deaf_to = 12000;
  assert_run(&io, 0, "");
  io_finish(&io);
  io_blow(&io);
  io.deaf_from = 2000;
  io.deaf_to = UINT64_MAX;
  assert_run(&io, -ETIMEDOUT, NULL);
  assert_in_range(io.ms, 16000, 19000);
  io_finish(&io);
}

static void test_faults(void **state) {
  (void)state;
  struct acq_io io;
  io_init(&io);
  io.deaf_to = UINT64_MAX;
  assert_run(&io, -ETIMEDOUT, "the answer to the start was not given");
  io_finish(&io);

  io_init(&io);
  io.babbles = true;
  assert_run(&io, -ENXIO, NULL);
  io_finish(&io);

  io_init(&io);
  io.echoes = true;
  assert_run(&io, -ENXIO, NULL);
  io_finish(&io);

  io_init(&io);
  assert_run(&io, -ENODATA, "no new record in 20 s");
  assert_int_equal(io.done, 20);
  struct reading r = read_io(&io);
  assert_int_equal(r.err, -ENODATA);
  io_finish(&io);
}

/* Unplugged or cancelled at every call. */
static void test_sweep(void **state) {
  (void)state;
  static const int errors[] = {-ENODEV, -ECANCELED};
  for (unsigned e = 0; e < 2; e++)
    for (int at = 0;; at++) {
      struct acq_io io;
      struct acq_identity id;
      io_blow(&io);
      hold(&io, a_blow(300, wall_us(8, 0, 0)));
      io.chunk = 100;
      io.fail_call = at;
      io.fail_err = errors[e];
      int r = run(&io, &id);
      bool over = io.calls <= (unsigned)at;
      assert_true(r == errors[e] || r == 0);
      struct reading reading = read_io(&io);
      if (reading.err == 0) {
        assert_measure(reading.own, 1, "fvc", "5.10", "L");
        assert_int_equal(noted(reading.own, "incomplete", 0) > 0, r != 0);
      } else {
        assert_true(reading.err == -ENODATA || reading.err == -EBADMSG);
      }
      reading_finish(&reading);
      io_finish(&io);
      if (over)
        break;
    }
}

/* Every bit that was received, flipped; every cut: refused, flagged, or the same reading. */
static void test_mutations(void **state) {
  (void)state;
  for (unsigned bare = 0; bare < 2; bare++) {
    struct acq_io io;
    struct acq_capture capture;
    unsigned refused = 0, flagged = 0, same = 0;
    io_blow(&io);
    io.bare_curves = bare;
    io.points = 30;
    io.blow_ms[1] = io.blow_ms[0] + 1;
    io.blow_fvc[1] = 498;
    hold(&io, a_blow(300, wall_us(8, 0, 0)));
    hold(&io, a_blow(301, wall_us(8, 0, 9)));
    live(&io);
    assert_run(&io, 0, "");
    assert_int_equal(capture_parse((const char *)io.capture.data, io.capture.len, &capture, NULL), 0);
    struct reading base = read_capture(&capture);
    assert_int_equal(base.err, 0);
    const json_t *acquired = json_object_get(base.own, "acquired");
    for (size_t i = 0; i < 8 * capture.n_received; i += i / 8 % 97 ? 3 : 1) {
      capture.received[i / 8] ^= (uint8_t)(1u << i % 8);
      struct reading r = read_capture(&capture);
      if (r.err < 0)
        refused++;
      else if (noted(r.own, "frame_damaged", 0) || noted(r.own, "incomplete", 0))
        flagged++;
      else if (json_equal(json_object_get(r.own, "acquired"), acquired))
        same++;
      else
        fail_msg("byte %zu, bit %zu: another reading, and nothing says so", i / 8, i % 8);
      reading_finish(&r);
      capture.received[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    print_message("bit flips, curves %s checksum: %u refused, %u flagged, %u harmless\n", bare ? "without" : "with",
                  refused, flagged, same);
    assert_true(refused && flagged && same);
    reading_finish(&base);
    capture_finish(&capture);
    for (size_t n = 0; n < io.capture.len; n += n % 1009 ? 5 : 1) {
      if (capture_parse((const char *)io.capture.data, n, &capture, NULL) < 0)
        continue;
      struct reading r = read_capture(&capture);
      if (r.err == 0)
        assert_true(noted(r.own, "incomplete", 0) > 0);
      else
        assert_true(r.err == -ENODATA || r.err == -EBADMSG || r.err == -EPROTO);
      reading_finish(&r);
      capture_finish(&capture);
    }
    io_finish(&io);
  }
}

static void test_table(void **state) {
  (void)state;
  assert_int_equal(DRIVER->abi, ACQ_DRIVER_ABI);
  assert_string_equal(DRIVER->name, "contec_sp80b");
  assert_int_equal(DRIVER->modalities, ACQ_MODALITY(ACQ_SPIROMETRY));
  assert_int_equal(DRIVER->maturity, ACQ_EXPERIMENTAL);
  assert_int_equal(DRIVER->match[0].bus, ACQ_SERIAL);
  assert_int_equal(DRIVER->match[0].vendor, 0); /* bound by the site alone */
  assert_int_equal(DRIVER->match[1].bus, 0);
  assert_true(DRIVER->limits.default_seconds <= DRIVER->limits.max_seconds);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),
      cmocka_unit_test(test_requests),
      cmocka_unit_test(test_splits),
      cmocka_unit_test(test_damage),
      cmocka_unit_test(test_fields),
      cmocka_unit_test(test_decode_fvc),
      cmocka_unit_test(test_decode_kinds),
      cmocka_unit_test(test_decode_missing_values),
      cmocka_unit_test(test_decode_curves),
      cmocka_unit_test(test_decode_several),
      cmocka_unit_test(test_decode_refused),
      cmocka_unit_test(test_conversation),
      cmocka_unit_test(test_first_blow_ever),
      cmocka_unit_test(test_two_blows_in_one_second),
      cmocka_unit_test(test_attribution),
      cmocka_unit_test(test_clock_not_settable),
      cmocka_unit_test(test_not_of_this_acquisition),
      cmocka_unit_test(test_replies),
      cmocka_unit_test(test_bare_curves),
      cmocka_unit_test(test_deaf_for_a_while),
      cmocka_unit_test(test_faults),
      cmocka_unit_test(test_sweep),
      cmocka_unit_test(test_mutations),
  };
  return hash_open() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
