/* A file of the ECG90A. What stands for it: the input itself, or, where its first byte is odd, a good header before the
 * input and whole rows with an end made of it, so that the rows are reached. */
#include "fuzz_file.h"

#include <string.h>

#define HEADER 43u
#define END 37u

extern const struct acq_driver file_contec_ecg90a;

static void put_header(struct buf *b) {
  static const char header[HEADER] = "0000050\0\0\0"
                                     "2026-01-01 00:00:00\0\0\0"
                                     "NAME";
  buf_add(b, header, sizeof header);
}

static void check_record(const struct record_result *result, const json_t *record) {
  const json_t *channels = json_object_get(json_object_get(record, "acquired"), "channels");
  FUZZ_CHECK(json_array_size(channels) >= 8 && json_array_size(channels) <= 12);
  FUZZ_CHECK(strstr(result->json, "\"file_unchecked\""));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  static const uint8_t end[END];
  _buf_cleanup_ struct buf file = BUF_INIT(16 << 20);
  if (!n)
    return 0;
  if (data[0] & 1)
    put_header(&file);
  buf_add(&file, data + 1, data[0] & 1 ? (n - 1) / 16 * 16 : n - 1);
  if (data[0] & 1)
    buf_add(&file, end, sizeof end);
  FUZZ_CHECK(!file.err);
  fuzz_file(&file_contec_ecg90a, file.data, file.len, check_record);
  return 0;
}

/* Rows in which electrodes come and go, in a whole file and as the rest of one; an early end; nothing at all. */
bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const uint8_t end[END];
  (void)n;
  if (file || i > 3)
    return false;
  buf_u8(ret, i & 1);
  if (!(i & 1))
    put_header(ret);
  for (unsigned row = 0; row < 40; row++)
    for (unsigned lead = 0; lead < 8; lead++) {
      const unsigned value = i & 2 && row == 20 ? 0 : row / 5 % 3 == lead % 3 ? 0x6800 : 2048 + row * lead;
      buf_u8(ret, (uint8_t)value);
      buf_u8(ret, (uint8_t)(value >> 8));
    }
  if (!(i & 1))
    buf_add(ret, end, sizeof end);
  return ret->err == 0;
}
