/*
 * ecg90a_file: the .ECG files of the Contec ECG90A.
 *
 * 43 bytes: case[8] with a NUL, 2 zeros, "YYYY-MM-DD hh:mm:ss" with a NUL, 2 zeros, name[8], sex u8 (0 female, 1 male,
 * 255 not said), age u8, weight u8. Then rows of eight u16, little endian, of II, III, V1..V6: the value in steps of
 * 5 uV + 2048, 0x6800 for an electrode that is off, 800 rows a second. Then 37 bytes, the first 16 (a row) of zeros;
 * byte 27 is 0x16 in the files known, its meaning is not.
 */
#ifndef ASALEED_SIM_ECG90A_FILE_H
#define ASALEED_SIM_ECG90A_FILE_H

#include "buf.h"
#include "ecg12.h"
#include "file_maker.h"

#define ECG90A_RATE_HZ 800u
#define ECG90A_HEADER 43u
#define ECG90A_FOOTER 37u
#define ECG90A_LEADS 8u

extern const struct file_format ecg90a_format;

enum ecg90a_damage {
  ECG90A_SOUND,
  ECG90A_CUT_ROW,    /* the file ends within a row */
  ECG90A_NO_END,     /* ... after a row, without row of zeros and footer */
  ECG90A_SHORT,      /* ... within the header */
  ECG90A_EARLY_END,  /* a row of zeros in the middle, data behind it */
  ECG90A_WILD_VALUE, /* 0x7FFF in the middle */
  ECG90A_NO_ROWS,    /* header and footer alone */
  ECG90A_WORDS_DATE, /* no digits where the date is */
  ECG90A_DAMAGES
};

struct ecg90a_options {
  const char *name;    /* ASCII; the first 7 characters. NULL: "" */
  const char *case_id; /* likewise; NULL: "0000001" */
  char sex;            /* 'M', 'F', else not said */
  unsigned age, weight_kg;
  struct file_clock taken;    /* year 0: zeros */
  uint8_t off;                /* bits: electrodes that are off, in the order of the file, all the time */
  unsigned off_from, off_end; /* the rows where `off_some` are off too */
  uint8_t off_some;
  enum ecg90a_damage damage;
};

extern const enum ecg12_lead ecg90a_lead[ECG90A_LEADS];

/* Of a recording at 800 Hz; -EINVAL for another. Appends to ret. */
int ecg90a_file_make(const struct ecg90a_options *o, const struct ecg12 *ecg, struct buf *ret);

#endif
