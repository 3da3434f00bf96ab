#include "ptp.h"

#include <string.h>
#include <strings.h>

/* ---- names --------------------------------------------------------------------------------------------------- */

struct name {
  uint16_t code;
  const char *name;
};

static const char *find_name(const struct name *names, size_t n, uint16_t code, const char *unknown) {
  for (size_t i = 0; i < n; i++)
    if (names[i].code == code)
      return names[i].name;
  return unknown;
}

const char *ptp_operation_name(uint16_t code) {
  static const struct name names[] = {
      {PTP_GET_DEVICE_INFO, "GetDeviceInfo"},
      {PTP_OPEN_SESSION, "OpenSession"},
      {PTP_CLOSE_SESSION, "CloseSession"},
      {PTP_GET_STORAGE_IDS, "GetStorageIDs"},
      {PTP_GET_OBJECT_HANDLES, "GetObjectHandles"},
      {PTP_GET_OBJECT_INFO, "GetObjectInfo"},
      {PTP_GET_OBJECT, "GetObject"},
      {PTP_GET_THUMB, "GetThumb"},
      {PTP_GET_DEVICE_PROP_VALUE, "GetDevicePropValue"},
      {PTP_GET_PARTIAL_OBJECT, "GetPartialObject"},
      {EOS_SET_REMOTE_MODE, "EOS SetRemoteMode"},
      {EOS_SET_EVENT_MODE, "EOS SetEventMode"},
      {EOS_GET_EVENT, "EOS GetEvent"},
      {EOS_TRANSFER_COMPLETE, "EOS TransferComplete"},
      {EOS_KEEP_DEVICE_ON, "EOS KeepDeviceOn"},
  };
  return find_name(names, sizeof names / sizeof *names, code, "an operation");
}

const char *ptp_response_name(uint16_t code) {
  static const struct name names[] = {
      {PTP_OK, "OK"},
      {0x2002, "general error"},
      {0x2003, "session not open"},
      {0x2004, "invalid transaction id"},
      {PTP_OPERATION_NOT_SUPPORTED, "operation not supported"},
      {0x2006, "parameter not supported"},
      {0x2007, "incomplete transfer"},
      {PTP_INVALID_STORAGE, "invalid storage id"},
      {PTP_INVALID_HANDLE, "invalid object handle"},
      {0x200a, "device property not supported"},
      {0x200b, "invalid object format"},
      {0x200c, "store full"},
      {0x200d, "object write-protected"},
      {0x200e, "store read-only"},
      {0x200f, "access denied"},
      {0x2010, "no thumbnail present"},
      {0x2011, "self-test failed"},
      {0x2012, "partial deletion"},
      {PTP_STORE_NOT_AVAILABLE, "store not available"},
      {0x2014, "specification by format unsupported"},
      {0x2015, "no valid object info"},
      {0x2016, "invalid code format"},
      {0x2017, "unknown vendor code"},
      {0x2018, "capture already terminated"},
      {PTP_DEVICE_BUSY, "device busy"},
      {0x201a, "invalid parent object"},
      {0x201b, "invalid device property format"},
      {0x201c, "invalid device property value"},
      {0x201d, "invalid parameter"},
      {PTP_ALREADY_OPEN, "session already open"},
      {0x201f, "transaction cancelled"},
      {0x2020, "specification of destination unsupported"},
  };
  return find_name(names, sizeof names / sizeof *names, code, "a response of its own");
}

/* ---- containers ---------------------------------------------------------------------------------------------- */

int ptp_head_read(struct acq_cur *c, struct ptp_container *ret) {
  struct ptp_container head = {.length = acq_u32le(c)};
  head.type = acq_u16le(c);
  head.code = acq_u16le(c);
  head.transaction = acq_u32le(c);
  if (c->err || head.length < PTP_HEAD || head.type < PTP_COMMAND || head.type > PTP_EVENT)
    return -EPROTO;
  *ret = head;
  return 0;
}

int ptp_parameters_read(struct acq_cur *c, struct ptp_container *container) {
  uint32_t n = (container->length - PTP_HEAD) / 4;
  if (container->length > PTP_SHORT_MAX || container->length % 4)
    return -EPROTO;
  for (uint32_t i = 0; i < n; i++)
    container->parameters[i] = acq_u32le(c);
  container->n = n;
  return c->err;
}

static void put(uint8_t *out, uint32_t value, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    out[i] = (uint8_t)(value >> 8 * i);
}

size_t ptp_command_write(uint8_t out[static PTP_SHORT_MAX], uint16_t code, uint32_t transaction,
                         const uint32_t *parameters, unsigned n) {
  const size_t length = PTP_HEAD + 4 * n;
  put(out, (uint32_t)length, 4);
  put(out + 4, PTP_COMMAND, 2);
  put(out + 6, code, 2);
  put(out + 8, transaction, 4);
  for (unsigned i = 0; i < n; i++)
    put(out + PTP_HEAD + 4 * i, parameters[i], 4);
  return length;
}

bool ptp_has_data(uint16_t operation) {
  switch (operation) {
  case PTP_GET_DEVICE_INFO:
  case PTP_GET_STORAGE_IDS:
  case PTP_GET_OBJECT_HANDLES:
  case PTP_GET_OBJECT_INFO:
  case PTP_GET_OBJECT:
  case PTP_GET_THUMB:
  case PTP_GET_DEVICE_PROP_VALUE:
  case PTP_GET_PARTIAL_OBJECT:
  case EOS_GET_EVENT:
    return true;
  default:
    return false;
  }
}

const char *ptp_head_fault(const struct ptp_container *head, uint16_t operation, uint32_t transaction, bool had_data) {
  if (head->transaction != transaction)
    return "a container of another transaction";
  if (head->type == PTP_DATA && had_data)
    return "data twice";
  if (head->type == PTP_DATA)
    return head->code == operation ? NULL : "data of another operation";
  if (head->type != PTP_RESPONSE)
    return "a container of a type that cannot be here";
  if (head->length > PTP_SHORT_MAX || head->length % 4)
    return "a response of a length that cannot be";
  return head->code == PTP_OK && !had_data && ptp_has_data(operation) ? "an OK without data" : NULL;
}

/* ---- strings and arrays -------------------------------------------------------------------------------------- */

static size_t utf8(uint32_t point, char out[static 4]) {
  if (point < 0x80) {
    out[0] = (char)point;
    return 1;
  }
  size_t n = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  for (size_t i = n - 1; i; i--, point >>= 6)
    out[i] = (char)(0x80 | (point & 0x3f));
  out[0] = (char)((0xf00 >> n) | point);
  return n;
}

static bool is_high(uint32_t unit) {
  return unit >= 0xd800 && unit < 0xdc00;
}

static bool is_low(uint32_t unit) {
  return unit >= 0xdc00 && unit < 0xe000;
}

void ptp_string(struct acq_cur *c, char *ret, size_t size) {
  const size_t count = acq_u8(c);
  const uint8_t *units = acq_bytes(c, 2 * count);
  size_t n = 0;
  ret[0] = 0;
  if (!count || !units)
    return;
  if (units[2 * count - 2] || units[2 * count - 1])
    return acq_refuse(c, -EPROTO);
  for (size_t i = 0; i < count; i++) {
    char bytes[4];
    uint32_t unit = (uint32_t)(units[2 * i] | units[2 * i + 1] << 8);
    uint32_t next = i + 1 < count ? (uint32_t)(units[2 * i + 2] | units[2 * i + 3] << 8) : 0;
    if (!unit)
      break;
    if (is_high(unit) && is_low(next)) {
      unit = 0x10000 + ((unit - 0xd800) << 10) + (next - 0xdc00);
      i++;
    } else if (is_high(unit) || is_low(unit)) {
      unit = '?';
    } else if (unit < 0x20 || (unit >= 0x7f && unit < 0xa0)) {
      unit = ' ';
    }
    size_t more = utf8(unit, bytes);
    if (n + more >= size)
      break;
    memcpy(ret + n, bytes, more);
    n += more;
  }
  ret[n] = 0;
}

uint32_t ptp_count(struct acq_cur *c, unsigned width) {
  uint32_t n = acq_u32le(c);
  if (n <= acq_left(c) / width)
    return n;
  acq_refuse(c, -EPROTO);
  return 0;
}

/* ---- data sets ----------------------------------------------------------------------------------------------- */

static int end_set(struct acq_cur *c, const char *what, const char **ret_why) {
  if (acq_end(c) == 0)
    return 0;
  *ret_why = what;
  return -EPROTO;
}

enum { CANON = 0x0000000b };

static const uint16_t browsing[] = {PTP_GET_STORAGE_IDS, PTP_GET_OBJECT_HANDLES, PTP_GET_OBJECT_INFO, PTP_GET_OBJECT};
static const uint16_t remote[] = {EOS_SET_REMOTE_MODE, EOS_SET_EVENT_MODE, EOS_GET_EVENT};

/* A bit for each of `wanted` that the array of codes has; takes the array off *c. */
static unsigned match_codes(struct acq_cur *c, const uint16_t *wanted, unsigned n_wanted) {
  unsigned found = 0;
  for (uint32_t n = ptp_count(c, 2); n; n--) {
    uint16_t code = acq_u16le(c);
    for (unsigned i = 0; i < n_wanted; i++)
      if (code == wanted[i])
        found |= 1u << i;
  }
  return found;
}

static bool has_all(struct acq_cur operations, const uint16_t *wanted, unsigned n) {
  return match_codes(&operations, wanted, n) == (1u << n) - 1;
}

static bool has(struct acq_cur operations, uint16_t wanted) {
  return has_all(operations, &wanted, 1);
}

int ptp_device_info_read(struct acq_cur c, struct ptp_device_info *ret, const char **ret_why) {
  static const uint16_t date_time = PTP_PROPERTY_DATE_TIME;
  struct ptp_device_info info = {0};
  char text[PTP_NAME_MAX];
  acq_u16le(&c); /* version of the standard */
  const uint32_t extension = acq_u32le(&c);
  acq_u16le(&c);                     /* version of the extension */
  ptp_string(&c, text, sizeof text); /* and its description */
  acq_u16le(&c);                     /* functional mode */
  struct acq_cur operations = c;
  match_codes(&c, NULL, 0);
  match_codes(&c, NULL, 0); /* events: those of Canon are not all told */
  bool tells_time = match_codes(&c, &date_time, 1);
  match_codes(&c, NULL, 0); /* formats of what it captures */
  match_codes(&c, NULL, 0); /* and of what it plays */
  ptp_string(&c, info.identity.make, sizeof info.identity.make);
  ptp_string(&c, info.identity.model, sizeof info.identity.model);
  ptp_string(&c, info.identity.firmware, sizeof info.identity.firmware);
  ptp_string(&c, info.identity.serial, sizeof info.identity.serial);
  int r = end_set(&c, "the device's data set (DeviceInfo) is not in its form", ret_why);
  if (r < 0)
    return r;
  if (has_all(operations, browsing, sizeof browsing / sizeof *browsing))
    info.can |= PTP_CAN_BROWSE;
  if (has(operations, PTP_GET_THUMB))
    info.can |= PTP_CAN_THUMB;
  if (has(operations, PTP_GET_PARTIAL_OBJECT))
    info.can |= PTP_CAN_PARTIAL;
  if (tells_time && has(operations, PTP_GET_DEVICE_PROP_VALUE))
    info.can |= PTP_CAN_DATE_TIME;
  if (extension == CANON && has_all(operations, remote, sizeof remote / sizeof *remote)) {
    info.can |= PTP_CAN_EOS;
    if (has(operations, EOS_TRANSFER_COMPLETE))
      info.can |= PTP_CAN_EOS_COMPLETE;
    if (has(operations, EOS_KEEP_DEVICE_ON))
      info.can |= PTP_CAN_EOS_KEEP_ON;
  }
  *ret = info;
  return 0;
}

int ptp_object_info_read(struct acq_cur c, struct ptp_object_info *ret, const char **ret_why) {
  struct ptp_object_info info = {.storage = acq_u32le(&c)};
  char text[PTP_NAME_MAX];
  info.format = acq_u16le(&c);
  acq_u16le(&c); /* protection */
  info.size = acq_u32le(&c);
  acq_u16le(&c); /* the thumbnail's format */
  info.thumb_size = acq_u32le(&c);
  acq_bytes(&c, 5 * 4); /* width and height of the thumbnail, of the picture, and its depth */
  acq_u32le(&c);        /* folder */
  acq_u16le(&c);        /* association: type, */
  acq_u32le(&c);        /*   description */
  acq_u32le(&c);        /* sequence number */
  ptp_string(&c, info.name, sizeof info.name);
  ptp_string(&c, info.taken, sizeof info.taken);
  ptp_string(&c, text, sizeof text); /* modified */
  ptp_string(&c, text, sizeof text); /* keywords */
  int r = end_set(&c, "a data set of a picture (ObjectInfo) is not in its form", ret_why);
  if (r == 0)
    *ret = info;
  return r;
}

/* ---- pictures ------------------------------------------------------------------------------------------------ */

enum {
  FORMAT_UNDEFINED = 0x3800,
  FORMAT_EXIF_JPEG = 0x3801,
  FORMAT_TIFF_EP = 0x3802,
  FORMAT_JFIF = 0x3808,
  FORMAT_PNG = 0x380b,
  FORMAT_TIFF = 0x380d,
};

static bool ends_in(const char *name, const char *const *endings) {
  const char *dot = strrchr(name, '.');
  for (; dot && *endings; endings++)
    if (!strcasecmp(dot + 1, *endings))
      return true;
  return false;
}

bool ptp_is_picture(const struct ptp_object_info *info) {
  static const char *const pictures[] = {"jpg", "jpeg", "png", "tif", "tiff", NULL};
  /* A sensor's own data are TIFF inside, and some cameras call them that. */
  static const char *const raw[] = {"cr2", "cr3", "crw", "nef", "nrw", "arw", "sr2", "orf", "rw2",
                                    "pef", "raf", "dng", "raw", "3fr", "iiq", "srw", NULL};
  switch (info->format) {
  case FORMAT_EXIF_JPEG:
  case FORMAT_JFIF:
  case FORMAT_PNG:
    return true;
  case FORMAT_TIFF_EP:
  case FORMAT_TIFF:
    return !ends_in(info->name, raw);
  case FORMAT_UNDEFINED:
    return ends_in(info->name, pictures);
  default:
    return false;
  }
}

/* ---- dates --------------------------------------------------------------------------------------------------- */

/* n digits, or -1. */
static int digits(const char **at, unsigned n) {
  int value = 0;
  for (; n; n--, (*at)++) {
    if (**at < '0' || **at > '9')
      return -1;
    value = value * 10 + (**at - '0');
  }
  return value;
}

/* Behind the seconds: nothing, or how far from UTC that is. */
static int read_zone(const char *at, int offset_minutes, int *ret_minutes) {
  *ret_minutes = offset_minutes;
  if (!*at)
    return 0;
  char sign = *at++;
  if (sign == 'Z' && !*at) {
    *ret_minutes = 0;
    return 0;
  }
  int hours = digits(&at, 2), minutes = hours < 0 ? -1 : digits(&at, 2);
  if ((sign != '+' && sign != '-') || hours < 0 || hours > 14 || minutes < 0 || minutes > 59 || *at)
    return -ERANGE;
  *ret_minutes = (sign == '-' ? -1 : 1) * (hours * 60 + minutes);
  return 0;
}

int ptp_date_read(const char *text, int offset_minutes, int64_t *ret_us) {
  const char *at = text;
  struct acq_clock clock = {0};
  int64_t us;
  int minutes;
  if ((clock.year = digits(&at, 4)) < 0 || (clock.month = digits(&at, 2)) < 0 || (clock.day = digits(&at, 2)) < 0 ||
      *at != 'T')
    return -ERANGE;
  at++;
  if ((clock.hour = digits(&at, 2)) < 0 || (clock.minute = digits(&at, 2)) < 0 || (clock.second = digits(&at, 2)) < 0)
    return -ERANGE;
  if (*at == '.') {
    at++;
    int tenths = digits(&at, 1);
    if (tenths < 0)
      return -ERANGE;
    clock.ms = tenths * 100;
    at += strspn(at, "0123456789");
  }
  int r = read_zone(at, offset_minutes, &minutes);
  if (r == 0)
    r = acq_clock_to_us(&clock, &us);
  if (r == 0)
    *ret_us = us + (offset_minutes - minutes) * INT64_C(60000000);
  return r;
}
