/* What belongs to spirometry alone: the calibration log, the reference table. */
#include "api.h"

#include "calibration.h"
#include "reference.h"
#include "wall.h"
#include <errno.h>
#include <string.h>

static enum problem spirometer(struct api_call *call, struct device **ret) {
  *ret = devices_find(call->api->devices, call->id);
  if (!*ret)
    return P_device_unknown;
  const struct driver_info *driver = devices_driver(call->api->devices, (*ret)->conf.driver);
  return driver && !(driver->modalities & ACQ_MODALITY(ACQ_SPIROMETRY)) ? P_not_found : P_OK;
}

static enum problem answer_calibrations(struct api_call *call, const struct device *device) {
  struct calibration state;
  json_t *items = NULL;
  int limit;
  enum problem p = api_limit(call, &limit);
  if (p != P_OK)
    return p;
  int r = calibration_find(call->api->store, &device->conf, wall_now().us, &state);
  if (r == 0)
    r = calibration_list(call->api->store, device->conf.id, limit, &items);
  if (r < 0)
    return problem_of_errno(r);
  call->answer = json_pack("{s:o, s:o}", "items", items, "state", calibration_json(&state));
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_calibrations(struct api_call *call) {
  struct device *device;
  enum problem p = spirometer(call, &device);
  return p == P_OK ? answer_calibrations(call, device) : p;
}

enum problem api_calibration_add(struct api_call *call) {
  struct device *device;
  int64_t syringe;
  int32_t measured[CALIBRATION_STROKES_MAX];
  const char *comment;
  bool passed;
  enum problem p = spirometer(call, &device);
  if (p == P_OK)
    p = api_number(call, "syringe_ml", 1, 10000, 3000, &syringe);
  if (p == P_OK)
    p = api_text(call, "comment", 500, false, &comment);
  if (p != P_OK)
    return p;
  const json_t *list = json_object_get(call->body, "measured_ml"), *stroke;
  size_t i, n = json_array_size(list);
  call->field = "measured_ml";
  if (!list)
    return P_missing_field;
  if (n < CALIBRATION_STROKES_MIN || n > CALIBRATION_STROKES_MAX)
    return P_invalid_field;
  json_array_foreach(list, i, stroke) {
    if (!json_is_integer(stroke) || json_integer_value(stroke) < 0 || json_integer_value(stroke) > INT32_MAX)
      return P_invalid_field;
    measured[i] = (int32_t)json_integer_value(stroke);
  }
  p = calibration_add(call->api->store, &call->caller, device->conf.id, (int32_t)syringe, measured, (unsigned)n,
                      comment, &passed);
  if (p != P_OK)
    return p;
  call->status = 201;
  return answer_calibrations(call, device);
}

enum problem api_reference_get(struct api_call *call) {
  json_t *installed;
  int r = reading_aids_installed(call->api->store, &installed);
  if (r < 0)
    return problem_of_errno(r);
  call->answer = json_pack("{s:o}", "reference", installed);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_reference_put(struct api_call *call) {
  const char *name, *table;
  enum problem p = api_text(call, "name", 100, true, &name);
  if (p == P_OK)
    p = api_text(call, "table", REFERENCE_TEXT_MAX, true, &table);
  if (p == P_OK)
    p = reading_aids_install(call->api->store, &call->caller, name, table);
  return p == P_OK ? api_reference_get(call) : p;
}
