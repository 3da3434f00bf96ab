/* The strict reader of records: JSON up to the first NUL, then the samples; the same bytes as its previews. */
#include "fuzz.h"

#include "capture.h"
#include "record_build.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  const uint8_t *nul = n ? memchr(data, 0, n) : NULL;
  size_t json_bytes = nul ? (size_t)(nul - data) : n;
  /* Copies of their own: exact bounds for the sanitizer, and alignment for the samples. */
  char *json = malloc(json_bytes + 1);
  size_t data_bytes = nul ? n - json_bytes - 1 : 0;
  int16_t *samples = malloc(data_bytes ? data_bytes : 1);
  FUZZ_CHECK(json && samples);
  memcpy(json, data, json_bytes);
  json[json_bytes] = 0;
  if (data_bytes)
    memcpy(samples, nul + 1, data_bytes);
  json_t *record = NULL;
  char reason[256] = "";
  int err = record_read(json, json_bytes, samples, data_bytes, &record, reason);
  if (err < 0) {
    FUZZ_CHECK((err == -EPROTO || err == -ENOMEM) && !record && (err == -ENOMEM || reason[0]));
  } else {
    size_t bytes;
    char *text = json_canonical(record, &bytes);
    json_t *again = NULL;
    FUZZ_CHECK(text && record_read(text, bytes, samples, data_bytes, &again, reason) == 0);
    FUZZ_CHECK(json_equal(record, again) && record_is_clean(record) == record_is_clean(again));
    err = record_check_previews(record, samples, data_bytes, reason);
    FUZZ_CHECK(err == 0 || err == -EPROTO);
    json_decref(again);
    json_decref(record);
    free(text);
  }
  free(json);
  free(samples);
  return 0;
}

/* A golden file has one record a line, without its samples. */
static bool golden_line(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  const uint8_t *nl;
  for (; (nl = n ? memchr(file, '\n', n) : NULL) && i; i--) {
    n -= (size_t)(nl + 1 - file);
    file = nl + 1;
  }
  return nl && buf_add(ret, file, (size_t)(nl - file)) == 0;
}

/* One of everything: a blow of today, one of another day, measures without a trial. */
static int everything(const struct acq_capture *capture, struct acq_record *r) {
  const struct acq_trial blow = {ACQ_POST, true, acq_order_clock_us(acq_capture_order(capture), 5), 0, true},
                         old = {ACQ_NO_PHASE, true, 1369737858000000, 1000000, false};
  acq_rec_measure(r, "ambient_temperature", (struct dec){215, -1}, NULL);
  acq_rec_statement(r, "comment", "É\n\"b\"");
  for (int i = 0; i < 2; i++) {
    acq_rec_trial(r, i ? &old : &blow);
    unsigned flow = acq_rec_channel(r, "flow", (struct dec){0, 0}, (struct dec){1, -3}, false),
             step = acq_rec_channel(r, "time_step", (struct dec){0, 0}, (struct dec){1, -3}, false);
    acq_rec_samples(r, flow, (const int16_t[]){0, 900}, 2);
    acq_rec_gap(r, flow, 1);
    acq_rec_samples(r, step, (const int16_t[]){0, 10, 10}, 3);
    acq_rec_measure(r, "fev1", (struct dec){3100, 0}, "mL");
    acq_rec_measure(r, "pef", (struct dec){29, 0}, "L/min");
    acq_rec_measure(r, "fev1_predicted", (struct dec){33, -1}, NULL);
    acq_rec_quality(r, "value_missing", "fvc", 1);
  }
  acq_rec_trial(r, &(struct acq_trial){0});
  acq_rec_measure(r, "fev1", (struct dec){3, 0}, NULL);
  return acq_rec_done(r);
}

static const struct acq_driver built_in = {
    .name = "built_in",
    .version = "1",
    .modalities = ACQ_MODALITY(ACQ_SPIROMETRY),
    .integrity = ACQ_CRC16,
    .decode = everything,
};
static const char built_in_capture[] = "asaleed-capture 1\ndriver built_in 1\nbus usb\norder 10 spirometry pre\n"
                                       "start 2026-03-29T01:59:59.123456+01:00\n< 10 00\nend error\n";

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  struct acq_capture capture;
  if (i >= WIRE_RECORDS)
    return false;
  if (capture_parse(file ? (const char *)file : built_in_capture, file ? n : sizeof built_in_capture - 1, &capture,
                    NULL) < 0)
    return golden_line(file, n, i, ret);
  struct record_result results[WIRE_RECORDS] = {0};
  char reason[256];
  if (!file)
    FUZZ_CHECK(record_decode(&built_in, &capture, results, reason) == 0);
  for (size_t d = 0; acq_drivers[d] && file; d++)
    if (!strcmp(acq_drivers[d]->name, capture.header.driver))
      record_decode(acq_drivers[d], &capture, results, reason);
  const struct record_result *r = &results[results[WIRE_OWN].json ? i : i + 1]; /* stray ones alone come first */
  if (r < results + WIRE_RECORDS && r->json) {
    buf_add(ret, r->json, r->json_bytes + 1);
    buf_add(ret, r->data, r->data_values * sizeof *r->data);
  }
  for (int k = 0; k < WIRE_RECORDS; k++)
    record_result_finish(&results[k]);
  capture_finish(&capture);
  return ret->len > 0;
}
