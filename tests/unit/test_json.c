#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"
#include "json.h"
#include "str.h"
#include <cmocka.h>
#include <errno.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

/* Reads from a block that ends where the text ends; NULL when refused, then for a reason and with *ret alone. */
static json_t *read_text(const char *text, size_t n) {
  static json_t untouched;
  json_t *j = &untouched;
  char reason[256] = "", *exact = malloc(n + !n);
  assert_non_null(exact);
  memcpy(exact, text, n);
  int r = json_read(exact, n, &j, reason);
  free(exact);
  assert_true(strnlen(reason, sizeof reason) < sizeof reason);
  if (r == 0) {
    assert_ptr_not_equal(j, &untouched);
    return j;
  }
  assert_int_equal(r, -EPROTO);
  assert_ptr_equal(j, &untouched);
  assert_true(*reason);
  return NULL;
}

static void becomes(const char *text, const char *canonical) {
  _json_cleanup_ json_t *j = read_text(text, strlen(text));
  if (!j)
    fail_msg("%s is refused", text);
  size_t n = 77;
  char *got = json_canonical(j, &n);
  assert_non_null(got);
  assert_string_equal(got, canonical);
  assert_int_equal(n, strlen(canonical));
  _json_cleanup_ json_t *again = read_text(got, n);
  assert_true(json_equal(j, again));
  free(got);
}

static void refused_bytes(const char *text, size_t n) {
  _json_cleanup_ json_t *j = read_text(text, n);
  if (j)
    fail_msg("%s is accepted", text);
}

static void refused(const char *text) {
  refused_bytes(text, strlen(text));
}

TEST(canonical) {
  becomes("{}", "{}");
  becomes(" { \"b\" : 1 ,\r\n\t\"a\" : [ ] } ", "{\"a\":[],\"b\":1}");
  becomes("{\"b\":{\"d\":1,\"c\":2},\"a\":[3,1,2]}", "{\"a\":[3,1,2],\"b\":{\"c\":2,\"d\":1}}"); /* lists keep order */
  becomes("{\"\\u00e9\":\"\\u00e9\\ud83e\\udec0\"}", "{\"é\":\"é🫀\"}");
  becomes("{\"a\":\"x\\ny\\tz\"}", "{\"a\":\"x\\ny\\tz\"}");
  becomes("{\"a\":\"\\n\\t\"}", "{\"a\":\"\\n\\t\"}");
  becomes("{\"a\":\"\\/\\\"\\\\\"}", "{\"a\":\"/\\\"\\\\\"}");
  becomes("{\"a\":true,\"b\":false,\"c\":null}", "{\"a\":true,\"b\":false,\"c\":null}");
  becomes("{\"a\":-0}", "{\"a\":0}");
  becomes("{\"a\":9223372036854775807,\"b\":-9223372036854775808}",
          "{\"a\":9223372036854775807,\"b\":-9223372036854775808}");
  becomes("{\"\":\"\"}", "{\"\":\"\"}");
  becomes("{\"Z\":1,\"a\":2,\"é\":3,\"A\":4,\"aa\":5}", "{\"A\":4,\"Z\":1,\"a\":2,\"aa\":5,\"é\":3}");
}

/* All orders of five members, one of them an object with its own orders, make one text. */
TEST(stable_under_member_order) {
  static const char *const members[] = {"\"acquired\":{%}", "\"b\":[1,2]", "\"c\":\"t\"", "\"d\":null", "\"e\":-3"};
  static const char *const inner[] = {"\"y\":1,\"x\":2,\"z\":3", "\"z\":3,\"x\":2,\"y\":1", "\"x\":2,\"z\":3,\"y\":1"};
  unsigned made = 0;
  for (unsigned order = 0; order < 5 * 5 * 5 * 5 * 5; order++) {
    unsigned used = 0, at[5], v = order;
    for (unsigned i = 0; i < 5; i++, v /= 5)
      used |= 1u << (at[i] = v % 5);
    if (used != 31)
      continue;
    for (size_t k = 0; k < COUNT(inner); k++) {
      char text[256] = "{";
      for (unsigned i = 0; i < 5; i++) {
        const char *hole = strchr(members[at[i]], '%');
        strcat(text, i ? "," : "");
        strncat(text, members[at[i]], hole ? (size_t)(hole - members[at[i]]) : 100);
        if (hole)
          strcat(strcat(text, inner[k]), hole + 1);
      }
      becomes(strcat(text, "}"),
              "{\"acquired\":{\"x\":2,\"y\":1,\"z\":3},\"b\":[1,2],\"c\":\"t\",\"d\":null,\"e\":-3}");
      made++;
    }
  }
  assert_int_equal(made, 120 * 3);
}

TEST(refusals) {
  static const char *const rows[] = {
      "",
      " ",
      "null",
      "true",
      "1",
      "\"a\"",
      "[]",
      "[{}]",
      "{",
      "}",
      "{}{}",
      "{},",
      "{}x",
      "{} []",
      "{\"a\"}",
      "{\"a\":}",
      "{\"a\":1,}",
      "{,}",
      "{a:1}",
      "{'a':1}",
      "{\"a\":01}",
      "{\"a\":+1}",
      "{\"a\":.5}",
      "{\"a\":0x1}",
      "{\"a\":tru}",
      "{\"a\":True}",
      "{\"a\":[1,]}",
      "{\"a\":[1 2]}",
      "/**/{}",
      "{}//",
      "{\"a\":NaN}",
      "{\"a\":Infinity}",
      "\xef\xbb\xbf{}",
      /* duplicates, however spelt and wherever */
      "{\"a\":1,\"a\":1}",
      "{\"a\":1,\"b\":2,\"a\":3}",
      "{\"a\":1,\"\\u0061\":2}",
      "{\"x\":{\"a\":1,\"a\":2}}",
      "{\"x\":[{\"a\":1,\"a\":2}]}",
      "{\"\":1,\"\":2}",
      /* numbers with a fraction, or too long */
      "{\"a\":1.5}",
      "{\"a\":1.0}",
      "{\"a\":-0.0}",
      "{\"a\":1e2}",
      "{\"a\":1E2}",
      "{\"a\":[[0.1]]}",
      "{\"a\":{\"b\":1e0}}",
      "{\"a\":9223372036854775808}",
      "{\"a\":-9223372036854775809}",
      "{\"a\":1e999}",
      /* controls, raw and escaped, in texts and keys */
      "{\"a\":\"\n\"}",
      "{\"a\":\"\t\"}",
      "{\"a\":\"\x01\"}",
      "{\"a\":\"\x1f\"}",
      "{\"a\":\"\x7f\"}",
      "{\"a\":\"\\u0000\"}",
      "{\"a\":\"\\u0001\"}",
      "{\"a\":\"\\r\"}",
      "{\"a\":\"\\b\"}",
      "{\"a\":\"\\f\"}",
      "{\"a\":\"\\u001b[31m\"}",
      "{\"a\":\"\\u007f\"}",
      "{\"a\":\"\\u0080\"}",
      "{\"a\":\"\\u009f\"}",
      "{\"a\":\"\xc2\x9b\"}",
      "{\"a\":\"ok\\n\\u0001\"}",
      "{\"a\":[\"ok\",{\"b\":\"x\\u0001\"}]}",
      "{\"a\\u0000\":1}",
      "{\"a\\u0001\":1}",
      "{\"\\n\":1}",
      "{\"\\u007f\":1}",
      "{\"\\u0085\":1}",
      "{\"x\":{\"a\\u0001\":1}}",
      "{\"x\":[{\"\\t\":1}]}",
      /* not UTF-8, and halves of surrogate pairs */
      "{\"a\":\"\xff\"}",
      "{\"a\":\"\xc0\x80\"}",
      "{\"a\":\"\xed\xa0\x80\"}",
      "{\"a\":\"\xf4\x90\x80\x80\"}",
      "{\"a\":\"\xe9\"}",
      "{\"a\":\"\xc3\"}",
      "{\"\xff\":1}",
      "{\"a\":\"\\ud800\"}",
      "{\"a\":\"\\udc00\"}",
      "{\"a\":\"\\ud800\\u0041\"}",
      "{\"a\":\"\\ud800x\"}",
      "{\"a\":\"\\u12\"}",
      "{\"a\":\"\\x41\"}",
      "{\"a\":\"\\",
      "{\"a\":\"",
      "{\"a\":\"\\u",
      "{\"",
  };
  for (size_t i = 0; i < COUNT(rows); i++)
    refused(rows[i]);
  refused_bytes("{}\0", 3); /* NUL anywhere */
  refused_bytes("\0{}", 3);
  refused_bytes("{\"a\":\"\0\"}", 9);
  refused_bytes("{\"a\0b\":1}", 9);
  refused_bytes("{\"a\":1\0}", 8);
  char reason[256];
  json_t *j = NULL;
  assert_int_equal(json_read(NULL, 0, &j, reason), -EPROTO);
  assert_null(j);
}

/* `n` objects or arrays within each other, with `leaf` innermost. */
static void deep(unsigned n, bool arrays, const char *leaf, bool want) {
  char text[1024] = "";
  for (unsigned i = 0; i < n; i++)
    strcat(text, arrays && i ? "[" : *leaf || i + 1 < n ? "{\"k\":" : "{");
  if (!arrays && !*leaf && n > 1)
    text[strlen(text)] = 0;
  strcat(text, leaf);
  for (unsigned i = n; i-- > 0;)
    strcat(text, arrays && i ? "]" : "}");
  _json_cleanup_ json_t *j = read_text(text, strlen(text));
  if ((j != NULL) != want)
    fail_msg("%s", text);
  if (j) {
    char *again = json_canonical(j, NULL);
    assert_string_equal(again, text);
    free(again);
  }
}

TEST(depth) {
  for (unsigned n = 1; n <= 20; n++)
    for (int arrays = 0; arrays < 2; arrays++) {
      deep(n, arrays, "1", n <= JSON_DEPTH_MAX);
      deep(n, arrays, "\"[[[[[[[[[[[[[[[[[[[[{{{{{{\\\"[[\\\\\"", n <= JSON_DEPTH_MAX); /* not those in a text */
      deep(n, arrays, "[]", n + 1 <= JSON_DEPTH_MAX);
      deep(n, arrays, "{}", n + 1 <= JSON_DEPTH_MAX);
    }
  _json_cleanup_ json_t *wide = json_object(); /* wide is not deep */
  for (int i = 0; i < 1000; i++) {
    char key[] = {'a', (char)('a' + i / 100), (char)('a' + i / 10 % 10), (char)('a' + i % 10), 0};
    json_object_set_new(wide, key, json_pack("[{}, []]"));
  }
  char *text = json_canonical(wide, NULL);
  _json_cleanup_ json_t *back = read_text(text, strlen(text));
  assert_true(json_equal(wide, back));
  free(text);
  static char flood[1 << 20]; /* the parser must not even start */
  for (size_t i = 0; i < sizeof flood; i++)
    flood[i] = '[';
  refused_bytes(flood, sizeof flood);
  memcpy(flood, "{\"a\":", 5);
  refused_bytes(flood, sizeof flood);
  static const char *const levels[] = {"[", " [ ", "{\"a\":", "[[],", "[\"]]]\",", "[\"\\\"]\",", "{\"]\":[{}],\"a\":"};
  for (size_t i = 0; i < COUNT(levels); i++) { /* noticed before the parser, whatever stands between */
    char reason[256], many[40 * 20] = "{\"k\":";
    json_t *j = NULL;
    for (int k = 0; k < JSON_DEPTH_MAX; k++)
      strcat(many, levels[i]);
    assert_int_equal(json_read(many, strlen(many), &j, reason), -EPROTO);
    assert_string_equal(reason, "deeper than 16 levels");
  }
  _json_cleanup_ json_t *tower = json_object(); /* nor does a value that is too deep have a text */
  for (unsigned n = 1; n <= JSON_DEPTH_MAX + 2; n++) {
    char *t = json_canonical(tower, NULL);
    assert_int_equal(t != NULL, n <= JSON_DEPTH_MAX);
    free(t);
    tower = json_pack("{s:o}", "k", tower);
  }
  _json_cleanup_ json_t *lists = json_array();
  for (unsigned n = 1; n <= JSON_DEPTH_MAX + 4; n++) {
    char *t = json_canonical(lists, NULL);
    assert_int_equal(t != NULL, n <= JSON_DEPTH_MAX);
    free(t);
    lists = json_pack("[o, i]", lists, 1);
  }
}

TEST(canonical_refuses) {
  assert_null(json_canonical(NULL, NULL));
  _json_cleanup_ json_t *real = json_pack("{s:[f]}", "a", 1.0), *nul = json_pack("{s:s#}", "a", "b\0c", (size_t)3),
                        *end = json_pack("{s:s#}", "a", "b\0", (size_t)2), *control = json_pack("{s:s}", "a", "\x01"),
                        *key = json_pack("{s:i}", "\x01", 1);
  assert_true(real && nul && end && control && key);
  assert_null(json_canonical(real, NULL));
  assert_null(json_canonical(nul, NULL));
  assert_null(json_canonical(end, NULL));
  assert_null(json_canonical(control, NULL));
  assert_null(json_canonical(key, NULL));
  _json_cleanup_ json_t *text = json_string("é\n");
  char *alone = json_canonical(text, NULL); /* any value has a text */
  assert_string_equal(alone, "\"é\\n\"");
  free(alone);
}

TEST(clean) {
  for (unsigned c = 0; c < 256; c++) {
    char text[] = {'a', (char)c, 'b'};
    assert_int_equal(json_is_clean(text, 3), c == '\n' || c == '\t' || (c >= 0x20 && c < 0x7f));
    assert_int_equal(json_is_clean(text + 1, 1), c == '\n' || c == '\t' || (c >= 0x20 && c < 0x7f));
  }
  assert_true(json_is_clean("", 0));
  assert_true(json_is_clean("\n\n\t", 3));
  assert_true(json_is_clean("é\né", 5));
  assert_false(json_is_clean("\xc3\n\xa9", 3)); /* a character broken by a line feed */
  assert_false(json_is_clean("a\xc3", 2));
}

TEST(members) {
  static const char text[] = "{\"t\":\"x\",\"i\":5,\"b\":true,\"n\":null,\"l\":[1],\"s\":\"5\"}";
  _json_cleanup_ json_t *j = read_text(text, strlen(text));
  assert_non_null(j);
  assert_string_equal(json_text(j, "t"), "x");
  assert_string_equal(json_text(j, "s"), "5");
  assert_null(json_text(j, "i"));
  assert_null(json_text(j, "n"));
  assert_null(json_text(j, "none"));
  assert_null(json_text(NULL, "t"));
  assert_null(json_text(json_object_get(j, "l"), "t"));
  int64_t v = 77;
  assert_int_equal(json_int(j, "i", 6, 100, &v), -EPROTO);
  assert_int_equal(json_int(j, "i", -100, 4, &v), -EPROTO);
  assert_int_equal(json_int(j, "s", 0, 100, &v), -EPROTO);
  assert_int_equal(json_int(j, "b", 0, 100, &v), -EPROTO);
  assert_int_equal(json_int(j, "n", 0, 100, &v), -EPROTO);
  assert_int_equal(json_int(j, "none", 0, 100, &v), -EPROTO);
  assert_int_equal(json_int(NULL, "i", 0, 100, &v), -EPROTO);
  assert_int_equal(v, 77);
  assert_int_equal(json_int(j, "i", 5, 5, &v), 0);
  assert_int_equal(v, 5);
  _json_cleanup_ json_t *ends = json_pack("{s:I,s:I}", "a", INT64_MIN, "b", INT64_MAX);
  assert_int_equal(json_int(ends, "a", INT64_MIN, INT64_MAX, &v), 0);
  assert_true(v == INT64_MIN);
  assert_int_equal(json_int(ends, "b", INT64_MIN, INT64_MAX, &v), 0);
  assert_true(v == INT64_MAX);
}

/* Texts, keys and numbers of every length around the sizes at which a parser's buffers grow, lists and objects of
 * every count around theirs. */
static char *long_text(size_t *ret_n) {
  static const char filler[] = "\\u00e9\\n\\\"abc\\ud83e\\udec0é";
  char *text = malloc(20000), *p = text;
  assert_non_null(text);
  *p++ = '{';
  for (unsigned n = 0; n < 70; n += 3)
    p += sprintf(p, "\"%0*d\":\"%0*d\",", (int)(n + 2), (int)n, (int)(2 * n), 0);
  p += sprintf(p, "\"numbers\":[1,12345678901234567,-9223372036854775808");
  for (unsigned n = 0; n < 40; n++)
    p += sprintf(p, ",%u", n);
  p += sprintf(p, "],\"text\":\"");
  for (unsigned n = 0; n < 40; n++)
    p += sprintf(p, "%s", filler);
  p += sprintf(p, "\",\"z\":{\"a\":[[],{},[{\"b\":null}]]}}");
  *ret_n = (size_t)(p - text);
  return text;
}

TEST(no_memory) {
  size_t n;
  char *text = long_text(&n);
  _json_cleanup_ json_t *whole = read_text(text, n);
  assert_non_null(whole);
  if (!fail_alloc_works()) {
    free(text);
    skip();
  }
  for (int on = 0; on < 2; on++)
    for (size_t nth = 1;; nth++) {
      json_t *j = (json_t *)(uintptr_t)8;
      char reason[256] = "";
      long before = fail_alloc_live();
      fail_alloc_set(nth, on);
      int r = json_read(text, n, &j, reason);
      bool hit = fail_alloc_hit();
      fail_alloc_set(0, false);
      if (r == 0) {
        assert_true(json_equal(j, whole)); /* all of it, or nothing */
        json_decref(j);
      } else {
        assert_int_equal(r, -ENOMEM);
        assert_true(hit);
        assert_true((uintptr_t)j == 8);
        assert_string_equal(reason, "no memory");
      }
      assert_int_equal(fail_alloc_live(), before);
      if (!hit) {
        assert_int_equal(r, 0);
        assert_true(nth > 100);
        break;
      }
    }
  for (int on = 0; on < 2; on++)
    for (size_t nth = 1;; nth++) {
      long before = fail_alloc_live();
      fail_alloc_set(nth, on);
      size_t bytes = 77;
      char *got = json_canonical(whole, &bytes);
      bool hit = fail_alloc_hit();
      fail_alloc_set(0, false);
      if (got) {
        assert_int_equal(strlen(got), bytes);
        _json_cleanup_ json_t *again = read_text(got, bytes);
        assert_true(json_equal(again, whole));
      } else {
        assert_true(hit);
      }
      free(got);
      assert_int_equal(fail_alloc_live(), before);
      if (!hit)
        break;
    }
  free(text);
}

/* What is refused with memory is never accepted without, and the other way round. */
TEST(no_memory_for_the_refused) {
  static const char *const rows[] = {
      "{\"aaaaaaaaaaaaaa\":1}",
      "{\"aaaaaaaaaaaaaaa\":1,\"aaaaaaaaaaaaaaa\":2}",
      "{\"a\":1234567890123456789012345678901234567890}",
      "{\"a\":12345678901234567890123456789012.5}",
      "{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      "{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xff\"}",
      "{\"a\":\"aaaaaaaaaaaaa\\u0001\"}",
      "[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]",
      "{\"a\":truuuuuuuuuuuuuuuuuuuuuuuuuuuuue}",
  };
  if (!fail_alloc_works())
    skip();
  for (size_t i = 0; i < COUNT(rows); i++)
    for (size_t len = 0; len <= strlen(rows[i]); len++)
      for (int on = 0; on < 2; on++)
        for (size_t nth = 1;; nth++) {
          json_t *j = NULL;
          char reason[256], *exact = malloc(len + !len);
          assert_non_null(exact);
          memcpy(exact, rows[i], len);
          bool fine = i == 0 && len == strlen(rows[0]);
          long before = fail_alloc_live();
          fail_alloc_set(nth, on);
          int r = json_read(exact, len, &j, reason);
          bool hit = fail_alloc_hit();
          fail_alloc_set(0, false);
          if (!(r == -ENOMEM && hit) && r != (fine ? 0 : -EPROTO))
            fail_msg("%.*s without the allocation %zu: %d", (int)len, rows[i], nth, r);
          json_decref(j);
          assert_int_equal(fail_alloc_live(), before);
          free(exact);
          if (!hit)
            break;
        }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(canonical),
      cmocka_unit_test(stable_under_member_order),
      cmocka_unit_test(refusals),
      cmocka_unit_test(depth),
      cmocka_unit_test(canonical_refuses),
      cmocka_unit_test(clean),
      cmocka_unit_test(members),
      cmocka_unit_test(no_memory),
      cmocka_unit_test(no_memory_for_the_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
