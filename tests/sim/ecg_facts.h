/* What an ECG file says beside the samples: of whom, when, made by what, and what the instrument makes of it. The same
 * for the writers of all formats; each leaves out what it has no field for. */
#ifndef ASALEED_SIM_ECG_FACTS_H
#define ASALEED_SIM_ECG_FACTS_H

#include "ecg12.h"
#include "file_maker.h"

#include <stdbool.h>

/* Texts are UTF-8; NULL, 0 or a year 0: the file does not say. */
struct ecg_facts {
  const char *id, *last, *first;
  struct file_clock birth; /* no more than the day */
  char sex;                /* 'M' or 'F' */
  struct file_clock at;    /* of the first sample, local */
  const char *maker, *model, *serial, *software;
  const char *statement; /* the instrument's own interpretation: a marker to look for where it must not appear */
};

/* What the command line said, of an instrument that is the example's. */
struct ecg_facts ecg_facts_of(const struct file_order *order);

/* A patient with accents, a time, an instrument, the statement "MARKER-STATEMENT sinus rhythm". */
extern const struct ecg_facts ecg_facts_example;

/* "I", "II", ... "aVR", ... "V6". */
const char *ecg12_lead_name(enum ecg12_lead lead);
/* In uV times ten: the augmented leads are in half steps. */
unsigned ecg12_lead_step(enum ecg12_lead lead);
/* The samples that pass for a representative beat: around the first one. false when there is no whole one. */
bool ecg12_median(const struct ecg12 *ecg, size_t *ret_first, size_t *ret_n);

#endif
