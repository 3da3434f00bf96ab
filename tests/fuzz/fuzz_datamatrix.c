/* The DataMatrix of a patient's INS: what is taken can be written again and reads the same; what is refused says why
 * and leaves nothing behind. Each input a second time with the key of its matricule put right, to come past it. */
#include "fuzz.h"

#include "identifier.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <string.h>

#define MATRICULE_AT 28 /* where it begins when S1 comes first */

static void check_names(const char *names) {
  FUZZ_CHECK(*names && strlen(names) <= INS_NAME_MAX &&
             strspn(names, "ABCDEFGHIJKLMNOPQRSTUVWXYZ -'") == strlen(names));
}

static void write_field(struct buf *text, int digit, const char *value, size_t max) {
  buf_format(text, "S%d%s", digit, value);
  if (strlen(value) < max)
    buf_u8(text, 0x1d);
}

static void check_again(const struct ins_datamatrix *d) {
  _buf_cleanup_ struct buf text = BUF_INIT(1000);
  struct ins_datamatrix again;
  const char *what;
  buf_format(&text, "IS01%022dS1%s", 0, d->ins.matricule);
  write_field(&text, 2, ins_oid(d->ins.authority), 20);
  write_field(&text, 3, d->given_names, INS_NAME_MAX);
  write_field(&text, 4, d->birth_family_name, INS_NAME_MAX);
  buf_format(&text, "S5%cS6%.2s-%.2s-%.4s", d->sex, d->birth_date + 8, d->birth_date + 5, d->birth_date);
  if (d->birth_place[0])
    buf_format(&text, "S7%s", d->birth_place);
  FUZZ_CHECK(!text.err && ins_datamatrix_parse((const char *)text.data, text.len, &again, &what) == 0);
  FUZZ_CHECK(!strcmp(again.ins.matricule, d->ins.matricule) && again.ins.authority == d->ins.authority &&
             !strcmp(again.given_names, d->given_names) && !strcmp(again.first_given_name, d->first_given_name) &&
             !strcmp(again.birth_family_name, d->birth_family_name) && again.sex == d->sex &&
             !strcmp(again.birth_date, d->birth_date) && !strcmp(again.birth_place, d->birth_place));
}

static void check(const char *text, size_t n) {
  struct ins_datamatrix d, before;
  const char *what = NULL;
  memset(&d, 0x5a, sizeof d);
  memcpy(&before, &d, sizeof d);
  int r = ins_datamatrix_parse(text, n, &d, &what);
  if (r < 0) {
    FUZZ_CHECK((r == -EPROTO || r == -EBADMSG || r == -ERANGE) && what && *what);
    FUZZ_CHECK(!memcmp(&d, &before, sizeof d));
    return;
  }
  FUZZ_CHECK(r == 0 && !what && ins_is_valid(d.ins.matricule) && d.ins.authority < INS_AUTHORITIES);
  check_names(d.given_names);
  check_names(d.birth_family_name);
  FUZZ_CHECK(!strncmp(d.first_given_name, d.given_names, strlen(d.first_given_name)));
  FUZZ_CHECK((d.sex == 'M' || d.sex == 'F') && wall_is_date(d.birth_date));
  FUZZ_CHECK(!d.birth_place[0] || strlen(d.birth_place) == 5);
  check_again(&d);
}

/* With each of the keys only one can be right, and it makes the most of the text. */
static void check_keys(const char *data, size_t n) {
  char *text = malloc(n + 1);
  FUZZ_CHECK(text);
  memcpy(text, data, n);
  text[n] = 0;
  rpps_is_valid(text);
  finess_is_valid(text);
  ins_is_valid(text);
  unsigned right = 0;
  for (int key = 0; n >= MATRICULE_AT + INS_MATRICULE && key < 100; key++) {
    char matricule[INS_MATRICULE + 1] = "", digits[3];
    snprintf(digits, sizeof digits, "%02d", key);
    memcpy(text + MATRICULE_AT + 13, digits, 2);
    memcpy(matricule, text + MATRICULE_AT, INS_MATRICULE);
    if (ins_is_valid(matricule)) {
      right++;
      check(text, n);
    }
  }
  FUZZ_CHECK(right <= 1);
  free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  check((const char *)data, n);
  check_keys((const char *)data, n);
  return 0;
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
#define START "IS010000000000000000000000S1"
#define HUNDRED "ABCDEFGHIJKLMNOPQRSTABCDEFGHIJKLMNOPQRSTABCDEFGHIJKLMNOPQRSTABCDEFGHIJKLMNOPQRSTABCDEFGHIJKLMNOPQRST"
  static const char *const built_in[] = {
      START "284052A32102552S21.2.250.1.213.1.4.8\x1dS3MICHELINE JEANNE\x1dS4D'ARC\x1dS5FS601-05-1984S72A004",
      START "255081416802538S21.2.250.1.213.1.4.10S714168S628-08-1955S5FS4PAT--TROIS\x1dS3" HUNDRED "\r\n",
      START "284052B32102579S5MS21.2.250.1.213.1.4.9\x1dS629-02-1984S4" HUNDRED "S3ANNE-MARIE ZOE\r",
      "255081416802538",
      "2A0000014",
      "99700218896",
  };
  (void)n;
  return !file && i < sizeof built_in / sizeof *built_in && buf_text(ret, built_in[i]) == 0;
}
