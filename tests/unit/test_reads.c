/* Who saw whom: rows of the trail, also where the store cannot be written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "practice_bed.h"

#include "reads.h"
#include <signal.h>
#include <sys/resource.h>

#define WAITING_MAX 4096 /* that are kept in memory */
#define RETRY_S 5

struct desk {
  struct store_bed *b;
  sd_event *event;
  struct reads *reads;
};

static int desk_setup(void **state) {
  struct desk *d = calloc(1, sizeof *d);
  void *bed;
  if (!d || practice_setup(&bed) < 0 || sd_event_new(&d->event) < 0)
    return -1;
  d->b = bed;
  *state = d;
  return reads_open(d->event, d->b->store, &d->reads);
}

static int desk_teardown(void **state) {
  struct desk *d = *state;
  void *bed = d->b;
  reads_close(d->reads);
  sd_event_unref(d->event);
  free(d);
  return bed_teardown(&bed);
}

static int note(struct desk *d, const struct caller *c, const char *route, const char *subject, const char *patient) {
  _json_cleanup_ json_t *patients = json_pack("[s]", patient);
  return reads_note(d->reads, c, route, subject, patients);
}

/* No file grows: the next commit cannot be written. */
static struct rlimit room;
static void disk_full(struct desk *d) {
  struct stat st;
  assert_int_equal(stat(bed_path(d->b, "asaleed.db-wal"), &st), 0);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &room), 0);
  signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {.rlim_cur = (rlim_t)st.st_size, .rlim_max = room.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
}
static void disk_free(void) {
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &room), 0);
}

/* A commit that fails, as any other act's would. */
static void fall_ill(struct desk *d) {
  disk_full(d);
  bed_begin(d->b);
  assert_int_equal(change_add(d->b->store, "x", "x", NULL), 0);
  assert_int_equal(store_keep(d->b->store), 0);
  assert_true(store_commit(d->b->store) < 0);
  assert_true(store_health(d->b->store) < 0);
}

/* So many seconds later, what is to be done then, and the commit of that turn. */
static int later(struct desk *d, int64_t seconds) {
  monotonic_ahead_us += seconds * WALL_SECOND;
  wall_ahead_us += seconds * WALL_SECOND;
  while (sd_event_run(d->event, 0) > 0)
    ;
  return store_commit(d->b->store);
}

#define READS "SELECT count(*) FROM audit WHERE action = 'read'"

/* The subjects of the rows, oldest first: "P1 P2". */
static const char *subjects(struct desk *d) {
  static char text[256];
  size_t n = 0;
  struct rows r = store_query(d->b->store, "SELECT subject FROM audit WHERE action = 'read' ORDER BY seq", "");
  text[0] = 0;
  while (rows_next(&r))
    n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? " " : "", rows_text(&r, 0));
  assert_int_equal(rows_finish(&r), 0);
  return text;
}

static void test_rows(void **state) {
  struct desk *d = *state;
  struct store_bed *b = d->b;
  _json_cleanup_ json_t *many = json_pack("[s,s,s]", "P1", "P2", "P3");
  assert_int_equal(reads_note(d->reads, &logiciel_martin, "GET /v1/queue", "list", many), 0);
  assert_int_equal(store_commit(b->store), 0);
  struct rows r =
      store_query(b->store, "SELECT actor, acting_for, subject, detail FROM audit WHERE action = 'read'", "");
  assert_true(rows_next(&r));
  assert_string_equal(rows_text(&r, 0), "logiciel");
  assert_string_equal(rows_text(&r, 1), "martin");
  assert_string_equal(rows_text(&r, 2), "list");
  assert_string_equal(rows_text(&r, 3), "{\"patients\":[\"P1\",\"P2\",\"P3\"],\"route\":\"GET /v1/queue\"}");
  assert_int_equal(rows_finish(&r), 0);
  practice_is_whole(b);
}

/* The same again within ten minutes is no new row; whatever differs is. */
static void test_same(void **state) {
  struct desk *d = *state;
  static const struct caller elsewhere = {.name = "martin", .role = ROLE_GP, .rpps = MARTIN, .from = "10.0.0.2"};
  static const struct {
    const struct caller *who;
    const char *route, *subject, *patient;
  } reads[] = {{&martin, "GET /v1/queue", "list", "P1"},          {&durand, "GET /v1/queue", "list", "P1"},
               {&logiciel_martin, "GET /v1/queue", "list", "P1"}, {&elsewhere, "GET /v1/queue", "list", "P1"},
               {&martin, "GET /v1/orders", "list", "P1"},         {&martin, "GET /v1/queue", "S-1", "P1"},
               {&martin, "GET /v1/queue", "list", "P2"}};
  int64_t n = 0;
  for (int round = 0; round < 3; round++)
    for (size_t i = 0; i < COUNT(reads); i++) {
      assert_int_equal(note(d, reads[i].who, reads[i].route, reads[i].subject, reads[i].patient), 0);
      assert_int_equal(store_commit(d->b->store), 0);
      n += round == 0;
      assert_int_equal(bed_int(d->b, READS), n);
    }
  later(d, 599);
  assert_int_equal(note(d, &martin, "GET /v1/queue", "list", "P1"), 0);
  later(d, 1);
  assert_int_equal(bed_int(d->b, READS), n);
  assert_int_equal(note(d, &martin, "GET /v1/queue", "list", "P1"), 0);
  later(d, 0);
  assert_int_equal(bed_int(d->b, READS), n + 1);
}

/* The disk is full: the GP goes on reading, and what he saw is written once there is room, as of when he saw it. */
static void test_full(void **state) {
  struct desk *d = *state;
  fall_ill(d);
  clock_set("2026-03-10T12:00:00Z");
  assert_int_equal(note(d, &martin, "GET", "P1", "P1"), 0);
  assert_int_equal(note(d, &martin, "GET", "P2", "P2"), 0);
  assert_int_equal(note(d, &martin, "GET", "P1", "P1"), 0); /* the same again, once */
  assert_int_equal(store_commit(d->b->store), 0);
  for (int i = 0; i < 3; i++) { /* it stays full */
    assert_true(later(d, RETRY_S) < 0);
    assert_int_equal(bed_int(d->b, READS), 0);
  }
  assert_int_equal(note(d, &durand, "GET", "P3", "P3"), 0);
  disk_free();
  assert_int_equal(later(d, RETRY_S), 0);
  assert_string_equal(subjects(d), "P1 P2 P3");
  assert_int_equal(store_health(d->b->store), 0);
  assert_int_equal(bed_int(d->b, "SELECT count(*) FROM audit WHERE action = 'read' AND actor = 'martin' AND"
                                 " json_extract(detail, '$.seen') LIKE '2026-03-10T1%:00:00.%'"),
                   2);
  assert_int_equal(later(d, 60), 0); /* written once */
  assert_string_equal(subjects(d), "P1 P2 P3");
  assert_int_equal(note(d, &martin, "GET", "P4", "P4"), 0); /* as before */
  assert_int_equal(store_commit(d->b->store), 0);
  assert_string_equal(subjects(d), "P1 P2 P3 P4");
  practice_is_whole(d->b);
}

/* The row was written, and its commit fails: the answer was refused, and whoever asks again is noted. */
static void test_commit_fails(void **state) {
  struct desk *d = *state;
  assert_int_equal(note(d, &martin, "GET", "P0", "P0"), 0);
  assert_int_equal(store_commit(d->b->store), 0);
  disk_full(d);
  assert_int_equal(note(d, &martin, "GET", "P1", "P1"), 0);
  assert_true(store_commit(d->b->store) < 0);
  assert_string_equal(subjects(d), "P0");
  assert_int_equal(note(d, &martin, "GET", "P1", "P1"), 0);
  disk_free();
  assert_int_equal(later(d, RETRY_S), 0);
  assert_string_equal(subjects(d), "P0 P1");
}

/* Seen between the writing of what waited and its commit: it waits for the next. */
static void test_meanwhile(void **state) {
  struct desk *d = *state;
  fall_ill(d);
  assert_int_equal(note(d, &martin, "GET", "P1", "P1"), 0);
  disk_free();
  monotonic_ahead_us += RETRY_S * WALL_SECOND;
  while (sd_event_run(d->event, 0) > 0)
    ;
  assert_int_equal(note(d, &martin, "GET", "P2", "P2"), 0);
  assert_int_equal(store_commit(d->b->store), 0);
  assert_string_equal(subjects(d), "P1");
  assert_int_equal(later(d, RETRY_S), 0);
  assert_string_equal(subjects(d), "P1 P2");
}

/* Memory has an end: what can neither be written nor kept is not shown, however often it is asked for. */
static void test_bounded(void **state) {
  struct desk *d = *state;
  char subject[16];
  fall_ill(d);
  for (int i = 0; i < WAITING_MAX; i++) {
    snprintf(subject, sizeof subject, "P%d", i);
    assert_int_equal(note(d, &martin, "GET", subject, subject), 0);
  }
  for (int i = 0; i < 3; i++)
    assert_int_equal(note(d, &martin, "GET", "last", "last"), -ENOBUFS);
  disk_free();
  assert_int_equal(later(d, RETRY_S), 0);
  assert_int_equal(bed_int(d->b, READS), WAITING_MAX);
  assert_int_equal(bed_int(d->b, "SELECT count(DISTINCT subject) FROM audit WHERE action = 'read'"), WAITING_MAX);
  assert_int_equal(note(d, &martin, "GET", "last", "last"), 0);
  assert_int_equal(store_commit(d->b->store), 0);
  assert_int_equal(bed_int(d->b, READS), WAITING_MAX + 1);
  practice_is_whole(d->b);
}

/* The daemon ends while some wait: nothing is left behind but a line in its log. */
static void test_ends(void **state) {
  struct desk *d = *state;
  fall_ill(d);
  assert_int_equal(note(d, &martin, "GET", "P1", "P1"), 0);
  reads_close(d->reads);
  disk_free();
  d->reads = NULL;
  assert_int_equal(later(d, RETRY_S), 0);
  assert_int_equal(bed_int(d->b, READS), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, desk_setup, desk_teardown)
  const struct CMUnitTest tests[] = {
      TEST(rows), TEST(same), TEST(full), TEST(commit_fails), TEST(meanwhile), TEST(bounded), TEST(ends),
  };
  return cmocka_run_group_tests_name("reads", tests, NULL, NULL);
}
