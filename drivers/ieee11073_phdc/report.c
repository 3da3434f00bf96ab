#include "report.h"

/* ---- attributes of an observation ---------------------------------------------------------------------------- */

static int refuse(struct phd_dim *d, const char *why) {
  return phd_dim_refuse(d, -EPROTO, why);
}

static void add_number(struct phd_observation *ob, uint32_t mdc, uint16_t unit, int err, struct dec value) {
  ob->numbers[ob->n_numbers++] = (struct phd_number){mdc, unit, err, value};
}

static int read_number(struct acq_cur *c, bool basic, struct dec *ret) {
  *ret = (struct dec){0};
  return basic ? dec_from_sfloat(acq_u16be(c), ret) : dec_from_float(acq_u32be(c), ret);
}

static int read_single(struct phd_observation *ob, struct acq_cur value, bool basic) {
  struct dec number;
  int err = read_number(&value, basic, &number);
  add_number(ob, phd_object_mdc(ob->object), ob->object->unit, err, number);
  return acq_end(&value);
}

static uint32_t in_partition(const struct phd_object *o, uint16_t code) {
  return (uint32_t)(o->metric_partition ? o->metric_partition : o->partition) << 16 | code;
}

static int read_compound(struct phd_observation *ob, struct acq_cur value, bool basic) {
  unsigned count;
  struct acq_cur items = phd_list(&value, &count);
  if (count != ob->object->n_physio)
    return -EPROTO;
  for (unsigned i = 0; i < count; i++) {
    struct dec number;
    int err = read_number(&items, basic, &number);
    add_number(ob, in_partition(ob->object, ob->object->physio[i]), ob->object->unit, err, number);
  }
  return acq_end(&items) < 0 ? items.err : acq_end(&value);
}

/* A value that says itself what it is: metric u16, status u16, unit u16, FLOAT. */
static void read_full(struct phd_observation *ob, struct acq_cur *c) {
  uint16_t metric = acq_u16be(c), status = acq_u16be(c), unit = acq_u16be(c);
  struct dec number;
  int err = read_number(c, false, &number);
  ob->status |= status;
  add_number(ob, in_partition(ob->object, metric), unit, err, number);
}

static int read_full_compound(struct phd_observation *ob, struct acq_cur value) {
  unsigned count;
  struct acq_cur items = phd_list(&value, &count);
  if (count > PHD_PHYSIO_MAX)
    return -EPROTO;
  for (unsigned i = 0; i < count; i++)
    read_full(ob, &items);
  return acq_end(&items) < 0 ? items.err : acq_end(&value);
}

static bool is_value(uint16_t id) {
  switch (id) {
  case MDC_ATTR_NU_VAL_OBS_BASIC:
  case MDC_ATTR_NU_VAL_OBS_SIMP:
  case MDC_ATTR_NU_VAL_OBS:
  case MDC_ATTR_NU_CMPD_VAL_OBS_BASIC:
  case MDC_ATTR_NU_CMPD_VAL_OBS_SIMP:
  case MDC_ATTR_NU_CMPD_VAL_OBS:
    return true;
  default:
    return false;
  }
}

static int read_value(struct phd_observation *ob, uint16_t id, struct acq_cur value) {
  switch (id) {
  case MDC_ATTR_NU_VAL_OBS_BASIC:
    return read_single(ob, value, true);
  case MDC_ATTR_NU_VAL_OBS_SIMP:
    return read_single(ob, value, false);
  case MDC_ATTR_NU_CMPD_VAL_OBS_BASIC:
    return read_compound(ob, value, true);
  case MDC_ATTR_NU_CMPD_VAL_OBS_SIMP:
    return read_compound(ob, value, false);
  case MDC_ATTR_NU_CMPD_VAL_OBS:
    return read_full_compound(ob, value);
  default:
    read_full(ob, &value);
    return acq_end(&value);
  }
}

static int read_stamp(struct phd_dim *d, struct phd_observation *ob, struct acq_cur value, enum phd_stamp_kind kind) {
  if (ob->stamp.kind != PHD_UNTIMED)
    return refuse(d, "an observation with two time stamps");
  int r = phd_stamp_read(value, kind, &ob->stamp);
  if (r == -ERANGE)
    return phd_dim_refuse(d, r, "a time stamp that is no time");
  return r < 0 ? refuse(d, "a time stamp is not in its form") : 0;
}

/* Attributes that say nothing of the value are skipped. */
static int read_attribute(struct phd_dim *d, struct phd_observation *ob, uint16_t id, struct acq_cur value) {
  if (is_value(id)) {
    if (ob->n_numbers)
      return refuse(d, "an observation with two values");
    return read_value(ob, id, value) < 0 ? refuse(d, "a value is not in its form") : 0;
  }
  switch (id) {
  case MDC_ATTR_TIME_STAMP_ABS:
    return read_stamp(d, ob, value, PHD_ABSOLUTE);
  case MDC_ATTR_TIME_STAMP_BO:
    return read_stamp(d, ob, value, PHD_BASE_OFFSET);
  case MDC_ATTR_TIME_STAMP_REL:
    return read_stamp(d, ob, value, PHD_RELATIVE);
  case MDC_ATTR_TIME_STAMP_REL_HI_RES:
    ob->has_time_unread = true;
    return 0;
  case MDC_ATTR_MSMT_STAT:
    ob->status |= acq_u16be(&value);
    break;
  case MDC_ATTR_ENUM_OBS_VAL_BASIC_BIT_STR:
    ob->bits = (uint32_t)acq_u16be(&value) << 16;
    ob->has_bits = true;
    break;
  case MDC_ATTR_ENUM_OBS_VAL_SIMP_BIT_STR:
    ob->bits = acq_u32be(&value);
    ob->has_bits = true;
    break;
  case MDC_ATTR_SIMP_SA_OBS_VAL:
    ob->samples = phd_octets(&value);
    ob->has_samples = true;
    break;
  default:
    return 0;
  }
  return acq_end(&value) < 0 ? refuse(d, "an observed attribute is not in its form") : 0;
}

/* ---- observations -------------------------------------------------------------------------------------------- */

/* Twice over the attributes: what describes the object counts for the value beside it, whichever comes first. */
int phd_observation_mapped(struct phd_dim *d, struct phd_object *o, const struct phd_map *map, struct acq_cur *values,
                           struct phd_observation *ret) {
  const struct phd_map m = *map; /* an attribute in it may be another map */
  struct acq_cur all = acq_sub(values, m.bytes);
  *ret = (struct phd_observation){.object = o, .person = PERSON_UNKNOWN};
  if (values->err)
    return refuse(d, "an observation is shorter than its value map");
  for (unsigned pass = 0; pass < 2; pass++) {
    struct acq_cur c = all;
    for (unsigned i = 0; i < m.n; i++) {
      const struct phd_mapped at = d->mapped[m.first + i];
      struct acq_cur value = acq_sub(&c, at.length);
      int r = pass ? read_attribute(d, ret, at.id, value) : phd_object_attribute(d, o, at.id, value);
      if (r < 0)
        return r;
    }
  }
  return 0;
}

struct walk {
  struct phd_dim *d;
  struct phd_report report;
  uint16_t person;
  phd_observe *observe;
  void *context;
};

static int observed(struct walk *w, struct phd_observation *ob) {
  ob->person = w->person;
  return w->observe(w->context, &w->report, ob);
}

static struct phd_object *find(struct walk *w, uint16_t handle) {
  struct phd_object *o = phd_dim_find(w->d, handle);
  if (!o)
    refuse(w->d, "a report of an object that the configuration does not have");
  return o;
}

static int read_fixed(struct walk *w, struct acq_cur *c) {
  uint16_t handle = acq_u16be(c);
  struct acq_cur values = phd_octets(c);
  struct phd_observation ob;
  if (c->err)
    return refuse(w->d, "a report is not in its form");
  struct phd_object *o = find(w, handle);
  if (!o)
    return -EPROTO;
  if (!o->map.n)
    return refuse(w->d, "a fixed report of an object without a value map");
  int r = phd_observation_mapped(w->d, o, &o->map, &values, &ob);
  if (r == 0 && acq_end(&values) < 0)
    r = refuse(w->d, "an observation is longer than its value map");
  return r < 0 ? r : observed(w, &ob);
}

static int read_variable(struct walk *w, struct acq_cur *c) {
  unsigned count;
  uint16_t handle = acq_u16be(c), id;
  const struct acq_cur all = phd_list(c, &count);
  if (c->err)
    return refuse(w->d, "a report is not in its form");
  struct phd_object *o = find(w, handle);
  if (!o)
    return -EPROTO;
  struct phd_observation ob = {.object = o};
  for (unsigned pass = 0; pass < 2; pass++) {
    struct acq_cur attributes = all, value;
    for (unsigned left = count; phd_attribute(&attributes, &left, &id, &value);) {
      int r = pass ? read_attribute(w->d, &ob, id, value) : phd_object_attribute(w->d, o, id, value);
      if (r < 0)
        return r;
    }
    if (acq_end(&attributes) < 0)
      return refuse(w->d, "an observation is not in its form");
  }
  return observed(w, &ob);
}

/* One octet string: what the scanner's map lists, one object after the other. */
static int read_group(struct walk *w, const struct phd_object *scanner, struct acq_cur values) {
  for (unsigned i = 0; i < scanner->n_scan; i++) {
    const struct phd_scanned *s = &w->d->scanned[scanner->scan_first + i];
    struct phd_observation ob;
    struct phd_object *o = find(w, s->handle);
    if (!o)
      return -EPROTO;
    int r = phd_observation_mapped(w->d, o, &s->map, &values, &ob);
    if (r == 0)
      r = observed(w, &ob);
    if (r < 0)
      return r;
  }
  return acq_end(&values) < 0 ? refuse(w->d, "an observation is longer than the scanner's map") : 0;
}

/* ---- reports ------------------------------------------------------------------------------------------------- */

enum form { FIXED, VARIABLE, GROUPED };

struct shape {
  uint16_t type;
  enum form form;
  bool persons;
};

static const struct shape shapes[] = {
    {MDC_NOTI_SCAN_REPORT_FIXED, FIXED, false},           {MDC_NOTI_SCAN_REPORT_VAR, VARIABLE, false},
    {MDC_NOTI_SCAN_REPORT_MP_FIXED, FIXED, true},         {MDC_NOTI_SCAN_REPORT_MP_VAR, VARIABLE, true},
    {MDC_NOTI_UNBUF_SCAN_REPORT_VAR, VARIABLE, false},    {MDC_NOTI_UNBUF_SCAN_REPORT_FIXED, FIXED, false},
    {MDC_NOTI_UNBUF_SCAN_REPORT_GROUPED, GROUPED, false}, {MDC_NOTI_UNBUF_SCAN_REPORT_MP_VAR, VARIABLE, true},
    {MDC_NOTI_UNBUF_SCAN_REPORT_MP_FIXED, FIXED, true},   {MDC_NOTI_UNBUF_SCAN_REPORT_MP_GROUPED, GROUPED, true},
    {MDC_NOTI_BUF_SCAN_REPORT_VAR, VARIABLE, false},      {MDC_NOTI_BUF_SCAN_REPORT_FIXED, FIXED, false},
    {MDC_NOTI_BUF_SCAN_REPORT_GROUPED, GROUPED, false},   {MDC_NOTI_BUF_SCAN_REPORT_MP_VAR, VARIABLE, true},
    {MDC_NOTI_BUF_SCAN_REPORT_MP_FIXED, FIXED, true},     {MDC_NOTI_BUF_SCAN_REPORT_MP_GROUPED, GROUPED, true},
};

static const struct shape *shape_of(uint16_t type) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    if (shapes[i].type == type)
      return &shapes[i];
  return NULL;
}

bool phd_is_report(uint16_t type) {
  return shape_of(type);
}

static int read_observation(struct walk *w, const struct phd_object *scanner, enum form form, struct acq_cur *c) {
  if (form == FIXED)
    return read_fixed(w, c);
  if (form == VARIABLE)
    return read_variable(w, c);
  struct acq_cur values = phd_octets(c);
  return c->err ? refuse(w->d, "a report is not in its form") : read_group(w, scanner, values);
}

static int read_list(struct walk *w, const struct phd_object *scanner, enum form form, struct acq_cur *c) {
  unsigned count;
  struct acq_cur items = phd_list(c, &count);
  if (c->err)
    return refuse(w->d, "a report counts more than it holds");
  for (unsigned i = 0; i < count; i++) {
    int r = read_observation(w, scanner, form, &items);
    if (r < 0)
      return r;
  }
  return acq_end(&items) < 0 ? refuse(w->d, "a report is not in its form") : 0;
}

/* Of several persons: each with a list of observations; grouped, each with one observation. */
static int read_persons(struct walk *w, const struct phd_object *scanner, enum form form, struct acq_cur *c) {
  unsigned count;
  struct acq_cur items = phd_list(c, &count);
  if (c->err)
    return refuse(w->d, "a report counts more than it holds");
  for (unsigned i = 0; i < count; i++) {
    w->person = acq_u16be(&items);
    int r = form == GROUPED ? read_observation(w, scanner, form, &items) : read_list(w, scanner, form, &items);
    if (r < 0)
      return r;
  }
  return acq_end(&items) < 0 ? refuse(w->d, "a report is not in its form") : 0;
}

int phd_report_read(struct phd_dim *d, uint16_t handle, uint16_t type, struct acq_cur info, phd_observe *observe,
                    void *context) {
  struct walk w = {.d = d, .person = PERSON_UNKNOWN, .observe = observe, .context = context};
  const struct shape *shape = shape_of(type);
  const struct phd_object *scanner = handle ? phd_dim_find(d, handle) : NULL;
  if (!shape)
    return refuse(d, "an event that is no report");
  if (handle && (!scanner || !phd_is_scanner(scanner)))
    return refuse(d, "a report by an object that is no scanner");
  if (shape->form == GROUPED && (!scanner || !scanner->n_scan))
    return refuse(d, "a grouped report without a scanner's map");
  w.report.request = acq_u16be(&info);
  w.report.number = acq_u16be(&info);
  int r = shape->persons ? read_persons(&w, scanner, shape->form, &info) : read_list(&w, scanner, shape->form, &info);
  return r == 0 && acq_end(&info) < 0 ? refuse(d, "a report is not in its form") : r;
}
