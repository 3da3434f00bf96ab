/* asaleectl's commands about the audit trail: what each asks, prints and refuses; exports as the daemon's own code
 * writes them, whole and changed. */
#include "ctl_bed.h"

#include "../e2e/store_bed.h"
#include "ctl.h"
#include "str.h"
#include <dirent.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define NDJSON "application/x-ndjson"

/* ---- a trail ------------------------------------------------------------------------------------------------ */

static struct store_bed *trail; /* fill() says what is in it */
static char key[HASH_TEXT];     /* the site's */
static char head[HASH_TEXT];    /* of its last row */

static int collect(void *arg, const void *bytes, size_t n) {
  return buf_add(arg, bytes, n);
}

/* The caller's. */
static char *export_of(int64_t from) {
  struct buf b = BUF_INIT(16u << 20);
  size_t n;
  assert_int_equal(audit_export(trail->store, trail->artefacts, from, collect, &b), 0);
  assert_non_null(buf_cstr(&b));
  buf_u8(&b, 0);
  return (char *)buf_take(&b, &n);
}

static void add(const char *action, bool sign) {
  static const struct actor nurse = {.name = "ines"};
  bed_begin(trail);
  assert_int_equal(audit_add(trail->store, &nurse, action, "S-1", json_pack("{s:s}", "patient", "4711")), 0);
  if (sign)
    assert_int_equal(audit_head_sign(trail->store), 1);
  bed_keep(trail);
}

/* Rows 1 and 2 are erased, 3 and 4 in an archive, 5 to 8 in the database; 1, 4 and 6 are signed. */
static void fill(void) {
  char sha[HASH_TEXT];
  for (int i = 1; i <= 8; i++) {
    add(i % 2 ? "study.start" : "study.accept", i == 1 || i == 4 || i == 6);
    if (i == 2 || i == 4) {
      bed_begin(trail);
      assert_int_equal(audit_archive(trail->store, trail->artefacts, INT64_MAX, INT64_MAX, sha, &(bool){0}), 2);
      if (i == 2)
        assert_int_equal(audit_erase(trail->store, trail->artefacts, INT64_MAX, "root"), 2);
      bed_keep(trail);
    }
  }
}

static int open_all(void **state) {
  void *bed = NULL;
  int r = bed_open(state);
  r = r == 0 ? bed_setup(&bed) : r;
  trail = bed;
  if (r == 0) {
    struct audit_check check;
    fill();
    assert_int_equal(audit_verify(trail->store, trail->artefacts, &check), 0);
    assert_true(check.ok);
    str_copy(head, sizeof head, check.head);
    str_hex(store_site_key(trail->store)->public, SIGNATURE_PUBLIC, key);
  }
  return r;
}

static int close_all(void **state) {
  void *bed = trail;
  return bed_teardown(&bed) < 0 ? -1 : bed_close(state);
}

/* ---- verify, by the daemon ---------------------------------------------------------------------------------- */

#define VERDICT(ok, broken_at, rest)                                                      \
  "{\"archived\":3,\"broken_at\":" broken_at ",\"erased\":2,\"first\":1,\"head\":\"" HASH \
  "\",\"heads\":4,\"last\":14,\"ok\":" ok ",\"rows\":9," rest "}"
#define SOUND "\"consistent\":true,\"sealed\":true"

static void test_verify(void **state) {
  (void)state;
  static const char rest[] = "Lignes           : 1 à 14 (dans la base : 9, archivées : 3, effacées à l'échéance : 2)\n"
                             "Signatures       : 4\n"
                             "Empreinte        : " HASH "\n";
  static const struct {
    const char *body, *journal, *seal, *base, *err;
  } rows[] = {
      {VERDICT("true", "null", SOUND), "intact", "intact", "cohérente", ""},
      {VERDICT("false", "4", SOUND), "ROMPU à la ligne 4", "intact", "cohérente",
       "asaleectl: le journal est rompu à la ligne 4 (audit_broken)\n"},
      {VERDICT("false", "null", "\"consistent\":true,\"sealed\":false,\"table\":\"acquisition\""), "intact",
       "ROMPU : acquisition", "cohérente",
       "asaleectl: modifié autrement que par le service : acquisition (seal_broken)\n"},
      {VERDICT("false", "null", "\"consistent\":true,\"sealed\":false,\"table\":\"sqlite_schema\""), "intact",
       "ROMPU : le schéma de la base", "cohérente",
       "asaleectl: modifié autrement que par le service : le schéma de la base (seal_broken)\n"},
      {VERDICT("false", "null", "\"consistent\":true,\"sealed\":false,\"table\":\"sqlite_sequence\""), "intact",
       "ROMPU : les compteurs de la base", "cohérente",
       "asaleectl: modifié autrement que par le service : les compteurs de la base (seal_broken)\n"},
      {VERDICT("false", "null", "\"consistent\":false,\"sealed\":true"), "intact", "intact", "INCOHÉRENTE",
       "asaleectl: les pages, les index ou les renvois de la base ne s'accordent pas (store_inconsistent)\n"},
      {VERDICT("false", "4", "\"consistent\":false,\"sealed\":false,\"table\":\"seal\""), "ROMPU à la ligne 4",
       "ROMPU : le sceau lui-même", "INCOHÉRENTE",
       "asaleectl: le journal est rompu à la ligne 4 (audit_broken)\n"
       "asaleectl: modifié autrement que par le service : le sceau lui-même (seal_broken)\n"
       "asaleectl: les pages, les index ou les renvois de la base ne s'accordent pas (store_inconsistent)\n"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char out[1024], err[1024];
    const int expected = i ? CTL_REFUSED : CTL_OK;
    pid_t pid = SCRIPT({.expect = "GET /v1/audit/verify ", .status = 200, .body = rows[i].body},
                       {.expect = "GET /v1/audit/verify ", .status = 200, .body = rows[i].body});
    assert_int_equal(RUN("audit", "verify"), expected);
    snprintf(out, sizeof out, "Journal          : %s\n%sSceau            : %s\nBase             : %s\n",
             rows[i].journal, rest, rows[i].seal, rows[i].base);
    snprintf(err, sizeof err, "%s%s", rows[i].err,
             i ? "asaleectl: garder la base en l'état et prévenir l'éditeur\n" : "");
    assert_string_equal(out_text, out);
    assert_string_equal(err_text, err);
    assert_int_equal(RUN("audit", "verify", "--json"), expected);
    snprintf(out, sizeof out, "%s\n", rows[i].body);
    assert_string_equal(out_text, out);
    assert_string_equal(err_text, err);
    free(played(pid));
  }
}

/* An answer that contradicts itself, or leaves something open, is not taken for good. */
static void test_verify_strange(void **state) {
  (void)state;
  static const char *const bodies[] = {
      VERDICT("true", "4", SOUND),
      VERDICT("false", "null", SOUND),
      VERDICT("1", "null", SOUND),
      VERDICT("true", "\"\"", SOUND),
      VERDICT("true", "null", "\"consistent\":true"),
      VERDICT("true", "null", "\"sealed\":true"),
      VERDICT("true", "null", "\"consistent\":false,\"sealed\":true"),
      VERDICT("true", "null", "\"consistent\":true,\"sealed\":false,\"table\":\"x\""),
      VERDICT("false", "null", "\"consistent\":true,\"sealed\":false"),
      VERDICT("true", "null", SOUND ",\"table\":\"x\""),
      "{\"ok\":true,\"sealed\":true,\"consistent\":true}",
  };
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    pid_t pid = SCRIPT({.expect = "GET /v1/audit/verify ", .status = 200, .body = bodies[i]});
    assert_int_equal(RUN("audit", "verify"), CTL_UNREACHED);
    has(err_text, "la réponse n'est pas celle d'asaleed");
    assert_string_equal(out_text, "");
    free(played(pid));
  }
  pid_t pid =
      SCRIPT({.expect = "GET /v1/audit/verify ", .status = 403, .body = PROBLEM("forbidden", "Pas pour ce compte.")});
  assert_int_equal(RUN("audit", "verify", "--token-file", token_path), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: Pas pour ce compte. (forbidden)\n");
  free(played(pid));
}

/* ---- verify, here ------------------------------------------------------------------------------------------- */

/* No daemon is there: nothing is asked of one. */
static void test_verify_file(void **state) {
  (void)state;
  char *text = export_of(1), expected[1024];
  write_file(file_path, text);
  snprintf(expected, sizeof expected,
           "Journal          : intact\n"
           "Lignes           : 1 à 8 (présentes : 6, effacées à l'échéance : 2)\n"
           "Signatures       : 2, la dernière pour la ligne 6\n"
           "Empreinte        : %s\n"
           "Clé du site      : %s\n"
           "\nAucune signature du site ne couvre encore les lignes 7 à 8.\n",
           head, key);
  assert_int_equal(RUN("audit", "verify", "--file", file_path, "--site-key", key), CTL_OK);
  assert_string_equal(out_text, expected);
  assert_string_equal(err_text, "");
  assert_int_equal(RUN("audit", "verify", "--file", file_path), CTL_OK);
  has(out_text, expected);
  has(out_text, "la comparer à celle que le site a donnée (--site-key).\n");
  assert_int_equal(RUN("audit", "verify", "--file", file_path, "--json"), CTL_OK);
  snprintf(expected, sizeof expected,
           "{\"broken_line\":null,\"erased\":2,\"first\":1,\"head\":\"%s\",\"heads\":2,\"last\":8,\"ok\":true,"
           "\"public_key\":\"%s\",\"rows\":6,\"signed_to\":6,\"site_key_given\":false}\n",
           head, key);
  assert_string_equal(out_text, expected);
  free(text);
}

/* A file with the bytes changed, and what is said of it. */
static void refused(const char *text, const char *site_key, const char *journal, const char *say) {
  write_file(file_path, text);
  assert_int_equal(site_key ? RUN("audit", "verify", "--file", file_path, "--site-key", site_key)
                            : RUN("audit", "verify", "--file", file_path),
                   CTL_REFUSED);
  has(err_text, say);
  if (journal)
    has(out_text, journal);
  else
    assert_string_equal(out_text, "");
}

static char *line_at(char *text, int number) {
  while (--number)
    text = strchr(text, '\n') + 1;
  return text;
}

static void test_verify_file_changed(void **state) {
  (void)state;
  char *text = export_of(1), *copy = strdup(text), journal[64], say[64];
  int lines = 0;
  for (const char *p = text; *p; p++)
    lines += *p == '\n';
  assert_int_equal(lines, 1 + 1 + 6 + 2 + 1); /* first, erased, rows, heads, end */
  for (int n = 2; n <= lines; n++) {
    snprintf(journal, sizeof journal, "Journal          : ROMPU à la ligne %d du fichier\n", n);
    snprintf(say, sizeof say, "rompu à sa ligne %d (audit_broken)", n);
    /* A letter of it is another; the file ends before it; it is not there. */
    strcpy(copy, text);
    line_at(copy, n)[10] ^= 1;
    refused(copy, NULL, journal, say);
    refused(copy, key, journal, say);
    strcpy(copy, text);
    *line_at(copy, n) = 0;
    refused(copy, key, journal, say);
    if (n == lines)
      break;
    strcpy(copy, text);
    char *line = line_at(copy, n), *next = line_at(copy, n + 1);
    memmove(line, next, strlen(next) + 1);
    refused(copy, key, "ROMPU à la ligne ", "(audit_broken)");
  }
  assert_int_equal(RUN("audit", "verify", "--json", "--file", file_path), CTL_REFUSED);
  has(out_text, "\"broken_line\":");
  has(out_text, "\"ok\":false,");
  free(copy);
  free(text);
}

static void test_verify_file_other(void **state) {
  (void)state;
  char *text = export_of(1), other[HASH_TEXT];
  str_copy(other, sizeof other, key);
  other[0] = other[0] == '0' ? '1' : '0';
  write_file(file_path, text);
  assert_int_equal(RUN("audit", "verify", "--file", file_path, "--site-key", other), CTL_REFUSED);
  has(out_text, "ROMPU");
  has(err_text, "vient d'un autre site que celui dont la clé est donnée (audit_site)\n");
  free(text);
  /* Behind the last signature the key proves nothing. */
  text = export_of(7);
  refused(text, key, "Signatures       : aucune\n", "rien n'y prouve qu'il vient de ce site (audit_unsigned)\n");
  assert_int_equal(RUN("audit", "verify", "--file", file_path), CTL_OK);
  has(out_text, "\nAucune signature du site ne couvre encore les lignes 7 à 8.\n");
  free(text);
  text = export_of(9); /* nothing is there that would need one */
  write_file(file_path, text);
  assert_int_equal(RUN("audit", "verify", "--file", file_path, "--site-key", key), CTL_OK);
  has(out_text, "Lignes           : 9 à 8 (présentes : 0, effacées à l'échéance : 0)\n");
  has_not(out_text, "Aucune signature");
  free(text);
  static const char *const none[] = {"",
                                     "\n",
                                     "{}",
                                     "{\"asaleed_audit\":2}\n",
                                     "[]\n",
                                     "\x7f"
                                     "ELF"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    refused(none[i], NULL, NULL, "n'est pas un export du journal (audit_form)\n");
}

/* From a pipe. */
static void test_verify_standard_input(void **state) {
  (void)state;
  char *text = export_of(1);
  write_file(file_path, text);
  const int keep = dup(STDIN_FILENO), fd = open(file_path, O_RDONLY | O_CLOEXEC);
  assert_true(keep >= 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO);
  assert_int_equal(RUN("audit", "verify", "--file", "-", "--site-key", key), CTL_OK);
  has(out_text, "Journal          : intact\n");
  assert_int_equal(dup2(keep, STDIN_FILENO), STDIN_FILENO);
  close(keep);
  close(fd);
  free(text);
}

/* ---- head --------------------------------------------------------------------------------------------------- */

#define SIGNED                                                                \
  "{\"head\":{\"at\":1763798707000000,\"hash\":\"" HASH "\",\"key\":\"" CLAIM \
  "\",\"seq\":812,\"signature\":\"" HASH HASH "\"}}"

static void test_head(void **state) {
  (void)state;
  pid_t pid =
      SCRIPT({.expect = "GET /v1/audit/head ", .status = 200, .body = SIGNED},
             {.expect = "POST /v1/audit/head ", .status = 200, .body = SIGNED},
             {.expect = "GET /v1/audit/head ", .status = 200, .body = SIGNED},
             {.expect = "GET /v1/audit/head ", .status = 404, .body = PROBLEM("not_found", "Rien.")},
             {.expect = "POST /v1/audit/head ", .status = 404, .body = PROBLEM("not_found", "Rien.")},
             {.expect = "GET /v1/audit/head ", .status = 403, .body = PROBLEM("forbidden", "Non.")},
             {.expect = "GET /v1/audit/head ", .status = 200, .body = "{\"head\":{}}"},
             {.expect = "GET /v1/audit/head ", .status = 200, .body = "{\"head\":{\"at\":-1}}"},
             {.expect = "GET /v1/audit/head ", .status = 200, .body = "{\"head\":{\"at\":9223372036854775807}}"},
             {.expect = "GET /v1/audit/head ", .status = 200, .body = "{}"});
  static const char said[] =
      "Ligne            : 812\n"
      "Écrite le        : 22/11/2025 09:05\n"
      "Empreinte        : " HASH "\n"
      "Signature        : " HASH HASH "\n"
      "Clé du site      : " CLAIM "\n"
      "\nÀ garder ailleurs que sur cette machine ; --json en donne la ligne, qu'un export contient"
      " telle quelle.\n";
  assert_int_equal(RUN("audit", "head"), CTL_OK);
  assert_string_equal(out_text, said);
  assert_int_equal(RUN("audit", "head", "--sign"), CTL_OK);
  assert_string_equal(out_text, said);
  assert_int_equal(RUN("audit", "head", "--json"), CTL_OK);
  assert_string_equal(out_text, SIGNED "\n");
  assert_int_equal(RUN("audit", "head"), CTL_REFUSED);
  assert_string_equal(err_text,
                      "asaleectl: le journal n'a pas encore de signature : asaleectl audit head --sign (not_found)\n");
  assert_int_equal(RUN("audit", "head", "--sign"), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: le journal est vide : il n'y a rien à signer (not_found)\n");
  assert_int_equal(RUN("audit", "head", "--token-file", token_path), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: Non. (forbidden)\n");
  for (int i = 0; i < 4; i++) {
    assert_int_equal(RUN("audit", "head"), CTL_UNREACHED);
    assert_string_equal(out_text, "");
  }
  char *log = played(pid);
  has(log, "\r\n\r\n{}\n"); /* the body of --sign */
  free(log);
  assert_int_equal(RUN("audit", "head"), CTL_UNREACHED);
  has(err_text, "n'est pas joignable");
}

/* What --json prints of a head is a line of every export that holds its row. */
static void test_head_in_export(void **state) {
  (void)state;
  char *text = export_of(5), line[1024];
  struct audit_head h = {.seq = 6};
  struct rows r = store_query(trail->store, "SELECT hash, at, key, signature FROM audit_head WHERE seq = 6", "");
  assert_true(rows_next(&r));
  size_t n;
  memcpy(h.hash, rows_blob(&r, 0, &n), sizeof h.hash);
  h.at = rows_int(&r, 1);
  memcpy(h.key, rows_blob(&r, 2, &n), sizeof h.key);
  memcpy(h.signature, rows_blob(&r, 3, &n), sizeof h.signature);
  assert_int_equal(rows_finish(&r), 0);
  json_t *json = audit_head_json(&h);
  char *body = json_canonical(json, NULL);
  pid_t pid = SCRIPT({.expect = "GET /v1/audit/head ", .status = 200, .body = body});
  assert_int_equal(RUN("audit", "head", "--json"), CTL_OK);
  snprintf(line, sizeof line, "\n%s", out_text);
  has(text, line);
  free(played(pid));
  free(body);
  json_decref(json);
  free(text);
}

/* ---- export ------------------------------------------------------------------------------------------------- */

/* The file, and nothing beside it that was begun. */
static void holds(const char *text) {
  char *file = read_file(file_path);
  assert_string_equal(file, text);
  free(file);
  DIR *d = opendir(directory);
  assert_non_null(d);
  for (const struct dirent *e; (e = readdir(d));)
    if (!strncmp(e->d_name, "file.", 5))
      fail_msg("%s was left", e->d_name);
  closedir(d);
}

static void test_export(void **state) {
  (void)state;
  char *all = export_of(1), *some = export_of(5), expected[1024];
  struct stat st;
  pid_t pid = SCRIPT({.expect = "GET /v1/audit/export ", .status = 200, .body = all, .type = NDJSON},
                     {.expect = "GET /v1/audit/export?from=5 ", .status = 200, .body = some, .type = NDJSON},
                     {.expect = "GET /v1/audit/export ", .status = 200, .body = all, .type = NDJSON},
                     {.expect = "GET /v1/audit/export ", .status = 200, .body = all, .type = NDJSON});
  unlink(file_path);
  assert_int_equal(RUN("audit", "export", file_path), CTL_OK);
  snprintf(expected, sizeof expected,
           "Export dans      : %s\n"
           "Journal          : intact\n"
           "Lignes           : 1 à 8 (présentes : 6, effacées à l'échéance : 2)\n"
           "Signatures       : 2, la dernière pour la ligne 6\n"
           "Empreinte        : %s\n"
           "Clé du site      : %s\n"
           "\nAucune signature du site ne couvre encore les lignes 7 à 8.\n",
           file_path, head, key);
  has(out_text, expected);
  assert_string_equal(err_text, "");
  holds(all);
  assert_int_equal(stat(file_path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0600);
  assert_int_equal(RUN("audit", "export", file_path), CTL_USAGE);
  has(err_text, "existe déjà");
  holds(all);
  assert_int_equal(RUN("audit", "export", file_path, "--from", "5", "--force", "--json"), CTL_OK);
  snprintf(expected, sizeof expected,
           "{\"broken_line\":null,\"erased\":0,\"first\":5,\"head\":\"%s\",\"heads\":1,\"last\":8,\"ok\":true,"
           "\"public_key\":\"%s\",\"rows\":4,\"signed_to\":6,\"site_key_given\":false}\n",
           head, key);
  assert_string_equal(out_text, expected);
  holds(some);
  for (int json = 0; json < 2; json++) { /* the bytes, and nothing else */
    assert_int_equal(json ? RUN("audit", "export", "-", "--json") : RUN("audit", "export", "-"), CTL_OK);
    assert_string_equal(out_text, all);
  }
  char *log = played(pid);
  has(log, "\r\nAccept: " NDJSON "\r\n");
  free(log);
  run_on_terminal((const char *const[]){"audit", "export", "-", NULL}, CTL_USAGE);
  has(err_text, "doit être un fichier ou un tube");
  free(all);
  free(some);
}

/* What does not hold is kept: an investigation needs it. */
static void test_export_broken(void **state) {
  (void)state;
  char *text = export_of(1);
  line_at(text, 5)[20] ^= 1;
  pid_t pid = SCRIPT({.expect = "GET /v1/audit/export ", .status = 200, .body = text, .type = NDJSON});
  unlink(file_path);
  assert_int_equal(RUN("audit", "export", file_path), CTL_REFUSED);
  has(out_text, "Export dans");
  has(out_text, "Journal          : ROMPU à la ligne 5 du fichier\n");
  has(err_text, "rompu à sa ligne 5 (audit_broken)\n");
  holds(text);
  free(played(pid));
  free(text);
}

/* No whole export came: nothing is written, and what was there stays. */
static void test_export_failed(void **state) {
  (void)state;
  char *text = export_of(1);
  pid_t pid = SCRIPT({.expect = "GET /v1/audit/export ", .status = 500, .body = PROBLEM("artefact_corrupt", "Abîmé.")},
                     {.expect = "GET /v1/audit/export ", .status = 0},
                     {.expect = "GET /v1/audit/export ", .status = 200, .body = text},
                     {.expect = "GET /v1/audit/export ", .status = 200, .body = "{}\n", .type = NDJSON},
                     {.expect = "GET /v1/audit/export ", .status = 200, .body = "", .type = NDJSON},
                     {.expect = "", .gone = 10, .interrupt = true, .pause_ms = 300});
  write_file(file_path, "before");
#define EXPORT() RUN("audit", "export", file_path, "--force")
  assert_int_equal(EXPORT(), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: Abîmé. (artefact_corrupt)\n");
  assert_int_equal(EXPORT(), CTL_UNREACHED);
  has(err_text, "coupée avant la réponse");
  assert_int_equal(EXPORT(), CTL_UNREACHED); /* JSON */
  has(err_text, "la réponse n'est pas celle d'asaleed");
  for (int i = 0; i < 2; i++) {
    assert_int_equal(EXPORT(), CTL_REFUSED);
    has(err_text, "n'est pas un export du journal (audit_form)\n");
    assert_string_equal(out_text, "");
  }
  assert_int_equal(EXPORT(), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: interrompu : l'export n'est pas complet\n");
  free(played(pid));
  assert_int_equal(EXPORT(), CTL_UNREACHED);
  has(err_text, "personne n'y écoute");
  holds("before");
  free(text);
}

/* Where no more can be written. */
static void test_export_full(void **state) {
  (void)state;
  char *text = export_of(1);
  pid_t pid = SCRIPT({.expect = "GET /v1/audit/export ", .status = 200, .body = text, .type = NDJSON},
                     {.expect = "GET /v1/audit/export ", .status = 200, .body = text, .type = NDJSON});
  struct rlimit before;
  write_file(file_path, "before");
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){100, before.rlim_max}), 0);
  int r = EXPORT();
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(r, CTL_USAGE);
  has(err_text, "écriture impossible (File too large)\n");
  has_not(err_text, "joignable");
  holds("before");
  FILE *full = fopen("/dev/full", "we");
  assert_non_null(full);
  setvbuf(full, NULL, _IONBF, 0);
  assert_int_equal(run_argv((const char *const[]){"audit", "export", "-", NULL}, full), CTL_USAGE);
  has(err_text, "- : écriture impossible (No space left on device)\n");
  fclose(full);
  free(played(pid));
  free(text);
}

/* ---- lists, and what is erased ------------------------------------------------------------------------------ */

static void test_who_saw(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "GET /v1/audit/who-saw/4711?limit=50 ",
       .status = 200,
       .body = "{\"items\":[{\"seq\":9,\"at\":\"2025-11-22T09:05:07+01:00\",\"actor\":\"lgc\",\"acting_for\":\"anne\","
               "\"action\":\"read\",\"subject\":\"S-1\",\"detail\":{\"patient\":\"4711\"},\"hash\":\"00\"}],"
               "\"next\":\"9\"}"},
      {.expect = "GET /v1/audit/who-saw/4711?limit=49&cursor=9 ",
       .status = 200,
       .body = "{\"items\":[{\"archived\":true,\"seq\":3}],\"next\":null}"},
      {.expect = "GET /v1/audit/who-saw/4711?limit=1 ",
       .status = 200,
       .body = "{\"items\":[{\"archived\":true,\"seq\":3}],\"next\":\"3\"}"},
      {.expect = "GET /v1/audit/who-saw/0?limit=50 ", .status = 200, .body = "{\"items\":[],\"next\":null}"},
      {.expect = "GET /v1/audit/who-saw/4711?limit=50 ",
       .status = 200,
       .body = "{\"items\":[{\"archived\":true,\"seq\":3}],\"next\":null}"},
      {.expect = "GET /v1/audit/who-saw/4711?limit=50 ", .status = 403, .body = PROBLEM("forbidden", "Non.")});
  assert_int_equal(RUN("audit", "who-saw", "4711"), CTL_OK);
  assert_string_equal(out_text, "N°  Le                Qui  Pour  Action  Objet  Détail\n"
                                "9   22/11/2025 09:05  lgc  anne  read    S-1    {\"patient\":\"4711\"}\n"
                                "3   —                 —    —     —       —      archivée (voir audit export)\n");
  assert_string_equal(err_text, "");
  assert_int_equal(RUN("audit", "who-saw", "4711", "--limit", "1"), CTL_OK);
  has(err_text, "la liste continue");
  assert_int_equal(RUN("audit", "who-saw", "0"), CTL_OK);
  assert_string_equal(out_text, "Le journal ne dit rien de ce patient.\n");
  assert_int_equal(RUN("audit", "who-saw", "4711", "--json"), CTL_OK);
  assert_string_equal(out_text, "{\"items\":[{\"archived\":true,\"seq\":3}],\"next\":null}\n");
  assert_int_equal(RUN("audit", "who-saw", "4711", "--token-file", token_path), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: Non. (forbidden)\n");
  free(played(pid));
}

static void test_erase(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "POST /v1/audit/erase ", .status = 200, .body = "{\"rows\":812}"},
                     {.expect = "POST /v1/audit/erase ", .status = 200, .body = "{\"rows\":0}"},
                     {.expect = "POST /v1/audit/erase ", .status = 500, .body = PROBLEM("artefact_corrupt", "Abîmé.")});
  assert_int_equal(RUN("audit", "erase"), CTL_OK);
  assert_string_equal(out_text, "Lignes effacées  : 812\n");
  assert_int_equal(RUN("audit", "erase", "--json"), CTL_OK);
  assert_string_equal(out_text, "{\"rows\":0}\n");
  assert_int_equal(RUN("audit", "erase"), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: Abîmé. (artefact_corrupt)\n");
  char *log = played(pid);
  has(log, "\r\n\r\n{}\n");
  has(log, "\r\nIdempotency-Key: ");
  free(log);
}

#define ARCHIVED(rows, artefact, more)                                        \
  {                                                                           \
    .expect = "POST /v1/audit/archive ", .status = 200,                       \
    .body = "{\"artefact\":" artefact ",\"more\":" more ",\"rows\":" rows "}" \
  }

/* One call after the other until there is no more. */
static void test_archive(void **state) {
  (void)state;
  pid_t pid =
      SCRIPT(ARCHIVED("20000", "\"aa\"", "true"), ARCHIVED("20000", "\"bb\"", "true"), ARCHIVED("7", "\"cc\"", "false"),
             ARCHIVED("0", "null", "false"), ARCHIVED("20000", "\"aa\"", "true"), ARCHIVED("7", "\"cc\"", "false"),
             ARCHIVED("20000", "\"aa\"", "true"),
             {.expect = "POST /v1/audit/archive ", .status = 503, .body = PROBLEM("audit_busy", "Attendre.")},
             ARCHIVED("0", "null", "true"), ARCHIVED("-1", "null", "false"));
  assert_int_equal(RUN("audit", "archive", "--before", "2025-01-01T00:00:00Z"), CTL_OK);
  assert_string_equal(out_text, "Archive          : aa (20000 lignes)\nArchive          : bb (20000 lignes)\n"
                                "Archive          : cc (7 lignes)\nLignes           : 40007\n");
  assert_int_equal(RUN("audit", "archive", "--before", "2025-01-01T00:00:00Z"), CTL_OK);
  assert_string_equal(out_text, "Lignes           : 0\n");
  assert_int_equal(RUN("audit", "archive", "--before", "2025-01-01T00:00:00Z", "--json"), CTL_OK);
  assert_string_equal(out_text, "{\"artefact\":\"aa\",\"more\":true,\"rows\":20000}\n"
                                "{\"artefact\":\"cc\",\"more\":false,\"rows\":7}\n");
  assert_int_equal(RUN("audit", "archive", "--before", "2025-01-01T00:00:00Z"), CTL_REFUSED);
  assert_string_equal(out_text, "Archive          : aa (20000 lignes)\n");
  assert_string_equal(err_text, "asaleectl: Attendre. (audit_busy)\n");
  /* More, and nothing was done: that would go on for ever. */
  assert_int_equal(RUN("audit", "archive", "--before", "2025-01-01T00:00:00Z"), CTL_UNREACHED);
  assert_int_equal(RUN("audit", "archive", "--before", "2025-01-01T00:00:00Z"), CTL_UNREACHED);
  char *log = played(pid);
  has(log, "{\"before\":\"2025-01-01T00:00:00Z\"}");
  free(log);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_archive),
      cmocka_unit_test(test_verify),
      cmocka_unit_test(test_verify_strange),
      cmocka_unit_test(test_verify_file),
      cmocka_unit_test(test_verify_file_changed),
      cmocka_unit_test(test_verify_file_other),
      cmocka_unit_test(test_verify_standard_input),
      cmocka_unit_test(test_head),
      cmocka_unit_test(test_head_in_export),
      cmocka_unit_test(test_export),
      cmocka_unit_test(test_export_broken),
      cmocka_unit_test(test_export_failed),
      cmocka_unit_test(test_export_full),
      cmocka_unit_test(test_who_saw),
      cmocka_unit_test(test_erase),
  };
  return cmocka_run_group_tests_name("ctl_trail", tests, open_all, close_all);
}
