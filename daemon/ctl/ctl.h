/* asaleectl: one table of commands (command_table.c) from which come dispatch, --help and completion; the exchange with
 * the daemon (exchange.c); one function a command. */
#ifndef ASALEED_CTL_H
#define ASALEED_CTL_H

#include "client.h"
#include "json.h"
#include "print.h"
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#ifndef ASALEED_VERSION
#define ASALEED_VERSION "0.1.0"
#endif
#define CTL_SOCKET_DEFAULT "/run/asaleed/api.sock"
#define CTL_ARGS_MAX 4096  /* the files of a folder */
#define CTL_OPTIONS_MAX 10 /* of a command, with the end */

enum ctl_exit {
  CTL_OK = 0,
  CTL_REFUSED = 1,   /* the daemon refused, or the acquisition failed */
  CTL_USAGE = 2,     /* the command line, or a file that it names */
  CTL_UNREACHED = 3, /* no daemon, or no answer that can be understood */
};

/* What a value must look like; checked before anything is sent. */
enum ctl_kind {
  KIND_NONE, /* an option without a value; the end of a command's arguments */
  KIND_TEXT, /* clean UTF-8 */
  KIND_FILE,
  KIND_CHOICE, /* one of the metavar's words, "a|b|c", which other commands may have others of */
  KIND_NUMBER, /* within min..max */
  KIND_DATE,
  KIND_TIME,       /* RFC 3339, or a date */
  KIND_ID,         /* [A-Za-z0-9._-], 1..64 */
  KIND_NAME,       /* a user: visible ASCII, 1..64 */
  KIND_STUDY,      /* S-<n> */
  KIND_ITEM,       /* S-<n> or R-<n> */
  KIND_DECODED,    /* S-<n> or U-<n> */
  KIND_RECORD,     /* R-<n> */
  KIND_RECORDS,    /* R-<n>[,R-<n>] */
  KIND_ORDER,      /* O-<n> */
  KIND_TRAY,       /* U-<n> */
  KIND_IMPORT,     /* F-<n> */
  KIND_PICTURE,    /* R-<n>/<n> */
  KIND_CLAIM,      /* 64 hexadecimal digits */
  KIND_KEY,        /* the same, of a public key */
  KIND_DIGEST,     /* the same, a SHA-256 */
  KIND_SHOWN,      /* one, or the CTL_SHOWN_DIGITS and more that it begins with */
  KIND_FOLLOWUP,   /* W-<n> */
  KIND_DELEGATION, /* D-<n> */
  KIND_ABSENCE,    /* A-<n> */
  KIND_NOTICE,     /* N-<n> */
  KIND_RPPS,       /* a professional's number, with its check digit */
  KIND_FINESS,     /* a structure's */
  KIND_INS,        /* a matricule with its key */
  KIND_INS_OID,    /* the OID of who gives them */
  KIND_FINDINGS,   /* any number of FIELD=CODE[,CODE]: the last argument only */
  KIND_WORDS,      /* any number of words: the last argument only */
  KIND_FILES,      /* one or more files: the last argument only */
};

struct ctl_option {
  const char *name, *metavar; /* without the dashes; metavar NULL for KIND_NONE */
  enum ctl_kind kind;
  bool required;
  char group; /* of the options with the same group exactly one is given; 0 for none */
  uint64_t min, max;
  const char *help;
};

struct ctl_argument {
  const char *metavar;
  enum ctl_kind kind;
  bool optional;       /* it and those after it: all of them or none */
  const char *choices; /* of a KIND_CHOICE: "a|b|c" */
  uint64_t min, max;   /* of a KIND_NUMBER */
};
#define CTL_COMMAND_ARGS_MAX 5 /* with the end */

struct ctl;
struct ctl_command {
  const char *path; /* one or two words */
  const char *summary;
  int (*run)(struct ctl *c); /* an enum ctl_exit */
  bool local;                /* needs no daemon */
  struct ctl_argument args[CTL_COMMAND_ARGS_MAX];
  struct ctl_option options[CTL_OPTIONS_MAX];
};

extern const struct ctl_command ctl_commands[]; /* up to the first without a path */
extern const struct ctl_option ctl_globals[];   /* up to the first without a name */

/* "user add NAME --role nurse|gp|... [--display TEXT]" */
int ctl_synopsis(struct buf *b, const struct ctl_command *command);

struct ctl {
  FILE *out, *err;
  bool tty; /* out is a terminal that understands cursor movements */
  bool json;
  const struct ctl_command *command;
  const char *args[CTL_ARGS_MAX]; /* as many as the command has, then NULL */
  const char *values[CTL_OPTIONS_MAX];
  const char *socket, *token_file, *acting_for;
  char token[513]; /* "" for none; wiped at the end */
  struct http_client client;
};

/* Parses and runs one command line, argv[0] the program's name. */
int ctl_run(int argc, char *const argv[], FILE *out, FILE *err);

/* The value of one of the command's options, NULL when it was not given; "" for a flag. */
const char *ctl_option(const struct ctl *c, const char *name);
/* That of a KIND_NUMBER, or otherwise. */
uint64_t ctl_number(const struct ctl *c, const char *name, uint64_t otherwise);

/* "asaleectl: <text>" on err. */
void ctl_say(struct ctl *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same; returns CTL_USAGE. */
int ctl_usage(struct ctl *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A whole file ("-" for standard input) of at most b->max bytes; CTL_OK or CTL_USAGE. */
int ctl_read_all(struct ctl *c, const char *path, struct buf *b);
/* The same without its last line end. */
int ctl_read(struct ctl *c, const char *path, struct buf *b);
/* A secret on one line of visible ASCII. */
int ctl_read_secret(struct ctl *c, const char *path, char *secret, size_t size);

/* A file that appears whole or not at all: ctl_file_open() makes a temporary one (mode 0600) beside it. */
struct ctl_file {
  const char *path;
  char temporary[4096];
  int fd;
};
int ctl_file_open(struct ctl *c, struct ctl_file *f, const char *path);
int ctl_file_commit(struct ctl *c, struct ctl_file *f, const void *bytes, size_t n); /* closes */
void ctl_file_drop(struct ctl_file *f);
/* A command with --force is asked to write there: not over a file without it, nor bytes onto a terminal. */
int ctl_may_write(struct ctl *c, const char *path);
/* The whole of it at once; "-" is standard output. */
int ctl_write(struct ctl *c, const char *path, const void *bytes, size_t n);

/* ---- interrupt.c -------------------------------------------------------------------------------------------- */

/* Between the two SIGINT and SIGTERM only make `fd` readable: as c->client.wake_fd it ends what waits. */
struct ctl_interrupt {
  int fd;
  sigset_t old;
};
int ctl_interrupt_open(struct ctl *c, struct ctl_interrupt *i); /* CTL_OK or CTL_REFUSED, which was told */
void ctl_interrupt_close(struct ctl *c, struct ctl_interrupt *i);
bool ctl_pause(struct ctl *c, int ms); /* true when c->client.wake_fd ended it */

/* ---- exchange.c --------------------------------------------------------------------------------------------- */

struct api_answer {
  int status;
  int err; /* why there is no answer, when CTL_UNREACHED */
  bool replayed;
  char etag[128];
  json_t *json; /* an object, or NULL when the answer is bytes */
  struct buf body;
};
void api_answer_finish(struct api_answer *a);
#define _answer_cleanup_ __attribute__((cleanup(api_answer_finish)))

struct api_request {
  const char *method, *target;
  json_t *body;               /* taken; NULL for none */
  struct http_upload *upload; /* a file instead; NULL for none */
  const char *if_match;
  const char *bytes; /* the types "a/b, c/d" that are expected instead of JSON; NULL for JSON */
  /* Takes the bytes piece by piece, as long as they may be; an error ends it. Such a request is never sent again. */
  int (*sink)(void *userdata, const uint8_t *bytes, size_t n);
  void *userdata;
  bool quiet; /* nothing is told: that is for the caller */
};

/* CTL_OK: a 2xx answer. CTL_REFUSED: a problem. CTL_UNREACHED, CTL_USAGE. All but CTL_OK were told on err. */
int api_call(struct ctl *c, const struct api_request *request, struct api_answer *ret);
/* The same for the common case; takes body. */
int api_get(struct ctl *c, struct api_answer *ret, const char *format, ...) __attribute__((format(printf, 3, 4)));
int api_post(struct ctl *c, json_t *body, struct api_answer *ret, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The headers every request carries. */
void api_headers(const struct ctl *c, struct http_request *r, char authorization[static 600]);
/* Tells why there is no answer; CTL_UNREACHED. */
int api_unreached(struct ctl *c, int err, bool changing);
/* Tells a problem: "asaleectl: <detail> (code)"; CTL_REFUSED. */
int api_refused(struct ctl *c, const struct api_answer *a);
/* A whole 2xx JSON answer: printed with --json, and then true. */
bool api_json(struct ctl *c, const struct api_answer *a);

/* Appends "?name=value", or "&name=value" after another; nothing without a value. */
void api_query(struct buf *b, const char *name, const char *value);
/* A version of what is changed, as If-Match has it; NULL for NULL. */
const char *api_tag(const char *version, char tag[static 32]);

/* Follows the pages of a list until `limit` items (0: all of them); add() gets each item. With --json every page is
 * printed as it came and add() is not called. ret_more: there were others. */
int api_pages(struct ctl *c, const char *target, uint64_t limit, void (*add)(struct table *t, const json_t *item),
              struct table *t, bool *ret_more);

/* ---- commands ----------------------------------------------------------------------------------------------- */

int cmd_status(struct ctl *c);
int cmd_devices(struct ctl *c);
int cmd_drivers(struct ctl *c);
int cmd_user_add(struct ctl *c);
int cmd_user_list(struct ctl *c);
int cmd_user_token(struct ctl *c);
int cmd_user_disable(struct ctl *c);
int cmd_user_link(struct ctl *c);
int cmd_user_grant(struct ctl *c);
int cmd_user_revoke(struct ctl *c);
int cmd_user_password(struct ctl *c);
int cmd_me(struct ctl *c);
int cmd_professional_put(struct ctl *c);
int cmd_professional_list(struct ctl *c);
int cmd_delegation_add(struct ctl *c);
int cmd_delegation_list(struct ctl *c);
int cmd_delegation_end(struct ctl *c);
int cmd_absence_add(struct ctl *c);
int cmd_absence_list(struct ctl *c);
int cmd_absence_end(struct ctl *c);
int cmd_protocol_list(struct ctl *c);
int cmd_patient_put(struct ctl *c);
int cmd_patient_show(struct ctl *c);
int cmd_patient_lookup(struct ctl *c);
int cmd_followup_open(struct ctl *c);
int cmd_followup_list(struct ctl *c);
int cmd_followup_show(struct ctl *c);
int cmd_followup_transfer(struct ctl *c);
int cmd_followup_close(struct ctl *c);
int cmd_order(struct ctl *c);
int cmd_order_list(struct ctl *c);
int cmd_acquire(struct ctl *c);
int cmd_cancel(struct ctl *c);
int cmd_repeat(struct ctl *c);
int cmd_accept(struct ctl *c);
int cmd_queue(struct ctl *c);
int cmd_show(struct ctl *c);
int cmd_claim(struct ctl *c);
int cmd_release(struct ctl *c);
int cmd_sign(struct ctl *c);
int cmd_amend(struct ctl *c);
int cmd_preview(struct ctl *c);
int cmd_draft_show(struct ctl *c);
int cmd_draft_save(struct ctl *c);
int cmd_return(struct ctl *c);
int cmd_refer(struct ctl *c);
int cmd_versions(struct ctl *c);
int cmd_forms(struct ctl *c);
int cmd_page(struct ctl *c);
int cmd_notices(struct ctl *c);
int cmd_heard(struct ctl *c);
int cmd_verify(struct ctl *c);
int cmd_redecode(struct ctl *c);
int cmd_changes(struct ctl *c);
int cmd_audit_list(struct ctl *c);
int cmd_audit_verify(struct ctl *c);
int cmd_audit_head(struct ctl *c);
int cmd_audit_export(struct ctl *c);
int cmd_audit_who_saw(struct ctl *c);
int cmd_audit_erase(struct ctl *c);
int cmd_audit_archive(struct ctl *c);
int cmd_calibrate(struct ctl *c);
int cmd_calibration_list(struct ctl *c);
int cmd_reference_import(struct ctl *c);
int cmd_reference_show(struct ctl *c);
int cmd_unmatched_list(struct ctl *c);
int cmd_unmatched_show(struct ctl *c);
int cmd_attach(struct ctl *c);
int cmd_discard(struct ctl *c);
int cmd_reassign(struct ctl *c);
int cmd_import(struct ctl *c);
int cmd_files(struct ctl *c);
int cmd_file(struct ctl *c);
int cmd_media(struct ctl *c);
int cmd_label(struct ctl *c);
int cmd_pupil(struct ctl *c);
int cmd_finish(struct ctl *c);
int cmd_picture(struct ctl *c);
int cmd_dicom(struct ctl *c);
int cmd_retention_list(struct ctl *c);
int cmd_patient_archive(struct ctl *c);
int cmd_patient_erase(struct ctl *c);
/* Prints what api_pages() gathered, and tells on err that there is more; returns r. Finishes the table. */
int print_list(struct ctl *c, struct table *t, int r, bool more, const char *empty);
/* POST /v1/studies/<the first argument>/<verb>; prints the study's new state. Takes body. */
int post_study(struct ctl *c, json_t *body, const char *verb, struct api_answer *a);
/* Tells how a refusal that only wants to be confirmed is confirmed. */
void hint_confirm(struct ctl *c, const struct api_answer *a);
int redecode_unmatched(struct ctl *c);
/* The parts of a record, masked as the daemon gave them. */
void print_record(FILE *f, const json_t *record);
/* One version of an interpretation, after an empty line; nothing when there is none. */
void print_interpretation(FILE *f, const json_t *interpretation);
/* The beginning of the digest of what is shown: as much as a person copies. */
#define CTL_SHOWN_DIGITS 12
void print_shown(FILE *f, const json_t *object);
/* A list of delegations. */
void print_delegations(FILE *f, const json_t *items);
/* What a study's answer says of a spirometry; nothing for another. */
void print_spirometry(FILE *f, const json_t *study);
/* The same of a retinography. */
void print_fundus(FILE *f, const json_t *study);
int cmd_recalls(struct ctl *c);
int cmd_meeting_agenda(struct ctl *c);
int cmd_meeting_add(struct ctl *c);
int cmd_meeting_list(struct ctl *c);
int cmd_meeting_show(struct ctl *c);
int cmd_report(struct ctl *c);
int cmd_report_verify(struct ctl *c);
int cmd_completion_bash(struct ctl *c);
int cmd_help(struct ctl *c);

#endif
