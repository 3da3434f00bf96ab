#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picture.h"
#include "picture_make.h"
#include "str.h"
#include <cmocka.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)
#define FILE_MAX (64u << 20)

/* From a copy of exactly that length, so that a sanitizer sees a read past its end. */
static struct picture read_copy(const uint8_t *bytes, size_t n) {
  struct picture p;
  uint8_t *copy = malloc(n ? n : 1);
  assert_non_null(copy);
  if (n)
    memcpy(copy, bytes, n);
  memset(&p, 0xa5, sizeof p);
  picture_read(copy, n, &p);
  free(copy);
  assert_true(p.whole == (p.why == NULL));
  assert_true(memchr(p.make, 0, sizeof p.make) && memchr(p.model, 0, sizeof p.model));
  assert_true(str_is_clean_utf8(p.make, strlen(p.make)) && str_is_clean_utf8(p.model, strlen(p.model)));
  return p;
}

static void expect(const struct buf *b, enum picture_format format, uint32_t w, uint32_t h, int bits, int components) {
  struct picture p = read_copy(b->data, b->len);
  if (p.why)
    fail_msg("%s", p.why);
  assert_int_equal(p.format, format);
  assert_int_equal(p.width, w);
  assert_int_equal(p.height, h);
  assert_int_equal(p.bits, bits);
  assert_int_equal(p.components, components);
}

static void expect_why(const struct buf *b, enum picture_format format, const char *why) {
  struct picture p = read_copy(b->data, b->len);
  assert_int_equal(p.format, format);
  assert_string_equal(p.why ? p.why : "whole", why);
}

/* Cut anywhere before `need`, it is not whole. */
static void expect_cuts(const struct buf *b, size_t need) {
  for (size_t n = 0; n < need; n++)
    if (read_copy(b->data, n).whole)
      fail_msg("whole with %zu of %zu bytes", n, need);
  for (size_t n = need; n <= b->len; n++)
    assert_true(read_copy(b->data, n).whole);
}

static void insert(struct buf *b, size_t at, const void *bytes, size_t n) {
  assert_non_null(buf_extend(b, n));
  memmove(b->data + at + n, b->data + at, b->len - n - at);
  memcpy(b->data + at, bytes, n);
}

static void put(struct buf *b, const char *hex) {
  size_t n = strlen(hex) / 2;
  uint8_t *at = buf_extend(b, n);
  assert_true(at && str_unhex(hex, at, n));
}

TEST(names) {
  static const char *const names[] = {"unknown", "jpeg", "jpeg-progressive", "png", "tiff"};
  for (unsigned i = 0; i < COUNT(names); i++)
    assert_string_equal(picture_format_name(i), names[i]);
  assert_null(picture_format_name(COUNT(names)));
}

/* ---- JPEG ---- */

static const struct jpeg_form forms[] = {{0},
                                         {.progressive = true},
                                         {.grey = true},
                                         {.grey = true, .progressive = true},
                                         {.cmyk = true},
                                         {.full_colour = true, .optimised = true},
                                         {.restart_rows = 1},
                                         {.restart_rows = 1, .progressive = true}};

static struct buf jpeg(const struct jpeg_form *form) {
  struct pixels p = pixels_fundus(57, 43, 900, 7);
  struct buf b = BUF_INIT(FILE_MAX);
  jpeg_make(&p, form, &b);
  pixels_finish(&p);
  return b;
}

/* Where that marker's n-th segment is (from 0); *ret_n its length. */
static size_t find(const struct buf *b, uint8_t marker, int nth, size_t *ret_n) {
  size_t at = 0, first;
  uint8_t m;
  while (picture_jpeg_segment(b->data, b->len, &at, &m, &first, ret_n))
    if (m == marker && nth-- == 0)
      return first;
  fail_msg("no marker %02x", marker);
  return 0;
}

TEST(jpeg_forms) {
  for (size_t i = 0; i < COUNT(forms); i++) {
    struct buf b = jpeg(&forms[i]);
    expect(&b, forms[i].progressive ? PICTURE_JPEG_PROGRESSIVE : PICTURE_JPEG, 57, 43, 8,
           forms[i].grey   ? 1
           : forms[i].cmyk ? 4
                           : 3);
    expect_cuts(&b, b.len);
    buf_finish(&b);
  }
}

TEST(jpeg_segments) {
  for (size_t i = 0; i < COUNT(forms); i++) {
    struct buf b = jpeg(&forms[i]);
    size_t at = 0, first, n, end = 0;
    uint8_t marker = 0;
    int segments = 0;
    while (picture_jpeg_segment(b.data, b.len, &at, &marker, &first, &n)) {
      assert_int_equal(first, end);
      assert_true(n >= 2 && b.data[first] == 0xff && b.data[first + 1] == marker);
      end = first + n;
      assert_int_equal(at, end);
      segments++;
    }
    assert_int_equal(end, b.len);
    assert_int_equal(marker, 0xd9);
    assert_true(segments >= 8);
    for (size_t cut = 0; cut < b.len; cut++)
      for (at = 0, marker = 0; picture_jpeg_segment(b.data, cut, &at, &marker, &first, &n);)
        assert_true(marker != 0xd9 && n > 0 && first + n <= cut && at <= cut);
    buf_finish(&b);
  }
}

TEST(jpeg_bytes_after_the_end) {
  static const char *const tails[] = {"00", "ffd8ffe100104d5046", "ffd9", "ffffffff"};
  for (size_t i = 0; i < COUNT(tails); i++) {
    struct buf b = jpeg(&forms[0]);
    size_t n = b.len, at = 0, first, len, last = 0;
    uint8_t marker;
    put(&b, tails[i]);
    expect(&b, PICTURE_JPEG, 57, 43, 8, 3);
    expect_cuts(&b, n);
    while (picture_jpeg_segment(b.data, b.len, &at, &marker, &first, &len))
      last = first + len;
    assert_int_equal(last, n);
    assert_int_equal(at, b.len);
    buf_finish(&b);
  }
}

TEST(jpeg_fill_bytes) {
  static const uint8_t fill[3] = {0xff, 0xff, 0xff};
  for (size_t i = 0; i < COUNT(forms); i++) {
    struct buf b = jpeg(&forms[i]), plain = jpeg(&forms[i]), again = BUF_INIT(FILE_MAX);
    size_t at = 2, first, n;
    uint8_t marker;
    while (at < b.len) { /* before every marker but the first */
      insert(&b, at, fill, sizeof fill);
      assert_true(picture_jpeg_segment(b.data, b.len, &at, &marker, &first, &n));
    }
    assert_true(read_copy(b.data, b.len).whole);
    expect_cuts(&b, b.len);
    for (at = 0; picture_jpeg_segment(b.data, b.len, &at, &marker, &first, &n);)
      buf_add(&again, b.data + first, n);
    assert_int_equal(again.len, plain.len);
    assert_memory_equal(again.data, plain.data, plain.len);
    buf_finish(&b);
    buf_finish(&plain);
    buf_finish(&again);
  }
}

TEST(jpeg_several_scans) { /* one component a scan, as by hand: 8 x 8 pixels */
  struct buf b = BUF_INIT(FILE_MAX);
  put(&b, "ffd8ffc00011080008000803011100021100031100");
  put(&b, "ffda0008010100003f00a5");
  expect_why(&b, PICTURE_JPEG, "the JPEG ends or breaks before its end marker");
  size_t before = b.len;
  put(&b, "ffd9");
  expect_why(&b, PICTURE_JPEG, "the JPEG has no scan for a component");
  b.len = before;
  put(&b, "ffda0008010200003f00a5ffda0008010300003f00a5ffd9");
  expect(&b, PICTURE_JPEG, 8, 8, 8, 3);
  expect_cuts(&b, b.len);
  buf_finish(&b);
}

#define FRAME "ffc0000b080008000801011100"
#define SCAN "ffda0008010100003f00a5"

TEST(jpeg_broken) {
  static const struct {
    const char *hex, *why;
    enum picture_format format;
  } rows[] = {
      {"ffd8" FRAME SCAN "ffd9", "whole", PICTURE_JPEG},
      {"ffd8ffc1000b0c0008000801011100" SCAN "ffd9", "whole", PICTURE_JPEG}, /* 12 bits, extended */
      {"ffd8ff01" FRAME SCAN "ffd9", "whole", PICTURE_JPEG},                 /* TEM has no length */
      {"ffd8ffd8" FRAME SCAN "ffd9", "the JPEG ends or breaks before its end marker", PICTURE_JPEG},
      {"ffd8ffd0" FRAME SCAN "ffd9", "the JPEG ends or breaks before its end marker", PICTURE_JPEG},
      {"ffd8ff00" FRAME SCAN "ffd9", "the JPEG ends or breaks before its end marker", PICTURE_JPEG},
      {"ffd8ffe0000100" FRAME SCAN "ffd9", "the JPEG ends or breaks before its end marker", PICTURE_JPEG},
      {"ffd8ffd9", "the JPEG has no scan for a component", PICTURE_JPEG},
      {"ffd8" FRAME "ffd9", "the JPEG has no scan for a component", PICTURE_JPEG},
      {"ffd8" SCAN FRAME "ffd9", "the JPEG has a scan before its frame", PICTURE_JPEG},
      {"ffd8" FRAME FRAME SCAN "ffd9", "the JPEG has a second frame", PICTURE_JPEG},
      {"ffd8" FRAME "ffda0008010200003f00a5ffd9", "a JPEG scan header is wrong", PICTURE_JPEG},
      {"ffd8" FRAME "ffda0009010100003f0000a5ffd9", "a JPEG scan header is wrong", PICTURE_JPEG},
      {"ffd8" FRAME "ffda0008010100003f00ffd9", "a JPEG scan is empty", PICTURE_JPEG},
      {"ffd8" FRAME SCAN "ffd0a5ffd9", "the JPEG's restart markers are not in their order", PICTURE_JPEG},
      {"ffd8ffdd00040001" FRAME SCAN "ffd0a5ffd1a5ffd9", "whole", PICTURE_JPEG},
      {"ffd8ffdd00040001" FRAME SCAN "ffd0a5ffd2a5ffd9", "the JPEG's restart markers are not in their order",
       PICTURE_JPEG},
      {"ffd8ffdd0005000100" FRAME SCAN "ffd9", "the JPEG's restart interval is wrong", PICTURE_JPEG},
      {"ffd8ffc0000b080000000801011100" SCAN "ffd9", "the picture has no size", PICTURE_JPEG},
      {"ffd8ffc0000b080008000001011100" SCAN "ffd9", "the picture has no size", PICTURE_JPEG},
      {"ffd8ffc0000b0c0008000801011100" SCAN "ffd9", "the JPEG's samples have a width that is not allowed",
       PICTURE_JPEG},
      {"ffd8ffc0000b080008000801010100" SCAN "ffd9", "the JPEG's frame header is wrong", PICTURE_JPEG},
      {"ffd8ffc0000b080008000801011500" SCAN "ffd9", "the JPEG's frame header is wrong", PICTURE_JPEG},
      {"ffd8ffc0000b080008000802011100" SCAN "ffd9", "the JPEG's frame header is wrong", PICTURE_JPEG},
      {"ffd8ffc0000e080008000802011100011100" SCAN "ffd9", "the JPEG's frame header is wrong", PICTURE_JPEG},
      {"ffd8ffc3000b080008000801011100" SCAN "ffd9", "the JPEG is lossless, hierarchical or arithmetic",
       PICTURE_UNKNOWN},
      {"ffd8ffca000b080008000801011100" SCAN "ffd9", "the JPEG is lossless, hierarchical or arithmetic",
       PICTURE_UNKNOWN},
      {"ffd8ffc2000b080008000801011100ffda0008010101053f00a5ffd9", "the JPEG has no scan for a component",
       PICTURE_JPEG_PROGRESSIVE}, /* AC alone */
      {"ffd8ffc2000b080008000801011100ffda0008010105010000a5ffd9", "a JPEG scan header is wrong",
       PICTURE_JPEG_PROGRESSIVE},
      {"ffd8", "not a JPEG, PNG or TIFF file", PICTURE_UNKNOWN},
      {"", "not a JPEG, PNG or TIFF file", PICTURE_UNKNOWN},
      {"424d3600000000000000", "not a JPEG, PNG or TIFF file", PICTURE_UNKNOWN}, /* BMP */
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct buf b = BUF_INIT(FILE_MAX);
    put(&b, rows[i].hex);
    struct picture p = read_copy(b.data, b.len);
    if (p.format != rows[i].format || strcmp(p.why ? p.why : "whole", rows[i].why) != 0)
      fail_msg("%s: %s, %s", rows[i].hex, picture_format_name(p.format), p.why ? p.why : "whole");
    buf_finish(&b);
  }
}

/* ---- TIFF and EXIF ---- */

enum { ASCII = 2, SHORT = 3, LONG = 4 };

struct entry {
  uint16_t tag, type;
  uint32_t count;
  const char *text;   /* ASCII: these bytes, else */
  uint32_t number[8]; /* the values */
};

static void put16(struct buf *b, bool big, uint16_t v) {
  buf_u8(b, (uint8_t)(big ? v >> 8 : v));
  buf_u8(b, (uint8_t)(big ? v : v >> 8));
}

static void put32(struct buf *b, bool big, uint32_t v) {
  put16(b, big, (uint16_t)(big ? v >> 16 : v));
  put16(b, big, (uint16_t)(big ? v : v >> 16));
}

static void put_values(struct buf *b, bool big, const struct entry *e) {
  for (uint32_t i = 0; i < e->count; i++)
    if (e->type == ASCII)
      buf_u8(b, (uint8_t)e->text[i]);
    else if (e->type == SHORT)
      put16(b, big, (uint16_t)e->number[i]);
    else
      put32(b, big, e->number[i]);
}

static size_t size_of(const struct entry *e) {
  return e->count * (e->type == ASCII ? 1u : e->type == SHORT ? 2u : 4u);
}

/* A directory at the end of the file that starts at `base`, and its values behind it. Counts of no more than eight. */
static void put_directory(struct buf *b, size_t base, bool big, const struct entry *entries, size_t n, uint32_t next) {
  size_t values = b->len - base + 2 + 12 * n + 4;
  put16(b, big, (uint16_t)n);
  for (size_t i = 0; i < n; i++) {
    size_t bytes = size_of(&entries[i]);
    put16(b, big, entries[i].tag);
    put16(b, big, entries[i].type);
    put32(b, big, entries[i].count);
    if (bytes > 4) {
      put32(b, big, (uint32_t)values);
      values += bytes;
      continue;
    }
    put_values(b, big, &entries[i]);
    for (; bytes < 4; bytes++)
      buf_u8(b, 0);
  }
  put32(b, big, next);
  for (size_t i = 0; i < n; i++)
    if (size_of(&entries[i]) > 4)
      put_values(b, big, &entries[i]);
}

static void put_header(struct buf *b, bool big, uint32_t first) {
  buf_text(b, big ? "MM" : "II");
  put16(b, big, 42);
  put32(b, big, first);
}

/* 20 x 10 pixels of RGB in two strips at 8. */
static struct buf tiff(bool big, const struct entry *change, uint32_t next) {
  struct entry e[] = {{256, SHORT, 1, NULL, {20}},     {257, LONG, 1, NULL, {10}}, {258, SHORT, 3, NULL, {8, 8, 8}},
                      {259, SHORT, 1, NULL, {1}},      {262, SHORT, 1, NULL, {2}}, {271, ASCII, 6, "Canon", {0}},
                      {273, LONG, 2, NULL, {8, 308}},  {277, SHORT, 1, NULL, {3}}, {278, SHORT, 1, NULL, {5}},
                      {279, LONG, 2, NULL, {300, 300}}};
  for (size_t i = 0; change && i < COUNT(e); i++)
    if (e[i].tag == change->tag)
      e[i] = *change;
  struct buf b = BUF_INIT(FILE_MAX);
  put_header(&b, big, 608);
  memset(buf_extend(&b, 600), 0x55, 600);
  put_directory(&b, 0, big, e, COUNT(e), next);
  return b;
}

TEST(tiff_strips) {
  for (int big = 0; big < 2; big++) {
    struct buf b = tiff(big, NULL, 0);
    expect(&b, PICTURE_TIFF, 20, 10, 8, 3);
    expect_cuts(&b, b.len);
    assert_string_equal(read_copy(b.data, b.len).make, "Canon");
    put(&b, "00ff");
    expect(&b, PICTURE_TIFF, 20, 10, 8, 3);
    b.data[big ? 3 : 2] = 43; /* BigTIFF */
    expect_why(&b, PICTURE_UNKNOWN, "not a JPEG, PNG or TIFF file");
    buf_finish(&b);
  }
}

TEST(tiff_broken) {
  static const struct {
    struct entry change;
    const char *why;
  } rows[] = {
      {{279, LONG, 2, NULL, {300, 301}}, "whole"}, /* the directory's bytes, but bytes of the file */
      {{279, SHORT, 2, NULL, {300, 300}}, "whole"},
      {{279, LONG, 2, NULL, {300, 299}}, "the TIFF has less data than its size needs"},
      {{279, LONG, 2, NULL, {300, 0}}, "the TIFF's data is cut off"},
      {{279, LONG, 2, NULL, {300, 0xffffffff}}, "the TIFF's data is cut off"},
      {{273, LONG, 2, NULL, {8, 0xfffffff0}}, "the TIFF's data is cut off"},
      {{273, LONG, 1, NULL, {8}}, "the TIFF has not as many pieces as its size needs"},
      {{273, ASCII, 2, "x", {0}}, "the TIFF's data has no place"},
      {{273, 12, 2, NULL, {8, 308}}, "the TIFF's data has no place"},
      {{278, SHORT, 1, NULL, {0}}, "the TIFF's strips have no size"},
      {{278, LONG, 1, NULL, {0xffffffff}}, "the TIFF has not as many pieces as its size needs"},
      {{257, LONG, 1, NULL, {0}}, "the picture has no size"},
      {{257, LONG, 1, NULL, {65536}}, "an edge is longer than 65535 pixels"},
      {{256, ASCII, 1, "a", {0}}, "the picture has no size"},
      {{258, SHORT, 3, NULL, {8, 8, 16}}, "the TIFF's samples are of no kind that is known"},
      {{258, SHORT, 1, NULL, {8}}, "the TIFF's samples are of no kind that is known"},
      {{277, SHORT, 1, NULL, {0}}, "the TIFF's samples are of no kind that is known"},
      {{277, LONG, 1, NULL, {0xffffffff}}, "the TIFF's samples are of no kind that is known"},
  };
  for (size_t i = 0; i < COUNT(rows); i++)
    for (int big = 0; big < 2; big++) {
      struct buf b = tiff(big, &rows[i].change, 0);
      expect_why(&b, PICTURE_TIFF, rows[i].why);
      buf_finish(&b);
    }
}

TEST(tiff_chain_of_pages) {
  struct buf b = tiff(false, NULL, 0);
  size_t next = 608 + 2 + 12 * 10, first_page = b.len;
  static const struct entry second[] = {{256, SHORT, 1, NULL, {1}}, {257, SHORT, 1, NULL, {1}}};
  put_directory(&b, 0, false, second, COUNT(second), 0);
  size_t second_next = b.len - 4;
  memcpy(b.data + next, &(uint32_t){(uint32_t)first_page}, 4); /* a little-endian machine, as all that it runs on */
  expect(&b, PICTURE_TIFF, 20, 10, 8, 3);
  for (size_t n = first_page; n < b.len; n++)
    assert_false(read_copy(b.data, n).whole);
  static const uint32_t loops[] = {608}; /* to the first; to itself below */
  for (size_t i = 0; i <= COUNT(loops); i++) {
    memcpy(b.data + second_next, i < COUNT(loops) ? &loops[i] : &(uint32_t){(uint32_t)first_page}, 4);
    expect_why(&b, PICTURE_TIFF, "the TIFF directories run in a loop");
  }
  memcpy(b.data + second_next, &(uint32_t){0xfffffffe}, 4);
  expect_why(&b, PICTURE_TIFF, "a TIFF directory is cut off");
  buf_finish(&b);
}

/* A chain of a million directories is read, and one that loops at its end found. */
TEST(tiff_long_chain) {
  enum { PAGES = 1000000 };
  struct buf b = tiff(false, NULL, 0);
  size_t next = 608 + 2 + 12 * 10;
  memcpy(b.data + next, &(uint32_t){(uint32_t)b.len}, 4);
  for (uint32_t i = 0; i < PAGES; i++) {
    buf_u8(&b, 0);
    buf_u8(&b, 0);
    buf_u32le(&b, i + 1 < PAGES ? (uint32_t)b.len + 4 : 0);
  }
  expect(&b, PICTURE_TIFF, 20, 10, 8, 3);
  memcpy(b.data + b.len - 4, &(uint32_t){(uint32_t)b.len - 6 * 1000}, 4);
  expect_why(&b, PICTURE_TIFF, "the TIFF directories run in a loop");
  buf_finish(&b);
}

TEST(tiff_tiles) {
  for (int planes = 1; planes <= 2; planes++) { /* 20 x 10 grey with 2 samples: 2 x 1 tiles of 16 x 16 */
    uint32_t n = planes == 2 ? 4 : 2, size = planes == 2 ? 256 : 512;
    struct entry e[] = {{256, SHORT, 1, NULL, {20}},
                        {257, SHORT, 1, NULL, {10}},
                        {258, SHORT, 2, NULL, {8, 8}},
                        {277, SHORT, 1, NULL, {2}},
                        {284, SHORT, 1, NULL, {(uint32_t)planes}},
                        {322, SHORT, 1, NULL, {16}},
                        {323, SHORT, 1, NULL, {16}},
                        {324, LONG, n, NULL, {8, 8, 8, 8}},
                        {325, LONG, n, NULL, {size, size, size, size}}};
    struct buf b = BUF_INIT(FILE_MAX);
    put_header(&b, true, 8 + 512);
    memset(buf_extend(&b, 512), 0x55, 512);
    put_directory(&b, 0, true, e, COUNT(e), 0);
    expect(&b, PICTURE_TIFF, 20, 10, 8, 2);
    e[8].number[0]--;
    b.len = 8 + 512;
    put_directory(&b, 0, true, e, COUNT(e), 0);
    expect_why(&b, PICTURE_TIFF, "the TIFF has less data than its size needs");
    e[6].number[0] = 0;
    b.len = 8 + 512;
    put_directory(&b, 0, true, e, COUNT(e), 0);
    expect_why(&b, PICTURE_TIFF, "the TIFF's tiles have no size");
    buf_finish(&b);
  }
}

struct exif {
  struct entry make, model, taken, fraction;
};

static const struct exif exif_good = {{0x010f, ASCII, 6, "Canon", {0}},
                                      {0x0110, ASCII, 13, "Canon EOS 40D", {0}},
                                      {0x9003, ASCII, 20, "2026:03:17 09:30:05", {0}},
                                      {0x9291, ASCII, 4, "078", {0}}};

/* A JPEG with that EXIF; `thumbnail` is appended to the segment where EXIF has its own. */
static struct buf exif_jpeg(bool big, const struct exif *x, const struct buf *thumbnail) {
  struct buf app = BUF_INIT(65000), b = jpeg(&forms[0]);
  buf_add(&app, "\xff\xe1\0\0Exif\0", 10);
  const struct entry zeroth[] = {x->make, x->model, {0x8769, LONG, 1, NULL, {200}}}, inner[] = {x->taken, x->fraction};
  put_header(&app, big, 8);
  put_directory(&app, 10, big, zeroth, COUNT(zeroth), 0);
  while (app.len < 210)
    buf_u8(&app, 0);
  put_directory(&app, 10, big, inner, COUNT(inner), 0);
  if (thumbnail)
    buf_add(&app, thumbnail->data, thumbnail->len);
  app.data[2] = (uint8_t)((app.len - 2) >> 8);
  app.data[3] = (uint8_t)(app.len - 2);
  insert(&b, 2, app.data, app.len);
  buf_finish(&app);
  return b;
}

static int64_t clock_us(int year, int month, int day, int hour, int minute, int second, int ms) {
  int64_t us;
  assert_int_equal(acq_clock_to_us(&(struct acq_clock){year, month, day, hour, minute, second, ms}, &us), 0);
  return us;
}

TEST(exif_fields) {
  for (int big = 0; big < 2; big++) {
    struct buf b = exif_jpeg(big, &exif_good, NULL);
    struct picture p = read_copy(b.data, b.len);
    expect(&b, PICTURE_JPEG, 57, 43, 8, 3);
    assert_string_equal(p.make, "Canon");
    assert_string_equal(p.model, "Canon EOS 40D");
    assert_true(p.timed);
    assert_int_equal(p.clock_us, clock_us(2026, 3, 17, 9, 30, 5, 78));
    expect_cuts(&b, b.len);
    buf_finish(&b);
  }
}

TEST(exif_texts) {
  static const struct {
    struct entry make;
    const char *want;
  } rows[] = {{{0x010f, ASCII, 4, "Abc", {0}}, "Abc"}, /* in the entry itself */
              {{0x010f, ASCII, 4, "Abcd", {0}}, "Abcd"},
              {{0x010f, ASCII, 10, "Nikon    ", {0}}, "Nikon"},
              {{0x010f, ASCII, 12, "Nikon\0after", {0}}, "Nikon"},
              {{0x010f, ASCII, 6, "    \0", {0}}, ""},
              {{0x010f, ASCII, 7, "Topc\xc3\xb3n", {0}}, ""},
              {{0x010f, ASCII, 6, "To\x01pc", {0}}, ""},
              {{0x010f, ASCII, 6, "To\x7fpc", {0}}, ""},
              {{0x010f, ASCII, 63, "123456789012345678901234567890123456789012345678901234567890123", {0}},
               "123456789012345678901234567890123456789012345678901234567890123"},
              {{0x010f, ASCII, 64, "1234567890123456789012345678901234567890123456789012345678901234", {0}}, ""},
              {{0x010f, SHORT, 2, NULL, {0x4141, 0x4141}}, ""},
              {{0x010f, 7, 1, NULL, {0x41414141}}, ""}};
  for (size_t i = 0; i < COUNT(rows); i++)
    for (int big = 0; big < 2; big++) {
      struct exif x = exif_good;
      x.make = rows[i].make;
      struct buf b = exif_jpeg(big, &x, NULL);
      struct picture p = read_copy(b.data, b.len);
      assert_true(p.whole);
      assert_string_equal(p.make, rows[i].want);
      assert_string_equal(p.model, "Canon EOS 40D");
      buf_finish(&b);
    }
}

TEST(exif_times) {
  static const struct {
    const char *taken, *fraction;
    int ms; /* -1: no time */
  } rows[] = {
      {"2026:03:17 09:30:05", "", 0},     {"2026:03:17 09:30:05", "5", 500}, {"2026:03:17 09:30:05", "12345", 123},
      {"2026:03:17 09:30:05", "07 ", 70}, {"2026:03:17 09:30:05", "-1", 0},  {"2026:03:17 09:30:05", "1e9", 0},
      {"2026-03-17 09:30:05", "", -1},    {"2026:03:17T09:30:05", "", -1},   {"2026:03:17 09:30:60", "", -1},
      {"2026:02:30 09:30:05", "", -1},    {"0000:00:00 00:00:00", "", -1},   {"    :  :     :  :  ", "", -1},
      {"2026:03:17 09:30", "", -1},       {"2026:03:17 09:30:05Z", "", -1},  {"202a:03:17 09:30:05", "", -1},
      {"+026:03:17 09:30:05", "", -1}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct exif x = exif_good;
    x.taken = (struct entry){0x9003, ASCII, (uint32_t)strlen(rows[i].taken) + 1, rows[i].taken, {0}};
    x.fraction = (struct entry){0x9291, ASCII, (uint32_t)strlen(rows[i].fraction) + 1, rows[i].fraction, {0}};
    struct buf b = exif_jpeg(false, &x, NULL);
    struct picture p = read_copy(b.data, b.len);
    assert_true(p.whole);
    assert_int_equal(p.timed, rows[i].ms >= 0);
    assert_int_equal(p.clock_us, rows[i].ms < 0 ? 0 : clock_us(2026, 3, 17, 9, 30, 5, rows[i].ms));
    buf_finish(&b);
  }
}

/* Whatever is written over any four bytes of it: the picture stays whole, and what EXIF says stays clean. */
TEST(exif_lies) {
  static const uint8_t lies[][4] = {{0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 0},       {0, 0, 0, 8}, {8, 0, 0, 0},
                                    {0x7f, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0x80}, {0, 4, 0, 4}};
  for (int big = 0; big < 2; big++) {
    struct buf b = exif_jpeg(big, &exif_good, NULL);
    size_t n, at = find(&b, 0xe1, 0, &n);
    for (size_t i = at + 4; i + 4 <= at + n; i++)
      for (size_t k = 0; k < COUNT(lies); k++) {
        uint8_t was[4];
        memcpy(was, b.data + i, 4);
        memcpy(b.data + i, lies[k], 4);
        struct picture p = read_copy(b.data, b.len);
        assert_true(p.whole && p.width == 57 && p.height == 43);
        memcpy(b.data + i, was, 4);
      }
    buf_finish(&b);
  }
}

TEST(exif_loops) { /* the inner directory is the outer one; a chain of directories that never ends */
  struct buf b = exif_jpeg(true, &exif_good, NULL);
  size_t n, base = find(&b, 0xe1, 0, &n) + 10;
  uint8_t *inner = b.data + base + 8 + 2 + 2 * 12 + 8, *next = inner + 4;
  assert_int_equal(inner[3], 200);
  memcpy(next, "\0\0\0\x08", 4);
  assert_true(read_copy(b.data, b.len).timed);
  inner[3] = 8;
  struct picture p = read_copy(b.data, b.len);
  assert_true(p.whole && !p.timed);
  assert_string_equal(p.make, "Canon");
  buf_finish(&b);
}

TEST(exif_cut_segment) { /* every length that the segment can have: what is left of it is read, or nothing */
  struct buf b = exif_jpeg(false, &exif_good, NULL);
  size_t n, at = find(&b, 0xe1, 0, &n);
  for (; n > 4; n--) {
    memmove(b.data + at + n - 1, b.data + at + n, b.len - at - n);
    b.len--;
    b.data[at + 2] = (uint8_t)((n - 3) >> 8);
    b.data[at + 3] = (uint8_t)(n - 3);
    struct picture p = read_copy(b.data, b.len);
    assert_true(p.whole && p.width == 57);
  }
  buf_finish(&b);
}

TEST(thumbnail_is_not_the_picture) {
  struct pixels small = pixels_fundus(16, 12, 900, 1);
  struct buf thumbnail = BUF_INIT(65000);
  jpeg_make(&small, &(struct jpeg_form){.grey = true, .progressive = true}, &thumbnail);
  pixels_finish(&small);
  struct buf b = exif_jpeg(false, &exif_good, &thumbnail), plain = jpeg(&forms[0]);
  expect(&b, PICTURE_JPEG, 57, 43, 8, 3);
  expect_cuts(&b, b.len);
  size_t at = 0, first, n;
  uint8_t marker;
  struct buf rest = BUF_INIT(FILE_MAX);
  while (picture_jpeg_segment(b.data, b.len, &at, &marker, &first, &n))
    if (marker != 0xe1)
      buf_add(&rest, b.data + first, n);
  assert_int_equal(rest.len, plain.len);
  assert_memory_equal(rest.data, plain.data, rest.len);
  buf_finish(&b);
  buf_finish(&plain);
  buf_finish(&rest);
  buf_finish(&thumbnail);
}

/* ---- PNG ---- */

TEST(png_forms) {
  static const struct {
    struct png_form form;
    int bits, components;
  } rows[] = {{{0}, 8, 3},
              {{.grey = true}, 8, 1},
              {{.sixteen = true}, 16, 3},
              {{.alpha = true}, 8, 4},
              {{.grey = true, .alpha = true, .sixteen = true}, 16, 2},
              {{.palette = true}, 8, 3},
              {{.interlaced = true}, 8, 3}};
  struct pixels p = pixels_fundus(31, 23, 900, 2);
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct buf b = BUF_INIT(FILE_MAX);
    png_make(&p, &rows[i].form, &b);
    expect(&b, PICTURE_PNG, 31, 23, rows[i].bits, rows[i].components);
    size_t n = b.len;
    put(&b, "00ff");
    expect_cuts(&b, n);
    for (size_t at = 0; at < n; at++) /* every burst of up to 8 bits is found */
      for (int bit = 0; bit < 8; bit += 3) {
        b.data[at] ^= (uint8_t)(1 << bit);
        assert_false(read_copy(b.data, b.len).whole);
        b.data[at] ^= (uint8_t)(1 << bit);
      }
    buf_finish(&b);
  }
  pixels_finish(&p);
}

/* A chunk with its checksum (made here bit by bit). */
static void put_chunk(struct buf *b, const char *type, const char *hex) {
  size_t n = strlen(hex) / 2, at = b->len + 4;
  put32(b, true, (uint32_t)n);
  buf_text(b, type);
  put(b, hex);
  uint32_t crc = UINT32_MAX;
  for (size_t i = at; i < b->len; i++)
    for (int bit = 0; bit < 8; bit++)
      crc = ((crc ^ (uint32_t)(b->data[i] >> bit)) & 1) ? crc >> 1 ^ 0xedb88320 : crc >> 1;
  put32(b, true, ~crc);
}

TEST(png_broken) {
  static const struct {
    const char *chunks[5][2], *why;
  } rows[] = {
      {{{"IHDR", "00000001000000010800000000"}, {"IDAT", "00"}, {"IDAT", "00"}, {"tEXt", "41"}, {"IEND", ""}}, "whole"},
      {{{"tEXt", "41"}, {"IHDR", "00000001000000010800000000"}}, "the PNG's header is not where it must be"},
      {{{"IHDR", "00000001000000010800000000"}, {"IHDR", "00000001000000010800000000"}},
       "the PNG's header is not where it must be"},
      {{{"IHDR", "000000010000000108000000"}}, "the PNG's header is wrong"},
      {{{"IHDR", "00000001000000010300000000"}}, "the PNG's header is wrong"},
      {{{"IHDR", "00000001000000011003000000"}}, "the PNG's header is wrong"},
      {{{"IHDR", "00000001000000010801000000"}}, "the PNG's header is wrong"},
      {{{"IHDR", "00000001000000012800000000"}}, "the PNG's header is wrong"},
      {{{"IHDR", "00000001000000010800000002"}}, "the PNG's header is wrong"},
      {{{"IHDR", "00000000000000010800000000"}}, "the picture has no size"},
      {{{"IHDR", "00010000000000010800000000"}}, "an edge is longer than 65535 pixels"},
      {{{"IHDR", "00000001000000010800000000"}, {"IEND", ""}}, "the PNG ends without data"},
      {{{"IHDR", "00000001000000010800000000"}, {"IDAT", "00"}, {"IEND", "00"}}, "the PNG ends without data"},
      {{{"IHDR", "00000001000000010800000000"}, {"IDAT", "00"}, {"tEXt", "41"}, {"IDAT", "00"}},
       "the PNG's data is not where it must be"},
      {{{"IHDR", "00000001000000010803000000"}, {"IDAT", "00"}}, "the PNG's data is not where it must be"},
      {{{"IHDR", "00000001000000010803000000"}, {"PLTE", "000000"}, {"IDAT", "00"}, {"IEND", ""}}, "whole"},
      {{{"IHDR", "00000001000000010800000000"}, {"IDAT", "00"}}, "the PNG is cut off"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct buf b = BUF_INIT(FILE_MAX);
    put(&b, "89504e470d0a1a0a");
    for (int k = 0; k < 5 && rows[i].chunks[k][0]; k++)
      put_chunk(&b, rows[i].chunks[k][0], rows[i].chunks[k][1]);
    expect_why(&b, PICTURE_PNG, rows[i].why);
    buf_finish(&b);
  }
}

/* ---- all ---- */

/* What a hostile file can make it do the longest: 16 MiB of each must not be felt (seconds, where time is linear in the
 * length squared: hours). */
TEST(linear) {
  static const char *const heads[] = {"ffd8" FRAME SCAN, "ffd8", "ffd8ffdd00040001" FRAME SCAN, "ffd8"};
  static const char *const repeated[] = {"ff00", "ff", "ffd0", "ff01"};
  for (size_t i = 0; i < COUNT(heads); i++) {
    struct buf b = BUF_INIT(FILE_MAX);
    put(&b, heads[i]);
    for (int k = 0; k < 8 << 20; k++)
      put(&b, repeated[i]);
    assert_false(read_copy(b.data, b.len).whole);
    buf_finish(&b);
  }
}

TEST(samples) {
  static const struct {
    const char *path;
    uint32_t w, h;
    enum picture_format format;
  } rows[] = {{"umockdev_powershot/IMG_0001.jpg", 640, 480, PICTURE_JPEG_PROGRESSIVE},
              {"umockdev_powershot/IMG_0002.jpg", 640, 480, PICTURE_JPEG_PROGRESSIVE},
              {"fundus/fundus_normal_right_eye_600px_CC0.jpg", 600, 600, PICTURE_JPEG}};
  const char *folder = getenv("ASALEED_SAMPLES");
  for (size_t i = 0; i < COUNT(rows); i++) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "", rows[i].path);
    FILE *f = fopen(path, "rb");
    if (!f) {
      print_message("skipped: no %s\n", rows[i].path);
      skip();
    }
    struct buf b = BUF_INIT(1 << 20);
    uint8_t *at = buf_extend(&b, 1 << 20);
    b.len = fread(at, 1, 1 << 20, f);
    fclose(f);
    expect(&b, rows[i].format, rows[i].w, rows[i].h, 8, 3);
    for (size_t n = 0; n < b.len; n += b.len / 3000 + 1)
      assert_false(read_copy(b.data, n).whole);
    assert_false(read_copy(b.data, b.len - 1).whole);
    buf_finish(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names),
      cmocka_unit_test(jpeg_forms),
      cmocka_unit_test(jpeg_segments),
      cmocka_unit_test(jpeg_bytes_after_the_end),
      cmocka_unit_test(jpeg_fill_bytes),
      cmocka_unit_test(jpeg_several_scans),
      cmocka_unit_test(jpeg_broken),
      cmocka_unit_test(tiff_strips),
      cmocka_unit_test(tiff_broken),
      cmocka_unit_test(tiff_chain_of_pages),
      cmocka_unit_test(tiff_long_chain),
      cmocka_unit_test(tiff_tiles),
      cmocka_unit_test(exif_fields),
      cmocka_unit_test(exif_texts),
      cmocka_unit_test(exif_times),
      cmocka_unit_test(exif_lies),
      cmocka_unit_test(exif_loops),
      cmocka_unit_test(exif_cut_segment),
      cmocka_unit_test(thumbnail_is_not_the_picture),
      cmocka_unit_test(png_forms),
      cmocka_unit_test(png_broken),
      cmocka_unit_test(linear),
      cmocka_unit_test(samples),
  };
  cmocka_set_message_output(CM_OUTPUT_TAP);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
