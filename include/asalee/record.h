/* The normalised record: what a reading is once decoded. Two parts:
 *
 *   JSON, canonical (UTF-8, sorted keys, no spaces, decimals as strings), so that its SHA-256 is stable:
 *     {"acquired":{"channels":[{"code","derived","first","gaps":[[first,count]...],"label","mdc","rate","samples",
 *                               "scale","trial","unit"}...],
 *                  "data":{"encoding":"int16-le","gap":-32768,"sha256":"..","values":N},
 *                  "measures":[{"code","flags":[..],"label","loinc","mdc","trial","unit","value"}...],
 *                  "pictures":[{"bits","bytes","components","format":"jpeg|jpeg-progressive|png|tiff|unknown","height",
 *                               "laterality":"L|R"|null,"number","preview":{"bytes","height","sha256","width"}|null,
 *                               "quality":{"bright","brightness","dark","focus"}|null,"sha256","trial","width"}...],
 *                  "trials":[{"device_time":"YYYY-MM-DDThh:mm:ss.mmm"|null,"number","phase":"baseline|pre|post"|null,
 *                             "time":"<RFC 3339>"|null}...]},
 *      "complete":bool, "derived":[], "device":{"firmware","make","model","sensor","serial"},
 *      "driver":{"name","version"}, "end":"ok|error|cancel|crash|none", "integrity":"crc16", "modality":"ecg",
 *      "quality":[{"code","count","severity","subject","text","trial"}...],
 *      "schema":"asaleed-record-4",
 *      "sources":[{"make","model","name","picture","taken":"YYYY-MM-DDThh:mm:ss.mmm"|null}...],
 *      "started":"<RFC 3339>"|null, "statements":[{"code","text","trial"}...], "stray":bool,
 *      "subject":{"birth_date":"YYYY-MM-DD","family","given","id","sex":"F|M"|""}|null}
 *     "trial" is the number of a trial, 0 for the whole session. A trial's "device_time" is what the instrument's own
 *     clock showed, "time" the same on the host's. "stray": the trials of a capture that were not made while its
 *     acquisition ran; they are in a record of their own, which belongs to no patient until people say so.
 *   samples: the channels' int16 values, little endian, one channel after the other ("first" counts values).
 *
 *   pictures: each is an artefact of its own, byte for byte as the instrument gave it, named by its SHA-256; "number"
 *     counts from 1. "preview" is a smaller JPEG made anew from its pixels, without anything that the instrument wrote
 *     beside them. "quality": shares of 1 as decimals: mean brightness, pixels too dark, pixels too bright, and how
 *     sharp; null where the pixels could not be read. "sources": what the instrument and the file say of a picture:
 *     texts that they choose.
 *
 *   "subject": whose reading the file that it came in says it is, "" where it says nothing; null of an instrument that
 *     does not say. "laterality": the eye that the instrument says a picture is of.
 *
 * acquired, device and quality are technical: the nurse sees them. statements (the instrument's interpretation),
 * sources and derived (predicted values, z-scores, limits of normal) are the reader's: what a role gets is decided by
 * the daemon where it makes the JSON, never by a page.
 */
#ifndef ASALEE_RECORD_H
#define ASALEE_RECORD_H

#include <asalee/driver.h>

#define RECORD_JSON_MAX (4u << 20)
#define RECORD_DATA_MAX (32u << 20)
#define RECORD_PREVIEW_MAX (2u << 20) /* of one picture */
#define RECORD_PREVIEWS_MAX (ACQ_PICTURES_MAX * RECORD_PREVIEW_MAX)
#define RECORD_CHANNELS_MAX 96 /* flow, volume and instants of 32 blows */
#define RECORD_GAPS_MAX 4096   /* a channel's; more gaps than that is noise, not a recording (-EPROTO) */

struct nomenclature {
  const char *code, *label, *unit, *loinc;
  char kind; /* 'M', 'C' or 'S' */
  uint32_t mdc;
  struct dec hard_low, hard_high, soft_low, soft_high;
};

/* The row of a code, or NULL. The index is stable within one build: wire_preview carries it. */
const struct nomenclature *nomenclature_find(const char *code);
const struct nomenclature *nomenclature_row(unsigned index);
unsigned nomenclature_index(const struct nomenclature *row);
/* By MDC code (partition * 65536 + code). 2:256+n, the electrical potential of lead n, is that lead. */
const struct nomenclature *nomenclature_find_mdc(uint32_t mdc);

/* A unit: its MDC code in partition 4, its UCUM text, and how many of `base` it is: factor / divisor. */
struct unit {
  uint16_t mdc;
  const char *ucum, *base;
  int32_t factor, divisor;
};
const struct unit *unit_find(const char *ucum);
const struct unit *unit_find_mdc(uint16_t mdc);
/* Both measure the same: one converts into the other. */
bool unit_fits(const struct unit *a, const struct unit *b);

/* What an agent of ISO/IEEE 11073 is, by the code of its specialisation (partition 8); 0 when it is none we know. */
enum acq_modality specialisation_modality(uint16_t code);

struct electrode {
  const char *code, *colour, *place;
};
const struct electrode *electrode_row(unsigned index); /* NULL past the last */

const char *acq_modality_name(enum acq_modality m);    /* "ecg", "spirometry", "fundus", "measurement" */
const char *acq_maturity_name(enum acq_maturity m);    /* "simulated", "experimental", "verified" */
const char *acq_integrity_name(enum acq_integrity i);  /* "none", "sum8", "crc16", "crc32" */
const char *acq_bus_name(enum acq_bus b);              /* "serial", "usb", "file" */
const char *acq_phase_name(enum acq_phase p);          /* "baseline", "pre", "post"; NULL for ACQ_NO_PHASE */
enum acq_phase acq_phase_find(const char *name);       /* ACQ_NO_PHASE when it is none */
enum acq_modality acq_modality_find(const char *name); /* 0 when it is none */

#endif
