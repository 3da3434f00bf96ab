/* What asaleed-export makes of a DICOM file, through the worker's own file transport, recorder and record builder. */
#ifndef FLAT_BED_H
#define FLAT_BED_H

#include "json.h"
#include "record_build.h"

struct flat_result {
  int err; /* of identify(), acquire() or decode() */
  char reason[256];
  struct record_result results[WIRE_RECORDS];
  json_t *record; /* this patient's, else the stray one; NULL on error */
  const int16_t *samples;
};

#define FLAT_BED_START_US INT64_C(1772442000000000) /* 2026-03-02T10:00:00+01:00 */

/* Takes the bytes as the driver file_dicom takes a file, within an acquisition that lasts a moment. */
void flat_take(const void *flat, size_t n, struct flat_result *ret);
void flat_result_finish(struct flat_result *r);
#define FLAT(name) __attribute__((cleanup(flat_result_finish))) struct flat_result name = {0}

#endif
