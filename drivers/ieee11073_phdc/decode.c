#include "decode.h"
#include "curve.h"
#include "segment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APDU_FIRST 0xe2 /* first byte of every APDU; a control transfer's set-up never begins so */
#define SETUP_BYTES 8
#define COPY_PART 512

/* One pass over the capture. */
struct walk {
  bool associated; /* there was an association, and nothing has ended it */
  bool open;       /* and its configuration was accepted: reports count */
  struct {
    uint16_t invoke_id, choice; /* of the host's last question; choice 0: answered, or none yet */
  } asked;
  uint32_t ms;                       /* of the event under way */
  uint32_t apdu, association;        /* numbers of these, from 1 */
  uint32_t event_ticks;              /* of the report under way */
  const struct phd_segment *segment; /* whose data are under way; NULL: live */
  uint16_t person;                   /* the one that the values are of */
  size_t control;                    /* bytes that a control transfer still may bring */
  struct phd_mds mds;
  struct phd_clocks clocks;
  struct phd_segments segments;
  struct phd_dim dim;
  struct phd_assembler agent, host;
};

/* The first pass finds readings and curves, and refuses what is to be refused; the later ones copy the curves of one
 * trial each, as a record takes what belongs to a trial together. */
struct decoding {
  const struct acq_capture *capture;
  struct acq_record *record;
  const struct acq_order *order;
  bool hosted; /* the capture has the host's side */
  bool first_pass;
  unsigned writing; /* the trial of a later pass */
  unsigned modalities;
  uint32_t unknown; /* values */
  struct phd_trials trials;
  struct phd_curves curves;
  struct walk w;
};

static int fail(struct decoding *d, int err, const char *why) {
  return acq_rec_fail(d->record, err, "%s", why);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

static int moment_of(struct decoding *d, const struct phd_observation *ob, struct phd_moment *ret) {
  const struct phd_stamp *stamp = &ob->stamp;
  const bool counted = stamp->kind == PHD_RELATIVE;
  int64_t host_us;
  *ret = (struct phd_moment){.kind = stamp->kind, .id = counted ? stamp->ticks : stamp->us, .person = ob->person};
  if (stamp->kind == PHD_UNTIMED)
    return ob->has_time_unread && ob->n_numbers ? fail(d, -EPROTO, "a time stamp of a kind that is not read") : 0;
  if (counted && !d->hosted) /* bare bytes: nothing tells when they came */
    return 0;
  if (!phd_clock_place(&d->w.clocks, stamp, d->w.event_ticks, d->w.ms, &host_us))
    return fail(d, -EPROTO, "a relative time stamp, and nothing to count from");
  ret->timed = true;
  ret->compared = phd_clock_is_compared(&d->w.clocks, stamp->kind);
  ret->clock_us = counted ? host_us : stamp->us;
  ret->slow_us = host_us - ret->clock_us;
  return ret->clock_us < 0 ? fail(d, -ERANGE, "a reading from before 1970") : 0;
}

/* Values of two people can be told apart, but not whose order this is. */
static int check_person(struct decoding *d, uint16_t person) {
  if (person == PERSON_UNKNOWN)
    return 0;
  if (d->w.person != PERSON_UNKNOWN && d->w.person != person)
    return fail(d, -EPROTO, "the instrument sends readings of several people");
  d->w.person = person;
  return 0;
}

static int add_value(struct decoding *d, const struct phd_moment *moment, const struct phd_value *value) {
  return phd_trials_add(&d->trials, moment, value) < 0 ? fail(d, -EPROTO, d->trials.why) : 0;
}

static int add_number(struct decoding *d, const struct phd_moment *moment, const struct phd_observation *ob,
                      const struct phd_number *n) {
  struct phd_value value = {.mdc = n->mdc,
                            .row = nomenclature_find_mdc(n->mdc),
                            .unit = unit_find_mdc(n->unit),
                            .missing = n->err == -ENODATA || ob->status & MSMT_WITHHELD,
                            .value = n->value};
  if (!value.row || value.row->kind == 'C' || (n->unit && !value.unit && !value.missing)) {
    d->unknown++;
    return 0;
  }
  if (!value.unit && !value.missing)
    return acq_rec_fail(d->record, -EPROTO, "%s without a unit", value.row->code);
  if (!value.missing && n->err < 0)
    return acq_rec_fail(d->record, n->err, "%s is infinite", value.row->code);
  if (!value.missing && !unit_fits(value.unit, unit_find(value.row->unit)))
    return acq_rec_fail(d->record, -EPROTO, "%s in %s", value.row->code, value.unit->ucum);
  return add_value(d, moment, &value);
}

static int add_bits(struct decoding *d, const struct phd_moment *moment, const struct phd_observation *ob) {
  struct phd_value value = {.mdc = phd_object_mdc(ob->object), .bits = ob->bits};
  if (value.mdc != ((uint32_t)MDC_PART_PHD_DM << 16 | MDC_PEF_READING_STATUS)) {
    d->unknown++;
    return 0;
  }
  return add_value(d, moment, &value);
}

/* ---- samples ------------------------------------------------------------------------------------------------- */

static void copy_samples(struct decoding *d, const struct phd_curve *curve, struct acq_cur samples) {
  int16_t part[COPY_PART];
  int n;
  while ((n = phd_wave_read(&curve->wave, &samples, part, COPY_PART)) > 0)
    acq_rec_samples(d->record, curve->channel, part, (size_t)n);
}

static int add_samples(struct decoding *d, const struct phd_moment *moment, const struct phd_report *report,
                       const struct phd_observation *ob) {
  const struct phd_array_context context = {.object = (unsigned)(ob->object - d->w.dim.objects),
                                            .apdu = d->w.apdu,
                                            .association = d->w.association,
                                            .stored = d->w.segment,
                                            .moment = *moment};
  struct phd_place place;
  int r = phd_curves_place(&d->curves, &context, report, ob, &place);
  if (r < 0)
    return fail(d, r, d->curves.why);
  if (!d->first_pass && place.curve && place.curve->trial == d->writing) {
    acq_rec_gap(d->record, place.curve->channel, place.missing);
    copy_samples(d, place.curve, ob->samples);
  }
  return 0;
}

static int observe(void *context, const struct phd_report *report, const struct phd_observation *ob) {
  struct decoding *d = context;
  struct phd_moment moment;
  if (!ob->n_numbers && !ob->has_bits && !ob->has_samples)
    return 0;
  int r = check_person(d, ob->person);
  if (r == 0)
    r = moment_of(d, ob, &moment);
  if (r == 0 && ob->has_samples)
    r = add_samples(d, &moment, report, ob);
  for (unsigned i = 0; i < ob->n_numbers && d->first_pass && r == 0; i++)
    r = add_number(d, &moment, ob, &ob->numbers[i]);
  return r == 0 && ob->has_bits && d->first_pass ? add_bits(d, &moment, ob) : r;
}

/* ---- what the agent says ------------------------------------------------------------------------------------- */

/* The reason of a refusal is the model's unless observe() has given one. */
static int judge(struct decoding *d, int r) {
  return r < 0 ? fail(d, r, d->w.dim.why) : 0;
}

static void begin_association(struct decoding *d) {
  if (d->w.segment)
    phd_curves_break(&d->curves);
  d->w.association++;
  d->w.associated = true;
  d->w.open = false;
  d->w.dim.configured = false;
  d->w.segments.n = 0;
  d->w.segment = NULL;
}

static void note_modalities(struct decoding *d) {
  unsigned set = phd_modalities(&d->w.dim, &d->w.mds);
  d->modalities = set ? set : d->modalities;
}

static int take_configuration(struct decoding *d, const struct phd_event *event) {
  int r = phd_dim_read(&d->w.dim, event->info);
  d->w.open = r == 0;
  note_modalities(d);
  return judge(d, r);
}

static int take_segment(struct decoding *d, const struct phd_event *event) {
  struct phd_segment_data data;
  int r = phd_segment_data_read(&d->w.dim, &d->w.segments, event->handle, event->info, &data);
  if (r == 0 && data.segment != d->w.segment) {
    phd_curves_break(&d->curves);
    d->w.segment = data.segment;
  }
  return judge(d, r == 0 ? phd_segment_entries(&d->w.dim, &data, observe, d) : r);
}

static int take_report(struct decoding *d, const struct phd_event *event) {
  if (d->w.segment)
    phd_curves_break(&d->curves);
  d->w.segment = NULL;
  return judge(d, phd_report_read(&d->w.dim, event->handle, event->type, event->info, observe, d));
}

/* Reports outside an association, or before its configuration, are of nobody: the host does not confirm them, so the
 * agent keeps them. */
static int take_event(struct decoding *d, const struct phd_data *data) {
  struct phd_event event;
  const char *why;
  int r = 0;
  if (phd_event_read(data->body, &event, &why) < 0)
    return fail(d, -EPROTO, why);
  d->w.event_ticks = event.time;
  if (event.type == MDC_NOTI_CONFIG)
    return take_configuration(d, &event);
  if (!d->w.open)
    return 0;
  if (event.type == MDC_NOTI_SEGMENT_DATA)
    r = take_segment(d, &event);
  else if (phd_is_report(event.type))
    r = take_report(d, &event);
  if (phd_trials_end(&d->trials) < 0)
    r = fail(d, -EPROTO, d->trials.why);
  return r;
}

static int take_attributes(struct decoding *d, struct acq_cur body) {
  const char *why;
  if (phd_mds_read(body, &d->w.mds, &why) < 0)
    return fail(d, -EPROTO, why);
  memcpy(d->w.clocks.agent, d->w.mds.clocks, sizeof d->w.mds.clocks);
  d->w.clocks.ms = d->w.ms;
  note_modalities(d);
  return 0;
}

static int take_action(struct decoding *d, struct acq_cur body) {
  struct phd_event answer;
  const char *why;
  if (phd_action_read(body, &answer, &why) < 0)
    return fail(d, -EPROTO, why);
  if (answer.type != MDC_ACT_SEG_GET_INFO)
    return 0;
  return judge(d, phd_segments_read(&d->w.dim, answer.handle, answer.info, &d->w.clocks, &d->w.segments));
}

/* Bare bytes have no questions: there an answer about the device as a whole is taken for what it is. */
static int take_answer(struct decoding *d, const struct phd_data *data) {
  struct acq_cur body = data->body;
  uint16_t handle = acq_u16be(&body);
  if (d->hosted && (!d->w.asked.choice || data->invoke_id != d->w.asked.invoke_id))
    return 0;
  d->w.asked.choice = 0;
  if (data->choice == PHD_GET_RESULT && handle == 0)
    return take_attributes(d, data->body);
  if (data->choice == PHD_ACTION_RESULT && d->w.open)
    return take_action(d, data->body);
  return 0;
}

static int take_data(struct decoding *d, struct acq_cur body) {
  struct phd_data data;
  const char *why;
  if (phd_data_read(body, &data, &why) < 0)
    return fail(d, -EPROTO, why);
  return data.choice == PHD_EVENT || data.choice == PHD_CONFIRMED_EVENT ? take_event(d, &data) : take_answer(d, &data);
}

static int take_apdu(struct decoding *d, const struct phd_apdu *apdu) {
  d->w.apdu++;
  if (apdu->choice == PHD_PRST)
    return take_data(d, apdu->body);
  if (apdu->choice == PHD_AARQ)
    begin_association(d);
  else
    d->w.associated = d->w.open = false;
  return 0;
}

/* ---- what the host says -------------------------------------------------------------------------------------- */

static void hear_data(struct decoding *d, struct acq_cur body) {
  struct phd_data data;
  struct phd_event event;
  const char *why;
  if (phd_data_read(body, &data, &why) < 0)
    return;
  if (data.choice < 0x200) {
    d->w.asked.invoke_id = data.invoke_id;
    d->w.asked.choice = data.choice;
  } else if (data.choice == PHD_EVENT_RESULT && phd_event_read(data.body, &event, &why) == 0 &&
             event.type == MDC_NOTI_CONFIG) {
    acq_u16be(&event.info);
    d->w.open = acq_u16be(&event.info) == 0 && d->w.dim.configured;
  }
}

static int hear(struct decoding *d, struct acq_cur in) {
  struct phd_apdu apdu;
  int r;
  while ((r = phd_assemble(&d->w.host, &in, &apdu)) > 0) {
    if (apdu.choice == PHD_PRST)
      hear_data(d, apdu.body);
    else if (apdu.choice != PHD_AARE)
      d->w.associated = d->w.open = false;
  }
  return r < 0 ? fail(d, r, "the host's side is not in its form") : 0;
}

/* A control transfer is its set-up, and what an IN request brings is not part of the stream. */
static int take_sent(struct decoding *d, const struct acq_event *event) {
  struct acq_cur c = acq_cur(event->bytes, event->n);
  d->w.control = 0;
  if (d->w.host.n && !d->w.host.whole)
    return hear(d, c);
  if (event->n < SETUP_BYTES || event->bytes[0] >= APDU_FIRST)
    return hear(d, c);
  if (event->bytes[0] & 0x80)
    d->w.control = (size_t)(event->bytes[6] | event->bytes[7] << 8);
  return 0;
}

static int take_received(struct decoding *d, const struct acq_event *event) {
  if (d->w.control) {
    d->w.control -= event->n < d->w.control ? event->n : d->w.control;
    return 0;
  }
  struct acq_cur in = acq_cur(event->bytes, event->n);
  struct phd_apdu apdu;
  int r;
  while ((r = phd_assemble(&d->w.agent, &in, &apdu)) > 0) {
    int taken = take_apdu(d, &apdu);
    if (taken < 0)
      return taken;
  }
  return r < 0 ? fail(d, r, "bytes that begin no APDU") : 0;
}

static int take(struct decoding *d, const struct acq_event *event) {
  d->w.ms = event->ms;
  if (event->kind == ACQ_SENT)
    return take_sent(d, event);
  if (event->kind == ACQ_RECEIVED)
    return take_received(d, event);
  d->w.control = 0; /* notes stand where an answer would */
  return 0;
}

/* ---- the record ---------------------------------------------------------------------------------------------- */

static int pass(struct decoding *d, bool first) {
  struct acq_event event;
  memset(&d->w, 0, sizeof d->w);
  d->w.clocks.order = d->order;
  d->w.person = PERSON_UNKNOWN;
  d->first_pass = first;
  phd_curves_begin(&d->curves, first);
  for (size_t i = 0; acq_capture_event(d->capture, i, &event); i++) {
    int r = take(d, &event);
    if (r < 0)
      return r;
  }
  return 0;
}

/* The trial's channels, and a pass to fill them. */
static int write_curves(struct decoding *d, unsigned trial) {
  bool any = false;
  for (unsigned i = 0; i < d->curves.n; i++) {
    struct phd_curve *c = &d->curves.at[i];
    if (c->again || c->trial != trial)
      continue;
    c->channel = acq_rec_channel(d->record, c->wave.row->code, c->wave.rate, c->wave.scale, false);
    any = true;
  }
  d->writing = trial;
  return any ? pass(d, false) : 0;
}

static int write_trial(struct decoding *d, unsigned trial) {
  phd_trial_write(&d->trials, trial, d->order, d->record);
  return write_curves(d, trial);
}

static void write_gaps(struct decoding *d) {
  const struct phd_curves *c = &d->curves;
  char subject[ACQ_TEXT_MAX];
  if (!c->gaps)
    return;
  if (c->gaps == 1)
    snprintf(subject, sizeof subject, "%u,%03u s à partir de %u,%03u s", c->missing_ms / 1000, c->missing_ms % 1000,
             c->gap_ms / 1000, c->gap_ms % 1000);
  else
    snprintf(subject, sizeof subject, "%u,%03u s en %u fois", c->missing_ms / 1000, c->missing_ms % 1000, c->gaps);
  acq_rec_quality(d->record, "samples_missing", subject, c->gaps);
}

static void write_quality(struct decoding *d) {
  uint32_t kept = 0;
  bool wrong = false;
  for (unsigned i = 0; i < d->w.dim.n_objects; i++)
    kept += d->w.dim.objects[i].old_segments;
  for (enum phd_stamp_kind kind = PHD_ABSOLUTE; kind <= PHD_BASE_OFFSET; kind++)
    wrong |= llabs(phd_clock_slow_us(&d->w.clocks, kind)) > PHD_GRACE_US;
  acq_rec_trial(d->record, NULL);
  write_gaps(d);
  if (wrong)
    acq_rec_quality(d->record, "device_clock_wrong", "", 1);
  if (kept)
    acq_rec_quality(d->record, "readings_kept_by_device", "", kept);
  if (d->curves.repeated)
    acq_rec_quality(d->record, "frame_repeated", "", d->curves.repeated);
  if (d->unknown + d->curves.unknown)
    acq_rec_quality(d->record, "unknown_value", "", d->unknown + d->curves.unknown);
  /* An end that nobody made: something is missing, whoever says that all is well. */
  if (d->hosted && (d->w.associated || (d->w.agent.n && !d->w.agent.whole)))
    acq_rec_quality(d->record, "incomplete", "", 1);
}

static int write_record(struct decoding *d) {
  enum acq_modality m = d->order->modality;
  if (!d->modalities)
    return fail(d, -ENODATA, "nothing that is known was measured");
  if (!(d->modalities & ACQ_MODALITY(m)))
    for (m = ACQ_ECG; !(d->modalities & ACQ_MODALITY(m)); m++)
      ;
  acq_rec_modality(d->record, m);
  if (phd_curves_settle(&d->curves, &d->trials) < 0)
    return fail(d, -EPROTO, d->curves.why);
  int r = write_trial(d, PHD_OF_SESSION);
  for (unsigned i = 0; i < d->trials.n_trials && r == 0; i++)
    r = write_trial(d, i);
  write_quality(d);
  return r < 0 ? r : acq_rec_done(d->record);
}

int phd_decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct decoding decoding, *d = &decoding;
  struct acq_event event;
  memset(d, 0, sizeof *d);
  d->capture = capture;
  d->record = ret;
  d->order = acq_capture_order(capture);
  for (size_t i = 0; !d->hosted && acq_capture_event(capture, i, &event); i++)
    d->hosted = event.kind == ACQ_SENT;
  int r = pass(d, true);
  return r < 0 ? r : write_record(d);
}
