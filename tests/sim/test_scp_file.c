/*
 * SCP-ECG files, through a reader that was written from the format's text for this test: slow, without any check, and
 * without a line of the writer's.
 */
#include "scp_file.h"

#include "crc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define HEADER 16u
#define SAMPLES ECG12_SAMPLES_MAX

static struct ecg12 ecg; /* the recording, large */
static struct buf file;
static struct scp_options o;

/* ---- the reader ---- */

static unsigned u8(size_t at) {
  assert_true(at < file.len);
  return file.data[at];
}

static unsigned u16(size_t at) {
  return u8(at) | u8(at + 1) << 8;
}

static unsigned u32(size_t at) {
  return u16(at) | u16(at + 2) << 16;
}

static int16_t i16(size_t at) {
  return (int16_t)u16(at);
}

/* Where section `id` begins, and its length; 0: it is not there. */
static size_t section(unsigned id, size_t *ret_n) {
  for (unsigned i = 0; i < (u32(6 + 4) - HEADER) / 10; i++) {
    size_t at = 6 + HEADER + 10 * i;
    if (u16(at) != id)
      continue;
    if (ret_n)
      *ret_n = u32(at + 2);
    return u32(at + 2) ? u32(at + 6) - 1 : 0;
  }
  return 0;
}

static size_t contents(unsigned id) {
  size_t at = section(id, NULL);
  assert_true(at > 0);
  return at + HEADER;
}

/* Tag `tag` of section 1, the n-th from 0; its length, or -1. */
static int tag(unsigned wanted, unsigned n, size_t *ret_at) {
  for (size_t at = contents(1); u8(at) != 255; at += 3 + u16(at + 1))
    if (u8(at) == wanted && n-- == 0) {
      *ret_at = at + 3;
      return (int)u16(at + 1);
    }
  return -1;
}

struct stream {
  size_t at, n; /* bytes */
  size_t bit;
};

static unsigned bit(struct stream *s) {
  assert_true(s->bit / 8 < s->n);
  unsigned b = u8(s->at + s->bit / 8) >> (7 - s->bit % 8) & 1;
  s->bit++;
  return b;
}

static int32_t signed_bits(struct stream *s, unsigned n) {
  int32_t v = bit(s) ? -1 : 0;
  while (--n > 0)
    v = v * 2 + (int32_t)bit(s);
  return v;
}

static int32_t default_code(struct stream *s) {
  unsigned ones = 0;
  while (ones < 10 && bit(s))
    ones++;
  if (ones == 0)
    return 0;
  if (ones >= 9)
    return signed_bits(s, ones == 9 ? 8 : 16);
  return bit(s) ? -(int32_t)ones : (int32_t)ones;
}

static size_t table_at(unsigned table) {
  size_t at = contents(2) + 2;
  while (table-- > 0)
    at += 2 + 9 * u16(at);
  return at;
}

static unsigned switches; /* met since the test set it to 0 */

static int32_t own_code(struct stream *s, unsigned *table) {
  uint32_t code = 0;
  for (unsigned bits = 1;; bits++) {
    assert_true(bits <= 32);
    code |= bit(s) << (bits - 1);
    size_t t = table_at(*table);
    for (unsigned i = 0; i < u16(t); i++) {
      size_t e = t + 2 + 9 * i;
      if (u8(e) != bits || u32(e + 5) != code)
        continue;
      if (u8(e + 2) == 1)
        return i16(e + 3) + (u8(e + 1) > bits ? signed_bits(s, u8(e + 1) - bits) : 0);
      *table = (unsigned)i16(e + 3) - 1;
      switches++;
      code = 0;
      bits = 0;
      break;
    }
  }
}

/* n values of lead i of section 5 or 6. */
static void read_stream(unsigned id, unsigned i, int32_t *v, size_t n) {
  unsigned leads = u8(contents(3)), order = u8(contents(id) + 4), table = 0;
  unsigned tables = section(2, NULL) ? u16(contents(2)) : 0;
  struct stream s = {.at = contents(id) + 6 + 2 * leads};
  for (unsigned k = 0; k < i; k++)
    s.at += u16(contents(id) + 6 + 2 * k);
  s.n = u16(contents(id) + 6 + 2 * i);
  for (size_t k = 0; k < n; k++) {
    v[k] = tables == 0 ? i16(s.at + 2 * k) : tables == 19999 ? default_code(&s) : own_code(&s, &table);
    if (order == 1 && k > 0)
      v[k] += v[k - 1];
    if (order == 2 && k > 1)
      v[k] += 2 * v[k - 1] - v[k - 2];
  }
  if (tables == 0) {
    assert_int_equal(s.n, 2 * n);
    return;
  }
  assert_int_equal(s.n % 2, 0);
  assert_in_range(8 * s.n - s.bit, 0, 15); /* no more than it needs */
  assert_int_equal(table, 0);
}

static int32_t nearest(int32_t v, int32_t by) {
  int32_t rest = v % by, down = v / by;
  return 2 * abs(rest) >= by ? down + (v < 0 ? -1 : 1) : down;
}

struct zone {
  unsigned type, first, fiducial, last, keep, keep_last;
};

static struct zone zone_of(unsigned i) {
  size_t b = contents(4), at = b + 6 + 14 * i, keep = b + 6 + 14 * u16(b + 4) + 8 * i, n;
  struct zone z = {u16(at), u32(at + 2), u32(at + 6), u32(at + 10), 0, 0};
  bool has_zones = section(4, &n) && n >= HEADER + 6 + 22 * u16(b + 4);
  z.keep = has_zones ? u32(keep) : z.first;
  z.keep_last = has_zones ? u32(keep + 4) : z.last;
  return z;
}

/* Of each sample, numbered from 1. 1: protected; 2: beside a border of a subtraction; 4: subtracted. */
static uint8_t kind[SAMPLES + 2];

static void find_kinds(void) {
  bool subtracted = u8(contents(3) + 1) & 1;
  memset(kind, 0, sizeof(kind));
  for (unsigned i = 0; section(4, NULL) && i < u16(contents(4) + 4); i++) {
    struct zone z = zone_of(i);
    for (unsigned k = z.keep; k <= z.keep_last; k++)
      kind[k] |= 1;
    if (!subtracted || z.type != 0)
      continue;
    kind[z.first - 1] |= 2;
    kind[z.last + 1] |= 2;
    for (unsigned k = z.first; k <= z.last; k++)
      kind[k] |= k == z.first || k == z.last ? 6 : 4;
  }
}

static unsigned decimation(void) {
  return u8(contents(6) + 5) && section(5, NULL) ? u16(contents(6) + 2) / u16(contents(5) + 2) : 1;
}

/* Lead i of the rhythm before the reference beat is added, in its steps. */
static void read_residual(unsigned i, unsigned first, unsigned last, int32_t *v) {
  static int32_t stored[SAMPLES], rough[SAMPLES];
  unsigned d = decimation(), n = last - first + 1, in = 0, m = 0;
  find_kinds();
  if (d == 1) {
    read_stream(6, i, v, n);
    return;
  }
  for (unsigned at = 0; at < n;) { /* how many there are */
    unsigned end = at;
    bool keep = kind[first + at] & 1;
    while (end < n && (kind[first + end] & 1) == (keep ? 1u : 0u))
      end++;
    m += keep ? end - at : (end - at) / d + (end - at) % d;
    at = end;
  }
  read_stream(6, i, stored, m);
  for (unsigned at = 0; at < n;) {
    unsigned end = at;
    bool keep = kind[first + at] & 1;
    while (end < n && (kind[first + end] & 1) == (keep ? 1u : 0u))
      end++;
    unsigned means = keep ? 0 : (end - at) / d;
    for (unsigned k = 0; k < means * d; k++, at++) {
      if (k < d / 2)
        rough[at] = stored[in];
      else if (k >= means * d - d / 2)
        rough[at] = stored[in + means - 1];
      else {
        unsigned left = (k - d / 2) / d, part = (k - d / 2) % d;
        rough[at] =
            nearest((int32_t)(d - part) * stored[in + left] + (int32_t)part * stored[in + left + 1], (int32_t)d);
      }
    }
    in += means;
    while (at < end)
      rough[at++] = stored[in++];
  }
  assert_int_equal(in, m);
  for (unsigned at = 0; at < n; at++)
    v[at] = kind[first + at] & 3 || at == 0 || at == n - 1 ? rough[at]
                                                           : nearest(rough[at - 1] + rough[at] + rough[at + 1], 3);
}

/* Lead i in nanovolts; how many samples. */
static size_t read_lead(unsigned i, int32_t *nv) {
  static int32_t beat[SAMPLES];
  size_t at = contents(3) + 2 + 9 * i;
  unsigned first = u32(at), last = u32(at + 4);
  read_residual(i, first, last, nv);
  for (unsigned k = 0; k <= last - first; k++)
    nv[k] *= (int32_t)u16(contents(6));
  if (!(u8(contents(3) + 1) & 1))
    return last - first + 1;
  read_stream(5, i, beat, u16(contents(4)) * 1000 / u16(contents(5) + 2));
  for (unsigned b = 0; b < u16(contents(4) + 4); b++) {
    struct zone z = zone_of(b);
    for (unsigned s = z.first; z.type == 0 && s <= z.last; s++)
      if (s >= first && s <= last)
        nv[s - first] += beat[u16(contents(4) + 2) - 1 + s - z.fiducial] * (int32_t)u16(contents(5));
  }
  return last - first + 1;
}

/* ---- what all tests do ---- */

static int32_t recorded(enum ecg12_lead lead, size_t i) {
  bool augmented = lead == ECG12_AVR || lead == ECG12_AVL || lead == ECG12_AVF;
  return ecg.lead[lead][i] * (augmented ? 2500 : 5000);
}

static int try(void) {
  buf_finish(&file);
  file = BUF_INIT(SCP_FILE_MAX);
  return scp_file_make(&o, &ecg, &file);
}

static void make(void) {
  assert_int_equal(try(), 0);
}

static void expect_crcs(void) {
  assert_int_equal(u32(2), file.len);
  assert_int_equal(u16(0), crc16_ccitt(CRC16_CCITT_FALSE_INIT, file.data + 2, file.len - 2));
  for (unsigned i = 0; i < (u32(6 + 4) - HEADER) / 10; i++) {
    size_t n, at = section(u16(6 + HEADER + 10 * i), &n);
    if (at == 0)
      continue;
    assert_int_equal(n % 2, 0);
    assert_int_equal(u16(at + 2), u16(6 + HEADER + 10 * i));
    assert_int_equal(u32(at + 4), n);
    assert_int_equal(u16(at), crc16_ccitt(CRC16_CCITT_FALSE_INIT, file.data + at + 2, n - 2));
  }
}

/* Every lead: what the reader gets is what the writer says it gets, and the recording where that is said. Returns how
 * many of all samples are exact, in percent. */
static unsigned expect_leads(void) {
  static int32_t nv[SAMPLES];
  size_t exact = 0, all = 0;
  assert_int_equal(u8(contents(3)), o.n_leads);
  for (unsigned i = 0; i < o.n_leads; i++) {
    struct scp_truth truth;
    size_t n = read_lead(i, nv);
    assert_int_equal(scp_file_truth(&o, &ecg, i, &truth), 0);
    assert_int_equal(truth.n, n);
    assert_memory_equal(truth.nv, nv, n * sizeof(*nv));
    for (size_t k = 0; k < n; k++)
      if (truth.exact[k])
        assert_int_equal(nv[k], recorded(o.leads[i].lead, o.leads[i].first - 1 + k));
    for (size_t k = 0; k < n; k++)
      exact += truth.exact[k];
    all += n;
    scp_truth_finish(&truth);
  }
  return (unsigned)(exact * 100 / all);
}

static int setup(void **state __attribute__((unused))) {
  ecg12_make(&ecg, 500, 4, 7, 2, 1);
  o = scp_file_defaults();
  return 0;
}

static int teardown(void **state __attribute__((unused))) {
  buf_finish(&file);
  return 0;
}

/* ---- by hand ---- */

static void four_samples(int16_t a, int16_t b, int16_t c, int16_t d) {
  ecg = (struct ecg12){.rate_hz = 500, .n = 4, .n_beats = 1, .beat = {{1, 2, 3}}};
  memcpy(ecg.lead[ECG12_I], (const int16_t[]){a, b, c, d}, 8);
  o.leads[0] = (struct scp_lead){ECG12_I, 1, 0};
  o.n_leads = 1;
  o.difference = 0;
}

#define EXPECT_BYTES(at, ...) \
  assert_memory_equal(file.data + (at), ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__}))

TEST(check_value) { /* of the CRC, as its catalogue has it */
  assert_int_equal(crc16_ccitt(CRC16_CCITT_FALSE_INIT, "123456789", 9), 0x29B1);
}

TEST(bytes_default_code) { /* 0 | 100 | 1101 | 1111111111 0000000100101100 */
  four_samples(0, 1, -2, 300);
  make();
  expect_crcs();
  EXPECT_BYTES(6 + 2, 0, 0, 136, 0, 0, 0, 20, 20, 'S', 'C', 'P', 'E', 'C', 'G', 0, 0, 136, 0, 0, 0, 7, 0, 0, 0);
  EXPECT_BYTES(contents(2), 0x1F, 0x4E);
  EXPECT_BYTES(contents(3), 1, 0x0C, 1, 0, 0, 0, 4, 0, 0, 0, 1);
  EXPECT_BYTES(contents(6), 0x88, 0x13, 0xD0, 0x07, 0, 0, 6, 0, 0x4D, 0xFF, 0xC0, 0x4B, 0, 0);
  assert_int_equal(section(6, NULL) + HEADER + 14, file.len);
}

TEST(bytes_default_code_signs) { /* 1111111100 | 1111111101 | 1111111110 00001001 | 1111111110 10000000 */
  four_samples(8, -8, 9, -128);
  make();
  EXPECT_BYTES(contents(6) + 6, 8, 0, 0xFF, 0x3F, 0xDF, 0xF8, 0x27, 0xFE, 0x80, 0x00);
}

TEST(bytes_raw_differences) {
  o.code = SCP_RAW;
  four_samples(10, 13, 12, 300);
  make();
  assert_int_equal(section(2, NULL), 0);
  EXPECT_BYTES(contents(6), 0x88, 0x13, 0xD0, 0x07, 0, 0, 8, 0, 10, 0, 13, 0, 12, 0, 0x2C, 0x01);
  o.difference = 1;
  make();
  EXPECT_BYTES(contents(6) + 4, 1, 0, 8, 0, 10, 0, 3, 0, 0xFF, 0xFF, 0x20, 0x01);
  o.difference = 2;
  o.code = SCP_RAW_EMPTY;
  make();
  EXPECT_BYTES(contents(2), 0, 0);
  EXPECT_BYTES(contents(6) + 4, 2, 0, 8, 0, 10, 0, 13, 0, 0xFC, 0xFF, 0x21, 0x01);
}

/* 13 samples, 5 to 7 protected: four before them are a mean, six behind them a mean and two as they are. */
TEST(bytes_bimodal) {
  ecg = (struct ecg12){.rate_hz = 100, .n = 13, .n_beats = 1, .beat = {{5, 5, 5}}};
  static const int16_t in[] = {2, 4, 6, 9, 7, 50, 60, -1, -2, -3, -5, 8, 9};
  memcpy(ecg.lead[ECG12_I], in, sizeof(in));
  o.leads[0] = (struct scp_lead){ECG12_I, 1, 0};
  o.n_leads = 1;
  o.difference = 0;
  o.code = SCP_RAW;
  o.decimation = 4;
  make();
  EXPECT_BYTES(contents(6), 0x88, 0x13, 0x40, 0x9C, 0, 1, 14, 0);
  /* QB 5, QE 7: onset, offset and 10 ms. 2 4 6 9 give 21 / 4; -1 -2 -3 -5 give -11 / 4 */
  EXPECT_BYTES(contents(4) + 6 + 14, 5, 0, 0, 0, 7, 0, 0, 0);
  EXPECT_BYTES(contents(6) + 8, 5, 0, 7, 0, 50, 0, 60, 0, 0xFD, 0xFF, 8, 0, 9, 0);
}

/* ---- through the reader ---- */

TEST(every_code) {
  for (unsigned code = 0; code < SCP_CODES; code++)
    for (unsigned order = 0; order <= 2; order++) {
      o.code = (enum scp_code)code;
      o.difference = order;
      make();
      expect_crcs();
      assert_int_equal(expect_leads(), 100);
    }
}

static unsigned cost(enum scp_code code) {
  size_t n;
  o.code = code;
  make();
  section(6, &n);
  return (unsigned)n;
}

TEST(own_tables_pay) {
  unsigned standard = cost(SCP_DEFAULT);
  assert_true(cost(SCP_ONE_TABLE) < standard);
  assert_true(cost(SCP_LARGE) < standard);
  assert_int_equal(u16(contents(2) + 2), 255);
  assert_true(cost(SCP_THREE) < standard);
}

TEST(tables_are_switched) {
  o.code = SCP_THREE;
  make();
  assert_int_equal(u16(contents(2)), 3);
  switches = 0;
  expect_leads();
  assert_true(switches > 2 * o.n_leads);
}

TEST(ranges_have_bases) {
  o.code = SCP_RANGES;
  make();
  unsigned with_base = 0;
  for (unsigned i = 0; i < u16(table_at(0)); i++) {
    size_t e = table_at(0) + 2 + 9 * i;
    with_base += u8(e + 1) > u8(e) && i16(e + 3) != 0;
  }
  assert_int_equal(with_base, 2);
}

/* No code begins another, unless that is what was asked for. */
static unsigned prefixes(void) {
  unsigned found = 0;
  for (unsigned t = 0; t < u16(contents(2)); t++)
    for (unsigned i = 0; i < u16(table_at(t)); i++)
      for (unsigned k = 0; k < u16(table_at(t)); k++) {
        size_t a = table_at(t) + 2 + 9 * i, b = table_at(t) + 2 + 9 * k;
        uint32_t mask = u8(a) < 32 ? (1u << u8(a)) - 1 : UINT32_MAX;
        found += i != k && u8(a) <= u8(b) && u32(a + 5) == (u32(b + 5) & mask);
      }
  return found;
}

TEST(codes_are_prefix_free) {
  for (o.code = SCP_ONE_TABLE; o.code < SCP_CODES; o.code++) {
    o.damage = SCP_SOUND;
    make();
    assert_int_equal(prefixes(), 0);
    o.damage = SCP_PREFIX;
    make();
    assert_int_not_equal(prefixes(), 0);
    expect_crcs();
  }
}

TEST(twelve_leads) {
  scp_file_twelve(&o);
  o.avm_nv = 2500;
  make();
  assert_int_equal(expect_leads(), 100);
  EXPECT_BYTES(contents(3), 12, 0x64);
  for (unsigned i = 0; i < 12; i++)
    assert_int_equal(u8(contents(3) + 2 + 9 * i + 8), ((const uint8_t[]){1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8})[i]);
  o.avm_nv = 500;
  make();
  assert_int_equal(expect_leads(), 100);
  o.avm_nv = 5000; /* half a step of aVR */
  assert_int_equal(try(), -EINVAL);
}

TEST(leads_in_turn) { /* four times three leads */
  scp_file_twelve(&o);
  o.avm_nv = 2500;
  for (unsigned i = 0; i < 12; i++)
    o.leads[i] = (struct scp_lead){o.leads[i].lead, i / 3 * 500 + 1, i / 3 * 500 + 500};
  for (unsigned d = 1; d <= 4; d *= 2) {
    o.subtract = d != 2;
    o.decimation = d;
    make();
    assert_int_equal(u8(contents(3) + 1), o.subtract);
    expect_leads();
  }
}

TEST(beat_taken_off) {
  for (unsigned version = 10; version <= 20; version += version == 10 ? 3 : 7)
    for (unsigned foreign = 0; foreign <= 2; foreign += 2) {
      o.version = version;
      o.foreign_every = foreign;
      o.subtract = true;
      make();
      expect_crcs();
      assert_int_equal(expect_leads(), 100);
      size_t n;
      section(4, &n);
      assert_int_equal(n, HEADER + 6 + ecg.n_beats * (version > 10 ? 22 : 14));
      for (unsigned i = 0; i < ecg.n_beats; i++) {
        assert_int_equal(zone_of(i).fiducial, ecg.beat[i].fiducial + 1);
        assert_int_equal(zone_of(i).type, foreign && i % 2 == 1);
      }
    }
}

TEST(beat_is_the_median) { /* no more of the whole beats' samples are above it than below, or the other way round */
  static int32_t beat[SAMPLES];
  o.subtract = true;
  make();
  unsigned n = u16(contents(4)) * 1000 / u16(contents(5) + 2), at = u16(contents(4) + 2);
  read_stream(5, 0, beat, n);
  for (unsigned k = 0; k < n; k++) {
    unsigned whole = 0, above = 0, below = 0;
    for (unsigned i = 0; i < ecg.n_beats; i++) {
      struct zone z = zone_of(i);
      if (z.last - z.first + 1 != n)
        continue;
      int16_t v = ecg.lead[ECG12_I][z.fiducial - 1 + k + 1 - at];
      whole++;
      above += v > beat[k];
      below += v < beat[k];
    }
    assert_true(whole > 2 && above <= whole / 2 && below <= whole / 2);
  }
}

TEST(beat_in_other_steps) {
  static const unsigned pairs[][2] = {{5000, 2500}, {2500, 5000}, {1000, 2500}, {5000, 7000}};
  for (unsigned i = 0; i < 4; i++) {
    o.avm_nv = pairs[i][0];
    o.beat_avm_nv = pairs[i][1];
    o.subtract = true;
    make();
    assert_int_equal(u16(contents(5)), pairs[i][1]);
    assert_int_equal(expect_leads(), 100);
  }
}

TEST(beats_alike_leave_nothing) {
  static int32_t v[SAMPLES];
  ecg12_make(&ecg, 500, 4, 7, 0, 0);
  o.subtract = true;
  make();
  unsigned in_zones = 0, heights = 0;
  for (unsigned i = 0; i < o.n_leads; i++) {
    read_residual(i, 1, (unsigned)ecg.n, v);
    for (unsigned k = 0; k < ecg.n; k++)
      if (kind[k + 1] & 4) {
        in_zones++;
        heights += ecg.lead[o.leads[i].lead][k] != 0;
        assert_int_equal(v[k], 0);
      }
  }
  assert_true(in_zones > 1000 && heights > 500);
}

TEST(bimodal) {
  for (unsigned version = 10; version <= 20; version += 10)
    for (unsigned d = 2; d <= 4; d += 2)
      for (unsigned subtract = 0; subtract < 2; subtract++) {
        o.version = version;
        o.decimation = d;
        o.subtract = subtract;
        make();
        expect_crcs();
        assert_int_equal(u16(contents(6) + 2), 2000 * d);
        assert_int_equal(u8(contents(6) + 5), 1);
        assert_in_range(expect_leads(), 5, 90);
      }
}

TEST(all_layers) {
  ecg12_make(&ecg, 500, 2, 9, 3, 1);
  for (unsigned code = 0; code < SCP_CODES; code++)
    for (unsigned order = 0; order <= 2; order++) {
      o.code = (enum scp_code)code;
      o.difference = order;
      o.subtract = true;
      o.decimation = order == 1 ? 2 : 4;
      o.foreign_every = 3;
      o.quirks = SCP_SHUFFLED;
      o.seed = code;
      make();
      expect_crcs();
      assert_in_range(expect_leads(), 5, 90);
    }
}

/* Between the beats of a recording without noise and drift there is nothing to lose but the waves' curvature. */
TEST(bimodal_keeps_the_shape) {
  ecg12_make(&ecg, 500, 4, 7, 0, 0);
  o.decimation = 4;
  for (unsigned i = 0; i < o.n_leads; i++) {
    struct scp_truth truth;
    assert_int_equal(scp_file_truth(&o, &ecg, i, &truth), 0);
    for (size_t k = 0; k < truth.n; k++)
      assert_in_range(truth.nv[k] - recorded(o.leads[i].lead, k) + 15000, 0, 30000);
    scp_truth_finish(&truth);
  }
}

TEST(beat_that_nobody_needs) {
  o.with_beat = true;
  make();
  expect_crcs();
  EXPECT_BYTES(contents(3), 8, 0x44);
  assert_int_equal(u16(contents(4) + 4), ecg.n_beats);
  assert_true(section(5, NULL) > 0);
  assert_int_equal(expect_leads(), 100);
}

TEST(bimodal_idle) {
  o.quirks = SCP_BIMODAL_IDLE;
  make();
  assert_int_equal(u8(contents(6) + 5), 1);
  assert_int_equal(expect_leads(), 100);
}

TEST(rates) {
  static const unsigned rates[] = {100, 125, 250, 400, 800, 1000};
  for (unsigned i = 0; i < 6; i++) {
    ecg12_make(&ecg, rates[i], 4, 7, 2, 1);
    o.subtract = true;
    make();
    assert_int_equal(u16(contents(6) + 2) * rates[i], 1000000);
    assert_int_equal(u16(contents(4)) * 1000 % u16(contents(5) + 2), 0);
    assert_int_equal(expect_leads(), 100);
  }
  ecg12_make(&ecg, 300, 4, 7, 2, 1);
  assert_int_equal(try(), -EINVAL);
}

TEST(long_leads) {
  ecg12_make(&ecg, 1000, 60, 7, 2, 1);
  o.code = SCP_RAW;
  make();
  size_t whole, cut;
  section(6, &whole);
  assert_int_equal(u16(contents(6) + 6), 65534);
  assert_int_equal(whole, HEADER + 6 + 2 * 8 + 8 * 2 * ecg.n);
  expect_crcs();
  o.quirks = SCP_LONG_CUT;
  make();
  section(6, &cut);
  assert_int_equal(u16(contents(6) + 6), 65534);
  assert_int_equal(cut, HEADER + 6 + 2 * 8 + 8 * 65534);
  assert_int_equal(u32(contents(3) + 2 + 4), 60000);
}

/* ---- order, quirks ---- */

TEST(shuffled) {
  o.quirks = SCP_SHUFFLED | SCP_POINTERS_SHUFFLED;
  o.extra_sections = 3;
  o.marker = "MARK";
  o.subtract = true;
  unsigned moved = 0, pointers_moved = 0;
  for (o.seed = 0; o.seed < 4; o.seed++) {
    make();
    expect_crcs();
    assert_int_equal(expect_leads(), 100);
    assert_int_equal(u32(6 + 4), HEADER + 15 * 10);
    moved += section(1, NULL) > section(6, NULL);
    pointers_moved += u16(6 + HEADER) != 0;
    size_t n, sum = 6;
    for (unsigned i = 0; i < 15; i++)
      if (section(u16(6 + HEADER + 10 * i), &n))
        sum += n;
    assert_int_equal(sum, file.len); /* nothing twice, nothing in between */
  }
  assert_int_not_equal(moved, 0);
  assert_int_not_equal(pointers_moved, 0);
  assert_true(section(128, NULL) && section(137, NULL) && section(146, NULL));
}

TEST(blanks) {
  o.quirks = SCP_CRC_BLANK | SCP_SIGNATURE_BLANK;
  make();
  assert_int_equal(u16(section(1, NULL)), 0xFFFF);
  assert_int_equal(u16(section(6, NULL)), 0xFFFF);
  EXPECT_BYTES(6 + 10, 0, 0, 0, 0, 0, 0);
  assert_int_equal(u16(0), crc16_ccitt(CRC16_CCITT_FALSE_INIT, file.data + 2, file.len - 2));
  assert_int_equal(expect_leads(), 100);
  o.quirks = 0;
  o.version = 10;
  make();
  EXPECT_BYTES(6 + 8, 10, 10, 0, 0, 0, 0, 0, 0);
}

TEST(quirks) {
  o.quirks = SCP_LEAD_COUNT | SCP_FIRST_ZERO | SCP_NO_LEAD_LENGTHS;
  o.code = SCP_RAW;
  o.difference = 0;
  make();
  size_t n;
  EXPECT_BYTES(contents(3), 7, 0x44, 0, 0, 0, 0, 0xCF, 7, 0, 0, 1);
  section(3, &n);
  assert_int_equal(n, HEADER + 2 + 8 * 9);
  section(6, &n);
  assert_int_equal(n, HEADER + 6 + 8 * 2 * ecg.n);
  assert_int_equal(i16(contents(6) + 6), ecg.lead[ECG12_I][0]);
  o.code = SCP_DEFAULT; /* nobody could tell where a lead ends */
  assert_int_equal(try(), -EINVAL);
}

/* ---- section 1 ---- */

#define EXPECT_TAG(number, nth, ...)                                                  \
  do {                                                                                \
    size_t at_ = 0;                                                                   \
    assert_int_equal(tag(number, nth, &at_), sizeof((const uint8_t[]){__VA_ARGS__})); \
    EXPECT_BYTES(at_, __VA_ARGS__);                                                   \
  } while (0)

TEST(patient) {
  o.person =
      (struct file_person){.family = "Roy", .given = "Eve", .id = "42", .birth = {1950, 2, 28, 0, 0, 0}, .sex = 'F'};
  o.second_family = "Le";
  o.taken = (struct file_clock){2026, 12, 31, 23, 59, 58};
  o.high_pass_chz = 5;
  o.low_pass_hz = 150;
  o.filters = 2;
  o.model = "ELI250c";
  o.program = "1.0";
  o.serial = "S9";
  o.manufacturer = "Acme";
  make();
  EXPECT_TAG(0, 0, 'R', 'o', 'y', 0);
  EXPECT_TAG(1, 0, 'E', 'v', 'e', 0);
  EXPECT_TAG(2, 0, '4', '2', 0);
  EXPECT_TAG(3, 0, 'L', 'e', 0);
  EXPECT_TAG(5, 0, 0x9E, 0x07, 2, 28);
  EXPECT_TAG(8, 0, 2);
  EXPECT_TAG(14, 0, 0, 0, 0, 0, 0, 0, 0, 255, 'E', 'L', 'I', '2', '5', '0', 20, 0xA0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
             0, 0, 0, 0, 0, 0, 0, 0, 4, '1', '.', '0', 0, 'S', '9', 0, 0, 0, 'A', 'c', 'm', 'e', 0);
  EXPECT_TAG(25, 0, 0xEA, 0x07, 12, 31);
  EXPECT_TAG(26, 0, 23, 59, 58);
  EXPECT_TAG(27, 0, 5, 0);
  EXPECT_TAG(28, 0, 150, 0);
  EXPECT_TAG(29, 0, 2);
  expect_crcs();
}

TEST(nobody) {
  size_t at;
  o.taken.year = 0;
  make();
  static const unsigned absent[] = {0, 1, 3, 5, 8, 13, 25, 26, 27, 28, 29, 30, 35};
  for (unsigned i = 0; i < sizeof(absent) / sizeof(*absent); i++)
    assert_int_equal(tag(absent[i], 0, &at), -1);
  EXPECT_TAG(2, 0, 0);
  assert_true(tag(14, 0, &at) > 0);
}

TEST(alphabets) {
  size_t at;
  o.person.family = "Zoé";
  assert_int_equal(try(), -EILSEQ);
  o.alphabet = "latin1";
  make();
  EXPECT_TAG(0, 0, 'Z', 'o', 0xE9, 0);
  assert_true(tag(14, 0, &at) > 0 && u8(at + 16) == 0x01);
  o.person.family = "œ€";
  assert_int_equal(try(), -EILSEQ);
  o.alphabet = "latin9";
  make();
  EXPECT_TAG(0, 0, 0xBD, 0xA4, 0);
  assert_true(tag(14, 0, &at) > 0 && u8(at + 16) == 0x3B);
  o.alphabet = "utf16";
  make();
  EXPECT_TAG(0, 0, 0x53, 0x01, 0xAC, 0x20, 0, 0);
  EXPECT_TAG(2, 0, 0, 0);
  o.quirks = SCP_NO_NUL;
  make();
  EXPECT_TAG(0, 0, 0x53, 0x01, 0xAC, 0x20);
  o.quirks = 0;
  assert_true(tag(14, 0, &at) > 0 && u8(at + 16) == 0x07);
  o.person.family = "Ж";
  o.alphabet = "iso-8859-5";
  make();
  EXPECT_TAG(0, 0, 0xB6, 0);
  o.alphabet = "klingon";
  assert_int_equal(try(), -EINVAL);
}

/* ---- interpretation ---- */

static unsigned times_within(size_t at, size_t n, const char *text) {
  unsigned times = 0;
  for (size_t i = at; i + strlen(text) <= at + n; i++)
    times += memcmp(file.data + i, text, strlen(text)) == 0;
  return times;
}

TEST(interpretation) {
  size_t n, at;
  make();
  assert_false(section(7, NULL) || section(8, NULL) || section(10, NULL) || section(11, NULL));
  o.marker = "MARK";
  make();
  expect_crcs();
  static const struct { unsigned id, texts; } wanted[] = {{1, 4}, {7, 1}, {8, 3}, {11, 2}};
  for (unsigned i = 0; i < 4; i++) {
    at = section(wanted[i].id, &n);
    assert_int_equal(times_within(at, n, "MARK"), wanted[i].texts);
  }
  at = contents(8); /* confirmed, date, time, 3 texts: number, length, text */
  EXPECT_BYTES(at, 0, 0xEA, 0x07, 5, 4, 10, 30, 0, 3, 1, 18, 0, 'S', 'I', 'N');
  at = contents(11);
  EXPECT_BYTES(at, 1, 0xEA, 0x07, 5, 4, 10, 30, 0, 2, 1, 9, 0, 1, 'S', 'R', ' ', 'M', 'A', 'R', 'K', 0, 2);
  at = contents(10);
  EXPECT_BYTES(at, 8, 0, 0, 0, 1, 0, 62, 0, 90, 0);
  at = contents(7);
  assert_int_equal(u8(at), ecg.n_beats + 1);
  assert_in_range(u16(at + 2), 740, 860);
  at += 6 + 16 * (ecg.n_beats + 1);
  assert_int_equal(u16(at), ecg.n_beats);
  at += 2 + ecg.n_beats;
  assert_in_range(u16(at), 60000 / 860, 60000 / 740);
  EXPECT_BYTES(at + 4, 0x9C, 0x01, 1, 0, 0, 't', 'h', 'e');
}

/* ---- damage ---- */

TEST(damage_differs) { /* from the sound file, and in no other way than said */
  o.subtract = true;
  o.code = SCP_ONE_TABLE;
  for (unsigned i = SCP_SOUND + 1; i < SCP_DAMAGES; i++) {
    o.damage = SCP_SOUND;
    make();
    struct buf sound = file;
    file = BUF_INIT(SCP_FILE_MAX);
    o.damage = (enum scp_damage)i;
    make();
    assert_false(sound.len == file.len && memcmp(sound.data, file.data, file.len) == 0);
    if (i != SCP_CUT && i != SCP_FILE_CRC) {
      assert_int_equal(u32(2), file.len);
      assert_int_equal(u16(0), crc16_ccitt(CRC16_CCITT_FALSE_INIT, file.data + 2, file.len - 2));
    }
    assert_non_null(scp_damage_name(i));
    buf_finish(&sound);
  }
  assert_null(scp_damage_name(SCP_DAMAGES));
}

static void damage(enum scp_damage d) {
  o.damage = d;
  make();
}

TEST(damage_of_structure) {
  size_t n;
  damage(SCP_POINTER_OUTSIDE);
  assert_true(section(6, NULL) > file.len);
  damage(SCP_OVERLAP);
  assert_true(section(1, &n) + n > section(2, NULL) && section(1, NULL) < section(2, NULL));
  expect_crcs();
  damage(SCP_POINTER_LOOP);
  assert_int_equal(section(6, NULL), 6);
  damage(SCP_ZERO_LENGTHS);
  assert_int_equal(u32(6 + 4), 0);
  damage(SCP_CUT);
  assert_true(u32(2) > file.len);
  assert_true(section(6, &n) + HEADER < file.len && section(6, &n) + n > file.len);
  damage(SCP_FILE_CRC);
  assert_int_not_equal(u16(0), crc16_ccitt(CRC16_CCITT_FALSE_INIT, file.data + 2, file.len - 2));
  damage(SCP_SECTION_CRC);
  size_t at = section(6, &n);
  assert_int_not_equal(u16(at), crc16_ccitt(CRC16_CCITT_FALSE_INIT, file.data + at + 2, n - 2));
}

TEST(damage_of_contents) {
  size_t n, at;
  damage(SCP_LEAD_LENGTH);
  expect_crcs();
  size_t sum = HEADER + 6 + 2 * 8;
  for (unsigned i = 0; i < 8; i++)
    sum += u16(contents(6) + 6 + 2 * i);
  section(6, &n);
  assert_true(sum > n);
  damage(SCP_STREAM_SHORT);
  expect_crcs();
  assert_true(u16(contents(6) + 6 + 14) * 8 < 2000 * 4);
  damage(SCP_ZERO_INTERVAL);
  assert_int_equal(u16(contents(6) + 2), 0);
  damage(SCP_ZERO_AVM);
  assert_int_equal(u16(contents(6)), 0);
  damage(SCP_65_LEADS);
  expect_crcs();
  assert_int_equal(u8(contents(3)), 65);
  damage(SCP_LEAD_BACKWARDS);
  assert_true(u32(contents(3) + 2) > u32(contents(3) + 6));
  damage(SCP_TAG_LENGTH);
  at = contents(1);
  assert_int_equal(u16(at + 1), 0xFFF0);
  damage(SCP_NO_TAG_END);
  expect_crcs();
  o.subtract = true;
  damage(SCP_BEAT_OUTSIDE);
  assert_true(zone_of(0).last - zone_of(0).fiducial > u16(contents(4)) / 2);
  o.code = SCP_THREE;
  damage(SCP_SWITCH_LOOP);
  EXPECT_BYTES(table_at(0) + 2, 0, 0, 0, 1, 0, 0, 0, 0, 0);
  o.code = SCP_DEFAULT; /* it has no table to damage */
  assert_int_equal(try(), -EINVAL);
}

TEST(same_options_same_bytes) {
  o.quirks = SCP_SHUFFLED;
  o.code = SCP_THREE;
  make();
  struct buf first = file;
  file = BUF_INIT(SCP_FILE_MAX);
  make();
  assert_int_equal(first.len, file.len);
  assert_memory_equal(first.data, file.data, file.len);
  buf_finish(&first);
}

TEST(contradictions) {
  const struct scp_options sound = o;
  o.version = 30;
  assert_int_equal(try(), -EINVAL);
  o = sound;
  o.decimation = 3;
  assert_int_equal(try(), -EINVAL);
  o = sound;
  o.leads[0].last = (unsigned)ecg.n + 1;
  assert_int_equal(try(), -EINVAL);
  o = sound;
  o.avm_nv = 3000;
  assert_int_equal(try(), -EINVAL);
  o = sound;
  o.n_leads = 0;
  assert_int_equal(try(), -EINVAL);
  o = sound;
  o.avm_nv = 20; /* 16 bits do not hold what is 250 times as many steps */
  assert_int_equal(try(), -ERANGE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(check_value, setup, teardown),
      cmocka_unit_test_setup_teardown(bytes_default_code, setup, teardown),
      cmocka_unit_test_setup_teardown(bytes_default_code_signs, setup, teardown),
      cmocka_unit_test_setup_teardown(bytes_raw_differences, setup, teardown),
      cmocka_unit_test_setup_teardown(bytes_bimodal, setup, teardown),
      cmocka_unit_test_setup_teardown(every_code, setup, teardown),
      cmocka_unit_test_setup_teardown(own_tables_pay, setup, teardown),
      cmocka_unit_test_setup_teardown(tables_are_switched, setup, teardown),
      cmocka_unit_test_setup_teardown(ranges_have_bases, setup, teardown),
      cmocka_unit_test_setup_teardown(codes_are_prefix_free, setup, teardown),
      cmocka_unit_test_setup_teardown(twelve_leads, setup, teardown),
      cmocka_unit_test_setup_teardown(leads_in_turn, setup, teardown),
      cmocka_unit_test_setup_teardown(beat_taken_off, setup, teardown),
      cmocka_unit_test_setup_teardown(beat_is_the_median, setup, teardown),
      cmocka_unit_test_setup_teardown(beat_in_other_steps, setup, teardown),
      cmocka_unit_test_setup_teardown(beats_alike_leave_nothing, setup, teardown),
      cmocka_unit_test_setup_teardown(bimodal, setup, teardown),
      cmocka_unit_test_setup_teardown(all_layers, setup, teardown),
      cmocka_unit_test_setup_teardown(bimodal_keeps_the_shape, setup, teardown),
      cmocka_unit_test_setup_teardown(beat_that_nobody_needs, setup, teardown),
      cmocka_unit_test_setup_teardown(bimodal_idle, setup, teardown),
      cmocka_unit_test_setup_teardown(rates, setup, teardown),
      cmocka_unit_test_setup_teardown(long_leads, setup, teardown),
      cmocka_unit_test_setup_teardown(shuffled, setup, teardown),
      cmocka_unit_test_setup_teardown(blanks, setup, teardown),
      cmocka_unit_test_setup_teardown(quirks, setup, teardown),
      cmocka_unit_test_setup_teardown(patient, setup, teardown),
      cmocka_unit_test_setup_teardown(nobody, setup, teardown),
      cmocka_unit_test_setup_teardown(alphabets, setup, teardown),
      cmocka_unit_test_setup_teardown(interpretation, setup, teardown),
      cmocka_unit_test_setup_teardown(damage_differs, setup, teardown),
      cmocka_unit_test_setup_teardown(damage_of_structure, setup, teardown),
      cmocka_unit_test_setup_teardown(damage_of_contents, setup, teardown),
      cmocka_unit_test_setup_teardown(same_options_same_bytes, setup, teardown),
      cmocka_unit_test_setup_teardown(contradictions, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
