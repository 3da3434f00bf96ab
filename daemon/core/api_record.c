/* Records and their samples, less what the caller's role does not get. */
#include "api.h"

#include "mask.h"
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
                              " r.program, a.device, a.device_serial, a.started, a.offset_minutes FROM record r"
                              " JOIN acquisition a ON a.id = r.acquisition WHERE r.id = ?",
                              "i", *ret_id);
  enum problem p = P_not_found;
  if (rows_next(&r)) {
    *f = (struct found){
        .study = rows_int(&r, 0), .at = rows_int(&r, 1), .started = {rows_int(&r, 10), (int16_t)rows_int(&r, 11)}};
    text_at(&r, 2, f->sha256, sizeof f->sha256);
    text_at(&r, 3, f->samples, sizeof f->samples);
    text_at(&r, 4, f->capture, sizeof f->capture);
    text_at(&r, 5, f->driver, sizeof f->driver);
    text_at(&r, 6, f->driver_version, sizeof f->driver_version);
    text_at(&r, 7, f->program, sizeof f->program);
    text_at(&r, 8, f->device, sizeof f->device);
    text_at(&r, 9, f->device_serial, sizeof f->device_serial);
    p = P_OK;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

/* The record's JSON as it was stored: its hash has just been checked, so it is what was accepted. */
static enum problem load(struct api_call *call, const struct found *f, json_t **ret) {
  uint8_t *bytes;
  size_t n;
  char reason[256];
  int r = artefact_get(call->api->artefacts, f->sha256, RECORD_JSON_MAX, &bytes, &n);
  if (r == 0) {
    r = json_read((const char *)bytes, n, ret, reason);
    free(bytes);
  }
  return r == -EPROTO ? P_artefact_corrupt : problem_of_errno(r);
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
  char ref[32], study[32], started[WALL_TEXT_MAX];
  api_ref('R', id, ref);
  api_ref('S', f.study, study);
  wall_format(f.started, started);
  bool device = mask_shows(call->caller.role, PART_DEVICE), whole = mask_shows(call->caller.role, PART_STATEMENTS);
  call->answer = json_pack("{s:o, s:s, s:{s:s, s:s, s:s?, s:s, s:s, s:s, s:s}, s:o, s:s?, s:s}", "created",
                           api_time(f.at), "id", ref, "provenance", "capture_sha256", f.capture, "device", f.device,
                           "device_serial", device ? f.device_serial : NULL, "driver", f.driver, "driver_version",
                           f.driver_version, "host_started", started, "program", f.program, "record",
                           mask_record(record, call->caller.role), "sha256", whole ? f.sha256 : NULL, "study", study);
  json_decref(record);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_record_channels(struct api_call *call) {
  struct found f;
  int64_t id;
  json_t *record = NULL;
  enum problem p = find(call, &f, &id);
  if (p == P_OK && !mask_shows(call->caller.role, PART_ACQUIRED))
    p = P_forbidden;
  if (p == P_OK && !f.samples[0])
    p = P_not_found;
  if (p == P_OK)
    p = load(call, &f, &record);
  if (p != P_OK)
    return p;
  const json_t *channels = json_object_get(json_object_get(record, "acquired"), "channels");
  _json_cleanup_ json_t *header =
      json_pack("{s:O, s:s, s:i}", "channels", channels, "encoding", "int16-le", "gap", ACQ_GAP);
  json_decref(record);
  size_t n, samples_n;
  _free_cleanup_ char *text = json_canonical(header, &n);
  uint8_t *samples;
  int r = text ? artefact_get(call->api->artefacts, f.samples, RECORD_DATA_MAX, &samples, &samples_n) : -ENOMEM;
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
