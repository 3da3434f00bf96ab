/* The store's schema, one text a version. Migration n brings version n to n + 1; one that has been released is never
 * edited. A column that is added has no default but NULL: of a row that is older than the column SQLite tells the seal
 * (store.c) NULL, whatever the default. */
#include "schema.h"

#include <stddef.h>

/* clang-format off */

#define APPEND_ONLY(table)                                                                                     \
  "CREATE TRIGGER " table "_keeps BEFORE UPDATE ON " table " BEGIN SELECT RAISE(ABORT, 'append only'); END;"   \
  "CREATE TRIGGER " table "_stays BEFORE DELETE ON " table " BEGIN SELECT RAISE(ABORT, 'append only'); END;"

#define ERASABLE_STAYS(table)                                                                                  \
  "CREATE TRIGGER " table "_stays BEFORE DELETE ON " table " WHEN NOT EXISTS(SELECT 1 FROM erasure WHERE NOT done AND what " \
  "= 'patient')" \
  " BEGIN SELECT RAISE(ABORT, 'append only'); END;"
#define ERASABLE(table)                                                                                        \
  "CREATE TRIGGER " table "_keeps BEFORE UPDATE ON " table " BEGIN SELECT RAISE(ABORT, 'append only'); END;"   \
  ERASABLE_STAYS(table)
#define AGAIN_ERASABLE(table) "DROP TRIGGER " table "_stays;" ERASABLE_STAYS(table)
/* The rows stay when a patient is erased, but for the text in one column. */
#define ERASABLE_BUT_FOR(table, kept, text)                                                                    \
  "CREATE TRIGGER " table "_keeps BEFORE UPDATE OF " kept " ON " table " BEGIN SELECT RAISE(ABORT, 'append only'); END;" \
  "CREATE TRIGGER " table "_keeps_text BEFORE UPDATE OF " text " ON " table " WHEN NOT EXISTS(SELECT 1 FROM erasure " \
  "  WHERE NOT done) BEGIN SELECT RAISE(ABORT, 'append only'); END;"                                           \
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

    /* The cooperation protocol: who is who, who delegates what to whom, whose follow-up it is; what was done about a
     * study in the queue; signatures; who saw what. A patient whose time is over is erased, under a row that says so:
     * nothing else lets a row go. */
    "CREATE TABLE erasure(id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL CHECK(what IN ('patient','audit')), ref "
    "  TEXT NOT NULL, archive TEXT NOT NULL, at INTEGER NOT NULL, by TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0 "
    "  CHECK(done IN (0,1))) STRICT;"
    "CREATE TRIGGER erasure_keeps BEFORE UPDATE ON erasure WHEN OLD.done OR OLD.what <> NEW.what OR OLD.ref <> NEW.ref "
    "  OR OLD.archive <> NEW.archive OR OLD.at <> NEW.at OR OLD.by <> NEW.by BEGIN SELECT RAISE(ABORT, 'append only'); "
    "  END;"
    "CREATE TRIGGER erasure_stays BEFORE DELETE ON erasure BEGIN SELECT RAISE(ABORT, 'append only'); END;"

    /* contents: the hash of the patient's rows alone, by which is seen whether they changed since. */
    "CREATE TABLE patient_archive(id INTEGER PRIMARY KEY AUTOINCREMENT, patient TEXT NOT NULL REFERENCES patient(id), "
    "  sha256 TEXT NOT NULL, contents TEXT NOT NULL, bytes INTEGER NOT NULL, at INTEGER NOT NULL, by TEXT NOT NULL) "
    "  STRICT;"
    APPEND_ONLY("patient_archive")
    /* What an erasure is about, while it runs: found before the rows that say so go. Then the files that are to go. */
    "CREATE TABLE erasing(kind TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY(kind, id)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE professional(rpps TEXT NOT NULL, version INTEGER NOT NULL, family TEXT NOT NULL, given TEXT NOT NULL, "
    "  role TEXT NOT NULL CHECK(role IN ('nurse','gp','ophthalmologist')), finess TEXT NOT NULL, at INTEGER NOT NULL, by "
    "  TEXT NOT NULL, PRIMARY KEY(rpps, version)) STRICT, WITHOUT ROWID;"
    APPEND_ONLY("professional")

    "CREATE TABLE user_5(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL CHECK(role IN "
    "  ('nurse','gp','ophthalmologist','admin','lgc','auditor')), display TEXT NOT NULL, token BLOB UNIQUE, disabled "
    "  INTEGER NOT NULL DEFAULT 0 CHECK(disabled IN (0,1)), created INTEGER NOT NULL, rpps TEXT, password TEXT, "
    "  must_change INTEGER NOT NULL DEFAULT 0 CHECK(must_change IN (0,1)), CHECK(rpps IS NULL OR role IN "
    "  ('nurse','gp','ophthalmologist'))) STRICT;"
    "INSERT INTO user_5 SELECT id, name, role, display, token, disabled, created, NULL, NULL, 0 FROM user;"
    "DROP TABLE user;"
    "ALTER TABLE user_5 RENAME TO user;"
    "CREATE UNIQUE INDEX user_of_professional ON user(rpps) WHERE rpps IS NOT NULL AND NOT disabled;"

    /* The persons that a practice software may act for. */
    "CREATE TABLE acting(lgc TEXT NOT NULL, person TEXT NOT NULL, at INTEGER NOT NULL, by TEXT NOT NULL, PRIMARY "
    "  KEY(lgc, person)) STRICT, WITHOUT ROWID;"
    "INSERT INTO acting SELECT l.name, p.name, max(l.created, p.created), 'asaleed' FROM user l JOIN user p ON p.role "
    "  IN ('nurse','gp') WHERE l.role = 'lgc';"

    "CREATE TABLE delegation(id INTEGER PRIMARY KEY AUTOINCREMENT, nurse TEXT NOT NULL, gp TEXT NOT NULL, protocol TEXT "
    "  NOT NULL, authorisation TEXT NOT NULL, authorised TEXT NOT NULL, valid_from TEXT NOT NULL, valid_until TEXT NOT "
    "  NULL, nurse_adhesion TEXT NOT NULL, gp_adhesion TEXT NOT NULL, at INTEGER NOT NULL, by TEXT NOT NULL, "
    "  CHECK(valid_from <= valid_until)) STRICT;"
    APPEND_ONLY("delegation")
    "CREATE INDEX delegation_of_nurse ON delegation(nurse, gp, protocol);"
    "CREATE TABLE delegation_end(delegation INTEGER PRIMARY KEY REFERENCES delegation(id), at INTEGER NOT NULL, by TEXT "
    "  NOT NULL, reason TEXT NOT NULL) STRICT;"
    APPEND_ONLY("delegation_end")

    "CREATE TABLE absence(id INTEGER PRIMARY KEY AUTOINCREMENT, gp TEXT NOT NULL, deputy TEXT NOT NULL, first_day TEXT "
    "  NOT NULL, last_day TEXT NOT NULL, at INTEGER NOT NULL, by TEXT NOT NULL, CHECK(first_day <= last_day), CHECK(gp "
    "  <> deputy)) STRICT;"
    APPEND_ONLY("absence")
    "CREATE INDEX absence_of ON absence(gp, last_day);"
    "CREATE TABLE absence_end(absence INTEGER PRIMARY KEY REFERENCES absence(id), at INTEGER NOT NULL, by TEXT NOT NULL) "
    "  STRICT;"
    APPEND_ONLY("absence_end")

    "CREATE TABLE followup(id INTEGER PRIMARY KEY AUTOINCREMENT, patient TEXT NOT NULL REFERENCES patient(id), protocol "
    "  TEXT NOT NULL, at INTEGER NOT NULL, by TEXT NOT NULL) STRICT;"
    APPEND_ONLY("followup")
    "CREATE INDEX followup_of_patient ON followup(patient);"
    "CREATE TABLE followup_team(id INTEGER PRIMARY KEY AUTOINCREMENT, followup INTEGER NOT NULL REFERENCES followup(id), "
    "  gp TEXT NOT NULL, nurse TEXT NOT NULL, at INTEGER NOT NULL, by TEXT NOT NULL, reason TEXT) STRICT;"
    ERASABLE_BUT_FOR("followup_team", "id, followup, gp, nurse, at, by", "reason")
    "CREATE INDEX followup_team_of ON followup_team(followup, id);"
    "CREATE TABLE followup_end(followup INTEGER PRIMARY KEY REFERENCES followup(id), at INTEGER NOT NULL, by TEXT NOT "
    "  NULL, reason TEXT NOT NULL) STRICT;"
    ERASABLE_BUT_FOR("followup_end", "followup, at, by", "reason")

    "ALTER TABLE patient_version ADD COLUMN ins TEXT;" /* the matricule and its key, 15 characters */
    "ALTER TABLE patient_version ADD COLUMN ins_oid TEXT;"
    "ALTER TABLE patient_version ADD COLUMN ins_status TEXT CHECK(ins_status IN "
    "  ('provisional','retrieved','validated','qualified'));"
    "CREATE INDEX patient_of_ins ON patient_version(ins) WHERE ins IS NOT NULL;"

    "ALTER TABLE orders ADD COLUMN followup INTEGER REFERENCES followup(id);"
    "ALTER TABLE orders ADD COLUMN delegation INTEGER REFERENCES delegation(id);" /* of a nurse's order */
    "ALTER TABLE acquisition ADD COLUMN delegation INTEGER REFERENCES delegation(id);"

    "CREATE TABLE study_5(id INTEGER PRIMARY KEY AUTOINCREMENT, orders INTEGER NOT NULL REFERENCES orders(id), "
    "  state TEXT NOT NULL CHECK(state IN ('ordered','acquiring','acquired','to_interpret','interpreting', "
    "  'interpreted','returned','cancelled')), version INTEGER NOT NULL DEFAULT 1, attempts INTEGER NOT NULL DEFAULT 0, "
    "  created INTEGER NOT NULL, updated INTEGER NOT NULL, accepted INTEGER, due INTEGER, comment TEXT, clean "
    "  INTEGER, failure TEXT, failed INTEGER, claim BLOB, claim_by TEXT, claim_expires INTEGER, height_mm INTEGER, "
    "  reader TEXT NOT NULL DEFAULT 'gp' CHECK(reader IN ('gp','ophthalmologist')), urgent INTEGER, repeats INTEGER) "
    "  STRICT;"
    "INSERT INTO study_5 SELECT id, orders, state, version, attempts, created, updated, accepted, due, comment, clean, "
    "  failure, failed, claim, claim_by, claim_expires, height_mm, 'gp', NULL, NULL FROM study;"
    "DROP TABLE study;"
    "ALTER TABLE study_5 RENAME TO study;"
    "CREATE TRIGGER study_keeps_order BEFORE UPDATE OF orders, repeats ON study BEGIN SELECT RAISE(ABORT, 'append only'); "
    "  END;"
    "CREATE INDEX study_queue ON study(state, due + (urgent IS NULL) * 288230376151711744, id);"
    "CREATE INDEX study_of_order ON study(orders);"
    "CREATE INDEX study_claims ON study(claim_expires) WHERE claim_expires IS NOT NULL;"

    "CREATE TABLE cancellation(study INTEGER PRIMARY KEY REFERENCES study(id), reason TEXT NOT NULL, at INTEGER NOT NULL, "
    "  by TEXT NOT NULL) STRICT;"
    ERASABLE("cancellation")
    "CREATE TABLE study_return(study INTEGER PRIMARY KEY REFERENCES study(id), code TEXT NOT NULL, text TEXT NOT NULL, at "
    "  INTEGER NOT NULL, by TEXT NOT NULL) STRICT;"
    ERASABLE("study_return")
    "CREATE TABLE referral(id INTEGER PRIMARY KEY AUTOINCREMENT, study INTEGER NOT NULL REFERENCES study(id), reader TEXT "
    "  NOT NULL, text TEXT NOT NULL, at INTEGER NOT NULL, by TEXT NOT NULL) STRICT;"
    ERASABLE("referral")
    "CREATE INDEX referral_of_study ON referral(study, id);"

    /* Each time that a study was accepted, and by when its protocol wanted it read: for the figures (report.h). It says
     * nothing of anybody and stays when the study is erased, as its changes do. */
    "CREATE TABLE acceptance(id INTEGER PRIMARY KEY AUTOINCREMENT, study INTEGER NOT NULL, at INTEGER NOT NULL, due INTEGER "
    "  NOT NULL) STRICT;"
    "INSERT INTO acceptance(study, at, due) SELECT id, accepted, due FROM study WHERE accepted IS NOT NULL ORDER BY accepted;"
    APPEND_ONLY("acceptance")
    "CREATE INDEX acceptance_at ON acceptance(at);"
    "CREATE INDEX acceptance_of_study ON acceptance(study, at);"

    /* To whom something is to be said: a professional, or every GP of the practice. */
    "CREATE TABLE notice(id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL CHECK(kind IN "
    "  ('page','page_again','reminder','overdue','returned','delegation')), study INTEGER REFERENCES study(id), "
    "  delegation INTEGER REFERENCES delegation(id), recipient TEXT, text TEXT, at INTEGER NOT NULL, by TEXT NOT NULL) "
    "  STRICT;"
    ERASABLE("notice")
    "CREATE INDEX notice_of_study ON notice(study, kind);"
    "CREATE TABLE notice_end(notice INTEGER PRIMARY KEY REFERENCES notice(id), at INTEGER NOT NULL, by TEXT NOT NULL) "
    "  STRICT;"
    ERASABLE("notice_end")

    "CREATE TABLE draft(study INTEGER NOT NULL REFERENCES study(id), by TEXT NOT NULL, version INTEGER NOT NULL, json "
    "  TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(study, by)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE signing_key(public BLOB PRIMARY KEY CHECK(length(public) = 32), rpps TEXT NOT NULL, secret BLOB NOT "
    "  NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    APPEND_ONLY("signing_key")
    "CREATE INDEX signing_key_of ON signing_key(rpps, at);"
    "ALTER TABLE interpretation ADD COLUMN findings TEXT;"
    "ALTER TABLE interpretation ADD COLUMN reason TEXT;" /* of an amendment */
    "ALTER TABLE interpretation ADD COLUMN statement TEXT;" /* what was signed: canonical JSON */
    "ALTER TABLE interpretation ADD COLUMN signature BLOB;"
    "ALTER TABLE interpretation ADD COLUMN key BLOB;" /* the public one */

    "CREATE TABLE meeting(id INTEGER PRIMARY KEY AUTOINCREMENT, gp TEXT NOT NULL, nurse TEXT NOT NULL, held TEXT NOT NULL, "
    "  minute TEXT NOT NULL, at INTEGER NOT NULL, by TEXT NOT NULL) STRICT;"
    APPEND_ONLY("meeting")
    "CREATE TABLE meeting_followup(meeting INTEGER NOT NULL REFERENCES meeting(id), followup INTEGER NOT NULL REFERENCES "
    "  followup(id), minute TEXT NOT NULL, PRIMARY KEY(meeting, followup)) STRICT, WITHOUT ROWID;"
    ERASABLE("meeting_followup")
    "CREATE INDEX meeting_of_followup ON meeting_followup(followup);"

    /* An archive whose time is over leaves its anchor, and no artefact to refer to. */
    "DROP TRIGGER audit_stays;"
    "CREATE TABLE audit_anchor_5(seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, at INTEGER NOT NULL, artefact TEXT NOT "
    "  NULL) STRICT;"
    "INSERT INTO audit_anchor_5 SELECT seq, hash, at, artefact FROM audit_anchor;"
    "DROP TABLE audit_anchor;"
    "ALTER TABLE audit_anchor_5 RENAME TO audit_anchor;"
    APPEND_ONLY("audit_anchor")
    "CREATE TRIGGER audit_stays BEFORE DELETE ON audit WHEN OLD.seq > coalesce((SELECT max(seq) FROM "
    "  audit_anchor), 0) BEGIN SELECT RAISE(ABORT, 'append only'); END;"

    "CREATE TABLE audit_patient(patient TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(patient, seq)) STRICT, WITHOUT "
    "  ROWID;"
    "INSERT OR IGNORE INTO audit_patient SELECT json_extract(detail, '$.patient'), seq FROM audit WHERE "
    "  json_type(detail, '$.patient') = 'text';"
    "CREATE TABLE audit_head(seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, at INTEGER NOT NULL, key BLOB NOT NULL, "
    "  signature BLOB NOT NULL) STRICT;"
    APPEND_ONLY("audit_head")
    "ALTER TABLE answered ADD COLUMN patients TEXT;" /* whom it shows: an array of ids */
    "CREATE TABLE seal(name TEXT PRIMARY KEY, sum BLOB NOT NULL) STRICT, WITHOUT ROWID;"

    AGAIN_ERASABLE("patient_version") AGAIN_ERASABLE("acquisition")
    AGAIN_ERASABLE("record") AGAIN_ERASABLE("supersession") AGAIN_ERASABLE("interpretation") AGAIN_ERASABLE("assessment")
    AGAIN_ERASABLE("picture") AGAIN_ERASABLE("picture_label") AGAIN_ERASABLE("pupil") AGAIN_ERASABLE("dicom")
    AGAIN_ERASABLE("unmatched") AGAIN_ERASABLE("unmatched_end") AGAIN_ERASABLE("reassignment")
    AGAIN_ERASABLE("withdrawal") AGAIN_ERASABLE("file") /* an archive of the trail, too */
    "DROP TRIGGER artefact_stays;"
    "CREATE TRIGGER artefact_stays BEFORE DELETE ON artefact WHEN NOT EXISTS(SELECT 1 FROM erasure WHERE NOT done) BEGIN "
    "  SELECT RAISE(ABORT, 'append only'); END;"
    
    "CREATE TRIGGER study_stays BEFORE DELETE ON study BEGIN SELECT RAISE(ABORT, 'append only'); END;"
    "DROP TRIGGER acquisition_keeps;"
    "CREATE TRIGGER acquisition_keeps BEFORE UPDATE ON acquisition WHEN OLD.ended IS NOT NULL AND NOT EXISTS(SELECT 1 "
    "  FROM erasure WHERE NOT done) BEGIN SELECT RAISE(ABORT, 'append only'); END;",

    NULL,
};
