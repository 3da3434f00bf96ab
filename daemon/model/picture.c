#include "picture.h"

#include <string.h>

const char *picture_format_name(enum picture_format format) {
  static const char *const names[] = {"unknown", "jpeg", "jpeg-progressive", "png", "tiff"};
  return (unsigned)format < sizeof names / sizeof *names ? names[format] : NULL;
}

static void broken(struct picture *p, const char *why) {
  p->whole = false;
  if (!p->why)
    p->why = why;
}

/* A size that the header has no room for is as good as none. */
static void set_size(struct picture *p, uint64_t width, uint64_t height) {
  if (width == 0 || height == 0)
    broken(p, "the picture has no size");
  else if (width > PICTURE_EDGE_MAX || height > PICTURE_EDGE_MAX)
    broken(p, "an edge is longer than 65535 pixels");
  else
    p->width = (uint32_t)width, p->height = (uint32_t)height;
}

/* ---- TIFF 6.0, section 2: image file directories; EXIF's too (JEITA CP-3451, 4.6) ---- */

#define IFD_ENTRY 12u
enum { TIFF_ASCII = 2, TIFF_SHORT = 3, TIFF_LONG = 4 };
enum {
  TAG_WIDTH = 256,
  TAG_LENGTH = 257,
  TAG_BITS = 258,
  TAG_COMPRESSION = 259,
  TAG_MAKE = 271,
  TAG_MODEL = 272,
  TAG_STRIP_OFFSETS = 273,
  TAG_SAMPLES = 277,
  TAG_STRIP_ROWS = 278,
  TAG_STRIP_BYTES = 279,
  TAG_PLANAR = 284,
  TAG_TILE_WIDTH = 322,
  TAG_TILE_LENGTH = 323,
  TAG_TILE_OFFSETS = 324,
  TAG_TILE_BYTES = 325,
  TAG_EXIF = 0x8769,
  TAG_TAKEN = 0x9003,     /* DateTimeOriginal */
  TAG_SUBSECOND = 0x9291, /* SubSecTimeOriginal */
};

struct tiff {
  const uint8_t *bytes;
  size_t n;
  bool big; /* byte order "MM" */
};

static uint16_t tiff_u16(const struct tiff *t, struct acq_cur *c) {
  return t->big ? acq_u16be(c) : acq_u16le(c);
}

static uint32_t tiff_u32(const struct tiff *t, struct acq_cur *c) {
  return t->big ? acq_u32be(c) : acq_u32le(c);
}

/* A cursor over n bytes from there; with its error set where the file has no such bytes. */
static struct acq_cur tiff_at(const struct tiff *t, size_t at, size_t n) {
  struct acq_cur all = acq_cur(t->bytes, t->n);
  acq_bytes(&all, at);
  return acq_sub(&all, n);
}

/* Its byte order, and where its first directory is; false when it is no TIFF. */
static bool tiff_open(const uint8_t *bytes, size_t n, struct tiff *ret, uint32_t *ret_first) {
  struct acq_cur c = acq_cur(bytes, n);
  uint16_t order = acq_u16be(&c);
  *ret = (struct tiff){bytes, n, order == 0x4d4d};
  if (c.err || (order != 0x4d4d && order != 0x4949) || tiff_u16(ret, &c) != 42)
    return false;
  *ret_first = tiff_u32(ret, &c);
  return !c.err;
}

/* A directory's entries; with its error set when it does not lie in the file. */
static struct acq_cur tiff_directory(const struct tiff *t, uint32_t at) {
  struct acq_cur count = tiff_at(t, at, 2);
  size_t n = tiff_u16(t, &count) * (size_t)IFD_ENTRY;
  return count.err ? count : tiff_at(t, (size_t)at + 2, n);
}

struct field {
  uint16_t type;
  uint32_t count;
  struct acq_cur values; /* exactly count of them */
};

/* The first entry of that tag with one of the three types in use; false when there is none or its values are not in
 * the file. */
static bool tiff_field(const struct tiff *t, struct acq_cur entries, uint16_t tag, struct field *ret) {
  while (acq_left(&entries) >= IFD_ENTRY) {
    struct acq_cur entry = acq_sub(&entries, IFD_ENTRY);
    if (tiff_u16(t, &entry) != tag)
      continue;
    *ret = (struct field){.type = tiff_u16(t, &entry), .count = tiff_u32(t, &entry)};
    size_t each = ret->type == TIFF_ASCII ? 1 : ret->type == TIFF_SHORT ? 2 : ret->type == TIFF_LONG ? 4 : 0;
    uint64_t n = (uint64_t)each * ret->count;
    if (n == 0 || n > t->n)
      return false;
    if (n <= 4)
      ret->values = acq_sub(&entry, (size_t)n);
    else
      ret->values = tiff_at(t, tiff_u32(t, &entry), (size_t)n);
    return !ret->values.err;
  }
  return false;
}

static uint32_t tiff_number(const struct tiff *t, struct field *f) {
  return f->type == TIFF_SHORT ? tiff_u16(t, &f->values) : f->type == TIFF_LONG ? tiff_u32(t, &f->values) : 0;
}

/* The number that a field of one value has, `otherwise` when it is not there, or not as it must be. */
static uint32_t tiff_value(const struct tiff *t, struct acq_cur entries, uint16_t tag, uint32_t otherwise) {
  struct field f;
  return tiff_field(t, entries, tag, &f) && f.count == 1 && f.type != TIFF_ASCII ? tiff_number(t, &f) : otherwise;
}

/* ASCII as the standard means it: to its NUL, without the blanks that some makers fill up with. */
static void tiff_text(const struct tiff *t, struct acq_cur entries, uint16_t tag, char ret[static ACQ_TEXT_MAX]) {
  struct field f;
  ret[0] = 0;
  if (!tiff_field(t, entries, tag, &f) || f.type != TIFF_ASCII)
    return;
  const char *text = (const char *)f.values.at;
  size_t n = strnlen(text, f.count);
  while (n && text[n - 1] == ' ')
    n--;
  for (size_t i = 0; i < n; i++)
    if (text[i] < ' ' || text[i] > '~')
      return;
  if (n >= ACQ_TEXT_MAX)
    return;
  memcpy(ret, text, n);
  ret[n] = 0;
}

/* n digits as a number; false when one is none. */
static bool digits(const char *text, int n, int *ret) {
  *ret = 0;
  for (int i = 0; i < n; i++) {
    if (text[i] < '0' || text[i] > '9')
      return false;
    *ret = *ret * 10 + text[i] - '0';
  }
  return true;
}

/* "YYYY:MM:DD HH:MM:SS", and the digits of the second's fraction, however many. */
static bool exif_clock(const char *taken, const char *fraction, int64_t *ret_us) {
  struct acq_clock c = {0};
  if (strlen(taken) != 19 || !digits(taken, 4, &c.year) || !digits(taken + 5, 2, &c.month) ||
      !digits(taken + 8, 2, &c.day) || !digits(taken + 11, 2, &c.hour) || !digits(taken + 14, 2, &c.minute) ||
      !digits(taken + 17, 2, &c.second) || taken[4] != ':' || taken[7] != ':' || taken[10] != ' ' || taken[13] != ':' ||
      taken[16] != ':')
    return false;
  char ms[4] = "000";
  int unused;
  if (digits(fraction, (int)strlen(fraction), &unused))
    memcpy(ms, fraction, strnlen(fraction, 3));
  digits(ms, 3, &c.ms);
  return acq_clock_to_us(&c, ret_us) == 0;
}

/* What the first directory and the one it names as EXIF's say. Neither is followed further: no chain, no loop. */
static void exif_read(const struct tiff *t, uint32_t first, struct picture *p) {
  struct acq_cur entries = tiff_directory(t, first);
  tiff_text(t, entries, TAG_MAKE, p->make);
  tiff_text(t, entries, TAG_MODEL, p->model);
  uint32_t at = tiff_value(t, entries, TAG_EXIF, 0);
  if (at == 0)
    return;
  char taken[ACQ_TEXT_MAX], fraction[ACQ_TEXT_MAX];
  entries = tiff_directory(t, at);
  tiff_text(t, entries, TAG_TAKEN, taken);
  tiff_text(t, entries, TAG_SUBSECOND, fraction);
  p->timed = exif_clock(taken, fraction, &p->clock_us);
}

/* Where the next directory is: 0 = no more; false when this one does not lie in the file. */
static bool tiff_next(const struct tiff *t, uint32_t at, uint32_t *ret) {
  struct acq_cur entries = tiff_directory(t, at);
  if (entries.err)
    return false;
  struct acq_cur next = tiff_at(t, (size_t)(entries.end - t->bytes), 4);
  *ret = tiff_u32(t, &next);
  return !next.err;
}

/* The chain of directories ends, and lies in the file. A loop is found as Brent does, in time linear in its length:
 * `seen` waits at each power of two. */
static const char *tiff_chain(const struct tiff *t, uint32_t first) {
  uint32_t seen = first, at = first;
  for (uint64_t steps = 0, wait = 1;; steps++) {
    if (!tiff_next(t, at, &at))
      return "a TIFF directory is cut off";
    if (at == 0)
      return NULL;
    if (at == seen)
      return "the TIFF directories run in a loop";
    if (steps == wait)
      seen = at, wait *= 2;
  }
}

static uint64_t parts(uint64_t whole, uint64_t of) {
  return (whole + of - 1) / of;
}

/* Every one of the `expected` pieces (strips, tiles) lies in the file; together they have at least `least` bytes. */
static const char *tiff_pieces(const struct tiff *t, struct acq_cur entries, uint16_t offsets_tag, uint16_t bytes_tag,
                               uint64_t expected, uint64_t least) {
  struct field offsets, bytes;
  if (!tiff_field(t, entries, offsets_tag, &offsets) || !tiff_field(t, entries, bytes_tag, &bytes) ||
      offsets.type == TIFF_ASCII || bytes.type == TIFF_ASCII)
    return "the TIFF's data has no place";
  if (offsets.count != expected || bytes.count != expected)
    return "the TIFF has not as many pieces as its size needs";
  uint64_t total = 0;
  for (uint64_t i = 0; i < expected; i++) {
    uint64_t at = tiff_number(t, &offsets), n = tiff_number(t, &bytes);
    if (n == 0 || at + n > t->n)
      return "the TIFF's data is cut off";
    total += n;
  }
  return total < least ? "the TIFF has less data than its size needs" : NULL;
}

static const char *tiff_data(const struct tiff *t, struct acq_cur entries, const struct picture *p, uint32_t samples) {
  uint32_t planes = tiff_value(t, entries, TAG_PLANAR, 1) == 2 ? samples : 1;
  uint64_t pixel_bits = (uint64_t)(samples / planes) * p->bits;
  bool bare = tiff_value(t, entries, TAG_COMPRESSION, 1) == 1; /* only then its size says how many bytes it needs */
  uint64_t wide = p->width, high = p->height;
  uint32_t tile_width = tiff_value(t, entries, TAG_TILE_WIDTH, 0);
  if (tile_width) {
    uint32_t tile_height = tiff_value(t, entries, TAG_TILE_LENGTH, 0);
    if (tile_height == 0 || tile_width > 2 * PICTURE_EDGE_MAX || tile_height > 2 * PICTURE_EDGE_MAX)
      return "the TIFF's tiles have no size";
    uint64_t tiles = parts(wide, tile_width) * parts(high, tile_height) * planes;
    return tiff_pieces(t, entries, TAG_TILE_OFFSETS, TAG_TILE_BYTES, tiles,
                       bare ? tiles * tile_height * parts(tile_width * pixel_bits, 8) : 0);
  }
  uint32_t rows = tiff_value(t, entries, TAG_STRIP_ROWS, UINT32_MAX);
  if (rows == 0)
    return "the TIFF's strips have no size";
  return tiff_pieces(t, entries, TAG_STRIP_OFFSETS, TAG_STRIP_BYTES, parts(high, rows) * planes,
                     bare ? high * planes * parts(wide * pixel_bits, 8) : 0);
}

static void tiff_read(const struct tiff *t, uint32_t first, struct picture *p) {
  struct acq_cur entries = tiff_directory(t, first);
  p->format = PICTURE_TIFF;
  if (entries.err) {
    broken(p, "a TIFF directory is cut off");
    return;
  }
  exif_read(t, first, p);
  set_size(p, tiff_value(t, entries, TAG_WIDTH, 0), tiff_value(t, entries, TAG_LENGTH, 0));
  uint32_t samples = tiff_value(t, entries, TAG_SAMPLES, 1), bits = 1;
  struct field f;
  if (tiff_field(t, entries, TAG_BITS, &f)) {
    bits = f.count == samples ? tiff_number(t, &f) : 0;
    for (uint32_t i = 1; i < f.count && bits; i++)
      bits = tiff_number(t, &f) == bits ? bits : 0;
  }
  if (samples == 0 || samples > 4 || bits == 0 || bits > 64) {
    broken(p, "the TIFF's samples are of no kind that is known");
    return;
  }
  p->components = (uint8_t)samples;
  p->bits = (uint8_t)bits;
  const char *why = p->why ? NULL : tiff_chain(t, first);
  if (!why && !p->why)
    why = tiff_data(t, entries, p, samples);
  if (why)
    broken(p, why);
}

/* ---- JPEG: ISO/IEC 10918-1, annex B ---- */

enum { RST0 = 0xd0, RST7 = 0xd7, SOI = 0xd8, EOI = 0xd9, SOS = 0xda, DRI = 0xdd, APP1 = 0xe1, TEM = 0x01 };

/* The end of the entropy-coded data that the cursor is at: it stays on the marker (or on the fill bytes before it).
 * False when no marker ends it. `*ret_restarts` counts the restart markers, `*ret_ordered` says that they come in
 * their turn. */
static bool jpeg_scan(struct acq_cur *c, size_t *ret_restarts, bool *ret_ordered) {
  *ret_restarts = 0;
  *ret_ordered = true;
  while (acq_left(c) >= 2) {
    const uint8_t *mark = memchr(c->at, 0xff, acq_left(c) - 1);
    if (!mark)
      return false;
    uint8_t second = mark[1];
    c->at = mark;
    if (second >= RST0 && second <= RST7) {
      *ret_ordered = *ret_ordered && second - RST0 == (int)(*ret_restarts % 8);
      ++*ret_restarts;
    } else if (second != 0) {
      return true;
    }
    c->at = mark + 2;
  }
  return false;
}

struct segment {
  uint8_t marker;
  struct acq_cur parameters; /* what follows the length; empty where there is none */
  size_t data, restarts;     /* bytes of the entropy-coded data behind it, and restart markers in it */
  bool ordered;
  const uint8_t *first, *end;
};

/* The segment at the cursor. False where the structure breaks; the cursor then says nothing. */
static bool jpeg_segment(struct acq_cur *c, struct segment *ret) {
  const uint8_t *first = c->at;
  uint8_t marker = 0xff;
  if (acq_u8(c) != 0xff)
    return false;
  while (acq_left(c) && marker == 0xff)
    first = c->at - 1, marker = acq_u8(c);
  if (c->err || marker == 0 || marker == 0xff || (marker >= RST0 && marker <= RST7))
    return false;
  *ret = (struct segment){.marker = marker, .parameters = acq_cur(c->at, 0), .ordered = true, .first = first};
  if (marker != SOI && marker != EOI && marker != TEM) {
    size_t length = acq_u16be(c);
    if (length < 2)
      return false;
    ret->parameters = acq_sub(c, length - 2);
    if (c->err)
      return false;
  }
  const uint8_t *data = c->at;
  if (marker == SOS && !jpeg_scan(c, &ret->restarts, &ret->ordered))
    return false;
  ret->data = (size_t)(c->at - data);
  ret->end = c->at;
  return true;
}

bool picture_jpeg_segment(const uint8_t *bytes, size_t n, size_t *at, uint8_t *ret_marker, size_t *ret_first,
                          size_t *ret_n) {
  struct acq_cur c = acq_cur(bytes, n);
  struct segment s;
  if (!acq_bytes(&c, *at) || !jpeg_segment(&c, &s) || (s.marker == SOI) != (*at == 0))
    return false;
  *at = s.marker == EOI ? n : (size_t)(s.end - bytes);
  *ret_marker = s.marker;
  *ret_first = (size_t)(s.first - bytes);
  *ret_n = (size_t)(s.end - s.first);
  return true;
}

struct jpeg {
  bool framed, exif;         /* a SOF, an EXIF segment was there */
  uint8_t components[4];     /* their names, as SOF says them */
  unsigned missing;          /* bit i: component i was in no scan yet */
  uint16_t restart_interval; /* DRI: 0 = none */
};

static bool is_frame(uint8_t marker) { /* table B.1; C4, C8, CC are no frames */
  return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

/* B.2.2 */
static const char *jpeg_frame(struct jpeg *j, uint8_t marker, struct acq_cur c, struct picture *p) {
  if (j->framed)
    return "the JPEG has a second frame";
  j->framed = true;
  p->format = marker < 0xc2 ? PICTURE_JPEG : marker == 0xc2 ? PICTURE_JPEG_PROGRESSIVE : PICTURE_UNKNOWN;
  if (p->format == PICTURE_UNKNOWN)
    return "the JPEG is lossless, hierarchical or arithmetic";
  uint8_t bits = acq_u8(&c);
  uint16_t height = acq_u16be(&c), width = acq_u16be(&c);
  uint8_t components = acq_u8(&c);
  if (c.err || components == 0 || components > 4 || acq_left(&c) != 3u * components)
    return "the JPEG's frame header is wrong";
  if (bits != 8 && (bits != 12 || marker == 0xc0))
    return "the JPEG's samples have a width that is not allowed";
  p->bits = bits;
  p->components = components;
  for (int i = 0; i < components; i++) {
    j->components[i] = acq_u8(&c);
    uint8_t sampling = acq_u8(&c), table = acq_u8(&c);
    if (sampling >> 4 < 1 || sampling >> 4 > 4 || (sampling & 15) < 1 || (sampling & 15) > 4 || table > 3 ||
        memchr(j->components, j->components[i], (size_t)i))
      return "the JPEG's frame header is wrong";
    j->missing |= 1u << i;
  }
  set_size(p, width, height);
  return p->why;
}

/* B.2.3 */
static const char *jpeg_scan_header(struct jpeg *j, const struct segment *s, const struct picture *p) {
  struct acq_cur c = s->parameters;
  uint8_t components = acq_u8(&c);
  unsigned named = 0;
  if (!j->framed)
    return "the JPEG has a scan before its frame";
  if (components == 0 || components > 4 || acq_left(&c) != 2u * components + 3)
    return "a JPEG scan header is wrong";
  for (int i = 0; i < components; i++) {
    uint8_t name = acq_u8(&c), tables = acq_u8(&c);
    const uint8_t *at = memchr(j->components, name, p->components);
    if (!at || tables >> 4 > 3 || (tables & 15) > 3)
      return "a JPEG scan header is wrong";
    named |= 1u << (at - j->components);
  }
  uint8_t first = acq_u8(&c), last = acq_u8(&c);
  if (p->format == PICTURE_JPEG_PROGRESSIVE && (first > last || last > 63))
    return "a JPEG scan header is wrong";
  if (first == 0 || p->format == PICTURE_JPEG)
    j->missing &= ~named;
  if (s->data == 0)
    return "a JPEG scan is empty";
  if (!s->ordered || (s->restarts && j->restart_interval == 0))
    return "the JPEG's restart markers are not in their order";
  return NULL;
}

static void jpeg_exif(struct jpeg *j, struct acq_cur c, struct picture *p) {
  static const char name[6] = "Exif"; /* and two NUL */
  const uint8_t *at = acq_bytes(&c, sizeof name);
  struct tiff t;
  uint32_t first;
  if (j->exif || !at || memcmp(at, name, sizeof name) != 0)
    return;
  j->exif = true;
  if (tiff_open(c.at, acq_left(&c), &t, &first))
    exif_read(&t, first, p);
}

static void jpeg_read(const uint8_t *bytes, size_t n, struct picture *p) {
  struct acq_cur c = acq_cur(bytes, n);
  struct jpeg j = {0};
  struct segment s;
  const char *why = NULL;
  p->format = PICTURE_JPEG; /* until its frame says more */
  for (bool started = false; !why; started = true) {
    if (!jpeg_segment(&c, &s) || (s.marker == SOI) != !started) {
      why = "the JPEG ends or breaks before its end marker";
    } else if (is_frame(s.marker)) {
      why = jpeg_frame(&j, s.marker, s.parameters, p);
    } else if (s.marker == SOS) {
      why = jpeg_scan_header(&j, &s, p);
    } else if (s.marker == DRI) {
      j.restart_interval = acq_u16be(&s.parameters);
      why = acq_end(&s.parameters) < 0 ? "the JPEG's restart interval is wrong" : NULL;
    } else if (s.marker == APP1) {
      jpeg_exif(&j, s.parameters, p);
    } else if (s.marker == EOI) {
      break;
    }
  }
  if (!why && (!j.framed || j.missing))
    why = "the JPEG has no scan for a component";
  if (why)
    broken(p, why);
}

/* ---- PNG: ISO/IEC 15948, clauses 5 and 11 ---- */

static const uint8_t png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

/* Annex D's CRC, four bits at a time. */
static uint32_t png_crc(const uint8_t *bytes, size_t n) {
  static const uint32_t nibble[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                      0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                      0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
  uint32_t crc = UINT32_MAX;
  for (size_t i = 0; i < n; i++) {
    crc ^= bytes[i];
    crc = crc >> 4 ^ nibble[crc & 15];
    crc = crc >> 4 ^ nibble[crc & 15];
  }
  return ~crc;
}

#define PNG_TYPE(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))
#define IHDR PNG_TYPE('I', 'H', 'D', 'R')
#define PLTE PNG_TYPE('P', 'L', 'T', 'E')
#define IDAT PNG_TYPE('I', 'D', 'A', 'T')
#define IEND PNG_TYPE('I', 'E', 'N', 'D')

/* 11.2.2; `*ret_palette` = its colours are in a palette. */
static const char *png_header(struct acq_cur c, struct picture *p, bool *ret_palette) {
  static const struct {
    uint8_t colour, components;
    uint32_t depths; /* bit d: d bits a sample are allowed */
  } kinds[] = {{0, 1, 1 << 1 | 1 << 2 | 1 << 4 | 1 << 8 | 1 << 16},
               {2, 3, 1 << 8 | 1 << 16},
               {3, 3, 1 << 1 | 1 << 2 | 1 << 4 | 1 << 8},
               {4, 2, 1 << 8 | 1 << 16},
               {6, 4, 1 << 8 | 1 << 16}};
  uint32_t width = acq_u32be(&c), height = acq_u32be(&c);
  uint8_t depth = acq_u8(&c), colour = acq_u8(&c), compression = acq_u8(&c), filter = acq_u8(&c), lace = acq_u8(&c);
  if (acq_end(&c) < 0 || compression || filter || lace > 1)
    return "the PNG's header is wrong";
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (kinds[i].colour == colour && depth <= 16 && (kinds[i].depths >> depth & 1)) {
      *ret_palette = colour == 3;
      p->bits = *ret_palette ? 8 : depth;
      p->components = kinds[i].components;
      set_size(p, width, height);
      return p->why;
    }
  return "the PNG's header is wrong";
}

static void png_read(const uint8_t *bytes, size_t n, struct picture *p) {
  struct acq_cur c = acq_cur(bytes, n);
  bool palette = false, data = false, data_over = false;
  const char *why = NULL;
  uint32_t type = 0;
  acq_bytes(&c, sizeof png_signature);
  p->format = PICTURE_PNG;
  for (bool first = true; !why && type != IEND; first = false) {
    uint32_t length = acq_u32be(&c);
    struct acq_cur checked = c, body;
    type = acq_u32be(&c);
    body = acq_sub(&c, length);
    uint32_t crc = acq_u32be(&c);
    if (c.err)
      why = "the PNG is cut off";
    else if (png_crc(checked.at, 4 + (size_t)length) != crc)
      why = "a checksum of the PNG does not match";
    else if ((type == IHDR) != first)
      why = "the PNG's header is not where it must be";
    else if (type == IHDR)
      why = png_header(body, p, &palette);
    else if (type == PLTE)
      palette = false; /* there it is */
    else if (type == IDAT && (data_over || palette))
      why = "the PNG's data is not where it must be";
    else if (type == IDAT)
      data = true;
    else if (type == IEND && (length || !data))
      why = "the PNG ends without data";
    data_over = data && type != IDAT;
  }
  if (why)
    broken(p, why);
}

/* ---- any of them ---- */

void picture_read(const uint8_t *bytes, size_t n, struct picture *ret) {
  struct tiff t;
  uint32_t first;
  *ret = (struct picture){.whole = true};
  if (n >= 3 && bytes[0] == 0xff && bytes[1] == SOI && bytes[2] == 0xff)
    jpeg_read(bytes, n, ret);
  else if (n >= sizeof png_signature && memcmp(bytes, png_signature, sizeof png_signature) == 0)
    png_read(bytes, n, ret);
  else if (tiff_open(bytes, n, &t, &first))
    tiff_read(&t, first, ret);
  else
    broken(ret, "not a JPEG, PNG or TIFF file");
}
