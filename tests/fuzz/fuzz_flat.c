/* What asaleed-export makes of a DICOM file, as one that was taken over would make it. The first byte says how the rest
 * is put together: even: entries, each a byte that chooses a tag, one that chooses a kind, a length u16 BE and so many
 * bytes; odd: a stream as it stands. */
#include "fuzz.h"

#include "../../drivers/file_dicom/dicom.h"
#include "capture.h"
#include "hash.h"
#include "record_build.h"
#include <string.h>

#define ENTRIES_MAX 4096

extern const struct acq_driver file_dicom;

static const uint32_t tags[] = {SOP_CLASS_UID,
                                ACQUISITION_DATE,
                                CONTENT_DATE,
                                ACQUISITION_DATETIME,
                                ACQUISITION_TIME,
                                CONTENT_TIME,
                                MANUFACTURER,
                                CODE_VALUE,
                                CODING_SCHEME,
                                CODE_MEANING,
                                TIMEZONE_OFFSET,
                                MODEL_NAME,
                                PATIENT_NAME,
                                PATIENT_ID,
                                PATIENT_BIRTH_DATE,
                                PATIENT_SEX,
                                SOFTWARE_VERSIONS,
                                GROUP_TIME_OFFSET,
                                LATERALITY,
                                IMAGE_LATERALITY,
                                VISIT_COMMENTS,
                                WAVEFORM_ORIGINALITY,
                                NUMBER_OF_CHANNELS,
                                NUMBER_OF_SAMPLES,
                                SAMPLING_FREQUENCY,
                                MULTIPLEX_GROUP_LABEL,
                                CHANNEL_DEFINITION,
                                CHANNEL_SOURCE,
                                CHANNEL_DERIVATION,
                                CHANNEL_SENSITIVITY,
                                CHANNEL_SENSITIVITY_UNITS,
                                CHANNEL_CORRECTION,
                                CHANNEL_BASELINE,
                                CHANNEL_TIME_SKEW,
                                CHANNEL_SAMPLE_SKEW,
                                CHANNEL_OFFSET,
                                FILTER_LOW,
                                FILTER_HIGH,
                                FILTER_NOTCH,
                                ACQUISITION_CONTEXT,
                                UNITS_CODE,
                                CONCEPT_NAME,
                                SAMPLE_POSITIONS,
                                CONCEPT_CODE,
                                NUMERIC_VALUE,
                                WAVEFORM_ANNOTATION,
                                UNFORMATTED_TEXT,
                                WAVEFORM_SEQUENCE,
                                WAVEFORM_PADDING,
                                WAVEFORM_DATA,
                                0};
#define TAGS (sizeof tags / sizeof *tags)
static const char kinds[] = "tw()p.";

/* ---- the capture of it ---- */

struct script {
  struct buf text, blobs;
};

static void add_received(struct script *s, const uint8_t *bytes, size_t n) {
  for (size_t at = 0; at < n; at += CAPTURE_LINE_BYTES) {
    buf_text(&s->text, "< 1 ");
    buf_hex(&s->text, bytes + at, n - at < CAPTURE_LINE_BYTES ? n - at : CAPTURE_LINE_BYTES);
    buf_text(&s->text, "\n");
  }
}

static void add_blob(struct script *s, const uint8_t *bytes, size_t n) {
  char sha[HASH_TEXT];
  hash_sha256_text(bytes, n, sha);
  buf_add(&s->blobs, bytes, n);
  buf_format(&s->text, "@ 1 %zu 0\n# 1 %zu %s\n", n, n, sha);
}

static void add_entry(struct script *s, struct acq_cur *in) {
  struct buf head = BUF_INIT(16);
  const uint32_t tag = tags[acq_u8(in) % TAGS];
  const char kind = kinds[acq_u8(in) % (sizeof kinds - 1)];
  size_t n = acq_u16be(in);
  n = n < acq_left(in) ? n : acq_left(in);
  if (kind == 'w')
    n -= n % 2;
  const uint8_t *bytes = acq_bytes(in, n);
  if (!bytes)
    return;
  const bool has_value = kind == 't' || kind == 'w' || kind == 'p';
  buf_u32le(&head, kind == '.' ? 0 : tag);
  buf_u8(&head, (uint8_t)kind);
  buf_u32le(&head, has_value ? (uint32_t)n : 0);
  add_received(s, head.data, head.len);
  if (kind == 'p' && n)
    add_blob(s, bytes, n);
  else if (has_value && n)
    add_received(s, bytes, n);
  buf_finish(&head);
}

/* ---- what must hold ---- */

static void check_record(const struct record_result *result) {
  char reason[256];
  json_t *record = NULL;
  if (!result->json)
    return;
  FUZZ_CHECK(record_read(result->json, result->json_bytes, result->data, result->data_values * 2, &record, reason) ==
             0);
  const json_t *acquired = json_object_get(record, "acquired");
  const bool fundus = !strcmp(json_text(record, "modality"), "fundus");
  FUZZ_CHECK((json_array_size(json_object_get(acquired, "pictures")) > 0) == fundus);
  FUZZ_CHECK((json_array_size(json_object_get(acquired, "channels")) > 0) == !fundus);
  json_decref(record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct script s = {.text = BUF_INIT(16 << 20), .blobs = BUF_INIT(16 << 20)};
  struct acq_cur in = acq_cur(data, n);
  FUZZ_CHECK(hash_open() == 0);
  buf_text(&s.text, "asaleed-capture 1\ndriver file_dicom 1\nbus file\norder 60 ecg\n"
                    "start 2026-03-02T10:00:00.000000+01:00\n");
  const bool raw = acq_u8(&in) & 1;
  if (raw) {
    add_received(&s, in.at, acq_left(&in));
  } else {
    add_received(&s, (const uint8_t *)FLAT_MAGIC, FLAT_MAGIC_BYTES);
    for (unsigned i = 0; i < ENTRIES_MAX && acq_left(&in); i++)
      add_entry(&s, &in);
  }
  buf_text(&s.text, "end ok\n");
  struct acq_capture capture;
  FUZZ_CHECK(!s.text.err && !s.blobs.err);
  FUZZ_CHECK(capture_parse_with((const char *)s.text.data, s.text.len, s.blobs.data, s.blobs.len, &capture, NULL) == 0);
  struct record_result results[WIRE_RECORDS] = {0};
  char reason[256] = "";
  int err = record_decode(&file_dicom, &capture, results, reason);
  FUZZ_CHECK(err == 0 || err == -EPROTO || err == -ENXIO || err == -ENODATA || err == -ERANGE || err == -EOPNOTSUPP ||
             err == -EFBIG);
  FUZZ_CHECK(err == 0 || reason[0]);
  for (int i = 0; i < WIRE_RECORDS; i++) {
    check_record(&results[i]);
    record_result_finish(&results[i]);
  }
  capture_finish(&capture);
  buf_finish(&s.text);
  buf_finish(&s.blobs);
  return 0;
}

/* ---- seeds ---- */

static void put(struct buf *b, uint32_t tag, char kind, const void *bytes, size_t n) {
  unsigned i = 0;
  while (i < TAGS - 1 && tags[i] != tag)
    i++;
  buf_u8(b, (uint8_t)i);
  buf_u8(b, (uint8_t)(strchr(kinds, kind) - kinds));
  buf_u8(b, (uint8_t)(n >> 8));
  buf_u8(b, (uint8_t)n);
  buf_add(b, bytes, n);
}

static void put_text(struct buf *b, uint32_t tag, const char *text) {
  put(b, tag, 't', text, strlen(text));
}

static void put_code(struct buf *b, uint32_t sequence, const char *value, const char *scheme, const char *meaning) {
  put(b, sequence, '(', NULL, 0);
  put_text(b, CODE_VALUE, value);
  put_text(b, CODING_SCHEME, scheme);
  put_text(b, CODE_MEANING, meaning);
  put(b, sequence, ')', NULL, 0);
}

static void put_group(struct buf *b, const char *label, bool old) {
  static const uint8_t samples[32] = {1, 0, 2, 0, 255, 255, 9, 0, 7}, padding[] = {0, 128};
  put(b, WAVEFORM_SEQUENCE, '(', NULL, 0);
  put_text(b, WAVEFORM_ORIGINALITY, "ORIGINAL");
  put_text(b, NUMBER_OF_CHANNELS, "2");
  put_text(b, NUMBER_OF_SAMPLES, "8");
  put_text(b, SAMPLING_FREQUENCY, "500");
  put_text(b, GROUP_TIME_OFFSET, "2500.5");
  put_text(b, MULTIPLEX_GROUP_LABEL, label);
  for (unsigned i = 1; i <= 2; i++) {
    char code[16];
    snprintf(code, sizeof code, old ? "5.6.3-9-%u" : "2:%u", i);
    put(b, CHANNEL_DEFINITION, '(', NULL, 0);
    put_code(b, CHANNEL_SOURCE, code, old ? "SCPECG" : "MDC", "Lead");
    put_text(b, CHANNEL_SENSITIVITY, old ? "2.5E0" : "4.88");
    put_code(b, CHANNEL_SENSITIVITY_UNITS, old ? "mV" : "uV", "UCUM", "microvolt");
    put_text(b, CHANNEL_CORRECTION, old ? "0.001" : "1");
    put_text(b, CHANNEL_BASELINE, "0");
    put_text(b, CHANNEL_TIME_SKEW, "0.0001");
    put_text(b, CHANNEL_SAMPLE_SKEW, "0.5");
    put_text(b, CHANNEL_OFFSET, "0");
    put_text(b, FILTER_LOW, "0.05");
    put_text(b, FILTER_HIGH, "150");
    put_text(b, FILTER_NOTCH, "50");
    put(b, CHANNEL_DEFINITION, ')', NULL, 0);
  }
  put(b, WAVEFORM_PADDING, 'w', padding, 2);
  put(b, WAVEFORM_DATA, 'w', samples, 32);
  put(b, WAVEFORM_SEQUENCE, ')', NULL, 0);
}

static void put_annotations(struct buf *b) {
  for (unsigned i = 0; i < 3; i++) {
    put(b, WAVEFORM_ANNOTATION, '(', NULL, 0);
    put_code(b, CONCEPT_NAME, "2:15872", "MDC", "PR Interval");
    if (i == 0)
      put_text(b, NUMERIC_VALUE, "148");
    if (i == 0)
      put_code(b, UNITS_CODE, "ms", "UCUM", "ms");
    if (i == 1)
      put_text(b, SAMPLE_POSITIONS, "1\\5");
    if (i == 2)
      put_text(b, UNFORMATTED_TEXT, "Sinus");
    put(b, WAVEFORM_ANNOTATION, ')', NULL, 0);
  }
  put_code(b, ACQUISITION_CONTEXT, "a", "b", "c");
}

/* An ECG of one group, (1) of two; (2) pictures; (3) an ECG as a stream. */
bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const uint8_t jpeg[] = {0xff, 0xd8, 0xff, 0xe0, 0, 4, 'J', 'F', 0xff, 0xd9};
  static const char stream[] = "\1" FLAT_MAGIC "\x16\0\x08\0t\x1d\0\0\0"
                               "1.2.840.10008.5.1.4.1.1.9.1.1";
  (void)n;
  if (file || i > 3)
    return false;
  if (i == 3) {
    buf_add(ret, stream, sizeof stream - 1);
    for (unsigned k = 0; k < 9; k++)
      buf_u8(ret, k == 4 ? '.' : 0);
    return !ret->err;
  }
  buf_u8(ret, 0);
  put_text(ret, SOP_CLASS_UID, i == 2 ? "1.2.840.10008.5.1.4.1.1.77.1.5.1" : "1.2.840.10008.5.1.4.1.1.9.1.1");
  put_text(ret, ACQUISITION_DATETIME, i ? "20260302100001.5+0100" : "");
  put_text(ret, CONTENT_DATE, "20260302");
  put_text(ret, CONTENT_TIME, "100002.25");
  put_text(ret, MANUFACTURER, "Make");
  put_text(ret, SOFTWARE_VERSIONS, "1\\2");
  put_text(ret, PATIENT_NAME, "A\xc3\xa9^B^C");
  put_text(ret, PATIENT_ID, "1");
  put_text(ret, PATIENT_BIRTH_DATE, "19600229");
  put_text(ret, PATIENT_SEX, "F");
  put_text(ret, IMAGE_LATERALITY, "L");
  put_annotations(ret);
  if (i < 2)
    put_group(ret, "RHYTHM", i);
  if (i == 1)
    put_group(ret, "", false);
  if (i == 2)
    for (unsigned k = 0; k < 2; k++)
      put(ret, 0, 'p', jpeg, sizeof jpeg);
  put(ret, 0, '.', NULL, 0);
  return !ret->err;
}
