/* Writes DICOM elements byte by byte (PS3.5 chapter 7) in the three transfer syntaxes that are not compressed. Errors
 * stay in the buffer. Elements must come in the order of their tags: nobody sorts. */
#ifndef ASALEED_SIM_DICOM_OUT_H
#define ASALEED_SIM_DICOM_OUT_H

#include "buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DICOM_DEPTH_MAX 16
#define DICOM_UNDEFINED 0xFFFFFFFFu

enum dicom_syntax { DICOM_EXPLICIT_LE, DICOM_IMPLICIT_LE, DICOM_EXPLICIT_BE, DICOM_SYNTAXES };

struct dcm_out {
  struct buf *to;
  enum dicom_syntax syntax;
  bool undefined; /* sequences and items end by delimiters instead of having lengths */
  bool latin1;    /* texts are ISO-8859-1, "?" for what it has no sign for; else UTF-8 */
  size_t open[DICOM_DEPTH_MAX];
  unsigned depth;
};

/* tag: group << 16 | element. vr: two letters. */
void dcm_header(struct dcm_out *o, uint32_t tag, const char *vr, uint32_t len);
/* utf8 NULL is an empty value. Padded to an even length as the VR wants it. */
void dcm_text(struct dcm_out *o, uint32_t tag, const char *vr, const char *utf8);
void dcm_us(struct dcm_out *o, uint32_t tag, const uint16_t *values, unsigned n); /* "US" */
void dcm_ul(struct dcm_out *o, uint32_t tag, uint32_t value);
void dcm_at(struct dcm_out *o, uint32_t tag, uint32_t value);
void dcm_u16(struct dcm_out *o, uint16_t v); /* a bare word of a value */
void dcm_u32(struct dcm_out *o, uint32_t v);

void dcm_begin_sequence(struct dcm_out *o, uint32_t tag);
void dcm_begin_item(struct dcm_out *o);
void dcm_end_item(struct dcm_out *o);
void dcm_end_sequence(struct dcm_out *o);

/* Preamble, "DICM" and the file meta information, which is explicit little endian whatever follows. */
void dcm_meta(struct dcm_out *o, const char *sop_class, const char *instance, const char *syntax_uid);
const char *dicom_syntax_uid(enum dicom_syntax syntax);

#endif
