/* XML that somebody else wrote, walked from its first byte to its last without being held: the elements that a driver
 * names in a table are told to it as they come. A driver's folder may include this. libxml2 behind it sees bytes in
 * memory alone: no file, no network, no entity but the five of XML itself, no document type definition.
 *
 * Bounds: XML_BYTES_MAX of input, XML_DEPTH_MAX, XML_ELEMENTS_MAX, XML_ATTRIBUTES_MAX of one element,
 * XML_NAMES_MAX that differ. What is outside is refused (-EPROTO; too long an input: -EFBIG).
 *
 * Alphabets: UTF-8, US-ASCII, ISO-8859-1, ISO-8859-15, windows-1252, and UTF-16 by its byte order mark or its first
 * two characters. The bytes are believed before the declaration: what begins as 8-bit text and calls itself UTF-16 is
 * read as UTF-8, as programs that write a file anew often forget the label. Another alphabet: -EOPNOTSUPP. */
#ifndef ASALEED_XML_IN_H
#define ASALEED_XML_IN_H

#include <asalee/driver.h>

#define XML_BYTES_MAX (64u << 20)
#define XML_DEPTH_MAX 64
#define XML_ELEMENTS_MAX 1000000u
#define XML_ATTRIBUTES_MAX 48u
#define XML_NAMES_MAX 4096u /* of elements, attributes, prefixes, name spaces and instructions */
#define XML_TEXT_MAX 8192   /* bytes of texts that are told as a whole, of all open elements together */
#define XML_REASON_MAX 128

/* XML_WHOLE: the element's own text is told when it ends, cut to what XML_TEXT_MAX leaves. XML_PIECES: in pieces of
 * any length, as it comes, cut anywhere between bytes. */
enum xml_text_kind { XML_NO_TEXT, XML_WHOLE, XML_PIECES };

/* An element called `name` ("*": any other) in an element `in` is an `id`; the first row that fits
 * counts. The root is XML_ROOT. Elements that are in
 * no row are passed over with all that is in them, and so are those of another name space than the root's. */
struct xml_node {
  uint8_t in, id;
  enum xml_text_kind text;
  const char *name;
};
#define XML_ROOT 1

struct xml_attributes; /* of the element that begins, as long as the call lasts */

/* The attribute without prefix of that name: its value, with its NUL, in ret; false (and "") when there is none or it
 * does not fit. UTF-8. */
bool xml_attribute(const struct xml_attributes *attributes, const char *name, char *ret, size_t size);

struct xml_text {
  const char *at; /* UTF-8, n bytes and a NUL; empty but for XML_WHOLE */
  size_t n;
  bool cut;
};

/* Each call returns 0, or a negative errno that ends the walk. `arg` is the driver's own. Any of them may be NULL. */
struct xml_form {
  const char *root;  /* its name, without prefix */
  const char *space; /* its name space where it has one; NULL: any */
  bool doctype;      /* a document type declaration that names an external file may be there; it is not looked at */
  const struct xml_node *nodes;
  size_t n_nodes;
  int (*start)(void *arg, unsigned id, const char *name, const struct xml_attributes *attributes);
  int (*text)(void *arg, unsigned id, const char *text, size_t n);
  int (*end)(void *arg, unsigned id, const char *name, const struct xml_text *text);
};

/* Walks the document. 0 when it was well-formed to its end; else what a call returned (*reason is "" then), -ENXIO:
 * not XML, or another root; -EPROTO: damaged after the root began, out of bounds, or a document type declaration;
 * -EOPNOTSUPP: an alphabet that is not read; -EFBIG; -ENOMEM. The reason is English and has nothing of the document in
 * it. Nothing is kept between two calls. */
int xml_read(const struct xml_form *form, const void *bytes, size_t n, void *arg, char reason[static XML_REASON_MAX]);

/* ---- what such documents of ECGs have in common -------------------------------------------------------------- */

/* A text without blanks around it, controls or anything unreadable, cut to the field; false when it was cut. */
bool xml_field(const struct xml_text *text, char *ret, size_t size);

/* A decimal number with blanks around it, perhaps with a sign or an exponent ("1e-3"). *ret is untouched when it is
 * none. */
bool xml_number(const char *text, struct dec *ret);

/* Reads a date or time of the form "M-D-Y h:m": Y is four digits, M, D, h, m and s are two, all else stands for itself.
 * Returns what follows, or NULL when it is another form. */
const char *xml_clock(const char *text, const char *form, struct acq_clock *ret);

/* "YYYY-MM-DD" of the clock's date, "" for a date that is none, or before 1850, when nobody was born whose reading it
 * is. */
void xml_birth_date(const struct acq_clock *clock, char ret[static 11]);

/* The one trial of a recording that says its date, in that form, and its time as "h:m:s"; not timed when it says
 * neither, and false when what it says is none. */
bool xml_trial(const char *date, const char *form, const char *time, struct acq_trial *ret);

/* What a document says of the patient, "" where it says nothing: the date of birth in that form, the sex as "Male" or
 * "Female" in any case. False when it says neither a name nor a number. */
struct xml_person {
  const char *family, *given, *id, *birth, *sex; /* names and number fit into their fields */
};
bool xml_subject(const struct xml_person *person, const char *form, struct acq_subject *ret);

/* The code of a lead by its name ("aVR", in any case); NULL for one that the nomenclature does not list. */
const char *xml_lead(const char *name);

/* Base64 in pieces: bytes of the n characters in ret, which takes XML_BASE64(n); -EPROTO for what is none. After the
 * last piece, xml_base64_end(): 0, or -EPROTO when some of it is missing. Begins as {0}. */
struct xml_base64 {
  uint32_t bits;
  unsigned n, padding;
};
#define XML_BASE64(n) ((n) / 4 * 3 + 3)
int xml_base64(struct xml_base64 *state, const char *text, size_t n, uint8_t *ret);
int xml_base64_end(const struct xml_base64 *state);

/* Statements that are held until their trial begins, each once and without controls. Begins as all zeros. */
struct xml_notes {
  size_t n;
  unsigned count;
  bool full; /* some had no room */
  char at[1 << 17];
};
void xml_note(struct xml_notes *notes, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Gives them to the record, with a quality item when some were left out. */
void xml_notes_tell(const struct xml_notes *notes, struct acq_record *record);

/* The quality items about filters, from texts in Hz; "" where nothing is said, or "0" where there is none. */
void xml_filters(struct acq_record *record, const char *high_pass, const char *low_pass, const char *mains);

#endif
