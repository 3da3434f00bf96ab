/* The store's schema, one text a version. Migration n brings version n to n + 1; one that has been released is never
 * edited. */
#include "schema.h"

#include <stddef.h>

/* clang-format off */

#define APPEND_ONLY(table)                                                                                     \
  "CREATE TRIGGER " table "_keeps BEFORE UPDATE ON " table " BEGIN SELECT RAISE(ABORT, 'append only'); END;"   \
  "CREATE TRIGGER " table "_stays BEFORE DELETE ON " table " BEGIN SELECT RAISE(ABORT, 'append only'); END;"

const char *const schema_migrations[] = {
    "CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL CHECK(role IN "
    "  ('nurse','gp','admin','lgc')), display TEXT NOT NULL, token BLOB UNIQUE, disabled INTEGER NOT NULL "
    "  DEFAULT 0 CHECK(disabled IN (0,1)), created INTEGER NOT NULL) STRICT;"

    "CREATE TABLE patient_version(patient TEXT NOT NULL, version INTEGER NOT NULL, family TEXT NOT NULL, "
    "  given TEXT NOT NULL, birth_date TEXT NOT NULL, sex TEXT NOT NULL CHECK(sex IN ('M','F','U')), at INTEGER "
    "  NOT NULL, PRIMARY KEY(patient, version)) STRICT, WITHOUT ROWID;"
    APPEND_ONLY("patient_version")

    "CREATE TABLE patient(id TEXT PRIMARY KEY, version INTEGER NOT NULL, FOREIGN KEY(id, version) REFERENCES "
    "  patient_version(patient, version)) STRICT, WITHOUT ROWID;"
    "CREATE TRIGGER patient_stays BEFORE DELETE ON patient BEGIN SELECT RAISE(ABORT, 'append only'); END;"

    "CREATE TABLE orders(id INTEGER PRIMARY KEY AUTOINCREMENT, patient TEXT NOT NULL REFERENCES patient(id), "
    "  act TEXT NOT NULL, ordered_by TEXT NOT NULL, at INTEGER NOT NULL) STRICT;"
    APPEND_ONLY("orders")
    "CREATE INDEX orders_of_patient ON orders(patient, id);"

    "CREATE TABLE study(id INTEGER PRIMARY KEY AUTOINCREMENT, orders INTEGER NOT NULL REFERENCES orders(id), "
    "  state TEXT NOT NULL CHECK(state IN ('ordered','acquiring','acquired','to_interpret','interpreting', "
    "  'interpreted','cancelled')), version INTEGER NOT NULL DEFAULT 1, attempts INTEGER NOT NULL DEFAULT 0, "
    "  created INTEGER NOT NULL, updated INTEGER NOT NULL, accepted INTEGER, due INTEGER, comment TEXT, clean "
    "  INTEGER, failure TEXT, failed INTEGER, claim BLOB, claim_by TEXT, claim_expires INTEGER) STRICT;"
    "CREATE TRIGGER study_stays BEFORE DELETE ON study BEGIN SELECT RAISE(ABORT, 'append only'); END;"
    "CREATE TRIGGER study_keeps_order BEFORE UPDATE OF orders ON study BEGIN SELECT RAISE(ABORT, 'append only'); END;"
    "CREATE INDEX study_queue ON study(state, due, id);"
    "CREATE INDEX study_of_order ON study(orders);"
    "CREATE INDEX study_claims ON study(claim_expires) WHERE claim_expires IS NOT NULL;"

    "CREATE TABLE artefact(sha256 TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK(kind IN "
    "  ('capture','record','samples', 'audit')), bytes INTEGER NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT "
    "  ROWID;"
    APPEND_ONLY("artefact")

    "CREATE TABLE acquisition(id INTEGER PRIMARY KEY AUTOINCREMENT, study INTEGER NOT NULL REFERENCES "
    "  study(id), device TEXT NOT NULL, driver TEXT NOT NULL, driver_version TEXT NOT NULL, program TEXT NOT "
    "  NULL, node TEXT NOT NULL, seconds INTEGER NOT NULL, started INTEGER NOT NULL, offset_minutes INTEGER NOT "
    "  NULL, by TEXT NOT NULL, ended INTEGER, outcome TEXT, reason TEXT, device_serial TEXT, capture TEXT "
    "  REFERENCES artefact(sha256), patient_version INTEGER) STRICT;"
    "CREATE TRIGGER acquisition_keeps BEFORE UPDATE ON acquisition WHEN OLD.ended IS NOT NULL BEGIN SELECT "
    "  RAISE(ABORT, 'append only'); END;"
    "CREATE TRIGGER acquisition_stays BEFORE DELETE ON acquisition BEGIN SELECT RAISE(ABORT, 'append only'); "
    "  END;"
    "CREATE INDEX acquisition_of_study ON acquisition(study);"
    "CREATE INDEX acquisition_open ON acquisition(id) WHERE ended IS NULL;"

    "CREATE TABLE record(id INTEGER PRIMARY KEY AUTOINCREMENT, study INTEGER NOT NULL REFERENCES study(id), "
    "  acquisition INTEGER NOT NULL REFERENCES acquisition(id), sha256 TEXT NOT NULL REFERENCES "
    "  artefact(sha256), samples TEXT REFERENCES artefact(sha256), driver TEXT NOT NULL, driver_version TEXT "
    "  NOT NULL, program TEXT NOT NULL, complete INTEGER NOT NULL, clean INTEGER NOT NULL, at INTEGER NOT NULL) "
    "  STRICT;"
    APPEND_ONLY("record")
    "CREATE INDEX record_of_study ON record(study);"

    "CREATE TABLE supersession(record INTEGER PRIMARY KEY REFERENCES record(id), at INTEGER NOT NULL, by TEXT "
    "  NOT NULL, reason TEXT NOT NULL) STRICT;"
    APPEND_ONLY("supersession")

    "CREATE TABLE interpretation(id INTEGER PRIMARY KEY AUTOINCREMENT, study INTEGER NOT NULL REFERENCES "
    "  study(id), version INTEGER NOT NULL, by TEXT NOT NULL, at INTEGER NOT NULL, conclusion TEXT NOT NULL "
    "  CHECK(conclusion IN ('normal','abnormal','uninterpretable')), text TEXT NOT NULL, covers TEXT NOT NULL, "
    "  patient_version INTEGER NOT NULL, UNIQUE(study, version)) STRICT;"
    APPEND_ONLY("interpretation")

    "CREATE TABLE change(seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL, ref "
    "  TEXT NOT NULL, state TEXT) STRICT;"
    APPEND_ONLY("change")

    "CREATE TABLE audit_anchor(seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, at INTEGER NOT NULL, artefact "
    "  TEXT NOT NULL REFERENCES artefact(sha256)) STRICT;"
    APPEND_ONLY("audit_anchor")

    "CREATE TABLE audit(seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, actor TEXT NOT NULL, "
    "  acting_for TEXT, action TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL, hash BLOB NOT NULL) "
    "  STRICT;"
    "CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'append only'); END;"
    "CREATE TRIGGER audit_stays BEFORE DELETE ON audit WHEN OLD.seq > coalesce((SELECT max(seq) FROM "
    "  audit_anchor), 0) BEGIN SELECT RAISE(ABORT, 'append only'); END;"

    "CREATE TABLE answered(actor TEXT NOT NULL, key TEXT NOT NULL, request BLOB NOT NULL, status INTEGER NOT "
    "  NULL, body TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(actor, key)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX answered_at ON answered(at);",

    "ALTER TABLE acquisition ADD COLUMN phase TEXT;"
    "ALTER TABLE acquisition ADD COLUMN device_sensor TEXT;"
    "CREATE TABLE stray(id INTEGER PRIMARY KEY AUTOINCREMENT, acquisition INTEGER NOT NULL REFERENCES "
    "  acquisition(id), sha256 TEXT NOT NULL REFERENCES artefact(sha256), samples TEXT REFERENCES "
    "  artefact(sha256), driver TEXT NOT NULL, driver_version TEXT NOT NULL, program TEXT NOT NULL, at INTEGER "
    "  NOT NULL) STRICT;"
    APPEND_ONLY("stray")

    "CREATE TABLE calibration(id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, at INTEGER NOT NULL, "
    "  by TEXT NOT NULL, syringe_ml INTEGER NOT NULL, measured_ml TEXT NOT NULL, passed INTEGER NOT NULL, "
    "  comment TEXT) STRICT;"
    APPEND_ONLY("calibration")
    "CREATE INDEX calibration_of_device ON calibration(device, id);"
    "ALTER TABLE acquisition ADD COLUMN calibration INTEGER REFERENCES calibration(id);"
    "ALTER TABLE acquisition ADD COLUMN calibration_state TEXT;"

    "CREATE TABLE assessment(id INTEGER PRIMARY KEY AUTOINCREMENT, study INTEGER NOT NULL REFERENCES study(id), "
    "  at INTEGER NOT NULL, json TEXT) STRICT;"
    APPEND_ONLY("assessment")
    "CREATE INDEX assessment_of_study ON assessment(study, id);"

    "CREATE TABLE reference(id INTEGER PRIMARY KEY AUTOINCREMENT, sha256 TEXT NOT NULL, name TEXT NOT NULL, "
    "  text TEXT NOT NULL, at INTEGER NOT NULL, by TEXT NOT NULL) STRICT;"
    APPEND_ONLY("reference")

    "ALTER TABLE study ADD COLUMN height_mm INTEGER;"
    "ALTER TABLE interpretation ADD COLUMN aids TEXT;",

    /* Blobs, previews and DICOM objects are artefacts too: a CHECK cannot be changed, so the table is made anew. */
    "CREATE TABLE artefact_3(sha256 TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK(kind IN "
    "  ('capture','record','samples','audit','blob','preview','dicom')), bytes INTEGER NOT NULL, at INTEGER NOT "
    "  NULL) STRICT, WITHOUT ROWID;"
    "INSERT INTO artefact_3 SELECT sha256, kind, bytes, at FROM artefact;"
    "DROP TABLE artefact;"
    "ALTER TABLE artefact_3 RENAME TO artefact;"
    APPEND_ONLY("artefact")

    "CREATE TABLE site(id INTEGER PRIMARY KEY CHECK(id = 1), uid BLOB NOT NULL CHECK(length(uid) = 16)) STRICT;"
    "INSERT INTO site VALUES(1, randomblob(16));"
    APPEND_ONLY("site")

    "ALTER TABLE acquisition ADD COLUMN pictures INTEGER;"

    "CREATE TABLE picture(record INTEGER NOT NULL REFERENCES record(id), number INTEGER NOT NULL, sha256 TEXT NOT "
    "  NULL REFERENCES artefact(sha256), preview TEXT REFERENCES artefact(sha256), PRIMARY KEY(record, number)) "
    "  STRICT, WITHOUT ROWID;"
    APPEND_ONLY("picture")

    "CREATE TABLE picture_label(id INTEGER PRIMARY KEY AUTOINCREMENT, record INTEGER NOT NULL, number INTEGER NOT "
    "  NULL, laterality TEXT CHECK(laterality IN ('L','R')), field TEXT CHECK(field IN ('macula','disc','other')), "
    "  excluded TEXT, at INTEGER NOT NULL, by TEXT NOT NULL, FOREIGN KEY(record, number) REFERENCES "
    "  picture(record, number), CHECK((laterality IS NULL) = (field IS NULL)), CHECK((laterality IS NULL) = "
    "  (excluded IS NOT NULL))) STRICT;"
    APPEND_ONLY("picture_label")
    "CREATE INDEX picture_label_of ON picture_label(record, number, id);"

    "CREATE TABLE pupil(id INTEGER PRIMARY KEY AUTOINCREMENT, study INTEGER NOT NULL REFERENCES study(id), dilated "
    "  INTEGER CHECK(dilated IN (0,1)), agents TEXT NOT NULL, degree_mm TEXT, at INTEGER NOT NULL, by TEXT NOT "
    "  NULL) STRICT;" /* dilated NULL: to be said anew */
    APPEND_ONLY("pupil")
    "CREATE INDEX pupil_of_study ON pupil(study, id);"

    "CREATE TABLE dicom(id INTEGER PRIMARY KEY AUTOINCREMENT, record INTEGER NOT NULL REFERENCES record(id), number "
    "  INTEGER NOT NULL, whole INTEGER NOT NULL CHECK(whole IN (0,1)), sha256 TEXT REFERENCES artefact(sha256), "
    "  failure TEXT, program TEXT NOT NULL, patient_version INTEGER NOT NULL, at INTEGER NOT NULL, CHECK((sha256 IS "
    "  NULL) = (failure IS NOT NULL))) STRICT;"
    APPEND_ONLY("dicom")
    "CREATE INDEX dicom_of_record ON dicom(record, number, whole, id);",

    /* Files that came without an acquisition of their own: the acquisition that decoded one has no study. The tray's
     * rows may be failures, and end; readings move between studies only with a trace in both. */
    "CREATE TABLE file(id INTEGER PRIMARY KEY AUTOINCREMENT, sha256 TEXT NOT NULL UNIQUE REFERENCES artefact(sha256), "
    "  name TEXT NOT NULL, source TEXT NOT NULL CHECK(source IN ('upload','folder','stick')), device TEXT, by TEXT NOT "
    "  NULL, modified INTEGER, at INTEGER NOT NULL, pending INTEGER NOT NULL DEFAULT 1 CHECK(pending IN (0,1))) STRICT;"
    "CREATE TRIGGER file_keeps BEFORE UPDATE OF sha256, name, source, device, by, modified, at ON file BEGIN SELECT "
    "  RAISE(ABORT, 'append only'); END;"
    "CREATE TRIGGER file_stays BEFORE DELETE ON file BEGIN SELECT RAISE(ABORT, 'append only'); END;"
    "CREATE INDEX file_pending ON file(id) WHERE pending;"

    "CREATE TABLE acquisition_4(id INTEGER PRIMARY KEY AUTOINCREMENT, study INTEGER REFERENCES "
    "  study(id), device TEXT, driver TEXT NOT NULL, driver_version TEXT NOT NULL, program TEXT NOT "
    "  NULL, node TEXT NOT NULL, seconds INTEGER NOT NULL, started INTEGER NOT NULL, offset_minutes INTEGER NOT "
    "  NULL, by TEXT NOT NULL, ended INTEGER, outcome TEXT, reason TEXT, device_serial TEXT, capture TEXT "
    "  REFERENCES artefact(sha256), patient_version INTEGER, phase TEXT, device_sensor TEXT, calibration INTEGER "
    "  REFERENCES calibration(id), calibration_state TEXT, pictures INTEGER, file INTEGER REFERENCES file(id), "
    "  CHECK((study IS NULL) = (file IS NOT NULL))) STRICT;"
    "INSERT INTO acquisition_4 SELECT id, study, device, driver, driver_version, program, node, seconds, started, "
    "  offset_minutes, by, ended, outcome, reason, device_serial, capture, patient_version, phase, device_sensor, "
    "  calibration, calibration_state, pictures, NULL FROM acquisition;"
    "DROP TABLE acquisition;"
    "ALTER TABLE acquisition_4 RENAME TO acquisition;"
    "CREATE TRIGGER acquisition_keeps BEFORE UPDATE ON acquisition WHEN OLD.ended IS NOT NULL BEGIN SELECT "
    "  RAISE(ABORT, 'append only'); END;"
    "CREATE TRIGGER acquisition_stays BEFORE DELETE ON acquisition BEGIN SELECT RAISE(ABORT, 'append only'); "
    "  END;"
    "CREATE INDEX acquisition_of_study ON acquisition(study);"
    "CREATE INDEX acquisition_of_file ON acquisition(file) WHERE file IS NOT NULL;"
    "CREATE INDEX acquisition_open ON acquisition(id) WHERE ended IS NULL;"

    "CREATE TABLE unmatched(id INTEGER PRIMARY KEY AUTOINCREMENT, acquisition INTEGER NOT NULL REFERENCES "
    "  acquisition(id), sha256 TEXT REFERENCES artefact(sha256), samples TEXT REFERENCES artefact(sha256), driver TEXT "
    "  NOT NULL, driver_version TEXT NOT NULL, program TEXT NOT NULL, at INTEGER NOT NULL, act TEXT, taken INTEGER, why "
    "  TEXT NOT NULL CHECK(why IN ('no_order','time','identity','act','unreadable')), summary TEXT, failure TEXT, "
    "  CHECK((sha256 IS NULL) = (failure IS NOT NULL))) STRICT;"
    "INSERT INTO unmatched SELECT u.id, u.acquisition, u.sha256, u.samples, u.driver, u.driver_version, u.program, "
    "  u.at, o.act, NULL, 'time', NULL, NULL FROM stray u JOIN acquisition a ON a.id = u.acquisition JOIN study y ON y.id = "
    "  a.study JOIN orders o ON o.id = y.orders;"
    "DROP TABLE stray;"
    APPEND_ONLY("unmatched")
    "CREATE INDEX unmatched_of ON unmatched(acquisition);"

    "CREATE TABLE unmatched_end(unmatched INTEGER PRIMARY KEY REFERENCES unmatched(id), what TEXT NOT NULL CHECK(what "
    "  IN ('attached','discarded','decoded_again')), record INTEGER REFERENCES record(id), at INTEGER NOT NULL, by TEXT "
    "  NOT NULL, reason TEXT, CHECK((record IS NULL) = (what <> 'attached'))) STRICT;"
    APPEND_ONLY("unmatched_end")
    "CREATE INDEX unmatched_end_record ON unmatched_end(record) WHERE record IS NOT NULL;"

    "ALTER TABLE picture ADD COLUMN laterality TEXT;" /* as the instrument says */
    "ALTER TABLE record ADD COLUMN patient_version INTEGER;" /* of a reading that was attached later */
    "ALTER TABLE record ADD COLUMN taken INTEGER;"           /* when it was made, if not while its acquisition ran */

    "CREATE TABLE reassignment(id INTEGER PRIMARY KEY AUTOINCREMENT, record INTEGER NOT NULL REFERENCES record(id), "
    "  became INTEGER NOT NULL REFERENCES record(id), at INTEGER NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL) "
    "  STRICT;"
    APPEND_ONLY("reassignment")
    "CREATE INDEX reassignment_of ON reassignment(record);"
    "CREATE INDEX reassignment_became ON reassignment(became);"

    "CREATE TABLE withdrawal(interpretation INTEGER PRIMARY KEY REFERENCES interpretation(id), at INTEGER NOT NULL, by "
    "  TEXT NOT NULL, reason TEXT NOT NULL) STRICT;"
    APPEND_ONLY("withdrawal")

    "CREATE INDEX audit_of_subject ON audit(subject, seq);"
    "CREATE INDEX record_of_acquisition ON record(acquisition);",

    NULL,
};
