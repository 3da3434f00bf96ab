#include "container.h"

#include "crc.h"
#include <stdio.h>
#include <string.h>

#define FILE_HEADER 6
#define SECTION_HEADER 16
#define POINTER 10
#define POINTERS_LEAST 12 /* of a file that conforms */
#define POINTERS_MAX 256
#define CRC_NOT_COMPUTED 0xffff
#define VERSION_3 30 /* another format in the same envelope */

struct header {
  uint16_t crc, id;
  uint32_t length;
  uint8_t protocol;
  const uint8_t *reserved; /* 6 bytes; NULL when the header is not whole */
};

static struct header read_header(struct acq_cur *c) {
  struct header h;
  h.crc = acq_u16le(c);
  h.id = acq_u16le(c);
  h.length = acq_u32le(c);
  acq_u8(c);
  h.protocol = acq_u8(c);
  h.reserved = acq_bytes(c, 6);
  return h;
}

struct pointer {
  uint16_t id;
  uint32_t length, index;
};

static struct pointer read_pointer(struct acq_cur *c) {
  struct pointer p;
  p.id = acq_u16le(c);
  p.length = acq_u32le(c);
  p.index = acq_u32le(c);
  return p;
}

static bool is_blank(const uint8_t *p) {
  return !memcmp(p, "\0\0\0\0\0\0", 6) || !memcmp(p, "      ", 6);
}

/* Is it this format at all? Without its name only where section 0 points to itself as it must; files that count from
 * 0, or have fewer pointers, are another format with the same letters in its name. */
static bool is_scp(struct acq_cur c, struct header *ret) {
  acq_bytes(&c, FILE_HEADER);
  *ret = read_header(&c);
  if (c.err || ret->id != 0 || ret->length < SECTION_HEADER + POINTER)
    return false;
  if (!memcmp(ret->reserved, "SCPECG", 6))
    return true;
  struct pointer own = read_pointer(&c);
  return !c.err && is_blank(ret->reserved) && ret->length >= SECTION_HEADER + POINTERS_LEAST * POINTER && own.id == 0 &&
         own.length == ret->length && own.index == FILE_HEADER + 1;
}

/* The file without what may follow it (a transfer by blocks fills the last one), once its checksum is verified. */
static int check_whole(struct acq_cur *bytes, struct acq_record *record) {
  struct acq_cur head = *bytes;
  const uint16_t crc = acq_u16le(&head);
  const uint32_t length = acq_u32le(&head);
  if (length > acq_left(bytes))
    return acq_rec_fail(record, -EPROTO, "the file is cut short: %zu of %u bytes", acq_left(bytes), (unsigned)length);
  if (length < FILE_HEADER + SECTION_HEADER)
    return acq_rec_fail(record, -EPROTO, "the file says that it is shorter than its first section");
  if (crc16_ccitt(CRC16_CCITT_FALSE_INIT, bytes->at + 2, length - 2) != crc)
    return acq_rec_fail(record, -EBADMSG, "the checksum of the file is wrong");
  if (length < acq_left(bytes))
    acq_rec_quality(record, "file_inconsistent", "longueurs", 1);
  *bytes = acq_cur(bytes->at, length);
  return 0;
}

void scp_quality(struct acq_record *record, const char *code, unsigned section) {
  char subject[32];
  snprintf(subject, sizeof subject, "section %u", section);
  acq_rec_quality(record, code, subject, 1);
}

/* A section of the standard: its header must say the same as its pointer. */
static int open_section(struct acq_cur bytes, const struct pointer *p, struct scp_file *f, struct acq_record *record) {
  struct scp_section *s = &f->section[p->id];
  if (s->there)
    return acq_rec_fail(record, -EPROTO, "section %u is there twice", p->id);
  acq_bytes(&bytes, p->index - 1);
  struct acq_cur whole = acq_sub(&bytes, p->length);
  struct header h = read_header(&whole);
  if (h.id != p->id || h.length != p->length)
    return acq_rec_fail(record, -EPROTO, "section %u is not where its pointer says", p->id);
  if (h.protocol >= VERSION_3)
    return acq_rec_fail(record, -EOPNOTSUPP, "SCP-ECG version 3 is not decoded");
  const uint8_t *start = whole.at - SECTION_HEADER;
  const uint16_t crc = crc16_ccitt(CRC16_CCITT_FALSE_INIT, start + 2, p->length - 2);
  if (crc != h.crc && h.crc != CRC_NOT_COMPUTED)
    return acq_rec_fail(record, -EBADMSG, "the checksum of section %u is wrong", p->id);
  if (crc != h.crc)
    scp_quality(record, "file_unchecked", p->id);
  *s = (struct scp_section){.there = true, .body = whole, .protocol = h.protocol};
  return 0;
}

/* Where the sections lie that were seen so far, in that order. */
struct places {
  unsigned n;
  struct pointer at[POINTERS_MAX + 1]; /* section 0 first */
};

/* False when it overlaps another one. */
static bool take_place(struct places *places, const struct pointer *p) {
  unsigned i = places->n;
  while (i > 0 && places->at[i - 1].index > p->index) {
    places->at[i] = places->at[i - 1];
    i--;
  }
  places->at[i] = *p;
  places->n++;
  return (i == 0 || places->at[i - 1].index + places->at[i - 1].length <= p->index) &&
         (i + 1 == places->n || p->index + p->length <= places->at[i + 1].index);
}

static int check_place(const struct pointer *p, size_t file, struct places *places, struct acq_record *record) {
  if (p->length < SECTION_HEADER || p->index <= FILE_HEADER || p->length > file || p->index - 1 > file - p->length)
    return acq_rec_fail(record, -EPROTO, "the pointer of section %u leads outside the file", p->id);
  if (!take_place(places, p))
    return acq_rec_fail(record, -EPROTO, "section %u overlaps another", p->id);
  return 0;
}

/* Where all sections lie, before one of them is looked into. */
static int check_places(struct acq_cur pointers, size_t file, struct places *places, struct acq_record *record) {
  const struct pointer own = places->at[0];
  int r = 0;
  while (acq_left(&pointers) && r == 0) {
    const struct pointer p = read_pointer(&pointers);
    if (p.length && p.id == 0 && (p.length != own.length || p.index != own.index))
      return acq_rec_fail(record, -EPROTO, "section 0 is not where its pointer says");
    if (p.length && p.id != 0)
      r = check_place(&p, file, places, record);
  }
  return r;
}

int scp_open(struct acq_cur bytes, struct scp_file *ret, struct acq_record *record) {
  static struct places places;
  struct header zero;
  *ret = (struct scp_file){0};
  if (!is_scp(bytes, &zero))
    return acq_rec_fail(record, -ENXIO, "this is not an SCP-ECG file");
  int r = check_whole(&bytes, record);
  if (r < 0)
    return r;
  if (zero.protocol >= VERSION_3)
    return acq_rec_fail(record, -EOPNOTSUPP, "SCP-ECG version 3 is not decoded");
  if (zero.length > acq_left(&bytes) - FILE_HEADER || (zero.length - SECTION_HEADER) % POINTER ||
      (zero.length - SECTION_HEADER) / POINTER > POINTERS_MAX)
    return acq_rec_fail(record, -EPROTO, "section 0 is no row of pointers");
  const struct pointer own = {0, zero.length, FILE_HEADER + 1};
  places.n = 0;
  take_place(&places, &own);
  r = open_section(bytes, &own, ret, record);
  struct acq_cur pointers = ret->section[0].body;
  if (r == 0)
    r = check_places(pointers, acq_left(&bytes), &places, record);
  while (acq_left(&pointers) && r == 0) {
    const struct pointer p = read_pointer(&pointers);
    if (p.length && p.id > 0 && p.id < SCP_SECTIONS)
      r = open_section(bytes, &p, ret, record);
  }
  return r;
}
