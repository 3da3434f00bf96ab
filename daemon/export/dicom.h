/* The one door to DCMTK: a DICOM object is put together attribute by attribute, then written as a PS3.10 file; or one
 * is read from a file's bytes, and asked for its attributes.
 *
 * A struct dicom_item is the object's dataset or an item of a sequence in it; it is passed by value, owns nothing and
 * is good until dicom_destroy(). Errors stick to the object: dicom_write() gives the first one. Attributes may be put
 * in any order. Texts are UTF-8 and already what their VR allows; nothing is looked up in a data dictionary, so that a
 * process needs no file for it: a tag brings its VR along. */
#ifndef ASALEED_DICOM_H
#define ASALEED_DICOM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Group and element in the upper 32 bits, then the two letters of the VR. */
typedef uint64_t dicom_tag;
#define DICOM_TAG(group, element, vr) \
  ((uint64_t)(group) << 48 | (uint64_t)(element) << 32 | (uint64_t)(uint8_t)(vr)[0] << 8 | (uint64_t)(uint8_t)(vr)[1])

#define DICOM_EXPLICIT "1.2.840.10008.1.2.1"         /* little endian, explicit VR */
#define DICOM_EXPLICIT_BIG "1.2.840.10008.1.2.2"     /* big endian, explicit VR; retired */
#define DICOM_JPEG_BASELINE "1.2.840.10008.1.2.4.50" /* JPEG process 1 */

struct dicom;
struct dicom_item {
  struct dicom *object;
  void *item;
};

struct dicom *dicom_create(void); /* NULL without memory */
void dicom_destroy(struct dicom *object);
struct dicom_item dicom_root(struct dicom *object);

/* The value as DICOM writes it, several with a backslash between; "" puts the attribute without a value. */
void dicom_text(struct dicom_item at, dicom_tag tag, const char *value);
void dicom_u16(struct dicom_item at, dicom_tag tag, const uint16_t *values, size_t n); /* US */
void dicom_u32(struct dicom_item at, dicom_tag tag, uint32_t value);                   /* UL */
void dicom_pointer(struct dicom_item at, dicom_tag tag, dicom_tag to);                 /* AT */
/* FL: mantissa x 10^exponent, as near as four bytes come. */
void dicom_real(struct dicom_item at, dicom_tag tag, int32_t mantissa, int exponent);
/* An OW value of n > 0 words for the caller to fill, in host order; the object owns it. NULL on error. */
uint16_t *dicom_words(struct dicom_item at, dicom_tag tag, size_t n);

/* A further item of a sequence; and a sequence without items. */
struct dicom_item dicom_add(struct dicom_item at, dicom_tag sequence);
void dicom_none(struct dicom_item at, dicom_tag sequence);

/* The object's Pixel Data, in pieces that are written from where they lie: native, or one fragment. */
struct dicom_pixels {
  const struct iovec *pieces;
  size_t n;
  int encapsulated;
};

/* Writes the file at the start of fd. `pixels` is NULL where the object has none. The identity of the object comes
 * from its own SOP Class and SOP Instance UID. 0, or a negative errno. */
int dicom_write(struct dicom *object, int fd, const char *transfer_syntax, const struct dicom_pixels *pixels);

/* ---- reading ---- */

/* A PS3.10 file, or a dataset without its head, which somebody else chose. `known` are the tags that may be asked for:
 * a file of implicit VR is read by theirs. 0 and *ret; -EPROTO, and *ret_why (static) says what is wrong; -ENOMEM,
 * which a hostile file can bring about. All that is returned below lives until dicom_destroy(), unless it says
 * otherwise. */
int dicom_read(const uint8_t *file, size_t n, const dicom_tag *known, size_t n_known, struct dicom **ret,
               const char **ret_why);
const char *dicom_transfer_syntax(const struct dicom *object);
/* The first error that any call below met, or 0. */
int dicom_error(const struct dicom *object);

/* One value: decimal text of numbers ("1\0"), until the next dicom_get(); the words of OW in host order; else the bytes
 * as they stand in the file. */
struct dicom_value {
  const uint8_t *bytes;
  size_t n;
  int words; /* it is OW */
};
/* False when the attribute is not there, or is a sequence, or a binary real. */
int dicom_get(struct dicom_item at, dicom_tag tag, struct dicom_value *ret);
/* The next item of a sequence; begin with item->item = NULL. False after the last. */
int dicom_next(struct dicom_item at, dicom_tag sequence, struct dicom_item *item);
/* The object's Pixel Data: one piece, or the offset table and the fragments. False when it has none that can be read
 * without decoding. */
int dicom_pixel_data(struct dicom *object, struct dicom_pixels *ret);

#ifdef __cplusplus
}
#endif
#endif
