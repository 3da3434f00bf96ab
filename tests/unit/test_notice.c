/* Who is told what, when, once: pages, reminders, overdue studies, delegations that end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "practice_bed.h"

#include "attach.h"
#include "notice.h"

#define HOURS 3600

static unsigned made;
static void on_made(void *arg, int64_t notice) {
  assert_int_equal(bed_int(arg, "SELECT max(id) FROM notice"), notice);
  made++;
}

/* Looks, as the daemon's timer does; returns in how many seconds it is to look again. */
static int64_t look(struct store_bed *b) {
  made = 0;
  const int64_t now = wall_now().us, next = notice_due(b->store, &practice, now, on_made, b);
  assert_true(next > 0);
  assert_int_equal(store_commit(b->store), 0);
  return (next - now) / WALL_SECOND;
}

/* All that there are, oldest first: "page S-1 > 10100000032, overdue S-2 > all". */
static const char *all(struct store_bed *b) {
  static char text[1024];
  size_t n = 0;
  struct rows r =
      store_query(b->store,
                  "SELECT kind, coalesce('S-' || study, 'D-' || delegation), coalesce(recipient, 'all') FROM"
                  " notice ORDER BY id",
                  "");
  text[0] = 0;
  while (rows_next(&r))
    n += (size_t)snprintf(text + n, sizeof text - n, "%s%s %s > %s", n ? ", " : "", rows_text(&r, 0), rows_text(&r, 1),
                          rows_text(&r, 2));
  assert_int_equal(rows_finish(&r), 0);
  return text;
}

static enum problem page(struct store_bed *b, const struct caller *c, int64_t id, const char *text) {
  struct study y = study(b, id);
  int64_t notice = -1;
  enum problem p = ACT(b, notice_page(b->store, c, &y, text, &notice));
  assert_int_equal(p == P_OK, notice > 0);
  return p;
}

static enum problem heard(struct store_bed *b, const struct caller *c, int64_t id) {
  int64_t study;
  return ACT(b, notice_acknowledge(b->store, c, id, &study));
}

/* Who heard the calls for a study, "-" = nobody yet: "durand -". */
static const char *calls(struct store_bed *b, int64_t id) {
  static char text[128];
  json_t *list, *one;
  size_t i, n = 0;
  assert_int_equal(notice_pages(b->store, id, false, &list), 0);
  text[0] = 0;
  json_array_foreach(list, i, one) {
    const char *by = json_text(json_object_get(one, "heard"), "by");
    assert_null(json_object_get(one, "text"));
    n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? " " : "", by ? by : "-");
  }
  json_decref(list);
  return text;
}

/* The open and heard ones that a caller is shown, so many a page: "3 1 (2)". */
static const char *listed(struct store_bed *b, const struct caller *c, int limit) {
  static char text[256];
  json_t *list, *item;
  size_t i, n = 0;
  char next[NOTICE_CURSOR_MAX] = "";
  text[0] = 0;
  do {
    assert_int_equal(notice_list(b->store, c, next, limit, &list, next), P_OK);
    json_array_foreach(list, i, item) {
      const bool open = json_is_null(json_object_get(item, "heard"));
      n += (size_t)snprintf(text + n, sizeof text - n, open ? "%s%s" : "%s(%s)", n ? " " : "",
                            json_text(item, "id") + 2);
    }
    json_decref(list);
  } while (next[0]);
  return text;
}

/* ---- pages ---- */

static void test_page(void **state) {
  struct store_bed *b = *state;
  clock_set("2026-03-10T12:00:00Z");
  practice_admit(b, "P1");
  int64_t id = practice_order(b, "P1", "ecg");
  static const struct caller *const others[] = {&olga, &adele, &aude, &logiciel};
  for (size_t i = 0; i < COUNT(others); i++)
    assert_int_equal(page(b, others[i], id, "x"), P_forbidden);
  assert_string_equal(all(b), "");
  /* Before there is anything to read: it is due the moment it is sent. */
  const int64_t version = study(b, id).version;
  assert_int_equal(page(b, &ines, id, "Douleur thoracique"), P_OK);
  struct study y = study(b, id);
  assert_true(y.urgent > 0);
  assert_int_equal(y.due, 0);
  assert_int_equal(y.version, version + 1);
  practice_acquire(b, id, true);
  clock_forward(300);
  y = study(b, id);
  assert_int_equal(ACT(b, study_accept(b->store, &ines, &practice, &y, false, NULL)), P_OK);
  assert_int_equal(y.due, y.urgent);
  assert_true(y.accepted > y.due);
  /* Called again it is as urgent as since the first call; a study that waits is due since the call. */
  assert_int_equal(page(b, &martin, id, NULL), P_OK);
  assert_int_equal(study(b, id).urgent, y.urgent);
  assert_int_equal(study(b, id).due, y.urgent);
  int64_t other = practice_queued(b, "P1");
  assert_int_equal(page(b, &ida, other, NULL), P_OK);
  assert_int_equal(study(b, other).due, study(b, other).urgent);
  assert_string_equal(all(b), "page S-1 > " MARTIN ", page S-1 > " MARTIN ", page S-2 > " MARTIN);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'study.page' AND actor = 'ines' AND detail ="
                              " '{\"patient\":\"P1\",\"to\":\"" MARTIN "\"}'"),
                   1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE detail LIKE '%thoracique%'"), 0);
  /* While somebody reads it, too; not once it is over. */
  char token[CLAIM_DIGITS + 1];
  y = study(b, id);
  assert_int_equal(ACT(b, study_claim(b->store, &martin, &practice, &y, token)), P_OK);
  assert_int_equal(page(b, &ines, id, NULL), P_OK);
  y = study(b, id);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y, token, "normal")), P_OK);
  assert_int_equal(page(b, &ines, id, NULL), P_wrong_state);
  y = study(b, other);
  assert_int_equal(ACT(b, study_cancel(b->store, &martin, &y, "r")), P_OK);
  assert_int_equal(page(b, &ines, other, NULL), P_wrong_state);
  practice_is_whole(b);
}

/* The GP of the follow-up, who stands in, or everybody. */
static void test_page_whom(void **state) {
  struct store_bed *b = *state;
  clock_set("2026-03-10T12:00:00Z");
  practice_admit(b, "P1");
  int64_t id = practice_queued(b, "P1");
  bed_begin(b);
  assert_int_equal(store_run(b->store, "INSERT INTO orders(patient, act, ordered_by, at) VALUES('P1','ecg','x',1)", ""),
                   1);
  assert_int_equal(store_run(b->store, "INSERT INTO study(orders, state, created, updated) VALUES(?,'ordered',1,1)",
                             "i", store_last_id(b->store)),
                   1);
  bed_keep(b);
  assert_int_equal(page(b, &ines, id, NULL), P_OK);
  practice_away(b, MARTIN, DURAND, "2026-03-10", "2026-03-10");
  assert_int_equal(page(b, &ines, id, NULL), P_OK);
  practice_away(b, DURAND, PETIT, "2026-03-10", "2026-03-10");
  assert_int_equal(page(b, &ines, id, NULL), P_OK);
  assert_int_equal(page(b, &ines, 2, NULL), P_OK);
  clock_forward(86400); /* back again */
  assert_int_equal(page(b, &ines, id, NULL), P_OK);
  assert_string_equal(all(b), "page S-1 > " MARTIN ", page S-1 > " DURAND
                              ", page S-1 > all, page S-2 > all, page S-1 > " MARTIN);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE json_extract(detail, '$.to') = 'all'"), 2);
}

static void test_heard(void **state) {
  struct store_bed *b = *state;
  static const struct caller unregistered = {.name = "x", .role = ROLE_GP};
  static const struct caller *const strangers[] = {&ines, &ida, &nora, &olga, &adele, &aude, &logiciel};
  practice_admit(b, "P1");
  int64_t id = practice_queued(b, "P1");
  assert_int_equal(page(b, &ines, id, "Vient vite"), P_OK); /* 1: martin's */
  clock_forward(practice.page_minutes * 60);
  look(b); /* 2: everybody's */
  assert_string_equal(all(b), "page S-1 > " MARTIN ", page_again S-1 > all");
  assert_string_equal(listed(b, &martin, 10), "2 1");
  assert_string_equal(listed(b, &durand, 10), "2");
  assert_string_equal(listed(b, &unregistered, 10), "2"); /* a GP whose number nobody wrote down yet */
  for (size_t i = 0; i < COUNT(strangers); i++) {
    assert_string_equal(listed(b, strangers[i], 10), "");
    assert_int_equal(heard(b, strangers[i], 1), P_not_found);
    assert_int_equal(heard(b, strangers[i], 2), P_not_found);
  }
  assert_int_equal(heard(b, &durand, 1), P_not_found);
  assert_int_equal(heard(b, &durand, 99), P_not_found);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM notice_end"), 0);
  assert_string_equal(calls(b, 1), "-");
  assert_int_equal(heard(b, &durand, 2), P_OK);
  assert_string_equal(calls(b, 1), "durand");  /* what followed it, as nobody had heard it */
  assert_int_equal(heard(b, &petit, 2), P_OK); /* it was: nothing more is written */
  assert_int_equal(bed_int(b, "SELECT count(*) FROM notice_end WHERE notice = 2 AND by = 'durand'"), 1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'notice.heard' AND subject = 'S-1'"), 1);
  assert_string_equal(listed(b, &martin, 10), "1 (2)"); /* what is open comes first */
  assert_string_equal(listed(b, &martin, 1), "1 (2)");
  assert_int_equal(heard(b, &logiciel_martin, 1), P_OK);
  assert_string_equal(calls(b, 1), "durand");
  assert_string_equal(listed(b, &martin, 10), "(2) (1)");
  assert_string_equal(listed(b, &martin, 1), "(2) (1)");
  json_t *list;
  static const char *const bad[] = {".", "1", "a.1", "1.1.1", "1.99999999999999999999"};
  char next[NOTICE_CURSOR_MAX];
  for (size_t i = 0; i < COUNT(bad); i++)
    assert_int_equal(notice_list(b->store, &martin, bad[i], 10, &list, next), P_invalid_field);
  assert_int_equal(notice_list(b->store, &martin, "", 10, &list, next), P_OK);
  const json_t *first = json_array_get(list, 1);
  assert_true(json_has_only(first, "at by delegation heard id kind study text"));
  assert_string_equal(json_text(first, "id"), "N-1");
  assert_string_equal(json_text(first, "by"), "ines");
  assert_string_equal(json_text(first, "kind"), "page");
  assert_string_equal(json_text(first, "study"), "S-1");
  assert_string_equal(json_text(first, "text"), "Vient vite");
  assert_true(json_is_null(json_object_get(first, "delegation")));
  assert_string_equal(json_text(json_object_get(first, "heard"), "by"), "martin");
  assert_string_equal(json_text(json_array_get(list, 0), "by"), "asaleed");
  json_decref(list);
}

/* Nobody heard it: every GP, after the minutes that the site says, once a page. */
static void test_page_again(void **state) {
  struct store_bed *b = *state;
  const int64_t wait = practice.page_minutes * 60;
  practice_admit(b, "P1");
  int64_t one = practice_queued(b, "P1"), two = practice_queued(b, "P1");
  assert_int_equal(look(b), 3600); /* at the latest */
  assert_int_equal(page(b, &ines, one, NULL), P_OK);
  assert_in_range(look(b), wait - 2, wait);
  assert_int_equal(made, 0);
  clock_forward(wait - 5);
  assert_in_range(look(b), 0, 5);
  assert_int_equal(made, 0);
  clock_forward(5);
  assert_in_range(look(b), 5 * wait - 2, 5 * wait); /* heard or not, it is to be read */
  assert_int_equal(made, 1);
  clock_forward(86400 / 4);
  look(b);
  assert_int_equal(made, 1);
  assert_string_equal(all(b), "page S-1 > " MARTIN ", page_again S-1 > all, overdue S-1 > all");
  /* Of each study on its own, and heard in time it goes no further. */
  assert_int_equal(page(b, &ines, two, NULL), P_OK);
  assert_int_equal(heard(b, &martin, 4), P_OK);
  clock_forward(wait);
  look(b);
  assert_int_equal(made, 0);
  /* Called again: again, also where the clock was set back meanwhile. */
  clock_forward(-2 * 86400);
  assert_int_equal(page(b, &ines, one, NULL), P_OK);
  look(b);
  assert_int_equal(made, 0);
  clock_forward(wait);
  look(b);
  assert_int_equal(made, 1);
  assert_string_equal(all(b), "page S-1 > " MARTIN ", page_again S-1 > all, overdue S-1 > all, page S-2 > " MARTIN
                              ", page S-1 > " MARTIN ", page_again S-1 > all");
}

/* Called twice, nobody heard either: everybody is told once. */
static void test_page_twice(void **state) {
  struct store_bed *b = *state;
  practice_admit(b, "P1");
  int64_t id = practice_queued(b, "P1");
  assert_int_equal(page(b, &ines, id, NULL), P_OK);
  assert_int_equal(page(b, &ines, id, "Toujours"), P_OK);
  clock_forward(HOURS);
  look(b);
  look(b);
  assert_string_equal(all(b), "page S-1 > " MARTIN ", page S-1 > " MARTIN ", page_again S-1 > all, overdue S-1 > all");
}

/* The clock is set back days after a call: the patient does not wait for days. */
static void test_page_clock_back(void **state) {
  struct store_bed *b = *state;
  practice_admit(b, "P1");
  int64_t id = practice_queued(b, "P1");
  assert_int_equal(page(b, &ines, id, NULL), P_OK);
  clock_forward(-3 * 86400);
  look(b);
  assert_int_equal(made, 1);
  assert_string_equal(all(b), "page S-1 > " MARTIN ", page_again S-1 > all");
  look(b);
  assert_int_equal(made, 0);
}

/* Told to everybody from the beginning, and heard by nobody: once more. */
static void test_page_all(void **state) {
  struct store_bed *b = *state;
  clock_set("2026-03-10T12:00:00Z");
  practice_admit(b, "P1");
  practice_away(b, MARTIN, DURAND, "2026-03-10", "2026-03-10");
  practice_away(b, DURAND, MARTIN, "2026-03-10", "2026-03-10");
  int64_t id = practice_queued(b, "P1");
  assert_int_equal(page(b, &ines, id, NULL), P_OK);
  clock_forward(practice.page_minutes * 60);
  look(b);
  look(b);
  assert_string_equal(all(b), "page S-1 > all, page_again S-1 > all");
}

/* ---- studies ---- */

static void test_due(void **state) {
  struct store_bed *b = *state;
  char token[CLAIM_DIGITS + 1];
  clock_set("2026-03-09T12:00:00Z");
  practice_admit(b, "P1");
  int64_t id = practice_queued(b, "P1");     /* due in 24 hours, to be told of 4 before */
  int64_t urgent = practice_queued(b, "P1"); /* somebody was called, heard it, and forgot */
  int64_t interpreted = practice_queued(b, "P1"), cancelled = practice_queued(b, "P1");
  practice_order(b, "P1", "ecg");
  assert_int_equal(page(b, &ines, urgent, NULL), P_OK);
  assert_int_equal(heard(b, &martin, 1), P_OK);
  struct study y = study(b, interpreted);
  assert_int_equal(ACT(b, study_claim(b->store, &martin, &practice, &y, token)), P_OK);
  assert_int_equal(ACT(b, practice_sign(b, &martin, &y, token, "normal")), P_OK);
  y = study(b, cancelled);
  assert_int_equal(ACT(b, study_cancel(b->store, &martin, &y, "r")), P_OK);
  clock_forward(20 * HOURS - 60);
  assert_in_range(look(b), 40, 60);
  assert_int_equal(made, 1);
  clock_forward(60);
  assert_int_equal(look(b), HOURS);
  look(b);
  assert_int_equal(made, 0);
  assert_string_equal(all(b), "page S-2 > " MARTIN ", overdue S-2 > all, reminder S-1 > " MARTIN);
  /* Who reads it is not done yet. */
  y = study(b, id);
  assert_int_equal(ACT(b, study_claim(b->store, &martin, &practice, &y, token)), P_OK);
  clock_forward(4 * HOURS);
  look(b);
  look(b);
  clock_forward(72 * HOURS);
  look(b);
  assert_string_equal(all(b), "page S-2 > " MARTIN ", overdue S-2 > all, reminder S-1 > " MARTIN ", overdue S-1 > all");
  /* Of the times that it is accepted each is another. */
  practice_patient(b, "P2", "1960-02-02", "M");
  practice_follow(b, "P2", "tous");
  struct study to, from = study(b, id);
  const int64_t record = 1;
  const struct attach at = {.conf = &practice,
                            .caller = &martin,
                            .order = study(b, practice_order(b, "P2", "ecg")).order,
                            .birth_date = "1960-02-02",
                            .reason = "erreur"};
  assert_int_equal(ACT(b, attach_reassign(b->store, b->artefacts, &from, &record, 1, &at, &to)), P_OK);
  practice_acquire(b, id, true);
  look(b);
  assert_int_equal(made, 0);
  y = study(b, id);
  assert_int_equal(ACT(b, study_accept(b->store, &ines, &practice, &y, false, NULL)), P_OK);
  look(b);
  assert_int_equal(made, 0);
  clock_forward(30 * HOURS); /* the daemon was off meanwhile: it is not soon due any more */
  look(b);
  assert_int_equal(made, 1);
  look(b);
  assert_int_equal(made, 0);
  assert_string_equal(all(b), "page S-2 > " MARTIN ", overdue S-2 > all, reminder S-1 > " MARTIN
                              ", overdue S-1 > all, overdue S-1 > all");
}

/* The reader: who stands in, everybody when that one is away too; of what went to the ophthalmologist, and of a study
 * without a GP, everybody. */
static void test_due_whom(void **state) {
  struct store_bed *b = *state;
  clock_set("2026-03-09T12:00:00Z");
  practice_admit(b, "P1");
  practice_queued(b, "P1");
  practice_away(b, MARTIN, DURAND, "2026-03-10", "2026-03-12");
  clock_forward(20 * HOURS);
  look(b);
  practice_queued(b, "P1");
  practice_away(b, DURAND, PETIT, "2026-03-11", "2026-03-11");
  clock_forward(20 * HOURS);
  look(b);
  assert_string_equal(all(b), "reminder S-1 > " DURAND ", reminder S-2 > all, overdue S-1 > all");
  clock_set("2026-03-20T12:00:00Z");
  look(b);
  struct study y = study(b, practice_queued(b, "P1"));
  assert_int_equal(ACT(b, interpret_refer(b->store, &martin, &y, NULL, "ophthalmologist", "")), P_OK);
  bed_begin(b);
  assert_int_equal(store_run(b->store, "INSERT INTO orders(patient, act, ordered_by, at) VALUES('P1','ecg','x',1)", ""),
                   1);
  assert_int_equal(store_run(b->store,
                             "INSERT INTO study(orders, state, created, updated, accepted, due) VALUES"
                             "(?1,'to_interpret',1,1,?2,?2)",
                             "ii", store_last_id(b->store), wall_now().us + 24 * HOURS * WALL_SECOND),
                   1);
  bed_keep(b);
  clock_forward(20 * HOURS + 60);
  look(b);
  assert_string_equal(all(b), "reminder S-1 > " DURAND ", reminder S-2 > all, overdue S-1 > all, overdue S-2 > all,"
                              " reminder S-3 > all, reminder S-4 > all");
}

/* After the holidays: however many there are, all are told of, some at a time. */
static void test_many(void **state) {
  struct store_bed *b = *state;
  enum { STUDIES = 150 };
  clock_set("2026-03-09T12:00:00Z");
  practice_admit(b, "P1");
  int64_t one = practice_queued(b, "P1");
  bed_begin(b);
  for (int i = 1; i < STUDIES; i++)
    assert_int_equal(store_run(b->store,
                               "INSERT INTO study(orders, state, created, updated, accepted, due) SELECT orders, state,"
                               " created, updated, accepted, due FROM study WHERE id = ?",
                               "i", one),
                     1);
  bed_keep(b);
  clock_forward(48 * HOURS);
  unsigned looks = 1, told = 0;
  for (; look(b) <= 1; looks++)
    told += made;
  assert_int_equal(told + made, STUDIES);
  assert_in_range(looks, 2, 5);
  assert_int_equal(bed_int(b, "SELECT count(DISTINCT study || kind) FROM notice"), STUDIES);
}

/* ---- delegations ---- */

static void test_delegations(void **state) {
  struct store_bed *b = *state;
  int64_t d;
  clock_set("2026-03-10T12:00:00Z");
  static const struct {
    const char *gp, *from, *until;
  } of[] = {{MARTIN, "2026-01-01", "2026-05-09"}, /* D-3: in 60 days */
            {DURAND, "2026-01-01", "2026-05-10"}, /* D-4: in 61 */
            {DURAND, "2026-05-11", "2026-05-31"}, /* D-5: goes on then, though for less than 60 days */
            {PETIT, "2025-01-01", "2026-03-08"},  /* D-6: is over */
            {PETIT, "2026-03-10", "2026-03-11"}}; /* D-7: to be ended */
  for (size_t i = 0; i < COUNT(of); i++)
    assert_int_equal(practice_delegate(b, IDA, of[i].gp, "tous", of[i].from, of[i].until, &d), P_OK);
  assert_int_equal(ACT(b, registry_delegation_end(b->store, &root, d, "x")), P_OK);
  look(b);
  assert_string_equal(all(b), "delegation D-3 > " IDA ", delegation D-3 > " MARTIN);
  look(b);
  assert_int_equal(made, 0);
  clock_forward(-86400); /* the clock goes back and forth */
  look(b);
  clock_forward(86400);
  look(b);
  assert_string_equal(all(b), "delegation D-3 > " IDA ", delegation D-3 > " MARTIN);
  /* Each hears it for itself. */
  assert_int_equal(heard(b, &durand, 1), P_not_found);
  assert_int_equal(heard(b, &ida, 2), P_not_found);
  assert_int_equal(heard(b, &ida, 1), P_OK);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'notice.heard' AND subject = 'N-1'"), 1);
  assert_string_equal(listed(b, &ida, 10), "(1)");
  assert_string_equal(listed(b, &martin, 10), "2");
  assert_string_equal(listed(b, &durand, 10), "");
  clock_forward(86400);
  look(b);
  assert_int_equal(made, 2);
  clock_set("2026-05-11T12:00:00Z");
  look(b);
  assert_int_equal(made, 2);
  clock_set("2026-06-30T12:00:00Z");
  look(b);
  assert_int_equal(made, 0);
  assert_string_equal(all(b), "delegation D-3 > " IDA ", delegation D-3 > " MARTIN ", delegation D-4 > " IDA
                              ", delegation D-4 > " DURAND ", delegation D-5 > " IDA ", delegation D-5 > " DURAND);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, practice_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(page),     TEST(page_whom), TEST(heard),    TEST(page_again), TEST(page_twice),  TEST(page_clock_back),
      TEST(page_all), TEST(due),       TEST(due_whom), TEST(many),       TEST(delegations),
  };
  return cmocka_run_group_tests_name("notice", tests, NULL, NULL);
}
