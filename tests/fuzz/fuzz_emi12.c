/* The EMI12 behind its CRC, which mutation alone hardly passes. The input is a row of items: a length byte, a flag
 * byte, and that many bytes of a body, framed here with their CRC. Flags: 1 sent by the host, 2 sent as it is, without
 * a frame. */
#include "fuzz.h"

#include "capture.h"
#include "frame.h"
#include "record_build.h"
#include <string.h>

#define ITEMS_MAX 512
#define SETS_LIMIT (360 * 1000) /* the longest order and what may follow it, at the highest rate */

extern const struct acq_driver corscience_emi12;

static void add_item(struct buf *text, unsigned ms, unsigned flags, const uint8_t *body, size_t n) {
  uint8_t wire[EMI12_WIRE_MAX];
  int len = (int)n;
  if (flags & 2 || n < 3)
    memcpy(wire, body, n);
  else
    len = emi12_encode(body[0], (uint16_t)(body[1] | body[2] << 8), body + 3, n - 3, wire, sizeof wire);
  FUZZ_CHECK(len >= 0);
  if (!len)
    return;
  buf_format(text, "%c %u ", flags & 1 ? '>' : '<', ms);
  buf_hex(text, wire, (size_t)len);
  buf_text(text, "\n");
}

static const int16_t *lead(const struct record_result *r, unsigned i) {
  return r->data + i * (r->data_values / 12);
}

static void check_leads(const struct record_result *r) {
  FUZZ_CHECK(r->data_values % 12 == 0 && r->data_values / 12 <= SETS_LIMIT);
  for (size_t k = 0; k < r->data_values / 12; k++) {
    int i = lead(r, 0)[k], ii = lead(r, 1)[k], iii = lead(r, 2)[k];
    int avr = lead(r, 3)[k], avl = lead(r, 4)[k], avf = lead(r, 5)[k];
    bool gap = ii == ACQ_GAP;
    for (unsigned c = 0; c < 12; c++)
      FUZZ_CHECK((lead(r, c)[k] == ACQ_GAP) == gap);
    if (gap)
      continue;
    FUZZ_CHECK(i == ii - iii);
    FUZZ_CHECK(abs(2 * avr + i + ii) <= 1 && abs(2 * avl - i + iii) <= 1 && abs(2 * avf - ii - iii) <= 1);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct buf text = BUF_INIT(16 << 20);
  struct acq_cur in = acq_cur(data, n);
  buf_text(&text, "asaleed-capture 1\ndriver corscience_emi12 1\nbus serial\norder 1\nstart 2026-01-01T00:00:00Z\n");
  for (unsigned i = 0; i < ITEMS_MAX && acq_left(&in); i++) {
    size_t want = acq_u8(&in);
    unsigned flags = acq_u8(&in);
    want = want < acq_left(&in) ? want : acq_left(&in);
    const uint8_t *body = acq_bytes(&in, want);
    if (body)
      add_item(&text, i, flags, body, want);
  }
  buf_text(&text, "end ok\n");
  struct acq_capture capture;
  FUZZ_CHECK(!text.err && capture_parse((const char *)text.data, text.len, &capture, NULL) == 0);
  struct record_result results[WIRE_RECORDS] = {0}, *own = &results[WIRE_OWN];
  char reason[256];
  int err = record_decode(&corscience_emi12, &capture, results, reason);
  FUZZ_CHECK(err == 0 || err == -EPROTO || err == -EBADMSG || err == -ENODATA);
  if (err == 0) {
    json_t *record = NULL;
    FUZZ_CHECK(!results[WIRE_STRAY].json);
    FUZZ_CHECK(record_read(own->json, own->json_bytes, own->data, own->data_values * 2, &record, reason) == 0);
    json_decref(record);
    check_leads(own);
  }
  record_result_finish(own);
  capture_finish(&capture);
  buf_finish(&text);
  return 0;
}

static void add_body(struct buf *b, unsigned flags, const uint8_t *body, size_t n) {
  buf_u8(b, (uint8_t)n);
  buf_u8(b, (uint8_t)flags);
  buf_add(b, body, n);
}

/* Twelve ECG frames, with (1) the host's start and a confirmed rate, (2) a frame lost amid them. */
bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const uint8_t configured[] = {0xf6, 0x01, 0x07, 2, 5}, start[] = {7, 0x05, 0x09, 1}, ack[] = {0xf7, 0, 2, 7};
  (void)n;
  if (file || i > 3)
    return false;
  if (i & 1) {
    add_body(ret, 0, configured, sizeof configured);
    add_body(ret, 1, start, sizeof start);
    add_body(ret, 0, ack, sizeof ack);
  }
  for (unsigned f = 0, counter = 0; f < 12; f++) {
    unsigned number = 0xf8 + f, sets = 4 + f % 3, at = 8;
    uint8_t body[128] = {(uint8_t)number, 0x24, 0x07, (uint8_t)(number >> 8), 0, 0, 0x67, 0x7f};
    counter += sets;
    if (i & 2 && f == 5)
      continue;
    for (unsigned s = 0; s < sets * 8; s++)
      if (s % 2) {
        body[at++] = (uint8_t)(s << 1);
      } else {
        body[at++] = (uint8_t)(s << 1 | 1);
        body[at++] = (uint8_t)(s * 37);
      }
    body[at++] = 0;
    body[at++] = counter & 0x7f;
    body[at++] = counter >> 7 & 0x7f;
    body[at++] = 0;
    add_body(ret, 0, body, at);
  }
  return ret->err == 0;
}
