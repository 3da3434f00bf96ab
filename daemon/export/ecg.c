/* 12-lead ECG Waveform and General ECG Waveform Storage (DICOM PS3.3 A.34.3, A.34.4). */
#include "encode.h"
#include "tags.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LEADS_MAX RECORD_CHANNELS_MAX
#define GROUP_CHANNELS_MAX 24 /* of General ECG; 12-lead ECG has 13 in all groups */
#define GROUPS_MAX 5

struct lead {
  const struct nomenclature *row;
  const char *rate, *scale;
  int64_t first, samples, trial;
  bool derived, gaps;
};

/* Channels of one rate and length are sampled together: a multiplex group. */
struct group {
  struct lead *leads[GROUP_CHANNELS_MAX];
  size_t n;
};

struct ecg {
  struct lead leads[LEADS_MAX];
  size_t n_leads;
  struct group groups[GROUPS_MAX];
  size_t n_groups;
};

/* 2:256+n is the potential of lead n, 2:n that lead (CID 3001). */
static unsigned lead_number(const struct nomenclature *row) {
  return row->mdc & 0xFF;
}

static int read_lead(const json_t *c, struct lead *lead, char reason[static 256]) {
  struct dec rate = {0};
  *lead = (struct lead){.row = nomenclature_find(json_text(c, "code")),
                        .rate = json_text(c, "rate"),
                        .scale = json_text(c, "scale"),
                        .first = json_integer_value(json_object_get(c, "first")),
                        .samples = json_integer_value(json_object_get(c, "samples")),
                        .trial = json_integer_value(json_object_get(c, "trial")),
                        .derived = json_is_true(json_object_get(c, "derived")),
                        .gaps = json_array_size(json_object_get(c, "gaps")) > 0};
  if (strcmp(lead->row->unit, "uV"))
    return encode_refuse(reason, "a channel is no lead");
  if (lead->samples == 0)
    return encode_refuse(reason, "a lead has no samples");
  if (dec_parse(lead->rate, &rate) < 0 || dec_cmp(rate, (struct dec){200, 0}) < 0 ||
      dec_cmp(rate, (struct dec){1000, 0}) > 0)
    return encode_refuse(reason, "sampled at a rate outside 200 to 1000 Hz, which no ECG object may have");
  return 0;
}

static int read_leads(const struct encode_input *in, struct ecg *ecg, char reason[static 256]) {
  const json_t *channels = json_object_get(json_object_get(in->record, "acquired"), "channels");
  size_t i;
  json_t *c;
  if (!json_array_size(channels))
    return encode_refuse(reason, "the record has no channels");
  json_array_foreach(channels, i, c) {
    struct lead *lead = &ecg->leads[ecg->n_leads++];
    int r = read_lead(c, lead, reason);
    if (r < 0)
      return r;
    struct group *g = ecg->groups, *end = ecg->groups + ecg->n_groups;
    while (g < end && (strcmp(g->leads[0]->rate, lead->rate) || g->leads[0]->samples != lead->samples ||
                       g->leads[0]->trial != lead->trial))
      g++;
    if (g == end && ecg->n_groups++ == GROUPS_MAX)
      return encode_refuse(reason, "more than %d recordings in one ECG", GROUPS_MAX);
    if (g->n == GROUP_CHANNELS_MAX)
      return encode_refuse(reason, "more than %d leads at a time", GROUP_CHANNELS_MAX);
    g->leads[g->n++] = lead;
  }
  return 0;
}

static bool has_twelve_leads(const struct ecg *ecg) {
  static const unsigned twelve[] = {1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8};
  for (size_t k = 0; k < sizeof twelve / sizeof *twelve; k++) {
    bool there = false;
    for (size_t i = 0; i < ecg->n_leads; i++)
      there = there || lead_number(ecg->leads[i].row) == twelve[k];
    if (!there)
      return false;
  }
  return true;
}

/* The twelve leads and at most one more, no longer than the 12-lead object may be. */
static bool is_twelve_lead(const struct ecg *ecg) {
  for (size_t i = 0; i < ecg->n_groups; i++)
    if (ecg->groups[i].leads[0]->samples > 16384)
      return false;
  return ecg->n_leads <= 13 && has_twelve_leads(ecg);
}

static int put_channel(struct dicom_item group, const struct lead *lead, char reason[static 256]) {
  struct dicom_item c = dicom_add(group, CHANNEL_DEFINITION);
  const uint16_t bits = 16;
  char value[16], meaning[64];
  snprintf(value, sizeof value, "2:%u", lead_number(lead->row));
  snprintf(meaning, sizeof meaning, lead_number(lead->row) ? "Lead %s" : "Unspecified lead", lead->row->label);
  encode_text(c, CHANNEL_LABEL, meaning, 16);
  encode_code(c, CHANNEL_SOURCE, (struct code){value, "MDC", meaning});
  if (lead->derived)
    dicom_text(c, CHANNEL_DERIVATION, "Computed from the recorded leads");
  /* microvolts = sample x sensitivity x correction factor + baseline */
  if (!encode_decimal_text(c, CHANNEL_SENSITIVITY, lead->scale))
    return encode_refuse(reason, "a scale has more digits than DICOM takes");
  encode_code(c, CHANNEL_SENSITIVITY_UNITS, (struct code){"uV", "UCUM", "microvolt"});
  dicom_text(c, CHANNEL_CORRECTION, "1");
  dicom_text(c, CHANNEL_BASELINE, "0");
  dicom_text(c, CHANNEL_TIME_SKEW, "0");
  dicom_u16(c, WAVEFORM_BITS_STORED, &bits, 1);
  return 0;
}

static int put_group(struct dicom_item root, const struct group *g, const uint8_t *data, char reason[static 256]) {
  struct dicom_item item = dicom_add(root, WAVEFORM_SEQUENCE);
  const uint16_t channels = (uint16_t)g->n, bits = 16;
  const size_t samples = (size_t)g->leads[0]->samples;
  bool gaps = false;
  dicom_text(item, WAVEFORM_ORIGINALITY, "ORIGINAL");
  dicom_u16(item, NUMBER_OF_CHANNELS, &channels, 1);
  dicom_u32(item, NUMBER_OF_SAMPLES, (uint32_t)samples);
  if (!encode_decimal_text(item, SAMPLING_FREQUENCY, g->leads[0]->rate))
    return encode_refuse(reason, "a rate has more digits than DICOM takes");
  dicom_text(item, MULTIPLEX_GROUP_LABEL, "RHYTHM");
  for (size_t k = 0; k < g->n; k++) {
    int r = put_channel(item, g->leads[k], reason);
    if (r < 0)
      return r;
    gaps = gaps || g->leads[k]->gaps;
  }
  dicom_u16(item, WAVEFORM_BITS_ALLOCATED, &bits, 1);
  dicom_text(item, WAVEFORM_SAMPLE_INTERPRETATION, "SS");
  uint16_t *words = gaps ? dicom_words(item, WAVEFORM_PADDING, 1) : NULL;
  if (words)
    *words = (uint16_t)ACQ_GAP;
  words = dicom_words(item, WAVEFORM_DATA, samples * g->n);
  for (size_t k = 0; words && k < g->n; k++) {
    const uint8_t *from = data + (size_t)g->leads[k]->first * sizeof(int16_t);
    for (size_t i = 0; i < samples; i++)
      words[i * g->n + k] = (uint16_t)(from[2 * i] | from[2 * i + 1] << 8);
  }
  return 0;
}

static void put_annotation(struct dicom_item root, const uint16_t *channels, size_t n, const char *text) {
  struct dicom_item item = dicom_add(root, WAVEFORM_ANNOTATION);
  dicom_u16(item, REFERENCED_CHANNELS, channels, n);
  encode_text(item, UNFORMATTED_TEXT, text, ENCODE_TEXT_MAX);
}

/* Pairs of group and channel, from 1; channel 0 is the whole group. A sentence about one lead refers to that one. */
static size_t annotated(const struct ecg *ecg, const char *subject, uint16_t ret[static 2 * LEADS_MAX]) {
  size_t n = 0;
  for (size_t i = 0; i < ecg->n_groups; i++)
    for (size_t k = 0; k < ecg->groups[i].n; k++)
      if (subject && !strcmp(ecg->groups[i].leads[k]->row->code, subject)) {
        ret[n++] = (uint16_t)(i + 1);
        ret[n++] = (uint16_t)(k + 1);
      }
  for (size_t i = 0; !n && i < ecg->n_groups; i++) {
    ret[2 * i] = (uint16_t)(i + 1);
    ret[2 * i + 1] = 0;
  }
  return n ? n : 2 * ecg->n_groups;
}

static void put_annotations(const struct encode_input *in, struct dicom_item root, const struct ecg *ecg) {
  uint16_t channels[2 * LEADS_MAX];
  size_t i, n;
  json_t *item;
  json_array_foreach(json_object_get(in->record, "quality"), i, item) {
    n = annotated(ecg, json_text(item, "subject"), channels);
    put_annotation(root, channels, n, json_text(item, "text"));
  }
  if (!in->job->statements)
    return;
  n = annotated(ecg, NULL, channels);
  json_array_foreach(json_object_get(in->record, "statements"), i, item) {
    const char *text = json_text(item, "text");
    while (*text) { /* in as many annotations as it needs */
      size_t length = strlen(text), part = length < ENCODE_TEXT_MAX ? length : ENCODE_TEXT_MAX;
      while (part < length && ((unsigned char)text[part] & 0xC0) == 0x80)
        part--;
      put_annotation(root, channels, n, text);
      text += part;
    }
  }
}

static void put_context(struct dicom_item root, struct code name, struct code value) {
  struct dicom_item item = dicom_add(root, ACQUISITION_CONTEXT);
  dicom_text(item, VALUE_TYPE, "CODE");
  encode_code(item, CONCEPT_NAME, name);
  encode_code(item, CONCEPT_CODE, value);
}

int encode_ecg(const struct encode_input *in, struct dicom_item root, char reason[static 256]) {
  struct ecg ecg = {0};
  int r = read_leads(in, &ecg, reason);
  if (r < 0)
    return r;
  bool twelve = is_twelve_lead(&ecg);
  if (!twelve && ecg.n_groups > 4)
    return encode_refuse(reason, "more than 4 recordings in one ECG");
  struct wall when = encode_when(in, ecg.leads[0].trial);
  dicom_text(root, SOP_CLASS_UID, twelve ? TWELVE_LEAD_ECG : GENERAL_ECG);
  dicom_text(root, MODALITY, "ECG");
  encode_datetime(root, ACQUISITION_DATETIME, when);
  encode_date_time(root, CONTENT_DATE, CONTENT_TIME, when);
  if (has_twelve_leads(&ecg)) /* CID 3263 has no term for a lead or two */
    put_context(root, (struct code){"10:11345", "MDC", "Lead System"},
                (struct code){"10:11265", "MDC", "Standard 12-lead positions, electrodes placed individually"});
  put_context(root, (struct code){"109054", "DCM", "Patient State"},
              (struct code){"128975004", "SCT", "Resting State"});
  for (size_t i = 0; i < ecg.n_groups; i++)
    if ((r = put_group(root, &ecg.groups[i], in->data, reason)) < 0)
      return r;
  put_annotations(in, root, &ecg);
  return 0;
}
