/* The Lung Monitor driver: its frame layer, its conversation against a monitor that this file plays, and its decoding.
 * Frames are built here from the protocol's description, not by the driver; in place of the worker this program has its
 * own acq_io. */
#include "../../drivers/vitalograph_lungmonitor/frame.h"
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

extern const struct acq_driver vitalograph_lungmonitor;
#define DRIVER (&vitalograph_lungmonitor)

#define START "2026-03-02T09:00:00.000000+01:00" /* so 09:00:00 on the wall */
#define HEADER "asaleed-capture 1\ndriver vitalograph_lungmonitor 1\nbus serial\norder 60\nstart " START "\n"

/* ---- frames, from the text ---------------------------------------------------------------------------------- */

static size_t make_frame(const char *payload, uint8_t *ret) {
  size_t n = 0;
  uint8_t bcc = 0;
  ret[n++] = 2;
  for (const char *p = payload; *p; p++)
    ret[n++] = (uint8_t)*p;
  ret[n++] = 3;
  for (size_t i = 0; i < n; i++)
    bcc ^= ret[i];
  ret[n++] = bcc;
  return n;
}

#define REAL_BLOW                            \
  "FTD0000129406363399091404000000095090000" \
  "130528104418"                             \
  "0923"

/* A blow of model A: FEV1 in 1/100 L and YYMMDDhhmmss. */
static const char *blow_a(unsigned fev1, const char *clock) {
  static char text[4][64];
  static unsigned turn;
  char *t = text[turn++ % 4];
  snprintf(t, 64, "FTD0000129406%03u399091404000000095090000%s0923", fev1, clock);
  return t;
}

#define BLOW_B            \
  "FTD0000777001"         \
  "412298355401088297"    \
  "380433093095080050030" \
  "260302090007"          \
  "0105" /* PEF .. FEF, personal bests and percents, zones, time, good, software */

/* ---- what a record says ------------------------------------------------------------------------------------- */

struct reading {
  int err;
  char reason[256];
  json_t *part[WIRE_RECORDS];
};

static struct reading read_capture(const struct acq_capture *capture) {
  struct reading r = {0};
  struct record_result result[WIRE_RECORDS];
  char why[256] = "";
  r.err = record_decode(DRIVER, capture, result, r.reason);
  for (int i = 0; r.err == 0 && i < WIRE_RECORDS; i++) {
    if (result[i].json && record_read(result[i].json, result[i].json_bytes, result[i].data,
                                      result[i].data_values * sizeof(int16_t), &r.part[i], why) < 0)
      fail_msg("the record is not accepted: %s", why);
    record_result_finish(&result[i]);
  }
  return r;
}

static struct reading read_text(const char *text, size_t n) {
  struct acq_capture capture;
  unsigned line = 0;
  assert_int_equal(capture_parse(text, n, &capture, &line), 0);
  struct reading r = read_capture(&capture);
  capture_finish(&capture);
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
  for (int i = 0; i < WIRE_RECORDS; i++)
    json_decref(r->part[i]);
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

static const char *trial_text(const json_t *record, size_t i, const char *key) {
  return json_text(json_array_get(in(record, "trials"), i), key);
}

static void assert_real(const json_t *record) {
  assert_measure(record, 1, "fev1", "3.63", "L");
  assert_measure(record, 1, "fev6", "3.99", "L");
  assert_measure(record, 1, "fev1_fev6", "0.91", "1");
  assert_measure(record, 1, "fef25_75", "4.04", "L/s");
  assert_int_equal(count(record, "measures"), 4);
  assert_int_equal(count(record, "trials"), 1);
  assert_string_equal(trial_text(record, 0, "device_time"), "2013-05-28T10:44:18.000");
  assert_int_equal(noted(record, "blow_rejected", 1), 0);
  assert_statement(record, 1, "fev1_personal_best", NULL); /* 000 is no value */
  assert_statement(record, 1, "fev1_of_personal_best", NULL);
  assert_statement(record, 1, "zone_green", "Zone verte : 95 %");
  assert_statement(record, 1, "zone_yellow", "Zone jaune : 90 %");
  assert_statement(record, 1, "zone_orange", NULL);
  assert_statement(record, 0, "device_serial", "Numéro de l'appareil : 0000129406");
  assert_statement(record, 0, "device_software", "Version du logiciel de l'appareil : 923");
}

/* ---- the frame layer ---------------------------------------------------------------------------------------- */

static void test_frame(void **state) {
  (void)state;
  static const uint8_t get_time[] = {0x02, 0x47, 0x56, 0x47, 0x54, 0x03, 0x03};
  uint8_t wire[VLM_WIRE_MAX], own[VLM_WIRE_MAX];
  assert_int_equal(vlm_encode("GVGT", wire), sizeof get_time);
  assert_memory_equal(wire, get_time, sizeof get_time);
  size_t n = vlm_encode(REAL_BLOW, wire);
  assert_int_equal(n, make_frame(REAL_BLOW, own));
  assert_memory_equal(wire, own, n);
  assert_int_equal(wire[n - 1], 0x6a);
  struct vlm_reader r;
  vlm_reader_init(&r);
  for (unsigned turn = 0; turn < 2; turn++) {
    for (size_t i = 0; i + 1 < n; i++) {
      assert_int_equal(vlm_take(&r, wire[i]), VLM_MORE);
      assert_int_equal(vlm_is_head(&r), i == 3);
    }
    assert_int_equal(vlm_take(&r, wire[n - 1]), VLM_FRAME);
    assert_string_equal(r.payload, REAL_BLOW);
    assert_false(vlm_settle(&r));
    assert_int_equal(vlm_take(&r, 0x06), VLM_ACK);
    assert_int_equal(vlm_take(&r, 0x15), VLM_NAK);
  }
  /* What is left of a frame whose head another reader took. */
  vlm_reader_init(&r);
  vlm_resume(&r);
  for (size_t i = 4; i + 1 < n; i++)
    assert_int_equal(vlm_take(&r, wire[i]), VLM_MORE);
  assert_int_equal(vlm_take(&r, wire[n - 1]), VLM_FRAME);
  assert_string_equal(r.payload, REAL_BLOW);
}

/* Each of these bytes, between two good frames. */
static void test_damage(void **state) {
  (void)state;
  static const struct {
    const char *bytes, *reason;
    unsigned reports;
    bool framed;
  } v[] = {
      {"", "", 0, false},
      {"\x02GVGT\x03\x04", "wrong BCC", 1, true},
      {"\x02GVGU\x03\x03", "wrong BCC", 1, true},
      {"VGT\x03\x03", "bytes between frames", 1, true}, /* the rest of a frame whose beginning was lost */
      {"\x02GVGT", "a frame without an end", 1, false},
      {"\x02GV\x02GV", "a frame without an end", 2, false},
      {"\x02GV\xc7T\x03\x03", "a byte that no payload has", 1, false}, /* the high bit of a character */
      {"\x02GV\x10GT\x03\x03", "a byte that no payload has", 1, false},
      {"\x10", "bytes between frames", 1, false},
      {"\xfc\xff", "bytes between frames", 1, false},
      {"\x03", "bytes between frames", 1, false},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct vlm_reader r;
    uint8_t wire[256];
    unsigned frames = 0, reports = 0;
    size_t n = make_frame("GVXR", wire), middle = strlen(v[i].bytes);
    memcpy(wire + n, v[i].bytes, middle);
    n += middle;
    n += make_frame("GVXR", wire + n);
    vlm_reader_init(&r);
    for (size_t k = 0; k < n; k++) {
      enum vlm_status s = vlm_take(&r, wire[k]);
      frames += s == VLM_FRAME;
      reports += s == VLM_DAMAGED;
      if (s == VLM_DAMAGED) {
        assert_string_equal(r.damage, v[i].reason);
        assert_int_equal(r.framed, v[i].framed);
      }
    }
    assert_int_equal(reports, v[i].reports);
    assert_int_equal(frames, 2);
  }
  /* The bound, and the end of it. */
  struct vlm_reader r;
  for (size_t n = VLM_PAYLOAD_MAX; n <= VLM_PAYLOAD_MAX + 1; n++) {
    uint8_t bcc = 2 ^ 3;
    vlm_reader_init(&r);
    vlm_take(&r, 2);
    for (size_t i = 0; i < n; i++, bcc ^= 'x')
      assert_int_equal(vlm_take(&r, 'x'), VLM_MORE);
    vlm_take(&r, 3);
    assert_int_equal(vlm_take(&r, bcc), n > VLM_PAYLOAD_MAX ? VLM_DAMAGED : VLM_FRAME);
  }
  vlm_take(&r, 2);
  assert_true(vlm_settle(&r));
  assert_string_equal(r.damage, "a frame without an end");
  assert_true(r.framed);
}

static void test_blow_fields(void **state) {
  (void)state;
  struct vlm_blow b;
  const char *reason = "";
  assert_int_equal(vlm_blow_read(BLOW_B, &b, &reason), 0);
  assert_true(b.model_b);
  assert_int_equal(strlen(BLOW_B), 68);
  assert_int_equal(strlen(REAL_BLOW), 56);
  for (unsigned model = 0; model < 2; model++) {
    const char *whole = model ? BLOW_B : REAL_BLOW;
    size_t n = strlen(whole);
    for (size_t at = 0; at < n; at++) {
      static const char odd[] = "/:x- ";
      for (const char *p = odd; *p; p++) {
        char text[80];
        strcpy(text, whole);
        text[at] = *p;
        int r = vlm_blow_read(text, &b, &reason);
        assert_int_equal(r, at >= 3 && at < 13 ? 0 : -EPROTO); /* only the id may hold anything */
        if (at >= 13)
          assert_string_equal(reason, "a character in a number that is no digit");
      }
    }
    for (size_t cut = 0; cut < n; cut++) {
      char text[80] = "";
      memcpy(text, whole, cut);
      if (cut != 56)
        assert_int_equal(vlm_blow_read(text, &b, &reason), -EPROTO);
    }
  }
  char longer[80];
  snprintf(longer, sizeof longer, "%s0", BLOW_B);
  assert_int_equal(vlm_blow_read(longer, &b, &reason), -EPROTO);
  static const char *const no_dates[] = {"000000000000", "261302090000", "260230090000",
                                         "260302240000", "260302096000", "260302090060"};
  for (size_t i = 0; i < sizeof no_dates / sizeof *no_dates; i++) {
    b.fev1 = 1;
    assert_int_equal(vlm_blow_read(blow_a(300, no_dates[i]), &b, &reason), -ERANGE);
    assert_int_equal(b.fev1, 1);
  }
}

static void test_time_field(void **state) {
  (void)state;
  int64_t us = 0, want;
  const struct acq_clock clock = {2026, 3, 2, 9, 0, 5, 0};
  assert_int_equal(acq_clock_to_us(&clock, &want), 0);
  static const char *const good[] = {"GVGT260302090005", "GVST260302090005", "260302090005"};
  for (size_t i = 0; i < 3; i++) {
    us = 0;
    assert_int_equal(vlm_time_read(good[i], &us), 0);
    assert_true(us == want);
  }
  static const char *const bad[] = {
      "", "GVGT", "GVT260302090005", "gvgt260302090005", "GVGT26030209000", "GVGT2603020900050", "GVGT26030209000x"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(vlm_time_read(bad[i], &us), -EPROTO);
  assert_int_equal(vlm_time_read("GVGT000000000000", &us), -ERANGE);
  assert_true(us == want);
}

/* ---- decoding bytes ----------------------------------------------------------------------------------------- */

static void test_real_frame(void **state) {
  (void)state;
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[512];
  uint8_t bytes[256], built[256];
  snprintf(path, sizeof path, "%s/vitalograph/lung_monitor_bt_spp_real_frame.bin",
           folder ? folder : "../shared/samples");
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("skipped: no %s\n", path);
    skip();
    return;
  }
  size_t n = fread(bytes, 1, sizeof bytes, f);
  fclose(f);
  assert_int_equal(n, make_frame(REAL_BLOW, built));
  assert_memory_equal(bytes, built, n);
  struct reading r = read_raw(bytes, n);
  assert_int_equal(r.err, 0);
  assert_null(r.part[WIRE_STRAY]);
  assert_real(r.part[WIRE_OWN]);
  assert_int_equal(count(r.part[WIRE_OWN], "quality"), 0);
  reading_finish(&r);
}

/* The same in a capture of that day: this patient's; in one of another day: nobody's yet. */
static void test_real_frame_in_capture(void **state) {
  (void)state;
  for (unsigned stray = 0; stray < 2; stray++) {
    _buf_cleanup_ struct buf text = BUF_INIT(1 << 16);
    uint8_t wire[128];
    size_t n = make_frame(REAL_BLOW, wire);
    buf_format(&text,
               "asaleed-capture 1\ndriver vitalograph_lungmonitor 1\nbus serial\norder 60\n"
               "start %s-05-28T10:44:00.000000+02:00\n! 5 identity\n! 5 make Vitalograph\n! 5 acquire\n< 19000 ",
               stray ? "2026" : "2013");
    buf_hex(&text, wire, n);
    buf_text(&text, "\n> 19001 06\nend ok\n");
    struct reading r = read_text((const char *)text.data, text.len);
    assert_int_equal(r.err, 0);
    const json_t *record = r.part[stray ? WIRE_STRAY : WIRE_OWN];
    assert_null(r.part[stray ? WIRE_OWN : WIRE_STRAY]);
    assert_non_null(record);
    assert_real(record);
    assert_string_equal(trial_text(record, 0, "time"), "2013-05-28T10:44:18.000000+02:00");
    assert_int_equal(noted(record, "device_clock_unset", 0), 1);
    reading_finish(&r);
  }
}

static void test_model_b(void **state) {
  (void)state;
  uint8_t wire[128];
  size_t n = make_frame(BLOW_B, wire);
  struct reading r = read_raw(wire, n);
  assert_int_equal(r.err, 0);
  const json_t *own = r.part[WIRE_OWN];
  assert_measure(own, 1, "pef", "412", "L/min");
  assert_measure(own, 1, "fev075", "2.98", "L");
  assert_measure(own, 1, "fev1", "3.55", "L");
  assert_measure(own, 1, "fev6", "4.01", "L");
  assert_measure(own, 1, "fev1_fev6", "0.88", "1");
  assert_measure(own, 1, "fef25_75", "2.97", "L/s");
  assert_int_equal(count(own, "measures"), 6);
  assert_statement(own, 1, "fev1_personal_best", "Meilleur VEMS personnel : 3,80 L");
  assert_statement(own, 1, "pef_personal_best", "Meilleur DEP personnel : 433 L/min");
  assert_statement(own, 1, "fev1_of_personal_best", "VEMS en % du meilleur personnel : 93 %");
  assert_statement(own, 1, "pef_of_personal_best", "DEP en % du meilleur personnel : 95 %");
  assert_statement(own, 1, "zone_green", "Zone verte : 80 %");
  assert_statement(own, 1, "zone_yellow", "Zone jaune : 50 %");
  assert_statement(own, 1, "zone_orange", "Zone orange : 30 %");
  assert_statement(own, 0, "device_serial", "Numéro de l'appareil : 0000777001");
  assert_string_equal(trial_text(own, 0, "device_time"), "2026-03-02T09:00:07.000");
  reading_finish(&r);
}

struct raw_case {
  const char *payloads[4];
  int err;
  size_t trials;
  const char *noted;
};

static void test_decode_several(void **state) {
  (void)state;
  const char *first = "FTD0000129406363399091404000000095090000"
                      "260302090010"
                      "0923",
             *other = "FTD0000129406301355085310000000095090000"
                      "260302090010"
                      "0923", /* in the same second */
                 *bad = "FTD0000129406150199075100000000095090000"
                        "260302090110"
                        "1923",
             *stranger = "FTD0000129407363399091404000000095090000"
                         "260302090010"
                         "0923",
             *garbage = "FTD00001294063x3399091404000000095090000"
                        "260302090010"
                        "0923",
             *impossible = "FTD0000129406399363110404000000095090000"
                           "260302090010"
                           "0923",
             *undated = "FTD0000129406363399091404000000095090000"
                        "000000000000"
                        "0923",
             *longer = "FTD0000129406363399091404000000095090000"
                       "260302090010"
                       "09230";
  const struct raw_case v[] = {
      {{first}, 0, 1, NULL},
      {{first, first, first}, 0, 1, "reading_repeated"},
      {{first, other}, 0, 2, NULL},
      {{first, other, first, other}, 0, 2, "reading_repeated"},
      {{first, bad}, 0, 2, NULL},
      {{first, stranger}, -EPROTO, 0, NULL},
      {{garbage}, -EPROTO, 0, NULL},
      {{first, garbage}, -EPROTO, 0, NULL},
      {{longer}, -EPROTO, 0, NULL},
      {{impossible}, 0, 1, NULL}, /* FEV1 above FEV6: kept and flagged */
      {{undated}, -ERANGE, 0, NULL},
      {{"GVGT"}, -ENODATA, 0, NULL},
      {{first, "FXY123"}, 0, 1, "unknown_value"},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    uint8_t wire[512];
    size_t n = 0;
    for (size_t k = 0; k < 4 && v[i].payloads[k]; k++)
      n += make_frame(v[i].payloads[k], wire + n);
    struct reading r = read_raw(wire, n);
    assert_int_equal(r.err, v[i].err);
    if (r.err == 0) {
      assert_int_equal(count(r.part[WIRE_OWN], "trials"), v[i].trials);
      assert_int_equal(count(r.part[WIRE_OWN], "measures"), 4 * v[i].trials);
      if (v[i].noted)
        assert_true(noted(r.part[WIRE_OWN], v[i].noted, 0) > 0);
      if (v[i].payloads[1] == bad) {
        assert_int_equal(noted(r.part[WIRE_OWN], "blow_rejected", 1), 0);
        assert_int_equal(noted(r.part[WIRE_OWN], "blow_rejected", 2), 1);
      }
    } else {
      assert_true(r.reason[0]);
    }
    reading_finish(&r);
  }
}

static void test_decode_nothing(void **state) {
  (void)state;
  struct reading r = read_raw("", 0);
  assert_int_equal(r.err, -ENODATA);
  uint8_t wire[128];
  size_t n = make_frame(REAL_BLOW, wire);
  for (size_t cut = 1; cut < n; cut++) {
    r = read_raw(wire, cut);
    assert_int_equal(r.err, -EBADMSG);
    r = read_raw(wire + cut, n - cut);
    assert_int_equal(r.err, -EBADMSG);
  }
  /* More different blows than one acquisition can hold. */
  static uint8_t many[520 * 64];
  n = 0;
  for (unsigned i = 0; i < 513; i++) {
    n += make_frame(blow_a(200 + i, "260302090010"), many + n);
    if (i != 199 && i != 512)
      continue;
    r = read_raw(many, n);
    assert_int_equal(r.err, i == 199 ? 0 : -EPROTO);
    reading_finish(&r);
  }
}

/* The number that the instrument gave when asked, once there is one that does. */
static void test_other_serial(void **state) {
  (void)state;
  for (unsigned same = 0; same < 2; same++) {
    _buf_cleanup_ struct buf text = BUF_INIT(1 << 16);
    uint8_t wire[128];
    size_t n = make_frame(blow_a(363, "260302090010"), wire);
    buf_format(&text, HEADER "! 5 identity\n! 5 make Vitalograph\n! 5 serial %s\n! 5 acquire\n< 19000 ",
               same ? "0000129406" : "0000129407");
    buf_hex(&text, wire, n);
    buf_text(&text, "\n> 19001 06\nend ok\n");
    struct reading r = read_text((const char *)text.data, text.len);
    assert_int_equal(r.err, same ? 0 : -ENXIO);
    reading_finish(&r);
  }
}

/* ---- a monitor to talk to ----------------------------------------------------------------------------------- */

#define BLOWS 4

struct acq_io {
  /* how it behaves */
  bool remote;        /* answers commands until it is sent out of remote mode */
  bool always_remote; /* answers them for ever */
  bool mute_set;      /* says nothing to the setting of its clock */
  bool acks_only;     /* has an ACK for the question for the time, and no time */
  unsigned naks;      /* refuses so many commands */
  int64_t clock_us;   /* its clock is so much ahead of the host's */
  const char *told;   /* what it says the time is instead */
  struct {
    uint64_t at_ms;
    const char *payload;
    unsigned damage;      /* so many times its BCC is wrong, */
    unsigned cut;         /* or its end is missing */
    bool repeats_unasked; /* sends it again after the acknowledgement, once */
  } blows[BLOWS];
  const char *noise; /* at the beginning, n_noise bytes */
  size_t n_noise;
  bool babbles, echoes, deaf; /* deaf: repeats nothing */
  size_t chunk;
  int fail_call, fail_err; /* the n-th call fails; -1 none */

  /* how it is */
  struct buf capture;
  uint8_t out[1 << 16], line[4096];
  size_t n_out, n_line, at; /* on its way; received and not read */
  unsigned next_blow, sent_blow, calls, acks, refusals, commands;
  bool set, exited;
  char last[VLM_PAYLOAD_MAX + 1]; /* frame sent, for a repeat */
  uint64_t ms;

  /* what the host showed */
  char reason[256];
  uint32_t done, total;
};

static void io_init(struct acq_io *io) {
  *io = (struct acq_io){.chunk = 4096, .fail_call = -1, .sent_blow = UINT32_MAX};
  io->capture = BUF_INIT(8 << 20);
}

static void io_finish(struct acq_io *io) {
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

static void send_bytes(struct acq_io *io, const void *bytes, size_t n) {
  assert_true(io->n_out + n <= sizeof io->out);
  memcpy(io->out + io->n_out, bytes, n);
  io->n_out += n;
}

static void send_frame(struct acq_io *io, const char *payload) {
  uint8_t wire[VLM_WIRE_MAX];
  size_t n = make_frame(payload, wire);
  if (payload != io->last)
    snprintf(io->last, sizeof io->last, "%s", payload);
  if (io->sent_blow < BLOWS && io->blows[io->sent_blow].damage) {
    io->blows[io->sent_blow].damage--;
    wire[n - 1] ^= 0x41;
  } else if (io->sent_blow < BLOWS && io->blows[io->sent_blow].cut) {
    io->blows[io->sent_blow].cut--;
    n -= 9;
  }
  send_bytes(io, wire, n);
}

static void send_blow(struct acq_io *io) {
  io->sent_blow = io->next_blow++;
  send_frame(io, io->blows[io->sent_blow].payload);
}

static int64_t host_us(uint64_t ms) {
  const struct acq_clock start = {2026, 3, 2, 9, 0, 0, 0};
  int64_t us;
  assert_int_equal(acq_clock_to_us(&start, &us), 0);
  return us + (int64_t)ms * 1000;
}

static void tell_time(struct acq_io *io) {
  char text[64];
  struct acq_clock c = acq_clock_from_us(host_us(io->ms) + io->clock_us);
  snprintf(text, sizeof text, "GVGT%02d%02d%02d%02d%02d%02d", c.year % 100, c.month, c.day, c.hour, c.minute, c.second);
  send_frame(io, io->told ? io->told : text);
}

static void obey(struct acq_io *io, const char *command) {
  io->commands++;
  io->sent_blow = UINT32_MAX;
  assert_true(!strncmp(command, "GVGT", 5) || !strncmp(command, "GVXR", 5) ||
              (!strncmp(command, "GVST", 4) && strlen(command) == 16)); /* nothing on it is ever deleted */
  if (!io->remote && !io->always_remote)
    return;
  if (io->naks) {
    io->naks--;
    send_bytes(io, "\x15", 1);
    return;
  }
  if (command[2] == 'S') {
    struct acq_clock c = acq_clock_from_us(host_us(io->ms));
    char want[32];
    snprintf(want, sizeof want, "GVST%02d%02d%02d%02d%02d%02d", c.year % 100, c.month, c.day, c.hour, c.minute,
             c.second);
    assert_string_equal(command, want);
    if (io->mute_set)
      return;
    io->clock_us = 0;
    io->set = true;
  }
  send_bytes(io, "\x06", 1);
  if (command[2] == 'G' && !io->acks_only)
    tell_time(io);
  if (command[2] == 'X') {
    io->remote = false;
    io->exited = true;
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
  const uint8_t *p = bytes;
  assert_true(ms > 0 && n > 0);
  int err = io_call(io);
  if (err)
    return err;
  io_event(io, '>', bytes, n);
  if (io->echoes)
    send_bytes(io, bytes, n);
  if (io->babbles || io->echoes)
    return 0;
  if (n == 1) {
    assert_true(p[0] == 0x06 || p[0] == 0x15);
    io->acks += p[0] == 0x06;
    io->refusals += p[0] == 0x15;
    if (p[0] == 0x15 && io->last[0] && !io->deaf)
      send_frame(io, io->last);
    if (p[0] == 0x06 && io->sent_blow < BLOWS && io->blows[io->sent_blow].repeats_unasked) {
      io->blows[io->sent_blow].repeats_unasked = false;
      send_frame(io, io->last);
    }
    return 0;
  }
  char command[VLM_PAYLOAD_MAX + 1] = "";
  uint8_t again[VLM_WIRE_MAX];
  assert_true(n > 3 && n <= VLM_WIRE_MAX);
  memcpy(command, p + 1, n - 3);
  assert_int_equal(make_frame(command, again), n);
  assert_memory_equal(again, p, n);
  obey(io, command);
  return 0;
}

/* Whatever is due by `until`; time goes on until then, or until something comes. */
static void wait_until(struct acq_io *io, uint64_t until) {
  if (io->n_noise) {
    send_bytes(io, io->noise, io->n_noise);
    io->n_noise = 0;
  }
  if (io->babbles)
    for (unsigned i = 0; i < 40; i++)
      send_bytes(io, &(uint8_t){(uint8_t)(0x80 + (io->calls * 7 + i * 31) % 0x7f)}, 1);
  while (io->next_blow < BLOWS && io->blows[io->next_blow].payload && io->blows[io->next_blow].at_ms <= io->ms)
    send_blow(io);
  if (io->n_out)
    return;
  if (io->next_blow < BLOWS && io->blows[io->next_blow].payload && io->blows[io->next_blow].at_ms <= until) {
    io->ms = io->blows[io->next_blow].at_ms;
    send_blow(io);
    return;
  }
  io->ms = until;
}

int acq_read_some(struct acq_io *io, void *bytes, size_t max, unsigned ms) {
  assert_true(ms > 0 && max > 0);
  int err = io_call(io);
  if (err)
    return err;
  if (io->at == io->n_line) {
    wait_until(io, io->ms + ms);
    if (!io->n_out) {
      io_note(io, "timeout");
      return -ETIMEDOUT;
    }
    size_t n = io->n_out < io->chunk ? io->n_out : io->chunk;
    n = n < sizeof io->line ? n : sizeof io->line;
    memcpy(io->line, io->out, n);
    memmove(io->out, io->out + n, io->n_out - n);
    io->n_out -= n;
    io->n_line = n;
    io->at = 0;
    io->ms++;
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
static int run(struct acq_io *io, unsigned seconds, struct acq_identity *ret) {
  struct acq_order order = {.seconds = seconds, .started_us = host_us(0) - INT64_C(3600000000), .offset_minutes = 60};
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
  return read_text((const char *)io->capture.data, io->capture.len);
}

static void assert_run(struct acq_io *io, int want, const char *reason) {
  struct acq_identity id;
  int r = run(io, 20, &id);
  if (r != want)
    fail_msg("%d instead of %d: %s\n%.*s", r, want, io->reason, (int)io->capture.len, (const char *)io->capture.data);
  if (reason)
    assert_string_equal(io->reason, reason);
}

/* ---- conversations ------------------------------------------------------------------------------------------ */

/* Switched on for a blow: it hears nothing, and speaks once. */
static void test_silent_model_a(void **state) {
  (void)state;
  for (unsigned chunk = 1; chunk < 80; chunk += 13) {
    struct acq_io io;
    struct acq_identity id;
    io_init(&io);
    io.chunk = chunk;
    io.blows[0].at_ms = 12000;
    io.blows[0].payload = blow_a(363, "260302090011");
    assert_int_equal(run(&io, 20, &id), 0);
    assert_string_equal(id.make, "Vitalograph");
    assert_string_equal(id.model, "Lung Monitor");
    assert_string_equal(id.serial, "");
    assert_int_equal(io.acks, 1);
    assert_int_equal(io.refusals, 0);
    assert_int_equal(io.total, 20);
    assert_in_range(io.done, 1, 19);
    struct reading r = read_io(&io);
    assert_int_equal(r.err, 0);
    assert_null(r.part[WIRE_STRAY]);
    const json_t *own = r.part[WIRE_OWN];
    assert_measure(own, 1, "fev1", "3.63", "L");
    assert_string_equal(trial_text(own, 0, "time"), "2026-03-02T09:00:11.000000+01:00");
    assert_int_equal(noted(own, "device_clock_unset", 0), 1);
    assert_int_equal(noted(own, "reading_time_unverified", 1), 1);
    assert_int_equal(count(own, "quality"), 2);
    reading_finish(&r);
    io_finish(&io);
  }
}

/* In remote mode: its clock is compared and set, then it is sent to where blows are made. */
static void test_remote_model_b(void **state) {
  (void)state;
  static const struct {
    int64_t ahead_s;
    bool always, wrong;
    unsigned naks;
  } v[] = {{0, false, false, 0}, {-40, false, false, 0}, {3600, false, true, 1}, {-7200, true, true, 0}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct acq_io io;
    io_init(&io);
    io.remote = true;
    io.always_remote = v[i].always;
    io.naks = v[i].naks;
    io.clock_us = v[i].ahead_s * 1000000;
    io.blows[0].at_ms = 7000;
    io.blows[0].payload = BLOW_B; /* 09:00:07, by the clock that the host set */
    assert_run(&io, 0, "");
    assert_true(io.set && io.exited);
    struct reading r = read_io(&io);
    assert_int_equal(r.err, 0);
    const json_t *own = r.part[WIRE_OWN];
    assert_non_null(own);
    assert_null(r.part[WIRE_STRAY]);
    assert_string_equal(trial_text(own, 0, "time"), "2026-03-02T09:00:07.000000+01:00");
    assert_int_equal(noted(own, "device_clock_wrong", 0), v[i].wrong);
    assert_int_equal(count(own, "quality"), v[i].wrong);
    reading_finish(&r);
    io_finish(&io);
  }
}

static void test_clock_not_settable(void **state) {
  (void)state;
  for (unsigned variant = 0; variant < 3; variant++) {
    struct acq_io io;
    io_init(&io);
    io.remote = true;
    io.mute_set = variant == 0;
    io.acks_only = variant == 1;
    io.told = variant == 2 ? "GVGT000000000000" : NULL;
    io.clock_us = -INT64_C(600000000); /* ten minutes behind, and so it stays */
    io.blows[0].at_ms = 18000;
    io.blows[0].payload = blow_a(300, variant == 0 ? "260302085018" : "260302090018");
    assert_run(&io, 0, "");
    struct reading r = read_io(&io);
    assert_int_equal(r.err, 0);
    const json_t *own = r.part[WIRE_OWN];
    assert_non_null(own);
    assert_int_equal(noted(own, "device_clock_unset", 0), variant < 2);
    assert_int_equal(noted(own, "device_clock_wrong", 0), variant != 1);
    assert_string_equal(trial_text(own, 0, "device_time"),
                        variant == 0 ? "2026-03-02T08:50:18.000" : "2026-03-02T09:00:18.000");
    /* Compared within the second that its clock does not show. */
    if (variant == 0)
      assert_memory_equal(trial_text(own, 0, "time"), "2026-03-02T09:00:18", 19);
    reading_finish(&r);
    io_finish(&io);
  }
}

/* Which clock a blow was dated by, and whose it is then. `at` is when it comes: before or after the clock is set. */
static void test_clock_of_blow(void **state) {
  (void)state;
  static const struct {
    int64_t ahead_s;
    unsigned at_ms;
    const char *clock, *time; /* of the blow: the monitor's, the host's */
    bool stray;
  } v[] = {
      /* before the setting: on the clock that was compared */
      {-400000000, 0, "130628214000", NULL, true}, /* an older one in its memory */
      {3600, 0, "260302100000", "2026-03-02T09:00:00", false},
      {3600, 0, "260302090000", NULL, true}, /* an hour ago, and not now */
      {0, 0, "260302090000", "2026-03-02T09:00:00", false},
      {0, 0, "130528104418", NULL, true},
      /* after it: on the new one when that makes it a blow of now, else on the old one */
      {3600, 9000, "260302090008", "2026-03-02T09:00:08", false},
      {3600, 9000, "260302100000", "2026-03-02T09:00:00", false},
      {3600, 9000, "260302093000", NULL, true},
      {-7200, 9000, "260302090008", "2026-03-02T09:00:08", false},
      {-7200, 9000, "260302065959", "2026-03-02T08:59:59", false},
      {-7200, 9000, "260302064000", NULL, true},
      {0, 9000, "130528104418", NULL, true},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct acq_io io;
    struct acq_identity id;
    io_init(&io);
    io.always_remote = true;
    io.clock_us = v[i].ahead_s * 1000000;
    io.blows[0].at_ms = v[i].at_ms;
    io.blows[0].payload = blow_a(300, v[i].clock);
    if (v[i].at_ms == 0) { /* it comes with the first answer */
      io.blows[0].at_ms = 1;
      io.chunk = 4096;
    }
    assert_int_equal(run(&io, 20, &id), 0);
    struct reading r = read_io(&io);
    assert_int_equal(r.err, 0);
    const json_t *record = r.part[v[i].stray ? WIRE_STRAY : WIRE_OWN];
    if (!record)
      fail_msg("case %zu is %s\n%.*s", i, v[i].stray ? "own" : "stray", (int)io.capture.len,
               (const char *)io.capture.data);
    assert_null(r.part[v[i].stray ? WIRE_OWN : WIRE_STRAY]);
    if (v[i].time) {
      int64_t got, want;
      struct wall w;
      char text[64];
      assert_int_equal(wall_parse(trial_text(record, 0, "time"), &w), 0);
      got = w.us;
      snprintf(text, sizeof text, "%s+01:00", v[i].time);
      assert_int_equal(wall_parse(text, &w), 0);
      want = w.us;
      assert_in_range(got - want + 1000000, 0, 2000000);
    }
    reading_finish(&r);
    io_finish(&io);
  }
}

/* The monitor waits with its blow until a host is there: it comes while identify() asks. acquire() gets it. */
static void test_blow_in_identify(void **state) {
  (void)state;
  for (unsigned chunk = 1; chunk < 80; chunk++) {
    struct acq_io io;
    io_init(&io);
    io.chunk = chunk;
    io.blows[0].payload = blow_a(363, "260302085958");
    io.blows[0].damage = chunk % 3 == 0;
    assert_run(&io, 0, "");
    assert_int_equal(io.acks, 1);
    assert_int_equal(io.refusals, chunk % 3 == 0);
    assert_int_equal(io.done, 0);
    struct reading r = read_io(&io);
    assert_int_equal(r.err, 0);
    assert_measure(r.part[WIRE_OWN], 1, "fev1", "3.63", "L");
    assert_int_equal(count(r.part[WIRE_OWN], "trials"), 1);
    assert_int_equal(noted(r.part[WIRE_OWN], "frame_damaged", 0), chunk % 3 == 0);
    reading_finish(&r);
    io_finish(&io);
  }
  /* The line was opened amid it: the rest is refused, and then it comes whole. */
  struct acq_io io;
  io_init(&io);
  io.noise = "9091404000000095090000260302085958092\x33\x03\x11";
  io.n_noise = strlen(io.noise);
  snprintf(io.last, sizeof io.last, "%s", blow_a(363, "260302085958"));
  assert_run(&io, 0, "");
  assert_int_equal(io.refusals, 1);
  struct reading r = read_io(&io);
  assert_int_equal(r.err, 0);
  assert_measure(r.part[WIRE_OWN], 1, "fev1", "3.63", "L");
  assert_int_equal(noted(r.part[WIRE_OWN], "frame_damaged", 0), 1);
  reading_finish(&r);
  io_finish(&io);
}

static void test_repeats(void **state) {
  (void)state;
  static const struct {
    unsigned damage, cut;
    bool twice;
    int err;
    unsigned refusals, acks;
  } v[] = {
      {1, 0, false, 0, 1, 1}, {3, 0, false, 0, 3, 1},         {0, 1, false, 0, 1, 1}, {99, 0, false, -EBADMSG, 3, 0},
      {0, 0, true, 0, 0, 2},  {0, 99, false, -EBADMSG, 3, 0}, {1, 2, true, 0, 3, 2},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct acq_io io;
    io_init(&io);
    io.blows[0].at_ms = 12000;
    io.blows[0].payload = blow_a(363, "260302090011");
    io.blows[0].damage = v[i].damage;
    io.blows[0].cut = v[i].cut;
    io.blows[0].repeats_unasked = v[i].twice;
    assert_run(&io, v[i].err, NULL);
    assert_int_equal(io.refusals, v[i].refusals);
    assert_int_equal(io.acks, v[i].acks);
    struct reading r = read_io(&io);
    assert_int_equal(r.err, v[i].err);
    if (r.err == 0) {
      assert_int_equal(count(r.part[WIRE_OWN], "trials"), 1);
      assert_int_equal(noted(r.part[WIRE_OWN], "frame_damaged", 0), v[i].refusals);
      assert_int_equal(noted(r.part[WIRE_OWN], "reading_repeated", 0), v[i].twice);
    }
    reading_finish(&r);
    io_finish(&io);
  }
}

/* Refused, and not repeated: the wait for it ends long before the order's time. */
static void test_not_repeated(void **state) {
  (void)state;
  struct acq_io io;
  io_init(&io);
  io.deaf = true;
  io.blows[0].at_ms = 9000;
  io.blows[0].payload = blow_a(363, "260302090008");
  io.blows[0].damage = 1;
  assert_run(&io, -EBADMSG, NULL);
  assert_true(io.ms < 15000);
  assert_int_equal(io.refusals, 1);
  io_finish(&io);
}

static void test_two_blows(void **state) {
  (void)state;
  struct acq_io io;
  io_init(&io);
  io.blows[0].at_ms = 9000;
  io.blows[0].payload = blow_a(363, "260302090008");
  io.blows[1].at_ms = 9300;
  io.blows[1].payload = blow_a(341, "260302090008");
  io.blows[2].at_ms = 9600;
  io.blows[2].payload = blow_a(220, "260301154500"); /* the day before */
  assert_run(&io, 0, "");
  assert_int_equal(io.acks, 3);
  struct reading r = read_io(&io);
  assert_int_equal(r.err, 0);
  const json_t *own = r.part[WIRE_OWN], *stray = r.part[WIRE_STRAY];
  assert_int_equal(count(own, "trials"), 2);
  assert_measure(own, 1, "fev1", "3.63", "L");
  assert_measure(own, 2, "fev1", "3.41", "L");
  assert_int_equal(noted(own, "readings_stray", 0), 1);
  assert_int_equal(count(stray, "trials"), 1);
  assert_measure(stray, 3, "fev1", "2.20", "L");
  reading_finish(&r);
  io_finish(&io);
}

static void test_faults(void **state) {
  (void)state;
  struct acq_io io;
  io_init(&io); /* nobody there, or nobody blows */
  assert_run(&io, -ETIMEDOUT, "no blow in 20 s");
  assert_int_equal(io.done, 20);
  io_finish(&io);

  io_init(&io); /* it is there */
  io.always_remote = true;
  assert_run(&io, -ENODATA, "no blow in 20 s");
  struct reading r = read_io(&io);
  assert_int_equal(r.err, -ENODATA);
  io_finish(&io);

  io_init(&io);
  io.babbles = true; /* another instrument */
  assert_run(&io, -ENXIO, NULL);
  io_finish(&io);

  io_init(&io);
  io.echoes = true;
  assert_run(&io, -ENXIO, NULL);
  io_finish(&io);

  io_init(&io);
  io.noise = "\xfc\x00\x24\x07\x03\x10\xfd";
  io.n_noise = 7;
  assert_run(&io, -ENXIO, "7 bytes came, and no frame of this monitor");
  io_finish(&io);

  io_init(&io); /* the blow itself makes no sense */
  io.blows[0].at_ms = 9000;
  io.blows[0].payload = "FTD0000129406 63399091404000000095090000"
                        "260302090008"
                        "0923";
  assert_run(&io, -EPROTO, "a character in a number that is no digit");
  assert_int_equal(io.acks, 1);
  io_finish(&io);

  io_init(&io);
  io.blows[0].at_ms = 9000;
  io.blows[0].payload = "FTD0000129406363399091404";
  assert_run(&io, -EPROTO, "a blow of another length than the two known");
  io_finish(&io);

  io_init(&io); /* refuses every command: it is left alone */
  io.always_remote = true;
  io.naks = 99;
  io.blows[0].at_ms = 9000;
  io.blows[0].payload = blow_a(363, "260302090008");
  assert_run(&io, 0, "");
  r = read_io(&io);
  assert_int_equal(r.err, 0);
  assert_int_equal(noted(r.part[WIRE_OWN], "device_clock_unset", 0), 1);
  reading_finish(&r);
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
      io_init(&io);
      io.remote = true;
      io.fail_call = at;
      io.fail_err = errors[e];
      io.blows[0].at_ms = 7000;
      io.blows[0].payload = BLOW_B;
      int r = run(&io, 20, &id);
      bool over = io.calls <= (unsigned)at;
      if (r != errors[e])
        assert_true(r == 0);
      struct reading reading = read_io(&io);
      if (reading.err == 0) {
        assert_measure(reading.part[WIRE_OWN], 1, "fev1", "3.55", "L");
        assert_int_equal(noted(reading.part[WIRE_OWN], "incomplete", 0), r != 0);
      } else {
        assert_true(reading.err == -ENODATA || reading.err == -EBADMSG);
      }
      reading_finish(&reading);
      io_finish(&io);
      if (over)
        break;
    }
}

/* Every bit that was received, flipped; every cut: refused, flagged, or the same numbers. */
static void test_mutations(void **state) {
  (void)state;
  struct acq_io io;
  struct acq_capture capture;
  unsigned refused = 0, flagged = 0, same = 0;
  io_init(&io);
  io.remote = true;
  io.blows[0].at_ms = 7000;
  io.blows[0].payload = BLOW_B;
  io.blows[0].damage = 1;
  assert_run(&io, 0, "");
  assert_int_equal(capture_parse((const char *)io.capture.data, io.capture.len, &capture, NULL), 0);
  struct reading base = read_capture(&capture);
  assert_int_equal(base.err, 0);
  for (size_t i = 0; i < 8 * capture.n_received; i++) {
    capture.received[i / 8] ^= (uint8_t)(1u << i % 8);
    struct reading r = read_capture(&capture);
    if (r.err < 0)
      refused++;
    else if (noted(r.part[WIRE_OWN], "frame_damaged", 0) > 1)
      flagged++;
    else if (json_equal(json_object_get(r.part[WIRE_OWN], "acquired"),
                        json_object_get(base.part[WIRE_OWN], "acquired")))
      same++;
    else
      fail_msg("bit %zu: another reading, and nothing says so", i);
    reading_finish(&r);
    capture.received[i / 8] ^= (uint8_t)(1u << i % 8);
  }
  print_message("bit flips: %u refused, %u flagged, %u harmless\n", refused, flagged, same);
  assert_true(refused && flagged && same);
  reading_finish(&base);
  capture_finish(&capture);
  for (size_t n = 0; n < io.capture.len; n++) {
    if (capture_parse((const char *)io.capture.data, n, &capture, NULL) < 0)
      continue;
    struct reading r = read_capture(&capture);
    if (r.err == 0)
      assert_int_equal(noted(r.part[WIRE_OWN], "incomplete", 0), 1);
    else
      assert_true(r.err == -ENODATA || r.err == -EBADMSG);
    reading_finish(&r);
    capture_finish(&capture);
  }
  io_finish(&io);
}

static void test_table(void **state) {
  (void)state;
  assert_int_equal(DRIVER->abi, ACQ_DRIVER_ABI);
  assert_string_equal(DRIVER->name, "vitalograph_lungmonitor");
  assert_int_equal(DRIVER->modalities, ACQ_MODALITY(ACQ_SPIROMETRY));
  assert_int_equal(DRIVER->match[0].bus, ACQ_SERIAL);
  assert_int_equal(DRIVER->match[0].vendor, 0); /* bound by the site alone */
  assert_int_equal(DRIVER->match[1].bus, 0);
  assert_true(DRIVER->limits.default_seconds <= DRIVER->limits.max_seconds);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),
      cmocka_unit_test(test_frame),
      cmocka_unit_test(test_damage),
      cmocka_unit_test(test_blow_fields),
      cmocka_unit_test(test_time_field),
      cmocka_unit_test(test_real_frame),
      cmocka_unit_test(test_real_frame_in_capture),
      cmocka_unit_test(test_model_b),
      cmocka_unit_test(test_decode_several),
      cmocka_unit_test(test_decode_nothing),
      cmocka_unit_test(test_other_serial),
      cmocka_unit_test(test_silent_model_a),
      cmocka_unit_test(test_remote_model_b),
      cmocka_unit_test(test_clock_not_settable),
      cmocka_unit_test(test_clock_of_blow),
      cmocka_unit_test(test_blow_in_identify),
      cmocka_unit_test(test_repeats),
      cmocka_unit_test(test_not_repeated),
      cmocka_unit_test(test_two_blows),
      cmocka_unit_test(test_faults),
      cmocka_unit_test(test_sweep),
      cmocka_unit_test(test_mutations),
  };
  return hash_open() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
