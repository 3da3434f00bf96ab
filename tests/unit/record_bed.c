#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record_bed.h"
#include <cmocka.h>
#include <errno.h>

static void (*running)(struct acq_record *r);

int bed_script(const struct acq_capture *capture, struct acq_record *r) {
  assert_non_null(capture);
  running(r);
  return acq_rec_done(r);
}

const struct acq_driver bed_ecg = {.abi = ACQ_DRIVER_ABI,
                                   .name = "unit",
                                   .version = "7",
                                   .label = "Essai",
                                   .modalities = ACQ_MODALITY(ACQ_ECG),
                                   .maturity = ACQ_SIMULATED,
                                   .integrity = ACQ_CRC16,
                                   .decode = bed_script},
                        bed_spirometer = {.abi = ACQ_DRIVER_ABI,
                                          .name = "spiro",
                                          .version = "1.0",
                                          .label = "Essai",
                                          .modalities = ACQ_MODALITY(ACQ_SPIROMETRY),
                                          .integrity = ACQ_NONE,
                                          .decode = bed_script};

struct acq_capture bed_capture(const char *order, const char *end) {
  char text[512];
  int n = snprintf(text, sizeof text,
                   "asaleed-capture 1\ndriver unit 7\nbus usb\norder %s\nstart " BED_START "\n"
                   "! 0 make Marque\n! 0 model Modèle\n! 0 serial SN 42\n! 0 firmware 1.0\n! 0 sensor T 7\n"
                   "< 1 00\n%s",
                   order, end);
  struct acq_capture c;
  assert_int_equal(capture_parse(text, (size_t)n, &c, NULL), 0);
  return c;
}

void bed_results_finish(struct bed_results *r) {
  for (int i = 0; i < WIRE_RECORDS; i++)
    record_result_finish(&r->of[i]);
}

int bed_decode_both(const struct acq_driver *driver, const struct acq_capture *capture,
                    void (*script)(struct acq_record *), struct bed_results *ret, const char *reason_has) {
  char reason[256] = "unset";
  const struct bed_results before = {
      {{(char *)1, 2, (int16_t *)8, 3, (uint8_t *)9, 7}, {(char *)4, 5, (int16_t *)8, 6, (uint8_t *)9, 8}}};
  struct bed_results results = before;
  running = script;
  int r = record_decode(driver, capture, results.of, reason);
  if (r == 0) {
    assert_string_equal(reason, "");
    for (int i = 0; i < WIRE_RECORDS; i++)
      assert_int_equal(results.of[i].json ? strlen(results.of[i].json) : 0, results.of[i].json_bytes);
    *ret = results;
    return 0;
  }
  assert_memory_equal(&results, &before, sizeof before);
  assert_true(*reason);
  if (reason_has && !strstr(reason, reason_has))
    fail_msg("\"%s\" has no \"%s\"", reason, reason_has);
  return r;
}

int bed_decode(const struct acq_driver *driver, const struct acq_capture *capture, void (*script)(struct acq_record *),
               struct record_result *ret, const char *reason_has) {
  struct bed_results results;
  int r = bed_decode_both(driver, capture, script, &results, reason_has);
  if (r == 0) {
    assert_null(results.of[WIRE_STRAY].json);
    assert_null(results.of[WIRE_STRAY].data);
    *ret = results.of[WIRE_OWN];
  }
  return r;
}

int bed_read(const char *json, size_t n, const void *data, size_t data_bytes, json_t **ret) {
  static json_t untouched;
  json_t *j = &untouched;
  char reason[256] = "";
  int r = record_read(json, n, data, data_bytes, &j, reason);
  if (r == 0) {
    assert_ptr_not_equal(j, &untouched);
    *ret = j;
  } else {
    assert_int_equal(r, -EPROTO);
    assert_ptr_equal(j, &untouched);
    assert_true(*reason);
  }
  return r;
}

json_t *bed_accepted(const struct record_result *r) {
  json_t *j = NULL;
  if (bed_read(r->json, r->json_bytes, r->data, r->data_values * sizeof(int16_t), &j))
    fail_msg("refused: %.300s", r->json);
  return j;
}

const json_t *bed_part(const json_t *record, const char *path) {
  char key[32];
  while (*path) {
    size_t n = strcspn(path, ".");
    snprintf(key, sizeof key, "%.*s", (int)n, path);
    record = json_object_get(record, key);
    path += n + (path[n] == '.');
  }
  assert_non_null(record);
  return record;
}
