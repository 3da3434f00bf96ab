/* The technical quality of forced spirometry by ATS/ERS 2019 (Graham et al., AJRCCM 2019;200(8):e70): what a curve
 * measures, whether a blow is acceptable or usable, the grade of a phase, and what to tell the patient next. Nothing
 * here is an interpretation: no predicted value, no limit of normal. Pure: no clock, no file, no state.
 *
 * Volumes are mL, flows mL/s, times ms; expired is positive; SPIROMETRY_NONE is what could not be measured. */
#ifndef ASALEED_SPIROMETRY_H
#define ASALEED_SPIROMETRY_H

#include "json.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPIROMETRY_EDITION "ATS/ERS 2019"
#define SPIROMETRY_NONE INT32_MIN
#define SPIROMETRY_PLATEAU 25     /* mL in the last second, at most */
#define SPIROMETRY_FET_LONG 15000 /* ms, from which on an expiration has lasted long enough */

/* ---- one blow ------------------------------------------------------------------------------------------------- */

/* The limits of what is measured: longer, slower or faster than that is no recording of a blow (-EDOM). */
#define SPIROMETRY_SECONDS_MAX 600
#define SPIROMETRY_RATE_MIN 25   /* Hz; unequal steps may be longer while no more than 25 mL pass */
#define SPIROMETRY_RATE_MAX 1000 /* Hz */
#define SPIROMETRY_SAMPLES_MAX (SPIROMETRY_SECONDS_MAX * SPIROMETRY_RATE_MAX)

/* One trial's samples; the arrays are the caller's. At least one of volume and flow. */
struct spirometry_curve {
  size_t n;
  const double *time;   /* s, n instants, none before its predecessor; NULL: equally spaced at `rate` */
  double rate;          /* Hz, when time is NULL */
  const double *volume; /* L, n values at any offset, or NULL */
  const double *flow;   /* L/s, n values, or NULL */
  double volume_step;   /* L, the resolution of volume; 0 = much finer than 1 mL */
};

enum spirometry_state { SPIROMETRY_NOT_JUDGED, SPIROMETRY_MET, SPIROMETRY_FAILED };

/* SPIROMETRY_BEV, SPIROMETRY_EOFE ...: the rows of spirometry.def, which says what each is. */
enum spirometry_criterion {
#define X(name, ...) SPIROMETRY_##name,
#include "spirometry.def"
#undef X
  SPIROMETRY_CRITERIA
};

enum spirometry_verdict { SPIROMETRY_UNKNOWN, SPIROMETRY_NO, SPIROMETRY_USABLE, SPIROMETRY_ACCEPTABLE };

struct spirometry_blow {
  int32_t fvc_ml, fev1_ml, fev6_ml; /* fev1, fev6: none when the expiration ended before 1 s, 6 s */
  int32_t bev_ml;                   /* back-extrapolated volume: expired at time zero */
  int32_t pef_ml_s, fef25_75_ml_s;
  int32_t fivc_ml;       /* inspired after the end of the forced expiration (EOFE); none without an inspiration */
  int32_t time_zero_ms;  /* from the first sample, by back extrapolation from peak flow */
  int32_t pef_rise_ms;   /* from 10 % to 90 % of PEF */
  int32_t hesitation_ms; /* from the end of the inspiration to time zero; none when no inspiration was recorded */
  int32_t fet_ms;        /* from time zero to EOFE */
  int32_t plateau_ml;    /* expired in the last second before EOFE; the whole FVC when FET is shorter */
  enum spirometry_state criteria[SPIROMETRY_CRITERIA];
};

/* Measures the forced expiration of a curve: of all its expirations the one with the largest product of volume and peak
 * flow. criteria are those of a first blow, aged over 6: SPIROMETRY_EOFE is met by the plateau or by 15 s alone.
 *
 * What the standard leaves open, as chosen here. A cough: within 200 ms flow comes back by more than 0.3 L/s and 5 % of
 * PEF. A closed glottis: flow below 50 mL/s for 0.25 s, cut off rather than run out; when it stays so, EOFE is there
 * and the flat volume no plateau. A faulty zero: more than 25 mL/s, steady, while nobody breathes. EOFE: as long as the
 * volume stays within 5 mL of its highest. A peak after a cough is not PEF. Volumes are those of the volume when it has
 * steps of 10 mL at most, else summed up from flow; PEF and what is judged of flow are from flow where there is one.
 *
 * Returns 0; -EINVAL without samples, or with neither volume nor flow; -ENODATA when nobody blew; -EDOM outside the
 * limits above; -ERANGE for numbers that are none, clocks that run backwards, or what no lung expires; -EBADMSG when
 * volume and flow tell different blows; -ENOMEM. *ret is untouched on failure. Linear time; memory for at most
 * 600 s at 250 Hz. */
int spirometry_curve(const struct spirometry_curve *curve, struct spirometry_blow *ret);

/* Within the larger of 100 mL and 5 % of FVC: the limit of BEV, and of FIVC - FVC. */
bool spirometry_is_within(int32_t ml, int32_t fvc_ml);

/* Whether FEV1 and FVC of a blow may be used, from its criteria and values alone. */
enum spirometry_verdict spirometry_fev1_verdict(const struct spirometry_blow *blow);
enum spirometry_verdict spirometry_fvc_verdict(const struct spirometry_blow *blow);

/* ---- one study ------------------------------------------------------------------------------------------------ */

#define SPIROMETRY_TRIALS_MAX 64 /* in one record */

struct spirometry_record {
  const json_t *json;     /* as record_read() gave it, schema "asaleed-record-4" */
  const int16_t *samples; /* its samples, host order; NULL when none */
  size_t n_samples;
};

/* Assesses a study's standing records, in order of time. age_years: at the test, decimal; NAN when unknown, then the
 * limits are those of patients over 6.
 *
 *   {"edition":"ATS/ERS 2019", "limits":"over_6|up_to_6", "phases":[PHASE...]}
 *
 * PHASE, in the order baseline, pre, post, only those with trials; a trial without a phase is of the baseline:
 *   {"phase":"baseline|pre|post", "fev1":VALUE, "fvc":VALUE,
 *    "pef_ml_s":the largest|null, "fef25_75_ml_s":of the blow with the largest FEV1 + FVC|null,
 *    "reader":{"ratio_permille":FEV1/FVC|null},      only for who interprets
 *    "advice":{"code":"go_on|may_stop_a|may_stop_8|may_stop_fall|not_judged", "text":French}, "trials":[TRIAL...]}
 *
 * VALUE; repeatability between the two largest of the basis; with trials not judged, the grade is what the others
 * reach without them:
 *   {"acceptable":N, "usable":N (the acceptable too), "not_judged":N,
 *    "ml":the largest acceptable, else usable, else not judged|null, "basis":"acceptable|usable|not_judged"|null,
 *    "repeatability_ml":N|null, "grade":"A|B|C|D|E|U|F|not_judged"}
 *
 * TRIAL; numbers are the curve's, or without one the instrument's. A record without trials that has values counts as
 * one trial, number 0:
 *   {"record":index in records, "trial":N, "source":"curve|device|none",
 *    "reason":null|"no_curve|gaps|no_blow|sampling|implausible|disagree",   why there is nothing from a curve
 *    "fvc_ml", "fev1_ml", "fev6_ml", "bev_ml", "pef_ml_s", "fef25_75_ml_s", "fivc_ml", "time_zero_ms", "pef_rise_ms",
 *    "hesitation_ms", "fet_ms", "plateau_ml":N|null,
 *    "criteria":{each of spirometry.def:"met|failed|not_judged"}, "eofe_by":null|"plateau|time|prior_fvc",
 *    "fev1", "fvc":"acceptable|usable|no|not_judged",
 *    "coaching":{"code":a criterion of spirometry.def|a reason|"late_start"|"good", "text":French}}
 *
 * Returns 0 and a new reference; -EPROTO when a record has another form; -ENOMEM. *ret is untouched on failure. */
int spirometry_assess(const struct spirometry_record *records, size_t n, double age_years, json_t **ret);

#endif
