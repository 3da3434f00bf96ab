/* Decoding. The first byte selects: 0 a capture, whose header names the driver, up to a NUL, and its blobs; else bare
 * bytes for the driver of that number. */
#include "fuzz.h"

#include "capture.h"
#include "record_build.h"
#include <string.h>

static const struct acq_driver *driver_named(const char *name) {
  for (size_t i = 0; acq_drivers[i]; i++)
    if (!strcmp(acq_drivers[i]->name, name))
      return acq_drivers[i];
  return NULL;
}

static const struct acq_driver *driver_number(unsigned number) {
  unsigned count = 0;
  while (acq_drivers[count])
    count++;
  return acq_drivers[number % count];
}

/* What a driver may answer. -EINVAL would be a code that the nomenclature does not list. */
static bool is_refusal(int err) {
  return err == -EPROTO || err == -EBADMSG || err == -ERANGE || err == -ENODATA || err == -ENXIO || err == -EFBIG ||
         err == -EOPNOTSUPP;
}

static void check_record(const struct record_result *first, const struct record_result *second) {
  size_t data_bytes = first->data_values * sizeof *first->data;
  char reason[256];
  FUZZ_CHECK(first->json_bytes == second->json_bytes && !memcmp(first->json, second->json, first->json_bytes));
  FUZZ_CHECK(first->data_values == second->data_values);
  FUZZ_CHECK(!data_bytes || !memcmp(first->data, second->data, data_bytes));
  json_t *record = NULL;
  int read = record_read(first->json, first->json_bytes, first->data, data_bytes, &record, reason);
  if (read < 0)
    fprintf(stderr, "%s\n%s\n", reason, first->json);
  FUZZ_CHECK(read == 0);
  FUZZ_CHECK(first->preview_bytes == second->preview_bytes);
  FUZZ_CHECK(!first->preview_bytes || !memcmp(first->previews, second->previews, first->preview_bytes));
  FUZZ_CHECK(record_check_previews(record, first->previews, first->preview_bytes, reason) == 0);
  json_decref(record);
}

static void check_decode(const struct acq_driver *driver, const struct acq_capture *capture) {
  struct record_result first[WIRE_RECORDS] = {0}, second[WIRE_RECORDS] = {0};
  char reason[256], again[256];
  int err = record_decode(driver, capture, first, reason);
  FUZZ_CHECK(record_decode(driver, capture, second, again) == err); /* pure: the same twice */
  if (err < 0) {
    FUZZ_CHECK(is_refusal(err));
    FUZZ_CHECK(reason[0] && !strcmp(reason, again));
    return;
  }
  FUZZ_CHECK(first[WIRE_OWN].json || first[WIRE_STRAY].json);
  for (int i = 0; i < WIRE_RECORDS; i++) {
    FUZZ_CHECK(!first[i].json == !second[i].json);
    if (first[i].json)
      check_record(&first[i], &second[i]);
    record_result_finish(&first[i]);
    record_result_finish(&second[i]);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct acq_capture capture;
  const struct acq_driver *driver;
  if (!n)
    return 0;
  if (data[0]) {
    driver = driver_number(data[0] - 1u);
    if (capture_from_raw(data + 1, n - 1, &capture) < 0)
      return 0;
  } else {
    const uint8_t *text = data + 1, *nul = n > 1 ? memchr(text, 0, n - 1) : NULL;
    const size_t n_text = nul ? (size_t)(nul - text) : n - 1;
    if (capture_parse_with((const char *)text, n_text, text + n_text + !!nul, n - 1 - n_text - !!nul, &capture, NULL) <
        0)
      return 0;
    driver = driver_named(capture.header.driver);
  }
  if (driver)
    check_decode(driver, &capture);
  capture_finish(&capture);
  return 0;
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  struct acq_capture capture;
  if (!file || i > 1)
    return false;
  if (capture_parse((const char *)file, n, &capture, NULL) < 0) {
    buf_u8(ret, 1); /* bare bytes */
    buf_add(ret, file, n);
    return i == 0;
  }
  buf_u8(ret, (uint8_t)i);
  if (i == 0)
    buf_add(ret, file, n);
  else
    buf_add(ret, capture.received, capture.n_received);
  capture_finish(&capture);
  return true;
}
