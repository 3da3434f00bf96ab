/* What a reader does: claims, drafts, signs, amends, returns, refers; what was signed, and what can be chosen. */
#include "ctl.h"

#include "findings.h"
#include "hash.h"
#include "str.h"
#include <asalee/record.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

void print_shown(FILE *f, const json_t *object) {
  const char *shown = json_text(object, "shown");
  if (shown)
    print_fieldf(f, "Lecture", "%.*s", CTL_SHOWN_DIGITS, shown);
}

/* ---- claims ------------------------------------------------------------------------------------------------- */

/* An answer that is not quite as it came. */
static void print_object(struct ctl *c, const json_t *object) {
  char *text = json_dumps(object, JSON_COMPACT);
  print_json(c->out, text ? text : "{}", strlen(text ? text : "{}"), c->tty);
  free(text);
}

int cmd_claim(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  const char *path = ctl_option(c, "claim-file");
  struct ctl_file file = {.fd = -1};
  if (path && ctl_file_open(c, &file, path) != CTL_OK) /* before the claim: what cannot be kept is not asked for */
    return CTL_USAGE;
  int r = api_post(c, NULL, &a, "/v1/studies/%s/claim", c->args[0]);
  const char *token = json_text(a.json, "token");
  if (r == CTL_OK && (!token || !hash_is_text(token)))
    r = api_unreached(c, -EPROTO, true);
  if (r == CTL_OK && path) {
    char line[HASH_TEXT + 1];
    snprintf(line, sizeof line, "%s\n", token);
    r = ctl_file_commit(c, &file, line, strlen(line));
    if (r != CTL_OK) /* the study is claimed: its token must not be lost */
      path = NULL;
    else if (c->json)
      json_object_del(a.json, "token");
  }
  ctl_file_drop(&file);
  if (!a.json || (r != CTL_OK && r != CTL_USAGE))
    return r;
  if (c->json && path) {
    print_object(c, a.json);
    return r;
  }
  if (api_json(c, &a))
    return r;
  print_field(c->out, "Examen", c->args[0]);
  print_field(c->out, path ? "Jeton dans" : "Jeton", path ? path : token);
  print_field(c->out, "Valable jusqu'au", show_time(json_text(a.json, "expires")));
  print_shown(c->out, json_object_get(a.json, "study"));
  return r;
}

/* The claim token from --claim or --claim-file. */
static int read_claim(struct ctl *c, char claim[static 128]) {
  const char *path = ctl_option(c, "claim-file");
  if (!path) {
    str_copy(claim, 128, ctl_option(c, "claim"));
    return CTL_OK;
  }
  int r = ctl_read_secret(c, path, claim, 128);
  return r == CTL_OK && !hash_is_text(claim) ? ctl_usage(c, "%s : un jeton de lecture a 64 chiffres hexadécimaux", path)
                                             : r;
}

int cmd_release(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  char claim[128];
  int r = read_claim(c, claim);
  return r == CTL_OK ? post_study(c, json_pack("{s:s}", "token", claim), "release", &a) : r;
}

/* ---- findings ----------------------------------------------------------------------------------------------- */

static const json_t *member_of(const json_t *list, const char *code) {
  for (size_t i = 0; i < json_array_size(list); i++)
    if (!strcmp(json_text(json_array_get(list, i), "code"), code))
      return json_array_get(list, i);
  return NULL;
}

/* The words' findings in the fields of one form: a text, or a list where many may be chosen. NULL and the word that
 * names none of its fields, or one again. */
static json_t *findings_of(const json_t *form, const char *const *words, const char **ret_bad) {
  json_t *findings = json_object();
  for (; *words; words++) {
    char name[64];
    const char *at = strchr(*words, '=') + 1;
    snprintf(name, sizeof name, "%.*s", (int)(at - 1 - *words), *words);
    const json_t *field = member_of(json_object_get(form, "fields"), name);
    if (!field || json_object_get(findings, name)) {
      *ret_bad = *words;
      json_decref(findings);
      return NULL;
    }
    json_t *said = json_is_true(json_object_get(field, "many")) ? json_array() : json_string(at);
    for (size_t n; json_is_array(said) && *at; at += n + (at[n] == ',')) {
      n = strcspn(at, ",");
      json_array_append_new(said, json_stringn(at, n));
    }
    json_object_set_new(findings, name, said);
  }
  return findings;
}

/* Of the act whose form has them all: the daemon compares it with the study's. */
static int read_words(struct ctl *c, const char *const *words, json_t **ret) {
  const char *bad = NULL, *field;
  for (int m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++) {
    const char *other = NULL;
    _json_cleanup_ json_t *form = findings_form((enum acq_modality)m);
    _json_cleanup_ json_t *findings = findings_of(form, words, &other);
    if (findings && findings_check((enum acq_modality)m, "uninterpretable", findings, &field) == 0) {
      *ret = json_incref(findings);
      return CTL_OK;
    }
    if (findings) /* the fields are this act's: it is the codes */
      for (const char *const *w = words; *w; w++)
        other = !strncmp(*w, field, strlen(field)) && (*w)[strlen(field)] == '=' ? *w : other;
    bad = findings || !bad ? other : bad;
  }
  return ctl_usage(c, "« %.80s » : ce champ ou ce code n'existe pas, ou est là deux fois (voir asaleectl forms)",
                   known(bad));
}

/* From the words FIELD=CODE, or from --findings; NULL when neither is there. */
static int read_findings(struct ctl *c, json_t **ret) {
  _buf_cleanup_ struct buf b = BUF_INIT(65536);
  const char *path = ctl_option(c, "findings");
  char reason[256];
  if (path && c->args[1])
    return ctl_usage(c, "les constats se donnent par CHAMP=CODE ou par --findings FILE, pas les deux");
  if (!path)
    return c->args[1] ? read_words(c, &c->args[1], ret) : CTL_OK;
  int r = ctl_read(c, path, &b);
  if (r == CTL_OK && json_read((const char *)b.data, b.len, ret, reason) < 0)
    r = ctl_usage(c, "%s : un objet JSON est attendu, comme {\"rhythm\":\"sinus\"} (%s)", path, reason);
  return r;
}

static void print_finding(FILE *f, const json_t *form, const char *name, const json_t *said) {
  _buf_cleanup_ struct buf b = BUF_INIT(65536);
  const json_t *field = member_of(json_object_get(form, "fields"), name);
  for (size_t i = 0; i < (json_is_array(said) ? json_array_size(said) : 1); i++) {
    const char *code = json_string_value(json_is_array(said) ? json_array_get(said, i) : said);
    const json_t *choice = member_of(json_object_get(field, "choices"), known(code));
    buf_format(&b, "%s%s", i ? ", " : "", choice ? json_text(choice, "label") : known(code));
  }
  print_field(f, field ? json_text(field, "label") : name, b.len ? buf_cstr(&b) : "aucun");
}

/* With the labels of the act whose form has them, else as they are. */
static void print_findings(FILE *f, const json_t *findings) {
  _json_cleanup_ json_t *form = NULL;
  const char *name, *ignored;
  json_t *said;
  for (int m = ACQ_ECG; m <= ACQ_MEASUREMENT && !form; m++)
    if (findings_check((enum acq_modality)m, "uninterpretable", findings, &ignored) == 0)
      form = findings_form((enum acq_modality)m);
  json_object_foreach((json_t *)findings, name, said) {
    print_finding(f, form, name, said);
  }
}

/* ---- what a reader concludes -------------------------------------------------------------------------------- */

/* The interpretation's text, with line feeds alone as ends of lines and no byte-order mark. */
static int read_text(struct ctl *c, const char *path, struct buf *text) {
  _buf_cleanup_ struct buf raw = BUF_INIT(200000);
  if (!strcmp(path, "-") && isatty(STDIN_FILENO))
    ctl_say(c, "texte de l'interprétation, puis Ctrl-D :");
  int r = ctl_read(c, path, &raw);
  if (r != CTL_OK)
    return r;
  size_t i = raw.len >= 3 && !memcmp(raw.data, "\xef\xbb\xbf", 3) ? 3 : 0;
  for (; i < raw.len; i++)
    if (raw.data[i] != '\r' || i + 1 == raw.len || raw.data[i + 1] != '\n')
      buf_u8(text, raw.data[i]);
  const char *clean = buf_cstr(text);
  size_t at = 0;
  while (clean && at < text->len) {
    size_t n = strcspn(clean + at, "\n\t");
    if (!str_is_clean_utf8(clean + at, n) || (!clean[at + n] && at + n < text->len))
      return ctl_usage(c, "%s : le texte doit être en UTF-8, sans caractère de commande", path);
    at += n + 1;
  }
  return clean && clean[strspn(clean, " \n\t")] ? CTL_OK : ctl_usage(c, "%s : le texte est vide", path);
}

/* {"conclusion","findings","text"}; what is not said is absent. */
static int read_conclusion(struct ctl *c, json_t **ret) {
  _buf_cleanup_ struct buf b = BUF_INIT(200000);
  _json_cleanup_ json_t *findings = NULL;
  const char *path = ctl_option(c, "text-file"), *text = ctl_option(c, "text"), *form = ctl_option(c, "findings");
  if (path && text)
    return ctl_usage(c, "--text et --text-file ne vont pas ensemble");
  if (path && form && !strcmp(path, "-") && !strcmp(form, "-"))
    return ctl_usage(c, "--text-file et --findings ne peuvent pas lire tous deux l'entrée standard");
  int r = read_findings(c, &findings);
  if (r == CTL_OK && path)
    r = read_text(c, path, &b);
  if (r == CTL_OK)
    *ret = json_pack("{s:s*, s:O*, s:s*}", "conclusion", ctl_option(c, "conclusion"), "findings", findings, "text",
                     path ? buf_cstr(&b) : text);
  return r;
}

/* Where a refusal is about a field, it may be one of the form's. */
static void hint_forms(struct ctl *c, int r, const struct api_answer *a) {
  const char *code = json_text(a->json, "code");
  if (r == CTL_REFUSED && code && !strcmp(code, "invalid_field"))
    ctl_say(c, "les champs et les codes de chaque acte : asaleectl forms");
}

/* Posts what a reader concludes, and more that goes with it; prints the study's new state. Takes more. */
static int post_conclusion(struct ctl *c, const char *verb, json_t *more, struct api_answer *a) {
  json_t *body = NULL;
  int r = read_conclusion(c, &body);
  if (r == CTL_OK) {
    json_object_update(body, more);
    r = post_study(c, body, verb, a);
    hint_forms(c, r, a);
  }
  json_decref(more);
  return r;
}

static void print_signed(FILE *f, const json_t *interpretation) {
  print_field(f, "Interprétation", json_text(interpretation, "id"));
  print_field(f, "Version", show_int(interpretation, "version"));
  print_field(f, "Conclusion", say_conclusion(json_text(interpretation, "conclusion")));
  print_fieldf(f, "Signée", "%s, le %s", known(json_text(interpretation, "by")),
               known(show_time(json_text(interpretation, "signed"))));
}

/* Something that the reader saw is not so any more. */
static void hint_shown(struct ctl *c) {
  ctl_say(c, "relire l'examen tel qu'il est maintenant, et donner son empreinte par --shown (asaleectl show %s)",
          c->args[0]);
}

static bool is_stale(const struct api_answer *a) {
  const char *code = json_text(a->json, "code");
  return code && !strcmp(code, "precondition_failed");
}

/* The digest of what was read, of which people copy the beginning: whole, if the study is still that. */
static int read_shown(struct ctl *c, char shown[static HASH_TEXT]) {
  _answer_cleanup_ struct api_answer a = {0};
  const char *said = ctl_option(c, "shown");
  if (strlen(said) == HASH_TEXT - 1) {
    memcpy(shown, said, HASH_TEXT);
    return CTL_OK;
  }
  int r = api_get(c, &a, "/v1/studies/%s", c->args[0]);
  const char *now = json_text(a.json, "shown");
  if (r != CTL_OK)
    return r;
  if (!now || !str_copy(shown, HASH_TEXT, now) || strncmp(now, said, strlen(said))) {
    ctl_say(c, "ce n'est pas, ou ce n'est plus, ce que montre l'examen %s (precondition_failed)", c->args[0]);
    hint_shown(c);
    return CTL_REFUSED;
  }
  return CTL_OK;
}

int cmd_sign(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  char claim[128], shown[HASH_TEXT];
  int r = read_claim(c, claim);
  if (r == CTL_OK)
    r = read_shown(c, shown);
  if (r == CTL_OK)
    r = post_conclusion(c, "sign", json_pack("{s:s, s:s}", "shown", shown, "token", claim), &a);
  const json_t *interpretation = json_object_get(a.json, "interpretation");
  if (r == CTL_REFUSED && is_stale(&a))
    hint_shown(c);
  if (r == CTL_OK && !c->json && json_is_object(interpretation))
    print_signed(c->out, interpretation);
  return r;
}

int cmd_amend(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  char shown[HASH_TEXT];
  int r = read_shown(c, shown);
  if (r != CTL_OK)
    return r;
  json_t *more = json_pack("{s:I, s:s, s:s}", "version", (json_int_t)ctl_number(c, "amends", 0), "reason",
                           ctl_option(c, "reason"), "shown", shown);
  r = post_conclusion(c, "amend", more, &a);
  const json_t *interpretation = json_object_get(a.json, "interpretation");
  if (r == CTL_REFUSED && is_stale(&a)) {
    hint_shown(c);
    ctl_say(c, "--amends attend le numéro de la dernière version (asaleectl versions %s)", c->args[0]);
  }
  if (r == CTL_OK && !c->json && json_is_object(interpretation))
    print_signed(c->out, interpretation);
  return r;
}

/* A report's text as it is, line by line. */
static void print_lines(FILE *f, const char *text) {
  _buf_cleanup_ struct buf b = BUF_INIT(1u << 20);
  if (text && clean_text(&b, text, strlen(text), true) == 0 && buf_cstr(&b))
    fprintf(f, "%s%s", buf_cstr(&b), b.len && b.data[b.len - 1] == '\n' ? "" : "\n");
}

int cmd_preview(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  json_t *body = NULL;
  int r = read_conclusion(c, &body);
  if (r != CTL_OK)
    return r;
  r = api_post(c, body, &a, "/v1/studies/%s/report", c->args[0]);
  hint_forms(c, r, &a);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  const json_t *covers = json_object_get(a.json, "covers"), *records = json_object_get(covers, "records");
  print_lines(c->out, json_text(a.json, "body"));
  fputs("\nUne signature porterait sur :\n", c->out);
  print_fieldf(c->out, "Patient", "%s, identité en version %s", known(json_text(covers, "patient")),
               known(show_int(covers, "patient_version")));
  for (size_t i = 0; i < json_array_size(records); i++)
    print_field(c->out, "Enregistrement", json_string_value(json_array_get(records, i)));
  return CTL_OK;
}

/* ---- drafts ------------------------------------------------------------------------------------------------- */

/* The version of a draft is in the answer's tag alone; 0 when that is none of the daemon's. */
static uint64_t draft_version(const struct api_answer *a) {
  char digits[32];
  uint64_t version = 0;
  size_t n = strlen(a->etag);
  if (n > 2 && n - 2 < sizeof digits) {
    snprintf(digits, sizeof digits, "%.*s", (int)(n - 2), a->etag + 1);
    str_to_u64(digits, 1, INT64_MAX, &version);
  }
  return version;
}

static void print_draft(struct ctl *c, const struct api_answer *a) {
  const uint64_t version = draft_version(a);
  json_object_set_new(a->json, "version", version ? json_integer((json_int_t)version) : json_null());
  if (c->json) { /* with the version, which the next save needs */
    print_object(c, a->json);
    return;
  }
  print_field(c->out, "Version", show_int(a->json, "version"));
  print_field(c->out, "Enregistré le", show_time(json_text(a->json, "saved")));
  print_field(c->out, "Conclusion", say_conclusion(json_text(a->json, "conclusion")));
  print_findings(c->out, json_object_get(a->json, "findings"));
  if (json_text(a->json, "text"))
    fputc('\n', c->out);
  print_lines(c->out, json_text(a->json, "text"));
}

int cmd_draft_show(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/studies/%s/draft", c->args[0]);
  if (r == CTL_OK)
    print_draft(c, &a);
  return r;
}

int cmd_draft_save(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  char target[128], tag[32];
  json_t *body = NULL;
  int r = read_conclusion(c, &body);
  if (r == CTL_OK && !json_object_size(body)) {
    json_decref(body);
    r = ctl_usage(c, "il n'y a rien à garder : donner une conclusion, des constats ou un texte");
  }
  if (r != CTL_OK)
    return r;
  snprintf(target, sizeof target, "/v1/studies/%s/draft", c->args[0]);
  struct api_request request = {
      .method = "PUT", .target = target, .body = body, .if_match = api_tag(ctl_option(c, "if-match"), tag)};
  r = api_call(c, &request, &a);
  const char *code = json_text(a.json, "code");
  if (r == CTL_REFUSED && code && (!strcmp(code, "precondition_required") || !strcmp(code, "precondition_failed")))
    ctl_say(c, "lire le brouillon et sa version par « asaleectl draft show %s », puis la donner par --if-match",
            c->args[0]);
  if (r == CTL_OK)
    print_draft(c, &a);
  return r;
}

/* ---- back, on ----------------------------------------------------------------------------------------------- */

int cmd_return(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  char claim[128];
  int r = read_claim(c, claim);
  if (r != CTL_OK)
    return r;
  r = post_study(
      c, json_pack("{s:s, s:s, s:s*}", "token", claim, "code", ctl_option(c, "code"), "text", ctl_option(c, "text")),
      "return", &a);
  hint_forms(c, r, &a);
  const json_t *returned = json_object_get(a.json, "returned");
  if (r != CTL_OK || c->json || !json_is_object(returned))
    return r;
  print_field(c->out, "Motif", json_text(returned, "label"));
  print_field(c->out, "Refait par", json_text(returned, "repeat"));
  return CTL_OK;
}

/* A GP refers what nobody has claimed without a token. */
int cmd_refer(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  char claim[128];
  const bool given = ctl_option(c, "claim") != NULL, in_file = ctl_option(c, "claim-file") != NULL;
  if (given && in_file)
    return ctl_usage(c, "--claim et --claim-file ne vont pas ensemble");
  int r = given || in_file ? read_claim(c, claim) : CTL_OK;
  if (r != CTL_OK)
    return r;
  r = post_study(c,
                 json_pack("{s:s*, s:s, s:s*}", "token", given || in_file ? claim : NULL, "reader", c->args[1], "text",
                           ctl_option(c, "text")),
                 "refer", &a);
  if (r == CTL_OK && !c->json)
    print_field(c->out, "Lecteur", say_role(json_text(a.json, "reader")));
  return r;
}

/* ---- what was signed ---------------------------------------------------------------------------------------- */

void print_interpretation(FILE *f, const json_t *interpretation) {
  const json_t *withdrawn = json_object_get(interpretation, "withdrawn");
  if (!json_is_object(interpretation))
    return;
  fputc('\n', f);
  print_field(f, "Interprétation", json_text(interpretation, "id"));
  print_field(f, "Version", show_int(interpretation, "version"));
  print_field(f, "Signée par", json_text(interpretation, "by"));
  print_field(f, "Le", show_time(json_text(interpretation, "signed")));
  if (json_text(interpretation, "reason"))
    print_field(f, "Corrigée pour", json_text(interpretation, "reason"));
  if (json_is_object(withdrawn))
    print_fieldf(f, "RETIRÉE", "le %s : %s", known(show_time(json_text(withdrawn, "at"))),
                 known(json_text(withdrawn, "reason")));
  print_field(f, "Conclusion", say_conclusion(json_text(interpretation, "conclusion")));
  print_findings(f, json_object_get(interpretation, "findings"));
  if (json_text(interpretation, "text"))
    fputc('\n', f);
  print_lines(f, json_text(interpretation, "text"));
}

int cmd_versions(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/studies/%s/interpretations", c->args[0]);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  const json_t *items = json_object_get(a.json, "items");
  print_field(c->out, "Examen", c->args[0]);
  print_fieldf(c->out, "Versions", "%zu", json_array_size(items));
  for (size_t i = 0; i < json_array_size(items); i++)
    print_interpretation(c->out, json_array_get(items, i));
  return CTL_OK;
}

/* ---- what can be chosen ------------------------------------------------------------------------------------- */

static void add_choices(struct table *t, const json_t *field) {
  const json_t *choices = json_object_get(field, "choices");
  for (size_t i = 0; i < json_array_size(choices); i++) {
    const json_t *choice = json_array_get(choices, i);
    table_addf(t, "%s=%s", known(json_text(field, "code")), known(json_text(choice, "code")));
    table_addf(t, "%s : %s", known(json_text(field, "label")), known(json_text(choice, "label")));
    table_add(t, json_is_true(json_object_get(field, "required")) ? "oui" : "non");
    table_add(t, json_is_true(json_object_get(field, "many")) ? "oui" : "non");
    table_add(t, json_is_true(json_object_get(choice, "excludes_normal")) ? "non" : "oui");
  }
}

static void print_form(FILE *f, const json_t *form) {
  static const char *const heads[] = {"Constat", "Ce qu'il dit", "Obligatoire", "Plusieurs", "Si normal", NULL};
  const json_t *fields = json_object_get(form, "fields");
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(fields); i++)
    add_choices(&t, json_array_get(fields, i));
  print_field(f, "Acte", say_modality(json_text(form, "act")));
  table_print(&t, f, "Pas de constat : la conclusion et le texte.");
  table_finish(&t);
  fputc('\n', f);
}

int cmd_forms(struct ctl *c) {
  static const char *const heads[] = {"Code", "Motif de renvoi", NULL};
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/forms");
  if (r != CTL_OK || api_json(c, &a))
    return r;
  const json_t *acts = json_object_get(a.json, "acts"), *reasons = json_object_get(a.json, "return_reasons");
  for (size_t i = 0; i < json_array_size(acts); i++) {
    const char *act = json_text(json_array_get(acts, i), "act");
    if (!c->args[0] || (act && !strcmp(act, c->args[0])))
      print_form(c->out, json_array_get(acts, i));
  }
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(reasons); i++) {
    table_add(&t, json_text(json_array_get(reasons, i), "code"));
    table_add(&t, json_text(json_array_get(reasons, i), "label"));
  }
  table_print(&t, c->out, "Aucun motif de renvoi.");
  table_finish(&t);
  return CTL_OK;
}
