/* The calibration log of spirometers: verifications with a syringe (ATS/ERS 2019: every day of use, at low, medium and
 * high flow, each within 3 % of the syringe's volume, 0.5 % of it the syringe's own). Verified, not adjusted: what the
 * instrument measured is written down and judged here. */
#ifndef ASALEED_CALIBRATION_H
#define ASALEED_CALIBRATION_H

#include "conf.h"
#include "people.h"

#define CALIBRATION_STROKES_MIN 3
#define CALIBRATION_STROKES_MAX 12

enum calibration_state {
  CALIBRATION_UNUSED,  /* this device's policy asks for none */
  CALIBRATION_VALID,   /* the last one passed and is young enough */
  CALIBRATION_MISSING, /* there was never one */
  CALIBRATION_OVERDUE,
  CALIBRATION_FAILED,
};
const char *calibration_state_name(enum calibration_state s); /* "unused", "valid", "missing", "overdue", "failed" */

struct calibration {
  enum calibration_state state;
  int64_t id, at, due; /* of the last one; 0 = none */
};

int calibration_find(struct store *s, const struct conf_device *device, int64_t now, struct calibration *ret);

/* Inside an act. The strokes in mL; P_invalid_field for a number of strokes or a volume that cannot be. */
enum problem calibration_add(struct store *s, const struct caller *c, const char *device, int32_t syringe_ml,
                             const int32_t *measured_ml, unsigned n, const char *comment, bool *ret_passed);

/* The newest first, at most limit: an array. */
int calibration_list(struct store *s, const char *device, int limit, json_t **ret);
json_t *calibration_json(const struct calibration *c);

#endif
