#include "fundus.h"

#include "str.h"
#include "wall.h"
#include <asalee/dec.h>
#include <asalee/export.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- what there is ---- */

static json_t *text_or_null(const char *text) {
  return text ? json_string(text) : json_null();
}

/* [{"excluded","field","instrument","laterality","picture","record","sha256"}...]; instrument: the eye that it says, if
 * it does. */
static int pictures_find(struct store *s, int64_t study, json_t **ret) {
  struct rows r = store_query(s,
                              "SELECT p.record, p.number, p.sha256, l.laterality, l.field, l.excluded, p.laterality"
                              " FROM picture p"
                              " JOIN record r ON r.id = p.record"
                              " LEFT JOIN picture_label l ON l.id = " FUNDUS_LABEL_ID
                              " WHERE r.study = ? AND r.id NOT IN (SELECT record FROM supersession)"
                              " ORDER BY p.record, p.number",
                              "i", study);
  json_t *list = json_array();
  int err = list ? 0 : -ENOMEM;
  while (err == 0 && rows_next(&r)) {
    char ref[STR_REF_MAX];
    str_ref('R', rows_int(&r, 0), ref);
    json_t *item = json_pack("{s:o, s:o, s:s*, s:o, s:I, s:s, s:s}", "excluded", text_or_null(rows_text(&r, 5)),
                             "field", text_or_null(rows_text(&r, 4)), "instrument", rows_text(&r, 6), "laterality",
                             text_or_null(rows_text(&r, 3)), "picture", (json_int_t)rows_int(&r, 1), "record", ref,
                             "sha256", rows_text(&r, 2));
    err = json_array_append_new(list, item) == 0 ? 0 : -ENOMEM;
  }
  int query_err = rows_finish(&r);
  err = err < 0 ? err : query_err;
  if (err < 0)
    json_decref(list);
  else
    *ret = list;
  return err;
}

/* The newest, or null: never said, or not since the study was repeated. */
static int pupil_find(struct store *s, int64_t study, json_t **ret) {
  struct rows r = store_query(
      s, "SELECT dilated, agents, degree_mm FROM pupil WHERE study = ? ORDER BY id DESC LIMIT 1", "i", study);
  json_t *pupil = json_null();
  int err = 0;
  if (rows_next(&r) && !rows_is_null(&r, 0)) {
    json_t *agents = json_loads(rows_text(&r, 1), 0, NULL); /* as fundus_pupil() wrote it */
    pupil = json_pack("{s:o, s:o, s:b}", "agents", agents, "degree_mm", text_or_null(rows_text(&r, 2)), "dilated",
                      (int)rows_int(&r, 0));
    err = pupil ? 0 : -ENOMEM;
  }
  int query_err = rows_finish(&r);
  err = err < 0 ? err : query_err;
  if (err < 0)
    json_decref(pupil);
  else
    *ret = pupil;
  return err;
}

/* ---- views ---- */

static bool shows(const json_t *picture, const char *laterality, const char *field) {
  const char *own_eye = json_text(picture, "laterality"), *own_field = json_text(picture, "field");
  return own_eye && own_field && !strcmp(own_eye, laterality) && !strcmp(own_field, field);
}

/* "Œil droit, macula" */
static const char *view_text(const char *laterality, const char *field, char ret[static 48]) {
  snprintf(ret, 48, "Œil %s, %s", laterality[0] == 'R' ? "droit" : "gauche",
           !strcmp(field, "macula") ? "macula"
           : !strcmp(field, "disc") ? "papille"
                                    : "autre champ");
  return ret;
}

static void picture_ref(const json_t *picture, char ret[static 48]) {
  snprintf(ret, 48, "%s/%lld", json_text(picture, "record"),
           (long long)json_integer_value(json_object_get(picture, "picture")));
}

/* The newest picture of the i-th view; where a view is asked for several times (other fields of an eye) each has its
 * own. NULL when it is missing. */
static const json_t *view_picture(const json_t *pictures, const struct conf_views *views, unsigned i) {
  const struct conf_view *view = &views->list[i];
  unsigned before = 0;
  for (unsigned k = 0; k < i; k++)
    before += !strcmp(views->list[k].laterality, view->laterality) && !strcmp(views->list[k].field, view->field);
  for (size_t k = json_array_size(pictures); k > 0; k--) {
    const json_t *picture = json_array_get(pictures, k - 1);
    if (shows(picture, view->laterality, view->field) && before-- == 0)
      return picture;
  }
  return NULL;
}

static unsigned views_missing(const json_t *pictures, const struct conf_views *views) {
  unsigned n = 0;
  for (unsigned i = 0; i < views->n; i++)
    n += !view_picture(pictures, views, i);
  return n;
}

/* Whether view k of the four that an eye has once (macula and disc, right and left) is there more often than that, and
 * then as which pictures. Other fields are many. */
#define ONCE 4
static bool view_repeated(const json_t *pictures, unsigned k, json_t **ret_text) {
  const char *laterality = k < 2 ? "R" : "L", *field = k % 2 ? "disc" : "macula";
  char text[1024], view[48], ref[48];
  size_t i, n = 0, len = (size_t)snprintf(text, sizeof text, "%s : ", view_text(laterality, field, view));
  const json_t *picture;
  json_array_foreach(pictures, i, picture) {
    if (!shows(picture, laterality, field))
      continue;
    picture_ref(picture, ref);
    if (len + strlen(ref) + 3 < sizeof text)
      len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", n ? ", " : "", ref);
    n++;
  }
  if (n > 1 && ret_text)
    *ret_text = json_string(text);
  return n > 1;
}

static json_t *views_json(const json_t *pictures, const struct conf_views *views, json_t *missing) {
  json_t *list = json_array();
  for (unsigned i = 0; i < views->n; i++) {
    const struct conf_view *view = &views->list[i];
    const json_t *picture = view_picture(pictures, views, i);
    char text[48], ref[48];
    view_text(view->laterality, view->field, text);
    if (picture)
      picture_ref(picture, ref);
    else
      json_array_append_new(missing, json_string(text));
    json_array_append_new(list, json_pack("{s:s, s:s, s:s?, s:s}", "field", view->field, "laterality", view->laterality,
                                          "picture", picture ? ref : NULL, "text", text));
  }
  return list;
}

/* The pictures as they are shown: with their label as a text, without their hash. */
static void pictures_show(json_t *pictures, bool texts) {
  size_t i;
  json_t *picture;
  json_array_foreach(pictures, i, picture) {
    const char *laterality = json_text(picture, "laterality"), *field = json_text(picture, "field");
    const bool excluded = json_is_string(json_object_get(picture, "excluded"));
    char text[48];
    json_object_set_new(picture, "label",
                        excluded              ? json_string("Laissée de côté")
                        : laterality && field ? json_string(view_text(laterality, field, text))
                                              : json_null());
    if (excluded && !texts)
      json_object_set_new(picture, "excluded", json_string(""));
    json_object_del(picture, "sha256");
  }
}

int fundus_json(struct store *s, int64_t study, const struct conf_views *views, bool texts, json_t **ret) {
  json_t *pictures = NULL, *pupil = NULL;
  int r = pictures_find(s, study, &pictures);
  if (r == 0)
    r = pupil_find(s, study, &pupil);
  if (r == 0) {
    json_t *missing = json_array(), *repeated = json_array(), *shown = views_json(pictures, views, missing), *text;
    for (unsigned k = 0; k < ONCE; k++)
      if (view_repeated(pictures, k, &text))
        json_array_append_new(repeated, text);
    pictures_show(pictures, texts);
    *ret = json_pack("{s:o, s:O, s:O, s:o, s:o}", "missing", missing, "pictures", pictures, "pupil", pupil, "repeated",
                     repeated, "views", shown);
    r = *ret ? 0 : -ENOMEM;
  }
  json_decref(pictures);
  json_decref(pupil);
  return r;
}

int fundus_wanted(struct store *s, int64_t study, const struct conf_views *views, uint16_t *ret) {
  _json_cleanup_ json_t *pictures = NULL;
  int r = pictures_find(s, study, &pictures);
  if (r < 0)
    return r;
  unsigned missing = views_missing(pictures, views);
  *ret = (uint16_t)(missing ? missing : 1);
  return 0;
}

enum problem fundus_check(struct store *s, int64_t study, const struct conf_views *views, bool *ret_whole) {
  _json_cleanup_ json_t *pictures = NULL, *pupil = NULL;
  int r = pictures_find(s, study, &pictures);
  if (r == 0)
    r = pupil_find(s, study, &pupil);
  if (r < 0)
    return problem_of_errno(r);
  size_t i, labelled = 0, excluded = 0, contrary = 0;
  const json_t *picture;
  json_array_foreach(pictures, i, picture) {
    labelled += json_is_string(json_object_get(picture, "laterality"));
    excluded += json_is_string(json_object_get(picture, "excluded"));
    const char *eye = json_text(picture, "laterality"), *instrument = json_text(picture, "instrument");
    contrary += eye && instrument && strcmp(eye, instrument);
  }
  if (labelled + excluded < json_array_size(pictures))
    return P_pictures_unlabelled;
  if (!labelled)
    return P_pictures_none;
  if (!json_is_object(pupil))
    return P_pupil_missing;
  *ret_whole = !contrary && !views_missing(pictures, views);
  for (unsigned k = 0; k < ONCE; k++)
    *ret_whole &= !view_repeated(pictures, k, NULL);
  return P_OK;
}

int fundus_facts(struct store *s, int64_t study, json_t **ret) {
  json_t *pictures = NULL, *pupil = NULL;
  int r = pictures_find(s, study, &pictures);
  if (r == 0)
    r = pupil_find(s, study, &pupil);
  if (r == 0 && !(*ret = json_pack("{s:O, s:O}", "pictures", pictures, "pupil", pupil)))
    r = -ENOMEM;
  json_decref(pictures);
  json_decref(pupil);
  return r;
}

int fundus_keeps_labels(struct store *s, int64_t acquisition, const json_t *record) {
  int keeps = 1;
  size_t i;
  json_t *picture;
  json_array_foreach(json_object_get(json_object_get(record, "acquired"), "pictures"), i, picture) {
    struct rows r = store_query(s,
                                "SELECT 1 FROM record t JOIN picture q ON q.record = t.id AND q.number = ? AND"
                                " q.sha256 = ? JOIN picture_label m ON m.record = q.record AND m.number = q.number"
                                " WHERE t.acquisition = ?",
                                "iti", (int64_t)json_integer_value(json_object_get(picture, "number")),
                                json_text(picture, "sha256"), acquisition);
    if (!rows_next(&r))
      keeps = 0;
    int err = rows_finish(&r);
    if (err < 0)
      return err;
  }
  return keeps;
}

/* ---- what is said of them ---- */

static enum problem may_say(const struct caller *c, const struct study *study) {
  if (!(c->role & (ROLE_NURSE | ROLE_GP)))
    return P_forbidden;
  return study->state == ACQUIRED && act_modality(study->act) == ACQ_FUNDUS ? P_OK : P_wrong_state;
}

/* Whoever read the study before does not accept it as it is now. */
static enum problem study_said(struct store *s, const struct caller *c, struct study *study, const char *action,
                               json_t *detail) {
  struct actor by = caller_actor(c);
  char ref[STR_REF_MAX];
  str_ref('S', study->id, ref);
  int r = audit_add(s, &by, action, ref, detail);
  if (r >= 0)
    r = store_run(s, "UPDATE study SET version = version + 1, updated = ? WHERE id = ?", "ii", wall_now().us,
                  study->id);
  if (r >= 0)
    r = change_add(s, "study", ref, study_state_name(study->state));
  return r < 0 ? problem_of_errno(r) : study_find(s, study->id, study);
}

/* What of a label names no picture of the study; NULL when it is one. */
static const char *stranger(const json_t *pictures, const struct fundus_label *label) {
  const char *wrong = "record";
  char ref[STR_REF_MAX];
  size_t i;
  const json_t *picture;
  str_ref('R', label->record, ref);
  json_array_foreach(pictures, i, picture) {
    if (strcmp(json_text(picture, "record"), ref))
      continue;
    if (json_integer_value(json_object_get(picture, "picture")) == label->number)
      return NULL;
    wrong = "picture";
  }
  return wrong;
}

static json_t *label_json(const struct fundus_label *label) {
  char ref[STR_REF_MAX];
  str_ref('R', label->record, ref);
  /* Not why: that is free text about the patient. */
  return json_pack("{s:b, s:s*, s:s*, s:I, s:s}", "excluded", label->excluded != NULL, "field", label->field,
                   "laterality", label->laterality, "picture", (json_int_t)label->number, "record", ref);
}

enum problem fundus_label(struct store *s, const struct caller *c, struct study *study,
                          const struct fundus_label *labels, size_t n, size_t *ret_at, const char **ret_field) {
  _json_cleanup_ json_t *pictures = NULL, *said = json_array();
  enum problem p = may_say(c, study);
  if (p == P_OK)
    p = problem_of_errno(pictures_find(s, study->id, &pictures));
  for (size_t i = 0; p == P_OK && i < n; i++) {
    const char *wrong = stranger(pictures, &labels[i]);
    for (size_t k = 0; !wrong && k < i; k++)
      if (labels[k].record == labels[i].record && labels[k].number == labels[i].number)
        wrong = "picture";
    if (wrong) {
      *ret_at = i;
      *ret_field = wrong;
      return P_invalid_field;
    }
    int r = store_run(s,
                      "INSERT INTO picture_label(record, number, laterality, field, excluded, at, by)"
                      " VALUES(?,?,?,?,?,?,?)",
                      "iitttit", labels[i].record, labels[i].number, labels[i].laterality, labels[i].field,
                      labels[i].excluded, wall_now().us, caller_person(c));
    p = r < 0 ? problem_of_errno(r) : json_array_append_new(said, label_json(&labels[i])) < 0 ? P_overloaded : P_OK;
  }
  return p == P_OK ? study_said(s, c, study, "study.label", json_pack("{s:O}", "pictures", said)) : p;
}

int fundus_repeat(struct store *s, const struct caller *c, int64_t study) {
  int r = store_run(s, "INSERT INTO pupil(study, dilated, agents, at, by) VALUES(?,NULL,'[]',?,?)", "iit", study,
                    wall_now().us, caller_person(c));
  return r < 0 ? r : 0;
}

static bool is_agent(const char *name) {
#define X(agent, ...) || !strcmp(name, agent)
  return false EXPORT_AGENTS(X);
#undef X
}

enum problem fundus_pupil(struct store *s, const struct caller *c, struct study *study,
                          const struct fundus_pupil *pupil, const char **ret_field) {
  char degree[DEC_TEXT_MAX];
  _json_cleanup_ json_t *agents = json_array();
  struct dec mm;
  enum problem p = may_say(c, study);
  if (p != P_OK)
    return p;
  *ret_field = "agents";
  if (pupil->dilated && !pupil->n_agents)
    return P_missing_field;
  if (!pupil->dilated && pupil->n_agents)
    return P_invalid_field;
  for (size_t i = 0; i < pupil->n_agents; i++) {
    if (!is_agent(pupil->agents[i]))
      return P_invalid_field;
    for (size_t k = 0; k < i; k++)
      if (!strcmp(pupil->agents[k], pupil->agents[i]))
        return P_invalid_field;
    json_array_append_new(agents, json_string(pupil->agents[i]));
  }
  *ret_field = "degree_mm";
  if (pupil->degree_mm) {
    if (!pupil->dilated || dec_parse(pupil->degree_mm, &mm) < 0 || mm.exponent < -1 ||
        dec_cmp(mm, (struct dec){1, 0}) < 0 || dec_cmp(mm, (struct dec){12, 0}) > 0)
      return P_invalid_field;
    dec_format(mm, degree);
  }
  _free_cleanup_ char *list = json_dumps(agents, JSON_COMPACT);
  if (!list)
    return P_overloaded;
  int r = store_run(s, "INSERT INTO pupil(study, dilated, agents, degree_mm, at, by) VALUES(?,?,?,?,?,?)", "iittit",
                    study->id, (int64_t)pupil->dilated, list, pupil->degree_mm ? degree : NULL, wall_now().us,
                    caller_person(c));
  return r < 0 ? problem_of_errno(r)
               : study_said(s, c, study, "study.pupil", json_pack("{s:b}", "dilated", (int)pupil->dilated));
}
