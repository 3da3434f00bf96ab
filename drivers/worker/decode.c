#include "commands.h"

#include "capture_file.h"
#include "drivers.h"
#include "hash.h"
#include "log.h"
#include "record_build.h"
#include "sandbox.h"
#include "str.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DECODE_CPU_SECONDS 120u

static int parse(const struct decode_options *o, bool whole_file, const struct buf *text, const struct buf *blobs,
                 struct acq_capture *ret) {
  unsigned line = 0;
  if (o->raw)
    return whole_file ? capture_from_file(text->data, text->len, ret) : capture_from_raw(text->data, text->len, ret);
  int r = capture_parse_with((const char *)text->data, text->len, blobs->data, blobs->len, ret, &line);
  if (r == -EPROTO)
    fprintf(stderr, "%s:%u: not a line of a capture\n", o->file, line);
  else if (r == -EBADMSG)
    fprintf(stderr, "%s:%u: a blob is not what the capture names\n", o->file, line);
  else if (r < 0)
    fprintf(stderr, "%s: %s\n", o->file, strerrordesc_np(-r));
  if (r == 0 && strcmp(ret->header.driver, o->driver)) {
    fprintf(stderr, "%s:2: a capture of %s, not of %s\n", o->file, ret->header.driver, o->driver);
    capture_finish(ret);
    r = -EINVAL;
  }
  return r;
}

/* One line a sample, one column a channel, integers in the channel's steps; a gap is an empty cell. */
static int print_samples(const struct record_result *result) {
  _json_cleanup_ json_t *record = NULL;
  char reason[256];
  if (json_read(result->json, result->json_bytes, &record, reason) < 0)
    return -EPROTO;
  const json_t *channels = json_object_get(json_object_get(record, "acquired"), "channels");
  size_t n = json_array_size(channels);
  int64_t first[RECORD_CHANNELS_MAX], samples[RECORD_CHANNELS_MAX], longest = 0;
  for (size_t c = 0; c < n; c++) {
    const json_t *channel = json_array_get(channels, c);
    if (c == RECORD_CHANNELS_MAX || json_int(channel, "first", 0, (int64_t)result->data_values, &first[c]) < 0 ||
        json_int(channel, "samples", 0, (int64_t)result->data_values - first[c], &samples[c]) < 0)
      return -EPROTO;
    longest = samples[c] > longest ? samples[c] : longest;
    printf("%s%s", c ? "," : "", json_text(channel, "code"));
  }
  for (int64_t i = 0; n && i <= longest; i++) {
    putchar('\n');
    for (size_t c = 0; c < n && i < longest; c++) {
      int16_t v = i < samples[c] ? result->data[first[c] + i] : ACQ_GAP;
      if (c)
        putchar(',');
      if (v != ACQ_GAP)
        printf("%d", v);
    }
  }
  return 0;
}

static int print_records(const struct acq_driver *driver, const struct decode_options *o,
                         const struct acq_capture *capture) {
  struct record_result results[WIRE_RECORDS];
  char reason[256];
  int r = record_decode(driver, capture, results, reason);
  if (r < 0) {
    fprintf(stderr, "%s: %s: %s\n", o->file, reason[0] ? reason : "not decoded", strerrordesc_np(-r));
    return r;
  }
  const int sampled = results[WIRE_OWN].json ? WIRE_OWN : WIRE_STRAY;
  for (int i = 0; i < WIRE_RECORDS; i++) {
    if (results[i].json && !o->samples)
      puts(results[i].json);
    else if (i == sampled && o->samples)
      r = print_samples(&results[i]);
    record_result_finish(&results[i]);
  }
  if (r == 0 && (fflush(stdout) || ferror(stdout)))
    r = -EIO;
  if (r < 0)
    fprintf(stderr, "%s: the output cannot be written\n", o->file);
  return r;
}

int command_decode(const struct acq_driver *const *table, const struct decode_options *o) {
  static char out[1 << 16];
  const struct acq_driver *driver = drivers_find(table, o->driver);
  if (!driver) {
    fprintf(stderr, "%s: no driver has this name (asaleed-driver list)\n", o->driver);
    return 1;
  }
  setvbuf(stdout, out, _IOFBF, sizeof out); /* now: afterwards stdio could no longer look at what stdout is */
  _buf_cleanup_ struct buf text = BUF_INIT(driver->limits.max_bytes), blobs = {0};
  char why[512];
  snprintf(why, sizeof why, "%s", o->file);
  int r = sandbox_limit(DECODE_CPU_SECONDS);
  if (r == 0)
    r = o->raw ? file_read(o->file, &text) : capture_file_read(o->file, &text, &blobs, why);
  if (r < 0) {
    fprintf(stderr, "%s: %s\n", why, strerrordesc_np(-r));
    return 1;
  }
  r = sandbox_enter(0);
  if (r < 0 || hash_open() < 0) {
    fprintf(stderr, "the sandbox cannot be set up\n");
    return 1;
  }
  _capture_cleanup_ struct acq_capture capture = {0};
  r = parse(o, drivers_takes_whole_file(driver), &text, &blobs, &capture);
  return r < 0 || print_records(driver, o, &capture) < 0 ? 1 : 0;
}
