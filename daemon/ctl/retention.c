/* Patients whose time is over: who they are, their archive as a file, their erasure. */
#include "ctl.h"

#include "hash.h"
#include "str.h"
#include "wall.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define LIST_DEFAULT 50
#define STEP_MS 1000
#define TAR_BLOCK 512u

int cmd_retention_list(struct ctl *c) {
  static const char *const due_heads[] = {"Patient", "Dernier contact", NULL};
  static const char *const erased_heads[] = {"Patient", "Effacé le", "Par", "Archive à détruire le", "Archive", NULL};
  _answer_cleanup_ struct api_answer a = {0};
  const uint64_t limit = ctl_number(c, "limit", LIST_DEFAULT);
  int r = api_get(c, &a, "/v1/retention?limit=%llu", (unsigned long long)limit);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  const json_t *due = json_object_get(a.json, "due"), *erased = json_object_get(a.json, "erased");
  if (!json_is_array(due) || !json_is_array(erased))
    return api_unreached(c, -EPROTO, false);
  struct table t;
  table_init(&t, due_heads);
  for (size_t i = 0; i < json_array_size(due); i++) {
    const json_t *item = json_array_get(due, i);
    table_add(&t, json_text(item, "patient"));
    table_add(&t, show_time(json_text(item, "last_contact")));
  }
  table_print(&t, c->out, "Aucun dossier n'est à archiver.");
  table_finish(&t);
  if (json_array_size(erased)) {
    fputc('\n', c->out);
    table_init(&t, erased_heads);
    for (size_t i = 0; i < json_array_size(erased); i++) {
      const json_t *item = json_array_get(erased, i);
      table_add(&t, json_text(item, "patient"));
      table_add(&t, show_time(json_text(item, "erased")));
      table_add(&t, json_text(item, "by"));
      table_add(&t, show_time(json_text(item, "archive_until")));
      table_add(&t, json_text(item, "archive"));
    }
    table_print(&t, c->out, "");
    table_finish(&t);
  }
  if (json_array_size(due) >= limit || json_array_size(erased) >= limit)
    ctl_say(c, "il y en a peut-être d'autres : en voir plus avec --limit N");
  return CTL_OK;
}

/* ---- an archive as it comes --------------------------------------------------------------------------------- */

struct download {
  struct ctl_file file;
  int err; /* why the file could not be written */
  uint64_t bytes, zeros /* at the end */;
  uint8_t first[TAR_BLOCK];
  struct hash_stream hash;
};

static int take(void *userdata, const uint8_t *bytes, size_t n) {
  struct download *d = userdata;
  d->err = fd_write_all(d->file.fd, bytes, n);
  if (d->err < 0)
    return d->err;
  if (d->bytes < sizeof d->first) {
    const size_t room = sizeof d->first - (size_t)d->bytes;
    memcpy(d->first + d->bytes, bytes, n < room ? n : room);
  }
  size_t zeros = 0;
  while (zeros < n && !bytes[n - 1 - zeros])
    zeros++;
  d->zeros = zeros == n ? d->zeros + n : zeros;
  hash_add(&d->hash, bytes, n);
  d->bytes += n;
  return 0;
}

/* Begins with the patient's rows (POSIX ustar), ends with two blocks of zeros; that it is as long as was said before
 * its first byte is the connection's to tell. */
static bool is_archive(const struct download *d) {
  static const char name[] = "patient.jsonl";
  return d->bytes % TAR_BLOCK == 0 && d->zeros >= 2 * TAR_BLOCK && !memcmp(d->first, name, sizeof name) &&
         !memcmp(d->first + 257, "ustar", 6);
}

/* However long it takes, while something comes. */
static int receive(struct ctl *c, struct http_conn *conn) {
  uint64_t since = monotonic_us();
  int r = 0;
  while (r >= 0 && conn->parser.state != HTTP_DONE) {
    r = http_step(conn, STEP_MS);
    if (r == 1)
      since = monotonic_us();
    else if (r == 0 && monotonic_us() - since > (uint64_t)c->client.timeout_ms * 1000)
      r = -ETIMEDOUT;
  }
  return r < 0 ? r : 0;
}

static int fetch(struct ctl *c, struct download *d, struct api_answer *refusal) {
  struct http_conn conn;
  char authorization[600], target[128];
  snprintf(target, sizeof target, "/v1/patients/%s/archive", c->args[0]);
  struct http_request request = {.method = "GET", .target = target};
  api_headers(c, &request, authorization);
  request.headers[3] = (struct http_header){"Accept", "application/x-tar"};
  hash_start(&d->hash);
  int err = http_connect(&conn, &c->client, &request, HTTP_JSON_MAX);
  explicit_bzero(authorization, sizeof authorization);
  conn.parser.sink = take;
  conn.parser.userdata = d;
  if (err == 0)
    err = receive(c, &conn);
  const struct http_parser *p = &conn.parser;
  if (err == 0 && p->status >= 400) {
    refusal->status = p->status;
    refusal->body = p->body;
    conn.parser.body = BUF_INIT(0);
    refusal->json = json_loadb((const char *)refusal->body.data, refusal->body.len, JSON_REJECT_DUPLICATES, NULL);
  } else if (err == 0 &&
             (p->status != 200 || !p->has_length || strcmp(p->type, "application/x-tar") || !is_archive(d))) {
    err = -EPROTO;
  }
  http_disconnect(&conn);
  return err;
}

static int told(struct ctl *c, const struct download *d, int err) {
  if (d->err < 0)
    return ctl_usage(c, "%s : écriture impossible (%s)", d->file.path, strerrordesc_np(-d->err));
  int r = api_unreached(c, err, false);
  if (err == -ECONNRESET && d->bytes)
    ctl_say(c, "l'archive a été interrompue et n'est pas gardée : un fichier manque ou est endommagé peut-être "
               "(journalctl -u asaleed)");
  return r;
}

int cmd_patient_archive(struct ctl *c) {
  const char *path = ctl_option(c, "out");
  _answer_cleanup_ struct api_answer refusal = {0};
  struct download d = {0};
  struct ctl_interrupt interrupt;
  char sha256[HASH_TEXT];
  int r = !strcmp(path, "-") ? ctl_usage(c, "--out : un fichier est attendu") : ctl_may_write(c, path);
  if (r == CTL_OK)
    r = ctl_file_open(c, &d.file, path);
  if (r != CTL_OK)
    return r;
  if ((r = ctl_interrupt_open(c, &interrupt)) != CTL_OK) { /* so that no half of it stays behind */
    ctl_file_drop(&d.file);
    return r;
  }
  c->client.wake_fd = interrupt.fd;
  int err = fetch(c, &d, &refusal);
  ctl_interrupt_close(c, &interrupt);
  if (err < 0 || refusal.status) {
    ctl_file_drop(&d.file);
    return err < 0 ? told(c, &d, err) : api_refused(c, &refusal);
  }
  r = ctl_file_commit(c, &d.file, NULL, 0);
  if (r != CTL_OK)
    return r;
  hash_text(&d.hash, sha256);
  if (c->json) {
    _json_cleanup_ json_t *said =
        json_pack("{s:I, s:s, s:s}", "bytes", (json_int_t)d.bytes, "file", path, "sha256", sha256);
    size_t n;
    _free_cleanup_ char *text = json_canonical(said, &n);
    if (text)
      print_json(c->out, text, n, c->tty);
    return CTL_OK;
  }
  print_field(c->out, "Archive dans", path);
  print_field(c->out, "Taille", show_bytes(d.bytes));
  print_field(c->out, "SHA-256", sha256);
  fprintf(c->out, "La mettre en lieu sûr ; ensuite : asaleectl patient erase %s --archive %s\n", c->args[0], sha256);
  return CTL_OK;
}

int cmd_patient_erase(struct ctl *c) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_post(c, json_pack("{s:s}", "archive", ctl_option(c, "archive")), &a, "/v1/patients/%s/erase", c->args[0]);
  const char *code = json_text(a.json, "code");
  if (r == CTL_REFUSED && code && !strcmp(code, "archive_missing"))
    ctl_say(c, "l'exporter (de nouveau) par « asaleectl patient archive %s --out FICHIER »", c->args[0]);
  if (r != CTL_OK || api_json(c, &a))
    return r;
  print_field(c->out, "Patient effacé", c->args[0]);
  print_field(c->out, "Fichiers effacés", show_int(a.json, "artefacts"));
  return CTL_OK;
}
