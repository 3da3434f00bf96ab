/* HL7 aECG, Philips Sierra and GE MUSE files from the command line's options. */
#include "xml_order.h"
#include "aecg_file.h"
#include "muse_file.h"
#include "order_field.h"
#include "sierra_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int refuse(int r, char why[static 256]) {
  if (r == -EINVAL)
    snprintf(why, 256, "options that contradict each other, or a rate whose interval it cannot write");
  return r;
}

static int make_aecg(const struct file_order *order, struct buf *ret, char why[static 256]) {
  static const char *const units[] = {"us", "ms", "ns", "s"}, *const scales[] = {"uV", "mV", "nV"},
                           *const separators[] = {"blank", "newline", "mixed"},
                           *const between[] = {" ", "\n", " \t\r\n "};
  struct aecg_file f = {.facts = ecg_facts_of(order), .increment_unit = AECG_WHOLE_UNIT};
  unsigned separator = 0;
  const struct order_field fields[] = {
      DEVICE(&f.facts),
      WORDS("encoding", &f.encoding, xml_out_encodings),
      WORDS("damage", &f.damage, aecg_damage_names),
      WORDS("increment", &f.increment_unit, units),
      WORDS("scale", &f.scale_unit, scales),
      WORDS("between", &separator, separators),
      TEXT("prefix", &f.prefix),
      TEXT("zone", &f.zone),
      NUMBER("origin", &f.origin_uv),
      FLAG("relative", &f.relative),
      FLAG("eight", &f.eight),
      FLAG("filters", &f.filters),
      FLAG("derived", &f.derived),
      FLAG("measurements", &f.measurements),
  };
  if (order_take(order, fields, COUNT(fields), why) < 0)
    return -EINVAL;
  f.between = between[separator];
  struct ecg12 *ecg = file_ecg(order, 500, why);
  int r = ecg ? refuse(aecg_file_make(&f, ecg, ret), why) : -EINVAL;
  free(ecg);
  return r;
}

static int make_sierra(const struct file_order *order, struct buf *ret, char why[static 256]) {
  static const char *const versions[] = {"1.03", "1.04"}, *const codings[] = {"xli", "base64", "plain"};
  struct sierra_file f = {.facts = ecg_facts_of(order)};
  unsigned version = 0;
  const struct order_field fields[] = {
      DEVICE(&f.facts),
      WORDS("encoding", &f.encoding, xml_out_encodings),
      WORDS("damage", &f.damage, sierra_damage_names),
      WORDS("version", &version, versions),
      WORDS("coding", &f.coding, codings),
      NUMBER("spare", &f.spare),
      FLAG("calibration", &f.calibration),
      FLAG("repbeats", &f.repbeats),
      FLAG("filters", &f.filters),
      FLAG("measurements", &f.measurements),
  };
  if (order_take(order, fields, COUNT(fields), why) < 0)
    return -EINVAL;
  f.v104 = version == 1;
  struct ecg12 *ecg = file_ecg(order, 500, why);
  int r = ecg ? refuse(sierra_file_make(&f, ecg, ret), why) : -EINVAL;
  free(ecg);
  return r;
}

static int make_muse(const struct file_order *order, struct buf *ret, char why[static 256]) {
  struct muse_file f = {.facts = ecg_facts_of(order), .encoding = XML_LATIN1};
  const struct order_field fields[] = {
      DEVICE(&f.facts),
      WORDS("encoding", &f.encoding, xml_out_encodings),
      WORDS("damage", &f.damage, muse_damage_names),
      TEXT("units-per-bit", &f.units_per_bit),
      FLAG("crc", &f.crc),
      FLAG("exponent", &f.exponent),
      FLAG("median", &f.median),
      FLAG("filters", &f.filters),
      FLAG("measurements", &f.measurements),
  };
  if (order_take(order, fields, COUNT(fields), why) < 0)
    return -EINVAL;
  struct ecg12 *ecg = file_ecg(order, 500, why);
  int r = ecg ? refuse(muse_file_make(&f, ecg, ret), why) : -EINVAL;
  free(ecg);
  return r;
}

#define SAME_HELP \
  "  encoding=utf-8|utf-16le|utf-16be|iso-8859-1  maker=  model=  serial=  software=  filters=0|1  measurements=0|1\n"

const struct file_format aecg_format = {
    .name = "aecg",
    .help = "HL7 annotated ECG; 500 Hz\n" SAME_HELP
            "  increment=s|ms|us  scale=uV|mV|nV  origin=UV  relative=0|1  zone=+0100  prefix=NAME  eight=0|1\n"
            "  between=blank|newline|mixed  derived=0|1  (a representative beat)\n"
            "  damage=entity-bomb|external-entity|truncated|wrong-closing-tag|digit-out-of-range|digit-not-integer|\n"
            "    digit-no-number|unknown-lead|unknown-unit|no-increment|no-scale|short-lead|lead-twice|no-digits\n",
    .make = make_aecg,
};

const struct file_format sierra_format = {
    .name = "sierra",
    .help =
        "Philips Sierra ECG; 500 Hz\n" SAME_HELP
        "  version=1.03|1.04  coding=xli|base64|plain  spare=CHANNELS  calibration=0|1  repbeats=0|1\n"
        "  damage=code-beyond-table|chunk-beyond-data|chunk-negative|chunk-empty|growth-bomb|no-end-code|short-lead|\n"
        "    odd-bytes|missing-lead|data-cut|bad-base64|beyond-16-bits|truncated|version|no-resolution|no-rate|\n"
        "    wrong-duration|unknown-lead|compression|entity-bomb\n",
    .make = make_sierra,
};

const struct file_format muse_format = {
    .name = "muse",
    .help =
        "GE MUSE export; 500 Hz, iso-8859-1\n" SAME_HELP "  units-per-bit=TEXT (5)  crc=0|1  exponent=0|1  median=0|1\n"
        "  damage=truncated|data-cut|bad-base64|sample-count|byte-count|odd-bytes|short-lead|wrong-crc|\n"
        "    unknown-lead|lead-twice|missing-lead|marked-gap|sample-size|unknown-unit|no-units-per-bit|\n"
        "    bad-units-per-bit|no-rate|no-rhythm|entity-bomb|external-entity\n",
    .make = make_muse,
};
