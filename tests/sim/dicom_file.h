/*
 * dicom_file: writes DICOM files (PS3.10), byte by byte: 12-lead and General ECG waveforms, Ophthalmic Photography.
 *
 * Waveforms (PS3.3 C.10.9): a Waveform Sequence of multiplex groups; samples are signed 16 bits, all channels of sample
 * 0, then of sample 1. Each channel says where it is from in a code (MDC 2:n, or SCPECG 5.6.3-9-n; n as in SCP-ECG),
 * and how much a step is: sensitivity * correction factor, in a coded unit. Text of the instrument stands in the
 * Waveform Annotation Sequence. With a median group there are 24 channels: that must be General ECG.
 */
#ifndef ASALEED_SIM_DICOM_FILE_H
#define ASALEED_SIM_DICOM_FILE_H

#include "dicom_out.h"
#include "ecg_facts.h"

enum dicom_damage {
  DICOM_WHOLE,
  DICOM_TRUNCATED,          /* half of the file */
  DICOM_NO_MAGIC,           /* "DICM" is "DUCK" */
  DICOM_LENGTH_BEYOND_FILE, /* a sequence claims 2 GB */
  DICOM_NESTED_WITHOUT_END, /* twenty thousand sequences in one another, then nothing */
  DICOM_GIGABYTE,           /* the samples or pixels claim a gigabyte, in all attributes and in their length */
  DICOM_SHORT_DATA,         /* half of the samples or pixels, and their length says so */
  DICOM_NO_DATA,            /* neither samples nor pixels */
  DICOM_UNKNOWN_SYNTAX,     /* a transfer syntax that nobody knows */
  DICOM_OTHER_CLASS,        /* Computed Tomography, by its UID */
  DICOM_BITS,               /* ECG: 8 bits allocated; fundus: 16 */
  /* ECG only; of a channel: V3 of the rhythm */
  DICOM_UNKNOWN_LEAD,
  DICOM_LEAD_TWICE, /* says V2 */
  DICOM_UNKNOWN_UNIT,
  DICOM_NO_SENSITIVITY,
  DICOM_BAD_SENSITIVITY, /* "five" */
  DICOM_NO_FREQUENCY,
  DICOM_CHANNELS, /* the group says it has 11 */
  DICOM_NO_GROUP, /* an empty Waveform Sequence */
  /* fundus only */
  DICOM_BAD_LATERALITY,   /* "X" */
  DICOM_TWO_LATERALITIES, /* Laterality says the other eye */
  DICOM_MORE_FRAMES,      /* than there are pixels for: 3 */
  DICOM_DAMAGES
};
extern const char *const dicom_damage_names[DICOM_DAMAGES];

struct dicom_form {
  enum dicom_syntax syntax;
  bool undefined; /* lengths of sequences and items */
  bool latin1;    /* ISO_IR 100, else ISO_IR 192 */
  bool private;   /* a private block, whose elements nobody knows */
};

struct dicom_ecg_file {
  struct ecg_facts facts;
  struct dicom_form form;
  bool scpecg;     /* channel sources, else MDC */
  bool milli;      /* mV, else uV */
  bool correction; /* sensitivity 1 and the step as its correction factor, else the other way round */
  bool median;     /* a second group */
  bool filters;
  bool measurements; /* as annotations with a number */
  enum dicom_damage damage;
};

enum dicom_eye { DICOM_IMAGE_LATERALITY, DICOM_SERIES_LATERALITY, DICOM_NO_LATERALITY };

struct dicom_fundus_file {
  struct ecg_facts facts; /* the statement becomes Image Comments */
  struct dicom_form form; /* syntax: not of a JPEG */
  uint16_t rows, columns;
  const uint8_t *rgb; /* rows * columns * 3, colour by pixel; or NULL and */
  const uint8_t *jpeg;
  size_t jpeg_len;
  unsigned fragments; /* that the JPEG is cut into; 0: one */
  bool planar;        /* native pixels plane by plane */
  enum dicom_eye eye;
  char laterality; /* 'R' or 'L' */
  enum dicom_damage damage;
};

/* Append the file. 0, or -EINVAL: neither pixels nor a JPEG, no rows or columns, more than 16384 samples (12 leads);
 * else the buffer's error. */
int dicom_ecg_file_make(const struct dicom_ecg_file *options, const struct ecg12 *ecg, struct buf *ret);
int dicom_fundus_file_make(const struct dicom_fundus_file *options, struct buf *ret);

#endif
