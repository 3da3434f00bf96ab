#include "flat.h"

#include <string.h>

int flat_head(struct acq_cur *c, struct flat_entry *ret) {
  struct flat_entry e = {.tag = acq_u32le(c)};
  e.kind = (char)acq_u8(c);
  e.n = acq_u32le(c);
  if (c->err)
    return c->err;
  const bool has_value = e.kind == 't' || e.kind == 'w' || e.kind == 'p';
  if ((!has_value && e.kind != '(' && e.kind != ')' && e.kind != '.') || (!has_value && e.n) ||
      (e.kind == 't' && e.n > FLAT_TEXT_MAX) || (e.kind == 'w' && (e.n > FLAT_ATTRIBUTES_MAX || e.n % 2)) ||
      (e.kind == 'p' && (!e.n || e.n > FLAT_PICTURE_MAX)) || (e.kind == '.' && e.tag))
    return -EPROTO;
  *ret = e;
  return 0;
}

/* An entry with its value. False at the end of the cursor, and where it breaks. */
static bool next(struct acq_cur *c, struct flat_entry *ret) {
  if (!acq_left(c))
    return false;
  int r = flat_head(c, ret);
  if (r < 0) {
    acq_refuse(c, r);
    return false;
  }
  ret->bytes = ret->kind == 'p' ? NULL : acq_bytes(c, ret->n);
  return !c->err;
}

int flat_open(struct acq_cur stream, struct acq_cur *ret, struct acq_cur *ret_rest) {
  const uint8_t *magic = acq_bytes(&stream, FLAT_MAGIC_BYTES);
  uint32_t open[FLAT_DEPTH_MAX];
  unsigned depth = 0;
  struct flat_entry e;
  if (!magic || memcmp(magic, FLAT_MAGIC, FLAT_MAGIC_BYTES))
    return -ENXIO;
  struct acq_cur at = stream, rest = stream;
  while (next(&at, &e) && e.kind != 'p' && e.kind != '.') {
    if (e.kind == '(') {
      if (depth == FLAT_DEPTH_MAX)
        return -EPROTO;
      open[depth++] = e.tag;
    } else if (e.kind == ')' && (!depth || open[--depth] != e.tag)) {
      return -EPROTO;
    }
    rest = at;
  }
  if (at.err || depth || rest.at - stream.at > FLAT_ATTRIBUTES_MAX)
    return -EPROTO;
  *ret = (struct acq_cur){.at = stream.at, .end = rest.at};
  *ret_rest = rest;
  return 0;
}

/* Behind the end of the item that was just begun. */
static void skip_item(struct acq_cur *c) {
  struct flat_entry e;
  for (unsigned depth = 1; depth && next(c, &e);)
    depth += e.kind == '(' ? 1u : e.kind == ')' ? -1u : 0u;
}

bool flat_find(struct acq_cur item, uint32_t tag, char kind, struct flat_entry *ret) {
  struct flat_entry e;
  while (next(&item, &e)) {
    if (e.tag == tag && e.kind == kind) {
      *ret = e;
      return true;
    }
    if (e.kind == '(')
      skip_item(&item);
  }
  return false;
}

bool flat_item(struct acq_cur *c, uint32_t tag, struct acq_cur *ret) {
  struct flat_entry e;
  while (next(c, &e)) {
    if (e.kind != '(')
      continue;
    const uint8_t *first = c->at;
    skip_item(c);
    if (e.tag == tag) {
      *ret = (struct acq_cur){.at = first, .end = c->at - FLAT_HEAD};
      return true;
    }
  }
  return false;
}
