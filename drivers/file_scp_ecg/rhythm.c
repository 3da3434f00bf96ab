#include "rhythm.h"

#include "code.h"
#include "rebuild.h"
#include <stdio.h>
#include <string.h>

#define LEADS_MAX 64
#define LEAD_BYTES 9
#define SAMPLES_MAX (1u << 22) /* of a lead */
#define BEAT_SAMPLES_MAX (1u << 16)
#define LENGTH_FULL 65534   /* lengths of this and more are what 16 bits can say, not what is there */
#define VALUE_MAX (1 << 20) /* of a residual; a sample has 16 bits */
#define FACTOR_MAX 4        /* of bimodal data */
#define PADDING_BITS 24     /* more than that behind the last value is not padding */

struct lead {
  uint8_t id;
  struct scp_range range;
};

struct leads {
  unsigned n;
  bool subtracted, from_zero;
  struct lead lead[LEADS_MAX];
};

/* The head of section 5 or 6 and where each lead's data are. */
struct signal {
  uint16_t step_nv, interval_us;
  uint8_t difference;
  bool bimodal;
  struct acq_cur data[LEADS_MAX];
};

struct rhythm {
  struct acq_record *record;
  const struct scp_file *file;
  struct scp_codes *codes; /* NULL: 16-bit numbers */
  struct leads leads;
  struct signal beat, signal;
  struct scp_beats *beats;
  unsigned factor;                /* samples that a mean stands for; 1 where the data are not bimodal */
  int32_t times, weight, divisor; /* by which samples, and the reference beat, come to one scale */
  bool shortened, short_beat, long_data;
  uint64_t begin, end; /* of all leads, sample numbers; end: as far as they came */
  unsigned channel[LEADS_MAX];
  uint64_t reached[LEADS_MAX];
};

/* ---- section 3 ---------------------------------------------------------------------------------------------- */

static bool read_leads(struct acq_cur c, unsigned n, struct leads *ret) {
  acq_u8(&c);
  ret->subtracted = acq_u8(&c) & 1;
  ret->n = n;
  ret->from_zero = false;
  for (unsigned i = 0; i < n; i++) {
    const uint32_t first = acq_u32le(&c), last = acq_u32le(&c);
    ret->from_zero |= first == 0;
    ret->lead[i].id = acq_u8(&c);
    if (c.err || last < first || last - first >= SAMPLES_MAX)
      return false;
    ret->lead[i].range = (struct scp_range){first, last - first + 1};
  }
  return n > 0;
}

static uint64_t bytes_of_numbers(const struct leads *leads) {
  uint64_t n = 0;
  for (unsigned i = 0; i < leads->n; i++)
    n += 2 * (uint64_t)leads->lead[i].range.n;
  return n;
}

/* How the lengths of a section fit what follows them. */
enum fit { FIT_NOT, FIT_LOOSE, FIT_EXACT };

static enum fit lengths_fit(struct acq_cur body, unsigned n) {
  uint32_t sum = 0;
  acq_bytes(&body, 6);
  for (unsigned i = 0; i < n; i++)
    sum += acq_u16le(&body);
  if (body.err || sum > acq_left(&body))
    return FIT_NOT;
  return acq_left(&body) - sum < 2 ? FIT_EXACT : FIT_LOOSE;
}

/* 16-bit numbers, all of them, that follow the lengths, or (lengths = false) come without. */
static bool numbers_fit(const struct scp_section *s, const struct leads *leads, bool lengths) {
  const uint64_t head = 6 + (lengths ? 2u * leads->n : 0), left = acq_left(&s->body);
  return left >= head && left - head - bytes_of_numbers(leads) < 2;
}

/* The leads of section 3; a writer that counted them wrong is believed where section 6 has as many lengths. */
static int choose_leads(struct rhythm *r, unsigned quirks) {
  const struct scp_section *three = &r->file->section[3], *six = &r->file->section[6];
  struct acq_cur c = three->body;
  const unsigned said = acq_u8(&c);
  const size_t room = acq_left(&three->body) < 2 ? 0 : (acq_left(&three->body) - 2) / LEAD_BYTES;
  enum fit fit[2] = {said <= room && said <= LEADS_MAX ? lengths_fit(six->body, said) : FIT_NOT,
                     room <= LEADS_MAX ? lengths_fit(six->body, (unsigned)room) : FIT_NOT};
  const bool bare = !r->codes && (quirks & SCP_NO_LENGTHS) && said <= room && said <= LEADS_MAX &&
                    read_leads(three->body, said, &r->leads) && numbers_fit(six, &r->leads, false);
  if (bare)
    return 0;
  if (!room || (!said && fit[1] != FIT_EXACT))
    return acq_rec_fail(r->record, -ENODATA, "section 3 lists no lead");
  if (said > LEADS_MAX && room > LEADS_MAX)
    return acq_rec_fail(r->record, -EPROTO, "more than %d leads", LEADS_MAX);
  if (fit[0] == FIT_NOT && fit[1] == FIT_NOT)
    return acq_rec_fail(r->record, -EPROTO, "the leads of section 6 do not fit into it");
  const bool other = fit[1] > fit[0];
  if (other && room != said)
    acq_rec_quality(r->record, "file_inconsistent", "dérivations", 1);
  if (!read_leads(three->body, other ? (unsigned)room : said, &r->leads))
    return acq_rec_fail(r->record, -EPROTO, "section 3 has a lead without samples, or with more than a record holds");
  return 0;
}

/* ---- sections 5 and 6: the head ----------------------------------------------------------------------------- */

static int read_head(struct rhythm *r, unsigned section, struct signal *ret, struct acq_cur *ret_rest) {
  struct acq_cur c = r->file->section[section].body;
  ret->step_nv = acq_u16le(&c);
  ret->interval_us = acq_u16le(&c);
  ret->difference = acq_u8(&c);
  const uint8_t bimodal = acq_u8(&c);
  ret->bimodal = section == 6 && bimodal;
  *ret_rest = c;
  if (c.err)
    return acq_rec_fail(r->record, -EPROTO, "section %u is cut short", section);
  if (!ret->step_nv || !ret->interval_us)
    return acq_rec_fail(r->record, -ERANGE, "section %u has no scale or no rate", section);
  if (ret->difference > 2 || (section == 6 && bimodal > 1))
    return acq_rec_fail(r->record, -EPROTO, "section %u is packed in a way that there is not", section);
  return 0;
}

/* All numbers are there although their lengths could not be said. */
static bool is_whole(const struct rhythm *r, const struct acq_cur *lengths) {
  struct acq_cur c = *lengths;
  bool full = false;
  for (unsigned i = 0; i < r->leads.n; i++)
    full |= acq_u16le(&c) >= LENGTH_FULL;
  return full && !r->codes && !r->signal.bimodal && numbers_fit(&r->file->section[6], &r->leads, true);
}

static int find_data(struct rhythm *r, unsigned section, struct signal *s, struct acq_cur rest, unsigned quirks) {
  const bool bare =
      section == 6 && !r->codes && (quirks & SCP_NO_LENGTHS) && numbers_fit(&r->file->section[6], &r->leads, false);
  struct acq_cur lengths = acq_sub(&rest, bare ? 0 : 2 * r->leads.n);
  const bool whole = section == 6 && !bare && is_whole(r, &lengths);
  if (bare || whole)
    acq_rec_quality(r->record, "file_inconsistent", "longueurs", 1);
  for (unsigned i = 0; i < r->leads.n; i++) {
    const size_t said = bare ? 0 : acq_u16le(&lengths);
    s->data[i] = acq_sub(&rest, bare || whole ? 2 * r->leads.lead[i].range.n : said);
  }
  if (rest.err || lengths.err)
    return acq_rec_fail(r->record, -EPROTO, "the leads of section %u do not fit into it", section);
  r->long_data |= section == 6 && acq_left(&rest) > 1;
  return 0;
}

/* ---- a lead's values ---------------------------------------------------------------------------------------- */

static struct scp_stream read_numbers(struct acq_cur c, int32_t *values, size_t max) {
  const size_t n = acq_left(&c) / 2 < max ? acq_left(&c) / 2 : max;
  const uint8_t *p = acq_bytes(&c, 2 * n);
  for (size_t i = 0; i < n; i++)
    values[i] = (int16_t)(p[2 * i] | p[2 * i + 1] << 8);
  return (struct scp_stream){.n = n, .end = n < max ? SCP_SHORT : SCP_WHOLE, .bits_left = 8 * acq_left(&c)};
}

/* The values of a stream; where it ends early without those of its last two bytes, which may be padding. */
static struct scp_stream read_values(struct rhythm *r, struct acq_cur data, int32_t *values, size_t max) {
  const size_t n = acq_left(&data);
  if (!r->codes)
    return read_numbers(data, values, max);
  struct scp_stream s = scp_codes_read(r->codes, data.at, n, values, max);
  if (s.end == SCP_SHORT) {
    s = scp_codes_read(r->codes, data.at, n < 2 ? 0 : n - 2, values, max);
    s.end = s.end == SCP_WHOLE ? SCP_SHORT : s.end;
  }
  return s;
}

/* From differences to values; false when one leaves the range. The arithmetic wraps, the check does not miss that: the
 * first value outside stays within twice the range of what 32 bits hold. */
static bool integrate(int32_t *values, size_t n, unsigned order) {
  uint32_t outside = 0, last = order == 1 && n ? (uint32_t)values[0] : n > 1 ? (uint32_t)values[1] : 0;
  uint32_t slope = n > 1 ? last - (uint32_t)values[0] : 0;
  for (size_t i = 1; order == 1 && i < n; i++) {
    last += (uint32_t)values[i];
    values[i] = (int32_t)last;
  }
  for (size_t i = 2; order == 2 && i < n; i++) {
    slope += (uint32_t)values[i];
    last += slope;
    values[i] = (int32_t)last;
  }
  for (size_t i = 0; i < n; i++)
    outside |= (uint32_t)((uint32_t)values[i] + VALUE_MAX > 2 * VALUE_MAX);
  return !outside;
}

/* The reference beat of a lead; NULL after a failure. */
static const int32_t *read_beat(struct rhythm *r, unsigned lead, size_t *ret_n) {
  static int32_t beat[BEAT_SAMPLES_MAX + SCP_SLACK];
  const size_t want = (size_t)r->beats->length_ms * 1000 / r->beat.interval_us;
  if (want > BEAT_SAMPLES_MAX) {
    acq_rec_fail(r->record, -EPROTO, "the reference beat has more samples than a beat has");
    return NULL;
  }
  struct scp_stream s = read_values(r, r->beat.data[lead], beat, want);
  *ret_n = s.n;
  if (s.end == SCP_NO_CODE)
    acq_rec_fail(r->record, -EPROTO, "section 5 has bits that no code begins with");
  else if (!integrate(beat, s.n, r->beat.difference))
    acq_rec_fail(r->record, -ERANGE, "the reference beat leaves the range of a sample");
  else
    return beat;
  return NULL;
}

/* ---- a lead's samples --------------------------------------------------------------------------------------- */

static int16_t out[SAMPLES_MAX];

/* Is it plausible that so few values came? */
static int check_end(struct rhythm *r, const struct lead *lead, const struct acq_cur *data, struct scp_stream s) {
  const bool full = acq_left(data) >= LENGTH_FULL;
  if (s.end == SCP_NO_CODE)
    return acq_rec_fail(r->record, -EPROTO, "section 6 has bits that no code begins with");
  r->long_data |= s.end == SCP_WHOLE && s.bits_left > PADDING_BITS;
  if (s.end == SCP_WHOLE)
    return 0;
  if (r->factor > 1 || (!full && s.n < lead->range.n / 2) || !s.n)
    return acq_rec_fail(r->record, -EPROTO, "the data of a lead end before its samples");
  r->shortened = true;
  return 0;
}

/* Reads a lead into its samples, n of them. */
static int read_samples(struct rhythm *r, unsigned i, const int32_t **ret, size_t *ret_n) {
  static int32_t values[SAMPLES_MAX + SCP_SLACK], whole[SAMPLES_MAX];
  const struct lead *lead = &r->leads.lead[i];
  const struct acq_cur *data = &r->signal.data[i];
  size_t want = lead->range.n;
  /* Where numbering begins with 0 the last may be the number of samples. */
  if (r->leads.from_zero && !r->codes && acq_left(data) / 2 == want - 1)
    want--;
  if (r->factor > 1)
    want = scp_bimodal_values(r->beats, lead->range, r->factor);
  struct scp_stream s = read_values(r, *data, values, want);
  int err = want ? check_end(r, lead, data, s) : acq_rec_fail(r->record, -EPROTO, "a lead without samples");
  if (err < 0)
    return err;
  if (!integrate(values, s.n, r->signal.difference))
    return acq_rec_fail(r->record, -ERANGE, "a sample leaves the range of a sample");
  *ret = r->factor > 1 ? whole : values;
  *ret_n = r->factor > 1 ? lead->range.n : s.n;
  if (r->factor > 1)
    scp_bimodal_expand(r->beats, lead->range, r->factor, r->leads.subtracted, values, whole);
  if (!r->leads.subtracted)
    return 0;
  struct scp_reference reference = {.factor = r->weight, .divisor = r->divisor};
  reference.samples = read_beat(r, i, &reference.n);
  if (!reference.samples)
    return acq_rec_done(r->record);
  int32_t *samples = r->factor > 1 ? whole : values;
  for (size_t k = 0; r->times > 1 && k < *ret_n; k++)
    samples[k] *= r->times;
  r->short_beat |= !scp_add_beats(r->beats, (struct scp_range){lead->range.first, *ret_n}, reference, samples);
  return 0;
}

static bool narrow(const int32_t *samples, size_t n) {
  uint32_t outside = 0;
  for (size_t i = 0; i < n; i++) {
    out[i] = (int16_t)samples[i];
    outside |= (uint32_t)(samples[i] ^ out[i]);
  }
  return !outside;
}

/* ---- channels ----------------------------------------------------------------------------------------------- */

static const char *lead_code(uint8_t id) {
  switch (id) {
  case 1:
    return "lead_i";
  case 2:
    return "lead_ii";
  case 3:
    return "lead_v1";
  case 4:
    return "lead_v2";
  case 5:
    return "lead_v3";
  case 6:
    return "lead_v4";
  case 7:
    return "lead_v5";
  case 8:
    return "lead_v6";
  case 61:
    return "lead_iii";
  case 62:
    return "lead_avr";
  case 63:
    return "lead_avl";
  case 64:
    return "lead_avf";
  default:
    return "lead_unspecified";
  }
}

static bool was_there(const struct leads *leads, unsigned i) {
  for (unsigned k = 0; k < i; k++)
    if (leads->lead[k].id == leads->lead[i].id)
      return true;
  return false;
}

/* Of a lead that has no name here, or comes once more, the reader is told the number. */
static const char *name_lead(struct rhythm *r, unsigned i) {
  const uint8_t id = r->leads.lead[i].id;
  const char *code = was_there(&r->leads, i) ? "lead_unspecified" : lead_code(id);
  char text[128];
  if (strcmp(code, "lead_unspecified"))
    return code;
  snprintf(text, sizeof text, "Voie %u du fichier : dérivation SCP-ECG n° %u.", i + 1, id);
  acq_rec_statement(r->record, "comment", text);
  return code;
}

static struct dec shortest(struct dec d) {
  while (d.exponent < 0 && d.mantissa % 10 == 0) {
    d.mantissa /= 10;
    d.exponent++;
  }
  return d;
}

/* 1000000 / interval, exactly where nine digits allow it, else rounded to nine. */
static struct dec rate_of(uint16_t interval_us) {
  uint64_t scaled = 1000000;
  int8_t exponent = 0;
  while (scaled / interval_us < 100000000) {
    scaled *= 10;
    exponent--;
  }
  const uint64_t v = (scaled + interval_us / 2) / interval_us;
  return shortest((struct dec){(int32_t)v, exponent});
}

static int add_lead(struct rhythm *r, unsigned i, struct dec rate, struct dec scale) {
  const struct lead *lead = &r->leads.lead[i];
  const int32_t *samples = NULL;
  size_t n = 0;
  int err = read_samples(r, i, &samples, &n);
  if (err < 0)
    return err;
  if (!narrow(samples, n))
    return acq_rec_fail(r->record, -ERANGE, "a sample does not fit 16 bits");
  r->channel[i] = acq_rec_channel(r->record, name_lead(r, i), rate, scale, false);
  acq_rec_gap(r->record, r->channel[i], (size_t)(lead->range.first - r->begin));
  acq_rec_samples(r->record, r->channel[i], out, n);
  r->reached[i] = (uint64_t)lead->range.first + n;
  r->end = r->reached[i] > r->end ? r->reached[i] : r->end;
  return acq_rec_done(r->record);
}

/* Leads that were not recorded at the same time keep their places: what is missing of one is a gap. */
static int add_leads(struct rhythm *r) {
  const uint16_t interval = r->factor > 1 ? r->beat.interval_us : r->signal.interval_us;
  const uint16_t step = r->times > 1 ? r->beat.step_nv : r->signal.step_nv;
  const struct dec rate = rate_of(interval), scale = shortest((struct dec){step, -3});
  r->begin = UINT64_MAX;
  for (unsigned i = 0; i < r->leads.n; i++) {
    const uint32_t first = r->leads.lead[i].range.first;
    r->begin = first < r->begin ? first : r->begin;
    if (was_there(&r->leads, i))
      acq_rec_quality(r->record, "file_inconsistent", "dérivations", 1);
  }
  for (unsigned i = 0; i < r->leads.n; i++)
    if (r->leads.lead[i].range.first - r->begin >= SAMPLES_MAX)
      return acq_rec_fail(r->record, -EPROTO, "the leads lie further apart than a record holds");
  int err = 0;
  for (unsigned i = 0; i < r->leads.n && err == 0; i++)
    err = add_lead(r, i, rate, scale);
  for (unsigned i = 0; i < r->leads.n && err == 0; i++)
    acq_rec_gap(r->record, r->channel[i], (size_t)(r->end - r->reached[i]));
  return err < 0 ? err : acq_rec_done(r->record);
}

/* ---- all of it ---------------------------------------------------------------------------------------------- */

/* One scale for the rhythm and the reference beat: the finer one where it goes into the other a few times, else the
 * rhythm's, and the beat is rounded to it. */
static void find_scale(struct rhythm *r) {
  const int32_t rhythm = r->signal.step_nv, beat = r->beat.step_nv;
  r->times = r->weight = r->divisor = 1;
  if (!r->leads.subtracted)
    return;
  if (rhythm % beat == 0 && rhythm / beat <= 8) {
    r->times = rhythm / beat;
  } else {
    r->weight = beat;
    r->divisor = rhythm;
  }
}

/* What abridged data need beside section 6. */
static int open_abridged(struct rhythm *r) {
  static struct scp_beats beats;
  const struct scp_section *four = &r->file->section[4];
  const char *why = "";
  struct acq_cur rest;
  if (!four->there || !r->file->section[5].there)
    return acq_rec_fail(r->record, -EPROTO, "the signal is abridged, and what it was abridged by is not in the file");
  if (r->leads.from_zero)
    return acq_rec_fail(r->record, -EPROTO, "the signal is abridged, and its samples are not numbered from 1");
  int err = read_head(r, 5, &r->beat, &rest);
  if (err == 0 && r->leads.subtracted)
    err = find_data(r, 5, &r->beat, rest, 0);
  if (err < 0)
    return err;
  const unsigned factor = r->signal.interval_us / r->beat.interval_us;
  const bool whole = factor && r->signal.interval_us % r->beat.interval_us == 0 && factor <= FACTOR_MAX;
  if (r->signal.bimodal && !whole)
    return acq_rec_fail(r->record, -EPROTO, "the rates of bimodal data do not go together");
  if (!r->signal.bimodal && (!whole || factor != 1))
    return acq_rec_fail(r->record, -EOPNOTSUPP, "the rhythm and its reference beat have different rates");
  r->factor = factor;
  err = scp_beats_read(four->body, four->protocol, factor > 1, &beats, &why);
  r->beats = &beats;
  return err < 0 ? acq_rec_fail(r->record, err, "%s", why) : 0;
}

static void tell(const struct rhythm *r) {
  bool added = false;
  for (size_t i = 0; r->leads.subtracted && i < r->beats->n; i++)
    added |= r->beats->beat[i].type == 0;
  if (added)
    acq_rec_quality(r->record, "signal_reconstructed", "complexe moyen", 1);
  if (r->factor > 1)
    acq_rec_quality(r->record, "signal_reconstructed", "bimodal", 1);
  if (r->short_beat)
    scp_quality(r->record, "file_inconsistent", 4);
  if (r->shortened)
    scp_quality(r->record, "file_shortened", 6);
  if (r->long_data)
    acq_rec_quality(r->record, "file_inconsistent", "longueurs", 1);
}

int scp_rhythm_read(const struct scp_file *f, unsigned quirks, struct acq_record *record) {
  static struct rhythm r;
  const char *why = "";
  struct acq_cur rest;
  r = (struct rhythm){.record = record, .file = f, .factor = 1};
  if (!f->section[6].there)
    return acq_rec_fail(record, -ENODATA, "%s",
                        f->section[5].there ? "the file holds a reference beat and no rhythm"
                                            : "the file holds no rhythm");
  if (!f->section[3].there)
    return acq_rec_fail(record, -EPROTO, "the file holds a rhythm and does not say of which leads");
  int err = scp_codes_open(f->section[2].body, &r.codes, &why);
  if (err < 0)
    return acq_rec_fail(record, err, "%s", why);
  err = choose_leads(&r, quirks);
  if (err == 0)
    err = read_head(&r, 6, &r.signal, &rest);
  if (err == 0)
    err = find_data(&r, 6, &r.signal, rest, quirks);
  if (err == 0 && (r.leads.subtracted || r.signal.bimodal))
    err = open_abridged(&r);
  if (err < 0)
    return err;
  find_scale(&r);
  err = add_leads(&r);
  if (err == 0)
    tell(&r);
  return err < 0 ? err : acq_rec_done(record);
}
