#include "file_maker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int file_word(const char *text, const char *const names[], unsigned n) {
  for (unsigned i = 0; i < n; i++)
    if (strcmp(text, names[i]) == 0)
      return (int)i;
  return -1;
}

int file_refuse(const struct option *o, char why[static 256]) {
  snprintf(why, 256, "%s: unknown, or not with '%.100s'", o->key, o->value);
  return -EINVAL;
}

struct ecg12 *file_ecg(const struct file_order *order, unsigned own_rate_hz, char why[static 256]) {
  unsigned rate = order->rate_hz ? order->rate_hz : own_rate_hz;
  if (order->seconds == 0 || order->seconds > ECG12_SAMPLES_MAX / rate) {
    snprintf(why, 256, "from 1 to %u seconds at %u Hz", ECG12_SAMPLES_MAX / rate, rate);
    return NULL;
  }
  struct ecg12 *e = malloc(sizeof(*e));
  if (e)
    ecg12_make(e, rate, order->seconds, order->seed, order->noise_steps, !order->still);
  else
    snprintf(why, 256, "no memory");
  return e;
}

/* Numbers where the pattern has zeros, the same characters where it has others. */
static bool take(const char *text, const char *pattern, unsigned *ret) {
  bool within = false;
  for (; *pattern; pattern++, text++) {
    if (*pattern != '0') {
      if (*text != *pattern)
        return false;
      within = false;
      continue;
    }
    if (*text < '0' || *text > '9')
      return false;
    if (!within)
      *ret++ = 0;
    ret[-1] = ret[-1] * 10 + (unsigned)(*text - '0');
    within = true;
  }
  return !*text;
}

bool file_clock_parse(const char *text, struct file_clock *ret) {
  unsigned v[6] = {0};
  if (!take(text, "0000-00-00T00:00:00", v)) {
    memset(v, 0, sizeof(v));
    if (!take(text, "0000-00-00", v))
      return false;
  }
  *ret = (struct file_clock){v[0], v[1], v[2], v[3], v[4], v[5]};
  return true;
}
