/* The waveforms of an ECG object (DICOM PS3.3 C.10.9, A.34.3 to A.34.5). A sample is physical quantity = sample x
 * sensitivity x correction factor + baseline. */
#include "dicom.h"

#include <asalee/record.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct lead {
  const char *code; /* NULL: not one that a record has */
  struct dec scale;
  bool derived;
};

struct group {
  struct acq_cur item;
  struct dec rate;
  unsigned channels;
  uint32_t samples;
  const uint8_t *data;
  bool padded;
  int16_t padding;
  int64_t after_us; /* it begins so much after the first */
};

static int fail(struct dicom_file *f, int err, const char *why) {
  return acq_rec_fail(f->record, err, "%s", why);
}

/* ---- leads ---- */

/* CID 3001: MDC 2:n, and of old SCPECG 5.6.3-9-n: both number the leads as SCP-ECG does. */
static const char *lead_code(struct dicom_file *f, struct acq_cur channel) {
  static const struct {
    unsigned n;
    const char *code;
  } leads[] = {{0, "lead_unspecified"}, {1, "lead_i"},    {2, "lead_ii"}, {61, "lead_iii"}, {62, "lead_avr"},
               {63, "lead_avl"},        {64, "lead_avf"}, {3, "lead_v1"}, {4, "lead_v2"},   {5, "lead_v3"},
               {6, "lead_v4"},          {7, "lead_v5"},   {8, "lead_v6"}};
  static const struct { const char *scheme, *before; } schemes[] = {{"MDC", "2:"}, {"SCPECG", "5.6.3-9-"}};
  char value[32], scheme[20];
  dicom_text_in(f, channel, CHANNEL_SOURCE, CODE_VALUE, value, sizeof value);
  dicom_text_in(f, channel, CHANNEL_SOURCE, CODING_SCHEME, scheme, sizeof scheme);
  for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++) {
    if (strcmp(scheme, schemes[s].scheme) || strncmp(value, schemes[s].before, strlen(schemes[s].before)))
      continue;
    for (size_t i = 0; i < sizeof leads / sizeof *leads; i++) {
      char number[8];
      snprintf(number, sizeof number, "%u", leads[i].n);
      if (!strcmp(value + strlen(schemes[s].before), number))
        return leads[i].code;
    }
  }
  return NULL;
}

/* Powers of ten of a microvolt. */
static bool read_unit(struct dicom_file *f, struct acq_cur channel, int *ret) {
  static const struct {
    const char *unit;
    int exponent;
  } units[] = {{"uV", 0}, {"mV", 3}, {"nV", -3}, {"V", 6}};
  char unit[20];
  dicom_text_in(f, channel, CHANNEL_SENSITIVITY_UNITS, CODE_VALUE, unit, sizeof unit);
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if (!strcmp(unit, units[i].unit)) {
      *ret = units[i].exponent;
      return true;
    }
  return false;
}

static int read_scale(struct dicom_file *f, struct acq_cur channel, struct dec *ret) {
  struct dicom_number sensitivity, correction = {1, 0}, baseline = {0};
  int unit;
  if (dicom_number(channel, CHANNEL_SENSITIVITY, &sensitivity) < 0)
    return fail(f, -EPROTO, "a lead without a sensitivity");
  int r = dicom_number(channel, CHANNEL_CORRECTION, &correction);
  if (r < 0 && r != -ENODATA)
    return fail(f, r, "a correction factor that is no number");
  r = dicom_number(channel, CHANNEL_BASELINE, &baseline);
  if (r < 0 && r != -ENODATA)
    return fail(f, r, "a baseline that is no number");
  if (baseline.mantissa)
    return fail(f, -EOPNOTSUPP, "a lead with a baseline that is not 0");
  if (!read_unit(f, channel, &unit))
    return fail(f, -EOPNOTSUPP, "a lead in a unit that is no voltage");
  if (sensitivity.mantissa <= 0 || correction.mantissa <= 0)
    return fail(f, -ERANGE, "a sensitivity that is not above 0");
  struct dicom_number scale = {.exponent = sensitivity.exponent + correction.exponent + unit};
  if (__builtin_mul_overflow(sensitivity.mantissa, correction.mantissa, &scale.mantissa))
    return fail(f, -EOPNOTSUPP, "a sensitivity of more digits than are kept");
  for (; scale.mantissa % 10 == 0; scale.exponent++)
    scale.mantissa /= 10;
  return dicom_exact(scale, ret) < 0 ? fail(f, -EOPNOTSUPP, "a sensitivity of more digits than are kept") : 0;
}

/* Whether a x b, neither negative, is 1 or more. */
static bool reaches_one(struct dicom_number a, struct dec b) {
  int64_t product, power = 1;
  int exponent = a.exponent + b.exponent;
  if (!a.mantissa || !b.mantissa)
    return false;
  if (exponent >= 0 || __builtin_mul_overflow(a.mantissa, (int64_t)b.mantissa, &product))
    return true;
  for (; exponent < 0 && power <= INT64_MAX / 10; exponent++)
    power *= 10;
  return exponent == 0 && product >= power;
}

/* A lead that is late by a sample or more would be drawn in the wrong place. */
static int check_skew(struct dicom_file *f, struct acq_cur channel, struct dec rate) {
  static const uint32_t tags[] = {CHANNEL_TIME_SKEW, CHANNEL_OFFSET, CHANNEL_SAMPLE_SKEW};
  for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
    struct dicom_number skew;
    int r = dicom_number(channel, tags[i], &skew);
    if (r == -ENODATA)
      continue;
    if (r < 0)
      return fail(f, r, "a lead's skew is no number");
    if (skew.mantissa < 0)
      skew.mantissa = -skew.mantissa;
    if (reaches_one(skew, tags[i] == CHANNEL_SAMPLE_SKEW ? (struct dec){1, 0} : rate))
      return fail(f, -EOPNOTSUPP, "leads that are not sampled at the same time");
  }
  return 0;
}

static int read_lead(struct dicom_file *f, const struct group *g, struct acq_cur channel, struct lead *ret) {
  char derivation[16];
  *ret = (struct lead){.code = lead_code(f, channel)};
  if (!ret->code)
    return 0;
  ret->derived = dicom_text(f, channel, CHANNEL_DERIVATION, derivation, sizeof derivation);
  int r = read_scale(f, channel, &ret->scale);
  return r < 0 ? r : check_skew(f, channel, g->rate);
}

/* ---- filters ---- */

/* "0,05" of a frequency that a sentence can have. */
static bool frequency(struct acq_cur channel, uint32_t tag, char ret[static DEC_TEXT_MAX]) {
  struct dicom_number n;
  struct dec d;
  if (dicom_number(channel, tag, &n) < 0 || n.mantissa <= 0 || dicom_exact(n, &d) < 0)
    return false;
  if (dec_format(d, ret) > 12)
    return false;
  char *point = strchr(ret, '.');
  if (point)
    *point = ',';
  return true;
}

static void tell_filters(struct dicom_file *f, struct acq_cur channel) {
  char low[DEC_TEXT_MAX], high[DEC_TEXT_MAX], notch[DEC_TEXT_MAX], subject[ACQ_TEXT_MAX];
  const bool has_low = frequency(channel, FILTER_LOW, low), has_high = frequency(channel, FILTER_HIGH, high);
  if (has_low && has_high)
    snprintf(subject, sizeof subject, "de %.12s à %.12s Hz", low, high);
  else if (has_low)
    snprintf(subject, sizeof subject, "à partir de %.12s Hz", low);
  else if (has_high)
    snprintf(subject, sizeof subject, "de 0 à %.12s Hz", high);
  if (has_low || has_high)
    acq_rec_quality(f->record, "signal_filtered", subject, 1);
  if (frequency(channel, FILTER_NOTCH, notch)) {
    snprintf(subject, sizeof subject, "%.12s Hz", notch);
    acq_rec_quality(f->record, "signal_filtered", subject, 1);
  }
}

/* ---- groups ---- */

static int read_count(struct acq_cur item, uint32_t tag, uint32_t most, uint32_t *ret) {
  struct dicom_number n;
  struct dec d;
  if (dicom_number(item, tag, &n) < 0 || dicom_exact(n, &d) < 0 || d.exponent || d.mantissa < 0 ||
      (uint32_t)d.mantissa > most)
    return -EPROTO;
  *ret = (uint32_t)d.mantissa;
  return 0;
}

static int read_group(struct dicom_file *f, struct acq_cur item, struct group *ret) {
  struct group g = {.item = item};
  struct dicom_number rate, offset;
  struct flat_entry e;
  if (read_count(item, NUMBER_OF_CHANNELS, RECORD_CHANNELS_MAX, &g.channels) < 0 ||
      read_count(item, NUMBER_OF_SAMPLES, RECORD_DATA_MAX, &g.samples) < 0)
    return fail(f, -EPROTO, "a waveform without a number of channels or samples that can be");
  if (dicom_number(item, SAMPLING_FREQUENCY, &rate) < 0 || rate.mantissa <= 0 || dicom_exact(rate, &g.rate) < 0)
    return fail(f, -EPROTO, "a waveform without a sampling frequency that can be");
  if (!g.channels || !g.samples || !flat_find(item, WAVEFORM_DATA, 'w', &e))
    return fail(f, -ENODATA, "a waveform without samples");
  if (e.n != (uint64_t)g.channels * g.samples * 2)
    return fail(f, -EPROTO, "a waveform of another length than its channels and samples have");
  g.data = e.bytes;
  if (flat_find(item, WAVEFORM_PADDING, 'w', &e) && e.n == 2) {
    g.padded = true;
    g.padding = (int16_t)(e.bytes[0] | e.bytes[1] << 8);
  }
  if (dicom_number(item, GROUP_TIME_OFFSET, &offset) == 0) { /* milliseconds */
    struct dec ms;
    if (offset.mantissa < 0 || dicom_exact(offset, &ms) < 0 || dec_cmp(ms, (struct dec){86400000, 0}) > 0)
      return fail(f, -ERANGE, "a waveform that begins at a time that cannot be");
    for (g.after_us = (int64_t)ms.mantissa * 1000; ms.exponent < 0; ms.exponent++)
      g.after_us /= 10;
  }
  *ret = g;
  return 0;
}

static int16_t sample(const struct group *g, unsigned lead, uint32_t i) {
  const uint8_t *at = g->data + 2 * ((size_t)i * g->channels + lead);
  return (int16_t)(at[0] | at[1] << 8);
}

/* The lowest and highest values of a lead that are not the padding's; low > high when there are none. */
struct span {
  int low, high;
};

static struct span span_of(const struct group *g, unsigned lead) {
  struct span s = {INT16_MAX, INT16_MIN};
  for (uint32_t i = 0; i < g->samples; i++) {
    const int16_t v = sample(g, lead, i);
    if (g->padded && v == g->padding)
      continue;
    s.low = v < s.low ? v : s.low;
    s.high = v > s.high ? v : s.high;
  }
  return s;
}

/* Whether the padding value marks what was not recorded. Files say 0 without meaning it, and what lies among the
 * lead's values cannot be told from them. */
static bool marks_gaps(const struct group *g, struct span s) {
  return g->padded && (g->padding == ACQ_GAP || (g->padding && (g->padding < s.low || g->padding > s.high)));
}

/* One lead out of the multiplex. */
static void add_lead(struct dicom_file *f, const struct group *g, unsigned i, const struct lead *lead) {
  static int16_t run[4096];
  const struct span span = span_of(g, i);
  const bool gaps = marks_gaps(g, span);
  const unsigned channel = acq_rec_channel(f->record, lead->code, g->rate, lead->scale, lead->derived);
  uint32_t missing = 0;
  int16_t last = 0;
  bool flat = true;
  size_t n = 0;
  for (uint32_t k = 0; k < g->samples; k++) {
    const int16_t v = sample(g, i, k);
    const bool gap = gaps && v == g->padding;
    if (!gap) {
      flat = flat && (k == missing || v == last);
      run[n++] = last = v;
    }
    if (n && (gap || n == sizeof run / sizeof *run || k + 1 == g->samples)) {
      acq_rec_samples(f->record, channel, run, n);
      n = 0;
    }
    if (gap)
      acq_rec_gap(f->record, channel, 1);
    missing += gap;
  }
  if (missing)
    acq_rec_quality(f->record, "samples_missing", lead->code, missing);
  if (flat && !lead->derived)
    acq_rec_quality(f->record, "lead_flat", lead->code, 1);
}

/* Two channels of one lead: one of them is another's, and nobody knows which. */
static void tell_twice(struct dicom_file *f, const char *const *codes, unsigned n) {
  for (unsigned i = 0; i + 1 < n; i++)
    if (codes[n - 1] == codes[i] && strcmp(codes[i], "lead_unspecified"))
      return acq_rec_quality(f->record, "file_inconsistent", codes[i], 1);
}

static int take_group(struct dicom_file *f, const struct group *g) {
  const char *codes[RECORD_CHANNELS_MAX];
  struct acq_cur at = g->item, channel;
  unsigned i = 0, known = 0;
  dicom_begin_trial(f, g->after_us);
  for (; flat_item(&at, CHANNEL_DEFINITION, &channel); i++) {
    struct lead lead;
    if (i == g->channels)
      return fail(f, -EPROTO, "a waveform of another number of channels than it defines");
    int r = read_lead(f, g, channel, &lead);
    if (r < 0)
      return r;
    if (!lead.code)
      continue;
    add_lead(f, g, i, &lead);
    codes[known++] = lead.code;
    tell_twice(f, codes, known);
    tell_filters(f, channel);
  }
  if (i != g->channels)
    return fail(f, -EPROTO, "a waveform of another number of channels than it defines");
  if (!known)
    return fail(f, -EOPNOTSUPP, "none of the channels is a lead that is known");
  if (known < g->channels)
    acq_rec_quality(f->record, "unknown_value", "", g->channels - known);
  acq_rec_limb_leads(f->record);
  return 0;
}

/* ---- which of them ---- */

enum worth { NONE, PLAIN, RHYTHM };

/* A rhythm strip, by its label; else what was recorded and not computed. */
static enum worth worth_of(struct dicom_file *f, struct acq_cur item) {
  char label[20], originality[20];
  dicom_text(f, item, MULTIPLEX_GROUP_LABEL, label, sizeof label);
  dicom_text(f, item, WAVEFORM_ORIGINALITY, originality, sizeof originality);
  if (!strcasecmp(originality, "DERIVED") || !strncasecmp(label, "MEDIAN", 6))
    return NONE;
  return !strncasecmp(label, "RHYTHM", 6) ? RHYTHM : PLAIN;
}

static uint32_t samples_of(struct acq_cur item) {
  uint32_t n = 0;
  read_count(item, NUMBER_OF_SAMPLES, RECORD_DATA_MAX, &n);
  return n;
}

int dicom_ecg(struct dicom_file *f) {
  struct acq_cur at = f->root, item, best = {0};
  enum worth most = NONE;
  unsigned plain = 0;
  bool any = false;
  while (flat_item(&at, WAVEFORM_SEQUENCE, &item)) {
    const enum worth w = worth_of(f, item);
    any = true;
    plain += w == PLAIN;
    if (w > most || (w == PLAIN && w == most && samples_of(item) > samples_of(best)))
      best = item;
    most = w > most ? w : most;
  }
  if (most == NONE)
    return any ? fail(f, -EOPNOTSUPP, "only computed waveforms") : fail(f, -ENODATA, "no waveform");
  for (at = f->root; flat_item(&at, WAVEFORM_SEQUENCE, &item);) {
    struct group g = {0};
    if (most == RHYTHM ? worth_of(f, item) != RHYTHM : item.at != best.at)
      continue;
    int r = read_group(f, item, &g);
    if (r == 0)
      r = take_group(f, &g);
    if (r < 0)
      return r;
  }
  if (most == PLAIN)
    plain--;
  if (plain) /* recorded, and of another length or kind than what was taken */
    acq_rec_quality(f->record, "file_inconsistent", "", plain);
  return 0;
}
