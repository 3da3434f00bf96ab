/* Writes the XML of ECG files: text in UTF-8 first, its alphabet last. Errors stay in the buffers. */
#ifndef ASALEED_SIM_XML_OUT_H
#define ASALEED_SIM_XML_OUT_H

#include "buf.h"

#include <stddef.h>
#include <stdint.h>

enum xml_encoding { XML_UTF8, XML_UTF16LE, XML_UTF16BE, XML_LATIN1, XML_ENCODINGS };
extern const char *const xml_out_encodings[XML_ENCODINGS];

#define XML_OUT_MAX (32u << 20)

/* UTF-8 text with what markup needs escaped. */
void xml_out_text(struct buf *to, const char *text);
/* <name>text</name> and a new line; nothing when text is NULL. */
void xml_out_element(struct buf *to, const char *name, const char *text);
/* value / 10^places, without trailing zeros, as exact as it is. */
void xml_out_decimal(struct buf *to, int64_t value, unsigned places);
/* A DOCTYPE of that root element with an entity "j" of ten thousand million characters. */
void xml_out_entity_bomb(struct buf *to, const char *root);
/* In lines of so many characters; 0: one line. */
void xml_out_base64(struct buf *to, const uint8_t *bytes, size_t n, size_t width);
/* body with prefix and a colon before the name of every element. */
void xml_out_prefix(struct buf *to, const char *body, const char *prefix);
/* The XML declaration and body in its alphabet: UTF-16 begins with a byte order mark, and what ISO-8859-1 has no sign
 * for becomes a character reference. body must be UTF-8. */
void xml_out_encode(struct buf *to, const char *body, enum xml_encoding encoding);

#endif
