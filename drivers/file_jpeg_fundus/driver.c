/* One picture of a fundus camera that was exported as a JPEG file. README.md says what of it is read.
 *
 * The record core reads the picture itself. Here it is only found out when it was taken, because that decides whose it
 * is, and with what: EXIF 2.3 (CIPA DC-008) in the segment APP1, which is a TIFF 6.0 of its own. Everything is looked
 * for once and followed no further, so time is bounded by the file's length. */
#include "text.h"

#include <asalee/driver.h>
#include <string.h>

enum { SOI = 0xd8, EOI = 0xd9, SOS = 0xda, APP1 = 0xe1, TEM = 0x01, RST0 = 0xd0, RST7 = 0xd7 };
enum { TIFF_ASCII = 2, TIFF_LONG = 4 };
enum {
  TAG_MAKE = 0x010f,
  TAG_MODEL = 0x0110,
  TAG_CHANGED = 0x0132, /* DateTime */
  TAG_EXIF = 0x8769,
  TAG_TAKEN = 0x9003, /* DateTimeOriginal */
  TAG_SERIAL = 0xa431 /* BodySerialNumber */
};
#define ENTRY_BYTES 12u
#define DATE_BYTES 19u /* "YYYY:MM:DD HH:MM:SS" */

/* ---- TIFF ---- */

struct tiff {
  struct acq_cur bytes;
  bool big; /* byte order "MM" */
};

static uint16_t tiff_u16(const struct tiff *t, struct acq_cur *c) {
  return t->big ? acq_u16be(c) : acq_u16le(c);
}

static uint32_t tiff_u32(const struct tiff *t, struct acq_cur *c) {
  return t->big ? acq_u32be(c) : acq_u32le(c);
}

/* The entries of the directory that lies there; none where none does. */
static struct acq_cur tiff_directory(const struct tiff *t, uint32_t place) {
  struct acq_cur c = t->bytes;
  acq_bytes(&c, place);
  return acq_sub(&c, tiff_u16(t, &c) * (size_t)ENTRY_BYTES);
}

/* The n values of the first entry with that tag and type; nothing where they do not lie in the file. */
static struct acq_cur tiff_field(const struct tiff *t, struct acq_cur entries, uint16_t tag, uint16_t type) {
  while (acq_left(&entries) >= ENTRY_BYTES) {
    struct acq_cur entry = acq_sub(&entries, ENTRY_BYTES);
    if (tiff_u16(t, &entry) != tag || tiff_u16(t, &entry) != type)
      continue;
    const uint64_t n = (uint64_t)tiff_u32(t, &entry) * (type == TIFF_LONG ? 4 : 1);
    struct acq_cur place = entry;
    if (n > 4) {
      place = t->bytes;
      acq_bytes(&place, tiff_u32(t, &entry));
    }
    return acq_sub(&place, n);
  }
  entries.end = entries.at;
  return entries;
}

/* ---- EXIF ---- */

struct exif {
  struct acq_identity camera;
  bool readable; /* its texts could be read */
  bool timed;
  int64_t clock_us;
};

static void read_text(const struct tiff *t, struct acq_cur entries, uint16_t tag, struct exif *e,
                      char ret[static ACQ_TEXT_MAX]) {
  struct acq_cur text = tiff_field(t, entries, tag, TIFF_ASCII);
  const size_t n = acq_left(&text);
  if (n)
    e->readable &= text_read(TEXT_ASCII, text.at, n, ret, ACQ_TEXT_MAX);
}

static int number(struct acq_cur *c, unsigned n, char end) {
  int value = 0;
  while (n--) {
    const uint8_t digit = acq_u8(c);
    if (digit < '0' || digit > '9')
      acq_refuse(c, -EPROTO);
    value = value * 10 + digit - '0';
  }
  if (end && acq_u8(c) != (uint8_t)end)
    acq_refuse(c, -EPROTO);
  return value;
}

static void read_date(const struct tiff *t, struct acq_cur entries, uint16_t tag, struct exif *e) {
  struct acq_cur field = tiff_field(t, entries, tag, TIFF_ASCII), c = acq_sub(&field, DATE_BYTES);
  const struct acq_cur rest = field;
  struct acq_clock clock = {.year = number(&c, 4, ':')};
  clock.month = number(&c, 2, ':');
  clock.day = number(&c, 2, ' ');
  clock.hour = number(&c, 2, ':');
  clock.minute = number(&c, 2, ':');
  clock.second = number(&c, 2, 0);
  if (c.err || (acq_left(&rest) && *rest.at) || e->timed)
    return;
  e->timed = acq_clock_to_us(&clock, &e->clock_us) == 0;
}

static void read_exif(struct acq_cur bytes, struct exif *e) {
  struct tiff t = {.bytes = bytes};
  struct acq_cur c = bytes;
  const uint16_t order = acq_u16be(&c);
  t.big = order == 0x4d4d;
  if ((!t.big && order != 0x4949) || tiff_u16(&t, &c) != 42)
    return;
  const struct acq_cur first = tiff_directory(&t, tiff_u32(&t, &c));
  read_text(&t, first, TAG_MAKE, e, e->camera.make);
  read_text(&t, first, TAG_MODEL, e, e->camera.model);
  struct acq_cur place = tiff_field(&t, first, TAG_EXIF, TIFF_LONG);
  if (acq_left(&place) == 4) {
    const struct acq_cur second = tiff_directory(&t, tiff_u32(&t, &place));
    read_text(&t, second, TAG_SERIAL, e, e->camera.serial);
    read_date(&t, second, TAG_TAKEN, e);
  }
  read_date(&t, first, TAG_CHANGED, e);
}

/* ---- JPEG: ISO/IEC 10918-1, annex B ---- */

/* The data of the first segment with EXIF before the picture's own; nothing where there is none. */
static struct acq_cur find_exif(struct acq_cur c) {
  static const char name[6] = "Exif"; /* and two NUL */
  while (acq_left(&c)) {
    uint8_t marker = acq_u8(&c);
    if (marker != 0xff)
      break;
    while (marker == 0xff && acq_left(&c))
      marker = acq_u8(&c);
    if (marker == SOI || marker == TEM)
      continue;
    if (marker == EOI || marker == SOS || (marker >= RST0 && marker <= RST7))
      break;
    const uint16_t length = acq_u16be(&c);
    struct acq_cur data = acq_sub(&c, length < 2 ? 0 : length - 2u);
    const uint8_t *at = marker == APP1 ? acq_bytes(&data, sizeof name) : NULL;
    if (at && !memcmp(at, name, sizeof name))
      return data;
    if (length < 2)
      break;
  }
  c.end = c.at;
  return c;
}

static int decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct acq_cur c, start;
  size_t event;
  int r = acq_capture_file(capture, &c, &event);
  if (r < 0)
    return acq_rec_fail(ret, r, "the file is empty or did not come whole");
  start = c;
  if (acq_u8(&start) != 0xff || acq_u8(&start) != SOI || acq_u8(&start) != 0xff)
    return acq_rec_fail(ret, -ENXIO, "not a JPEG file");
  struct exif e = {.readable = true};
  read_exif(find_exif(c), &e);
  acq_rec_trial(ret, &(struct acq_trial){.timed = e.timed, .clock_us = e.clock_us});
  acq_rec_picture(ret, event, "");
  if (!e.timed)
    acq_rec_quality(ret, "reading_time_unverified", "", 1);
  if (!e.readable)
    acq_rec_quality(ret, "text_unreadable", "", 1);
  if (e.camera.make[0] || e.camera.model[0] || e.camera.serial[0])
    acq_rec_instrument(ret, &e.camera);
  acq_rec_quality(ret, "file_unchecked", "", 1);
  return acq_rec_done(ret);
}

static const struct acq_match match[] = {
    {.bus = ACQ_FILE, .pattern = "*.jpg"},
    {.bus = ACQ_FILE, .pattern = "*.jpeg"},
    {.bus = 0},
};

const struct acq_driver file_jpeg_fundus = {
    .abi = ACQ_DRIVER_ABI,
    .name = "file_jpeg_fundus",
    .version = "1",
    .label = "Rétinographie en JPEG (fichier)",
    .modalities = ACQ_MODALITY(ACQ_FUNDUS),
    .maturity = ACQ_EXPERIMENTAL,
    .integrity = ACQ_NONE,
    .match = match,
    .limits = {.max_bytes = 48 << 20, .max_seconds = 3600, .default_seconds = 600, .idle_ms = 5000, .grace_ms = 30000},
    .decode = decode,
};
