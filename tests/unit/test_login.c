/* Browser logins to the microsecond, the lock-out's curve, and what headers a browser or an attacker may send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fail_alloc.h"
#include "hash.h"
#include "login.h"
#include "str.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define S UINT64_C(1000000)
#define START (12345 * S + 678)
#define IDLE_US (15 * 60 * S)
#define LIFE_US (12 * 3600 * S)
#define HOUR_US (3600 * S)

static int set_up(void **state) {
  return login_open(15, 12, (struct login **)state) < 0 ? -1 : 0;
}

static int tear_down(void **state) {
  login_close(*state);
  return 0;
}

static void begin(struct login *l, const char *account, uint64_t now, char ret[static LOGIN_TOKEN]) {
  assert_int_equal(login_begin(l, account, false, now, ret), 0);
  assert_true(hash_is_text(ret));
}

/* Says whose it is, unless it is unknown. */
static enum login_state find(struct login *l, const char *token, uint64_t now, const char *account) {
  struct login_found found = {.account = "untouched"};
  enum login_state s = login_find(l, token, now, &found);
  assert_string_equal(found.account, s == LOGIN_UNKNOWN ? "untouched" : account);
  return s;
}

/* ---- logins ------------------------------------------------------------------------------------------------------ */

static void test_begin_and_end(void **state) {
  struct login *l = *state;
  char anne[LOGIN_TOKEN], bob[LOGIN_TOKEN], again[LOGIN_TOKEN], name[PERSON_NAME_MAX + 1];
  struct login_found found;
  begin(l, "anne", START, anne);
  begin(l, "bob", START, bob);
  begin(l, "anne", START, again);
  assert_string_not_equal(anne, bob);
  assert_string_not_equal(anne, again);
  assert_int_equal(find(l, anne, START, "anne"), LOGIN_OK);
  assert_int_equal(find(l, bob, START, "bob"), LOGIN_OK);
  assert_int_equal(find(l, again, START, "anne"), LOGIN_OK);
  login_end(l, anne);
  for (int i = 0; i < 2; i++) { /* it cannot be replayed */
    assert_int_equal(find(l, anne, START, "anne"), LOGIN_UNKNOWN);
    assert_int_equal(login_unlock(l, anne, START, name), -ENOENT);
    assert_int_equal(login_changed(l, anne, START, name), -ENOENT);
    login_end(l, anne);
  }
  assert_int_equal(find(l, again, START, "anne"), LOGIN_OK);
  assert_int_equal(find(l, bob, START, "bob"), LOGIN_OK);
  /* As long a name as there is. */
  memset(name, 'x', sizeof name);
  name[PERSON_NAME_MAX] = 0;
  str_copy(again, sizeof again, "untouched");
  assert_int_equal(login_begin(l, name, false, START, again), -EINVAL);
  assert_int_equal(login_begin(l, "", false, START, again), -EINVAL);
  assert_string_equal(again, "untouched");
  name[PERSON_NAME_MAX - 1] = 0;
  begin(l, name, START, again);
  assert_int_equal(login_find(l, again, START, &found), LOGIN_OK);
  assert_string_equal(found.account, name);
}

/* A token that we never gave is nobody's, whoever brings it, and stays so. */
static void test_fixation(void **state) {
  struct login *l = *state;
  char given[LOGIN_TOKEN], forged[80], next[LOGIN_TOKEN], sum[LOGIN_TOKEN];
  uint8_t raw[HASH_BYTES];
  static const char *const never[] = {
      "",
      "0",
      "0000000000000000000000000000000000000000000000000000000000000000",
      "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "not a token, but as long as one is, which is to say sixty-four..",
  };
  for (unsigned round = 0; round < 2; round++) { /* when it is empty, and when somebody is there */
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
      assert_int_equal(find(l, never[i], START, ""), LOGIN_UNKNOWN);
      assert_int_equal(login_unlock(l, never[i], START, next), -ENOENT);
      assert_int_equal(login_changed(l, never[i], START, next), -ENOENT);
      login_end(l, never[i]);
      assert_int_equal(find(l, never[i], START, ""), LOGIN_UNKNOWN);
    }
    begin(l, "anne", START, given);
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
      assert_string_not_equal(given, never[i]);
  }
  /* Near ones. */
  for (size_t i = 0; i < LOGIN_TOKEN - 1; i++) {
    str_copy(forged, sizeof forged, given);
    forged[i] = forged[i] == '0' ? '1' : '0';
    assert_int_equal(find(l, forged, START, ""), LOGIN_UNKNOWN);
    str_copy(forged, sizeof forged, given);
    forged[i] = (char)toupper(forged[i]);
    assert_int_equal(find(l, forged, START, "anne"), strcmp(forged, given) ? LOGIN_UNKNOWN : LOGIN_OK);
    forged[i] = 0;
    assert_int_equal(find(l, forged, START, ""), LOGIN_UNKNOWN);
  }
  snprintf(forged, sizeof forged, "%s0", given);
  assert_int_equal(find(l, forged, START, ""), LOGIN_UNKNOWN);
  snprintf(forged, sizeof forged, " %s", given);
  assert_int_equal(find(l, forged, START, ""), LOGIN_UNKNOWN);
  /* What is kept of it opens nothing. */
  assert_true(str_unhex(given, raw, sizeof raw));
  hash_sha256_text(raw, sizeof raw, sum);
  assert_int_equal(find(l, sum, START, ""), LOGIN_UNKNOWN);
  hash_sha256_text(given, LOGIN_TOKEN - 1, sum);
  assert_int_equal(find(l, sum, START, ""), LOGIN_UNKNOWN);
  assert_int_equal(find(l, given, START, "anne"), LOGIN_OK);
}

static void test_idle(void **state) {
  struct login *l = *state;
  char old[LOGIN_TOKEN], token[LOGIN_TOKEN];
  uint64_t now = START;
  begin(l, "anne", now, old);
  for (int i = 0; i < 4; i++) /* each use begins it anew */
    assert_int_equal(find(l, old, now += IDLE_US, "anne"), LOGIN_OK);
  assert_int_equal(find(l, old, now + IDLE_US + 1, "anne"), LOGIN_LOCKED);
  assert_int_equal(find(l, old, now + IDLE_US + 1, "anne"), LOGIN_LOCKED); /* to ask is no use */
  assert_int_equal(find(l, old, now + 2 * IDLE_US, "anne"), LOGIN_LOCKED);
  now += 2 * IDLE_US;
  assert_int_equal(login_unlock(l, old, now, token), 0);
  assert_string_not_equal(old, token);
  assert_int_equal(find(l, old, now, "anne"), LOGIN_UNKNOWN); /* who kept the old one has nothing */
  assert_int_equal(login_unlock(l, old, now, old), -ENOENT);
  assert_int_equal(find(l, token, now, "anne"), LOGIN_OK);
  assert_int_equal(find(l, token, now + IDLE_US, "anne"), LOGIN_OK);
  assert_int_equal(find(l, token, now + 2 * IDLE_US + 1, "anne"), LOGIN_LOCKED);
  login_end(l, token); /* a locked one can be left */
  assert_int_equal(find(l, token, now + 2 * IDLE_US + 1, "anne"), LOGIN_UNKNOWN);
}

static void test_absolute_life(void **state) {
  struct login *l = *state;
  char used[LOGIN_TOKEN], idle[LOGIN_TOKEN], late[LOGIN_TOKEN], next[LOGIN_TOKEN];
  begin(l, "anne", START, used);
  begin(l, "anne", START, idle);
  begin(l, "anne", START + 1, late);
  for (uint64_t now = START; now < START + LIFE_US; now += IDLE_US)
    assert_int_equal(find(l, used, now, "anne"), LOGIN_OK);
  assert_int_equal(login_unlock(l, used, START + LIFE_US - 2, next), 0); /* makes it no longer */
  assert_int_equal(find(l, next, START + LIFE_US - 1, "anne"), LOGIN_OK);
  assert_int_equal(find(l, idle, START + LIFE_US - 1, "anne"), LOGIN_LOCKED);
  assert_int_equal(find(l, next, START + LIFE_US, "anne"), LOGIN_UNKNOWN);
  assert_int_equal(login_unlock(l, idle, START + LIFE_US, idle), -ENOENT);
  assert_int_equal(find(l, late, START + LIFE_US, "anne"), LOGIN_LOCKED);
  assert_int_equal(find(l, late, START + LIFE_US + 1, "anne"), LOGIN_UNKNOWN);
  assert_int_equal(find(l, late, START, "anne"), LOGIN_UNKNOWN); /* for good */
}

/* Whoever only looks does not use it. */
static void test_look(void **state) {
  struct login *l = *state;
  char token[LOGIN_TOKEN], next[LOGIN_TOKEN];
  struct login_found found = {0};
  assert_int_equal(login_begin(l, "anne", true, START, token), 0);
  for (uint64_t at = 0; at <= IDLE_US; at += IDLE_US / 10) {
    assert_int_equal(login_look(l, token, START + at, &found), LOGIN_OK);
    assert_string_equal(found.account, "anne");
    assert_true(found.must_change);
  }
  assert_int_equal(login_look(l, token, START + IDLE_US + 1, &found), LOGIN_LOCKED);
  assert_int_equal(find(l, token, START + IDLE_US + 1, "anne"), LOGIN_LOCKED);
  assert_int_equal(login_unlock(l, token, START + IDLE_US + 1, next), 0);
  assert_int_equal(login_look(l, token, START + IDLE_US + 1, &found), LOGIN_UNKNOWN);
  assert_int_equal(login_look(l, next, START + LIFE_US - 1, &found), LOGIN_LOCKED);
  assert_int_equal(login_look(l, next, START + LIFE_US, &found), LOGIN_UNKNOWN);
  assert_int_equal(login_look(l, "nothing", START, &found), LOGIN_UNKNOWN);
}

static void test_must_change(void **state) {
  struct login *l = *state;
  char token[LOGIN_TOKEN], elsewhere[LOGIN_TOKEN], bob[LOGIN_TOKEN], next[LOGIN_TOKEN];
  struct login_found found;
  assert_int_equal(login_begin(l, "anne", true, START, token), 0);
  begin(l, "anne", START, elsewhere);
  assert_int_equal(login_begin(l, "bob", true, START, bob), 0);
  assert_int_equal(login_find(l, token, START + IDLE_US + 1, &found), LOGIN_LOCKED);
  assert_true(found.must_change);
  assert_int_equal(login_unlock(l, token, START + IDLE_US + 1, next), 0); /* no way around it */
  assert_int_equal(login_find(l, next, START + IDLE_US + 1, &found), LOGIN_OK);
  assert_true(found.must_change);
  assert_int_equal(login_changed(l, next, START + IDLE_US + 1, token), 0);
  assert_string_not_equal(next, token);
  assert_int_equal(find(l, next, START + IDLE_US + 1, "anne"), LOGIN_UNKNOWN);
  assert_int_equal(find(l, elsewhere, START + IDLE_US + 1, "anne"), LOGIN_UNKNOWN);
  assert_int_equal(login_find(l, token, START + IDLE_US + 1, &found), LOGIN_OK);
  assert_string_equal(found.account, "anne");
  assert_false(found.must_change);
  assert_int_equal(login_find(l, bob, START, &found), LOGIN_OK);
  assert_true(found.must_change);
  assert_int_equal(find(l, token, START + LIFE_US, "anne"), LOGIN_UNKNOWN); /* nor does it live longer */
}

static void test_end_account(void **state) {
  struct login *l = *state;
  static const char *const others[] = {"ann", "annee", "Anne", "bob"};
  char anne[3][LOGIN_TOKEN], other[4][LOGIN_TOKEN];
  for (size_t i = 0; i < 4; i++) {
    begin(l, others[i], START, other[i]);
    begin(l, "anne", START, anne[i % 3]);
  }
  login_end_account(l, "nobody");
  assert_int_equal(find(l, anne[1], START, "anne"), LOGIN_OK);
  login_end_account(l, "anne");
  for (size_t i = 0; i < 3; i++)
    assert_int_equal(find(l, anne[i], START, "anne"), LOGIN_UNKNOWN);
  for (size_t i = 0; i < 4; i++)
    assert_int_equal(find(l, other[i], START, others[i]), LOGIN_OK);
}

static void test_full(void **state) {
  struct login *l = *state;
  static char token[LOGIN_MAX][LOGIN_TOKEN];
  char more[LOGIN_TOKEN], last[LOGIN_TOKEN];
  for (unsigned i = 0; i < LOGIN_MAX; i++)
    begin(l, "anne", START + i, token[i]);
  for (unsigned i = 0; i < LOGIN_MAX; i++)
    if (i != 77)
      assert_int_equal(find(l, token[i], START + 1000 - i, "anne"),
                       LOGIN_OK); /* the last begun is idle longest but one */
  begin(l, "bob", START + 1000, more);
  assert_int_equal(find(l, token[77], START + 1000, "anne"), LOGIN_UNKNOWN);
  for (unsigned i = 0; i < LOGIN_MAX; i++)
    if (i != 77 && i != LOGIN_MAX - 1)
      assert_int_equal(find(l, token[i], START + 1001, "anne"), LOGIN_OK);
  begin(l, "bob", START + 1002, last);
  assert_int_equal(find(l, token[LOGIN_MAX - 1], START + 1002, "anne"), LOGIN_UNKNOWN);
  assert_int_equal(find(l, more, START + 1002, "bob"), LOGIN_OK);
  /* One that has been left, or is over, goes before all of them. */
  login_end(l, token[5]);
  begin(l, "carl", START + LIFE_US + 6, token[5]);
  begin(l, "carl", START + LIFE_US + 6, token[3]);
  assert_int_equal(find(l, token[7], START + LIFE_US + 6, "anne"), LOGIN_LOCKED);
  assert_int_equal(find(l, token[5], START + LIFE_US + 6, "carl"), LOGIN_OK);
  assert_int_equal(find(l, token[3], START + LIFE_US + 6, "carl"), LOGIN_OK);
}

static void test_no_memory(void **state) {
  (void)state;
  struct login *l = NULL;
  if (!fail_alloc_works())
    skip();
  fail_alloc_set(1, true);
  int r = login_open(15, 12, &l);
  fail_alloc_set(0, false);
  assert_int_equal(r, -ENOMEM);
  assert_null(l);
}

/* ---- the lock-out ------------------------------------------------------------------------------------------------ */

/* One try that fails at once. */
static void fail_at(struct login *l, const char *name, uint64_t now) {
  assert_int_equal(login_may_try(l, name, now), 0);
  login_failed(l, name, now);
}

static const uint32_t curve[] = {0, 0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900};

static void test_curve(void **state) {
  struct login *l = *state;
  uint64_t now = START;
  for (size_t i = 0; i < sizeof curve / sizeof *curve; i++) {
    fail_at(l, "anne", now);
    if (!curve[i])
      continue;
    for (int k = 0; k < 100; k++) /* to ask makes it no longer */
      assert_int_equal(login_may_try(l, "anne", now), curve[i]);
    assert_int_equal(login_may_try(l, "anne", now + 1), curve[i]); /* rounded up: never too early */
    assert_int_equal(login_may_try(l, "anne", now + S - 1), curve[i]);
    assert_int_equal(login_may_try(l, "anne", now + S), curve[i] - 1);
    now += curve[i] * S;
    assert_int_equal(login_may_try(l, "anne", now - 1), 1);
  }
  assert_int_equal(login_may_try(l, "bob", now), 0); /* somebody else's */
}

/* From the failure on, not from the beginning of the try. */
static void test_slow_failure(void **state) {
  struct login *l = *state;
  for (int i = 0; i < 4; i++)
    fail_at(l, "anne", START);
  assert_int_equal(login_may_try(l, "anne", START), 0);
  login_failed(l, "anne", START + 10 * S);
  assert_int_equal(login_may_try(l, "anne", START + 10 * S), 2);
  assert_int_equal(login_may_try(l, "anne", START + 12 * S), 0);
}

static void test_success_forgets(void **state) {
  struct login *l = *state;
  for (size_t i = 0; i < 8; i++)
    fail_at(l, "anne", START + i * 100 * S);
  uint64_t now = START + 800 * S;
  assert_int_equal(login_may_try(l, "anne", now), 0);
  login_succeeded(l, "anne", now);
  for (int i = 0; i < 5; i++)
    fail_at(l, "anne", now);
  assert_int_equal(login_may_try(l, "anne", now), 2); /* the whole curve again, and no more */
}

static void test_quiet_hour(void **state) {
  struct login *l = *state;
  for (size_t i = 0; i < 5; i++) {
    fail_at(l, "anne", START);
    fail_at(l, "bob", START);
  }
  fail_at(l, "anne", START + HOUR_US - 1);
  assert_int_equal(login_may_try(l, "anne", START + HOUR_US - 1), 4); /* the sixth */
  for (size_t i = 0; i < 4; i++)
    fail_at(l, "bob", START + HOUR_US); /* the first to the fourth */
  assert_int_equal(login_may_try(l, "bob", START + HOUR_US), 0);
}

static void test_parallel(void **state) {
  struct login *l = *state;
  for (int i = 0; i < 5; i++)
    assert_int_equal(login_may_try(l, "anne", START), 0);
  for (int i = 0; i < 1000; i++)
    assert_int_equal(login_may_try(l, "anne", START), 2);
  /* None of them is known yet: they count all the same. */
  uint64_t now = START;
  for (size_t i = 4; i < sizeof curve / sizeof *curve; i++) {
    assert_int_equal(login_may_try(l, "anne", now), curve[i]);
    now += curve[i] * S;
    assert_int_equal(login_may_try(l, "anne", now), 0);
  }
  /* As failures they count once, not twice. */
  for (int i = 0; i < 5; i++)
    assert_int_equal(login_may_try(l, "bob", START), 0);
  for (int i = 0; i < 5; i++)
    login_failed(l, "bob", START);
  assert_int_equal(login_may_try(l, "bob", START), 2);
  /* One success among many guesses: the guesses stay what they are. */
  for (int i = 0; i < 5; i++)
    assert_int_equal(login_may_try(l, "carl", START), 0);
  login_succeeded(l, "carl", START);
  assert_int_equal(login_may_try(l, "carl", START), 0);
  assert_int_equal(login_may_try(l, "carl", START), 2);
  for (int i = 0; i < 5; i++)
    login_failed(l, "carl", START);
  assert_int_equal(login_may_try(l, "carl", START), 2);
}

static void test_untried(void **state) {
  struct login *l = *state;
  for (int i = 0; i < 100; i++) {
    assert_int_equal(login_may_try(l, "anne", START), 0);
    login_untried(l, "anne", START);
  }
  for (int i = 0; i < 6; i++)
    fail_at(l, "anne", i < 5 ? START : START + 2 * S);
  assert_int_equal(login_may_try(l, "anne", START + 6 * S), 0);
  login_untried(l, "anne", START + 6 * S);
  assert_int_equal(login_may_try(l, "anne", START + 6 * S), 4); /* forgives nothing, either */
  login_untried(l, "never begun", START);
  for (int i = 0; i < 5; i++)
    fail_at(l, "never begun", START);
  assert_int_equal(login_may_try(l, "never begun", START), 2);
}

/* Whatever the name is, the same is answered to the same tries; and none counts for another. */
static void test_names(void **state) {
  (void)state;
  static char long_name[200000];
  memset(long_name, 'n', sizeof long_name - 1);
  static const char *const names[] = {"anne.martin", "no.such.person", "",          "ANNE.MARTIN",  "anne.martin ",
                                      "anne.marti",  long_name,        "été\n\x01", "' OR 1=1; --", "root"};
  uint32_t expected[40], waits[sizeof names / sizeof *names];
  struct login *each, *all;
  assert_int_equal(login_open(15, 12, &all), 0);
  for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
    assert_int_equal(login_open(15, 12, &each), 0);
    login_begin(each, "anne.martin", false, START, (char[LOGIN_TOKEN]){0});
    for (size_t i = 0; i < 40; i++) {
      uint64_t now = START + i * i * S;
      uint32_t wait = login_may_try(each, names[k], now);
      if (!wait)
        login_failed(each, names[k], now);
      expected[i] = k ? expected[i] : wait;
      assert_int_equal(wait, expected[i]);
    }
    login_close(each);
  }
  for (size_t i = 0; i < 40; i++)
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
      waits[k] = login_may_try(all, names[k], START + i * i * S);
      if (!waits[k])
        login_failed(all, names[k], START + i * i * S);
      assert_int_equal(waits[k], expected[i]);
    }
  login_close(all);
}

static const char *name_of(unsigned i) {
  static char name[16];
  snprintf(name, sizeof name, "name-%u", i);
  return name;
}

static void test_names_full(void **state) {
  struct login *l = *state;
  uint64_t now = START;
  for (int i = 0; i < 10; i++)
    fail_at(l, "attacked", now += 100 * S);
  for (unsigned i = 1; i < LOGIN_NAMES_MAX; i++)
    fail_at(l, name_of(i), now);
  assert_int_equal(login_may_try(l, "attacked", now), 64); /* not forgotten */
  for (unsigned i = 1; i < LOGIN_NAMES_MAX; i++)
    fail_at(l, name_of(i), now); /* nor delayed by the others */
  /* The others, whoever they are, have one try in 2 s, and it does not matter what became of it. */
  assert_int_equal(login_may_try(l, "other 1", now), 0);
  assert_int_equal(login_may_try(l, "other 1", now), 2);
  assert_int_equal(login_may_try(l, "other 2", now + 1), 2);
  login_failed(l, "other 1", now + S);
  assert_int_equal(login_may_try(l, "other 2", now + S), 1);
  assert_int_equal(login_may_try(l, "other 2", now + 2 * S - 1), 1);
  assert_int_equal(login_may_try(l, "other 2", now + 2 * S), 0);
  login_succeeded(l, "other 2", now + 2 * S);
  assert_int_equal(login_may_try(l, "other 3", now + 2 * S), 2);
  assert_int_equal(login_may_try(l, "other 3", now + 4 * S), 0);
  login_untried(l, "other 3", now + 4 * S);
  assert_int_equal(login_may_try(l, "other 4", now + 4 * S), 2);
  assert_int_equal(login_may_try(l, "attacked", now + 4 * S), 60);
  /* A name that succeeds leaves its place. */
  assert_int_equal(login_may_try(l, name_of(9), now + 4 * S), 0);
  login_succeeded(l, name_of(9), now + 4 * S);
  for (int i = 0; i < 5; i++)
    fail_at(l, "other 4", now + 4 * S);
  assert_int_equal(login_may_try(l, "other 4", now + 4 * S), 2);
  assert_int_equal(login_may_try(l, "other 5", now + 5 * S), 1); /* of the others' */
  /* An hour later there is place for all. */
  for (unsigned i = 1; i < LOGIN_NAMES_MAX; i++)
    for (int k = 0; k < 2; k++)
      fail_at(l, name_of(i + 5000), now + 2 * HOUR_US);
}

/* ---- headers ----------------------------------------------------------------------------------------------------- */

#define T "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define U "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

static void test_cookie_read(void **state) {
  (void)state;
  static const struct {
    const char *header;
    int err;
  } known[] = {
      {"asaleed=" T, 0},
      {"asaleed=" T ";", 0},
      {"  asaleed=" T "  ", 0},
      {"a=b; asaleed=" T, 0},
      {"asaleed=" T "; a=b", 0},
      {"a=b;asaleed=" T ";c=d", 0},
      {"a=b;\tasaleed=" T "\t;c=d", 0},
      {"a; =b; ;; =; asaleed=" T, 0},
      {"asaleed2=" U "; asaleed=" T, 0},
      {"xasaleed=" U "; asaleed=" T, 0},
      {"ASALEED=" U "; asaleed=" T, 0},
      {"a=asaleed=" U "; asaleed=" T, 0},
      {"a=\"x; asaleed=" T "; y\"", 0}, /* RFC 6265 knows no quotes around a semicolon */
      {NULL, -ENOENT},
      {"", -ENOENT},
      {";", -ENOENT},
      {" ; ;", -ENOENT},
      {"=", -ENOENT},
      {"a=b", -ENOENT},
      {T, -ENOENT},
      {"=" T, -ENOENT},
      {"asalee=" T, -ENOENT},
      {"asaleed2=" T, -ENOENT},
      {"Asaleed=" T, -ENOENT},
      {"$asaleed=" T, -ENOENT},
      {"__Host-asaleed=" T, -ENOENT},
      {"a=asaleed=" T, -ENOENT},
      {"a=b asaleed=" T, -ENOENT},
      {"a=b, asaleed=" T, -ENOENT},
      {"\"asaleed\"=" T, -ENOENT},
      {"asaleed\x01=" T, -ENOENT},
      {"asaleed", -EINVAL},
      {"asaleed;", -EINVAL},
      {"asaleed ", -EINVAL},
      {"asaleed=", -EINVAL},
      {"asaleed==" T, -EINVAL},
      {"asaleed =" T, -EINVAL},
      {"asaleed= " T, -EINVAL},
      {"asaleed\t=" T, -EINVAL},
      {"asaleed=\"" T "\"", -EINVAL},
      {"asaleed=" T "0", -EINVAL},
      {"asaleed=0" T, -EINVAL},
      {"asaleed=" T T, -EINVAL},
      {"asaleed=" T " x", -EINVAL},
      {"asaleed=" T "," T, -EINVAL},
      {"asaleed=" T ", asaleed=" T, -EINVAL},
      {"asaleed=" T "\n", -EINVAL},
      {"asaleed=" T "\r\nX: y", -EINVAL},
      {"asaleed=0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef", -EINVAL},
      {"asaleed=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde", -EINVAL},
      {"asaleed=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdeg", -EINVAL},
      {"asaleed=%301234567890abcdef0123456789abcdef0123456789abcdef0123456789ab", -EINVAL},
      {"asaleed=../../../../../../../../../../../../../../../../../../etc/passwd", -EINVAL},
      {"asaleed=" T "; asaleed=" T, -EINVAL},
      {"asaleed=" T "; asaleed=" U, -EINVAL},
      {"asaleed=" T "; a=b; asaleed=", -EINVAL},
      {"asaleed=" T "; asaleed", -EINVAL},
      {"asaleed=; asaleed=" T, -EINVAL},
      {"asaleed =x; asaleed=" T, -EINVAL},
      {"asaleed=" T "; asaleed =" U, -EINVAL},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    char token[LOGIN_TOKEN] = "untouched";
    int r = login_cookie_read(known[i].header, token);
    if (r != known[i].err || strcmp(token, r < 0 ? "untouched" : T))
      fail_msg("%s: %d", known[i].header, r);
  }
  /* A long one of others'. */
  static char header[200000];
  memset(header, ';', sizeof header - 1);
  memcpy(header + sizeof header - 1 - strlen("asaleed=" T), "asaleed=" T, strlen("asaleed=" T));
  char token[LOGIN_TOKEN];
  assert_int_equal(login_cookie_read(header, token), 0);
  assert_string_equal(token, T);
  print_message("# %zu Cookie headers\n", sizeof known / sizeof *known);
}

static void test_cookie_write(void **state) {
  (void)state;
  static const struct {
    const char *token;
    bool secure;
    const char *cookie;
  } known[] = {
      {T, false, "asaleed=" T "; Path=/; HttpOnly; SameSite=Strict"},
      {T, true, "asaleed=" T "; Path=/; HttpOnly; SameSite=Strict; Secure"},
      {NULL, false, "asaleed=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"},
      {NULL, true, "asaleed=; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0"},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    _buf_cleanup_ struct buf b = BUF_INIT(1024);
    assert_int_equal(login_cookie_write(&b, known[i].token, known[i].secure), 0);
    assert_string_equal(buf_cstr(&b), known[i].cookie);
  }
  _buf_cleanup_ struct buf small = BUF_INIT(64);
  assert_int_equal(login_cookie_write(&small, T, true), -EFBIG);
}

static void test_origin(void **state) {
  (void)state;
  static const struct {
    const char *origin, *site, *host;
    bool ok;
  } known[] = {
      {"http://localhost:8430", NULL, "localhost:8430", true},
      {"https://asaleed.cabinet.fr", NULL, "asaleed.cabinet.fr", true},
      {"https://asaleed.cabinet.fr", NULL, "Asaleed.Cabinet.FR", true},
      {"http://[::1]:8430", NULL, "[::1]:8430", true},
      {NULL, "same-origin", "localhost:8430", true},
      {"http://localhost:8430", "same-origin", "localhost:8430", true},
      {NULL, NULL, "localhost:8430", false},
      {NULL, "same-site", "localhost:8430", false},
      {NULL, "cross-site", "localhost:8430", false},
      {NULL, "none", "localhost:8430", false},
      {NULL, "", "localhost:8430", false},
      {NULL, "Same-Origin", "localhost:8430", false},
      {NULL, "same-origin ", "localhost:8430", false},
      {NULL, "same-origin, cross-site", "localhost:8430", false},
      {"http://localhost:8430", "cross-site", "localhost:8430", false},
      {"http://localhost:8430", "none", "localhost:8430", false},
      {"http://evil.example", "same-origin", "localhost:8430", false},
      {"http://evil.example", NULL, "localhost:8430", false},
      {"null", NULL, "localhost:8430", false},
      {"null", "same-origin", "localhost:8430", false},
      {"", NULL, "localhost:8430", false},
      {"", "same-origin", "localhost:8430", false},
      {"http://", NULL, "", false},
      {"http://", NULL, "localhost:8430", false},
      {"localhost:8430", NULL, "localhost:8430", false},
      {"//localhost:8430", NULL, "localhost:8430", false},
      {"ftp://localhost:8430", NULL, "localhost:8430", false},
      {"HTTP://localhost:8430", NULL, "localhost:8430", false},
      {"http://localhost", NULL, "localhost:8430", false},
      {"http://localhost:8430", NULL, "localhost", false},
      {"http://localhost:843", NULL, "localhost:8430", false},
      {"http://localhost:84301", NULL, "localhost:8430", false},
      {"http://localhost:8430/", NULL, "localhost:8430", false},
      {"http://localhost:8430.evil.example", NULL, "localhost:8430", false},
      {"http://localhost:8430@evil.example", NULL, "localhost:8430", false},
      {"http://evil.localhost:8430", NULL, "localhost:8430", false},
      {"http://localhost:8430 http://evil.example", NULL, "localhost:8430", false},
      {"http://127.0.0.1:8430", NULL, "localhost:8430", false},
      {"http://localhost:8430", NULL, NULL, false},
      {NULL, "same-origin", NULL, false},
      {NULL, "same-origin", "", false},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (login_origin_ok(known[i].origin, known[i].site, known[i].host) != known[i].ok)
      fail_msg("Origin: %s, Sec-Fetch-Site: %s, Host: %s", known[i].origin, known[i].site, known[i].host);
}

static void test_loopback(void **state) {
  (void)state;
  static const struct {
    const char *host;
    bool is;
  } known[] = {
      {"localhost", true},
      {"localhost:8430", true},
      {"LocalHost:1", true},
      {"127.0.0.1", true},
      {"127.0.0.1:8430", true},
      {"127.0.0.1:65535", true},
      {"127.255.255.254:80", true},
      {"[::1]", true},
      {"[::1]:8430", true},
      {NULL, false},
      {"", false},
      {":", false},
      {":80", false},
      {"localhost:", false},
      {"localhost:0", false},
      {"localhost:65536", false},
      {"localhost:80:80", false},
      {"localhost:8x", false},
      {"localhost:-1", false},
      {"localhost ", false},
      {" localhost", false},
      {"localhost.", false},
      {"localhost.evil.example", false},
      {"evil.localhost", false},
      {"localhost@evil.example", false},
      {"localhost/", false},
      {"127.0.0.1.evil.example", false},
      {"127.0.0.1@evil.example:80", false},
      {"127.1", false},
      {"127", false},
      {"127.0.0.256", false},
      {"127.0.0.01", false},
      {"0177.0.0.1", false},
      {"2130706433", false},
      {"0x7f.0.0.1", false},
      {"126.255.255.255", false},
      {"128.0.0.1", false},
      {"0.0.0.0", false},
      {"192.168.127.1:8430", false},
      {"::1", false},
      {"::1:80", false},
      {"[::1", false},
      {"[::1]x", false},
      {"[::1]80", false},
      {"[::1]:", false},
      {"[::2]", false},
      {"[::]", false},
      {"[]", false},
      {"[", false},
      {"]", false},
      {"[::ffff:127.0.0.1]", false},
      {"[localhost]", false},
      {"[127.0.0.1]", false},
      {"localhostlocalhostlocalhostlocalhostlocalhostlocalhostlocalhostlocalhost", false},
      {"asaleed.cabinet.fr:443", false},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (login_host_is_loopback(known[i].host) != known[i].is || login_host_is_ours(known[i].host, "") != known[i].is)
      fail_msg("%s", known[i].host);
}

static void test_host(void **state) {
  (void)state;
  static const char names[] = " asaleed.cabinet.fr  Poste-1 10.0.0.1 ";
  static const char *const ours[] = {"asaleed.cabinet.fr",
                                     "asaleed.cabinet.fr:443",
                                     "ASALEED.Cabinet.FR:8430",
                                     "poste-1",
                                     "10.0.0.1:1",
                                     "localhost:8430",
                                     "[::1]"};
  static const char *const others[] = {"",
                                       ":443",
                                       " ",
                                       "evil.example",
                                       "cabinet.fr",
                                       "asaleed.cabinet",
                                       "asaleed.cabinet.fr.",
                                       "asaleed.cabinet.fr.evil.example",
                                       "xasaleed.cabinet.fr",
                                       "asaleed.cabinet.fr:x",
                                       "asaleed.cabinet.fr:0",
                                       "asaleed.cabinet.fr:443:443",
                                       "asaleed.cabinet.fr@evil.example",
                                       "asaleed.cabinet.fr  Poste-1",
                                       " poste-1",
                                       "poste-1 ",
                                       "10.0.0.2",
                                       "[asaleed.cabinet.fr]"};
  char longest[600];
  for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
    if (!login_host_is_ours(ours[i], names))
      fail_msg("%s", ours[i]);
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (login_host_is_ours(others[i], names))
      fail_msg("%s", others[i]);
  assert_false(login_host_is_ours(NULL, names));
  memset(longest, 'a', sizeof longest);
  for (size_t n = 1; n < sizeof longest; n++) {
    longest[n] = 0;
    assert_int_equal(login_host_is_ours(longest, longest), n < 256);
    longest[n] = 'a';
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_begin_and_end, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_fixation, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_idle, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_absolute_life, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_look, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_must_change, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_end_account, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
      cmocka_unit_test(test_no_memory),
      cmocka_unit_test_setup_teardown(test_curve, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_slow_failure, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_success_forgets, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_quiet_hour, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_parallel, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_untried, set_up, tear_down),
      cmocka_unit_test(test_names),
      cmocka_unit_test_setup_teardown(test_names_full, set_up, tear_down),
      cmocka_unit_test(test_cookie_read),
      cmocka_unit_test(test_cookie_write),
      cmocka_unit_test(test_origin),
      cmocka_unit_test(test_loopback),
      cmocka_unit_test(test_host),
  };
  if (hash_open() < 0)
    return 1;
  return cmocka_run_group_tests_name("login", tests, NULL, NULL);
}
