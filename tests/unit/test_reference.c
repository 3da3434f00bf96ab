#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "fail_alloc.h"
#include "gli_table.h"
#include "reference.h"
#include "str.h"
#include <cmocka.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define COUNT(a) (sizeof a / sizeof *a)
#define ROWS GLI_ROWS
#define BLOCKS GLI_BLOCKS
#define HEADER GLI_HEADER

static uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t rnd(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

/* The equations as the paper's table has them, and splines of our own that run through what the real table has at one
 * age: that much must be true for a table to be taken. */
static const struct block {
  char sex;
  const char *name;
  enum reference_index index;
  double m[3], s[2], l[2];
} blocks[BLOCKS] = {
    {'M', "FEV1", REFERENCE_FEV1, {-11.399108, 2.462664, -0.011394}, {-2.256278, 0.080729}, {1.22703, 0}},
    {'M', "FVC", REFERENCE_FVC, {-12.629131, 2.727421, 0.009174}, {-2.195595, 0.068466}, {0.9346, 0}},
    {'M', "FEV1FVC", REFERENCE_RATIO, {1.022608, -0.218592, -0.027586}, {-2.882025, 0.068889}, {3.8243, -0.3328}},
    {'F', "FEV1", REFERENCE_FEV1, {-10.901689, 2.385928, -0.076386}, {-2.364047, 0.129402}, {1.21388, 0}},
    {'F', "FVC", REFERENCE_FVC, {-12.055901, 2.621579, -0.035975}, {-2.310148, 0.120428}, {0.899, 0}},
    {'F', "FEV1FVC", REFERENCE_RATIO, {0.9189568, -0.1840671, -0.0461306}, {-3.171582, 0.144358}, {6.6490, -0.9920}},
};

static double row_age(int row) {
  return 3 + row / 4.0;
}

static double rounded_to(double v, double steps) {
  return round(v * steps) / steps;
}

/* Whole steps of 10^-9, so that the text says exactly this. */
static double m_spline(const struct block *b, int row) {
  return rounded_to(gli_blocks[b - blocks].m + 0.1 * sin((row_age(row) - gli_blocks[b - blocks].age) / 7), 1e9);
}

static double s_spline(const struct block *b, int row) {
  return rounded_to(gli_blocks[b - blocks].s + 0.15 * sin((row_age(row) - gli_blocks[b - blocks].age) / 9), 1e9);
}

static void add_row(struct buf *text, const struct block *b, int row, const char *end) {
  buf_format(text, "%c,%s,%d.%02d,%.9f,%.9f,0.0%s", b->sex, b->name, 3 + row / 4, row % 4 * 25, m_spline(b, row),
             s_spline(b, row), end);
}

/* What every test that alters a table starts from; the caller buf_finish()es. */
static struct buf whole_text(void) {
  struct buf text = BUF_INIT(REFERENCE_TEXT_MAX * 2);
  buf_text(&text, HEADER);
  for (int b = 0; b < BLOCKS; b++)
    for (int row = 0; row < ROWS; row++)
      add_row(&text, &blocks[b], row, "\n");
  assert_int_equal(text.err, 0);
  return text;
}

static char reason[256];

/* Reads from a block that ends where the text ends; NULL when refused, then for a reason and with *ret alone. */
static struct reference_table *read_bytes(const void *text, size_t n, int want) {
  struct reference_table *const untouched = (struct reference_table *)(uintptr_t)8, *table = untouched;
  char *exact = malloc(n + !n);
  assert_non_null(exact);
  if (n)
    memcpy(exact, text, n);
  memset(reason, 0, sizeof reason);
  int r = reference_parse(exact, n, &table, reason);
  free(exact);
  if (r == 0) {
    assert_ptr_not_equal(table, untouched);
    return table;
  }
  if (r != want)
    fail_msg("%d: %s", r, reason);
  assert_ptr_equal(table, untouched);
  assert_true(*reason && strnlen(reason, sizeof reason) < sizeof reason);
  assert_true(str_is_clean_utf8(reason, strlen(reason)));
  return NULL;
}

static struct reference_table *accepted(const struct buf *text) {
  assert_int_equal(text->err, 0);
  struct reference_table *table = read_bytes(text->data, text->len, -EPROTO);
  if (!table)
    fail_msg("%s", reason);
  return table;
}

static void refused(const void *text, size_t n, const char *why) {
  struct reference_table *table = read_bytes(text, n, -EPROTO);
  if (table)
    fail_msg("taken, not \"%s\"", why);
  if (strncmp(reason, why, strlen(why)))
    fail_msg("\"%s\", not \"%s\"", reason, why);
}

static struct reference_table *whole(void) {
  _buf_cleanup_ struct buf text = whole_text();
  return accepted(&text);
}

/* ---- numbers -------------------------------------------------------------------------------------------------- */

TEST(numbers) {
  static const struct {
    const char *text;
    double value;
  } rows[] = {
      {"0", 0},
      {"0.0", 0},
      {"3.0", 3.0},
      {"94.75", 94.75},
      {"007", 7},
      {"-0.119775593865382", -0.119775593865382},
      {"0.1843073616847", 0.1843073616847},
      {"0.00843588581429877", 0.00843588581429877},
      {"-1.82387901949243e-05", -1.82387901949243e-05},
      {"-4.58454012406406E-05", -4.58454012406406e-05},
      {"1e0", 1},
      {"1E+22", 1e22},
      {"12.5e+1", 125},
      {"12.5e-1", 1.25},
      {"0.1", 0.1},
      {"0.3", 0.3},
      {"1234567890123456", 1234567890123456},
      {"9007199254740992", 9007199254740992},
      {"9999999999999999999", 9999999999999999999.0},
      {"1e40", 1e40},
      {"0.000000000000000000000001e2", 1e-22},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    double v = 77;
    assert_int_equal(reference_number(rows[i].text, strlen(rows[i].text), &v), 0);
    if (memcmp(&v, &rows[i].value, sizeof v))
      fail_msg("%s is %.17g", rows[i].text, v);
  }
  double minus;
  assert_int_equal(reference_number("-0", 2, &minus), 0);
  assert_true(minus == 0);
  assert_int_equal(reference_number("12345", 3, &minus), 0); /* no further than told */
  assert_true(minus == 123);
}

TEST(not_numbers) {
  static const struct {
    const char *text;
    int err;
  } rows[] = {
      {"", -EINVAL},
      {"-", -EINVAL},
      {"--1", -EINVAL},
      {"+1", -EINVAL},
      {".", -EINVAL},
      {".5", -EINVAL},
      {"-.5", -EINVAL},
      {"5.", -EINVAL},
      {"5.e1", -EINVAL},
      {"1.2.3", -EINVAL},
      {"1..2", -EINVAL},
      {"1,5", -EINVAL},
      {" 1", -EINVAL},
      {"1 ", -EINVAL},
      {"1\r", -EINVAL},
      {"1e", -EINVAL},
      {"1e+", -EINVAL},
      {"1e-", -EINVAL},
      {"1e1.5", -EINVAL},
      {"1e++1", -EINVAL},
      {"e5", -EINVAL},
      {"1e100", -EINVAL},
      {"1e001", -EINVAL},
      {"1e1e1", -EINVAL},
      {"nan", -EINVAL},
      {"NaN", -EINVAL},
      {"-nan", -EINVAL},
      {"inf", -EINVAL},
      {"-inf", -EINVAL},
      {"Infinity", -EINVAL},
      {"nan(0x1)", -EINVAL},
      {"0x10", -EINVAL},
      {"0x1p-3", -EINVAL},
      {"0x", -EINVAL},
      {"1d5", -EINVAL},
      {"1f", -EINVAL},
      {"\xd9\xa1", -EINVAL},
      {"1'000", -EINVAL},
      {"\"1\"", -EINVAL},
      {"1e41", -ERANGE},
      {"1e-41", -ERANGE},
      {"0.1e-40", -ERANGE},
      {"1e99", -ERANGE},
      {"1e-99", -ERANGE},
      {"12345678901234567890", -ERANGE},
      {"0.12345678901234567890", -ERANGE},
      {"18446744073709551617", -ERANGE},
      {"0.00000000000000000000000000000000000000000", -ERANGE},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    double v = 77;
    int r = reference_number(rows[i].text, strlen(rows[i].text), &v);
    if (r != rows[i].err)
      fail_msg("\"%s\": %d", rows[i].text, r);
    assert_true(v == 77);
  }
  double v;
  assert_int_equal(reference_number("1\0", 2, &v), -EINVAL);
  for (int c = 0; c < 256; c++) {
    bool digit = c >= '0' && c <= '9';
    char before[] = {(char)c, '1', '2'}, inside[] = {'1', (char)c, '2'}, after[] = {'1', '2', (char)c};
    assert_int_equal(reference_number(before, 3, &v), digit || c == '-' ? 0 : -EINVAL);
    assert_int_equal(reference_number(inside, 3, &v), digit || strchr(".eE", c ? c : ' ') ? 0 : -EINVAL);
    assert_int_equal(reference_number(after, 3, &v), digit ? 0 : -EINVAL);
  }
}

/* Against the C library, which has the C locale here: at most two units in the last place off. */
TEST(numbers_random) {
  for (int i = 0; i < 200000; i++) {
    char text[64];
    int decimals = (int)(rnd() % 19);
    if (i % 3)
      snprintf(text, sizeof text, "%s0.%0*llu", rnd() & 1 ? "-" : "", decimals + 1,
               (unsigned long long)(rnd() >> rnd() % 60) % 1000000000000000000u);
    else
      snprintf(text, sizeof text, "%llu.%llue%d", (unsigned long long)rnd() % 1000,
               (unsigned long long)rnd() % 10000000000000000u, (int)(rnd() % 40) - 22);
    double got = 77, want = strtod(text, NULL);
    int r = reference_number(text, strlen(text), &got);
    if (r)
      fail_msg("%s: %d", text, r);
    if (fabs(got - want) > 2 * (nextafter(fabs(want), INFINITY) - fabs(want)))
      fail_msg("%s: %.17g, not %.17g", text, got, want);
  }
}

/* ---- computing ------------------------------------------------------------------------------------------------- */

/* The same in long double, from the functions that made the table. */
struct oracle {
  long double m, lln, z, percent;
};

static struct oracle oracle(const struct block *b, double age, double height, double observed) {
  int row = (int)((age - 3) * 4);
  row = row > ROWS - 2 ? ROWS - 2 : row;
  long double part = ((long double)age - 3 - row / 4.0L) / 0.25L, a = logl(age), h = logl(height);
  long double sm = (1 - part) * m_spline(b, row) + part * m_spline(b, row + 1);
  long double ss = (1 - part) * s_spline(b, row) + part * s_spline(b, row + 1);
  long double m = expl(b->m[0] + b->m[1] * h + b->m[2] * a + sm), s = expl(b->s[0] + b->s[1] * a + ss);
  long double l = b->l[0] + b->l[1] * a;
  return (struct oracle){m, m * powl(1 - 1.645L * l * s, 1 / l), (powl(observed / m, l) - 1) / (l * s),
                         100 * observed / m};
}

static void near(struct dec got, long double want, int decimals, const char *what) {
  assert_int_equal(got.exponent, -decimals);
  if (fabsl(got.mantissa - want * powl(10, decimals)) > 0.5001L)
    fail_msg("%s: %d, not %Lf", what, got.mantissa, want * powl(10, decimals));
}

TEST(computed_as_published) {
  struct reference_table *table = whole();
  for (int i = 0; i < 60000; i++) {
    const struct block *b = &blocks[rnd() % BLOCKS];
    double age = i % 4 ? 3 + (double)(rnd() % 920001) / 10000 : row_age((int)(rnd() % ROWS));
    double height = 50 + (double)(rnd() % 20001) / 100;
    double observed = (double)(1 + rnd() % 10000) / (b->index == REFERENCE_RATIO ? 10000 : 1000);
    struct oracle want = oracle(b, age, height, observed);
    struct reference_values got;
    assert_int_equal(reference_compute(table, b->index, b->sex, age, height, observed, &got), 0);
    near(got.predicted, want.m, 4, "predicted");
    near(got.lln, want.lln, 4, "lln");
    near(got.z, want.z, 4, "z");
    near(got.percent, want.percent, 1, "percent");
    if (dec_cmp(got.z, (struct dec){-16451, -4}) <= 0) /* the limit is where z says */
      assert_true(observed * 1e4 < got.lln.mantissa + 0.5);
    if (dec_cmp(got.z, (struct dec){-16449, -4}) >= 0)
      assert_true(observed * 1e4 > got.lln.mantissa - 0.5);
  }
  reference_destroy(table);
}

TEST(out_of_range) {
  struct reference_table *table = whole();
  static const struct {
    char sex;
    int index;
    double age, height, observed;
    int err;
  } rows[] = {
      {'M', REFERENCE_FEV1, 45, 175, 3, 0},
      {'M', REFERENCE_FEV1, 3, 100, 1, 0}, /* the bounds belong to it */
      {'M', REFERENCE_FEV1, 95, 175, 1, 0},
      {'F', REFERENCE_FVC, 45, 50, 0.001, 0},
      {'F', REFERENCE_FVC, 45, 250, 20, 0},
      {'F', REFERENCE_RATIO, 45, 175, 1, 0},
      {'M', REFERENCE_FEV1, 2.9999999, 175, 3, -ERANGE},
      {'M', REFERENCE_FEV1, 95.0000001, 175, 3, -ERANGE},
      {'M', REFERENCE_FEV1, 0, 175, 3, -ERANGE},
      {'M', REFERENCE_FEV1, -1, 175, 3, -ERANGE},
      {'M', REFERENCE_FEV1, 1e300, 175, 3, -ERANGE},
      {'M', REFERENCE_FEV1, NAN, 175, 3, -ERANGE},
      {'M', REFERENCE_FEV1, INFINITY, 175, 3, -ERANGE},
      {'M', REFERENCE_FEV1, 45, 49.9999, 3, -ERANGE},
      {'M', REFERENCE_FEV1, 45, 250.0001, 3, -ERANGE},
      {'M', REFERENCE_FEV1, 45, 1.75, 3, -ERANGE}, /* metres */
      {'M', REFERENCE_FEV1, 45, 1750, 3, -ERANGE}, /* millimetres */
      {'M', REFERENCE_FEV1, 45, 0, 3, -ERANGE},
      {'M', REFERENCE_FEV1, 45, NAN, 3, -ERANGE},
      {'M', REFERENCE_FEV1, 45, -INFINITY, 3, -ERANGE},
      {'M', REFERENCE_FEV1, 45, 175, 0, -ERANGE},
      {'M', REFERENCE_FEV1, 45, 175, -1, -ERANGE},
      {'M', REFERENCE_FEV1, 45, 175, 3000, -ERANGE}, /* mL */
      {'M', REFERENCE_FEV1, 45, 175, NAN, -ERANGE},
      {'M', REFERENCE_FEV1, 45, 175, INFINITY, -ERANGE},
      {'F', REFERENCE_RATIO, 45, 175, 1.0001, -ERANGE},
      {'F', REFERENCE_RATIO, 45, 175, 80, -ERANGE}, /* percent */
      {'U', REFERENCE_FEV1, 45, 175, 3, -EINVAL},
      {'m', REFERENCE_FEV1, 45, 175, 3, -EINVAL},
      {0, REFERENCE_FEV1, 45, 175, 3, -EINVAL},
      {'M', REFERENCE_INDICES, 45, 175, 3, -EINVAL},
      {'M', -1, 45, 175, 3, -EINVAL},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct reference_values got, before;
    memset(&before, 0x55, sizeof before);
    got = before;
    int r = reference_compute(table, (enum reference_index)rows[i].index, rows[i].sex, rows[i].age, rows[i].height,
                              rows[i].observed, &got);
    if (r != rows[i].err)
      fail_msg("row %zu: %d", i, r);
    if (r)
      assert_memory_equal(&got, &before, sizeof got);
  }
  reference_destroy(table);
}

/* A table may pass all checks and have no limit somewhere: 1 - 1.645 L S is negative there. */
TEST(no_limit_there) {
  _buf_cleanup_ struct buf text = BUF_INIT(REFERENCE_TEXT_MAX);
  buf_text(&text, HEADER);
  for (int b = 0; b < BLOCKS - 1; b++)
    for (int row = 0; row < ROWS; row++)
      add_row(&text, &blocks[b], row, "\n");
  const struct gli_block *last = &gli_blocks[BLOCKS - 1];
  for (int row = 0; row < ROWS; row++)
    buf_format(&text, "F,FEV1FVC,%d.%02d,%.5f,%.9f,0\n", 3 + row / 4, row % 4 * 25, last->m,
               1 - (1 - last->s) * (row_age(row) - 3) / 57);
  struct reference_table *table = accepted(&text);
  struct reference_values got;
  assert_int_equal(reference_compute(table, REFERENCE_RATIO, 'F', 3, 100, 0.9, &got), -ERANGE);
  assert_int_equal(reference_compute(table, REFERENCE_RATIO, 'F', 60, 160, 0.8, &got), 0);
  reference_destroy(table);
}

/* ---- the real table -------------------------------------------------------------------------------------------- */

static bool real_text(struct buf *ret) {
  const char *folder = getenv("ASALEED_SAMPLES");
  char path[512];
  snprintf(path, sizeof path, "%s/gli/gli_global_2022_splines.csv", folder ? folder : "../shared/samples");
  FILE *f = fopen(path, "rb");
  if (!f) {
    print_message("skipped: no %s\n", path);
    return false;
  }
  char piece[4096];
  for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
    assert_int_equal(buf_add(ret, piece, n), 0);
  fclose(f);
  return true;
}

TEST(real_table) {
  _buf_cleanup_ struct buf text = BUF_INIT(REFERENCE_TEXT_MAX);
  if (!real_text(&text))
    skip();
  struct reference_table *table = accepted(&text);
  static const struct {
    char sex;
    enum reference_index index;
    double age, height, observed;
    int32_t predicted, lln, z; /* 0.0001; z 0: not known */
  } rows[] = {
      {'M', REFERENCE_FEV1, 45, 175, 2.5, 37132, 28227, -22141}, {'M', REFERENCE_FVC, 45, 175, 4, 45879, 35115, 0},
      {'M', REFERENCE_RATIO, 45, 175, 0.7, 8056, 6984, 0},       {'F', REFERENCE_FEV1, 60, 160, 2, 22918, 16456, 0},
      {'F', REFERENCE_FVC, 60, 160, 3, 28612, 20799, 0},         {'F', REFERENCE_RATIO, 60, 160, 0.7, 8014, 6800, 0},
      {'M', REFERENCE_FEV1, 70.1, 168, 2, 26626, 19461, 0},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct reference_values got;
    assert_int_equal(
        reference_compute(table, rows[i].index, rows[i].sex, rows[i].age, rows[i].height, rows[i].observed, &got), 0);
    assert_int_equal(got.predicted.mantissa, rows[i].predicted);
    assert_int_equal(got.lln.mantissa, rows[i].lln);
    if (rows[i].z)
      assert_int_equal(got.z.mantissa, rows[i].z);
    near(got.percent, 100 * rows[i].observed / (rows[i].predicted / 1e4L), 1, "percent");
  }
  for (int b = 0; b < BLOCKS; b++) /* everywhere: a value, above its limit, and the median is z = 0 */
    for (double age = 3; age <= 95; age += 0.1)
      for (double height = 50; height <= 250; height += 12.5) {
        struct reference_values got;
        assert_int_equal(reference_compute(table, blocks[b].index, blocks[b].sex, age, height, 0.5, &got), 0);
        assert_true(got.lln.mantissa > 0 && got.lln.mantissa < got.predicted.mantissa);
        double median = got.predicted.mantissa / 1e4;
        if (blocks[b].index == REFERENCE_RATIO && median > 1)
          continue;
        assert_int_equal(reference_compute(table, blocks[b].index, blocks[b].sex, age, height, median, &got), 0);
        assert_int_equal(got.percent.mantissa, 1000);
        assert_true(abs(got.z.mantissa) < 100);
      }
  reference_destroy(table);
}

/* Another table's columns or sexes in the right form. */
TEST(real_table_swapped) {
  _buf_cleanup_ struct buf text = BUF_INIT(REFERENCE_TEXT_MAX);
  if (!real_text(&text))
    skip();
  _buf_cleanup_ struct buf sexes = BUF_INIT(REFERENCE_TEXT_MAX), columns = BUF_INIT(REFERENCE_TEXT_MAX);
  const char *at = strchr(buf_cstr(&text), '\n') + 1;
  buf_text(&sexes, HEADER);
  buf_text(&columns, HEADER);
  char sex, index[16], age[16], m[32], s[32];
  for (; *at; at = strchr(at, '\n') + 1) {
    assert_int_equal(sscanf(at, "%c,%15[^,],%15[^,],%31[^,],%31[^,],", &sex, index, age, m, s), 5);
    buf_format(&sexes, "%c,%s,%s,%s,%s,0.0\n", sex == 'M' ? 'F' : 'M', index, age, m, s);
    buf_format(&columns, "%c,%s,%s,%s,%s,0.0\n", sex, index, age, s, m);
  }
  refused(sexes.data, sexes.len, "sex M, FEV1: not the values of GLI-Global-2022 at 45 years");
  refused(columns.data, columns.len, "sex M, FEV1: not the values of GLI-Global-2022 at 45 years");
}

/* ---- forms of the text ------------------------------------------------------------------------------------------ */

/* The table of this text is the one of whole_text(). */
static void same_table(const struct buf *text) {
  struct reference_table *want = whole(), *got = accepted(text);
  for (int b = 0; b < BLOCKS; b++)
    for (int row = 0; row < ROWS; row++) {
      struct reference_values x, y;
      assert_int_equal(reference_compute(want, blocks[b].index, blocks[b].sex, row_age(row), 170 + b, 0.7, &x), 0);
      assert_int_equal(reference_compute(got, blocks[b].index, blocks[b].sex, row_age(row), 170 + b, 0.7, &y), 0);
      assert_memory_equal(&x, &y, sizeof x);
    }
  reference_destroy(want);
  reference_destroy(got);
}

TEST(line_ends) {
  static const char *const ends[] = {"\n", "\r\n", " \n", "\t \r\n"};
  static const char *const tails[] = {"", "\n", "\r\n", "  \n\t\r\n \n", " ", "\t"};
  for (size_t end = 0; end < COUNT(ends); end++)
    for (size_t tail = 0; tail < COUNT(tails); tail++)
      for (int bom = 0; bom < 2; bom++) {
        _buf_cleanup_ struct buf text = BUF_INIT(REFERENCE_TEXT_MAX);
        if (bom)
          buf_text(&text, "\xef\xbb\xbf");
        buf_add(&text, HEADER, sizeof HEADER - 2);
        buf_text(&text, ends[end]);
        for (int b = 0; b < BLOCKS; b++)
          for (int row = 0; row < ROWS; row++)
            add_row(&text, &blocks[b], row, ends[end]);
        buf_text(&text, tails[tail]);
        same_table(&text);
        text.len -= strlen(tails[tail]) + strlen(ends[end]); /* no end at the last line */
        same_table(&text);
      }
}

TEST(order_of_blocks) {
  _buf_cleanup_ struct buf by_age = BUF_INIT(REFERENCE_TEXT_MAX), backwards = BUF_INIT(REFERENCE_TEXT_MAX);
  buf_text(&by_age, HEADER);
  for (int row = 0; row < ROWS; row++)
    for (int b = 0; b < BLOCKS; b++)
      add_row(&by_age, &blocks[b], row, "\n");
  same_table(&by_age);
  buf_text(&backwards, HEADER);
  for (int b = BLOCKS; b--;)
    for (int row = 0; row < ROWS; row++)
      add_row(&backwards, &blocks[b], row, "\n");
  same_table(&backwards);
}

TEST(spelling_of_numbers) {
  _buf_cleanup_ struct buf text = BUF_INIT(REFERENCE_TEXT_MAX);
  buf_text(&text, HEADER);
  for (int b = 0; b < BLOCKS; b++)
    for (int row = 0; row < ROWS; row++)
      buf_format(&text, "%c,%s,%.*f,%.12e,%.8E,-0e+00\n", blocks[b].sex, blocks[b].name,
                 row % 4 == 0 ? 0 : 2 - (row % 2 == 0), row_age(row), m_spline(&blocks[b], row),
                 s_spline(&blocks[b], row));
  same_table(&text);
}

TEST(other_locale) {
  setenv("LOCPATH", "build/locale", 1);
  bool french = setlocale(LC_ALL, "fr_FR.UTF-8");
  unsetenv("LOCPATH");
  if (!french) {
    print_message("skipped: no French locale in build/locale\n");
    skip();
  }
  double v = 77;
  char half[8];
  snprintf(half, sizeof half, "%.1f", 0.5);
  int comma = reference_number("0,5", 3, &v), point = reference_number("0.5", 3, &v);
  setlocale(LC_ALL, "C");
  assert_string_equal(half, "0,5");
  assert_int_equal(comma, -EINVAL);
  assert_int_equal(point, 0);
  assert_true(v == 0.5);
}

/* One line of the whole table replaced (1 is the header). */
static struct buf with_line(unsigned line, const char *replacement) {
  _buf_cleanup_ struct buf text = whole_text();
  const char *at = buf_cstr(&text), *end;
  for (unsigned i = 1; i < line; i++)
    at = strchr(at, '\n') + 1;
  end = strchr(at, '\n');
  struct buf with = BUF_INIT(REFERENCE_TEXT_MAX * 2);
  buf_add(&with, text.data, (size_t)(at - (const char *)text.data));
  buf_text(&with, replacement);
  buf_text(&with, end);
  assert_int_equal(with.err, 0);
  return with;
}

TEST(wrong_lines) {
  static const struct {
    unsigned line;
    const char *text, *why;
  } rows[] = {
      {1, "sex,index,age,Mspline,Sspline", "line 1: not the header"},
      {1, "sex;index;age;Mspline;Sspline;Lspline", "line 1: not the header"},
      {1, "Sex,Index,Age,Mspline,Sspline,Lspline", "line 1: not the header"},
      {1, "sex,index,age,Sspline,Mspline,Lspline", "line 1: not the header"},
      {1, " sex,index,age,Mspline,Sspline,Lspline", "line 1: not the header"},
      {1, "", "line 1: not the header"},
      {1, "M,FEV1,3,0,0,0", "line 1: not the header"},
      {2, "m,FEV1,3,0,0,0", "line 2: neither sex"},
      {2, "U,FEV1,3,0,0,0", "line 2: neither sex"},
      {2, ",FEV1,3,0,0,0", "line 2: neither sex"},
      {2, "MM,FEV1,3,0,0,0", "line 2: neither sex"},
      {2, "M,fev1,3,0,0,0", "line 2: neither sex"},
      {2, "M,FEV,3,0,0,0", "line 2: neither sex"},
      {2, "M,FEV1FV,3,0,0,0", "line 2: neither sex"},
      {2, "M,FEF2575,3,0,0,0", "line 2: neither sex"},
      {2, "M", "line 2: neither sex"},
      {2, ",,,,,", "line 2: neither sex"},
      {2, "M;FEV1;3;0;0;0", "line 2: neither sex"},
      {2, "M,FEV1", "line 2: an age"},
      {2, "M,FEV1,", "line 2: an age"},
      {2, "M,FEV1,three,0,0,0", "line 2: an age"},
      {2, "M,FEV1,0x3,0,0,0", "line 2: an age"},
      {2, "M,FEV1,nan,0,0,0", "line 2: an age"},
      {2, "M,FEV1,2.75,0,0,0", "line 2: not the next age"},
      {2, "M,FEV1,3.25,0,0,0", "line 2: not the next age"},
      {2, "M,FEV1,3.0000000001,0,0,0", "line 2: not the next age"},
      {2, "M,FEV1,-3,0,0,0", "line 2: not the next age"},
      {2, "M,FVC,3,-0.01,0,0", "line 3: not the next age"}, /* and FEV1 begins at 3.25 */
      {3, "M,FEV1,3,0.03,0,0", "line 3: not the next age"},
      {370, "M,FEV1,95.25,0,0,0", "line 370: not the next age"},
      {371, "M,FEV1,95.25,0,0,0", "line 371: not the next age"},
      {2, "M,FEV1,3", "line 2: a spline value that is no"},
      {2, "M,FEV1,3,0", "line 2: a spline value that is no"},
      {2, "M,FEV1,3,nan,0,0", "line 2: a spline value that is no"},
      {2, "M,FEV1,3,0,inf,0", "line 2: a spline value that is no"},
      {2, "M,FEV1,3,-inf,0,0", "line 2: a spline value that is no"},
      {2, "M,FEV1,3,0x0.1p0,0,0", "line 2: a spline value that is no"},
      {2, "M,FEV1,3,0.1.2,0,0", "line 2: a spline value that is no"},
      {2, "M,FEV1,3, 0.1,0,0", "line 2: a spline value that is no"},
      {2, "M,FEV1,3,\"0.1\",0,0", "line 2: a spline value that is no"},
      {2, "M,FEV1,3,0.12345678901234567890,0,0", "line 2: a spline value that is no"},
      {2, "M,FEV1,3,0,1e-60,0", "line 2: a spline value that is no"},
      {2, "M,FEV1,3,1.0001,0,0", "line 2: a spline value beyond"},
      {2, "M,FEV1,3,0,-1.5,0", "line 2: a spline value beyond"},
      {2, "M,FEV1,3,1e40,0,0", "line 2: a spline value beyond"},
      {2, "M,FEV1,3,3.7,0.1,0", "line 2: a spline value beyond"}, /* the values, not the splines */
      {2, "M,FEV1,3,0,0", "line 2: an Lspline"},
      {2, "M,FEV1,3,0,0,", "line 2: an Lspline"},
      {2, "M,FEV1,3,0,0,0.001", "line 2: an Lspline"},
      {2, "M,FEV1,3,0,0,nan", "line 2: an Lspline"},
      {2, "M,FEV1,3,0,0,0,", "line 2: an Lspline"},
      {2, "M,FEV1,3,0,0,0,0", "line 2: an Lspline"},
      {2, "M,FEV1,3,-0,1,0,2,0", "line 2: an Lspline"}, /* decimal commas */
      {2, "M,FEV1,3,0.5,0,0", "line 4: a spline value that does not go on"},
      {100, "M,FEV1,27.5,0.5,0,0", "line 100: a spline value that does not go on"},
      {100, "", "line 101: more after a blank line"},
      {2, "", "line 3: more after a blank line"},
      {2215, "", "line 2215: the table ends and sex F, FEV1FVC has 368 of its 369 ages"},
      {2215, "F,FEV1FVC,95,0,0,0\nF,FEV1FVC,95.25,0,0,0", "line 2215: a spline value that does not go on"},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    _buf_cleanup_ struct buf text = with_line(rows[i].line, rows[i].text);
    refused(text.data, text.len, rows[i].why);
  }
}

TEST(wrong_texts) {
  _buf_cleanup_ struct buf text = whole_text();
  refused(NULL, 0, "line 1: not the header");
  refused("", 0, "line 1: not the header");
  refused("\xef\xbb\xbf", 3, "line 1: not the header");
  refused("\xef\xbb", 2, "line 1: not the header");
  refused("\n", 1, "line 1: not the header");
  refused(HEADER, sizeof HEADER - 1, "line 1: the table ends and sex M, FEV1 has 0 of its 369 ages");
  refused("PK\x03\x04\0\0\0\0", 8, "line 1: not the header"); /* a workbook */
  _buf_cleanup_ struct buf more = BUF_INIT(REFERENCE_TEXT_MAX), twice = BUF_INIT(REFERENCE_TEXT_MAX);
  buf_add(&more, text.data, text.len);
  add_row(&more, &blocks[BLOCKS - 1], ROWS - 1, "\n"); /* the last line once more */
  refused(more.data, more.len, "line 2216: not the next age");
  buf_add(&twice, text.data, text.len);
  buf_add(&twice, text.data, text.len);
  refused(twice.data, twice.len, "line 2216: neither sex");
  for (size_t at = 0; at < text.len; at += 997) { /* a NUL */
    uint8_t was = text.data[at];
    text.data[at] = 0;
    refused(text.data, text.len, "line");
    text.data[at] = was;
  }
}

/* A constant added to one column of one block keeps its form: only what the table must give shows it. */
TEST(shifted_columns) {
  for (int wrong = 0; wrong < 2 * BLOCKS; wrong++) {
    _buf_cleanup_ struct buf text = BUF_INIT(REFERENCE_TEXT_MAX);
    buf_text(&text, HEADER);
    for (int b = 0; b < BLOCKS; b++)
      for (int row = 0; row < ROWS; row++)
        buf_format(&text, "%c,%s,%d.%02d,%.9f,%.9f,0\n", blocks[b].sex, blocks[b].name, 3 + row / 4, row % 4 * 25,
                   m_spline(&blocks[b], row) + (wrong == b ? 0.002 : 0),
                   s_spline(&blocks[b], row) - (wrong == b + BLOCKS ? 0.01 : 0));
    char why[64];
    const struct block *b = &blocks[wrong % BLOCKS];
    snprintf(why, sizeof why, "sex %c, %s: not the values of GLI-Global-2022", b->sex, b->name);
    refused(text.data, text.len, why);
  }
}

/* ---- hostile bytes ---------------------------------------------------------------------------------------------- */

TEST(cut_anywhere) {
  _buf_cleanup_ struct buf text = BUF_INIT(REFERENCE_TEXT_MAX);
  gli_table(&text);
  for (size_t n = 0; n < text.len - 1; n++)
    refused(text.data, n, "line");
  reference_destroy(accepted(&text));
  text.len--; /* the last line's end may be missing */
  reference_destroy(accepted(&text));
}

/* What a changed byte can do to a table that is still taken: half a percent at the end of a block. */
static void no_worse(const struct reference_table *want, const struct reference_table *got, unsigned line) {
  int b = (int)(line - 2) / ROWS, row = (int)(line - 2) % ROWS;
  for (int near_by = row - 1; near_by <= row + 1; near_by++) {
    if (line < 2 || b >= BLOCKS || near_by < 0 || near_by >= ROWS)
      continue;
    struct reference_values x, y;
    assert_int_equal(reference_compute(want, blocks[b].index, blocks[b].sex, row_age(near_by), 180, 0.5, &x), 0);
    assert_int_equal(reference_compute(got, blocks[b].index, blocks[b].sex, row_age(near_by), 180, 0.5, &y), 0);
    if (abs(x.predicted.mantissa - y.predicted.mantissa) > 0.0055 * x.predicted.mantissa + 1 ||
        abs(x.lln.mantissa - y.lln.mantissa) > 0.0055 * x.lln.mantissa + 1)
      fail_msg("line %u: %d became %d", line, x.predicted.mantissa, y.predicted.mantissa);
  }
}

TEST(changed_anywhere) {
  _buf_cleanup_ struct buf text = whole_text();
  struct reference_table *want = whole();
  unsigned line = 1;
  size_t taken = 0, first = strlen(HEADER), tried = 0;
  for (size_t at = 0; at < text.len; at++) {
    bool all = at < first + 120 || at + 120 > text.len; /* every bit there, one bit in twenty bytes elsewhere */
    for (unsigned bit = 0; bit < 8; bit++) {
      if (!all && (rnd() % 160))
        continue;
      text.data[at] ^= (uint8_t)(1u << bit);
      struct reference_table *got = read_bytes(text.data, text.len, -EPROTO);
      if (got)
        no_worse(want, got, line);
      taken += got != NULL;
      tried++;
      reference_destroy(got);
      text.data[at] ^= (uint8_t)(1u << bit);
    }
    line += text.data[at] == '\n';
  }
  reference_destroy(want);
  print_message("%zu of %zu changed bits are taken\n", taken, tried);
  assert_true(taken < tried);
}

TEST(long_lines) {
  size_t n = REFERENCE_TEXT_MAX;
  char *text = malloc(n + 1);
  assert_non_null(text);
  static const char fills[] = "0,\n. \r-e9\xff";
  static const char *const starts[] = {"",
                                       HEADER,
                                       HEADER "M",
                                       HEADER "M,FEV1,",
                                       HEADER "M,FEV1,3,",
                                       HEADER "M,FEV1,3,0.",
                                       HEADER "M,FEV1,3,0,0,",
                                       HEADER "M,FEV1,3,0,0,0"};
  for (size_t s = 0; s < COUNT(starts); s++)
    for (size_t f = 0; f < sizeof fills; f++) {
      memset(text, fills[f], n + 1);
      memcpy(text, starts[s], strlen(starts[s]));
      refused(text, n, "line");
      assert_null(read_bytes(text, n + 1, -EFBIG));
      assert_string_equal(reason, "more than 1048576 bytes");
    }
  free(text);
}

TEST(rubbish) {
  for (int i = 0; i < 20000; i++) {
    char text[512];
    static const char set[] = "MF,,,01.-e\n\r\t FEVC39521\xef\xbb\xbf\0";
    size_t n = rnd() % sizeof text, start = rnd() % 2 ? strlen(HEADER) : 0;
    memcpy(text, HEADER, strlen(HEADER));
    for (size_t k = start; k < n; k++)
      text[k] = i % 4 ? set[rnd() % sizeof set] : (char)rnd();
    refused(text, n, "line");
  }
}

TEST(without_memory) {
  if (!fail_alloc_works())
    skip();
  _buf_cleanup_ struct buf text = whole_text();
  for (size_t nth = 1;; nth++) {
    struct reference_table *const untouched = (struct reference_table *)(uintptr_t)8, *table = untouched;
    long live = fail_alloc_live();
    fail_alloc_set(nth, false);
    int r = reference_parse((const char *)text.data, text.len, &table, reason);
    bool hit = fail_alloc_hit();
    fail_alloc_set(0, false);
    if (r == 0) {
      assert_false(hit);
      reference_destroy(table);
    } else {
      assert_int_equal(r, -ENOMEM);
      assert_true(hit);
      assert_ptr_equal(table, untouched);
      assert_string_equal(reason, "no memory");
    }
    assert_int_equal(fail_alloc_live(), live);
    if (!hit) {
      assert_int_equal(nth, 2); /* one block a table */
      break;
    }
  }
  long live = fail_alloc_live();
  assert_null(read_bytes(text.data, text.len / 2, -EPROTO)); /* a refused one leaves none */
  assert_int_equal(fail_alloc_live(), live);
  reference_destroy(NULL);
}

/* ---- age -------------------------------------------------------------------------------------------------------- */

TEST(ages) {
  static const struct {
    const char *birth, *test;
    double age;
  } rows[] = {
      {"1980-05-17", "2025-05-17", 45},
      {"1980-05-17", "2025-05-16", 44 + 364 / 365.0},
      {"1980-05-17", "2025-05-18", 45 + 1 / 365.0},
      {"1980-05-17", "1980-05-17", 0},
      {"1980-05-17", "1980-05-18", 1 / 365.0},
      {"1980-01-01", "1980-12-31", 365 / 366.0}, /* a leap year lies between the birthdays */
      {"1981-01-01", "1981-12-31", 364 / 365.0},
      {"1979-03-01", "1980-02-29", 365 / 366.0},
      {"1979-03-01", "1980-03-01", 1},
      {"1979-12-31", "1980-01-01", 1 / 366.0},
      {"1980-02-29", "1981-02-28", 365 / 366.0}, /* born on 29 February */
      {"1980-02-29", "1981-03-01", 1},
      {"1980-02-29", "1984-02-28", 3 + 364 / 365.0},
      {"1980-02-29", "1984-02-29", 4},
      {"1980-02-29", "1984-03-01", 4 + 1 / 366.0},
      {"1980-02-29", "1985-02-28", 4 + 365 / 366.0},
      {"1896-02-29", "1900-02-28", 3 + 364 / 365.0}, /* 1900 is no leap year */
      {"1896-02-29", "1900-03-01", 4},
      {"1896-02-29", "2000-02-29", 104},
      {"1850-01-01", "9999-12-31", 8149 + 364 / 365.0},
      {"1980-05-17", "1980-05-16", -1},
      {"2025-01-01", "1980-01-01", -1},
      {"1980-02-30", "2025-01-01", -1},
      {"1980-01-01", "2025-02-29", -1},
      {"", "2025-01-01", -1},
      {"1980-01-01", "", -1},
      {"1980-1-1", "2025-01-01", -1},
      {"1980-01-01", "2025-01-01T00:00:00Z", -1},
      {"17/05/1980", "2025-01-01", -1},
      {"1849-12-31", "2025-01-01", -1},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    double got = reference_age(rows[i].birth, rows[i].test);
    if (fabs(got - rows[i].age) > 1e-12)
      fail_msg("%s to %s: %.15g", rows[i].birth, rows[i].test, got);
  }
}

/* Day after day: the age grows by one day of that year, and is whole on birthdays. */
TEST(every_day) {
  static const char *const births[] = {"1960-02-29", "1960-03-01", "1961-02-28", "1999-12-31", "2000-01-01"};
  static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  for (size_t i = 0; i < COUNT(births); i++) {
    double last = -1;
    int whole_years = 0;
    for (int year = 2000; year <= 2009; year++)
      for (int month = 1; month <= 12; month++)
        for (int day = 1; day <= lengths[month - 1] + (month == 2 && year % 4 == 0); day++) {
          char text[32];
          snprintf(text, sizeof text, "%04d-%02d-%02d", year, month, day);
          double age = reference_age(births[i], text);
          if (last >= 0) {
            double grown = age - last;
            assert_true(grown > 0.99999 / 366 && grown < 1.00001 / 365);
          }
          whole_years += age == floor(age) && age > 0;
          last = age;
        }
    assert_int_equal(whole_years, i == 4 ? 9 : 10); /* on the first day of 2000 the last of them is born */
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers),
      cmocka_unit_test(not_numbers),
      cmocka_unit_test(numbers_random),
      cmocka_unit_test(computed_as_published),
      cmocka_unit_test(out_of_range),
      cmocka_unit_test(no_limit_there),
      cmocka_unit_test(real_table),
      cmocka_unit_test(real_table_swapped),
      cmocka_unit_test(line_ends),
      cmocka_unit_test(order_of_blocks),
      cmocka_unit_test(spelling_of_numbers),
      cmocka_unit_test(other_locale),
      cmocka_unit_test(wrong_lines),
      cmocka_unit_test(wrong_texts),
      cmocka_unit_test(shifted_columns),
      cmocka_unit_test(cut_anywhere),
      cmocka_unit_test(changed_anywhere),
      cmocka_unit_test(long_lines),
      cmocka_unit_test(rubbish),
      cmocka_unit_test(without_memory),
      cmocka_unit_test(ages),
      cmocka_unit_test(every_day),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
