/* Section 1: whose recording it is, what made it, when, and what the people there wrote.
 *
 *   fields: tag u8, length u16, value; 255 ends them. 0 family name, 1 given name, 2 id, 3 second family name, 5 date
 * of birth {year u16, month u8, day u8}, 8 sex (1 male, 2 female), 14 the instrument, 25 date, 26 time {hour, minute,
 *   second}, 27 high-pass filter 1/100 Hz u16, 28 low-pass filter Hz u16, 29 filters (bit 0: 60 Hz, 1: 50 Hz, 2 and 3
 *   others)
 *   for the reader alone: 4 age, 6 height, 7 weight, 10 drugs, 11 and 12 blood pressure, 13 indication, 24 urgency, 30
 * free text, 32 coded and 35 written history field 14: at 7 the make by number, 255 by name; 8 model, 6 characters; 16
 * language: the alphabet of all texts; 36 version of the analysis (its length at 35), then texts that end with NUL:
 * serial number, system software, SCP-ECG software, make
 */
#ifndef FILE_SCP_ECG_ABOUT_H
#define FILE_SCP_ECG_ABOUT_H

#include "container.h"
#include "text.h"

struct scp_about {
  enum text_alphabet alphabet;
  struct acq_identity instrument;
  struct acq_subject subject;
  bool has_instrument, has_subject, timed;
  int64_t clock_us;
  unsigned quirks;  /* enum scp_quirk */
  bool contradicts; /* a date that is none; twice the same field, and not the same */
  bool unreadable;  /* a text, so far */
  struct acq_cur fields;
};

/* Reads the section; -EPROTO, with the reason in the record, when its fields do not fit into it. */
int scp_about_read(const struct scp_section *s, struct scp_about *ret, struct acq_record *record);

/* Filters as quality, the rest as statements of the record's trial. */
void scp_about_tell(struct scp_about *a, struct acq_record *record);

#define SCP_TEXT_MAX 12000 /* bytes of one statement */

/* A statement of n bytes of text in the file's alphabet, behind `label`; NULs between its parts become blanks. Nothing
 * where there is no text. */
void scp_tell_text(struct scp_about *a, struct acq_record *record, const char *code, const char *label,
                   const uint8_t *bytes, size_t n);
/* A statement of a number, "label : v unit". */
void scp_tell_number(struct acq_record *record, const char *code, const char *label, int v, const char *unit);

#endif
