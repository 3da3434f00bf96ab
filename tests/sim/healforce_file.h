/*
 * healforce_file: the .SCP files of the Heal Force Prince 180, which are no SCP-ECG for most readers of it.
 *
 * File CRC u16, two zeros, length u16, then sections as in scp_file.h, but: pointers are 6 (of 0, 1, 2, 3, 6, 9) and
 * their index is from 0; nothing is signed "SCPECG"; section 1 ends without tag 255, and the year of tag 25 is big
 * endian; section 6 has one stream whatever the leads, its pointer reaches further than its own length. The file is
 * filled up with zeros to 32768 bytes.
 * CRCs, as one real file has them: polynomial 0x1021 from 0 over bytes 2 to the end that the length or the pointer
 * gives, not reflected; little endian in sections 0 to 3, big endian in section 6 and for the file. Section 9's is not
 * understood; here it is as section 6's.
 * The stream: samples of 10 uV + 512, 10 bits, the leads in turn. Four samples in three u16: the first three in bits 0
 * to 9 of each, the fourth's bits 8 to 11, 4 to 7, 0 to 3 in bits 10 to 13 of each. Bit 15 of a word marks its sample
 * as a heart beat's, bit 14 as an irregular one's; a fourth sample has no mark. 150 Hz.
 */
#ifndef ASALEED_SIM_HEALFORCE_FILE_H
#define ASALEED_SIM_HEALFORCE_FILE_H

#include "buf.h"
#include "ecg12.h"
#include "file_maker.h"

#define HEALFORCE_RATE_HZ 150u
#define HEALFORCE_LEADS_MAX 3u
#define HEALFORCE_SAMPLES_MAX 18000u /* of all leads together */

extern const struct file_format healforce_format;

enum healforce_damage {
  HEALFORCE_SOUND,
  HEALFORCE_CUT,             /* the file ends within section 6 */
  HEALFORCE_POINTER_OUTSIDE, /* section 6 begins behind the end */
  HEALFORCE_STREAM_LENGTH,   /* the stream's length is more than section 6 has */
  HEALFORCE_NO_RHYTHM,       /* no pointer to section 6 */
  HEALFORCE_FILE_CRC,        /* wrong */
  HEALFORCE_SECTION_CRC,     /* of section 6, wrong */
  HEALFORCE_ODD_STREAM,      /* one word less: no whole group at the end */
  HEALFORCE_ZERO_LENGTHS,    /* all sections' own lengths are 0 */
  HEALFORCE_DAMAGES
};

struct healforce_options {
  const char *id;          /* ASCII; the first 29 characters. NULL: "00000" */
  struct file_clock taken; /* year 0: no tags 25 and 26 */
  enum ecg12_lead leads[HEALFORCE_LEADS_MAX];
  unsigned n_leads;         /* 1 to 3 */
  unsigned irregular_every; /* each so manieth beat is marked; 0: none */
  enum healforce_damage damage;
};

/* A sample of the ECG in steps of 10 uV: half of it, to the nearest, halves away from 0 (augmented leads: a quarter).
 */
int healforce_step(const struct ecg12 *ecg, enum ecg12_lead lead, size_t i);
/* Of a recording at 150 Hz (-EINVAL for another); what is more than HEALFORCE_SAMPLES_MAX is left out, and so are the
 * samples of an incomplete last group of four. *ret_samples (of each lead) if not NULL. Appends to ret. */
int healforce_file_make(const struct healforce_options *o, const struct ecg12 *ecg, struct buf *ret,
                        size_t *ret_samples);

#endif
