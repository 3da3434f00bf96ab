/* A file of a Prince 180. The first byte says what else is put right: 1 the size and the checksum (a search never gets
 * past them), 2 the head and the first pointer too. */
#include "fuzz_file.h"

#include "crc.h"
#include <string.h>

extern const struct acq_driver file_healforce;

static void check_record(const struct record_result *result, const json_t *record) {
  const json_t *channels = json_object_get(json_object_get(record, "acquired"), "channels");
  const size_t n = json_array_size(channels);
  FUZZ_CHECK(n >= 1 && n <= 12 && result->data_values % n == 0);
  for (size_t i = 0; i < result->data_values; i++)
    FUZZ_CHECK(result->data[i] >= -512 && result->data[i] < 512);
}

static void put_right(uint8_t *file, size_t n, unsigned what) {
  if (n < 32 || n > 65535)
    return;
  if (what & 2) {
    memset(file + 2, 0, 2);
    memset(file + 8, 0, 2);
    memset(file + 22, 0, 2);
    memcpy(file + 24, file + 10, 4);
    memcpy(file + 28, "\6\0\0\0", 4);
  }
  if (what & 3) {
    file[4] = (uint8_t)n;
    file[5] = (uint8_t)(n >> 8);
    const uint16_t crc = crc16_ccitt(0, file + 2, n - 2);
    file[0] = (uint8_t)(crc >> 8);
    file[1] = (uint8_t)crc;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (!n)
    return 0;
  uint8_t *file = malloc(n);
  FUZZ_CHECK(file);
  memcpy(file, data + 1, n - 1);
  put_right(file, n - 1, data[0]);
  fuzz_file(&file_healforce, file, n - 1, check_record);
  free(file);
  return 0;
}

static void put(struct buf *b, unsigned bytes, uint32_t value) {
  for (; bytes; bytes--, value >>= 8)
    buf_u8(b, (uint8_t)value);
}

static void put_head(struct buf *b, unsigned id, uint32_t length) {
  put(b, 2, 0);
  put(b, 2, id);
  put(b, 4, length);
  put(b, 2, 0x0d0d);
  put(b, 4, 0);
  put(b, 2, 0);
}

/* One, two or three leads, with marks; (3) as it came, so that the checksum is wrong. */
bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const uint16_t ids[] = {0, 1, 3, 6, 9};
  const unsigned leads = i % 3 + 1, samples = 48,
                 lengths[] = {66, 16 + 33, 16 + 12, 16 + 8 + samples / 4 * 6, 16 + 304};
  (void)n;
  if (file || i > 3)
    return false;
  uint32_t place = 6;
  buf_u8(ret, i == 3 ? 0 : 1);
  put(ret, 4, 0);
  put(ret, 2, 6 + 66 + 49 + 28 + 24 + samples / 4 * 6 + 320);
  put_head(ret, 0, lengths[0]);
  for (unsigned k = 0; k < 5; k++) {
    put(ret, 2, ids[k]);
    put(ret, 4, lengths[k]);
    put(ret, 4, place);
    place += lengths[k];
  }
  put_head(ret, 1, lengths[1]);
  buf_add(ret, "\2\6\0PAT-1\0\31\4\0\7\xea\3\2\32\3\0\11\0\7\0\0\0\0\0\0\0\0\0\0\0", 33);
  put_head(ret, 3, lengths[2]);
  put(ret, 1, leads);
  put(ret, 1, 4);
  put(ret, 4, 1);
  put(ret, 4, samples / leads);
  put(ret, 2, 5);
  put_head(ret, 6, lengths[3]);
  put(ret, 2, 9524);
  put(ret, 2, 150);
  put(ret, 2, 0);
  put(ret, 2, samples / 4 * 6);
  for (unsigned k = 0; k < samples / 4 * 3; k++)
    put(ret, 2, k * 1801);
  put_head(ret, 9, lengths[4]);
  for (unsigned k = 0; k < 292; k++)
    put(ret, 1, 0);
  put(ret, 4, 0x0049303c);
  put(ret, 4, 0x0449303c);
  put(ret, 4, 0xffffffff);
  return ret->err == 0;
}
