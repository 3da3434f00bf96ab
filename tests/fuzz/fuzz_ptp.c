/* PTP behind its lengths, which mutation alone hardly passes. The input is a row of items: a kind byte, a length u16
 * BE, and that many bytes, framed here as transactions of a session. Kinds: 0 ObjectInfo, 1 a picture, 2 a part of
 * one, 3 the end of a blob, 4 a clock, 5 events of an EOS body, 6 a response code, 7 cancel, 8 what the camera sends as
 * it is, 9 what the host sends as it is. The same bytes are read as a device's data set and as polled events too. */
#include "../../drivers/ptp_camera/eos.h"
#include "../../drivers/ptp_camera/ptp.h"
#include "fuzz.h"

#include "capture.h"
#include "hash.h"
#include "record.h"
#include "record_build.h"
#include "str.h"
#include <string.h>

#define ITEMS_MAX 256
#define HANDLE 0x90001u

extern const struct acq_driver ptp_camera;

enum kind { INFO, PICTURE, PARTIAL, BLOB_END, CLOCK, EVENTS, RESPONSE, CANCEL_REQUEST, FROM_CAMERA, FROM_HOST };

struct script {
  struct buf text, blobs;
  size_t blob_at;
  unsigned ms;
  uint32_t next, transaction;
};

static void put(struct buf *b, unsigned width, uint64_t value) {
  for (unsigned i = 0; i < width; i++)
    buf_u8(b, (uint8_t)(value >> 8 * i));
}

static void add_line(struct script *s, char kind, const void *bytes, size_t n) {
  for (size_t at = 0; at < n; at += CAPTURE_LINE_BYTES) {
    buf_format(&s->text, "%c %u ", kind, s->ms);
    buf_hex(&s->text, (const uint8_t *)bytes + at, n - at < CAPTURE_LINE_BYTES ? n - at : CAPTURE_LINE_BYTES);
    buf_text(&s->text, "\n");
  }
}

static void add_container(struct script *s, char side, uint16_t type, uint16_t code, size_t more, const void *body,
                          size_t n) {
  struct buf b = BUF_INIT(1 << 17);
  put(&b, 4, 12 + n + more);
  put(&b, 2, type);
  put(&b, 2, code);
  put(&b, 4, s->transaction);
  buf_add(&b, body, n);
  add_line(s, side, b.data, b.len);
  buf_finish(&b);
}

static void add_command(struct script *s, uint16_t code, const uint32_t *parameters, unsigned n) {
  struct buf b = BUF_INIT(64);
  s->transaction = code == PTP_OPEN_SESSION ? 0 : s->next;
  s->next = s->transaction + 1;
  for (unsigned i = 0; i < n; i++)
    put(&b, 4, parameters[i]);
  add_container(s, '>', PTP_COMMAND, code, 0, b.data, b.len);
  buf_finish(&b);
}

static void add_answer(struct script *s, uint16_t code, uint32_t parameter, const uint8_t *body, size_t n) {
  add_command(s, code, &parameter, 1);
  add_container(s, '<', PTP_DATA, code, 0, body, n);
  add_container(s, '<', PTP_RESPONSE, PTP_OK, 0, NULL, 0);
}

static void add_blob(struct script *s, uint16_t code, const uint8_t *body, size_t n) {
  const uint32_t parameters[] = {HANDLE, (uint32_t)(s->blobs.len - s->blob_at), (uint32_t)n};
  add_command(s, code, parameters, code == PTP_GET_OBJECT ? 1 : 3);
  add_container(s, '<', PTP_DATA, code, n, NULL, 0);
  if (n)
    buf_format(&s->text, "@ %u %zu 0\n", s->ms, n);
  buf_add(&s->blobs, body, n);
  add_container(s, '<', PTP_RESPONSE, PTP_OK, 0, NULL, 0);
}

static void end_blob(struct script *s, char kind) {
  char sha[HASH_TEXT];
  size_t n = s->blobs.len - s->blob_at;
  if (!n)
    return;
  hash_sha256_text(s->blobs.data + s->blob_at, n, sha);
  buf_format(&s->text, "%c %u %zu %s\n", kind, s->ms, n, sha);
  s->blob_at = s->blobs.len;
}

static void add_item(struct script *s, unsigned kind, const uint8_t *body, size_t n) {
  static const uint8_t cancel[] = {0x21, 0x64, 0, 0, 0, 0, 6, 0, 1, 0x40, 0, 0, 0, 0};
  s->ms++;
  switch (kind) {
  case INFO:
    return add_answer(s, PTP_GET_OBJECT_INFO, HANDLE, body, n);
  case PICTURE:
    add_blob(s, PTP_GET_OBJECT, body, n);
    return end_blob(s, '#');
  case PARTIAL:
    return add_blob(s, PTP_GET_PARTIAL_OBJECT, body, n);
  case BLOB_END:
    return end_blob(s, n ? '~' : '#');
  case CLOCK:
    return add_answer(s, PTP_GET_DEVICE_PROP_VALUE, PTP_PROPERTY_DATE_TIME, body, n);
  case EVENTS:
    return add_answer(s, EOS_GET_EVENT, 0, body, n);
  case RESPONSE:
    add_command(s, PTP_GET_OBJECT, NULL, 0);
    return add_container(s, '<', PTP_RESPONSE, n ? body[0] | 0x2000 : PTP_OK, 0, NULL, 0);
  case CANCEL_REQUEST:
    return add_line(s, '>', cancel, sizeof cancel);
  default:
    return add_line(s, kind == FROM_HOST ? '>' : '<', body, n);
  }
}

static void check_sets(const uint8_t *data, size_t n) {
  struct ptp_device_info device;
  struct ptp_object_info object;
  struct eos_event event;
  const char *why = NULL;
  int64_t us;
  int r = ptp_device_info_read(acq_cur(data, n), &device, &why);
  FUZZ_CHECK(r == 0 || (r == -EPROTO && why));
  FUZZ_CHECK(r < 0 || str_is_clean_utf8(device.identity.make, strlen(device.identity.make)));
  r = ptp_object_info_read(acq_cur(data, n), &object, &why);
  FUZZ_CHECK(r == 0 || r == -EPROTO);
  if (r == 0) {
    FUZZ_CHECK(str_is_clean_utf8(object.name, strlen(object.name)));
    r = ptp_date_read(object.taken, 60, &us);
    FUZZ_CHECK(r == 0 || r == -ERANGE);
  }
  struct acq_cur c = acq_cur(data, n);
  size_t events = 0;
  while (eos_next(&c, &event))
    events++;
  FUZZ_CHECK(events <= n / 8 && (c.err == 0 || c.err == -EPROTO));
}

static void check_decode(const struct acq_capture *capture) {
  struct record_result results[WIRE_RECORDS] = {0};
  char reason[256];
  int err = record_decode(&ptp_camera, capture, results, reason);
  FUZZ_CHECK(err == 0 || err == -EPROTO || err == -ERANGE || err == -ENODATA);
  FUZZ_CHECK(err == 0 || reason[0]);
  for (int i = 0; i < WIRE_RECORDS && err == 0; i++) {
    json_t *record = NULL;
    if (results[i].json) {
      int r = record_read(results[i].json, results[i].json_bytes, results[i].data, results[i].data_values * 2, &record,
                          reason);
      if (r < 0)
        fprintf(stderr, "%s\n%s\n", reason, results[i].json);
      FUZZ_CHECK(r == 0);
    }
    json_decref(record);
    record_result_finish(&results[i]);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct script s = {.text = BUF_INIT(16 << 20), .blobs = BUF_INIT(16 << 20)};
  struct acq_cur in = acq_cur(data, n);
  const uint32_t session = 1;
  FUZZ_CHECK(hash_open() == 0);
  check_sets(data, n);
  buf_text(&s.text, "asaleed-capture 1\ndriver ptp_camera 1\nbus usb\norder 60 fundus 2\n"
                    "start 2026-03-02T10:00:00.000000+01:00\n");
  add_command(&s, PTP_OPEN_SESSION, &session, 1);
  add_container(&s, '<', PTP_RESPONSE, PTP_OK, 0, NULL, 0);
  for (unsigned i = 0; i < ITEMS_MAX && acq_left(&in); i++) {
    unsigned kind = acq_u8(&in);
    size_t want = acq_u16be(&in);
    want = want < acq_left(&in) ? want : acq_left(&in);
    const uint8_t *body = acq_bytes(&in, want);
    if (body)
      add_item(&s, kind, body, want);
  }
  end_blob(&s, '~');
  buf_text(&s.text, "end ok\n");
  struct acq_capture capture;
  FUZZ_CHECK(!s.text.err && !s.blobs.err);
  FUZZ_CHECK(capture_parse_with((const char *)s.text.data, s.text.len, s.blobs.data, s.blobs.len, &capture, NULL) == 0);
  check_decode(&capture);
  capture_finish(&capture);
  buf_finish(&s.text);
  buf_finish(&s.blobs);
  return 0;
}

/* ObjectInfo of n bytes, named A.JPG, taken at 10:00. */
static void seed_info(struct buf *b, uint32_t n) {
  static const char *const texts[] = {"A.JPG", "20260302T100000"};
  struct buf info = BUF_INIT(256);
  put(&info, 4, 0x10001);
  put(&info, 4, 0x3801);
  put(&info, 4, n);
  for (unsigned i = 0; i < 10; i++)
    put(&info, 4, 0);
  for (unsigned t = 0; t < 2; t++) {
    buf_u8(&info, (uint8_t)(strlen(texts[t]) + 1));
    for (size_t i = 0; i <= strlen(texts[t]); i++)
      put(&info, 2, (uint8_t)texts[t][i]);
  }
  put(&info, 2, 0);
  buf_u8(b, INFO);
  buf_u8(b, (uint8_t)(info.len >> 8));
  buf_u8(b, (uint8_t)info.len);
  buf_add(b, info.data, info.len);
  buf_finish(&info);
}

static void seed_item(struct buf *b, enum kind kind, const void *bytes, size_t n) {
  buf_u8(b, (uint8_t)kind);
  buf_u8(b, (uint8_t)(n >> 8));
  buf_u8(b, (uint8_t)n);
  buf_add(b, bytes, n);
}

/* Sessions in that form. */
bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const uint8_t jpeg[] = {0xff, 0xd8, 0xff, 0xe0, 0, 4, 'J', 'F', 0xff, 0xd9}, refusal[] = {9};
  static const uint8_t clock[] = {16,  '2', 0,   '0', 0,   '2', 0,   '6', 0,   '0', 0,   '3', 0,   '0', 0, '2', 0,
                                  'T', 0,   '0', 0,   '9', 0,   '5', 0,   '9', 0,   '3', 0,   '0', 0,   0, 0};
  static const uint8_t events[] = {12, 0, 0, 0, 0x81, 0xc1, 0, 0, 1, 0, 9, 0, 8, 0, 0, 0, 0, 0, 0, 0};
  (void)n;
  if (file || i > 2)
    return false;
  if (i == 0)
    seed_item(ret, CLOCK, clock, sizeof clock);
  if (i == 1)
    seed_item(ret, EVENTS, events, sizeof events);
  seed_info(ret, sizeof jpeg);
  if (i < 2) {
    seed_item(ret, PICTURE, jpeg, sizeof jpeg);
  } else {
    seed_item(ret, RESPONSE, refusal, 1);
    seed_item(ret, CANCEL_REQUEST, NULL, 0);
    seed_item(ret, PARTIAL, jpeg, 4);
    seed_item(ret, PARTIAL, jpeg + 4, sizeof jpeg - 4);
    seed_item(ret, BLOB_END, NULL, 0);
  }
  return !ret->err;
}
