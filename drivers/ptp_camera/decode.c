/* The conversation as the capture has it, read with the same rules as by acquire(). What breaks them is forgiven only
 * where the host noticed too and brought the camera to rest. */
#include "decode.h"

#include <stdio.h>
#include <string.h>

/* ---- judged alike -------------------------------------------------------------------------------------------- */

bool ptp_is_refused(const struct ptp_object_info *info, uint64_t taken) {
  return info->size > ACQ_BLOB_MAX || taken + info->size > ACQ_BLOBS_BYTES_MAX;
}

bool ptp_clock_read(struct acq_cur value, const struct acq_order *order, uint64_t ms, int64_t *ret_slow_us) {
  char text[PTP_NAME_MAX];
  int64_t us;
  ptp_string(&value, text, sizeof text);
  if (acq_end(&value) < 0 || ptp_date_read(text, order->offset_minutes, &us) < 0)
    return false;
  *ret_slow_us = acq_order_clock_us(order, ms) - us;
  return true;
}

/* ---- the walk ------------------------------------------------------------------------------------------------ */

enum state {
  IDLE,    /* between transactions */
  ANSWER,  /* a container's head comes next */
  DATA,    /* data that are read here */
  OBJECT,  /* a picture's bytes, which go into a blob */
  RESTING, /* the host cancels: nothing counts until its next command */
};

/* What an ObjectInfo said of a picture. */
struct told {
  uint32_t handle, size;
  char name[ACQ_TEXT_MAX];
  bool timed;
  int64_t clock_us;
};
#define TOLD_MAX 64u /* the latest ones: this driver fetches a picture right after its ObjectInfo */

struct decoding {
  struct acq_record *record;
  const struct acq_order *order;
  struct acq_cur stream; /* what was received; */
  size_t have;           /*   so much of it has come and was not used */
  enum state state;
  const char *broken; /* why, until the host comes to rest */
  bool control;       /* an answer to a control transfer comes next */
  uint32_t next;      /* transaction */
  struct ptp_container command;
  bool had_data, ok;
  bool pursued; /* a picture was asked for, and has not become one: */
  uint32_t pursued_handle;
  uint32_t left; /* of the data container */
  unsigned n_told;
  struct told told[TOLD_MAX];
  uint32_t blob_handle;
  uint64_t blob_bytes;
  bool compared;
  int64_t slow_us;
  unsigned n, refused, lost;
  uint32_t taken[ACQ_PICTURES_MAX];
  uint64_t bytes;
};

static void break_off(struct decoding *d, const char *why) {
  if (!d->broken)
    d->broken = why;
}

static void skip(struct decoding *d, size_t n) {
  acq_bytes(&d->stream, n);
}

static bool is_object(const struct decoding *d) {
  return d->command.code == PTP_GET_OBJECT || d->command.code == PTP_GET_PARTIAL_OBJECT;
}

/* ---- the host ------------------------------------------------------------------------------------------------ */

enum { TO_INTERFACE = 0x21, FROM_INTERFACE = 0xa1, CANCEL = 0x64, RESET = 0x66, STATUS = 0x67, SETUP_BYTES = 8 };

/* A class request: its first byte is no length of a command. */
static bool take_request(struct decoding *d, const struct acq_event *e) {
  if (e->n < SETUP_BYTES || (e->bytes[0] != TO_INTERFACE && e->bytes[0] != FROM_INTERFACE))
    return false;
  d->control = e->bytes[0] == FROM_INTERFACE;
  if (e->bytes[1] == CANCEL || e->bytes[1] == RESET) {
    d->state = RESTING;
    d->broken = NULL;
    skip(d, d->have);
    d->have = 0;
  } else if (e->bytes[1] != STATUS) {
    break_off(d, "a class request that is none of ours");
  }
  return true;
}

static void take_sent(struct decoding *d, const struct acq_event *e) {
  struct acq_cur c = acq_cur(e->bytes, e->n);
  struct ptp_container command;
  d->control = false;
  if (take_request(d, e) || d->broken)
    return;
  if (ptp_head_read(&c, &command) < 0 || command.type != PTP_COMMAND || command.length != e->n ||
      ptp_parameters_read(&c, &command) < 0)
    return break_off(d, "the host's side is no command");
  if (d->state != IDLE && d->state != RESTING)
    return break_off(d, "a command in the middle of another transaction");
  if (d->have)
    return break_off(d, "the camera sent what it was not asked for");
  if (command.transaction != (command.code == PTP_OPEN_SESSION ? 0 : d->next))
    return break_off(d, "transaction ids out of order");
  d->next = command.transaction + 1;
  d->command = command;
  d->had_data = false;
  if (is_object(d)) {
    d->lost += d->pursued && d->pursued_handle != command.parameters[0];
    d->pursued = true;
    d->pursued_handle = command.parameters[0];
  }
  d->state = ANSWER;
}

/* ---- the camera ---------------------------------------------------------------------------------------------- */

/* The name as far as it fits, and no half characters. */
static void cut_text(const char *text, char ret[static ACQ_TEXT_MAX]) {
  size_t n = strnlen(text, ACQ_TEXT_MAX - 1);
  while (n && (text[n] & 0xc0) == 0x80)
    n--;
  memcpy(ret, text, n);
  ret[n] = 0;
}

static void take_info(struct decoding *d, struct acq_cur data) {
  struct ptp_object_info info;
  const char *why;
  if (ptp_object_info_read(data, &info, &why) < 0)
    return break_off(d, why);
  if (!ptp_is_picture(&info))
    return;
  d->refused += ptp_is_refused(&info, d->bytes);
  struct told *t = &d->told[d->n_told++ % TOLD_MAX];
  *t = (struct told){.handle = d->command.parameters[0], .size = info.size};
  cut_text(info.name, t->name);
  t->timed = ptp_date_read(info.taken, d->order->offset_minutes, &t->clock_us) == 0;
}

/* The latest of that handle, or NULL. */
static const struct told *find_told(const struct decoding *d, uint32_t handle) {
  for (unsigned i = 0; i < TOLD_MAX && i < d->n_told; i++) {
    const struct told *t = &d->told[(d->n_told - 1 - i) % TOLD_MAX];
    if (t->handle == handle)
      return t;
  }
  return NULL;
}

static void take_data(struct decoding *d, struct acq_cur data, uint32_t ms) {
  if (d->command.code == PTP_GET_OBJECT_INFO)
    take_info(d, data);
  else if (d->command.code == PTP_GET_DEVICE_PROP_VALUE && d->command.parameters[0] == PTP_PROPERTY_DATE_TIME)
    d->compared = ptp_clock_read(data, d->order, ms, &d->slow_us);
}

static void take_response(struct decoding *d, uint16_t code) {
  d->state = IDLE;
  d->ok = code == PTP_OK;
  if (is_object(d) && code == PTP_INVALID_HANDLE) {
    d->lost++;
    d->pursued = false;
  }
}

/* One container's head, or a whole response; false when it has not all come. */
static bool take_head(struct decoding *d) {
  struct acq_cur c = d->stream;
  struct ptp_container head;
  if (d->have < PTP_HEAD)
    return false;
  if (ptp_head_read(&c, &head) < 0) {
    break_off(d, "what comes is no container");
    return false;
  }
  const char *fault = ptp_head_fault(&head, d->command.code, d->command.transaction, d->had_data);
  if (fault) {
    break_off(d, fault);
    return false;
  }
  const size_t n = head.type == PTP_DATA ? PTP_HEAD : head.length;
  if (d->have < n)
    return false;
  skip(d, n);
  d->have -= n;
  if (head.type == PTP_RESPONSE) {
    take_response(d, head.code);
    return true;
  }
  d->had_data = true;
  d->left = head.length - PTP_HEAD;
  d->state = is_object(d) && d->left ? OBJECT : DATA;
  if (d->command.code == PTP_GET_PARTIAL_OBJECT && d->command.parameters[1] != d->blob_bytes)
    break_off(d, "a part of a picture out of its place");
  return true;
}

static bool take_set(struct decoding *d, uint32_t ms) {
  if (d->have < d->left)
    return false;
  struct acq_cur data = acq_sub(&d->stream, d->left);
  d->have -= d->left;
  d->state = ANSWER;
  take_data(d, data, ms);
  return true;
}

/* A picture's first bytes may stand here at the end of a capture that was cut: the line that says that they belong to a
 * blob comes behind them. */
static void take_received(struct decoding *d, const struct acq_event *e) {
  if (d->control || d->state == RESTING || d->broken) {
    d->control = false;
    return skip(d, e->n);
  }
  if (d->state == OBJECT)
    break_off(d, "a picture's bytes are not in a blob");
  d->have += e->n;
  bool more = true;
  while (more && !d->broken && d->have)
    more = d->state == ANSWER ? take_head(d) : d->state == DATA ? take_set(d, e->ms) : false;
  if (d->state == DATA && !d->left && !d->broken)
    take_set(d, e->ms);
  if (d->broken) {
    skip(d, d->have);
    d->have = 0;
  }
}

/* ---- blobs --------------------------------------------------------------------------------------------------- */

static void take_blob(struct decoding *d, const struct acq_event *e) {
  if (d->state == RESTING || d->broken)
    return;
  const uint32_t handle = d->command.parameters[0];
  /* A worker that crashed did not say how much of the blob had come with the head; the picture is not whole. */
  if (d->state == OBJECT && d->have)
    return;
  if (d->state != OBJECT || e->n > d->left)
    return break_off(d, "a part of a blob that no picture has");
  if (d->blob_bytes && handle != d->blob_handle)
    return break_off(d, "a blob of two pictures");
  d->blob_handle = handle;
  d->blob_bytes += e->n;
  d->left -= (uint32_t)e->n;
  if (!d->left)
    d->state = ANSWER;
}

static bool is_taken(const struct decoding *d, uint32_t handle, unsigned *ret_number) {
  for (unsigned i = 0; i < d->n; i++)
    if (d->taken[i] == handle) {
      *ret_number = i + 1;
      return true;
    }
  return false;
}

static void add_picture(struct decoding *d, const struct told *told, size_t event) {
  d->pursued = false;
  struct acq_trial trial = {0};
  char number[16];
  unsigned before;
  if (is_taken(d, told->handle, &before)) {
    snprintf(number, sizeof number, "%u", before);
    return acq_rec_quality(d->record, "picture_repeated", number, 1);
  }
  if (d->n == ACQ_PICTURES_MAX)
    return break_off(d, "more pictures than a record holds");
  d->taken[d->n++] = told->handle;
  d->bytes += d->blob_bytes;
  if (told->timed)
    trial =
        (struct acq_trial){.timed = true, .clock_us = told->clock_us, .compared = d->compared, .slow_us = d->slow_us};
  acq_rec_trial(d->record, &trial);
  if (!told->timed) /* only its handle says that it is new */
    acq_rec_quality(d->record, "reading_time_unverified", "", 1);
  acq_rec_picture(d->record, event, told->name);
}

static void end_blob(struct decoding *d, size_t event) {
  if (d->state == RESTING || d->broken)
    return;
  if (d->state != IDLE || !d->blob_bytes || !d->ok || !is_object(d))
    return break_off(d, "a blob that ends before its picture");
  const struct told *told = find_told(d, d->blob_handle);
  if (!told || told->size != d->blob_bytes)
    return break_off(d, "a picture that its ObjectInfo does not describe");
  add_picture(d, told, event);
  d->blob_bytes = 0;
}

/* ---- all of it ----------------------------------------------------------------------------------------------- */

static void take_event(struct decoding *d, size_t i, const struct acq_event *e) {
  switch (e->kind) {
  case ACQ_SENT:
    return take_sent(d, e);
  case ACQ_RECEIVED:
    return take_received(d, e);
  case ACQ_NOTE: /* how a control transfer ended that has no answer */
    d->control = false;
    return;
  case ACQ_BLOB:
    return take_blob(d, e);
  case ACQ_BLOB_WHOLE:
    return end_blob(d, i);
  case ACQ_BLOB_WASTE:
    d->blob_bytes = 0;
    return;
  default:
    return;
  }
}

static void tell_missing(struct decoding *d) {
  const unsigned wanted = d->order->pictures;
  const unsigned missing = wanted > d->n ? wanted - d->n : wanted ? 0 : d->lost + d->pursued;
  char text[32];
  acq_rec_trial(d->record, NULL);
  if (missing) {
    snprintf(text, sizeof text, "%u", missing);
    acq_rec_quality(d->record, "pictures_missing", text, missing);
  }
  if (d->refused) {
    snprintf(text, sizeof text, "%u fois", d->refused);
    acq_rec_quality(d->record, "pictures_refused", text, d->refused);
  }
}

int ptp_decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct decoding d = {.record = ret, .order = acq_capture_order(capture), .stream = acq_capture_received(capture)};
  struct acq_event e;
  for (size_t i = 0; acq_capture_event(capture, i, &e); i++)
    take_event(&d, i, &e);
  if (d.broken)
    return acq_rec_fail(ret, -EPROTO, "%s: %s", ptp_operation_name(d.command.code), d.broken);
  if (!d.n)
    return acq_rec_fail(ret, -ENODATA, "no picture came");
  tell_missing(&d);
  return acq_rec_done(ret);
}
