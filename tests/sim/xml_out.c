#include "xml_out.h"

#include <string.h>

const char *const xml_out_encodings[XML_ENCODINGS] = {"utf-8", "utf-16le", "utf-16be", "iso-8859-1"};

void xml_out_text(struct buf *to, const char *text) {
  for (; *text; text++) {
    switch (*text) {
    case '<':
      buf_text(to, "&lt;");
      break;
    case '>':
      buf_text(to, "&gt;");
      break;
    case '&':
      buf_text(to, "&amp;");
      break;
    case '"':
      buf_text(to, "&quot;");
      break;
    default:
      buf_add(to, text, 1);
      break;
    }
  }
}

void xml_out_element(struct buf *to, const char *name, const char *text) {
  if (!text)
    return;
  buf_format(to, "<%s>", name);
  xml_out_text(to, text);
  buf_format(to, "</%s>\n", name);
}

void xml_out_decimal(struct buf *to, int64_t value, unsigned places) {
  while (places > 0 && value % 10 == 0) {
    value /= 10;
    places--;
  }
  char digits[32], *at = digits + sizeof(digits);
  uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
  *--at = '\0';
  for (unsigned i = 0; i <= places || rest > 0; i++) {
    if (i == places && places > 0)
      *--at = '.';
    *--at = (char)('0' + rest % 10);
    rest /= 10;
  }
  buf_format(to, "%s%s", value < 0 ? "-" : "", at);
}

void xml_out_entity_bomb(struct buf *to, const char *root) {
  buf_format(to, "<!DOCTYPE %s [\n<!ENTITY a \"AAAAAAAAAA\">\n", root);
  for (char c = 'b'; c <= 'j'; c++) {
    buf_format(to, "<!ENTITY %c \"", c);
    for (unsigned i = 0; i < 10; i++)
      buf_format(to, "&%c;", c - 1);
    buf_text(to, "\">\n");
  }
  buf_text(to, "]>\n");
}

void xml_out_base64(struct buf *to, const uint8_t *bytes, size_t n, size_t width) {
  static const char signs[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0, column = 0; i < n; i += 3, column += 4) {
    uint32_t three = (uint32_t)bytes[i] << 16;
    if (width > 0 && column + 4 > width) {
      buf_text(to, "\n");
      column = 0;
    }
    three |= i + 1 < n ? (uint32_t)bytes[i + 1] << 8 : 0;
    three |= i + 2 < n ? bytes[i + 2] : 0u;
    const char four[4] = {signs[three >> 18], signs[three >> 12 & 63], i + 1 < n ? signs[three >> 6 & 63] : '=',
                          i + 2 < n ? signs[three & 63] : '='};
    buf_add(to, four, 4);
  }
}

void xml_out_prefix(struct buf *to, const char *body, const char *prefix) {
  while (*body) {
    size_t n = strcspn(body, "<");
    buf_add(to, body, n);
    body += n;
    if (!*body)
      return;
    n = body[1] == '/' ? 2 : 1;
    buf_add(to, body, n);
    body += n;
    if (*body != '?' && *body != '!')
      buf_format(to, "%s:", prefix);
  }
}

/* The next character; text must be valid UTF-8. */
static uint32_t next_char(const char **text) {
  const uint8_t *at = (const uint8_t *)*text;
  unsigned more = at[0] < 0x80 ? 0 : at[0] < 0xE0 ? 1 : at[0] < 0xF0 ? 2 : 3;
  uint32_t c = more == 0 ? at[0] : at[0] & (0x3Fu >> more);
  for (unsigned i = 1; i <= more && at[i]; i++)
    c = c << 6 | (at[i] & 0x3F);
  *text += 1 + more;
  return c;
}

static void put_utf16(struct buf *to, uint16_t unit, int big) {
  buf_u16le(to, (uint16_t)(big ? unit << 8 | unit >> 8 : unit));
}

static void put_char(struct buf *to, uint32_t c, enum xml_encoding encoding) {
  int big = encoding == XML_UTF16BE;
  if (encoding == XML_LATIN1) {
    if (c < 256)
      buf_u8(to, (uint8_t)c);
    else
      buf_format(to, "&#x%X;", c);
    return;
  }
  if (c >= 0x10000) {
    put_utf16(to, (uint16_t)(0xD800 + ((c - 0x10000) >> 10)), big);
    c = 0xDC00 + ((c - 0x10000) & 0x3FF);
  }
  put_utf16(to, (uint16_t)c, big);
}

void xml_out_encode(struct buf *to, const char *body, enum xml_encoding encoding) {
  static const char *const declared[XML_ENCODINGS] = {
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", "<?xml version=\"1.0\" encoding=\"UTF-16\"?>\n",
      "<?xml version=\"1.0\" encoding=\"UTF-16\"?>\n", "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n"};
  const char *parts[] = {declared[encoding], body};
  if (encoding == XML_UTF8) {
    buf_text(to, parts[0]);
    buf_text(to, parts[1]);
    return;
  }
  if (encoding != XML_LATIN1)
    put_char(to, 0xFEFF, encoding);
  for (unsigned i = 0; i < 2; i++) {
    for (const char *at = parts[i]; *at;)
      put_char(to, next_char(&at), encoding);
  }
}
