#include "conf.h"

#include "log.h"
#include "str.h"
#include <arpa/inet.h>
#include <asalee/record.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 1024

enum kind {
  TEXT,
  PATH,
  NUMBER,
  LISTEN,
  HOSTS,
  VIEWS,
  LEVEL,
  CALIBRATION,
  YES_NO,
  READER,
  SEES_BEFORE,
  SEES_AFTER,
  KINDS
};

/* The words of a key that takes one of a few; the value is the place in the list. */
static const char *const words[KINDS][6] = {
    [LEVEL] = {"error", "warning", "notice", "info", "debug"},
    [CALIBRATION] = {"off", "warn", "refuse"},
    [YES_NO] = {"no", "yes"},
    [READER] = {"gp", "ophthalmologist"},
    [SEES_BEFORE] = {"quality", "acquired"},
    [SEES_AFTER] = {"nothing", "conclusion", "report"},
};

struct key {
  const char *section, *name;
  enum kind kind;
  size_t at, size;   /* within what the section describes: struct conf, conf_device, conf_protocol, conf_act */
  uint32_t min, max; /* of a number; min of a text: 1 = a value is expected */
};

#define FIELD(type, member) offsetof(type, member), sizeof(((type *)0)->member)

static const struct key keys[] = {
    {"daemon", "store", PATH, FIELD(struct conf, store), 0, 0},
    {"daemon", "socket", PATH, FIELD(struct conf, socket), 0, 0},
    {"daemon", "listen", LISTEN, FIELD(struct conf, listen), 0, 0},
    {"daemon", "hosts", HOSTS, FIELD(struct conf, hosts), 0, 0},
    {"daemon", "driver-program", PATH, FIELD(struct conf, driver_program), 0, 0},
    {"daemon", "export-program", PATH, FIELD(struct conf, export_program), 0, 0},
    {"daemon", "devices", PATH, FIELD(struct conf, devices_dir), 0, 0},
    {"daemon", "protocols", PATH, FIELD(struct conf, protocols_dir), 0, 0},
    {"daemon", "messages", PATH, FIELD(struct conf, messages), 0, 0},
    {"daemon", "media", PATH, FIELD(struct conf, media), 0, 0},
    {"daemon", "log-level", LEVEL, FIELD(struct conf, log_level), 0, 0},
    {"daemon", "production", YES_NO, FIELD(struct conf, production), 0, 0},
    {"site", "name", TEXT, FIELD(struct conf, site_name), 0, 0},
    {"site", "finess", TEXT, FIELD(struct conf, site_finess), 0, 0},
    {"accounts", "idle-minutes", NUMBER, FIELD(struct conf, idle_minutes), 1, 24 * 60},
    {"accounts", "login-hours", NUMBER, FIELD(struct conf, login_hours), 1, 7 * 24},
    {"queue", "claim-minutes", NUMBER, FIELD(struct conf, claim_minutes), 1, 24 * 60},
    {"queue", "page-minutes", NUMBER, FIELD(struct conf, page_minutes), 1, 24 * 60},
    {"queue", "remind-hours", NUMBER, FIELD(struct conf, remind_hours), 1, 24 * 365},
    {"retention", "active-months", NUMBER, FIELD(struct conf, active_months), 1, 100 * 12},
    {"retention", "archive-months", NUMBER, FIELD(struct conf, archive_months), 1, 100 * 12},
    {"spirometry", "reference-values", YES_NO, FIELD(struct conf, reference_values), 0, 0},
    {"device", "driver", TEXT, FIELD(struct conf_device, driver), 1, 0},
    {"device", "label", TEXT, FIELD(struct conf_device, label), 1, 0},
    {"device", "usb-serial", TEXT, FIELD(struct conf_device, usb_serial), 1, 0},
    {"device", "port", TEXT, FIELD(struct conf_device, port), 1, 0},
    {"device", "node", PATH, FIELD(struct conf_device, node), 1, 0},
    {"device", "folder", PATH, FIELD(struct conf_device, folder), 1, 0},
    {"device", "folder-poll", NUMBER, FIELD(struct conf_device, folder_poll), 1, 24 * 3600},
    {"device", "stick", YES_NO, FIELD(struct conf_device, stick), 0, 0},
    {"device", "calibration", CALIBRATION, FIELD(struct conf_device, calibration), 0, 0},
    {"device", "calibration-hours", NUMBER, FIELD(struct conf_device, calibration_hours), 1, 24 * 365},
    {"protocol", "label", TEXT, FIELD(struct conf_protocol, label), 1, 0},
    {"protocol", "authorisation", TEXT, FIELD(struct conf_protocol, authorisation), 0, 0},
    {"act", "open", YES_NO, FIELD(struct conf_act, open), 0, 0},
    {"act", "prescribe", YES_NO, FIELD(struct conf_act, prescribe), 0, 0},
    {"act", "perform", YES_NO, FIELD(struct conf_act, perform), 0, 0},
    {"act", "reader", READER, FIELD(struct conf_act, reader), 0, 0},
    {"act", "delay-hours", NUMBER, FIELD(struct conf_act, delay_hours), 1, 24 * 365},
    {"act", "recall-months", NUMBER, FIELD(struct conf_act, recall_months), 0, 120},
    {"act", "nurse-sees-before", SEES_BEFORE, FIELD(struct conf_act, sees_before), 0, 0},
    {"act", "nurse-sees-after", SEES_AFTER, FIELD(struct conf_act, sees_after), 0, 0},
    {"act", "authorisation", TEXT, FIELD(struct conf_act, authorisation), 0, 0},
    {"act", "views", VIEWS, FIELD(struct conf_act, views), 0, 0},
};
#define KEYS (sizeof keys / sizeof *keys)

/* Sections with a name: one a thing, so that its keys may be given again in the next. The others are one each, wherever
 * they go on. */
static const char *const named[] = {"device", "protocol", "act"};

const struct conf_views conf_views_default = {{{"R", "macula"}, {"R", "disc"}, {"L", "macula"}, {"L", "disc"}}, 4};

struct reader {
  struct conf *conf;
  const char *path;
  unsigned line, errors;
  unsigned section_line, protocol_line;
  char section[64];
  void *into;                     /* what the section describes, or NULL when it was refused */
  struct conf_device *device;     /* of the section, or NULL */
  struct conf_protocol *protocol; /* that acts belong to, or NULL */
  struct conf_protocol *refused;  /* the same where it did not become one of the conf's: read for its errors */
  enum acq_modality act;          /* of the section, or 0 */
  bool seen[KEYS];
};

static bool is_named(const char *section) {
  for (size_t i = 0; i < sizeof named / sizeof *named; i++)
    if (!strcmp(named[i], section))
      return true;
  return false;
}

void conf_defaults(struct conf *c) {
  *c = (struct conf){.log_level = LOG_INFO,
                     .production = true,
                     .idle_minutes = 15,
                     .login_hours = 12,
                     .claim_minutes = 30,
                     .page_minutes = 5,
                     .remind_hours = 4,
                     .active_months = 60,
                     .archive_months = 180,
                     .reference_values = true};
  str_copy(c->store, sizeof c->store, "/var/lib/asaleed");
  str_copy(c->socket, sizeof c->socket, "/run/asaleed/api.sock");
  str_copy(c->driver_program, sizeof c->driver_program, "/usr/libexec/asaleed/asaleed-driver");
  str_copy(c->export_program, sizeof c->export_program, "/usr/libexec/asaleed/asaleed-export");
  str_copy(c->devices_dir, sizeof c->devices_dir, "/etc/asaleed/devices.d");
  str_copy(c->protocols_dir, sizeof c->protocols_dir, "/etc/asaleed/protocols.d");
  str_copy(c->messages, sizeof c->messages, "/usr/share/asaleed/messages.fr");
  str_copy(c->media, sizeof c->media, "/run/asaleed-media");
}

void conf_finish(struct conf *c) {
  while (c->n_protocols)
    free(c->protocols[--c->n_protocols]);
}

const struct conf_protocol *conf_protocol(const struct conf *c, const char *id) {
  for (unsigned i = 0; i < c->n_protocols; i++)
    if (!strcmp(c->protocols[i]->id, id))
      return c->protocols[i];
  return NULL;
}

const struct conf_act *conf_act(const struct conf_protocol *p, enum acq_modality act) {
  return act >= ACQ_ECG && act <= ACQ_MEASUREMENT && p->acts[act].open ? &p->acts[act] : NULL;
}

__attribute__((format(printf, 2, 3))) static void wrong(struct reader *r, const char *format, ...) {
  char text[512];
  va_list ap;
  va_start(ap, format);
  vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  fprintf(stderr, "%s:%u: %s\n", r->path, r->line, text);
  r->errors++;
}

bool conf_is_loopback(const char *listen) {
  char host[64];
  const char *colon = strrchr(listen, ':');
  uint64_t port;
  if (!colon || (size_t)(colon - listen) >= sizeof host || str_to_u64(colon + 1, 0, 65535, &port) < 0)
    return false;
  memcpy(host, listen, (size_t)(colon - listen));
  host[colon - listen] = 0;
  struct in_addr v4;
  if (inet_pton(AF_INET, host, &v4) == 1)
    return (ntohl(v4.s_addr) >> 24) == 127;
  return !strcmp(host, "[::1]");
}

static_assert(LOG_DEBUG - LOG_ERROR == 4, "the words of LEVEL are in the order of enum log_level");

static void choose(struct reader *r, const struct key *k, const char *value, int *ret) {
  char expected[128] = "";
  size_t n = 0;
  for (int i = 0; words[k->kind][i]; i++) {
    if (!strcmp(value, words[k->kind][i])) {
      *ret = i + (k->kind == LEVEL ? LOG_ERROR : 0);
      return;
    }
    n += (size_t)snprintf(expected + n, sizeof expected - n, "%s%s",
                          !i                      ? ""
                          : words[k->kind][i + 1] ? ", "
                                                  : " or ",
                          words[k->kind][i]);
  }
  wrong(r, "%s: %s is expected", k->name, expected);
}

bool conf_is_laterality(const char *text) {
  return !strcmp(text, "L") || !strcmp(text, "R");
}

bool conf_is_field(const char *text) {
  return !strcmp(text, "macula") || !strcmp(text, "disc") || !strcmp(text, "other");
}

/* "R:macula" */
static bool view_parse(char *word, struct conf_view *ret) {
  char *colon = strchr(word, ':');
  if (!colon)
    return false;
  *colon = 0;
  return conf_is_laterality(word) && conf_is_field(colon + 1) &&
         str_copy(ret->laterality, sizeof ret->laterality, word) && str_copy(ret->field, sizeof ret->field, colon + 1);
}

static void take_views(struct reader *r, const struct key *k, const char *value) {
  struct conf_views views = {.n = 0};
  if (r->act != ACQ_FUNDUS)
    return wrong(r, "%s: only [act fundus] has views", k->name);
  char text[LINE_MAX_BYTES], *rest = text;
  str_copy(text, sizeof text, value);
  for (char *word; (word = strtok_r(rest, " ", &rest));) {
    struct conf_view view = {0};
    char shown[32];
    snprintf(shown, sizeof shown, "%s", word);
    if (!view_parse(word, &view))
      return wrong(r, "%s: R or L, a colon, and macula, disc or other is expected, not \"%s\"", k->name, shown);
    for (unsigned i = 0; i < views.n; i++) /* other fields there are many */
      if (strcmp(view.field, "other") && !strcmp(views.list[i].laterality, view.laterality) &&
          !strcmp(views.list[i].field, view.field))
        return wrong(r, "%s: %s is given twice", k->name, shown);
    if (views.n == CONF_VIEWS_MAX)
      return wrong(r, "%s: more than %d views", k->name, CONF_VIEWS_MAX);
    views.list[views.n++] = view;
  }
  if (!views.n)
    return wrong(r, "%s: at least one view is expected, as R:macula", k->name);
  r->protocol->acts[ACQ_FUNDUS].views = views;
}

static void take(struct reader *r, const struct key *k, const char *value) {
  char *base = r->into;
  uint64_t number;
  switch (k->kind) {
  case PATH:
    if (*value && *value != '/')
      wrong(r, "%s: an absolute path is expected", k->name);
    /* fallthrough */
  case TEXT:
    if (!*value && k->min)
      wrong(r, "%s: a value is expected", k->name);
    else if (!str_copy(base + k->at, k->size, value))
      wrong(r, "%s: longer than %zu bytes", k->name, k->size - 1);
    break;
  case LISTEN:
    if (*value && !conf_is_loopback(value))
      wrong(r, "%s: a loopback address and port is expected, as 127.0.0.1:8430", k->name);
    else if (!str_copy(base + k->at, k->size, value))
      wrong(r, "%s: longer than %zu bytes", k->name, k->size - 1);
    break;
  case HOSTS:
    if (strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.- ") != strlen(value))
      wrong(r, "%s: names with spaces between them are expected, as asaleed.example, without https:// or port",
            k->name);
    else if (!str_copy(base + k->at, k->size, value))
      wrong(r, "%s: longer than %zu bytes", k->name, k->size - 1);
    break;
  case VIEWS:
    take_views(r, k, value);
    break;
  case NUMBER:
    if (str_to_u64(value, k->min, k->max, &number) < 0)
      wrong(r, "%s: a whole number from %u to %u is expected", k->name, k->min, k->max);
    else
      *(uint32_t *)(void *)(base + k->at) = (uint32_t)number;
    break;
  default:
    choose(r, k, value, (int *)(void *)(base + k->at));
  }
}

static void end_device(struct reader *r) {
  const struct conf_device *d = r->device;
  const bool found = d->usb_serial[0] || d->port[0] || d->node[0] || d->folder[0];
  if (!d->driver[0])
    wrong(r, "[device %s] has no driver: add \"driver = NAME\" (asaleectl drivers)", d->id);
  if (!found)
    wrong(r, "[device %s] has no usb-serial, port, node or folder: one is needed to find the instrument", d->id);
  if (d->folder[0] && (d->stick || d->usb_serial[0] || d->port[0] || d->node[0]))
    wrong(r, "[device %s] has a folder and something else: an instrument has one place", d->id);
  if (d->stick && (d->node[0] || (!d->usb_serial[0] && !d->port[0])))
    wrong(r, "[device %s] is on a stick: usb-serial or port says on which, and nothing else", d->id);
  for (unsigned i = 0; found && i + 1 < r->conf->n_devices; i++) {
    const struct conf_device *other = &r->conf->devices[i];
    /* One place may hold the files of several formats, each for a driver of its own. */
    if (!strcmp(d->usb_serial, other->usb_serial) && !strcmp(d->port, other->port) && !strcmp(d->node, other->node) &&
        !strcmp(d->folder, other->folder) && (!(d->folder[0] || d->stick) || !strcmp(d->driver, other->driver)))
      wrong(r, "[device %s] names the same adapter as [device %s] (%s)", d->id, other->id, other->where);
  }
}

static void end_act(struct reader *r) {
  const struct conf_act *a = &r->protocol->acts[r->act];
  const char *name = acq_modality_name(r->act);
  if (!a->open && (a->prescribe || a->perform))
    wrong(r, "[act %s] is not open, but the nurse may %s it: take that line away, or write \"open = yes\"", name,
          a->prescribe ? "prescribe" : "perform");
  if (a->open && !a->delay_hours)
    wrong(r, "[act %s] has no delay-hours: add \"delay-hours = N\", by when it is to be interpreted", name);
  if (a->reader == CONF_READER_OPHTHALMOLOGIST && r->act != ACQ_FUNDUS)
    wrong(r, "[act %s] is not read by an ophthalmologist: only [act fundus] may be", name);
  if (a->open && r->act == ACQ_FUNDUS && !a->authorisation[0])
    wrong(r, "[act fundus] is open without an authorisation: fundus pictures are not among the acts that ASALEE lets a "
             "nurse perform. Add \"authorisation = TEXT\", the reference of the protocol that lets her do so here, or "
             "write \"open = no\"");
}

/* What is wrong with a section as a whole is said at its first line. */
static void end_section(struct reader *r) {
  const unsigned here = r->line;
  r->line = r->section_line;
  if (r->device)
    end_device(r);
  if (r->act)
    end_act(r);
  r->device = NULL;
  r->act = 0;
  r->into = NULL;
  r->line = here;
}

/* A protocol ends with its last act. */
static void end_protocol(struct reader *r) {
  const struct conf_protocol *p = r->protocol;
  if (!p)
    return;
  const unsigned here = r->line;
  unsigned acts = 0;
  for (enum acq_modality m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++)
    acts += p->acts[m].line != 0;
  r->line = r->protocol_line;
  if (!p->label[0])
    wrong(r, "this protocol has no label: add \"label = NAME\", what people read");
  if (!acts)
    wrong(r, "this protocol has no act: add [act ecg], [act spirometry], [act fundus] or [act measurement] below it");
  free(r->refused);
  r->refused = r->protocol = NULL;
  r->line = here;
}

static void begin_device(struct reader *r, const char *id) {
  if (strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != strlen(id) || !*id) {
    wrong(r, "a device's name has letters, digits, - and _ only");
    return;
  }
  for (unsigned i = 0; i < r->conf->n_devices; i++)
    if (!strcmp(r->conf->devices[i].id, id)) {
      wrong(r, "device %s is already described at %s", id, r->conf->devices[i].where);
      return;
    }
  if (r->conf->n_devices == CONF_DEVICES_MAX) {
    wrong(r, "more than %d devices", CONF_DEVICES_MAX);
    return;
  }
  struct conf_device *d = &r->conf->devices[r->conf->n_devices++];
  *d = (struct conf_device){.calibration = CALIBRATION_WARN, .calibration_hours = 24, .folder_poll = 10};
  if (!str_copy(d->id, sizeof d->id, id))
    wrong(r, "a device's name has at most %zu characters", sizeof d->id - 1);
  str_copy(d->label, sizeof d->label, id);
  snprintf(d->where, sizeof d->where, "%s:%u", r->path, r->line);
  r->into = r->device = d;
}

/* Whether it can be one of the conf's. */
static bool protocol_id_ok(struct reader *r, const char *id) {
  const struct conf_protocol *other = conf_protocol(r->conf, id);
  if (strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(id) || !*id || *id == '-')
    wrong(r, "a protocol's name has lower-case letters, digits and - only, and does not begin with -");
  else if (strlen(id) > CONF_PROTOCOL_ID_MAX)
    wrong(r, "a protocol's name has at most %d characters", CONF_PROTOCOL_ID_MAX);
  else if (other)
    wrong(r, "protocol %s is already described at %s", id, other->where);
  else if (r->conf->n_protocols == CONF_PROTOCOLS_MAX)
    wrong(r, "more than %d protocols", CONF_PROTOCOLS_MAX);
  else
    return true;
  return false;
}

static void begin_protocol(struct reader *r, const char *id) {
  struct conf_protocol *p = calloc(1, sizeof *p);
  if (!p)
    return wrong(r, "out of memory");
  r->protocol_line = r->line;
  r->into = r->protocol = p;
  if (!protocol_id_ok(r, id)) {
    r->refused = p;
    return;
  }
  str_copy(p->id, sizeof p->id, id);
  snprintf(p->where, sizeof p->where, "%s:%u", r->path, r->line);
  r->conf->protocols[r->conf->n_protocols++] = p;
}

static void begin_act(struct reader *r, const char *name) {
  enum acq_modality m = acq_modality_find(name);
  if (!m)
    return wrong(r, "[act %s]: ecg, spirometry, fundus or measurement is expected", name);
  if (!r->protocol)
    return wrong(r, "[act %s] belongs to no protocol: [protocol ID] stands above it in the same file", name);
  struct conf_act *a = &r->protocol->acts[m];
  if (a->line)
    return wrong(r, "[act %s] is given twice in one protocol: the first is at line %u", name, a->line);
  *a = (struct conf_act){.line = r->line, .open = true, .sees_before = CONF_SEES_ACQUIRED};
  if (m == ACQ_FUNDUS)
    a->views = conf_views_default;
  r->act = m;
  r->into = a;
}

static void begin_section(struct reader *r, char *name) {
  end_section(r);
  r->section_line = r->line;
  for (size_t i = 0; i < KEYS; i++)
    if (is_named(keys[i].section))
      r->seen[i] = false;
  char *space = strchr(name, ' ');
  if (space)
    *space = 0;
  bool known = false;
  for (size_t i = 0; i < KEYS; i++)
    known |= !strcmp(keys[i].section, name);
  if (!known || !str_copy(r->section, sizeof r->section, name) || is_named(name) != !!space) {
    wrong(r, "unknown section [%s]%s", name, is_named(name) ? ": a name belongs into it" : "");
    r->section[0] = 0;
    return;
  }
  if (!space)
    r->into = r->conf;
  else if (!strcmp(name, "device"))
    begin_device(r, space + 1);
  else if (!strcmp(name, "act"))
    begin_act(r, space + 1);
  else {
    end_protocol(r);
    begin_protocol(r, space + 1);
  }
}

static char *trim(char *text) {
  text += strspn(text, " \t");
  size_t n = strlen(text);
  while (n && strchr(" \t\r\n", text[n - 1]))
    text[--n] = 0;
  return text;
}

static void read_line(struct reader *r, char *text) {
  char *line = trim(text);
  size_t n = strlen(line);
  if (!n || *line == '#' || *line == ';')
    return;
  if (!str_is_clean_utf8(line, n)) {
    wrong(r, "not UTF-8 text");
    return;
  }
  if (*line == '[') {
    if (line[n - 1] != ']') {
      wrong(r, "a section ends with ]");
      return;
    }
    line[n - 1] = 0;
    begin_section(r, line + 1);
    return;
  }
  char *equals = strchr(line, '=');
  if (!equals) {
    wrong(r, "\"key = value\" is expected");
    return;
  }
  *equals = 0;
  char *name = trim(line), *value = trim(equals + 1);
  if (strstr(value, " #") || strstr(value, " ;")) {
    wrong(r, "%s: a comment stands on a line of its own", name);
    return;
  }
  if (!r->section[0]) {
    wrong(r, "%s stands in no known section", name);
    return;
  }
  if (!r->into)
    return; /* its section was refused already */
  for (size_t i = 0; i < KEYS; i++) {
    if (strcmp(keys[i].section, r->section) || strcmp(keys[i].name, name))
      continue;
    if (r->seen[i])
      wrong(r, "%s is given twice", name);
    r->seen[i] = true;
    take(r, &keys[i], value);
    return;
  }
  wrong(r, "unknown key %s in [%s]", name, r->section);
}

int conf_read(struct conf *c, const char *path, bool missing_ok) {
  FILE *f = fopen(path, "re");
  if (!f) {
    int r = -errno;
    if (r == -ENOENT && missing_ok)
      return 0;
    fprintf(stderr, "%s: %s\n", path, strerrordesc_np(-r));
    return r;
  }
  struct reader r = {.conf = c, .path = path};
  char line[LINE_MAX_BYTES];
  while (fgets(line, sizeof line, f)) {
    if (!r.line++ && !strncmp(line, "\xef\xbb\xbf", 3)) /* some editors put a mark before UTF-8 */
      memmove(line, line + 3, strlen(line + 3) + 1);
    size_t n = strlen(line);
    if (n == sizeof line - 1 && line[n - 1] != '\n') {
      wrong(&r, "a line has at most %d bytes", LINE_MAX_BYTES - 2);
      break;
    }
    if (!n || (line[n - 1] != '\n' && !feof(f))) {
      wrong(&r, "not UTF-8 text");
      break;
    }
    read_line(&r, line);
  }
  int err = ferror(f) ? -errno : 0;
  if (err < 0)
    fprintf(stderr, "%s: %s\n", path, strerrordesc_np(-err));
  end_section(&r);
  end_protocol(&r);
  fclose(f);
  return err < 0 ? err : r.errors ? -EINVAL : 0;
}

static int is_conf(const struct dirent *e) {
  size_t n = strlen(e->d_name);
  return e->d_name[0] != '.' && n > 5 && !strcmp(e->d_name + n - 5, ".conf");
}

static int read_folder(struct conf *c, const char *folder) {
  struct dirent **list;
  int n = scandir(folder, &list, is_conf, alphasort), r = 0;
  if (n < 0 && errno != ENOENT) {
    r = -errno;
    fprintf(stderr, "%s: %s\n", folder, strerrordesc_np(-r));
    return r;
  }
  if (n < 0)
    return 0;
  for (int i = 0; i < n; i++) {
    char path[CONF_PATH_MAX + 272];
    snprintf(path, sizeof path, "%s/%s", folder, list[i]->d_name);
    int one = conf_read(c, path, false);
    r = r < 0 ? r : one;
    free(list[i]);
  }
  free(list);
  return r;
}

int conf_read_devices(struct conf *c) {
  return read_folder(c, c->devices_dir);
}

int conf_read_protocols(struct conf *c) {
  return read_folder(c, c->protocols_dir);
}
