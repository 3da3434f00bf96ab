#include "check.h"

#include "tags.h"
#include <asalee/bytes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 16

/* An element's value in the file; `items` of a sequence are read when somebody asks. */
struct element {
  uint32_t tag;
  char vr[3];
  const uint8_t *value;
  uint32_t n;  /* bytes; UNDEFINED where delimiters end it: then value..value + span holds it */
  size_t span; /* bytes of the value with its delimiters */
};

#define UNDEFINED UINT32_MAX
#define ITEM 0xFFFEE000u
#define ITEM_END 0xFFFEE00Du
#define SEQUENCE_END 0xFFFEE0DDu
#define PIXELS 0x7FE00010u

struct check {
  char *reason;
  bool failed;
};

__attribute__((format(printf, 2, 3))) static bool fail(struct check *c, const char *format, ...) {
  if (c->failed) /* the first reason stays */
    return false;
  va_list ap;
  va_start(ap, format);
  vsnprintf(c->reason, 256, format, ap);
  va_end(ap);
  c->failed = true;
  return false;
}

static uint32_t tag_of(dicom_tag tag) {
  return (uint32_t)(tag >> 32);
}

static uint32_t read_tag(struct acq_cur *c) {
  uint32_t group = acq_u16le(c);
  return group << 16 | acq_u16le(c);
}

static bool is_long(const char *vr) {
  return strstr("OB OD OF OL OV OW SQ SV UC UN UR UT UV", vr) != NULL;
}

static bool skip_dataset(struct acq_cur *c, bool delimited, int depth);

/* The items of a sequence up to its end. */
static bool skip_items(struct acq_cur *c, bool delimited, int depth) {
  while (acq_left(c)) {
    uint32_t tag = read_tag(c), n = acq_u32le(c);
    if (tag == SEQUENCE_END && delimited && n == 0)
      return !c->err;
    if (tag != ITEM)
      return false;
    if (n == UNDEFINED) {
      if (!skip_dataset(c, true, depth - 1))
        return false;
      continue;
    }
    struct acq_cur item = acq_sub(c, n);
    if (!skip_dataset(&item, false, depth - 1))
      return false;
  }
  return !delimited && !c->err;
}

/* Fragments of encapsulated pixels up to their end. */
static bool skip_fragments(struct acq_cur *c) {
  while (acq_left(c)) {
    uint32_t tag = read_tag(c), n = acq_u32le(c);
    if (tag == SEQUENCE_END && n == 0)
      return !c->err;
    if (tag != ITEM || n == UNDEFINED || !acq_bytes(c, n))
      return false;
  }
  return false;
}

/* The next element; false at the end (tag 0) or where the form breaks (c->err). */
static bool next_element(struct acq_cur *c, int depth, struct element *ret) {
  *ret = (struct element){0};
  if (!acq_left(c))
    return false;
  ret->tag = read_tag(c);
  if (ret->tag == ITEM_END) {
    ret->n = acq_u32le(c);
    return !c->err;
  }
  const uint8_t *vr = acq_bytes(c, 2);
  if (!vr)
    return false;
  memcpy(ret->vr, vr, 2);
  if (vr[0] < 'A' || vr[0] > 'Z' || vr[1] < 'A' || vr[1] > 'Z') {
    acq_refuse(c, -EPROTO);
    return false;
  }
  if (is_long(ret->vr)) {
    acq_bytes(c, 2);
    ret->n = acq_u32le(c);
  } else
    ret->n = acq_u16le(c);
  ret->value = c->at;
  bool sequence = !strcmp(ret->vr, "SQ"), whole = true;
  if (ret->n == UNDEFINED)
    whole = sequence ? skip_items(c, true, depth) : ret->tag == PIXELS && skip_fragments(c);
  else if (ret->n % 2)
    whole = false;
  else {
    struct acq_cur value = acq_sub(c, ret->n);
    whole = !sequence || skip_items(&value, false, depth);
  }
  if (!whole)
    acq_refuse(c, -EPROTO);
  ret->span = (size_t)(c->at - ret->value);
  return !c->err;
}

static bool skip_dataset(struct acq_cur *c, bool delimited, int depth) {
  struct element e;
  uint32_t last = 0;
  if (depth == 0)
    return false;
  while (next_element(c, depth, &e)) {
    if (e.tag == ITEM_END)
      return delimited && e.n == 0;
    if (e.tag <= last) /* in ascending order, each once */
      return false;
    last = e.tag;
  }
  return !delimited && !c->err;
}

/* ---- looking up: in bytes whose form has been walked through once ---- */

struct dataset {
  const uint8_t *at;
  size_t n;
};

static bool find(struct dataset d, dicom_tag tag, struct element *ret) {
  struct acq_cur c = acq_cur(d.at, d.n);
  struct element e;
  while (next_element(&c, DEPTH_MAX, &e))
    if (e.tag == tag_of(tag)) {
      *ret = e;
      return true;
    }
  return false;
}

/* The items of a sequence in turn; none where it is not there. */
static struct acq_cur items(struct dataset d, dicom_tag sequence) {
  struct element e;
  return find(d, sequence, &e) ? acq_cur(e.value, e.span) : acq_cur(NULL, 0);
}

static bool next_item(struct acq_cur *c, struct dataset *ret) {
  if (!acq_left(c) || read_tag(c) != ITEM)
    return false;
  uint32_t n = acq_u32le(c);
  const uint8_t *first = c->at;
  if (n == UNDEFINED)
    skip_dataset(c, true, DEPTH_MAX);
  else
    acq_bytes(c, n);
  *ret = (struct dataset){first, (size_t)(c->at - first)};
  return !c->err;
}

static bool has(struct dataset d, dicom_tag tag) {
  struct element e;
  return find(d, tag, &e);
}

/* A text value without its padding into a field of 65 bytes; false when it is not there or longer. */
static bool text(struct dataset d, dicom_tag tag, char ret[static 65]) {
  struct element e;
  if (!find(d, tag, &e) || e.n > 64)
    return false;
  memcpy(ret, e.value, e.n);
  ret[e.n] = 0;
  for (size_t n = strlen(ret); n && ret[n - 1] == ' '; n--)
    ret[n - 1] = 0;
  return true;
}

static bool text_is(struct dataset d, dicom_tag tag, const char *want) {
  char value[65];
  return text(d, tag, value) && !strcmp(value, want);
}

/* -1 where there is none. */
static int64_t number(struct dataset d, dicom_tag tag) {
  struct element e;
  if (!find(d, tag, &e) || (e.n != 2 && e.n != 4))
    return -1;
  struct acq_cur c = acq_cur(e.value, e.n);
  return e.n == 2 ? acq_u16le(&c) : acq_u32le(&c);
}

static bool decimal(struct dataset d, dicom_tag tag, struct dec *ret) {
  char value[65];
  return text(d, tag, value) && dec_parse(value, ret) == 0;
}

/* ---- UIDs ---- */

bool check_uid(const char *uid, size_t n) {
  if (n == 0 || n > 64)
    return false;
  for (size_t i = 0; i < n; i++) {
    bool first = i == 0 || uid[i - 1] == '.', last = i + 1 == n || uid[i + 1] == '.';
    if (uid[i] == '.' ? first || i + 1 == n : uid[i] < '0' || uid[i] > '9' || (uid[i] == '0' && first && !last))
      return false;
  }
  return true;
}

/* Every UI value, however deep. */
static bool uids(struct dataset d, int depth) {
  struct acq_cur c = acq_cur(d.at, d.n);
  struct element e;
  while (next_element(&c, depth, &e)) {
    struct dataset item;
    if (!strcmp(e.vr, "SQ")) {
      struct acq_cur all = acq_cur(e.value, e.span);
      while (next_item(&all, &item))
        if (!uids(item, depth - 1))
          return false;
    }
    for (size_t at = 0; !strcmp(e.vr, "UI") && at < e.n;) {
      const uint8_t *end = memchr(e.value + at, '\\', e.n - at);
      size_t n = end ? (size_t)(end - e.value) - at : e.n - at;
      n -= !end && n && e.value[at + n - 1] == 0; /* padding */
      if (!check_uid((const char *)e.value + at, n))
        return false;
      at = end ? (size_t)(end - e.value) + 1 : e.n;
    }
  }
  return true;
}

/* ---- electrocardiograms ---- */

static bool check_group(struct check *c, struct dataset group, bool twelve, int64_t *channels_in_all) {
  int64_t channels = number(group, NUMBER_OF_CHANNELS), samples = number(group, NUMBER_OF_SAMPLES);
  struct dec rate, low, high;
  struct element data;
  struct dataset channel;
  size_t defined = 0;
  if (channels < 1 || channels > (twelve ? 13 : 24))
    return fail(c, "a multiplex group has a number of channels outside its IOD's limits");
  *channels_in_all += channels;
  if (samples < 1 || (twelve && samples > 16384))
    return fail(c, "a multiplex group has a number of samples outside its IOD's limits");
  if (!decimal(group, SAMPLING_FREQUENCY, &rate) || dec_cmp(rate, (struct dec){200, 0}) < 0 ||
      dec_cmp(rate, (struct dec){1000, 0}) > 0)
    return fail(c, "a sampling frequency outside 200 to 1000 Hz");
  if (!text_is(group, WAVEFORM_SAMPLE_INTERPRETATION, "SS") || number(group, WAVEFORM_BITS_ALLOCATED) != 16)
    return fail(c, "waveform samples that are not signed 16 bits");
  if (!find(group, WAVEFORM_DATA, &data) || (int64_t)data.n != channels * samples * 2)
    return fail(c, "waveform data that is not as long as its channels and samples say");
  for (struct acq_cur all = items(group, CHANNEL_DEFINITION); next_item(&all, &channel); defined++) {
    if (!has(channel, CHANNEL_SOURCE) || !has(channel, CHANNEL_SENSITIVITY))
      return fail(c, "a channel without source or sensitivity");
    if (decimal(channel, FILTER_LOW, &low) && decimal(channel, FILTER_HIGH, &high) && dec_cmp(low, high) >= 0)
      return fail(c, "a channel's filters are the wrong way round");
  }
  return (int64_t)defined == channels || fail(c, "a channel is not defined");
}

static bool check_ecg(struct check *c, struct dataset d, bool twelve) {
  struct dataset group;
  int64_t channels = 0;
  size_t groups = 0;
  if (has(d, LATERALITY))
    return fail(c, "an electrocardiogram with a laterality");
  if (!text_is(d, MODALITY, "ECG"))
    return fail(c, "an electrocardiogram of another modality");
  for (struct acq_cur all = items(d, WAVEFORM_SEQUENCE); next_item(&all, &group); groups++)
    if (!check_group(c, group, twelve, &channels))
      return false;
  if (groups < 1 || groups > (twelve ? 5 : 4))
    return fail(c, "a number of multiplex groups outside the IOD's limits");
  return !twelve || channels <= 13 || fail(c, "more than 13 channels in all in a 12-lead electrocardiogram");
}

/* ---- ophthalmic photographs ---- */

/* Rows, columns and components of a baseline JPEG's frame header. */
static bool jpeg_frame(const uint8_t *jpeg, size_t n, int64_t ret[static 3]) {
  struct acq_cur c = acq_cur(jpeg, n);
  if (acq_u16be(&c) != 0xFFD8)
    return false;
  while (!c.err) {
    unsigned marker = acq_u16be(&c), length = acq_u16be(&c);
    if (marker < 0xFF01 || length < 2 || marker == 0xFFDA)
      return false;
    struct acq_cur segment = acq_sub(&c, length - 2u);
    if (marker == 0xFFC0) {
      if (acq_u8(&segment) != 8)
        return false;
      ret[0] = acq_u16be(&segment);
      ret[1] = acq_u16be(&segment);
      ret[2] = acq_u8(&segment);
      return !segment.err;
    }
    if (marker > 0xFFC0 && marker <= 0xFFCF && marker != 0xFFC4 && marker != 0xFFC8 && marker != 0xFFCC)
      return false;
  }
  return false;
}

static bool check_fragment(struct check *c, struct dataset d, const struct element *pixels) {
  struct acq_cur cur = acq_cur(pixels->value, pixels->span);
  if (read_tag(&cur) != ITEM || !acq_bytes(&cur, acq_u32le(&cur)) || read_tag(&cur) != ITEM)
    return fail(c, "encapsulated pixels without an offset table and a fragment");
  uint32_t n = acq_u32le(&cur);
  const uint8_t *jpeg = acq_bytes(&cur, n);
  if (read_tag(&cur) != SEQUENCE_END || cur.err || n < 4)
    return fail(c, "the one frame is not in one fragment");
  if (jpeg[n - 1] == 0) /* padding: a JPEG ends with D9 */
    n--;
  int64_t frame[3];
  if (jpeg[n - 2] != 0xFF || jpeg[n - 1] != 0xD9 || !jpeg_frame(jpeg, n, frame))
    return fail(c, "the fragment is not a baseline JPEG from its first to its last marker");
  if (frame[0] != number(d, ROWS) || frame[1] != number(d, COLUMNS) || frame[2] != number(d, SAMPLES_PER_PIXEL))
    return fail(c, "rows, columns or samples are not the JPEG's");
  bool grey = text_is(d, PHOTOMETRIC_INTERPRETATION, "MONOCHROME2");
  if (grey != (frame[2] == 1))
    return fail(c, "the photometric interpretation is not the JPEG's");
  return text_is(d, LOSSY_COMPRESSION, "01") || fail(c, "a JPEG that is not called lossy");
}

static bool check_pixels(struct check *c, struct dataset d, bool jpeg) {
  struct element pixels;
  if (!find(d, PIXEL_DATA, &pixels) || jpeg != (pixels.n == UNDEFINED))
    return fail(c, "the pixels are not in the transfer syntax that the file names");
  if (number(d, BITS_ALLOCATED) != 8 || number(d, BITS_STORED) != 8 || number(d, HIGH_BIT) != 7 ||
      number(d, PIXEL_REPRESENTATION) != 0)
    return fail(c, "samples that are not 8 bits");
  if (jpeg)
    return check_fragment(c, d, &pixels);
  int64_t bytes = number(d, ROWS) * number(d, COLUMNS) * number(d, SAMPLES_PER_PIXEL);
  return (bytes > 0 && pixels.n == bytes + bytes % 2) ||
         fail(c, "the pixels are not as many as rows, columns and samples say");
}

static bool check_photograph(struct check *c, struct dataset d, bool jpeg) {
  bool dilated = text_is(d, PUPIL_DILATED, "YES");
  if (!text_is(d, MODALITY, "OP"))
    return fail(c, "an ophthalmic photograph of another modality");
  if (!text_is(d, IMAGE_LATERALITY, "L") && !text_is(d, IMAGE_LATERALITY, "R") && !text_is(d, IMAGE_LATERALITY, "B"))
    return fail(c, "an ophthalmic photograph of neither eye");
  if (dilated != has(d, MYDRIATIC_AGENT) || dilated != has(d, DEGREE_OF_DILATION))
    return fail(c, "agent and degree go with a dilated pupil, and only with one");
  if (!text_is(d, BURNED_IN_ANNOTATION, "YES") && !text_is(d, BURNED_IN_ANNOTATION, "NO"))
    return fail(c, "nothing says whether there is writing in the picture");
  if (!has(d, ANATOMIC_REGION) || !has(d, ACQUISITION_DEVICE_TYPE))
    return fail(c, "no anatomic region, or no type of device");
  return check_pixels(c, d, jpeg);
}

/* ---- reports ---- */

static bool check_content(struct check *c, struct dataset d, int depth) {
  struct dataset item, value;
  if (depth == 0)
    return fail(c, "a report that is too deep");
  for (struct acq_cur all = items(d, CONTENT); next_item(&all, &item);) {
    struct acq_cur values = items(item, MEASURED_VALUE);
    if (!has(item, RELATIONSHIP) || !has(item, VALUE_TYPE) || !has(item, CONCEPT_NAME))
      return fail(c, "a content item without relationship, type or name");
    if (text_is(item, VALUE_TYPE, "NUM") &&
        (!next_item(&values, &value) || !has(value, UNITS_CODE) || !has(value, NUMERIC_VALUE)))
      return fail(c, "a measured value without a number or a unit");
    if (!check_content(c, item, depth - 1))
      return false;
  }
  return true;
}

static bool check_report(struct check *c, struct dataset d) {
  if (!text_is(d, MODALITY, "SR") || !text_is(d, VALUE_TYPE, "CONTAINER") || !has(d, CONTENT))
    return fail(c, "a report whose root is not a container with content");
  return check_content(c, d, DEPTH_MAX);
}

/* ---- the file ---- */

#define PREAMBLE 128

static bool check_file(struct check *c, const uint8_t *file, size_t n) {
  struct element length;
  if (n < PREAMBLE + 4 || memcmp(file + PREAMBLE, "DICM", 4))
    return fail(c, "not a DICOM file");
  struct acq_cur cur = acq_cur(file + PREAMBLE + 4, n - PREAMBLE - 4);
  if (!next_element(&cur, 1, &length) || length.tag != 0x00020000 || length.n != 4)
    return fail(c, "meta information without its length");
  struct acq_cur value = acq_cur(length.value, 4), walk = acq_sub(&cur, acq_u32le(&value));
  struct dataset meta = {walk.at, acq_left(&walk)}, d = {cur.at, acq_left(&cur)};
  if (cur.err || !skip_dataset(&walk, false, 1) || !skip_dataset(&cur, false, DEPTH_MAX))
    return fail(c, "the elements are not in the form of explicit VR, little endian");
  bool jpeg = text_is(meta, DICOM_TAG(0x0002, 0x0010, "UI"), DICOM_JPEG_BASELINE);
  if (!jpeg && !text_is(meta, DICOM_TAG(0x0002, 0x0010, "UI"), DICOM_EXPLICIT))
    return fail(c, "a transfer syntax that is not ours");
  if (!uids(meta, DEPTH_MAX) || !uids(d, DEPTH_MAX))
    return fail(c, "a UID that is none");
  char sop[65], meta_sop[65];
  if (!text(d, SOP_CLASS_UID, sop) || !text(meta, DICOM_TAG(0x0002, 0x0002, "UI"), meta_sop) || strcmp(sop, meta_sop) ||
      !text(d, SOP_INSTANCE_UID, sop) || !text(meta, DICOM_TAG(0x0002, 0x0003, "UI"), meta_sop) ||
      strcmp(sop, meta_sop))
    return fail(c, "the meta information names another object");
  if (!has(d, STUDY_INSTANCE_UID) || !has(d, SERIES_INSTANCE_UID) || !has(d, PATIENT_ID))
    return fail(c, "an object without study, series or patient");
  if (text_is(d, SOP_CLASS_UID, OPHTHALMIC_PHOTOGRAPHY_8))
    return check_photograph(c, d, jpeg);
  if (jpeg)
    return fail(c, "a JPEG where there are no pixels");
  if (text_is(d, SOP_CLASS_UID, TWELVE_LEAD_ECG) || text_is(d, SOP_CLASS_UID, GENERAL_ECG))
    return check_ecg(c, d, text_is(d, SOP_CLASS_UID, TWELVE_LEAD_ECG));
  if (text_is(d, SOP_CLASS_UID, COMPREHENSIVE_SR))
    return check_report(c, d);
  return fail(c, "an object of a class that is not known here");
}

bool check_object(const uint8_t *file, size_t n, char reason[static 256]) {
  struct check c = {.reason = reason};
  return check_file(&c, file, n);
}
