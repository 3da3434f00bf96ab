/* Recordings of the Contec ECG90A (*.ECG, from its memory card). README.md says where the facts come from.
 *
 *   header   43 bytes: number of the recording [8], 2 unknown, "YYYY-MM-DD hh:mm:ss" [20], 2 unknown, name [8] (all NUL
 *            terminated), sex (0 F, 1 M, 255 neither), age, weight (0 = not said)
 *   rows     of eight u16 LE: II, III, V1..V6 at 800 Hz; 5 uV a step, 2048 is 0 V, 0x6800 where the electrode is off
 *   end      a row of zeros, which begins the 37 bytes that close the file */
#include "text.h"

#include <asalee/driver.h>
#include <stdio.h>
#include <string.h>

#define HEADER_BYTES 43u
#define FOOTER_BYTES 37u
#define ROW_BYTES 16u
#define LEADS 8u
#define NAME_BYTES 8u
#define DATE_BYTES 20u /* with its NUL */
#define ELECTRODE_OFF 0x6800u
#define ZERO 2048
#define STEPS 4096u      /* the converter's: 12 bits */
#define RAIL_SAMPLES 16u /* at the end of the converter's range, 20 ms, to call a lead saturated */
#define PART 1024u       /* samples handed on at once */

static const char *const lead_codes[LEADS] = {"lead_ii", "lead_iii", "lead_v1", "lead_v2",
                                              "lead_v3", "lead_v4",  "lead_v5", "lead_v6"};

struct header {
  char number[NAME_BYTES + 1], name[NAME_BYTES + 1];
  bool whole; /* its texts could be read */
  struct acq_clock clock;
  uint8_t sex, age, weight;
};

static int digits(struct acq_cur *c, unsigned n) {
  int value = 0;
  while (n--) {
    const uint8_t digit = acq_u8(c);
    if (digit < '0' || digit > '9')
      acq_refuse(c, -ENXIO);
    value = value * 10 + digit - '0';
  }
  return value;
}

static void constant(struct acq_cur *c, char wanted) {
  if (acq_u8(c) != (uint8_t)wanted)
    acq_refuse(c, -ENXIO);
}

/* The date's form is all that tells this format from any other file. */
static struct acq_clock read_date(struct acq_cur c) {
  struct acq_clock clock = {.year = digits(&c, 4)};
  constant(&c, '-');
  clock.month = digits(&c, 2);
  constant(&c, '-');
  clock.day = digits(&c, 2);
  constant(&c, ' ');
  clock.hour = digits(&c, 2);
  constant(&c, ':');
  clock.minute = digits(&c, 2);
  constant(&c, ':');
  clock.second = digits(&c, 2);
  constant(&c, 0);
  return c.err ? (struct acq_clock){0} : clock;
}

static int read_header(struct acq_cur *c, struct header *ret) {
  struct header h = {0};
  const uint8_t *number = acq_bytes(c, NAME_BYTES);
  acq_bytes(c, 2);
  struct acq_cur date = acq_sub(c, DATE_BYTES);
  acq_bytes(c, 2);
  const uint8_t *name = acq_bytes(c, NAME_BYTES);
  h.sex = acq_u8(c);
  h.age = acq_u8(c);
  h.weight = acq_u8(c);
  if (c->err)
    return -ENXIO;
  h.clock = read_date(date);
  if (!h.clock.year || memchr(number, 0, NAME_BYTES) == NULL)
    return -ENXIO;
  h.whole = text_read(TEXT_ASCII, number, NAME_BYTES, h.number, sizeof h.number);
  h.whole &= text_read(TEXT_ASCII, name, NAME_BYTES, h.name, sizeof h.name);
  *ret = h;
  return 0;
}

/* ---- what the header says ---- */

static void tell_trial(const struct header *h, struct acq_record *record) {
  struct acq_trial trial = {0};
  trial.timed = acq_clock_to_us(&h->clock, &trial.clock_us) == 0;
  acq_rec_trial(record, &trial);
  if (trial.timed)
    return;
  acq_rec_quality(record, "file_inconsistent", "", 1);
  acq_rec_quality(record, "reading_time_unverified", "", 1);
}

/* A sex without a name is nobody: then the record says that the file does not tell whose it is. */
static void tell_subject(const struct header *h, struct acq_record *record) {
  struct acq_subject subject = {.sex = h->sex == 0 ? 'F' : h->sex == 1 ? 'M' : 0};
  if (h->sex > 1 && h->sex != 255)
    acq_rec_quality(record, "file_inconsistent", "", 1);
  if (!h->whole)
    acq_rec_quality(record, "text_unreadable", "", 1);
  memcpy(subject.family, h->name, sizeof h->name);
  if (h->name[0])
    acq_rec_subject(record, &subject);
}

static void tell_comments(const struct header *h, struct acq_record *record) {
  char text[64];
  if (h->number[0]) {
    snprintf(text, sizeof text, "Numéro de l'enregistrement sur l'appareil : %s", h->number);
    acq_rec_statement(record, "comment", text);
  }
  if (h->age) {
    snprintf(text, sizeof text, "Âge saisi sur l'appareil : %u ans", h->age);
    acq_rec_statement(record, "comment", text);
  }
  if (h->weight) {
    snprintf(text, sizeof text, "Poids saisi sur l'appareil : %u kg", h->weight);
    acq_rec_statement(record, "comment", text);
  }
}

/* ---- the signal ---- */

static bool is_zeros(const uint8_t *bytes, size_t n) {
  while (n && !bytes[n - 1])
    n--;
  return !n;
}

/* The rows up to that of zeros; *ret_more says that others follow it. -EPROTO when no such row is there: then the file
 * was cut between two rows. */
static int find_rows(struct acq_cur all, struct acq_cur *ret, bool *ret_more) {
  const size_t n = acq_left(&all) - FOOTER_BYTES;
  size_t used = 0;
  while (used < n && !is_zeros(all.at + used, ROW_BYTES))
    used += ROW_BYTES;
  struct acq_cur rows = acq_sub(&all, used);
  if (!is_zeros(all.at, ROW_BYTES))
    return -EPROTO;
  *ret = rows;
  *ret_more = !is_zeros(all.at, n - used);
  return 0;
}

/* How often each electrode fell off. II and III both hang on F: it is off where both are missing, R where II alone is,
 * L where III alone is. */
static void tell_electrodes(struct acq_cur rows, struct acq_record *record) {
  static const char *const codes[] = {"F", "R", "L", "C1", "C2", "C3", "C4", "C5", "C6"};
  enum { F, R, L, C1, ELECTRODES = C1 + 6 };
  uint32_t times[ELECTRODES] = {0};
  bool was_off[ELECTRODES] = {0};
  while (acq_left(&rows)) {
    bool off[LEADS], is_off[ELECTRODES];
    for (unsigned i = 0; i < LEADS; i++)
      off[i] = acq_u16le(&rows) == ELECTRODE_OFF;
    is_off[F] = off[0] && off[1];
    is_off[R] = off[0] && !off[1];
    is_off[L] = off[1] && !off[0];
    memcpy(is_off + C1, off + 2, 6 * sizeof *off);
    for (unsigned e = 0; e < ELECTRODES; e++)
      times[e] += is_off[e] && !was_off[e];
    memcpy(was_off, is_off, sizeof was_off);
  }
  for (unsigned e = 0; e < ELECTRODES; e++)
    if (times[e])
      acq_rec_quality(record, "electrode_off", codes[e], times[e]);
}

/* One lead of all rows. *ret_kept counts its samples, without those that are missing. */
static int add_lead(struct acq_cur rows, unsigned lead, struct acq_record *record, size_t *ret_kept) {
  const unsigned channel = acq_rec_channel(record, lead_codes[lead], (struct dec){800, 0}, (struct dec){5, 0}, false);
  int16_t part[PART];
  size_t n = 0, kept = 0, gap = 0, at_rail = 0;
  while (acq_left(&rows)) {
    struct acq_cur row = acq_sub(&rows, ROW_BYTES);
    acq_bytes(&row, 2 * lead);
    const uint16_t value = acq_u16le(&row);
    const bool off = value == ELECTRODE_OFF;
    if (!off && value >= STEPS)
      return acq_rec_fail(record, -ERANGE, "a sample is beyond the twelve bits of the converter");
    if (n == PART || (off && n)) {
      acq_rec_samples(record, channel, part, n);
      n = 0;
    }
    if (!off && gap) {
      acq_rec_gap(record, channel, gap);
      gap = 0;
    }
    gap += off;
    kept += !off;
    at_rail += value == 0 || value == STEPS - 1;
    if (!off)
      part[n++] = (int16_t)(value - ZERO);
  }
  acq_rec_samples(record, channel, part, n);
  acq_rec_gap(record, channel, gap);
  if (at_rail >= RAIL_SAMPLES)
    acq_rec_quality(record, "lead_saturated", lead_codes[lead], (uint32_t)at_rail);
  *ret_kept += kept;
  return acq_rec_done(record);
}

/* ---- all of it ---- */

static int decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct acq_cur c, rows;
  struct header header;
  bool more;
  size_t kept = 0;
  int r = acq_capture_file(capture, &c, NULL);
  if (r < 0)
    return acq_rec_fail(ret, r, "the file is empty or did not come whole");
  if (read_header(&c, &header) < 0)
    return acq_rec_fail(ret, -ENXIO, "not a recording of an ECG90A");
  if (acq_left(&c) < FOOTER_BYTES || (acq_left(&c) - FOOTER_BYTES) % ROW_BYTES)
    return acq_rec_fail(ret, -EPROTO, "the file is not as long as whole rows are");
  if (find_rows(c, &rows, &more) < 0)
    return acq_rec_fail(ret, -EPROTO, "the file ends without the row of zeros");
  tell_trial(&header, ret);
  for (unsigned i = 0; i < LEADS && r == 0; i++)
    r = add_lead(rows, i, ret, &kept);
  if (r < 0)
    return r;
  if (!kept)
    return acq_rec_fail(ret, -ENODATA, "the file holds no sample");
  acq_rec_limb_leads(ret);
  tell_electrodes(rows, ret);
  tell_subject(&header, ret);
  tell_comments(&header, ret);
  if (more)
    acq_rec_quality(ret, "file_inconsistent", "longueurs", 1);
  acq_rec_quality(ret, "file_unchecked", "", 1);
  return acq_rec_done(ret);
}

static const struct acq_match match[] = {
    {.bus = ACQ_FILE, .pattern = "*.ecg"},
    {.bus = 0},
};

const struct acq_driver file_contec_ecg90a = {
    .abi = ACQ_DRIVER_ABI,
    .name = "file_contec_ecg90a",
    .version = "1",
    .label = "ECG Contec ECG90A (fichier)",
    .modalities = ACQ_MODALITY(ACQ_ECG),
    .maturity = ACQ_EXPERIMENTAL,
    .integrity = ACQ_NONE,
    .match = match,
    /* 16 MiB are twenty minutes. */
    .limits = {.max_bytes = 16 << 20, .max_seconds = 3600, .default_seconds = 600, .idle_ms = 5000, .grace_ms = 30000},
    .decode = decode,
};
