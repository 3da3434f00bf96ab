#include "dim.h"

#include <stdio.h>
#include <string.h>

/* What a production specification may name. */
enum { SERIAL_NUMBER = 1, SOFTWARE_REVISION = 4, FIRMWARE_REVISION = 5 };

/* An octet string as a text: what pads its end goes, what is not printable ASCII becomes a '?'. */
static void put_text(char text[static ACQ_TEXT_MAX], struct acq_cur value) {
  size_t n = acq_left(&value) < ACQ_TEXT_MAX - 1 ? acq_left(&value) : ACQ_TEXT_MAX - 1;
  const uint8_t *bytes = acq_bytes(&value, n);
  if (!bytes)
    return;
  while (n && (bytes[n - 1] == 0 || bytes[n - 1] == ' '))
    n--;
  for (size_t i = 0; i < n; i++)
    text[i] = bytes[i] >= 0x20 && bytes[i] <= 0x7e ? (char)bytes[i] : '?';
  text[n] = 0;
}

static int read_model(struct acq_cur value, struct acq_identity *id) {
  struct acq_cur make = phd_octets(&value), model = phd_octets(&value);
  if (acq_end(&value) < 0)
    return -EPROTO;
  put_text(id->make, make);
  put_text(id->model, model);
  return 0;
}

/* count, length of: what u16, component u16, octet string. The first serial number is the instrument's; that of
 * another component is taken for an exchangeable sensor's. Of firmware and software the firmware counts. */
static int read_production(struct acq_cur value, struct acq_identity *id) {
  unsigned count;
  struct acq_cur items = phd_list(&value, &count);
  char software[ACQ_TEXT_MAX] = "";
  uint16_t of = 0;
  for (unsigned i = 0; i < count; i++) {
    uint16_t what = acq_u16be(&items), component = acq_u16be(&items);
    struct acq_cur text = phd_octets(&items);
    if (what == SERIAL_NUMBER && !id->serial[0]) {
      put_text(id->serial, text);
      of = component;
    } else if (what == SERIAL_NUMBER && component != of && !id->sensor[0])
      put_text(id->sensor, text);
    else if (what == FIRMWARE_REVISION && !id->firmware[0])
      put_text(id->firmware, text);
    else if (what == SOFTWARE_REVISION && !software[0])
      put_text(software, text);
  }
  if (!id->firmware[0])
    memcpy(id->firmware, software, sizeof software);
  return acq_end(&items) < 0 ? items.err : acq_end(&value);
}

static int read_specs(struct acq_cur value, struct phd_mds *mds) {
  unsigned count;
  struct acq_cur items = phd_list(&value, &count);
  if (count > PHD_SPECS_MAX)
    return -EPROTO;
  for (mds->n_specs = 0; mds->n_specs < count; mds->n_specs++) {
    mds->specs[mds->n_specs] = acq_u16be(&items);
    acq_u16be(&items);
  }
  return acq_end(&items) < 0 ? items.err : acq_end(&value);
}

/* A clock that was never set shows no time that can be: that is not an error of the agent, there is just none. */
static int read_clock(struct acq_cur value, struct phd_mds *mds, enum phd_stamp_kind kind) {
  int r = phd_stamp_read(value, kind, &mds->clocks[kind]);
  return r == -ERANGE ? 0 : r;
}

static int read_system_id(struct acq_cur value, char text[static ACQ_TEXT_MAX]) {
  struct acq_cur id = phd_octets(&value);
  size_t n = acq_left(&id);
  if (acq_end(&value) < 0 || n > 16)
    return -EPROTO;
  for (size_t i = 0; i < n; i++)
    snprintf(text + 2 * i, 3, "%02X", acq_u8(&id));
  return 0;
}

static int read_attribute(uint16_t id, struct acq_cur value, struct phd_mds *mds, char system_id[static ACQ_TEXT_MAX]) {
  switch (id) {
  case MDC_ATTR_ID_MODEL:
    return read_model(value, &mds->identity);
  case MDC_ATTR_ID_PROD_SPECN:
    return read_production(value, &mds->identity);
  case MDC_ATTR_SYS_TYPE_SPEC_LIST:
    return read_specs(value, mds);
  case MDC_ATTR_SYS_ID:
    return read_system_id(value, system_id);
  case MDC_ATTR_TIME_ABS:
    return read_clock(value, mds, PHD_ABSOLUTE);
  case MDC_ATTR_TIME_BO:
    return read_clock(value, mds, PHD_BASE_OFFSET);
  case MDC_ATTR_TIME_REL:
    return read_clock(value, mds, PHD_RELATIVE);
  default:
    return 0;
  }
}

int phd_mds_read(struct acq_cur body, struct phd_mds *ret, const char **ret_why) {
  struct phd_mds mds = {.known = true};
  char system_id[ACQ_TEXT_MAX] = "";
  unsigned count;
  uint16_t handle = acq_u16be(&body), id;
  struct acq_cur attributes = phd_list(&body, &count), value;
  *ret_why = "the answer to the question for the device's attributes is not in its form";
  if (acq_end(&body) < 0 || handle)
    return -EPROTO;
  while (phd_attribute(&attributes, &count, &id, &value))
    if (read_attribute(id, value, &mds, system_id) < 0)
      return -EPROTO;
  if (acq_end(&attributes) < 0)
    return -EPROTO;
  if (!mds.identity.serial[0])
    memcpy(mds.identity.serial, system_id, sizeof system_id);
  *ret = mds;
  *ret_why = "";
  return 0;
}
