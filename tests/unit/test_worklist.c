/* Orders, studies, claims and the reading queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"
#include "str.h"
#include "wall.h"
#include "worklist.h"
#include <sys/syscall.h>
#include <time.h>

/* The system's clock, moved by this much. */
static int64_t clock_step_s;
int clock_gettime(clockid_t id, struct timespec *ret) {
  int r = (int)syscall(SYS_clock_gettime, id, ret);
  if (id == CLOCK_REALTIME)
    ret->tv_sec += clock_step_s;
  return r;
}

static const struct worklist_rules rules = {
    .claim_minutes = 30, .due_hours = {[ACQ_ECG] = 24, [ACQ_SPIROMETRY] = 72, [ACQ_MEASUREMENT] = 48}};
static const struct caller nurse = {.name = "ines", .role = ROLE_NURSE};
static const struct caller gp = {.name = "martin", .role = ROLE_GP}, gp2 = {.name = "durand", .role = ROLE_GP};
static const struct caller admin = {.name = "root", .role = ROLE_ADMIN}, lgc = {.name = "lgc", .role = ROLE_LGC};
static const struct caller lgc_for_gp = {.name = "lgc", .acting_for = "martin", .role = ROLE_GP};
static const struct actor machine = {.name = "asaleed"};

/* ---- the table ---- */

/* The design's states, events and roles, row by row; N nurse, G gp, A administrator, S the daemon. */
static const struct {
  const char *from, *event, *roles, *to;
} design[] = {
    {"ordered", "start", "NG", "acquiring"},         {"acquiring", "record", "S", "acquired"},
    {"acquiring", "fail", "S", "ordered"},           {"acquiring", "fail_again", "S", "acquired"},
    {"acquired", "start", "NG", "acquiring"},        {"acquired", "repeat", "NG", "ordered"},
    {"acquired", "accept", "NG", "to_interpret"},    {"to_interpret", "claim", "G", "interpreting"},
    {"interpreting", "sign", "G", "interpreted"},    {"interpreting", "release", "G", "to_interpret"},
    {"interpreting", "expire", "S", "to_interpret"}, {"ordered", "cancel", "NG", "cancelled"},
    {"acquired", "cancel", "NG", "cancelled"},       {"to_interpret", "cancel", "G", "cancelled"},
    {"ordered", "attach", "NGA", "acquired"},        {"acquired", "attach", "NGA", "acquired"},
    {"acquired", "reassign", "GA", "ordered"},       {"acquired", "reassign_part", "GA", "acquired"},
    {"to_interpret", "reassign", "GA", "ordered"},   {"to_interpret", "reassign_part", "GA", "acquired"},
    {"interpreting", "reassign", "GA", "ordered"},   {"interpreting", "reassign_part", "GA", "acquired"},
    {"interpreted", "reassign", "GA", "ordered"},    {"interpreted", "reassign_part", "GA", "acquired"},
};

static const struct {
  enum role role;
  char letter;
} letters[] = {{ROLE_NURSE, 'N'}, {ROLE_GP, 'G'}, {ROLE_ADMIN, 'A'}, {ROLE_LGC, 'L'}, {ROLE_SYSTEM, 'S'}};

static void test_table(void **state) {
  (void)state;
  unsigned n = 0, passed = 0;
  for (int from = 0; from < STATES; from++)
    for (int event = 0; event < EVENTS; event++)
      for (size_t role = 0; role < 5; role++, n++) {
        bool ever = false;
        const char *to = NULL;
        enum problem expected;
        const char *allowed = NULL;
        for (size_t i = 0; i < sizeof design / sizeof *design; i++) {
          if (strcmp(design[i].event, study_event_name((enum study_event)event)))
            continue;
          ever |= strchr(design[i].roles, letters[role].letter) != NULL;
          if (!strcmp(design[i].from, study_state_name((enum study_state)from))) {
            allowed = design[i].roles;
            to = design[i].to;
          }
        }
        expected = allowed && strchr(allowed, letters[role].letter) ? P_OK
                   : allowed || !ever                               ? P_forbidden
                                                                    : P_wrong_state;
        enum study_state got = STATES;
        enum problem p = study_next((enum study_state)from, (enum study_event)event, letters[role].role, &got);
        if (p != expected || (p == P_OK ? strcmp(study_state_name(got), to) != 0 : got != STATES))
          fail_msg("%s in %s by %c: %s", study_event_name((enum study_event)event),
                   study_state_name((enum study_state)from), letters[role].letter, problem_code(p));
        passed += p == P_OK;
      }
  assert_int_equal(n, 7 * 14 * 5);
  assert_int_equal(passed, 6 * 2 + 4 + 4 + 2 * 3 + 8 * 2);
  print_message("# %u of role x event x state: %u may pass, %u refused\n", n, passed, n - passed);
}

static void test_names(void **state) {
  (void)state;
  static const char *const names[] = {"ordered",      "acquiring",   "acquired", "to_interpret",
                                      "interpreting", "interpreted", "cancelled"};
  for (int i = 0; i < STATES; i++) {
    enum study_state s;
    assert_string_equal(study_state_name((enum study_state)i), names[i]);
    assert_true(study_state_find(names[i], &s));
    assert_int_equal(s, i);
  }
  enum study_state s;
  assert_false(study_state_find("", &s));
  assert_false(study_state_find("Ordered", &s));
  assert_int_equal(act_modality("ecg"), ACQ_ECG);
  assert_int_equal(act_modality("spirometry"), ACQ_SPIROMETRY);
  assert_int_equal(act_modality("measurement"), ACQ_MEASUREMENT);
  assert_int_equal(act_modality("fundus"), ACQ_FUNDUS);
  assert_int_equal(act_modality("ECG"), 0);
  assert_int_equal(act_modality(""), 0);
}

/* ---- a study's life ---- */

static void patient(struct store_bed *b, const char *id) {
  struct patient p = {.family = "F", .given = "G", .birth_date = "1950-01-01", .sex = "F"};
  bool created;
  str_copy(p.id, sizeof p.id, id);
  bed_begin(b);
  assert_int_equal(patient_put(b->store, &machine, &p, 0, &created), P_OK);
  bed_keep(b);
}

static struct study study(struct store_bed *b, int64_t id) {
  struct study y;
  assert_int_equal(study_find(b->store, id, &y), P_OK);
  return y;
}

static int64_t order(struct store_bed *b) {
  int64_t o, y;
  bed_begin(b);
  assert_int_equal(worklist_order(b->store, &nurse, "P1", "ecg", &o, &y), P_OK);
  bed_keep(b);
  return y;
}

/* A record as a finished acquisition leaves it. */
static void acquire(struct store_bed *b, int64_t id, bool clean) {
  char sha[HASH_TEXT];
  struct study y = study(b, id);
  struct actor by = caller_actor(&nurse);
  static unsigned serial;
  serial++;
  bed_begin(b);
  assert_int_equal(study_move(b->store, &by, ROLE_NURSE, &y, EV_START, NULL), P_OK);
  assert_int_equal(artefact_put(b->artefacts, b->store, "record", &serial, sizeof serial, 1, sha), 0);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO acquisition(study, device, driver, driver_version, program, node, seconds,"
                             " started, offset_minutes, by, ended) VALUES(?,'d','d','1','1','n',1,1,0,'u',2)",
                             "i", id),
                   1);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO record(study, acquisition, sha256, driver, driver_version, program, complete,"
                             " clean, at) VALUES(?,?,?,'d','1','1',1,?,1)",
                             "iiti", id, store_last_id(b->store), sha, (int64_t)clean),
                   1);
  assert_int_equal(store_run(b->store, "UPDATE study SET clean = ? WHERE id = ?", "ii", (int64_t)clean, id), 1);
  y = study(b, id);
  assert_int_equal(study_move(b->store, &machine, ROLE_SYSTEM, &y, EV_RECORD, NULL), P_OK);
  bed_keep(b);
}

/* Each step in an act, committed when it passes. */
#define ACT(b, call)                                 \
  ({                                                 \
    bed_begin(b);                                    \
    enum problem p_ = (call);                        \
    if (p_ == P_OK)                                  \
      bed_keep(b);                                   \
    else {                                           \
      store_undo((b)->store);                        \
      assert_int_equal(store_commit((b)->store), 0); \
    }                                                \
    p_;                                              \
  })

static int64_t queued(struct store_bed *b) {
  int64_t id = order(b);
  acquire(b, id, true);
  struct study y = study(b, id);
  assert_int_equal(ACT(b, study_accept(b->store, &nurse, &rules, &y, false, NULL)), P_OK);
  return id;
}

static void test_life(void **state) {
  struct store_bed *b = *state;
  char token[CLAIM_DIGITS + 1];
  int64_t o, id;
  bed_begin(b);
  assert_int_equal(worklist_order(b->store, &nurse, "nobody", "ecg", &o, &id), P_not_found);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  patient(b, "P1");
  id = order(b);
  struct study y = study(b, id);
  assert_int_equal(y.state, ORDERED);
  assert_int_equal(y.version, 1);
  assert_int_equal(y.clean, -1);
  assert_int_equal(y.attempts, 0);
  assert_int_equal(ACT(b, study_accept(b->store, &nurse, &rules, &y, true, NULL)), P_wrong_state);
  acquire(b, id, false);
  y = study(b, id);
  assert_int_equal(y.state, ACQUIRED);
  assert_int_equal(y.attempts, 1);
  assert_int_equal(y.clean, 0);
  /* A reading with points to check goes on only when somebody says so. */
  assert_int_equal(ACT(b, study_accept(b->store, &nurse, &rules, &y, false, NULL)), P_confirmation_needed);
  assert_int_equal(study(b, id).state, ACQUIRED);
  assert_int_equal(ACT(b, study_repeat(b->store, &nurse, &y, "bad contact")), P_OK);
  assert_int_equal(y.state, ORDERED);
  assert_int_equal(study(b, id).clean, -1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM supersession WHERE by = 'ines' AND reason = 'bad contact'"), 1);
  acquire(b, id, true);
  acquire(b, id, false); /* one more trial */
  y = study(b, id);
  assert_int_equal(y.attempts, 3);
  assert_int_equal(ACT(b, study_accept(b->store, &nurse, &rules, &y, true, "second trial")), P_OK);
  assert_int_equal(y.state, TO_INTERPRET);
  assert_int_equal(y.due - y.accepted, (int64_t)24 * 3600 * WALL_SECOND);
  assert_int_equal(ACT(b, study_claim(b->store, &gp, &rules, &y, token)), P_OK);
  assert_int_equal(ACT(b, study_sign(b->store, &gp, &y, token, "abnormal", "text", NULL)), P_OK);
  assert_int_equal(y.state, INTERPRETED);
  assert_int_equal(y.claim_expires, 0);
  assert_string_equal(y.claim_by, "");
  assert_int_equal(bed_int(b, "SELECT count(*) FROM interpretation WHERE by = 'martin' AND version = 1"), 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM change WHERE kind = 'order' AND ref = 'O-1'"), 1);
  struct audit_check c;
  assert_int_equal(audit_verify(b->store, b->artefacts, &c), 0);
  assert_true(c.ok);
  /* A step on what somebody else has moved meanwhile is refused. */
  struct study old = study(b, id);
  old.version--;
  old.state = TO_INTERPRET;
  struct actor by = caller_actor(&gp);
  assert_int_equal(ACT(b, study_move(b->store, &by, ROLE_GP, &old, EV_CLAIM, NULL)), P_precondition_failed);
}

/* The signature names exactly the records that stood: oldest first, none that was set aside. */
static void test_sign_binds(void **state) {
  struct store_bed *b = *state;
  char token[CLAIM_DIGITS + 1], expected[HASH_TEXT], text[3 * HASH_TEXT];
  size_t n = 0;
  patient(b, "P1");
  int64_t id = order(b);
  acquire(b, id, true);
  struct study y = study(b, id);
  assert_int_equal(ACT(b, study_repeat(b->store, &nurse, &y, "again")), P_OK);
  acquire(b, id, true);
  acquire(b, id, true);
  y = study(b, id);
  assert_int_equal(ACT(b, study_accept(b->store, &nurse, &rules, &y, false, NULL)), P_OK);
  assert_int_equal(ACT(b, study_claim(b->store, &gp, &rules, &y, token)), P_OK);
  assert_int_equal(ACT(b, study_sign(b->store, &gp, &y, token, "normal", "t", NULL)), P_OK);
  struct rows r = store_query(b->store, "SELECT sha256 FROM record ORDER BY id LIMIT 2 OFFSET 1", "");
  while (rows_next(&r))
    n += (size_t)snprintf(text + n, sizeof text - n, "%s\"%s\"",
                          n ? "," : "{\"patient\":\"P1\",\"patient_version\":1,\"records\":[", rows_text(&r, 0));
  assert_int_equal(rows_finish(&r), 0);
  n += (size_t)snprintf(text + n, sizeof text - n, "]}");
  hash_sha256_text(text, n, expected);
  struct rows i = store_query(b->store, "SELECT covers, text, conclusion FROM interpretation", "");
  assert_true(rows_next(&i));
  assert_string_equal(rows_text(&i, 0), expected);
  assert_string_equal(rows_text(&i, 1), "t");
  assert_int_equal(rows_finish(&i), 0);
}

/* ---- claims ---- */

static void test_claim_race(void **state) {
  struct store_bed *b = *state;
  char one[CLAIM_DIGITS + 1], two[CLAIM_DIGITS + 1];
  patient(b, "P1");
  int64_t id = queued(b);
  struct study seen_by_one = study(b, id), seen_by_two = study(b, id);
  /* Both have read "to_interpret"; both ask in the same turn. */
  bed_begin(b);
  assert_int_equal(study_claim(b->store, &gp, &rules, &seen_by_one, one), P_OK);
  assert_int_equal(store_keep(b->store), 0);
  bed_begin(b);
  assert_int_equal(study_claim(b->store, &gp2, &rules, &seen_by_two, two), P_precondition_failed);
  store_undo(b->store);
  bed_begin(b);
  struct study now = study(b, id);
  assert_int_equal(study_claim(b->store, &gp2, &rules, &now, two), P_already_claimed);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  now = study(b, id);
  assert_string_equal(now.claim_by, "martin");
  for (int i = 0; i < 3; i++) {
    static const struct caller *const others[] = {&nurse, &admin, &lgc};
    assert_int_equal(ACT(b, study_claim(b->store, others[i], &rules, &now, two)), P_forbidden);
  }
  assert_int_equal(ACT(b, study_sign(b->store, &gp, &now, one, "normal", "t", NULL)), P_OK);
}

static void test_tokens(void **state) {
  struct store_bed *b = *state;
  char token[CLAIM_DIGITS + 1], newer[CLAIM_DIGITS + 1], other[CLAIM_DIGITS + 1], wrong[CLAIM_DIGITS + 2];
  patient(b, "P1");
  int64_t id = queued(b), id2 = queued(b);
  struct study y = study(b, id), y2 = study(b, id2);
  assert_int_equal(ACT(b, study_release(b->store, &gp, &y, "00")), P_stale_token); /* there is no claim */
  assert_int_equal(ACT(b, study_claim(b->store, &gp, &rules, &y, token)), P_OK);
  assert_int_equal(ACT(b, study_claim(b->store, &gp, &rules, &y2, other)), P_OK);
  /* Every wrong digit and length, another study's token, another person with the right one. */
  for (size_t i = 0; i < CLAIM_DIGITS; i++) {
    str_copy(wrong, sizeof wrong, token);
    wrong[i] = wrong[i] == '0' ? '1' : '0';
    assert_int_equal(ACT(b, study_sign(b->store, &gp, &y, wrong, "normal", "t", NULL)), P_stale_token);
    wrong[i] = 0;
    assert_int_equal(ACT(b, study_release(b->store, &gp, &y, wrong)), P_stale_token);
  }
  snprintf(wrong, sizeof wrong, "%s0", token);
  assert_int_equal(ACT(b, study_sign(b->store, &gp, &y, wrong, "normal", "t", NULL)), P_stale_token);
  assert_int_equal(ACT(b, study_sign(b->store, &gp, &y, other, "normal", "t", NULL)), P_stale_token);
  assert_int_equal(ACT(b, study_sign(b->store, &gp2, &y, token, "normal", "t", NULL)), P_stale_token);
  assert_int_equal(ACT(b, study_release(b->store, &gp2, &y, token)), P_stale_token);
  assert_int_equal(ACT(b, study_sign(b->store, &nurse, &y, token, "normal", "t", NULL)), P_forbidden);
  assert_int_equal(ACT(b, study_sign(b->store, &admin, &y, token, "normal", "t", NULL)), P_forbidden);
  assert_int_equal(ACT(b, study_release(b->store, &lgc, &y, token)), P_forbidden);
  /* The same person claims anew, also through the practice software: the new token ends the old one. */
  assert_int_equal(ACT(b, study_claim(b->store, &lgc_for_gp, &rules, &y, newer)), P_OK);
  assert_string_not_equal(token, newer);
  assert_int_equal(ACT(b, study_sign(b->store, &gp, &y, token, "normal", "t", NULL)), P_stale_token);
  assert_int_equal(ACT(b, study_release(b->store, &gp, &y, newer)), P_OK);
  assert_int_equal(y.state, TO_INTERPRET);
  assert_int_equal(ACT(b, study_release(b->store, &gp, &y, newer)), P_stale_token);
  assert_int_equal(ACT(b, study_sign(b->store, &gp, &y, newer, "normal", "t", NULL)), P_stale_token);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM interpretation"), 0);
  /* Signed once; the token is worth nothing afterwards. */
  assert_int_equal(ACT(b, study_sign(b->store, &gp, &y2, other, "normal", "t", NULL)), P_OK);
  assert_int_equal(ACT(b, study_sign(b->store, &gp, &y2, other, "abnormal", "u", NULL)), P_stale_token);
  assert_int_equal(ACT(b, study_claim(b->store, &gp, &rules, &y2, other)), P_wrong_state);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM interpretation"), 1);
  assert_false(bed_holds(b, token, CLAIM_DIGITS));
  assert_false(bed_holds(b, newer, CLAIM_DIGITS));
}

static unsigned expired_n;
static void on_expired(void *arg, int64_t id) {
  (void)arg;
  (void)id;
  expired_n++;
}

static int64_t expire(struct store_bed *b, int64_t now) {
  expired_n = 0;
  int64_t next = worklist_expire(b->store, now, on_expired, NULL);
  assert_int_equal(store_commit(b->store), 0);
  return next;
}

static void test_expiry(void **state) {
  struct store_bed *b = *state;
  char token[4][CLAIM_DIGITS + 1];
  int64_t id[4];
  struct study y;
  patient(b, "P1");
  assert_int_equal(expire(b, INT64_MAX), 0);
  for (int i = 0; i < 4; i++) {
    id[i] = queued(b);
    y = study(b, id[i]);
    clock_step_s = i * 60;
    assert_int_equal(ACT(b, study_claim(b->store, &gp, &rules, &y, token[i])), P_OK);
  }
  clock_step_s = 0;
  int64_t first = study(b, id[0]).claim_expires, second = study(b, id[1]).claim_expires;
  assert_true(second > first);
  assert_int_equal(expire(b, first - 1), first);
  assert_int_equal(expired_n, 0);
  assert_int_equal(expire(b, first), second);
  assert_int_equal(expired_n, 1);
  y = study(b, id[0]);
  assert_int_equal(y.state, TO_INTERPRET);
  assert_int_equal(ACT(b, study_sign(b->store, &gp, &y, token[0], "normal", "t", NULL)), P_stale_token);
  /* Out of time, but nobody has looked yet: the token is worth nothing, and a colleague may take it. */
  clock_step_s = 40 * 60;
  y = study(b, id[1]);
  assert_int_equal(y.state, INTERPRETING);
  assert_int_equal(ACT(b, study_sign(b->store, &gp, &y, token[1], "normal", "t", NULL)), P_stale_token);
  assert_int_equal(ACT(b, study_claim(b->store, &gp2, &rules, &y, token[0])), P_OK);
  assert_string_equal(study(b, id[1]).claim_by, "durand");
  y = study(b, id[2]);
  assert_int_equal(ACT(b, study_claim(b->store, &gp, &rules, &y, token[2])), P_OK); /* his own, that ran out */
  clock_step_s = 0;
  assert_true(expire(b, INT64_MAX) == 0);
  assert_int_equal(expired_n, 3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM study WHERE state = 'interpreting' OR claim IS NOT NULL"), 0);
}

/* The clock steps back: a claim lives longer, the token stays good, nobody else comes between, nothing is lost. */
static void test_clock_back(void **state) {
  struct store_bed *b = *state;
  char token[CLAIM_DIGITS + 1], other[CLAIM_DIGITS + 1];
  json_t *page;
  patient(b, "P1");
  int64_t id = queued(b);
  struct study y = study(b, id);
  assert_int_equal(ACT(b, study_claim(b->store, &gp, &rules, &y, token)), P_OK);
  clock_step_s = -3600 * 24 * 3;
  assert_int_equal(expire(b, wall_now().us), y.claim_expires);
  assert_int_equal(ACT(b, study_claim(b->store, &gp2, &rules, &y, other)), P_already_claimed);
  assert_int_equal(worklist_queue(b->store, INTERPRETING, NULL, 10, "", &page), P_OK);
  const json_t *item = json_array_get(json_object_get(page, "items"), 0);
  assert_int_equal(json_integer_value(json_object_get(item, "age_seconds")), 0);
  assert_false(json_is_true(json_object_get(item, "overdue")));
  json_decref(page);
  assert_int_equal(ACT(b, study_sign(b->store, &gp, &y, token, "normal", "t", NULL)), P_OK);
  clock_step_s = 0;
  struct audit_check c;
  assert_int_equal(audit_verify(b->store, b->artefacts, &c), 0);
  assert_true(c.ok);
}

static void test_cancel(void **state) {
  struct store_bed *b = *state;
  patient(b, "P1");
  int64_t id = order(b), queue = queued(b);
  struct study y = study(b, id);
  assert_int_equal(ACT(b, study_cancel(b->store, &admin, &y, "r")), P_forbidden);
  assert_int_equal(ACT(b, study_cancel(b->store, &lgc, &y, "r")), P_forbidden);
  assert_int_equal(ACT(b, study_cancel(b->store, &nurse, &y, "r")), P_OK);
  assert_int_equal(y.state, CANCELLED);
  assert_int_equal(ACT(b, study_cancel(b->store, &nurse, &y, "r")), P_wrong_state);
  y = study(b, queue);
  assert_int_equal(ACT(b, study_cancel(b->store, &nurse, &y, "r")), P_forbidden);
  assert_int_equal(ACT(b, study_cancel(b->store, &gp, &y, "r")), P_OK);
}

/* ---- the queue ---- */

#define QUEUED 1000

/* Reads the whole queue in pages of this size: every row exactly once, the oldest due first, ties by number. */
static unsigned read_queue(struct store_bed *b, int limit, unsigned expected) {
  static unsigned char seen[QUEUED + 10];
  char cursor[64] = "", last_due[64] = "";
  int64_t last_id = 0;
  unsigned n = 0, pages = 0;
  memset(seen, 0, sizeof seen);
  for (;;) {
    json_t *page, *item;
    size_t i;
    assert_int_equal(worklist_queue(b->store, TO_INTERPRET, "ecg", limit, cursor, &page), P_OK);
    pages++;
    const json_t *items = json_object_get(page, "items");
    assert_true(json_array_size(items) <= (size_t)limit);
    json_array_foreach(items, i, item) {
      uint64_t id;
      assert_int_equal(str_to_u64(json_text(item, "study") + 2, 1, QUEUED + 9, &id), 0);
      assert_int_equal(seen[id]++, 0);
      int order_ = strcmp(json_text(item, "due"), last_due);
      assert_true(order_ > 0 || (order_ == 0 && (int64_t)id > last_id));
      str_copy(last_due, sizeof last_due, json_text(item, "due"));
      last_id = (int64_t)id;
      n++;
    }
    const char *next = json_text(page, "next");
    if (next)
      assert_int_equal(json_array_size(items), limit);
    bool more = next && str_copy(cursor, sizeof cursor, next);
    json_decref(page);
    if (!more)
      break;
  }
  assert_int_equal(n, expected);
  return pages;
}

static void test_queue(void **state) {
  struct store_bed *b = *state;
  patient(b, "P1");
  bed_begin(b);
  for (int i = 0; i < QUEUED; i++) {
    int64_t o, y;
    assert_int_equal(worklist_order(b->store, &nurse, "P1", "ecg", &o, &y), P_OK);
    /* 40 due times, each 25 times, in no order. */
    assert_int_equal(store_run(b->store,
                               "UPDATE study SET state = 'to_interpret', accepted = 1, clean = 1, due = ? WHERE id = ?",
                               "ii", (int64_t)(1 + i * 7 % 40) * WALL_SECOND, y),
                     1);
  }
  bed_keep(b);
  static const int limits[] = {1, 2, 7, 24, 25, 26, 50, 199, 200};
  unsigned pages = 0;
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
    pages += read_queue(b, limits[i], QUEUED);
  print_message("# %d rows with ties read in %u pages, each exactly once\n", QUEUED, pages);
  /* Rows that go while one reads are not seen twice, and none of the others is missed. */
  json_t *page;
  assert_int_equal(worklist_queue(b->store, TO_INTERPRET, NULL, 10, "", &page), P_OK);
  char cursor[64];
  str_copy(cursor, sizeof cursor, json_text(page, "next"));
  json_decref(page);
  struct study y = study(b, 1);
  char token[CLAIM_DIGITS + 1];
  assert_int_equal(ACT(b, study_claim(b->store, &gp, &rules, &y, token)), P_OK);
  read_queue(b, 33, QUEUED - 1);
  assert_int_equal(worklist_queue(b->store, INTERPRETING, NULL, 10, "", &page), P_OK);
  const json_t *items = json_object_get(page, "items");
  assert_int_equal(json_array_size(items), 1);
  assert_string_equal(json_text(json_object_get(json_array_get(items, 0), "claim"), "by"), "martin");
  assert_true(json_is_null(json_object_get(page, "next")));
  json_decref(page);
  assert_int_equal(worklist_queue(b->store, TO_INTERPRET, "none", 10, "", &page), P_OK);
  assert_int_equal(json_array_size(json_object_get(page, "items")), 0);
  json_decref(page);
  static const char *const bad[] = {".",
                                    "1",
                                    "1.",
                                    ".1",
                                    "a.1",
                                    "1.a",
                                    "1.1.1",
                                    "-1.1",
                                    "1 .1",
                                    "99999999999999999999.1",
                                    "1.1111111111111111111111111111111111111111111111111111111111111111111"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(worklist_queue(b->store, TO_INTERPRET, NULL, 10, bad[i], &page), P_invalid_field);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, bed_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(table),  TEST(names),  TEST(life),       TEST(sign_binds), TEST(claim_race),
      TEST(tokens), TEST(expiry), TEST(clock_back), TEST(cancel),     TEST(queue),
  };
  return cmocka_run_group_tests_name("worklist", tests, NULL, NULL);
}
