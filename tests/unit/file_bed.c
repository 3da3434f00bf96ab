#include "file_bed.h"

#include "capture.h"
#include "record_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void file_reading_finish(struct file_reading *r) {
  for (int i = 0; i < WIRE_RECORDS; i++) {
    json_decref(r->record[i]);
    free(r->data[i]);
  }
  memset(r, 0, sizeof *r);
}

static struct file_reading read_capture(const struct acq_driver *driver, const struct acq_capture *capture) {
  struct file_reading r = {0};
  struct record_result results[WIRE_RECORDS] = {0};
  char why[256] = "";
  r.err = record_decode(driver, capture, results, r.reason);
  if (r.err) {
    assert_true(r.err < 0 && r.reason[0]);
    return r;
  }
  for (int i = 0; i < WIRE_RECORDS; i++) {
    if (results[i].json && record_read(results[i].json, results[i].json_bytes, results[i].data,
                                       results[i].data_values * sizeof(int16_t), &r.record[i], why) < 0)
      fail_msg("the record is not accepted: %s", why);
    r.data[i] = results[i].data;
    results[i].data = NULL;
    record_result_finish(&results[i]);
  }
  return r;
}

struct file_reading file_decode(const struct acq_driver *driver, const void *bytes, size_t n) {
  struct acq_capture capture;
  uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees the end */
  assert_non_null(exact);
  memcpy(exact, bytes, n);
  assert_int_equal(capture_from_file(exact, n, &capture), 0);
  struct file_reading r = read_capture(driver, &capture);
  capture_finish(&capture);
  free(exact);
  return r;
}

struct file_reading file_decode_ordered(const struct acq_driver *driver, const char *order, const char *start,
                                        const void *bytes, size_t n) {
  char text[1024], sha[HASH_TEXT];
  struct acq_capture capture;
  hash_sha256_text(bytes, n, sha);
  int len = snprintf(text, sizeof text,
                     "asaleed-capture 1\ndriver %s %s\nbus file\norder %s\nstart %s\n! 0 identity\n! 1 acquire\n"
                     "@ 1 %zu 0\n# 1 %zu %s\n! 1 release\nend ok\n",
                     driver->name, driver->version, order, start, n, n, sha);
  unsigned line = 0;
  if (capture_parse_with(text, (size_t)len, bytes, n, &capture, &line) < 0)
    fail_msg("line %u of the capture is wrong:\n%s", line, text);
  struct file_reading r = read_capture(driver, &capture);
  capture_finish(&capture);
  return r;
}

void file_refused(const struct acq_driver *driver, const void *bytes, size_t n, int err, const char *reason_has) {
  _reading_cleanup_ struct file_reading r = file_decode(driver, bytes, n);
  if (r.err != err || !strstr(r.reason, reason_has))
    fail_msg("%d (%s), not %d (%s)", r.err, r.reason, err, reason_has);
}

static const json_t *list_of(const json_t *record, const char *list) {
  const json_t *found = json_object_get(json_object_get(record, "acquired"), list);
  return found ? found : json_object_get(record, list);
}

const json_t *file_item(const json_t *record, const char *list, size_t i) {
  const json_t *item = json_array_get(list_of(record, list), i);
  assert_non_null(item);
  return item;
}

size_t file_count(const json_t *record, const char *list) {
  return json_array_size(list_of(record, list));
}

int16_t file_sample(const struct file_reading *r, size_t channel, size_t i) {
  const int part = r->record[WIRE_OWN] ? WIRE_OWN : WIRE_STRAY;
  const json_t *c = file_item(r->record[part], "channels", channel);
  assert_true((json_int_t)i < json_integer_value(json_object_get(c, "samples")));
  return r->data[part][(size_t)json_integer_value(json_object_get(c, "first")) + i];
}

unsigned file_noted(const json_t *record, const char *code, const char *subject) {
  size_t i;
  json_t *item;
  json_array_foreach(list_of(record, "quality"), i, item) {
    if (!strcmp(json_text(item, "code"), code) && !strcmp(json_text(item, "subject"), subject))
      return (unsigned)json_integer_value(json_object_get(item, "count"));
  }
  return 0;
}

bool file_says(const json_t *record, const char *code, const char *text) {
  size_t i;
  json_t *item;
  json_array_foreach(list_of(record, "statements"), i, item) {
    if (!strcmp(json_text(item, "code"), code) && !strcmp(json_text(item, "text"), text))
      return true;
  }
  return false;
}

void file_assert_quality(const json_t *record, const char *all) {
  _buf_cleanup_ struct buf text = BUF_INIT(1 << 16);
  size_t i;
  json_t *item;
  json_array_foreach(list_of(record, "quality"), i, item) {
    buf_format(&text, "%s%s %s %d", i ? "; " : "", json_text(item, "code"), json_text(item, "subject"),
               (int)json_integer_value(json_object_get(item, "count")));
  }
  buf_u8(&text, 0);
  assert_string_equal((const char *)text.data, all);
}

bool file_find_sample(const char *name, struct buf *ret) {
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder ? folder : "", name);
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("skipped: no %s in ASALEED_SAMPLES\n", name);
    return false;
  }
  *ret = BUF_INIT(4 << 20);
  uint8_t part[4096];
  for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
    assert_int_equal(buf_add(ret, part, n), 0);
  fclose(f);
  return true;
}

static uint32_t throw_dice(uint32_t *state) { /* xorshift32 */
  *state ^= *state << 13;
  *state ^= *state >> 17;
  return *state ^= *state << 5;
}

unsigned file_mutate(const struct acq_driver *driver, const void *bytes, size_t size, unsigned n) {
  uint32_t state = 2463534242u;
  unsigned accepted = 0;
  uint8_t *work = malloc(size);
  assert_non_null(work);
  for (unsigned i = 0; i < n; i++) {
    size_t len = size;
    memcpy(work, bytes, size);
    for (uint32_t changes = 1 + throw_dice(&state) % 4; changes; changes--) {
      /* half of them where the structure is */
      const size_t among = throw_dice(&state) % 2 && len > 512 ? 512 : len;
      work[throw_dice(&state) % among] ^= (uint8_t)(1 + throw_dice(&state) % 255);
      if (throw_dice(&state) % 16 == 0)
        len = 1 + throw_dice(&state) % len;
    }
    _reading_cleanup_ struct file_reading r = file_decode(driver, work, len);
    accepted += r.err == 0;
  }
  free(work);
  return accepted;
}
