#include "reference.h"

#include "wall.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEXES 2
#define ROWS 369 /* 3 to 95 years by 0.25 */
#define ROWS_A_YEAR 4
#define SPLINE_MAX 1.0
#define BEND_MAX 0.005
#define FIELDS 6
#define VOLUME_MAX 20.0
#define Z_LOWER 1.645

struct reference_table {
  double m[SEXES][REFERENCE_INDICES][ROWS], s[SEXES][REFERENCE_INDICES][ROWS];
};

static const char sexes[SEXES] = "MF";
static const char *const names[REFERENCE_INDICES] = {"FEV1", "FVC", "FEV1FVC"};

static const struct equation {
  double m0, m_height, m_age, s0, s_age, l0, l_age;
} equations[SEXES][REFERENCE_INDICES] = {
    {{-11.399108, 2.462664, -0.011394, -2.256278, 0.080729, 1.22703, 0},
     {-12.629131, 2.727421, 0.009174, -2.195595, 0.068466, 0.9346, 0},
     {1.022608, -0.218592, -0.027586, -2.882025, 0.068889, 3.8243, -0.3328}},
    {{-10.901689, 2.385928, -0.076386, -2.364047, 0.129402, 1.21388, 0},
     {-12.055901, 2.621579, -0.035975, -2.310148, 0.120428, 0.899, 0},
     {0.9189568, -0.1840671, -0.0461306, -3.171582, 0.144358, 6.6490, -0.9920}},
};

/* What the right table gives, in units of 0.0001: predicted value and lower limit. */
static const struct known {
  double age, height;
  int32_t predicted[REFERENCE_INDICES], lln[REFERENCE_INDICES];
} known[SEXES] = {{45, 175, {37132, 45879, 8056}, {28227, 35115, 6984}},
                  {60, 160, {22918, 28612, 8014}, {16456, 20799, 6800}}};
#define KNOWN_OFF 5 /* a table written with five decimals */

/* ---- reading ------------------------------------------------------------------------------------------------- */

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* v x 10^exponent; powers up to 10^22 are exact. */
static double scaled(double v, int exponent) {
  while (exponent) {
    int step = exponent < -22 ? -22 : exponent > 22 ? 22 : exponent;
    double power = 1;
    for (int i = abs(step); i; i--)
      power *= 10;
    v = step < 0 ? v / power : v * power;
    exponent -= step;
  }
  return v;
}

/* The exponent that text has after its digits, "e-05"; -EINVAL when it is none. */
static int read_exponent(const char *p, const char *end, int *ret) {
  bool negative = p < end && *p == '-';
  int v = 0;
  if (p < end && (*p == '-' || *p == '+'))
    p++;
  if (p == end || end - p > 2)
    return -EINVAL;
  for (; p < end; p++) {
    if (!is_digit(*p))
      return -EINVAL;
    v = v * 10 + (*p - '0');
  }
  *ret = negative ? -v : v;
  return 0;
}

int reference_number(const char *text, size_t n, double *ret) {
  const char *p = text, *end = text + n;
  bool negative = p < end && *p == '-', point = false;
  uint64_t mantissa = 0;
  int exponent = 0, shift = 0;
  p += negative;
  if (p == end || !is_digit(*p))
    return -EINVAL;
  for (; p < end && (is_digit(*p) || (*p == '.' && !point)); p++) {
    if (*p == '.') {
      point = true;
      continue;
    }
    if (mantissa > UINT64_C(999999999999999999) || exponent < -40)
      return -ERANGE;
    mantissa = mantissa * 10 + (uint64_t)(*p - '0');
    exponent -= point;
  }
  if (!is_digit(p[-1]))
    return -EINVAL;
  if (p < end && ((*p != 'e' && *p != 'E') || read_exponent(p + 1, end, &shift) < 0))
    return -EINVAL;
  exponent += shift;
  if (exponent < -40 || exponent > 40)
    return -ERANGE;
  double v = scaled((double)mantissa, exponent);
  *ret = negative ? -v : v;
  return 0;
}

struct slice {
  const char *at;
  size_t n;
};

struct reader {
  struct slice left;
  unsigned line;
  int rows[SEXES][REFERENCE_INDICES]; /* read so far */
  struct reference_table *table;
  char *reason;
};

static int refuse(const struct reader *r, const char *why) {
  snprintf(r->reason, 256, "line %u: %s", r->line, why);
  return -EPROTO;
}

static bool is_text(struct slice s, const char *text) {
  return s.n == strlen(text) && !memcmp(s.at, text, s.n);
}

/* Takes off what stands before the first `end`, and that; all that is left when there is none. */
static struct slice take(struct slice *left, char end) {
  const char *stop = left->n ? memchr(left->at, end, left->n) : NULL;
  struct slice s = {left->at, stop ? (size_t)(stop - left->at) : left->n};
  size_t gone = s.n + (stop != NULL);
  *left = (struct slice){left->at + gone, left->n - gone};
  return s;
}

static struct slice next_line(struct reader *r) {
  struct slice s = take(&r->left, '\n');
  r->line++;
  if (s.n && s.at[s.n - 1] == '\r')
    s.n--;
  while (s.n && (s.at[s.n - 1] == ' ' || s.at[s.n - 1] == '\t'))
    s.n--;
  return s;
}

static int find_sex(struct slice field) {
  for (int i = 0; i < SEXES; i++)
    if (field.n == 1 && *field.at == sexes[i])
      return i;
  return -1;
}

static int find_index(struct slice field) {
  for (int i = 0; i < REFERENCE_INDICES; i++)
    if (is_text(field, names[i]))
      return i;
  return -1;
}

static int read_spline(struct reader *r, struct slice field, double column[static ROWS], int row) {
  double v, bend = 0;
  if (reference_number(field.at, field.n, &v) < 0)
    return refuse(r, "a spline value that is no decimal number");
  if (fabs(v) > SPLINE_MAX)
    return refuse(r, "a spline value beyond -1..1");
  if (row >= 2)
    bend = v - 2 * column[row - 1] + column[row - 2];
  if (fabs(bend) > BEND_MAX)
    return refuse(r, "a spline value that does not go on from those before it");
  column[row] = v;
  return 0;
}

static int read_row(struct reader *r, struct slice line) {
  struct slice field[FIELDS];
  double age, l;
  for (int i = 0; i < FIELDS - 1; i++)
    field[i] = take(&line, ',');
  field[FIELDS - 1] = line;
  int sex = find_sex(field[0]), index = find_index(field[1]);
  if (sex < 0 || index < 0)
    return refuse(r, "neither sex M or F with index FEV1, FVC or FEV1FVC");
  int row = r->rows[sex][index];
  if (reference_number(field[2].at, field[2].n, &age) < 0)
    return refuse(r, "an age that is no decimal number");
  if (row == ROWS || age != REFERENCE_AGE_MIN + (double)row / ROWS_A_YEAR)
    return refuse(r, "not the next age of this sex and index (3 to 95 by 0.25)");
  int err = read_spline(r, field[3], r->table->m[sex][index], row);
  if (err == 0)
    err = read_spline(r, field[4], r->table->s[sex][index], row);
  if (err < 0)
    return err;
  if (reference_number(field[5].at, field[5].n, &l) < 0 || l != 0)
    return refuse(r, "an Lspline other than 0: not a table of " REFERENCE_SET);
  r->rows[sex][index]++;
  return 0;
}

static int read_rows(struct reader *r) {
  while (r->left.n) {
    struct slice line = next_line(r);
    if (!line.n)
      break;
    int err = read_row(r, line);
    if (err < 0)
      return err;
  }
  while (r->left.n)
    if (next_line(r).n)
      return refuse(r, "more after a blank line");
  for (int sex = 0; sex < SEXES; sex++)
    for (int index = 0; index < REFERENCE_INDICES; index++)
      if (r->rows[sex][index] < ROWS) {
        snprintf(r->reason, 256, "line %u: the table ends and sex %c, %s has %d of its %d ages", r->line, sexes[sex],
                 names[index], r->rows[sex][index], ROWS);
        return -EPROTO;
      }
  return 0;
}

/* A table of the right form may still be that of another edition, or have its columns or sexes swapped. */
static int check_known(const struct reference_table *table, char reason[static 256]) {
  for (int sex = 0; sex < SEXES; sex++)
    for (int index = 0; index < REFERENCE_INDICES; index++) {
      const struct known *k = &known[sex];
      struct reference_values v;
      int err = reference_compute(table, (enum reference_index)index, sexes[sex], k->age, k->height,
                                  k->predicted[index] / 1e4, &v);
      if (err < 0 || abs(v.predicted.mantissa - k->predicted[index]) > KNOWN_OFF ||
          abs(v.lln.mantissa - k->lln[index]) > KNOWN_OFF) {
        snprintf(reason, 256, "sex %c, %s: not the values of " REFERENCE_SET " at %d years", sexes[sex], names[index],
                 (int)k->age);
        return -EPROTO;
      }
    }
  return 0;
}

int reference_parse(const char *text, size_t n, struct reference_table **ret, char reason[static 256]) {
  if (n > REFERENCE_TEXT_MAX) {
    snprintf(reason, 256, "more than %u bytes", REFERENCE_TEXT_MAX);
    return -EFBIG;
  }
  struct reader r = {.left = {text, n}, .table = malloc(sizeof *r.table), .reason = reason};
  if (!r.table) {
    snprintf(reason, 256, "no memory");
    return -ENOMEM;
  }
  if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
    r.left = (struct slice){text + 3, n - 3};
  int err = is_text(next_line(&r), "sex,index,age,Mspline,Sspline,Lspline")
                ? read_rows(&r)
                : refuse(&r, "not the header sex,index,age,Mspline,Sspline,Lspline");
  if (err == 0)
    err = check_known(r.table, reason);
  if (err < 0) {
    free(r.table);
    return err;
  }
  *ret = r.table;
  return 0;
}

void reference_destroy(struct reference_table *table) {
  free(table);
}

/* ---- computing ----------------------------------------------------------------------------------------------- */

static double interpolate(const double column[static ROWS], double age) {
  double at = (age - REFERENCE_AGE_MIN) * ROWS_A_YEAR;
  int row = at < ROWS - 1 ? (int)at : ROWS - 2;
  return column[row] + (at - row) * (column[row + 1] - column[row]);
}

/* Halves away from zero; -ERANGE for what is no number or does not fit. */
static int rounded(double v, int decimals, struct dec *ret) {
  v = round(scaled(v, decimals));
  if (!(fabs(v) <= INT32_MAX))
    return -ERANGE;
  *ret = (struct dec){(int32_t)v, (int8_t)-decimals};
  return 0;
}

int reference_compute(const struct reference_table *table, enum reference_index index, char sex, double age_years,
                      double height_cm, double observed, struct reference_values *ret) {
  int which = find_sex((struct slice){&sex, 1});
  if (which < 0 || index >= REFERENCE_INDICES)
    return -EINVAL;
  if (!(age_years >= REFERENCE_AGE_MIN && age_years <= REFERENCE_AGE_MAX) ||
      !(height_cm >= REFERENCE_HEIGHT_MIN && height_cm <= REFERENCE_HEIGHT_MAX) ||
      !(observed > 0 && observed <= (index == REFERENCE_RATIO ? 1 : VOLUME_MAX)))
    return -ERANGE;
  const struct equation *e = &equations[which][index];
  double log_age = log(age_years);
  double log_m =
      e->m0 + e->m_height * log(height_cm) + e->m_age * log_age + interpolate(table->m[which][index], age_years);
  double m = exp(log_m), s = exp(e->s0 + e->s_age * log_age + interpolate(table->s[which][index], age_years));
  double l = e->l0 + e->l_age * log_age; /* 0.9 to 5.6: never 0 */
  struct reference_values v;
  if (rounded(m, 4, &v.predicted) < 0 || rounded(exp(log(1 - Z_LOWER * l * s) / l + log_m), 4, &v.lln) < 0 ||
      rounded((pow(observed / m, l) - 1) / (l * s), 4, &v.z) < 0 || rounded(100 * observed / m, 1, &v.percent) < 0)
    return -ERANGE;
  *ret = v;
  return 0;
}

/* ---- age ----------------------------------------------------------------------------------------------------- */

static int digits(const char *text, int n) {
  int v = 0;
  for (int i = 0; i < n; i++)
    v = v * 10 + (text[i] - '0');
  return v;
}

/* Days since some day, of a Gregorian date; 29 February of a common year is 1 March. Years begin in March. */
static int day_number(int year, int month, int day) {
  if (month <= 2) {
    year--;
    month += 12;
  }
  return 365 * year + year / 4 - year / 100 + year / 400 + (153 * (month - 3) + 2) / 5 + day;
}

double reference_age(const char *birth_date, const char *test_date) {
  if (!wall_is_date(birth_date) || !wall_is_date(test_date) || strcmp(test_date, birth_date) < 0)
    return -1;
  int born = digits(birth_date, 4), month = digits(birth_date + 5, 2), day = digits(birth_date + 8, 2);
  int tested = digits(test_date, 4), last = tested;
  int today = day_number(tested, digits(test_date + 5, 2), digits(test_date + 8, 2));
  if (day_number(last, month, day) > today)
    last--;
  int birthday = day_number(last, month, day), next = day_number(last + 1, month, day);
  return last - born + (double)(today - birthday) / (next - birthday);
}
