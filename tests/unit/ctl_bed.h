/* What the tests of asaleectl share: a run of it, and a server that plays the daemon from a script. */
#ifndef CTL_BED_H
#define CTL_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/types.h>

#define CLAIM "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PROBLEM(code, detail)                                                                  \
  "{\"type\":\"urn:asaleed:problem:" code "\",\"title\":\"x\",\"status\":409,\"code\":\"" code \
  "\",\"detail\":\"" detail "\"}"

/* A folder of the test's own, with a token in token_path; socket_path is where the scripted daemon is, and file_path
 * the test's to make. bed_close() fails when another file was left. */
extern char directory[64], socket_path[96], token_path[96], file_path[96];
int bed_open(void **state);
int bed_close(void **state);

/* What the last run printed. */
extern char *out_text, *err_text;
extern size_t out_n;

/* Runs asaleectl with these words, up to NULL; its output goes to `out`, or to out_text. An enum ctl_exit. */
int run_argv(const char *const *args, FILE *out);
#define RUN(...) run_argv((const char *const[]){__VA_ARGS__, NULL}, NULL)
/* What a command writes to a terminal. */
const char *run_on_terminal(const char *const *args, int expected);

void write_file(const char *path, const char *text);
char *read_file(const char *path); /* the caller's; "" when there is none */
void has(const char *text, const char *part);
void has_not(const char *text, const char *part);

/* ---- the scripted daemon ------------------------------------------------------------------------------------ */

struct step {
  const char *expect; /* how the request begins */
  int status;         /* 0: the connection is closed without an answer */
  const char *body;
  size_t body_n;    /* of a body that holds NULs */
  const char *type; /* NULL for JSON */
  const char *etag; /* without its quotes; NULL for none */
  bool hold;        /* the body is the beginning of an event stream that stays open */
  const char *push; /* what the held stream gets after this answer */
  bool drop;        /* then the held stream is closed */
  bool interrupt;   /* then the client gets a SIGINT */
  int pause_ms;     /* before it */
  size_t gone;      /* of a longer request only so much is read, and then the connection is closed */
};

/* Answers one request after the other in a process of its own. */
pid_t script(const struct step *steps, size_t n);
#define SCRIPT(...) \
  script((const struct step[]){__VA_ARGS__}, sizeof((const struct step[]){__VA_ARGS__}) / sizeof(struct step))
/* Waits for the script's end; the log of what was asked, the caller's. */
char *played(pid_t pid);

#endif
