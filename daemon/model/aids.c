#include "aids.h"

#include "buf.h"
#include "hash.h"
#include "nomenclature.h"
#include "wall.h"
#include <errno.h>
#include <math.h>
#include <string.h>

static const char *const phases[AIDS_PHASES] = {"baseline", "pre", "post"};

/* In the order of a report. */
static const struct item {
  const char *code, *unit;
  enum reference_index index;
} items[] = {{"fvc", "L", REFERENCE_FVC}, {"fev1", "L", REFERENCE_FEV1}, {"fev1_fvc", "1", REFERENCE_RATIO}};
#define ITEMS (sizeof items / sizeof *items)

struct aids {
  const struct aids_input *in;
  double age;
  const char *why; /* NULL: there is a reference */
};

/* ---- input --------------------------------------------------------------------------------------------------- */

static int check_reported(const char *code, int32_t ml, char grade) {
  const struct nomenclature *row = nomenclature_find(code);
  if (grade && !strchr("ABCDEFU", grade))
    return -EINVAL;
  if (ml != AIDS_NONE && (ml <= 0 || dec_cmp((struct dec){ml, -3}, row->hard_high) > 0))
    return -ERANGE;
  return 0;
}

static int check_input(const struct aids_input *in) {
  if (!wall_is_date(in->birth_date) || !wall_is_date(in->test_date) || (in->table && !hash_is_text(in->table_sha256)))
    return -EINVAL;
  for (int phase = 0; phase < AIDS_PHASES; phase++) {
    const struct aids_reported *r = &in->reported[phase];
    int err = check_reported("fev1", r->fev1_ml, r->fev1_grade);
    if (err == 0)
      err = check_reported("fvc", r->fvc_ml, r->fvc_grade);
    if (err < 0)
      return err;
  }
  return 0;
}

static bool sex_is_known(const char *sex) {
  return !strcmp(sex, "M") || !strcmp(sex, "F");
}

static const char *why_no_reference(const struct aids_input *in, double age) {
  if (!in->table)
    return "Aucune table de référence n'est installée : pas de valeurs théoriques. L'administrateur peut l'installer "
           "avec "
           "« asaleectl reference import ».";
  if (!sex_is_known(in->sex))
    return "Le sexe (à la naissance) n'est pas renseigné : pas de valeurs théoriques. Le compléter dans la fiche du "
           "patient.";
  if (!in->height_mm)
    return "La taille n'est pas renseignée : pas de valeurs théoriques. La mesurer et la compléter.";
  if (in->height_mm < REFERENCE_HEIGHT_MIN * 10 || in->height_mm > REFERENCE_HEIGHT_MAX * 10)
    return "La taille est hors des limites de 50 à 250 cm : pas de valeurs théoriques. La vérifier.";
  if (age < REFERENCE_AGE_MIN || age > REFERENCE_AGE_MAX)
    return "L'âge à la date de l'examen est hors des limites des équations (3 à 95 ans) : pas de valeurs théoriques.";
  return NULL;
}

struct measured {
  struct dec value;
  double observed; /* as the reference takes it: litres, or the ratio before it is rounded */
  char grade;
};

static bool measured(const struct aids_reported *r, enum reference_index index, struct measured *ret) {
  int64_t fev1 = r->fev1_ml, fvc = r->fvc_ml;
  if ((index != REFERENCE_FVC && fev1 == AIDS_NONE) || (index != REFERENCE_FEV1 && fvc == AIDS_NONE))
    return false;
  if (index == REFERENCE_FEV1)
    *ret = (struct measured){{r->fev1_ml, -3}, (double)fev1 / 1000, r->fev1_grade};
  else if (index == REFERENCE_FVC)
    *ret = (struct measured){{r->fvc_ml, -3}, (double)fvc / 1000, r->fvc_grade};
  else
    *ret = (struct measured){{(int32_t)((20000 * fev1 + fvc) / (2 * fvc)), -4}, (double)fev1 / (double)fvc, 0};
  return true;
}

/* False without a reference, and where it has nothing to say of this value. */
static bool compute(const struct aids *a, enum reference_index index, double observed, struct reference_values *ret) {
  return !a->why &&
         reference_compute(a->in->table, index, a->in->sex[0], a->age, a->in->height_mm / 10.0, observed, ret) == 0;
}

/* ---- output: NULL without memory ----------------------------------------------------------------------------- */

static json_t *dec_json(struct dec d) {
  char text[DEC_TEXT_MAX];
  dec_format(d, text);
  return json_string(text);
}

static json_t *grade_json(char grade) {
  return grade ? json_stringn(&grade, 1) : json_null();
}

static json_t *result_json(const struct aids *a, enum aids_phase phase, const struct item *item,
                           const struct measured *m) {
  struct reference_values v;
  if (!compute(a, item->index, m->observed, &v))
    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:s, s:n, s:s, s:o, s:n}", "code", item->code, "flag", "grade",
                     grade_json(m->grade), "lln", "percent_predicted", "phase", phases[phase], "predicted", "unit",
                     item->unit, "value", dec_json(m->value), "z");
  bool below = dec_cmp(v.z, (struct dec){-1645, -3}) < 0;
  return json_pack(
      "{s:s, s:o, s:o, s:o, s:o, s:s, s:o, s:s, s:o, s:o}", "code", item->code, "flag",
      below ? json_string("below_lln") : json_null(), "grade", grade_json(m->grade), "lln", dec_json(v.lln),
      "percent_predicted", item->index == REFERENCE_RATIO ? json_null() : dec_json(v.percent), "phase", phases[phase],
      "predicted", dec_json(v.predicted), "unit", item->unit, "value", dec_json(m->value), "z", dec_json(v.z));
}

static json_t *results_json(const struct aids *a) {
  json_t *results = json_array();
  for (int phase = 0; results && phase < AIDS_PHASES; phase++)
    for (size_t i = 0; results && i < ITEMS; i++) {
      struct measured m;
      if (measured(&a->in->reported[phase], items[i].index, &m) &&
          json_array_append_new(results, result_json(a, (enum aids_phase)phase, &items[i], &m)) < 0) {
        json_decref(results);
        results = NULL;
      }
    }
  return results;
}

static json_t *reference_json(const struct aids *a) {
  if (a->why)
    return json_null();
  return json_pack("{s:o, s:o, s:s, s:s, s:s, s:s}", "age", dec_json((struct dec){(int32_t)lround(a->age * 100), -2}),
                   "height_cm", dec_json((struct dec){(int32_t)a->in->height_mm, -1}), "interpolation", "linear", "set",
                   REFERENCE_SET, "sex", a->in->sex, "table_sha256", a->in->table_sha256);
}

/* The response of one value; null, and what is missing added to the sentence, when there is none. In whole numbers
 * from the predicted value as written (0.0001 L), so that a reader gets the same by hand. */
static json_t *change_json(const struct aids *a, enum reference_index index, struct buf *missing) {
  const char *label = nomenclature_find(index == REFERENCE_FEV1 ? "fev1" : "fvc")->label;
  struct measured pre, post;
  struct reference_values v;
  bool before = measured(&a->in->reported[AIDS_PRE], index, &pre);
  bool after = measured(&a->in->reported[AIDS_POST], index, &post);
  bool predicted = before ? compute(a, index, pre.observed, &v) : !a->why;
  const char *const wanted[] = {before ? NULL : "avant", after ? NULL : "après", predicted ? NULL : "théorique"};
  for (size_t i = 0; i < 3; i++)
    if (wanted[i])
      buf_format(missing, "%s %s %s", missing->len ? "," : "", label, wanted[i]);
  if (!before || !after || !predicted)
    return json_null();
  int64_t change = post.value.mantissa - pre.value.mantissa, whole = v.predicted.mantissa;
  int64_t half = change < 0 ? -whole : whole;
  return json_pack("{s:I, s:o, s:b}", "change_ml", (json_int_t)change, "percent_predicted",
                   dec_json((struct dec){(int32_t)((20000 * change + half) / (2 * whole)), -1}), "significant",
                   100 * change > whole);
}

static json_t *response_json(const struct aids *a, struct buf *missing) {
  json_t *fvc = change_json(a, REFERENCE_FVC, missing), *fev1 = change_json(a, REFERENCE_FEV1, missing);
  if (json_is_null(fvc) && json_is_null(fev1))
    return json_null();
  return json_pack("{s:o, s:o}", "fev1", fev1, "fvc", fvc);
}

static json_t *response_why_json(struct buf *missing) {
  if (!missing->err && !missing->len)
    return json_null();
  const char *list = buf_cstr(missing);
  return list ? json_sprintf("Réponse au bronchodilatateur : il manque%s.", list) : NULL;
}

int aids_make(const struct aids_input *in, json_t **ret) {
  int err = check_input(in);
  if (err < 0)
    return err;
  struct aids a = {.in = in, .age = reference_age(in->birth_date, in->test_date)};
  a.why = why_no_reference(in, a.age);
  _buf_cleanup_ struct buf missing = BUF_INIT(512);
  json_t *response = response_json(&a, &missing);
  json_t *all = json_pack("{s:{s:s, s:s}, s:o, s:o, s:o, s:o, s:s?}", "editions", "interpretation", "ERS/ATS 2021",
                          "report", "ATS 2017", "reference", reference_json(&a), "response", response, "response_why",
                          response_why_json(&missing), "results", results_json(&a), "why", a.why);
  if (!all)
    return -ENOMEM;
  *ret = all;
  return 0;
}
