/* ECGs and fundus pictures in DICOM files. README.md says what is known and how well. The file itself is read in a
 * process of its own (asaleed-export decode), which leaves what asalee/flat.h has. */
#include "dicom.h"

#include <stdio.h>
#include <string.h>

#define READ_MS 5000u

/* ---- acquire ---- */

static int identify(struct acq_io *io, struct acq_identity *ret) {
  uint8_t magic[FLAT_MAGIC_BYTES];
  int r = acq_read(io, magic, sizeof magic, READ_MS);
  if (r == 0 || r == -ENODATA) {
    if (r < 0 || memcmp(magic, FLAT_MAGIC, sizeof magic))
      return acq_fail(io, -ENXIO, "not what is made of a DICOM file");
    memset(ret, 0, sizeof *ret);
  }
  return r;
}

static int cut_short(struct acq_io *io, int r) {
  return r == -ENODATA ? acq_fail(io, -EPROTO, "what was made of the file is cut short") : r;
}

static int pass(struct acq_io *io, uint32_t n) {
  static uint8_t part[2048];
  int r = 0;
  for (; n && r == 0; n -= n < sizeof part ? n : (uint32_t)sizeof part)
    r = acq_read(io, part, n < sizeof part ? n : sizeof part, READ_MS);
  return r;
}

static int take_picture(struct acq_io *io, uint32_t n) {
  int r = acq_blob(io, n, 0, READ_MS);
  return r < 0 ? r : acq_blob_end(io);
}

static int acquire(struct acq_io *io, const struct acq_order *order) {
  uint64_t attributes = 0;
  unsigned pictures = 0;
  (void)order;
  for (;;) {
    uint8_t head[FLAT_HEAD];
    struct flat_entry e;
    int r = acq_read(io, head, sizeof head, READ_MS);
    struct acq_cur c = acq_cur(head, sizeof head);
    if (r == 0 && flat_head(&c, &e) < 0)
      return acq_fail(io, -EPROTO, "what was made of the file is damaged");
    if (r == 0 && e.kind == '.')
      return 0;
    if (r == 0 && e.kind == 'p' && pictures++ == FLAT_PICTURES_MAX)
      return acq_fail(io, -EPROTO, "more pictures than a record holds");
    if (r == 0 && e.kind != 'p' && (attributes += FLAT_HEAD + e.n) > FLAT_ATTRIBUTES_MAX)
      return acq_fail(io, -EPROTO, "more than a record holds");
    if (r == 0)
      r = e.kind == 'p' ? take_picture(io, e.n) : pass(io, e.n);
    if (r < 0)
      return cut_short(io, r);
  }
}

static int release(struct acq_io *io) {
  (void)io;
  return 0;
}

/* ---- decode ---- */

static enum acq_modality modality_of(struct dicom_file *f) {
  static const struct {
    const char *uid;
    enum acq_modality modality;
  } classes[] = {{"1.2.840.10008.5.1.4.1.1.9.1.1", ACQ_ECG},
                 {"1.2.840.10008.5.1.4.1.1.9.1.2", ACQ_ECG},
                 {"1.2.840.10008.5.1.4.1.1.9.1.3", ACQ_ECG},
                 {"1.2.840.10008.5.1.4.1.1.77.1.5.1", ACQ_FUNDUS}};
  char uid[65];
  dicom_text(f, f->root, SOP_CLASS_UID, uid, sizeof uid);
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
    if (!strcmp(uid, classes[i].uid))
      return classes[i].modality;
  return 0;
}

static char eye_of(struct dicom_file *f, uint32_t tag) {
  char eye[8];
  dicom_text(f, f->root, tag, eye, sizeof eye);
  return !strcmp(eye, "L") || !strcmp(eye, "R") || !strcmp(eye, "B") ? *eye : 0;
}

/* The picture's own word, else the series'. Where they differ neither is believed. */
static void tell_laterality(struct dicom_file *f) {
  const char image = eye_of(f, IMAGE_LATERALITY), series = eye_of(f, LATERALITY), eye = image ? image : series;
  if (image != 'B' && series != 'B' && series && image && image != series)
    acq_rec_quality(f->record, "file_inconsistent", "", 1);
  else if (eye && eye != 'B')
    acq_rec_laterality(f->record, eye);
}

/* The next blob from event *at on. */
static bool next_blob(const struct acq_capture *capture, size_t *at, struct acq_event *ret) {
  for (; acq_capture_event(capture, *at, ret); (*at)++)
    if (ret->kind == ACQ_BLOB_WHOLE)
      return true;
  return false;
}

/* Each picture's head, whose bytes are a blob; then the end. */
static int take_rest(struct dicom_file *f, const struct acq_capture *capture, struct acq_cur rest, bool pictures) {
  unsigned n = 0;
  for (size_t at = 0;; at++) {
    struct flat_entry e = {0};
    struct acq_event blob;
    if (flat_head(&rest, &e) < 0 || (e.kind != 'p' && e.kind != '.'))
      return acq_rec_fail(f->record, -EPROTO, "what was made of the file is cut short or damaged");
    if (e.kind == '.')
      break;
    if (!pictures || n++ == FLAT_PICTURES_MAX)
      return acq_rec_fail(f->record, -EPROTO, "more pictures than there may be");
    if (!next_blob(capture, &at, &blob) || blob.n != e.n)
      return acq_rec_fail(f->record, -EPROTO, "a picture that is not whole");
    dicom_begin_trial(f, 0);
    acq_rec_picture(f->record, at, "");
    tell_laterality(f);
  }
  if (acq_end(&rest) < 0)
    return acq_rec_fail(f->record, -EPROTO, "more follows the end");
  return pictures && !n ? acq_rec_fail(f->record, -ENODATA, "no picture") : 0;
}

static int decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct dicom_file f = {.record = ret, .order = acq_capture_order(capture)};
  struct acq_cur rest;
  int r = flat_open(acq_capture_received(capture), &f.root, &rest);
  if (r < 0)
    return acq_rec_fail(ret, r,
                        r == -ENXIO ? "not what is made of a DICOM file" : "what was made of the file is damaged");
  if (!acq_left(&rest))
    return acq_rec_fail(ret, -EPROTO, "what was made of the file is cut short");
  const enum acq_modality modality = modality_of(&f);
  if (!modality)
    return acq_rec_fail(ret, -EOPNOTSUPP, "a kind of object that is not taken");
  acq_rec_modality(ret, modality);
  dicom_subject(&f);
  dicom_instrument(&f);
  acq_rec_quality(ret, "file_unchecked", "", 1);
  r = modality == ACQ_ECG ? dicom_ecg(&f) : 0;
  if (r == 0)
    r = take_rest(&f, capture, rest, modality == ACQ_FUNDUS);
  if (r < 0)
    return r;
  dicom_statements(&f);
  if (f.unreadable)
    acq_rec_quality(ret, "text_unreadable", "", 1);
  return acq_rec_done(ret);
}

/* Beside the usual names those that DICOM media give files (PS3.10 8.2: at most eight capitals, digits and
 * underscores, no ending): IM000001, IMG00002, I0000003, 00000004. */
static const struct acq_match match[] = {
    {.bus = ACQ_FILE, .pattern = "*.dcm", .flat = true},
    {.bus = ACQ_FILE, .pattern = "*.dicom", .flat = true},
    {.bus = ACQ_FILE, .pattern = "*.ima", .flat = true},
    {.bus = ACQ_FILE, .pattern = "i[0-9]*[0-9]", .flat = true},
    {.bus = ACQ_FILE, .pattern = "im[0-9_]*[0-9]", .flat = true},
    {.bus = ACQ_FILE, .pattern = "img[0-9_]*[0-9]", .flat = true},
    {.bus = ACQ_FILE, .pattern = "[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]", .flat = true},
    {0},
};

const struct acq_driver file_dicom = {
    .abi = ACQ_DRIVER_ABI,
    .name = "file_dicom",
    .version = "1",
    .label = "Fichier DICOM (ECG, rétinographie)",
    .modalities = ACQ_MODALITY(ACQ_ECG) | ACQ_MODALITY(ACQ_FUNDUS),
    .maturity = ACQ_EXPERIMENTAL,
    .integrity = ACQ_NONE,
    .match = match,
    .limits =
        {
            .max_bytes = 256u << 20, /* what asaleed-export may write */
            .max_seconds = 3600,
            .default_seconds = 600,
            .idle_ms = READ_MS,
            .grace_ms = 30000,
        },
    .identify = identify,
    .acquire = acquire,
    .release = release,
    .decode = decode,
};
