/* The frame of ISO/IEEE 11073-20601: APDUs, and the data APDU inside PRST. MDER, big endian. Pure, incremental,
 * without a clock; acquire, decode and the tests all come through here.
 *
 *   APDU  choice u16, length u16, so many bytes
 *   AARQ  association version u32; count u16, length u16 of: protocol u16, length u16, its information
 *   PRST  length u16 of: invoke id u16, choice u16, length u16, body
 *
 * Source: README.md beside this file. The information of an association in apdu.c, where it is read. */
#ifndef IEEE11073_PHDC_APDU_H
#define IEEE11073_PHDC_APDU_H

#include <asalee/bytes.h>

#define PHD_HEAD 4
#define PHD_APDU_MAX (PHD_HEAD + 65535)
#define PHD_OUT_MAX 256 /* no APDU of ours is longer */
#define PHD_SYSTEM_ID 8

enum phd_choice {
  PHD_AARQ = 0xe200,
  PHD_AARE = 0xe300,
  PHD_RLRQ = 0xe400,
  PHD_RLRE = 0xe500,
  PHD_ABRT = 0xe600,
  PHD_PRST = 0xe700,
};
const char *phd_choice_name(unsigned choice); /* "AARQ", ...; NULL when it is none */

enum phd_data_choice {
  PHD_EVENT = 0x0100,
  PHD_CONFIRMED_EVENT = 0x0101,
  PHD_GET = 0x0103,
  PHD_CONFIRMED_SET = 0x0105,
  PHD_CONFIRMED_ACTION = 0x0107,
  PHD_EVENT_RESULT = 0x0201,
  PHD_GET_RESULT = 0x0203,
  PHD_SET_RESULT = 0x0205,
  PHD_ACTION_RESULT = 0x0207,
  PHD_ERROR = 0x0300,
  PHD_REJECT = 0x0400,
};

enum phd_abort { PHD_ABORT_UNDEFINED, PHD_ABORT_OVERFLOW, PHD_ABORT_RESPONSE_TIMEOUT, PHD_ABORT_CONFIG_TIMEOUT };

struct phd_apdu {
  uint16_t choice;
  struct acq_cur body;
};

/* ---- reassembly: an APDU may come in any pieces, and several at once ---------------------------------------- */

struct phd_assembler {
  size_t n;
  bool whole; /* was given out */
  uint8_t bytes[PHD_APDU_MAX];
};

/* How many more bytes can be taken without touching the APDU after: those of its first four, then those of its length.
 * Never 0. */
size_t phd_wanted(const struct phd_assembler *a);

/* Takes bytes until an APDU is whole: 1 and *ret, which borrows the assembler's bytes until the next call; 0 when the
 * bytes are used up; -EPROTO when they begin no APDU, after which nothing can be read any more. */
int phd_assemble(struct phd_assembler *a, struct acq_cur *in, struct phd_apdu *ret);

/* ---- reading: 0, or -EPROTO with an English reason ----------------------------------------------------------- */

enum phd_result {
  PHD_ACCEPTED,
  PHD_REJECTED_PERMANENT,
  PHD_REJECTED_TRANSIENT,
  PHD_ACCEPTED_UNKNOWN_CONFIG,
  PHD_NO_COMMON_PROTOCOL,
  PHD_NO_COMMON_PARAMETER,
  PHD_REJECTED_UNKNOWN,
  PHD_UNAUTHORISED,
  PHD_UNSUPPORTED_VERSION,
};

struct phd_association {
  uint32_t protocol_version; /* the one bit to answer with */
  uint16_t config_id;
  uint8_t system_id[PHD_SYSTEM_ID];
};

/* What is asked for, and the answer it deserves: PHD_ACCEPTED_UNKNOWN_CONFIG, so that the agent sends its
 * configuration whatever it announced; or a rejection, with its reason. -EPROTO when it is no AARQ. */
int phd_aarq_read(struct acq_cur body, struct phd_association *ret, enum phd_result *ret_result, const char **ret_why);

struct phd_data {
  uint16_t invoke_id, choice;
  struct acq_cur body;
};
int phd_data_read(struct acq_cur body, struct phd_data *ret, const char **ret_why);

/* The body of an event report, of its result, and of an action's result: these have one form. */
struct phd_event {
  uint16_t handle;
  uint32_t time; /* of an event: the agent's, 1/8 ms, 0xffffffff unknown */
  uint16_t type; /* event or action */
  struct acq_cur info;
};
int phd_event_read(struct acq_cur body, struct phd_event *ret, const char **ret_why);
int phd_action_read(struct acq_cur body, struct phd_event *ret, const char **ret_why);

/* A list: count u16, length u16, which must be what is left or, in the middle of something, fit. The items. */
struct acq_cur phd_list(struct acq_cur *c, unsigned *ret_count);
/* An octet string: length u16, bytes. */
struct acq_cur phd_octets(struct acq_cur *c);

/* ---- writing: into `out`, from its beginning; what the caller adds is at most PHD_INFO_MAX bytes
 * -------------------------------------------------------------- */

#define PHD_INFO_MAX 64

struct phd_out {
  size_t n;
  uint8_t bytes[PHD_OUT_MAX];
};

void phd_write_aare(struct phd_out *out, enum phd_result result, uint32_t protocol_version);
/* RLRQ, RLRE or ABRT. */
void phd_write_reason(struct phd_out *out, enum phd_choice choice, unsigned reason);
/* The answer to a confirmed event report, with n more bytes in it. */
void phd_write_event_result(struct phd_out *out, uint16_t invoke_id, const struct phd_event *event, const void *info,
                            size_t n);
void phd_write_error(struct phd_out *out, uint16_t invoke_id, unsigned error);
void phd_write_get(struct phd_out *out, uint16_t invoke_id, uint16_t handle); /* all attributes */
/* Replaces the 16-bit attribute of an object. */
void phd_write_set(struct phd_out *out, uint16_t invoke_id, uint16_t handle, uint16_t attribute, uint16_t value);
void phd_write_action(struct phd_out *out, uint16_t invoke_id, uint16_t handle, uint16_t action, const void *info,
                      size_t n);

#endif
