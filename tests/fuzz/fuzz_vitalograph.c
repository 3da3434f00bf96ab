/* The Lung Monitor behind its BCC. The input is a row of items: a length byte, a flag byte, and that many bytes of a
 * payload, framed here with their BCC. Flags: 1 sent by the host, 2 sent as it is, without a frame. */
#include "fuzz.h"

#include "../../drivers/vitalograph_lungmonitor/frame.h"
#include "capture.h"
#include "record_build.h"
#include <string.h>

#define ITEMS_MAX 512

extern const struct acq_driver vitalograph_lungmonitor;

static void add_item(struct buf *text, unsigned ms, unsigned flags, const uint8_t *payload, size_t n) {
  uint8_t wire[256 + 3], bcc = 0;
  size_t len = 0;
  if (!(flags & 2))
    wire[len++] = 0x02;
  memcpy(wire + len, payload, n);
  len += n;
  if (!(flags & 2)) {
    wire[len++] = 0x03;
    for (size_t i = 0; i < len; i++)
      bcc ^= wire[i];
    wire[len++] = bcc;
  }
  if (!len)
    return;
  buf_format(text, "%c %u ", flags & 1 ? '>' : '<', ms);
  buf_hex(text, wire, len);
  buf_text(text, "\n");
}

static void check_record(const struct record_result *result) {
  char reason[256];
  json_t *record = NULL;
  if (!result->json)
    return;
  FUZZ_CHECK(record_read(result->json, result->json_bytes, result->data, result->data_values * 2, &record, reason) ==
             0);
  const json_t *acquired = json_object_get(record, "acquired");
  size_t trials = json_array_size(json_object_get(acquired, "trials")),
         measures = json_array_size(json_object_get(acquired, "measures"));
  FUZZ_CHECK(trials >= 1 && measures >= 4 * trials && measures <= 6 * trials && !result->data_values);
  json_decref(record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct buf text = BUF_INIT(16 << 20);
  struct acq_cur in = acq_cur(data, n);
  buf_text(&text, "asaleed-capture 1\ndriver vitalograph_lungmonitor 1\nbus serial\norder 60 spirometry\n"
                  "start 2026-01-01T00:00:00Z\n");
  for (unsigned i = 0; i < ITEMS_MAX && acq_left(&in); i++) {
    size_t want = acq_u8(&in);
    unsigned flags = acq_u8(&in);
    want = want < acq_left(&in) ? want : acq_left(&in);
    const uint8_t *payload = acq_bytes(&in, want);
    if (payload)
      add_item(&text, i * 500, flags, payload, want);
  }
  buf_text(&text, "end ok\n");
  struct acq_capture capture;
  FUZZ_CHECK(!text.err && capture_parse((const char *)text.data, text.len, &capture, NULL) == 0);
  struct record_result results[WIRE_RECORDS] = {0};
  char reason[256];
  int err = record_decode(&vitalograph_lungmonitor, &capture, results, reason);
  FUZZ_CHECK(err == 0 || err == -EPROTO || err == -EBADMSG || err == -ENODATA || err == -ERANGE);
  for (int i = 0; i < WIRE_RECORDS; i++) {
    check_record(&results[i]);
    record_result_finish(&results[i]);
  }
  capture_finish(&capture);
  buf_finish(&text);
  return 0;
}

static void add(struct buf *b, unsigned flags, const char *payload) {
  buf_u8(b, (uint8_t)strlen(payload));
  buf_u8(b, (uint8_t)flags);
  buf_text(b, payload);
}

/* A blow of model A or B; with (2) the clock compared and set before, (4) the day before's after it, and a repeat. */
bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const char *const blows[] = {"FTD0000777001363399091404000000095090000"
                                      "260101000004"
                                      "0923",
                                      "FTD0000777001412298355401088297380433093095080050030"
                                      "260101000004"
                                      "0105"};
  (void)n;
  if (file || i > 7)
    return false;
  if (i & 2) {
    add(ret, 1, "GVGT");
    add(ret, 2, "\x06");
    add(ret, 0, "GVGT251231225900");
    add(ret, 1, "GVST260101000001");
    add(ret, 2, "\x06");
  }
  add(ret, 0, blows[i & 1]);
  add(ret, 3, "\x06");
  if (i & 4) {
    add(ret, 0, blows[i & 1]);
    add(ret, 0,
        "FTD0000777001341399085404000000095090000"
        "251231154500"
        "1923");
  }
  return ret->err == 0;
}
