#include "dim.h"

#include <asalee/record.h>
#include <string.h>

int phd_dim_refuse(struct phd_dim *d, int err, const char *why) {
  d->why = why;
  return err;
}

static int refuse(struct phd_dim *d, const char *why) {
  return phd_dim_refuse(d, -EPROTO, why);
}

bool phd_attribute(struct acq_cur *list, unsigned *left, uint16_t *ret_id, struct acq_cur *ret_value) {
  if (!*left)
    return false;
  (*left)--;
  *ret_id = acq_u16be(list);
  *ret_value = phd_octets(list);
  return !list->err;
}

struct phd_object *phd_dim_find(struct phd_dim *d, uint16_t handle) {
  for (unsigned i = 0; i < d->n_objects; i++)
    if (d->objects[i].handle == handle)
      return &d->objects[i];
  return NULL;
}

uint32_t phd_object_mdc(const struct phd_object *o) {
  uint32_t partition = o->metric && o->metric_partition ? o->metric_partition : o->partition;
  return partition << 16 | (o->metric ? o->metric : o->type);
}

/* ---- value maps ---------------------------------------------------------------------------------------------- */

/* The length that an attribute always has, 0 when it varies or we do not read it. */
static unsigned length_of(uint16_t id) {
  switch (id) {
  case MDC_ATTR_NU_VAL_OBS_BASIC:
  case MDC_ATTR_ENUM_OBS_VAL_BASIC_BIT_STR:
  case MDC_ATTR_MSMT_STAT:
  case MDC_ATTR_UNIT_CODE:
    return 2;
  case MDC_ATTR_NU_VAL_OBS_SIMP:
  case MDC_ATTR_ENUM_OBS_VAL_SIMP_BIT_STR:
  case MDC_ATTR_TIME_STAMP_REL:
    return 4;
  case MDC_ATTR_TIME_STAMP_ABS:
  case MDC_ATTR_TIME_STAMP_BO:
  case MDC_ATTR_TIME_STAMP_REL_HI_RES:
    return 8;
  case MDC_ATTR_NU_VAL_OBS:
    return 10;
  default:
    return 0;
  }
}

int phd_map_read(struct phd_dim *d, struct acq_cur value, struct phd_map *ret) {
  unsigned count;
  struct acq_cur items = phd_list(&value, &count);
  struct phd_map map = {.first = (uint16_t)d->n_mapped};
  if (acq_end(&value) < 0)
    return refuse(d, "a value map is not in its form");
  for (; map.n < count && !items.err; map.n++) {
    struct phd_mapped m = {.id = acq_u16be(&items)};
    m.length = acq_u16be(&items);
    for (unsigned i = 0; i < map.n; i++)
      if (d->mapped[map.first + i].id == m.id)
        return refuse(d, "a value map names an attribute twice");
    if (length_of(m.id) && length_of(m.id) != m.length)
      return refuse(d, "a value map gives an attribute a length that it cannot have");
    if (d->n_mapped == PHD_MAPPED_MAX)
      return refuse(d, "more value maps than can be kept");
    d->mapped[d->n_mapped++] = m;
    map.bytes += m.length;
  }
  if (acq_end(&items) < 0)
    return refuse(d, "a value map is not in its form");
  *ret = map;
  return 0;
}

/* A scanner's: count, length of: handle u16, value map. */
static int read_scan_map(struct phd_dim *d, struct phd_object *o, struct acq_cur value) {
  unsigned count;
  struct acq_cur items = phd_list(&value, &count);
  o->scan_first = (uint16_t)d->n_scanned;
  o->n_scan = 0;
  if (acq_end(&value) < 0)
    return refuse(d, "a scanner's map is not in its form");
  for (; o->n_scan < count && !items.err; o->n_scan++) {
    struct phd_scanned s = {.handle = acq_u16be(&items)};
    for (unsigned i = 0; i < o->n_scan; i++)
      if (d->scanned[o->scan_first + i].handle == s.handle)
        return refuse(d, "a scanner's map names an object twice");
    struct acq_cur head = items;
    acq_u16be(&head);
    int r = phd_map_read(d, acq_sub(&items, 4u + acq_u16be(&head)), &s.map);
    if (r < 0)
      return r;
    if (d->n_scanned == PHD_SCANNED_MAX)
      return refuse(d, "more objects in scanners than can be kept");
    d->scanned[d->n_scanned++] = s;
  }
  return acq_end(&items) < 0 ? refuse(d, "a scanner's map is not in its form") : 0;
}

/* ---- what describes an object -------------------------------------------------------------------------------- */

static int read_physio_list(struct phd_dim *d, struct phd_object *o, struct acq_cur value) {
  unsigned count;
  struct acq_cur items = phd_list(&value, &count);
  if (count > PHD_PHYSIO_MAX)
    return refuse(d, "more values in a compound than can be kept");
  for (unsigned i = 0; i < count; i++)
    o->physio[i] = acq_u16be(&items);
  o->n_physio = (uint8_t)count;
  return acq_end(&items) < 0 || acq_end(&value) < 0 ? refuse(d, "a list of metrics is not in its form") : 0;
}

static int read_sa_spec(struct phd_dim *d, struct phd_array *a, struct acq_cur value) {
  a->samples = acq_u16be(&value);
  a->bits = acq_u8(&value);
  a->significant = acq_u8(&value);
  a->flags = acq_u16be(&value);
  a->known = true;
  if (acq_end(&value) < 0)
    return refuse(d, "a sample array is not described in its form");
  if (a->bits != 8 && a->bits != 16 && a->bits != 32)
    return refuse(d, "samples of neither 8, 16 nor 32 bits");
  if (a->significant != 255 && (!a->significant || a->significant > a->bits))
    return refuse(d, "samples have more significant bits than bits");
  return a->samples ? 0 : refuse(d, "sample arrays without a sample");
}

static int read_scale(struct phd_dim *d, struct phd_array *a, struct acq_cur value, uint8_t bits) {
  uint32_t lower = acq_u32be(&value), upper = acq_u32be(&value), scaled[2] = {0};
  for (unsigned i = 0; i < 2; i++)
    scaled[i] = bits == 8 ? acq_u8(&value) : bits == 16 ? acq_u16be(&value) : acq_u32be(&value);
  if (acq_end(&value) < 0)
    return refuse(d, "a scale is not in its form");
  if (dec_from_float(lower, &a->lower) < 0 || dec_from_float(upper, &a->upper) < 0)
    return refuse(d, "a scale has an end that is no number");
  a->scaled_lower = scaled[0];
  a->scaled_upper = scaled[1];
  a->scale_bits = bits;
  a->scaled = true;
  return 0;
}

int phd_object_attribute(struct phd_dim *d, struct phd_object *o, uint16_t id, struct acq_cur value) {
  int r = 0;
  switch (id) {
  case MDC_ATTR_ID_TYPE:
    o->partition = acq_u16be(&value);
    o->type = acq_u16be(&value);
    r = acq_end(&value);
    break;
  case MDC_ATTR_ID_PHYSIO:
    o->metric = acq_u16be(&value);
    r = acq_end(&value);
    break;
  case MDC_ATTR_METRIC_ID_PART:
    o->metric_partition = acq_u16be(&value);
    r = acq_end(&value);
    break;
  case MDC_ATTR_UNIT_CODE:
    o->unit = acq_u16be(&value);
    r = acq_end(&value);
    break;
  case MDC_ATTR_TIME_PD_SAMP:
    o->array.period = acq_u32be(&value);
    r = acq_end(&value);
    break;
  case MDC_ATTR_ATTRIBUTE_VAL_MAP:
    r = phd_map_read(d, value, &o->map);
    return r < 0 ? r : 1;
  case MDC_ATTR_SCAN_HANDLE_ATTR_VAL_MAP:
    r = read_scan_map(d, o, value);
    return r < 0 ? r : 1;
  case MDC_ATTR_ID_PHYSIO_LIST:
    r = read_physio_list(d, o, value);
    return r < 0 ? r : 1;
  case MDC_ATTR_SA_SPECN:
    r = read_sa_spec(d, &o->array, value);
    return r < 0 ? r : 1;
  case MDC_ATTR_SCALE_SPECN_I8:
  case MDC_ATTR_SCALE_SPECN_I16:
  case MDC_ATTR_SCALE_SPECN_I32:
    r = read_scale(d, &o->array, value, id == MDC_ATTR_SCALE_SPECN_I8 ? 8 : id == MDC_ATTR_SCALE_SPECN_I16 ? 16 : 32);
    return r < 0 ? r : 1;
  default:
    return 0;
  }
  return r < 0 ? refuse(d, "an attribute of an object is not in its form") : 1;
}

/* ---- the configuration --------------------------------------------------------------------------------------- */

static int read_object(struct phd_dim *d, struct acq_cur *c) {
  struct phd_object *o = &d->objects[d->n_objects];
  unsigned count;
  *o = (struct phd_object){.class = acq_u16be(c)};
  o->handle = acq_u16be(c);
  struct acq_cur attributes = phd_list(c, &count), value;
  uint16_t id;
  if (c->err)
    return refuse(d, "an object of the configuration is not in its form");
  if (!o->handle || phd_dim_find(d, o->handle))
    return refuse(d, "two objects of the configuration have one handle");
  while (phd_attribute(&attributes, &count, &id, &value)) {
    int r = phd_object_attribute(d, o, id, value);
    if (r < 0)
      return r;
  }
  if (acq_end(&attributes) < 0)
    return refuse(d, "the attributes of an object are not in their form");
  d->n_objects++;
  return 0;
}

int phd_dim_read(struct phd_dim *d, struct acq_cur info) {
  unsigned count;
  *d = (struct phd_dim){.config_id = acq_u16be(&info), .why = ""};
  struct acq_cur objects = phd_list(&info, &count);
  int r = 0;
  if (count > PHD_OBJECTS_MAX)
    r = refuse(d, "the configuration has more objects than can be kept");
  else if (acq_end(&info) < 0)
    r = refuse(d, "the configuration is not in its form");
  for (unsigned i = 0; i < count && r == 0; i++)
    r = read_object(d, &objects);
  if (r == 0 && acq_end(&objects) < 0)
    r = refuse(d, "the configuration is not in its form");
  d->configured = r == 0;
  if (r < 0)
    d->n_objects = 0;
  return r;
}

/* ---- modalities ---------------------------------------------------------------------------------------------- */

/* Volumes and flows are a spirometer's, electrical potentials an electrocardiograph's; what else the nomenclature
 * lists is a measurement. */
static enum acq_modality modality_of(uint32_t mdc) {
  const struct nomenclature *row = nomenclature_find_mdc(mdc);
  if (!row)
    return 0;
  const char *base = unit_find(row->unit)->base;
  if (!strcmp(base, "L") || !strcmp(base, "L/s"))
    return ACQ_SPIROMETRY;
  return strcmp(base, "uV") ? ACQ_MEASUREMENT : ACQ_ECG;
}

unsigned phd_modalities(const struct phd_dim *d, const struct phd_mds *mds) {
  unsigned set = 0;
  for (unsigned i = 0; i < mds->n_specs; i++)
    if (specialisation_modality(mds->specs[i]))
      set |= ACQ_MODALITY(specialisation_modality(mds->specs[i]));
  for (unsigned i = 0, from_specs = set; i < d->n_objects && !from_specs; i++) {
    const struct phd_object *o = &d->objects[i];
    enum acq_modality m = modality_of(phd_object_mdc(o));
    for (unsigned k = 0; k < o->n_physio && !m; k++)
      m = modality_of((uint32_t)o->partition << 16 | o->physio[k]);
    set |= m ? ACQ_MODALITY(m) : 0;
  }
  return set;
}
