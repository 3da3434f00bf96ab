#include "phdc_settings.h"

#include "option.h"
#include "trial.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define STORED_MAX 250u
#define AUTO_MAX_MS 86400000u

static bool choose(bool *ret, const char *value, const char *no, const char *yes) {
  *ret = strcmp(value, yes) == 0;
  return *ret || strcmp(value, no) == 0;
}

static int find(const char *value, const char *const *names, int n) {
  int i = 0;
  while (i < n && strcmp(names[i], value) != 0)
    i++;
  return i < n ? i : -EINVAL;
}

static bool set_seed(struct phdc_settings *s, const char *value) {
  return option_number(value, UINT64_MAX, &s->seed);
}

static bool set_speed(struct phdc_settings *s, const char *value) {
  return option_speed(value, &s->speed);
}

static bool set_clock(struct phdc_settings *s, const char *value) {
  return own_clock_option(&s->clock, value);
}

static bool set_report(struct phdc_settings *s, const char *value) {
  static const char *const names[] = {
      [PHDC_VAR] = "var",       [PHDC_FIXED] = "fixed",       [PHDC_GROUPED] = "grouped",
      [PHDC_MP_VAR] = "mp-var", [PHDC_MP_FIXED] = "mp-fixed", [PHDC_MP_GROUPED] = "mp-grouped"};
  int r = find(value, names, PHDC_REPORTS);
  s->report = r < 0 ? PHDC_FIXED : (enum phdc_report)r;
  return r >= 0;
}

static bool set_scanner(struct phdc_settings *s, const char *value) {
  static const char *const names[] = {[PHDC_NO_SCANNER] = "no", [PHDC_EPISODIC] = "epi", [PHDC_PERIODIC] = "peri"};
  int r = find(value, names, 3);
  s->device.scanner = r < 0 ? PHDC_NO_SCANNER : (enum phdc_scanner)r;
  return r >= 0;
}

static bool set_confirm(struct phdc_settings *s, const char *value) {
  return choose(&s->unconfirmed, value, "yes", "no");
}

static bool set_start(struct phdc_settings *s, const char *value) {
  if (!choose(&s->waits_for_request, value, "agent", "manager"))
    return false;
  if (s->waits_for_request) {
    s->device.modes = 0x8EE0; /* stop, all scopes and modes; nothing by itself */
    s->device.agents = 0;
    s->device.managers = 1;
  }
  return true;
}

static bool set_preamble(struct phdc_settings *s, const char *value) {
  return choose(&s->has_preamble, value, "no", "yes");
}

/* A meter that knows the patient's best has one object more, and so another configuration. */
static bool set_best(struct phdc_settings *s, const char *value) {
  struct phdc_number number;
  if (strcmp(s->device.profile->name, "pefm") != 0 || !phdc_number_parse(value, &number) || number.exponent)
    return false;
  s->device.n_objects = s->device.profile->n_objects;
  s->device.config = PHDC_EXTENDED + 1;
  for (unsigned i = 0; i < s->device.n_objects; i++)
    if (strcmp(s->device.objects[i].key, "best") == 0)
      s->device.objects[i].typical[0] = number.mantissa / s->device.flow_factor;
  return true;
}

static bool set_system_id(struct phdc_settings *s, const char *hex) {
  uint64_t id;
  char text[24];
  if (strlen(hex) != 16 || snprintf(text, sizeof text, "0x%s", hex) < 0 || !option_number(text, UINT64_MAX, &id))
    return false;
  for (unsigned i = 0; i < 8; i++)
    s->device.system_id[i] = (uint8_t)(id >> (56 - 8 * i));
  return true;
}

static bool set_serial(struct phdc_settings *s, const char *value) {
  return snprintf(s->device.serial, sizeof s->device.serial, "%s", value) < (int)sizeof s->device.serial;
}

static bool set_auto(struct phdc_settings *s, const char *value) {
  s->has_auto = option_number(value, AUTO_MAX_MS, &s->auto_us);
  s->auto_us *= 1000;
  return s->has_auto;
}

static bool set_manner(struct phdc_settings *s, const char *value) {
  struct blow_options blow;
  return trial_choose(value, 0, 0, &blow) && snprintf(s->manner, sizeof s->manner, "%s", value) < (int)sizeof s->manner;
}

static bool set_stored(struct phdc_settings *s, const char *value) {
  uint64_t n = 0;
  bool good = option_number(value, STORED_MAX, &n);
  s->stored = (unsigned)n;
  return good;
}

static const struct {
  const char *key;
  bool (*set)(struct phdc_settings *s, const char *value);
} keys[] = {
    {"seed", set_seed},           {"speed", set_speed},     {"clock", set_clock}, {"report", set_report},
    {"scanner", set_scanner},     {"confirm", set_confirm}, {"start", set_start}, {"preamble", set_preamble},
    {"system-id", set_system_id}, {"serial", set_serial},   {"auto", set_auto},   {"manner", set_manner},
    {"stored", set_stored},
};

static bool set_key(struct phdc_settings *s, const char *key, const char *value) {
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    if (strcmp(keys[i].key, key) == 0)
      return keys[i].set(s, value);
  return phdc_device_unit(&s->device, key, value);
}

/* Which device it is must be known before its units, and these before the best value. */
enum pass { WHICH, ALL, BEST, PASSES };

static bool take(struct phdc_settings *s, enum pass pass, const struct option *o, const char **profile,
                 uint64_t *config) {
  bool which = strcmp(o->key, "profile") == 0 || strcmp(o->key, "config") == 0, best = strcmp(o->key, "best") == 0;
  if (pass == WHICH && strcmp(o->key, "profile") == 0) {
    const struct phdc_profile *found = phdc_profile_find(o->value);
    *profile = found ? found->name : NULL;
    return found;
  }
  if (pass == WHICH && which)
    return option_number(o->value, UINT16_MAX, config);
  if (pass == ALL && !which && !best)
    return set_key(s, o->key, o->value);
  return pass != BEST || !best || set_best(s, o->value);
}

int phdc_settings_parse(struct phdc_settings *ret, const char *options, int64_t local_us, char why[static 256]) {
  struct phdc_settings s = {.report = PHDC_FIXED, .speed = 1, .clock = {.start_us = local_us}};
  const char *profile = "pefm";
  uint64_t config = 0;
  for (enum pass pass = WHICH; pass < PASSES; pass++) {
    const char *at = options;
    struct option option;
    int r;
    while ((r = option_next(&at, &option)) > 0)
      if (!take(&s, pass, &option, &profile, &config)) {
        snprintf(why, 256, "%s: unknown, or not with '%.100s'", option.key, option.value);
        return -EINVAL;
      }
    if (r < 0) {
      snprintf(why, 256, "'%.100s' is not key=value", at);
      return -EINVAL;
    }
    if (pass == WHICH) {
      const struct phdc_profile *chosen = phdc_profile_find(profile);
      phdc_device_init(&s.device, chosen, config ? (uint16_t)config : chosen->config);
      memcpy(s.device.system_id, "\x00\x1F\x2E\x00\x00SIM", 8);
      snprintf(s.device.serial, sizeof s.device.serial, "SIM00001");
    }
  }
  if (!s.device.scanner && (s.report == PHDC_GROUPED || s.report == PHDC_MP_GROUPED)) {
    snprintf(why, 256, "report: grouped is for scanners only");
    return -EINVAL;
  }
  *ret = s;
  return 0;
}
