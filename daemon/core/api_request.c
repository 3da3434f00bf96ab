/* What a request says: the members of its body, the parameters of lists, ids, the version it is about. */
#include "api.h"

#include "str.h"
#include <string.h>

enum problem api_members(struct api_call *call, const json_t *object, const char *fields) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)object, key, value) {
    size_t n = strlen(key);
    const char *at = n && !strchr(key, ' ') ? strstr(fields, key) : NULL;
    while (at && ((at != fields && at[-1] != ' ') || (at[n] && at[n] != ' ')))
      at = strstr(at + 1, key);
    if (!at) {
      call->field = key;
      return P_unknown_field;
    }
  }
  return P_OK;
}

static const json_t *object_of(const struct api_call *call) {
  return call->item ? call->item : call->body;
}

enum problem api_text(struct api_call *call, const char *name, size_t max, bool required, const char **ret) {
  const json_t *value = json_object_get(object_of(call), name);
  call->field = name;
  if (!value || json_is_null(value)) {
    *ret = NULL;
    return required ? P_missing_field : P_OK;
  }
  if (!json_is_string(value) || json_string_length(value) > max || (required && !json_string_length(value)))
    return P_invalid_field;
  *ret = json_string_value(value);
  return P_OK;
}

enum problem api_number(struct api_call *call, const char *name, int64_t min, int64_t max, int64_t otherwise,
                        int64_t *ret) {
  call->field = name;
  *ret = otherwise;
  if (!json_object_get(object_of(call), name))
    return P_OK;
  return json_int(object_of(call), name, min, max, ret) < 0 ? P_invalid_field : P_OK;
}

enum problem api_bool(struct api_call *call, const char *name, bool *ret) {
  const json_t *value = json_object_get(object_of(call), name);
  call->field = name;
  *ret = json_is_true(value);
  return !value || json_is_boolean(value) ? P_OK : P_invalid_field;
}

enum problem api_items(struct api_call *call, const char *name, size_t min, size_t max, size_t *ret) {
  const json_t *value = json_object_get(call->body, name);
  call->field = name;
  *ret = json_array_size(value);
  if (!value || json_is_null(value))
    return min ? P_missing_field : P_OK;
  return json_is_array(value) && *ret >= min && *ret <= max ? P_OK : P_invalid_field;
}

enum problem api_item(struct api_call *call, const char *name, size_t i, const char *fields) {
  call->item = json_array_get(json_object_get(call->body, name), i);
  call->list = name;
  call->place = i;
  call->field = "";
  return json_is_object(call->item) ? api_members(call, call->item, fields) : P_invalid_field;
}

enum problem api_limit(struct api_call *call, int *ret) {
  const char *text = http_query(call->http, "limit");
  uint64_t v = 50;
  call->field = "limit";
  if (text && str_to_u64(text, 1, 200, &v) < 0)
    return P_invalid_field;
  *ret = (int)v;
  return P_OK;
}

bool api_id(const char *text, char letter, int64_t *ret) {
  uint64_t v;
  if (text[0] != letter || text[1] != '-' || text[2] == '0' || str_to_u64(text + 2, 1, INT64_MAX, &v) < 0)
    return false;
  *ret = (int64_t)v;
  return true;
}

enum problem api_if_match(struct api_call *call, int64_t *ret) {
  const char *text = http_header(call->http, "If-Match");
  char digits[24];
  uint64_t v;
  *ret = 0;
  if (!text)
    return P_OK;
  if (!strcmp(text, "*")) {
    *ret = -1;
    return P_OK;
  }
  size_t n = strlen(text);
  if (n < 3 || n - 2 >= sizeof digits || text[0] != '"' || text[n - 1] != '"')
    return P_precondition_failed; /* a tag that this service never gave */
  memcpy(digits, text + 1, n - 2);
  digits[n - 2] = 0;
  if (str_to_u64(digits, 1, INT64_MAX, &v) < 0)
    return P_precondition_failed;
  *ret = (int64_t)v;
  return P_OK;
}
