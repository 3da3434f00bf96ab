/* The ISO/IEEE 11073 driver: its layers, its conversation on the replay transport, and what its captures decode to.
 * APDUs are written here in a notation of their own, from the protocol's description, not with the driver's encoder. */
#include "../../drivers/ieee11073_phdc/apdu.h"
#include "../../drivers/ieee11073_phdc/decode.h"
#include "../../drivers/ieee11073_phdc/descriptor.h"
#include "../../drivers/ieee11073_phdc/manager.h"
#include "../../drivers/ieee11073_phdc/report.h"
#include "../../drivers/ieee11073_phdc/wave.h"
#include "buf.h"
#include "capture.h"
#include "hash.h"
#include "io.h"
#include "record_build.h"
#include "talk.h"
#include "transport_replay.h"

#include <fcntl.h>
#include <limits.h>
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

extern const struct acq_driver ieee11073_phdc;
#define DRIVER (&ieee11073_phdc)

/* ---- the notation: hex digits are bytes; ( ) puts the length of what is inside in front, as u16; [ a | b ] the
 * count of its items and their length together; blanks mean nothing -------------------------------------------------
 */

static size_t mder(const char *text, uint8_t *out, size_t max) {
  struct {
    size_t at;
    unsigned items;
    bool list;
  } open[16];
  size_t n = 0, depth = 0;
  for (const char *p = text; *p; p++) {
    unsigned byte;
    assert_true(n + 4 <= max && depth < 16);
    switch (*p) {
    case ' ':
      break;
    case '(':
    case '[':
      open[depth].at = n;
      open[depth].list = *p == '[';
      open[depth].items = p[strspn(p + 1, " ") + 1] != ']';
      depth++;
      n += *p == '[' ? 4 : 2;
      break;
    case '|':
      open[depth - 1].items++;
      break;
    case ')':
    case ']': {
      assert_true(depth > 0);
      depth--;
      uint8_t *head = out + open[depth].at;
      size_t length = n - open[depth].at - (open[depth].list ? 4 : 2);
      if (open[depth].list) {
        *head++ = (uint8_t)(open[depth].items >> 8);
        *head++ = (uint8_t)open[depth].items;
      }
      *head++ = (uint8_t)(length >> 8);
      *head = (uint8_t)length;
      break;
    }
    default:
      assert_int_equal(sscanf(p, "%2x", &byte), 1);
      out[n++] = (uint8_t)byte;
      p++;
    }
  }
  assert_int_equal(depth, 0);
  return n;
}

/* ---- captures as scripts: lines of
 *   > APDU      < APDU      ! note      @ milliseconds ------------------------------------------------------------ */

#define CAPTURE_HEAD \
  "asaleed-capture 1\ndriver ieee11073_phdc 1\nbus usb\norder %s\nstart 2026-01-05T09:30:00.000000+01:00\n"

/* `pieces`: the most bytes of a line of what is received. */
static struct acq_capture capture_of(const char *order, const char *script, size_t pieces, const char *end) {
  static uint8_t bytes[70000];
  struct buf text = BUF_INIT(4 << 20);
  unsigned ms = 0;
  buf_format(&text, CAPTURE_HEAD, order);
  while (*script) {
    size_t n = strcspn(script, "\n");
    char *line = strndup(script, n);
    script += n + (script[n] == '\n');
    if (line[0] == '@') {
      ms = (unsigned)strtoul(line + 1, NULL, 10);
    } else if (line[0] == '!') {
      buf_format(&text, "! %u %s\n", ms, line + 2);
    } else if (line[0]) {
      size_t len = mder(line + 1, bytes, sizeof bytes), most = line[0] == '<' ? pieces : CAPTURE_LINE_BYTES;
      for (size_t at = 0; at < len; at += most) {
        buf_format(&text, "%c %u ", line[0], ms);
        buf_hex(&text, bytes + at, len - at < most ? len - at : most);
        buf_text(&text, "\n");
      }
    }
    free(line);
  }
  if (end)
    buf_format(&text, "end %s\n", end);
  struct acq_capture capture;
  unsigned line = 0;
  if (text.err || capture_parse((const char *)text.data, text.len, &capture, &line) < 0)
    fail_msg("line %u of the script is no line of a capture", line);
  buf_finish(&text);
  return capture;
}

/* ---- what a capture decodes to, as one line ------------------------------------------------------------------------
 */

static void put_part(struct buf *out, const char *name, const json_t *record) {
  const json_t *acquired = json_object_get(record, "acquired"), *quality = json_object_get(record, "quality");
  size_t i, n = json_array_size(json_object_get(acquired, "trials"));
  json_t *item;
  buf_format(out, "%s %s%s", name, json_text(record, "modality"),
             json_is_true(json_object_get(record, "complete")) ? "" : " incomplete");
  for (json_int_t trial = 0; trial <= 999; trial++) {
    bool said = false;
    for (i = 0; i < n; i++) {
      const json_t *t = json_array_get(json_object_get(acquired, "trials"), i);
      if (json_integer_value(json_object_get(t, "number")) != trial)
        continue;
      buf_format(out, "; %d %s%s%s", (int)trial, json_text(t, "device_time") ? json_text(t, "device_time") : "-",
                 json_text(t, "phase") ? " " : "", json_text(t, "phase") ? json_text(t, "phase") : "");
      said = true;
    }
    json_array_foreach(json_object_get(acquired, "measures"), i, item) {
      if (json_integer_value(json_object_get(item, "trial")) != trial)
        continue;
      if (!said)
        buf_format(out, "; %d", (int)trial);
      said = true;
      buf_format(out, " %s=%s %s%s%s", json_text(item, "code"), json_text(item, "value"), json_text(item, "unit"),
                 json_array_size(json_object_get(item, "flags")) ? "!" : "",
                 json_array_size(json_object_get(item, "flags"))
                     ? json_string_value(json_array_get(json_object_get(item, "flags"), 0))
                     : "");
    }
    json_array_foreach(quality, i, item) {
      if (json_integer_value(json_object_get(item, "trial")) != trial)
        continue;
      buf_format(out, "%s +%s*%d%s%s", said ? "" : ";", json_text(item, "code"),
                 (int)json_integer_value(json_object_get(item, "count")), *json_text(item, "subject") ? ":" : "",
                 json_text(item, "subject"));
      said = true;
    }
  }
  json_array_foreach(json_object_get(record, "statements"), i, item) {
    buf_format(out, "; \"%s\"", json_text(item, "text"));
  }
}

struct reading {
  int err;
  char reason[256], text[4096];
  struct record_result results[WIRE_RECORDS];
  json_t *own;
};

static struct reading read_capture(const struct acq_capture *capture) {
  struct reading r = {0};
  struct buf text = BUF_INIT(sizeof r.text - 1);
  r.err = record_decode(DRIVER, capture, r.results, r.reason);
  for (int i = 0; i < WIRE_RECORDS && r.err == 0; i++) {
    const struct record_result *result = &r.results[i];
    json_t *json = NULL;
    char why[256] = "";
    if (!result->json)
      continue;
    if (record_read(result->json, result->json_bytes, result->data, result->data_values * 2, &json, why) < 0)
      fail_msg("the record is not accepted: %s", why);
    if (text.len)
      buf_text(&text, " // ");
    put_part(&text, i == WIRE_OWN ? "own" : "stray", json);
    if (i == WIRE_OWN)
      r.own = json;
    else
      json_decref(json);
  }
  if (r.err < 0)
    buf_format(&text, "%s: %s", strerrorname_np(-r.err), r.reason);
  assert_false(text.err);
  memcpy(r.text, text.data, text.len);
  buf_finish(&text);
  return r;
}

static void reading_finish(struct reading *r) {
  for (int i = 0; i < WIRE_RECORDS && r->err == 0; i++)
    record_result_finish(&r->results[i]);
  json_decref(r->own);
}

static void assert_decodes(const char *order, const char *script, const char *want) {
  struct acq_capture capture = capture_of(order, script, CAPTURE_LINE_BYTES, "ok");
  struct reading r = read_capture(&capture);
  assert_string_equal(r.text, want);
  reading_finish(&r);
  capture_finish(&capture);
}

/* ---- the conversation on the replay transport ----------------------------------------------------------------------
 */

struct played {
  int identified, acquired, released;
  struct acq_identity identity;
  char reason[IO_REASON_MAX], departed[TRANSPORT_WHY_MAX];
  struct wire_progress progress;
  unsigned previews;
  struct wire_preview preview; /* the first one */
};

static struct played play_capture(const struct acq_capture *capture, size_t chunk) {
  static struct acq_io io;
  struct replay replay;
  struct played p = {.acquired = -EAGAIN};
  struct wire_message m;
  int control[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, control), 0);
  replay_init(&replay, capture);
  replay.chunk = chunk;
  io_init(&io, &replay.base, NULL, control[0], DRIVER->limits.max_bytes);
  p.identified = talk_identify(&io, DRIVER, &p.identity);
  if (p.identified == 0)
    p.acquired = talk_acquire(&io, DRIVER, &capture->header.order);
  memcpy(p.reason, io.reason, sizeof p.reason);
  p.released = talk_release(&io, DRIVER, p.identified);
  replay_done(&replay);
  memcpy(p.departed, replay.departed, sizeof p.departed);
  p.progress = io.progress;
  assert_false(io.preview_refused);
  while (wire_receive(control[1], &m) == 0)
    if (m.type == WIRE_PREVIEW && !p.previews++)
      p.preview = m.preview;
  close(control[0]);
  close(control[1]);
  return p;
}

static struct played play(const char *order, const char *script) {
  struct acq_capture capture = capture_of(order, script, CAPTURE_LINE_BYTES, NULL);
  struct played p = play_capture(&capture, SIZE_MAX);
  capture_finish(&capture);
  if (p.departed[0])
    fail_msg("%s (%d, %d, %d, %s)", p.departed, p.identified, p.acquired, p.released, p.reason);
  return p;
}

/* The script is what happens, to the letter, and identify() and acquire() end so. */
static void assert_plays(const char *order, const char *script, int identified, int acquired, const char *reason) {
  struct played p = play(order, script);
  if (strcmp(p.reason, reason) || p.identified != identified || p.released)
    print_error("%s\nends %d, %d, %d: %s\n", script, p.identified, p.acquired, p.released, p.reason);
  assert_string_equal(p.reason, reason);
  assert_int_equal(p.identified, identified);
  assert_int_equal(p.acquired, identified < 0 ? -EAGAIN : acquired);
  assert_int_equal(p.released, 0);
}

/* ---- the parts of a conversation -----------------------------------------------------------------------------------
 */

#define PRST(id, choice, body) "e700((" id choice "(" body ")))"
#define EVENT(id, handle, type, info) PRST(id, "0101", handle "00001234" type "(" info ")")
#define UNCONFIRMED(id, handle, type, info) PRST(id, "0100", handle "00001234" type "(" info ")")
#define CONFIRM(id, handle, type) "> " PRST(id, "0201", handle "00000000" type "()") "\n"

#define CONFIGURATION_HEAD "0902320001010080fa"
#define FUNCTION "09040000020f000000"
#define ENDPOINTS          \
  "0705810240000004210108" \
  "0705020240000004210108"
#define USB_ENDS                         \
  CONFIGURATION_HEAD FUNCTION "04200200" \
                              "063000011510" ENDPOINTS "\n"
#define USB "> 8006000200000900\n< " CONFIGURATION_HEAD "\n> 8006000200003200\n< " USB_ENDS

#define AARQ_OF(assoc, protocol, versions, rules, nomenclature, units, system)                     \
  "e200(" assoc "[" protocol "(" versions rules nomenclature units system "(0011223344556677)4000" \
  "0001 01 00 0000 0000)])"
#define AARQ AARQ_OF("80000000", "5079", "80000000", "8000", "80000000", "00000000", "00800000")
#define AARE_OF(result, versions) \
  "e300(" result "5079(" versions "8000 80000000 00000000 80000000 (024153414c454544) 0000 0000 0000 0000 0000))"
#define ASSOCIATE "< " AARQ "\n> " AARE_OF("0003", "80000000") "\n"
#define CONFIGURE_AS(objects, result)                                                 \
  "< " EVENT("0001", "0000", "0d1c", "4000[" objects "]") "\n> " PRST("0001", "0201", \
                                                                      "0000000000000d1c(4000" result ")") "\n"
#define CONFIGURE(objects) CONFIGURE_AS(objects, "0000")

#define GET(id, handle) "> " PRST(id, "0103", handle "0000 0000") "\n"
#define CLOCK(time) "|0987(" time ")"
#define MODEL "0928((4578656d706c)(506561 6b 20))" /* "Exmple", "Peak " */
#define SPECS(list) "0a5a([" list "])"
#define MDS(id, attributes) "< " PRST(id, "0203", "0000[" attributes "]") "\n"
#define PEAK_FLOW SPECS("10150001")
#define ACQUIRE "! acquire\n"
#define RELEASE "! release\n"
#define RLRQ "e400(0000)"
#define RLRE "e500(0000)"
#define ABRT "e600(0000)"
#define LET_GO RELEASE "> " RLRQ "\n< " RLRE "\n" /* the manager ends the association */
#define GONE "< " RLRQ "\n> " RLRE "\n" RELEASE   /* the agent did */

#define T1 "2026010509302300"
#define T2 "2026010509310200"
#define OBJECT(class, handle, attributes) class handle "[" attributes "]"
#define TYPE(code) "092f(" code ")|0a46(f040)"
#define NUMERIC(handle, code, unit) OBJECT("0006", handle, TYPE(code) "|0996(" unit ")|0a55([0a4c0002|09900008])")
#define PEF NUMERIC("0001", "00025408", "0c00")
#define FEV1 NUMERIC("0002", "0002540a", "0640")
#define FEV6 NUMERIC("0003", "0002540b", "0640")
#define STATUS OBJECT("0005", "0004", "092f(00807800)|0a55([0a660002|09900008])")
#define METER PEF "|" FEV1 "|" FEV6 "|" STATUS
#define PREPARED(objects, mds) \
  USB "@30\n" ASSOCIATE CONFIGURE(objects) GET("0001", "0000") "@40\n" MDS("0001", mds) ACQUIRE

#define REPORT(number, observations) "f000" number "[" observations "]"
#define VALUE(handle, value, time) handle "(" value time ")"
#define BLOW(time, pef, fev1, fev6, status) \
  VALUE("0001", pef, time) "|" VALUE("0002", fev1, time) "|" VALUE("0003", fev6, time) "|" VALUE("0004", status, time)
/* One confirmed fixed report, and its confirmation. */
#define SENT(id, observations) \
  "< " EVENT(id, "0000", "0d1d", REPORT("0000", observations)) "\n" CONFIRM(id, "0000", "0d1d")
#define BLOW_1 BLOW(T1, "01b0", "e16b", "e18f", "0000") /* 432, 3.63, 3.99 */
#define BLOW_2 BLOW(T2, "01b9", "e173", "e192", "0000") /* 441, 3.71, 4.02 */
#define READ_1 "pef=432 L/min fev1=3.63 L fev6=3.99 L"
#define READ_2 "pef=441 L/min fev1=3.71 L fev6=4.02 L"
#define SPIRO "120 spirometry"
#define CLOCK_RIGHT PEAK_FLOW CLOCK("2026010509300000")

/* ---- APDUs ---------------------------------------------------------------------------------------------------------
 */

static struct acq_cur bytes_of(const char *text, uint8_t bytes[static 4096]) {
  return acq_cur(bytes, mder(text, bytes, 4096));
}

static void test_assembler(void **state) {
  (void)state;
  static const char *const texts[] = {AARQ, PRST("0001", "0203", "0000[0987(" T1 ")]"), ABRT, "e400()", RLRE};
  static uint8_t bytes[4096];
  static struct phd_assembler a;
  size_t ends[5], n = 0;
  for (size_t i = 0; i < 5; i++)
    ends[i] = n += mder(texts[i], bytes + n, sizeof bytes - n);
  /* All of them, cut in two at every byte, and a byte at a time. */
  for (size_t cut = 0; cut <= n + 1; cut++) {
    size_t got = 0;
    memset(&a, 0, sizeof a);
    for (size_t at = 0; at < n;) {
      size_t part = cut > n ? 1 : at < cut ? cut - at : n - at;
      struct acq_cur in = acq_cur(bytes + at, part);
      struct phd_apdu apdu;
      int r;
      while ((r = phd_assemble(&a, &in, &apdu)) > 0) {
        size_t begin = got ? ends[got - 1] : 0;
        assert_int_equal(apdu.choice, bytes[begin] << 8);
        assert_int_equal(acq_left(&apdu.body), ends[got] - begin - 4);
        assert_memory_equal(apdu.body.at, bytes + begin + 4, acq_left(&apdu.body));
        got++;
      }
      assert_int_equal(r, 0);
      at += part;
    }
    assert_int_equal(got, 5);
    assert_int_equal(phd_wanted(&a), 4);
  }
}

static void test_assembler_bounds(void **state) {
  (void)state;
  static struct phd_assembler a;
  struct phd_apdu apdu;
  static uint8_t longest[PHD_APDU_MAX + 1] = {0xe7, 0x00, 0xff, 0xff};
  struct acq_cur in = acq_cur(longest, PHD_HEAD);
  assert_int_equal(phd_assemble(&a, &in, &apdu), 0);
  assert_int_equal(phd_wanted(&a), 65535);
  in = acq_cur(longest + PHD_HEAD, PHD_APDU_MAX - PHD_HEAD + 1);
  assert_int_equal(phd_assemble(&a, &in, &apdu), 1);
  assert_int_equal(acq_left(&apdu.body), 65535);
  assert_int_equal(acq_left(&in), 1); /* the byte after is another APDU's */
  static const uint16_t wrong[] = {0x0000, 0xe100, 0xe201, 0xe800, 0x5068, 0xffff};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    memset(&a, 0, sizeof a);
    const uint8_t head[] = {(uint8_t)(wrong[i] >> 8), (uint8_t)wrong[i], 0, 0};
    in = acq_cur(head, sizeof head);
    assert_int_equal(phd_assemble(&a, &in, &apdu), -EPROTO);
  }
}

static void test_association_requests(void **state) {
  (void)state;
  static const struct {
    const char *text, *why; /* why = NULL: not a request at all */
    enum phd_result result;
    uint32_t version;
  } rows[] = {
      {AARQ, "", PHD_ACCEPTED_UNKNOWN_CONFIG, 0x80000000},
      {AARQ_OF("80000000", "5079", "a0000000", "a000", "80000000", "40000000", "00800000"), "",
       PHD_ACCEPTED_UNKNOWN_CONFIG, 0x80000000},
      {AARQ_OF("80000000", "5079", "60000000", "8000", "80000000", "00000000", "00800000"), "",
       PHD_ACCEPTED_UNKNOWN_CONFIG, 0x40000000},
      {AARQ_OF("40000000", "5079", "80000000", "8000", "80000000", "00000000", "00800000"),
       "another version of the association", PHD_UNSUPPORTED_VERSION, 0x80000000},
      {AARQ_OF("80000000", "ffff", "80000000", "8000", "80000000", "00000000", "00800000"), "it does not speak 20601",
       PHD_NO_COMMON_PROTOCOL, 0x80000000},
      {AARQ_OF("80000000", "5079", "00000001", "8000", "80000000", "00000000", "00800000"),
       "no version of the protocol that we know", PHD_NO_COMMON_PARAMETER, 0x80000000},
      {AARQ_OF("80000000", "5079", "80000000", "6000", "80000000", "00000000", "00800000"), "its encoding is not MDER",
       PHD_NO_COMMON_PARAMETER, 0x80000000},
      {AARQ_OF("80000000", "5079", "80000000", "8000", "00000000", "00000000", "00800000"), "another nomenclature",
       PHD_NO_COMMON_PARAMETER, 0x80000000},
      {AARQ_OF("80000000", "5079", "80000000", "8000", "80000000", "00000000", "80000000"), "it is not an agent",
       PHD_REJECTED_PERMANENT, 0x80000000},
      {AARQ_OF("80000000", "5079", "80000000", "8000", "80000000", "20000000", "00800000"),
       "it asks for a test association", PHD_REJECTED_PERMANENT, 0x80000000},
      {"e200(80000000[ffff(00)|5079(80000000 8000 80000000 00000000 00800000 (0011223344556677) 4000 0001 01 00 0000"
       "0000)])",
       "", PHD_ACCEPTED_UNKNOWN_CONFIG, 0x80000000},
      {"e200(80000000)", NULL, 0, 0},
      {"e200(80000000 0002 0004 50790000)", NULL, 0, 0},
      {"e200(80000000 ffff 0000)", NULL, 0, 0},
      {"e200(80000000[5079(80000000 8000 80000000 00000000 00800000 (00112233445566) 4000 0001 01 00 0000 0000)])",
       NULL, 0, 0},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    uint8_t bytes[4096];
    struct acq_cur c = bytes_of(rows[i].text, bytes);
    struct phd_association a;
    enum phd_result result;
    const char *why;
    acq_u32be(&c);
    int r = phd_aarq_read(c, &a, &result, &why);
    if (!rows[i].why) {
      assert_int_equal(r, -EPROTO);
      continue;
    }
    assert_int_equal(r, 0);
    assert_string_equal(why, rows[i].why);
    assert_int_equal(result, rows[i].result);
    assert_int_equal(a.protocol_version, rows[i].version);
  }
}

static void assert_out(const struct phd_out *out, const char *text) {
  uint8_t bytes[4096];
  size_t n = mder(text, bytes, sizeof bytes);
  assert_int_equal(out->n, n);
  assert_memory_equal(out->bytes, bytes, n);
}

static void test_writing(void **state) {
  (void)state;
  struct phd_out out;
  static const uint8_t info[] = {0x40, 0x00, 0x00, 0x00};
  const struct phd_event config = {.handle = 0, .type = 0x0d1c}, report = {.handle = 0, .type = 0x0d1d};
  phd_write_aare(&out, PHD_ACCEPTED_UNKNOWN_CONFIG, 0x80000000);
  assert_out(&out, AARE_OF("0003", "80000000"));
  phd_write_reason(&out, PHD_RLRQ, 0);
  assert_out(&out, "e40000020000");
  phd_write_reason(&out, PHD_RLRE, 0);
  assert_out(&out, "e50000020000");
  phd_write_reason(&out, PHD_ABRT, PHD_ABORT_CONFIG_TIMEOUT);
  assert_out(&out, "e60000020003");
  phd_write_event_result(&out, 0x4321, &config, info, sizeof info);
  assert_out(&out, "e7000016001443210201000e0000000000000d1c000440000000"); /* as H222 */
  phd_write_event_result(&out, 0x4321, &report, NULL, 0);
  assert_out(&out, "e7000012001043210201000a0000000000000d1d0000"); /* as H242 */
  phd_write_get(&out, 0x3456, 0);
  assert_out(&out, "e700000e000c345601030006000000000000"); /* as H232 */
  phd_write_error(&out, 5, 9);
  assert_out(&out, "e700((0005 0300 (0009 0000)))");
  phd_write_set(&out, 6, 0x37, 0x0953, 1);
  assert_out(&out, "e700((0006 0105 (0037 0001 0008 0000 0953 (0001))))");
  phd_write_action(&out, 7, 11, 0x0c0d, info, sizeof info);
  assert_out(&out, "e700((0007 0107 (000b 0c0d (40000000))))");
}

/* ---- the samples ---------------------------------------------------------------------------------------------------
 */

static const char *samples_folder(char path[static 512]) {
  const char *root = getenv("ASALEED_SAMPLES");
  snprintf(path, 512, "%s/phd_11073/antidote_apdu", root ? root : "");
  return root && access(path, R_OK) == 0 ? path : NULL;
}

static size_t read_sample(const char *name, uint8_t bytes[static 4096]) {
  char folder[512], path[1024];
  snprintf(path, sizeof path, "%s/%s", samples_folder(folder), name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, bytes, 4096);
  if (fd >= 0)
    close(fd);
  if (n < 0)
    fail_msg("%s cannot be read", path);
  return (size_t)n;
}

struct collected {
  struct buf text;
};

static int collect(void *context, const struct phd_report *report, const struct phd_observation *ob) {
  struct collected *c = context;
  (void)report;
  if (c->text.len)
    buf_text(&c->text, ", ");
  buf_format(&c->text, "%u", ob->object->handle);
  for (unsigned i = 0; i < ob->n_numbers; i++) {
    char number[DEC_TEXT_MAX] = "none";
    if (ob->numbers[i].err == 0)
      dec_format(ob->numbers[i].value, number);
    buf_format(&c->text, "%s%s", i ? "/" : ":", number);
  }
  if (ob->has_bits)
    buf_format(&c->text, ":bits %08x", ob->bits);
  if (ob->stamp.kind != PHD_UNTIMED)
    buf_text(&c->text, "@");
  if (ob->person != PERSON_UNKNOWN)
    buf_format(&c->text, " of %u", ob->person);
  return 0;
}

/* The data inside a PRST; some of the files have bytes after it. */
static int data_of(const uint8_t *bytes, struct phd_data *ret, const char **ret_why) {
  return phd_data_read(acq_cur(bytes + 4, (size_t)(bytes[2] << 8 | bytes[3])), ret, ret_why);
}

static void load_configuration(struct phd_dim *d, const char *name) {
  uint8_t bytes[4096];
  struct phd_event event;
  struct phd_data data;
  const char *why;
  read_sample(name, bytes);
  assert_int_equal(data_of(bytes, &data, &why), 0);
  assert_int_equal(phd_event_read(data.body, &event, &why), 0);
  if (phd_dim_read(d, event.info) < 0)
    fail_msg("%s: %s", name, d->why);
}

/* What became of one sample. */
static void judge_sample(const char *name, const char *configuration, struct buf *out) {
  static struct phd_dim dim;
  static struct phd_assembler a;
  uint8_t bytes[4096];
  const char *why = "";
  struct phd_apdu apdu;
  size_t n = read_sample(name, bytes);
  struct acq_cur in = acq_cur(bytes, n);
  memset(&a, 0, sizeof a);
  if (phd_assemble(&a, &in, &apdu) != 1) {
    buf_text(out, "refused: no APDU");
    return;
  }
  if (acq_left(&in))
    buf_format(out, "%zu bytes follow; ", acq_left(&in));
  if (apdu.choice == PHD_AARQ) {
    struct phd_association association;
    enum phd_result result;
    int r = phd_aarq_read(apdu.body, &association, &result, &why);
    if (r == 0)
      buf_format(out, "AARQ %04x, answer %d%s", association.config_id, result, why);
    else
      buf_format(out, "refused: %s", why);
    return;
  }
  if (apdu.choice != PHD_PRST) {
    buf_text(out, phd_choice_name(apdu.choice));
    return;
  }
  struct phd_data data;
  struct phd_event event;
  if (data_of(bytes, &data, &why) < 0) {
    buf_format(out, "refused: %s", why);
    return;
  }
  if (data.choice == PHD_GET_RESULT) {
    struct phd_mds mds;
    int r = phd_mds_read(data.body, &mds, &why);
    if (r == 0)
      buf_format(out, "MDS %s, %s, serial %s, specialisation %u", mds.identity.make, mds.identity.model,
                 mds.identity.serial, mds.specs[0]);
    else
      buf_format(out, "refused: %s", why);
    return;
  }
  if (data.choice != PHD_EVENT && data.choice != PHD_CONFIRMED_EVENT) {
    buf_format(out, "data %04x", data.choice);
    return;
  }
  assert_int_equal(phd_event_read(data.body, &event, &why), 0);
  if (event.type == MDC_NOTI_CONFIG) {
    int r = phd_dim_read(&dim, event.info);
    if (r == 0)
      buf_format(out, "configuration, %u objects", dim.n_objects);
    else
      buf_format(out, "refused: %s", dim.why);
    return;
  }
  struct collected c = {BUF_INIT(4096)};
  load_configuration(&dim, configuration);
  int r = phd_report_read(&dim, event.handle, event.type, event.info, collect, &c);
  if (r < 0)
    buf_format(out, "refused: %s", dim.why);
  else
    buf_add(out, c.text.data, c.text.len);
  buf_finish(&c.text);
}

static void test_samples(void **state) {
  (void)state;
  static const char scanner[] = "pulse_oximeter/pulse_oximeter_noti_config_with_scanner";
  static const struct {
    const char *name, *configuration, *want;
  } rows[] = {
      {"H211", NULL, "AARQ 4000, answer 3"},
      {"H211_ID_0190", NULL, "AARQ 0190, answer 3"},
      {"H211_ID_02BC", NULL, "AARQ 02bc, answer 3"},
      {"H211_ID_05DC", NULL, "AARQ 05dc, answer 3"},
      {"H212", NULL, "AARE"},
      {"H221", NULL, "configuration, 2 objects"},
      {"H221_ID_0190", NULL, "6 bytes follow; refused: the attributes of an object are not in their form"},
      {"H221_ID_02BC", NULL, "6 bytes follow; refused: the attributes of an object are not in their form"},
      {"H221_ID_05DC", NULL, "configuration, 3 objects"},
      {"H222", NULL, "data 0201"},
      {"H232", NULL, "data 0103"},
      {"H233", NULL, "MDS TheCompany, TheScaleABC, serial DE124567, specialisation 4111"},
      {"H233_ID_0190", NULL, "MDS TheCompany, OximeterABC, serial DE124567, specialisation 4100"},
      {"H233_ID_02BC", NULL, "MDS TheCompany, TheBPM ABC, serial DE124567, specialisation 4103"},
      {"H233_ID_05DC", NULL, "MDS TheCompany, TheScaleABC, serial DE124567, specialisation 4111"},
      {"H241", "H221", "1:62.4@, 2:25.6@"},
      {"H241_ID_0190", scanner, "1:98@, 10:72@"},
      {"H241_ID_02BC", "blood_pressure/roiv_mdc_noti_config", "1:120/80/100@, 2:60.0@"},
      {"H241_ID_05DC", "H221_ID_05DC", "1:76.2@, 3:24.3@, 1:76.0@, 3:24.2@"},
      {"H242", NULL, "data 0201"},
      {"H243", NULL, "data 0107"},
      {"H244", NULL, "data 0207"},
      {"data_apdu1", NULL, "refused: no APDU"},
      {"data_apdu2", NULL, "refused: no APDU"},
      {"rx_aare_example_one", NULL, "AARE"},
      {"rx_abrt_buffer_overflow", NULL, "ABRT"},
      {"rx_abrt_config_timeout", NULL, "ABRT"},
      {"rx_abrt_response_timeout", NULL, "ABRT"},
      {"rx_abrt_undefined", NULL, "ABRT"},
      {"rx_rlre_normal", NULL, "RLRE"},
      {"rx_rlrq_normal", NULL, "RLRQ"},
      {"scan_report_info_var", "blood_pressure/roiv_mdc_noti_config",
       "refused: the lengths inside a PRST contradict each other"},
      {"blood_pressure/aarq", NULL, "AARQ 4000, answer 3"},
      {"blood_pressure/aare_accept_known_conf", NULL, "AARE"},
      {"blood_pressure/aare_accept_unknown_conf", NULL, "AARE"},
      {"blood_pressure/rlre", NULL, "ABRT"}, /* as it is named there */
      {"blood_pressure/rlrq", NULL, "RLRQ"},
      {"blood_pressure/roiv_mdc_noti_config", NULL, "configuration, 3 objects"},
      {"blood_pressure/roiv_mds_note_scan_report_mp_fixed", "blood_pressure/roiv_mdc_noti_config",
       "1:113/71/85@ of 66, 2:71@ of 66, 3:0@ of 66"},
      {"blood_pressure/rors_accepted_config", NULL, "data 0201"},
      {"pedometer/pedometer_association_request", NULL, "AARQ 4001, answer 3"},
      {"pedometer/pedometer_noti_config", NULL,
       "56 bytes follow; refused: a value map gives an attribute a length that it cannot have"},
      {"pulse_oximeter/pulse_oximeter_association_request", NULL, "AARQ 4001, answer 3"},
      {"pulse_oximeter/pulse_oximeter_noti_config", NULL, "configuration, 2 objects"},
      {"pulse_oximeter/pulse_oximeter_noti_config_with_scanner", NULL, "configuration, 5 objects"},
      {"pulse_oximeter/pulse_oximeter_episodic_set_response", NULL, "data 0205"},
      {"pulse_oximeter/pulse_oximeter_periodic_set_response", NULL, "data 0205"},
      {"pulse_oximeter/pulse_oximeter_buf_scan_report_fixed", scanner, "1:98@, 10:72@"},
      {"pulse_oximeter/pulse_oximeter_buf_scan_report_grouped", scanner, "1:98@, 10:73, 3:98"},
      {"pulse_oximeter/pulse_oximeter_buf_scan_report_mp_fixed", scanner, "1:98@ of 1, 10:72@ of 1"},
      {"pulse_oximeter/pulse_oximeter_buf_scan_report_mp_grouped", scanner, "refused: no APDU"},
      {"pulse_oximeter/pulse_oximeter_buf_scan_report_mp_var", scanner, "1:98@ of 1, 10:72@ of 1"},
      {"pulse_oximeter/pulse_oximeter_buf_scan_report_var", scanner, "1:98@, 10:72@"},
      {"pulse_oximeter/pulse_oximeter_unbuf_scan_report_fixed", scanner, "1:98@, 10:72@"},
      {"pulse_oximeter/pulse_oximeter_unbuf_scan_report_grouped", scanner, "1:97.5@, 10:80.1@"},
      {"pulse_oximeter/pulse_oximeter_unbuf_scan_report_mp_fixed", scanner, "1:98@ of 1, 10:72@ of 1"},
      {"pulse_oximeter/pulse_oximeter_unbuf_scan_report_mp_grouped", scanner, "1:97.5@ of 1, 10:80.1@ of 1"},
      {"pulse_oximeter/pulse_oximeter_unbuf_scan_report_mp_var", scanner, "1:98@ of 1, 10:72@ of 1"},
      {"pulse_oximeter/pulse_oximeter_unbuf_scan_report_var", scanner, "1:98@, 10:72@"},
      {"weighing_scale/association_request", NULL, "AARQ 4000, answer 3"},
      {"weighing_scale/data_report", "weighing_scale/roiv_mdc_noti_config",
       "1:79.6@ of 52, 2:171.0@ of 52, 3:27.2@ of 52, 4:25.7@ of 52, 5:1695000@ of 52, 6:8.0@ of 52, 7:54@ of 52, "
       "8:33.8/0/0/0@ of 52, 9:0@ of 52, 10:0/25@ of 52"},
      {"weighing_scale/roiv_mdc_noti_config", NULL, "configuration, 10 objects"},
      {"weighing_scale/std_config_05DC", NULL, "configuration, 1 objects"},
  };
  char folder[512];
  if (!samples_folder(folder))
    skip();
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct buf out = BUF_INIT(4096);
    judge_sample(rows[i].name, rows[i].configuration, &out);
    buf_u8(&out, 0);
    printf("# %s: %s\n", rows[i].name, (const char *)out.data);
    assert_string_equal((const char *)out.data, rows[i].want);
    buf_finish(&out);
  }
}

/* ---- decoding: values and trials ----------------------------------------------------------------------------------
 */

static void test_session_of_the_sample(void **state) {
  (void)state;
  char folder[512], path[1024], line[1024];
  if (!samples_folder(folder))
    skip();
  snprintf(path, sizeof path, "%.*s/synthetic_peakflow_session.txt", (int)(strrchr(folder, '/') - folder), folder);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  struct buf script = BUF_INIT(65536);
  char from = 0;
  buf_text(&script, USB);
  while (fgets(line, sizeof line, f)) {
    if (line[0] == '#')
      from = line[2];
    else if (from == 'A' || from == 'M')
      buf_format(&script, "%c %s", from == 'A' ? '<' : '>', line);
  }
  fclose(f);
  buf_u8(&script, 0);
  assert_false(script.err);
  /* That day, and without a clock to compare with: live when the order is of that moment, else a stray. */
  const char *body = (const char *)script.data;
  assert_decodes(SPIRO, body, "stray spirometry; 1 2026-03-17T09:30:15.000 " READ_1);
  struct acq_capture capture = capture_of(SPIRO, body, CAPTURE_LINE_BYTES, "ok");
  acq_clock_to_us(&(struct acq_clock){2026, 3, 17, 8, 29, 40, 0}, &capture.header.order.started_us);
  struct reading r = read_capture(&capture);
  assert_string_equal(r.text, "own spirometry; 1 2026-03-17T09:30:15.000 " READ_1 " +reading_time_unverified*1");
  reading_finish(&r);
  capture_finish(&capture);
  buf_finish(&script);
}

#define SESSION(objects, mds, rest) PREPARED(objects, mds) rest LET_GO
#define METER_SESSION(rest) SESSION(METER, CLOCK_RIGHT, "@60000\n" rest)

static void test_trials(void **state) {
  (void)state;
  static const struct {
    const char *script, *want;
  } rows[] = {
      {METER_SESSION(SENT("0002", BLOW_1) SENT("0003", BLOW_2)),
       "own spirometry; 1 2026-01-05T09:30:23.000 " READ_1 "; 2 2026-01-05T09:31:02.000 " READ_2},
      /* in one report */
      {METER_SESSION(SENT("0002", BLOW_1 "|" BLOW_2)),
       "own spirometry; 1 2026-01-05T09:30:23.000 " READ_1 "; 2 2026-01-05T09:31:02.000 " READ_2},
      /* one blow in two reports */
      {METER_SESSION(SENT("0002", VALUE("0001", "01b0", T1)) SENT("0003", VALUE("0002", "e16b", T1))),
       "own spirometry; 1 2026-01-05T09:30:23.000 pef=432 L/min fev1=3.63 L"},
      /* the same report again, at once and after another */
      {METER_SESSION(SENT("0002", BLOW_1) SENT("0003", BLOW_1) SENT("0004", BLOW_2) SENT("0005", BLOW_1)),
       "own spirometry; +reading_repeated*2; 1 2026-01-05T09:30:23.000 " READ_1 "; 2 2026-01-05T09:31:02.000 " READ_2},
      /* two blows with one time stamp: in two reports, in one, and value by value */
      {METER_SESSION(SENT("0002", BLOW_1) SENT("0003", BLOW(T1, "01b9", "e173", "e192", "0000"))),
       "own spirometry; 1 2026-01-05T09:30:23.000 " READ_1 "; 2 2026-01-05T09:30:23.000 " READ_2},
      {METER_SESSION(SENT("0002", BLOW_1 "|" BLOW(T1, "01b9", "e173", "e192", "0000"))),
       "own spirometry; 1 2026-01-05T09:30:23.000 " READ_1 "; 2 2026-01-05T09:30:23.000 " READ_2},
      {METER_SESSION(SENT("0002", VALUE("0001", "01b0", T1) "|" VALUE("0001", "01b9", T1) "|" VALUE(
                                      "0002", "e16b", T1) "|" VALUE("0002", "e173", T1))),
       "own spirometry; 1 2026-01-05T09:30:23.000 pef=432 L/min fev1=3.63 L; 2 2026-01-05T09:30:23.000 pef=441 L/min "
       "fev1=3.71 L"},
      /* one of them with the same peak flow is another blow all the same */
      {METER_SESSION(SENT("0002", BLOW_1) SENT("0003", BLOW(T1, "01b0", "e173", "e192", "0000"))),
       "own spirometry; 1 2026-01-05T09:30:23.000 " READ_1
       "; 2 2026-01-05T09:30:23.000 pef=432 L/min fev1=3.71 L fev6=4.02 L"},
      /* which FEV1 is whose cannot be told */
      {METER_SESSION(
           SENT("0002", VALUE("0001", "01b0", T1) "|" VALUE("0001", "01b9", T1) "|" VALUE("0002", "e16b", T1))),
       "EPROTO: readings with one time stamp that cannot be told apart"},
      /* what the meter says of a blow */
      {METER_SESSION(SENT("0002", BLOW(T1, "01b0", "e16b", "e18f", "1000"))
                         SENT("0003", BLOW(T2, "01b9", "e173", "e192", "6000"))),
       "own spirometry; 1 2026-01-05T09:30:23.000 " READ_1 " +blow_cough*1; 2 2026-01-05T09:31:02.000 " READ_2
       " +blow_slow*1 +blow_short*1"},
      {SESSION(PEF "|" OBJECT("0005", "0004", "092f(00807800)|0a55([0a650004|09900008])"), CLOCK_RIGHT,
               SENT("0002", VALUE("0001", "01b0", T1) "|" VALUE("0004", "20000000", T1))),
       "own spirometry; 1 2026-01-05T09:30:23.000 pef=432 L/min +blow_short*1"},
      {METER_SESSION(SENT("0002", BLOW(T1, "01b0", "e16b", "e18f", "8100"))),
       "own spirometry; 1 2026-01-05T09:30:23.000 post " READ_1 " +blow_rejected*1"},
      /* NaN, NRes, the reserved one: the others stand */
      {METER_SESSION(SENT("0002", BLOW(T1, "07ff", "0800", "0801", "0000")) SENT("0003", BLOW_2)),
       "own spirometry; 1 2026-01-05T09:30:23.000 +value_missing*3; 2 2026-01-05T09:31:02.000 " READ_2},
      {METER_SESSION(SENT("0002", BLOW(T1, "07ff", "0800", "0801", "0000"))), "ENODATA: the capture holds no reading"},
      /* reserved only with exponent 0: 2047, which is no peak flow */
      {METER_SESSION(SENT("0002", BLOW(T1, "17ff", "e16b", "e18f", "0000"))), "ERANGE: pef is outside what can be"},
      {METER_SESSION(SENT("0002", BLOW(T1, "07fe", "e16b", "e18f", "0000"))), "ERANGE: pef is infinite"},
      {METER_SESSION(SENT("0002", BLOW(T1, "01b0", "0802", "e18f", "0000"))), "ERANGE: fev1 is infinite"},
      {METER_SESSION(SENT("0002", BLOW(T1, "0e50", "e16b", "e18f", "0000"))), "ERANGE: pef is outside what can be"},
      /* nothing at all */
      {METER_SESSION(""), "ENODATA: the capture holds no reading"},
      {"@1\n! timeout\n", "ENODATA: nothing that is known was measured"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_decodes(SPIRO, rows[i].script, rows[i].want);
  /* The order's phase counts before the meter's. */
  assert_decodes("120 spirometry pre", METER_SESSION(SENT("0002", BLOW(T1, "01b0", "e16b", "e18f", "8000"))),
                 "own spirometry; 1 2026-01-05T09:30:23.000 pre " READ_1);
}

/* One numeric object and its one value. */
#define ONE(code, unit, value) SESSION(NUMERIC("0001", code, unit), CLOCK_RIGHT, SENT("0002", VALUE("0001", value, T1)))
#define ONE_READ "own spirometry; 1 2026-01-05T09:30:23.000 "

static void test_units(void **state) {
  (void)state;
  static const struct {
    const char *script, *want;
  } rows[] = {
      /* litres, millilitres, centilitres; and what they would be if they were the other */
      {ONE("0002540a", "0640", "e16b"), ONE_READ "fev1=3.63 L"},
      {ONE("0002540a", "0652", "116b"), ONE_READ "fev1=3.63 L"},
      {ONE("0002540a", "0651", "016b"), ONE_READ "fev1=3.63 L"},
      {ONE("0002540a", "0640", "116b"), "ERANGE: fev1 is outside what can be"},
      {ONE("0002540a", "0652", "e16b"), ONE_READ "fev1=0.00363 L!unusually_low"},
      /* a ratio as percent and as a fraction; and each in the other's unit */
      {ONE("0002e214", "0220", "0051"), ONE_READ "fev1_fvc=0.81 1"},
      {ONE("0002e214", "0200", "e051"), ONE_READ "fev1_fvc=0.81 1"},
      {ONE("0002e214", "0200", "0051"), "ERANGE: fev1_fvc is outside what can be"},
      {ONE("0002e214", "0220", "e051"), ONE_READ "fev1_fvc=0.0081 1!unusually_low"},
      /* flows */
      {ONE("00025408", "0be0", "f048"), ONE_READ "pef=7.2 L/s"},
      {ONE("00025408", "0bf1", "02d0"), ONE_READ "pef=7.20 L/s"},
      /* a unit of something else; one that is not listed; none at all */
      {ONE("00025408", "0640", "01b0"), "EPROTO: pef in L"},
      {ONE("00025408", "0c01", "01b0"), "ENODATA: the capture holds no reading"},
      {SESSION(OBJECT("0006", "0001", TYPE("00025408") "|0a55([0a4c0002|09900008])"), CLOCK_RIGHT,
               SENT("0002", VALUE("0001", "01b0", T1))),
       "EPROTO: pef without a unit"},
      /* a code that the nomenclature does not list, one of another partition, an ECG lead as a number */
      {SESSION(PEF "|" NUMERIC("0007", "00025470", "0c00"), CLOCK_RIGHT,
               SENT("0002", VALUE("0001", "01b0", T1) "|" VALUE("0007", "01b0", T1))),
       "own spirometry; +unknown_value*1; 1 2026-01-05T09:30:23.000 pef=432 L/min"},
      {SESSION(PEF "|" NUMERIC("0007", "00805408", "0c00"), CLOCK_RIGHT,
               SENT("0002", VALUE("0001", "01b0", T1) "|" VALUE("0007", "01b0", T1))),
       "own spirometry; +unknown_value*1; 1 2026-01-05T09:30:23.000 pef=432 L/min"},
      {SESSION(PEF "|" NUMERIC("0007", "00020101", "10b2"), CLOCK_RIGHT,
               SENT("0002", VALUE("0001", "01b0", T1) "|" VALUE("0007", "01b0", T1))),
       "own spirometry; +unknown_value*1; 1 2026-01-05T09:30:23.000 pef=432 L/min"},
      /* the personal best is no blow, whenever it was */
      {SESSION(PEF "|" NUMERIC("0005", "00025409", "0c00"), CLOCK_RIGHT,
               SENT("0002", VALUE("0001", "01b0", T1) "|" VALUE("0005", "01e0", "2025030409302300"))
                   SENT("0003", VALUE("0005", "01e0", "2025030409302300"))),
       "own spirometry; 1 2026-01-05T09:30:23.000 pef=432 L/min; \"Meilleur DEP personnel : 480 L/min\""},
      /* an unknown enumeration */
      {SESSION(PEF "|" OBJECT("0005", "0008", "092f(000255d8)|0a55([0a660002|09900008])"), CLOCK_RIGHT,
               SENT("0002", VALUE("0001", "01b0", T1) "|" VALUE("0008", "8000", T1))),
       "own spirometry; +unknown_value*1; 1 2026-01-05T09:30:23.000 pef=432 L/min"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_decodes(SPIRO, rows[i].script, rows[i].want);
}

#define MEASUREMENT "60 measurement"
#define PRESSURE_AS(map, attributes) \
  OBJECT("0006", "0001",             \
         TYPE("00024a04") "|0a73(0303)|0a76([4a05|4a06|4a07])|0996(0f20)|0a55([" map "|09900008])" attributes)
#define PULSE NUMERIC("0002", "0002482a", "0aa0")
#define WEIGHT_AS(map) OBJECT("0006", "0001", TYPE("0002e140") "|0996(06c3)" map)
#define SCALE SPECS("100f0001") CLOCK("2026010509300000")
#define CUFF SPECS("10070001") CLOCK("2026010509300000")

static void test_forms_of_values(void **state) {
  (void)state;
  static const struct {
    const char *script, *want;
  } rows[] = {
      /* a compound of SFLOATs, with the pulse beside it */
      {SESSION(PRESSURE_AS("0a75000a", "") "|" PULSE, CUFF,
               SENT("0002", VALUE("0001", "[0078|0050|005d]", T1) "|" VALUE("0002", "0048", T1))),
       "own measurement; 1 2026-01-05T09:30:23.000 systolic_pressure=120 mm[Hg] diastolic_pressure=80 mm[Hg] "
       "mean_pressure=93 mm[Hg] pulse_rate_cuff=72 /min"},
      /* of FLOATs, in kPa; the mean was not measured */
      {SESSION(OBJECT("0006", "0001", TYPE("00024a04") "|0a76([4a05|4a06|4a07])|0996(0f03)|0a55([0a740010|09900008])"),
               CUFF, SENT("0002", VALUE("0001", "[ff0000a0|ff00006b|007fffff]", T1))),
       "own measurement; 1 2026-01-05T09:30:23.000 systolic_pressure=16.0 kPa diastolic_pressure=10.7 kPa "
       "+value_missing*1"},
      /* not as many values as metrics */
      {SESSION(PRESSURE_AS("0a750008", ""), CUFF, SENT("0002", VALUE("0001", "[0078|0050]", T1))),
       "EPROTO: a value is not in its form"},
      /* values that say themselves what they are: metric, status, unit, FLOAT */
      {SESSION(OBJECT("0006", "0001", TYPE("00024a04")), CUFF,
               "< " EVENT("0002", "0000", "0d1e",
                          "f0000000[0001[094b([4a0500000f2000000078|4a0600000f2000000050])|0990(" T1
                          ")]]") "\n" CONFIRM("0002", "0000", "0d1e")),
       "own measurement; 1 2026-01-05T09:30:23.000 systolic_pressure=120 mm[Hg] diastolic_pressure=80 mm[Hg]"},
      /* the same of one value */
      {SESSION(WEIGHT_AS(""), SCALE,
               "< " EVENT("0002", "0000", "0d1e",
                          "f0000000[0001[0950(e140000006c3ff0002f8)|0990(" T1
                          ")]]") "\n" CONFIRM("0002", "0000", "0d1e")),
       "own measurement; 1 2026-01-05T09:30:23.000 body_weight=76.0 kg"},
      /* with a status that takes it back, and one that does not */
      {SESSION(WEIGHT_AS(""), SCALE,
               "< " EVENT("0002", "0000", "0d1e",
                          "f0000000[0001[0950(e140400006c3ff0002f8)|0990(" T1
                          ")]]") "\n" CONFIRM("0002", "0000", "0d1e")),
       "ENODATA: the capture holds no reading"},
      {SESSION(WEIGHT_AS("|0a55([0a560004|09470002|09900008])"), SCALE,
               SENT("0002", "0001(ff0002f8 0080" T1 ")") SENT("0003", "0001(ff0002f9 0400" T2 ")")),
       "own measurement; 1 2026-01-05T09:30:23.000 body_weight=76.0 kg; 2 2026-01-05T09:31:02.000 +value_missing*1"},
      /* a variable report; its unit counts for the value before it */
      {SESSION(WEIGHT_AS(""), SCALE,
               "< " UNCONFIRMED("0002", "0000", "0d1e", "f0000000[0001[0a56(fe0000a0)|0996(06e0)|0990(" T1 ")]]") "\n"),
       "own measurement; 1 2026-01-05T09:30:23.000 body_weight=1.60 [lb_av]!unusually_low"},
      /* of one person, and of two */
      {SESSION(WEIGHT_AS("|0a55([0a560004|09900008])"), SCALE,
               "< " EVENT("0002", "0000", "0d1f", "f0000000[0007[0001(ff0002f8" T1 ")]]") "\n" CONFIRM("0002", "0000",
                                                                                                       "0d1f")),
       "own measurement; 1 2026-01-05T09:30:23.000 body_weight=76.0 kg"},
      {SESSION(WEIGHT_AS(""), SCALE,
               "< " EVENT("0002", "0000", "0d20",
                          "f0000000[0007[0001[0a56(ff0002f8)|0990(" T1 ")]]|0008[0001[0a56(ff000258)|0990(" T1
                          ")]]]") "\n" CONFIRM("0002", "0000", "0d20")),
       "EPROTO: the instrument sends readings of several people"},
      /* without a time: live; the same again is the same; another is another */
      {SESSION(WEIGHT_AS("|0a55([0a560004])"), SCALE,
               SENT("0002", "0001(ff0002f8)") SENT("0003", "0001(ff0002f8)") SENT("0004", "0001(ff0002f9)")
                   SENT("0005", "0001(ff0002f8)")),
       "own measurement; +reading_repeated*1; 1 - body_weight=76.0 kg; 2 - body_weight=76.1 kg; 3 - body_weight=76.0 "
       "kg"},
      /* a specialisation and objects of another order */
      {SESSION(WEIGHT_AS("|0a55([0a560004])"), "0a44(4000)", SENT("0002", "0001(ff0002f8)")),
       "own measurement; 1 - body_weight=76.0 kg"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_decodes(MEASUREMENT, rows[i].script, rows[i].want);
}

/* Two objects, two scanners: one for reports as they come, one for a group of both. */
#define SCANNERS                                                                               \
  OBJECT("0012", "0037", "0a53([0001[0a4c0002|09900008]|000a[0a4c0002|09900008]])|0953(0000)") \
  "|" OBJECT("0013", "0028", "0a53([0001[0a4c0002]|000a[0a4c0002]])|0953(0000)")
#define OXIMETER NUMERIC("0001", "00024bb8", "0220") "|" NUMERIC("000a", "0002481a", "0aa0") "|" SCANNERS
#define OXIMETRY SPECS("10040001") CLOCK("2026010509300000")
#define START_SCANNER \
  "> " PRST("0002", "0105", "0037 0001 0008 0000 0953(0001)") "\n< " PRST("0002", "0205", "0037[0953(0001)]") "\n"

static void test_scanners(void **state) {
  (void)state;
  static const struct {
    const char *sent, *want;
  } rows[] = {
      {"< " UNCONFIRMED("0001", "0037", "0d24", "f0000009[(f3cf" T1 "f321" T1 ")]") "\n",
       "own measurement; 1 2026-01-05T09:30:23.000 spo2=97.5 % pulse_rate=80.1 /min"},
      {"< " EVENT("0001", "0037", "0d27", "f0000000[0001(f3cf" T1 "f321" T1 ")]") "\n" CONFIRM("0001", "0037", "0d27"),
       "own measurement; 1 2026-01-05T09:30:23.000 spo2=97.5 % pulse_rate=80.1 /min"},
      {"< " UNCONFIRMED("0001", "0028", "0d2a", "f0000000[(00620048)|(00610049)]") "\n",
       "own measurement; 1 - spo2=98 % pulse_rate=72 /min; 2 - spo2=97 % pulse_rate=73 /min"},
      {"< " UNCONFIRMED("0001", "0037", "0d23", "f0000000[0001(0062" T1 ")|000a(0048" T1 ")]") "\n",
       "own measurement; 1 2026-01-05T09:30:23.000 spo2=98 % pulse_rate=72 /min"},
      {"< " UNCONFIRMED("0001", "0037", "0d24", "f0000009[(f3cf" T1 "f321)]") "\n",
       "EPROTO: an observation is shorter than its value map"},
      {"< " UNCONFIRMED("0001", "0037", "0d24", "f0000009[(f3cf" T1 "f321" T1 "00)]") "\n",
       "EPROTO: an observation is longer than the scanner's map"},
      {"< " UNCONFIRMED("0001", "0001", "0d24", "f0000009[(f3cf" T1 "f321" T1 ")]") "\n",
       "EPROTO: a report by an object that is no scanner"},
      {"< " UNCONFIRMED("0001", "0000", "0d24", "f0000009[(f3cf" T1 "f321" T1 ")]") "\n",
       "EPROTO: a grouped report without a scanner's map"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char script[16384];
    snprintf(script, sizeof script, "%s%s%s%s", PREPARED(OXIMETER, OXIMETRY), START_SCANNER "@30000\n", rows[i].sent,
             LET_GO);
    assert_decodes(MEASUREMENT, script, rows[i].want);
  }
}

/* ---- decoding: clocks ----------------------------------------------------------------------------------------------
 */

#define COUNTED OBJECT("0006", "0001", TYPE("00025408") "|0996(0c00)|0a55([0a4c0002|09910004])")

static void test_clocks(void **state) {
  (void)state;
  static const struct {
    const char *script, *want;
  } rows[] = {
      /* the clock is in 2013, says so when it is asked at 40 ms, and so do the readings */
      {SESSION(PEF, PEAK_FLOW CLOCK("2013030200010000"), SENT("0002", VALUE("0001", "01b0", "2013030200012300"))),
       "own spirometry; +device_clock_wrong*1; 1 2013-03-02T00:01:23.000 pef=432 L/min"},
      /* the same without saying so: not of now, as far as anybody knows */
      {SESSION(PEF, PEAK_FLOW, SENT("0002", VALUE("0001", "01b0", "2013030200012300"))),
       "stray spirometry; 1 2013-03-02T00:01:23.000 pef=432 L/min"},
      /* a reading of yesterday beside one of now */
      {SESSION(PEF, CLOCK_RIGHT,
               SENT("0002", VALUE("0001", "0190", "2026010409302300")) SENT("0003", VALUE("0001", "01b0", T1))),
       "own spirometry; +readings_stray*1; 2 2026-01-05T09:30:23.000 pef=432 L/min // stray spirometry; 1 "
       "2026-01-04T09:30:23.000 pef=400 L/min"},
      /* two minutes are let pass */
      {SESSION(PEF, PEAK_FLOW CLOCK("2026010509320000"), SENT("0002", VALUE("0001", "01b0", "2026010509322000"))),
       "own spirometry; 1 2026-01-05T09:32:20.000 pef=432 L/min"},
      {SESSION(PEF, PEAK_FLOW CLOCK("2026010509320100"), SENT("0002", VALUE("0001", "01b0", "2026010509322000"))),
       "own spirometry; +device_clock_wrong*1; 1 2026-01-05T09:32:20.000 pef=432 L/min"},
      /* a clock that was never set; a reading whose time is none */
      {SESSION(PEF, PEAK_FLOW CLOCK("0000000000000000"), SENT("0002", VALUE("0001", "01b0", T1))),
       "own spirometry; 1 2026-01-05T09:30:23.000 pef=432 L/min +reading_time_unverified*1"},
      {METER_SESSION(SENT("0002", VALUE("0001", "01b0", "0000000000000000"))), "ERANGE: a time stamp that is no time"},
      {METER_SESSION(SENT("0002", VALUE("0001", "01b0", "20260105093a2300"))), "ERANGE: a time stamp that is no time"},
      {METER_SESSION(SENT("0002", VALUE("0001", "01b0", "2026022909302300"))), "ERANGE: a time stamp that is no time"},
      /* base offset time: 3 976 590 623 s after 1900 is 08:30:23 UTC; an hour ahead */
      {SESSION(OBJECT("0006", "0001", TYPE("00025408") "|0996(0c00)|0a55([0a4c0002|0a820008])"),
               PEAK_FLOW "|0a81(ed05f508 0000 003c)", SENT("0002", VALUE("0001", "01b0", "ed05f51f 8000 003c"))),
       "own spirometry; 1 2026-01-05T09:30:23.500 pef=432 L/min"},
      /* a counter, eight thousand a second: the report is of 1234h, the reading 10 s before */
      {SESSION(COUNTED, PEAK_FLOW, "@60000\n" SENT("0002", "0001(01b0 fffed9b4)")),
       "own spirometry; 1 2026-01-05T09:30:50.000 pef=432 L/min"},
      /* the same, a day before */
      {SESSION(COUNTED, PEAK_FLOW, "@60000\n" SENT("0002", "0001(01b0 d6cd3234)")),
       "stray spirometry; 1 2026-01-04T09:31:00.000 pef=432 L/min"},
      /* the report does not say when it is: then the counter does that was told at 40 ms */
      {SESSION(COUNTED, PEAK_FLOW "|098f(00010000)",
               "@60000\n< " PRST(
                   "0002", "0101",
                   "0000ffffffff0d1d(" REPORT("0000", "0001(01b0 00023880)") ")") "\n" CONFIRM("0002", "0000", "0d1d")),
       "own spirometry; 1 2026-01-05T09:30:10.040 pef=432 L/min"},
      {SESSION(COUNTED, PEAK_FLOW,
               "< " PRST("0002", "0101", "0000ffffffff0d1d(" REPORT("0000", "0001(01b0 00023880)") ")") "\n" CONFIRM(
                   "0002", "0000", "0d1d")),
       "EPROTO: a relative time stamp, and nothing to count from"},
      {SESSION(OBJECT("0006", "0001", TYPE("00025408") "|0996(0c00)|0a55([0a4c0002|09e90008])"), PEAK_FLOW,
               SENT("0002", "0001(01b0 0000000000000000)")),
       "EPROTO: a time stamp of a kind that is not read"},
      {SESSION(OBJECT("0006", "0001", TYPE("00025408") "|0996(0c00)|0a55([0a4c0002|09910004|09900008])"), PEAK_FLOW,
               SENT("0002", "0001(01b0 00000000" T1 ")")),
       "EPROTO: an observation with two time stamps"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_decodes(SPIRO, rows[i].script, rows[i].want);
  /* What a wrong clock showed, and when that was. */
  struct acq_capture capture = capture_of(SPIRO, rows[0].script, CAPTURE_LINE_BYTES, "ok");
  struct reading r = read_capture(&capture);
  const json_t *trial = json_array_get(json_object_get(json_object_get(r.own, "acquired"), "trials"), 0);
  assert_string_equal(json_text(trial, "time"), "2026-01-05T09:30:23.040000+01:00");
  reading_finish(&r);
  capture_finish(&capture);
}

/* ---- what an instrument may get wrong: live and decoded -------------------------------------------------------------
 */

/* The same script both ways: live it ends the acquisition with an abort, decoded it is refused, for the same reason. */
static void assert_broken(const char *objects, const char *sent, int err, const char *reason) {
  char script[32768], want[512];
  snprintf(script, sizeof script,
           USB ASSOCIATE "< " EVENT("0001", "0000", "0d1c", "4000[%s]") "\n> " PRST(
               "0001", "0201", "0000000000000d1c(40000000)") "\n" GET("0001", "0000") MDS("0001", PEAK_FLOW) ACQUIRE
           "< %s\n> " ABRT "\n" RELEASE,
           objects, sent);
  snprintf(want, sizeof want, "%s: %s", strerrorname_np(-err), reason);
  assert_plays(SPIRO, script, 0, err, reason);
  assert_decodes(SPIRO, script, want);
}

static void test_broken_reports(void **state) {
  (void)state;
  static const struct {
    const char *sent, *reason;
  } rows[] = {
      /* counts larger than what is left */
      {EVENT("0002", "0000", "0d1d", "f0000000 ffff 000e 0001(01b0" T1 ")"), "a report counts more than it holds"},
      {EVENT("0002", "0000", "0d1d", "f0000000 0001 ffff 0001(01b0" T1 ")"), "a report counts more than it holds"},
      {EVENT("0002", "0000", "0d1d", "f0000000 0002 000e 0001(01b0" T1 ")"), "a report is not in its form"},
      {EVENT("0002", "0000", "0d1d", "f0000000 0000 000e 0001(01b0" T1 ")"), "a report is not in its form"},
      {EVENT("0002", "0000", "0d1d", "f0000000 0001 000e 0001 000b 01b0" T1), "a report is not in its form"},
      {EVENT("0002", "0000", "0d1d", REPORT("0000", "0001(01b0" T1 ")") "00"), "a report is not in its form"},
      {EVENT("0002", "0000", "0d1f", "f0000000 0010 0004 00070000"), "a report counts more than it holds"},
      {EVENT("0002", "0000", "0d1f", "f0000000[0007 0001 0040 0001]"), "a report counts more than it holds"},
      {EVENT("0002", "0000", "0d1e", "f0000000[0001 0004 0006 0a4c(01b0)]"), "an observation is not in its form"},
      {EVENT("0002", "0000", "0d1e", "f0000000[0001[0a4c(01)]]"), "a value is not in its form"},
      {EVENT("0002", "0000", "0d1e", "f0000000[0001[0990(2026)]]"), "a time stamp is not in its form"},
      {EVENT("0002", "0000", "0d1e", "f0000000[0001[0a4c(01b0)|0a56(00000001)]]"), "an observation with two values"},
      {EVENT("0002", "0000", "0d1e", "f0000000[0001[0a66(010203)]]"), "an observed attribute is not in its form"},
      /* observations that do not fit their map */
      {EVENT("0002", "0000", "0d1d", REPORT("0000", "0001(01b0)")), "an observation is shorter than its value map"},
      {EVENT("0002", "0000", "0d1d", REPORT("0000", "0001(01b0" T1 "00)")),
       "an observation is longer than its value map"},
      {EVENT("0002", "0000", "0d1d", REPORT("0000", "0009(01b0" T1 ")")),
       "a report of an object that the configuration does not have"},
      {EVENT("0002", "0000", "0d1d", REPORT("0000", "0002(01b0)")), "a fixed report of an object without a value map"},
      /* lengths that contradict each other */
      {"e700((0002 0101 0004 0000))", "the lengths inside a PRST contradict each other"},
      {"e700(0004 00020101 00)", "the lengths inside a PRST contradict each other"},
      {PRST("0002", "0101", "0000000012340d1d 0008 0000"), "an event report is not in its form"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_broken(PEF "|" OBJECT("0006", "0002", TYPE("0002540a")), rows[i].sent, -EPROTO, rows[i].reason);
}

static void test_broken_configurations(void **state) {
  (void)state;
  static const struct {
    const char *info, *reason;
  } rows[] = {
      {"2710 0000", "the configuration has more objects than can be kept"},
      {"2710 0008 0006000100000000", "the configuration has more objects than can be kept"},
      {"0041 0000", "the configuration has more objects than can be kept"},
      {"0002 0008 0006000100000000", "an object of the configuration is not in its form"},
      {"0000 0008 0006000100000000", "the configuration is not in its form"},
      {"0001 0008 00060001ffff0000", "an object of the configuration is not in its form"},
      {"[" PEF "|" PEF "]", "two objects of the configuration have one handle"},
      {"[" NUMERIC("0000", "00025408", "0c00") "]", "two objects of the configuration have one handle"},
      {"[" OBJECT("0006", "0001", "092f(0002)") "]", "an attribute of an object is not in its form"},
      {"[0006 0001 0002 0008 092f(00025408)]", "the attributes of an object are not in their form"},
      /* value maps: an attribute twice, with a length that cannot be, counting more than there is */
      {"[" OBJECT("0006", "0001", "0a55([0a4c0002|0a4c0002])") "]", "a value map names an attribute twice"},
      {"[" OBJECT("0006", "0001", "0a55([0a4c0004])") "]",
       "a value map gives an attribute a length that it cannot have"},
      {"[" OBJECT("0006", "0001", "0a55([09900007])") "]",
       "a value map gives an attribute a length that it cannot have"},
      {"[" OBJECT("0006", "0001", "0a55(0003 0008 0a4c000209900008)") "]", "a value map is not in its form"},
      {"[" OBJECT("0006", "0001", "0a55(0002 0010 0a4c000209900008)") "]", "a value map is not in its form"},
      {"[" OBJECT("0012", "0001", "0a53([0001[0a4c0002]|0001[0a4c0002]])") "]",
       "a scanner's map names an object twice"},
      {"[" OBJECT("0012", "0001", "0a53([0001 0001 0040 0a4c0002])") "]", "a value map is not in its form"},
      {"[" OBJECT("0006", "0001",
                  "0a76(0011 0022 0000000000000000000000000000000000000000000000000000000000000000"
                  "0000)") "]",
       "more values in a compound than can be kept"},
      {"[" OBJECT("0009", "0001", "096d(0004 0c 0c 0000)") "]", "samples of neither 8, 16 nor 32 bits"},
      {"[" OBJECT("0009", "0001", "096d(0004 10 11 0000)") "]", "samples have more significant bits than bits"},
      {"[" OBJECT("0009", "0001", "096d(0000 10 10 0000)") "]", "sample arrays without a sample"},
      {"[" OBJECT("0009", "0001", "096f(007fffff 0000000a 0000 0fa0)") "]", "a scale has an end that is no number"},
      {"[" OBJECT("0009", "0001", "096f(00fffff6 0000000a 0000)") "]", "a scale is not in its form"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char script[16384], want[512];
    snprintf(script, sizeof script,
             USB ASSOCIATE "< " EVENT("0001", "0000", "0d1c",
                                      "4000 %s") "\n> " PRST("0001", "0201", "0000000000000d1c(40000001)") "\n" LET_GO,
             rows[i].info);
    snprintf(want, sizeof want, "EPROTO: %s", rows[i].reason);
    assert_plays(SPIRO, script, -EPROTO, 0, rows[i].reason);
    assert_decodes(SPIRO, script, want);
  }
}

static void test_largest_configuration(void **state) {
  (void)state;
  struct buf text = BUF_INIT(1 << 20);
  buf_text(&text, USB ASSOCIATE "< e700((0001 0101(0000 ffffffff 0d1c(4000[");
  for (unsigned i = 1; i <= PHD_OBJECTS_MAX; i++)
    buf_format(&text, "%s0006%04x[" TYPE("00025408") "|0996(0c00)|0a55([0a4c0002|09900008])]", i > 1 ? "|" : "", i);
  buf_format(&text,
             "]))))\n> " PRST("0001", "0201", "0000000000000d1c(40000000)") "\n" GET("0001", "0000")
                 MDS("0001", PEAK_FLOW) ACQUIRE
             "< " EVENT("0002", "0000", "0d1d", REPORT("0000", "%04x(01b0" T1 ")")) "\n" CONFIRM("0002", "0000", "0d1d")
                 GONE "%c",
             PHD_OBJECTS_MAX, 0);
  assert_false(text.err);
  assert_plays(SPIRO, (const char *)text.data, 0, 0, "");
  assert_decodes(SPIRO, (const char *)text.data,
                 "own spirometry; 1 2026-01-05T09:30:23.000 pef=432 L/min +reading_time_unverified*1");
  buf_finish(&text);
}

/* ---- pieces --------------------------------------------------------------------------------------------------------
 */

static void test_pieces(void **state) {
  (void)state;
  static const char script[] = PREPARED(METER, CLOCK_RIGHT) "@60000\n" SENT("0002", BLOW_1) GONE;
  static const char want[] = "own spirometry; 1 2026-01-05T09:30:23.000 " READ_1;
  for (size_t pieces = 1; pieces < 250; pieces++) {
    struct acq_capture capture = capture_of(SPIRO, script, pieces, "ok");
    /* The answers to control transfers are one piece each, whatever their length. */
    if (pieces >= 50) {
      struct reading r = read_capture(&capture);
      assert_string_equal(r.text, want);
      reading_finish(&r);
    }
    capture_finish(&capture);
    capture = capture_of(SPIRO, script, CAPTURE_LINE_BYTES, NULL);
    struct played p = play_capture(&capture, pieces);
    assert_string_equal(p.departed, "");
    assert_int_equal(p.identified, 0);
    assert_int_equal(p.acquired, 0);
    capture_finish(&capture);
  }
  /* Bare bytes in one piece: all that the agent sent, and nothing else. */
  uint8_t bytes[4096];
  size_t n = mder(AARQ, bytes, sizeof bytes);
  n += mder(EVENT("0001", "0000", "0d1c", "4000[" METER "]"), bytes + n, sizeof bytes - n);
  n += mder(EVENT("0002", "0000", "0d1d", REPORT("0000", BLOW_1)), bytes + n, sizeof bytes - n);
  struct acq_capture capture;
  assert_int_equal(capture_from_raw(bytes, n, &capture), 0);
  struct reading r = read_capture(&capture);
  assert_string_equal(r.text, want);
  reading_finish(&r);
  capture_finish(&capture);
}

/* Several APDUs in one transfer: the answer to the question, a report, and the end. */
static void test_merged(void **state) {
  (void)state;
  static const char script[] = USB "< " AARQ "\n> " AARE_OF("0003", "80000000") "\n" CONFIGURE(METER)
      GET("0001", "0000") "@60000\n< " PRST("0001", "0203", "0000[" CLOCK_RIGHT "]")
          EVENT("0002", "0000", "0d1d", REPORT("0000", BLOW_1)) RLRQ
      "\n" ACQUIRE CONFIRM("0002", "0000", "0d1d") "> " RLRE "\n" RELEASE;
  assert_plays(SPIRO, script, 0, 0, "");
  assert_decodes(SPIRO, script, "own spirometry; 1 2026-01-05T09:30:23.000 " READ_1);
}

/* ---- the conversation ----------------------------------------------------------------------------------------------
 */

#define SIX(line) line line line line line line
#define NINE(line) SIX(line) line line line
#define TEN(line) NINE(line) line
#define SILENCE "! timeout\n"

static void test_identity(void **state) {
  (void)state;
  static const struct {
    const char *attributes;
    struct acq_identity want;
  } rows[] = {
      {MODEL "|092d([0001 0001 (50462d303031373200)|0005 0000 (312e3034)|0004 0000 (322e30)|0001 0002 (5431)])",
       {"Exempl", "Peak", "PF-00172", "1.04", "T1"}},
      {"092d([0004 0000 (322e30)])|0984((0011223344556677))", {"", "", "0011223344556677", "2.0", ""}},
      {"0a44(4000)", {"", "", "0011223344556677", "", ""}}, /* as the association has it */
      {"0928((41c3a90a42)())", {"A???B", "", "0011223344556677", "", ""}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char script[8192];
    snprintf(script, sizeof script,
             USB ASSOCIATE CONFIGURE(METER) GET("0001", "0000") "< " PRST(
                 "0001", "0203", "0000[" PEAK_FLOW "|%s]") "\n" ACQUIRE SENT("0002", BLOW_1) GONE,
             rows[i].attributes);
    struct played p = play(SPIRO, script);
    assert_int_equal(p.identified, 0);
    assert_int_equal(p.acquired, 0);
    assert_string_equal(p.identity.make, rows[i].want.make);
    assert_string_equal(p.identity.model, rows[i].want.model);
    assert_string_equal(p.identity.serial, rows[i].want.serial);
    assert_string_equal(p.identity.firmware, rows[i].want.firmware);
    assert_string_equal(p.identity.sensor, rows[i].want.sensor);
  }
}

#define GET_HEAD "> 8006000200000900\n"
#define USB_OF(length, function)                                                 \
  GET_HEAD "< 0902" length "01010080fa\n> 800600020000" length "\n< 0902" length \
           "01010080fa" FUNCTION function ENDPOINTS "\n"
#define MEET                                                                                                          \
  ASSOCIATE CONFIGURE(PEF) GET("0001", "0000") MDS("0001", PEAK_FLOW) ACQUIRE SENT("0002", VALUE("0001", "01b0", T1)) \
      GONE

static void test_usb(void **state) {
  (void)state;
  static const struct {
    const char *script;
    int identified;
    const char *reason;
  } rows[] = {
      /* the preamble is cleared where there can be one; a stall is let be */
      {USB_OF("3200", "04200201"
                      "063000011510") "> 2101010000000000\n" MEET,
       0, ""},
      {USB_OF("3200", "04200201"
                      "063000011510") "> 2101010000000000\n! stalled\n" MEET,
       0, ""},
      {USB_OF("3200", "04200100"
                      "063000011510"),
       -ENXIO, "the interface speaks a language of its own, not ISO/IEEE 11073-20601"},
      {USB_OF("2e00", "063000011510"), -ENXIO, "the interface does not say what its data are"},
      {GET_HEAD "! stalled\n" RELEASE, -EPROTO, "the device does not give its configuration descriptor"},
      {GET_HEAD "< 0902320001\n" RELEASE, -EPROTO, "the device does not give its configuration descriptor"},
      {GET_HEAD "< 0902010800010100fa\n" RELEASE, -EPROTO, "a configuration descriptor of 2049 bytes"},
      {GET_HEAD "< 0902080001010080fa\n" RELEASE, -EPROTO, "a configuration descriptor of 8 bytes"},
      {GET_HEAD "< " CONFIGURATION_HEAD "\n> 8006000200003200\n< " CONFIGURATION_HEAD "\n" RELEASE, -EPROTO,
       "the device does not give its configuration descriptor"},
      {GET_HEAD "< 0902120001010080fa\n> 8006000200001200\n< 0902120001010080fa"
                "090400000008065000"
                "\n",
       -ENXIO, "the device has no interface of personal healthcare"},
      {GET_HEAD "< 0902120001010080fa\n> 8006000200001200\n< 0902120001010080fa"
                "0a040000000f000000"
                "\n" RELEASE,
       -EPROTO, "the descriptors of the device do not fit into each other"},
      {GET_HEAD "< 0902120001010080fa\n> 8006000200001200\n< 0902120001010080fa"
                "000400000000000000"
                "\n" RELEASE,
       -EPROTO, "the descriptors of the device do not fit into each other"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_plays(SPIRO, rows[i].script, rows[i].identified, 0, rows[i].reason);
}

static void test_function_descriptors(void **state) {
  (void)state;
  static const char text[] =
      /* another interface before ours, an alternate setting and a second function after it */
      "09025800 03010080fa"
      "090400000108065000"
      "0705810240000004200100"
      "09040300020f000000"
      "04200201"
      "0a30000315100610 0b10"
      "07058203080001"
      "0705830240000004210108"
      "0705040240000004210108"
      "07058502400000"
      "09040301000f000000"
      "04200100"
      "09040400000f000000"
      "04200100";
  uint8_t bytes[4096];
  struct phdc_function f;
  const char *why;
  size_t n = mder(text, bytes, sizeof bytes);
  assert_int_equal(phdc_function_read(acq_cur(bytes, n), &f, &why), 0);
  assert_int_equal(f.interface, 3);
  assert_int_equal(f.data_code, 2);
  assert_true(f.preamble);
  assert_int_equal(f.in, 0x83);
  assert_int_equal(f.out, 0x04);
  assert_int_equal(f.others, 1 << 5);
  assert_int_equal(f.n_specs, 3);
  assert_int_equal(f.specs[0], 0x1015);
  assert_int_equal(f.specs[2], 0x100b);
  for (size_t cut = 0; cut < n; cut++) { /* cut anywhere: an error, or what was whole by then */
    int r = phdc_function_read(acq_cur(bytes, cut), &f, &why);
    assert_true(r == 0 || ((r == -EPROTO || r == -ENXIO) && *why));
  }
}

/* Every association that is refused is refused with its own number. */
static void test_refused_associations(void **state) {
  (void)state;
  static const struct {
    const char *aarq, *result, *reason;
  } rows[] = {
      {AARQ_OF("40000000", "5079", "80000000", "8000", "80000000", "00000000", "00800000"), "0008",
       "the association is refused (unsupported-assoc-version): another version of the association"},
      {AARQ_OF("80000000", "ffff", "80000000", "8000", "80000000", "00000000", "00800000"), "0004",
       "the association is refused (no-common-protocol): it does not speak 20601"},
      {AARQ_OF("80000000", "5079", "00000001", "8000", "80000000", "00000000", "00800000"), "0005",
       "the association is refused (no-common-parameter): no version of the protocol that we know"},
      {AARQ_OF("80000000", "5079", "80000000", "6000", "80000000", "00000000", "00800000"), "0005",
       "the association is refused (no-common-parameter): its encoding is not MDER"},
      {AARQ_OF("80000000", "5079", "80000000", "8000", "80000000", "00000000", "80000000"), "0001",
       "the association is refused (rejected-permanent): it is not an agent"},
      {AARQ_OF("80000000", "5079", "80000000", "8000", "80000000", "20000000", "00800000"), "0001",
       "the association is refused (rejected-permanent): it asks for a test association"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char script[4096];
    snprintf(script, sizeof script, USB "< %s\n> " AARE_OF("%s", "80000000") "\n", rows[i].aarq, rows[i].result);
    assert_plays(SPIRO, script, -ENXIO, 0, rows[i].reason);
  }
  assert_plays(SPIRO, USB "< e200(80000000)\n> " ABRT "\n" RELEASE, -EPROTO, 0,
               "the association request is not in its form");
}

#define STATUS_OF(bytes) "> a100000000000200\n< " bytes "\n"
#define MET GET("0001", "0000") MDS("0001", PEAK_FLOW)
#define ABORT "> " ABRT "\n"

static void test_associating(void **state) {
  (void)state;
  static const struct {
    const char *script;
    int identified;
    const char *reason;
  } rows[] = {
      /* silence; an abort wakes it up, or does not */
      {USB SILENCE ABORT MEET, 0, ""},
      {USB SILENCE ABORT SILENCE STATUS_OF("0000") RELEASE, -ETIMEDOUT,
       "the instrument does not ask for an association"},
      {USB SILENCE ABORT SILENCE "> a100000000000200\n! stalled\n" RELEASE, -ETIMEDOUT,
       "the instrument does not ask for an association"},
      {USB_OF("3900", "04200200"
                      "063000011510"
                      "07058302400000") SILENCE ABORT SILENCE STATUS_OF("0200") RELEASE,
       -EPROTO, "the instrument sends on an endpoint that is not its first one"},
      /* left-overs of an earlier association: 2.12 to 2.19 */
      {USB "< " EVENT("0009", "0000", "0d1d", REPORT("0000", VALUE("0001", "01b0", T1))) "\n" ABORT MEET, 0, ""},
      {USB "< " AARE_OF("0000", "80000000") "\n" ABORT MEET, 0, ""},
      {USB "< " RLRQ "\n" ABORT MEET, 0, ""},
      {USB "< " RLRE "\n< " ABRT "\n" MEET, 0, ""},
      {USB "< " RLRQ "\n" ABORT SIX("< " RLRQ "\n") MEET, 0, ""},
      {USB "< " RLRQ "\n" ABORT NINE(SIX("< " RLRQ "\n")) TEN("< " RLRQ "\n") "< " RLRQ "\n" RELEASE, -EPROTO,
       "the instrument keeps speaking out of turn"},
      /* configuring: 6.8 to 6.26 */
      {USB ASSOCIATE SILENCE "> e600(0003)\n" RELEASE, -ETIMEDOUT, "the instrument does not send its configuration"},
      {USB ASSOCIATE "< " AARQ "\n" ABORT MEET, 0, ""},
      {USB ASSOCIATE "< " RLRE "\n" ABORT MEET, 0, ""},
      {USB ASSOCIATE "< " RLRQ "\n> " RLRE "\n" MEET, 0, ""},
      {USB ASSOCIATE "< " ABRT "\n" MEET, 0, ""},
      {USB ASSOCIATE "< " EVENT("0001", "0000", "0d1d", REPORT("0000", VALUE("0001", "01b0", T1))) "\n" ABORT RELEASE,
       -EPROTO, "a report before the configuration"},
      {USB ASSOCIATE "< " UNCONFIRMED("0001", "0000", "0d1c", "4000[" PEF "]") "\n" ABORT RELEASE, -EPROTO,
       "a report before the configuration"},
      /* operating, before it has said who it is: 8.8 to 8.26 */
      {USB ASSOCIATE CONFIGURE(PEF) GET("0001", "0000") "< " AARQ "\n" ABORT ASSOCIATE CONFIGURE(PEF)
           GET("0002", "0000") MDS("0002", PEAK_FLOW) ACQUIRE SENT("0002", VALUE("0001", "01b0", T1)) GONE,
       0, ""},
      {USB ASSOCIATE CONFIGURE(PEF) GET("0001", "0000") "< " RLRQ "\n> " RLRE "\n" ASSOCIATE CONFIGURE(PEF)
           GET("0002", "0000") MDS("0002", PEAK_FLOW) ACQUIRE SENT("0002", VALUE("0001", "01b0", T1)) GONE,
       0, ""},
      {USB ASSOCIATE CONFIGURE(PEF) GET("0001", "0000") SILENCE "> e600(0002)\n" RELEASE, -ETIMEDOUT,
       "no answer to the question for the device's attributes"},
      {USB ASSOCIATE CONFIGURE(PEF) GET("0001", "0000") MDS("0007", PEAK_FLOW) ABORT RELEASE, -EPROTO,
       "an answer to a question that was not asked (another invoke id)"},
      {USB ASSOCIATE CONFIGURE(PEF)
           GET("0001", "0000") "< " PRST("0001", "0205", "0037[0953(0001)]") "\n" ABORT RELEASE,
       -EPROTO, "an answer of another kind than the question"},
      {USB ASSOCIATE CONFIGURE(PEF)
           GET("0001", "0000") "< " PRST("0001", "0203", "0000[0a5a([1015])]") "\n" ABORT RELEASE,
       -EPROTO, "the answer to the question for the device's attributes is not in its form"},
      {USB ASSOCIATE CONFIGURE(PEF) GET("0001", "0000") "< " PRST("0001", "0103", "0000 0000 0000") "\n" ABORT RELEASE,
       -EPROTO, "the instrument asks what only a manager asks"},
      /* it does not say who it is: then it is who it associated as */
      {USB ASSOCIATE CONFIGURE(PEF) GET("0001", "0000") "< " PRST("0001", "0300", "0001()") "\n" ACQUIRE SENT(
           "0002", VALUE("0001", "01b0", T1)) GONE,
       0, ""},
      /* again and again */
      {USB SIX(ASSOCIATE "< " ABRT "\n") "< " AARQ "\n" ABORT RELEASE, -EPROTO,
       "the instrument associates again and again"},
      {USB SIX(ASSOCIATE "< " ABRT "\n"), -ENODEV, "the capture ends here"},
      /* no agent at all */
      {USB "< 1301000000\n", -ENXIO, "what answers is no agent of ISO/IEEE 11073-20601"},
      {USB "< 5068646351 6f53\n" RELEASE, -EPROTO,
       "the instrument puts metadata before its transfers, which nobody asked for"},
      {USB ASSOCIATE "< e800 0000\n" ABORT RELEASE, -EPROTO, "bytes that begin no APDU"},
      {USB "< e200 0032 8000\n" SILENCE RELEASE, -ETIMEDOUT, "an APDU stopped in its middle"},
      {USB ASSOCIATE "< e700 0032 8000\n" SILENCE ABORT RELEASE, -ETIMEDOUT, "an APDU stopped in its middle"},
      {USB "< e2\n" SILENCE RELEASE, -ETIMEDOUT, "an APDU stopped in its middle"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_plays(SPIRO, rows[i].script, rows[i].identified, 0, rows[i].reason);
}

/* ---- acquiring
 * -------------------------------------------------------------------------------------------------------- */

static void test_acquiring(void **state) {
  (void)state;
  static const struct {
    const char *order, *script;
    int acquired;
    const char *reason;
  } rows[] = {
      /* the agent ends it, in one way or the other; or it falls quiet */
      {SPIRO, PREPARED(METER, CLOCK_RIGHT) "@30000\n" SENT("0002", BLOW_1) GONE, 0, ""},
      {SPIRO, PREPARED(METER, CLOCK_RIGHT) "@30000\n" SENT("0002", BLOW_1) "< " ABRT "\n" RELEASE, 0, ""},
      {MEASUREMENT,
       PREPARED(PULSE, CUFF) SILENCE "@30000\n" SENT("0002", VALUE("0002", "0048", T1)) TEN(SILENCE) LET_GO, 0, ""},
      /* a spirometer has a minute for the next blow */
      {SPIRO, PREPARED(METER, CLOCK_RIGHT) "@30000\n" SENT("0002", BLOW_1) SIX(SILENCE) LET_GO, 0, ""},
      /* a second reading begins the quiet anew */
      {MEASUREMENT,
       PREPARED(PULSE, CUFF) "@30000\n" SENT("0002", VALUE("0002", "0048", T1)) NINE(SILENCE)
           SENT("0003", VALUE("0002", "0049", T2)) TEN(SILENCE) LET_GO,
       0, ""},
      /* unconfirmed reports are not answered; an unknown event is, with an error */
      {SPIRO,
       PREPARED(METER, CLOCK_RIGHT) "@30000\n< " UNCONFIRMED("0002", "0000", "0d1d", REPORT("0000", BLOW_1)) "\n" GONE,
       0, ""},
      {SPIRO,
       PREPARED(METER, CLOCK_RIGHT) "< " EVENT("0002", "0000", "0dff", "") "\n> " PRST(
           "0002", "0300", "0009()") "\n< " UNCONFIRMED("0003", "0000", "0dff", "") "\n@30000\n" SENT("0004", BLOW_1)
           GONE,
       0, ""},
      /* it came while the instrument was asked who it is */
      {SPIRO,
       USB ASSOCIATE CONFIGURE(METER) GET("0001", "0000") "@30000\n" SENT("0002", BLOW_1) MDS("0001", CLOCK_RIGHT)
           ACQUIRE GONE,
       0, ""},
      {SPIRO,
       USB ASSOCIATE CONFIGURE(METER) GET("0001", "0000") "@30000\n" SENT("0002", BLOW_1) "< " RLRQ "\n> " RLRE
                                                                                          "\n" ACQUIRE RELEASE,
       0, ""},
      /* another association before there is a reading */
      {SPIRO,
       PREPARED(METER, CLOCK_RIGHT) "< " RLRQ "\n> " RLRE
                                    "\n" SILENCE ASSOCIATE CONFIGURE(METER) "@30000\n" SENT("0002", BLOW_1) GONE,
       0, ""},
      {SPIRO, PREPARED(METER, CLOCK_RIGHT) "< " ABRT "\n" ASSOCIATE SILENCE "> e600(0003)\n" RELEASE, -ETIMEDOUT,
       "the instrument does not send its configuration"},
      /* none in time; only one of yesterday */
      {SPIRO, PREPARED(METER, CLOCK_RIGHT) SILENCE "@120040\n" SILENCE LET_GO, -ENODATA, "no reading came in 120 s"},
      {SPIRO,
       PREPARED(METER, CLOCK_RIGHT) SENT("0002", VALUE("0001", "01b0", "2026010409302300")) "@120040\n" SILENCE LET_GO,
       -ENODATA, "no reading came in 120 s"},
      {SPIRO,
       PREPARED(METER, CLOCK_RIGHT) SENT("0002", BLOW(T1, "07ff", "07ff", "07ff", "0000")) "@120040\n" SILENCE LET_GO,
       -ENODATA, "no reading came in 120 s"},
      /* a value beyond the instrument's range is confirmed, and then refused */
      {SPIRO, PREPARED(METER, CLOCK_RIGHT) "@30000\n" SENT("0002", BLOW(T1, "07fe", "e16b", "e18f", "0000")) LET_GO,
       -ERANGE, "pef is infinite"},
      /* a reading of the device's 2013 is one of now, when its clock says so */
      {SPIRO,
       PREPARED(METER, PEAK_FLOW CLOCK("2013030200010000")) "@30000\n" SENT(
           "0002", VALUE("0001", "01b0", "2013030200012300")) GONE,
       0, ""},
      /* what is not what was ordered */
      {"60 ecg", PREPARED(METER, CLOCK_RIGHT) LET_GO, -ENXIO, "the order is for ecg, the instrument does: spirometry"},
      {MEASUREMENT, PREPARED(METER, "0a44(4000)") LET_GO, -ENXIO,
       "the order is for measurement, the instrument does: spirometry"},
      {SPIRO, PREPARED(PULSE, "0a44(4000)") LET_GO, -ENXIO,
       "the order is for spirometry, the instrument does: measurement"},
      {SPIRO, PREPARED(METER, SPECS("10060001|10070001")) LET_GO, -ENXIO,
       "the order is for spirometry, the instrument does: ecg measurement"},
      {SPIRO, PREPARED(NUMERIC("0001", "0002ffff", "0c00"), SPECS("20000001")) LET_GO, -ENXIO,
       "the order is for spirometry, the instrument does: nothing that is known"},
      /* a counter's time: of now, and of a day ago */
      {SPIRO, PREPARED(COUNTED, PEAK_FLOW) "@60000\n" SENT("0002", "0001(01b0 fffed9b4)") GONE, 0, ""},
      {SPIRO, PREPARED(COUNTED, PEAK_FLOW) "@60000\n" SENT("0002", "0001(01b0 d6cd3234)") "@120040\n" SILENCE LET_GO,
       -ENODATA, "no reading came in 120 s"},
      /* the line itself */
      {SPIRO, PREPARED(METER, CLOCK_RIGHT) "! stalled\n" LET_GO, -EPROTO, "the endpoint stalled"},
      {SPIRO, PREPARED(METER, CLOCK_RIGHT) "! damaged\n" LET_GO, -EPROTO, "acquire: Protocol error"},
      /* out of turn */
      {SPIRO, PREPARED(METER, CLOCK_RIGHT) "< " PRST("0002", "0203", "0000[0a44(4000)]") "\n" ABORT RELEASE, -EPROTO,
       "an answer to a question that was not asked (another invoke id)"},
      {SPIRO, PREPARED(METER, CLOCK_RIGHT) "< " EVENT("0002", "0000", "0d1c", "4000[" PEF "]") "\n" ABORT RELEASE,
       -EPROTO, "a second configuration in one association"},
      {SPIRO,
       PREPARED(METER, CLOCK_RIGHT) SENT("0002", VALUE("0001", "01b0", T1)) "< e700 0010 0001\n" SILENCE ABORT RELEASE,
       -ETIMEDOUT, "an APDU stopped in its middle"},
      /* a scanner is started, and may refuse */
      {MEASUREMENT,
       PREPARED(OXIMETER, OXIMETRY) START_SCANNER
       "@30000\n< " UNCONFIRMED("0001", "0037", "0d23", "f0000000[0001(0062" T1 ")]") "\n" TEN(SILENCE) LET_GO,
       0, ""},
      {MEASUREMENT,
       PREPARED(OXIMETER, OXIMETRY) "> " PRST("0002", "0105", "0037 0001 0008 0000 0953(0001)") "\n< " PRST(
           "0002", "0300", "0002()") "\n" LET_GO,
       -EIO, "the instrument does not start its scanner"},
      {MEASUREMENT,
       PREPARED(OXIMETER, OXIMETRY) "> " PRST("0002", "0105",
                                              "0037 0001 0008 0000 0953(0001)") "\n" SILENCE "> e600(0002)\n" RELEASE,
       -ETIMEDOUT, "no answer to the request to start a scanner"},
      /* the end: reports are no longer taken, both may ask for it, and silence is answered with an abort */
      {MEASUREMENT,
       PREPARED(PULSE, CUFF) SENT("0002", VALUE("0002", "0048", T1)) TEN(SILENCE) RELEASE "> " RLRQ "\n< " EVENT(
           "0003", "0000", "0d1d", REPORT("0001", VALUE("0002", "0050", T2))) RLRQ "\n> " RLRE "\n< " RLRE "\n",
       0, ""},
      {MEASUREMENT,
       PREPARED(PULSE, CUFF) SENT("0002", VALUE("0002", "0048", T1)) TEN(SILENCE) RELEASE "> " RLRQ "\n" SILENCE ABORT,
       0, ""},
      {MEASUREMENT,
       PREPARED(PULSE, CUFF) SENT("0002", VALUE("0002", "0048", T1)) TEN(SILENCE) RELEASE "> " RLRQ "\n< " AARQ
                                                                                          "\n" ABORT,
       0, ""},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_plays(rows[i].order, rows[i].script, 0, rows[i].acquired, rows[i].reason);
  /* What came after the manager asked for the end is not confirmed, and not used. */
  assert_decodes(MEASUREMENT, rows[sizeof rows / sizeof *rows - 3].script,
                 "own measurement; 1 2026-01-05T09:30:23.000 pulse_rate_cuff=72 /min");
  /* A session that nobody ended is incomplete, even when the capture says that all is well. */
  assert_decodes(MEASUREMENT, PREPARED(PULSE, CUFF) SENT("0002", VALUE("0002", "0048", T1)),
                 "own measurement; +incomplete*2; 1 2026-01-05T09:30:23.000 pulse_rate_cuff=72 /min");
  struct played p = play(SPIRO, rows[0].script);
  assert_int_equal(p.progress.total, 120000);
}

/* ---- the store
 * --------------------------------------------------------------------------------------------------------- */

#define STORE OBJECT("003d", "000b", "0a4d(8800)|0951(0002)")
#define COUNT_SEGMENTS_AS(id, n) GET(id, "000b") "< " PRST(id, "0203", "000b[0a4d(8800)|0951(" n ")]") "\n"
#define COUNT_SEGMENTS(n) COUNT_SEGMENTS_AS("0002", n)
#define LIST_SEGMENTS_AS(id, list) \
  "> " PRST(id, "0107", "000b 0c0d(0001(0000))") "\n< " PRST(id, "0207", "000b 0c0d([" list "])") "\n"
#define ASK_SEGMENTS "> " PRST("0003", "0107", "000b 0c0d(0001(0000))") "\n"
#define LIST_SEGMENTS(list) ASK_SEGMENTS "< " PRST("0003", "0207", "000b 0c0d([" list "])") "\n"
#define SEGMENT(instance, map, start, end) instance "[0a4e(" map ")|0992(" start ")|098a(" end ")]"
#define PEF_MAP "8000[0006 00025408 0001 [0a4c0002]]"
#define FETCH(id, instance, result) \
  "> " PRST(id, "0107", "000b 0c1c(" instance ")") "\n< " PRST(id, "0207", "000b 0c1c(" instance result ")") "\n"
#define PART(id, description, status, entries) "< " EVENT(id, "000b", "0d21", description status "(" entries ")") "\n"
#define PART_TAKEN(id, description, status) "> " PRST(id, "0201", "000b 00000000 0d21(" description status ")") "\n"
#define OLD_SEGMENT SEGMENT("0001", PEF_MAP, "2026010409302300", "2026010409312300")
#define NEW_SEGMENT SEGMENT("0002", PEF_MAP, "2026010509300500", T2)

static void test_store(void **state) {
  (void)state;
  static const struct {
    const char *script;
    int acquired;
    const char *reason, *want;
  } rows[] = {
      /* the old segment stays where it is; the new one comes in two parts, each confirmed */
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0002") LIST_SEGMENTS(OLD_SEGMENT "|" NEW_SEGMENT)
           FETCH("0004", "0002", "0000") PART("0005", "0002 00000000 00000001", "8000", T1 "01b0")
               PART_TAKEN("0005", "0002 00000000 00000001", "8080")
                   PART("0006", "0002 00000001 00000002", "4000", T2 "01b9" T2 "01a4")
                       PART_TAKEN("0006", "0002 00000001 00000002", "4080") GONE,
       0, "",
       "own spirometry; +readings_kept_by_device*1; 1 2026-01-05T09:30:23.000 pef=432 L/min; 2 2026-01-05T09:31:02.000 "
       "pef=441 L/min; 3 2026-01-05T09:31:02.000 pef=420 L/min"},
      /* without times before its entries, those of the segment; with a person */
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001")
           LIST_SEGMENTS("0007[0a4e(0000[0006 00025408 0001 [0a4c0002]])|0992(" T1 ")|0a4f(0003)]")
               FETCH("0004", "0007", "0000") PART("0005", "0007 00000000 00000001", "c000", "01b0")
                   PART_TAKEN("0005", "0007 00000000 00000001", "c080") GONE,
       0, "", "own spirometry; 1 2026-01-05T09:30:23.000 pef=432 L/min"},
      /* asked again after ten seconds without a reading: now there is a segment */
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0000") TEN(SILENCE) COUNT_SEGMENTS_AS("0003", "0001")
           LIST_SEGMENTS_AS("0004", "0002[0a4e(" PEF_MAP ")|0992(" T1 ")|098a(" T1 ")|097b(00000001)]")
               FETCH("0005", "0002", "0000") PART("0006", "0002 00000000 00000001", "c000", T1 "01b0")
                   PART_TAKEN("0006", "0002 00000000 00000001", "c080") GONE,
       0, "", "own spirometry; 1 2026-01-05T09:30:23.000 pef=432 L/min"},
      /* nothing stored; nothing in the segment; the list is refused, the transfer is; the agent gives up */
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0000") "@30000\n" SENT("0009", VALUE("0001", "01b0", T1))
           GONE,
       0, "", "own spirometry; 1 2026-01-05T09:30:23.000 pef=432 L/min"},
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") LIST_SEGMENTS(NEW_SEGMENT)
           FETCH("0004", "0002", "0003") "@30000\n" SENT("0009", VALUE("0001", "01b0", T1)) GONE,
       0, "", "own spirometry; 1 2026-01-05T09:30:23.000 pef=432 L/min"},
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") ASK_SEGMENTS
       "< " PRST("0003", "0300", "0009()") "\n" LET_GO,
       -EIO, "the instrument refuses the question for the stored readings", "ENODATA: the capture holds no reading"},
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") ASK_SEGMENTS SILENCE "> e600(0002)\n" RELEASE,
       -ETIMEDOUT, "no answer to the question for the stored readings", "ENODATA: the capture holds no reading"},
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") LIST_SEGMENTS(NEW_SEGMENT)
           FETCH("0004", "0002", "0002") LET_GO,
       -EIO, "the instrument does not give a stored reading (2)", "ENODATA: the capture holds no reading"},
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") LIST_SEGMENTS(NEW_SEGMENT)
           FETCH("0004", "0002", "0000") PART("0005", "0002 00000000 00000000", "0800", "") ABORT RELEASE,
       -EIO, "the instrument gave up sending a stored reading", "ENODATA: the capture holds no reading"},
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") LIST_SEGMENTS(NEW_SEGMENT)
           FETCH("0004", "0002", "0000") SILENCE LET_GO,
       -ETIMEDOUT, "a stored reading stopped in its middle", "ENODATA: the capture holds no reading"},
      /* entries that are missing, come twice, are of another segment, count too much, are too long or too short */
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") LIST_SEGMENTS(NEW_SEGMENT)
           FETCH("0004", "0002", "0000") PART("0005", "0002 00000001 00000001", "8000", T1 "01b0") ABORT RELEASE,
       -EPROTO, "entries of a segment are missing or come twice", NULL},
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") LIST_SEGMENTS(NEW_SEGMENT)
           FETCH("0004", "0002", "0000") PART("0005", "0003 00000000 00000001", "8000", T1 "01b0") ABORT RELEASE,
       -EPROTO, "data of a segment that was not asked for", NULL},
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") LIST_SEGMENTS(NEW_SEGMENT)
           FETCH("0004", "0002", "0000") PART("0005", "0002 00000000 ffffffff", "8000", T1 "01b0") ABORT RELEASE,
       -EPROTO, "segment data count more than they hold", NULL},
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") LIST_SEGMENTS(NEW_SEGMENT)
           FETCH("0004", "0002", "0000") PART("0005", "0002 00000000 00000001", "8000", T1 "01b0 00") ABORT RELEASE,
       -EPROTO, "segment data are longer than they count", NULL},
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") LIST_SEGMENTS(NEW_SEGMENT)
           FETCH("0004", "0002", "0000") PART("0005", "0002 00000000 00000001", "8000", T1 "01") ABORT RELEASE,
       -EPROTO, "an observation is shorter than its value map", NULL},
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") LIST_SEGMENTS("0002[0a4e(1000[])]") ABORT RELEASE,
       -EPROTO, "a segment whose entries begin with a time that we do not know", NULL},
      {PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") ASK_SEGMENTS
       "< " PRST("0003", "0207", "000b 0c0d(ffff 0002 0001)") "\n" ABORT RELEASE,
       -EPROTO, "the list of segments is not in its form", NULL},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char want[512];
    snprintf(want, sizeof want, "%s: %s", strerrorname_np(-rows[i].acquired), rows[i].reason);
    assert_plays(SPIRO, rows[i].script, 0, rows[i].acquired, rows[i].reason);
    assert_decodes(SPIRO, rows[i].script, rows[i].want ? rows[i].want : want);
  }
}

/* ---- bounds
 * ------------------------------------------------------------------------------------------------------------ */

static void end_script(struct buf *script, const char *text) {
  buf_text(script, text);
  buf_u8(script, 0);
  assert_false(script->err);
}

/* `reports` blows, each of its own hundredth of a second, of `values` values. */
static void assert_many(unsigned reports, unsigned values, unsigned in_one, const char *want) {
  static const char *const codes[] = {"01b0", "e16b", "e18f"};
  struct buf script = BUF_INIT(4 << 20);
  buf_text(&script, PREPARED(METER, CLOCK_RIGHT) "@60000\n");
  for (unsigned i = 0; i < reports; i++) {
    buf_text(&script, "< e700((0002 0101(0000 00000000 0d1d(f0000000[");
    for (unsigned k = 0; k < values * in_one; k++)
      buf_format(&script, "%s%04x(%s20260105093%u%02u%02u)", k ? "|" : "", k % values + 1, codes[k % values],
                 (i + k / values) / 6000, (i + k / values) / 100 % 60, (i + k / values) % 100);
    buf_text(&script, "]))))\n");
  }
  end_script(&script, LET_GO);
  struct acq_capture capture = capture_of(SPIRO, (const char *)script.data, CAPTURE_LINE_BYTES, "ok");
  struct record_result results[WIRE_RECORDS] = {0};
  char reason[256];
  int r = record_decode(DRIVER, &capture, results, reason);
  assert_int_equal(r, *want ? -EPROTO : 0);
  assert_string_equal(reason, want);
  for (int i = 0; i < WIRE_RECORDS; i++)
    record_result_finish(&results[i]);
  capture_finish(&capture);
  buf_finish(&script);
}

static void test_bounds(void **state) {
  (void)state;
  assert_many(999, 1, 1, "");
  assert_many(1000, 1, 1, "more readings than a session has");
  assert_many(341, 3, 1, "");
  assert_many(342, 3, 1, "more values than a session has");
  assert_many(1, 1, 256, "");
  assert_many(1, 1, 257, "more values in one report than can be kept");
}

/* Live with one bit of what the agent says flipped, each in its turn: whatever it does to the conversation, it ends,
 * with an error that a driver may give. */
static void test_flipped_bits(void **state) {
  (void)state;
  static const int errors[] = {0, -EPROTO, -ERANGE, -ENODATA, -ENXIO, -EIO, -ETIMEDOUT, -ENODEV, -EILSEQ};
  static const char script[] = PREPARED(PEF "|" STORE, CLOCK_RIGHT) COUNT_SEGMENTS("0001") LIST_SEGMENTS(NEW_SEGMENT)
      FETCH("0004", "0002", "0000") PART("0005", "0002 00000000 00000001", "c000", T1 "01b0")
          PART_TAKEN("0005", "0002 00000000 00000001", "c080") SENT("0006", VALUE("0001", "01b0", T1)) GONE;
  struct acq_capture capture = capture_of(SPIRO, script, CAPTURE_LINE_BYTES, NULL);
  for (size_t i = 0; i < capture.n_received; i++)
    for (unsigned bit = 0; bit < 8; bit++) {
      capture.received[i] ^= (uint8_t)(1u << bit);
      struct played p = play_capture(&capture, SIZE_MAX);
      bool listed = false;
      for (size_t e = 0; e < sizeof errors / sizeof *errors; e++)
        listed |= (p.identified ? p.identified : p.acquired) == errors[e];
      assert_true(listed);
      capture.received[i] ^= (uint8_t)(1u << bit);
    }
  capture_finish(&capture);
}

/* ---- the signal
 * -------------------------------------------------------------------------------------------------------- */

#define MV 0x10b2
#define LITRES_A_MINUTE 0x0c00
#define LEAD_I (2u << 16 | 0x101)
#define AIRWAY_FLOW (2u << 16 | 20692)
#define NO INT_MAX /* does not fit 16 bits */

static void test_waves(void **state) {
  (void)state;
  static const struct {
    uint32_t mdc;
    uint16_t unit;
    struct phd_array array; /* bits, significant, flags, scale */
    const char *scale, *rate;
    uint32_t raw[4];
    int want[4];
  } rows[] = {
      /* offset binary of 12 bits: a step of 5 uV, zero at 2000 */
      {LEAD_I,
       MV,
       {.bits = 16, .significant = 16, .lower = {-10, 0}, .upper = {10, 0}, .scaled_upper = 4000, .period = 16},
       "5",
       "500",
       {0, 2000, 4000, 0xffff},
       {-2000, 0, 2000, NO}},
      /* 4095 steps: zero lies between two, so the numbers are twice as fine; the step has no last digit */
      {LEAD_I,
       MV,
       {.bits = 16, .significant = 16, .lower = {-10, 0}, .upper = {10, 0}, .scaled_upper = 4095, .period = 16},
       "2.44200244",
       "500",
       {0, 2047, 2048, 4095},
       {-4095, -1, 1, 4095}},
      /* an offset in 23rds of a step is rounded */
      {LEAD_I,
       MV,
       {.bits = 16, .significant = 16, .lower = {-1, 0}, .upper = {13, -1}, .scaled_upper = 1000, .period = 16},
       "2.3",
       "500",
       {0, 434, 435, 1000},
       {-435, -1, 0, 565}},
      /* two's complement of 8 and of 16 bits; the value of a gap is none of a sample */
      {LEAD_I,
       MV,
       {.bits = 8,
        .significant = 255,
        .lower = {-128, -2},
        .upper = {127, -2},
        .scaled_lower = 0x80,
        .scaled_upper = 0x7f,
        .period = 80},
       "10",
       "100",
       {0x80, 0xff, 0, 0x7f},
       {-128, -1, 0, 127}},
      {LEAD_I,
       MV,
       {.bits = 16,
        .significant = 255,
        .lower = {-32767, -3},
        .upper = {32767, -3},
        .scaled_lower = 0x8001,
        .scaled_upper = 0x7fff,
        .period = 8},
       "1",
       "1000",
       {0x8001, 0x8000, 0xffff, 0x7fff},
       {-32767, NO, -1, 32767}},
      /* 32 bits: what fits is as it is, what does not is refused */
      {LEAD_I,
       MV,
       {.bits = 32,
        .significant = 255,
        .lower = {-1000, 0},
        .upper = {1000, 0},
        .scaled_lower = 0xfff0bdc0,
        .scaled_upper = 1000000,
        .period = 8},
       "1",
       "1000",
       {0xffffffff, 32767, 32768, 0xffff8000},
       {-1, 32767, NO, NO}},
      {LEAD_I,
       MV,
       {.bits = 32, .significant = 24, .lower = {-10, 0}, .upper = {10, 0}, .scaled_upper = 1 << 24, .period = 8},
       "0.0011920929",
       "1000",
       {8388608, 8388609, 8388607, 0},
       {0, 1, -1, NO}},
      /* downwards; markers above the significant bits, and the same bits where nobody said so */
      {LEAD_I,
       MV,
       {.bits = 16, .significant = 16, .lower = {10, 0}, .upper = {-10, 0}, .scaled_upper = 4000, .period = 16},
       "5",
       "500",
       {0, 2000, 4000, 2001},
       {2000, 0, -2000, -1}},
      {LEAD_I,
       MV,
       {.bits = 16,
        .significant = 12,
        .flags = 0x1000,
        .lower = {-10, 0},
        .upper = {10, 0},
        .scaled_upper = 4000,
        .period = 24},
       "5",
       "333.333333",
       {0xf000, 0xa7d0, 0x0fa0, 0x87d1},
       {-2000, 0, 2000, 1}},
      {LEAD_I,
       MV,
       {.bits = 16, .significant = 12, .lower = {-10, 0}, .upper = {10, 0}, .scaled_upper = 4000, .period = 8000},
       "5",
       "1",
       {0xf000, 2000, 2001, 1999},
       {NO, 0, 1, -1}},
      /* a flow in L/min, in the row's L/s */
      {AIRWAY_FLOW,
       LITRES_A_MINUTE,
       {.bits = 16, .significant = 16, .lower = {-600, 0}, .upper = {600, 0}, .scaled_upper = 12000, .period = 80},
       "0.00166666667",
       "100",
       {0, 6000, 12000, 6060},
       {-6000, 0, 6000, 60}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct phd_object o = {.partition = (uint16_t)(rows[i].mdc >> 16),
                           .type = (uint16_t)rows[i].mdc,
                           .unit = rows[i].unit,
                           .array = rows[i].array};
    struct phd_wave w;
    const char *why;
    char text[DEC_TEXT_MAX];
    o.array.known = o.array.scaled = true;
    o.array.scale_bits = o.array.bits;
    assert_int_equal(phd_wave_init(&w, &o, &why), 0);
    dec_format(w.scale, text);
    assert_string_equal(text, rows[i].scale);
    dec_format(w.rate, text);
    assert_string_equal(text, rows[i].rate);
    for (unsigned k = 0; k < 4; k++) {
      uint8_t bytes[4];
      int16_t value = 0;
      for (unsigned b = 0; b < w.bytes; b++)
        bytes[b] = (uint8_t)(rows[i].raw[k] >> 8 * (w.bytes - 1u - b));
      struct acq_cur c = acq_cur(bytes, w.bytes);
      int r = phd_wave_read(&w, &c, &value, 1);
      assert_int_equal(r, rows[i].want[k] == NO ? -ERANGE : 1);
      if (r == 1)
        assert_int_equal(value, rows[i].want[k]);
      c = acq_cur(bytes, w.bytes - 1u);
      assert_int_equal(phd_wave_read(&w, &c, &value, 1), w.bytes == 1 ? 0 : -EPROTO);
    }
  }
}

static void test_waves_that_cannot_be(void **state) {
  (void)state;
  static const struct phd_array good = {.known = true,
                                        .scaled = true,
                                        .bits = 16,
                                        .significant = 16,
                                        .scale_bits = 16,
                                        .samples = 1,
                                        .upper = {10, 0},
                                        .scaled_upper = 4000,
                                        .period = 16};
  static const struct {
    uint32_t mdc;
    uint16_t unit;
    int change, err;
    const char *why;
  } rows[] = {
      {LEAD_I, MV, 0, 0, ""},
      {2u << 16 | 0x5471, MV, 0, -ENODATA, ""},
      {2u << 16 | 0x5408, LITRES_A_MINUTE, 0, -ENODATA, ""}, /* a measure, no channel */
      {LEAD_I, LITRES_A_MINUTE, 0, -EPROTO, "a sample array in a unit that it cannot have"},
      {LEAD_I, 0, 0, -EPROTO, "a sample array in a unit that it cannot have"},
      {LEAD_I, MV, 1, -EPROTO, "a sample array that is not described"},
      {LEAD_I, MV, 2, -EPROTO, "a sample array without a scale"},
      {LEAD_I, MV, 3, -EPROTO, "a sample array without a period"},
      {LEAD_I, MV, 4, -EPROTO, "a sample array whose scale or period is no number"}, /* both ends the same */
      {LEAD_I, MV, 5, -EPROTO, "a sample array whose scale or period is no number"},
      {LEAD_I, MV, 6, -EPROTO, "a sample array whose scale or period is no number"}, /* 10^18 mV */
      {LEAD_I, MV, 7, -EPROTO, "a sample array whose scale or period is no number"}, /* 10^-18 mV */
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct phd_object o = {
        .partition = (uint16_t)(rows[i].mdc >> 16), .type = (uint16_t)rows[i].mdc, .unit = rows[i].unit, .array = good};
    struct phd_wave w;
    const char *why;
    o.array.known &= rows[i].change != 1;
    o.array.scaled &= rows[i].change != 2;
    o.array.period *= rows[i].change != 3;
    o.array.scaled_upper *= rows[i].change != 4;
    o.array.upper.mantissa *= rows[i].change != 5;
    if (rows[i].change >= 6)
      o.array.upper.exponent = rows[i].change == 6 ? 18 : -18;
    assert_int_equal(phd_wave_init(&w, &o, &why), rows[i].err);
    assert_string_equal(why, rows[i].why);
  }
}

/* Two leads, fifty samples of each in a report of the scanner, ten reports a second. */
#define SAMPLES 50
#define LEAD_OBJECT(handle, code)                                                                               \
  OBJECT("0009", handle,                                                                                        \
         "092f(0002" code ")|0996(10b2)|096d(0032 10 10 0000)|096f(00fffff6 0000000a 0000 0fa0)|098d(00000010)" \
         "|0a55([0a480066])")
#define ECG                                   \
  LEAD_OBJECT("0001", "0101")                 \
  "|" LEAD_OBJECT("0002", "0102") "|" OBJECT( \
      "0012", "0037", "0a53([0001[0a480066]|0002[0a480066]])|0953(0000)") "|" NUMERIC("0003", "00024182", "0aa0")
#define CARDIOGRAPH SPECS("10060001|108c0001") CLOCK("2026010509300000")

static unsigned raw_sample(unsigned k, unsigned lead) {
  return 2000 + (k * 7 + lead * 13) % 400;
}

static void put_report(struct buf *script, unsigned ms, unsigned number, unsigned first, unsigned samples) {
  buf_format(script, "@%u\n< e700((0001 0100(0037 00000000 0d24(f000 %04x [(", ms, number);
  for (unsigned lead = 0; lead < 2; lead++) {
    buf_text(script, "(");
    for (unsigned k = 0; k < samples; k++)
      buf_format(script, "%04x", raw_sample(first + k, lead));
    buf_text(script, ")");
  }
  buf_text(script, ")]))))\n");
}

/* Reports first..last but `lost`, with `again` once more. */
static void put_signal(struct buf *script, unsigned reports, unsigned lost, unsigned again) {
  buf_text(script, PREPARED(ECG, CARDIOGRAPH) START_SCANNER);
  for (unsigned i = 0; i < reports; i++) {
    if (i != lost)
      put_report(script, 1000 + i * 100, i, i * SAMPLES, SAMPLES);
    if (i == again)
      put_report(script, 1000 + i * 100, i, i * SAMPLES, SAMPLES);
  }
}

static const json_t *channel(const struct reading *r, size_t i) {
  return json_array_get(json_object_get(json_object_get(r->own, "acquired"), "channels"), i);
}

static void test_signal(void **state) {
  (void)state;
  struct buf script = BUF_INIT(1 << 20);
  put_signal(&script, 10, 99, 99);
  end_script(&script, LET_GO);
  struct played p = play("1 ecg", (const char *)script.data);
  assert_int_equal(p.acquired, 0);
  assert_int_equal(p.progress.done, 900);
  assert_int_equal(p.progress.total, 1000);
  assert_int_equal(p.previews, 10);
  assert_int_equal(p.preview.channels, 2);
  assert_int_equal(p.preview.samples, SAMPLES);
  assert_int_equal(p.preview.rate_hz, 500);
  assert_int_equal(p.preview.first, 0);
  assert_string_equal(nomenclature_row(p.preview.code[1])->code, "lead_ii");
  for (unsigned k = 0; k < SAMPLES; k++)
    assert_int_equal(p.preview.values[1][k], raw_sample(k, 1) - 2000);
  struct acq_capture capture = capture_of("1 ecg", (const char *)script.data, CAPTURE_LINE_BYTES, "ok");
  struct reading r = read_capture(&capture);
  assert_string_equal(r.text, "own ecg");
  for (unsigned lead = 0; lead < 2; lead++) {
    const json_t *c = channel(&r, lead);
    const int16_t *values = r.results[WIRE_OWN].data + json_integer_value(json_object_get(c, "first"));
    assert_string_equal(json_text(c, "code"), lead ? "lead_ii" : "lead_i");
    assert_string_equal(json_text(c, "scale"), "5");
    assert_string_equal(json_text(c, "rate"), "500");
    assert_int_equal(json_integer_value(json_object_get(c, "samples")), 500);
    for (unsigned k = 0; k < 500; k++)
      assert_int_equal(values[k], raw_sample(k, lead) - 2000);
  }
  reading_finish(&r);
  capture_finish(&capture);
  buf_finish(&script);
}

static void test_signal_gone_wrong(void **state) {
  (void)state;
  static const struct {
    unsigned reports, lost, again;
    const char *end;
    int acquired;
    const char *reason, *want;
  } rows[] = {
      /* a report that never came leaves a gap, one that came twice nothing */
      {11, 4, 99, LET_GO, 0, "", "own ecg; +samples_missing*1:0,100 s à partir de 0,400 s"},
      {9, 99, 3, LET_GO, 0, "", "own ecg; +frame_repeated*1 +shorter_than_ordered*1"},
      /* the agent ends it before its time; it just stops */
      {5, 99, 99, GONE, 0, "", "own ecg; +shorter_than_ordered*1"},
      {5, 99, 99, SILENCE SILENCE SILENCE SILENCE SILENCE LET_GO, 0, "", "own ecg; +shorter_than_ordered*1"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct buf script = BUF_INIT(1 << 20);
    put_signal(&script, rows[i].reports, rows[i].lost, rows[i].again);
    end_script(&script, rows[i].end);
    const char *text = (const char *)script.data;
    assert_plays("1 ecg", text, 0, rows[i].acquired, rows[i].reason);
    assert_decodes("1 ecg", text, rows[i].want);
    buf_finish(&script);
  }
}

static void test_signal_refused(void **state) {
  (void)state;
  /* another length than it was described with; numbers that run backwards; another association in the middle */
  struct buf script = BUF_INIT(1 << 20);
  put_signal(&script, 3, 99, 99);
  put_report(&script, 2000, 3, 0, SAMPLES - 1);
  end_script(&script, LET_GO);
  assert_decodes("1 ecg", (const char *)script.data, "EPROTO: an observed attribute is not in its form");
  buf_finish(&script);
  script = BUF_INIT(1 << 20);
  put_signal(&script, 3, 99, 99);
  put_report(&script, 2000, 1, 0, SAMPLES);
  end_script(&script, LET_GO);
  assert_decodes("1 ecg", (const char *)script.data, "EPROTO: the reports of a signal are numbered backwards");
  buf_finish(&script);
  script = BUF_INIT(1 << 20);
  put_signal(&script, 3, 99, 99);
  buf_text(&script, "< " ABRT "\n" ASSOCIATE CONFIGURE(ECG));
  put_report(&script, 2000, 3, 0, SAMPLES);
  end_script(&script, LET_GO);
  assert_decodes("1 ecg", (const char *)script.data, "EPROTO: a signal goes on in another association");
  buf_finish(&script);
}

/* A recording that the instrument made by itself, and stored. */
static void test_stored_signal(void **state) {
  (void)state;
  struct buf script = BUF_INIT(1 << 20);
  buf_text(&script, PREPARED(LEAD_OBJECT("0001", "0101") "|" STORE, CARDIOGRAPH) COUNT_SEGMENTS("0001")
                        LIST_SEGMENTS("0005[0a4e(0000[0009 00020101 0001 [0a480066]])|0992(" T1 ")|098a(" T1 ")]")
                            FETCH("0004", "0005", "0000"));
  for (unsigned part = 0; part < 10; part++) {
    unsigned status = part == 0 ? 0x8000 : part == 9 ? 0x4000 : 0;
    buf_format(&script, "@%u\n< e700((%04x 0101(000b 00000000 0d21(0005 %08x 00000001 %04x((", 30000 + part, part, part,
               status);
    for (unsigned k = 0; k < SAMPLES; k++)
      buf_format(&script, "%04x", raw_sample(part * SAMPLES + k, 0));
    buf_format(&script, "))))))\n> e700((%04x 0201(000b 00000000 0d21(0005 %08x 00000001 %04x))))\n", part, part,
               status | 0x80);
  }
  end_script(&script, TEN(SILENCE) COUNT_SEGMENTS_AS("0005", "0001") LIST_SEGMENTS_AS("0006", "") LET_GO);
  assert_plays("60 ecg", (const char *)script.data, 0, 0, "");
  struct acq_capture capture = capture_of("60 ecg", (const char *)script.data, CAPTURE_LINE_BYTES, "ok");
  struct reading r = read_capture(&capture);
  assert_string_equal(r.text, "own ecg; +shorter_than_ordered*1; 1 2026-01-05T09:30:23.000");
  assert_int_equal(json_integer_value(json_object_get(channel(&r, 0), "samples")), 500);
  assert_int_equal(json_integer_value(json_object_get(channel(&r, 0), "trial")), 1);
  assert_int_equal(r.results[WIRE_OWN].data[499], raw_sample(499, 0) - 2000);
  reading_finish(&r);
  capture_finish(&capture);
  buf_finish(&script);
}

/* ---- curves
 * ------------------------------------------------------------------------------------------------------------ */

/* A spirometer: FEV1, and the flow as arrays of four samples, 100 a second, with a counter's time. */
#define FLOW                                                                                                \
  OBJECT("0009", "000b",                                                                                    \
         "092f(000250d4)|0996(0be0)|096d(0004 10 10 0000)|096f(00fffff0 00000010 0000 fa00)|098d(00000050)" \
         "|0a55([0a48000a|09910004])")
#define SPIROMETER FEV1 "|" FLOW
#define SPIROMETRY SPECS("101d0001") CLOCK("2026010509300000")

/* Arrays first..last of a curve that begins at `ticks` of the counter; the report says that it is at 480 000 of it. */
static void put_arrays(struct buf *script, unsigned number, unsigned ticks, unsigned first, unsigned last,
                       bool one_stamp) {
  buf_format(script, "< e700((0005 0100(0000 00075300 0d1d(f000 %04x[", number);
  for (unsigned i = first; i <= last; i++) {
    buf_format(script, "%s000b((", i > first ? "|" : "");
    for (unsigned k = 0; k < 4; k++)
      buf_format(script, "%04x", 32000 + 4 * i + k);
    buf_format(script, ")%08x)", ticks + (one_stamp ? 0 : i * 320));
  }
  buf_text(script, "]))))\n");
}

static void assert_curves(struct buf *script, const char *want, const char *channels) {
  struct buf text = BUF_INIT(4096);
  end_script(script, LET_GO);
  struct acq_capture capture = capture_of(SPIRO, (const char *)script->data, CAPTURE_LINE_BYTES, "ok");
  struct reading r = read_capture(&capture);
  assert_string_equal(r.text, want);
  for (size_t i = 0; r.own && channel(&r, i); i++) {
    const int16_t *values = r.results[WIRE_OWN].data + json_integer_value(json_object_get(channel(&r, i), "first"));
    buf_format(&text, "%s%d:", i ? " " : "", (int)json_integer_value(json_object_get(channel(&r, i), "trial")));
    for (json_int_t k = 0; k < json_integer_value(json_object_get(channel(&r, i), "samples")); k++)
      buf_format(&text, values[k] == ACQ_GAP ? "-" : "%x", (unsigned)values[k]);
  }
  end_script(&text, "");
  assert_string_equal((const char *)text.data, channels);
  buf_finish(&text);
  reading_finish(&r);
  capture_finish(&capture);
  buf_finish(script);
  *script = BUF_INIT(1 << 20);
}

/* At 60 000 ms the counter is at 480 000: a curve from 184 000 on began at 09:30:23. */
#define CURVE_1 184000
#define CURVE_2 312000 /* 09:30:39 */
#define FEV1_AT(id, value, time) SENT(id, VALUE("0002", value, time))

static void test_curves(void **state) {
  (void)state;
  struct buf script = BUF_INIT(1 << 20);
  /* two blows, each with its curve; one whose values never came */
  buf_text(&script, PREPARED(SPIROMETER, SPIROMETRY) "@60000\n" FEV1_AT("0002", "e16b", T1));
  put_arrays(&script, 0, CURVE_1, 0, 1, false);
  put_arrays(&script, 1, CURVE_1, 2, 2, false);
  put_arrays(&script, 2, CURVE_2 + 80000, 0, 0, false);
  buf_text(&script, FEV1_AT("0003", "e173", "2026010509304000"));
  put_arrays(&script, 3, CURVE_2, 0, 0, false);
  assert_curves(&script,
                "own spirometry; 1 2026-01-05T09:30:23.000 fev1=3.63 L; 2 2026-01-05T09:30:40.000 fev1=3.71 L; 3 "
                "2026-01-05T09:30:49.000",
                "1:0123456789ab 2:0123 3:0123");
  /* every array with the stamp of the beginning */
  buf_text(&script, PREPARED(SPIROMETER, SPIROMETRY) "@60000\n" FEV1_AT("0002", "e16b", T1));
  put_arrays(&script, 0, CURVE_1, 0, 1, true);
  put_arrays(&script, 1, CURVE_1, 2, 3, true);
  assert_curves(&script, "own spirometry; 1 2026-01-05T09:30:23.000 fev1=3.63 L", "1:0123456789abcdef");
  /* an array that never came, by the stamps; one that came twice */
  buf_text(&script, PREPARED(SPIROMETER, SPIROMETRY) "@60000\n" FEV1_AT("0002", "e16b", T1));
  put_arrays(&script, 0, CURVE_1, 0, 0, false);
  put_arrays(&script, 0, CURVE_1, 0, 0, false);
  put_arrays(&script, 2, CURVE_1, 2, 2, false);
  assert_curves(&script,
                "own spirometry; +samples_missing*1:0,040 s à partir de 0,040 s +frame_repeated*1; 1 "
                "2026-01-05T09:30:23.000 fev1=3.63 L",
                "1:0123----89ab");
  /* broken off by another association: the rest of it, and then all of it again */
  buf_text(&script, PREPARED(SPIROMETER, SPIROMETRY) "@60000\n" FEV1_AT("0002", "e16b", T1));
  put_arrays(&script, 0, CURVE_1, 0, 0, false);
  buf_text(&script, "< " ABRT "\n" ASSOCIATE CONFIGURE(SPIROMETER));
  put_arrays(&script, 0, CURVE_1, 1, 1, false);
  buf_text(&script, "< " ABRT "\n" ASSOCIATE CONFIGURE(SPIROMETER) FEV1_AT("0002", "e16b", T1));
  put_arrays(&script, 0, CURVE_1, 0, 1, false);
  assert_curves(&script, "own spirometry; +reading_repeated*1 +frame_repeated*1; 1 2026-01-05T09:30:23.000 fev1=3.63 L",
                "1:01234567");
  /* of yesterday: not this patient's */
  buf_text(&script, PREPARED(SPIROMETER, SPIROMETRY) "@60000\n" FEV1_AT("0002", "e16b", T1));
  put_arrays(&script, 0, (unsigned)(CURVE_1 - 691200000), 0, 0, false);
  assert_curves(&script,
                "own spirometry; +readings_stray*1; 1 2026-01-05T09:30:23.000 fev1=3.63 L // stray spirometry; 2 "
                "2026-01-04T09:30:23.000",
                "");
  buf_finish(&script);
}

int main(void) {
  assert_true(hash_open() == 0);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_assembler),
      cmocka_unit_test(test_assembler_bounds),
      cmocka_unit_test(test_association_requests),
      cmocka_unit_test(test_writing),
      cmocka_unit_test(test_samples),
      cmocka_unit_test(test_session_of_the_sample),
      cmocka_unit_test(test_trials),
      cmocka_unit_test(test_units),
      cmocka_unit_test(test_forms_of_values),
      cmocka_unit_test(test_scanners),
      cmocka_unit_test(test_clocks),
      cmocka_unit_test(test_broken_reports),
      cmocka_unit_test(test_broken_configurations),
      cmocka_unit_test(test_largest_configuration),
      cmocka_unit_test(test_pieces),
      cmocka_unit_test(test_merged),
      cmocka_unit_test(test_identity),
      cmocka_unit_test(test_usb),
      cmocka_unit_test(test_function_descriptors),
      cmocka_unit_test(test_refused_associations),
      cmocka_unit_test(test_associating),
      cmocka_unit_test(test_acquiring),
      cmocka_unit_test(test_store),
      cmocka_unit_test(test_bounds),
      cmocka_unit_test(test_flipped_bits),
      cmocka_unit_test(test_waves),
      cmocka_unit_test(test_waves_that_cannot_be),
      cmocka_unit_test(test_signal),
      cmocka_unit_test(test_signal_gone_wrong),
      cmocka_unit_test(test_signal_refused),
      cmocka_unit_test(test_stored_signal),
      cmocka_unit_test(test_curves),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
