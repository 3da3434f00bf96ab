/* What the targets of drivers of whole files share. */
#ifndef ASALEED_FUZZ_FILE_H
#define ASALEED_FUZZ_FILE_H

#include "fuzz.h"

#include "capture.h"
#include "record_build.h"

/* Decodes a file. The error is one that such a driver may give, and is said; what comes of it passes the strict reader,
 * and `check`. Returns the error. */
static inline int fuzz_file(const struct acq_driver *driver, const void *bytes, size_t n,
                            void (*check)(const struct record_result *result, const json_t *record)) {
  struct acq_capture capture;
  struct record_result results[WIRE_RECORDS] = {0};
  char reason[256];
  FUZZ_CHECK(capture_from_file(bytes, n, &capture) == 0);
  int err = record_decode(driver, &capture, results, reason);
  FUZZ_CHECK(err == 0 || err == -ENXIO || err == -EPROTO || err == -EBADMSG || err == -ENODATA || err == -ERANGE ||
             err == -EOPNOTSUPP || err == -EFBIG);
  FUZZ_CHECK(err == 0 || reason[0]);
  for (int i = 0; i < WIRE_RECORDS; i++) {
    const struct record_result *r = &results[i];
    json_t *record = NULL;
    if (r->json) {
      FUZZ_CHECK(record_read(r->json, r->json_bytes, r->data, r->data_values * 2, &record, reason) == 0);
      check(r, record);
    }
    json_decref(record);
    record_result_finish(&results[i]);
  }
  capture_finish(&capture);
  return err;
}

#endif
