#include "live.h"

#include "print.h"
#include "str.h"
#include "wall.h"
#include <asalee/dec.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#define DRAW_US 100000 /* ten drawings a second */
#define LABEL "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 -"
#define PROGRESS_US 1000000 /* in a pipe, one line a second */

/* ---- the trace ---------------------------------------------------------------------------------------------- */

static const json_t *lead(const json_t *preview) {
  const json_t *channels = json_object_get(preview, "channels");
  for (size_t i = 0; i < json_array_size(channels); i++) {
    const char *code = json_text(json_array_get(channels, i), "code");
    if (code && !strcmp(code, "lead_ii"))
      return json_array_get(channels, i);
  }
  return json_array_get(channels, 0); /* an act without lead II: its first channel */
}

/* One millivolt in the channel's own numbers; 1 when the unit is not known. */
static int32_t millivolt(const json_t *preview) {
  const char *scale = json_text(preview, "scale"), *unit = json_text(preview, "unit");
  struct dec d;
  if (!scale || !unit || strcmp(unit, "uV") != 0 || dec_parse(scale, &d) < 0 || d.mantissa <= 0)
    return 1;
  int64_t n = 1000;
  for (int e = d.exponent; e < 0 && n < INT32_MAX; e++)
    n *= 10;
  for (int e = d.exponent; e > 0 && n > 0; e--)
    n /= 10;
  n /= d.mantissa;
  return n < 1 ? 1 : n > INT16_MAX ? INT16_MAX : (int32_t)n;
}

static void trace_advance(struct trace *t, uint64_t column) {
  uint64_t first = column - t->column > TRACE_COLUMNS ? column - TRACE_COLUMNS : t->column;
  for (uint64_t c = first + 1; c <= column; c++)
    t->has[c % TRACE_COLUMNS] = false;
  t->column = column;
}

static void trace_value(struct trace *t, uint64_t column, int32_t value) {
  size_t at = column % TRACE_COLUMNS;
  if (column < t->column)
    return;
  if (column > t->column)
    trace_advance(t, column);
  t->low[at] = !t->has[at] || value < t->low[at] ? value : t->low[at];
  t->high[at] = !t->has[at] || value > t->high[at] ? value : t->high[at];
  t->has[at] = true;
}

void trace_add(struct trace *t, const json_t *preview) {
  int64_t first, rate;
  const json_t *channel = lead(preview), *values = json_object_get(channel, "values");
  if (json_int(preview, "first", 0, UINT32_MAX, &first) < 0 || json_int(preview, "rate", 1, 1000000, &rate) < 0 ||
      !json_is_array(values))
    return;
  const char *label = json_text(channel, "label");
  if (!label || strspn(label, LABEL) != strlen(label) || !str_copy(t->label, sizeof t->label, label))
    str_copy(t->label, sizeof t->label, "signal");
  t->floor = millivolt(preview);
  for (size_t i = 0; i < json_array_size(values); i++) {
    uint64_t sample = (uint64_t)first + i;
    if (t->started && sample < t->next)
      continue; /* seen before the stream was taken up again */
    t->started = true;
    t->next = sample + 1;
    const json_t *value = json_array_get(values, i);
    json_int_t v = json_integer_value(value);
    uint64_t column = sample * 1000 / ((uint64_t)rate * TRACE_COLUMN_MS);
    if (json_is_integer(value) && v >= -(1 << 24) && v <= 1 << 24)
      trace_value(t, column, (int32_t)v);
    else if (column > t->column)
      trace_advance(t, column);
  }
}

int trace_draw(const struct trace *t, size_t width, struct buf *b) {
  /* Dots of a braille character, from the lowest row up, left and right. */
  static const uint8_t dots[2][4] = {{0x40, 0x04, 0x02, 0x01}, {0x80, 0x20, 0x10, 0x08}};
  width = width > TRACE_COLUMNS / 2 ? TRACE_COLUMNS / 2 : width;
  int64_t low = INT32_MAX, high = INT32_MIN, n = (int64_t)(2 * width), newest = (int64_t)t->column;
  /* Pairs of columns stay in one character, so that the trace moves by whole characters and does not shimmer. */
  int64_t begin = (newest | 1) + 1 - n;
  for (int64_t c = begin; c <= newest; c++) {
    size_t at = (size_t)(c < 0 ? 0 : c) % TRACE_COLUMNS;
    if (c < 0 || !t->has[at])
      continue;
    low = t->low[at] < low ? t->low[at] : low;
    high = t->high[at] > high ? t->high[at] : high;
  }
  int64_t span = high - low + 1;
  if (high >= low && span < t->floor) {
    low -= (t->floor - span) / 2;
    span = t->floor;
  }
  for (size_t i = 0; i < width; i++) {
    uint8_t cell = 0;
    for (int side = 0; side < 2; side++) {
      int64_t c = begin + (int64_t)(2 * i) + side;
      size_t at = (size_t)(c < 0 ? 0 : c) % TRACE_COLUMNS;
      if (c < 0 || c > newest || !t->has[at])
        continue;
      int64_t bottom = (t->low[at] - low) * 4 / span, top = (t->high[at] - low) * 4 / span;
      for (int64_t row = bottom < 0 ? 0 : bottom; row <= top && row < 4; row++)
        cell |= dots[side][row];
    }
    buf_add(b, (uint8_t[]){0xe2, (uint8_t)(0xa0 | cell >> 6), (uint8_t)(0x80 | (cell & 0x3f))}, 3);
  }
  return b->err;
}

/* ---- the lines ---------------------------------------------------------------------------------------------- */

void live_init(struct live *l, FILE *out, bool tty) {
  *l = (struct live){.out = out, .tty = tty, .told = -1, .total = 0};
}

static size_t live_width(const struct live *l) {
  struct winsize size;
  int fd = fileno(l->out);
  size_t width = fd >= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
  return width < 24 ? 24 : width > 400 ? 400 : width;
}

static int64_t percent(const struct live *l) {
  if (l->total <= 0)
    return 0;
  return l->done >= l->total ? 100 : l->done * 100 / l->total;
}

/* One line of the drawing, cut to the terminal: a line that wraps would spoil the next drawing. */
static void draw_line(struct live *l, const char *label, const char *text, size_t width) {
  char line[LIVE_TEXT + 64];
  snprintf(line, sizeof line, "%s%s", label, text);
  size_t most = width - 1;
  bool cut = text_width(line) > most;
  fprintf(l->out, "\033[2K%.*s%s\n", (int)text_prefix(line, cut ? most - 1 : most), line, cut ? "…" : "");
}

static void draw_progress(struct live *l, size_t width) {
  size_t room = width > 60 ? 40 : width - 20;
  size_t full = (size_t)percent(l) * room / 100;
  fputs("\033[2KProgrès     ", l->out);
  for (size_t i = 0; i < room; i++)
    fputs(i < full ? "█" : "░", l->out);
  fprintf(l->out, " %3d %%\n", (int)percent(l));
}

static void draw_trace(struct live *l, size_t width) {
  _buf_cleanup_ struct buf b = BUF_INIT(4096);
  trace_draw(&l->trace, width - 14, &b);
  const char *trace = buf_cstr(&b);
  size_t label = text_width(l->trace.label);
  fprintf(l->out, "\033[2K%s%*s%s\n", l->trace.label, (int)(label < 12 ? 12 - label : 1), "", trace ? trace : "");
}

static void live_erase(struct live *l) {
  if (l->drawn)
    fprintf(l->out, "\033[%uA\r\033[J", l->drawn);
  l->drawn = 0;
}

static void live_draw_now(struct live *l) {
  size_t width = live_width(l);
  if (l->drawn)
    fprintf(l->out, "\033[%uA\r", l->drawn);
  draw_progress(l, width);
  l->drawn = 1;
  if (l->file[0]) {
    draw_line(l, "Fichier     ", l->file, width);
    l->drawn = 2;
  }
  if (l->note[0] || l->contacts[0] ||
      l->trace.started) { /* an instrument that shows a trace, or a word about the rest */
    draw_line(l, "Électrodes  ", l->note[0] ? l->note : l->contacts[0] ? l->contacts : "—", width);
    draw_trace(l, width);
    l->drawn += 2;
  }
  fflush(l->out);
  l->stale = false;
  l->drawn_us = monotonic_us();
}

void live_draw(struct live *l) {
  if (l->tty && l->stale && monotonic_us() - l->drawn_us >= DRAW_US)
    live_draw_now(l);
}

void live_end(struct live *l) {
  live_erase(l);
  fflush(l->out);
}

void live_print(struct live *l, const char *format, ...) {
  char text[4096];
  va_list ap;
  va_start(ap, format);
  vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  bool again = l->drawn > 0;
  live_erase(l);
  print_text(l->out, text);
  fputc('\n', l->out);
  if (again)
    live_draw_now(l);
  fflush(l->out);
}

void live_progress(struct live *l, const json_t *data) {
  int64_t done, total;
  if (json_int(data, "done", 0, INT32_MAX, &done) < 0 || json_int(data, "total", 0, INT32_MAX, &total) < 0)
    return;
  l->done = done;
  l->total = total;
  l->stale = true;
  uint64_t now = monotonic_us();
  bool last = total > 0 && done >= total;
  if (l->tty || percent(l) == l->told || (l->told >= 0 && now - l->progress_us < PROGRESS_US && !last))
    return;
  l->told = percent(l);
  l->progress_us = now;
  live_print(l, "Progrès : %d %%", (int)l->told);
}

void live_file(struct live *l, int64_t done, int64_t total, const char *text) {
  _buf_cleanup_ struct buf clean = BUF_INIT(1u << 16);
  clean_text(&clean, text, strlen(text), false);
  const char *line = buf_cstr(&clean);
  snprintf(l->file, sizeof l->file, "%s", line ? line : "?");
  l->done = done;
  l->total = total;
  l->stale = true;
  live_draw(l);
}

/* "C1, C4" */
static void join(struct buf *b, const json_t *texts, const char *between) {
  for (size_t i = 0; i < json_array_size(texts); i++) {
    const char *text = json_string_value(json_array_get(texts, i));
    if (text && b->len)
      buf_text(b, between);
    if (text)
      buf_text(b, text);
  }
}

void live_contacts(struct live *l, const json_t *data) {
  const json_t *known = json_object_get(data, "known"), *off = json_object_get(data, "off");
  const json_t *texts = json_object_get(data, "text");
  _buf_cleanup_ struct buf raw = BUF_INIT(65536);
  _buf_cleanup_ struct buf clean = BUF_INIT(65536);
  if (json_array_size(off) > 1) { /* all the codes first, as the sentences may not fit */
    join(&raw, off, ", ");
    buf_text(&raw, " : ");
    raw.len = raw.err ? 0 : raw.len;
    _buf_cleanup_ struct buf sentences = BUF_INIT(65536);
    join(&sentences, texts, " ");
    if (buf_cstr(&sentences))
      buf_text(&raw, buf_cstr(&sentences));
  } else if (json_array_size(off)) {
    join(&raw, json_array_size(texts) ? texts : off, " ");
  } else {
    buf_text(&raw, json_array_size(known) ? "toutes en contact" : "contact inconnu");
  }
  const char *text = buf_cstr(&raw);
  if (text)
    clean_text(&clean, text, strlen(text), false);
  text = buf_cstr(&clean);
  char line[LIVE_TEXT];
  snprintf(line, sizeof line, "%s", text ? text : "?");
  if (!strcmp(line, l->contacts))
    return;
  snprintf(l->contacts, sizeof l->contacts, "%s", line);
  l->stale = true;
  if (!l->tty)
    live_print(l, "Électrodes : %s", line);
}

void live_preview(struct live *l, const json_t *data) {
  if (!l->tty)
    return;
  trace_add(&l->trace, data);
  l->stale = true;
}

void live_note(struct live *l, const char *text) {
  snprintf(l->note, sizeof l->note, "%s", text ? text : "");
  l->stale = true;
}
