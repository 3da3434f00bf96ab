/* The messages between worker and daemon: what is accepted is written back as the same bytes. */
#include "fuzz.h"

#include <asalee/wire.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct wire_message message;
  uint8_t again[WIRE_MAX];
  int err = wire_read(data, n, &message);
  if (err < 0) {
    FUZZ_CHECK(err == -EPROTO);
    return 0;
  }
  FUZZ_CHECK(wire_write(&message, again) == (int)n);
  FUZZ_CHECK(!memcmp(again, data, n));
  return 0;
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  (void)n;
  struct wire_message m = {.type = WIRE_ORDER + i};
  uint8_t bytes[WIRE_MAX];
  if (file || m.type > WIRE_PASS)
    return false;
  switch (m.type) {
  case WIRE_ORDER:
    m.order = (struct wire_order){
        "corscience_emi12", "/dev/ttyUSB0", ACQ_SERIAL, {10, 1770000000000000, 60, ACQ_SPIROMETRY, ACQ_POST, 4}};
    break;
  case WIRE_IDENTITY:
    m.identity = (struct acq_identity){"Corscience", "EMI12", "", "1.07", "S 1"};
    break;
  case WIRE_PROGRESS:
    m.progress = (struct wire_progress){500, 5000};
    break;
  case WIRE_PREVIEW:
    m.preview = (struct wire_preview){.channels = 12, .samples = 50, .rate_hz = 500, .scale = {263, -2}};
    for (unsigned c = 0; c < 12; c++) {
      m.preview.code[c] = (uint8_t)c;
      m.preview.values[c][c] = ACQ_GAP;
    }
    break;
  case WIRE_PICTURE:
    m.picture =
        (struct wire_picture){.number = 1, .width = 320, .height = 213, .n = 4, .jpeg = {0xff, 0xd8, 0xff, 0xd9}};
    break;
  case WIRE_CONTACTS:
    m.contacts = (struct wire_contacts){0x3ff, 0x3fe};
    break;
  case WIRE_RECORD:
    m.record = (struct wire_record){{3000, 2000}, {120000, 8}, {70000, 0}};
    break;
  case WIRE_FAIL:
    m.fail = (struct wire_fail){-ETIMEDOUT, WIRE_STEP_ACQUIRE, "no answer to the self-test in 3 tries"};
    break;
  case WIRE_COLLECT:
    m.collect = (struct wire_collect){"/srv/ecg", true, 2000, 60, ACQ_BLOB_MAX, 2, {"*.scp", "*.xml"}};
    break;
  case WIRE_FILE:
    m.file = (struct wire_file){1, 1, 30000, 1770000000000000, {1, 2, 3}, "2026/a.xml"};
    break;
  case WIRE_BATCH:
    m.batch = (struct wire_batch){WIRE_BATCH_FILES};
    break;
  case WIRE_PASS:
    m.pass = (struct wire_pass){28, 1, 2, 3, 4, 5, 6, 7, true};
    break;
  default:
    break;
  }
  int len = wire_write(&m, bytes);
  FUZZ_CHECK(len > 0);
  return buf_add(ret, bytes, (size_t)len) == 0;
}
