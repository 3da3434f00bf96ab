#include "manager.h"

#include <string.h>

#define WRITE_MS 1000u
#define READ_MOST 2048
#define ERROR_NO_SUCH_ACTION 9

enum { CONFIG_ACCEPTED, CONFIG_UNSUPPORTED };

void phd_session_init(struct phd_session *s, struct acq_io *io) {
  memset(s, 0, sizeof *s);
  s->io = io;
}

/* ---- bytes --------------------------------------------------------------------------------------------------- */

static int send(struct phd_session *s) {
  int r = acq_write(s->io, s->out.bytes, s->out.n, WRITE_MS);
  return r == -EPIPE ? acq_fail(s->io, -EPROTO, "the endpoint stalled") : r;
}

/* The agent is told, and the association is over. */
static int abort_association(struct phd_session *s, enum phd_abort reason) {
  s->state = PHD_UNASSOCIATED;
  s->told = true;
  phd_write_reason(&s->out, PHD_ABRT, reason);
  int r = send(s);
  if (r == 0 && ++s->aborts > PHD_ABORTS_MAX)
    return acq_fail(s->io, -EPROTO, "the instrument keeps speaking out of turn");
  return r;
}

/* What was on its way when the agent was told: once is enough, another abort could meet its next request. */
static int ignore_stray(struct phd_session *s) {
  return ++s->strays > PHD_STRAYS_MAX ? acq_fail(s->io, -EPROTO, "the instrument keeps speaking out of turn") : 0;
}

/* Nothing can be read any more: the stream has lost its beginning. */
static int lose_stream(struct phd_session *s, int err, const char *why) {
  int r = s->state == PHD_UNASSOCIATED ? 0 : abort_association(s, PHD_ABORT_UNDEFINED);
  return r < 0 ? r : acq_fail(s->io, err, "%s", why);
}

static int fail_no_apdu(struct phd_session *s) {
  if (!memcmp(s->in.bytes, "Phdc", PHD_HEAD))
    return lose_stream(s, -EPROTO, "the instrument puts metadata before its transfers, which nobody asked for");
  if (!s->heard)
    return acq_fail(s->io, -ENXIO, "what answers is no agent of ISO/IEEE 11073-20601");
  return lose_stream(s, -EPROTO, "bytes that begin no APDU");
}

/* The next APDU, or PHD_SILENT. Nothing is read beyond it, so that what follows is still there for who reads next. */
static int receive(struct phd_session *s, unsigned ms, struct phd_apdu *ret) {
  uint8_t part[READ_MOST];
  for (bool begun = false;; begun = true) {
    size_t want = phd_wanted(&s->in) < sizeof part ? phd_wanted(&s->in) : sizeof part;
    int r;
    if (begun) {
      r = acq_read(s->io, part, want, PHD_INSIDE_MS);
      if (r == -ETIMEDOUT)
        return lose_stream(s, r, "an APDU stopped in its middle");
      r = r < 0 ? r : (int)want;
    } else {
      r = acq_read_some(s->io, part, want, ms);
      if (r == -ETIMEDOUT)
        return PHD_SILENT;
    }
    if (r == -EPIPE)
      return acq_fail(s->io, -EPROTO, "the endpoint stalled");
    if (r < 0)
      return r;
    struct acq_cur in = acq_cur(part, (size_t)r);
    r = phd_assemble(&s->in, &in, ret);
    if (r < 0)
      return fail_no_apdu(s);
    s->heard |= r > 0;
    if (r > 0)
      return 0;
  }
}

/* ---- what the table does ------------------------------------------------------------------------------------- */

/* The agent broke the rules inside an association: there is nothing left to read. */
static int broken(struct phd_session *s, int err, const char *why) {
  int r = abort_association(s, PHD_ABORT_UNDEFINED);
  return r < 0 ? r : acq_fail(s->io, err, "%s", why);
}

static const char *result_name(enum phd_result result) {
  static const char *const names[] = {"accepted",         "rejected-permanent", "rejected-transient",
                                      "accepted",         "no-common-protocol", "no-common-parameter",
                                      "rejected-unknown", "unauthorised",       "unsupported-assoc-version"};
  return names[result];
}

static int accept_association(struct phd_session *s, struct acq_cur body) {
  struct phd_association a;
  enum phd_result result;
  const char *why;
  if (phd_aarq_read(body, &a, &result, &why) < 0)
    return broken(s, -EPROTO, why);
  if (s->associations++ == PHD_ASSOCIATIONS_MAX)
    return broken(s, -EPROTO, "the instrument associates again and again");
  phd_write_aare(&s->out, result, a.protocol_version);
  int r = send(s);
  if (r < 0)
    return r;
  if (result != PHD_ACCEPTED_UNKNOWN_CONFIG)
    return acq_fail(s->io, -ENXIO, "the association is refused (%s): %s", result_name(result), why);
  s->told = false;
  memcpy(s->system_id, a.system_id, sizeof s->system_id);
  s->state = PHD_CONFIGURING;
  s->prepared = false;
  s->dim.configured = false;
  s->segments.n = 0;
  phd_live_reset(&s->live);
  return 0;
}

static int reply_release(struct phd_session *s) {
  phd_write_reason(&s->out, PHD_RLRE, 0);
  if (s->state != PHD_RELEASING)
    s->state = PHD_UNASSOCIATED;
  return send(s);
}

static int answer_event(struct phd_session *s, const struct phd_data *data, const void *info, size_t n) {
  if (data->choice != PHD_CONFIRMED_EVENT)
    return 0;
  phd_write_event_result(&s->out, data->invoke_id, &s->event, info, n);
  return send(s);
}

static int configure(struct phd_session *s, const struct phd_data *data) {
  int said = phd_dim_read(&s->dim, s->event.info);
  uint8_t info[4] = {(uint8_t)(s->dim.config_id >> 8), (uint8_t)s->dim.config_id, 0, CONFIG_ACCEPTED};
  if (said < 0)
    info[3] = CONFIG_UNSUPPORTED;
  int r = answer_event(s, data, info, sizeof info);
  if (r < 0)
    return r;
  if (said < 0)
    return acq_fail(s->io, said, "%s", s->dim.why);
  s->state = PHD_OPERATING;
  return 0;
}

static int observe(void *context, const struct phd_report *report, const struct phd_observation *ob) {
  struct phd_session *s = context;
  (void)report;
  phd_live_observe(&s->live, &s->dim, &s->clocks, ob, s->event.time, s->event_ms);
  return 0;
}

static int observe_stored(void *context, const struct phd_report *report, const struct phd_observation *ob) {
  struct phd_session *s = context;
  (void)report;
  phd_live_observe_stored(&s->live, &s->clocks, ob);
  return 0;
}

/* The confirmation repeats the description, with the manager's bit. */
static int take_segment(struct phd_session *s, const struct phd_data *data) {
  struct phd_segment_data part;
  uint8_t confirmation[SEGMENT_DESCRIPTION];
  int r = phd_segment_data_read(&s->dim, &s->segments, s->event.handle, s->event.info, &part);
  if (r == 0 && part.status & SEGMENT_AGENT_ABORT)
    return broken(s, -EIO, "the instrument gave up sending a stored reading");
  if (r == 0)
    r = phd_segment_entries(&s->dim, &part, observe_stored, s);
  if (r < 0)
    return broken(s, r, s->dim.why);
  memcpy(confirmation, part.description, sizeof confirmation);
  confirmation[SEGMENT_DESCRIPTION - 1] |= SEGMENT_MANAGER_CONFIRM;
  return answer_event(s, data, confirmation, sizeof confirmation);
}

/* What cannot be read is not confirmed: the agent keeps it. */
static int take_event(struct phd_session *s, const struct phd_data *data) {
  const char *why;
  if (phd_event_read(data->body, &s->event, &why) < 0)
    return broken(s, -EPROTO, why);
  s->event_ms = (uint32_t)acq_elapsed_ms(s->io);
  if (s->state == PHD_CONFIGURING)
    return data->choice == PHD_CONFIRMED_EVENT && s->event.type == MDC_NOTI_CONFIG && s->event.handle == 0
               ? configure(s, data)
               : broken(s, -EPROTO, "a report before the configuration");
  if (s->event.type == MDC_NOTI_SEGMENT_DATA)
    return take_segment(s, data);
  if (phd_is_report(s->event.type)) {
    int r = phd_report_read(&s->dim, s->event.handle, s->event.type, s->event.info, observe, s);
    if (r < 0)
      return broken(s, r, s->dim.why);
    phd_live_show(&s->live, s->io);
    return answer_event(s, data, NULL, 0);
  }
  if (s->event.type == MDC_NOTI_CONFIG)
    return broken(s, -EPROTO, "a second configuration in one association");
  if (data->choice != PHD_CONFIRMED_EVENT)
    return 0;
  phd_write_error(&s->out, data->invoke_id, ERROR_NO_SUCH_ACTION);
  return send(s);
}

static int take_answer(struct phd_session *s, const struct phd_data *data) {
  if (!s->expected || data->invoke_id != s->invoke_id)
    return broken(s, -EPROTO, "an answer to a question that was not asked (another invoke id)");
  if (data->choice != s->expected && data->choice != PHD_ERROR && data->choice != PHD_REJECT)
    return broken(s, -EPROTO, "an answer of another kind than the question");
  s->expected = 0;
  s->answer = *data;
  s->answered = true;
  return 0;
}

static int take_data(struct phd_session *s, struct acq_cur body) {
  struct phd_data data;
  const char *why;
  if (phd_data_read(body, &data, &why) < 0)
    return broken(s, -EPROTO, why);
  if (data.choice == PHD_EVENT || data.choice == PHD_CONFIRMED_EVENT)
    return take_event(s, &data);
  if (data.choice > 0x200)
    return take_answer(s, &data);
  return broken(s, -EPROTO, "the instrument asks what only a manager asks");
}

/* ---- the state table ----------------------------------------------------------------------------------------- */

enum action { ASSOCIATE, ABORT, REPLY, CLOSE, IGNORE, DATA };

/* Rows 2.9 to 2.19, 6.8 to 6.26, 8.8 to 8.26, 9.8 to 9.26 of the standard's table for a manager; columns AARQ, AARE,
 * RLRQ, RLRE, ABRT, PRST. */
static const enum action actions[PHD_STATES][6] = {
    [PHD_UNASSOCIATED] = {ASSOCIATE, ABORT, ABORT, IGNORE, IGNORE, ABORT},
    [PHD_CONFIGURING] = {ABORT, ABORT, REPLY, ABORT, CLOSE, DATA},
    [PHD_OPERATING] = {ABORT, ABORT, REPLY, ABORT, CLOSE, DATA},
    [PHD_RELEASING] = {ABORT, ABORT, REPLY, CLOSE, CLOSE, IGNORE},
};

int phd_step(struct phd_session *s, unsigned ms) {
  struct phd_apdu apdu;
  int r = receive(s, ms, &apdu);
  if (r)
    return r;
  switch (actions[s->state][(apdu.choice - PHD_AARQ) / 0x100]) {
  case ASSOCIATE:
    return accept_association(s, apdu.body);
  case ABORT:
    return s->state == PHD_UNASSOCIATED && s->told ? ignore_stray(s) : abort_association(s, PHD_ABORT_UNDEFINED);
  case REPLY:
    return reply_release(s);
  case CLOSE:
    s->state = PHD_UNASSOCIATED;
    return 0;
  case DATA:
    return take_data(s, apdu.body);
  case IGNORE:
    break;
  }
  return 0;
}

int phd_configure(struct phd_session *s) {
  int r = 0;
  while (s->state == PHD_CONFIGURING && r == 0)
    r = phd_step(s, PHD_CONFIG_MS);
  if (r != PHD_SILENT)
    return r;
  r = abort_association(s, PHD_ABORT_CONFIG_TIMEOUT);
  return r < 0 ? r : acq_fail(s->io, -ETIMEDOUT, "the instrument does not send its configuration");
}

int phd_associate(struct phd_session *s) {
  for (bool prompted = false; s->state != PHD_OPERATING;) {
    int r = s->state == PHD_CONFIGURING ? phd_configure(s) : phd_step(s, PHD_ASSOCIATION_MS);
    if (r == PHD_SILENT && prompted)
      return PHD_SILENT;
    if (r == PHD_SILENT) {
      /* It may believe that an association of yesterday still stands: an abort lets it begin anew. */
      prompted = true;
      r = abort_association(s, PHD_ABORT_UNDEFINED);
    }
    if (r < 0)
      return r;
  }
  return 0;
}

/* ---- questions ----------------------------------------------------------------------------------------------- */

/* Sends what was written as a question and waits for its answer: 0, 1 when the association ended meanwhile. */
static int ask(struct phd_session *s, enum phd_data_choice expected, unsigned ms, const char *what) {
  s->expected = expected;
  s->answered = false;
  int r = send(s);
  for (unsigned n = 0; r == 0 && !s->answered && s->state == PHD_OPERATING; n++)
    r = n < PHD_UNASKED_MAX ? phd_step(s, ms) : PHD_SILENT;
  s->expected = 0;
  if (r == PHD_SILENT) {
    r = abort_association(s, PHD_ABORT_RESPONSE_TIMEOUT);
    return r < 0 ? r : acq_fail(s->io, -ETIMEDOUT, "no answer to the %s", what);
  }
  return r < 0 ? r : !s->answered;
}

static uint16_t next_id(struct phd_session *s) {
  return ++s->invoke_id;
}

static bool is_refused(const struct phd_session *s) {
  return s->answer.choice == PHD_ERROR || s->answer.choice == PHD_REJECT;
}

int phd_ask_mds(struct phd_session *s) {
  struct phd_mds mds;
  const char *why;
  phd_write_get(&s->out, next_id(s), 0);
  int r = ask(s, PHD_GET_RESULT, PHD_ANSWER_MS, "question for the device's attributes");
  if (r)
    return r;
  if (is_refused(s)) {
    s->mds.known = true; /* it tells nothing of itself */
    return 0;
  }
  if (phd_mds_read(s->answer.body, &mds, &why) < 0)
    return broken(s, -EPROTO, why);
  s->mds = mds;
  memcpy(s->clocks.agent, mds.clocks, sizeof mds.clocks);
  s->clocks.ms = (uint32_t)acq_elapsed_ms(s->io);
  return 0;
}

/* ---- scanners ------------------------------------------------------------------------------------------------ */

/* Does it report an object that no scanner before it does? */
static bool adds_something(const struct phd_session *s, unsigned index) {
  const struct phd_dim *d = &s->dim;
  const struct phd_object *o = &d->objects[index];
  for (unsigned i = 0; i < o->n_scan; i++) {
    bool covered = false;
    for (unsigned k = 0; k < index && !covered; k++)
      for (unsigned j = 0; j < d->objects[k].n_scan && !covered; j++)
        covered = d->scanned[d->objects[k].scan_first + j].handle == d->scanned[o->scan_first + i].handle;
    if (!covered)
      return true;
  }
  return !o->n_scan;
}

int phd_start_scanners(struct phd_session *s) {
  for (unsigned i = 0; i < s->dim.n_objects; i++) {
    if (!phd_is_scanner(&s->dim.objects[i]) || !adds_something(s, i))
      continue;
    phd_write_set(&s->out, next_id(s), s->dim.objects[i].handle, MDC_ATTR_OP_STAT, 1);
    int r = ask(s, PHD_SET_RESULT, PHD_ANSWER_MS, "request to start a scanner");
    if (r)
      return r;
    if (is_refused(s))
      return acq_fail(s->io, -EIO, "the instrument does not start its scanner");
  }
  return 0;
}

/* ---- stores -------------------------------------------------------------------------------------------------- */

static int ask_action(struct phd_session *s, uint16_t handle, uint16_t action, const void *info, size_t n,
                      const char *what, struct acq_cur *ret_info) {
  struct phd_event answer;
  const char *why;
  phd_write_action(&s->out, next_id(s), handle, action, info, n);
  int r = ask(s, PHD_ACTION_RESULT, PHD_ACTION_MS, what);
  if (r)
    return r;
  if (is_refused(s))
    return acq_fail(s->io, -EIO, "the instrument refuses the %s", what);
  if (phd_action_read(s->answer.body, &answer, &why) < 0)
    return broken(s, -EPROTO, why);
  if (answer.handle != handle || answer.type != action)
    return broken(s, -EPROTO, "the answer to an action is about another one");
  *ret_info = answer.info;
  return 0;
}

enum { TRANSFER_BEGINS = 0, TRANSFER_EMPTY = 3 };

static int fetch_segment(struct phd_session *s, struct phd_segment *segment) {
  const uint8_t instance[2] = {(uint8_t)(segment->instance >> 8), (uint8_t)segment->instance};
  struct acq_cur info;
  int r = ask_action(s, segment->store, MDC_ACT_SEG_TRIG_XFER, instance, sizeof instance,
                     "request for a stored reading", &info);
  if (r)
    return r;
  uint16_t of = acq_u16be(&info), result = acq_u16be(&info);
  if (acq_end(&info) < 0 || of != segment->instance)
    return broken(s, -EPROTO, "the answer about a stored reading is not in its form");
  segment->last |= result == TRANSFER_EMPTY;
  if (result != TRANSFER_BEGINS && result != TRANSFER_EMPTY)
    return acq_fail(s->io, -EIO, "the instrument does not give a stored reading (%u)", result);
  while (!segment->last && s->state == PHD_OPERATING) {
    r = phd_step(s, PHD_ACTION_MS);
    if (r == PHD_SILENT)
      return acq_fail(s->io, -ETIMEDOUT, "a stored reading stopped in its middle");
    if (r < 0)
      return r;
  }
  return !segment->last;
}

/* Asked for its attributes first: a store without segments is not asked for their list. */
static int count_segments(struct phd_session *s, uint16_t handle, unsigned *ret) {
  unsigned count;
  uint16_t id;
  phd_write_get(&s->out, next_id(s), handle);
  int r = ask(s, PHD_GET_RESULT, PHD_ANSWER_MS, "question for the store's attributes");
  if (r)
    return r;
  *ret = 1; /* where it does not tell */
  if (is_refused(s))
    return 0;
  struct acq_cur body = s->answer.body, value;
  uint16_t of = acq_u16be(&body);
  struct acq_cur attributes = phd_list(&body, &count);
  while (phd_attribute(&attributes, &count, &id, &value))
    if (id == MDC_ATTR_NUM_SEG) {
      *ret = acq_u16be(&value);
      acq_refuse(&attributes, acq_end(&value));
    }
  if (acq_end(&attributes) < 0 || acq_end(&body) < 0 || of != handle)
    return broken(s, -EPROTO, "the answer about the store is not in its form");
  return 0;
}

static int read_store(struct phd_session *s, uint16_t handle) {
  static const uint8_t all[] = {0, 1, 0, 2, 0, 0};
  struct acq_cur info;
  unsigned segments;
  int r = count_segments(s, handle, &segments);
  if (r || !segments)
    return r;
  r = ask_action(s, handle, MDC_ACT_SEG_GET_INFO, all, sizeof all, "question for the stored readings", &info);
  if (r)
    return r;
  r = phd_segments_read(&s->dim, handle, info, &s->clocks, &s->segments);
  if (r < 0)
    return broken(s, r, s->dim.why);
  for (unsigned i = 0; i < s->segments.n && r == 0; i++)
    if (s->segments.at[i].store == handle && !s->segments.at[i].last)
      r = fetch_segment(s, &s->segments.at[i]);
  return r;
}

int phd_read_stores(struct phd_session *s) {
  for (unsigned i = 0; i < s->dim.n_objects; i++) {
    int r = s->dim.objects[i].class == MDC_MOC_PMSTORE ? read_store(s, s->dim.objects[i].handle) : 0;
    if (r)
      return r;
  }
  return 0;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

int phd_release(struct phd_session *s) {
  if (s->state == PHD_UNASSOCIATED)
    return 0;
  s->state = PHD_RELEASING;
  phd_write_reason(&s->out, PHD_RLRQ, 0);
  int r = send(s);
  for (unsigned n = 0; r == 0 && s->state == PHD_RELEASING; n++)
    r = n < PHD_UNASKED_MAX ? phd_step(s, PHD_RELEASE_MS) : PHD_SILENT;
  if (r == PHD_SILENT)
    r = abort_association(s, PHD_ABORT_UNDEFINED);
  return r == -ENODEV || r == -ECANCELED ? r : 0;
}
