/* Aids to the interpretation of a spirometry: reference values, limits, response to a bronchodilator, as JSON.
 * For the reader only; whoever shows it masks it for everyone else. Nothing here is stored or signed.
 *
 *   {"editions":{"interpretation":"ERS/ATS 2021","report":"ATS 2017"},
 *    "reference":{"age":"45.23","height_cm":"175.0","interpolation":"linear","set":"GLI-Global-2022","sex":"M",
 *                 "table_sha256":".."} | null,
 *    "response":{"fev1":R|null,"fvc":R|null} | null,
 *    "response_why":null | "<French: what is missing for one or both>",
 *    "results":[{"code":"fvc","flag":"below_lln"|null,"grade":"A"|null,"lln":"3.5115"|null,
 *                "percent_predicted":"98.1"|null,"phase":"pre","predicted":"4.5879"|null,"unit":"L","value":"4.500",
 *                "z":"-0.1340"|null}...],
 *    "why":null | "<French: why there is no reference>"}
 *   R = {"change_ml":320,"percent_predicted":"8.6","significant":false}
 *
 * results: baseline, pre, post, and in each FVC, FEV1, FEV1/FVC (ATS 2017: Culver BH, et al., Am J Respir Crit Care Med
 * 2017;196:1463), those that were reported; the ratio when both were. The ratio is a fraction (unit "1"), has no
 * percent of predicted (ATS 2017) and no grade of its own; above 1, when the two come from different blows, it has a
 * value only. flag: z < -1.645. response: from pre to post, significant when the change is more than 10 % of the
 * predicted value as written here (ERS/ATS 2021: Stanojevic S, et al., Eur Respir J 2022;60:2101499).
 */
#ifndef ASALEED_AIDS_H
#define ASALEED_AIDS_H

#include "json.h"
#include "reference.h"

enum aids_phase { AIDS_BASELINE, AIDS_PRE, AIDS_POST, AIDS_PHASES };

#define AIDS_NONE (-1)

struct aids_reported {
  int32_t fev1_ml, fvc_ml;    /* mL, or AIDS_NONE */
  char fev1_grade, fvc_grade; /* 'A' to 'F' or 'U', 0 when there is none */
};

struct aids_input {
  const char *sex;        /* "M" or "F"; with any other text there is no reference */
  const char *birth_date; /* YYYY-MM-DD, both */
  const char *test_date;
  uint32_t height_mm; /* 0 when unknown */
  struct aids_reported reported[AIDS_PHASES];
  const struct reference_table *table; /* NULL when none is installed */
  const char *table_sha256;            /* 64 lower-case hex digits; looked at with a table only */
};

/* 0 and a new reference. -EINVAL: a date, a grade or the hash is none; -ERANGE: a volume of 0 or beyond the
 * nomenclature's hard range; -ENOMEM. *ret is untouched on failure. */
int aids_make(const struct aids_input *in, json_t **ret);

#endif
