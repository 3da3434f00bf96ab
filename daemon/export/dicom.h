/* The one door to DCMTK: a DICOM object is put together attribute by attribute, then written as a PS3.10 file.
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

#ifdef __cplusplus
}
#endif
#endif
