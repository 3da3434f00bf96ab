/* What the tests of drivers that take whole files share: a file through a driver's decode(), with and without the
 * capture around it, and what the record says. */
#ifndef FILE_BED_H
#define FILE_BED_H

#include "buf.h"
#include "json.h"
#include <asalee/wire.h>

struct file_reading {
  int err;
  char reason[256];
  json_t *record[WIRE_RECORDS]; /* NULL where there is none */
  int16_t *data[WIRE_RECORDS];
};
void file_reading_finish(struct file_reading *r);
#define _reading_cleanup_ __attribute__((cleanup(file_reading_finish)))

/* The bare file. What the builder makes must pass its strict reader. */
struct file_reading file_decode(const struct acq_driver *driver, const void *bytes, size_t n);
/* As the worker takes it: with the order line's rest ("600 ecg", or "600" without an order) and a start (RFC 3339). */
struct file_reading file_decode_ordered(const struct acq_driver *driver, const char *order, const char *start,
                                        const void *bytes, size_t n);

/* Refused with this error and this in the reason. */
void file_refused(const struct acq_driver *driver, const void *bytes, size_t n, int err, const char *reason_has);

/* Items of a list by their place ("channels", "statements"). */
const json_t *file_item(const json_t *record, const char *list, size_t i);
size_t file_count(const json_t *record, const char *list);
int16_t file_sample(const struct file_reading *r, size_t channel, size_t i); /* of the record that there is */
/* How often it is noted, 0 when it is not. */
unsigned file_noted(const json_t *record, const char *code, const char *subject);
bool file_says(const json_t *record, const char *code, const char *text); /* a statement */

/* Everything that a record may hold of quality, in order: "code subject count; ..." */
void file_assert_quality(const json_t *record, const char *all);

/* One real recording of the folder ASALEED_SAMPLES; false, with a message, when it is not there. */
bool file_find_sample(const char *name, struct buf *ret);

/* n deterministic mutations of a file: none may end the program, and what is accepted has passed the strict reader.
 * Returns how many were accepted. */
unsigned file_mutate(const struct acq_driver *driver, const void *bytes, size_t size, unsigned n);

#endif
