#include "capture.h"

#include "buf.h"
#include "str.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const end_names[] = {"none", "ok", "error", "cancel", "crash"};

const char *capture_end_name(enum capture_end end) {
  return end_names[end];
}

static bool is_blob_end(char kind) {
  return kind == ACQ_BLOB_WHOLE || kind == ACQ_BLOB_WASTE;
}

/* ---- writing ---- */

void capture_writer_init(struct capture_writer *w, int fd, size_t max_text_bytes) {
  *w = (struct capture_writer){.fd = fd, .max = max_text_bytes, .blobs = -1};
}

static int capture_put(struct capture_writer *w, const void *line, size_t n) {
  if (w->err)
    return w->err;
  if (n > w->max - w->written)
    return w->err = -EFBIG;
  w->err = fd_write_all(w->fd, line, n);
  w->written += w->err ? 0 : n;
  return w->err;
}

static uint32_t capture_time(struct capture_writer *w, uint32_t ms) {
  if (ms > w->last_ms)
    w->last_ms = ms;
  return w->last_ms;
}

int capture_write_header(struct capture_writer *w, const struct capture_header *h) {
  _buf_cleanup_ struct buf b = BUF_INIT(1024);
  char start[WALL_TEXT_MAX];
  wall_format((struct wall){h->order.started_us, h->order.offset_minutes}, start);
  const char *modality = acq_modality_name(h->order.modality), *phase = acq_phase_name(h->order.phase);
  buf_format(&b, "asaleed-capture 1\ndriver %s %s\nbus %s\norder %u", h->driver, h->version, acq_bus_name(h->bus),
             h->order.seconds);
  if (modality)
    buf_format(&b, " %s", modality);
  if (modality && h->order.modality == ACQ_FUNDUS && h->order.pictures)
    buf_format(&b, " %u", h->order.pictures);
  else if (modality && phase)
    buf_format(&b, " %s", phase);
  buf_format(&b, "\nstart %s\n", start);
  return b.err ? (w->err = b.err) : capture_put(w, b.data, b.len);
}

int capture_write_event(struct capture_writer *w, enum acq_event_kind kind, uint32_t ms, const void *bytes, size_t n) {
  char line[16 + 2 * CAPTURE_LINE_BYTES + 1];
  ms = capture_time(w, ms);
  for (const uint8_t *p = bytes; n;) {
    size_t part = n < CAPTURE_LINE_BYTES ? n : CAPTURE_LINE_BYTES;
    int at = snprintf(line, sizeof line, "%c %u ", (char)kind, ms);
    str_hex(p, part, line + at);
    line[(size_t)at + 2 * part] = '\n';
    int r = capture_put(w, line, (size_t)at + 2 * part + 1);
    if (r < 0)
      return r;
    p += part;
    n -= part;
  }
  return w->err;
}

uint64_t capture_blob_room(const struct capture_writer *w) {
  if (!w->blob_bytes && w->n_blobs == CAPTURE_BLOBS_MAX)
    return 0;
  uint64_t here = ACQ_BLOB_MAX - w->blob_bytes, all = ACQ_BLOBS_BYTES_MAX - w->blobs_bytes;
  return here < all ? here : all;
}

int capture_add_to_blob(struct capture_writer *w, const void *bytes, size_t n) {
  if (w->err)
    return w->err;
  if (n > capture_blob_room(w))
    return -EFBIG;
  int r = fd_write_all(w->blobs, bytes, n);
  if (r < 0)
    return w->err = r;
  if (!w->blob_bytes) {
    hash_start(&w->blob_hash);
    w->n_blobs++;
  }
  hash_add(&w->blob_hash, bytes, n);
  w->blob_bytes += n;
  w->blobs_bytes += n;
  return 0;
}

int capture_write_blob(struct capture_writer *w, uint32_t ms, uint64_t n, uint64_t before, uint64_t after) {
  char line[96];
  int len = snprintf(line, sizeof line, "%c %u %llu %llu", ACQ_BLOB, capture_time(w, ms), (unsigned long long)n,
                     (unsigned long long)before);
  if (after)
    len += snprintf(line + len, sizeof line - (size_t)len, " %llu", (unsigned long long)after);
  line[len++] = '\n';
  return capture_put(w, line, (size_t)len);
}

int capture_write_blob_end(struct capture_writer *w, enum acq_event_kind kind, uint32_t ms) {
  char line[40 + HASH_TEXT], sha[HASH_TEXT];
  if (!w->blob_bytes)
    return w->err;
  hash_text(&w->blob_hash, sha);
  int len = snprintf(line, sizeof line, "%c %u %llu %s\n", (char)kind, capture_time(w, ms),
                     (unsigned long long)w->blob_bytes, sha);
  w->blob_bytes = 0;
  return capture_put(w, line, (size_t)len);
}

int capture_write_note(struct capture_writer *w, uint32_t ms, const char *format, ...) {
  char line[512];
  int at = snprintf(line, sizeof line, "! %u ", capture_time(w, ms));
  va_list ap;
  va_start(ap, format);
  int n = vsnprintf(line + at, sizeof line - (size_t)at - 1, format, ap);
  va_end(ap);
  if (n < 0)
    return w->err = -EINVAL;
  size_t len = strlen(line);
  for (size_t i = (size_t)at, k; i < len; i += k) { /* a note that cannot be read back would cost the whole capture */
    for (k = 1; k <= 4 && i + k <= len && !str_is_clean_utf8(line + i, k);)
      k++;
    if (k > 4 || i + k > len) {
      line[i] = (unsigned char)line[i] < 0x80 ? ' ' : '?';
      k = 1;
    }
  }
  line[len++] = '\n';
  return capture_put(w, line, len);
}

int capture_write_identity(struct capture_writer *w, uint32_t ms, const struct acq_identity *identity) {
  capture_write_note(w, ms, "identity");
  capture_write_note(w, ms, "make %s", identity->make);
  capture_write_note(w, ms, "model %s", identity->model);
  capture_write_note(w, ms, "serial %s", identity->serial);
  if (identity->sensor[0])
    capture_write_note(w, ms, "sensor %s", identity->sensor);
  return capture_write_note(w, ms, "firmware %s", identity->firmware);
}

int capture_write_end(struct capture_writer *w, enum capture_end end) {
  char line[32];
  capture_write_blob_end(w, ACQ_BLOB_WASTE, w->last_ms);
  int n = snprintf(line, sizeof line, "end %s\n", end_names[end]);
  return capture_put(w, line, (size_t)n);
}

/* What the lines so far say, for who goes on after them. */
struct tail {
  uint64_t said, ended; /* bytes of blobs, by their parts and by their ends */
  uint32_t ms;
  bool has_end;
};

/* "@ <ms> <n> ..." and its like; false when it is none. */
static bool tail_words(const char *line, size_t n, uint64_t *ms, uint64_t *bytes) {
  char text[64], *second, *rest;
  if (n < 4 || line[1] != ' ')
    return false;
  snprintf(text, sizeof text, "%.*s", (int)(n - 2 < sizeof text ? n - 2 : sizeof text - 1), line + 2);
  if ((second = strchr(text, ' ')))
    *second++ = 0;
  if (second && (rest = strchr(second, ' ')))
    *rest = 0;
  if (!second || str_to_u64(second, 0, ACQ_BLOBS_BYTES_MAX, bytes) < 0)
    *bytes = 0;
  return str_to_u64(text, 0, UINT32_MAX, ms) == 0;
}

/* A text may have millions of lines, and somebody waits: most of them are only passed. */
static const char *read_tail(const char *text, size_t n, struct tail *ret) {
  const char *at = text, *end = text + n, *nl, *last = text;
  uint64_t ms, bytes;
  size_t n_last = 0;
  for (; at < end && (nl = memchr(at, '\n', (size_t)(end - at))); at = nl + 1) {
    last = at;
    n_last = (size_t)(nl - at);
    if (!is_blob_end(*at) && *at != ACQ_BLOB)
      continue;
    if (tail_words(at, n_last, &ms, &bytes))
      *(*at == ACQ_BLOB ? &ret->said : &ret->ended) += bytes;
  }
  ret->has_end = n_last > 4 && !memcmp(last, "end ", 4);
  if (tail_words(last, n_last, &ms, &bytes))
    ret->ms = (uint32_t)ms;
  return at;
}

/* The bytes of blobs from `ended` on are one that nobody ended: at most ACQ_BLOB_MAX, whatever a writer that was taken
 * over left there. */
static int mend_blob(struct capture_writer *w, const struct tail *t, int blobs, uint64_t size) {
  uint8_t part[65536];
  if (size > t->ended + ACQ_BLOB_MAX)
    size = t->ended + ACQ_BLOB_MAX;
  if (t->said > size)
    return -EFBIG;
  hash_start(&w->blob_hash);
  for (uint64_t at = t->ended; at < size;) {
    ssize_t n = pread(blobs, part, size - at < sizeof part ? size - at : sizeof part, (off_t)at);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return n < 0 ? -errno : -EIO;
    hash_add(&w->blob_hash, part, (size_t)n);
    at += (uint64_t)n;
  }
  if (t->said < size)
    capture_write_blob(w, t->ms, size - t->said, 0, 0);
  w->blob_bytes = size - t->ended;
  return capture_write_blob_end(w, ACQ_BLOB_WASTE, t->ms);
}

int capture_mend(int fd, int blobs) {
  struct stat st;
  struct tail t = {0};
  if (fstat(fd, &st) < 0)
    return -errno;
  if (st.st_size == 0)
    return 0;
  char *text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
  if (text == MAP_FAILED)
    return -errno;
  off_t whole = read_tail(text, (size_t)st.st_size, &t) - text;
  munmap(text, (size_t)st.st_size);
  if ((whole != st.st_size && ftruncate(fd, whole) < 0) || lseek(fd, 0, SEEK_END) < 0)
    return -errno;
  if (t.has_end)
    return 0;
  struct capture_writer w;
  capture_writer_init(&w, fd, CAPTURE_MEND_MAX);
  w.last_ms = t.ms;
  uint64_t size = blobs >= 0 && fstat(blobs, &st) == 0 ? (uint64_t)st.st_size : 0;
  int r = t.ended <= t.said && t.said <= size && t.ended < size ? mend_blob(&w, &t, blobs, size) : 0;
  w.blob_bytes = 0;
  int ended = capture_write_end(&w, CAPTURE_CRASH);
  return r < 0 ? r : ended;
}

/* ---- reading ---- */

struct reader {
  const char *at, *end; /* what is left */
  unsigned line;
  struct buf events, received, other, ended;
  size_t held; /* the event of what was received last, from 1; 0 when there is none or a blob took its end */
  size_t n_blob_bytes, blobs_at, blob_at; /* there are; named by the lines so far; where the blob that is made began */
  struct acq_capture c;
};

/* The next whole line, without its newline; false at the end of the text. */
static bool next_line(struct reader *r, const char **ret, size_t *ret_n) {
  const char *nl = r->at < r->end ? memchr(r->at, '\n', (size_t)(r->end - r->at)) : NULL;
  if (!nl)
    return false;
  *ret = r->at;
  *ret_n = (size_t)(nl - r->at);
  r->at = nl + 1;
  r->line++;
  return true;
}

/* The rest of a line that starts with `word` and a space, as a text of at most size - 1 bytes. */
static bool field(const char *line, size_t n, const char *word, char *text, size_t size) {
  size_t w = strlen(word);
  if (n < w + 1 || memcmp(line, word, w) || line[w] != ' ' || n - w - 1 >= size ||
      !str_is_clean_utf8(line + w + 1, n - w - 1))
    return false;
  memcpy(text, line + w + 1, n - w - 1);
  text[n - w - 1] = 0;
  return true;
}

static bool split(char *text, char **ret_second) {
  char *space = strchr(text, ' ');
  if (!space)
    return false;
  *space = 0;
  *ret_second = space + 1;
  return **ret_second && !strchr(*ret_second, ' ');
}

static bool read_header_line(struct reader *r, const char *word, char *text, size_t size) {
  const char *line;
  size_t n;
  if (!next_line(r, &line, &n)) {
    r->line++; /* the one that is missing */
    return false;
  }
  return field(line, n, word, text, size);
}

/* "10", "10 ecg", "300 spirometry post", "600 fundus 4" */
static int read_order(char *text, struct acq_order *ret) {
  char *modality = strchr(text, ' '), *more = modality ? strchr(modality + 1, ' ') : NULL;
  uint64_t seconds, pictures = 0;
  if (modality)
    *modality++ = 0;
  if (more)
    *more++ = 0;
  if (str_to_u64(text, 0, 86400, &seconds) < 0 || (modality && !(ret->modality = acq_modality_find(modality))))
    return -EPROTO;
  if (more && ret->modality == ACQ_FUNDUS ? str_to_u64(more, 1, ACQ_PICTURES_MAX, &pictures) < 0
                                          : more && !(ret->phase = acq_phase_find(more)))
    return -EPROTO;
  ret->seconds = (uint32_t)seconds;
  ret->pictures = (uint16_t)pictures;
  return 0;
}

static int read_header(struct reader *r) {
  struct capture_header *h = &r->c.header;
  char text[2 * ACQ_TEXT_MAX], *version;
  struct wall start;
  if (!read_header_line(r, "asaleed-capture", text, sizeof text) || strcmp(text, "1"))
    return -EPROTO;
  if (!read_header_line(r, "driver", text, sizeof text) || !split(text, &version) ||
      !str_copy(h->driver, sizeof h->driver, text) || !str_copy(h->version, sizeof h->version, version))
    return -EPROTO;
  if (!read_header_line(r, "bus", text, sizeof text))
    return -EPROTO;
  for (h->bus = ACQ_SERIAL; h->bus <= ACQ_FILE && strcmp(text, acq_bus_name(h->bus)); h->bus++)
    ;
  if (h->bus > ACQ_FILE)
    return -EPROTO;
  if (!read_header_line(r, "order", text, sizeof text) || read_order(text, &h->order) < 0)
    return -EPROTO;
  if (!read_header_line(r, "start", text, sizeof text) || wall_parse(text, &start) < 0)
    return -EPROTO;
  h->order.started_us = start.us;
  h->order.offset_minutes = start.offset_minutes;
  return 0;
}

static int read_note(struct reader *r, const char *text, size_t n) {
  struct acq_identity *id = &r->c.identity;
  if (!str_is_clean_utf8(text, n))
    return -EPROTO;
  const struct {
    const char *word;
    char *field;
  } fields[] = {{"make", id->make},
                {"model", id->model},
                {"serial", id->serial},
                {"firmware", id->firmware},
                {"sensor", id->sensor}};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    field(text, n, fields[i].word, fields[i].field, ACQ_TEXT_MAX);
  return buf_add(&r->other, text, n);
}

/* An event of which blobs took everything is none. */
static void drop_empty(struct reader *r, struct capture_event *empty) {
  struct capture_event *events = (struct capture_event *)(void *)r->events.data;
  struct capture_blob *blobs = (struct capture_blob *)(void *)r->ended.data;
  size_t i = (size_t)(empty - events), n = r->events.len / sizeof *events;
  if (empty->n)
    return;
  memmove(empty, empty + 1, (n - i - 1) * sizeof *empty);
  r->events.len -= sizeof *empty;
  for (size_t b = r->ended.len / sizeof *blobs; b-- && blobs[b].event > i;)
    blobs[b].event--;
}

/* Takes what stands in a blob out of the stream: `after` bytes follow it there. */
static int take_held(struct reader *r, size_t before, size_t after) {
  struct capture_event *held = r->held ? (struct capture_event *)(void *)r->events.data + r->held - 1 : NULL;
  if (!held || before + after > held->n || (before + after == held->n && !held->held))
    return -EPROTO;
  uint8_t *taken = r->received.data + r->received.len - before - after;
  if (memcmp(taken, r->c.blob_bytes + r->blobs_at, before))
    return -EPROTO;
  memmove(taken, taken + before, after);
  r->received.len -= before;
  held->n -= before + after;
  r->held = 0;
  drop_empty(r, held);
  return 0;
}

/* "<n> <before>[ <after>]": what stands in the blob does not stand in the stream too; the rest of what was received
 * with it comes after it. */
static int read_blob(struct reader *r, char *text, uint32_t ms) {
  char *second = strchr(text, ' '), *third = second ? strchr(second + 1, ' ') : NULL;
  uint64_t n, before, after = 0;
  if (!second)
    return -EPROTO;
  *second++ = 0;
  if (third)
    *third++ = 0;
  if (str_to_u64(text, 1, r->n_blob_bytes - r->blobs_at, &n) < 0 || str_to_u64(second, 0, n, &before) < 0 ||
      (third && str_to_u64(third, 1, CAPTURE_LINE_BYTES, &after) < 0) || (after && before != n))
    return -EPROTO;
  if (before && take_held(r, before, after) < 0)
    return -EPROTO;
  struct capture_event e = {.kind = ACQ_BLOB, .ms = ms, .at = r->blobs_at, .n = n};
  struct capture_event rest = {.kind = ACQ_RECEIVED, .ms = ms, .at = r->received.len - after, .n = after, .held = true};
  r->blobs_at += n;
  buf_add(&r->events, &e, sizeof e);
  if (after && buf_add(&r->events, &rest, sizeof rest) == 0)
    r->held = r->events.len / sizeof e;
  return r->events.err;
}

/* "<n> <sha256>" */
static int read_blob_end(struct reader *r, char *text, struct capture_event *e) {
  struct capture_blob blob = {.event = r->events.len / sizeof *e, .at = r->blob_at, .n = r->blobs_at - r->blob_at};
  char *sha, again[HASH_TEXT];
  uint64_t n;
  if (!split(text, &sha) || str_to_u64(text, 1, blob.n, &n) < 0 || n != blob.n || !hash_is_text(sha))
    return -EPROTO;
  hash_sha256_text(r->c.blob_bytes + blob.at, blob.n, again);
  if (strcmp(sha, again))
    return -EBADMSG;
  str_copy(blob.sha256, sizeof blob.sha256, sha);
  e->at = blob.at;
  e->n = blob.n;
  r->blob_at = r->blobs_at;
  return buf_add(&r->ended, &blob, sizeof blob);
}

static int read_event(struct reader *r, const char *line, size_t n) {
  char digits[16];
  uint64_t ms;
  if (n < 4 || line[1] != ' ')
    return -EPROTO;
  const char *space = memchr(line + 2, ' ', n - 2);
  size_t width = space ? (size_t)(space - line - 2) : 0;
  if (!width || width >= sizeof digits)
    return -EPROTO;
  memcpy(digits, line + 2, width);
  digits[width] = 0;
  struct capture_event e = {.kind = (enum acq_event_kind)line[0]};
  if (strlen(digits) != width || str_to_u64(digits, 0, UINT32_MAX, &ms) < 0)
    return -EPROTO;
  e.ms = (uint32_t)ms;
  size_t n_events = r->events.len / sizeof e;
  if (n_events && e.ms < ((struct capture_event *)(void *)r->events.data)[n_events - 1].ms)
    return -EPROTO;
  const char *rest = space + 1;
  size_t left = n - width - 3;
  struct buf *into = e.kind == ACQ_RECEIVED ? &r->received : &r->other;
  e.at = into->len;
  if (e.kind == ACQ_BLOB || is_blob_end(line[0])) {
    char text[32 + HASH_TEXT];
    if (left >= sizeof text)
      return -EPROTO;
    memcpy(text, rest, left);
    text[left] = 0;
    if (strlen(text) != left)
      return -EPROTO;
    if (e.kind == ACQ_BLOB)
      return read_blob(r, text, e.ms);
    int err = read_blob_end(r, text, &e);
    return err < 0 ? err : buf_add(&r->events, &e, sizeof e);
  }
  if (e.kind == ACQ_NOTE) {
    int err = read_note(r, rest, left);
    if (err < 0)
      return err;
  } else {
    if (left == 0 || left % 2 || left / 2 > CAPTURE_LINE_BYTES)
      return -EPROTO;
    uint8_t *bytes = buf_extend(into, left / 2);
    if (!bytes)
      return into->err;
    if (!str_unhex(rest, bytes, left / 2))
      return -EPROTO;
  }
  e.n = into->len - e.at;
  r->held = e.kind == ACQ_RECEIVED ? n_events + 1 : r->held;
  return buf_add(&r->events, &e, sizeof e);
}

static int read_all(struct reader *r) {
  int err = read_header(r);
  const char *line;
  size_t n;
  while (err == 0 && next_line(r, &line, &n)) {
    if (n > 4 && !memcmp(line, "end ", 4)) {
      r->c.end = CAPTURE_OK;
      while (r->c.end <= CAPTURE_CRASH &&
             (strlen(end_names[r->c.end]) != n - 4 || memcmp(line + 4, end_names[r->c.end], n - 4)))
        r->c.end++;
      if (r->c.end > CAPTURE_CRASH)
        return -EPROTO;
      r->line += r->at != r->end;
      if (r->at == r->end && (r->blob_at != r->blobs_at || r->blobs_at != r->n_blob_bytes))
        return -EBADMSG;
      return r->at != r->end ? -EPROTO : 0; /* the end is the end */
    }
    err = n && memchr("<>!^@#~", line[0], 7) ? read_event(r, line, n) : -EPROTO;
  }
  return err;
}

int capture_parse(const char *text, size_t n, struct acq_capture *ret, unsigned *ret_line) {
  return capture_parse_with(text, n, NULL, 0, ret, ret_line);
}

int capture_parse_with(const char *text, size_t n, const void *blobs, size_t n_blobs, struct acq_capture *ret,
                       unsigned *ret_line) {
  struct reader r = {
      .at = text,
      .end = text + n,
      .events = BUF_INIT(CAPTURE_TEXT_MAX * 4ul),
      .received = BUF_INIT(CAPTURE_TEXT_MAX),
      .other = BUF_INIT(CAPTURE_TEXT_MAX),
      .ended = BUF_INIT(CAPTURE_TEXT_MAX),
      .n_blob_bytes = n_blobs,
      .c = {.blob_bytes = blobs},
  };
  int err = n > CAPTURE_TEXT_MAX ? -EFBIG : read_all(&r);
  if (err < 0) {
    if (ret_line)
      *ret_line = r.line;
    buf_finish(&r.events);
    buf_finish(&r.received);
    buf_finish(&r.other);
    buf_finish(&r.ended);
    return err;
  }
  size_t bytes = 0, ignored;
  r.c.events = (struct capture_event *)(void *)buf_take(&r.events, &bytes);
  r.c.n_events = bytes / sizeof(struct capture_event);
  r.c.received = buf_take(&r.received, &r.c.n_received);
  r.c.other = buf_take(&r.other, &ignored);
  bytes = 0;
  r.c.blobs = (struct capture_blob *)(void *)buf_take(&r.ended, &bytes);
  r.c.n_blobs = bytes / sizeof(struct capture_blob);
  *ret = r.c;
  return 0;
}

int capture_from_raw(const void *bytes, size_t n, struct acq_capture *ret) {
  _buf_cleanup_ struct buf received = BUF_INIT(CAPTURE_TEXT_MAX), events = BUF_INIT(1024);
  struct capture_event e = {.kind = ACQ_RECEIVED, .n = n};
  if (n)
    buf_add(&events, &e, sizeof e);
  if (buf_add(&received, bytes, n) < 0 || events.err)
    return received.err ? received.err : events.err;
  struct acq_capture c = {.raw = true, .end = CAPTURE_OK};
  size_t ignored;
  c.n_events = n ? 1 : 0;
  c.events = (struct capture_event *)(void *)buf_take(&events, &ignored);
  c.received = buf_take(&received, &c.n_received);
  *ret = c;
  return 0;
}

int capture_from_file(const void *bytes, size_t n, struct acq_capture *ret) {
  struct acq_capture c = {.raw = true, .end = CAPTURE_OK, .blob_bytes = bytes};
  if (n > ACQ_BLOB_MAX)
    return -EFBIG;
  if (n) {
    c.events = calloc(1, sizeof *c.events);
    c.blobs = calloc(1, sizeof *c.blobs);
    c.n_events = c.n_blobs = 1;
    if (!c.events || !c.blobs) {
      capture_finish(&c);
      return -ENOMEM;
    }
    *c.events = (struct capture_event){.kind = ACQ_BLOB_WHOLE, .n = n};
    c.blobs->n = n;
    hash_sha256_text(bytes, n, c.blobs->sha256);
  }
  *ret = c;
  return 0;
}

void capture_finish(struct acq_capture *c) {
  if (!c)
    return;
  free(c->events);
  free(c->received);
  free(c->other);
  free(c->blobs);
  *c = (struct acq_capture){0};
}

bool acq_capture_event(const struct acq_capture *capture, size_t i, struct acq_event *ret) {
  if (i >= capture->n_events)
    return false;
  const struct capture_event *e = &capture->events[i];
  const uint8_t *arena = e->kind == ACQ_RECEIVED                             ? capture->received
                         : e->kind == ACQ_BLOB || is_blob_end((char)e->kind) ? capture->blob_bytes
                                                                             : capture->other;
  *ret = (struct acq_event){.kind = e->kind, .ms = e->ms, .bytes = e->n ? arena + e->at : NULL, .n = e->n};
  return true;
}

struct acq_cur acq_capture_received(const struct acq_capture *capture) {
  static const uint8_t none;
  return acq_cur(capture->received ? capture->received : &none, capture->n_received);
}

int acq_capture_file(const struct acq_capture *capture, struct acq_cur *ret, size_t *ret_event) {
  for (size_t i = 0; i < capture->n_blobs; i++) {
    const struct capture_blob *b = &capture->blobs[i];
    if (capture->events[b->event].kind != ACQ_BLOB_WHOLE)
      continue;
    *ret = acq_cur(capture->blob_bytes + b->at, b->n);
    if (ret_event)
      *ret_event = b->event;
    return 0;
  }
  return -ENODATA;
}

const struct acq_identity *acq_capture_identity(const struct acq_capture *capture) {
  return &capture->identity;
}

const struct acq_order *acq_capture_order(const struct acq_capture *capture) {
  return &capture->header.order;
}
