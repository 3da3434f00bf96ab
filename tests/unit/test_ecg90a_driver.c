/* The driver of the ECG90A's files, on files made here from the description of the format, and on a real one. */
#include "file_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "hash.h"

extern const struct acq_driver file_contec_ecg90a;
#define DRIVER (&file_contec_ecg90a)
#define HEADER 43u
#define OFF 0x6800

static void put_u16(struct buf *b, unsigned value) {
  buf_u8(b, (uint8_t)value);
  buf_u8(b, (uint8_t)(value >> 8));
}

/* "0000007", a date, a name of at most 8, sex, age, weight. */
static void put_header(struct buf *b, const char *date, const char *name, uint8_t sex, uint8_t age, uint8_t weight) {
  char header[HEADER] = "0000007";
  *b = BUF_INIT(1 << 20);
  memcpy(header + 10, date, strlen(date));
  memcpy(header + 32, name, strlen(name));
  header[40] = (char)sex;
  header[41] = (char)age;
  header[42] = (char)weight;
  buf_add(b, header, sizeof header);
}

/* Row i of the made files: II, III, V1..V6 = i + 10 times their number, in steps around 0 V. */
static void put_row(struct buf *b, unsigned i) {
  for (unsigned lead = 0; lead < 8; lead++)
    put_u16(b, 2048 + i + 10 * lead);
}

static void put_end(struct buf *b) {
  const uint8_t end[37] = {[27] = 0x16};
  buf_add(b, end, sizeof end);
}

/* The value of a lead in a row that was put already. */
static void set(struct buf *b, unsigned row, unsigned lead, unsigned value) {
  b->data[HEADER + 16 * row + 2 * lead] = (uint8_t)value;
  b->data[HEADER + 16 * row + 2 * lead + 1] = (uint8_t)(value >> 8);
}

static struct buf make(unsigned rows) {
  struct buf b;
  put_header(&b, "2026-03-02 09:00:07", "DURAND", 0, 61, 70);
  for (unsigned i = 0; i < rows; i++)
    put_row(&b, i);
  put_end(&b);
  return b;
}

static void test_whole(void **state) {
  (void)state;
  static const char *const codes[] = {"lead_ii", "lead_iii", "lead_v1", "lead_v2",  "lead_v3",  "lead_v4",
                                      "lead_v5", "lead_v6",  "lead_i",  "lead_avr", "lead_avl", "lead_avf"};
  _buf_cleanup_ struct buf b = make(1500);
  _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
  assert_int_equal(r.err, 0);
  const json_t *record = r.record[WIRE_OWN];
  assert_int_equal(file_count(record, "channels"), 12);
  for (size_t i = 0; i < 12; i++) {
    const json_t *c = file_item(record, "channels", i);
    assert_string_equal(json_text(c, "code"), codes[i]);
    assert_string_equal(json_text(c, "rate"), "800");
    assert_string_equal(json_text(c, "scale"), i < 9 ? "5" : "2.5");
    assert_int_equal(json_integer_value(json_object_get(c, "samples")), 1500);
    assert_int_equal(json_is_true(json_object_get(c, "derived")), i >= 8);
    assert_int_equal(json_array_size(json_object_get(c, "gaps")), 0);
  }
  for (unsigned i = 0; i < 1500; i += 499)
    for (unsigned lead = 0; lead < 8; lead++)
      assert_int_equal(file_sample(&r, lead, i), i + 10 * lead);
  assert_int_equal(file_sample(&r, 8, 100), 100 - 110);      /* I = II - III */
  assert_int_equal(file_sample(&r, 9, 100), -2 * 100 + 110); /* aVR = (III - 2 II) / 2, in halves */
  assert_int_equal(file_sample(&r, 11, 100), 100 + 110);     /* aVF = (II + III) / 2 */
  assert_string_equal(json_text(file_item(record, "trials", 0), "device_time"), "2026-03-02T09:00:07.000");
  file_assert_quality(record, "file_unchecked  1");
  const json_t *subject = json_object_get(record, "subject");
  assert_string_equal(json_text(subject, "family"), "DURAND");
  assert_string_equal(json_text(subject, "given"), "");
  assert_string_equal(json_text(subject, "id"), "");
  assert_string_equal(json_text(subject, "sex"), "F");
  assert_int_equal(file_count(record, "statements"), 3);
  assert_true(file_says(record, "comment", "Numéro de l'enregistrement sur l'appareil : 0000007"));
  assert_true(file_says(record, "comment", "Âge saisi sur l'appareil : 61 ans"));
  assert_true(file_says(record, "comment", "Poids saisi sur l'appareil : 70 kg"));
  assert_string_equal(json_text(record, "integrity"), "none");
  assert_string_equal(json_text(json_object_get(record, "device"), "make"), "");
}

static void test_ordered(void **state) {
  (void)state;
  _buf_cleanup_ struct buf b = make(3);
  { /* made while the order waited */
    _reading_cleanup_ struct file_reading r =
        file_decode_ordered(DRIVER, "600 ecg", "2026-03-02T09:00:00.000000+01:00", b.data, b.len);
    assert_int_equal(r.err, 0);
    assert_non_null(r.record[WIRE_OWN]);
    assert_null(r.record[WIRE_STRAY]);
    assert_int_equal(file_noted(r.record[WIRE_OWN], "reading_time_unverified", ""), 1);
    assert_int_equal(file_noted(r.record[WIRE_OWN], "subject_unknown", ""), 0);
  }
  { /* the day before */
    _reading_cleanup_ struct file_reading r =
        file_decode_ordered(DRIVER, "600 ecg", "2026-03-03T09:00:00.000000+01:00", b.data, b.len);
    assert_int_equal(r.err, 0);
    assert_null(r.record[WIRE_OWN]);
    assert_true(json_is_true(json_object_get(r.record[WIRE_STRAY], "stray")));
  }
}

static void test_subject(void **state) {
  (void)state;
  static const struct {
    const char *name;
    uint8_t sex;
    const char *family, *said; /* NULL: nobody */
    const char *quality;
  } v[] = {{"DUPONT", 1, "DUPONT", "M", "file_unchecked  1"},
           {"DUPONT", 255, "DUPONT", "", "file_unchecked  1"},
           {"DUPONT", 7, "DUPONT", "", "file_inconsistent  1; file_unchecked  1"},
           {"12345678", 0, "12345678", "F", "file_unchecked  1"}, /* no room for its end */
           {"H\xe9L\xc8NE", 0, "H?L?NE", "F", "text_unreadable  1; file_unchecked  1"},
           {"  ", 0, NULL, NULL, "file_unchecked  1"},
           {"", 1, NULL, NULL, "file_unchecked  1"}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    _buf_cleanup_ struct buf b;
    put_header(&b, "2026-03-02 09:00:07", v[i].name, v[i].sex, 0, 0);
    put_row(&b, 0);
    put_end(&b);
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    assert_int_equal(r.err, 0);
    const json_t *subject = json_object_get(r.record[WIRE_OWN], "subject");
    assert_int_equal(json_is_null(subject), !v[i].family);
    if (v[i].family) {
      assert_string_equal(json_text(subject, "family"), v[i].family);
      assert_string_equal(json_text(subject, "sex"), v[i].said);
    }
    file_assert_quality(r.record[WIRE_OWN], v[i].quality);
    assert_int_equal(file_count(r.record[WIRE_OWN], "statements"), 1); /* no age, no weight */
  }
}

static void test_date(void **state) {
  (void)state;
  static const char *const none[] = {"2026-13-02 09:00:07", "2026-02-29 09:00:07", "2026-03-02 24:00:00",
                                     "1969-03-02 09:00:07", "2026-00-10 09:00:07"},
                           *const other[] = {"2026/03/02 09:00:07",
                                             "2026-03-02T09:00:07",
                                             "2026-03-02 09:00:7 ",
                                             "2026-03-02 09:00:0",
                                             "2026-03-02 09:00:071",
                                             "0000-03-02 09:00:07",
                                             ""};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    _buf_cleanup_ struct buf b;
    put_header(&b, none[i], "", 255, 0, 0);
    put_row(&b, 0);
    put_end(&b);
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    assert_int_equal(r.err, 0);
    assert_null(json_text(file_item(r.record[WIRE_OWN], "trials", 0), "device_time"));
    file_assert_quality(r.record[WIRE_OWN], "file_inconsistent  1; reading_time_unverified  1; file_unchecked  1");
  }
  for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
    _buf_cleanup_ struct buf b;
    put_header(&b, other[i], "", 255, 0, 0);
    put_row(&b, 0);
    put_end(&b);
    file_refused(DRIVER, b.data, b.len, -ENXIO, "not a recording of an ECG90A");
  }
}

/* The gaps of a channel as "first+count ..." */
static void assert_gaps(const json_t *record, size_t channel, const char *expected) {
  char text[128] = "";
  size_t i, n = 0;
  json_t *gap;
  json_array_foreach(json_object_get(file_item(record, "channels", channel), "gaps"), i, gap) {
    n += (size_t)snprintf(text + n, sizeof text - n, "%s%d+%d", i ? " " : "",
                          (int)json_integer_value(json_array_get(gap, 0)),
                          (int)json_integer_value(json_array_get(gap, 1)));
  }
  assert_string_equal(text, expected);
}

static void test_electrodes(void **state) {
  (void)state;
  _buf_cleanup_ struct buf b = make(1500);
  for (unsigned i = 0; i < 10; i++) /* both: F */
    set(&b, i, 0, OFF), set(&b, i, 1, OFF);
  for (unsigned i = 10; i < 12; i++) /* II alone: R */
    set(&b, i, 0, OFF);
  for (unsigned i = 1000; i < 1001; i++) /* III alone, twice: L */
    set(&b, i, 1, OFF), set(&b, i + 5, 1, OFF);
  for (unsigned i = 0; i < 1500; i++)
    set(&b, i, 2, OFF); /* V1 always */
  set(&b, 1499, 7, OFF);
  _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
  assert_int_equal(r.err, 0);
  const json_t *record = r.record[WIRE_OWN];
  file_assert_quality(record, "electrode_off F 1; electrode_off R 1; electrode_off L 2; electrode_off C1 1; "
                              "electrode_off C6 1; file_unchecked  1");
  assert_gaps(record, 0, "0+12");
  assert_gaps(record, 1, "0+10 1000+1 1005+1");
  assert_gaps(record, 2, "0+1500");
  assert_gaps(record, 3, "");
  assert_gaps(record, 7, "1499+1");
  assert_gaps(record, 8, "0+12 1000+1 1005+1"); /* I hangs on both */
  assert_int_equal(file_sample(&r, 0, 12), 12);
  assert_int_equal(file_sample(&r, 1, 1001), 1011);
  assert_int_equal(file_sample(&r, 7, 1498), 1498 + 70);
}

static void test_range(void **state) {
  (void)state;
  _buf_cleanup_ struct buf b = make(40);
  set(&b, 3, 4, 4095);
  set(&b, 4, 4, 0);
  for (unsigned i = 0; i < 16; i++) /* 20 ms */
    set(&b, 10 + i, 5, 4095);
  {
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    assert_int_equal(r.err, 0);
    assert_int_equal(file_sample(&r, 4, 3), 2047);
    assert_int_equal(file_sample(&r, 4, 4), -2048);
    file_assert_quality(r.record[WIRE_OWN], "lead_saturated lead_v4 16; file_unchecked  1");
  }
  static const unsigned beyond[] = {4096, 0x67ff, 0x6801, 0x8000, 0xffff};
  for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
    set(&b, 39, 7, beyond[i]);
    file_refused(DRIVER, b.data, b.len, -ERANGE, "twelve bits");
  }
}

static void test_end(void **state) {
  (void)state;
  _buf_cleanup_ struct buf b = make(10), none = make(0), all_off = make(5);
  for (size_t n = 0; n < b.len; n++) { /* cut anywhere */
    const bool rows = n >= HEADER + 37 && (n - HEADER - 37) % 16 == 0;
    file_refused(DRIVER, b.data, n,
                 !n           ? -ENODATA
                 : n < HEADER ? -ENXIO
                              : -EPROTO,
                 !n           ? "empty"
                 : n < HEADER ? "not a recording"
                 : rows       ? "without the row of zeros"
                              : "whole rows");
  }
  file_refused(DRIVER, none.data, none.len, -ENODATA, "no sample");
  for (unsigned i = 0; i < 5; i++)
    for (unsigned lead = 0; lead < 8; lead++)
      set(&all_off, i, lead, OFF);
  file_refused(DRIVER, all_off.data, all_off.len, -ENODATA, "no sample");

  for (unsigned lead = 0; lead < 8; lead++) /* an end before the end: what stands before it counts */
    set(&b, 6, lead, 0);
  _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
  assert_int_equal(r.err, 0);
  assert_int_equal(json_integer_value(json_object_get(file_item(r.record[WIRE_OWN], "channels", 0), "samples")), 6);
  file_assert_quality(r.record[WIRE_OWN], "file_inconsistent longueurs 1; file_unchecked  1");
  for (unsigned i = 7; i < 10; i++)
    for (unsigned lead = 0; lead < 8; lead++)
      set(&b, i, lead, 0);
  _reading_cleanup_ struct file_reading again = file_decode(DRIVER, b.data, b.len);
  assert_int_equal(again.err, 0);
  file_assert_quality(again.record[WIRE_OWN], "file_unchecked  1"); /* nothing but more zeros */
}

/* Every bit of a short file: refused, or said to be unchecked. */
static void test_flips(void **state) {
  (void)state;
  _buf_cleanup_ struct buf b = make(12);
  unsigned refused = 0;
  for (size_t i = 0; i < 8 * b.len; i++) {
    b.data[i / 8] ^= (uint8_t)(1u << i % 8);
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    if (r.err)
      refused++;
    else
      assert_int_equal(file_noted(r.record[WIRE_OWN], "file_unchecked", ""), 1);
    b.data[i / 8] ^= (uint8_t)(1u << i % 8);
  }
  assert_true(refused > 12 * 8 * 4); /* the bits that no sample has, at least */
}

static void test_real(void **state) {
  (void)state;
  _buf_cleanup_ struct buf b = {0};
  if (!file_find_sample("contec_ecg90a/0000050.ECG", &b)) {
    skip();
    return;
  }
  {
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    assert_int_equal(r.err, 0);
    const json_t *record = r.record[WIRE_OWN];
    assert_int_equal(file_count(record, "channels"), 12);
    for (size_t i = 0; i < 12; i++)
      assert_int_equal(json_integer_value(json_object_get(file_item(record, "channels", i), "samples")), 37855);
    assert_int_equal(file_sample(&r, 0, 0), 2023 - 2048);
    assert_int_equal(file_sample(&r, 1, 37854), 2047 - 2048);
    int low[2] = {0}, high[2] = {0};
    for (size_t i = 0; i < 37855; i++)
      for (size_t lead = 0; lead < 2; lead++) {
        const int v = file_sample(&r, lead, i);
        low[lead] = v < low[lead] ? v : low[lead];
        high[lead] = v > high[lead] ? v : high[lead];
      }
    assert_int_equal(low[0], 1957 - 2048);
    assert_int_equal(high[0], 2231 - 2048);
    assert_int_equal(low[1], 1851 - 2048);
    assert_int_equal(high[1], 2125 - 2048);
    assert_gaps(record, 2, "0+37855");
    assert_string_equal(json_text(file_item(record, "trials", 0), "device_time"), "2020-11-16T21:44:39.000");
    assert_true(json_is_null(json_object_get(record, "subject")));
    file_assert_quality(record, "electrode_off C1 1; electrode_off C2 1; electrode_off C3 1; electrode_off C4 1; "
                                "electrode_off C5 1; electrode_off C6 1; file_unchecked  1");
  }
  for (size_t n = b.len - 1; n > b.len - 100; n--)
    file_refused(DRIVER, b.data, n, -EPROTO, "");
  /* Its beginning and its end are enough for the rest. */
  memmove(b.data + HEADER + 16 * 200, b.data + b.len - 37, 37);
  b.len = HEADER + 16 * 200 + 37;
  for (size_t n = 0; n < b.len; n++) {
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, n);
    assert_true(r.err < 0);
  }
  for (size_t i = 0; i < 8 * b.len; i++) {
    b.data[i / 8] ^= (uint8_t)(1u << i % 8);
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    assert_true(r.err < 0 || file_noted(r.record[WIRE_OWN], "file_unchecked", ""));
    b.data[i / 8] ^= (uint8_t)(1u << i % 8);
  }
  assert_true(file_mutate(DRIVER, b.data, b.len, 1000) < 1000);
}

static int set_up(void **state) {
  (void)state;
  return hash_open();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_whole), cmocka_unit_test(test_ordered),    cmocka_unit_test(test_subject),
      cmocka_unit_test(test_date),  cmocka_unit_test(test_electrodes), cmocka_unit_test(test_range),
      cmocka_unit_test(test_end),   cmocka_unit_test(test_flips),      cmocka_unit_test(test_real),
  };
  cmocka_set_message_output(CM_OUTPUT_TAP);
  return cmocka_run_group_tests(tests, set_up, NULL);
}
