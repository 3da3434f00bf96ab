/*
 * file_maker: files as ECG recorders and cameras write them, made from nothing but options.
 *
 * A format is a row of the table in file_main.c. The engines behind the rows were written from the formats'
 * descriptions and share no code with the drivers that read them.
 */
#ifndef ASALEED_SIM_FILE_MAKER_H
#define ASALEED_SIM_FILE_MAKER_H

#include "buf.h"
#include "ecg12.h"
#include "option.h"

#include <stdbool.h>

#define FILE_OPTIONS_MAX 64u

/* As it is written into a file: nothing is checked, 31 February may be. year 0: not said. */
struct file_clock {
  unsigned year, month, day, hour, minute, second;
};

struct file_person {
  const char *family, *given, *id; /* UTF-8, NULL: not said */
  struct file_clock birth;
  char sex; /* 'M', 'F', 'O', 0: not said */
};

/* What the command line asked for. */
struct file_order {
  unsigned rate_hz, seconds, seed, noise_steps; /* rate 0: the format's own */
  bool still;                                   /* no drift */
  struct file_person person;
  struct file_clock taken;
  const char *marker; /* in every text that interprets; NULL: no such text */
  struct option options[FILE_OPTIONS_MAX];
  unsigned n_options;
};

struct file_format {
  const char *name;
  const char *help; /* a line, then one line for each option of its own, each with its end of line */
  /* Appends the file. 0 or a negative errno, why in a few words. */
  int (*make)(const struct file_order *order, struct buf *ret, char why[static 256]);
};

/* ---- for the formats ---- */

/* Which of the names the text is; -1. */
int file_word(const char *text, const char *const names[], unsigned n);
/* why = "NAME: unknown, or not with 'VALUE'"; -EINVAL. */
int file_refuse(const struct option *o, char why[static 256]);
/* The ECG that was ordered; free(). NULL: why says that it would be too long, or that there is no memory. */
struct ecg12 *file_ecg(const struct file_order *order, unsigned own_rate_hz, char why[static 256]);
/* "2026-05-04" or "2026-05-04T10:30:00": digits in their places, whatever they say. */
bool file_clock_parse(const char *text, struct file_clock *ret);

#endif
