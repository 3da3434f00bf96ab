/* Building records from scripts and reading them back: what the tests of record.c share. */
#ifndef RECORD_BED_H
#define RECORD_BED_H

#include "record_build.h"

#define D(m, e) ((struct dec){(m), (e)})

/* A driver's decode(): runs the script that bed_decode() was given. */
int bed_script(const struct acq_capture *capture, struct acq_record *r);

extern const struct acq_driver bed_ecg, bed_spirometer; /* "unit" 7, crc16; "spiro" 1.0, none */

#define BED_START "2026-03-29T01:59:59.123456+01:00"
#define BED_START_US (INT64_C(1774745999123456) + 3600 * WALL_SECOND) /* by the clock on the wall */

/* A capture of "unit" with an identity and one byte received, a millisecond after the start. `order` is the order
 * line's rest ("10 spirometry post"), `end` the last line with its newline, or "". */
struct acq_capture bed_capture(const char *order, const char *end);
#define CAPTURE(name, order, end) _capture_cleanup_ struct acq_capture name = bed_capture(order, end)

#define RESULT(name) __attribute__((cleanup(record_result_finish))) struct record_result name = {0}
struct bed_results {
  struct record_result of[WIRE_RECORDS];
};
void bed_results_finish(struct bed_results *r);
#define RESULTS(name) __attribute__((cleanup(bed_results_finish))) struct bed_results name = {0}

/* Decodes what a script builds: 0 or the error, of which the reason has that text (NULL: any); *ret is alone then. */
int bed_decode_both(const struct acq_driver *driver, const struct acq_capture *capture,
                    void (*script)(struct acq_record *), struct bed_results *ret, const char *reason_has);
/* Where nothing is stray. */
int bed_decode(const struct acq_driver *driver, const struct acq_capture *capture, void (*script)(struct acq_record *),
               struct record_result *ret, const char *reason_has);

/* record_read(), with what it promises about a refusal. */
int bed_read(const char *json, size_t n, const void *data, size_t data_bytes, json_t **ret);
/* What the builder wrote, the reader takes. */
json_t *bed_accepted(const struct record_result *r);

/* A part of a record by its names ("acquired.measures"). */
const json_t *bed_part(const json_t *record, const char *path);

#endif
