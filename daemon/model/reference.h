/* Spirometry reference values, GLI-Global-2022 (race-neutral): predicted value, lower limit of normal, z-score.
 * For the reader only; whoever makes a JSON of them masks it.
 *
 * Equations: Bowerman C, et al., Am J Respir Crit Care Med 2023;207:768 (doi 10.1164/rccm.202205-0963OC). Height in cm,
 * age in years, natural logarithms:
 *
 *   M = exp(m0 + m1 ln(height) + m2 ln(age) + Mspline(age))   predicted value: L, or for the ratio a fraction
 *   S = exp(s0 + s1 ln(age) + Sspline(age))                   coefficient of variation
 *   L = l0 + l1 ln(age)                                       skewness
 *   z = ((observed/M)^L - 1) / (L S)
 *   lower limit = M (1 - 1.645 L S)^(1/L)                     5th centile, z = -1.645
 *
 * The constants are in reference.c. The splines are a table that the site obtains from the Global Lung Function
 * Initiative (European Respiratory Society, its page for IT engineers and manufacturers) under GLI's own terms; none
 * is shipped. Its form is CSV, 2215 lines, the values as GLI's workbook has them:
 *
 *   sex,index,age,Mspline,Sspline,Lspline    exactly this first line
 *   M,FEV1,3.00,-0.0123,0.0456,0             sex M or F; index FEV1, FVC or FEV1FVC; decimal points
 *
 * Each of the six pairs of sex and index has the ages 3 to 95 by 0.25, each once, in ascending order. Lines end with LF
 * or CRLF; a byte order mark, blanks at the end of a line and blank lines at the end of the text are overlooked.
 *
 * Refused beside a wrong form, as another table or a damaged one: a value beyond -1..1, a value that leaves the line
 * through the two before it by more than 0.005 (GLI's own: 0.0019 at most), an Lspline other than 0, and a table that
 * does not give the known predicted values and limits at 45 years (M, 175 cm) and 60 years (F, 160 cm).
 */
#ifndef ASALEED_REFERENCE_H
#define ASALEED_REFERENCE_H

#include <asalee/dec.h>

#define REFERENCE_SET "GLI-Global-2022"
#define REFERENCE_TEXT_MAX (1u << 20)

#define REFERENCE_AGE_MIN 3.0 /* years; nothing is extrapolated */
#define REFERENCE_AGE_MAX 95.0
#define REFERENCE_HEIGHT_MIN 50.0 /* cm */
#define REFERENCE_HEIGHT_MAX 250.0

enum reference_index { REFERENCE_FEV1, REFERENCE_FVC, REFERENCE_RATIO, REFERENCE_INDICES };

struct reference_table;

/* Reads a table; *ret is the caller's (reference_destroy). -EPROTO, -EFBIG or -ENOMEM with an English reason that
 * begins with the line number where there is one and quotes nothing of the text. *ret is untouched on failure. */
int reference_parse(const char *text, size_t n, struct reference_table **ret, char reason[static 256]);
void reference_destroy(struct reference_table *table);

struct reference_values {
  struct dec predicted, lln; /* L, or a fraction for the ratio; 4 decimals */
  struct dec z;              /* 4 decimals */
  struct dec percent;        /* observed in percent of predicted; 1 decimal */
};

/* sex 'M' or 'F', -EINVAL for anything else: it is asked for, never guessed. observed in L, or FEV1/FVC as a fraction.
 * Between two ages of the table the splines are interpolated linearly. -ERANGE: age or height outside the bounds
 * above, observed not above 0, a volume above 20 L (it was not in L), a ratio above 1 (it was a percentage), or a table
 * whose splines give no limit there. *ret is untouched on failure. */
int reference_compute(const struct reference_table *table, enum reference_index index, char sex, double age_years,
                      double height_cm, double observed, struct reference_values *ret);

/* Decimal years between two dates "YYYY-MM-DD": whole years, plus the days since the last birthday over the days from
 * that birthday to the next. Whoever was born on 29 February has a birthday on 1 March in common years. -1 when either
 * is no date, or the test comes before the birth. */
double reference_age(const char *birth_date, const char *test_date);

/* A number [-]digits[.digits][e[+-]d[d]] that fills all n bytes, whatever the locale; at most 2 units in the last
 * place off. -EINVAL when it is none, -ERANGE with more than 19 significant digits or a power of ten beyond +-40. */
int reference_number(const char *text, size_t n, double *ret);

#endif
