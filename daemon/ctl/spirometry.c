/* What belongs to spirometry: how good the blows are, the aids of the reader, the calibration log, the reference table;
 * and the tray of readings without a patient, where a spirometer's old blows land. */
#include "ctl.h"

#include "reference.h"
#include "str.h"
#include <asalee/dec.h>
#include <string.h>

/* ---- a study's spirometry ---- */

/* "3,63 L" of millilitres; NULL when there is none. The text holds until the next calls. */
static const char *litres(const json_t *object, const char *key, const char *unit) {
  static char texts[4][32];
  static unsigned at;
  int64_t ml;
  if (json_int(object, key, 0, 100000, &ml) < 0)
    return NULL;
  char *text = texts[at++ % 4];
  snprintf(text, sizeof texts[0], "%d,%02d %s", (int)((ml + 5) / 1000), (int)((ml + 5) / 10 % 100), unit);
  return text;
}

static const char *say_phase(const char *phase) {
  return !phase || !strcmp(phase, "baseline") ? "de base"
         : !strcmp(phase, "pre")              ? "avant bronchodilatateur"
                                              : "après bronchodilatateur";
}

static const char *say_verdict(const char *verdict) {
  static const char *const words[][2] = {{"acceptable", "oui"}, {"usable", "utilisable"}, {"no", "NON"}};
  for (size_t i = 0; verdict && i < sizeof words / sizeof *words; i++)
    if (!strcmp(verdict, words[i][0]))
      return words[i][1];
  return "non jugé";
}

static void print_value(FILE *f, const json_t *phase, const char *key, const char *label) {
  const json_t *value = json_object_get(phase, key);
  const char *ml = litres(value, "ml", "L"), *grade = json_text(value, "grade"),
             *repeatability = show_int(value, "repeatability_ml");
  print_fieldf(f, label, "%s, qualité %s, écart des deux meilleurs : %s%s", ml ? ml : "—",
               grade && strcmp(grade, "not_judged") ? grade : "non jugée", repeatability ? repeatability : "—",
               repeatability ? " mL" : "");
}

static void print_phase(FILE *f, const json_t *phase) {
  static const char *const heads[] = {"Essai", "CVF", "VEMS", "DEP", "VEMS valable", "CVF valable", "Conseil", NULL};
  const json_t *trials = json_object_get(phase, "trials");
  const char *advice = json_text(json_object_get(phase, "advice"), "text");
  struct table t;
  fputc('\n', f);
  print_field(f, "Spirométrie", say_phase(json_text(phase, "phase")));
  print_value(f, phase, "fvc", "CVF");
  print_value(f, phase, "fev1", "VEMS");
  print_field(f, "DEP", litres(phase, "pef_ml_s", "L/s"));
  print_field(f, "Conseil", advice);
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(trials); i++) {
    const json_t *trial = json_array_get(trials, i);
    const char *number = show_int(trial, "trial"), *record = json_text(trial, "record");
    table_addf(&t, "%s/%s", record ? record : "?", number ? number : "?");
    table_add(&t, litres(trial, "fvc_ml", "L"));
    table_add(&t, litres(trial, "fev1_ml", "L"));
    table_add(&t, litres(trial, "pef_ml_s", "L/s"));
    table_add(&t, say_verdict(json_text(trial, "fev1")));
    table_add(&t, say_verdict(json_text(trial, "fvc")));
    table_add(&t, json_text(json_object_get(trial, "coaching"), "text"));
  }
  table_print(&t, f, "Aucun essai.");
  table_finish(&t);
}

static const char *say_code(const char *code) {
  return !code ? "?" : !strcmp(code, "fvc") ? "CVF" : !strcmp(code, "fev1") ? "VEMS" : "VEMS/CVF";
}

static void print_aids(FILE *f, const json_t *aids) {
  static const char *const heads[] = {"Phase",       "Mesure", "Valeur", "Théorique", "Limite inf.",
                                      "% théorique", "z",      "",       NULL};
  const json_t *reference = json_object_get(aids, "reference"), *results = json_object_get(aids, "results");
  const json_t *response = json_object_get(aids, "response");
  char age[DEC_TEXT_MAX], height[DEC_TEXT_MAX];
  if (!json_is_object(aids))
    return;
  fputc('\n', f);
  if (json_is_object(reference))
    print_fieldf(f, "Référence", "%s, table %.12s, %s ans, %s cm, sexe %s", json_text(reference, "set"),
                 json_text(reference, "table_sha256"), french_number(json_text(reference, "age"), age),
                 french_number(json_text(reference, "height_cm"), height), json_text(reference, "sex"));
  else
    print_field(f, "Référence", json_text(aids, "why"));
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(results); i++) {
    const json_t *r = json_array_get(results, i);
    table_add(&t, say_phase(json_text(r, "phase")));
    table_add(&t, say_code(json_text(r, "code")));
    char number[DEC_TEXT_MAX];
    const char *unit = json_text(r, "unit");
    table_addf(&t, "%s %s", french_number(json_text(r, "value"), number), unit && strcmp(unit, "1") ? unit : "");
    const char *const keys[] = {"predicted", "lln", "percent_predicted", "z"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
      table_add(&t, json_text(r, keys[k]) ? french_number(json_text(r, keys[k]), number) : NULL);
    table_add(&t, json_text(r, "flag") ? "sous la limite" : NULL);
  }
  table_print(&t, f, "Aucun résultat.");
  table_finish(&t);
  const char *const codes[] = {"fev1", "fvc"};
  for (int i = 0; i < 2; i++) {
    const json_t *change = json_object_get(response, codes[i]);
    const char *ml = show_int(change, "change_ml");
    if (ml)
      print_fieldf(f, "Réversibilité", "%s %s mL, %s %% de la théorique, %s", say_code(codes[i]), ml,
                   french_number(json_text(change, "percent_predicted"), age),
                   json_is_true(json_object_get(change, "significant")) ? "significative" : "non significative");
  }
}

void print_spirometry(FILE *f, const json_t *study) {
  static const char *const states[][2] = {
      {"valid", "faite"}, {"missing", "jamais faite"}, {"overdue", "trop ancienne"}, {"failed", "échouée"}};
  const char *calibration = json_text(study, "calibration");
  const json_t *phases = json_object_get(json_object_get(study, "spirometry"), "phases");
  for (size_t i = 0; calibration && i < sizeof states / sizeof *states; i++)
    if (!strcmp(calibration, states[i][0]))
      print_field(f, "Seringue", states[i][1]);
  char height[DEC_TEXT_MAX];
  if (json_text(study, "height_cm"))
    print_fieldf(f, "Taille", "%s cm", french_number(json_text(study, "height_cm"), height));
  for (size_t i = 0; i < json_array_size(phases); i++)
    print_phase(f, json_array_get(phases, i));
  print_aids(f, json_object_get(study, "aids"));
}

/* ---- the calibration log ---- */

/* "2.98,3.01,2.97" in litres, to a list of mL. */
static json_t *strokes(const char *text) {
  json_t *list = json_array();
  for (const char *p = text; p;) {
    char number[16];
    size_t n = strcspn(p, ",");
    struct dec value, ml;
    if (n >= sizeof number || json_array_size(list) == 12)
      break;
    memcpy(number, p, n);
    number[n] = 0;
    int scale = 1000;
    bool ok = dec_parse(number, &value) == 0 && value.exponent >= -3 && value.mantissa >= 0;
    for (int e = value.exponent; ok && e < 0; e++)
      scale /= 10;
    if (!ok || dec_mul((struct dec){value.mantissa, 0}, scale, &ml) < 0)
      break;
    json_array_append_new(list, json_integer(ml.mantissa));
    p = p[n] ? p + n + 1 : NULL;
    if (!p)
      return list;
  }
  json_decref(list);
  return NULL;
}

static int print_calibrations(struct ctl *c, const struct api_answer *a) {
  static const char *const heads[] = {"Vérification", "Le",       "Par",      "Seringue",
                                      "Mesuré (mL)",  "Résultat", "Remarque", NULL};
  const json_t *items = json_object_get(a->json, "items"), *state = json_object_get(a->json, "state");
  const char *code = json_text(state, "state");
  print_field(c->out, "Spiromètre", c->args[0]);
  print_field(c->out, "État",
              !code                     ? NULL
              : !strcmp(code, "valid")  ? "vérifié"
              : !strcmp(code, "unused") ? "sans vérification"
              : !strcmp(code, "failed") ? "la dernière vérification a échoué : ne pas l'utiliser"
                                        : "à vérifier à la seringue");
  print_field(c->out, "À refaire avant", show_time(json_text(state, "due")));
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(items); i++) {
    const json_t *item = json_array_get(items, i), *measured = json_object_get(item, "measured_ml");
    char text[160] = "";
    for (size_t k = 0, n = 0; k < json_array_size(measured) && n < sizeof text; k++)
      n += (size_t)snprintf(text + n, sizeof text - n, "%s%lld", k ? " " : "",
                            (long long)json_integer_value(json_array_get(measured, k)));
    table_add(&t, json_text(item, "id"));
    table_add(&t, show_time(json_text(item, "at")));
    table_add(&t, json_text(item, "by"));
    table_addf(&t, "%s mL", show_int(item, "syringe_ml") ? show_int(item, "syringe_ml") : "?");
    table_add(&t, text);
    table_add(&t, json_is_true(json_object_get(item, "passed")) ? "bon (± 3 %)" : "ÉCHEC");
    table_add(&t, json_text(item, "comment"));
  }
  fputc('\n', c->out);
  table_print(&t, c->out, "Aucune vérification.");
  table_finish(&t);
  return CTL_OK;
}

int cmd_calibrate(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  json_t *list = strokes(ctl_option(c, "measured")), *syringe = strokes(ctl_option(c, "syringe"));
  if (!list || (ctl_option(c, "syringe") && json_array_size(syringe) != 1)) {
    json_decref(list);
    json_decref(syringe);
    return ctl_usage(c, "--measured 2.98,3.01,2.97 : des litres, avec un point et au plus trois décimales");
  }
  json_t *body = json_pack("{s:o}", "measured_ml", list);
  if (syringe)
    json_object_set(body, "syringe_ml", json_array_get(syringe, 0));
  json_decref(syringe);
  if (ctl_option(c, "comment"))
    json_object_set_new(body, "comment", json_string(ctl_option(c, "comment")));
  int r = api_post(c, body, &a, "/v1/devices/%s/calibrations", c->args[0]);
  return r != CTL_OK || api_json(c, &a) ? r : print_calibrations(c, &a);
}

int cmd_calibration_list(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/devices/%s/calibrations?limit=%d", c->args[0], (int)ctl_number(c, "limit", 20));
  return r != CTL_OK || api_json(c, &a) ? r : print_calibrations(c, &a);
}

/* ---- the reference table ---- */

static int print_reference(struct ctl *c, const struct api_answer *a) {
  const json_t *reference = json_object_get(a->json, "reference");
  if (!json_is_object(reference)) {
    fputs("Aucune table de référence n'est installée : asaleectl reference import FICHIER.\n", c->out);
    return CTL_OK;
  }
  print_field(c->out, "Référence", json_text(reference, "set"));
  print_field(c->out, "Table", json_text(reference, "name"));
  print_field(c->out, "SHA-256", json_text(reference, "sha256"));
  print_field(c->out, "Installée le", show_time(json_text(reference, "installed")));
  print_field(c->out, "Par", json_text(reference, "by"));
  return CTL_OK;
}

int cmd_reference_show(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/reference");
  return r != CTL_OK || api_json(c, &a) ? r : print_reference(c, &a);
}

int cmd_reference_import(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  _buf_cleanup_ struct buf text = BUF_INIT(REFERENCE_TEXT_MAX);
  struct reference_table *table = NULL;
  char reason[256];
  int r = ctl_read(c, c->args[0], &text);
  if (r != CTL_OK)
    return r;
  const char *clean = buf_cstr(&text);
  /* Here already, as the daemon's answer has no room for the line at fault. */
  if (!clean || reference_parse(clean, text.len, &table, reason) < 0)
    return ctl_usage(c, "%s : ce n'est pas une table GLI-Global-2022 : %s", c->args[0], clean ? reason : "no memory");
  reference_destroy(table);
  const char *slash = strrchr(c->args[0], '/'), *name = ctl_option(c, "name");
  struct api_request request = {.method = "PUT",
                                .target = "/v1/reference",
                                .body = json_pack("{s:s, s:s}", "name",
                                                  name    ? name
                                                  : slash ? slash + 1
                                                          : c->args[0],
                                                  "table", clean)};
  r = api_call(c, &request, &a);
  return r != CTL_OK || api_json(c, &a) ? r : print_reference(c, &a);
}
