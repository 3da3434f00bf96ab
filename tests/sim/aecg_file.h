/*
 * aecg_file: writes HL7 annotated ECGs (AnnotatedECG, urn:hl7-org:v3, schema PORT_MT020001).
 *
 * AnnotatedECG > component > series (code RHYTHM) > component > sequenceSet > component > sequence: the first sequence
 * is the time (GLIST_TS with a head and an increment, or GLIST_PQ), then one a lead (SLIST_PQ: origin, scale, digits
 * between blanks; value = origin + scale * digit). The subject is a trialSubject far down componentOf, the instrument
 * the author of the series; annotations hang on subjectOf, the representative beat on derivation > derivedSeries.
 */
#ifndef ASALEED_SIM_AECG_FILE_H
#define ASALEED_SIM_AECG_FILE_H

#include "ecg_facts.h"
#include "xml_out.h"

#include <stdbool.h>

enum aecg_damage {
  AECG_WHOLE,
  AECG_ENTITY_BOMB,     /* a DOCTYPE whose entities grow tenfold ten times, used in the subject's name */
  AECG_EXTERNAL_ENTITY, /* a DOCTYPE with an entity that is a file */
  AECG_TRUNCATED,       /* half of the bytes */
  AECG_WRONG_CLOSING_TAG,
  AECG_DIGIT_OUT_OF_RANGE, /* 40000 in V3 */
  AECG_DIGIT_NOT_INTEGER,  /* 12.5 in V3 */
  AECG_DIGIT_NO_NUMBER,    /* a word in V3 */
  AECG_UNKNOWN_LEAD,       /* V3 has a code that is no lead */
  AECG_UNKNOWN_UNIT,       /* the scale of V3 is in mmHg */
  AECG_NO_INCREMENT,
  AECG_NO_SCALE,   /* of V3 */
  AECG_SHORT_LEAD, /* V3 has one sample less */
  AECG_LEAD_TWICE, /* V3 calls itself V2 */
  AECG_NO_DIGITS,  /* no sequence of a lead at all */
  AECG_DAMAGES
};
extern const char *const aecg_damage_names[AECG_DAMAGES];

enum aecg_unit { AECG_MICRO, AECG_MILLI, AECG_NANO, AECG_WHOLE_UNIT };

struct aecg_file {
  struct ecg_facts facts;
  enum xml_encoding encoding;
  const char *prefix;            /* of all elements; NULL: urn:hl7-org:v3 is the default namespace */
  bool relative;                 /* TIME_RELATIVE, else TIME_ABSOLUTE */
  enum aecg_unit increment_unit; /* us, ms or s (AECG_WHOLE_UNIT); not ns */
  enum aecg_unit scale_unit;     /* uV, mV, nV; not V */
  const char *between;           /* digits; NULL: one blank */
  const char *zone;              /* after each time, as "+0100"; NULL: none */
  int origin_uv;                 /* of every lead: the digits are as much less */
  bool eight;                    /* I, II, V1..V6 only */
  bool filters;                  /* low-pass 150 Hz, high-pass 0.05 Hz, notch 50 Hz */
  bool derived;                  /* a representative beat beside the rhythm */
  bool measurements;             /* heart rate, PR, QRS, QT as annotations */
  enum aecg_damage damage;
};

/* Appends the file. 0, or -EINVAL: the sampling interval is no whole number of ns, an origin is no whole number of
 * steps, a unit is not one of these; else the buffer's error. */
int aecg_file_make(const struct aecg_file *options, const struct ecg12 *ecg, struct buf *ret);

#endif
