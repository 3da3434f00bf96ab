#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "fail_alloc.h"
#include "str.h"
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wchar.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)

static const struct capture_header header = {
    .driver = "corscience_emi12",
    .version = "3",
    .bus = ACQ_USB,
    .order = {10, 1774745999123456, 60, ACQ_SPIROMETRY, ACQ_POST},
};
#define HEADER                                                                              \
  "asaleed-capture 1\ndriver corscience_emi12 3\nbus usb\norder 10 spirometry post\nstart " \
  "2026-03-29T01:59:59.123456+01:00\n"

static uint64_t seed = UINT64_C(0x853c49e6748fea9b);

static uint64_t rnd(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

/* ---- a file in memory, and its text ---- */

static int file(void) {
  int fd = memfd_create("capture", MFD_CLOEXEC);
  assert_true(fd >= 0);
  return fd;
}

static char *text_of(int fd, size_t *ret_n) {
  off_t n = lseek(fd, 0, SEEK_END);
  assert_true(n >= 0);
  char *text = malloc((size_t)n + 1);
  assert_non_null(text);
  assert_int_equal(pread(fd, text, (size_t)n, 0), n);
  text[n] = 0;
  *ret_n = (size_t)n;
  return text;
}

/* Parses from a block that ends where the text ends. Returns the line it was refused at, else 0. */
static unsigned parse(const char *text, size_t n, struct acq_capture *ret) {
  char *exact = malloc(n + !n);
  assert_non_null(exact);
  memcpy(exact, text, n);
  struct acq_capture c, before;
  memset(&c, 0x5a, sizeof c);
  before = c;
  unsigned line = 0;
  int r = capture_parse(exact, n, &c, &line);
  free(exact);
  if (r == 0) {
    *ret = c;
    return 0;
  }
  assert_int_equal(r, -EPROTO);
  assert_memory_equal(&c, &before, sizeof c);
  assert_true(line > 0);
  return line;
}

static void event_is(const struct acq_capture *c, size_t i, char kind, uint32_t ms, const void *bytes, size_t n) {
  struct acq_event e;
  assert_true(acq_capture_event(c, i, &e));
  assert_int_equal(e.kind, kind);
  assert_int_equal(e.ms, ms);
  assert_int_equal(e.n, n);
  if (n)
    assert_memory_equal(e.bytes, bytes, n);
}

/* ---- writer ---- */

static void write_session(struct capture_writer *w) {
  static const struct acq_identity identity = {"Corscience", "EMI-12 é", "SN 42", "", "TT 7"};
  assert_int_equal(capture_write_header(w, &header), 0);
  assert_int_equal(capture_write_event(w, ACQ_SENT, 0, "\x01\xff", 2), 0);
  assert_int_equal(capture_write_event(w, ACQ_RECEIVED, 7, "\x00\x0a\x20", 3), 0);
  assert_int_equal(capture_write_note(w, 8, "timeout"), 0);
  assert_int_equal(capture_write_identity(w, 9, &identity), 0);
  assert_int_equal(capture_write_note(w, 9, "acquire"), 0);
  assert_int_equal(capture_write_event(w, ACQ_RECEIVED, 12, "abc", 3), 0);
  assert_int_equal(capture_write_note(w, 4294967295u, "fail %s %d", "frame", 3), 0);
  assert_int_equal(capture_write_end(w, CAPTURE_ERROR), 0);
}

static const char session[] =
    HEADER "> 0 01ff\n< 7 000a20\n! 8 timeout\n! 9 identity\n! 9 make Corscience\n"
           "! 9 model EMI-12 é\n! 9 serial SN 42\n! 9 sensor TT 7\n! 9 firmware \n! 9 acquire\n< 12 616263\n"
           "! 4294967295 fail frame 3\nend error\n";

TEST(round_trip) {
  int fd = file();
  struct capture_writer w;
  capture_writer_init(&w, fd, 4096);
  write_session(&w);
  size_t n;
  char *text = text_of(fd, &n);
  assert_string_equal(text, session);
  assert_int_equal(w.written, n);
  _capture_cleanup_ struct acq_capture c;
  assert_int_equal(parse(text, n, &c), 0);
  assert_string_equal(c.header.driver, header.driver);
  assert_string_equal(c.header.version, header.version);
  assert_int_equal(c.header.bus, ACQ_USB);
  assert_int_equal(c.header.order.seconds, 10);
  assert_int_equal(c.header.order.started_us, header.order.started_us);
  assert_int_equal(c.header.order.offset_minutes, 60);
  assert_int_equal(c.header.order.modality, ACQ_SPIROMETRY);
  assert_int_equal(c.header.order.phase, ACQ_POST);
  assert_int_equal(c.end, CAPTURE_ERROR);
  assert_false(c.raw);
  assert_int_equal(c.n_events, 12);
  event_is(&c, 0, '>', 0, "\x01\xff", 2);
  event_is(&c, 1, '<', 7, "\x00\x0a\x20", 3);
  event_is(&c, 2, '!', 8, "timeout", 7);
  event_is(&c, 3, '!', 9, "identity", 8);
  event_is(&c, 5, '!', 9, "model EMI-12 é", 15);
  event_is(&c, 7, '!', 9, "sensor TT 7", 11);
  event_is(&c, 8, '!', 9, "firmware ", 9);
  event_is(&c, 10, '<', 12, "abc", 3);
  event_is(&c, 11, '!', UINT32_MAX, "fail frame 3", 12);
  struct acq_event e = {.ms = 77};
  assert_false(acq_capture_event(&c, 12, &e));
  assert_false(acq_capture_event(&c, SIZE_MAX, &e));
  assert_int_equal(e.ms, 77);
  struct acq_cur all = acq_capture_received(&c);
  assert_int_equal(acq_left(&all), 6);
  assert_memory_equal(all.at,
                      "\x00\x0a\x20"
                      "abc",
                      6);
  const struct acq_identity *id = acq_capture_identity(&c);
  assert_string_equal(id->make, "Corscience");
  assert_string_equal(id->model, "EMI-12 é");
  assert_string_equal(id->serial, "SN 42");
  assert_string_equal(id->firmware, "");
  free(text);
  close(fd);
}

TEST(long_events_are_split) {
  static const size_t sizes[] = {0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 10000};
  static uint8_t bytes[10000];
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = (uint8_t)(i * 7 + i / 256);
  for (size_t i = 0; i < COUNT(sizes); i++) {
    int fd = file();
    struct capture_writer w;
    capture_writer_init(&w, fd, 1 << 20);
    capture_write_header(&w, &header);
    assert_int_equal(capture_write_event(&w, ACQ_RECEIVED, UINT32_MAX, bytes, sizes[i]), 0);
    assert_int_equal(capture_write_event(&w, ACQ_SENT, UINT32_MAX, bytes, sizes[i]), 0);
    capture_write_end(&w, CAPTURE_OK);
    size_t n, each = (sizes[i] + CAPTURE_LINE_BYTES - 1) / CAPTURE_LINE_BYTES, sent = 0;
    char *text = text_of(fd, &n);
    _capture_cleanup_ struct acq_capture c;
    assert_int_equal(parse(text, n, &c), 0);
    assert_int_equal(c.end, CAPTURE_OK);
    assert_int_equal(c.n_events, 2 * each);
    struct acq_event e;
    for (size_t k = 0; acq_capture_event(&c, k, &e); k++) {
      assert_int_equal(e.kind, k < each ? '<' : '>');
      assert_int_equal(e.ms, UINT32_MAX);
      assert_true(e.n > 0 && e.n <= CAPTURE_LINE_BYTES);
      if (e.kind == ACQ_SENT) {
        assert_memory_equal(e.bytes, bytes + sent, e.n);
        sent += e.n;
      }
    }
    assert_int_equal(sent, sizes[i]);
    struct acq_cur all = acq_capture_received(&c);
    assert_int_equal(acq_left(&all), sizes[i]);
    if (sizes[i])
      assert_memory_equal(all.at, bytes, sizes[i]);
    free(text);
    close(fd);
  }
}

TEST(times_never_decrease) {
  int fd = file();
  struct capture_writer w;
  capture_writer_init(&w, fd, 4096);
  capture_write_header(&w, &header);
  capture_write_event(&w, ACQ_SENT, 5, "a", 1);
  capture_write_event(&w, ACQ_RECEIVED, 3, "b", 1);
  capture_write_note(&w, 4, "x");
  capture_write_identity(&w, 0, &(struct acq_identity){0});
  capture_write_event(&w, ACQ_RECEIVED, 6, "c", 1);
  capture_write_note(&w, 5, "y");
  capture_write_end(&w, CAPTURE_CANCEL);
  size_t n;
  char *text = text_of(fd, &n);
  assert_string_equal(text, HEADER "> 5 61\n< 5 62\n! 5 x\n! 5 identity\n! 5 make \n! 5 model \n! 5 serial \n"
                                   "! 5 firmware \n< 6 63\n! 6 y\nend cancel\n");
  free(text);
  close(fd);
}

/* A note is what somebody formatted, maybe from bytes of the device: whatever it holds, the capture reads back. */
TEST(notes_read_back) {
  static const struct {
    const char *said, *kept;
  } rows[] = {
      {"", ""},
      {"fail plain", "fail plain"},
      {"a\nend ok\n< 0 00\n", "a end ok < 0 00 "},
      {"\x01\t\r\x1b[31m\x7f", "    [31m "},
      {"é🫀 ~", "é🫀 ~"},
      {"\xc2\x85\xc2\x9b", "????"}, /* C1 controls */
      {"\xff\x80x\xc3", "??x?"},
      {"\xe9t\xe9", "?t?"}, /* Latin-1 */
      {"\xed\xa0\x80\xf4\x90\x80\x80\xc0\x80", "?????????"},
      {"\xe2\x82"
       "a\xe2\x82\xac",
       "??a€"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    int fd = file();
    struct capture_writer w;
    capture_writer_init(&w, fd, 4096);
    capture_write_header(&w, &header);
    assert_int_equal(capture_write_note(&w, 1, "%s", rows[i].said), 0);
    capture_write_end(&w, CAPTURE_OK);
    size_t n;
    char *text = text_of(fd, &n);
    _capture_cleanup_ struct acq_capture c = {0};
    assert_int_equal(parse(text, n, &c), 0);
    assert_int_equal(c.n_events, 1);
    event_is(&c, 0, '!', 1, rows[i].kept, strlen(rows[i].kept));
    free(text);
    close(fd);
  }
  for (size_t at = 0; at < 300; at++) { /* cut anywhere, also within a character */
    char said[1201], *p = said;
    memset(p, 'a', at);
    for (p += at; p + 4 < said + sizeof said; p += 4)
      memcpy(p, "🫀", 4);
    *p = 0;
    int fd = file();
    struct capture_writer w;
    capture_writer_init(&w, fd, 4096);
    capture_write_header(&w, &header);
    assert_int_equal(capture_write_note(&w, (uint32_t)rnd(), "%s", said), 0);
    capture_write_end(&w, CAPTURE_OK);
    size_t n;
    char *text = text_of(fd, &n);
    _capture_cleanup_ struct acq_capture c = {0};
    assert_int_equal(parse(text, n, &c), 0);
    struct acq_event e;
    assert_true(acq_capture_event(&c, 0, &e));
    assert_true(e.n >= 450 && e.n < 512);
    size_t whole = at + (e.n - at) / 4 * 4;
    assert_memory_equal(e.bytes, said, whole);
    for (size_t k = whole; k < e.n; k++)
      assert_int_equal(e.bytes[k], '?');
    free(text);
    close(fd);
  }
}

TEST(identity_fields) {
  struct acq_identity id, longest;
  memset(&longest, 'm', sizeof longest);
  longest.make[63] = longest.model[63] = longest.serial[63] = longest.firmware[63] = longest.sensor[63] = 0;
  memcpy(longest.serial, "make make model ", 16); /* words of the format are only words */
  static const struct acq_identity some = {"make x", "", "serial ", " firmware  ", "sensor sensor "};
  const struct acq_identity *all[] = {&longest, &some};
  for (size_t i = 0; i < COUNT(all); i++) {
    int fd = file();
    struct capture_writer w;
    capture_writer_init(&w, fd, 4096);
    capture_write_header(&w, &header);
    capture_write_identity(&w, 1, all[i]);
    size_t n;
    char *text = text_of(fd, &n);
    _capture_cleanup_ struct acq_capture c = {0};
    assert_int_equal(parse(text, n, &c), 0);
    id = *acq_capture_identity(&c);
    assert_string_equal(id.make, all[i]->make);
    assert_string_equal(id.model, all[i]->model);
    assert_string_equal(id.serial, all[i]->serial);
    assert_string_equal(id.firmware, all[i]->firmware);
    assert_string_equal(id.sensor, all[i]->sensor);
    assert_int_equal(c.end, CAPTURE_CUT);
    free(text);
    close(fd);
  }
  _capture_cleanup_ struct acq_capture c = {0}; /* 64 bytes do not fit, and nothing is cut short */
  static const char big[] = HEADER "! 0 make 0123456789012345678901234567890123456789012345678901234567890123\n";
  assert_int_equal(parse(big, sizeof big - 1, &c), 0);
  assert_string_equal(acq_capture_identity(&c)->make, "");
}

TEST(writer_bound) {
  size_t whole = sizeof session - 1;
  for (size_t max = 0; max <= whole + 1; max++) { /* what was written are whole lines of the same text */
    int fd = file();
    struct capture_writer w;
    static const struct acq_identity identity = {"Corscience", "EMI-12 é", "SN 42", "", "TT 7"};
    capture_writer_init(&w, fd, max);
    capture_write_header(&w, &header);
    capture_write_event(&w, ACQ_SENT, 0, "\x01\xff", 2);
    capture_write_event(&w, ACQ_RECEIVED, 7, "\x00\x0a\x20", 3);
    capture_write_note(&w, 8, "timeout");
    capture_write_identity(&w, 9, &identity);
    capture_write_note(&w, 9, "acquire");
    capture_write_event(&w, ACQ_RECEIVED, 12, "abc", 3);
    capture_write_note(&w, 4294967295u, "fail %s %d", "frame", 3);
    int last = capture_write_end(&w, CAPTURE_ERROR);
    assert_int_equal(last, max >= whole ? 0 : -EFBIG);
    assert_int_equal(w.err, last);
    size_t n;
    char *text = text_of(fd, &n);
    assert_true(n <= max && n == w.written);
    assert_memory_equal(text, session, n);
    assert_true(n == 0 || text[n - 1] == '\n');
    if (last) { /* sticky, even for what would still fit */
      assert_int_equal(capture_write_note(&w, 0, "x"), -EFBIG);
      assert_int_equal(capture_write_event(&w, ACQ_SENT, 0, "", 0), -EFBIG);
      assert_int_equal(capture_write_end(&w, CAPTURE_OK), -EFBIG);
      assert_int_equal(w.written, n);
    }
    free(text);
    close(fd);
  }
}

TEST(writer_errors) {
  int full = open("/dev/full", O_WRONLY | O_CLOEXEC), closed = open("/dev/null", O_RDONLY | O_CLOEXEC);
  assert_true(full >= 0 && closed >= 0);
  struct capture_writer w;
  capture_writer_init(&w, full, 4096);
  assert_int_equal(capture_write_header(&w, &header), -ENOSPC);
  assert_int_equal(capture_write_event(&w, ACQ_SENT, 0, "a", 1), -ENOSPC);
  assert_int_equal(w.written, 0);
  capture_writer_init(&w, closed, 4096);
  assert_int_equal(capture_write_note(&w, 0, "a"), -EBADF);
  assert_int_equal(capture_write_end(&w, CAPTURE_OK), -EBADF);
  capture_writer_init(&w, full, 4096); /* a note that cannot be formatted in the C locale */
  assert_int_equal(capture_write_note(&w, 0, "%lc", (wint_t)0x20ac), -EINVAL);
  assert_int_equal(capture_write_end(&w, CAPTURE_OK), -EINVAL);
  close(full);
  close(closed);
}

TEST(ends) {
  static const struct {
    enum capture_end end;
    const char *name;
  } rows[] = {{CAPTURE_OK, "ok"}, {CAPTURE_ERROR, "error"}, {CAPTURE_CANCEL, "cancel"}, {CAPTURE_CRASH, "crash"}};
  for (size_t i = 0; i < COUNT(rows); i++) {
    char text[512];
    assert_string_equal(capture_end_name(rows[i].end), rows[i].name);
    int n = snprintf(text, sizeof text, HEADER "< 1 00\nend %s\n", rows[i].name);
    _capture_cleanup_ struct acq_capture c = {0};
    assert_int_equal(parse(text, (size_t)n, &c), 0);
    assert_int_equal(c.end, rows[i].end);
    assert_int_equal(c.n_events, 1);
    _capture_cleanup_ struct acq_capture cut = {0}; /* without its newline it is not there */
    assert_int_equal(parse(text, (size_t)n - 1, &cut), 0);
    assert_int_equal(cut.end, CAPTURE_CUT);
    assert_int_equal(cut.n_events, 1);
    static const char *const after[] = {"\n", "x", "< 2 00", "< 2 00\n", "end ok\n", " ", "\0"};
    for (size_t k = 0; k < COUNT(after); k++) {
      size_t more = k == COUNT(after) - 1 ? 1 : strlen(after[k]);
      char longer[600];
      memcpy(longer, text, (size_t)n);
      memcpy(longer + n, after[k], more);
      _capture_cleanup_ struct acq_capture none = {0};
      assert_int_equal(parse(longer, (size_t)n + more, &none), 8);
    }
  }
  assert_string_equal(capture_end_name(CAPTURE_CUT), "none");
}

/* ---- reader ---- */

/* Cut at every byte: refused within the header, at the line that is not whole; beyond it the events of the whole
 * lines, each as it was. */
TEST(every_truncation) {
  size_t whole = sizeof session - 1, in_header = sizeof HEADER - 1;
  _capture_cleanup_ struct acq_capture all = {0};
  assert_int_equal(parse(session, whole, &all), 0);
  for (size_t n = 0; n <= whole; n++) {
    _capture_cleanup_ struct acq_capture c = {0};
    unsigned lines = 0, refused = parse(session, n, &c);
    for (size_t i = 0; i < n; i++)
      lines += session[i] == '\n';
    if (n < in_header) {
      assert_int_equal(refused, lines + 1);
      continue;
    }
    assert_int_equal(refused, 0);
    assert_int_equal(c.n_events, n == whole ? lines - 6 : lines - 5);
    assert_int_equal(c.end, n == whole ? CAPTURE_ERROR : CAPTURE_CUT);
    size_t received = 0;
    for (size_t i = 0; i < c.n_events; i++) {
      struct acq_event e;
      assert_true(acq_capture_event(&all, i, &e));
      event_is(&c, i, (char)e.kind, e.ms, e.bytes, e.n);
      received += e.kind == ACQ_RECEIVED ? e.n : 0;
    }
    struct acq_cur cur = acq_capture_received(&c);
    assert_int_equal(acq_left(&cur), received);
    assert_int_equal(c.n_received, received);
    assert_memory_equal(&c.header, &all.header, sizeof c.header);
  }
}

struct text {
  const char *text;
  size_t n;
};
#define T(literal) \
  { literal, sizeof literal - 1 }

/* `line` (from 1) of a text replaced by another; the rest stays. */
static size_t replace_line(const char *from, unsigned line, struct text by, char *into) {
  size_t n = 0;
  unsigned at = 1;
  for (const char *p = from; *p; at++) {
    const char *nl = strchr(p, '\n');
    size_t k = (size_t)(nl - p);
    if (at == line) {
      memcpy(into + n, by.text, by.n);
      n += by.n;
    } else {
      memcpy(into + n, p, k);
      n += k;
    }
    into[n++] = '\n';
    p = nl + 1;
  }
  return n;
}

TEST(junk_lines) {
  static const struct text junk[] = {
      T(""),
      T(" "),
      T("x"),
      T("<"),
      T(">"),
      T("!"),
      T("< "),
      T("< 5"),
      T("< 5 "),
      T("< 5 a"),
      T("< 5 abc"),
      T("< 5 zz"),
      T("< 5 0g"),
      T("< 5 a "),
      T("<5 ab"),
      T("< -1 ab"),
      T("< +1 ab"),
      T("< 0x1 ab"),
      T("< 1.5 ab"),
      T("< 4294967296 ab"),
      T("< 18446744073709551617 ab"),
      T("< 99999999999999999999 ab"),
      T("<  5 ab"),
      T("< 5  ab"),
      T("< 5 ab "),
      T("< 5 ab cd"),
      T(" < 5 ab"),
      T("< 5\tab"),
      T("<\t5 ab"),
      T("< 5 ab\r"),
      T("? 5 ab"),
      T("<< 5 ab"),
      T("<> 5 ab"),
      T("end"),
      T("end "),
      T("end okay"),
      T("end o"),
      T("end none"),
      T("end OK"),
      T("END ok"),
      T("end  ok"),
      T("end ok "),
      T("end ok\r"),
      T("End ok"),
      T("! 5"),
      T("! x y"),
      T("!5 x"),
      T("! 5 a\tb"),
      T("! 5 \x7f"),
      T("! 5 \xff"),
      T("! 5 \xc2\x85"),
      T("! 5 \xed\xa0\x80"),
      T("! 4294967296 x"),
      T("\0 5 ab"),
      T("< 5\0 ab"),
      T("< 5\0x ab"),
      T("< \0 ab"),
      T("< 5 a\0"),
      T("< 5 \0\0"),
      T("! 5 a\0b"),
      T("end ok\0"),
      T("end \0"),
      T("\0"),
      T("driver x 1"),
      T("asaleed-capture 1"),
      T("# comment"),
  };
  unsigned lines = 0;
  for (const char *p = session; *p; p++)
    lines += *p == '\n';
  for (size_t i = 0; i < COUNT(junk); i++)
    for (unsigned line = 6; line <= lines; line++) {
      char text[sizeof session + 128];
      size_t n = replace_line(session, line, junk[i], text);
      _capture_cleanup_ struct acq_capture c = {0};
      unsigned at = parse(text, n, &c);
      if (at != line)
        fail_msg("\"%s\" in place of line %u is refused at %u", junk[i].text, line, at);
    }
  char text[8192]; /* a line is at most 2048 bytes */
  for (size_t bytes = 2047; bytes <= 2050; bytes++) {
    size_t n = (size_t)snprintf(text, sizeof text, HEADER "< 0 ");
    memset(text + n, 'a', 2 * bytes);
    text[n + 2 * bytes] = '\n';
    _capture_cleanup_ struct acq_capture c = {0};
    assert_int_equal(parse(text, n + 2 * bytes + 1, &c), bytes > CAPTURE_LINE_BYTES ? 6 : 0);
  }
}

TEST(header_lines) {
  static const struct {
    unsigned line;
    struct text text;
    bool fine;
  } rows[] = {
      {1, T("asaleed-capture 1"), true},
      {1, T("asaleed-capture 2"), false},
      {1, T("asaleed-capture 10"), false},
      {1, T("asaleed-capture  1"), false},
      {1, T("asaleed-capture 1 "), false},
      {1, T("asaleed-capture"), false},
      {1, T("asaleed-capture "), false},
      {1, T("asaleed-captures 1"), false},
      {1, T(" asaleed-capture 1"), false},
      {1, T("asaleed-capture 1\r"), false},
      {1, T("asaleed-capture 1\0"), false},
      {1,
       T("\xef\xbb\xbf"
         "asaleed-capture 1"),
       false},
      {1, T(""), false},
      {2, T("driver x 1"), true},
      {2, T("driver x 1.2-beta"), true},
      {2, T("driver x"), false},
      {2, T("driver x "), false},
      {2, T("driver x  1"), false},
      {2, T("driver x 1 2"), false},
      {2, T("driver"), false},
      {2, T("driver "), false},
      {2, T("bus usb"), false},
      {2, T("driver x\x01 1"), false},
      {2, T("driver x\xff 1"), false},
      {2, T("driver 012345678901234567890123456789012345678901234567890123456789012 1"), true},
      {2, T("driver 0123456789012345678901234567890123456789012345678901234567890123 1"), false},
      {2, T("driver x 012345678901234567890123456789012345678901234567890123456789012"), true},
      {2, T("driver x 0123456789012345678901234567890123456789012345678901234567890123"), false},
      {3, T("bus serial"), true},
      {3, T("bus usb"), true},
      {3, T("bus file"), true},
      {3, T("bus"), false},
      {3, T("bus "), false},
      {3, T("bus USB"), false},
      {3, T("bus usb "), false},
      {3, T("bus scsi"), false},
      {3, T("bus (null)"), false},
      {3, T("bus 1"), false},
      {4, T("order 0"), true},
      {4, T("order 86400"), true},
      {4, T("order 86401"), false},
      {4, T("order -1"), false},
      {4, T("order 4294967306"), false}, /* 10 once it wraps round */
      {4, T("order 18446744073709551626"), false},
      {4, T("order"), false},
      {4, T("order "), false},
      {4, T("order 1.0"), false},
      {4, T("order 1 "), false},
      {4, T("order 1\0"), false},
      {4, T("order 1 ecg"), true},
      {4, T("order 1 measurement"), true},
      {4, T("order 1 spirometry baseline"), true},
      {4, T("order 1 spirometry post"), true},
      {4, T("order 1 ECG"), false},
      {4, T("order 1 ecg "), false},
      {4, T("order 1  ecg"), false},
      {4, T("order  ecg"), false},
      {4, T("order ecg"), false},
      {4, T("order 1 ecgs"), false},
      {4, T("order 1 post"), false},
      {4, T("order 1 post spirometry"), false},
      {4, T("order 1 spirometry  post"), false},
      {4, T("order 1 spirometry POST"), false},
      {4, T("order 1 spirometry post "), false},
      {4, T("order 1 spirometry post pre"), false},
      {4, T("order 1 spirometry (null)"), false},
      {4, T("order 1 spirometry\0post"), false},
      {5, T("start 2026-03-29T01:59:59Z"), true},
      {5, T("start 2026-03-29T01:59:59"), false},
      {5, T("start 2026-02-29T01:59:59Z"), false},
      {5, T("start 1969-12-31T23:59:59Z"), false},
      {5, T("start 2026-03-29T01:59:59Z "), false},
      {5, T("start null"), false},
      {5, T("start"), false},
      {5, T("start "), false},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    char text[sizeof session + 128];
    size_t n = replace_line(session, rows[i].line, rows[i].text, text);
    _capture_cleanup_ struct acq_capture c = {0};
    unsigned at = parse(text, n, &c);
    if (at != (rows[i].fine ? 0 : rows[i].line))
      fail_msg("\"%s\": %u", rows[i].text.text, at);
  }
  _capture_cleanup_ struct acq_capture c = {0};
  assert_int_equal(parse(HEADER, sizeof HEADER - 1, &c), 0); /* nothing was said yet */
  assert_int_equal(c.n_events, 0);
  assert_int_equal(c.end, CAPTURE_CUT);
  assert_int_equal(acq_capture_received(&c).err, 0);
  struct acq_cur none = acq_capture_received(&c);
  assert_int_equal(acq_left(&none), 0);
  assert_int_equal(acq_end(&none), 0);
}

TEST(orders) {
  static const struct {
    struct acq_order order;
    const char *line;
    enum acq_phase phase; /* as it is read */
  } rows[] = {
      {{.seconds = 0}, "\norder 0\n", ACQ_NO_PHASE},
      {{.seconds = 10, .modality = ACQ_ECG}, "\norder 10 ecg\n", ACQ_NO_PHASE},
      {{.seconds = 10, .modality = ACQ_SPIROMETRY}, "\norder 10 spirometry\n", ACQ_NO_PHASE},
      {{.seconds = 300, .modality = ACQ_SPIROMETRY, .phase = ACQ_BASELINE},
       "\norder 300 spirometry baseline\n",
       ACQ_BASELINE},
      {{.seconds = 300, .modality = ACQ_SPIROMETRY, .phase = ACQ_PRE}, "\norder 300 spirometry pre\n", ACQ_PRE},
      {{.seconds = 86400, .modality = ACQ_SPIROMETRY, .phase = ACQ_POST}, "\norder 86400 spirometry post\n", ACQ_POST},
      {{.seconds = 1, .modality = ACQ_FUNDUS}, "\norder 1 fundus\n", ACQ_NO_PHASE},
      {{.seconds = 1, .modality = ACQ_MEASUREMENT}, "\norder 1 measurement\n", ACQ_NO_PHASE},
      {{.seconds = 1, .phase = ACQ_POST}, "\norder 1\n", ACQ_NO_PHASE}, /* a phase of nothing */
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct capture_header h = header;
    struct capture_writer w;
    int fd = file();
    size_t n;
    h.order = rows[i].order;
    capture_writer_init(&w, fd, 4096);
    assert_int_equal(capture_write_header(&w, &h), 0);
    char *text = text_of(fd, &n);
    if (!strstr(text, rows[i].line))
      fail_msg("%s", text);
    _capture_cleanup_ struct acq_capture c = {0};
    assert_int_equal(parse(text, n, &c), 0);
    const struct acq_order *o = acq_capture_order(&c);
    assert_int_equal(o->seconds, rows[i].order.seconds);
    assert_int_equal(o->modality, rows[i].order.modality);
    assert_int_equal(o->phase, rows[i].phase);
    free(text);
    close(fd);
  }
}

/* Captures from before there was a sensor to name. */
TEST(identity_without_a_sensor) {
  static const struct acq_identity old = {.make = "A", .serial = "1"};
  int fd = file();
  struct capture_writer w;
  size_t n;
  capture_writer_init(&w, fd, 4096);
  capture_write_header(&w, &header);
  capture_write_identity(&w, 1, &old);
  char *text = text_of(fd, &n);
  assert_null(strstr(text, "sensor"));
  _capture_cleanup_ struct acq_capture c = {0};
  assert_int_equal(parse(text, n, &c), 0);
  assert_string_equal(c.identity.sensor, "");
  assert_int_equal(c.n_events, 5);
  free(text);
  close(fd);
}

TEST(times) {
  static const char back[] = HEADER "< 5 00\n> 5 00\n! 6 x\n< 4 00\nend ok\n",
                    back_by_one[] = HEADER "! 4294967295 x\n! 4294967294 x\n",
                    same[] = HEADER "< 5 00\n! 5 x\nend ok\n", zeros[] = HEADER "< 0005 00\n! 000000000000006 x\n",
                    many[] = HEADER "< 0000000000000005 00\n";
  _capture_cleanup_ struct acq_capture a = {0}, b = {0}, c = {0}, d = {0}, e = {0};
  assert_int_equal(parse(back, sizeof back - 1, &a), 9);
  assert_int_equal(parse(back_by_one, sizeof back_by_one - 1, &b), 7);
  assert_int_equal(parse(same, sizeof same - 1, &c), 0);
  assert_int_equal(parse(zeros, sizeof zeros - 1, &d), 0);
  event_is(&d, 1, '!', 6, "x", 1);
  assert_int_equal(parse(many, sizeof many - 1, &e), 6);
}

TEST(hexadecimal_either_case) {
  static const char text[] = HEADER "< 0 0aFfA0\n";
  _capture_cleanup_ struct acq_capture c = {0};
  assert_int_equal(parse(text, sizeof text - 1, &c), 0);
  event_is(&c, 0, '<', 0, "\x0a\xff\xa0", 3);
}

TEST(too_large) {
  char *text = calloc(CAPTURE_TEXT_MAX + 1ul, 1);
  assert_non_null(text);
  struct acq_capture c = {.n_events = 77};
  unsigned line = 77;
  assert_int_equal(capture_parse(text, CAPTURE_TEXT_MAX + 1ul, &c, &line), -EFBIG);
  assert_int_equal(c.n_events, 77);
  assert_int_equal(capture_parse(text, CAPTURE_TEXT_MAX, &c, &line), -EPROTO);
  assert_int_equal(line, 1);
  assert_int_equal(capture_parse(text, 10, &c, NULL), -EPROTO); /* a line number nobody asked for */
  assert_int_equal(c.n_events, 77);
  free(text);
}

/* Random damage: refused, or a capture whose every event lies within its arena and whose times never decrease. */
TEST(damaged_texts) {
  size_t whole = sizeof session - 1;
  static const char likely[] = "<>! \n0159af\0\xff"
                               "endok";
  unsigned accepted = 0;
  for (int i = 0; i < 200000; i++) {
    char text[sizeof session + 8];
    size_t n = whole;
    memcpy(text, session, whole);
    for (uint64_t k = rnd() % 3 + 1; k; k--) {
      size_t at = rnd() % n;
      switch (rnd() % 4) {
      case 0:
        text[at] = (char)rnd();
        break;
      case 1:
        text[at] = likely[rnd() % (sizeof likely - 1)];
        break;
      case 2:
        memmove(text + at, text + at + 1, n - at - 1);
        n--;
        break;
      default:
        memmove(text + at + 1, text + at, n - at);
        text[at] = likely[rnd() % (sizeof likely - 1)];
        n++;
      }
    }
    _capture_cleanup_ struct acq_capture c = {0};
    if (parse(text, n, &c))
      continue;
    accepted++;
    struct acq_event e;
    uint32_t last = 0;
    size_t received = 0, sum = 0;
    for (size_t k = 0; acq_capture_event(&c, k, &e); k++) {
      assert_true(e.kind == ACQ_RECEIVED || e.kind == ACQ_SENT || e.kind == ACQ_NOTE || e.kind == ACQ_INTERRUPT);
      assert_true(e.ms >= last);
      last = e.ms;
      for (size_t b = 0; b < e.n; b++)
        sum += e.bytes[b];
      received += e.kind == ACQ_RECEIVED ? e.n : 0;
      if (e.kind == ACQ_NOTE)
        assert_true(str_is_clean_utf8((const char *)e.bytes, e.n));
    }
    assert_int_equal(c.n_received, received);
    assert_true(sum > 0 || !c.n_events);
  }
  assert_true(accepted > 1000);
}

TEST(bare_bytes) {
  _capture_cleanup_ struct acq_capture c = {0}, none = {0};
  assert_int_equal(capture_from_raw("\x01\x00\xff", 3, &c), 0);
  assert_true(c.raw);
  assert_int_equal(c.end, CAPTURE_OK);
  assert_int_equal(c.n_events, 1);
  event_is(&c, 0, '<', 0, "\x01\x00\xff", 3);
  struct acq_cur cur = acq_capture_received(&c);
  assert_int_equal(acq_left(&cur), 3);
  assert_string_equal(acq_capture_identity(&c)->make, "");
  assert_int_equal(capture_from_raw(NULL, 0, &none), 0);
  assert_true(none.raw);
  assert_int_equal(none.n_events, 0);
  cur = acq_capture_received(&none);
  assert_int_equal(acq_left(&cur), 0);
  assert_int_equal(acq_end(&cur), 0);
  struct acq_capture big = {.n_events = 77};
  uint8_t *bytes = calloc(CAPTURE_TEXT_MAX + 1ul, 1);
  assert_non_null(bytes);
  assert_int_equal(capture_from_raw(bytes, CAPTURE_TEXT_MAX + 1ul, &big), -EFBIG);
  assert_int_equal(big.n_events, 77);
  free(bytes);
  capture_finish(NULL);
  capture_finish(&none);
  capture_finish(&none);
}

TEST(no_memory) {
  if (!fail_alloc_works())
    skip();
  char *text = malloc(60000), *p = text; /* past several doublings of every buffer */
  assert_non_null(text);
  p += sprintf(p, HEADER);
  for (int i = 0; i < 400; i++)
    p += sprintf(p, "< %d 0123456789abcdef\n> %d 55\n! %d make note %d\n", i, i, i, i);
  p += sprintf(p, "end ok\n");
  _capture_cleanup_ struct acq_capture whole = {0};
  assert_int_equal(parse(text, (size_t)(p - text), &whole), 0);
  for (int on = 0; on < 2; on++)
    for (size_t nth = 1;; nth++) {
      struct acq_capture c = {.n_events = 77};
      long before = fail_alloc_live();
      fail_alloc_set(nth, on);
      int r = capture_parse(text, (size_t)(p - text), &c, NULL);
      bool hit = fail_alloc_hit();
      fail_alloc_set(0, false);
      if (r == 0) {
        assert_int_equal(c.n_events, whole.n_events);
        assert_int_equal(c.n_received, whole.n_received);
        assert_memory_equal(c.received, whole.received, c.n_received);
        assert_memory_equal(c.events, whole.events, c.n_events * sizeof *c.events);
        capture_finish(&c);
      } else {
        assert_int_equal(r, -ENOMEM);
        assert_true(hit);
        assert_int_equal(c.n_events, 77);
        assert_null(c.events);
      }
      assert_int_equal(fail_alloc_live(), before);
      if (!hit) {
        assert_int_equal(r, 0);
        assert_true(nth > 15);
        break;
      }
    }
  for (size_t nth = 1;; nth++) {
    struct acq_capture c = {.n_events = 77};
    long before = fail_alloc_live();
    fail_alloc_set(nth, false);
    int r = capture_from_raw("abc", 3, &c);
    bool hit = fail_alloc_hit();
    fail_alloc_set(0, false);
    assert_int_equal(r, hit ? -ENOMEM : 0);
    assert_int_equal(c.n_events, hit ? 77 : 1);
    if (!hit)
      capture_finish(&c);
    assert_int_equal(fail_alloc_live(), before);
    if (!hit) {
      assert_int_equal(nth, 3);
      break;
    }
  }
  int fd = file();
  struct capture_writer w;
  capture_writer_init(&w, fd, 4096);
  long before = fail_alloc_live();
  fail_alloc_set(1, true);
  int r = capture_write_header(&w, &header);
  fail_alloc_set(0, false);
  assert_int_equal(r, -ENOMEM);
  assert_int_equal(capture_write_note(&w, 0, "x"), -ENOMEM); /* sticky: never a capture without its header */
  assert_int_equal(w.written, 0);
  assert_int_equal(fail_alloc_live(), before);
  close(fd);
  free(text);
}

/* ---- blobs ---- */

static int parse_blobs(const char *text, size_t n, const void *blobs, size_t n_blobs, struct acq_capture *ret) {
  char *exact = malloc(n + !n);
  uint8_t *bytes = malloc(n_blobs + !n_blobs); /* the capture refers to it: not freed before */
  assert_non_null(exact);
  assert_non_null(bytes);
  memcpy(exact, text, n);
  if (n_blobs)
    memcpy(bytes, blobs, n_blobs);
  unsigned line = 0;
  int r = capture_parse_with(exact, n, bytes, n_blobs, ret, &line);
  free(exact);
  if (r < 0) {
    free(bytes);
    assert_true(line > 0);
  }
  return r;
}

static void finish_blobs(struct acq_capture *c) {
  free((void *)(uintptr_t)c->blob_bytes);
  capture_finish(c);
}

/* The events as "<bytes|@bytes|"; of a note its text. */
static char *said(const struct acq_capture *c) {
  static char text[4096];
  struct acq_event e;
  struct acq_cur stream = acq_capture_received(c);
  size_t at = 0;
  for (size_t i = 0; acq_capture_event(c, i, &e); i++) {
    at += (size_t)snprintf(text + at, sizeof text - at, "%c%.*s|", (char)e.kind, (int)e.n, (const char *)e.bytes);
    assert_true(at < sizeof text && e.n > 0);
    if (e.kind == ACQ_RECEIVED) { /* one stream, in the order of the events */
      const uint8_t *same = acq_bytes(&stream, e.n);
      assert_ptr_equal(same, e.bytes);
    }
  }
  assert_int_equal(acq_end(&stream), 0);
  for (size_t i = 0; i < c->n_blobs; i++) { /* each is the event that it says */
    assert_true(acq_capture_event(c, c->blobs[i].event, &e));
    assert_true(e.kind == ACQ_BLOB_WHOLE || e.kind == ACQ_BLOB_WASTE);
    assert_ptr_equal(e.bytes, c->blob_bytes + c->blobs[i].at);
    assert_int_equal(e.n, c->blobs[i].n);
  }
  text[at] = 0;
  return text;
}

/* Formats a text whose '%s' are the hashes of the given blobs. */
static const char *hashed(const char *format, const char *const *blobs) {
  static char text[4096];
  char *p = text;
  for (; *format; format++) {
    if (*format != '%') {
      *p++ = *format;
      continue;
    }
    hash_sha256_text(*blobs, strlen(*blobs), p);
    p += HASH_TEXT - 1;
    blobs++;
  }
  *p = 0;
  return text;
}

#define BLOBS (const char *const[])

TEST(blob_events) {
  const struct {
    const char *lines;
    const char *const *hashes;
    const char *bytes, *events;
    int err;
  } rows[] = {
      {"< 1 6162\n@ 1 3 0\n# 2 3 %\n", BLOBS{"xyz"}, "xyz", "<ab|@xyz|#xyz|", 0},
      {"@ 1 2 0\n@ 1 1 0\n~ 2 3 %\n", BLOBS{"xyz"}, "xyz", "@xy|@z|~xyz|", 0},
      /* the last bytes of a line begin the blob, however far it then goes */
      {"< 1 61627879\n@ 1 3 2\n# 2 3 %\n", BLOBS{"xyz"}, "xyz", "<ab|@xyz|#xyz|", 0},
      {"< 1 61627879\n@ 1 2 2\n@ 2 1 0\n# 2 3 %\n", BLOBS{"xyz"}, "xyz", "<ab|@xy|@z|#xyz|", 0},
      {"< 1 61627879\n! 1 finish\n> 1 43\n^ 1 44\n@ 1 3 2\n# 2 3 %\n", BLOBS{"xyz"}, "xyz",
       "<ab|!finish|>C|^D|@xyz|#xyz|", 0},
      /* it ends within the line, and what follows is still to be read */
      {"< 1 6162787963\n@ 1 2 2 1\n# 2 2 %\n< 3 64\n", BLOBS{"xy"}, "xy", "<ab|@xy|<c|#xy|<d|", 0},
      /* and begins another blob, whole or in part, at once or after more was read */
      {"< 1 6178797a\n@ 1 2 2 1\n# 2 2 %\n@ 3 1 1\n# 3 1 %\n", BLOBS{"xy", "z"}, "xyz", "<a|@xy|#xy|@z|#z|", 0},
      {"< 1 6178797a\n@ 1 1 1 2\n# 2 1 %\n@ 3 1 1 1\n# 3 1 %\n@ 3 1 1\n# 3 1 %\n", BLOBS{"x", "y", "z"}, "xyz",
       "<a|@x|#x|@y|#y|@z|#z|", 0},
      {"< 1 6178627a\n@ 1 1 1 2\n# 2 1 %\n@ 3 2 1\n# 3 2 %\n", BLOBS{"x", "zz"}, "xzz", "<a|@x|<b|#x|@zz|#zz|", 0},
      /* more than there is, or other bytes */
      {"< 1 6178\n@ 1 2 2\n", NULL, "ax", NULL, -EPROTO},
      {"< 1 6178\n@ 1 1 1 1\n", NULL, "a", NULL, -EPROTO},
      {"< 1 6178\n@ 1 1 1\n", NULL, "y", NULL, -EPROTO},
      {"< 1 617879\n@ 1 1 1 1\n", NULL, "y", NULL, -EPROTO},
      {"< 1 617878\n@ 1 1 1\n@ 1 1 1\n", NULL, "xx", NULL, -EPROTO}, /* the end of that line is in a blob already */
      {"< 1 61787879\n@ 1 1 1 2\n@ 1 2 2 1\n", NULL, "xxy", NULL, -EPROTO},
      {"@ 1 1 1\n", NULL, "x", NULL, -EPROTO},
      {"> 1 6178\n@ 1 1 1\n", NULL, "x", NULL, -EPROTO},
      {"< 1 6178\n@ 1 2 3\n", NULL, "xyz", NULL, -EPROTO},
      {"< 1 617879\n@ 1 2 1 1\n", NULL, "xy", NULL, -EPROTO}, /* what goes on did not end within the line */
      {"< 1 617879\n@ 1 1 1 0\n", NULL, "x", NULL, -EPROTO},
      {"< 1 617879\n@ 1 1 0 1\n", NULL, "x", NULL, -EPROTO},
      {"@ 1 2 0\n", NULL, "x", NULL, -EPROTO},
      {"@ 1 0 0\n", NULL, "x", NULL, -EPROTO},
      {"@ 1 1\n", NULL, "x", NULL, -EPROTO},
      {"@ 1 1 \n", NULL, "x", NULL, -EPROTO},
      {"@ 1 1 0 \n", NULL, "x", NULL, -EPROTO},
      {"@ 1 1 0 1 1\n", NULL, "x", NULL, -EPROTO},
      {"@ 1 18446744073709551617 0\n", NULL, "x", NULL, -EPROTO},
      /* ends that end something else */
      {"# 1 1 %\n", BLOBS{"x"}, "x", NULL, -EPROTO},
      {"@ 1 1 0\n# 1 1 %\n# 1 1 %\n", BLOBS{"x", "x"}, "x", NULL, -EPROTO},
      {"@ 1 2 0\n# 1 1 %\n", BLOBS{"x"}, "xy", NULL, -EPROTO},
      {"@ 1 1 0\n# 1 2 %\n", BLOBS{"xy"}, "xy", NULL, -EPROTO},
      {"@ 1 2 0\n# 1 2 %\n", BLOBS{"yx"}, "xy", NULL, -EBADMSG},
      {"@ 1 1 0\n# 1 1 %0\n", BLOBS{"x"}, "x", NULL, -EPROTO},
      {"@ 1 1 0\n# 1 1\n", NULL, "x", NULL, -EPROTO},
      {"@ 1 1 0\n# 1 1 2D711642B726B04401627CA9FBAC32F5C8530FB1903CC4DB02258717921A4881\n", NULL, "x", NULL, -EPROTO},
      /* the text has its end, the blobs have not, or go on after it */
      {"@ 1 1 0\n", NULL, "x", NULL, -EBADMSG},
      {"@ 1 1 0\n# 1 1 %\n", BLOBS{"x"}, "xy", NULL, -EBADMSG},
      {"< 1 61\n", NULL, "x", NULL, -EBADMSG},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    char text[4096];
    int n = snprintf(text, sizeof text, HEADER "%send ok\n", hashed(rows[i].lines, rows[i].hashes));
    struct acq_capture c;
    int r = parse_blobs(text, (size_t)n, rows[i].bytes, strlen(rows[i].bytes), &c);
    if (r != rows[i].err)
      fail_msg("row %zu: %d", i, r);
    if (r < 0)
      continue;
    assert_string_equal(said(&c), rows[i].events);
    finish_blobs(&c);
  }
}

/* A conversation with all that blobs can do, and its bytes. */
static void write_blobs(struct capture_writer *w) {
  capture_write_header(w, &header);
  capture_write_event(w, ACQ_SENT, 1, "get", 3);
  capture_write_event(w, ACQ_RECEIVED, 2, "headONEtail", 11);
  capture_add_to_blob(w, "ONE", 3);
  capture_write_blob(w, 2, 3, 3, 4);
  capture_write_blob_end(w, ACQ_BLOB_WHOLE, 3);
  capture_write_event(w, ACQ_INTERRUPT, 4, "!", 1);
  capture_write_event(w, ACQ_RECEIVED, 5, "hTW", 3);
  capture_add_to_blob(w, "TW", 2);
  capture_write_blob(w, 5, 2, 2, 0);
  capture_add_to_blob(w, "O", 1);
  capture_add_to_blob(w, "+", 1);
  capture_write_blob(w, 6, 2, 0, 0);
  capture_write_note(w, 6, "timeout");
  capture_add_to_blob(w, "more", 4);
  capture_write_blob(w, 7, 4, 0, 0);
  capture_write_blob_end(w, ACQ_BLOB_WHOLE, 8);
  capture_add_to_blob(w, "lost", 4);
  capture_write_blob(w, 9, 4, 0, 0);
  capture_write_end(w, CAPTURE_CANCEL);
}

#define BLOB_EVENTS ">get|<head|@ONE|<tail|#ONE|^!|<h|@TW|@O+|!timeout|@more|#TWO+more|@lost|~lost|"

TEST(blobs_round_trip) {
  int fd = file(), blobs = file();
  struct capture_writer w;
  capture_writer_init(&w, fd, 4096);
  w.blobs = blobs;
  write_blobs(&w);
  assert_int_equal(w.err, 0);
  size_t n, n_blobs;
  char *text = text_of(fd, &n), *bytes = text_of(blobs, &n_blobs);
  assert_string_equal(bytes, "ONETWO+morelost");
  assert_int_equal(w.blobs_bytes, n_blobs);
  struct acq_capture c;
  assert_int_equal(parse_blobs(text, n, bytes, n_blobs, &c), 0);
  assert_string_equal(said(&c), BLOB_EVENTS);
  assert_int_equal(c.end, CAPTURE_CANCEL);
  assert_int_equal(c.n_blobs, 3);
  assert_true(c.events[3].held && !c.events[1].held && !c.events[6].held);
  finish_blobs(&c);
  for (size_t bit = 0; bit < 8 * n_blobs; bit++) { /* every bit of every blob is covered */
    bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
    int r = parse_blobs(text, n, bytes, n_blobs, &c);
    assert_true(r == -EBADMSG || r == -EPROTO); /* the first bytes stand in the text too */
    bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
  }
  for (size_t less = 0; less < n_blobs; less++)
    assert_true(parse_blobs(text, n, bytes, less, &c) < 0);
  char longer[64] = "";
  memcpy(longer, bytes, n_blobs);
  for (size_t more = 1; more < 10; more++)
    assert_int_equal(parse_blobs(text, n, longer, n_blobs + more, &c), -EBADMSG);
  for (size_t cut = 0; cut < n; cut++) { /* as far as it goes, it is a conversation */
    int r = parse_blobs(text, cut, bytes, n_blobs, &c);
    if (r < 0) {
      assert_int_equal(r, -EPROTO);
      assert_true(cut < sizeof HEADER - 1);
      continue;
    }
    assert_int_equal(c.end, CAPTURE_CUT);
    said(&c);
    finish_blobs(&c);
  }
  free(text);
  free(bytes);
  close(fd);
  close(blobs);
}

/* Every bit of the text: refused, or a conversation whose blobs are the same bytes as before. */
TEST(blob_texts_damaged) {
  int fd = file(), blobs = file();
  struct capture_writer w;
  capture_writer_init(&w, fd, 4096);
  w.blobs = blobs;
  write_blobs(&w);
  size_t n, n_blobs;
  char *text = text_of(fd, &n), *bytes = text_of(blobs, &n_blobs);
  for (size_t bit = 0; bit < 8 * n; bit++) {
    struct acq_capture c;
    text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
    if (parse_blobs(text, n, bytes, n_blobs, &c) == 0) {
      char sha[HASH_TEXT];
      for (size_t i = 0; i < c.n_blobs; i++) {
        hash_sha256_text(c.blob_bytes + c.blobs[i].at, c.blobs[i].n, sha);
        assert_string_equal(sha, c.blobs[i].sha256);
      }
      finish_blobs(&c);
    }
    text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
  }
  free(text);
  free(bytes);
  close(fd);
  close(blobs);
}

/* Killed anywhere: after any byte of the text, with any bytes of blobs that it had not named yet. */
TEST(mend_everywhere) {
  int whole = file(), blobs = file();
  struct capture_writer w;
  capture_writer_init(&w, whole, 4096);
  w.blobs = blobs;
  write_blobs(&w);
  size_t n, n_blobs, states = 0;
  char *text = text_of(whole, &n), *bytes = text_of(blobs, &n_blobs);
  static const size_t parts[] = {3, 2, 2, 4, 4};
  for (size_t cut = sizeof HEADER - 1; cut <= n; cut++) {
    size_t named = 0, next, k = 0;
    for (const char *p = text; p < text + cut; p++) /* whole lines of parts */
      if (*p == '@' && p[-1] == '\n' && memchr(p, '\n', (size_t)(text + cut - p)))
        named += parts[k++];
    next = named + (k < COUNT(parts) ? parts[k] : 0);
    for (size_t there = named; there <= next; there++, states++) {
      int fd = file(), rest = file();
      assert_int_equal(write(fd, text, cut), cut);
      assert_int_equal(write(rest, bytes, there), there);
      assert_int_equal(capture_mend(fd, rest), 0);
      assert_int_equal(capture_mend(fd, rest), 0); /* nothing more to do */
      size_t n_mended;
      char *mended = text_of(fd, &n_mended);
      struct acq_capture c;
      assert_int_equal(parse_blobs(mended, n_mended, bytes, there, &c), 0);
      assert_int_equal(c.end, cut == n ? CAPTURE_CANCEL : CAPTURE_CRASH);
      size_t ended = 0;
      for (size_t i = 0; i < c.n_blobs; i++)
        ended += c.blobs[i].n;
      assert_int_equal(ended, there);
      said(&c);
      finish_blobs(&c);
      free(mended);
      close(fd);
      close(rest);
    }
  }
  assert_true(states > n - sizeof HEADER);
  free(text);
  free(bytes);
  close(whole);
  close(blobs);
}

static char *mended(const char *lines, off_t blob_bytes, size_t *ret_n, int *ret) {
  int fd = file(), blobs = blob_bytes < 0 ? -1 : file();
  assert_int_equal(write(fd, HEADER, sizeof HEADER - 1), sizeof HEADER - 1);
  assert_int_equal(write(fd, lines, strlen(lines)), strlen(lines));
  if (blobs >= 0)
    assert_int_equal(ftruncate(blobs, blob_bytes), 0);
  *ret = capture_mend(fd, blobs);
  char *text = text_of(fd, ret_n);
  close(fd);
  if (blobs >= 0)
    close(blobs);
  return text;
}

/* Whoever took a worker over wrote what he liked: the text gets its end, and nobody waits for him. */
TEST(mend_hostile) {
  static const struct {
    const char *lines;
    off_t blobs;
    const char *added; /* but for the hash */
  } rows[] = {
      {"@ 1 5 0\n", 3, ""},
      {"@ 1 5 0\n", -1, ""},
      {"# 1 5 x\n", 9, ""},
      {"@ 1 5 0\n# 1 9 x\n", 9, ""},
      {"@ 1 402653184 0\n@ 1 402653184 0\n", 9, ""},
      {"@ 1 99999999999999999999 0\n", 1, "@ 1 1 0\n~ 1 1 "},
      {"@ 1 18446744073709551615 0\n@ 1 2 0\n", 1, ""},
      {"@\n@ \n@  \n@ 7 \n@ 7\n#\n~ x x\n", 1, "@ 0 1 0\n~ 0 1 "},
      {"< 7 00\nend ok\n< 9 00\n", 0, ""},
      {"> 8 00\n", 2, "@ 8 2 0\n~ 8 2 "},
      {"> 99999999999 00\n", 2, "@ 0 2 0\n~ 0 2 "},
      {"@ 1 67108865 0\n", 67108865, ""},
      {"", (off_t)1 << 40, "@ 0 67108864 0\n~ 0 67108864 "},
      {"@ 4294967295 2 0\n", (off_t)1 << 40, "@ 4294967295 67108862 0\n~ 4294967295 67108864 "},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    size_t n, had = sizeof HEADER - 1 + strlen(rows[i].lines);
    int r;
    char *text = mended(rows[i].lines, rows[i].blobs, &n, &r);
    assert_true(r == 0 || r == -EFBIG);
    assert_true(n > had && n - had <= CAPTURE_MEND_MAX);
    assert_memory_equal(text + had, rows[i].added, strlen(rows[i].added));
    size_t hash = rows[i].added[0] ? HASH_TEXT : 0;
    assert_string_equal(text + had + strlen(rows[i].added) + hash, "end crash\n");
    free(text);
  }
}

/* The bounds of a writer: told beforehand, refused without harm, and what is refused leaves no byte. */
TEST(blob_bounds) {
  int fd = file(), blobs = file();
  struct capture_writer w;
  capture_writer_init(&w, fd, 1 << 20);
  w.blobs = blobs;
  assert_int_equal(capture_blob_room(&w), ACQ_BLOB_MAX);
  for (unsigned i = 0; i < CAPTURE_BLOBS_MAX; i++) {
    assert_int_equal(capture_add_to_blob(&w, "ab", 2), 0);
    assert_int_equal(capture_blob_room(&w), ACQ_BLOB_MAX - 2);
    assert_int_equal(capture_write_blob(&w, i, 2, 0, 0), 0);
    assert_int_equal(capture_write_blob_end(&w, ACQ_BLOB_WHOLE, i), 0);
  }
  assert_int_equal(capture_blob_room(&w), 0);
  assert_int_equal(capture_add_to_blob(&w, "ab", 2), -EFBIG);
  assert_int_equal(w.err, 0);
  assert_int_equal(lseek(blobs, 0, SEEK_END), 2 * CAPTURE_BLOBS_MAX);
  capture_writer_init(&w, fd, 1 << 20);
  w.blobs = blobs;
  w.blobs_bytes = ACQ_BLOBS_BYTES_MAX - 3;
  assert_int_equal(capture_blob_room(&w), 3);
  assert_int_equal(capture_add_to_blob(&w, "abcd", 4), -EFBIG);
  assert_int_equal(capture_add_to_blob(&w, "abc", 3), 0);
  assert_int_equal(capture_blob_room(&w), 0);
  capture_writer_init(&w, fd, 1 << 20);
  w.blobs = open("/dev/full", O_WRONLY | O_CLOEXEC);
  assert_int_equal(capture_add_to_blob(&w, "abc", 3), -ENOSPC);
  assert_int_equal(capture_write_end(&w, CAPTURE_OK), -ENOSPC); /* mended: as if the writer had been killed */
  close(w.blobs);
  close(fd);
  close(blobs);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trip),
      cmocka_unit_test(long_events_are_split),
      cmocka_unit_test(times_never_decrease),
      cmocka_unit_test(notes_read_back),
      cmocka_unit_test(identity_fields),
      cmocka_unit_test(writer_bound),
      cmocka_unit_test(writer_errors),
      cmocka_unit_test(ends),
      cmocka_unit_test(every_truncation),
      cmocka_unit_test(junk_lines),
      cmocka_unit_test(header_lines),
      cmocka_unit_test(orders),
      cmocka_unit_test(identity_without_a_sensor),
      cmocka_unit_test(times),
      cmocka_unit_test(hexadecimal_either_case),
      cmocka_unit_test(too_large),
      cmocka_unit_test(damaged_texts),
      cmocka_unit_test(bare_bytes),
      cmocka_unit_test(blob_events),
      cmocka_unit_test(blobs_round_trip),
      cmocka_unit_test(blob_texts_damaged),
      cmocka_unit_test(mend_everywhere),
      cmocka_unit_test(mend_hostile),
      cmocka_unit_test(blob_bounds),
      cmocka_unit_test(no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
