/* The driver file_dicom on streams that are put together here (asalee/flat.h), byte by byte: what a record gets of
 * them, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "flat_bed.h"
#include <asalee/flat.h>
#include <cmocka.h>
#include <errno.h>

/* ---- streams ---- */

static void put(struct buf *b, uint32_t tag, char kind, const void *bytes, size_t n) {
  buf_u32le(b, tag);
  buf_u8(b, (uint8_t)kind);
  buf_u32le(b, (uint32_t)n);
  buf_add(b, bytes, n);
}

static void text(struct buf *b, uint32_t tag, const char *value) {
  if (value)
    put(b, tag, 't', value, strlen(value));
}

static void code(struct buf *b, uint32_t sequence, const char *value, const char *scheme, const char *meaning) {
  put(b, sequence, '(', NULL, 0);
  text(b, 0x00080100, value);
  text(b, 0x00080102, scheme);
  text(b, 0x00080104, meaning);
  put(b, sequence, ')', NULL, 0);
}

/* What a test changes of an ECG; NULL leaves the attribute out. */
struct ecg {
  const char *when, *date, *time, *zone, *name, *birth, *sex;
  const char *frequency, *channels, *samples, *label, *originality, *offset;
  const char *lead[2], *scheme, *sensitivity, *unit, *correction, *baseline, *skew, *sample_skew, *derivation;
  const char *low, *high, *notch;
  const int16_t *values; /* 2 x 4, multiplexed */
  const int16_t *padding;
};

static const int16_t some[8] = {1, -1, 20, -20, 300, -300, 4, -4};

static struct ecg an_ecg(void) {
  return (struct ecg){.when = "20260302100000",
                      .name = "Lœwe^Zoë^Marie",
                      .birth = "19600229",
                      .sex = "F",
                      .frequency = "500",
                      .channels = "2",
                      .samples = "4",
                      .label = "RHYTHM",
                      .originality = "ORIGINAL",
                      .lead = {"2:3", "2:8"},
                      .scheme = "MDC",
                      .sensitivity = "2.5",
                      .unit = "uV",
                      .correction = "1",
                      .baseline = "0",
                      .values = some};
}

static void put_group(struct buf *b, const struct ecg *e) {
  uint8_t data[16], one[2];
  put(b, 0x54000100, '(', NULL, 0);
  text(b, 0x00181068, e->offset);
  text(b, 0x003a0004, e->originality);
  text(b, 0x003a0005, e->channels);
  text(b, 0x003a0010, e->samples);
  text(b, 0x003a001a, e->frequency);
  text(b, 0x003a0020, e->label);
  for (unsigned i = 0; i < 2; i++) {
    put(b, 0x003a0200, '(', NULL, 0);
    code(b, 0x003a0208, e->lead[i], e->scheme, "Lead");
    text(b, 0x003a020c, e->derivation);
    text(b, 0x003a0210, e->sensitivity);
    code(b, 0x003a0211, e->unit, "UCUM", "unit");
    text(b, 0x003a0212, e->correction);
    text(b, 0x003a0213, e->baseline);
    text(b, 0x003a0214, e->skew);
    text(b, 0x003a0215, e->sample_skew);
    text(b, 0x003a0220, e->low);
    text(b, 0x003a0221, e->high);
    text(b, 0x003a0222, e->notch);
    put(b, 0x003a0200, ')', NULL, 0);
  }
  if (e->padding) {
    one[0] = (uint8_t)*e->padding;
    one[1] = (uint8_t)(*e->padding >> 8);
    put(b, 0x5400100a, 'w', one, 2);
  }
  for (unsigned i = 0; i < 8; i++) {
    data[2 * i] = (uint8_t)e->values[i];
    data[2 * i + 1] = (uint8_t)(e->values[i] >> 8);
  }
  put(b, 0x54001010, 'w', data, sizeof data);
  put(b, 0x54000100, ')', NULL, 0);
}

static void put_root(struct buf *b, const char *class, const struct ecg *e) {
  buf_text(b, FLAT_MAGIC);
  text(b, 0x00080016, class);
  text(b, 0x0008002a, e->when);
  text(b, 0x00080023, e->date);
  text(b, 0x00080033, e->time);
  text(b, 0x00080201, e->zone);
  text(b, 0x00080070, "Marque");
  text(b, 0x00081090, "Modèle");
  text(b, 0x00181000, "SN 42");
  text(b, 0x00181020, "1.0\\2.1");
  text(b, 0x00100010, e->name);
  text(b, 0x00100020, "P-12");
  text(b, 0x00100030, e->birth);
  text(b, 0x00100040, e->sex);
}

#define ECG_CLASS "1.2.840.10008.5.1.4.1.1.9.1.1"
#define FUNDUS_CLASS "1.2.840.10008.5.1.4.1.1.77.1.5.1"

static void end(struct buf *b) {
  put(b, 0, '.', NULL, 0);
}

static void take_buf(struct buf *b, struct flat_result *ret) {
  assert_int_equal(b->err, 0);
  flat_take(b->data, b->len, ret);
  buf_finish(b);
}

static void take_ecg(const struct ecg *e, struct flat_result *ret) {
  struct buf b = BUF_INIT(1 << 20);
  put_root(&b, ECG_CLASS, e);
  put_group(&b, e);
  end(&b);
  take_buf(&b, ret);
}

static void refused(const struct flat_result *r, int err, const char *why) {
  if (r->err != err || !strstr(r->reason, why))
    fail_msg("%d \"%s\" instead of %d \"%s\"", r->err, r->reason, err, why);
}

static void ecg_refused(const struct ecg *e, int err, const char *why) {
  FLAT(r);
  take_ecg(e, &r);
  refused(&r, err, why);
}

/* ---- records ---- */

static const json_t *acquired(const struct flat_result *r, const char *part, size_t i) {
  if (r->err)
    fail_msg("%d: %s", r->err, r->reason);
  return json_array_get(json_object_get(json_object_get(r->record, "acquired"), part), i);
}

static const char *channel(const struct flat_result *r, size_t i, const char *key) {
  const char *t = json_text(acquired(r, "channels", i), key);
  assert_non_null(t);
  return t;
}

static const char *time_of(const struct flat_result *r, size_t i) {
  const char *t = json_text(acquired(r, "trials", i), "device_time");
  return t ? t : "none";
}

static bool has(const struct flat_result *r, const char *list, const char *code, const char *key, const char *text) {
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(r->record, list), i, item) {
    if (!strcmp(json_text(item, "code"), code) && (!key || !strcmp(json_text(item, key), text)))
      return true;
  }
  return false;
}

/* ---- tests ---- */

static void an_ecg_is_whole(void **state) {
  (void)state;
  FLAT(r);
  const struct ecg e = an_ecg();
  take_ecg(&e, &r);
  assert_int_equal(r.err, 0);
  assert_string_equal(json_text(r.record, "modality"), "ecg");
  assert_string_equal(channel(&r, 0, "code"), "lead_v1");
  assert_string_equal(channel(&r, 1, "code"), "lead_v6");
  assert_string_equal(channel(&r, 1, "rate"), "500");
  assert_string_equal(channel(&r, 1, "scale"), "2.5");
  for (unsigned i = 0; i < 8; i++)
    assert_int_equal(r.samples[i % 2 * 4 + i / 2], some[i]);
  const json_t *subject = json_object_get(r.record, "subject"), *device = json_object_get(r.record, "device");
  assert_string_equal(json_text(subject, "family"), "Lœwe");
  assert_string_equal(json_text(subject, "given"), "Zoë");
  assert_string_equal(json_text(subject, "id"), "P-12");
  assert_string_equal(json_text(subject, "birth_date"), "1960-02-29");
  assert_string_equal(json_text(subject, "sex"), "F");
  assert_string_equal(json_text(device, "make"), "Marque");
  assert_string_equal(json_text(device, "model"), "Modèle");
  assert_string_equal(json_text(device, "serial"), "SN 42");
  assert_string_equal(json_text(device, "firmware"), "1.0 2.1");
  assert_true(has(&r, "quality", "file_unchecked", NULL, NULL));
  assert_false(has(&r, "quality", "text_unreadable", NULL, NULL));
  assert_string_equal(time_of(&r, 0), "2026-03-02T10:00:00.000");
  assert_true(json_is_false(json_object_get(r.record, "stray")));
}

static void every_lead_by_both_codes(void **state) {
  (void)state;
  static const struct {
    const char *n, *code;
  } leads[] = {{"0", "lead_unspecified"}, {"1", "lead_i"},    {"2", "lead_ii"}, {"61", "lead_iii"}, {"62", "lead_avr"},
               {"63", "lead_avl"},        {"64", "lead_avf"}, {"3", "lead_v1"}, {"4", "lead_v2"},   {"5", "lead_v3"},
               {"6", "lead_v4"},          {"7", "lead_v5"},   {"8", "lead_v6"}};
  for (size_t i = 0; i < 2 * sizeof leads / sizeof *leads; i++) {
    FLAT(r);
    struct ecg e = an_ecg();
    char value[32];
    snprintf(value, sizeof value, "%s%s", i & 1 ? "2:" : "5.6.3-9-", leads[i / 2].n);
    e.scheme = i & 1 ? "MDC" : "SCPECG";
    e.lead[0] = value;
    e.lead[1] = "9:1"; /* unknown: left out */
    take_ecg(&e, &r);
    assert_string_equal(channel(&r, 0, "code"), leads[i / 2].code);
    assert_null(acquired(&r, "channels", 1));
    assert_true(has(&r, "quality", "unknown_value", NULL, NULL));
    assert_int_equal(r.samples[1], 20);
  }
  struct ecg e = an_ecg();
  e.scheme = "99MINE";
  ecg_refused(&e, -EOPNOTSUPP, "lead that is known");
}

static void a_lead_twice(void **state) {
  (void)state;
  FLAT(r);
  struct ecg e = an_ecg();
  e.lead[1] = e.lead[0];
  take_ecg(&e, &r);
  assert_true(has(&r, "quality", "file_inconsistent", "subject", "lead_v1"));
  assert_non_null(acquired(&r, "channels", 1));
}

static void scales_are_exact(void **state) {
  (void)state;
  static const struct {
    const char *sensitivity, *correction, *unit, *scale; /* NULL: refused */
  } cases[] = {{"2.5", "1", "uV", "2.5"},
               {"1", "4.88", "uV", "4.88"},
               {"0.0025", "1", "mV", "2.5"},
               {"2500", "1.0", "nV", "2.5"},
               {"2.5E-06", "1", "V", "2.5"},
               {"2.500000000000", NULL, "uV", "2.5"},
               {"+1.25e+1", "0.2", "uV", "2.5"},
               {"0.000244140625", "1", "mV", "0.244140625"},
               {"1.00000000001", "1", "uV", NULL},
               {"305.17578125", "1.0000001", "uV", NULL},
               {"9999999999999999", "9999999999999999", "uV", NULL},
               {"1E40", "1E40", "V", NULL},
               {"2.5", "1", "mm[Hg]", NULL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct ecg e = an_ecg();
    e.sensitivity = cases[i].sensitivity;
    e.correction = cases[i].correction;
    e.unit = cases[i].unit;
    FLAT(r);
    take_ecg(&e, &r);
    if (cases[i].scale)
      assert_string_equal(channel(&r, 0, "scale"), cases[i].scale);
    else
      refused(&r, -EOPNOTSUPP, "");
  }
  static const char *const bad[] = {"", "-", "2,5", "2.5.1", "0x10", "1e", "12 uV", "inf", NULL};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct ecg e = an_ecg();
    e.sensitivity = bad[i];
    ecg_refused(&e, -EPROTO, "sensitivity");
  }
  struct ecg e = an_ecg();
  e.sensitivity = "-2.5";
  ecg_refused(&e, -ERANGE, "not above 0");
}

static void what_is_not_decoded_is_named(void **state) {
  (void)state;
  struct ecg e = an_ecg();
  e.baseline = "0.5";
  ecg_refused(&e, -EOPNOTSUPP, "baseline");
  e = an_ecg();
  e.skew = "0.002"; /* a sample at 500 Hz */
  ecg_refused(&e, -EOPNOTSUPP, "same time");
  e.skew = "-0.002";
  ecg_refused(&e, -EOPNOTSUPP, "same time");
  e = an_ecg();
  e.sample_skew = "1";
  ecg_refused(&e, -EOPNOTSUPP, "same time");
  e = an_ecg();
  e.skew = "0.0019";
  e.sample_skew = "0.5";
  FLAT(r);
  take_ecg(&e, &r);
  assert_int_equal(r.err, 0);
  struct buf b = BUF_INIT(1 << 20);
  e = an_ecg();
  put_root(&b, "1.2.840.10008.5.1.4.1.1.77.1.5.2", &e);
  end(&b);
  FLAT(other);
  take_buf(&b, &other);
  refused(&other, -EOPNOTSUPP, "kind of object");
}

static void counts_must_agree(void **state) {
  (void)state;
  struct ecg e = an_ecg();
  e.channels = "3";
  ecg_refused(&e, -EPROTO, "another length");
  e = an_ecg();
  e.channels = "1";
  e.samples = "8";
  ecg_refused(&e, -EPROTO, "number of channels");
  e.channels = "4";
  e.samples = "2";
  ecg_refused(&e, -EPROTO, "number of channels");
  e = an_ecg();
  e.samples = "0";
  ecg_refused(&e, -ENODATA, "without samples");
  e.samples = "4294967295";
  ecg_refused(&e, -EPROTO, "samples that can be");
  e = an_ecg();
  e.frequency = "0";
  ecg_refused(&e, -EPROTO, "sampling frequency");
}

static void gaps(void **state) {
  (void)state;
  static const int16_t lowest = INT16_MIN, zero = 0, within = 20, beyond = 2000;
  static const int16_t values[8] = {1, -1, INT16_MIN, 0, INT16_MIN, 20, 4, -4};
  static const int16_t above[8] = {1, 2000, 20, 2000, 300, 2000, 2000, -4};
  static const struct {
    const int16_t *values, *padding;
    int err;
    unsigned gaps[2];
  } cases[] = {{values, &lowest, 0, {1, 0}}, {values, NULL, -ERANGE, {0}}, {some, &zero, 0, {0, 0}},
               {some, &within, 0, {0, 0}},   {above, &beyond, 0, {1, 1}},  {above, NULL, 0, {0, 0}}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    FLAT(r);
    struct ecg e = an_ecg();
    e.values = cases[i].values;
    e.padding = cases[i].padding;
    take_ecg(&e, &r);
    assert_int_equal(r.err, cases[i].err);
    for (size_t k = 0; k < 2 && !r.err; k++) {
      assert_int_equal(json_array_size(json_object_get(acquired(&r, "channels", k), "gaps")), cases[i].gaps[k]);
      assert_int_equal(has(&r, "quality", "samples_missing", "subject", k ? "lead_v6" : "lead_v1"),
                       cases[i].gaps[k] > 0);
    }
  }
  static const int16_t still[8] = {0, 7, 0, 8, 0, 7, 0, 7};
  FLAT(r);
  struct ecg e = an_ecg();
  e.values = still;
  e.padding = &zero;
  take_ecg(&e, &r);
  assert_true(has(&r, "quality", "lead_flat", "subject", "lead_v1"));
  assert_false(has(&r, "quality", "lead_flat", "subject", "lead_v6"));
}

static void times(void **state) {
  (void)state;
  static const struct {
    const char *when, *date, *time, *zone, *is; /* NULL: not timed */
    bool inconsistent;
  } cases[] = {{"20260302100001.25", NULL, NULL, NULL, "2026-03-02T10:00:01.250", false},
               {"20260302090001.250000+0000", NULL, NULL, NULL, "2026-03-02T10:00:01.250", false},
               {"20260302053001-0330", NULL, NULL, NULL, "2026-03-02T10:00:01.000", false},
               {"202603021000", NULL, NULL, "+0100", "2026-03-02T10:00:00.000", false},
               {NULL, "20260302", "100001.5", NULL, "2026-03-02T10:00:01.500", false},
               {NULL, "2026.03.02", "10:00:01", NULL, "2026-03-02T10:00:01.000", false},
               {NULL, "20260302", "080001", "-0100", "2026-03-02T10:00:01.000", false},
               {"20260302", "20260302", "100001", NULL, "2026-03-02T10:00:01.000", false},
               {"20260302", NULL, NULL, NULL, NULL, false},
               {NULL, "20260302", NULL, NULL, NULL, false},
               {NULL, NULL, NULL, NULL, NULL, false},
               {"20260231100000", NULL, NULL, NULL, NULL, true},
               {"20260302250000", NULL, NULL, NULL, NULL, true},
               {"2026030210000", NULL, NULL, NULL, NULL, true},
               {"20260302100000+2500", NULL, NULL, NULL, NULL, true},
               {"20260302100000Z", NULL, NULL, NULL, NULL, true},
               {"00000000000000", NULL, NULL, NULL, NULL, true},
               {"19700101000000+1400", NULL, NULL, NULL, NULL, true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    FLAT(r);
    struct ecg e = an_ecg();
    e.when = cases[i].when;
    e.date = cases[i].date;
    e.time = cases[i].time;
    e.zone = cases[i].zone;
    take_ecg(&e, &r);
    const char *is = time_of(&r, 0);
    if (strcmp(is, cases[i].is ? cases[i].is : "none"))
      fail_msg("case %zu: %s", i, is);
    assert_int_equal(has(&r, "quality", "file_inconsistent", NULL, NULL), cases[i].inconsistent);
    assert_true(has(&r, "quality", "reading_time_unverified", NULL, NULL)); /* never compared, or never told */
  }
  FLAT(old);
  struct ecg e = an_ecg();
  e.when = "20250302100000";
  take_ecg(&e, &old);
  assert_true(json_is_true(json_object_get(old.record, "stray")));
}

static void subjects(void **state) {
  (void)state;
  static const struct {
    const char *name, *family, *given;
  } names[] = {{"Dupont^Jean", "Dupont", "Jean"},         {"Dupont", "Dupont", ""},  {"^Jean", "", "Jean"},
               {"Dupont ^ Jean^M^Dr", "Dupont", " Jean"}, {"A^B=C^D=E^F", "A", "B"}, {"A^B\\C^D", "A", "B"}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    FLAT(r);
    struct ecg e = an_ecg();
    e.name = names[i].name;
    take_ecg(&e, &r);
    assert_int_equal(r.err, 0);
    const json_t *s = json_object_get(r.record, "subject");
    assert_string_equal(json_text(s, "family"), names[i].family);
    assert_string_equal(json_text(s, "given"), names[i].given + (names[i].given[0] == ' '));
  }
  static const char *const births[] = {"19610229", "19601301",  "00000000", "1960",
                                       "19000229", "196002291", "18010101", "18491231"};
  for (size_t i = 0; i < sizeof births / sizeof *births; i++) {
    FLAT(r);
    struct ecg e = an_ecg();
    e.birth = births[i];
    e.sex = "O";
    take_ecg(&e, &r);
    assert_int_equal(r.err, 0);
    assert_string_equal(json_text(json_object_get(r.record, "subject"), "birth_date"), "");
    assert_string_equal(json_text(json_object_get(r.record, "subject"), "sex"), "");
  }
  FLAT(eldest);
  struct ecg old = an_ecg();
  old.birth = "18500101";
  take_ecg(&old, &eldest);
  assert_string_equal(json_text(json_object_get(eldest.record, "subject"), "birth_date"), "1850-01-01");
  char long_name[2048];
  for (size_t i = 0; i < sizeof long_name - 1; i++)
    long_name[i] = i % 2 ? '\xa9' : '\xc3';
  long_name[sizeof long_name - 1] = 0;
  FLAT(r);
  struct ecg e = an_ecg();
  e.name = long_name + 0;
  take_ecg(&e, &r);
  assert_int_equal(r.err, 0);
  assert_int_equal(strlen(json_text(json_object_get(r.record, "subject"), "family")), 254);
  FLAT(strange);
  e.name = "Dup\xef\xbf\xbdnt^\x01Je\xffn";
  take_ecg(&e, &strange);
  assert_int_equal(strange.err, 0);
  assert_string_equal(json_text(json_object_get(strange.record, "subject"), "family"), "Dup?nt");
  assert_true(has(&strange, "quality", "text_unreadable", NULL, NULL));
}

static void groups(void **state) {
  (void)state;
  static const int16_t other[8] = {9, 9, 8, 8, 7, 7, 6, 6};
  struct ecg rhythm = an_ecg(), median = an_ecg(), plain = an_ecg();
  median.label = "MEDIAN BEAT";
  median.originality = "DERIVED";
  plain.label = NULL;
  plain.values = other;
  const struct {
    const struct ecg *groups[3];
    unsigned channels;
    int16_t first;
  } cases[] = {{{&median, &rhythm, &plain}, 2, 1}, {{&median, &plain}, 2, 9}, {{&rhythm, &median, &rhythm}, 4, 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    FLAT(r);
    struct buf b = BUF_INIT(1 << 20);
    put_root(&b, ECG_CLASS, &rhythm);
    for (size_t k = 0; k < 3 && cases[i].groups[k]; k++)
      put_group(&b, cases[i].groups[k]);
    end(&b);
    take_buf(&b, &r);
    assert_non_null(acquired(&r, "channels", cases[i].channels - 1));
    assert_null(acquired(&r, "channels", cases[i].channels));
    assert_int_equal(r.samples[0], cases[i].first);
  }
  ecg_refused(&median, -EOPNOTSUPP, "computed");
  /* A second strip that began later is a trial of its own. */
  FLAT(r);
  struct ecg late = an_ecg();
  struct buf b = BUF_INIT(1 << 20);
  late.offset = "2500.5";
  put_root(&b, ECG_CLASS, &rhythm);
  put_group(&b, &rhythm);
  put_group(&b, &late);
  end(&b);
  take_buf(&b, &r);
  assert_string_equal(time_of(&r, 0), "2026-03-02T10:00:00.000");
  assert_string_equal(time_of(&r, 1), "2026-03-02T10:00:02.500");
}

/* Recordings that are neither taken nor computed are told. */
static void groups_left_out(void **state) {
  (void)state;
  struct ecg rhythm = an_ecg(), plain = an_ecg(), computed = an_ecg();
  plain.label = NULL;
  computed.label = "MEDIAN BEAT";
  const struct {
    const struct ecg *groups[4];
    unsigned left_out;
  } cases[] = {{{&plain, &computed}, 0},
               {{&rhythm, &computed}, 0},
               {{&plain, &plain}, 1},
               {{&computed, &plain, &plain, &plain}, 2},
               {{&plain, &rhythm}, 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    FLAT(r);
    struct buf b = BUF_INIT(1 << 20);
    put_root(&b, ECG_CLASS, &plain);
    for (size_t k = 0; k < 4 && cases[i].groups[k]; k++)
      put_group(&b, cases[i].groups[k]);
    end(&b);
    take_buf(&b, &r);
    assert_null(acquired(&r, "channels", 2));
    size_t at;
    json_t *item;
    unsigned told = 0;
    json_array_foreach(json_object_get(r.record, "quality"), at, item) {
      if (!strcmp(json_text(item, "code"), "file_inconsistent"))
        told += (unsigned)json_integer_value(json_object_get(item, "count"));
    }
    assert_int_equal(told, cases[i].left_out);
  }
}

static void limb_leads_follow(void **state) {
  (void)state;
  FLAT(r);
  struct ecg e = an_ecg();
  e.lead[0] = "2:1";
  e.lead[1] = "2:2";
  take_ecg(&e, &r);
  assert_string_equal(channel(&r, 2, "code"), "lead_iii");
  assert_true(json_is_true(json_object_get(acquired(&r, "channels", 2), "derived")));
  FLAT(computed);
  e.derivation = "Computed";
  take_ecg(&e, &computed);
  assert_true(json_is_true(json_object_get(acquired(&computed, "channels", 1), "derived")));
  assert_null(acquired(&computed, "channels", 2));
}

static void filters(void **state) {
  (void)state;
  FLAT(r);
  struct ecg e = an_ecg();
  e.low = "0.05";
  e.high = "150";
  e.notch = "50";
  take_ecg(&e, &r);
  assert_true(has(&r, "quality", "signal_filtered", "subject", "de 0,05 à 150 Hz"));
  assert_true(has(&r, "quality", "signal_filtered", "subject", "50 Hz"));
  FLAT(low);
  e.high = e.notch = NULL;
  take_ecg(&e, &low);
  assert_true(has(&low, "quality", "signal_filtered", "subject", "à partir de 0,05 Hz"));
}

static void statements(void **state) {
  (void)state;
  struct buf b = BUF_INIT(1 << 20);
  const struct ecg e = an_ecg();
  FLAT(r);
  put_root(&b, ECG_CLASS, &e);
  text(&b, 0x00401002, "Douleur");
  text(&b, 0x00384000, "Visite");
  put(&b, 0x00400555, '(', NULL, 0);
  code(&b, 0x0040a043, "10:11345", "MDC", "Lead System");
  code(&b, 0x0040a168, "10:11265", "MDC", "Standard");
  put(&b, 0x00400555, ')', NULL, 0);
  for (unsigned i = 0; i < 5; i++) {
    put(&b, 0x0040b020, '(', NULL, 0);
    if (i == 0)
      text(&b, 0x00700006, "Rythme sinusal");
    else
      code(&b, 0x0040a043, "2:15872", "MDC", i < 3 ? "P onset" : "PR Interval");
    if (i == 1 || i == 2)
      text(&b, 0x0040a132, i == 1 ? "143" : "194\\200");
    if (i == 3) {
      text(&b, 0x0040a30a, "148");
      code(&b, 0x004008ea, "ms", "UCUM", "ms");
    }
    if (i == 4)
      code(&b, 0x0040a168, "1", "SCT", "Normal");
    put(&b, 0x0040b020, ')', NULL, 0);
  }
  put_group(&b, &e);
  end(&b);
  take_buf(&b, &r);
  assert_int_equal(r.err, 0);
  assert_true(has(&r, "statements", "indication", "text", "Douleur"));
  assert_true(has(&r, "statements", "comment", "text", "Visite"));
  assert_true(has(&r, "statements", "comment", "text", "Lead System : Standard"));
  assert_true(has(&r, "statements", "interpretation", "text", "Rythme sinusal"));
  assert_true(has(&r, "statements", "measurement", "text", "PR Interval : 148 ms"));
  assert_true(has(&r, "statements", "interpretation", "text", "PR Interval : Normal"));
  assert_true(has(&r, "statements", "measurement", "text", "Échantillons : P onset : 143 ; P onset : 194\\200"));
}

/* More than a record holds costs what is said of the trace, not the trace. */
static void statements_without_end(void **state) {
  (void)state;
  struct buf b = BUF_INIT(FLAT_ATTRIBUTES_MAX);
  const struct ecg e = an_ecg();
  FLAT(r);
  put_root(&b, ECG_CLASS, &e);
  for (unsigned i = 0; i < 20000; i++) {
    put(&b, 0x0040b020, '(', NULL, 0);
    if (i % 2)
      text(&b, 0x00700006, "Encore");
    else
      code(&b, 0x0040a043, "1", "SCPECG", "P onset");
    if (!(i % 2))
      text(&b, 0x0040a132, "1");
    put(&b, 0x0040b020, ')', NULL, 0);
  }
  put_group(&b, &e);
  end(&b);
  take_buf(&b, &r);
  assert_int_equal(r.err, 0);
  assert_int_equal(json_array_size(json_object_get(r.record, "statements")), 1024);
  assert_true(has(&r, "quality", "unknown_value", NULL, NULL));
}

static void put_pictures(struct buf *b, unsigned n) {
  uint8_t jpeg[] = {0xff, 0xd8, 0xff, 0xe0, 0, 4, 'J', 'F', 0xff, 0xd9};
  for (unsigned i = 0; i < n; i++) {
    jpeg[7] = (uint8_t)i; /* the same one twice would be one */
    put(b, 0x7fe00010, 'p', jpeg, sizeof jpeg);
  }
}

static void pictures(void **state) {
  (void)state;
  static const struct {
    const char *image, *series, *is;
    bool inconsistent;
  } eyes[] = {{"L", NULL, "L", false}, {"R", "L", NULL, true}, {"R", "R", "R", false}, {NULL, "L", "L", false},
              {"B", "L", NULL, false}, {"", "R", "R", false},  {"X", "R", "R", false}, {NULL, NULL, NULL, false}};
  const struct ecg e = an_ecg();
  for (size_t i = 0; i < sizeof eyes / sizeof *eyes; i++) {
    FLAT(r);
    struct buf b = BUF_INIT(1 << 20);
    put_root(&b, FUNDUS_CLASS, &e);
    text(&b, 0x00200060, eyes[i].series);
    text(&b, 0x00200062, eyes[i].image);
    put_pictures(&b, 3);
    end(&b);
    take_buf(&b, &r);
    assert_int_equal(r.err, 0);
    assert_string_equal(json_text(r.record, "modality"), "fundus");
    for (size_t k = 0; k < 3; k++) {
      const char *is = json_text(acquired(&r, "pictures", k), "laterality");
      if (strcmp(is ? is : "", eyes[i].is ? eyes[i].is : ""))
        fail_msg("eye %zu: %s", i, is);
      assert_int_equal(json_integer_value(json_object_get(acquired(&r, "pictures", k), "bytes")), 10);
      assert_string_equal(time_of(&r, k), "2026-03-02T10:00:00.000");
    }
    assert_int_equal(has(&r, "quality", "file_inconsistent", NULL, NULL), eyes[i].inconsistent);
    assert_null(acquired(&r, "pictures", 3));
  }
  static const unsigned counts[] = {0, FLAT_PICTURES_MAX, FLAT_PICTURES_MAX + 1};
  static const int errs[] = {-ENODATA, 0, -EPROTO};
  for (size_t i = 0; i < 3; i++) {
    FLAT(r);
    struct buf b = BUF_INIT(1 << 20);
    put_root(&b, FUNDUS_CLASS, &e);
    put_pictures(&b, counts[i]);
    end(&b);
    take_buf(&b, &r);
    assert_int_equal(r.err, errs[i]);
  }
  /* An ECG with pictures is neither. */
  FLAT(r);
  struct buf b = BUF_INIT(1 << 20);
  put_root(&b, ECG_CLASS, &e);
  put_group(&b, &e);
  put_pictures(&b, 1);
  end(&b);
  take_buf(&b, &r);
  refused(&r, -EPROTO, "pictures");
}

/* A stream cut anywhere, or with any one byte changed, is refused or read, and never anything else. */
static void damaged_streams(void **state) {
  (void)state;
  struct buf b = BUF_INIT(1 << 20);
  const struct ecg e = an_ecg();
  put_root(&b, ECG_CLASS, &e);
  put_group(&b, &e);
  end(&b);
  for (size_t n = 0; n < b.len; n++) {
    FLAT(r);
    flat_take(b.data, n, &r);
    assert_int_equal(r.err, n < strlen(FLAT_MAGIC) ? -ENXIO : -EPROTO);
    assert_true(r.reason[0]);
  }
  for (size_t i = 0; i < b.len; i++) {
    FLAT(r);
    b.data[i] ^= (uint8_t)(1u << i % 8);
    flat_take(b.data, b.len, &r);
    assert_true(r.err == 0 || r.err == -ENXIO || r.err == -EPROTO || r.err == -ENODATA || r.err == -ERANGE ||
                r.err == -EOPNOTSUPP);
    b.data[i] ^= (uint8_t)(1u << i % 8);
  }
  buf_u8(&b, '!');
  FLAT(more);
  flat_take(b.data, b.len, &more);
  refused(&more, -EPROTO, "follows");
  buf_finish(&b);
}

static void nests(void **state) {
  (void)state;
  const struct ecg e = an_ecg();
  for (unsigned depth = FLAT_DEPTH_MAX; depth <= FLAT_DEPTH_MAX + 1; depth++) {
    FLAT(r);
    struct buf b = BUF_INIT(1 << 20);
    put_root(&b, ECG_CLASS, &e);
    for (unsigned i = 0; i < depth; i++)
      put(&b, 0x0040b020, '(', NULL, 0);
    for (unsigned i = 0; i < depth; i++)
      put(&b, 0x0040b020, ')', NULL, 0);
    put_group(&b, &e);
    end(&b);
    take_buf(&b, &r);
    assert_int_equal(r.err, depth > FLAT_DEPTH_MAX ? -EPROTO : 0);
  }
  FLAT(crossed);
  struct buf b = BUF_INIT(1 << 20);
  put_root(&b, ECG_CLASS, &e);
  put(&b, 0x0040b020, '(', NULL, 0);
  put(&b, 0x0040a043, ')', NULL, 0);
  end(&b);
  take_buf(&b, &crossed);
  refused(&crossed, -EPROTO, "damaged");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(an_ecg_is_whole),
                                     cmocka_unit_test(every_lead_by_both_codes),
                                     cmocka_unit_test(a_lead_twice),
                                     cmocka_unit_test(scales_are_exact),
                                     cmocka_unit_test(what_is_not_decoded_is_named),
                                     cmocka_unit_test(counts_must_agree),
                                     cmocka_unit_test(gaps),
                                     cmocka_unit_test(times),
                                     cmocka_unit_test(subjects),
                                     cmocka_unit_test(groups),
                                     cmocka_unit_test(groups_left_out),
                                     cmocka_unit_test(limb_leads_follow),
                                     cmocka_unit_test(filters),
                                     cmocka_unit_test(statements),
                                     cmocka_unit_test(statements_without_end),
                                     cmocka_unit_test(pictures),
                                     cmocka_unit_test(damaged_streams),
                                     cmocka_unit_test(nests)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
