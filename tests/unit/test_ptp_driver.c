/* The PTP driver: its data sets, its conversation on the replay transport, what its captures decode to, and a real
 * camera's recorded transfers. Bytes are written here by hand, not with the driver's encoder. */
#include "../../drivers/ptp_camera/camera.h"
#include "../../drivers/ptp_camera/eos.h"
#include "../../drivers/ptp_camera/ptp.h"
#include "buf.h"
#include "capture.h"
#include "capture_file.h"
#include "hash.h"
#include "io.h"
#include "record.h"
#include "record_build.h"
#include "str.h"
#include "talk.h"
#include "transport_replay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

extern const struct acq_driver ptp_camera;
#define DRIVER (&ptp_camera)
#define OLD 0x80001u
#define NEW 0x90001u

/* ---- bytes by hand ------------------------------------------------------------------------------------------- */

static void put(struct buf *b, unsigned width, uint64_t value) {
  for (unsigned i = 0; i < width; i++)
    buf_u8(b, (uint8_t)(value >> 8 * i));
}

/* ASCII, with its NUL; "" is no string. */
static void put_string(struct buf *b, const char *text) {
  size_t n = strlen(text);
  buf_u8(b, (uint8_t)(n ? n + 1 : 0));
  for (size_t i = 0; n && i <= n; i++)
    put(b, 2, (uint8_t)text[i]);
}

static void put_codes(struct buf *b, const char *hex) {
  size_t n = (strlen(hex) + 1) / 5;
  put(b, 4, n);
  for (size_t i = 0; i < n; i++)
    put(b, 2, strtoul(hex + 5 * i, NULL, 16));
}

#define BROWSE "1001 1002 1003 1004 1007 1008 1009"
#define EOS_OPERATIONS BROWSE " 9114 9115 9116 9117 911d"

static struct buf device_info(const char *operations, const char *properties, uint32_t extension) {
  struct buf b = BUF_INIT(4096);
  put(&b, 2, 100);
  put(&b, 4, extension);
  put(&b, 2, 100);
  put_string(&b, "an extension");
  put(&b, 2, 0);
  put_codes(&b, operations);
  put_codes(&b, "4002 4004");
  put_codes(&b, properties);
  put_codes(&b, "");
  put_codes(&b, "3801");
  put_string(&b, "Maker");
  put_string(&b, "Model 1");
  put_string(&b, "2.0");
  put_string(&b, "SN7");
  return b;
}

static struct buf object_info(const char *name, uint16_t format, uint32_t size, const char *taken) {
  struct buf b = BUF_INIT(4096);
  put(&b, 4, 0x10001);
  put(&b, 2, format);
  put(&b, 2, 0);
  put(&b, 4, size);
  put(&b, 2, 0x3808);
  put(&b, 4, 0);
  for (unsigned i = 0; i < 6; i++)
    put(&b, 4, i);
  put(&b, 2, 0);
  put(&b, 4, 0);
  put(&b, 4, 1);
  put_string(&b, name);
  put_string(&b, taken);
  put_string(&b, "");
  put_string(&b, "");
  return b;
}

/* ---- data sets ----------------------------------------------------------------------------------------------- */

static void test_device_info(void **state) {
  (void)state;
  struct buf b = device_info(BROWSE " 100a 1015 101b", "5001 5011", 6);
  struct ptp_device_info info;
  const char *why;
  assert_int_equal(ptp_device_info_read(acq_cur(b.data, b.len), &info, &why), 0);
  assert_string_equal(info.identity.make, "Maker");
  assert_string_equal(info.identity.model, "Model 1");
  assert_string_equal(info.identity.firmware, "2.0");
  assert_string_equal(info.identity.serial, "SN7");
  assert_int_equal(info.can, PTP_CAN_BROWSE | PTP_CAN_THUMB | PTP_CAN_PARTIAL | PTP_CAN_DATE_TIME);
  /* Cut anywhere, in memory of just that size. */
  for (size_t n = 0; n < b.len; n++) {
    uint8_t *cut = malloc(n + 1);
    assert_non_null(cut);
    memcpy(cut, b.data, n);
    assert_int_equal(ptp_device_info_read(acq_cur(cut, n), &info, &why), -EPROTO);
    free(cut);
  }
  buf_u8(&b, 0);
  assert_int_equal(ptp_device_info_read(acq_cur(b.data, b.len), &info, &why), -EPROTO);
  buf_finish(&b);
}

static unsigned can_of(const char *operations, const char *properties, uint32_t extension) {
  struct buf b = device_info(operations, properties, extension);
  struct ptp_device_info info;
  const char *why;
  assert_int_equal(ptp_device_info_read(acq_cur(b.data, b.len), &info, &why), 0);
  buf_finish(&b);
  return info.can;
}

static void test_what_a_device_can(void **state) {
  (void)state;
  assert_int_equal(can_of("1001 1002 1003 1004 1007 1008", "", 0), 0);
  assert_int_equal(can_of(BROWSE, "5011", 0), PTP_CAN_BROWSE); /* no way to ask for the property */
  assert_int_equal(can_of(EOS_OPERATIONS, "", 6), PTP_CAN_BROWSE);
  assert_int_equal(can_of(EOS_OPERATIONS, "", 0xb),
                   PTP_CAN_BROWSE | PTP_CAN_EOS | PTP_CAN_EOS_COMPLETE | PTP_CAN_EOS_KEEP_ON);
  assert_int_equal(can_of(BROWSE " 9114 9116", "", 0xb), PTP_CAN_BROWSE);
}

static void test_object_info(void **state) {
  (void)state;
  struct buf b = object_info("IMG_1.JPG", 0x3801, 123456, "20260302T100000");
  struct ptp_object_info info;
  const char *why;
  assert_int_equal(ptp_object_info_read(acq_cur(b.data, b.len), &info, &why), 0);
  assert_int_equal(info.storage, 0x10001);
  assert_int_equal(info.size, 123456);
  assert_int_equal(info.format, 0x3801);
  assert_string_equal(info.name, "IMG_1.JPG");
  assert_string_equal(info.taken, "20260302T100000");
  for (size_t n = 0; n < b.len; n++) {
    uint8_t *cut = malloc(n + 1);
    assert_non_null(cut);
    memcpy(cut, b.data, n);
    assert_int_equal(ptp_object_info_read(acq_cur(cut, n), &info, &why), -EPROTO);
    free(cut);
  }
  buf_finish(&b);
}

static void assert_text(const char *hex, const char *want) {
  uint8_t bytes[64];
  char text[16] = "untouched";
  size_t n = strlen(hex) / 2;
  assert_true(str_unhex(hex, bytes, n));
  struct acq_cur c = acq_cur(bytes, n);
  ptp_string(&c, text, sizeof text);
  assert_int_equal(acq_end(&c), want ? 0 : -EPROTO);
  if (want)
    assert_string_equal(text, want);
}

static void test_strings(void **state) {
  (void)state;
  assert_text("00", "");
  assert_text("010000", "");
  assert_text("0341005a000000", "AZ");
  assert_text("04520119202ac0", NULL);                                /* fewer units than it says */
  assert_text("0252014300", NULL);                                    /* no NUL */
  assert_text("0452011920ac200000", "Œ’€");                           /* two and three bytes */
  assert_text("033dd801de0000", "😁");                                 /* a pair */
  assert_text("033dd841000000", "?A");                                /* half a pair */
  assert_text("0201de0000", "?");                                     /* the other half */
  assert_text("040a00850041000000", "  A");                           /* controls */
  assert_text("03410000004200", NULL);                                /* its last unit is no NUL */
  assert_text("044100000042000000", "A");                             /* ends at its first NUL */
  assert_text("0aac20ac20ac20ac20ac20ac20ac20ac20ac200000", "€€€€€"); /* cut between characters */
  assert_text("", NULL);
}

static void test_arrays(void **state) {
  (void)state;
  static const uint8_t two[] = {2, 0, 0, 0, 1, 0, 2, 0}, huge[] = {0xff, 0xff, 0xff, 0xff, 1, 0};
  struct acq_cur c = acq_cur(two, sizeof two);
  assert_int_equal(ptp_count(&c, 2), 2);
  c = acq_cur(two, sizeof two);
  assert_int_equal(ptp_count(&c, 4), 0);
  assert_int_equal(c.err, -EPROTO);
  c = acq_cur(huge, sizeof huge);
  assert_int_equal(ptp_count(&c, 2), 0);
  assert_int_equal(c.err, -EPROTO);
}

static bool is_picture(uint16_t format, const char *name) {
  struct ptp_object_info info = {.format = format};
  str_copy(info.name, sizeof info.name, name);
  return ptp_is_picture(&info);
}

static void test_pictures(void **state) {
  (void)state;
  assert_true(is_picture(0x3801, "IMG_1.JPG"));
  assert_true(is_picture(0x3808, ""));
  assert_true(is_picture(0x380b, "x"));
  assert_true(is_picture(0x380d, "x.tif"));
  assert_true(is_picture(0x3802, "x.TIF"));
  assert_true(is_picture(0x3800, "x.JpEg"));
  assert_false(is_picture(0x3800, "x.cr2"));
  assert_false(is_picture(0x3800, "jpg"));
  assert_false(is_picture(0x3802, "x.CR2"));
  assert_false(is_picture(0x380d, "x.nef"));
  assert_false(is_picture(0x3001, "100CANON.JPG"));
  assert_false(is_picture(0xb103, "x.cr2"));
  assert_false(is_picture(0x300d, "x.mov"));
}

static int64_t date(const char *text, int offset_minutes) {
  int64_t us = -1;
  int r = ptp_date_read(text, offset_minutes, &us);
  assert_int_equal(r, us < 0 ? -ERANGE : 0);
  return us < 0 ? -1 : us / 1000;
}

static void test_dates(void **state) {
  (void)state;
  const int64_t ten = INT64_C(1772445600000); /* 2026-03-02 10:00 of that clock */
  assert_int_equal(date("20260302T100000", 60), ten);
  assert_int_equal(date("20260302T100000.5", 60), ten + 500);
  assert_int_equal(date("20260302T100000.57", 60), ten + 500);
  assert_int_equal(date("20260302T090000Z", 60), ten);
  assert_int_equal(date("20260302T043000-0430", 60), ten);
  assert_int_equal(date("20260302T100000.0+0100", 60), ten);
  static const char *const none[] = {"",
                                     "2026-03-02",
                                     "00000000T000000",
                                     "20260230T100000",
                                     "20260302T250000",
                                     "20260302 100000",
                                     "20260302T1000",
                                     "20260302T100000X",
                                     "20260302T100000+1",
                                     "20260302T100000+9900",
                                     "20260302T100000."};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    assert_int_equal(date(none[i], 60), -1);
}

static void test_heads(void **state) {
  (void)state;
  struct ptp_container head = {.length = 12, .type = PTP_RESPONSE, .code = PTP_OK, .transaction = 7};
  assert_null(ptp_head_fault(&head, PTP_CLOSE_SESSION, 7, false));
  assert_non_null(ptp_head_fault(&head, PTP_CLOSE_SESSION, 8, false));
  assert_non_null(ptp_head_fault(&head, PTP_GET_OBJECT, 7, false)); /* an OK without data */
  assert_null(ptp_head_fault(&head, PTP_GET_OBJECT, 7, true));
  head.code = PTP_INVALID_HANDLE;
  assert_null(ptp_head_fault(&head, PTP_GET_OBJECT, 7, false));
  head.length = 13;
  assert_non_null(ptp_head_fault(&head, PTP_GET_OBJECT, 7, false));
  head.length = 36;
  assert_non_null(ptp_head_fault(&head, PTP_GET_OBJECT, 7, false));
  head = (struct ptp_container){.length = 100, .type = PTP_DATA, .code = PTP_GET_OBJECT, .transaction = 7};
  assert_null(ptp_head_fault(&head, PTP_GET_OBJECT, 7, false));
  assert_non_null(ptp_head_fault(&head, PTP_GET_OBJECT, 7, true));
  assert_non_null(ptp_head_fault(&head, PTP_GET_THUMB, 7, false));
  head.type = PTP_EVENT;
  assert_non_null(ptp_head_fault(&head, PTP_GET_OBJECT, 7, false));
}

static void test_eos_events(void **state) {
  (void)state;
  struct buf b = BUF_INIT(4096);
  put(&b, 4, 16), put(&b, 4, 0xc189), put(&b, 4, 0xd113), put(&b, 4, 1);
  put(&b, 4, 52), put(&b, 4, 0xc181), put(&b, 4, 0x11), put(&b, 4, 0x10001), put(&b, 8, 0x3801), put(&b, 8, 0);
  put(&b, 8, 0), put(&b, 4, 0), put(&b, 8, 0x4d49);
  put(&b, 4, 12), put(&b, 4, 0xc1a7), put(&b, 4, 0x12);
  put(&b, 4, 16), put(&b, 4, 0xc186), put(&b, 4, 0x13), put(&b, 4, 0);
  put(&b, 4, 12), put(&b, 4, 0xc187), put(&b, 4, 0x14);
  put(&b, 4, 8), put(&b, 4, 0xc192);
  const size_t whole = b.len;
  put(&b, 4, 8), put(&b, 4, 0), put(&b, 4, 0xffffffff); /* what follows the end is nothing */
  static const struct eos_event want[] = {{EOS_OTHER, 0},        {EOS_ADDED, 0x11},   {EOS_ADDED, 0x12},
                                          {EOS_REQUESTED, 0x13}, {EOS_CHANGED, 0x14}, {EOS_STORAGE, 0}};
  for (size_t n = 0; n <= b.len; n++) {
    uint8_t *cut = malloc(n + 1);
    assert_non_null(cut);
    memcpy(cut, b.data, n);
    struct acq_cur c = acq_cur(cut, n);
    struct eos_event event;
    size_t seen = 0;
    for (; eos_next(&c, &event); seen++) {
      assert_true(seen < sizeof want / sizeof *want);
      assert_int_equal(event.kind, want[seen].kind);
      assert_int_equal(event.handle, want[seen].handle);
    }
    assert_true(n < whole || seen == sizeof want / sizeof *want);
    assert_true(c.err == 0 || c.err == -EPROTO);
    if (n == whole || n >= whole + 8)
      assert_int_equal(c.err, 0);
    if (n == whole - 1 || n == whole + 3)
      assert_int_equal(c.err, -EPROTO);
    free(cut);
  }
  static const uint8_t tiny[] = {7, 0, 0, 0, 0x81, 0xc1, 0, 0}, bare[] = {8, 0, 0, 0, 0x81, 0xc1, 0, 0};
  struct eos_event event;
  struct acq_cur c = acq_cur(tiny, sizeof tiny);
  assert_false(eos_next(&c, &event));
  assert_int_equal(c.err, -EPROTO);
  c = acq_cur(bare, sizeof bare);
  assert_false(eos_next(&c, &event)); /* an object without its handle */
  assert_int_equal(c.err, -EPROTO);
  buf_finish(&b);
}

/* ---- conversations by hand ----------------------------------------------------------------------------------- */

struct script {
  struct buf text, blobs;
  size_t blob_at;
  unsigned ms;
  uint32_t next, transaction;
  uint16_t operation;
};

static void say_line(struct script *s, char kind, const void *bytes, size_t n) {
  for (size_t at = 0; at < n; at += CAPTURE_LINE_BYTES) {
    size_t part = n - at < CAPTURE_LINE_BYTES ? n - at : CAPTURE_LINE_BYTES;
    buf_format(&s->text, "%c %u ", kind, s->ms);
    buf_hex(&s->text, (const uint8_t *)bytes + at, part);
    buf_text(&s->text, "\n");
  }
}

static void say_note(struct script *s, const char *text) {
  buf_format(&s->text, "! %u %s\n", s->ms, text);
}

static void say_silence(struct script *s, unsigned ms) {
  s->ms += ms;
  say_note(s, "timeout");
}

static void say_head(struct buf *b, uint32_t length, uint16_t type, uint16_t code, uint32_t transaction) {
  put(b, 4, length);
  put(b, 2, type);
  put(b, 2, code);
  put(b, 4, transaction);
}

static void say_container(struct script *s, char kind, uint32_t length, uint16_t type, uint16_t code,
                          uint32_t transaction, const void *body, size_t n) {
  struct buf b = BUF_INIT(1 << 20);
  say_head(&b, length, type, code, transaction);
  buf_add(&b, body, n);
  assert_int_equal(b.err, 0);
  say_line(s, kind, b.data, b.len);
  buf_finish(&b);
}

static void say_command(struct script *s, uint16_t operation, unsigned n, ...) {
  struct buf b = BUF_INIT(64);
  va_list ap;
  va_start(ap, n);
  for (unsigned i = 0; i < n; i++)
    put(&b, 4, va_arg(ap, uint32_t));
  va_end(ap);
  s->transaction = operation == 0x1002 ? 0 : s->next;
  s->next = s->transaction + 1;
  s->operation = operation;
  say_container(s, '>', (uint32_t)(12 + b.len), 1, operation, s->transaction, b.data, b.len);
  buf_finish(&b);
}

static void say_data(struct script *s, const struct buf *data) {
  say_container(s, '<', (uint32_t)(12 + data->len), 2, s->operation, s->transaction, data->data, data->len);
}

static void say_answer(struct script *s, struct buf data) {
  say_data(s, &data);
  buf_finish(&data);
}

static void say_response(struct script *s, uint16_t code) {
  s->ms += 2;
  say_container(s, '<', 12, 3, code, s->transaction, NULL, 0);
}

static struct buf numbers(uint32_t first, uint32_t n) {
  struct buf b = BUF_INIT(1 << 20);
  put(&b, 4, n);
  for (uint32_t i = 0; i < n; i++)
    put(&b, 4, first + i);
  return b;
}

static void say_status(struct script *s) {
  static const uint8_t ask[] = {0xa1, 0x67, 0, 0, 0, 0, 64, 0}, ready[] = {4, 0, 1, 0x20};
  say_line(s, '>', ask, sizeof ask);
  say_line(s, '<', ready, sizeof ready);
}

/* Up to the acquisition's own questions. */
static struct script begin(unsigned seconds, unsigned pictures, struct buf info) {
  struct script s = {.text = BUF_INIT(64 << 20), .blobs = BUF_INIT(ACQ_BLOBS_BYTES_MAX), .ms = 1};
  char wanted[16] = "";
  if (pictures)
    snprintf(wanted, sizeof wanted, " %u", pictures);
  buf_format(&s.text, "asaleed-capture 1\ndriver ptp_camera 1\nbus usb\norder %u fundus%s\n", seconds, wanted);
  buf_text(&s.text, "start 2026-03-02T10:00:00.000000+01:00\n");
  say_status(&s);
  say_command(&s, 0x1002, 1, 1);
  say_response(&s, PTP_OK);
  say_command(&s, 0x1001, 0);
  say_answer(&s, info);
  say_response(&s, PTP_OK);
  say_note(&s, "identity");
  say_note(&s, "make Maker");
  say_note(&s, "model Model 1");
  say_note(&s, "serial SN7");
  say_note(&s, "firmware 2.0");
  say_note(&s, "acquire");
  say_silence(&s, 50);
  return s;
}

static void say_list(struct script *s, uint32_t first, uint32_t n) {
  say_command(s, 0x1004, 0);
  say_answer(s, numbers(0x10001, 1));
  say_response(s, PTP_OK);
  say_command(s, 0x1007, 3, 0x10001, 0, 0);
  say_answer(s, numbers(first, n));
  say_response(s, PTP_OK);
}

static void say_event(struct script *s, uint16_t code, uint32_t parameter) {
  struct buf b = BUF_INIT(64);
  say_head(&b, 16, 4, code, 0xffffffff);
  put(&b, 4, parameter);
  s->ms += 100;
  say_line(s, '^', b.data, b.len);
  buf_finish(&b);
}

static void say_info(struct script *s, uint32_t handle, struct buf info) {
  say_command(s, 0x1008, 1, handle);
  say_answer(s, info);
  say_response(s, PTP_OK);
}

/* Bytes of a blob, in a data container of that many. */
static void say_blob(struct script *s, size_t n) {
  struct buf b = BUF_INIT(64);
  say_head(&b, (uint32_t)(12 + n), 2, s->operation, s->transaction);
  say_line(s, '<', b.data, b.len);
  buf_finish(&b);
  for (size_t i = 0; i < n; i++)
    buf_u8(&s->blobs, (uint8_t)(i * 31 + (i >> 9)));
  s->ms += 10;
  buf_format(&s->text, "@ %u %zu 0\n", s->ms, n);
}

static void say_blob_end(struct script *s, char kind) {
  char sha[HASH_TEXT];
  hash_sha256_text(s->blobs.data + s->blob_at, s->blobs.len - s->blob_at, sha);
  buf_format(&s->text, "%c %u %zu %s\n", kind, s->ms, s->blobs.len - s->blob_at, sha);
  s->blob_at = s->blobs.len;
}

static void say_picture(struct script *s, uint32_t handle, size_t n) {
  say_info(s, handle, object_info("A.JPG", 0x3801, (uint32_t)n, ""));
  say_command(s, 0x1009, 1, handle);
  say_blob(s, n);
  say_response(s, PTP_OK);
  say_blob_end(s, '#');
}

static void say_close(struct script *s) {
  say_note(s, "release");
  say_command(s, 0x1003, 0);
  say_response(s, PTP_OK);
}

struct result {
  int identified, acquired, decoded;
  unsigned thumbnails;
  struct wire_progress progress;
  char reason[IO_REASON_MAX], departed[TRANSPORT_WHY_MAX], refusal[256], json[8192];
};

static struct result run_capture(const struct acq_capture *capture) {
  static struct acq_io io;
  struct replay replay;
  struct acq_identity identity;
  struct record_result results[WIRE_RECORDS] = {0};
  struct result r = {.acquired = -EAGAIN};
  struct wire_message m;
  int control[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, control), 0);
  replay_init(&replay, capture);
  io_init(&io, &replay.base, NULL, control[0], DRIVER->limits.max_bytes);
  r.identified = talk_identify(&io, DRIVER, &identity);
  if (r.identified == 0)
    r.acquired = talk_acquire(&io, DRIVER, &capture->header.order);
  str_copy(r.reason, sizeof r.reason, io.reason);
  talk_release(&io, DRIVER, r.identified);
  if (r.acquired == 0)
    replay_done(&replay);
  str_copy(r.departed, sizeof r.departed, replay.departed);
  r.progress = io.progress;
  while (wire_receive(control[1], &m) == 0)
    r.thumbnails += m.type == WIRE_PICTURE;
  close(control[0]);
  close(control[1]);
  r.decoded = record_decode(DRIVER, capture, results, r.refusal);
  for (int i = 0; i < WIRE_RECORDS && r.decoded == 0; i++)
    if (results[i].json)
      str_copy(r.json, sizeof r.json, results[i].json);
  for (int i = 0; i < WIRE_RECORDS; i++)
    record_result_finish(&results[i]);
  return r;
}

static struct result run(struct script s, const char *end) {
  struct acq_capture capture;
  unsigned line = 0;
  buf_format(&s.text, "end %s\n", end);
  assert_int_equal(s.text.err | s.blobs.err, 0);
  int parsed = capture_parse_with((const char *)s.text.data, s.text.len, s.blobs.data, s.blobs.len, &capture, &line);
  if (parsed < 0)
    fail_msg("line %u of the script: %s", line, strerrorname_np(-parsed));
  struct result r = run_capture(&capture);
  capture_finish(&capture);
  buf_finish(&s.text);
  buf_finish(&s.blobs);
  return r;
}

static void assert_well(const struct result *r) {
  assert_string_equal(r->departed, "");
  assert_int_equal(r->acquired, 0);
  assert_string_equal(r->refusal, "");
  assert_int_equal(r->decoded, 0);
}

static void assert_has(const struct result *r, const char *text) {
  if (!strstr(r->json, text))
    fail_msg("no %s in %s", text, r->json);
}

/* A picture of more than one part. */
static void test_parts(void **state) {
  (void)state;
  const uint32_t part = 8u << 20, size = 2 * part + 1000;
  struct script s = begin(60, 1, device_info(BROWSE " 101b", "", 0));
  say_list(&s, OLD, 3);
  say_event(&s, 0x4002, NEW);
  say_info(&s, NEW, object_info("A.JPG", 0x3801, size, ""));
  for (uint32_t at = 0; at < size; at += part) {
    uint32_t n = size - at < part ? size - at : part;
    say_command(&s, 0x101b, 3, NEW, at, n);
    say_blob(&s, n);
    say_response(&s, PTP_OK);
  }
  say_blob_end(&s, '#');
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
  assert_has(&r, "reading_time_unverified"); /* its ObjectInfo has no date */
  assert_has(&r, "\"bytes\":16778216");
  assert_int_equal(r.progress.done, r.progress.total);
}

/* No interrupt endpoint and no events: a new handle is found by looking. Old ones are ten thousand. */
static void test_looking(void **state) {
  (void)state;
  struct script s = begin(60, 1, device_info(BROWSE, "", 0));
  say_list(&s, 1000, 10000);
  for (unsigned i = 0; i < 20; i++)
    say_silence(&s, 500);
  say_list(&s, 1000, 10001);
  say_picture(&s, 11000, 100);
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
}

/* No interrupt endpoint: it is looked for oftener. A replay knows it from the capture. */
static void test_deaf(void **state) {
  (void)state;
  struct script s = begin(60, 1, device_info(BROWSE, "", 0));
  s.text.len -= strlen("! 51 timeout\n");
  say_note(&s, "no endpoint");
  say_note(&s, "timeout");
  say_list(&s, OLD, 2);
  for (unsigned i = 0; i < 4; i++)
    say_silence(&s, 500);
  say_list(&s, NEW, 1);
  say_picture(&s, NEW, 100);
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
}

/* A camera that always has something to say: that does not pass for what it had to say before. */
static void test_talkative(void **state) {
  (void)state;
  struct script s = begin(60, 1, device_info(BROWSE, "", 0));
  s.text.len -= strlen("! 51 timeout\n");
  s.ms -= 50;
  for (unsigned i = 0; i < 3; i++)
    say_event(&s, 0x4006, 0x5001);
  say_list(&s, OLD, 2);
  for (unsigned i = 0; i < 3; i++)
    say_event(&s, 0x4006, 0x5001);
  say_event(&s, 0x4002, NEW);
  say_picture(&s, NEW, 100);
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
}

/* What an hour of looking costs a capture is bounded: the longer the list, the rarer it is asked for. */
static void test_long_list(void **state) {
  (void)state;
  struct script s = begin(60, 1, device_info(BROWSE, "", 0));
  say_list(&s, 1000, 40000);
  for (unsigned i = 0; i < 40000 / 512; i++)
    say_silence(&s, 500);
  say_list(&s, 1000, 40001);
  say_picture(&s, 41000, 100);
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
}

static void test_full_card(void **state) {
  (void)state;
  struct script s = begin(60, 1, device_info(BROWSE, "", 0));
  say_list(&s, 1000, 65537);
  struct result r = run(s, "error");
  assert_int_equal(r.acquired, -EFBIG);
  assert_non_null(strstr(r.reason, "more objects than"));
}

/* A card that comes while the order runs: what is on it is old. */
static void test_second_storage(void **state) {
  (void)state;
  struct script s = begin(60, 1, device_info(BROWSE, "", 0));
  say_command(&s, 0x1004, 0);
  say_answer(&s, numbers(0x20000, 1)); /* a slot without a card */
  say_response(&s, PTP_OK);
  say_event(&s, 0x4004, 0x10001);
  say_list(&s, OLD, 2);
  say_event(&s, 0x4002, NEW);
  say_picture(&s, NEW, 100);
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
}

/* Another card in the same slot, with the same id. */
static void test_changed_card(void **state) {
  (void)state;
  struct script s = begin(60, 1, device_info(BROWSE, "", 0));
  say_list(&s, OLD, 2);
  say_event(&s, 0x4005, 0x10001);
  say_list(&s, NEW, 5);
  say_event(&s, 0x4004, 0x10001);
  say_list(&s, NEW, 6);
  say_picture(&s, NEW + 5, 100);
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
}

/* A handle that was there when its card was looked at is announced behind that: its date decides. */
static void test_old_and_announced(void **state) {
  (void)state;
  struct buf clock = BUF_INIT(64);
  struct script s = begin(60, 1, device_info(BROWSE " 1015", "5011", 0));
  put_string(&clock, "20260302T100000");
  say_command(&s, 0x1015, 1, 0x5011);
  say_answer(&s, clock);
  say_response(&s, PTP_OK);
  say_list(&s, OLD, 3);
  say_event(&s, 0x4002, OLD);
  say_info(&s, OLD, object_info("OLD.JPG", 0x3801, 100, "20260302T095900"));
  say_event(&s, 0x4002, OLD + 2); /* made when its clock was years ahead of what it is now */
  say_info(&s, OLD + 2, object_info("OLD.JPG", 0x3801, 100, "20310302T100001"));
  say_event(&s, 0x4002, OLD + 1);
  say_info(&s, OLD + 1, object_info("NEW.JPG", 0x3801, 100, "20260302T100001"));
  say_command(&s, 0x1009, 1, OLD + 1);
  say_blob(&s, 100);
  say_response(&s, PTP_OK);
  say_blob_end(&s, '#');
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
  assert_has(&r, "NEW.JPG");
  assert_has(&r, "\"device_time\":\"2026-03-02T10:00:01.000\"");
}

/* It says that it is busy for as long as the driver is patient. */
static void test_always_busy(void **state) {
  (void)state;
  struct script s = begin(60, 1, device_info(BROWSE, "", 0));
  say_command(&s, 0x1004, 0);
  say_response(&s, PTP_DEVICE_BUSY);
  for (unsigned i = 0; i < PTP_BUSY_MAX; i++) {
    say_silence(&s, PTP_BUSY_WAIT_MS);
    say_command(&s, 0x1004, 0);
    say_response(&s, PTP_DEVICE_BUSY);
  }
  struct result r = run(s, "error");
  assert_int_equal(r.acquired, -EIO);
  assert_string_equal(r.reason, "GetStorageIDs: 2019, device busy");
}

/* What must not stand in place of the list of storages. */
static void assert_bad_answer(uint32_t length, uint16_t type, uint16_t code, uint32_t more_transaction, size_t n,
                              const char *why) {
  static const uint8_t body[64] = {1, 0, 0, 0, 1, 0, 1, 0};
  struct script s = begin(60, 1, device_info(BROWSE, "", 0));
  say_command(&s, 0x1004, 0);
  say_container(&s, '<', length, type, code, s.transaction + more_transaction, body, n);
  say_silence(&s, 30000);
  struct result r = run(s, "error");
  assert_int_equal(r.acquired, -EPROTO);
  if (!strstr(r.reason, why))
    fail_msg("\"%s\" instead of \"%s\"", r.reason, why);
}

static void test_bad_answers(void **state) {
  (void)state;
  assert_bad_answer(11, 2, 0x1004, 0, 8, "no container");
  assert_bad_answer(20, 5, 0x1004, 0, 8, "no container");
  assert_bad_answer(20, 4, 0x1004, 0, 8, "cannot be here");
  assert_bad_answer(20, 2, 0x1004, 1, 8, "another transaction");
  assert_bad_answer(20, 2, 0x1007, 0, 8, "another operation");
  assert_bad_answer(21, 2, 0x1004, 0, 8, "end before");
  assert_bad_answer(0xffffffff, 2, 0x1004, 0, 64, "more data");
  assert_bad_answer(12, 3, 0x2001, 0, 0, "OK without data");
  assert_bad_answer(14, 3, 0x2001, 0, 2, "length that cannot be");
  assert_bad_answer(16, 3, 0x2002, 0, 2, "ends before its length");
}

/* ---- what a capture must hold -------------------------------------------------------------------------------- */

static void assert_refused(struct script s, const char *why) {
  struct result r = run(s, "ok");
  assert_int_equal(r.decoded, -EPROTO);
  if (!strstr(r.refusal, why))
    fail_msg("\"%s\" instead of \"%s\"", r.refusal, why);
}

static struct script begin_listed(void) {
  struct script s = begin(60, 1, device_info(BROWSE, "", 0));
  say_list(&s, OLD, 2);
  return s;
}

static void test_bad_captures(void **state) {
  (void)state;
  struct buf bytes = BUF_INIT(256);
  for (unsigned i = 0; i < 100; i++)
    buf_u8(&bytes, (uint8_t)i);

  struct script s = begin_listed(); /* a picture's bytes as ordinary ones */
  say_info(&s, NEW, object_info("A.JPG", 0x3801, 100, ""));
  say_command(&s, 0x1009, 1, NEW);
  say_data(&s, &bytes);
  say_response(&s, PTP_OK);
  assert_refused(s, "not in a blob");

  s = begin_listed();
  s.next += 1;
  say_picture(&s, NEW, 100);
  assert_refused(s, "out of order");

  s = begin_listed(); /* shorter than its ObjectInfo says */
  say_info(&s, NEW, object_info("A.JPG", 0x3801, 101, ""));
  say_command(&s, 0x1009, 1, NEW);
  say_blob(&s, 100);
  say_response(&s, PTP_OK);
  say_blob_end(&s, '#');
  assert_refused(s, "does not describe");

  s = begin_listed(); /* refused by the camera, and kept all the same */
  say_info(&s, NEW, object_info("A.JPG", 0x3801, 100, ""));
  say_command(&s, 0x1009, 1, NEW);
  say_blob(&s, 100);
  say_response(&s, 0x2007);
  say_blob_end(&s, '#');
  assert_refused(s, "ends before its picture");

  s = begin_listed(); /* two transactions at once */
  say_command(&s, 0x1008, 1, NEW);
  say_picture(&s, NEW, 100);
  assert_refused(s, "in the middle of another");

  s = begin_listed();
  say_line(&s, '>', "\x0d\0\0\0\1\0\4\x10\0\0\0\0", 12);
  assert_refused(s, "no command");

  s = begin_listed(); /* parts in the wrong order */
  say_info(&s, NEW, object_info("A.JPG", 0x3801, 100, ""));
  say_command(&s, 0x101b, 3, NEW, 50, 50);
  say_blob(&s, 50);
  say_response(&s, PTP_OK);
  say_blob_end(&s, '#');
  assert_refused(s, "out of its place");
  buf_finish(&bytes);
}

/* What the daemon makes of a worker that crashed inside its second picture: the head's line and the blob both have the
 * bytes that came together with the head. */
static void test_crashed(void **state) {
  (void)state;
  struct buf b = BUF_INIT(1024);
  struct script s = begin_listed();
  say_picture(&s, NEW, 100);
  say_info(&s, NEW + 1, object_info("B.JPG", 0x3801, 5000, ""));
  say_command(&s, 0x1009, 1, NEW + 1);
  say_head(&b, 5012, 2, 0x1009, s.transaction);
  for (unsigned i = 0; i < 500; i++)
    buf_u8(&b, 7);
  say_line(&s, '<', b.data, b.len);
  for (unsigned i = 0; i < 3000; i++)
    buf_u8(&s.blobs, 7);
  buf_format(&s.text, "@ %u 3000 0\n", s.ms);
  say_blob_end(&s, '~');
  struct result r = run(s, "crash");
  assert_int_equal(r.decoded, 0);
  assert_has(&r, "A.JPG");
  assert_null(strstr(r.json, "B.JPG"));
  assert_has(&r, "\"complete\":false");

  s = begin_listed(); /* the same as a picture that is whole */
  say_info(&s, NEW, object_info("B.JPG", 0x3801, 500, ""));
  say_command(&s, 0x1009, 1, NEW);
  b.len = 0;
  say_head(&b, 512, 2, 0x1009, s.transaction);
  for (unsigned i = 0; i < 500; i++)
    buf_u8(&b, 7);
  say_line(&s, '<', b.data, b.len);
  buf_add(&s.blobs, b.data + 12, 500);
  buf_format(&s.text, "@ %u 500 0\n", s.ms);
  say_response(&s, PTP_OK);
  say_blob_end(&s, '#');
  assert_refused(s, "not in a blob");
  buf_finish(&b);
}

/* The same handle taken twice is one picture; one that vanished is missed. */
static void test_twice(void **state) {
  (void)state;
  struct script s = begin_listed();
  say_picture(&s, NEW, 100);
  say_picture(&s, NEW, 100);
  struct result r = run(s, "ok");
  assert_int_equal(r.decoded, 0);
  assert_has(&r, "\"picture_repeated\"");
  assert_null(strstr(r.json, "\"number\":2"));
}

static void test_vanished(void **state) {
  (void)state;
  struct script s = begin(60, 0, device_info(BROWSE, "", 0));
  say_list(&s, OLD, 2);
  say_event(&s, 0x4002, NEW);
  say_info(&s, NEW, object_info("A.JPG", 0x3801, 100, ""));
  say_command(&s, 0x1009, 1, NEW);
  say_response(&s, PTP_INVALID_HANDLE);
  say_event(&s, 0x4002, NEW + 1);
  say_picture(&s, NEW + 1, 100);
  say_note(&s, "finish");
  say_list(&s, OLD, 2);
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
  assert_has(&r, "\"pictures_missing\"");
}

/* Announced before the camera knows it, and listed later. */
static void test_announced_early(void **state) {
  (void)state;
  struct script s = begin_listed();
  say_event(&s, 0x4002, NEW);
  say_command(&s, 0x1008, 1, NEW);
  say_response(&s, PTP_INVALID_HANDLE);
  for (unsigned i = 0; i < 19; i++)
    say_silence(&s, 500);
  say_list(&s, NEW, 1);
  say_picture(&s, NEW, 100);
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
}

static void say_refusal(struct script *s, uint32_t handle) {
  for (unsigned i = 0; i < 2; i++) {
    say_info(s, handle, object_info("B.JPG", 0x3801, 100, ""));
    say_command(s, 0x1009, 1, handle);
    say_response(s, 0x2002);
  }
}

/* A picture that the camera does not give does not cost the others. */
static void assert_missing_is_told(unsigned wanted) {
  struct script s = begin(60, wanted, device_info(BROWSE, "", 0));
  say_list(&s, OLD, 2);
  for (unsigned i = 0; i < 3; i++) {
    say_event(&s, 0x4002, NEW + i);
    if (i % 2)
      say_refusal(&s, NEW + i);
    else
      say_picture(&s, NEW + i, 100 + i);
  }
  say_note(&s, "finish");
  say_list(&s, NEW, 3);
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
  assert_has(&r, "\"number\":2");
  assert_has(&r, "\"pictures_missing\",\"count\":1");
}

static void test_not_given(void **state) {
  (void)state;
  assert_missing_is_told(3);
  assert_missing_is_told(0);
}

/* Two in a row: it is the camera. The first of all: likewise. */
static void test_nothing_given(void **state) {
  (void)state;
  struct script s = begin(60, 4, device_info(BROWSE, "", 0));
  say_list(&s, OLD, 2);
  say_event(&s, 0x4002, NEW);
  say_picture(&s, NEW, 100);
  for (unsigned i = 1; i < 3; i++) {
    say_event(&s, 0x4002, NEW + i);
    say_refusal(&s, NEW + i);
  }
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
  assert_has(&r, "\"pictures_missing\",\"count\":3");
  s = begin(60, 4, device_info(BROWSE, "", 0));
  say_list(&s, OLD, 2);
  say_event(&s, 0x4002, NEW);
  say_refusal(&s, NEW);
  r = run(s, "error");
  assert_int_equal(r.acquired, -EIO);
  assert_string_equal(r.reason, "GetObject: 2002, general error");
}

/* What the nurse must change is the size, which she cannot guess from "no result". */
static void test_all_too_large(void **state) {
  (void)state;
  struct script s = begin(60, 1, device_info(BROWSE, "", 0));
  say_list(&s, OLD, 2);
  say_event(&s, 0x4002, NEW);
  say_info(&s, NEW, object_info("A.JPG", 0x3801, (64u << 20) + 1, ""));
  say_note(&s, "finish");
  say_list(&s, OLD, 2);
  struct result r = run(s, "error");
  assert_int_equal(r.acquired, -EFBIG);
  assert_non_null(strstr(r.reason, "too large"));
}

/* The nurse has finished while the camera still writes her last picture. */
static void test_written_late(void **state) {
  (void)state;
  struct script s = begin(60, 2, device_info(BROWSE, "", 0));
  say_list(&s, OLD, 2);
  say_event(&s, 0x4002, NEW);
  say_picture(&s, NEW, 100);
  say_note(&s, "finish");
  say_list(&s, NEW, 2);
  for (unsigned i = 0; i < 3; i++) {
    say_info(&s, NEW + 1, object_info("B.JPG", 0x3801, 0, ""));
    say_silence(&s, 500);
  }
  say_picture(&s, NEW + 1, 99);
  say_close(&s);
  struct result r = run(s, "ok");
  assert_well(&r);
  assert_has(&r, "\"number\":2");
}

/* ---- the captures beside the tests --------------------------------------------------------------------------- */

static struct result run_file(const char *name) {
  char path[256], why[512];
  _buf_cleanup_ struct buf text = {0}, blobs = {0};
  struct acq_capture capture;
  snprintf(path, sizeof path, "tests/captures/ptp_camera/%s.capture", name);
  assert_int_equal(capture_file_read(path, &text, &blobs, why), 0);
  assert_int_equal(capture_parse_with((char *)text.data, text.len, blobs.data, blobs.len, &capture, NULL), 0);
  struct result r = run_capture(&capture);
  capture_finish(&capture);
  return r;
}

static void test_normal(void **state) {
  (void)state;
  struct result r = run_file("normal");
  assert_well(&r);
  assert_int_equal(r.thumbnails, 1);
  assert_has(&r, "IMG_0003.JPG");
  assert_has(&r, "Œil droit’€.jpg");
  assert_null(strstr(r.json, "CR2"));
  assert_has(&r,
             "\"device_time\":\"2026-03-02T09:59:45.000\",\"number\":1,\"phase\":null,\"time\":\"2026-03-02T10:00:15");
  assert_has(&r, "\"quality\":[]");
}

static void test_eos(void **state) {
  (void)state;
  struct result r = run_file("eos");
  assert_well(&r);
  assert_has(&r, "IMG_0002.JPG");
  assert_has(&r, "IMG_0003.JPG");
  assert_has(&r, "reading_time_unverified");
}

static void test_other_files(void **state) {
  (void)state;
  static const char *const good[] = {"left-open", "repeated", "too-large"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    struct result r = run_file(good[i]);
    assert_well(&r);
  }
  struct result r = run_file("too-large");
  assert_has(&r, "\"pictures_refused\"");
  r = run_file("silence");
  assert_int_equal(r.acquired, -ENODATA);
  assert_int_equal(r.decoded, -ENODATA);
  r = run_file("wrong-device");
  assert_int_equal(r.identified, -ENXIO);
  r = run_file("cancelled");
  assert_int_equal(r.acquired, -ECANCELED);
  assert_string_equal(r.departed, "");
  assert_has(&r, "\"complete\":false");
  r = run_file("unplugged");
  assert_int_equal(r.acquired, -ENODEV);
  assert_has(&r, "\"complete\":false");
}

/* ---- a real camera ------------------------------------------------------------------------------------------- */

/* A line of a umockdev recording: "USBDEVFS_REAPURBNDELAY 0 3 <endpoint> 0 0 <size> <size> 0 <hex>". */
static size_t read_transfer(char *line, unsigned *ret_endpoint, uint8_t *bytes, size_t max) {
  unsigned field = 0;
  char *save, *hex = NULL;
  for (char *word = strtok_r(line, " \n", &save); word; word = strtok_r(NULL, " \n", &save), field++) {
    if (!field && strcmp(word, "USBDEVFS_REAPURBNDELAY"))
      return 0;
    if (field == 3)
      *ret_endpoint = (unsigned)strtoul(word, NULL, 10);
    hex = word;
  }
  size_t n = hex ? strlen(hex) / 2 : 0;
  return field == 10 && n <= max && str_unhex(hex, bytes, n) ? n : 0;
}

static void open_sample(const char *name, FILE **ret) {
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[512];
  snprintf(path, sizeof path, "%s/umockdev_powershot/%s", folder ? folder : "../shared/samples", name);
  *ret = fopen(path, "rb");
  if (!*ret) {
    print_message("skipped: no %s\n", path);
    skip();
  }
}

/* The first session of the recording, as this driver's capture would have it: a picture's bytes are a blob. */
static void test_powershot(void **state) {
  (void)state;
  static char line[16384], jpeg[8192];
  static uint8_t bytes[8192], picture[8192];
  FILE *f, *file;
  open_sample("powershot.ioctl", &f);
  open_sample("IMG_0001.jpg", &file);
  const size_t n_jpeg = fread(jpeg, 1, sizeof jpeg, file);
  fclose(file);
  struct script s = {.text = BUF_INIT(1 << 20), .blobs = BUF_INIT(1 << 20)};
  struct ptp_container command = {0};
  struct ptp_device_info device = {0};
  struct ptp_object_info info = {0};
  const char *why;
  size_t left = 0, n_picture = 0, depth = 0;
  unsigned storages = 0, infos = 0, next = 0;
  bool answered = true;
  buf_text(&s.text, "asaleed-capture 1\ndriver ptp_camera 1\nbus usb\norder 60 fundus 1\n"
                    "start 2012-03-02T10:00:00.000000+01:00\n");
  while (fgets(line, sizeof line, f)) {
    unsigned endpoint = 0;
    size_t indent = strspn(line, " "), n = read_transfer(line + indent, &endpoint, bytes, sizeof bytes);
    struct acq_cur c = acq_cur(bytes, n);
    struct ptp_container head;
    if (!n || (answered && endpoint != 2))
      continue; /* other calls; other ways the recording may go on */
    if (endpoint == 2) {
      assert_int_equal(ptp_head_read(&c, &command), 0);
      assert_int_equal(ptp_parameters_read(&c, &command), 0);
      if (command.transaction != next)
        break; /* the second session */
      if (command.code == 0x1009 && command.parameters[0] != 0x1900011)
        break;
      next++;
      answered = false;
      depth = 0;
      say_line(&s, '>', bytes, n);
      continue;
    }
    if (indent <= depth)
      continue;
    depth = indent;
    if (left) { /* a picture goes on */
      assert_true(n <= left);
      memcpy(picture + n_picture, bytes, n);
      n_picture += n;
      left -= n;
      buf_add(&s.blobs, bytes, n);
    } else {
      assert_int_equal(ptp_head_read(&c, &head), 0);
      if (head.type == PTP_DATA && command.code == 0x1009) {
        say_line(&s, '<', bytes, n);
        n_picture = n - 12;
        memcpy(picture, bytes + 12, n_picture);
        buf_add(&s.blobs, bytes + 12, n_picture);
        left = head.length - n;
      } else {
        if (command.code == 0x1009) {
          buf_format(&s.text, "@ 0 %zu 1012\n", n_picture);
        }
        say_line(&s, '<', bytes, n);
        answered = head.type == PTP_RESPONSE;
        if (answered && command.code == 0x1009)
          say_blob_end(&s, '#');
        struct acq_cur data = acq_cur(bytes + 12, n - 12);
        if (head.type != PTP_DATA)
          continue;
        if (command.code == 0x1001)
          assert_int_equal(ptp_device_info_read(data, &device, &why), 0);
        if (command.code == 0x1004 && ptp_count(&data, 4) == 1)
          storages += acq_u32le(&data) == 0x10001;
        if (command.code == 0x1008 && ptp_object_info_read(data, &info, &why) == 0 && ptp_is_picture(&info))
          infos++;
      }
    }
  }
  fclose(f);
  assert_string_equal(device.identity.make, "Canon Inc.");
  assert_string_equal(device.identity.model, "Canon PowerShot SX200 IS");
  assert_true(device.can & PTP_CAN_BROWSE);
  assert_true(storages > 0);
  assert_int_equal(infos, 2);
  assert_int_equal(n_picture, n_jpeg);
  assert_memory_equal(picture, jpeg, n_jpeg);

  struct acq_capture capture;
  struct record_result results[WIRE_RECORDS] = {0};
  char reason[256], sha[HASH_TEXT];
  unsigned at = 0;
  buf_text(&s.text, "end ok\n");
  int parsed = capture_parse_with((char *)s.text.data, s.text.len, s.blobs.data, s.blobs.len, &capture, &at);
  if (parsed < 0)
    fail_msg("line %u: %s", at, strerrorname_np(-parsed));
  int r = record_decode(DRIVER, &capture, results, reason);
  if (r < 0)
    fail_msg("%s", reason);
  assert_non_null(results[WIRE_OWN].json);
  hash_sha256_text(jpeg, n_jpeg, sha);
  assert_non_null(strstr(results[WIRE_OWN].json, sha));
  assert_non_null(strstr(results[WIRE_OWN].json, "IMG_0001.JPG"));
  for (int i = 0; i < WIRE_RECORDS; i++)
    record_result_finish(&results[i]);
  capture_finish(&capture);
  buf_finish(&s.text);
  buf_finish(&s.blobs);
}

int main(void) {
  assert_true(hash_open() == 0);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_device_info),
      cmocka_unit_test(test_what_a_device_can),
      cmocka_unit_test(test_object_info),
      cmocka_unit_test(test_strings),
      cmocka_unit_test(test_arrays),
      cmocka_unit_test(test_pictures),
      cmocka_unit_test(test_dates),
      cmocka_unit_test(test_heads),
      cmocka_unit_test(test_eos_events),
      cmocka_unit_test(test_parts),
      cmocka_unit_test(test_looking),
      cmocka_unit_test(test_long_list),
      cmocka_unit_test(test_talkative),
      cmocka_unit_test(test_deaf),
      cmocka_unit_test(test_full_card),
      cmocka_unit_test(test_second_storage),
      cmocka_unit_test(test_changed_card),
      cmocka_unit_test(test_old_and_announced),
      cmocka_unit_test(test_always_busy),
      cmocka_unit_test(test_bad_answers),
      cmocka_unit_test(test_bad_captures),
      cmocka_unit_test(test_crashed),
      cmocka_unit_test(test_twice),
      cmocka_unit_test(test_vanished),
      cmocka_unit_test(test_announced_early),
      cmocka_unit_test(test_written_late),
      cmocka_unit_test(test_not_given),
      cmocka_unit_test(test_nothing_given),
      cmocka_unit_test(test_all_too_large),
      cmocka_unit_test(test_normal),
      cmocka_unit_test(test_eos),
      cmocka_unit_test(test_other_files),
      cmocka_unit_test(test_powershot),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
