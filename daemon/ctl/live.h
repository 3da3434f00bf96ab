/* What a person sees while an instrument records, or files are sent: on a terminal three lines that are drawn over
 * (progress, electrodes, a trace of lead II), in a pipe plain lines. Technical only: samples and contacts, never a
 * conclusion. */
#ifndef ASALEED_CTL_LIVE_H
#define ASALEED_CTL_LIVE_H

#include "buf.h"
#include "json.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define TRACE_COLUMNS 512u /* dots across, two in a character */
#define TRACE_COLUMN_MS 25u
#define LIVE_TEXT 1024

/* The last seconds of one channel: the least and greatest value of each column of dots. */
struct trace {
  bool started;
  uint64_t next;   /* sample that is expected */
  uint64_t column; /* the newest, counted from the channel's first sample */
  int32_t low[TRACE_COLUMNS], high[TRACE_COLUMNS];
  bool has[TRACE_COLUMNS];
  int32_t floor; /* the least span that is drawn over the whole height: noise shall stay small */
  char label[16];
};
/* Takes a preview event. */
void trace_add(struct trace *t, const json_t *preview);
/* Appends `width` braille characters: the last width * 50 ms, the newest at the right. */
int trace_draw(const struct trace *t, size_t width, struct buf *b);

struct live {
  FILE *out;
  bool tty;
  unsigned drawn; /* lines on the terminal that the next drawing goes over */
  bool stale;     /* something changed since */
  uint64_t drawn_us, progress_us;
  int64_t done, total, told; /* percent told in a pipe; -1 for none */
  char contacts[LIVE_TEXT];
  char note[LIVE_TEXT]; /* instead of the contacts: "annulation…" */
  char file[LIVE_TEXT]; /* the one that is on its way; "" for none */
  struct trace trace;
};

void live_init(struct live *l, FILE *out, bool tty);
void live_progress(struct live *l, const json_t *data);
void live_file(struct live *l, int64_t done, int64_t total, const char *text); /* of all of them; on a terminal */
void live_contacts(struct live *l, const json_t *data);
void live_preview(struct live *l, const json_t *data);
void live_note(struct live *l, const char *text); /* NULL takes it away */
/* A line that stays, above the others. */
void live_print(struct live *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
void live_draw(struct live *l); /* when something changed, and not too often */
void live_end(struct live *l);  /* takes the drawn lines away */

#endif
