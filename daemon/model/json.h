/* The one door to jansson: canonical output, strict and bounded input. */
#ifndef ASALEED_JSON_H
#define ASALEED_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 16

#define _json_cleanup_ __attribute__((cleanup(json_unref)))
static inline void json_unref(json_t **j) {
  json_decref(*j);
}

/* Canonical text: sorted keys, no spaces, UTF-8; malloc()ed, NUL-terminated. NULL without memory, or when the value
 * holds what json_read() refuses. */
char *json_canonical(const json_t *value, size_t *ret_bytes);

/* Whether a text may be in a JSON: clean (str.h), line feeds and tabs aside, which people type in a report. */
bool json_is_clean(const char *text, size_t n);

/* Parses an object: no duplicate keys, no NUL in texts, at most JSON_DEPTH_MAX objects and arrays deep, clean texts and
 * keys, no real numbers. 0 and a new reference; -EPROTO or -ENOMEM with a reason. *ret is untouched on failure. */
int json_read(const char *text, size_t n, json_t **ret, char reason[static 256]);

/* An instant as RFC 3339 text with the local offset; null for 0. */
json_t *json_time(int64_t us);

/* The text of a member, or NULL. */
const char *json_text(const json_t *object, const char *key);
/* The integer of a member within [min, max], or -EPROTO. */
int json_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *ret);

/* It is an object that has exactly these members ("a b c"). */
bool json_has_only(const json_t *object, const char *keys);

#endif
