/* What belongs to retinography: which eye and field a picture shows, the pupil, the views, the pictures themselves. */
#include "ctl.h"

#include "hash.h"
#include "str.h"
#include <asalee/export.h>
#include <errno.h>
#include <string.h>

/* ---- a study's retinography ---- */

static const struct {
  const char *name, *label;
} agents[] = {
#define X(name_, code, meaning, label_) {name_, label_},
    EXPORT_AGENTS(X)
#undef X
};
#define AGENTS (sizeof agents / sizeof *agents)

static void print_pupil(FILE *f, const json_t *pupil) {
  char text[256], number[DEC_TEXT_MAX];
  const json_t *list = json_object_get(pupil, "agents");
  const char *degree = json_text(pupil, "degree_mm");
  if (!json_is_object(pupil) || !json_is_true(json_object_get(pupil, "dilated"))) {
    print_field(f, "Pupille", json_is_object(pupil) ? "non dilatée" : "à indiquer (asaleectl pupil)");
    return;
  }
  size_t n = (size_t)snprintf(text, sizeof text, "dilatée");
  for (size_t i = 0; i < json_array_size(list) && n < sizeof text; i++) {
    const char *name = json_string_value(json_array_get(list, i));
    for (size_t k = 0; name && k < AGENTS; k++)
      if (!strcmp(agents[k].name, name))
        name = agents[k].label;
    n += (size_t)snprintf(text + n, sizeof text - n, "%s %s", i ? "," : " par", name ? name : "?");
  }
  print_fieldf(f, "Pupille", "%s%s%s%s", text, degree ? ", " : "", degree ? french_number(degree, number) : "",
               degree ? " mm" : "");
}

static void print_labels(FILE *f, const json_t *pictures) {
  static const char *const heads[] = {"Image", "Ce qu'elle montre", "Motif", NULL};
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(pictures); i++) {
    const json_t *picture = json_array_get(pictures, i);
    const char *record = json_text(picture, "record"), *number = show_int(picture, "picture"),
               *label = json_text(picture, "label");
    table_addf(&t, "%s/%s", record ? record : "?", number ? number : "?");
    const char *instrument = json_text(picture, "instrument"), *eye = json_text(picture, "laterality");
    table_addf(&t, "%s%s", label ? label : "à indiquer (asaleectl label)",
               !instrument || (eye && !strcmp(eye, instrument)) ? ""
               : strcmp(instrument, "L")                        ? " (œil droit selon l'appareil)"
                                                                : " (œil gauche selon l'appareil)");
    table_add(&t, json_text(picture, "excluded"));
  }
  fputc('\n', f);
  table_print(&t, f, "Aucune image.");
  table_finish(&t);
}

static void print_views(FILE *f, const json_t *views) {
  static const char *const heads[] = {"Vue du protocole", "Image", NULL};
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(views); i++) {
    const json_t *view = json_array_get(views, i);
    const char *picture = json_text(view, "picture");
    table_add(&t, json_text(view, "text"));
    table_add(&t, picture ? picture : "MANQUE");
  }
  fputc('\n', f);
  table_print(&t, f, "Aucune vue.");
  table_finish(&t);
}

/* "A ; B" under a label, nothing for an empty list. */
static void print_texts(FILE *f, const char *label, const json_t *texts) {
  _buf_cleanup_ struct buf b = BUF_INIT(1u << 16);
  for (size_t i = 0; i < json_array_size(texts); i++) {
    const char *text = json_string_value(json_array_get(texts, i));
    buf_format(&b, "%s%s", i ? " ; " : "", text ? text : "?");
  }
  if (b.len)
    print_field(f, label, buf_cstr(&b));
}

void print_fundus(FILE *f, const json_t *study) {
  const json_t *fundus = json_object_get(study, "fundus");
  if (!json_is_object(fundus))
    return;
  print_labels(f, json_object_get(fundus, "pictures"));
  print_views(f, json_object_get(fundus, "views"));
  fputc('\n', f);
  print_pupil(f, json_object_get(fundus, "pupil"));
  print_texts(f, "Vues manquantes", json_object_get(fundus, "missing"));
  print_texts(f, "Vues en double", json_object_get(fundus, "repeated"));
}

/* ---- what the nurse says ---- */

/* PUT /v1/studies/<id>/<what>; prints what there is then. */
static int put_study(struct ctl *c, json_t *body, const char *what) {
  _answer_cleanup_ struct api_answer a = {0};
  char target[128];
  snprintf(target, sizeof target, "/v1/studies/%s/%s", c->args[0], what);
  struct api_request request = {.method = "PUT", .target = target, .body = body};
  int r = api_call(c, &request, &a);
  if (r == CTL_OK && !api_json(c, &a))
    print_fundus(c->out, a.json);
  return r;
}

int cmd_label(struct ctl *c) {
  const char *reason = ctl_option(c, "leave-out"), *eye = c->args[2], *field = c->args[3];
  char record[STR_REF_MAX];
  uint64_t number = 0;
  if (!reason == !eye)
    return ctl_usage(c, "il faut EYE et FIELD, ou --leave-out REASON (voir asaleectl label --help)");
  size_t n = strcspn(c->args[1], "/");
  snprintf(record, sizeof record, "%.*s", (int)n, c->args[1]);
  str_to_u64(c->args[1] + n + 1, 1, UINT32_MAX, &number);
  json_t *label = json_pack("{s:s, s:I}", "record", record, "picture", (json_int_t)number);
  if (reason) {
    json_object_set_new(label, "exclude", json_string(reason));
  } else {
    const bool right = !strcmp(eye, "right") || !strcmp(eye, "droit") || !strcmp(eye, "R");
    json_object_set_new(label, "laterality", json_string(right ? "R" : "L"));
    json_object_set_new(label, "field",
                        json_string(!strcmp(field, "papille") ? "disc"
                                    : !strcmp(field, "autre") ? "other"
                                                              : field));
  }
  return put_study(c, json_pack("{s:[o]}", "pictures", label), "pictures");
}

/* "tropicamide,phenylephrine", to a list; NULL for another name. */
static json_t *agents_list(const char *text) {
  json_t *list = json_array();
  for (const char *p = text; p;) {
    size_t n = strcspn(p, ","), k = 0;
    while (k < AGENTS && (strncmp(agents[k].name, p, n) != 0 || strlen(agents[k].name) != n))
      k++;
    if (k == AGENTS) {
      json_decref(list);
      return NULL;
    }
    json_array_append_new(list, json_string(agents[k].name));
    p = p[n] ? p + n + 1 : NULL;
  }
  return list;
}

int cmd_pupil(struct ctl *c) {
  const char *dilated = ctl_option(c, "dilated"), *degree = ctl_option(c, "degree");
  json_t *list = dilated ? agents_list(dilated) : NULL;
  if (dilated && !list)
    return ctl_usage(c,
                     "--dilated : les collyres possibles sont tropicamide, phenylephrine, cyclopentolate et atropine,"
                     " séparés par des virgules");
  if (!dilated && degree)
    return ctl_usage(c, "--degree : le diamètre est celui d'une pupille dilatée (--dilated)");
  json_t *body = json_pack("{s:b, s:o*, s:s*}", "dilated", dilated != NULL, "agents", list, "degree_mm", degree);
  return put_study(c, body, "pupil");
}

/* ---- pictures ---- */

/* The hash that the record gives of a picture or of its preview; NULL. */
static const char *expected_hash(const json_t *record, uint64_t number, bool preview) {
  const json_t *pictures = json_object_get(json_object_get(record, "acquired"), "pictures");
  for (size_t i = 0; i < json_array_size(pictures); i++) {
    const json_t *picture = json_array_get(pictures, i);
    if ((uint64_t)json_integer_value(json_object_get(picture, "number")) == number)
      return json_text(preview ? json_object_get(picture, "preview") : picture, "sha256");
  }
  return NULL;
}

/* Written after comparing it with the hash in the record. */
int cmd_picture(struct ctl *c) {
  _answer_cleanup_ struct api_answer record = {0}, a = {0};
  const char *path = ctl_option(c, "out");
  const bool preview = ctl_option(c, "preview") != NULL;
  char target[128], hash[HASH_TEXT];
  int r = ctl_may_write(c, path);
  if (r == CTL_OK)
    r = api_get(c, &record, "/v1/records/%s", c->args[0]);
  if (r != CTL_OK)
    return r;
  snprintf(target, sizeof target, "/v1/records/%s/%s?n=%s", c->args[0], preview ? "preview" : "picture", c->args[1]);
  struct api_request request = {
      .method = "GET", .target = target, .bytes = "image/jpeg, image/png, image/tiff, application/octet-stream"};
  r = api_call(c, &request, &a);
  if (r != CTL_OK)
    return r;
  uint64_t number = 0;
  str_to_u64(c->args[1], 1, UINT32_MAX, &number);
  const char *expected = expected_hash(json_object_get(record.json, "record"), number, preview);
  hash_sha256_text(a.body.data, a.body.len, hash);
  if (!expected || strcmp(expected, hash) != 0) {
    ctl_say(c, "l'image %s de %s n'est pas celle de l'enregistrement : rien n'est écrit (artefact_corrupt)", c->args[1],
            c->args[0]);
    return CTL_REFUSED;
  }
  r = ctl_write(c, path, a.body.data, a.body.len);
  if (r == CTL_OK && strcmp(path, "-") && !c->json)
    print_field(c->out, "Image dans", path);
  return r;
}
