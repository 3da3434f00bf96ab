#include "jpeg_file.h"

#include "fundus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_MAX 65000u
#define APP0 20u /* where the segment of JFIF ends, and what is behind it begins */
#define TIFF 10u /* within the segment: the header from which all places are counted */
#define ENTRY 12u

enum { DESCRIPTION = 0x010E, MAKE = 0x010F, MODEL = 0x0110, OWN_FIELDS = 0x8769, ORIGINAL = 0x9003 };
enum { ASCII = 2, LONG = 4 };

/* ---- the segment ---- */

static void set(struct buf *b, size_t at, size_t v, unsigned bytes, bool big) {
  for (unsigned i = 0; i < bytes && !b->err; i++)
    b->data[at + i] = (uint8_t)(v >> 8 * (big ? bytes - 1 - i : i));
}

static void put(struct buf *b, size_t v, unsigned bytes, bool big) {
  size_t at = b->len;
  if (buf_extend(b, bytes))
    set(b, at, v, bytes, big);
}

/* A directory with room for that many entries; where its first entry is. */
static size_t put_directory(struct buf *b, unsigned entries, bool big) {
  put(b, entries, 2, big);
  size_t at = b->len;
  for (unsigned i = 0; i < entries; i++)
    buf_add(b, (const uint8_t[ENTRY]){0}, ENTRY);
  put(b, 0, 4, big); /* no other directory */
  return at;
}

static void set_entry(struct buf *b, size_t *at, unsigned tag, unsigned type, size_t count, size_t value, bool big) {
  set(b, *at, tag, 2, big);
  set(b, *at + 2, type, 2, big);
  set(b, *at + 4, count, 4, big);
  set(b, *at + 8, value, 4, big);
  *at += ENTRY;
}

static void set_text(struct buf *b, size_t *at, unsigned tag, const char *text, bool big) {
  size_t n = strlen(text) + 1, where = b->len - TIFF;
  set_entry(b, at, tag, ASCII, n, where, big);
  if (n <= 4 && !b->err)
    memcpy(b->data + *at - 4, text, n); /* short ones lie in the entry */
  else
    buf_add(b, text, n);
  if (b->len % 2 != 0)
    buf_u8(b, 0);
}

static void make_exif(const struct jpeg_options *o, struct buf *b) {
  const struct {
    unsigned tag;
    const char *text;
  } texts[] = {{DESCRIPTION, o->description}, {MAKE, o->make}, {MODEL, o->model}};
  unsigned entries = o->taken != NULL;
  for (unsigned i = 0; i < 3; i++)
    entries += texts[i].text != NULL;
  buf_add(b, "\xFF\xE1\0\0Exif\0\0", TIFF);
  buf_text(b, o->big ? "MM" : "II");
  put(b, 42, 2, o->big);
  put(b, 8, 4, o->big);
  size_t at = put_directory(b, entries, o->big);
  for (unsigned i = 0; i < 3; i++)
    if (texts[i].text)
      set_text(b, &at, texts[i].tag, texts[i].text, o->big);
  if (!o->taken)
    return;
  set_entry(b, &at, OWN_FIELDS, LONG, 1, o->damage == JPEG_EXIF_LOOP ? 8 : b->len - TIFF, o->big);
  at = put_directory(b, 1, o->big);
  set_text(b, &at, ORIGINAL, o->taken, o->big);
  if (o->damage == JPEG_EXIF_FAR)
    set(b, at - 4, 60000, 4, o->big);
}

static int put_exif(const struct jpeg_options *o, struct buf *ret) {
  struct buf _buf_cleanup_ segment = BUF_INIT(SEGMENT_MAX);
  make_exif(o, &segment);
  if (segment.err)
    return segment.err == -EFBIG ? -EINVAL : segment.err;
  if (o->damage == JPEG_EXIF_SHORT)
    segment.len = TIFF + 8 + 2 + ENTRY / 2;
  set(&segment, 2, segment.len - 2, 2, true); /* JPEG's own lengths are big endian */
  return buf_add(ret, segment.data, segment.len);
}

int jpeg_file_make(const struct jpeg_options *o, struct buf *ret) {
  struct fundus f;
  struct fundus_options options = {.width = o->width,
                                   .height = o->height,
                                   .left = o->left,
                                   .disc = o->disc,
                                   .seed = o->seed,
                                   .make = "",
                                   .model = "",
                                   .date = "0000:00:00 00:00:00"};
  int r = fundus_make(&options, &f);
  if (r < 0)
    return r;
  /* fundus' own EXIF gives way to this one */
  size_t from = ret->len, behind = APP0 + 2 + ((size_t)f.jpeg[APP0 + 2] << 8 | f.jpeg[APP0 + 3]);
  buf_add(ret, f.jpeg, APP0);
  if (!o->no_exif)
    r = put_exif(o, ret);
  buf_add(ret, f.jpeg + behind, f.n - behind);
  free(f.jpeg);
  if (!ret->err && o->damage == JPEG_CUT)
    ret->len -= (ret->len - from) / 3;
  return r < 0 ? r : ret->err;
}

/* ---- from the command line ---- */

static const char *const damages[JPEG_DAMAGES] = {"none", "cut", "exif-loop", "exif-far", "exif-short"};

static bool take(struct jpeg_options *o, const struct option *option) {
  const char *key = option->key, *value = option->value;
  uint64_t v;
  int word = 0;
  if (strcmp(key, "make") == 0)
    o->make = value;
  else if (strcmp(key, "model") == 0)
    o->model = value;
  else if (strcmp(key, "taken") == 0)
    o->taken = value;
  else if (strcmp(key, "exif") == 0)
    o->big = (word = file_word(value, (const char *const[]){"little", "big", "none"}, 3)) == 1;
  else if (strcmp(key, "eye") == 0)
    o->left = (word = file_word(value, (const char *const[]){"right", "left"}, 2)) == 1;
  else if (strcmp(key, "centre") == 0)
    o->disc = (word = file_word(value, (const char *const[]){"macula", "disc"}, 2)) == 1;
  else if (strcmp(key, "damage") == 0)
    o->damage = (enum jpeg_damage)(word = file_word(value, damages, JPEG_DAMAGES));
  else if (strcmp(key, "width") == 0 && option_number(value, FUNDUS_WIDTH_MAX, &v))
    o->width = (unsigned)v;
  else if (strcmp(key, "height") == 0 && option_number(value, FUNDUS_HEIGHT_MAX, &v))
    o->height = (unsigned)v;
  else
    return false;
  if (strcmp(key, "exif") == 0)
    o->no_exif = word == 2;
  return word >= 0;
}

static int make(const struct file_order *order, struct buf *ret, char why[static 256]) {
  const struct file_clock *t = &order->taken;
  char taken[80];
  snprintf(taken, sizeof(taken), "%04u:%02u:%02u %02u:%02u:%02u", t->year, t->month, t->day, t->hour, t->minute,
           t->second);
  struct jpeg_options o = {.width = 900,
                           .height = 600,
                           .seed = order->seed,
                           .make = "Canon",
                           .model = "Canon CR-2",
                           .description = order->marker,
                           .taken = t->year ? taken : NULL};
  for (unsigned i = 0; i < order->n_options; i++)
    if (!take(&o, &order->options[i]))
      return file_refuse(&order->options[i], why);
  return jpeg_file_make(&o, ret);
}

const struct file_format jpeg_format = {
    .name = "jpeg",
    .help = "a fundus camera's JPEG file\n"
            "  exif=little|big|none  make=TEXT  model=TEXT  taken=TEXT (YYYY:MM:DD hh:mm:ss of --time)\n"
            "  eye=right|left  centre=macula|disc  width=N  height=N  (900x600)\n"
            "  damage=cut|exif-loop|exif-far|exif-short\n",
    .make = make,
};
