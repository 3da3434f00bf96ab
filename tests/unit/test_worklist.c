/* Orders, studies, claims and the reading queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "notice.h"
#include "practice_bed.h"

/* ---- the table ---- */

/* Who may do what in which state, and where it leads, as the practice works: N nurse, G gp, O ophthalmologist, A
 * administrator, L practice software by itself, U auditor, S the daemon. */
static const struct {
  const char *event;
  struct {
    const char *from, *roles, *to;
  } rows[5];
} design[] = {
    /* Who is with the patient acquires, and judges whether it will do. */
    {"start", {{"ordered", "NG", "acquiring"}, {"acquired", "NG", "acquiring"}}},
    {"record", {{"acquiring", "S", "acquired"}}},
    {"fail", {{"acquiring", "S", "ordered"}}},
    {"fail_again", {{"acquiring", "S", "acquired"}}},
    {"repeat", {{"acquired", "NG", "ordered"}}},
    {"accept", {{"acquired", "NG", "to_interpret"}}},
    /* What is in the queue is the readers'; that it needs no reading is the GP's to say. */
    {"claim", {{"to_interpret", "GO", "interpreting"}}},
    {"release", {{"interpreting", "GO", "to_interpret"}}},
    {"expire", {{"interpreting", "S", "to_interpret"}}},
    {"sign", {{"interpreting", "GO", "interpreted"}}},
    {"amend", {{"interpreted", "GO", "interpreted"}}},
    {"return", {{"interpreting", "GO", "returned"}}},
    {"refer", {{"to_interpret", "G", "to_interpret"}, {"interpreting", "GO", "to_interpret"}}},
    {"cancel", {{"ordered", "NG", "cancelled"}, {"acquired", "NG", "cancelled"}, {"to_interpret", "G", "cancelled"}}},
    /* Whose reading it is: the nurse says it before it was read, the GP and the administrator whenever it was wrong. */
    {"attach", {{"ordered", "NGA", "acquired"}, {"acquired", "NGA", "acquired"}}},
    {"reassign",
     {{"acquired", "GA", "ordered"},
      {"to_interpret", "GA", "ordered"},
      {"interpreting", "GA", "ordered"},
      {"interpreted", "GA", "ordered"},
      {"returned", "GA", "returned"}}},
    {"reassign_part",
     {{"acquired", "GA", "acquired"},
      {"to_interpret", "GA", "acquired"},
      {"interpreting", "GA", "acquired"},
      {"interpreted", "GA", "acquired"},
      {"returned", "GA", "returned"}}},
};

static const struct {
  enum role role;
  char letter;
} letters[] = {{ROLE_NURSE, 'N'}, {ROLE_GP, 'G'},      {ROLE_OPHTHALMOLOGIST, 'O'}, {ROLE_ADMIN, 'A'},
               {ROLE_LGC, 'L'},   {ROLE_AUDITOR, 'U'}, {ROLE_SYSTEM, 'S'}};

/* What the design says: the next state, or why not. */
static enum problem expect(const char *from, const char *event, char letter, const char **ret_to) {
  bool ever = false;
  for (size_t i = 0; i < COUNT(design); i++)
    for (size_t k = 0; !strcmp(design[i].event, event) && k < COUNT(design[i].rows) && design[i].rows[k].from; k++) {
      const bool may = strchr(design[i].rows[k].roles, letter) != NULL;
      ever |= may;
      if (!strcmp(design[i].rows[k].from, from)) {
        *ret_to = design[i].rows[k].to;
        return may ? P_OK : P_forbidden;
      }
    }
  return ever ? P_wrong_state : P_forbidden;
}

static void test_table(void **state) {
  (void)state;
  unsigned n = 0, passed = 0, told = 0;
  assert_int_equal(COUNT(design), EVENTS);
  for (int from = 0; from < STATES; from++)
    for (int event = 0; event < EVENTS; event++)
      for (size_t role = 0; role < COUNT(letters); role++, n++) {
        const char *from_name = study_state_name((enum study_state)from),
                   *event_name = study_event_name((enum study_event)event), *to = NULL;
        const enum problem expected = expect(from_name, event_name, letters[role].letter, &to);
        enum study_state got = STATES;
        enum problem p = study_next((enum study_state)from, (enum study_event)event, letters[role].role, &got);
        if (p != expected || (p == P_OK ? strcmp(study_state_name(got), to) != 0 : got != STATES))
          fail_msg("%s in %s by %c: %s", event_name, from_name, letters[role].letter, problem_code(p));
        passed += p == P_OK;
        told += p == P_wrong_state;
      }
  assert_int_equal(n, 8 * 17 * 7);
  assert_int_equal(passed, 56);
  print_message("# %u of role x event x state: %u may pass, %u in the wrong state, %u never\n", n, passed, told,
                n - passed - told);
}

static void test_names(void **state) {
  (void)state;
  static const char *const names[] = {"ordered",      "acquiring",   "acquired", "to_interpret",
                                      "interpreting", "interpreted", "returned", "cancelled"};
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

static enum problem queue(struct store_bed *b, const struct caller *c, enum study_state of, const char *act, int limit,
                          const char *cursor, json_t **ret) {
  const struct queue_page page = {.state = of, .act = act, .limit = limit, .cursor = cursor};
  return worklist_queue(b->store, c, &page, ret);
}

static void test_life(void **state) {
  struct store_bed *b = *state;
  char token[CLAIM_DIGITS + 1];
  int64_t o, id;
  bed_begin(b);
  assert_int_equal(worklist_order(b->store, &practice, &ines, "nobody", "ecg", 0, &o, &id), P_not_found);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  practice_admit(b, "P1");
  id = practice_order(b, "P1", "ecg");
  struct study y = study(b, id);
  assert_int_equal(y.state, ORDERED);
  assert_int_equal(y.version, 1);
  assert_int_equal(y.clean, -1);
  assert_int_equal(y.attempts, 0);
  assert_int_equal(ACT(b, study_accept(b->store, &ines, &practice, &y, true, NULL)), P_wrong_state);
  practice_acquire(b, id, false);
  y = study(b, id);
  assert_int_equal(y.state, ACQUIRED);
  assert_int_equal(y.attempts, 1);
  assert_int_equal(y.clean, 0);
  /* A reading with points to check goes on only when somebody says so. */
  assert_int_equal(ACT(b, study_accept(b->store, &ines, &practice, &y, false, NULL)), P_confirmation_needed);
  assert_int_equal(study(b, id).state, ACQUIRED);
  assert_int_equal(ACT(b, study_repeat(b->store, &ines, &y, "bad contact")), P_OK);
  assert_int_equal(y.state, ORDERED);
  assert_int_equal(study(b, id).clean, -1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM supersession WHERE by = 'ines' AND reason = 'bad contact'"), 1);
  practice_acquire(b, id, true);
  practice_acquire(b, id, false); /* one more trial */
  y = study(b, id);
  assert_int_equal(y.attempts, 3);
  assert_int_equal(ACT(b, study_accept(b->store, &ines, &practice, &y, true, "second trial")), P_OK);
  assert_int_equal(y.state, TO_INTERPRET);
  assert_int_equal(y.due - y.accepted, (int64_t)24 * 3600 * WALL_SECOND);
  assert_int_equal(ACT(b, study_claim(b->store, &martin, &practice, &y, token)), P_OK);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y, token, "abnormal")), P_OK);
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
  struct actor by = caller_actor(&martin);
  assert_int_equal(ACT(b, study_move(b->store, &by, ROLE_GP, &old, EV_CLAIM, NULL)), P_precondition_failed);
}

/* ---- claims ---- */

static void test_claim_race(void **state) {
  struct store_bed *b = *state;
  char one[CLAIM_DIGITS + 1], two[CLAIM_DIGITS + 1];
  practice_admit(b, "P1");
  int64_t id = practice_queued(b, "P1");
  struct study seen_by_one = study(b, id), seen_by_two = study(b, id);
  /* Both have read "to_interpret"; both ask in the same turn. */
  bed_begin(b);
  assert_int_equal(study_claim(b->store, &martin, &practice, &seen_by_one, one), P_OK);
  assert_int_equal(store_keep(b->store), 0);
  bed_begin(b);
  assert_int_equal(study_claim(b->store, &durand, &practice, &seen_by_two, two), P_precondition_failed);
  store_undo(b->store);
  bed_begin(b);
  struct study now = study(b, id);
  assert_int_equal(study_claim(b->store, &durand, &practice, &now, two), P_already_claimed);
  store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  now = study(b, id);
  assert_string_equal(now.claim_by, "martin");
  for (int i = 0; i < 3; i++) {
    static const struct caller *const others[] = {&ines, &adele, &logiciel};
    assert_int_equal(ACT(b, study_claim(b->store, others[i], &practice, &now, two)), P_forbidden);
  }
  assert_int_equal(ACT(b, practice_sign(b, &martin, &now, one, "normal")), P_OK);
}

static void test_tokens(void **state) {
  struct store_bed *b = *state;
  char token[CLAIM_DIGITS + 1], newer[CLAIM_DIGITS + 1], other[CLAIM_DIGITS + 1], wrong[CLAIM_DIGITS + 2];
  practice_admit(b, "P1");
  int64_t id = practice_queued(b, "P1"), id2 = practice_queued(b, "P1");
  struct study y = study(b, id), y2 = study(b, id2);
  assert_int_equal(ACT(b, study_release(b->store, &martin, &y, "00")), P_stale_token); /* there is no claim */
  assert_int_equal(ACT(b, study_claim(b->store, &martin, &practice, &y, token)), P_OK);
  assert_int_equal(ACT(b, study_claim(b->store, &martin, &practice, &y2, other)), P_OK);
  /* Every wrong digit and length, another study's token, another person with the right one. */
  for (size_t i = 0; i < CLAIM_DIGITS; i++) {
    str_copy(wrong, sizeof wrong, token);
    wrong[i] = wrong[i] == '0' ? '1' : '0';
    assert_int_equal(ACT(b, practice_sign(b, &martin, &y, wrong, "normal")), P_stale_token);
    wrong[i] = 0;
    assert_int_equal(ACT(b, study_release(b->store, &martin, &y, wrong)), P_stale_token);
  }
  snprintf(wrong, sizeof wrong, "%s0", token);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y, wrong, "normal")), P_stale_token);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y, other, "normal")), P_stale_token);
  assert_int_equal(ACT(b, practice_sign(b, &durand, &y, token, "normal")), P_stale_token);
  assert_int_equal(ACT(b, study_release(b->store, &durand, &y, token)), P_stale_token);
  assert_int_equal(ACT(b, practice_sign(b, &ines, &y, token, "normal")), P_forbidden);
  assert_int_equal(ACT(b, practice_sign(b, &adele, &y, token, "normal")), P_forbidden);
  assert_int_equal(ACT(b, study_release(b->store, &logiciel, &y, token)), P_forbidden);
  /* The same person claims anew, also through the practice software: the new token ends the old one. */
  assert_int_equal(ACT(b, study_claim(b->store, &logiciel_martin, &practice, &y, newer)), P_OK);
  assert_string_not_equal(token, newer);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y, token, "normal")), P_stale_token);
  assert_int_equal(ACT(b, study_release(b->store, &martin, &y, newer)), P_OK);
  assert_int_equal(y.state, TO_INTERPRET);
  assert_int_equal(ACT(b, study_release(b->store, &martin, &y, newer)), P_stale_token);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y, newer, "normal")), P_stale_token);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM interpretation"), 0);
  /* Signed once; the token is worth nothing afterwards. */
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y2, other, "normal")), P_OK);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y2, other, "abnormal")), P_stale_token);
  assert_int_equal(ACT(b, study_claim(b->store, &martin, &practice, &y2, other)), P_wrong_state);
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
  practice_admit(b, "P1");
  assert_int_equal(expire(b, INT64_MAX), 0);
  for (int i = 0; i < 4; i++) {
    id[i] = practice_queued(b, "P1");
    y = study(b, id[i]);
    wall_ahead_us = i * 60 * WALL_SECOND;
    assert_int_equal(ACT(b, study_claim(b->store, &martin, &practice, &y, token[i])), P_OK);
  }
  wall_ahead_us = 0;
  int64_t first = study(b, id[0]).claim_expires, second = study(b, id[1]).claim_expires;
  assert_true(second > first);
  assert_int_equal(expire(b, first - 1), first);
  assert_int_equal(expired_n, 0);
  assert_int_equal(expire(b, first), second);
  assert_int_equal(expired_n, 1);
  y = study(b, id[0]);
  assert_int_equal(y.state, TO_INTERPRET);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y, token[0], "normal")), P_stale_token);
  /* Out of time, but nobody has looked yet: the token is worth nothing, and a colleague may take it. */
  wall_ahead_us = 40 * 60 * WALL_SECOND;
  y = study(b, id[1]);
  assert_int_equal(y.state, INTERPRETING);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y, token[1], "normal")), P_stale_token);
  assert_int_equal(ACT(b, study_claim(b->store, &durand, &practice, &y, token[0])), P_OK);
  assert_string_equal(study(b, id[1]).claim_by, "durand");
  y = study(b, id[2]);
  assert_int_equal(ACT(b, study_claim(b->store, &martin, &practice, &y, token[2])), P_OK); /* his own, that ran out */
  wall_ahead_us = 0;
  assert_true(expire(b, INT64_MAX) == 0);
  assert_int_equal(expired_n, 3);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM study WHERE state = 'interpreting' OR claim IS NOT NULL"), 0);
}

/* The clock steps back: a claim lives longer, the token stays good, nobody else comes between, nothing is lost. */
static void test_clock_back(void **state) {
  struct store_bed *b = *state;
  char token[CLAIM_DIGITS + 1], other[CLAIM_DIGITS + 1];
  json_t *page;
  practice_admit(b, "P1");
  int64_t id = practice_queued(b, "P1");
  struct study y = study(b, id);
  assert_int_equal(ACT(b, study_claim(b->store, &martin, &practice, &y, token)), P_OK);
  wall_ahead_us = -3 * 86400 * WALL_SECOND;
  assert_int_equal(expire(b, wall_now().us), y.claim_expires);
  assert_int_equal(ACT(b, study_claim(b->store, &durand, &practice, &y, other)), P_already_claimed);
  assert_int_equal(queue(b, &martin, INTERPRETING, NULL, 10, "", &page), P_OK);
  const json_t *item = json_array_get(json_object_get(page, "items"), 0);
  assert_int_equal(json_integer_value(json_object_get(item, "age_seconds")), 0);
  assert_false(json_is_true(json_object_get(item, "overdue")));
  json_decref(page);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y, token, "normal")), P_OK);
  wall_ahead_us = 0;
  struct audit_check c;
  assert_int_equal(audit_verify(b->store, b->artefacts, &c), 0);
  assert_true(c.ok);
}

static void test_cancel(void **state) {
  struct store_bed *b = *state;
  practice_admit(b, "P1");
  int64_t id = practice_order(b, "P1", "ecg"), queue = practice_queued(b, "P1");
  struct study y = study(b, id);
  assert_int_equal(ACT(b, study_cancel(b->store, &adele, &y, "r")), P_forbidden);
  assert_int_equal(ACT(b, study_cancel(b->store, &logiciel, &y, "r")), P_forbidden);
  assert_int_equal(ACT(b, study_cancel(b->store, &ines, &y, "r")), P_OK);
  assert_int_equal(y.state, CANCELLED);
  assert_int_equal(ACT(b, study_cancel(b->store, &ines, &y, "r")), P_wrong_state);
  y = study(b, queue);
  assert_int_equal(ACT(b, study_cancel(b->store, &ines, &y, "r")), P_forbidden);
  assert_int_equal(ACT(b, study_cancel(b->store, &martin, &y, "r")), P_OK);
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
    assert_int_equal(queue(b, &martin, TO_INTERPRET, "ecg", limit, cursor, &page), P_OK);
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
  practice_admit(b, "P1");
  bed_begin(b);
  for (int i = 0; i < QUEUED; i++) {
    int64_t o, y;
    assert_int_equal(worklist_order(b->store, &practice, &ines, "P1", "ecg", 0, &o, &y), P_OK);
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
  assert_int_equal(queue(b, &martin, TO_INTERPRET, NULL, 10, "", &page), P_OK);
  char cursor[64];
  str_copy(cursor, sizeof cursor, json_text(page, "next"));
  json_decref(page);
  struct study y = study(b, 1);
  char token[CLAIM_DIGITS + 1];
  assert_int_equal(ACT(b, study_claim(b->store, &martin, &practice, &y, token)), P_OK);
  read_queue(b, 33, QUEUED - 1);
  assert_int_equal(queue(b, &martin, INTERPRETING, NULL, 10, "", &page), P_OK);
  const json_t *items = json_object_get(page, "items");
  assert_int_equal(json_array_size(items), 1);
  assert_string_equal(json_text(json_object_get(json_array_get(items, 0), "claim"), "by"), "martin");
  assert_true(json_is_null(json_object_get(page, "next")));
  json_decref(page);
  assert_int_equal(queue(b, &martin, TO_INTERPRET, "none", 10, "", &page), P_OK);
  assert_int_equal(json_array_size(json_object_get(page, "items")), 0);
  json_decref(page);
  static const char *const bad[] = {".", "1", "a.1", "1.1.1", "99999999999999999999.1"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(queue(b, &martin, TO_INTERPRET, NULL, 10, bad[i], &page), P_invalid_field);
}

/* The studies of a page, as "S-1 S-3 ". */
static const char *listed(struct store_bed *b, const struct caller *c, bool mine, const char *act) {
  static char text[256];
  const struct queue_page page = {.state = TO_INTERPRET, .act = act, .mine = mine, .limit = 100, .cursor = ""};
  size_t i, n = 0;
  json_t *list, *item;
  assert_int_equal(worklist_queue(b->store, c, &page, &list), P_OK);
  text[0] = 0;
  json_array_foreach(json_object_get(list, "items"), i, item) n +=
      (size_t)snprintf(text + n, sizeof text - n, "%s ", json_text(item, "study"));
  json_decref(list);
  return text;
}

static enum problem refer(struct store_bed *b, int64_t id, const char *reader) {
  struct study y = study(b, id);
  return ACT(b, interpret_refer(b->store, &martin, &y, NULL, reader, "Merci de lire."));
}

/* Whose queue it is: everybody sees what they may, "mine" is what they are to read or stand in for. */
static void test_queue_of(void **state) {
  struct store_bed *b = *state;
  int64_t w, d;
  clock_set("2026-03-10T12:00:00Z");
  practice_admit(b, "P1");
  practice_patient(b, "P2", "1960-02-02", "M");
  assert_int_equal(practice_delegate(b, IDA, DURAND, "tous", "2026-01-01", "2026-12-31", &d), P_OK);
  assert_int_equal(ACT(b, followup_open(b->store, &practice, &durand, "P2", "tous", DURAND, IDA, &w)), P_OK);
  practice_queued(b, "P1");
  practice_queued(b, "P2");
  practice_queued(b, "P1");
  assert_int_equal(refer(b, 3, "ophthalmologist"), P_OK);
  static const struct {
    const struct caller *who;
    const char *all, *mine;
  } of[] = {{&martin, "S-1 S-2 S-3 ", "S-1 "},
            {&durand, "S-1 S-2 S-3 ", "S-2 "},
            {&petit, "S-1 S-2 S-3 ", ""},
            {&olga, "S-3 ", "S-3 "},
            {&ines, "S-1 S-3 ", ""},
            {&ida, "S-2 ", ""},
            {&nora, "", ""},
            /* not registered */ {&logiciel_martin, "S-1 S-2 S-3 ", "S-1 "}};
  for (size_t i = 0; i < COUNT(of); i++) {
    assert_string_equal(listed(b, of[i].who, false, NULL), of[i].all);
    assert_string_equal(listed(b, of[i].who, true, NULL), of[i].mine);
  }
  assert_string_equal(listed(b, &martin, false, "fundus"), "");
  /* The deputy's is the GP's as well while he is away, and not a day longer; also when the deputy is away too. */
  practice_away(b, MARTIN, PETIT, "2026-03-10", "2026-03-10");
  assert_string_equal(listed(b, &petit, true, NULL), "S-1 ");
  assert_string_equal(listed(b, &martin, true, NULL), "S-1 ");
  practice_away(b, PETIT, DURAND, "2026-03-10", "2026-03-10");
  assert_string_equal(listed(b, &petit, true, NULL), "S-1 ");
  assert_string_equal(listed(b, &durand, true, NULL), "S-2 ");
  clock_set("2026-03-11T12:00:00Z");
  assert_string_equal(listed(b, &petit, true, NULL), "");
  /* What was ordered before there were follow-ups is every GP's. */
  bed_begin(b);
  assert_int_equal(store_run(b->store, "INSERT INTO orders(patient, act, ordered_by, at) VALUES('P2','ecg','x',1)", ""),
                   1);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO study(orders, state, created, updated, accepted, due, clean)"
                             " VALUES(?,'to_interpret',1,1,1,2,1)",
                             "i", store_last_id(b->store)),
                   1);
  bed_keep(b);
  assert_string_equal(listed(b, &petit, true, NULL), "S-4 ");
  assert_string_equal(listed(b, &martin, true, NULL), "S-4 S-1 ");
  assert_string_equal(listed(b, &olga, true, NULL), "S-3 ");
}

/* What the nurse calls the GP for comes first, however long the others are overdue; the older call first. */
static void test_urgent_first(void **state) {
  struct store_bed *b = *state;
  int64_t notice;
  char cursor[64] = "", seen[64] = "";
  practice_admit(b, "P1");
  clock_set("2026-03-02T12:00:00Z");
  for (int i = 0; i < 4; i++)
    practice_queued(b, "P1");
  clock_set("2026-03-10T12:00:00Z");
  practice_queued(b, "P1");
  for (int64_t id = 3; id >= 2; id--) {
    struct study y = study(b, id);
    clock_forward(60);
    assert_int_equal(ACT(b, notice_page(b->store, &ines, &y, NULL, &notice)), P_OK);
  }
  struct study y = study(b, 5);
  assert_int_equal(ACT(b, notice_page(b->store, &ines, &y, NULL, &notice)), P_OK);
  assert_string_equal(listed(b, &martin, false, NULL), "S-3 S-2 S-5 S-1 S-4 ");
  for (int n = 0; n < 5; n++) { /* the same in pages of one */
    json_t *page;
    assert_int_equal(queue(b, &martin, TO_INTERPRET, NULL, 1, cursor, &page), P_OK);
    const json_t *item = json_array_get(json_object_get(page, "items"), 0);
    strncat(seen, json_text(item, "study"), 8);
    assert_int_equal(json_is_true(json_object_get(item, "urgent")), n < 3);
    str_copy(cursor, sizeof cursor, n < 4 ? json_text(page, "next") : "");
    json_decref(page);
  }
  assert_string_equal(seen, "S-3S-2S-5S-1S-4");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, practice_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(table),      TEST(names),  TEST(life),  TEST(claim_race), TEST(tokens),       TEST(expiry),
      TEST(clock_back), TEST(cancel), TEST(queue), TEST(queue_of),   TEST(urgent_first),
  };
  return cmocka_run_group_tests_name("worklist", tests, NULL, NULL);
}
