/* ISO/IEEE 11073 behind its lengths, which mutation alone hardly passes. The input is a row of items: a kind byte, a
 * length u16 BE, and that many bytes, framed here. Kinds: 0 association request, 1 configuration, 2 the device's
 * attributes, 3 confirmed event, 4 list of segments, 5 segment data, 6 bytes as they are. The host's side is that of a
 * manager that takes everything. The same bytes are read as USB descriptors too. */
#include "../../drivers/ieee11073_phdc/descriptor.h"
#include "fuzz.h"

#include "capture.h"
#include "record_build.h"
#include "str.h"
#include <string.h>

#define ITEMS_MAX 256

extern const struct acq_driver ieee11073_phdc;

enum kind { AARQ, CONFIGURATION, ATTRIBUTES, EVENT, LIST, SEGMENT, BYTES };

static void add_line(struct buf *text, char side, unsigned ms, const void *bytes, size_t n) {
  for (size_t at = 0; at < n; at += CAPTURE_LINE_BYTES) {
    buf_format(text, "%c %u ", side, ms);
    buf_hex(text, (const uint8_t *)bytes + at, n - at < CAPTURE_LINE_BYTES ? n - at : CAPTURE_LINE_BYTES);
    buf_text(text, "\n");
  }
}

static void put16(struct buf *b, size_t value) {
  buf_u8(b, (uint8_t)(value >> 8));
  buf_u8(b, (uint8_t)value);
}

/* A PRST from that side. */
static void add_data(struct buf *text, char side, unsigned ms, unsigned choice, const uint8_t *body, size_t n) {
  struct buf b = BUF_INIT(1 << 17);
  put16(&b, 0xe700);
  put16(&b, n + 8);
  put16(&b, n + 6);
  put16(&b, ms);
  put16(&b, choice);
  put16(&b, n);
  buf_add(&b, body, n);
  add_line(text, side, ms, b.data, b.len);
  buf_finish(&b);
}

static void add_configuration(struct buf *text, unsigned ms, const uint8_t *body, size_t n) {
  struct buf b = BUF_INIT(1 << 17);
  static const uint8_t accepted[] = {0, 0, 0, 0, 0, 0, 0x0d, 0x1c, 0, 4, 0x40, 0, 0, 0};
  put16(&b, 0);
  put16(&b, 0xffff);
  put16(&b, 0xffff);
  put16(&b, 0x0d1c);
  put16(&b, n);
  buf_add(&b, body, n);
  add_data(text, '<', ms, 0x0101, b.data, b.len);
  add_data(text, '>', ms, 0x0201, accepted, sizeof accepted);
  buf_finish(&b);
}

static void add_item(struct buf *text, unsigned ms, unsigned kind, const uint8_t *body, size_t n) {
  static const uint8_t get[6], list[] = {0, 11, 0x0c, 0x0d, 0, 6, 0, 1, 0, 2, 0, 0},
                               aarq[] = {0xe2, 0, 0, 0}; /* that there is one is all that decode() looks at */
  n = n < 60000 ? n : 60000;
  switch (kind) {
  case AARQ:
    add_line(text, '<', ms, aarq, sizeof aarq);
    break;
  case CONFIGURATION:
    add_configuration(text, ms, body, n);
    break;
  case ATTRIBUTES:
    add_data(text, '>', ms, 0x0103, get, sizeof get);
    add_data(text, '<', ms, 0x0203, body, n);
    break;
  case LIST:
    add_data(text, '>', ms, 0x0107, list, sizeof list);
    add_data(text, '<', ms, 0x0207, body, n);
    break;
  case EVENT:
  case SEGMENT:
    add_data(text, '<', ms, 0x0101, body, n);
    break;
  default:
    add_line(text, '<', ms, body, n);
  }
}

static void check_decode(const struct acq_capture *capture) {
  struct record_result results[WIRE_RECORDS] = {0};
  char reason[256];
  int err = record_decode(&ieee11073_phdc, capture, results, reason);
  FUZZ_CHECK(err == 0 || err == -EPROTO || err == -ERANGE || err == -ENODATA || err == -EFBIG);
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
  struct buf text = BUF_INIT(16 << 20);
  struct acq_cur in = acq_cur(data, n);
  struct phdc_function function;
  const char *why;
  int r = phdc_function_read(in, &function, &why);
  FUZZ_CHECK(r == 0 || r == -EPROTO || r == -ENXIO);
  buf_text(&text, "asaleed-capture 1\ndriver ieee11073_phdc 1\nbus usb\norder 60 spirometry\n"
                  "start 2026-01-05T09:30:00.000000+01:00\n");
  for (unsigned i = 0; i < ITEMS_MAX && acq_left(&in); i++) {
    unsigned kind = acq_u8(&in);
    size_t want = acq_u16be(&in);
    want = want < acq_left(&in) ? want : acq_left(&in);
    const uint8_t *body = acq_bytes(&in, want);
    if (body)
      add_item(&text, i, kind, body, want);
  }
  buf_text(&text, "end ok\n");
  struct acq_capture capture;
  FUZZ_CHECK(!text.err && capture_parse((const char *)text.data, text.len, &capture, NULL) == 0);
  check_decode(&capture);
  capture_finish(&capture);
  buf_finish(&text);
  return 0;
}

/* Sessions in that form. */
bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const char *const sessions[] = {
      /* curves */
      "00000001007a4000000200740006000200040024092f00040002540a0a460002f0400996000206400a55000c000200080a4c0002"
      "099000080009000b00060040092f0004000250d4099600020be0096d0006000410100000096f000c00fffff0000000100000fa00"
      "098d0004000000500a55000c000200080a48000a099100040200380000000400320a5a000800010004101d000109280006000145"
      "000150092d000c0001000800010000000250310987000820260105093000000300440000000012340d1d003af000000000030032"
      "0002000ae16b2026010509302300000b000e00087d007d017d027d0300001000000b000e00087d047d057d067d07000011400300"
      "360000000012340d1d002cf000000100020024000b000e00087d007d017d027d0300001500000b000e00087d047d057d067d0700"
      "201140",
      /* peak flow */
      "00000001007e4000000300780006000100040024092f0004000254080a460002f040099600020c000a55000c000200080a4c0002"
      "099000080006000200040024092f00040002540a0a460002f0400996000206400a55000c000200080a4c00020990000800050004"
      "00020018092f0004008078000a55000c000200080a660002099000080200380000000400320a5a00080001000410150001092800"
      "06000145000150092d000c00010008000100000002503109870008202601050930000003003c0000000012340d1d0032f0000000"
      "0003002a0001000a01b020260105093023000002000ae16b20260105093023000004000a1000202601050930230003002a000000"
      "0012340d1e0020f0000000000100180001000200120a4c000207ff0990000820260105093023000300260000000012340d1f001c"
      "f00000000001001400070001000e0002000ae1732026010509302300",
      /* ecg */
      "0000000100b24000000300ac000900010006003c092f0004000201010996000210b2096d0006000410100000096f000c00fffff6"
      "0000000a00000fa0098d0004000000100a550008000100040a48000a000900020006003c092f0004000201020996000210b2096d"
      "0006000410100000096f000c00fffff60000000a00000fa0098d0004000000100a550008000100040a48000a001200370001001c"
      "0a530018000200140001000100040a48000a0002000100040a48000a0200380000000400320a5a00080001000410060001092800"
      "06000145000150092d000c0001000800010000000250310987000820260105093000000300280037000012340d24001ef0000000"
      "000100160014000807d007d107d207d3000807d007d107d207d303002e0037000012340d230024f00000020002001c0001000a00"
      "0807d007d107d207d30002000a000807d007d107d207d3",
      /* pressure */
      "00000001006c4000000200660006000100050032092f000400024a040a460002f0400a76000a000300064a054a064a0709960002"
      "0f200a55000c000200080a75000a099000080006000200040024092f00040002482a0a460002f040099600020aa00a55000c0002"
      "00080a4c0002099000080200380000000400320a5a0008000100041007000109280006000145000150092d000c00010008000100"
      "00000250310987000820260105093000000300360000000012340d1d002cf000000000020024000100120003000600780050005d"
      "20260105093023000002000a0048202601050930230003003c0000000012340d1e0032f00000010001002a000100020024094b00"
      "18000200144a0500000f20000000784a0600000f20000000500991000400001000",
      /* store */
      "0000000100464000000200400006000100040024092f0004000254080a460002f040099600020c000a55000c000200080a4c0002"
      "09900008003d000b0002000c0a4d000288000951000200010200380000000400320a5a0008000100041015000109280006000145"
      "000150092d000c000100080001000000025031098700082026010509300000040036000b0c0d00300001002c0002000200260a4e"
      "00168000000100100006000254080001000100040a4c0002099200082026010509302300050022000b000012340d210018000200"
      "00000000000001c000000a202601050930230001b0"};
  (void)n;
  if (file || i >= sizeof sessions / sizeof *sessions)
    return false;
  size_t bytes = strlen(sessions[i]) / 2;
  uint8_t *at = buf_extend(ret, bytes);
  return at && str_unhex(sessions[i], at, bytes);
}
