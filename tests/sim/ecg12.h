/* One synthetic 12-lead ECG, made from nothing but its parameters: what every writer of ECG files in this folder
 * writes, so that all formats can be compared sample by sample. */
#ifndef ECG12_H
#define ECG12_H

#include <stddef.h>
#include <stdint.h>

enum ecg12_lead {
  ECG12_I,
  ECG12_II,
  ECG12_III,
  ECG12_AVR,
  ECG12_AVL,
  ECG12_AVF,
  ECG12_V1,
  ECG12_V2,
  ECG12_V3,
  ECG12_V4,
  ECG12_V5,
  ECG12_V6,
  ECG12_LEADS
};

#define ECG12_STEP_UV 5 /* one step of every lead but the augmented ones, which are in half steps (2.5 uV) */
#define ECG12_SAMPLES_MAX 60000

/* Times in samples, from 0. */
struct ecg12_beat {
  size_t onset, fiducial, offset; /* of the QRS complex: offset is its last sample */
};

struct ecg12 {
  unsigned rate_hz;
  size_t n;                                     /* samples of each lead */
  int16_t lead[ECG12_LEADS][ECG12_SAMPLES_MAX]; /* III = II - I, aVR = -(I + II), aVL = 2 I - II, aVF = 2 II - I,
                                                   exactly, in their steps; within -400..400 steps but for the
                                                   augmented ones */
  size_t n_beats;
  struct ecg12_beat beat[256];
};

/* P, QRS and T waves of a beat every 0.8 s or so (not quite regular), some noise and a drifting base line, all from the
 * seed: the same arguments give the same samples on every machine. seconds <= ECG12_SAMPLES_MAX / rate_hz. With
 * noise_steps 0 and all beats alike (still: no drift), only the beats' distances differ. */
void ecg12_make(struct ecg12 *ret, unsigned rate_hz, unsigned seconds, unsigned seed, unsigned noise_steps, int drift);

#endif
