#include "ecg_facts.h"

const struct ecg_facts ecg_facts_example = {
    .id = "P-2026/0042",
    .last = "Lefèvre",
    .first = "Zoé",
    .birth = {1960, 2, 29, 0, 0, 0},
    .sex = 'F',
    .at = {2026, 3, 1, 9, 15, 30},
    .maker = "Synthetic Instruments",
    .model = "Écho 12",
    .serial = "SN-7731",
    .software = "4.2",
    .statement = "MARKER-STATEMENT sinus rhythm",
};

struct ecg_facts ecg_facts_of(const struct file_order *order) {
  struct ecg_facts facts = ecg_facts_example;
  facts.id = order->person.id;
  facts.last = order->person.family;
  facts.first = order->person.given;
  facts.birth = order->person.birth;
  facts.sex = order->person.sex == 'O' ? '\0' : order->person.sex;
  facts.at = order->taken;
  facts.statement = order->marker;
  return facts;
}

const char *ecg12_lead_name(enum ecg12_lead lead) {
  static const char *const names[ECG12_LEADS] = {"I",  "II", "III", "aVR", "aVL", "aVF",
                                                 "V1", "V2", "V3",  "V4",  "V5",  "V6"};
  return names[lead];
}

unsigned ecg12_lead_step(enum ecg12_lead lead) {
  return lead >= ECG12_AVR && lead <= ECG12_AVF ? 5 * ECG12_STEP_UV : 10 * ECG12_STEP_UV;
}

bool ecg12_median(const struct ecg12 *ecg, size_t *ret_first, size_t *ret_n) {
  size_t before = ecg->rate_hz / 5, n = ecg->rate_hz * 3 / 5;
  if (ecg->n_beats == 0 || ecg->beat[0].fiducial < before || ecg->beat[0].fiducial - before + n > ecg->n)
    return false;
  *ret_first = ecg->beat[0].fiducial - before;
  *ret_n = n;
  return true;
}
