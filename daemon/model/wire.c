#include "buf.h"
#include "str.h"
#include "wall.h"
#include <asalee/record.h>
#include <asalee/wire.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void put_text(struct buf *b, const char *text, size_t field) {
  size_t n = strnlen(text, field);
  if (n == field || !str_is_clean_utf8(text, n)) {
    b->err = b->err ? b->err : -EINVAL;
    return;
  }
  buf_u8(b, (uint8_t)n);
  buf_add(b, text, n);
}

static void put_enum(struct buf *b, unsigned v, unsigned max) {
  if (v > max)
    b->err = b->err ? b->err : -EINVAL;
  else
    buf_u8(b, (uint8_t)v);
}

static void get_text(struct acq_cur *c, char *text, size_t field) {
  size_t n = acq_u8(c);
  const uint8_t *p = acq_bytes(c, n);
  if (!p)
    return;
  if (n >= field || !str_is_clean_utf8((const char *)p, n)) {
    acq_refuse(c, -EPROTO);
    return;
  }
  memcpy(text, p, n);
  text[n] = 0;
}

static uint32_t get_range(struct acq_cur *c, uint32_t v, uint32_t min, uint32_t max) {
  if (v < min || v > max)
    acq_refuse(c, -EPROTO);
  return v;
}

static void put_dec(struct buf *b, struct dec d) {
  buf_u32le(b, (uint32_t)d.mantissa);
  buf_u8(b, (uint8_t)d.exponent);
}

static struct dec get_dec(struct acq_cur *c) {
  struct dec d = {.mantissa = (int32_t)acq_u32le(c)};
  d.exponent = (int8_t)acq_u8(c);
  if (d.exponent < DEC_EXP_MIN || d.exponent > DEC_EXP_MAX)
    acq_refuse(c, -EPROTO);
  return d;
}

static void put_preview(struct buf *b, const struct wire_preview *p) {
  if (!p->channels || p->channels > ACQ_PREVIEW_CHANNELS || !p->samples || p->samples > ACQ_PREVIEW_SAMPLES) {
    b->err = b->err ? b->err : -EINVAL;
    return;
  }
  buf_u8(b, (uint8_t)p->channels);
  buf_u8(b, (uint8_t)p->samples);
  buf_u32le(b, p->first);
  buf_u32le(b, p->rate_hz);
  put_dec(b, p->scale);
  for (unsigned c = 0; c < p->channels; c++) {
    buf_u8(b, p->code[c]);
    for (unsigned s = 0; s < p->samples; s++)
      buf_u16le(b, (uint16_t)p->values[c][s]);
  }
}

static void get_preview(struct acq_cur *c, struct wire_preview *p) {
  p->channels = get_range(c, acq_u8(c), 1, ACQ_PREVIEW_CHANNELS);
  p->samples = get_range(c, acq_u8(c), 1, ACQ_PREVIEW_SAMPLES);
  p->first = acq_u32le(c);
  p->rate_hz = get_range(c, acq_u32le(c), 1, 1000000);
  p->scale = get_dec(c);
  for (unsigned ch = 0; ch < p->channels && !c->err; ch++) {
    p->code[ch] = acq_u8(c);
    const struct nomenclature *row = nomenclature_row(p->code[ch]);
    if (!row || row->kind != 'C') /* the nurse sees it: samples, nothing that an instrument concludes */
      acq_refuse(c, -EPROTO);
    for (unsigned s = 0; s < p->samples && !c->err; s++)
      p->values[ch][s] = (int16_t)acq_u16le(c);
  }
}

static void put_picture(struct buf *b, const struct wire_picture *p) {
  if (!p->n || p->n > WIRE_PICTURE_MAX) {
    b->err = b->err ? b->err : -EINVAL;
    return;
  }
  buf_u32le(b, p->number);
  buf_u32le(b, p->width);
  buf_u32le(b, p->height);
  buf_u32le(b, p->n);
  buf_add(b, p->jpeg, p->n);
}

static void get_picture(struct acq_cur *c, struct wire_picture *p) {
  p->number = get_range(c, acq_u32le(c), 1, UINT16_MAX);
  p->width = get_range(c, acq_u32le(c), 1, UINT16_MAX);
  p->height = get_range(c, acq_u32le(c), 1, UINT16_MAX);
  p->n = get_range(c, acq_u32le(c), 1, WIRE_PICTURE_MAX);
  const uint8_t *jpeg = c->err ? NULL : acq_bytes(c, p->n);
  if (jpeg)
    memcpy(p->jpeg, jpeg, p->n);
}

static void put_collect(struct buf *b, const struct wire_collect *o) {
  if (!o->n_patterns || o->n_patterns > WIRE_PATTERNS_MAX) {
    b->err = b->err ? b->err : -EINVAL;
    return;
  }
  put_text(b, o->path, sizeof o->path);
  buf_u8(b, o->watch);
  buf_u32le(b, o->settle_ms);
  buf_u32le(b, o->poll_s);
  buf_u32le(b, o->max_bytes);
  buf_u8(b, (uint8_t)o->n_patterns);
  for (unsigned i = 0; i < o->n_patterns; i++)
    put_text(b, o->pattern[i], sizeof o->pattern[i]);
}

static void get_collect(struct acq_cur *c, struct wire_collect *o) {
  get_text(c, o->path, sizeof o->path);
  o->watch = get_range(c, acq_u8(c), 0, 1);
  o->settle_ms = get_range(c, acq_u32le(c), 0, WIRE_SETTLE_MAX);
  o->poll_s = get_range(c, acq_u32le(c), o->watch ? 1 : 0, WIRE_POLL_MAX);
  o->max_bytes = get_range(c, acq_u32le(c), 1, ACQ_BLOB_MAX);
  o->n_patterns = get_range(c, acq_u8(c), 1, WIRE_PATTERNS_MAX);
  for (unsigned i = 0; i < o->n_patterns && !c->err; i++) {
    get_text(c, o->pattern[i], sizeof o->pattern[i]);
    if (!o->pattern[i][0] || strchr(o->pattern[i], '/'))
      acq_refuse(c, -EPROTO);
  }
  if (o->path[0] != '/')
    acq_refuse(c, -EPROTO);
}

static void put_file(struct buf *b, const struct wire_file *f) {
  buf_u32le(b, f->number);
  buf_u32le(b, f->pattern);
  buf_u32le(b, f->bytes);
  buf_u64le(b, (uint64_t)f->modified_us);
  buf_add(b, f->sha256, sizeof f->sha256);
  put_text(b, f->name, sizeof f->name);
}

static void get_file(struct acq_cur *c, struct wire_file *f) {
  f->number = get_range(c, acq_u32le(c), 1, UINT32_MAX);
  f->pattern = get_range(c, acq_u32le(c), 0, WIRE_PATTERNS_MAX - 1);
  f->bytes = get_range(c, acq_u32le(c), 1, ACQ_BLOB_MAX);
  f->modified_us = (int64_t)acq_u64le(c);
  const uint8_t *sha256 = acq_bytes(c, sizeof f->sha256);
  if (sha256)
    memcpy(f->sha256, sha256, sizeof f->sha256);
  get_text(c, f->name, sizeof f->name);
  if (!f->name[0] || f->modified_us < WALL_MIN || f->modified_us > WALL_MAX)
    acq_refuse(c, -EPROTO);
}

#define PASS_COUNTS 7
static void put_pass(struct buf *b, const struct wire_pass *p) {
  const uint32_t counts[PASS_COUNTS] = {p->taken,     p->known,     p->unsettled, p->empty,
                                        p->too_large, p->not_files, p->unreadable};
  buf_u32le(b, p->matching);
  for (int i = 0; i < PASS_COUNTS; i++)
    buf_u32le(b, counts[i]);
  buf_u8(b, p->too_many);
}

static void get_pass(struct acq_cur *c, struct wire_pass *p) {
  uint32_t *const counts[PASS_COUNTS] = {&p->taken,     &p->known,     &p->unsettled, &p->empty,
                                         &p->too_large, &p->not_files, &p->unreadable};
  uint64_t sum = 0;
  p->matching = acq_u32le(c);
  for (int i = 0; i < PASS_COUNTS; i++)
    sum += *counts[i] = acq_u32le(c);
  p->too_many = get_range(c, acq_u8(c), 0, 1);
  if (sum != p->matching)
    acq_refuse(c, -EPROTO);
}

int wire_write(const struct wire_message *m, uint8_t bytes[static WIRE_MAX]) {
  _buf_cleanup_ struct buf b = BUF_INIT(WIRE_MAX);
  buf_u8(&b, (uint8_t)m->type);
  switch (m->type) {
  case WIRE_ORDER:
    put_text(&b, m->order.driver, sizeof m->order.driver);
    put_text(&b, m->order.node, sizeof m->order.node);
    put_enum(&b, m->order.bus, ACQ_FILE);
    buf_u32le(&b, m->order.order.seconds);
    buf_u64le(&b, (uint64_t)m->order.order.started_us);
    buf_u16le(&b, (uint16_t)m->order.order.offset_minutes);
    put_enum(&b, m->order.order.modality, ACQ_MEASUREMENT);
    put_enum(&b, m->order.order.phase, ACQ_POST);
    buf_u16le(&b, m->order.order.pictures);
    break;
  case WIRE_START:
  case WIRE_CANCEL:
  case WIRE_FINISH:
  case WIRE_OPENED:
  case WIRE_KEPT:
    break;
  case WIRE_IDENTITY:
    put_text(&b, m->identity.make, sizeof m->identity.make);
    put_text(&b, m->identity.model, sizeof m->identity.model);
    put_text(&b, m->identity.serial, sizeof m->identity.serial);
    put_text(&b, m->identity.firmware, sizeof m->identity.firmware);
    put_text(&b, m->identity.sensor, sizeof m->identity.sensor);
    break;
  case WIRE_PROGRESS:
    buf_u32le(&b, m->progress.done);
    buf_u32le(&b, m->progress.total);
    break;
  case WIRE_PREVIEW:
    put_preview(&b, &m->preview);
    break;
  case WIRE_PICTURE:
    put_picture(&b, &m->picture);
    break;
  case WIRE_CONTACTS:
    buf_u32le(&b, m->contacts.known);
    buf_u32le(&b, m->contacts.on);
    break;
  case WIRE_RECORD:
    for (int i = 0; i < WIRE_RECORDS; i++) {
      buf_u32le(&b, m->record.json_bytes[i]);
      buf_u32le(&b, m->record.data_bytes[i]);
      buf_u32le(&b, m->record.preview_bytes[i]);
    }
    break;
  case WIRE_FAIL:
    buf_u32le(&b, (uint32_t)m->fail.err);
    put_enum(&b, m->fail.step, WIRE_STEP_DECODE);
    put_text(&b, m->fail.text, sizeof m->fail.text);
    break;
  case WIRE_COLLECT:
    put_collect(&b, &m->collect);
    break;
  case WIRE_FILE:
    put_file(&b, &m->file);
    break;
  case WIRE_BATCH:
    buf_u32le(&b, m->batch.files);
    break;
  case WIRE_PASS:
    put_pass(&b, &m->pass);
    break;
  default:
    return -EINVAL;
  }
  if (b.err)
    return b.err == -EFBIG ? -EMSGSIZE : b.err;
  struct wire_message again;
  if (wire_read(b.data, b.len, &again) < 0) /* the reader's limits are the writer's */
    return -EINVAL;
  memcpy(bytes, b.data, b.len);
  return (int)b.len;
}

int wire_read(const void *bytes, size_t n, struct wire_message *ret) {
  struct wire_message m = {0};
  struct acq_cur c = acq_cur(bytes, n);
  m.type = acq_u8(&c);
  switch (m.type) {
  case WIRE_ORDER:
    get_text(&c, m.order.driver, sizeof m.order.driver);
    get_text(&c, m.order.node, sizeof m.order.node);
    m.order.bus = get_range(&c, acq_u8(&c), 0, ACQ_FILE);
    m.order.order.seconds = acq_u32le(&c);
    m.order.order.started_us = (int64_t)acq_u64le(&c);
    m.order.order.offset_minutes = (int16_t)acq_u16le(&c);
    m.order.order.modality = get_range(&c, acq_u8(&c), 0, ACQ_MEASUREMENT);
    m.order.order.phase = get_range(&c, acq_u8(&c), 0, ACQ_POST);
    m.order.order.pictures = (uint16_t)get_range(&c, acq_u16le(&c), 0, ACQ_PICTURES_MAX);
    if (m.order.order.offset_minutes < -1439 || m.order.order.offset_minutes > 1439 ||
        m.order.order.started_us < WALL_MIN || m.order.order.started_us > WALL_MAX ||
        (m.order.bus == 0) != (m.order.node[0] == 0))
      acq_refuse(&c, -EPROTO);
    break;
  case WIRE_START:
  case WIRE_CANCEL:
  case WIRE_FINISH:
  case WIRE_OPENED:
  case WIRE_KEPT:
    break;
  case WIRE_IDENTITY:
    get_text(&c, m.identity.make, sizeof m.identity.make);
    get_text(&c, m.identity.model, sizeof m.identity.model);
    get_text(&c, m.identity.serial, sizeof m.identity.serial);
    get_text(&c, m.identity.firmware, sizeof m.identity.firmware);
    get_text(&c, m.identity.sensor, sizeof m.identity.sensor);
    break;
  case WIRE_PROGRESS:
    m.progress.done = acq_u32le(&c);
    m.progress.total = acq_u32le(&c);
    break;
  case WIRE_PREVIEW:
    get_preview(&c, &m.preview);
    break;
  case WIRE_PICTURE:
    get_picture(&c, &m.picture);
    break;
  case WIRE_CONTACTS:
    m.contacts.known = acq_u32le(&c);
    m.contacts.on = acq_u32le(&c);
    break;
  case WIRE_RECORD:
    for (int i = 0; i < WIRE_RECORDS; i++) {
      m.record.json_bytes[i] = get_range(&c, acq_u32le(&c), 0, RECORD_JSON_MAX);
      m.record.data_bytes[i] = get_range(&c, acq_u32le(&c), 0, m.record.json_bytes[i] ? RECORD_DATA_MAX : 0);
      m.record.preview_bytes[i] = get_range(&c, acq_u32le(&c), 0, m.record.json_bytes[i] ? RECORD_PREVIEWS_MAX : 0);
    }
    if (!m.record.json_bytes[WIRE_OWN] && !m.record.json_bytes[WIRE_STRAY])
      acq_refuse(&c, -EPROTO);
    break;
  case WIRE_FAIL:
    m.fail.err = (int32_t)acq_u32le(&c);
    m.fail.step = get_range(&c, acq_u8(&c), WIRE_STEP_OPEN, WIRE_STEP_DECODE);
    get_text(&c, m.fail.text, sizeof m.fail.text);
    if (m.fail.err >= 0 || m.fail.err < -4095)
      acq_refuse(&c, -EPROTO);
    break;
  case WIRE_COLLECT:
    get_collect(&c, &m.collect);
    break;
  case WIRE_FILE:
    get_file(&c, &m.file);
    break;
  case WIRE_BATCH:
    m.batch.files = get_range(&c, acq_u32le(&c), 1, WIRE_BATCH_FILES);
    break;
  case WIRE_PASS:
    get_pass(&c, &m.pass);
    break;
  default:
    acq_refuse(&c, -EPROTO);
  }
  int r = acq_end(&c);
  if (r == 0)
    *ret = m;
  return r;
}

int wire_send(int fd, const struct wire_message *message) {
  uint8_t bytes[WIRE_MAX];
  int n = wire_write(message, bytes);
  if (n < 0)
    return n;
  ssize_t sent;
  do
    sent = send(fd, bytes, (size_t)n, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0)
    return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
  return 0;
}

int wire_receive(int fd, struct wire_message *ret) {
  uint8_t bytes[WIRE_MAX + 1]; /* one more, so that a longer packet is noticed */
  ssize_t n;
  do
    n = recv(fd, bytes, sizeof bytes, 0);
  while (n < 0 && errno == EINTR);
  if (n < 0)
    return errno == ECONNRESET ? -ENODATA : -errno;
  if (n == 0)
    return -ENODATA;
  return wire_read(bytes, (size_t)n, ret);
}
