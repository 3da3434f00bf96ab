#include "spirometry.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* No call of the mathematical library: what is linked with the model need not link it. */

#define GRID_RATE 200       /* Hz, where the samples are not kept as they came */
#define GRID_RATE_MAX 250   /* Hz, up to which they are */
#define VALUE_MAX 1000      /* L, L/s: beyond, not a curve */
#define FVC_MAX 15          /* L */
#define FLOW_MAX 25         /* L/s */
#define PEF_MIN 0.1         /* L/s: slower is not forced */
#define BLOW_SECONDS 0.5    /* nobody blows in less */
#define BREATH 0.1          /* L: a smaller movement is no change between inspiration and expiration */
#define FINE_STEP 0.01      /* L: a coarser volume is worse than the integral of flow */
#define FLOW_NOISE 0.03     /* L/s that the steps of a volume may leave in the flow derived from it */
#define PEAK_NOISE 0.04     /* L/s */
#define FIT_TERMS 7         /* of the polynomial through the peak */
#define REST_NEAR 0.01      /* L: how near to its lowest the volume counts as not yet expired */
#define END_NEAR 0.005      /* L: how near to its highest the volume counts as still held */
#define ZERO_FLOW_MAX 0.025 /* L/s at rest: what would by itself spoil the plateau of 25 mL in 1 s */
#define REST_FLOW_MAX 0.3   /* L/s: above it somebody breathes */
#define CLOSED 0.05         /* L/s */
#define CLOSED_SECONDS 0.25 /* shorter is part of a cough */

/* The curve at equal steps: volume and flow, s and L. */
struct grid {
  bool derived; /* the flow is the slope of the volume */
  size_t n;
  double step;
  double *volume, *flow;
  double *smooth;   /* flow over 50 ms */
  double *integral; /* of a measured flow */
  double *memory;
  double ripple; /* L/s that the steps of a volume leave in the flow derived from it */
};

/* One expiration: samples of the grid. */
struct expiration {
  size_t low, peak, high; /* lowest volume before it, peak flow, highest volume */
  bool inspired;          /* an inspiration was recorded before it */
};

struct work {
  struct grid grid;
  struct expiration blow;
  size_t end;                      /* EOFE */
  double start_volume, end_volume; /* at full inspiration, at EOFE */
  double peak_at, pef, time_zero;  /* s, L/s, s */
};

static void grid_finish(struct grid *g) {
  free(g->memory);
}

static double magnitude(double x) {
  return x < 0 ? -x : x;
}

bool spirometry_is_within(int32_t ml, int32_t fvc_ml) {
  return ml <= 100 || (int64_t)ml * 20 <= fvc_ml;
}

static int32_t milli(double x) {
  return (int32_t)(x < 0 ? x * 1000 - 0.5 : x * 1000 + 0.5);
}

static double mean(const double *x, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += x[i];
  return n ? sum / (double)n : 0;
}

/* Samples in a time, at least one. */
static size_t samples_in(const struct grid *g, double seconds) {
  size_t n = (size_t)(seconds / g->step + 0.5);
  return n ? n : 1;
}

static size_t back(size_t at, size_t by, size_t from) {
  return at >= from + by ? at - by : from;
}

/* ---- samples ---------------------------------------------------------------------------------------------------- */

static double instant(const struct spirometry_curve *c, size_t i) {
  return c->time ? c->time[i] - c->time[0] : (double)i / c->rate;
}

static bool value_ok(double x) {
  return x >= -VALUE_MAX && x <= VALUE_MAX; /* false for NaN */
}

/* Whether instants are as far from each other as the first and last say, to 2 % of a step. */
static bool is_even(const struct spirometry_curve *c, double step) {
  for (size_t i = 0; c->time && i < c->n; i++)
    if (magnitude(instant(c, i) - (double)i * step) > 0.02 * step)
      return false;
  return true;
}

/* A step that hides part of a blow: longer than that of the lowest rate, while more than 25 mL pass. */
static bool step_hides(const struct spirometry_curve *c, size_t i) {
  double seconds = instant(c, i) - instant(c, i - 1), litres;
  if (c->volume)
    litres = c->volume[i] - c->volume[i - 1];
  else
    litres = seconds * (magnitude(c->flow[i]) > magnitude(c->flow[i - 1]) ? c->flow[i] : c->flow[i - 1]);
  return seconds > 1.001 / SPIROMETRY_RATE_MIN && magnitude(litres) > 0.025;
}

static int check_samples(const struct spirometry_curve *c) {
  if (c->n < 2 || (!c->volume && !c->flow))
    return -EINVAL;
  if (c->n > SPIROMETRY_SAMPLES_MAX)
    return -EDOM;
  if (!c->time && !(c->rate >= SPIROMETRY_RATE_MIN && c->rate <= SPIROMETRY_RATE_MAX))
    return -EDOM;
  for (size_t i = 0; i < c->n; i++) {
    if ((c->volume && !value_ok(c->volume[i])) || (c->flow && !value_ok(c->flow[i])))
      return -ERANGE;
    if (i && c->time && !(c->time[i] >= c->time[i - 1] && c->time[i] - c->time[0] < 1e9))
      return -ERANGE;
  }
  if (!(instant(c, c->n - 1) <= SPIROMETRY_SECONDS_MAX))
    return -EDOM;
  for (size_t i = 1; c->time && i < c->n; i++)
    if (step_hides(c, i))
      return -EDOM;
  return c->volume_step >= 0 && c->volume_step <= 1 ? 0 : -ERANGE;
}

/* The sums of even powers that the fit of a cubic over 2m + 1 points needs, and the noise that its slope keeps of
 * samples with the noise 1, squared. */
static double slope_noise(size_t m, double ret_s[static 3]) {
  ret_s[0] = ret_s[1] = ret_s[2] = 0;
  for (size_t k = 1; k <= m; k++) {
    double k2 = (double)k * (double)k;
    ret_s[0] += 2 * k2;
    ret_s[1] += 2 * k2 * k2;
    ret_s[2] += 2 * k2 * k2 * k2;
  }
  return ret_s[2] / (ret_s[0] * ret_s[2] - ret_s[1] * ret_s[1]);
}

/* Flow as the slope of a cubic through the volume around: 40 ms wide, wider (to 120 ms) where the volume has steps. */
static void derive_flow(struct grid *g, double volume_step) {
  double s[3], noise = volume_step * volume_step / 12 / (g->step * g->step);
  size_t m = samples_in(g, 0.02), widest = samples_in(g, 0.06);
  m = m < 2 ? 2 : m;
  while (m < widest && noise * slope_noise(m, s) > FLOW_NOISE * FLOW_NOISE)
    m++;
  slope_noise(m, s);
  g->ripple = volume_step / ((double)m * g->step);
  for (size_t i = m; i + m < g->n; i++) {
    double first = 0, third = 0;
    for (size_t k = 1; k <= m; k++) {
      double d = g->volume[i + k] - g->volume[i - k], x = (double)k;
      first += x * d;
      third += x * x * x * d;
    }
    g->flow[i] = (s[2] * first - s[1] * third) / (s[0] * s[2] - s[1] * s[1]) / g->step;
  }
  for (size_t i = 0; i < m; i++) { /* nearer to the ends there are no neighbours */
    g->flow[i] = g->flow[m];
    g->flow[g->n - 1 - i] = g->flow[g->n - 1 - m];
  }
}

/* Reads the curve at the grid's instants: volume between two samples on a line, flow on a line, and its integral. */
static void resample(const struct spirometry_curve *c, struct grid *g) {
  double sum = 0;
  for (size_t i = 0, j = 0; i < g->n; i++) {
    double at = (double)i * g->step, from, width;
    for (;; j++) {
      from = instant(c, j);
      width = instant(c, j + 1) - from;
      if (j + 2 >= c->n || from + width > at)
        break;
      if (c->flow)
        sum += (c->flow[j] + c->flow[j + 1]) / 2 * width;
    }
    double x = width > 0 ? (at - from) / width : 0;
    x = x > 1 ? 1 : x;
    if (c->volume)
      g->volume[i] = c->volume[j] + x * (c->volume[j + 1] - c->volume[j]);
    if (c->flow) {
      g->flow[i] = c->flow[j] + x * (c->flow[j + 1] - c->flow[j]);
      g->integral[i] = sum + (c->flow[j] + g->flow[i]) / 2 * x * width;
    }
  }
}

static void smooth_flow(struct grid *g) {
  size_t half = samples_in(g, 0.02), first = 0, past = 0;
  double sum = 0;
  for (size_t i = 0; i < g->n; i++) {
    for (; past < g->n && past <= i + half; past++)
      sum += g->flow[past];
    for (; first + half < i; first++)
      sum -= g->flow[first];
    g->smooth[i] = sum / (double)(past - first);
  }
}

static int grid_init(struct grid *g, const struct spirometry_curve *c) {
  double seconds = instant(c, c->n - 1), step = seconds / (double)(c->n - 1);
  bool keep = step * GRID_RATE_MAX >= 0.999 && step * SPIROMETRY_RATE_MIN <= 1.001 && is_even(c, step);
  g->step = keep ? step : 1.0 / GRID_RATE;
  g->n = keep ? c->n : (size_t)(seconds * GRID_RATE) + 1;
  if (seconds < BLOW_SECONDS)
    return -ENODATA;
  g->memory = calloc(g->n, 4 * sizeof *g->memory);
  if (!g->memory)
    return -ENOMEM;
  g->volume = g->memory;
  g->flow = g->volume + g->n;
  g->smooth = g->flow + g->n;
  g->integral = g->smooth + g->n;
  resample(c, g);
  g->derived = !c->flow;
  if (g->derived)
    derive_flow(g, c->volume_step);
  smooth_flow(g);
  return 0;
}

/* The volume from flow where there is no other, or none as fine. */
static void choose_volume(struct grid *g, const struct spirometry_curve *c) {
  if (c->flow && (!c->volume || c->volume_step > FINE_STEP))
    g->volume = g->integral;
}

/* Volume at a time within the grid, on the cubic that has the volumes and flows of both neighbours. */
static double volume_at(const struct grid *g, double seconds) {
  double at = seconds / g->step;
  if (!(at > 0))
    return g->volume[0];
  if (at >= (double)(g->n - 1))
    return g->volume[g->n - 1];
  size_t i = (size_t)at;
  double x = at - (double)i, a = g->volume[i], b = g->volume[i + 1];
  double da = g->flow[i] * g->step - (b - a), db = (b - a) - g->flow[i + 1] * g->step;
  return a + x * (b - a) + x * (1 - x) * (da * (1 - x) + db * x);
}

/* When the volume first passes a level after a sample, in s. */
static double time_of_volume(const struct work *w, double level) {
  const double *v = w->grid.volume;
  size_t i = w->blow.low + 1;
  while (i < w->blow.high && v[i] < level)
    i++;
  double rise = v[i] - v[i - 1], x = rise > 0 ? (level - v[i - 1]) / rise : 0;
  x = x < 0 ? 0 : x > 1 ? 1 : x;
  return ((double)(i - 1) + x) * w->grid.step;
}

/* ---- the forced expiration -------------------------------------------------------------------------------------- */

static double force(const struct grid *g, const struct expiration *e) {
  return (g->volume[e->high] - g->volume[e->low]) * g->flow[e->peak];
}

static size_t highest_flow(const struct grid *g, size_t from, size_t to) {
  size_t best = from;
  for (size_t i = from; i <= to; i++)
    if (g->flow[i] > g->flow[best])
      best = i;
  return best;
}

/* A slow full expiration has the volume, a cough the flow; the forced one has the largest product of both. */
static int find_blow(const struct grid *g, struct expiration *ret) {
  struct expiration best = {0}, e = {0};
  size_t first = 0; /* the highest volume before e.low */
  bool rising = false, found = false;
  for (size_t i = 0; i < g->n; i++) {
    double v = g->volume[i];
    if (!rising) {
      if (v <= g->volume[e.low])
        e.low = i;
      else if (v - g->volume[e.low] >= BREATH) {
        rising = true;
        e.inspired = g->volume[first] - g->volume[e.low] >= BREATH;
        e.high = i;
        e.peak = highest_flow(g, e.low, i);
      }
      continue;
    }
    if (v > g->volume[e.high]) {
      size_t peak = highest_flow(g, e.high, i);
      e.peak = g->flow[peak] > g->flow[e.peak] ? peak : e.peak;
      e.high = i;
    }
    bool ends = g->volume[e.high] - v >= BREATH;
    if ((ends || i + 1 == g->n) && (!found || force(g, &e) > force(g, &best))) {
      best = e;
      found = true;
    }
    if (ends) {
      rising = false;
      first = e.high;
      e.low = i;
    }
  }
  if (!found || !(g->flow[best.peak] >= PEF_MIN))
    return -ENODATA;
  *ret = best;
  return 0;
}

/* A cough may burst faster than the blast before it, which the time zero is of: a peak at least half as high, after
 * which flow fell by half when 15 % of the volume were out. */
static void find_blast(struct work *w) {
  const struct grid *g = &w->grid;
  const struct expiration *e = &w->blow;
  double fastest = g->flow[e->peak], some = 0.15 * (g->volume[e->high] - g->volume[e->low]);
  size_t peak = e->low;
  for (size_t i = e->low; i < e->peak; i++) {
    peak = g->flow[i] > g->flow[peak] ? i : peak;
    if (g->flow[i] < g->flow[peak] / 2 && g->flow[peak] >= fastest / 2 && g->volume[i] - g->volume[e->low] >= some) {
      w->blow.peak = peak;
      return;
    }
  }
}

/* The vertex of the parabola that fits the flows of 40 ms best. False when there is none among them, or when it misses
 * them by more than noise does. */
static bool fit_parabola(struct work *w) {
  const struct grid *g = &w->grid;
  size_t peak = w->blow.peak, m = samples_in(g, 0.02);
  if (m < 2 || peak < m || peak + m >= g->n)
    return false;
  double s0 = (double)(2 * m + 1), s2 = 0, s4 = 0, y0 = 0, y1 = 0, y2 = 0, miss = 0;
  for (size_t k = 0; k <= 2 * m; k++) {
    double x = (double)k - (double)m, y = g->flow[peak - m + k];
    s2 += x * x;
    s4 += x * x * x * x;
    y0 += y;
    y1 += x * y;
    y2 += x * x * y;
  }
  double curve = (s0 * y2 - s2 * y0) / (s0 * s4 - s2 * s2), slope = y1 / s2, level = (y0 - curve * s2) / s0;
  for (size_t k = 0; k <= 2 * m; k++) {
    double x = (double)k - (double)m, d = g->flow[peak - m + k] - (level + slope * x + curve * x * x);
    miss += d * d;
  }
  if (curve >= 0 || magnitude(slope) > -2 * curve * (double)m || miss > PEAK_NOISE * PEAK_NOISE * s0)
    return false;
  w->pef = level - slope * slope / (4 * curve);
  w->peak_at = ((double)peak - slope / (2 * curve)) * g->step;
  return true;
}

/* The highest point of the cubic between two samples that has the slopes of their neighbours, to 1/32 of a step. */
static void fit_cubic(struct work *w, size_t i) {
  const struct grid *g = &w->grid;
  if (i < 1 || i + 2 >= g->n)
    return;
  double a = g->flow[i], b = g->flow[i + 1], da = (b - g->flow[i - 1]) / 2, db = (g->flow[i + 2] - a) / 2;
  for (unsigned k = 1; k < 32; k++) {
    double x = k / 32.0, rest = 1 - x;
    double y = a + x * (b - a) + x * rest * ((da - (b - a)) * rest + ((b - a) - db) * x);
    if (y > w->pef) {
      w->pef = y;
      w->peak_at = ((double)i + x) * g->step;
    }
  }
}

static double polynomial(const double *c, size_t terms, double x) {
  double y = 0;
  for (size_t i = terms; i-- > 0;)
    y = y * x + c[i];
  return y;
}

/* The least squares polynomial of `terms` coefficients through the 2m + 1 values around *y, x = -1..1 over them, less
 * y[0]. False when it misses them by more than `noise`. */
static bool fit_polynomial(const double *y, size_t m, size_t terms, double noise, double ret[static FIT_TERMS]) {
  double a[FIT_TERMS][FIT_TERMS + 1] = {0}, miss = 0;
  for (size_t k = 0; k <= 2 * m; k++) {
    double x = ((double)k - (double)m) / (double)m, power[FIT_TERMS] = {1};
    for (size_t i = 1; i < terms; i++)
      power[i] = power[i - 1] * x;
    for (size_t i = 0; i < terms; i++) {
      for (size_t j = 0; j < terms; j++)
        a[i][j] += power[i] * power[j];
      a[i][terms] += power[i] * (y[k - m] - y[0]);
    }
  }
  for (size_t i = 0; i < terms; i++)
    for (size_t j = 0; j < terms; j++)
      for (size_t k = terms + 1; j != i && k-- > i;)
        a[j][k] -= a[j][i] / a[i][i] * a[i][k];
  for (size_t i = 0; i < terms; i++)
    ret[i] = a[i][terms] / a[i][i];
  for (size_t k = 0; k <= 2 * m; k++) {
    double d = polynomial(ret, terms, ((double)k - (double)m) / (double)m) - (y[k - m] - y[0]);
    miss += d * d;
  }
  return miss <= noise * noise * (double)(2 * m + 1);
}

/* PEF on a polynomial through what was measured: 60 ms of flow, or 100 ms of volume and its slope. False when the
 * peak is sharper than that, or not in the middle half. */
static bool fit_peak(struct work *w) {
  const struct grid *g = &w->grid;
  size_t peak = w->blow.peak, m = samples_in(g, g->derived ? 0.05 : 0.03), terms = g->derived ? 7 : 5;
  double c[FIT_TERMS] = {0}, best = 0, at = 0;
  if (2 * m + 1 <= terms || peak < m || peak + m >= g->n)
    return false;
  if (!fit_polynomial((g->derived ? g->volume : g->flow) + peak, m, terms, g->derived ? 0.001 : PEAK_NOISE, c))
    return false;
  for (size_t i = 0; g->derived && i + 1 < terms; i++)
    c[i] = c[i + 1] * (double)(i + 1) / ((double)m * g->step);
  for (int k = -50; k <= 50; k++) {
    double y = polynomial(c, g->derived ? terms - 1 : terms, k / 100.0);
    if (k == -50 || y > best) {
      best = y;
      at = k / 100.0;
    }
  }
  if (at <= -0.5 || at >= 0.5)
    return false;
  w->pef = best + (g->derived ? 0 : g->flow[peak]);
  w->peak_at = ((double)peak + at * (double)m) * g->step;
  return true;
}

/* A peak too sharp for a polynomial is read from a parabola over 40 ms, else from the four flows around it. */
static void find_peak(struct work *w) {
  size_t peak = w->blow.peak;
  if (fit_peak(w) || fit_parabola(w))
    return;
  w->pef = w->grid.flow[peak];
  w->peak_at = (double)peak * w->grid.step;
  fit_cubic(w, peak - (peak > 0));
  fit_cubic(w, peak);
}

/* The volume at full inspiration is the lowest. Where flow was summed up, so was its noise while one waited: then it is
 * that of the end of the rest. */
static void find_start(struct work *w) {
  const struct grid *g = &w->grid;
  size_t i = w->blow.peak;
  w->start_volume = g->volume[w->blow.low];
  while (i > w->blow.low && g->flow[i] > ZERO_FLOW_MAX)
    i--;
  if (g->volume == g->integral && g->volume[i] - w->start_volume <= REST_NEAR)
    w->start_volume = g->volume[i];
}

/* EOFE: as long as the volume is held at its highest. Where flow was summed up, noise was too: the mean of what is held
 * for half a second has less of it than the highest. */
static void find_end(struct work *w) {
  const struct grid *g = &w->grid;
  size_t high = w->blow.high, held = high;
  double near = g->volume[high] - END_NEAR;
  for (w->end = high; w->end + 1 < g->n && g->volume[w->end + 1] >= near;)
    w->end++;
  while (g->volume == g->integral && held > w->blow.peak && g->volume[held - 1] >= near)
    held--;
  w->end_volume = w->end - held < samples_in(g, 0.5) ? g->volume[high] : mean(g->volume + held, w->end - held);
}

/* ---- cough, glottis, zero --------------------------------------------------------------------------------------- */

/* Whether the flow was cut off at a sample, rather than ran out: what the 100 ms before the last 100 ms promised is not
 * there. A burst that ends is no promise. */
static bool is_cut_off(const struct work *w, size_t at) {
  const struct grid *g = &w->grid;
  size_t by = samples_in(g, 0.1), a = back(at, by, w->blow.peak), b = back(a, by, w->blow.peak);
  double late = g->smooth[a], early = g->smooth[b], promised = early;
  if (a > b && early > late)
    promised = late - (early - late) * (double)(at - a) / (double)(a - b);
  return promised >= 0.10 && promised >= 0.3 * late;
}

static void fail_at(const struct work *w, struct spirometry_blow *b, size_t at, enum spirometry_criterion first_second,
                    enum spirometry_criterion later) {
  bool first = (double)at * w->grid.step - w->time_zero < 1;
  b->criteria[first ? first_second : later] = SPIROMETRY_FAILED;
}

/* Cough: flow that comes back within 200 ms. */
static void judge_cough(const struct work *w, struct spirometry_blow *b, size_t at, size_t from) {
  const double *flow = w->grid.flow;
  double rise = (0.05 * w->pef > 0.3 ? 0.05 * w->pef : 0.3) + 3 * w->grid.ripple;
  size_t lowest = at;
  for (size_t i = from; i < at; i++)
    if (flow[i] < flow[lowest])
      lowest = i;
  if (flow[at] - flow[lowest] >= rise)
    fail_at(w, b, lowest, SPIROMETRY_COUGH_FIRST_SECOND, SPIROMETRY_COUGH_LATER);
}

/* Glottic closure: flow cut off to nothing for longer than a cough holds it. When it opens again, that is no cough;
 * when it does not, the expiration has ended there, and the flat volume after it is no plateau. */
static void judge_flow(struct work *w, struct spirometry_blow *b) {
  const struct grid *g = &w->grid;
  size_t window = samples_in(g, 0.2), long_run = samples_in(g, CLOSED_SECONDS), run = 0, opened = w->blow.peak;
  size_t end = w->end, closed = 0;
  bool shut = false;
  b->criteria[SPIROMETRY_GLOTTIS_FIRST_SECOND] = b->criteria[SPIROMETRY_GLOTTIS_LATER] = SPIROMETRY_MET;
  b->criteria[SPIROMETRY_COUGH_FIRST_SECOND] = b->criteria[SPIROMETRY_COUGH_LATER] = SPIROMETRY_MET;
  for (size_t i = w->blow.peak + 1; i <= end; i++) {
    run = magnitude(g->smooth[i]) <= CLOSED ? run + 1 : 0;
    size_t since = i + 1 - run;
    if (run == long_run && (shut = is_cut_off(w, since)) &&
        (double)since * g->step - w->time_zero < SPIROMETRY_FET_LONG / 1000.0)
      fail_at(w, b, since, SPIROMETRY_GLOTTIS_FIRST_SECOND, SPIROMETRY_GLOTTIS_LATER);
    if (run >= long_run && shut) {
      closed = since;
      opened = i + 1 + window / 2;
    } else if (g->smooth[i] > CLOSED)
      closed = 0;
    judge_cough(w, b, i, back(i, window, opened));
  }
  if (closed)
    w->end = closed;
}

/* What a stretch of rest says of the zero: nothing when flow changes between its halves by more than `drift` L/s, plus
 * a part of itself. */
static enum spirometry_state judge_rest(const struct grid *g, size_t first, size_t n, double drift, double part) {
  double early = mean(g->flow + first, n / 2), late = mean(g->flow + first + n / 2, n - n / 2),
         all = (early + late) / 2;
  if (magnitude(early - late) > drift + part * magnitude(all))
    return SPIROMETRY_NOT_JUDGED;
  return magnitude(all) > ZERO_FLOW_MAX ? SPIROMETRY_FAILED : SPIROMETRY_MET;
}

/* Before the blow: half a second to 3 s of held breath, without its first 200 ms and the 100 ms before the flow. */
static enum spirometry_state judge_rest_before(const struct work *w) {
  const struct grid *g = &w->grid;
  size_t end = w->blow.peak;
  while (end > 0 && g->smooth[end] > REST_FLOW_MAX)
    end--;
  size_t first = end, from = back(end, samples_in(g, 3), 0);
  while (first > from && magnitude(g->smooth[first - 1]) <= REST_FLOW_MAX)
    first--;
  first += first ? samples_in(g, 0.2) : 0;
  end = back(end, samples_in(g, 0.1), 0);
  size_t half = samples_in(g, 0.5);
  if (end < first + half)
    return SPIROMETRY_NOT_JUDGED;
  enum spirometry_state state = judge_rest(g, first, end - first, 0.015, 0);
  /* A slow leak just before the blow is none of the zero's when half a second before it was still. */
  for (size_t i = 0; state == SPIROMETRY_FAILED && i + half < w->blow.peak; i += half / 4 + 1)
    state = judge_rest(g, i, half, 0.015, 0) == SPIROMETRY_MET ? SPIROMETRY_MET : state;
  return state;
}

/* At the end: the last 3 s before an inspiration or the end. Lungs empty more slowly with time, by more than a tenth in
 * 1.5 s; a flow that does not is no breath. */
static enum spirometry_state judge_rest_after(const struct work *w) {
  const struct grid *g = &w->grid;
  size_t end = w->blow.high, n = samples_in(g, 3);
  while (end + 1 < g->n && magnitude(g->smooth[end + 1]) <= REST_FLOW_MAX)
    end++;
  end = end + 1 < g->n ? back(end, samples_in(g, 0.1), w->blow.peak) : end + 1;
  size_t first = back(end, n, w->blow.peak);
  for (size_t i = first; i < end; i++)
    if (magnitude(g->smooth[i]) > REST_FLOW_MAX)
      return SPIROMETRY_NOT_JUDGED;
  if (end - first < n)
    return SPIROMETRY_NOT_JUDGED;
  if (magnitude(mean(g->flow + first, n)) <= ZERO_FLOW_MAX)
    return SPIROMETRY_MET;
  return judge_rest(g, first, n, 0, 0.1);
}

static enum spirometry_state judge_zero_flow(const struct work *w) {
  enum spirometry_state before = judge_rest_before(w), after = judge_rest_after(w);
  return before > after ? before : after; /* failed, met, not judged */
}

/* ---- measuring -------------------------------------------------------------------------------------------------- */

/* When the flow last passed a level on its way up to PEF, in s. */
static double time_of_rise(const struct work *w, double level) {
  const double *f = w->grid.flow;
  size_t i = w->blow.peak;
  while (i > 0 && f[i - 1] >= level)
    i--;
  double back_by = i && f[i] > f[i - 1] && f[i] > level ? (f[i] - level) / (f[i] - f[i - 1]) : 0;
  return ((double)i - back_by) * w->grid.step;
}

static int32_t measure_hesitation(const struct work *w) {
  const struct grid *g = &w->grid;
  if (!w->blow.inspired)
    return SPIROMETRY_NONE;
  size_t i = w->blow.low;
  while (i > 0 && g->volume[i - 1] <= g->volume[w->blow.low] + REST_NEAR)
    i--;
  double seconds = w->time_zero - (double)i * g->step;
  return milli(seconds > 0 ? seconds : 0);
}

static int32_t measure_fivc(const struct work *w) {
  const struct grid *g = &w->grid;
  double lowest = g->volume[w->blow.high], inspired, fastest = 0;
  for (size_t i = w->blow.high; i < g->n && g->volume[i] - lowest < BREATH; i++) {
    lowest = g->volume[i] < lowest ? g->volume[i] : lowest;
    fastest = g->smooth[i] < fastest ? g->smooth[i] : fastest;
  }
  inspired = g->volume[w->blow.high] - lowest;
  return inspired >= BREATH && fastest <= -REST_FLOW_MAX ? milli(inspired) : SPIROMETRY_NONE;
}

static int32_t volume_after(const struct work *w, double seconds) {
  double at = w->time_zero + seconds;
  return at <= (double)w->end * w->grid.step ? milli(volume_at(&w->grid, at) - w->start_volume) : SPIROMETRY_NONE;
}

static int measure(struct work *w, struct spirometry_blow *b) {
  const struct grid *g = &w->grid;
  double fvc = w->end_volume - w->start_volume, end = (double)w->end * g->step;
  double quarter = time_of_volume(w, w->start_volume + fvc / 4),
         three = time_of_volume(w, w->start_volume + fvc * 3 / 4);
  double middle = three > quarter ? fvc / 2 / (three - quarter) : 0;
  double last = volume_at(g, end - 1) - w->start_volume;
  bool whole = w->blow.low > 0 || g->flow[0] <= 0.5; /* else it begins in the middle of a blow */
  if (!(fvc >= BREATH / 2 && fvc <= FVC_MAX && w->pef > 0 && w->pef <= FLOW_MAX && middle <= FLOW_MAX))
    return -ERANGE;
  b->fvc_ml = milli(fvc);
  b->fev1_ml = volume_after(w, 1);
  b->fev6_ml = volume_after(w, 6);
  b->bev_ml = whole ? milli(volume_at(g, w->time_zero) - w->start_volume) : SPIROMETRY_NONE;
  b->pef_ml_s = milli(w->pef);
  b->fef25_75_ml_s = middle > 0 ? milli(middle) : SPIROMETRY_NONE;
  b->fivc_ml = measure_fivc(w);
  b->time_zero_ms = milli(w->time_zero);
  b->pef_rise_ms = whole ? milli(time_of_rise(w, 0.9 * w->pef) - time_of_rise(w, 0.1 * w->pef)) : SPIROMETRY_NONE;
  b->hesitation_ms = measure_hesitation(w);
  b->fet_ms = milli(end - w->time_zero);
  b->plateau_ml = b->fet_ms < 1000 ? b->fvc_ml : milli(fvc - last);
  return 0;
}

static enum spirometry_state judge(int32_t value, bool met) {
  return value == SPIROMETRY_NONE ? SPIROMETRY_NOT_JUDGED : met ? SPIROMETRY_MET : SPIROMETRY_FAILED;
}

static void judge_measures(const struct work *w, struct spirometry_blow *b) {
  bool ended = b->plateau_ml <= SPIROMETRY_PLATEAU || b->fet_ms >= SPIROMETRY_FET_LONG;
  int32_t more = b->fivc_ml == SPIROMETRY_NONE ? 0 : b->fivc_ml - b->fvc_ml;
  b->criteria[SPIROMETRY_ZERO_FLOW] = judge_zero_flow(w);
  b->criteria[SPIROMETRY_BEV] = judge(b->bev_ml, spirometry_is_within(b->bev_ml, b->fvc_ml));
  b->criteria[SPIROMETRY_EOFE] = b->criteria[SPIROMETRY_EARLY_STOP] = judge(b->fet_ms, ended);
  b->criteria[SPIROMETRY_FIVC] = judge(b->fivc_ml, spirometry_is_within(more, b->fvc_ml));
  b->criteria[SPIROMETRY_HESITATION] = judge(b->hesitation_ms, b->hesitation_ms <= 2000);
  b->criteria[SPIROMETRY_PEF_RISE] = judge(b->pef_rise_ms, b->pef_rise_ms <= 150);
}

/* Whether volume and flow, both measured, tell the same blow: to 10 %, as one may be at body conditions. */
static bool agree(const struct work *w) {
  const struct grid *g = &w->grid;
  double a = g->memory[w->blow.high] - g->memory[w->blow.low];
  double b = g->integral[w->blow.high] - g->integral[w->blow.low];
  double most = magnitude(a) > magnitude(b) ? magnitude(a) : magnitude(b);
  return magnitude(a - b) <= (most > 1.5 ? 0.1 * most : 0.15);
}

static int blow_measure(struct work *w, const struct spirometry_curve *curve, struct spirometry_blow *ret) {
  struct spirometry_blow b = {0};
  choose_volume(&w->grid, curve);
  int r = find_blow(&w->grid, &w->blow);
  if (r < 0)
    return r;
  if (curve->volume && curve->flow && !agree(w))
    return -EBADMSG;
  find_blast(w);
  find_peak(w);
  find_start(w);
  find_end(w);
  w->time_zero = w->peak_at - (volume_at(&w->grid, w->peak_at) - w->start_volume) / w->pef;
  judge_flow(w, &b);
  r = measure(w, &b);
  if (r < 0)
    return r;
  judge_measures(w, &b);
  *ret = b;
  return 0;
}

int spirometry_curve(const struct spirometry_curve *curve, struct spirometry_blow *ret) {
  struct work w = {0};
  int r = check_samples(curve);
  if (r == 0)
    r = grid_init(&w.grid, curve);
  if (r == 0)
    r = blow_measure(&w, curve, ret);
  grid_finish(&w.grid);
  return r;
}
