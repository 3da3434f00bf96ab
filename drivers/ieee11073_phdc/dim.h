/* The domain information model: what an agent says it is made of. Its configuration report lists objects, each with
 * attributes; the ones kept here are those that give values a meaning. Nothing is allocated: tables with bounds, and a
 * configuration beyond them is refused by name.
 *
 *   configuration  report id u16; count u16, length u16 of objects
 *   object         class u16, handle u16; count u16, length u16 of attributes
 *   attribute      id u16, length u16, value
 *   value map      count u16, length u16 of: attribute id u16, its length u16. A fixed report has these, in this order.
 *
 * Source: README.md beside this file. */
#ifndef IEEE11073_PHDC_DIM_H
#define IEEE11073_PHDC_DIM_H

#include "apdu.h"
#include "mdc.h"
#include "stamp.h"
#include <asalee/driver.h>

#define PHD_OBJECTS_MAX 64
#define PHD_MAPPED_MAX 1024 /* entries of all value maps together */
#define PHD_SCANNED_MAX 256 /* objects in the maps of all scanners together */
#define PHD_PHYSIO_MAX 16   /* values of one compound */
#define PHD_SPECS_MAX 8

struct phd_mapped {
  uint16_t id, length;
};

struct phd_map {
  uint16_t first, n; /* of the model's `mapped`; n = 0: the object has none */
  uint32_t bytes;
};

struct phd_scanned {
  uint16_t handle;
  struct phd_map map;
};

/* How samples are coded, and what they mean: scaled_lower stands for lower, scaled_upper for upper, in between it is
 * linear. */
struct phd_array {
  bool known, scaled;
  uint8_t bits;        /* of a sample: 8, 16 or 32 */
  uint8_t significant; /* of these; 255: all, two's complement */
  uint16_t samples;    /* in one observation */
  uint16_t flags;
  uint8_t scale_bits;
  struct dec lower, upper;
  uint32_t scaled_lower, scaled_upper;
  uint32_t period; /* 1/8 ms, 0 unknown */
};

struct phd_object {
  uint16_t class, handle;
  uint16_t partition, type;          /* what it measures */
  uint16_t metric, metric_partition; /* overrides `type` when not 0; 0: the type's partition */
  uint16_t unit;                     /* partition 4, 0 unknown */
  uint16_t physio[PHD_PHYSIO_MAX];
  uint8_t n_physio;
  struct phd_map map;
  uint16_t scan_first, n_scan; /* a scanner's, of the model's `scanned` */
  uint16_t old_segments;       /* a store's, that stay where they are */
  struct phd_array array;
};

struct phd_dim {
  bool configured;
  uint16_t config_id;
  unsigned n_objects, n_mapped, n_scanned;
  struct phd_object objects[PHD_OBJECTS_MAX];
  struct phd_mapped mapped[PHD_MAPPED_MAX];
  struct phd_scanned scanned[PHD_SCANNED_MAX];
  const char *why; /* English, of the last refusal */
};

/* Keeps the reason and returns err. */
int phd_dim_refuse(struct phd_dim *d, int err, const char *why);

/* Reads the information of a configuration report; -EPROTO with d->why. The model is empty then. */
int phd_dim_read(struct phd_dim *d, struct acq_cur info);

struct phd_object *phd_dim_find(struct phd_dim *d, uint16_t handle); /* NULL when there is none */
static inline bool phd_is_scanner(const struct phd_object *o) {
  return o->class >= MDC_MOC_SCAN && o->class <= MDC_MOC_SCAN_CFG_PERI;
}

/* Takes an attribute that describes the object: 1 when it is one, 0 when it is not, -EPROTO. */
int phd_object_attribute(struct phd_dim *d, struct phd_object *o, uint16_t id, struct acq_cur value);

/* A value map, which must be all of `value`. */
int phd_map_read(struct phd_dim *d, struct acq_cur value, struct phd_map *ret);

/* The next of `left` attributes of a list; false at its end, or with list->err. */
bool phd_attribute(struct acq_cur *list, unsigned *left, uint16_t *ret_id, struct acq_cur *ret_value);

/* partition * 65536 + code, as nomenclature_find_mdc() takes it. */
uint32_t phd_object_mdc(const struct phd_object *o);

/* What the order may be for: a set of ACQ_MODALITY() by the specialisations, or by the objects when these say nothing
 * that is known; 0 when those do not either. */
struct phd_mds;
unsigned phd_modalities(const struct phd_dim *d, const struct phd_mds *mds);

/* ---- the medical device system: the agent as a whole ---------------------------------------------------------- */

struct phd_mds {
  bool known;
  struct acq_identity identity; /* clean ASCII; serial: its system id when it tells no serial number */
  uint16_t specs[PHD_SPECS_MAX];
  unsigned n_specs;
  struct phd_stamp clocks[PHD_STAMP_KINDS]; /* its own clocks at the moment of the answer, by kind; PHD_UNTIMED: none */
};

/* Reads the body of the answer to GET for handle 0. -EPROTO with *ret_why. */
int phd_mds_read(struct acq_cur body, struct phd_mds *ret, const char **ret_why);

#endif
