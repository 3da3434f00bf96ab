/* Reading a record back: the worker that wrote it may have been taken over by a hostile device. */
#include "hash.h"
#include "nomenclature.h"
#include "picture.h"
#include "record.h"
#include "record_form.h"
#include "str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int no(char reason[static 256], const char *why) {
  snprintf(reason, 256, "%s", why);
  return -EPROTO;
}

static bool same_text(const json_t *object, const char *key, const char *text) {
  const char *value = json_text(object, key);
  return value && !strcmp(value, text);
}

static bool short_text(const json_t *object, const char *key, size_t max) {
  const json_t *value = json_object_get(object, key);
  return json_is_string(value) && json_string_length(value) < max &&
         str_is_clean_utf8(json_string_value(value), json_string_length(value));
}

static bool is_dec(const json_t *object, const char *key, struct dec *ret) {
  const char *text = json_text(object, key);
  char again[DEC_TEXT_MAX];
  if (!text || dec_parse(text, ret) < 0)
    return false;
  dec_format(*ret, again);
  return !strcmp(text, again);
}

static bool same_row(const json_t *object, const struct nomenclature *row) {
  int64_t mdc;
  return same_text(object, "label", row->label) && json_int(object, "mdc", 0, INT32_MAX, &mdc) == 0 && mdc == row->mdc;
}

/* Its trial is one of the list, or 0. */
static bool has_trial(const json_t *object, const json_t *trials) {
  int64_t number;
  size_t i;
  json_t *trial;
  if (json_int(object, "trial", 0, ACQ_TRIALS_MAX, &number) < 0)
    return false;
  if (number == 0)
    return true;
  json_array_foreach(trials, i, trial) {
    if (json_integer_value(json_object_get(trial, "number")) == number)
      return true;
  }
  return false;
}

/* "2013-05-28T10:44:18.000" */
static bool is_clock(const char *text) {
  char whole[WALL_TEXT_MAX], again[WALL_TEXT_MAX];
  struct wall w;
  if (strlen(text) != RECORD_CLOCK_TEXT)
    return false;
  snprintf(whole, sizeof whole, "%s000+00:00", text);
  if (wall_parse(whole, &w) < 0)
    return false;
  wall_format(w, again);
  return !strcmp(whole, again);
}

/* A time in its canonical form. */
static bool is_time(const char *text) {
  struct wall w;
  char again[WALL_TEXT_MAX];
  if (wall_parse(text, &w) < 0)
    return false;
  wall_format(w, again);
  return !strcmp(again, text);
}

static int read_trials(const json_t *trials, char reason[static 256]) {
  int64_t number, last = 0;
  size_t i;
  json_t *t;
  if (!json_is_array(trials) || json_array_size(trials) > ACQ_TRIALS_MAX)
    return no(reason, "the trials are not a list");
  json_array_foreach(trials, i, t) {
    const json_t *phase = json_object_get(t, "phase"), *clock = json_object_get(t, "device_time"),
                 *time = json_object_get(t, "time");
    if (!json_has_only(t, "device_time number phase time") ||
        json_int(t, "number", last + 1, ACQ_TRIALS_MAX, &number) < 0 ||
        !(json_is_null(phase) || (json_is_string(phase) && acq_phase_find(json_string_value(phase)))) ||
        !(json_is_null(clock) || (json_is_string(clock) && is_clock(json_string_value(clock)))) ||
        !(json_is_null(time) || (json_is_string(time) && json_is_string(clock) && is_time(json_string_value(time)))))
      return no(reason, "a trial is not in the form of a trial");
    last = number;
  }
  return 0;
}

static int read_measure(const json_t *m, const json_t *trials, char reason[static 256]) {
  const char *code = json_text(m, "code"), *unit_text = json_text(m, "unit");
  const struct nomenclature *row = code ? nomenclature_find(code) : NULL;
  const struct unit *unit = unit_text ? unit_find(unit_text) : NULL, *as = unit;
  struct dec value, again;
  if (!json_has_only(m, "code flags label loinc mdc trial unit value") || !row || row->kind != 'M' ||
      !same_row(m, row) || !has_trial(m, trials) || !same_text(m, "loinc", row->loinc) || !unit ||
      !unit_fits(unit, unit_find(row->unit)) || !is_dec(m, "value", &value) ||
      (again = value, measure_normalise(row, &again, &as), as != unit) || !measure_is_possible(row, value, unit))
    return no(reason, "a measure is not in the form of a measure");
  const char *flag = measure_flag(row, value, unit);
  const json_t *flags = json_object_get(m, "flags");
  const char *said = json_string_value(json_array_get(flags, 0));
  if (!json_is_array(flags) || json_array_size(flags) != (flag ? 1 : 0) || (flag && (!said || strcmp(said, flag))))
    return no(reason, "a measure's flags do not follow from its value");
  return 0;
}

/* A channel without a rate has one channel beside it that gives its instants. */
static bool has_instants(const json_t *c, const json_t *channels) {
  size_t i, steps = 0;
  json_t *other;
  json_array_foreach(channels, i, other) {
    steps += same_text(other, "code", "time_step") &&
             json_equal(json_object_get(c, "trial"), json_object_get(other, "trial")) &&
             json_equal(json_object_get(c, "samples"), json_object_get(other, "samples"));
  }
  return steps == 1;
}

static int read_channel(const json_t *c, const json_t *acquired, const int16_t *data, int64_t *next,
                        char reason[static 256]) {
  int64_t first, samples;
  struct dec rate, scale;
  const char *code = json_text(c, "code");
  const struct nomenclature *row = code ? nomenclature_find(code) : NULL;
  if (!json_has_only(c, "code derived first gaps label mdc rate samples scale trial unit") || !row ||
      row->kind != 'C' || !same_row(c, row) || !same_text(c, "unit", row->unit) ||
      !has_trial(c, json_object_get(acquired, "trials")) || !json_is_boolean(json_object_get(c, "derived")) ||
      !is_dec(c, "rate", &rate) || !is_dec(c, "scale", &scale) || rate.mantissa < 0 || scale.mantissa <= 0 ||
      (rate.mantissa == 0 && !has_instants(c, json_object_get(acquired, "channels"))) ||
      json_int(c, "first", *next, *next, &first) < 0 ||
      json_int(c, "samples", 0, RECORD_DATA_MAX / sizeof(int16_t), &samples) < 0)
    return no(reason, "a channel is not in the form of a channel");
  *next += samples;
  if (!data) /* the caller checks the totals before it looks at samples */
    return 0;
  int64_t at = 0, gap_end = 0;
  size_t i;
  json_t *gap;
  const json_t *gaps = json_object_get(c, "gaps");
  int32_t low = 0, high = 0;
  if (!json_is_array(gaps) || json_array_size(gaps) > RECORD_GAPS_MAX)
    return no(reason, "a channel's gaps are not a list");
  json_array_foreach(gaps, i, gap) {
    const json_t *a = json_array_get(gap, 0), *b = json_array_get(gap, 1);
    if (json_array_size(gap) != 2 || !json_is_integer(a) || !json_is_integer(b) ||
        json_integer_value(a) < gap_end + (i > 0) || json_integer_value(b) < 1 || json_integer_value(b) > samples ||
        json_integer_value(a) > samples - json_integer_value(b))
      return no(reason, "a gap lies outside its channel");
    for (; at < json_integer_value(a); at++) {
      low = data[first + at] < low ? data[first + at] : low;
      high = data[first + at] > high ? data[first + at] : high;
    }
    gap_end = json_integer_value(a) + json_integer_value(b);
    for (; at < gap_end; at++)
      if (data[first + at] != ACQ_GAP)
        return no(reason, "a gap holds samples");
  }
  for (; at < samples; at++) {
    low = data[first + at] < low ? data[first + at] : low;
    high = data[first + at] > high ? data[first + at] : high;
  }
  if (low == ACQ_GAP)
    return no(reason, "a missing sample is not listed as a gap");
  if (sample_cmp(scale, low, row->hard_low) < 0 || sample_cmp(scale, high, row->hard_high) > 0)
    return no(reason, "a sample is outside what can be");
  return 0;
}

/* A share of 1. */
static bool is_share(const json_t *object, const char *key) {
  struct dec d;
  return is_dec(object, key, &d) && dec_cmp(d, (struct dec){0, 0}) >= 0 && dec_cmp(d, (struct dec){1, 0}) <= 0;
}

static bool is_sha256(const json_t *object) {
  const char *text = json_text(object, "sha256");
  return text && strlen(text) == HASH_TEXT - 1 && hash_is_text(text);
}

static bool is_side(const json_t *value) {
  return json_is_null(value) ||
         (json_is_string(value) && (!strcmp(json_string_value(value), "L") || !strcmp(json_string_value(value), "R")));
}

static bool is_count(const json_t *object, const char *key, int64_t min, int64_t max) {
  int64_t n;
  return json_int(object, key, min, max, &n) == 0;
}

static int read_picture(const json_t *p, const json_t *trials, int64_t number, char reason[static 256]) {
  const json_t *preview = json_object_get(p, "preview"), *quality = json_object_get(p, "quality");
  bool known = false;
  for (enum picture_format f = PICTURE_UNKNOWN; picture_format_name(f); f++)
    known |= same_text(p, "format", picture_format_name(f));
  if (!json_has_only(p, "bits bytes components format height laterality number preview quality sha256 trial width") ||
      !known || !is_side(json_object_get(p, "laterality")) || !has_trial(p, trials) || !is_sha256(p) ||
      !is_count(p, "number", number, number) || !is_count(p, "bits", 0, 64) || !is_count(p, "components", 0, 255) ||
      !is_count(p, "bytes", 1, ACQ_BLOB_MAX) || !is_count(p, "width", 0, PICTURE_EDGE_MAX) ||
      !is_count(p, "height", 0, PICTURE_EDGE_MAX))
    return no(reason, "a picture is not in the form of a picture");
  if (!json_is_null(preview) &&
      (!json_has_only(preview, "bytes height sha256 width") || !is_sha256(preview) ||
       !is_count(preview, "bytes", 1, RECORD_PREVIEW_MAX) || !is_count(preview, "width", 1, PICTURE_EDGE_MAX) ||
       !is_count(preview, "height", 1, PICTURE_EDGE_MAX)))
    return no(reason, "a picture's preview is not in its form");
  if (!json_is_null(quality) &&
      (!json_has_only(quality, "bright brightness dark focus") || !is_share(quality, "bright") ||
       !is_share(quality, "brightness") || !is_share(quality, "dark") || !is_share(quality, "focus")))
    return no(reason, "a picture's figures are not in their form");
  return 0;
}

static int read_pictures(const json_t *pictures, const json_t *trials, char reason[static 256]) {
  size_t i;
  json_t *p;
  int r = 0;
  if (!json_is_array(pictures) || json_array_size(pictures) > ACQ_PICTURES_MAX)
    return no(reason, "the pictures are not a list");
  json_array_foreach(pictures, i, p) {
    r = r < 0 ? r : read_picture(p, trials, (int64_t)i + 1, reason);
  }
  return r;
}

/* One a picture: texts that the instrument chose. */
static int read_sources(const json_t *sources, size_t n_pictures, char reason[static 256]) {
  size_t i;
  json_t *s;
  if (!json_is_array(sources) || json_array_size(sources) != n_pictures)
    return no(reason, "the sources are not those of the pictures");
  json_array_foreach(sources, i, s) {
    const json_t *taken = json_object_get(s, "taken");
    if (!json_has_only(s, "make model name picture taken") || !short_text(s, "make", ACQ_TEXT_MAX) ||
        !short_text(s, "model", ACQ_TEXT_MAX) || !short_text(s, "name", SOURCE_BYTES_MAX) ||
        !is_count(s, "picture", (int64_t)i + 1, (int64_t)i + 1) ||
        !(json_is_null(taken) || (json_is_string(taken) && is_clock(json_string_value(taken)))))
      return no(reason, "a source is not in its form");
  }
  return 0;
}

int record_check_previews(const json_t *record, const void *previews, size_t n, char reason[static 256]) {
  const uint8_t *at = previews;
  size_t i, left = n;
  json_t *p;
  json_array_foreach(json_object_get(json_object_get(record, "acquired"), "pictures"), i, p) {
    const json_t *preview = json_object_get(p, "preview");
    size_t bytes = (size_t)json_integer_value(json_object_get(preview, "bytes"));
    char sha[HASH_TEXT];
    if (json_is_null(preview))
      continue;
    if (bytes > left)
      return no(reason, "a preview is not there");
    hash_sha256_text(at, bytes, sha);
    if (!same_text(preview, "sha256", sha))
      return no(reason, "a preview is not that which the record names");
    at += bytes;
    left -= bytes;
  }
  return left ? no(reason, "previews that the record does not name") : 0;
}

static int read_acquired(const json_t *acquired, const void *data, size_t data_bytes, char reason[static 256]) {
  const json_t *channels = json_object_get(acquired, "channels"), *measures = json_object_get(acquired, "measures"),
               *about = json_object_get(acquired, "data"), *trials = json_object_get(acquired, "trials");
  char sha[HASH_TEXT];
  int64_t values, total = 0, gap;
  size_t i;
  json_t *item;
  if (!json_has_only(acquired, "channels data measures pictures trials") || !json_is_array(channels) ||
      !json_is_array(measures) || json_array_size(channels) > RECORD_CHANNELS_MAX ||
      json_array_size(measures) > MEASURES_MAX || !json_has_only(about, "encoding gap sha256 values") ||
      !same_text(about, "encoding", "int16-le") || json_int(about, "gap", ACQ_GAP, ACQ_GAP, &gap) < 0 ||
      json_int(about, "values", 0, RECORD_DATA_MAX / sizeof(int16_t), &values) < 0)
    return no(reason, "the acquired part is not in the form of a record");
  if (read_trials(trials, reason) < 0)
    return -EPROTO;
  hash_sha256_text(data, data_bytes, sha);
  if ((size_t)values * sizeof(int16_t) != data_bytes || !same_text(about, "sha256", sha))
    return no(reason, "the samples are not those that the record names");
  json_array_foreach(channels, i, item) {
    int r = read_channel(item, acquired, NULL, &total, reason);
    if (r < 0)
      return r;
  }
  if (total != values)
    return no(reason, "the channels do not fill the samples");
  static const int16_t none;
  total = 0;
  json_array_foreach(channels, i, item) {
    int r = read_channel(item, acquired, data_bytes ? data : &none, &total, reason);
    if (r < 0)
      return r;
  }
  json_array_foreach(measures, i, item) {
    int r = read_measure(item, trials, reason);
    if (r < 0)
      return r;
  }
  const json_t *pictures = json_object_get(acquired, "pictures");
  int r = read_pictures(pictures, trials, reason);
  if (r == 0 && !json_array_size(channels) && !json_array_size(measures) && !json_array_size(pictures))
    r = no(reason, "the record holds no reading");
  return r;
}

/* The nurse reads these: only sentences of the nomenclature pass. */
static int read_quality(const json_t *quality, const json_t *trials, char reason[static 256]) {
  size_t i;
  json_t *item;
  int64_t count;
  char text[512];
  if (!json_is_array(quality) || json_array_size(quality) > QUALITY_MAX)
    return no(reason, "quality is not a list");
  json_array_foreach(quality, i, item) {
    const char *code = json_text(item, "code");
    const struct quality *q = code ? quality_find(code) : NULL;
    if (!q || !json_has_only(item, "code count severity subject text trial") || !has_trial(item, trials) ||
        !short_text(item, "subject", ACQ_TEXT_MAX) || !quality_subject_ok(json_text(item, "subject")) ||
        json_int(item, "count", 0, INT32_MAX, &count) < 0 || !same_text(item, "severity", q->severity))
      return no(reason, "a quality item is not in its form");
    quality_sentence(q, json_text(item, "subject"), text);
    if (!same_text(item, "text", text))
      return no(reason, "a quality item's sentence is not the nomenclature's");
  }
  return 0;
}

static int read_statements(const json_t *statements, const json_t *trials, char reason[static 256]) {
  size_t i;
  json_t *item;
  if (!json_is_array(statements) || json_array_size(statements) > STATEMENTS_MAX)
    return no(reason, "statements are not a list");
  json_array_foreach(statements, i, item) {
    if (!json_has_only(item, "code text trial") || !has_trial(item, trials) ||
        !short_text(item, "code", ACQ_TEXT_MAX) || !json_is_string(json_object_get(item, "text")) ||
        json_string_length(json_object_get(item, "text")) > STATEMENT_BYTES_MAX)
      return no(reason, "a statement is not in its form");
  }
  return 0;
}

static int read_subject(const json_t *s, char reason[static 256]) {
  if (json_is_null(s))
    return 0;
  if (!json_has_only(s, "birth_date family given id sex") || !short_text(s, "birth_date", sizeof "YYYY-MM-DD") ||
      (*json_text(s, "birth_date") && !wall_is_date(json_text(s, "birth_date"))) ||
      !short_text(s, "family", ACQ_NAME_MAX) || !short_text(s, "given", ACQ_NAME_MAX) ||
      !short_text(s, "id", ACQ_NAME_MAX) ||
      !(same_text(s, "sex", "") || same_text(s, "sex", "F") || same_text(s, "sex", "M")))
    return no(reason, "the subject is not in its form");
  return 0;
}

static bool is_one_of(const json_t *object, const char *key, const char *(*name)(int), int last) {
  for (int i = 1; i <= last; i++)
    if (same_text(object, key, name(i)))
      return true;
  return false;
}

static const char *modality_at(int i) {
  return acq_modality_name((enum acq_modality)i);
}

static const char *integrity_at(int i) {
  return acq_integrity_name((enum acq_integrity)i);
}

static const char *end_at(int i) {
  return capture_end_name((enum capture_end)(i - 1));
}

static int read_form(const json_t *r, char reason[static 256]) {
  const json_t *device = json_object_get(r, "device"), *driver = json_object_get(r, "driver"),
               *started = json_object_get(r, "started"), *complete = json_object_get(r, "complete");
  if (!json_has_only(r, "acquired complete derived device driver end integrity modality quality schema sources started"
                        " statements stray subject") ||
      !same_text(r, "schema", RECORD_SCHEMA) || !json_is_boolean(json_object_get(r, "stray")) ||
      !json_is_array(json_object_get(r, "derived")) || json_array_size(json_object_get(r, "derived")) ||
      !is_one_of(r, "modality", modality_at, ACQ_MEASUREMENT) || !is_one_of(r, "integrity", integrity_at, ACQ_CRC32) ||
      !is_one_of(r, "end", end_at, CAPTURE_CRASH + 1) || !json_is_boolean(complete) ||
      !json_has_only(device, "firmware make model sensor serial") || !short_text(device, "sensor", ACQ_TEXT_MAX) ||
      !short_text(device, "firmware", ACQ_TEXT_MAX) || !short_text(device, "make", ACQ_TEXT_MAX) ||
      !short_text(device, "model", ACQ_TEXT_MAX) || !short_text(device, "serial", ACQ_TEXT_MAX) ||
      !json_has_only(driver, "name version") || !short_text(driver, "name", ACQ_TEXT_MAX) ||
      !short_text(driver, "version", ACQ_TEXT_MAX))
    return no(reason, "not in the form of a record");
  if (json_is_null(started))
    return same_text(r, "end", "none") && json_is_true(complete) ? 0 : no(reason, "a record has no start");
  if (!json_is_string(started) || !is_time(json_string_value(started)))
    return no(reason, "the start is not a time in its canonical form");
  return json_is_true(complete) == same_text(r, "end", "ok") ? 0 : no(reason, "complete contradicts the end");
}

int record_read(const char *json, size_t json_bytes, const void *data, size_t data_bytes, json_t **ret,
                char reason[static 256]) {
  if (json_bytes > RECORD_JSON_MAX || data_bytes > RECORD_DATA_MAX || data_bytes % sizeof(int16_t))
    return no(reason, "larger than a record");
  if ((uintptr_t)data % sizeof(int16_t))
    return no(reason, "the samples are not aligned");
  _json_cleanup_ json_t *r = NULL;
  int err = json_read(json, json_bytes, &r, reason);
  if (err == 0)
    err = read_form(r, reason);
  if (err == 0) {
    enum acq_modality m = acq_modality_find(json_text(r, "modality"));
    if (json_bytes > json_max(m) || data_bytes > data_max(m))
      err = no(reason, "larger than a record of its kind");
  }
  if (err == 0)
    err = read_acquired(json_object_get(r, "acquired"), data, data_bytes, reason);
  if (err == 0)
    err =
        read_quality(json_object_get(r, "quality"), json_object_get(json_object_get(r, "acquired"), "trials"), reason);
  if (err == 0)
    err = read_sources(json_object_get(r, "sources"),
                       json_array_size(json_object_get(json_object_get(r, "acquired"), "pictures")), reason);
  if (err == 0)
    err = read_statements(json_object_get(r, "statements"), json_object_get(json_object_get(r, "acquired"), "trials"),
                          reason);
  if (err == 0)
    err = read_subject(json_object_get(r, "subject"), reason);
  if (err < 0)
    return err;
  size_t again_bytes;
  char *again = json_canonical(r, &again_bytes);
  bool same = again && again_bytes == json_bytes && !memcmp(again, json, json_bytes);
  if (!again)
    snprintf(reason, 256, "no memory");
  err = !again ? -ENOMEM : same ? 0 : no(reason, "not in canonical form");
  free(again);
  if (err < 0)
    return err;
  *ret = json_incref(r);
  return 0;
}

bool record_is_clean(const json_t *record) {
  size_t i;
  json_t *item;
  if (!json_is_true(json_object_get(record, "complete")))
    return false;
  json_array_foreach(json_object_get(record, "quality"), i, item) {
    if (!same_text(item, "severity", "info"))
      return false;
  }
  json_array_foreach(json_object_get(json_object_get(record, "acquired"), "measures"), i, item) {
    if (json_array_size(json_object_get(item, "flags")))
      return false;
  }
  return true;
}
