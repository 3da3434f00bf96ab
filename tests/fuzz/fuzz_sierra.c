/* Philips Sierra XML. The first byte says what the rest is: 0, 2, ... a document; 1, 3, ... the bytes of its samples,
 * XLI with bit 1 set, which are put into a document here. */
#include "fuzz_file.h"

#include "str.h"
#include <string.h>

extern const struct acq_driver file_philips_sierra;

#define HEAD                                                                                                     \
  "<?xml version=\"1.0\" encoding=\"UTF-8\"?><restingecgdata xmlns=\"http://www3.medical.philips.com\">"         \
  "<documentinfo><documenttype>SierraECG</documenttype><documentversion>1.03</documentversion></documentinfo>"   \
  "<dataacquisition date=\"2026-01-02\" time=\"03:04:05\"><machine machineid=\"1\">M</machine>"                  \
  "<signalcharacteristics><samplingrate>500</samplingrate><signalresolution>5</signalresolution>"                \
  "<signalbandwidth>0.05-150</signalbandwidth><acquisitiontype>STD-12</acquisitiontype>"                         \
  "<bitspersample>16</bitspersample></signalcharacteristics></dataacquisition><patient><generalpatientdata>"     \
  "<patientid>7</patientid><age><dateofbirth>1953-05-08</dateofbirth></age><sex>Male</sex></generalpatientdata>" \
  "</patient><interpretations><interpretation><severity>S</severity><statement><leftstatement>L</leftstatement>" \
  "<rightstatement>R</rightstatement></statement></interpretation></interpretations><waveforms>"
#define LABELLED                                                                                        \
  "<parsedwaveforms dataencoding=\"Base64\" compression=\"%s\" leadlabels=\"I II III aVR aVL aVF V1\" " \
  "numberofleads=\"%u\" durationperchannel=\"16\">"
#define TAIL "</parsedwaveforms></waveforms></restingecgdata>"

static void check_record(const struct record_result *result, const json_t *record) {
  FUZZ_CHECK(json_array_size(json_object_get(json_object_get(record, "acquired"), "channels")) >= 1);
  FUZZ_CHECK(strstr(result->json, "\"file_unchecked\""));
}

static void decode(const void *bytes, size_t n) {
  fuzz_file(&file_philips_sierra, bytes, n, check_record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (!n)
    return 0;
  if (!(data[0] & 1)) {
    decode(data + 1, n - 1);
    return 0;
  }
  struct buf text = BUF_INIT(16 << 20);
  char *base64 = malloc(STR_BASE64(n - 1));
  FUZZ_CHECK(base64);
  str_base64(data + 1, n - 1, base64);
  buf_format(&text, HEAD LABELLED, data[0] & 2 ? "XLI" : "Uncompressed", 1 + (data[0] >> 2) % 7u);
  buf_text(&text, base64);
  buf_text(&text, TAIL);
  FUZZ_CHECK(!text.err);
  decode(text.data, text.len);
  buf_finish(&text);
  free(base64);
  return 0;
}

/* A chunk: codes of ten bits. */
static void add_chunk(struct buf *b, const uint16_t *codes, unsigned n, int16_t first) {
  uint32_t bits = 0;
  unsigned held = 0, size = (n * 10 + 7) / 8;
  const uint8_t head[] = {(uint8_t)size, 0, 0, 0, 1, 0, (uint8_t)first, (uint8_t)((uint16_t)first >> 8)};
  buf_add(b, head, sizeof head);
  for (unsigned i = 0; i < n; i++) {
    bits = bits << 10 | codes[i];
    for (held += 10; held >= 8; held -= 8)
      buf_u8(b, (uint8_t)(bits >> (held - 8)));
  }
  if (held)
    buf_u8(b, (uint8_t)(bits << (8 - held)));
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const uint16_t plain[] = {0, 256, 257, 258, 1, 2, 3, 4, 256, 1023}, growing[] = {64, 256, 257, 258, 259, 1023};
  static const char document[] =
      HEAD "<parsedwaveforms compressflag=\"False\" dataencoding=\"Base64\" durationperchannel=\"2\">"
           "AAABAAIAAwAEAAUABgAHAAgACQAKAAsA" TAIL;
  (void)n;
  if (file || i > 4)
    return false;
  buf_u8(ret, i == 0 ? 0 : i == 1 ? 1 | 6 << 2 : i == 2 ? 3 : i == 3 ? 3 | 6 << 2 : 3 | 1 << 2);
  if (i == 0)
    buf_text(ret, document);
  else if (i == 1)
    buf_add(ret, document, 7 * 2 * 8);
  for (unsigned lead = 0; i > 1 && lead < 7; lead++)
    add_chunk(ret, i == 4 ? growing : plain, i == 4 ? 6 : 10, (int16_t)lead);
  return ret->err == 0;
}
