#include "sierra_file.h"

#include <errno.h>
#include <string.h>

#define DAMAGED_LEAD ECG12_V3
#define CODE_BITS 10
#define CODE_END 1023u
#define FIRST_MADE 256u
#define BIAS 64
#define BASE64_WIDTH 76
#define BOMB_CODES 24000u
#define PULSE_STEPS (1000 / ECG12_STEP_UV)
#define SAMPLES_MAX (ECG12_SAMPLES_MAX + 1000u)

const char *const sierra_damage_names[SIERRA_DAMAGES] = {
    [SIERRA_WHOLE] = "none",
    [SIERRA_CODE_BEYOND_TABLE] = "code-beyond-table",
    [SIERRA_CHUNK_BEYOND_DATA] = "chunk-beyond-data",
    [SIERRA_CHUNK_NEGATIVE] = "chunk-negative",
    [SIERRA_CHUNK_EMPTY] = "chunk-empty",
    [SIERRA_GROWTH_BOMB] = "growth-bomb",
    [SIERRA_NO_END_CODE] = "no-end-code",
    [SIERRA_SHORT_LEAD] = "short-lead",
    [SIERRA_ODD_BYTES] = "odd-bytes",
    [SIERRA_MISSING_LEAD] = "missing-lead",
    [SIERRA_DATA_CUT] = "data-cut",
    [SIERRA_BAD_BASE64] = "bad-base64",
    [SIERRA_BEYOND_16_BITS] = "beyond-16-bits",
    [SIERRA_TRUNCATED] = "truncated",
    [SIERRA_VERSION] = "version",
    [SIERRA_NO_RESOLUTION] = "no-resolution",
    [SIERRA_NO_RATE] = "no-rate",
    [SIERRA_WRONG_DURATION] = "wrong-duration",
    [SIERRA_UNKNOWN_LEAD] = "unknown-lead",
    [SIERRA_COMPRESSION] = "compression",
    [SIERRA_ENTITY_BOMB] = "entity-bomb",
};

/* ---- samples ---- */

static int floor_half(int twice) {
  return twice >> 1; /* of the augmented leads, which are in half steps: gcc and clang shift arithmetically */
}

static bool pulse_at(const struct ecg12 *e, size_t after) {
  return after >= e->rate_hz / 2 && after < e->rate_hz * 7 / 10;
}

int sierra_file_sample(const struct ecg12 *ecg, enum ecg12_lead lead, size_t i) {
  if (i >= ecg->n)
    return pulse_at(ecg, i - ecg->n) ? PULSE_STEPS : 0;
  int v = ecg->lead[lead][i];
  return lead >= ECG12_AVR && lead <= ECG12_AVF ? floor_half(v) : v;
}

size_t sierra_file_samples(const struct sierra_file *options, const struct ecg12 *ecg) {
  return ecg->n + (options->calibration ? ecg->rate_hz : 0);
}

/* What is stored instead of the lead. */
static int stored(const struct sierra_file *f, const struct ecg12 *e, enum ecg12_lead lead, size_t i) {
  int v = sierra_file_sample(e, lead, i);
  if (f->coding != SIERRA_XLI || lead < ECG12_III || lead > ECG12_AVF)
    return v;
  int one = sierra_file_sample(e, ECG12_I, i), two = sierra_file_sample(e, ECG12_II, i);
  int three = sierra_file_sample(e, ECG12_III, i);
  switch (lead) {
  case ECG12_III:
    return two - one - v;
  case ECG12_AVR:
    return -v - (one + two) / 2;
  case ECG12_AVL:
    return (one - three) / 2 - v;
  default:
    return (two + three) / 2 - v;
  }
}

/* ---- LZW ---- */

struct lzw {
  struct buf *to;
  uint32_t bits;
  unsigned have;
  unsigned made;            /* the next code */
  int string;               /* the code of what is not said yet, or -1 */
  uint16_t next[1024][256]; /* code and byte to code; 0: none, as 0 is never made */
};

static void put_code(struct lzw *l, unsigned code) {
  l->bits = l->bits << CODE_BITS | code;
  l->have += CODE_BITS;
  while (l->have >= 8) {
    l->have -= 8;
    buf_u8(l->to, (uint8_t)(l->bits >> l->have));
  }
}

static void begin_codes(struct lzw *l, struct buf *to) {
  memset(l, 0, sizeof(*l));
  *l = (struct lzw){.to = to, .made = FIRST_MADE, .string = -1};
}

static void put_byte(struct lzw *l, uint8_t byte) {
  if (l->string < 0) {
    l->string = byte;
    return;
  }
  uint16_t *known = &l->next[l->string][byte];
  if (*known) {
    l->string = *known;
    return;
  }
  put_code(l, (unsigned)l->string);
  if (l->made < CODE_END)
    *known = (uint16_t)l->made++;
  l->string = byte;
}

/* The real files have a byte or two of zeros at the end: what two more bits need. */
static void end_codes(struct lzw *l, bool end_code) {
  if (l->string >= 0)
    put_code(l, (unsigned)l->string);
  if (end_code)
    put_code(l, CODE_END);
  unsigned zeros = l->have + 2 >= 8 ? 2 : 1;
  buf_u8(l->to, (uint8_t)(l->bits << (8 - l->have)));
  if (zeros == 2)
    buf_u8(l->to, 0);
}

/* A run of zeros makes every string one longer than the one before; then the longest again and again. */
static void put_bomb(struct lzw *l) {
  put_code(l, 0);
  for (unsigned code = FIRST_MADE; code < CODE_END; code++)
    put_code(l, code);
  for (unsigned i = 0; i < BOMB_CODES; i++)
    put_code(l, CODE_END - 1);
}

/* ---- chunks ---- */

static int16_t delta_at(const int *x, size_t n, size_t i) {
  if (i < 2)
    return (int16_t)x[i];
  return i + 1 < n ? (int16_t)(BIAS + 2 * x[i] - x[i - 1] - x[i + 1]) : 0;
}

static void put_deltas(struct lzw *l, const int *x, size_t n, bool odd) {
  for (unsigned shift = 8;; shift = 0) {
    for (size_t i = 0; i < n; i++)
      put_byte(l, (uint8_t)((uint16_t)delta_at(x, n, i) >> shift));
    if (shift == 0)
      break;
  }
  if (odd)
    put_byte(l, 0);
}

static void put_chunk(struct buf *to, const int *x, size_t n, enum sierra_damage damage) {
  static struct lzw l;
  struct buf codes _buf_cleanup_ = BUF_INIT(XML_OUT_MAX);
  begin_codes(&l, &codes);
  if (damage == SIERRA_GROWTH_BOMB)
    put_bomb(&l);
  else if (damage == SIERRA_CODE_BEYOND_TABLE)
    put_code(&l, 900);
  else
    put_deltas(&l, x, n, damage == SIERRA_ODD_BYTES);
  end_codes(&l, damage != SIERRA_NO_END_CODE);
  uint32_t size = (uint32_t)codes.len;
  if (damage == SIERRA_CHUNK_BEYOND_DATA)
    size = 0x7FFFFFFF;
  else if (damage == SIERRA_CHUNK_NEGATIVE)
    size = (uint32_t)-8;
  else if (damage == SIERRA_CHUNK_EMPTY)
    size = 0;
  buf_u32le(to, size);
  buf_u16le(to, 1);
  buf_u16le(to, (uint16_t)(2 * x[1] - x[0] - x[2]));
  buf_add(to, codes.data, codes.len);
}

static void put_compressed(struct buf *to, const struct sierra_file *f, const struct ecg12 *e) {
  static int x[SAMPLES_MAX];
  size_t n = sierra_file_samples(f, e);
  unsigned leads = f->damage == SIERRA_MISSING_LEAD ? ECG12_LEADS - 1 : ECG12_LEADS;
  for (unsigned lead = 0; lead < leads + f->spare; lead++) {
    bool damaged = lead == DAMAGED_LEAD || f->damage == SIERRA_NO_END_CODE;
    for (size_t i = 0; i < n; i++)
      x[i] = lead < ECG12_LEADS ? stored(f, e, lead, i) : i < e->n ? 0 : sierra_file_sample(e, ECG12_I, i);
    for (size_t i = n / 2; i < n && lead == DAMAGED_LEAD && f->damage == SIERRA_BEYOND_16_BITS; i++)
      x[i] = x[i - 1] < 40000 ? x[i - 1] + 400 : 40000;
    put_chunk(to, x, n - (damaged && f->damage == SIERRA_SHORT_LEAD), damaged ? f->damage : SIERRA_WHOLE);
  }
}

static void put_samples(struct buf *b, const struct sierra_file *f, const struct ecg12 *e) {
  struct buf bytes _buf_cleanup_ = BUF_INIT(XML_OUT_MAX);
  size_t n = sierra_file_samples(f, e);
  if (f->coding == SIERRA_XLI)
    put_compressed(&bytes, f, e);
  for (enum ecg12_lead lead = 0; lead < ECG12_LEADS && f->coding != SIERRA_XLI; lead++) {
    size_t less = (f->damage == SIERRA_SHORT_LEAD && lead == DAMAGED_LEAD) ? 1 : 0;
    if (f->damage == SIERRA_MISSING_LEAD && lead == ECG12_V6)
      break;
    for (size_t i = 0; i < n - less; i++) {
      int v = stored(f, e, lead, i);
      if (f->coding == SIERRA_PLAIN)
        buf_format(&bytes, "%d%s", v, i % 25 == 24 ? "\n" : " ");
      else
        buf_u16le(&bytes, (uint16_t)v);
    }
  }
  size_t len = f->damage == SIERRA_DATA_CUT ? bytes.len / 6 * 3 : bytes.len;
  if (f->damage == SIERRA_BAD_BASE64)
    buf_text(b, "@");
  if (f->coding == SIERRA_PLAIN)
    buf_add(b, bytes.data, len);
  else
    xml_out_base64(b, bytes.data, len, BASE64_WIDTH);
  b->err = b->err ? b->err : bytes.err;
}

/* ---- the document ---- */

static void put_when(struct buf *b, const struct file_clock *t) {
  if (t->year > 0)
    buf_format(b, " date=\"%04u-%02u-%02u\" time=\"%02u:%02u:%02u\"", t->year, t->month, t->day, t->hour, t->minute,
               t->second);
}

static void put_documentinfo(struct buf *b, const struct sierra_file *f) {
  const char *version = f->v104 ? "1.04" : "1.03";
  buf_text(b, "<documentinfo>\n<documentname>03d494f2-94f2-13d4-857f-00095c028bdc.xml</documentname>\n");
  xml_out_element(b, "documenttype", f->v104 ? "PhilipsECG" : "SierraECG");
  xml_out_element(b, "documentversion", f->damage == SIERRA_VERSION ? "9.99" : version);
  buf_text(b, "</documentinfo>\n<reportinfo");
  put_when(b, &f->facts.at);
  buf_text(b,
           ">\n<reporttype>STD-12</reporttype>\n<reportformat>\n"
           "<waveformformat leadsequence=\"Standard\" timesequence=\"Continuous\">\n"
           "<mainwaveformformat nrow=\"3\" ncolumn=\"4\">I II III aVR aVL aVF V1 V2 V3 V4 V5 V6 </mainwaveformformat>\n"
           "</waveformformat>\n</reportformat>\n");
  if (f->filters)
    buf_text(b, "<reportbandwidth>\n<highpassfiltersetting>0.05</highpassfiltersetting>\n"
                "<lowpassfiltersetting>150</lowpassfiltersetting>\n<notchfiltersetting>50</notchfiltersetting>\n"
                "</reportbandwidth>\n");
  buf_text(b, "</reportinfo>\n");
}

static void put_machine(struct buf *b, const struct ecg_facts *s) {
  buf_text(b, "<machine machineid=\"");
  xml_out_text(b, s->serial ? s->serial : "");
  buf_text(b, "\" detaildescription=\"");
  if (s->maker) {
    xml_out_text(b, s->maker);
    buf_text(b, ":860000:");
    xml_out_text(b, s->software ? s->software : "");
  }
  buf_text(b, "\">");
  xml_out_text(b, s->model ? s->model : "");
  buf_text(b, "</machine>\n");
}

static void put_acquisition(struct buf *b, const struct sierra_file *f, const struct ecg12 *e) {
  buf_text(b, "<dataacquisition");
  put_when(b, &f->facts.at);
  buf_text(b, " statflag=\"False\">\n");
  put_machine(b, &f->facts);
  buf_text(b, "<signalcharacteristics>\n");
  if (f->damage != SIERRA_NO_RATE)
    buf_format(b, "<samplingrate>%u</samplingrate>\n", e->rate_hz);
  if (f->damage != SIERRA_NO_RESOLUTION)
    xml_out_element(b, f->v104 ? "resolution" : "signalresolution", "5");
  if (f->filters)
    buf_text(b, f->v104 ? "<hipass>0.05</hipass>\n<lowpass>150</lowpass>\n<acsetting>50</acsetting>\n"
                          "<notchfiltered>True</notchfiltered>\n<notchfilterfreqs>50</notchfilterfreqs>\n"
                        : "<signalbandwidth>0.05-150</signalbandwidth>\n");
  buf_format(b,
             "<acquisitiontype>STD-12</acquisitiontype>\n<bitspersample>16</bitspersample>\n"
             "<signaloffset>0</signaloffset>\n<signalsigned>True</signalsigned>\n"
             "<numberchannelsallocated>%u</numberchannelsallocated>\n<numberchannelsvalid>12</numberchannelsvalid>\n",
             f->spare > 0 ? ECG12_LEADS + f->spare : ECG12_LEADS);
  xml_out_element(b, f->v104 ? "electrodeplacement" : "leadset", f->v104 ? "STD" : "STD-12");
  buf_text(b, "</signalcharacteristics>\n</dataacquisition>\n");
}

static void put_patient(struct buf *b, const struct ecg_facts *s) {
  buf_text(b, "<patient>\n<generalpatientdata>\n");
  xml_out_element(b, "patientid", s->id);
  buf_text(b, "<name>\n");
  xml_out_element(b, "lastname", s->last);
  xml_out_element(b, "firstname", s->first);
  buf_text(b, "</name>\n");
  if (s->birth.year > 0)
    buf_format(b, "<age><dateofbirth>%04u-%02u-%02u</dateofbirth></age>\n", s->birth.year, s->birth.month,
               s->birth.day);
  if (s->sex)
    xml_out_element(b, "sex", s->sex == 'M' ? "Male" : "Female");
  buf_text(b, "</generalpatientdata>\n</patient>\n");
}

static void put_interpretation(struct buf *b, const struct sierra_file *f) {
  if (!f->facts.statement && !f->measurements)
    return;
  buf_text(b, "<interpretations>\n<interpretation");
  put_when(b, &f->facts.at);
  buf_text(b, ">\n");
  if (f->measurements) {
    const char *element = f->v104 ? "globalmeasurements" : "interpretationmeasurements";
    buf_format(b,
               "<%s>\n<heartrate>75</heartrate>\n<%s>155</%s>\n<%s>85</%s>\n<%s>400</%s>\n"
               "<tfrontaxis>Failed</tfrontaxis>\n</%s>\n",
               element, f->v104 ? "print" : "meanprint", f->v104 ? "print" : "meanprint",
               f->v104 ? "qrsdur" : "meanqrsdur", f->v104 ? "qrsdur" : "meanqrsdur", f->v104 ? "qtint" : "meanqtint",
               f->v104 ? "qtint" : "meanqtint", element);
  }
  if (f->facts.statement) {
    buf_text(b, "<mdsignatureline>Unconfirmed diagnosis</mdsignatureline>\n"
                "<severity code=\"AB\">- ABNORMAL ECG -</severity>\n<statement>\n<statementcode/>\n");
    xml_out_element(b, "leftstatement", f->facts.statement);
    buf_text(b, "<rightstatement>V-rate 50- 99</rightstatement>\n</statement>\n");
  }
  buf_text(b, "</interpretation>\n</interpretations>\n");
}

static void put_labels(struct buf *b, const struct sierra_file *f) {
  buf_format(b, " numberofleads=\"%u\" leadlabels=\"", ECG12_LEADS);
  for (enum ecg12_lead lead = 0; lead < ECG12_LEADS; lead++)
    buf_format(b, "%s%s", lead > 0 ? " " : "",
               f->damage == SIERRA_UNKNOWN_LEAD && lead == DAMAGED_LEAD ? "Q7" : ecg12_lead_name(lead));
  buf_text(b, "\"");
}

/* In 1.04 the samples have an element of their own. */
static void put_repbeats(struct buf *b, const struct sierra_file *f, const struct ecg12 *e) {
  size_t first, n;
  if (!f->repbeats || !ecg12_median(e, &first, &n))
    return;
  unsigned ms = (unsigned)(n * 1000 / e->rate_hz);
  buf_format(b, "<repbeats dataencoding=\"Base64\" samplespersec=\"%u\" resolution=\"5\" repbeatmethod=\"mean\">\n",
             e->rate_hz);
  for (enum ecg12_lead lead = 0; lead < ECG12_LEADS; lead++) {
    struct buf bytes _buf_cleanup_ = BUF_INIT(XML_OUT_MAX);
    for (size_t i = 0; i < n; i++)
      buf_u16le(&bytes, (uint16_t)sierra_file_sample(e, lead, first + i));
    buf_format(b,
               f->v104 ? "<repbeat leadname=\"%s\">\n<waveform duration=\"%u\">\n"
                       : "<repbeat leadname=\"%s\" duration=\"%u\">\n",
               ecg12_lead_name(lead), ms);
    xml_out_base64(b, bytes.data, bytes.len, BASE64_WIDTH);
    buf_text(b, f->v104 ? "\n</waveform>\n</repbeat>\n" : "\n</repbeat>\n");
  }
  buf_text(b, "</repbeats>\n");
}

static void put_waveforms(struct buf *b, const struct sierra_file *f, const struct ecg12 *e) {
  static const char *const methods[] = {[SIERRA_XLI] = "XLI", [SIERRA_BASE64] = "", [SIERRA_PLAIN] = ""};
  const char *method = f->damage == SIERRA_COMPRESSION ? "Huffman" : methods[f->coding];
  unsigned ms = (unsigned)(sierra_file_samples(f, e) * 1000 / e->rate_hz);
  buf_format(b, "<waveforms>\n<parsedwaveforms dataencoding=\"%s\"", f->coding == SIERRA_PLAIN ? "Plain" : "Base64");
  if (f->v104 && *method)
    buf_format(b, " compression=\"%s\"", method);
  else if (!f->v104)
    buf_format(b, " compressflag=\"%s\" compressmethod=\"%s\" filterflag=\"True\"", *method ? "True" : "False",
               *method ? method : "Uncompressed");
  if (f->v104)
    put_labels(b, f);
  buf_format(b, " durationperchannel=\"%u\"", f->damage == SIERRA_WRONG_DURATION ? 2 * ms : ms);
  if (f->v104 && f->damage != SIERRA_NO_RATE)
    buf_format(b, " samplespersecond=\"%u\"", e->rate_hz);
  if (f->v104 && f->damage != SIERRA_NO_RESOLUTION)
    buf_text(b, " resolution=\"5\"");
  buf_format(b, " %s=\"16\">", f->v104 ? "signaloffset=\"0\" signalsigned=\"True\" bitspersample" : "nbitspersample");
  put_samples(b, f, e);
  buf_text(b, "</parsedwaveforms>\n");
  put_repbeats(b, f, e);
  buf_text(b, "</waveforms>\n");
}

static void put_document(struct buf *b, const struct sierra_file *f, const struct ecg12 *e) {
  if (f->damage == SIERRA_ENTITY_BOMB)
    xml_out_entity_bomb(b, "restingecgdata");
  buf_text(b, "<restingecgdata xmlns=\"http://www3.medical.philips.com\""
              " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" status=\"Not yet determined\" lang=\"en\">\n");
  if (f->damage == SIERRA_ENTITY_BOMB)
    buf_text(b, "<userdefines><userdefine><label>&j;</label></userdefine></userdefines>\n");
  put_documentinfo(b, f);
  put_acquisition(b, f, e);
  put_patient(b, &f->facts);
  put_interpretation(b, f);
  put_waveforms(b, f, e);
  buf_text(b, "</restingecgdata>\n");
}

int sierra_file_make(const struct sierra_file *options, const struct ecg12 *ecg, struct buf *ret) {
  struct buf plain _buf_cleanup_ = BUF_INIT(XML_OUT_MAX);
  size_t before = ret->len;
  if (ecg->n < 4 || ecg->n * 1000 % ecg->rate_hz != 0)
    return -EINVAL;
  put_document(&plain, options, ecg);
  const char *body = buf_cstr(&plain);
  if (!body)
    return plain.err ? plain.err : -ENOMEM;
  xml_out_encode(ret, body, options->encoding);
  if (options->damage == SIERRA_TRUNCATED && ret->err == 0)
    ret->len = before + (ret->len - before) / 4 * 2;
  return ret->err;
}
