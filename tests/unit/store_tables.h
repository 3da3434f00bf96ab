/* Every table of the schema, with one row for each. Include after store_bed.h. */
#ifndef ASALEED_STORE_TABLES_H
#define ASALEED_STORE_TABLES_H

#include "../e2e/store_bed.h"

static const struct {
  const char *table, *insert, *update;
  bool update_refused;
  enum { FREE, STAYS, ERASABLE } delete; /* whether a row may be removed; ERASABLE: under an open erasure */
} tables[] = {
    /* Columns are named, so that the same texts do for older versions. An erasure that is open would let all rows go.
     */
    {"erasure", "INSERT INTO erasure(id, what, ref, archive, at, by, done) VALUES(1,'patient','P','a',1,'u',1)",
     "UPDATE erasure SET ref = 'x'", true, STAYS},
    {"user", "INSERT INTO user(name, role, display, created) VALUES('u','gp','',1)", "UPDATE user SET display = 'x'",
     false, FREE},
    {"professional",
     "INSERT INTO professional(rpps, version, family, given, role, finess, at, by) "
     "VALUES('1',1,'F','G','gp','f',1,'u')",
     "UPDATE professional SET family = 'x'", true, STAYS},
    {"acting", "INSERT INTO acting(lgc, person, at, by) VALUES('l','u',1,'r')", "UPDATE acting SET by = 'x'", false,
     FREE},
    {"delegation",
     "INSERT INTO delegation(id, nurse, gp, protocol, authorisation, authorised, valid_from, valid_until, "
     "nurse_adhesion,"
     " gp_adhesion, at, by) "
     "VALUES(1,'1','2','p','a','2020-01-01','2020-01-01','2021-01-01','2020-01-01','2020-01-01',1,'u')",
     "UPDATE delegation SET gp = 'x'", true, STAYS},
    {"delegation_end", "INSERT INTO delegation_end(delegation, at, by, reason) VALUES(1,1,'u','r')",
     "UPDATE delegation_end SET reason = 'x'", true, STAYS},
    {"absence",
     "INSERT INTO absence(id, gp, deputy, first_day, last_day, at, by) "
     "VALUES(1,'1','2','2020-01-01','2020-01-02',1,'u')",
     "UPDATE absence SET deputy = 'x'", true, STAYS},
    {"absence_end", "INSERT INTO absence_end(absence, at, by) VALUES(1,1,'u')", "UPDATE absence_end SET by = 'x'", true,
     STAYS},
    {"patient_version",
     "INSERT INTO patient_version(patient, version, family, given, birth_date, sex, at)"
     " VALUES('P',1,'F','G','1950-01-01','F',1)",
     "UPDATE patient_version SET family = 'x'", true, ERASABLE},
    {"patient", "INSERT INTO patient(id, version) VALUES('P',1)", "UPDATE patient SET version = 1", false, STAYS},
    {"patient_archive",
     "INSERT INTO patient_archive(id, patient, sha256, contents, bytes, at, by) VALUES(1,'P','aa','aa',1,1,'u')",
     "UPDATE patient_archive SET sha256 = 'x'", true, STAYS},
    {"erasing", "INSERT INTO erasing(kind, id) VALUES('artefact','aa')", "UPDATE erasing SET id = 'x'", false, FREE},
    {"followup", "INSERT INTO followup(id, patient, protocol, at, by) VALUES(1,'P','p',1,'u')",
     "UPDATE followup SET protocol = 'x'", true, STAYS},
    {"followup_team", "INSERT INTO followup_team(id, followup, gp, nurse, at, by) VALUES(1,1,'2','1',1,'u')",
     "UPDATE followup_team SET gp = 'x'", true, STAYS},
    {"followup_end", "INSERT INTO followup_end(followup, at, by, reason) VALUES(1,1,'u','r')",
     "UPDATE followup_end SET reason = 'x'", true, STAYS},
    {"orders", "INSERT INTO orders(id, patient, act, ordered_by, at) VALUES(1,'P','ecg','u',1)",
     "UPDATE orders SET act = 'x'", true, STAYS},
    {"study", "INSERT INTO study(id, orders, state, created, updated) VALUES(1,1,'ordered',1,1)",
     "UPDATE study SET comment = 'x'", false, STAYS},
    {"acceptance", "INSERT INTO acceptance(id, study, at, due) VALUES(1,1,1,2)", "UPDATE acceptance SET due = 3", true,
     STAYS},
    {"cancellation", "INSERT INTO cancellation(study, reason, at, by) VALUES(1,'r',1,'u')",
     "UPDATE cancellation SET reason = 'x'", true, ERASABLE},
    {"study_return", "INSERT INTO study_return(study, code, text, at, by) VALUES(1,'c','t',1,'u')",
     "UPDATE study_return SET text = 'x'", true, ERASABLE},
    {"referral", "INSERT INTO referral(id, study, reader, text, at, by) VALUES(1,1,'ophthalmologist','t',1,'u')",
     "UPDATE referral SET text = 'x'", true, ERASABLE},
    {"notice", "INSERT INTO notice(id, kind, study, at, by) VALUES(1,'page',1,1,'u')", "UPDATE notice SET text = 'x'",
     true, ERASABLE},
    {"notice_end", "INSERT INTO notice_end(notice, at, by) VALUES(1,1,'u')", "UPDATE notice_end SET by = 'x'", true,
     ERASABLE},
    {"draft", "INSERT INTO draft(study, by, version, json, at) VALUES(1,'u',1,'{}',1)", "UPDATE draft SET version = 2",
     false, FREE},
    {"signing_key", "INSERT INTO signing_key(public, rpps, secret, at) VALUES(zeroblob(32),'1',x'00',1)",
     "UPDATE signing_key SET rpps = 'x'", true, STAYS},
    {"meeting", "INSERT INTO meeting(id, gp, nurse, held, minute, at, by) VALUES(1,'2','1','2020-01-01','m',1,'u')",
     "UPDATE meeting SET minute = 'x'", true, STAYS},
    {"meeting_followup", "INSERT INTO meeting_followup(meeting, followup, minute) VALUES(1,1,'m')",
     "UPDATE meeting_followup SET minute = 'x'", true, ERASABLE},
    {"artefact", "INSERT INTO artefact(sha256, kind, bytes, at) VALUES('aa','capture',1,1)",
     "UPDATE artefact SET bytes = 2", true, ERASABLE},
    {"acquisition",
     "INSERT INTO acquisition(id, study, device, driver, driver_version, program, node, seconds, started,"
     " offset_minutes, by, ended) VALUES(1,1,'d','d','1','1','n',1,1,0,'u',2)",
     "UPDATE acquisition SET outcome = 'x'", true, ERASABLE},
    {"record",
     "INSERT INTO record(id, study, acquisition, sha256, driver, driver_version, program, complete, clean, at)"
     " VALUES(1,1,1,'aa','d','1','1',1,1,1)",
     "UPDATE record SET clean = 0", true, ERASABLE},
    {"file", "INSERT INTO file(id, sha256, name, source, by, at, pending) VALUES(1,'aa','n','upload','u',1,1)",
     "UPDATE file SET name = 'x'", true, ERASABLE},
    {"unmatched",
     "INSERT INTO unmatched(id, acquisition, sha256, driver, driver_version, program, at, act, why, summary)"
     " VALUES(1,1,'aa','d','1','1',1,'ecg','time','{}')",
     "UPDATE unmatched SET driver = 'x'", true, ERASABLE},
    {"unmatched_end", "INSERT INTO unmatched_end(unmatched, what, record, at, by) VALUES(1,'attached',1,1,'u')",
     "UPDATE unmatched_end SET by = 'x'", true, ERASABLE},
    {"reassignment", "INSERT INTO reassignment(id, record, became, at, by, reason) VALUES(1,1,1,1,'u','r')",
     "UPDATE reassignment SET reason = 'x'", true, ERASABLE},
    {"supersession", "INSERT INTO supersession(record, at, by, reason) VALUES(1,1,'u','r')",
     "UPDATE supersession SET reason = 'x'", true, ERASABLE},
    {"interpretation",
     "INSERT INTO interpretation(id, study, version, by, at, conclusion, text, covers, patient_version)"
     " VALUES(1,1,1,'u',1,'normal','t','r',1)",
     "UPDATE interpretation SET text = 'x'", true, ERASABLE},
    {"withdrawal", "INSERT INTO withdrawal(interpretation, at, by, reason) VALUES(1,1,'u','r')",
     "UPDATE withdrawal SET reason = 'x'", true, ERASABLE},
    {"calibration",
     "INSERT INTO calibration(id, device, at, by, syringe_ml, measured_ml, passed) VALUES(1,'d',1,'u',3000,'{}',1)",
     "UPDATE calibration SET passed = 0", true, STAYS},
    {"assessment", "INSERT INTO assessment(id, study, at, json) VALUES(1,1,1,'{}')", "UPDATE assessment SET json = 'x'",
     true, ERASABLE},
    {"reference", "INSERT INTO reference(id, sha256, name, text, at, by) VALUES(1,'aa','n','t',1,'u')",
     "UPDATE reference SET text = 'x'", true, STAYS},
    {"change", "INSERT INTO change(seq, at, kind, ref, state) VALUES(1,1,'study','S-1','x')",
     "UPDATE change SET ref = 'x'", true, STAYS},
    {"audit", "INSERT INTO audit(seq, at, actor, action, subject, detail, hash) VALUES(1,1,'u','a','s','{}',x'00')",
     "UPDATE audit SET actor = 'x'", true, STAYS},
    {"audit_anchor", "INSERT INTO audit_anchor(seq, hash, at, artefact) VALUES(0,x'00',1,'aa')",
     "UPDATE audit_anchor SET hash = x'01'", true, STAYS},
    {"audit_patient", "INSERT INTO audit_patient(patient, seq) VALUES('P',1)", "UPDATE audit_patient SET seq = 2",
     false, FREE},
    {"audit_head", "INSERT INTO audit_head(seq, hash, at, key, signature) VALUES(1,x'00',1,x'00',x'00')",
     "UPDATE audit_head SET at = 2", true, STAYS},
    {"site", NULL, "UPDATE site SET uid = x'00112233445566778899aabbccddeeff'", true, STAYS},
    {"picture", "INSERT INTO picture(record, number, sha256) VALUES(1,1,'aa')", "UPDATE picture SET preview = 'aa'",
     true, ERASABLE},
    {"picture_label",
     "INSERT INTO picture_label(id, record, number, laterality, field, at, by) VALUES(1,1,1,'L','disc',1,'u')",
     "UPDATE picture_label SET field = 'macula'", true, ERASABLE},
    {"pupil", "INSERT INTO pupil(id, study, dilated, agents, at, by) VALUES(1,1,0,'[]',1,'u')",
     "UPDATE pupil SET dilated = 1", true, ERASABLE},
    {"dicom",
     "INSERT INTO dicom(id, record, number, whole, sha256, program, patient_version, at) VALUES(1,1,1,1,'aa','1',1,1)",
     "UPDATE dicom SET whole = 0", true, ERASABLE},
    {"answered", "INSERT INTO answered(actor, key, request, status, body, at) VALUES('u','k',x'00',200,'{}',1)",
     "UPDATE answered SET status = 201", false, FREE},
};
#define TABLES (sizeof tables / sizeof *tables)

/* One row in every table. */
static inline void tables_fill(struct store_bed *b) {
  bed_begin(b);
  for (size_t i = 0; i < TABLES; i++)
    if (tables[i].insert) { /* the site's row is the schema's own */
      const int r = store_run(b->store, tables[i].insert, "");
      if (r != 1)
        fail_msg("%s: %d", tables[i].insert, r);
    }
  bed_keep(b);
}

#endif
