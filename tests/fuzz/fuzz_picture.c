/* A picture's structure: JPEG, PNG, TIFF, EXIF. What is read as whole stays so whatever follows; the segments of a JPEG
 * go forward and lie in it. The seeds have no pixels worth decoding. */
#include "fuzz.h"

#include "picture.h"
#include "str.h"
#include <string.h>

static void check_text(const char text[ACQ_TEXT_MAX]) {
  FUZZ_CHECK(memchr(text, 0, ACQ_TEXT_MAX) && str_is_clean_utf8(text, strlen(text)));
}

static void check_picture(const struct picture *p) {
  FUZZ_CHECK(picture_format_name(p->format));
  FUZZ_CHECK(p->whole == !p->why && (!p->width == !p->height));
  FUZZ_CHECK(!p->whole || (p->format && p->width && p->bits && p->components));
  FUZZ_CHECK(p->width <= PICTURE_EDGE_MAX && p->height <= PICTURE_EDGE_MAX && p->bits <= 64 && p->components <= 4);
  FUZZ_CHECK(p->timed || !p->clock_us);
  check_text(p->make);
  check_text(p->model);
}

/* Returns the length of what has its end marker; 0 when there is none. */
static size_t check_segments(const uint8_t *data, size_t n) {
  size_t at = 0, first, len, end = 0;
  uint8_t marker = 0;
  while (picture_jpeg_segment(data, n, &at, &marker, &first, &len)) {
    FUZZ_CHECK(first >= end && len >= 2 && len <= n && first <= n - len && data[first] == 0xff);
    FUZZ_CHECK(data[first + 1] == marker && marker != 0 && marker != 0xff);
    end = first + len;
    FUZZ_CHECK(at == (marker == 0xd9 ? n : end));
  }
  return marker == 0xd9 ? end : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct picture p, cut;
  picture_read(data, n, &p);
  check_picture(&p);
  size_t end = check_segments(data, n);
  if (p.whole && (p.format == PICTURE_JPEG || p.format == PICTURE_JPEG_PROGRESSIVE)) {
    FUZZ_CHECK(end); /* what is whole has segments to its end, and is not whole without its last byte */
    picture_read(data, end, &cut);
    FUZZ_CHECK(memcmp(&p, &cut, sizeof p) == 0);
    picture_read(data, end - 1, &cut);
    FUZZ_CHECK(!cut.whole);
  }
  return 0;
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const char *const pictures[] = {
      /* JPEG: one scan; a scan a component, restart markers and fill bytes; progressive; EXIF */
      "ffd8ffe000104a46494600010100000100010000ffdb0004aaaaffc0000b080008000801011100ffda0008010100003f00a5"
      "ff00a5ffd9",
      "ffd8ffdd00040002ffc00011080030002003012200021101031101ffda0008010100003f00a5ffd0a5ffd1a5ffffffda0008"
      "010211003f00a5ffd0a5ffda0008010311003f00a5ffd9ffd8ffe1",
      "ffd8ffc2000b080010001001011100ffda00080101000000a5ffc40003aaffda0008010101053fa5ffda0008010100001000"
      "a5ffd9",
      "ffd8ffe1007245786966000049492a000800000003000f01020006000000320000001001020004000000454f530069870400"
      "0100000038000000000000004e696b6f6e000200039002001400000056000000919202000300000037380000000000003230"
      "32363a30333a31372030393a33303a303500ffc0000b080008000801011100ffda0008010100003f00a5ffd9",
      "ffd8ffe100664578696600004d4d002a000000080003010f000200000006000000320110000200000004454f530087690004"
      "0000000100000038000000004e696b6f6e00000190030002000000140000004a00000000323032363a30333a31372030393a"
      "33303a303500ffc0000b080008000801011100ffda0008010100003f00a5ffd9",
      /* PNG */
      "89504e470d0a1a0a0000000d494844520000000100000001080300000028cb34bb00000003504c5445000000a77a3dda0000"
      "000a49444154789c636000000002000148afa4710000000049454e44ae426082",
      /* TIFF: strips, tiles, pages */
      "49492a0010000000aaaaaaaaaaaaaaaa07000001030001000000040000000101030001000000020000000201030001000000"
      "0800000003010300010000000100000011010400010000000800000016010300010000000200000017010400010000000800"
      "000000000000",
      "4d4d002a00000010aaaaaaaaaaaaaaaa00070100000300000001000400000101000300000001000200000102000300000001"
      "0008000001030003000000010001000001110004000000010000000801160003000000010002000001170004000000010000"
      "00080000006a000000000070000000000000",
      "49492a0008010000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaa080000010300010000000400000001010300010000000200000002010300010000000800"
      "0000030103000100000001000000420103000100000010000000430103000100000010000000440104000100000008000000"
      "4501040001000000000100006e010000000000000000"};
  (void)n;
  if (file || i >= sizeof pictures / sizeof *pictures)
    return false;
  size_t bytes = strlen(pictures[i]) / 2;
  uint8_t *at = buf_extend(ret, bytes);
  return at && str_unhex(pictures[i], at, bytes);
}
