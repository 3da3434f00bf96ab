/* The driver of fundus pictures in JPEG files: what it finds of EXIF, in files made here, and pictures of others. */
#include "file_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "hash.h"
#include "picture_make.h"

extern const struct acq_driver file_jpeg_fundus;
#define DRIVER (&file_jpeg_fundus)
#define UNTIMED "reading_time_unverified  1; file_unchecked  1"

/* ---- files, from the text ---- */

struct entry {
  unsigned tag, type;
  const char *text; /* ASCII with its NUL; NULL: the number */
  uint32_t number;
};

struct exif {
  bool big;
  const char *make, *model, *serial, *taken, *changed; /* NULL = no such field */
  unsigned taken_type;                                 /* 0 = ASCII */
  uint32_t exif_at;                                    /* 0 = where it is */
  unsigned magic;                                      /* 0 = 42 */
};

static void put(struct buf *b, bool big, unsigned bytes, uint32_t value) {
  for (unsigned i = 0; i < bytes; i++)
    buf_u8(b, (uint8_t)(value >> 8 * (big ? bytes - 1 - i : i)));
}

/* A directory that begins at the end of the buffer, its longer texts behind it. */
static void put_directory(struct buf *b, bool big, const struct entry *entries, unsigned n) {
  uint32_t texts = (uint32_t)b->len + 2 + 12 * n + 4;
  put(b, big, 2, n);
  for (unsigned i = 0; i < n; i++) {
    const struct entry *e = &entries[i];
    const uint32_t size = e->text ? (uint32_t)strlen(e->text) + 1 : 1;
    put(b, big, 2, e->tag);
    put(b, big, 2, e->type);
    put(b, big, 4, size);
    if (!e->text) {
      put(b, big, 4, e->number);
    } else if (size > 4) {
      put(b, big, 4, texts);
      texts += size;
    } else {
      buf_add(b, e->text, size);
      put(b, big, 4 - size, 0);
    }
  }
  put(b, big, 4, 0);
  for (unsigned i = 0; i < n; i++)
    if (entries[i].text && strlen(entries[i].text) > 3)
      buf_add(b, entries[i].text, strlen(entries[i].text) + 1);
}

static struct buf make_tiff(const struct exif *x) {
  struct buf b = BUF_INIT(1 << 16);
  struct entry first[4], second[2];
  unsigned n = 0, m = 0;
  uint32_t texts = 0;
  if (x->make)
    first[n++] = (struct entry){0x010f, 2, x->make, 0};
  if (x->model)
    first[n++] = (struct entry){0x0110, 2, x->model, 0};
  if (x->changed)
    first[n++] = (struct entry){0x0132, 2, x->changed, 0};
  for (unsigned i = 0; i < n; i++)
    texts += strlen(first[i].text) > 3 ? (uint32_t)strlen(first[i].text) + 1 : 0;
  if (x->taken)
    second[m++] = (struct entry){0x9003, x->taken_type ? x->taken_type : 2, x->taken, 0};
  if (x->serial)
    second[m++] = (struct entry){0xa431, 2, x->serial, 0};
  first[n] = (struct entry){0x8769, 4, NULL, x->exif_at ? x->exif_at : 8 + 2 + 12 * (n + 1) + 4 + texts};
  n += m > 0 || x->exif_at;
  buf_text(&b, x->big ? "MM" : "II");
  put(&b, x->big, 2, x->magic ? x->magic : 42);
  put(&b, x->big, 4, 8);
  put_directory(&b, x->big, first, n);
  if (m)
    put_directory(&b, x->big, second, m);
  return b;
}

static const struct buf *picture(void) {
  static struct buf jpeg;
  if (!jpeg.data) {
    jpeg = BUF_INIT(1 << 20);
    struct pixels p = pixels_fundus(64, 48, 950, 3);
    jpeg_make(&p, &(struct jpeg_form){0}, &jpeg);
    pixels_finish(&p);
  }
  return &jpeg;
}

static void put_segment(struct buf *b, uint8_t marker, const void *name, size_t n_name, const void *bytes, size_t n) {
  buf_u8(b, 0xff);
  buf_u8(b, marker);
  put(b, true, 2, (uint32_t)(n_name + n + 2));
  buf_add(b, name, n_name);
  buf_add(b, bytes, n);
}

/* The picture with that TIFF as its EXIF. */
static struct buf make_jpeg(const struct buf *tiff) {
  struct buf b = BUF_INIT(1 << 20);
  const struct buf *jpeg = picture();
  buf_add(&b, jpeg->data, 2);
  if (tiff)
    put_segment(&b, 0xe1, "Exif\0", 6, tiff->data, tiff->len);
  buf_add(&b, jpeg->data + 2, jpeg->len - 2);
  return b;
}

static struct file_reading read_exif(struct exif x) {
  _buf_cleanup_ struct buf tiff = make_tiff(&x), b = make_jpeg(&tiff);
  return file_decode(DRIVER, b.data, b.len);
}

static const char *time_of(const struct file_reading *r) {
  assert_int_equal(r->err, 0);
  return json_text(file_item(r->record[WIRE_OWN], "trials", 0), "device_time");
}

static const char *device(const struct file_reading *r, const char *key) {
  return json_text(json_object_get(r->record[WIRE_OWN], "device"), key);
}

/* ---- the tests ---- */

static void test_whole(void **state) {
  (void)state;
  for (int big = 0; big < 2; big++) {
    const struct exif x = {.big = big,
                           .make = "ACME",
                           .model = "Fundus 3",
                           .serial = "00123",
                           .taken = "2026:03:02 09:00:07",
                           .changed = "2026:03:05 10:00:00"};
    _buf_cleanup_ struct buf tiff = make_tiff(&x), b = make_jpeg(&tiff);
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    assert_string_equal(time_of(&r), "2026-03-02T09:00:07.000");
    assert_string_equal(device(&r, "make"), "ACME");
    assert_string_equal(device(&r, "model"), "Fundus 3");
    assert_string_equal(device(&r, "serial"), "00123");
    assert_string_equal(device(&r, "firmware"), "");
    const json_t *record = r.record[WIRE_OWN], *p = file_item(record, "pictures", 0);
    char sha[HASH_TEXT];
    hash_sha256_text(b.data, b.len, sha);
    assert_int_equal(file_count(record, "pictures"), 1);
    assert_string_equal(json_text(p, "sha256"), sha); /* byte for byte */
    assert_int_equal(json_integer_value(json_object_get(p, "trial")), 1);
    assert_true(json_is_null(json_object_get(p, "laterality")));
    assert_true(json_is_null(json_object_get(record, "subject")));
    assert_int_equal(file_count(record, "statements"), 0);
    const json_t *source = file_item(record, "sources", 0); /* the core reads the same */
    assert_string_equal(json_text(source, "taken"), "2026-03-02T09:00:07.000");
    assert_string_equal(json_text(source, "model"), "Fundus 3");
    assert_string_equal(json_text(source, "name"), "");
    assert_string_equal(json_text(record, "modality"), "fundus");
    assert_int_equal(file_noted(record, "file_unchecked", ""), 1);
    assert_int_equal(file_noted(record, "reading_time_unverified", ""), 0); /* bare bytes have no order's time */
  }
}

/* Whose it is: the time decides. */
static void test_ordered(void **state) {
  (void)state;
  static const struct {
    const char *taken, *start;
    bool own;
  } v[] = {{"2026:03:02 09:00:07", "2026-03-02T09:00:00.000000+01:00", true},
           {"2026:03:02 08:58:01", "2026-03-02T09:00:00.000000+01:00", true},
           {"2026:03:02 08:57:59", "2026-03-02T09:00:00.000000+01:00", false},
           {"2026:03:01 09:00:07", "2026-03-02T09:00:00.000000+01:00", false},
           {NULL, "2026-03-02T09:00:00.000000+01:00", true}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    const struct exif x = {.taken = v[i].taken, .make = "ACME"};
    _buf_cleanup_ struct buf tiff = make_tiff(&x), b = make_jpeg(&tiff);
    _reading_cleanup_ struct file_reading r = file_decode_ordered(DRIVER, "600 fundus 1", v[i].start, b.data, b.len);
    assert_int_equal(r.err, 0);
    assert_int_equal(r.record[WIRE_OWN] != NULL, v[i].own);
    assert_int_equal(r.record[WIRE_STRAY] != NULL, !v[i].own);
    if (v[i].own) {
      assert_int_equal(file_noted(r.record[WIRE_OWN], "reading_time_unverified", ""), 1);
      assert_int_equal(file_noted(r.record[WIRE_OWN], "subject_unknown", ""), 1);
    }
  }
}

static void test_dates(void **state) {
  (void)state;
  static const struct {
    const char *taken, *changed, *is;
  } v[] = {{NULL, "2026:03:05 10:00:00", "2026-03-05T10:00:00.000"},
           {"0000:00:00 00:00:00", "2026:03:05 10:00:00", "2026-03-05T10:00:00.000"},
           {"2026:02:29 10:00:00", NULL, NULL},
           {"    :  :     :  :  ", NULL, NULL},
           {"2026-03-02 09:00:07", NULL, NULL},
           {"2026:03:02T09:00:07", NULL, NULL},
           {"2026:03:02 09:00:0", NULL, NULL},
           {"2026:03:02 09:00:071", NULL, NULL},
           {"2026:03:02 24:00:00", NULL, NULL},
           {"", "", NULL},
           {NULL, NULL, NULL}};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
    _reading_cleanup_ struct file_reading r = read_exif((struct exif){.taken = v[i].taken, .changed = v[i].changed});
    if (v[i].is)
      assert_string_equal(time_of(&r), v[i].is);
    else
      assert_null(time_of(&r));
    assert_int_equal(file_noted(r.record[WIRE_OWN], "reading_time_unverified", ""), !v[i].is);
  }
  _reading_cleanup_ struct file_reading r = read_exif((struct exif){.taken = "2026:03:02 09:00:07", .taken_type = 7});
  assert_null(time_of(&r)); /* a field of another type */
}

static void test_texts(void **state) {
  (void)state;
  char longest[100] = "";
  memset(longest, 'x', sizeof longest - 1);
  {
    _reading_cleanup_ struct file_reading r = read_exif((struct exif){.make = "Caf\xe9 ", .model = "A"});
    assert_null(time_of(&r));
    assert_string_equal(device(&r, "make"), "Caf?");
    assert_string_equal(device(&r, "model"), "A");
    assert_int_equal(file_noted(r.record[WIRE_OWN], "text_unreadable", ""), 1);
  }
  {
    _reading_cleanup_ struct file_reading r = read_exif((struct exif){.model = longest});
    assert_null(time_of(&r));
    assert_int_equal(strlen(device(&r, "model")), ACQ_TEXT_MAX - 1);
    assert_int_equal(file_noted(r.record[WIRE_OWN], "text_unreadable", ""), 1);
  }
  {
    _reading_cleanup_ struct file_reading r = read_exif((struct exif){.make = "", .model = "  "});
    assert_null(time_of(&r));
    assert_string_equal(device(&r, "model"), "");
    assert_int_equal(file_noted(r.record[WIRE_OWN], "text_unreadable", ""), 0);
  }
}

/* EXIF that leads nowhere is none. */
static void test_lies(void **state) {
  (void)state;
  static const uint32_t places[] = {7, 8, 100000, UINT32_MAX, UINT32_MAX - 1};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    _reading_cleanup_ struct file_reading r =
        read_exif((struct exif){.taken = "2026:03:02 09:00:07", .exif_at = places[i]});
    assert_null(time_of(&r));
  }
  _reading_cleanup_ struct file_reading no_tiff = read_exif((struct exif){.taken = "2026:03:02 09:00:07", .magic = 43});
  assert_null(time_of(&no_tiff));
  const struct exif x = {.make = "ACME CO.", .taken = "2026:03:02 09:00:07", .changed = "2026:03:05 10:00:00"};
  _buf_cleanup_ struct buf whole = make_tiff(&x);
  for (size_t n = 0; n < whole.len; n++) { /* cut: nothing that is not there is read */
    struct buf cut = {.data = whole.data, .len = n, .max = n};
    _buf_cleanup_ struct buf b = make_jpeg(&cut);
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    const char *at = time_of(&r);
    assert_true(!at || !strcmp(at, "2026-03-05T10:00:00.000") || !strcmp(at, "2026-03-02T09:00:07.000"));
    assert_true(!*device(&r, "make") || !strcmp(device(&r, "make"), "ACME CO."));
  }
  for (size_t i = 0; i < 8 * whole.len; i++) { /* and no bit of it does harm */
    whole.data[i / 8] ^= (uint8_t)(1u << i % 8);
    _buf_cleanup_ struct buf b = make_jpeg(&whole);
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    assert_int_equal(r.err, 0);
    assert_int_equal(file_noted(r.record[WIRE_OWN], "file_unchecked", ""), 1);
    whole.data[i / 8] ^= (uint8_t)(1u << i % 8);
  }
}

/* The first EXIF before the picture's own data counts, wherever its segment stands. */
static void test_segments(void **state) {
  (void)state;
  const struct exif x = {.taken = "2026:03:02 09:00:07"}, y = {.taken = "2026:03:05 10:00:00"};
  _buf_cleanup_ struct buf one = make_tiff(&x), other = make_tiff(&y), b = BUF_INIT(1 << 20);
  const struct buf *jpeg = picture();
  buf_add(&b, jpeg->data, 2);
  put_segment(&b, 0xe0, "JFIF", 5, "\1\1\1\0\1\0\1\0\0", 9);
  put_segment(&b, 0xe1, "http://ns.adobe.com/xap/1.0/", 29, other.data, other.len); /* XMP is no EXIF */
  put_segment(&b, 0xe1, "", 0, "", 0);
  put_segment(&b, 0xe2, "Exif\0", 6, other.data, other.len);
  buf_add(&b, "\xff\xff", 2); /* fill bytes */
  put_segment(&b, 0xe1, "Exif\0", 6, one.data, one.len);
  put_segment(&b, 0xe1, "Exif\0", 6, other.data, other.len);
  const size_t head = b.len;
  buf_add(&b, jpeg->data + 2, jpeg->len - 2);
  {
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
    assert_string_equal(time_of(&r), "2026-03-02T09:00:07.000");
    assert_int_equal(file_noted(r.record[WIRE_OWN], "picture_damaged", "1"), 0);
  }
  { /* behind the end of the picture there may be others' */
    _buf_cleanup_ struct buf behind = make_jpeg(NULL);
    buf_add(&behind, b.data + 2, head - 2);
    _reading_cleanup_ struct file_reading r = file_decode(DRIVER, behind.data, behind.len);
    assert_null(time_of(&r));
  }
}

static void test_others(void **state) {
  (void)state;
  static const char *const files[] = {"\x89PNG\r\n\x1a\n", "II*",          "\xff\xd8", "\xff",
                                      "\xff\xd8\xfe",      "\xff\xd9\xff", "BM",       "\n"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    file_refused(DRIVER, files[i], strlen(files[i]), -ENXIO, "not a JPEG file");
  file_refused(DRIVER, "", 0, -ENODATA, "empty");
  _reading_cleanup_ struct file_reading r = file_decode(DRIVER, "\xff\xd8\xff", 3); /* the core says what it is */
  assert_int_equal(r.err, 0);
  assert_int_equal(file_noted(r.record[WIRE_OWN], "picture_damaged", "1"), 1);
  for (size_t n = 3; n < picture()->len; n++) {
    _reading_cleanup_ struct file_reading cut = file_decode(DRIVER, picture()->data, n);
    assert_int_equal(cut.err, 0);
    assert_int_equal(file_noted(cut.record[WIRE_OWN], "picture_damaged", "1"), 1);
  }
}

static void test_real(void **state) {
  (void)state;
  static const char *const names[] = {"fundus/fundus_normal_right_eye_600px_CC0.jpg", "umockdev_powershot/IMG_0001.jpg",
                                      "umockdev_powershot/IMG_0002.jpg"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    _buf_cleanup_ struct buf b = {0};
    if (!file_find_sample(names[i], &b)) {
      skip();
      return;
    }
    {
      _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
      assert_null(time_of(&r)); /* none of them has EXIF */
      assert_string_equal(device(&r, "model"), "");
      assert_int_equal(file_noted(r.record[WIRE_OWN], "picture_damaged", "1"), 0);
      if (i == 0)
        file_assert_quality(r.record[WIRE_OWN], UNTIMED);
    }
    for (size_t n = 3; n < b.len; n += b.len / 40) {
      _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, n);
      assert_int_equal(file_noted(r.record[WIRE_OWN], "picture_damaged", "1"), 1);
    }
    for (size_t k = 0; k < b.len; k += b.len / 60) {
      b.data[k] ^= (uint8_t)(1u << k % 8);
      _reading_cleanup_ struct file_reading r = file_decode(DRIVER, b.data, b.len);
      assert_true(r.err == -ENXIO || file_noted(r.record[WIRE_OWN], "file_unchecked", ""));
      b.data[k] ^= (uint8_t)(1u << k % 8);
    }
  }
  const struct exif x = {.make = "ACME", .model = "Fundus 3", .taken = "2026:03:02 09:00:07"};
  _buf_cleanup_ struct buf tiff = make_tiff(&x), b = make_jpeg(&tiff);
  assert_true(file_mutate(DRIVER, b.data, b.len, 1000) > 500); /* a picture that is damaged is kept */
}

static int set_up(void **state) {
  (void)state;
  return hash_open();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_whole),  cmocka_unit_test(test_ordered), cmocka_unit_test(test_dates),
      cmocka_unit_test(test_texts),  cmocka_unit_test(test_lies),    cmocka_unit_test(test_segments),
      cmocka_unit_test(test_others), cmocka_unit_test(test_real),
  };
  cmocka_set_message_output(CM_OUTPUT_TAP);
  return cmocka_run_group_tests(tests, set_up, NULL);
}
