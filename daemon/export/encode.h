/* What goes into an object: one function a kind of record. Each returns 0, -EPROTO with the reason why no such object
 * can be made, or -ENOMEM. A reason is English and holds nothing of patient or device. */
#ifndef ASALEED_ENCODE_H
#define ASALEED_ENCODE_H

#include "dicom.h"
#include "job.h"

struct encode_input {
  const struct job *job;
  const json_t *record; /* as record_read() gave it: in its form */
  const uint8_t *data;  /* its samples, or the picture */
  size_t bytes;
};

#define ENCODE_PIECES_MAX 64

struct encode_output {
  struct dicom *object;
  const char *transfer_syntax;
  struct dicom_pixels pixels; /* over pieces; n = 0 where there are none */
  struct iovec pieces[ENCODE_PIECES_MAX];
  uint8_t *pixel_memory; /* what pieces point into where it is not the data itself; free() */
};

/* The whole of it; the caller encode_finish()es the output also when it failed. */
int encode(const struct encode_input *in, struct encode_output *out, char reason[static 256]);
void encode_finish(struct encode_output *out);

int encode_ecg(const struct encode_input *in, struct dicom_item root, char reason[static 256]);
int encode_fundus(const struct encode_input *in, struct dicom_item root, struct encode_output *out,
                  char reason[static 256]);
/* Measured values: spirometry and the other measurements. */
int encode_measures(const struct encode_input *in, struct dicom_item root, char reason[static 256]);

/* ---- what they share ---- */

struct code {
  const char *value, *scheme, *meaning;
};
void encode_code(struct dicom_item at, dicom_tag sequence, struct code code);

/* A text as LO, SH or ST may have it: at most so many bytes (the standard counts characters, validators and archives
 * do not all), no backslash and no line end where they would part values. */
#define ENCODE_TEXT_MAX 1024
void encode_text(struct dicom_item at, dicom_tag tag, const char *text, size_t max);
/* DS: at most 16 characters, exactly; false (and nothing put) when it has more. */
bool encode_decimal(struct dicom_item at, dicom_tag tag, struct dec value);
bool encode_decimal_text(struct dicom_item at, dicom_tag tag, const char *decimal); /* as in a record */
void encode_count(struct dicom_item at, dicom_tag tag, int64_t value);              /* IS */

/* All times of an object are in one offset from UTC: that of the record's start. */
void encode_datetime(struct dicom_item at, dicom_tag tag, struct wall when);
void encode_date_time(struct dicom_item at, dicom_tag date, dicom_tag time, struct wall when);
/* When a trial of the record was made (0: the whole), as well as it is known. */
struct wall encode_when(const struct encode_input *in, int64_t trial);

int encode_refuse(char reason[static 256], const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
