/*
 * sierra_file: writes Philips ECGs, SierraECG 1.03 and PhilipsECG 1.04 (http://www3.medical.philips.com).
 *
 * The samples are 16 bits, little-endian, lead after lead, in base64; or as decimal text ("Plain"); or compressed as
 * XLI, which is not published and was worked out from real files by others and, for this, from one again:
 * A chunk a lead: size of what follows (i32), 1 (u16), the first second difference (i16), then LZW codes of 10 bits,
 * highest bit first: 0..255 are bytes, 256..1022 are made as usual, after which the table stays; 1023 ends. The bytes
 * are all high bytes of the deltas, then all low bytes. The first two deltas are the first two samples; then
 * delta[i] = 64 + 2 x[i] - x[i-1] - x[i+1], whose first is in the header instead; the last is unused and 0.
 * III, aVR, aVL and aVF are residuals: II - I - III; -aVR - (I + II) / 2; (I - III) / 2 - aVL; (II + III) / 2 - aVF,
 * halves cut towards zero. (In the real file the residuals of odd sums are on average +0.5 where the sum is positive
 * and -0.5 where it is negative, and the other way round for aVF: so it was written by who cut them that way.) A real
 * file has more channels than leads, flat, and a 1 mV pulse in every channel after the ECG.
 */
#ifndef ASALEED_SIM_SIERRA_FILE_H
#define ASALEED_SIM_SIERRA_FILE_H

#include "ecg_facts.h"
#include "xml_out.h"

#include <stdbool.h>

/* Those of chunks and codes are for compressed files only. */
enum sierra_damage {
  SIERRA_WHOLE,
  SIERRA_CODE_BEYOND_TABLE, /* an LZW code that is not made yet, in V3 */
  SIERRA_CHUNK_BEYOND_DATA, /* V3's chunk claims 2 GB */
  SIERRA_CHUNK_NEGATIVE,    /* V3's chunk claims -8 bytes */
  SIERRA_CHUNK_EMPTY,       /* V3's chunk claims none */
  SIERRA_GROWTH_BOMB,       /* V3's chunk of 30 kB grows to 18 MB */
  SIERRA_NO_END_CODE,       /* every chunk: the codes just end */
  SIERRA_SHORT_LEAD,        /* V3 has one sample less */
  SIERRA_ODD_BYTES,         /* V3 has half a sample more */
  SIERRA_MISSING_LEAD,      /* no V6, but in the labels */
  SIERRA_DATA_CUT,          /* half of the base64 text, in XML that is whole */
  SIERRA_BAD_BASE64,        /* an "@" in it */
  SIERRA_BEYOND_16_BITS,    /* V3 rises to 40000 steps and stays there */
  SIERRA_TRUNCATED,         /* half of the file */
  SIERRA_VERSION,           /* 9.99 */
  SIERRA_NO_RESOLUTION,
  SIERRA_NO_RATE,
  SIERRA_WRONG_DURATION, /* twice as long as the data */
  SIERRA_UNKNOWN_LEAD,   /* V3's label is no lead (1.04) */
  SIERRA_COMPRESSION,    /* a method that nobody knows */
  SIERRA_ENTITY_BOMB,
  SIERRA_DAMAGES
};
extern const char *const sierra_damage_names[SIERRA_DAMAGES];

enum sierra_coding { SIERRA_XLI, SIERRA_BASE64, SIERRA_PLAIN };

struct sierra_file {
  struct ecg_facts facts;
  enum xml_encoding encoding;
  bool v104; /* 1.04, else 1.03 */
  enum sierra_coding coding;
  unsigned spare;   /* flat channels after the leads, compressed only */
  bool calibration; /* half a second of nothing and a pulse of 200 ms, 1 mV, nothing again: one second more */
  bool repbeats;    /* representative beats beside the rhythm, base64 */
  bool filters;
  bool measurements;
  enum sierra_damage damage;
};

/* What a reader must find, in steps of 5 uV: of the augmented leads the whole steps below. */
int sierra_file_sample(const struct ecg12 *ecg, enum ecg12_lead lead, size_t i);
/* Samples of a lead, with the calibration. */
size_t sierra_file_samples(const struct sierra_file *options, const struct ecg12 *ecg);

/* Appends the file. 0, or -EINVAL: no two samples, or the duration is no whole number of ms; else the buffer's error.
 */
int sierra_file_make(const struct sierra_file *options, const struct ecg12 *ecg, struct buf *ret);

#endif
