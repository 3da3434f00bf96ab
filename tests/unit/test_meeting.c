/* Meetings: what the agenda shows to whom, who keeps minutes and who reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../e2e/store_bed.h"

#include "../e2e/practice_bed.h"
#include "meeting.h"

static struct conf_protocol one = {.id = "one",
                                   .acts = {[ACQ_ECG] = {.line = 1,
                                                         .open = 1,
                                                         .recall_months = 12,
                                                         .sees_before = CONF_SEES_ACQUIRED,
                                                         .sees_after = CONF_SEES_NOTHING}}};
static const struct conf conf = {.protocols = {&one}, .n_protocols = 1};
static const struct caller gp = {.name = "martin", .role = ROLE_GP, .rpps = GP1},
                           gp2 = {.name = "durand", .role = ROLE_GP, .rpps = GP2},
                           nurse = {.name = "ines", .role = ROLE_NURSE, .rpps = NURSE1},
                           other = {.name = "nora", .role = ROLE_NURSE, .rpps = NURSE2},
                           for_gp = {.name = "lgc", .acting_for = "martin", .role = ROLE_GP, .rpps = GP1},
                           admin = {.name = "adele", .role = ROLE_ADMIN}, nobody = {.name = "temp", .role = ROLE_NURSE};

static void people(struct store_bed *b) {
  professional(b, GP1, "gp", "f", 1, 1);
  professional(b, GP2, "gp", "f", 1, 1);
  professional(b, NURSE1, "nurse", "f", 1, 1);
  professional(b, NURSE2, "nurse", "f", 1, 1);
  one.acts[ACQ_ECG].sees_after = CONF_SEES_NOTHING;
}

/* ---- the agenda ---- */

static json_t *agenda(struct store_bed *b, const struct caller *c, const char *since) {
  const struct agenda_page page = {.gp = GP1, .nurse = NURSE1, .since = since, .limit = 50};
  const char *field;
  json_t *answer = NULL;
  assert_int_equal(meeting_agenda(b->store, &conf, c, &page, &field, &answer), P_OK);
  assert_non_null(answer);
  return answer;
}

/* Those of a list by one of their members: "S-1 S-3". */
static const char *named(const json_t *list, const char *member) {
  static char text[512];
  size_t i, n = 0;
  json_t *x;
  text[0] = 0;
  json_array_foreach(list, i, x) {
    n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? " " : "", json_text(x, member));
  }
  return text;
}

static const json_t *item(const json_t *answer, size_t i) {
  return json_array_get(json_object_get(answer, "items"), i);
}

static const json_t *study_of(const json_t *answer, size_t i) {
  return json_array_get(json_object_get(item(answer, 0), "studies"), i);
}

/* Studies 1 to 7 of follow-up 1: read long ago, waiting (late), being read, returned, read lately, ordered, cancelled.
 */
static void practice(struct store_bed *b) {
  const int64_t now = wall_now().us, day = 24 * HOUR;
  people(b);
  patient(b, "P1");
  int64_t w = followup(b, "P1", "one", GP1, NURSE1, at("2020-01-01T10:00:00+01:00")), y;
  y = study(b, "P1", "ecg", w, "interpreted", now - 900 * day, now - 899 * day);
  interpretation(b, y, 1, now - 899 * day, "normal", NULL);
  study(b, "P1", "ecg", w, "to_interpret", now - 400 * day, now - 399 * day);
  study(b, "P1", "ecg", w, "interpreting", now - 500 * day, now + day);
  y = study(b, "P1", "ecg", w, "returned", now - 3 * day, now - 2 * day);
  ROW(b, "INSERT INTO study_return VALUES(?,'110523','TEXTE RENDU',?,'martin')", "ii", y, now - 2 * day);
  y = study(b, "P1", "ecg", w, "interpreted", now - 600 * day, now - 599 * day);
  interpretation(b, y, 1, now - 2 * day, "abnormal", NULL);
  study(b, "P1", "ecg", w, "ordered", 0, 0);
  study(b, "P1", "ecg", w, "cancelled", now - day, now);
  ROW(b, "INSERT INTO notice(kind, study, recipient, text, at, by) VALUES('page',2,?,'t',?,'ines')", "ti", GP1, now);
  int64_t heard =
      ROW(b, "INSERT INTO notice(kind, study, recipient, text, at, by) VALUES('overdue',3,NULL,NULL,?,'asaleed')", "i",
          now);
  ROW(b, "INSERT INTO notice_end VALUES(?,?,'martin')", "ii", heard, now);
  /* Of others: another nurse's, a closed one. */
  patient(b, "P2");
  followup(b, "P2", "one", GP1, NURSE2, 1);
  followup(b, "P2", "one", GP2, NURSE1, 1);
  w = followup(b, "P2", "one", GP1, NURSE1, 1);
  ROW(b, "INSERT INTO followup_end VALUES(?,1,'u','r')", "i", w);
}

static void day_before(int64_t days, char text[static WALL_DATE_MAX]) {
  wall_date(wall_now().us - days * 24 * HOUR, text);
}

static void test_agenda(void **state) {
  struct store_bed *b = *state;
  char day[WALL_DATE_MAX];
  practice(b);
  json_t *answer = agenda(b, &gp, NULL);
  assert_string_equal(named(json_object_get(answer, "items"), "followup"), "W-1");
  assert_string_equal(json_text(json_object_get(item(answer, 0), "patient"), "family"), "FAMILY");
  assert_string_equal(json_text(item(answer, 0), "protocol"), "one");
  /* They have never met: all there is. */
  assert_true(json_is_null(json_object_get(answer, "last")));
  assert_true(json_is_null(json_object_get(answer, "since")));
  const json_t *studies = json_object_get(item(answer, 0), "studies");
  assert_string_equal(named(studies, "id"), "S-1 S-2 S-3 S-4 S-5");
  assert_string_equal(named(studies, "state"), "interpreted to_interpret interpreting returned interpreted");
  for (size_t i = 0; i < 5; i++) /* late are those that wait */
    assert_int_equal(json_is_true(json_object_get(study_of(answer, i), "overdue")), i == 1);
  assert_string_equal(named(json_object_get(item(answer, 0), "notices"), "kind"), "page");
  assert_string_equal(named(json_object_get(item(answer, 0), "notices"), "study"), "S-2");
  /* The newest was accepted 400 days ago: due again, and ordered. */
  assert_string_equal(named(json_object_get(item(answer, 0), "recalls"), "last"), "S-2");
  assert_string_equal(named(json_object_get(item(answer, 0), "recalls"), "order"), "O-6");
  json_decref(answer);
  /* Since a day: what waits is there however old it is. */
  day_before(2, day);
  answer = agenda(b, &gp, day);
  assert_string_equal(json_text(answer, "since"), day);
  assert_string_equal(named(json_object_get(item(answer, 0), "studies"), "id"), "S-2 S-3 S-4 S-5");
  json_decref(answer);
  day_before(1, day);
  answer = agenda(b, &gp, day);
  assert_string_equal(named(json_object_get(item(answer, 0), "studies"), "id"), "S-2 S-3");
  json_decref(answer);
  /* Since they met, the latest day that they did, whenever it was written down. */
  ROW(b, "INSERT INTO meeting(gp, nurse, held, minute, at, by) VALUES(?,?,?,'m',1,'u')", "ttt", GP1, NURSE1, day);
  ROW(b, "INSERT INTO meeting(gp, nurse, held, minute, at, by) VALUES(?,?,'2021-01-01','m',2,'u')", "tt", GP1, NURSE1);
  ROW(b, "INSERT INTO meeting(gp, nurse, held, minute, at, by) VALUES(?,?,'2099-01-01','m',2,'u')", "tt", GP1, NURSE2);
  answer = agenda(b, &gp, NULL);
  assert_string_equal(json_text(answer, "since"), day);
  assert_string_equal(json_text(json_object_get(answer, "last"), "id"), "M-1");
  assert_string_equal(named(json_object_get(item(answer, 0), "studies"), "id"), "S-2 S-3");
  json_decref(answer);
}

/* What a text of the agenda holds, by who asks and what the protocol shows the nurse. */
static void test_masked(void **state) {
  struct store_bed *b = *state;
  practice(b);
  static const struct {
    const struct caller *caller;
    int after;
    bool conclusion, text;
  } cases[] = {{&gp, CONF_SEES_NOTHING, true, true},
               {&for_gp, CONF_SEES_NOTHING, true, true},
               {&nurse, CONF_SEES_NOTHING, false, false},
               {&nurse, CONF_SEES_CONCLUSION, true, false},
               {&nurse, CONF_SEES_REPORT, true, true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    one.acts[ACQ_ECG].sees_after = cases[i].after;
    json_t *answer = agenda(b, cases[i].caller, NULL);
    const json_t *x = study_of(answer, 4);
    char *text = json_canonical(answer, NULL);
    assert_string_equal(json_text(x, "state"), "interpreted"); /* that it was read everybody sees */
    assert_non_null(json_text(x, "signed"));
    assert_int_equal(json_object_get(x, "interpretation") != NULL, cases[i].conclusion);
    assert_int_equal(strstr(text, "abnormal") != NULL, cases[i].conclusion);
    assert_int_equal(strstr(text, "TEXTE SIGNÉ") != NULL, cases[i].text);
    assert_int_equal(strstr(text, "sinus") != NULL, cases[i].text);
    assert_int_equal(strstr(text, "TEXTE RENDU") != NULL, cases[i].caller != &nurse); /* before any signature */
    assert_string_equal(json_text(json_object_get(study_of(answer, 3), "returned"), "code"), "110523");
    free(text);
    json_decref(answer);
  }
  /* A protocol that is not there any more shows her nothing. */
  static const struct conf empty = {0};
  const struct agenda_page page = {.gp = GP1, .limit = 50};
  const char *field;
  json_t *answer;
  assert_int_equal(meeting_agenda(b->store, &empty, &nurse, &page, &field, &answer), P_OK);
  assert_null(json_object_get(study_of(answer, 4), "interpretation"));
  json_decref(answer);
}

static void test_pair(void **state) {
  struct store_bed *b = *state;
  people(b);
  static const struct {
    const struct caller *caller;
    const char *gp, *nurse, *since;
    enum problem expected;
    const char *field;
  } cases[] = {
      {&gp, NULL, NURSE1, NULL, P_OK, NULL},
      {&nurse, GP1, NULL, NULL, P_OK, NULL},
      {&gp, GP1, NURSE1, NULL, P_OK, NULL},
      {&gp, NULL, NULL, NULL, P_missing_field, "nurse"},
      {&nurse, NULL, NULL, NULL, P_missing_field, "gp"},
      {&gp2, GP1, NURSE1, NULL, P_forbidden, NULL},
      {&other, GP1, NURSE1, NULL, P_forbidden, NULL},
      {&admin, GP1, NURSE1, NULL, P_professional_unknown, NULL},
      {&nobody, GP1, NURSE1, NULL, P_professional_unknown, NULL},
      {&nurse, NURSE2, NULL, NULL, P_invalid_field, "gp"},
      {&gp, NULL, GP2, NULL, P_invalid_field, "nurse"},
      {&gp, NULL, "10000000099", NULL, P_invalid_field, "nurse"},
      {&gp, NULL, NURSE1, "2026-02-29", P_invalid_field, "since"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct agenda_page page = {cases[i].gp, cases[i].nurse, cases[i].since, 0, 50};
    const char *field = NULL;
    json_t *answer = NULL;
    enum problem p = meeting_agenda(b->store, &conf, cases[i].caller, &page, &field, &answer);
    if (p != cases[i].expected || (cases[i].field && strcmp(field, cases[i].field)))
      fail_msg("case %zu: %s, %s", i, problem_code(p), field);
    assert_int_equal(answer != NULL, p == P_OK);
    json_decref(answer);
  }
}

static void test_pages(void **state) {
  struct store_bed *b = *state;
  people(b);
  patient(b, "P1");
  for (int i = 0; i < 5; i++)
    followup(b, "P1", "one", GP1, NURSE1, 1);
  struct agenda_page page = {.gp = GP1, .nurse = NURSE1, .limit = 2};
  static const char *const pages[] = {"W-1 W-2", "W-3 W-4", "W-5"}, *const next[] = {"W-2", "W-4", NULL};
  for (int i = 0; i < 3; i++) {
    const char *field;
    json_t *answer;
    page.after = 2 * i;
    assert_int_equal(meeting_agenda(b->store, &conf, &gp, &page, &field, &answer), P_OK);
    assert_string_equal(named(json_object_get(answer, "items"), "followup"), pages[i]);
    assert_int_equal(json_text(answer, "next") != NULL, next[i] != NULL);
    if (next[i])
      assert_string_equal(json_text(answer, "next"), next[i]);
    json_decref(answer);
  }
}

/* ---- the minutes ---- */

static enum problem add(struct store_bed *b, const struct caller *c, const struct meeting *m, int64_t *ret_id,
                        const char **ret_field, size_t *ret_at) {
  bed_begin(b);
  enum problem p = meeting_add(b->store, c, m, ret_field, ret_at, ret_id);
  if (p == P_OK)
    assert_int_equal(store_keep(b->store), 0);
  else
    store_undo(b->store);
  assert_int_equal(store_commit(b->store), 0);
  return p;
}

static const char *list_of(struct store_bed *b, const struct caller *c, int64_t before, int limit) {
  json_t *items;
  assert_int_equal(meeting_list(b->store, c, before, limit, &items), 0);
  char *text = json_canonical(items, NULL);
  assert_null(strstr(text, "DIT")); /* never a text */
  free(text);
  const char *names = named(items, "id");
  json_decref(items);
  return names;
}

static void test_minutes(void **state) {
  struct store_bed *b = *state;
  const char *field;
  size_t place;
  int64_t id;
  json_t *found = NULL;
  people(b);
  patient(b, "P1");
  patient(b, "P2");
  followup(b, "P1", "one", GP1, NURSE1, 1);
  followup(b, "P2", "one", GP1, NURSE1, 1);
  const struct meeting_item items[] = {{2, "DIT DE P2\nsuite"}, {1, "DIT DE P1"}};
  struct meeting m = {.nurse = NURSE1, .held = "2024-11-20", .minute = "DIT DE TOUT", .items = items, .n = 2};
  assert_int_equal(add(b, &gp, &m, &id, &field, &place), P_OK);
  assert_int_equal(id, 1);
  m = (struct meeting){.gp = GP1, .held = "2024-11-21", .minute = "DIT"};
  assert_int_equal(add(b, &nurse, &m, &id, &field, &place), P_OK);
  m = (struct meeting){.nurse = NURSE2, .held = "2024-11-21", .minute = "DIT"};
  assert_int_equal(add(b, &for_gp, &m, &id, &field, &place), P_OK);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM meeting WHERE by = 'martin'"),
                   2); /* the person, not the software */
  assert_int_equal(
      bed_int(b, "SELECT count(*) FROM audit WHERE action = 'meeting.add' AND actor = 'lgc' AND acting_for = 'martin'"),
      1);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE detail LIKE '%DIT%'"), 0);
  assert_int_equal(
      bed_int(b, "SELECT count(*) FROM audit WHERE subject = 'M-1' AND detail LIKE '%\"patients\":[\"P2\",\"P1\"]%'"),
      1);
  /* Both read all of it. */
  static const struct caller *const there[] = {&gp, &nurse, &for_gp};
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(meeting_get(b->store, there[i], 1, &found), P_OK);
    assert_string_equal(json_text(found, "minute"), "DIT DE TOUT");
    assert_string_equal(json_text(found, "held"), "2024-11-20");
    const json_t *followups = json_object_get(found, "followups");
    assert_string_equal(named(followups, "followup"), "W-1 W-2");
    assert_string_equal(json_text(json_array_get(followups, 1), "minute"), "DIT DE P2\nsuite");
    assert_string_equal(json_text(json_object_get(json_array_get(followups, 1), "patient"), "id"), "P2");
    json_decref(found);
  }
  found = NULL;
  static const struct caller *const absent[] = {&gp2, &other, &admin, &nobody};
  for (size_t i = 0; i < 4; i++)
    assert_int_equal(meeting_get(b->store, absent[i], 1, &found), P_not_found);
  assert_int_equal(meeting_get(b->store, &gp, 4, &found), P_not_found);
  assert_int_equal(meeting_get(b->store, &gp, 0, &found), P_not_found);
  assert_null(found);
  assert_string_equal(list_of(b, &gp, INT64_MAX, 10), "M-3 M-2 M-1");
  assert_string_equal(list_of(b, &nurse, INT64_MAX, 10), "M-2 M-1");
  assert_string_equal(list_of(b, &other, INT64_MAX, 10), "M-3");
  assert_string_equal(list_of(b, &gp2, INT64_MAX, 10), "");
  assert_string_equal(list_of(b, &nobody, INT64_MAX, 10), "");
  assert_string_equal(list_of(b, &admin, INT64_MAX, 10), "M-3 M-2 M-1");
  assert_string_equal(list_of(b, &admin, INT64_MAX, 2), "M-3 M-2");
  assert_string_equal(list_of(b, &admin, 2, 2), "M-1");
  /* A patient who is another nurse's now: the meeting is hers still, the patient is not. */
  ROW(b, "INSERT INTO followup_team(followup, gp, nurse, at, by) VALUES(2,?,?,2,'u')", "tt", GP2, NURSE2);
  assert_int_equal(meeting_get(b->store, &nurse, 1, &found), P_OK);
  assert_string_equal(named(json_object_get(found, "followups"), "followup"), "W-1");
  json_decref(found);
  assert_int_equal(meeting_get(b->store, &gp, 1, &found), P_OK);
  assert_int_equal(json_array_size(json_object_get(found, "followups")), 2);
  json_decref(found);
  /* For ever. */
  static const char *const changes[] = {"UPDATE meeting SET minute = 'x'", "DELETE FROM meeting",
                                        "UPDATE meeting_followup SET minute = 'x'", "DELETE FROM meeting_followup"};
  for (size_t i = 0; i < 4; i++) {
    bed_begin(b);
    assert_int_equal(store_run(b->store, changes[i], ""), -EPERM);
    store_undo(b->store);
  }
  assert_int_equal(store_commit(b->store), 0);
}

static void test_refused(void **state) {
  struct store_bed *b = *state;
  char tomorrow[WALL_DATE_MAX], today[WALL_DATE_MAX];
  people(b);
  patient(b, "P1");
  followup(b, "P1", "one", GP1, NURSE1, 1);
  followup(b, "P1", "one", GP1, NURSE2, 1);
  followup(b, "P1", "one", GP1, NURSE1, 1);
  ROW(b, "INSERT INTO followup_team(followup, gp, nurse, at, by) VALUES(3,?,?,2,'u')", "tt", GP2, NURSE2);
  day_before(0, today);
  day_before(-1, tomorrow);
  const struct meeting_item unknown[] = {{1, "a"}, {9, "b"}}, others[] = {{1, "a"}, {3, "b"}, {2, "c"}},
                            twice[] = {{1, "a"}, {3, "b"}, {1, "c"}};
  const struct {
    const struct caller *caller;
    struct meeting m;
    enum problem expected;
    const char *field;
    size_t place;
  } cases[] = {
      {&other, {GP1, NURSE1, today, "m", NULL, 0}, P_forbidden, "nurse", 99},
      {&gp2, {GP1, NURSE1, today, "m", NULL, 0}, P_forbidden, "gp", 99},
      {&nobody, {GP1, NURSE1, today, "m", NULL, 0}, P_professional_unknown, NULL, 99},
      {&gp, {NULL, NURSE1, tomorrow, "m", NULL, 0}, P_invalid_field, "held", 99},
      {&gp, {NULL, NURSE1, "20/11/2026", "m", NULL, 0}, P_invalid_field, "held", 99},
      {&gp, {NULL, NURSE1, today, "m", unknown, 2}, P_not_found, "followup", 1},
      {&gp, {NULL, NURSE1, today, "m", others, 3}, P_not_found, "followup", 2}, /* 3 was theirs, 2 never was */
      {&gp, {NULL, NURSE1, today, "m", twice, 3}, P_invalid_field, "followup", 2},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *field = NULL;
    size_t place = 99;
    int64_t id = -1;
    enum problem p = add(b, cases[i].caller, &cases[i].m, &id, &field, &place);
    if (p != cases[i].expected || (cases[i].field && strcmp(field, cases[i].field)) || place != cases[i].place)
      fail_msg("case %zu: %s, %s, %zu", i, problem_code(p), field, place);
    assert_int_equal(id, -1);
  }
  assert_int_equal(bed_int(b, "SELECT count(*) FROM meeting"), 0);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM audit WHERE action = 'meeting.add'"), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, practice_setup, bed_teardown)
  const struct CMUnitTest tests[] = {
      TEST(agenda), TEST(masked), TEST(pair), TEST(pages), TEST(minutes), TEST(refused),
  };
  return cmocka_run_group_tests_name("meeting", tests, NULL, NULL);
}
