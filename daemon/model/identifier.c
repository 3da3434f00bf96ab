#include "identifier.h"

#include "wall.h"
#include <asalee/bytes.h>
#include <errno.h>
#include <string.h>

/* The value of n digits, or -1 when one is none. */
static int number(const char *p, size_t n) {
  int v = 0;
  for (size_t i = 0; i < n; i++) {
    if (p[i] < '0' || p[i] > '9')
      return -1;
    v = v * 10 + (p[i] - '0');
  }
  return v;
}

static bool luhn(const char *digits, size_t n) {
  int sum = 0;
  for (size_t i = 0; i < n; i++) {
    int v = number(digits + i, 1);
    if (v < 0)
      return false;
    if ((n - i) % 2 == 0)
      v = v > 4 ? 2 * v - 9 : 2 * v;
    sum += v;
  }
  return sum && sum % 10 == 0;
}

bool rpps_is_valid(const char *text) {
  return strnlen(text, 12) == 11 && luhn(text, 11);
}

static bool is_corsican(const char *department) {
  return department[0] == '2' && (department[1] == 'A' || department[1] == 'B');
}

bool finess_is_valid(const char *text) {
  char digits[9];
  if (strnlen(text, 10) != 9)
    return false;
  memcpy(digits, text, sizeof digits);
  if (is_corsican(digits))
    digits[1] = digits[1] == 'A' ? '1' : '2';
  return luhn(digits, sizeof digits);
}

/* ---- INS ---- */

static const char *const oids[INS_AUTHORITIES] = {[INS_NIR] = "1.2.250.1.213.1.4.8",
                                                  [INS_NIA] = "1.2.250.1.213.1.4.9",
                                                  [INS_TEST] = "1.2.250.1.213.1.4.10",
                                                  [INS_DEMO] = "1.2.250.1.213.1.4.11"};

const char *ins_oid(enum ins_authority authority) {
  return oids[authority];
}

static bool authority_find(const char *oid, size_t n, enum ins_authority *ret) {
  for (size_t i = 0; i < INS_AUTHORITIES; i++)
    if (strlen(oids[i]) == n && !memcmp(oids[i], oid, n)) {
      *ret = (enum ins_authority)i;
      return true;
    }
  return false;
}

bool ins_authority_find(const char *oid, enum ins_authority *ret) {
  return authority_find(oid, strlen(oid), ret);
}

bool ins_is_fictitious(enum ins_authority authority) {
  return authority == INS_TEST || authority == INS_DEMO;
}

/* Five characters of INSEE's geographic code: department and commune, or 99 and a country. */
static bool is_department(const char *place) {
  return is_corsican(place) || number(place, 2) > 0;
}

static bool is_nir_place(const char *place) {
  int department = number(place, 2);
  bool overseas = department == 97 || department == 98;
  int commune = overseas ? number(place + 3, 2) : number(place + 2, 3);
  return is_department(place) && number(place + 2, 1) >= 0 && commune >= 1 && commune <= (overseas ? 90 : 990);
}

static bool is_nir_month(int month) {
  return (month >= 1 && month <= 12) || (month >= 20 && month <= 42) || (month >= 50 && month <= 99);
}

/* 15 characters, which need no NUL. -ERANGE: not this form; -EBADMSG: the key is another's. */
static int matricule_check(const char *m) {
  char digits[13];
  int rest = 0;
  if (!memchr("123478", m[0], 6) || number(m + 1, 2) < 0 || !is_nir_month(number(m + 3, 2)) || !is_nir_place(m + 5) ||
      number(m + 10, 3) < 1 || number(m + 13, 2) < 0)
    return -ERANGE;
  memcpy(digits, m, sizeof digits);
  if (is_corsican(m + 5))
    memcpy(digits + 5, m[6] == 'A' ? "19" : "18", 2);
  for (size_t i = 0; i < sizeof digits; i++)
    rest = (rest * 10 + digits[i] - '0') % 97;
  return number(m + 13, 2) == 97 - rest ? 0 : -EBADMSG;
}

bool ins_is_valid(const char *matricule) {
  return strnlen(matricule, INS_MATRICULE + 1) == INS_MATRICULE && matricule_check(matricule) == 0;
}

static const char *const statuses[INS_STATUSES] = {[INS_PROVISIONAL] = "provisional",
                                                   [INS_RETRIEVED] = "retrieved",
                                                   [INS_VALIDATED] = "validated",
                                                   [INS_QUALIFIED] = "qualified"};

const char *ins_status_name(enum ins_status status) {
  return statuses[status];
}

bool ins_status_find(const char *name, enum ins_status *ret) {
  for (size_t i = 0; i < INS_STATUSES; i++)
    if (!strcmp(statuses[i], name)) {
      *ret = (enum ins_status)i;
      return true;
    }
  return false;
}

bool ins_may_be_sent(enum ins_status status) {
  return status == INS_QUALIFIED;
}

/* ---- the DataMatrix ---- */

#define GS 0x1d

static const char header[] = "IS010000000000000000000000";

enum field { MATRICULE, OID, GIVEN_NAMES, FAMILY_NAME, SEX, BIRTH_DATE, BIRTH_PLACE, FIELDS }; /* S1 to S7 */

static const struct {
  const char *what;
  size_t max;
  bool fixed;
} fields[FIELDS] = {[MATRICULE] = {"matricule", INS_MATRICULE, true},
                    [OID] = {"oid", 20, false},
                    [GIVEN_NAMES] = {"given_names", INS_NAME_MAX, false},
                    [FAMILY_NAME] = {"birth_family_name", INS_NAME_MAX, false},
                    [SEX] = {"sex", 1, true},
                    [BIRTH_DATE] = {"birth_date", 10, true},
                    [BIRTH_PLACE] = {"birth_place", 5, true}};

struct piece {
  const char *at; /* NULL when it is not there */
  size_t n;
};

/* Takes the scanner's CR, LF or CR LF off the end; false when there is none. */
static bool end_line(struct acq_cur *c) {
  const uint8_t *end = c->end;
  if (c->end > c->at && c->end[-1] == '\n')
    c->end--;
  if (c->end > c->at && c->end[-1] == '\r')
    c->end--;
  return c->end < end;
}

static struct piece read_field(struct acq_cur *c, enum field f, bool line_ended) {
  size_t n = fields[f].max, left = acq_left(c);
  if (!fields[f].fixed)
    for (n = 0; n < fields[f].max && n < left && c->at[n] != GS;)
      n++;
  struct piece p = {(const char *)acq_bytes(c, n), n};
  if (n < fields[f].max && n < left)
    acq_u8(c); /* the GS */
  else if (n < fields[f].max && !line_ended)
    acq_refuse(c, -EPROTO);
  return p;
}

/* Where each field is. -EPROTO, and *what is the field that is wrong; with FIELDS it is the text. */
static int read_fields(const char *bytes, size_t n, struct piece found[static FIELDS], enum field *what) {
  struct acq_cur c = acq_cur(bytes, n);
  bool line_ended = end_line(&c);
  const uint8_t *start = acq_bytes(&c, sizeof header - 1);
  *what = FIELDS;
  if (!start || memcmp(start, header, sizeof header - 1))
    return -EPROTO;
  while (acq_left(&c)) {
    uint8_t s = acq_u8(&c), digit = acq_u8(&c);
    if (s != 'S' || digit < '1' || digit >= '1' + FIELDS || found[digit - '1'].at)
      return -EPROTO;
    *what = (enum field)(digit - '1');
    found[*what] = read_field(&c, *what, line_ended);
    if (c.err)
      return c.err;
    *what = FIELDS;
  }
  for (*what = MATRICULE; *what < BIRTH_PLACE; (*what)++)
    if (!found[*what].at)
      return -EPROTO;
  return 0;
}

static bool is_letter(char c) {
  return c >= 'A' && c <= 'Z';
}

static bool take_names(struct piece p, char ret[static INS_NAME_MAX + 1]) {
  bool letter = false;
  for (size_t i = 0; i < p.n; i++) {
    letter |= is_letter(p.at[i]);
    if (p.at[i] == ' ' && (i == 0 || i + 1 == p.n || p.at[i - 1] == ' '))
      return false;
    if (!is_letter(p.at[i]) && !memchr(" -'", p.at[i], 3))
      return false;
  }
  memcpy(ret, p.at, p.n);
  return letter;
}

static bool take_date(const char *p, char ret[static 11]) {
  memcpy(ret, p + 6, 4);
  memcpy(ret + 4, p + 2, 4); /* with what stands for the hyphens */
  memcpy(ret + 8, p, 2);
  return wall_is_date(ret);
}

static bool take_place(struct piece p, char ret[static 6]) {
  if (!p.at)
    return true;
  memcpy(ret, p.at, 5);
  return is_department(ret) && number(ret + 2, 3) >= 0;
}

static int take_fields(const struct piece found[static FIELDS], struct ins_datamatrix *d, enum field *what) {
  *what = MATRICULE;
  int r = matricule_check(found[MATRICULE].at);
  if (r < 0)
    return r;
  memcpy(d->ins.matricule, found[MATRICULE].at, INS_MATRICULE);
  *what = OID;
  if (!authority_find(found[OID].at, found[OID].n, &d->ins.authority))
    return -ERANGE;
  *what = GIVEN_NAMES;
  if (!take_names(found[GIVEN_NAMES], d->given_names))
    return -ERANGE;
  memcpy(d->first_given_name, d->given_names, strcspn(d->given_names, " "));
  *what = FAMILY_NAME;
  if (!take_names(found[FAMILY_NAME], d->birth_family_name))
    return -ERANGE;
  *what = SEX;
  d->sex = found[SEX].at[0];
  if (d->sex != 'M' && d->sex != 'F')
    return -ERANGE;
  *what = BIRTH_DATE;
  if (!take_date(found[BIRTH_DATE].at, d->birth_date))
    return -ERANGE;
  *what = BIRTH_PLACE;
  return take_place(found[BIRTH_PLACE], d->birth_place) ? 0 : -ERANGE;
}

int ins_datamatrix_parse(const char *bytes, size_t n, struct ins_datamatrix *ret, const char **ret_what) {
  struct piece found[FIELDS] = {0};
  struct ins_datamatrix d = {0};
  enum field what;
  int r = read_fields(bytes, n, found, &what);
  if (r == 0)
    r = take_fields(found, &d, &what);
  if (r < 0) {
    *ret_what = what == FIELDS ? "datamatrix" : fields[what].what;
    return r;
  }
  *ret = d;
  return 0;
}
