/* DICOM files from the command line's options. */
#include "dicom_order.h"
#include "dicom_file.h"
#include "fundus.h"
#include "order_field.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const syntaxes[DICOM_SYNTAXES] = {"explicit", "implicit", "big"};
static const char *const alphabets[] = {"utf-8", "latin1"};
static const char *const lengths[] = {"explicit", "undefined"};

#define FORM(form, alphabet, length)                                                  \
  WORDS("syntax", &(form)->syntax, syntaxes), WORDS("alphabet", alphabet, alphabets), \
      WORDS("lengths", length, lengths), FLAG("private", &(form)->private)

static int make_ecg(const struct file_order *order, struct buf *ret, char why[static 256]) {
  static const char *const schemes[] = {"mdc", "scpecg"}, *const units[] = {"uV", "mV"};
  struct dicom_ecg_file f = {.facts = ecg_facts_of(order)};
  unsigned alphabet = 0, length = 0, scheme = 0, unit = 0;
  const struct order_field fields[] = {
      DEVICE(&f.facts),
      FORM(&f.form, &alphabet, &length),
      WORDS("damage", &f.damage, dicom_damage_names),
      WORDS("leads", &scheme, schemes),
      WORDS("unit", &unit, units),
      FLAG("correction", &f.correction),
      FLAG("median", &f.median),
      FLAG("filters", &f.filters),
      FLAG("measurements", &f.measurements),
  };
  if (order_take(order, fields, COUNT(fields), why) < 0)
    return -EINVAL;
  f.form.latin1 = alphabet;
  f.form.undefined = length;
  f.scpecg = scheme;
  f.milli = unit;
  struct ecg12 *ecg = file_ecg(order, 500, why);
  int r = ecg ? dicom_ecg_file_make(&f, ecg, ret) : -EINVAL;
  if (ecg && r == -EINVAL)
    snprintf(why, 256, "more samples than such an object may have");
  free(ecg);
  return r;
}

/* A round orange field with a bright disc in it, right of its middle in a right eye, on black. */
static void paint(uint8_t *rgb, unsigned width, unsigned height, bool left) {
  long radius = (long)(height < width ? height : width) / 2, disc = left ? -radius / 3 : radius / 3;
  for (unsigned i = 0; i < width * height; i++, rgb += 3) {
    long x = (long)(i % width) - (long)width / 2, y = (long)(i / width) - (long)height / 2;
    bool in_disc = (x - disc) * (x - disc) + y * y < radius * radius / 64;
    bool in_field = x * x + y * y < radius * radius;
    rgb[0] = (uint8_t)(in_disc ? 250 : in_field ? 200 - 60 * (x * x + y * y) / (radius * radius) : 0);
    rgb[1] = (uint8_t)(in_disc ? 220 : in_field ? 90 + (x + radius) * 20 / (2 * radius) : 0);
    rgb[2] = (uint8_t)(in_disc ? 140 : in_field ? 30 + (y + radius) * 20 / (2 * radius) : 0);
  }
}

static int make_picture(struct dicom_fundus_file *f, unsigned seed, bool native, struct buf *ret) {
  struct fundus jpeg = {0};
  uint8_t *rgb = NULL;
  int r = -ENOMEM;
  if (native && (rgb = calloc((size_t)f->rows * f->columns, 3)) != NULL) {
    paint(rgb, f->columns, f->rows, f->laterality == 'L');
    r = 0;
  } else if (!native) {
    r = fundus_make(&(struct fundus_options){.width = f->columns,
                                             .height = f->rows,
                                             .left = f->laterality == 'L',
                                             .seed = seed,
                                             .make = "Synthetic",
                                             .model = "Fundus",
                                             .date = "2026:05:04 10:30:00"},
                    &jpeg);
  }
  f->rgb = rgb;
  f->jpeg = jpeg.jpeg;
  f->jpeg_len = jpeg.n;
  r = r < 0 ? r : dicom_fundus_file_make(f, ret);
  free(rgb);
  free(jpeg.jpeg);
  return r;
}

static int make_fundus(const struct file_order *order, struct buf *ret, char why[static 256]) {
  static const char *const pixels[] = {"jpeg", "native"}, *const eyes[] = {"right", "left"},
                           *const sayings[] = {"image", "series", "none"};
  struct dicom_fundus_file f = {.facts = ecg_facts_of(order)};
  unsigned alphabet = 0, length = 0, native = 0, eye = 0, width = 600, height = 400;
  const struct order_field fields[] = {
      DEVICE(&f.facts),
      FORM(&f.form, &alphabet, &length),
      WORDS("damage", &f.damage, dicom_damage_names),
      WORDS("pixels", &native, pixels),
      WORDS("eye", &eye, eyes),
      WORDS("laterality", &f.eye, sayings),
      NUMBER("width", &width),
      NUMBER("height", &height),
      NUMBER("fragments", &f.fragments),
      FLAG("planar", &f.planar),
  };
  if (order_take(order, fields, COUNT(fields), why) < 0)
    return -EINVAL;
  f.form.latin1 = alphabet;
  f.form.undefined = length;
  f.laterality = eye ? 'L' : 'R';
  f.columns = (uint16_t)width;
  f.rows = (uint16_t)height;
  int r = make_picture(&f, order->seed, native, ret);
  if (r == -EINVAL)
    snprintf(why, 256, "no such size");
  return r;
}

#define SAME_HELP \
  "  alphabet=utf-8|latin1  lengths=explicit|undefined  private=0|1  maker=  model=  serial=  software=\n"
#define SAME_DAMAGE                                                                                                 \
  "  damage=truncated|no-magic|length-beyond-file|nested-without-end|gigabyte|short-data|no-data|unknown-syntax|\n" \
  "    other-class|bits|"

const struct file_format dicom_ecg_format = {
    .name = "dicom-ecg",
    .help = "DICOM 12-lead ECG, with a median General ECG; 500 Hz\n" SAME_HELP
            "  syntax=explicit|implicit|big  leads=mdc|scpecg  unit=uV|mV  correction=0|1  median=0|1  filters=0|1\n"
            "  measurements=0|1\n" SAME_DAMAGE "unknown-lead|lead-twice|unknown-unit|no-sensitivity|bad-sensitivity|\n"
            "    no-frequency|channels|no-group\n",
    .make = make_ecg,
};

const struct file_format dicom_fundus_format = {
    .name = "dicom-fundus",
    .help = "DICOM ophthalmic photography\n" SAME_HELP
            "  pixels=jpeg|native  fragments=N  planar=0|1  syntax=explicit|implicit|big (native)\n"
            "  eye=right|left  laterality=image|series|none  width=N  height=N (600x400)\n" SAME_DAMAGE
            "bad-laterality|two-lateralities|more-frames\n",
    .make = make_fundus,
};
