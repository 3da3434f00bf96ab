#include "findings.h"

#include <asalee/record.h>
#include <errno.h>
#include <string.h>

enum { ONE, MANY };
enum { OPTIONAL, REQUIRED };
enum { NEUTRAL, EXCLUDES };

static const struct field {
  enum acq_modality act;
  const char *code;
  bool many, required;
  const char *label;
} fields[] = {
#define FIELD(act_, code_, many_, required_, label_) {ACQ_##act_, code_, many_, required_, label_},
#include "findings.def"
};

static const struct choice {
  enum acq_modality act;
  const char *field, *code;
  bool excludes_normal;
  const char *snomed, *label;
} choices[] = {
#define CHOICE(act_, field_, code_, excludes_, snomed_, label_) {ACQ_##act_, field_, code_, excludes_, snomed_, label_},
#include "findings.def"
};

static const struct {
  const char *code, *label;
} conclusions[] = {{"normal", "normal"}, {"abnormal", "anormal"}, {"uninterpretable", "ininterprétable"}};

#define COUNT(a) (sizeof a / sizeof *a)

static const char *conclusion_label(const char *code) {
  for (size_t i = 0; i < COUNT(conclusions); i++)
    if (!strcmp(conclusions[i].code, code))
      return conclusions[i].label;
  return NULL;
}

bool findings_is_conclusion(const char *conclusion) {
  return conclusion_label(conclusion) != NULL;
}

static bool is_of(const struct choice *c, const struct field *f) {
  return c->act == f->act && !strcmp(c->field, f->code);
}

static const struct field *field_find(enum acq_modality act, const char *code) {
  for (size_t i = 0; i < COUNT(fields); i++)
    if (fields[i].act == act && !strcmp(fields[i].code, code))
      return &fields[i];
  return NULL;
}

static const struct choice *choice_find(const struct field *f, const json_t *said) {
  for (size_t i = 0; i < COUNT(choices) && json_is_string(said); i++)
    if (is_of(&choices[i], f) && !strcmp(choices[i].code, json_string_value(said)))
      return &choices[i];
  return NULL;
}

/* One choice of a field. */
static bool choice_fits(const struct field *f, const json_t *said, bool normal) {
  const struct choice *c = choice_find(f, said);
  return c && !(normal && c->excludes_normal);
}

static bool field_fits(const struct field *f, const json_t *said, bool normal) {
  size_t i;
  json_t *one;
  if (!f->many)
    return choice_fits(f, said, normal);
  if (!json_is_array(said))
    return false;
  json_array_foreach(said, i, one) {
    if (!choice_fits(f, one, normal))
      return false;
    for (size_t k = 0; k < i; k++) /* fewer than there are choices */
      if (json_equal(json_array_get(said, k), one))
        return false;
  }
  return true;
}

static const char *misfit(enum acq_modality act, const char *conclusion, const json_t *findings) {
  const char *key;
  json_t *said;
  const bool normal = !strcmp(conclusion, "normal");
  if (!findings_is_conclusion(conclusion))
    return "conclusion";
  if (findings && !json_is_object(findings) && !json_is_null(findings))
    return "findings";
  json_object_foreach((json_t *)findings, key, said) {
    const struct field *f = field_find(act, key);
    if (!f || !field_fits(f, said, normal))
      return key;
  }
  for (size_t i = 0; i < COUNT(fields) && strcmp(conclusion, "uninterpretable"); i++)
    if (fields[i].act == act && fields[i].required && !json_object_get(findings, fields[i].code))
      return fields[i].code;
  return NULL;
}

int findings_check(enum acq_modality act, const char *conclusion, const json_t *findings, const char **ret_field) {
  const char *field = misfit(act, conclusion, findings);
  if (!field)
    return 0;
  *ret_field = field;
  return -EINVAL;
}

/* ---- the form --------------------------------------------------------------------------------------------------- */

static json_t *choices_json(const struct field *f) {
  json_t *list = json_array();
  for (size_t i = 0; i < COUNT(choices); i++) {
    const struct choice *c = &choices[i];
    if (is_of(c, f) &&
        json_array_append_new(list, json_pack("{s:s, s:b, s:s, s:s?}", "code", c->code, "excludes_normal",
                                              (int)c->excludes_normal, "label", c->label, "snomed", c->snomed)) < 0) {
      json_decref(list);
      return NULL;
    }
  }
  return list;
}

json_t *findings_form(enum acq_modality act) {
  _json_cleanup_ json_t *list = json_array(), *said = json_array();
  int r = list && said ? 0 : -1;
  for (size_t i = 0; i < COUNT(conclusions) && r == 0; i++)
    r = json_array_append_new(said,
                              json_pack("{s:s, s:s}", "code", conclusions[i].code, "label", conclusions[i].label));
  for (size_t i = 0; i < COUNT(fields) && r == 0; i++) {
    const struct field *f = &fields[i];
    if (f->act == act)
      r = json_array_append_new(list,
                                json_pack("{s:o, s:s, s:s, s:b, s:b}", "choices", choices_json(f), "code", f->code,
                                          "label", f->label, "many", (int)f->many, "required", (int)f->required));
  }
  return r < 0 ? NULL
               : json_pack("{s:s, s:O, s:O}", "act", acq_modality_name(act), "conclusions", said, "fields", list);
}

/* ---- the report ------------------------------------------------------------------------------------------------- */

static bool is_said(const json_t *said, const char *code) {
  size_t i;
  json_t *one;
  if (json_is_string(said))
    return !strcmp(json_string_value(said), code);
  json_array_foreach(said, i, one) {
    if (!strcmp(json_string_value(one), code))
      return true;
  }
  return false;
}

static void report_field(const struct field *f, const json_t *said, struct buf *b) {
  bool begun = false;
  for (size_t i = 0; i < COUNT(choices); i++) {
    if (!is_of(&choices[i], f) || !is_said(said, choices[i].code))
      continue;
    buf_format(b, "%s%s%s", begun ? "" : f->label, begun ? ", " : " : ", choices[i].label);
    begun = true;
  }
  if (begun)
    buf_text(b, "\n");
}

int findings_report(enum acq_modality act, const char *conclusion, const json_t *findings, const char *text,
                    struct buf *b) {
  const char *ignored;
  const size_t n = strlen(text);
  if (findings_check(act, conclusion, findings, &ignored) < 0 || !json_is_clean(text, n))
    return -EINVAL;
  buf_format(b, "Conclusion : %s\n", conclusion_label(conclusion));
  for (size_t i = 0; i < COUNT(fields); i++)
    if (fields[i].act == act)
      report_field(&fields[i], json_object_get(findings, fields[i].code), b);
  if (n)
    buf_format(b, "\n%s%s", text, text[n - 1] == '\n' ? "" : "\n");
  return b->err;
}
