/* verify: a signed study against its signatures. All of it is judged here; the daemon is only who hands it over. */
#include "ctl.h"

#include "proof.h"
#include "str.h"
#include <errno.h>
#include <string.h>

static const char *say_fault(enum proof_fault fault) {
  static const char *const sentences[] = {
      [PROOF_HOLDS] = "valide",
      [PROOF_FORM] = "elle n'a pas la forme attendue",
      [PROOF_SITE] = "elle ne vient pas du site dont la clé est donnée",
      [PROOF_UNSIGNED] = "elle date d'avant les signatures",
      [PROOF_VERSION] = "son numéro ne suit pas celui de la version précédente",
      [PROOF_STUDY] = "elle a été signée pour un autre examen",
      [PROOF_KEY] = "la clé qui l'a signée manque",
      [PROOF_SIGNER] = "elle est signée avec la clé d'une autre personne",
      [PROOF_CERTIFICATE] = "le site n'atteste pas à qui est la clé",
      [PROOF_SINCE] = "elle est plus ancienne que la clé",
      [PROOF_SIGNATURE] = "la signature n'est pas celle de ce qui est montré",
      [PROOF_TEXT] = "le texte n'est pas celui qui a été signé",
      [PROOF_FINDINGS] = "les constatations ne sont pas celles qui ont été signées",
      [PROOF_AIDS] = "les aides à la lecture ne sont pas celles qui ont été montrées",
      [PROOF_RECORD] = "un enregistrement n'est pas celui qui a été signé",
      [PROOF_MISSING] = "un enregistrement qui a été signé manque",
      [PROOF_AMENDS] = "elle ne corrige pas la version précédente",
      [PROOF_STRANGER] = "elle contient un enregistrement ou une clé qu'aucune version ne nomme",
      [PROOF_SEAL] = "elle n'est pas telle que le site l'a remise",
  };
  return sentences[fault];
}

/* ---- where it comes from ------------------------------------------------------------------------------------ */

static int fetch(struct ctl *c, struct buf *b) {
  _answer_cleanup_ struct api_answer a = {0};
  char target[128];
  snprintf(target, sizeof target, "/v1/studies/%s/proof", c->args[0]);
  struct api_request request = {.method = "GET", .target = target, .bytes = "application/json"};
  int r = api_call(c, &request, &a);
  if (r != CTL_OK)
    return r;
  if (a.body.len > PROOF_BYTES_MAX)
    return api_unreached(c, -EFBIG, false);
  *b = a.body;
  a.body = BUF_INIT(0);
  return CTL_OK;
}

/* What is kept is what came, also when it does not hold. */
static int obtain(struct ctl *c, struct buf *b, json_t **ret) {
  const char *path = ctl_option(c, "file"), *save = ctl_option(c, "save");
  char reason[256];
  int r = path ? ctl_read(c, path, b) : fetch(c, b);
  if (r == CTL_OK && save)
    r = ctl_write(c, save, b->data, b->len);
  if (r != CTL_OK)
    return r;
  int err = json_read((const char *)b->data, b->len, ret, reason);
  if (err == 0)
    return CTL_OK;
  if (err == -ENOMEM)
    ctl_say(c, "mémoire insuffisante");
  else
    ctl_say(c, "ce n'est pas une preuve lisible : %s (%s)", reason, proof_fault_code(PROOF_FORM));
  return CTL_REFUSED;
}

/* ---- what is told ------------------------------------------------------------------------------------------- */

static void add_version(struct table *t, const json_t *interpretation, size_t i, enum proof_fault fault) {
  const json_t *statement = json_object_get(interpretation, "statement"),
               *signer = json_object_get(statement, "signer");
  const char *through = json_text(signer, "through"), *withdrawn = json_text(interpretation, "withdrawn"),
             *who = show_patient(signer);
  table_addf(t, "%zu", i + 1);
  table_addf(t, "%.200s%s%.64s", who ? who : "—", through ? ", par " : "", through ? through : "");
  table_add(t, json_text(signer, "rpps"));
  table_add(t, show_time(json_text(statement, "signed")));
  table_addf(t, "%s%s%s", say_fault(fault), withdrawn ? ", retirée le " : "", withdrawn ? show_time(withdrawn) : "");
}

static void print_proof(struct ctl *c, const json_t *proof, const struct proof_check *check, bool trusted) {
  static const char *const heads[] = {"Version", "Signée par", "RPPS", "Le", "Vérification", NULL};
  struct table t;
  print_field(c->out, "Examen", json_text(proof, "study"));
  print_field(c->out, "Clé du site", json_text(proof, "site_public_key"));
  table_init(&t, heads);
  for (size_t i = 0; i < check->n; i++)
    add_version(&t, json_array_get(json_object_get(proof, "interpretations"), i), i, check->faults[i]);
  fputc('\n', c->out);
  table_print(&t, c->out, "Aucune version.");
  table_finish(&t);
  if (check->fault != PROOF_HOLDS)
    return;
  fputs("\nTout est valide.\n", c->out);
  if (!trusted)
    fputs("La clé du site est celle que la preuve indique : la comparer à celle que le site a donnée (--site-key).\n",
          c->out);
}

static void print_verdict(struct ctl *c, const json_t *proof, const struct proof_check *check, bool trusted) {
  _json_cleanup_ json_t *versions = json_array();
  for (size_t i = 0; i < check->n; i++)
    json_array_append_new(
        versions, json_pack("{s:s, s:I}", "fault", proof_fault_code(check->faults[i]), "version", (json_int_t)i + 1));
  _json_cleanup_ json_t *verdict =
      json_pack("{s:s, s:b, s:s?, s:o, s:O}", "fault", proof_fault_code(check->fault), "site_key_given", (int)trusted,
                "study", json_text(proof, "study"), "version",
                check->version ? json_integer(check->version) : json_null(), "versions", versions);
  size_t n;
  _free_cleanup_ char *text = json_canonical(verdict, &n);
  if (text)
    print_json(c->out, text, n, c->tty);
  else
    ctl_say(c, "mémoire insuffisante");
}

static int judge(struct ctl *c, const json_t *proof) {
  const char *hex = ctl_option(c, "site-key"), *save = ctl_option(c, "save"), *study = json_text(proof, "study");
  uint8_t site[SIGNATURE_PUBLIC];
  const bool trusted = hex && str_unhex(hex, site, sizeof site);
  struct proof_check check;
  int err = proof_verify(proof, trusted ? site : NULL, &check);
  if (err == -ENOMEM) {
    ctl_say(c, "mémoire insuffisante");
    return CTL_REFUSED;
  }
  if (check.n && c->args[0] && strcmp(c->args[0], study)) { /* a proof, but not what was asked for */
    check.fault = PROOF_STUDY;
    check.version = 0;
  }
  if (!(save && !strcmp(save, "-"))) {
    if (c->json)
      print_verdict(c, proof, &check, trusted);
    else if (check.n)
      print_proof(c, proof, &check, trusted);
  }
  if (check.fault == PROOF_HOLDS)
    return CTL_OK;
  if (check.version)
    ctl_say(c, "version %d refusée : %s (%s)", (int)check.version, say_fault(check.fault),
            proof_fault_code(check.fault));
  else
    ctl_say(c, "preuve refusée : %s (%s)", say_fault(check.fault), proof_fault_code(check.fault));
  return CTL_REFUSED;
}

int cmd_verify(struct ctl *c) {
  const char *save = ctl_option(c, "save");
  _buf_cleanup_ struct buf b = BUF_INIT(PROOF_BYTES_MAX);
  _json_cleanup_ json_t *proof = NULL;
  if (!c->args[0] && !ctl_option(c, "file"))
    return ctl_usage(c, "il faut un examen, ou --file FILE");
  if (save && ctl_option(c, "file"))
    return ctl_usage(c, "--save et --file ne vont pas ensemble");
  int r = save ? ctl_may_write(c, save) : CTL_OK;
  if (r == CTL_OK)
    r = obtain(c, &b, &proof);
  return r == CTL_OK ? judge(c, proof) : r;
}
