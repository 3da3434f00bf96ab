#include "access.h"

#include "registry.h"
#include "wall.h"

const char *const access_tables[] = {"user",     "acting", "delegation", "delegation_end", "followup", "followup_team",
                                     "referral", "study",  NULL};

const char *access_rpps(const struct caller *c) {
  return c->role != ROLE_NURSE ? "" : c->rpps[0] ? c->rpps : "-";
}

static enum problem seen(struct rows r) {
  enum problem p = rows_next(&r) && rows_int(&r, 0) ? P_OK : P_not_found;
  int err = rows_finish(&r);
  return err < 0 ? problem_of_errno(err) : p;
}

/* Two roles read: whichever a study was referred to, the other was its reader before. */
#define REFERRED "(y.reader = 'ophthalmologist' OR EXISTS(SELECT 1 FROM referral x WHERE x.study = y.id))"

enum problem access_patient(struct store *s, const struct caller *c, const char *patient) {
  char day[WALL_DATE_MAX];
  wall_date(wall_now().us, day);
  if (c->role == ROLE_NURSE)
    return seen(store_query(s, "SELECT " ACCESS_NURSE("?1", "?2", "?3"), "ttt", access_rpps(c), day, patient));
  if (c->role == ROLE_OPHTHALMOLOGIST)
    return seen(store_query(s,
                            "SELECT EXISTS(SELECT 1 FROM study y JOIN orders o ON o.id = y.orders WHERE o.patient = ?"
                            " AND " REFERRED ")",
                            "t", patient));
  return c->role == ROLE_AUDITOR ? P_not_found : P_OK;
}

enum problem access_study(struct store *s, const struct caller *c, int64_t study, const char *patient) {
  if (c->role == ROLE_OPHTHALMOLOGIST)
    return seen(store_query(s, "SELECT 1 FROM study y WHERE y.id = ? AND " REFERRED, "i", study));
  return access_patient(s, c, patient);
}
