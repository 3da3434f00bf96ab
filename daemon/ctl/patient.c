/* Patients. */
#include "ctl.h"

#include "identifier.h"
#include "str.h"
#include <string.h>
#include <unistd.h>

#define SHEET_MAX 512 /* bytes that a scanner gives for one DataMatrix; the daemon takes fewer */

int cmd_patient_put(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  char target[128], tag[32];
  const char *ins = ctl_option(c, "ins"), *oid = ctl_option(c, "ins-oid"), *status = ctl_option(c, "ins-status");
  if (!ins != !oid || !ins != !status)
    return ctl_usage(c, "--ins, --ins-oid et --ins-status vont ensemble");
  snprintf(target, sizeof target, "/v1/patients/%s", c->args[0]);
  struct api_request request = {
      .method = "PUT",
      .target = target,
      .if_match = api_tag(ctl_option(c, "if-match"), tag),
      .body = json_pack("{s:s, s:s, s:s, s:s, s:s*, s:s*, s:s*}", "family", ctl_option(c, "family"), "given",
                        ctl_option(c, "given"), "birth_date", ctl_option(c, "birth-date"), "sex", ctl_option(c, "sex"),
                        "ins", ins, "ins_oid", oid, "ins_status", status),
  };
  int r = api_call(c, &request, &a);
  const char *code = json_text(a.json, "code");
  if (r == CTL_REFUSED && code && (!strcmp(code, "precondition_required") || !strcmp(code, "precondition_failed")))
    ctl_say(c, "lire la version par « asaleectl patient show %s », puis la donner par --if-match", c->args[0]);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, a.status == 201 ? "Patient créé" : "Patient modifié", c->args[0]);
  if (show_int(a.json, "version"))
    print_field(c->out, "Version", show_int(a.json, "version"));
  return CTL_OK;
}

static void print_patient(FILE *f, const json_t *patient) {
  static const char *const authorities[INS_AUTHORITIES] = {
      [INS_NIR] = "NIR", [INS_NIA] = "NIA", [INS_TEST] = "test", [INS_DEMO] = "démonstration"};
  const json_t *ins = json_object_get(patient, "ins");
  const char *oid = json_text(ins, "oid");
  enum ins_authority authority;
  print_field(f, "Patient", json_text(patient, "id"));
  print_field(f, "Nom", json_text(patient, "family"));
  print_field(f, "Prénom", json_text(patient, "given"));
  print_field(f, "Né(e) le", show_date(json_text(patient, "birth_date")));
  print_field(f, "Sexe", say_sex(json_text(patient, "sex")));
  if (json_is_object(ins))
    print_fieldf(f, "INS", "%s (%s), identité %s", known(json_text(ins, "matricule")),
                 oid && ins_authority_find(oid, &authority) ? authorities[authority] : known(oid),
                 known(say_ins_status(json_text(ins, "status"))));
  print_field(f, "Version", show_int(patient, "version"));
  print_field(f, "Modifié le", show_time(json_text(patient, "updated")));
}

int cmd_patient_show(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/patients/%s", c->args[0]);
  if (r == CTL_OK && !api_json(c, &a))
    print_patient(c->out, a.json);
  return r;
}

/* ---- by the sheet ------------------------------------------------------------------------------------------- */

/* What a scanner gave, as the daemon takes it: texts of JSON have no control characters here, so that the separator
 * GS goes as its symbol, and of the line's end only the LF. */
static int read_sheet(struct ctl *c, const char *path, struct buf *sheet) {
  _buf_cleanup_ struct buf raw = BUF_INIT(SHEET_MAX);
  if (!strcmp(path, "-") && isatty(STDIN_FILENO))
    ctl_say(c, "scanner le Datamatrix INS, puis Ctrl-D :");
  int r = ctl_read_all(c, path, &raw);
  if (r != CTL_OK)
    return r;
  for (size_t i = 0; i < raw.len; i++) {
    const char byte = (char)raw.data[i];
    if (byte == 0x1d)
      buf_text(sheet, "\u241d");
    else if (byte != '\r')
      buf_u8(sheet, raw.data[i]);
    else if (i + 1 == raw.len || raw.data[i + 1] != '\n')
      buf_u8(sheet, '\n');
  }
  const char *text = buf_cstr(sheet);
  size_t n = text ? strlen(text) : 0;
  while (n && text[n - 1] == '\n')
    n--;
  return n && str_is_clean_utf8(text, n) && sheet->len - n <= 1
             ? CTL_OK
             : ctl_usage(c, "%s : ce n'est pas le texte d'un Datamatrix INS", path);
}

/* "nom, sexe": the traits in which the sheet says something else. */
static void print_agreement(FILE *f, const json_t *answer) {
  static const struct {
    const char *key, *french;
  } traits[] = {{"name", "nom"}, {"birth_date", "date de naissance"}, {"sex", "sexe"}};
  _buf_cleanup_ struct buf b = BUF_INIT(256);
  for (size_t i = 0; i < sizeof traits / sizeof *traits; i++) {
    const char *agrees = json_text(json_object_get(answer, "agrees"), traits[i].key);
    if (!agrees || strcmp(agrees, "agrees") != 0)
      buf_format(&b, "%s%s", b.len ? ", " : "", traits[i].french);
  }
  const char *text = buf_cstr(&b);
  if (json_is_true(json_object_get(answer, "differs")))
    print_fieldf(f, "Concorde", "NON : vérifier l'identité (%s)", known(text));
  else
    print_field(f, "Concorde", "oui");
}

int cmd_patient_lookup(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  _buf_cleanup_ struct buf sheet = BUF_INIT(4 * SHEET_MAX);
  int r = read_sheet(c, c->args[0], &sheet);
  if (r != CTL_OK)
    return r;
  r = api_post(c, json_pack("{s:s}", "datamatrix", buf_cstr(&sheet)), &a, "/v1/patients/lookup");
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_patient(c->out, json_object_get(a.json, "patient"));
  print_agreement(c->out, a.json);
  return CTL_OK;
}
