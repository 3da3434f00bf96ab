/*
 * phdc_settings: the options of a simulated personal health device.
 */
#ifndef ASALEED_SIM_PHDC_SETTINGS_H
#define ASALEED_SIM_PHDC_SETTINGS_H

#include "calendar.h"
#include "phdc_model.h"

struct phdc_settings {
  struct phdc_device device;
  struct own_clock clock;
  enum phdc_report report;
  bool unconfirmed, waits_for_request;
  bool has_preamble;
  unsigned speed; /* times real time; 0: no time at all */
  bool has_auto;  /* measures by itself ... */
  uint64_t auto_us;
  char manner[64]; /* ... such a blow */
  unsigned stored; /* readings from before it was switched on */
  uint64_t seed;
};

#define PHDC_SETTINGS_HELP                                                                                     \
  "  profile=pefm|spirometer|ecg|scale|bodyfat|bp|spo2|glucose|pmstore  (pefm)\n"                              \
  "  config=ID system-id=HEX  configuration that it announces, EUI-64\n"                                       \
  "  clock=host|2026-03-17T09:30:00  what its clock shows when it is switched on (host)\n"                     \
  "  seed=N           of the patient who blows\n"                                                              \
  "  auto=MS          measures by itself so long after the association, and associates again so long after a " \
  "release\n"                                                                                                  \
  "  manner=WORDS     of those blows and of \"blow\" without words\n"                                          \
  "  stored=N         readings of the hours before, in its memory (0)\n"                                       \
  "  report=fixed|var|grouped|mp-fixed|mp-var|mp-grouped (fixed), scanner=no|epi|peri (no)\n"                  \
  "  confirm=yes|no   whether reports are to be confirmed (yes)\n"                                             \
  "  start=agent|manager  who starts data (agent)\n"                                                           \
  "  volume=L|cL|mL flow=L/s|cL/s|L/min ratio=percent|fraction number=sfloat|float\n"                          \
  "  best=N           pefm: the patient's best\n"                                                              \
  "  preamble=yes|no  whether metadata messages can be switched on (no)\n"

/* 0, or -EINVAL with the reason. local_us: see sim_engine.create. */
int phdc_settings_parse(struct phdc_settings *ret, const char *options, int64_t local_us, char why[static 256]);

#endif
