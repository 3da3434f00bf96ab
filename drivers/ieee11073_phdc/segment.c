#include "segment.h"

#include <string.h>

enum { HEADER_ABSOLUTE = 0x8000, HEADER_RELATIVE = 0x4000, HEADER_HI_RES = 0x2000 };
#define HI_RES_BYTES 8

static int refuse(struct phd_dim *d, const char *why) {
  return phd_dim_refuse(d, -EPROTO, why);
}

/* ---- the list ------------------------------------------------------------------------------------------------ */

static int read_element(struct phd_dim *d, struct phd_segment *s, struct acq_cur *c) {
  if (s->n_elements == PHD_ELEMENTS_MAX)
    return refuse(d, "more objects in a segment than can be kept");
  struct phd_element *e = &s->elements[s->n_elements++];
  acq_u16be(c); /* class and type: the object has them too */
  acq_u32be(c);
  e->handle = acq_u16be(c);
  struct acq_cur head = *c;
  acq_u16be(&head);
  return phd_map_read(d, acq_sub(c, 4u + acq_u16be(&head)), &e->map);
}

static int read_map(struct phd_dim *d, struct phd_segment *s, struct acq_cur value) {
  unsigned count;
  s->header = acq_u16be(&value);
  struct acq_cur items = phd_list(&value, &count);
  if (s->header & ~(HEADER_ABSOLUTE | HEADER_RELATIVE | HEADER_HI_RES))
    return refuse(d, "a segment whose entries begin with a time that we do not know");
  s->n_elements = 0;
  for (unsigned i = 0; i < count; i++) {
    int r = read_element(d, s, &items);
    if (r < 0)
      return r;
  }
  return acq_end(&items) < 0 || acq_end(&value) < 0 ? refuse(d, "a segment's map is not in its form") : 0;
}

/* A time that was never set is none. */
static int read_time(struct phd_dim *d, struct acq_cur value, enum phd_stamp_kind kind, struct phd_stamp *ret) {
  return phd_stamp_read(value, kind, ret) == -EPROTO ? refuse(d, "a segment's time is not in its form") : 0;
}

static int read_attribute(struct phd_dim *d, struct phd_segment *s, uint16_t id, struct acq_cur value) {
  switch (id) {
  case MDC_ATTR_PM_SEG_MAP:
    return read_map(d, s, value);
  case MDC_ATTR_PM_SEG_PERSON_ID:
    s->person = acq_u16be(&value);
    return acq_end(&value) < 0 ? refuse(d, "a segment's person is not in its form") : 0;
  case MDC_ATTR_SEG_USAGE_CNT:
    s->usage = acq_u32be(&value);
    return acq_end(&value) < 0 ? refuse(d, "a segment's count is not in its form") : 0;
  case MDC_ATTR_TIME_START_SEG:
    return read_time(d, value, PHD_ABSOLUTE, &s->start);
  case MDC_ATTR_TIME_END_SEG:
    return read_time(d, value, PHD_ABSOLUTE, &s->end);
  case MDC_ATTR_TIME_START_SEG_BO:
    return read_time(d, value, PHD_BASE_OFFSET, &s->start);
  case MDC_ATTR_TIME_END_SEG_BO:
    return read_time(d, value, PHD_BASE_OFFSET, &s->end);
  default:
    return 0;
  }
}

static bool is_old(const struct phd_segment *s, const struct phd_clocks *clocks) {
  const struct phd_stamp *when = s->end.kind == PHD_UNTIMED ? &s->start : &s->end;
  int64_t us;
  return phd_clock_place(clocks, when, UINT32_MAX, 0, &us) && !phd_clock_is_fresh(clocks, us);
}

static int read_segment(struct phd_dim *d, uint16_t store, struct acq_cur *c, struct phd_segment *ret) {
  unsigned count;
  uint16_t id;
  *ret = (struct phd_segment){.store = store, .instance = acq_u16be(c), .person = PERSON_UNKNOWN};
  struct acq_cur attributes = phd_list(c, &count), value;
  while (phd_attribute(&attributes, &count, &id, &value)) {
    int r = read_attribute(d, ret, id, value);
    if (r < 0)
      return r;
  }
  return acq_end(&attributes) < 0 || c->err ? refuse(d, "a segment of the list is not in its form") : 0;
}

static struct phd_segment *find(struct phd_segments *s, uint16_t store, uint16_t instance) {
  for (unsigned i = 0; i < s->n; i++)
    if (s->at[i].store == store && s->at[i].instance == instance)
      return &s->at[i];
  return NULL;
}

/* One that was listed before, in an earlier answer. */
static void update(struct phd_segment *known, const struct phd_segment *now) {
  if (known->usage == now->usage && known->end.us == now->end.us)
    return;
  known->usage = now->usage;
  known->end = now->end;
  known->entries = 0;
  known->last = false;
}

int phd_segments_read(struct phd_dim *d, uint16_t store, struct acq_cur info, const struct phd_clocks *clocks,
                      struct phd_segments *ret) {
  unsigned count;
  struct acq_cur items = phd_list(&info, &count);
  struct phd_object *o = phd_dim_find(d, store);
  if (!o || o->class != MDC_MOC_PMSTORE)
    return refuse(d, "segments of an object that is no store");
  o->old_segments = 0;
  for (unsigned i = 0; i < count && !items.err; i++) {
    struct phd_segment one;
    const unsigned n_mapped = d->n_mapped;
    int r = read_segment(d, store, &items, &one);
    if (r < 0)
      return r;
    struct phd_segment *known = find(ret, store, one.instance);
    if (known) {
      d->n_mapped = n_mapped;
      update(known, &one);
    } else if (is_old(&one, clocks)) {
      d->n_mapped = n_mapped;
      o->old_segments++;
    } else if (ret->n == PHD_SEGMENTS_MAX) {
      return refuse(d, "more fresh segments than can be kept");
    } else {
      ret->at[ret->n++] = one;
    }
  }
  return acq_end(&items) < 0 || acq_end(&info) < 0 ? refuse(d, "the list of segments is not in its form") : 0;
}

/* ---- their data ---------------------------------------------------------------------------------------------- */

int phd_segment_data_read(struct phd_dim *d, struct phd_segments *s, uint16_t store, struct acq_cur info,
                          struct phd_segment_data *ret) {
  struct phd_segment_data data = {.description = info.at};
  data.segment = find(s, store, acq_u16be(&info));
  data.first = acq_u32be(&info);
  data.count = acq_u32be(&info);
  data.status = acq_u16be(&info);
  data.entries = phd_octets(&info);
  if (acq_end(&info) < 0)
    return refuse(d, "segment data are not in their form");
  if (!data.segment)
    return refuse(d, "data of a segment that was not asked for");
  if (data.segment->last || data.first != data.segment->entries)
    return refuse(d, "entries of a segment are missing or come twice");
  if (data.count > acq_left(&data.entries))
    return refuse(d, "segment data count more than they hold");
  data.segment->entries += data.count;
  data.segment->last = data.status & SEGMENT_LAST;
  *ret = data;
  return 0;
}

static int read_header(struct phd_dim *d, const struct phd_segment *s, struct acq_cur *c, struct phd_stamp *ret) {
  int r = 0;
  *ret = s->start;
  if (s->header & HEADER_ABSOLUTE)
    r = phd_stamp_read(acq_sub(c, PHD_STAMP_BYTES), PHD_ABSOLUTE, ret);
  if (s->header & HEADER_RELATIVE) {
    struct phd_stamp relative;
    int again = phd_stamp_read(acq_sub(c, 4), PHD_RELATIVE, &relative);
    if (!(s->header & HEADER_ABSOLUTE)) {
      *ret = relative;
      r = again;
    }
  }
  if (s->header & HEADER_HI_RES)
    acq_bytes(c, HI_RES_BYTES);
  if (c->err)
    return refuse(d, "an entry of a segment is shorter than its map");
  return r < 0 ? phd_dim_refuse(d, r, "an entry of a segment has a time that is no time") : 0;
}

static int read_entry(struct phd_dim *d, const struct phd_segment *s, struct acq_cur *c, phd_observe *observe,
                      void *context) {
  static const struct phd_report none = {0};
  struct phd_stamp stamp;
  int r = read_header(d, s, c, &stamp);
  for (unsigned i = 0; i < s->n_elements && r == 0; i++) {
    struct phd_observation ob;
    struct phd_object *o = phd_dim_find(d, s->elements[i].handle);
    if (!o)
      return refuse(d, "a segment of an object that the configuration does not have");
    r = phd_observation_mapped(d, o, &s->elements[i].map, c, &ob);
    if (r < 0)
      return r;
    ob.person = s->person;
    if (ob.stamp.kind == PHD_UNTIMED)
      ob.stamp = stamp;
    ob.has_time_unread |= ob.stamp.kind == PHD_UNTIMED && s->header & HEADER_HI_RES;
    r = observe(context, &none, &ob);
  }
  return r;
}

int phd_segment_entries(struct phd_dim *d, const struct phd_segment_data *data, phd_observe *observe, void *context) {
  struct acq_cur c = data->entries;
  if (!data->segment->n_elements)
    return refuse(d, "segment data without a map of the segment");
  for (uint32_t i = 0; i < data->count; i++) {
    int r = read_entry(d, data->segment, &c, observe, context);
    if (r < 0)
      return r;
  }
  return acq_end(&c) < 0 ? refuse(d, "segment data are longer than they count") : 0;
}
