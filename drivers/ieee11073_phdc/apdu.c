#include "apdu.h"

#include <string.h>

#define PROTOCOL_20601 20601
#define ASSOCIATION_VERSION 0x80000000u
#define PROTOCOL_VERSION_1 0x80000000u
#define NOMENCLATURE_VERSION 0x80000000u
#define RULES_MDER 0x8000u
#define UNIT_TEST_ASSOCIATION 0x20000000u
#define SYSTEM_MANAGER 0x80000000u
#define SYSTEM_AGENT 0x00800000u

/* Ours: locally administered, "ASALEED". */
static const uint8_t manager_id[PHD_SYSTEM_ID] = {0x02, 0x41, 0x53, 0x41, 0x4c, 0x45, 0x45, 0x44};

const char *phd_choice_name(unsigned choice) {
  static const char *const names[] = {"AARQ", "AARE", "RLRQ", "RLRE", "ABRT", "PRST"};
  return choice >= PHD_AARQ && choice <= PHD_PRST && choice % 0x100 == 0 ? names[(choice - PHD_AARQ) / 0x100] : NULL;
}

/* ---- reassembly ---------------------------------------------------------------------------------------------- */

static size_t missing(const struct phd_assembler *a) {
  return a->n < PHD_HEAD ? PHD_HEAD - a->n : PHD_HEAD + (size_t)(a->bytes[2] << 8 | a->bytes[3]) - a->n;
}

size_t phd_wanted(const struct phd_assembler *a) {
  return a->whole ? PHD_HEAD : missing(a);
}

int phd_assemble(struct phd_assembler *a, struct acq_cur *in, struct phd_apdu *ret) {
  if (a->whole)
    a->n = 0;
  a->whole = false;
  while (acq_left(in)) {
    size_t n = missing(a) < acq_left(in) ? missing(a) : acq_left(in);
    memcpy(a->bytes + a->n, acq_bytes(in, n), n);
    a->n += n;
    if (a->n < PHD_HEAD)
      continue;
    struct acq_cur c = acq_cur(a->bytes, a->n);
    uint16_t choice = acq_u16be(&c);
    acq_u16be(&c);
    if (!phd_choice_name(choice))
      return -EPROTO;
    if (missing(a))
      continue;
    a->whole = true;
    *ret = (struct phd_apdu){choice, c};
    return 1;
  }
  return 0;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

static int refuse(const char **ret_why, const char *why) {
  *ret_why = why;
  return -EPROTO;
}

struct acq_cur phd_list(struct acq_cur *c, unsigned *ret_count) {
  *ret_count = acq_u16be(c);
  uint16_t length = acq_u16be(c);
  struct acq_cur items = acq_sub(c, length);
  if (*ret_count > length) /* no item of a list is empty */
    acq_refuse(&items, -EPROTO);
  acq_refuse(c, items.err);
  return items;
}

struct acq_cur phd_octets(struct acq_cur *c) {
  return acq_sub(c, acq_u16be(c));
}

/* The versions whose data look the same to us, the oldest first: we speak the first one. */
static uint32_t common_version(uint32_t offered) {
  for (uint32_t bit = 0x80000000u; bit >= 0x20000000u; bit >>= 1)
    if (offered & bit)
      return bit;
  return 0;
}

/* protocol version u32, encoding rules u16, nomenclature version u32, functional units u32, system type u32,
 * system id (length u16, 8 bytes), configuration id u16, data request flags u16, counts of who may initiate u8 u8,
 * option list (count u16, length u16) */
static int read_information(struct acq_cur c, struct phd_association *ret, enum phd_result *ret_result,
                            const char **ret_why) {
  uint32_t versions = acq_u32be(&c);
  uint16_t rules = acq_u16be(&c);
  uint32_t nomenclature = acq_u32be(&c), units = acq_u32be(&c), type = acq_u32be(&c);
  struct acq_cur id = phd_octets(&c);
  const uint8_t *system_id = acq_bytes(&id, PHD_SYSTEM_ID);
  ret->config_id = acq_u16be(&c);
  acq_u16be(&c);
  acq_u16be(&c);
  unsigned options;
  phd_list(&c, &options);
  if (acq_end(&id) < 0 || acq_end(&c) < 0)
    return refuse(ret_why, "the information of the association request is not in its form");
  memcpy(ret->system_id, system_id, PHD_SYSTEM_ID);
  if (common_version(versions))
    ret->protocol_version = common_version(versions);
  *ret_result = PHD_NO_COMMON_PARAMETER;
  if (!common_version(versions))
    *ret_why = "no version of the protocol that we know";
  else if (!(rules & RULES_MDER))
    *ret_why = "its encoding is not MDER";
  else if (!(nomenclature & NOMENCLATURE_VERSION))
    *ret_why = "another nomenclature";
  else if (type != SYSTEM_AGENT) {
    *ret_result = PHD_REJECTED_PERMANENT;
    *ret_why = "it is not an agent";
  } else if (units & UNIT_TEST_ASSOCIATION) {
    *ret_result = PHD_REJECTED_PERMANENT;
    *ret_why = "it asks for a test association";
  } else {
    *ret_result = PHD_ACCEPTED_UNKNOWN_CONFIG;
    *ret_why = "";
  }
  return 0;
}

int phd_aarq_read(struct acq_cur body, struct phd_association *ret, enum phd_result *ret_result, const char **ret_why) {
  uint32_t version = acq_u32be(&body);
  unsigned count;
  struct acq_cur list = phd_list(&body, &count), information = {0};
  bool found = false;
  *ret = (struct phd_association){.protocol_version = PROTOCOL_VERSION_1};
  for (unsigned i = 0; i < count; i++) {
    uint16_t protocol = acq_u16be(&list);
    struct acq_cur one = phd_octets(&list);
    if (protocol == PROTOCOL_20601 && !found) {
      found = true;
      information = one;
    }
  }
  if (acq_end(&list) < 0 || acq_end(&body) < 0)
    return refuse(ret_why, "the association request is not in its form");
  if (!(version & ASSOCIATION_VERSION)) {
    *ret_result = PHD_UNSUPPORTED_VERSION;
    *ret_why = "another version of the association";
    return 0;
  }
  if (!found) {
    *ret_result = PHD_NO_COMMON_PROTOCOL;
    *ret_why = "it does not speak 20601";
    return 0;
  }
  return read_information(information, ret, ret_result, ret_why);
}

int phd_data_read(struct acq_cur body, struct phd_data *ret, const char **ret_why) {
  struct acq_cur c = phd_octets(&body);
  ret->invoke_id = acq_u16be(&c);
  ret->choice = acq_u16be(&c);
  ret->body = phd_octets(&c);
  if (acq_end(&c) < 0 || acq_end(&body) < 0)
    return refuse(ret_why, "the lengths inside a PRST contradict each other");
  return 0;
}

int phd_event_read(struct acq_cur body, struct phd_event *ret, const char **ret_why) {
  ret->handle = acq_u16be(&body);
  ret->time = acq_u32be(&body);
  ret->type = acq_u16be(&body);
  ret->info = phd_octets(&body);
  return acq_end(&body) < 0 ? refuse(ret_why, "an event report is not in its form") : 0;
}

int phd_action_read(struct acq_cur body, struct phd_event *ret, const char **ret_why) {
  ret->handle = acq_u16be(&body);
  ret->time = 0;
  ret->type = acq_u16be(&body);
  ret->info = phd_octets(&body);
  return acq_end(&body) < 0 ? refuse(ret_why, "the answer to an action is not in its form") : 0;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static void put(struct phd_out *out, const void *bytes, size_t n) {
  if (n)
    memcpy(out->bytes + out->n, bytes, n);
  out->n += n;
}

static void put16(struct phd_out *out, unsigned value) {
  const uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
  put(out, bytes, sizeof bytes);
}

static void put32(struct phd_out *out, uint32_t value) {
  put16(out, value >> 16);
  put16(out, value & 0xffff);
}

/* Begins an APDU; its lengths are filled in by finish(). */
static void begin(struct phd_out *out, unsigned choice) {
  out->n = 0;
  put16(out, choice);
  put16(out, 0);
}

static void set16(struct phd_out *out, size_t at, size_t value) {
  out->bytes[at] = (uint8_t)(value >> 8);
  out->bytes[at + 1] = (uint8_t)value;
}

static void finish(struct phd_out *out) {
  set16(out, 2, out->n - PHD_HEAD);
}

#define DATA_HEAD 12 /* of the APDU, of the octet string, invoke id, choice, length */

static void begin_data(struct phd_out *out, uint16_t invoke_id, unsigned choice) {
  begin(out, PHD_PRST);
  put16(out, 0);
  put16(out, invoke_id);
  put16(out, choice);
  put16(out, 0);
}

static void finish_data(struct phd_out *out) {
  set16(out, 4, out->n - PHD_HEAD - 2);
  set16(out, 10, out->n - DATA_HEAD);
  finish(out);
}

void phd_write_aare(struct phd_out *out, enum phd_result result, uint32_t protocol_version) {
  begin(out, PHD_AARE);
  put16(out, result);
  put16(out, PROTOCOL_20601);
  put16(out, 38); /* the information, as read_information() has it; a manager leaves the last four empty */
  put32(out, protocol_version);
  put16(out, RULES_MDER);
  put32(out, NOMENCLATURE_VERSION);
  put32(out, 0);
  put32(out, SYSTEM_MANAGER);
  put16(out, sizeof manager_id);
  put(out, manager_id, sizeof manager_id);
  put16(out, 0);
  put16(out, 0);
  put16(out, 0);
  put32(out, 0);
  finish(out);
}

void phd_write_reason(struct phd_out *out, enum phd_choice choice, unsigned reason) {
  begin(out, choice);
  put16(out, reason);
  finish(out);
}

void phd_write_event_result(struct phd_out *out, uint16_t invoke_id, const struct phd_event *event, const void *info,
                            size_t n) {
  begin_data(out, invoke_id, PHD_EVENT_RESULT);
  put16(out, event->handle);
  put32(out, 0); /* our relative time: we have none, and the published answers say 0 */
  put16(out, event->type);
  put16(out, (unsigned)n);
  put(out, info, n);
  finish_data(out);
}

void phd_write_error(struct phd_out *out, uint16_t invoke_id, unsigned error) {
  begin_data(out, invoke_id, PHD_ERROR);
  put16(out, error);
  put16(out, 0);
  finish_data(out);
}

void phd_write_get(struct phd_out *out, uint16_t invoke_id, uint16_t handle) {
  begin_data(out, invoke_id, PHD_GET);
  put16(out, handle);
  put32(out, 0); /* an empty list of attributes: all of them */
  finish_data(out);
}

void phd_write_set(struct phd_out *out, uint16_t invoke_id, uint16_t handle, uint16_t attribute, uint16_t value) {
  begin_data(out, invoke_id, PHD_CONFIRMED_SET);
  put16(out, handle);
  put16(out, 1); /* one modification, of 8 bytes: */
  put16(out, 8);
  put16(out, 0); /* replace */
  put16(out, attribute);
  put16(out, 2);
  put16(out, value);
  finish_data(out);
}

void phd_write_action(struct phd_out *out, uint16_t invoke_id, uint16_t handle, uint16_t action, const void *info,
                      size_t n) {
  begin_data(out, invoke_id, PHD_CONFIRMED_ACTION);
  put16(out, handle);
  put16(out, action);
  put16(out, (unsigned)n);
  put(out, info, n);
  finish_data(out);
}
