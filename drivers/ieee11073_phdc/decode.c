#include "decode.h"
#include "segment.h"
#include "trial.h"
#include "wave.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APDU_FIRST 0xe2 /* first byte of every APDU; a control transfer's set-up never begins so */
#define SETUP_BYTES 8
#define WAVE_PART 512
#define CLOCK_WRONG_US PHD_GRACE_US

/* A channel of the record, of one object. */
struct channel {
  bool open;
  unsigned index;
  struct phd_wave wave;
  uint64_t total;         /* samples, and missing ones */
  uint32_t apdu;          /* that brought the last samples, */
  uint16_t report;        /* its number, */
  uint32_t samples, hash; /* and what it had */
};

/* A curve of a blow, and the blow it is of: an index of trials.trials. */
struct curve {
  unsigned channel, blow;
};

struct decoding {
  struct acq_record *record;
  const struct acq_order *order;
  bool hosted;      /* the capture has the host's side */
  bool associated;  /* there was an association, and nothing has ended it */
  bool open;        /* and its configuration was accepted: reports count */
  bool interrupted; /* a signal was, by another association */
  struct {
    uint16_t invoke_id, choice; /* of the host's last question; choice 0: answered, or none yet */
  } asked;
  unsigned modalities;
  uint32_t ms, apdu;                 /* of the event under way; its number */
  uint32_t event_ticks;              /* of the report under way */
  const struct phd_segment *segment; /* whose data are under way; NULL: live */
  uint16_t person;                   /* the one that the values are of */
  uint32_t unknown, repeated;        /* values; reports of samples */
  uint32_t repeated_apdu, gap_apdu;  /* that were counted last */
  uint32_t gaps, missing_ms, gap_ms; /* of all; where the first one is */
  size_t control;                    /* bytes that a control transfer still may bring */
  struct phd_mds mds;
  struct phd_clocks clocks;
  struct phd_segments segments;
  struct channel channels[PHD_OBJECTS_MAX];
  struct curve curves[RECORD_CHANNELS_MAX]; /* of blows, the open ones not among them */
  unsigned n_curves;
  struct phd_dim dim;
  struct phd_trials trials;
  struct phd_assembler agent, host;
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
    return ob->has_time_unread ? fail(d, -EPROTO, "a time stamp of a kind that is not read") : 0;
  if (counted && !d->hosted) /* bare bytes: nothing tells when they came */
    return 0;
  if (!phd_clock_place(&d->clocks, stamp, d->event_ticks, d->ms, &host_us))
    return fail(d, -EPROTO, "a relative time stamp, and nothing to count from");
  ret->timed = true;
  ret->compared = counted || d->clocks.agent[stamp->kind].kind != PHD_UNTIMED;
  ret->clock_us = counted ? host_us : stamp->us;
  ret->slow_us = host_us - ret->clock_us;
  return ret->clock_us < 0 ? fail(d, -ERANGE, "a reading from before 1970") : 0;
}

/* Values of two people can be told apart, but not whose order this is. */
static int check_person(struct decoding *d, uint16_t person) {
  if (person == PERSON_UNKNOWN)
    return 0;
  if (d->person != PERSON_UNKNOWN && d->person != person)
    return fail(d, -EPROTO, "the instrument sends readings of several people");
  d->person = person;
  return 0;
}

static int add_value(struct decoding *d, const struct phd_moment *moment, uint16_t person,
                     const struct phd_value *value) {
  int r = check_person(d, person);
  if (r == 0 && phd_trials_add(&d->trials, moment, value) < 0)
    r = fail(d, -EPROTO, d->trials.why);
  return r;
}

static int add_number(struct decoding *d, const struct phd_moment *moment, const struct phd_observation *ob,
                      const struct phd_number *n) {
  struct phd_value value = {.mdc = n->mdc,
                            .row = nomenclature_find_mdc(n->mdc),
                            .unit = unit_find_mdc(n->unit),
                            .missing = n->err == -ENODATA || ob->status & MSMT_WITHHELD,
                            .value = n->value};
  if (!value.row || value.row->kind == 'C' || (!value.unit && !value.missing)) {
    d->unknown++;
    return 0;
  }
  if (!value.missing && n->err < 0)
    return acq_rec_fail(d->record, n->err, "%s is infinite", value.row->code);
  if (!value.missing && !unit_fits(value.unit, unit_find(value.row->unit)))
    return acq_rec_fail(d->record, -EPROTO, "%s in %s", value.row->code, value.unit->ucum);
  return add_value(d, moment, ob->person, &value);
}

static int add_bits(struct decoding *d, const struct phd_moment *moment, const struct phd_observation *ob) {
  struct phd_value value = {.mdc = phd_object_mdc(ob->object), .bits = ob->bits};
  if (value.mdc != ((uint32_t)MDC_PART_PHD_DM << 16 | MDC_PEF_READING_STATUS)) {
    d->unknown++;
    return 0;
  }
  return add_value(d, moment, ob->person, &value);
}

/* ---- the signal ---------------------------------------------------------------------------------------------- */

static uint32_t hash_of(struct acq_cur c) {
  uint32_t hash = 2166136261u; /* FNV-1a */
  while (acq_left(&c))
    hash = (hash ^ acq_u8(&c)) * 16777619u;
  return hash;
}

/* A stored signal is a trial of its own, made when its segment began. */
static void begin_trial(struct decoding *d) {
  if (!d->segment) {
    acq_rec_trial(d->record, NULL);
    return;
  }
  const struct phd_stamp *start = &d->segment->start;
  acq_rec_trial(d->record, &(struct acq_trial){.timed = start->kind != PHD_UNTIMED,
                                               .clock_us = start->us,
                                               .compared = d->clocks.agent[start->kind].kind != PHD_UNTIMED,
                                               .slow_us = phd_clock_slow_us(&d->clocks, start->kind)});
}

static bool has_channel(const struct decoding *d) {
  for (unsigned i = 0; i < PHD_OBJECTS_MAX; i++)
    if (d->channels[i].open)
      return true;
  return false;
}

static int open_channel(struct decoding *d, struct channel *c, const struct phd_observation *ob) {
  const char *why;
  struct phd_wave wave;
  int r = phd_wave_init(&wave, ob->object, &why);
  if (r == -ENODATA) {
    d->unknown++;
    return 0;
  }
  if (r < 0)
    return fail(d, r, why);
  if (d->interrupted)
    return fail(d, -EPROTO, "the signal goes on in another association");
  if (!has_channel(d))
    begin_trial(d);
  *c = (struct channel){.open = true, .wave = wave};
  c->index = acq_rec_channel(d->record, wave.row->code, wave.rate, wave.scale, false);
  return 0;
}

static uint32_t in_ms(const struct phd_observation *ob, uint64_t samples) {
  return (uint32_t)(samples * ob->object->array.period / 8);
}

/* Reports that never came took as many samples with them as the one before had; all channels lose them together. */
static void add_gap(struct decoding *d, struct channel *c, const struct phd_observation *ob, unsigned reports) {
  const uint64_t lost = (uint64_t)reports * c->samples;
  if (d->gap_apdu != d->apdu && !d->gaps++)
    d->gap_ms = in_ms(ob, c->total);
  if (d->gap_apdu != d->apdu)
    d->missing_ms += in_ms(ob, lost);
  d->gap_apdu = d->apdu;
  c->total += lost;
  acq_rec_gap(d->record, c->index, lost);
}

/* Where samples belong by the number of their report: 0 after a gap or none, 1 nowhere, they came before. */
static int place_report(struct decoding *d, struct channel *c, const struct phd_report *report,
                        const struct phd_observation *ob, uint32_t hash) {
  const uint16_t step = (uint16_t)(report->number - c->report);
  if (!c->apdu || d->segment || c->apdu == d->apdu || step == 1)
    return 0;
  if (step == 0 && hash == c->hash) {
    d->repeated += d->repeated_apdu != d->apdu;
    d->repeated_apdu = d->apdu;
    return 1;
  }
  if (step & 0x8000)
    return fail(d, -EPROTO, "the reports of a signal are numbered backwards");
  if (step)
    add_gap(d, c, ob, step - 1u);
  return 0;
}

static int copy_samples(struct decoding *d, struct channel *c, struct acq_cur samples) {
  int16_t part[WAVE_PART];
  int n;
  while ((n = phd_wave_read(&c->wave, &samples, part, WAVE_PART)) > 0) {
    acq_rec_samples(d->record, c->index, part, (size_t)n);
    c->samples += (uint32_t)n;
    c->total += (uint32_t)n;
  }
  return n == 0 ? 0 : fail(d, n, n == -ERANGE ? "a sample does not fit 16 bits" : "half a sample");
}

static int add_samples(struct decoding *d, const struct phd_report *report, const struct phd_observation *ob) {
  const struct phd_array *a = &ob->object->array;
  struct channel *c = &d->channels[ob->object - d->dim.objects];
  const uint32_t hash = hash_of(ob->samples);
  int r = c->open ? 0 : open_channel(d, c, ob);
  if (r < 0 || !c->open)
    return r;
  if (acq_left(&ob->samples) != (size_t)a->samples * (a->bits / 8))
    return fail(d, -EPROTO, "a sample array of another length than it was described with");
  r = place_report(d, c, report, ob, hash);
  if (r)
    return r < 0 ? r : 0;
  if (c->apdu != d->apdu)
    c->samples = 0;
  c->apdu = d->apdu;
  c->report = report->number;
  c->hash = hash;
  return copy_samples(d, c, ob->samples);
}

static int observe(void *context, const struct phd_report *report, const struct phd_observation *ob) {
  struct decoding *d = context;
  struct phd_moment moment;
  int r = ob->has_samples ? check_person(d, ob->person) : 0;
  if (r == 0 && ob->has_samples)
    r = add_samples(d, report, ob);
  if (r < 0 || (!ob->n_numbers && !ob->has_bits))
    return r;
  r = moment_of(d, ob, &moment);
  for (unsigned i = 0; i < ob->n_numbers && r == 0; i++)
    r = add_number(d, &moment, ob, &ob->numbers[i]);
  return r == 0 && ob->has_bits ? add_bits(d, &moment, ob) : r;
}

/* ---- blows --------------------------------------------------------------------------------------------------- */

/* The curves of a blow come as live signals while it is blown, its values once it is over: the open curves are those of
 * the blow whose values have just come. What comes next begins curves of their own. */
static void end_blow(struct decoding *d, unsigned blow) {
  for (unsigned i = 0; i < PHD_OBJECTS_MAX; i++) {
    if (!d->channels[i].open)
      continue;
    if (d->n_curves < RECORD_CHANNELS_MAX)
      d->curves[d->n_curves++] = (struct curve){d->channels[i].index, blow};
    d->channels[i].open = false;
  }
}

static bool is_spirometry(const struct decoding *d) {
  return d->modalities == ACQ_MODALITY(ACQ_SPIROMETRY);
}

/* ---- what the agent says ------------------------------------------------------------------------------------- */

/* The reason of a refusal is the model's unless observe() has given one. */
static int judge(struct decoding *d, int r) {
  return r < 0 ? fail(d, r, d->dim.why) : 0;
}

static void close_channels(struct decoding *d) {
  for (unsigned i = 0; i < PHD_OBJECTS_MAX; i++)
    d->channels[i].open = false;
}

static void begin_association(struct decoding *d) {
  d->interrupted |= has_channel(d) && !d->segment;
  d->associated = true;
  d->open = false;
  d->dim.configured = false;
  d->segments.n = 0;
  d->segment = NULL;
  close_channels(d);
}

static void note_modalities(struct decoding *d) {
  unsigned set = phd_modalities(&d->dim, &d->mds);
  d->modalities = set ? set : d->modalities;
}

static int take_configuration(struct decoding *d, const struct phd_event *event) {
  int r = phd_dim_read(&d->dim, event->info);
  d->open = r == 0;
  note_modalities(d);
  return judge(d, r);
}

static int take_segment(struct decoding *d, const struct phd_event *event) {
  struct phd_segment_data data;
  int r = phd_segment_data_read(&d->dim, &d->segments, event->handle, event->info, &data);
  if (r == 0 && data.segment != d->segment) {
    close_channels(d);
    d->segment = data.segment;
  }
  return judge(d, r == 0 ? phd_segment_entries(&d->dim, &data, observe, d) : r);
}

static int take_report(struct decoding *d, const struct phd_event *event) {
  if (d->segment)
    close_channels(d);
  d->segment = NULL;
  return judge(d, phd_report_read(&d->dim, event->handle, event->type, event->info, observe, d));
}

/* Reports outside an association, or before its configuration, are of nobody: the host does not confirm them, so the
 * agent keeps them. */
static int take_event(struct decoding *d, const struct phd_data *data) {
  struct phd_event event;
  const char *why;
  int r = 0;
  if (phd_event_read(data->body, &event, &why) < 0)
    return fail(d, -EPROTO, why);
  d->event_ticks = event.time;
  if (event.type == MDC_NOTI_CONFIG)
    return take_configuration(d, &event);
  if (!d->open)
    return 0;
  if (event.type == MDC_NOTI_SEGMENT_DATA)
    r = take_segment(d, &event);
  else if (phd_is_report(event.type))
    r = take_report(d, &event);
  const unsigned before = d->trials.n_trials;
  if (phd_trials_end(&d->trials) < 0)
    r = fail(d, -EPROTO, d->trials.why);
  if (d->trials.n_trials > before && is_spirometry(d) && !d->segment)
    end_blow(d, d->trials.n_trials - 1);
  return r;
}

static int take_attributes(struct decoding *d, struct acq_cur body) {
  const char *why;
  if (phd_mds_read(body, &d->mds, &why) < 0)
    return fail(d, -EPROTO, why);
  memcpy(d->clocks.agent, d->mds.clocks, sizeof d->mds.clocks);
  d->clocks.ms = d->ms;
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
  return judge(d, phd_segments_read(&d->dim, answer.handle, answer.info, &d->clocks, &d->segments));
}

/* Bare bytes have no questions: there an answer about the device as a whole is taken for what it is. */
static int take_answer(struct decoding *d, const struct phd_data *data) {
  struct acq_cur body = data->body;
  uint16_t handle = acq_u16be(&body);
  if (d->hosted && (!d->asked.choice || data->invoke_id != d->asked.invoke_id))
    return 0;
  d->asked.choice = 0;
  if (data->choice == PHD_GET_RESULT && handle == 0)
    return take_attributes(d, data->body);
  if (data->choice == PHD_ACTION_RESULT && d->open)
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
  d->apdu++;
  if (apdu->choice == PHD_PRST)
    return take_data(d, apdu->body);
  if (apdu->choice == PHD_AARQ)
    begin_association(d);
  else
    d->associated = d->open = false;
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
    d->asked.invoke_id = data.invoke_id;
    d->asked.choice = data.choice;
  } else if (data.choice == PHD_EVENT_RESULT && phd_event_read(data.body, &event, &why) == 0 &&
             event.type == MDC_NOTI_CONFIG) {
    acq_u16be(&event.info);
    d->open = acq_u16be(&event.info) == 0 && d->dim.configured;
  }
}

static int hear(struct decoding *d, struct acq_cur in) {
  struct phd_apdu apdu;
  int r;
  while ((r = phd_assemble(&d->host, &in, &apdu)) > 0) {
    if (apdu.choice == PHD_PRST)
      hear_data(d, apdu.body);
    else if (apdu.choice != PHD_AARE)
      d->associated = d->open = false;
  }
  return r < 0 ? fail(d, r, "the host's side is not in its form") : 0;
}

/* A control transfer is its set-up, and what an IN request brings is not part of the stream. */
static int take_sent(struct decoding *d, const struct acq_event *event) {
  struct acq_cur c = acq_cur(event->bytes, event->n);
  d->control = 0;
  if (d->host.n && !d->host.whole)
    return hear(d, c);
  if (event->n < SETUP_BYTES || event->bytes[0] >= APDU_FIRST)
    return hear(d, c);
  if (event->bytes[0] & 0x80)
    d->control = (size_t)(event->bytes[6] | event->bytes[7] << 8);
  return 0;
}

static int take_received(struct decoding *d, const struct acq_event *event) {
  if (d->control) {
    d->control -= event->n < d->control ? event->n : d->control;
    return 0;
  }
  struct acq_cur in = acq_cur(event->bytes, event->n);
  struct phd_apdu apdu;
  int r;
  while ((r = phd_assemble(&d->agent, &in, &apdu)) > 0) {
    int taken = take_apdu(d, &apdu);
    if (taken < 0)
      return taken;
  }
  return r < 0 ? fail(d, r, "bytes that begin no APDU") : 0;
}

static int take(struct decoding *d, const struct acq_event *event) {
  d->ms = event->ms;
  if (event->kind == ACQ_SENT)
    return take_sent(d, event);
  if (event->kind == ACQ_RECEIVED)
    return take_received(d, event);
  d->control = 0; /* notes stand where an answer would */
  return 0;
}

/* ---- the record ---------------------------------------------------------------------------------------------- */

static void write_gaps(struct decoding *d) {
  char subject[ACQ_TEXT_MAX];
  if (!d->gaps)
    return;
  if (d->gaps == 1)
    snprintf(subject, sizeof subject, "%u,%03u s à partir de %u,%03u s", d->missing_ms / 1000, d->missing_ms % 1000,
             d->gap_ms / 1000, d->gap_ms % 1000);
  else
    snprintf(subject, sizeof subject, "%u,%03u s en %u fois", d->missing_ms / 1000, d->missing_ms % 1000, d->gaps);
  acq_rec_quality(d->record, "samples_missing", subject, d->gaps);
}

static void write_quality(struct decoding *d) {
  uint32_t kept = 0;
  bool wrong = false;
  for (unsigned i = 0; i < d->dim.n_objects; i++)
    kept += d->dim.objects[i].old_segments;
  for (enum phd_stamp_kind kind = PHD_ABSOLUTE; kind <= PHD_BASE_OFFSET; kind++)
    wrong |= llabs(phd_clock_slow_us(&d->clocks, kind)) > CLOCK_WRONG_US;
  acq_rec_trial(d->record, NULL);
  write_gaps(d);
  if (wrong)
    acq_rec_quality(d->record, "device_clock_wrong", "", 1);
  if (kept)
    acq_rec_quality(d->record, "readings_kept_by_device", "", kept);
  if (d->repeated)
    acq_rec_quality(d->record, "frame_repeated", "", d->repeated);
  if (d->unknown)
    acq_rec_quality(d->record, "unknown_value", "", d->unknown);
  /* An end that nobody made: something is missing, whoever says that all is well. */
  if (d->hosted && (d->associated || (d->agent.n && !d->agent.whole)))
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
  const unsigned first = phd_trials_write(&d->trials, d->order, d->record);
  for (unsigned i = 0; i < d->n_curves && first; i++)
    acq_rec_channel_trial(d->record, d->curves[i].channel, first + d->curves[i].blow);
  write_quality(d);
  return acq_rec_done(d->record);
}

int phd_decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct decoding decoding, *d = &decoding;
  struct acq_event event;
  memset(d, 0, sizeof *d);
  d->record = ret;
  d->order = d->clocks.order = acq_capture_order(capture);
  d->person = PERSON_UNKNOWN;
  for (size_t i = 0; !d->hosted && acq_capture_event(capture, i, &event); i++)
    d->hosted = event.kind == ACQ_SENT;
  for (size_t i = 0; acq_capture_event(capture, i, &event); i++) {
    int r = take(d, &event);
    if (r < 0)
      return r;
  }
  return write_record(d);
}
