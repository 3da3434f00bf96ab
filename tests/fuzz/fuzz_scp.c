/* SCP-ECG files. The first byte of the input says how: 0 the rest is a file as it is; else its checksums and length are
 * made right first, so that what is behind them is reached. */
#include "fuzz_file.h"

#include "scp_make.h"

extern const struct acq_driver file_scp_ecg;

/* Leads begin together and end together, and a lead has samples. */
static void check_channels(const json_t *channels) {
  const size_t n = json_array_size(channels);
  FUZZ_CHECK(n >= 1 && n <= 64 + 5);
  for (size_t i = 0; i < n; i++) {
    const json_t *c = json_array_get(channels, i), *first = json_array_get(channels, 0);
    FUZZ_CHECK(json_integer_value(json_object_get(c, "samples")) > 0);
    FUZZ_CHECK(json_equal(json_object_get(c, "samples"), json_object_get(first, "samples")));
    FUZZ_CHECK(json_equal(json_object_get(c, "rate"), json_object_get(first, "rate")));
  }
}

static void check_record(const struct record_result *result, const json_t *record) {
  (void)result;
  check_channels(json_object_get(json_object_get(record, "acquired"), "channels"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (!n)
    return 0;
  uint8_t *file = malloc(n);
  FUZZ_CHECK(file);
  memcpy(file, data + 1, n - 1);
  if (data[0])
    scp_repair(file, n - 1);
  fuzz_file(&file_scp_ecg, file, n - 1, check_record);
  free(file);
  return 0;
}

#define SAMPLES 96

static void put_leads(struct scp_make *m, uint8_t flags) {
  scp_leads(m, 3, flags);
  scp_lead(m, 1, SAMPLES, 1);
  scp_lead(m, 1, SAMPLES, 2);
  scp_lead(m, 1, SAMPLES, 9);
}

/* A stream of n values in the default table. */
static void put_stream(struct scp_make *m, unsigned section, unsigned n, unsigned from) {
  struct scp_bits bits = {BUF_INIT(1 << 16), 0};
  for (unsigned i = 0; i < n; i++)
    scp_bits_value(&bits, i % 17 == 3 ? 300 : i % 11 == 5 ? -40 : (int)((i + from) % 7) - 3);
  if (bits.bytes.len & 1)
    buf_u8(&bits.bytes, 0);
  scp_put_u16(m->section[section].data + 6 + 2 * from, (unsigned)bits.bytes.len);
  buf_add(&m->section[section], bits.bytes.data, bits.bytes.len);
  buf_finish(&bits.bytes);
}

static void put_raw(struct scp_make *m) {
  static const uint16_t lengths[] = {2 * SAMPLES, 2 * SAMPLES, 2 * SAMPLES};
  put_leads(m, 0x1c);
  scp_signal(m, 6, 2500, 2000, 0, 0, lengths, 3);
  for (unsigned i = 0; i < 3 * SAMPLES; i++)
    buf_u16le(&m->section[6], (uint16_t)(i * 13 % 200));
}

static void put_packed(struct scp_make *m) {
  static const uint16_t lengths[3] = {0};
  buf_u16le(&m->section[2], 19999);
  put_leads(m, 0x1c);
  scp_signal(m, 6, 2500, 2000, 1, 0, lengths, 3);
  for (unsigned i = 0; i < 3; i++)
    put_stream(m, 6, SAMPLES, i);
}

/* Two tables, each of which leads to the other. */
static void put_tables(struct scp_make *m) {
  static const uint16_t lengths[] = {24, 24, 24};
  buf_u16le(&m->section[2], 2);
  buf_u16le(&m->section[2], 3);
  scp_code(m, 1, 1, 1, 0, 0);
  scp_code(m, 2, 10, 1, 5, 1);
  scp_code(m, 2, 2, 0, 2, 3);
  buf_u16le(&m->section[2], 2);
  scp_code(m, 1, 1, 1, 1, 0);
  scp_code(m, 1, 1, 0, 1, 1);
  put_leads(m, 0x1c);
  scp_signal(m, 6, 1000, 4000, 2, 0, lengths, 3);
  for (unsigned i = 0; i < 72; i++)
    buf_u8(&m->section[6], (uint8_t)(i % 3 ? 0 : 0xc0));
}

/* Two beats subtracted, and bimodal by 4 outside their protected zones: 2 of 8 samples. */
static void put_abridged(struct scp_make *m) {
  static const uint16_t lengths[3] = {0};
  static const uint32_t beats[2][3] = {{20, 30, 50}, {60, 70, 90}}, zones[2][2] = {{26, 33}, {66, 73}};
  buf_u16le(&m->section[2], 19999);
  put_leads(m, 0x1d);
  struct buf *four = &m->section[4];
  buf_u16le(four, 80);
  buf_u16le(four, 11);
  buf_u16le(four, 2);
  for (unsigned i = 0; i < 2; i++) {
    buf_u16le(four, 0);
    for (unsigned k = 0; k < 3; k++)
      buf_u32le(four, beats[i][k]);
  }
  for (unsigned i = 0; i < 2; i++)
    for (unsigned k = 0; k < 2; k++)
      buf_u32le(four, zones[i][k]);
  scp_signal(m, 5, 1000, 2000, 0, 0, lengths, 3);
  scp_signal(m, 6, 5000, 8000, 1, 1, lengths, 3);
  for (unsigned i = 0; i < 3; i++) {
    put_stream(m, 5, 40, i);
    put_stream(m, 6, 16 + 7 + 8 + 5 + 3, i);
  }
}

static void put_about(struct scp_make *m) {
  static const char *const texts[] = {"S1", "2.3", "x", "corpuls"};
  static const uint8_t filters[] = {3}, high[] = {5, 0}, low[] = {150, 0}, drug[] = {0, 1, 2, 'a', 0};
  scp_instrument(m, 1, 255, "C3", texts);
  scp_text(m, 0, "NOM");
  scp_text(m, 2, "42");
  scp_date(m, 5, 1960, 2, 29);
  scp_date(m, 25, 2026, 3, 2);
  scp_time(m, 9, 0, 0);
  scp_field(m, 27, high, 2);
  scp_field(m, 28, low, 2);
  scp_field(m, 29, filters, 1);
  scp_field(m, 10, drug, sizeof drug);
  scp_text(m, 30, "texte");
  scp_field(m, 255, "", 0);
}

static void put_findings(struct scp_make *m) {
  static const uint8_t texts[] = {1, 0xea, 7, 3, 2, 9, 0, 0, 1, 1, 5, 0, 2, 'a', 'b', 0, 'c'};
  struct buf *seven = &m->section[7], *ten = &m->section[10];
  buf_u8(seven, 2);
  buf_u8(seven, 1);
  for (unsigned i = 0; i < 2 + 2 * 8 + 2 + 3 + 5; i++)
    buf_u16le(seven, (uint16_t)(i == 9 ? 29999 : 100 * i));
  buf_add(&m->section[8], texts, sizeof texts);
  buf_add(&m->section[11], texts, sizeof texts);
  buf_u16le(ten, 1);
  buf_u16le(ten, 0);
  buf_u16le(ten, 1);
  buf_u16le(ten, 62);
  for (unsigned i = 0; i < 31; i++)
    buf_u16le(ten, (uint16_t)(i * 7));
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static void (*const kinds[])(struct scp_make *) = {put_raw, put_packed, put_tables, put_abridged};
  (void)n;
  if (file || i >= 8)
    return false;
  struct scp_make m;
  scp_make_init(&m);
  kinds[i % 4](&m);
  put_about(&m);
  if (i & 1)
    put_findings(&m);
  buf_u8(ret, i >= 4);
  struct buf made = BUF_INIT(1 << 20);
  scp_make_file(&m, &made);
  buf_add(ret, made.data, made.len);
  buf_finish(&made);
  scp_make_finish(&m);
  return ret->err == 0;
}
