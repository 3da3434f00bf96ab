/*
 * phdc_model: what the simulated personal health devices are, as data: their objects in the terms of IEEE 11073-20601
 * and the codes of 11073-10101, and the APDUs in which they say so. Pure.
 */
#ifndef ASALEED_SIM_PHDC_MODEL_H
#define ASALEED_SIM_PHDC_MODEL_H

#include "fault.h"
#include "phdc_mder.h"

#define PHDC_OBJECTS_MAX 20u
#define PHDC_PARTS_MAX 3u
#define PHDC_TEXT_MAX 32u

enum {
  PHDC_AARQ = 0xE200,
  PHDC_AARE = 0xE300,
  PHDC_RLRQ = 0xE400,
  PHDC_RLRE = 0xE500,
  PHDC_ABRT = 0xE600,
  PHDC_PRST = 0xE700,

  PHDC_EVENT = 0x0100,
  PHDC_EVENT_CONFIRMED = 0x0101,
  PHDC_GET = 0x0103,
  PHDC_SET = 0x0104,
  PHDC_SET_CONFIRMED = 0x0105,
  PHDC_ACTION = 0x0106,
  PHDC_ACTION_CONFIRMED = 0x0107,
  PHDC_EVENT_RESULT = 0x0201,
  PHDC_GET_RESULT = 0x0203,
  PHDC_SET_RESULT = 0x0205,
  PHDC_ACTION_RESULT = 0x0207,
  PHDC_ERROR = 0x0300,
  PHDC_REJECT = 0x0400,

  PHDC_NOTI_CONFIG = 0x0D1C,
  PHDC_NOTI_SEGMENT_DATA = 0x0D21,
  PHDC_ACT_SEG_CLR = 0x0C0C,
  PHDC_ACT_SEG_GET_INFO = 0x0C0D,
  PHDC_ACT_SET_TIME = 0x0C17,
  PHDC_ACT_DATA_REQUEST = 0x0C1B,
  PHDC_ACT_SEG_TRIG_XFER = 0x0C1C,

  PHDC_CLASS_ENUM = 5,
  PHDC_CLASS_NUMERIC = 6,
  PHDC_CLASS_RTSA = 9,
  PHDC_CLASS_EPI_SCANNER = 18,
  PHDC_CLASS_PERI_SCANNER = 19,
  PHDC_CLASS_PMSTORE = 61,

  PHDC_ATTR_CONFIRM_MODE = 0x0913,
  PHDC_ATTR_INSTANCE = 0x0922,
  PHDC_ATTR_MODEL = 0x0928,
  PHDC_ATTR_PROD_SPEC = 0x092D,
  PHDC_ATTR_TYPE = 0x092F,
  PHDC_ATTR_STORE_CAPACITY = 0x0941,
  PHDC_ATTR_STORE_ALGORITHM = 0x0943,
  PHDC_ATTR_STORE_USAGE = 0x0944,
  PHDC_ATTR_NUM_SEG = 0x0951,
  PHDC_ATTR_OP_STAT = 0x0953,
  PHDC_ATTR_SA_SPEC = 0x096D,
  PHDC_ATTR_SCALE_16 = 0x096F,
  PHDC_ATTR_SEG_USAGE = 0x097B,
  PHDC_ATTR_SYS_ID = 0x0984,
  PHDC_ATTR_TIME_ABS = 0x0987,
  PHDC_ATTR_SEG_END = 0x098A,
  PHDC_ATTR_SAMPLE_PERIOD = 0x098D,
  PHDC_ATTR_TIME_REL = 0x098F,
  PHDC_ATTR_STAMP_ABS = 0x0990,
  PHDC_ATTR_STAMP_REL = 0x0991,
  PHDC_ATTR_SEG_START = 0x0992,
  PHDC_ATTR_UNIT = 0x0996,
  PHDC_ATTR_CONFIG_ID = 0x0A44,
  PHDC_ATTR_METRIC_SPEC = 0x0A46,
  PHDC_ATTR_SOURCE = 0x0A47,
  PHDC_ATTR_SAMPLES = 0x0A48,
  PHDC_ATTR_BASIC = 0x0A4C,
  PHDC_ATTR_STORE_CAPAB = 0x0A4D,
  PHDC_ATTR_SEG_MAP = 0x0A4E,
  PHDC_ATTR_SCAN_MAP = 0x0A53,
  PHDC_ATTR_SCAN_PERIOD_MIN = 0x0A54,
  PHDC_ATTR_VAL_MAP = 0x0A55,
  PHDC_ATTR_SIMPLE = 0x0A56,
  PHDC_ATTR_STORE_LABEL = 0x0A57,
  PHDC_ATTR_SEG_LABEL = 0x0A58,
  PHDC_ATTR_SPEC_LIST = 0x0A5A,
  PHDC_ATTR_SUPPLEMENTAL = 0x0A61,
  PHDC_ATTR_CLEAR_TIMEOUT = 0x0A63,
  PHDC_ATTR_TRANSFER_TIMEOUT = 0x0A64,
  PHDC_ATTR_BITS = 0x0A66,
  PHDC_ATTR_STRUCTURE = 0x0A73,
  PHDC_ATTR_COMPOUND = 0x0A75,
  PHDC_ATTR_PHYSIO_LIST = 0x0A76,

  PHDC_SPEC_PEFM = 4117,
  PHDC_SPEC_SPIROMETER = 4125,
  PHDC_EXTENDED = 0x4000, /* first of the configuration ids that no standard has given out */
  PHDC_STORE_HANDLE = 0x20,
  PHDC_EPI_HANDLE = 0x37,
  PHDC_PERI_HANDLE = 0x28,
};

#define PHDC_NO_TIME 0xFFFFFFFFu

/* Which attribute carries the value, and in which form. */
enum phdc_form {
  PHDC_BASIC,    /* an SFLOAT */
  PHDC_SIMPLE,   /* a FLOAT */
  PHDC_COMPOUND, /* several SFLOATs */
  PHDC_BITS,     /* 16 bits */
  PHDC_SAMPLES,  /* `array` samples of 16 bits */
};

/* What the unit options apply to; values are computed in L, L/s, and as a fraction. */
enum phdc_quantity { PHDC_PLAIN, PHDC_VOLUME, PHDC_FLOW, PHDC_RATIO };

struct phdc_object {
  const char *key; /* in commands: "pef=432" */
  uint16_t class, handle, partition, code, spec, unit;
  enum phdc_form form;
  enum phdc_quantity quantity;
  unsigned digits;                /* behind the point, of computed values */
  double typical[PHDC_PARTS_MAX]; /* measured when a command says nothing of it; NAN: not measured then */
  uint16_t parts[PHDC_PARTS_MAX]; /* COMPOUND */
  uint16_t source, supplemental;  /* 0: none */
  uint16_t array;                 /* SAMPLES: how many in one observation, ... */
  uint32_t period;                /* ... 1/8 ms from one to the next, ... */
  double lower, upper;            /* ... and what 0 and 64000 stand for, in the quantity's own unit */
};

struct phdc_profile {
  const char *name, *maker, *model, *firmware; /* firmware NULL: does not say */
  uint16_t specs[2];
  uint16_t config;               /* id that it announces */
  unsigned n_standard;           /* with that id it has these first objects only; 0: all */
  uint16_t rules, modes;         /* encoding rules; data request modes */
  uint32_t functional_units;     /* */
  uint8_t agents, managers;      /* how many data flows either side may start */
  bool relative_time, has_store; /* */
  const char *flow;              /* unit, as in the option */
  const struct phdc_object *objects;
  unsigned n_objects;
};

const struct phdc_profile *phdc_profile_find(const char *name); /* NULL */

enum phdc_fault {
  PHDC_FAULT_NONE,
  /* the values of a measurement: argument is the object's handle, 0 for all numbers */
  PHDC_FAULT_NAN,
  PHDC_FAULT_NRES,
  PHDC_FAULT_PLUS_INF,
  PHDC_FAULT_MINUS_INF,
  PHDC_FAULT_RESERVED,
  PHDC_FAULT_TWINS, /* every measurement comes a second time, a little different, with the same time stamp */
  /* more announced than there is */
  PHDC_FAULT_COUNT_REPORT,
  PHDC_FAULT_COUNT_CONFIG,
  PHDC_FAULT_COUNT_ATTRIBUTES,
  PHDC_FAULT_COUNT_MAP,
  PHDC_FAULT_COUNT_SAMPLES,
  PHDC_FAULT_LENGTH, /* of the last list in a report */
  PHDC_FAULT_HUGE,   /* a report announces 65535 bytes: what follows belongs to it */
  /* the configuration */
  PHDC_FAULT_OBJECTS,   /* argument (10000) objects more, as far as they fit; the count says all */
  PHDC_FAULT_MAP_TWICE, /* the value is in the map twice */
  PHDC_FAULT_MAP_LONG,  /* the value's length in the map reaches over the time stamp */
  PHDC_FAULT_CLASS,     /* the first object is of class 99 */
  PHDC_FAULT_SIGNED,    /* samples are signed: significant bits FF, scale -32000 to 32000 */
  /* the transfers */
  PHDC_FAULT_SPLIT, /* of argument (1) bytes each */
  PHDC_FAULT_MERGE, /* all that waits goes into one */
  /* the conversation */
  PHDC_FAULT_INVOKE,      /* answers bear the invoke id after the right one */
  PHDC_FAULT_EVENT_TYPE,  /* reports are of type 0DFF */
  PHDC_FAULT_CLOCK_2013,  /* its clock has lost the time; stays wrong until the manager sets it */
  PHDC_FAULT_REASSOCIATE, /* argument (1000) ms after operating it aborts and associates again */
  PHDC_FAULT_SILENCE,     /* argument: a phase */
  PHDC_FAULT_ABORT,       /* argument: a phase: an abort takes its place */
  PHDC_FAULTS
};

/* Where it says nothing, or aborts instead. */
enum phdc_phase {
  PHDC_PHASE_ASSOCIATE = 1, /* asking for an association */
  PHDC_PHASE_CONFIG,        /* the configuration */
  PHDC_PHASE_ANSWER,        /* answers to GET, SET and actions */
  PHDC_PHASE_DATA,          /* reports and stored data */
  PHDC_PHASE_RELEASE,       /* the answer to a release */
  PHDC_PHASES_END
};

extern const struct fault_kind phdc_fault_kinds[PHDC_FAULTS];
/* As fault_set(), with phases by name: "silence:config". */
int phdc_fault_set(struct faults *faults, const char *text);

/* The order is that of the event types. */
enum phdc_report { PHDC_VAR, PHDC_FIXED, PHDC_GROUPED, PHDC_MP_VAR, PHDC_MP_FIXED, PHDC_MP_GROUPED, PHDC_REPORTS };

enum phdc_scanner { PHDC_NO_SCANNER, PHDC_EPISODIC, PHDC_PERIODIC };

struct phdc_device {
  const struct phdc_profile *profile;
  struct phdc_object objects[PHDC_OBJECTS_MAX];
  unsigned n_objects;
  uint16_t config;
  uint8_t system_id[8];
  uint16_t modes; /* as in the profile, until an option says otherwise */
  uint8_t agents, managers;
  char serial[PHDC_TEXT_MAX];
  double volume_factor, flow_factor, ratio_factor; /* from L, L/s and fraction to the units in use */
  enum phdc_scanner scanner;
  bool scanner_on;
  struct faults faults;
};

/* An object's value as it goes into reports: the attributes of its map, one behind the other. */
struct phdc_observation {
  const struct phdc_object *object;
  uint16_t person;
  size_t n;
  uint8_t *bytes;
};

/* With the objects of its configuration id. */
void phdc_device_init(struct phdc_device *d, const struct phdc_profile *profile, uint16_t config);
/* "volume" "mL", "flow" "L/min", "ratio" "percent", "number" "float". False for a unit that there is not. */
bool phdc_device_unit(struct phdc_device *d, const char *key, const char *value);
const struct phdc_object *phdc_device_object(const struct phdc_device *d, const char *key); /* NULL */
struct phdc_number phdc_device_number(const struct phdc_device *d, const struct phdc_object *o, double value);

size_t phdc_value_bytes(const struct phdc_object *o);
uint16_t phdc_value_attribute(const struct phdc_object *o);
size_t phdc_stamp_bytes(const struct phdc_object *o);
uint16_t phdc_stamp_attribute(const struct phdc_object *o);

/* Presentation APDUs: what goes between open and close is the body of the choice. */
struct phdc_prst {
  size_t apdu, data, body;
};
struct phdc_prst phdc_prst_open(struct mder *m, uint16_t invoke, uint16_t choice);
void phdc_prst_close(struct mder *m, struct phdc_prst p);

void phdc_put_aarq(struct mder *m, const struct phdc_device *d);
void phdc_put_short(struct mder *m, uint16_t choice, uint16_t reason); /* RLRQ, RLRE, ABRT */
void phdc_put_config(struct mder *m, const struct phdc_device *d, uint16_t invoke);
/* The MDS's attributes, all or the one asked for. Returns how many. */
unsigned phdc_put_mds(struct mder *m, const struct phdc_device *d, uint16_t only, int64_t local_us, uint32_t ticks);
void phdc_put_map(struct mder *m, const struct phdc_device *d, const struct phdc_object *o);

/* The type and the info of an event (the latter with its length), or a data response's: the observations in a report of
 * the form. */
void phdc_put_report(struct mder *m, const struct phdc_device *d, enum phdc_report form, uint16_t request,
                     uint16_t number, struct phdc_observation *const *list, unsigned n);

#endif
