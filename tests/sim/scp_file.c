#include "scp_file.h"

#include "scp_code.h"
#include "scp_plan.h"

#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER 16u
#define FIRST_SECTION 6u
#define POINTER 10u
#define STANDARD_SECTIONS 12u
#define EXTRA_MAX 8u
#define SECTIONS_MAX (STANDARD_SECTIONS + EXTRA_MAX)
#define TEXT_MAX 4096u
#define STREAM_MAX 65534u
#define TABLE_DEFAULT 19999u
#define NOT_COMPUTED 29999u
#define WAVE_ABSENT 19999u
#define AXIS_UNDEFINED 999u

struct section {
  unsigned id;
  struct buf body; /* with its header */
};

struct file {
  const struct scp_options *o;
  struct scp_plan plan;
  struct scp_tables tables;
  bool is_coded;
  struct section section[SECTIONS_MAX]; /* in the file's order */
  unsigned n;
};

/* ---- bytes ---- */

static void set16(struct buf *b, size_t at, unsigned v) {
  if (at + 2 > b->len)
    return;
  b->data[at] = (uint8_t)v;
  b->data[at + 1] = (uint8_t)(v >> 8);
}

static void set32(struct buf *b, size_t at, size_t v) {
  set16(b, at, v & 0xFFFF);
  set16(b, at + 2, (unsigned)(v >> 16) & 0xFFFF);
}

static unsigned get16(const struct buf *b, size_t at) {
  return at + 2 <= b->len ? b->data[at] | (unsigned)b->data[at + 1] << 8 : 0;
}

static uint16_t crc_of(const struct buf *b, size_t from, size_t end) {
  unsigned crc = 0xFFFF;
  for (size_t i = from; i < end && i < b->len; i++) {
    crc ^= (unsigned)b->data[i] << 8;
    for (unsigned bit = 0; bit < 8; bit++)
      crc = crc & 0x8000 ? (crc << 1 ^ 0x1021) & 0xFFFF : crc << 1;
  }
  return (uint16_t)crc;
}

static struct buf *section_new(struct file *f, unsigned id) {
  struct section *s = &f->section[f->n++];
  *s = (struct section){.id = id, .body = BUF_INIT(SCP_FILE_MAX)};
  buf_u16le(&s->body, 0);
  buf_u16le(&s->body, (uint16_t)id);
  buf_u32le(&s->body, 0);
  buf_u8(&s->body, (uint8_t)f->o->version);
  buf_u8(&s->body, (uint8_t)f->o->version);
  bool named = id == 0 && f->o->version >= 13 && !(f->o->quirks & SCP_SIGNATURE_BLANK);
  buf_add(&s->body, named ? "SCPECG" : "\0\0\0\0\0\0", 6);
  return &s->body;
}

static struct section *find(struct file *f, unsigned id) {
  for (unsigned i = 0; i < f->n; i++)
    if (f->section[i].id == id)
      return &f->section[i];
  return NULL;
}

/* ---- section 1 ---- */

static const struct {
  const char *name, *iconv;
  uint8_t language;
} alphabets[] = {
    {"ascii", "ASCII", 0x00},           {"latin1", "ISO-8859-1", 0x01},       {"iso-8859-2", "ISO-8859-2", 0x03},
    {"iso-8859-4", "ISO-8859-4", 0x0B}, {"iso-8859-5", "ISO-8859-5", 0x13},   {"iso-8859-6", "ISO-8859-6", 0x1B},
    {"iso-8859-7", "ISO-8859-7", 0x23}, {"iso-8859-8", "ISO-8859-8", 0x2B},   {"iso-8859-11", "ISO-8859-11", 0x33},
    {"latin9", "ISO-8859-15", 0x3B},    {"iso-8859-15", "ISO-8859-15", 0x3B}, {"utf16", "UTF-16LE", 0x07},
};
#define ALPHABETS (sizeof(alphabets) / sizeof(*alphabets))

static unsigned alphabet_of(const struct scp_options *o) {
  unsigned i = 0;
  while (i < ALPHABETS && (!o->alphabet || strcmp(alphabets[i].name, o->alphabet) != 0))
    i++;
  return i;
}

/* The text in the file's alphabet, with its NUL. */
static int put_text(const struct scp_options *o, struct buf *to, const char *text) {
  char bytes[TEXT_MAX], *in = (char *)text, *out = bytes;
  size_t in_left = strlen(text) + 1, out_left = sizeof(bytes);
  iconv_t c = iconv_open(alphabets[alphabet_of(o)].iconv, "UTF-8");
  if (c == (iconv_t)-1)
    return -EINVAL;
  size_t bad = iconv(c, &in, &in_left, &out, &out_left);
  int r = bad == 0 ? 0 : -(bad == (size_t)-1 ? errno : EILSEQ);
  iconv_close(c);
  return r < 0 ? r : buf_add(to, bytes, (size_t)(out - bytes));
}

static int tag_text(const struct scp_options *o, struct buf *b, unsigned tag, const char *text) {
  struct buf value = BUF_INIT(TEXT_MAX);
  int r = text ? put_text(o, &value, text) : 0;
  if (r == 0 && text) {
    if (o->quirks & SCP_NO_NUL)
      value.len -= strcmp(o->alphabet, "utf16") == 0 ? 2 : 1;
    buf_u8(b, (uint8_t)tag);
    buf_u16le(b, (uint16_t)value.len);
    r = buf_add(b, value.data, value.len);
  }
  buf_finish(&value);
  return r;
}

static void tag_bytes(struct buf *b, unsigned tag, const void *bytes, size_t n) {
  buf_u8(b, (uint8_t)tag);
  buf_u16le(b, (uint16_t)n);
  buf_add(b, bytes, n);
}

static void tag_u16(struct buf *b, unsigned tag, int v) {
  if (v >= 0)
    tag_bytes(b, tag, (const uint8_t[]){(uint8_t)v, (uint8_t)(v >> 8)}, 2);
}

static void put_date(struct buf *b, const struct file_clock *c) {
  buf_u16le(b, (uint16_t)c->year);
  buf_u8(b, (uint8_t)c->month);
  buf_u8(b, (uint8_t)c->day);
}

static void put_time(struct buf *b, const struct file_clock *c) {
  buf_u8(b, (uint8_t)c->hour);
  buf_u8(b, (uint8_t)c->minute);
  buf_u8(b, (uint8_t)c->second);
}

static void tag_date(struct buf *b, unsigned tag, const struct file_clock *c) {
  if (c->year == 0)
    return;
  buf_u8(b, (uint8_t)tag);
  buf_u16le(b, 4);
  put_date(b, c);
}

static const char *or_empty(const char *text) {
  return text ? text : "";
}

/* Tag 14, the recorder. */
static void tag_device(const struct scp_options *o, struct buf *b) {
  struct buf v = BUF_INIT(TEXT_MAX);
  char model[7] = "";
  snprintf(model, sizeof(model), "%s", or_empty(o->model));
  buf_add(&v, "\0\0\0\0\0\0\0\xFF", 8); /* a cart; its manufacturer is said in words */
  buf_add(&v, model, 6);
  buf_u8(&v, (uint8_t)o->version);
  buf_u8(&v, 0xA0); /* category II */
  buf_u8(&v, alphabets[alphabet_of(o)].language);
  buf_u8(&v, 0);
  buf_u8(&v, 1); /* 50 Hz mains */
  for (unsigned i = 0; i < 16; i++)
    buf_u8(&v, 0);
  const char *texts[] = {or_empty(o->program), or_empty(o->serial), "", "", or_empty(o->manufacturer)};
  buf_u8(&v, (uint8_t)(strlen(texts[0]) + 1));
  for (unsigned i = 0; i < sizeof(texts) / sizeof(*texts); i++)
    buf_add(&v, texts[i], strlen(texts[i]) + 1);
  tag_bytes(b, 14, v.data, v.len);
  buf_finish(&v);
}

static int interpreted(const struct scp_options *o, struct buf *b, unsigned tag, const char *what) {
  char text[TEXT_MAX / 4];
  if (!o->marker)
    return 0;
  snprintf(text, sizeof(text), "%s %s", what, o->marker);
  return tag_text(o, b, tag, text);
}

static uint8_t sex_of(char sex) {
  return sex == 'M' ? 1 : sex == 'F' ? 2 : 9;
}

static int make_patient(struct file *f) {
  const struct scp_options *o = f->o;
  struct buf *b = section_new(f, 1);
  int r = tag_text(o, b, 0, o->person.family);
  r = r < 0 ? r : tag_text(o, b, 1, o->person.given);
  r = r < 0 ? r : tag_text(o, b, 2, or_empty(o->person.id)); /* there must be one */
  r = r < 0 ? r : tag_text(o, b, 3, o->second_family);
  tag_date(b, 5, &o->person.birth);
  if (o->person.sex)
    tag_bytes(b, 8, (const uint8_t[]){sex_of(o->person.sex)}, 1);
  r = r < 0 ? r : interpreted(o, b, 13, "chest pain");
  tag_device(o, b);
  tag_date(b, 25, &o->taken);
  if (o->taken.year > 0) {
    buf_u8(b, 26);
    buf_u16le(b, 3);
    put_time(b, &o->taken);
  }
  tag_u16(b, 27, o->high_pass_chz);
  tag_u16(b, 28, o->low_pass_hz);
  if (o->filters >= 0)
    tag_bytes(b, 29, (const uint8_t[]){(uint8_t)o->filters}, 1);
  r = r < 0 ? r : interpreted(o, b, 30, "free text");
  r = r < 0 ? r : interpreted(o, b, 30, "more free text");
  r = r < 0 ? r : interpreted(o, b, 35, "history");
  if (o->damage != SCP_NO_TAG_END)
    buf_add(b, "\xFF\0\0", 3);
  if (o->damage == SCP_TAG_LENGTH)
    set16(b, HEADER + 1, 0xFFF0);
  return r;
}

/* ---- sections 2, 5, 6: numbers and codes ---- */

static int32_t *differences(const int32_t *v, size_t n, unsigned order) {
  int32_t *d = malloc(n * sizeof(*d));
  for (size_t i = 0; d && i < n; i++) {
    d[i] = v[i];
    if (order == 1 && i > 0)
      d[i] = v[i] - v[i - 1];
    if (order == 2 && i > 1)
      d[i] = v[i] - 2 * v[i - 1] + v[i - 2];
  }
  return d;
}

/* Which of the three tables a value belongs to, by what is around it. */
static unsigned steepness(const int32_t *d, size_t n, size_t i) {
  int32_t most = 0;
  for (size_t k = i > 4 ? i - 4 : 0; k < i + 5 && k < n; k++)
    most = abs(d[k]) > most ? abs(d[k]) : most;
  return most < 6 ? 0 : most < 24 ? 1 : 2;
}

static int count_one(const struct file *f, struct scp_count *count, const int32_t *v, size_t n) {
  int32_t *d = differences(v, n, f->o->difference);
  int r = d ? 0 : -ENOMEM;
  for (size_t i = 0; r == 0 && i < n; i++) {
    if (d[i] < INT16_MIN || d[i] > INT16_MAX)
      r = -ERANGE;
    else
      count[f->o->code == SCP_THREE ? steepness(d, n, i) : 0].of[d[i] + 32768]++;
  }
  free(d);
  return r;
}

static int make_tables(struct file *f) {
  unsigned n = f->o->code == SCP_THREE ? 3 : 1, values = f->o->code == SCP_LARGE   ? 253
                                                         : f->o->code == SCP_THREE ? 9
                                                                                   : 24;
  struct scp_count *count = calloc(n, sizeof(*count));
  int r = count ? 0 : -ENOMEM;
  for (unsigned i = 0; r == 0 && i < f->plan.n_lines; i++) {
    const struct scp_line *l = &f->plan.line[i];
    r = count_one(f, count, l->stored, l->stored_n);
    if (r == 0 && f->plan.has_beat)
      r = count_one(f, count, l->beat, f->plan.beat_n);
  }
  f->tables.n = n;
  for (unsigned i = 0; r == 0 && i < n; i++)
    scp_table_make(&f->tables.table[i], &count[i], (i + 1) * values, f->o->code == SCP_RANGES, i, n);
  free(count);
  return r;
}

static int make_codes(struct file *f) {
  f->is_coded = f->o->code != SCP_RAW && f->o->code != SCP_RAW_EMPTY;
  if (f->o->code == SCP_RAW)
    return 0;
  struct buf *b = section_new(f, 2);
  if (f->o->code == SCP_RAW_EMPTY)
    return buf_u16le(b, 0);
  if (f->o->code == SCP_DEFAULT) {
    f->tables.n = 1;
    scp_table_default(&f->tables.table[0]);
    return buf_u16le(b, TABLE_DEFAULT);
  }
  int r = make_tables(f);
  if (r < 0)
    return r;
  struct scp_tables shown = f->tables;
  struct scp_entry *e = shown.table[0].entry;
  if (f->o->damage == SCP_PREFIX)
    e[1].code = e[0].code << (e[1].prefix - e[0].prefix);
  if (f->o->damage == SCP_SWITCH_LOOP)
    e[0] = (struct scp_entry){0, 0, true, 1, 0};
  scp_tables_write(&shown, b);
  return 0;
}

static int put_stream(const struct file *f, struct buf *to, const int32_t *v, size_t n) {
  int32_t *d = differences(v, n, f->o->difference);
  int r = d ? 0 : -ENOMEM;
  if (r == 0 && f->is_coded)
    r = scp_code_write(&f->tables, d, n, to);
  for (size_t i = 0; r == 0 && i < n && !f->is_coded; i++)
    r = d[i] < INT16_MIN || d[i] > INT16_MAX ? -ERANGE : buf_u16le(to, (uint16_t)d[i]);
  free(d);
  return r;
}

/* Section 5 or 6. */
static int make_samples(struct file *f, unsigned id) {
  const struct scp_options *o = f->o;
  const struct scp_plan *p = &f->plan;
  struct buf *b = section_new(f, id), data = BUF_INIT(SCP_FILE_MAX);
  bool rhythm = id == 6, lengths = !(rhythm && (o->quirks & SCP_NO_LEAD_LENGTHS));
  bool bimodal = rhythm && (p->decimation > 1 || (o->quirks & SCP_BIMODAL_IDLE));
  int r = 0;
  buf_u16le(b, (uint16_t)(o->damage == SCP_ZERO_AVM ? 0 : rhythm ? p->avm_nv : p->beat_avm_nv));
  buf_u16le(b, (uint16_t)(o->damage == SCP_ZERO_INTERVAL ? 0 : p->interval_us * (rhythm ? p->decimation : 1)));
  buf_u8(b, (uint8_t)o->difference);
  buf_u8(b, bimodal);
  for (unsigned i = 0; r == 0 && i < p->n_lines; i++) {
    const struct scp_line *l = &p->line[i];
    size_t from = data.len, n;
    r = put_stream(f, &data, rhythm ? l->stored : l->beat, rhythm ? l->stored_n : p->beat_n);
    n = data.len - from;
    if (r == 0 && rhythm && i + 1 == p->n_lines && o->damage == SCP_STREAM_SHORT)
      data.len = from + (n = n / 4 * 2);
    if (r == 0 && n > STREAM_MAX && (o->quirks & SCP_LONG_CUT))
      data.len = from + STREAM_MAX;
    if (rhythm && i + 1 == p->n_lines && o->damage == SCP_LEAD_LENGTH)
      n += 2 * HEADER;
    if (lengths)
      buf_u16le(b, (uint16_t)(n < STREAM_MAX ? n : STREAM_MAX));
  }
  buf_add(b, data.data, data.len);
  r = r < 0 ? r : data.err;
  buf_finish(&data);
  return r;
}

/* ---- sections 3 and 4 ---- */

static const uint8_t lead_id[ECG12_LEADS] = {
    [ECG12_I] = 1,  [ECG12_II] = 2, [ECG12_III] = 61, [ECG12_AVR] = 62, [ECG12_AVL] = 63, [ECG12_AVF] = 64,
    [ECG12_V1] = 3, [ECG12_V2] = 4, [ECG12_V3] = 5,   [ECG12_V4] = 6,   [ECG12_V5] = 7,   [ECG12_V6] = 8,
};

static int make_leads(struct file *f) {
  const struct scp_plan *p = &f->plan;
  struct buf *b = section_new(f, 3);
  bool together = true;
  unsigned less = f->o->quirks & SCP_FIRST_ZERO ? 1 : 0;
  for (unsigned i = 1; i < p->n_lines; i++)
    together &= p->line[i].first == p->line[0].first && p->line[i].last == p->line[0].last;
  buf_u8(b, (uint8_t)(p->n_lines - (f->o->quirks & SCP_LEAD_COUNT ? 1 : 0)));
  buf_u8(b, (uint8_t)((p->subtract ? 1 : 0) | (together ? 4 | (p->n_lines & 31) << 3 : 0)));
  for (unsigned i = 0; i < p->n_lines; i++) {
    bool backwards = i == 0 && f->o->damage == SCP_LEAD_BACKWARDS;
    buf_u32le(b, (backwards ? p->line[i].last + 1 : p->line[i].first) - less);
    buf_u32le(b, p->line[i].last - less);
    buf_u8(b, lead_id[p->line[i].lead]);
  }
  return b->err;
}

static int make_zones(struct file *f) {
  const struct scp_plan *p = &f->plan;
  struct buf *b = section_new(f, 4);
  buf_u16le(b, (uint16_t)p->beat_ms);
  buf_u16le(b, (uint16_t)p->fiducial);
  buf_u16le(b, (uint16_t)p->n_zones);
  for (unsigned i = 0; i < p->n_zones; i++) {
    const struct scp_zone *z = &p->zone[i];
    bool outside = i == 0 && f->o->damage == SCP_BEAT_OUTSIDE;
    buf_u16le(b, (uint16_t)z->type);
    buf_u32le(b, z->first);
    buf_u32le(b, z->fiducial);
    buf_u32le(b, z->last + (outside ? (unsigned)p->beat_n : 0));
  }
  for (unsigned i = 0; i < p->n_zones && f->o->version > 10; i++) {
    buf_u32le(b, p->zone[i].protected_first);
    buf_u32le(b, p->zone[i].protected_last);
  }
  return b->err;
}

/* ---- sections 7, 8, 10, 11: what the recorder thinks of it ---- */

/* One beat's P, QRS and T, in ms, and its axes. */
static void put_waves(struct buf *b, unsigned p_on, unsigned p_off, const uint16_t rest[3], const int16_t axes[3]) {
  buf_u16le(b, (uint16_t)p_on);
  buf_u16le(b, (uint16_t)p_off);
  for (unsigned i = 0; i < 3; i++)
    buf_u16le(b, rest[i]);
  for (unsigned i = 0; i < 3; i++)
    buf_u16le(b, (uint16_t)axes[i]);
}

static int make_measurements(struct file *f) {
  const struct scp_plan *p = &f->plan;
  unsigned beats = p->n_zones < 254 ? p->n_zones : 254;
  unsigned span = p->zone[p->n_zones - 1].fiducial - p->zone[0].fiducial;
  unsigned rr = p->n_zones > 1 ? span / (p->n_zones - 1) * p->interval_us / 1000 : NOT_COMPUTED;
  struct buf *b = section_new(f, 7);
  buf_u8(b, (uint8_t)(beats + 1));
  buf_u8(b, 0);
  buf_u16le(b, (uint16_t)rr);
  buf_u16le(b, NOT_COMPUTED);
  put_waves(b, 45, 135, (const uint16_t[]){200, 285, 600}, (const int16_t[]){54, -12, 40});
  for (unsigned i = 0; i < beats; i++)
    put_waves(b, WAVE_ABSENT, WAVE_ABSENT, (const uint16_t[]){200, 285, NOT_COMPUTED},
              (const int16_t[]){AXIS_UNDEFINED, -12, AXIS_UNDEFINED});
  buf_u16le(b, (uint16_t)beats);
  for (unsigned i = 0; i < beats; i++)
    buf_u8(b, (uint8_t)p->zone[i].type);
  buf_u16le(b, (uint16_t)(p->n_zones > 1 && rr > 0 ? 60000 / rr : NOT_COMPUTED));
  buf_u16le(b, NOT_COMPUTED);
  buf_u16le(b, 412); /* QTc, ms */
  buf_u8(b, 1);      /* by Bazett */
  buf_u16le(b, 0);   /* no tagged fields */
  int r = put_text(f->o, b, "the manufacturer's own block");
  return r < 0 ? r : put_text(f->o, b, f->o->marker);
}

/* Section 8 or 11: the second has a type in front of each text, 1 coded, 2 free. */
static int make_statements(struct file *f, unsigned id, unsigned state, const char *const *texts, unsigned n) {
  struct buf *b = section_new(f, id);
  int r = 0;
  buf_u8(b, (uint8_t)state);
  put_date(b, &f->o->taken);
  put_time(b, &f->o->taken);
  buf_u8(b, (uint8_t)n);
  for (unsigned i = 0; r == 0 && i < n; i++) {
    char text[TEXT_MAX / 4];
    struct buf value = BUF_INIT(TEXT_MAX);
    if (id == 11)
      buf_u8(&value, i == 0 ? 1 : 2);
    snprintf(text, sizeof(text), "%s %s", texts[i], f->o->marker);
    r = put_text(f->o, &value, text);
    buf_u8(b, (uint8_t)(i + 1));
    buf_u16le(b, (uint16_t)value.len);
    buf_add(b, value.data, value.len);
    buf_finish(&value);
  }
  return r;
}

static int make_lead_measurements(struct file *f) {
  enum { WORDS = 31, QUALITY = 26 };
  struct buf *b = section_new(f, 10);
  buf_u16le(b, (uint16_t)f->plan.n_lines);
  buf_u16le(b, 0);
  for (unsigned i = 0; i < f->plan.n_lines; i++) {
    buf_u16le(b, lead_id[f->plan.line[i].lead]);
    buf_u16le(b, 2 * WORDS);
    for (unsigned word = 1; word <= WORDS; word++) {
      unsigned v = word == 1 ? 90 : word == 2 ? 155 : word == 3 ? 85 : word == 4 ? 400 : NOT_COMPUTED;
      buf_u16le(b, (uint16_t)(word == QUALITY ? 0x0010 : v)); /* drift */
    }
  }
  return b->err;
}

static int make_interpretation(struct file *f) {
  static const char *const report[] = {"SINUS RHYTHM", "LEFT AXIS DEVIATION", "ABNORMAL ECG"};
  static const char *const coded[] = {"SR", "possible left ventricular hypertrophy"};
  if (!f->o->marker)
    return 0;
  int r = make_measurements(f);
  r = r < 0 ? r : make_statements(f, 8, 0, report, 3);
  r = r < 0 ? r : make_lead_measurements(f);
  return r < 0 ? r : make_statements(f, 11, 1, coded, 2);
}

/* ---- the file ---- */

static uint32_t draw(uint64_t *state, uint32_t below) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((*state >> 33) % below);
}

static int make_extra(struct file *f) {
  int r = 0;
  for (unsigned i = 0; r == 0 && i < f->o->extra_sections; i++) {
    struct buf *b = section_new(f, 128 + 9 * i);
    for (unsigned k = 0; k < 10 * (i + 1); k++)
      buf_u8(b, (uint8_t)(0x40 + k));
    if (f->o->marker)
      buf_text(b, f->o->marker);
    r = b->err;
  }
  return r;
}

static int make_sections(struct file *f) {
  section_new(f, 0);
  int r = make_patient(f);
  r = r < 0 ? r : make_codes(f);
  r = r < 0 ? r : make_leads(f);
  if (r == 0 && f->plan.has_beat) {
    r = make_zones(f);
    r = r < 0 ? r : make_samples(f, 5);
  }
  r = r < 0 ? r : make_samples(f, 6);
  r = r < 0 ? r : make_interpretation(f);
  r = r < 0 ? r : make_extra(f);
  for (unsigned i = 0; i < f->n; i++) {
    if (f->section[i].body.len % 2 != 0)
      buf_u8(&f->section[i].body, 0);
    r = r < 0 ? r : f->section[i].body.err;
  }
  return r;
}

static void shuffle(struct section *s, unsigned n, uint64_t *state) {
  for (unsigned i = n; i > 1; i--) {
    unsigned k = draw(state, i);
    struct section swapped = s[i - 1];
    s[i - 1] = s[k];
    s[k] = swapped;
  }
}

/* Section 0: where all the others are; those of the standard that are not there, too. */
static void point(struct file *f) {
  struct buf *b = &f->section[0].body;
  unsigned order[SECTIONS_MAX], n = 0;
  uint64_t state = f->o->seed + 1;
  for (unsigned id = 0; id < STANDARD_SECTIONS; id++)
    order[n++] = id;
  for (unsigned i = 0; i < f->n; i++)
    if (f->section[i].id >= STANDARD_SECTIONS)
      order[n++] = f->section[i].id;
  for (unsigned i = n; i > 1 && (f->o->quirks & SCP_POINTERS_SHUFFLED); i--) {
    unsigned k = draw(&state, i), swapped = order[i - 1];
    order[i - 1] = order[k];
    order[k] = swapped;
  }
  size_t own = HEADER + n * POINTER;
  for (unsigned i = 0; i < n; i++) {
    const struct section *s = find(f, order[i]);
    size_t at = FIRST_SECTION + 1;
    for (unsigned k = 0; s && &f->section[k] < s; k++)
      at += k == 0 ? own : f->section[k].body.len;
    buf_u16le(b, (uint16_t)order[i]);
    buf_u32le(b, (uint32_t)(!s ? 0 : s == f->section ? own : s->body.len));
    buf_u32le(b, s ? (uint32_t)at : 0);
  }
}

static size_t pointer_of(const struct file *f, unsigned id) {
  const struct buf *b = &f->section[0].body;
  size_t at = HEADER;
  while (at + POINTER <= b->len && get16(b, at) != id)
    at += POINTER;
  return at;
}

static void damage_pointers(struct file *f, size_t total) {
  struct buf *b = &f->section[0].body;
  size_t rhythm = pointer_of(f, 6), patient = pointer_of(f, 1);
  if (f->o->damage == SCP_POINTER_OUTSIDE)
    set32(b, rhythm + 6, total + 1000);
  if (f->o->damage == SCP_POINTER_LOOP)
    set32(b, rhythm + 6, FIRST_SECTION + 1);
  if (f->o->damage == SCP_OVERLAP)
    set32(b, patient + 2, find(f, 1)->body.len + HEADER + 2);
}

/* Lengths and CRCs, from the last to be known to the first; `from` is where the file begins in ret. */
static void seal(const struct file *f, struct buf *ret, size_t from) {
  struct buf file = {.data = ret->data + from, .len = ret->len - from};
  size_t at = FIRST_SECTION;
  for (unsigned i = 0; i < f->n; i++) {
    bool overlap = f->section[i].id == 1 && f->o->damage == SCP_OVERLAP;
    set32(&file, at + 4, f->o->damage == SCP_ZERO_LENGTHS ? 0 : f->section[i].body.len + (overlap ? HEADER + 2 : 0));
    at += f->section[i].body.len;
  }
  for (unsigned i = f->n; i-- > 0;) {
    size_t n = f->section[i].body.len;
    at -= n;
    if (f->section[i].id == 1 && f->o->damage == SCP_OVERLAP)
      n += HEADER + 2;
    unsigned crc = f->o->quirks & SCP_CRC_BLANK ? 0xFFFF : crc_of(&file, at + 2, at + n);
    set16(&file, at, f->section[i].id == 6 && f->o->damage == SCP_SECTION_CRC ? crc ^ 0x0180 : crc);
  }
  set32(&file, 2, file.len);
  set16(&file, 0, crc_of(&file, 2, file.len) ^ (f->o->damage == SCP_FILE_CRC ? 0x0180u : 0));
  for (unsigned i = 0; i < f->n && f->o->damage == SCP_CUT; i++) {
    if (f->section[i].id == 6)
      ret->len = from + at + f->section[i].body.len / 2;
    at += f->section[i].body.len;
  }
}

static int assemble(struct file *f, struct buf *ret) {
  uint64_t state = f->o->seed * 31u + 7;
  size_t from = ret->len, total = FIRST_SECTION;
  if (f->o->quirks & SCP_SHUFFLED)
    shuffle(f->section + 1, f->n - 1, &state);
  point(f);
  for (unsigned i = 0; i < f->n; i++)
    total += f->section[i].body.len;
  damage_pointers(f, total);
  buf_add(ret, "\0\0\0\0\0\0", FIRST_SECTION);
  for (unsigned i = 0; i < f->n; i++)
    buf_add(ret, f->section[i].body.data, f->section[i].body.len);
  if (!ret->err)
    seal(f, ret, from);
  return ret->err;
}

static bool choices_agree(const struct scp_options *o) {
  bool own_table = o->code > SCP_DEFAULT, raw = o->code < SCP_DEFAULT;
  if (alphabet_of(o) == ALPHABETS || o->extra_sections > EXTRA_MAX || o->damage >= SCP_DAMAGES)
    return false;
  if ((o->damage == SCP_PREFIX || o->damage == SCP_SWITCH_LOOP) && !own_table)
    return false;
  if ((o->quirks & SCP_NO_LEAD_LENGTHS) && !raw)
    return false;
  if (o->damage == SCP_BEAT_OUTSIDE && !o->subtract)
    return false;
  return !((o->quirks & SCP_BIMODAL_IDLE) && o->decimation > 1);
}

static void repeat_leads(struct scp_options *o) {
  for (unsigned own = o->n_leads; own > 0 && o->n_leads < SCP_LEADS_MAX; o->n_leads++)
    o->leads[o->n_leads] = o->leads[o->n_leads % own];
}

int scp_file_make(const struct scp_options *o, const struct ecg12 *ecg, struct buf *ret) {
  struct scp_options options = *o;
  struct file *f = calloc(1, sizeof(*f));
  if (!f)
    return -ENOMEM;
  if (o->damage == SCP_65_LEADS)
    repeat_leads(&options);
  f->o = &options;
  int r = choices_agree(o) ? scp_plan_make(&f->plan, &options, ecg) : -EINVAL;
  if (r == 0) {
    r = make_sections(f);
    r = r < 0 ? r : assemble(f, ret);
    scp_plan_finish(&f->plan);
  }
  for (unsigned i = 0; i < f->n; i++)
    buf_finish(&f->section[i].body);
  free(f);
  return r;
}

static void whole(struct scp_options *o, const enum ecg12_lead *leads, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    o->leads[i] = (struct scp_lead){leads[i], 1, 0};
  o->n_leads = n;
}

struct scp_options scp_file_defaults(void) {
  static const enum ecg12_lead eight[] = {ECG12_I,  ECG12_II, ECG12_V1, ECG12_V2,
                                          ECG12_V3, ECG12_V4, ECG12_V5, ECG12_V6};
  struct scp_options o = {.version = 20,
                          .code = SCP_DEFAULT,
                          .difference = 2,
                          .decimation = 1,
                          .avm_nv = 5000,
                          .alphabet = "ascii",
                          .taken = {2026, 5, 4, 10, 30, 0},
                          .high_pass_chz = -1,
                          .low_pass_hz = -1,
                          .filters = -1};
  whole(&o, eight, 8);
  return o;
}

void scp_file_twelve(struct scp_options *o) {
  static const enum ecg12_lead twelve[] = {ECG12_I,  ECG12_II, ECG12_III, ECG12_AVR, ECG12_AVL, ECG12_AVF,
                                           ECG12_V1, ECG12_V2, ECG12_V3,  ECG12_V4,  ECG12_V5,  ECG12_V6};
  whole(o, twelve, 12);
}
