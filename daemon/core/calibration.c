#include "calibration.h"

#include "str.h"
#include "wall.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE_PERCENT 3 /* ATS/ERS 2019 */
#define SYRINGE_MIN_ML 500
#define SYRINGE_MAX_ML 7000

static const char *const state_names[] = {"unused", "valid", "missing", "overdue", "failed"};

const char *calibration_state_name(enum calibration_state s) {
  return state_names[s];
}

int calibration_find(struct store *s, const struct conf_device *device, int64_t now, struct calibration *ret) {
  struct calibration c = {.state = device->calibration == CALIBRATION_OFF ? CALIBRATION_UNUSED : CALIBRATION_MISSING};
  struct rows r = store_query(s, "SELECT id, at, passed FROM calibration WHERE device = ? ORDER BY id DESC LIMIT 1",
                              "t", device->id);
  if (c.state != CALIBRATION_UNUSED && rows_next(&r)) {
    c.id = rows_int(&r, 0);
    c.at = rows_int(&r, 1);
    c.due = c.at + (int64_t)device->calibration_hours * 3600 * WALL_SECOND;
    c.state = !rows_int(&r, 2) ? CALIBRATION_FAILED : c.due < now ? CALIBRATION_OVERDUE : CALIBRATION_VALID;
  }
  int err = rows_finish(&r);
  if (err == 0)
    *ret = c;
  return err;
}

enum problem calibration_add(struct store *s, const struct caller *c, const char *device, int32_t syringe_ml,
                             const int32_t *measured_ml, unsigned n, const char *comment, bool *ret_passed) {
  bool passed = true;
  if (syringe_ml < SYRINGE_MIN_ML || syringe_ml > SYRINGE_MAX_ML || n < CALIBRATION_STROKES_MIN ||
      n > CALIBRATION_STROKES_MAX)
    return P_invalid_field;
  _json_cleanup_ json_t *strokes = json_array();
  for (unsigned i = 0; i < n; i++) {
    if (measured_ml[i] < 0 || measured_ml[i] > 2 * SYRINGE_MAX_ML)
      return P_invalid_field;
    passed &= 100 * abs(measured_ml[i] - syringe_ml) <= TOLERANCE_PERCENT * syringe_ml;
    if (json_array_append_new(strokes, json_integer(measured_ml[i])) < 0)
      return P_overloaded;
  }
  _json_cleanup_ json_t *measured = json_pack("{s:O}", "measured_ml", strokes);
  _free_cleanup_ char *text = json_canonical(measured, NULL);
  if (!text)
    return P_overloaded;
  struct actor by = caller_actor(c);
  char ref[32];
  int r = store_run(s,
                    "INSERT INTO calibration(device, at, by, syringe_ml, measured_ml, passed, comment)"
                    " VALUES(?,?,?,?,?,?,?)",
                    "tititit", device, wall_now().us, caller_person(c), (int64_t)syringe_ml, text, (int64_t)passed,
                    comment);
  if (r >= 0) {
    str_ref('C', store_last_id(s), ref);
    r = audit_add(s, &by, "calibration", ref, json_pack("{s:s, s:b}", "device", device, "passed", (int)passed));
  }
  if (r >= 0)
    r = change_add(s, "calibration", ref, NULL);
  *ret_passed = passed;
  return problem_of_errno(r);
}

int calibration_list(struct store *s, const char *device, int limit, json_t **ret) {
  _json_cleanup_ json_t *items = json_array();
  struct rows r = store_query(s,
                              "SELECT id, at, by, syringe_ml, measured_ml, passed, comment FROM calibration"
                              " WHERE device = ? ORDER BY id DESC LIMIT ?",
                              "ti", device, (int64_t)limit);
  int err = items ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    char id[32], reason[256];
    _json_cleanup_ json_t *measured = NULL;
    const char *text = rows_text(&r, 4);
    str_ref('C', rows_int(&r, 0), id);
    err = json_read(text, strlen(text), &measured, reason);
    json_t *item = err < 0 ? NULL
                           : json_pack("{s:o, s:s, s:s?, s:s, s:O, s:b, s:I}", "at", json_time(rows_int(&r, 1)), "by",
                                       rows_text(&r, 2), "comment", rows_text(&r, 6), "id", id, "measured_ml",
                                       json_object_get(measured, "measured_ml"), "passed", (int)rows_int(&r, 5),
                                       "syringe_ml", (json_int_t)rows_int(&r, 3));
    if (err == 0 && (!item || json_array_append_new(items, item) < 0))
      err = -ENOMEM;
  }
  int query_err = rows_finish(&r);
  if (err == 0)
    err = query_err;
  if (err == 0)
    *ret = json_incref(items);
  return err;
}

json_t *calibration_json(const struct calibration *c) {
  char id[32];
  str_ref('C', c->id, id);
  return json_pack("{s:o, s:o, s:s?, s:s}", "at", json_time(c->at), "due", json_time(c->due), "id", c->id ? id : NULL,
                   "state", calibration_state_name(c->state));
}
