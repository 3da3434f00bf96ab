#include "ecg12.h"

/* All in integers: a libm result may differ in its last bit from one machine to the next, and a sample with it. */

#define ONE 32768 /* the height of a bump of 1 */
#define PERIOD 65536
#define MS 1000
#define QRS_BEFORE_MS 40
#define QRS_AFTER_MS 45
#define P_BEFORE_MS 195
#define DRIFT_STEPS 16
#define LIMB_MAX 200 /* of I and II, so that III stays within twice as much */
#define CHEST_MAX 400
#define MEASURED 8 /* I, II, V1..V6: all others follow from I and II */

enum wave { P, Q, R, S, T, WAVES };

/* A bump from left us before its top to right us after it; the top at at_us from the fiducial point. */
static const struct {
  int32_t at_us, left_us, right_us;
} shape[WAVES] = {
    [P] = {-150 * MS, 45 * MS, 45 * MS}, [Q] = {-25 * MS, 15 * MS, 15 * MS},  [R] = {0, 20 * MS, 20 * MS},
    [S] = {25 * MS, 20 * MS, 20 * MS},   [T] = {280 * MS, 110 * MS, 80 * MS},
};

static const enum ecg12_lead measured[MEASURED] = {ECG12_I,  ECG12_II, ECG12_V1, ECG12_V2,
                                                   ECG12_V3, ECG12_V4, ECG12_V5, ECG12_V6};

/* Steps of each wave. */
static const int16_t height[MEASURED][WAVES] = {
    {10, -8, 100, -16, 26}, {22, -14, 140, -20, 36}, {8, 0, 40, -180, -14},   {12, 0, 70, -240, 50},
    {14, 0, 140, -180, 60}, {14, -8, 250, -90, 56},  {14, -12, 230, -40, 44}, {13, -12, 180, -16, 34},
};

static uint32_t draw(uint64_t *state, uint32_t below) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((*state >> 33) % below);
}

/* (1 - u^2)^2: flat at its top and at both its ends. */
static int32_t bump(int64_t us, enum wave w) {
  int64_t from_top = us - shape[w].at_us, half = from_top < 0 ? shape[w].left_us : shape[w].right_us;
  if (from_top <= -half || from_top >= half)
    return 0;
  int64_t u = from_top * ONE / half, rest = ONE - u * u / ONE;
  return (int32_t)(rest * rest / ONE);
}

/* As a sine, of two parabolas. */
static int32_t swing(uint32_t phase) {
  int64_t x = phase % (PERIOD / 2);
  int64_t arc = 4 * x * (PERIOD / 2 - x) / (PERIOD / 2);
  return (int32_t)(phase % PERIOD < PERIOD / 2 ? arc : -arc);
}

static int32_t rounded(int32_t steps_by_one) {
  return steps_by_one < 0 ? -((-steps_by_one + ONE / 2) / ONE) : (steps_by_one + ONE / 2) / ONE;
}

static int16_t within(int32_t v, int32_t max) {
  return (int16_t)(v < -max ? -max : v > max ? max : v);
}

static void place_beats(struct ecg12 *e, uint64_t *state) {
  size_t before = e->rate_hz * QRS_BEFORE_MS / 1000, after = e->rate_hz * QRS_AFTER_MS / 1000;
  size_t at = (size_t)e->rate_hz * (P_BEFORE_MS + 5 + draw(state, 300)) / 1000;
  e->n_beats = 0;
  while (at + after < e->n && e->n_beats < sizeof(e->beat) / sizeof(e->beat[0])) {
    e->beat[e->n_beats++] = (struct ecg12_beat){at - before, at, at + after};
    at += (size_t)e->rate_hz * (740 + draw(state, 121)) / 1000;
  }
}

/* One heart beat, at us from its fiducial point. */
static int32_t beat_at(unsigned m, int64_t us, uint32_t percent) {
  int32_t sum = 0;
  for (enum wave w = P; w < WAVES; w++)
    sum += height[m][w] * bump(us, w) / 100 * (int32_t)percent;
  return sum;
}

/* All but the noise. */
static int32_t clean_at(const struct ecg12 *e, unsigned m, size_t i, size_t *beat, uint32_t percent) {
  while (*beat + 1 < e->n_beats && e->beat[*beat + 1].fiducial <= i + (size_t)e->rate_hz * P_BEFORE_MS / 1000)
    ++*beat;
  if (e->n_beats == 0)
    return 0;
  return beat_at(m, ((int64_t)i - (int64_t)e->beat[*beat].fiducial) * 1000000 / e->rate_hz, percent);
}

static void make_lead(struct ecg12 *e, unsigned m, uint64_t state, uint32_t percent, unsigned noise_steps, int drift) {
  int16_t *to = e->lead[measured[m]];
  uint32_t phase = draw(&state, PERIOD), mhz = 150 + draw(&state, 200);
  size_t beat = 0;
  for (size_t i = 0; i < e->n; i++) {
    int32_t v = clean_at(e, m, i, &beat, percent);
    if (drift)
      v += DRIFT_STEPS * swing(phase + (uint32_t)((uint64_t)i * PERIOD * mhz / (1000ull * e->rate_hz)));
    v = rounded(v);
    if (noise_steps > 0)
      v += (int32_t)draw(&state, 2 * noise_steps + 1) - (int32_t)noise_steps;
    to[i] = within(v, m < 2 ? LIMB_MAX : CHEST_MAX);
  }
}

void ecg12_make(struct ecg12 *ret, unsigned rate_hz, unsigned seconds, unsigned seed, unsigned noise_steps, int drift) {
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1, n = (uint64_t)rate_hz * seconds;
  ret->rate_hz = rate_hz;
  ret->n = n < ECG12_SAMPLES_MAX ? (size_t)n : ECG12_SAMPLES_MAX;
  noise_steps = noise_steps < CHEST_MAX ? noise_steps : CHEST_MAX;
  uint32_t percent = 80 + draw(&state, 21);
  place_beats(ret, &state);
  for (unsigned m = 0; m < MEASURED; m++)
    make_lead(ret, m, state + m * 0xD1B54A32D192ED03u, percent, noise_steps, drift);
  for (size_t i = 0; i < ret->n; i++) {
    int one = ret->lead[ECG12_I][i], two = ret->lead[ECG12_II][i];
    ret->lead[ECG12_III][i] = (int16_t)(two - one);
    ret->lead[ECG12_AVR][i] = (int16_t)(-one - two);
    ret->lead[ECG12_AVL][i] = (int16_t)(2 * one - two);
    ret->lead[ECG12_AVF][i] = (int16_t)(2 * two - one);
  }
}
