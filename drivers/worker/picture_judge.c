#include "picture_judge.h"

#include "buf.h"
#include "str.h"
#include <setjmp.h>
#include <stdio.h> /* jpeglib.h wants FILE and size_t to be there */
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

#define PREVIEW_QUALITY 85
#define PREVIEW_BYTES_MAX (16u << 20)
#define DECODER_MEMORY (400l << 20) /* bytes: a progressive picture's coefficients are kept whole */
#define SCANS 10                    /* over the most pixels; more over fewer: scans cost time, not bytes */
#define CHUNK 16384
#define MEASURE_EDGE 1024u /* of the grid that is measured on */

/* ---- averages over areas ---- */

/* Makes rows of to_w values out of rows of from_w (and to_h out of from_h), each the exact mean of the area it covers;
 * never more than there were. */
struct shrink {
  uint32_t from_w, from_h, to_w, to_h;
  unsigned channels;
  uint32_t row;   /* of the rows to come */
  uint64_t *sums; /* owned: the row that is being made, then the one row that was added last */
};

static int shrink_init(struct shrink *s, uint32_t w, uint32_t h, unsigned channels, uint32_t edge) {
  uint32_t longer = w > h ? w : h;
  *s = (struct shrink){.from_w = w, .from_h = h, .to_w = w, .to_h = h, .channels = channels};
  if (longer > edge) {
    s->to_w = (uint32_t)(((uint64_t)w * edge + longer / 2) / longer);
    s->to_h = (uint32_t)(((uint64_t)h * edge + longer / 2) / longer);
    s->to_w += s->to_w == 0;
    s->to_h += s->to_h == 0;
  }
  s->sums = calloc(2 * (size_t)s->to_w * channels, sizeof *s->sums);
  return s->sums ? 0 : -ENOMEM;
}

static void shrink_finish(struct shrink *s) {
  free(s->sums);
  s->sums = NULL;
}

/* The row's means across, times from_w. A value covers to_w of the units that a mean is from_w wide in. */
static void shrink_across(const struct shrink *s, const uint16_t *row, uint64_t *ret) {
  memset(ret, 0, (size_t)s->to_w * s->channels * sizeof *ret);
  uint32_t filled = 0;
  for (uint32_t x = 0; x < s->from_w; x++, row += s->channels) {
    uint32_t room = s->from_w - filled, here = s->to_w < room ? s->to_w : room;
    for (unsigned c = 0; c < s->channels; c++)
      ret[c] += (uint64_t)row[c] * here;
    filled += here;
    if (filled < s->from_w)
      continue;
    ret += s->channels;
    filled = s->to_w - here;
    for (unsigned c = 0; filled && c < s->channels; c++)
      ret[c] += (uint64_t)row[c] * filled;
  }
}

/* True when that row completes one: it is in `ret`. */
static bool shrink_add(struct shrink *s, const uint16_t *row, uint16_t *ret) {
  size_t n = (size_t)s->to_w * s->channels;
  if (s->to_w == s->from_w && s->to_h == s->from_h) {
    memcpy(ret, row, n * sizeof *ret);
    return true;
  }
  uint64_t *across = s->sums + n, area = (uint64_t)s->from_w * s->from_h;
  uint32_t filled = (uint32_t)((uint64_t)s->row++ * s->to_h % s->from_h);
  uint32_t room = s->from_h - filled, here = s->to_h < room ? s->to_h : room;
  shrink_across(s, row, across);
  for (size_t i = 0; i < n; i++)
    s->sums[i] += across[i] * here;
  if (filled + here < s->from_h)
    return false;
  for (size_t i = 0; i < n; i++) {
    ret[i] = (uint16_t)((s->sums[i] + area / 2) / area);
    s->sums[i] = across[i] * (s->to_h - here);
  }
  return true;
}

/* A grid of luminances in 1/256 of a step. */
struct grid {
  uint32_t w, h;
  uint16_t *at; /* owned */
};

static int grid_init(struct grid *g, uint32_t w, uint32_t h) {
  *g = (struct grid){w, h, malloc((size_t)w * h * sizeof *g->at)};
  return g->at ? 0 : -ENOMEM;
}

static void grid_finish(struct grid *g) {
  free(g->at);
  g->at = NULL;
}

/* A part of a grid, its longer edge at most so long. */
static int grid_shrink(const struct grid *g, uint32_t x, uint32_t y, uint32_t w, uint32_t h, uint32_t edge,
                       struct grid *ret) {
  struct shrink s;
  int r = shrink_init(&s, w, h, 1, edge);
  if (r == 0)
    r = grid_init(ret, s.to_w, s.to_h);
  uint16_t *to = r == 0 ? ret->at : NULL;
  for (uint32_t i = 0; i < h && to; i++)
    if (shrink_add(&s, g->at + (size_t)(y + i) * g->w + x, to))
      to += s.to_w;
  shrink_finish(&s);
  return r;
}

/* ---- judging ---- */

#define FRAME_CELLS 128u /* of the longer edge of the frame, to find the disc on */
#define DISC_EDGE 512u   /* of the disc when it is measured: a field of 45 degrees, whatever the camera */
#define LEVELS 4         /* of detail, each half as fine as the one before */

/* The hints, in thousandths where they are compared with a share. Chosen on pictures that tests/unit/picture_make.c
 * makes and on a photograph (test_picture_judge.c prints the table): in focus 0.38 to 0.59, with much noise too;
 * blurred by 0.35 % of the width 0.09 to 0.24, by 0.5 % 0.04 to 0.15, by 1 % at most 0.12. */
#define BLURRED 200
#define FOCUS_MARGIN 5             /* cells within the disc's edge, which is detail of no interest */
#define FOCUS_CELLS_MIN 100        /* at the coarsest level; with less there is nothing to tell */
#define FINE_FLOOR (3 * 256 * 256) /* of energy: rounding and JPEG alone make that much */
#define LIT_ENOUGH 50              /* darker, and it is the light that is wrong; too bright likewise */
#define LIGHT_MARGIN 1
#define DARK_LUMINANCE 20u
#define DARK_MEAN 150
#define DARK_SHARE 250
#define BRIGHT_LUMINANCE 245u
#define BRIGHT_MEAN 800
#define BRIGHT_SHARE 100

struct disc {
  uint32_t w, h;                   /* of the frame, in cells */
  uint32_t left, top, right, past; /* what it covers: columns left..right-1, rows top..past-1 */
  bool in[FRAME_CELLS][FRAME_CELLS];
};

/* Joined cells: marks those of the largest group, returns their number. */
static uint32_t disc_largest(struct disc *d) {
  static const int8_t step[4][2] = {{0, 1}, {1, 0}, {0, -1}, {-1, 0}};
  static uint16_t stack[FRAME_CELLS * FRAME_CELLS];
  static uint16_t group[FRAME_CELLS][FRAME_CELLS];
  uint32_t largest = 0, groups = 0, keep = 0;
  memset(group, 0, sizeof group);
  for (uint32_t y = 0; y < d->h; y++)
    for (uint32_t x = 0; x < d->w; x++) {
      if (!d->in[y][x] || group[y][x])
        continue;
      uint32_t size = 0, depth = 0;
      group[y][x] = (uint16_t)++groups;
      stack[depth++] = (uint16_t)(y * FRAME_CELLS + x);
      while (depth) {
        int cell = stack[--depth];
        size++;
        for (int i = 0; i < 4; i++) {
          int sy = cell / (int)FRAME_CELLS + step[i][0], sx = cell % (int)FRAME_CELLS + step[i][1];
          if (sy < 0 || sx < 0 || sy >= (int)d->h || sx >= (int)d->w || !d->in[sy][sx] || group[sy][sx])
            continue;
          group[sy][sx] = (uint16_t)groups;
          stack[depth++] = (uint16_t)(sy * (int)FRAME_CELLS + sx);
        }
      }
      if (size > largest)
        largest = size, keep = groups;
    }
  for (uint32_t y = 0; y < d->h; y++)
    for (uint32_t x = 0; x < d->w; x++)
      d->in[y][x] = d->in[y][x] && group[y][x] == keep;
  return largest;
}

/* Fills what lies between marked cells both across and down: a dark place in the disc belongs to it. */
static void disc_fill(struct disc *d) {
  uint32_t from_x[FRAME_CELLS], to_x[FRAME_CELLS], from_y[FRAME_CELLS], to_y[FRAME_CELLS];
  for (uint32_t i = 0; i < FRAME_CELLS; i++)
    from_x[i] = from_y[i] = FRAME_CELLS, to_x[i] = to_y[i] = 0;
  d->left = d->w, d->top = d->h, d->right = d->past = 0;
  for (uint32_t y = 0; y < d->h; y++)
    for (uint32_t x = 0; x < d->w; x++)
      if (d->in[y][x]) {
        from_x[y] = x < from_x[y] ? x : from_x[y];
        from_y[x] = y < from_y[x] ? y : from_y[x];
        to_x[y] = x + 1, to_y[x] = y + 1;
        d->left = x < d->left ? x : d->left;
        d->top = y < d->top ? y : d->top;
        d->right = x + 1 > d->right ? x + 1 : d->right;
        d->past = y + 1;
      }
  for (uint32_t y = 0; y < d->h; y++)
    for (uint32_t x = 0; x < d->w; x++)
      d->in[y][x] = x >= from_x[y] && x < to_x[y] && y >= from_y[x] && y < to_y[x];
}

/* The place (x, y) of a grid that covers the disc lies in it, and so many cells around it too. */
static bool disc_has(const struct disc *d, const struct grid *g, uint32_t x, uint32_t y, int margin) {
  int near = (margin * 7 + 5) / 10;
  int cx = (int)(d->left + x * (d->right - d->left) / g->w), cy = (int)(d->top + y * (d->past - d->top) / g->h);
  const int around[9][2] = {{0, 0},       {margin, 0},   {-margin, 0},  {0, margin},   {0, -margin},
                            {near, near}, {near, -near}, {-near, near}, {-near, -near}};
  for (int i = 0; i < 9; i++) {
    int ax = cx + around[i][0], ay = cy + around[i][1];
    if (ax < 0 || ay < 0 || ax >= (int)d->w || ay >= (int)d->h || !d->in[ay][ax])
      return false;
  }
  return true;
}

/* The illuminated disc: what is brighter than a sixth of the bright parts, as far as it is joined. */
static int disc_find(const struct grid *g, struct disc *ret) {
  struct grid cells = {0};
  int r = grid_shrink(g, 0, 0, g->w, g->h, FRAME_CELLS, &cells);
  if (r < 0)
    return r;
  uint32_t n = cells.w * cells.h, histogram[256] = {0}, bright = 255;
  for (uint32_t i = 0; i < n; i++)
    histogram[cells.at[i] >> 8]++;
  for (uint32_t above = histogram[255]; bright && above < n / 20; above += histogram[bright])
    bright--;
  uint32_t limit = bright * 256 / 6 > 6 * 256 ? bright * 256 / 6 : 6 * 256;
  *ret = (struct disc){.w = cells.w, .h = cells.h};
  for (uint32_t i = 0; i < n; i++)
    ret->in[i / cells.w][i % cells.w] = cells.at[i] > limit;
  if (disc_largest(ret) <= n / 20) /* next to nothing is lit: then it all is to be judged */
    for (uint32_t i = 0; i < n; i++)
      ret->in[i / cells.w][i % cells.w] = true;
  disc_fill(ret);
  grid_finish(&cells);
  return 0;
}

static struct dec share(uint64_t of, uint64_t whole) {
  return (struct dec){whole ? (int32_t)((of * 1000 + whole / 2) / whole) : 0, -3};
}

struct detail {
  uint64_t energy; /* mean square of the Laplacian */
  uint64_t noise;  /* mean square of the difference of two Laplacians, to which edges add little (Immerkaer, 1996) */
  uint32_t n;
};

static struct detail detail_of(const struct grid *g, const struct disc *d) {
  struct detail sum = {0};
  for (uint32_t y = 1; y + 1 < g->h; y++)
    for (uint32_t x = 1; x + 1 < g->w; x++) {
      if (!disc_has(d, g, x, y, FOCUS_MARGIN))
        continue;
      const uint16_t *at = g->at + (size_t)y * g->w + x, *up = at - g->w, *down = at + g->w;
      int64_t cross = up[0] + down[0] + at[-1] + at[1], corners = up[-1] + up[1] + down[-1] + down[1];
      int64_t laplacian = 4 * at[0] - cross, difference = corners - 2 * cross + 4 * at[0];
      sum.energy += (uint64_t)(laplacian * laplacian);
      sum.noise += (uint64_t)(difference * difference);
      sum.n++;
    }
  if (sum.n)
    sum.energy /= sum.n, sum.noise /= sum.n;
  return sum;
}

static uint64_t less(uint64_t a, uint64_t b) {
  return a > b ? a - b : 0;
}

/* The share of the finer of two neighbouring octaves of detail. A picture in focus has as much of the one as of the
 * other, whatever its contrast; out of focus the finer one goes first. Both are coarse: 1/128 and 1/64 of the disc,
 * the larger vessels, where grain and the blocks of JPEG hardly reach. What does is told from the octave above, where
 * JPEG has left it as it was, and a picture has less that is like it: at most a third of that noise is left one octave
 * below, and a twentieth two below (measured on blurred scenes with much noise, 600 to 3000 pixels wide). */
static int judge_focus(const struct grid *work, const struct disc *d, struct picture_judgement *ret) {
  struct detail level[LEVELS] = {{0}};
  struct grid finer = *work, coarser = {0};
  int r = 0;
  for (int i = 0; i < LEVELS && r == 0; i++) {
    level[i] = detail_of(&finer, d);
    if (i + 1 < LEVELS)
      r = grid_shrink(&finer, 0, 0, finer.w, finer.h, ((finer.w > finer.h ? finer.w : finer.h) + 1) / 2, &coarser);
    if (i)
      grid_finish(&finer);
    finer = coarser;
  }
  uint64_t fine = less(level[2].energy, level[1].noise / 3 + FINE_FLOOR);
  uint64_t coarse = less(level[3].energy, level[1].noise / 20);
  bool told = level[3].n >= FOCUS_CELLS_MIN;
  ret->focus = share(told ? fine : 0, fine + coarse);
  ret->is_blurred = told && ret->focus.mantissa < BLURRED && ret->brightness.mantissa >= LIT_ENOUGH && !ret->is_bright;
  return r;
}

static void judge_light(const struct grid *work, const struct disc *d, struct picture_judgement *ret) {
  uint64_t n = 0, sum = 0, dark = 0, bright = 0;
  for (int margin = LIGHT_MARGIN; n == 0 && margin >= 0; margin--) /* what is all margin is judged with it */
    for (uint32_t y = 0; y < work->h; y++)
      for (uint32_t x = 0; x < work->w; x++) {
        if (!disc_has(d, work, x, y, margin))
          continue;
        uint16_t value = work->at[(size_t)y * work->w + x];
        sum += value;
        dark += value < DARK_LUMINANCE << 8;
        bright += value >= BRIGHT_LUMINANCE << 8;
        n++;
      }
  ret->brightness = share(sum, n * 255 * 256);
  ret->dark = share(dark, n);
  ret->bright = share(bright, n);
  ret->is_dark = ret->brightness.mantissa < DARK_MEAN || ret->dark.mantissa > DARK_SHARE;
  ret->is_bright = ret->brightness.mantissa > BRIGHT_MEAN || ret->bright.mantissa > BRIGHT_SHARE;
}

static int judge(const struct grid *g, struct picture_judgement *ret) {
  static struct disc disc;
  int r = disc_find(g, &disc);
  if (r < 0)
    return r;
  struct grid work = {0};
  uint32_t x = disc.left * g->w / disc.w, y = disc.top * g->h / disc.h;
  uint32_t w = disc.right * g->w / disc.w - x, h = disc.past * g->h / disc.h - y;
  r = grid_shrink(g, x, y, w, h, DISC_EDGE, &work);
  if (r < 0)
    return r;
  judge_light(&work, &disc, ret);
  r = judge_focus(&work, &disc, ret);
  grid_finish(&work);
  return r;
}

/* ---- the libraries ---- */

/* A decoder and an encoder, and where they go when they fail. */
struct job {
  jmp_buf failed;
  int err;           /* then */
  unsigned warnings; /* of the decoder */
  bool starved;      /* libpng found no memory */
  const uint8_t *bytes;
  size_t left;

  bool is_png;
  struct jpeg_decompress_struct in;
  struct jpeg_error_mgr in_errors;
  struct jpeg_progress_mgr in_progress;
  uint32_t edge;       /* of what comes out, at most */
  uint64_t pixels_max; /* of what goes in */
  png_structp png;
  png_infop png_info;

  uint32_t w, h; /* of the rows as the decoder gives them */
  unsigned channels;
  J_COLOR_SPACE colour;

  struct jpeg_compress_struct out;
  struct jpeg_error_mgr out_errors;
  struct jpeg_destination_mgr out_to;
  int quality;
  uint32_t out_w, out_h;
  struct buf file;

  uint8_t *row; /* to read into, to write from */
  uint8_t chunk[CHUNK];
};

/* Runs a step that a library may leave by a jump. What changes in between is in the job alone. */
static int guarded(struct job *job, int (*step)(struct job *job)) {
  if (setjmp(job->failed))
    return job->err;
  return step(job);
}

_Noreturn static void fail(struct job *job, int err) {
  job->err = err;
  longjmp(job->failed, 1);
}

_Noreturn static void jpeg_failed(j_common_ptr c) {
  switch (c->err->msg_code) {
  case JERR_OUT_OF_MEMORY:
    fail(c->client_data, -ENOMEM);
  case JERR_NO_BACKING_STORE: /* more than DECODER_MEMORY */
  case JERR_ARITH_NOTIMPL:
  case JERR_BAD_PRECISION:
  case JERR_CCIR601_NOTIMPL:
  case JERR_COMPONENT_COUNT:
  case JERR_CONVERSION_NOTIMPL:
  case JERR_FRACT_SAMPLE_NOTIMPL:
  case JERR_IMAGE_TOO_BIG:
  case JERR_NOTIMPL:
  case JERR_NOT_COMPILED:
  case JERR_SOF_UNSUPPORTED:
  case JERR_WIDTH_OVERFLOW:
    fail(c->client_data, -ENOTSUP);
  default:
    fail(c->client_data, -EBADMSG);
  }
}

static void jpeg_message(j_common_ptr c, int level) {
  struct job *job = c->client_data;
  job->warnings += level < 0 && job->warnings < UINT32_MAX;
}

static void jpeg_silent(j_common_ptr c) {
  (void)c;
}

static struct jpeg_error_mgr *jpeg_errors(struct jpeg_error_mgr *errors) {
  jpeg_std_error(errors);
  errors->error_exit = jpeg_failed;
  errors->emit_message = jpeg_message;
  errors->output_message = jpeg_silent;
  return errors;
}

static void jpeg_worth(j_common_ptr c) {
  struct job *job = c->client_data;
  if ((uint64_t)job->in.input_scan_number * job->in.image_width * job->in.image_height > SCANS * job->pixels_max)
    fail(job, -ENOTSUP);
}

static int jpeg_open(struct job *job) {
  struct jpeg_decompress_struct *in = &job->in;
  jpeg_create_decompress(in);
  in->mem->max_memory_to_use = DECODER_MEMORY;
  job->in_progress.progress_monitor = jpeg_worth;
  in->progress = &job->in_progress;
  jpeg_mem_src(in, job->bytes, job->left);
  jpeg_read_header(in, TRUE);
  if ((uint64_t)in->image_width * in->image_height > job->pixels_max)
    return -ENOTSUP;
  /* Where it can, what is measured and shown is what the file has, without a turn through RGB. */
  if (in->jpeg_color_space == JCS_GRAYSCALE || in->jpeg_color_space == JCS_YCbCr)
    in->out_color_space = in->jpeg_color_space;
  else if (in->jpeg_color_space != JCS_RGB)
    return -ENOTSUP;
  uint32_t longer = in->image_width > in->image_height ? in->image_width : in->image_height;
  in->scale_denom = 8;
  for (in->scale_num = 8; in->scale_num > 1 && ((uint64_t)longer * in->scale_num + 7) / 8 > job->edge;)
    in->scale_num--;
  in->dct_method = JDCT_ISLOW;
  jpeg_start_decompress(in);
  job->w = in->output_width;
  job->h = in->output_height;
  job->channels = (unsigned)in->output_components;
  job->colour = in->out_color_space;
  return 0;
}

_Noreturn static void png_failed(png_structp png, png_const_charp why) {
  struct job *job = png_get_error_ptr(png);
  (void)why;
  fail(job, job->starved ? -ENOMEM : -EBADMSG);
}

static void png_warned(png_structp png, png_const_charp why) {
  struct job *job = png_get_error_ptr(png);
  (void)why;
  job->warnings += job->warnings < UINT32_MAX;
}

static png_voidp png_memory(png_structp png, png_alloc_size_t n) {
  struct job *job = png_get_mem_ptr(png);
  void *p = malloc(n);
  job->starved = job->starved || !p;
  return p;
}

static void png_memory_free(png_structp png, png_voidp p) {
  (void)png;
  free(p);
}

static void png_take(png_structp png, png_bytep to, png_size_t n) {
  struct job *job = png_get_io_ptr(png);
  if (n > job->left)
    png_error(png, "cut");
  memcpy(to, job->bytes, n);
  job->bytes += n;
  job->left -= n;
}

static int png_open(struct job *job) {
  job->png =
      png_create_read_struct_2(PNG_LIBPNG_VER_STRING, job, png_failed, png_warned, job, png_memory, png_memory_free);
  job->png_info = job->png ? png_create_info_struct(job->png) : NULL;
  if (!job->png_info)
    return -ENOMEM;
  png_structp png = job->png;
  png_set_read_fn(png, job, png_take);
  png_set_user_limits(png, PICTURE_EDGE_MAX, PICTURE_EDGE_MAX);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1); /* profiles, texts, times: nothing that shows */
  png_read_info(png, job->png_info);
  job->w = png_get_image_width(png, job->png_info);
  job->h = png_get_image_height(png, job->png_info);
  if ((uint64_t)job->w * job->h > job->pixels_max || png_get_bit_depth(png, job->png_info) > 8 ||
      png_get_interlace_type(png, job->png_info) != PNG_INTERLACE_NONE)
    return -ENOTSUP;
  png_set_expand(png);
  png_set_strip_alpha(png);
  png_read_update_info(png, job->png_info);
  job->channels = png_get_channels(png, job->png_info);
  job->colour = job->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  return job->channels == 1 || job->channels == 3 ? 0 : -ENOTSUP;
}

static void out_start(j_compress_ptr c) {
  struct job *job = c->client_data;
  c->dest->next_output_byte = job->chunk;
  c->dest->free_in_buffer = sizeof job->chunk;
}

static boolean out_full(j_compress_ptr c) {
  struct job *job = c->client_data;
  if (buf_add(&job->file, job->chunk, sizeof job->chunk) < 0)
    fail(job, job->file.err);
  out_start(c);
  return TRUE;
}

static void out_end(j_compress_ptr c) {
  struct job *job = c->client_data;
  if (buf_add(&job->file, job->chunk, sizeof job->chunk - c->dest->free_in_buffer) < 0)
    fail(job, job->file.err);
}

/* ---- from file to file ---- */

static int job_open(struct job *job) {
  return job->is_png ? png_open(job) : jpeg_open(job);
}

static int job_read(struct job *job) {
  if (job->is_png)
    png_read_row(job->png, job->row, NULL);
  else
    jpeg_read_scanlines(&job->in, &job->row, 1);
  return 0;
}

static int job_start(struct job *job) {
  struct jpeg_compress_struct *out = &job->out;
  jpeg_create_compress(out);
  job->out_to = (struct jpeg_destination_mgr){
      .init_destination = out_start, .empty_output_buffer = out_full, .term_destination = out_end};
  out->dest = &job->out_to;
  out->image_width = job->out_w;
  out->image_height = job->out_h;
  out->input_components = (int)job->channels;
  out->in_color_space = job->colour;
  jpeg_set_defaults(out);
  jpeg_set_quality(out, job->quality, TRUE);
  out->dct_method = JDCT_ISLOW;
  jpeg_start_compress(out, TRUE);
  return 0;
}

static int job_write(struct job *job) {
  jpeg_write_scanlines(&job->out, &job->row, 1);
  return 0;
}

static int job_end(struct job *job) {
  jpeg_finish_compress(&job->out);
  return 0;
}

static void job_finish(struct job *job) {
  jpeg_destroy_decompress(&job->in);
  jpeg_destroy_compress(&job->out);
  png_destroy_read_struct(&job->png, &job->png_info, NULL);
  buf_finish(&job->file);
}

static void luminance(const struct job *job, const uint16_t *row, uint16_t *ret) {
  for (uint32_t x = 0; x < job->out_w; x++, row += job->channels)
    ret[x] = job->colour == JCS_RGB ? (uint16_t)((77u * row[0] + 150u * row[1] + 29u * row[2] + 128) >> 8) : row[0];
}

/* Every row: through the first shrink into the file, through both into the grid (NULL: into none). */
static int job_rows(struct job *job, struct shrink *to_file, struct shrink *to_grid, uint16_t *grid, uint8_t *rows) {
  size_t in = (size_t)job->w * job->channels, out = (size_t)job->out_w * job->channels;
  uint16_t *wide = (uint16_t *)rows, *small = wide + in, *light = small + out;
  uint8_t *read = (uint8_t *)(light + job->out_w), *write = read + in;
  bool broken = false;
  for (uint32_t y = 0; y < job->h; y++) {
    job->row = read;
    int r = broken ? 0 : guarded(job, job_read);
    if (r == -EBADMSG && y) { /* what came so far is worth showing; the rest is grey, as libjpeg has it */
      broken = true;
      job->warnings++;
      memset(read, 128, in);
      r = 0;
    }
    for (size_t i = 0; i < in; i++)
      wide[i] = (uint16_t)(read[i] << 8);
    if (r == 0 && !shrink_add(to_file, wide, small))
      continue;
    for (size_t i = 0; i < out; i++)
      write[i] = (uint8_t)((small[i] + 127) >> 8);
    job->row = write;
    if (r == 0)
      r = guarded(job, job_write);
    if (r < 0)
      return r;
    luminance(job, small, light);
    if (grid && shrink_add(to_grid, light, grid))
      grid += to_grid->to_w;
  }
  return 0;
}

/* What is remade, and what the copy may be. */
struct order {
  const uint8_t *bytes;
  size_t n;
  bool is_png;
  uint64_t pixels_max;
  uint32_t edge;
  int quality;
  size_t bytes_max;
};

/* `ret_light`, where wanted: an empty grid. */
static int remake(const struct order *order, struct picture_preview *ret, struct grid *ret_light,
                  unsigned *ret_warnings) {
  struct job job = {.bytes = order->bytes,
                    .left = order->n,
                    .is_png = order->is_png,
                    .edge = order->edge,
                    .pixels_max = order->pixels_max,
                    .quality = order->quality,
                    .file = BUF_INIT(order->bytes_max)};
  job.in.client_data = job.out.client_data = &job;
  job.in.err = jpeg_errors(&job.in_errors);
  job.out.err = jpeg_errors(&job.out_errors);
  struct shrink to_file = {0}, to_grid = {0};
  _free_cleanup_ uint8_t *rows = NULL;
  int r = guarded(&job, job_open);
  if (r == 0)
    r = shrink_init(&to_file, job.w, job.h, job.channels, order->edge);
  job.out_w = to_file.to_w;
  job.out_h = to_file.to_h;
  if (r == 0) {
    rows = malloc(((size_t)job.w + job.out_w) * job.channels * 3 + job.out_w * sizeof(uint16_t));
    r = rows ? shrink_init(&to_grid, job.out_w, job.out_h, 1, MEASURE_EDGE) : -ENOMEM;
  }
  if (r == 0 && ret_light)
    r = grid_init(ret_light, to_grid.to_w, to_grid.to_h);
  if (r == 0)
    r = guarded(&job, job_start);
  if (r == 0)
    r = job_rows(&job, &to_file, &to_grid, ret_light ? ret_light->at : NULL, rows);
  if (r == 0)
    r = guarded(&job, job_end);
  if (r == 0) {
    *ret = (struct picture_preview){.width = job.out_w, .height = job.out_h};
    ret->bytes = buf_take(&job.file, &ret->n);
    *ret_warnings = job.warnings;
  }
  shrink_finish(&to_file);
  shrink_finish(&to_grid);
  job_finish(&job);
  return r;
}

int picture_judge(const uint8_t *bytes, size_t n, const struct picture *structure, struct picture_judgement *ret,
                  struct picture_preview *ret_preview) {
  if (structure->format == PICTURE_UNKNOWN || structure->format == PICTURE_TIFF)
    return -ENOTSUP;
  struct order order = {bytes,
                        n,
                        structure->format == PICTURE_PNG,
                        PICTURE_PIXELS_MAX,
                        PICTURE_PREVIEW_EDGE,
                        PREVIEW_QUALITY,
                        PREVIEW_BYTES_MAX};
  struct grid light = {0};
  struct picture_judgement judgement = {0};
  struct picture_preview preview = {0};
  int r = remake(&order, &preview, &light, &judgement.warnings);
  if (r == 0)
    r = judge(&light, &judgement);
  grid_finish(&light);
  if (r < 0) {
    free(preview.bytes);
    return r;
  }
  *ret = judgement;
  *ret_preview = preview;
  return 0;
}

int picture_thumbnail(const uint8_t *jpeg, size_t n, uint8_t *ret, size_t max, size_t *ret_n, uint32_t *ret_width,
                      uint32_t *ret_height) {
  static const struct {
    uint32_t edge;
    int quality;
  } tries[] = {
      {PICTURE_THUMBNAIL_EDGE, 80}, {PICTURE_THUMBNAIL_EDGE, 55}, {240, 55}, {160, 60}, {160, 35}, {96, 50}, {64, 40}};
  int r = -EFBIG;
  for (size_t i = 0; i < sizeof tries / sizeof *tries && r == -EFBIG; i++) {
    struct picture_preview made;
    unsigned warnings;
    struct order order = {jpeg, n, false, PICTURE_THUMBNAIL_PIXELS, tries[i].edge, tries[i].quality, max};
    r = remake(&order, &made, NULL, &warnings);
    if (r < 0)
      continue;
    memcpy(ret, made.bytes, made.n);
    free(made.bytes);
    *ret_n = made.n;
    *ret_width = made.width;
    *ret_height = made.height;
  }
  return r;
}
