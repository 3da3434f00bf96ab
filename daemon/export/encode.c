#include "encode.h"

#include "tags.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int encode_refuse(char reason[static 256], const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  vsnprintf(reason, 256, format, ap);
  va_end(ap);
  return -EPROTO;
}

void encode_code(struct dicom_item at, dicom_tag sequence, struct code code) {
  struct dicom_item item = dicom_add(at, sequence);
  encode_text(item, CODE_VALUE, code.value, 16);
  encode_text(item, CODING_SCHEME, code.scheme, 16);
  encode_text(item, CODE_MEANING, code.meaning, 64);
}

static size_t utf8_bytes(unsigned char first) {
  return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* Copies whole characters of at most `max` bytes, with a space for each one that is in `without`; no spaces at either
 * end. The text is valid UTF-8. */
static void text_clip(const char *text, const char *without, size_t max, char *ret) {
  size_t n = 0;
  for (; *text == ' '; text++)
    ;
  for (size_t width; *text && n + (width = utf8_bytes((unsigned char)*text)) <= max; n += width, text += width) {
    if (width == 1 && strchr(without, *text))
      ret[n] = ' ';
    else
      memcpy(ret + n, text, width);
  }
  while (n && ret[n - 1] == ' ')
    n--;
  ret[n] = 0;
}

void encode_text(struct dicom_item at, dicom_tag tag, const char *text, size_t max) {
  char clipped[ENCODE_TEXT_MAX + 1];
  text_clip(text, tag == UNFORMATTED_TEXT ? "" : "\\\n\t", max < ENCODE_TEXT_MAX ? max : ENCODE_TEXT_MAX, clipped);
  dicom_text(at, tag, clipped);
}

#define DS_MAX 16

bool encode_decimal(struct dicom_item at, dicom_tag tag, struct dec value) {
  char text[DEC_TEXT_MAX];
  if (dec_format(value, text) > DS_MAX)
    return false;
  dicom_text(at, tag, text);
  return true;
}

bool encode_decimal_text(struct dicom_item at, dicom_tag tag, const char *decimal) {
  struct dec value;
  return dec_parse(decimal, &value) == 0 && encode_decimal(at, tag, value);
}

void encode_count(struct dicom_item at, dicom_tag tag, int64_t value) {
  char text[24];
  snprintf(text, sizeof text, "%lld", (long long)value);
  dicom_text(at, tag, text);
}

/* "20260329" and "015959.123456" of an instant. */
static void civil(struct wall when, char date[static 9], char time[static 14]) {
  char text[WALL_TEXT_MAX];
  wall_format(when, text);
  snprintf(date, 9, "%.4s%.2s%.2s", text, text + 5, text + 8);
  snprintf(time, 14, "%.2s%.2s%.9s", text + 11, text + 14, text + 17);
}

static void offset_text(struct wall when, char text[static 8]) {
  int minutes = when.offset_minutes < 0 ? -when.offset_minutes : when.offset_minutes;
  snprintf(text, 8, "%c%02d%02d", when.offset_minutes < 0 ? '-' : '+', minutes / 60 % 24, minutes % 60);
}

void encode_datetime(struct dicom_item at, dicom_tag tag, struct wall when) {
  char date[9], time[14], offset[8], text[32];
  civil(when, date, time);
  offset_text(when, offset);
  snprintf(text, sizeof text, "%s%s%s", date, time, offset);
  dicom_text(at, tag, text);
}

void encode_date_time(struct dicom_item at, dicom_tag date_tag, dicom_tag time_tag, struct wall when) {
  char date[9], time[14];
  civil(when, date, time);
  dicom_text(at, date_tag, date);
  dicom_text(at, time_tag, time);
}

/* The record's start, else the moment of acceptance: its offset is the whole object's. */
static struct wall started(const struct encode_input *in) {
  struct wall w;
  const char *text = json_text(in->record, "started");
  return text && wall_parse(text, &w) == 0 ? w : in->job->accepted;
}

struct wall encode_when(const struct encode_input *in, int64_t trial) {
  struct wall start = started(in), w;
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(json_object_get(in->record, "acquired"), "trials"), i, item) {
    const char *text = json_text(item, "time");
    if (trial && json_integer_value(json_object_get(item, "number")) == trial && text && wall_parse(text, &w) == 0)
      return (struct wall){w.us, start.offset_minutes};
  }
  return start;
}

/* PS3.5 6.2: ^, = and backslash part components, groups and values. */
#define NAME_MAX_BYTES 64

static void put_name(struct dicom_item root, const struct job *job) {
  char family[NAME_MAX_BYTES + 1], given[NAME_MAX_BYTES + 1], name[sizeof family + sizeof given];
  text_clip(job->family, "\\^=", NAME_MAX_BYTES - 1, family);
  text_clip(job->given, "\\^=", NAME_MAX_BYTES - 1 - strlen(family), given);
  snprintf(name, sizeof name, "%s%s%s", family, *given ? "^" : "", given);
  dicom_text(root, PATIENT_NAME, name);
}

/* Patient, General and Patient Study, General Series, General Equipment, SOP Common. */
static void put_common(const struct encode_input *in, struct dicom_item root) {
  const struct job *job = in->job;
  const struct wall start = started(in);
  char birth[9], offset[8];
  dicom_text(root, SPECIFIC_CHARACTER_SET, "ISO_IR 192");
  dicom_text(root, SOP_INSTANCE_UID, job->instance_uid);
  dicom_text(root, STUDY_INSTANCE_UID, job->study_uid);
  dicom_text(root, SERIES_INSTANCE_UID, job->series_uid);
  encode_date_time(root, STUDY_DATE, STUDY_TIME, (struct wall){job->ordered.us, start.offset_minutes});
  offset_text(start, offset);
  dicom_text(root, TIMEZONE_OFFSET, offset);
  dicom_text(root, ACCESSION_NUMBER, job->order);
  dicom_text(root, REFERRING_PHYSICIAN, "");
  dicom_text(root, STUDY_ID, job->study_id);
  encode_count(root, SERIES_NUMBER, job->series_number);
  encode_count(root, INSTANCE_NUMBER, job->instance_number);
  encode_text(root, STATION_NAME, job->station, 16);

  put_name(root, job);
  dicom_text(root, PATIENT_ID, job->patient_id);
  snprintf(birth, sizeof birth, "%.4s%.2s%.2s", job->birth_date, job->birth_date + 5, job->birth_date + 8);
  dicom_text(root, PATIENT_BIRTH_DATE, birth);
  dicom_text(root, PATIENT_SEX, strcmp(job->sex, "U") ? job->sex : "");
  if (job->has_height)
    encode_decimal(root, PATIENT_SIZE,
                   (struct dec){job->height_cm.mantissa, (int8_t)(job->height_cm.exponent - 2)}); /* m */

  const json_t *device = json_object_get(in->record, "device");
  const struct {
    dicom_tag tag;
    const char *key;
  } says[] = {{MODEL_NAME, "model"}, {DEVICE_SERIAL_NUMBER, "serial"}, {SOFTWARE_VERSIONS, "firmware"}};
  encode_text(root, MANUFACTURER, job->device ? json_text(device, "make") : "", 64);
  for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
    const char *text = json_text(device, says[i].key);
    if (job->device && *text)
      encode_text(root, says[i].tag, text, 64);
  }
}

int encode(const struct encode_input *in, struct encode_output *out, char reason[static 256]) {
  *out = (struct encode_output){.transfer_syntax = DICOM_EXPLICIT};
  if (acq_modality_find(json_text(in->record, "modality")) != in->job->act)
    return encode_refuse(reason, "the record is not of the job's act");
  out->object = dicom_create();
  if (!out->object)
    return -ENOMEM;
  struct dicom_item root = dicom_root(out->object);
  put_common(in, root);
  switch (in->job->act) {
  case ACQ_ECG:
    return encode_ecg(in, root, reason);
  case ACQ_FUNDUS:
    return encode_fundus(in, root, out, reason);
  default:
    return encode_measures(in, root, reason);
  }
}

void encode_finish(struct encode_output *out) {
  dicom_destroy(out->object);
  free(out->pixel_memory);
  *out = (struct encode_output){0};
}
