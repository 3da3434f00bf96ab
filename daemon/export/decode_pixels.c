#include "decode_pixels.h"

#include "pixels.h"
#include "str.h"
#include "tags.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool decode_word(struct dicom_item at, dicom_tag tag, char *ret, size_t size) {
  struct dicom_value v;
  if (!dicom_get(at, tag, &v))
    return false;
  while (v.n && *v.bytes == ' ') {
    v.bytes++;
    v.n--;
  }
  size_t n = 0;
  while (n < v.n && v.bytes[n] > ' ' && v.bytes[n] < 0x7f && v.bytes[n] != '\\')
    n++;
  if (!n || n >= size)
    return false;
  memcpy(ret, v.bytes, n);
  ret[n] = 0;
  return true;
}

bool decode_number(struct dicom_item at, dicom_tag tag, uint32_t *ret) {
  char text[16];
  uint64_t v;
  if (!decode_word(at, tag, text, sizeof text) || str_to_u64(text + (*text == '+'), 0, UINT32_MAX, &v) < 0)
    return false;
  *ret = (uint32_t)v;
  return true;
}

static int refuse(const char **ret_why, const char *why) {
  *ret_why = why;
  return -EPROTO;
}

/* ---- JPEG ---- */

/* Process 1, 2 and 4, 10 and 12 (retired), 14, 14 first order: the transfer syntaxes whose frames are files. */
static const char *const jpeg_syntaxes[] = {DICOM_JPEG_BASELINE, "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.55",
                                            "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"};
static const struct {
  const char *uid, *why;
} others[] = {{"1.2.840.10008.1.2.5", "a picture compressed as RLE"},
              {"1.2.840.10008.1.2.4.80", "a picture compressed as JPEG-LS"},
              {"1.2.840.10008.1.2.4.81", "a picture compressed as JPEG-LS"},
              {"1.2.840.10008.1.2.4.90", "a picture compressed as JPEG 2000"},
              {"1.2.840.10008.1.2.4.91", "a picture compressed as JPEG 2000"}};

static const uint8_t *piece(const struct dicom_pixels *p, size_t i, size_t *ret_n) {
  *ret_n = p->pieces[i].iov_len;
  return p->pieces[i].iov_base;
}

static bool begins_jpeg(const struct dicom_pixels *p, size_t i) {
  size_t n;
  const uint8_t *bytes = piece(p, i, &n);
  return n >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff;
}

/* A frame is a fragment; or one of several, which then begin where a file does. The offset table says no more than
 * that, if it says anything. Piece 0 is that table. */
static int part_jpeg(struct decode_frames *f, const char **ret_why) {
  size_t n = 0;
  for (size_t i = 1; i < f->pixels.n; i++) {
    if (!begins_jpeg(&f->pixels, i))
      continue;
    if (n == f->n)
      return refuse(ret_why, "more pictures than the file says it has");
    f->first[n++] = i;
  }
  if (n < f->n || f->first[0] != 1)
    return refuse(ret_why, "a frame that is no JPEG stream");
  f->first[n] = f->pixels.n;
  return 0;
}

/* Red, green and blue in a JPEG that does not say so itself would be shown as YCbCr. */
static bool says_colours(const uint8_t *jpeg, size_t n) {
  for (size_t at = 2; at + 4 <= n && jpeg[at] == 0xff;) {
    const uint8_t marker = jpeg[at + 1];
    const size_t length = (size_t)(jpeg[at + 2] << 8 | jpeg[at + 3]);
    const uint8_t *body = jpeg + at + 4;
    const size_t left = n - at - 4;
    if ((marker == 0xe0 && left >= 5 && !memcmp(body, "JFIF", 5)) ||
        (marker == 0xee && left >= 5 && !memcmp(body, "Adobe", 5)))
      return true;
    if (marker == 0xda)
      return false;
    at += 2 + length;
  }
  return false;
}

static int check_colours(const struct decode_frames *f, const char *photometric, const char **ret_why) {
  size_t n;
  const uint8_t *first = piece(&f->pixels, 1, &n);
  if (!strcmp(photometric, "MONOCHROME1") || !strcmp(photometric, "PALETTE"))
    return refuse(ret_why, "a picture with inverted or listed colours");
  if (!strcmp(photometric, "RGB") && !says_colours(first, n))
    return refuse(ret_why, "a JPEG picture of red, green and blue that does not say so itself");
  return 0;
}

/* Without the byte that makes a fragment's length even. */
static size_t less_padding(const uint8_t *jpeg, size_t n) {
  return n > 2 && !jpeg[n - 1] && jpeg[n - 2] == 0xd9 && jpeg[n - 3] == 0xff ? n - 1 : n;
}

static int jpeg_frame(const struct decode_frames *f, size_t i, struct decode_picture *ret, const char **ret_why) {
  size_t n, total = 0;
  const size_t first = f->first[i], end = f->first[i + 1];
  for (size_t k = first; k < end; k++)
    total += f->pixels.pieces[k].iov_len;
  if (total > FLAT_PICTURE_MAX)
    return refuse(ret_why, "a picture of more than 64 MiB");
  ret->bytes = piece(&f->pixels, first, &n);
  if (end - first > 1) {
    ret->memory = malloc(total);
    if (!ret->memory)
      return -ENOMEM;
    for (size_t k = first, at = 0; k < end; k++, at += n) {
      const uint8_t *bytes = piece(&f->pixels, k, &n);
      memcpy(ret->memory + at, bytes, n);
    }
    ret->bytes = ret->memory;
  }
  ret->n = less_padding(ret->bytes, total);
  return 0;
}

/* ---- native pixels ---- */

static int read_native(struct dicom_item root, const char *photometric, struct decode_frames *f, const char **ret_why) {
  uint32_t allocated = 0, stored = 0, high = 0, is_signed = 0;
  f->samples = 1;
  decode_number(root, SAMPLES_PER_PIXEL, &f->samples);
  decode_number(root, PLANAR_CONFIGURATION, &f->planar);
  decode_number(root, PIXEL_REPRESENTATION, &is_signed);
  if (!decode_number(root, ROWS, &f->height) || !decode_number(root, COLUMNS, &f->width) || !f->height || !f->width ||
      f->height > UINT16_MAX || f->width > UINT16_MAX)
    return refuse(ret_why, "pixels without a size");
  if (!decode_number(root, BITS_ALLOCATED, &allocated) || !decode_number(root, BITS_STORED, &stored) ||
      !decode_number(root, HIGH_BIT, &high) || allocated != 8 || stored != 8 || high != 7 || is_signed || f->planar > 1)
    return refuse(ret_why, "pixels of other than 8 bits a sample");
  f->ycc = !strcmp(photometric, "YBR_FULL");
  if (f->samples == 1 ? strcmp(photometric, "MONOCHROME2") : f->samples != 3 || (!f->ycc && strcmp(photometric, "RGB")))
    return refuse(ret_why, "native pixels that are not MONOCHROME2, RGB or YBR_FULL");
  const uint64_t bytes = (uint64_t)f->width * f->height * f->samples * f->n;
  if (bytes + bytes % 2 != f->pixels.pieces[0].iov_len && bytes != f->pixels.pieces[0].iov_len)
    return refuse(ret_why, "another number of pixels than the size that the file says");
  return 0;
}

struct native {
  const struct decode_frames *frames;
  const uint8_t *pixels;
};

static uint8_t within(int32_t v) {
  return v < 0 ? 0 : v > 255 ? 255 : (uint8_t)v;
}

/* PS3.3 C.7.6.3.1.2: ITU-R BT.601 full range, in 65536ths. */
static void to_rgb(uint8_t p[static 3]) {
  const int32_t y = (p[0] << 16) + (1 << 15), cb = p[1] - 128, cr = p[2] - 128;
  p[0] = within((y + 91881 * cr) >> 16);
  p[1] = within((y - 22554 * cb - 46802 * cr) >> 16);
  p[2] = within((y + 116130 * cb) >> 16);
}

static void native_row(const void *arg, uint32_t y, uint8_t *row) {
  const struct native *n = arg;
  const struct decode_frames *f = n->frames;
  const size_t width = f->width, plane = width * f->height;
  if (f->samples == 3 && f->planar)
    for (size_t x = 0; x < width; x++)
      for (size_t s = 0; s < 3; s++)
        row[3 * x + s] = n->pixels[s * plane + y * width + x];
  else
    memcpy(row, n->pixels + y * width * f->samples, width * f->samples);
  for (size_t x = 0; f->ycc && x < width; x++)
    to_rgb(row + 3 * x);
}

static int native_frame(const struct decode_frames *f, size_t i, struct decode_picture *ret, const char **ret_why) {
  const struct native native = {f, (const uint8_t *)f->pixels.pieces[0].iov_base +
                                       (size_t)f->width * f->height * f->samples * i};
  int r =
      pixels_png_write(f->width, f->height, f->samples, native_row, &native, FLAT_PICTURE_MAX, &ret->memory, &ret->n);
  ret->bytes = ret->memory;
  return r == -EFBIG ? refuse(ret_why, "a picture of more than 64 MiB") : r;
}

/* ---- both ---- */

static bool is_jpeg_syntax(const char *uid) {
  for (size_t i = 0; i < sizeof jpeg_syntaxes / sizeof *jpeg_syntaxes; i++)
    if (!strcmp(uid, jpeg_syntaxes[i]))
      return true;
  return false;
}

int decode_frames(struct dicom *object, struct decode_frames *ret, const char **ret_why) {
  struct decode_frames f = {.n = 1};
  const struct dicom_item root = dicom_root(object);
  const char *syntax = dicom_transfer_syntax(object);
  uint32_t frames;
  char photometric[17] = "";
  decode_word(root, PHOTOMETRIC_INTERPRETATION, photometric, sizeof photometric);
  if (decode_number(root, NUMBER_OF_FRAMES, &frames))
    f.n = frames;
  if (!f.n || f.n > FLAT_PICTURES_MAX)
    return refuse(ret_why, f.n ? "more pictures than a record holds" : "no picture");
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (!strcmp(syntax, others[i].uid))
      return refuse(ret_why, others[i].why);
  if (!dicom_pixel_data(object, &f.pixels) || !f.pixels.n)
    return refuse(ret_why, "no pixels that can be read");
  f.jpeg = f.pixels.encapsulated;
  if (f.jpeg && !is_jpeg_syntax(syntax))
    return refuse(ret_why, "a picture compressed in a way that is not known");
  int r = f.jpeg ? part_jpeg(&f, ret_why) : read_native(root, photometric, &f, ret_why);
  if (r == 0 && f.jpeg)
    r = check_colours(&f, photometric, ret_why);
  if (r == 0)
    *ret = f;
  return r;
}

int decode_frame(const struct decode_frames *frames, size_t i, struct decode_picture *ret, const char **ret_why) {
  struct decode_picture p = {0};
  int r = frames->jpeg ? jpeg_frame(frames, i, &p, ret_why) : native_frame(frames, i, &p, ret_why);
  if (r == 0)
    *ret = p;
  return r;
}

void decode_picture_finish(struct decode_picture *picture) {
  free(picture->memory);
  *picture = (struct decode_picture){0};
}
