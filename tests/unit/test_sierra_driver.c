/* Philips Sierra XML: the compression against chunks made here, documents, what is refused, and the real file. */
#include "../../drivers/file_philips_sierra/xli.h"
#include "buf.h"
#include "capture.h"
#include "hash.h"
#include "record_build.h"
#include "record_form.h"
#include "str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

extern const struct acq_driver file_philips_sierra;

#define LEADS 12u

/* ---- XLI, written from its description ------------------------------------------------------------------------ */

struct bits {
  struct buf *out;
  uint32_t held;
  unsigned n;
};

static void put_code(struct bits *b, unsigned code) {
  b->held = b->held << 10 | code;
  for (b->n += 10; b->n >= 8; b->n -= 8)
    buf_u8(b->out, (uint8_t)(b->held >> (b->n - 8)));
}

/* Every string so far as prefix code and last byte. */
static void lzw(const uint8_t *bytes, size_t n, struct buf *out) {
  struct {
    unsigned prefix;
    uint8_t last;
  } table[1024];
  unsigned count = 256, now = bytes[0];
  struct bits b = {.out = out};
  for (size_t i = 1; i < n; i++) {
    unsigned code = 256;
    while (code < count && (table[code].prefix != now || table[code].last != bytes[i]))
      code++;
    if (code < count) {
      now = code;
      continue;
    }
    put_code(&b, now);
    if (count < 1023) {
      table[count].prefix = now;
      table[count++].last = bytes[i];
    }
    now = bytes[i];
  }
  put_code(&b, now);
  put_code(&b, 1023);
  if (b.n)
    buf_u8(out, (uint8_t)(b.held << (8 - b.n)));
}

static void put_chunk_head(struct buf *out, size_t n, unsigned kind, int first) {
  const uint8_t head[] = {(uint8_t)n,    (uint8_t)(n >> 8),    (uint8_t)(n >> 16), 0,
                          (uint8_t)kind, (uint8_t)(kind >> 8), (uint8_t)first,     (uint8_t)((unsigned)first >> 8)};
  buf_add(out, head, sizeof head);
}

static void put_chunk(struct buf *out, const int *x, size_t n) {
  _buf_cleanup_ struct buf packed = BUF_INIT(1 << 20);
  uint8_t *words = malloc(2 * n);
  assert_non_null(words);
  for (size_t i = 0; i < n; i++) {
    int d = i + 1 < n && i >= 1 ? 2 * x[i] - x[i - 1] - x[i + 1] + 64 : 0;
    int word = i < 2 ? x[i] : d;
    words[i] = (uint8_t)((unsigned)word >> 8);
    words[n + i] = (uint8_t)word;
  }
  lzw(words, 2 * n, &packed);
  put_chunk_head(out, packed.len, 1, n > 2 ? 2 * x[1] - x[0] - x[2] : 0);
  buf_add(out, packed.data, packed.len);
  free(words);
}

static int wave(unsigned lead, size_t i) {
  static const int beat[] = {0, 1, 3, 9, 5, -2, 0, 0, 40, 160, 210, 60, -50, -10, 0, 2, 4, 9, 16, 24, 30, 24, 10, 2};
  return beat[(i / (1 + lead % 3)) % 24] * (int)(lead + 1) / 3 - (int)(i * 7919 % 5);
}

static void test_chunks_round_trip(void **state) {
  (void)state;
  static const size_t lengths[] = {2, 3, 4, 5, 50, 1000, 5500};
  static int x[5500];
  static int16_t got[5500];
  static uint8_t work[11000];
  const char *why;
  for (unsigned lead = 0; lead < LEADS; lead++)
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
      const size_t n = lengths[l];
      _buf_cleanup_ struct buf b = BUF_INIT(1 << 20);
      for (size_t i = 0; i < n; i++)
        x[i] = lead == 11 ? 0 : lead == 10 ? 200 : wave(lead, i); /* long runs of one value, too */
      put_chunk(&b, x, n);
      struct acq_cur in = acq_cur(b.data, b.len);
      assert_int_equal(xli_read(&in, got, n, work, &why), n);
      assert_int_equal(acq_left(&in), 0);
      for (size_t i = 0; i < n; i++)
        assert_int_equal(got[i], x[i]);
      in = acq_cur(b.data, b.len);
      assert_int_equal(xli_read(&in, got, n - 1, work, &why), -EPROTO);
      assert_string_equal(why, "compressed samples are longer than the recording");
    }
}

/* Each code the longest string so far: what a kilobyte unpacks to is bounded by the caller, not by the chunk. */
static void test_chunk_that_grows(void **state) {
  (void)state;
  _buf_cleanup_ struct buf packed = BUF_INIT(1 << 20), b = BUF_INIT(1 << 20);
  struct bits bits = {.out = &packed};
  static int16_t got[5000];
  static uint8_t work[10000];
  const char *why;
  put_code(&bits, 0);
  for (unsigned code = 256; code < 1023; code++)
    put_code(&bits, code);
  for (unsigned i = 0; i < 100000; i++)
    put_code(&bits, 1022);
  put_chunk_head(&b, packed.len, 1, 0);
  buf_add(&b, packed.data, packed.len);
  struct acq_cur in = acq_cur(b.data, b.len);
  assert_int_equal(xli_read(&in, got, 5000, work, &why), -EPROTO);
  assert_string_equal(why, "compressed samples are longer than the recording");
}

static void refuse_chunk(const uint8_t *packed, size_t n, size_t said, unsigned kind, int err, const char *reason) {
  _buf_cleanup_ struct buf b = BUF_INIT(4096);
  int16_t got[64];
  uint8_t work[128];
  const char *why = "";
  put_chunk_head(&b, said, kind, 0);
  buf_add(&b, packed, n);
  struct acq_cur in = acq_cur(b.data, b.len);
  assert_int_equal(xli_read(&in, got, 64, work, &why), err);
  assert_non_null(strstr(why, reason));
}

static void test_chunks_refused(void **state) {
  (void)state;
  const uint8_t unknown[] = {0x00, 0x10, 0x10} /* 0, 257 */, open[] = {0x00, 0x3f, 0xf0} /* 0, end */,
                early[] = {0xff, 0xc0, 0, 0, 0, 0}, first[] = {0x40, 0x00} /* 256 at once */;
  refuse_chunk(unknown, 3, 3, 1, -EPROTO, "damaged");
  refuse_chunk(first, 2, 2, 1, -EPROTO, "damaged");
  refuse_chunk(open, 3, 3, 1, -EPROTO, "odd");
  refuse_chunk(early, 6, 6, 1, -EPROTO, "behind");
  refuse_chunk(open, 3, 4, 1, -EPROTO, "cut");
  refuse_chunk(open, 3, UINT32_MAX >> 8, 1, -EPROTO, "cut");
  refuse_chunk(open, 3, 3, 2, -EOPNOTSUPP, "not known");
  struct acq_cur nothing = acq_cur(open, 3);
  const char *why;
  assert_int_equal(xli_read(&nothing, NULL, 0, NULL, &why), -EPROTO);
  /* A second difference that runs away. */
  _buf_cleanup_ struct buf b = BUF_INIT(1 << 16);
  static int16_t got[2000];
  static uint8_t work[4000], words[4000];
  _buf_cleanup_ struct buf packed = BUF_INIT(1 << 16);
  lzw(words, sizeof words, &packed);
  put_chunk_head(&b, packed.len, 1, -30000);
  buf_add(&b, packed.data, packed.len);
  struct acq_cur in = acq_cur(b.data, b.len);
  assert_int_equal(xli_read(&in, got, 2000, work, &why), -ERANGE);
}

/* ---- documents ---------------------------------------------------------------------------------------------- */

#define HEAD_AS(version, signal)                                                                                   \
  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<restingecgdata xmlns=\"http://www3.medical.philips.com\">"         \
  "<documentinfo><documenttype>SierraECG</documenttype><documentversion> " version "\n</documentversion>"          \
  "</documentinfo><dataacquisition date=\"2026-01-02\" time=\"03:04:05\"><machine machineid=\"M7\">Cart</machine>" \
  "<signalcharacteristics>" signal "</signalcharacteristics></dataacquisition><patient><generalpatientdata>"       \
  "<patientid>P-7</patientid><name><lastname>Évrard</lastname><firstname>Zoé</firstname></name><age>"            \
  "<dateofbirth>1953-05-08</dateofbirth></age><sex>Female</sex></generalpatientdata></patient>"
#define OLD_SIGNAL                                                                                                    \
  "<samplingrate>500</samplingrate><signalresolution>5</signalresolution><signalbandwidth>0.05-150</signalbandwidth>" \
  "<acquisitiontype>STD-12</acquisitiontype><bitspersample>16</bitspersample><signaloffset>0</signaloffset>"          \
  "<signalsigned>True</signalsigned>"
#define NEW_SIGNAL                                                                                        \
  "<samplingrate>500</samplingrate><resolution>5</resolution><hipass>0.05</hipass><lowpass>150</lowpass>" \
  "<acsetting>50</acsetting><notchfiltered>True</notchfiltered><notchfilterfreqs/>"                       \
  "<acquisitiontype>10-WIRE</acquisitiontype><bitspersample>16</bitspersample>"
#define INTERPRETATION                                                                                              \
  "<interpretations><interpretation><globalmeasurements><heartrate>41</heartrate><qtint/></globalmeasurements>"     \
  "<severity>Marker A</severity><statement><statementcode>X</statementcode><leftstatement>Marker B</leftstatement>" \
  "<rightstatement>Marker C</rightstatement></statement></interpretation></interpretations>"
#define OLD HEAD_AS("1.03", OLD_SIGNAL) INTERPRETATION
#define NEW HEAD_AS("1.04.01", NEW_SIGNAL)
#define TWELVE "leadlabels=\"I II III aVR aVL aVF V1 V2 V3 V4 V5 V6\" numberofleads=\"12\""

struct reading {
  int err;
  char reason[256], *json;
  json_t *record;
  int16_t *samples;
  size_t n_samples;
};

static struct reading read_bytes(const void *bytes, size_t n) {
  struct acq_capture capture;
  struct reading r = {0};
  struct record_result result[WIRE_RECORDS] = {0};
  char why[256] = "";
  uint8_t *exact = malloc(n ? n : 1);
  assert_non_null(exact);
  memcpy(exact, bytes, n);
  assert_int_equal(capture_from_file(exact, n, &capture), 0);
  r.err = record_decode(&file_philips_sierra, &capture, result, r.reason);
  struct record_result *own = &result[result[WIRE_OWN].json ? WIRE_OWN : WIRE_STRAY];
  if (r.err == 0) {
    if (record_read(own->json, own->json_bytes, own->data, own->data_values * sizeof(int16_t), &r.record, why) < 0)
      fail_msg("the record is not accepted: %s", why);
    r.json = strdup(own->json);
    assert_non_null(strstr(r.json, "\"file_unchecked\""));
    r.n_samples = own->data_values;
    r.samples = own->data;
    own->data = NULL;
  }
  for (int i = 0; i < WIRE_RECORDS && r.err == 0; i++)
    record_result_finish(&result[i]);
  capture_finish(&capture);
  free(exact);
  return r;
}

static void reading_finish(struct reading *r) {
  json_decref(r->record);
  free(r->json);
  free(r->samples);
}

static bool says(const struct reading *r, const char *text) {
  return strstr(r->json, text) != NULL;
}

/* The samples of a lead, and how many. */
static const int16_t *samples_of(const struct reading *r, const char *code, size_t *n) {
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(json_object_get(r->record, "acquired"), "channels"), i, item) {
    if (strcmp(json_text(item, "code"), code))
      continue;
    *n = (size_t)json_integer_value(json_object_get(item, "samples"));
    return r->samples + json_integer_value(json_object_get(item, "first"));
  }
  fail_msg("no lead %s", code);
  return NULL;
}

static struct buf document(const char *head, const char *attributes, const void *bytes, size_t n) {
  struct buf b = BUF_INIT(4 << 20);
  char *base64 = malloc(STR_BASE64(n));
  assert_non_null(base64);
  str_base64(bytes, n, base64);
  buf_format(&b, "%s<waveforms><parsedwaveforms dataencoding=\"Base64\" %s>", head, attributes);
  for (size_t at = 0, len = strlen(base64); at < len; at += 76)
    buf_format(&b, "%.76s\n", base64 + at);
  buf_text(&b, "</parsedwaveforms></waveforms></restingecgdata>\n");
  assert_false(b.err);
  free(base64);
  return b;
}

static struct reading read_document(const char *head, const char *attributes, const struct buf *bytes) {
  _buf_cleanup_ struct buf b = document(head, attributes, bytes->data, bytes->len);
  return read_bytes(b.data, b.len);
}

static void assert_refused(const char *head, const char *attributes, const struct buf *bytes, int err,
                           const char *reason) {
  struct reading r = read_document(head, attributes, bytes);
  if (r.err != err || !strstr(r.reason, reason))
    fail_msg("%d \"%s\" instead of %d \"%s\"", r.err, r.reason, err, reason);
  reading_finish(&r);
}

#define N 1000u /* 2 s */

/* Twelve leads as they are; the limb leads follow from I and II but for a little noise, as a recorder measures them. */
static void make_leads(int x[LEADS][N]) {
  for (unsigned lead = 0; lead < LEADS; lead++)
    for (size_t i = 0; i < N; i++)
      x[lead][i] = wave(lead, i);
  for (size_t i = 0; i < N; i++) {
    const int a = x[0][i], b = x[1][i], noise = (int)(i % 3) - 1;
    x[2][i] = b - a + noise;
    x[3][i] = -(a + b) / 2 + noise;
    x[4][i] = (a - x[2][i]) / 2 - noise;
    x[5][i] = (b + x[2][i]) / 2 + noise;
  }
}

static void compress(int x[LEADS][N], unsigned extra, struct buf *ret) {
  static int stored[N];
  for (unsigned lead = 0; lead < LEADS + extra; lead++) {
    for (size_t i = 0; i < N; i++) {
      const int a = x[0][i], b = x[1][i], c = x[2][i];
      stored[i] = lead == 2   ? b - a - c
                  : lead == 3 ? -x[3][i] - (a + b) / 2
                  : lead == 4 ? (a - c) / 2 - x[4][i]
                  : lead == 5 ? (b + c) / 2 - x[5][i]
                  : lead < 12 ? x[lead][i]
                              : 0;
    }
    put_chunk(ret, stored, N);
  }
}

static void assert_leads(const struct reading *r, int x[LEADS][N]) {
  static const char *const codes[LEADS] = {"lead_i",  "lead_ii", "lead_iii", "lead_avr", "lead_avl", "lead_avf",
                                           "lead_v1", "lead_v2", "lead_v3",  "lead_v4",  "lead_v5",  "lead_v6"};
  for (unsigned lead = 0; lead < LEADS; lead++) {
    size_t n;
    const int16_t *got = samples_of(r, codes[lead], &n);
    assert_int_equal(n, N);
    for (size_t i = 0; i < n; i++)
      assert_int_equal(got[i], x[lead][i]);
  }
}

static void test_compressed(void **state) {
  (void)state;
  static int x[LEADS][N];
  make_leads(x);
  for (unsigned extra = 0; extra < 5; extra += 4) {
    _buf_cleanup_ struct buf b = BUF_INIT(1 << 20);
    compress(x, extra, &b);
    struct reading r =
        read_document(OLD, "compressflag=\"True\" compressmethod=\"XLI\" durationperchannel=\"2000\"", &b);
    if (r.err)
      fail_msg("%s", r.reason);
    assert_leads(&r, x);
    assert_int_equal(r.n_samples, LEADS * N);
    assert_true(says(&r, "\"device_time\":\"2026-01-02T03:04:05.000\""));
    assert_true(says(&r, "\"birth_date\":\"1953-05-08\",\"family\":\"Évrard\",\"given\":\"Zoé\",\"id\":\"P-7\","
                         "\"sex\":\"F\""));
    assert_true(says(&r, "\"make\":\"Philips\",\"model\":\"Cart\",\"sensor\":\"\",\"serial\":\"M7\""));
    assert_true(says(&r, "(0,05 à 150 Hz)"));
    assert_true(says(&r, "\"statements\":[{\"code\":\"measurement\",\"text\":\"heartrate : 41\",\"trial\":1},"
                         "{\"code\":\"interpretation\",\"text\":\"Marker A\",\"trial\":1},"
                         "{\"code\":\"interpretation\",\"text\":\"Marker B ; Marker C\",\"trial\":1}]"));
    assert_false(says(&r, "file_inconsistent"));
    reading_finish(&r);
    r = read_document(NEW, TWELVE " compression=\"XLI\" durationperchannel=\"2000\" samplespersecond=\"500\"", &b);
    assert_int_equal(r.err, 0);
    assert_leads(&r, x);
    assert_true(says(&r, "(secteur 50 Hz)"));
    reading_finish(&r);
    r = read_document(NEW, TWELVE " compression=\"XLI\" durationperchannel=\"3000\"", &b);
    assert_int_equal(r.err, 0);
    assert_true(says(&r, "\"file_inconsistent\""));
    reading_finish(&r);
  }
}

static void put_plain(struct buf *b, int x[LEADS][N], unsigned leads) {
  for (unsigned lead = 0; lead < leads; lead++)
    for (size_t i = 0; i < N; i++) {
      buf_u8(b, (uint8_t)x[lead][i]);
      buf_u8(b, (uint8_t)((unsigned)x[lead][i] >> 8));
    }
}

static void test_uncompressed(void **state) {
  (void)state;
  static int x[LEADS][N];
  _buf_cleanup_ struct buf b = BUF_INIT(1 << 20);
  make_leads(x);
  put_plain(&b, x, LEADS);
  static const char *const ways[] = {TWELVE " durationperchannel=\"2000\"",
                                     TWELVE " compression=\"Uncompressed\" durationperchannel=\"2000\"",
                                     "compressflag=\"False\" compressmethod=\"XLI\""};
  for (unsigned i = 0; i < 3; i++) {
    struct reading r = read_document(i < 2 ? NEW : OLD, ways[i], &b);
    if (r.err)
      fail_msg("%s", r.reason);
    assert_leads(&r, x);
    reading_finish(&r);
  }
}

static void test_utf_16(void **state) {
  (void)state;
  static int x[LEADS][N];
  _buf_cleanup_ struct buf b = BUF_INIT(1 << 20), wide = BUF_INIT(1 << 20);
  make_leads(x);
  compress(x, 0, &b);
  _buf_cleanup_ struct buf text =
      document("<?xml version=\"1.0\" encoding=\"UTF-16\"?><restingecgdata xmlns=\"urn:other\"><documentinfo>"
               "<documenttype>PhilipsECG</documenttype><documentversion>1.04</documentversion></documentinfo>"
               "<dataacquisition><signalcharacteristics>" NEW_SIGNAL "</signalcharacteristics></dataacquisition>",
               TWELVE " compression=\"XLI\"", b.data, b.len);
  for (unsigned big = 0; big < 2; big++) {
    wide.len = 0;
    buf_u8(&wide, big ? 0xfe : 0xff);
    buf_u8(&wide, big ? 0xff : 0xfe);
    for (size_t i = 0; i < text.len; i++) {
      buf_u8(&wide, big ? 0 : text.data[i]);
      buf_u8(&wide, big ? text.data[i] : 0);
    }
    struct reading r = read_bytes(wide.data, wide.len);
    if (r.err)
      fail_msg("%s", r.reason);
    assert_leads(&r, x);
    assert_true(says(&r, "\"subject\":null") && says(&r, "\"device_time\":null"));
    assert_true(says(&r, "\"reading_time_unverified\""));
    reading_finish(&r);
  }
}

/* ---- refused ------------------------------------------------------------------------------------------------ */

static void test_refused(void **state) {
  (void)state;
  static int x[LEADS][N];
  _buf_cleanup_ struct buf b = BUF_INIT(1 << 20), plain = BUF_INIT(1 << 20), none = BUF_INIT(16);
  make_leads(x);
  compress(x, 0, &b);
  put_plain(&plain, x, LEADS);
#define XLI TWELVE " compression=\"XLI\" durationperchannel=\"2000\""
  assert_refused("<q>", XLI, &b, -ENXIO, "another one");
  assert_refused(HEAD_AS("1.02", NEW_SIGNAL), XLI, &b, -EOPNOTSUPP, "version");
  assert_refused(HEAD_AS("2.0", NEW_SIGNAL), XLI, &b, -EOPNOTSUPP, "version");
  assert_refused(NEW, TWELVE " compression=\"ZIP\"", &b, -EOPNOTSUPP, "compression");
  assert_refused(NEW, TWELVE " compression=\"XLI\" durationperchannel=\"1998\"", &b, -EPROTO, "longer");
  assert_refused(NEW, TWELVE " compression=\"XLI\" durationperchannel=\"999999999\"", &b, -EOPNOTSUPP, "more than");
  assert_refused(NEW, TWELVE " compression=\"XLI\" durationperchannel=\"-1\"", &b, -ERANGE, "duration");
  assert_refused(NEW, XLI " samplespersecond=\"1000\"", &b, -EPROTO, "sampling rate is said twice");
  assert_refused(NEW, XLI " resolution=\"2.5\"", &b, -EPROTO, "resolution is said twice");
  assert_refused(NEW, XLI " signalsigned=\"False\"", &b, -EOPNOTSUPP, "sign");
  assert_refused(NEW, XLI " signaloffset=\"5\"", &b, -EOPNOTSUPP, "sign");
  assert_refused(NEW, XLI " bitspersample=\"12\"", &b, -EPROTO, "sample size is said twice");
  assert_refused(NEW, "compression=\"XLI\" leadlabels=\"I II V1\" numberofleads=\"4\"", &b, -EPROTO, "names");
  assert_refused(NEW, "compression=\"XLI\" leadlabels=\"I II I\"", &b, -EPROTO, "twice");
  assert_refused(NEW, "compression=\"XLI\" leadlabels=\"V1 I II III\"", &b, -EOPNOTSUPP, "order");
  assert_refused(NEW, "compression=\"XLI\" leadlabels=\"X Y Z\"", &b, -EOPNOTSUPP, "known");
  assert_refused(HEAD_AS("1.04", "<samplingrate>500</samplingrate><resolution>5</resolution>"), "compression=\"XLI\"",
                 &b, -EOPNOTSUPP, "names");
  assert_refused(HEAD_AS("1.04", "<resolution>5</resolution>"), XLI, &b, -ERANGE, "sampling rate");
  assert_refused(HEAD_AS("1.04", "<samplingrate>500.5</samplingrate>"), XLI, &b, -ERANGE, "sampling rate");
  assert_refused(HEAD_AS("1.04", "<samplingrate>500</samplingrate>"), XLI, &b, -ERANGE, "resolution");
  assert_refused(HEAD_AS("1.04", "<samplingrate>x</samplingrate>"), XLI, &b, -EPROTO, "no number");
  assert_refused(NEW, XLI, &none, -EPROTO, "cut");
  assert_refused(NEW, TWELVE, &none, -EPROTO, "same number");
  plain.len -= 2;
  assert_refused(NEW, TWELVE, &plain, -EPROTO, "same number");
  struct reading r = read_bytes(NEW "</restingecgdata>", strlen(NEW "</restingecgdata>"));
  assert_int_equal(r.err, -ENODATA);
  static const char bad[] = NEW "<waveforms><parsedwaveforms dataencoding=\"Base64\" " XLI ">A*AA</parsedwaveforms>"
                                "</waveforms></restingecgdata>",
                    cut[] = NEW "<waveforms><parsedwaveforms dataencoding=\"Base64\" " XLI ">AAA</parsedwaveforms>"
                                "</waveforms></restingecgdata>";
  r = read_bytes(bad, strlen(bad));
  assert_int_equal(r.err, -EPROTO);
  assert_non_null(strstr(r.reason, "base64"));
  r = read_bytes(cut, strlen(cut));
  assert_int_equal(r.err, -EPROTO);
  assert_non_null(strstr(r.reason, "cut"));
}

/* The document is never whole before its end; what of the samples is missing is missed. */
static void test_truncated_and_flipped(void **state) {
  (void)state;
  static int x[LEADS][N];
  _buf_cleanup_ struct buf b = BUF_INIT(1 << 20);
  make_leads(x);
  compress(x, 0, &b);
  _buf_cleanup_ struct buf text = document(NEW, XLI, b.data, b.len);
  for (size_t n = 1; n < text.len - 1; n += n < 2000 ? 1 : 13) {
    struct reading r = read_bytes(text.data, n);
    if (r.err != -ENXIO && r.err != -EPROTO)
      fail_msg("%zu: %d", n, r.err);
    reading_finish(&r);
  }
  for (size_t bit = 0; bit < 8 * text.len; bit += bit < 16000 ? 1 : 37) {
    text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    struct reading r = read_bytes(text.data, text.len); /* looks for file_unchecked */
    reading_finish(&r);
    text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  for (size_t n = 0; n < b.len; n += 5) {
    struct buf part = {.data = b.data, .len = n};
    assert_refused(NEW, XLI, &part, -EPROTO, "cut");
  }
}

/* ---- the real file ------------------------------------------------------------------------------------------ */

#define SAMPLE "philips_sierra/129DYPRG_1_03.xml"

static bool sample(struct buf *ret) {
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[512];
  *ret = BUF_INIT(1 << 20);
  snprintf(path, sizeof path, "%s/" SAMPLE, folder ? folder : "../shared/samples");
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("skipped: no %s\n", path);
    return false;
  }
  uint8_t *at = buf_extend(ret, 1 << 20);
  assert_non_null(at);
  ret->len = fread(at, 1, 1 << 20, f);
  fclose(f);
  return true;
}

/* Twelve leads that fit each other to one step or two, as the recorder measured them apart, and the pulse of 1 mV that
 * it adds behind its ten seconds in every lead. */
static void test_real_file(void **state) {
  (void)state;
  struct buf b;
  if (!sample(&b))
    skip();
  struct reading r = read_bytes(b.data, b.len);
  assert_int_equal(r.err, 0);
  static const char *const codes[] = {"lead_i", "lead_ii", "lead_iii", "lead_avr", "lead_avl", "lead_avf"};
  const int16_t *x[6];
  size_t n, pulse = 0;
  for (unsigned i = 0; i < 6; i++) {
    x[i] = samples_of(&r, codes[i], &n);
    assert_int_equal(n, 5500);
  }
  for (size_t i = 0; i < n; i++) {
    const bool is_pulse = i >= 5350;
    pulse += is_pulse && x[0][i] == 200;
    for (unsigned lead = 1; lead < 6 && is_pulse; lead++)
      assert_int_equal(x[lead][i], x[0][i]);
    if (is_pulse)
      continue;
    assert_in_range(x[2][i] - (x[1][i] - x[0][i]) + 2, 0, 4);
    assert_in_range(2 * x[3][i] + x[0][i] + x[1][i] + 3, 0, 6);
    assert_in_range(2 * x[4][i] - x[0][i] + x[2][i] + 3, 0, 6);
    assert_in_range(2 * x[5][i] - x[1][i] - x[2][i] + 3, 0, 6);
  }
  assert_int_equal(pulse, 100);
  assert_int_equal(r.n_samples, 12 * 5500);
  assert_true(says(&r, "\"rate\":\"500\",\"samples\":5500,\"scale\":\"5\""));
  assert_true(says(&r, "\"device_time\":\"2011-12-01T07:27:34.000\""));
  assert_true(says(&r, "\"model\":\"HeartstartMRx\""));
  assert_true(says(&r, "Sinus bradycardia ; rate< 50"));
  assert_true(says(&r, "\"id\":\"1112010721168bdc\",\"sex\":\"M\""));
  reading_finish(&r);
  buf_finish(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_chunks_round_trip), cmocka_unit_test(test_chunk_that_grows),
      cmocka_unit_test(test_chunks_refused),    cmocka_unit_test(test_compressed),
      cmocka_unit_test(test_uncompressed),      cmocka_unit_test(test_utf_16),
      cmocka_unit_test(test_refused),           cmocka_unit_test(test_truncated_and_flipped),
      cmocka_unit_test(test_real_file),
  };
  return hash_open() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
