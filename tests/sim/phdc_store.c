#include "phdc_store.h"

#include <string.h>

#define EVENT_ENTRIES 20u
enum { SELECT_ALL = 1, SELECT_LIST, SELECT_TIME };
enum { TRANSFER_OK, TRANSFER_UNKNOWN, TRANSFER_EMPTY = 3 };
enum { STATUS_FIRST = 0x8000, STATUS_LAST = 0x4000, STATUS_MANAGER_ABORT = 0x0008 };

void phdc_store_init(struct phdc_store *s) {
  memset(s, 0, sizeof *s);
}

void phdc_store_open(struct phdc_store *s) {
  if (s->n == STORE_SEGMENTS) {
    memmove(s->segments, s->segments + 1, (STORE_SEGMENTS - 1) * sizeof *s->segments);
    s->n--;
    s->transfer = NULL;
  }
  s->segments[s->n++] = (struct phdc_segment){.instance = ++s->instance};
}

void phdc_store_add(struct phdc_store *s, int64_t local_us, const uint8_t *values, size_t n) {
  static struct mder time;
  if (s->n == 0)
    phdc_store_open(s);
  struct phdc_segment *g = &s->segments[s->n - 1];
  if (g->n == STORE_ENTRIES || n + 8 > STORE_ENTRY_MAX)
    return;
  time.n = 0;
  mder_absolute_time(&time, local_us);
  memcpy(g->entries[g->n], time.bytes, 8);
  memcpy(g->entries[g->n] + 8, values, n);
  s->entry = n + 8;
  g->to_us = local_us;
  if (g->n++ == 0)
    g->from_us = local_us;
}

static bool is_selected(const struct phdc_segment *g, struct mder_in in) {
  unsigned choice = mder_get_u16(&in), length = mder_get_u16(&in);
  struct mder_in body = mder_get_sub(&in, length);
  int64_t from, to;
  switch (choice) {
  case SELECT_ALL:
    return true;
  case SELECT_LIST:
    mder_get_u32(&body); /* count and length */
    while (body.at < body.end && !body.bad)
      if (mder_get_u16(&body) == g->instance)
        return true;
    return false;
  case SELECT_TIME:
    return mder_get_absolute_time(&body, &from) && mder_get_absolute_time(&body, &to) && g->from_us <= to &&
           g->to_us >= from;
  default:
    return false;
  }
}

static void put_time(struct mder *m, unsigned id, int64_t local_us) {
  size_t at = mder_attribute_open(m, id);
  mder_absolute_time(m, local_us);
  mder_close(m, at);
}

static void put_label(struct mder *m, unsigned id, const char *text) {
  size_t at = mder_attribute_open(m, id);
  mder_text(m, text);
  mder_close(m, at);
}

unsigned phdc_store_put(struct mder *m, const struct phdc_store *s, uint16_t only) {
  static const uint16_t ids[] = {PHDC_ATTR_STORE_CAPAB, PHDC_ATTR_STORE_ALGORITHM, PHDC_ATTR_STORE_CAPACITY,
                                 PHDC_ATTR_STORE_USAGE, PHDC_ATTR_OP_STAT,         PHDC_ATTR_STORE_LABEL,
                                 PHDC_ATTR_NUM_SEG,     PHDC_ATTR_CLEAR_TIMEOUT,   PHDC_ATTR_TRANSFER_TIMEOUT};
  unsigned n = 0;
  uint32_t used = 0;
  for (unsigned i = 0; i < s->n; i++)
    used += s->segments[i].n;
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
    if (only && ids[i] != only)
      continue;
    n++;
    switch (ids[i]) {
    case PHDC_ATTR_STORE_CAPAB:
      mder_attribute_u16(m, ids[i], 0x8840); /* segments come and go, episodic entries, clearing removes */
      break;
    case PHDC_ATTR_STORE_ALGORITHM:
      mder_attribute_u16(m, ids[i], 0);
      break;
    case PHDC_ATTR_STORE_CAPACITY:
      mder_attribute_u32(m, ids[i], STORE_SEGMENTS * STORE_ENTRIES);
      break;
    case PHDC_ATTR_STORE_USAGE:
      mder_attribute_u32(m, ids[i], used);
      break;
    case PHDC_ATTR_OP_STAT:
      mder_attribute_u16(m, ids[i], 1);
      break;
    case PHDC_ATTR_STORE_LABEL:
      put_label(m, ids[i], "Blow memory ");
      break;
    case PHDC_ATTR_NUM_SEG:
      mder_attribute_u16(m, ids[i], s->n);
      break;
    default: /* the time-outs */
      mder_attribute_u32(m, ids[i], 3 * 8000);
      break;
    }
  }
  return n;
}

static void put_segment_map(struct mder *m, const struct phdc_device *d) {
  size_t at = mder_attribute_open(m, PHDC_ATTR_SEG_MAP);
  mder_u16(m, 0x8000); /* each entry begins with an absolute time */
  size_t elements = mder_list_open(m);
  for (unsigned i = 0; i < d->n_objects; i++) {
    const struct phdc_object *o = &d->objects[i];
    mder_u16(m, o->class);
    mder_u16(m, o->partition);
    mder_u16(m, o->code);
    mder_u16(m, o->handle);
    size_t list = mder_list_open(m);
    mder_u16(m, phdc_value_attribute(o));
    mder_u16(m, (unsigned)phdc_value_bytes(o));
    mder_list_close(m, list, 1);
  }
  mder_list_close(m, elements, d->n_objects);
  mder_close(m, at);
}

static void put_segment(struct mder *m, const struct phdc_device *d, const struct phdc_segment *g) {
  mder_u16(m, g->instance);
  size_t list = mder_list_open(m);
  mder_attribute_u16(m, PHDC_ATTR_INSTANCE, g->instance);
  put_segment_map(m, d);
  mder_attribute_u16(m, PHDC_ATTR_OP_STAT, 0); /* nothing is recorded while associated */
  put_label(m, PHDC_ATTR_SEG_LABEL, "Blows ");
  put_time(m, PHDC_ATTR_SEG_START, g->from_us);
  put_time(m, PHDC_ATTR_SEG_END, g->to_us);
  mder_attribute_u32(m, PHDC_ATTR_SEG_USAGE, g->n);
  mder_list_close(m, list, 7);
}

void phdc_store_put_info(struct mder *m, const struct phdc_store *s, const struct phdc_device *d,
                         struct mder_in selection) {
  size_t at = mder_open(m), list = mder_list_open(m);
  unsigned n = 0;
  for (unsigned i = 0; i < s->n; i++) {
    if (!is_selected(&s->segments[i], selection))
      continue;
    put_segment(m, d, &s->segments[i]);
    n++;
  }
  mder_list_close(m, list, n);
  mder_close(m, at);
}

void phdc_store_clear(struct phdc_store *s, struct mder_in selection) {
  unsigned kept = 0;
  for (unsigned i = 0; i < s->n; i++)
    if (!is_selected(&s->segments[i], selection))
      memmove(&s->segments[kept++], &s->segments[i], sizeof *s->segments);
  s->n = kept;
  s->transfer = NULL;
}

void phdc_store_put_transfer(struct mder *m, struct phdc_store *s, uint16_t instance) {
  unsigned result = TRANSFER_UNKNOWN;
  s->transfer = NULL;
  for (unsigned i = 0; i < s->n; i++)
    if (s->segments[i].instance == instance) {
      s->transfer = s->segments[i].n ? &s->segments[i] : NULL;
      result = s->transfer ? TRANSFER_OK : TRANSFER_EMPTY;
    }
  s->next = s->sent = 0;
  size_t at = mder_open(m);
  mder_u16(m, instance);
  mder_u16(m, result);
  mder_close(m, at);
}

void phdc_store_put_data(struct mder *m, struct phdc_store *s) {
  const struct phdc_segment *g = s->transfer;
  s->sent = g->n - s->next < EVENT_ENTRIES ? g->n - s->next : EVENT_ENTRIES;
  size_t at = mder_open(m);
  mder_u16(m, g->instance);
  mder_u32(m, s->next);
  mder_u32(m, s->sent);
  mder_u16(m, (s->next == 0 ? STATUS_FIRST : 0u) | (s->next + s->sent == g->n ? STATUS_LAST : 0u));
  size_t entries = mder_open(m);
  for (unsigned i = s->next; i < s->next + s->sent; i++)
    mder_bytes(m, g->entries[i], s->entry);
  mder_close(m, entries);
  mder_close(m, at);
}

void phdc_store_confirm(struct phdc_store *s, struct mder_in info) {
  mder_get_sub(&info, 10); /* segment, index and count again */
  unsigned status = mder_get_u16(&info);
  s->next += s->sent;
  if (!s->transfer || info.bad || status & STATUS_MANAGER_ABORT || s->next >= s->transfer->n)
    s->transfer = NULL;
}
