#include "patient.h"

#include "access.h"
#include "registry.h"
#include "str.h"
#include "wall.h"
#include <string.h>

bool patient_id_ok(const char *id) {
  size_t n = strlen(id);
  return n >= 1 && n <= PATIENT_ID_MAX &&
         strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

enum problem patient_find(struct store *s, const char *id, struct patient *ret) {
  struct rows r =
      store_query(s,
                  "SELECT p.id, v.family, v.given, v.birth_date, v.sex, v.version, v.at, coalesce(v.ins, ''),"
                  " coalesce(v.ins_oid, ''), coalesce(v.ins_status, '') FROM patient p"
                  " JOIN patient_version v ON v.patient = p.id AND v.version = p.version WHERE p.id = ?",
                  "t", id);
  enum problem p = P_not_found;
  if (rows_next(&r)) {
    *ret = (struct patient){.version = rows_int(&r, 5), .updated = rows_int(&r, 6)};
    p = str_copy(ret->id, sizeof ret->id, rows_text(&r, 0)) &&
                str_copy(ret->family, sizeof ret->family, rows_text(&r, 1)) &&
                str_copy(ret->given, sizeof ret->given, rows_text(&r, 2)) &&
                str_copy(ret->birth_date, sizeof ret->birth_date, rows_text(&r, 3)) &&
                str_copy(ret->sex, sizeof ret->sex, rows_text(&r, 4)) &&
                str_copy(ret->ins, sizeof ret->ins, rows_text(&r, 7)) &&
                str_copy(ret->ins_oid, sizeof ret->ins_oid, rows_text(&r, 8)) &&
                str_copy(ret->ins_status, sizeof ret->ins_status, rows_text(&r, 9))
            ? P_OK
            : P_internal;
  }
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

enum problem patient_put(struct store *s, const struct actor *by, struct patient *p, int64_t if_match, bool *ret_new) {
  struct patient known;
  enum problem found = patient_find(s, p->id, &known);
  if (found != P_OK && found != P_not_found)
    return found;
  *ret_new = found == P_not_found;
  if (*ret_new && if_match != 0) /* "*" too asks for one that is there (RFC 9110, 13.1.1) */
    return P_precondition_failed;
  if (!*ret_new) {
    if (if_match > 0 && if_match != known.version)
      return P_precondition_failed;
    if (!strcmp(known.family, p->family) && !strcmp(known.given, p->given) &&
        !strcmp(known.birth_date, p->birth_date) && !strcmp(known.sex, p->sex) && !strcmp(known.ins, p->ins) &&
        !strcmp(known.ins_oid, p->ins_oid) && !strcmp(known.ins_status, p->ins_status)) {
      *p = known;
      return P_OK;
    }
    if (if_match == 0)
      return P_precondition_required;
  }
  p->version = *ret_new ? 1 : known.version + 1;
  p->updated = wall_now().us;
  int r = store_run(s, "INSERT INTO patient_version VALUES(?,?,?,?,?,?,?,nullif(?, ''),nullif(?, ''),nullif(?, ''))",
                    "tittttittt", p->id, p->version, p->family, p->given, p->birth_date, p->sex, p->updated, p->ins,
                    p->ins_oid, p->ins_status);
  if (r >= 0)
    r = store_run(s, "INSERT INTO patient VALUES(?,?) ON CONFLICT(id) DO UPDATE SET version = excluded.version", "ti",
                  p->id, p->version);
  if (r >= 0)
    r = audit_add(s, by, *ret_new ? "patient.add" : "patient.change", p->id,
                  json_pack("{s:s, s:I}", "patient", p->id, "version", (json_int_t)p->version));
  if (r >= 0)
    r = change_add(s, "patient", p->id, NULL);
  return problem_of_errno(r);
}

enum problem patient_by_ins(struct store *s, const struct caller *c, const char *ins,
                            char ret_id[static PATIENT_ID_MAX + 1]) {
  char day[WALL_DATE_MAX];
  wall_date(wall_now().us, day);
  struct rows r = store_query(s,
                              "SELECT p.id FROM patient_version v JOIN patient p ON p.id = v.patient AND p.version ="
                              " v.version WHERE v.ins = ?1 AND " ACCESS_NURSE("?2", "?3", "p.id") " LIMIT 2",
                              "ttt", ins, access_rpps(c), day);
  enum problem p = rows_next(&r) && str_copy(ret_id, PATIENT_ID_MAX + 1, rows_text(&r, 0)) ? P_OK : P_not_found;
  if (p == P_OK && rows_next(&r))
    p = P_ins_ambiguous;
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}
