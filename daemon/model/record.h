/* Reading a record back (include/asalee/record.h has its form). */
#ifndef ASALEED_RECORD_H
#define ASALEED_RECORD_H

#include "capture.h"
#include "json.h"
#include <asalee/record.h>

/* Strict reader: the form of include/asalee/record.h and nothing else, texts clean, counts and codes in range, and
 * the samples as long and as hashed as the JSON says. Returns 0 and a new reference, or -EPROTO or -ENOMEM with a
 * reason. *ret is untouched on failure. */
int record_read(const char *json, size_t json_bytes, const void *data, size_t data_bytes, json_t **ret,
                char reason[static 256]);

/* The previews that the record's pictures name, one after the other, as long and as hashed as it says. 0 or -EPROTO
 * with a reason. */
int record_check_previews(const json_t *record, const void *previews, size_t n, char reason[static 256]);

/* True when the record is whole and holds nothing that the nurse must confirm (no soft-range flag, no quality
 * item above info). */
bool record_is_clean(const json_t *record);

#endif
