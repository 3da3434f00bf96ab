#include "dicom_out.h"

#include <string.h>

#define ITEM 0xFFFEE000u
#define END_OF_ITEM 0xFFFEE00Du
#define END_OF_SEQUENCE 0xFFFEE0DDu

const char *dicom_syntax_uid(enum dicom_syntax syntax) {
  static const char *const uids[DICOM_SYNTAXES] = {[DICOM_EXPLICIT_LE] = "1.2.840.10008.1.2.1",
                                                   [DICOM_IMPLICIT_LE] = "1.2.840.10008.1.2",
                                                   [DICOM_EXPLICIT_BE] = "1.2.840.10008.1.2.2"};
  return uids[syntax];
}

void dcm_u16(struct dcm_out *o, uint16_t v) {
  buf_u16le(o->to, (uint16_t)(o->syntax == DICOM_EXPLICIT_BE ? v << 8 | v >> 8 : v));
}

void dcm_u32(struct dcm_out *o, uint32_t v) {
  bool big = o->syntax == DICOM_EXPLICIT_BE;
  dcm_u16(o, (uint16_t)(big ? v >> 16 : v));
  dcm_u16(o, (uint16_t)(big ? v : v >> 16));
}

static void put_tag(struct dcm_out *o, uint32_t tag) {
  dcm_u16(o, (uint16_t)(tag >> 16));
  dcm_u16(o, (uint16_t)tag);
}

static bool is_long(const char *vr) {
  static const char *const longs[] = {"OB", "OW", "OF", "SQ", "UN", "UT"};
  for (unsigned i = 0; i < sizeof(longs) / sizeof(longs[0]); i++) {
    if (strcmp(vr, longs[i]) == 0)
      return true;
  }
  return false;
}

void dcm_header(struct dcm_out *o, uint32_t tag, const char *vr, uint32_t len) {
  put_tag(o, tag);
  if (o->syntax == DICOM_IMPLICIT_LE) {
    dcm_u32(o, len);
    return;
  }
  buf_add(o->to, vr, 2);
  if (is_long(vr)) {
    dcm_u16(o, 0);
    dcm_u32(o, len);
  } else {
    dcm_u16(o, (uint16_t)len);
  }
}

/* Of what UTF-8 writes in two bytes, ISO-8859-1 has the first half. */
static void put_latin1(struct buf *to, const char *utf8) {
  const uint8_t *at = (const uint8_t *)utf8;
  while (*at) {
    if (*at < 0x80) {
      buf_u8(to, *at++);
      continue;
    }
    buf_u8(to, (uint8_t)(*at == 0xC2 || *at == 0xC3 ? *at << 6 | (at[1] & 0x3F) : '?'));
    for (at++; (*at & 0xC0) == 0x80; at++)
      ;
  }
}

void dcm_text(struct dcm_out *o, uint32_t tag, const char *vr, const char *utf8) {
  struct buf text _buf_cleanup_ = BUF_INIT(o->to->max);
  if (o->latin1)
    put_latin1(&text, utf8 ? utf8 : "");
  else
    buf_text(&text, utf8 ? utf8 : "");
  if (text.len % 2 != 0)
    buf_u8(&text, strcmp(vr, "UI") == 0 ? 0 : ' ');
  dcm_header(o, tag, vr, (uint32_t)text.len);
  buf_add(o->to, text.data, text.len);
}

void dcm_us(struct dcm_out *o, uint32_t tag, const uint16_t *values, unsigned n) {
  dcm_header(o, tag, "US", 2 * n);
  for (unsigned i = 0; i < n; i++)
    dcm_u16(o, values[i]);
}

void dcm_ul(struct dcm_out *o, uint32_t tag, uint32_t value) {
  dcm_header(o, tag, "UL", 4);
  dcm_u32(o, value);
}

void dcm_at(struct dcm_out *o, uint32_t tag, uint32_t value) {
  dcm_header(o, tag, "AT", 4);
  put_tag(o, value);
}

/* ---- sequences ---- */

static void begin(struct dcm_out *o) {
  if (o->depth < DICOM_DEPTH_MAX)
    o->open[o->depth] = o->to->len;
  o->depth++;
}

/* Writes the length that was left open, or the delimiter. */
static void end(struct dcm_out *o, uint32_t delimiter) {
  o->depth--;
  if (o->undefined) {
    put_tag(o, delimiter);
    dcm_u32(o, 0);
    return;
  }
  if (o->to->err || o->depth >= DICOM_DEPTH_MAX)
    return;
  size_t from = o->open[o->depth], now = o->to->len;
  o->to->len = from - 4;
  dcm_u32(o, (uint32_t)(now - from));
  o->to->len = now;
}

void dcm_begin_sequence(struct dcm_out *o, uint32_t tag) {
  dcm_header(o, tag, "SQ", o->undefined ? DICOM_UNDEFINED : 0);
  begin(o);
}

void dcm_begin_item(struct dcm_out *o) {
  put_tag(o, ITEM);
  dcm_u32(o, o->undefined ? DICOM_UNDEFINED : 0);
  begin(o);
}

void dcm_end_item(struct dcm_out *o) {
  end(o, END_OF_ITEM);
}

void dcm_end_sequence(struct dcm_out *o) {
  end(o, END_OF_SEQUENCE);
}

/* ---- the head of a file ---- */

void dcm_meta(struct dcm_out *o, const char *sop_class, const char *instance, const char *syntax_uid) {
  struct buf group _buf_cleanup_ = BUF_INIT(4096);
  struct dcm_out meta = {.to = &group, .syntax = DICOM_EXPLICIT_LE};
  static const uint8_t version[] = {0, 1}, preamble[128];
  dcm_header(&meta, 0x00020001, "OB", sizeof(version));
  buf_add(&group, version, sizeof(version));
  dcm_text(&meta, 0x00020002, "UI", sop_class);
  dcm_text(&meta, 0x00020003, "UI", instance);
  dcm_text(&meta, 0x00020010, "UI", syntax_uid);
  dcm_text(&meta, 0x00020012, "UI", "2.25.653444974818849687952278747641414913");
  buf_add(o->to, preamble, sizeof(preamble));
  buf_text(o->to, "DICM");
  struct dcm_out head = {.to = o->to, .syntax = DICOM_EXPLICIT_LE};
  dcm_ul(&head, 0x00020000, (uint32_t)group.len);
  buf_add(o->to, group.data, group.len);
}
