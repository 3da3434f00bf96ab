/*
 * ptp_camera: a simulated camera that speaks PTP (ISO 15740) over USB: the retinograph on a camera body. What its files
 * share: the session and the answer in progress (ptp_camera.c), the operations (ptp_operations.c), the Canon EOS ones
 * (ptp_eos.c), a recorded camera (ptp_recording.c), descriptors and class requests (ptp_usb.c).
 *
 * Unlike other engines it reads files, those that "shoot file" and "recording=" name.
 */
#ifndef ASALEED_SIM_PTP_CAMERA_H
#define ASALEED_SIM_PTP_CAMERA_H

#include "engine_usb.h"
#include "fault.h"
#include "ptp_store.h"

#define PTP_PACKET 512u /* of the bulk endpoints */
#define PTP_PARAMETERS 5u
#define PTP_HEADER 12u
#define PTP_EVENTS 4096u /* waiting at most */
#define PTP_ANY 0xFFFFFFFFu

enum ptp_container { PTP_COMMAND = 1, PTP_DATA, PTP_RESPONSE, PTP_EVENT };

enum {
  PTP_OK = 0x2001,
  PTP_NOT_OPEN = 0x2003,
  PTP_BAD_TRANSACTION = 0x2004,
  PTP_NOT_SUPPORTED = 0x2005,
  PTP_PARAMETER_NOT_SUPPORTED = 0x2006,
  PTP_BAD_STORAGE = 0x2008,
  PTP_BAD_HANDLE = 0x2009,
  PTP_NO_PROPERTY = 0x200A,
  PTP_NO_THUMB = 0x2010,
  PTP_BUSY = 0x2019,
  PTP_BAD_PARENT = 0x201A,
  PTP_BAD_PARAMETER = 0x201D,
  PTP_ALREADY_OPEN = 0x201E,
  PTP_CANCELLED = 0x201F,
};

enum ptp_fault {
  PTP_FAULT_NONE,
  PTP_FAULT_BUSY,
  PTP_FAULT_SLOW,
  PTP_FAULT_EVENT_STORM,
  PTP_FAULT_LOST_EVENT,
  PTP_FAULT_VANISH,
  PTP_FAULT_SHORT_OBJECT,
  PTP_FAULT_LONG_OBJECT,
  PTP_FAULT_WRONG_LENGTH,
  PTP_FAULT_WRONG_DATA_LENGTH,
  PTP_FAULT_HUGE,
  PTP_FAULT_WRONG_TRANSACTION,
  PTP_FAULT_STALL,
  PTP_FAULT_NO_ZLP,
  PTP_FAULT_SPLIT_HEADER,
  PTP_FAULT_NO_RESPONSE,
  PTP_FAULT_HANG,
  PTP_FAULT_COUNT,
};

/* Little-endian bytes that grow; memory that cannot be had ends the program. */
struct ptp_out {
  uint8_t *bytes; /* owned */
  size_t n, room;
};

void ptp_put(struct ptp_out *out, const void *bytes, size_t n);
void ptp_put8(struct ptp_out *out, unsigned v);
void ptp_put16(struct ptp_out *out, unsigned v);
void ptp_put32(struct ptp_out *out, uint32_t v);
void ptp_put64(struct ptp_out *out, uint64_t v);
void ptp_put_string(struct ptp_out *out, const char *utf8); /* ISO 15740, 5.3.5 */
void ptp_put_date(struct ptp_out *out, int64_t local_us);   /* "20260504T103000" */
uint32_t ptp_get(const uint8_t *bytes, unsigned n);         /* n: 2, 4 */

struct ptp_command {
  uint16_t operation;
  uint32_t transaction, parameters[PTP_PARAMETERS];
  unsigned n; /* parameters given */
};

struct ptp_answer {
  enum { PTP_SILENT, PTP_SAYS_DATA, PTP_SAYS_EMPTY, PTP_SAYS_RESPONSE } stage;
  uint32_t transaction;
  struct ptp_out own;  /* data that was made for it */
  const uint8_t *data; /* of the data phase, own or an object's */
  bool has_data;
  bool is_object;     /* an object, or a part of one, goes over */
  size_t n, sent;     /* of data; sent counts the container's header too */
  uint32_t announced; /* the container's length field */
  size_t stall_at;    /* of sent; SIZE_MAX: never */
  uint8_t response[PTP_HEADER + 4 * PTP_PARAMETERS];
  size_t response_n;
};

enum ptp_eos { PTP_EOS_NO, PTP_EOS_CARD, PTP_EOS_CARD64, PTP_EOS_HOST };

struct ptp_event {
  uint16_t code;
  uint32_t parameters[3];
  unsigned n;
};

struct ptp_recording;

struct ptp_camera {
  /* options */
  uint64_t seed, auto_us;
  unsigned width, height, auto_shots;
  enum ptp_eos eos;
  unsigned interrupt; /* packets of so many bytes; 0: no such endpoint */
  uint16_t vendor, product;
  int64_t local_us; /* the camera's clock at 0 of the caller's */
  struct ptp_recording *recording;
  char serial[SIM_USB_TEXT_MAX];

  struct ptp_store store;
  struct faults faults;
  uint64_t now;

  uint32_t session, next_transaction; /* session 0: none */
  struct ptp_answer answer;
  struct ptp_command waiting[16]; /* the host may write them before it has read the answer */
  unsigned n_waiting;
  uint8_t packet[PTP_PACKET]; /* the first of a data phase */
  struct ptp_event *events;   /* PTP_EVENTS of them */
  unsigned n_events;
  struct ptp_event last_event;          /* code 0: none */
  uint8_t event_bytes[PTP_HEADER + 12]; /* the one that is being said */
  unsigned event_n, event_said;
  bool event_ends; /* with an empty packet still to come */
  struct ptp_out eos_events;
  bool eos_remote, eos_event_mode;

  uint64_t busy_until; /* the end of a cancelled transaction */
  bool stalled;        /* since the last command */
  bool hung;
  uint64_t hang_left; /* bytes to say before it hangs */
  uint64_t slow_since, slow_said;
  uint64_t starved_until; /* 0: not slowed down at the moment */
  uint64_t auto_at;       /* UINT64_MAX: no shot is due */

  struct {
    uint64_t sessions, commands, bad, objects, bytes, deletes, cancels, events, resets;
  } counts;
  uint16_t last_response;
};

extern const struct sim_engine sim_ptp;
extern const struct sim_usb sim_ptp_usb;

/* ptp_camera.c: what operations and class requests do. */
void ptp_respond(struct ptp_camera *c, uint16_t code, unsigned n, const uint32_t *parameters);
struct ptp_out *ptp_data(struct ptp_camera *c); /* there is a data phase; its content goes there */
void ptp_send_object(struct ptp_camera *c, const struct ptp_object *o, size_t from, size_t n);
void ptp_push_event(struct ptp_camera *c, const struct ptp_event *event);
void ptp_open_session(struct ptp_camera *c, uint32_t id);
void ptp_close_session(struct ptp_camera *c);
void ptp_cancel(struct ptp_camera *c, uint32_t transaction);
void ptp_reset(struct ptp_camera *c); /* all but the cards, the faults and the counts */
bool ptp_say(void *camera, uint64_t now_us, uint8_t endpoint, size_t max, struct sim_usb_piece *ret);
int64_t ptp_clock(const struct ptp_camera *c);

/* ptp_operations.c. False: no such operation. */
bool ptp_is_operation(const struct ptp_camera *c, uint16_t operation);
void ptp_operate(struct ptp_camera *c, const struct ptp_command *k);
/* 0: go on; else the response for an object that cannot be had. */
uint16_t ptp_object_of(struct ptp_camera *c, uint32_t handle, bool content, struct ptp_object **ret);
uint32_t ptp_size_said(const struct ptp_camera *c, const struct ptp_object *o);
void ptp_put_storage_ids(const struct ptp_camera *c, struct ptp_out *out);
void ptp_put_storage_info(const struct ptp_camera *c, uint32_t storage, struct ptp_out *out);
bool ptp_is_storage(const struct ptp_camera *c, uint32_t id);
/* With 0 for "all" in format; parent as in GetObjectHandles. */
bool ptp_is_listed(const struct ptp_object *o, uint32_t storage, uint32_t format, uint32_t parent);

/* ptp_eos.c */
extern const uint16_t ptp_eos_operations[]; /* 0 ends it */
void ptp_eos_operate(struct ptp_camera *c, const struct ptp_command *k);
void ptp_eos_object_added(struct ptp_camera *c, const struct ptp_object *o);
void ptp_eos_property_changed(struct ptp_camera *c, unsigned n);

/* ptp_recording.c. NULL with a reason. */
struct ptp_recording *ptp_recording_open(const char *path, char why[static 256]);
void ptp_recording_close(struct ptp_recording *recording);
void ptp_recording_answer(struct ptp_camera *c, const struct ptp_command *k);

#endif
