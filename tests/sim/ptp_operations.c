/* The operations of ISO 15740 that the simulated camera knows. */
#include "ptp_camera.h"

#include <string.h>

enum {
  GET_DEVICE_INFO = 0x1001,
  OPEN_SESSION,
  CLOSE_SESSION,
  GET_STORAGE_IDS,
  GET_STORAGE_INFO,
  GET_NUM_OBJECTS,
  GET_OBJECT_HANDLES,
  GET_OBJECT_INFO,
  GET_OBJECT,
  GET_THUMB,
  DELETE_OBJECT,
  GET_PROP_DESC = 0x1014,
  GET_PROP_VALUE = 0x1015,
  GET_PARTIAL_OBJECT = 0x101B,
};

enum { BATTERY = 0x5001, DATE_TIME = 0x5011 };
enum { TYPE_UINT8 = 0x0002, TYPE_STRING = 0xFFFF };
enum { FORM_NONE, FORM_RANGE };
enum { EVENT_ADDED = 0x4002, EVENT_PROP_CHANGED = 0x4006, EVENT_COMPLETE = 0x400D };

#define BATTERY_PERCENT 90u
#define VENDOR_CANON 0x0000000Bu

/* ---- device info ---- */

static void put_codes(struct ptp_out *out, const uint16_t *codes, const uint16_t *more) {
  uint32_t n = 0;
  while (codes[n])
    n++;
  for (const uint16_t *m = more; m && *m; m++)
    n++;
  ptp_put32(out, n);
  for (; *codes; codes++)
    ptp_put16(out, *codes);
  for (; more && *more; more++)
    ptp_put16(out, *more);
}

static const uint16_t operations[] = {
    GET_DEVICE_INFO, OPEN_SESSION,       CLOSE_SESSION,   GET_STORAGE_IDS,    GET_STORAGE_INFO,
    GET_NUM_OBJECTS, GET_OBJECT_HANDLES, GET_OBJECT_INFO, GET_OBJECT,         GET_THUMB,
    DELETE_OBJECT,   GET_PROP_DESC,      GET_PROP_VALUE,  GET_PARTIAL_OBJECT, 0};

static bool is_in(const uint16_t *codes, uint16_t code) {
  while (*codes && *codes != code)
    codes++;
  return *codes;
}

bool ptp_is_operation(const struct ptp_camera *c, uint16_t operation) {
  return is_in(operations, operation) || (c->eos && is_in(ptp_eos_operations, operation));
}

static void get_device_info(struct ptp_camera *c, const struct ptp_command *k) {
  static const uint16_t events[] = {0x4001, EVENT_ADDED, EVENT_PROP_CHANGED, 0x4007, 0x4008, 0x400C, EVENT_COMPLETE, 0},
                        none[] = {0}, properties[] = {BATTERY, DATE_TIME, 0}, captures[] = {PTP_EXIF_JPEG, 0},
                        images[] = {PTP_UNDEFINED, PTP_FOLDER, PTP_EXIF_JPEG, PTP_JFIF, PTP_PNG, PTP_TIFF, 0};
  (void)k;
  struct ptp_out *out = ptp_data(c);
  ptp_put16(out, 100);
  ptp_put32(out, c->eos ? VENDOR_CANON : 0);
  ptp_put16(out, c->eos ? 100 : 0);
  ptp_put_string(out, "");
  ptp_put16(out, 0);
  put_codes(out, operations, c->eos ? ptp_eos_operations : NULL);
  put_codes(out, c->eos ? none : events, NULL);
  put_codes(out, properties, NULL);
  put_codes(out, captures, NULL);
  put_codes(out, images, NULL);
  ptp_put_string(out, PTP_MAKE);
  ptp_put_string(out, PTP_MODEL);
  ptp_put_string(out, "1.0");
  ptp_put_string(out, c->serial);
  ptp_respond(c, PTP_OK, 0, NULL);
}

/* ---- session ---- */

static void open_session(struct ptp_camera *c, const struct ptp_command *k) {
  if (c->session)
    ptp_respond(c, PTP_ALREADY_OPEN, 1, &c->session);
  else if (k->transaction != 0)
    ptp_respond(c, PTP_BAD_TRANSACTION, 0, NULL);
  else if (k->parameters[0] == 0)
    ptp_respond(c, PTP_BAD_PARAMETER, 0, NULL);
  else {
    ptp_open_session(c, k->parameters[0]);
    ptp_respond(c, PTP_OK, 0, NULL);
  }
}

static void close_session(struct ptp_camera *c, const struct ptp_command *k) {
  (void)k;
  ptp_respond(c, c->session ? PTP_OK : PTP_NOT_OPEN, 0, NULL);
  ptp_close_session(c);
}

/* ---- cards ---- */

bool ptp_is_storage(const struct ptp_camera *c, uint32_t id) {
  for (unsigned card = 0; card < c->store.storages; card++)
    if (id == ptp_store_id(card))
      return true;
  return false;
}

void ptp_put_storage_ids(const struct ptp_camera *c, struct ptp_out *out) {
  ptp_put32(out, c->store.storages);
  for (unsigned card = 0; card < c->store.storages; card++)
    ptp_put32(out, ptp_store_id(card));
}

static void get_storage_ids(struct ptp_camera *c, const struct ptp_command *k) {
  (void)k;
  ptp_put_storage_ids(c, ptp_data(c));
  ptp_respond(c, PTP_OK, 0, NULL);
}

void ptp_put_storage_info(const struct ptp_camera *c, uint32_t storage, struct ptp_out *out) {
  const uint64_t capacity = UINT64_C(32) << 30;
  uint64_t used = 0;
  for (unsigned i = 0; i < c->store.count; i++) {
    const struct ptp_object *o = c->store.objects[i];
    used += o->storage == storage && !o->gone && !o->unlisted ? o->n : 0;
  }
  ptp_put16(out, 4); /* removable RAM */
  ptp_put16(out, 3); /* DCF */
  ptp_put16(out, 0); /* read and write */
  ptp_put64(out, capacity);
  ptp_put64(out, capacity - used);
  ptp_put32(out, (uint32_t)((capacity - used) / (12u << 20)));
  ptp_put_string(out, "SD");
  ptp_put_string(out, storage == ptp_store_id(0) ? "RETINA" : "RETINA2");
}

static void get_storage_info(struct ptp_camera *c, const struct ptp_command *k) {
  if (!ptp_is_storage(c, k->parameters[0])) {
    ptp_respond(c, PTP_BAD_STORAGE, 0, NULL);
    return;
  }
  ptp_put_storage_info(c, k->parameters[0], ptp_data(c));
  ptp_respond(c, PTP_OK, 0, NULL);
}

/* ---- objects ---- */

bool ptp_is_listed(const struct ptp_object *o, uint32_t storage, uint32_t format, uint32_t parent) {
  if (o->gone || o->unlisted || (storage != PTP_ANY && o->storage != storage))
    return false;
  if (format == PTP_ANY ? o->format < 0x3800 : format != 0 && o->format != format)
    return false;
  return parent == 0 || (parent == PTP_ANY ? o->parent == 0 : o->parent == parent);
}

static uint16_t check_list(const struct ptp_camera *c, const struct ptp_command *k) {
  uint32_t storage = k->parameters[0], parent = k->parameters[2];
  if (storage != PTP_ANY && !ptp_is_storage(c, storage))
    return PTP_BAD_STORAGE;
  if (parent != 0 && parent != PTP_ANY) {
    const struct ptp_object *o = ptp_store_find(&c->store, parent);
    if (!o)
      return PTP_BAD_HANDLE;
    if (o->format != PTP_FOLDER)
      return PTP_BAD_PARENT;
  }
  return 0;
}

static uint32_t count_listed(const struct ptp_camera *c, const struct ptp_command *k) {
  uint32_t n = 0;
  for (unsigned i = 0; i < c->store.count; i++)
    n += ptp_is_listed(c->store.objects[i], k->parameters[0], k->parameters[1], k->parameters[2]);
  return n;
}

static void get_num_objects(struct ptp_camera *c, const struct ptp_command *k) {
  uint16_t wrong = check_list(c, k);
  uint32_t n = wrong ? 0 : count_listed(c, k);
  ptp_respond(c, wrong ? wrong : PTP_OK, !wrong, &n);
}

static void get_object_handles(struct ptp_camera *c, const struct ptp_command *k) {
  uint16_t wrong = check_list(c, k);
  if (!wrong) {
    struct ptp_out *out = ptp_data(c);
    ptp_put32(out, count_listed(c, k));
    for (unsigned i = 0; i < c->store.count; i++)
      if (ptp_is_listed(c->store.objects[i], k->parameters[0], k->parameters[1], k->parameters[2]))
        ptp_put32(out, c->store.objects[i]->handle);
  }
  ptp_respond(c, wrong ? wrong : PTP_OK, 0, NULL);
}

uint16_t ptp_object_of(struct ptp_camera *c, uint32_t handle, bool content, struct ptp_object **ret) {
  struct ptp_object *o = ptp_store_find(&c->store, handle);
  if (o && content && o->shot && fault_strikes(&c->faults, PTP_FAULT_VANISH)) {
    o->gone = true;
    o = NULL;
  }
  if (!o || (content && !o->bytes))
    return PTP_BAD_HANDLE;
  *ret = o;
  return 0;
}

uint32_t ptp_size_said(const struct ptp_camera *c, const struct ptp_object *o) {
  return c->faults.on[PTP_FAULT_HUGE] && o->shot ? PTP_ANY : (uint32_t)o->n;
}

static void get_object_info(struct ptp_camera *c, const struct ptp_command *k) {
  struct ptp_object *o;
  uint16_t wrong = ptp_object_of(c, k->parameters[0], false, &o);
  if (wrong) {
    ptp_respond(c, wrong, 0, NULL);
    return;
  }
  struct ptp_out *out = ptp_data(c);
  ptp_put32(out, o->storage);
  ptp_put16(out, o->format);
  ptp_put16(out, 0);
  ptp_put32(out, ptp_size_said(c, o));
  ptp_put16(out, o->thumb_n ? PTP_JFIF : 0);
  ptp_put32(out, (uint32_t)o->thumb_n);
  ptp_put32(out, o->thumb_width);
  ptp_put32(out, o->thumb_height);
  ptp_put32(out, o->width);
  ptp_put32(out, o->height);
  ptp_put32(out, o->width ? 24 : 0);
  ptp_put32(out, o->parent);
  ptp_put16(out, o->format == PTP_FOLDER);
  ptp_put32(out, 0);
  ptp_put32(out, 0);
  ptp_put_string(out, o->name);
  ptp_put_date(out, o->taken_us);
  ptp_put_date(out, o->taken_us);
  ptp_put_string(out, "");
  ptp_respond(c, PTP_OK, 0, NULL);
}

static void get_object(struct ptp_camera *c, const struct ptp_command *k) {
  struct ptp_object *o;
  uint16_t wrong = ptp_object_of(c, k->parameters[0], true, &o);
  if (!wrong)
    ptp_send_object(c, o, 0, o->n);
  ptp_respond(c, wrong ? wrong : PTP_OK, 0, NULL);
}

static void get_partial_object(struct ptp_camera *c, const struct ptp_command *k) {
  struct ptp_object *o;
  uint32_t from = k->parameters[1], n = k->parameters[2];
  uint16_t wrong = ptp_object_of(c, k->parameters[0], true, &o);
  if (!wrong && from > o->n)
    wrong = PTP_BAD_PARAMETER;
  if (!wrong) {
    n = n < o->n - from ? n : (uint32_t)(o->n - from);
    ptp_send_object(c, o, from, n);
  }
  ptp_respond(c, wrong ? wrong : PTP_OK, !wrong, &n);
}

static void get_thumb(struct ptp_camera *c, const struct ptp_command *k) {
  struct ptp_object *o;
  uint16_t wrong = ptp_object_of(c, k->parameters[0], false, &o);
  if (!wrong && o->thumb_n == 0)
    wrong = PTP_NO_THUMB;
  if (!wrong)
    ptp_put(ptp_data(c), o->bytes + o->thumb, o->thumb_n);
  ptp_respond(c, wrong ? wrong : PTP_OK, 0, NULL);
}

static void delete_object(struct ptp_camera *c, const struct ptp_command *k) {
  struct ptp_object *o;
  uint16_t wrong = k->parameters[0] == PTP_ANY ? 0 : ptp_object_of(c, k->parameters[0], false, &o);
  c->counts.deletes++;
  if (!wrong && k->parameters[0] != PTP_ANY)
    o->gone = true;
  for (unsigned i = 0; !wrong && k->parameters[0] == PTP_ANY && i < c->store.count; i++)
    c->store.objects[i]->gone = c->store.objects[i]->gone || c->store.objects[i]->bytes;
  ptp_respond(c, wrong ? wrong : PTP_OK, 0, NULL);
}

/* ---- properties ---- */

static void get_prop_desc(struct ptp_camera *c, const struct ptp_command *k) {
  struct ptp_out *out;
  switch (k->parameters[0]) {
  case BATTERY:
    out = ptp_data(c);
    ptp_put16(out, BATTERY);
    ptp_put16(out, TYPE_UINT8);
    ptp_put8(out, 0); /* to be read only */
    ptp_put8(out, 100);
    ptp_put8(out, BATTERY_PERCENT);
    ptp_put8(out, FORM_RANGE);
    ptp_put8(out, 0);
    ptp_put8(out, 100);
    ptp_put8(out, 1);
    break;
  case DATE_TIME:
    out = ptp_data(c);
    ptp_put16(out, DATE_TIME);
    ptp_put16(out, TYPE_STRING);
    ptp_put8(out, 0);
    ptp_put_date(out, 0);
    ptp_put_date(out, ptp_clock(c));
    ptp_put8(out, FORM_NONE);
    break;
  default:
    ptp_respond(c, PTP_NO_PROPERTY, 0, NULL);
    return;
  }
  ptp_respond(c, PTP_OK, 0, NULL);
}

static void get_prop_value(struct ptp_camera *c, const struct ptp_command *k) {
  if (k->parameters[0] == BATTERY)
    ptp_put8(ptp_data(c), BATTERY_PERCENT);
  else if (k->parameters[0] == DATE_TIME)
    ptp_put_date(ptp_data(c), ptp_clock(c));
  else {
    ptp_respond(c, PTP_NO_PROPERTY, 0, NULL);
    return;
  }
  ptp_respond(c, PTP_OK, 0, NULL);
}

/* ---- all ---- */

static const struct {
  uint16_t operation;
  unsigned least, most; /* parameters */
  void (*run)(struct ptp_camera *c, const struct ptp_command *k);
} table[] = {
    {GET_DEVICE_INFO, 0, 0, get_device_info},
    {OPEN_SESSION, 1, 1, open_session},
    {CLOSE_SESSION, 0, 0, close_session},
    {GET_STORAGE_IDS, 0, 0, get_storage_ids},
    {GET_STORAGE_INFO, 1, 1, get_storage_info},
    {GET_NUM_OBJECTS, 1, 3, get_num_objects},
    {GET_OBJECT_HANDLES, 1, 3, get_object_handles},
    {GET_OBJECT_INFO, 1, 1, get_object_info},
    {GET_OBJECT, 1, 1, get_object},
    {GET_THUMB, 1, 1, get_thumb},
    {DELETE_OBJECT, 1, 2, delete_object},
    {GET_PROP_DESC, 1, 1, get_prop_desc},
    {GET_PROP_VALUE, 1, 1, get_prop_value},
    {GET_PARTIAL_OBJECT, 3, 3, get_partial_object},
};

/* 0 when a session and a transaction of it are as they must be. */
static uint16_t check_session(const struct ptp_camera *c, const struct ptp_command *k) {
  if (k->operation == OPEN_SESSION || k->operation == CLOSE_SESSION)
    return 0; /* they look for themselves */
  if (!c->session)
    return k->operation != GET_DEVICE_INFO ? PTP_NOT_OPEN : k->transaction != 0 ? PTP_BAD_TRANSACTION : 0;
  return k->transaction != c->next_transaction ? PTP_BAD_TRANSACTION : 0;
}

static void run(struct ptp_camera *c, const struct ptp_command *k) {
  for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
    if (table[i].operation != k->operation)
      continue;
    uint16_t wrong = k->n < table[i].least ? PTP_BAD_PARAMETER : 0;
    for (unsigned p = table[i].most; p < k->n; p++)
      if (k->parameters[p])
        wrong = PTP_PARAMETER_NOT_SUPPORTED;
    if (wrong)
      ptp_respond(c, wrong, 0, NULL);
    else
      table[i].run(c, k);
    return;
  }
  ptp_eos_operate(c, k);
}

void ptp_operate(struct ptp_camera *c, const struct ptp_command *k) {
  uint16_t wrong = check_session(c, k);
  if (!wrong && c->session && k->operation != OPEN_SESSION)
    c->next_transaction = k->transaction >= 0xFFFFFFFE ? 1 : k->transaction + 1;
  if (!ptp_is_operation(c, k->operation))
    wrong = PTP_NOT_SUPPORTED;
  if (wrong)
    ptp_respond(c, wrong, 0, NULL);
  else
    run(c, k);
}
