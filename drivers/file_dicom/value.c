/* Single values: texts, decimal strings, dates (DICOM PS3.5 6.2). */
#include "dicom.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

bool dicom_text(struct dicom_file *f, struct acq_cur item, uint32_t tag, char *ret, size_t size) {
  static const char replaced[] = "\xef\xbf\xbd"; /* U+FFFD */
  struct flat_entry e;
  *ret = 0;
  if (!flat_find(item, tag, 't', &e))
    return false;
  text_read(TEXT_UTF8, e.bytes, e.n, ret, size);
  f->unreadable |= memmem(e.bytes, e.n, replaced, sizeof replaced - 1) != NULL;
  return *ret;
}

bool dicom_text_in(struct dicom_file *f, struct acq_cur item, uint32_t sequence, uint32_t tag, char *ret, size_t size) {
  struct acq_cur in;
  *ret = 0;
  return flat_item(&item, sequence, &in) && dicom_text(f, in, tag, ret, size);
}

/* ---- numbers ---- */

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* Digits of a mantissa; false where there is none, or more than fit. */
static bool read_digits(const char **at, struct dicom_number *n) {
  bool any = false, point = false;
  for (; is_digit(**at) || (**at == '.' && !point); (*at)++) {
    if (**at == '.') {
      point = true;
      continue;
    }
    any = true;
    if (__builtin_mul_overflow(n->mantissa, 10, &n->mantissa) ||
        __builtin_add_overflow(n->mantissa, **at - '0', &n->mantissa))
      return false;
    n->exponent -= point;
  }
  return any;
}

static bool read_exponent(const char **at, int *exponent) {
  int value = 0;
  (*at)++;
  const bool negative = **at == '-';
  *at += **at == '-' || **at == '+';
  if (!is_digit(**at))
    return false;
  for (; is_digit(**at); (*at)++) {
    value = value * 10 + (**at - '0');
    if (value > 99)
      return false;
  }
  *exponent += negative ? -value : value;
  return true;
}

int dicom_number(struct acq_cur item, uint32_t tag, struct dicom_number *ret) {
  struct dicom_number n = {0};
  struct flat_entry e;
  char text[32];
  if (!flat_find(item, tag, 't', &e) || !e.n)
    return -ENODATA;
  if (!text_read(TEXT_ASCII, e.bytes, e.n, text, sizeof text))
    return -EPROTO;
  const char *at = text;
  const bool negative = *at == '-';
  at += *at == '-' || *at == '+';
  if (!read_digits(&at, &n) || ((*at == 'E' || *at == 'e') && !read_exponent(&at, &n.exponent)) || *at)
    return -EPROTO;
  while (n.mantissa && n.mantissa % 10 == 0) {
    n.mantissa /= 10;
    n.exponent++;
  }
  if (!n.mantissa)
    n.exponent = 0;
  *ret = (struct dicom_number){negative ? -n.mantissa : n.mantissa, n.exponent};
  return 0;
}

/* Nine digits are what a record's text takes. */
int dicom_exact(struct dicom_number n, struct dec *ret) {
  while (n.exponent > 0 && n.mantissa > -100000000 && n.mantissa < 100000000) {
    n.mantissa *= 10;
    n.exponent--;
  }
  if (n.mantissa < -999999999 || n.mantissa > 999999999 || n.exponent > 0 || n.exponent < DEC_EXP_MIN)
    return -ERANGE;
  *ret = (struct dec){(int32_t)n.mantissa, (int8_t)n.exponent};
  return 0;
}

/* ---- times ---- */

#define MINUTE_US INT64_C(60000000)

/* The first value of an attribute without blanks and, as files of old have them, dots and colons between its parts. */
static bool read_word(struct acq_cur root, uint32_t tag, char between, char *ret, size_t size) {
  struct flat_entry e;
  size_t n = 0;
  if (!flat_find(root, tag, 't', &e))
    return false;
  for (size_t i = 0; i < e.n && e.bytes[i] != '\\' && e.bytes[i] != ' '; i++) {
    if (between && e.bytes[i] == between)
      continue;
    if (n + 1 == size)
      return false;
    ret[n++] = (char)e.bytes[i];
  }
  ret[n] = 0;
  return n;
}

static int two(const char *at) {
  return (at[0] - '0') * 10 + at[1] - '0';
}

/* "+0100", "-0330"; false for what is none. */
static bool read_offset(const char *text, int *ret_minutes) {
  if ((*text != '+' && *text != '-') || strspn(text + 1, "0123456789") != 4 || strlen(text) != 5)
    return false;
  const int minutes = two(text + 1) * 60 + two(text + 3);
  *ret_minutes = *text == '-' ? -minutes : minutes;
  return two(text + 1) <= 14 && two(text + 3) < 60;
}

/* YYYYMMDDHHMM[SS[.F...]][+ZZXX]. What is shorter has no time of day: -ENODATA. */
static int read_moment(const char *text, const char *zone, const struct acq_order *order, int64_t *ret_us) {
  const size_t n = strspn(text, "0123456789");
  int minutes = 0;
  if (n == 4 || n == 6 || n == 8 || n == 10)
    return -ENODATA;
  if (n != 12 && n != 14)
    return -ERANGE;
  struct acq_clock c = {.year = two(text) * 100 + two(text + 2),
                        .month = two(text + 4),
                        .day = two(text + 6),
                        .hour = two(text + 8),
                        .minute = two(text + 10),
                        .second = n == 14 ? two(text + 12) : 0};
  text += n;
  if (*text == '.') {
    const size_t digits = strspn(++text, "0123456789");
    for (size_t i = 0, unit = 100; i < digits && unit; i++, unit /= 10)
      c.ms += (text[i] - '0') * (int)unit;
    text += digits;
  }
  int r = acq_clock_to_us(&c, ret_us);
  if (r < 0)
    return r;
  if (!*text)
    text = zone;
  if (*text && !read_offset(text, &minutes))
    return -ERANGE;
  if (*text)
    *ret_us += (order->offset_minutes - minutes) * MINUTE_US;
  return *ret_us < 0 ? -ERANGE : 0;
}

int dicom_clock(const struct dicom_file *f, int64_t *ret_us) {
  static const uint32_t pairs[][2] = {{ACQUISITION_DATE, ACQUISITION_TIME}, {CONTENT_DATE, CONTENT_TIME}};
  char zone[8] = "", text[48];
  int64_t us = 0;
  read_word(f->root, TIMEZONE_OFFSET, 0, zone, sizeof zone);
  int r = -ENODATA;
  if (read_word(f->root, ACQUISITION_DATETIME, 0, text, sizeof text))
    r = read_moment(text, zone, f->order, &us);
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs && r == -ENODATA; i++) {
    char date[16], time[24];
    if (!read_word(f->root, pairs[i][0], '.', date, sizeof date) ||
        !read_word(f->root, pairs[i][1], ':', time, sizeof time))
      continue;
    snprintf(text, sizeof text, "%s%s", date, time);
    r = strlen(date) == 8 ? read_moment(text, zone, f->order, &us) : -ERANGE;
  }
  if (r == 0)
    *ret_us = us;
  return r;
}

void dicom_begin_trial(const struct dicom_file *f, int64_t after_us) {
  struct acq_trial trial = {0};
  int r = dicom_clock(f, &trial.clock_us);
  trial.clock_us += after_us;
  trial.timed = r == 0;
  if (r < 0)
    trial.clock_us = 0;
  acq_rec_trial(f->record, &trial);
  if (r == -ERANGE)
    acq_rec_quality(f->record, "file_inconsistent", "", 1);
  if (r < 0)
    acq_rec_quality(f->record, "reading_time_unverified", "", 1);
}
