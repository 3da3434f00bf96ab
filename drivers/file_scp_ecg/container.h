/* The outside of an SCP-ECG file (EN 1064, ISO 11073-91064): checksums, section 0, where each section lies. All numbers
 * are little endian.
 *
 *   file     CRC-16/CCITT-FALSE of all that follows u16, length of the file u32, section 0, other sections anywhere
 *   section  CRC of what follows in it u16 (0xFFFF: not computed), id u16, length with this header u32, version of the
 *            section u8, version of the protocol u8 (13 is 1.3, 20 is 2.0), 6 reserved: "SCPECG" in section 0 from 1.3
 * on section 0: a pointer for each section: id u16, length u32, index u32, from 1 at the file's first byte; length 0:
 * not there. Sections 0 to 11 are the standard's, others are reserved or the manufacturer's.
 *
 * Source: README.md beside this file. */
#ifndef FILE_SCP_ECG_CONTAINER_H
#define FILE_SCP_ECG_CONTAINER_H

#include <asalee/driver.h>

#define SCP_SECTIONS 12

struct scp_section {
  bool there;
  struct acq_cur body; /* without its header; empty when it is not there */
  uint8_t protocol;
};

struct scp_file {
  struct scp_section section[SCP_SECTIONS];
};

/* Finds the sections of a file and verifies its checksums; says in the record's quality what could not be. 0, or
 * -ENXIO for a file of another kind, -EPROTO, -EBADMSG, -EOPNOTSUPP (version 3), with the reason in the record. */
int scp_open(struct acq_cur bytes, struct scp_file *ret, struct acq_record *record);

/* "section 4", a subject of quality items. */
void scp_quality(struct acq_record *record, const char *code, unsigned section);

#endif
