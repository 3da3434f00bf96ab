#include "dicom_file.h"

#include <errno.h>
#include <string.h>

#define STUDY_UID "2.25.239957350119092577337660578743477969859"
#define SERIES_UID "2.25.87400416923790872762276827406641408309"
#define INSTANCE_UID "2.25.137238249127907222789626688789396850858"
#define FRAME_UID "2.25.304575599661966671143978754404238846672"
#define ECG_12_LEAD "1.2.840.10008.5.1.4.1.1.9.1.1"
#define ECG_GENERAL "1.2.840.10008.5.1.4.1.1.9.1.2"
#define OPHTHALMIC_8_BIT "1.2.840.10008.5.1.4.1.1.77.1.5.1"
#define COMPUTED_TOMOGRAPHY "1.2.840.10008.5.1.4.1.1.2"
#define JPEG_BASELINE "1.2.840.10008.1.2.4.50"
#define DAMAGED_LEAD ECG12_V3
#define SAMPLES_MAX 16384
#define GIGABYTE 0x40000000u

const char *const dicom_damage_names[DICOM_DAMAGES] = {
    [DICOM_WHOLE] = "none",
    [DICOM_TRUNCATED] = "truncated",
    [DICOM_NO_MAGIC] = "no-magic",
    [DICOM_LENGTH_BEYOND_FILE] = "length-beyond-file",
    [DICOM_NESTED_WITHOUT_END] = "nested-without-end",
    [DICOM_GIGABYTE] = "gigabyte",
    [DICOM_SHORT_DATA] = "short-data",
    [DICOM_NO_DATA] = "no-data",
    [DICOM_UNKNOWN_SYNTAX] = "unknown-syntax",
    [DICOM_OTHER_CLASS] = "other-class",
    [DICOM_BITS] = "bits",
    [DICOM_UNKNOWN_LEAD] = "unknown-lead",
    [DICOM_LEAD_TWICE] = "lead-twice",
    [DICOM_UNKNOWN_UNIT] = "unknown-unit",
    [DICOM_NO_SENSITIVITY] = "no-sensitivity",
    [DICOM_BAD_SENSITIVITY] = "bad-sensitivity",
    [DICOM_NO_FREQUENCY] = "no-frequency",
    [DICOM_CHANNELS] = "channels",
    [DICOM_NO_GROUP] = "no-group",
    [DICOM_BAD_LATERALITY] = "bad-laterality",
    [DICOM_TWO_LATERALITIES] = "two-lateralities",
    [DICOM_MORE_FRAMES] = "more-frames",
};

static void put_us(struct dcm_out *o, uint32_t tag, uint16_t value) {
  dcm_us(o, tag, &value, 1);
}

static void put_format(struct dcm_out *o, uint32_t tag, const char *vr, const char *format, unsigned value) {
  struct buf text _buf_cleanup_ = BUF_INIT(64);
  buf_format(&text, format, value);
  dcm_text(o, tag, vr, buf_cstr(&text));
}

static void put_code(struct dcm_out *o, uint32_t sequence, const char *value, const char *scheme, const char *meaning) {
  dcm_begin_sequence(o, sequence);
  dcm_begin_item(o);
  dcm_text(o, 0x00080100, "SH", value);
  dcm_text(o, 0x00080102, "SH", scheme);
  if (strcmp(scheme, "SCPECG") == 0)
    dcm_text(o, 0x00080103, "SH", "1.3");
  dcm_text(o, 0x00080104, "LO", meaning);
  dcm_end_item(o);
  dcm_end_sequence(o);
}

static void put_empty_sequence(struct dcm_out *o, uint32_t tag) {
  dcm_begin_sequence(o, tag);
  dcm_end_sequence(o);
}

/* ---- what all objects say ---- */

static void put_day(struct dcm_out *o, uint32_t tag, const struct file_clock *t) {
  struct buf text _buf_cleanup_ = BUF_INIT(64);
  if (t->year > 0)
    buf_format(&text, "%04u%02u%02u", t->year, t->month, t->day);
  dcm_text(o, tag, "DA", text.len > 0 ? buf_cstr(&text) : NULL);
}

static void put_clock(struct dcm_out *o, uint32_t tag, const struct file_clock *t) {
  struct buf text _buf_cleanup_ = BUF_INIT(64);
  if (t->year > 0)
    buf_format(&text, "%02u%02u%02u", t->hour, t->minute, t->second);
  dcm_text(o, tag, "TM", text.len > 0 ? buf_cstr(&text) : NULL);
}

static void put_moment(struct dcm_out *o, uint32_t tag, const struct file_clock *t) {
  struct buf text _buf_cleanup_ = BUF_INIT(64);
  if (t->year == 0)
    return;
  buf_format(&text, "%04u%02u%02u%02u%02u%02u", t->year, t->month, t->day, t->hour, t->minute, t->second);
  dcm_text(o, tag, "DT", buf_cstr(&text));
}

/* Groups 0008 (but what the modality adds), of the study and the equipment. */
static void put_study(struct dcm_out *o, const struct ecg_facts *s, const char *modality) {
  put_day(o, 0x00080020, &s->at);
  put_day(o, 0x00080023, &s->at);
  put_moment(o, 0x0008002A, &s->at);
  put_clock(o, 0x00080030, &s->at);
  put_clock(o, 0x00080033, &s->at);
  dcm_text(o, 0x00080050, "SH", NULL);
  dcm_text(o, 0x00080060, "CS", modality);
  dcm_text(o, 0x00080070, "LO", s->maker);
  dcm_text(o, 0x00080090, "PN", NULL);
  if (s->model)
    dcm_text(o, 0x00081090, "LO", s->model);
}

static void put_private(struct dcm_out *o) {
  dcm_text(o, 0x00090010, "LO", "SYNTHETIC PRIVATE");
  dcm_text(o, 0x00091001, "LO", "nobody knows this");
  dcm_header(o, 0x00091002, "UN", 6);
  buf_text(o->to, "\x01\x02\x03\x04\x05\x06");
}

static void put_patient(struct dcm_out *o, const struct ecg_facts *s) {
  struct buf name _buf_cleanup_ = BUF_INIT(1024);
  const char sex[2] = {s->sex, '\0'};
  if (s->last || s->first)
    buf_format(&name, "%s%s%s", s->last ? s->last : "", s->first ? "^" : "", s->first ? s->first : "");
  dcm_text(o, 0x00100010, "PN", name.len > 0 ? buf_cstr(&name) : NULL);
  dcm_text(o, 0x00100020, "LO", s->id);
  put_day(o, 0x00100030, &s->birth);
  dcm_text(o, 0x00100040, "CS", sex);
}

static void put_device(struct dcm_out *o, const struct ecg_facts *s) {
  if (s->serial)
    dcm_text(o, 0x00181000, "LO", s->serial);
  if (s->software)
    dcm_text(o, 0x00181020, "LO", s->software);
}

static void put_identifiers(struct dcm_out *o) {
  dcm_text(o, 0x0020000D, "UI", STUDY_UID);
  dcm_text(o, 0x0020000E, "UI", SERIES_UID);
  dcm_text(o, 0x00200010, "SH", "1");
  dcm_text(o, 0x00200011, "IS", "1");
  dcm_text(o, 0x00200013, "IS", "1");
}

static struct dcm_out begin_file(struct buf *to, const struct dicom_form *form, enum dicom_damage damage,
                                 const char *sop_class, const char *syntax_uid) {
  struct dcm_out o = {.to = to, .syntax = form->syntax, .undefined = form->undefined, .latin1 = form->latin1};
  size_t at = to->len + 128;
  if (damage == DICOM_OTHER_CLASS)
    sop_class = COMPUTED_TOMOGRAPHY;
  if (damage == DICOM_UNKNOWN_SYNTAX)
    syntax_uid = "1.2.840.10008.1.2.99";
  dcm_meta(&o, sop_class, INSTANCE_UID, syntax_uid);
  if (damage == DICOM_NO_MAGIC && to->err == 0)
    memcpy(to->data + at, "DUCK", 4);
  dcm_text(&o, 0x00080005, "CS", form->latin1 ? "ISO_IR 100" : "ISO_IR 192");
  return o;
}

static void put_class(struct dcm_out *o, enum dicom_damage damage, const char *sop_class) {
  dcm_text(o, 0x00080016, "UI", damage == DICOM_OTHER_CLASS ? COMPUTED_TOMOGRAPHY : sop_class);
  dcm_text(o, 0x00080018, "UI", INSTANCE_UID);
}

/* A sequence where the file may break. */
static void put_breaking_sequence(struct dcm_out *o, uint32_t tag, enum dicom_damage damage) {
  for (unsigned i = 0; i < 20000 && damage == DICOM_NESTED_WITHOUT_END; i++) {
    dcm_header(o, tag, "SQ", DICOM_UNDEFINED);
    dcm_u16(o, 0xFFFE);
    dcm_u16(o, 0xE000);
    dcm_u32(o, DICOM_UNDEFINED);
  }
  if (damage == DICOM_LENGTH_BEYOND_FILE)
    dcm_header(o, tag, "SQ", 0x7FFFFFF0);
  else if (damage != DICOM_NESTED_WITHOUT_END)
    put_empty_sequence(o, tag);
}

static int end_file(struct buf *to, size_t before, enum dicom_damage damage) {
  if (damage == DICOM_TRUNCATED && to->err == 0)
    to->len = before + (to->len - before) / 2;
  return to->err;
}

/* ---- ECG ---- */

/* n of the code, which is the lead's number in SCP-ECG. */
static const uint8_t lead_numbers[ECG12_LEADS] = {1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8};

static void put_source(struct dcm_out *o, const struct dicom_ecg_file *f, enum ecg12_lead lead, bool damaged) {
  struct buf code _buf_cleanup_ = BUF_INIT(64), meaning _buf_cleanup_ = BUF_INIT(64);
  unsigned n = lead_numbers[lead];
  if (damaged && f->damage == DICOM_UNKNOWN_LEAD)
    n = 999;
  if (damaged && f->damage == DICOM_LEAD_TWICE)
    n = lead_numbers[ECG12_V2];
  buf_format(&code, f->scpecg ? "5.6.3-9-%u" : "2:%u", n);
  buf_format(&meaning, "Lead %s", ecg12_lead_name(lead));
  put_code(o, 0x003A0208, buf_cstr(&code), f->scpecg ? "SCPECG" : "MDC", buf_cstr(&meaning));
}

static void put_scale(struct dcm_out *o, const struct dicom_ecg_file *f, enum ecg12_lead lead, bool damaged) {
  bool half = ecg12_lead_step(lead) == 25;
  const char *step = f->milli ? (half ? "0.0025" : "0.005") : (half ? "2.5" : "5");
  const char *sensitivity = f->correction ? "1" : step;
  if (damaged && f->damage == DICOM_NO_SENSITIVITY)
    return;
  dcm_text(o, 0x003A0210, "DS", damaged && f->damage == DICOM_BAD_SENSITIVITY ? "five" : sensitivity);
  if (damaged && f->damage == DICOM_UNKNOWN_UNIT)
    put_code(o, 0x003A0211, "mm[Hg]", "UCUM", "mmHg");
  else
    put_code(o, 0x003A0211, f->milli ? "mV" : "uV", "UCUM", f->milli ? "millivolt" : "microvolt");
  dcm_text(o, 0x003A0212, "DS", f->correction ? step : "1");
  dcm_text(o, 0x003A0213, "DS", "0");
}

static void put_channel(struct dcm_out *o, const struct dicom_ecg_file *f, enum ecg12_lead lead, bool damaged) {
  dcm_begin_item(o);
  put_source(o, f, lead, damaged);
  put_scale(o, f, lead, damaged);
  dcm_text(o, 0x003A0215, "DS", "0");
  put_us(o, 0x003A021A, 16);
  if (f->filters) {
    dcm_text(o, 0x003A0220, "DS", "0.05");
    dcm_text(o, 0x003A0221, "DS", "150");
    dcm_text(o, 0x003A0222, "DS", "50");
  }
  dcm_end_item(o);
}

static void put_samples(struct dcm_out *o, const struct ecg12 *e, size_t first, size_t n, enum dicom_damage damage) {
  if (damage == DICOM_NO_DATA)
    return;
  size_t there = damage == DICOM_SHORT_DATA ? n / 2 : n;
  dcm_header(o, 0x54001010, "OW", damage == DICOM_GIGABYTE ? GIGABYTE : (uint32_t)(there * ECG12_LEADS * 2));
  for (size_t i = first; i < first + there; i++) {
    for (enum ecg12_lead lead = 0; lead < ECG12_LEADS; lead++)
      dcm_u16(o, (uint16_t)e->lead[lead][i]);
  }
}

static void put_group(struct dcm_out *o, const struct dicom_ecg_file *f, const struct ecg12 *e, bool rhythm) {
  size_t first = 0, n = e->n;
  enum dicom_damage damage = rhythm ? f->damage : DICOM_WHOLE;
  if (!rhythm && !ecg12_median(e, &first, &n))
    return;
  dcm_begin_item(o);
  dcm_text(o, 0x003A0004, "CS", rhythm ? "ORIGINAL" : "DERIVED");
  put_us(o, 0x003A0005, damage == DICOM_CHANNELS ? ECG12_LEADS - 1 : ECG12_LEADS);
  dcm_ul(o, 0x003A0010, damage == DICOM_GIGABYTE ? GIGABYTE / (2 * ECG12_LEADS) : (uint32_t)n);
  if (damage != DICOM_NO_FREQUENCY)
    put_format(o, 0x003A001A, "DS", "%u", e->rate_hz);
  dcm_text(o, 0x003A0020, "SH", rhythm ? "RHYTHM" : "MEDIAN BEAT");
  dcm_begin_sequence(o, 0x003A0200);
  for (enum ecg12_lead lead = 0; lead < ECG12_LEADS; lead++)
    put_channel(o, f, lead, rhythm && lead == DAMAGED_LEAD);
  dcm_end_sequence(o);
  put_us(o, 0x54001004, damage == DICOM_BITS ? 8 : 16);
  dcm_text(o, 0x54001006, "CS", damage == DICOM_BITS ? "SB" : "SS");
  put_samples(o, e, first, n, damage);
  dcm_end_item(o);
}

static void put_annotations(struct dcm_out *o, const struct dicom_ecg_file *f) {
  static const uint16_t channels[2] = {1, 0};
  if (!f->facts.statement && !f->measurements)
    return;
  dcm_begin_sequence(o, 0x0040B020);
  if (f->facts.statement) {
    dcm_begin_item(o);
    dcm_us(o, 0x0040A0B0, channels, 2);
    put_us(o, 0x0040A180, 0);
    dcm_text(o, 0x00700006, "ST", f->facts.statement);
    dcm_end_item(o);
  }
  if (f->measurements) {
    dcm_begin_item(o);
    put_code(o, 0x004008EA, "ms", "UCUM", "millisecond");
    put_code(o, 0x0040A043, "2:16156", "MDC", "QRS Duration");
    dcm_us(o, 0x0040A0B0, channels, 2);
    put_us(o, 0x0040A180, 1);
    dcm_text(o, 0x0040A30A, "DS", "85");
    dcm_end_item(o);
  }
  dcm_end_sequence(o);
}

int dicom_ecg_file_make(const struct dicom_ecg_file *options, const struct ecg12 *ecg, struct buf *ret) {
  const char *sop_class = options->median ? ECG_GENERAL : ECG_12_LEAD;
  size_t before = ret->len;
  if (ecg->n == 0 || ecg->n > SAMPLES_MAX)
    return -EINVAL;
  struct dcm_out o =
      begin_file(ret, &options->form, options->damage, sop_class, dicom_syntax_uid(options->form.syntax));
  put_class(&o, options->damage, sop_class);
  put_study(&o, &options->facts, "ECG");
  if (options->form.private)
    put_private(&o);
  put_patient(&o, &options->facts);
  put_device(&o, &options->facts);
  put_identifiers(&o);
  put_breaking_sequence(&o, 0x00400555, options->damage);
  if (options->damage == DICOM_NESTED_WITHOUT_END)
    return ret->err;
  put_annotations(&o, options);
  dcm_begin_sequence(&o, 0x54000100);
  if (options->damage != DICOM_NO_GROUP)
    put_group(&o, options, ecg, true);
  if (options->median && options->damage != DICOM_NO_GROUP)
    put_group(&o, options, ecg, false);
  dcm_end_sequence(&o);
  return end_file(ret, before, options->damage);
}

/* ---- Ophthalmic Photography ---- */

static void put_eye(struct dcm_out *o, const struct dicom_fundus_file *f) {
  char eye[2] = {f->damage == DICOM_BAD_LATERALITY ? 'X' : f->laterality, '\0'};
  const char *other = f->laterality == 'R' ? "L" : "R";
  dcm_text(o, 0x00200020, "CS", NULL);
  if (f->eye == DICOM_SERIES_LATERALITY)
    dcm_text(o, 0x00200060, "CS", eye);
  else if (f->damage == DICOM_TWO_LATERALITIES)
    dcm_text(o, 0x00200060, "CS", other);
  if (f->eye == DICOM_IMAGE_LATERALITY)
    dcm_text(o, 0x00200062, "CS", eye);
  dcm_text(o, 0x00200200, "UI", FRAME_UID);
  if (f->facts.statement)
    dcm_text(o, 0x00204000, "LT", f->facts.statement);
}

static void put_photography(struct dcm_out *o) {
  static const uint32_t empty[] = {0x00220016, 0x00220017, 0x00220018, 0x00220019, 0x0022001B};
  dcm_text(o, 0x00220005, "CS", NULL);
  dcm_header(o, 0x0022000A, "FL", 0);
  dcm_header(o, 0x0022000B, "FL", 0);
  dcm_header(o, 0x0022000C, "FL", 4);
  dcm_u32(o, 0x42340000); /* 45 degrees */
  dcm_text(o, 0x0022000D, "CS", "NO");
  put_code(o, 0x00220015, "409898007", "SCT", "Fundus Camera");
  for (unsigned i = 0; i < sizeof(empty) / sizeof(empty[0]); i++)
    put_empty_sequence(o, empty[i]);
}

static void put_image(struct dcm_out *o, const struct dicom_fundus_file *f) {
  uint16_t bits = f->damage == DICOM_BITS ? 16 : 8;
  bool huge = f->damage == DICOM_GIGABYTE;
  put_us(o, 0x00280002, 3);
  dcm_text(o, 0x00280004, "CS", f->rgb ? "RGB" : "YBR_FULL_422");
  put_us(o, 0x00280006, f->planar);
  dcm_text(o, 0x00280008, "IS", f->damage == DICOM_MORE_FRAMES ? "3" : "1");
  dcm_at(o, 0x00280009, 0x00181063);
  put_us(o, 0x00280010, huge ? 18918 : f->rows);
  put_us(o, 0x00280011, huge ? 18918 : f->columns);
  put_us(o, 0x00280100, bits);
  put_us(o, 0x00280101, bits);
  put_us(o, 0x00280102, (uint16_t)(bits - 1));
  put_us(o, 0x00280103, 0);
  dcm_text(o, 0x00280301, "CS", "NO");
  dcm_text(o, 0x00282110, "CS", f->rgb ? "00" : "01");
  if (!f->rgb) {
    dcm_text(o, 0x00282112, "DS", "10");
    dcm_text(o, 0x00282114, "CS", "ISO_10918_1");
  }
}

static void put_pixels(struct dcm_out *o, const struct dicom_fundus_file *f) {
  size_t pixels = (size_t)f->rows * f->columns, n = 3 * pixels;
  size_t there = f->damage == DICOM_SHORT_DATA ? n / 2 : n;
  uint32_t len = f->damage == DICOM_GIGABYTE ? GIGABYTE : (uint32_t)(there + there % 2);
  dcm_header(o, 0x7FE00010, o->syntax == DICOM_IMPLICIT_LE ? "OW" : "OB", len);
  for (size_t i = 0; i < there; i++)
    buf_u8(o->to, f->planar ? f->rgb[3 * (i % pixels) + i / pixels] : f->rgb[i]);
  if (there % 2 != 0)
    buf_u8(o->to, 0);
}

static void put_fragment(struct dcm_out *o, const uint8_t *bytes, size_t n, bool last) {
  dcm_u16(o, 0xFFFE);
  dcm_u16(o, 0xE000);
  dcm_u32(o, (uint32_t)(n + n % 2));
  buf_add(o->to, bytes, n);
  if (last && n % 2 != 0)
    buf_u8(o->to, 0);
}

/* An empty offset table, then the fragments, each of an even length. */
static void put_jpeg(struct dcm_out *o, const struct dicom_fundus_file *f) {
  size_t n = f->damage == DICOM_SHORT_DATA ? f->jpeg_len / 2 : f->jpeg_len, pos = 0;
  unsigned fragments = f->fragments ? f->fragments : 1;
  size_t each = n / fragments / 2 * 2;
  dcm_header(o, 0x7FE00010, "OB", DICOM_UNDEFINED);
  put_fragment(o, NULL, 0, false);
  for (unsigned i = 1; i < fragments; i++, pos += each)
    put_fragment(o, f->jpeg + pos, each, false);
  if (f->damage == DICOM_GIGABYTE) {
    dcm_u16(o, 0xFFFE);
    dcm_u16(o, 0xE000);
    dcm_u32(o, GIGABYTE);
    buf_add(o->to, f->jpeg + pos, n - pos);
    return;
  }
  put_fragment(o, f->jpeg + pos, n - pos, true);
  dcm_u16(o, 0xFFFE);
  dcm_u16(o, 0xE0DD);
  dcm_u32(o, 0);
}

static void put_fundus(struct dcm_out *o, const struct dicom_fundus_file *f) {
  dcm_text(o, 0x00080008, "CS", "ORIGINAL\\PRIMARY");
  put_class(o, f->damage, OPHTHALMIC_8_BIT);
  put_study(o, &f->facts, "OP");
  put_code(o, 0x00082218, "5665001", "SCT", "Retina");
  if (f->form.private)
    put_private(o);
  put_patient(o, &f->facts);
  put_device(o, &f->facts);
  dcm_text(o, 0x00181063, "DS", "0");
  dcm_text(o, 0x0018106A, "CS", "NO TRIGGER");
  dcm_text(o, 0x00181800, "CS", "N");
  dcm_text(o, 0x00187004, "CS", NULL);
  put_identifiers(o);
  put_eye(o, f);
  put_photography(o);
  put_image(o, f);
}

int dicom_fundus_file_make(const struct dicom_fundus_file *options, struct buf *ret) {
  struct dicom_fundus_file f = *options;
  size_t before = ret->len;
  if ((!f.rgb && !f.jpeg) || f.rows == 0 || f.columns == 0)
    return -EINVAL;
  if (!f.rgb)
    f.form.syntax = DICOM_EXPLICIT_LE;
  struct dcm_out o =
      begin_file(ret, &f.form, f.damage, OPHTHALMIC_8_BIT, f.rgb ? dicom_syntax_uid(f.form.syntax) : JPEG_BASELINE);
  put_fundus(&o, &f);
  if (f.damage == DICOM_LENGTH_BEYOND_FILE || f.damage == DICOM_NESTED_WITHOUT_END)
    put_breaking_sequence(&o, 0x00400555, f.damage);
  if (f.damage == DICOM_NO_DATA || f.damage == DICOM_NESTED_WITHOUT_END)
    return ret->err;
  if (f.rgb)
    put_pixels(&o, &f);
  else
    put_jpeg(&o, &f);
  return end_file(ret, before, f.damage);
}
