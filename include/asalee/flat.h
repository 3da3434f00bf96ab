/* A DICOM file as the driver file_dicom reads it, made by asaleed-export decode: the attributes that the driver knows,
 * in an order and form that leave nothing to guess. A file of entries, little endian:
 *
 *   "asaleed-flat-1\n", then entries: u32 tag (group << 16 | element), u8 kind, u32 n, n bytes
 *   kind 't'  text: UTF-8 without controls and without blanks around it, several values parted by "\"; numbers are
 *             decimal texts; U+FFFD stands for what is of an alphabet that asaleed does not read
 *        'w'  waveform samples: signed 16 bit, multiplexed (PS3.3 C.10.9), whatever the file's byte order and width
 * were: exactly channels x samples of them; and one of them, where the group has a padding value
 *        '('  an item of the sequence of that tag begins, ')' it ends; n = 0
 *        'p'  a picture: one whole JPEG as it stands in the file, or a PNG of native pixels, without loss
 *        '.'  the end; tag and n are 0
 *   All pictures come after all attributes, frame by frame. What the driver does not know is not in it.
 */
#ifndef ASALEE_FLAT_H
#define ASALEE_FLAT_H

#define FLAT_MAGIC "asaleed-flat-1\n"
#define FLAT_DEPTH_MAX 8
#define FLAT_TEXT_MAX 16384                /* bytes of one 't'; what is longer is cut between characters */
#define FLAT_ATTRIBUTES_MAX (24u << 20)    /* bytes of all entries before the first picture */
#define FLAT_PICTURE_MAX ((64u << 20) - 1) /* bytes of one */
#define FLAT_PICTURES_MAX 32

#endif
