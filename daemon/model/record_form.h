/* What the builder of a record (drivers/worker/record_build.c) keeps to and its strict reader (record_read.c) insists
 * on. */
#ifndef ASALEED_RECORD_FORM_H
#define ASALEED_RECORD_FORM_H

#include <asalee/record.h>

#define QUALITY_MAX 256 /* items in one record */
#define MEASURES_MAX 4096
#define STATEMENTS_MAX 2048
#define SOURCE_BYTES_MAX 256 /* of a text */
#define STATEMENT_BYTES_MAX 16384
#define RECORD_SCHEMA "asaleed-record-4"
#define RECORD_CLOCK_TEXT 23 /* YYYY-MM-DDThh:mm:ss.mmm */

/* The daemon judges all blows of a study at once, between two requests: they are bounded. */
static inline size_t json_max(enum acq_modality m) {
  return m == ACQ_SPIROMETRY ? RECORD_JSON_MAX / 8 : RECORD_JSON_MAX;
}

static inline size_t data_max(enum acq_modality m) {
  return m == ACQ_SPIROMETRY ? RECORD_DATA_MAX / 8 : RECORD_DATA_MAX;
}

#endif
