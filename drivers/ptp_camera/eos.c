#include "eos.h"

#define HEAD 8u

static enum eos_kind kind_of(uint32_t type) {
  switch (type) {
  case 0xc181:
  case 0xc1a7:
    return EOS_ADDED;
  case 0xc186:
    return EOS_REQUESTED;
  case 0xc187:
    return EOS_CHANGED;
  case 0xc192:
  case 0xc193:
    return EOS_STORAGE;
  default:
    return EOS_OTHER;
  }
}

bool eos_next(struct acq_cur *c, struct eos_event *ret) {
  if (!acq_left(c))
    return false;
  uint32_t length = acq_u32le(c), type = acq_u32le(c);
  if (length < HEAD)
    acq_refuse(c, -EPROTO);
  if (c->err || (length == HEAD && !type))
    return false;
  struct acq_cur data = acq_sub(c, length - HEAD);
  struct eos_event event = {.kind = kind_of(type)};
  if (event.kind == EOS_ADDED || event.kind == EOS_REQUESTED || event.kind == EOS_CHANGED)
    event.handle = acq_u32le(&data);
  if (data.err)
    acq_refuse(c, data.err);
  if (c->err)
    return false;
  *ret = event;
  return true;
}
