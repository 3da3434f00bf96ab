/* The SP80B behind its checksums. The input is a row of items: a length byte, a flag byte, and that many bytes of a
 * message, which get their checksum here. Flags: 1 sent by the host, 2 sent as it is, without a checksum. */
#include "fuzz.h"

#include "../../drivers/contec_sp80b/message.h"
#include "capture.h"
#include "record_build.h"
#include <string.h>

#define ITEMS_MAX 512

extern const struct acq_driver contec_sp80b;

static void add_item(struct buf *text, unsigned ms, unsigned flags, const uint8_t *message, size_t n) {
  uint8_t wire[256 + 1], sum = 0;
  memcpy(wire, message, n);
  for (size_t i = 0; i < n; i++)
    sum = (uint8_t)(sum + wire[i]);
  if (!(flags & 2))
    wire[n++] = sum & 0x7f;
  if (!n)
    return;
  buf_format(text, "%c %u ", flags & 1 ? '>' : '<', ms);
  buf_hex(text, wire, n);
  buf_text(text, "\n");
}

static int64_t samples(const json_t *channel) {
  return json_integer_value(json_object_get(channel, "samples"));
}

/* Channels come in threes of one trial and one length. */
static void check_channels(const json_t *channels) {
  size_t n = json_array_size(channels);
  FUZZ_CHECK(n % 3 == 0 && n <= 30);
  for (size_t i = 0; i < n; i++) {
    const json_t *channel = json_array_get(channels, i), *first = json_array_get(channels, i - i % 3);
    FUZZ_CHECK(samples(channel) == samples(first) && samples(channel) > 0 && samples(channel) <= SP80B_POINTS_MAX);
    FUZZ_CHECK(json_equal(json_object_get(channel, "trial"), json_object_get(first, "trial")));
  }
}

static void check_record(const struct record_result *result) {
  char reason[256];
  json_t *record = NULL;
  if (!result->json)
    return;
  FUZZ_CHECK(record_read(result->json, result->json_bytes, result->data, result->data_values * 2, &record, reason) ==
             0);
  const json_t *acquired = json_object_get(record, "acquired");
  FUZZ_CHECK(json_array_size(json_object_get(acquired, "trials")) >= 1);
  check_channels(json_object_get(acquired, "channels"));
  json_decref(record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct buf text = BUF_INIT(16 << 20);
  struct acq_cur in = acq_cur(data, n);
  buf_text(&text, "asaleed-capture 1\ndriver contec_sp80b 1\nbus serial\norder 60 spirometry\n"
                  "start 2026-01-01T00:00:00Z\n");
  for (unsigned i = 0; i < ITEMS_MAX && acq_left(&in); i++) {
    size_t want = acq_u8(&in);
    unsigned flags = acq_u8(&in);
    want = want < acq_left(&in) ? want : acq_left(&in);
    const uint8_t *message = acq_bytes(&in, want);
    if (message)
      add_item(&text, i * 500, flags, message, want);
  }
  buf_text(&text, "end ok\n");
  struct acq_capture capture;
  FUZZ_CHECK(!text.err && capture_parse((const char *)text.data, text.len, &capture, NULL) == 0);
  struct record_result results[WIRE_RECORDS] = {0};
  char reason[256];
  int err = record_decode(&contec_sp80b, &capture, results, reason);
  FUZZ_CHECK(err == 0 || err == -EPROTO || err == -EBADMSG || err == -ENODATA || err == -ERANGE);
  for (int i = 0; i < WIRE_RECORDS; i++) {
    check_record(&results[i]);
    record_result_finish(&results[i]);
  }
  capture_finish(&capture);
  buf_finish(&text);
  return 0;
}

static void add(struct buf *b, unsigned flags, const uint8_t *message, size_t n) {
  buf_u8(b, (uint8_t)n);
  buf_u8(b, (uint8_t)flags);
  buf_add(b, message, n);
}

static void add_count(struct buf *b, uint8_t records) {
  const uint8_t ask[] = {0x90}, is[9] = {0xe0, records};
  add(b, 1, ask, sizeof ask);
  add(b, 0, is, sizeof is);
}

static void add_record(struct buf *b, uint8_t which, uint8_t kind, uint8_t fvc, bool hosted) {
  const uint8_t ask[] = {0x91, which, 1};
  uint8_t record[43] = {0xe1, which, kind, 1, 0, 26, 1, 1, 0, 0, 2, 0, 39, 0x2f, 1, 1};
  for (unsigned i = 0; i < 13; i++) {
    record[17 + 2 * i] = (uint8_t)(fvc - 3 * i);
    record[18 + 2 * i] = i == 3 ? 6 : 1;
  }
  if (hosted)
    add(b, 1, ask, sizeof ask);
  add(b, 0, record, sizeof record);
}

static void add_curve(struct buf *b, bool hosted, bool checked) {
  const uint8_t ask[] = {0x92, 0};
  uint8_t curve[5 + 12 * 8] = {0xe2, 1, 0, 12};
  for (uint8_t i = 0; i < 12; i++) {
    uint8_t *p = curve + 5 + 8 * i;
    p[0] = i & 4 ? 0x28 : 0;
    p[2] = i;
    p[4] = (uint8_t)(i * 9);
    p[6] = (uint8_t)(i * 5);
  }
  for (unsigned i = 0; i < (checked ? 1 : 2); i++) {
    if (hosted)
      add(b, 1, ask, sizeof ask);
    add(b, checked ? 0 : 2, curve, sizeof curve);
  }
}

/* One blow, or (1) two of other kinds; (2) without the host's side, else newest first with an older one behind; (4)
 * curves without their checksum. */
bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const uint8_t set[] = {0x83, 26, 1, 1, 0, 0, 0, 0, 0}, was_set[] = {0xf3, 0};
  const bool two = i & 1, hosted = !(i & 2), checked = !(i & 4);
  (void)n;
  if (file || i > 7)
    return false;
  if (hosted) {
    add(ret, 1, set, sizeof set);
    add(ret, 0, was_set, sizeof was_set);
    add_count(ret, 1);
    add_record(ret, 0, 1, 90, true);
    add_count(ret, two ? 3 : 2);
  }
  add_record(ret, 0, two ? 2 : 1, 120, hosted);
  add_curve(ret, hosted, checked);
  if (two) {
    add_record(ret, 1, 3, 110, hosted);
    add_curve(ret, hosted, checked);
  }
  if (hosted)
    add_record(ret, 1, 1, 90, true);
  return ret->err == 0;
}
