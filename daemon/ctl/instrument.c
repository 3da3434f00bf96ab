/* status, devices, drivers. */
#include "ctl.h"

#include <string.h>

int cmd_status(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/health");
  if (r != CTL_OK || api_json(c, &a))
    return r;
  const json_t *devices = json_object_get(a.json, "devices");
  const char *status = json_text(a.json, "status"), *bound = show_int(devices, "bound");
  print_field(c->out, "asaleed", status && !strcmp(status, "ok") ? "en marche" : status);
  print_field(c->out, "Version", json_text(a.json, "version"));
  print_field(c->out, "Stockage", say_store(json_text(a.json, "store")));
  print_fieldf(c->out, "Appareils", "branchés : %s, déclarés : %s",
               show_int(devices, "present") ? show_int(devices, "present") : "?", bound ? bound : "?");
  print_field(c->out, "Acquisitions", show_int(a.json, "acquiring"));
  return CTL_OK;
}

static bool is_bound(const json_t *device) {
  return json_is_true(json_object_get(device, "bound"));
}

/* "ECG, mesure" */
static void add_modalities(struct table *t, const json_t *d) {
  _buf_cleanup_ struct buf b = BUF_INIT(4096);
  const json_t *list = json_object_get(d, "modalities");
  for (size_t i = 0; i < json_array_size(list); i++) {
    const char *modality = json_string_value(json_array_get(list, i));
    if (modality)
      buf_format(&b, "%s%s", b.len ? ", " : "", say_modality(modality));
  }
  table_add(t, buf_cstr(&b));
}

static void add_device(struct table *t, const json_t *d) {
  const char *state = !json_is_true(json_object_get(d, "present")) ? "absent"
                      : json_is_true(json_object_get(d, "busy"))   ? "occupé"
                                                                   : "prêt";
  table_add(t, json_text(d, "id"));
  table_add(t, json_text(d, "label"));
  table_add(t, state);
  add_modalities(t, d);
  table_add(t, json_text(d, "driver"));
  table_add(t, say_maturity(json_text(d, "maturity")));
  table_add(t, json_text(d, "node"));
  table_add(t, json_text(d, "serial"));
}

/* The hint is lines to copy into a file: they are printed as they are, each after a margin. */
static void print_hint(FILE *f, const char *hint) {
  _buf_cleanup_ struct buf b = BUF_INIT(65536);
  clean_text(&b, hint, strlen(hint), true);
  for (const char *p = buf_cstr(&b); p && *p;) {
    size_t n = strcspn(p, "\n");
    fprintf(f, "    %.*s\n", (int)n, p);
    p += n + (p[n] != 0);
  }
}

int cmd_devices(struct ctl *c) {
  static const char *const heads[] = {"Id", "Appareil", "État", "Type", "Pilote", "Maturité", "Nœud", "Série", NULL};
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/devices");
  if (r != CTL_OK || api_json(c, &a))
    return r;
  struct table t;
  table_init(&t, heads);
  const json_t *items = json_object_get(a.json, "items");
  for (size_t i = 0; i < json_array_size(items); i++)
    if (is_bound(json_array_get(items, i)))
      add_device(&t, json_array_get(items, i));
  table_print(&t, c->out, "Aucun appareil n'est déclaré : voir /etc/asaleed/devices.d/example.conf.");
  table_finish(&t);
  for (size_t i = 0; i < json_array_size(items); i++) {
    const json_t *d = json_array_get(items, i);
    if (is_bound(d))
      continue;
    const char *label = json_text(d, "label"), *hint = json_text(d, "hint");
    fputs("\nNon attribué : ", c->out);
    print_text(c->out, label ? label : json_text(d, "node"));
    fputs(", ", c->out);
    print_text(c->out, json_text(d, "node"));
    fputs(hint ? "\n  à ajouter dans un fichier de devices.d si c'est cet appareil :\n" : "\n", c->out);
    if (hint)
      print_hint(c->out, hint);
  }
  return CTL_OK;
}

/* How the instrument is connected, said by the daemon ("binds") or put together from the driver's own "match". */
static void add_binds(struct buf *b, const json_t *driver) {
  const json_t *binds = json_object_get(driver, "binds"), *match = json_object_get(driver, "match");
  for (size_t i = 0; i < json_array_size(binds); i++) {
    const char *bind = json_string_value(json_array_get(binds, i));
    if (bind)
      buf_format(b, "%s%s", b->len ? ", " : "", bind);
  }
  for (size_t i = 0; !binds && i < json_array_size(match); i++) {
    const json_t *m = json_array_get(match, i);
    const char *bus = json_text(m, "bus"), *pattern = json_text(m, "pattern");
    int64_t vendor, product;
    buf_format(b, "%s%s", b->len ? ", " : "", bus ? bus : "?");
    if (json_int(m, "vendor", 1, 0xffff, &vendor) == 0 && json_int(m, "product", 0, 0xffff, &product) == 0)
      buf_format(b, " %04x:%04x", (unsigned)vendor, (unsigned)product);
    else if (pattern && *pattern)
      buf_format(b, " %s", pattern);
  }
}

static const char *limit(const json_t *driver, const char *key) {
  const char *seconds = show_int(driver, key);
  seconds = seconds ? seconds : show_int(json_object_get(driver, "limits"), key);
  return seconds ? seconds : "?";
}

static void add_driver(struct table *t, const json_t *d) {
  _buf_cleanup_ struct buf b = BUF_INIT(4096);
  add_binds(&b, d);
  table_add(t, json_text(d, "name"));
  table_add(t, json_text(d, "version"));
  table_add(t, json_text(d, "label"));
  add_modalities(t, d);
  table_add(t, say_maturity(json_text(d, "maturity")));
  table_add(t, json_text(d, "integrity"));
  table_addf(t, "%s s (%s au plus)", limit(d, "default_seconds"), limit(d, "max_seconds"));
  table_add(t, buf_cstr(&b));
}

int cmd_drivers(struct ctl *c) {
  static const char *const heads[] = {"Pilote",   "Version", "Appareil",    "Type", "Maturité",
                                      "Contrôle", "Durée",   "Branchement", NULL};
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/drivers");
  if (r != CTL_OK || api_json(c, &a))
    return r;
  struct table t;
  table_init(&t, heads);
  const json_t *items = json_object_get(a.json, "items");
  for (size_t i = 0; i < json_array_size(items); i++)
    add_driver(&t, json_array_get(items, i));
  table_print(&t, c->out, "Aucun pilote.");
  table_finish(&t);
  return CTL_OK;
}
