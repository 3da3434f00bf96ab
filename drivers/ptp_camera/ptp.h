/* ISO 15740 (PTP) over USB, the still-image class 06/01/01: what stands on the wire. Everything is little endian.
 *
 *   container  length u32 (of all of it), type u16 (1 command, 2 data, 3 response, 4 event), code u16, transaction u32,
 *              then 0..5 parameters u32, or the data
 *   string     count u8 (its NUL included; 0: no string), so many UTF-16 units
 *   array      count u32, so many elements
 *
 * A transaction is a command, at most one data container, a response. Ours are numbered from 0 (OpenSession), 1, 2 and
 * on. Everything here is pure. Sources: README.md beside this file. */
#ifndef PTP_CAMERA_PTP_H
#define PTP_CAMERA_PTP_H

#include <asalee/driver.h>

#define PTP_HEAD 12u /* bytes of a container before its parameters or data */
#define PTP_PARAMETERS_MAX 5u
#define PTP_SHORT_MAX (PTP_HEAD + 4 * PTP_PARAMETERS_MAX) /* a command, a response, an event */
#define PTP_NAME_MAX (255u * 3 + 1)                       /* the longest string as UTF-8 */

enum ptp_type { PTP_COMMAND = 1, PTP_DATA, PTP_RESPONSE, PTP_EVENT };

enum ptp_operation {
  PTP_GET_DEVICE_INFO = 0x1001,
  PTP_OPEN_SESSION = 0x1002,
  PTP_CLOSE_SESSION = 0x1003,
  PTP_GET_STORAGE_IDS = 0x1004,
  PTP_GET_OBJECT_HANDLES = 0x1007,
  PTP_GET_OBJECT_INFO = 0x1008,
  PTP_GET_OBJECT = 0x1009,
  PTP_GET_THUMB = 0x100a,
  PTP_GET_DEVICE_PROP_VALUE = 0x1015,
  PTP_GET_PARTIAL_OBJECT = 0x101b,
  EOS_SET_REMOTE_MODE = 0x9114,
  EOS_SET_EVENT_MODE = 0x9115,
  EOS_GET_EVENT = 0x9116,
  EOS_TRANSFER_COMPLETE = 0x9117,
  EOS_KEEP_DEVICE_ON = 0x911d,
};
const char *ptp_operation_name(uint16_t code); /* English; "an operation" for what the driver never asks */

enum ptp_response {
  PTP_OK = 0x2001,
  PTP_OPERATION_NOT_SUPPORTED = 0x2005,
  PTP_INVALID_STORAGE = 0x2008,
  PTP_INVALID_HANDLE = 0x2009,
  PTP_STORE_NOT_AVAILABLE = 0x2013,
  PTP_DEVICE_BUSY = 0x2019,
  PTP_ALREADY_OPEN = 0x201e,
  PTP_TRANSACTION_CANCELLED = 0x201f,
};
const char *ptp_response_name(uint16_t code); /* English; "a response of its own" for a code that the text has not */

enum ptp_event_code { PTP_OBJECT_ADDED = 0x4002, PTP_STORE_ADDED = 0x4004, PTP_STORE_REMOVED = 0x4005 };

#define PTP_PROPERTY_DATE_TIME 0x5011

/* ---- containers ---------------------------------------------------------------------------------------------- */

struct ptp_container {
  uint32_t length;
  uint16_t type, code;
  uint32_t transaction;
  unsigned n; /* parameters that are there */
  uint32_t parameters[PTP_PARAMETERS_MAX];
};

/* The first PTP_HEAD bytes; n is 0. -EPROTO for a length below PTP_HEAD or a type that is none. */
int ptp_head_read(struct acq_cur *c, struct ptp_container *ret);
/* The parameters that a command's, response's or event's length says. -EPROTO for a length that cannot be. */
int ptp_parameters_read(struct acq_cur *c, struct ptp_container *container);
/* Returns how many bytes the command has. */
size_t ptp_command_write(uint8_t out[static PTP_SHORT_MAX], uint16_t code, uint32_t transaction,
                         const uint32_t *parameters, unsigned n);

/* What may follow a command: its data, unless they came already, or its response. NULL when that is what the head
 * says, else why not, in English. An OK without the data that the operation has is none. */
const char *ptp_head_fault(const struct ptp_container *head, uint16_t operation, uint32_t transaction, bool had_data);
bool ptp_has_data(uint16_t operation); /* of those in enum ptp_operation: the device sends data before its OK */

/* ---- data sets: 0, or -EPROTO with *ret_why in English; nothing may be left over ------------------------------- */

/* What the driver asks for, as bits of ptp_device_info.can. */
enum {
  PTP_CAN_BROWSE = 1 << 0, /* GetStorageIDs, GetObjectHandles, GetObjectInfo and GetObject */
  PTP_CAN_THUMB = 1 << 1,
  PTP_CAN_PARTIAL = 1 << 2,
  PTP_CAN_DATE_TIME = 1 << 3, /* GetDevicePropValue, and it has the property */
  PTP_CAN_EOS = 1 << 4,       /* Canon's extension, with remote mode, event mode and GetEvent */
  PTP_CAN_EOS_COMPLETE = 1 << 5,
  PTP_CAN_EOS_KEEP_ON = 1 << 6,
};

struct ptp_device_info {
  unsigned can;
  struct acq_identity identity; /* sensor is "" */
};
int ptp_device_info_read(struct acq_cur c, struct ptp_device_info *ret, const char **ret_why);

#define PTP_SIZE_HUGE UINT32_MAX /* 4 GiB or more */

struct ptp_object_info {
  uint32_t storage, size, thumb_size;
  uint16_t format;
  char name[PTP_NAME_MAX], taken[PTP_NAME_MAX]; /* clean UTF-8; taken: see ptp_date_read() */
};
int ptp_object_info_read(struct acq_cur c, struct ptp_object_info *ret, const char **ret_why);

/* JPEG, PNG or TIFF, by its format or, where that says little, by its name. */
bool ptp_is_picture(const struct ptp_object_info *info);

/* The next string as clean UTF-8 (a blank for a control, '?' for half a surrogate pair), cut to what fits. A string
 * that does not end with its NUL is refused (-EPROTO, sticky). */
void ptp_string(struct acq_cur *c, char *ret, size_t size);

/* The count of an array whose elements have `width` bytes and are all there; else 0 and -EPROTO, sticky. */
uint32_t ptp_count(struct acq_cur *c, unsigned width);

/* "YYYYMMDDThhmmss", perhaps ".s", perhaps "Z" or "+hhmm", as microseconds of the local time offset_minutes from UTC.
 * -ERANGE for what is no date. */
int ptp_date_read(const char *text, int offset_minutes, int64_t *ret_us);

#endif
