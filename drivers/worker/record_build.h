/* Building a record from a capture: what driver.h's acq_rec_*() do. Only workers do this: it looks at what devices
 * said. */
#ifndef ASALEED_RECORD_BUILD_H
#define ASALEED_RECORD_BUILD_H

#include "buf.h"
#include "record.h"
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
  uint8_t *previews; /* of its pictures, one after the other; NULL when none */
  size_t preview_bytes;
};
int record_decode(const struct acq_driver *driver, const struct acq_capture *capture,
                  struct record_result ret[static WIRE_RECORDS], char reason[static 256]);
void record_result_finish(struct record_result *r);

#endif
