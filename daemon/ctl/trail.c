/* The audit trail, and the sequence of changes. */
#include "ctl.h"

#include "audit_line.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define YEAR_9999 (253370764800 * WALL_SECOND)

/* ---- rows --------------------------------------------------------------------------------------------------- */

static void add_row(struct table *t, const json_t *row) {
  char *detail = json_canonical(json_object_get(row, "detail"), NULL);
  table_add(t, show_int(row, "seq"));
  table_add(t, show_time(json_text(row, "at")));
  table_add(t, json_text(row, "actor"));
  table_add(t, json_text(row, "acting_for"));
  table_add(t, json_text(row, "action"));
  table_add(t, json_text(row, "subject"));
  table_add(t, json_is_true(json_object_get(row, "archived")) ? "archivée (voir audit export)"
               : detail && strcmp(detail, "{}")               ? detail
                                                              : NULL);
  free(detail);
}

static int list_rows(struct ctl *c, const char *target, const char *empty) {
  static const char *const heads[] = {"N°", "Le", "Qui", "Pour", "Action", "Objet", "Détail", NULL};
  struct table t;
  bool more = false;
  table_init(&t, heads);
  int r = api_pages(c, target, ctl_number(c, "limit", 50), add_row, &t, &more);
  return print_list(c, &t, r, more, empty);
}

int cmd_audit_list(struct ctl *c) {
  return list_rows(c, "/v1/audit", "Le journal est vide.");
}

int cmd_audit_who_saw(struct ctl *c) {
  char target[128];
  snprintf(target, sizeof target, "/v1/audit/who-saw/%s", c->args[0]);
  return list_rows(c, target, "Le journal ne dit rien de ce patient.");
}

/* ---- is it whole? ------------------------------------------------------------------------------------------- */

static const char *say_sealed(const char *table) {
  return !strcmp(table, "sqlite_schema")     ? "le schéma de la base"
         : !strcmp(table, "sqlite_sequence") ? "les compteurs de la base"
         : !strcmp(table, "seal")            ? "le sceau lui-même"
                                             : table;
}

/* What the daemon says of its own trail. */
struct verdict {
  bool ok, sealed, consistent;
  const char *broken_at, *table; /* NULL: the chain is whole; the seal holds */
};

static bool read_verdict(const json_t *a, struct verdict *v) {
  const json_t *ok = json_object_get(a, "ok"), *sealed = json_object_get(a, "sealed"),
               *consistent = json_object_get(a, "consistent"), *at = json_object_get(a, "broken_at");
  *v = (struct verdict){.ok = json_is_true(ok),
                        .sealed = json_is_true(sealed),
                        .consistent = json_is_true(consistent),
                        .broken_at = show_int(a, "broken_at"),
                        .table = json_text(a, "table")};
  return json_is_boolean(ok) && json_is_boolean(sealed) && json_is_boolean(consistent) &&
         (v->broken_at || json_is_null(at)) && v->sealed == !v->table &&
         v->ok == (!v->broken_at && v->sealed && v->consistent);
}

static void print_verdict(FILE *f, const json_t *a, const struct verdict *v) {
  const char *said[] = {"first", "last", "rows", "archived", "erased", "heads"};
  for (size_t i = 0; i < sizeof said / sizeof *said; i++)
    said[i] = known(show_int(a, said[i]));
  if (v->broken_at)
    print_fieldf(f, "Journal", "ROMPU à la ligne %s", v->broken_at);
  else
    print_field(f, "Journal", "intact");
  print_fieldf(f, "Lignes", "%s à %s (dans la base : %s, archivées : %s, effacées à l'échéance : %s)", said[0], said[1],
               said[2], said[3], said[4]);
  print_field(f, "Signatures", said[5]);
  print_field(f, "Empreinte", json_text(a, "head"));
  if (v->table)
    print_fieldf(f, "Sceau", "ROMPU : %s", say_sealed(v->table));
  else
    print_field(f, "Sceau", "intact");
  print_field(f, "Base", v->consistent ? "cohérente" : "INCOHÉRENTE");
}

/* The daemon looks at millions of rows before it answers, and gives up after half an hour by itself. */
static void wait_long(struct ctl *c) {
  c->client.timeout_ms = 35 * 60 * 1000;
}

static int verify_daemon(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  struct verdict v;
  wait_long(c);
  int r = api_get(c, &a, "/v1/audit/verify");
  if (r != CTL_OK)
    return r;
  if (!read_verdict(a.json, &v))
    return api_unreached(c, -EPROTO, false);
  if (!api_json(c, &a))
    print_verdict(c->out, a.json, &v);
  if (v.broken_at)
    ctl_say(c, "le journal est rompu à la ligne %s (audit_broken)", v.broken_at);
  if (v.table)
    ctl_say(c, "modifié autrement que par le service : %s (seal_broken)", say_sealed(v.table));
  if (!v.consistent)
    ctl_say(c, "les pages, les index ou les renvois de la base ne s'accordent pas (store_inconsistent)");
  if (!v.ok)
    ctl_say(c, "garder la base en l'état et prévenir l'éditeur");
  return v.ok ? CTL_OK : CTL_REFUSED;
}

/* ---- an export, judged here --------------------------------------------------------------------------------- */

static ssize_t read_fd(void *arg, void *bytes, size_t n) {
  const int *fd = arg;
  ssize_t got;
  do
    got = read(*fd, bytes, n);
  while (got < 0 && errno == EINTR);
  return got < 0 ? -errno : got;
}

/* Rows are there, and no signature is about any of them. */
static bool is_unsigned(const struct audit_lines_check *k) {
  return k->last >= k->first && !k->heads;
}

static void print_check(struct ctl *c, const struct audit_lines_check *k, bool trusted) {
  if (k->ok)
    print_field(c->out, "Journal", "intact");
  else
    print_fieldf(c->out, "Journal", "ROMPU à la ligne %lld du fichier", (long long)k->broken_line);
  print_fieldf(c->out, "Lignes", "%lld à %lld (présentes : %lld, effacées à l'échéance : %lld)", (long long)k->first,
               (long long)k->last, (long long)k->rows, (long long)k->erased);
  if (k->heads)
    print_fieldf(c->out, "Signatures", "%lld, la dernière pour la ligne %lld", (long long)k->heads,
                 (long long)k->signed_to);
  else
    print_field(c->out, "Signatures", "aucune");
  print_field(c->out, "Empreinte", k->head);
  print_field(c->out, "Clé du site", k->public_key);
  if (!k->ok)
    return;
  if (k->last > k->signed_to && k->last >= k->first)
    fprintf(c->out, "\nAucune signature du site ne couvre encore les lignes %lld à %lld.\n",
            (long long)(k->heads ? k->signed_to + 1 : k->first), (long long)k->last);
  if (!trusted)
    fputs("\nLa clé du site est celle que le fichier indique : la comparer à celle que le site a donnée "
          "(--site-key).\n",
          c->out);
}

static int print_check_json(struct ctl *c, const struct audit_lines_check *k, bool trusted) {
  _json_cleanup_ json_t *verdict =
      json_pack("{s:o, s:I, s:I, s:s, s:I, s:I, s:b, s:s, s:I, s:I, s:b}", "broken_line",
                k->broken_line ? json_integer(k->broken_line) : json_null(), "erased", (json_int_t)k->erased, "first",
                (json_int_t)k->first, "head", k->head, "heads", (json_int_t)k->heads, "last", (json_int_t)k->last, "ok",
                (int)k->ok, "public_key", k->public_key, "rows", (json_int_t)k->rows, "signed_to",
                (json_int_t)k->signed_to, "site_key_given", (int)trusted);
  size_t n;
  _free_cleanup_ char *text = json_canonical(verdict, &n);
  if (!text)
    return -ENOMEM;
  print_json(c->out, text, n, c->tty);
  return 0;
}

/* `key` is the site's as hexadecimal digits, or NULL. */
static int tell_check(struct ctl *c, const char *path, const struct audit_lines_check *k, const char *key) {
  if (!c->json)
    print_check(c, k, key != NULL);
  else if (print_check_json(c, k, key != NULL) < 0) {
    ctl_say(c, "mémoire insuffisante");
    return CTL_REFUSED;
  }
  if (key && strcmp(key, k->public_key))
    ctl_say(c, "%s vient d'un autre site que celui dont la clé est donnée (audit_site)", path);
  else if (!k->ok)
    ctl_say(c, "%s n'est pas tel que le site l'a remis : il est rompu à sa ligne %lld (audit_broken)", path,
            (long long)k->broken_line);
  else if (key && is_unsigned(k))
    ctl_say(c, "%s n'a aucune signature : rien n'y prouve qu'il vient de ce site (audit_unsigned)", path);
  else
    return CTL_OK;
  return CTL_REFUSED;
}

/* What cannot be judged was told. */
static int check_fd(struct ctl *c, const char *path, int fd, const char *key, struct audit_lines_check *ret) {
  uint8_t site[SIGNATURE_PUBLIC];
  const bool known_key = key && str_unhex(key, site, sizeof site);
  int r = audit_lines_verify(read_fd, &fd, known_key ? site : NULL, ret);
  if (r == 0)
    return CTL_OK;
  if (r != -EPROTO && r != -ENOMEM)
    return ctl_usage(c, "%s : lecture impossible (%s)", path, strerrordesc_np(-r));
  ctl_say(c, r == -ENOMEM ? "%s : mémoire insuffisante" : "%s n'est pas un export du journal (audit_form)", path);
  return CTL_REFUSED;
}

static int verify_file(struct ctl *c, const char *path) {
  const char *key = ctl_option(c, "site-key");
  const bool standard = !strcmp(path, "-");
  _fd_cleanup_ int own = standard ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (!standard && own < 0)
    return ctl_usage(c, "%s : lecture impossible (%s)", path, strerrordesc_np(errno));
  struct audit_lines_check check;
  int r = check_fd(c, path, standard ? STDIN_FILENO : own, key, &check);
  return r == CTL_OK ? tell_check(c, path, &check, key) : r;
}

int cmd_audit_verify(struct ctl *c) {
  const char *path = ctl_option(c, "file");
  if (!path && ctl_option(c, "site-key"))
    return ctl_usage(c, "--site-key demande --file FILE");
  return path ? verify_file(c, path) : verify_daemon(c);
}

/* ---- what is kept elsewhere --------------------------------------------------------------------------------- */

int cmd_audit_head(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  const bool sign = ctl_option(c, "sign");
  struct api_request request = {
      .method = sign ? "POST" : "GET", .target = "/v1/audit/head", .body = sign ? json_object() : NULL, .quiet = true};
  int r = api_call(c, &request, &a);
  if (r == CTL_REFUSED && a.status == 404) {
    ctl_say(c, sign ? "le journal est vide : il n'y a rien à signer (not_found)"
                    : "le journal n'a pas encore de signature : asaleectl audit head --sign (not_found)");
    return r;
  }
  if (r == CTL_REFUSED)
    return api_refused(c, &a);
  if (r != CTL_OK)
    return r == CTL_UNREACHED ? api_unreached(c, a.err, sign) : r;
  const json_t *head = json_object_get(a.json, "head");
  char at[WALL_TEXT_MAX];
  int64_t us;
  if (json_int(head, "at", 0, YEAR_9999, &us) < 0)
    return api_unreached(c, -EPROTO, false);
  if (api_json(c, &a))
    return CTL_OK;
  wall_format(wall_local(us), at);
  print_field(c->out, "Ligne", show_int(head, "seq"));
  print_field(c->out, "Écrite le", show_time(at));
  print_field(c->out, "Empreinte", json_text(head, "hash"));
  print_field(c->out, "Signature", json_text(head, "signature"));
  print_field(c->out, "Clé du site", json_text(head, "key"));
  fputs("\nÀ garder ailleurs que sur cette machine ; --json en donne la ligne, qu'un export contient telle quelle.\n",
        c->out);
  return CTL_OK;
}

struct export {
  FILE *out; /* or NULL: */
  struct ctl_file file;
  int err; /* of writing */
};

static int on_bytes(void *userdata, const uint8_t *bytes, size_t n) {
  struct export *x = userdata;
  if (!x->out)
    x->err = fd_write_all(x->file.fd, bytes, n);
  else if (fwrite(bytes, 1, n, x->out) != n)
    x->err = errno ? -errno : -EIO;
  return x->err;
}

static int fetch_export(struct ctl *c, struct export *x, const char *path) {
  _answer_cleanup_ struct api_answer a = {0};
  _buf_cleanup_ struct buf target = BUF_INIT(256);
  struct ctl_interrupt interrupt;
  buf_text(&target, "/v1/audit/export");
  api_query(&target, "from", ctl_option(c, "from"));
  struct api_request request = {.method = "GET",
                                .target = buf_cstr(&target),
                                .bytes = "application/x-ndjson",
                                .sink = on_bytes,
                                .userdata = x,
                                .quiet = true};
  int r = ctl_interrupt_open(c, &interrupt);
  if (r != CTL_OK)
    return r;
  c->client.wake_fd = interrupt.fd;
  wait_long(c);
  r = api_call(c, &request, &a);
  ctl_interrupt_close(c, &interrupt);
  if (r == CTL_REFUSED)
    return api_refused(c, &a);
  if (r == CTL_UNREACHED && x->err < 0)
    return ctl_usage(c, "%s : écriture impossible (%s)", path, strerrordesc_np(-x->err));
  if (r == CTL_UNREACHED && a.err == -ECANCELED) {
    ctl_say(c, "interrompu : l'export n'est pas complet");
    return CTL_REFUSED;
  }
  return r == CTL_UNREACHED ? api_unreached(c, a.err, false) : r;
}

/* Kept as it came, whole: also where it does not hold, as it then is what an investigation needs. */
static int keep_export(struct ctl *c, struct export *x, const char *path) {
  struct audit_lines_check check;
  if (lseek(x->file.fd, 0, SEEK_SET) < 0)
    return ctl_usage(c, "%s : lecture impossible (%s)", path, strerrordesc_np(errno));
  int r = check_fd(c, path, x->file.fd, NULL, &check);
  if (r == CTL_OK)
    r = ctl_file_commit(c, &x->file, NULL, 0);
  if (r != CTL_OK)
    return r;
  if (!c->json)
    print_field(c->out, "Export dans", path);
  return tell_check(c, path, &check, NULL);
}

int cmd_audit_export(struct ctl *c) {
  const char *path = c->args[0];
  const bool standard = !strcmp(path, "-");
  struct export x = {.out = standard ? c->out : NULL, .file.fd = -1};
  int r = ctl_may_write(c, path);
  if (r == CTL_OK && !standard)
    r = ctl_file_open(c, &x.file, path);
  if (r != CTL_OK)
    return r;
  r = fetch_export(c, &x, path);
  if (r == CTL_OK && !standard)
    r = keep_export(c, &x, path);
  ctl_file_drop(&x.file);
  return r;
}

/* ---- older rows --------------------------------------------------------------------------------------------- */

/* The first instant of a day, here; any other time is as it was given. */
static const char *archive_before(struct ctl *c, char text[static WALL_TEXT_MAX]) {
  const char *before = ctl_option(c, "before");
  if (!wall_is_date(before))
    return before;
  struct tm tm = {.tm_mday = (int)strtol(before + 8, NULL, 10),
                  .tm_mon = (int)strtol(before + 5, NULL, 10) - 1,
                  .tm_year = (int)strtol(before, NULL, 10) - 1900,
                  .tm_isdst = -1};
  time_t at = mktime(&tm);
  if (at < 0)
    return NULL;
  wall_format(wall_local((int64_t)at * WALL_SECOND), text);
  return text;
}

/* Each answer is one archive, and told as it comes. */
int cmd_audit_archive(struct ctl *c) {
  char text[WALL_TEXT_MAX];
  const char *before = archive_before(c, text);
  int64_t rows = 0, total = 0;
  bool more;
  if (!before)
    return ctl_usage(c, "--before : une date depuis 1970 est attendue");
  wait_long(c);
  do {
    _answer_cleanup_ struct api_answer a = {0};
    int r = api_post(c, json_pack("{s:s}", "before", before), &a, "/v1/audit/archive");
    if (r != CTL_OK)
      return r;
    more = json_is_true(json_object_get(a.json, "more"));
    if (json_int(a.json, "rows", more, INT64_MAX, &rows) < 0)
      return api_unreached(c, -EPROTO, true);
    total += rows;
    if (!api_json(c, &a) && rows)
      print_fieldf(c->out, "Archive", "%s (%lld lignes)", known(json_text(a.json, "artefact")), (long long)rows);
    fflush(c->out);
  } while (more);
  if (!c->json)
    print_fieldf(c->out, "Lignes", "%lld", (long long)total);
  return CTL_OK;
}

int cmd_audit_erase(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_post(c, NULL, &a, "/v1/audit/erase");
  if (r == CTL_OK && !api_json(c, &a))
    print_field(c->out, "Lignes effacées", show_int(a.json, "rows"));
  return r;
}

/* ---- changes ------------------------------------------------------------------------------------------------ */

/* The sequence has no cursor: each answer says where the next begins. */
int cmd_changes(struct ctl *c) {
  static const char *const heads[] = {"N°", "Le", "Objet", "Id", "État", NULL};
  uint64_t since = ctl_number(c, "since", 0), left = ctl_number(c, "limit", UINT64_MAX);
  struct table t;
  table_init(&t, heads);
  int r = CTL_OK;
  size_t n = 0;
  bool first = true;
  do {
    _answer_cleanup_ struct api_answer a = {0};
    int64_t next;
    r = api_get(c, &a, "/v1/changes?since=%llu&limit=%d", (unsigned long long)since, left < 200 ? (int)left : 200);
    if (r != CTL_OK)
      break;
    const json_t *items = json_object_get(a.json, "items");
    if (!json_is_array(items) || json_int(a.json, "next_since", 0, INT64_MAX, &next) < 0 ||
        (json_array_size(items) && (uint64_t)next <= since)) {
      r = api_unreached(c, -EPROTO, false);
      break;
    }
    n = json_array_size(items);
    if (n || first)
      api_json(c, &a);
    first = false;
    for (size_t i = 0; i < n && !c->json; i++) {
      const json_t *item = json_array_get(items, i);
      table_add(&t, show_int(item, "seq"));
      table_add(&t, show_time(json_text(item, "at")));
      table_add(&t, say_kind(json_text(item, "kind")));
      table_add(&t, json_text(item, "id"));
      table_add(&t, say_state(json_text(item, "state")));
    }
    left -= n < left ? n : left;
    since = (uint64_t)next;
  } while (n && left);
  if (r == CTL_OK && !c->json) {
    table_print(&t, c->out, "Aucun changement.");
    fprintf(c->out, "Suite : --since %llu\n", (unsigned long long)since);
  }
  table_finish(&t);
  return r;
}
