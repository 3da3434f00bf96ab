/* Sections 7, 8, 10 and 11: what the instrument measured and made of it. Statements, all of it: only the reader sees
 * them.
 *
 *   section 7   measured beats u8 (the first is the reference beat, or the whole), spikes u8, mean RR and PP ms u16; of
 * each beat P begins and ends, QRS begins and ends, T ends ms u16, axes of P, QRS, T degrees i16; of each spike time ms
 * u16, amplitude uV i16; then of each 6 bytes of kind; from 1.3 on number of QRS types u16, each u8, ventricular and
 * atrial rate u16, QTc ms u16, its formula u8 section 8   state u8 (0 as made, 1 confirmed, 2 overread), date, time,
 * number of texts u8; each: number u8, length u16 section 10  leads u16, reserved u16; each: id u16, bytes u16, numbers
 * i16 section 11  as section 8, but each text begins with its kind u8 (1 coded, 2 text, 3 logic) 29999 not computed,
 * 29998 lead rejected, 19999 no such wave, 999 no axis: left out
 */
#ifndef FILE_SCP_ECG_FINDINGS_H
#define FILE_SCP_ECG_FINDINGS_H

#include "about.h"

/* Where one of these sections contradicts itself, what could be read is told, and the quality says so. */
void scp_findings_tell(const struct scp_file *f, struct scp_about *a, struct acq_record *record);

#endif
