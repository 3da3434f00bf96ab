/* What the API does by the clock: notices are looked for in time, whatever happens to the clock and to the store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "practice_bed.h"

#include "api.h"
#include "notice.h"
#include <signal.h>
#include <sys/resource.h>

struct desk {
  struct store_bed *b;
  struct api api;
};

static int desk_setup(void **state) {
  struct desk *d = calloc(1, sizeof *d);
  void *bed;
  if (!d || practice_setup(&bed) < 0 || sd_event_new(&d->api.event) < 0 || hub_open(&d->api.hub) < 0)
    return -1;
  d->b = bed;
  d->api.store = d->b->store;
  d->api.conf = &practice;
  *state = d;
  return api_open(&d->api);
}

static int desk_teardown(void **state) {
  struct desk *d = *state;
  void *bed = d->b;
  api_close(&d->api);
  hub_close(d->api.hub);
  sd_event_unref(d->api.event);
  free(d);
  return bed_teardown(&bed);
}

/* So many seconds pass; what is to be done then is done, with the commit of each turn. */
static void pass(struct desk *d, int64_t seconds) {
  monotonic_ahead_us += seconds * WALL_SECOND;
  wall_ahead_us += seconds * WALL_SECOND;
  while (sd_event_run(d->api.event, 0) > 0)
    api_commit(&d->api);
}

static void page(struct desk *d, int64_t id) {
  struct study y = study(d->b, id);
  int64_t notice;
  assert_int_equal(ACT(d->b, notice_page(d->b->store, &ines, &y, NULL, &notice)), P_OK);
  api_notice_made(&d->api, notice);
  pass(d, 0);
}

#define AGAIN "SELECT count(*) FROM notice WHERE kind = 'page_again'"
#define WAIT ((int64_t)practice.page_minutes * 60)

static void test_page(void **state) {
  struct desk *d = *state;
  practice_admit(d->b, "P1");
  page(d, practice_queued(d->b, "P1"));
  pass(d, WAIT - 5);
  assert_int_equal(bed_int(d->b, AGAIN), 0);
  pass(d, 10);
  assert_int_equal(bed_int(d->b, AGAIN), 1);
}

/* Somebody sets the clock back by days: who waits for the GP does not wait for the clock. */
static void test_clock_back(void **state) {
  struct desk *d = *state;
  practice_admit(d->b, "P1");
  page(d, practice_queued(d->b, "P1"));
  clock_forward(-3 * 86400);
  pass(d, WAIT + 5);
  assert_int_equal(bed_int(d->b, AGAIN), 1);
}

/* The store cannot be written just then: a few seconds later it is tried again. */
static void test_commit_fails(void **state) {
  struct desk *d = *state;
  struct rlimit room, none;
  struct stat st;
  practice_admit(d->b, "P1");
  page(d, practice_queued(d->b, "P1"));
  pass(d, WAIT - 5);
  assert_int_equal(stat(bed_path(d->b, "asaleed.db-wal"), &st), 0);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &room), 0);
  signal(SIGXFSZ, SIG_IGN);
  none = (struct rlimit){.rlim_cur = (rlim_t)st.st_size, .rlim_max = room.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
  pass(d, 10);
  assert_true(store_health(d->b->store) < 0);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &room), 0);
  assert_int_equal(bed_int(d->b, AGAIN), 0);
  pass(d, 10);
  assert_int_equal(bed_int(d->b, AGAIN), 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, desk_setup, desk_teardown)
  const struct CMUnitTest tests[] = {TEST(page), TEST(clock_back), TEST(commit_fails)};
  return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
