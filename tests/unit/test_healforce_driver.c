/* The driver of the Prince 180's files, on files made here from the description of the format, and on a real one. */
#include "file_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "hash.h"

extern const struct acq_driver file_healforce;
#define DRIVER (&file_healforce)

/* ---- files, from the text ---- */

/* Bit by bit: not the driver's own. */
static uint16_t xmodem(const uint8_t *p, size_t n) {
  uint16_t crc = 0;
  for (size_t i = 0; i < n; i++) {
    crc = (uint16_t)(crc ^ p[i] << 8);
    for (int k = 0; k < 8; k++)
      crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
  }
  return crc;
}

static void put(struct buf *b, unsigned bytes, uint32_t value) {
  for (; bytes; bytes--, value >>= 8)
    buf_u8(b, (uint8_t)value);
}

static void put_head(struct buf *b, unsigned id, uint32_t length) {
  put(b, 2, 0x1234); /* nobody looks at a section's own checksum */
  put(b, 2, id);
  put(b, 4, length);
  put(b, 2, 0x0d0d);
  put(b, 4, 0);
  put(b, 2, 0);
}

struct form {
  unsigned leads, rows, nanovolts, rate, difference, bimodal;
  uint32_t first, last;
  const char *patient, *date, *clock; /* their bytes in order; NULL = no such tag */
  unsigned date_bytes, clock_bytes;
  const uint8_t *marks; /* of each beat, in section 9, up to 0xff; NULL = no section 9 */
  unsigned no_section;  /* this one is left out */
  unsigned filling;     /* samples behind the last row */
};

static const struct form usual = {.leads = 2,
                                  .rows = 24,
                                  .nanovolts = 9524,
                                  .rate = 150,
                                  .first = 1,
                                  .last = 24,
                                  .patient = "PAT-7",
                                  .date = "\x07\xea\x03\x02",
                                  .date_bytes = 4,
                                  .clock = "\x09\x00\x07",
                                  .clock_bytes = 3};
/* The usual one, but for these assignments. */
#define FORM(...)           \
  ({                        \
    struct form is = usual; \
    (void)(__VA_ARGS__);    \
    is;                     \
  })

/* The 12 bits of a sample: row - 10 x lead, all leads of row 5 a beat, of row 7 an irregular one. */
static unsigned sample_of(const struct form *f, unsigned i) {
  const unsigned row = i / f->leads, lead = i % f->leads;
  return ((row - 10 * lead + 512) & 0x3ff) | (row == 5 || row == 7 ? 0x800 : 0) | (row == 7 ? 0x400 : 0);
}

static void put_quad(struct buf *b, const unsigned s[static 4]) {
  for (unsigned i = 0; i < 3; i++)
    put(b, 2, (s[i] & 0x3ff) | (s[i] & 0xc00) << 4 | (s[3] >> (8 - 4 * i) & 15) << 10);
}

static void put_section(struct buf *b, unsigned id, const struct form *f, unsigned length) {
  const size_t at = b->len;
  put_head(b, id, length);
  if (id == 1) {
    if (f->patient) {
      put(b, 1, 2);
      put(b, 2, (uint32_t)strlen(f->patient) + 1);
      buf_add(b, f->patient, strlen(f->patient) + 1);
    }
    if (f->date) {
      put(b, 1, 25);
      put(b, 2, f->date_bytes);
      buf_add(b, f->date, f->date_bytes);
    }
    if (f->clock) {
      put(b, 1, 26);
      put(b, 2, f->clock_bytes);
      buf_add(b, f->clock, f->clock_bytes);
    }
  } else if (id == 3) {
    put(b, 1, f->leads);
    put(b, 1, 4);
    put(b, 4, f->first);
    put(b, 4, f->last);
  } else if (id == 6) {
    const unsigned n = f->leads * f->rows + f->filling;
    put(b, 2, f->nanovolts);
    put(b, 2, f->rate);
    put(b, 1, f->difference);
    put(b, 1, f->bimodal);
    put(b, 2, n / 4 * 6);
    for (unsigned i = 0; i + 4 <= n; i += 4)
      put_quad(b, (const unsigned[]){sample_of(f, i), sample_of(f, i + 1), sample_of(f, i + 2), sample_of(f, i + 3)});
  } else if (id == 9) {
    for (unsigned i = 0; i < 292; i++)
      put(b, 1, 0);
    for (unsigned i = 0; f->marks[i] != 0xff; i++)
      put(b, 4, 60 | 0x4930 << 8 | (uint32_t)f->marks[i] << 24);
    put(b, 4, 0xffffffff);
  }
  while (b->len < at + length)
    buf_u8(b, 0);
}

/* Size and checksum as they must be. */
static void seal(struct buf *b) {
  b->data[4] = (uint8_t)b->len;
  b->data[5] = (uint8_t)(b->len >> 8);
  const uint16_t crc = xmodem(b->data + 2, b->len - 2);
  b->data[0] = (uint8_t)(crc >> 8);
  b->data[1] = (uint8_t)crc;
}

#define SIGNAL_AT (6 + 66 + 64 + 28) /* section 6 of a file that has them all */

static struct buf make(const struct form *f) {
  static const unsigned ids[] = {0, 1, 3, 6, 9};
  const unsigned lengths[] = {66, 64, 28, 16 + 8 + (f->leads * f->rows + f->filling) / 4 * 6, 400};
  struct buf b = BUF_INIT(1 << 16);
  uint32_t place = 6;
  put(&b, 4, 0);
  put(&b, 2, 0);
  put_head(&b, 0, lengths[0]);
  for (unsigned i = 0; i < 5; i++) {
    const bool there = (!f->no_section || ids[i] != f->no_section) && (ids[i] != 9 || f->marks);
    put(&b, 2, there ? ids[i] : 99);
    put(&b, 4, lengths[i]);
    put(&b, 4, place);
    place += there ? lengths[i] : 0;
  }
  for (unsigned i = 1; i < 5; i++)
    if ((!f->no_section || ids[i] != f->no_section) && (ids[i] != 9 || f->marks))
      put_section(&b, ids[i], f, lengths[i]);
  seal(&b);
  return b;
}

static struct file_reading read_form(struct form f) {
  _buf_cleanup_ struct buf b = make(&f);
  return file_decode(DRIVER, b.data, b.len);
}

static void refuse_form(struct form f, int err, const char *reason) {
  _buf_cleanup_ struct buf b = make(&f);
  file_refused(DRIVER, b.data, b.len, err, reason);
}

/* ---- the tests ---- */

static void test_whole(void **state) {
  (void)state;
  static const uint8_t marks[] = {0, 4, 0, 19, 0xff};
  _reading_cleanup_ struct file_reading r = read_form(FORM(is.marks = marks));
  assert_int_equal(r.err, 0);
  const json_t *record = r.record[WIRE_OWN];
  assert_int_equal(file_count(record, "channels"), 2);
  for (size_t lead = 0; lead < 2; lead++) {
    const json_t *c = file_item(record, "channels", lead);
    assert_string_equal(json_text(c, "code"), "lead_unspecified");
    assert_string_equal(json_text(c, "rate"), "150");
    assert_string_equal(json_text(c, "scale"), "9.524");
    assert_int_equal(json_integer_value(json_object_get(c, "samples")), 24);
    for (size_t i = 0; i < 24; i++)
      assert_int_equal(file_sample(&r, lead, i), (int)i - 10 * (int)lead);
  }
  assert_string_equal(json_text(file_item(record, "trials", 0), "device_time"), "2026-03-02T09:00:07.000");
  file_assert_quality(record, "");
  assert_string_equal(json_text(record, "integrity"), "crc16");
  assert_string_equal(json_text(json_object_get(record, "subject"), "id"), "PAT-7");
  assert_string_equal(json_text(json_object_get(record, "subject"), "family"), "");
  assert_int_equal(file_count(record, "statements"), 3);
  assert_true(file_says(record, "measurement", "Battements repérés par l'appareil : 2"));
  assert_true(file_says(record, "interpretation", "Battements marqués irréguliers dans le tracé, à 0,04 s"));
  assert_true(file_says(record, "interpretation", "Battements marqués par l'appareil : n° 2 (code 4), n° 4 (code 19)"));
}

/* All values of all places of a group, and its marks, whichever lead they stand in. */
static void test_packing(void **state) {
  (void)state;
  for (unsigned place = 0; place < 4; place++)
    for (unsigned value = 0; value < 1024; value += value < 8 || value > 1015 ? 1 : 7) {
      struct form f = FORM(is.leads = 4, is.rows = 1, is.last = 1, is.patient = NULL);
      struct buf b = make(&f);
      unsigned quad[4] = {1, 2, 3, 4};
      quad[place] = value | 0x400;
      b.len -= 6;
      put_quad(&b, quad);
      seal(&b);
      _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
      assert_int_equal(r.err, 0);
      for (unsigned i = 0; i < 4; i++)
        assert_int_equal(file_sample(&r, i, 0), (int)(i == place ? value : i + 1) - 512);
      assert_int_equal(file_count(r.record[WIRE_OWN], "statements"), 1);
      assert_true(
          file_says(r.record[WIRE_OWN], "interpretation", "Battements marqués irréguliers dans le tracé, à 0,00 s"));
      buf_finish(&b);
    }
}

static void test_leads(void **state) {
  (void)state;
  for (unsigned leads = 1; leads <= 12; leads++) {
    _reading_cleanup_ struct file_reading r = read_form(FORM(is.leads = leads));
    assert_int_equal(r.err, 0);
    assert_int_equal(file_count(r.record[WIRE_OWN], "channels"), leads);
    assert_int_equal(file_sample(&r, leads - 1, 23), 23 - 10 * ((int)leads - 1));
    file_assert_quality(r.record[WIRE_OWN], "");
  }
  /* Filling behind the last row is none of its samples. */
  _reading_cleanup_ struct file_reading r = read_form(FORM(is.leads = 3, is.rows = 9, is.last = 9, is.filling = 1));
  assert_int_equal(r.err, 0);
  assert_int_equal(json_integer_value(json_object_get(file_item(r.record[WIRE_OWN], "channels", 2), "samples")), 9);
  file_assert_quality(r.record[WIRE_OWN], "");
  /* A part of a longer recording. */
  _reading_cleanup_ struct file_reading part = read_form(FORM(is.first = 283501, is.last = 283524));
  assert_int_equal(part.err, 0);
  file_assert_quality(part.record[WIRE_OWN], "");
}

static void test_contradictions(void **state) {
  (void)state;
  static const struct {
    uint32_t first, last;
  } spans[] = {{1, 23}, {1, 25}, {0, 23}, {24, 1}, {0, 0}, {1, UINT32_MAX}, {0, UINT32_MAX}};
  for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
    _reading_cleanup_ struct file_reading r =
        read_form(FORM(is.first = spans[i].first, is.last = spans[i].last, is.leads = 4));
    assert_int_equal(r.err, 0);
    file_assert_quality(r.record[WIRE_OWN], "file_inconsistent longueurs 1");
    assert_int_equal(json_integer_value(json_object_get(file_item(r.record[WIRE_OWN], "channels", 0), "samples")), 24);
  }
  refuse_form(FORM(is.leads = 3, is.rows = 9, is.last = 8, is.filling = 1), -EPROTO, "not all the same samples");
  refuse_form(FORM(is.rate = 1001), -EOPNOTSUPP, "another way");
  refuse_form(FORM(is.rate = 6667), -EOPNOTSUPP, "another way");
  refuse_form(FORM(is.difference = 1), -EOPNOTSUPP, "another way");
  refuse_form(FORM(is.bimodal = 1), -EOPNOTSUPP, "another way");
  refuse_form(FORM(is.rate = 49), -ERANGE, "cannot be");
  refuse_form(FORM(is.nanovolts = 0), -ERANGE, "cannot be");
  refuse_form(FORM(is.leads = 13), -ERANGE, "cannot be");
  refuse_form(FORM(is.rows = 0), -ENODATA, "no sample");
  refuse_form(FORM(is.no_section = 3), -ENODATA, "no sections 3 and 6");
  refuse_form(FORM(is.no_section = 6), -ENODATA, "no sections 3 and 6");
  struct form f = FORM(is.leads = 1);
  _buf_cleanup_ struct buf none = make(&f);
  none.data[6 + 66 + 64 + 16] = 0;
  seal(&none);
  file_refused(DRIVER, none.data, none.len, -ERANGE, "cannot be");
  _reading_cleanup_ struct file_reading about = read_form(FORM(is.no_section = 1));
  assert_int_equal(about.err, 0);
  assert_true(json_is_null(json_object_get(about.record[WIRE_OWN], "subject")));
  file_assert_quality(about.record[WIRE_OWN], "reading_time_unverified  1");
  _reading_cleanup_ struct file_reading slow = read_form(FORM(is.rate = 50)), fast = read_form(FORM(is.rate = 1000));
  assert_int_equal(slow.err, 0);
  assert_string_equal(json_text(file_item(slow.record[WIRE_OWN], "channels", 0), "rate"), "50");
  assert_string_equal(json_text(file_item(fast.record[WIRE_OWN], "channels", 0), "rate"), "1000");
}

static void test_times(void **state) {
  (void)state;
  static const struct {
    const char *date, *clock;
    unsigned date_bytes, clock_bytes;
    const char *quality;
  } v[] = {{"\x07\xea\x0d\x02", "\x09\x00\x07", 4, 3, "file_inconsistent  1; reading_time_unverified  1"},
           {"\x07\xea\x03\x02", "\x18\x00\x00", 4, 3, "file_inconsistent  1; reading_time_unverified  1"},
           {"\xea\x07\x03\x02", "\x09\x00\x07", 4, 3, "file_inconsistent  1; reading_time_unverified  1"},
           {"\x07\xea\x03\x02", NULL, 4, 0, "file_inconsistent  1; reading_time_unverified  1"},
           {NULL, "\x09\x00\x07", 0, 3, "file_inconsistent  1; reading_time_unverified  1"},
           {"\x07\xea\x03", "\x09\x00", 3, 2, "reading_time_unverified  1"},
           {NULL, NULL, 0, 0, "reading_time_unverified  1"}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    _reading_cleanup_ struct file_reading r =
        read_form(FORM(is.date = v[i].date, is.clock = v[i].clock, is.date_bytes = v[i].date_bytes,
                       is.clock_bytes = v[i].clock_bytes));
    assert_int_equal(r.err, 0);
    assert_null(json_text(file_item(r.record[WIRE_OWN], "trials", 0), "device_time"));
    file_assert_quality(r.record[WIRE_OWN], v[i].quality);
  }
}

static void test_subject(void **state) {
  (void)state;
  static const struct {
    const char *patient, *id, *quality;
  } v[] = {{"00000", NULL, ""},    {"", NULL, ""},   {NULL, NULL, ""},
           {"00100", "00100", ""}, {" 7 ", "7", ""}, {"\xe9t\xe9", "?t?", "text_unreadable  1"}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    _reading_cleanup_ struct file_reading r = read_form(FORM(is.patient = v[i].patient));
    assert_int_equal(r.err, 0);
    const json_t *subject = json_object_get(r.record[WIRE_OWN], "subject");
    assert_int_equal(json_is_null(subject), !v[i].id);
    if (v[i].id)
      assert_string_equal(json_text(subject, "id"), v[i].id);
    file_assert_quality(r.record[WIRE_OWN], v[i].quality);
  }
}

/* What tells it from SCP-ECG, and what lies about where things are. */
static void test_structure(void **state) {
  (void)state;
  static const uint8_t marks[] = {4, 0xff};
  static const struct {
    size_t at;
    uint8_t value;
    int err;
    const char *reason;
  } v[] = {
      {2, 1, -ENXIO, "not a recording"},
      {3, 1, -ENXIO, "not a recording"},
      {8, 1, -ENXIO, "not a recording"},
      {22, 1, -ENXIO, "not a recording"},
      {24, 67, -ENXIO, "not a recording"},
      {28, 7, -ENXIO, "not a recording"}, /* counted from 1 */
      {38, 255, -EPROTO, "section 1"},
      {34, 15, -EPROTO, "section 1"},
      {58, 255, -EPROTO, "3 and 6"},
      {6 + 66 + 2, 2, -EPROTO, "section 1"},
      {6 + 66 + 4, 65, -EPROTO, "section 1"},
      {6 + 66 + 4, 15, -EPROTO, "section 1"},
      {6 + 66 + 16 + 1, 200, -EPROTO, "section 1"},
      {SIGNAL_AT + 16 + 6, 78, -EPROTO, "cut off"},
      {SIGNAL_AT + 16 + 6, 71, -EPROTO, "not all the same samples"},
      {68, 255, -EPROTO, "section 9"},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct form f = FORM(is.marks = marks);
    _buf_cleanup_ struct buf b = make(&f);
    b.data[v[i].at] = v[i].value;
    const uint8_t zero[] = {b.data[2], b.data[3]};
    seal(&b);
    memcpy(b.data + 2, zero, 2);
    file_refused(DRIVER, b.data, b.len, v[i].err, v[i].reason);
  }
  /* Section 0 as long as the file, and as long as can be. */
  struct form f = FORM(is.marks = NULL);
  _buf_cleanup_ struct buf b = make(&f);
  for (int i = 0; i < 2; i++) {
    memset(b.data + 10, 0xff, 4);
    memset(b.data + 24, 0xff, 4);
    if (i == 0)
      b.data[12] = b.data[13] = b.data[26] = b.data[27] = 0;
    seal(&b);
    file_refused(DRIVER, b.data, b.len, -EPROTO, "section 0");
  }
}

/* Every bit and every length. */
static void test_damage(void **state) {
  (void)state;
  static const uint8_t marks[] = {4, 0xff};
  struct form f = FORM(is.marks = marks);
  _buf_cleanup_ struct buf b = make(&f);
  for (size_t i = 0; i < 8 * b.len; i++) {
    b.data[i / 8] ^= (uint8_t)(1u << i % 8);
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    assert_true(r.err == -ENXIO || r.err == -EPROTO || r.err == -EBADMSG);
    b.data[i / 8] ^= (uint8_t)(1u << i % 8);
  }
  for (size_t n = 0; n < b.len; n++)
    file_refused(DRIVER, b.data, n, !n ? -ENODATA : n < 32 ? -ENXIO : -EPROTO, "");
  buf_u8(&b, 0xff); /* the rest of a block behind it */
  _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
  assert_int_equal(r.err, 0);
}

static void test_ordered(void **state) {
  (void)state;
  struct form f = FORM(is.patient = "00000");
  _buf_cleanup_ struct buf b = make(&f);
  _reading_cleanup_ struct file_reading r =
      file_decode_ordered(DRIVER, "600 ecg", "2026-03-02T09:00:00.000000+01:00", b.data, b.len);
  assert_int_equal(r.err, 0);
  assert_null(r.record[WIRE_STRAY]);
  assert_int_equal(file_noted(r.record[WIRE_OWN], "subject_unknown", ""), 1);
}

static void test_real(void **state) {
  (void)state;
  static const int starts[3][12] = {{1, 1, 1, 1, 1, 1, 0, -1, -2, -2, -1, 0},
                                    {0, -1, -1, 0, 0, 0, 0, -1, -1, -1, 0, 0},
                                    {1, 0, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0}};
  static const int low[] = {-80, -13, -25}, high[] = {56, 114, 156};
  _buf_cleanup_ struct buf b = {0}, scp = {0};
  if (!file_find_sample("healforce/prince180d_62.SCP", &b)) {
    skip();
    return;
  }
  {
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    assert_int_equal(r.err, 0);
    const json_t *record = r.record[WIRE_OWN];
    assert_int_equal(file_count(record, "channels"), 3);
    for (size_t lead = 0; lead < 3; lead++) {
      int least = 0, most = 0;
      assert_string_equal(json_text(file_item(record, "channels", lead), "scale"), "9.524");
      assert_int_equal(json_integer_value(json_object_get(file_item(record, "channels", lead), "samples")), 4500);
      for (size_t i = 0; i < 4500; i++) {
        const int v = file_sample(&r, lead, i);
        assert_true(i >= 12 || v == starts[lead][i]);
        least = v < least ? v : least;
        most = v > most ? v : most;
      }
      assert_int_equal(least, low[lead]);
      assert_int_equal(most, high[lead]);
    }
    file_assert_quality(record, "");
    assert_string_equal(json_text(file_item(record, "trials", 0), "device_time"), "2019-08-08T00:04:10.000");
    assert_true(json_is_null(json_object_get(record, "subject")));
    assert_int_equal(file_count(record, "statements"), 2);
    assert_true(file_says(record, "measurement", "Battements repérés par l'appareil : 30"));
    assert_true(file_says(record, "interpretation", "Battements marqués par l'appareil : n° 21 (code 4)"));
  }
  const size_t size = 29424; /* what follows is the rest of a block of the card */
  for (size_t i = 0; i < size; i += i < 600 ? 1 : 11) {
    b.data[i] ^= (uint8_t)(1u << i % 8);
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    assert_true(r.err < 0);
    b.data[i] ^= (uint8_t)(1u << i % 8);
  }
  for (size_t n = 0; n < size; n += n < 600 ? 1 : 101)
    file_refused(DRIVER, b.data, n, !n ? -ENODATA : n < 32 ? -ENXIO : -EPROTO, "");
  assert_int_equal(file_mutate(DRIVER, b.data, size, 1000), 0);
  if (file_find_sample("scp_ecg/Example.scp", &scp))
    file_refused(DRIVER, scp.data, scp.len, -ENXIO, "not a recording of a Prince 180");
}

static int set_up(void **state) {
  (void)state;
  return hash_open();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_whole),          cmocka_unit_test(test_packing), cmocka_unit_test(test_leads),
      cmocka_unit_test(test_contradictions), cmocka_unit_test(test_times),   cmocka_unit_test(test_subject),
      cmocka_unit_test(test_structure),      cmocka_unit_test(test_damage),  cmocka_unit_test(test_ordered),
      cmocka_unit_test(test_real),
  };
  cmocka_set_message_output(CM_OUTPUT_TAP);
  return cmocka_run_group_tests(tests, set_up, NULL);
}
