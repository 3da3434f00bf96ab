/* ISO 15740 (PTP) over USB: the pictures that are made on a camera while the order runs. README.md says what is known
 * and how well; ptp.h and eos.h have the wire.
 *
 * Waiting is counted in silences, which a replay repeats exactly; behind that stand the order's seconds. */
#include "camera.h"
#include "decode.h"
#include "eos.h"

#include <stdio.h>
#include <string.h>

#define SECONDS_MAX 3600u
#define TICK_MS 500u        /* a wait, between two questions whether the nurse has finished */
#define EOS_TICK_MS 250u    /* the same of a body that is asked for its events each time */
#define STALE_MS 50u        /* events of an earlier time come at once, */
#define STALE_ALL_MS 300u   /*   all of them: what comes later is of now */
#define LIST_TICKS 20u      /* between two looks at all handles, at least; */
#define DEAF_LIST_TICKS 4u  /*   where nothing tells of a new one; */
#define HANDLES_A_TICK 512u /*   and a tick for so many: an hour of lists has to fit into a capture */
#define EOS_HANDLES_A_TICK 256u
#define KEEP_ON_TICKS 120u
#define LAST_TICKS 20u /* for a picture that is still being written when all else is over */
#define PENDING_MAX 256u
#define STORAGES_MAX 16u
#define REQUESTED_MAX 64u
#define PART (8u << 20)                   /* of a larger picture: what a slow camera sends in a second */
#define TRIES 2u                          /* for a picture */
#define LOST_MAX 2u                       /* pictures that cannot be had: then it is the camera */
#define PROGRESS 1000u                    /* a picture's */
#define FRESH_US (5 * INT64_C(1000000))   /* before the order; clocks tell whole seconds */
#define AHEAD_US (120 * INT64_C(1000000)) /* of now: made before the clock was set back, or reset */

/* What identify() learns and acquire() and release() go on with. One process makes one acquisition; identify() begins
 * it anew. */
static struct {
  struct ptp_camera camera;
  struct ptp_device_info info;
  bool remote; /* an EOS body is in remote mode */
} session;

/* One acquire(). Too large for a stack; made anew each time. */
static struct hunt {
  struct ptp_camera *camera;
  const struct acq_order *order;
  uint64_t began_ms;
  unsigned wanted, taken, refused;
  uint64_t bytes;
  bool compared;
  int64_t slow_us;
  unsigned lost;          /* so many pictures that could not be had, one after the other */
  bool look;              /* at all handles: something changed */
  unsigned ticks, looked; /* so many; when it last looked, */
  uint32_t listed;        /*   and how many handles it was told then */
  unsigned n_storages, n_pending, n_requested;
  uint32_t storages[STORAGES_MAX], pending[PENDING_MAX], requested[REQUESTED_MAX];
  struct ptp_handles old;  /* there when their storage was first looked at */
  struct ptp_handles done; /* since then: taken, refused, or none of ours */
} hunt;

/* ---- errors -------------------------------------------------------------------------------------------------- */

/* What ends an acquisition: an error, or a refusal by the camera. */
static int fail(struct ptp_camera *camera, int r) {
  if (r == 0 || r == -ENODEV || r == -ECANCELED)
    return r;
  const int err = r > 0 ? -EIO : r == -EPIPE || r == -EOPNOTSUPP ? -EPROTO : r;
  return camera->why[0] ? acq_fail(camera->io, err, "%s", camera->why) : err;
}

/* What a picture may be asked for again after. */
static bool may_repeat(int r) {
  return r > 0 || r == -EPROTO || r == -ETIMEDOUT || r == -EPIPE;
}

/* What the camera did wrong costs what it did not give, not what it gave before: the record says what is missing. A
 * pulled cable and the nurse's cancel end everything. */
static bool is_camera_fault(int r) {
  return r == -EPROTO || r == -EIO || r == -ETIMEDOUT;
}

/* ---- identify ------------------------------------------------------------------------------------------------ */

static int identify(struct acq_io *io, struct acq_identity *ret) {
  struct ptp_camera *camera = &session.camera;
  const char *why;
  ptp_camera_init(camera, io);
  session.remote = false;
  int r = ptp_open(camera);
  if (r == 0)
    r = ptp_ask(camera, PTP_GET_DEVICE_INFO, NULL, 0, PTP_ANSWER_MS);
  if (r)
    return fail(camera, r);
  r = ptp_device_info_read(acq_cur(camera->data, camera->n_data), &session.info, &why);
  if (r < 0)
    return acq_fail(io, r, "%s", why);
  if (!(session.info.can & PTP_CAN_BROWSE))
    return acq_fail(io, -ENXIO, "the device has no pictures to browse");
  *ret = session.info.identity;
  return 0;
}

/* ---- what is on the camera ----------------------------------------------------------------------------------- */

static bool is_among(const uint32_t *list, unsigned n, uint32_t value) {
  for (unsigned i = 0; i < n; i++)
    if (list[i] == value)
      return true;
  return false;
}

/* What does not fit is found again by looking. */
static void put_among(uint32_t *list, unsigned *n, unsigned max, uint32_t value, bool *lost) {
  if (is_among(list, *n, value))
    return;
  if (*n < max)
    list[(*n)++] = value;
  else
    *lost = true;
}

static int add_known(struct hunt *h, struct ptp_handles *set, uint32_t handle) {
  int r = ptp_handles_add(set, handle);
  return r < 0 ? acq_fail(h->camera->io, r, "the camera has more than %u objects: empty it", PTP_HANDLES_MAX) : 0;
}

static int take_handles(struct hunt *h, bool old) {
  struct acq_cur c = acq_cur(h->camera->data, h->camera->n_data);
  int r = 0;
  uint32_t n = ptp_count(&c, 4);
  h->listed += n;
  for (; n && r == 0; n--) {
    uint32_t handle = acq_u32le(&c);
    if (old)
      r = add_known(h, &h->old, handle);
    else if (!ptp_handles_has(&h->old, handle) && !ptp_handles_has(&h->done, handle))
      put_among(h->pending, &h->n_pending, PENDING_MAX, handle, &h->look);
  }
  if (r == 0 && acq_end(&c) < 0)
    return acq_fail(h->camera->io, -EPROTO, "GetObjectHandles: the list of handles is not in its form");
  return r;
}

/* A storage without a medium has no logical part. One that goes and comes back may number its objects anew. */
static int list_storages(struct hunt *h, uint32_t *now, unsigned *n_now) {
  int r = ptp_ask(h->camera, PTP_GET_STORAGE_IDS, NULL, 0, PTP_LIST_MS);
  if (r)
    return fail(h->camera, r);
  struct acq_cur c = acq_cur(h->camera->data, h->camera->n_data);
  bool many = false;
  *n_now = 0;
  for (uint32_t n = ptp_count(&c, 4); n; n--) {
    uint32_t id = acq_u32le(&c);
    if (id & 0xffff)
      put_among(now, n_now, STORAGES_MAX, id, &many);
  }
  if (acq_end(&c) < 0)
    return acq_fail(h->camera->io, -EPROTO, "GetStorageIDs: the list of storages is not in its form");
  return many ? acq_fail(h->camera->io, -EPROTO, "more than %u storages", STORAGES_MAX) : 0;
}

/* Looks at all handles on all storages: those of a storage that was not there before are old. */
static int look_around(struct hunt *h) {
  uint32_t now[STORAGES_MAX];
  unsigned n = 0, kept = 0;
  h->look = false;
  h->looked = h->ticks;
  h->listed = 0;
  int r = list_storages(h, now, &n);
  for (unsigned i = 0; i < n && r == 0; i++) {
    const uint32_t all[] = {now[i], 0, 0};
    r = ptp_ask(h->camera, PTP_GET_OBJECT_HANDLES, all, 3, PTP_LIST_MS);
    const bool known = is_among(h->storages, h->n_storages, now[i]);
    const bool gone = r == PTP_INVALID_STORAGE, away = gone || r == PTP_STORE_NOT_AVAILABLE; /* perhaps written to */
    r = away ? 0 : r ? fail(h->camera, r) : take_handles(h, !known);
    if (known ? !gone : !away)
      now[kept++] = now[i];
  }
  if (r < 0)
    return r;
  memcpy(h->storages, now, kept * sizeof *now);
  h->n_storages = kept;
  return 0;
}

/* ---- events -------------------------------------------------------------------------------------------------- */

/* An old handle too: it may have come while the storage was being looked at. */
static void announce(struct hunt *h, uint32_t handle) {
  if (!ptp_handles_has(&h->done, handle))
    put_among(h->pending, &h->n_pending, PENDING_MAX, handle, &h->look);
}

/* A card was pulled. The one that is put in its place may have the same id: what is on that is old. */
static void forget_storage(struct hunt *h, uint32_t id) {
  unsigned kept = 0;
  for (unsigned i = 0; i < h->n_storages; i++)
    if (h->storages[i] >> 16 != id >> 16) /* the slot */
      h->storages[kept++] = h->storages[i];
  h->n_storages = kept;
}

static void take_events(struct hunt *h) {
  struct ptp_event event;
  h->look |= h->camera->lost;
  h->camera->lost = false;
  while (ptp_take_event(h->camera, &event)) {
    if (event.code == PTP_OBJECT_ADDED)
      announce(h, event.parameter);
    if (event.code == PTP_STORE_REMOVED)
      forget_storage(h, event.parameter);
    if (event.code == PTP_STORE_ADDED || event.code == PTP_STORE_REMOVED)
      h->look = true;
  }
}

/* What was said before the acquisition is not about its pictures. */
static int forget_events(struct ptp_camera *camera) {
  const uint64_t began_ms = acq_elapsed_ms(camera->io);
  struct ptp_event event;
  int r = 1;
  while (r > 0 && acq_elapsed_ms(camera->io) - began_ms < STALE_ALL_MS) {
    r = ptp_wait(camera, STALE_MS);
    while (ptp_take_event(camera, &event))
      ;
  }
  camera->lost = false;
  return fail(camera, r < 0 ? r : 0);
}

static int poll_eos(struct hunt *h) {
  struct eos_event event;
  bool lost = false;
  int r = ptp_ask(h->camera, EOS_GET_EVENT, NULL, 0, PTP_ANSWER_MS);
  if (r)
    return fail(h->camera, r);
  struct acq_cur c = acq_cur(h->camera->data, h->camera->n_data);
  while (eos_next(&c, &event)) {
    if (event.kind == EOS_STORAGE)
      h->look = true;
    else if (event.kind == EOS_CHANGED && ptp_handles_has(&h->old, event.handle))
      continue; /* an old picture was looked at, or rated */
    else if (event.kind != EOS_OTHER)
      announce(h, event.handle);
    if (event.kind == EOS_REQUESTED)
      put_among(h->requested, &h->n_requested, REQUESTED_MAX, event.handle, &lost);
  }
  return c.err < 0 ? acq_fail(h->camera->io, -EPROTO, "EOS GetEvent: the events do not fit into each other") : 0;
}

static int set_modes(struct ptp_camera *camera, uint32_t on) {
  const uint16_t order[2] = {on ? EOS_SET_REMOTE_MODE : EOS_SET_EVENT_MODE,
                             on ? EOS_SET_EVENT_MODE : EOS_SET_REMOTE_MODE};
  int first = ptp_ask(camera, order[0], &on, 1, PTP_ANSWER_MS);
  int second = first < 0 ? first : ptp_ask(camera, order[1], &on, 1, PTP_ANSWER_MS);
  return first && second >= 0 ? first : second;
}

/* A body that refuses is a camera like others. */
static int go_remote(struct hunt *h) {
  if (!(session.info.can & PTP_CAN_EOS))
    return 0;
  session.remote = true; /* to be undone, even if only half of it was done */
  int r = set_modes(h->camera, 1);
  if (r == 0)
    return poll_eos(h); /* all that it tells at first: about its settings, and about old pictures */
  if (r > 0)
    session.info.can &= ~(unsigned)PTP_CAN_EOS;
  return r > 0 ? 0 : fail(h->camera, r);
}

/* ---- the clock ----------------------------------------------------------------------------------------------- */

static int compare_clocks(struct hunt *h) {
  static const uint32_t property = PTP_PROPERTY_DATE_TIME;
  if (!(session.info.can & PTP_CAN_DATE_TIME))
    return 0;
  int r = ptp_ask(h->camera, PTP_GET_DEVICE_PROP_VALUE, &property, 1, PTP_ANSWER_MS);
  if (r)
    return r > 0 ? 0 : fail(h->camera, r);
  h->compared =
      ptp_clock_read(acq_cur(h->camera->data, h->camera->n_data), h->order, acq_elapsed_ms(h->camera->io), &h->slow_us);
  return 0;
}

/* Of an old handle that was announced: only a date tells. */
static bool is_fresh(const struct hunt *h, const struct ptp_object_info *info) {
  int64_t us;
  if (!h->compared || ptp_date_read(info->taken, h->order->offset_minutes, &us) < 0)
    return false;
  us += h->slow_us;
  return us >= acq_order_clock_us(h->order, 0) - FRESH_US &&
         us <= acq_order_clock_us(h->order, acq_elapsed_ms(h->camera->io)) + AHEAD_US;
}

/* ---- a picture ----------------------------------------------------------------------------------------------- */

static void show_thumbnail(struct hunt *h, uint32_t handle) {
  struct ptp_camera *camera = h->camera;
  if (ptp_ask(camera, PTP_GET_THUMB, &handle, 1, PTP_ANSWER_MS) == 0 && camera->n_data <= ACQ_THUMBNAIL_MAX)
    acq_preview_picture(camera->io, h->taken + 1, camera->data, camera->n_data);
}

/* The whole object, or its parts one after the other. */
static int fetch(struct hunt *h, uint32_t handle, uint32_t size) {
  if (size <= PART || !(session.info.can & PTP_CAN_PARTIAL))
    return ptp_ask_blob(h->camera, PTP_GET_OBJECT, &handle, 1, size, PROGRESS);
  int r = 0;
  for (uint32_t at = 0; at < size && r == 0; at += PART) {
    const uint32_t n = size - at < PART ? size - at : PART, part[] = {handle, at, n};
    const uint64_t before = (uint64_t)PROGRESS * at / size, behind = (uint64_t)PROGRESS * (at + n) / size;
    r = ptp_ask_blob(h->camera, PTP_GET_PARTIAL_OBJECT, part, 3, n, (uint32_t)(behind - before));
  }
  return r;
}

static void show_progress(const struct hunt *h) {
  unsigned total = h->order->pictures ? h->wanted : h->taken + 1;
  acq_progress(h->camera->io, h->taken * PROGRESS, total * PROGRESS);
}

static int complete(struct hunt *h, uint32_t handle) {
  if (!(session.info.can & PTP_CAN_EOS_COMPLETE) || !is_among(h->requested, h->n_requested, handle))
    return 0;
  int r = ptp_ask(h->camera, EOS_TRANSFER_COMPLETE, &handle, 1, PTP_ANSWER_MS);
  return r < 0 ? fail(h->camera, r) : 0;
}

/* What became of a handle. */
enum outcome {
  GONE,    /* nothing yet: where it is listed or announced again, it is asked for again */
  LATER,   /* being written */
  SETTLED, /* none of ours */
  PICTURE
};

/* The outcome, or what stopped it: a response code, negated errno. */
static int try_picture(struct hunt *h, uint32_t handle, bool first, enum outcome *ret) {
  struct ptp_camera *camera = h->camera;
  struct ptp_object_info info;
  const char *why;
  *ret = GONE;
  int r = ptp_ask(camera, PTP_GET_OBJECT_INFO, &handle, 1, PTP_ANSWER_MS);
  if (r)
    return r == PTP_INVALID_HANDLE ? 0 : r;
  *ret = SETTLED;
  if (ptp_object_info_read(acq_cur(camera->data, camera->n_data), &info, &why) < 0) {
    snprintf(camera->why, sizeof camera->why, "%s", why);
    return -EPROTO;
  }
  if (!ptp_is_picture(&info) || (ptp_handles_has(&h->old, handle) && !is_fresh(h, &info)))
    return 0;
  if (!info.size) { /* the camera still writes it */
    *ret = LATER;
    return 0;
  }
  if (ptp_is_refused(&info, h->bytes)) {
    h->refused++;
    return 0;
  }
  if (first && info.thumb_size && session.info.can & PTP_CAN_THUMB) {
    show_thumbnail(h, handle);
    r = ptp_rest(camera);
  }
  if (r == 0)
    r = fetch(h, handle, info.size);
  if (r == 0)
    r = acq_blob_end(camera->io);
  if (r == 0) {
    h->bytes += info.size;
    *ret = PICTURE;
  }
  return r == PTP_INVALID_HANDLE ? 0 : r;
}

/* What had come of it is waste, and the device at rest, before it is asked for again. */
static int tidy_up(struct hunt *h) {
  int r = acq_blob_drop(h->camera->io);
  return r < 0 ? r : ptp_rest(h->camera);
}

static int take_picture(struct hunt *h, uint32_t handle) {
  enum outcome outcome = SETTLED;
  int r = 1;
  if (ptp_handles_has(&h->done, handle))
    return 0;
  show_progress(h);
  for (unsigned i = 0; r && i < TRIES; i++) {
    r = try_picture(h, handle, i == 0, &outcome);
    if (r && !may_repeat(r))
      return fail(h->camera, r);
    if (r || outcome == SETTLED) {
      int tidied = tidy_up(h);
      if (tidied < 0)
        return fail(h->camera, tidied);
    }
  }
  h->lost = r ? h->lost + 1 : outcome == PICTURE ? 0 : h->lost;
  if (r)
    return h->taken ? add_known(h, &h->done, handle) : fail(h->camera, r);
  if (outcome == LATER)
    put_among(h->pending, &h->n_pending, PENDING_MAX, handle, &h->look);
  if (outcome == LATER || outcome == GONE)
    return 0;
  h->taken += outcome == PICTURE;
  show_progress(h);
  r = add_known(h, &h->done, handle);
  return r == 0 && outcome == PICTURE ? complete(h, handle) : r;
}

static bool wants_more(const struct hunt *h) {
  return h->taken < h->wanted && h->lost < LOST_MAX;
}

static int take_pending(struct hunt *h) {
  int r = 0;
  for (unsigned n = h->n_pending; n && wants_more(h) && r == 0; n--) {
    uint32_t handle = h->pending[0];
    memmove(h->pending, h->pending + 1, --h->n_pending * sizeof *h->pending);
    r = take_picture(h, handle);
    take_events(h);
  }
  return r;
}

/* ---- acquire ------------------------------------------------------------------------------------------------- */

static int prepare(struct hunt *h) {
  int r = forget_events(h->camera);
  if (r == 0)
    r = compare_clocks(h);
  if (r == 0)
    r = go_remote(h);
  h->n_pending = h->n_requested = 0;
  return r == 0 ? look_around(h) : r;
}

static bool is_time_to_look(const struct hunt *h, bool eos) {
  const unsigned least = h->camera->deaf && !eos ? DEAF_LIST_TICKS : LIST_TICKS;
  const unsigned long_list = h->listed / (eos ? EOS_HANDLES_A_TICK : HANDLES_A_TICK);
  return h->look || h->ticks - h->looked >= (least > long_list ? least : long_list);
}

/* A tick: waits, hears what is new, looks around when there is a reason to. */
static int wait_for_news(struct hunt *h) {
  struct ptp_camera *camera = h->camera;
  const bool eos = session.info.can & PTP_CAN_EOS;
  int r = ptp_wait(camera, eos ? EOS_TICK_MS : TICK_MS);
  if (r < 0)
    return fail(camera, r);
  take_events(h);
  h->ticks++;
  if (eos)
    r = poll_eos(h);
  if (r >= 0 && eos && session.info.can & PTP_CAN_EOS_KEEP_ON && h->ticks % KEEP_ON_TICKS == 0) {
    r = ptp_ask(camera, EOS_KEEP_DEVICE_ON, NULL, 0, PTP_ANSWER_MS);
    r = r < 0 ? fail(camera, r) : 0;
  }
  if (r >= 0 && is_time_to_look(h, eos))
    r = look_around(h);
  return r < 0 ? r : 0;
}

static bool is_over(const struct hunt *h) {
  return acq_elapsed_ms(h->camera->io) - h->began_ms >= h->order->seconds * UINT64_C(1000) ||
         acq_finishing(h->camera->io);
}

/* What is still to be taken when no more is to come. */
static int take_last(struct hunt *h) {
  int r = look_around(h);
  if (r == 0)
    r = take_pending(h);
  for (unsigned i = 0; r == 0 && h->n_pending && wants_more(h) && i < LAST_TICKS; i++) {
    r = wait_for_news(h);
    if (r == 0)
      r = take_pending(h);
  }
  return r;
}

static int acquire(struct acq_io *io, const struct acq_order *order) {
  struct hunt *h = &hunt;
  memset(h, 0, sizeof *h);
  h->camera = &session.camera;
  h->camera->io = io;
  h->order = order;
  h->began_ms = acq_elapsed_ms(io);
  h->wanted = order->pictures && order->pictures < ACQ_PICTURES_MAX ? order->pictures : ACQ_PICTURES_MAX;
  if (!order->seconds || order->seconds > SECONDS_MAX)
    return acq_fail(io, -EINVAL, "%u seconds cannot be ordered", order->seconds);
  show_progress(h);
  int r = prepare(h);
  while (r == 0 && wants_more(h) && !is_over(h)) {
    r = wait_for_news(h);
    if (r == 0)
      r = take_pending(h);
  }
  if (r == 0 && wants_more(h))
    r = take_last(h);
  if (r < 0)
    return h->taken && is_camera_fault(r) ? 0 : r;
  if (!h->taken && h->refused)
    return acq_fail(io, -EFBIG, "%u pictures, all of them too large", h->refused);
  return h->taken ? 0 : acq_fail(io, -ENODATA, "no picture came");
}

/* ---- release ------------------------------------------------------------------------------------------------- */

static int release(struct acq_io *io) {
  struct ptp_camera *camera = &session.camera;
  camera->io = io;
  int r = acq_blob_drop(io);
  if (r == 0)
    r = ptp_rest(camera);
  if (r == 0 && session.remote)
    r = set_modes(camera, 0);
  session.remote = false;
  if (r == -ENODEV || r == -ECANCELED)
    return r;
  r = ptp_close(camera);
  return r == -ENODEV || r == -ECANCELED ? r : 0;
}

/* ---- the driver ---------------------------------------------------------------------------------------------- */

static const struct acq_match match[] = {
    {.bus = ACQ_USB, .usb_class = 6}, /* 06/01/01 */
    {.bus = 0},
};

const struct acq_driver ptp_camera = {
    .abi = ACQ_DRIVER_ABI,
    .name = "ptp_camera",
    .version = "1",
    .label = "Appareil photo PTP (rétinographe)",
    .modalities = ACQ_MODALITY(ACQ_FUNDUS),
    .maturity = ACQ_EXPERIMENTAL,
    .integrity = ACQ_NONE,
    .match = match,
    .limits =
        {
            .max_bytes = ACQ_BLOBS_BYTES_MAX + (32u << 20),
            .max_seconds = SECONDS_MAX,
            .default_seconds = 600,
            .idle_ms = PTP_LIST_MS,
            .grace_ms = 90000,
        },
    .identify = identify,
    .acquire = acquire,
    .release = release,
    .decode = ptp_decode,
};
