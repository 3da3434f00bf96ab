#include "phdc_agent.h"

#include "option.h"
#include "phdc_measure.h"
#include "phdc_settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX
#define SECOND_US 1000000u
#define ASSOCIATE_US (10 * SECOND_US)
#define CONFIG_US (10 * SECOND_US)
#define CONFIRM_US (3 * SECOND_US)
#define RELEASE_US (3 * SECOND_US)
#define AGAIN_US SECOND_US
#define ATTEMPTS 4u       /* to associate */
#define REPORT_MAX 2048u  /* bytes of observations in one report, but for one that is longer */
#define RECEIVE_MAX 8192u /* longest APDU that it can take */
#define AHEAD 8u          /* unpaced: observations made ahead of the host */
#define AGENT_INITIATED 0xF000u
#define ARRAYS_PER_SECOND 2u /* of the ECG */
#define RECORDING_SECONDS 10u

enum { ABORT_UNDEFINED, ABORT_OVERFLOW, ABORT_RESPONSE_TIMEOUT, ABORT_CONFIG_TIMEOUT };
enum { ACCEPTED = 0, REJECTED_TRANSIENT = 2, ACCEPTED_UNKNOWN_CONFIG = 3 };
enum { RELEASE_NORMAL, RELEASE_NO_MORE_CONFIGURATIONS };
enum { ERROR_NO_SUCH_OBJECT = 1, ERROR_NO_SUCH_ACTION = 9, ERROR_NOT_ALLOWED = 24 };
enum { REJECT_UNRECOGNIZED = 101, REJECT_BADLY_STRUCTURED = 2 };
enum { REQUEST_START = 0x8000, REQUEST_CLASS = 0x0400, REQUEST_HANDLE = 0x0200, REQUEST_SINGLE = 0x0080 };
enum { REQUEST_PERIOD = 0x0040 };
enum { RESULT_OK, RESULT_UNKNOWN_CLASS = 12, RESULT_UNKNOWN_HANDLE = 13 };

enum state { UNASSOCIATED, ASSOCIATING, CONFIGURING, OPERATING, DISASSOCIATING };

enum timer { T_ANSWER, T_ASSOCIATE, T_AUTO, T_REASSOCIATE, T_STREAM, T_REQUEST_END, TIMERS };

struct apdu {
  struct apdu *next;
  uint64_t patience_us; /* for an answer, once it is out; 0: none comes */
  size_t n, at;
  uint8_t bytes[];
};

struct agent {
  struct phdc_settings set;
  struct phdc_measure measure;
  struct phdc_store store;
  struct mder m; /* the APDU being made */

  bool started, preamble;
  uint64_t now_us, power_us;

  enum state state;
  uint64_t due[TIMERS];
  unsigned attempts;
  uint16_t invoke; /* last one seen or used */
  bool outstanding;
  uint16_t awaited;   /* then: the one of the answer */
  unsigned in_flight; /* observations in the report whose answer is awaited */
  uint16_t report_number;
  struct {
    bool active;
    uint16_t id;
  } request;
  uint64_t stream_us; /* when the recording began */

  struct apdu *out, **out_tail;
  uint8_t in[RECEIVE_MAX];
  size_t in_len;

  struct {
    uint64_t apdus_in, apdus_out, bytes_in, associations, aborts, reports, bad;
  } stats;
};

static uint32_t ticks(const struct agent *a) {
  return (uint32_t)((a->now_us - a->power_us) / 125);
}

static struct phdc_moment moment(const struct agent *a) {
  return (struct phdc_moment){.local_us = own_clock_read(&a->set.clock, a->now_us), .ticks = ticks(a)};
}

static uint64_t paced(const struct agent *a, uint64_t us) {
  return a->set.speed ? us / a->set.speed : 0;
}

static bool has_fault(const struct agent *a, enum phdc_fault fault) {
  return a->set.device.faults.on[fault];
}

static bool is_ecg(const struct agent *a) {
  return strcmp(a->set.device.profile->name, "ecg") == 0;
}

/* ---- sending ---- */

static void queue_bytes(struct agent *a, const uint8_t *bytes, size_t n, uint64_t patience_us) {
  struct apdu *apdu = malloc(sizeof *apdu + n);
  if (!apdu)
    return;
  *apdu = (struct apdu){.patience_us = patience_us, .n = n};
  memcpy(apdu->bytes, bytes, n);
  *a->out_tail = apdu;
  a->out_tail = &apdu->next;
}

static void queue_apdu(struct agent *a, uint64_t patience_us) {
  /* Signature, one transfer follows, version 1, latency and reliability as in the QoS descriptor, nothing opaque. */
  static const uint8_t preamble[] = "PhdcQoSSignature\x01\x01\x08";
  if (a->preamble)
    queue_bytes(a, preamble, sizeof preamble, 0);
  queue_bytes(a, a->m.bytes, a->m.n, patience_us);
  a->stats.apdus_out++;
}

/* What was not begun is taken back. */
static void take_back(struct agent *a) {
  struct apdu **at = a->out && a->out->at > 0 ? &a->out->next : &a->out;
  while (*at) {
    struct apdu *apdu = *at;
    *at = apdu->next;
    free(apdu);
  }
  a->out_tail = at;
}

static void say_short(struct agent *a, uint16_t choice, uint16_t reason, uint64_t patience_us) {
  a->m.n = 0;
  phdc_put_short(&a->m, choice, reason);
  queue_apdu(a, patience_us);
}

static void unassociate(struct agent *a) {
  a->state = UNASSOCIATED;
  a->outstanding = false;
  a->in_flight = 0;
  a->request.active = false;
  a->set.device.scanner_on = false;
  a->store.transfer = NULL;
  a->due[T_ANSWER] = a->due[T_AUTO] = a->due[T_REASSOCIATE] = a->due[T_REQUEST_END] = NEVER;
}

/* After a release: silent until there is a reading, unless the patient takes the next by himself. */
static void rest(struct agent *a) {
  unassociate(a);
  if (a->set.has_auto)
    a->due[T_ASSOCIATE] = a->now_us + paced(a, a->set.auto_us);
}

static void stop(struct agent *a, uint16_t reason, uint64_t again_us) {
  take_back(a);
  say_short(a, PHDC_ABRT, reason, 0);
  a->stats.aborts++;
  unassociate(a);
  a->due[T_ASSOCIATE] = again_us == NEVER ? NEVER : a->now_us + again_us;
}

/* May it speak in this phase? An abort takes the place of what it would have said. */
static bool may(struct agent *a, enum phdc_phase phase) {
  const struct faults *f = &a->set.device.faults;
  if (f->on[PHDC_FAULT_SILENCE] && f->arg[PHDC_FAULT_SILENCE] == phase)
    return false;
  if (f->on[PHDC_FAULT_ABORT] && f->arg[PHDC_FAULT_ABORT] == phase) {
    stop(a, ABORT_UNDEFINED, AGAIN_US);
    return false;
  }
  return true;
}

static void associate(struct agent *a) {
  a->due[T_ASSOCIATE] = NEVER;
  a->state = ASSOCIATING;
  a->attempts++;
  a->m.n = 0;
  phdc_put_aarq(&a->m, &a->set.device);
  if (may(a, PHDC_PHASE_ASSOCIATE))
    queue_apdu(a, ASSOCIATE_US);
}

static void associate_when_idle(struct agent *a) {
  if (a->state == UNASSOCIATED && a->due[T_ASSOCIATE] == NEVER) {
    a->attempts = 0;
    a->due[T_ASSOCIATE] = a->now_us;
  }
}

/* The answer to what was made last. */
static void await(struct agent *a) {
  a->outstanding = true;
  a->awaited = a->invoke;
}

static void configure(struct agent *a) {
  a->state = CONFIGURING;
  a->due[T_ANSWER] = NEVER;
  if (!may(a, PHDC_PHASE_CONFIG))
    return;
  a->m.n = 0;
  phdc_put_config(&a->m, &a->set.device, ++a->invoke);
  await(a);
  queue_apdu(a, CONFIG_US);
}

static void operate(struct agent *a) {
  a->state = OPERATING;
  a->outstanding = false;
  a->due[T_ANSWER] = NEVER;
  a->attempts = 0;
  a->stats.associations++;
  if (a->set.has_auto)
    a->due[T_AUTO] = a->now_us + paced(a, a->set.auto_us);
  if (has_fault(a, PHDC_FAULT_REASSOCIATE))
    a->due[T_REASSOCIATE] = a->now_us + 1000u * a->set.device.faults.arg[PHDC_FAULT_REASSOCIATE];
}

/* ---- data ---- */

static unsigned fitting(const struct agent *a) {
  size_t bytes = 0;
  unsigned n = 0;
  while (n < a->measure.n && (n == 0 || bytes + a->measure.waiting[n]->n <= REPORT_MAX))
    bytes += a->measure.waiting[n++]->n;
  return n;
}

static uint32_t event_time(const struct agent *a) {
  return a->set.device.profile->relative_time ? ticks(a) : PHDC_NO_TIME;
}

/* Longer than it is: what follows belongs to it. */
static void lengthen(struct agent *a) {
  memcpy(a->m.bytes + 2, "\xFF\xFF\xFF\xFD", 4);
}

static void put_event(struct agent *a, bool confirmed, uint16_t handle, struct phdc_prst *p) {
  a->m.n = 0;
  *p = phdc_prst_open(&a->m, ++a->invoke, confirmed ? PHDC_EVENT_CONFIRMED : PHDC_EVENT);
  mder_u16(&a->m, handle);
  mder_u32(&a->m, event_time(a));
}

static void report(struct agent *a) {
  static const uint16_t handles[] = {
      [PHDC_NO_SCANNER] = 0, [PHDC_EPISODIC] = PHDC_EPI_HANDLE, [PHDC_PERIODIC] = PHDC_PERI_HANDLE};
  bool confirmed = !a->set.unconfirmed && a->set.device.scanner != PHDC_PERIODIC;
  unsigned n = fitting(a);
  struct phdc_prst p;
  put_event(a, confirmed, handles[a->set.device.scanner], &p);
  phdc_put_report(&a->m, &a->set.device, a->set.report, a->request.active ? a->request.id : AGENT_INITIATED,
                  a->report_number++, a->measure.waiting, n);
  phdc_prst_close(&a->m, p);
  if (has_fault(a, PHDC_FAULT_HUGE))
    lengthen(a);
  queue_apdu(a, confirmed ? CONFIRM_US : 0);
  a->stats.reports++;
  if (confirmed) {
    await(a);
    a->in_flight = n;
  } else {
    phdc_measure_drop(&a->measure, n);
  }
}

static void send_stored(struct agent *a) {
  struct phdc_prst p;
  put_event(a, true, PHDC_STORE_HANDLE, &p);
  mder_u16(&a->m, PHDC_NOTI_SEGMENT_DATA);
  phdc_store_put_data(&a->m, &a->store);
  phdc_prst_close(&a->m, p);
  queue_apdu(a, CONFIRM_US);
  a->stats.reports++;
  await(a);
}

static bool wants_to_report(const struct agent *a) {
  if (a->measure.n == 0)
    return false;
  return a->set.device.scanner ? a->set.device.scanner_on : !a->set.waits_for_request || a->request.active;
}

/* One report at a time waits for its confirmation, and none is made before the last is out. */
static void talk(struct agent *a) {
  while (a->state == OPERATING && !a->outstanding && (!a->out || has_fault(a, PHDC_FAULT_MERGE)) &&
         (a->store.transfer || wants_to_report(a)) && may(a, PHDC_PHASE_DATA)) {
    if (a->store.transfer)
      send_stored(a);
    else
      report(a);
  }
}

/* ---- answers ---- */

static struct phdc_prst answer_open(struct agent *a, uint16_t invoke, uint16_t choice) {
  a->m.n = 0;
  return phdc_prst_open(&a->m, has_fault(a, PHDC_FAULT_INVOKE) ? (uint16_t)(invoke + 1) : invoke, choice);
}

static void answer_close(struct agent *a, struct phdc_prst p) {
  phdc_prst_close(&a->m, p);
  if (may(a, PHDC_PHASE_ANSWER))
    queue_apdu(a, 0);
}

static void refuse(struct agent *a, uint16_t invoke, uint16_t choice, uint16_t reason) {
  struct phdc_prst p = answer_open(a, invoke, choice);
  mder_u16(&a->m, reason);
  if (choice == PHDC_ERROR)
    mder_u16(&a->m, 0); /* no parameter */
  answer_close(a, p);
}

static void answer_get(struct agent *a, uint16_t invoke, struct mder_in in) {
  uint16_t handle = (uint16_t)mder_get_u16(&in);
  unsigned count = mder_get_u16(&in), n = 0;
  mder_get_u16(&in);
  bool store = a->set.device.profile->has_store && handle == PHDC_STORE_HANDLE;
  if (in.bad)
    return refuse(a, invoke, PHDC_REJECT, REJECT_BADLY_STRUCTURED);
  if (handle != 0 && !store)
    return refuse(a, invoke, PHDC_ERROR, ERROR_NO_SUCH_OBJECT);
  struct phdc_prst p = answer_open(a, invoke, PHDC_GET_RESULT);
  mder_u16(&a->m, handle);
  size_t list = mder_list_open(&a->m);
  for (unsigned i = 0; i < (count ? count : 1) && !in.bad; i++) {
    uint16_t only = count ? (uint16_t)mder_get_u16(&in) : 0;
    if (count && in.bad)
      break;
    n += store ? phdc_store_put(&a->m, &a->store, only)
               : phdc_put_mds(&a->m, &a->set.device, only, moment(a).local_us, ticks(a));
  }
  mder_list_close(&a->m, list, n);
  answer_close(a, p);
}

/* The one thing that can be set is whether a scanner scans. */
static void answer_set(struct agent *a, uint16_t invoke, bool confirmed, struct mder_in in) {
  uint16_t handle = (uint16_t)mder_get_u16(&in);
  mder_get_u32(&in); /* count and length of the list */
  unsigned modify = mder_get_u16(&in), id = mder_get_u16(&in), length = mder_get_u16(&in), value = mder_get_u16(&in);
  uint16_t own = a->set.device.scanner == PHDC_EPISODIC ? PHDC_EPI_HANDLE : PHDC_PERI_HANDLE;
  if (in.bad)
    return refuse(a, invoke, PHDC_REJECT, REJECT_BADLY_STRUCTURED);
  if (!a->set.device.scanner || handle != own)
    return refuse(a, invoke, PHDC_ERROR, ERROR_NO_SUCH_OBJECT);
  if (modify != 0 || id != PHDC_ATTR_OP_STAT || length != 2)
    return refuse(a, invoke, PHDC_ERROR, ERROR_NOT_ALLOWED);
  a->set.device.scanner_on = value == 1;
  if (!confirmed)
    return;
  struct phdc_prst p = answer_open(a, invoke, PHDC_SET_RESULT);
  mder_u16(&a->m, handle);
  size_t list = mder_list_open(&a->m);
  mder_attribute_u16(&a->m, PHDC_ATTR_OP_STAT, value);
  mder_list_close(&a->m, list, 1);
  answer_close(a, p);
}

struct data_request {
  uint16_t id, mode, class;
  uint32_t time;
  struct mder_in handles;
  uint16_t result;
};

static bool is_chosen(const struct data_request *r, const struct phdc_object *o) {
  if (r->mode & REQUEST_CLASS)
    return o->class == r->class;
  if (!(r->mode & REQUEST_HANDLE))
    return true;
  for (struct mder_in in = r->handles; in.at < in.end && !in.bad;)
    if (mder_get_u16(&in) == o->handle)
      return true;
  return false;
}

static bool chooses_any(const struct agent *a, const struct data_request *r) {
  for (unsigned i = 0; i < a->set.device.n_objects; i++)
    if (is_chosen(r, &a->set.device.objects[i]))
      return true;
  return false;
}

static struct data_request read_request(struct agent *a, struct mder_in *in) {
  struct data_request r = {.id = (uint16_t)mder_get_u16(in), .mode = (uint16_t)mder_get_u16(in)};
  r.time = mder_get_u32(in);
  mder_get_u16(in); /* person */
  r.class = (uint16_t)mder_get_u16(in);
  mder_get_u16(in);
  r.handles = mder_get_sub(in, mder_get_u16(in));
  if (!chooses_any(a, &r))
    r.result = r.mode & REQUEST_CLASS ? RESULT_UNKNOWN_CLASS : RESULT_UNKNOWN_HANDLE;
  return r;
}

/* What was chosen comes first; returns how many. */
static unsigned choose(struct agent *a, const struct data_request *r) {
  unsigned n = 0;
  for (unsigned i = 0; i < a->measure.n; i++) {
    struct phdc_observation *o = a->measure.waiting[i];
    if (!is_chosen(r, o->object))
      continue;
    memmove(&a->measure.waiting[n + 1], &a->measure.waiting[n], (i - n) * sizeof o);
    a->measure.waiting[n++] = o;
  }
  return n;
}

static void put_data_response(struct agent *a, const struct data_request *r) {
  size_t at = mder_open(&a->m);
  bool single = r->result == RESULT_OK && r->mode & REQUEST_START && r->mode & REQUEST_SINGLE;
  unsigned n = single && !a->outstanding ? choose(a, r) : 0;
  mder_u32(&a->m, event_time(a));
  mder_u16(&a->m, r->result);
  if (single) {
    phdc_put_report(&a->m, &a->set.device, a->set.report, r->id, a->report_number++, a->measure.waiting, n);
    phdc_measure_drop(&a->measure, n);
  } else {
    mder_u16(&a->m, 0); /* no event yet */
    mder_u16(&a->m, 0);
  }
  mder_close(&a->m, at);
}

static void run_request(struct agent *a, const struct data_request *r) {
  if (r->result != RESULT_OK || r->mode & REQUEST_SINGLE)
    return;
  a->request.active = r->mode & REQUEST_START;
  a->request.id = r->id;
  a->due[T_REQUEST_END] =
      a->request.active && r->mode & REQUEST_PERIOD ? a->now_us + paced(a, (uint64_t)r->time * 125) : NEVER;
}

static bool set_clock(struct agent *a, struct mder_in in) {
  int64_t local_us;
  if (!mder_get_absolute_time(&in, &local_us))
    return false;
  own_clock_adjust(&a->set.clock, a->now_us, local_us);
  return true;
}

/* The answer's body after handle and action, with its length. False: there is no such action. */
static bool act(struct agent *a, uint16_t handle, uint16_t action, struct mder_in info) {
  bool store = a->set.device.profile->has_store && handle == PHDC_STORE_HANDLE;
  if (handle == 0 && action == PHDC_ACT_DATA_REQUEST) {
    struct data_request r = read_request(a, &info);
    put_data_response(a, &r);
    run_request(a, &r);
  } else if (handle == 0 && action == PHDC_ACT_SET_TIME && set_clock(a, info)) {
    mder_u16(&a->m, 0);
  } else if (store && action == PHDC_ACT_SEG_GET_INFO) {
    phdc_store_put_info(&a->m, &a->store, &a->set.device, info);
  } else if (store && action == PHDC_ACT_SEG_TRIG_XFER) {
    phdc_store_put_transfer(&a->m, &a->store, (uint16_t)mder_get_u16(&info));
  } else if (store && action == PHDC_ACT_SEG_CLR) {
    phdc_store_clear(&a->store, info);
    mder_u16(&a->m, 0);
  } else {
    return false;
  }
  return true;
}

static void answer_action(struct agent *a, uint16_t invoke, bool confirmed, struct mder_in in) {
  uint16_t handle = (uint16_t)mder_get_u16(&in), action = (uint16_t)mder_get_u16(&in);
  struct mder_in info = mder_get_sub(&in, mder_get_u16(&in));
  if (in.bad)
    return refuse(a, invoke, PHDC_REJECT, REJECT_BADLY_STRUCTURED);
  struct phdc_prst p = answer_open(a, invoke, PHDC_ACTION_RESULT);
  mder_u16(&a->m, handle);
  mder_u16(&a->m, action);
  if (!act(a, handle, action, info))
    refuse(a, invoke, PHDC_ERROR, ERROR_NO_SUCH_ACTION);
  else if (confirmed)
    answer_close(a, p);
}

/* ---- hearing ---- */

static void hear_config_result(struct agent *a, struct mder_in info) {
  mder_get_u16(&info); /* configuration id again */
  unsigned result = mder_get_u16(&info);
  if (info.bad)
    return stop(a, ABORT_UNDEFINED, AGAIN_US);
  if (result == 0)
    return operate(a);
  /* Not that one: a standard configuration can be sent as one of its own. */
  if (a->set.device.config < PHDC_EXTENDED) {
    a->set.device.config = PHDC_EXTENDED;
    configure(a);
    return;
  }
  a->state = DISASSOCIATING;
  say_short(a, PHDC_RLRQ, RELEASE_NO_MORE_CONFIGURATIONS, RELEASE_US);
}

static void hear_event_result(struct agent *a, uint16_t invoke, struct mder_in in) {
  mder_get_u16(&in);
  mder_get_u32(&in);
  unsigned type = mder_get_u16(&in);
  struct mder_in info = mder_get_sub(&in, mder_get_u16(&in));
  /* Not what it waits for: the time-out will tell. */
  if (in.bad || !a->outstanding || invoke != a->awaited)
    return (void)a->stats.bad++;
  a->outstanding = false;
  a->due[T_ANSWER] = NEVER;
  if (a->state == CONFIGURING)
    return type == PHDC_NOTI_CONFIG ? hear_config_result(a, info) : stop(a, ABORT_UNDEFINED, AGAIN_US);
  if (a->store.transfer)
    phdc_store_confirm(&a->store, info);
  phdc_measure_drop(&a->measure, a->in_flight);
  a->in_flight = 0;
}

/* A report that was refused is not offered again; a refused configuration is the end. */
static void hear_refusal(struct agent *a, uint16_t invoke) {
  if (!a->outstanding || invoke != a->awaited)
    return (void)a->stats.bad++;
  a->outstanding = false;
  a->due[T_ANSWER] = NEVER;
  if (a->state == CONFIGURING)
    return stop(a, ABORT_UNDEFINED, NEVER);
  a->store.transfer = NULL;
  phdc_measure_drop(&a->measure, a->in_flight);
  a->in_flight = 0;
}

static void hear_prst(struct agent *a, struct mder_in in) {
  struct mder_in data = mder_get_sub(&in, mder_get_u16(&in));
  uint16_t invoke = (uint16_t)mder_get_u16(&data), choice = (uint16_t)mder_get_u16(&data);
  struct mder_in body = mder_get_sub(&data, mder_get_u16(&data));
  if (in.bad || data.bad || (a->state != OPERATING && a->state != CONFIGURING)) {
    a->stats.bad++;
    if (a->state != DISASSOCIATING) /* then it may have crossed the release */
      stop(a, ABORT_UNDEFINED, a->state == UNASSOCIATED ? NEVER : AGAIN_US);
    return;
  }
  /* The ids go on from whatever either side has used, so that no two are the same. */
  if (choice < PHDC_EVENT_RESULT)
    a->invoke = invoke;
  switch (choice) {
  case PHDC_EVENT_RESULT:
    return hear_event_result(a, invoke, body);
  case PHDC_ERROR:
  case PHDC_REJECT:
    return hear_refusal(a, invoke);
  case PHDC_GET:
    return answer_get(a, invoke, body);
  case PHDC_SET:
  case PHDC_SET_CONFIRMED:
    return answer_set(a, invoke, choice == PHDC_SET_CONFIRMED, body);
  case PHDC_ACTION:
  case PHDC_ACTION_CONFIRMED:
    return answer_action(a, invoke, choice == PHDC_ACTION_CONFIRMED, body);
  default:
    a->stats.bad++;
    return refuse(a, invoke, PHDC_REJECT, REJECT_UNRECOGNIZED);
  }
}

static void hear_aare(struct agent *a, struct mder_in in) {
  unsigned result = mder_get_u16(&in);
  if (a->state != ASSOCIATING || in.bad)
    return stop(a, ABORT_UNDEFINED, AGAIN_US);
  a->due[T_ANSWER] = NEVER;
  if (result == ACCEPTED)
    return operate(a);
  if (result == ACCEPTED_UNKNOWN_CONFIG)
    return configure(a);
  unassociate(a);
  if (result == REJECTED_TRANSIENT && a->attempts < ATTEMPTS)
    a->due[T_ASSOCIATE] = a->now_us + AGAIN_US;
}

static void hear_apdu(struct agent *a, uint16_t choice, struct mder_in in) {
  a->stats.apdus_in++;
  switch (choice) {
  case PHDC_AARE:
    return hear_aare(a, in);
  case PHDC_PRST:
    return hear_prst(a, in);
  case PHDC_RLRQ:
    if (a->state != CONFIGURING && a->state != OPERATING && a->state != DISASSOCIATING)
      return stop(a, ABORT_UNDEFINED, AGAIN_US);
    if (!may(a, PHDC_PHASE_RELEASE))
      return;
    take_back(a);
    say_short(a, PHDC_RLRE, RELEASE_NORMAL, 0);
    return rest(a);
  case PHDC_RLRE:
    if (a->state != DISASSOCIATING)
      return stop(a, ABORT_UNDEFINED, AGAIN_US);
    return rest(a);
  case PHDC_ABRT:
    if (a->state != UNASSOCIATED)
      a->due[T_ASSOCIATE] = a->now_us + AGAIN_US;
    take_back(a);
    return unassociate(a);
  default: /* an association request, or nothing known */
    a->stats.bad++;
    return stop(a, ABORT_UNDEFINED, a->state == UNASSOCIATED ? NEVER : AGAIN_US);
  }
}

static void hear_all(struct agent *a) {
  for (;;) {
    struct mder_in in = {.at = a->in, .end = a->in + a->in_len};
    uint16_t choice = (uint16_t)mder_get_u16(&in);
    size_t total = mder_get_u16(&in) + (size_t)4;
    if (in.bad)
      return;
    if (total > sizeof a->in) {
      a->stats.bad++;
      a->in_len = 0;
      return stop(a, ABORT_OVERFLOW, AGAIN_US);
    }
    if (a->in_len < total)
      return;
    in.end = a->in + total;
    hear_apdu(a, choice, in);
    a->in_len -= total;
    memmove(a->in, a->in + total, a->in_len);
  }
}

/* ---- time ---- */

static uint64_t stream_due(const struct agent *a) {
  if (!phdc_measure_recording(&a->measure))
    return NEVER;
  if (a->set.speed == 0)
    return a->measure.n < AHEAD ? a->now_us : NEVER;
  return a->stream_us + paced(a, (a->measure.recording.done + 1ull) * SECOND_US / ARRAYS_PER_SECOND);
}

static void record(struct agent *a, unsigned seconds) {
  phdc_measure_record(&a->measure, seconds * ARRAYS_PER_SECOND, moment(a));
  a->stream_us = a->now_us;
}

static void measure_by_itself(struct agent *a) {
  char answer[256];
  if (is_ecg(a))
    record(a, RECORDING_SECONDS);
  else if (phdc_measure_blow(&a->measure, a->set.manner, moment(a), answer) < 0)
    phdc_measure_take(&a->measure, "", moment(a), answer);
}

static void give_up_waiting(struct agent *a) {
  switch (a->state) {
  case ASSOCIATING:
    if (a->attempts < ATTEMPTS)
      return associate(a);
    return stop(a, ABORT_RESPONSE_TIMEOUT, NEVER);
  case CONFIGURING:
    return stop(a, ABORT_CONFIG_TIMEOUT, AGAIN_US);
  case OPERATING:
    return stop(a, ABORT_RESPONSE_TIMEOUT, AGAIN_US);
  default:
    return stop(a, ABORT_RESPONSE_TIMEOUT, NEVER);
  }
}

static void ring(struct agent *a, enum timer timer) {
  a->due[timer] = NEVER;
  switch (timer) {
  case T_ANSWER:
    return give_up_waiting(a);
  case T_ASSOCIATE:
    return associate(a);
  case T_AUTO:
    return measure_by_itself(a);
  case T_REASSOCIATE:
    return stop(a, ABORT_UNDEFINED, 0);
  case T_STREAM:
    return phdc_measure_step(&a->measure, moment(a));
  default:
    a->request.active = false;
  }
}

static void power_on(void *engine, uint64_t now_us) {
  struct agent *a = engine;
  a->now_us = a->power_us = now_us;
  while (a->out) {
    struct apdu *apdu = a->out;
    a->out = apdu->next;
    free(apdu);
  }
  a->out_tail = &a->out;
  a->in_len = 0;
  a->invoke = 0;
  a->attempts = 0;
  a->report_number = 0;
  a->preamble = false;
  a->measure.recording.total = 0;
  unassociate(a);
  a->due[T_ASSOCIATE] = now_us;
  if (a->started)
    return;
  a->started = true;
  if (a->set.device.profile->has_store)
    phdc_store_open(&a->store);
  phdc_measure_older(&a->measure, a->set.stored, moment(a));
  if (a->set.device.profile->has_store && a->set.stored)
    phdc_store_open(&a->store); /* today's */
}

static void go_on(struct agent *a, uint64_t now_us) {
  own_clock_tick(&a->set.clock, now_us);
  if (!a->started)
    power_on(a, now_us);
  a->now_us = now_us;
  for (bool rang = true; rang;) {
    rang = false;
    a->due[T_STREAM] = stream_due(a);
    for (unsigned t = 0; t < TIMERS; t++) {
      if (a->due[t] > now_us)
        continue;
      ring(a, (enum timer)t);
      rang = true;
    }
  }
  talk(a);
}

/* ---- engine ---- */

static void destroy(void *engine) {
  struct agent *a = engine;
  if (!a)
    return;
  while (a->out) {
    struct apdu *apdu = a->out;
    a->out = apdu->next;
    free(apdu);
  }
  phdc_measure_finish(&a->measure);
  free(a);
}

static void *create(const char *options, int64_t local_us, char why[static 256]) {
  struct agent *a = calloc(1, sizeof *a);
  if (!a) {
    snprintf(why, 256, "no memory");
    return NULL;
  }
  if (phdc_settings_parse(&a->set, options, local_us, why) < 0) {
    free(a);
    return NULL;
  }
  a->out_tail = &a->out;
  phdc_measure_init(&a->measure, &a->set.device, a->set.device.profile->has_store ? &a->store : NULL, a->set.seed);
  phdc_store_init(&a->store);
  return a;
}

static int set_fault(void *engine, const char *text) {
  struct agent *a = engine;
  int r = phdc_fault_set(&a->set.device.faults, text);
  if (r == PHDC_FAULT_CLOCK_2013)
    own_clock_lose(&a->set.clock);
  return r < 0 ? r : 0;
}

static int measure(struct agent *a, const char *words, char answer[static 256]) {
  uint64_t seconds = RECORDING_SECONDS;
  if (!is_ecg(a))
    return phdc_measure_take(&a->measure, words, moment(a), answer);
  if (*words && (!option_number(words, 3600, &seconds) || seconds == 0)) {
    snprintf(answer, 256, "for how many seconds?");
    return -EINVAL;
  }
  record(a, (unsigned)seconds);
  return 0;
}

static int end_association(struct agent *a, bool abort, char answer[static 256]) {
  if (a->state != OPERATING) {
    snprintf(answer, 256, "not operating");
    return -EINVAL;
  }
  if (abort) {
    stop(a, ABORT_UNDEFINED, NEVER);
    return 0;
  }
  a->state = DISASSOCIATING;
  a->outstanding = false;
  a->in_flight = 0;
  say_short(a, PHDC_RLRQ, RELEASE_NORMAL, RELEASE_US);
  return 0;
}

static int command(void *engine, uint64_t now_us, const char *text, char answer[static 256]) {
  struct agent *a = engine;
  size_t len = strcspn(text, " ");
  const char *rest = text + len + (text[len] == ' ');
  int r;
  answer[0] = 0;
  go_on(a, now_us);
  if (len == 4 && strncmp(text, "blow", len) == 0) {
    r = phdc_measure_blow(&a->measure, *rest ? rest : a->set.manner, moment(a), answer);
  } else if (len == 7 && strncmp(text, "measure", len) == 0) {
    r = measure(a, rest, answer);
  } else if (strcmp(text, "release") == 0 || strcmp(text, "abort") == 0) {
    return end_association(a, *text == 'a', answer);
  } else if (strcmp(text, "associate") == 0) {
    r = 0;
  } else {
    snprintf(answer, 256, "unknown command");
    return -EINVAL;
  }
  if (r == 0)
    associate_when_idle(a);
  go_on(a, now_us);
  return r;
}

static size_t stats(const void *engine, char *text, size_t size) {
  static const char *const states[] = {"unassociated", "associating", "configuring", "operating", "disassociating"};
  const struct agent *a = engine;
  int n = snprintf(text, size,
                   "state=%s bytes_in=%llu apdus_in=%llu apdus_out=%llu associations=%llu reports=%llu aborts=%llu "
                   "bad=%llu waiting=%u",
                   states[a->state], (unsigned long long)a->stats.bytes_in, (unsigned long long)a->stats.apdus_in,
                   (unsigned long long)a->stats.apdus_out, (unsigned long long)a->stats.associations,
                   (unsigned long long)a->stats.reports, (unsigned long long)a->stats.aborts,
                   (unsigned long long)a->stats.bad, a->measure.n);
  return n < 0 ? 0 : (size_t)n;
}

static void receive(void *engine, uint64_t now_us, const uint8_t *bytes, size_t n) {
  struct agent *a = engine;
  go_on(a, now_us);
  a->stats.bytes_in += n;
  while (n) {
    size_t part = sizeof a->in - a->in_len < n ? sizeof a->in - a->in_len : n;
    memcpy(a->in + a->in_len, bytes, part);
    a->in_len += part;
    bytes += part;
    n -= part;
    hear_all(a);
  }
  go_on(a, now_us);
}

/* The first APDU is out: from now on its answer is due, unless that has become void. */
static void sent(struct agent *a) {
  struct apdu *apdu = a->out;
  bool waits = a->outstanding || a->state == ASSOCIATING || a->state == DISASSOCIATING;
  if (apdu->patience_us && waits)
    a->due[T_ANSWER] = a->now_us + apdu->patience_us;
  a->out = apdu->next;
  if (!a->out)
    a->out_tail = &a->out;
  free(apdu);
}

static size_t transmit(void *engine, uint64_t now_us, uint8_t *bytes, size_t max) {
  struct agent *a = engine;
  size_t n = 0;
  go_on(a, now_us);
  if (has_fault(a, PHDC_FAULT_SPLIT) && max > a->set.device.faults.arg[PHDC_FAULT_SPLIT])
    max = a->set.device.faults.arg[PHDC_FAULT_SPLIT];
  do {
    if (!a->out || n == max)
      break;
    size_t part = a->out->n - a->out->at < max - n ? a->out->n - a->out->at : max - n;
    memcpy(bytes + n, a->out->bytes + a->out->at, part);
    a->out->at += part;
    n += part;
    if (a->out->at == a->out->n)
      sent(a);
  } while (has_fault(a, PHDC_FAULT_MERGE));
  if (n)
    go_on(a, now_us);
  return n;
}

static uint64_t next_us(const void *engine) {
  const struct agent *a = engine;
  uint64_t next = stream_due(a);
  if (a->out || !a->started)
    return 0;
  for (unsigned t = 0; t < TIMERS; t++)
    next = a->due[t] < next ? a->due[t] : next;
  return next;
}

/* A device on a USB bus does not see who has opened it. */
static void line_closed(void *engine, uint64_t now_us) {
  go_on(engine, now_us);
}

struct phdc_device *phdc_agent_device(void *engine) {
  struct agent *a = engine;
  return &a->set.device;
}

bool phdc_agent_pending(const void *engine) {
  const struct agent *a = engine;
  return a->out;
}

bool phdc_agent_has_preamble(const void *engine) {
  const struct agent *a = engine;
  return a->set.has_preamble;
}

void phdc_agent_preamble(void *engine, bool on) {
  struct agent *a = engine;
  a->preamble = on;
}

const struct sim_engine sim_phdc = {
    .name = "phdc",
    .bus = SIM_USB,
    .help = "a personal health device, IEEE 11073-20601 over USB PHDC\n" PHDC_SETTINGS_HELP
            "  faults: nan[:HANDLE] nres plus-inf minus-inf reserved twins count-report count-config\n"
            "    count-attributes count-map count-samples length huge objects[:N] map-twice map-long class signed\n"
            "    split[:BYTES] merge invoke event-type clock-2013 reassociate[:MS] silence:PHASE abort:PHASE,\n"
            "    PHASE: associate config answer data release\n"
            "  commands: blow [PATTERN] [DEFECT], measure [VALUE | KEY=VALUE... at=TIME person=N],\n"
            "    measure [SECONDS] (ecg), associate, release, abort\n",
    .create = create,
    .destroy = destroy,
    .power_on = power_on,
    .fault = set_fault,
    .command = command,
    .stats = stats,
    .receive = receive,
    .transmit = transmit,
    .next_us = next_us,
    .line_closed = line_closed,
};
