#include "decode.h"

#include "decode_pixels.h"
#include "decode_text.h"
#include "str.h"
#include "tags.h"
#include <asalee/export.h>
#include <asalee/flat.h>

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* ---- what the driver knows, in the order it gets it ---- */

struct attribute {
  dicom_tag tag;
  const struct attribute *items; /* of a sequence */
};

static const struct attribute code[] = {{CODE_VALUE, NULL}, {CODING_SCHEME, NULL}, {CODE_MEANING, NULL}, {0}};
static const struct attribute channel[] = {{CHANNEL_LABEL, NULL},
                                           {CHANNEL_SOURCE, code},
                                           {CHANNEL_DERIVATION, NULL},
                                           {CHANNEL_SENSITIVITY, NULL},
                                           {CHANNEL_SENSITIVITY_UNITS, code},
                                           {CHANNEL_CORRECTION, NULL},
                                           {CHANNEL_BASELINE, NULL},
                                           {CHANNEL_TIME_SKEW, NULL},
                                           {CHANNEL_SAMPLE_SKEW, NULL},
                                           {CHANNEL_OFFSET, NULL},
                                           {FILTER_LOW, NULL},
                                           {FILTER_HIGH, NULL},
                                           {FILTER_NOTCH, NULL},
                                           {0}};
static const struct attribute group[] = {{GROUP_TIME_OFFSET, NULL},     {WAVEFORM_ORIGINALITY, NULL},
                                         {NUMBER_OF_CHANNELS, NULL},    {NUMBER_OF_SAMPLES, NULL},
                                         {SAMPLING_FREQUENCY, NULL},    {MULTIPLEX_GROUP_LABEL, NULL},
                                         {CHANNEL_DEFINITION, channel}, {WAVEFORM_PADDING, NULL},
                                         {WAVEFORM_DATA, NULL},         {0}};
static const struct attribute context[] = {{CONCEPT_NAME, code},  {TEXT_VALUE, NULL}, {CONCEPT_CODE, code},
                                           {NUMERIC_VALUE, NULL}, {UNITS_CODE, code}, {0}};
static const struct attribute annotation[] = {{UNFORMATTED_TEXT, NULL},
                                              {CONCEPT_NAME, code},
                                              {CONCEPT_CODE, code},
                                              {NUMERIC_VALUE, NULL},
                                              {UNITS_CODE, code},
                                              {SAMPLE_POSITIONS, NULL},
                                              {0}};
static const struct attribute root[] = {{SOP_CLASS_UID, NULL},
                                        {ACQUISITION_DATETIME, NULL},
                                        {ACQUISITION_DATE, NULL},
                                        {ACQUISITION_TIME, NULL},
                                        {CONTENT_DATE, NULL},
                                        {CONTENT_TIME, NULL},
                                        {TIMEZONE_OFFSET, NULL},
                                        {MANUFACTURER, NULL},
                                        {MODEL_NAME, NULL},
                                        {DEVICE_SERIAL_NUMBER, NULL},
                                        {SOFTWARE_VERSIONS, NULL},
                                        {PATIENT_NAME, NULL},
                                        {PATIENT_ID, NULL},
                                        {PATIENT_BIRTH_DATE, NULL},
                                        {PATIENT_SEX, NULL},
                                        {LATERALITY, NULL},
                                        {IMAGE_LATERALITY, NULL},
                                        {ADMITTING_DIAGNOSES, NULL},
                                        {REASON_FOR_PROCEDURE, NULL},
                                        {PATIENT_HISTORY, NULL},
                                        {PATIENT_COMMENTS, NULL},
                                        {VISIT_COMMENTS, NULL},
                                        {IMAGE_COMMENTS, NULL},
                                        {ACQUISITION_CONTEXT, context},
                                        {WAVEFORM_ANNOTATION, annotation},
                                        {WAVEFORM_SEQUENCE, group},
                                        {0}};
/* What is read and not passed on as it stands. */
static const dicom_tag ours[] = {SPECIFIC_CHARACTER_SET,
                                 WAVEFORM_BITS_ALLOCATED,
                                 WAVEFORM_SAMPLE_INTERPRETATION,
                                 SAMPLES_PER_PIXEL,
                                 PHOTOMETRIC_INTERPRETATION,
                                 PLANAR_CONFIGURATION,
                                 NUMBER_OF_FRAMES,
                                 ROWS,
                                 COLUMNS,
                                 BITS_ALLOCATED,
                                 BITS_STORED,
                                 HIGH_BIT,
                                 PIXEL_REPRESENTATION,
                                 DICOM_TAG(0x7FE0, 0x0010, "OW")};
#define KNOWN_MAX 256

static size_t collect(const struct attribute *table, dicom_tag known[static KNOWN_MAX], size_t n) {
  for (; table->tag && n < KNOWN_MAX; table++) {
    known[n++] = table->tag;
    if (table->items)
      n = collect(table->items, known, n);
  }
  return n;
}

/* ---- kinds of objects ---- */

enum kind { REFUSED, ECG, FUNDUS };

static const struct {
  const char *uid, *name;
  enum kind kind;
} classes[] = {
    {TWELVE_LEAD_ECG, "12-lead ECG", ECG},
    {GENERAL_ECG, "General ECG", ECG},
    {"1.2.840.10008.5.1.4.1.1.9.1.3", "Ambulatory ECG", ECG},
    {OPHTHALMIC_PHOTOGRAPHY_8, "Ophthalmic Photography 8 Bit", FUNDUS},
    {"1.2.840.10008.5.1.4.1.1.77.1.5.2", "Ophthalmic Photography 16 Bit", REFUSED},
    {"1.2.840.10008.5.1.4.1.1.77.1.5.4", "Ophthalmic Tomography", REFUSED},
    {"1.2.840.10008.5.1.4.1.1.77.1.5.5", "Wide Field Ophthalmic Photography", REFUSED},
    {"1.2.840.10008.5.1.4.1.1.77.1.5.6", "Wide Field Ophthalmic Photography", REFUSED},
    /* Neither says what it shows: it may as well be a scanned letter. */
    {"1.2.840.10008.5.1.4.1.1.77.1.4", "VL Photographic", REFUSED},
    {"1.2.840.10008.5.1.4.1.1.7", "Secondary Capture", REFUSED},
    {"1.2.840.10008.5.1.4.1.1.7.4", "Secondary Capture", REFUSED},
    {"1.2.840.10008.5.1.4.1.1.9.1.4", "32-bit ECG", REFUSED},
    {"1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF", REFUSED},
    {"1.2.840.10008.1.3.10", "DICOMDIR", REFUSED},
};

/* ---- writing ---- */

struct decoding {
  struct dicom *object;
  struct buf out;
  char *reason;
};

static int refuse(struct decoding *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(struct decoding *d, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  vsnprintf(d->reason, 256, format, ap);
  va_end(ap);
  return -EPROTO;
}

/* Returns where the entry's length stands. */
static size_t put_head(struct buf *out, dicom_tag tag, char kind, size_t n) {
  buf_u32le(out, (uint32_t)(tag >> 32));
  buf_u8(out, (uint8_t)kind);
  buf_u32le(out, (uint32_t)n);
  return out->len - 4;
}

static void put_text(struct buf *out, dicom_tag tag, enum decode_alphabet alphabet, const struct dicom_value *value) {
  const size_t head = put_head(out, tag, 't', 0), first = out->len;
  decode_text(alphabet, value->bytes, value->n, FLAT_TEXT_MAX, out);
  for (unsigned i = 0; i < 4 && !out->err; i++)
    out->data[head + i] = (uint8_t)((out->len - first) >> 8 * i);
}

/* ---- waveforms ---- */

/* How a sample stands in the file. */
struct sampling {
  bool wide, is_signed, words;
};

static int read_sampling(struct decoding *d, struct dicom_item item, bool words, struct sampling *ret) {
  uint32_t bits;
  char kind[8];
  if (!decode_number(item, WAVEFORM_BITS_ALLOCATED, &bits) ||
      !decode_word(item, WAVEFORM_SAMPLE_INTERPRETATION, kind, sizeof kind))
    return refuse(d, "a waveform that does not say how its samples are written");
  *ret = (struct sampling){.wide = bits == 16, .is_signed = kind[0] == 'S', .words = words};
  if (strcmp(kind, bits == 16 ? "SS" : "SB") && strcmp(kind, bits == 16 ? "US" : "UB"))
    return refuse(d, "a waveform of companded or other than 8 or 16 bit samples");
  if (bits != 8 && bits != 16)
    return refuse(d, "a waveform of %u bit samples", (unsigned)bits);
  if (ret->wide && !words && !strcmp(dicom_transfer_syntax(d->object), DICOM_EXPLICIT_BIG))
    return refuse(d, "16 bit samples written as bytes in a file of big-endian words");
  return 0;
}

/* n values, each in as many bits as a driver has for it. */
static int put_samples(struct decoding *d, dicom_tag tag, const struct sampling *s, const uint8_t *from, size_t n) {
  put_head(&d->out, tag, 'w', 2 * n);
  uint8_t *to = buf_extend(&d->out, 2 * n);
  for (size_t i = 0; to && i < n; i++) {
    int32_t v = s->wide ? from[2 * i] | from[2 * i + 1] << 8 : from[i];
    if (s->is_signed)
      v = s->wide ? (int16_t)v : (int8_t)v;
    if (v > INT16_MAX)
      return refuse(d, "unsigned samples above 32767");
    to[2 * i] = (uint8_t)v;
    to[2 * i + 1] = (uint8_t)(v >> 8);
  }
  return 0;
}

static int put_waveform(struct decoding *d, struct dicom_item item, dicom_tag tag) {
  struct dicom_value value;
  struct sampling s = {0};
  uint32_t channels = 0, samples = 0;
  if (!dicom_get(item, tag, &value) || !value.n)
    return 0;
  /* Numbers of other attributes are read before the value is looked at again: its bytes stay where they are. */
  int r = read_sampling(d, item, value.words, &s);
  if (r < 0)
    return r;
  uint64_t n = 1;
  if (tag == WAVEFORM_DATA) {
    if (!decode_number(item, NUMBER_OF_CHANNELS, &channels) || !decode_number(item, NUMBER_OF_SAMPLES, &samples))
      return refuse(d, "a waveform that does not say how many samples it has");
    n = (uint64_t)channels * samples;
  }
  const uint64_t bytes = n * (s.wide ? 2 : 1);
  if (bytes + bytes % 2 != value.n && (tag == WAVEFORM_DATA || bytes > value.n))
    return refuse(d, "a waveform of another length than its channels and samples have");
  return put_samples(d, tag, &s, value.bytes, (size_t)n);
}

/* ---- attributes ---- */

static int put_item(struct decoding *d, struct dicom_item at, const struct attribute *table,
                    enum decode_alphabet alphabet) {
  struct dicom_value value;
  int r = 0;
  if (dicom_get(at, SPECIFIC_CHARACTER_SET, &value))
    alphabet = decode_alphabet(value.bytes, value.n);
  for (; table->tag && r == 0 && !d->out.err; table++) {
    if (table->items) {
      struct dicom_item item = {0};
      while (r == 0 && !d->out.err && dicom_next(at, table->tag, &item)) {
        put_head(&d->out, table->tag, '(', 0);
        r = put_item(d, item, table->items, alphabet);
        put_head(&d->out, table->tag, ')', 0);
      }
    } else if (table->tag == WAVEFORM_DATA || table->tag == WAVEFORM_PADDING) {
      r = put_waveform(d, at, table->tag);
    } else if (dicom_get(at, table->tag, &value) && value.n) {
      put_text(&d->out, table->tag, alphabet, &value);
    }
  }
  return r;
}

/* What came together so far, to the file. */
static int flush(struct decoding *d, int fd) {
  int r = d->out.err ? d->out.err : fd_write_all(fd, d->out.data, d->out.len);
  buf_reset(&d->out);
  return r;
}

static int put_pictures(struct decoding *d, int fd) {
  struct decode_frames frames;
  const char *why = "";
  int r = decode_frames(d->object, &frames, &why);
  for (size_t i = 0; r == 0 && i < frames.n; i++) {
    struct decode_picture picture;
    r = decode_frame(&frames, i, &picture, &why);
    if (r < 0)
      break;
    put_head(&d->out, PIXEL_DATA, 'p', picture.n);
    r = flush(d, fd);
    if (r == 0)
      r = fd_write_all(fd, picture.bytes, picture.n);
    decode_picture_finish(&picture);
  }
  return r == -EPROTO ? refuse(d, "%s", why) : r;
}

static int read_kind(struct decoding *d, enum kind *ret) {
  char uid[65];
  if (!decode_word(dicom_root(d->object), SOP_CLASS_UID, uid, sizeof uid))
    return refuse(d, "no DICOM file, or one that does not say what it is");
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
    if (strcmp(uid, classes[i].uid))
      continue;
    *ret = classes[i].kind;
    return *ret ? 0 : refuse(d, "a kind of object that is not taken: %s", classes[i].name);
  }
  return refuse(d, "a kind of object that is not taken");
}

static int write_all(struct decoding *d, int fd) {
  enum kind kind;
  int r = read_kind(d, &kind);
  if (r < 0)
    return r;
  buf_text(&d->out, FLAT_MAGIC);
  r = put_item(d, dicom_root(d->object), root, ALPHABET_ASCII);
  if (r == 0 && d->out.err == -EFBIG)
    return refuse(d, "more than a record holds");
  if (r == 0)
    r = flush(d, fd);
  if (r == 0 && kind == FUNDUS)
    r = put_pictures(d, fd);
  put_head(&d->out, 0, '.', 0);
  if (r == 0)
    r = flush(d, fd);
  return r ? r : dicom_error(d->object);
}

int decode(const uint8_t *file, size_t n, int fd, char reason[static 256]) {
  struct decoding d = {.out = BUF_INIT(FLAT_ATTRIBUTES_MAX), .reason = reason};
  dicom_tag known[KNOWN_MAX];
  size_t n_known = collect(root, known, 0);
  for (size_t i = 0; i < sizeof ours / sizeof *ours && n_known < KNOWN_MAX; i++)
    known[n_known++] = ours[i];
  const char *why = "";
  int r = dicom_read(file, n, known, n_known, &d.object, &why);
  if (r == 0)
    r = write_all(&d, fd);
  else if (r == -EPROTO)
    refuse(&d, "no DICOM file that can be read: %s", why);
  if (r == -ENOMEM) /* what a small file cannot need by honest means */
    r = refuse(&d, "it takes more memory than a reading may");
  buf_finish(&d.out);
  dicom_destroy(d.object);
  return r;
}
