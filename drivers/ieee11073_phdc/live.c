#include "live.h"

#include <string.h>

#define PICTURES_A_SECOND 10 /* enough for the eye */

void phd_live_reset(struct phd_live *l) {
  memset(l->ticks, 0, sizeof l->ticks);
  l->signal = false;
  l->n_channels = 0;
  l->first = 0;
}

/* ---- readings ------------------------------------------------------------------------------------------------ */

static void note_infinity(struct phd_live *l, const struct phd_observation *ob) {
  for (unsigned i = 0; i < ob->n_numbers && !(ob->status & MSMT_WITHHELD); i++) {
    const struct nomenclature *row = nomenclature_find_mdc(ob->numbers[i].mdc);
    if (!l->infinite && row && unit_find_mdc(ob->numbers[i].unit) && ob->numbers[i].err == -ERANGE)
      l->infinite = row->code;
  }
}

static bool has_value(const struct phd_observation *ob) {
  for (unsigned i = 0; i < ob->n_numbers && !(ob->status & MSMT_WITHHELD); i++)
    if (ob->numbers[i].err == 0 && nomenclature_find_mdc(ob->numbers[i].mdc))
      return true;
  return false;
}

static void note_reading(struct phd_live *l, const struct phd_clocks *clocks, const struct phd_stamp *stamp,
                         uint32_t event_ticks, uint32_t event_ms) {
  int64_t us = stamp->us;
  l->values++;
  if (stamp->kind == PHD_UNTIMED) {
    l->untimed = true;
    return;
  }
  if (stamp->kind == PHD_RELATIVE) {
    static const struct acq_order from_start;
    struct phd_clocks c = *clocks;
    c.order = &from_start;
    if (!phd_clock_place(&c, stamp, event_ticks, event_ms, &us))
      return;
  }
  l->newest[stamp->kind] = l->timed[stamp->kind] && l->newest[stamp->kind] > us ? l->newest[stamp->kind] : us;
  l->timed[stamp->kind] = true;
}

bool phd_live_has_reading(const struct phd_live *l, const struct phd_clocks *clocks) {
  for (enum phd_stamp_kind kind = PHD_ABSOLUTE; kind <= PHD_BASE_OFFSET; kind++)
    if (l->timed[kind] && phd_clock_is_fresh(clocks, l->newest[kind] + phd_clock_slow_us(clocks, kind)))
      return true;
  return l->untimed || (l->timed[PHD_RELATIVE] && l->newest[PHD_RELATIVE] >= -PHD_GRACE_US);
}

/* ---- the signal ---------------------------------------------------------------------------------------------- */

/* The channel of an object: one picture shows what has one rate and one scale. */
static struct phd_live_channel *channel_of(struct phd_live *l, const struct phd_object *o, const struct phd_wave *w) {
  for (unsigned i = 0; i < l->n_channels; i++)
    if (l->channels[i].handle == o->handle)
      return &l->channels[i];
  const struct phd_wave *like = &l->channels[0].wave;
  if (l->n_channels == ACQ_PREVIEW_CHANNELS || l->first ||
      (l->n_channels && (dec_cmp(like->rate, w->rate) || dec_cmp(like->scale, w->scale))))
    return NULL;
  struct phd_live_channel *c = &l->channels[l->n_channels++];
  c->handle = o->handle;
  c->n = 0;
  return c;
}

static void note_samples(struct phd_live *l, const struct phd_dim *d, const struct phd_observation *ob) {
  struct phd_wave wave;
  const char *why;
  if (phd_wave_init(&wave, ob->object, &why) < 0)
    return;
  l->ticks[ob->object - d->objects] += acq_left(&ob->samples) / wave.bytes * (uint64_t)ob->object->array.period;
  l->signal = true;
  struct phd_live_channel *c = channel_of(l, ob->object, &wave);
  if (!c)
    return;
  struct acq_cur samples = ob->samples;
  c->wave = wave;
  int n = phd_wave_read(&wave, &samples, c->values + c->n, PHD_LIVE_SAMPLES - c->n);
  c->n += n > 0 ? (size_t)n : 0;
}

void phd_live_observe(struct phd_live *l, const struct phd_dim *d, const struct phd_clocks *clocks,
                      const struct phd_observation *ob, uint32_t event_ticks, uint32_t event_ms) {
  note_infinity(l, ob);
  if (ob->has_samples)
    note_samples(l, d, ob);
  if (has_value(ob))
    note_reading(l, clocks, &ob->stamp, event_ticks, event_ms);
}

void phd_live_observe_stored(struct phd_live *l, const struct phd_clocks *clocks, const struct phd_observation *ob) {
  note_infinity(l, ob);
  if (ob->has_samples || has_value(ob))
    note_reading(l, clocks, &ob->stamp, UINT32_MAX, 0);
}

static uint32_t whole_rate(struct dec rate) {
  int64_t hz = rate.mantissa;
  for (int e = rate.exponent; e < 0; e++)
    hz /= 10;
  return hz > 0 ? (uint32_t)hz : 1;
}

void phd_live_show(struct phd_live *l, struct acq_io *io) {
  size_t n = l->n_channels ? PHD_LIVE_SAMPLES : 0;
  for (unsigned i = 0; i < l->n_channels; i++)
    n = l->channels[i].n < n ? l->channels[i].n : n;
  const struct phd_wave *like = &l->channels[0].wave;
  if (!n || n < whole_rate(like->rate) / PICTURES_A_SECOND)
    return;
  for (size_t at = 0; at < n; at += ACQ_PREVIEW_SAMPLES) {
    struct acq_preview p = {.channels = l->n_channels,
                            .samples = (unsigned)(n - at < ACQ_PREVIEW_SAMPLES ? n - at : ACQ_PREVIEW_SAMPLES),
                            .first = l->first + (uint32_t)at,
                            .rate_hz = whole_rate(like->rate),
                            .scale = like->scale};
    for (unsigned i = 0; i < l->n_channels; i++) {
      p.code[i] = l->channels[i].wave.row->code;
      p.values[i] = l->channels[i].values + at;
    }
    acq_preview(io, &p);
  }
  l->first += (uint32_t)n;
  for (unsigned i = 0; i < l->n_channels; i++) {
    struct phd_live_channel *c = &l->channels[i];
    c->n -= n;
    memmove(c->values, c->values + n, c->n * sizeof *c->values);
  }
}

uint64_t phd_live_ticks(const struct phd_live *l) {
  uint64_t least = 0;
  for (unsigned i = 0; i < PHD_OBJECTS_MAX; i++)
    if (l->ticks[i] && (!least || l->ticks[i] < least))
      least = l->ticks[i];
  return least;
}
