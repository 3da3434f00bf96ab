#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"
#include "picture_judge.h"
#include "picture_make.h"
#include "sandbox.h"
#include "str.h"
#include "wall.h"
#include <cmocka.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)
#define FILE_MAX (256u << 20)
#define SAMPLE "fundus/fundus_normal_right_eye_600px_CC0.jpg"

struct judged {
  int err;
  struct picture_judgement is;
  struct picture_preview preview;
};

static void put(struct buf *b, const char *hex) {
  size_t n = strlen(hex) / 2;
  uint8_t *at = buf_extend(b, n);
  assert_true(at && str_unhex(hex, at, n));
}

/* The preview is checked, and dropped unless it is asked for. */
static struct judged judge_file(const uint8_t *bytes, size_t n, struct picture_preview *ret_preview) {
  struct picture structure, of_preview;
  struct judged j;
  memset(&j, 0xa5, sizeof j);
  const struct judged untouched = j;
  picture_read(bytes, n, &structure);
  j.err = picture_judge(bytes, n, &structure, &j.is, &j.preview);
  if (j.err < 0) {
    assert_true(j.err == -ENOTSUP || j.err == -EBADMSG || j.err == -ENOMEM);
    assert_memory_equal(&j.is, &untouched.is, sizeof j.is);
    assert_memory_equal(&j.preview, &untouched.preview, sizeof j.preview);
    return j;
  }
  const struct dec shares[] = {j.is.brightness, j.is.dark, j.is.bright, j.is.focus};
  for (size_t i = 0; i < COUNT(shares); i++)
    assert_true(shares[i].exponent == -3 && shares[i].mantissa >= 0 && shares[i].mantissa <= 1000);
  picture_read(j.preview.bytes, j.preview.n, &of_preview);
  assert_true(of_preview.whole && of_preview.format == PICTURE_JPEG && of_preview.bits == 8);
  assert_int_equal(of_preview.width, j.preview.width);
  assert_int_equal(of_preview.height, j.preview.height);
  assert_true(of_preview.width <= PICTURE_PREVIEW_EDGE && of_preview.height <= PICTURE_PREVIEW_EDGE);
  if (ret_preview)
    *ret_preview = j.preview;
  else
    free(j.preview.bytes);
  return j;
}

static struct judged judge_pixels(const struct pixels *p, const struct jpeg_form *form) {
  struct buf b = BUF_INIT(FILE_MAX);
  jpeg_make(p, form, &b);
  struct judged j = judge_file(b.data, b.len, NULL);
  buf_finish(&b);
  assert_int_equal(j.err, 0);
  assert_int_equal(j.is.warnings, 0);
  return j;
}

static bool sample(struct buf *ret) {
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[512];
  *ret = BUF_INIT(1 << 20);
  snprintf(path, sizeof path, "%s/%s", folder ? folder : "", SAMPLE);
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("skipped: no %s\n", SAMPLE);
    return false;
  }
  uint8_t *at = buf_extend(ret, 1 << 20);
  assert_non_null(at);
  ret->len = fread(at, 1, 1 << 20, f);
  fclose(f);
  return true;
}

/* ---- the hints ---- */

enum { NOTHING = 0, DARK = 1, BRIGHT = 2, BLURRED = 4, ANY = 8 /* a border case, for the table alone */ };

/* What is done to a scene, and what must be said of it. */
static const struct change {
  const char *name;
  unsigned blur; /* permille of the longer edge */
  int noise;
  unsigned percent; /* of the light; 0 = all of it */
  int quality;
  unsigned hints;
} changes[] = {
    {"as it is", 0, 0, 0, 95, NOTHING},
    {"JPEG quality 75", 0, 0, 0, 75, NOTHING},
    {"JPEG quality 40", 0, 0, 0, 40, NOTHING},
    {"noise of 10", 0, 10, 0, 90, NOTHING},
    {"noise of 20", 0, 20, 0, 90, NOTHING},
    {"blur of 0.2 %", 2, 0, 0, 90, NOTHING},
    {"blur of 0.35 %", 4, 0, 0, 90, ANY},
    {"blur of 0.5 %", 5, 0, 0, 90, ANY},
    {"blur of 1 %", 10, 0, 0, 90, BLURRED},
    {"blur of 1 %, quality 40", 10, 0, 0, 40, BLURRED},
    {"blur of 1 %, noise of 10", 10, 10, 0, 90, BLURRED},
    {"blur of 1 %, noise of 20", 10, 20, 0, 90, BLURRED},
    {"blur of 2 %", 20, 0, 0, 90, BLURRED},
    {"blur of 4 %", 40, 0, 0, 90, BLURRED},
    {"light of 70 %", 0, 0, 70, 90, NOTHING},
    {"light of 50 %", 0, 0, 50, 90, NOTHING},
    {"light of 35 %", 0, 0, 35, 90, ANY},
    {"light of 25 %", 0, 0, 25, 90, DARK},
    {"light of 25 %, blur of 1 %", 10, 0, 25, 90, DARK | BLURRED},
    {"light of 10 %", 0, 0, 10, 90, DARK},
    {"light of 1 %", 0, 0, 1, 90, DARK},
    {"light of 130 %", 0, 0, 130, 90, NOTHING},
    {"light of 160 %", 0, 0, 160, 90, NOTHING},
    {"light of 250 %", 0, 0, 250, 90, ANY},
    {"light of 300 %", 0, 0, 300, 90, BRIGHT},
    {"light of 600 %", 0, 0, 600, 90, BRIGHT},
};

static unsigned hints(const struct picture_judgement *j) {
  return (j->is_dark ? DARK : 0u) | (j->is_bright ? BRIGHT : 0u) | (j->is_blurred ? BLURRED : 0u);
}

static struct pixels pixels_copy(const struct pixels *p) {
  size_t n = (size_t)p->w * p->h * 3;
  struct pixels copy = {p->w, p->h, malloc(n)};
  assert_non_null(copy.at);
  memcpy(copy.at, p->at, n);
  return copy;
}

static void change_and_judge(const char *scene, const struct pixels *plain, const struct change *c) {
  struct pixels copy = pixels_copy(plain), *p = &copy;
  uint32_t longer = p->w > p->h ? p->w : p->h;
  pixels_blur(p, (longer * c->blur + 500) / 1000);
  if (c->percent)
    pixels_light(p, c->percent, 0);
  if (c->noise)
    pixels_noise(p, c->noise, 5);
  struct judged j = judge_pixels(p, &(struct jpeg_form){.quality = c->quality});
  char text[4][DEC_TEXT_MAX];
  dec_format(j.is.brightness, text[0]);
  dec_format(j.is.dark, text[1]);
  dec_format(j.is.bright, text[2]);
  dec_format(j.is.focus, text[3]);
  print_message("# %-18s %-26s %6s %6s %6s %6s %s%s%s\n", scene, c->name, text[0], text[1], text[2], text[3],
                j.is.is_dark ? "dark " : "", j.is.is_bright ? "bright " : "", j.is.is_blurred ? "blurred" : "");
  if (c->hints != ANY)
    assert_int_equal(hints(&j.is), c->hints);
  pixels_finish(p);
}

static void print_head(void) {
  print_message("# %-18s %-26s %6s %6s %6s %6s %s\n", "scene", "change", "light", "dark", "bright", "focus", "hints");
}

TEST(hints_on_scenes) {
  static const struct {
    const char *name;
    uint32_t w, h;
    unsigned across, seed;
  } scenes[] = {{"900x600 disc", 900, 600, 950, 1},
                {"1500x1000 clipped", 1500, 1000, 1150, 2},
                {"700x700 no edge", 700, 700, 1500, 3},
                {"700x1000 upright", 700, 1000, 900, 4}};
  print_head();
  for (size_t s = 0; s < COUNT(scenes); s++) {
    struct pixels p = pixels_fundus(scenes[s].w, scenes[s].h, scenes[s].across, scenes[s].seed);
    for (size_t i = 0; i < COUNT(changes); i++)
      change_and_judge(scenes[s].name, &p, &changes[i]);
    pixels_finish(&p);
  }
}

TEST(hints_on_a_photograph) {
  struct buf b;
  if (!sample(&b))
    skip();
  print_head();
  struct pixels p = pixels_decode(b.data, b.len);
  for (size_t i = 0; i < COUNT(changes); i++)
    change_and_judge("photograph", &p, &changes[i]);
  pixels_finish(&p);
  struct judged j = judge_file(b.data, b.len, NULL);
  assert_int_equal(j.err, 0);
  assert_int_equal(hints(&j.is), NOTHING);
  /* Exact: another machine, compiler or libjpeg that gives others is to be looked into. */
  assert_int_equal(j.is.brightness.mantissa, 447);
  assert_int_equal(j.is.focus.mantissa, 446);
  buf_finish(&b);
}

TEST(focus_falls_with_blur) {
  int32_t last = 1001;
  struct pixels plain = pixels_fundus(1000, 750, 950, 9);
  for (unsigned radius = 0; radius <= 10; radius += 2) {
    struct pixels p = pixels_copy(&plain);
    pixels_blur(&p, radius);
    struct judged j = judge_pixels(&p, &(struct jpeg_form){.quality = 95});
    assert_true(j.is.focus.mantissa < last || (j.is.focus.mantissa == 0 && last == 0));
    last = j.is.focus.mantissa;
    pixels_finish(&p);
  }
  pixels_finish(&plain);
  assert_true(last < 50);
}

/* The same field with more pixels, or with more surround, is as bright and as sharp. */
TEST(scale_and_surround) {
  static const struct {
    uint32_t w, h;
    unsigned across;
  } rows[] = {{800, 800, 950}, {1600, 1600, 950}, {3000, 3000, 950}, {1600, 1600, 500}, {2400, 1600, 950}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct pixels p = pixels_fundus(rows[i].w, rows[i].h, rows[i].across, 6);
    struct judged j = judge_pixels(&p, &(struct jpeg_form){0});
    print_message("# %ux%u disc of %u: light %d focus %d\n", rows[i].w, rows[i].h, rows[i].across,
                  j.is.brightness.mantissa, j.is.focus.mantissa);
    assert_in_range(j.is.brightness.mantissa, 335, 375);
    assert_in_range(j.is.focus.mantissa, 390, 600);
    assert_int_equal(j.is.dark.mantissa, 0);
    pixels_finish(&p);
  }
}

/* What a camera writes beside the disc is no part of it. */
TEST(caption_beside_the_disc) {
  struct pixels p = pixels_fundus(1500, 1000, 950, 1);
  struct judged plain = judge_pixels(&p, &(struct jpeg_form){0});
  for (uint32_t y = 20; y < 60; y++)
    for (uint32_t x = 20; x < 220; x++)
      memset(p.at + ((size_t)y * p.w + x) * 3, (x / 8 + y / 8) % 2 ? 255 : 0, 3);
  struct judged j = judge_pixels(&p, &(struct jpeg_form){0});
  assert_memory_equal(&j.is, &plain.is, sizeof j.is);
  pixels_finish(&p);
}

/* ---- kinds of files ---- */

TEST(forms) {
  static const struct jpeg_form forms[] = {
      {0}, {.progressive = true}, {.grey = true}, {.full_colour = true, .optimised = true}, {.restart_rows = 2}};
  static const struct png_form png_forms[] = {{0}, {.grey = true}, {.alpha = true}, {.grey = true, .alpha = true}};
  struct pixels p = pixels_fundus(640, 480, 950, 5);
  for (size_t i = 0; i < COUNT(forms) + COUNT(png_forms); i++) {
    struct buf b = BUF_INIT(FILE_MAX);
    if (i < COUNT(forms))
      jpeg_make(&p, &forms[i], &b);
    else
      png_make(&p, &png_forms[i - COUNT(forms)], &b);
    struct picture_preview preview;
    struct judged j = judge_file(b.data, b.len, &preview);
    assert_int_equal(j.err, 0);
    assert_int_equal(j.is.warnings, 0);
    assert_int_equal(hints(&j.is), NOTHING);
    assert_in_range(j.is.brightness.mantissa, 330, 390);
    assert_true(preview.width == 640 && preview.height == 480);
    struct pixels shown = pixels_decode(preview.bytes, preview.n);
    uint64_t apart = 0;
    bool grey = i < COUNT(forms) ? forms[i].grey : png_forms[i - COUNT(forms)].grey;
    for (size_t k = 0; k < (size_t)640 * 480 * 3 && !grey; k++)
      apart += (uint64_t)abs(shown.at[k] - p.at[k]);
    assert_true(apart < (uint64_t)640 * 480 * 3 * 6); /* the colours are the picture's */
    pixels_finish(&shown);
    free(preview.bytes);
    buf_finish(&b);
  }
  pixels_finish(&p);
}

TEST(palette) {
  struct pixels p = pixels_fundus(300, 200, 950, 5);
  struct buf b = BUF_INIT(FILE_MAX);
  png_make(&p, &(struct png_form){.palette = true}, &b);
  assert_int_equal(judge_file(b.data, b.len, NULL).err, 0);
  buf_finish(&b);
  pixels_finish(&p);
}

TEST(sizes) {
  static const struct {
    uint32_t w, h, shown_w, shown_h;
  } rows[] = {{1, 1, 1, 1},         {8, 8, 8, 8},        {2048, 1, 2048, 1},       {2049, 100, 2048, 100},
              {1, 60000, 1, 2048},  {60000, 3, 2048, 1}, {2048, 2048, 2048, 2048}, {4096, 64, 2048, 32},
              {16500, 16, 2048, 2}, {3000, 2000, 0, 0}};
  for (size_t i = 0; i < COUNT(rows); i++)
    for (int png = 0; png < 2; png++) {
      struct pixels p = {rows[i].w, rows[i].h, malloc((size_t)rows[i].w * rows[i].h * 3)};
      struct buf b = BUF_INIT(FILE_MAX);
      memset(p.at, 100, (size_t)rows[i].w * rows[i].h * 3);
      if (png)
        png_make(&p, &(struct png_form){0}, &b);
      else
        jpeg_make(&p, &(struct jpeg_form){0}, &b);
      struct judged j = judge_file(b.data, b.len, NULL);
      assert_int_equal(j.err, 0);
      assert_in_range(j.is.brightness.mantissa, 390, 395);
      assert_false(j.is.is_blurred && (rows[i].w < 200 || rows[i].h < 200)); /* nothing to tell it from */
      if (png && rows[i].shown_w) {
        assert_in_range(j.preview.width, rows[i].shown_w, rows[i].shown_w);
        assert_in_range(j.preview.height, rows[i].shown_h, rows[i].shown_h);
      }
      buf_finish(&b);
      pixels_finish(&p);
    }
}

TEST(tiny_and_black) {
  for (uint32_t w = 1; w <= 9; w++)
    for (uint32_t h = 1; h <= 9; h++) {
      struct pixels p = {w, h, calloc(w * h, 3)};
      struct judged j = judge_pixels(&p, &(struct jpeg_form){0});
      assert_int_equal(j.is.dark.mantissa, 1000);
      assert_int_equal(hints(&j.is), DARK);
      pixels_finish(&p);
    }
}

/* Nothing that the file says beside its pixels is in the preview. */
TEST(preview_says_nothing) {
  static const char secret[] = "\xff\xfe\0\x10MARTIN^JEAN  ";
  struct pixels p = pixels_fundus(200, 150, 950, 5);
  struct buf b = BUF_INIT(FILE_MAX);
  jpeg_make(&p, &(struct jpeg_form){0}, &b);
  assert_non_null(buf_extend(&b, 18));
  memmove(b.data + 2 + 18, b.data + 2, b.len - 20);
  memcpy(b.data + 2, secret, 18);
  struct picture_preview preview;
  assert_int_equal(judge_file(b.data, b.len, &preview).err, 0);
  assert_non_null(memmem(b.data, b.len, "MARTIN", 6));
  assert_null(memmem(preview.bytes, preview.n, "MARTIN", 6));
  size_t at = 0, first, n;
  uint8_t marker;
  while (picture_jpeg_segment(preview.bytes, preview.n, &at, &marker, &first, &n))
    assert_false((marker > 0xe0 && marker <= 0xef) || marker == 0xfe);
  free(preview.bytes);
  buf_finish(&b);
  pixels_finish(&p);
}

TEST(not_supported) {
  struct pixels p = pixels_fundus(64, 48, 950, 5);
  struct buf b[5] = {BUF_INIT(FILE_MAX), BUF_INIT(FILE_MAX), BUF_INIT(FILE_MAX), BUF_INIT(FILE_MAX),
                     BUF_INIT(FILE_MAX)};
  jpeg_make(&p, &(struct jpeg_form){.cmyk = true}, &b[0]);
  png_make(&p, &(struct png_form){.sixteen = true}, &b[1]);
  png_make(&p, &(struct png_form){.interlaced = true}, &b[2]);
  put(&b[3], "49492a0008000000000000000000"); /* TIFF */
  put(&b[4], "00112233");
  for (size_t i = 0; i < COUNT(b); i++) {
    assert_int_equal(judge_file(b[i].data, b[i].len, NULL).err, -ENOTSUP);
    buf_finish(&b[i]);
  }
  pixels_finish(&p);
}

/* Where jpeg_make()'s SOF is. */
static uint8_t *frame_of(struct buf *b) {
  size_t at = 0, first, n;
  uint8_t marker;
  while (picture_jpeg_segment(b->data, b->len, &at, &marker, &first, &n))
    if (marker >= 0xc0 && marker <= 0xc2)
      return b->data + first;
  fail();
  return NULL;
}

TEST(twelve_bits_and_too_many_pixels) {
  struct pixels p = pixels_fundus(64, 48, 950, 5);
  for (int i = 0; i < 4; i++) {
    struct buf b = BUF_INIT(FILE_MAX);
    jpeg_make(&p, &(struct jpeg_form){.progressive = i == 3, .full_colour = true}, &b);
    uint8_t *sof = frame_of(&b);
    if (i == 0)
      sof[1] = 0xc1, sof[4] = 12;
    else if (i == 3)
      memcpy(sof + 5, "\x27\x10\x27\x10", 4); /* 10000 x 10000: 600 MB of coefficients */
    else
      memcpy(sof + 5, i == 1 ? "\x27\x10\x27\x11" : "\xff\xdc\xff\xdc", 4); /* 10000 x 10001, 65500 x 65500 */
    assert_int_equal(judge_file(b.data, b.len, NULL).err, -ENOTSUP);
    buf_finish(&b);
  }
  pixels_finish(&p);
}

/* A progressive picture whose many scans are tiny, over as many pixels as are allowed: refused, soon. */
TEST(scans_without_end) {
  struct pixels p = pixels_fundus(64, 48, 950, 5);
  struct buf b = BUF_INIT(FILE_MAX);
  jpeg_make(&p, &(struct jpeg_form){.progressive = true, .grey = true}, &b);
  memcpy(frame_of(&b) + 5, "\x27\x10\x27\x10", 4);
  b.len -= 2;
  size_t at = 0, first, n, last = 0, last_n = 0;
  uint8_t marker;
  put(&b, "ffd9");
  while (picture_jpeg_segment(b.data, b.len, &at, &marker, &first, &n))
    if (marker == 0xda)
      last = first, last_n = n;
  for (int i = 0; i < 1000; i++) {
    b.len -= 2;
    uint8_t copy[4096];
    assert_true(last_n <= sizeof copy);
    memcpy(copy, b.data + last, last_n);
    buf_add(&b, copy, last_n);
    put(&b, "ffd9");
  }
  uint64_t start = monotonic_us();
  assert_int_equal(judge_file(b.data, b.len, NULL).err, -ENOTSUP);
  print_message("# refused after %u ms\n", (unsigned)((monotonic_us() - start) / 1000));
  buf_finish(&b);
  pixels_finish(&p);
}

/* ---- damage ---- */

/* Cut anywhere, or with bytes that are wrong: shown as far as it goes, with warnings, or refused. Nothing is printed
 * (by a library, past us). */
TEST(damaged) {
  struct pixels p = pixels_fundus(160, 120, 950, 5);
  int shown = 0, refused = 0, silent = memfd_create("stderr", 0), was = dup(2);
  assert_true(silent >= 0 && was >= 0 && dup2(silent, 2) == 2);
  for (int form = 0; form < 4; form++) {
    struct buf b = BUF_INIT(FILE_MAX);
    if (form < 3)
      jpeg_make(&p, &(struct jpeg_form){.progressive = form == 1, .restart_rows = form == 2}, &b);
    else
      png_make(&p, &(struct png_form){0}, &b);
    struct picture structure;
    picture_read(b.data, b.len, &structure);
    for (size_t n = 0; n < b.len; n += 1 + n / 40) {
      struct picture_judgement j;
      struct picture_preview preview;
      int r = picture_judge(b.data, n, &structure, &j, &preview);
      assert_true(r == -EBADMSG || (r == 0 && (j.warnings > 0 || n + 100 > b.len)));
      shown += r == 0;
      refused += r < 0;
      if (r == 0)
        free(preview.bytes);
    }
    for (size_t i = 0; i < b.len; i += 1 + b.len / 700) {
      b.data[i] ^= 0x55;
      struct picture_judgement j;
      struct picture_preview preview;
      int r = picture_judge(b.data, b.len, &structure, &j, &preview);
      assert_true(r == 0 || r == -EBADMSG || r == -ENOTSUP);
      if (r == 0)
        free(preview.bytes);
      b.data[i] ^= 0x55;
    }
    buf_finish(&b);
  }
  fflush(stderr);
  assert_int_equal(dup2(was, 2), 2);
  assert_int_equal(lseek(silent, 0, SEEK_END), 0);
  close(silent);
  close(was);
  assert_true(shown > 100 && refused > 100);
  pixels_finish(&p);
}

TEST(no_memory) {
  if (!fail_alloc_works())
    skip();
  struct pixels p = pixels_fundus(900, 700, 950, 5);
  for (int form = 0; form < 3; form++) {
    struct buf b = BUF_INIT(FILE_MAX);
    if (form == 2)
      png_make(&p, &(struct png_form){0}, &b);
    else
      jpeg_make(&p, &(struct jpeg_form){.progressive = form == 1}, &b);
    struct picture structure;
    picture_read(b.data, b.len, &structure);
    for (size_t nth = 1;; nth++) {
      struct picture_judgement j;
      struct picture_preview preview;
      long before = fail_alloc_live();
      fail_alloc_set(nth, false);
      int r = picture_judge(b.data, b.len, &structure, &j, &preview);
      bool hit = fail_alloc_hit();
      fail_alloc_set(0, false);
      if (r == 0)
        free(preview.bytes);
      else
        assert_int_equal(r, -ENOMEM);
      assert_int_equal(fail_alloc_live(), before);
      assert_true(r == 0 || hit);
      if (!hit) {
        assert_true(nth > 15);
        break;
      }
    }
    buf_finish(&b);
  }
  pixels_finish(&p);
}

/* ---- thumbnails ---- */

static void expect_thumbnail(const struct pixels *p, const struct jpeg_form *form, size_t max, int want) {
  struct buf b = BUF_INIT(FILE_MAX);
  jpeg_make(p, form, &b);
  uint8_t *out = malloc(max);
  size_t n = 77;
  uint32_t w = 78, h = 79;
  int r = picture_thumbnail(b.data, b.len, out, max, &n, &w, &h);
  assert_int_equal(r, want);
  if (r < 0) {
    assert_true(n == 77 && w == 78 && h == 79);
  } else {
    struct picture made;
    picture_read(out, n, &made);
    assert_true(n <= max && made.whole && made.width == w && made.height == h);
    assert_true(w <= PICTURE_THUMBNAIL_EDGE && h <= PICTURE_THUMBNAIL_EDGE);
    assert_in_range(w * p->h, (uint64_t)h * p->w * 9 / 10, (uint64_t)h * p->w * 11 / 10); /* the same shape */
  }
  free(out);
  buf_finish(&b);
}

TEST(thumbnails) {
  struct pixels small = pixels_fundus(160, 120, 950, 5), large = pixels_fundus(1200, 900, 950, 5);
  struct pixels noisy = pixels_fundus(640, 480, 950, 5), huge = pixels_fundus(2400, 1700, 950, 5);
  pixels_noise(&noisy, 200, 1);
  expect_thumbnail(&small, &(struct jpeg_form){0}, 6000, 0);
  expect_thumbnail(&small, &(struct jpeg_form){.progressive = true}, 6000, 0);
  expect_thumbnail(&large, &(struct jpeg_form){0}, 65536, 0);
  expect_thumbnail(&large, &(struct jpeg_form){0}, 6000, 0);
  expect_thumbnail(&noisy, &(struct jpeg_form){.full_colour = true}, 6000, 0);
  expect_thumbnail(&noisy, &(struct jpeg_form){0}, 100, -EFBIG);
  expect_thumbnail(&small, &(struct jpeg_form){.cmyk = true}, 6000, -ENOTSUP);
  expect_thumbnail(&huge, &(struct jpeg_form){0}, 6000, -ENOTSUP);
  pixels_finish(&small);
  pixels_finish(&large);
  pixels_finish(&noisy);
  pixels_finish(&huge);
  uint8_t out[6000];
  size_t n;
  uint32_t w, h;
  assert_int_equal(picture_thumbnail((const uint8_t *)"", 0, out, sizeof out, &n, &w, &h), -EBADMSG);
  assert_int_equal(picture_thumbnail((const uint8_t *)"\xff\xd8\xff\xd9", 4, out, sizeof out, &n, &w, &h), -EBADMSG);
}

/* ---- where it runs ---- */

static struct buf large;

static int judge_inside(void) {
  struct picture structure;
  struct picture_judgement j;
  struct picture_preview preview;
  picture_read(large.data, large.len, &structure);
  if (picture_judge(large.data, large.len, &structure, &j, &preview) < 0)
    return 1;
  free(preview.bytes);
  return j.is_blurred || j.is_dark || j.is_bright || j.warnings ? 2 : 0;
}

TEST(in_the_sandbox) {
  struct pixels p = pixels_fundus(6000, 4000, 950, 8);
  for (int progressive = 0; progressive < 2; progressive++) {
    large = BUF_INIT(FILE_MAX);
    jpeg_make(&p, &(struct jpeg_form){.quality = 95, .progressive = progressive}, &large);
    uint64_t start = monotonic_us();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
      _exit(sandbox_limit(60) < 0 || sandbox_enter(0) < 0 ? 99 : judge_inside());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    print_message("# 24 megapixels, %s, %zu bytes: %u ms\n", progressive ? "progressive" : "baseline", large.len,
                  (unsigned)((monotonic_us() - start) / 1000));
    buf_finish(&large);
  }
  pixels_finish(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hints_on_scenes),
      cmocka_unit_test(hints_on_a_photograph),
      cmocka_unit_test(focus_falls_with_blur),
      cmocka_unit_test(scale_and_surround),
      cmocka_unit_test(caption_beside_the_disc),
      cmocka_unit_test(forms),
      cmocka_unit_test(palette),
      cmocka_unit_test(sizes),
      cmocka_unit_test(tiny_and_black),
      cmocka_unit_test(preview_says_nothing),
      cmocka_unit_test(not_supported),
      cmocka_unit_test(twelve_bits_and_too_many_pixels),
      cmocka_unit_test(scans_without_end),
      cmocka_unit_test(damaged),
      cmocka_unit_test(no_memory),
      cmocka_unit_test(thumbnails),
      cmocka_unit_test(in_the_sandbox),
  };
  cmocka_set_message_output(CM_OUTPUT_TAP);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
