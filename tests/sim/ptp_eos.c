/*
 * What a Canon EOS body adds: vendor operations, and events that are fetched with GetEvent in place of the interrupt
 * pipe, as records {size, type, content}. Layouts as protocols of such bodies show them.
 */
#include "ptp_camera.h"

#include <stdio.h>
#include <stdlib.h>

enum {
  GET_STORAGE_IDS = 0x9101,
  GET_STORAGE_INFO = 0x9102,
  GET_OBJECT = 0x9104,
  GET_PARTIAL_OBJECT = 0x9107,
  GET_OBJECT_INFO_EX = 0x9109,
  SET_REMOTE_MODE = 0x9114,
  SET_EVENT_MODE = 0x9115,
  GET_EVENT = 0x9116,
  TRANSFER_COMPLETE = 0x9117,
  PC_HDD_CAPACITY = 0x911A,
  KEEP_DEVICE_ON = 0x911D,
};

enum {
  OBJECT_ADDED_EX = 0xC181,
  REQUEST_OBJECT_TRANSFER = 0xC186,
  PROP_VALUE_CHANGED = 0xC189,
  OBJECT_ADDED_EX64 = 0xC1A7,
};

#define SHORT_NAME 16u
#define FOLDER_ENTRY 0x38u

const uint16_t ptp_eos_operations[] = {GET_STORAGE_IDS,    GET_STORAGE_INFO, GET_OBJECT,     GET_PARTIAL_OBJECT,
                                       GET_OBJECT_INFO_EX, SET_REMOTE_MODE,  SET_EVENT_MODE, GET_EVENT,
                                       TRANSFER_COMPLETE,  PC_HDD_CAPACITY,  KEEP_DEVICE_ON, 0};

static void put_name(struct ptp_out *out, const struct ptp_object *o) {
  char name[SHORT_NAME] = {0};
  snprintf(name, sizeof(name), "%.*s", (int)sizeof(name) - 1, o->name);
  ptp_put(out, name, sizeof(name));
}

static void put_record(struct ptp_camera *c, uint32_t type, const struct ptp_out *content) {
  ptp_put32(&c->eos_events, (uint32_t)content->n + 8);
  ptp_put32(&c->eos_events, type);
  if (content->n)
    ptp_put(&c->eos_events, content->bytes, content->n);
}

void ptp_eos_object_added(struct ptp_camera *c, const struct ptp_object *o) {
  struct ptp_out out = {0};
  if (!c->eos_event_mode)
    return;
  ptp_put32(&out, o->handle);
  if (c->eos == PTP_EOS_HOST) {
    ptp_put32(&out, o->format);
    ptp_put32(&out, 0);
    ptp_put32(&out, ptp_size_said(c, o));
    ptp_put32(&out, 0);
  } else {
    ptp_put32(&out, o->storage);
    ptp_put32(&out, o->format);
    ptp_put32(&out, 0);
    ptp_put32(&out, 0x20);
    ptp_put32(&out, ptp_size_said(c, o));
    if (c->eos == PTP_EOS_CARD64)
      ptp_put32(&out, 0); /* the size's upper half */
    ptp_put32(&out, o->parent);
    ptp_put32(&out, o->handle);
  }
  put_name(&out, o);
  put_record(c,
             c->eos == PTP_EOS_HOST     ? REQUEST_OBJECT_TRANSFER
             : c->eos == PTP_EOS_CARD64 ? OBJECT_ADDED_EX64
                                        : OBJECT_ADDED_EX,
             &out);
  c->counts.events++;
  free(out.bytes);
}

void ptp_eos_property_changed(struct ptp_camera *c, unsigned n) {
  struct ptp_out out = {0};
  if (!c->eos_event_mode)
    return;
  ptp_put32(&out, 0xD101 + n % 16);
  ptp_put32(&out, n);
  put_record(c, PROP_VALUE_CHANGED, &out);
  c->counts.events++;
  free(out.bytes);
}

static void get_event(struct ptp_camera *c) {
  struct ptp_out *out = ptp_data(c);
  if (c->eos_events.n)
    ptp_put(out, c->eos_events.bytes, c->eos_events.n);
  c->eos_events.n = 0;
  ptp_put32(out, 8); /* the record that ends them */
  ptp_put32(out, 0);
  ptp_respond(c, PTP_OK, 0, NULL);
}

static void put_entry(struct ptp_camera *c, struct ptp_out *out, const struct ptp_object *o) {
  ptp_put32(out, FOLDER_ENTRY);
  ptp_put32(out, o->handle);
  ptp_put32(out, o->storage);
  ptp_put32(out, o->format);
  ptp_put32(out, 0);
  ptp_put32(out, o->format == PTP_FOLDER ? 0x10 : 0x20);
  ptp_put32(out, ptp_size_said(c, o));
  ptp_put32(out, o->parent);
  ptp_put32(out, o->handle);
  put_name(out, o);
  ptp_put32(out, (uint32_t)(o->taken_us / 1000000));
}

static void get_object_info_ex(struct ptp_camera *c, const struct ptp_command *k) {
  uint32_t storage = k->parameters[0], parent = k->parameters[1] ? k->parameters[1] : PTP_ANY, n = 0;
  const struct ptp_object *folder = parent == PTP_ANY ? NULL : ptp_store_find(&c->store, parent);
  uint16_t wrong = storage != PTP_ANY && !ptp_is_storage(c, storage)                ? PTP_BAD_STORAGE
                   : parent != PTP_ANY && (!folder || folder->format != PTP_FOLDER) ? PTP_BAD_HANDLE
                                                                                    : 0;
  if (!wrong) {
    struct ptp_out *out = ptp_data(c);
    for (unsigned i = 0; i < c->store.count; i++)
      n += ptp_is_listed(c->store.objects[i], storage, 0, parent);
    ptp_put32(out, n);
    for (unsigned i = 0; i < c->store.count; i++)
      if (ptp_is_listed(c->store.objects[i], storage, 0, parent))
        put_entry(c, out, c->store.objects[i]);
  }
  ptp_respond(c, wrong ? wrong : PTP_OK, wrong ? 0 : 2, (const uint32_t[]){0, 4 + n * FOLDER_ENTRY});
}

static void get_object(struct ptp_camera *c, const struct ptp_command *k) {
  struct ptp_object *o;
  bool partial = k->operation == GET_PARTIAL_OBJECT;
  uint32_t from = partial ? k->parameters[1] : 0;
  uint16_t wrong = ptp_object_of(c, k->parameters[0], true, &o);
  if (!wrong && from > o->n)
    wrong = PTP_BAD_PARAMETER;
  if (!wrong) {
    size_t left = o->n - from;
    ptp_send_object(c, o, from, partial && k->parameters[2] < left ? k->parameters[2] : left);
  }
  ptp_respond(c, wrong ? wrong : PTP_OK, 0, NULL);
}

/* What waited for the host to fetch it is on no card, and is gone with that. */
static void transfer_complete(struct ptp_camera *c, const struct ptp_command *k) {
  struct ptp_object *o;
  uint16_t wrong = ptp_object_of(c, k->parameters[0], false, &o);
  if (!wrong)
    o->gone = o->unlisted;
  ptp_respond(c, wrong ? wrong : PTP_OK, 0, NULL);
}

static void get_storage_info(struct ptp_camera *c, const struct ptp_command *k) {
  bool good = ptp_is_storage(c, k->parameters[0]);
  if (good)
    ptp_put_storage_info(c, k->parameters[0], ptp_data(c));
  ptp_respond(c, good ? PTP_OK : PTP_BAD_STORAGE, 0, NULL);
}

void ptp_eos_operate(struct ptp_camera *c, const struct ptp_command *k) {
  switch (k->operation) {
  case GET_STORAGE_IDS:
    ptp_put_storage_ids(c, ptp_data(c));
    break;
  case SET_REMOTE_MODE:
    c->eos_remote = k->parameters[0];
    break;
  case SET_EVENT_MODE:
    c->eos_event_mode = k->parameters[0];
    break;
  case GET_STORAGE_INFO:
    return get_storage_info(c, k);
  case GET_OBJECT:
  case GET_PARTIAL_OBJECT:
    return get_object(c, k);
  case GET_OBJECT_INFO_EX:
    return get_object_info_ex(c, k);
  case GET_EVENT:
    return get_event(c);
  case TRANSFER_COMPLETE:
    return transfer_complete(c, k);
  case PC_HDD_CAPACITY:
  case KEEP_DEVICE_ON:
    break;
  }
  ptp_respond(c, PTP_OK, 0, NULL);
}
