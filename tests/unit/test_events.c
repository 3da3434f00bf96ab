/* Server-sent events: the ring, readers that come back, several of them, slow ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "events.h"
#include "str.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct watcher {
  struct hub_reader *reader;
  unsigned woken;
  char text[200000];
  size_t n;
  uint64_t first_id, last_id;
  unsigned events, comments;
};

static void wake(void *arg) {
  struct watcher *w = arg;
  w->woken++;
}

static void watch(struct hub *h, struct watcher *w, int64_t study, uint64_t last, json_t *hello) {
  memset(w, 0, sizeof *w);
  assert_int_equal(hub_subscribe(h, study, last, true, hello, wake, w, &w->reader), 0);
}

/* Reads what is there, at most step bytes a time. */
static void drain(struct watcher *w, size_t step) {
  size_t got;
  while ((got = hub_read(w->reader, w->text + w->n, step)) > 0) {
    assert_true(got <= step);
    w->n += got;
    assert_true(w->n + step < sizeof w->text);
  }
  w->text[w->n] = 0;
}

/* The events received: each whole, ids rising. */
static void parse(struct watcher *w) {
  w->first_id = w->last_id = 0;
  w->events = w->comments = 0;
  for (char *at = w->text, *end; *at; at = end + 2) {
    end = strstr(at, "\n\n");
    assert_non_null(end);
    if (!strncmp(at, ":", 1)) {
      w->comments++;
      continue;
    }
    if (!strncmp(at, "id: ", 4)) {
      uint64_t id;
      char digits[32];
      snprintf(digits, sizeof digits, "%.*s", (int)strcspn(at + 4, "\n"), at + 4);
      assert_int_equal(str_to_u64(digits, 1, UINT64_MAX, &id), 0);
      assert_true(id > w->last_id);
      w->first_id = w->first_id ? w->first_id : id;
      w->last_id = id;
      at = strchr(at, '\n') + 1;
    }
    assert_int_equal(strncmp(at, "event: ", 7), 0);
    char *data = strstr(at, "\ndata: {");
    assert_true(data && data < end);
    w->events++;
  }
}

static void publish(struct hub *h, int64_t study, int n) {
  hub_publish(h, study, "progress", json_pack("{s:i}", "done", n));
}

static int setup(void **state) {
  struct hub *h;
  if (hub_open(&h) < 0)
    return -1;
  *state = h;
  return 0;
}

static int teardown(void **state) {
  hub_close(*state);
  return 0;
}

static void test_live(void **state) {
  struct hub *h = *state;
  static struct watcher w;
  assert_false(hub_has_readers(h));
  watch(h, &w, 1, 0, json_pack("{s:s}", "state", "ordered"));
  assert_true(hub_has_readers(h));
  drain(&w, 4096);
  assert_string_equal(w.text, "event: state\ndata: {\"state\":\"ordered\"}\n\n"); /* no id: a reader's place stays */
  assert_int_equal(hub_read(w.reader, w.text, 10), 0);
  publish(h, 1, 7);
  publish(h, 2, 8); /* another study's */
  assert_int_equal(w.woken, 1);
  w.n = 0;
  drain(&w, 4096);
  assert_non_null(strstr(w.text, "event: progress\ndata: {\"done\":7}\n\n"));
  parse(&w);
  assert_int_equal(w.events, 1);
  assert_true(w.last_id > 0);
  hub_unsubscribe(w.reader);
  assert_false(hub_has_readers(h));
  hub_unsubscribe(NULL);
}

/* A byte a time gives the same text. */
static void test_slow(void **state) {
  struct hub *h = *state;
  static struct watcher slow, fast;
  watch(h, &slow, 1, 0, json_pack("{}"));
  watch(h, &fast, 1, 0, json_pack("{}"));
  for (int i = 0; i < 20; i++)
    publish(h, 1, i);
  drain(&slow, 1);
  drain(&fast, 4096);
  assert_int_equal(slow.n, fast.n);
  assert_string_equal(slow.text, fast.text);
  parse(&slow);
  assert_int_equal(slow.events, 21);
  hub_unsubscribe(slow.reader);
  hub_unsubscribe(fast.reader);
}

static void test_resume(void **state) {
  struct hub *h = *state;
  static struct watcher w, again;
  watch(h, &w, 1, 0, NULL);
  for (int i = 0; i < 10; i++)
    publish(h, 1, i);
  drain(&w, 4096);
  parse(&w);
  assert_int_equal(w.events, 10);
  uint64_t first = w.first_id;
  for (uint64_t last = first; last <= w.last_id; last++) {
    watch(h, &again, 1, last, NULL);
    drain(&again, 4096);
    parse(&again);
    assert_int_equal(again.events, w.last_id - last);
    assert_int_equal(again.first_id, last == w.last_id ? 0 : last + 1);
    hub_unsubscribe(again.reader);
  }
  /* An id of an earlier run: everything that is kept. One that was never given: what comes from now on, not silence. */
  watch(h, &again, 1, 1, NULL);
  drain(&again, 4096);
  parse(&again);
  assert_int_equal(again.events, 10);
  hub_unsubscribe(again.reader);
  static const uint64_t never[] = {UINT64_MAX, UINT64_MAX - 1, INT64_MAX};
  for (int i = 0; i < 3; i++) {
    watch(h, &again, 1, never[i], NULL);
    publish(h, 1, i);
    drain(&again, 4096);
    parse(&again);
    assert_int_equal(again.events, 1);
    hub_unsubscribe(again.reader);
  }
  hub_unsubscribe(w.reader);
}

/* More than is kept: the newest EVENTS_KEPT, in order, once each; what a slow reader has begun stays whole. */
static void test_overrun(void **state) {
  struct hub *h = *state;
  static struct watcher w, late;
  watch(h, &w, 1, 0, NULL);
  publish(h, 1, 0);
  w.n = hub_read(w.reader, w.text, 5); /* in the middle of the first */
  assert_int_equal(w.n, 5);
  for (int i = 1; i <= 3 * EVENTS_KEPT; i++)
    publish(h, 1, i);
  drain(&w, 100);
  parse(&w);
  assert_int_equal(w.events, EVENTS_KEPT + 1);
  watch(h, &late, 1, w.first_id, NULL);
  drain(&late, 4096);
  parse(&late);
  assert_int_equal(late.events, EVENTS_KEPT);
  assert_int_equal(late.last_id, w.last_id);
  assert_int_equal(late.first_id, w.last_id - EVENTS_KEPT + 1);
  char last[32];
  snprintf(last, sizeof last, "{\"done\":%d}", 3 * EVENTS_KEPT);
  assert_non_null(strstr(late.text, last));
  hub_unsubscribe(w.reader);
  hub_unsubscribe(late.reader);
}

#define READERS 40

static void test_several(void **state) {
  struct hub *h = *state;
  static struct watcher w[READERS];
  for (int i = 0; i < READERS; i++)
    watch(h, &w[i], i % 3, 0, NULL);
  for (int i = 0; i < 9; i++)
    publish(h, i % 3, i);
  for (int i = 0; i < READERS; i += 2) { /* they leave in no order */
    int at = i * 7 % READERS / 2 * 2;
    if (w[at].reader)
      hub_unsubscribe(w[at].reader);
    w[at].reader = NULL;
  }
  publish(h, 0, 100);
  for (int i = 0; i < READERS; i++)
    if (w[i].reader) {
      drain(&w[i], 4096);
      parse(&w[i]);
      assert_int_equal(w[i].events, i % 3 ? 3 : 4);
      assert_int_equal(w[i].woken, w[i].events);
      hub_unsubscribe(w[i].reader);
    }
  assert_false(hub_has_readers(h));
}

static void test_keep_alive(void **state) {
  struct hub *h = *state;
  static struct watcher w;
  watch(h, &w, 1, 0, NULL);
  publish(h, 1, 1);
  w.n = hub_read(w.reader, w.text, 8); /* a comment does not come into the middle of an event */
  hub_keep_alive(h);
  assert_int_equal(w.woken, 2);
  drain(&w, 4096);
  hub_keep_alive(h);
  hub_keep_alive(h);
  drain(&w, 4096);
  parse(&w);
  assert_int_equal(w.events, 1);
  assert_int_equal(w.comments, 1);
  hub_unsubscribe(w.reader);
}

static void test_rest(void **state) {
  struct hub *h = *state;
  static struct watcher w;
  /* Kept while the study is active, though nobody reads; forgotten once it is at rest. */
  publish(h, 1, 1);
  watch(h, &w, 1, 1, NULL);
  drain(&w, 4096);
  parse(&w);
  assert_int_equal(w.events, 1);
  hub_unsubscribe(w.reader);
  hub_rest(h, 1);
  hub_rest(h, 1);
  hub_rest(h, 99);
  watch(h, &w, 1, 1, NULL);
  drain(&w, 4096);
  assert_int_equal(w.n, 0);
  hub_rest(h, 1); /* at rest with a reader: forgotten when he leaves */
  publish(h, 1, 2);
  drain(&w, 4096);
  parse(&w);
  assert_int_equal(w.events, 1);
  hub_unsubscribe(w.reader);
  hub_publish(h, 1, "progress", NULL); /* no memory for the data: nothing happens */
  /* What a text may not hold does not break the stream. */
  watch(h, &w, 5, 0, NULL);
  hub_publish(h, 5, "failure", json_pack("{s:s}", "detail", "a\nb\n\nevent: x"));
  drain(&w, 4096);
  parse(&w);
  assert_int_equal(w.events, 1);
  assert_null(strstr(w.text, "\nevent: x"));
  hub_unsubscribe(w.reader);
}

/* Who is not to see what is acquired gets neither curves nor pictures, now or with an id of before. */
static void test_masked(void **state) {
  struct hub *h = *state;
  static struct watcher w, masked;
  static const char *const names[] = {"preview", "contacts", "picture", "progress"};
  uint64_t last = 0;
  watch(h, &w, 1, 0, NULL);
  for (int turn = 0; turn < 2; turn++) {
    memset(&masked, 0, sizeof masked);
    assert_int_equal(hub_subscribe(h, 1, last, false, NULL, wake, &masked, &masked.reader), 0);
    for (size_t i = 0; turn == 0 && i < sizeof names / sizeof *names; i++)
      hub_publish(h, 1, names[i], json_pack("{s:i}", "n", (int)i));
    drain(&masked, 7);
    parse(&masked);
    assert_int_equal(masked.events, 2);
    assert_non_null(strstr(masked.text, "event: contacts\n"));
    assert_non_null(strstr(masked.text, "event: progress\n"));
    hub_unsubscribe(masked.reader);
    last = 1; /* of an earlier run: all that is kept */
  }
  drain(&w, 4096);
  parse(&w);
  assert_int_equal(w.events, 4);
  hub_unsubscribe(w.reader);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(live), TEST(slow), TEST(resume), TEST(overrun), TEST(several), TEST(keep_alive), TEST(rest), TEST(masked),
  };
  return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
