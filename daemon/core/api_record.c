/* Records and their samples, less what the caller's role does not get. */
#include "api.h"

#include "mask.h"
#include "reading.h"
#include "str.h"
#include "wall.h"
#include <asalee/record.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct found {
  int64_t study, at;
  char sha256[HASH_TEXT], samples[HASH_TEXT], capture[HASH_TEXT];
  char driver[64], driver_version[64], program[32], device[64], device_serial[64];
  char by[PERSON_NAME_MAX], calibration_state[16];
  int64_t calibration; /* 0 = none */
  struct wall started;
};

static void text_at(const struct rows *r, int column, char *field, size_t size) {
  const char *text = rows_text(r, column);
  snprintf(field, size, "%s", text ? text : "");
}

static enum problem find(struct api_call *call, struct found *f, int64_t *ret_id) {
  if (!api_id(call->id, 'R', ret_id))
    return P_not_found;
  struct rows r = store_query(call->api->store,
                              "SELECT r.study, r.at, r.sha256, r.samples, a.capture, r.driver, r.driver_version,"
                              " r.program, a.device, a.device_serial, a.started, a.offset_minutes, a.by, a.calibration,"
                              " a.calibration_state FROM record r"
                              " JOIN acquisition a ON a.id = r.acquisition WHERE r.id = ?",
                              "i", *ret_id);
  enum problem p = P_not_found;
  if (rows_next(&r)) {
    *f = (struct found){.study = rows_int(&r, 0),
                        .at = rows_int(&r, 1),
                        .started = {rows_int(&r, 10), (int16_t)rows_int(&r, 11)},
                        .calibration = rows_int(&r, 13)};
    text_at(&r, 2, f->sha256, sizeof f->sha256);
    text_at(&r, 3, f->samples, sizeof f->samples);
    text_at(&r, 4, f->capture, sizeof f->capture);
    text_at(&r, 5, f->driver, sizeof f->driver);
    text_at(&r, 6, f->driver_version, sizeof f->driver_version);
    text_at(&r, 7, f->program, sizeof f->program);
    text_at(&r, 8, f->device, sizeof f->device);
    text_at(&r, 9, f->device_serial, sizeof f->device_serial);
    text_at(&r, 12, f->by, sizeof f->by);
    text_at(&r, 14, f->calibration_state, sizeof f->calibration_state);
    p = P_OK;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p == P_OK ? api_enter_record(call, *ret_id) : p;
}

/* The record's JSON as it was stored: its hash has just been checked, so it is what was accepted. */
static enum problem load(struct api_call *call, const struct found *f, json_t **ret) {
  return problem_of_errno(reading_load(call->api->artefacts, f->sha256, ret));
}

enum problem api_record_get(struct api_call *call) {
  struct found f;
  int64_t id;
  json_t *record = NULL;
  enum problem p = find(call, &f, &id);
  if (p == P_OK)
    p = load(call, &f, &record);
  if (p != P_OK)
    return p;
  char ref[32], study[32], started[WALL_TEXT_MAX], calibration[32];
  str_ref('R', id, ref);
  str_ref('S', f.study, study);
  str_ref('C', f.calibration, calibration);
  wall_format(f.started, started);
  bool device = mask_shows(&call->view, PART_DEVICE), whole = mask_shows(&call->view, PART_STATEMENTS);
  call->answer = json_pack(
      "{s:o, s:s, s:{s:s?, s:s?, s:s?, s:s, s:s?, s:s, s:s, s:s, s:s, s:s}, s:o, s:s?, s:s}", "created",
      json_time(f.at), "id", ref, "provenance", "calibration", f.calibration ? calibration : NULL, "calibration_state",
      f.calibration_state[0] ? f.calibration_state : NULL, "capture_sha256", whole ? f.capture : NULL, "device",
      f.device, "device_serial", device ? f.device_serial : NULL, "driver", f.driver, "driver_version",
      f.driver_version, "host_started", started, "operator", f.by, "program", f.program, "record",
      mask_record(record, &call->view), "sha256", whole ? f.sha256 : NULL, "study", study);
  json_decref(record);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_send_channels(struct api_call *call, const json_t *record) {
  const json_t *acquired = json_object_get(record, "acquired"), *channels = json_object_get(acquired, "channels");
  if (!mask_shows(&call->view, PART_ACQUIRED))
    return P_forbidden;
  if (!json_array_size(channels))
    return P_not_found;
  _json_cleanup_ json_t *header =
      json_pack("{s:O, s:s, s:i}", "channels", channels, "encoding", "int16-le", "gap", ACQ_GAP);
  size_t n, samples_n;
  _free_cleanup_ char *text = json_canonical(header, &n);
  uint8_t *samples;
  int r = text ? artefact_get(call->api->artefacts, json_text(json_object_get(acquired, "data"), "sha256"),
                              RECORD_DATA_MAX, &samples, &samples_n)
               : -ENOMEM;
  if (r < 0)
    return problem_of_errno(r);
  struct buf *b = &call->http->answer;
  buf_u32le(b, (uint32_t)n);
  buf_add(b, text, n);
  while (b->len % 4 && !b->err)
    buf_u8(b, 0);
  buf_add(b, samples, samples_n); /* stored little endian */
  free(samples);
  if (b->err)
    return P_overloaded;
  call->http->status = 200;
  call->http->type = "application/octet-stream";
  return P_OK;
}

enum problem api_record_channels(struct api_call *call) {
  struct found f;
  int64_t id;
  _json_cleanup_ json_t *record = NULL;
  enum problem p = find(call, &f, &id);
  if (p == P_OK)
    p = load(call, &f, &record);
  return p == P_OK ? api_send_channels(call, record) : p;
}

/* ---- pictures ---- */

/* ?n= of a record: the hash of the picture, or of its preview. */
static enum problem picture_find(struct api_call *call, struct found *f, bool preview, int64_t *ret_id, uint64_t *ret_n,
                                 char ret_sha256[static HASH_TEXT]) {
  const char *text = http_query(call->http, "n");
  *ret_n = 1;
  enum problem p = find(call, f, ret_id);
  if (p == P_OK && text && str_to_u64(text, 1, ACQ_PICTURES_MAX, ret_n) < 0) {
    call->field = "n";
    return P_invalid_field;
  }
  if (p != P_OK)
    return p;
  struct rows r =
      store_query(call->api->store, "SELECT iif(?3, preview, sha256) FROM picture WHERE record = ?1 AND number = ?2",
                  "iii", *ret_id, (int64_t)*ret_n, (int64_t)preview);
  p = rows_next(&r) && !rows_is_null(&r, 0) && str_copy(ret_sha256, HASH_TEXT, rows_text(&r, 0)) ? P_OK : P_not_found;
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

/* A picture never changes, and is called by what it is. */
enum problem api_send_picture(struct api_call *call, const char *sha256, const char *type) {
  snprintf(call->http->etag, sizeof call->http->etag, "\"%.28s\"", sha256);
  return api_send(call, sha256, type);
}

enum problem api_record_preview(struct api_call *call) {
  struct found f;
  int64_t id;
  uint64_t n;
  char sha256[HASH_TEXT];
  enum problem p = picture_find(call, &f, true, &id, &n, sha256);
  if (p == P_OK && !mask_shows(&call->view, PART_ACQUIRED))
    p = P_forbidden;
  return p == P_OK ? api_send_picture(call, sha256, "image/jpeg") : p;
}

/* What the record says of a picture's format, as a type and as the end of a file's name. */
static void picture_type(const json_t *record, uint64_t n, const char **ret_type, const char **ret_end) {
  static const char *const types[][3] = {{"jpeg", "image/jpeg", "jpg"},
                                         {"jpeg-progressive", "image/jpeg", "jpg"},
                                         {"png", "image/png", "png"},
                                         {"tiff", "image/tiff", "tif"}};
  const json_t *pictures = json_object_get(json_object_get(record, "acquired"), "pictures"), *picture;
  const char *format = NULL;
  size_t i;
  json_array_foreach(pictures, i, picture) {
    if (json_integer_value(json_object_get(picture, "number")) == (json_int_t)n)
      format = json_text(picture, "format");
  }
  *ret_type = "application/octet-stream";
  *ret_end = "bin";
  for (size_t k = 0; format && k < sizeof types / sizeof *types; k++)
    if (!strcmp(types[k][0], format)) {
      *ret_type = types[k][1];
      *ret_end = types[k][2];
    }
}

/* The camera's file has texts in it that the camera chose. */
enum problem api_record_picture(struct api_call *call) {
  struct found f;
  int64_t id;
  uint64_t n;
  char sha256[HASH_TEXT];
  const char *type, *end;
  _json_cleanup_ json_t *record = NULL;
  if (!mask_shows(&call->view, PART_DEVICE) || !mask_shows(&call->view, PART_STATEMENTS))
    return P_forbidden;
  enum problem p = picture_find(call, &f, false, &id, &n, sha256);
  if (p == P_OK)
    p = load(call, &f, &record);
  if (p != P_OK)
    return p;
  picture_type(record, n, &type, &end);
  p = api_send_picture(call, sha256, type);
  if (p == P_OK)
    snprintf(call->http->save_as, sizeof call->http->save_as, "R-%lld-%d.%s", (long long)id, (int)n, end);
  return p;
}
