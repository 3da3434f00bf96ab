#include "fundus.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#define MASTER_MAX 1500u /* pixels wide: the drawing, which is then scaled up and grained */
#define THUMB_SIDE 160u
#define GRAIN_SIDE 512u
#define STRIP 16u
#define QUALITY 97
#define QUALITY_THUMB 80
#define EXIF_MAX 60000u
#define FIELD_DEG 22.5f /* from the centre to the edge */
#define DISC_TO_MACULA (15.5f / FIELD_DEG)
#define DISC_RADIUS (2.7f / FIELD_DEG)

struct drawing {
  unsigned width, height;
  uint8_t *planes[3]; /* Y, Cb, Cr */
  float *vessels;     /* what they leave of the light, 0 to 1 */
  float x, y, radius; /* of the field, pixels */
  float disc_x, disc_y, macula_x, macula_y;
  uint64_t random;
};

static uint32_t draw(uint64_t *random) {
  *random ^= *random << 13;
  *random ^= *random >> 7;
  *random ^= *random << 17;
  return (uint32_t)(*random >> 16);
}

static float draw_unit(struct drawing *d) {
  return (float)(draw(&d->random) & 0xffff) / 65535.0f;
}

/* 1 at the centre, 0 from the edge on. */
static float bump(float distance2, float radius) {
  float t = 1 - distance2 / (radius * radius);
  return t > 0 ? t * t : 0;
}

/* ---- the drawing ---- */

static void stamp(struct drawing *d, float x, float y, float radius, float depth) {
  int reach = (int)radius + 1, left = (int)x - reach, top = (int)y - reach;
  for (int j = top; j <= top + 2 * reach; j++) {
    for (int i = left; i <= left + 2 * reach; i++) {
      if (i < 0 || j < 0 || i >= (int)d->width || j >= (int)d->height)
        continue;
      float dx = (float)i - x, dy = (float)j - y, far = dx * dx + dy * dy;
      float *at = &d->vessels[(size_t)j * d->width + (size_t)i];
      float left_over = far < radius * radius ? 1 - depth : 1;
      *at = *at < left_over ? *at : left_over;
    }
  }
}

/* From the disc: first out along (ux, uy), then bent by (bx, by); lengths in radii of the field. */
static void vessel(struct drawing *d, float x, float y, const float u[2], const float bend[2], float length,
                   float thick, unsigned branches) {
  float r = d->radius, wave = draw_unit(d) * 6.28f;
  unsigned steps = (unsigned)(length * r) + 1;
  for (unsigned i = 0; i <= steps; i++) {
    float t = (float)i / (float)steps, s = t * length;
    float w = 0.012f * sinf(wave + 9 * t);
    float px = x + r * (u[0] * s + bend[0] * s * s + w * u[1]), py = y + r * (u[1] * s + bend[1] * s * s - w * u[0]);
    float half = fmaxf(thick * r * (1 - 0.75f * t), 0.6f);
    stamp(d, px, py, half, 0.42f);
    if (branches && i > 0 && i % (steps / (branches + 1) + 1) == 0) {
      float side = draw_unit(d) < 0.5f ? 0.7f : -0.7f;
      const float v[2] = {u[0] * 0.7f - u[1] * side, u[1] * 0.7f + u[0] * side};
      vessel(d, px, py, v, (const float[2]){-u[1] * side * 0.2f, u[0] * side * 0.2f},
             length * (0.3f + 0.2f * draw_unit(d)), thick * 0.5f, 0);
    }
  }
}

static void draw_vessels(struct drawing *d) {
  /* towards the macula, and across */
  float dx = d->macula_x - d->disc_x, dy = d->macula_y - d->disc_y, far = sqrtf(dx * dx + dy * dy);
  const float u[2] = {dx / far, dy / far}, v[2] = {-u[1], u[0]};
  for (int side = -1; side <= 1; side += 2) {
    for (unsigned pair = 0; pair < 2; pair++) { /* artery and vein */
      float s = (float)side * (1 + 0.12f * (float)pair), thick = pair ? 0.017f : 0.012f;
      const float arcade[2] = {0.35f * u[0] + 1.05f * s * v[0], 0.35f * u[1] + 1.05f * s * v[1]};
      const float bend[2] = {0.42f * u[0] - 0.40f * s * v[0], 0.42f * u[1] - 0.40f * s * v[1]};
      vessel(d, d->disc_x, d->disc_y, arcade, bend, 1.75f, thick, 5);
      const float nasal[2] = {-0.75f * u[0] + 0.6f * s * v[0], -0.75f * u[1] + 0.6f * s * v[1]};
      const float back[2] = {-0.1f * u[0] + 0.05f * s * v[0], -0.1f * u[1] + 0.05f * s * v[1]};
      vessel(d, d->disc_x, d->disc_y, nasal, back, 1.2f, thick * 0.8f, 4);
    }
  }
}

static uint8_t byte_of(float v) {
  return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)v;
}

static void colour(struct drawing *d, enum fundus_quality quality) {
  float gain = quality == FUNDUS_DARK ? 0.2f : quality == FUNDUS_BRIGHT ? 2.3f : 1;
  for (unsigned j = 0; j < d->height; j++) {
    for (unsigned i = 0; i < d->width; i++) {
      size_t at = (size_t)j * d->width + i;
      float x = ((float)i - d->x) / d->radius, y = ((float)j - d->y) / d->radius, far2 = x * x + y * y;
      float mx = ((float)i - d->macula_x) / d->radius, my = ((float)j - d->macula_y) / d->radius;
      float ox = ((float)i - d->disc_x) / d->radius, oy = ((float)j - d->disc_y) / d->radius;
      float rgb[3] = {4, 3, 3};
      if (far2 < 1) {
        float light = (1 - 0.35f * far2) * (1 - 0.5f * bump(mx * mx + my * my, 0.26f));
        float vein = d->vessels[at], pale = fminf(1, 4 * bump(ox * ox + oy * oy, DISC_RADIUS * 1.15f));
        rgb[0] = 205 * light * (0.35f + 0.65f * vein);
        rgb[1] = 98 * light * vein;
        rgb[2] = 46 * light * vein;
        rgb[0] += pale * (250 - rgb[0]) * (0.3f + 0.7f * vein);
        rgb[1] += pale * (212 - rgb[1]) * vein;
        rgb[2] += pale * (150 - rgb[2]) * vein;
      }
      for (unsigned c = 0; c < 3; c++)
        rgb[c] = fminf(255, rgb[c] * gain);
      d->planes[0][at] = byte_of(0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2]);
      d->planes[1][at] = byte_of(128 - 0.1687f * rgb[0] - 0.3313f * rgb[1] + 0.5f * rgb[2]);
      d->planes[2][at] = byte_of(128 + 0.5f * rgb[0] - 0.4187f * rgb[1] - 0.0813f * rgb[2]);
    }
  }
}

/* A running mean along a line of n samples that lie `step` apart. */
static void smooth_line(uint8_t *line, size_t n, size_t step, size_t reach, uint8_t *copy) {
  unsigned sum = 0;
  for (size_t i = 0; i < n; i++)
    copy[i] = line[i * step];
  for (size_t i = 0; i < reach; i++)
    sum += copy[0] + (unsigned)copy[i < n ? i : n - 1];
  for (size_t i = 0; i < n; i++) {
    sum += copy[i + reach < n ? i + reach : n - 1];
    line[i * step] = (uint8_t)(sum / (2 * reach + 1));
    sum -= copy[i > reach ? i - reach : 0];
  }
}

static int blur(struct drawing *d) {
  size_t reach = d->width / 90 + 1;
  uint8_t *copy = malloc(d->width > d->height ? d->width : d->height);
  if (!copy)
    return -ENOMEM;
  for (unsigned pass = 0; pass < 3; pass++) {
    for (unsigned c = 0; c < 3; c++) {
      for (unsigned j = 0; j < d->height; j++)
        smooth_line(d->planes[c] + (size_t)j * d->width, d->width, 1, reach, copy);
      for (unsigned i = 0; i < d->width; i++)
        smooth_line(d->planes[c] + i, d->height, d->width, reach, copy);
    }
  }
  free(copy);
  return 0;
}

static void drawing_finish(struct drawing *d) {
  free(d->vessels);
  free(d->planes[0]);
}

static int drawing_make(struct drawing *d, const struct fundus_options *o) {
  unsigned width = o->width < MASTER_MAX ? o->width : MASTER_MAX;
  unsigned height = (unsigned)((uint64_t)o->height * width / o->width);
  *d = (struct drawing){.width = width, .height = height ? height : 1, .random = o->seed * 0x9E3779B97F4A7C15u | 1};
  size_t n = (size_t)d->width * d->height;
  d->vessels = malloc(n * sizeof *d->vessels);
  d->planes[0] = malloc(3 * n);
  if (!d->vessels || !d->planes[0]) {
    drawing_finish(d);
    return -ENOMEM;
  }
  d->planes[1] = d->planes[0] + n;
  d->planes[2] = d->planes[1] + n;
  for (size_t i = 0; i < n; i++)
    d->vessels[i] = 1;
  d->x = (float)d->width / 2;
  d->y = (float)d->height / 2;
  d->radius = 0.49f * (float)(d->width < d->height ? d->width : d->height);
  float nasal = (o->left ? -1 : 1) * DISC_TO_MACULA * d->radius; /* from the macula to the disc */
  d->macula_x = o->disc ? d->x - nasal : d->x;
  d->disc_x = o->disc ? d->x : d->x + nasal;
  d->macula_y = o->disc ? d->y + 0.06f * d->radius : d->y;
  d->disc_y = d->macula_y - 0.06f * d->radius;
  draw_vessels(d);
  colour(d, o->quality);
  int r = o->quality == FUNDUS_BLURRED ? blur(d) : 0;
  if (r < 0)
    drawing_finish(d);
  return r;
}

/* ---- scaling and grain ---- */

struct scale { /* of one plane, to so many samples */
  const uint8_t *plane;
  unsigned from_width, from_height, width, height, padded;
  uint32_t *where; /* for each column: the sample left of it * 256 + the share of the next */
  uint16_t *row;   /* a line between two of the plane's */
};

static uint32_t place_of(unsigned i, unsigned from, unsigned to) {
  uint64_t at = to > 1 ? (uint64_t)i * (from - 1) * 256 / (to - 1) : 0;
  uint64_t last = from > 1 ? (uint64_t)(from - 2) * 256 + 255 : 0;
  return (uint32_t)(at < last ? at : last);
}

static int scale_init(struct scale *s, const struct drawing *d, unsigned plane, unsigned width, unsigned height,
                      unsigned padded) {
  *s = (struct scale){.plane = d->planes[plane],
                      .from_width = d->width,
                      .from_height = d->height,
                      .width = width,
                      .height = height,
                      .padded = padded};
  s->where = malloc(width * sizeof *s->where);
  s->row = calloc(d->width + 1u, sizeof *s->row);
  if (!s->where || !s->row)
    return -ENOMEM;
  for (unsigned i = 0; i < width; i++)
    s->where[i] = place_of(i, d->width, width);
  return 0;
}

static void scale_finish(struct scale *s) {
  free(s->where);
  free(s->row);
}

static void scale_row(const struct scale *s, unsigned j, uint8_t *out) {
  uint32_t at = place_of(j < s->height ? j : s->height - 1, s->from_height, s->height);
  const uint8_t *above = s->plane + (size_t)(at >> 8) * s->from_width;
  const uint8_t *below = s->from_height > 1 ? above + s->from_width : above;
  unsigned share = at & 255;
  for (unsigned i = 0; i < s->from_width; i++)
    s->row[i] = (uint16_t)(above[i] * (256 - share) + below[i] * share);
  for (unsigned i = 0; i < s->width; i++) {
    uint32_t w = s->where[i], part = w & 255;
    const uint16_t *p = s->row + (w >> 8);
    out[i] = (uint8_t)((p[0] * (256 - part) + p[1] * part) >> 16);
  }
  memset(out + s->width, out[s->width - 1], s->padded - s->width);
}

/* Where there is light: what makes a real picture as big as it is. */
static void grain_row(uint8_t *out, unsigned width, const int8_t *grain, unsigned first) {
  for (unsigned i = 0; i < width;) {
    const int8_t *g = grain + first;
    unsigned n = GRAIN_SIDE - first < width - i ? GRAIN_SIDE - first : width - i;
    for (unsigned k = 0; k < n; k++) {
      int v = out[i + k] + (out[i + k] > 24 ? g[k] : 0);
      out[i + k] = (uint8_t)(v > 255 ? 255 : v);
    }
    i += n;
    first = 0;
  }
}

/* ---- JPEG ---- */

static void put16(uint8_t *at, unsigned v) {
  at[0] = (uint8_t)v;
  at[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *at, size_t v) {
  put16(at, v & 0xffff);
  put16(at + 2, (unsigned)(v >> 16) & 0xffff);
}

struct exif {
  uint8_t bytes[EXIF_MAX];
  size_t entry, heap; /* where the next entry of the directory, and the next long value, go; from "Exif" on */
};

#define TIFF 6u /* the header's place: all offsets count from there */

static void exif_entry(struct exif *e, unsigned tag, unsigned type, size_t count, const void *value, size_t n) {
  uint8_t *at = e->bytes + e->entry;
  put16(at, tag);
  put16(at + 2, type);
  put32(at + 4, count);
  if (n > 4) {
    put32(at + 8, e->heap - TIFF);
    memcpy(e->bytes + e->heap, value, n);
    e->heap += n + n % 2;
  } else {
    memcpy(at + 8, value, n);
  }
  e->entry += 12;
}

static void exif_text(struct exif *e, unsigned tag, const char *text) {
  exif_entry(e, tag, 2, strlen(text) + 1, text, strlen(text) + 1);
}

static void exif_number(struct exif *e, unsigned tag, unsigned type, size_t v) {
  uint8_t bytes[4];
  put32(bytes, v);
  exif_entry(e, tag, type, 1, bytes, 4);
}

/* A directory of so many entries begins where the long values have ended. */
static size_t exif_directory(struct exif *e, unsigned entries) {
  size_t at = e->heap;
  put16(e->bytes + at, entries);
  e->entry = at + 2;
  e->heap = at + 2 + 12u * entries + 4;
  return at;
}

/* The whole APP1 of it; where the thumbnail begins. Exif 2.3, little endian. */
static size_t make_exif(struct exif *e, const struct fundus_options *o, const uint8_t *thumb, size_t thumb_n) {
  enum { IFD0 = 6, EXIF_IFD = 4, IFD1 = 3 };
  memset(e, 0, sizeof *e);
  memcpy(e->bytes, "Exif\0\0II*\0\x08\0\0\0", 14);
  e->heap = 14;
  size_t first = exif_directory(e, IFD0);
  exif_text(e, 0x010F, o->make);
  exif_text(e, 0x0110, o->model);
  exif_number(e, 0x0112, 3, 1); /* upright */
  exif_text(e, 0x0132, o->date);
  exif_number(e, 0x0213, 3, 1);
  size_t pointer = e->entry;
  exif_number(e, 0x8769, 4, 0);
  put32(e->bytes + pointer + 8, exif_directory(e, EXIF_IFD) - TIFF);
  exif_entry(e, 0x9000, 7, 4, "0230", 4);
  exif_text(e, 0x9003, o->date);
  exif_number(e, 0xA002, 4, o->width);
  exif_number(e, 0xA003, 4, o->height);
  size_t second = exif_directory(e, IFD1);
  put32(e->bytes + first + 2 + 12 * IFD0, second - TIFF);
  exif_number(e, 0x0103, 3, 6);
  exif_number(e, 0x0201, 4, e->heap - TIFF);
  exif_number(e, 0x0202, 4, thumb_n);
  size_t at = e->heap;
  memcpy(e->bytes + at, thumb, thumb_n);
  e->heap += thumb_n;
  return at;
}

static int encode_thumb(const struct drawing *d, unsigned width, unsigned height, uint8_t **ret, unsigned long *ret_n) {
  struct jpeg_compress_struct c;
  struct jpeg_error_mgr errors;
  uint8_t line[3 * THUMB_SIDE], *row = line;
  c.err = jpeg_std_error(&errors);
  jpeg_create_compress(&c);
  jpeg_mem_dest(&c, ret, ret_n);
  c.image_width = width;
  c.image_height = height;
  c.input_components = 3;
  c.in_color_space = JCS_YCbCr;
  jpeg_set_defaults(&c);
  jpeg_set_quality(&c, QUALITY_THUMB, TRUE);
  jpeg_start_compress(&c, TRUE);
  for (unsigned j = 0; j < height; j++) {
    for (unsigned i = 0; i < width; i++)
      for (unsigned k = 0; k < 3; k++)
        line[3 * i + k] = d->planes[k][(size_t)(j * d->height / height) * d->width + i * d->width / width];
    jpeg_write_scanlines(&c, &row, 1);
  }
  jpeg_finish_compress(&c);
  jpeg_destroy_compress(&c);
  return *ret ? 0 : -ENOMEM;
}

static void write_strips(struct jpeg_compress_struct *c, struct scale scales[3], const struct fundus_options *o,
                         uint8_t *rows, const int8_t *grain) {
  JSAMPROW lines[3][STRIP];
  JSAMPARRAY planes[3] = {lines[0], lines[1], lines[2]};
  uint64_t random = o->seed | 1;
  for (unsigned j = 0; j < STRIP; j++) {
    lines[0][j] = rows + (size_t)j * scales[0].padded;
    for (unsigned p = 1; p < 3; p++)
      lines[p][j] = rows + (size_t)STRIP * scales[0].padded + (size_t)((p - 1) * STRIP + j) * scales[1].padded;
  }
  for (unsigned top = 0; top < o->height; top += STRIP) {
    for (unsigned j = 0; j < STRIP; j++) {
      scale_row(&scales[0], top + j, lines[0][j]);
      if (grain)
        grain_row(lines[0][j], scales[0].padded, grain + (size_t)(draw(&random) % GRAIN_SIDE) * GRAIN_SIDE,
                  draw(&random) % GRAIN_SIDE);
      for (unsigned p = 1; p < 3 && j < STRIP / 2; p++)
        scale_row(&scales[p], top / 2 + j, lines[p][j]);
    }
    jpeg_write_raw_data(c, planes, STRIP);
  }
}

static void encode(struct scale scales[3], const struct fundus_options *o, const struct exif *exif, uint8_t *rows,
                   const int8_t *grain, uint8_t **jpeg, unsigned long *n) {
  struct jpeg_compress_struct c;
  struct jpeg_error_mgr errors;
  c.err = jpeg_std_error(&errors);
  jpeg_create_compress(&c);
  jpeg_mem_dest(&c, jpeg, n);
  c.image_width = o->width;
  c.image_height = o->height;
  c.input_components = 3;
  c.in_color_space = JCS_YCbCr;
  jpeg_set_defaults(&c); /* 4:2:0 */
  jpeg_set_quality(&c, QUALITY, TRUE);
  c.raw_data_in = TRUE;
  c.dct_method = JDCT_IFAST;
  if (o->progressive)
    jpeg_simple_progression(&c);
  jpeg_start_compress(&c, TRUE);
  jpeg_write_marker(&c, JPEG_APP0 + 1, exif->bytes, (unsigned)exif->heap);
  write_strips(&c, scales, o, rows, grain);
  jpeg_finish_compress(&c);
  jpeg_destroy_compress(&c);
}

static int8_t *make_grain(const struct fundus_options *o) {
  int8_t *grain = malloc(GRAIN_SIDE * GRAIN_SIDE);
  uint64_t random = (o->seed + 7) * 0x9E3779B97F4A7C15u | 1;
  int height = o->quality == FUNDUS_DARK ? 5 : 25;
  for (size_t i = 0; grain && i < GRAIN_SIDE * GRAIN_SIDE; i++)
    grain[i] = (int8_t)((int)(draw(&random) % (unsigned)(2 * height + 1)) - height);
  return grain;
}

static int make_picture(const struct drawing *d, const struct fundus_options *o, const struct exif *exif,
                        struct fundus *ret) {
  unsigned padded = (o->width + 15) / 16 * 16, half = (o->width + 1) / 2;
  struct scale scales[3] = {0};
  size_t room = (size_t)o->width * o->height * 3 / 4 + EXIF_MAX + 65536;
  unsigned long n = room;
  uint8_t *rows = malloc((size_t)2 * STRIP * padded), *first = malloc(room), *jpeg = first;
  int8_t *grain = o->quality == FUNDUS_BLURRED ? NULL : make_grain(o);
  int r = rows && first && (grain || o->quality == FUNDUS_BLURRED) ? 0 : -ENOMEM;
  for (unsigned p = 0; r == 0 && p < 3; p++)
    r = scale_init(&scales[p], d, p, p ? half : o->width, p ? (o->height + 1) / 2 : o->height, p ? padded / 2 : padded);
  if (r == 0) {
    encode(scales, o, exif, rows, grain, &jpeg, &n);
    ret->jpeg = jpeg;
    ret->n = n;
  }
  if (r < 0 || jpeg != first)
    free(first);
  for (unsigned p = 0; p < 3; p++)
    scale_finish(&scales[p]);
  free(rows);
  free(grain);
  return r;
}

int fundus_make(const struct fundus_options *o, struct fundus *ret) {
  struct drawing d;
  struct exif *exif = malloc(sizeof *exif);
  uint8_t *thumb = NULL;
  unsigned long thumb_n = 0;
  if (o->width < FUNDUS_SIDE_MIN || o->width > FUNDUS_WIDTH_MAX || o->height < FUNDUS_SIDE_MIN ||
      o->height > FUNDUS_HEIGHT_MAX) {
    free(exif);
    return -EINVAL;
  }
  int r = exif ? drawing_make(&d, o) : -ENOMEM;
  if (r < 0) {
    free(exif);
    return r;
  }
  unsigned side = o->width > o->height ? o->width : o->height;
  struct fundus f = {.thumb_width = (o->width * THUMB_SIDE + side - 1) / side,
                     .thumb_height = (o->height * THUMB_SIDE + side - 1) / side};
  r = encode_thumb(&d, f.thumb_width, f.thumb_height, &thumb, &thumb_n);
  if (r == 0) {
    /* SOI, APP0 of 18 bytes, then the marker and the length of APP1 */
    f.thumb = 2 + 18 + 4 + make_exif(exif, o, thumb, thumb_n);
    f.thumb_n = thumb_n;
    r = make_picture(&d, o, exif, &f);
  }
  if (r == 0)
    *ret = f;
  free(thumb);
  free(exif);
  drawing_finish(&d);
  return r;
}
