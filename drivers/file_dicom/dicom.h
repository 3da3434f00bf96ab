/* What the parts of the decoder share. Tags as group << 16 | element (DICOM PS3.6). */
#ifndef FILE_DICOM_DICOM_H
#define FILE_DICOM_DICOM_H

#include "flat.h"
#include <asalee/driver.h>

enum {
  SOP_CLASS_UID = 0x00080016,
  ACQUISITION_DATE = 0x00080022,
  CONTENT_DATE = 0x00080023,
  ACQUISITION_DATETIME = 0x0008002a,
  ACQUISITION_TIME = 0x00080032,
  CONTENT_TIME = 0x00080033,
  MANUFACTURER = 0x00080070,
  CODE_VALUE = 0x00080100,
  CODING_SCHEME = 0x00080102,
  CODE_MEANING = 0x00080104,
  TIMEZONE_OFFSET = 0x00080201,
  ADMITTING_DIAGNOSES = 0x00081080,
  MODEL_NAME = 0x00081090,
  PATIENT_NAME = 0x00100010,
  PATIENT_ID = 0x00100020,
  PATIENT_BIRTH_DATE = 0x00100030,
  PATIENT_SEX = 0x00100040,
  PATIENT_HISTORY = 0x001021b0,
  PATIENT_COMMENTS = 0x00104000,
  DEVICE_SERIAL_NUMBER = 0x00181000,
  SOFTWARE_VERSIONS = 0x00181020,
  GROUP_TIME_OFFSET = 0x00181068,
  LATERALITY = 0x00200060,
  IMAGE_LATERALITY = 0x00200062,
  IMAGE_COMMENTS = 0x00204000,
  VISIT_COMMENTS = 0x00384000,
  WAVEFORM_ORIGINALITY = 0x003a0004,
  NUMBER_OF_CHANNELS = 0x003a0005,
  NUMBER_OF_SAMPLES = 0x003a0010,
  SAMPLING_FREQUENCY = 0x003a001a,
  MULTIPLEX_GROUP_LABEL = 0x003a0020,
  CHANNEL_DEFINITION = 0x003a0200,
  CHANNEL_SOURCE = 0x003a0208,
  CHANNEL_DERIVATION = 0x003a020c,
  CHANNEL_SENSITIVITY = 0x003a0210,
  CHANNEL_SENSITIVITY_UNITS = 0x003a0211,
  CHANNEL_CORRECTION = 0x003a0212,
  CHANNEL_BASELINE = 0x003a0213,
  CHANNEL_TIME_SKEW = 0x003a0214,
  CHANNEL_SAMPLE_SKEW = 0x003a0215,
  CHANNEL_OFFSET = 0x003a0218,
  FILTER_LOW = 0x003a0220,
  FILTER_HIGH = 0x003a0221,
  FILTER_NOTCH = 0x003a0222,
  ACQUISITION_CONTEXT = 0x00400555,
  UNITS_CODE = 0x004008ea,
  REASON_FOR_PROCEDURE = 0x00401002,
  CONCEPT_NAME = 0x0040a043,
  SAMPLE_POSITIONS = 0x0040a132,
  TEXT_VALUE = 0x0040a160,
  CONCEPT_CODE = 0x0040a168,
  NUMERIC_VALUE = 0x0040a30a,
  WAVEFORM_ANNOTATION = 0x0040b020,
  UNFORMATTED_TEXT = 0x00700006,
  WAVEFORM_SEQUENCE = 0x54000100,
  WAVEFORM_PADDING = 0x5400100a,
  WAVEFORM_DATA = 0x54001010,
};

struct dicom_file {
  struct acq_record *record;
  const struct acq_order *order;
  struct acq_cur root; /* all attributes */
  bool unreadable;     /* a text had characters that could not be read */
};

/* The text of an attribute, cut to its field, clean; "" and false when there is none. */
bool dicom_text(struct dicom_file *f, struct acq_cur item, uint32_t tag, char *ret, size_t size);
/* The same of the first item of a sequence. */
bool dicom_text_in(struct dicom_file *f, struct acq_cur item, uint32_t sequence, uint32_t tag, char *ret, size_t size);

/* A decimal string as it is written: mantissa x 10^exponent, no zeros at the mantissa's end. */
struct dicom_number {
  int64_t mantissa;
  int exponent;
};
/* 0; -ENODATA when the attribute is not there, -EPROTO when it is no number. */
int dicom_number(struct acq_cur item, uint32_t tag, struct dicom_number *ret);
/* -ERANGE when nothing of ours holds it exactly. */
int dicom_exact(struct dicom_number n, struct dec *ret);

/* When the reading was made, by its clock brought to the order's local time where the file says how far that is from
 * UTC. 0; -ENODATA when it does not say, -ERANGE when that cannot be. */
int dicom_clock(const struct dicom_file *f, int64_t *ret_us);
/* What acq_rec_trial() gets for a reading of that moment, `after_us` later; what is wrong with it goes with the trial.
 */
void dicom_begin_trial(const struct dicom_file *f, int64_t after_us);

void dicom_subject(struct dicom_file *f);
void dicom_instrument(struct dicom_file *f);
void dicom_statements(struct dicom_file *f);
int dicom_ecg(struct dicom_file *f);

#endif
