/* The normalised record: what a reading is once decoded. Two parts:
 *
 *   JSON, canonical (UTF-8, sorted keys, no spaces, decimals as strings), so that its SHA-256 is stable:
 *     {"acquired":{"channels":[{"code","derived","first","gaps":[[first,count]...],"label","mdc","rate","samples",
 *                               "scale","unit"}...],
 *                  "data":{"encoding":"int16-le","gap":-32768,"sha256":"..","values":N},
 *                  "measures":[{"code","flags":[..],"label","loinc","mdc","unit","value"}...]},
 *      "complete":bool, "derived":[], "device":{"firmware","make","model","serial"},
 *      "driver":{"name","version"}, "end":"ok|error|cancel|crash|none", "integrity":"crc16", "modality":"ecg",
 *      "quality":[{"code","count","severity","subject","text"}...],
 *      "schema":"asaleed-record-1", "started":"<RFC 3339>"|null, "statements":[{"code","text"}...]}
 *   samples: the channels' int16 values, little endian, one channel after the other ("first" counts values).
 *
 * acquired, device and quality are technical: the nurse sees them. statements (the instrument's interpretation) and
 * derived (predicted values, z-scores, limits of normal) are the reader's: what a role gets is decided by the
 * daemon where it makes the JSON, never by a page.
 */
#ifndef ASALEE_RECORD_H
#define ASALEE_RECORD_H

#include <asalee/driver.h>

#define RECORD_JSON_MAX (4u << 20)
#define RECORD_DATA_MAX (32u << 20)
#define RECORD_CHANNELS_MAX 32
#define RECORD_GAPS_MAX 4096 /* a channel's; more gaps than that is noise, not a recording (-EPROTO) */

struct nomenclature {
  const char *code, *label, *unit, *loinc;
  char kind; /* 'M' or 'C' */
  uint32_t mdc;
  struct dec hard_low, hard_high, soft_low, soft_high;
};

/* The row of a code, or NULL. The index is stable within one build: wire_preview carries it. */
const struct nomenclature *nomenclature_find(const char *code);
const struct nomenclature *nomenclature_row(unsigned index);
unsigned nomenclature_index(const struct nomenclature *row);

struct electrode {
  const char *code, *colour, *place;
};
const struct electrode *electrode_row(unsigned index); /* NULL past the last */

const char *acq_modality_name(enum acq_modality m);   /* "ecg", "spirometry", "fundus", "measurement" */
const char *acq_maturity_name(enum acq_maturity m);   /* "simulated", "experimental", "verified" */
const char *acq_integrity_name(enum acq_integrity i); /* "none", "sum8", "crc16", "crc32" */
const char *acq_bus_name(enum acq_bus b);             /* "serial", "usb", "file" */

#endif
