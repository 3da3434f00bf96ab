/* Recordings of Heal Force's Prince 180 monitors (*.SCP): files that look like SCP-ECG and are not. README.md says
 * where the facts come from, and which of them are our own reading of one real file. Little endian unless said
 * otherwise.
 *
 *   file       CRC u16 BE over all that follows up to the size, 0 u16, size u16; then section 0
 *   section    CRC u16, id u16, length u32 (with this head), 2 versions, 6 bytes of 0; then its data
 *   section 0  pointers {id u16, length u32, place u32}: places count from 0, the first is of section 0 itself
 *   section 1  tags {tag u8, length u16, value}: 2 patient, 25 date (year u16 BE, month, day), 26 time
 *   section 3  leads u8, flags u8, first and last sample of each lead u32 (from 1, in the whole recording)
 *   section 6  nV a step u16, sampling rate in Hz u16, 0 u8, 0 u8, bytes u16, samples
 *   section 9  at 292 of its data: the beats, four bytes each: rate, 2 unknown, mark (0: none); 0xff ends them
 *
 *   samples    of all leads in turn, 12 bits each: bit 11 a beat was found here, bit 10 it is irregular, value + 512.
 *              Four of them are three words: the first three have bits 0..9 where they belong, and bits 10 and 11 in
 *              bits 14 and 15; the fourth lies in bits 10..13 of the three, its highest four bits first */
#include "crc.h"
#include "text.h"

#include <asalee/driver.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CRC16_XMODEM_INIT 0u /* CRC-16/XMODEM: as CCITT-FALSE but for its start */
#define HEAD_BYTES 6u
#define SECTION_HEAD_BYTES 16u
#define POINTER_BYTES 10u
#define LEADS_MAX 12u
#define QUAD_BYTES 6u /* four samples */
#define RATE_MIN 50u
#define RATE_MAX 1000u /* more is a sampling interval in us, as SCP-ECG has it */
#define BEATS_AT 292u
#define BEATS_END 0xffu
#define NO_MARK 0u
#define BEAT 0x800u
#define IRREGULAR 0x400u
#define VALUE 0x3ffu
#define ZERO 512
#define PART 1024u /* samples handed on at once */

enum { TAG_PATIENT = 2, TAG_DATE = 25, TAG_TIME = 26, TAGS_END = 0 };

struct file {
  struct acq_cur bytes; /* up to its size */
  struct acq_cur pointers;
};

struct signal {
  struct acq_cur samples;
  uint32_t rows; /* of a sample of each lead */
  unsigned leads;
  bool agrees; /* as many as section 3 says */
  uint16_t nanovolts, rate_hz;
};

/* ---- the file ---- */

/* -ENXIO when it is something else: an SCP-ECG file has its length where this one has zeros, and counts places from 1.
 */
static int open_file(struct acq_cur all, struct file *ret, const char **ret_why) {
  struct acq_cur c = all;
  const uint16_t crc = acq_u16be(&c);
  const uint16_t zero = acq_u16le(&c), size = acq_u16le(&c);
  struct acq_cur head = acq_sub(&c, SECTION_HEAD_BYTES), pointers = c;
  acq_bytes(&head, 2);
  const uint16_t id = acq_u16le(&head);
  const uint32_t length = acq_u32le(&head);
  const bool is_first = acq_u16le(&c) == 0 && acq_u32le(&c) == length && acq_u32le(&c) == HEAD_BYTES;
  *ret_why = "not a recording of a Prince 180";
  if (c.err || zero || id || !is_first)
    return -ENXIO;
  *ret_why = "the file is shorter than it says";
  if (size > acq_left(&all))
    return -EPROTO;
  *ret_why = "section 0 does not lie in the file";
  if (size < HEAD_BYTES || length > size - HEAD_BYTES || length < SECTION_HEAD_BYTES + POINTER_BYTES)
    return -EPROTO;
  *ret_why = "the file's checksum does not match";
  if (crc16_ccitt(CRC16_XMODEM_INIT, all.at + 2, size - 2u) != crc)
    return -EBADMSG;
  ret->bytes = acq_sub(&all, size);
  ret->pointers = acq_sub(&pointers, length - SECTION_HEAD_BYTES);
  return 0;
}

/* The data of a section: -ENODATA when there is none, -EPROTO when it does not lie in the file. */
static int find_section(const struct file *f, uint16_t wanted, struct acq_cur *ret) {
  struct acq_cur p = f->pointers;
  while (acq_left(&p) >= POINTER_BYTES) {
    const uint16_t id = acq_u16le(&p);
    const uint32_t length = acq_u32le(&p), place = acq_u32le(&p);
    if (id != wanted)
      continue;
    struct acq_cur all = f->bytes;
    acq_bytes(&all, place);
    struct acq_cur section = acq_sub(&all, length);
    acq_bytes(&section, 2);
    const uint16_t own_id = acq_u16le(&section);
    const uint32_t own_length = acq_u32le(&section);
    acq_bytes(&section, SECTION_HEAD_BYTES - 8);
    /* A section may be given more room than it fills. */
    if (section.err || own_id != id || own_length < SECTION_HEAD_BYTES || own_length > length)
      return -EPROTO;
    *ret = acq_sub(&section, own_length - SECTION_HEAD_BYTES);
    return 0;
  }
  return -ENODATA;
}

/* ---- the signal ---- */

/* How many rows there are, where section 3 and the samples agree: only the last four samples may hold filling. */
static bool count_rows(struct signal *s, uint32_t first, uint32_t last) {
  const uint64_t samples = acq_left(&s->samples) / QUAD_BYTES * 4, said = ((uint64_t)last + 1 - first) * s->leads;
  s->agrees = first && first <= last && said <= samples && samples - said < 4;
  s->rows = (uint32_t)((s->agrees ? said : samples) / s->leads);
  return acq_left(&s->samples) % QUAD_BYTES == 0 && (s->agrees || samples % s->leads == 0);
}

static int read_signal(const struct file *f, struct signal *ret, const char **ret_why) {
  struct acq_cur leads, rhythm;
  *ret_why = "the file has no sections 3 and 6, or they do not lie in it";
  int r = find_section(f, 3, &leads);
  if (r == 0)
    r = find_section(f, 6, &rhythm);
  if (r < 0)
    return r;
  struct signal s = {.leads = acq_u8(&leads)};
  acq_u8(&leads);
  const uint32_t first = acq_u32le(&leads), last = acq_u32le(&leads);
  s.nanovolts = acq_u16le(&rhythm);
  s.rate_hz = acq_u16le(&rhythm);
  const uint8_t difference = acq_u8(&rhythm), bimodal = acq_u8(&rhythm);
  s.samples = acq_sub(&rhythm, acq_u16le(&rhythm));
  *ret_why = "section 3 or 6 is cut off";
  if (leads.err || rhythm.err)
    return -EPROTO;
  *ret_why = "the samples are packed in another way than those of a Prince 180";
  if (difference || bimodal || s.rate_hz > RATE_MAX)
    return -EOPNOTSUPP;
  *ret_why = "a sampling rate, a scale or a number of leads that cannot be";
  if (s.rate_hz < RATE_MIN || !s.nanovolts || !s.leads || s.leads > LEADS_MAX)
    return -ERANGE;
  *ret_why = "the leads have not all the same samples";
  if (!count_rows(&s, first, last))
    return -EPROTO;
  *ret_why = "the file holds no sample";
  *ret = s;
  return s.rows ? 0 : -ENODATA;
}

/* The next four samples. */
static void read_quad(struct acq_cur *c, uint16_t ret[static 4]) {
  ret[3] = 0;
  for (unsigned i = 0; i < 3; i++) {
    const uint16_t word = acq_u16le(c);
    ret[i] = (uint16_t)((word & VALUE) | (word >> 4 & (BEAT | IRREGULAR)));
    ret[3] = (uint16_t)(ret[3] << 4 | (word >> 10 & 15));
  }
}

/* Each in its turn. */
struct reader {
  struct acq_cur left;
  uint16_t quad[4];
  unsigned at;
};

static struct reader read_from(struct acq_cur samples) {
  return (struct reader){.left = samples, .at = 4};
}

static uint16_t next_sample(struct reader *r) {
  if (r->at == 4) {
    read_quad(&r->left, r->quad);
    r->at = 0;
  }
  return r->quad[r->at++];
}

static void add_lead(const struct signal *s, unsigned lead, struct acq_record *record) {
  const unsigned channel =
      acq_rec_channel(record, "lead_unspecified", (struct dec){s->rate_hz, 0}, (struct dec){s->nanovolts, -3}, false);
  struct reader r = read_from(s->samples);
  int16_t part[PART];
  size_t n = 0;
  for (uint32_t row = 0; row < s->rows; row++) {
    for (unsigned i = 0; i < s->leads; i++) {
      const uint16_t sample = next_sample(&r);
      if (i == lead)
        part[n++] = (int16_t)((sample & VALUE) - ZERO);
    }
    if (n == PART) {
      acq_rec_samples(record, channel, part, n);
      n = 0;
    }
  }
  acq_rec_samples(record, channel, part, n);
}

static void add_signal(const struct signal *s, struct acq_record *record) {
  for (unsigned i = 0; i < s->leads; i++)
    add_lead(s, i, record);
  if (!s->agrees)
    acq_rec_quality(record, "file_inconsistent", "longueurs", 1);
}

/* ---- what the instrument found: the reader's ---- */

struct sentence {
  char text[4096];
  size_t n;
};

/* What does not fit any more is left out. */
static void __attribute__((format(printf, 2, 3))) add_text(struct sentence *s, const char *format, ...) {
  char text[96];
  va_list ap;
  va_start(ap, format);
  const int n = vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  if (n < 0 || (size_t)n >= sizeof text || s->n + (size_t)n >= sizeof s->text)
    return;
  memcpy(s->text + s->n, text, (size_t)n + 1);
  s->n += (size_t)n;
}

/* Beats that are marked in the samples: the marks stand in every lead. */
static void tell_beats(const struct signal *s, struct acq_record *record) {
  static struct sentence irregular;
  struct reader r = read_from(s->samples);
  char text[64];
  uint32_t beats = 0;
  irregular = (struct sentence){0};
  for (uint32_t row = 0; row < s->rows; row++) {
    uint16_t marks = 0;
    for (unsigned i = 0; i < s->leads; i++)
      marks |= next_sample(&r);
    beats += !!(marks & BEAT);
    const uint32_t hundredths = row * 100 / s->rate_hz; /* rows have 16 bits */
    if (marks & IRREGULAR)
      add_text(&irregular, "%s %u,%02u s", irregular.n ? "," : "Battements marqués irréguliers dans le tracé, à",
               hundredths / 100, hundredths % 100);
  }
  if (beats) {
    snprintf(text, sizeof text, "Battements repérés par l'appareil : %u", beats);
    acq_rec_statement(record, "measurement", text);
  }
  if (irregular.n)
    acq_rec_statement(record, "interpretation", irregular.text);
}

/* Beats that are marked in the list behind the samples. */
static void tell_marked_beats(const struct file *f, struct acq_record *record) {
  static struct sentence sentence;
  struct acq_cur beats;
  const int r = find_section(f, 9, &beats);
  if (r == -EPROTO)
    acq_rec_fail(record, r, "section 9 does not lie in the file");
  if (r < 0)
    return;
  acq_bytes(&beats, BEATS_AT);
  sentence = (struct sentence){0};
  for (unsigned number = 1; acq_left(&beats) >= 4; number++) {
    const uint8_t rate = acq_u8(&beats);
    acq_bytes(&beats, 2);
    const uint8_t mark = acq_u8(&beats);
    if (rate == BEATS_END)
      break;
    if (mark != NO_MARK)
      add_text(&sentence, "%s n° %u (code %u)", sentence.n ? "," : "Battements marqués par l'appareil :", number, mark);
  }
  if (sentence.n)
    acq_rec_statement(record, "interpretation", sentence.text);
}

/* ---- when, and who ---- */

struct about {
  struct acq_clock clock;
  bool dated, clocked; /* date and time are there, as long as they must be */
  char patient[ACQ_NAME_MAX];
  bool readable;
};

static int read_about(const struct file *f, struct about *ret) {
  struct acq_cur c;
  struct about a = {.readable = true};
  int r = find_section(f, 1, &c);
  while (r == 0 && acq_left(&c)) {
    const uint8_t tag = acq_u8(&c);
    struct acq_cur value = acq_sub(&c, acq_u16le(&c));
    const size_t n = acq_left(&value);
    if (c.err)
      r = -EPROTO;
    else if (tag == TAGS_END && !n)
      break;
    else if (tag == TAG_PATIENT)
      a.readable = text_read(TEXT_ASCII, value.at, n, a.patient, sizeof a.patient);
    else if (tag == TAG_DATE && n == 4) {
      a.clock.year = acq_u16be(&value);
      a.clock.month = acq_u8(&value);
      a.clock.day = acq_u8(&value);
      a.dated = true;
    } else if (tag == TAG_TIME && n == 3) {
      a.clock.hour = acq_u8(&value);
      a.clock.minute = acq_u8(&value);
      a.clock.second = acq_u8(&value);
      a.clocked = true;
    }
  }
  *ret = a;
  return r == -ENODATA ? 0 : r;
}

static void tell_trial(const struct about *a, struct acq_record *record) {
  struct acq_trial trial = {0};
  trial.timed = a->dated && a->clocked && acq_clock_to_us(&a->clock, &trial.clock_us) == 0;
  acq_rec_trial(record, &trial);
  if (trial.timed)
    return;
  if (a->dated || a->clocked)
    acq_rec_quality(record, "file_inconsistent", "", 1);
  acq_rec_quality(record, "reading_time_unverified", "", 1);
}

/* The monitor fills the patient with zeros where nobody was chosen. */
static void tell_subject(const struct about *a, struct acq_record *record) {
  struct acq_subject subject = {0};
  if (!a->readable)
    acq_rec_quality(record, "text_unreadable", "", 1);
  memcpy(subject.id, a->patient, sizeof subject.id);
  if (strspn(a->patient, "0") < strlen(a->patient))
    acq_rec_subject(record, &subject);
}

/* ---- all of it ---- */

static int decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct acq_cur all;
  struct file file = {0};
  struct signal signal = {0};
  struct about about;
  const char *why = "the file is empty or did not come whole";
  int r = acq_capture_file(capture, &all, NULL);
  if (r == 0)
    r = open_file(all, &file, &why);
  if (r == 0)
    r = read_signal(&file, &signal, &why);
  if (r < 0)
    return acq_rec_fail(ret, r, "%s", why);
  if (read_about(&file, &about) < 0)
    return acq_rec_fail(ret, -EPROTO, "section 1 is cut off");
  tell_trial(&about, ret);
  add_signal(&signal, ret);
  tell_subject(&about, ret);
  tell_beats(&signal, ret);
  tell_marked_beats(&file, ret);
  return acq_rec_done(ret);
}

static const struct acq_match match[] = {
    {.bus = ACQ_FILE, .pattern = "*.scp"},
    {.bus = 0},
};

const struct acq_driver file_healforce = {
    .abi = ACQ_DRIVER_ABI,
    .name = "file_healforce",
    .version = "1",
    .label = "ECG Heal Force Prince 180 (fichier)",
    .modalities = ACQ_MODALITY(ACQ_ECG),
    .maturity = ACQ_EXPERIMENTAL,
    .integrity = ACQ_CRC16,
    .match = match,
    /* Its size has 16 bits; what fills the memory card's last block follows. */
    .limits = {.max_bytes = 1 << 20, .max_seconds = 3600, .default_seconds = 600, .idle_ms = 5000, .grace_ms = 30000},
    .decode = decode,
};
