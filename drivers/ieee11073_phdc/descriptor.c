#include "descriptor.h"

enum {
  CONFIGURATION = 0x02,
  INTERFACE = 0x04,
  ENDPOINT = 0x05,
  PHDC_FUNCTION = 0x20,
  PHDC_11073 = 0x30,
};

#define ENDPOINT_BULK 2

static void read_endpoint(struct acq_cur c, struct phdc_function *f) {
  uint8_t address = acq_u8(&c), attributes = acq_u8(&c);
  if (c.err || (attributes & 3) != ENDPOINT_BULK)
    return;
  if (!(address & 0x80))
    f->out = f->out ? f->out : address;
  else if (!f->in)
    f->in = address;
  else
    f->others |= (uint16_t)(1u << (address & 15));
}

static int read_specs(struct acq_cur c, struct phdc_function *f) {
  acq_u8(&c);
  unsigned count = acq_u8(&c);
  for (unsigned i = 0; i < count && !c.err; i++) {
    uint16_t spec = acq_u16le(&c);
    if (!c.err && f->n_specs < PHDC_SPECS_MAX)
      f->specs[f->n_specs++] = spec;
  }
  return c.err;
}

/* One descriptor of our interface, or the interface itself; *inside says whether we are there. */
static int read_one(uint8_t type, struct acq_cur c, bool *inside, bool *found, struct phdc_function *f) {
  if (type == INTERFACE) {
    uint8_t number = acq_u8(&c), alternate = acq_u8(&c);
    acq_u8(&c);
    uint8_t class = acq_u8(&c);
    *inside = !*found && class == PHDC_CLASS && alternate == 0;
    *found |= *inside;
    if (*inside)
      f->interface = number;
  } else if (*inside && type == ENDPOINT) {
    read_endpoint(c, f);
  } else if (*inside && type == PHDC_FUNCTION) {
    f->data_code = acq_u8(&c);
    f->preamble = acq_u8(&c) & 1;
  } else if (*inside && type == PHDC_11073) {
    return read_specs(c, f);
  }
  return c.err;
}

int phdc_function_read(struct acq_cur configuration, struct phdc_function *ret, const char **ret_why) {
  struct phdc_function f = {0};
  bool inside = false, found = false;
  *ret_why = "the descriptors of the device do not fit into each other";
  while (acq_left(&configuration)) {
    uint8_t length = acq_u8(&configuration), type = acq_u8(&configuration);
    if (length < 2)
      return -EPROTO;
    struct acq_cur one = acq_sub(&configuration, length - 2u);
    if (configuration.err || read_one(type, one, &inside, &found, &f) < 0)
      return -EPROTO;
  }
  if (configuration.err)
    return -EPROTO;
  *ret_why = !found             ? "the device has no interface of personal healthcare"
             : f.data_code == 0 ? "the interface does not say what its data are"
             : f.data_code != 2 ? "the interface speaks a language of its own, not ISO/IEEE 11073-20601"
                                : "";
  if (**ret_why)
    return -ENXIO;
  *ret = f;
  return 0;
}
