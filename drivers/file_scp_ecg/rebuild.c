#include "rebuild.h"

#define NO_PROTECTED_ZONES 11 /* up to this version of the protocol */
#define BEAT_BYTES 14
#define ZONE_BYTES 8

#define DIVIDED_MAX (1 << 29) /* far outside what a sample may be, and still safe to add to one */

static int32_t divide(int64_t a, int64_t b) {
  const int64_t v = (a >= 0 ? a + b / 2 : a - b / 2) / b;
  return v > DIVIDED_MAX ? DIVIDED_MAX : v < -DIVIDED_MAX ? -DIVIDED_MAX : (int32_t)v;
}

/* ---- section 4 ---------------------------------------------------------------------------------------------- */

static int read_beats(struct acq_cur *c, size_t n, struct scp_beats *ret, const char **ret_why) {
  uint32_t end = 0;
  *ret_why = "the subtraction zones of section 4 overlap or run backwards";
  for (size_t i = 0; i < n; i++) {
    struct scp_beat *b = &ret->beat[ret->n];
    b->type = acq_u16le(c);
    b->first = acq_u32le(c);
    b->fiducial = acq_u32le(c);
    b->last = acq_u32le(c);
    if (c->err)
      *ret_why = "section 4 is shorter than its beats";
    if (c->err || (b->first && (b->last < b->first || b->first <= end || b->last == UINT32_MAX)))
      return -EPROTO;
    if (!b->first) /* a beat of which nothing was taken */
      continue;
    end = b->last;
    ret->n++;
  }
  return 0;
}

static int read_zones(struct acq_cur *c, size_t n, struct scp_beats *ret, const char **ret_why) {
  uint32_t end = 0;
  *ret_why = "the protected zones of section 4 overlap or run backwards";
  for (size_t i = 0; i < n; i++) {
    const struct scp_zone z = {acq_u32le(c), acq_u32le(c)};
    if (c->err)
      return -EPROTO;
    if (!z.first && !z.last)
      continue;
    if (z.last < z.first || z.first <= end || z.last == UINT32_MAX)
      return -EPROTO;
    end = z.last;
    ret->zone[ret->n_zones++] = z;
  }
  return 0;
}

int scp_beats_read(struct acq_cur body, uint8_t protocol, bool bimodal, struct scp_beats *ret, const char **ret_why) {
  ret->length_ms = acq_u16le(&body);
  ret->fiducial = acq_u16le(&body);
  const size_t n = acq_u16le(&body);
  ret->n = ret->n_zones = 0;
  *ret_why = "section 4 is cut short";
  if (body.err)
    return body.err;
  int r = read_beats(&body, n, ret, ret_why);
  if (r < 0 || !bimodal)
    return r;
  if (protocol > NO_PROTECTED_ZONES && acq_left(&body) < n * ZONE_BYTES) {
    *ret_why = "section 4 lacks the protected zones of bimodal data";
    return -EPROTO;
  }
  if (acq_left(&body) >= n * ZONE_BYTES)
    return read_zones(&body, n, ret, ret_why);
  for (size_t i = 0; i < ret->n; i++)
    ret->zone[ret->n_zones++] = (struct scp_zone){ret->beat[i].first, ret->beat[i].last};
  return 0;
}

/* ---- bimodal ------------------------------------------------------------------------------------------------ */

/* A lead as protected zones with gaps between them, one part after the other. */
struct parts {
  const struct scp_beats *beats;
  size_t zone;
  uint64_t at, end; /* sample numbers */
};

struct part {
  uint64_t first;
  size_t n;
  bool is_gap;
};

static struct parts parts_of(const struct scp_beats *b, struct scp_range lead) {
  return (struct parts){.beats = b, .at = lead.first, .end = (uint64_t)lead.first + lead.n};
}

static bool next_part(struct parts *p, struct part *ret) {
  const struct scp_beats *b = p->beats;
  while (p->zone < b->n_zones && b->zone[p->zone].last < p->at)
    p->zone++;
  if (p->at >= p->end)
    return false;
  const struct scp_zone *z = p->zone < b->n_zones ? &b->zone[p->zone] : NULL;
  ret->is_gap = !z || z->first > p->at;
  uint64_t end = !z ? p->end : ret->is_gap ? z->first : (uint64_t)z->last + 1;
  end = end < p->end ? end : p->end;
  ret->first = p->at;
  ret->n = (size_t)(end - p->at);
  p->at = end;
  return true;
}

size_t scp_bimodal_values(const struct scp_beats *b, struct scp_range lead, unsigned factor) {
  struct parts parts = parts_of(b, lead);
  struct part part;
  size_t n = 0;
  while (next_part(&parts, &part))
    n += part.is_gap ? part.n / factor + part.n % factor : part.n;
  return n;
}

/* n samples of a gap from its values; returns how many values it took. */
static size_t expand_gap(const int32_t *values, unsigned factor, int32_t *samples, size_t n) {
  const size_t means = n / factor, half = factor / 2, last = means * factor;
  for (size_t i = 0; i < last; i++) {
    const size_t from = i < half ? 0 : (i - half) / factor, to = from + 1 < means ? from + 1 : from;
    const int64_t step = i < half ? 0 : (int64_t)((i - half) % factor);
    samples[i] = divide(values[from] * (factor - step) + values[to] * step, factor);
  }
  for (size_t i = last; i < n; i++)
    samples[i] = values[means + i - last];
  return means + n - last;
}

/* Does a subtraction zone begin, or did one end, with this sample? Asked for rising numbers. */
static bool is_seam(const struct scp_beats *b, size_t *at, uint64_t number) {
  while (*at < b->n && (uint64_t)b->beat[*at].last + 1 < number)
    ++*at;
  for (size_t i = *at; i < b->n && i < *at + 2; i++)
    if (b->beat[i].type == 0 && (b->beat[i].first == number || (uint64_t)b->beat[i].last + 1 == number))
      return true;
  return false;
}

static void smooth(const struct scp_beats *b, struct scp_range lead, bool subtracted, int32_t *samples) {
  struct parts parts = parts_of(b, lead);
  struct part part;
  size_t seam = 0;
  while (next_part(&parts, &part)) {
    const size_t first = (size_t)(part.first - lead.first), end = first + part.n;
    int32_t before = first ? samples[first - 1] : 0;
    for (size_t i = first; part.is_gap && i < end; i++) {
      const int32_t here = samples[i];
      const bool whole = i > 0 && i + 1 < lead.n &&
                         !(subtracted && (is_seam(b, &seam, (uint64_t)lead.first + i) ||
                                          is_seam(b, &seam, (uint64_t)lead.first + i + 1)));
      if (whole)
        samples[i] = divide((int64_t)before + here + samples[i + 1], 3);
      before = here;
    }
  }
}

void scp_bimodal_expand(const struct scp_beats *b, struct scp_range lead, unsigned factor, bool subtracted,
                        const int32_t *values, int32_t *samples) {
  struct parts parts = parts_of(b, lead);
  struct part part;
  int32_t *at = samples;
  while (next_part(&parts, &part)) {
    if (part.is_gap)
      values += expand_gap(values, factor, at, part.n);
    for (size_t i = 0; !part.is_gap && i < part.n; i++)
      at[i] = *values++;
    at += part.n;
  }
  smooth(b, lead, subtracted, samples);
}

/* ---- reference beat ----------------------------------------------------------------------------------------- */

bool scp_add_beats(const struct scp_beats *b, struct scp_range lead, struct scp_reference reference, int32_t *samples) {
  const int64_t begin = lead.first, end = begin + (int64_t)lead.n;
  bool whole = true;
  for (size_t i = 0; i < b->n; i++) {
    const struct scp_beat *beat = &b->beat[i];
    const int64_t shift = (int64_t)b->fiducial - 1 - beat->fiducial;
    for (int64_t k = beat->first > begin ? beat->first : begin; beat->type == 0 && k <= beat->last && k < end; k++) {
      const int64_t at = k + shift;
      if (at < 0 || at >= (int64_t)reference.n)
        whole = false;
      else
        samples[k - begin] += divide((int64_t)reference.samples[at] * reference.factor, reference.divisor);
    }
  }
  return whole;
}
