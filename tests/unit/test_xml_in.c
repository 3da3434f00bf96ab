/* The walk through XML of others: what is told and in which order, alphabets, and all that is refused. */
#include "buf.h"
#include "sandbox.h"
#include "xml_in.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { A = 2, B, C, ANY };

static const struct xml_node nodes[] = {{XML_ROOT, A, XML_WHOLE, "a"},   {XML_ROOT, B, XML_PIECES, "b"},
                                        {XML_ROOT, C, XML_NO_TEXT, "c"}, {A, A, XML_WHOLE, "a"},
                                        {C, B, XML_WHOLE, "b"},          {C, ANY, XML_WHOLE, "*"}};

struct heard {
  struct buf text;
  int fail; /* what the next call returns */
};

static int hear_start(void *arg, unsigned id, const char *name, const struct xml_attributes *attributes) {
  struct heard *h = arg;
  char v[64], none[64];
  bool there = xml_attribute(attributes, "v", v, sizeof v);
  assert_false(xml_attribute(attributes, "absent", none, sizeof none));
  assert_string_equal(none, "");
  buf_format(&h->text, "<%u %s%s%s", id, name, there ? "=" : "", v);
  return h->fail;
}

static int hear_text(void *arg, unsigned id, const char *text, size_t n) {
  struct heard *h = arg;
  assert_int_equal(id, B);
  buf_add(&h->text, text, n);
  return h->fail;
}

static int hear_end(void *arg, unsigned id, const char *name, const struct xml_text *text) {
  struct heard *h = arg;
  assert_int_equal(strlen(text->at), text->n);
  buf_format(&h->text, "%s%s%s>", text->at, text->cut ? "~" : "", id == ANY ? name : "");
  return h->fail;
}

static const struct xml_form form = {.root = "r",
                                     .nodes = nodes,
                                     .n_nodes = sizeof nodes / sizeof *nodes,
                                     .start = hear_start,
                                     .text = hear_text,
                                     .end = hear_end};

static int walk(const struct xml_form *f, const void *bytes, size_t n, struct heard *h, const char *reason_has) {
  char reason[XML_REASON_MAX] = "unset";
  uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees the end */
  assert_non_null(exact);
  memcpy(exact, bytes, n);
  h->text = BUF_INIT(32 << 20);
  int r = xml_read(f, exact, n, h, reason);
  free(exact);
  buf_u8(&h->text, 0);
  if (reason_has)
    assert_non_null(strstr(reason, reason_has));
  if (r == 0)
    assert_string_equal(reason, "");
  return r;
}

/* What is heard of a document, and nothing else. */
static void assert_heard(const struct xml_form *f, const void *bytes, size_t n, const char *want) {
  struct heard h = {0};
  assert_int_equal(walk(f, bytes, n, &h, NULL), 0);
  assert_string_equal((const char *)h.text.data, want);
  buf_finish(&h.text);
}

static void assert_refused(const struct xml_form *f, const void *bytes, size_t n, int err, const char *reason_has) {
  struct heard h = {0};
  int r = walk(f, bytes, n, &h, reason_has);
  if (r != err)
    fail_msg("%d instead of %d for %.60s", r, err, (const char *)bytes);
  buf_finish(&h.text);
}

#define HEARD(text, want) assert_heard(&form, text, strlen(text), want)
#define REFUSED(text, err, why) assert_refused(&form, text, strlen(text), err, why)

static void test_tells(void **state) {
  (void)state;
  HEARD("<r/>", "<1 r>");
  HEARD("<?xml version='1.0'?>\n<!-- <a> --><r>x<a v='1'>one</a><b>two</b></r>\n", "<1 r<2 a=1one><3 btwo>>");
  HEARD("<r><a>1<a>2</a>3</a></r>", "<1 r<2 a<2 a2>13>>");
  HEARD("<r><c>x<b>1</b><q>2</q></c></r>", "<1 r<4 c<3 b1><5 q2q>>>");
  HEARD("<r><q><a>lost</a></q><a>&lt;&#65;&amp;<![CDATA[<&]]></a></r>", "<1 r<2 a<A&<&>>");
  HEARD("<r><b>1<q>2</q>3</b></r>", "<1 r<3 b13>>");
}

static void test_name_spaces(void **state) {
  (void)state;
  struct xml_form bound = form;
  bound.space = "urn:x";
  static const char own[] = "<p:r xmlns:p='urn:x' xmlns:q='urn:y'><p:a>1</p:a><q:a>2</q:a><a>3</a></p:r>";
  assert_heard(&bound, own, strlen(own), "<1 r<2 a1>>");
  assert_heard(&bound, "<r><a>1</a></r>", 15, "<1 r<2 a1>>");
  assert_refused(&bound, "<r xmlns='urn:y'/>", 18, -ENXIO, "name space");
  HEARD("<r xmlns='urn:y'><a q:v='1' v='2'/></r>", "<1 r<2 a=2>>"); /* a prefix that nobody declared */
}

static void test_roots(void **state) {
  (void)state;
  REFUSED("", -ENXIO, "not XML");
  REFUSED("hello", -ENXIO, "not XML");
  REFUSED("<", -ENXIO, NULL);
  REFUSED("<q><r/></q>", -ENXIO, "another one");
  REFUSED("<q><unclosed>", -ENXIO, "another one");
  REFUSED("<r2/>", -ENXIO, "another one");
  REFUSED("<r><a></r>", -EPROTO, "damaged XML in line 1");
  REFUSED("<r/><r/>", -EPROTO, NULL);
  REFUSED("<r/>text", -EPROTO, NULL);
  REFUSED("<r>\xff</r>", -EPROTO, NULL);
  REFUSED("<r>\x01</r>", -EPROTO, NULL);
  assert_refused(&form, "<r>\0</r>", 8, -EPROTO, NULL);
  assert_refused(&form, "\0\0\0\0", 4, -ENXIO, NULL);
}

static void test_stops_where_told(void **state) {
  (void)state;
  static const char text[] = "<r><b>1</b><a/></r>";
  for (unsigned which = 0; which < 3; which++) {
    struct xml_form f = {.root = "r", .nodes = nodes, .n_nodes = form.n_nodes};
    f.start = which == 0 ? hear_start : NULL;
    f.text = which == 1 ? hear_text : NULL;
    f.end = which == 2 ? hear_end : NULL;
    struct heard h = {.fail = -ERANGE};
    assert_int_equal(walk(&f, text, strlen(text), &h, ""), -ERANGE);
    assert_string_equal((const char *)h.text.data, which == 0 ? "<1 r" : which == 1 ? "1" : ">");
    buf_finish(&h.text);
  }
}

/* ---- document types and entities ---- */

static void test_doctypes(void **state) {
  (void)state;
  struct xml_form lenient = form;
  lenient.doctype = true;
#define DOCTYPE(text, plain, with)                               \
  assert_refused(&form, text, strlen(text), plain, NULL);        \
  if (with)                                                      \
    assert_refused(&lenient, text, strlen(text), with, NULL);    \
  else                                                           \
    assert_heard(&lenient, text, strlen(text), "<1 r<2 a=1o>>"); \
  (void)0
  DOCTYPE("<!DOCTYPE r SYSTEM 'file:///etc/passwd'><r><a v='1'>o</a></r>", -EPROTO, 0);
  DOCTYPE("<!DOCTYPE r SYSTEM \"r.dtd\" ><r><a v='1'>o</a></r>", -EPROTO, 0);
  DOCTYPE("<!DOCTYPE r PUBLIC 'x' 'http://127.0.0.1:9/r.dtd'>\n<r><a v='1'>o</a></r>", -EPROTO, 0);
  DOCTYPE("<!DOCTYPE r><r><a v='1'>o</a></r>", -EPROTO, 0);
  DOCTYPE("<!DOCTYPE q SYSTEM 'r.dtd'><r/>", -ENXIO, -ENXIO);
  DOCTYPE("<!DOCTYPE r []><r/>", -EPROTO, -EPROTO);
  DOCTYPE("<!DOCTYPE r SYSTEM 'r.dtd' [<!ENTITY x 'y'>]><r>&x;</r>", -EPROTO, -EPROTO);
  DOCTYPE("<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><r><a>&x;</a></r>", -EPROTO, -EPROTO);
  DOCTYPE("<!DOCTYPE r [<!ENTITY % x SYSTEM 'http://127.0.0.1:9/'>%x;]><r/>", -EPROTO, -EPROTO);
  DOCTYPE("<!DOCTYPE r SYSTEM 'r.dtd'><r><a>&x;</a></r>", -EPROTO, -EPROTO);
  DOCTYPE("<!DOCTYPE r SYSTEM 'r.dtd'><r><a v='&x;'/></r>", -EPROTO, -EPROTO);
  DOCTYPE("<r><a>&x;</a></r>", -EPROTO, -EPROTO);
  DOCTYPE("<!DOCTYPE r [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>"
          "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'>]><r>&c;</r>",
          -EPROTO, -EPROTO);
}

/* ---- bounds ---- */

static void repeat(struct buf *b, const char *text, unsigned times) {
  for (unsigned i = 0; i < times; i++)
    buf_text(b, text);
}

static void test_depth_and_count(void **state) {
  (void)state;
  for (unsigned deep = 0; deep < 2; deep++) {
    _buf_cleanup_ struct buf b = BUF_INIT(1 << 20);
    buf_text(&b, "<r>");
    repeat(&b, "<q>", XML_DEPTH_MAX - 1 + deep);
    repeat(&b, "</q>", XML_DEPTH_MAX - 1 + deep);
    buf_text(&b, "</r>");
    if (deep)
      assert_refused(&form, b.data, b.len, -EPROTO, "more elements");
    else
      assert_heard(&form, b.data, b.len, "<1 r>");
  }
  for (unsigned more = 0; more < 2; more++) {
    _buf_cleanup_ struct buf b = BUF_INIT(8 << 20);
    buf_text(&b, "<r>");
    repeat(&b, "<q/>", XML_ELEMENTS_MAX - 1 + more);
    buf_text(&b, "</r>");
    if (more)
      assert_refused(&form, b.data, b.len, -EPROTO, "more elements");
    else
      assert_heard(&form, b.data, b.len, "<1 r>");
  }
}

/* Names that are all different cost libxml2 more and more. */
static void test_names(void **state) {
  (void)state;
  static const char *const kinds[] = {"<q%u/>", "<q a%u=''/>", "<?p%u ?>", "<q xmlns:a='u%u'/>", "<q%u:q/>"};
  for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
    for (unsigned many = 0; many < 2; many++) {
      _buf_cleanup_ struct buf b = BUF_INIT(1 << 20);
      buf_text(&b, "<r>");
      for (unsigned i = 0; i < (many ? XML_NAMES_MAX + 1 : XML_NAMES_MAX - 100); i++)
        buf_format(&b, kinds[kind], i);
      buf_text(&b, "</r>");
      if (many)
        assert_refused(&form, b.data, b.len, -EPROTO, "more names");
      else
        assert_heard(&form, b.data, b.len, "<1 r>");
    }
}

static void test_attributes(void **state) {
  (void)state;
  for (unsigned n = XML_ATTRIBUTES_MAX; n < 2000000; n = n == XML_ATTRIBUTES_MAX ? n + 1 : n * 40) {
    _buf_cleanup_ struct buf b = BUF_INIT(64 << 20);
    buf_text(&b, "<r><!-- ' --><a");
    for (unsigned i = 0; i < n; i++)
      buf_format(&b, " a%u='>'", i);
    buf_text(&b, "/></r>");
    if (n > XML_ATTRIBUTES_MAX)
      assert_refused(&form, b.data, b.len, -EPROTO, "attributes");
    else
      assert_heard(&form, b.data, b.len, "<1 r<2 a>>");
  }
  _buf_cleanup_ struct buf b = BUF_INIT(1 << 20);
  buf_text(&b, "<r v='");
  repeat(&b, "x", 63);
  assert_int_equal(buf_text(&b, "'/>"), 0);
  struct heard h = {0};
  assert_int_equal(walk(&form, b.data, b.len, &h, NULL), 0);
  assert_int_equal(h.text.len, strlen("<1 r=") + 63 + strlen(">") + 1);
  buf_finish(&h.text);
  b.data[b.len - 3] = 'x'; /* unclosed */
  assert_refused(&form, b.data, b.len, -ENXIO, NULL);
  b.len = 0;
  buf_text(&b, "<!");
  repeat(&b, "''", XML_ATTRIBUTES_MAX + 1); /* nothing is left to be parsed */
  assert_refused(&form, b.data, b.len, -ENXIO, "not XML");
}

static void test_long_texts(void **state) {
  (void)state;
  _buf_cleanup_ struct buf b = BUF_INIT(64 << 20);
  struct heard h = {0};
  buf_text(&b, "<r><a>");
  repeat(&b, "12345678", XML_TEXT_MAX / 8);
  buf_text(&b, "9</a><b>");
  repeat(&b, "-1 2345\n", 2000000);
  buf_text(&b, "</b><a>whole</a></r>");
  assert_int_equal(walk(&form, b.data, b.len, &h, NULL), 0);
  assert_int_equal(h.text.len, strlen("<1 r<2 a~><3 b><2 awhole>>") + XML_TEXT_MAX + 16000000 + 1);
  assert_non_null(memmem(h.text.data, h.text.len, "78~><3 b-1 ", 11));
  assert_memory_equal(h.text.data + h.text.len - 13, "><2 awhole>>", 12);
  buf_finish(&h.text);
  static uint8_t nothing[XML_BYTES_MAX + 1];
  char reason[XML_REASON_MAX];
  assert_int_equal(xml_read(&form, nothing, sizeof nothing, &h, reason), -EFBIG);
}

/* ---- alphabets ---- */

static void put_16(struct buf *b, const char *ascii, bool big) {
  for (; *ascii; ascii++) {
    buf_u8(b, big ? 0 : (uint8_t)*ascii);
    buf_u8(b, big ? (uint8_t)*ascii : 0);
  }
}

static void test_utf_16(void **state) {
  (void)state;
  for (unsigned big = 0; big < 2; big++)
    for (unsigned marked = 0; marked < 2; marked++) {
      _buf_cleanup_ struct buf b = BUF_INIT(4096);
      const uint8_t mark[] = {big ? 0xfe : 0xff, big ? 0xff : 0xfe}, e[] = {big ? 0 : 0xe9, big ? 0xe9 : 0},
                    pair[] = {big ? 0xd8 : 0x3d, big ? 0x3d : 0xd8, big ? 0xde : 0x00, big ? 0x00 : 0xde};
      buf_add(&b, mark, marked ? 2 : 0);
      put_16(&b, "<?xml version='1.0' encoding='UTF-16'?>", big);
      const size_t root = b.len + 2 * strlen("<r>");
      put_16(&b, "<r><a v='x'>", big);
      buf_add(&b, e, 2);
      buf_add(&b, pair, 4);
      size_t at = b.len;
      put_16(&b, "</a></r>", big);
      assert_heard(&form, b.data, b.len, "<1 r<2 a=x\xc3\xa9\xf0\x9f\x98\x80>>");
      for (size_t n = 0; n < b.len; n++)
        assert_refused(&form, b.data, n, n < root ? -ENXIO : -EPROTO, NULL);
      b.data[at - 1] = b.data[at - 2] = 0xd8; /* half a pair */
      assert_refused(&form, b.data, b.len, -EPROTO, "alphabet");
    }
}

static void test_8_bit(void **state) {
  (void)state;
  static const struct {
    const char *encoding, *text, *want; /* NULL: refused */
    int err;
  } rows[] = {{"ISO-8859-1", "\xe9\xa4", "\xc3\xa9\xc2\xa4", 0},
              {"iso-8859-15", "\xe9\xa4\xbd", "\xc3\xa9\xe2\x82\xac\xc5\x93", 0},
              {"windows-1252", "\x80\x9c\xe9", "\xe2\x82\xac\xc5\x93\xc3\xa9", 0},
              {"windows-1252", "\x81", NULL, -EPROTO},
              {"US-ASCII", "x", "x", 0},
              {"US-ASCII", "\xe9", NULL, -EPROTO},
              {"UTF-8", "\xc3\xa9", "\xc3\xa9", 0},
              {"utf-8", "\xe9", NULL, -EPROTO},
              {"UTF-16", "\xc3\xa9", "\xc3\xa9", 0},
              {"UTF-16", "\xe9", NULL, -EPROTO},
              {"GB18030", "x", NULL, -EOPNOTSUPP},
              {"IBM037", "x", NULL, -EOPNOTSUPP},
              {"UTF-7", "x", NULL, -EOPNOTSUPP},
              {"HTML", "x", NULL, -EOPNOTSUPP},
              {"../../etc/passwd", "x", NULL, -ENXIO}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char text[256], want[64];
    int n = snprintf(text, sizeof text, "<?xml version=\"1.0\" encoding=\"%s\"?><r><a>%s</a></r>", rows[i].encoding,
                     rows[i].text);
    snprintf(want, sizeof want, "<1 r<2 a%s>>", rows[i].want ? rows[i].want : "");
    if (rows[i].want)
      assert_heard(&form, text, (size_t)n, want);
    else
      assert_refused(&form, text, (size_t)n, rows[i].err, NULL);
    snprintf(text, sizeof text, "<?xml version=\"1.0\" encoding=\"%s\"?><q/>", rows[i].encoding);
    assert_refused(&form, text, strlen(text), -ENXIO, NULL);
  }
  HEARD("\xef\xbb\xbf<r/>", "<1 r>");
  HEARD("\xef\xbb\xbf<?xml version='1.0' encoding='ISO-8859-1'?><r><a>\xc3\xa9</a></r>", "<1 r<2 a\xc3\xa9>>");
}

/* ---- damage ---- */

static const char document[] =
    "<?xml version='1.0' encoding='ISO-8859-1'?>\n<r xmlns='urn:x' v='1'><!-- c --><a>t&#233;"
    "<![CDATA[x]]></a>\n<b>1 2 3</b><c><b v=\"q\"/></c></r>\n";

static void test_truncation(void **state) {
  (void)state;
  const size_t root = (size_t)(strstr(document, "><!--") - document), last = strlen(document) - 1;
  for (size_t n = 0; n < last; n++)
    assert_refused(&form, document, n, n <= root ? -ENXIO : -EPROTO, NULL);
  assert_heard(&form, document, last, "<1 r=1<2 at\xc3\xa9x><3 b1 2 3><4 c<3 b=q>>>");
}

static void test_bit_flips(void **state) {
  (void)state;
  unsigned read = 0, refused = 0;
  for (size_t bit = 0; bit < 8 * strlen(document); bit++) {
    char text[sizeof document];
    struct heard h = {0};
    memcpy(text, document, sizeof text);
    text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
    int r = walk(&form, text, strlen(document), &h, NULL);
    assert_true(r == 0 || r == -ENXIO || r == -EPROTO || r == -EOPNOTSUPP);
    read += r == 0;
    refused += r != 0;
    buf_finish(&h.text);
  }
  assert_true(read > 100 && refused > 500);
}

/* The same twice, whatever came between; in the sandbox too, where nothing can be opened. */
static void test_pure_and_confined(void **state) {
  (void)state;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    char reason[XML_REASON_MAX];
    struct heard h = {.text = BUF_INIT(1 << 16)}, again = {.text = BUF_INIT(1 << 16)};
    static const char unknown[] = "<?xml version='1.0' encoding='GB18030'?><r/>",
                      dtd[] = "<!DOCTYPE r SYSTEM 'http://127.0.0.1:9/x'><r/>";
    struct xml_form lenient = form;
    lenient.doctype = true;
    if (sandbox_limit(60) < 0 || sandbox_enter(0) < 0)
      _exit(2);
    if (xml_read(&form, document, strlen(document), &h, reason) != 0)
      _exit(3);
    if (xml_read(&form, unknown, strlen(unknown), &again, reason) != -EOPNOTSUPP)
      _exit(4);
    if (xml_read(&lenient, dtd, strlen(dtd), &again, reason) != 0)
      _exit(5);
    again.text.len = 0;
    if (xml_read(&form, document, strlen(document), &again, reason) != 0 || again.text.len != h.text.len ||
        memcmp(again.text.data, h.text.data, h.text.len) != 0)
      _exit(6);
    _exit(0);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tells),      cmocka_unit_test(test_name_spaces),
      cmocka_unit_test(test_roots),      cmocka_unit_test(test_stops_where_told),
      cmocka_unit_test(test_doctypes),   cmocka_unit_test(test_depth_and_count),
      cmocka_unit_test(test_names),      cmocka_unit_test(test_attributes),
      cmocka_unit_test(test_long_texts), cmocka_unit_test(test_utf_16),
      cmocka_unit_test(test_8_bit),      cmocka_unit_test(test_truncation),
      cmocka_unit_test(test_bit_flips),  cmocka_unit_test(test_pure_and_confined),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
