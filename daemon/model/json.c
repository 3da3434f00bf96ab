#include "json.h"

#include "buf.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* jansson 2.14 does not look whether the text of a token could grow (lex_save() in its load.c): without memory it
 * drops the byte, and was that the closing quote it reads past the end. So a parse has a spare block, large enough
 * for any token; the first allocation that fails may have it, and for the parser the text ends there. */
static _Thread_local struct {
  void *block;
  size_t bytes;
  bool starved;
} spare;

static void *json_malloc(size_t n) {
  void *p = malloc(n);
  if (p)
    return p;
  spare.starved = true;
  if (n <= spare.bytes) {
    p = spare.block;
    spare.block = NULL;
    spare.bytes = 0;
  }
  return p;
}

__attribute__((constructor)) static void json_open(void) {
  json_set_alloc_funcs(json_malloc, free);
}

struct source {
  const char *at;
  size_t left;
};

/* One byte a call, so that the end comes as soon as the memory does. */
static size_t json_next(void *buffer, size_t size, void *data) {
  struct source *s = data;
  if (!size || !s->left || spare.starved)
    return 0;
  *(char *)buffer = *s->at++;
  s->left--;
  return 1;
}

bool json_is_clean(const char *text, size_t n) {
  for (size_t at = 0, part; at < n; at += part + 1) {
    for (part = 0; at + part < n && text[at + part] != '\n' && text[at + part] != '\t';)
      part++;
    if (!str_is_clean_utf8(text + at, part))
      return false;
  }
  return true;
}

/* Walks a value: 0 when it has no real number, no unclean text and at most `depth` objects and arrays in each other. */
static int json_check(const json_t *value, int depth, const char **ret_why) {
  if (depth == 0 && (json_is_array(value) || json_is_object(value))) {
    *ret_why = "too deep";
    return -EPROTO;
  }
  switch (json_typeof(value)) {
  case JSON_REAL:
    *ret_why = "numbers with a fraction are sent as texts";
    return -EPROTO;
  case JSON_STRING:
    if (json_is_clean(json_string_value(value), json_string_length(value)))
      return 0;
    *ret_why = "a text holds control characters";
    return -EPROTO;
  case JSON_ARRAY: {
    size_t i;
    json_t *item;
    json_array_foreach(value, i, item) {
      int r = json_check(item, depth - 1, ret_why);
      if (r < 0)
        return r;
    }
    return 0;
  }
  case JSON_OBJECT: {
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item) {
      if (!str_is_clean_utf8(key, strlen(key))) {
        *ret_why = "a key holds control characters";
        return -EPROTO;
      }
      int r = json_check(item, depth - 1, ret_why);
      if (r < 0)
        return r;
    }
    return 0;
  }
  default:
    return 0;
  }
}

/* jansson 2.14 goes on after a key that could not be written (do_dump() in its dump.c); a buffer's error stays. */
static int json_put(const char *bytes, size_t n, void *data) {
  return buf_add(data, bytes, n);
}

char *json_canonical(const json_t *value, size_t *ret_bytes) {
  const char *why;
  if (!value || json_check(value, JSON_DEPTH_MAX, &why) < 0)
    return NULL;
  _buf_cleanup_ struct buf b = BUF_INIT(SIZE_MAX / 4);
  if (json_dump_callback(value, json_put, &b, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) < 0 || !buf_cstr(&b))
    return NULL;
  size_t ignored;
  return (char *)buf_take(&b, ret_bytes ? ret_bytes : &ignored);
}

/* The depth is limited before the parser runs, as it recurses once a level. */
static bool json_shallow(const char *text, size_t n) {
  unsigned depth = 0;
  bool in_text = false;
  for (size_t i = 0; i < n; i++) {
    char c = text[i];
    if (in_text) {
      if (c == '\\')
        i++;
      else if (c == '"')
        in_text = false;
    } else if (c == '"')
      in_text = true;
    else if ((c == '{' || c == '[') && ++depth > JSON_DEPTH_MAX)
      return false;
    else if ((c == '}' || c == ']') && depth)
      depth--;
  }
  return true;
}

int json_read(const char *text, size_t n, json_t **ret, char reason[static 256]) {
  if (n && memchr(text, 0, n)) { /* between tokens the parser would overlook it */
    snprintf(reason, 256, "a NUL byte");
    return -EPROTO;
  }
  if (!json_shallow(text, n)) {
    snprintf(reason, 256, "deeper than %d levels", JSON_DEPTH_MAX);
    return -EPROTO;
  }
  json_error_t error;
  struct source source = {text, n};
  spare.bytes = 2 * n + 64; /* a token's text doubles as it grows */
  spare.block = malloc(spare.bytes);
  spare.starved = !spare.block;
  json_t *value = spare.block ? json_load_callback(json_next, &source, JSON_REJECT_DUPLICATES, &error) : NULL;
  free(spare.block);
  spare.block = NULL;
  spare.bytes = 0;
  if (spare.starved) {
    json_decref(value);
    snprintf(reason, 256, "no memory");
    return -ENOMEM;
  }
  if (!value) {
    snprintf(reason, 256, "line %d, column %d: %s", error.line, error.column, error.text);
    return -EPROTO;
  }
  const char *why = "an object is expected";
  if (!json_is_object(value) || json_check(value, JSON_DEPTH_MAX, &why) < 0) {
    snprintf(reason, 256, "%s", why);
    json_decref(value);
    return -EPROTO;
  }
  *ret = value;
  return 0;
}

const char *json_text(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

int json_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *ret) {
  const json_t *member = json_object_get(object, key);
  if (!json_is_integer(member) || json_integer_value(member) < min || json_integer_value(member) > max)
    return -EPROTO;
  *ret = json_integer_value(member);
  return 0;
}

json_t *json_time(int64_t us) {
  char text[WALL_TEXT_MAX];
  if (!us)
    return json_null();
  wall_format(wall_local(us), text);
  return json_string(text);
}

bool json_has_only(const json_t *object, const char *keys) {
  if (!json_is_object(object))
    return false;
  size_t n = 0;
  for (const char *p = keys; *p;) {
    char key[32];
    size_t width = strcspn(p, " ");
    if (width >= sizeof key)
      return false;
    memcpy(key, p, width);
    key[width] = 0;
    if (!json_object_get(object, key))
      return false;
    n++;
    p += width + (p[width] == ' ');
  }
  return json_object_size(object) == n;
}
