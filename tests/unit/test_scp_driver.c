/* The SCP-ECG driver, on a real file and on small ones made by hand: errors, quirks, and what each encoding must give.
 * What is expected stands here in numbers; nothing of it comes from the driver. */
#include "../../drivers/file_scp_ecg/code.h"
#include "capture.h"
#include "hash.h"
#include "record_build.h"
#include "scp_make.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

extern const struct acq_driver file_scp_ecg;

/* ---- what a record says ------------------------------------------------------------------------------------- */

struct reading {
  int err;
  char reason[256];
  struct record_result result[WIRE_RECORDS];
  json_t *record;
};

static struct reading read_bytes(const uint8_t *bytes, size_t n) {
  struct reading r = {0};
  struct acq_capture capture;
  char why[256] = "";
  assert_int_equal(capture_from_file(bytes, n, &capture), 0);
  r.err = record_decode(&file_scp_ecg, &capture, r.result, r.reason);
  capture_finish(&capture);
  if (r.err == 0 && record_read(r.result[0].json, r.result[0].json_bytes, r.result[0].data,
                                r.result[0].data_values * sizeof(int16_t), &r.record, why) < 0)
    fail_msg("the record is not accepted: %s", why);
  return r;
}

static void reading_finish(struct reading *r) {
  json_decref(r->record);
  for (int i = 0; r->err == 0 && i < WIRE_RECORDS; i++)
    record_result_finish(&r->result[i]);
}

/* The file that was made; it is made no more. */
static struct reading read_made(struct scp_make *m) {
  struct buf file = BUF_INIT(1 << 23);
  scp_make_file(m, &file);
  struct reading r = read_bytes(file.data, file.len);
  buf_finish(&file);
  scp_make_finish(m);
  return r;
}

static const json_t *list(const struct reading *r, const char *name) {
  const json_t *found = json_object_get(json_object_get(r->record, "acquired"), name);
  return found ? found : json_object_get(r->record, name);
}

static const json_t *channel(const struct reading *r, size_t i) {
  const json_t *c = json_array_get(list(r, "channels"), i);
  assert_non_null(c);
  return c;
}

static const int16_t *samples(const struct reading *r, size_t i) {
  return r->result[0].data + json_integer_value(json_object_get(channel(r, i), "first"));
}

static size_t length(const struct reading *r, size_t i) {
  return (size_t)json_integer_value(json_object_get(channel(r, i), "samples"));
}

/* How often that was noted: subject NULL is any. */
static int noted(const struct reading *r, const char *code, const char *subject) {
  int n = 0;
  size_t i;
  json_t *item;
  json_array_foreach(list(r, "quality"), i, item) {
    if (!strcmp(json_text(item, "code"), code) && (!subject || !strcmp(json_text(item, "subject"), subject)))
      n++;
  }
  return n;
}

static size_t quality(const struct reading *r) {
  return json_array_size(list(r, "quality"));
}

static bool stated(const struct reading *r, const char *code, const char *text) {
  size_t i;
  json_t *item;
  json_array_foreach(list(r, "statements"), i, item) {
    if (!strcmp(json_text(item, "code"), code) && !strcmp(json_text(item, "text"), text))
      return true;
  }
  return false;
}

#define ASSERT_READ(r)                         \
  do {                                         \
    if ((r).err)                               \
      fail_msg("%d: %s", (r).err, (r).reason); \
  } while (0)

/* Refused with this error, and a reason that has this text. */
static void assert_refused(struct reading r, int err, const char *why) {
  if (r.err != err || !strstr(r.reason, why))
    fail_msg("%d (%s), where %d (%s) was expected", r.err, r.reason, err, why);
  reading_finish(&r);
}

/* ---- a plain file ------------------------------------------------------------------------------------------- */

#define N 40

static int16_t wave(unsigned lead, unsigned i) {
  return (int16_t)((int)(i * i * 7 + lead * 31) % 997 - 400);
}

static void put_wave(struct scp_make *m, unsigned lead, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    buf_u16le(&m->section[6], (uint16_t)wave(lead, i));
}

static void put_clock(struct scp_make *m) {
  scp_date(m, 25, 2026, 3, 2);
  scp_time(m, 9, 8, 7);
}

/* Leads I and II, N 16-bit numbers each, 500 Hz, 5 uV. */
static void make_plain(struct scp_make *m) {
  static const uint16_t lengths[] = {2 * N, 2 * N};
  scp_make_init(m);
  put_clock(m);
  scp_field(m, 255, "", 0);
  scp_leads(m, 2, 0x14);
  scp_lead(m, 1, N, 1);
  scp_lead(m, 1, N, 2);
  scp_signal(m, 6, 5000, 2000, 0, 0, lengths, 2);
  put_wave(m, 0, N);
  put_wave(m, 1, N);
}

static void test_plain(void **state) {
  (void)state;
  struct scp_make m;
  make_plain(&m);
  struct reading r = read_made(&m);
  ASSERT_READ(r);
  assert_int_equal(json_array_size(list(&r, "channels")), 6); /* the other limb leads follow */
  for (unsigned lead = 0; lead < 2; lead++) {
    assert_string_equal(json_text(channel(&r, lead), "code"), lead ? "lead_ii" : "lead_i");
    assert_string_equal(json_text(channel(&r, lead), "rate"), "500");
    assert_string_equal(json_text(channel(&r, lead), "scale"), "5");
    assert_int_equal(length(&r, lead), N);
    for (unsigned i = 0; i < N; i++)
      assert_int_equal(samples(&r, lead)[i], wave(lead, i));
  }
  const json_t *trial = json_array_get(list(&r, "trials"), 0);
  assert_string_equal(json_text(trial, "device_time"), "2026-03-02T09:08:07.000");
  assert_int_equal(quality(&r), 0);
  assert_true(json_is_null(json_object_get(r.record, "subject")));
  reading_finish(&r);
}

/* ---- the real file ------------------------------------------------------------------------------------------ */

static size_t read_sample(const char *name, uint8_t *bytes, size_t max) {
  const char *root = getenv("ASALEED_SAMPLES");
  char path[1024];
  snprintf(path, sizeof path, "%s/%s", root ? root : "", name);
  FILE *f = root ? fopen(path, "rb") : NULL;
  if (!f) {
    print_message("skipped: no %s in ASALEED_SAMPLES\n", name);
    return 0;
  }
  const size_t n = fread(bytes, 1, max, f);
  fclose(f);
  return n;
}

#define EXAMPLE "scp_ecg/Example.scp"

/* The hash is that of the samples, as little-endian numbers lead by lead, that an independent decoder gave. */
static void test_example(void **state) {
  (void)state;
  static uint8_t bytes[65536];
  static const char *const codes[] = {"lead_i",  "lead_ii", "lead_v1",  "lead_v2",  "lead_v3",  "lead_v4",
                                      "lead_v5", "lead_v6", "lead_iii", "lead_avr", "lead_avl", "lead_avf"};
  const size_t n = read_sample(EXAMPLE, bytes, sizeof bytes);
  if (!n)
    skip();
  struct reading r = read_bytes(bytes, n);
  ASSERT_READ(r);
  assert_int_equal(json_array_size(list(&r, "channels")), 12);
  for (size_t i = 0; i < 12; i++) {
    assert_string_equal(json_text(channel(&r, i), "code"), codes[i]);
    assert_string_equal(json_text(channel(&r, i), "rate"), "500");
    assert_string_equal(json_text(channel(&r, i), "scale"), "2.5");
    assert_int_equal(length(&r, i), 5000);
  }
  assert_string_equal(json_text(list(&r, "data"), "sha256"),
                      "edc4700a00dbcf7d021d38dd316c28414bbe7ae086ab7961be45cfe28eccd404");
  assert_int_equal(samples(&r, 8)[0], samples(&r, 1)[0] - samples(&r, 0)[0]);
  const json_t *subject = json_object_get(r.record, "subject"), *device = json_object_get(r.record, "device");
  assert_string_equal(json_text(subject, "family"), "Clark");
  assert_string_equal(json_text(subject, "id"), "SBJ-123");
  assert_string_equal(json_text(subject, "birth_date"), "1953-05-08");
  assert_string_equal(json_text(subject, "sex"), "M");
  assert_string_equal(json_text(device, "model"), "ELI250");
  assert_string_equal(json_text(device, "make"), "ECGConversion");
  assert_string_equal(json_text(json_array_get(list(&r, "trials"), 0), "device_time"), "2002-11-22T09:10:00.000");
  assert_true(stated(&r, "measurement",
                     "P : 102 ms, PR : 148 ms, QRS : 120 ms, QT : 420 ms, axe de P : 44°, axe de QRS : -61°, axe de "
                     "T : 86°"));
  assert_true(stated(&r, "measurement", "QTc : 443 ms"));
  assert_int_equal(quality(&r), 0);
  reading_finish(&r);
}

/* The same file as if its reference beat had been subtracted from samples 1000 to 1598. The hash is that of its samples
 * with the median beat added there as another format, HL7 aECG, has it of the same recording. */
static void test_example_beat(void **state) {
  (void)state;
  static uint8_t bytes[65536];
  static const uint8_t four[] = {0xae, 4, 44, 1, 1, 0, 0, 0, 0xe8, 3, 0, 0, 0x13, 5, 0, 0, 0x3e, 6, 0, 0};
  const size_t n = read_sample(EXAMPLE, bytes, sizeof bytes);
  struct scp_make m;
  if (!n)
    skip();
  scp_make_init(&m);
  for (unsigned i = 1; i < 8; i++)
    buf_add(&m.section[i], bytes + scp_get_u32(bytes + 22 + 10 * i + 6) - 1 + 16,
            scp_get_u32(bytes + 22 + 10 * i + 2) - 16);
  m.section[3].data[1] |= 1;
  buf_reset(&m.section[4]);
  buf_add(&m.section[4], four, sizeof four);
  struct reading r = read_made(&m);
  ASSERT_READ(r);
  assert_string_equal(json_text(list(&r, "data"), "sha256"),
                      "fe99746ca2a9cfcb9ebe6f75cd617c5b413860a7cdf91d225b9d590a2fbf7e3d");
  assert_int_equal(noted(&r, "signal_reconstructed", "complexe moyen"), 1);
  reading_finish(&r);
}

/* Every truncation, every bit of the first kilobyte (file, pointers, sections 1 to 5) and of the last 256 bytes, and
 * one bit of each third byte of the rest: all bits are behind the same two checksums. */
static void test_example_damaged(void **state) {
  (void)state;
  static uint8_t bytes[65536];
  const size_t n = read_sample(EXAMPLE, bytes, sizeof bytes);
  if (!n)
    skip();
  for (size_t cut = 1; cut < n; cut++) {
    struct reading r = read_bytes(bytes, cut);
    if (r.err != (cut < 22 ? -ENXIO : -EPROTO))
      fail_msg("%zu bytes: %d, %s", cut, r.err, r.reason);
    reading_finish(&r);
  }
  for (size_t bit = 0; bit < 8 * n; bit++) {
    const size_t at = bit / 8;
    if (at >= 1024 && at < n - 256 && (at % 3 || bit % 8 != at / 3 % 8))
      continue;
    bytes[at] ^= (uint8_t)(1 << bit % 8);
    struct reading r = read_bytes(bytes, n);
    if (r.err != -EBADMSG && r.err != -ENXIO && r.err != -EPROTO)
      fail_msg("bit %zu: %d, %s", bit, r.err, r.reason);
    reading_finish(&r);
    bytes[at] ^= (uint8_t)(1 << bit % 8);
  }
}

/* Random damage with right checksums: anything but a crash, and what is read is a record. */
static void test_example_mutated(void **state) {
  (void)state;
  static uint8_t bytes[65536], work[65536];
  const size_t n = read_sample(EXAMPLE, bytes, sizeof bytes);
  uint32_t dice = 12345;
  unsigned read = 0;
  if (!n)
    skip();
  for (unsigned round = 0; round < 1000; round++) {
    memcpy(work, bytes, n);
    for (unsigned k = 0; k < 1 + round % 4; k++) {
      dice = dice * 1664525 + 1013904223;
      const size_t at = round % 2 ? 6 + (dice >> 8) % 4000 : (dice >> 8) % n;
      work[at] = (uint8_t)(dice >> 24);
    }
    scp_repair(work, n);
    struct reading r = read_bytes(work, n);
    read += r.err == 0;
    reading_finish(&r);
  }
  assert_true(read > 100);
}

static void test_other_files(void **state) {
  (void)state;
  static const char *const names[] = {"healforce/prince180d_62.SCP", "contec_ecg90a/0000050.ECG",
                                      "dicom_ecg/ECGToolkit_Example.dcm", "hl7_aecg/ECGToolkit_Example.xml"};
  static uint8_t bytes[1 << 20];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const size_t n = read_sample(names[i], bytes, sizeof bytes);
    if (n)
      assert_refused(read_bytes(bytes, n), -ENXIO, "not an SCP-ECG file");
  }
  memset(bytes, 0, 4096);
  assert_refused(read_bytes(bytes, 4096), -ENXIO, "not an SCP-ECG file");
  assert_refused(read_bytes(bytes, 1), -ENXIO, "not an SCP-ECG file");
}

/* ---- the container ------------------------------------------------------------------------------------------ */

static void plain_file(struct buf *file) {
  struct scp_make m;
  make_plain(&m);
  scp_make_file(&m, file);
  scp_make_finish(&m);
}

#define POINTER(section) (22 + 10 * (size_t)(section))

static void test_container_refused(void **state) {
  (void)state;
  static const struct {
    size_t at;
    uint32_t value;
    unsigned bytes;
    bool repair;
    int err;
    const char *why;
  } v[] = {
      {0, 0x1234, 2, false, -EBADMSG, "checksum of the file"},
      {200, 0x77, 1, false, -EBADMSG, "checksum of the file"},
      {2, 0x10, 4, false, -EPROTO, "shorter than its first section"},
      {8, 1, 2, true, -ENXIO, "not an SCP-ECG"},
      {10, 200000, 4, true, -EPROTO, "no row of pointers"},
      {10, 135, 4, true, -EPROTO, "no row of pointers"},
      {15, 30, 1, true, -EOPNOTSUPP, "version 3"},
      {POINTER(0) + 6, 6, 4, true, -EPROTO, "section 0 is not where"},
      {POINTER(3) + 6, 100000, 4, true, -EPROTO, "section 3 leads outside"},
      {POINTER(3) + 6, 0, 4, true, -EPROTO, "section 3 leads outside"},
      {POINTER(3) + 6, 0xffffffff, 4, true, -EPROTO, "section 3 leads outside"},
      {POINTER(3) + 2, 0xffffffff, 4, true, -EPROTO, "section 3 leads outside"},
      {POINTER(3) + 2, 15, 4, true, -EPROTO, "section 3 leads outside"},
      {POINTER(3) + 6, 7, 4, true, -EPROTO, "section 3 overlaps"},
      {POINTER(6) + 6, 205, 4, true, -EPROTO, "section 6 overlaps"},
      {POINTER(3) + 2, 30, 4, true, -EPROTO, "section 3 is not where"},
      {POINTER(3), 1, 2, true, -EPROTO, "section 1 is there twice"},
      {POINTER(3), 4, 2, true, -EPROTO, "section 4 is not where"},
      {POINTER(3), 1000, 2, true, -EPROTO, "does not say of which leads"}, /* a manufacturer's is looked past */
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct buf file = BUF_INIT(1 << 16);
    plain_file(&file);
    for (unsigned k = 0; k < v[i].bytes; k++)
      file.data[v[i].at + k] = (uint8_t)(v[i].value >> 8 * k);
    if (v[i].repair)
      scp_repair(file.data, file.len);
    struct reading r = read_bytes(file.data, file.len);
    if (r.err != v[i].err || !strstr(r.reason, v[i].why))
      fail_msg("case %zu: %d, %s", i, r.err, r.reason);
    buf_finish(&file);
  }
}

static uint32_t index_of(const struct buf *file, unsigned section) {
  return scp_get_u32(file->data + POINTER(section) + 6) - 1;
}

static void test_container_read(void **state) {
  (void)state;
  for (int kind = 0; kind < 7; kind++) {
    struct buf file = BUF_INIT(1 << 16);
    plain_file(&file);
    uint8_t *p = file.data, swap[10];
    if (kind == 0) /* in another order */
      for (unsigned i = 1; i < 6; i++) {
        memcpy(swap, p + POINTER(i), 10);
        memcpy(p + POINTER(i), p + POINTER(12 - i), 10);
        memcpy(p + POINTER(12 - i), swap, 10);
      }
    if (kind == 1) /* before version 1.3 */
      memset(p + 16, 0, 6);
    if (kind == 2)
      memset(p + 16, ' ', 6);
    if (kind == 3 || kind == 4)
      buf_add(&file, "\x1a\x1a\x1a", 3); /* as a transfer by blocks leaves it */
    scp_repair(file.data, kind == 3 ? file.len - 3 : file.len);
    if (kind == 5 || kind == 6) {
      uint8_t *six = file.data + index_of(&file, 6);
      scp_put_u16(six, kind == 5 ? 0xffff : 0xfffe);
      scp_put_u16(file.data, crc16_ccitt(CRC16_CCITT_FALSE_INIT, file.data + 2, file.len - 2));
    }
    struct reading r = read_bytes(file.data, file.len);
    if (kind == 6) {
      assert_refused(r, -EBADMSG, "checksum of section 6");
      buf_finish(&file);
      continue;
    }
    ASSERT_READ(r);
    assert_int_equal(samples(&r, 1)[N - 1], wave(1, N - 1));
    assert_int_equal(noted(&r, "file_inconsistent", "longueurs"), kind == 3);
    assert_int_equal(noted(&r, "file_unchecked", "section 6"), kind == 5);
    assert_int_equal(quality(&r), kind == 3 || kind == 5);
    reading_finish(&r);
    buf_finish(&file);
  }
}

/* ---- codes -------------------------------------------------------------------------------------------------- */

static struct scp_codes *open_codes(const struct buf *body) {
  struct scp_codes *c = NULL;
  const char *why = "";
  if (scp_codes_open(acq_cur(body->data, body->len), &c, &why) < 0)
    fail_msg("%s", why);
  return c;
}

/* Streams of every length, quiet and wild, come out as they went in, and not a value more. */
static void test_default_codes(void **state) {
  (void)state;
  static int32_t in[5000], out[5000 + SCP_SLACK];
  const uint8_t number[] = {0x1f, 0x4e};
  const char *why = "";
  struct scp_codes *c = NULL;
  assert_int_equal(scp_codes_open(acq_cur(number, 2), &c, &why), 0);
  uint32_t dice = 99;
  for (unsigned round = 0; round < 400; round++) {
    const size_t n = round < 200 ? round : 1 + (dice >> 4) % 5000;
    struct scp_bits bits = {BUF_INIT(1 << 18), 0};
    for (size_t i = 0; i < n; i++) {
      dice = dice * 1664525 + 1013904223;
      const unsigned kind = (dice >> 16) % 32;
      in[i] = kind < round % 30 ? (int)(dice >> 24) % 5 - 2 : kind < 30 ? (int)(dice >> 20) % 700 - 350 : (int16_t)dice;
      scp_bits_value(&bits, in[i]);
    }
    struct scp_stream s = scp_codes_read(c, bits.bytes.data, bits.bytes.len, out, n);
    assert_int_equal(s.n, n);
    assert_int_equal(s.end, SCP_WHOLE);
    assert_int_equal(s.bits_left, 8 * bits.bytes.len - bits.n);
    for (size_t i = 0; i < n; i++)
      if (in[i] != out[i])
        fail_msg("round %u: value %zu is %d, not %d", round, i, out[i], in[i]);
    s = scp_codes_read(c, bits.bytes.data, bits.bytes.len, out, n + 8);
    assert_true(s.n >= n && s.n < n + 8 && s.end == SCP_SHORT); /* padding is at most seven zeros */
    buf_finish(&bits.bytes);
  }
}

/* Two tables: long prefixes, numbers behind one with a base, and back and forth between them. */
static void test_own_codes(void **state) {
  (void)state;
  struct scp_make m;
  struct scp_bits bits = {BUF_INIT(1 << 12), 0};
  int32_t out[32 + SCP_SLACK];
  static const int32_t want[] = {0, 200, -7, 90, 113, 86, 3, 1, 0, -30000, 1 << 23};
  scp_make_init(&m);
  buf_u16le(&m.section[2], 2);
  buf_u16le(&m.section[2], 6);
  scp_code(&m, 1, 1, 1, 0, 0);         /* 0 */
  scp_code(&m, 2, 2, 1, 200, 1);       /* 10 */
  scp_code(&m, 3, 3, 1, -7, 3);        /* 110 */
  scp_code(&m, 4, 9, 1, 100, 7);       /* 1110 and five bits */
  scp_code(&m, 5, 5, 0, 2, 15);        /* 11110: the second table */
  scp_code(&m, 20, 20, 1, 3, 0xfffff); /* twenty ones */
  buf_u16le(&m.section[2], 4);
  scp_code(&m, 1, 1, 1, 1, 1);                 /* 1 */
  scp_code(&m, 2, 2, 0, 1, 0);                 /* 00: the first one */
  scp_code(&m, 32, 32, 1, -30000, 0xfffffffe); /* 0 and 31 ones */
  scp_code(&m, 3, 27, 1, 0, 2);                /* 010 and 24 bits */
  scp_bits_put(&bits, 0, 1);
  scp_bits_put(&bits, 2, 2);
  scp_bits_put(&bits, 6, 3);
  scp_bits_put(&bits, 14, 4);
  scp_bits_put(&bits, 0x16, 5); /* -10 */
  scp_bits_put(&bits, 14, 4);
  scp_bits_put(&bits, 13, 5);
  scp_bits_put(&bits, 14, 4);
  scp_bits_put(&bits, 0x12, 5); /* -14 */
  scp_bits_put(&bits, 0xfffff, 20);
  scp_bits_put(&bits, 0x1e, 5);
  scp_bits_put(&bits, 1, 1);
  scp_bits_put(&bits, 0, 2);
  scp_bits_put(&bits, 0, 1);
  scp_bits_put(&bits, 0x1e, 5);
  scp_bits_put(&bits, 0x7fffffff, 32);
  scp_bits_put(&bits, 2, 3);
  scp_bits_put(&bits, 0x7fffff, 24);
  struct scp_codes *c = open_codes(&m.section[2]);
  struct scp_stream s = scp_codes_read(c, bits.bytes.data, bits.bytes.len, out, 11);
  assert_int_equal(s.n, 11);
  for (size_t i = 0; i < 10; i++)
    assert_int_equal(out[i], want[i]);
  assert_int_equal(out[10], 0x7fffff);
  /* Bits that begin no code, with more behind them than any code is long. */
  static const uint8_t none[] = {0xf8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  s = scp_codes_read(c, none, sizeof none, out, 32);
  assert_int_equal(s.end, SCP_NO_CODE);
  assert_int_equal(s.n, 0);
  buf_finish(&bits.bytes);
  scp_make_finish(&m);
}

static void test_codes_refused(void **state) {
  (void)state;
  static const struct {
    uint8_t prefix[2], whole[2], mode;
    int16_t base;
    uint32_t bits[2];
    const char *why;
  } v[] = {
      {{1, 0}, {1, 0}, 1, 0, {0, 0}, "cannot be"},           {{1, 2}, {1, 1}, 1, 0, {0, 1}, "cannot be"},
      {{1, 33}, {1, 33}, 1, 0, {0, 1}, "cannot be"},         {{1, 2}, {1, 40}, 1, 0, {0, 1}, "cannot be"},
      {{1, 2}, {1, 2}, 0, 0, {0, 1}, "cannot be"},           {{1, 2}, {1, 2}, 0, 3, {0, 1}, "cannot be"},
      {{1, 2}, {1, 4}, 0, 1, {0, 1}, "cannot be"},           {{1, 2}, {1, 2}, 1, 0, {0, 2}, "begins with another"},
      {{2, 1}, {2, 1}, 1, 0, {2, 0}, "begins with another"}, {{2, 2}, {2, 2}, 1, 0, {2, 2}, "begins with another"},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct scp_make m;
    make_plain(&m);
    buf_u16le(&m.section[2], 1);
    buf_u16le(&m.section[2], 2);
    scp_code(&m, v[i].prefix[0], v[i].whole[0], 1, 0, v[i].bits[0]);
    scp_code(&m, v[i].prefix[1], v[i].whole[1], v[i].mode, v[i].base, v[i].bits[1]);
    assert_refused(read_made(&m), -EPROTO, v[i].why);
  }
  static const uint16_t counts[][2] = {{1, 0}, {33, 1}, {2, 1}, {1, 3}};
  for (size_t i = 0; i < 4; i++) {
    struct scp_make m;
    make_plain(&m);
    buf_u16le(&m.section[2], counts[i][0]);
    buf_u16le(&m.section[2], counts[i][1]);
    scp_code(&m, 1, 1, 1, 0, 0);
    assert_refused(read_made(&m), -EPROTO, "section 2");
  }
}

/* ---- leads and lengths -------------------------------------------------------------------------------------- */

/* A file with leads of these ids, first and last samples, each with as many bytes of numbers as its length says. */
struct plan {
  unsigned n;
  struct {
    uint32_t first, last;
    uint8_t id;
    uint16_t length;
  } lead[8];
};

static void make_planned(struct scp_make *m, const struct plan *plan, uint8_t difference) {
  uint16_t lengths[8];
  scp_make_init(m);
  put_clock(m);
  scp_field(m, 255, "", 0);
  scp_leads(m, (uint8_t)plan->n, 0);
  for (unsigned i = 0; i < plan->n; i++) {
    scp_lead(m, plan->lead[i].first, plan->lead[i].last, plan->lead[i].id);
    lengths[i] = plan->lead[i].length;
  }
  scp_signal(m, 6, 1000, 4000, difference, 0, lengths, plan->n);
  for (unsigned i = 0; i < plan->n; i++)
    put_wave(m, i, plan->lead[i].length / 2);
}

static size_t gaps(const struct reading *r, size_t i) {
  return json_array_size(json_object_get(channel(r, i), "gaps"));
}

static void test_leads_apart(void **state) {
  (void)state;
  struct scp_make m;
  make_planned(&m, &(struct plan){3, {{11, 30, 3, 40}, {31, 50, 4, 40}, {16, 20, 5, 10}}}, 0);
  struct reading r = read_made(&m);
  ASSERT_READ(r);
  static const unsigned first[] = {0, 20, 5}, n[] = {20, 20, 5};
  for (unsigned lead = 0; lead < 3; lead++) {
    assert_int_equal(length(&r, lead), 40);
    for (unsigned i = 0; i < 40; i++)
      assert_int_equal(samples(&r, lead)[i],
                       i >= first[lead] && i < first[lead] + n[lead] ? wave(lead, i - first[lead]) : ACQ_GAP);
  }
  assert_int_equal(gaps(&r, 0), 1);
  assert_int_equal(gaps(&r, 2), 2);
  assert_int_equal(quality(&r), 0);
  reading_finish(&r);
}

static void test_leads_odd(void **state) {
  (void)state;
  struct scp_make m;
  /* Numbered from 0; with and without one more than there are; no name for one; one twice. */
  for (unsigned last = 19; last <= 20; last++) {
    make_planned(&m, &(struct plan){3, {{0, last, 1, 40}, {0, last, 16, 40}, {0, last, 1, 40}}}, 0);
    struct reading r = read_made(&m);
    ASSERT_READ(r);
    assert_int_equal(length(&r, 0), 20);
    assert_int_equal(gaps(&r, 0), 0);
    assert_string_equal(json_text(channel(&r, 0), "code"), "lead_i");
    assert_string_equal(json_text(channel(&r, 1), "code"), "lead_unspecified");
    assert_string_equal(json_text(channel(&r, 2), "code"), "lead_unspecified");
    assert_true(stated(&r, "comment", "Voie 2 du fichier : dérivation SCP-ECG n° 16."));
    assert_int_equal(noted(&r, "file_inconsistent", "dérivations"), 1);
    assert_int_equal(quality(&r), 1);
    reading_finish(&r);
  }
  static const uint8_t said[] = {2, 8, 255};
  for (unsigned i = 0; i < 3; i++) { /* counted wrong */
    make_planned(&m, &(struct plan){3, {{1, 20, 1, 40}, {1, 20, 2, 40}, {1, 20, 3, 40}}}, 0);
    m.section[3].data[0] = said[i];
    struct reading r = read_made(&m);
    ASSERT_READ(r);
    assert_int_equal(length(&r, 2), 20);
    assert_string_equal(json_text(channel(&r, 2), "code"), "lead_v1");
    assert_int_equal(samples(&r, 2)[19], wave(2, 19));
    assert_int_equal(noted(&r, "file_inconsistent", "dérivations"), 1);
    reading_finish(&r);
  }
  make_planned(&m, &(struct plan){1, {{20, 1, 1, 40}}}, 0);
  assert_refused(read_made(&m), -EPROTO, "without samples");
  make_planned(&m, &(struct plan){1, {{1, 1u << 23, 1, 40}}}, 0);
  assert_refused(read_made(&m), -EPROTO, "more than a record holds");
  make_planned(&m, &(struct plan){2, {{1, 20, 1, 40}, {0xffffff00, 0xffffff13, 2, 40}}}, 0);
  assert_refused(read_made(&m), -EPROTO, "further apart");
  make_planned(&m, &(struct plan){0, {{0}}}, 0);
  assert_refused(read_made(&m), -ENODATA, "lists no lead");
}

static void test_lengths(void **state) {
  (void)state;
  struct scp_make m;
  /* The recording is shorter than section 3 says. */
  make_planned(&m, &(struct plan){2, {{1, 30, 1, 40}, {1, 30, 2, 40}}}, 0);
  struct reading r = read_made(&m);
  ASSERT_READ(r);
  assert_int_equal(length(&r, 0), 20);
  assert_int_equal(noted(&r, "file_shortened", "section 6"), 1);
  reading_finish(&r);
  make_planned(&m, &(struct plan){2, {{1, 30, 1, 60}, {1, 30, 2, 40}}}, 0); /* one lead only */
  r = read_made(&m);
  ASSERT_READ(r);
  assert_int_equal(length(&r, 1), 30);
  assert_int_equal(samples(&r, 1)[20], ACQ_GAP);
  assert_int_equal(noted(&r, "file_shortened", "section 6"), 1);
  reading_finish(&r);
  make_planned(&m, &(struct plan){1, {{1, 50, 1, 40}}}, 0); /* more than half is not there */
  assert_refused(read_made(&m), -EPROTO, "end before its samples");
  make_planned(&m, &(struct plan){1, {{1, 10, 1, 40}}}, 0); /* more than section 3 says */
  r = read_made(&m);
  ASSERT_READ(r);
  assert_int_equal(length(&r, 0), 10);
  assert_int_equal(noted(&r, "file_inconsistent", "longueurs"), 1);
  reading_finish(&r);
  make_planned(&m, &(struct plan){1, {{1, 20, 1, 40}}}, 0);
  scp_put_u16(m.section[6].data + 6, 200);
  assert_refused(read_made(&m), -EPROTO, "do not fit");
}

/* Lengths of 16 bits of a recording that is longer: cut at it, or all there. */
static void test_lengths_full(void **state) {
  (void)state;
  static const uint16_t lengths[] = {65534, 65534};
  for (unsigned whole = 0; whole < 2; whole++) {
    const unsigned n = whole ? 40000 : 32767;
    struct scp_make m;
    scp_make_init(&m);
    scp_leads(&m, 2, 0);
    scp_lead(&m, 1, 40000, 1);
    scp_lead(&m, 1, 40000, 3);
    scp_signal(&m, 6, 1000, 1250, 0, 0, lengths, 2);
    put_wave(&m, 0, n);
    put_wave(&m, 1, n);
    struct reading r = read_made(&m);
    ASSERT_READ(r);
    assert_int_equal(length(&r, 1), n);
    assert_int_equal(samples(&r, 1)[n - 1], wave(1, n - 1));
    assert_string_equal(json_text(channel(&r, 0), "rate"), "800");
    assert_int_equal(noted(&r, "file_shortened", "section 6"), !whole);
    assert_int_equal(noted(&r, "file_inconsistent", "longueurs"), whole);
    reading_finish(&r);
  }
}

/* A corpuls leaves the lengths out; another make that does so is not understood. */
static void test_no_lengths(void **state) {
  (void)state;
  for (unsigned known = 0; known < 2; known++) {
    const char *const texts[] = {"1", "2", "3", known ? "Corpuls GmbH" : "Other"};
    struct scp_make m;
    scp_make_init(&m);
    scp_instrument(&m, 1, 255, "C3", texts);
    scp_leads(&m, 2, 0);
    scp_lead(&m, 1, N, 1);
    scp_lead(&m, 1, N, 3);
    scp_signal(&m, 6, 1000, 2000, 0, 0, NULL, 0);
    buf_u16le(&m.section[6], 30000); /* the first number, no length */
    put_wave(&m, 0, N - 1);
    put_wave(&m, 1, N);
    struct reading r = read_made(&m);
    if (!known) {
      assert_refused(r, -EPROTO, "do not fit");
      continue;
    }
    ASSERT_READ(r);
    assert_int_equal(samples(&r, 0)[0], 30000);
    assert_int_equal(samples(&r, 1)[N - 1], wave(1, N - 1));
    assert_int_equal(noted(&r, "file_inconsistent", "longueurs"), 1);
    reading_finish(&r);
  }
}

/* A packed lead that ends early loses its last two bytes, which may be padding. */
static void test_packed_short(void **state) {
  (void)state;
  struct scp_bits bits = {BUF_INIT(4096), 0};
  for (unsigned i = 0; i < 40; i++)
    scp_bits_value(&bits, 30 + (int)i); /* 18 bits each, 90 bytes */
  for (unsigned want = 40; want <= 100; want += 30) {
    struct scp_make m;
    const uint16_t lengths[] = {(uint16_t)bits.bytes.len};
    scp_make_init(&m);
    buf_u16le(&m.section[2], 19999);
    scp_leads(&m, 1, 0);
    scp_lead(&m, 1, want, 1);
    scp_signal(&m, 6, 1000, 2000, 0, 0, lengths, 1);
    buf_add(&m.section[6], bits.bytes.data, bits.bytes.len);
    struct reading r = read_made(&m);
    if (want == 100) {
      assert_refused(r, -EPROTO, "end before its samples");
      continue;
    }
    ASSERT_READ(r);
    assert_int_equal(length(&r, 0), want == 40 ? 40 : 39);
    assert_int_equal(samples(&r, 0)[38], 68);
    assert_int_equal(noted(&r, "file_shortened", NULL), want == 70);
    reading_finish(&r);
  }
  buf_finish(&bits.bytes);
}

/* ---- values ------------------------------------------------------------------------------------------------- */

static struct reading read_values(const int16_t *values, uint32_t n, uint8_t difference) {
  struct scp_make m;
  const uint16_t lengths[] = {(uint16_t)(2 * n)};
  scp_make_init(&m);
  scp_leads(&m, 1, 0);
  scp_lead(&m, 1, n, 1);
  scp_signal(&m, 6, 1000, 2000, difference, 0, lengths, 1);
  scp_numbers(&m, 6, values, n);
  return read_made(&m);
}

static void test_differences(void **state) {
  (void)state;
  static const int16_t in[] = {100, 90, -5, 7, 0, -300}, want[3][6] = {{100, 90, -5, 7, 0, -300},
                                                                       {100, 190, 185, 192, 192, -108},
                                                                       {100, 90, 75, 67, 59, -249}};
  for (uint8_t order = 0; order < 3; order++) {
    struct reading r = read_values(in, 6, order);
    ASSERT_READ(r);
    for (size_t i = 0; i < 6; i++)
      assert_int_equal(samples(&r, 0)[i], want[order][i]);
    reading_finish(&r);
  }
  static const int16_t far[] = {32767, 1}, missing[] = {0, INT16_MIN}, wild[64] = {[0 ... 63] = 32767};
  assert_refused(read_values(far, 2, 1), -ERANGE, "16 bits");
  assert_refused(read_values(missing, 2, 0), -ERANGE, "missing");
  assert_refused(read_values(wild, 64, 2), -ERANGE, "range");
  assert_refused(read_values(in, 6, 3), -EPROTO, "packed in a way");
}

static void test_rate_and_scale(void **state) {
  (void)state;
  static const struct {
    uint16_t us, nv;
    const char *rate, *scale;
  } v[] = {{1000, 1, "1000", "0.001"},
           {2000, 2500, "500", "2.5"},
           {4000, 10000, "250", "10"},
           {1250, 4880, "800", "4.88"},
           {4096, 5, "244.140625", "0.005"},
           {3000, 1000, "333.333333", "1"},
           {65535, 65535, "15.2590219", "65.535"}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct scp_make m;
    make_plain(&m);
    scp_put_u16(m.section[6].data, v[i].nv);
    scp_put_u16(m.section[6].data + 2, v[i].us);
    struct reading r = read_made(&m);
    ASSERT_READ(r);
    assert_string_equal(json_text(channel(&r, 0), "rate"), v[i].rate);
    assert_string_equal(json_text(channel(&r, 0), "scale"), v[i].scale);
    reading_finish(&r);
  }
  for (unsigned at = 0; at < 4; at += 2) {
    struct scp_make m;
    make_plain(&m);
    scp_put_u16(m.section[6].data + at, 0);
    assert_refused(read_made(&m), -ERANGE, "no scale or no rate");
  }
}

static void test_no_rhythm(void **state) {
  (void)state;
  struct scp_make m;
  make_plain(&m);
  buf_reset(&m.section[6]);
  assert_refused(read_made(&m), -ENODATA, "no rhythm");
  make_plain(&m);
  buf_add(&m.section[5], m.section[6].data, m.section[6].len);
  buf_reset(&m.section[6]);
  assert_refused(read_made(&m), -ENODATA, "a reference beat and no rhythm");
}

/* ---- abridged signals --------------------------------------------------------------------------------------- */

struct abridged {
  uint8_t flags, bimodal, protocol;
  uint16_t beat_us, beat_nv, fiducial;
  uint32_t beats[2][3], zones[2][2];
  unsigned n_zones;
};

/* One lead, samples 1 to 30, of `n` values 10, 20, 30...; the reference beat is 100, 200 ... 800. */
static struct reading read_abridged(const struct abridged *a, unsigned n, uint16_t us) {
  struct scp_make m;
  const uint16_t length[] = {(uint16_t)(2 * n)}, beat[] = {16};
  scp_make_init(&m);
  put_clock(&m);
  scp_field(&m, 255, "", 0);
  m.protocol = a->protocol;
  scp_leads(&m, 1, a->flags);
  scp_lead(&m, 1, 30, 1);
  buf_u16le(&m.section[4], (uint16_t)(8 * a->beat_us / 1000));
  buf_u16le(&m.section[4], a->fiducial);
  buf_u16le(&m.section[4], 2);
  for (unsigned i = 0; i < 2; i++) {
    buf_u16le(&m.section[4], 0);
    for (unsigned k = 0; k < 3; k++)
      buf_u32le(&m.section[4], a->beats[i][k]);
  }
  for (unsigned i = 0; i < a->n_zones; i++)
    for (unsigned k = 0; k < 2; k++)
      buf_u32le(&m.section[4], a->zones[i][k]);
  scp_signal(&m, 5, a->beat_nv, a->beat_us, 0, 0, beat, 1);
  for (unsigned i = 1; i <= 8; i++)
    buf_u16le(&m.section[5], (uint16_t)(100 * i));
  scp_signal(&m, 6, 1000, us, 0, a->bimodal, length, 1);
  for (unsigned i = 1; i <= n; i++)
    buf_u16le(&m.section[6], (uint16_t)(10 * i));
  return read_made(&m);
}

static void test_subtracted(void **state) {
  (void)state;
  /* The fiducial sample 3 of the beat lies on 7 and on 20. */
  struct abridged a = {1, 0, 20, 2000, 1000, 3, {{6, 7, 9}, {18, 20, 25}}, {{0}}, 0};
  struct reading r = read_abridged(&a, 30, 2000);
  ASSERT_READ(r);
  for (int i = 1; i <= 30; i++) {
    const int put = i >= 6 && i <= 9 ? 100 * (i - 4) : i >= 18 && i <= 25 ? 100 * (i - 17) : 0;
    assert_int_equal(samples(&r, 0)[i - 1], 10 * i + put);
  }
  assert_int_equal(noted(&r, "signal_reconstructed", "complexe moyen"), 1);
  assert_int_equal(quality(&r), 1);
  reading_finish(&r);
  /* A finer beat makes a finer scale; a coarser one is brought to the rhythm's. */
  a.beat_nv = 500;
  r = read_abridged(&a, 30, 2000);
  ASSERT_READ(r);
  assert_string_equal(json_text(channel(&r, 0), "scale"), "0.5");
  assert_int_equal(samples(&r, 0)[0], 20);
  assert_int_equal(samples(&r, 0)[6], 140 + 300);
  reading_finish(&r);
  a.beat_nv = 1003;
  r = read_abridged(&a, 30, 2000);
  ASSERT_READ(r);
  assert_string_equal(json_text(channel(&r, 0), "scale"), "1");
  assert_int_equal(samples(&r, 0)[5], 60 + 201); /* 200.6 */
  reading_finish(&r);
  a.beat_nv = 1000;
  a.fiducial = 1; /* then two of the first zone and none of the second but two lie outside */
  r = read_abridged(&a, 30, 2000);
  ASSERT_READ(r);
  assert_int_equal(noted(&r, "file_inconsistent", "section 4"), 1);
  reading_finish(&r);
  a.flags = 0; /* nothing was subtracted, whatever section 4 says */
  r = read_abridged(&a, 30, 2000);
  ASSERT_READ(r);
  assert_int_equal(samples(&r, 0)[6], 70);
  assert_int_equal(quality(&r), 0);
  reading_finish(&r);
}

/* Samples 1 to 10 and 15 to 30 by 4, 11 to 14 as they are: gaps of 2 means and 2 samples, and of 4 means. */
static void test_bimodal(void **state) {
  (void)state;
  struct abridged a = {0, 1, 20, 2000, 1000, 3, {{0}}, {{11, 14}, {0, 0}}, 2};
  /* Before smoothing; the last value at 30 stays, as the lead ends. */
  static const double raw[] = {10, 10, 10,   12.5, 15,   17.5, 20,    20,  30,    40,  50,    60,  70,    80,  90,
                               90, 90, 92.5, 95,   97.5, 100,  102.5, 105, 107.5, 110, 112.5, 115, 117.5, 120, 120};
  int unsmoothed[30], want[30];
  for (int i = 0; i < 30; i++)
    unsmoothed[i] = (int)(raw[i] + 0.5);
  for (int i = 0; i < 30; i++) {
    const bool kept = i == 0 || i == 29 || (i >= 10 && i < 14);
    want[i] = kept ? unsmoothed[i] : (unsmoothed[i - 1] + unsmoothed[i] + unsmoothed[i + 1] + 1) / 3;
  }
  struct reading r = read_abridged(&a, 12, 8000);
  ASSERT_READ(r);
  assert_string_equal(json_text(channel(&r, 0), "rate"), "500");
  assert_int_equal(length(&r, 0), 30);
  for (int i = 0; i < 30; i++)
    if (samples(&r, 0)[i] != want[i])
      fail_msg("sample %d is %d, not %d", i, samples(&r, 0)[i], want[i]);
  assert_int_equal(noted(&r, "signal_reconstructed", "bimodal"), 1);
  assert_int_equal(quality(&r), 1);
  reading_finish(&r);
  /* With equal rates the word means nothing. */
  r = read_abridged(&a, 30, 2000);
  ASSERT_READ(r);
  assert_int_equal(samples(&r, 0)[29], 300);
  assert_int_equal(quality(&r), 0);
  reading_finish(&r);
  /* Before 1.2 the subtraction zones are the protected ones, too. */
  a = (struct abridged){1, 1, 10, 2000, 1000, 4, {{11, 14, 14}, {0, 0, 0}}, {{0}}, 0};
  r = read_abridged(&a, 12, 8000);
  ASSERT_READ(r);
  assert_int_equal(samples(&r, 0)[10], 50 + 100);
  assert_int_equal(samples(&r, 0)[13], 80 + 400);
  assert_int_equal(noted(&r, "signal_reconstructed", NULL), 2);
  reading_finish(&r);
}

static void test_abridged_refused(void **state) {
  (void)state;
  const struct abridged good = {1, 1, 20, 2000, 1000, 3, {{6, 7, 9}, {18, 20, 25}}, {{6, 9}, {18, 25}}, 2};
  static const struct {
    uint32_t beats[2][3], zones[2][2];
    uint8_t bimodal;
    uint16_t us;
    unsigned n_zones, n;
    int err;
    const char *why;
  } v[] = {
      {{{6, 7, 5}, {18, 20, 25}}, {{6, 9}, {18, 25}}, 1, 8000, 2, 18, -EPROTO, "subtraction zones"},
      {{{6, 7, 18}, {18, 20, 25}}, {{6, 9}, {18, 25}}, 1, 8000, 2, 18, -EPROTO, "subtraction zones"},
      {{{6, 7, 9}, {18, 20, 25}}, {{6, 18}, {18, 25}}, 1, 8000, 2, 18, -EPROTO, "protected zones"},
      {{{6, 7, 9}, {18, 20, 25}}, {{6, 9}, {18, 17}}, 1, 8000, 2, 18, -EPROTO, "protected zones"},
      {{{6, 7, 9}, {18, 20, 25}}, {{6, 9}, {18, 25}}, 1, 8000, 1, 18, -EPROTO, "lacks the protected zones"},
      {{{6, 7, 9}, {18, 20, 25}}, {{6, 9}, {18, 25}}, 1, 8000, 2, 10, -EPROTO, "end before"},
      {{{6, 7, 9}, {18, 20, 25}}, {{6, 9}, {18, 25}}, 1, 7000, 2, 18, -EPROTO, "do not go together"},
      {{{6, 7, 9}, {18, 20, 25}}, {{6, 9}, {18, 25}}, 1, 10000, 2, 18, -EPROTO, "do not go together"},
      {{{6, 7, 9}, {18, 20, 25}}, {{6, 9}, {18, 25}}, 0, 4000, 2, 30, -EOPNOTSUPP, "different rates"},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct abridged a = good;
    memcpy(a.beats, v[i].beats, sizeof a.beats);
    memcpy(a.zones, v[i].zones, sizeof a.zones);
    a.n_zones = v[i].n_zones;
    a.bimodal = v[i].bimodal;
    assert_refused(read_abridged(&a, v[i].n, v[i].us), v[i].err, v[i].why);
  }
  struct scp_make m;
  make_plain(&m);
  m.section[3].data[1] |= 1;
  assert_refused(read_made(&m), -EPROTO, "abridged by is not in the file");
}

/* ---- section 1 ---------------------------------------------------------------------------------------------- */

static const json_t *subject(const struct reading *r) {
  return json_object_get(r->record, "subject");
}

static void test_alphabets(void **state) {
  (void)state;
  static const struct {
    uint8_t language;
    const char *text;
    size_t n;
    const char *want;
    bool unreadable;
  } v[] = {
      {0, "Dupont", 7, "Dupont", false},   {0, "D\xe9j\xe0", 5, "D?j?", true},
      {1, "D\xe9j\xe0", 5, "Déjà", false}, {0x3b, "C\xbdur \xa4", 7, "Cœur €", false},
      {0x03, "D\xe9j", 4, "D?j", true},    {7, "\xc9\0l\0o\0", 6, "Élo", false},
  };
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    struct scp_make m;
    static const char *const none[] = {"", "", "", ""};
    make_plain(&m);
    buf_reset(&m.section[1]);
    scp_field(&m, 0, v[i].text, v[i].n); /* before the field that says how to read it */
    scp_instrument(&m, v[i].language, 8, "ELI", none);
    struct reading r = read_made(&m);
    ASSERT_READ(r);
    assert_string_equal(json_text(subject(&r), "family"), v[i].want);
    assert_string_equal(json_text(json_object_get(r.record, "device"), "model"), "ELI");
    assert_int_equal(noted(&r, "text_unreadable", ""), v[i].unreadable);
    reading_finish(&r);
  }
}

static void test_about(void **state) {
  (void)state;
  static const char *const texts[] = {"SN7", "SW 3", "SCP 1", ""};
  static const uint8_t female[] = {2}, high[] = {5, 0}, low[] = {150, 0}, filters[] = {2}, systolic[] = {120, 0},
                       weight[] = {70, 0, 1}, drug[] = {0, 3, 9, 'X', 0}, history[] = {0, 12};
  struct scp_make m;
  make_plain(&m);
  buf_reset(&m.section[1]);
  scp_text(&m, 0, "GARCIA");
  scp_text(&m, 1, "Ana");
  scp_text(&m, 3, "LOPEZ");
  scp_text(&m, 2, "7");
  scp_date(&m, 5, 1931, 12, 31);
  scp_field(&m, 8, female, 1);
  scp_instrument(&m, 0, 17, "AT-102", texts);
  scp_field(&m, 27, high, 2);
  scp_field(&m, 28, low, 2);
  scp_field(&m, 29, filters, 1);
  scp_field(&m, 11, systolic, 2);
  scp_field(&m, 7, weight, 3);
  scp_field(&m, 10, drug, 5);
  scp_text(&m, 10, "Ypsilon");
  scp_text(&m, 13, "palpitations");
  scp_text(&m, 30, "note");
  scp_text(&m, 35, "HTA");
  scp_field(&m, 32, history, 2);
  scp_text(&m, 20, "Dr ADMIN");
  scp_text(&m, 200, "ADMIN");
  scp_field(&m, 255, "", 0);
  scp_text(&m, 0, "AFTER");
  struct reading r = read_made(&m);
  ASSERT_READ(r);
  assert_string_equal(json_text(subject(&r), "family"), "GARCIA LOPEZ");
  assert_string_equal(json_text(subject(&r), "given"), "Ana");
  assert_string_equal(json_text(subject(&r), "id"), "7");
  assert_string_equal(json_text(subject(&r), "birth_date"), "1931-12-31");
  assert_string_equal(json_text(subject(&r), "sex"), "F");
  const json_t *device = json_object_get(r.record, "device");
  assert_string_equal(json_text(device, "make"), "Schiller");
  assert_string_equal(json_text(device, "model"), "AT-102");
  assert_string_equal(json_text(device, "serial"), "SN7");
  assert_string_equal(json_text(device, "firmware"), "SW 3");
  assert_int_equal(noted(&r, "signal_filtered", "0,05 à 150 Hz"), 1);
  assert_int_equal(noted(&r, "signal_filtered", "secteur 50 Hz"), 1);
  assert_int_equal(quality(&r), 3); /* these, and that it has no time */
  assert_true(stated(&r, "measurement", "PA systolique : 120 mmHg"));
  assert_true(stated(&r, "measurement", "Poids : 70 kg"));
  assert_true(stated(&r, "comment", "Traitement codé : table 0, classe 3, code 9"));
  assert_true(stated(&r, "comment", "Traitement : X"));
  assert_true(stated(&r, "comment", "Traitement : Ypsilon"));
  assert_true(stated(&r, "indication", "palpitations"));
  assert_true(stated(&r, "comment", "note"));
  assert_true(stated(&r, "comment", "Antécédents : HTA"));
  assert_true(stated(&r, "comment", "Antécédent codé : table 0, code 12"));
  assert_int_equal(json_array_size(list(&r, "statements")), 9);
  assert_null(strstr(r.result[0].json, "ADMIN"));
  assert_true(json_is_null(json_object_get(json_array_get(list(&r, "trials"), 0), "device_time")));
  assert_int_equal(noted(&r, "reading_time_unverified", ""), 1);
  reading_finish(&r);
}

static void test_about_contradicts(void **state) {
  (void)state;
  for (int kind = 0; kind < 6; kind++) {
    struct scp_make m;
    make_plain(&m);
    buf_reset(&m.section[1]);
    scp_text(&m, 2, "7");
    scp_date(&m, 25, kind == 0 ? 0 : 2026, kind == 0 ? 0 : 3, kind == 0 ? 0 : kind == 1 ? 32 : 2);
    scp_time(&m, kind == 2 ? 24 : 9, 0, 0);
    scp_date(&m, 5, 1960, 2, kind == 3 ? 30 : 29);
    if (kind == 4)
      scp_text(&m, 2, "8");
    if (kind == 5)
      scp_text(&m, 2, "7");
    struct reading r = read_made(&m);
    ASSERT_READ(r);
    assert_int_equal(noted(&r, "file_inconsistent", "section 1"), kind >= 1 && kind <= 4);
    assert_string_equal(json_text(subject(&r), "id"), "7");
    reading_finish(&r);
  }
  struct scp_make m;
  make_plain(&m);
  scp_put_u16(m.section[1].data + 1, 4000);
  assert_refused(read_made(&m), -EPROTO, "a field of section 1");
  make_plain(&m);
  buf_reset(&m.section[1]);
  for (unsigned i = 0; i < 4097; i++)
    scp_text(&m, 200, "x");
  assert_refused(read_made(&m), -EPROTO, "more fields");
}

/* ---- findings ----------------------------------------------------------------------------------------------- */

static void put_measurements(struct scp_make *m, bool spikes_twice) {
  static const uint16_t whole[] = {100, 200, 260, 352, 640, (uint16_t)-30, 45, 999},
                        missing[] = {29999, 29999, 19999, 29998, 29999, 999, 999, 999};
  struct buf *b = &m->section[7];
  buf_u8(b, 2);
  buf_u8(b, 1);
  if (spikes_twice)
    buf_u8(b, 1);
  buf_u16le(b, 815);
  buf_u16le(b, 29999);
  for (unsigned i = 0; i < 8; i++)
    buf_u16le(b, whole[i]);
  for (unsigned i = 0; i < 8; i++)
    buf_u16le(b, missing[i]);
  buf_u16le(b, 512);
  buf_u16le(b, (uint16_t)-900);
  buf_add(b, "\0\0\0\0\0\0", 6);
  if (spikes_twice)
    return;
  buf_u16le(b, 0);
  buf_u16le(b, 74);
  buf_u16le(b, 29999);
  buf_u16le(b, 421);
  buf_u8(b, 1);
}

static void put_texts(struct scp_make *m, unsigned section, bool typed) {
  static const uint8_t head[] = {2, 0xea, 7, 3, 2, 9, 8, 7, 2};
  static const char *const texts[] = {"MARKER sinus", "a\0b"};
  static const uint16_t lengths[] = {13, 4};
  buf_add(&m->section[section], head, sizeof head);
  for (unsigned i = 0; i < 2; i++) {
    buf_u8(&m->section[section], (uint8_t)(i + 1));
    buf_u16le(&m->section[section], (uint16_t)(lengths[i] + typed));
    if (typed)
      buf_u8(&m->section[section], (uint8_t)(2 - i));
    buf_add(&m->section[section], texts[i], lengths[i]);
  }
}

static void test_findings(void **state) {
  (void)state;
  struct scp_make m;
  make_plain(&m);
  put_measurements(&m, false);
  put_texts(&m, 8, false);
  put_texts(&m, 11, true);
  struct buf *ten = &m.section[10];
  buf_u16le(ten, 1);
  buf_u16le(ten, 0);
  buf_u16le(ten, 3);
  buf_u16le(ten, 8);
  buf_u16le(ten, 90);
  buf_u16le(ten, 19999);
  buf_u16le(ten, 92);
  buf_u16le(ten, 380);
  struct reading r = read_made(&m);
  ASSERT_READ(r);
  assert_true(stated(&r, "measurement", "Intervalle RR moyen : 815 ms"));
  assert_true(stated(&r, "measurement",
                     "P : 100 ms, PR : 160 ms, QRS : 92 ms, QT : 380 ms, axe de P : -30°, axe de QRS : 45°"));
  assert_true(stated(&r, "measurement", "Impulsion de stimulateur 1 : à 512 ms, -900 µV"));
  assert_true(stated(&r, "measurement", "Fréquence ventriculaire : 74 /min"));
  assert_true(stated(&r, "measurement", "QTc (Bazett) : 421 ms"));
  assert_true(stated(&r, "measurement", "V1 — P : 90 ms, QRS : 92 ms, QT : 380 ms"));
  assert_true(stated(&r, "interpretation", "Interprétation relue (2026-03-02 09:08:07)"));
  assert_true(stated(&r, "interpretation", "MARKER sinus"));
  assert_true(stated(&r, "interpretation", "a b"));
  assert_int_equal(json_array_size(list(&r, "statements")), 6 + 3 + 3);
  assert_int_equal(quality(&r), 0);
  json_object_del(r.record, "statements"); /* and nowhere else */
  char *rest = json_dumps(r.record, 0);
  assert_null(strstr(rest, "MARKER"));
  assert_null(strstr(rest, "stimulateur"));
  assert_null(strstr(rest, "815"));
  free(rest);
  reading_finish(&r);
}

static void test_findings_odd(void **state) {
  (void)state;
  static const char *const esaote[] = {"1", "2", "3", "ESAOTE"};
  struct scp_make m;
  make_plain(&m);
  buf_reset(&m.section[1]);
  put_clock(&m);
  scp_instrument(&m, 0, 255, "P80", esaote);
  m.protocol = 11;
  put_measurements(&m, true);
  struct reading r = read_made(&m);
  ASSERT_READ(r);
  assert_true(stated(&r, "measurement", "Intervalle RR moyen : 815 ms"));
  assert_int_equal(quality(&r), 0);
  reading_finish(&r);
  static const unsigned cut[][2] = {{7, 3}, {7, 30}, {8, 5}, {8, 14}, {11, 14}, {10, 1}};
  for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
    char section[16];
    make_plain(&m);
    put_measurements(&m, false);
    put_texts(&m, 8, false);
    put_texts(&m, 11, true);
    buf_u16le(&m.section[10], 9);
    m.section[10].len = 2;
    if (cut[i][0] != 10)
      buf_reset(&m.section[10]);
    m.section[cut[i][0]].len = cut[i][1];
    r = read_made(&m);
    ASSERT_READ(r);
    snprintf(section, sizeof section, "section %u", cut[i][0]);
    assert_int_equal(noted(&r, "file_inconsistent", section), 1);
    assert_int_equal(quality(&r), 1);
    reading_finish(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_plain),
      cmocka_unit_test(test_example),
      cmocka_unit_test(test_example_beat),
      cmocka_unit_test(test_example_damaged),
      cmocka_unit_test(test_example_mutated),
      cmocka_unit_test(test_other_files),
      cmocka_unit_test(test_container_refused),
      cmocka_unit_test(test_container_read),
      cmocka_unit_test(test_default_codes),
      cmocka_unit_test(test_own_codes),
      cmocka_unit_test(test_codes_refused),
      cmocka_unit_test(test_leads_apart),
      cmocka_unit_test(test_leads_odd),
      cmocka_unit_test(test_lengths),
      cmocka_unit_test(test_lengths_full),
      cmocka_unit_test(test_no_lengths),
      cmocka_unit_test(test_packed_short),
      cmocka_unit_test(test_differences),
      cmocka_unit_test(test_rate_and_scale),
      cmocka_unit_test(test_no_rhythm),
      cmocka_unit_test(test_subtracted),
      cmocka_unit_test(test_bimodal),
      cmocka_unit_test(test_abridged_refused),
      cmocka_unit_test(test_alphabets),
      cmocka_unit_test(test_about),
      cmocka_unit_test(test_about_contradicts),
      cmocka_unit_test(test_findings),
      cmocka_unit_test(test_findings_odd),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
