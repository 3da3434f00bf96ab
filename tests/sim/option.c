#include "option.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

int option_next(const char **text, struct option *ret) {
  size_t len = strcspn(*text, ","), key = strcspn(*text, "=,");
  if (!**text)
    return 0;
  if (key == 0 || key >= len || key >= OPTION_KEY_MAX || len - key > OPTION_VALUE_MAX)
    return -EINVAL;
  memcpy(ret->key, *text, key);
  ret->key[key] = '\0';
  memcpy(ret->value, *text + key + 1, len - key - 1);
  ret->value[len - key - 1] = '\0';
  *text += len + ((*text)[len] == ',');
  return 1;
}

bool option_number(const char *text, uint64_t max, uint64_t *ret) {
  char *end;
  if (text[0] < '0' || text[0] > '9')
    return false;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 0);
  if (errno || *end || value > max)
    return false;
  *ret = value;
  return true;
}

bool option_speed(const char *text, unsigned *ret) {
  uint64_t value = 0;
  if (strcmp(text, "max") != 0 && (!option_number(text, 10000, &value) || value == 0))
    return false;
  *ret = (unsigned)value;
  return true;
}

bool option_seconds(const char *text, uint64_t *ret_us) {
  uint64_t us = 0, unit = 1000000;
  bool digits = false, point = false;
  for (; *text; text++) {
    if (*text == '.' && !point) {
      point = true;
      continue;
    }
    if (*text < '0' || *text > '9')
      return false;
    digits = true;
    if (!point) {
      us = us * 10 + (uint64_t)(*text - '0') * 1000000u;
      if (us > 1000000ull * 1000000u)
        return false;
    } else if (unit > 1) {
      unit /= 10;
      us += (uint64_t)(*text - '0') * unit;
    }
  }
  *ret_us = us;
  return digits;
}

int option_fault(const char *text, const char *const names[], unsigned count, unsigned *ret_arg) {
  size_t len = strcspn(text, ":");
  uint64_t arg = 0;
  if (text[len] && !option_number(text + len + 1, UINT_MAX, &arg))
    return -EINVAL;
  for (unsigned i = 0; i < count; i++) {
    if (strlen(names[i]) == len && memcmp(names[i], text, len) == 0) {
      *ret_arg = (unsigned)arg;
      return (int)i;
    }
  }
  return -EINVAL;
}
