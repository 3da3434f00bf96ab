/* Building, encoding and reading back a record (include/asalee/record.h has its form). */
#ifndef ASALEED_RECORD_H
#define ASALEED_RECORD_H

#include "buf.h"
#include "capture.h"
#include "json.h"
#include <asalee/record.h>
#include <asalee/wire.h>

/* Runs the driver's decode() on a capture and adds what a driver must not forget: a capture without "end ok" makes
 * the record incomplete; trials that were not made while the acquisition ran go into a record of their own.
 * Fills ret[WIRE_OWN] and ret[WIRE_STRAY], either of which may be empty (json = NULL), not both; the caller owns them
 * (record_result_finish). On failure returns the error and its English reason in `reason`; ret is untouched. */
struct record_result {
  char *json; /* canonical text, NUL-terminated */
  size_t json_bytes;
  int16_t *data; /* host order; NULL when none */
  size_t data_values;
};
int record_decode(const struct acq_driver *driver, const struct acq_capture *capture,
                  struct record_result ret[static WIRE_RECORDS], char reason[static 256]);
void record_result_finish(struct record_result *r);

/* Strict reader: the form of include/asalee/record.h and nothing else, texts clean, counts and codes in range, and
 * the samples as long and as hashed as the JSON says. Returns 0 and a new reference, or -EPROTO or -ENOMEM with a
 * reason. *ret is untouched on failure. */
int record_read(const char *json, size_t json_bytes, const void *data, size_t data_bytes, json_t **ret,
                char reason[static 256]);

/* True when the record is whole and holds nothing that the nurse must confirm (no soft-range flag, no quality
 * item above info). */
bool record_is_clean(const json_t *record);

#endif
