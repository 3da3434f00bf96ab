/* Ophthalmic Photography 8 Bit Image Storage (DICOM PS3.3 A.41, C.8.17). */
#include "encode.h"
#include "picture.h"
#include "pixels.h"
#include "tags.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What of a picture stands in the object's image modules. */
struct image {
  uint32_t width, height, samples;
  const char *photometric;
  size_t compressed; /* bytes; 0 when the pixels are native */
};

/* ---- JPEG ---- */

enum { SOF0 = 0xC0, DHT = 0xC4, SOI = 0xD8, EOI = 0xD9, SOS = 0xDA, DQT = 0xDB, DRI = 0xDD, APP0 = 0xE0, APP14 = 0xEE };

static bool is_frame(uint8_t marker) {
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

struct frame {
  uint8_t marker, bits, components, id[3];
  uint32_t width, height;
};

static bool read_frame(uint8_t marker, const uint8_t *segment, size_t n, struct frame *ret) {
  struct acq_cur c = acq_cur(segment, n);
  acq_bytes(&c, 4); /* the marker and the length */
  struct frame f = {.marker = marker, .bits = acq_u8(&c)};
  f.height = acq_u16be(&c);
  f.width = acq_u16be(&c);
  f.components = acq_u8(&c);
  for (unsigned i = 0; i < f.components && i < 3; i++) {
    f.id[i] = acq_u8(&c);
    acq_bytes(&c, 2); /* its sampling and table */
  }
  *ret = f;
  return !c.err;
}

/* Whether three components are red, green and blue: JFIF says YCbCr, Adobe's segment says which, else the components'
 * names do. */
struct colour {
  bool jfif, adobe_rgb;
};

static void read_colour(uint8_t marker, const uint8_t *segment, size_t n, struct colour *colour) {
  if (marker == APP0 && n >= 9 && !memcmp(segment + 4, "JFIF", 5))
    colour->jfif = true;
  if (marker == APP14 && n >= 16 && !memcmp(segment + 4, "Adobe", 5))
    colour->adobe_rgb = segment[15] == 0;
}

static bool is_rgb(const struct frame *f, const struct colour *c) {
  return f->components == 3 && ((!c->jfif && c->adobe_rgb) || !memcmp(f->id, "RGB", 3));
}

static int add_piece(struct encode_output *out, const uint8_t *at, size_t n) {
  struct iovec *last = out->pixels.n ? &out->pieces[out->pixels.n - 1] : NULL;
  if (last && (const uint8_t *)last->iov_base + last->iov_len == at)
    last->iov_len += n;
  else if (out->pixels.n == ENCODE_PIECES_MAX)
    return -E2BIG;
  else
    out->pieces[out->pixels.n++] = (struct iovec){(void *)(uintptr_t)at, n};
  return 0;
}

/* The frame and the colours; false when a segment is not what it must be. */
static bool survey(const uint8_t *file, size_t n, struct frame *frame, struct colour *colour) {
  size_t at = 0, first, length, frames = 0;
  uint8_t marker, last = 0;
  while (picture_jpeg_segment(file, n, &at, &marker, &first, &length)) {
    if (is_frame(marker) && (frames++ || !read_frame(marker, file + first, length, frame)))
      return false;
    read_colour(marker, file + first, length, colour);
    last = marker;
    if (marker == EOI)
      break;
  }
  return frames == 1 && last == EOI;
}

/* What a baseline picture is made of. All else (APPn, comments, segments that no decoder of it knows) is beside it:
 * texts that the camera chose. */
static bool is_picture(uint8_t marker) {
  return marker == SOI || marker == DQT || marker == DHT || marker == DRI || marker == SOF0 || marker == SOS ||
         marker == EOI;
}

/* The file from SOI to EOI less what the camera wrote beside the picture. */
static int jpeg_pieces(const uint8_t *file, size_t n, struct encode_output *out, char reason[static 256]) {
  size_t at = 0, first, length;
  uint8_t marker = 0;
  while (marker != EOI && picture_jpeg_segment(file, n, &at, &marker, &first, &length)) {
    if (is_picture(marker) && add_piece(out, file + first, length) < 0)
      return encode_refuse(reason, "a JPEG picture in too many parts");
  }
  return 0;
}

static int put_jpeg(const struct encode_input *in, struct encode_output *out, struct image *image,
                    char reason[static 256]) {
  const uint8_t *file = in->data;
  size_t n = in->bytes;
  struct frame frame = {0};
  struct colour colour = {0};
  const char *why = NULL;
  if (!survey(file, n, &frame, &colour))
    return encode_refuse(reason, "a damaged JPEG picture");
  if (frame.components != 1 && frame.components != 3)
    return encode_refuse(reason, "a picture of %u components (CMYK)", frame.components);
  if (is_rgb(&frame, &colour)) /* the IOD has RGB for native pixels only; without the segment they would be YCbCr */
    return encode_refuse(reason, "a JPEG picture of red, green and blue instead of YCbCr");
  if (frame.bits != 8)
    return encode_refuse(reason, "a picture of %u bits a sample", frame.bits);
  if (frame.marker != SOF0) {
    /* The transfer syntax of progressive JPEG is retired and hardly read: the same coefficients in one scan. */
    int r = pixels_jpeg_baseline(file, n, &out->pixel_memory, &n, &why);
    if (r < 0)
      return r == -EPROTO ? encode_refuse(reason, "%s", why) : r;
    file = out->pixel_memory;
    if (!survey(file, n, &frame, &colour) || frame.marker != SOF0)
      return encode_refuse(reason, "a JPEG picture that cannot be made baseline");
  }
  int r = jpeg_pieces(file, n, out, reason);
  if (r < 0)
    return r;
  *image = (struct image){.width = frame.width, .height = frame.height, .samples = frame.components};
  /* The IOD knows no other name for YCbCr in a JPEG, whose own header says how the chroma is sampled. */
  image->photometric = frame.components == 1 ? "MONOCHROME2" : "YBR_FULL_422";
  for (size_t i = 0; i < out->pixels.n; i++)
    image->compressed += out->pieces[i].iov_len;
  out->pixels.encapsulated = 1;
  out->transfer_syntax = DICOM_JPEG_BASELINE;
  return 0;
}

/* ---- native pixels ---- */

static int put_native(const struct encode_input *in, enum picture_format format, struct encode_output *out,
                      struct image *image, char reason[static 256]) {
  struct pixels pixels;
  const char *why = NULL;
  int r = format == PICTURE_PNG ? pixels_png(in->data, in->bytes, &pixels, &why)
                                : pixels_tiff(in->data, in->bytes, &pixels, &why);
  if (r < 0)
    return r == -EPROTO ? encode_refuse(reason, "%s", why) : r;
  out->pixel_memory = pixels.bytes;
  *image = (struct image){.width = pixels.width,
                          .height = pixels.height,
                          .samples = pixels.samples,
                          .photometric = pixels.samples == 1 ? "MONOCHROME2" : "RGB"};
  out->pieces[out->pixels.n++] = (struct iovec){pixels.bytes, (size_t)pixels.width * pixels.height * pixels.samples};
  return 0;
}

/* ---- the object ---- */

/* General Image, Image Pixel, Multi-frame, Ophthalmic Photography Image. */
static void put_image(struct dicom_item root, const struct image *image) {
  const uint16_t samples = (uint16_t)image->samples, rows = (uint16_t)image->height, columns = (uint16_t)image->width,
                 bits = 8, high = 7, zero = 0;
  dicom_text(root, IMAGE_TYPE, "ORIGINAL\\PRIMARY");
  dicom_u16(root, SAMPLES_PER_PIXEL, &samples, 1);
  dicom_text(root, PHOTOMETRIC_INTERPRETATION, image->photometric);
  if (samples > 1)
    dicom_u16(root, PLANAR_CONFIGURATION, &zero, 1);
  else
    dicom_text(root, PRESENTATION_LUT_SHAPE, "IDENTITY");
  dicom_text(root, NUMBER_OF_FRAMES, "1");
  dicom_pointer(root, FRAME_INCREMENT_POINTER, FRAME_TIME);
  dicom_text(root, FRAME_TIME, "0");
  dicom_u16(root, ROWS, &rows, 1);
  dicom_u16(root, COLUMNS, &columns, 1);
  dicom_u16(root, BITS_ALLOCATED, &bits, 1);
  dicom_u16(root, BITS_STORED, &bits, 1);
  dicom_u16(root, HIGH_BIT, &high, 1);
  dicom_u16(root, PIXEL_REPRESENTATION, &zero, 1);
  /* Whether the camera printed a name into the pixels cannot be seen without looking: whoever removes identities must
   * not be told that there is none. */
  dicom_text(root, BURNED_IN_ANNOTATION, "YES");
  dicom_text(root, LOSSY_COMPRESSION, image->compressed ? "01" : "00");
  if (image->compressed) {
    char ratio[DEC_TEXT_MAX];
    uint64_t hundredths = (uint64_t)image->width * image->height * image->samples * 100 / image->compressed;
    snprintf(ratio, sizeof ratio, "%llu.%02llu", (unsigned long long)(hundredths / 100),
             (unsigned long long)(hundredths % 100));
    dicom_text(root, LOSSY_RATIO, ratio);
    dicom_text(root, LOSSY_METHOD, "ISO_10918_1");
  }
}

/* What nobody told us stays empty. */
static void put_unknown(struct dicom_item root) {
  static const dicom_tag values[] = {PATIENT_ORIENTATION,  EYE_MOVEMENT_COMMANDED,   EMMETROPIC_MAGNIFICATION,
                                     INTRAOCULAR_PRESSURE, HORIZONTAL_FIELD_OF_VIEW, DETECTOR_TYPE},
                         sequences[] = {ILLUMINATION_TYPE, LIGHT_PATH_FILTERS, IMAGE_PATH_FILTERS, LENSES,
                                        REFRACTIVE_STATE};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++)
    dicom_text(root, values[i], "");
  for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++)
    dicom_none(root, sequences[i]);
}

static void put_eye(const struct job *job, struct dicom_item root) {
  dicom_text(root, IMAGE_LATERALITY, job->fundus.laterality == 'L' ? "L" : "R");
  encode_code(root, ANATOMIC_REGION, (struct code){"5665001", "SCT", "Retina"});
  encode_code(root, ACQUISITION_DEVICE_TYPE, (struct code){"409898007", "SCT", "Fundus Camera"});
  if (!strcmp(job->fundus.field, "macula"))
    encode_code(root, RELATIVE_IMAGE_POSITION, (struct code){"111900", "DCM", "Macula centered"});
  if (!strcmp(job->fundus.field, "disc"))
    encode_code(root, RELATIVE_IMAGE_POSITION, (struct code){"111901", "DCM", "Disc centered"});
  dicom_text(root, PUPIL_DILATED, job->fundus.dilated ? "YES" : "NO");
  if (!job->fundus.dilated)
    return;
  if (job->fundus.has_degree)
    dicom_real(root, DEGREE_OF_DILATION, job->fundus.degree_mm.mantissa, job->fundus.degree_mm.exponent);
  else
    dicom_text(root, DEGREE_OF_DILATION, "");
  if (!job->fundus.n_agents)
    dicom_none(root, MYDRIATIC_AGENT);
  for (size_t i = 0; i < job->fundus.n_agents; i++)
    encode_code(dicom_add(root, MYDRIATIC_AGENT), MYDRIATIC_AGENT_CODE,
                (struct code){job->fundus.agents[i].code, "SCT", job->fundus.agents[i].meaning});
}

/* The record's picture of that number, if the data can be it: its hash would take longer than all the rest, and is
 * what the artefact is named by. */
static int find_picture(const struct encode_input *in, const struct picture *seen, const json_t **ret,
                        char reason[static 256]) {
  const json_t *pictures = json_object_get(json_object_get(in->record, "acquired"), "pictures");
  const json_t *p = json_array_get(pictures, (size_t)in->job->fundus.picture - 1); /* numbers count from 1 */
  if (!p)
    return encode_refuse(reason, "the record has no such picture");
  if ((uint64_t)json_integer_value(json_object_get(p, "bytes")) != in->bytes ||
      strcmp(json_text(p, "format"), picture_format_name(seen->format)) ||
      json_integer_value(json_object_get(p, "width")) != seen->width ||
      json_integer_value(json_object_get(p, "height")) != seen->height)
    return encode_refuse(reason, "the data is not the record's picture");
  *ret = p;
  return 0;
}

int encode_fundus(const struct encode_input *in, struct dicom_item root, struct encode_output *out,
                  char reason[static 256]) {
  struct picture seen;
  struct image image = {0};
  const json_t *picture = NULL;
  picture_read(in->data, in->bytes, &seen);
  int r = find_picture(in, &seen, &picture, reason);
  if (r < 0)
    return r;
  if (!seen.whole)
    return encode_refuse(reason, "a damaged picture: %s", seen.why);
  out->pixels.pieces = out->pieces;
  switch (seen.format) {
  case PICTURE_JPEG:
  case PICTURE_JPEG_PROGRESSIVE:
    r = put_jpeg(in, out, &image, reason);
    break;
  case PICTURE_PNG:
  case PICTURE_TIFF:
    r = put_native(in, seen.format, out, &image, reason);
    break;
  default:
    r = encode_refuse(reason, "a picture in a format that is not known");
  }
  if (r < 0)
    return r;
  if (!image.width || !image.height || image.width > UINT16_MAX || image.height > UINT16_MAX)
    return encode_refuse(reason, "a picture without a size that an object may have");

  struct wall when = encode_when(in, json_integer_value(json_object_get(picture, "trial")));
  char frame_uid[JOB_UID_MAX + 3];
  snprintf(frame_uid, sizeof frame_uid, "%s.1", in->job->series_uid);
  dicom_text(root, SOP_CLASS_UID, OPHTHALMIC_PHOTOGRAPHY_8);
  dicom_text(root, MODALITY, "OP");
  encode_datetime(root, ACQUISITION_DATETIME, when);
  encode_date_time(root, CONTENT_DATE, CONTENT_TIME, when);
  dicom_text(root, SYNCHRONIZATION_TRIGGER, "NO TRIGGER");
  dicom_text(root, TIME_SYNCHRONIZED, "N");
  dicom_text(root, SYNCHRONIZATION_FRAME_UID, frame_uid);
  put_image(root, &image);
  put_unknown(root);
  put_eye(in->job, root);
  return 0;
}
