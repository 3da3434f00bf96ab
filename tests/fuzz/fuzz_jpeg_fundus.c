/* EXIF in a JPEG file. The input is the EXIF segment's data behind "Exif", in a small picture; where its first byte is
 * odd, the whole file. */
#include "fuzz_file.h"

#include "picture_make.h"
#include <string.h>

extern const struct acq_driver file_jpeg_fundus;

static const struct buf *picture(void) {
  static struct buf jpeg;
  if (!jpeg.data) {
    jpeg = BUF_INIT(1 << 16);
    struct pixels p = pixels_fundus(8, 8, 950, 1);
    jpeg_make(&p, &(struct jpeg_form){.grey = true}, &jpeg);
    pixels_finish(&p);
  }
  return &jpeg;
}

static void put_exif(struct buf *file, const uint8_t *tiff, size_t n) {
  static const char name[6] = "Exif";
  const struct buf *jpeg = picture();
  n = n > 65000 ? 65000 : n;
  buf_add(file, jpeg->data, 2);
  buf_u8(file, 0xff);
  buf_u8(file, 0xe1);
  buf_u8(file, (uint8_t)((n + 8) >> 8));
  buf_u8(file, (uint8_t)(n + 8));
  buf_add(file, name, sizeof name);
  buf_add(file, tiff, n);
  buf_add(file, jpeg->data + 2, jpeg->len - 2);
}

static void check_record(const struct record_result *result, const json_t *record) {
  const json_t *acquired = json_object_get(record, "acquired");
  FUZZ_CHECK(json_array_size(json_object_get(acquired, "pictures")) == 1);
  FUZZ_CHECK(json_array_size(json_object_get(acquired, "trials")) == 1);
  FUZZ_CHECK(strstr(result->json, "\"file_unchecked\""));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  _buf_cleanup_ struct buf file = BUF_INIT(16 << 20);
  if (n && data[0] & 1)
    buf_add(&file, data + 1, n - 1);
  else if (n)
    put_exif(&file, data + 1, n - 1);
  FUZZ_CHECK(!file.err);
  fuzz_file(&file_jpeg_fundus, file.data, file.len, check_record);
  return 0;
}

/* Make, model, a directory of EXIF's own with a date, in both byte orders; the whole file of each. */
bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const uint8_t little[] = "II*\0\10\0\0\0"
                                  "\4\0\17\1\2\0\4\0\0\0ABC\0"
                                  "\20\1\2\0\10\0\0\0\76\0\0\0"
                                  "\62\1\2\0\24\0\0\0\130\0\0\0"
                                  "\151\207\4\0\1\0\0\0\106\0\0\0"
                                  "\0\0\0\0"
                                  "MODEL 1\0"
                                  "\1\0\3\220\2\0\24\0\0\0\130\0\0\0"
                                  "\0\0\0\0"
                                  "2026:01:01 00:00:00",
                       big[] = "MM\0*\0\0\0\10"
                               "\0\3\1\17\0\2\0\0\0\4ABC\0"
                               "\1\62\0\2\0\0\0\24\0\0\0\112"
                               "\207\151\0\4\0\0\0\1\0\0\0\70"
                               "\0\0\0\0\0\0"
                               "\0\1\220\3\0\2\0\0\0\24\0\0\0\112"
                               "\0\0\0\0"
                               "2026:01:01 00:00:00";
  (void)n;
  if (file || i > 3)
    return false;
  const uint8_t *tiff = i & 2 ? big : little;
  const size_t size = i & 2 ? sizeof big : sizeof little;
  buf_u8(ret, i & 1);
  if (i & 1)
    put_exif(ret, tiff, size);
  else
    buf_add(ret, tiff, size);
  return ret->err == 0;
}
