/* SCP-ECG files from the command line's options. */
#include "scp_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const codes[SCP_CODES] = {"raw", "raw-empty", "default", "one", "ranges", "three", "large"};
static const char *const damages[SCP_DAMAGES] = {
    "none",         "pointer-outside", "overlap",    "prefix",        "switch-loop",   "file-crc", "section-crc",
    "lead-length",  "stream-short",    "cut",        "zero-interval", "zero-avm",      "65-leads", "zero-lengths",
    "pointer-loop", "tag-length",      "no-tag-end", "beat-outside",  "lead-backwards"};
static const char *const quirks[] = {"lead-count",        "first-zero", "no-lead-lengths", "bimodal-idle",
                                     "long-cut",          "crc-blank",  "signature-blank", "shuffled",
                                     "pointers-shuffled", "no-nul"}; /* bits, in order */
#define QUIRKS (sizeof(quirks) / sizeof(*quirks))
static const char *const leads[ECG12_LEADS] = {"I",  "II", "III", "aVR", "aVL", "aVF",
                                               "V1", "V2", "V3",  "V4",  "V5",  "V6"};

const char *scp_damage_name(unsigned i) {
  return i < SCP_DAMAGES ? damages[i] : NULL;
}

/* "I:1:2500+V1+II:501": names, each with its first and last sample where they are not the recording's. */
static bool take_leads(struct scp_options *o, const char *text) {
  for (o->n_leads = 0; *text && o->n_leads < SCP_LEADS_MAX;) {
    char word[64], *at = word;
    size_t len = strcspn(text, "+");
    uint64_t first = 1, last = 0;
    if (len >= sizeof(word))
      return false;
    memcpy(word, text, len);
    word[len] = '\0';
    text += len + (text[len] == '+');
    const char *name = strsep(&at, ":"), *from = strsep(&at, ":");
    int lead = file_word(name, leads, ECG12_LEADS);
    if (lead < 0 || (from && !option_number(from, UINT32_MAX, &first)) || (at && !option_number(at, UINT32_MAX, &last)))
      return false;
    o->leads[o->n_leads++] = (struct scp_lead){(enum ecg12_lead)lead, (unsigned)first, (unsigned)last};
  }
  return o->n_leads > 0 && !*text;
}

static bool take_choice(struct scp_options *o, const struct option *option) {
  const char *value = option->value;
  int word = -1;
  if (strcmp(option->key, "code") == 0) {
    o->code = (enum scp_code)(word = file_word(value, codes, SCP_CODES));
  } else if (strcmp(option->key, "damage") == 0) {
    o->damage = (enum scp_damage)(word = file_word(value, damages, SCP_DAMAGES));
  } else if (strcmp(option->key, "quirk") == 0) {
    word = file_word(value, quirks, QUIRKS);
    o->quirks |= word >= 0 ? 1u << word : 0;
  } else if (strcmp(option->key, "leads") == 0) {
    if (strcmp(value, "12") == 0)
      scp_file_twelve(o);
    else if (!take_leads(o, value))
      return false;
    word = 0;
  }
  return word >= 0;
}

static bool take_text(struct scp_options *o, const struct option *option) {
  struct {
    const char *key;
    const char **to;
  } const texts[] = {{"alphabet", &o->alphabet},
                     {"second-family", &o->second_family},
                     {"manufacturer", &o->manufacturer},
                     {"model", &o->model},
                     {"serial", &o->serial},
                     {"program", &o->program}};
  for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
    if (strcmp(option->key, texts[i].key) == 0)
      return (*texts[i].to = option->value) != NULL;
  return take_choice(o, option);
}

static bool take(struct scp_options *o, const struct option *option) {
  unsigned subtract = o->subtract, beat = o->with_beat;
  struct {
    const char *key;
    unsigned *to;
  } const numbers[] = {{"version", &o->version},
                       {"difference", &o->difference},
                       {"subtract", &subtract},
                       {"beat", &beat},
                       {"decimation", &o->decimation},
                       {"avm", &o->avm_nv},
                       {"beat-avm", &o->beat_avm_nv},
                       {"foreign", &o->foreign_every},
                       {"extra", &o->extra_sections},
                       {"high-pass", (unsigned *)&o->high_pass_chz},
                       {"low-pass", (unsigned *)&o->low_pass_hz},
                       {"filters", (unsigned *)&o->filters}};
  uint64_t v;
  for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
    if (strcmp(option->key, numbers[i].key) != 0)
      continue;
    if (!option_number(option->value, UINT16_MAX, &v))
      return false;
    *numbers[i].to = (unsigned)v;
    o->subtract = subtract != 0;
    o->with_beat = beat != 0;
    return true;
  }
  return take_text(o, option);
}

static int make(const struct file_order *order, struct buf *ret, char why[static 256]) {
  struct scp_options o = scp_file_defaults();
  o.seed = order->seed;
  o.person = order->person;
  o.taken = order->taken;
  o.marker = order->marker;
  for (unsigned i = 0; i < order->n_options; i++)
    if (!take(&o, &order->options[i]))
      return file_refuse(&order->options[i], why);
  struct ecg12 *ecg = file_ecg(order, 500, why);
  if (!ecg)
    return -EINVAL;
  int r = scp_file_make(&o, ecg, ret);
  if (r == -EINVAL)
    snprintf(why, 256, "options that contradict each other, or no whole microseconds at this rate");
  free(ecg);
  return r;
}

const struct file_format scp_format = {
    .name = "scp",
    .help = "SCP-ECG (EN 1064); 500 Hz\n"
            "  version=10|13|20  code=raw|raw-empty|default|one|ranges|three|large  difference=0|1|2\n"
            "  subtract=0|1      the reference beat (0)\n"
            "  beat=0|1          ... is there even if nothing needs it (0)\n"
            "  decimation=1|2|4  bimodal compression (1: none)\n"
            "  avm=NV  beat-avm=NV  nanovolts a step (5000): a part of 5000, with augmented leads of 2500\n"
            "  leads=12|LEAD[:FIRST[:LAST]]+...  (I+II+V1+V2+V3+V4+V5+V6)\n"
            "  foreign=N         each N-th beat is of another type (0: none)\n"
            "  extra=N           sections of the manufacturer's own (0)\n"
            "  alphabet=ascii|latin1|latin9|utf16|iso-8859-N  second-family=TEXT\n"
            "  manufacturer=  model=  serial=  program=  high-pass=CENTIHERTZ  low-pass=HZ  filters=BITS\n"
            "  quirk=lead-count|first-zero|no-lead-lengths|bimodal-idle|long-cut|crc-blank|signature-blank|shuffled|\n"
            "    pointers-shuffled|no-nul\n"
            "  damage=pointer-outside|overlap|prefix|switch-loop|file-crc|section-crc|lead-length|stream-short|cut|\n"
            "    zero-interval|zero-avm|65-leads|zero-lengths|pointer-loop|tag-length|no-tag-end|beat-outside|\n"
            "    lead-backwards\n",
    .make = make,
};
