/*
 * scp_file: SCP-ECG files (EN 1064, ISO 11073-91064) of versions 1.0, 1.3 and 2.0, in every encoding they may have.
 *
 * All numbers little endian. The file: CRC u16 over bytes 2 to the end, length u32, section 0, the other sections.
 * CRC: polynomial 0x1021, start 0xFFFF, not reflected. A section: CRC u16 (over its bytes from 2), id u16, length u32,
 * section version u8, protocol version u8, 6 reserved bytes ("SCPECG" in section 0 from version 1.3 on), contents; its
 * length is even. Section 0 holds pointers {id u16, length u32, index u32 from 1}, 0 to 11 at least.
 *
 * What is in a lead's data is said by three layers; a reader undoes them from the last to the first:
 *   1. the reference beat (section 5) is taken off at each beat of type 0, from its first sample SB to its last SE
 *      (section 4): sample i loses sample fcM - fc + i of the reference beat, all numbered from 1;
 *   2. bimodal: outside the protected zones QB..QE (SB..SE in version 1.0, which has no others), and clipped to the
 *      lead, each gap of n samples is stored as n / d means of d samples (rounded to the nearest, halves away from 0)
 *      and its n % d last samples as they are. d is section 6's interval over section 5's;
 *   3. differences, then codes of section 2. Each lead's data starts on a byte, has an even number of bytes, and starts
 *      and ends in table 1.
 * A stream of more than 65534 bytes has that length in section 6, and is whole all the same, or cut there.
 */
#ifndef ASALEED_SIM_SCP_FILE_H
#define ASALEED_SIM_SCP_FILE_H

#include "buf.h"
#include "ecg12.h"
#include "file_maker.h"

#include <stdbool.h>

#define SCP_LEADS_MAX 65u
#define SCP_FILE_MAX (32u << 20)

extern const struct file_format scp_format;

enum scp_code {
  SCP_RAW,       /* i16, section 2 absent */
  SCP_RAW_EMPTY, /* i16, section 2 has 0 tables */
  SCP_DEFAULT,   /* table 19999 */
  SCP_ONE_TABLE, /* made for the file: frequent values, the others in 8 or 16 bits */
  SCP_RANGES,    /* made for the file, with codes whose following bits are added to a base that is not 0 */
  SCP_THREE,     /* tables for quiet, middling and steep stretches, and codes that switch between them */
  SCP_LARGE,     /* one table of 255 codes, the longest of them more than 8 bits */
  SCP_CODES
};

enum scp_damage {
  SCP_SOUND,
  SCP_POINTER_OUTSIDE, /* section 6 begins behind the file's end */
  SCP_OVERLAP,         /* section 1 reaches into what lies behind it, its CRC right */
  SCP_PREFIX,          /* table 1: the first code begins the second (a code of its own is needed) */
  SCP_SWITCH_LOOP,     /* table 1: a code of no bits switches to table 1 */
  SCP_FILE_CRC,        /* wrong */
  SCP_SECTION_CRC,     /* of section 6, wrong */
  SCP_LEAD_LENGTH,     /* the last lead's data reaches beyond section 6 */
  SCP_STREAM_SHORT,    /* the last lead's data ends in the middle, all lengths agree with that */
  SCP_CUT,             /* the file ends in the middle of section 6, its length field as before */
  SCP_ZERO_INTERVAL,   /* section 6 (and 5) */
  SCP_ZERO_AVM,        /* section 6 (and 5) */
  SCP_65_LEADS,        /* well-formed, the leads again and again */
  SCP_ZERO_LENGTHS,    /* all sections' own lengths are 0 */
  SCP_POINTER_LOOP,    /* section 6 begins where section 0 does */
  SCP_TAG_LENGTH,      /* section 1: the first tag reaches beyond the section */
  SCP_NO_TAG_END,      /* section 1 ends without tag 255 */
  SCP_BEAT_OUTSIDE,    /* section 4: the first beat's SB..SE reach beyond the reference beat */
  SCP_LEAD_BACKWARDS,  /* section 3: the first lead ends before it begins */
  SCP_DAMAGES
};

/* What real files have and the standard does not. */
enum scp_quirk {
  SCP_LEAD_COUNT = 1,          /* section 3 says one lead less than it has */
  SCP_FIRST_ZERO = 2,          /* leads numbered from 0: 0 to n - 1 */
  SCP_NO_LEAD_LENGTHS = 4,     /* section 6 of raw data has no length per lead */
  SCP_BIMODAL_IDLE = 8,        /* says bimodal, nothing is decimated (options' decimation is 1) */
  SCP_LONG_CUT = 16,           /* a stream of more than 65534 bytes is cut */
  SCP_CRC_BLANK = 32,          /* every section's CRC is 0xFFFF, "not computed" */
  SCP_SIGNATURE_BLANK = 64,    /* no "SCPECG" */
  SCP_SHUFFLED = 128,          /* sections in some order, section 0 first */
  SCP_POINTERS_SHUFFLED = 256, /* ... their pointers */
  SCP_NO_NUL = 512,            /* the texts of section 1's tags end without NUL (but tag 14's) */
};

struct scp_lead {
  enum ecg12_lead lead;
  unsigned first, last; /* samples, from 1, inclusive; last 0: to the end */
};

struct scp_options {
  unsigned version; /* 10, 13, 20 */
  enum scp_code code;
  unsigned difference; /* 0, 1, 2 */
  bool subtract;       /* the reference beat */
  bool with_beat;      /* sections 4 and 5 are there even if nothing needs them */
  unsigned decimation; /* 1, or bimodal by 2 or 4 */
  /* nanovolts per step. Each lead's 5000 (augmented ones: 2500) must be a multiple of avm_nv. beat_avm_nv (0: the same)
   * is section 5's; the reference beat is rounded so that both can say it. */
  unsigned avm_nv, beat_avm_nv;
  unsigned foreign_every; /* each so manieth beat is of type 1: nothing is taken off; 0: none */
  struct scp_lead leads[SCP_LEADS_MAX];
  unsigned n_leads, seed, extra_sections, quirks;
  enum scp_damage damage;

  const char *alphabet;      /* "ascii", "latin1", "iso-8859-2" (4 5 6 7 8 11 15), "utf16" */
  struct file_person person; /* UTF-8; what the alphabet lacks is -EILSEQ */
  const char *second_family; /* NULL: not said */
  struct file_clock taken;
  int high_pass_chz, low_pass_hz, filters; /* 0.01 Hz, Hz, bits of tag 29; -1: not said */
  /* ASCII; model's first 6 characters. NULL: "". */
  const char *manufacturer, *model, *serial, *program;
  /* With it there are sections 7, 8, 10, 11 and tags 13, 30, 35, and each of their texts holds it. */
  const char *marker;
};

/* Version 2.0, default table, second differences, 5000 nV, leads I, II, V1..V6 whole, nobody's, 2026-05-04 10:30:00. */
struct scp_options scp_file_defaults(void);
/* I, II, III, aVR, aVL, aVF, V1..V6, whole; they need avm_nv 2500 or a part of it. */
void scp_file_twelve(struct scp_options *o);

/* 0; -EINVAL: options that contradict each other, or a rate whose interval is no whole number of microseconds below
 * 65536; -ERANGE: a sample or a difference does not fit in 16 bits; -EILSEQ; -ENOMEM, -EFBIG. Appends to ret. */
int scp_file_make(const struct scp_options *o, const struct ecg12 *ecg, struct buf *ret);

/* What a reader gets back of the i-th lead of an undamaged, uncut file, in nanovolts: layer 2 is undone so: in a gap, m
 * stored means become m * d samples: d / 2 times the first, then from each to the next in d equal parts (rounded to the
 * nearest, halves away from 0), then d / 2 times the last; then the samples stored as they are. Then every sample
 * outside the protected zones becomes the mean of itself and its two neighbours as they were before (rounded alike),
 * but not the lead's first and last, nor, where the reference beat was taken off, the two samples on either side of the
 * border of SB..SE of a beat of type 0. Then layer 1 is added.
 * exact[k] says that the sample is the recording's own and that every reader must get it: everywhere without
 * decimation, in the protected zones with it. Elsewhere readers may differ by their rounding: two steps of avm_nv
 * between one that truncates and one that rounds, and by more right at the borders of SB..SE. */
struct scp_truth {
  size_t n;
  int32_t *nv;
  bool *exact;
};
int scp_file_truth(const struct scp_options *o, const struct ecg12 *ecg, unsigned i, struct scp_truth *ret);
void scp_truth_finish(struct scp_truth *t);

/* The names that the command line has for them; NULL past the last. */
const char *scp_damage_name(unsigned i);

#endif
