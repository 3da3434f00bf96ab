#include "phdc_model.h"

#include "trial.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define SCALED_MAX 64000u
#define MEASURED 0xF040u /* now and then, kept and sent by the agent itself */
#define NONE \
  { NAN, NAN, NAN }
#define SCADA 2u
#define PHD_DM 128u

/* ---- units ---- */

struct unit {
  const char *key, *value;
  enum phdc_quantity quantity;
  uint16_t code;
  double factor;
  unsigned digits;
};

static const struct unit units[] = {
    {"volume", "L", PHDC_VOLUME, 1600, 1, 2},      {"volume", "cL", PHDC_VOLUME, 1617, 100, 0},
    {"volume", "mL", PHDC_VOLUME, 1618, 1000, 0},  {"flow", "L/s", PHDC_FLOW, 3040, 1, 2},
    {"flow", "cL/s", PHDC_FLOW, 3057, 100, 0},     {"flow", "L/min", PHDC_FLOW, 3072, 60, 0},
    {"ratio", "percent", PHDC_RATIO, 544, 100, 1}, {"ratio", "fraction", PHDC_RATIO, 512, 1, 3},
};

/* ---- profiles ---- */

#define NUMERIC .class = PHDC_CLASS_NUMERIC, .partition = SCADA, .spec = MEASURED

static const struct phdc_object pefm[] = {
    {.key = "pef", NUMERIC, .handle = 1, .code = 21512, .quantity = PHDC_FLOW, .typical = {7.2}},
    {.key = "fev1", NUMERIC, .handle = 2, .code = 21514, .quantity = PHDC_VOLUME, .typical = {3.63}},
    {.key = "fev6", NUMERIC, .handle = 3, .code = 21515, .quantity = PHDC_VOLUME, .typical = {3.99}},
    {.key = "status",
     .class = PHDC_CLASS_ENUM,
     .handle = 4,
     .partition = PHD_DM,
     .code = 30720,
     .spec = MEASURED,
     .form = PHDC_BITS},
    {.key = "best", NUMERIC, .handle = 5, .code = 21513, .quantity = PHDC_FLOW, .typical = NONE},
};

#define WAVE                                                                                             \
  .class = PHDC_CLASS_RTSA, .partition = SCADA, .spec = MEASURED, .form = PHDC_SAMPLES, .typical = NONE, \
  .array = TRIAL_RATE_HZ, .period = 8000 / TRIAL_RATE_HZ

static const struct phdc_object spirometer[] = {
    {.key = "fvc", NUMERIC, .handle = 1, .code = 57856, .quantity = PHDC_VOLUME, .typical = {4.52}},
    {.key = "fev1", NUMERIC, .handle = 2, .code = 21514, .quantity = PHDC_VOLUME, .typical = {3.63}},
    {.key = "fev6", NUMERIC, .handle = 3, .code = 21515, .quantity = PHDC_VOLUME, .typical = {4.49}},
    {.key = "ratio", NUMERIC, .handle = 4, .code = 57876, .quantity = PHDC_RATIO, .typical = {0.803}},
    {.key = "pef", NUMERIC, .handle = 5, .code = 21512, .quantity = PHDC_FLOW, .typical = {8.73}},
    {.key = "fef2575", NUMERIC, .handle = 6, .code = 57888, .quantity = PHDC_FLOW, .typical = {3.41}},
    {.key = "bev", NUMERIC, .handle = 7, .code = 57948, .quantity = PHDC_VOLUME, .typical = {0.08}},
    {.key = "fet", NUMERIC, .handle = 8, .code = 57944, .unit = 2176, .digits = 1, .typical = {6.4}},
    {.key = "peak", NUMERIC, .handle = 9, .code = 58052, .unit = 2194, .typical = {70}},
    {.key = "fivc", NUMERIC, .handle = 10, .code = 57908, .quantity = PHDC_VOLUME, .typical = NONE},
    {.key = "flow", WAVE, .handle = 11, .code = 20692, .quantity = PHDC_FLOW, .lower = -16, .upper = 16},
    {.key = "volume", WAVE, .handle = 12, .code = 21636, .quantity = PHDC_VOLUME, .lower = -4, .upper = 12},
};

#define LEAD                                                                                                           \
  .class = PHDC_CLASS_RTSA, .partition = SCADA, .spec = MEASURED, .form = PHDC_SAMPLES, .unit = 4274, .typical = NONE, \
  .array = 250, .period = 16, .lower = -8, .upper = 8

static const struct phdc_object ecg[] = {
    {.key = "I", LEAD, .handle = 1, .code = 257},
    {.key = "II", LEAD, .handle = 2, .code = 258},
    {.key = "rate", NUMERIC, .handle = 3, .code = 16770, .unit = 2720, .typical = NONE},
};

static const struct phdc_object scale[] = {
    {.key = "weight",
     NUMERIC,
     .handle = 1,
     .code = 57664,
     .unit = 1731,
     .form = PHDC_SIMPLE,
     .digits = 1,
     .typical = {72.5}},
    {.key = "height",
     .class = PHDC_CLASS_NUMERIC,
     .handle = 2,
     .partition = SCADA,
     .code = 57668,
     .spec = 0xF048,
     .unit = 1297,
     .form = PHDC_SIMPLE,
     .typical = NONE},
    {.key = "bmi",
     .class = PHDC_CLASS_NUMERIC,
     .handle = 3,
     .partition = SCADA,
     .code = 57680,
     .spec = 0xF042,
     .unit = 1952,
     .form = PHDC_SIMPLE,
     .digits = 1,
     .source = 1,
     .typical = NONE},
};

static const struct phdc_object bodyfat[] = {
    {.key = "weight",
     .class = PHDC_CLASS_NUMERIC,
     .handle = 1,
     .partition = SCADA,
     .code = 57664,
     .spec = 0xD040,
     .unit = 1731,
     .form = PHDC_SIMPLE,
     .digits = 1,
     .typical = {72.5}},
    {.key = "fat",
     .class = PHDC_CLASS_NUMERIC,
     .handle = 2,
     .partition = SCADA,
     .code = 57676,
     .spec = 0xD042,
     .unit = 544,
     .form = PHDC_SIMPLE,
     .digits = 1,
     .typical = {24.1}},
};

static const struct phdc_object bp[] = {
    {.key = "bp",
     NUMERIC,
     .handle = 1,
     .code = 18948,
     .unit = 3872,
     .form = PHDC_COMPOUND,
     .parts = {18949, 18950, 18951},
     .typical = {124, 78, 93}},
    {.key = "pulse", NUMERIC, .handle = 2, .code = 18474, .unit = 2720, .typical = {68}},
    {.key = "user", NUMERIC, .handle = 3, .code = 61458, .unit = 512, .typical = {0}},
};

static const struct phdc_object spo2[] = {
    {.key = "spo2",
     .class = PHDC_CLASS_NUMERIC,
     .handle = 1,
     .partition = SCADA,
     .code = 19384,
     .spec = 0x40C0,
     .unit = 544,
     .typical = {97}},
    {.key = "pulse",
     .class = PHDC_CLASS_NUMERIC,
     .handle = 10,
     .partition = SCADA,
     .code = 18458,
     .spec = 0x40C0,
     .unit = 2720,
     .typical = {72}},
    {.key = "fast",
     .class = PHDC_CLASS_NUMERIC,
     .handle = 3,
     .partition = SCADA,
     .code = 19384,
     .spec = 0x40C0,
     .unit = 544,
     .supplemental = 19508,
     .typical = NONE},
};

static const struct phdc_object glucose[] = {
    {.key = "glucose", NUMERIC, .handle = 1, .code = 29112, .unit = 2130, .typical = {104}},
};

#define OBJECTS(a) .objects = a, .n_objects = COUNT(a)
#define OWN                                                                                                          \
  .maker = "Simulated", .firmware = "1.4.2", .config = PHDC_EXTENDED, .rules = 0x8000, .modes = 0x0001, .agents = 1, \
  .relative_time = true

/* What the published examples have, so that the two can be compared. */
static const struct phdc_profile profiles[] = {
    {.name = "pefm",
     OWN,
     .model = "PEF-1",
     .specs = {PHDC_SPEC_PEFM},
     .n_standard = 4, /* the personal best comes with another configuration */
     .flow = "L/min",
     OBJECTS(pefm)},
    {.name = "spirometer",
     OWN,
     .model = "SPIRO-1",
     .specs = {PHDC_SPEC_SPIROMETER},
     .flow = "L/s",
     OBJECTS(spirometer)},
    {.name = "ecg", OWN, .model = "ECG-2", .specs = {4102, 4236}, .flow = "L/s", OBJECTS(ecg)},
    {.name = "scale",
     .maker = "TheCompany",
     .model = "TheScaleABC",
     .specs = {4111},
     .config = 1500,
     .n_standard = 1,
     .rules = 0xA000,
     .functional_units = 0x40000000,
     .modes = 0x0001,
     .agents = 1,
     .relative_time = true,
     .flow = "L/s",
     OBJECTS(scale)},
    {.name = "bodyfat",
     .maker = "TheCompany",
     .model = "TheScaleABC",
     .specs = {4111},
     .config = PHDC_EXTENDED,
     .rules = 0xA000,
     .modes = 0x0081,
     .agents = 1,
     .managers = 1,
     .relative_time = true,
     .flow = "L/s",
     OBJECTS(bodyfat)},
    {.name = "bp",
     .maker = "TheCompany",
     .model = "TheBPM ABC",
     .specs = {4103},
     .config = PHDC_EXTENDED,
     .rules = 0x8000,
     .modes = 0x0001,
     .agents = 1,
     .flow = "L/s",
     OBJECTS(bp)},
    {.name = "spo2",
     .maker = "TheCompany",
     .model = "OximeterABC",
     .specs = {4100},
     .config = 400,
     .n_standard = 2,
     .rules = 0xA000,
     .functional_units = 0x40000000,
     .modes = 0x0001,
     .agents = 1,
     .flow = "L/s",
     OBJECTS(spo2)},
    {.name = "glucose", OWN, .model = "GLU-1", .specs = {4113}, .flow = "L/s", OBJECTS(glucose)},
    {.name = "pmstore",
     OWN,
     .model = "PEF-2",
     .specs = {PHDC_SPEC_PEFM},
     .has_store = true,
     .flow = "L/min",
     .objects = pefm,
     .n_objects = 4},
};

const struct phdc_profile *phdc_profile_find(const char *name) {
  for (size_t i = 0; i < COUNT(profiles); i++)
    if (strcmp(profiles[i].name, name) == 0)
      return &profiles[i];
  return NULL;
}

/* ---- faults ---- */

const struct fault_kind phdc_fault_kinds[PHDC_FAULTS] = {
    [PHDC_FAULT_NONE] = {"none", 0},
    [PHDC_FAULT_NAN] = {"nan", 0},
    [PHDC_FAULT_NRES] = {"nres", 0},
    [PHDC_FAULT_PLUS_INF] = {"plus-inf", 0},
    [PHDC_FAULT_MINUS_INF] = {"minus-inf", 0},
    [PHDC_FAULT_RESERVED] = {"reserved", 0},
    [PHDC_FAULT_TWINS] = {"twins", 0},
    [PHDC_FAULT_COUNT_REPORT] = {"count-report", 0},
    [PHDC_FAULT_COUNT_CONFIG] = {"count-config", 0},
    [PHDC_FAULT_COUNT_ATTRIBUTES] = {"count-attributes", 0},
    [PHDC_FAULT_COUNT_MAP] = {"count-map", 0},
    [PHDC_FAULT_COUNT_SAMPLES] = {"count-samples", 0},
    [PHDC_FAULT_LENGTH] = {"length", 0},
    [PHDC_FAULT_HUGE] = {"huge", 0},
    [PHDC_FAULT_OBJECTS] = {"objects", 10000},
    [PHDC_FAULT_MAP_TWICE] = {"map-twice", 0},
    [PHDC_FAULT_MAP_LONG] = {"map-long", 0},
    [PHDC_FAULT_CLASS] = {"class", 0},
    [PHDC_FAULT_SIGNED] = {"signed", 0},
    [PHDC_FAULT_SPLIT] = {"split", 1},
    [PHDC_FAULT_MERGE] = {"merge", 0},
    [PHDC_FAULT_INVOKE] = {"invoke", 0},
    [PHDC_FAULT_EVENT_TYPE] = {"event-type", 0},
    [PHDC_FAULT_CLOCK_2013] = {"clock-2013", 0},
    [PHDC_FAULT_REASSOCIATE] = {"reassociate", 1000},
    [PHDC_FAULT_SILENCE] = {"silence", PHDC_PHASE_DATA},
    [PHDC_FAULT_ABORT] = {"abort", PHDC_PHASE_DATA},
};

int phdc_fault_set(struct faults *faults, const char *text) {
  static const char *const phases[PHDC_PHASES_END] = {NULL, "associate", "config", "answer", "data", "release"};
  const char *colon = strchr(text, ':');
  char numbered[32];
  for (unsigned i = 1; colon && i < PHDC_PHASES_END; i++)
    if (strcmp(colon + 1, phases[i]) == 0 && (strncmp(text, "silence:", 8) == 0 || strncmp(text, "abort:", 6) == 0)) {
      snprintf(numbered, sizeof numbered, "%.*s:%u", (int)(colon - text), text, i);
      return fault_set(faults, numbered);
    }
  return fault_set(faults, text);
}

/* ---- device ---- */

void phdc_device_init(struct phdc_device *d, const struct phdc_profile *profile, uint16_t config) {
  *d = (struct phdc_device){.profile = profile,
                            .config = config,
                            .modes = profile->modes,
                            .agents = profile->agents,
                            .managers = profile->managers,
                            .faults = {.kinds = phdc_fault_kinds, .count = PHDC_FAULTS}};
  d->n_objects = config == profile->config && profile->n_standard ? profile->n_standard : profile->n_objects;
  memcpy(d->objects, profile->objects, profile->n_objects * sizeof *d->objects);
  phdc_device_unit(d, "volume", "L");
  phdc_device_unit(d, "ratio", "percent");
  phdc_device_unit(d, "flow", profile->flow);
}

static void set_form(struct phdc_device *d, enum phdc_form form) {
  for (unsigned i = 0; i < PHDC_OBJECTS_MAX; i++)
    if (d->objects[i].quantity && d->objects[i].form != PHDC_SAMPLES)
      d->objects[i].form = form;
}

bool phdc_device_unit(struct phdc_device *d, const char *key, const char *value) {
  if (strcmp(key, "number") == 0) {
    if (strcmp(value, "float") != 0 && strcmp(value, "sfloat") != 0)
      return false;
    set_form(d, strcmp(value, "float") == 0 ? PHDC_SIMPLE : PHDC_BASIC);
    return true;
  }
  for (size_t i = 0; i < COUNT(units); i++) {
    const struct unit *u = &units[i];
    if (strcmp(u->key, key) != 0 || strcmp(u->value, value) != 0)
      continue;
    *(u->quantity == PHDC_VOLUME ? &d->volume_factor
      : u->quantity == PHDC_FLOW ? &d->flow_factor
                                 : &d->ratio_factor) = u->factor;
    for (unsigned k = 0; k < PHDC_OBJECTS_MAX; k++)
      if (d->objects[k].quantity == u->quantity) {
        d->objects[k].unit = u->code;
        d->objects[k].digits = u->digits;
      }
    return true;
  }
  return false;
}

const struct phdc_object *phdc_device_object(const struct phdc_device *d, const char *key) {
  for (unsigned i = 0; i < d->n_objects; i++)
    if (strcmp(d->objects[i].key, key) == 0)
      return &d->objects[i];
  return NULL;
}

static double factor_of(const struct phdc_device *d, const struct phdc_object *o) {
  const double factors[] = {1, d->volume_factor, d->flow_factor, d->ratio_factor};
  return factors[o->quantity];
}

struct phdc_number phdc_device_number(const struct phdc_device *d, const struct phdc_object *o, double value) {
  return phdc_number_from(value * factor_of(d, o), o->digits);
}

static unsigned parts_of(const struct phdc_object *o) {
  unsigned n = 0;
  while (n < PHDC_PARTS_MAX && o->parts[n])
    n++;
  return n;
}

size_t phdc_value_bytes(const struct phdc_object *o) {
  switch (o->form) {
  case PHDC_SIMPLE:
    return 4;
  case PHDC_COMPOUND:
    return 4 + 2 * parts_of(o);
  case PHDC_SAMPLES:
    return 2 + 2 * (size_t)o->array;
  default:
    return 2;
  }
}

uint16_t phdc_value_attribute(const struct phdc_object *o) {
  static const uint16_t attributes[] = {[PHDC_BASIC] = PHDC_ATTR_BASIC,
                                        [PHDC_SIMPLE] = PHDC_ATTR_SIMPLE,
                                        [PHDC_COMPOUND] = PHDC_ATTR_COMPOUND,
                                        [PHDC_BITS] = PHDC_ATTR_BITS,
                                        [PHDC_SAMPLES] = PHDC_ATTR_SAMPLES};
  return attributes[o->form];
}

size_t phdc_stamp_bytes(const struct phdc_object *o) {
  return o->form == PHDC_SAMPLES ? 4 : 8;
}

uint16_t phdc_stamp_attribute(const struct phdc_object *o) {
  return o->form == PHDC_SAMPLES ? PHDC_ATTR_STAMP_REL : PHDC_ATTR_STAMP_ABS;
}

/* ---- association ---- */

void phdc_put_aarq(struct mder *m, const struct phdc_device *d) {
  mder_u16(m, PHDC_AARQ);
  size_t apdu = mder_open(m);
  mder_u32(m, 0x80000000); /* association version 1 */
  size_t protocols = mder_list_open(m);
  mder_u16(m, 20601);
  size_t info = mder_open(m);
  mder_u32(m, 0x80000000); /* protocol version 1 */
  mder_u16(m, d->profile->rules);
  mder_u32(m, 0x80000000); /* nomenclature version 1 */
  mder_u32(m, d->profile->functional_units);
  mder_u32(m, 0x00800000); /* agent */
  mder_u16(m, sizeof d->system_id);
  mder_bytes(m, d->system_id, sizeof d->system_id);
  mder_u16(m, d->config);
  mder_u16(m, d->modes);
  mder_u8(m, d->agents);
  mder_u8(m, d->managers);
  mder_list_close(m, mder_list_open(m), 0);
  mder_close(m, info);
  mder_list_close(m, protocols, 1);
  mder_close(m, apdu);
}

void phdc_put_short(struct mder *m, uint16_t choice, uint16_t reason) {
  mder_u16(m, choice);
  mder_u16(m, 2);
  mder_u16(m, reason);
}

struct phdc_prst phdc_prst_open(struct mder *m, uint16_t invoke, uint16_t choice) {
  struct phdc_prst p;
  mder_u16(m, PHDC_PRST);
  p.apdu = mder_open(m);
  p.data = mder_open(m);
  mder_u16(m, invoke);
  mder_u16(m, choice);
  p.body = mder_open(m);
  return p;
}

void phdc_prst_close(struct mder *m, struct phdc_prst p) {
  mder_close(m, p.body);
  mder_close(m, p.data);
  mder_close(m, p.apdu);
}

/* ---- configuration ---- */

void phdc_put_map(struct mder *m, const struct phdc_device *d, const struct phdc_object *o) {
  bool twice = d->faults.on[PHDC_FAULT_MAP_TWICE], longer = d->faults.on[PHDC_FAULT_MAP_LONG];
  size_t list = mder_list_open(m);
  for (int i = 0; i < 1 + twice; i++) {
    mder_u16(m, phdc_value_attribute(o));
    mder_u16(m, (unsigned)(phdc_value_bytes(o) + (longer ? 4 : 0)));
  }
  mder_u16(m, phdc_stamp_attribute(o));
  mder_u16(m, (unsigned)phdc_stamp_bytes(o));
  mder_list_close(m, list, d->faults.on[PHDC_FAULT_COUNT_MAP] ? 0x7FFF : 2u + twice);
}

static unsigned put_samples(struct mder *m, const struct phdc_device *d, const struct phdc_object *o) {
  bool is_signed = d->faults.on[PHDC_FAULT_SIGNED];
  size_t at = mder_attribute_open(m, PHDC_ATTR_SAMPLE_PERIOD);
  mder_u32(m, o->period);
  mder_close(m, at);
  at = mder_attribute_open(m, PHDC_ATTR_SA_SPEC);
  mder_u16(m, o->array);
  mder_u8(m, 16);
  mder_u8(m, is_signed ? 0xFF : 16);
  mder_u16(m, 0);
  mder_close(m, at);
  at = mder_attribute_open(m, PHDC_ATTR_SCALE_16);
  mder_float(m, phdc_number_from(o->lower * factor_of(d, o), 0));
  mder_float(m, phdc_number_from(o->upper * factor_of(d, o), 0));
  mder_u16(m, is_signed ? (uint16_t) - (SCALED_MAX / 2) : 0);
  mder_u16(m, is_signed ? SCALED_MAX / 2 : SCALED_MAX);
  mder_close(m, at);
  return 3;
}

/* The attributes in the order of the published examples. */
static unsigned put_attributes(struct mder *m, const struct phdc_device *d, const struct phdc_object *o) {
  unsigned n = 3, parts = parts_of(o);
  size_t at = mder_attribute_open(m, PHDC_ATTR_TYPE);
  mder_u16(m, o->partition);
  mder_u16(m, o->code);
  mder_close(m, at);
  mder_attribute_u16(m, PHDC_ATTR_METRIC_SPEC, o->spec);
  if (parts)
    mder_attribute_u16(m, PHDC_ATTR_STRUCTURE, 0x0300 | parts), n++;
  if (o->unit)
    mder_attribute_u16(m, PHDC_ATTR_UNIT, o->unit), n++;
  if (parts) {
    at = mder_attribute_open(m, PHDC_ATTR_PHYSIO_LIST);
    size_t list = mder_list_open(m);
    for (unsigned i = 0; i < parts; i++)
      mder_u16(m, o->parts[i]);
    mder_list_close(m, list, parts);
    mder_close(m, at);
    n++;
  }
  if (o->form == PHDC_SAMPLES)
    n += put_samples(m, d, o);
  if (o->source)
    mder_attribute_u16(m, PHDC_ATTR_SOURCE, o->source), n++;
  if (o->supplemental) {
    at = mder_attribute_open(m, PHDC_ATTR_SUPPLEMENTAL);
    size_t list = mder_list_open(m);
    mder_u16(m, SCADA);
    mder_u16(m, o->supplemental);
    mder_list_close(m, list, 1);
    mder_close(m, at);
    n++;
  }
  at = mder_attribute_open(m, PHDC_ATTR_VAL_MAP);
  phdc_put_map(m, d, o);
  mder_close(m, at);
  return n;
}

static void put_object(struct mder *m, const struct phdc_device *d, const struct phdc_object *o) {
  mder_u16(m, o == d->objects && d->faults.on[PHDC_FAULT_CLASS] ? 99 : o->class);
  mder_u16(m, o->handle);
  size_t list = mder_list_open(m);
  unsigned n = put_attributes(m, d, o);
  mder_list_close(m, list, d->faults.on[PHDC_FAULT_COUNT_ATTRIBUTES] ? 0x7FFF : n);
}

static bool is_scanned(const struct phdc_object *o) {
  return o->form != PHDC_SAMPLES && !isnan(o->typical[0]);
}

static void put_scan_map(struct mder *m, const struct phdc_device *d) {
  size_t at = mder_attribute_open(m, PHDC_ATTR_SCAN_MAP), list = mder_list_open(m);
  unsigned n = 0;
  for (unsigned i = 0; i < d->n_objects; i++) {
    if (!is_scanned(&d->objects[i]))
      continue;
    mder_u16(m, d->objects[i].handle);
    phdc_put_map(m, d, &d->objects[i]);
    n++;
  }
  mder_list_close(m, list, n);
  mder_close(m, at);
}

static void put_scanner(struct mder *m, const struct phdc_device *d) {
  bool periodic = d->scanner == PHDC_PERIODIC;
  mder_u16(m, periodic ? PHDC_CLASS_PERI_SCANNER : PHDC_CLASS_EPI_SCANNER);
  mder_u16(m, periodic ? PHDC_PERI_HANDLE : PHDC_EPI_HANDLE);
  size_t list = mder_list_open(m);
  mder_attribute_u16(m, PHDC_ATTR_OP_STAT, 0); /* off until the manager sets it */
  if (periodic) {
    mder_attribute_u32(m, PHDC_ATTR_SCAN_PERIOD_MIN, 8000);
    mder_attribute_u16(m, PHDC_ATTR_CONFIRM_MODE, 0);
    put_scan_map(m, d);
  } else {
    put_scan_map(m, d);
    mder_attribute_u16(m, PHDC_ATTR_CONFIRM_MODE, 1);
  }
  mder_list_close(m, list, periodic ? 4 : 3);
}

static void put_store(struct mder *m) {
  mder_u16(m, PHDC_CLASS_PMSTORE);
  mder_u16(m, PHDC_STORE_HANDLE);
  size_t list = mder_list_open(m);
  mder_attribute_u16(m, PHDC_ATTR_STORE_CAPAB, 0x8840); /* segments come and go, episodic entries, clearing removes */
  mder_attribute_u16(m, PHDC_ATTR_STORE_ALGORITHM, 0);
  mder_attribute_u16(m, PHDC_ATTR_OP_STAT, 1);
  mder_attribute_u32(m, PHDC_ATTR_CLEAR_TIMEOUT, 3 * 8000);
  mder_list_close(m, list, 4);
}

/* As many as fit; returns how many it was asked for. */
static unsigned put_crowd(struct mder *m, const struct phdc_device *d) {
  unsigned n = d->faults.on[PHDC_FAULT_OBJECTS] ? d->faults.arg[PHDC_FAULT_OBJECTS] : 0;
  for (unsigned i = 0; i < n && m->n + 8 <= UINT16_MAX; i++) {
    mder_u16(m, PHDC_CLASS_NUMERIC);
    mder_u16(m, 0x0100 + i);
    mder_u32(m, 0);
  }
  return n;
}

void phdc_put_config(struct mder *m, const struct phdc_device *d, uint16_t invoke) {
  struct phdc_prst p = phdc_prst_open(m, invoke, PHDC_EVENT_CONFIRMED);
  mder_u16(m, 0);
  mder_u32(m, PHDC_NO_TIME);
  mder_u16(m, PHDC_NOTI_CONFIG);
  size_t info = mder_open(m);
  mder_u16(m, d->config);
  size_t list = mder_list_open(m);
  unsigned n = d->n_objects;
  for (unsigned i = 0; i < d->n_objects; i++)
    put_object(m, d, &d->objects[i]);
  if (d->scanner) {
    put_scanner(m, d);
    n++;
  }
  if (d->profile->has_store) {
    put_store(m);
    n++;
  }
  n += put_crowd(m, d);
  mder_list_close(m, list, d->faults.on[PHDC_FAULT_COUNT_CONFIG] ? 0x7FFF : n);
  mder_close(m, info);
  phdc_prst_close(m, p);
}

/* ---- MDS ---- */

/* Texts of an even number of bytes, as the published examples have them. */
static void put_even_text(struct mder *m, const char *text) {
  size_t len = strlen(text);
  mder_u16(m, (unsigned)(len + len % 2));
  mder_bytes(m, text, len + len % 2);
}

static void put_spec_list(struct mder *m, const struct phdc_device *d) {
  size_t list = mder_list_open(m);
  unsigned n = 0;
  for (; n < COUNT(d->profile->specs) && d->profile->specs[n]; n++) {
    mder_u16(m, d->profile->specs[n]);
    mder_u16(m, 1);
  }
  mder_list_close(m, list, n);
}

static void put_production(struct mder *m, const struct phdc_device *d) {
  size_t list = mder_list_open(m);
  const char *const texts[] = {d->serial, d->profile->firmware};
  static const uint16_t kinds[] = {1, 5}; /* serial number, firmware revision */
  unsigned n = 0;
  for (; n < COUNT(texts) && texts[n]; n++) {
    mder_u16(m, kinds[n]);
    mder_u16(m, 0);
    put_even_text(m, texts[n]);
  }
  mder_list_close(m, list, n);
}

static void put_mds_attribute(struct mder *m, const struct phdc_device *d, uint16_t id, int64_t local_us,
                              uint32_t ticks) {
  size_t at = mder_attribute_open(m, id);
  switch (id) {
  case PHDC_ATTR_SPEC_LIST:
    put_spec_list(m, d);
    break;
  case PHDC_ATTR_MODEL:
    put_even_text(m, d->profile->maker);
    put_even_text(m, d->profile->model);
    break;
  case PHDC_ATTR_SYS_ID:
    mder_u16(m, sizeof d->system_id);
    mder_bytes(m, d->system_id, sizeof d->system_id);
    break;
  case PHDC_ATTR_CONFIG_ID:
    mder_u16(m, d->config);
    break;
  case PHDC_ATTR_PROD_SPEC:
    put_production(m, d);
    break;
  case PHDC_ATTR_TIME_ABS:
    mder_absolute_time(m, local_us);
    break;
  case PHDC_ATTR_TIME_REL:
    mder_u32(m, ticks);
    break;
  }
  mder_close(m, at);
}

unsigned phdc_put_mds(struct mder *m, const struct phdc_device *d, uint16_t only, int64_t local_us, uint32_t ticks) {
  static const uint16_t ids[] = {PHDC_ATTR_SPEC_LIST, PHDC_ATTR_MODEL,    PHDC_ATTR_SYS_ID,  PHDC_ATTR_CONFIG_ID,
                                 PHDC_ATTR_PROD_SPEC, PHDC_ATTR_TIME_ABS, PHDC_ATTR_TIME_REL};
  unsigned n = 0;
  for (size_t i = 0; i < COUNT(ids); i++) {
    /* The examples leave the relative time out. */
    if ((only && ids[i] != only) || (ids[i] == PHDC_ATTR_TIME_REL && !d->profile->firmware))
      continue;
    put_mds_attribute(m, d, ids[i], local_us, ticks);
    n++;
  }
  return n;
}

/* ---- reports ---- */

static void put_attributes_of(struct mder *m, const struct phdc_observation *o) {
  size_t value = phdc_value_bytes(o->object), list = mder_list_open(m);
  mder_u16(m, phdc_value_attribute(o->object));
  mder_u16(m, (unsigned)value);
  mder_bytes(m, o->bytes, value);
  mder_u16(m, phdc_stamp_attribute(o->object));
  mder_u16(m, (unsigned)(o->n - value));
  mder_bytes(m, o->bytes + value, o->n - value);
  mder_list_close(m, list, 2);
}

static void put_observation(struct mder *m, const struct phdc_device *d, const struct phdc_observation *o, bool fixed) {
  mder_u16(m, o->object->handle);
  if (!fixed) {
    put_attributes_of(m, o);
    return;
  }
  size_t at = mder_open(m);
  mder_bytes(m, o->bytes, o->n);
  mder_close(m, at);
  if (d->faults.on[PHDC_FAULT_LENGTH] && at + 2 <= m->n)
    m->bytes[at] = 0x7F;
}

static void put_group(struct mder *m, struct phdc_observation *const *list, unsigned n) {
  size_t at = mder_open(m);
  for (unsigned i = 0; i < n; i++)
    mder_bytes(m, list[i]->bytes, list[i]->n);
  mder_close(m, at);
}

/* The observations of one person, or all. */
static unsigned put_observations(struct mder *m, const struct phdc_device *d, bool fixed,
                                 struct phdc_observation *const *list, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    put_observation(m, d, list[i], fixed);
  return n;
}

/* A group has each object once: the next begins where the first one comes again. */
static unsigned put_groups(struct mder *m, bool with_person, struct phdc_observation *const *list, unsigned n) {
  unsigned groups = 0;
  for (unsigned from = 0, to; from < n; from = to, groups++) {
    for (to = from + 1; to < n && list[to]->person == list[from]->person && list[to]->object != list[from]->object;)
      to++;
    if (with_person)
      mder_u16(m, list[from]->person);
    put_group(m, list + from, to - from);
  }
  return groups;
}

static unsigned put_persons(struct mder *m, const struct phdc_device *d, bool fixed,
                            struct phdc_observation *const *list, unsigned n) {
  unsigned persons = 0;
  for (unsigned from = 0, to; from < n; from = to, persons++) {
    for (to = from; to < n && list[to]->person == list[from]->person;)
      to++;
    mder_u16(m, list[from]->person);
    size_t at = mder_list_open(m);
    mder_list_close(m, at, put_observations(m, d, fixed, list + from, to - from));
  }
  return persons;
}

static uint16_t event_type(const struct phdc_device *d, enum phdc_report form) {
  static const uint16_t plain[PHDC_REPORTS] = {
      [PHDC_FIXED] = 0x0D1D, [PHDC_VAR] = 0x0D1E, [PHDC_MP_FIXED] = 0x0D1F, [PHDC_MP_VAR] = 0x0D20};
  if (d->faults.on[PHDC_FAULT_EVENT_TYPE])
    return 0x0DFF;
  if (d->scanner == PHDC_EPISODIC)
    return (uint16_t)(0x0D22 + form);
  return d->scanner == PHDC_PERIODIC ? (uint16_t)(0x0D28 + form) : plain[form];
}

void phdc_put_report(struct mder *m, const struct phdc_device *d, enum phdc_report form, uint16_t request,
                     uint16_t number, struct phdc_observation *const *list, unsigned n) {
  mder_u16(m, event_type(d, form));
  size_t info = mder_open(m);
  mder_u16(m, request);
  mder_u16(m, number);
  size_t at = mder_list_open(m);
  unsigned count;
  if (form == PHDC_GROUPED || form == PHDC_MP_GROUPED)
    count = put_groups(m, form == PHDC_MP_GROUPED, list, n);
  else if (form >= PHDC_MP_VAR)
    count = put_persons(m, d, form == PHDC_MP_FIXED, list, n);
  else
    count = put_observations(m, d, form == PHDC_FIXED, list, n);
  mder_list_close(m, at, d->faults.on[PHDC_FAULT_COUNT_REPORT] ? 0x7FFF : count);
  mder_close(m, info);
}
