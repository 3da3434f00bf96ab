/* Follow-ups: who opens, hands over and ends one, what it opens to whom; and whom each caller may know of at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "practice_bed.h"

#include "access.h"

static enum problem open_as(struct store_bed *b, const struct caller *c, const char *patient, const char *protocol,
                            const char *gp, const char *nurse) {
  int64_t id = -1;
  enum problem p = ACT(b, followup_open(b->store, &practice, c, patient, protocol, gp, nurse, &id));
  assert_int_equal(p == P_OK, id > 0);
  return p;
}

static struct followup followup(struct store_bed *b, int64_t id) {
  struct followup f;
  assert_int_equal(followup_find(b->store, id, &f), P_OK);
  return f;
}

static enum problem transfer(struct store_bed *b, int64_t id, const char *gp, const char *nurse) {
  const struct followup f = followup(b, id);
  return ACT(b, followup_transfer(b->store, &martin, &f, gp, nurse, "départ"));
}

static enum problem close_one(struct store_bed *b, int64_t id) {
  const struct followup f = followup(b, id);
  return ACT(b, followup_close(b->store, &ines, &f, "déménagement"));
}

static enum problem order(struct store_bed *b, const struct caller *c, const char *patient, const char *act,
                          int64_t wanted, int64_t *ret_study) {
  int64_t o;
  return ACT(b, worklist_order(b->store, &practice, c, patient, act, wanted, &o, ret_study));
}

/* ---- open, transfer, close ---- */

static void test_open(void **state) {
  struct store_bed *b = *state;
  struct followup f = {.id = 99};
  int64_t d;
  clock_set("2026-03-10T12:00:00Z");
  practice_patient(b, "P1", "1950-01-01", "F");
  assert_int_equal(followup_find(b->store, 1, &f), P_not_found);
  assert_int_equal(f.id, 99);
  assert_int_equal(open_as(b, &martin, "P2", "tous", MARTIN, INES), P_not_found);
  assert_int_equal(open_as(b, &martin, "P1", "autre", MARTIN, INES), P_protocol_unknown);
  /* Only those who work together, each in its own place. */
  static const struct {
    const char *gp, *nurse;
  } teams[] = {{MARTIN, IDA}, {DURAND, INES}, {INES, MARTIN}, {MARTIN, MARTIN},
               {OLGA, INES},  {NOBODY, INES}, {"", INES}};
  for (size_t i = 0; i < COUNT(teams); i++)
    assert_int_equal(open_as(b, &martin, "P1", "tous", teams[i].gp, teams[i].nurse), P_delegation_missing);
  assert_int_equal(open_as(b, &martin, "P1", "tous", MARTIN, ""), P_professional_unknown);
  /* A nurse opens her own; another, or one that nobody knows, opens none. */
  assert_int_equal(open_as(b, &ida, "P1", "tous", MARTIN, INES), P_forbidden);
  assert_int_equal(open_as(b, &nora, "P1", "tous", MARTIN, INES), P_forbidden);
  assert_int_equal(open_as(b, &nora, "P1", "tous", MARTIN, ""), P_professional_unknown);
  assert_int_equal(practice_delegate(b, IDA, MARTIN, "tous", "2026-03-11", "2026-03-12", &d), P_OK);
  assert_int_equal(open_as(b, &ida, "P1", "tous", MARTIN, IDA), P_delegation_future);
  clock_forward(3 * 86400);
  assert_int_equal(open_as(b, &ida, "P1", "tous", MARTIN, IDA), P_delegation_expired);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM followup"), 0);
  assert_int_equal(open_as(b, &ines, "P1", "tous", MARTIN, INES), P_OK);
  f = followup(b, 1);
  assert_string_equal(f.patient, "P1");
  assert_string_equal(f.protocol, "tous");
  assert_string_equal(f.gp, MARTIN);
  assert_string_equal(f.nurse, INES);
  assert_false(f.closed);
  assert_true(llabs(wall_now().us - f.opened) < 60 * WALL_SECOND);
  /* One a protocol; another after its end; one under another protocol. */
  assert_int_equal(open_as(b, &martin, "P1", "tous", MARTIN, INES), P_already_exists);
  assert_int_equal(open_as(b, &martin, "P1", "strict", MARTIN, INES), P_OK);
  assert_int_equal(close_one(b, 1), P_OK);
  assert_int_equal(open_as(b, &martin, "P1", "tous", MARTIN, INES), P_OK);
  assert_int_equal(open_as(b, &martin, "P1", "tous", MARTIN, INES), P_already_exists);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'followup.open' AND detail LIKE"
                              " '%\"patient\":\"P1\"%'"),
                   3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE detail LIKE '%Zoé%' OR detail LIKE '%Lef%'"), 0);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM change WHERE kind = 'followup' AND ref = 'W-3'"), 1);
}

static void test_transfer(void **state) {
  struct store_bed *b = *state;
  int64_t d;
  clock_set("2026-03-10T12:00:00Z");
  practice_admit(b, "P1");
  assert_int_equal(transfer(b, 1, MARTIN, IDA), P_delegation_missing);
  assert_int_equal(transfer(b, 1, DURAND, INES), P_delegation_missing);
  assert_int_equal(transfer(b, 1, MARTIN, MARTIN), P_delegation_missing);
  assert_int_equal(practice_delegate(b, IDA, DURAND, "strict", "2026-01-01", "2026-12-31", &d), P_OK);
  assert_int_equal(transfer(b, 1, DURAND, IDA), P_delegation_missing); /* of another protocol */
  assert_int_equal(practice_delegate(b, IDA, DURAND, "tous", "2026-01-01", "2026-12-31", &d), P_OK);
  assert_int_equal(transfer(b, 1, DURAND, IDA), P_OK);
  struct followup f = followup(b, 1);
  assert_string_equal(f.gp, DURAND);
  assert_string_equal(f.nurse, IDA);
  assert_string_equal(f.protocol, "tous");
  assert_int_equal(transfer(b, 1, MARTIN, INES), P_OK); /* and back */
  assert_string_equal(followup(b, 1).gp, MARTIN);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM followup_team WHERE followup = 1"), 3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'followup.transfer' AND subject = 'W-1'"), 2);
  assert_int_equal(close_one(b, 1), P_OK);
  assert_int_equal(transfer(b, 1, DURAND, IDA), P_followup_closed);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM followup_team WHERE followup = 1"), 3);
}

/* Nothing new is ordered; what is in the queue is read. */
static void test_close(void **state) {
  struct store_bed *b = *state;
  int64_t id, d;
  char token[CLAIM_DIGITS + 1];
  practice_admit(b, "P1");
  int64_t queued = practice_queued(b, "P1"), ordered = practice_order(b, "P1", "ecg");
  assert_int_equal(close_one(b, 1), P_OK);
  assert_true(followup(b, 1).closed);
  assert_int_equal(close_one(b, 1), P_followup_closed);
  assert_int_equal(order(b, &martin, "P1", "ecg", 0, &id), P_followup_missing);
  assert_int_equal(order(b, &martin, "P1", "ecg", 1, &id), P_followup_closed);
  struct study y = study(b, ordered);
  assert_int_equal(study_may_acquire(b->store, &practice, &ines, &y, &d), P_followup_closed);
  assert_int_equal(study_may_acquire(b->store, &practice, &martin, &y, &d), P_OK); /* in his own right */
  y = study(b, queued);
  assert_int_equal(ACT(b, study_claim(b->store, &martin, &practice, &y, token)), P_OK);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y, token, "normal")), P_OK);
  practice_follow(b, "P1", "tous");
  assert_int_equal(order(b, &martin, "P1", "ecg", 0, &id), P_OK);
  assert_int_equal(study(b, id).followup, 2);
}

/* ---- what it opens ---- */

static void test_which(void **state) {
  struct store_bed *b = *state;
  int64_t id;
  practice_patient(b, "P1", "1950-01-01", "F");
  practice_patient(b, "P2", "1960-02-02", "M");
  assert_int_equal(order(b, &martin, "P1", "ecg", 0, &id), P_followup_missing);
  practice_follow(b, "P1", "strict"); /* W-1 */
  assert_int_equal(order(b, &martin, "P1", "spirometry", 0, &id), P_act_not_open);
  assert_int_equal(order(b, &martin, "P1", "measurement", 0, &id), P_act_not_open);
  assert_int_equal(order(b, &martin, "P1", "ECG", 0, &id), P_act_not_open);
  assert_int_equal(order(b, &martin, "P1", "measurement", 1, &id), P_act_not_open);
  practice_follow(b, "P1", "tous"); /* W-2 */
  practice_follow(b, "P2", "tous"); /* W-3 */
  static const struct {
    const char *act;
    int64_t wanted;
    enum problem p;
    int64_t followup;
  } cases[] = {{"ecg", 0, P_followup_ambiguous, 0},
               {"ecg", 1, P_OK, 1},
               {"ecg", 2, P_OK, 2},
               {"fundus", 0, P_followup_ambiguous, 0},
               {"spirometry", 0, P_OK, 2}, /* the only one that opens it */
               {"spirometry", 1, P_act_not_open, 0},
               {"measurement", 0, P_OK, 2},
               {"ecg", 3, P_followup_missing, 0}, /* another patient's */
               {"ecg", 99, P_followup_missing, 0}};
  for (size_t i = 0; i < COUNT(cases); i++) {
    enum problem p = order(b, &martin, "P1", cases[i].act, cases[i].wanted, &id);
    if (p != cases[i].p)
      fail_msg("case %zu: %s", i, problem_code(p));
    if (p == P_OK)
      assert_int_equal(study(b, id).followup, cases[i].followup);
  }
  assert_int_equal(close_one(b, 1), P_OK);
  assert_int_equal(order(b, &martin, "P1", "ecg", 0, &id), P_OK); /* of the two one is left */
  assert_int_equal(study(b, id).followup, 2);
  assert_string_equal(study(b, id).gp, MARTIN);
  assert_string_equal(study(b, id).protocol, "tous");
  assert_int_equal(study(b, id).reader, ROLE_GP);
  practice_follow(b, "P2", "strict");
  assert_int_equal(order(b, &martin, "P2", "fundus", 4, &id), P_OK);
  assert_int_equal(study(b, id).reader, ROLE_OPHTHALMOLOGIST);
}

/* Who may order and who may acquire, by what the protocol leaves to the nurse; the GP does both in his own right. */
static void test_rights(void **state) {
  struct store_bed *b = *state;
  int64_t id, d;
  practice_patient(b, "P1", "1950-01-01", "F");
  practice_follow(b, "P1", "tous");
  practice_follow(b, "P1", "strict");
  static const struct {
    const char *act;
    int64_t followup;
    enum problem prescribe, perform;
  } of[] = {{"ecg", 1, P_OK, P_OK},
            {"fundus", 1, P_OK, P_OK},
            {"ecg", 2, P_prescribe_gp, P_perform_gp},
            {"fundus", 2, P_OK, P_perform_gp}};
  for (size_t i = 0; i < COUNT(of); i++) {
    assert_int_equal(order(b, &ines, "P1", of[i].act, of[i].followup, &id), of[i].prescribe);
    assert_int_equal(order(b, &martin, "P1", of[i].act, of[i].followup, &id), P_OK);
    struct study y = study(b, id);
    d = -1;
    assert_int_equal(study_may_acquire(b->store, &practice, &ines, &y, &d), of[i].perform);
    assert_int_equal(d, of[i].perform == P_OK ? 1 : 0);
    assert_int_equal(study_may_acquire(b->store, &practice, &petit, &y, &d), P_OK);
    assert_int_equal(d, 0);
  }
  /* Under which delegation a nurse ordered stands with the order; the GP needs none. */
  assert_int_equal(bed_int(b, "SELECT count(*) FROM orders WHERE ordered_by = 'ines' AND delegation IN (1, 2)"), 3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM orders WHERE ordered_by = 'martin' AND delegation IS NULL"), 4);
}

/* The delegation is looked at on the day of the act, for each nurse her own. */
static void test_rights_today(void **state) {
  struct store_bed *b = *state;
  int64_t id, d, w;
  clock_set("2026-03-10T12:00:00Z");
  practice_patient(b, "P1", "1950-01-01", "F");
  assert_int_equal(practice_delegate(b, IDA, DURAND, "tous", "2026-03-10", "2026-03-11", &d), P_OK);
  assert_int_equal(ACT(b, followup_open(b->store, &practice, &durand, "P1", "tous", DURAND, IDA, &w)), P_OK);
  assert_int_equal(order(b, &ida, "P1", "ecg", 0, &id), P_OK);
  struct study y = study(b, id);
  assert_int_equal(order(b, &ines, "P1", "ecg", 0, &id), P_not_found); /* she knows nothing of him */
  assert_int_equal(order(b, &nora, "P1", "ecg", 0, &id), P_not_found);
  assert_int_equal(study_may_acquire(b->store, &practice, &ines, &y, &d), P_delegation_missing);
  assert_int_equal(study_may_acquire(b->store, &practice, &nora, &y, &d), P_professional_unknown);
  clock_forward(86400); /* the last day */
  assert_int_equal(study_may_acquire(b->store, &practice, &ida, &y, &d), P_OK);
  clock_forward(86400);
  assert_int_equal(study_may_acquire(b->store, &practice, &ida, &y, &d), P_delegation_expired);
  assert_int_equal(d, 0);
  assert_int_equal(order(b, &ida, "P1", "ecg", 0, &id), P_delegation_expired); /* her patient, but not today */
  assert_int_equal(order(b, &durand, "P1", "ecg", 0, &id), P_OK);
  clock_forward(-3 * 86400); /* the clock goes back */
  assert_int_equal(order(b, &ida, "P1", "ecg", 0, &id), P_delegation_future);
  clock_forward(86400);
  assert_int_equal(order(b, &ida, "P1", "ecg", 0, &id), P_OK);
  /* A colleague who holds the GP's delegation helps out. */
  assert_int_equal(practice_delegate(b, INES, DURAND, "tous", "2026-01-01", "2026-12-31", &d), P_OK);
  assert_int_equal(order(b, &ines, "P1", "ecg", 0, &id), P_OK);
  int64_t under = 0;
  assert_int_equal(study_may_acquire(b->store, &practice, &ines, &y, &under), P_OK);
  assert_int_equal(under, d);
}

/* A protocol that the site no longer works under: nothing new, what there is stays readable, by the strictest rules. */
static void test_protocol_removed(void **state) {
  struct store_bed *b = *state;
  static const struct conf without = {.claim_minutes = 30, .protocols = {&strict}, .n_protocols = 1};
  char token[CLAIM_DIGITS + 1];
  int64_t o, id, d;
  practice_admit(b, "P1");
  int64_t acquired = practice_order(b, "P1", "ecg");
  practice_acquire(b, acquired, true);
  struct study y = study(b, acquired);
  const struct conf_act *rules = study_act(&without, &y);
  assert_ptr_equal(study_act(&practice, &y), &tous.acts[ACQ_ECG]);
  assert_int_equal(rules->sees_before, CONF_SEES_QUALITY);
  assert_int_equal(rules->sees_after, CONF_SEES_NOTHING);
  assert_false(rules->prescribe || rules->perform || rules->open);
  assert_int_equal(rules->views.n, 4);
  assert_int_equal(ACT(b, worklist_order(b->store, &without, &martin, "P1", "ecg", 0, &o, &id)), P_act_not_open);
  assert_int_equal(ACT(b, worklist_order(b->store, &without, &martin, "P1", "ecg", 1, &o, &id)), P_act_not_open);
  assert_int_equal(study_may_acquire(b->store, &without, &ines, &y, &d), P_perform_gp);
  assert_int_equal(study_may_acquire(b->store, &without, &martin, &y, &d), P_OK);
  practice_patient(b, "P2", "1960-02-02", "M");
  assert_int_equal(ACT(b, followup_open(b->store, &without, &martin, "P2", "tous", MARTIN, INES, &id)),
                   P_protocol_unknown);
  assert_int_equal(ACT(b, study_accept(b->store, &ines, &without, &y, false, NULL)), P_OK);
  assert_int_equal(y.due - y.accepted, 24 * 3600 * WALL_SECOND);
  assert_int_equal(ACT(b, study_claim(b->store, &martin, &without, &y, token)), P_OK);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y, token, "normal")), P_OK);
}

/* What was ordered before there were follow-ups belongs to none: it is read, and acquired by nobody. */
static void test_without(void **state) {
  struct store_bed *b = *state;
  int64_t d = -1;
  practice_admit(b, "P1");
  bed_begin(b);
  assert_int_equal(store_run(b->store, "INSERT INTO orders(patient, act, ordered_by, at) VALUES('P1','ecg','x',1)", ""),
                   1);
  assert_int_equal(store_run(b->store, "INSERT INTO study(orders, state, created, updated) VALUES(?,'ordered',1,1)",
                             "i", store_last_id(b->store)),
                   1);
  bed_keep(b);
  struct study y = study(b, 1);
  assert_int_equal(y.followup, 0);
  assert_string_equal(y.gp, "");
  assert_string_equal(y.protocol, "");
  assert_int_equal(study_may_acquire(b->store, &practice, &ines, &y, &d), P_followup_missing);
  assert_int_equal(study_may_acquire(b->store, &practice, &martin, &y, &d), P_OK);
  assert_int_equal(d, 0);
}

/* ---- whom a caller may know of ---- */

static const struct caller *const callers[] = {&ines, &ida,   &nora, &martin,   &durand,         &petit,
                                               &olga, &adele, &aude, &logiciel, &logiciel_martin};

/* The patients that each may know of, a letter each: A of martin and ines, B of durand and ida, C of nobody, X who does
 * not exist. */
static void knows(struct store_bed *b, const char *const expected[static COUNT(callers)]) {
  for (size_t i = 0; i < COUNT(callers); i++) {
    char seen[8];
    size_t n = 0;
    for (const char *patient = "ABCX"; *patient; patient++) {
      const char id[] = {*patient, 0};
      enum problem p = access_patient(b->store, callers[i], id);
      assert_true(p == P_OK || p == P_not_found);
      if (p == P_OK)
        seen[n++] = *patient;
    }
    seen[n] = 0;
    if (strcmp(seen, expected[i]))
      fail_msg("%s%s: %s, not %s", callers[i]->name, callers[i]->acting_for, seen, expected[i]);
  }
}

static void test_access(void **state) {
  struct store_bed *b = *state;
  int64_t d, w;
  clock_set("2026-03-10T12:00:00Z");
  practice_admit(b, "A");
  practice_patient(b, "B", "1960-02-02", "M");
  practice_patient(b, "C", "1970-03-03", "F");
  assert_int_equal(practice_delegate(b, IDA, DURAND, "tous", "2026-01-01", "2026-12-31", &d), P_OK);
  assert_int_equal(ACT(b, followup_open(b->store, &practice, &durand, "B", "tous", DURAND, IDA, &w)), P_OK);
  /* ines ida nora martin durand petit olga adele aude logiciel, and as martin */
#define REST "ABCX", "ABCX", "ABCX", "", "ABCX", "", "ABCX", "ABCX"
  knows(b, (const char *const[]){"ACX", "BCX", "CX", REST});
  /* Another of martin's protocols shows ida nothing; this one does, from its first day to its last. */
  assert_int_equal(practice_delegate(b, IDA, MARTIN, "strict", "2026-01-01", "2026-12-31", &d), P_OK);
  knows(b, (const char *const[]){"ACX", "BCX", "CX", REST});
  assert_int_equal(practice_delegate(b, IDA, MARTIN, "tous", "2026-03-11", "2026-03-11", &d), P_OK);
  knows(b, (const char *const[]){"ACX", "BCX", "CX", REST});
  clock_forward(86400);
  knows(b, (const char *const[]){"ACX", "ABCX", "CX", REST});
  /* Handed over: ines sees it as long as she holds martin's delegation. */
  assert_int_equal(transfer(b, 1, MARTIN, IDA), P_OK);
  knows(b, (const char *const[]){"ACX", "ABCX", "CX", REST});
  assert_int_equal(ACT(b, registry_delegation_end(b->store, &root, 1, "départ")), P_OK);
  knows(b, (const char *const[]){"CX", "ABCX", "CX", REST});
  /* It is ida's, also when the delegation is over and when the follow-up is. */
  clock_forward(86400);
  knows(b, (const char *const[]){"CX", "ABCX", "CX", REST});
  assert_int_equal(close_one(b, 1), P_OK);
  knows(b, (const char *const[]){"CX", "ABCX", "CX", REST});
  assert_string_equal(access_rpps(&ines), INES);
  assert_string_equal(access_rpps(&nora), "-");
  assert_string_equal(access_rpps(&martin), "");
  assert_string_equal(access_rpps(&adele), "");
}

static enum problem enters(struct store_bed *b, const struct caller *c, int64_t id) {
  const struct study y = study(b, id);
  return access_study(b->store, c, id, y.patient);
}

/* The ophthalmologist knows what was sent to that role, and its patient; nothing else of the patient. */
static void test_access_referred(void **state) {
  struct store_bed *b = *state;
  int64_t id;
  practice_admit(b, "A");
  practice_admit(b, "B");
  int64_t one = practice_queued(b, "A"), other = practice_queued(b, "A");
  struct study y = study(b, one);
  assert_int_equal(enters(b, &olga, one), P_not_found);
  assert_int_equal(access_patient(b->store, &olga, "A"), P_not_found);
  assert_int_equal(ACT(b, interpret_refer(b->store, &martin, &y, NULL, "ophthalmologist", "")), P_OK);
  assert_int_equal(enters(b, &olga, one), P_OK);
  assert_int_equal(enters(b, &olga, other), P_not_found);
  assert_int_equal(access_patient(b->store, &olga, "A"), P_OK);
  assert_int_equal(access_patient(b->store, &olga, "B"), P_not_found);
  assert_int_equal(access_study(b->store, &olga, 99, "A"), P_not_found);
  /* What went back stays known: she may be asked about it. */
  assert_int_equal(ACT(b, interpret_refer(b->store, &martin, &y, NULL, "gp", "")), P_OK);
  assert_int_equal(study(b, one).reader, ROLE_GP);
  assert_int_equal(enters(b, &olga, one), P_OK);
  assert_int_equal(access_patient(b->store, &olga, "A"), P_OK);
  /* Where the protocol sends it to her from the beginning. */
  practice_follow(b, "B", "strict");
  assert_int_equal(order(b, &martin, "B", "fundus", 3, &id), P_OK);
  assert_int_equal(enters(b, &olga, id), P_OK);
  assert_int_equal(access_patient(b->store, &olga, "B"), P_OK);
  /* The others as they know its patient. */
  static const enum problem expected[COUNT(callers)] = {P_OK, P_not_found, P_not_found, P_OK, P_OK, P_OK,
                                                        P_OK, P_OK,        P_not_found, P_OK, P_OK};
  for (size_t i = 0; i < COUNT(callers); i++)
    assert_int_equal(enters(b, callers[i], id), expected[i]);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, practice_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(open),         TEST(transfer),         TEST(close),   TEST(which),  TEST(rights),
      TEST(rights_today), TEST(protocol_removed), TEST(without), TEST(access), TEST(access_referred),
  };
  return cmocka_run_group_tests_name("followup", tests, NULL, NULL);
}
