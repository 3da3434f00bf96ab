/* The leads: sections 3 to 6, by the codes of section 2, as channels of the record.
 *
 *   section 3   number of leads u8, flags u8 (bit 0: the reference beat was subtracted); of each lead its first and
 * last sample u32, from 1, and its id u8 section 5   the reference beat: nV a step u16, us a sample u16, order of the
 * differences u8, reserved u8; of each lead the length of its data in bytes u16; the data, a lead after the other
 *   section 6   the rhythm: the same, where the reserved byte says whether it is bimodal; us is then the time between
 * two means, and that of section 5 the time between two samples differences order 1: from the sample before; order 2:
 * from the line through the two before; the first one or two are the samples themselves
 */
#ifndef FILE_SCP_ECG_RHYTHM_H
#define FILE_SCP_ECG_RHYTHM_H

#include "container.h"

/* What a make's or a model's files are known to do otherwise. */
enum scp_quirk {
  SCP_NO_LENGTHS = 1,   /* 16-bit numbers come without the lengths of the leads */
  SCP_SPIKES_TWICE = 2, /* section 7 has its number of spikes twice */
};

/* Adds the channels, and what there is to say of them, to the record's trial. 0 or an error with its reason in the
 * record. */
int scp_rhythm_read(const struct scp_file *f, unsigned quirks, struct acq_record *record);

#endif
