/* asaleectl as a whole: its table against its man page, its help and its completion; what it refuses to send; what it
 * sends and prints, against a server that plays the daemon from a script. */
#include "ctl_bed.h"

#include "ctl.h"
#include "hash.h"
#include "live.h"
#include "proof_make.h"
#include "signature.h"
#include "str.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CTL_MAN
#define CTL_MAN "daemon/ctl/asaleectl.1"
#endif

/* ---- the table ---------------------------------------------------------------------------------------------- */

static const struct ctl_option *same_name(const struct ctl_option *o) {
  for (const struct ctl_command *c = ctl_commands; c->path; c++)
    for (const struct ctl_option *other = c->options; other->name; other++)
      if (!strcmp(other->name, o->name))
        return other;
  return NULL;
}

/* What may stand behind an option, as far as its name alone decides. */
static enum ctl_kind followed_by(enum ctl_kind kind) {
  return kind == KIND_NONE || kind == KIND_FILE || kind == KIND_CHOICE ? kind : KIND_TEXT;
}

static void test_table(void **state) {
  (void)state;
  for (const struct ctl_command *c = ctl_commands; c->path; c++) {
    assert_non_null(c->run);
    assert_true(c->summary[strlen(c->summary) - 1] == '.');
    for (const struct ctl_command *other = c + 1; other->path; other++)
      assert_string_not_equal(c->path, other->path);
    assert_null(c->options[CTL_OPTIONS_MAX - 1].name); /* the end must fit */
    assert_null(c->args[CTL_COMMAND_ARGS_MAX - 1].metavar);
    for (const struct ctl_option *o = c->options; o->name; o++) {
      const struct ctl_option *first = same_name(o); /* parsing and completion go by the name alone */
      assert_int_equal(followed_by(first->kind), followed_by(o->kind));
      assert_int_equal(o->kind == KIND_NONE, !o->metavar);
      for (const struct ctl_option *g = ctl_globals; g->name; g++)
        assert_string_not_equal(g->name, o->name);
    }
  }
}

/* A line of the man page without its markup. */
static void plain(const char *line, char *text, size_t size) {
  size_t n = 0;
  for (const char *p = line; *p && *p != '\n' && n + 1 < size; p++) {
    if (p[0] == '\\' && p[1] == 'f' && p[2])
      p += 2;
    else if (p[0] == '\\' && p[1] == '-')
      text[n++] = '-', p++;
    else
      text[n++] = *p;
  }
  text[n] = 0;
}

static void synopsis(const struct ctl_command *c, char *text, size_t size) {
  struct buf b = BUF_INIT(4096);
  ctl_synopsis(&b, c);
  assert_true(str_copy(text, size, buf_cstr(&b)));
  buf_finish(&b);
}

static void test_man_page(void **state) {
  (void)state;
  char *man = read_file(CTL_MAN), line[1024], wanted[1024], section[64] = "";
  size_t tags = 0, commands = 0, globals = 0, n_globals = 0;
  bool tag = false;
  assert_true(*man);
  for (const char *p = man; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
    plain(p, line, sizeof line);
    for (const char *o = line; (o = strstr(o, "--")); o++) { /* every option that is mentioned exists */
      size_t n = strspn(o + 2, "abcdefghijklmnopqrstuvwxyz-");
      struct ctl_option name = {0};
      char copy[64];
      if (!n || n >= sizeof copy)
        continue;
      snprintf(copy, sizeof copy, "%.*s", (int)n, o + 2);
      name.name = copy;
      bool known = same_name(&name) || !strcmp(copy, "name");
      for (const struct ctl_option *g = ctl_globals; g->name; g++)
        known = known || !strcmp(g->name, copy);
      if (!known)
        fail_msg("asaleectl.1 speaks of --%s", copy);
    }
    if (!strncmp(line, ".SH ", 4))
      snprintf(section, sizeof section, "%.60s", line + 4);
    if (tag && !strcmp(section, "COMMANDS")) {
      bool found = false;
      for (const struct ctl_command *c = ctl_commands; c->path && !found; c++) {
        synopsis(c, wanted, sizeof wanted);
        found = !strcmp(line + 3, wanted);
      }
      if (!found)
        fail_msg("asaleectl.1 has what the table has not: %s", line);
      tags++;
    }
    if (tag && !strcmp(section, "OPTIONS"))
      globals++;
    tag = !strcmp(line, ".TP");
  }
  for (const struct ctl_command *c = ctl_commands; c->path; c++)
    commands++;
  for (const struct ctl_option *o = ctl_globals; o->name; o++)
    n_globals++;
  assert_int_equal(tags, commands);
  assert_int_equal(globals, n_globals);
  free(man);
}

static void test_help(void **state) {
  (void)state;
  char text[1024];
  assert_int_equal(RUN("--help"), CTL_OK);
  for (const struct ctl_command *c = ctl_commands; c->path; c++)
    has(out_text, c->summary);
  for (const struct ctl_command *c = ctl_commands; c->path; c++) {
    char first[64], *second;
    snprintf(first, sizeof first, "%s", c->path);
    if ((second = strchr(first, ' ')))
      *second++ = 0;
    synopsis(c, text, sizeof text);
    assert_int_equal(second ? RUN(first, second, "--help") : RUN(first, "--help"), CTL_OK);
    has(out_text, text);
    for (const struct ctl_option *o = c->options; o->name; o++)
      has(out_text, o->help);
    assert_int_equal(second ? RUN("help", first, second) : RUN("help", first), CTL_OK);
    has(out_text, text);
  }
  assert_int_equal(RUN("order", "--help"), CTL_OK); /* shares its word with order list */
  has(out_text, "order list");
  has_not(out_text, "audit");
  assert_int_equal(RUN("user", "--help"), CTL_OK);
  has(out_text, "user token");
  has_not(out_text, "audit");
  assert_int_equal(RUN("help", "nonsense"), CTL_USAGE);
  assert_int_equal(RUN("help", "status", "nonsense"), CTL_USAGE);
  assert_int_equal(RUN("--version"), CTL_OK);
  has(out_text, "asaleectl " ASALEED_VERSION "\n");
  assert_int_equal(run_argv((const char *const[]){NULL}, NULL), CTL_USAGE);
  has(err_text, "usage:");
}

/* What bash offers after the words of `line`, in one line. */
static void complete(const char *line, char *words, size_t size) {
  int fds[2];
  char command[4096];
  snprintf(
      command, sizeof command,
      "source '%s'; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _asaleectl; echo \" ${COMPREPLY[*]} \"",
      file_path, line);
  assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(fds[1], STDOUT_FILENO);
    execlp("bash", "bash", "--norc", "-c", command, (char *)NULL);
    _exit(127);
  }
  close(fds[1]);
  size_t n = 0;
  ssize_t r;
  while ((r = read(fds[0], words + n, size - 1 - n)) > 0)
    n += (size_t)r;
  words[n] = 0;
  close(fds[0]);
  waitpid(pid, NULL, 0);
}

static void test_completion(void **state) {
  (void)state;
  char words[4096], text[128];
  assert_int_equal(RUN("completion", "bash"), CTL_OK);
  write_file(file_path, out_text);
  complete("asaleectl ''", words, sizeof words);
  for (const struct ctl_command *c = ctl_commands; c->path; c++) {
    snprintf(text, sizeof text, " %.*s ", (int)strcspn(c->path, " "), c->path);
    has(words, text);
  }
  for (const struct ctl_command *c = ctl_commands; c->path; c++) {
    snprintf(text, sizeof text, "asaleectl --socket x %s --", c->path);
    complete(text, words, sizeof words);
    for (const struct ctl_option *o = c->options; o->name; o++) {
      snprintf(text, sizeof text, " --%s ", o->name);
      has(words, text);
    }
    for (const struct ctl_option *o = ctl_globals; o->name; o++) {
      snprintf(text, sizeof text, " --%s ", o->name);
      has(words, text);
    }
    const char *second = strchr(c->path, ' ');
    if (!second)
      continue;
    snprintf(text, sizeof text, "asaleectl %.*s ''", (int)(second - c->path), c->path);
    complete(text, words, sizeof words);
    snprintf(text, sizeof text, " %s ", second + 1);
    has(words, text);
  }
  complete("asaleectl sign S-1 --conclusion ''", words, sizeof words);
  has(words, " normal abnormal uninterpretable ");
  complete("asaleectl sign S-1 --conclusion = un", words, sizeof words);
  has(words, " uninterpretable ");
  complete("asaleectl queue --state ''", words, sizeof words);
  assert_string_equal(words, " to_interpret interpreting \n");
  complete("asaleectl --json files --state ''", words, sizeof words);
  has(words, " waiting unmatched ");
  has_not(words, "interpreting");
  for (size_t i = 0; i < 3; i++) { /* where files are wanted */
    snprintf(text, sizeof text, "asaleectl %s %s/t", (const char *[]){"import", "import x", "file F-1 --save"}[i],
             directory);
    complete(text, words, sizeof words);
    has(words, token_path);
  }
  complete("asaleectl help us", words, sizeof words);
  has(words, " user ");
  snprintf(text, sizeof text, "asaleectl --token-file %s/t", directory);
  complete(text, words, sizeof words);
  has(words, token_path);
  complete("asaleectl --acting-for user ''", words, sizeof words); /* a value is not a command */
  has(words, " status ");
}

/* ---- what is refused before anything is sent ---------------------------------------------------------------- */

static void test_usage(void **state) {
  (void)state;
  static const struct {
    const char *args[12], *say;
  } wrong[] = {
      {{"frobnicate"}, "commande inconnue"},
      {{"user"}, "un mot de plus"},
      {{"user", "frobnicate"}, "un mot de plus"},
      {{"status", "now"}, "argument en trop"},
      {{"status", "--frobnicate"}, "option inconnue"},
      {{"status", "-x"}, "option inconnue"},
      {{"status", "--role", "gp"}, "n'est pas de la commande"},
      {{"status", "--json=1"}, "n'attend pas de valeur"},
      {{"status", "--json", "--json"}, "deux fois"},
      {{"status", "--socket"}, "attend une valeur"},
      {{"status", "--socket", "--json"}, "attend une valeur"},
      {{"status", "--socket="}, "vide"},
      {{"status", "--token-file", "/nonexistent/file"}, "lecture impossible"},
      {{"status", "--token-file", "/dev/null"}, "un jeton est attendu"},
      {{"status", "--acting-for", "anne"}, "--token-file"},
      {{"status", "--acting-for", "a\r\nX: y"}, "nom de compte"},
      {{"user", "add", "anne"}, "--role"},
      {{"user", "add", "--role", "gp"}, "il manque NAME"},
      {{"user", "add", "anne", "--role", "doctor"}, "nurse|gp|ophthalmologist|admin|lgc|auditor"},
      {{"user", "add", "anne", "--role", "g"}, "nurse|gp|ophthalmologist|admin|lgc|auditor"},
      {{"user", "add", "anne", "--role", "gp|admin"}, "nurse|gp|ophthalmologist|admin|lgc|auditor"},
      {{"user", "add", "anne", "--role", "gp", "--display", "a\x1b[2J"}, "caractère de commande"},
      {{"user", "add", "anne", "--role", "gp", "--display", "\xff"}, "UTF-8"},
      {{"patient", "show", "../../x"}, "identifiant"},
      {{"patient", "put", "1", "--family", "A", "--given", "B", "--birth-date", "1957-02-30"}, "AAAA-MM-JJ"},
      {{"order", "4711"}, "il manque ACT"},
      {{"order", "list", "ecg"}, "argument en trop"},
      {{"acquire", "S-1"}, "--device"},
      {{"acquire", "1", "--device", "d"}, "S-12"},
      {{"acquire", "S-01", "--device", "d"}, "S-12"},
      {{"acquire", "S-1x", "--device", "d"}, "S-12"},
      {{"acquire", "R-1", "--device", "d"}, "S-12"},
      {{"acquire", "S-1", "--device", "d", "--seconds", "0"}, "de 1 à 3600"},
      {{"acquire", "S-1", "--device", "d", "--seconds", "1.5"}, "de 1 à 3600"},
      {{"acquire", "S-1", "--device", "d", "--seconds", "99999999999999999999"}, "de 1 à 3600"},
      {{"repeat", "S-1"}, "--reason"},
      {{"repeat", "S-1", "--reason", ""}, "vide"},
      {{"queue", "--limit", "-1"}, "un nombre"},
      {{"show", "O-1"}, "S-12"},
      {{"show", "S-1", "--json", "--channels", "-"}, "sans --json"},
      {{"retention", "list", "--limit", "201"}, "de 1 à 200"},
      {{"patient", "archive", "1"}, "--out"},
      {{"patient", "archive", "1", "--out", "-"}, "un fichier est attendu"},
      {{"patient", "archive", "1", "--out", "/dev/null"}, "existe déjà"},
      {{"patient", "archive", "1", "--out", "/nonexistent/x"}, "écriture impossible"},
      {{"patient", "erase", "1"}, "--archive"},
      {{"patient", "erase", "1", "--archive", "abc"}, "64 chiffres"},
      {{"patient", "erase", "..%2f1", "--archive", CLAIM}, "identifiant"},
      {{"dicom", "R-1"}, "--out"},
      {{"dicom", "S-1", "--out", "x"}, "R-12"},
      {{"dicom", "R-1", "0", "--out", "x"}, "de 1 à 32"},
      {{"dicom", "R-1", "1", "2", "--out", "x"}, "argument en trop"},
      {{"dicom", "R-1", "--out", "/dev/null"}, "existe déjà"},
      {{"release", "S-1"}, "une seule"},
      {{"release", "S-1", "--claim", CLAIM, "--claim-file", "x"}, "une seule"},
      {{"release", "S-1", "--claim", "0123"}, "64 chiffres"},
      {{"release", "S-1", "--claim-file", "/nonexistent"}, "lecture impossible"},
      {{"claim", "S-1", "--claim-file", "/nonexistent/x"}, "écriture impossible"},
      {{"sign", "S-1", "--claim", CLAIM, "--shown", CLAIM, "--text", "x"}, "--conclusion"},
      {{"sign", "S-1", "--claim", CLAIM, "--shown", CLAIM, "--conclusion", "normal"}, "une seule"},
      {{"sign", "S-1", "--claim", CLAIM, "--shown", CLAIM, "--conclusion", "fine", "--text", "x"}, "normal|abnormal"},
      {{"sign", "S-1", "--claim", CLAIM, "--shown", CLAIM, "--conclusion", "normal", "--text-file", "/dev/null"},
       "vide"},
      {{"audit", "archive", "--before", "yesterday"}, "AAAA-MM-JJ"},
      {{"audit", "export"}, "il manque FILE"},
      {{"audit", "export", "x", "--from", "0"}, "de 1 à"},
      {{"audit", "export", "/dev/null"}, "existe déjà"},
      {{"audit", "export", "/nonexistent/x"}, "écriture impossible"},
      {{"audit", "who-saw"}, "il manque PATIENT"},
      {{"audit", "who-saw", "a/b"}, "identifiant"},
      {{"audit", "verify", "--site-key", CLAIM}, "--file"},
      {{"audit", "verify", "--file", "x", "--site-key", "0123"}, "clé publique"},
      {{"audit", "verify", "--file", "/nonexistent"}, "lecture impossible"},
      {{"audit", "verify", "--file", "/"}, "lecture impossible"},
      {{"verify"}, "--file"},
      {{"verify", "R-1"}, "S-12"},
      {{"verify", "S-12", "S-13"}, "argument en trop"},
      {{"verify", "S-12", "--save", "/dev/null"}, "existe déjà"},
      {{"verify", "--file", "x", "--save", "y"}, "ne vont pas ensemble"},
      {{"verify", "--file", "/nonexistent"}, "lecture impossible"},
      {{"verify", "S-12", "--site-key", "0123"}, "clé publique"},
      {{"acquire", "S-1", "--device", "d", "--pictures", "33"}, "de 1 à 32"},
      {{"label", "S-1"}, "il manque PICTURE"},
      {{"label", "S-1", "R-3"}, "R-12/1"},
      {{"label", "S-1", "R-3/"}, "R-12/1"},
      {{"label", "S-1", "R-3/0"}, "R-12/1"},
      {{"label", "S-1", "R-3/33"}, "R-12/1"},
      {{"label", "S-1", "R-03/1"}, "R-12/1"},
      {{"label", "S-1", "S-3/1"}, "R-12/1"},
      {{"label", "S-1", "R-3/1"}, "--leave-out"},
      {{"label", "S-1", "R-3/1", "right"}, "il manque FIELD"},
      {{"label", "S-1", "R-3/1", "both", "macula"}, "right|left|droit|gauche|R|L"},
      {{"label", "S-1", "R-3/1", "R", "optic"}, "macula|disc|papille|other|autre"},
      {{"label", "S-1", "R-3/1", "R", "disc", "x"}, "argument en trop"},
      {{"label", "S-1", "R-3/1", "R", "disc", "--leave-out", "x"}, "--leave-out"},
      {{"label", "S-1", "R-3/1", "--leave-out", ""}, "vide"},
      {{"pupil", "S-1"}, "une seule"},
      {{"pupil", "S-1", "--undilated", "--dilated", "atropine"}, "une seule"},
      {{"pupil", "S-1", "--dilated", "coffee"}, "tropicamide"},
      {{"pupil", "S-1", "--dilated", "atropine,"}, "tropicamide"},
      {{"pupil", "S-1", "--undilated", "--degree", "6"}, "--dilated"},
      {{"picture", "R-1", "1"}, "--out"},
      {{"picture", "S-1", "1", "--out", "x"}, "R-12"},
      {{"picture", "R-1", "0", "--out", "x"}, "de 1 à 32"},
      {{"picture", "R-1", "--out", "x"}, "il manque N"},
      {{"import"}, "il manque FILE"},
      {{"import", ""}, "vide"},
      {{"import", "x", "--device", "a/b"}, "identifiant"},
      {{"file", "12"}, "F-12"},
      {{"file", "F-0"}, "F-12"},
      {{"file", "F-1", "--save", "/dev/null"}, "existe déjà"},
      {{"files", "--state", "to_interpret"}, "waiting|unmatched|attached|discarded|refused"},
      {{"queue", "--state", "waiting"}, "to_interpret|interpreting"},
      {{"queue", "--act", "foo"}, "ecg|spirometry|fundus|measurement"},
      {{"media", "../sda1"}, "identifiant"},
      {{"unmatched", "show", "S-1"}, "U-12"},
      {{"redecode", "R-1"}, "U-12"},
      {{"attach", "U-5", "--birth-date", "1957-03-02"}, "--order"},
      {{"attach", "U-5", "--order", "O-5"}, "--birth-date"},
      {{"attach", "U-5", "--order", "S-5", "--birth-date", "1957-03-02"}, "O-12"},
      {{"attach", "U-5", "--order", "O-5", "--birth-date", "02/03/1957"}, "AAAA-MM-JJ"},
      {{"attach", "U-5", "--order", "O-5", "--birth-date", "1957-03-02", "--confirm"}, "vont ensemble"},
      {{"attach", "U-5", "--order", "O-5", "--birth-date", "1957-03-02", "--reason", "x"}, "vont ensemble"},
      {{"discard", "U-5"}, "--reason"},
      {{"reassign", "S-3", "--order", "O-9", "--birth-date", "1957-03-02"}, "--reason"},
      {{"reassign", "S-3", "--record", "R-3,"}, "R-12,R-13"},
      {{"reassign", "S-3", "--record", "R-3,S-4"}, "R-12,R-13"},
      {{"reassign", "S-3", "--record", ",R-3"}, "R-12,R-13"},
      {{"--", "status", "x"}, "usage:"}, /* words after -- name no command */
  };
  unlink(socket_path);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    int r = run_argv(wrong[i].args, NULL);
    if (r != CTL_USAGE)
      fail_msg("row %zu (%s) ended with %d", i, wrong[i].say, r);
    has(err_text, wrong[i].say);
    assert_string_equal(out_text, "");
  }
}

/* Any words in any order: an answer, never a crash. */
static void test_usage_random(void **state) {
  (void)state;
  static const char *const words[] = {"status",
                                      "user",
                                      "add",
                                      "list",
                                      "sign",
                                      "S-1",
                                      "--role",
                                      "gp",
                                      "--",
                                      "-h",
                                      "--json",
                                      "--claim",
                                      CLAIM,
                                      "--text",
                                      "x",
                                      "help",
                                      "order",
                                      "audit",
                                      "-",
                                      "",
                                      "--help",
                                      "=",
                                      "--socket=",
                                      "--limit=5",
                                      "draft",
                                      "save",
                                      "rhythm=sinus",
                                      "signs=",
                                      "--mine",
                                      "queue",
                                      "--findings=/dev/null"};
  unsigned seed = 1;
  unlink(socket_path);
  for (int i = 0; i < 20000; i++) {
    const char *args[12] = {0};
    for (size_t k = 0, n = seed % 11; k < n; k++) {
      seed = seed * 1103515245u + 12345u;
      args[k] = words[(seed >> 16) % (sizeof words / sizeof *words)];
    }
    seed = seed * 1103515245u + 12345u;
    int r = run_argv(args, NULL);
    assert_true(r == CTL_OK || r == CTL_USAGE || r == CTL_UNREACHED);
  }
}

/* ---- one request, one answer -------------------------------------------------------------------------------- */

static void test_unreached(void **state) {
  (void)state;
  unlink(socket_path);
  assert_int_equal(RUN("status"), CTL_UNREACHED);
  has(err_text, "systemctl status asaleed");
  has(err_text, "--socket");
  has(err_text, socket_path);
  pid_t pid = SCRIPT({.expect = "GET /v1/health ", .status = 200, .body = "<html>", .type = "text/html"});
  assert_int_equal(RUN("status"), CTL_UNREACHED);
  free(played(pid));
  pid = SCRIPT({.expect = "GET /v1/health ", .status = 200, .body = "[]"});
  assert_int_equal(RUN("status"), CTL_UNREACHED);
  free(played(pid));
}

static void test_status(void **state) {
  (void)state;
  static const char body[] =
      "{ \"status\" : \"ok\",\n \"version\":\"0.1.0\",\"store\":\"full\",\"devices\":{\"present\":1,"
      "\"bound\":2},\"acquiring\":0}\n";
  pid_t pid = SCRIPT({.expect = "GET /v1/health HTTP/1.1\r\n", .status = 200, .body = body});
  assert_int_equal(RUN("status"), CTL_OK);
  has(out_text, "Stockage         : plein : libérer de la place\n");
  has(out_text, "branchés : 1, déclarés : 2");
  char *log = played(pid);
  has_not(log, "Authorization");
  has_not(log, "Idempotency-Key");
  free(log);
  pid = SCRIPT({.expect = "GET /v1/health ", .status = 200, .body = body});
  assert_int_equal(RUN("--json", "status"), CTL_OK);
  assert_string_equal(out_text,
                      "{\"status\":\"ok\",\"version\":\"0.1.0\",\"store\":\"full\",\"devices\":{\"present\":1,"
                      "\"bound\":2},\"acquiring\":0}\n");
  free(played(pid));
}

static void test_token(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "GET /v1/users ", .status = 200, .body = "{\"items\":[]}"});
  assert_int_equal(RUN("user", "list", "--token-file", token_path, "--acting-for=anne"), CTL_OK);
  has(out_text, "Aucun compte");
  assert_string_equal(err_text, "");
  char *log = played(pid);
  has(log, "\r\nAuthorization: Bearer secret-token\r\n");
  has(log, "\r\nAsaleed-Acting-For: anne\r\n");
  free(log);
  setenv("ASALEED_TOKEN_FILE", token_path, 1);
  chmod(token_path, 0644);
  pid = SCRIPT({.expect = "GET /v1/users ", .status = 200, .body = "{\"items\":[]}"});
  assert_int_equal(RUN("user", "list"), CTL_OK);
  has(err_text, "lisible par d'autres");
  log = played(pid);
  has(log, "\r\nAuthorization: Bearer secret-token\r\n");
  free(log);
  chmod(token_path, 0600);
  unsetenv("ASALEED_TOKEN_FILE");
}

static void test_refused(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "POST /v1/studies/S-1/accept ",
                      .status = 409,
                      .body = PROBLEM("confirmation_needed", "À vérifier.\\u001b[31m")});
  assert_int_equal(RUN("accept", "S-1", "--comment", "vu"), CTL_REFUSED);
  has(err_text, "asaleectl: À vérifier.[31m (confirmation_needed)\n"); /* the escape is gone */
  has(err_text, "asaleectl accept S-1 --confirm");
  assert_string_equal(out_text, "");
  char *log = played(pid);
  has(log, "\r\n\r\n{\"comment\":\"vu\"}");
  free(log);
  pid = SCRIPT(
      {.expect = "POST /v1/studies/S-1/accept ", .status = 409, .body = PROBLEM("confirmation_needed", "À vérifier.")});
  assert_int_equal(RUN("accept", "S-1", "--json", "--confirm"), CTL_REFUSED);
  has(out_text, "\"code\":\"confirmation_needed\"");
  log = played(pid);
  has(log, "{\"confirm\":true}");
  free(log);
  pid = SCRIPT({.expect = "POST /v1/studies/S-1/redecode ", .status = 500, .body = "oops", .type = "text/plain"});
  assert_int_equal(RUN("redecode", "S-1"), CTL_REFUSED);
  has(err_text, "http_500");
  free(played(pid));
}

/* The header's value in a log, from `at`. */
static void header(const char *log, const char *name, char value[static 128]) {
  const char *at = strstr(log, name);
  assert_non_null(at);
  snprintf(value, 128, "%.*s", (int)strcspn(at + strlen(name), "\r"), at + strlen(name));
}

static void test_retry(void **state) {
  (void)state;
  char first[128], second[128];
  pid_t pid = SCRIPT({.expect = "POST /v1/orders "},
                     {.expect = "POST /v1/orders ",
                      .status = 201,
                      .body = "{\"id\":\"O-1\",\"patient\":\"4711\",\"act\":\"ecg\",\"study\":{\"id\":\"S-1\"}}"});
  assert_int_equal(RUN("order", "4711", "ecg"), CTL_OK);
  has(out_text, "Examen           : S-1\n");
  char *log = played(pid);
  has(log, "{\"act\":\"ecg\",\"patient\":\"4711\"}");
  header(log, "Idempotency-Key: ", first);
  header(strstr(strstr(log, "Idempotency-Key: ") + 10, "POST "), "Idempotency-Key: ", second);
  assert_string_equal(first, second);
  assert_int_equal(strlen(first), 32);
  free(log);
  pid = SCRIPT({.expect = "POST /v1/orders "}, {.expect = "POST /v1/orders "}); /* once more, not twice */
  assert_int_equal(RUN("order", "--", "list", "ecg"), CTL_UNREACHED);
  has(err_text, "peut-être été exécutée");
  log = played(pid);
  has(log, "\"patient\":\"list\"");
  header(log, "Idempotency-Key: ", second);
  assert_string_not_equal(first, second);
  free(log);
  pid = SCRIPT({.expect = "PUT /v1/patients/1 "}); /* has no key: it is not sent again */
  assert_int_equal(
      RUN("patient", "put", "1", "--family", "A", "--given", "B", "--birth-date", "1957-03-02", "--sex", "F"),
      CTL_UNREACHED);
  free(played(pid));
}

static void test_patient(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "PUT /v1/patients/4711 ", .status = 200, .body = "{\"id\":\"4711\",\"version\":4}"},
      {.expect = "PUT /v1/patients/4711 ",
       .status = 428,
       .body = PROBLEM("precondition_required", "Relire le patient.")},
      {.expect = "GET /v1/patients/4711 ",
       .status = 200,
       .body = "{\"id\":\"4711\",\"family\":\"DUPONT\",\"given\":\"Ma\\u0007rie\\u202e\",\"birth_date\":\"1957-03-02\","
               "\"sex\":\"F\",\"version\":4,\"updated\":\"2025-11-22T00:05:00.000000+00:00\"}"});
  assert_int_equal(RUN("patient", "put", "4711", "--family", "DUPONT", "--given", "Marie", "--birth-date", "1957-03-02",
                       "--sex=F", "--if-match", "3"),
                   CTL_OK);
  has(out_text, "Patient modifié  : 4711\n");
  assert_int_equal(
      RUN("patient", "put", "4711", "--family", "D", "--given", "M", "--birth-date", "1957-03-02", "--sex=F"),
      CTL_REFUSED);
  has(err_text, "--if-match");
  assert_int_equal(RUN("patient", "show", "4711"), CTL_OK);
  has(out_text, "Prénom           : Marie\n");
  has(out_text, ": 02/03/1957\n");
  has(out_text, ": 22/11/2025 01:05\n");
  char *log = played(pid);
  has(log, "\r\nIf-Match: \"3\"\r\n");
  free(log);
}

#define QUEUED(study, family)                                                                                      \
  "{\"study\":\"" study "\",\"patient\":{\"id\":\"1\",\"family\":\"" family                                        \
  "\",\"given\":\"Zoé\",\"birth_date\":\"1957-03-02\",\"sex\":\"F\"},\"act\":\"ecg\",\"state\":\"to_interpret\"," \
  "\"age_seconds\":93784,\"accepted\":\"2025-11-22T00:00:00Z\",\"due\":\"2025-11-23T00:00:00Z\",\"overdue\":true," \
  "\"clean\":false,\"claim\":null,\"reader\":\"gp\",\"urgent\":false}"

static void test_queue(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "GET /v1/queue?state=to_interpret&act=ecg&limit=200 ",
                      .status = 200,
                      .body = "{\"items\":[" QUEUED("S-1", "ÉÉÉ") "],\"next\":\"a/b\"}"},
                     {.expect = "GET /v1/queue?state=to_interpret&act=ecg&limit=200&cursor=a%2Fb ",
                      .status = 200,
                      .body = "{\"items\":[" QUEUED("S-1000", "A") "],\"next\":null}"});
  assert_int_equal(RUN("queue", "--state", "to_interpret", "--act", "ecg"), CTL_OK);
  assert_string_equal(
      out_text,
      "Examen  Patient  Né(e) le    Acte  État           Attente  Échéance                      Qualité     Lecteur  "
      "Pris par\n"
      "S-1     ÉÉÉ Zoé  02/03/1957  ECG   à interpréter  1 j 2 h  23/11/2025 01:00 (en retard)  à vérifier  médecin  "
      "—\n"
      "S-1000  A Zoé    02/03/1957  ECG   à interpréter  1 j 2 h  23/11/2025 01:00 (en retard)  à vérifier  médecin  "
      "—\n");
  assert_string_equal(err_text, "");
  free(played(pid));
  pid = SCRIPT({.expect = "GET /v1/queue?limit=1 ",
                .status = 200,
                .body = "{\"items\":[" QUEUED("S-1", "A") "],\"next\":\"2\"}"});
  assert_int_equal(RUN("queue", "--limit", "1"), CTL_OK);
  has(err_text, "la liste continue");
  free(played(pid));
  pid = SCRIPT({.expect = "GET /v1/queue?limit=200 ", .status = 200, .body = "{\"items\":[],\"next\":\"2\"}"},
               {.expect = "GET /v1/queue?limit=200&cursor=2 ",
                .status = 200,
                .body = "{\"items\":[],\"next\":\"2\"}"}); /* a daemon that runs in circles */
  assert_int_equal(RUN("queue"), CTL_UNREACHED);
  free(played(pid));
}

static void test_lists(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "GET /v1/devices ",
       .status = 200,
       .body = "{\"items\":[{\"id\":\"ecg-1\",\"label\":\"EMI12\",\"driver\":\"corscience_emi12\",\"modalities\":["
               "\"ecg\",7,\"measurement\",\"x\\u001b[2J\"],"
               "\"maturity\":"
               "\"verified\",\"present\":true,\"busy\":false,\"node\":\"/dev/"
               "ttyUSB0\",\"serial\":\"A\\u009b1\",\"bound\":true},"
               "{\"id\":null,\"bound\":false,\"label\":\"FT232\",\"node\":\"/dev/ttyUSB1\",\"hint\":\"[device]\\nid = "
               "x\\u001b[2J\"}]}"},
      {.expect = "GET /v1/drivers ",
       .status = 200,
       .body =
           "{\"items\":[{\"name\":\"a\",\"version\":\"1\",\"label\":\"L\",\"modalities\":[\"spirometry\"],\"maturity\":"
           "\"simulated\","
           "\"integrity\":\"crc16\",\"binds\":[\"usb 1\",\"file\"],\"max_seconds\":60,\"default_seconds\":10}]}"},
      {.expect = "GET /v1/orders?patient=4711&limit=50 ",
       .status = 200,
       .body = "{\"items\":[{\"id\":\"O-1\",\"patient\":\"4711\",\"act\":\"ecg\",\"ordered_by\":\"anne\",\"ordered\":"
               "\"2025-11-22T00:00:00Z\",\"study\":{\"id\":\"S-1\",\"state\":\"interpreting\"}}],\"next\":null}"},
      {.expect = "GET /v1/changes?since=7&limit=200 ",
       .status = 200,
       .body = "{\"items\":[{\"seq\":8,\"at\":\"2025-11-22T00:00:00Z\",\"kind\":\"study\",\"id\":\"S-1\",\"state\":"
               "\"acquired\"}],\"next_since\":8}"},
      {.expect = "GET /v1/changes?since=8&limit=200 ", .status = 200, .body = "{\"items\":[],\"next_since\":8}"},
      {.expect = "GET /v1/audit?limit=50 ",
       .status = 200,
       .body = "{\"items\":[{\"seq\":1,\"at\":\"2025-11-22T00:00:00Z\",\"actor\":\"lgc\",\"acting_for\":\"anne\","
               "\"action\":"
               "\"study.sign\",\"subject\":\"S-1\",\"detail\":{\"a\":1},\"hash\":\"00\"}],\"next\":null}"},
      {.expect = "POST /v1/audit/archive ", .status = 200, .body = "{\"rows\":9,\"artefact\":\"00\"}"});
  assert_int_equal(RUN("devices"), CTL_OK);
  has(out_text, "prêt  ECG, mesure, x[2J  corscience_emi12  vérifié");
  has(out_text, "/dev/ttyUSB0  A1\n");
  has(out_text, "    [device]\n    id = x[2J\n");
  assert_int_equal(RUN("drivers"), CTL_OK);
  has(out_text, "L         spirométrie  simulé");
  has(out_text, "10 s (60 au plus)  usb 1, file\n");
  assert_int_equal(RUN("order", "list", "--patient", "4711"), CTL_OK);
  has(out_text, "en lecture");
  assert_int_equal(RUN("changes", "--since", "7"), CTL_OK);
  has(out_text, "à accepter\nSuite : --since 8\n");
  assert_int_equal(RUN("audit", "list"), CTL_OK);
  has(out_text, "study.sign  S-1    {\"a\":1}\n");
  assert_int_equal(RUN("audit", "archive", "--before", "2025-07-01"), CTL_OK);
  char *log = played(pid);
  has(log, "{\"before\":\"2025-07-01T00:00:00.000000+02:00\"}");
  free(log);
}

static void test_users(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "POST /v1/users ",
                      .status = 201,
                      .body = "{\"name\":\"anne\",\"role\":\"nurse\",\"display\":\"Anne\",\"token\":\"tok\"}"},
                     {.expect = "POST /v1/users/a%2Fb/token ", .status = 201, .body = "{\"token\":\"tok2\"}"},
                     {.expect = "POST /v1/users/anne/disable ", .status = 200, .body = "{}"});
  assert_int_equal(RUN("user", "add", "anne", "--role", "nurse", "--display", "Anne"), CTL_OK);
  has(out_text, "Jeton            : tok\n");
  assert_int_equal(RUN("user", "token", "a/b"), CTL_OK);
  has(out_text, "tok2");
  assert_int_equal(RUN("user", "disable", "anne"), CTL_OK);
  char *log = played(pid);
  has(log, "{\"display\":\"Anne\",\"name\":\"anne\",\"role\":\"nurse\"}");
  free(log);
}

/* ---- interpretation ----------------------------------------------------------------------------------------- */

#define CLAIMED "{\"study\":{\"id\":\"S-1\"},\"token\":\"" CLAIM "\",\"expires\":\"2025-11-22T00:00:00Z\"}"

static void test_claim_and_sign(void **state) {
  (void)state;
  struct stat st;
  pid_t pid = SCRIPT(
      {.expect = "POST /v1/studies/S-1/claim ", .status = 200, .body = CLAIMED},
      {.expect = "POST /v1/studies/S-1/sign ",
       .status = 200,
       .body =
           "{\"id\":\"S-1\",\"state\":\"interpreted\",\"interpretation\":{\"id\":\"I-1\",\"version\":1,\"by\":\"Dr B\","
           "\"signed\":\"2025-11-22T00:00:00Z\",\"conclusion\":\"abnormal\",\"text\":\"x\"}}"},
      {.expect = "POST /v1/studies/S-1/claim ", .status = 200, .body = CLAIMED},
      {.expect = "POST /v1/studies/S-1/release ", .status = 200, .body = "{\"state\":\"to_interpret\"}"},
      {.expect = "POST /v1/studies/S-1/claim ", .status = 409, .body = PROBLEM("already_claimed", "Déjà pris.")});
  umask(0);
  unlink(file_path);
  assert_int_equal(RUN("claim", "S-1", "--claim-file", file_path), CTL_OK);
  has_not(out_text, CLAIM);
  assert_int_equal(stat(file_path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  char text_path[128];
  snprintf(text_path, sizeof text_path, "%s/text", directory);
  write_file(text_path, "\xef\xbb\xbfRythme sinusal.\r\n\tSous-décalage en « V5 ».\r\n");
  assert_int_equal(RUN("sign", "S-1", "--claim-file", file_path, "--shown", CLAIM, "--conclusion", "abnormal",
                       "--text-file", text_path),
                   CTL_OK);
  unlink(text_path);
  has(out_text, "Conclusion       : anormal\n");
  assert_int_equal(RUN("claim", "S-1"), CTL_OK);
  has(out_text, CLAIM);
  assert_int_equal(RUN("release", "S-1", "--claim", CLAIM), CTL_OK);
  has(out_text, "à interpréter");
  unlink(file_path);
  assert_int_equal(RUN("claim", "S-1", "--claim-file", file_path), CTL_REFUSED); /* leaves no file */
  assert_int_equal(stat(file_path, &st), -1);
  char *log = played(pid);
  has(log, "\"text\":\"Rythme sinusal.\\n\\tSous-décalage en « V5 ».\"");
  has(log, "{\"token\":\"" CLAIM "\"}");
  free(log);
}

#define STUDY_BODY(state, records)                                                                                   \
  "{\"id\":\"S-1\",\"order\":\"O-1\",\"patient\":{\"id\":\"1\",\"family\":\"A\",\"given\":\"B\",\"birth_date\":"     \
  "\"1957-03-02\",\"sex\":\"F\"},\"act\":\"ecg\",\"state\":\"" state "\",\"attempts\":1,\"due\":null,\"version\":3," \
  "\"records\":[" records "],\"claim\":null,\"acquisition\":"
#define RECORD(id, clean)                                                                           \
  "{\"id\":\"" id "\",\"driver\":\"d\",\"driver_version\":\"1\",\"complete\":true,\"clean\":" clean \
  ",\"superseded\":false}"

static void test_show(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "GET /v1/studies/S-1 ",
       .status = 200,
       .body =
           STUDY_BODY("acquired", RECORD("R-2", "false")) "null,\"last_failure\":{\"code\":\"c\",\"detail\":\"d\"}}"},
      {.expect = "GET /v1/records/R-2 ",
       .status = 200,
       .body =
           "{\"id\":\"R-2\",\"study\":\"S-1\",\"provenance\":{\"driver\":\"d\",\"driver_version\":\"1\"},\"record\":{"
           "\"acquired\":{\"channels\":[{\"label\":\"II\",\"samples\":5000,\"rate\":\"500\",\"scale\":\"2.63\","
           "\"unit\":"
           "\"uV\","
           "\"gaps\":[[1,2],[9,3]],\"derived\":true}],\"measures\":[{\"label\":\"VEMS\",\"value\":\"3.10\",\"unit\":"
           "\"L\","
           "\"flags\":[\"unusually_low\"]}]},\"complete\":true,\"end\":\"ok\",\"quality\":[{\"severity\":\"check\","
           "\"text\":"
           "\"Recoller.\"}],\"statements\":[{\"code\":\"x\",\"text\":\"PAC\"}]}}"});
  assert_int_equal(RUN("show", "S-1"), CTL_OK);
  has(out_text, "Patient          : A B\n");
  has(out_text, "Dernier échec    : d (c)\n");
  has(out_text, "R-2");
  assert_int_equal(RUN("show", "R-2"), CTL_OK);
  has(out_text, "II    5000          500          2,63 µV  5        calculée\n");
  has(out_text, "VEMS    3.10    L      inhabituellement bas\n");
  has(out_text, "  à vérifier : Recoller.\n");
  has(out_text, "  PAC\n");
  free(played(pid));
}

/* ---- proofs ------------------------------------------------------------------------------------------------- */

#define VERIFY_HEAD "Examen           : S-12\nClé du site      : "
#define VERIFY_TABLE(first, second, third)                                         \
  "Version  Signée par            RPPS         Le                Vérification\n" \
  "1        DUPONT Anne           10001234567  29/03/2026 03:00  " first "\n"      \
  "2        MARTIN Hugo, par lgc  10003456782  29/03/2026 03:00  " second "\n"     \
  "3        DUPONT Anne           10001234567  29/03/2026 03:00  " third "\n"

static char *proof_text(json_t *proof) {
  uint8_t site[SIGNATURE_SECRET];
  proof_make_secret(0, site);
  assert_int_equal(proof_seal(proof, site), 0);
  char *text = json_canonical(proof, NULL);
  json_decref(proof);
  return text;
}

static void test_verify(void **state) {
  (void)state;
  char saved[128], key[2 * SIGNATURE_PUBLIC + 1], *whole = proof_text(proof_make_open(3)), *text;
  uint8_t site[SIGNATURE_SECRET];
  proof_make_secret(0, site);
  str_hex(site + SIGNATURE_SEED, SIGNATURE_PUBLIC, key);
  snprintf(saved, sizeof saved, "%s/proof", directory);
  pid_t pid = SCRIPT({.expect = "GET /v1/studies/S-12/proof ", .status = 200, .body = whole},
                     {.expect = "GET /v1/studies/S-12/proof ", .status = 200, .body = whole},
                     {.expect = "GET /v1/studies/S-12/proof ", .status = 200, .body = whole},
                     {.expect = "GET /v1/studies/S-13/proof ", .status = 200, .body = whole},
                     {.expect = "GET /v1/studies/S-12/proof ", .status = 403, .body = PROBLEM("forbidden", "Non.")},
                     {.expect = "GET /v1/studies/S-12/proof ", .status = 200, .body = "{\"a\":1.5}"},
                     {.expect = "GET /v1/studies/S-12/proof ", .status = 200, .body = "x", .type = "text/plain"});
  assert_int_equal(RUN("verify", "S-12", "--save", saved), CTL_OK);
  has(out_text, VERIFY_HEAD);
  has(out_text, key);
  has(out_text, VERIFY_TABLE("valide", "valide, retirée le 29/03/2026 03:00", "valide"));
  has(out_text, "Tout est valide.\n");
  has(out_text, "--site-key"); /* nobody vouched for the site */
  assert_string_equal(err_text, "");
  text = read_file(saved);
  assert_string_equal(text, whole);
  free(text);
  assert_int_equal(RUN("verify", "S-12", "--save", "-"), CTL_OK);
  assert_string_equal(out_text, whole);
  assert_int_equal(RUN("verify", "S-12", "--json", "--site-key", key), CTL_OK);
  assert_string_equal(out_text, "{\"fault\":\"holds\",\"site_key_given\":true,\"study\":\"S-12\",\"version\":null,"
                                "\"versions\":[{\"fault\":\"holds\",\"version\":1},{\"fault\":\"holds\",\"version\":2},"
                                "{\"fault\":\"holds\",\"version\":3}]}\n");
  assert_int_equal(RUN("verify", "S-13"), CTL_REFUSED); /* a whole proof, of another study */
  has(err_text, "preuve refusée : elle a été signée pour un autre examen (study)");
  has_not(out_text, "Tout est valide");
  assert_int_equal(RUN("verify", "S-12"), CTL_REFUSED);
  has(err_text, "(forbidden)");
  assert_int_equal(RUN("verify", "S-12"), CTL_REFUSED);
  has(err_text, "ce n'est pas une preuve lisible");
  assert_int_equal(RUN("verify", "S-12"), CTL_UNREACHED);
  free(played(pid));

  unlink(socket_path); /* nobody is asked any more */
  assert_int_equal(RUN("verify", "--file", saved, "--site-key", key), CTL_OK);
  has(out_text, "Tout est valide.\n");
  has_not(out_text, "--site-key");
  assert_int_equal(RUN("verify", "S-12", "--file", saved), CTL_OK);
  assert_int_equal(RUN("verify", "S-1", "--file", saved), CTL_REFUSED);
  has(err_text, "(study)");
  assert_int_equal(RUN("verify", "--file", saved, "--site-key", CLAIM), CTL_REFUSED);
  has(err_text, "preuve refusée : elle ne vient pas du site dont la clé est donnée (site_key)");
  assert_string_equal(out_text, "");
  assert_int_equal(RUN("verify", "--file", saved, "--site-key", CLAIM, "--json"), CTL_REFUSED);
  has(out_text, "{\"fault\":\"site_key\",\"site_key_given\":true,\"study\":\"S-12\",\"version\":null,\"versions\":[]}");
  unlink(saved);
  free(whole);
}

/* What does not hold is named; and whatever stands in a file, it is no more than that. */
static void test_verify_refused(void **state) {
  (void)state;
  char saved[128], *text;
  snprintf(saved, sizeof saved, "%s/proof", directory);
  json_t *proof = proof_make_open(3);
  json_t *xs = json_object_get(proof, "interpretations");
  json_object_set_new(json_array_get(xs, 1), "text", json_string("Bloc de branche gauche."));
  write_file(saved, text = proof_text(proof));
  free(text);
  assert_int_equal(RUN("verify", "--file", saved), CTL_REFUSED);
  has(out_text,
      VERIFY_TABLE("valide", "le texte n'est pas celui qui a été signé, retirée le 29/03/2026 03:00", "valide"));
  has_not(out_text, "Tout est valide");
  has(err_text, "asaleectl: version 2 refusée : le texte n'est pas celui qui a été signé (text)\n");

  proof = proof_make(3); /* as the site never gave it */
  json_object_set_new(json_array_get(json_object_get(proof, "records"), 0), "id", json_string("R-1"));
  text = json_canonical(proof, NULL);
  json_decref(proof);
  write_file(saved, text);
  free(text);
  assert_int_equal(RUN("verify", "--file", saved), CTL_REFUSED);
  has(err_text, "preuve refusée : elle n'est pas telle que le site l'a remise (seal)");
  has_not(out_text, "Tout est valide");

  proof = proof_make_open(1); /* texts of the file reach no terminal as they are */
  json_object_set_new(json_array_get(json_object_get(proof, "interpretations"), 0), "statement",
                      json_pack("{s:{s:s, s:i}, s:s}", "signer", "family",
                                "A\xe2\x80\xae"
                                "B",
                                "rpps", 7, "signed", "hier"));
  write_file(saved, text = proof_text(proof));
  free(text);
  assert_int_equal(RUN("verify", "--file", saved), CTL_REFUSED);
  has(out_text, "1        AB          —     hier  elle n'a pas la forme attendue\n");
  has(err_text, "version 1 refusée : elle n'a pas la forme attendue (form)");

  static const char *const rows[] = {"", "{}", "[]", "{", "{\"study\":\"S-12\"}", "{\"a\":1,\"a\":2}", "\xff"};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    write_file(saved, rows[i]);
    assert_int_equal(RUN("verify", "--file", saved), CTL_REFUSED);
    has(err_text, "(form)");
    assert_string_equal(out_text, "");
  }
  unlink(saved);
}

/* Each byte of a proof that the site sealed, dropped: never a crash, never valid. */
static void test_verify_cut(void **state) {
  (void)state;
  char saved[128], *text = proof_text(proof_make_open(1));
  const size_t n = strlen(text);
  snprintf(saved, sizeof saved, "%s/proof", directory);
  for (size_t at = 0; at < n; at += 7) {
    char *cut = strdup(text);
    memmove(cut + at, cut + at + 1, n - at);
    write_file(saved, cut);
    assert_int_equal(RUN("verify", "--file", saved), CTL_REFUSED);
    cut[at] = 0;
    write_file(saved, cut);
    assert_int_equal(RUN("verify", "--file", saved), CTL_REFUSED);
    free(cut);
  }
  unlink(saved);
  free(text);
}

/* The study's newest record in force, its samples compared with their own header and with the record's hash. */
static void test_channels(void **state) {
  (void)state;
  static const char head[] =
      "{\"channels\":[{\"first\":0,\"samples\":2},{\"first\":2,\"samples\":1}],\"encoding\":\"int16-le\"}";
  uint8_t octets[256] = {sizeof head - 1};
  memcpy(octets + 4, head, sizeof head - 1);
  size_t at = (4 + sizeof head - 1 + 3) / 4 * 4, n = at + 6;
  memcpy(octets + at, "\1\0\2\0\0\x80", 6);
  char hash[HASH_TEXT], records[2][512];
  hash_sha256_text(octets + at, 6, hash);
  for (int i = 0; i < 2; i++) {
    snprintf(records[i], sizeof records[i],
             "{\"id\":\"R-10\",\"record\":{\"acquired\":{\"data\":{\"sha256\":\"%s\"}}}}", hash);
    hash[0] = hash[0] == '0' ? '1' : '0';
  }
  struct step steps[] = {
      {.expect = "GET /v1/studies/S-1 ",
       .status = 200,
       .body = STUDY_BODY("acquired", RECORD("R-9", "true") "," RECORD(
                                          "R-10", "true") ",{\"id\":\"R-11\",\"superseded\":true}") "null}"},
      {.expect = "GET /v1/records/R-10 ", .status = 200, .body = records[0]},
      {.expect = "GET /v1/records/R-10/channels ",
       .status = 200,
       .body = (char *)octets,
       .body_n = n,
       .type = "application/octet-stream"},
  };
  struct stat st;
  for (int i = 0; i < 5; i++) {
    unlink(file_path);
    steps[1].body = records[i == 4];
    steps[2].body_n = n - (size_t)(i == 1 ? 2 : i == 2 ? n : i == 3 ? 1 : 0);
    steps[2].body_n += i == 2 ? 3 : 0;
    pid_t pid = script(steps, 3);
    int r = RUN("show", "S-1", "--channels", file_path);
    free(played(pid));
    assert_int_equal(r, i == 0 ? CTL_OK : i == 4 ? CTL_REFUSED : CTL_UNREACHED);
    assert_int_equal(stat(file_path, &st), i == 0 ? 0 : -1);
    if (i == 0)
      assert_int_equal(st.st_size, n);
    if (i == 0)
      assert_int_equal(st.st_mode & 0777, 0600);
  }
  steps[1].body = records[0];
  steps[2].body_n = n;
  pid_t pid = script(steps, 3);
  assert_int_equal(RUN("show", "S-1", "--channels", "-"), CTL_OK);
  assert_int_equal(out_n, n);
  assert_memory_equal(out_text, octets, n);
  free(played(pid));
}

/* ---- retinography ------------------------------------------------------------------------------------------- */

#define FUNDUS                                                                                                        \
  "{\"id\":\"S-1\",\"act\":\"fundus\",\"state\":\"acquired\",\"records\":[],\"fundus\":{\"missing\":[\"Œil gauche, " \
  "macula\",\"Œil gauche, papille\"],\"pictures\":[{\"excluded\":null,\"field\":\"disc\",\"label\":\"Œil droit, "   \
  "papille\",\"laterality\":\"R\",\"picture\":1,\"record\":\"R-3\"},{\"excluded\":\"floue\",\"label\":\"Laissée de " \
  "côté\",\"picture\":2,\"record\":\"R-3\"},{\"label\":null,\"picture\":3,\"record\":\"R-3\"}],\"pupil\":"          \
  "{\"agents\":[\"tropicamide\",\"phenylephrine\"],\"degree_mm\":\"6.5\",\"dilated\":true},\"repeated\":[\"Œil "     \
  "droit, "                                                                                                           \
  "papille : R-3/1, R-4/1\"],\"views\":[{\"picture\":\"R-3/1\",\"text\":\"Œil droit, papille\"},{\"picture\":null,"  \
  "\"text\":\"Œil gauche, macula\"}]}}"

static void test_fundus(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "GET /v1/studies/S-1 ", .status = 200, .body = FUNDUS},
                     {.expect = "PUT /v1/studies/S-1/pictures ", .status = 200, .body = FUNDUS},
                     {.expect = "PUT /v1/studies/S-1/pictures ", .status = 200, .body = FUNDUS},
                     {.expect = "PUT /v1/studies/S-1/pupil ", .status = 200, .body = FUNDUS},
                     {.expect = "PUT /v1/studies/S-1/pupil ", .status = 200, .body = FUNDUS},
                     {.expect = "POST /v1/studies/S-1/finish ", .status = 200, .body = FUNDUS},
                     {.expect = "PUT /v1/studies/S-1/pictures ",
                      .status = 400,
                      .body = PROBLEM("invalid_field", "La valeur d'un champ n'est pas acceptée.")});
  assert_int_equal(RUN("show", "S-1"), CTL_OK);
  has(out_text, "R-3/1  Œil droit, papille            —\n");
  has(out_text, "R-3/2  Laissée de côté               floue\n");
  has(out_text, "R-3/3  à indiquer (asaleectl label)  —\n");
  has(out_text, "Œil droit, papille  R-3/1\n");
  has(out_text, "Œil gauche, macula  MANQUE\n");
  has(out_text, "Pupille          : dilatée par tropicamide, phényléphrine, 6,5 mm\n");
  has(out_text, "Vues manquantes  : Œil gauche, macula ; Œil gauche, papille\n");
  has(out_text, "Vues en double   : Œil droit, papille : R-3/1, R-4/1\n");
  assert_int_equal(RUN("label", "S-1", "R-3/2", "gauche", "disc"), CTL_OK);
  has(out_text, "Œil gauche, macula  MANQUE\n");
  assert_int_equal(RUN("label", "S-1", "R-12/3", "--leave-out", "trop floue"), CTL_OK);
  assert_int_equal(RUN("pupil", "S-1", "--dilated", "tropicamide,atropine", "--degree", "6.5"), CTL_OK);
  assert_int_equal(RUN("pupil", "S-1", "--undilated"), CTL_OK);
  assert_int_equal(RUN("finish", "S-1"), CTL_OK);
  assert_int_equal(RUN("label", "S-1", "R-99/3", "R", "disc"), CTL_REFUSED);
  char *log = played(pid);
  has(log, "{\"pictures\":[{\"field\":\"disc\",\"laterality\":\"L\",\"picture\":2,\"record\":\"R-3\"}]}");
  has(log, "{\"pictures\":[{\"exclude\":\"trop floue\",\"picture\":3,\"record\":\"R-12\"}]}");
  has(log, "{\"agents\":[\"tropicamide\",\"atropine\"],\"degree_mm\":\"6.5\",\"dilated\":true}");
  has(log, "{\"dilated\":false}");
  has(log, "{\"pictures\":[{\"field\":\"disc\",\"laterality\":\"R\",\"picture\":3,\"record\":\"R-99\"}]}");
  free(log);
}

/* Every word for an eye, and for a field. */
static void test_eyes(void **state) {
  (void)state;
  static const char *const eyes[][2] = {{"right", "R"}, {"droit", "R"},  {"R", "R"},
                                        {"left", "L"},  {"gauche", "L"}, {"L", "L"}};
  static const char *const fields[][2] = {{"other", "other"},  {"autre", "other"},   {"disc", "disc"},
                                          {"papille", "disc"}, {"macula", "macula"}, {"disc", "disc"}};
  for (size_t i = 0; i < sizeof eyes / sizeof *eyes; i++) {
    char expected[64];
    pid_t pid = SCRIPT({.expect = "PUT /v1/studies/S-1/pictures ", .status = 200, .body = FUNDUS});
    assert_int_equal(RUN("label", "S-1", "R-3/1", eyes[i][0], fields[i][0]), CTL_OK);
    char *log = played(pid);
    snprintf(expected, sizeof expected, "\"field\":\"%s\",\"laterality\":\"%s\"", fields[i][1], eyes[i][1]);
    has(log, expected);
    free(log);
  }
}

/* A picture and its preview, compared with the hash in the record. */
static void test_picture(void **state) {
  (void)state;
  static const char picture[] = "\xff\xd8picture", preview[] = "\xff\xd8preview";
  char hash[2][HASH_TEXT], body[512];
  struct stat st;
  hash_sha256_text(picture, sizeof picture, hash[0]);
  hash_sha256_text(preview, sizeof preview, hash[1]);
  snprintf(body, sizeof body,
           "{\"id\":\"R-3\",\"record\":{\"acquired\":{\"pictures\":[{\"number\":1,\"sha256\":\"%s\",\"preview\":null},"
           "{\"number\":2,\"sha256\":\"%s\",\"preview\":{\"sha256\":\"%s\"}}]}}}",
           hash[1], hash[0], hash[1]);
  for (int i = 0; i < 4; i++) { /* 2: not what the record says; 3: not a picture */
    unlink(file_path);
    pid_t pid = SCRIPT({.expect = "GET /v1/records/R-3 ", .status = 200, .body = body},
                       {.expect = i == 1 ? "GET /v1/records/R-3/preview?n=2 " : "GET /v1/records/R-3/picture?n=2 ",
                        .status = 200,
                        .body = i % 2 ? preview : picture,
                        .body_n = i % 2 ? sizeof preview : sizeof picture - (i == 2),
                        .type = i == 3 ? "text/html" : "image/jpeg"});
    int r = i == 1 ? RUN("picture", "R-3", "2", "--out", file_path, "--preview")
                   : RUN("picture", "R-3", "2", "--out", file_path);
    free(played(pid));
    assert_int_equal(r, i == 2 ? CTL_REFUSED : i == 3 ? CTL_UNREACHED : CTL_OK);
    assert_int_equal(stat(file_path, &st), i < 2 ? 0 : -1);
    if (i < 2) {
      assert_int_equal(st.st_mode & 0777, 0600);
      assert_int_equal(st.st_size, i ? sizeof preview : sizeof picture);
    }
  }
  pid_t pid = SCRIPT({.expect = "GET /v1/records/R-3 ", .status = 200, .body = body},
                     {.expect = "GET /v1/records/R-3/preview?n=1 ",
                      .status = 404,
                      .body = PROBLEM("not_found", "Cet élément n'existe pas.")});
  assert_int_equal(RUN("picture", "R-3", "1", "--out", file_path, "--preview"), CTL_REFUSED);
  free(played(pid));
}

static void test_acquire_fundus(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "POST /v1/studies/S-1/acquire ",
       .status = 202,
       .body = "{\"id\":\"S-1\",\"act\":\"fundus\",\"state\":\"acquiring\",\"records\":[],\"acquisition\":{\"id\":\"A-"
               "1\"}}"},
      {.expect = "GET /v1/studies/S-1/events ",
       .status = 200,
       .hold = true,
       .body = "id: 5\nevent: state\ndata: {\"study\":\"S-1\",\"state\":\"acquired\",\"version\":3}\n\n"},
      {.expect = "GET /v1/studies/S-1 ",
       .status = 200,
       .body = "{\"id\":\"S-1\",\"act\":\"fundus\",\"state\":\"acquired\",\"records\":[" RECORD("R-3", "true") "]}"});
  assert_int_equal(RUN("acquire", "S-1", "--device", "retino", "--pictures", "4"), CTL_OK);
  has(out_text, "Suite : asaleectl show S-1, puis asaleectl label S-1 R-3/1 ŒIL CHAMP\n");
  char *log = played(pid);
  has(log, "{\"device\":\"retino\",\"pictures\":4}");
  free(log);
}

static void test_dicom(void **state) {
  (void)state;
  char object[140] = {0};
  struct stat st;
  memcpy(object + 128, "DICM\2\0\0\0UL\4\0", 12);
  struct step step = {.expect = "GET /v1/records/R-10/dicom HTTP/1.1",
                      .status = 200,
                      .body = object,
                      .body_n = sizeof object,
                      .type = "application/dicom"};
  unlink(file_path);
  pid_t pid = script(&step, 1);
  assert_int_equal(RUN("dicom", "R-10", "--out", file_path), CTL_OK);
  free(played(pid));
  assert_int_equal(stat(file_path, &st), 0);
  assert_int_equal(st.st_size, sizeof object);
  assert_int_equal(st.st_mode & 0777, 0600);
  has(out_text, file_path);
  /* What is there stays, and nothing is asked for, unless it is meant. */
  assert_int_equal(RUN("dicom", "R-10", "--out", file_path), CTL_USAGE);
  has(err_text, "--force");
  write_file(file_path, "old");
  step.expect = "GET /v1/records/R-10/dicom?n=3 HTTP/1.1";
  pid = script(&step, 1);
  assert_int_equal(RUN("dicom", "R-10", "3", "--out", file_path, "--force", "--json"), CTL_OK);
  free(played(pid));
  assert_int_equal(stat(file_path, &st), 0);
  assert_int_equal(st.st_size, sizeof object);
  unlink(file_path);
  /* Another type, something else, an answer cut short, a refusal: no file. */
  static const struct step wrong[] = {
      {.expect = "GET ", .status = 200, .body = "{}"},
      {.expect = "GET ", .status = 200, .body = "%PDF-1.4", .type = "application/dicom"},
      {.expect = "GET ",
       .status = 503,
       .body = "{\"code\":\"dicom_pending\",\"detail\":\"En préparation.\"}",
       .type = "application/problem+json"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    pid = script(&wrong[i], 1);
    assert_int_equal(RUN("dicom", "R-10", "--out", file_path), i == 2 ? CTL_REFUSED : CTL_UNREACHED);
    free(played(pid));
    assert_int_equal(stat(file_path, &st), -1);
  }
  has(err_text, "En préparation. (dicom_pending)");
}

/* ---- files and the tray ------------------------------------------------------------------------------------- */

#define SENT(id, known, state) \
  "{\"id\":\"" id "\",\"known\":" known ",\"sha256\":\"x\",\"bytes\":5,\"state\":\"" state "\"}"
#define FILE_BODY(id, state, more)                                                                                    \
  "{\"id\":\"" id "\",\"at\":\"2025-11-22T08:05:00Z\",\"bytes\":1300000,\"by\":\"ines\",\"device\":null,\"name\":\"a" \
  "\\u001b.scp\",\"sha256\":\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\",\"source\":"         \
  "\"upload\",\"state\":\"" state "\"," more "}"
#define NOTHING "\"failure\":null,\"unmatched\":null,\"study\":null"
#define ITEM                                                                                                        \
  "\"id\":\"U-5\",\"created\":\"2025-11-22T08:05:00Z\",\"act\":\"ecg\",\"device\":null,\"file\":\"F-1\",\"taken\":" \
  "\"2025-11-21T08:05:00Z\",\"why\":\"no_order\",\"subject\":{\"family\":\"DUPONT\",\"given\":\"Marie\","           \
  "\"birth_date\":\"1957-03-02\",\"id\":\"4711\",\"sex\":\"F\"},\"summary\":{\"channels\":12,\"seconds\":\"10.0\"," \
  "\"measures\":1,\"pictures\":0},\"failure\":null"

static void in_directory(char path[static 128], const char *name) {
  snprintf(path, 128, "%s/%s", directory, name);
}

static void test_import(void **state) {
  (void)state;
  char other[128], wanted[1024];
  in_directory(other, "é &b.scp");
  write_file(file_path, "hello");
  write_file(other, "other bytes");
  pid_t pid = SCRIPT(
      {.expect = "POST /v1/files?name=file&device=ecg-2 ", .status = 201, .body = SENT("F-1", "false", "waiting")},
      {.expect = "POST /v1/files?name=%C3%A9%20%26b.scp&device=ecg-2 ",
       .status = 200,
       .body = SENT("F-2", "true", "attached")},
      {.expect = "GET /v1/files/F-1 ", .status = 200, .body = FILE_BODY("F-1", "waiting", NOTHING)},
      {.expect = "GET /v1/files/F-1 ", .status = 200, .body = FILE_BODY("F-1", "decoding", NOTHING)},
      {.expect = "GET /v1/files/F-1 ",
       .status = 200,
       .body = FILE_BODY("F-1", "unmatched", "\"failure\":null,\"unmatched\":\"U-5\",\"study\":null")},
      {.expect = "GET /v1/unmatched/U-5 ", .status = 200, .body = "{" ITEM "}"},
      {.expect = "GET /v1/files/F-2 ",
       .status = 200,
       .body = FILE_BODY("F-2", "attached", "\"failure\":null,\"unmatched\":null,\"study\":\"S-3\"")});
  assert_int_equal(RUN("import", file_path, other, "--device", "ecg-2", "--token-file", token_path), CTL_OK);
  snprintf(wanted, sizeof wanted,
           "Envoi 1/2 : %s, 5 octets\nEnvoi 2/2 : %s, 11 octets\n"
           "%s : U-5, ECG du 21/11/2025 09:05, à attribuer\n%s : déjà connu, examen S-3\n"
           "Reçus : 2 (déjà connus : 1) ; refusés : 0 ; pas envoyés : 0\n",
           file_path, other, file_path, other);
  assert_string_equal(out_text, wanted);
  assert_string_equal(err_text, "");
  char *log = played(pid), first[128], second[128];
  has(log, "\r\nAuthorization: Bearer secret-token\r\n");
  has(log, "\r\nContent-Type: application/octet-stream\r\nContent-Length: 5\r\n\r\nhello\n");
  has(log, "\r\nContent-Length: 11\r\n\r\nother bytes\n");
  header(log, "Idempotency-Key: ", first);
  header(strstr(log, "hello"), "Idempotency-Key: ", second);
  assert_int_equal(strlen(first), 32);
  assert_string_not_equal(first, second);
  free(log);
  unlink(other);
  pid = SCRIPT({.expect = "POST /v1/files?name=file ", .status = 201, .body = SENT("F-1", "false", "waiting")});
  assert_int_equal(RUN("import", file_path, "--no-wait"), CTL_OK);
  snprintf(wanted, sizeof wanted, "%s : F-1\n", file_path);
  assert_string_equal(out_text, wanted);
  free(played(pid));
  pid = SCRIPT({.expect = "POST /v1/files?name=file ", .status = 200, .body = SENT("F-1", "true", "unmatched")},
               {.expect = "GET /v1/files/F-1 ", .status = 200, .body = FILE_BODY("F-1", "discarded", NOTHING)});
  assert_int_equal(RUN("import", file_path, "--json"), CTL_OK);
  assert_string_equal(out_text, FILE_BODY("F-1", "discarded", NOTHING) "\n");
  free(played(pid));
}

/* What is refused, here or there, stops none of the others. */
static void test_import_refused(void **state) {
  (void)state;
  char empty[128], large[128], fifo[128], gone[128], wanted[1024];
  in_directory(empty, "empty");
  in_directory(large, "large");
  in_directory(fifo, "fifo");
  in_directory(gone, "gone");
  write_file(file_path, "hello");
  write_file(empty, "");
  write_file(large, "");
  assert_int_equal(truncate(large, 64 << 20), 0);
  assert_int_equal(mkfifo(fifo, 0600), 0);
  pid_t pid = SCRIPT({.expect = "POST /v1/files?name=file ", .status = 201, .body = SENT("F-1", "false", "decoding")},
                     {.expect = "GET /v1/files/F-1 ", .status = 200, .body = FILE_BODY("F-1", "attached", NOTHING)});
  assert_int_equal(RUN("import", directory, gone, empty, large, fifo, file_path), CTL_USAGE);
  snprintf(wanted, sizeof wanted,
           "asaleectl: %s : c'est un dossier : nommer ses fichiers (asaleectl import DOSSIER/*)\n"
           "asaleectl: %s : lecture impossible (No such file or directory)\nasaleectl: %s : le fichier est vide\n"
           "asaleectl: %s : le fichier est trop grand (moins de 64 Mio)\nasaleectl: %s : ce n'est pas un fichier\n",
           directory, gone, empty, large, fifo);
  assert_string_equal(err_text, wanted);
  has(out_text, " : F-1, attribué\n");
  has(out_text, "Reçus : 1 (déjà connus : 0) ; refusés : 0 ; pas envoyés : 5\n");
  free(played(pid));
  unlink(empty);
  unlink(large);
  unlink(fifo);
  /* One refused as it comes, one as it is read, one well. */
  pid = SCRIPT(
      {.expect = "POST /v1/files?name=file ", .status = 413, .body = PROBLEM("body_too_large", "Trop long.")},
      {.expect = "POST /v1/files?name=file ", .status = 201, .body = SENT("F-2", "false", "waiting")},
      {.expect = "POST /v1/files?name=file ", .status = 200, .body = SENT("F-1", "true", "attached")},
      {.expect = "GET /v1/files/F-2 ",
       .status = 200,
       .body = FILE_BODY("F-2", "refused",
                         "\"failure\":{\"code\":\"file_unknown\",\"detail\":\"Aucun pilote ne lit ce fichier.\"},"
                         "\"unmatched\":null,\"study\":null")},
      {.expect = "GET /v1/files/F-1 ", .status = 200, .body = FILE_BODY("F-1", "attached", NOTHING)});
  assert_int_equal(RUN("import", file_path, file_path, file_path), CTL_REFUSED);
  snprintf(wanted, sizeof wanted,
           "asaleectl: %s : Trop long. (body_too_large)\n"
           "asaleectl: %s : Aucun pilote ne lit ce fichier. (file_unknown)\n",
           file_path, file_path);
  assert_string_equal(err_text, wanted);
  has(out_text, " : déjà connu, F-1, attribué\n");
  has(out_text, "Reçus : 2 (déjà connus : 1) ; refusés : 2 ; pas envoyés : 0\n");
  free(played(pid));
  /* A full disk refuses the next one too: it is not sent. */
  pid = SCRIPT({.expect = "POST /v1/files?name=file ", .status = 507, .body = PROBLEM("store_full", "Disque plein.")});
  assert_int_equal(RUN("import", file_path, file_path, "--json"), CTL_REFUSED);
  has(err_text, "Disque plein. (store_full)\n");
  has(out_text, "\"code\":\"store_full\"");
  free(played(pid));
  pid = SCRIPT({.expect = "POST /v1/files?name=file&device=x ",
                .status = 404,
                .body = PROBLEM("device_unknown", "Pas déclaré.")});
  assert_int_equal(RUN("import", file_path, file_path, "--device", "x"), CTL_REFUSED);
  has(out_text, "refusés : 1 ; pas envoyés : 1\n");
  free(played(pid));
}

/* The largest there may be goes through whole; a connection that breaks in its middle is tried once more. */
static void test_import_large(void **state) {
  (void)state;
  char large[128], first[128];
  in_directory(large, "large");
  write_file(large, "");
  assert_int_equal(truncate(large, (64 << 20) - 1), 0);
  pid_t pid = SCRIPT({.expect = "POST /v1/files?name=large ", .gone = 300000},
                     {.expect = "POST /v1/files?name=large ", .status = 201, .body = SENT("F-1", "false", "waiting")},
                     {.expect = "GET /v1/files/F-1 ", .status = 200, .body = FILE_BODY("F-1", "attached", NOTHING)});
  assert_int_equal(RUN("import", large), CTL_OK);
  assert_string_equal(err_text, "");
  char *log = played(pid);
  has(log, "\r\nContent-Length: 67108863\r\n");
  header(log, "Idempotency-Key: ", first);
  free(log);
  pid = SCRIPT({.expect = "POST /v1/files?name=large ", .gone = 300000},
               {.expect = "POST /v1/files?name=large ", .gone = 3000000});
  assert_int_equal(RUN("import", large, large), CTL_UNREACHED); /* and the second is not tried */
  has(err_text, "la liaison a été coupée");
  has(err_text, "peut-être été exécutée");
  has(out_text, "pas envoyés : 2\n");
  free(played(pid));
  /* An answer that comes before the body was read is heard all the same. */
  pid = SCRIPT({.expect = "POST /v1/files?name=large ",
                .gone = 3000,
                .status = 403,
                .body = PROBLEM("forbidden", "Pas permis.")});
  assert_int_equal(RUN("import", large, large), CTL_REFUSED);
  has(err_text, "Pas permis. (forbidden)");
  free(played(pid));
  unlink(large);
}

static void test_import_interrupted(void **state) {
  (void)state;
  char large[128];
  in_directory(large, "large");
  write_file(large, "");
  assert_int_equal(truncate(large, 9 << 20), 0);
  pid_t pid = SCRIPT({.expect = "POST /v1/files?name=large ", .gone = 300000, .interrupt = true, .pause_ms = 300});
  assert_int_equal(RUN("import", large, large), CTL_REFUSED);
  has(err_text, "interrompu");
  has(out_text, "pas envoyés : 2\n");
  free(played(pid));
  unlink(large);
  write_file(file_path, "hello");
  pid = SCRIPT(
      {.expect = "POST /v1/files?name=file ", .status = 201, .body = SENT("F-1", "false", "waiting")},
      {.expect = "GET /v1/files/F-1 ", .status = 200, .body = FILE_BODY("F-1", "waiting", NOTHING), .interrupt = true});
  assert_int_equal(RUN("import", file_path), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: les fichiers reçus sont gardés ; ce qu'ils deviennent : asaleectl files\n");
  free(played(pid));
}

static void test_import_terminal(void **state) {
  (void)state;
  write_file(file_path, "hello");
  pid_t pid = SCRIPT({.expect = "POST /v1/files?name=file ", .status = 201, .body = SENT("F-1", "false", "waiting")},
                     {.expect = "GET /v1/files/F-1 ", .status = 200, .body = FILE_BODY("F-1", "attached", NOTHING)});
  const char *text = run_on_terminal((const char *const[]){"import", file_path, NULL}, CTL_OK);
  has(text, "Progrès     ████");
  has(text, "Fichier     1/1 : /tmp/test_ctl_main.");
  has(text, " : F-1, attribué\r\n");
  has_not(text, "Envoi");
  free(played(pid));
}

static void test_files(void **state) {
  (void)state;
  char saved[128];
  pid_t pid = SCRIPT(
      {.expect = "GET /v1/files?state=refused&limit=50 ",
       .status = 200,
       .body = "{\"items\":[" FILE_BODY(
           "F-1", "refused", "\"failure\":{\"code\":\"device_checksum\",\"detail\":\"Abîmé.\"}") "],\"next\":null}"},
      {.expect = "GET /v1/files/F-1 ",
       .status = 200,
       .body = FILE_BODY("F-1", "refused",
                         "\"failure\":{\"code\":\"device_checksum\",\"detail\":\"Abîmé.\"},\"unmatched\":null,"
                         "\"study\":null")});
  assert_int_equal(RUN("files", "--state", "refused"), CTL_OK);
  assert_string_equal(out_text,
                      "Fichier  Reçu le           Taille   Origine  Par   Appareil  Nom    État    Suite\n"
                      "F-1      22/11/2025 09:05  1,2 Mio  envoyé   ines  —         a.scp  refusé  device_checksum\n");
  assert_int_equal(RUN("file", "F-1"), CTL_OK);
  has(out_text, "Nom              : a.scp\n");
  has(out_text, "Échec            : Abîmé. (device_checksum)\n");
  has_not(out_text, "Examen");
  free(played(pid));
  in_directory(saved, "saved");
  for (size_t i = 0; i < 3; i++) { /* the file, another, none for a nurse */
    const char *body = (const char *[]){"hello", "hullo", PROBLEM("forbidden", "Pas permis.")}[i];
    pid = SCRIPT({.expect = "GET /v1/files/F-1 ", .status = 200, .body = FILE_BODY("F-1", "attached", NOTHING)},
                 {.expect = "GET /v1/files/F-1/content ",
                  .status = i == 2 ? 403 : 200,
                  .body = body,
                  .type = i == 2 ? NULL : "application/octet-stream"});
    assert_int_equal(RUN("file", "F-1", "--save", saved, "--token-file", token_path), i ? CTL_REFUSED : CTL_OK);
    free(played(pid));
    char *text = read_file(saved);
    assert_string_equal(text, i ? "" : "hello");
    free(text);
    if (i)
      has(err_text, i == 1 ? "(artefact_corrupt)" : "(forbidden)");
    else
      has(out_text, "Copie dans       : ");
    unlink(saved);
  }
  pid = SCRIPT(
      {.expect = "GET /v1/files/F-1 ", .status = 200, .body = FILE_BODY("F-1", "attached", NOTHING)},
      {.expect = "GET /v1/files/F-1/content ", .status = 200, .body = "hello", .type = "application/octet-stream"});
  assert_int_equal(RUN("file", "F-1", "--save", "-"), CTL_OK);
  assert_string_equal(out_text, "hello");
  free(played(pid));
}

static void test_unmatched(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "GET /v1/unmatched?limit=50 ", .status = 200, .body = "{\"items\":[{" ITEM "}],\"next\":null}"},
      {.expect = "GET /v1/unmatched/U-5 ",
       .status = 200,
       .body = "{" ITEM ",\"end\":{\"at\":\"2025-11-22T08:05:00Z\",\"by\":\"ines\",\"record\":null,\"what\":"
               "\"discarded\"},\"record\":{\"acquired\":{\"measures\":[{\"label\":\"FC\",\"value\":\"61\",\"unit\":"
               "\"/min\",\"flags\":[]}]},\"quality\":[{\"severity\":\"check\",\"text\":\"À voir.\"}]}}"},
      {.expect = "POST /v1/unmatched/U-5/redecode ", .status = 200, .body = "{" ITEM "}"},
      {.expect = "POST /v1/unmatched/U-5/discard ", .status = 200, .body = "{}"});
  assert_int_equal(RUN("unmatched", "list"), CTL_OK);
  assert_string_equal(
      out_text,
      "Mesure  Reçue le          Acte  Faite le          Appareil  Patient indiqué           Contenu                   "
      "  Pourquoi             Échec\n"
      "U-5     22/11/2025 09:05  ECG   21/11/2025 09:05  —         DUPONT Marie, 02/03/1957  12 voies, 1 mesure, 10,0 s"
      "  aucune prescription  —\n");
  assert_int_equal(RUN("unmatched", "show", "U-5"), CTL_OK);
  has(out_text, "Patient indiqué  : DUPONT Marie, 02/03/1957\nSon identifiant  : 4711\nSon sexe         : féminin\n");
  has(out_text, "Devenir          : écartée le 22/11/2025 09:05 par ines\n");
  has(out_text, "FC      61      /min   —\n");
  has(out_text, "à vérifier : À voir.\n");
  assert_int_equal(RUN("redecode", "U-5"), CTL_OK);
  has(out_text, "Mesure           : U-5, relecture demandée\nSuite            : asaleectl file F-1\n");
  assert_int_equal(RUN("discard", "U-5", "--reason", "doublon"), CTL_OK);
  has(out_text, "U-5, écartée ; rien n'est effacé\n");
  char *log = played(pid);
  has(log, "\r\n\r\n{\"reason\":\"doublon\"}\n");
  free(log);
}

static void test_attach(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "POST /v1/unmatched/U-5/attach ",
       .status = 409,
       .body = PROBLEM("subject_differs", "L'appareil nomme un autre patient.")},
      {.expect = "POST /v1/unmatched/U-5/attach ",
       .status = 409,
       .body = PROBLEM("identity_mismatch", "La date de naissance n'est pas la bonne.")},
      {.expect = "POST /v1/unmatched/U-5/attach ",
       .status = 200,
       .body = "{\"id\":\"S-3\",\"state\":\"acquired\",\"patient\":{\"family\":\"DUPONT\",\"given\":\"Marie\"}}"});
  assert_int_equal(RUN("attach", "U-5", "--order", "O-5", "--birth-date", "1957-03-02"), CTL_REFUSED);
  has(err_text, "L'appareil nomme un autre patient. (subject_differs)\n");
  has(err_text, "--confirm et --reason");
  assert_int_equal(RUN("attach", "U-5", "--order", "O-5", "--birth-date", "1957-03-02"), CTL_REFUSED);
  has_not(err_text, "--confirm");
  assert_int_equal(
      RUN("attach", "U-5", "--order", "O-5", "--birth-date", "1957-03-02", "--confirm", "--reason", "nom de fille"),
      CTL_OK);
  has(out_text, "Examen           : S-3\nPatient          : DUPONT Marie\nÉtat             : à accepter\n");
  has(out_text, "asaleectl accept S-3");
  char *log = played(pid);
  has(log, "\r\n\r\n{\"birth_date\":\"1957-03-02\",\"order\":\"O-5\"}\n");
  has(log, "{\"birth_date\":\"1957-03-02\",\"confirm\":true,\"order\":\"O-5\",\"reason\":\"nom de fille\"}\n");
  free(log);
}

static void test_reassign(void **state) {
  (void)state;
  static const char both[] = "{\"from\":{\"id\":\"S-3\",\"state\":\"ordered\",\"patient\":{\"id\":\"1\"}},"
                             "\"to\":{\"id\":\"S-9\",\"state\":\"acquired\",\"patient\":{\"id\":\"2\"}}}";
  pid_t pid = SCRIPT({.expect = "GET /v1/studies/S-3 ",
                      .status = 200,
                      .body = "{\"id\":\"S-3\",\"records\":[{\"id\":\"R-3\",\"superseded\":true},{\"id\":\"R-4\","
                              "\"superseded\":false},{\"id\":\"R-5\"}]}"},
                     {.expect = "POST /v1/studies/S-3/reassign ", .status = 200, .body = both},
                     {.expect = "POST /v1/studies/S-3/reassign ", .status = 200, .body = both},
                     {.expect = "GET /v1/studies/S-3 ", .status = 200, .body = "{\"id\":\"S-3\",\"records\":[]}"});
  assert_int_equal(RUN("reassign", "S-3", "--order", "O-9", "--birth-date", "1957-03-02", "--reason", "autre patient"),
                   CTL_OK);
  has(out_text, "Depuis           : S-3, 1, à faire\nVers             : S-9, 2, à accepter\n");
  assert_int_equal(RUN("reassign", "S-3", "--order", "O-9", "--birth-date", "1957-03-02", "--reason", "x", "--record",
                       "R-3,R-12", "--confirm"),
                   CTL_OK);
  assert_int_equal(RUN("reassign", "S-3", "--order", "O-9", "--birth-date", "1957-03-02", "--reason", "x"),
                   CTL_REFUSED);
  has(err_text, "n'a pas d'enregistrement en cours");
  char *log = played(pid);
  has(log, "{\"birth_date\":\"1957-03-02\",\"confirm\":false,\"order\":\"O-9\",\"reason\":\"autre patient\","
           "\"records\":[\"R-4\",\"R-5\"]}\n");
  has(log, "\"confirm\":true");
  has(log, "\"records\":[\"R-3\",\"R-12\"]}\n");
  free(log);
}

#define MEDIA(state, matching, taken, failure)                                                          \
  "{\"name\":\"sda1\",\"devices\":[\"ecg-1\",\"ecg-2\"],\"state\":\"" state "\",\"matching\":" matching \
  ",\"taken\":" taken ",\"known\":2,\"failure\":" failure "}"

static void test_media(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "POST /v1/media ", .status = 202, .body = MEDIA("idle", "0", "0", "null")},
                     {.expect = "GET /v1/media/sda1 ", .status = 200, .body = MEDIA("copying", "9", "3", "null")},
                     {.expect = "GET /v1/media/sda1 ", .status = 200, .body = MEDIA("done", "9", "7", "null")});
  assert_int_equal(RUN("media", "sda1"), CTL_OK);
  assert_string_equal(out_text, "Fichiers : 0 sur la clé, 0 copiés, 2 déjà connus\n"
                                "Fichiers : 9 sur la clé, 3 copiés, 2 déjà connus\n"
                                "Fichiers : 9 sur la clé, 7 copiés, 2 déjà connus\n"
                                "La copie est finie, la clé peut être retirée.\n");
  char *log = played(pid);
  has(log, "\r\n\r\n{\"name\":\"sda1\"}\n");
  free(log);
  pid = SCRIPT(
      {.expect = "POST /v1/media ",
       .status = 202,
       .body = MEDIA("failed", "9", "1", "{\"code\":\"media_read\",\"detail\":\"La clé est illisible.\"}")},
      {.expect = "POST /v1/media ", .status = 202, .body = MEDIA("copying", "9", "1", "null")},
      {.expect = "GET /v1/media/sda1 ", .status = 404, .body = PROBLEM("not_found", "Pas de clé.")},
      {.expect = "POST /v1/media ", .status = 202, .body = MEDIA("copying", "9", "1", "null"), .interrupt = true});
  assert_int_equal(RUN("media", "sda1"), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: La clé est illisible. (media_read)\n");
  assert_int_equal(RUN("media", "sda1"), CTL_REFUSED);
  has(err_text, "la clé a été retirée avant la fin de la copie\n");
  assert_int_equal(RUN("media", "sda1"), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: interrompu ; la copie continue tant que la clé est branchée\n");
  free(played(pid));
}

static void test_media_check(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "GET /v1/media/sda1 ", .status = 200, .body = MEDIA("idle", "0", "0", "null")},
                     {.expect = "GET /v1/media/sdb1 ", .status = 404, .body = PROBLEM("not_found", "Pas de clé.")});
  assert_int_equal(RUN("media", "sda1", "--check"), CTL_OK);
  has(out_text, "Appareils        : ecg-1, ecg-2\n");
  assert_int_equal(RUN("media", "--check", "sdb1"), CTL_REFUSED);
  has(err_text, "(not_found)");
  free(played(pid));
}

/* ---- acquisition -------------------------------------------------------------------------------------------- */

#define RUNNING STUDY_BODY("acquiring", "") "{\"id\":\"A-1\",\"device\":\"ecg-1\",\"done\":0,\"total\":10000}}"
#define DONE(clean) STUDY_BODY("acquired", RECORD("R-1", clean)) "null}"
#define FAILED              \
  STUDY_BODY("ordered", "") \
  "null,\"last_failure\":{\"code\":\"device_unplugged\",\"detail\":\"L'appareil a été débranché.\",\"at\":\"x\"}}"
#define STATE(id, state) "id: " id "\nevent: state\ndata: {\"study\":\"S-1\",\"state\":\"" state "\",\"version\":3}\n\n"
#define PREVIEW(first, values)                                                                     \
  "event: preview\ndata: {\"first\":" first                                                        \
  ",\"rate\":500,\"scale\":\"2.63\",\"unit\":\"uV\",\"channels\":[{\"code\":\"lead_i\",\"label\":" \
  "\"I\",\"values\":[0]},{\"code\":\"lead_ii\",\"label\":\"II\",\"values\":[" values "]}]}\n\n"
#define EVENTS                                                                                                          \
  STATE("1", "acquiring")                                                                                               \
  "event: identity\ndata: "                                                                                             \
  "{\"device\":\"ecg-1\",\"label\":\"ECG salle 1\\u009b\"}\n\n"                                                         \
  "id: 2\nevent: contacts\ndata: {\"known\":[\"R\",\"C1\"],\"off\":[\"C1\"],\"text\":[\"L'électrode blanche et rouge " \
  "(C1, V1) "                                                                                                           \
  "ne touche pas la peau.\"]}\n\n"                                                                                      \
  "id: 3\nevent: progress\ndata: {\"done\":4200,\"total\":10000}\n\n: alive\n\n" PREVIEW("0", "0,10,500,-100,null,0")

static void test_acquire(void **state) {
  (void)state;
  pid_t pid =
      SCRIPT({.expect = "POST /v1/studies/S-1/acquire ", .status = 202, .body = RUNNING},
             {.expect = "GET /v1/studies/S-1/events ", .status = 200, .body = EVENTS, .hold = true, .drop = true},
             {.expect = "GET /v1/studies/S-1 ", .status = 200, .body = RUNNING},
             {.expect = "GET /v1/studies/S-1/events ",
              .status = 200,
              .hold = true,
              .body = STATE("4", "acquiring") "event: progress\ndata: {\"done\":10000,\"total\":10000}\n\n" STATE(
                  "5", "acquired")},
             {.expect = "GET /v1/studies/S-1 ", .status = 200, .body = DONE("true")});
  assert_int_equal(RUN("acquire", "S-1", "--device", "ecg-1", "--seconds", "10"), CTL_OK);
  assert_string_equal(out_text, "Acquisition A-1 pour S-1 sur ecg-1 ; Ctrl-C annule.\n"
                                "Appareil : ECG salle 1\n"
                                "Électrodes : L'électrode blanche et rouge (C1, V1) ne touche pas la peau.\n"
                                "Progrès : 42 %\nProgrès : 100 %\n"
                                "Enregistrement R-1 reçu.\nSuite : asaleectl accept S-1\n");
  assert_string_equal(err_text, "");
  char *log = played(pid);
  has(log, "{\"device\":\"ecg-1\",\"seconds\":10}");
  has(log, "\r\nLast-Event-ID: 3\r\n");
  free(log);
}

static void test_acquire_failed(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "POST /v1/studies/S-1/acquire ", .status = 202, .body = RUNNING},
                     {.expect = "GET /v1/studies/S-1/events ",
                      .status = 200,
                      .hold = true,
                      .body = EVENTS "event: failure\ndata: {\"code\":\"device_unplugged\",\"detail\":\"x\"}\n\n" STATE(
                          "9", "ordered")},
                     {.expect = "GET /v1/studies/S-1 ", .status = 200, .body = FAILED});
  assert_int_equal(RUN("acquire", "S-1", "--device", "ecg-1"), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: L'appareil a été débranché. (device_unplugged)\n");
  free(played(pid));
  /* A study that has an older record: acquired again without a new one is no success. */
  pid = SCRIPT({.expect = "POST /v1/studies/S-1/acquire ",
                .status = 202,
                .body = STUDY_BODY("acquiring", RECORD("R-1", "true")) "{\"id\":\"A-2\"}}"},
               {.expect = "GET /v1/studies/S-1/events ", .status = 200, .hold = true, .body = STATE("9", "acquired")},
               {.expect = "GET /v1/studies/S-1 ", .status = 200, .body = DONE("true")});
  assert_int_equal(RUN("acquire", "S-1", "--device", "ecg-1"), CTL_REFUSED);
  free(played(pid));
  pid = SCRIPT({.expect = "POST /v1/studies/S-1/acquire ", .status = 409, .body = PROBLEM("device_busy", "Occupé.")});
  assert_int_equal(RUN("acquire", "S-1", "--device", "ecg-1"), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: Occupé. (device_busy)\n");
  free(played(pid));
}

static void test_acquire_interrupted(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "POST /v1/studies/S-1/acquire ", .status = 202, .body = RUNNING},
      {.expect = "GET /v1/studies/S-1/events ",
       .status = 200,
       .hold = true,
       .body = EVENTS,
       .interrupt = true,
       .pause_ms = 200},
      {.expect = "POST /v1/studies/S-1/cancel ", .status = 200, .body = RUNNING},
      {.expect = "GET /v1/studies/S-1 ", .status = 200, .body = RUNNING, .push = STATE("8", "ordered")},
      {.expect = "GET /v1/studies/S-1 ",
       .status = 200,
       .body = STUDY_BODY("ordered", "") "null,\"last_failure\":{\"code\":\"acquisition_cancelled\",\"detail\":\"L'"
                                         "acquisition a été annulée.\"}}"});
  assert_int_equal(RUN("acquire", "S-1", "--device", "ecg-1"), CTL_REFUSED);
  has(out_text, "Annulation demandée…\n");
  assert_string_equal(err_text, "asaleectl: L'acquisition a été annulée. (acquisition_cancelled)\n");
  char *log = played(pid);
  has(log, "\r\n\r\n{}\n"); /* never a reason: that could cancel the study */
  has_not(log, "reason");
  free(log);
  /* Ctrl-C came too late: the record is there and the daemon refuses. */
  pid = SCRIPT({.expect = "POST /v1/studies/S-1/acquire ", .status = 202, .body = RUNNING, .interrupt = true},
               {.expect = "GET /v1/studies/S-1/events ", .status = 200, .hold = true, .body = EVENTS},
               {.expect = "POST /v1/studies/S-1/cancel ", .status = 409, .body = PROBLEM("wrong_state", "Déjà fini.")},
               {.expect = "GET /v1/studies/S-1 ", .status = 200, .body = DONE("false")});
  assert_int_equal(RUN("acquire", "S-1", "--device", "ecg-1"), CTL_OK);
  has(out_text, "mais à vérifier");
  assert_string_equal(err_text, "");
  free(played(pid));
}

static void test_acquire_json(void **state) {
  (void)state;
  pid_t pid =
      SCRIPT({.expect = "POST /v1/studies/S-1/acquire ", .status = 202, .body = RUNNING},
             {.expect = "GET /v1/studies/S-1/events ", .status = 200, .hold = true, .body = STATE("5", "acquired")},
             {.expect = "GET /v1/studies/S-1 ", .status = 200, .body = DONE("true")});
  assert_int_equal(RUN("acquire", "S-1", "--device", "ecg-1", "--json"), CTL_OK);
  assert_string_equal(
      out_text, RUNNING
      "\n{\"event\":\"state\",\"data\":{\"study\":\"S-1\",\"state\":\"acquired\",\"version\":3}}\n" DONE("true") "\n");
  free(played(pid));
}

static void test_acquire_terminal(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "POST /v1/studies/S-1/acquire ", .status = 202, .body = RUNNING},
                     {.expect = "GET /v1/studies/S-1/events ",
                      .status = 200,
                      .hold = true,
                      .body = EVENTS,
                      .interrupt = true,
                      .pause_ms = 400},
                     {.expect = "POST /v1/studies/S-1/cancel ", .status = 200, .body = RUNNING},
                     {.expect = "GET /v1/studies/S-1 ", .status = 200, .body = RUNNING, .push = STATE("8", "ordered")},
                     {.expect = "GET /v1/studies/S-1 ", .status = 200, .body = FAILED});
  const char *text = run_on_terminal((const char *const[]){"acquire", "S-1", "--device", "ecg-1", NULL}, CTL_REFUSED);
  free(played(pid));
  has(text, "Acquisition A-1");
  has(text, "Appareil : ECG salle 1\r\n");
  has(text, "II          ");
  has(text, "Annulation demandée…\r\n");
  has(text, "annulation en cours");
  has(text, " 42 %");
  has_not(text, "\xc2\x9b");
}

static void event(const char *text, void (*take)(struct live *, const json_t *), struct live *l) {
  json_t *json = json_loadb(text, strlen(text), 0, NULL);
  assert_non_null(json);
  take(l, json);
  json_decref(json);
}

/* The three lines, exactly. */
static void test_live(void **state) {
  (void)state;
  struct live l;
  char *text;
  size_t n;
  FILE *f = open_memstream(&text, &n);
  live_init(&l, f, true);
  event("{\"done\":5000,\"total\":10000}", live_progress, &l);
  event("{\"known\":[\"R\"],\"off\":[\"C1\",\"C4\"],\"text\":[\"L'électrode un.\",\"L'électrode quatre, celle qui est "
        "loin, très "
        "très loin de la première.\"]}",
        live_contacts, &l);
  event("{\"first\":0,\"rate\":40,\"scale\":\"1\",\"unit\":\"uV\",\"channels\":[{\"code\":\"lead_ii\",\"label\":\"II\","
        "\"values\":["
        "0,4000,null,0]}]}",
        live_preview, &l);
  live_draw(&l);
  live_end(&l);
  fclose(f);
  has(text, "\033[2KProgrès     ████████████████████░░░░░░░░░░░░░░░░░░░░  50 %\n");
  has(text, "\033[2KÉlectrodes  C1, C4 : L'électrode un. L'électrode quatre, celle qui est loin, t…\n");
  has(text, "\xe2\xa2\x80"); /* … */
  has(text, "\n\033[2KII          ");
  has(text, "\033[3A\r\033[J");
  free(text);
}

static void test_trace(void **state) {
  (void)state;
  struct live l;
  struct buf b = BUF_INIT(4096);
  live_init(&l, stdout, true);
  /* One column of dots a sample: low, high, gap, low. */
  event("{\"first\":0,\"rate\":40,\"scale\":\"1\",\"unit\":\"uV\",\"channels\":[{\"code\":\"lead_ii\",\"label\":\"II\","
        "\"values\":["
        "0,4000,null,0]}]}",
        live_preview, &l);
  trace_draw(&l.trace, 3, &b);
  assert_string_equal(buf_cstr(&b), "⠀⡈⢀");
  buf_reset(&b);
  /* What was seen before is not drawn again; a jump leaves a hole; absurd values and labels are left out. */
  event("{\"first\":2,\"rate\":40,\"scale\":\"1\",\"unit\":\"uV\",\"channels\":[{\"code\":\"lead_ii\",\"label\":"
        "\"\\u001bII\",\"values\":["
        "4000,4000]}]}",
        live_preview, &l);
  event("{\"first\":6,\"rate\":40,\"scale\":\"1\",\"unit\":\"uV\",\"channels\":[{\"code\":\"lead_ii\",\"label\":\"II\","
        "\"values\":["
        "4000,99999999999]}]}",
        live_preview, &l);
  trace_draw(&l.trace, 4, &b);
  assert_string_equal(buf_cstr(&b), "⡈⢀⠀⠁");
  buf_reset(&b);
  for (unsigned first = 0; first < 4000000000u; first += 399999999u) { /* far jumps, wide windows */
    char text[256];
    snprintf(text, sizeof text,
             "{\"first\":%u,\"rate\":1,\"scale\":\"0.001\",\"unit\":\"uV\",\"channels\":[{\"code\":\"x\",\"label\":"
             "\"I\",\"values\":[1,2]}]}",
             first);
    event(text, live_preview, &l);
    trace_draw(&l.trace, 1000, &b);
    assert_int_equal(b.len, 3 * TRACE_COLUMNS / 2);
    buf_reset(&b);
  }
  buf_finish(&b);
}

static void test_clean_text(void **state) {
  (void)state;
  static const struct {
    const char *in, *out;
  } rows[] = {
      {"é\x1b[31m\x7f€😀", "é[31m€😀"},
      {"a\nb\tc\r", "a b c"},
      {"\xc2\x85\xc2\x9bx\xc2\xa0", "x\xc2\xa0"},
      {"\xff\xc3(\xe2\x82\xf0\x9f", "?\?(\?\?\?\?"},
      {"\xe2\x80\xae"
       "abc\xe2\x80\xa8\xef\xbb\xbf",
       "abc"},
      {"\xed\xa0\x80", "???"},
      {"\xc0\x80", "??"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct buf b = BUF_INIT(256);
    clean_text(&b, rows[i].in, strlen(rows[i].in), false);
    assert_string_equal(buf_cstr(&b), rows[i].out);
    buf_finish(&b);
  }
  assert_int_equal(text_width("é€😀x"), 4);
  assert_int_equal(text_prefix("é€😀x", 2), 5);
  assert_int_equal(text_prefix("é", 9), 2);
}

/* ---- working together --------------------------------------------------------------------------------------- */

#define MARIE "{\"birth_date\":\"1957-03-02\",\"family\":\"DUPONT\",\"given\":\"Marie\",\"id\":\"4711\",\"sex\":\"F\"}"

static void test_recalls(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "GET /v1/recalls?limit=200 ",
       .status = 200,
       .body = "{\"items\":[{\"act\":\"ecg\",\"due\":\"2025-11-03\",\"followup\":\"W-3\",\"gp\":\"1\","
               "\"last\":\"S-9\",\"nurse\":\"10100000024\",\"order\":null,\"overdue\":true,\"patient\":" MARIE
               ",\"protocol\":\"diabete-type2\",\"state\":\"overdue\"}],\"next\":null}"},
      {.expect = "GET /v1/recalls?until=2026-01-31&limit=5 ", .status = 200, .body = "{\"items\":[],\"next\":null}"});
  assert_int_equal(RUN("recalls"), CTL_OK);
  assert_string_equal(out_text, "Pour le     État       Acte  Patient       Né(e) le    Suivi  Protocole      Dernier"
                                " examen  Prescription\n"
                                "03/11/2025  EN RETARD  ECG   DUPONT Marie  02/03/1957  W-3    diabete-type2  S-9"
                                "             —\n");
  assert_int_equal(RUN("recalls", "--until", "2026-01-31", "--limit", "5"), CTL_OK);
  assert_string_equal(out_text, "Aucun rappel.\n");
  free(played(pid));
  assert_int_equal(RUN("recalls", "--until", "demain"), CTL_USAGE);
}

static void test_agenda(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "GET /v1/meetings/agenda?gp=10100000016&since=2025-11-01&limit=200 ",
       .status = 200,
       .body =
           "{\"items\":[{\"followup\":\"W-3\",\"notices\":[{\"kind\":\"page\",\"study\":\"S-1\"}],\"patient\":" MARIE
           ",\"recalls\":[{\"act\":\"ecg\",\"due\":\"2025-11-03\",\"last\":null,\"order\":\"O-7\"}],\"studies\":["
           "{\"act\":\"ecg\",\"id\":\"S-1\",\"overdue\":true,\"returned\":null,\"state\":\"to_interpret\"},"
           "{\"act\":\"ecg\",\"id\":\"S-2\",\"interpretation\":{\"conclusion\":\"abnormal\"},\"overdue\":false,"
           "\"returned\":null,\"state\":\"interpreted\"},"
           "{\"act\":\"ecg\",\"id\":\"S-3\",\"overdue\":false,\"returned\":{\"label\":\"Examen incomplet\"},"
           "\"state\":\"returned\"}]},"
           "{\"followup\":\"W-4\",\"notices\":[],\"patient\":" MARIE ",\"recalls\":[],\"studies\":[]}],"
           "\"next\":null}"});
  assert_int_equal(RUN("meeting", "agenda", "--gp", "10100000016", "--from", "2025-11-01"), CTL_OK);
  assert_string_equal(out_text, "Suivi  Patient       Examen  À voir\n"
                                "W-3    DUPONT Marie  S-1     ECG à interpréter (en retard)\n"
                                "W-3    DUPONT Marie  S-2     ECG interprété : anormal\n"
                                "W-3    DUPONT Marie  S-3     ECG renvoyé : Examen incomplet\n"
                                "W-3    DUPONT Marie  O-7     ECG : rappel du 03/11/2025, prescrit\n"
                                "W-3    DUPONT Marie  S-1     APPEL : patient symptomatique, pas encore entendu\n"
                                "W-4    DUPONT Marie  —       rien de nouveau\n");
  free(played(pid));
}

static void test_meeting(void **state) {
  (void)state;
#define MEETING                                                                                            \
  "\"at\":\"2025-11-22T08:05:00Z\",\"by\":\"martin\",\"gp\":\"1\",\"held\":\"2025-11-20\",\"id\":\"M-1\"," \
  "\"nurse\":\"10100000024\""
  pid_t pid =
      SCRIPT({.expect = "POST /v1/meetings ", .status = 201, .body = "{" MEETING "}"},
             {.expect = "GET /v1/meetings?limit=50 ",
              .status = 200,
              .body = "{\"items\":[{" MEETING ",\"followups\":2}],\"next\":null}"},
             {.expect = "GET /v1/meetings/M-1 ",
              .status = 200,
              .body = "{" MEETING ",\"followups\":[{\"followup\":\"W-3\",\"minute\":\"À revoir.\",\"patient\":" MARIE
                      "}],\"minute\":\"Tout.\\nBien.\"}"});
  write_file(file_path, "W-3 À revoir.\n\nW-4  Rien ; voir W-3.\n");
  assert_int_equal(RUN("meeting", "add", "--nurse", "10100000024", "--held", "2025-11-20", "--minute", "Tout.",
                       "--followups", file_path),
                   CTL_OK);
  has(out_text, "Réunion          : M-1\n");
  assert_int_equal(RUN("meeting", "list"), CTL_OK);
  assert_string_equal(out_text, "Réunion  Tenue le    Médecin  Infirmier(ère)  Suivis  Écrit par\n"
                                "M-1      20/11/2025  1        10100000024     2       martin\n");
  assert_int_equal(RUN("meeting", "show", "M-1"), CTL_OK);
  has(out_text, "Compte rendu     : Tout. Bien.\nW-3              : DUPONT Marie\n                 : À revoir.\n");
  char *log = played(pid);
  has(log, "\r\n\r\n{\"followups\":[{\"followup\":\"W-3\",\"minute\":\"À revoir.\"},{\"followup\":\"W-4\",\"minute\":"
           "\"Rien ; voir W-3.\"}],\"held\":\"2025-11-20\",\"minute\":\"Tout.\",\"nurse\":\"10100000024\"}\n");
  free(log);
  /* Nothing is sent of a file that is not understood. */
  static const char *const bad[] = {"W-3", "W-3 ", "S-3 texte", "W-3 a\nsuite", "W-3 \xff"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    write_file(file_path, bad[i]);
    assert_int_equal(RUN("meeting", "add", "--held", "2025-11-20", "--minute", "m", "--followups", file_path),
                     CTL_USAGE);
    has(err_text, i == 3 ? "ligne 2" : "ligne 1");
  }
  assert_int_equal(RUN("meeting", "add", "--held", "2025-11-20"), CTL_USAGE);
  unlink(file_path);
}

static void test_report(void **state) {
  (void)state;
  static const char report[] =
      "{\"ended\":true,\"groups\":[{\"act\":\"ecg\",\"done\":12,\"finess\":\"750000019\",\"hours_median\":\"3.0\","
      "\"hours_p90\":\"48.0\",\"interpreted\":6,\"overdue\":null,\"protocol\":\"diabete-type2\",\"repeated\":0,"
      "\"returned\":0,\"suppressed\":true,\"unreadable\":null}],\"month\":\"2025-10\",\"schema\":1,\"totals\":[{"
      "\"act\":"
      "\"ecg\",\"done\":12,\"hours_median\":null,\"hours_p90\":null,\"interpreted\":null,\"overdue\":null,\"protocol\":"
      "null,"
      "\"repeated\":0,\"returned\":0,\"suppressed\":true,\"unreadable\":0}]}";
  uint8_t public[SIGNATURE_PUBLIC], secret[SIGNATURE_SECRET], signature[SIGNATURE_BYTES];
  char answer[2048], hex[2 * SIGNATURE_BYTES + 1], key[2 * SIGNATURE_PUBLIC + 1], csv_path[128];
  signature_seed((const uint8_t[SIGNATURE_SEED]){1}, public, secret);
  signature_make(secret, report, strlen(report), signature);
  str_hex(signature, sizeof signature, hex);
  str_hex(public, sizeof public, key);
  snprintf(answer, sizeof answer, "{\"public_key\":\"%s\",\"report\":%s,\"signature\":\"%s\"}", key, report, hex);
  pid_t pid = SCRIPT({.expect = "GET /v1/reports/monthly?month=2025-10 ", .status = 200, .body = answer},
                     {.expect = "GET /v1/reports/monthly?month=2025-10 ", .status = 200, .body = answer},
                     {.expect = "GET /v1/reports/monthly?month=2025-10&format=csv ",
                      .status = 200,
                      .body = "a;b\r\n",
                      .type = "text/csv"},
                     {.expect = "GET /v1/reports/monthly?month=2025-10&format=csv ",
                      .status = 200,
                      .body = "a;b\r\n",
                      .type = "text/csv"});
  assert_int_equal(RUN("report", "--month", "2025-10"), CTL_OK);
  assert_string_equal(out_text,
                      "Mois             : 2025-10\n"
                      "Acte  Protocole      Structure  Réalisés  Refaits  Renvoyés  Interprétés  Ininterpr.  En retard"
                      "  Médiane (h)  90 % (h)\n"
                      "ECG   diabete-type2  750000019  12        0        0         6            s           s        "
                      "  3,0          48,0\n"
                      "ECG   —              ensemble   12        0        0         s            0           s        "
                      "  s            s\n"
                      "s : chiffre de 1 à 4, ou qui permettrait d'en calculer un (secret statistique)\n");
  unlink(file_path);
  assert_int_equal(RUN("report", "--month", "2025-10", "--out", file_path), CTL_OK);
  assert_int_equal(RUN("report", "--month", "2025-10", "--csv"), CTL_OK);
  assert_string_equal(out_text, "a;b\r\n");
  snprintf(csv_path, sizeof csv_path, "%s/csv", directory);
  assert_int_equal(RUN("report", "--month", "2025-10", "--csv", "--out", csv_path), CTL_OK);
  char *text = read_file(csv_path);
  assert_string_equal(text, "a;b\r\n");
  free(text);
  unlink(csv_path);
  free(played(pid));
  /* A file that is there is left alone; no month, no question. */
  assert_int_equal(RUN("report", "--month", "2025-10", "--out", file_path), CTL_USAGE);
  static const char *const bad[] = {"2025", "2025-13", "2025-1", "25-10", "2025-10-01", "octobre"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(RUN("report", "--month", bad[i]), CTL_USAGE);
  /* What was written is what the site signed, and nothing else is. */
  assert_int_equal(RUN("report", "verify", file_path), CTL_OK);
  has(out_text, "valable");
  has(out_text, key);
  char *figure = strstr(answer, "12");
  *figure = '2';
  write_file(file_path, answer);
  assert_int_equal(RUN("report", "verify", file_path), CTL_REFUSED);
  *figure = '1';
  char *other = strstr(answer, key);
  other[0] = other[0] == 'a' ? 'b' : 'a';
  write_file(file_path, answer);
  assert_int_equal(RUN("report", "verify", file_path), CTL_REFUSED);
  static const char *const none[] = {"", "{}", "[]", "{\"report\":{}}", "a;b"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    write_file(file_path, none[i]);
    assert_int_equal(RUN("report", "verify", file_path), CTL_USAGE);
  }
  unlink(file_path);
  assert_int_equal(RUN("report", "verify", file_path), CTL_USAGE);
}

/* ---- patients whose time is over ---------------------------------------------------------------------------- */

static void test_retention_list(void **state) {
  (void)state;
  static const char both[] =
      "{\"due\":[{\"last_contact\":\"2019-03-02T10:00:00.000000+01:00\",\"patient\":\"4711\"}],\"erased\":[{"
      "\"archive\":"
      "\"" CLAIM "\",\"archive_until\":\"2041-01-02T10:00:00.000000+01:00\",\"by\":\"martin\",\"erased\":"
      "\"2026-01-02T10:00:00.000000+01:00\",\"patient\":\"4242\"}]}";
  pid_t pid = SCRIPT({.expect = "GET /v1/retention?limit=50 HTTP/1.1", .status = 200, .body = both});
  assert_int_equal(RUN("retention", "list"), CTL_OK);
  free(played(pid));
  has(out_text, "4711     02/03/2019 10:00");
  has(out_text, "4242     02/01/2026 10:00  martin  02/01/2041 10:00       " CLAIM);
  assert_string_equal(err_text, "");
  pid = SCRIPT({.expect = "GET /v1/retention?limit=1 HTTP/1.1", .status = 200, .body = both});
  assert_int_equal(RUN("retention", "list", "--limit", "1"), CTL_OK);
  free(played(pid));
  has(err_text, "peut-être d'autres");
  pid = SCRIPT({.expect = "GET /v1/retention", .status = 200, .body = both});
  assert_int_equal(RUN("retention", "list", "--json"), CTL_OK);
  free(played(pid));
  has(out_text, "\"last_contact\":\"2019");
  pid = SCRIPT({.expect = "GET /v1/retention", .status = 200, .body = "{\"due\":[],\"erased\":[]}"});
  assert_int_equal(RUN("retention", "list"), CTL_OK);
  free(played(pid));
  assert_string_equal(out_text, "Aucun dossier n'est à archiver.\n");
  static const struct step wrong[] = {
      {.expect = "GET ", .status = 200, .body = "{\"due\":[]}"},
      {.expect = "GET ", .status = 200, .body = "{\"due\":{},\"erased\":[]}"},
      {.expect = "GET ", .status = 403, .body = "{\"code\":\"forbidden\",\"detail\":\"Non.\"}"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    pid = script(&wrong[i], 1);
    assert_int_equal(RUN("retention", "list"), i == 2 ? CTL_REFUSED : CTL_UNREACHED);
    free(played(pid));
  }
}

/* An archive with nothing in it but its frame: a header, a block of contents, the end. */
#define TAR_BYTES (4 * 512)
static void make_tar(char tar[static TAR_BYTES]) {
  memset(tar, 0, TAR_BYTES);
  memcpy(tar, "patient.jsonl", 13);
  memcpy(tar + 257, "ustar", 6);
  memcpy(tar + 512, "{}\n", 3);
}

static void test_patient_archive(void **state) {
  (void)state;
  char tar[TAR_BYTES], sha256[HASH_TEXT], line[256];
  struct stat st;
  make_tar(tar);
  hash_sha256_text(tar, sizeof tar, sha256);
  struct step step = {.expect = "GET /v1/patients/4711/archive HTTP/1.1",
                      .status = 200,
                      .body = tar,
                      .body_n = sizeof tar,
                      .type = "application/x-tar"};
  unlink(file_path);
  pid_t pid = script(&step, 1);
  assert_int_equal(RUN("patient", "archive", "4711", "--out", file_path, "--token-file", token_path), CTL_OK);
  char *log = played(pid);
  has(log, "Accept: application/x-tar\r\n");
  has(log, "Authorization: Bearer secret-token\r\n");
  free(log);
  assert_int_equal(stat(file_path, &st), 0);
  assert_int_equal(st.st_size, sizeof tar);
  assert_int_equal(st.st_mode & 0777, 0600);
  has(out_text, file_path);
  has(out_text, "2 Kio");
  snprintf(line, sizeof line, "SHA-256          : %s\n", sha256);
  has(out_text, line);
  snprintf(line, sizeof line, "asaleectl patient erase 4711 --archive %s\n", sha256);
  has(out_text, line);
  /* What is there stays, and nothing is asked for, unless it is meant. */
  assert_int_equal(RUN("patient", "archive", "4711", "--out", file_path), CTL_USAGE);
  has(err_text, "--force");
  write_file(file_path, "old");
  pid = script(&step, 1);
  assert_int_equal(RUN("patient", "archive", "4711", "--out", file_path, "--force", "--json"), CTL_OK);
  free(played(pid));
  snprintf(line, sizeof line, "{\"bytes\":2048,\"file\":\"%s\",\"sha256\":\"%s\"}\n", file_path, sha256);
  assert_string_equal(out_text, line);
  char *text = read_file(file_path);
  assert_memory_equal(text, tar, sizeof tar);
  free(text);
}

static void test_patient_archive_refused(void **state) {
  (void)state;
  char tar[TAR_BYTES], other[TAR_BYTES];
  make_tar(tar);
  make_tar(other);
  other[TAR_BYTES - 1024] = 1;
  static const char cut[] = "application/x-tar\r\nContent-Length: 2048\r\n\r\npatient.jsonl";
  const struct {
    struct step step;
    int exit;
    const char *say;
  } wrong[] = {
      {{.expect = "GET ", .status = 200, .body = "{}"}, CTL_UNREACHED, "n'est pas celle d'asaleed"},
      {{.expect = "GET ", .status = 200, .body = tar, .body_n = TAR_BYTES - 1, .type = "application/x-tar"},
       CTL_UNREACHED,
       "n'est pas celle d'asaleed"},
      {{.expect = "GET ", .status = 200, .body = other, .body_n = TAR_BYTES, .type = "application/x-tar"},
       CTL_UNREACHED,
       "n'est pas celle d'asaleed"},
      {{.expect = "GET ", .status = 200, .body = tar + 512, .body_n = TAR_BYTES - 512, .type = "application/x-tar"},
       CTL_UNREACHED,
       "n'est pas celle d'asaleed"},
      {{.expect = "GET ", .status = 200, .body = "", .type = "application/x-tar"},
       CTL_UNREACHED,
       "n'est pas celle d'asaleed"},
      {{.expect = "GET ", .status = 200, .body = "", .type = cut}, CTL_UNREACHED, "n'est pas gardée"},
      {{.expect = "GET "}, CTL_UNREACHED, "coupée"},
      {{.expect = "GET ", .status = 404, .body = "{\"code\":\"not_found\",\"detail\":\"Inconnu.\"}"},
       CTL_REFUSED,
       "Inconnu. (not_found)"},
      {{.expect = "GET ", .status = 500, .body = "<html>", .type = "text/html"}, CTL_REFUSED, "http_500"},
      {{.expect = "GET /v1/pa", .gone = 10, .interrupt = true, .pause_ms = 200}, CTL_UNREACHED, "interrompu"},
  };
  unlink(file_path);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    pid_t pid = script(&wrong[i].step, 1);
    assert_int_equal(RUN("patient", "archive", "4711", "--out", file_path), wrong[i].exit);
    free(played(pid));
    has(err_text, wrong[i].say);
    assert_int_equal(access(file_path, F_OK), -1); /* teardown finds what else was left */
  }
  /* No room for it. */
  struct rlimit room, none = {1500, 1500};
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &room), 0);
  none.rlim_max = room.rlim_max;
  pid_t pid = SCRIPT({.expect = "GET ", .status = 200, .body = tar, .body_n = TAR_BYTES, .type = "application/x-tar"});
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
  assert_int_equal(RUN("patient", "archive", "4711", "--out", file_path), CTL_USAGE);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &room), 0);
  free(played(pid));
  has(err_text, "écriture impossible");
  assert_int_equal(access(file_path, F_OK), -1);
}

static void test_patient_erase(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "POST /v1/patients/4711/erase HTTP/1.1",
                      .status = 200,
                      .body = "{\"artefacts\":12,\"erased\":true,\"patient\":\"4711\"}"});
  assert_int_equal(RUN("patient", "erase", "4711", "--archive", CLAIM), CTL_OK);
  char *log = played(pid);
  has(log, "\r\n\r\n{\"archive\":\"" CLAIM "\"}");
  has(log, "Idempotency-Key: ");
  free(log);
  has(out_text, "Patient effacé   : 4711\n");
  has(out_text, "Fichiers effacés : 12\n");
  pid = SCRIPT({.expect = "POST ", .status = 200, .body = "{\"artefacts\":12,\"erased\":true,\"patient\":\"4711\"}"});
  assert_int_equal(RUN("patient", "erase", "4711", "--archive", CLAIM, "--json"), CTL_OK);
  free(played(pid));
  assert_string_equal(out_text, "{\"artefacts\":12,\"erased\":true,\"patient\":\"4711\"}\n");
  pid = SCRIPT({.expect = "POST ", .status = 409, .body = "{\"code\":\"archive_missing\",\"detail\":\"Changé.\"}"});
  assert_int_equal(RUN("patient", "erase", "4711", "--archive", CLAIM), CTL_REFUSED);
  free(played(pid));
  has(err_text, "Changé. (archive_missing)");
  has(err_text, "asaleectl patient archive 4711 --out");
  pid =
      SCRIPT({.expect = "POST ", .status = 409, .body = "{\"code\":\"retention_not_due\",\"detail\":\"Pas encore.\"}"});
  assert_int_equal(RUN("patient", "erase", "4711", "--archive", CLAIM), CTL_REFUSED);
  free(played(pid));
  has(err_text, "Pas encore. (retention_not_due)");
  has_not(err_text, "--out");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),
      cmocka_unit_test(test_man_page),
      cmocka_unit_test(test_help),
      cmocka_unit_test(test_completion),
      cmocka_unit_test(test_usage),
      cmocka_unit_test(test_usage_random),
      cmocka_unit_test(test_unreached),
      cmocka_unit_test(test_status),
      cmocka_unit_test(test_token),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_retry),
      cmocka_unit_test(test_patient),
      cmocka_unit_test(test_queue),
      cmocka_unit_test(test_lists),
      cmocka_unit_test(test_users),
      cmocka_unit_test(test_claim_and_sign),
      cmocka_unit_test(test_show),
      cmocka_unit_test(test_verify),
      cmocka_unit_test(test_verify_refused),
      cmocka_unit_test(test_verify_cut),
      cmocka_unit_test(test_dicom),
      cmocka_unit_test(test_channels),
      cmocka_unit_test(test_fundus),
      cmocka_unit_test(test_eyes),
      cmocka_unit_test(test_picture),
      cmocka_unit_test(test_acquire_fundus),
      cmocka_unit_test(test_acquire),
      cmocka_unit_test(test_acquire_failed),
      cmocka_unit_test(test_acquire_interrupted),
      cmocka_unit_test(test_acquire_json),
      cmocka_unit_test(test_acquire_terminal),
      cmocka_unit_test(test_live),
      cmocka_unit_test(test_trace),
      cmocka_unit_test(test_clean_text),
      cmocka_unit_test(test_import),
      cmocka_unit_test(test_import_refused),
      cmocka_unit_test(test_import_large),
      cmocka_unit_test(test_import_interrupted),
      cmocka_unit_test(test_import_terminal),
      cmocka_unit_test(test_files),
      cmocka_unit_test(test_unmatched),
      cmocka_unit_test(test_attach),
      cmocka_unit_test(test_reassign),
      cmocka_unit_test(test_media),
      cmocka_unit_test(test_media_check),
      cmocka_unit_test(test_recalls),
      cmocka_unit_test(test_agenda),
      cmocka_unit_test(test_meeting),
      cmocka_unit_test(test_report),
      cmocka_unit_test(test_retention_list),
      cmocka_unit_test(test_patient_archive),
      cmocka_unit_test(test_patient_archive_refused),
      cmocka_unit_test(test_patient_erase),
  };
  return cmocka_run_group_tests_name("ctl_main", tests, bed_open, bed_close);
}
