/* What asaleed gives an export process, and what it gets back: one job a process, everything by descriptor, as files
 * that can be mapped. asaleed-export encode makes one DICOM object of one record (of one picture of it, where the
 * record holds pictures).
 *
 *   EXPORT_FD_JOB     the job: JSON, at most EXPORT_JOB_MAX bytes
 *   EXPORT_FD_RECORD  the record's JSON (record.h)
 *   EXPORT_FD_DATA    its samples, or the picture as the camera gave it (the artefact of the picture's hash: only its
 *                     length, format and size are compared with the record); /dev/null where there is neither
 *   EXPORT_FD_OUT     an empty file, open for reading and writing; takes the object (DICOM PS3.10 file)
 *
 * asaleed-export decode reads a DICOM file, which a parser in a process of its own should look at before anything else
 * does: EXPORT_FD_DATA is the file, EXPORT_FD_OUT takes what a driver reads (asalee/flat.h), the other two are not
 * looked at. EXPORT_REFUSED: no DICOM file, or none whose content asaleed takes.
 *
 * The same job, record and data give the same bytes, whatever the time and the place. The process sees none of them
 * before it has shut its sandbox, writes one English line to standard error when it fails (no patient, no device
 * bytes), and exits with one of enum export_exit. On any failure EXPORT_FD_OUT is empty;
 * an object in it is written, not synced.
 *
 * The job, no member more or less:
 *   {"accepted":"<RFC 3339>",                   when the nurse accepted the study
 *    "act":"ecg|spirometry|fundus|measurement", the record's modality
 *    "fundus":{"dilation":{"agents":["tropicamide"...],"degree_mm":"6.5"|null,"dilated":bool},
 *              "field":"macula|disc|other","laterality":"L|R","picture":N}|null,
 *    "height_cm":"168.5"|null,                  of the patient, measured for this study
 *    "instance":{"number":N,"uid":".."},        UIDs: at most 62 characters
 *    "order":"O-5",                             becomes the Accession Number; at most 16 bytes, as "study" "id"
 *    "parts":{"device":bool,"statements":bool}, what whoever gets the object may see; what is withheld is not in it
 *    "patient":{"birth_date":"YYYY-MM-DD","family":"..","given":"..","id":"..","sex":"F|M|U"}, id: at most 64 bytes
 *    "schema":"asaleed-export-1",
 *    "series":{"number":N,"uid":".."},
 *    "station":"..",                            the site's name of the instrument
 *    "study":{"id":"S-12","ordered":"<RFC 3339>","uid":".."}}
 * agents: EXPORT_AGENTS; none, and no degree, unless dilated.
 */
#ifndef ASALEE_EXPORT_H
#define ASALEE_EXPORT_H

enum { EXPORT_FD_JOB = 3, EXPORT_FD_RECORD, EXPORT_FD_DATA, EXPORT_FD_OUT };

#define EXPORT_SCHEMA "asaleed-export-1"
#define EXPORT_JOB_MAX 65536
#define EXPORT_OBJECT_MAX (256u << 20)

enum export_exit {
  EXPORT_DONE = 0,
  EXPORT_FAILED = 1,  /* the machine's fault (memory, disk): worth another try */
  EXPORT_USAGE = 2,   /* wrong arguments or descriptors */
  EXPORT_REFUSED = 3, /* no such object can be made of this record (a CMYK picture), or the input is not in its form */
};

/* Mydriatic agents: X(name in the job, SNOMED CT code, English meaning, French label). DICOM CID 4208. */
#define EXPORT_AGENTS(X)                                             \
  X("tropicamide", "9190005", "Tropicamide", "tropicamide")          \
  X("phenylephrine", "386693003", "Phenylephrine", "phényléphrine")  \
  X("cyclopentolate", "8348002", "Cyclopentolate", "cyclopentolate") \
  X("atropine", "771928002", "Atropine", "atropine")

#endif
