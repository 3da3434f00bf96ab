/* asaleed-export decode, as the daemon starts it: a file by descriptor, what a driver reads of it back, and that
 * through the driver. Files are written here byte by byte, in every encoding; hostile ones too.
 *
 * ASALEED_MUTATIONS=N: so many random mutations of each file instead of 60. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "dicom_file.h"
#include "flat_bed.h"
#include "hash.h"
#include "str.h"
#include <asalee/export.h>
#include <asalee/flat.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- running it ---- */

static char program[512];

struct result {
  int status; /* enum export_exit, or 128 + a signal */
  uint8_t *at;
  size_t n;
  char said[1024];
};

static int memory(const void *bytes, size_t n) {
  int fd = memfd_create("given", MFD_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(fd_write_all(fd, bytes, n), 0);
  return fd;
}

static uint8_t *slurp(int fd, size_t *ret_n) {
  struct stat s;
  assert_int_equal(fstat(fd, &s), 0);
  *ret_n = (size_t)s.st_size;
  uint8_t *at = malloc(*ret_n + 1);
  assert_int_equal(pread(fd, at, *ret_n, 0), *ret_n);
  at[*ret_n] = 0;
  return at;
}

/* fds: what EXPORT_FD_JOB and the next ones become; -1 for closed. */
static struct result run(const char *command, const int fds[static 4]) {
  int said = memory("", 0), status;
  size_t n;
  pid_t pid = fork();
  if (pid == 0) {
    int high[5];
    for (int i = 0; i < 5; i++) {
      const int fd = i < 4 ? fds[i] : said;
      high[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD, 100);
    }
    for (int i = 0; i < 4; i++)
      if (high[i] < 0)
        close(EXPORT_FD_JOB + i);
      else
        dup2(high[i], EXPORT_FD_JOB + i);
    dup2(high[4], STDERR_FILENO);
    closefrom(EXPORT_FD_OUT + 1);
    execl(program, program, command, NULL);
    _exit(99);
  }
  assert_int_equal(waitpid(pid, &status, 0), pid);
  struct result r = {.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)};
  char *text = (char *)slurp(said, &n);
  snprintf(r.said, sizeof r.said, "%s", text);
  free(text);
  close(said);
  if (fds[3] >= 0)
    r.at = slurp(fds[3], &r.n);
  return r;
}

static struct result decode(const void *file, size_t n) {
  int fds[4] = {-1, -1, memory(file, n), memory("", 0)};
  struct result r = run("decode", fds);
  close(fds[2]), close(fds[3]);
  return r;
}

static void finish(struct result *r) {
  free(r->at);
  *r = (struct result){0};
}
#define RESULT(name) __attribute__((cleanup(finish))) struct result name

/* Consumes the buffer. */
static struct result decode_buf(struct buf *b) {
  assert_int_equal(b->err, 0);
  struct result r = decode(b->data, b->len);
  buf_finish(b);
  return r;
}

static void done(const struct result *r) {
  if (r->status != EXPORT_DONE || r->said[0])
    fail_msg("status %d: %s", r->status, r->said);
}

/* One line that says why, and nothing made. */
static void refused(const struct result *r, const char *why) {
  if (r->status != EXPORT_REFUSED || r->n || !strstr(r->said, why) ||
      strchr(r->said, '\n') != r->said + strlen(r->said) - 1)
    fail_msg("status %d, %zu bytes, said \"%s\" instead of \"%s\"", r->status, r->n, r->said, why);
}

/* ---- what was made ---- */

/* The i-th value of that tag and kind, wherever it stands; NULL when there is none. */
static const uint8_t *value(const struct result *r, uint32_t tag, char kind, unsigned i, size_t *ret_n) {
  done(r);
  struct acq_cur c = acq_cur(r->at, r->n);
  const uint8_t *magic = acq_bytes(&c, strlen(FLAT_MAGIC));
  assert_memory_equal(magic, FLAT_MAGIC, strlen(FLAT_MAGIC));
  for (;;) {
    const uint32_t this = acq_u32le(&c);
    const char is = (char)acq_u8(&c);
    const uint32_t n = acq_u32le(&c);
    const uint8_t *bytes = acq_bytes(&c, n);
    assert_int_equal(c.err, 0);
    if (this == tag && is == kind && i-- == 0) {
      *ret_n = n;
      return bytes;
    }
    if (is == '.') {
      assert_int_equal(acq_end(&c), 0);
      return NULL;
    }
  }
}

static const char *text_of(const struct result *r, uint32_t tag) {
  static char text[FLAT_TEXT_MAX + 1];
  size_t n;
  const uint8_t *v = value(r, tag, 't', 0, &n);
  if (!v)
    return "(none)";
  memcpy(text, v, n);
  text[n] = 0;
  return text;
}

/* ---- writing files ---- */

enum syntax { EXPLICIT, IMPLICIT, BIG, BARE };
static const char *const uids[] = {"1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"};

struct file {
  struct buf b;
  enum syntax syntax;
  bool undefined; /* sequences and items of undefined length */
  size_t open[32];
  unsigned depth;
};

static void number(struct file *f, unsigned width, uint32_t v) {
  for (unsigned i = 0; i < width; i++)
    buf_u8(&f->b, (uint8_t)(v >> 8 * (f->syntax == BIG ? width - 1 - i : i)));
}

static void head(struct file *f, uint32_t tag, const char *vr, uint32_t n) {
  number(f, 2, tag >> 16);
  number(f, 2, tag & 0xffff);
  if (f->syntax == IMPLICIT) {
    number(f, 4, n);
  } else if (strstr("OB OW SQ UN UT", vr)) {
    buf_text(&f->b, vr);
    number(f, 2, 0);
    number(f, 4, n);
  } else {
    buf_text(&f->b, vr);
    number(f, 2, n);
  }
}

static void bytes(struct file *f, uint32_t tag, const char *vr, const void *value, size_t n) {
  head(f, tag, vr, (uint32_t)(n + n % 2));
  buf_add(&f->b, value, n);
  if (n % 2)
    buf_u8(&f->b, strstr("UI OB OW UN", vr) ? 0 : ' ');
}

static void text(struct file *f, uint32_t tag, const char *vr, const char *value) {
  if (value)
    bytes(f, tag, vr, value, strlen(value));
}

static void us(struct file *f, uint32_t tag, unsigned v) {
  head(f, tag, "US", 2);
  number(f, 2, v);
}

static void ul(struct file *f, uint32_t tag, unsigned v) {
  head(f, tag, "UL", 4);
  number(f, 4, v);
}

static void words(struct file *f, uint32_t tag, const uint16_t *v, size_t n) {
  head(f, tag, "OW", (uint32_t)(2 * n));
  for (size_t i = 0; i < n; i++)
    number(f, 2, v[i]);
}

static void begin(struct file *f) {
  number(f, 4, f->undefined ? 0xffffffff : 0);
  f->open[f->depth++] = f->b.len;
}

static void end(struct file *f, uint16_t delimiter) {
  const size_t first = f->open[--f->depth];
  if (f->undefined) {
    number(f, 2, 0xfffe);
    number(f, 2, delimiter);
    number(f, 4, 0);
    return;
  }
  for (unsigned i = 0; i < 4; i++)
    f->b.data[first - 4 + i] = (uint8_t)((f->b.len - first) >> 8 * (f->syntax == BIG ? 3 - i : i));
}

static void sequence(struct file *f, uint32_t tag) {
  head(f, tag, "SQ", 0);
  f->b.len -= 4;
  begin(f);
}

static void end_sequence(struct file *f) {
  end(f, 0xe0dd);
}

static void item(struct file *f) {
  number(f, 2, 0xfffe);
  number(f, 2, 0xe000);
  begin(f);
}

static void end_item(struct file *f) {
  end(f, 0xe00d);
}

static void code(struct file *f, uint32_t tag, const char *v, const char *scheme, const char *meaning) {
  sequence(f, tag);
  item(f);
  text(f, 0x00080100, "SH", v);
  text(f, 0x00080102, "SH", scheme);
  text(f, 0x00080104, "LO", meaning);
  end_item(f);
  end_sequence(f);
}

/* Preamble and head; BARE has neither. */
static struct file new_file(enum syntax syntax, bool undefined, const char *uid) {
  struct file f = {.b = BUF_INIT(80 << 20), .undefined = undefined};
  static const uint8_t preamble[128];
  f.syntax = syntax == BARE ? IMPLICIT : syntax;
  if (syntax == BARE)
    return f;
  struct file meta = {.b = BUF_INIT(1024)};
  bytes(&meta, 0x00020001, "OB", "\0\1", 2);
  text(&meta, 0x00020010, "UI", uid ? uid : uids[syntax]);
  buf_add(&f.b, preamble, sizeof preamble);
  buf_text(&f.b, "DICM");
  f.syntax = EXPLICIT;
  ul(&f, 0x00020000, (unsigned)meta.b.len);
  buf_add(&f.b, meta.b.data, meta.b.len);
  buf_finish(&meta.b);
  f.syntax = syntax;
  return f;
}

#define ECG_CLASS "1.2.840.10008.5.1.4.1.1.9.1.1"
#define FUNDUS_CLASS "1.2.840.10008.5.1.4.1.1.77.1.5.1"

static void put_patient(struct file *f, const char *class) {
  text(f, 0x00080005, "CS", "ISO_IR 192");
  text(f, 0x00080016, "UI", class);
  text(f, 0x0008002a, "DT", "20260302100000");
  text(f, 0x00080070, "LO", "Marque");
  text(f, 0x00100010, "PN", "Lœwe^Zoë");
  text(f, 0x00100020, "LO", "P-12");
  text(f, 0x00100030, "DA", "19600229");
  text(f, 0x00100040, "CS", "F");
}

static const uint16_t samples[8] = {1, 0xffff, 20, 0xffec, 300, 0xfed4, 0x7fff, 0x8001};

static void put_channels(struct file *f) {
  sequence(f, 0x003a0200);
  for (unsigned i = 0; i < 2; i++) {
    item(f);
    code(f, 0x003a0208, i ? "2:8" : "2:3", "MDC", "Lead");
    text(f, 0x003a0210, "DS", "2.5");
    code(f, 0x003a0211, "uV", "UCUM", "microvolt");
    text(f, 0x003a0212, "DS", "1");
    text(f, 0x003a0213, "DS", "0");
    end_item(f);
  }
  end_sequence(f);
}

/* A group of two channels and `n` samples; data as it is given. */
static void put_group(struct file *f, unsigned n, unsigned bits, const char *kind, const char *vr, const void *data,
                      size_t n_data) {
  sequence(f, 0x54000100);
  item(f);
  text(f, 0x003a0004, "CS", "ORIGINAL");
  us(f, 0x003a0005, 2);
  ul(f, 0x003a0010, n);
  text(f, 0x003a001a, "DS", "500");
  text(f, 0x003a0020, "SH", "RHYTHM");
  put_channels(f);
  us(f, 0x54001004, bits);
  text(f, 0x54001006, "CS", kind);
  if (data)
    bytes(f, 0x54001010, vr, data, n_data);
  else
    words(f, 0x54001010, samples, 8);
  end_item(f);
  end_sequence(f);
}

static struct file an_ecg(enum syntax syntax, bool undefined) {
  struct file f = new_file(syntax, undefined, NULL);
  put_patient(&f, ECG_CLASS);
  sequence(&f, 0x0040b020);
  item(&f);
  head(&f, 0x0040a0b0, "US", 4);
  number(&f, 2, 1);
  number(&f, 2, 0);
  text(&f, 0x00700006, "ST", "Rythme sinusal");
  end_item(&f);
  item(&f);
  code(&f, 0x0040a043, "2:15872", "MDC", "PR Interval");
  text(&f, 0x0040a30a, "DS", "148");
  head(&f, 0x0040a132, "UL", 8);
  number(&f, 4, 7);
  number(&f, 4, 70000);
  end_item(&f);
  end_sequence(&f);
  put_group(&f, 4, 16, "SS", "OW", NULL, 0);
  return f;
}

/* ---- electrocardiograms ---- */

static void one_form_of_all_encodings(void **state) {
  (void)state;
  struct file first = an_ecg(EXPLICIT, false);
  RESULT(want) = decode_buf(&first.b);
  done(&want);
  assert_string_equal(text_of(&want, 0x00100010), "Lœwe^Zoë");
  assert_string_equal(text_of(&want, 0x0040a132), "7\\70000");
  for (enum syntax s = EXPLICIT; s <= BARE; s++)
    for (unsigned undefined = 0; undefined < 2; undefined++) {
      struct file f = an_ecg(s, undefined);
      RESULT(r) = decode_buf(&f.b);
      done(&r);
      if (r.n != want.n || memcmp(r.at, want.at, r.n))
        fail_msg("encoding %d%s gives another form", s, undefined ? ", undefined lengths" : "");
    }
  FLAT(taken);
  flat_take(want.at, want.n, &taken);
  assert_int_equal(taken.err, 0);
  for (unsigned i = 0; i < 8; i++)
    assert_int_equal(taken.samples[i % 2 * 4 + i / 2], (int16_t)samples[i]);
  assert_int_equal(json_array_size(json_object_get(taken.record, "statements")), 2);
}

/* Attributes that a transcoder wrote as UN, their items in implicit VR (PS3.5 6.2.2). */
static void attributes_of_unknown_vr(void **state) {
  (void)state;
  struct file f = new_file(EXPLICIT, false, NULL), inner = {.b = BUF_INIT(4096), .syntax = IMPLICIT};
  put_patient(&f, ECG_CLASS);
  item(&inner);
  text(&inner, 0x00700006, "ST", "Rythme");
  end_item(&inner);
  bytes(&f, 0x0040b020, "UN", inner.b.data, inner.b.len);
  buf_finish(&inner.b);
  bytes(&f, 0x00401002, "UN", "Douleur ", 8);
  put_group(&f, 4, 16, "SS", "OW", NULL, 0);
  RESULT(r) = decode_buf(&f.b);
  assert_string_equal(text_of(&r, 0x00700006), "Rythme");
  assert_string_equal(text_of(&r, 0x00401002), "Douleur");
}

static void widths_of_samples(void **state) {
  (void)state;
  static const uint8_t eight[8] = {1, 0xff, 0x80, 0x7f, 0, 200, 2, 3}, low[16] = {1, 0, 255, 127, 3};
  static const uint8_t high[16] = {0, 128};
  static const struct {
    unsigned bits;
    const char *kind, *vr;
    const uint8_t *data;
    size_t n;
    int16_t second, third; /* samples, multiplexed */
    const char *why;
  } cases[] = {{8, "SB", "OB", eight, 8, -1, -128, NULL},
               {8, "UB", "OB", eight, 8, 255, 128, NULL},
               {16, "SS", "OW", low, 16, 32767, 3, NULL},
               {16, "SS", "OB", low, 16, 32767, 3, NULL},
               {16, "US", "OW", low, 16, 32767, 3, NULL},
               {16, "US", "OW", high, 16, 0, 0, "above 32767"},
               {8, "MB", "OB", eight, 8, 0, 0, "companded"},
               {8, "AB", "OB", eight, 8, 0, 0, "companded"},
               {8, "SS", "OB", eight, 8, 0, 0, "companded or other"},
               {32, "SL", "OB", eight, 8, 0, 0, "other than 8 or 16 bit"},
               {16, "SS", "OW", low, 14, 0, 0, "another length"},
               {8, "SB", "OB", eight, 6, 0, 0, "another length"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct file f = new_file(EXPLICIT, false, NULL);
    size_t n;
    put_patient(&f, ECG_CLASS);
    put_group(&f, 4, cases[i].bits, cases[i].kind, cases[i].vr, cases[i].data, cases[i].n);
    RESULT(r) = decode_buf(&f.b);
    if (cases[i].why) {
      refused(&r, cases[i].why);
      continue;
    }
    const uint8_t *v = value(&r, 0x54001010, 'w', 0, &n);
    assert_int_equal(n, 16);
    assert_int_equal((int16_t)(v[2] | v[3] << 8), cases[i].second);
    assert_int_equal((int16_t)(v[4] | v[5] << 8), cases[i].third);
  }
  /* Bytes say nothing of the order of the words in them. */
  struct file f = new_file(BIG, false, NULL);
  put_patient(&f, ECG_CLASS);
  put_group(&f, 4, 16, "SS", "OB", low, 16);
  RESULT(r) = decode_buf(&f.b);
  refused(&r, "big-endian");
}

/* What fits a record goes all the way into one; more is refused here. */
static void long_recordings(void **state) {
  (void)state;
  static uint8_t data[26 << 20];
  for (size_t i = 0; i < sizeof data; i++)
    data[i] = (uint8_t)(i % 4 < 2 ? i / 4 : 0);
  for (unsigned i = 0; i < 2; i++) {
    struct file f = new_file(EXPLICIT, false, NULL);
    const size_t n = i ? sizeof data : (FLAT_ATTRIBUTES_MAX & ~3u) - 2048;
    put_patient(&f, "1.2.840.10008.5.1.4.1.1.9.1.3");
    put_group(&f, (unsigned)n / 4, 16, "SS", "OW", data, n);
    RESULT(r) = decode_buf(&f.b);
    if (i) {
      refused(&r, "more than a record holds");
      continue;
    }
    FLAT(taken);
    done(&r);
    flat_take(r.at, r.n, &taken);
    assert_int_equal(taken.err, 0);
    const size_t last = n / 4 - 1;
    assert_int_equal(taken.samples[last], (int16_t)(data[4 * last] | data[4 * last + 1] << 8));
    assert_int_equal(taken.samples[n / 2 - 1], 0);
  }
}

/* ---- texts ---- */

static void alphabets(void **state) {
  (void)state;
  static const struct {
    const char *set, *name, *is;
  } cases[] = {{"ISO_IR 100", "L\xe9on^Zo\xeb", "Léon^Zoë"},
               {"ISO_IR 192", "Léon^Zoë €", "Léon^Zoë €"},
               {"ISO_IR 203", "L\xbdwe^\xa4", "Lœwe^€"},
               {NULL, "Leon^Zoe", "Leon^Zoe"},
               {NULL, "L\xe9on", "L\xef\xbf\xbdon"},
               {"", "L\xe9on", "L\xef\xbf\xbdon"},
               {"ISO_IR 6", "L\xe9on", "L\xef\xbf\xbdon"},
               {"ISO_IR 101", "L\xe9on", "L\xef\xbf\xbdon"},
               {"ISO_IR 144", "Leon", "Leon"},
               {"\\ISO 2022 IR 100", "L\x1b-A\xe9on", "Léon"},
               {"ISO 2022 IR 6\\ISO 2022 IR 100", "L\x1b-A\xe9\x1b(Bon", "Léon"},
               {"ISO_IR 100\\ISO 2022 IR 87", "A^\x1b$B;3ED", "A^\xef\xbf\xbd"},
               {"\\ISO 2022 IR 100\\ISO 2022 IR 101", "L\xe9on", "L\xef\xbf\xbdon"},
               {"ISO_IR 192", "L\xe9on", "L\xef\xbf\xbdon"},
               {"ISO_IR 192", "\xc0\x80\xed\xa0\x80\xf5",
                "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
               {"ISO_IR 192", "\xef\xbb\xbf  A\tB\n\x01  C\xc2\x85 ", "A B    C"},
               {"ISO_IR 100",
                "A\x85"
                "B",
                "A B"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct file f = new_file(EXPLICIT, false, NULL);
    text(&f, 0x00080005, "CS", cases[i].set);
    text(&f, 0x00080016, "UI", ECG_CLASS);
    text(&f, 0x00100010, "PN", cases[i].name);
    RESULT(r) = decode_buf(&f.b);
    const char *is = text_of(&r, 0x00100010);
    if (strcmp(is, cases[i].is))
      fail_msg("case %zu: \"%s\"", i, is);
    assert_true(str_is_clean_utf8(is, strlen(is)));
  }
  /* What is too long is cut between characters. */
  struct file f = new_file(EXPLICIT, false, NULL);
  static char wide[40001];
  for (size_t i = 0; i + 3 < sizeof wide; i += 2)
    memcpy(wide + 1 + i, "é", 2);
  wide[0] = 'a';
  text(&f, 0x00080005, "CS", "ISO_IR 192");
  text(&f, 0x00080016, "UI", ECG_CLASS);
  text(&f, 0x00384000, "LT", wide);
  RESULT(r) = decode_buf(&f.b);
  assert_int_equal(strlen(text_of(&r, 0x00384000)), FLAT_TEXT_MAX - 1);
}

/* ---- pictures ---- */

#define WIDTH 5
#define HEIGHT 3

static uint8_t sample(unsigned frame, unsigned x, unsigned y, unsigned s) {
  return (uint8_t)(frame * 91 + x * 17 + y * 59 + s * 83);
}

static void put_image(struct file *f, const char *photometric, unsigned per_pixel, unsigned planar,
                      const char *frames) {
  put_patient(f, FUNDUS_CLASS);
  text(f, 0x00200062, "CS", "L");
  us(f, 0x00280002, per_pixel);
  text(f, 0x00280004, "CS", photometric);
  us(f, 0x00280006, planar);
  text(f, 0x00280008, "IS", frames);
  us(f, 0x00280010, HEIGHT);
  us(f, 0x00280011, WIDTH);
  us(f, 0x00280100, 8);
  us(f, 0x00280101, 8);
  us(f, 0x00280102, 7);
  us(f, 0x00280103, 0);
}

static void put_pixels(struct file *f, unsigned frames, unsigned per_pixel, unsigned planar) {
  struct buf p = BUF_INIT(1 << 16);
  for (unsigned k = 0; k < frames; k++)
    for (unsigned a = 0; a < (planar ? per_pixel : 1); a++)
      for (unsigned y = 0; y < HEIGHT; y++)
        for (unsigned x = 0; x < WIDTH; x++)
          for (unsigned s = 0; s < (planar ? 1 : per_pixel); s++)
            buf_u8(&p, sample(k, x, y, a + s));
  if (f->syntax == BIG) { /* the first pixel is in the low byte of a word */
    uint16_t w[1024];
    buf_u8(&p, 0);
    for (size_t i = 0; i < p.len / 2; i++)
      w[i] = (uint16_t)(p.data[2 * i] | p.data[2 * i + 1] << 8);
    words(f, 0x7fe00010, w, p.len / 2);
  } else {
    bytes(f, 0x7fe00010, "OW", p.data, p.len);
  }
  buf_finish(&p);
}

static void read_png(const uint8_t *at, size_t n, unsigned per_pixel, uint8_t ret[static WIDTH * HEIGHT * 3]) {
  png_image image = {.version = PNG_IMAGE_VERSION};
  assert_true(png_image_begin_read_from_memory(&image, at, n));
  assert_int_equal(image.width, WIDTH);
  assert_int_equal(image.height, HEIGHT);
  assert_int_equal(image.format, per_pixel == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY);
  assert_true(png_image_finish_read(&image, NULL, ret, 0, NULL));
}

static void native_pixels(void **state) {
  (void)state;
  static const struct {
    const char *photometric;
    unsigned per_pixel, planar, frames;
    enum syntax syntax;
  } cases[] = {{"RGB", 3, 0, 1, EXPLICIT},
               {"RGB", 3, 1, 1, EXPLICIT},
               {"RGB", 3, 0, 3, IMPLICIT},
               {"RGB", 3, 1, 2, BIG},
               {"MONOCHROME2", 1, 0, 1, EXPLICIT},
               {"MONOCHROME2", 1, 0, 1, BIG},
               {"MONOCHROME2", 1, 0, FLAT_PICTURES_MAX, EXPLICIT}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct file f = new_file(cases[i].syntax, false, NULL);
    char frames[16];
    snprintf(frames, sizeof frames, "%u", cases[i].frames);
    put_image(&f, cases[i].photometric, cases[i].per_pixel, cases[i].planar, frames);
    put_pixels(&f, cases[i].frames, cases[i].per_pixel, cases[i].planar);
    RESULT(r) = decode_buf(&f.b);
    for (unsigned k = 0; k < cases[i].frames; k++) {
      uint8_t got[WIDTH * HEIGHT * 3];
      size_t n;
      const uint8_t *png = value(&r, 0x7fe00010, 'p', k, &n);
      assert_non_null(png);
      read_png(png, n, cases[i].per_pixel, got);
      for (unsigned at = 0; at < WIDTH * HEIGHT * cases[i].per_pixel; at++) {
        const unsigned pixel = at / cases[i].per_pixel;
        assert_int_equal(got[at], sample(k, pixel % WIDTH, pixel / WIDTH, at % cases[i].per_pixel));
      }
    }
    FLAT(taken);
    flat_take(r.at, r.n, &taken);
    assert_int_equal(taken.err, 0);
    assert_string_equal(json_text(taken.record, "modality"), "fundus");
  }
}

/* PS3.3 C.7.6.3.1.2, by its own decimals. */
static void ycbcr_becomes_rgb(void **state) {
  (void)state;
  struct file f = new_file(EXPLICIT, false, NULL);
  uint8_t got[WIDTH * HEIGHT * 3];
  size_t n;
  put_image(&f, "YBR_FULL", 3, 0, NULL);
  put_pixels(&f, 1, 3, 0);
  RESULT(r) = decode_buf(&f.b);
  const uint8_t *png = value(&r, 0x7fe00010, 'p', 0, &n);
  read_png(png, n, 3, got);
  for (unsigned i = 0; i < WIDTH * HEIGHT; i++) {
    const double y = sample(0, i % WIDTH, i / WIDTH, 0), cb = sample(0, i % WIDTH, i / WIDTH, 1) - 128.0,
                 cr = sample(0, i % WIDTH, i / WIDTH, 2) - 128.0;
    const double want[3] = {y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb};
    for (unsigned s = 0; s < 3; s++) {
      const double v = want[s] < 0 ? 0 : want[s] > 255 ? 255 : want[s];
      assert_true(got[3 * i + s] > v - 0.51 && got[3 * i + s] < v + 0.51);
    }
  }
}

static void fragment(struct file *f, const void *at, size_t n) {
  number(f, 4, 0xe000fffe);
  number(f, 4, (uint32_t)(n + n % 2));
  buf_add(&f->b, at, n);
  if (n % 2)
    buf_u8(&f->b, 0);
}

#define JPEG_SYNTAX "1.2.840.10008.1.2.4.50"

static struct file compressed(const char *syntax, const char *photometric, const char *frames) {
  struct file f = new_file(EXPLICIT, false, syntax);
  put_image(&f, photometric, 3, 0, frames);
  head(&f, 0x7fe00010, "OB", 0xffffffff);
  fragment(&f, "", 0);
  return f;
}

static void close_pixels(struct file *f) {
  number(f, 4, 0xe0ddfffe);
  number(f, 4, 0);
}

/* Frames of 9, 10, 11... bytes. */
static size_t a_jpeg(unsigned k, uint8_t ret[static 64]) {
  static const uint8_t start[] = {0xff, 0xd8, 0xff, 0xdb, 0, 3};
  memcpy(ret, start, sizeof start);
  memset(ret + sizeof start, (int)k + 1, k + 1);
  memcpy(ret + sizeof start + k + 1, "\xff\xd9", 2);
  return sizeof start + k + 3;
}

static void jpegs_as_they_stand(void **state) {
  (void)state;
  for (unsigned frames = 1; frames <= 3; frames++)
    for (unsigned parts = 1; parts <= 2; parts++) {
      char count[8];
      uint8_t jpeg[64];
      size_t n, got_n;
      snprintf(count, sizeof count, "%u", frames);
      struct file f = compressed(JPEG_SYNTAX, "YBR_FULL_422", count);
      for (unsigned k = 0; k < frames; k++) {
        n = a_jpeg(k, jpeg);
        const size_t first = parts == 2 ? 4 : n;
        fragment(&f, jpeg, first);
        if (parts == 2)
          fragment(&f, jpeg + first, n - first);
      }
      close_pixels(&f);
      RESULT(r) = decode_buf(&f.b);
      for (unsigned k = 0; k < frames; k++) {
        n = a_jpeg(k, jpeg);
        const uint8_t *got = value(&r, 0x7fe00010, 'p', k, &got_n);
        assert_int_equal(got_n, n);
        assert_memory_equal(got, jpeg, n);
      }
    }
}

static void pictures_that_are_not_taken(void **state) {
  (void)state;
  static const struct {
    const char *syntax, *photometric, *frames, *why;
  } cases[] = {{"1.2.840.10008.1.2.5", "RGB", "1", "RLE"},
               {"1.2.840.10008.1.2.4.80", "RGB", "1", "JPEG-LS"},
               {"1.2.840.10008.1.2.4.90", "YBR_RCT", "1", "JPEG 2000"},
               {"1.2.840.10008.1.2.4.91", "YBR_ICT", "1", "JPEG 2000"},
               {"1.2.840.10008.1.2.4.100", "YBR_PARTIAL_420", "1", "not known"},
               {"1.2.840.10008.1.2.1.99", "RGB", "1", "deflated"},
               {"1.2.3.4", "RGB", "1", "not known"},
               {JPEG_SYNTAX, "RGB", "1", "does not say so itself"},
               {JPEG_SYNTAX, "MONOCHROME1", "1", "inverted"},
               {JPEG_SYNTAX, "YBR_FULL_422", "2", "no JPEG stream"},
               {JPEG_SYNTAX, "YBR_FULL_422", "33", "more pictures than a record"},
               {JPEG_SYNTAX, "YBR_FULL_422", "4294967295", "more pictures than a record"},
               {JPEG_SYNTAX, "YBR_FULL_422", "0", "no picture"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint8_t jpeg[64];
    struct file f = compressed(cases[i].syntax, cases[i].photometric, cases[i].frames);
    fragment(&f, jpeg, a_jpeg(0, jpeg));
    close_pixels(&f);
    RESULT(r) = decode_buf(&f.b);
    refused(&r, cases[i].why);
  }
  struct file odd = compressed(JPEG_SYNTAX, "YBR_FULL_422", "1");
  fragment(&odd, "\xff\xd9\xff\xd8", 4);
  close_pixels(&odd);
  RESULT(r) = decode_buf(&odd.b);
  refused(&r, "no JPEG stream");

  static const struct {
    const char *photometric;
    unsigned per_pixel, planar;
    uint32_t tag;
    unsigned is;
    const char *why;
  } native[] = {{"MONOCHROME1", 1, 0, 0, 0, "native pixels"},     {"PALETTE COLOR", 1, 0, 0, 0, "native pixels"},
                {"YBR_FULL_422", 3, 0, 0, 0, "native pixels"},    {"RGB", 1, 0, 0, 0, "native pixels"},
                {"MONOCHROME2", 3, 0, 0, 0, "native pixels"},     {"RGB", 3, 2, 0, 0, "8 bits a sample"},
                {"RGB", 3, 0, 0x00280100, 16, "8 bits a sample"}, {"RGB", 3, 0, 0x00280102, 6, "8 bits a sample"},
                {"RGB", 3, 0, 0x00280103, 1, "8 bits a sample"},  {"RGB", 3, 0, 0x00280010, 0, "without a size"},
                {"RGB", 3, 0, 0x00280011, 6, "number of pixels"}, {"RGB", 3, 0, 0x00280011, 65535, "number of pixels"}};
  for (size_t i = 0; i < sizeof native / sizeof *native; i++) {
    struct file f = new_file(EXPLICIT, false, NULL);
    put_image(&f, native[i].photometric, native[i].per_pixel, native[i].planar, NULL);
    const uint8_t key[4] = {(uint8_t)(native[i].tag >> 16), 0, (uint8_t)native[i].tag, (uint8_t)(native[i].tag >> 8)};
    uint8_t *at = native[i].tag ? memmem(f.b.data, f.b.len, key, 4) : NULL;
    if (at) {
      at[8] = (uint8_t)native[i].is;
      at[9] = (uint8_t)(native[i].is >> 8);
    }
    put_pixels(&f, 1, 3, 0);
    RESULT(n) = decode_buf(&f.b);
    refused(&n, native[i].why);
  }
  struct file none = new_file(EXPLICIT, false, NULL);
  put_image(&none, "RGB", 3, 0, NULL);
  RESULT(nothing) = decode_buf(&none.b);
  refused(&nothing, "no pixels");
}

/* ---- kinds of files ---- */

static void kinds_are_refused_by_name(void **state) {
  (void)state;
  static const char *const kinds[][2] = {{"1.2.840.10008.5.1.4.1.1.77.1.5.2", "Ophthalmic Photography 16 Bit"},
                                         {"1.2.840.10008.5.1.4.1.1.77.1.5.4", "Ophthalmic Tomography"},
                                         {"1.2.840.10008.5.1.4.1.1.77.1.4", "VL Photographic"},
                                         {"1.2.840.10008.5.1.4.1.1.7", "Secondary Capture"},
                                         {"1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF"},
                                         {"1.2.840.10008.1.3.10", "DICOMDIR"},
                                         {"1.2.840.10008.5.1.4.1.1.2", "not taken\n"},
                                         {"1.2.840.10008.5.1.4.1.1.9.1.1.1", "not taken\n"},
                                         {"MARKER", "not taken\n"}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    struct file f = new_file(EXPLICIT, false, NULL);
    put_patient(&f, kinds[i][0]);
    RESULT(r) = decode_buf(&f.b);
    refused(&r, kinds[i][1]);
    assert_null(strstr(r.said, "MARKER"));
  }
  static const char *const others[] = {"", "x", "DICM", "MARKER, a letter\n", "\xff\xd8\xff\xe0\0\0"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    RESULT(r) = decode(others[i], strlen(others[i]));
    refused(&r, "no DICOM file");
    assert_null(strstr(r.said, "MARKER"));
  }
}

static void started_wrong(void **state) {
  (void)state;
  int file = memory("x", 1), used = memory("y", 1), pipes[2];
  assert_int_equal(pipe(pipes), 0);
  const int cases[][4] = {{-1, -1, -1, -1}, {-1, -1, file, -1}, {-1, -1, file, used}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    RESULT(r) = run("decode", cases[i]);
    assert_int_equal(r.status, EXPORT_USAGE);
  }
  close(file), close(used), close(pipes[0]), close(pipes[1]);
}

/* ---- hostile files ---- */

static void nests_without_end(void **state) {
  (void)state;
  for (unsigned undefined = 0; undefined < 2; undefined++)
    for (enum syntax s = EXPLICIT; s <= BIG; s++) {
      struct file f = new_file(s, true, NULL);
      text(&f, 0x00080016, "UI", ECG_CLASS);
      for (unsigned i = 0; i < 100000; i++) {
        head(&f, undefined ? 0x0040b020 : 0x00431010, "SQ", 0xffffffff);
        number(&f, 2, 0xfffe);
        number(&f, 2, 0xe000);
        number(&f, 4, 0xffffffff);
      }
      RESULT(r) = decode_buf(&f.b);
      refused(&r, "nested too deep");
    }
}

/* As many attributes as any reading has, and far more. */
static void attributes_without_end(void **state) {
  (void)state;
  for (unsigned n = 4000; n <= 400000; n *= 100) {
    struct file f = new_file(EXPLICIT, true, NULL);
    text(&f, 0x00080016, "UI", ECG_CLASS);
    for (unsigned i = 0; i < n; i++)
      text(&f, (0x0009u + 2 * (i / 60000)) << 16 | (0x1000 + i % 60000), "LO", "x");
    RESULT(r) = decode_buf(&f.b);
    if (n > 4000)
      refused(&r, "more attributes than a reading has");
    else
      assert_int_equal(r.status, 0);
  }
}

static void claims_beyond_the_file(void **state) {
  (void)state;
  static const uint32_t claims[] = {8, 0x1000, 0x10000000, 0x7ffffffe, 0xfffffff0, 0xfffffffe};
  static const struct {
    uint32_t tag;
    const char *vr;
  } at[] = {{0x54001010, "OW"}, {0x54000100, "SQ"}, {0x7fe00010, "OB"}, {0x00431010, "UN"}, {0x00384000, "UT"}};
  for (size_t i = 0; i < sizeof claims / sizeof *claims; i++)
    for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
      struct file f = new_file(EXPLICIT, false, NULL);
      text(&f, 0x00080016, "UI", ECG_CLASS);
      head(&f, at[k].tag, at[k].vr, claims[i]);
      buf_text(&f.b, "abcd");
      RESULT(r) = decode_buf(&f.b);
      refused(&r, "");
    }
}

/* What takes more memory than a reading may is refused, not tried again. */
static void bombs(void **state) {
  (void)state;
  static const uint8_t empty_item[8] = {0xfe, 0xff, 0, 0xe0};
  struct file f = new_file(EXPLICIT, true, NULL);
  text(&f, 0x00080016, "UI", ECG_CLASS);
  sequence(&f, 0x0040b020);
  for (unsigned i = 0; i < 6000000; i++)
    buf_add(&f.b, empty_item, sizeof empty_item);
  end_sequence(&f);
  RESULT(r) = decode_buf(&f.b);
  refused(&r, "more"); /* memory, or entries where a sanitizer has all memory */
}

/* No crash, no failure of ours; and of what is read, the driver takes nothing that it should not. */
static void judge(const struct result *r) {
  if (r->status != EXPORT_DONE && r->status != EXPORT_REFUSED)
    fail_msg("status %d: %s", r->status, r->said);
  if (r->status != EXPORT_DONE)
    return refused(r, "");
  FLAT(taken);
  flat_take(r->at, r->n, &taken);
  if (taken.err && taken.err != -EPROTO && taken.err != -ENODATA && taken.err != -ERANGE && taken.err != -EOPNOTSUPP &&
      taken.err != -EFBIG)
    fail_msg("%d: %s", taken.err, taken.reason);
}

static struct file a_fundus(void) {
  struct file f = compressed(JPEG_SYNTAX, "YBR_FULL_422", "2");
  uint8_t jpeg[64];
  for (unsigned k = 0; k < 2; k++)
    fragment(&f, jpeg, a_jpeg(k, jpeg));
  close_pixels(&f);
  return f;
}

/* Cut anywhere: the same samples as the whole, or none. */
static void cut_anywhere(void **state) {
  (void)state;
  for (unsigned kind = 0; kind < 3; kind++) {
    struct file f = kind == 2 ? a_fundus() : an_ecg(kind ? IMPLICIT : EXPLICIT, kind);
    RESULT(whole) = decode(f.b.data, f.b.len);
    FLAT(want);
    flat_take(whole.at, whole.n, &want);
    assert_int_equal(want.err, 0);
    for (size_t n = kind; n < f.b.len; n += 11) {
      RESULT(r) = decode(f.b.data, n);
      judge(&r);
      FLAT(got);
      if (r.status == EXPORT_DONE)
        flat_take(r.at, r.n, &got);
      if (got.record && (kind == 2 || memcmp(got.samples, want.samples, 16)))
        fail_msg("cut at %zu: a reading all the same", n);
    }
    buf_finish(&f.b);
  }
}

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint32_t random_number(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (uint32_t)(seed >> 16);
}

static unsigned mutations(void) {
  const char *text = getenv("ASALEED_MUTATIONS");
  uint64_t n = 60;
  if (text)
    assert_int_equal(str_to_u64(text, 1, 10000000, &n), 0);
  return (unsigned)n;
}

/* One to four changes: bits, bytes, lengths, moved pieces, cuts. */
static void mutate(struct buf *b) {
  static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xfe, 0xff};
  for (unsigned k = 1 + random_number() % 4; k && b->len > 16; k--) {
    const size_t at = random_number() % b->len, to = random_number() % b->len;
    const size_t left = b->len - (at > to ? at : to), n = left < 64 ? left : 1 + random_number() % 64;
    switch (random_number() % 5) {
    case 0:
      b->data[at] ^= (uint8_t)(1 << random_number() % 8);
      break;
    case 1:
      b->data[at] = values[random_number() % sizeof values];
      break;
    case 2:
      memset(b->data + at, values[random_number() % sizeof values], b->len - at < 4 ? b->len - at : 4);
      break;
    case 3:
      memmove(b->data + to, b->data + at, n);
      break;
    default:
      if (random_number() % 8 == 0)
        b->len = at + 1;
    }
  }
}

static void mutated(const uint8_t *at, size_t n, unsigned times) {
  for (unsigned i = 0; i < times; i++) {
    struct buf b = BUF_INIT(1 << 24);
    buf_add(&b, at, n);
    mutate(&b);
    RESULT(r) = decode_buf(&b);
    judge(&r);
  }
}

static void mutated_files(void **state) {
  (void)state;
  struct file files[] = {an_ecg(EXPLICIT, false), an_ecg(IMPLICIT, true), an_ecg(BIG, false), a_fundus()};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    mutated(files[i].b.data, files[i].b.len, mutations());
    buf_finish(&files[i].b);
  }
}

/* Bytes that mean nothing, alone and behind a head that does. */
static void garbage(void **state) {
  (void)state;
  for (unsigned i = 0; i < mutations(); i++) {
    struct file f = i % 4 ? new_file(i % 3, i & 1, NULL) : new_file(BARE, false, NULL);
    if (i % 2)
      text(&f, 0x00080016, "UI", ECG_CLASS);
    for (unsigned n = random_number() % 4096; n; n--)
      buf_u8(&f.b, (uint8_t)random_number());
    RESULT(r) = decode_buf(&f.b);
    judge(&r);
  }
}

/* ---- the simulated instruments' files, written by who never saw this decoder ---- */

/* Damaged: what decode says, else what the driver makes of it. */
struct expected {
  enum dicom_damage damage;
  const char *why;     /* decode refuses */
  int err;             /* the driver does */
  const char *quality; /* what it says of a reading that it takes */
};

static void as_expected(const struct expected *e, struct buf *file) {
  RESULT(r) = decode_buf(file);
  if (e->why)
    return refused(&r, e->why);
  FLAT(taken);
  done(&r);
  flat_take(r.at, r.n, &taken);
  if (taken.err != e->err)
    fail_msg("%s: %d %s", dicom_damage_names[e->damage], taken.err, taken.reason);
  size_t i;
  json_t *q;
  bool told = !e->quality;
  json_array_foreach(json_object_get(taken.record, "quality"), i, q) {
    told = told || !strcmp(json_text(q, "code"), e->quality);
  }
  if (!told)
    fail_msg("%s: taken without a word", dicom_damage_names[e->damage]);
}

static struct ecg12 trace;

static void damaged_ecgs_of_a_stranger(void **state) {
  (void)state;
  static const struct expected cases[] = {{DICOM_TRUNCATED, "cut short", 0, NULL},
                                          {DICOM_NO_MAGIC, "no DICOM file", 0, NULL},
                                          {DICOM_LENGTH_BEYOND_FILE, "cut short", 0, NULL},
                                          {DICOM_NESTED_WITHOUT_END, "nested", 0, NULL},
                                          {DICOM_GIGABYTE, "cut short", 0, NULL},
                                          {DICOM_SHORT_DATA, "another length", 0, NULL},
                                          {DICOM_NO_DATA, NULL, -ENODATA, NULL},
                                          {DICOM_UNKNOWN_SYNTAX, "not known", 0, NULL},
                                          {DICOM_OTHER_CLASS, "not taken", 0, NULL},
                                          {DICOM_BITS, "samples", 0, NULL},
                                          {DICOM_UNKNOWN_LEAD, NULL, 0, "unknown_value"},
                                          {DICOM_LEAD_TWICE, NULL, 0, "file_inconsistent"},
                                          {DICOM_UNKNOWN_UNIT, NULL, -EOPNOTSUPP, NULL},
                                          {DICOM_NO_SENSITIVITY, NULL, -EPROTO, NULL},
                                          {DICOM_BAD_SENSITIVITY, NULL, -EPROTO, NULL},
                                          {DICOM_NO_FREQUENCY, NULL, -EPROTO, NULL},
                                          {DICOM_CHANNELS, "another length", 0, NULL},
                                          {DICOM_NO_GROUP, NULL, -ENODATA, NULL}};
  ecg12_make(&trace, 500, 2, 1, 3, 1);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (enum dicom_syntax s = 0; s < DICOM_SYNTAXES; s++) {
      struct buf file = BUF_INIT(64 << 20);
      const struct dicom_ecg_file f = {
          .facts = ecg_facts_example, .form = {.syntax = s, .undefined = s == 1}, .damage = cases[i].damage};
      assert_int_equal(dicom_ecg_file_make(&f, &trace, &file), 0);
      as_expected(&cases[i], &file);
    }
}

/* A picture that begins and ends as a JPEG does. */
static void jpeg_of_a_stranger(uint8_t *jpeg, size_t n) {
  static const uint8_t start[] = {0xff, 0xd8, 0xff, 0xdb, 0, 3};
  for (size_t i = 0; i < n; i++)
    jpeg[i] = (uint8_t)(i % 251);
  memcpy(jpeg, start, sizeof start);
  memcpy(jpeg + n - 2, "\xff\xd9", 2);
}

static void fundus_pictures_of_a_stranger(void **state) {
  (void)state;
  static uint8_t rgb[WIDTH * HEIGHT * 3], jpeg[777], got[WIDTH * HEIGHT * 3];
  for (size_t i = 0; i < sizeof rgb; i++)
    rgb[i] = (uint8_t)(i * 37);
  jpeg_of_a_stranger(jpeg, sizeof jpeg);
  for (unsigned i = 0; i < 24; i++) {
    struct buf file = BUF_INIT(64 << 20);
    const struct dicom_fundus_file f = {.facts = ecg_facts_example,
                                        .form = {.syntax = i % 3, .undefined = i & 1, .latin1 = i & 2},
                                        .rows = HEIGHT,
                                        .columns = WIDTH,
                                        .rgb = i < 12 ? rgb : NULL,
                                        .jpeg = jpeg,
                                        .jpeg_len = i < 12 ? 0 : sizeof jpeg,
                                        .fragments = i % 4,
                                        .planar = i & 1,
                                        .eye = (enum dicom_eye)(i / 2 % 3),
                                        .laterality = i & 4 ? 'L' : 'R'};
    assert_int_equal(dicom_fundus_file_make(&f, &file), 0);
    size_t n;
    RESULT(r) = decode_buf(&file);
    const uint8_t *picture = value(&r, 0x7fe00010, 'p', 0, &n);
    assert_non_null(picture);
    if (f.rgb) {
      read_png(picture, n, 3, got);
      assert_memory_equal(got, rgb, sizeof rgb);
    } else {
      assert_int_equal(n, sizeof jpeg);
      assert_memory_equal(picture, jpeg, sizeof jpeg);
    }
    FLAT(taken);
    flat_take(r.at, r.n, &taken);
    assert_int_equal(taken.err, 0);
    const json_t *subject = json_object_get(taken.record, "subject"),
                 *acquired = json_object_get(taken.record, "acquired"),
                 *eye = json_object_get(json_array_get(json_object_get(acquired, "pictures"), 0), "laterality");
    assert_string_equal(json_text(subject, "family"), "Lefèvre");
    assert_string_equal(json_text(subject, "given"), "Zoé");
    assert_string_equal(json_text(subject, "birth_date"), "1960-02-29");
    assert_string_equal(json_text(json_array_get(json_object_get(acquired, "trials"), 0), "device_time"),
                        "2026-03-01T09:15:30.000");
    if (f.eye == DICOM_NO_LATERALITY)
      assert_true(json_is_null(eye));
    else
      assert_int_equal(json_string_value(eye)[0], f.laterality);
    assert_null(strstr(r.said, "MARKER"));
  }
}

static void damaged_fundus_pictures_of_a_stranger(void **state) {
  (void)state;
  static uint8_t rgb[WIDTH * HEIGHT * 3];
  static const struct expected cases[] = {{DICOM_TRUNCATED, "", 0, NULL},
                                          {DICOM_NO_MAGIC, "no DICOM file", 0, NULL},
                                          {DICOM_LENGTH_BEYOND_FILE, "cut short", 0, NULL},
                                          {DICOM_NESTED_WITHOUT_END, "nested", 0, NULL},
                                          {DICOM_GIGABYTE, "", 0, NULL},
                                          {DICOM_SHORT_DATA, "number of pixels", 0, NULL},
                                          {DICOM_NO_DATA, "no pixels", 0, NULL},
                                          {DICOM_UNKNOWN_SYNTAX, "not known", 0, NULL},
                                          {DICOM_OTHER_CLASS, "not taken", 0, NULL},
                                          {DICOM_BITS, "8 bits a sample", 0, NULL},
                                          {DICOM_BAD_LATERALITY, NULL, 0, NULL},
                                          {DICOM_TWO_LATERALITIES, NULL, 0, "file_inconsistent"},
                                          {DICOM_MORE_FRAMES, "number of pixels", 0, NULL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct buf file = BUF_INIT(64 << 20);
    const struct dicom_fundus_file f = {.facts = ecg_facts_example,
                                        .rows = HEIGHT,
                                        .columns = WIDTH,
                                        .rgb = rgb,
                                        .laterality = 'L',
                                        .damage = cases[i].damage};
    assert_int_equal(dicom_fundus_file_make(&f, &file), 0);
    as_expected(&cases[i], &file);
  }
}

/* ---- what we encode ---- */

static char *canonical(json_t *j) {
  char *t = json_canonical(j, NULL);
  assert_non_null(t);
  json_decref(j);
  return t;
}

static char *a_job(const char *act, json_t *fundus) {
  return canonical(json_pack(
      "{s:s,s:s,s:o,s:n,s:{s:i,s:s},s:s,s:{s:b,s:b},s:{s:s,s:s,s:s,s:s,s:s},s:s,s:{s:i,s:s},s:s,s:{s:s,s:s,s:s}}",
      "accepted", "2026-03-02T10:01:00.000000+01:00", "act", act, "fundus", fundus, "height_cm", "instance", "number",
      1, "uid", "2.25.3", "order", "O-5", "parts", "device", 1, "statements", 1, "patient", "birth_date", "1960-01-02",
      "family", "Lœwe d’Ângé", "given", "Zoë €", "id", "P-12", "sex", "F", "schema", EXPORT_SCHEMA, "series", "number",
      1, "uid", "2.25.2", "station", "Appareil", "study", "id", "S-12", "ordered", "2026-03-02T09:50:00.000000+01:00",
      "uid", "2.25.1"));
}

static struct result encode(const char *job, const char *record, const void *data, size_t n) {
  int fds[4] = {memory(job, strlen(job)), memory(record, strlen(record)), memory(data, n), memory("", 0)};
  struct result r = run("encode", fds);
  for (int i = 0; i < 4; i++)
    close(fds[i]);
  done(&r);
  return r;
}

static void check_patient(const json_t *record) {
  const json_t *s = json_object_get(record, "subject");
  assert_string_equal(json_text(s, "family"), "Lœwe d’Ângé");
  assert_string_equal(json_text(s, "given"), "Zoë €");
  assert_string_equal(json_text(s, "id"), "P-12");
  assert_string_equal(json_text(s, "birth_date"), "1960-01-02");
  assert_string_equal(json_text(s, "sex"), "F");
}

/* The record of a file, encoded, decoded, is the record of a file. */
static void our_own_ecg(void **state) {
  (void)state;
  struct file f = an_ecg(EXPLICIT, false);
  RESULT(flat) = decode_buf(&f.b);
  FLAT(first);
  flat_take(flat.at, flat.n, &first);
  assert_int_equal(first.err, 0);
  char *job = a_job("ecg", json_null()), *record = canonical(json_incref(first.record));
  RESULT(object) = encode(job, record, first.samples, 16);
  RESULT(again) = decode(object.at, object.n);
  FLAT(second);
  flat_take(again.at, again.n, &second);
  assert_int_equal(second.err, 0);
  assert_memory_equal(second.samples, first.samples, 16);
  check_patient(second.record);
  for (unsigned i = 0; i < 2; i++) {
    const json_t *was = json_array_get(json_object_get(json_object_get(first.record, "acquired"), "channels"), i),
                 *is = json_array_get(json_object_get(json_object_get(second.record, "acquired"), "channels"), i);
    assert_true(json_equal(was, is));
  }
  assert_true(json_equal(json_object_get(json_object_get(first.record, "acquired"), "trials"),
                         json_object_get(json_object_get(second.record, "acquired"), "trials")));
  free(job), free(record);
}

static void our_own_fundus(void **state) {
  (void)state;
  /* A whole picture: a PNG, which the object has as native pixels and which comes back as another PNG of the same. */
  struct file f = new_file(EXPLICIT, false, NULL);
  uint8_t was[WIDTH * HEIGHT * 3], is[WIDTH * HEIGHT * 3];
  size_t n, n_again;
  put_image(&f, "RGB", 3, 0, NULL);
  put_pixels(&f, 1, 3, 0);
  RESULT(flat) = decode_buf(&f.b);
  const uint8_t *png = value(&flat, 0x7fe00010, 'p', 0, &n);
  FLAT(first);
  flat_take(flat.at, flat.n, &first);
  assert_int_equal(first.err, 0);
  char *job = a_job("fundus", json_pack("{s:{s:[],s:n,s:b},s:s,s:s,s:i}", "dilation", "agents", "degree_mm", "dilated",
                                        0, "field", "macula", "laterality", "R", "picture", 1)),
       *record = canonical(json_incref(first.record));
  RESULT(object) = encode(job, record, png, n);
  RESULT(again) = decode(object.at, object.n);
  const uint8_t *png_again = value(&again, 0x7fe00010, 'p', 0, &n_again);
  read_png(png, n, 3, was);
  read_png(png_again, n_again, 3, is);
  assert_memory_equal(was, is, sizeof was);
  FLAT(second);
  flat_take(again.at, again.n, &second);
  assert_int_equal(second.err, 0);
  check_patient(second.record);
  assert_string_equal(
      json_text(json_array_get(json_object_get(json_object_get(second.record, "acquired"), "pictures"), 0),
                "laterality"),
      "R");
  free(job), free(record);
}

/* ---- real files ---- */

static uint8_t *sample_file(const char *name, size_t *ret_n) {
  char path[512];
  const char *folder = getenv("ASALEED_SAMPLES");
  snprintf(path, sizeof path, "%.400s/%s", folder ? folder : "", name);
  int fd = open(path, O_RDONLY);
  if (fd < 0) {
    print_message("# skipped: %s\n", name);
    skip();
  }
  uint8_t *at = slurp(fd, ret_n);
  close(fd);
  return at;
}

/* The same ECG exists as SCP-ECG; another decoder's samples of that, lead after lead, have this SHA-256. */
#define SAMPLE_SHA "51bba116f69b4e17be5ed720cf1bfeb0c059cc1a1d4c2a58594aceacea22d465"

static void a_real_ecg(void **state) {
  (void)state;
  size_t n;
  char sha[HASH_TEXT];
  uint8_t *file = sample_file("dicom_ecg/ECGToolkit_Example.dcm", &n);
  RESULT(r) = decode(file, n);
  FLAT(taken);
  done(&r);
  flat_take(r.at, r.n, &taken);
  assert_int_equal(taken.err, 0);
  hash_sha256_text(taken.samples, 12 * 5000 * 2, sha);
  assert_string_equal(sha, SAMPLE_SHA);
  assert_string_equal(json_text(json_object_get(taken.record, "subject"), "family"), "Clark");
  assert_string_equal(json_text(json_object_get(taken.record, "subject"), "birth_date"), "1953-05-08");
  assert_int_equal(json_array_size(json_object_get(json_object_get(taken.record, "acquired"), "channels")), 12);
  assert_int_equal(json_array_size(json_object_get(taken.record, "statements")), 9);
  for (size_t cut = 0; cut < n; cut += n / 40) {
    RESULT(part) = decode(file, cut);
    FLAT(got);
    judge(&part);
    if (part.status == EXPORT_DONE)
      flat_take(part.at, part.n, &got);
    assert_null(got.record);
  }
  mutated(file, n, mutations());
  free(file);
}

/* The camera's picture through our object and back: the fragment, byte for byte. */
static void a_real_fundus(void **state) {
  (void)state;
  size_t n, got_n;
  uint8_t *jpeg = sample_file("fundus/fundus_normal_right_eye_600px_CC0.jpg", &n);
  struct file f = compressed(JPEG_SYNTAX, "YBR_FULL_422", NULL);
  fragment(&f, jpeg, n);
  close_pixels(&f);
  RESULT(flat) = decode_buf(&f.b);
  const uint8_t *got = value(&flat, 0x7fe00010, 'p', 0, &got_n);
  assert_int_equal(got_n, n);
  assert_memory_equal(got, jpeg, n);
  FLAT(first);
  flat_take(flat.at, flat.n, &first);
  assert_int_equal(first.err, 0);
  char *job = a_job("fundus", json_pack("{s:{s:[],s:n,s:b},s:s,s:s,s:i}", "dilation", "agents", "degree_mm", "dilated",
                                        0, "field", "disc", "laterality", "L", "picture", 1)),
       *record = canonical(json_incref(first.record));
  RESULT(object) = encode(job, record, jpeg, n);
  RESULT(again) = decode(object.at, object.n);
  got = value(&again, 0x7fe00010, 'p', 0, &got_n);
  const uint8_t *in_object = memmem(object.at, object.n, got, got_n);
  assert_non_null(in_object);
  assert_memory_equal(got, "\xff\xd8\xff", 3);
  assert_memory_equal(got + got_n - 2, "\xff\xd9", 2);
  assert_memory_equal(in_object - 8, "\xfe\xff\0\xe0", 4); /* the whole of the one fragment */
  assert_in_range(in_object[-4] | in_object[-3] << 8 | in_object[-2] << 16, got_n, got_n + 1);
  free(job), free(record), free(jpeg);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_form_of_all_encodings),
                                     cmocka_unit_test(attributes_of_unknown_vr),
                                     cmocka_unit_test(widths_of_samples),
                                     cmocka_unit_test(long_recordings),
                                     cmocka_unit_test(alphabets),
                                     cmocka_unit_test(native_pixels),
                                     cmocka_unit_test(ycbcr_becomes_rgb),
                                     cmocka_unit_test(jpegs_as_they_stand),
                                     cmocka_unit_test(pictures_that_are_not_taken),
                                     cmocka_unit_test(kinds_are_refused_by_name),
                                     cmocka_unit_test(started_wrong),
                                     cmocka_unit_test(nests_without_end),
                                     cmocka_unit_test(attributes_without_end),
                                     cmocka_unit_test(claims_beyond_the_file),
                                     cmocka_unit_test(bombs),
                                     cmocka_unit_test(cut_anywhere),
                                     cmocka_unit_test(mutated_files),
                                     cmocka_unit_test(garbage),
                                     cmocka_unit_test(damaged_ecgs_of_a_stranger),
                                     cmocka_unit_test(fundus_pictures_of_a_stranger),
                                     cmocka_unit_test(damaged_fundus_pictures_of_a_stranger),
                                     cmocka_unit_test(our_own_ecg),
                                     cmocka_unit_test(our_own_fundus),
                                     cmocka_unit_test(a_real_ecg),
                                     cmocka_unit_test(a_real_fundus)};
  ssize_t n = readlink("/proc/self/exe", program, sizeof program - 32);
  if (n < 0 || hash_open() < 0)
    return 1;
  program[n] = 0;
  for (int i = 0; i < 2; i++) /* build/tests/test_dicom_decode -> build/ */
    *strrchr(program, '/') = 0;
  strcat(program, "/asaleed-export");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
