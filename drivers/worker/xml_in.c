#include "xml_in.h"

#include "str.h"
#include "text.h"
#include <asalee/record.h>
#include <errno.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define TAG_MAX 65536u /* bytes of one */
#define ENCODING_MAX 32
#define DECLARATION_MAX 1024u /* bytes in which the encoding stands */

/* ---- alphabets: everything becomes UTF-8 before libxml2 sees it, so that no converter has to be loaded ---- */

enum alphabet { UTF_8, ASCII, LATIN_1, LATIN_9, CP1252, UTF_16LE, UTF_16BE, UNKNOWN };

static enum alphabet alphabet_of(const char *name) {
  static const struct {
    const char *name;
    enum alphabet is;
  } names[] = {{"UTF-8", UTF_8},         {"UTF8", UTF_8},        {"US-ASCII", ASCII},      {"ASCII", ASCII},
               {"ISO-8859-1", LATIN_1},  {"ISO8859-1", LATIN_1}, {"ISO_8859-1", LATIN_1},  {"latin1", LATIN_1},
               {"ISO-8859-15", LATIN_9}, {"latin-9", LATIN_9},   {"windows-1252", CP1252}, {"cp1252", CP1252},
               {"UTF-16", UTF_8},        {"UTF-16LE", UTF_8},    {"UTF-16BE", UTF_8},      {"", UTF_8}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcasecmp(names[i].name, name))
      return names[i].is;
  return UNKNOWN;
}

/* What an 8-bit text's declaration says of its encoding, "" where it says nothing. */
static void declared(const char *text, size_t n, char ret[static ENCODING_MAX]) {
  static const char word[] = "encoding";
  *ret = 0;
  n = n < DECLARATION_MAX ? n : DECLARATION_MAX;
  const char *end = n > 5 && !memcmp(text, "<?xml", 5) ? memchr(text, '>', n) : NULL;
  const char *at = end ? memmem(text, (size_t)(end - text), word, strlen(word)) : NULL;
  if (!at)
    return;
  at += strlen(word);
  at += strspn(at, " \t\r\n=");
  const char *close = *at == '"' || *at == '\'' ? memchr(at + 1, *at, (size_t)(end - at - 1)) : NULL;
  if (close)
    snprintf(ret, ENCODING_MAX, "%.*s", (int)(close - at - 1), at + 1);
}

static enum alphabet alphabet(const uint8_t **bytes, size_t *n) {
  const uint8_t *p = *bytes;
  char encoding[ENCODING_MAX];
  if (*n >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff))) {
    *bytes += 2;
    *n -= 2;
    return p[0] == 0xff ? UTF_16LE : UTF_16BE;
  }
  if (*n >= 4 && p[0] == '<' && !p[1])
    return UTF_16LE;
  if (*n >= 4 && !p[0] && p[1] == '<')
    return UTF_16BE;
  const bool marked = *n >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf;
  *bytes += marked ? 3 : 0;
  *n -= marked ? 3 : 0;
  declared((const char *)*bytes, *n, encoding);
  return marked ? UTF_8 : alphabet_of(encoding);
}

static uint32_t from_cp1252(uint8_t c) {
  static const uint16_t upper[32] = {0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021,
                                     0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017d, 0,
                                     0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                     0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};
  return c >= 0x80 && c < 0xa0 ? upper[c - 0x80] : c;
}

static uint32_t from_latin_9(uint8_t c) {
  static const struct {
    uint8_t c;
    uint16_t is;
  } other[] = {{0xa4, 0x20ac}, {0xa6, 0x160}, {0xa8, 0x161}, {0xb4, 0x17d},
               {0xb8, 0x17e},  {0xbc, 0x152}, {0xbd, 0x153}, {0xbe, 0x178}};
  for (size_t i = 0; i < sizeof other / sizeof *other; i++)
    if (other[i].c == c)
      return other[i].is;
  return c;
}

/* 0 for a byte that has no character. */
static uint32_t from_8_bit(enum alphabet from, uint8_t c) {
  switch (from) {
  case LATIN_1:
    return c;
  case LATIN_9:
    return from_latin_9(c);
  case CP1252:
    return from_cp1252(c);
  default:
    return c < 0x80 ? c : 0;
  }
}

/* The next character of UTF-16, 0 when it is none; *at moves on. */
static uint32_t from_utf_16(enum alphabet from, const uint8_t *bytes, size_t n, size_t *at) {
  const unsigned low = from == UTF_16LE ? 0 : 1;
  uint32_t unit[2] = {0, 0};
  for (unsigned i = 0; i < 2 && n - *at >= 2; i++) {
    unit[i] = (uint32_t)bytes[*at + low] | (uint32_t)bytes[*at + 1 - low] << 8;
    *at += 2;
    if (unit[0] < 0xd800 || unit[0] >= 0xe000)
      return unit[0];
  }
  const bool pair = unit[0] < 0xdc00 && unit[1] >= 0xdc00 && unit[1] < 0xe000;
  *at = pair ? *at : n;
  return pair ? 0x10000 + ((unit[0] - 0xd800) << 10) + (unit[1] - 0xdc00) : 0;
}

static size_t put_utf_8(uint32_t c, char *to) {
  if (c < 0x80) {
    to[0] = (char)c;
    return 1;
  }
  size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = n; i-- > 1; c >>= 6)
    to[i] = (char)(0x80 | (c & 0x3f));
  to[0] = (char)((0xf00u >> n) | c);
  return n;
}

/* As far as the characters are some: *whole is false when one is not. *ret is the caller's to free. */
static int to_utf_8(enum alphabet from, const uint8_t *bytes, size_t n, char **ret, size_t *ret_n, bool *whole) {
  const bool wide = from == UTF_16LE || from == UTF_16BE;
  char *text = malloc(wide ? n / 2 * 3 + 1 : n * 3 + 1);
  size_t len = 0;
  if (!text)
    return -ENOMEM;
  *whole = !wide || n % 2 == 0;
  n -= wide ? n % 2 : 0;
  for (size_t at = 0; at < n;) {
    uint32_t c = wide ? from_utf_16(from, bytes, n, &at) : from_8_bit(from, bytes[at++]);
    if (!c) {
      *whole = false;
      break;
    }
    len += put_utf_8(c, text + len);
  }
  *ret = text;
  *ret_n = len;
  return 0;
}

/* ---- tags: libxml2 compares each attribute of an element with all before it, so their number is looked at first ----
 */

static bool is_within(const char *at, const char *end, const char *mark, const char *close, const char **ret) {
  size_t n = strlen(mark);
  if ((size_t)(end - at) < n || memcmp(at, mark, n))
    return false;
  const char *found = memmem(at + n, (size_t)(end - at) - n, close, strlen(close));
  *ret = found ? found + strlen(close) : end;
  return true;
}

/* Behind the tag that begins at `at`; NULL for one of too many attributes. */
static const char *pass_tag(const char *at, const char *end) {
  const char *last = (size_t)(end - at) > TAG_MAX ? at + TAG_MAX : end;
  unsigned attributes = 0;
  for (; at < last && *at != '>'; at++) {
    if (*at != '"' && *at != '\'')
      continue;
    at = memchr(at + 1, *at, (size_t)(last - at) - 1);
    if (!at || ++attributes > XML_ATTRIBUTES_MAX)
      return at ? NULL : last == end ? end : NULL;
  }
  return at < last || last == end ? at : NULL;
}

/* How many bytes of the text come before a tag of too many attributes. */
static size_t plain(const char *text, size_t n) {
  const char *at = text, *end = text + n;
  while (at < end && (at = memchr(at, '<', (size_t)(end - at)))) {
    const char *tag = at;
    if (end - at > 1 && at[1] != '!' && at[1] != '?') { /* no tag has a '<' in it: a short way to the next is enough */
      const char *next = memchr(at + 1, '<', (size_t)(end - at) - 1);
      at = next ? next : end;
      if ((size_t)(at - tag) < 5 * XML_ATTRIBUTES_MAX)
        continue;
      at = tag;
    }
    if (is_within(at, end, "<!--", "-->", &at) || is_within(at, end, "<![CDATA[", "]]>", &at) ||
        is_within(at, end, "<?", "?>", &at))
      continue;
    at = pass_tag(tag, end);
    if (!at)
      return (size_t)(tag - text);
  }
  return n;
}

/* ---- the walk ---- */

struct open {
  uint8_t id; /* 0: passed over, with all that is in it */
  enum xml_text_kind text;
  size_t from; /* where its text begins */
};

struct walk {
  const struct xml_form *form;
  void *arg;
  xmlParserCtxtPtr parser;
  char *reason;
  int err;
  const char *unfit; /* why not all of the text is there to be parsed, or NULL */
  bool unreadable;   /* its alphabet is not read: all there is to know is whose root it is */
  bool rooted, cut;
  const xmlChar *space; /* the root's, of the parser's dictionary */
  unsigned depth, elements;
  size_t n; /* of the texts */
  struct open open[XML_DEPTH_MAX + 1];
  char text[XML_TEXT_MAX + 1];
};

struct xml_attributes {
  const xmlChar **at; /* five pointers each: name, prefix, name space, value, its end */
  int n;
};

bool xml_attribute(const struct xml_attributes *attributes, const char *name, char *ret, size_t size) {
  *ret = 0;
  for (int i = 0; i < attributes->n; i++) {
    const xmlChar **a = attributes->at + 5 * i;
    size_t n = (size_t)(a[4] - a[3]);
    if (a[1] || strcmp((const char *)a[0], name) || n >= size)
      continue;
    memcpy(ret, a[3], n);
    ret[n] = 0;
    return true;
  }
  return false;
}

static void stop(struct walk *w, int err, const char *reason) {
  if (w->err)
    return;
  w->err = err;
  snprintf(w->reason, XML_REASON_MAX, "%s", reason);
  if (w->parser)
    xmlStopParser(w->parser);
}

static void answered(struct walk *w, int r) {
  if (r < 0)
    stop(w, r, "");
}

static const struct xml_node *find(const struct xml_form *form, uint8_t in, const char *name) {
  for (size_t i = 0; i < form->n_nodes; i++)
    if (form->nodes[i].in == in && (!strcmp(form->nodes[i].name, name) || !strcmp(form->nodes[i].name, "*")))
      return &form->nodes[i];
  return NULL;
}

static void begin_root(struct walk *w, const char *name, const xmlChar *space) {
  if (strcmp(name, w->form->root))
    return stop(w, -ENXIO, "the root element is another one");
  if (w->form->space && space && strcmp((const char *)space, w->form->space))
    return stop(w, -ENXIO, "the root element is of another name space");
  if (w->unreadable)
    return stop(w, -EOPNOTSUPP, "an alphabet that is not read");
  w->rooted = true;
  w->space = space;
  w->open[w->depth].id = XML_ROOT;
}

static void begin(struct walk *w, const char *name, const xmlChar *space) {
  struct open *o = &w->open[w->depth];
  const uint8_t in = o[-1].id;
  const struct xml_node *node = in && xmlStrEqual(space, w->space) ? find(w->form, in, name) : NULL;
  if (node) {
    o->id = node->id;
    o->text = node->text;
  }
}

/* libxml2 tells of an element before it looks for the end of its tag, which a document that was cut does not have. */
static bool is_cut(const struct walk *w) {
  const xmlChar *at = w->parser->input->cur;
  return *at != '>' && (*at != '/' || at[1] != '>');
}

/* libxml2 keeps each name it meets once, in a table that soon grows no more: finding one among a million takes long. */
static void check_names(struct walk *w) {
  if (xmlDictSize(w->parser->dict) > (int)XML_NAMES_MAX)
    stop(w, -EPROTO, "more names than a document of this kind has");
}

static void on_instruction(void *arg, const xmlChar *name, const xmlChar *text) {
  (void)name, (void)text;
  check_names(arg);
}

static void on_start(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *space, int n_spaces,
                     const xmlChar **spaces, int n_attributes, int n_default, const xmlChar **attributes) {
  struct walk *w = arg;
  (void)prefix, (void)n_spaces, (void)spaces, (void)n_default;
  if (is_cut(w))
    return stop(w, w->rooted ? -EPROTO : -ENXIO, w->rooted && w->unfit ? w->unfit : "a tag that has no end");
  if (w->depth == XML_DEPTH_MAX || w->elements == XML_ELEMENTS_MAX)
    return stop(w, -EPROTO, "more elements than a document of this kind has, or deeper ones");
  check_names(w);
  w->elements++;
  w->depth++;
  w->open[w->depth] = (struct open){.from = w->n};
  if (w->depth == 1)
    begin_root(w, (const char *)name, space);
  else
    begin(w, (const char *)name, space);
  const struct open *o = &w->open[w->depth];
  const struct xml_attributes a = {attributes, n_attributes};
  if (o->id && !w->err && w->form->start)
    answered(w, w->form->start(w->arg, o->id, (const char *)name, &a));
}

static void on_text(void *arg, const xmlChar *text, int len) {
  struct walk *w = arg;
  const struct open *o = &w->open[w->depth];
  size_t n = (size_t)len;
  if (o->text == XML_PIECES && w->form->text)
    answered(w, w->form->text(w->arg, o->id, (const char *)text, n));
  if (o->text != XML_WHOLE)
    return;
  w->cut |= n > XML_TEXT_MAX - w->n;
  n = n > XML_TEXT_MAX - w->n ? XML_TEXT_MAX - w->n : n;
  memcpy(w->text + w->n, text, n);
  w->n += n;
}

static void on_end(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *space) {
  struct walk *w = arg;
  const struct open *o = &w->open[w->depth];
  const struct xml_text text = {w->text + o->from, w->n - o->from, w->cut && o->text == XML_WHOLE};
  (void)prefix, (void)space;
  w->text[w->n] = 0;
  if (o->id && w->form->end)
    answered(w, w->form->end(w->arg, o->id, (const char *)name, &text));
  w->cut &= o->text != XML_WHOLE;
  w->n = o->from;
  w->depth--;
}

/* Called before anything of an internal subset is read. */
static void on_doctype(void *arg, const xmlChar *name, const xmlChar *external, const xmlChar *system) {
  struct walk *w = arg;
  const char *colon = strchr((const char *)name, ':');
  (void)external, (void)system;
  if (strcmp(colon ? colon + 1 : (const char *)name, w->form->root))
    stop(w, -ENXIO, "the document type is another one");
  else if (!w->form->doctype)
    stop(w, -EPROTO, "a document type declaration is not allowed in this format");
  else if (*w->parser->input->cur == '[')
    stop(w, -EPROTO, "a document type declaration with definitions in it is not allowed");
}

/* What libxml2 complains of: a prefix that nobody declared is no harm, a warning neither. */
static void on_error(void *arg, xmlErrorPtr error) {
  struct walk *w = arg;
  char reason[XML_REASON_MAX];
  if (error->level < XML_ERR_ERROR || error->domain == XML_FROM_NAMESPACE)
    return;
  if (!w->rooted)
    return stop(w, error->code == XML_ERR_NO_MEMORY ? -ENOMEM : -ENXIO, "not XML");
  if (w->unfit)
    return stop(w, -EPROTO, w->unfit);
  snprintf(reason, sizeof reason, "damaged XML in line %d (error %d)", error->line, error->code);
  stop(w, error->code == XML_ERR_NO_MEMORY ? -ENOMEM : -EPROTO, reason);
}

static void on_reference(void *arg, const xmlChar *name) {
  (void)name;
  stop(arg, -EPROTO, "an entity that XML itself does not have");
}

static void parse(struct walk *w, const char *text, size_t n) {
  static const xmlSAXHandler handler = {.initialized = XML_SAX2_MAGIC,
                                        .internalSubset = on_doctype,
                                        .startElementNs = on_start,
                                        .endElementNs = on_end,
                                        .characters = on_text,
                                        .ignorableWhitespace = on_text,
                                        .cdataBlock = on_text,
                                        .reference = on_reference,
                                        .processingInstruction = on_instruction,
                                        .serror = on_error};
  w->parser = xmlCreateMemoryParserCtxt(text, (int)n);
  if (!w->parser)
    return stop(w, -ENOMEM, "no memory");
  *w->parser->sax = handler;
  w->parser->userData = w;
  xmlCtxtUseOptions(w->parser, XML_PARSE_NONET | XML_PARSE_IGNORE_ENC);
  xmlParseDocument(w->parser);
  if (!w->err && (!w->parser->wellFormed || w->depth || !w->rooted || w->unfit))
    stop(w, w->rooted ? -EPROTO : -ENXIO, w->unfit && w->rooted ? w->unfit : "not well-formed XML");
  xmlFreeParserCtxt(w->parser);
  xmlResetLastError();
}

static bool begins_as_xml(const char *text, size_t n) {
  size_t blanks = 0;
  while (blanks < n && strchr(" \t\r\n", text[blanks]) && text[blanks])
    blanks++;
  return blanks < n && text[blanks] == '<';
}

static void walk(struct walk *w, const uint8_t *at, size_t n) {
  const enum alphabet from = alphabet(&at, &n);
  const bool wide = from == UTF_16LE || from == UTF_16BE;
  _free_cleanup_ char *converted = NULL;
  bool whole = true;
  if (!wide && !begins_as_xml((const char *)at, n)) /* most files that are something else */
    return stop(w, -ENXIO, "not XML");
  if (from != UTF_8 && to_utf_8(from, at, n, &converted, &n, &whole) < 0)
    return stop(w, -ENOMEM, "no memory");
  const char *text = converted ? converted : (const char *)at;
  const size_t fit = plain(text, n);
  if (!begins_as_xml(text, fit))
    return stop(w, -ENXIO, "not XML");
  w->unreadable = from == UNKNOWN;
  w->unfit = fit < n  ? "an element of more attributes than are read"
             : !whole ? "a character that the document's alphabet does not have"
                      : NULL;
  parse(w, text, fit);
}

int xml_read(const struct xml_form *form, const void *bytes, size_t n, void *arg, char reason[static XML_REASON_MAX]) {
  _free_cleanup_ struct walk *w = calloc(1, sizeof *w);
  *reason = 0;
  if (!w)
    return -ENOMEM;
  *w = (struct walk){.form = form, .arg = arg, .reason = reason};
  if (n > XML_BYTES_MAX)
    stop(w, -EFBIG, "a longer document than is read");
  else
    walk(w, bytes, n);
  return w->err;
}

/* ---- what such documents of ECGs have in common ---- */

#define BLANKS " \t\r\n"
#define NOTES_MAX 1024u /* statements of one document */
#define NOTE_BYTES_MAX 8192

bool xml_field(const struct xml_text *text, char *ret, size_t size) {
  return text_read(TEXT_UTF8, text->at, text->n, ret, size) && !text->cut;
}

bool xml_number(const char *text, struct dec *ret) {
  char digits[DEC_TEXT_MAX];
  struct dec d;
  text += strspn(text, BLANKS);
  text += *text == '+';
  size_t n = strcspn(text, BLANKS "eE");
  if (n >= sizeof digits)
    return false;
  memcpy(digits, text, n);
  digits[n] = 0;
  text += n;
  int exponent = 0;
  if (*text == 'e' || *text == 'E') {
    const bool negative = text[1] == '-';
    text += 1 + (text[1] == '-' || text[1] == '+');
    const char *first = text;
    while (*text >= '0' && *text <= '9' && text - first < 3)
      exponent = exponent * 10 + (*text++ - '0');
    if (text == first)
      return false;
    exponent = negative ? -exponent : exponent;
  }
  if (text[strspn(text, BLANKS)] || dec_parse(digits, &d) < 0 || d.exponent + exponent < DEC_EXP_MIN ||
      d.exponent + exponent > DEC_EXP_MAX)
    return false;
  *ret = (struct dec){d.mantissa, (int8_t)(d.exponent + exponent)};
  return true;
}

static int *clock_part(struct acq_clock *clock, char letter) {
  switch (letter) {
  case 'Y':
    return &clock->year;
  case 'M':
    return &clock->month;
  case 'D':
    return &clock->day;
  case 'h':
    return &clock->hour;
  case 'm':
    return &clock->minute;
  case 's':
    return &clock->second;
  default:
    return NULL;
  }
}

const char *xml_clock(const char *text, const char *form, struct acq_clock *ret) {
  struct acq_clock c = *ret;
  for (; *form; form++) {
    int *part = clock_part(&c, *form);
    if (!part && *text++ != *form)
      return NULL;
    if (part)
      *part = 0;
    for (int i = *form == 'Y' ? 4 : 2; part && i; i--, text++) {
      if (*text < '0' || *text > '9')
        return NULL;
      *part = *part * 10 + (*text - '0');
    }
  }
  *ret = c;
  return text;
}

void xml_birth_date(const struct acq_clock *clock, char ret[static 11]) {
  struct acq_clock c = {.year = clock->year + 400, .month = clock->month, .day = clock->day};
  char text[40];
  int64_t us; /* of 400 years later, when the calendar is the same: clocks begin in 1970 */
  *ret = 0;
  if (clock->year < 1850 || acq_clock_to_us(&c, &us) < 0)
    return;
  snprintf(text, sizeof text, "%04d-%02d-%02d", clock->year, clock->month, clock->day);
  memcpy(ret, text, 10);
  ret[10] = 0;
}

bool xml_trial(const char *date, const char *form, const char *time, struct acq_trial *ret) {
  struct acq_clock c = {0};
  *ret = (struct acq_trial){0};
  if (!*date && !*time)
    return true;
  const char *after_date = xml_clock(date, form, &c), *after_time = xml_clock(time, "h:m:s", &c);
  ret->timed = after_date && !*after_date && after_time && !*after_time && acq_clock_to_us(&c, &ret->clock_us) == 0;
  return ret->timed;
}

bool xml_subject(const struct xml_person *p, const char *form, struct acq_subject *ret) {
  struct acq_clock born = {0};
  if (!*p->id && !*p->family && !*p->given)
    return false;
  *ret = (struct acq_subject){0};
  snprintf(ret->family, sizeof ret->family, "%s", p->family);
  snprintf(ret->given, sizeof ret->given, "%s", p->given);
  snprintf(ret->id, sizeof ret->id, "%s", p->id);
  const char *rest = xml_clock(p->birth, form, &born);
  if (rest && !*rest)
    xml_birth_date(&born, ret->birth_date);
  ret->sex = !strcasecmp(p->sex, "Male") ? 'M' : !strcasecmp(p->sex, "Female") ? 'F' : 0;
  return true;
}

const char *xml_lead(const char *name) {
  const struct nomenclature *row;
  for (unsigned i = 0; (row = nomenclature_row(i)); i++)
    if (row->kind == 'C' && !strncmp(row->code, "lead_", 5) && strcmp(row->code, "lead_unspecified") &&
        !strcasecmp(row->label, name))
      return row->code;
  return NULL;
}

static int base64_value(char c) {
  return c >= 'A' && c <= 'Z'   ? c - 'A'
         : c >= 'a' && c <= 'z' ? c - 'a' + 26
         : c >= '0' && c <= '9' ? c - '0' + 52
         : c == '+'             ? 62
         : c == '/'             ? 63
                                : -1;
}

int xml_base64(struct xml_base64 *state, const char *text, size_t n, uint8_t *ret) {
  int len = 0;
  for (size_t i = 0; i < n; i++) {
    const char c = text[i];
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
      continue;
    int v = c == '=' ? 0 : base64_value(c);
    state->padding += c == '=';
    if (v < 0 || (c != '=' && state->padding) || state->padding > 2 || (c == '=' && state->n % 4 < 2))
      return -EPROTO;
    state->bits = state->bits << 6 | (uint32_t)v;
    if (++state->n % 4)
      continue;
    ret[len++] = (uint8_t)(state->bits >> 16);
    if (state->padding < 2)
      ret[len++] = (uint8_t)(state->bits >> 8);
    if (state->padding < 1)
      ret[len++] = (uint8_t)state->bits;
  }
  return len;
}

int xml_base64_end(const struct xml_base64 *state) {
  return state->n % 4 ? -EPROTO : 0;
}

static bool is_held(const struct xml_notes *notes, const char *note, size_t n) {
  for (size_t at = 0; at < notes->n;) {
    const char *held = notes->at + at;
    const size_t head = strlen(held) + 1, len = head + strlen(held + head) + 1;
    if (len == n && !memcmp(held, note, n))
      return true;
    at += len;
  }
  return false;
}

void xml_note(struct xml_notes *notes, const char *code, const char *format, ...) {
  char text[NOTE_BYTES_MAX], *note = notes->at + notes->n;
  const size_t room = sizeof notes->at - notes->n, head = strlen(code) + 1;
  va_list ap;
  va_start(ap, format);
  int len = vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  if (notes->count == NOTES_MAX || len < 0 || (size_t)len >= sizeof text || head + (size_t)len * 3 >= room) {
    notes->full = true;
    return;
  }
  memcpy(note, code, head);
  text_read(TEXT_UTF8, text, (size_t)len, note + head, room - head);
  const size_t n = head + strlen(note + head) + 1;
  if (n > head + 1 && !is_held(notes, note, n)) {
    notes->n += n;
    notes->count++;
  }
}

void xml_notes_tell(const struct xml_notes *notes, struct acq_record *record) {
  for (size_t at = 0; at < notes->n;) {
    const char *code = notes->at + at, *text = code + strlen(code) + 1;
    acq_rec_statement(record, code, text);
    at += strlen(code) + strlen(text) + 2;
  }
  if (notes->full)
    acq_rec_quality(record, "unknown_value", "", 1);
}

/* With the comma of a French sentence. */
static bool frequency(const char *text, char ret[static DEC_TEXT_MAX]) {
  struct dec d;
  if (!xml_number(text, &d) || d.mantissa <= 0 || d.exponent < -6 || d.exponent > 3)
    return false;
  dec_format(d, ret);
  char *point = strchr(ret, '.');
  if (point)
    *point = ',';
  return true;
}

void xml_filters(struct acq_record *record, const char *high_pass, const char *low_pass, const char *mains) {
  char low[DEC_TEXT_MAX], high[DEC_TEXT_MAX], subject[ACQ_TEXT_MAX];
  const bool from = frequency(high_pass, low), to = frequency(low_pass, high);
  if (from && to)
    snprintf(subject, sizeof subject, "%.24s à %.24s Hz", low, high);
  else if (from || to)
    snprintf(subject, sizeof subject, "%s %.24s Hz", from ? "de" : "à", from ? low : high);
  if (from || to)
    acq_rec_quality(record, "signal_filtered", subject, 1);
  if (frequency(mains, high)) {
    snprintf(subject, sizeof subject, "secteur %.24s Hz", high);
    acq_rec_quality(record, "signal_filtered", subject, 1);
  }
}
