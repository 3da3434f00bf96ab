/*
 * muse_file: writes GE MUSE exports (RestingECG, restecg.dtd).
 *
 * PatientDemographics, TestDemographics (dates MM-DD-YYYY), RestingECGMeasurements, Diagnosis, then a Waveform of type
 * Median and one of type Rhythm: SampleBase * 10^SampleExponent Hz, and a LeadData each for I, II, V1..V6: the other
 * limb leads follow from I and II. Samples are 16 bits, little-endian, in base64; LeadAmplitudeUnitsPerBit is decimal
 * text in LeadAmplitudeUnits; LeadDataCRC32 is the usual CRC-32 of the bytes, or 0. HighPassFilter is in 0.01 Hz.
 */
#ifndef ASALEED_SIM_MUSE_FILE_H
#define ASALEED_SIM_MUSE_FILE_H

#include "ecg_facts.h"
#include "xml_out.h"

#include <stdbool.h>

/* Of a lead: of V3 of the rhythm. */
enum muse_damage {
  MUSE_WHOLE,
  MUSE_TRUNCATED, /* half of the file */
  MUSE_DATA_CUT,  /* half of the lead's base64 text */
  MUSE_BAD_BASE64,
  MUSE_SAMPLE_COUNT, /* LeadSampleCountTotal says one more */
  MUSE_BYTE_COUNT,   /* LeadByteCountTotal says one more */
  MUSE_ODD_BYTES,    /* one byte more, and the byte count says so */
  MUSE_SHORT_LEAD,   /* one sample less, and the counts say so */
  MUSE_WRONG_CRC,
  MUSE_UNKNOWN_LEAD,
  MUSE_LEAD_TWICE, /* calls itself V2 */
  MUSE_MISSING_LEAD,
  MUSE_MARKED_GAP,  /* a sample of -32768 */
  MUSE_SAMPLE_SIZE, /* LeadSampleSize 4 */
  MUSE_UNKNOWN_UNIT,
  MUSE_NO_UNITS_PER_BIT,
  MUSE_BAD_UNITS_PER_BIT, /* "4,88 uV" */
  MUSE_NO_RATE,
  MUSE_NO_RHYTHM,   /* only the median */
  MUSE_ENTITY_BOMB, /* in an internal subset */
  MUSE_EXTERNAL_ENTITY,
  MUSE_DAMAGES
};
extern const char *const muse_damage_names[MUSE_DAMAGES];

struct muse_file {
  struct ecg_facts facts;
  enum xml_encoding encoding; /* real ones are ISO-8859-1 */
  const char *units_per_bit;  /* NULL: "5", the samples' own; "4.88" as real ones: the same samples are less then */
  bool crc;                   /* else 0 */
  bool exponent;              /* a tenth of the rate and an exponent of 1 */
  bool median;
  bool filters; /* 0.05 to 150 Hz, 50 Hz out */
  bool measurements;
  enum muse_damage damage;
};

/* Appends the file. 0, or the buffer's error; -EINVAL: exponent, and the rate is no whole number of 10 Hz. */
int muse_file_make(const struct muse_file *options, const struct ecg12 *ecg, struct buf *ret);

#endif
