#include <asalee/bytes.h>

struct acq_cur acq_sub(struct acq_cur *c, size_t n) {
  const uint8_t *p = acq_bytes(c, n);
  if (!p)
    return (struct acq_cur){.err = c->err};
  return acq_cur(p, n);
}

struct dec acq_sfloat(struct acq_cur *c) {
  struct dec d = {0};
  uint16_t raw = acq_u16be(c);
  if (!c->err)
    acq_refuse(c, dec_from_sfloat(raw, &d));
  return d;
}

struct dec acq_float(struct acq_cur *c) {
  struct dec d = {0};
  uint32_t raw = acq_u32be(c);
  if (!c->err)
    acq_refuse(c, dec_from_float(raw, &d));
  return d;
}

int acq_end(struct acq_cur *c) {
  if (!c->err && c->at != c->end)
    c->err = -EPROTO;
  return c->err;
}
