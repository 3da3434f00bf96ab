#include "picture_make.h"

#include <stdio.h> /* jpeglib.h wants it */

#include <jpeglib.h>
#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

static uint32_t dice(uint32_t *state) { /* xorshift32 */
  *state ^= *state << 13;
  *state ^= *state >> 17;
  return *state ^= *state << 5;
}

static double chance(uint32_t *state) {
  return (dice(state) >> 8) / 16777216.0;
}

static void must(int holds) {
  if (!holds)
    abort();
}

void pixels_finish(struct pixels *p) {
  free(p->at);
  p->at = NULL;
}

/* ---- the scene ---- */

struct scene {
  uint32_t w, h, state;
  double x, y, radius; /* of the disc */
  uint8_t *vessels;    /* how dark, 0..255 */
};

static void stamp(struct scene *s, double x, double y, double radius, double dark) {
  for (int py = (int)(y - radius - 1); py <= y + radius + 1; py++)
    for (int px = (int)(x - radius - 1); px <= x + radius + 1; px++) {
      if (px < 0 || py < 0 || px >= (int)s->w || py >= (int)s->h)
        continue;
      double cover = radius + 0.5 - hypot(px - x, py - y);
      uint8_t *at = s->vessels + (size_t)py * s->w + px;
      double value = (cover > 1 ? 1 : cover) * dark;
      if (value > *at)
        *at = (uint8_t)value;
    }
}

static void vessel(struct scene *s, double x, double y, double angle, double bend, double width, int depth) {
  double length = s->radius * (depth ? 0.5 : 1.3) * (0.6 + 0.4 * chance(&s->state)), step = width > 1 ? width / 2 : 0.5;
  for (double gone = 0; gone < length; gone += step) {
    stamp(s, x, y, width / 2, 60 + 12 * width / s->radius * 100);
    x += step * cos(angle);
    y += step * sin(angle);
    angle += (bend + (chance(&s->state) - 0.5) * 3) * step / s->radius;
    width *= 1 - 0.5 * step / length;
    if (depth < 3 && chance(&s->state) < 7 * step / length)
      vessel(s, x, y, angle + (chance(&s->state) < 0.5 ? -0.7 : 0.7), bend / 2, width * 0.7, depth + 1);
  }
}

static uint8_t byte(double value) {
  return value < 0 ? 0 : value > 255 ? 255 : (uint8_t)(value + 0.5);
}

static void colour(const struct scene *s, uint32_t x, uint32_t y, double grain, uint8_t *ret) {
  double dx = (x - s->x) / s->radius, dy = (y - s->y) / s->radius, r = hypot(dx, dy);
  if (r > 1) {
    memset(ret, 2, 3);
    return;
  }
  double light = (1 - 0.45 * r * r) * (1 + grain) * (1 - s->vessels[(size_t)y * s->w + x] / 255.0);
  double disc = 1 / (1 + exp((hypot(dx - 0.5, dy) - 0.12) * 60)), macula = exp(-(dx * dx + dy * dy) / 0.02) * 0.35;
  ret[0] = byte((205 + 45 * disc) * light * (1 - macula / 2));
  ret[1] = byte((105 + 110 * disc) * light * (1 - macula));
  ret[2] = byte((48 + 90 * disc) * light * (1 - macula));
}

struct pixels pixels_fundus(uint32_t w, uint32_t h, unsigned across, unsigned seed) {
  struct scene s = {w, h, seed * 2654435761u + 1, w / 2.0, h / 2.0, (w < h ? w : h) * across / 2000.0, calloc(w, h)};
  struct pixels p = {w, h, malloc((size_t)w * h * 3)};
  must(s.vessels && p.at);
  for (int i = 0; i < 8; i++)
    vessel(&s, s.x + s.radius * 0.5, s.y, i * 0.785 + 0.3 * chance(&s.state), i < 4 ? 1.2 : -1.2,
           s.radius * (0.012 + 0.012 * chance(&s.state)), 0);
  double coarse[32][32];
  for (int i = 0; i < 32 * 32; i++)
    coarse[i / 32][i % 32] = (chance(&s.state) - 0.5) * 0.12;
  for (uint32_t y = 0; y < h; y++)
    for (uint32_t x = 0; x < w; x++) {
      double gx = x * 30.99 / w, gy = y * 30.99 / h, fx = gx - (int)gx, fy = gy - (int)gy;
      const double *up = &coarse[(int)gy][(int)gx], *down = &coarse[(int)gy + 1][(int)gx];
      double grain = (up[0] * (1 - fx) + up[1] * fx) * (1 - fy) + (down[0] * (1 - fx) + down[1] * fx) * fy;
      colour(&s, x, y, grain, p.at + ((size_t)y * w + x) * 3);
    }
  free(s.vessels);
  return p;
}

static void blur_line(uint8_t *at, size_t n, size_t step, unsigned radius, uint8_t *work) {
  uint32_t wide = 2 * radius + 1, sum = 0;
  for (size_t i = 0; i < n; i++)
    work[i] = at[i * step];
  for (size_t i = 0; i < wide; i++)
    sum += work[i < radius ? 0 : i - radius < n ? i - radius : n - 1];
  for (size_t i = 0; i < n; i++) {
    at[i * step] = (uint8_t)((sum + wide / 2) / wide);
    sum += work[i + radius + 1 < n ? i + radius + 1 : n - 1];
    sum -= work[i < radius ? 0 : i - radius];
  }
}

void pixels_blur(struct pixels *p, unsigned radius) {
  uint8_t *work = malloc(p->w > p->h ? p->w : p->h);
  must(work != NULL);
  for (int pass = 0; pass < 3 && radius; pass++)
    for (int c = 0; c < 3; c++) {
      for (uint32_t y = 0; y < p->h; y++)
        blur_line(p->at + (size_t)y * p->w * 3 + c, p->w, 3, radius, work);
      for (uint32_t x = 0; x < p->w; x++)
        blur_line(p->at + (size_t)x * 3 + c, p->h, (size_t)p->w * 3, radius, work);
    }
  free(work);
}

void pixels_light(struct pixels *p, unsigned percent, int add) {
  for (size_t i = 0; i < (size_t)p->w * p->h * 3; i++)
    p->at[i] = byte(p->at[i] * percent / 100.0 + add);
}

void pixels_noise(struct pixels *p, int amplitude, unsigned seed) {
  uint32_t state = seed * 2654435761u + 1;
  for (size_t i = 0; i < (size_t)p->w * p->h * 3; i++)
    p->at[i] = byte(p->at[i] + (int)(dice(&state) % (2u * (unsigned)amplitude + 1)) - amplitude);
}

/* ---- the files ---- */

struct pixels pixels_decode(const uint8_t *jpeg, size_t n) {
  struct jpeg_error_mgr errors;
  struct jpeg_decompress_struct c = {.err = jpeg_std_error(&errors)};
  jpeg_create_decompress(&c);
  jpeg_mem_src(&c, jpeg, n);
  jpeg_read_header(&c, TRUE);
  c.out_color_space = JCS_RGB;
  jpeg_start_decompress(&c);
  struct pixels p = {c.output_width, c.output_height, malloc((size_t)c.output_width * c.output_height * 3)};
  must(p.at != NULL);
  while (c.output_scanline < c.output_height) {
    JSAMPROW row = p.at + (size_t)c.output_scanline * p.w * 3;
    jpeg_read_scanlines(&c, &row, 1);
  }
  jpeg_finish_decompress(&c);
  jpeg_destroy_decompress(&c);
  return p;
}

static uint8_t grey_of(const uint8_t *rgb) {
  return (uint8_t)((77 * rgb[0] + 150 * rgb[1] + 29 * rgb[2]) >> 8);
}

void jpeg_make(const struct pixels *p, const struct jpeg_form *form, struct buf *ret) {
  struct jpeg_error_mgr errors;
  struct jpeg_compress_struct c = {.err = jpeg_std_error(&errors)};
  unsigned char *out = NULL;
  unsigned long n = 0;
  jpeg_create_compress(&c);
  jpeg_mem_dest(&c, &out, &n);
  c.image_width = p->w;
  c.image_height = p->h;
  c.input_components = form->grey ? 1 : form->cmyk ? 4 : 3;
  c.in_color_space = form->grey ? JCS_GRAYSCALE : form->cmyk ? JCS_CMYK : JCS_RGB;
  jpeg_set_defaults(&c);
  jpeg_set_quality(&c, form->quality ? form->quality : 90, TRUE);
  c.optimize_coding = form->optimised;
  c.restart_in_rows = (int)form->restart_rows;
  if (form->full_colour)
    c.comp_info[0].h_samp_factor = c.comp_info[0].v_samp_factor = 1;
  if (form->progressive)
    jpeg_simple_progression(&c);
  jpeg_start_compress(&c, TRUE);
  uint8_t *row = malloc((size_t)p->w * 4);
  must(row != NULL);
  while (c.next_scanline < c.image_height) {
    const uint8_t *from = p->at + (size_t)c.next_scanline * p->w * 3;
    for (uint32_t x = 0; x < p->w; x++, from += 3)
      if (form->grey)
        row[x] = grey_of(from);
      else if (form->cmyk)
        memcpy(row + (size_t)x * 4, (uint8_t[]){from[0], from[1], from[2], 255}, 4);
      else
        memcpy(row + (size_t)x * 3, from, 3);
    jpeg_write_scanlines(&c, &row, 1);
  }
  jpeg_finish_compress(&c);
  jpeg_destroy_compress(&c);
  must(buf_add(ret, out, n) == 0);
  free(row);
  free(out);
}

static void png_write(png_structp png, png_bytep bytes, png_size_t n) {
  must(buf_add(png_get_io_ptr(png), bytes, n) == 0);
}

static void png_flush_nothing(png_structp png) {
  (void)png;
}

void png_make(const struct pixels *p, const struct png_form *form, struct buf *ret) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
  png_infop info = png_create_info_struct(png);
  must(png && info && !setjmp(png_jmpbuf(png)));
  png_set_write_fn(png, ret, png_write, png_flush_nothing);
  int type = form->palette               ? PNG_COLOR_TYPE_PALETTE
             : form->grey && form->alpha ? PNG_COLOR_TYPE_GRAY_ALPHA
             : form->grey                ? PNG_COLOR_TYPE_GRAY
             : form->alpha               ? PNG_COLOR_TYPE_RGB_ALPHA
                                         : PNG_COLOR_TYPE_RGB;
  png_set_IHDR(png, info, p->w, p->h, form->sixteen ? 16 : 8, type,
               form->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_color palette[256];
  for (int i = 0; i < 256; i++)
    palette[i] = (png_color){(png_byte)i, (png_byte)(i / 2), (png_byte)(i / 4)};
  if (form->palette)
    png_set_PLTE(png, info, palette, 256);
  png_write_info(png, info);
  int passes = form->interlaced ? png_set_interlace_handling(png) : 1;
  uint8_t *row = malloc((size_t)p->w * 8);
  must(row != NULL);
  for (int pass = 0; pass < passes; pass++)
    for (uint32_t y = 0; y < p->h; y++) {
      uint8_t *to = row;
      for (uint32_t x = 0; x < p->w; x++) {
        const uint8_t *from = p->at + ((size_t)y * p->w + x) * 3;
        int n = form->grey ? 1 : form->palette ? 1 : 3;
        for (int c = 0; c < n + form->alpha; c++) {
          *to++ = c == n ? 255 : form->palette ? from[0] : form->grey ? grey_of(from) : from[c];
          if (form->sixteen)
            *to++ = 0;
        }
      }
      png_write_row(png, row);
    }
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  free(row);
}
