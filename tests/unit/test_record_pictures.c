/* Pictures in records: what a driver may say of them, and what the strict reader takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "picture_make.h"
#include "record_bed.h"
#include "record_form.h"
#include <cmocka.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define BLOBS 40

static const struct acq_driver camera = {.abi = ACQ_DRIVER_ABI,
                                         .name = "unit",
                                         .version = "7",
                                         .label = "Essai",
                                         .modalities = ACQ_MODALITY(ACQ_FUNDUS),
                                         .integrity = ACQ_CRC16,
                                         .decode = bed_script};

/* Two pictures, then texts that are none, all different; then the first picture again, and one that is waste. */
static struct {
  struct acq_capture capture;
  struct buf pictures[2];
  uint8_t *bytes;
  size_t whole[BLOBS + 1], part, waste, received; /* events */
} made;

static void add_blob(struct capture_writer *w, const void *bytes, size_t n, enum acq_event_kind end) {
  assert_int_equal(capture_add_to_blob(w, bytes, n), 0);
  capture_write_blob(w, 1, n, 0, 0);
  assert_int_equal(capture_write_blob_end(w, end, 1), 0);
}

static int make(void **state) {
  (void)state;
  static const struct capture_header header = {
      .driver = "unit", .version = "7", .bus = ACQ_USB, .order = {600, 1774745999123456, 60, ACQ_FUNDUS, 0, 0}};
  struct capture_writer w;
  int text = memfd_create("text", MFD_CLOEXEC), blobs = memfd_create("blobs", MFD_CLOEXEC);
  static char lines[65536];
  if (hash_open() < 0)
    return -1;
  for (unsigned i = 0; i < 2; i++) {
    struct pixels p = pixels_fundus(96, 64, 900, i + 1);
    made.pictures[i] = BUF_INIT(1 << 20);
    jpeg_make(&p, &(struct jpeg_form){0}, &made.pictures[i]);
    pixels_finish(&p);
  }
  capture_writer_init(&w, text, sizeof lines);
  w.blobs = blobs;
  capture_write_header(&w, &header);
  capture_write_event(&w, ACQ_RECEIVED, 0, "x", 1);
  for (unsigned i = 0; i < BLOBS; i++) {
    char none[16];
    int n = snprintf(none, sizeof none, "none %u", i);
    add_blob(&w, i < 2 ? (const void *)made.pictures[i].data : none, i < 2 ? made.pictures[i].len : (size_t)n,
             ACQ_BLOB_WHOLE);
  }
  add_blob(&w, made.pictures[0].data, made.pictures[0].len, ACQ_BLOB_WHOLE);
  add_blob(&w, "waste", 5, ACQ_BLOB_WASTE);
  capture_write_end(&w, CAPTURE_OK);
  ssize_t n = pread(text, lines, sizeof lines, 0);
  size_t n_blobs = (size_t)lseek(blobs, 0, SEEK_END);
  made.bytes = malloc(n_blobs);
  if (pread(blobs, made.bytes, n_blobs, 0) != (ssize_t)n_blobs ||
      capture_parse_with(lines, (size_t)n, made.bytes, n_blobs, &made.capture, NULL) < 0)
    return -1;
  struct acq_event e;
  unsigned k = 0;
  for (size_t i = 0; acq_capture_event(&made.capture, i, &e); i++)
    if (e.kind == ACQ_BLOB_WHOLE)
      made.whole[k++] = i;
    else
      *(e.kind == ACQ_BLOB ? &made.part : e.kind == ACQ_BLOB_WASTE ? &made.waste : &made.received) = i;
  close(text);
  close(blobs);
  return k == BLOBS + 1 ? 0 : -1;
}

static int unmake(void **state) {
  (void)state;
  capture_finish(&made.capture);
  free(made.bytes);
  buf_finish(&made.pictures[0]);
  buf_finish(&made.pictures[1]);
  return 0;
}

static const struct acq_trial now = {0}, old = {.timed = true, .clock_us = 1000000, .compared = true};

static void add(struct acq_record *r, const struct acq_trial *trial, unsigned i, const char *name) {
  acq_rec_trial(r, trial);
  acq_rec_picture(r, made.whole[i], name);
}

/* The record as the reader takes it, with its previews. */
static json_t *accepted(const struct record_result *result) {
  char reason[256] = "";
  json_t *record = bed_accepted(result);
  if (record_check_previews(record, result->previews, result->preview_bytes, reason) < 0)
    fail_msg("%s", reason);
  return record;
}

static const json_t *picture(const json_t *record, size_t i) {
  return json_array_get(bed_part(record, "acquired.pictures"), i);
}

static const char *sha_of(unsigned i) {
  static char sha[HASH_TEXT];
  struct acq_event e;
  assert_true(acq_capture_event(&made.capture, made.whole[i], &e));
  hash_sha256_text(e.bytes, e.n, sha);
  return sha;
}

static void two(struct acq_record *r) {
  add(r, &now, 0, "IMG_1.JPG");
  add(r, &now, 2, "IMG_2.JPG");
}

TEST(as_they_are) {
  RESULT(r);
  assert_int_equal(bed_decode(&camera, &made.capture, two, &r, NULL), 0);
  json_t *record = accepted(&r);
  assert_int_equal(json_array_size(bed_part(record, "acquired.pictures")), 2);
  assert_string_equal(json_text(picture(record, 0), "sha256"), sha_of(0));
  assert_string_equal(json_text(picture(record, 0), "format"), "jpeg");
  assert_int_equal(json_integer_value(json_object_get(picture(record, 0), "width")), 96);
  assert_true(json_is_object(json_object_get(picture(record, 0), "preview")));
  assert_true(r.preview_bytes > 0);
  assert_string_equal(json_text(picture(record, 1), "sha256"), sha_of(2));
  assert_true(json_is_null(json_object_get(picture(record, 1), "preview")));
  assert_string_equal(json_text(json_array_get(bed_part(record, "sources"), 1), "name"), "IMG_2.JPG");
  json_decref(record);
}

static size_t which;

static void other_event(struct acq_record *r) {
  two(r);
  acq_rec_picture(r, which, "x");
}

TEST(what_is_no_blob) {
  RESULT(r);
  const size_t others[] = {made.part, made.waste, made.received, made.capture.n_events, SIZE_MAX};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    which = others[i];
    assert_int_equal(bed_decode(&camera, &made.capture, other_event, &r, "no blob"), -EINVAL);
  }
}

static void repeated(struct acq_record *r) {
  add(r, &now, 1, "first");
  for (int i = 0; i < 400; i++)
    add(r, &now, i % 2 ? BLOBS : 0, "again"); /* the same bytes in two blobs */
  add(r, &old, 0, "stray");                   /* there it is the first */
}

TEST(the_same_again) {
  RESULTS(r);
  assert_int_equal(bed_decode_both(&camera, &made.capture, repeated, &r, NULL), 0);
  json_t *own = accepted(&r.of[WIRE_OWN]), *stray = accepted(&r.of[WIRE_STRAY]);
  assert_int_equal(json_array_size(bed_part(own, "acquired.pictures")), 2);
  assert_int_equal(json_array_size(bed_part(stray, "acquired.pictures")), 1);
  const json_t *item = json_array_get(bed_part(own, "quality"), 0);
  size_t i;
  json_array_foreach(bed_part(own, "quality"), i, item) {
    if (!strcmp(json_text(item, "code"), "picture_repeated"))
      break;
  }
  assert_non_null(item);
  assert_string_equal(json_text(item, "subject"), "2");
  assert_int_equal(json_integer_value(json_object_get(item, "count")), 399);
  json_decref(own);
  json_decref(stray);
}

static unsigned count_own, count_stray;

static void many(struct acq_record *r) {
  for (unsigned i = 0; i < count_stray; i++)
    add(r, &old, i, "");
  for (unsigned i = 0; i < count_own; i++)
    add(r, &now, i, "");
}

TEST(how_many) {
  RESULTS(r);
  count_own = ACQ_PICTURES_MAX;
  count_stray = ACQ_PICTURES_MAX + 3; /* what does not fit there is left out, and costs this patient nothing */
  assert_int_equal(bed_decode_both(&camera, &made.capture, many, &r, NULL), 0);
  for (int i = 0; i < WIRE_RECORDS; i++) {
    json_t *record = accepted(&r.of[i]);
    assert_int_equal(json_array_size(bed_part(record, "acquired.pictures")), ACQ_PICTURES_MAX);
    json_decref(record);
  }
  RESULTS(none);
  count_own++;
  assert_int_equal(bed_decode_both(&camera, &made.capture, many, &none, "more pictures"), -EPROTO);
}

/* Those of another time count by themselves, whatever the order they come in. */
static void mixed(struct acq_record *r) {
  add(r, &old, 0, "old 1");
  add(r, &now, 1, "new 1");
  add(r, &old, 3, "old 2");
  add(r, &now, 2, "new 2");
}

TEST(stray_ones) {
  RESULTS(r);
  assert_int_equal(bed_decode_both(&camera, &made.capture, mixed, &r, NULL), 0);
  static const unsigned blobs[WIRE_RECORDS][2] = {[WIRE_OWN] = {1, 2}, [WIRE_STRAY] = {0, 3}};
  for (int i = 0; i < WIRE_RECORDS; i++) {
    json_t *record = accepted(&r.of[i]);
    assert_int_equal(json_array_size(bed_part(record, "acquired.pictures")), 2);
    for (unsigned k = 0; k < 2; k++) {
      char name[16];
      snprintf(name, sizeof name, "%s %u", i == WIRE_OWN ? "new" : "old", k + 1);
      assert_string_equal(json_text(picture(record, k), "sha256"), sha_of(blobs[i][k]));
      assert_int_equal(json_integer_value(json_object_get(picture(record, k), "number")), k + 1);
      assert_string_equal(json_text(json_array_get(bed_part(record, "sources"), k), "name"), name);
    }
    assert_int_equal(json_is_true(json_object_get(record, "stray")), i == WIRE_STRAY);
    json_decref(record);
  }
}

/* A picture that no trial is said of is this patient's, beside strays too. */
static void without_trial(struct acq_record *r) {
  acq_rec_trial(r, NULL);
  acq_rec_picture(r, made.whole[1], "no trial");
  add(r, &old, 0, "old");
}

TEST(without_a_trial) {
  RESULTS(r);
  assert_int_equal(bed_decode_both(&camera, &made.capture, without_trial, &r, NULL), 0);
  for (int i = 0; i < WIRE_RECORDS; i++) {
    json_t *record = accepted(&r.of[i]);
    assert_int_equal(json_array_size(bed_part(record, "acquired.pictures")), 1);
    assert_string_equal(json_text(picture(record, 0), "sha256"), sha_of(i == WIRE_OWN));
    json_decref(record);
  }
}

static const char *name_said;

static void named(struct acq_record *r) {
  add(r, &now, 2, name_said);
}

TEST(names) {
  char longest[SOURCE_BYTES_MAX + 1];
  memset(longest, 'n', sizeof longest);
  longest[SOURCE_BYTES_MAX] = 0;
  const struct {
    const char *said, *kept;
  } rows[] = {{"", ""},
              {"../../etc/passwd", "../../etc/passwd"}, /* a name is only shown */
              {"\"},{\"", "\"},{\""},
              {"Œil é 🫀.jpg", "Œil é 🫀.jpg"},
              {"a\nb", ""},
              {"a\x1b[31m", ""},
              {"caf\xe9", ""},
              {"\xed\xa0\x80", ""},
              {longest, ""},
              {longest + 1, longest + 1}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    RESULT(r);
    name_said = rows[i].said;
    assert_int_equal(bed_decode(&camera, &made.capture, named, &r, NULL), 0);
    json_t *record = accepted(&r);
    assert_string_equal(json_text(json_array_get(bed_part(record, "sources"), 0), "name"), rows[i].kept);
    json_decref(record);
  }
}

/* ---- the strict reader ---- */

static bool is_taken(const json_t *record) {
  size_t n;
  char *text = json_canonical(record, &n), reason[256] = "";
  json_t *again = NULL;
  if (!text) /* has no canonical form */
    return false;
  int r = record_read(text, n, NULL, 0, &again, reason);
  assert_true(r == 0 || (r == -EPROTO && reason[0]));
  json_decref(again);
  free(text);
  return r == 0;
}

static bool is_one(const char *key, const char *const *keys) {
  for (; *keys; keys++)
    if (!strcmp(*keys, key))
      return true;
  return false;
}

/* Every member of the object: gone, of another kind, out of its range, and one more beside it. */
static unsigned alter(json_t *record, json_t *object, const char *const *may_be_null) {
  unsigned refused = 0;
  const char *key;
  json_t *value, *copy = json_copy(object);
  static const char *const others[] = {"-1",
                                       "2147483648",
                                       "1e3",
                                       "true",
                                       "[]",
                                       "{}",
                                       "\"\"",
                                       "\"x\"",
                                       "\"1.1\"",
                                       "\"-0.1\"",
                                       "\"0.50000000000000000\"",
                                       "\"BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD\"",
                                       "\"2026-13-01T00:00:00.000\""};
  json_object_foreach(copy, key, value) {
    const char *const texts[] = {"name", "make", "model", NULL};
    json_object_del(object, key);
    assert_false(is_taken(record));
    json_object_set_new(object, key, json_null());
    if (is_taken(record) != is_one(key, may_be_null))
      fail_msg("%s null", key);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++, refused++) {
      json_object_set_new(object, key, json_loads(others[i], JSON_DECODE_ANY, NULL));
      if (json_is_string(json_object_get(object, key)) && is_one(key, texts))
        continue; /* any short text */
      if (is_taken(record))
        fail_msg("%s: %s", key, others[i]);
    }
    json_object_set(object, key, value);
    assert_true(is_taken(record));
  }
  json_object_set_new(object, "more", json_null());
  assert_false(is_taken(record));
  json_object_del(object, "more");
  json_decref(copy);
  return refused;
}

TEST(every_member_altered) {
  RESULT(r);
  static const char *const picture_null[] = {"laterality", "preview", "quality", NULL}, *const none[] = {NULL},
                           *const source_null[] = {"taken", NULL};
  assert_int_equal(bed_decode(&camera, &made.capture, two, &r, NULL), 0);
  json_t *record = accepted(&r);
  json_t *acquired = json_object_get(record, "acquired"), *pictures = json_object_get(acquired, "pictures"),
         *sources = json_object_get(record, "sources"), *first = json_array_get(pictures, 0);
  unsigned n = alter(record, first, picture_null);
  n += alter(record, json_object_get(first, "preview"), none);
  n += alter(record, json_object_get(first, "quality"), none);
  n += alter(record, json_array_get(sources, 0), source_null);
  assert_true(n > 200);

  /* Fewer, more, in another order. */
  json_t *second = json_incref(json_array_get(pictures, 1)), *its = json_incref(json_array_get(sources, 1));
  json_array_remove(sources, 1);
  assert_false(is_taken(record));
  json_array_remove(pictures, 1);
  assert_true(is_taken(record));
  json_array_append(sources, its);
  assert_false(is_taken(record));
  json_array_insert(pictures, 0, second);
  assert_false(is_taken(record));
  json_array_remove(pictures, 0);
  json_array_append(pictures, second);
  assert_true(is_taken(record));
  for (int i = 3; i <= ACQ_PICTURES_MAX + 1; i++) {
    json_t *p = json_copy(second), *s = json_copy(its);
    json_object_set_new(p, "number", json_integer(i));
    json_object_set_new(s, "picture", json_integer(i));
    json_array_append_new(pictures, p);
    json_array_append_new(sources, s);
    assert_int_equal(is_taken(record), i <= ACQ_PICTURES_MAX);
  }
  json_decref(second);
  json_decref(its);
  json_decref(record);
}

static void three(struct acq_record *r) {
  add(r, &now, 0, "");
  add(r, &now, 2, "");
  add(r, &now, 1, "");
}

TEST(previews) {
  RESULT(r);
  char reason[256];
  assert_int_equal(bed_decode(&camera, &made.capture, three, &r, NULL), 0);
  json_t *record = accepted(&r);
  const size_t n = r.preview_bytes;
  size_t first = (size_t)json_integer_value(json_object_get(json_object_get(picture(record, 0), "preview"), "bytes"));
  assert_true(first > 0 && first < n);
  uint8_t *bytes = malloc(n + 1);
  memcpy(bytes, r.previews, n);
  bytes[n] = 0;
  for (size_t i = 0; i < n; i++) {
    bytes[i] ^= 1;
    assert_int_equal(record_check_previews(record, bytes, n, reason), -EPROTO);
    bytes[i] ^= 1;
  }
  for (size_t cut = 0; cut < n; cut += 1 + n / 50)
    assert_int_equal(record_check_previews(record, bytes, cut, reason), -EPROTO);
  assert_int_equal(record_check_previews(record, bytes, n + 1, reason), -EPROTO);
  memcpy(bytes, r.previews + first, n - first); /* in the other order */
  memcpy(bytes + n - first, r.previews, first);
  assert_int_equal(record_check_previews(record, bytes, n, reason), -EPROTO);
  memcpy(bytes, r.previews, n);
  assert_int_equal(record_check_previews(record, bytes, n, reason), 0);
  free(bytes);
  json_decref(record);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(as_they_are), cmocka_unit_test(what_is_no_blob),      cmocka_unit_test(the_same_again),
      cmocka_unit_test(how_many),    cmocka_unit_test(stray_ones),           cmocka_unit_test(without_a_trial),
      cmocka_unit_test(names),       cmocka_unit_test(every_member_altered), cmocka_unit_test(previews),
  };
  return cmocka_run_group_tests_name("record_pictures", tests, make, unmake);
}
